"""Look into a graph: list its nodes, and read the derivatives of a node by its operands.

Every `.grad` stays as it was: these functions read what a backward step writes there, and put the old number back.
"""

from pygrad.common.value_base import CLOSURE, each_once
from pygrad.engine import arena, cells
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check
from pygrad.engine.optable import ARITIES, CODES, NAMES

BLOCK_SLOTS = 64  # what is made since a moment m has at least the number m * BLOCK_SLOTS in the order of creation
_POWER = CODES["power"]  # its exponent is no operand
_TAKE = CODES["take"]


def receivers(node):
    """Return the operands of a Value that a backward pass goes on to, from left to right, each once."""
    to = arena.receivers(node)
    return to if len(to) < 2 else tuple(each_once(to))


def chosen(node):
    """Return the `receivers` of a Value that its backward step adds to now: of a take the chosen one."""
    return tuple(each_once(arena.chosen(node)))


def in_order(*roots, operands=receivers):
    """List the Values that the roots reach by `operands`: operands before results, and in every run the same list."""
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


def name_of(v):
    """Return the name of a Value's op, whatever its label is."""
    return NAMES[lib.pg_op(v._pg_id)]


def creation_order(values):
    """Return for each Value a number that is larger the later it was made; 0 for a leaf."""
    made = ffi.new("uint64_t[]", len(values))
    lib.pg_creation_order(len(values), ffi.new("pg_id[]", [v._pg_id for v in values]), made)
    return list(made)


def slopes(node, seed=1.0, start=0.0):
    """Return the gradients of a Value's receivers after its backward step, in a list.

    `seed` is the gradient of the node and `start` that of the receivers before the step. So the result is
    start + seed * (d node / d receiver), over all places of a receiver together: 2x for x * x. A closure of the user's
    may do otherwise.
    """
    to = receivers(node)
    ids = [v._pg_id for v in to]
    with cells.new_kept() as kept:
        check(lib.pg_gradients_keep(kept, 1 + len(ids), [node._pg_id, *ids]))
        del kept
        for id in ids:
            lib.pg_set_grad(id, start)
        lib.pg_set_grad(node._pg_id, seed)
        node._backward()
        return [lib.pg_grad(id) for id in ids]


def slopes_now(node, to):
    """Return the `slopes` by `to`, which are `chosen(node)`; this is faster for a unary or binary op of the table."""
    op, ids = lib.pg_op(node._pg_id), [v._pg_id for v in to]
    if len(ids) == ARITIES[op] > 0 and op != _POWER and not is_closure(node):
        datas = [lib.pg_data(id) for id in ids]
        out = ffi.new("double[3]")
        lib.pg_op_eval(op, datas[0], datas[-1], out)
        if out[0] == lib.pg_data(node._pg_id):  # else its data was set since: the derivative may use it
            return list(out[1 : 1 + len(ids)])
    return [1.0] * len(to) if op == _TAKE and not is_closure(node) else slopes(node)


def is_closure(node):
    """True if the backward step of a Value is a function of the user's."""
    return CLOSURE in node.__dict__
