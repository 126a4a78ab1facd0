"""Nested lists, and the structure that is left without what is in them."""

import math
from collections import namedtuple

import pytest

from pygrad.common import nested

Pair = namedtuple("Pair", "a b")


def as_read(x):
    """Read what a test has in its lists: a range stands for a list, and what is derived from a tuple for one."""
    return list(x) if isinstance(x, range) else tuple(x) if isinstance(x, tuple) else float(x)


def flat(x, **options):
    """Return the structure and the items of `x`."""
    items = []
    return nested.flatten(x, items, as_read, **options), items


@pytest.mark.parametrize(
    "given, structure, items",
    [
        (1, None, [1.0]),
        ([], [], []),
        ([1, 2], [None, None], [1.0, 2.0]),
        ((1, [2, (3,)]), (None, [None, (None,)]), [1.0, 2.0, 3.0]),
        (range(2), [None, None], [0.0, 1.0]),
        ([range(2), 5], [[None, None], None], [0.0, 1.0, 5.0]),
        ([Pair(1, 2)], [(None, None)], [1.0, 2.0]),
    ],
)
def test_what_is_read_is_built_again(given, structure, items):
    """In lists and tuples as it was, a namedtuple in a tuple; or in lists alone."""
    assert (structure, items) == flat(given)
    assert flat(nested.rebuild(structure, iter(items))) == (structure, items)
    assert "(" not in str(nested.build_lists(structure, iter(items)))


def test_depth():
    """The item in 64 lists is read, and the one in 65 refused unless more are allowed."""
    deep = 1.0
    for _ in range(64):
        deep = [deep]
    assert [1.0] == flat(deep)[1]
    with pytest.raises(ValueError, match="nested more than 64 deep, or one holds itself"):
        flat([deep])
    assert [1.0] == flat([deep], deepest=math.inf)[1]


def test_structures():
    """Their items and lengths are counted, their gaps found, and their items named."""
    ragged, square = [None, (None, [None])], ((None, None), (None, None))

    assert (None, (None, (None,))) == nested.plain(ragged)
    assert [3, 4, 1, 0] == [nested.count(s) for s in (ragged, square, None, ())]
    assert [None, (2, 2), (), None] == [nested.dimensions(s) for s in (ragged, square, None, ())]
    assert square == nested.rectangle((2, 2))
    assert nested.rectangle(()) is None
    assert (square, square) == nested.nest((None, None), square)
    assert [False, False, False, True, True] == [nested.has_gap(s) for s in (None, ragged, square, (), [None, []])]
    assert ["x[0]", "x[1][0]", "x[1][1][0]"] == nested.names(ragged, "x")
    assert ["w.0.0", "w.0.1", "w.1.0", "w.1.1"] == nested.names(square, "w", ".", "")
    assert "[number, [number, [number]]]" == nested.in_words(ragged)
    assert "5 of [number]" == nested.in_words(((None,),) * 5)


def test_each_goes_into_dicts():
    """And into lists and tuples, but not into what is derived from them."""
    pair = Pair(1, 2)
    doubled = nested.each(lambda x: x if x is pair else 2 * x, {"a": [1, (2,)], "b": pair})

    assert {"a": [2, (4,)], "b": pair} == doubled
    assert doubled["b"] is pair
