"""The engine: micrograd's `Value`, with the graph in C.

`Value` and the functions that make Values are written twice. Both proxies behave alike, over one arena:

- `pygrad.engine.portable`, in Python: read this one;
- `pygrad._native`, a CPython type (csrc/python/): faster, used wherever it has been built.

PYGRAD_PROXY=python or native chooses a proxy; PYGRAD_REQUIRE_NATIVE=1 makes a missing native proxy an error.
PYGRAD_LANES=baseline, avx2 or avx512 names the widest instruction set that compiled functions may use.
"""

import os

from pygrad.common import value_base
from pygrad.common.numbers import to_float
from pygrad.common.value_base import is_a
from pygrad.engine import cells, sweeps
from pygrad.engine._binaries import import_binary
from pygrad.engine._lib import LANES, ffi
from pygrad.engine.arena import check_arena, live_nodes, proxies_below, reserved_bytes
from pygrad.engine.optable import OPS

# `from pygrad.engine import *` must give what micrograd's did, `Value`, and may give what users call: these names. The
# package itself imports the others (`adopt`, `sweep`, ...) by name; they are not for users.
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
    """Return (the proxy's module, the reason for it). Raises ImportError if the proxy asked for is not available."""
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
number = _proxy.number  # the Value of a number in an expression: `requires_grad` does not count it
trigger = getattr(_proxy, "trigger", None)  # only the native proxy has it: see pygrad.tape.bound
call_on = getattr(_proxy, "call_on", None)  # the native proxy's pygrad.engine.recordings.call
_is_native = _proxy.__name__ == "pygrad._native"


def is_value(x):
    """True for a Value, by its type: see pygrad.common.value_base.is_a."""
    return is_a(x, Value)


def config():
    """Return which proxy is in use, the reason, and the instruction set that compiled functions use over batches:
    {"proxy": "native" or "python", "why": str, "lanes": "baseline", "avx2" or "avx512"}."""
    return {"proxy": "native" if _is_native else "python", "why": _why, "lanes": LANES}


def set_trace_hook(hook):
    """From now on call `hook(value, what)` before each read of a Value's number by a program.

    `what` is "data", "item()", "detach()", "_local_grads", "bool()" (of a result of `less` and the like) or "a
    comparison" (`value` is its left side). The hook is not called for reads by the engine, by optimizers, by `repr` and
    `format`, and by the hook itself. An error of the hook is raised by the read. All threads share one hook; None
    removes it. (Recordings of pygrad.compile have a watch of their own.)

    Returns the previous hook, or None. Raises TypeError if `hook` is neither a function nor None.
    """
    return _proxy.set_trace_hook(hook)


def is_grad_enabled():
    """Return False within `pygrad.no_grad()` in this thread or task, else True.

    >>> import pygrad
    >>> with pygrad.no_grad():
    ...     pygrad.is_grad_enabled()
    False
    """
    return cells.is_grad_enabled()


def plain_ids(values):
    """Return the ids of a list of Values as a pg_id[], so that C can read and write their data and grad.

    Return None if a Value is of a subclass or has no node, or if a program has replaced Value's `data` or `grad`.
    """
    ids = _proxy.plain_ids(values)
    return None if ids is None else ffi.from_buffer("pg_id[]", ids)


def adopt(ids, made, roots):
    """Return a Value for each id of the list `ids`.

    made: the ids of the nodes that C has just made, oldest first; it may be empty unless keeps_proxies().
    roots: Values above everything that the nodes were made from.
    """
    return _proxy.adopt(ids, made, roots)


def keeps_proxies():
    """True if nodes made in C need Values now, because something already depends on the identity of Values."""
    return _proxy.keeps_proxies()


def sweep(roots, seeds):
    """Set the gradients of all Values that the roots were computed from: see pygrad.engine.sweeps.sweep."""
    sweeps.sweep(roots, seeds, _proxy.value_of)


def adjoints(roots, seeds, xs):
    """Return the gradients that `sweep` would give `xs`: see pygrad.engine.sweeps.adjoints."""
    return sweeps.adjoints(roots, seeds, xs, _proxy.value_of)


def sweep_within(roots, seeds, since, agree):
    """Do as `sweep`, but stop at nodes made before a moment: see pygrad.engine.sweeps.sweep_within."""
    return sweeps.sweep_within(roots, seeds, _proxy.value_of, since, agree)


