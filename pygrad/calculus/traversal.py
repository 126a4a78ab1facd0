"""A graph seen from outside: its nodes in order, the derivative of each by its operands, and gradients on the side.

Everything here leaves `.grad` as it was, of every node: what a backward step writes there is read, and taken back.
"""

import contextlib

from pygrad.contract.value_base import CLOSURE
from pygrad.engine import arena
from pygrad.engine._lib import ffi, lib
from pygrad.engine.optable import ARITIES, CODES

_POWER = CODES["power"]  # its exponent is no operand


def receivers(node):
    """Return the operands of a Value that a backward pass goes on to, each once, in order."""
    to = arena.receivers(node)
    return to if len(to) < 2 else tuple(dict.fromkeys(to))


def in_order(*roots, operands=receivers):
    """List all that the roots reach by these operands, each after its operands, in an order that is always the same."""
    done, listed, stack = set(), [], [(root, False) for root in reversed(roots)]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            listed.append(node)
        elif node._pg_id not in done:
            done.add(node._pg_id)
            stack.append((node, True))
            stack.extend([(v, False) for v in reversed(operands(node)) if v._pg_id not in done])
    return listed


@contextlib.contextmanager
def gradients_kept(nodes):
    """Within the block the gradients of these Values are 0, and may be written; after it they are as they were."""
    kept = [(v, lib.pg_grad(v._pg_id)) for v in nodes]
    try:
        for v, _ in kept:
            lib.pg_set_grad(v._pg_id, 0.0)
        yield
    finally:
        for v, grad in kept:
            lib.pg_set_grad(v._pg_id, grad)


def slopes(node, seed=1.0, start=0.0):
    """Return what the backward step of one Value adds to the gradient of each of its receivers, in a list.

    That is d node / d receiver, all places of it together (2x for x * x), times `seed`, the node's gradient; plus
    `start`, the receivers' gradients before: unless the step, a closure of the user's, does not add.
    """
    to = receivers(node)
    with gradients_kept([node, *to]):
        for v in to:
            lib.pg_set_grad(v._pg_id, start)
        lib.pg_set_grad(node._pg_id, seed)
        node._backward()
        return [lib.pg_grad(v._pg_id) for v in to]


def slopes_now(node, to):
    """Return `slopes(node)`, of which `to` are the receivers, faster where the node is one of the table's."""
    op, ids = lib.pg_op(node._pg_id), [v._pg_id for v in to]
    if len(ids) == ARITIES[op] > 0 and op != _POWER and not is_closure(node):
        datas = [lib.pg_data(id) for id in ids]
        out = ffi.new("double[3]")
        lib.pg_op_eval(op, datas[0], datas[-1], out)
        if out[0] == lib.pg_data(node._pg_id):  # else somebody has set its data, which its derivative may use
            return list(out[1 : 1 + len(ids)])
    return slopes(node)


def is_closure(node):
    """True if the backward step of a Value is a function of the user's."""
    return CLOSURE in node.__dict__
