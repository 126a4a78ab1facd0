"""A loaded function has all transforms: its tapes are graphs of Values again, equal to those of the saved function."""

import pickle
import random
import sys
from collections import namedtuple

import pytest
from carried import expression, softclip

import pygrad
from pygrad.nn import MLP
from tests.tools.programs import apply, rows

pytestmark = pytest.mark.wheel
Value = pygrad.Value
Pair = namedtuple("Pair", "left right")


# --- functions of two numbers that return one -------------------------------------------------------------------------


def plain_expression():
    return expression()[0]


def network():
    random.seed(3)
    mlp = MLP(2, [4, 1], activation="tanh")
    return lambda x, y: (mlp([x, y]) - 1.0) ** 2 + pygrad.sum([p * p for p in mlp.parameters()]) * 0.01


def choices():
    table = [Value(0.1 * i) for i in range(5)]

    def f(x, y):
        index = pygrad.less(x, y) + pygrad.greater_equal(x, 0.0) + pygrad.equal(x, x) + pygrad.not_equal(x, y)
        inner = pygrad.where(pygrad.less_equal(y, 0.2), x * y * x, pygrad.stop_gradient(x) + y * y)
        return pygrad.take(table, index) * inner + pygrad.take([x, y * x, x * y * y], pygrad.less(x, y))

    return f


def declared():
    a = Value(0.5)
    return lambda x, y: softclip(x * a) * y + softclip(y) ** 2


def hidden():
    """Interior nodes and leaves that were there before, some of which no Value is left of."""
    a = Value(1.25)
    half, gone = a * 0.5, Value(7.0) * a
    return lambda x, y: x * half * x + gone * y * x


MADE = [plain_expression, network, choices, declared, hidden]
POINTS = [(0.3, 0.7), ([0.3, -0.6, 1.2], [0.7, 0.1, 0.2])]  # one sample, and three


def of_product(transform, *vs):
    return lambda f: lambda *xs: transform(f)(xs, *vs)


def batch_of(x, v):
    return [v] * len(x) if isinstance(x, list) else v


TRANSFORMS = {
    "gradient": lambda f: pygrad.gradient(f, per_sample=False),
    "gradient of each": lambda f: pygrad.gradient(f, 1, per_sample=True),
    "value_and_grad": lambda f: pygrad.value_and_grad(f, per_sample=False),
    "jacobian": pygrad.jacobian,
    "sparse": lambda f: lambda *xs: dense(pygrad.jacobian(f, sparse=True)(*xs)),
    "hessian": pygrad.hessian,
    "sparse hessian": lambda f: lambda *xs: dense(pygrad.hessian(f, sparse=True)(*xs)),
    "jvp": lambda f: lambda *xs: pygrad.jvp(f)(xs, (batch_of(xs[0], 0.5), batch_of(xs[0], 2.0))),
    "vjp": lambda f: lambda *xs: pygrad.vjp(f)(xs, batch_of(xs[0], 1.5)),
    "hvp": lambda f: lambda *xs: pygrad.hvp(f, argnums=1)(xs, batch_of(xs[0], 1.5)),
    "taylor": lambda f: pygrad.taylor(f, 4),
    "derivative": lambda f: pygrad.derivative(f, 2, argnums=1),
    "of a gradient": lambda f: pygrad.jacobian(pygrad.gradient(f, 0, per_sample=True)),
    "backward": lambda f: lambda *xs: f.backward(*xs, inputs=True),
}

SECOND = {"hessian", "sparse hessian", "hvp", "taylor", "derivative", "of a gradient"}


def dense(found):
    return [dense(part) for part in found] if isinstance(found, list) else found.toarray().tolist()


def flat(found):
    return [x for part in found for x in flat(part)] if isinstance(found, (list, tuple)) else [found]


