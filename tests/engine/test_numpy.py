"""Values among NumPy's scalars and arrays: an array of Values is an array of objects, and works element by element."""

import math

import pytest

mpmath = pytest.importorskip("mpmath")
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


# --- every function of NumPy ------------------------------------------------------------------------------------------

ANSWERED = {  # name -> points, the derivative by mpmath's function of the name in the second place
    "arcsin": ((-0.7, 0.0, 0.5), "asin"),
    "arccos": ((-0.7, 0.0, 0.5), "acos"),
    "arctan": ((-3.0, 0.0, 0.5, 1e200), "atan"),
    "arcsinh": ((-1e200, -1e8, -3.0, -1e-9, 0.0, 1e-200, 1e-9, 0.5, 1e8, 1e200), "asinh"),
    "arccosh": ((1.0 + 1e-12, 1.5, 30.0, 1e200), "acosh"),
    "arctanh": ((-0.9, -1e-9, 0.0, 1e-200, 0.5, 0.999), "atanh"),
    "exp2": ((-2.5, 0.0, 3.0, 100.5), lambda x: 2**x),
    "log2": ((0.125, 1.0, 3.0), lambda x: mpmath.log(x, 2)),
    "log10": ((0.125, 1.0, 3.0), lambda x: mpmath.log(x, 10)),
    "deg2rad": ((-2.0, 0.0, 90.0), mpmath.radians),
    "radians": ((-2.0, 0.0, 90.0), mpmath.radians),
    "rad2deg": ((-2.0, 0.0, 1.5), mpmath.degrees),
    "degrees": ((-2.0, 0.0, 1.5), mpmath.degrees),
    "fabs": ((-2.0, 1.5), "fabs"),
    "conjugate": ((-2.0, 0.0, 1.5), lambda x: x),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_functions_under_numpys_name(Value, name):
    """Value, and first derivative, are right to a few units in the last place."""
    points, expected = ANSWERED[name]
    expected = getattr(mpmath, expected) if isinstance(expected, str) else expected
    with mpmath.workdps(500):
        for point in points:
            x = Value(point)
            (y,) = getattr(np, name)(np.array([x]))
            y.backward()
            assert float(expected(mpmath.mpf(point))) == pytest.approx(y.data, rel=3e-15, abs=0.0)
            h = mpmath.mpf(2) ** (-600) * max(1, abs(point))
            slope = (expected(mpmath.mpf(point) + h) - expected(mpmath.mpf(point) - h)) / (2 * h)
            assert float(slope) == pytest.approx(x.grad, rel=3e-15, abs=0.0)


@pytest.mark.parametrize("name", ["arcsinh", "arccosh", "arctanh", "exp2", "log10"])
def test_functions_under_numpys_name_are_derived_again_and_compiled(name):
    """Second derivatives are right, at 0 too, and a recorded function follows its argument, whatever its sign."""
    pygrad = pytest.importorskip("pygrad")

    def f(x):
        return getattr(np, name)(np.array([x]))[0]

    exact = {"arcsinh": mpmath.asinh, "arccosh": mpmath.acosh, "arctanh": mpmath.atanh}
    exact |= {"exp2": lambda x: 2**x, "log10": mpmath.log10}
    compiled = pygrad.compile(f)
    for point in (1.5, 40.0) if name in ("arccosh", "log10") else (-0.75, 0.0, 0.5):
        expected = float(mpmath.diff(exact[name], point, 2))
        assert expected == pytest.approx(pygrad.derivative(pygrad.derivative(f))(point), rel=1e-9, abs=1e-12)
        assert f(pygrad.Value(point)).data == compiled(point)
        assert pygrad.derivative(f)(point) == pygrad.derivative(compiled)(point)


def test_where_a_function_under_numpys_name_ends(Value):
    """At the ends of their domains, and outside, they are what NumPy says."""
    cases = [("arccosh", 1.0), ("arctanh", 1.0), ("arctanh", -1.0), ("arctanh", 2.0), ("arccosh", 0.5), ("log10", 0.0)]
    cases += [("arcsinh", math.inf), ("arcsinh", -math.inf), ("arccosh", math.inf), ("exp2", 2000.0), ("arcsin", 2.0)]
    for name, x in cases:
        with np.errstate(all="ignore"):  # of object arrays NumPy warns too, where an item's computation has set a flag
            expected = float(getattr(np, name)(x))
            (y,) = getattr(np, name)(np.array([Value(x)]))
        assert repr(expected) == repr(y.data), (name, x)


@pytest.mark.parametrize("name", ["mean", "var", "std", "median", "ptp", "linalg.norm", "vdot", "average", "nanstd"])
def test_statistics_of_an_array(Value, name):
    """np.var, np.std and their like: the numbers of floats, and gradients as by differences."""
    numbers = [0.5, 0.25, 0.75, 3.0]
    values = np.array([Value(x) for x in numbers])

    def f(xs):
        found = np
        for part in name.split("."):
            found = getattr(found, part)
        return found(xs, xs) if name == "vdot" else found(xs)

    y = f(values)
    y.backward()
    h = 1e-6
    for i, v in enumerate(values):
        above, below = [[x + sign * h * (i == j) for j, x in enumerate(numbers)] for sign in (1, -1)]
        assert (f(np.array(above)) - f(np.array(below))) / (2 * h) == pytest.approx(v.grad, rel=1e-6, abs=1e-9)
    assert f(np.array(numbers)) == pytest.approx(y.data, rel=1e-14)


# What NumPy refuses for every array of objects, and asks no item for; and what counts bits of integers.
NO_OBJECTS = """copysign divmod float_power frexp heaviside isfinite isinf isnan isnat ldexp logaddexp logaddexp2 modf
nextafter signbit spacing""".split()
PYTHONS = "equal not_equal logical_and logical_or".split()  # `==` is identity, and `and` chooses an item: as in a list
LOGIC = "less less_equal greater greater_equal logical_not sign".split()  # no Values: no gradients
REFUSED = """arctan2 bitwise_and bitwise_count bitwise_or bitwise_xor cbrt ceil floor floor_divide fmod gcd hypot invert
lcm left_shift logical_xor remainder right_shift rint trunc""".split()
SHAPES = {"matvec": [(2, 2), (2,)], "vecmat": [(2,), (2, 2)]}
UFUNCS = sorted({f.__name__ for f in vars(np).values() if isinstance(f, np.ufunc)})


@pytest.mark.parametrize("name", UFUNCS)
def test_every_ufunc_is_right_or_refused_with_a_cure(Value, name):
    """Each ufunc gives for Values what it gives for their numbers, or a TypeError that says what to do."""
    ufunc = getattr(np, name)
    arrays = [np.resize([0.5, 0.25, 0.75], shape) for shape in SHAPES.get(name, [(2,)] * ufunc.nin)]
    if name == "arccosh":
        arrays = [array + 1.0 for array in arrays]
    values = [np.array([Value(x) for x in array.flat]).reshape(array.shape) for array in arrays]
    if name in NO_OBJECTS:
        with pytest.raises(TypeError, match="not supported for the input types|only defined for np.datetime64"):
            ufunc(*values)
        return
    if name in REFUSED:
        with pytest.raises(TypeError, match="use v.data|write |compare numbers|unsupported operand|unary ~"):
            ufunc(*values)
        return
    found = np.asarray(ufunc(*values), dtype=object)
    expected = np.asarray(ufunc(*arrays))
    assert expected.shape == found.shape
    for x, y in zip(expected.flat, found.flat):
        assert name in PYTHONS or x == pytest.approx(y.data if isinstance(y, Value) else y, rel=1e-15)
        assert isinstance(y, Value) or name in LOGIC + PYTHONS
