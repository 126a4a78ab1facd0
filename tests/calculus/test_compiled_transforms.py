"""Transforms of compiled functions: the numbers of the eager ones, of one sample or of each in a batch; sparse ones."""

import json
import math
import warnings
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_transforms import V, X, flat, scalar, vector

import pygrad
from pygrad import Value, derivative, gradient, hessian, hvp, jacobian, jvp, taylor, value_and_grad, vjp
from pygrad.calculus.compiled_transforms import CompiledJacobian, CompiledOnce, _Lanes, _Unrolled
from pygrad.calculus.sparsity import Pattern, colors
from pygrad.engine._lib import lib

BATCH = [[0.7, -1.3, 0.4], [0.1, 0.2, 0.3], [2.0, -0.5, 0.25]]


def one(function, **options):
    """The function compiled for one sample a call."""
    return pygrad.compile(function, batched=False, **options)


def near(expected):
    return pytest.approx(flat(expected), rel=1e-12, abs=1e-13)


def of_two(a, b):
    """A function of a number and a list."""
    return (a * b[0]).sin() * b[1] + a**3


def dense(xs):
    """Every output depends on every input, through the same long sum."""
    total = pygrad.sum([x * x for x in xs])
    for _ in range(20):
        total = (total * 1.1).sin() + total
    return [(total * x).tanh() for x in xs]


def tall(xs):
    """Many outputs of two inputs, one after the other."""
    out, state = [], xs[0] * xs[1]
    for _ in range(40):
        state = (state + xs[0]).sin()
        out.append(state)
    return out


def band(xs):
    """Each output depends on three neighbours."""
    n = len(xs)
    return [(xs[i - 1] if i else 0.0) * xs[i] - (xs[i + 1].sin() if i + 1 < n else 0.0) for i in range(n)]


def arrow(xs):
    """A Hessian with a full first row and column, and a diagonal."""
    return pygrad.sum([(xs[0] * x).sin() + x**3 for x in xs[1:]])


def rosenbrock(xs):
    return pygrad.sum([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in zip(xs, xs[1:])])


def depth(nested):
    """The structure of nested lists, and of tuples as lists: None for a number."""
    return [depth(item) for item in nested] if isinstance(nested, (list, tuple)) else None


def plan_of(transformed):
    """How its Jacobian is computed."""
    return next(iter(transformed._plans.values()))


# --- one sample -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [gradient, hessian, value_and_grad])
@pytest.mark.parametrize(
    "function, arguments",
    [(scalar, (X,)), (of_two, (0.3, [1.5, -0.5])), (lambda x: x.exp() * x, (0.3,)), (rosenbrock, ([1.0, 2.0, 3.0],))],
)
def test_derivatives_of_one_number_are_the_eager_ones(transform, function, arguments):
    """In the same structure, with lists for tuples; twice, as the second call traces nothing."""
    expected = transform(function)(*arguments)
    compiled = transform(one(function))
    for _ in range(2):
        assert near(expected) == flat(compiled(*arguments))


@pytest.mark.parametrize(
    "function, arguments",
    [(vector, (X,)), (dense, (X,)), (tall, ([0.3, 0.8],)), (lambda a, b: [a * b], (2.0, 3.0))],
)
def test_jacobians_are_the_eager_ones(function, arguments):
    """Nested results included, in the structure of the eager Jacobian."""
    expected = jacobian(function)(*arguments)
    found = jacobian(one(function))(*arguments)
    assert depth(expected) == depth(found)
    assert near(expected) == flat(found)


def test_arguments_of_another_structure_have_a_jacobian_of_their_own():
    """And the first is there still."""
    f = jacobian(one(band))
    for x in ([0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7]):
        assert near(jacobian(band)(x)) == flat(f(x))


def test_derivatives_and_taylor_of_one_number():
    """Of any order."""
    f = one(lambda x: (2.0 * x).sin())
    assert [pytest.approx(-8.0 * math.cos(0.6))] == [derivative(f, order=3)(0.3)]
    assert near(taylor(lambda x: (2.0 * x).sin(), order=4)(0.3)) == taylor(f, order=4)(0.3)


