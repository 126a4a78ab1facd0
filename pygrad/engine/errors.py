"""The exception for each status that a C function returns."""

from pygrad.common import refusals
from pygrad.engine._lib import lib


def check(status, values=(), of="another node"):
    """Raise the exception for a C function's status, unless PG_OK.

    values: the Values in the call. of: names the thing that needed memory.
    """
    if status == lib.PG_BUSY:
        raise refusals.busy()
    if status == lib.PG_NO_NODE:
        is_made_up = any(v._pg_id and not lib.pg_exists(v._pg_id) for v in values)
        raise refusals.made_up_id() if is_made_up else refusals.uninitialised()
    if status != lib.PG_OK:
        refuse(*values, of=of)


def refuse(*values, of="another node"):
    """Raise the error of a C function that has made nothing: one of these Values has no node, or memory is short."""
    if not all(lib.pg_exists(v._pg_id) for v in values):
        check(lib.PG_NO_NODE, values)
    raise MemoryError(f"no memory for {of}; nothing was changed")
