"""Every unary and binary row of the op table against mpmath at 50 digits: the value, and each first derivative.

A value may be off by 2 ulp and a derivative by 4, wherever in the range of a double, subnormals included. Rows that are
right in another sense only are listed in ABSOLUTE and EXCEPTIONS, with the reason. The points are drawn anew for each
row, from a seed that is its name; ACCURACY_POINTS says how many, half of them over the whole range of doubles and half
where the row is curved.
"""

import math
import os
import random
import struct

import pytest
from mpmath import mp, mpf
from programs import arity, is_flat, rows

from pygrad import engine
from pygrad._lib import ffi, lib

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


def sign(a):
    return mpf((a > 0) - (a < 0))


def share(a, b):
    """What minimum passes on to a."""
    return mpf(a < b) + mpf(a == b) / 2


# The value and the derivative of a unary row, at a kink by convention.
UNARY = {
    "neg": (lambda a: -a, lambda a: mpf(-1)),
    "abs": (abs, sign),
    "relu": (lambda a: max(a, mpf(0)), lambda a: mpf(a > 0)),
    "tanh": (mp.tanh, lambda a: mp.sech(a) ** 2),
    "exp": (mp.exp, mp.exp),
    "log": (mp.log, lambda a: 1 / a),
    "sigmoid": (sigmoid, lambda a: sigmoid(a) * sigmoid(-a)),
    "sqrt": (mp.sqrt, lambda a: 1 / (2 * mp.sqrt(a))),
    "sin": (mp.sin, mp.cos),
    "cos": (mp.cos, lambda a: -mp.sin(a)),
    "tan": (mp.tan, lambda a: mp.sec(a) ** 2),
    "asin": (mp.asin, lambda a: 1 / mp.sqrt(1 - a * a)),
    "acos": (mp.acos, lambda a: -1 / mp.sqrt(1 - a * a)),
    "atan": (mp.atan, lambda a: 1 / (1 + a * a)),
    "sinh": (mp.sinh, mp.cosh),
    "cosh": (mp.cosh, mp.sinh),
    "log1p": (mp.log1p, lambda a: 1 / (1 + a)),
    "expm1": (mp.expm1, mp.exp),
    "erf": (mp.erf, lambda a: 2 / mp.sqrt(mp.pi) * mp.exp(-a * a)),
    "erfc": (erfc, lambda a: -2 / mp.sqrt(mp.pi) * mp.exp(-a * a)),
    "softplus": (lambda a: max(a, mpf(0)) + mp.log1p(mp.exp(-abs(a))), sigmoid),
    "silu": (lambda a: a * sigmoid(a), lambda a: sigmoid(a) * (1 + a * sigmoid(-a))),
    "gelu": (lambda a: a * normal_below(a), lambda a: normal_below(a) + a * normal(a)),
    "square": (lambda a: a**2, lambda a: 2 * a),
    "cube": (lambda a: a**3, lambda a: 3 * a**2),
    "reciprocal": (lambda a: 1 / a, lambda a: -1 / a**2),
}

# The value and both derivatives of a binary row.
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: mpf(1), lambda a, b: mpf(1)),
    "sub": (lambda a, b: a - b, lambda a, b: mpf(1), lambda a, b: mpf(-1)),
    "mul": (lambda a, b: a * b, lambda a, b: b, lambda a, b: a),
    "div": (lambda a, b: a / b, lambda a, b: 1 / b, lambda a, b: -a / b**2),
    "pow": (
        lambda a, b: a**b,
        lambda a, b: (b * a**b / a if a else b * a ** (b - 1)) if b else mpf(0),  # b - 1 may be -1 with 50 digits
        lambda a, b: mpf(0) if a == 0 and b >= 0 else a**b * mp.log(a),
    ),
    "minimum": (min, share, lambda a, b: share(b, a)),
    "maximum": (max, lambda a, b: share(b, a), share),
    "leaky_relu": (
        lambda a, b: a if a > 0 else a * b,
        lambda a, b: mpf(1) if a > 0 else b,
        lambda a, b: mpf(0) if a > 0 else a,
    ),
    "elu": (
        lambda a, b: a if a > 0 else b * mp.expm1(a),
        lambda a, b: mpf(1) if a > 0 else b * mp.exp(a),
        lambda a, b: mpf(0) if a > 0 else mp.expm1(a),
    ),
}

TRUTH = {**UNARY, **BINARY}

# Rows that may be off by ABSOLUTE_ERROR instead, in value and derivative.
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


# (row, which: 0 the value, 1 and 2 the derivatives): where it may be off by more, and why.
EXCEPTIONS = {
    ("div", 2): (
        lambda a, b: is_at_an_end(a / b),
        "-(a/b)/b: where a/b is subnormal it has lost digits, and a small b makes that large",
    ),
    ("pow", 1): (
        lambda a, b: abs(b) >= 2.0**53 or abs(a) < SMALLEST_NORMAL or is_at_an_end(a**b) or is_at_an_end(a ** (b - 1)),
        "b - 1 is b, and the result off by the factor a, which is next to 1 where it is finite; or the power that b is "
        "multiplied by is subnormal or inf, as a**b / a is for a subnormal a",
    ),
    ("pow", 2): (
        lambda a, b: is_at_an_end(a**b),
        "a**b * log(a): where a**b is subnormal it has lost digits, and it may be inf where log(a) is small",
    ),
    ("elu", 1): (
        lambda a, b: is_at_an_end(mp.exp(a)),
        "b * exp(a): where exp(a) is subnormal it has lost digits",
    ),
}


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


def true_number(formula, point):
    """What a formula is at a point, with 50 digits; None where it is no real number, or a pole."""
    try:
        y = formula(*map(mpf, point))
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


def check_row(name, evaluate):
    """Check a row at its points; returns how many numbers were compared."""
    compared = 0
    with mp.workdps(50):
        for point in points(name):
            for which, (formula, actual) in enumerate(zip(TRUTH[name], evaluate(*point))):
                expected = true_number(formula, point)
                if expected is not None:
                    check_number(name, which, point, expected, actual)
                    compared += 1
    return compared


def check_number(name, which, point, expected, actual):
    error = ulps(expected, actual)
    if error <= (SLOPE_ULPS if which else VALUE_ULPS):
        return
    if name in ABSOLUTE and abs(expected - actual) <= ABSOLUTE_ERROR:
        return
    excepted, reason = EXCEPTIONS.get((name, which), (lambda *point: False, ""))
    assert excepted(*map(mpf, point)), (name, which, point, float(expected), actual, error)


def row_of_ops_def(name):
    """Return a function of a point: the value and the derivatives that ops.def's row gives."""
    op, out = list(engine.OPS).index(name), ffi.new("double[3]")

    def evaluate(a, b=0.0):
        lib.pg_op_eval(op, a, b, out)
        return list(out)

    return evaluate


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in rows(1, 2) if not is_flat(name)])
def test_a_row_is_accurate(name):
    """Value and derivatives of the row are within its bounds at every point."""
    assert COUNT // 2 < check_row(name, row_of_ops_def(name))


@pytest.mark.parametrize("name", [name for name in rows(1, 2) if not is_flat(name)])
def test_an_inaccurate_row_is_found(name):
    """A value or a derivative that is off by 1e-14 of itself does not pass: what is checked are digits."""
    evaluate = row_of_ops_def(name)
    for which in range(1 + arity(name)):

        def off(*point, which=which):
            return [x * (1.0 + 1e-14) if i == which else x for i, x in enumerate(evaluate(*point))]

        with pytest.raises(AssertionError):
            check_row(name, off)
