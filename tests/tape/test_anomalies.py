"""`detect_anomaly()` where a recorded function runs in C: it names op, label and line, and leaves all as it was."""

import math
import random
import warnings

import pytest
from together import in_threads

import pygrad
from pygrad import Value, detect_anomaly, engine


def caught(call, *parts, others=()):
    """Check that a call under detect_anomaly() raises FloatingPointError with all these parts in its message."""
    with detect_anomaly(), pytest.raises(FloatingPointError) as error:
        call()
    message = str(error.value)
    for part in parts:
        assert part in message, message
    for part in others:
        assert part not in message, message


def recorded(function, *args, **options):
    """Return the function compiled, and recorded at arguments where all is well."""
    f = pygrad.compile(function, **options)
    f(*args)
    return f


def logarithm(x, y):
    return x.log() * y  # the log


def root(x, y):
    return x.sqrt() * y  # the root


def hidden(x):
    return 1.0 / (x * 1000.0).exp()  # the exp


LOG = ("'log' gave nan from (-1.0)", __file__, "# the log", "logarithm")
ROOT = ("derivative of 'sqrt' at (0.0) gave a gradient of inf", __file__, "# the root", "root")


# --- values -----------------------------------------------------------------------------------------------------------


def test_a_call():
    """One sample, a batch of any size and any number of threads: op, line, and the number of the sample."""
    f = recorded(logarithm, 1.0, 2.0, threads=2)
    f([1.0, 2.0], 2.0)
    caught(lambda: f(-1.0, 2.0), *LOG, others=["sample"])
    for n in (2, 7, 40, 1000):
        xs = [1.0] * n
        xs[n - 1] = -1.0
        caught(lambda xs=xs: f(xs, 2.0), *LOG, f"sample {n - 1} of")
    assert math.isnan(f(-1.0, 2.0))
    with detect_anomaly():
        assert 0.0 == f([1.0, 1.0], 2.0)


def test_what_the_output_hides():
    """An inf within, of which the result shows nothing, as in eager code."""
    f = recorded(hidden, 0.1)
    assert 0.0 == f(1.0)
    caught(lambda: f(1.0), "'exp' gave inf from (1000.0)", "# the exp")
    caught(lambda: f([0.1, 1.0]), "'exp' gave inf", "sample 1")


def test_a_parameter_that_became_nan():
    """Its label is named, and that it was nan already."""
    w = Value(1.0, label="weight")
    f = recorded(lambda x: w * x + 1.0, [1.0, 2.0])
    w.data = math.nan
    caught(lambda: f([1.0, 2.0]), "weight=nan", "was nan already", "sample 0")


def test_lists_and_models():
    """Functions of lists, with reduction none, and a Module."""
    f = recorded(lambda xs: [x.log() for x in xs], [[1.0, 2.0]] * 3)  # here
    caught(lambda: f([[1.0, 2.0], [1.0, -1.0]]), "'log'", "# here", "sample 1")
    model = pygrad.nn.MLP(2, [2, 1])
    g = recorded(model, [[1.0, 2.0]])
    model.parameters()[0].data = math.inf
    caught(lambda: g([[1.0, 2.0]]), "'dot' gave inf", "inf already")


def test_arrays_that_are_read_in_place():
    """NumPy's, in strides; and with batched=False."""
    np = pytest.importorskip("numpy")
    f = recorded(lambda xs: xs[0].log() + xs[1], [[1.0, 2.0]])
    g = recorded(lambda xs: xs[0].log() + xs[1], [1.0, 2.0], batched=False)
    caught(lambda: f(np.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 5.0]])), "'log' gave nan from (-1.0)", "sample 2")
    caught(lambda: g(np.array([-1.0, 2.0])), "'log' gave nan from (-1.0)", others=["sample"])