@pytest.mark.parametrize(
    "function, xs, vs",
    [(vector, X, V), (of_two, (0.3, [1.5, -0.5]), (1.0, [2.0, 3.0])), (tall, [0.3, 0.8], [1.0, 2.0])],
)
def test_products_are_the_eager_ones(function, xs, vs):
    """jvp and vjp, of one argument or a tuple of several."""
    assert near(jvp(function)(xs, vs)) == flat(jvp(one(function))(xs, vs))
    cotangents = jvp(function)(xs, vs)[1]
    expected, found = vjp(function)(xs, cotangents), vjp(one(function))(xs, cotangents)
    assert near(expected) == flat(found)
    assert depth(expected) == depth(found)


def test_hessian_vector_products_are_the_eager_ones():
    """Of a list, and of a tuple of arguments."""
    expected, found = hvp(scalar)(X, V), hvp(one(scalar))(X, V)
    assert near(expected) == flat(found)
    assert depth(expected) == depth(found)
    xs, vs = (0.3, [1.5, -0.5]), (1.0, [2.0, 3.0])
    assert near(hvp(of_two)(xs, vs)) == flat(hvp(one(of_two))(xs, vs))


@pytest.mark.parametrize("xs, vs", [(X, V), (0.3, 2.0), ((0.3, [1.5, -0.5]), (1.0, [2.0, 3.0]))])
def test_products_are_nested_as_eager_ones(xs, vs):
    """What is shaped like xs is so of a compiled function too: one argument's is not in a list of one."""

    def square(*arguments):
        return sum(x * x for a in arguments for x in (a if isinstance(a, list) else [a]))

    for eager, compiled in [(hvp(square), hvp(one(square))), (vjp(square), vjp(one(square)))]:
        directions = vs if eager.__name__.startswith("hvp") else 1.0
        expected, found = eager(xs, directions), compiled(xs, directions)
        assert json.loads(json.dumps(expected)) == json.loads(json.dumps(found))  # tuples are lists there


def test_products_need_two_arguments():
    """xs and vs; anything else is refused, and shapes that do not match."""
    with pytest.raises(TypeError, match="two arguments"):
        jvp(one(scalar))(X)
    with pytest.raises(ValueError, match="structure of xs"):
        jvp(one(scalar))(X, [1.0])


def test_parameters_are_read_anew_and_their_gradients_left_alone():
    """A Value that was there before is what it is at each call."""
    w = Value(3.0)
    w.grad = 7.0
    second, jac = hessian(one(lambda x: w * x**3)), jacobian(one(lambda xs: [w * x for x in xs]))
    assert (36.0, [[3.0, 0.0], [0.0, 3.0]]) == (second(2.0), jac([1.0, 2.0]))
    w.data = 5.0
    assert (60.0, [[5.0, 0.0], [0.0, 5.0]]) == (second(2.0), jac([1.0, 2.0]))
    assert 7.0 == w.grad


def test_values_get_values_and_transforms_are_recorded_within_others():
    """Of Values the eager transform: also while another function is recorded."""
    second = hessian(one(scalar))
    found = second([Value(x) for x in X])
    assert near(hessian(scalar)(X)) == flat(found)
    assert {Value} == {type(entry) for row in found for entry in row}
    trace = one(lambda xs: pygrad.sum([second(xs)[i][i] for i in range(3)]))
    assert near([sum(hessian(scalar)(X)[i][i] for i in range(3))]) == [trace(X)]


def test_a_jacobian_that_is_recorded_is_no_constant():
    """At numbers too: it depends on the parameters."""
    w = Value(5.0)
    inner = jacobian(one(lambda a: [a * a * w]))
    f = one(lambda x: x * inner(3.0)[0])
    assert 60.0 == f(2.0)
    w.data = 7.0
    assert 84.0 == f(2.0)


def test_a_ragged_result_is_lists():
    """Of an array too: there is no array of that shape."""
    ragged = lambda xs: [[xs[0]], [xs[1], xs[0] * xs[1]]]  # noqa: E731
    assert [[[1.0, 0.0]], [[0.0, 1.0], [3.0, 2.0]]] == jacobian(one(ragged))(np.array([2.0, 3.0]))


def test_a_module_is_derived_by_its_inputs():
    """A compiled network: d output / d inputs."""
    model = pygrad.MLP(2, [3, 1])
    expected = gradient(model)([0.5, -1.0])
    assert near(expected) == flat(gradient(pygrad.compile(model, batched=False))([0.5, -1.0]))
    assert near([expected, expected]) == flat(gradient(pygrad.compile(model))([[0.5, -1.0]] * 2))


