"""argnums, keywords, has_aux and per_sample of the transforms: of eager functions, and of compiled ones."""

import collections
import copy
import pickle
import warnings

import numpy as np
import pytest

import pygrad
from pygrad import Value
from pygrad.calculus import compiled_gradient

Pair = collections.namedtuple("Pair", "u v")


def one(function, **options):
    return pygrad.compile(function, batched=False, **options)


BOTH = pytest.mark.parametrize("kind", [lambda f: f, one], ids=["eager", "compiled"])


def of_three(x, y, z):
    """x^2 y^3, and z that is no number for it."""
    return x**2 * y**3 + (z[0] if isinstance(z, list) else z)


def flat(x):
    """All numbers in it, in a list."""
    if isinstance(x, dict):
        x = list(x.values())
    return [n for part in x for n in flat(part)] if isinstance(x, (list, tuple, np.ndarray)) else [x]


# --- argnums ----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "argnums, expected",
    [(None, [32.0, 48.0, 1.0]), (0, 32.0), (1, 48.0), (-1, 1.0), ((0,), [32.0]), ((1, 0), [48.0, 32.0])],
)
def test_gradients_by_some_arguments(kind, argnums, expected):
    """Of one a bare gradient, of a tuple of places a list in that sequence."""
    f = kind(of_three)
    assert expected == pygrad.gradient(f, argnums)(2.0, 2.0, 5.0)
    assert [37.0, expected] == list(pygrad.value_and_grad(f, argnums)(2.0, 2.0, 5.0))
    assert expected == pygrad.jacobian(f, argnums=argnums)(2.0, 2.0, 5.0)


@BOTH
def test_second_derivatives_by_some_arguments(kind):
    """hessian, hvp, jvp, vjp, derivative, taylor: as if the others were constants."""
    f, at = kind(of_three), (2.0, 2.0, 5.0)
    assert 16.0 == pygrad.hessian(f, argnums=0)(*at)
    assert [[16.0, 48.0], [48.0, 48.0]] == pygrad.hessian(f, argnums=(0, 1))(*at)
    assert [[48.0, 48.0], [48.0, 16.0]] == pygrad.hessian(f, argnums=(1, 0))(*at)
    assert 48.0 * 3.0 == pygrad.hvp(f, argnums=1)(at, 3.0)
    assert [48.0 + 160.0, 48.0 * 11.0] == list(pygrad.hvp(f, argnums=(0, 1))(at, (10.0, 1.0)))
    assert [37.0, 32.0 * 3.0] == list(pygrad.jvp(f, argnums=0)(at, 3.0))
    assert [37.0, 48.0 * 3.0] == list(pygrad.vjp(f, argnums=1)(at, 3.0))
    assert [37.0, [144.0, 3.0]] == [
        list(x) if isinstance(x, tuple) else x for x in pygrad.vjp(f, argnums=(1, 2))(at, 3.0)
    ]
    assert [48.0, 16.0] == [pygrad.derivative(f, argnums=1)(*at), pygrad.derivative(f, 2)(*at)]
    assert [37.0, 48.0, 24.0, 4.0] == pygrad.taylor(f, 3, argnums=1)(*at)


@BOTH
def test_sparse_jacobians_by_some_arguments(kind):
    """Columns of these arguments alone, in the sequence of argnums."""
    f = kind(lambda xs, ys: [xs[0] * ys[0], xs[1] * ys[1]])
    at = [2.0, 3.0], [5.0, 7.0]
    assert [[5.0, 0.0], [0.0, 7.0]] == pygrad.jacobian(f, sparse=True, argnums=0)(*at).toarray().tolist()
    both = pygrad.jacobian(f, sparse=True, argnums=(1, 0))(*at)
    assert [[2.0, 0.0, 5.0, 0.0], [0.0, 3.0, 0.0, 7.0]] == both.toarray().tolist()
    second = kind(lambda xs, c: pygrad.sum([x * x * c for x in xs]))
    assert [[4.0, 0.0], [0.0, 4.0]] == pygrad.hessian(second, sparse=True, argnums=0)(
        [1.0, 1.0], 2.0
    ).toarray().tolist()
    assert [(0, 0), (1, 1)] == pygrad.jacobian(one(f) if kind is not one else f, argnums=1).pattern(*at)


