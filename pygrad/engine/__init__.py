"""The engine: micrograd's `Value`, with the graph in C.

`Value` and what makes Values come in two makes that behave alike, over the same arena:

- `pygrad.engine.portable`, in Python: the one to read;
- `pygrad._native`, a CPython type made of csrc/python/: the fast one, used where it could be built.

PYGRAD_PROXY=python or native chooses one of them; PYGRAD_REQUIRE_NATIVE=1 makes a missing native one an error.
"""

import os

from pygrad.contract import anomaly, value_base
from pygrad.contract.numbers import to_float
from pygrad.engine import sweeps
from pygrad.engine._binaries import import_binary
from pygrad.engine._lib import ffi
from pygrad.engine.arena import check_arena, live_nodes, proxies_below, reserved_bytes
from pygrad.engine.optable import OPS

__all__ = [
    "OPS",
    "Value",
    "check_arena",
    "config",
    "declared",
    "dot",
    "equal",
    "greater",
    "greater_equal",
    "layer",
    "less",
    "less_equal",
    "live_nodes",
    "maximum",
    "minimum",
    "not_equal",
    "plain_ids",
    "reserved_bytes",
    "set_trace_hook",
    "stop_gradient",
    "sum",
    "take",
    "where",
]


def _choose(environ):
    """Return (the proxy's module, why it is that one). Raises ImportError if the one asked for cannot be had."""
    wanted = environ.get("PYGRAD_PROXY", "")
    if wanted not in ("", "python", "native"):
        raise ImportError(f"PYGRAD_PROXY must be python or native, not {wanted!r}")
    if wanted == "python":
        return _portable(), "asked for by PYGRAD_PROXY"
    try:
        _native = import_binary("pygrad._native")
    except ImportError as error:
        missing = f"pygrad's native proxy is missing or does not load ({error})"
        if wanted or environ.get("PYGRAD_REQUIRE_NATIVE") == "1":
            raise ImportError(f"{missing}: reinstall pygrad-engine where a C compiler is") from error
        return _portable(), missing
    return _native, "asked for by PYGRAD_PROXY" if wanted else "it was built, and is the faster one"


def _portable():
    from pygrad.engine import portable

    return portable


_proxy, _why = _choose(os.environ)
Value, sum, dot, layer, declared = _proxy.Value, _proxy.sum, _proxy.dot, _proxy.layer, _proxy.declared
trigger = getattr(_proxy, "trigger", None)  # a run of one sample, called with least ado; see pygrad.tape.bound
_is_native = _proxy.__name__ == "pygrad._native"
if _is_native:
    anomaly.tell_depth_to(_proxy.set_anomaly_depth)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_proxy.forget_other_threads)


def config():
    """Return {"proxy": "native" or "python", "why": the reason in words}: which make of Value is in use."""
    return {"proxy": "native" if _is_native else "python", "why": _why}


def set_trace_hook(hook):
    """From now on call `hook(value, what)` first wherever a program takes a number out of a Value.

    `what` is "data", "item()", "detach()" or "a comparison" (of which `value` is the left side). Reads by the engine
    itself, by optimizers, by `repr` and `format`, and by the hook, do not count. If the hook raises, so does the read.
    None stops it. The hook is one for all threads. Returns the hook before, or None; TypeError if `hook` is neither.
    """
    return _proxy.set_trace_hook(hook)


def is_grad_enabled():
    """Return False within `pygrad.no_grad()` in this thread, else True.

    >>> import pygrad
    >>> with pygrad.no_grad():
    ...     pygrad.is_grad_enabled()
    False
    """
    return _proxy.is_grad_enabled()


def set_grad_enabled(on):
    """From now on let this thread's results have operands, or not; return what it was before. See `no_grad`."""
    return _proxy.set_grad_enabled(on)


def plain_ids(values):
    """Return the ids of a list of Values as C takes them (pg_id[]), to read and write their data and grad there.

    None where a program could tell: unless all are plain Values with a node, and `data` and `grad` are Value's own.
    """
    ids = _proxy.plain_ids(values)
    return None if ids is None else ffi.from_buffer("pg_id[]", ids)


def adopt(ids, made, roots):
    """Return the Values of nodes, of which those in `made`, oldest first, were made in C from what is below `roots`.

    Where `keeps_proxies()` says so `made` must have all that were made; else it may be empty.
    """
    return _proxy.adopt(ids, made, roots)


def keeps_proxies():
    """True if a Value that C has made must have its operands' Values, as a program might tell."""
    return _proxy.keeps_proxies()


def sweep(roots, seeds):
    """Set the gradients of all that the roots (Values) were computed from: see pygrad.engine.sweeps.sweep."""
    sweeps.sweep(roots, seeds, _proxy.value_of)


