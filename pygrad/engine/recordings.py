"""The recordings of this thread: is it recording a function for `pygrad.compile`?

Code that must behave differently during a recording asks here. A recording starts and ends in pygrad.tape.record; that
module imports the engine, so the engine cannot import it.
"""

import threading

_thread = threading.local()  # .running: see running()


def running():
    """Return the list of the recordings that run in this thread, the innermost last."""
    return getattr(_thread, "running", [])


def set_running(recordings):
    """Make `recordings` the list of this thread's recordings."""
    _thread.running = recordings


def is_recording():
    """Return True while this thread records a function: the code that runs must not branch on the data of Values."""
    return len(running()) > 0
