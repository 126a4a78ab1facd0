"""`custom_op`: derivatives of any order, what an op closes over, and all kinds of arguments and outputs."""

import enum
import gc
import itertools
import math
import pickle
import random
import warnings

import pytest

import pygrad
from pygrad import engine as c_engine
from pygrad import reference, viz
from pygrad.engine import Value

pytestmark = pytest.mark.proxy


@pytest.fixture
def custom_op(engine):
    """The engine's `custom_op`."""
    return pygrad.custom_op if engine is c_engine else reference.custom_op


def own_exp():
    return pygrad.custom_op(lambda x: math.exp(x.data)).derivative(lambda y, x: y)


def own_sigmoid():
    return pygrad.custom_op(lambda x: 1.0 / (1.0 + (-x).exp())).derivative(lambda y, x: y * (1.0 - y))


def own_tanh():
    return pygrad.custom_op(lambda x: math.tanh(x.data)).derivative(lambda y, x: 1.0 - y**2)


def own_div():
    return pygrad.custom_op(lambda a, b: a.data / b.data).derivative(lambda y, a, b: (1.0 / b, -y / b))


PAIRS = {
    "exp": (own_exp, lambda x: x.exp()),
    "sigmoid": (own_sigmoid, lambda x: x.sigmoid()),
    "tanh": (own_tanh, lambda x: x.tanh()),
    "of itself": (lambda: (lambda op: lambda x: op(op(x) * x))(own_tanh()), lambda x: ((x.tanh()) * x).tanh()),
    "div": (lambda: (lambda op: lambda x: op(x.sin(), x + 2.0))(own_div()), lambda x: x.sin() / (x + 2.0)),
}


# --- y is the op's own node -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("order", range(5))
def test_derivatives_of_any_order(name, order):
    """A derivative that uses y is differentiated by y, too."""
    own, plain = PAIRS[name]
    op = own()
    right = pygrad.derivative(plain, order)(0.3)

    assert right == pytest.approx(pygrad.derivative(op, order)(0.3), rel=1e-12)
    assert pygrad.taylor(plain, order)(0.3) == pytest.approx(pygrad.taylor(op, order)(0.3), rel=1e-12)
    assert right == pytest.approx(pygrad.derivative(pygrad.checkpoint(op), order)(0.3), rel=1e-12)


def test_compiled_derivatives(tmp_path):
    """A recording has the derivatives of the node itself; a tape in a file too."""
    own, plain = PAIRS["sigmoid"]
    op = own()
    f, g = pygrad.compile(lambda x: op(x[0] * x[1]) * x[0]), lambda x: plain(x[0] * x[1]) * x[0]
    at = [[0.5, 0.3], [-0.2, 1.0]]

    assert [pygrad.hessian(g)(x) for x in at] == [
        [pytest.approx(row, rel=1e-12) for row in part] for part in pygrad.hessian(f)(at)
    ]
    (products,) = pygrad.hvp(f)([at[0]], [[1.0, 2.0]])
    assert pygrad.hvp(g)(at[0], [1.0, 2.0]) == pytest.approx(products, rel=1e-12)
    twice = pygrad.gradient(
        pygrad.compile(lambda x: pygrad.gradient(lambda x: op(x[0] * x[1]) * x[0])(x)[0]), per_sample=True
    )
    assert pygrad.hessian(g)(at[0])[0] == pytest.approx(twice([at[0]])[0], rel=1e-12)
    twice.save(tmp_path / "twice")
    assert twice([at[0]]) == pygrad.load(tmp_path / "twice")([at[0]])


def test_jvp_hvp_and_sparse_hessians():
    """The forward way and the pattern of a sparse Hessian see the derivative by y."""
    pytest.importorskip("scipy")
    op = own_sigmoid()
    f, g = lambda x: op(x[0]) * op(x[1] * x[0]), lambda x: x[0].sigmoid() * (x[1] * x[0]).sigmoid()

    assert pygrad.jvp(pygrad.gradient(g))([0.5, 0.3], [1.0, 2.0])[1] == pytest.approx(
        pygrad.jvp(pygrad.gradient(f))([0.5, 0.3], [1.0, 2.0])[1]
    )
    dense, sparse = pygrad.hessian(g)([0.5, 0.3]), pygrad.hessian(f, sparse=True)([0.5, 0.3]).toarray()
    assert [pytest.approx(row) for row in dense] == sparse.tolist()
    assert pygrad.gradgradcheck(f, [0.5, 0.3])