def test_what_is_no_anomaly():
    """A constant or an argument that is inf, where no operation gives inf; and what a take does not choose."""
    f = recorded(lambda x: pygrad.minimum(x, math.inf) * 1.0, 1.0)
    g = recorded(lambda x, i: pygrad.take([x, x * 2.0], i), 1.0, 0.0)
    h = recorded(lambda x: x, 1.0)
    with detect_anomaly():
        assert [1.0, 1.0, math.inf] == [f(1.0), g(1.0, 0.0), h(math.inf)]
        with pytest.raises(IndexError, match="sample 1"):
            g([1.0, 1.0], [0.0, 7.0])


def test_the_sum_over_a_batch():
    """Each result is finite, and the sum is not; with reduction none there is no sum."""
    f = recorded(lambda x: x * 2.0, [1.0, 2.0], reduction="sum")
    caught(lambda: f([8e307] * 3), "the sum of the results of all samples")
    g = recorded(lambda x: x * 2.0, [1.0, 2.0], reduction="none")
    with detect_anomaly():
        assert [1.6e308] * 3 == g([8e307] * 3)


def test_a_function_that_does_something_else_by_now():
    """The line of the program is not to blame then: the operation of the tape is shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = recorded(lambda x: x.log() if x.data > 0.0 else x * 1.0, 1.0)
    caught(lambda: f(-2.0), "v0 = log(x0) gave nan, where x0 = -2.0")
    w = Value(1.0, label="w")
    state = {"f": lambda x: x / w}
    g = recorded(lambda x: state["f"](x), 1.0)
    w.data = 0.0
    for other in (lambda x: x * w, lambda x: 1 // 0, lambda x: [x, x]):
        state["f"] = other
        caught(lambda: g([1.0, 2.0]), "v0 = div(x0, p0) gave inf, where x0 = 1.0, p0 (w) = 0.0; sample 0")


def test_a_loaded_function(tmp_path):
    """It has no Python source: values, gradients, lists of operands."""
    w = Value(1.0)
    f = recorded(lambda x, y: x.sqrt() * w + pygrad.sum([x, y, y]), 1.0, 2.0)
    f.save(tmp_path / "f")
    g = pygrad.load(tmp_path / "f")
    caught(lambda: g([1.0, -1.0], 2.0), "= sqrt(x0) gave nan, where x0 = -1.0; sample 1 of compiled <lambda>")
    caught(lambda: g.backward(0.0, 2.0, inputs=True), "derivative of v0 = sqrt(x0)", "where x0 = 0.0")
    caught(lambda: g(1e308, 1e308), "gave inf", "x0 = 1e+308, x1 = 1e+308")
    with detect_anomaly():
        assert 4.0 == g.backward(0.0, 2.0)
    assert [0.0] == [p.grad for p in g.parameters()]


# --- gradients --------------------------------------------------------------------------------------------------------


def test_a_backward_pass():
    """Of parameters and of arguments, shared or not; what nobody asked for is no anomaly; no gradient is changed."""
    w = Value(0.0, label="w")
    w.grad = 7.0
    f = recorded(lambda x: (w * x).sqrt(), [1.0, 1.0])  # wx
    caught(lambda: f.backward([1.0, 1.0]), "derivative of 'sqrt' at (0.0)", "# wx", "sample 0")
    g = recorded(root, 1.0, 2.0)
    caught(lambda: g.backward([1.0, 0.0], 2.0, inputs=True), *ROOT, "sample 1")
    caught(lambda: g.backward(0.0, [2.0, 3.0], inputs=True), *ROOT, "sample 0")
    assert 7.0 == w.grad
    with detect_anomaly():
        assert 1.0 == g.backward([1.0, 0.0], 2.0)


def test_features_that_are_zero():
    """The slope by an argument is infinite where no gradient by it is wanted: not here, and not in fit."""
    w = Value(2.0)
    f = recorded(lambda x: (x * 3.0).sqrt() * w, [1.0, 2.0])
    with detect_anomaly():
        assert 3.0 == f.backward([0.0, 3.0])
        assert [3.0] == f.fit(pygrad.optim.SGD([w], lr=0.1), [0.0, 3.0])


def test_the_right_op_is_named_beside_one_that_nobody_asked_for():
    """The sweep passes an infinite slope on the way to an argument first."""
    w = Value(0.0, label="w")
    f = recorded(lambda x: (x - 1.0).sqrt() + w.sqrt() * x, [1.0, 2.0])
    caught(lambda: f.backward([1.0, 1.0]), "'sqrt' at (w=0.0) gave a gradient of inf to 'w'")


def test_frozen_parameters():
    """As in eager code, their gradients are not looked at."""
    w = Value(0.0)
    f = recorded(lambda x: w.sqrt() * x, [1.0, 2.0])
    w.requires_grad = False
    with detect_anomaly():
        assert 0.0 == f.backward([1.0, 2.0])
    w.requires_grad = True
    caught(lambda: f.backward([1.0, 2.0]), "'sqrt'")
    assert 0.0 == w.grad


def test_a_gradient_that_was_nan_before():
    """It is not the function's fault, and the error says so; frozen ones do not count."""
    w = Value(1.0, label="w")
    f = recorded(lambda x: w * x, [1.0, 2.0])
    w.grad = math.nan
    caught(lambda: f.backward([1.0, 2.0]), "gradient of p0 (w) is not finite before the backward pass")
    with detect_anomaly():
        assert 1.5 == f([1.0, 2.0])


