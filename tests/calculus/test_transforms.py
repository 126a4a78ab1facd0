"""The transforms: numbers in and numbers out, Values in and Values out, nested, recorded, and refused."""

import gc
import math
import sys

import pytest
import sympy

import pygrad
from pygrad import Value, derivative, gradient, hessian, hvp, jacobian, jvp, taylor, value_and_grad, vjp

pytestmark = pytest.mark.python

X = [0.7, -1.3, 0.4]
V = [1.0, 10.0, 100.0]


def scalar(xs):
    """A function of three numbers whose derivatives of every order mix."""
    a, b, c = xs
    return (a * b).sin() * c.exp() + a**3 / (1.0 + b * b) + pygrad.dot([a, b], [c, c])


def vector(xs):
    """Three numbers to two, nested."""
    a, b, c = xs
    return [[a * b * c], (a + b).tanh()]


def exact(function, order):
    """The derivatives of `scalar` or of an entry of `vector` at X by SymPy: nested lists, `order` deep."""
    symbols = sympy.symbols("a b c")
    at = {s: sympy.Float(x, 30) for s, x in zip(symbols, X)}

    def derive(expression, left):
        if left == 0:
            return float(expression.evalf(30, subs=at))
        return [derive(sympy.diff(expression, s), left - 1) for s in symbols]

    return derive(function(*symbols), order)


def symbolic(a, b, c):
    return sympy.sin(a * b) * sympy.exp(c) + a**3 / (1 + b * b) + a * c + b * c


def flat(nested):
    """The numbers in nested lists and tuples, and the data of Values."""
    if isinstance(nested, (list, tuple)):
        return [number for item in nested for number in flat(item)]
    return [nested.data if isinstance(nested, Value) else nested]


def kinds(nested):
    """The types of what is in nested lists and tuples."""
    if isinstance(nested, (list, tuple)):
        return {kind for item in nested for kind in kinds(item)}
    return {type(nested)}


def near(expected):
    return pytest.approx(flat(expected), rel=1e-12, abs=1e-13)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_gradient_and_hessian_are_sympys():
    """Of a function of a list: the same structure, once and twice."""
    assert near(exact(symbolic, 1)) == flat(gradient(scalar)(X))
    assert near(exact(symbolic, 2)) == flat(hessian(scalar)(X))
    assert [3, 3, 3] == [len(row) for row in hessian(scalar)(X)]
    value, grad = value_and_grad(scalar)(X)
    assert near(exact(symbolic, 0)) == [value]
    assert near(exact(symbolic, 1)) == flat(grad)
    assert {float} == kinds([value, grad, hessian(scalar)(X)])


def test_jacobian_has_the_structure_of_result_and_argument():
    """In each place of the result a gradient."""
    found = jacobian(vector)(X)
    products = exact(lambda a, b, c: a * b * c, 1)
    slopes = exact(lambda a, b, c: sympy.tanh(a + b), 1)
    assert near([[products], slopes]) == flat(found)
    assert [1, 3] == [len(row) for row in found]
    assert gradient(scalar)(X) == jacobian(scalar)(X)


def test_products_are_those_with_the_whole_matrices():
    """hvp, jvp and vjp agree with hessian and jacobian."""
    second, first = hessian(scalar)(X), jacobian(vector)(X)
    assert near([math.fsum(h * v for h, v in zip(row, V)) for row in second]) == flat(hvp(scalar)(X, V))
    out, tangent = jvp(vector)(X, V)
    rows = [first[0][0], first[1]]
    assert near([math.fsum(d * v for d, v in zip(row, V)) for row in rows]) == flat(tangent)
    assert near(flat(vector([Value(x) for x in X]))) == flat(out)
    assert [1, None] == [len(item) if isinstance(item, list) else None for item in tangent]
    out, cotangent = vjp(vector)(X, [[2.0], 5.0])
    assert near([2.0 * a + 5.0 * b for a, b in zip(*rows)]) == flat(cotangent)
    assert {float} == kinds([out, tangent, cotangent, hvp(scalar)(X, V)])


