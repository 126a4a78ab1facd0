"""Data that is not lists: arrays, tensors, columns and tables of other libraries, and buffers; read by position.

`opened` finds the numbers of whatever has `__array__`, `__dlpack__` or a buffer, in its own memory where that is
possible. A table is its rows. `items` and `unpacked` give them as lists. What cannot be read right is refused by a
TypeError that names the cure. Attributes that tell one library's data from another's are looked up on the type: a
table has its columns' names as attributes.
"""

import sys
from array import array
from collections.abc import Mapping, Set
from itertools import chain

from pygrad.common import forks
from pygrad.common.numbers import MOST_EXACT, describe, is_number, item_in, refuse_unread, shortened, to_exact

# Formats of `memoryview`: 8-byte floats in this machine's byte order, so C can read them in place; then all numbers.
DOUBLES = ("d", "@d", "=d", "<d" if sys.byteorder == "little" else ">d")
_NUMBERS = (*DOUBLES, *"f?bBhHiIlLqQ")

# What to pass in place of an array, by the kind of its dtype.
_OTHER_ARRAYS = {
    "c": "pygrad has no complex numbers, pass its .real, its .imag or abs(...)",
    "M": "pass how long after a date each one is, in a unit: (x - x[0]) / numpy.timedelta64(1, 'D')",
    "m": "pass the numbers of a unit: x / numpy.timedelta64(1, 's')",
    "U": "convert text first, with .astype(float)",
    "S": "convert text first, with .astype(float)",
    "T": "convert text first, with .astype(float)",
    "V": "pass its fields as one array, as numpy.lib.recfunctions.structured_to_unstructured returns them",
}


def opened(x, name):
    """Return the array, tensor, column or table `x` as a NumPy array, another buffer as a memoryview; None if it is
    none of these.

    Its numbers are those of `x` itself, not copied, wherever NumPy can read these. They are integers that a float can
    hold, floats or bools; or objects, which are still to be looked at. Raises TypeError, which begins with `name`; and
    ValueError for rows without numbers: there may be any number of them.
    """
    if isinstance(x, (list, tuple, str, bytes, bytearray)):
        return None
    numpy = sys.modules.get("numpy")
    if type(x) is not getattr(numpy, "ndarray", ()):
        if not has_array(x):
            return _buffer(x, name)
        _refuse_gaps(x, name)
        x = _rows(x, name) if hasattr(type(x), "columns") else _in_numpy(x, name)
    return None if x is None else _checked(x, name)


def _with_numbers(found, name):
    """Return an array or memoryview; ValueError if it has rows, and no number in them."""
    if not found.nbytes and found.shape[0]:
        raise ValueError(f"{name} has rows without numbers: its shape is {shortened(found.shape)}")
    return found


def has_array(x):
    """True if NumPy can make an array of `x` that is more than a box around it; also of a NumPy scalar."""
    return hasattr(x, "__array__") or hasattr(x, "__dlpack__") or hasattr(type(x), "nnz") or hasattr(type(x), "nse")


def unpacked(x, name):
    """Return an array, tensor, column, table or buffer as nested lists; one without dimensions, or a scalar of pyarrow,
    as its item; any other object as it is. Raises TypeError as `opened` does.
    """
    if hasattr(type(x), "as_py"):
        return item_in(x, name)
    found = opened(x, name)
    if isinstance(found, memoryview) and found.nbytes and found.format in DOUBLES:
        found = memoryview(found.tobytes()).cast("d", found.shape)  # a memoryview reads no format but "d"
    return x if found is None else found.tolist()


def operands_of(x):
    """Return the Values and numbers that `sum` or `dot` is given, in a list or tuple: see `items`."""
    return items(x, "the operands", "a list of Values and numbers")


