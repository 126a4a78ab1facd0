"""Forks: the child gets a copy of the memory, but of the threads only the one that forked.

A lock that another thread held would stay locked in the child for ever. So pygrad's Python code shares nothing between
threads that it must lock, but for two things: an import in a function is done under the lock `importing`, and a fork
holds this lock too, for the child could never import a module that another thread was importing; and an optimizer has a
lock of its own (pygrad/optim.py), which is new in the child. (The locks in C: csrc/engine/process.c, csrc/tape/pool.c,
csrc/tape/replay.c.) What other threads had open, such as a detect_anomaly() block, C forgets in the child.
"""

import os
import threading

# Re-entrant: a signal handler, or what the garbage collector frees, may import too.
importing = threading.RLock()


def in_child(function):
    """Call `function()` in the child of each fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _renew():
    """Make a new lock: if Ctrl-C has kept the fork from waiting for the old one, another thread had it."""
    global importing
    importing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=_renew)
