"""Values among NumPy's scalars and arrays: an array of Values is an array of objects, and works element by element."""

import math

import pytest

np = pytest.importorskip("numpy")


def test_constructor_takes_numpy_scalars(Value):
    """Every real NumPy scalar becomes a float."""
    scalars = [
        np.float64(1.5),
        np.float32(0.1),
        np.float16(0.5),
        np.int64(-3),
        np.uint8(7),
        np.bool_(True),
        np.longdouble(2.5),
    ]
    for scalar in scalars:
        v = Value(scalar)

        assert float(scalar) == v.data
        assert float is type(v.data)


def test_constructor_takes_an_arrays_elements(Value):
    """Rows of a data set can be turned into Values element by element, as micrograd's demo does."""
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])

    assert [[1.0, 2.0], [3.0, 4.0]] == [[v.data for v in map(Value, row)] for row in rows]


@pytest.mark.parametrize("bad", [np.array([1.0]), np.array([1.0, 2.0]), np.complex128(1j), np.str_("1")], ids=repr)
def test_constructor_refuses_arrays(Value, bad):
    """Arrays, also of one element, and complex scalars are a TypeError."""
    with pytest.raises(TypeError, match="real number"):
        Value(bad)
    v = Value(1.0)
    with pytest.raises(TypeError):
        v.data = bad


def test_refusal_of_an_array_says_what_to_do(Value):
    """The error for an array points to `.item()` and to a list of Values."""
    with pytest.raises(TypeError, match=r"\.item\(\)"):
        Value(np.array([1.0]))


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.int32, np.bool_])
def test_scalars_on_both_sides(Value, kind):
    """NumPy scalars are numbers to every operator, on the left and on the right; the result is a Value."""
    two = kind(2)  # True for bool_
    x, v = float(two), Value(3.0)
    cases = [
        (x + 3.0, two + v),
        (3.0 + x, v + two),
        (x - 3.0, two - v),
        (3.0 - x, v - two),
        (x * 3.0, two * v),
        (3.0 * x, v * two),
        (x / 3.0, two / v),
        (3.0 / x, v / two),
        (x**3.0, two**v),
        (3.0**x, v**two),
    ]
    for expected, actual in cases:
        assert Value is type(actual)
        assert expected == actual.data


def test_gradients_through_scalars(Value):
    """Operations with NumPy scalars pass gradients on as those with floats."""
    v = Value(3.0)
    (np.float64(2) * v + v / np.int64(2) + v ** np.int64(2)).backward()

    assert 2.0 + 0.5 + 6.0 == v.grad


def test_powers_by_scalars_have_micrograds_labels(Value):
    """The exponent's type does not show in the label."""
    assert "**2" == (Value(3.0) ** np.int64(2))._op == (Value(3.0) ** 2)._op


def test_comparison_with_scalars(Value):
    """Order works against NumPy scalars on either side and gives a truth value."""
    v = Value(1.0)

    assert bool(v < np.float64(2))
    assert bool(np.float64(2) > v)
    assert not bool(v >= np.int64(2))
    assert not bool(np.int64(2) <= v)


def test_sum_of_an_array_of_values(Value):
    """`np.array([...Values]).sum()` is a loss, as in the lecture; so is `.mean()`."""
    v, w = Value(1.0), Value(2.0)
    values = np.array([v, w, v])

    assert object is values.dtype.type or np.object_ is values.dtype.type
    loss = values.sum() * 3.0 + values.mean()
    assert Value is type(loss)
    assert 12.0 + 4.0 / 3.0 == loss.data
    loss.backward()
    assert [6.0 + 2.0 / 3.0, 3.0 + 1.0 / 3.0] == pytest.approx([v.grad, w.grad], rel=1e-15)


def test_arrays_hold_the_values_themselves(Value):
    """An array of Values holds the same objects, with no copy and no look inside."""
    v, w = Value(1.0), Value(2.0)
    values = np.array([[v, w], [w, v]])

    assert (2, 2) == values.shape
    assert v is values[0, 0]
    assert w is values[1, 0]


