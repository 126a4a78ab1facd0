"""Mini-batches and a train/test split of lists or NumPy arrays, shuffled by a generator of their own."""

import math
import operator
import random
import warnings

from pygrad.engine import modes
from pygrad.tape.record import TraceWarning


class batches:
    """Iterate over mini-batches of sequences of one length: `for x, y in batches(X, Y, batch_size=32, seed=1)`.

    Each pass shuffles anew; the same seed gives the same passes, and Python's global generator is left alone. Of one
    sequence you get its batches, of several a tuple of one batch of each: arrays of arrays, lists of other sequences.
    The last batch may be smaller, unless `drop_last`. `len()` is the number of batches.
    Raises ValueError for sequences of different lengths and a batch_size below 1.
    """

    def __init__(self, *sequences, batch_size, shuffle=True, seed=None, drop_last=False):
        self.sequences, self.size = sequences, _common_length(sequences)
        self.batch_size, self.shuffle, self.drop_last = operator.index(batch_size), shuffle, drop_last
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._random = random.Random(seed)

    def __len__(self):
        return self.size // self.batch_size if self.drop_last else math.ceil(self.size / self.batch_size)

    def __iter__(self):
        order = list(range(self.size))
        if self.shuffle:
            _shuffle(order, self._random)
        for i in range(len(self)):
            batch = _select_all(self.sequences, order[i * self.batch_size : (i + 1) * self.batch_size])
            yield batch[0] if len(batch) == 1 else batch


def train_test_split(*sequences, test_size=0.25, seed=None):
    """Return train and test part of each sequence, [a_train, a_test, b_train, b_test, …], after one common shuffle.

    `test_size` is a fraction (rounded up) or a number of items. ValueError for sequences of different lengths, and for
    a size that leaves one of the parts empty.
    """
    length = _common_length(sequences)
    n = math.ceil(test_size * length) if isinstance(test_size, float) else operator.index(test_size)
    if not 0 < n < length:
        raise ValueError(f"test_size={test_size} of {length} items leaves the train or the test part empty")
    order = list(range(length))
    _shuffle(order, random.Random(seed))
    pairs = zip(_select_all(sequences, order[n:]), _select_all(sequences, order[:n]), strict=True)
    return [part for pair in pairs for part in pair]


def _shuffle(order, generator):
    if modes.is_recording():
        message = "this order is kept by the function that is being recorded: shuffle outside of it"
        warnings.warn(message, TraceWarning, stacklevel=3)
    generator.shuffle(order)


def _common_length(sequences):
    lengths = [len(sequence) for sequence in sequences]
    if not lengths:
        raise ValueError("at least one sequence is needed")
    if len(set(lengths)) > 1:
        raise ValueError(f"the sequences must be of one length, not {', '.join(map(str, lengths))}")
    return lengths[0]


def _select_all(sequences, indices):
    """Return the items at `indices` of every sequence: of a NumPy array as an array, else as a list."""
    return tuple(s[indices] if hasattr(s, "dtype") else [s[i] for i in indices] for s in sequences)