def test_a_recorded_op_has_no_copies():
    """Where nothing passes a gradient on, stop_gradient(x) is x; where something does, it stays."""
    op = own_sigmoid()
    f = pygrad.compile(lambda x: op(x) + x * pygrad.stop_gradient(x))
    assert f(0.2) == op(Value(0.2)).data + 0.2 * 0.2
    assert 1 == str(f.tape).count("stop_gradient")
    assert pygrad.gradient(f)(0.2) == pytest.approx(pygrad.grad(op(x := Value(0.2)), x) + 0.2, rel=1e-14)


def test_reading_data_in_a_recording_warns():
    """A number that forward reads is one of this run: a TraceWarning names the line, as anywhere."""
    with pytest.warns(pygrad.TraceWarning, match=r"reading \.data"):
        pygrad.compile(own_exp())(1.0)


def test_more_arguments_than_a_block_holds():
    """Derivatives of an operand list that the arena splits are computed again as a whole."""
    count = 300
    op = pygrad.custom_op(lambda *xs: pygrad.sum(xs).tanh()).derivative(lambda y, *xs: (1.0 - y * y,) * len(xs))
    xs = [Value(0.001 * i) for i in range(count)]
    plain = pygrad.sum(xs).tanh()
    by = pygrad.grad(op(*xs), [xs[0], xs[299]], create_graph=True)
    right = pygrad.grad(plain, [xs[0], xs[299]], create_graph=True)

    assert pygrad.grad(by[0], xs) == pytest.approx(pygrad.grad(right[0], xs), rel=1e-12)
    assert pygrad.grad(by[1], xs) == pytest.approx(pygrad.grad(right[1], xs), rel=1e-12)


def test_a_declared_node_without_an_op():
    """The primitive has the derivatives that it was given."""
    x = Value(2.0)
    out = c_engine.declared(x * x, [x], [2.0 * x])
    (d,) = pygrad.grad(out * own_exp()(x), [x], create_graph=True)
    assert pygrad.grad(d, x) == pytest.approx(2 * math.exp(2.0) + 8 * math.exp(2.0) + 4 * math.exp(2.0))


def test_a_derivative_that_does_something_else():
    """A second run with other numbers, or without some, is refused; an error comes through; nothing is half-done."""
    x, rng = Value(0.5), random.Random(1)
    noisy = pygrad.custom_op(lambda x: x).derivative(lambda y, x: rng.random())
    turns = itertools.count()
    fickle = pygrad.custom_op(lambda x: x).derivative(lambda y, x: None if next(turns) else 1.0)
    failing = pygrad.custom_op(lambda x: x).derivative(lambda y, x: 1.0 / (1 - next(turns) % 2))
    for op, error in ((noisy, RuntimeError), (fickle, RuntimeError), (failing, ZeroDivisionError)):
        y = op(x)
        with pytest.raises(error, match="did not give the same|division"):
            pygrad.grad(y, [x], create_graph=True)
        assert 0.0 == x.grad
        assert pygrad.is_grad_enabled()
        c_engine.check_arena(idle=True)


def test_a_derivative_that_does_odd_things():
    """It drops the graph, sweeps, forgets the op, and makes other ops: the numbers are right, no node is left."""
    before = c_engine.live_nodes()

    def odd():
        names = {"x": Value(0.5)}

        def derivative(y, x):
            if "y" in names:
                names.clear()
                gc.collect()
            (Value(1.0) * 2.0).backward()
            return y * own_exp()(x * 0.0)

        names["op"] = pygrad.custom_op(lambda x: math.exp(x.data)).derivative(derivative)
        x = names["x"]
        names["y"] = y = names["op"](x)
        (d,) = pygrad.grad(y, [x], create_graph=True)
        return pygrad.grad(d, x)

    assert math.exp(0.5) == pytest.approx(odd(), rel=1e-14)
    gc.collect()
    assert before == c_engine.live_nodes()


