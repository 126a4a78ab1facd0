"""`where` and `take`: what is reached by no other way than values that are not chosen gets exactly 0.

No 0 * inf is formed there: at each sample, on every way to differentiate, of any order. The oracle is the program with
Python's `if` in place of `where`: its graph has nothing but what is chosen.
"""

import functools
import math
import random
import shutil
import subprocess

import pytest

import pygrad
from pygrad import engine as c_engine
from pygrad import reference

ALL = ("fold", "share", "fuse", "hoist")


class Ifs:
    """`where` and `take` as an ordinary program has them: of what is not chosen there is no node."""

    Value = c_engine.Value
    less, less_equal, not_equal, equal = map(
        staticmethod, (c_engine.less, c_engine.less_equal, c_engine.not_equal, c_engine.equal)
    )

    @staticmethod
    def where(condition, a, b):
        return a if condition.data != 0.0 else b

    @staticmethod
    def take(values, index):
        return values[int(index.data)]


def same(found, expected):
    """Compare numbers, or lists of numbers, to what rounding does to the largest; nan equals nan."""
    found, expected = ([*x] if isinstance(x, (list, tuple)) else [x] for x in (found, expected))
    largest = max([abs(x) for x in expected if math.isfinite(x)], default=0.0)
    return found == pytest.approx(expected, rel=1e-9, abs=1e-12 + 1e-9 * largest, nan_ok=True)


# --- programs ---------------------------------------------------------------------------------------------------------

CASES = {  # by name: a program of an engine P and two Values
    "log": lambda P, x, y: P.where(P.less(0.0, x), x.log(), 0.0) * y,
    "root": lambda P, x, y: P.where(P.less(0.0, x), x.sqrt() * y, x * x * y),
    "quotient": lambda P, x, y: P.where(P.not_equal(x, 0.0), y / x, y * y),
    "reciprocal": lambda P, x, y: P.where(x, x**-1, x * y),
    "root of a power": lambda P, x, y: P.where(P.less(0.0, x), (x**2.0) ** 0.25, x * x * y),
    "nested": lambda P, x, y: P.where(
        P.less(0.0, x),
        P.where(P.less(0.0, y), x.log() * y.log(), x.sqrt() * y),
        P.where(P.less(0.0, y), y.sqrt(), x * y),
    ),
    "taken of one, not of another": lambda P, x, y: _both_ways(P, x.sqrt() * 1.5, x, y),
    "not taken, and outside": lambda P, x, y: _outside(P, (x * x * y).sqrt(), x, y),
    "index": lambda P, x, y: P.take([x.log(), y * x, x.sqrt() * y, 1.0 / x], P.less(x, 0.5) + 2.0 * P.less(y, 0.5)),
    "all the same": lambda P, x, y: P.take([x.sqrt()] * 3, P.less(0.0, y) + 1.0),
    "condition of a branch": lambda P, x, y: P.where(P.less(P.where(P.less(0.0, x), x.log(), -1.0), 0.0), x * y, y),
    "below a root": lambda P, x, y: P.where(P.less(0.0, x), x, x * y + 1.0).sqrt() * P.where(x, 1.0 / x, y),
    "a power by a Value": lambda P, x, y: P.where(P.less(0.0, x), x**y, y * y * x),
    "a sum and a dot": lambda P, x, y: _lists(P, x, y),
    "a loop of shared parts": lambda P, x, y: _loop(P, x, y),
}
POINTS = [(0.0, 2.0), (-1.0, 2.0), (2.0, 0.0), (2.0, -1.5), (0.0, 0.0), (-1.0, -1.0), (0.25, 3.0), (1.0, 1.0)]


def _both_ways(P, shared, x, y):
    return P.where(P.less(0.0, x), shared, y) + P.where(P.less(1.0, x), y * y, P.where(P.less(0.0, x), shared * y, x))


def _outside(P, shared, x, y):
    return P.where(P.less(0.0, x), shared * y, x * y) + P.where(P.less(0.0, y), shared, y * y)


def _lists(P, x, y):
    module = pygrad.engine if P is Ifs else P
    total = module.sum([x.sqrt(), y, x])
    return P.where(P.less(0.0, x), module.dot([total, y], [x.log(), total]), module.dot([x, y], [y, x]))