@pytest.mark.parametrize("n", [2, 40])
def test_jacobians_in_lanes_by_some_arguments(n):
    """Backward and forward."""

    def dense(c, xs):
        total = pygrad.sum([x * x for x in xs]) * c
        for _ in range(20):
            total = (total * 1.1).sin() + total
        return [(total * x).tanh() for x in xs] * 2

    x = [0.1 + 0.01 * i for i in range(n)]
    f = one(dense)
    for argnums in (0, 1):
        transformed = pygrad.jacobian(f, argnums=argnums)
        expected = flat(pygrad.jacobian(dense, argnums=argnums)(0.5, x))
        assert pytest.approx(expected, rel=1e-12) == flat(transformed(0.5, x))
        bound = transformed.bind(0.5, np.array(x))
        bound.forward()
        assert pytest.approx(expected, rel=1e-12) == list(bound.output)


def test_other_arguments_are_handed_on_as_they_are():
    """Objects, text, arrays, sets; Values make the result a Value."""
    seen = []

    def f(x, *others):
        seen.append(others)
        return x * x

    others = (object(), "text", {1, 2}, np.ones(2), 5, (1.0, [2.0]))
    assert 6.0 == pygrad.gradient(f, argnums=0)(3.0, *others)
    assert all(a is b for a, b in zip(seen[0], others))
    w = Value(2.0)
    found = pygrad.gradient(lambda x, w: x * x * w, argnums=0)(3.0, w)
    assert (Value, 12.0) == (type(found), found.data)
    found.backward()
    assert 6.0 == w.grad
    nested = pygrad.gradient(lambda x, ws: x * ws["w"], argnums=0)(3.0, {"w": w})
    assert Value is type(nested)


@BOTH
def test_argnums_are_checked(kind):
    """No argument there, twice the same, a bool, a float; a static argument."""
    f = kind(lambda x, flag: x * x)
    with pytest.raises(ValueError, match="argnums=2 names no argument: the function was called with 2"):
        pygrad.gradient(f, 2)(1.0, True)
    with pytest.raises(ValueError, match="argnums=-3 names no argument"):
        pygrad.gradient(f, -3)(1.0, True)
    with pytest.raises(ValueError, match="names an argument twice"):
        pygrad.gradient(f, (0, 0))
    for wrong in (True, 0.5, "x"):
        with pytest.raises(TypeError, match="argnums"):
            pygrad.gradient(f, wrong)
    with pytest.raises(TypeError, match="not bool: it is static"):
        pygrad.gradient(f, 1)(1.0, True)
    with pytest.raises(TypeError, match="by one argument: argnums must be its place"):
        pygrad.derivative(f, argnums=(0,))


def test_an_argument_of_another_kind_names_argnums():
    """It is told what to do."""
    with pytest.raises(TypeError, match="not object: name the arguments to differentiate with argnums="):
        pygrad.gradient(lambda x, o: x)(1.0, object())


# --- keywords ---------------------------------------------------------------------------------------------------------


