"""Nested lists of numbers and Values: read into one flat list, and built again.

All code that visits nested lists is here. An *item* is a number or Value in the lists. The *structure* is the lists and
tuples, with None in place of each item. A *plain* structure has tuples only, so it can be the key of a dict. A dict, a
namedtuple or a dataclass among the lists is a Record of the structure, and what is no number in it is a Static.
"""

from itertools import islice

from pygrad.common.arrays import has_array, is_iterable, items, number_in, unpacked
from pygrad.common.numbers import is_number, to_exact
from pygrad.common.parts import Record, Static, is_static, record_of

MOST_DIMENSIONS = 64
MOST_LEVELS = 400  # of lists that are no array; Python's own limit for recursion comes later
_LISTS = {list, tuple}
_INNER = {list, tuple, Record}  # what `flatten` visits

# --- nested lists -----------------------------------------------------------------------------------------------------


def flatten(nested, items, read, deepest=MOST_DIMENSIONS, level=0):
    """Append all items in nested lists and tuples to `items`; return the structure.

    An object whose type is not exactly list or tuple is given to `read`. `read` returns the item, or a list, tuple or
    Record to visit in its place; or it raises TypeError. Static parts of a Record are not read. Raises ValueError for
    lists nested deeper than `deepest`: a list that holds itself, for example. (`level`: how many lists are around this
    one.)
    """
    if type(nested) not in _INNER:
        nested = read(nested)
        if type(nested) not in _INNER:
            items.append(nested)
            return None
    check_level(level, deepest)
    if type(nested) is Record:
        return nested.with_parts([_flattened(part, items, read, deepest, level) for part in nested.parts])
    parts = nested
    if _INNER.isdisjoint(map(type, parts)):  # no list in it, as mostly: read all parts at once
        parts = [read(part) for part in parts]
        if _INNER.isdisjoint(map(type, parts)):
            items.extend(parts)
            return _like(nested, [None] * len(parts))
    return _like(nested, [flatten(part, items, read, deepest, level + 1) for part in parts])


def _flattened(part, items, read, deepest, level):
    if is_static(part):
        return Static(part, is_kept=True)  # a result may be all that holds it
    return flatten(part, items, read, deepest, level + 1)


def or_lists(read):
    """Return a `read` for `flatten` that also opens arrays, records, and types derived from list and tuple."""

    def read_or_open(x):
        if type(x) is float or hasattr(x, "_prev"):  # a number or a Value, as mostly
            return read(x)
        if (hasattr(x, "tolist") or hasattr(x, "__array__") or hasattr(type(x), "as_py")) and not is_number(x):
            x = unpacked(x, "an array")  # a number, if the array has no dimensions
        if (record := record_of(x)) is not None:
            return record
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
    check_level(level, MOST_DIMENSIONS)
    return [as_lists(part, name, level + 1) for part in x]


def each(f, nested, level=0):
    """Return nested lists, tuples and dicts with `f(item)` in place of each item. Raises ValueError as `flatten`."""
    if type(nested) is not dict and type(nested) not in _LISTS:
        return f(nested)
    check_level(level, MOST_LEVELS)
    parts = nested.values() if type(nested) is dict else nested
    return _like(nested, [each(f, part, level + 1) for part in parts])


def check_level(level, deepest):
    if level >= deepest:
        raise ValueError(f"these lists are nested more than {deepest} deep, or one holds itself")


def _like(x, parts):
    """Return `parts`, a list, as a list, tuple or dict (with the keys of x), whichever x is."""
    return parts if isinstance(x, list) else dict(zip(x, parts)) if isinstance(x, dict) else tuple(parts)


# --- structures -------------------------------------------------------------------------------------------------------


def rebuild(structure, items):
    """Return the items of an iterator in the lists, tuples and records of the structure."""
    if structure is None:
        return next(items)
    if type(structure) in _LISTS:
        return _like(structure, [rebuild(part, items) for part in structure])
    return _build(structure, items, rebuild)


def _build(part, items, build):
    """Return what a Static or a Record stands for; `build` returns what is in the Record."""
    return part.value if type(part) is Static else part.make([build(inner, items) for inner in part.parts])