def test_derivatives_within_no_grad_and_detect_anomaly():
    """Modes of the caller change nothing."""
    op, x = own_exp(), Value(0.5)
    y = op(x)
    with pygrad.no_grad():
        (d,) = pygrad.grad(y, [x], create_graph=True)
    assert math.exp(0.5) == pygrad.grad(d, x)
    with pygrad.detect_anomaly():
        assert math.exp(0.5) == pygrad.derivative(op, 3)(0.5)
    with pygrad.no_grad():
        assert math.exp(0.5) == op(x).data


def test_no_memory():
    """Whichever allocation fails, there is a MemoryError and nothing else, and the next derivative is right."""
    x, w = Value(0.5), Value(2.0)
    y = pygrad.custom_op(lambda v: w * v.tanh()).derivative(lambda y, v: w * (1.0 - v.tanh() ** 2))(x)
    right = pygrad.grad(y, [x, w], create_graph=True)[1].data
    for n in range(1, 400):
        c_engine.sweeps.lib.pg_fail_allocation(n)
        try:
            pygrad.grad(y, [x, w], create_graph=True)
            break
        except MemoryError:
            c_engine.check_arena()
        finally:
            c_engine.sweeps.lib.pg_fail_allocation(0)
    assert 5 < n < 399
    assert right == pygrad.grad(y, [x, w], create_graph=True)[1].data


# --- what an op closes over -------------------------------------------------------------------------------------------


def test_a_closed_over_value_gets_a_gradient(engine, custom_op):
    """A leaf, a result, one that is an argument too, and the result itself."""
    w = engine.Value(2.0)
    h = w * 3.0
    x = engine.Value(5.0)
    linear = custom_op(lambda x: w * x).derivative(lambda y, x: w)
    linear(x).backward()
    assert (5.0, 2.0) == (w.grad, x.grad)

    w.grad = x.grad = 0.0
    custom_op(lambda x: h * x).derivative(lambda y, x: h)(x).backward()
    assert (15.0, 6.0) == (w.grad, x.grad)

    w.grad = 0.0
    linear(w).backward()
    assert 4.0 == w.grad

    w.grad = x.grad = 0.0
    custom_op(lambda x: w).derivative(lambda y, x: 7.0)(x).backward()
    assert (1.0, 7.0) == (w.grad, x.grad)


def test_only_the_declared_derivative_reaches_arguments(engine, custom_op):
    """Nothing flows through forward to an argument, nor to what it was computed from."""
    w, x = engine.Value(2.0), engine.Value(5.0)
    out = custom_op(lambda a: w * a * a).derivative(lambda y, a: 0.5)(x * w)
    out.backward()
    assert (0.5 * 5.0 + 100.0, 0.5 * 2.0) == (w.grad, x.grad)


def closing(w):
    """An op that closes over w, with its true derivative; and the plain function."""
    op = pygrad.custom_op(lambda x: (w * x).sin() * x).derivative(lambda y, x: (w * x).cos() * w * x + (w * x).sin())
    return op, lambda x: (w * x).sin() * x


def test_mixed_derivatives_of_what_is_closed_over():
    """d2 / dx dw is d2 / dw dx, to the third order, forward and backward, compiled and eager."""

    def own(v):
        return closing(v[1])[0](v[0])

    def plain(v):
        return closing(v[1])[1](v[0])

    at = [0.7, -0.4]
    flat = lambda m: [x for row in m for x in (flat(row) if isinstance(row, list) else [row])]  # noqa: E731
    right = flat(pygrad.hessian(plain)(at))
    assert right == pytest.approx(flat(pygrad.hessian(own)(at)), rel=1e-12)
    assert right == pytest.approx(flat(pygrad.hessian(pygrad.compile(own))([at])[0]), rel=1e-12)
    assert right == pytest.approx(flat(pygrad.jacobian(pygrad.compile(pygrad.gradient(own)))([at])[0]), rel=1e-12)
    assert pygrad.gradcheck(own, at)
    assert pygrad.gradgradcheck(own, at)
    third = [flat(pygrad.hessian(lambda v, f=f: pygrad.jvp(f)(v, [1.0, 2.0])[1])(at)) for f in (plain, own)]
    assert third[0] == pytest.approx(third[1], rel=1e-12)
    both = [pygrad.taylor(lambda t, f=f: f([t * t, t + 1.0]), 4)(0.3) for f in (plain, own)]
    assert both[0] == pytest.approx(both[1], rel=1e-12)