@BOTH
def test_keywords(kind):
    """By keyword is as by place; what has no place is handed on; after a skipped default."""
    f = kind(lambda x, y=3.0, *, scale=1.0: x * x * y * scale)
    assert [12.0, 4.0] == pygrad.gradient(f)(2.0, y=3.0) == pygrad.gradient(f)(2.0, 3.0)
    assert [12.0, 24.0] == [pygrad.gradient(f)(2.0), pygrad.gradient(f)(2.0, scale=2.0)]
    assert [24.0, 8.0] == pygrad.gradient(f)(y=3.0, x=2.0, scale=2.0)
    assert [12.0, 12.0] == [pygrad.hessian(f, argnums=0)(2.0, scale=2.0), pygrad.hvp(f)(2.0, 1.0, scale=2.0)]
    assert [24.0, 24.0] == list(pygrad.jvp(f)(2.0, 1.0, scale=2.0))
    g = kind(lambda x, a=1.0, b=1.0: x * a * b)
    assert [5.0, 2.0] == pygrad.gradient(g)(2.0, b=5.0)
    assert 2.0 == pygrad.gradient(g, argnums=2)(2.0, b=5.0) == pygrad.gradient(g, argnums=-1)(2.0, b=5.0)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        pygrad.gradient(f)(2.0, z=1.0)


# --- has_aux ----------------------------------------------------------------------------------------------------------


def with_aux(x, y):
    return x * y, {"sum": x + y, "list": [x, 1.0], "name": "it"}


AUX = {"sum": 5.0, "list": [2.0, 1.0], "name": "it"}


@BOTH
def test_aux(kind):
    """A function's second result comes back with numbers."""
    f, at = kind(with_aux), (2.0, 3.0)
    assert ([3.0, 2.0], AUX) == pygrad.gradient(f, has_aux=True)(*at)
    assert ((6.0, AUX), [3.0, 2.0]) == pygrad.value_and_grad(f, has_aux=True)(*at)
    assert ([3.0, 2.0], AUX) == pygrad.jacobian(f, has_aux=True)(*at)
    assert ([[0.0, 1.0], [1.0, 0.0]], AUX) == pygrad.hessian(f, has_aux=True)(*at)
    assert (6.0, 23.0, AUX) == pygrad.jvp(f, has_aux=True)(at, (1.0, 10.0))
    found = pygrad.vjp(f, has_aux=True)(at, 1.0)
    assert (6.0, [3.0, 2.0], AUX) == (found[0], list(found[1]), found[2])
    found = pygrad.hvp(f, has_aux=True)(at, (1.0, 10.0))
    assert ([10.0, 1.0], AUX) == (list(found[0]), found[1])
    assert (3.0, AUX) == pygrad.derivative(f, has_aux=True)(*at)
    assert ([6.0, 3.0, 0.0], AUX) == pygrad.taylor(f, 2, has_aux=True)(*at)
    sparse, aux = pygrad.jacobian(f, sparse=True, has_aux=True)(*at)
    assert ([[3.0, 2.0]], AUX) == (sparse.toarray().tolist(), aux)


def test_aux_of_any_kind():
    """Objects as they are; arrays of Values are arrays of numbers; within transforms they are Values."""
    thing = object()
    f = lambda x: (x * x, (thing, np.array([x, x]), Pair(x, None), {1: [x]}, 3))  # noqa: E731
    slope, (same, array, pair, record, number) = pygrad.gradient(f, has_aux=True)(3.0)
    assert (6.0, thing, [3.0, 3.0], Pair(3.0, None), {1: [3.0]}, 3) == (
        slope, same, array.tolist(), pair, record, number,
    )  # fmt: skip
    inner = pygrad.gradient(lambda x: pygrad.gradient(lambda y: (y**3, y), has_aux=True)(x)[1] ** 2)
    assert 6.0 == inner(3.0)
    with pytest.raises(TypeError, match="must return a pair"):
        pygrad.gradient(lambda x: x, has_aux=True)(1.0)


# --- the gradient of a batch ------------------------------------------------------------------------------------------


@pytest.fixture
def f():
    return pygrad.compile(lambda x, c: x * c * c)


