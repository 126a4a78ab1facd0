"""What a status of C means, said once: the exception that it becomes."""

from pygrad.contract import refusals
from pygrad.engine._lib import lib


def check(status, values=(), of="another node"):
    """Raise what the status of a C function means; `values` went into the call, and `of` names what needed memory."""
    if status == lib.PG_BUSY:
        raise refusals.busy()
    if status == lib.PG_NO_NODE:
        raise refusals.uninitialised()
    if status != lib.PG_OK:
        refuse(*values, of=of)


def refuse(*values, of="another node"):
    """Raise what it means that C has made nothing of these Values: one of them has no node, or memory is short."""
    if not all(v._pg_id for v in values):
        check(lib.PG_NO_NODE)
    raise MemoryError(f"no memory for {of}; nothing was changed")
