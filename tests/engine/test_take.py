"""`take` and `where`: choosing by a Value, as a node that follows it; and by a number, at once."""

import math
from fractions import Fraction

import pytest

from pygrad import engine as c_engine
from pygrad.engine._lib import ffi, lib

# --- take -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(3))
def test_an_index_that_is_a_value_chooses(engine, place):
    """The chosen value gives the data and gets the gradient; the others, and the index, get nothing."""
    index, values = engine.Value(place), [engine.Value(x) for x in (1.5, -2.0, 0.7)]
    out = engine.take(values, index)
    (out * 3.0).backward()

    assert values[place].data == out.data
    assert [3.0 * (i == place) for i in range(3)] == [v.grad for v in values]
    assert 0.0 == index.grad
    assert ("take", (index, *values)) == (out._op, out._operands_in_order())


def test_an_int_chooses_the_value_itself(engine):
    """An index that is an int gives the Value that stands there, and a number as a Value."""
    v = engine.Value(2.0)
    values = [v, 3.0, Fraction(1, 2)]

    assert engine.take(values, 0) is v
    assert (3.0, 0.5) == (engine.take(values, 1).data, engine.take(values, 2).data)
    assert engine.take((v,), False) is v


def test_numpy_integers_are_ints(engine):
    """A NumPy integer chooses like an int, from a NumPy array too."""
    numpy = pytest.importorskip("numpy")
    rows = engine.take(numpy.arange(6.0).reshape(3, 2), numpy.int64(1))

    assert [2.0, 3.0] == [v.data for v in rows]
    assert [4.0, 5.0] == [v.data for v in engine.take(numpy.arange(6.0).reshape(3, 2), engine.Value(2))]


def test_rows_are_taken_column_by_column(engine):
    """Of rows the chosen row comes back as a list: with a Value as index one node a column."""
    table = [[engine.Value(10.0 * i + j) for j in range(3)] for i in range(4)]
    row = engine.take(table, engine.Value(2))
    engine.dot(row, [1.0, 2.0, 3.0]).backward()

    assert [20.0, 21.0, 22.0] == [v.data for v in row]
    assert [[(j + 1.0) * (i == 2) for j in range(3)] for i in range(4)] == [[v.grad for v in vs] for vs in table]
    assert table[3] == engine.take(table, 3)
    assert table[3] is not engine.take(table, 3)


def test_rows_may_be_nested(engine):
    """Rows of rows give rows: the shape of one entry."""
    cube = [[[100 * i + 10 * j + k for k in range(2)] for j in range(3)] for i in range(2)]
    for index in (1, engine.Value(1)):
        assert [[100, 101], [110, 111], [120, 121]] == [[v.data for v in vs] for vs in engine.take(cube, index)]


def test_any_sequence_is_taken_from(engine):
    """Tuples and generators are values and rows too, and mix."""
    out = engine.take(((x, x + 1) for x in (1.0, 2.0)), engine.Value(1))

    assert [2.0, 3.0] == [v.data for v in out]
    assert 2.0 == engine.take(iter([1.0, 2.0]), engine.Value(1)).data


def test_the_gradient_follows_the_index_as_it_is(engine):
    """The index is read when the gradient is passed on: changed to no place, nobody gets one."""
    index, values = engine.Value(0), [engine.Value(1.0), engine.Value(2.0)]
    out = engine.take(values, index)
    for data in (1.0, -0.0, 2.0, -1.0, 0.5, math.nan, math.inf, -math.inf, 2.0**32, 2.0**32 + 1.0, 1e300):
        index.data = data
        out.backward()

    assert [1.0, 1.0] == [v.grad for v in values]
    assert 0.0 == index.grad


def test_an_infinite_gradient_stays_with_the_chosen(engine):
    """No other value gets inf * 0 = nan, as in a product with 0 and 1."""
    values = [engine.Value(1.0), engine.Value(2.0)]
    (engine.take(values, engine.Value(1)) * math.inf).backward()

    assert [0.0, math.inf] == [v.grad for v in values]


def test_an_index_among_the_values(engine):
    """The index may be one of the values, several times too; then it gets gradients as a value."""
    i, v = engine.Value(1.0), engine.Value(5.0)
    out = engine.take([v, i, i], i)
    out.backward()

    assert (1.0, 1.0, 0.0) == (out.data, i.grad, v.grad)


@pytest.mark.parametrize("count", [1, 502, 503, 504, 1006, 1007, 2500])
def test_lists_longer_than_a_block(engine, count):
    """A list that the arena splits gives each of its values at its place, with its gradient, and its operands once."""
    values, index = [engine.Value(0.5 * i) for i in range(count)], engine.Value(0)
    outs = {}
    for place in sorted({0, 1, 501, 502, 503, 504, 1005, 1006, 1007, count - 2, count - 1} & set(range(count))):
        index.data = place
        outs[place] = engine.take(values, index)
        (outs[place] * (place + 2.0)).backward()
        if engine is c_engine:
            engine.check_arena()

    assert [values[place].data for place in outs] == [out.data for out in outs.values()]
    assert {place: place + 2.0 for place in outs} == {i: v.grad for i, v in enumerate(values) if v.grad}
    assert (index, *values) == outs[0]._operands_in_order()
    assert 0.0 == index.grad

    index.data = count
    outs[0].backward()
    assert len(outs) == sum(v.grad != 0.0 for v in values)


def test_a_split_list_steps_by_hand(engine):
    """`_backward()` of a list that is split, called by hand and as a closure, passes the gradient on once a time."""
    values = [engine.Value(float(i)) for i in range(1200)]
    out = engine.take(values, engine.Value(3))
    out.grad = 2.0
    out._backward()
    out._backward = out._backward
    (out * 5.0).backward()

    assert 2.0 + 5.0 == values[3].grad
    assert 7.0 == sum(v.grad for v in values)


