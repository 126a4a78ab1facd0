"""Every row of the op table, by the table: a new row is tested here before anyone writes a test for it.

Forward results are compared with an independent formula, computed with 50 digits; partial derivatives with the
derivative of that formula by finite differences at the same precision (where differences are exact to 20 digits and
more). The formula of a unary row is mpmath's function of its name; rows that mpmath calls otherwise are in FORMULAS.
"""

import itertools
import math
import random
import shutil
import subprocess

import mpmath
import pytest
from programs import (
    EPS,
    NOT_OPS,
    apply,
    arity,
    is_flat,
    reference_that_loses_accumulation,
    rows,
    same,
    same_bits,
    second_reference,
)
from test_accuracy import truth

import pygrad
from pygrad import engine as c_engine
from pygrad import nn, reference

FORMULAS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "minimum": lambda a, b: (a + b - abs(a - b)) / 2,
    "maximum": lambda a, b: (a + b + abs(a - b)) / 2,
    "less": lambda a, b: mpmath.mpf(a < b),
    "less_equal": lambda a, b: mpmath.mpf(a <= b),
    "equal": lambda a, b: mpmath.mpf(a == b),
    "not_equal": lambda a, b: mpmath.mpf(a != b),
    "stop_gradient": lambda a: a,
    "neg": lambda a: -a,
    "abs": lambda a: mpmath.sqrt(a * a),
    "relu": lambda a: (a + abs(a)) / 2,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "square": lambda a: a**2,
    "cube": lambda a: a**3,
    "reciprocal": lambda a: 1 / a,
    "sum": lambda *values: mpmath.fsum(values),
    "dot": lambda *values: (
        mpmath.fsum(values[: len(values) % 2])
        + mpmath.fdot(values[len(values) % 2 :: 2], values[len(values) % 2 + 1 :: 2])
    ),
    "take": lambda index, *values: values[int(mpmath.nint(index))],
    "leaky_relu": lambda a, b: a if a > 0 else a * b,
    "elu": lambda a, b: a if a > 0 else b * (mpmath.exp(a) - 1),
    "softplus": lambda a: mpmath.log(1 + mpmath.exp(a)),
    "silu": lambda a: a / (1 + mpmath.exp(-a)),
    "gelu": lambda a: a * mpmath.ncdf(a),
}

# Generic points, on both sides of every kink, with a != b. A point outside a row's domain drops out by itself.
POINTS = {
    1: [(x,) for x in (-37.5, -3.7, -1.3, -0.6, -0.02, 1e-3, 0.3, 0.9, 1.7, 4.2, 19.0)],
    2: [
        (1.7, -0.6),
        (-2.3, 0.9),
        (0.4, 3.1),
        (2.5, 1.3),
        (-1.1, -0.7),
        (-0.7, -1.1),
        (1.3, 2.5),
        (-2.0, 3.1),
        (5.5, 0.25),
    ],
    0: [(0.3,), (1.7, -0.6), (0.4, 3.1, -2.2), (0.7, -1.9, 2.3, 0.6, -1.1), (1.5, -0.7, 0.2, 3.3, -2.1, 0.9)],
}


TAKES = [(0.0, 1.7), (1.0, 0.3, -2.2), (0.0, 0.9, 3.1), (2.0, -0.4, 1.9, 0.6, 5.5)]


def formula_of(name):
    """The independent formula of a row."""
    return FORMULAS.get(name) or getattr(mpmath, name, None) or truth(name)["y"]


def true_value(name, point):
    """The formula at a point, with 50 digits; None outside its (real, finite) domain."""
    try:
        y = formula_of(name)(*map(mpmath.mpf, point))
    except ZeroDivisionError:
        return None
    return y if isinstance(y, mpmath.mpf) and mpmath.isfinite(y) else None


def true_partials(name, point):
    """The partial derivatives of the formula at a point, by finite differences with 50 digits; 0 of a flat row."""
    formula, n = formula_of(name), len(point)
    if is_flat(name):
        return [mpmath.mpf(0)] * n
    orders = [tuple(int(i == j) for j in range(n)) for i in range(n)]
    if n == 1:
        return [mpmath.diff(formula, point[0])]
    return [mpmath.re(mpmath.diff(formula, point, order)) for order in orders]


def points_of(name):
    """The points of the row's arity that lie in its domain, at least three."""
    given = TAKES if name == "take" else POINTS[arity(name)]
    points = [point for point in given if true_value(name, point) is not None]
    assert len(points) >= 3
    return points


def check_op(engine, name):
    """Check one row: forward, every partial, accumulation into a shared operand and over two sweeps."""
    with mpmath.workdps(50):
        for point in points_of(name):
            check_point(engine, name, point)
            if name != "take":  # no number is both an index and a generic point
                check_shared(engine, name, (abs(point[0]),) * len(point))