@pytest.mark.parametrize("reduction, share", [(None, 0.5), ("mean", 0.5), ("sum", 1.0)])
def test_the_gradient_of_a_reduced_batch(reduction, share):
    """A shared argument has that of the reduced number, a sample its own row of it. No parameter's gradient moves."""
    w = Value(1.0)
    f = pygrad.compile(lambda x, c: x * c * c * w, reduction=reduction)
    g = pygrad.gradient(f, per_sample=False)
    assert [[9.0 * share, 9.0 * share], 18.0 * share] == g([1.0, 2.0], 3.0)
    assert 18.0 * share == pygrad.gradient(f, 1, per_sample=False)([1.0, 2.0], 3.0)
    assert [18.0 * share] == pygrad.gradient(f, (1,), per_sample=False)([1.0, 2.0], 3.0)
    assert [27.0 * share, [[9.0 * share] * 2, 18.0 * share]] == pygrad.value_and_grad(f, per_sample=False)(
        [1.0, 2.0], 3.0
    )
    found = pygrad.gradient(f, 0, per_sample=False)(np.array([1.0, 2.0]), 3.0)
    assert (np.ndarray, [9.0 * share] * 2) == (type(found), found.tolist())
    assert 0.0 == w.grad
    w.data = 2.0
    assert [[18.0 * share, 18.0 * share], 36.0 * share] == g([1.0, 2.0], 3.0)


def test_the_gradient_of_each_sample(f):
    """With per_sample, or where nothing is reduced."""
    expected = [[9.0, 6.0], [9.0, 12.0]]
    assert expected == pygrad.gradient(f, per_sample=True)([1.0, 2.0], 3.0)
    assert expected == pygrad.gradient(pygrad.compile(f.function, reduction="none"))([1.0, 2.0], 3.0)
    assert [9.0, 6.0] == pygrad.gradient(f)(1.0, 3.0)


def test_the_change_is_told_once(f, monkeypatch):
    """By a FutureWarning that names per_sample and this line."""
    monkeypatch.setattr(compiled_gradient, "_has_warned", False)
    with pytest.warns(FutureWarning, match="per_sample=True gives one for each sample") as told:
        assert [[4.5, 4.5], 9.0] == pygrad.gradient(f)([1.0, 2.0], 3.0)
    assert __file__ == told[0].filename
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [[4.5, 4.5], 9.0] == pygrad.gradient(f)([1.0, 2.0], 3.0)


def test_reduced_gradients_are_bound(f):
    """The caller's memory is read anew; the output stays the same array."""
    x, c = np.array([1.0, 2.0]), np.array(3.0)
    bound = pygrad.value_and_grad(f, per_sample=False).bind(x, float(c))
    bound.forward()
    output = bound.output
    assert [13.5, 4.5, 4.5, 9.0] == list(output)
    x[1] = 4.0
    bound.inputs[1][0] = 1.0
    bound.forward()
    assert [2.5, 0.5, 0.5, 5.0] == list(output)


def test_reduced_gradients_of_records_by_keyword():
    """And with static arguments; a leaf for each."""
    f = pygrad.compile(lambda p, flag, *, k: p["x"] * p["c"] * k if flag else p["x"])
    g = pygrad.gradient(f, per_sample=False)
    assert {"x": [3.0, 3.0], "c": 3.0} == g({"x": [1.0, 2.0], "c": 3.0}, True, k=2.0)
    assert {"x": [0.5, 0.5], "c": 0.0} == g({"x": [1.0, 2.0], "c": 3.0}, False, k=2.0)


def test_reduced_gradients_travel(f, tmp_path):
    """Pickled they are whole; a file has what is of one sample, and says so; a loaded function has its own."""
    g = pygrad.gradient(f, per_sample=False)
    g([1.0, 2.0], 3.0)
    for other in (pickle.loads(pickle.dumps(g)), copy.deepcopy(g)):
        assert [[4.5, 4.5], 9.0] == other([1.0, 2.0], 3.0)
    g(1.0, 3.0)
    g.save(tmp_path / "g")
    loaded = pygrad.load(tmp_path / "g")
    assert [9.0, 6.0] == loaded(1.0, 3.0)
    with pytest.raises(TypeError, match="save the function itself"):
        loaded([1.0, 2.0], 3.0)
    f.save(tmp_path / "f")
    assert [[4.5, 4.5], 9.0] == pygrad.gradient(pygrad.load(tmp_path / "f"), per_sample=False)([1.0, 2.0], 3.0)


