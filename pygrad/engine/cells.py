"""Cells: memory that owns what C makes in it, or the mode that C begins in it (csrc/pygrad.h).

Ctrl-C, a trace function and a profile function may raise between any two steps of Python. If C returned a pointer, or
switched a state on, an interrupt right behind the call would lose the pointer, or leave the state on. So Python makes a
cell first, and C writes into it; the thing ends when the cell is freed, which no interrupt prevents: by the end of a
with block, a step of C, or else when nothing holds the cell any more.

Each name here is a function without arguments, which returns a new cell. The cell of a mode may be bound to a name
within its with block only if `del` removes the name there: a traceback that is kept would hold it.
"""

import contextvars
import functools

from pygrad.common import anomaly
from pygrad.engine._lib import ffi, lib

OPEN = lib.pg_modes_open()  # .of[kind]: how many modes of a kind there are, in all threads; see pg_open_modes


def _cells(kind, free, new=lib.pg_cell_new):
    """Return a function, in C throughout, that makes cells of a C type."""
    make = ffi.new_allocator(new, free, should_clear_after_alloc=False)
    return functools.partial(make, ffi.typeof(kind))


new_node = _cells("pg_node_cell *", lib.pg_node_cell_free)
new_order = _cells("pg_order_cell *", lib.pg_order_cell_free)
new_tape = _cells("pg_tape_cell *", lib.pg_tape_cell_free)
new_replay = _cells("pg_replay_cell *", lib.pg_replay_cell_free)
new_derivation = _cells("pg_derivation *", lib.pg_derivation_free)
new_kept = _cells("pg_kept *", lib.pg_kept_free)
new_pattern = _cells("pg_pattern *", lib.pg_pattern_free)

new_scope = _cells("pg_scope_cell *", lib.pg_scope_free)  # of a block, or of the state of a context

recording = _cells("pg_mode *", lib.pg_mode_free, lib.pg_mode_recording)  # of modes that begin at once
nested = _cells("pg_mode *", lib.pg_mode_free, lib.pg_mode_nested)
quiet = _cells("pg_mode *", lib.pg_mode_free, lib.pg_mode_quiet)
trace = _cells("pg_mode *", lib.pg_mode_free, lib.pg_mode_trace)
call = _cells("pg_mode *", lib.pg_mode_free, lib.pg_mode_call)


# --- the state of a context: is it within no_grad()? (csrc/engine/modes.h) --------------------------------------------

STATE = contextvars.ContextVar("pygrad.engine.cells.STATE")  # a State; None, or not set: the context is in no block


class State(int):
    """The address of a context's newest scope, and the cell that keeps it there: the native proxy reads the address."""

    def __new__(cls, cell):
        """Return the state of a cell that leads to a scope."""
        self = int.__new__(cls, ffi.cast("uintptr_t", cell.mode))
        self.cell = cell
        return self


def state():
    """Return the cell of the state of the context that runs now, or NULL."""
    found = STATE.get(None)
    return found.cell if type(found) is State else ffi.NULL


def is_grad_enabled():
    """Return False within no_grad(), in the context that runs now."""
    return lib.pg_is_grad_enabled(state()) != 0


# --- modes ------------------------------------------------------------------------------------------------------------


def newest_call():
    """Return the moment when the newest call of this thread began: see `call`; 0 without one."""
    return lib.pg_mode_of(lib.PG_MODE_CALL)


def _is_anomaly_detected():
    return OPEN.of[lib.PG_MODE_ANOMALY] != 0


anomaly.is_on = _is_anomaly_detected
