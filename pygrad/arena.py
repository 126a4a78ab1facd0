"""What both proxies need of the C arena: its op table, backward passes with closures in them, refusals, figures."""

import contextlib

from pygrad import anomaly
from pygrad._lib import ffi, lib
from pygrad._numbers import describe
from pygrad.surface import CLOSURE

NAMES = [ffi.string(lib.pg_op_name(op)).decode() for op in range(lib.pg_op_count())]
LABELS = [ffi.string(lib.pg_op_label(op)).decode() for op in range(lib.pg_op_count())]
CODES = {name: op for op, name in enumerate(NAMES)}
OPS = {name: (LABELS[op], lib.pg_op_arity(op)) for name, op in CODES.items()}  # the table of csrc/ops.def


def refuse(*values):
    """Raise what it meant that C made no node of these operands: one of them has no node itself, or memory is short."""
    if not all(v._pg_id for v in values):
        raise RuntimeError("this Value was never initialised: call Value.__init__(self, data) first")
    raise MemoryError("no memory for another node; nothing was changed")


def set_frozen(value, requires_grad):
    """Set the `requires_grad` of a Value, a leaf."""
    if requires_grad not in (False, True):
        raise TypeError(f"requires_grad must be True or False, not {describe(requires_grad)}")
    status = lib.pg_set_frozen(value._pg_id, not requires_grad)
    if status == lib.PG_IN_USE:
        raise RuntimeError(
            f"requires_grad can be set on a leaf only, and this Value is the result of {value._op!r}: "
            "use .detach() for a new leaf with its data, or pygrad.no_grad()"
        )
    if status != lib.PG_OK:
        refuse(value)


# --- backward with closures -------------------------------------------------------------------------------------------


def sweep(roots, seeds, value_of):
    """Set the gradients of all that the roots (Values) were computed from, each root's own being its seed (a float).

    `value_of(id)` is the Value of a node with a closure, or None.
    """
    given = _roots(roots, seeds)
    status = lib.PG_CLOSURES if anomaly.depth else lib.pg_backward_from(given[0])
    if status == lib.PG_CLOSURES:
        backward_in_pieces(roots, seeds, value_of)
    else:
        _check(status, roots)


def adjoints(roots, seeds, xs, value_of):
    """Return the gradients that `sweep` would give `xs` (Values), as floats; each Value keeps the one it has."""
    given, wanted = _roots(roots, seeds), _wanted(xs)
    status = lib.PG_CLOSURES if anomaly.depth else lib.pg_adjoints(given[0], wanted[0])
    if status == lib.PG_CLOSURES:
        return _in_pieces(roots, seeds, value_of, wanted[0])
    _check(status, [*roots, *xs])
    return list(wanted[0].grads[0 : len(xs)])


def backward_in_pieces(roots, seeds, value_of):
    """Run the sweep from closure to closure, each of which is Python's to call; or node by node to find an anomaly."""
    _in_pieces(roots, seeds, value_of)


def _in_pieces(roots, seeds, value_of, wanted=None):
    """The same; return the gradients of what is wanted, and put all back as it was."""
    order, given = ffi.new("pg_order **"), _roots(roots, seeds)
    try:
        _check(lib.pg_order_from(given[0], wanted or ffi.NULL, order), roots)
        _run(roots, order[0], value_of)
        return [lib.pg_grad(wanted.ids[i]) for i in range(wanted.count)] if wanted else None
    finally:
        if order[0]:
            lib.pg_order_free(order[0])


@contextlib.contextmanager
def moment():
    """Within the block nodes are told that are made there: give what this yields to `sweep_within`."""
    since = ffi.new("pg_moment *")
    if lib.pg_moment_begin(since) != lib.PG_OK:
        refuse()
    try:
        yield since
    finally:
        lib.pg_trace_end()