def test_reduced_gradients_within_a_recording(f):
    """A batch of numbers there is kept, with a warning."""
    g = pygrad.gradient(f, 1, per_sample=False)
    outer = pygrad.compile(lambda x: x * g([1.0, 2.0], 3.0))
    with pytest.warns(pygrad.TraceWarning, match="a gradient over a batch"):
        assert 18.0 == outer(2.0)


def test_aux_of_a_batch():
    """As a compiled function that returned it alone would give it."""
    f = pygrad.compile(lambda x, c: (x * c, {"x": x}), reduction=None)
    assert ([[1.5, 1.5], 1.5], {"x": [1.0, 2.0]}) == pygrad.gradient(f, has_aux=True, per_sample=False)([1.0, 2.0], 3.0)


@BOTH
@pytest.mark.parametrize("transform", [pygrad.gradient, pygrad.jacobian, pygrad.hessian])
def test_an_argument_is_not_named_twice(kind, transform):
    """From the front and from behind."""
    with pytest.raises(ValueError, match="names an argument twice"):
        transform(kind(lambda x: x * x), argnums=(0, -1))(3.0)
    with pytest.raises(ValueError, match="names an argument twice"):
        pygrad.jacobian(kind(lambda xs: [xs[0]]), sparse=True, argnums=(0, -1))([1.0] * 3)


@BOTH
def test_a_name_that_callers_cannot_use(kind):
    """x by position only, and another x by keyword: that one is handed on."""
    f = kind(lambda x, /, **more: x * more["x"])
    assert 3.0 == pygrad.gradient(f)(2.0, x=3.0)


def test_aux_in_sets():
    """Are numbers too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a set of Values finds them by identity
        assert (2.0, {3.0}) == pygrad.gradient(lambda x: (x * 2.0, {x}), has_aux=True)(3.0)


class Holder:
    """Derivatives as class attributes."""

    def __init__(self, w):
        self.w = Value(w)

    def f(self, x):
        return self.w * x**3

    compiled = pygrad.compile(f)
    slope = pygrad.gradient(compiled, per_sample=False)
    second = pygrad.hessian(compiled)
    product = pygrad.jvp(compiled)
    model = pygrad.compile(pygrad.MLP(1, [1]))


def test_derivatives_as_methods():
    """Of the object; each with recordings of its own. A compiled model is no method."""
    a, b = Holder(1.0), Holder(2.0)
    assert [12.0, 24.0] == [a.slope(2.0), b.slope(2.0)]
    assert [[1.5, 6.0], [3.0, 12.0]] == [a.slope([1.0, 2.0]), b.slope([1.0, 2.0])]
    assert [12.0, 24.0] == [a.second(2.0), b.second(2.0)]
    with pytest.raises(TypeError, match=r"as jvp\(obj\.f\)"):
        a.product(1.0, 1.0)
    assert [8.0, 12.0] == list(pygrad.jvp(a.compiled)(2.0, 1.0))
    assert 1 == len(a.model([[1.0]]))


@BOTH
@pytest.mark.parametrize("transform", [pygrad.jvp, pygrad.hvp])
def test_as_many_directions_as_arguments(kind, transform):
    """Too few and too many are told, and what is no direction is named."""
    f = transform(kind(lambda x, y: x * x * y))
    for vs in (1.0, (1.0, 1.0, 1.0), ()):
        with pytest.raises(ValueError, match="vs must be in the structure of xs"):
            f((2.0, 3.0), vs)
    with pytest.raises(TypeError, match="not NoneType"):
        f((2.0, 3.0), (1.0, None))