def adjoints(roots, seeds, xs):
    """Return the gradients that `sweep` would give `xs`: see pygrad.engine.sweeps.adjoints."""
    return sweeps.adjoints(roots, seeds, xs, _proxy.value_of)


def sweep_within(roots, seeds, since, agree):
    """Do as `sweep`, but end at what was made before a moment: see pygrad.engine.sweeps.sweep_within."""
    sweeps.sweep_within(roots, seeds, _proxy.value_of, since, agree)


def choose(index, values):
    """Return the one of `values` that the data of `index` chooses, as one node: `take` without its checks."""
    return _proxy.choose(index, values)


def leaves_of(ids, roots):
    """Return the Values of those leaves below `roots` whose ids are given and which have one, in a list."""
    if _is_native:
        found = map(_proxy.value_of, ids)
    else:
        below = proxies_below(*roots)
        found = map(below.get, ids)
    return [v for v in found if v is not None]


def values_of(ids, roots):
    """Return the Values of nodes below `roots`, in the order of their ids."""
    found = [_proxy.value_of(id) for id in ids] if _is_native else [None]
    if None in found:
        below = proxies_below(*roots)
        found = [below[id] for id in ids]
    return found


def find_value(id, roots):
    """Return the Value of a node below `roots`, or None if it has none."""
    return proxies_below(*roots).get(id)


def minimum(a, b):
    """Return the smaller of two Values or numbers; equal ones share the gradient."""
    return _as_value(a).minimum(b)


def maximum(a, b):
    """Return the larger of two Values or numbers; equal ones share the gradient."""
    return _as_value(a).maximum(b)


def less(a, b):
    """Return the Value 1.0 if a < b, else 0.0, of two Values or numbers; like all comparisons it has no derivative.

    A comparison with nan is 0.0. Unlike the bool of `a < b`, the result is a node: it follows the data in a graph that
    is computed again.
    """
    return _as_value(a).less(b)


def less_equal(a, b):
    """Return the Value 1.0 if a <= b, else 0.0; see `less`."""
    return _as_value(a).less_equal(b)


def greater(a, b):
    """Return the Value 1.0 if a > b, else 0.0; see `less`."""
    return less(b, a)


def greater_equal(a, b):
    """Return the Value 1.0 if a >= b, else 0.0; see `less`."""
    return less_equal(b, a)


def equal(a, b):
    """Return the Value 1.0 if a and b are the same number, else 0.0 (`==` asks for the same object); see `less`."""
    return _as_value(a).equal(b)


def not_equal(a, b):
    """Return the Value 0.0 if a and b are the same number, else 1.0, also for a nan; see `less`."""
    return _as_value(a).not_equal(b)


def stop_gradient(x):
    """Return a Value of the same data as `x`, a Value or number, that passes no gradient on to it.

    backward() does not go on to `x` from here, so what only leads here keeps its gradients. Unlike `x.detach()` it is a
    node: it follows the data of `x` in a graph that is computed again.

    >>> import pygrad
    >>> x = pygrad.Value(3.0)
    >>> (pygrad.stop_gradient(x) * x).backward()
    >>> x.grad
    3.0
    """
    return _as_value(x).stop_gradient()


def take(values, index):
    """Return `values[index]`; of rows (lists of one length, nested if you like) the row, as a list.

    values: Values or numbers, or rows of them: a table of embeddings, say.
    index: an int, which chooses at once; or a Value, whose data is such an int: then each result is one node, which
        follows the index in a graph that is computed again. It has no gradient; the chosen values get all of theirs.

    Raises IndexError unless the index is a whole number from 0 to len(values) - 1 (negative ones are refused too);
    ValueError for no values or ragged rows; TypeError for what is neither Value nor number. If an index's data is
    changed later to such a number, no value gets a gradient.
    """
    return value_base.take(Value, choose, values, index)


def where(condition, a, b):
    """Return `a` where the condition holds, else `b`: each a Value or number.

    A number as condition chooses at once. A Value holds where its data is not 0 (so a nan counts as true): then the
    result is one node, `take([b, a], condition != 0)`, which follows the condition in a graph that is computed again.
    The one that is chosen gets the gradient. The other one gets 0, which times an infinite slope in what made it is
    nan: there, choose between the inputs, not between the results.

    >>> import pygrad
    >>> x = pygrad.Value(-2.0)
    >>> pygrad.where(pygrad.less(x, 0.0), -x, x).data
    2.0
    """
    a, b = _as_value(a), _as_value(b)
    if isinstance(condition, Value):
        return choose(condition.not_equal(0.0), (b, a))
    return a if to_float(condition, "a condition") != 0.0 else b


def _as_value(x):
    return x if isinstance(x, Value) else _proxy.number(x)
