"""The recordings of this thread: is it recording a function for `pygrad.compile`?

Code that must behave differently during a recording asks here. A recording is a mode of C, so that it ends whatever
happens. It starts in pygrad.tape.record; that module imports the engine, so the engine cannot import it.
"""

from weakref import WeakValueDictionary

from pygrad.engine._lib import lib

_watches = WeakValueDictionary()  # the moment of a recording -> the object to tell of reads


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