def test_several_arguments_are_a_list_of_results_and_a_tuple_for_products():
    """f(x, y): gradients one an argument; jvp, vjp and hvp take the arguments as a tuple."""

    def f(x, ys):
        return x * ys[0] * ys[1]

    assert [12.0, [8.0, 6.0]] == gradient(f)(2.0, [3.0, 4.0])
    assert [[0.0, [4.0, 3.0]], [[4.0, [0.0, 2.0]], [3.0, [2.0, 0.0]]]] == hessian(f)(2.0, [3.0, 4.0])
    assert (24.0, 12.0 + 80.0) == jvp(f)((2.0, [3.0, 4.0]), (1.0, [10.0, 0.0]))
    assert (24.0, (120.0, [80.0, 60.0])) == vjp(f)((2.0, [3.0, 4.0]), 10.0)
    assert (4.0 * 10.0, [4.0, 3.0 + 2.0 * 10.0]) == hvp(f)((2.0, [3.0, 4.0]), (1.0, [10.0, 0.0]))
    assert (9.0, (6.0,)) == vjp(lambda x: x * x)((3.0,), 1.0)


@pytest.mark.parametrize("order", range(6))
def test_derivatives_and_taylor_are_sympys(order):
    """Of one number, in every order."""
    x = sympy.symbols("x")
    expression = sympy.exp(sympy.sin(x)) / (1 + x**2)
    values = [float(sympy.diff(expression, x, k).evalf(30, subs={x: sympy.Float(0.7, 30)})) for k in range(order + 1)]

    def f(v):
        return v.sin().exp() / (1.0 + v**2)

    assert near(values[order]) == flat(derivative(f, order)(0.7))
    series = taylor(f, order)(0.7)
    assert near([value / math.factorial(k) for k, value in enumerate(values)]) == series
    assert {float} == kinds(series)


@pygrad.custom_op
def cubed(x):
    """x**3, of which the derivative is declared."""
    return pygrad.stop_gradient(x) ** 3


@cubed.derivative
def _(y, x):
    return 3.0 * x * x


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**x + x**2.5 + x**-0.5 + 2.0**x + (x + 1.0) ** 4.0,
        lambda x: x.sigmoid() + x.sqrt() + x.log() / x.cos() - x**-1 + (-x) ** 3 + x**2,
        lambda x: (x - 1.0).abs() + (x - 1.0).relu() * x + x.maximum(0.5 * x) * x.minimum(2.0 * x),
        lambda x: pygrad.where(pygrad.less(x, 1.0), x.exp(), x) * pygrad.take([x, x * x], Value(1.0)),
        lambda x: cubed(x.sin()) * pygrad.sum([x, x.tanh(), 1.0] * 200) + pygrad.dot([x, 2.0], [x.cos(), x], bias=x),
    ],
)
def test_taylor_is_what_repeated_derivatives_are(f):
    """Two ways to the same numbers, over ops of every kind."""
    expected = [derivative(f, k)(0.8) / math.factorial(k) for k in range(5)]
    assert pytest.approx(expected, rel=1e-11, abs=1e-12) == taylor(f, 4)(0.8)


def test_taylor_of_a_high_order():
    """Known series, as far as 1 / 40!; a chain of many ops is no recursion."""
    assert near([1.0 / math.factorial(k) for k in range(41)]) == taylor(Value.exp, 40)(0.0)
    assert near([(0, 1, 0, -1)[k % 4] / math.factorial(k) for k in range(41)]) == taylor(Value.sin, 40)(0.0)

    def chain(x):
        for _ in range(5000):
            x = x + 0.0 * x.sin()
        return x

    assert [0.5, 1.0, 0.0] == taylor(chain, 2)(0.5)


def test_taylor_leaves_nothing_to_the_collector():
    """Its nodes are gone with the result, without a collection; also where it fails in the middle."""
    gc.collect()
    gc.disable()
    try:
        before = pygrad.engine.live_nodes()
        result = taylor(lambda x: x.tanh() / (x.sin() * x.cos() + x**2.5) + 2.0**x, 3)(0.7)
        assert 4 == len(result)
        assert before == pygrad.engine.live_nodes()
        with pytest.raises(TypeError, match="custom_op"):
            taylor(lambda x: Value(1.0, (x.sin() / x,), (2.0,)) * 1.0, 3)(0.7)
        assert before == pygrad.engine.live_nodes()
        assert 0 == gc.collect()
    finally:
        gc.enable()


def test_taylor_needs_formulas():
    """A node with local gradients is named."""
    with pytest.raises(TypeError, match="custom_op"):
        taylor(lambda x: Value(1.0, (x,), (2.0,)) * 1.0, 2)(1.0)


