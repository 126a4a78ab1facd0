"""The second derivatives of asin and acos at the ends of [-1, 1] and outside, whichever way leads to them."""

import math
import shutil
import subprocess

import pytest

import pygrad
from pygrad import Value

OPS = ["asin", "acos"]
OUTSIDE = [1.0000000000000002, -1.5, 2.0, -1e200, math.inf, -math.inf, math.nan]


def twice(f):
    return pygrad.derivative(pygrad.derivative(f))


def in_graphs(f, x):
    """Return the second derivative from derivatives as nodes."""
    v = Value(x)
    (slope,) = pygrad.grad(f(v), [v], create_graph=True)
    (second,) = pygrad.grad(slope, [v])
    return second


def forward(f, x):
    """Return the second derivative by two forward passes."""
    along = lambda g: lambda v: pygrad.jvp(g)(v, 1.0)[1]  # noqa: E731
    return along(along(f))(x)


WAYS = {
    "graphs": in_graphs,
    "transforms": lambda f, x: twice(f)(x),
    "compiled": lambda f, x: twice(pygrad.compile(f))(x),
    "recorded": lambda f, x: pygrad.compile(twice(f))(x),
    "batch": lambda f, x: twice(pygrad.compile(f))([0.5, x, 0.25])[1],
    "hessian": lambda f, x: pygrad.hessian(lambda vs: f(vs[0]))([x])[0][0],
    "compiled hessian": lambda f, x: pygrad.hessian(pygrad.compile(lambda a, b: f(a) * b), argnums=(0, 1))(x, 1.0)[0][
        0
    ],
    "product": lambda f, x: pygrad.hvp(lambda vs: f(vs[0]))([x], [1.0])[0],
    "forward": forward,
    "series": lambda f, x: 2 * pygrad.taylor(f, order=2)(x)[2],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("op", OPS)
def test_the_second_derivative_outside_is_nan(op, way):
    """There asin and acos are nan, and so are their derivatives of every order, however they are computed."""
    found = [way(lambda v: getattr(v, op)(), x) for x in OUTSIDE]

    assert [math.nan] * len(OUTSIDE) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name != "series"])
@pytest.mark.parametrize("op, sign", [("asin", 1.0), ("acos", -1.0)])
def test_the_second_derivative_at_the_ends_is_infinite(op, sign, way):
    """x / (1 - x*x)**1.5 tends to infinity at 1 and to -infinity at -1; that of acos the other way round."""
    found = [way(lambda v: getattr(v, op)(), x) for x in (1.0, -1.0)]

    assert [sign * math.inf, -sign * math.inf] == found


@pytest.mark.parametrize("op", OPS)
def test_the_third_derivative(op):
    """It is infinite at the ends, of one sign there, and nan outside."""
    third = pygrad.derivative(pygrad.derivative(pygrad.derivative(lambda v: getattr(v, op)())))
    infinite = math.inf if op == "asin" else -math.inf

    assert [infinite, infinite, math.nan] == pytest.approx([third(x) for x in (1.0, -1.0, 3.0)], nan_ok=True)


_MAIN = """
#include <stdio.h>
#include "second.c"
int main(void) {
    const double points[] = {1.5, 1.0, -1.0};
    for (int i = 0; i < 3; i++) {
        double y, work[4096];
        second_forward(points + i, second_parameters, &y, work);
        printf("%g\\n", y);
    }
}
"""


@pytest.mark.wheel
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_the_second_derivative_in_a_file_of_c(tmp_path):
    """A file of C gives what Python gives."""
    f = twice(pygrad.compile(lambda v: v.asin() - 2.0 * v.acos()))
    assert "nan" == repr(f(1.5))
    f.to_c(tmp_path / "second.c", name="second")
    (tmp_path / "main.c").write_text(_MAIN)
    subprocess.run(["cc", "-std=c99", "main.c", "-o", "program", "-lm"], cwd=tmp_path, check=True)
    found = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True).stdout.split()

    assert ["nan", "inf", "-inf"] == [number.replace("-nan", "nan") for number in found]