def items(x, name, wanted="numbers, lists of them or an array"):
    """Return the items of a sequence, array or iterator in a list or tuple, by position; the rows of a table.

    Raises TypeError for an object whose items have no positions, such as a dict, a set or text.
    """
    if isinstance(x, (list, tuple)):
        return x
    if hasattr(type(x), "__next__"):
        return list(x)
    x = unpacked(x, name)
    if type(x) is list:
        return x
    if isinstance(x, (str, bytes, bytearray, Set)) or is_mapping(x) or not is_iterable(x):
        raise refusal(x, name, wanted)
    return list(x)


def number_in(x, name):
    """Return `x` if it is a number, the number in an array or tensor without dimensions, and None for anything else.

    Raises TypeError as `opened` does.
    """
    if is_number(x):
        return x
    item = item_in(x, name)
    if item is not x and is_number(item):
        return item
    if getattr(item, "ndim", None) == 0:
        opened(item, name)  # raises the error for a duration, say
    return None


def is_mapping(x):
    """True for an object whose items are keys or names: a dict, or a table that does not say so."""
    return isinstance(x, Mapping) or hasattr(x, "keys")


def is_iterable(x):
    """True for what gives items: of ctypes, an array."""
    return hasattr(x, "__iter__") or hasattr(x, "_length_")


def doubles(numbers, name, kinds):
    """Return a list of real numbers as an array of floats; `kinds` is the set of their types.

    Raises TypeError for an int that no float is equal to, and OverflowError for a number that is too large.
    """
    if kinds == {float}:
        return array("d", numbers)
    try:
        found = array("d", numbers)
    except (OverflowError, ValueError):
        return array("d", [to_exact(x, name) for x in numbers])  # raises an error that says which number it is
    if found and not (-MOST_EXACT < min(found) and max(found) < MOST_EXACT):  # or the first one is nan
        return array("d", [to_exact(x, name) for x in numbers])
    return found


def refusal(x, name, wanted):
    """Return the TypeError for an object that is no data: it names the cure."""
    return TypeError(f"{name} must be {wanted}, not {describe(x)}{_cure(x)}")


def _cure(x):
    kind = type(x)
    if is_mapping(x):
        return ": its items are its keys, so pass a list of its numbers, such as list(x.values())"
    if isinstance(x, Set):
        return ": its items have no sequence, so pass a list, such as sorted(x)"
    if isinstance(x, (bytes, bytearray)):
        return ": pass list(...) of it if its bytes are the numbers, such as the pixels of an image"
    if isinstance(x, str):
        return ": convert it first, for example with float(...)"
    if isinstance(x, complex):
        return ": pygrad has no complex numbers, pass its .real, its .imag or abs(...)"
    if hasattr(kind, "isoformat") or hasattr(kind, "total_seconds"):
        return ": pass a number in a unit, such as the .total_seconds() after a date"
    if x is None or kind.__name__ == "NAType":
        return ": say what stands in a gap, a number or math.nan"
    return ": pass list(...) of it" if hasattr(kind, "__iter__") or hasattr(kind, "__getitem__") else ""


# --- reading ----------------------------------------------------------------------------------------------------------


def _buffer(x, name):
    """Return a memoryview of an object with a buffer; None for any other. TypeError if it does not hold numbers."""
    try:
        view = memoryview(x)
    except (TypeError, ValueError, BufferError):
        return None
    if view.format in _NUMBERS and view.ndim:
        if view.format in "lLqQ":
            _check_integers(flat(view), name)
        return _with_numbers(view, name)
    if hasattr(x, "_length_"):
        return None  # a ctypes array: its items are numbers, though a memoryview cannot read them
    raise TypeError(f"{name} must hold real numbers, not format {view.format!r}")


def flat(view):
    """Return all numbers of a memoryview in a list."""
    rows = view.tolist()
    for _ in view.shape[1:]:
        rows = chain.from_iterable(rows)
    return list(rows)


def _numpy():
    """Return NumPy, or None if it is not installed."""
    try:
        with forks.importing:
            import numpy
    except ImportError:
        return None
    return numpy