def test_a_compiled_gradient_can_be_saved(tmp_path):
    """It is a compiled function like any other."""
    g = gradient(one(scalar))
    g(X)
    g.save(tmp_path / "g")
    assert g(X) == pygrad.load(tmp_path / "g")(X)


# --- batches ----------------------------------------------------------------------------------------------------------


def gradient_per_sample(function):
    return gradient(function, per_sample=True)


@pytest.mark.parametrize("transform", [gradient_per_sample, hessian])
def test_a_batch_gives_the_derivatives_of_each_sample(transform):
    """Whatever the reduction is; lists of lists, or an array of an array."""
    expected = [transform(scalar)(x) for x in BATCH]
    f = transform(pygrad.compile(scalar, reduction="mean"))
    assert near(expected) == flat(f(BATCH))
    found = f(np.array(BATCH))
    assert np.shape(expected) == found.shape
    assert near(expected) == found.ravel().tolist()


@pytest.mark.parametrize("function", [vector, dense])
def test_a_batch_of_jacobians(function):
    """Unrolled or in lanes, with any number of threads."""
    expected = [jacobian(function)(x) for x in BATCH]
    found = [jacobian(pygrad.compile(function, threads=n))(BATCH) for n in (1, 2)]
    assert near(expected) == flat(found[0])
    assert found[0] == found[1]


@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_in_lanes(sparse):
    """Each sample's own numbers are read."""
    expected = [jacobian(dense)(x) for x in BATCH]
    f = pygrad.compile(dense)
    transformed = CompiledJacobian(f, dense, jacobian(dense), sparse, unrolls=False)
    found = transformed(np.array(BATCH))
    assert _Lanes is type(plan_of(transformed))
    assert near(expected) == np.ravel([j.toarray() for j in found] if sparse else found).tolist()


def test_what_is_the_same_for_all_samples():
    """A number beside a batch: each sample's derivative by it."""
    f = pygrad.compile(lambda x, c: x * c * c)
    assert [[9.0, 6.0], [9.0, 12.0]] == gradient(f, per_sample=True)([1.0, 2.0], 3.0)
    assert [[4.5, 4.5], 9.0] == gradient(f, per_sample=False)([1.0, 2.0], 3.0)
    assert [[[0.0, 6.0], [6.0, 2.0]], [[0.0, 6.0], [6.0, 4.0]]] == hessian(f)([1.0, 2.0], 3.0)
    assert [[3.0], [4.0]] == [row[1:] for row in jvp(pygrad.compile(lambda x: x * x))([1.5, 2.0], [1.0, 1.0])]


def test_products_over_a_batch_by_one_of_two_arguments():
    """Cotangents are a batch if any argument is, tangents where theirs is."""
    f = pygrad.compile(lambda c, x: (c * x) ** 2, batched=(False, True))
    xs = (3.0, [1.0, 2.0])
    assert [[9.0, [6.0, 18.0]], [36.0, [240.0, 360.0]]] == vjp(f)(xs, [1.0, 10.0])
    assert [[9.0, 24.0], [36.0, 384.0]] == jvp(f)(xs, (1.0, [1.0, 10.0]))
    alone = pygrad.compile(lambda xs: [xs[0] * xs[1], xs[0]], batched=(False,))
    assert [6.0, 2.0, 13.0, 2.0] == flat(vjp(alone)([2.0, 3.0], [1.0, 10.0]))


# --- how --------------------------------------------------------------------------------------------------------------


def test_a_band_is_unrolled_and_what_mixes_all_runs_in_lanes():
    """And by columns where these are fewer: each gives the eager numbers."""
    x = [0.1 * i for i in range(1, 31)]
    for function, at, kind in ((band, x, _Unrolled), (dense, x, _Lanes), (tall, [0.3, 0.8], _Unrolled)):
        transformed = jacobian(one(function))
        assert near(jacobian(function)(at)) == flat(transformed(at))
        assert kind is type(plan_of(transformed))


def wide_state(xs):
    """Outputs one after the other, each of all before: neither by rows nor by columns is there much to leave out."""
    out, state = [], xs[0]
    for _ in range(8):
        for x in xs:
            state = (state * x).sin() + x
        out.append(state)
    return out


def test_a_large_dense_hessian_runs_in_lanes():
    """However short the way to each of its rows is: its numbers alone would be a long tape."""

    def function(xs):
        total = pygrad.sum([x * x for x in xs])
        return total.sin() * total

    x = [0.01 * i for i in range(80)]
    second = hessian(one(function))
    assert near(hessian(function)(x)) == flat(second(x))
    assert _Lanes is type(plan_of(second))


