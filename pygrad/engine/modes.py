"""The mode of this thread: is it recording a function for `pygrad.compile`?

Code that must behave differently during a recording asks here. A recording starts and ends in pygrad.tape.record; that
module imports the engine, so the engine cannot import it.
"""

import threading

_thread = threading.local()  # .recordings: see recordings()


def recordings():
    """Return the list of the recordings that run in this thread, the innermost last."""
    return getattr(_thread, "recordings", [])


def set_recordings(running):
    """Make `running` the list of this thread's recordings."""
    _thread.recordings = running


def is_recording():
    """Return True while this thread records a function: the code that runs must not branch on the data of Values."""
    return len(recordings()) > 0
