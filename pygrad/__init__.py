"""pygrad: micrograd with its graph in C. `pygrad.engine` has Value, `pygrad.nn` has networks."""

import importlib
import sys

from pygrad import viz
from pygrad._version import __version__ as __version__
from pygrad.common import forks

_LATER = ("data", "lr_scheduler", "reference", "storage")  # modules that are imported when a program asks for them
_what_to_do = None  # without the compiled part: a message

try:
    from pygrad import functional, nn, optim
    from pygrad.calculus.explain import explain, unreached
    from pygrad.calculus.grad import backward, grad
    from pygrad.calculus.gradcheck import GradcheckError, gradcheck, gradgradcheck
    from pygrad.calculus.minimize import Objective, Residuals, least_squares, minimize
    from pygrad.calculus.transforms import (
        derivative,
        gradient,
        hessian,
        hvp,
        jacobian,
        jvp,
        taylor,
        value_and_grad,
        vjp,
    )
    from pygrad.compat import install_as_micrograd
    from pygrad.engine import (
        Value,
        config,
        dot,
        equal,
        greater,
        greater_equal,
        is_grad_enabled,
        less,
        less_equal,
        maximum,
        minimum,
        not_equal,
        stop_gradient,
        sum,
        take,
        where,
    )
    from pygrad.engine.checkpoint import checkpoint
    from pygrad.engine.custom_op import custom_op
    from pygrad.engine.modes import detect_anomaly, enable_grad, no_grad
    from pygrad.functional import logsumexp
    from pygrad.nn import MLP, Layer, Module, Neuron
    from pygrad.storage import load_model, save_model
    from pygrad.tape.compiled import compile, load
    from pygrad.tape.record import TraceWarning
except ImportError as error:  # without the compiled part `pygrad.reference` still works
    if error.name != "pygrad._core":
        raise
    from pygrad.common.anomaly import detect_anomaly_of_reference as detect_anomaly

    _what_to_do = str(error)


def __getattr__(name):
    """Import a module of _LATER. Raises ImportError, which says what to do, for a name that needs the compiled part."""
    if name in _LATER:
        with forks.importing:
            return importlib.import_module(f"pygrad.{name}")
    if _what_to_do and (name in __all__ or name == "engine"):
        raise ImportError(_what_to_do)
    raise AttributeError(f"module 'pygrad' has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__():
    return sorted({*globals(), *_LATER})


__all__ = [
    "GradcheckError",
    "Layer",
    "MLP",
    "Module",
    "Neuron",
    "Objective",
    "Residuals",
    "TraceWarning",
    "Value",
    "backward",
    "checkpoint",
    "compile",
    "config",
    "custom_op",
    "derivative",
    "detect_anomaly",
    "dot",
    "enable_grad",
    "equal",
    "explain",
    "functional",
    "gradcheck",
    "gradgradcheck",
    "grad",
    "gradient",
    "greater",
    "greater_equal",
    "hessian",
    "hvp",
    "install_as_micrograd",
    "is_grad_enabled",
    "least_squares",
    "jacobian",
    "jvp",
    "less",
    "less_equal",
    "load",
    "load_model",
    "logsumexp",
    "maximum",
    "minimize",
    "minimum",
    "nn",
    "no_grad",
    "not_equal",
    "optim",
    "save_model",
    "stop_gradient",
    "sum",
    "take",
    "unreached",
    "taylor",
    "value_and_grad",
    "viz",
    "vjp",
    "where",
]