@pytest.mark.parametrize("n", [3, 40])
def test_lanes_go_whichever_way_has_fewer(n):
    """8 outputs of 3 inputs forward, of 40 backward: the same numbers as eagerly."""
    x = [0.5 + 0.01 * i for i in range(n)]
    f = one(wide_state)
    lanes = _Lanes(f, *_parts(f, x), False)
    assert (min(n, 8), 3 if n == 3 else 8) == lanes.seeds.shape
    run = f.prepare((x,), {})
    assert near(jacobian(wide_state)(x)) == flat(lanes.result(run))


def _parts(f, x):
    """What a plan is made of."""
    tape = f.trace(x)
    return Pattern(tape), [(None,) * len(x)], tape.structure


def more_outputs(xs):
    """Twice as many as inputs, all of which each depends on: forward, in lanes."""
    return [f(y) for f in (Value.sin, Value.cos) for y in dense(xs)]


@pytest.mark.parametrize("function", [band, dense, more_outputs])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_bound_jacobian_follows_its_inputs(function, sparse):
    """The caller's memory is read at each call, and `output` has the pattern's numbers, or all."""
    x = np.linspace(0.1, 1.0, 12)
    transformed = jacobian(one(function), sparse=sparse)
    bound = transformed.bind(x)
    output = bound.output
    x[3] = -2.0
    bound.forward()
    expected = np.array(jacobian(function)(x.tolist()))
    wanted = [expected[i, j] for i, j in transformed.pattern(x)] if sparse else expected.ravel()
    assert pytest.approx(wanted, rel=1e-12, abs=1e-13) == list(bound.output)
    assert x is bound.inputs[0]
    assert output is bound.output


def test_lanes_are_bound_for_one_sample():
    """Of a batch they are refused, with what to do; what is unrolled has one result after the other."""
    with pytest.raises(ValueError, match="batched=False"):
        jacobian(pygrad.compile(dense)).bind(np.ones((2, 30)))
    bound = hessian(pygrad.compile(lambda x: x**3)).bind(array("d", [1.0, 2.0]))
    bound.forward()
    assert [6.0, 12.0] == list(bound.output)


def test_unrolling_goes_the_shorter_way():
    """Of a chain with one input by its column, of a sum of many by its row: so many steps more than the function's."""

    def chain(xs):
        out = [xs[0]]
        for _ in range(12):
            out.append(out[-1].sin())
        return out

    for function, x in ((chain, [0.5]), (lambda xs: pygrad.sum([x.sin() for x in xs]).exp(), [0.1] * 12)):
        transformed = jacobian(one(function))
        transformed(x)
        plan = plan_of(transformed)
        assert _Unrolled is type(plan)
        assert len(plan.compiled.tape) <= 4 * len(one(function).trace(x))


def test_a_single_call_is_not_unrolled():
    """Recording the derivatives as well costs more than one run of lanes saves."""
    transformed = CompiledJacobian(CompiledOnce(band), band, jacobian(band), True, unrolls=False)
    transformed([0.1, 0.2, 0.3])
    assert _Lanes is type(plan_of(transformed))


# --- sparse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("n", [1, 2, 30, 1300])
def test_a_band(compiled, n):
    """A row for each output, a column for each input, and nothing but the band; more outputs than a set has bits."""
    x = np.linspace(0.1, 1.0, n)
    found = jacobian(one(band) if compiled else band, sparse=True)(x)
    assert ((n, n), max(1, 3 * n - 2)) == (found.shape, found.nnz)
    assert "csr" == found.format
    rows = [np.zeros(n) for _ in range(3)]
    rows[0][1:], rows[1][1:], rows[2][:-1] = x[1:], x[:-1], -np.cos(x[1:])
    for k, diagonal in zip((-1, 0, 1), (rows[0][1:], rows[1], rows[2][:-1])):
        assert pytest.approx(diagonal, rel=1e-12) == found.diagonal(k)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("function, count", [(arrow, 3 * 20 - 2), (rosenbrock, 3 * 20 - 2)])
def test_hessians(compiled, function, count):
    """An arrow and a band: the eager Hessian's numbers, and no others."""
    x = [0.1 * i for i in range(1, 21)]
    found = hessian(one(function) if compiled else function, sparse=True)(x)
    assert near(hessian(function)(x)) == found.toarray().ravel().tolist()
    assert count == found.nnz