def _in_numpy(x, name):
    """Return `x` as a NumPy array, over its own memory where it can be; None without NumPy: then its items are read."""
    refuse_unread(x, name)
    numpy = _numpy()
    if numpy is None:
        return None
    try:
        return numpy.asarray(x) if hasattr(x, "__array__") else numpy.from_dlpack(x)
    except MemoryError:
        raise
    except Exception as error:
        try:
            return numpy.asarray(x.tolist())  # a tensor on another device, or of a type that NumPy has not
        except Exception:
            raise TypeError(
                f"{name} cannot be read, for {describe(x)} says: {shortened(error)}. Pass its numbers in a list or a "
                "NumPy array"
            ) from error


def _refuse_gaps(x, name):
    """Raise TypeError for a column with gaps that are no nan: an array would have nan there."""
    gaps = getattr(x, "null_count", 0) if hasattr(type(x), "null_count") else 0
    if not gaps and hasattr(x, "isna") and not _is_numpys(getattr(x, "dtype", None)):
        gaps = getattr(x, "ndim", 1) == 1 and int(x.isna().sum())
    gaps = gaps() if callable(gaps) else gaps
    if isinstance(gaps, int) and gaps:
        raise TypeError(f"{name} has gaps, {gaps} of them: say what stands there, with .fillna(...) or the like")


def _is_numpys(dtype):
    """True for a dtype of NumPy, which has no gaps; pandas has others."""
    return type(dtype).__module__.startswith("numpy")


def _rows(table, name):
    """Return the rows of a table as a NumPy array. A table of several types is read column by column, each exactly."""
    numpy = _numpy()
    if numpy is None:
        raise TypeError(
            f"{name} is a table, {describe(table)}, and to read it needs NumPy: install it, or pass a list of rows"
        )
    if hasattr(table, "iloc"):  # pandas
        kinds = set(table.dtypes)
        if len(kinds) == 1 and _is_numpys(*kinds):
            return _in_numpy(table, name)
        columns = [table.iloc[:, i] for i in range(len(table.columns))]
    else:  # Polars; pyarrow
        columns = table.get_columns() if hasattr(table, "get_columns") else table.columns
    labels = getattr(table, "column_names", table.columns)
    read = [_column(column, f"{name}, in column {label!r},") for column, label in zip(columns, labels)]
    is_numeric = all(column.dtype.kind != "O" for column in read)
    rows = numpy.empty((len(table), len(read)), dtype=float if is_numeric else object)
    for i, column in enumerate(read):
        rows[:, i] = column
    return rows


def _column(column, name):
    found = opened(column, name)
    if found.dtype.kind == "O":
        for item in found.tolist():
            if not (hasattr(type(item), "_prev") or is_number(item)):
                raise refusal(item, name, "numbers")
    return found


def _checked(found, name):
    """Return a NumPy array if it holds real numbers or objects; TypeError for any other."""
    kind, dtype = found.dtype.kind, found.dtype
    if found.ndim:
        _with_numbers(found, name)
    if kind in "fb" and found.itemsize <= 8 or kind == "O":
        return found
    if kind in "iu":
        if found.itemsize == 8 and found.size and not (found.min() >= -MOST_EXACT and found.max() <= MOST_EXACT):
            _check_integers(found.ravel().tolist(), name)
        return found
    numpy = _numpy()
    if kind == "f":
        with numpy.errstate(over="ignore"):
            rounded = found.astype("d")
        if not (numpy.isinf(rounded) == numpy.isinf(found)).all():
            raise OverflowError(f"{name} holds a number that is too large for a float")
        return rounded
    if kind == "V" and dtype.names is None and dtype.subdtype is None and numpy.can_cast(dtype, "d"):
        return found.astype("d")  # bfloat16, say
    raise TypeError(f"{name} must hold real numbers, not {shortened(dtype)}: {_OTHER_ARRAYS.get(kind, '')}")


def _check_integers(integers, name):
    for x in integers:
        to_exact(x, name)