def check_point(engine, name, point):
    leaves = [engine.Value(x) for x in point]
    out = apply(engine, name, *leaves)
    check_data(name, point, out)
    seeds = [0.1 * (i + 1) for i in range(len(point))]
    for leaf, seed in zip(leaves, seeds):
        leaf.grad = seed
    for sweeps in (1, 2):
        out.backward()
        for leaf, seed, partial in zip(leaves, seeds, true_partials(name, point)):
            assert_close(seed + sweeps * partial, leaf.grad, (name, point, sweeps))


def check_data(name, point, out):
    expected = true_value(name, point)
    scale = max(abs(expected), max(map(abs, point)) if arity(name) == 0 else 1.0 if name == "gelu" else 0.0)
    error = abs(expected - out.data)  # gelu's tail has the error of erfc: small, but not beside the tail itself
    assert error <= (4 + len(point)) * EPS * scale + math.ulp(0.0), (name, point, expected, out.data)


def check_shared(engine, name, point):
    """One Value as every operand gets the sum of the partials."""
    if true_value(name, point) is None:
        return
    shared = engine.Value(point[0])
    out = apply(engine, name, *[shared] * len(point))
    check_data(name, point, out)
    out.backward()
    if name in ("minimum", "maximum"):  # a tie, where the formula has no derivative
        assert 1.0 == shared.grad
    else:
        assert_close(mpmath.fsum(true_partials(name, point)), shared.grad, (name, point))


def assert_close(expected, actual, note):
    """Equal to 64 ulp of the expected number or, where terms cancel in the row's own formula, of 1."""
    assert abs(expected - actual) <= 64 * EPS * max(1.0, abs(expected)), (note, float(expected), actual)


# --- from the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", reference.OPS)
def test_forward_and_partials(engine, name):
    """The row computes its formula and passes on the formula's derivatives."""
    check_op(engine, name)


@pytest.mark.parametrize("name", rows(1))
def test_small_slopes_are_right_to_their_own_last_digits(engine, name):
    """The slope of a unary row is right relative to itself, as far as its result's own rounding allows."""
    with mpmath.workdps(50):
        for (x,) in points_of(name):
            leaf = engine.Value(x)
            out = apply(engine, name, leaf)
            out.backward()
            slope = true_partials(name, (x,))[0]
            if abs(slope) > 1e-3:
                assert abs(slope - leaf.grad) <= 1e-11 * abs(slope), (name, x, float(slope), leaf.grad)


@pytest.mark.skipif(not hasattr(c_engine, "OPS"), reason="the stand-in engine has no table of its own")
def test_both_tables_have_the_same_rows():
    """The C table and the reference's name the same ops, with the same labels and arities."""
    ours = {name: tuple(row) for name, row in c_engine.OPS.items() if name not in NOT_OPS}

    assert {name: (row.label, arity(name)) for name, row in reference.OPS.items()} == ours


EDGES = (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -5e-324, 1e308, -1e308, 1e-308, 710.0, -746.0)


@pytest.mark.parametrize("name", rows(1))
@pytest.mark.parametrize("x", EDGES)
def test_edges_of_unary_rows(engine, name, x):
    """At zeros, infinities, nan and the ends of the range nothing raises, and both engines give the same bits."""
    expected, leaf = reference.Value(x), engine.Value(x)
    right, out = apply(reference, name, expected), apply(engine, name, leaf)
    right.backward()
    out.backward()

    assert same_bits(right.data, out.data)
    assert same_bits(expected.grad, leaf.grad)


@pytest.mark.parametrize("name", rows(2))
@pytest.mark.parametrize("a", EDGES)
def test_edges_of_binary_rows(engine, name, a):
    """At every pair of edges nothing raises, and both engines give the same bits."""
    for b in (*EDGES, 1.0, -1.0, 2.0, 3.0, -3.0, 0.5):
        right_leaves, leaves = [reference.Value(x) for x in (a, b)], [engine.Value(x) for x in (a, b)]
        right, out = apply(reference, name, *right_leaves), apply(engine, name, *leaves)
        right.backward()
        out.backward()

        assert same_bits(right.data, out.data), (a, b)
        for v, w in zip(right_leaves, leaves):
            assert same_bits(v.grad, w.grad), (a, b)


# --- kinks, conventions, IEEE-754: written out ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "abs"])
@pytest.mark.parametrize(
    "x, slopes", [(0.0, (0.0, 0.0)), (-0.0, (0.0, 0.0)), (5e-324, (1.0, 1.0)), (-5e-324, (0.0, -1.0))]
)
def test_slopes_at_and_beside_the_kink(Value, name, x, slopes):
    """relu'(0) = abs'(0) = 0, and one step beside 0 the slope is the side's."""
    leaf = Value(x)
    getattr(leaf, name)().backward()

    assert slopes[name == "abs"] == leaf.grad