def test_a_sparse_batch_is_a_list():
    """One array a sample."""
    found = hessian(pygrad.compile(arrow), sparse=True)(np.array(BATCH))
    assert [near(hessian(arrow)(x)) for x in BATCH] == [h.toarray().ravel().tolist() for h in found]


def test_several_arguments_stand_side_by_side():
    """Columns are the numbers of all arguments, in their order; constants and unused ones have none."""
    found = jacobian(lambda a, b: [[a * b[1]], 3.0, b[1]], sparse=True)(2.0, [5.0, 7.0])
    assert [[7.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]] == found.toarray().tolist()
    assert 3 == found.nnz


@pytest.mark.parametrize("function", [lambda xs: [1.0, 2.0], lambda xs: [pygrad.less(x, 1.0) for x in xs]])
def test_nothing_but_zeros(function):
    """Results that have no derivatives: no numbers, or all 0."""
    for f in (function, one(function)):
        found = jacobian(f, sparse=True)([3.0, 4.0])
        assert ((2, 2), 0) == (found.shape, found.nnz)
    assert [[0.0, 0.0], [0.0, 0.0]] == jacobian(one(function))([3.0, 4.0])


@pytest.mark.parametrize("function", [band, dense])
def test_a_result_is_the_callers_own(function):
    """What is done to an array of SciPy changes no other."""
    f = jacobian(one(function), sparse=True)
    x = [0.0, 2.0, 3.0]
    first = f(x)
    first.data[:] = 0.0
    first.eliminate_zeros()
    first.indices[:] = 7
    assert near(jacobian(function)(x)) == f(x).toarray().ravel().tolist()


def test_an_eager_sparse_jacobian_may_decide_by_its_numbers():
    """It is recorded for that call alone, so it warns of nothing, and follows a branch anew."""
    f = jacobian(lambda xs: [x * 2.0 if x.data > 0 else x * x for x in xs], sparse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [2.0, -6.0] == f([1.0, -3.0]).diagonal().tolist()
        assert [-2.0, 2.0] == f([-1.0, 3.0]).diagonal().tolist()


@pytest.mark.parametrize("function", [band, one(band)])
def test_sparse_takes_numbers(function):
    """Values are refused, and so is recording it: what it gives has no derivatives."""
    f = jacobian(function, sparse=True)
    with pytest.raises(TypeError, match="sparse=True gives numbers"):
        f([Value(1.0), Value(2.0)])
    with pytest.raises(TypeError, match="sparse=True gives numbers"):
        one(lambda xs: f(xs)[0])([1.0, 2.0])


def test_an_index_out_of_range_chooses_nothing():
    """No value has a derivative then, as in a graph whose index is changed: see pygrad.take."""
    f = jacobian(one(lambda xs: [pygrad.take([xs[0], xs[1]], xs[2]), xs[1] * 2.0]))
    assert [[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]] == f([5.0, 6.0, 1.0])
    assert [[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]] == f([5.0, 6.0, 2.0])


def poles(xs):
    """As `dense`, but one output has an infinite slope at 0."""
    *others, _ = dense(xs)
    return [*others, xs[0].sqrt() * xs[-1]]


@pytest.mark.parametrize("function", [poles, lambda xs: [y * x.sqrt() for y, x in zip(tall(xs[:2]), [*xs] * 20)]])
def test_an_infinite_slope_spoils_its_own_numbers_only(function):
    """Where eager rows are finite, those in lanes are: dense, sparse, of a batch, and bound."""
    x = [0.0, 0.3, 0.2, 0.7, 0.5, 0.25, 0.125, 0.9, 0.6, 0.1, 0.15, 0.35]
    expected = np.array(jacobian(function)(x))
    assert not np.isfinite(expected).all()
    assert np.isfinite(expected).any()
    f = one(function)
    pattern, structures, structure = _parts(f, x)
    for sparse in (False, True):
        lanes = _Lanes(f, pattern, structures, structure, sparse)
        found = lanes.result(f.prepare((x,), {}))
        np.testing.assert_allclose(found.toarray() if sparse else found, expected, rtol=1e-12)
        bound = lanes.bind(f.prepare((np.array(x),), {}))
        bound.forward()
        inside = [expected[i, j] for i, j in zip(pattern.row_of_each(), pattern.columns)]
        np.testing.assert_allclose(bound.output, inside if sparse else expected.ravel(), rtol=1e-12)
    batch = jacobian(pygrad.compile(function))([x, [0.5] * 12])
    np.testing.assert_allclose(batch[0], expected, rtol=1e-12)


def test_masked_arrays_are_refused():
    """Nobody knows what stands in their gaps."""
    with pytest.raises(TypeError, match="filled"):
        gradient(one(scalar))(np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]))


