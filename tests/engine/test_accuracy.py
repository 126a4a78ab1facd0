"""Every unary and binary row of the op table against mpmath at 50 digits: the value, first and second derivatives.

A value may be off by 2 ulp and a derivative by 4, wherever in the range of a double, subnormals included. Rows that are
right in another sense only are listed in ABSOLUTE and EXCEPTIONS, with the reason. The points are drawn anew for each
row, from a seed that is its name; ACCURACY_POINTS says how many, half of them over the whole range of doubles and half
where the row is curved.

Values and first derivatives are what the row gives. Second ones are those of the first as Values: by a sweep over what
`grad(create_graph=True)` made, and as Values again, eagerly and by a compiled function.
"""

import functools
import math
import os
import random
import struct

import pytest
from mpmath import mp, mpf
from programs import apply, arity, is_flat, rows, same_bits

import pygrad
from pygrad import engine
from pygrad.engine._lib import ffi, lib

pytestmark = [pytest.mark.once, pytest.mark.python]

COUNT = int(os.environ.get("ACCURACY_POINTS", "200"))
VALUE_ULPS, SLOPE_ULPS = 2, 4
ABSOLUTE_ERROR = 4 * 2.0**-52
BEYOND = 2.0**1000 * mpf(2) ** 24  # the first number that is too large for a double


def erfc(a):
    return mp.erfc(max(-10_000, min(10_000, a)))  # mpmath's own has an OverflowError farther out


def sigmoid(a):
    return 1 / (1 + mp.exp(-a))


def normal(a):
    """The density of the normal distribution."""
    return mp.exp(-a * a / 2) / mp.sqrt(2 * mp.pi)


def normal_below(a):
    """The distribution function of the normal distribution."""
    return erfc(-a / mp.sqrt(2)) / 2


def bell(a):
    """The derivative of erf."""
    return 2 / mp.sqrt(mp.pi) * mp.exp(-a * a)


def sign(a):
    return mpf((a > 0) - (a < 0))


def share(a, b):
    """What minimum passes on to a."""
    return mpf(a < b) + mpf(a == b) / 2


def sigmoid_slope(a):
    return sigmoid(a) * sigmoid(-a)


def no(*point):
    return mpf(0)


# The value, the derivative and the second derivative of a unary row, at a kink by convention.
UNARY = {
    "neg": (lambda a: -a, lambda a: mpf(-1), no),
    "abs": (abs, sign, no),
    "relu": (lambda a: max(a, mpf(0)), lambda a: mpf(a > 0), no),
    "tanh": (mp.tanh, lambda a: mp.sech(a) ** 2, lambda a: -2 * mp.tanh(a) * mp.sech(a) ** 2),
    "exp": (mp.exp, mp.exp, mp.exp),
    "log": (mp.log, lambda a: 1 / a, lambda a: -1 / a**2),
    "sigmoid": (sigmoid, sigmoid_slope, lambda a: -sigmoid_slope(a) * mp.tanh(a / 2)),
    "sqrt": (mp.sqrt, lambda a: 1 / (2 * mp.sqrt(a)), lambda a: -1 / (4 * a * mp.sqrt(a))),
    "sin": (mp.sin, mp.cos, lambda a: -mp.sin(a)),
    "cos": (mp.cos, lambda a: -mp.sin(a), lambda a: -mp.cos(a)),
    "tan": (mp.tan, lambda a: mp.sec(a) ** 2, lambda a: 2 * mp.tan(a) * mp.sec(a) ** 2),
    "asin": (mp.asin, lambda a: 1 / mp.sqrt(1 - a * a), lambda a: a / mp.sqrt(1 - a * a) ** 3),
    "acos": (mp.acos, lambda a: -1 / mp.sqrt(1 - a * a), lambda a: -a / mp.sqrt(1 - a * a) ** 3),
    "atan": (mp.atan, lambda a: 1 / (1 + a * a), lambda a: -2 * a / (1 + a * a) ** 2),
    "sinh": (mp.sinh, mp.cosh, mp.sinh),
    "cosh": (mp.cosh, mp.sinh, mp.cosh),
    "log1p": (mp.log1p, lambda a: 1 / (1 + a), lambda a: -1 / (1 + a) ** 2),
    "expm1": (mp.expm1, mp.exp, mp.exp),
    "erf": (mp.erf, bell, lambda a: -2 * a * bell(a)),
    "erfc": (erfc, lambda a: -bell(a), lambda a: 2 * a * bell(a)),
    "softplus": (lambda a: max(a, mpf(0)) + mp.log1p(mp.exp(-abs(a))), sigmoid, sigmoid_slope),
    "silu": (
        lambda a: a * sigmoid(a),
        lambda a: sigmoid(a) * (1 + a * sigmoid(-a)),
        lambda a: sigmoid_slope(a) * (2 - a * mp.tanh(a / 2)),
    ),
    "gelu": (
        lambda a: a * normal_below(a),
        lambda a: normal_below(a) + a * normal(a),
        lambda a: normal(a) * (2 - a * a),
    ),
    "square": (lambda a: a**2, lambda a: 2 * a, lambda a: mpf(2)),
    "cube": (lambda a: a**3, lambda a: 3 * a**2, lambda a: 6 * a),
    "reciprocal": (lambda a: 1 / a, lambda a: -1 / a**2, lambda a: 2 / a**3),
}

