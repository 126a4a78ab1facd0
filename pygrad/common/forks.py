"""Forks: the child gets a copy of the memory, but of the threads only the one that forked.

A lock that another thread held would stay locked in the child for ever, and what that thread was changing would stay
half-changed. So all that pygrad's Python code shares between threads changes under one lock, and a fork holds that lock
too. (The locks in C: csrc/engine/process.c, csrc/tape/pool.c, csrc/tape/replay.c.) What other threads had open, such as
a detect_anomaly() block, the module that counts it forgets in the child.

An import in a function is done under the lock as well: the child could never import a module that another thread was
importing.
"""

import os
import threading

# Re-entrant: a signal handler, or what the garbage collector frees, may do under the lock whatever needs the lock. No
# code of a program's is called under the lock otherwise, and nobody waits for another thread.
changing = threading.RLock()


def in_child(function):
    """Call `function()` in the child of each fork: it forgets what the other threads had open."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=changing.acquire, after_in_parent=changing.release, after_in_child=changing.release)