@pytest.mark.parametrize("name", ["leaky_relu", "elu"])
@pytest.mark.parametrize(
    "x, slope, by_second",
    [(0.0, 0.25, 0.0), (-0.0, 0.25, 0.0), (5e-324, 1.0, 0.0), (-5e-324, 0.25, -5e-324), (3.0, 1.0, 0.0)],
)
def test_slopes_of_leaky_relu_and_elu_at_and_beside_the_kink(Value, name, x, slope, by_second):
    """At 0 the slope is the left side's, as PyTorch's; the second operand has a gradient on the left only."""
    leaf, second = Value(x), Value(0.25)
    getattr(leaf, name)(second).backward()

    assert (slope, by_second) == (leaf.grad, second.grad)


def test_leaky_relu_and_elu_have_pytorchs_defaults_and_keywords(Value):
    """leaky_relu(negative_slope=0.01) and elu(alpha=1.0), by place or name; what else is given is refused."""
    v = Value(-2.0)

    assert -0.02 == v.leaky_relu().data == v.leaky_relu(0.01).data == v.leaky_relu(negative_slope=0.01).data
    assert math.expm1(-2.0) == v.elu().data == v.elu(1).data == v.elu(alpha=1.0).data
    assert ("leaky_relu", "elu") == (v.leaky_relu()._op, v.elu()._op)
    for call in (
        lambda: v.leaky_relu("0.1"),
        lambda: v.leaky_relu(None),
        lambda: v.elu(slope=1.0),
        lambda: v.elu(1.0, 2.0),
        lambda: v.elu(alpha=1j),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "gelu", "silu", "softplus"])
def test_new_activations_are_activations_of_networks(name):
    """A network takes the name as its activation, and computes what the method does."""
    random.seed(3)
    neuron = nn.Neuron(2, activation=name)
    out = neuron([0.3, -0.8])
    random.seed(3)
    linear = nn.Neuron(2, activation=None)

    assert getattr(linear([0.3, -0.8]), name)().data == out.data


@pytest.mark.parametrize("name", ["minimum", "maximum"])
@pytest.mark.parametrize("a, b", [(2.0, 2.0), (0.0, -0.0), (math.inf, math.inf)])
def test_ties_share_the_gradient(engine, name, a, b):
    """Equal operands of minimum and maximum get half of the gradient each, an infinity too."""
    a, b = engine.Value(a), engine.Value(b)
    getattr(engine, name)(a, b).backward()

    assert (0.5, 0.5) == (a.grad, b.grad)


@pytest.mark.parametrize("name, grads", [("minimum", (0.0, 1.0)), ("maximum", (1.0, 0.0))])
def test_the_chosen_operand_gets_the_gradient(engine, name, grads):
    """minimum and maximum give all to the operand they chose, as methods and as functions."""
    for op in (getattr(engine, name), getattr(engine.Value, name)):
        a, b = engine.Value(3.0), engine.Value(-2.0)
        op(a, b).backward()

        assert grads == (a.grad, b.grad)


def test_nan_goes_through_minimum_and_maximum(engine):
    """A nan on either side is the result, and both operands get the gradient."""
    for op in (engine.minimum, engine.maximum):
        for a, b in ((math.nan, 1.0), (1.0, math.nan)):
            a, b = engine.Value(a), engine.Value(b)
            out = op(a, b)
            out.backward()

            assert math.isnan(out.data)
            assert (1.0, 1.0) == (a.grad, b.grad)


@pytest.mark.parametrize("name", [name for name in rows(1, 2) if is_flat(name)])
def test_a_flat_row_passes_nothing_on(engine, name):
    """An infinite gradient at a row without derivative gives its operands nothing, and no nan; by hand neither."""
    leaves = [engine.Value(1.5) for _ in range(arity(name))]
    operands = [leaf * 2.0 for leaf in leaves]
    out = apply(engine, name, *operands)
    (out * math.inf).backward()
    out._backward()

    assert math.inf == out.grad
    assert [0.0] * len(leaves) == [leaf.grad for leaf in leaves] == [v.grad for v in operands]


def test_a_flat_row_does_not_reach_its_operands(engine):
    """backward() leaves the gradients below a row without derivative as they are."""
    a = engine.Value(2.0)
    b = a * 3.0
    b.backward()
    assert 1.0 == b.grad

    engine.stop_gradient(b).backward()
    assert (1.0, 3.0) == (b.grad, a.grad)


