"""Gradient clipping with PyTorch's names and formulas: between backward() and the optimizer's step().

Both functions are in `pygrad.optim` too, and `fit` of a compiled function clips by its options. All gradients are
changed or, if an exception comes, none. Frozen parameters are left alone. Values of `pygrad.reference` and of
subclasses may be among the parameters.

>>> from pygrad import Value, optim
>>> a, b = Value(3.0), Value(4.0)
>>> (a * a / 2 + b * b / 2).backward()
>>> optim.clip_grad_norm_([a, b], max_norm=1.0)
5.0
>>> round(a.grad, 6), round(b.grad, 6)
(0.6, 0.8)
"""

import math
from array import array

from pygrad.common.numbers import describe, shown, to_float
from pygrad.common.value_base import each_once
from pygrad.common.whole import set_all
from pygrad.engine import plain_ids, recordings
from pygrad.engine._lib import ffi, lib


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Multiply all gradients by one factor, so that their norm is at most `max_norm`; return the norm before.

    The norm is that of all gradients as one vector: Euclid's, or with `norm_type` the p-norm; math.inf gives the
    largest gradient. `parameters` are Values, or one Value. As in PyTorch the factor is max_norm / (norm + 1e-6), at
    most 1, and nan or infinite gradients make others nan or 0; with `error_if_nonfinite` they raise RuntimeError, and
    nothing is changed. Raises TypeError for what is no Value or number, ValueError for numbers out of range.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
    """
    max_norm = checked_limit("max_norm", max_norm)
    norm_type = to_float(norm_type, "norm_type")
    if not norm_type > 0:
        raise ValueError(f"norm_type must be above 0, not {shown(norm_type)}")
    values, grads = _gradients(parameters)
    norm = _norm(grads, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"the norm of the gradients is {norm}: they cannot be clipped, and none has been changed")
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # also for nan
        _set_gradients(values, [factor * grad for grad in grads], grads)
    return norm


def clip_grad_value_(parameters, clip_value):
    """Move each gradient that is outside [-clip_value, clip_value] to the nearer end; a nan stays.

    Raises TypeError for what is no Value or number, ValueError if `clip_value` is below 0.

    >>> from pygrad import Value, optim
    >>> a = Value(3.0)
    >>> (a * a).backward()
    >>> optim.clip_grad_value_([a], 1.0)
    >>> a.grad
    1.0
    """
    most = checked_limit("clip_value", clip_value)
    values, grads = _gradients(parameters)
    _set_gradients(values, [most if g > most else -most if g < -most else g for g in grads], grads)


def checked_limit(name, limit):
    """Return a limit of gradients as a float. Raises TypeError if it is no number, ValueError if it is below 0."""
    number = to_float(limit, name)
    if not number >= 0:
        raise ValueError(f"{name} must be at least 0, not {shown(limit)}")
    return number


def _gradients(parameters):
    """Return the parameters that are not frozen, each once, and their gradients."""
    given = [parameters] if hasattr(parameters, "backward") else parameters
    if not hasattr(given, "__iter__"):
        raise TypeError(f"gradients are clipped of Values, as model.parameters(), not of {describe(given)}")
    given = list(given)
    for p in given:
        if not hasattr(p, "backward"):
            raise TypeError(f"a parameter must be a Value, not {describe(p)}")
    values = [p for p in each_once(given) if getattr(p, "requires_grad", True)]
    return values, array("d", [p.grad for p in values])


def _norm(grads, norm_type):
    if norm_type == 2:
        return lib.pg_norm(len(grads), ffi.from_buffer("double[]", grads)) if grads else 0.0
    sizes = [abs(grad) for grad in grads]
    largest = math.nan if any(map(math.isnan, sizes)) else max(sizes, default=0.0)
    if norm_type == math.inf or not 0 < largest < math.inf:
        return largest
    return largest * math.fsum([(size / largest) ** norm_type for size in sizes]) ** (1 / norm_type)


def _set_gradients(values, grads, old):
    recordings.note("grad =")
    ids = plain_ids(values)
    if ids is None or lib.pg_set_all_grads(len(ids), ids, ffi.new("double[]", grads)) != lib.PG_OK:
        set_all(values, "grad", grads, old)
