"""What a compiled function keeps for later calls, and how much of it: the least recently used goes.

Several threads may use one `Kept` at a time without a lock: each change is one step of a dict, and what looks at all
entries looks at a copy.
"""

import itertools
import weakref

from pygrad.common.nested import statics_in
from pygrad.common.numbers import shortened, to_whole
from pygrad.tape.record import warn_here

MAX_RECORDINGS = 256  # the default
_clock = itertools.count(1)  # of uses


class Kept:
    """A dict of at most `most` things (None: no limit). One more drops the thing whose last use is longest ago.

    Keys stay in the sequence in which they were put there: a use does not move them.
    """

    def __init__(self, most):
        self.most, self._entries = most, {}  # _entries: key -> [thing, when it was used last]

    def __len__(self):
        return len(self._entries)

    def __iter__(self):
        return iter(self._entries.copy())

    def get(self, key):
        """Return the thing of this key, which is used now; None if it is not there."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry[1] = next(_clock)
        return entry[0]

    def put(self, key, thing):
        """Keep a thing; return how many others went for it."""
        self._entries[key] = [thing, next(_clock)]
        return self.shrink()

    def shrink(self):
        """Drop what is more than `most`; return how many things went."""
        gone = 0
        while self.most is not None and len(self._entries) > self.most:
            oldest, _ = min(self._entries.copy().items(), key=_last_use)
            gone += self._entries.pop(oldest, None) is not None
        return gone

    def clear(self):
        self._entries.clear()

    def things(self):
        """Return {key: thing}, a copy."""
        return {key: thing for key, (thing, _) in self._entries.copy().items()}

    def copy(self):
        """Return a copy with entries of its own."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _entries={key: [*entry] for key, entry in self._entries.copy().items()})
        return new


def _last_use(item):
    _, (_, used) = item
    return used


class Recordings(Kept):
    """The tapes of a compiled function, by the structures of its arguments: `most` is its `max_recordings`."""

    def __init__(self, most):
        super().__init__(checked(most))
        self._gone = 0  # recordings that went for others
        self._derived = weakref.WeakSet()  # the Recordings of derivatives and the like, made from these
        self._watches = {}  # key -> weak references to the objects in it that count by identity

    def add(self, key, tape, name):
        """Keep a new tape. Once as many have gone for others as are kept, and at least ten, warn of function `name`."""
        before = self._gone
        self._gone += self.put(key, tape)
        self._watch(key)
        if self.most is not None and before < max(self.most, 10) <= self._gone:
            warn_here(
                f"{shortened(name)} is recorded again and again: it was called with more kinds of arguments than "
                f"max_recordings={self.most}, and the recordings least recently used have gone. Pass what changes from "
                "call to call as numbers, in lists or arrays of few shapes; or set a larger max_recordings"
            )

    def derive(self, others):
        """Have other Recordings, made from these, cleared with them."""
        self._derived.add(others)

    def clear(self):
        super().clear()
        for others in list(self._derived):
            others.clear()

    def copy(self):
        """Return a copy with entries of its own, from which nothing is derived yet."""
        new = super().copy()
        new._derived = weakref.WeakSet()
        return new

    def _watch(self, key):
        """Have the recording of this key dropped as soon as an object in the key is no more."""
        own = weakref.ref(self)

        def drop(_):
            if (recordings := own()) is not None:
                recordings._entries.pop(key, None)
                recordings._watches.pop(key, None)

        if watches := [weakref.ref(static.value, drop) for static in statics_in(key) if static.is_weak]:
            self._watches = {key: refs for key, refs in self._watches.copy().items() if key in self._entries}
            self._watches[key] = watches


def checked(most):
    """Return `max_recordings` as an int, or None. TypeError and ValueError for anything else."""
    return None if most is None else min(to_whole(most, "max_recordings", 1), 2**31 - 1)  # as much as a file may say