def test_what_does_not_depend_on_an_argument():
    """Constant functions, numbers as results and linear functions have derivatives 0."""
    assert [0.0, 0.0] == gradient(lambda xs: 3.0)([1.0, 2.0])
    assert [[0.0, 0.0], [0.0, 0.0]] == hessian(lambda xs: xs[0] - xs[1])([1.0, 2.0])
    assert ([3.0, 2.0], [0.0, 10.0]) == jvp(lambda xs: [3.0, xs[1]])([1.0, 2.0], [7.0, 10.0])
    assert [5.0, 0.0, 0.0] == taylor(lambda x: 5.0, 2)(1.0)
    assert [] == gradient(lambda xs: Value(1.0))([])
    assert [] == jacobian(lambda xs: [])([1.0])


def test_arrays_are_nested_lists():
    """NumPy's arrays may be arguments; the function gets lists."""
    numpy = pytest.importorskip("numpy")
    found = gradient(lambda m: m[0][0] * m[1][1])(numpy.array([[1.0, 2.0], [3.0, 4.0]]))
    assert [[4.0, 0.0], [0.0, 1.0]] == found
    assert 12.0 == derivative(lambda x: x**3)(numpy.float64(2.0))


def test_parameters_are_left_alone():
    """Values that the function uses are constants to it, and no gradient of theirs is changed."""
    w = Value(3.0)
    w.grad = 7.0
    assert 12.0 == derivative(lambda x: w * x**2)(2.0)
    assert 6.0 == derivative(derivative(lambda x: w * x**2))(2.0)
    assert 7.0 == w.grad


# --- Values and nesting -----------------------------------------------------------------------------------------------


def test_values_in_values_out():
    """Every transform of Values gives Values with the same data, that depend on them."""
    xs, vs = [Value(x) for x in X], [Value(v) for v in V]
    for transform in (gradient, value_and_grad, jacobian, hessian):
        found = transform(scalar)(xs)
        assert {Value} == kinds(found)
        assert near(flat(transform(scalar)(X))) == flat(found)
    for found, expected in (
        (hvp(scalar)(xs, vs), hvp(scalar)(X, V)),
        (jvp(vector)(xs, V), jvp(vector)(X, V)),
        (jvp(vector)(X, vs), jvp(vector)(X, V)),
        (vjp(vector)(X, [[Value(2.0)], 5.0]), vjp(vector)(X, [[2.0], 5.0])),
        (taylor(Value.exp, 3)(xs[0]), taylor(Value.exp, 3)(X[0])),
        (derivative(Value.exp, 3)(xs[0]), derivative(Value.exp, 3)(X[0])),
    ):
        assert {Value} == kinds(found)
        assert near(flat(expected)) == flat(found)


def test_third_derivatives_by_nesting():
    """Jacobian of Hessian, forward over backward and backward over forward, all as SymPy's."""
    third = near(exact(symbolic, 3))
    assert third == flat(jacobian(hessian(scalar))(X))
    assert third == flat([jvp(hessian(scalar))(X, [float(i == k) for i in range(3)])[1] for k in range(3)])
    assert near(exact(symbolic, 2)) == flat(jacobian(gradient(scalar))(X))
    along = gradient(lambda xs: jvp(scalar)(xs, V)[1])(X)
    assert near(flat(hvp(scalar)(X, V))) == flat(along)


def test_arguments_are_independent():
    """A derivative is by the argument alone, though one that is given was computed from another."""
    p = Value(2.0)
    q = p * p
    assert [4.0, 2.0] == flat(gradient(lambda a, b: a * b)(p, q))
    assert 4.0 == derivative(lambda a: a * q)(p).data
    (total,) = pygrad.grad(gradient(lambda a, b: a * b)(p, q)[0], [p])
    assert 4.0 == total


def test_inner_derivatives_do_not_mix_with_outer_ones():
    """The textbook's case of confused perturbations, forward and backward: 1, and not 2."""
    assert 1.0 == derivative(lambda x: x * derivative(lambda y: x + y)(1.0))(3.0)
    assert 1.0 == jvp(lambda x: x * jvp(lambda y: x + y)(1.0, 1.0)[1])(3.0, 1.0)[1]
    assert 2.0 * 3.0 == derivative(lambda x: x * derivative(lambda y: x * y)(1.0))(3.0)


def test_transforms_in_a_compiled_function():
    """What is recorded is right at other numbers."""
    compiled = pygrad.compile(lambda xs: hessian(scalar)(xs), batched=False)
    series = pygrad.compile(lambda x: taylor(lambda t: (t * x).sin(), 3)(0.5), batched=False)
    for point in (X, [1.5, 0.2, -0.3]):
        assert near(flat(hessian(scalar)(point))) == flat(compiled(point))
        assert near(taylor(lambda t, k=point[0]: (t * k).sin(), 3)(0.5)) == flat(series(point[0]))


