"""Arguments of compiled functions: numbers, nested lists and tuples, and arrays, tensors and tables of all makes.

A plain number is shared by all samples. Any other argument has the samples along its first dimension. The *structure*
of a sample is None for a number, or a tuple of the structures of its items. A function is recorded once for each
combination of structures. Each number of a sample is an *input* of the tape. An input has a *column*: the address of
its number in the first sample, and the step to the next sample, 0 for a shared argument.
"""

from array import array
from decimal import Decimal
from itertools import chain, islice
from numbers import Real

from pygrad.common.arrays import (
    DOUBLES,
    doubles,
    flat,
    has_array,
    is_iterable,
    is_mapping,
    number_in,
    opened,
    refusal,
    unpacked,
)
from pygrad.common.nested import MOST_DIMENSIONS, MOST_LEVELS, build_lists, count, flatten, plain, rectangle
from pygrad.common.numbers import describe, to_exact
from pygrad.common.parts import record_of
from pygrad.engine._lib import ffi


class HasValues(TypeError):
    """An argument holds Values where numbers are needed; `Compiled.__call__` then calls the Python function."""


class Argument:
    """One argument of a call.

    structure  that of one sample
    samples    how many there are; None if the argument is shared by all samples
    numbers    the numbers of one sample after the other: an array of floats, or the caller's own memory
    width      how many numbers a sample has
    columns    (pointer, step) of each input
    is_number  is it one number? Then it is shared by all samples
    is_array   is it an array with dimensions? Then results are arrays too
    """

    def __init__(self, given, name, is_batch=True):
        self.given, self.name = given, name
        number = given if type(given) is float else None if type(given) is list else number_in(given, name)
        self.is_number = number is not None
        if self.is_number:
            self.structure, self.samples, self.width, self.is_array = None, None, 1, False
            self.numbers = array("d", [to_exact(number, name)])
            self._memory = ffi.from_buffer("double[]", self.numbers)
            self.columns = [(self._memory, 0)]
            return
        self.is_array = type(given) is not list and has_array(given)
        self._read(given, is_batch)
        self.width = count(self.structure)
        self._memory = self._hold()
        step = 0 if self.samples is None else self.width
        self.columns = [(self._memory + i, step) for i in range(self.width)]

    def select(self, samples):
        """Return the samples with these numbers, in a form that may be given as an argument."""
        if self.samples is None:
            return self.given
        items = (self._memory[i * self.width + k] for i in samples for k in range(self.width))
        return [build_lists(self.structure, items) for _ in samples]

    def _hold(self):
        """Return a C pointer to the numbers, after a check that there are as many as the columns will read.

        While this argument lives, the numbers cannot move: an array that is made longer or shorter raises BufferError.
        """
        if self._held is None:
            self._held = ffi.from_buffer("double[]", self.numbers), len(self.numbers), self.numbers
        needed = (self.samples or 1) * self.width
        numbers, found, _ = self._held
        if found != needed:
            raise ValueError(f"{self.name} changed while it was read: of {needed} numbers there are {found}")
        return numbers

    def _read(self, given, is_batch):
        self._held = None  # what `_held` returns: the caller's own memory, if C reads that
        found = opened(given, self.name)
        if found is None or getattr(found, "dtype", None) == "O":
            given = given if found is None else found.tolist()
            given = given if is_batch else [given]
            shape, self.numbers = _from_lists(given, self.name)
        else:
            shape, self.numbers, self._held = _from_array(found, given)
            shape = shape if is_batch else (1, *shape)
        if shape is None:
            self.structure, self.samples, self.numbers = _from_trees(given, self.name)
        elif shape[0]:
            self.structure, self.samples = rectangle(shape[1:]), shape[0]
        else:
            self.samples = 0
        if not self.samples:
            raise ValueError(f"{self.name} is an empty batch: its first dimension, the samples, has length 0")
        if not is_batch:
            self.samples = None


# --- how an argument is read: as one number, from an array, from rectangular lists, or sample by sample ---------------


def _from_array(found, given):
    """Return (shape, numbers, held) of what `opened` found in `given`.

    If its memory has float64 in C order the numbers are that memory, the object itself where it has a buffer, and C
    reads what is held. Else they are a copy, and `held` is None.
    """
    if isinstance(found, memoryview):
        return _from_view(found, given)
    in_order = found.astype("d", order="C", copy=False)  # no copy if it is float64 in C order
    numbers = ffi.from_buffer("double[]", in_order)
    is_given = in_order is found and isinstance(given, type(found))
    return in_order.shape, given if is_given else in_order, (numbers, len(numbers), in_order)


def _from_view(view, given):
    if view.format not in DOUBLES:
        return view.shape, array("d", flat(view)), None
    held = _held(view) if view.c_contiguous and view.nbytes and not _may_move(view.obj) else None
    if held:
        return view.shape, given, held
    return view.shape, array("d", view.tobytes()), None