@pytest.fixture(params=["a file", "a pickle"])
def loaded(request, tmp_path):
    """A function that carries a compiled function out of the process and back."""

    def through_a_file(f):
        f.save(tmp_path / "function")
        return pygrad.load(tmp_path / "function")

    return through_a_file if request.param == "a file" else lambda f: pickle.loads(pickle.dumps(f))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_all_transforms_have_the_bits_of_the_saved_function(make, name, loaded):
    """Without passes over the tape, a loaded function has the graph of the saved one."""
    pytest.importorskip("scipy" if "sparse" in name else "math")
    f = pygrad.compile(make(), passes=())
    f.trace(*POINTS[0])
    g, transform = loaded(f), TRANSFORMS[name]
    if make is declared and name in SECOND:
        with pytest.raises(TypeError, match="only the first derivative of a custom op: .* pygrad.hessian"):
            transform(g)(*POINTS[0])
        return

    for point in POINTS:
        assert transform(f)(*point) == transform(g)(*point)


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_passes_change_rounding_only(make, loaded):
    """With all passes sums may be added up in another sequence."""
    f = pygrad.compile(make())
    f.trace(*POINTS[0])
    g = loaded(f)

    for name, transform in TRANSFORMS.items():
        if "sparse" not in name and (make is not declared or name not in SECOND):
            for point in POINTS:
                assert flat(transform(f)(*point)) == pytest.approx(flat(transform(g)(*point)), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", [*rows(1), *rows(2), "sum", "dot", "take"])
def test_every_op(name):
    """Each op of the table goes from a tape back into a graph: its second derivatives too."""
    count = 2 if name not in rows(1) else 1

    def f(x, y):
        if name == "take":
            return apply(pygrad, name, pygrad.less(x, y), x * y, x / y)
        return apply(pygrad, name, *[x * 1.25, y * x][:count]) * x

    f = pygrad.compile(f, passes=())
    f.trace(0.3, 0.7)
    g = pickle.loads(pickle.dumps(f))

    for transform in pygrad.jacobian, pygrad.hessian:
        for point in (0.3, 0.7), (0.9, 0.2):
            assert repr(transform(f)(*point)) == repr(transform(g)(*point))
    assert str(f.tape) == str(pygrad.compile(g.function, passes=()).trace(0.3, 0.7))


STRUCTURES = {
    "lists": (lambda xs, y: [xs[0] * xs[1][0] * y, [xs[1][1] ** 2 * y]], ([2.0, [3.0, 4.0]], 5.0)),
    "a dict": (lambda d, k: d["a"] * d["b"][0] * k + d["b"][1] ** 3, ({"a": 2.0, "b": [3.0, 1.5]}, 5.0)),
    "a namedtuple": (lambda p, k: p.left * p.right**2 * k, (Pair(2.0, 3.0), 5.0)),
    "static": (lambda x, kind: x**3 if kind == "cube" else x * 2.0, (2.0, "cube")),
    "static in a dict": (lambda d, k: d["x"] ** 3 * k if d["up"] else k, ({"x": 2.0, "up": True}, 3.0)),
    "a dict out": (lambda x, y: {"sum": x * y + y, "both": [x * x, y * x]}, (2.0, 3.0)),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure(name):
    """Lists, records and static arguments, in and out, are found again; argnums too."""
    function, args = STRUCTURES[name]
    f = pygrad.compile(function, batched=False, passes=())
    f.trace(*args)
    g = pickle.loads(pickle.dumps(f))

    assert pygrad.jacobian(f)(*args) == pygrad.jacobian(g)(*args)
    assert pygrad.jacobian(f, argnums=0)(*args) == pygrad.jacobian(g, argnums=0)(*args)
    assert pygrad.jvp(f, argnums=0)(args, args[0]) == pygrad.jvp(g, argnums=0)(args, args[0])


def test_keywords(loaded):
    """Keywords and defaults are bound as the saved function bound them."""
    f = pygrad.compile(lambda x, y=2.0, *, k: x**2 * y * k, passes=())
    for given in {"k": 3.0}, {"y": 5.0, "k": 3.0}:
        f.trace(1.5, **given)
    g = loaded(f)

    for given in {"k": 3.0}, {"y": 5.0, "k": 3.0}:
        assert pygrad.hessian(f)(1.5, **given) == pygrad.hessian(g)(1.5, **given)


def test_aux(loaded):
    """A pair that was saved is a pair for has_aux."""
    f = pygrad.compile(lambda x, y: (x**2 * y, {"of": [x * y, y]}), passes=())
    f.trace(2.0, 3.0)
    g = loaded(f)

    for transform in pygrad.gradient, pygrad.value_and_grad, pygrad.hessian, pygrad.jacobian:
        options = {"per_sample": True} if "grad" in transform.__name__ else {}
        for point in POINTS:
            assert transform(f, has_aux=True, **options)(*point) == transform(g, has_aux=True, **options)(*point)


def test_within_other_functions(loaded):
    """It is recorded and transformed within another function, with its parameters; called with Values as such it is
    refused as ever."""
    w = Value(2.0)
    f = pygrad.compile(lambda x, y: w * x**2 * y)
    f.trace(1.0, 2.0)
    g = loaded(f)

    for outer in pygrad.hessian(lambda x: g(x, x * 2.0)), pygrad.compile(pygrad.hessian(lambda x: g(x, x * 2.0))):
        assert 72.0 == pytest.approx(outer(3.0))
    (of_w,) = g.parameters()
    assert 18.0 == pygrad.compile(lambda x: g(x, 1.0)).backward(3.0)
    assert 0.0 == of_w.grad - 9.0
    assert [pygrad.gradient(lambda x: g(x, x))(2.0)] == [24.0]
    with pytest.raises(TypeError, match="was loaded, .* takes only numbers in these structures"):
        g(Value(1.0), Value(2.0))
    with pytest.raises(TypeError, match="was loaded, .* takes only numbers in these structures"):
        pygrad.gradient(g)([1.0], 2.0, 3.0)


def test_parameters_live_on():
    """Derivatives read the parameters of the loaded function anew, and no hidden leaf becomes a parameter."""
    w, gone = Value(2.0), Value(7.0) * 1.0
    f = pygrad.compile(lambda x: w * x**3 * gone)
    f.trace(1.0)
    g = pickle.loads(pickle.dumps(f))
    (v,) = [p for p in g.parameters() if p.data == 2.0]  # the portable proxy keeps the other leaf alive
    hessian, gradient = pygrad.hessian(g), pygrad.gradient(g)

    assert [84.0, 42.0] == [hessian(1.0), gradient(1.0)]
    v.data = 10.0
    assert [420.0, 210.0] == [hessian(1.0), gradient(1.0)]
    assert set(map(id, g.parameters())) == set(map(id, gradient.parameters()))


def test_an_index_out_of_range():
    """It is an IndexError in a transform of a loaded function, as in that of the saved one."""
    f = pygrad.compile(lambda x, i: pygrad.take([x, x * x], i), batched=False)
    f.trace(1.0, 0.0)
    g = pickle.loads(pickle.dumps(f))

    for transformed in pygrad.hessian(f, argnums=0), pygrad.hessian(g, argnums=0):
        with pytest.raises(IndexError):
            transformed(1.0, 2.0)


def test_a_long_tape():
    """A graph of many operations needs no recursion."""

    def f(x):
        for _ in range(20 * sys.getrecursionlimit() // 10):
            x = x.sin()
        return x

    f = pygrad.compile(f, passes=())
    f.trace(1.0)
    g = pickle.loads(pickle.dumps(f))

    assert pygrad.derivative(f)(0.5) == pygrad.derivative(g)(0.5)


def test_minimize_and_gradcheck_take_it():
    """What calls functions on Values calls a loaded one too."""
    f = pygrad.compile(lambda x: (x[0] - 1.0) ** 2 + (x[1] + 2.0) ** 2, batched=False)
    f.trace([0.0, 0.0])
    g = pickle.loads(pickle.dumps(f))

    pygrad.gradcheck(g, [0.3, 0.4])
    pytest.importorskip("scipy")
    assert [1.0, -2.0] == pytest.approx(list(pygrad.minimize(g, [0.0, 0.0]).x), abs=1e-5)


def test_a_custom_op_has_its_first_derivative_only(tmp_path):
    """The second one is refused in eager code too, and in what is made of a derivative that was saved."""
    f = pygrad.compile(declared())
    f.trace(0.3, 0.7)
    g = pickle.loads(pickle.dumps(f))
    outer = lambda x: g(x, x * x) * 2.0  # noqa: E731
    gradient = pygrad.jacobian(g)
    gradient(0.3, 0.7)

    assert pygrad.gradient(lambda x: f(x, x * x) * 2.0)(0.3) == pytest.approx(pygrad.gradient(outer)(0.3))
    for transform in pygrad.hessian, lambda f: pygrad.derivative(f, 3), lambda f: pygrad.taylor(f, 2):
        with pytest.raises(TypeError, match="first derivative of a custom op|has a _backward"):
            transform(outer)(0.3)
    h = pygrad.compile(pygrad.gradient(outer))
    h.trace(0.3)
    with pytest.raises(TypeError, match="only the first derivative of a custom op"):
        pygrad.gradient(pickle.loads(pickle.dumps(h)), per_sample=True)(0.3)
    of_first = pygrad.gradient(f, 0, per_sample=True)
    of_first.trace(0.3, 0.7)
    of_first.save(tmp_path / "first")
    loaded = pygrad.gradient(pygrad.load(tmp_path / "first"), per_sample=True)
    assert pygrad.hessian(f)(0.3, 0.7)[0] == pytest.approx(loaded(0.3, 0.7))
