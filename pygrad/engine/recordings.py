"""The recordings and calls of this thread: is it recording a function? On which arguments do functions run?

Code that must behave differently during a recording asks here. A recording is a mode of C, so that it ends whatever
happens. It starts in pygrad.tape.record; that module imports the engine, so the engine cannot import it.

A *call* is a mode too: a function runs once, on arguments that stand for other numbers too. Recordings, transforms,
`minimize` and the like call a function of the user's by `call`. A Value that depends on an argument of such a call is a
*variable*: pygrad.common.truth says what a program may not ask of it.
"""

from weakref import WeakValueDictionary

from pygrad.common import truth
from pygrad.common.caller import is_within_pygrad
from pygrad.engine import cells
from pygrad.engine._lib import lib
from pygrad.engine.errors import check

_watches = WeakValueDictionary()  # the moment of a recording -> the object to tell of reads


def is_recording():
    """Return True while this thread records a function: the code that runs must not branch on the data of Values."""
    return lib.pg_mode_of(lib.PG_MODE_RECORDING) != 0


def watch(moment, watcher):
    """Have `watcher.tell(value, what)` called before each read of data within the recording that began at `moment`."""
    _watches[moment] = watcher


def tell(value, what):
    """Tell a recording that a number of the Value is read or set; return True if there is a recording to tell.

    It is this thread's newest recording, or else the newest of another thread on whose arguments the Value depends. See
    pygrad.engine.set_trace_hook.
    """
    own = lib.pg_mode_of(lib.PG_MODE_RECORDING)
    watcher = _watches.get(own or lib.pg_recording_of(getattr(value, "_pg_id", 0)))
    if watcher is not None:
        watcher.tell(value, what)
    return watcher is not None


def note(what):
    """Tell this thread's newest recording that something is done now which later runs will not do again."""
    if cells.OPEN.calls and not lib.pg_mode_of(lib.PG_MODE_QUIET):
        watcher = _watches.get(lib.pg_mode_of(lib.PG_MODE_RECORDING))
        if watcher is not None:
            watcher.note(what)


# --- calls ------------------------------------------------------------------------------------------------------------


def call(function, arguments, values, mode=cells.call):
    """Return function(*arguments), called in a mode; `values` are the Values in the arguments: see `register`."""
    with mode() as cell:
        register(cell, values)
        del cell
        return function(*arguments)


def register(cell, values):
    """Note that these Values, all just made, stand for other numbers too until the mode in the cell ends."""
    status = lib.pg_mode_arguments(cell, len(values), [v._pg_id for v in values])
    if status != lib.PG_OK:
        check(status)


def is_calling():
    """Return True while this thread runs a function by `call`: its arguments stand for other numbers too."""
    return cells.OPEN.calls != 0 and any(map(lib.pg_mode_of, _CALLS))


_CALLS = (lib.PG_MODE_CALL, lib.PG_MODE_NESTED, lib.PG_MODE_RECORDING)


def is_variable(value):
    """Return True if a Value depends on an argument of any call that is running, in whatever thread."""
    return cells.OPEN.calls != 0 and lib.pg_is_variable(getattr(value, "_pg_id", 0)) != 0


def check_hash(value):
    """Warn if a program hashes a variable, for a set or dict: it is found there by identity, and not by its number."""
    if not is_variable(value) or lib.pg_mode_of(lib.PG_MODE_QUIET) or is_within_pygrad("recordings", "portable"):
        return
    if not tell(value, "hash()"):
        truth.warn_of_lookup()


def check_backward(*roots):
    """Warn of backward() in a recording, and from a variable: it sets gradients to numbers of this one run."""
    told = [tell(root, "backward()") for root in roots]
    if not any(told) and any(map(is_variable, roots)):
        truth.warn_of_gradients("backward()")


def note_format(value):
    """Tell a recording that the number of a Value was written as text."""
    if cells.OPEN.calls and not lib.pg_mode_of(lib.PG_MODE_QUIET):
        with cells.quiet():
            tell(value, "format()")


def note_let_go(value):
    """Tell a recording that a result lets its operands go: it keeps the number of this one run, as detach() does."""
    if cells.OPEN.calls:
        tell(value, "_prev =")


truth.is_variable, truth.note_format, truth.note_let_go = is_variable, note_format, note_let_go