def sweep_within(roots, seeds, value_of, since, check):
    """Do as `sweep`, but end at what was made before a moment: that has its gradients added to, and is not set to 0.

    First calls check(a digest of the operations there are, the ids of what it adds to from before the moment), which
    may raise, or return False for no sweep.
    """
    order, given = ffi.new("pg_order **"), _roots(roots, seeds)
    try:
        _check(lib.pg_order_within(given[0], since, order), roots)
        outside = ffi.new("pg_id[]", lib.pg_order_outside(order[0], ffi.NULL))
        lib.pg_order_outside(order[0], outside)
        if check(lib.pg_order_digest(order[0]), list(outside)):
            _run(roots, order[0], value_of)
    finally:
        if order[0]:
            lib.pg_order_free(order[0])


def is_busy(value):
    """True of a Value that a running sweep has reached or will reach."""
    return bool(lib.pg_is_busy(value._pg_id))


def _run(roots, order, value_of):
    if anomaly.depth:
        _run_checked(roots, order, value_of)
        return
    while id := lib.pg_order_next(order):
        _run_closure(id, value_of)


def _roots(roots, seeds):
    """Return roots as C takes them, and what must live as long."""
    ids, seeds = ffi.new("pg_id[]", [v._pg_id for v in roots]), ffi.new("double[]", seeds)
    return ffi.new("pg_roots *", {"count": len(roots), "ids": ids, "seeds": seeds}), ids, seeds


def _wanted(xs):
    """Return the nodes whose gradients are wanted, and room for these, likewise."""
    ids, grads = ffi.new("pg_id[]", [v._pg_id for v in xs]), ffi.new("double[]", len(xs))
    return ffi.new("pg_wanted *", {"count": len(xs), "ids": ids, "grads": grads}), ids, grads


def _check(status, values):
    if status == lib.PG_BUSY:
        raise RuntimeError("a backward pass is still running over part of this graph: let it end first")
    if status != lib.PG_OK:
        refuse(*values)


def _run_closure(id, value_of):
    value = value_of(id)
    if value is None:
        raise RuntimeError("a Value with a _backward of its own is being collected: its graph cannot be swept any more")
    value._backward()


def _run_checked(roots, order, value_of):
    proxies = proxies_below(*roots, operands=receivers)
    anomaly.check_before(v for v in proxies.values() if not lib.pg_is_frozen(v._pg_id))
    is_closure = ffi.new("int *")
    while id := lib.pg_order_step(order, is_closure):
        if is_closure[0]:
            _run_closure(id, value_of)
        v = proxies[id]
        anomaly.check_backward(v, v._operands_in_order(), [x for x in receivers(v) if not lib.pg_is_frozen(x._pg_id)])


def receivers(v):
    """Return the operands of a Value that a sweep goes on to (csrc/sweep.c); of one with a closure, all."""
    operands = v._operands_in_order()
    if not operands or CLOSURE in v.__dict__:
        return operands
    op = lib.pg_op(v._pg_id)
    if op == CODES["declared"]:
        return operands[1::2]
    return operands[op == CODES["take"] :] if lib.pg_op_has_derivative(op) else ()


def proxies_below(*roots, operands=lambda v: v._operands_in_order()):
    """Map id -> proxy for all that the roots reach by these operands."""
    proxies, stack = {root._pg_id: root for root in roots}, list(roots)
    while stack:
        for v in operands(stack.pop()):
            if v._pg_id not in proxies:
                proxies[v._pg_id] = v
                stack.append(v)
    return proxies


# --- figures ----------------------------------------------------------------------------------------------------------


def live_nodes():
    """Return how many nodes are alive in the arena, leaves and hidden ones included."""
    return lib.pg_live_nodes()


def reserved_bytes():
    """Return how much memory the arena has reserved, in bytes; it keeps what it once needed."""
    return lib.pg_reserved_bytes()


def check_arena():
    """Verify every invariant of the arena (csrc/check.c); raise RuntimeError if one is broken."""
    broken = lib.pg_check()
    if broken:
        raise RuntimeError(f"the arena is corrupt: {ffi.string(broken).decode()}")