def test_a_compiled_parameter_gets_a_gradient():
    """A leaf that the recorded function closes over through the op is a parameter as any other."""
    w = Value(2.0)
    op = pygrad.custom_op(lambda x: w * x).derivative(lambda y, x: w)
    f = pygrad.compile(lambda x: op(x) * x, reduction="sum")
    assert 50.0 == f.backward([3.0, 4.0])
    assert 25.0 == w.grad
    w.data = 3.0
    assert 75.0 == f([3.0, 4.0])


def test_closed_over_through_a_checkpoint_and_another_op():
    """forward may use checkpoints and other ops, and be used in them."""
    found = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        w, x = Value(0.7), Value(-0.4)
        inner, _ = closing(w)
        outer = pygrad.custom_op(wrap(lambda v, w=w, inner=inner: inner(v) * w))
        outer.derivative(lambda y, v, w=w: ((w * v).cos() * w * v + (w * v).sin()) * w)
        y = wrap(lambda v, outer=outer: outer(v) * v)(x)
        by = pygrad.grad(y, [x, w], create_graph=True)
        found.append([v.data for v in by] + [g for v in by for g in pygrad.grad(v, [x, w])])
    w, x = Value(0.7), Value(-0.4)
    by = pygrad.grad((w * x).sin() * x * w * x, [x, w], create_graph=True)
    right = [v.data for v in by] + [g for v in by for g in pygrad.grad(v, [x, w])]
    assert right == pytest.approx(found[0], rel=1e-12)
    assert right == pytest.approx(found[1], rel=1e-12)


def test_forward_that_does_something_else():
    """A second run of forward with another result is refused."""
    x, w, turns = Value(0.5), Value(2.0), itertools.count(1)
    y = pygrad.custom_op(lambda v: w * v * next(turns)).derivative(lambda y, v: w)(x)
    with pytest.raises(RuntimeError, match="did not give the same a second time"):
        pygrad.grad(y, [w], create_graph=True)
    c_engine.check_arena(idle=True)