def _held(view):
    """Return the memory of a memoryview: a C pointer to its numbers, how many there are, and what keeps them in place.

    Return None if its owner does not lend the memory a second time.
    The pointer is that of the view whose format was checked. The memory is held by the view's owner, not by the view:
    Python's garbage collector crashes if it clears a view that still lends its memory.
    """
    with ffi.from_buffer("double[]", view) as numbers:
        try:
            owner = ffi.from_buffer(view.obj)
        except (TypeError, ValueError, BufferError):  # no owner, or one that lends no memory in one piece
            return None
        count, offset = len(numbers), 0 if numbers == owner else _address(numbers) - _address(owner)
    is_within = 0 <= offset <= len(owner) - view.nbytes
    return (ffi.cast("double *", owner + offset), count, owner) if is_within else None


def _address(memory):
    return int(ffi.cast("uintptr_t", memory))


def _may_move(owner):
    """True for a ctypes object that has memory of its own: ctypes.resize() moves it, though there are views of it."""
    while getattr(owner, "_b_base_", None) is not None:
        owner = owner._b_base_
    return bool(getattr(owner, "_b_needsfree_", False))


_PLAIN = {list, tuple}  # exactly these types: a class derived from them may lie about its length and its items


def _from_lists(given, name):
    """Return (shape, numbers) of rectangular nested lists of numbers; (None, None) for any others."""
    shape, level = [], [given]
    while level and _is_sequence(level[0]):
        if not _PLAIN.issuperset(map(type, level)):
            if any(record_of(item) is not None for item in level):
                return None, None
            level = [_items(item, name) if _is_sequence(item) else None for item in level]
        lengths = {-1 if item is None else len(item) for item in level}
        if len(lengths) > 1:
            return None, None
        shape += lengths
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"{name} is nested more than {MOST_DIMENSIONS} deep, or holds itself")
        level = list(chain.from_iterable(level))
    if not shape:
        _refuse(given, name)
    kinds = set(map(type, level))
    if not all(issubclass(kind, (Real, Decimal)) and kind.__name__ != "timedelta64" for kind in kinds):
        return None, None
    return shape, doubles(level, name, kinds)


def _from_trees(given, name):
    """Return (structure, how many samples, numbers); the samples are read one by one and must have one structure."""
    samples, structure, numbers = _items(given, name), None, array("d")

    def read(x):
        number = number_in(x, name)
        if number is not None:
            return to_exact(number, name)
        if (record := record_of(x)) is not None:
            return record
        return _items(x, name) if _is_sequence(x) else _refuse(x, name)

    for i, sample in enumerate(samples):
        found = plain(flatten(sample, numbers, read, MOST_LEVELS))
        structure = structure if i else found
        if found != structure:
            raise ValueError(f"{name} is ragged: sample {i} is not shaped like sample 0")
    return structure, len(samples), numbers


def _is_sequence(x):
    """True for an object with items in a sequence: not for a dict, a set, text or an array without dimensions."""
    if isinstance(x, (list, tuple)):
        return True
    if isinstance(x, (str, bytes, bytearray)) or getattr(x, "ndim", 1) == 0:
        return False
    if has_array(x):
        return True
    if is_mapping(x):
        return False
    return hasattr(x, "__len__") and hasattr(x, "__getitem__") and is_iterable(x)


def _items(sequence, name):
    """Return the items of a sequence in a tuple. Read each sequence once only: its answers may change.

    Raises TypeError for a table, since its items are its columns, and for a sequence whose length is not what it says.
    """
    if type(sequence) in _PLAIN:
        return tuple(sequence)
    rows = unpacked(sequence, name)
    if rows is not sequence:
        return tuple(rows)
    if hasattr(sequence, "columns") and not isinstance(sequence, (list, tuple)):
        raise TypeError(
            f"{name} is or holds a table, {describe(sequence)}, which gives its columns where rows are needed: pass "
            "its numbers as an array, as .to_numpy() returns them"
        )
    try:
        n = len(sequence)
    except TypeError:
        _refuse(sequence, name)
    rest = iter(sequence)
    items, more = tuple(islice(rest, n)), any(True for _ in rest)
    if more or len(items) != n:
        raise TypeError(
            f"{name} is or holds no sequence, but {describe(sequence)}: its length is {n}, and it gives "
            f"{'more' if more else len(items)} items. Pass a list of its numbers, or an array"
        )
    return items


def _refuse(given, name):
    if hasattr(given, "_prev"):
        raise HasValues(
            f"{name} holds Values, and here numbers are needed: call the function itself with Values, and backward() "
            "on what it returns"
        )
    raise refusal(given, name, "numbers, lists of them or an array")
