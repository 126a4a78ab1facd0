"""What both proxies need of the C arena: its op table, backward passes with closures in them, refusals, figures."""

from pygrad import anomaly
from pygrad._lib import ffi, lib
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
        if anomaly.depth:
            _run_checked(roots, order[0], value_of)
        else:
            while id := lib.pg_order_next(order[0]):
                _run_closure(id, value_of)
        return [lib.pg_grad(wanted.ids[i]) for i in range(wanted.count)] if wanted else None
    finally:
        if order[0]:
            lib.pg_order_free(order[0])


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
    anomaly.check_before(proxies.values())
    is_closure = ffi.new("int *")
    while id := lib.pg_order_step(order, is_closure):
        if is_closure[0]:
            _run_closure(id, value_of)
        v = proxies[id]
        anomaly.check_backward(v, v._operands_in_order(), receivers(v))


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