def test_the_sum_of_gradients():
    """Each sample's is finite, and their sum is not; nothing is added."""
    w = Value(0.0, label="w")
    w.grad = 2.0
    f = recorded(lambda x: w * x, [1.0, 2.0], reduction="sum")
    caught(lambda: f.backward([1e308] * 3), "the sum of the gradients of p0 (w)")
    assert 2.0 == w.grad
    with detect_anomaly():
        assert 0.0 == f.backward([1.0, 2.0])
    assert 5.0 == w.grad


# --- transforms -------------------------------------------------------------------------------------------------------


def test_derivatives():
    """A derivative is called again with numbers: so the op of the function is named where it can be."""

    def gradient(f):
        return pygrad.gradient(f, per_sample=True)

    for transform in (gradient, lambda f: pygrad.value_and_grad(f, per_sample=True), pygrad.derivative):
        f = recorded(lambda x: x.sqrt() * 2.0, 1.0)  # of x
        g = transform(f)
        g([1.0, 2.0])
        caught(lambda g=g: g([1.0, 0.0]), "derivative of 'sqrt' at (0.0) gave a gradient of inf", "# of x", "sample 1")
    w = Value(0.0, label="w")
    reduced = pygrad.gradient(recorded(lambda x: x.sqrt() + w * x, 1.0), per_sample=False)  # of x
    caught(lambda: reduced([1.0, 0.0]), "derivative of 'sqrt' at (0.0) gave a gradient of inf", "# of x", "sample 1")
    g = pygrad.gradient(recorded(logarithm, 1.0, 2.0))
    g(1.0, 2.0)
    caught(lambda: g(-1.0, 2.0), *LOG[:3])


@pytest.mark.parametrize("name", ["jacobian", "hessian", "sparse", "many", "hvp", "jvp", "vjp", "taylor"])
def test_all_other_transforms(name):
    """Unrolled and in lanes, sparse and dense, for batches, bound: values and derivatives."""
    pytest.importorskip("scipy")
    ones, zeros, negative = [1.0] * 3, [1.0, 0.0, 1.0], [1.0, -1.0, 1.0]
    vector = recorded(lambda xs: [x.sqrt() * xs[0] for x in xs], ones, batched=False)  # the line
    scalar = recorded(lambda xs: pygrad.sum([x.sqrt() * xs[0] for x in xs]), ones, batched=False)  # the line
    many = recorded(lambda xs: [pygrad.sum(xs).sqrt() * x for x in xs * 4], ones, batched=False)  # the line
    g, others = {
        "jacobian": (pygrad.jacobian(vector), ()),
        "hessian": (pygrad.hessian(scalar), ()),
        "sparse": (pygrad.jacobian(vector, sparse=True), ()),
        "many": (pygrad.jacobian(many), ()),
        "hvp": (pygrad.hvp(scalar), (ones,)),
        "jvp": (pygrad.jvp(vector), (ones,)),
        "vjp": (pygrad.vjp(vector), (ones,)),
        "taylor": (pygrad.taylor(recorded(lambda x: x.sqrt() * 3.0, 1.0), 2), ()),  # the line
    }[name]
    if name == "taylor":
        ones, zeros, negative = 1.0, 0.0, -1.0
    if name == "many":
        zeros, negative = [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]
    g(ones, *others)
    caught(lambda: g(zeros, *others), "sqrt" if name not in ("jvp", "taylor", "hessian", "hvp") else "gave", __file__)
    caught(lambda: g(negative, *others), "'sqrt' gave nan from (-1.0)", "# the line")
    with detect_anomaly():
        g(ones, *others)