# --- patterns and colors ----------------------------------------------------------------------------------------------

NESTED = st.recursive(
    st.integers(0, 5),
    lambda inner: st.tuples(st.sampled_from(["add", "mul", "sin", "less", "take", "max"]), inner, inner),
    max_leaves=8,
)


def evaluate(tree, xs):
    """A function of Values from a tree of ops."""
    if isinstance(tree, int):
        return xs[tree]
    name, a, b = tree[0], evaluate(tree[1], xs), evaluate(tree[2], xs)
    return {
        "add": lambda: a + b,
        "mul": lambda: a * b,
        "sin": lambda: a.sin() + b,
        "less": lambda: pygrad.less(a, b) * a,
        "take": lambda: pygrad.where(pygrad.less(a, b), a, b),
        "max": lambda: pygrad.maximum(a, b),
    }[name]()


@given(st.lists(NESTED, min_size=1, max_size=5))
def test_what_is_not_in_the_pattern_is_zero(trees):
    """Of any function: dense, sparse and eager agree, and the pattern is no larger than what is written down."""

    def function(xs):
        return [evaluate(tree, xs) for tree in trees]

    x = [0.3, -0.7, 1.1, 0.9, -1.4, 0.2]
    expected = np.array(jacobian(function)(x))
    f = one(function)
    sparse = jacobian(f, sparse=True)
    assert near(expected.tolist()) == sparse(x).toarray().ravel().tolist()
    assert near(expected.tolist()) == flat(jacobian(f)(x))
    assert near(expected.tolist()) == jacobian(function, sparse=True)(x).toarray().ravel().tolist()
    for i, j in sparse.pattern(x):
        assert str(j) in repr(trees[i])


def test_later_outputs_do_not_get_what_earlier_ones_shared():
    """A set has 512 outputs; an operation that the first of those share with the next is found empty again."""

    def shared(xs):
        t = xs[0].sin()
        return [t * xs[1], *[xs[1] * k for k in range(2, 514)], t]

    found = jacobian(one(shared), sparse=True).pattern([0.5, 2.0])
    assert [(0, 0), (0, 1), *[(i, 1) for i in range(1, 513)], (513, 0)] == found


def test_steps_of_a_pattern():
    """One for each output that an operation leads to, or for each input that leads to it; the latter if that pays."""

    def chain(xs):
        out = [xs[0].sin()]
        for _ in range(11):
            out.append(out[-1].sin())
        return out

    def steps(function, n):
        pattern = Pattern(one(function).trace([0.1] * n))
        return pattern.row_steps, pattern.column_steps

    def funnel(xs):
        s = pygrad.sum([x.sin() for x in xs])
        return [s.sin(), s.cos(), s.exp(), s.tanh()]

    assert (78.0, 12.0) == steps(chain, 1)
    assert (4.0 * 602, 600 + 600 + 4.0 * 600) == steps(funnel, 600)
    assert (5.0, math.inf) == steps(lambda xs: [x.sin() for x in xs], 5)


@given(st.lists(st.lists(st.integers(0, 9), max_size=4, unique=True), max_size=30))
def test_lines_of_one_color_have_nothing_in_common(lines):
    """And colors are counted from 0."""
    found = colors(lines, 10)
    for color in range(len(lines)):
        numbers = [number for line, c in zip(lines, found) if c == color for number in line]
        assert len(numbers) == len(set(numbers))
    assert set(range(len(set(found)))) == set(found)


def test_a_band_has_three_colors():
    """However long it is."""
    assert {0, 1, 2} == set(colors([[j for j in (i - 1, i, i + 1) if 0 <= j < 500] for i in range(500)], 500))


def test_no_memory_for_a_pattern():
    """Each allocation that fails is a MemoryError, and the next call works."""
    f = jacobian(one(band), sparse=True)
    x = [1.0, 2.0, 3.0]
    run = f._base.prepare((x,), {})
    for n in (1, 2, 3):
        lib.pg_fail_allocation(n)
        with pytest.raises(MemoryError):
            Pattern(run.tape)
    lib.pg_fail_allocation(0)
    assert 7 == f(x).nnz