def choose(index, values):
    """Return the value that the data of `index` chooses from `values`, as one node: `take` without its checks."""
    return _proxy.choose(index, values)


def leaves_of(ids, roots):
    """Return, in a list, the Values of the leaves `ids`, all below `roots`; a leaf whose Value is gone is left out."""
    # The native proxy finds each Value that exists by its id; a walk would make new Values for the other leaves. The
    # portable one finds by its id a Value with a closure only, so it must walk.
    find = _proxy.value_of if _is_native else proxies_below(*roots).get
    return [v for v in map(find, ids) if v is not None]


def values_of(ids, roots):
    """Return the Values of the nodes `ids`, all below `roots`, in a list; a node whose Value is gone gets a new one."""
    found = [_proxy.value_of(id) for id in ids]
    if any(v is None for v in found):  # it is gone, or the portable proxy does not find it by its id
        below = proxies_below(*roots)
        found = [below[id] for id in ids]
    return found


def minimum(a, b):
    """Return the smaller of two Values or numbers, a Value; equal ones share the gradient.

    >>> import pygrad
    >>> pygrad.minimum(pygrad.Value(2.0), 3.0).data
    2.0
    """
    return _as_value(a).minimum(b)


def maximum(a, b):
    """Return the larger of two Values or numbers, a Value; equal ones share the gradient.

    >>> import pygrad
    >>> pygrad.maximum(pygrad.Value(2.0), 3.0).data
    3.0
    """
    return _as_value(a).maximum(b)


def less(a, b):
    """Return the Value 1.0 if a < b, else 0.0, of two Values or numbers; like all comparisons it has no derivative.

    A comparison with nan is 0.0. The result is a node, unlike the bool of `a < b`: it follows the data in a graph that
    is computed again.

    >>> import pygrad
    >>> pygrad.less(pygrad.Value(2.0), 3.0).data
    1.0
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

    backward() does not go from here to `x`: Values that lead only to here keep their gradients. The result is a node,
    unlike `x.detach()`: it follows the data of `x` in a graph that is computed again.

    >>> import pygrad
    >>> x = pygrad.Value(3.0)
    >>> (pygrad.stop_gradient(x) * x).backward()
    >>> x.grad
    3.0
    """
    return _as_value(x).stop_gradient()


def take(values, index):
    """Return `values[index]`: a Value; or a list, if the values are lists of one length (nested ones, too).

    values: a list of Values or numbers, or of lists of them: a table of embeddings, say.
    index: an int: the choice is made now; or a Value with a whole number as data: each result is one node, and follows
        the index in a graph that is computed again. The index gets no gradient; a chosen value gets the result's.

    Raises IndexError unless the index is a whole number from 0 to len(values) - 1 (negative ones are refused too);
    ValueError for no values, or lists of several lengths; TypeError for an object that is neither Value nor number. If
    the data of an index is changed later to a number outside, no value gets a gradient.

    >>> import pygrad
    >>> table = [[1.0, 2.0], [3.0, 4.0]]
    >>> [v.data for v in pygrad.take(table, pygrad.Value(1.0))]
    [3.0, 4.0]
    """
    return value_base.take(Value, choose, values, index)


def where(condition, a, b):
    """Return `a` where the condition holds, else `b`: each a Value or number.

    If the condition is a number, the choice is made now. A Value holds if its data is not 0 (so a nan counts as true):
    the result is one node, `take([b, a], condition != 0)`, and follows the condition in a graph that is computed again.
    The chosen operand gets the gradient. What only the other one leads to gets exactly 0, also below an infinite
    derivative: where(greater(x, 0), x.log(), 0) has the derivative 0 at x = 0. (The log is computed there, though, and
    is an anomaly to detect_anomaly().)

    >>> import pygrad
    >>> x = pygrad.Value(-2.0)
    >>> pygrad.where(pygrad.less(x, 0.0), -x, x).data
    2.0
    """
    a, b = _as_value(a), _as_value(b)
    if is_value(condition):
        return choose(condition.not_equal(0.0), (b, a))
    return a if to_float(condition, "a condition") != 0.0 else b


def _as_value(x):
    return x if is_value(x) else number(x)
