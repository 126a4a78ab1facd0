"""Where a sweep goes: only to operands that may get a gradient. So an infinite slope below the others makes no nan.

The others are the operands of a flat row (a comparison, stop_gradient), the index of a take, and of a custom op the
result and the derivatives.
"""

import math

import pytest

import pygrad
from pygrad import engine as c_engine

# Each makes a Value that depends on v with the derivative 2 where below is 0; no gradient passes to `below`.
CUTS = {
    "stop_gradient": lambda engine, below, v: engine.stop_gradient(below) + v * 2.0,
    "less": lambda engine, below, v: engine.less(below, 1.0) * 2.0 * v,
    "less_equal": lambda engine, below, v: engine.less_equal(0.0, below) * 2.0 * v,
    "equal": lambda engine, below, v: engine.equal(below, 0.0) * 2.0 * v,
    "not_equal": lambda engine, below, v: (engine.not_equal(below, below) + 2.0) * v,
    "where": lambda engine, below, v: engine.where(below, v, v * 2.0),
    "index": lambda engine, below, v: engine.take([v * 2.0, v], below),
    "result": lambda engine, below, v: engine.declared(below, [v], [2.0]),
    "derivative": lambda engine, below, v: engine.declared(v * 2.0, [v], [below + 2.0]),
}

cuts = pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)


# --- eager ------------------------------------------------------------------------------------------------------------


@cuts
def test_nothing_below_a_cut_is_reached(engine, cut):
    """What only a cut leads to keeps its gradient, as leaf and as node; what else there is gets its own."""
    x, v = engine.Value(0.0), engine.Value(3.0)
    below = x.sqrt()  # the slope is infinite
    x.grad, below.grad = 0.25, 7.0
    out = cut(engine, below, v)
    for total in (2.0, 4.0):
        out.backward()
        assert (total, 7.0, 0.25, 1.0) == (v.grad, below.grad, x.grad, out.grad)


@cuts
def test_nothing_below_a_cut_is_reached_among_closures(engine, cut):
    """The same where the sweep runs from closure to closure; those below a cut do not run, the others do."""
    x, v = engine.Value(0.0), engine.Value(3.0)
    below, beside, ran = x.sqrt() * 1.0, v * 1.0, []
    below._backward = lambda: ran.append("below")
    x._backward = lambda: ran.append("x")
    x.grad, below.grad = 0.25, 7.0
    beside._backward = lambda: (ran.append("beside"), setattr(v, "grad", v.grad + beside.grad))
    cut(engine, below, beside).backward()

    assert (["beside"], 2.0, 7.0, 0.25) == (ran, v.grad, below.grad, x.grad)


def test_a_root_without_derivative(engine):
    """A root that is a cut itself gets its 1, and its operands nothing."""
    x = engine.Value(0.0)
    below = x.sqrt()
    for root in (engine.stop_gradient(below), engine.less(below, x), engine.equal(below, 0.0)):
        root.backward()
        assert (1.0, 0.0, 0.0) == (root.grad, below.grad, x.grad)


def test_what_is_reached_otherwise_is_reached(engine):
    """A node that a cut and something else lead to is swept, and starts from 0."""
    x = engine.Value(4.0)
    root = x.sqrt()
    root.grad = 5.0
    (engine.stop_gradient(root) * root + engine.take([root, 1.0], engine.less(root, 0.0))).backward()

    assert (3.0, 0.75) == (root.grad, x.grad)


def test_values_that_are_not_chosen_are_reached(engine):
    """A value of a take that the index does not choose gets 0, and so a nan comes out below an infinite slope."""
    x, v = engine.Value(0.0), engine.Value(3.0)
    other = x.sqrt()
    other.grad = 7.0
    engine.where(engine.less(v, 0.0), other, v).backward()

    assert (1.0, 0.0) == (v.grad, other.grad)
    assert math.isnan(x.grad)


def test_a_custom_node_reaches_its_operands(engine):
    """A node made by hand, without closure or local gradients, leads on to its operands as in micrograd."""
    x = engine.Value(2.0)
    below = x * 3.0
    below.grad = 7.0
    engine.Value(6.0, (below,), "mine").backward()

    assert (0.0, 0.0) == (below.grad, x.grad)


def test_a_stable_softplus(engine):
    """A declared derivative counts alone where the function's own graph overflows."""
    make = pygrad.custom_op if engine is c_engine else pygrad.reference.custom_op
    softplus = make(lambda x: engine.where(engine.less(x, 30.0), (1.0 + x.exp()).log(), x))
    softplus.derivative(lambda y, x: x.sigmoid())
    x = engine.Value(800.0)
    out = softplus(x)
    out.backward()

    assert (800.0, 1.0) == (out.data, x.grad)


@pytest.mark.parametrize("count", [502, 503, 1200])
def test_split_lists(engine, count):
    """All parts of a list that the arena splits pass on to their values, and reach nothing else."""
    x = engine.Value(0.0)
    below, xs = x.sqrt(), [engine.Value(float(i)) for i in range(count)]
    below.grad = 7.0
    inner = [v * 1.0 for v in xs]
    engine.take(inner, below).backward()
    engine.declared(below, inner, [below + float(i) for i in range(count)]).backward()

    assert [1.0, *map(float, range(1, count))] == [v.grad for v in xs]
    assert (7.0, 0.0) == (below.grad, x.grad)


@pytest.mark.parametrize("count", [1, 1200])
@pytest.mark.parametrize("kind", ["index", "result", "derivative", "flat"])
def test_a_closure_on_a_cut_reaches_all(engine, kind, count):
    """Whoever hangs a closure on such a node may pass on to any operand, so that all are reached."""
    x, v = engine.Value(0.0), engine.Value(3.0)
    below = x * 2.0
    values = [v] * count
    out = {
        "index": lambda: engine.take(values, below),
        "result": lambda: engine.declared(below, values, values),
        "derivative": lambda: engine.declared(v * 1.0, values, [below, *values[1:]]),
        "flat": lambda: below.less(v),
    }[kind]()
    out._backward = lambda: setattr(below, "grad", below.grad + 5.0 * out.grad)
    below.grad = 7.0
    (out * 3.0).backward()

    assert (15.0, 30.0, 0.0) == (below.grad, x.grad, v.grad)


def test_below_a_cut_nothing_is_held(engine):
    """While a sweep runs, another one may run over what the first one does not reach."""
    x, v = engine.Value(2.0), engine.Value(3.0)
    below, mid = x * x, engine.Value(3.0, (v,), "mine")
    mid._backward = below.backward
    (engine.stop_gradient(below) * mid).backward()

    assert (4.0, 1.0, 4.0) == (x.grad, below.grad, mid.grad)


@cuts
def test_detect_anomaly_looks_only_where_the_sweep_goes(engine, cut):
    """A gradient below a cut that is not finite is none of this sweep's; one above it is."""
    x, v = engine.Value(0.0), engine.Value(3.0)
    below = x.sqrt()
    with pygrad.detect_anomaly():
        out = cut(engine, below, v)
        x.grad, below.grad = math.nan, math.inf
        out.backward()
        assert 2.0 == v.grad

        v.grad = math.nan
        with pytest.raises(FloatingPointError, match="before backward"):
            out.backward()


def test_detect_anomaly_looks_below_a_closure(engine):
    """Of a closure's node all operands are looked at."""
    v = engine.Value(3.0)
    out = engine.stop_gradient(v)
    out._backward = lambda: setattr(v, "grad", math.inf)
    with pygrad.detect_anomaly(), pytest.raises(FloatingPointError, match="derivative of 'stop_gradient'"):
        out.backward()
