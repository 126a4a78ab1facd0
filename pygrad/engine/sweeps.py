"""Backward passes (sweeps) from several roots, in the forms that C offers (csrc/engine/).

`sweep` sets gradients; `adjoints` returns gradients and leaves those of the Values alone; `sweep_within` ends at nodes
older than a given moment. A sweep over nodes with closures runs in pieces: C up to the next closure, then Python calls
it. Within detect_anomaly() a piece is one node, to check the gradients that it gave.
"""

from pygrad.common import anomaly
from pygrad.engine import cells, recordings
from pygrad.engine._lib import ffi, lib
from pygrad.engine.arena import chosen, proxies_below
from pygrad.engine.errors import check


def sweep(roots, seeds, value_of):
    """Run a backward pass from the roots (Values); `seeds` are their own gradients (floats), one per root.

    `value_of(id)` must return the Value of a node with a closure, or None if that Value is gone.
    """
    given = _roots(roots, seeds)
    if cells.OPEN.calls:
        recordings.check_backward(*roots)
    status = lib.PG_CLOSURES if anomaly.is_on() else lib.pg_backward_from(given[0])
    if status == lib.PG_CLOSURES:
        backward_in_pieces(roots, seeds, value_of)
    else:
        check(status, roots)


def adjoints(roots, seeds, xs, value_of):
    """Return the gradients that `sweep` would give `xs` (Values), as floats; each Value keeps its present gradient."""
    given, wanted = _roots(roots, seeds), _wanted(xs)
    status = lib.PG_CLOSURES if anomaly.is_on() else lib.pg_adjoints(given[0], wanted[0])
    if status == lib.PG_CLOSURES:
        return _in_pieces(roots, seeds, value_of, wanted[0])
    check(status, [*roots, *xs])
    return list(wanted[0].grads[0 : len(xs)])


def backward_in_pieces(roots, seeds, value_of):
    """Run the sweep in pieces: from closure to closure, or, within detect_anomaly(), node by node."""
    _in_pieces(roots, seeds, value_of)


def _in_pieces(roots, seeds, value_of, wanted=None):
    """Run the sweep in pieces; with `wanted`, return the gradients of its nodes and put all gradients back."""
    given = _roots(roots, seeds)
    with cells.new_order() as order:
        check(lib.pg_order_from(given[0], wanted or ffi.NULL, order), roots)
        _run(roots, order.order, value_of, wanted)
        found = [lib.pg_grad(wanted.ids[i]) for i in range(wanted.count)] if wanted else None
        del order
    return found


def listed_within(roots, since):
    """Return what `sweep_within` would run and add to: a digest of the operations, and the ids of the older nodes."""
    given = _roots(roots, [0.0] * len(roots))
    with cells.new_order() as order:
        check(lib.pg_order_within(given[0], since, order), roots)
        listed = lib.pg_order_digest(order.order), _outside(order.order)
        del order
    return listed


def sweep_within(roots, seeds, value_of, since, agree):
    """Run a backward pass that ends at nodes older than the moment `since`: it only adds to their gradients.

    `since` is the moment of a `cells.trace()` that still runs. First calls `agree` with what `listed_within` returns;
    it may raise. Return the ids of the older nodes that the pass has added to.
    """
    given = _roots(roots, seeds)
    with cells.new_order() as order:
        check(lib.pg_order_within(given[0], since, order), roots)
        agree(lib.pg_order_digest(order.order), _outside(order.order))
        check(lib.pg_order_choose(order.order), roots)
        _run(roots, order.order, value_of)
        outside = _outside(order.order)
        del order
    return outside


def _outside(order):
    outside = ffi.new("pg_id[]", lib.pg_order_outside(order, ffi.NULL))
    lib.pg_order_outside(order, outside)
    return list(outside)


def pass_on_to(node, kept):
    """Let the sweep whose closure is running, that of `node`, go on only to the operands `kept` (Values) of the node.

    Nodes that no other operand leads to are not run. Without a running sweep this does nothing.
    """
    check(lib.pg_order_cut(node, len(kept), ffi.new("pg_id[]", [v._pg_id for v in kept])), kept)


def _run(roots, order, value_of, wanted=None):
    if anomaly.is_on():
        _run_checked(roots, order, value_of, wanted)
        return
    while id := lib.pg_order_next(order):
        _run_closure(id, value_of)


def _roots(roots, seeds):
    """Return the roots for C (pg_roots), and the two arrays that must live as long as they."""
    ids, seeds = ffi.new("pg_id[]", [v._pg_id for v in roots]), ffi.new("double[]", seeds)
    return ffi.new("pg_roots *", {"count": len(roots), "ids": ids, "seeds": seeds}), ids, seeds


def _wanted(xs):
    """Return nodes for C with room for their gradients (pg_wanted), and the two arrays that must live as long."""
    ids, grads = ffi.new("pg_id[]", [v._pg_id for v in xs]), ffi.new("double[]", len(xs))
    return ffi.new("pg_wanted *", {"count": len(xs), "ids": ids, "grads": grads}), ids, grads


def _run_closure(id, value_of):
    value = value_of(id)
    if value is None:
        raise RuntimeError("a Value with a _backward of its own is being collected: its graph cannot be swept any more")
    value._backward()


def _run_checked(roots, order, value_of, wanted):
    proxies = proxies_below(*roots, operands=chosen)
    checked = _leading_to(wanted, proxies) if wanted else {id for id in proxies if not lib.pg_is_frozen(id)}
    anomaly.check_before(proxies[id] for id in checked)
    is_closure = ffi.new("int *")
    while id := lib.pg_order_step(order, is_closure):
        if is_closure[0]:
            _run_closure(id, value_of)
        v = proxies[id]
        anomaly.check_backward(v, v._operands_in_order(), [x for x in chosen(v) if x._pg_id in checked])


def _leading_to(wanted, proxies):
    """Return the ids of the `proxies` whose gradients are wanted, frozen leaves aside, or lead to such."""
    consumers = {id: [] for id in proxies}
    for id, v in proxies.items():
        for x in chosen(v):
            consumers[x._pg_id].append(id)
    found = {id for id in wanted.ids[0 : wanted.count] if id in proxies and not lib.pg_is_frozen(id)}
    stack = list(found)
    while stack:
        new = [id for id in consumers[stack.pop()] if id not in found]
        found.update(new)
        stack += new
    return found