def test_a_failure_inside_leaves_no_trace():
    """After a function raises, numbers still give numbers."""

    def broken(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gradient(broken)(1.0)
    assert float is type(derivative(Value.exp)(1.0))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["derivative", "gradient", "value_and_grad", "jacobian", "hessian", "hvp", "jvp", "vjp"]
)
def test_transforms_need_functions_and_numbers(name):
    """What is no function, no number and no result is named."""
    transform = getattr(pygrad, name)
    more = ([1.0],) if name in ("hvp", "jvp", "vjp") else ()
    with pytest.raises(TypeError, match=f"{name} needs a function of Values, not float"):
        transform(1.0)
    with pytest.raises(TypeError, match="not str 'one'"):
        transform(lambda x: x)("one", *more)
    with pytest.raises(TypeError, match="must return Values or numbers, or lists of them, not str"):
        transform(lambda x: "out")(1.0, *more)


@pytest.mark.parametrize("transform", [gradient, value_and_grad, hessian, derivative])
def test_lists_where_one_number_is_needed(transform):
    """A function of more than one result has a Jacobian, and derivative takes one number."""
    with pytest.raises(TypeError, match="one Value, not a list of them: use jacobian"):
        transform(lambda x: [x])(1.0)
    with pytest.raises(TypeError, match="needs one number or Value, not list"):
        derivative(lambda x: x)([1.0])
    with pytest.raises(TypeError, match="needs one number or Value, not list"):
        taylor(lambda x: x, 2)([1.0])


def test_directions_of_another_structure():
    """vs are as xs, cotangents as the result."""
    for product in (hvp, jvp):
        for vs in ([1.0, 2.0], 1.0, [[1.0], 2.0, 3.0], ([1.0, 2.0, 3.0], 1.0)):
            with pytest.raises(ValueError, match="vs must be in the structure of xs"):
                product(scalar)(X, vs)
    for cotangents in ([1.0, 2.0], 1.0, [[1.0, 2.0], 3.0]):
        with pytest.raises(ValueError, match="cotangents must be in the structure"):
            vjp(vector)(X, cotangents)


@pytest.mark.parametrize("order, error", [(-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_orders_are_whole_numbers(order, error):
    """Of derivative and taylor, when they are made."""
    for transform in (derivative, taylor):
        with pytest.raises(error, match="the order must be"):
            transform(Value.exp, order)


@pytest.mark.parametrize("transform", [gradient, jacobian, hessian])
def test_lists_that_hold_themselves(transform):
    """Lists that never end are a ValueError that says so, as in compiled functions, and not a RecursionError."""
    xs = []
    xs.append(xs)

    with pytest.raises(ValueError, match="nested more than 64 deep, or one holds itself"):
        transform(lambda xs: xs[0])(xs)
    with pytest.raises(ValueError, match="nested more than 64 deep, or one holds itself"):
        transform(lambda x: xs)(1.0)


def test_functions_written_for_arrays():
    """One that begins with np.array(x) has its derivatives, eager and compiled."""
    np = pytest.importorskip("numpy")

    def rosenbrock(x):
        x = np.array(x)
        return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    at = np.array([1.0, 1.0])
    assert [[802.0, -400.0], [-400.0, 200.0]] == hessian(rosenbrock)(at)
    compiled = hessian(pygrad.compile(rosenbrock, batched=False))(at)
    assert [[802.0, -400.0], [-400.0, 200.0]] == compiled.tolist()


def test_derivatives_beyond_a_polynomials_end_at_once():
    """Those of a constant are 0, however many are asked for."""
    assert (0.0, 6.0) == (derivative(lambda x: x**3, order=10**9)(2.0), derivative(lambda x: x**3, order=3)(2.0))
    assert 0.0 == derivative(lambda x: x**3, order=10**9)(Value(2.0)).data


def test_a_series_within_a_series(monkeypatch):
    """A signal handler, or a finalizer, may call taylor() while another call is running."""
    outer, inner = pygrad.taylor(lambda x: x.exp() * x.sin(), 3), pygrad.taylor(lambda x: x.sin(), 2)
    series = sys.modules["pygrad.calculus.taylor"]
    right, original, seen = outer(0.3), series._between, []

    def handler(*args):
        monkeypatch.undo()
        seen.append(inner(0.5))
        return original(*args)

    monkeypatch.setattr(series, "_between", handler)

    assert right == outer(0.3)
    assert seen == [inner(0.5)]
