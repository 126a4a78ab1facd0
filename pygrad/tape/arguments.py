"""Arguments of compiled functions: numbers, nested lists and tuples, and anything with a buffer of numbers.

A plain number is the same for all samples. Anything else has the samples along its first dimension. What one sample
looks like is its *structure*: None for a number, or a tuple of the structures of its items. A function is traced once
for each combination of structures; its numbers arrive as *columns*, one an input, each a place in memory and a step.
"""

import math
import sys
from array import array
from collections.abc import Mapping
from decimal import Decimal
from itertools import chain, islice
from numbers import Real

from pygrad.contract.nested import MOST_DIMENSIONS, build_lists, count, flatten, plain, rectangle
from pygrad.contract.numbers import describe, is_number, to_float
from pygrad.engine._lib import ffi


class HasValues(TypeError):
    """An argument holds Values: the function is being called by code that is itself recorded."""


class Argument:
    """One argument: `structure` of a sample, `samples` (None: the same for all) and the numbers, row by row.

    `numbers` is an array of floats, or the caller's own memory; `columns` are (pointer, step), one an input.
    """

    def __init__(self, given, name, is_batch=True):
        self.given = given
        self.name, self.is_array = name, hasattr(given, "dtype") and getattr(given, "ndim", 0) > 0
        number = _one_number(given)
        self.is_number = number is not None
        if self.is_number:
            self.structure, self.samples = None, None
            self.numbers = array("d", [to_float(number, name)])
        else:
            self._read(given, is_batch)
        self.width = count(self.structure)
        self._memory = self._hold()
        step = 0 if self.samples is None else self.width
        self.columns = [(self._memory + i, step) for i in range(self.width)]

    def select(self, samples):
        """Return these samples, by number, as an argument of their own may be given."""
        if self.samples is None:
            return self.given
        items = (self._memory[i * self.width + k] for i in samples for k in range(self.width))
        return [build_lists(self.structure, items) for _ in samples]

    def _hold(self):
        """Return the numbers as C reads them: as many as the columns say. While this lives they stay where they are.

        An array that is made longer or shorter meanwhile says BufferError.
        """
        held, needed = ffi.from_buffer("double[]", self.numbers), (self.samples or 1) * self.width
        if len(held) != needed:
            raise ValueError(f"{self.name} changed while it was read: of {needed} numbers there are {len(held)}")
        return held

    def _read(self, given, is_batch):
        if found := _from_buffer(given, self.name):
            shape, self.numbers = found if is_batch else ((1, *found[0]), found[1])
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


# --- three ways to read an argument; each returns a shape and the numbers, or None if it is not of that kind ----------

# What `memoryview` calls numbers: 8-byte floats in the order of this machine, which C reads as they are; and others.
_DOUBLES = ("d", "@d", "=d", "<d" if sys.byteorder == "little" else ">d")
_NUMBERS = (*_DOUBLES, *"f?bBhHiIlLqQ")


def _one_number(given):
    """Return the number that `given` is, or that an array without dimensions holds; None if it is none."""
    if is_number(given):
        return given
    if getattr(given, "ndim", None) == 0 and getattr(getattr(given, "dtype", None), "kind", "") in tuple("fiubO"):
        return _one_number(given.item())
    return None


def _from_buffer(given, name):
    """Read what has a buffer; without a copy if it is float64 in C order."""
    if isinstance(given, (list, tuple)):
        return None
    if isinstance(given, (str, bytes, bytearray)):
        _refuse(given, name)
    if hasattr(given, "filled") and hasattr(given, "mask"):
        raise TypeError(f"{name} is a masked array: say what stands in its gaps, with .filled(...)")
    if str(getattr(given, "dtype", "")) == "object":
        return None
    if getattr(getattr(given, "dtype", None), "kind", "") in tuple("fiub") and hasattr(given, "__array_interface__"):
        given = given.astype("d", order="C", copy=False)  # NumPy's; nothing is done if it is so already
    try:
        view = memoryview(given)
    except (TypeError, ValueError, BufferError):
        return None
    if view.format not in _NUMBERS or view.ndim == 0:
        raise TypeError(f"{name} must hold real numbers, not {getattr(given, 'dtype', f'format {view.format!r}')}")
    if view.format in _DOUBLES and view.c_contiguous:
        return view.shape, (given if view.nbytes else array("d"))
    rows = view.tolist()
    for _ in view.shape[1:]:
        rows = chain.from_iterable(rows)
    return view.shape, array("d", rows)


_PLAIN = {list, tuple}  # no program's code says how long these are, and what is in them


def _from_lists(given, name):
    """Read nested lists that are rectangular; (None, None) if they are not."""
    shape, level = [], [given]
    while level and _is_sequence(level[0]):
        if not _PLAIN.issuperset(map(type, level)):
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
    """Read samples of any one structure, one by one."""
    samples, structure, numbers = _items(given, name), None, array("d")

    def read(x):
        number = _one_number(x)
        if number is not None:
            return to_float(number, name)
        return _items(x, name) if _is_sequence(x) else _refuse(x, name)

    for i, sample in enumerate(samples):
        found = plain(flatten(sample, numbers, read, math.inf))
        structure = structure if i else found
        if found != structure:
            raise ValueError(f"{name} is ragged: sample {i} is not shaped like sample 0")
    return structure, len(samples), numbers


def _is_sequence(x):
    """True for what has items in an order: no dict or set, no text, no array without dimensions."""
    if isinstance(x, (list, tuple)):
        return True
    if isinstance(x, (str, bytes, bytearray, Mapping)) or getattr(x, "ndim", 1) == 0:
        return False
    return all(hasattr(x, name) for name in ("__len__", "__getitem__", "__iter__"))


def _items(sequence, name):
    """Return what a sequence holds, in a tuple; not to be asked again, as it may then say something else.

    TypeError for a table, whose items are its columns, and for what has another length than it says.
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