def test_a_bound_jacobian():
    """Unrolled and in lanes."""
    np = pytest.importorskip("numpy")
    xs = np.array([1.0, 1.0])
    for function in (lambda xs: [x.sqrt() * xs[0] for x in xs], lambda xs: [pygrad.sum(xs).sqrt() * x for x in xs * 8]):
        xs[:] = 1.0
        bound = pygrad.jacobian(pygrad.compile(function, batched=False)).bind(xs)
        bound.forward()
        before = list(bound.output)
        with detect_anomaly():
            bound.forward()
        assert before == list(bound.output)
        xs[:] = -1.0
        caught(bound.forward, "'sqrt' gave nan", __file__)


def test_an_artefact_of_lanes_is_no_anomaly():
    """A seed of 0 times an infinite slope is nan: then the rows are computed one by one."""
    pytest.importorskip("scipy")
    f = recorded(lambda xs: [x.sqrt() * 0.0 for x in xs], [1.0, 1.0], batched=False)
    jacobian = pygrad.jacobian(f)
    jacobian([1.0, 1.0])
    caught(lambda: jacobian([1.0, 0.0]), "'sqrt'", "nan")


# --- fit --------------------------------------------------------------------------------------------------------------


class ByHand(pygrad.optim.SGD):
    """An optimizer that C does not know."""


@pytest.mark.parametrize("kind", [pygrad.optim.SGD, ByHand, pygrad.optim.Adam])
@pytest.mark.parametrize("shuffle", [False, True])
def test_fit(kind, shuffle):
    """It stops before the step with the anomaly, names the sample of the data, and can go on from there."""

    def program(xs):
        w = Value(1.0, label="w")
        optimizer = kind([w], lr=0.01)
        f = recorded(lambda x, y: (w * x.log() - y) ** 2, xs[:1], [1.0])  # in fit
        return w, optimizer, f

    good = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    bad = [*good[:3], -1.0, *good[4:]]
    options = {"batch_size": 1, "shuffle": shuffle, "seed": 3}
    w, optimizer, f = program(good)
    with detect_anomaly():
        losses = f.fit(optimizer, good, good, epochs=2, **options)
    v, second, g = program(good)
    assert losses == g.fit(second, good, good, epochs=2, **options)
    assert (w.data, w.grad) == (v.data, v.grad)

    caught(lambda: f.fit(optimizer, bad, good, **options), "'log' gave nan from (-1.0)", "# in fit", "sample 3 of")
    order = list(range(6))
    if shuffle:
        random.Random(3).shuffle(order)
    for i in order[: order.index(3)]:
        second.zero_grad()
        g.backward([good[i]], [good[i]])
        second.step()
    assert v.data == w.data
    assert math.isfinite(w.grad)
    first = [{**state} for state in optimizer.state], optimizer.param_groups[0]["lr"]
    assert repr(first) == repr(([{**state} for state in second.state], second.param_groups[0]["lr"]))
    assert f.fit(optimizer, good, good, **options) == g.fit(second, good, good, **options)


