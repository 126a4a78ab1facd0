"""pygrad: micrograd with its graph in C. See `pygrad.engine` for Value and `pygrad.nn` for networks."""

__version__ = "0.1.0"

from pygrad import functional, nn, optim, viz
from pygrad.anomaly import detect_anomaly
from pygrad.checking import gradcheck, gradgradcheck
from pygrad.compat import install_as_micrograd
from pygrad.compiled import compile, load
from pygrad.custom import custom_op
from pygrad.derive import backward, grad
from pygrad.engine import (
    Value,
    config,
    dot,
    equal,
    greater,
    greater_equal,
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
from pygrad.explaining import explain, unreached
from pygrad.fits import Objective, Residuals, least_squares, minimize
from pygrad.functional import logsumexp
from pygrad.nn import MLP, Layer, Module, Neuron
from pygrad.recording import checkpoint, enable_grad, is_grad_enabled, no_grad
from pygrad.storage import load_model, save_model
from pygrad.transforms import derivative, gradient, hessian, hvp, jacobian, jvp, taylor, value_and_grad, vjp

__all__ = [
    "Layer",
    "MLP",
    "Module",
    "Neuron",
    "Objective",
    "Residuals",
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
