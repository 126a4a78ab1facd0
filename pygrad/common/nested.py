"""Nested lists of numbers and Values: read into one flat list, and built again.

All code that visits nested lists is here. An *item* is a number or Value in the lists. The *structure* is the lists and
tuples, with None in place of each item. A *plain* structure has tuples only, so it can be the key of a dict.
"""

from itertools import islice

from pygrad.common.arrays import has_array, is_iterable, items, number_in, unpacked
from pygrad.common.numbers import is_number, to_exact

MOST_DIMENSIONS = 64
MOST_LEVELS = 400  # of lists that are no array; Python's own limit for recursion comes later
_LISTS = {list, tuple}

# --- nested lists -----------------------------------------------------------------------------------------------------


def flatten(nested, items, read, deepest=MOST_DIMENSIONS, level=0):
    """Append all items in nested lists and tuples to `items`; return the structure.

    An object whose type is not exactly list or tuple is given to `read`. `read` returns the item, or a list or tuple to
    visit in its place; or it raises TypeError. Raises ValueError for lists nested deeper than `deepest`: a list that
    holds itself, for example. (`level`: how many lists are around this one.)
    """
    if type(nested) not in _LISTS:
        nested = read(nested)
        if type(nested) not in _LISTS:
            items.append(nested)
            return None
    _check_level(level, deepest)
    parts = nested
    if _LISTS.isdisjoint(map(type, parts)):  # no list in it, as mostly: read all parts at once
        parts = [read(part) for part in parts]
        if _LISTS.isdisjoint(map(type, parts)):
            items.extend(parts)
            return _like(nested, [None] * len(parts))
    return _like(nested, [flatten(part, items, read, deepest, level + 1) for part in parts])


def or_lists(read):
    """Return a `read` for `flatten` that also opens arrays, and objects of types derived from list and tuple."""

    def read_or_open(x):
        if (hasattr(x, "tolist") or hasattr(x, "__array__")) and not is_number(x):
            x = unpacked(x, "an array")  # a number, if the array has no dimensions
        if hasattr(x, "__len__") and isinstance(x, (list, tuple)):
            return list(x) if isinstance(x, list) else tuple(x)
        return read(x)

    return read_or_open


def as_lists(x, name, level=0):
    """Return an array, a table or an iterable as nested lists; a number, a Value, text and what cannot be iterated, as
    it is.

    Raises ValueError as `flatten` does, and TypeError, which begins with `name`, for a dict, a set, or an array that
    cannot be read.
    """
    if type(x) not in _LISTS:
        if type(x) is float or hasattr(type(x), "_prev"):
            return x
        if (number := number_in(x, name)) is not None:
            to_exact(number, name)
            return number
        if isinstance(x, str) or not (is_iterable(x) or has_array(x)):
            return x
        x = items(x, name)
    _check_level(level, MOST_DIMENSIONS)
    return [as_lists(part, name, level + 1) for part in x]


def each(f, nested, level=0):
    """Return nested lists, tuples and dicts with `f(item)` in place of each item. Raises ValueError as `flatten`."""
    if type(nested) is not dict and type(nested) not in _LISTS:
        return f(nested)
    _check_level(level, MOST_LEVELS)
    parts = nested.values() if type(nested) is dict else nested
    return _like(nested, [each(f, part, level + 1) for part in parts])


def _check_level(level, deepest):
    if level >= deepest:
        raise ValueError(f"these lists are nested more than {deepest} deep, or one holds itself")


def _like(x, parts):
    """Return `parts`, a list, as a list, tuple or dict (with the keys of x), whichever x is."""
    return parts if isinstance(x, list) else dict(zip(x, parts)) if isinstance(x, dict) else tuple(parts)


# --- structures -------------------------------------------------------------------------------------------------------


def rebuild(structure, items):
    """Return the items of an iterator in the lists and tuples of the structure."""
    return next(items) if structure is None else _like(structure, [rebuild(part, items) for part in structure])


def build_lists(structure, items):
    """Return the items of an iterator in the structure, with lists in place of its tuples."""
    if structure is None:
        return next(items)
    if structure.count(None) == len(structure):
        return list(islice(items, len(structure)))
    return [build_lists(part, items) for part in structure]


def plain(structure):
    """Return a structure with tuples for lists."""
    return nest(structure, None)


def nest(outer, inner):
    """Return the plain structure `outer` with `inner` in each of its places."""
    return inner if outer is None else tuple([nest(part, inner) for part in outer])


def count(structure):
    """Return how many items a structure has."""
    if structure is None:
        return 1
    return len(structure) if structure.count(None) == len(structure) else sum(map(count, structure))


def has_gap(structure):
    """True if a list in the structure is empty."""
    return structure is not None and (len(structure) == 0 or any(map(has_gap, structure)))


def dimensions(structure):
    """Return the lengths of a structure from the outside in: () for an item; None if it is not rectangular."""
    if structure is None:
        return ()
    if 0 < len(structure) == structure.count(None):
        return (len(structure),)
    inner = {dimensions(part) for part in structure}
    return (len(structure), *inner.pop()) if len(inner) == 1 and None not in inner else None


def rectangle(lengths):
    """Return the plain structure of these dimensions."""
    if not lengths:
        return None
    return (rectangle(lengths[1:]),) * lengths[0] if lengths[0] else ()  # whatever the other lengths are


def names(structure, name, before="[", after="]"):
    """Return a list with the name of each item: "x[0][1]" if `name` is "x"; `before` and `after` are the brackets."""
    if structure is None:
        return [name]
    return [inner for i, x in enumerate(structure) for inner in names(x, f"{name}{before}{i}{after}", before, after)]


def in_words(structure):
    """Return the structure of nested numbers in words: "[number, [number, number]]"."""
    if structure is None:
        return "number"
    if len(structure) > 4 and len(set(structure)) == 1:
        return f"{len(structure)} of {in_words(structure[0])}"
    return f"[{', '.join(map(in_words, structure))}]"