# Of a**b, where b - 1 may be -1 with 50 digits. At a == 0 by convention: a**0 has no slope, nor has 0**b by b.
POWER = (
    lambda a, b: a**b,
    lambda a, b: (b * a**b / a if a else b * a ** (b - 1)) if b else mpf(0),
    lambda a, b: mpf(0) if a == 0 and b >= 0 else a**b * mp.log(a),
    lambda a, b: mpf(0) if b in (0, 1) else b * (b - 1) * (a**b / a**2 if a else a ** (b - 2)),
    lambda a, b: mpf(0) if a == 0 and b > 1 else a**b / a * (1 + b * mp.log(a)),
    lambda a, b: mpf(0) if a == 0 and b >= 0 else a**b * mp.log(a) ** 2,
)

# The value, the derivatives by a and by b, and the second ones by aa, ab and bb of a binary row.
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: mpf(1), lambda a, b: mpf(1), no, no, no),
    "sub": (lambda a, b: a - b, lambda a, b: mpf(1), lambda a, b: mpf(-1), no, no, no),
    "mul": (lambda a, b: a * b, lambda a, b: b, lambda a, b: a, no, lambda a, b: mpf(1), no),
    "div": (
        lambda a, b: a / b,
        lambda a, b: 1 / b,
        lambda a, b: -a / b**2,
        lambda a, b: 0 / b,
        lambda a, b: -1 / b**2,
        lambda a, b: 2 * a / b**3,
    ),
    "pow": POWER,
    "minimum": (min, share, lambda a, b: share(b, a), no, no, no),
    "maximum": (max, lambda a, b: share(b, a), share, no, no, no),
    "leaky_relu": (
        lambda a, b: a if a > 0 else a * b,
        lambda a, b: mpf(1) if a > 0 else b,
        lambda a, b: mpf(0) if a > 0 else a,
        no,
        lambda a, b: mpf(a <= 0),
        no,
    ),
    "elu": (
        lambda a, b: a if a > 0 else b * mp.expm1(a),
        lambda a, b: mpf(1) if a > 0 else b * mp.exp(a),
        lambda a, b: mpf(0) if a > 0 else mp.expm1(a),
        lambda a, b: mpf(0) if a > 0 else b * mp.exp(a),
        lambda a, b: mpf(0) if a > 0 else mp.exp(a),
        no,
    ),
}

# row -> what its numbers are called -> their formulas; "ba" is the derivative by a of that by b
TRUTH = {name: dict(zip(("y", "a", "aa"), formulas)) for name, formulas in UNARY.items()}
TRUTH |= {name: dict(zip(("y", "a", "b", "aa", "ab", "bb"), formulas)) for name, formulas in BINARY.items()}
for formulas in (TRUTH[name] for name in BINARY):
    formulas["ba"] = formulas["ab"]


