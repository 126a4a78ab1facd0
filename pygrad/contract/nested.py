"""Nested lists of numbers and Values, as programs give and take them: read into one flat list, and built again.

Whatever is nested is walked here, and only here. An *item* is what stands in the lists. The *structure* is what is left
without the items: lists and tuples, and None where an item was. A *plain* structure has tuples only: it can be a key.
"""

from itertools import islice

from pygrad.contract.numbers import is_number

MOST_DIMENSIONS = 64
_LISTS = {list, tuple}

# --- nested lists -----------------------------------------------------------------------------------------------------


def flatten(nested, items, read, deepest=MOST_DIMENSIONS):
    """Append all that is in nested lists and tuples to `items`; return their structure.

    What is neither, of just that type, is given to `read`: it returns the item, or the list or tuple that it takes it
    for, or raises the TypeError that says what is needed. ValueError for lists nested deeper than `deepest`, as a list
    that holds itself is.
    """
    if type(nested) not in _LISTS:
        nested = read(nested)
        if type(nested) not in _LISTS:
            items.append(nested)
            return None
    if deepest == 0:
        raise ValueError(f"these lists are nested more than {MOST_DIMENSIONS} deep, or one holds itself")
    parts = nested
    if _LISTS.isdisjoint(map(type, parts)):  # as with most: they are read in one go
        parts = [read(part) for part in parts]
        if _LISTS.isdisjoint(map(type, parts)):
            items.extend(parts)
            return _like(nested, [None] * len(parts))
    return _like(nested, [flatten(part, items, read, deepest - 1) for part in parts])


def or_lists(read):
    """Return `read`, for `flatten`, as one that takes arrays, and types derived from list and tuple, for lists too."""

    def read_or_open(x):
        if hasattr(x, "tolist") and not is_number(x):
            x = x.tolist()  # of an array without dimensions, a number
        if hasattr(x, "__len__") and isinstance(x, (list, tuple)):
            return list(x) if isinstance(x, list) else tuple(x)
        return read(x)

    return read_or_open


def as_lists(x):
    """Return as nested lists whatever can be iterated, but a str, and anything else as it is."""
    x = x.tolist() if hasattr(x, "tolist") else x
    return [as_lists(part) for part in x] if hasattr(x, "__iter__") and not isinstance(x, str) else x


def each(f, nested):
    """Apply `f` to what is no list, tuple or dict in such, and keep them as they are."""
    if type(nested) is dict:
        return _like(nested, [each(f, part) for part in nested.values()])
    return _like(nested, [each(f, part) for part in nested]) if type(nested) in _LISTS else f(nested)


def _like(x, parts):
    """Return `parts`, a list, as what x is: a list, a tuple, or a dict of as many."""
    return parts if isinstance(x, list) else dict(zip(x, parts)) if isinstance(x, dict) else tuple(parts)


# --- structures -------------------------------------------------------------------------------------------------------


def rebuild(structure, items):
    """Return what `items`, an iterator, gives, in lists and tuples as the structure says."""
    return next(items) if structure is None else _like(structure, [rebuild(part, items) for part in structure])


def build_lists(structure, items):
    """Return what `items`, an iterator, gives, in lists, also where the structure has tuples."""
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
    """Return the lengths of a structure, from the outside in, as () for an item; None if it is not rectangular."""
    if structure is None:
        return ()
    if 0 < len(structure) == structure.count(None):
        return (len(structure),)
    inner = {dimensions(part) for part in structure}
    return (len(structure), *inner.pop()) if len(inner) == 1 and None not in inner else None


def rectangle(lengths):
    """Return the plain structure that has these dimensions."""
    return (rectangle(lengths[1:]),) * lengths[0] if lengths else None


def names(structure, name, before="[", after="]"):
    """Return the name of each item, in a list: "x[0][1]" in what is called x, with other brackets if you like."""
    if structure is None:
        return [name]
    return [inner for i, x in enumerate(structure) for inner in names(x, f"{name}{before}{i}{after}", before, after)]


def in_words(structure):
    """Return a structure of numbers in words: "[number, [number, number]]"."""
    if structure is None:
        return "number"
    if len(structure) > 4 and len(set(structure)) == 1:
        return f"{len(structure)} of {in_words(structure[0])}"
    return f"[{', '.join(map(in_words, structure))}]"
