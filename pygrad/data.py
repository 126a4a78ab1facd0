"""Mini-batches of lists, arrays and tables, and their train/test split; shuffling leaves Python's generator alone."""

import math
import sys
import warnings

from pygrad.common.arrays import has_array, is_mapping, refusal
from pygrad.common.numbers import generator, refuse_unread, shortened, shown, to_whole
from pygrad.engine import recordings
from pygrad.tape.record import TraceWarning


class batches:
    """Iterate over mini-batches of sequences of one length: `for x, y in batches(X, Y, batch_size=32, seed=1)`.

    With one sequence an item is a batch of it; with several, a tuple of one batch of each. A batch of an array, a
    tensor, a Series or a DataFrame is one too, of the rows at its positions, whatever its labels are; a batch of any
    other sequence is a list. Each pass shuffles anew; equal seeds give equal passes. Python's
    global generator is left alone. The last batch may be smaller; `drop_last` leaves out a smaller one. `len()` is the
    number of batches. Raises ValueError for sequences of different lengths and for a batch_size below 1, TypeError
    for one that is not whole, for a dict and whatever else has no positions, and for a seed that is no number, str or
    bytes.

    >>> from pygrad.data import batches
    >>> list(batches([1, 2, 3], "abc", batch_size=2, shuffle=False))
    [([1, 2], ['a', 'b']), ([3], ['c'])]
    """

    def __init__(self, *sequences, batch_size, shuffle=True, seed=None, drop_last=False):
        self.sequences = tuple(map(_by_position, sequences))
        self.size = _common_length(self.sequences)
        self.batch_size, self.shuffle, self.drop_last = to_whole(batch_size, "batch_size", 1), shuffle, drop_last
        self._random = generator(seed)

    def __len__(self):
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __iter__(self):
        order = list(range(self.size))
        if self.shuffle:
            _shuffle(order, self._random)
        for i in range(len(self)):
            batch = _select_all(self.sequences, order[i * self.batch_size : (i + 1) * self.batch_size])
            yield batch[0] if len(batch) == 1 else batch


def train_test_split(*sequences, test_size=0.25, seed=None):
    """Return [a_train, a_test, b_train, b_test, …] of the sequences a, b, …, after one shuffle common to all.

    `test_size` is a number of items (an int), or a fraction (a float); the number of items is then rounded up. The
    parts are of the kinds that `batches` gives. Raises ValueError for sequences of different lengths, and for a size
    that leaves a part empty; TypeError for a dict and whatever else has no positions.

    >>> from pygrad.data import train_test_split
    >>> a_train, a_test, b_train, b_test = train_test_split([1, 2, 3, 4], "abcd", test_size=1, seed=0)
    >>> len(a_train), len(b_test)
    (3, 1)
    """
    sequences = tuple(map(_by_position, sequences))
    length = _common_length(sequences)
    is_share = isinstance(test_size, float) and math.isfinite(test_size)
    n = (
        math.ceil(test_size * length)
        if is_share
        else to_whole(test_size, "test_size, if it is no fraction,", -math.inf)
    )
    if not 0 < n < length:
        raise ValueError(f"test_size={shown(test_size)} of {length} items leaves the train or the test part empty")
    order = list(range(length))
    _shuffle(order, generator(seed))
    pairs = zip(_select_all(sequences, order[n:]), _select_all(sequences, order[:n]), strict=True)
    return [part for pair in pairs for part in pair]


def _shuffle(order, generator):
    if recordings.is_recording():
        message = "the function that is being recorded keeps this shuffle for all its runs: shuffle outside of it"
        warnings.warn(message, TraceWarning, stacklevel=3)
    generator.shuffle(order)


def _common_length(sequences):
    lengths = [len(sequence) for sequence in sequences]
    if not lengths:
        raise ValueError("at least one sequence is needed")
    if len(set(lengths)) > 1:
        raise ValueError(f"the sequences must be of one length, not {shortened(', '.join(map(str, lengths)))}")
    return lengths[0]


def _by_position(x):
    """Return a sequence as one whose items `_select` finds by position; TypeError for what has no positions."""
    try:
        len(x)
    except TypeError:
        refuse_unread(x, "a sequence of samples")  # a sparse array, say
        raise refusal(x, "a sequence of samples", "a list, an array or a table") from None
    if isinstance(x, memoryview) and x.ndim > 1:
        return x.tolist()  # a memoryview finds no rows
    if not hasattr(x, "__getitem__") or not has_array(x) and (is_mapping(x) or hasattr(x, "columns")):
        raise refusal(x, "a sequence of samples", "a list, an array or a table")
    return x


def _select_all(sequences, indices):
    """Return the items at `indices` of every sequence; of one that is no array or table, in a list."""
    return tuple(_select(s, indices) for s in sequences)


def _select(s, indices):
    if hasattr(s, "iloc"):  # pandas, whose [] would look for labels
        return s.iloc[indices]
    if hasattr(s, "take") and not hasattr(s, "dtype"):  # pyarrow
        return s.take(indices)
    if not has_array(s):
        return [s[i] for i in indices]
    numpy = sys.modules.get("numpy")  # JAX and xarray want an array
    return s[numpy.array(indices, dtype=int) if numpy else indices]
