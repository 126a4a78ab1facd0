"""Backward passes: from several roots, to gradients on the side, in pieces from closure to closure, since a moment."""

import contextlib

from pygrad.contract import anomaly
from pygrad.engine._lib import ffi, lib
from pygrad.engine.arena import proxies_below, receivers
from pygrad.engine.errors import check


def sweep(roots, seeds, value_of):
    """Set the gradients of all that the roots (Values) were computed from, each root's own being its seed (a float).

    `value_of(id)` is the Value of a node with a closure, or None.
    """
    given = _roots(roots, seeds)
    status = lib.PG_CLOSURES if anomaly.depth else lib.pg_backward_from(given[0])
    if status == lib.PG_CLOSURES:
        backward_in_pieces(roots, seeds, value_of)
    else:
        check(status, roots)


def adjoints(roots, seeds, xs, value_of):
    """Return the gradients that `sweep` would give `xs` (Values), as floats; each Value keeps the one it has."""
    given, wanted = _roots(roots, seeds), _wanted(xs)
    status = lib.PG_CLOSURES if anomaly.depth else lib.pg_adjoints(given[0], wanted[0])
    if status == lib.PG_CLOSURES:
        return _in_pieces(roots, seeds, value_of, wanted[0])
    check(status, [*roots, *xs])
    return list(wanted[0].grads[0 : len(xs)])


def backward_in_pieces(roots, seeds, value_of):
    """Run the sweep from closure to closure, each of which is Python's to call; or node by node to find an anomaly."""
    _in_pieces(roots, seeds, value_of)


def _in_pieces(roots, seeds, value_of, wanted=None):
    """The same; return the gradients of what is wanted, and put all back as it was."""
    order, given = ffi.new("pg_order **"), _roots(roots, seeds)
    try:
        check(lib.pg_order_from(given[0], wanted or ffi.NULL, order), roots)
        _run(roots, order[0], value_of)
        return [lib.pg_grad(wanted.ids[i]) for i in range(wanted.count)] if wanted else None
    finally:
        if order[0]:
            lib.pg_order_free(order[0])


@contextlib.contextmanager
def moment():
    """Within the block nodes are told that are made there: give what this yields to `sweep_within`."""
    since = ffi.new("pg_moment *")
    check(lib.pg_moment_begin(since))
    try:
        yield since
    finally:
        lib.pg_trace_end()


def sweep_within(roots, seeds, value_of, since, agree):
    """Do as `sweep`, but end at what was made before a moment: that has its gradients added to, and is not set to 0.

    First calls agree(a digest of the operations there are, the ids of what it adds to from before the moment), which
    may raise, or return False for no sweep.
    """
    order, given = ffi.new("pg_order **"), _roots(roots, seeds)
    try:
        check(lib.pg_order_within(given[0], since, order), roots)
        outside = ffi.new("pg_id[]", lib.pg_order_outside(order[0], ffi.NULL))
        lib.pg_order_outside(order[0], outside)
        if agree(lib.pg_order_digest(order[0]), list(outside)):
            _run(roots, order[0], value_of)
    finally:
        if order[0]:
            lib.pg_order_free(order[0])


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