@pytest.mark.parametrize("kind", [pygrad.optim.SGD, ByHand])
def test_the_gradients_of_fit(kind):
    """A gradient that is not finite: no step is taken, and the weight is as it was after the last good one."""
    w = Value(1.0, label="w")
    f = recorded(lambda x: (w - x).abs().sqrt(), [3.0])  # slope
    optimizer = kind([w], lr=1.0)
    caught(lambda: f.fit(optimizer, [1.0], epochs=5), "derivative of 'sqrt' at (0.0)", "# slope")
    assert 1.0 == w.data
    caught(lambda: f.fit(optimizer, [[2.0, 1.0][i] for i in (0, 1)], batch_size=2), "'sqrt'", "sample 1")
    assert 1.0 == w.data


@pytest.mark.parametrize("kind", [pygrad.optim.SGD, ByHand])
def test_a_training_that_blows_up(kind):
    """The rate is too large: the first step that overflows is named, and the weight is the last one that is finite."""
    w = Value(1.0, label="w")
    f = recorded(lambda x: (w * x) ** 4, [1.0, 2.0])
    caught(lambda: f.fit(kind([w], lr=10.0), [1.0, 2.0], epochs=500), "gave inf", __file__)
    assert math.isfinite(w.data)
    assert abs(w.data) > 1e6


# --- bound functions, threads -----------------------------------------------------------------------------------------


def test_a_bound_function():
    """Bound before the block or in it; in the block, and after it; nothing is added to a gradient."""
    w = Value(2.0, label="w")
    f = recorded(lambda x, y: w * x.sqrt() * y, 1.0, 2.0)  # bound
    bound = f.bind(1.0, 2.0)
    with detect_anomaly():
        inside = f.bind(1.0, 2.0)
    for b in (bound, inside):
        w.grad = 0.0
        b.inputs[0][0] = -1.0
        caught(b.forward, "'sqrt' gave nan from (-1.0)", "# bound")
        caught(b.backward, "'sqrt' gave nan from (-1.0)", "# bound")
        b.inputs[0][0] = 0.0
        caught(b.backward, "derivative of 'sqrt' at (0.0)", "# bound")
        assert 0.0 == w.grad
        with detect_anomaly():
            b.forward()
        b.backward()
        assert math.isinf(b.gradients[0])


def test_a_bound_batch():
    """With its samples, each of them with a result of its own too."""
    np = pytest.importorskip("numpy")
    xs = np.array([1.0, 2.0, 3.0])
    for reduction in ("mean", "none"):
        bound = pygrad.compile(logarithm, reduction=reduction).bind(xs, 2.0)
        xs[1] = -1.0
        caught(bound.forward, *LOG, "sample 1")
        caught(bound.backward, *LOG, "sample 1")
        xs[1] = 1.0
        with detect_anomaly():
            bound.backward()


def test_minimisers():
    """The numbers that SciPy tries are checked too, through the memory that the function is bound to."""
    pytest.importorskip("scipy")
    np = pytest.importorskip("numpy")
    f = recorded(lambda x: (x[0] - 5.0).log() + x[0] ** 2, [6.0], batched=False)  # tried
    caught(lambda: pygrad.minimize(f, [1.0]), "'log' gave nan from (-4.0)", "# tried")
    objective, bad = pygrad.Objective(f, [6.0]), np.array([1.0])
    objective.fun(objective.x0), objective.hess(objective.x0), objective.hessp(objective.x0, objective.x0)
    for call in (objective.fun, objective.jac):
        caught(lambda call=call: call(bad), "'log' gave nan from (-4.0)", "# tried")
    for call in (objective.hess, lambda x: objective.hessp(x, x)):
        caught(lambda call=call: call(np.array([5.0])), "gave", "inf", __file__)
    g = recorded(lambda x: [(x[0] - 5.0).sqrt(), x[0]], [6.0], batched=False)  # residuals
    caught(lambda: pygrad.least_squares(g, [1.0]), "'sqrt' gave nan from (-4.0)", "# residuals")
    caught(lambda: pygrad.least_squares(g, [5.0]), "'sqrt'", __file__)


