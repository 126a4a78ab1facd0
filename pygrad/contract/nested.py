"""Nested lists of numbers and Values, as functions take and return them: read into one flat list, and built again.

Lists, tuples and arrays may be nested in any way, and are not looked into by anybody else. The *structure* is what is
left without the items: lists and tuples, and None where an item was.
"""

from pygrad.contract.numbers import is_number

MOST_DIMENSIONS = 64


def flatten(nested, items, read, depth=0):
    """Append read(x) to `items` for all that is in nested lists, tuples and arrays; return the structure.

    `read` raises the TypeError that says what is needed. ValueError for lists more than 64 deep, as one that holds
    itself is.
    """
    if depth > MOST_DIMENSIONS:
        raise ValueError(f"these lists are nested more than {MOST_DIMENSIONS} deep, or one holds itself")
    if hasattr(nested, "tolist") and not is_number(nested):
        nested = nested.tolist()  # of an array without dimensions, a number
    if isinstance(nested, (list, tuple)):
        kind = list if isinstance(nested, list) else tuple
        return kind([flatten(item, items, read, depth + 1) for item in nested])
    items.append(read(nested))
    return None


def rebuild(structure, items):
    """Return what `items`, an iterator, gives in the structure that `flatten` returned."""
    return next(items) if structure is None else type(structure)([rebuild(inner, items) for inner in structure])


def shape(structure):
    """Return a structure in which lists and tuples are the same: tuples."""
    return None if structure is None else tuple(map(shape, structure))


def each(f, nested):
    """Apply `f` to what is no list, tuple or dict in such, and keep their shape."""
    if isinstance(nested, dict):
        return {key: each(f, item) for key, item in nested.items()}
    return type(nested)([each(f, item) for item in nested]) if type(nested) in (list, tuple) else f(nested)
