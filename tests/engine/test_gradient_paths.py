"""Where a sweep goes: only to operands that may get a gradient. So an infinite slope below the others makes no nan.

The others are the operands of a flat row (a comparison, stop_gradient), the index of a take, and of a custom op the
result and the derivatives. Eager on both engines first, then on tapes, which must agree with eager code to the bit.
"""

import math
import shutil
import subprocess

import pytest
from hypothesis import example, given
from programs import Machine, programs, same_bits

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


def test_values_that_are_not_chosen_are_not_reached(engine):
    """A value of a take that the index does not choose gets 0, and nothing is passed on below it."""
    x, v = engine.Value(0.0), engine.Value(3.0)
    other = x.sqrt()
    other.grad = 7.0
    engine.where(engine.less(v, 0.0), other, v).backward()

    assert (1.0, 0.0, 0.0) == (v.grad, other.grad, x.grad)


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


# --- tapes ------------------------------------------------------------------------------------------------------------

ALL = ("fold", "share", "fuse", "hoist")
passes = pytest.mark.parametrize("passes", [(), ALL], ids=["plain", "all"])
samples = pytest.mark.parametrize("n", [1, 3, 8, 50])


@cuts
@passes
@samples
def test_cuts_on_a_tape(cut, passes, n):
    """Inputs and parameters below a cut get nothing, whatever the slope: one sample, part of a block, several."""
    p, q = c_engine.Value(0.0), c_engine.Value(3.0)

    def function(x, v):
        return cut(c_engine, x.sqrt(), v) + cut(c_engine, p.sqrt(), q)

    run = pygrad.compile(function, reduction="sum", passes=passes)
    _, (by_x, by_v) = run.backward([0.0] * n, [3.0] * n, inputs=True)

    assert ([0.0] * n, [2.0] * n) == (by_x, by_v)
    assert (0.0, 2.0 * n) == (p.grad, q.grad)


@passes
@samples
def test_rows_of_a_layer_beside_a_cut(passes, n):
    """Dots of the same inputs, one below a cut and one not, before and after it, go each their way."""
    inert = [[c_engine.Value(math.inf), c_engine.Value(1.0)] for _ in range(2)]
    active = [[c_engine.Value(2.0), c_engine.Value(5.0)] for _ in range(2)]

    def function(a, b):
        dots = [c_engine.dot(ws, [a, b]) for ws in (inert[0], active[0], inert[1], active[1])]
        return dots[0].less(0.0) + dots[1] + dots[2].less(0.0) + dots[3]

    run = pygrad.compile(function, reduction="sum", passes=passes)
    out, (by_a, by_b) = run.backward([1.0] * n, [2.0] * n, inputs=True)

    assert (24.0 * n, [4.0] * n, [10.0] * n) == (out, by_a, by_b)
    run.backward([1.0] * n, [math.inf] * n)
    assert [[0.0, 0.0]] * 2 == [[w.grad for w in ws] for ws in inert]
    assert [[2.0 * n, math.inf]] * 2 == [[w.grad for w in ws] for ws in active]


@passes
@samples
@pytest.mark.parametrize("cut_first", [True, False])
def test_like_operations_beside_a_cut(passes, n, cut_first):
    """Neighbours of one kind, which run as one, are told apart if one of them is below a cut."""

    def function(a, b):
        roots = [a.sqrt(), b.sqrt()]
        roots[not cut_first] = c_engine.stop_gradient(roots[not cut_first])
        return roots[0] + roots[1]

    run = pygrad.compile(function, reduction="sum", passes=passes)
    numbers = ([0.0] * n, [4.0] * n) if cut_first else ([4.0] * n, [0.0] * n)
    _, grads = run.backward(*numbers, inputs=True)

    assert (([0.0] * n, [0.25] * n) if cut_first else ([0.25] * n, [0.0] * n)) == grads


@passes
@samples
def test_a_cut_that_is_the_output(passes, n):
    """An output without derivative passes nothing on."""
    run = pygrad.compile(lambda x: c_engine.stop_gradient(x.sqrt()), reduction="sum", passes=passes)

    assert (0.0, ([0.0] * n,)) == run.backward([0.0] * n, inputs=True)


@passes
@samples
def test_shared_above_and_below_a_cut(passes, n):
    """What a cut and something else lead to runs backward, also where the passes have made it one node."""
    run = pygrad.compile(lambda x: c_engine.stop_gradient(x.sqrt()) * x.sqrt(), reduction="sum", passes=passes)

    assert (4.0 * n, ([0.5] * n,)) == run.backward([4.0] * n, inputs=True)


@passes
@samples
def test_values_that_are_not_chosen_do_not_run_backward(passes, n):
    """A tape gives the 0 of eager code where a value is not chosen."""
    run = pygrad.compile(lambda x, v: c_engine.where(v.less(0.0), x.sqrt(), v), reduction="sum", passes=passes)
    _, (by_x, by_v) = run.backward([0.0] * n, [3.0] * n, inputs=True)

    assert ([0.0] * n, [1.0] * n) == (by_x, by_v)


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@passes
def test_cuts_in_a_file_of_c(tmp_path, passes):
    """What `to_c` writes passes no adjoint below a cut either: its self-check compares it with the engine."""
    p = c_engine.Value(0.0)

    def function(x, v):
        total = c_engine.sum([cut(c_engine, x.sqrt(), v) for cut in CUTS.values()])
        return total + c_engine.stop_gradient(c_engine.dot([p], [math.inf])) + p * v

    run = pygrad.compile(function, batched=False, passes=passes)
    _, grads = run.backward(0.0, 3.0, inputs=True)
    run.to_c(tmp_path / "cut.c")
    command = ["cc", "-std=c99", "-ffp-contract=off", "-DPYGRAD_SELF_CHECK", "cut.c", "-o", "check", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)

    assert (0.0, 2.0 * len(CUTS)) == grads
    assert 3.0 == p.grad
    done = subprocess.run([tmp_path / "check"], capture_output=True, text=True)
    assert "ok: 1 outputs and 3 gradients" in done.stdout


MAKING = {"leaf", "apply", "constant_right", "constant_left", "power", "sum", "dot", "where", "declared"}


@given(programs(max_size=15))
@example([("apply", "sqrt", 0), ("apply", "less", 2, 1), ("apply", "mul", 3, 1)])
@example([("sum", [], 0.0)])  # an empty list is no lack of memory
@example([("apply", "exp", 0), ("declared", 2, [0, 1], [1, 2]), ("dot", [2, 3], [1, 0], None), ("apply", "mul", 3, 4)])
def test_a_tape_gives_the_gradients_of_eager_code(program):
    """Of any program, at points where slopes are infinite, a tape gives the bits of eager code, nan included."""
    steps = [step for step in program if step[0] in MAKING]

    def function(*leaves):
        machine = Machine(c_engine, leaves=())
        machine.variables = list(leaves)
        for step in steps:
            machine.step(*step)
        return machine.variables[-1] * 1.0

    points = [(0.0, 1.5), (-0.0, math.inf), (800.0, -2.0)]
    single = pygrad.compile(function, batched=False, passes=())
    _, batch = pygrad.compile(function, reduction="sum", passes=()).backward(*zip(*points), inputs=True)
    for point, by_batch in zip(points, zip(*batch)):
        leaves = [c_engine.Value(x) for x in point]
        function(*leaves).backward()
        _, by_tape = single.backward(*point, inputs=True)

        for v, *grads in zip(leaves, by_tape, by_batch, strict=True):
            assert [True, True] == [same_bits(v.grad, grad) for grad in grads]