@pytest.mark.parametrize(
    "index, shown", [(3, "3"), (7.0, "7"), (-1, "-1"), (-1.0, "-1"), (0.5, "0.5"), (math.nan, "nan"), (math.inf, "inf")]
)
def test_an_index_outside_is_refused(engine, index, shown):
    """An index that is no whole number from 0 to n - 1 is an IndexError that says both; negative ones count as well."""
    for given in [engine.Value(index), *([index] if isinstance(index, int) else [])]:
        with pytest.raises(IndexError, match=f"^take: the index is {shown}, and there are 3 values$"):
            engine.take([1.0, 2.0, 3.0], given)


@pytest.mark.parametrize(
    "values, error, match",
    [
        ([], ValueError, "at least one"),
        (3.0, ValueError, "needs a list"),
        ([[1.0], [1.0, 2.0]], ValueError, "ragged"),
        ([[1.0], 2.0], ValueError, "ragged"),
        ([[[1.0]], [[2.0, 3.0]]], ValueError, "ragged"),
        ([[], []], ValueError, "ragged"),
        (["1", 2.0], TypeError, "not str '1'"),
        ("12", TypeError, "not str '12'"),
        ([None, 2.0], TypeError, "not NoneType"),
        ([{1: 2}, {1: 2}], TypeError, "not dict"),
        ([1j, 2.0], TypeError, "not complex"),
    ],
)
def test_wrong_values_are_refused(engine, values, error, match):
    """No values, ragged rows and what is no number raise, whether the index is a number or a Value."""
    for index in (0, engine.Value(0)):
        with pytest.raises(error, match=match):
            engine.take(values, index)


@pytest.mark.parametrize("index", [1.0, "1", None, [1], 1j])
def test_a_wrong_index_is_refused(engine, index):
    """An index is an int or a Value: a float is none, for 0.9999 would be 0."""
    with pytest.raises(TypeError, match="the index must be an int or a Value, not"):
        engine.take([1.0, 2.0], index)


def test_values_without_a_node_are_refused(engine):
    """A Value whose __init__ never ran is refused as index and as value."""
    blank = engine.Value.__new__(engine.Value)
    for values, index in ([[1.0, 2.0], blank], [[blank, 2.0], engine.Value(1)]):
        with pytest.raises(RuntimeError, match="never initialised"):
            engine.take(values, index)


def test_the_arena_refuses_what_makes_no_take():
    """pg_choose makes no node of no values, or of an operand that is no live node; outside an index gives nan."""

    v = c_engine.Value(1.0)
    ids, before = ffi.new("pg_id[]", [v._pg_id] * 2), c_engine.live_nodes()

    assert [0, 0, 0] == [
        lib.pg_choose(v._pg_id, 0, ids, ffi.NULL),
        lib.pg_choose(0, 1, ids, ffi.NULL),
        lib.pg_declared(0, 0, ids, ids, ffi.NULL),
    ]
    assert before == c_engine.live_nodes()
    out = lib.pg_choose(v._pg_id, 1, ids, ffi.NULL)
    assert math.isnan(lib.pg_data(out))
    lib.pg_release(out)


# --- where ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition, chosen",
    [(1.0, 0), (0.0, 1), (-0.0, 1), (-2.5, 0), (math.nan, 0), (math.inf, 0), (5e-324, 0), (True, 0), (False, 1)],
)
def test_where(engine, condition, chosen):
    """What is not 0 counts as true, nan included: of a Value the result is a node, of a number the operand itself."""
    for given in (engine.Value(condition), condition):
        pair = engine.Value(2.0), engine.Value(3.0)
        out = engine.where(given, *pair)
        (out * 4.0).backward()

        assert pair[chosen].data == out.data
        assert [4.0 * (i == chosen) for i in range(2)] == [v.grad for v in pair]
        assert (out is pair[chosen]) == (given is condition)


def test_where_of_a_comparison(engine):
    """A hinge written with `where` is relu, and its condition gets no gradient."""
    for x in (-1.5, 0.0, 2.0):
        a, b = engine.Value(x), engine.Value(x)
        out = engine.where(engine.greater(a, 0.0), a, 0.0)
        out.backward()
        b.relu().backward()

        assert (b.relu().data, b.grad) == (out.data, a.grad)


def test_where_follows_its_condition(engine):
    """The node is take([b, a], condition != 0), and passes on by what the condition's node says."""
    c, a, b = engine.Value(1.0), engine.Value(2.0), engine.Value(3.0)
    out = engine.where(c, a, b)
    flag, *values = out._operands_in_order()

    assert ([b, a], "take", "!=") == (values, out._op, flag._op)
    flag.data = 0.0
    out.backward()
    assert (0.0, 1.0) == (a.grad, b.grad)


def test_where_takes_numbers(engine):
    """Numbers become Values on either side."""
    assert (1.0, 2.0) == (engine.where(True, 1, 2).data, engine.where(engine.Value(0), 1, 2).data)


@pytest.mark.parametrize("bad", ["1", None, [1.0], 1j])
def test_where_refuses_what_is_no_number(engine, bad):
    """A condition or an operand that is neither Value nor number is a TypeError, chosen or not."""
    v = engine.Value(1.0)
    for arguments in ((bad, 1, 2), (v, bad, 2), (v, 1, bad), (1, 1, bad), (0, bad, 1)):
        with pytest.raises(TypeError, match="must be a real number"):
            engine.where(*arguments)
