"""The arena (csrc/engine/arena.h) seen from Python: which Values lead to which, frozen leaves, figures, and a check."""

from pygrad.common.numbers import describe, shown
from pygrad.common.value_base import CLOSURE, ValueBase
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check
from pygrad.engine.optable import CODES, RECEIVERS

_TAKE = CODES["take"]


def set_frozen(value, requires_grad):
    """Set the `requires_grad` of a Value, a leaf."""
    if isinstance(requires_grad, ValueBase) or requires_grad not in (False, True):
        raise TypeError(f"requires_grad must be True or False, not {describe(requires_grad)}")
    status = lib.pg_set_frozen(value._pg_id, not requires_grad)
    if status == lib.PG_IN_USE:
        raise RuntimeError(
            f"requires_grad can be set on a leaf only, and this Value is the result of {shown(value._op)}: "
            "use .detach() for a new leaf with its data, or pygrad.no_grad()"
        )
    check(status, [value])


def is_busy(value):
    """True for a Value that a running sweep has reached or will reach."""
    return bool(lib.pg_is_busy(value._pg_id))


def leads_out(y, since):
    """True if a backward pass from y comes to a leaf of the program's, or to a result that is older than `since`.

    The leaf of a number in an expression does not count.
    """
    return lib.pg_leads_out(y._pg_id, since._pg_id) != 0


def receivers(v):
    """Return the operands that a Value passes its gradient on to; all operands, if it has a closure."""
    operands = v._operands_in_order()
    if not operands or CLOSURE in v.__dict__:
        return operands
    return operands[RECEIVERS[lib.pg_op(v._pg_id)]]


def chosen(v):
    """Return the operands that a Value's backward step adds to now: as `receivers`, but of a take the chosen one."""
    to = receivers(v)
    if lib.pg_op(v._pg_id) != _TAKE or CLOSURE in v.__dict__:
        return to
    index = v._operands_in_order()[0]._read()
    return (to[int(index)],) if index.is_integer() and 0 <= index < len(to) else ()


def needed_now(v):
    """Return the operands that a Value's number is computed from now: of a take the index and the chosen one."""
    operands = v._operands_in_order()
    return operands if lib.pg_op(v._pg_id) != _TAKE else (operands[0], *chosen(v))


def proxies_below(*roots, operands=lambda v: v._operands_in_order()):
    """Return {id: proxy} of the roots and all Values that they reach through their operands."""
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
    """Return how much memory the arena has reserved, in bytes; it never shrinks."""
    return lib.pg_reserved_bytes()


def check_arena(idle=False):
    """Verify every invariant of the arena (csrc/check.c); raise RuntimeError if one is broken.

    With `idle` also raise RuntimeError if a thread is within no_grad() or detect_anomaly(), records, or runs a backward
    pass in pieces: where nothing should be running, an interrupt might have left that on.
    """
    broken = lib.pg_check()
    if broken:
        raise RuntimeError(f"the arena is corrupt: {ffi.string(broken).decode()}")
    running = lib.pg_running() if idle else ffi.NULL
    if running:
        raise RuntimeError(f"the arena is not idle: {ffi.string(running).decode()} is running")
