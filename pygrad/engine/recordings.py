"""The recordings and calls of this thread: is it recording a function? On which arguments do functions run?

Code that must behave differently during a recording asks here. A recording is a mode of C, so that it ends whatever
happens. It starts in pygrad.tape.record; that module imports the engine, so the engine cannot import it.

A *call* is a mode too: a function runs once, on arguments that stand for other numbers too. Recordings, transforms,
`minimize` and the like call a function of the user's by `call`. A Value that depends on an argument of such a call is a
*variable*: pygrad.common.truth says what a program may not ask of it.
"""

from weakref import WeakValueDictionary

from pygrad.common import truth
from pygrad.engine import cells
from pygrad.engine._lib import ffi, lib

_watches = WeakValueDictionary()  # the moment of a recording -> the object to tell of reads
_arguments = WeakValueDictionary()  # the moment of a call -> its _Arguments


def is_recording():
    """Return True while this thread records a function: the code that runs must not branch on the data of Values."""
    return lib.pg_mode_of(lib.PG_MODE_RECORDING) != 0


def watch(moment, watcher):
    """Have `watcher.tell(value, what)` called before each read of data within the recording that began at `moment`."""
    _watches[moment] = watcher


def tell(value, what):
    """Tell the watcher of this thread's newest recording of a read; see pygrad.engine.set_trace_hook."""
    watcher = _watches.get(lib.pg_mode_of(lib.PG_MODE_RECORDING))
    if watcher is not None:
        watcher.tell(value, what)


# --- calls ------------------------------------------------------------------------------------------------------------


class _Arguments:
    """The Values that a call runs on, and `block`, where its mode began (pg_mode in csrc/pygrad.h)."""

    def __init__(self, values, block):
        self.values, self.block = values, block


def call(function, arguments, values):
    """Return function(*arguments); `values` is a list of the Values in them, all just made, for this call alone."""
    with cells.call() as mode:
        running = _Arguments(values, mode.block)
        _arguments[mode.moment] = running
        del mode
        return function(*arguments)


def is_variable(value):
    """Return True if a Value depends on an argument of any call that this thread is running."""
    moment = lib.pg_mode_of(lib.PG_MODE_CALL) if cells.OPEN.of[lib.PG_MODE_CALL] else 0
    while moment:
        running = _arguments.get(moment)
        if running is not None:  # else an interrupt came between the beginning of the mode and the next line
            ids = ffi.new("pg_id[]", [v._pg_id for v in running.values])
            if lib.pg_depends_on(getattr(value, "_pg_id", 0), len(ids), ids, running.block):
                return True
        moment = lib.pg_mode_before(lib.PG_MODE_CALL, moment)
    return False


def check_hash(value):
    """Warn if a variable is hashed, for a set or dict: it is found there by identity, and not by its number."""
    if is_variable(value) and not lib.pg_mode_of(lib.PG_MODE_QUIET):
        if is_recording():
            tell(value, "hash()")
        else:
            truth.warn_of_lookup()


truth.is_variable = is_variable