def test_threads():
    """The block is for all of them, and each gets the error of its own call."""
    f = recorded(logarithm, [1.0] * 50, 2.0, threads=2)

    def work(k):
        xs = [1.0] * 300
        for i in range(20):
            xs[i + k] = -1.0
            with pytest.raises(FloatingPointError, match=f"sample {i + k} of"):
                f(xs, 2.0)
            xs[i + k] = 1.0
            assert f(xs, 2.0) == 0.0

    with detect_anomaly():
        in_threads(*[lambda k=k: work(k) for k in range(3)])


# --- what the check must not do ---------------------------------------------------------------------------------------


def test_nobody_is_told_of_the_second_call():
    """Neither the trace hook nor a recording that is under way hears of reads in the call that finds the line."""
    told = []

    def reads(x):
        return x.log() + 0.0 * x.data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = recorded(reads, 1.0)

    def outer(x):
        with pytest.raises(FloatingPointError):
            f(-1.0)
        return x * 2.0

    before = engine.set_trace_hook(lambda *what: told.append(what))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            caught(lambda: f(-1.0), "'log'")
            with detect_anomaly():
                assert 2.0 == pygrad.compile(outer)(1.0)
    finally:
        engine.set_trace_hook(before)
    assert [] == told


def test_within_no_grad():
    """The derivative is found there too."""
    g = recorded(root, 1.0, 2.0)
    with pygrad.no_grad():
        caught(lambda: g.backward(0.0, 2.0, inputs=True), *ROOT)


def test_results_are_those_without_the_block():
    """The same bits: results, gradients, gradients of arguments, losses."""
    w, xs = Value(0.7), [0.1 * i for i in range(1, 200)]
    f = recorded(lambda x, y: (w * x - y).tanh() ** 2, xs, 1.0, threads=2)
    g = pygrad.gradient(f, per_sample=False)

    def program():
        w.grad = 0.0
        return f(xs, 0.3), f.backward(xs, 0.3, inputs=True), w.grad, g(xs, 0.3)

    with detect_anomaly():
        inside = program()
    assert program() == inside


# --- what is not on the tape ------------------------------------------------------------------------------------------


FOLDED = {
    "hidden by a minimum": lambda x: pygrad.minimum(x, Value(1000.0).exp()),  # folded
    "hidden by a division": lambda x: x + 1.0 / Value(1000.0).exp(),  # folded
    "hidden by a comparison": lambda x: x + pygrad.less(Value(1000.0).exp(), 1.0),  # folded
}


@pytest.mark.parametrize("function", FOLDED.values(), ids=FOLDED.keys())
def test_an_operation_on_constants(function):
    """It is folded when it is recorded, and found nevertheless: in a call, a batch, a gradient, a bound call, a fit."""
    f = recorded(function, 0.1)
    bound, gradient = f.bind(1.0), pygrad.gradient(f)
    gradient(0.1)
    parts = ("'exp' gave inf from (1000.0)", "# folded")
    caught(lambda: f(1.0), *parts)
    caught(lambda: f([1.0, 2.0]), *parts, "sample 0 of")
    caught(bound.forward, *parts)
    if gradient(1.0) != 1.0:  # else the gradient needs no exp
        caught(lambda: gradient(1.0), *parts)
    w = Value(1.0)
    fitted = recorded(lambda x: function(x * w), 0.1)
    caught(lambda: fitted.fit(pygrad.optim.SGD([w], lr=0.1), [1.0, 2.0]), *parts)
    assert 1.0 == w.data
    assert math.isfinite(f(1.0))
    with detect_anomaly():
        recorded(lambda x: pygrad.minimum(x, math.inf), 0.1)(1.0)  # a number of the program is no operation


def test_what_no_result_needs():
    """A recording leaves it out; within the block it is found where a function is recorded."""

    def wasteful(x):
        x.log()  # of no use
        return x * 2.0

    f = pygrad.compile(wasteful)
    caught(lambda: f(-1.0), "'log' gave nan from (-1.0)", "# of no use")
