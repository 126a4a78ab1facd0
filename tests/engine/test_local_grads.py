"""`_children` and `_local_grads`, microgpt's names: the operands in order, and the derivatives by them as numbers."""

import math

import pytest

import pygrad
from pygrad import engine as c_engine

UNARY = (
    *["neg", "abs", "relu", "tanh", "exp", "log", "sigmoid", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan"],
    *["sinh", "cosh", "log1p", "expm1", "erf", "erfc", "softplus", "silu", "gelu"],
)
BINARY = ("minimum", "maximum", "less", "less_equal", "equal", "not_equal", "leaky_relu", "elu")


def results(engine):
    """{name: a result} of every op that a program can make, over two leaves and a few more."""
    a, b, c = map(engine.Value, (0.5, 0.75, -1.25))
    made = {name: getattr(a, name)() for name in UNARY if name not in ("neg",)}
    made |= {name: getattr(a, name)(b) for name in BINARY} | {
        f"{name} tie": getattr(a, name)(0.5) for name in BINARY[:2]
    }
    made |= {"+": a + b, "-": a - b, "*": a * b, "/": a / b, "**": a**b, "neg": -c, "a * a": a * a, "3 - a": 3.0 - a}
    made |= {f"**{k}": a**k for k in (2, 3, -1, 0.5, 0, 7)}
    made |= {"sum": engine.sum([a, b, a]), "sum from": engine.sum([a, b], c), "long sum": engine.sum([a, b] * 1500, c)}
    made |= {"dot": engine.dot([a, b], [b, b]), "biased": engine.dot([a, b], [c, a], b)}
    made |= {"long dot": engine.dot([a, b] * 800, [c, a] * 800, b)}
    made |= {
        "take": engine.take([a, b, c], engine.Value(1.0)),
        "long take": engine.take([a, b] * 1500, engine.Value(2001.0)),
    }
    made["local"] = engine.Value(1.0, (a, b), (2.0, 0.0))
    made["long local"] = engine.Value(1.0, (a, b) * 700, [0.25 * i for i in range(1400)])
    return made | {"stop_gradient": (a * b).stop_gradient(), "nan": c.log(), "infinite": engine.Value(0.0).sqrt()}


NAMES = list(results(c_engine))


@pytest.mark.parametrize("name", NAMES)
def test_they_are_what_backward_uses(engine, name):
    """Gradients are the sums over the children of the gradient times the local gradient, as microgpt computes them."""
    v = results(engine)[name]
    expected = {}
    for child, slope in zip(v._children, v._local_grads, strict=True):
        assert type(slope) is float
        expected[child] = expected.get(child, 0.0) + slope
        child.grad = 0.0
    v.backward()

    assert set(expected) == v._prev
    assert list(expected.values()) == pytest.approx([child.grad for child in expected], rel=1e-15, nan_ok=True)
    assert type(v._children) is type(v._local_grads) is tuple


def test_the_order_is_that_of_the_program(engine):
    """Operands come as they are written; a square has one, a product with itself two."""
    a, b, w = engine.Value(2.0), engine.Value(3.0), engine.Value(5.0)

    assert ((a, b), (3.0, 2.0)) == ((a * b)._children, (a * b)._local_grads)
    assert ((b, a), (1.0, -1.0)) == ((b - a)._children, (b - a)._local_grads)
    assert ((a, a), (2.0, 2.0)) == ((a * a)._children, (a * a)._local_grads)
    assert ((a,), (4.0,)) == ((a**2)._children, (a**2)._local_grads)
    dot = engine.dot([w, b], [a, a], b)
    assert ((b, w, a, b, a), (1.0, 2.0, 5.0, 2.0, 3.0)) == (dot._children, dot._local_grads)
    assert ([2.0, 7.0], (7.0, 2.0)) == ([v.data for v in (a * 7.0)._children], (a * 7.0)._local_grads)
    assert ((), ()) == (a._children, a._local_grads)


def test_they_follow_the_data(engine):
    """As a backward step does, they read the data as it is when they are read."""
    a, b = engine.Value(2.0), engine.Value(3.0)
    c = a * b
    b.data = 10.0

    assert (10.0, 2.0) == c._local_grads


def test_microgpts_backward_by_hand(engine):
    """microgpt's own loop over `_children` and `_local_grads` gives the gradients."""

    def backward(root):
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v._children:
                    visit(child)
                order.append(v)

        visit(root)
        root.grad = 1.0
        for v in reversed(order):
            for child, slope in zip(v._children, v._local_grads):
                child.grad += slope * v.grad

    def program():
        a, b = engine.Value(0.5), engine.Value(-1.5)
        h = [(a * b + i).tanh() for i in range(3)]
        return engine.dot(h, [a, b, a], b) / (a.exp() + 1.0) ** 2 - engine.sum(h), a, b

    gradients = []
    for sweep in (backward, engine.Value.backward):
        root, *leaves = program()
        sweep(root)
        gradients.append([v.grad for v in leaves])
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-14)


def test_a_function_of_the_programs_is_refused(engine):
    """Where the backward step is a closure nobody knows the slopes: the error says what to do; children are there."""
    a = engine.Value(2.0)
    custom, replaced = engine.Value(4.0, (a,), "mine"), a.tanh()
    replaced._backward = lambda: None
    for v in (custom, replaced):
        assert (a,) == v._children
        with pytest.raises(AttributeError, match="local_grads"):
            assert v._local_grads
    assert not hasattr(custom, "_local_grads")


def test_the_derivative_of_a_custom_op_is_declared():
    """Of a custom op they are the declared numbers; y and the derivatives get none."""

    @pygrad.custom_op
    def cube(x):
        return x**3

    @cube.derivative
    def _(y, x):
        return 3.0 * x**2

    v = cube(c_engine.Value(2.0))
    assert 12.0 == math.fsum(v._local_grads)


def test_programs_may_set_them(engine):
    """microgpt's own __init__, in a subclass, sets both: what it sets is what is read."""

    class Mine(engine.Value):
        def __init__(self, data, children=(), local_grads=()):
            super().__init__(data)
            self._children = children
            self._local_grads = local_grads

    a = engine.Value(1.0)
    v = Mine(2.0, (a,), (3.0,))
    assert ((a,), (3.0,)) == (v._children, v._local_grads)


def test_recordings_are_told():
    """A local gradient is a number of the one run that is recorded: there is a warning, as where `.data` is read."""

    def function(x):
        return (x * x)._local_grads[0] * x

    with pytest.warns(pygrad.TraceWarning if hasattr(pygrad, "TraceWarning") else UserWarning):
        pygrad.compile(function)(3.0)