def test_dot_and_matmul(Value):
    """np.dot and @ over arrays of Values, with arrays of numbers and of Values."""
    ws = [Value(x) for x in (1.0, 2.0, 3.0)]
    xs = np.array([4.0, 5.0, 6.0])
    for out in (np.dot(np.array(ws), xs), np.array(ws) @ xs, np.dot(xs, np.array(ws))):
        assert Value is type(out)
        assert 32.0 == out.data
    np.dot(np.array(ws), np.array(ws)).backward()

    assert [2.0, 4.0, 6.0] == [w.grad for w in ws]


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sin", "cos"])
def test_numpys_functions_call_the_methods(Value, name):
    """np.exp and its like, over an array of Values, call each Value's method of that name."""
    v, w = Value(0.5), Value(1.5)
    out = getattr(np, name)(np.array([v, w]))
    out.sum().backward()
    expected = [Value(0.5), Value(1.5)]
    for x in expected:
        getattr(x, name)().backward()

    assert [getattr(math, name)(x) for x in (0.5, 1.5)] == pytest.approx([y.data for y in out], rel=1e-15)
    assert [x.grad for x in expected] == [v.grad, w.grad]


def test_abs_negative_and_power_of_an_array(Value):
    """abs, negation and powers of an array of Values work by element."""
    v, w = Value(-2.0), Value(3.0)
    values = np.array([v, w])

    assert [2.0, 3.0] == [y.data for y in abs(values)]
    assert [2.0, -3.0] == [y.data for y in -values]
    assert [4.0, 9.0] == [y.data for y in values**2]


@pytest.mark.parametrize(
    "compute",
    [
        lambda v, xs: v * xs,
        lambda v, xs: xs * v,
        lambda v, xs: v + xs,
        lambda v, xs: xs + v,
        lambda v, xs: v - xs,
        lambda v, xs: xs - v,
        lambda v, xs: v / xs,
        lambda v, xs: xs / v,
        lambda v, xs: v**xs,
        lambda v, xs: xs**v,
    ],
)
def test_value_with_array_is_elementwise(Value, compute):
    """A Value and an array of numbers make an array of Values, on either side, in any shape."""
    v = Value(2.0)
    for xs in (np.array([1.0, 2.0, 4.0]), np.array([1, 2, 4]), np.array([[1.0], [4.0]])):
        out = compute(v, xs)

        assert np.ndarray is type(out)
        assert xs.shape == out.shape
        for x, y in zip(xs.flat, out.flat):
            assert Value is type(y)
            assert compute(2.0, float(x)) == y.data


def test_gradients_through_an_array(Value):
    """The sum of `v * ndarray` passes each element on."""
    v = Value(2.0)
    ((v * np.array([1.0, 2.0, 4.0])) ** 2).sum().backward()

    assert 2 * 2.0 * (1.0 + 4.0 + 16.0) == v.grad


def test_in_place_update_by_an_array_element(Value):
    """data and grad take NumPy scalars in place and stay floats."""
    v = Value(1.0)
    v.data -= np.float64(0.25) * 2
    v.grad += np.float32(0.5)

    assert (0.5, 0.5) == (v.data, v.grad)
    assert float is type(v.data)
    assert float is type(v.grad)


def test_zero_dimensional_arrays(Value):
    """A 0-d array is a number for the constructor, and by element for an operator."""
    v = Value(np.array(2.0))
    out = v * np.array(3.0)

    assert 6.0 == np.asarray(out, dtype=object).item().data


def test_sum_and_dot_of_the_engine_take_arrays(engine):
    """pygrad's own sum and dot take arrays of numbers and of Values."""
    v, w = engine.Value(2.0), engine.Value(3.0)

    assert 5.0 == engine.sum(np.array([v, w])).data
    assert 23.0 == engine.dot(np.array([v, w]), np.array([4.0, 5.0])).data