COMPARISONS = {
    "less": (1.0, 0.0, 0.0, 0.0),
    "less_equal": (1.0, 1.0, 0.0, 0.0),
    "greater": (0.0, 0.0, 1.0, 0.0),
    "greater_equal": (0.0, 1.0, 1.0, 0.0),
    "equal": (0.0, 1.0, 0.0, 0.0),
    "not_equal": (1.0, 0.0, 1.0, 1.0),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(engine, name):
    """Comparisons give 1.0 or 0.0 for less, equal, greater and nan, of Values and of numbers on either side."""
    compare, Value = getattr(engine, name), engine.Value
    for (a, b), expected in zip([(1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (math.nan, math.nan)], COMPARISONS[name]):
        for out in (compare(Value(a), Value(b)), compare(a, Value(b)), compare(Value(a), b), compare(a, b)):
            assert isinstance(out, Value)
            assert expected == out.data
    assert (1.0 if "equal" in name and name != "not_equal" else 0.0) == compare(0.0, -0.0).data


@pytest.mark.parametrize("name", ["less", "less_equal", "equal", "not_equal"])
def test_comparisons_are_methods(engine, name):
    """The rows of comparisons are methods too, with the sign as label; `==` stays identity."""
    a = engine.Value(2.0)
    out = getattr(a, name)(3)

    assert (reference.OPS[name].label, getattr(engine, name)(2.0, 3.0).data) == (out._op, out.data)
    assert a != engine.Value(2.0)
    assert a == a


def test_stop_gradient(engine):
    """x * stop_gradient(x) has the derivative x: the second one counts as a constant, which follows x all the same."""
    x = engine.Value(3.0)
    stopped = engine.stop_gradient(x)
    (x * stopped).backward()

    assert (9.0, 3.0) == ((x * stopped).data, x.grad)
    assert ("stop_gradient", {x}) == (stopped._op, stopped._prev)
    assert (2.0, 2.5) == (x.stop_gradient().data - 1.0, engine.stop_gradient(2.5).data)


@pytest.mark.parametrize(
    "compute, expected",
    [
        (lambda v: v(0.0) ** -1, math.inf),
        (lambda v: v(-0.0) ** -1, -math.inf),
        (lambda v: v(0.0) ** -2, math.inf),
        (lambda v: v(-0.0) ** -3, -math.inf),
        (lambda v: v(0.0) ** v(-1.0), math.inf),
        (lambda v: v(-8.0) ** (1 / 3), math.nan),
        (lambda v: v(10.0) ** 400, math.inf),
        (lambda v: v(-10.0) ** 401, -math.inf),
        (lambda v: 10 ** v(400.0), math.inf),
        (lambda v: v(math.nan) ** 0, 1.0),
        (lambda v: 1 ** v(math.nan), 1.0),
        (lambda v: v(1.0) / 0.0, math.inf),
        (lambda v: v(1.0) / -0.0, -math.inf),
        (lambda v: -1 / v(0.0), -math.inf),
        (lambda v: v(0.0) / 0.0, math.nan),
        (lambda v: v(math.nan) / 0.0, math.nan),
        (lambda v: v(1e308) * 10.0, math.inf),
        (lambda v: v(math.inf) - math.inf, math.nan),
        (lambda v: v(0.0) * math.inf, math.nan),
        (lambda v: v(0.0).log(), -math.inf),
        (lambda v: v(-0.0).log(), -math.inf),
        (lambda v: v(-1.0).log(), math.nan),
        (lambda v: v(-math.inf).log(), math.nan),
        (lambda v: v(math.inf).log(), math.inf),
        (lambda v: v(710.0).exp(), math.inf),
        (lambda v: v(-math.inf).exp(), 0.0),
        (lambda v: v(-1.0).sqrt(), math.nan),
        (lambda v: v(-0.0).sqrt(), -0.0),
        (lambda v: v(-0.0) ** 0.5, 0.0),
        (lambda v: v(-math.inf) ** 0.5, math.inf),
        (lambda v: v(-0.0) ** -0.5, math.inf),
        (lambda v: v(math.inf).sin(), math.nan),
        (lambda v: v(-math.inf).cos(), math.nan),
        (lambda v: v(math.inf).tanh(), 1.0),
        (lambda v: v(-1000.0).sigmoid(), 0.0),
        (lambda v: v(1000.0).sigmoid(), 1.0),
        (lambda v: v(math.nan).relu(), math.nan),
        (lambda v: v(-math.inf).relu(), 0.0),
        (lambda v: abs(v(-math.inf)), math.inf),
        (lambda v: v(math.inf).tan(), math.nan),
        (lambda v: v(-0.0).tan(), -0.0),
        (lambda v: v(1.0000000000000002).asin(), math.nan),
        (lambda v: v(-1.0000000000000002).acos(), math.nan),
        (lambda v: v(-math.inf).atan(), -math.pi / 2),
        (lambda v: v(-711.0).sinh(), -math.inf),
        (lambda v: v(-711.0).cosh(), math.inf),
        (lambda v: v(-1.0).log1p(), -math.inf),
        (lambda v: v(-1.5).log1p(), math.nan),
        (lambda v: v(1e-300).log1p(), 1e-300),
        (lambda v: v(710.0).expm1(), math.inf),
        (lambda v: v(-math.inf).expm1(), -1.0),
        (lambda v: v(-1e-300).expm1(), -1e-300),
        (lambda v: v(-math.inf).erf(), -1.0),
        (lambda v: v(-math.inf).erfc(), 2.0),
        (lambda v: v(1000.0).softplus(), 1000.0),
        (lambda v: v(1e308).softplus(), 1e308),
        (lambda v: v(-math.inf).softplus(), 0.0),
        (lambda v: v(1e308).silu(), 1e308),
        (lambda v: v(-1000.0).silu(), -0.0),
        (lambda v: v(-math.inf).silu(), math.nan),
        (lambda v: v(1e308).gelu(), 1e308),
        (lambda v: v(-1000.0).gelu(), -0.0),
        (lambda v: v(-math.inf).elu(2.0), -2.0),
        (lambda v: v(-math.inf).leaky_relu(), -math.inf),
        (lambda v: v(math.nan).leaky_relu(), math.nan),
        (lambda v: v(1e308).tanh(), 1.0),
        (lambda v: v(-1e308).tanh(), -1.0),
        (lambda v: v(0.0) ** 0, 1.0),
        (lambda v: v(0.0) ** v(0.0), 1.0),
        (lambda v: 0 ** v(0.0), 1.0),
        (lambda v: 0 ** v(2.5), 0.0),
    ],
)
def test_domain_is_ieee_754(Value, compute, expected):
    """Outside its domain an op gives inf or nan as IEEE-754 says: no exception, no complex number."""
    assert same_bits(expected, compute(Value).data)


@pytest.mark.parametrize(
    "compute, x, slope",
    [
        (lambda v: v.tanh(), 1e308, 0.0),
        (lambda v: v.sigmoid(), -1000.0, 0.0),
        (lambda v: v.sigmoid(), 1000.0, 0.0),
        (lambda v: v.sqrt(), 0.0, math.inf),
        (lambda v: v.asin(), 1.0, math.inf),
        (lambda v: v.acos(), -1.0, -math.inf),
        (lambda v: v.atan(), 1e155, 1e-310),
        (lambda v: v.log1p(), -1.0, math.inf),
        (lambda v: v.expm1(), -100.0, math.exp(-100.0)),
        (lambda v: v.softplus(), 1000.0, 1.0),
        (lambda v: v.softplus(), -700.0, math.exp(-700.0)),
        (lambda v: v.silu(), 1e308, 1.0),
        (lambda v: v.silu(), -1e308, -0.0),
        (lambda v: v.silu(), 36.0, 1.0 + 36.0 * math.exp(-36.0)),
        (lambda v: v.gelu(), 1e308, 1.0),
        (lambda v: v.gelu(), -1e308, -0.0),
        (lambda v: v**0, 0.0, 0.0),
        (lambda v: v**1, 0.0, 1.0),
        (lambda v: v**0.5, 0.0, math.inf),
        (lambda v: 0**v, 0.0, 0.0),
        (lambda v: 0**v, 2.5, 0.0),
        (lambda v: 0**v, -1.0, -math.inf),
    ],
)
def test_slopes_at_the_ends(Value, compute, x, slope):
    """Where a function is flat, steep or far out its slope is the limit, and no nan."""
    leaf = Value(x)
    compute(leaf).backward()

    assert slope == pytest.approx(leaf.grad, rel=4 * EPS, abs=0)


def test_a_zero_gradient_times_an_infinite_slope_is_nan(Value):
    """0 * inf stays nan: a sweep skips nothing."""
    a = Value(0.0)
    (a.sqrt() * 0.0).backward()

    assert math.isnan(a.grad)


@pytest.mark.parametrize("k", [0, 0.5, -0.5, 1, 2, 3, -1, -2, 4.7, 1 / 3, 7, -3])
@pytest.mark.parametrize("x", [0.3, 1.7, 2.5])
def test_power_of_a_number(Value, k, x):
    """`v ** k` is Python's, to 2 ulp, and its slope is k * x ** (k - 1)."""
    v = Value(x)
    y = v**k
    y.backward()

    assert y.data == pytest.approx(x**k, rel=2 * EPS, abs=0)
    assert v.grad == pytest.approx(k * x ** (k - 1), rel=4 * EPS, abs=0)


@pytest.mark.parametrize("x", [1.1, -0.3, 1e-200, 1e200, 3.3333333333333335])
def test_short_powers_are_defined_as_products(Value, x):
    """`**` 2, 3 and -1 are `x*x`, `x*x*x` and `1/x` to the bit, whatever number type the exponent has."""
    for two, three, minus_one in ((2, 3, -1), (2.0, 3.0, -1.0)):
        assert x * x == (Value(x) ** two).data
        assert x * x * x == (Value(x) ** three).data
        assert 1 / x == (Value(x) ** minus_one).data


def test_a_negative_base_with_a_whole_value_as_exponent(Value):
    """`(-2) ** v` at v = 3 is -8 and has its slope by the base; by the exponent there is none (nan)."""
    base, exponent = Value(-2.0), Value(3.0)
    y = base**exponent
    y.backward()

    assert (-8.0, 12.0) == (y.data, base.grad)
    assert math.isnan(exponent.grad)


def test_a_constant_power_of_zero_has_no_slope(Value):
    """`v ** 0` is 1 with slope 0, even at 0, at inf and at nan."""
    for x in (0.0, math.inf, math.nan):
        v = Value(x)
        y = v**0
        y.backward()

        assert (1.0, 0.0) == (y.data, v.grad)


@pytest.mark.parametrize("x, y", [(0.1, 0.2), (1e16, 1.0), (3.3, -7.1), (1e-300, 1e-300), (2.0, 3.0)])
def test_eager_ops_give_pythons_bits(engine, x, y):
    """An op gives the same bits as the same expression on floats."""
    v, w = engine.Value(x), engine.Value(y)
    pairs = [
        (x + y, v + w),
        (x - y, v - w),
        (x * y, v * w),
        (x / y, v / w),
        (x * y + x, v * w + v),
        (2 - x, 2 - v),
        (2 / x, 2 / v),
        (-x, -v),
        (math.tanh(x), v.tanh()),
        (math.sin(x), v.sin()),
        (math.sqrt(x), v.sqrt()),
        (math.exp(-x), (-v).exp()),
        (math.log(x), v.log()),
        (0 + x + y + x, engine.sum([v, w, v])),
        (0.5 + x * y + y * x, engine.dot([v, w], [w, v], 0.5)),
    ]
    for expected, actual in pairs:
        assert expected == actual.data


# --- sum and dot ------------------------------------------------------------------------------------------------------


def test_sum_adds_from_the_left(engine):
    """`sum` rounds as Python's own, from the left, starting at `start`; it is one node."""
    numbers = [0.1, 1e16, -1e16, 0.3]
    total = engine.sum(map(engine.Value, numbers), 0.7)

    assert (((0.7 + 0.1) + 1e16) - 1e16) + 0.3 == total.data
    assert "sum" == total._op
    assert 5 == len(total._prev)


def test_dot_adds_from_the_bias(engine):
    """`dot` gives the bits of micrograd's neuron: the bias first, then each product."""
    ws, xs, bias = [0.1, 1e16, -1e16], [0.7, 1.1, 1.1], 0.3
    total = engine.dot([engine.Value(w) for w in ws], xs, engine.Value(bias))

    assert bias + ws[0] * xs[0] + ws[1] * xs[1] + ws[2] * xs[2] == total.data


def test_sum_and_dot_take_numbers_and_any_iterable(engine):
    """Numbers and Values mix, in lists, tuples and generators."""
    v = engine.Value(3.0)
    total = engine.sum(x for x in (1, v, 2.5)) + engine.dot((v, 2), iter([4, v]))
    total.backward()

    assert 6.5 + 18.0 == total.data
    assert 1.0 + 4.0 + 2.0 == v.grad


def test_empty_sum_and_dot_are_zero(engine):
    """`sum` and `dot` of nothing are 0 and can be swept; a bias or a start stands alone."""
    for empty in (engine.sum([]), engine.dot([], [])):
        empty.backward()

        assert 0.0 == empty.data

    b = engine.Value(4.0)
    out = engine.dot([], [], b) + engine.sum([], b)
    out.backward()

    assert (8.0, 2.0) == (out.data, b.grad)


def test_repeated_operands_of_sum_and_dot_accumulate(engine):
    """An operand that stands in several places gets each place's gradient."""
    v = engine.Value(3.0)
    engine.sum([v, v, v]).backward()

    assert 3.0 == v.grad

    v.grad = 0.0
    engine.dot([v, v], [v, 2.0], v).backward()

    assert 2 * 3.0 + 2.0 + 1.0 == v.grad


def test_long_sum_and_dot(engine):
    """Operand lists far longer than a block of the arena keep order, gradients and identity."""
    values = [engine.Value(0.1 * i) for i in range(1_000)]
    total, product = engine.sum(values), engine.dot(values, values[::-1], 1.0)
    expected = 0.0
    for v in values:
        expected += v.data
    total.backward()
    product.backward()

    assert expected == total.data
    assert set(values) == total._prev
    for v, w in zip(values, reversed(values)):
        assert 1.0 + 2 * w.data == pytest.approx(v.grad, rel=4 * EPS)


@pytest.mark.parametrize("ws, xs", [([1.0], []), ([], [1.0, 2.0]), ([1.0, 2.0], [3.0])])
def test_dot_refuses_unequal_lengths(engine, ws, xs):
    """`dot` of sequences of different length is a ValueError with both lengths, never a cut."""
    ws = [engine.Value(w) for w in ws]

    with pytest.raises(ValueError, match=rf"(?s){len(ws)}.*{len(xs)}"):
        engine.dot(ws, xs)


@pytest.mark.parametrize("bad", ["1", None, 1j, [1.0], object()])
def test_functions_refuse_what_is_no_number(engine, bad):
    """`sum`, `dot`, `minimum` and `maximum` raise TypeError for an operand that is no number."""
    v = engine.Value(1.0)
    calls = [
        lambda: engine.sum([v, bad]),
        lambda: engine.dot([v], [bad]),
        lambda: engine.dot([bad], [v]),
        lambda: engine.minimum(v, bad),
        lambda: engine.maximum(bad, v),
        lambda: v.minimum(bad),
        lambda: engine.less(v, bad),
        lambda: engine.greater(v, bad),
        lambda: v.not_equal(bad),
        lambda: engine.stop_gradient(bad),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()

    v.backward()  # nothing is left half-done
    assert 1.0 == v.grad


# --- logsumexp --------------------------------------------------------------------------------------------------------

ROWS = [
    [0.0, -50.0],
    [1000.0, 1000.5, 999.0],
    [-1000.0, -1001.0],
    [0.3, 0.3, 0.3],
    [2.0],
    [-0.7, 1.2, -3.4, 1.2],
    [1e308, -1e308],
    [-math.inf, 3.0],
]


@pytest.mark.parametrize("row", ROWS)
def test_logsumexp(engine, row):
    """The value is right to 4 ulp, and the gradients are the softmax; neither overflows, and no term is lost."""
    values = [engine.Value(x) for x in row]
    out = pygrad.logsumexp(values)
    out.backward()

    with mpmath.workdps(50):
        exps = [mpmath.exp(mpmath.mpf(x) - max(row)) for x in row]
        expected = float(mpmath.log1p(mpmath.fsum(exps) - 1) + max(row)) if len(row) > 1 else row[0]
        shares = [float(e / mpmath.fsum(exps)) for e in exps]
    assert expected == pytest.approx(out.data, rel=4 * EPS, abs=0)
    assert shares == pytest.approx([v.grad for v in values], rel=1e-14, abs=0)


@pytest.mark.parametrize(
    "row", [*ROWS, [math.inf, 1.0], [-math.inf, -math.inf], [math.nan, 1.0], [math.inf, -math.inf]]
)
def test_logsumexp_is_pytorchs_and_can_be_compiled(row):
    """A compiled function gives eager's bits for infinities and nan too, and both what PyTorch does."""
    values = [pygrad.Value(x) for x in row]
    out = pygrad.logsumexp(values)
    out.backward()
    f = pygrad.compile(lambda xs: pygrad.logsumexp(xs), batched=False)
    f([0.1 * i for i in range(len(row))])

    assert same_bits(out.data, f(row))

    torch = pytest.importorskip("torch")
    tensor = torch.tensor(row, dtype=torch.float64, requires_grad=True)
    expected = torch.logsumexp(tensor, 0)
    expected.backward()
    assert near(expected.item(), out.data)
    assert all(near(x, v.grad) for x, v in zip(tensor.grad.tolist(), values))


def test_logsumexp_takes_numbers_and_refuses_nothing_at_all():
    """Numbers and Values mix, in any iterable; no values are a ValueError, and what is no number a TypeError."""
    v = pygrad.Value(1.0)

    assert 1.0 + math.log(2.0) == pygrad.logsumexp(x for x in (1, v)).data
    with pytest.raises(ValueError, match="at least one"):
        pygrad.logsumexp([])
    with pytest.raises(TypeError):
        pygrad.logsumexp([v, "1"])


# --- files of C -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_all_rows_in_a_file_of_c(tmp_path):
    """A function of every row, written as C, gives the engine's bits."""

    def f(a, b):
        unary = [apply(pygrad, name, a) for name in rows(1)]
        return [*unary, *[apply(pygrad, name, a, b) for name in rows(2)], pygrad.logsumexp([a, b])]

    f = pygrad.compile(f, batched=False)
    f(0.3, -0.7)
    f.to_c(tmp_path / "f.c")
    flags = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    command = ["cc", *flags, "-DPYGRAD_SELF_CHECK", "f.c", "-o", "check", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)

    assert b"ok" == subprocess.run([tmp_path / "check"], capture_output=True, check=True).stdout[:2]


# --- PyTorch's conventions --------------------------------------------------------------------------------------------

_TORCH_NAMES = {
    "cube": lambda torch: lambda a: a**3,
    "softplus": lambda torch: torch.nn.functional.softplus,
    "silu": lambda torch: torch.nn.functional.silu,
    "gelu": lambda torch: torch.nn.functional.gelu,
    "leaky_relu": lambda torch: torch.nn.functional.prelu,  # the one whose slope has a gradient
    "elu": lambda torch: lambda a, alpha: torch.nn.functional.elu(a, alpha.item()),
}


@pytest.mark.parametrize("name", [name for name in rows(1, 2) if not is_flat(name)])
def test_values_and_slopes_are_pytorchs(engine, torch, name):
    """At generic points, kinks, ties, zeros, infinities and nan, data and gradients are PyTorch's."""
    theirs = _TORCH_NAMES[name](torch) if name in _TORCH_NAMES else getattr(torch, name, None)
    theirs = theirs or getattr(torch.nn.functional, name, None)
    if theirs is None:
        pytest.skip("PyTorch has no function of that name")
    edges = (0.0, -0.0, 1.0, -1.0, 2.0, math.inf, -math.inf, math.nan)
    points = [(a,) for a in edges] if arity(name) == 1 else [(a, b) for a in edges for b in edges]
    for point in [*POINTS[arity(name)], *points]:
        tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point]
        leaves = [engine.Value(x) for x in point]
        expected, out = theirs(*tensors), apply(engine, name, *leaves)
        expected.backward()
        out.backward()

        assert near(expected.item(), out.data), (point, expected.item(), out.data)
        for x, tensor, leaf in zip(point, tensors, leaves):
            if tensor.grad is not None:  # PyTorch's elu has none by its alpha
                assert near(tensor.grad.item(), leaf.grad), (point, x, tensor.grad.item(), leaf.grad)


def near(a, b):
    return same(a, b) or abs(a - b) <= 1e-13 * max(1e-3, abs(a))


# --- the tests' own test ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", reference.OPS)
@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_forward_that_is_off_is_found(name, factor):
    """A result 0.1 % off does not pass `check_op`."""
    faulty = second_reference()
    row = faulty.OPS[name]
    faulty.OPS[name] = row._replace(forward=lambda *operands: row.forward(*operands) * factor)

    with pytest.raises(AssertionError):
        check_op(faulty, name)


@pytest.mark.parametrize("name", reference.OPS)
@pytest.mark.parametrize("which", ["first", "last"])
def test_a_partial_that_is_off_is_found(name, which):
    """One partial 0.1 % off, the first or the last operand's, or 0.001 instead of none, does not pass `check_op`."""
    faulty = second_reference()
    row = faulty.OPS[name]

    def off(y, *operands):
        partials = list(row.partials(y, *operands)) or [None] * len(operands)
        at = 0 if which == "first" else -1
        partials[at] = 0.001 if partials[at] is None else 1.001 * partials[at]
        return partials

    faulty.OPS[name] = row._replace(partials=off)

    with pytest.raises(AssertionError):
        check_op(faulty, name)


@pytest.mark.parametrize("name", [name for name in rows(2) if name != "add" and not is_flat(name)] + ["dot"])
def test_swapped_partials_are_found(name):
    """Partials handed to the wrong operands do not pass `check_op` (those of add are equal)."""
    faulty = second_reference()
    row = faulty.OPS[name]
    faulty.OPS[name] = row._replace(partials=lambda y, *operands: row.partials(y, *operands)[::-1])

    with pytest.raises(AssertionError):
        check_op(faulty, name)


@pytest.mark.parametrize("name", [name for name in reference.OPS if not is_flat(name)])
def test_a_lost_accumulation_is_found(name):
    """A sweep that overwrites gradients instead of adding to them does not pass `check_op`."""
    faulty = reference_that_loses_accumulation()

    with pytest.raises(AssertionError):
        check_op(faulty, name)


def test_check_op_passes_on_an_untouched_copy():
    """Without a planted fault the copy passes, so what the tests above find is the fault."""
    faulty = second_reference()
    for name in faulty.OPS:
        check_op(faulty, name)


@pytest.mark.parametrize("name", [name for name, (_, arity) in c_engine.OPS.items() if name in reference.OPS and arity])
def test_the_rows_of_both_tables_agree(name):
    """Every unary and binary row of ops.def gives the value and the partials of the reference's row, to the bit."""
    from pygrad.engine._lib import ffi, lib

    op, arity, row = list(c_engine.OPS).index(name), c_engine.OPS[name][1], reference.OPS[name]
    out = ffi.new("double[3]")
    for a, b in itertools.product([-2.5, -1.0, -0.0, 0.0, 0.3, 1.0, 2.5, math.inf, math.nan], repeat=2):
        operands = (a, b)[:arity]
        lib.pg_op_eval(op, a, b, out)
        y = row.forward(*operands)
        expected = [y, *(row.partials(y, *operands) or [0.0] * arity)]

        assert [float(x).hex() for x in expected] == [x.hex() for x in list(out)[: arity + 1]], operands
