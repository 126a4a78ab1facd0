"""What this thread is doing, for those who must do it differently: is it recording a function for `pygrad.compile`?

The modules that start and end a recording lie above the engine (pygrad.tape.record); the engine asks here.
"""

import threading

_thread = threading.local()  # .recordings: those that run in this thread, the innermost last


def recordings():
    """Return the recordings of functions that run in this thread, the innermost last."""
    return getattr(_thread, "recordings", [])


def set_recordings(running):
    _thread.recordings = running


def is_recording():
    """Return True while this thread records a function, which then must not decide by the numbers it sees."""
    return len(recordings()) > 0