def test_a_number_read_from_a_closed_over_value_warns(engine, custom_op):
    """It gets no gradient: the warning names it, the op and the cure, once for an op."""
    w, x = engine.Value(2.0), engine.Value(3.0)

    def scaled(x):
        return w.data * x

    op = custom_op(scaled).derivative(lambda y, x: w)
    with pytest.warns(UserWarning, match=r"scaled uses w, .*pass it as an argument"):
        op(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        op(x)
        custom_op(lambda x: w * x + x.data).derivative(lambda y, x: w)(x)
        custom_op(lambda x, w: w.data * x.data).derivative(lambda y, x, w: (w, x))(x, w)


def test_what_is_closed_over_is_explained_and_drawn():
    """The paths through forward have the declared derivatives; unreached() finds all of them."""
    w, x = Value(2.0), Value(3.0)
    y = closing(w)[0](x)
    for v in (w, x):
        assert pygrad.grad(y, v) == pytest.approx(pygrad.explain(y, v).derivative, rel=1e-14)
    assert [] == pygrad.unreached(y, [w, x], warn=False)
    pytest.importorskip("graphviz")
    assert "lambda" in viz.draw_dot(y).source


# --- lists, keywords, flags, None -------------------------------------------------------------------------------------


def test_lists_as_arguments(engine, custom_op):
    """Nested lists of Values and numbers; the derivative by a list is a list; two functions see the same lists."""
    xs, w = [engine.Value(2.0), 3.0, (engine.Value(4.0),)], engine.Value(5.0)
    op = custom_op(lambda xs, w: xs[0] * xs[1] * xs[2][0] * w)
    op.derivative(lambda y, xs, w: ([y / xs[0], y / xs[1], (y / xs[2][0],)], y / w))
    op(xs, w).backward()
    assert (60.0, 30.0, 24.0) == (xs[0].grad, xs[2][0].grad, w.grad)

    alone = custom_op(lambda xs: xs[0] * xs[1])
    for wrap in (lambda d: d, lambda d: (d,), tuple):
        alone.derivative(lambda y, xs, wrap=wrap: wrap([xs[1], xs[0]]))
        a, b = engine.Value(2.0), engine.Value(3.0)
        alone([a, b]).backward()
        assert (3.0, 2.0) == (a.grad, b.grad)
    single = custom_op(lambda xs: xs[0] * 2.0)
    for found in ([2.0], ([2.0],), ((2.0,),)):
        a = engine.Value(1.0)
        single.derivative(lambda y, xs, found=found: found)([a]).backward()
        assert 2.0 == a.grad
    with pytest.raises(ValueError, match="must have the structure of the argument"):
        alone.derivative(lambda y, xs: [1.0, 2.0, 3.0])([1.0, 2.0])
    endless = [1.0]
    endless.append(endless)
    with pytest.raises(ValueError, match="holds itself"):
        alone(endless)


def test_arrays_as_arguments(engine, custom_op):
    """An array is the lists of its numbers."""
    np = pytest.importorskip("numpy")
    op = custom_op(lambda xs, w: (xs[0] + xs[1]) * w).derivative(lambda y, xs, w: (None, y / w))
    w = engine.Value(2.0)
    op(np.array([1.0, 2.0]), w).backward()
    assert 3.0 == w.grad


def test_several_outputs(engine, custom_op):
    """As in a Jacobian: for each output the derivatives by each argument."""
    both = custom_op(lambda a, b: (a * b, [a + b]))
    both.derivative(lambda y, a, b: ((b, a), [(1.0, 1.0)]))
    a, b = engine.Value(2.0), engine.Value(3.0)
    product, (total,) = both(a, b)
    (product * 10.0 + total).backward()
    assert (6.0, 5.0, 31.0, 21.0) == (product.data, total.data, a.grad, b.grad)

    (only,) = custom_op(lambda a: [a * 2.0]).derivative(lambda y, a: [2.0])(a)
    a.grad = 0.0
    only.backward()
    assert 2.0 == a.grad
    rows = custom_op(lambda xs: [xs[0], xs[0] * xs[1]]).derivative(lambda y, xs: [[1.0, 0.0], [xs[1], xs[0]]])
    a.grad = b.grad = 0.0
    rows([a, b])[1].backward()
    assert (3.0, 2.0) == (a.grad, b.grad)
    with pytest.raises(ValueError, match="derivatives of each output: .* has 2 parts, not 3"):
        both.derivative(lambda y, a, b: (1.0, 2.0, 3.0))(a, b)
    with pytest.raises(ValueError, match="each argument: 2, not 1"):
        both.derivative(lambda y, a, b: (1.0, [2.0]))(a, b)


def test_several_outputs_of_any_order():
    """The derivative of one output may use another one, also one that is dropped; eager, series and compiled."""

    def own(x):
        s, c = pygrad.custom_op(lambda x: (x.sin(), x.cos())).derivative(lambda y, x: (y[1], -y[0]))(x * x)
        return s

    for order in range(5):
        right = pygrad.derivative(lambda x: (x * x).sin(), order)(0.7)
        assert right == pytest.approx(pygrad.derivative(own, order)(0.7), rel=1e-12)
        assert right == pytest.approx(pygrad.derivative(pygrad.compile(own), order)(0.7), rel=1e-12)
    right = pygrad.taylor(lambda x: (x * x).sin(), 5)(0.7)
    assert right == pytest.approx(pygrad.taylor(own, 5)(0.7), rel=1e-12)


def test_several_outputs_hold_no_cycle():
    """Without the collector they are freed with the last of them."""
    before = c_engine.live_nodes()
    gc.disable()
    try:
        x = Value(0.5)
        op = pygrad.custom_op(lambda x: (x * 2.0, x * 3.0)).derivative(lambda y, x: (2.0, 3.0))
        a, b = op(x)
        del a, b, x, op
        left = c_engine.live_nodes()
    finally:
        gc.enable()
    assert before == left


def test_keyword_arguments(engine, custom_op):
    """They are passed on by keyword; derivatives stand in the sequence of the signature."""

    @custom_op
    def op(a, b=1.0, *, scale=1.0):
        return a * b * scale

    @op.derivative
    def _(y, *args, **kwargs):
        assert {"scale"}.issuperset(kwargs)
        return [y / v for v in (*args, *kwargs.values())]

    a, b, scale = engine.Value(2.0), engine.Value(3.0), engine.Value(5.0)
    op(scale=scale, b=b, a=a).backward()
    assert (15.0, 10.0, 6.0) == (a.grad, b.grad, scale.grad)
    assert 2.0 == op(a).data
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        op(a, c=1.0)


def test_static_arguments_are_passed_as_they_are(engine, custom_op):
    """bool, str, None, Enum members and functions; their derivative may be left out, or is None."""

    class Kind(enum.Enum):
        SQUARE = 2

    seen = []

    def forward(x, *rest):
        seen.append(rest)
        return x * x

    given = (True, "mean", None, Kind.SQUARE, math.exp)
    op, a = custom_op(forward), engine.Value(3.0)
    for found in (lambda y, x, *rest: 2.0 * x, lambda y, x, *rest: (2.0 * x, *[None] * 5)):
        a.grad = 0.0
        op.derivative(found)(a, *given).backward()
        assert 6.0 == a.grad
    assert [given, given] == seen
    assert all(x is y for x, y in zip(given, seen[0]))


def test_none_is_no_derivative(engine, custom_op):
    """No gradient goes to the argument: there is no path, so not even 0 times infinity."""
    op = custom_op(lambda a, b: a * b).derivative(lambda y, a, b: (b, None))
    a, b = engine.Value(2.0), engine.Value(0.0)
    root = b.sqrt()
    op(a, root).backward()
    assert (0.0, 0.0) == (a.grad, b.grad)
    if engine is c_engine:
        assert [b] == pygrad.unreached(op(a, root), [a, b], warn=False)
        (d,) = pygrad.grad(op(a, root), [a], create_graph=True)
        assert 0.0 == d.data
    constant = custom_op(lambda a: a * 1.0).derivative(lambda y, a: None)
    constant(a).backward()
    assert 0.0 == a.grad


def test_derivatives_of_structured_calls():
    """Lists, flags, keywords and None are the same when derivatives are computed again."""
    op = pygrad.custom_op(lambda xs, is_on, c, k: [xs[0] * xs[1] ** k * c, xs[0] * 2.0])

    @op.derivative
    def _(y, xs, is_on, c, k):
        return [([y[0] / xs[0], k * y[0] / xs[1]], None, None, None), ([2.0, None], None, None, None)]

    def own(v):
        a, b = op([v[0], v[1]], True, c=3.0, k=2.0)
        return a * b

    right = pygrad.hessian(lambda v: v[0] * v[1] ** 2 * 3.0 * v[0] * 2.0)([0.5, 0.7])
    assert [pytest.approx(row) for row in right] == pygrad.hessian(own)([0.5, 0.7])


# --- the functions of an op run for other numbers too -----------------------------------------------------------------


ASKED = {
    "truth": lambda v: 1.0 if v else 2.0,
    "not": lambda v: 1.0 if not v else 2.0,
    "==": lambda v: 1.0 if v == 0.0 else 2.0,
    "!=": lambda v: 1.0 if v != 0.0 else 2.0,
    "in": lambda v: 1.0 if v in [0.0, 1.0] else 2.0,
    "float": float,
    "int": int,
    "index": lambda v: [1.0, 2.0][v],
    "computed": lambda v: 1.0 if v * 2.0 else 2.0,
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
@pytest.mark.parametrize("place", ["forward", "derivative of y", "derivative of x"])
@pytest.mark.parametrize("kind", ["plain", "list", "outputs"])
def test_what_may_not_be_asked_of_arguments(ask, place, kind):
    """In both functions, of the arguments and of y, though forward returned a number; in eager code and transforms."""

    def first(v):
        return v[0] if isinstance(v, (list, tuple)) else v

    def forward(x):
        number = ask(first(x)) if place == "forward" else first(x).data
        return (number, 3.0) if kind == "outputs" else number

    def derivative(y, x):
        slope = 1.0 if place == "forward" else ask(first(y if place.endswith("y") else x))
        return [slope] if kind == "list" else (slope, 0.0) if kind == "outputs" else slope

    op = pygrad.custom_op(forward).derivative(derivative)

    def run(x):
        return first(op([x] if kind == "list" else x))

    for call in (lambda: run(Value(1.0)), lambda: pygrad.gradient(run)(1.0), lambda: pygrad.hessian(run)(1.0)):
        with pytest.raises(TypeError, match="depends on an argument"):
            call()
    assert bool(Value(0.0))  # outside nothing has changed
    c_engine.check_arena(idle=True)


def test_an_op_within_an_op_and_an_error_end_their_calls():
    """Calls are nested, and end by an error too."""
    inner = pygrad.custom_op(lambda x: math.exp(x.data)).derivative(lambda y, x: y)
    outer = pygrad.custom_op(lambda x: inner(x).data).derivative(lambda y, x: inner(x))
    assert 1.0 == pygrad.derivative(outer, order=3)(0.0)
    broken = pygrad.custom_op(lambda x: 1 / 0).derivative(lambda y, x: y)
    with pytest.raises(ZeroDivisionError):
        broken(Value(1.0))
    assert bool(Value(0.0))
    assert not c_engine.cells.OPEN.calls
    c_engine.check_arena(idle=True)


def test_no_derivative_at_any_order():
    """An argument with the derivative None gets none by way of another argument's derivative either."""
    power = pygrad.custom_op(lambda x, n: x**n.data).derivative(lambda y, x, n: (n * y / x, None))
    listed = pygrad.custom_op(lambda xs: xs[0] ** xs[1].data)
    listed.derivative(lambda y, xs: [xs[1] * y / xs[0], None])
    scale = Value(1.0)
    closing = pygrad.custom_op(lambda x, n: scale * n * x * x).derivative(lambda y, x, n: (2.0 * scale * n * x, None))
    for f in (power, lambda x, n: listed([x, n]), closing, pygrad.compile(closing, batched=False)):
        found = pygrad.hessian(f)(2.0, 3.0)
        assert 12.0 == pytest.approx(found[0][0]) or 6.0 == found[0][0]
        assert [0.0, 0.0, 0.0] == [found[0][1], found[1][0], found[1][1]]
    x, n = Value(2.0), Value(3.0)
    dx, dn = pygrad.grad(power(x, n), [x, n], create_graph=True)
    assert (12.0, 0.0) == (dx.data, dn.data)
    assert [12.0, 0.0] == pygrad.grad(dx, [x, n])
    (dw,) = pygrad.grad(closing(x, n), [scale], create_graph=True)
    assert [12.0, 0.0] == pygrad.grad(dw, [x, n])
    same = Value(2.0)
    (d,) = pygrad.grad(power(same, same), [same], create_graph=True)
    assert 4.0 == d.data
    assert 2.0 == pygrad.grad(d, same)
    assert [8.0, 12.0, 6.0] == pytest.approx(pygrad.taylor(lambda x: power(x, Value(3.0)), 2)(2.0))


@pytest.mark.parametrize(
    "first, later",
    [
        (lambda y, x: 2.0 * x, lambda y, x: 2.0 * x.data),
        (lambda y, x: 2.0 * x, lambda y, x: x * x / 1.5),
        (lambda y, x: 2.0 * y / x, lambda y, x: 2.0 * y.data / x),
        (lambda y, x: x + x, lambda y, x: 2.0 * x),
        (lambda y, x: 5.0 + (x - 2.0) ** 2, lambda y, x: 5.0 + (x - 2.0) ** 3),
    ],
)
def test_a_derivative_that_computes_another_way_the_second_time(first, later):
    """The number is the same, and its own derivative is not: refused."""
    calls = itertools.count()
    op = pygrad.custom_op(lambda x: x.data**2)
    op.derivative(lambda y, x: (first if next(calls) == 0 else later)(y, x))
    with pytest.raises(RuntimeError, match="did not give the same a second time"):
        pygrad.derivative(op, order=2)(3.0)
    calls = itertools.repeat(0)
    assert 2.0 == pytest.approx(pygrad.derivative(op, order=2)(3.0), abs=4.1)


@pytest.mark.parametrize("make", [lambda: Value(-1.0), lambda: Value(1.0)])
def test_an_anomaly_names_the_op_and_its_arguments(make):
    """In the result, and in the gradient: no operand that only pygrad knows of."""
    op = pygrad.custom_op(lambda root: math.nan if root.data < 0 else root.data)
    op.derivative(lambda y, x: y * math.inf if x.data > 0 else y * 2.0)
    x = make()
    x.label = "x"
    with pytest.raises(FloatingPointError) as error, pygrad.detect_anomaly():
        op(x).backward()
    if x.data < 0:
        assert str(error.value).startswith("'<lambda>' gave nan from (x=-1.0), in ")
    else:
        assert "'*' gave inf" in str(error.value)


def test_an_anomaly_of_an_op_in_a_gradient_and_of_several_outputs():
    """The derivative, a number, is inf; one of two outputs is nan."""
    op = pygrad.custom_op(lambda x: x.data).derivative(lambda y, x: math.inf)
    with pytest.raises(FloatingPointError) as error, pygrad.detect_anomaly():
        op(Value(1.0, label="x")).backward()
    assert str(error.value).startswith(
        "the derivative of '<lambda>' at (1.0, x=1.0, inf) gave a gradient of inf to 'x', in "
    )
    two = pygrad.custom_op(lambda x: (1.0, math.inf)).derivative(lambda y, x: (y[0] * 1.0, y[1] * 1.0))
    with pytest.raises(FloatingPointError, match=r"'<lambda>' gave inf from \(1.0\)"), pygrad.detect_anomaly():
        two(Value(1.0))


def test_ops_whose_derivatives_call_each_other():
    """Each call would need another one: a RecursionError says what to write instead."""
    sin, cos = pygrad.custom_op(lambda x: math.sin(x.data)), pygrad.custom_op(lambda x: math.cos(x.data))
    sin.derivative(lambda y, x: cos(x))
    cos.derivative(lambda y, x: -sin(x))
    with pytest.raises(RecursionError, match="compute it from y, or with methods of Value"):
        sin(Value(1.0))


@pygrad.custom_op
def of_this_module(x):
    return x * 2.0


of_this_module.derivative(lambda y, x: 2.0)


def test_an_op_is_pickled_by_its_name():
    """As a function is; one without a place in a module is refused."""
    assert of_this_module is pickle.loads(pickle.dumps(of_this_module))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(pygrad.custom_op(lambda x: x))


def test_a_derivative_that_reads_numbers_warns():
    """What it reads is constant when it is differentiated: the warning names the op and the cure, once for an op."""
    for read in (lambda y, x: 2.0 * x.data, lambda y, x: 2.0 * x.item(), lambda y, x: 2.0 * (x * 1.0).data):
        op = pygrad.custom_op(lambda x: x * x).derivative(read)
        assert 6.0 == pygrad.derivative(op)(3.0)
        with pytest.warns(UserWarning, match=r"derivative of '<lambda>' reads the number .*pygrad.where") as told:
            assert 0.0 == pygrad.derivative(op, order=2)(3.0)
        assert [__file__] == [warning.filename for warning in told]
        assert 0.0 == pygrad.derivative(op, order=2)(3.0)
    scale = Value(2.0)
    for plain in (lambda y, x: scale.data * x, lambda y, x: x + x.detach(), lambda y, x: 2.0 * x if x > 0 else 0.0 * x):
        op = pygrad.custom_op(lambda x: x * x).derivative(plain)
        assert pygrad.derivative(op, order=2)(3.0) in (1.0, 2.0)
    assert c_engine.set_trace_hook(None) is None


def test_a_closed_over_value_times_a_number_read_is_refused_at_order_two():
    """Nothing tells how the derivative by w depends on x; with w as an argument all is well."""
    w = Value(2.0)
    for forward in (lambda x: w * math.exp(x.data), lambda x: w * x * math.exp((x * 1.0).data) / x.item()):
        op = pygrad.custom_op(forward).derivative(lambda y, x: y)
        x = Value(0.5)
        y = op(x)
        assert [math.exp(0.5), 2.0 * math.exp(0.5)] == pytest.approx(pygrad.grad(y, [w, x]))
        with pytest.raises(TypeError, match="pass these Values as arguments"):
            pygrad.grad(y, [w, x], create_graph=True)
    op = pygrad.custom_op(lambda x, w: w.data * math.exp(x.data)).derivative(lambda y, x, w: (y, y / w))
    assert math.exp(0.5) == pytest.approx(pygrad.hessian(op)(0.5, 2.0)[0][1])
    assert c_engine.set_trace_hook(None) is None
    c_engine.check_arena(idle=True)


def test_reads_are_noted_while_a_program_has_a_hook_and_threads():
    """The program's hook is told as ever, and is there afterwards."""
    seen, hook = [], lambda value, what: seen.append(what)
    assert c_engine.set_trace_hook(hook) is None
    try:
        op = pygrad.custom_op(lambda x: x * x).derivative(lambda y, x: 2.0 * x if x < 9.0 else x)
        assert 2.0 == pygrad.derivative(op, order=2)(3.0)
    finally:
        assert c_engine.set_trace_hook(None) is hook
    assert "a comparison" in seen
