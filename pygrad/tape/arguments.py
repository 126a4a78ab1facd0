"""Arguments of compiled functions: numbers, nested lists and tuples, and anything with a buffer of numbers.

A plain number is shared by all samples. Any other argument has the samples along its first dimension. The *structure*
of a sample is None for a number, or a tuple of the structures of its items. A function is recorded once for each
combination of structures. Each number of a sample is an *input* of the tape. An input has a *column*: the address of
its number in the first sample, and the step to the next sample, 0 for a shared argument.
"""

import sys
from array import array
from collections.abc import Mapping
from decimal import Decimal
from itertools import chain, islice
from numbers import Real

from pygrad.common.nested import MOST_DIMENSIONS, MOST_LEVELS, build_lists, count, flatten, plain, rectangle
from pygrad.common.numbers import describe, is_number, to_float
from pygrad.common.parts import opened
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
        number = _one_number(given)
        self.is_number = number is not None
        if self.is_number:
            self.structure, self.samples, self.width, self.is_array = None, None, 1, False
            self.numbers = array("d", [to_float(number, name)])
            self._memory = ffi.from_buffer("double[]", self.numbers)
            self.columns = [(self._memory, 0)]
            return
        self.is_array = hasattr(given, "dtype") and getattr(given, "ndim", 0) > 0
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

        While the pointer lives, the numbers cannot move: an array that is made longer or shorter raises BufferError.
        The pointer is that of the view whose format was checked: an object asked anew may give another one.
        """
        memory = self.numbers if self._view is None else self._view
        held, needed = ffi.from_buffer("double[]", memory), (self.samples or 1) * self.width
        if len(held) != needed:
            raise ValueError(f"{self.name} changed while it was read: of {needed} numbers there are {len(held)}")
        return held

    def _read(self, given, is_batch):
        self._view = None  # of the caller's own memory, if C reads that
        if found := _from_buffer(given, self.name):
            shape, self.numbers, self._view = found
            shape = shape if is_batch else (1, *shape)
        else:
            given = given if is_batch else [given]
            shape, self.numbers = _from_lists(given, self.name)
        if shape is None:
            self.structure, self.samples, self.numbers = _from_trees(given, self.name)
        else:
            self.structure, self.samples = rectangle(shape[1:]), shape[0]
        if not self.samples:
            raise ValueError(f"{self.name} is an empty batch: its first dimension, the samples, has length 0")
        if not is_batch:
            self.samples = None


# --- how an argument is read: as one number, from a buffer, from rectangular lists, or sample by sample ---------------

# Formats of `memoryview`: 8-byte floats in this machine's byte order, so C can read them in place; then all numbers.
_DOUBLES = ("d", "@d", "=d", "<d" if sys.byteorder == "little" else ">d")
_NUMBERS = (*_DOUBLES, *"f?bBhHiIlLqQ")


def _one_number(given):
    """Return `given` if it is a number, the number in an array without dimensions, and None for anything else."""
    if is_number(given):
        return given
    if getattr(given, "ndim", None) == 0 and getattr(getattr(given, "dtype", None), "kind", "") in tuple("fiubO"):
        return _one_number(given.item())
    return None


def _from_buffer(given, name):
    """Return (shape, numbers, view) of an object with a buffer; None without a buffer.

    If the buffer is float64 in C order the numbers are the object itself, and C reads the view. Else they are a copy,
    and the view is None.
    """
    if isinstance(given, (list, tuple)):
        return None
    if isinstance(given, (str, bytes, bytearray)):
        _refuse(given, name)
    if hasattr(given, "filled") and hasattr(given, "mask"):
        raise TypeError(f"{name} is a masked array: say what stands in its gaps, with .filled(...)")
    if str(getattr(given, "dtype", "")) == "object":
        return None
    if getattr(getattr(given, "dtype", None), "kind", "") in tuple("fiub") and hasattr(given, "__array_interface__"):
        given = given.astype("d", order="C", copy=False)  # NumPy's method; no copy if it is float64 in C order
    try:
        view = memoryview(given)
    except (TypeError, ValueError, BufferError):
        return None
    if view.format not in _NUMBERS or view.ndim == 0:
        raise TypeError(f"{name} must hold real numbers, not {getattr(given, 'dtype', f'format {view.format!r}')}")
    if view.format in _DOUBLES and view.c_contiguous:
        is_held = view.nbytes and not _may_move(view.obj)
        return (view.shape, given, view) if is_held else (view.shape, array("d", bytes(given)), None)
    rows = view.tolist()
    for _ in view.shape[1:]:
        rows = chain.from_iterable(rows)
    return view.shape, array("d", rows), None


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
            if any(opened(item) is not None for item in level):
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
    if not all(issubclass(kind, (Real, Decimal)) for kind in set(map(type, level))):
        return None, None
    return shape, array("d", level)


def _from_trees(given, name):
    """Return (structure, how many samples, numbers); the samples are read one by one and must have one structure."""
    samples, structure, numbers = _items(given, name), None, array("d")

    def read(x):
        number = _one_number(x)
        if number is not None:
            return to_float(number, name)
        if (record := opened(x)) is not None:
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
    if isinstance(x, (str, bytes, bytearray, Mapping)) or getattr(x, "ndim", 1) == 0:
        return False
    return all(hasattr(x, name) for name in ("__len__", "__getitem__", "__iter__"))


def _items(sequence, name):
    """Return the items of a sequence in a tuple. Read each sequence once only: its answers may change.

    Raises TypeError for a table, since its items are its columns, and for a sequence whose length is not what it says.
    """
    if type(sequence) in _PLAIN:
        return tuple(sequence)
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
    raise TypeError(f"{name} must be numbers, lists of them or an array, not {describe(given)}")