def truth(name):
    """The formulas of a row."""
    assert name in TRUTH, f"write the formulas of {name!r} in UNARY or BINARY of tests/engine/test_accuracy.py"
    return TRUTH[name]


# Rows that may be off by ABSOLUTE_ERROR instead, in value and derivatives.
ABSOLUTE = {
    "tanh": "1 - y*y costs no second tanh; it has the rounding of y, however near to 0 it is",
    "sigmoid": "y * (1 - y) costs no second exp; it has the rounding of y",
    "softplus": "an exp, a log1p and a sum",
    "silu": "a sigmoid times a; 1 + a * sigmoid(-a) cancels near its zero",
    "gelu": "erfc magnifies the rounding of a / sqrt(2) in its tail; the derivative's terms cancel near its zero",
    "erf": "exp magnifies the rounding of a * a in the derivative's tail",
    "erfc": "as erf; and C libraries give erfc itself in the tail to some 5 ulp",
}


SMALLEST_NORMAL = 2.0**-1022


def is_at_an_end(x):
    """True for a number that is subnormal as a double, or too large for one."""
    return abs(x) < SMALLEST_NORMAL or abs(x) >= BEYOND


def is_power_lost(a, b):
    """True where b - 1 is b, next to 1 where a**b is finite; or where a**b or a**b / a is subnormal or inf."""
    return abs(b) >= 2.0**53 or abs(a) < SMALLEST_NORMAL or is_at_an_end(a**b) or is_at_an_end(a ** (b - 1))


# (row, number): where it may be off by more, and why.
EXCEPTIONS = {
    ("div", "b"): (
        lambda a, b: is_at_an_end(a / b),
        "-(a/b)/b: where a/b is subnormal it has lost digits, and a small b makes that large",
    ),
    ("div", "bb"): (
        lambda a, b: is_at_an_end(a / b) or is_at_an_end(a / b**2) or is_at_an_end(1 / b),
        "a/b twice divided by b, as ('div', 'b'); and 0 times 1/b is nan where that is inf",
    ),
    ("pow", "a"): (
        is_power_lost,
        "b - 1 is b, and the result off by the factor a, which is next to 1 where it is finite; or the power that b is "
        "multiplied by is subnormal or inf, as a**b / a is for a subnormal a",
    ),
    ("pow", "b"): (
        lambda a, b: is_at_an_end(a**b),
        "a**b * log(a): where a**b is subnormal it has lost digits, and it may be inf where log(a) is small",
    ),
    ("pow", "aa"): (
        lambda a, b: is_power_lost(a, b) or is_at_an_end(a**b / a**2),
        "as ('pow', 'a'), and a**b / a / a is the power that b is multiplied by",
    ),
    ("pow", "ab"): (
        lambda a, b: is_power_lost(a, b) or is_at_an_end(a ** (b - 1) * mp.log(a)) or -2 < b * mp.log(a) < 0,
        "as ('pow', 'a'), also times log(a); and a**(b-1) * (1 + b * log(a)) cancels near its zero",
    ),
    ("pow", "bb"): (
        lambda a, b: is_at_an_end(a**b),
        "as ('pow', 'b')",
    ),
    ("elu", "a"): (
        lambda a, b: is_at_an_end(mp.exp(a)),
        "b * exp(a): where exp(a) is subnormal it has lost digits",
    ),
}
EXCEPTIONS["pow", "ba"] = EXCEPTIONS["pow", "ab"]
EXCEPTIONS["elu", "aa"] = EXCEPTIONS["elu", "a"]


# --- points -----------------------------------------------------------------------------------------------------------