def build_lists(structure, items):
    """Return the items of an iterator in the structure, with lists in place of its tuples."""
    if structure is None:
        return next(items)
    if type(structure) not in _LISTS:
        return _build(structure, items, build_lists)
    if structure.count(None) == len(structure):
        return list(islice(items, len(structure)))
    return [build_lists(part, items) for part in structure]


def plain(structure):
    """Return a structure with tuples for lists."""
    return nest(structure, None)


def nest(outer, inner):
    """Return the plain structure `outer` with `inner` in each of its places."""
    if outer is None:
        return inner
    if type(outer) is Static:
        return outer
    parts = [nest(part, inner) for part in _parts(outer)]
    return outer.with_parts(parts) if type(outer) is Record else tuple(parts)


def as_derivative(structure):
    """Return the structure of a derivative by this one: it has no static parts. See `Record.as_derivative`."""
    if structure is None or type(structure) is Static:
        return structure
    parts = [as_derivative(part) for part in _parts(structure)]
    return structure.as_derivative(parts) if type(structure) is Record else _like(structure, parts)


def as_bare(structure):
    """Return the structure of what stands for each item of this one: a dataclass is made without its __init__."""
    if structure is None or type(structure) is Static:
        return structure
    parts = [as_bare(part) for part in _parts(structure)]
    return structure.as_bare(parts) if type(structure) is Record else _like(structure, parts)


def _parts(structure):
    """Return the structures within a list, tuple or Record; nothing is within a Static."""
    return () if type(structure) is Static else structure.parts if type(structure) is Record else structure


def count(structure):
    """Return how many items a structure has."""
    if structure is None:
        return 1
    parts = _parts(structure)
    return len(parts) if parts.count(None) == len(parts) else sum(map(count, parts))


def has_gap(structure):
    """True if a list in the structure is empty."""
    return type(structure) in _LISTS and (len(structure) == 0 or any(map(has_gap, structure)))


def dimensions(structure):
    """Return the lengths of a structure from the outside in: () for an item; None if it is not rectangular."""
    if structure is None:
        return ()
    if type(structure) not in _LISTS:
        return None
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
    if type(structure) is Record:
        inside = [structure.name_of(i, name) for i in range(len(structure.parts))]
    else:
        inside = [f"{name}{before}{i}{after}" for i in range(len(_parts(structure)))]
    return [inner for part, its in zip(_parts(structure), inside) for inner in names(part, its, before, after)]


def in_words(structure):
    """Return the structure of nested numbers in words: "[number, [number, number]]"."""
    if structure is None:
        return "number"
    if type(structure) is Static:
        return repr(structure)
    if type(structure) is Record:
        kind = structure.kind[1].__name__
        return (
            f"{kind}({', '.join(f'{name}={in_words(part)}' for name, part in zip(structure.names, structure.parts))})"
        )
    if len(structure) > 4 and len(set(structure)) == 1:
        return f"{len(structure)} of {in_words(structure[0])}"
    return f"[{', '.join(map(in_words, structure))}]"


def statics_in(structure):
    """Return all Statics in the structure, in a list."""
    if type(structure) is Static:
        return [structure]
    return [] if structure is None else [static for part in _parts(structure) for static in statics_in(part)]


def is_of_lists(structure):
    """True if all of the structure is lists and numbers."""
    return structure is None or (type(structure) in _LISTS and all(map(is_of_lists, structure)))


def check_result(structure):
    """Raise TypeError if an object in the structure of a result has a Value in an attribute that is no part of it.

    The next run could not compute that attribute.
    """
    if type(structure) is Record:
        for name, static in structure.kind[2]:
            if static is not None and _holds_value(static.value):
                kind = structure.kind[1].__name__
                raise TypeError(
                    f"a compiled function has returned a {kind} with Values in its attribute {name!r}, and {kind} does "
                    "not compute this attribute from its parts: return a dict of all that it holds"
                )
    for part in () if structure is None else _parts(structure):
        check_result(part)


def _holds_value(x, level=0):
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) and level < MOST_LEVELS else ()
    return hasattr(type(x), "_prev") or any(_holds_value(part, level + 1) for part in parts)
