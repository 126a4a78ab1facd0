"""Note which numbers a function reads: of Values that stand for other numbers too (pygrad.engine.recordings).

Custom ops ask, when their derivatives are differentiated. Threads share one trace hook; a moment is of one thread.
"""

import threading

from pygrad import engine
from pygrad.common import forks
from pygrad.engine import cells, recordings

_READS = ("data", "item()", "_local_grads")  # a comparison chooses, and detach() says that no gradient is wanted

_lock = threading.RLock()
_running = []  # (moment of the call, list of what was read) of each function that runs
_before = None  # the hook of the program


def _renew_lock():
    global _lock
    _lock = threading.RLock()


forks.in_child(_renew_lock)  # another thread may have held it


def noting(function, found):
    """Return a function that does as `function`, and appends each variable whose number it reads to the list `found`.

    It is called by `recordings.call`. What it reads in calls of other ops is their affair.
    """

    def run(*args, **kwargs):
        entry = cells.newest_call(), found
        _begin(entry)
        try:
            return function(*args, **kwargs)
        finally:
            _end(entry)

    return run


def _begin(entry):
    global _before
    with _lock:
        if not _running and (hook := engine.set_trace_hook(_tell)) is not _tell:
            _before = hook
        _running.append(entry)


def _end(entry):
    with _lock:
        _running[:] = [other for other in _running if other[1] is not entry[1]]
        if not _running:
            engine.set_trace_hook(_before)


def _tell(value, what):
    call = cells.newest_call()
    for moment, found in list(_running):
        if moment == call and what in _READS and recordings.is_variable(value):
            found.append(value)
    if _before is not None:
        _before(value, what)