def _loop(P, x, y):
    for k in range(6):
        step = x.sqrt() * y + x
        x, y = P.where(P.less(0.0, x), step * 0.5, x * y), P.where(P.less(k - 3.0, x), y, (x + step) * 0.25)
    return x * y


def random_program(seed):
    """Return a program of an engine and two Values: many steps, few of which are chosen."""
    rng = random.Random(seed)
    steps = [(rng.choice(_STEPS), [rng.randrange(100) for _ in range(4)]) for _ in range(rng.randint(3, 12))]

    def program(P, x, y):
        known = [x, y]
        for step, numbers in steps:
            a, b, c, d = [known[-1 - k % min(len(known), 5)] for k in numbers]
            known.append(step(P, a, b, c, d))
        return known[-1] + known[-2]

    return program


_STEPS = [
    lambda P, a, b, c, d: a * b,
    lambda P, a, b, c, d: a + 2.0 * b,
    lambda P, a, b, c, d: a / b,
    lambda P, a, b, c, d: a.sqrt(),
    lambda P, a, b, c, d: a.log(),
    lambda P, a, b, c, d: a.tanh() * b,
    lambda P, a, b, c, d: P.where(P.less(a, b), c, d),
    lambda P, a, b, c, d: P.where(P.less(0.0, a), a.sqrt(), b),
    lambda P, a, b, c, d: P.where(P.less(a, 0.5), a * b, c.log()),
    lambda P, a, b, c, d: P.where(a, b / a, c),
    lambda P, a, b, c, d: P.take([a, b, c.sqrt()], P.less(a, b) + P.less(0.0, d)),
]
PROGRAMS = {**CASES, **{f"random {seed}": random_program(seed) for seed in range(40)}}
programs = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
cases = pytest.mark.parametrize("program", CASES.values(), ids=CASES.keys())


def of(program, engine):
    return functools.partial(program, engine)


# --- eager ------------------------------------------------------------------------------------------------------------


def swept(P, program, point):
    xs = [P.Value(x) for x in point]
    out = program(P, *xs)
    if isinstance(out, P.Value):
        out.backward()
    return [x.grad for x in xs]


@programs
def test_backward(program):
    """Both engines give the gradients of the program with `if`."""
    for point in POINTS:
        expected = swept(Ifs, program, point)
        assert same(swept(c_engine, program, point), expected), point
        assert same(swept(reference, program, point), expected), point


@cases
def test_grad_leaves_no_trace(program):
    """`grad` finds the same numbers as `backward`, and changes none."""
    for point in POINTS:
        xs = [c_engine.Value(x) for x in point]
        assert same(pygrad.grad(program(c_engine, *xs), xs), swept(Ifs, program, point))
        assert [0.0, 0.0] == [x.grad for x in xs]


def derivatives_of_order(program, order, point):
    """Return all partial derivatives of an order, by repeated `gradient`s."""
    functions = [program]
    for _ in range(order):
        functions = [
            functools.partial(lambda f, i, *xs: pygrad.gradient(f)(*xs)[i], f, i) for f in functions for i in (0, 1)
        ]
    return [f(*point) for f in functions]


@programs
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_derivatives(program, order):
    """Derivatives of derivatives are those of the program with `if`."""
    for point in POINTS:
        found = derivatives_of_order(of(program, c_engine), order, point)
        assert same(found, derivatives_of_order(of(program, Ifs), order, point)), point


@programs
def test_forward_mode(program):
    """Tangents, and gradients and tangents of tangents, are those of the program with `if`."""

    def tangent(f, *point):
        return pygrad.jvp(f)(point, (1.0, 0.5))[1]

    for point in POINTS:
        for again in (tangent, lambda f, *xs: pygrad.gradient(functools.partial(tangent, f))(*xs)):
            found, expected = again(of(program, c_engine), *point), again(of(program, Ifs), *point)
            assert same(found, expected), point
        twice = [tangent(functools.partial(tangent, of(program, P)), *point) for P in (c_engine, Ifs)]
        assert same(*twice), point


@programs
def test_series(program):
    """Taylor series, and their gradients, are those of the program with `if`."""
    for a, b in POINTS:
        series = [pygrad.taylor(lambda x, P=P: program(P, x, b + 0.0 * x), 3)(a) for P in (c_engine, Ifs)]
        assert same(*series), (a, b)