EDGES = [0.0, 5e-324, 1e-320, SMALLEST_NORMAL, 1e-160, 2.0**-53, 2.0**-27, 0.5, 1.0 - 2.0**-53, 1.0, 1.0 + 2.0**-52]
EDGES += [2.0, math.pi / 2, math.pi, 9.0, 18.7, 20.0, 26.6, 38.0, 709.0, 709.7, 745.0, 1000.0, 1e9, 1e154, 1e308]
EDGES += [-x for x in EDGES]


def anywhere(rng):
    """Any finite double, all bit patterns alike."""
    while not math.isfinite(x := struct.unpack("d", rng.randbytes(8))[0]):
        pass
    return x


def curved(rng):
    """A number of moderate size, of either sign; one in four near 1 or -1."""
    x = (
        rng.uniform(0.0, 1.0) ** 2 * 40.0
        if rng.random() < 0.75
        else 1.0 + rng.uniform(-1, 1) * 10.0 ** -rng.randrange(17)
    )
    return math.copysign(x, rng.random() - 0.5)


def in_range(rng):
    """A pair whose power is a double, mostly: the base is any positive number."""
    a = rng.choice([abs(anywhere(rng)), abs(curved(rng)), abs(curved(rng))]) or 1.0
    return a, rng.uniform(-745.0, 709.0) * rng.random() / (math.log(a) or 1.0)


