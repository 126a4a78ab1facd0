"""Functions that tests save, load and pickle."""

import pygrad
from pygrad import Value


@pygrad.custom_op
def softclip(x):
    """A declared op whose derivative is not that of its value."""
    return pygrad.maximum(-1.0, pygrad.minimum(x, 1.0))


@softclip.derivative
def _(y, x):
    return pygrad.where(pygrad.less(abs(x), 1.0), y * 0.5, 0.1)


def expression():
    """Return a function with most rows of ops.def, and its parameters."""
    a, b = Value(-1.5), Value(0.75)

    def f(x, y):
        h = (x * a + b).tanh() - y / (a * a + 1.0)
        h = h + x.exp().sigmoid() * abs(y) + (x * x + 1.0).log().sqrt() - y.sin() * x.cos()
        h = h + pygrad.minimum(x, y) - pygrad.maximum(a, h) + (x * x + 0.5) ** b + b**x
        return h.relu() + h**2 + b**3 + 1 / (b + 2.0) + (y * y + 0.1) ** 1.7 - -h

    return f, [a, b]