def points(name):
    """The points of a row, always the same."""
    rng = random.Random(name)
    draws = [anywhere, curved]
    if arity(name) == 1:
        return [(x,) for x in EDGES] + [(draws[i % 2](rng),) for i in range(COUNT)]
    pairs = [(rng.choice(EDGES), rng.choice(EDGES)) for _ in range(COUNT // 4)]
    pairs += [(draws[i % 2](rng), draws[i // 2 % 2](rng)) for i in range(COUNT // 2)]
    return pairs + [in_range(rng) for _ in range(COUNT // 4)]


# --- errors -----------------------------------------------------------------------------------------------------------


@functools.cache
def true_number(name, which, point):
    """What a formula is at a point, with 50 digits; None where it is no real number, or a pole."""
    try:
        with mp.workdps(50):
            y = truth(name)[which](*map(mpf, point))
    except (ZeroDivisionError, ValueError):
        return None
    return y if isinstance(y, mpf) and mp.isfinite(y) else None


def ulps(expected, actual):
    """How far a double is from a number, in units of the number's last place; an infinity stands for 2**1024."""
    expected = max(-BEYOND, min(BEYOND, expected))
    if math.isnan(actual):
        return math.inf
    actual = mpf(actual) if math.isfinite(actual) else BEYOND * (1 if actual > 0 else -1)
    ulp = math.ulp(float(expected)) if abs(expected) < BEYOND else math.ulp(1.7e308)
    return float(abs(expected - actual) / ulp)


def check_row(name, numbers):
    """Check what `numbers` yields of a row, (point, {which: number}); returns how many were compared."""
    compared = 0
    with mp.workdps(50):
        for point, found in numbers:
            for which, actual in found.items():
                expected = true_number(name, which, point)
                if expected is not None:
                    check_number(name, which, point, expected, actual)
                    compared += 1
    return compared


def check_number(name, which, point, expected, actual):
    error = ulps(expected, actual)
    if error <= (VALUE_ULPS if which == "y" else SLOPE_ULPS):
        return
    if name in ABSOLUTE and abs(expected - actual) <= ABSOLUTE_ERROR:
        return
    excepted, reason = EXCEPTIONS.get((name, which), (lambda *point: False, ""))
    assert excepted(*map(mpf, point)), (name, which, point, float(expected), actual, error)


# --- what is checked --------------------------------------------------------------------------------------------------


def by_ops_def(name):
    """Yield the value and the derivatives that ops.def's row gives."""
    op, out = list(engine.OPS).index(name), ffi.new("double[3]")
    for point in points(name):
        lib.pg_op_eval(op, *point, *[0.0] * (2 - len(point)), out)
        yield point, dict(zip("yab"[: 1 + len(point)], out))


def first_as_values(name, xs):
    """Return d y / d x for each x, as Values; `name` is a row's, or the literal of a power."""
    y = apply(engine, name, *xs) if isinstance(name, str) else xs[0] ** name
    return pygrad.grad(y, xs, create_graph=True)


def named(found):
    """Return rows of second derivatives as {"aa": ..., ...}."""
    return {first + by: x for first, row in zip("ab", found) for by, x in zip("ab", row)}


def by_sweep(name, ps):
    """Yield the second derivatives by a sweep over the first ones as Values."""
    for point in ps:
        xs = [engine.Value(x) for x in point]
        yield point, named([pygrad.grad(first, xs) for first in first_as_values(name, xs)])


def second_as_values(name):
    """Return the function of a point's Values that gives all second derivatives in a list of Values."""

    def f(*xs):
        return [second for first in first_as_values(name, xs) for second in pygrad.grad(first, list(xs), True)]

    return f


def by_compiled(name, ps):
    """Yield the second derivatives by one run of a compiled function over all points."""
    found = pygrad.compile(second_as_values(name))(*map(list, zip(*ps)))
    n = len(ps[0])
    for point, row in zip(ps, found):
        yield point, named([row[i : i + n] for i in range(0, n * n, n)])


def by_compiled_backward(name, ps):
    """Yield the second derivatives by a backward pass of each first one, compiled, over all points."""
    columns, found = list(map(list, zip(*ps))), []
    for i in range(len(columns)):
        first = pygrad.compile(lambda *xs, i=i: first_as_values(name, xs)[i], reduction="sum")
        found.append(zip(*first.backward(*columns, inputs=True)[1]))
    for point, *row in zip(ps, *found):
        yield point, named(row)


# --- tests ------------------------------------------------------------------------------------------------------------

ROWS = [name for name in rows(1, 2) if not is_flat(name)]
LITERALS = [0.0, 1.0, 2.0, 3.0, -1.0, 4.0, -2.0, 0.5, -0.5, 1.5, 2.5, 0.1, -0.1, 1 / 3, -1.7, 10.0]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_accurate(name):
    """Value and derivatives of the row are within its bounds at every point."""
    assert COUNT // 2 < check_row(name, by_ops_def(name))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("by", [by_sweep, by_compiled, by_compiled_backward])
def test_second_derivatives_are_accurate(by, name):
    """So are the derivatives of the derivatives, eager and compiled."""
    assert COUNT // 3 < check_row(name, by(name, points(name)))


@pytest.mark.parametrize("k", LITERALS)
def test_literal_powers_are_accurate(k):
    """`a ** k` for a literal k, where it is a row or a node of its own: value, first and second derivative."""
    places = [(a,) for (a,) in points("square")]

    def numbers():
        for (a,), second in by_sweep(k, places):
            x = engine.Value(a)
            y = x**k
            yield (a, k), {"y": y.data, "a": pygrad.grad(y, x), **second}

    assert COUNT // 3 < check_row("pow", numbers())
    assert COUNT // 9 < check_row("pow", (((a, k), found) for (a,), found in by_compiled(k, places)))


@pytest.mark.parametrize("name", ROWS)
def test_compiled_second_derivatives_have_the_bits_of_eager_ones(name):
    """A compiled function that calls grad gives what the function itself does; also at infinities and nan."""
    ps = [*points(name)[:60], *[(x,) * arity(name) for x in (math.inf, -math.inf, math.nan)]]
    for point, found in by_compiled(name, ps):
        eager = second_as_values(name)(*map(engine.Value, point))
        assert all(map(same_bits, [v.data for v in eager], found.values())), (point, found, eager)


@pytest.mark.parametrize("name", ROWS)
def test_an_inaccurate_row_is_found(name):
    """A number that is off by 1e-14 of itself does not pass: what is checked are digits."""
    for numbers in (list(by_ops_def(name)), list(by_compiled(name, points(name)))):
        for which in numbers[0][1]:
            off = [(point, {which: found[which] * (1.0 + 1e-14) or 1e-14}) for point, found in numbers]
            with pytest.raises(AssertionError):
                check_row(name, off)
