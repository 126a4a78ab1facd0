"""Compiled functions and transforms within functions that are transformed or recorded: derivatives by what is around.

A function may find an argument of another one around it, in a closure or an object, and not among its own arguments.
"""

import copy
import dataclasses
import functools
import math
import pickle
import warnings
from array import array

import pytest

import pygrad
from pygrad import Value

# Functions of one number a, which is around an inner function; each is 6 a at 3.0, and its derivative is 6.
WITHIN = {
    "compiled": lambda a: pygrad.compile(lambda x: x * a, batched=False)(6.0),
    "compiled batch": lambda a: pygrad.compile(lambda x: x * a)([5.0, 7.0]),
    "compiled sum": lambda a: pygrad.compile(lambda x: x * a, reduction="sum")([2.0, 4.0]),
    "each of a batch": lambda a: sum(pygrad.compile(lambda x: x * a, reduction="none")([2.0, 4.0]), 0.0),
    "a batch of records": lambda a: sum(pygrad.compile(lambda p: {"y": p["x"] * a})({"x": [2.0, 4.0]})["y"], 0.0),
    "gradient": lambda a: pygrad.gradient(lambda x: x * x * a)(3.0),
    "compiled gradient": lambda a: pygrad.gradient(pygrad.compile(lambda x: x * x * a, batched=False))(3.0),
    "derivative": lambda a: pygrad.derivative(pygrad.compile(lambda x: x**3 * a, batched=False), 2)(1.0),
    "jacobian": lambda a: pygrad.jacobian(lambda x: [x * x * a])(3.0)[0],
    "compiled jacobian": lambda a: pygrad.jacobian(pygrad.compile(lambda x: [x * x * a], batched=False))(3.0)[0],
    "compiled hessian": lambda a: pygrad.hessian(pygrad.compile(lambda x: x**3 * a, batched=False))(1.0),
    "jvp": lambda a: pygrad.jvp(lambda x: x * x * a)(3.0, 1.0)[1],
    "compiled jvp": lambda a: pygrad.jvp(pygrad.compile(lambda x: x * x * a, batched=False))(3.0, 1.0)[1],
    "compiled hvp": lambda a: pygrad.hvp(pygrad.compile(lambda x: x * x * a, batched=False))(3.0, 3.0),
    "compiled vjp": lambda a: pygrad.vjp(pygrad.compile(lambda x: x * x * a, batched=False))(3.0, 1.0)[1],
    "taylor": lambda a: pygrad.taylor(pygrad.compile(lambda x: x * x * a, batched=False), 1)(3.0)[1],
    "aux": lambda a: pygrad.gradient(pygrad.compile(lambda x: (x * x * a, x), batched=False), has_aux=True)(3.0)[0],
    "static": lambda a: pygrad.compile(lambda x, flag: x * a if flag else x, batched=False)(6.0, True),
}

OUTER = {
    "gradient": lambda f: pygrad.gradient(f)(3.0),
    "value_and_grad": lambda f: pygrad.value_and_grad(f)(3.0)[1],
    "derivative": lambda f: pygrad.derivative(f)(3.0),
    "jacobian": lambda f: pygrad.jacobian(f)(3.0),
    "sparse": lambda f: pygrad.jacobian(lambda x: [f(x)], sparse=True)(3.0).toarray()[0, 0],
    "jvp": lambda f: pygrad.jvp(f)(3.0, 1.0)[1],
    "vjp": lambda f: pygrad.vjp(f)(3.0, 1.0)[1],
    "hessian of a square": lambda f: pygrad.hessian(lambda x: f(x) ** 2)(3.0) / 12.0,
    "taylor": lambda f: pygrad.taylor(f, 1)(3.0)[1],
    "objective": lambda f: pygrad.Objective(f, 3.0).jac([3.0])[0],
    "residuals": lambda f: pygrad.Residuals(lambda x: [f(x)], 3.0).jac([3.0])[0, 0],
    "recorded": lambda f: pygrad.gradient(pygrad.compile(f, batched=False))(3.0),
    "checkpoint": lambda f: pygrad.gradient(pygrad.checkpoint(f))(3.0),
    "gradcheck": lambda f: 6.0 * pygrad.gradcheck(f, 3.0),
}


@pytest.mark.parametrize("inner", WITHIN)
@pytest.mark.parametrize("outer", OUTER)
def test_derivatives_by_what_is_around(inner, outer):
    """In every pair."""
    if outer in ("sparse", "objective", "residuals"):
        pytest.importorskip("scipy")
    assert pytest.approx(6.0) == OUTER[outer](WITHIN[inner])


def test_functions_of_an_object():
    """Its attribute is another Value in every call: the compiled method is called in Python then."""

    class Box:
        w = Value(1.0)

        @pygrad.compile(batched=False)
        def value(self, x):
            return x * self.w

    box = Box()
    compiled = pygrad.compile(lambda x: x * box.w, batched=False)

    def f(a):
        box.w = a
        return box.value(2.0) + compiled(4.0)

    assert [6.0, 6.0] == [pygrad.gradient(f)(3.0), pygrad.gradient(f)(4.0)]
    assert (24.0, 6.0) == pygrad.value_and_grad(f)(4.0)
    Box.w = box.w = None


def test_without_such_a_dependence_numbers_are_numbers():
    """A batch runs in C."""
    w = Value(2.0)
    inner = pygrad.compile(lambda x: x * w)
    calls = []
    inner([1.0, 2.0])
    assert 3.0 == pygrad.gradient(lambda a: a * (calls.append(inner([1.0, 2.0])) or calls[-1]))(5.0)
    assert [float] == [type(x) for x in calls]


def test_what_cannot_be_answered_is_refused():
    """Sparse derivatives, and those of a batch."""
    pytest.importorskip("scipy")
    f = lambda x, a: [x * x * a]  # noqa: E731
    for inner in (
        lambda a: pygrad.jacobian(lambda x: f(x, a), sparse=True)(3.0),
        lambda a: pygrad.jacobian(pygrad.compile(lambda x: f(x, a), batched=False), sparse=True)(3.0),
    ):
        with pytest.raises(TypeError, match="sparse=True gives numbers"):
            pygrad.gradient(inner)(2.0)
    for inner in (
        lambda a: pygrad.jacobian(pygrad.compile(lambda x: f(x, a)))([3.0]),
        lambda a: pygrad.gradient(pygrad.compile(lambda x: f(x, a)[0]), per_sample=False)([3.0])[0],
    ):
        with pytest.raises(TypeError, match="one sample at a time"):
            pygrad.gradient(inner)(2.0)


# --- what a decorator hides -------------------------------------------------------------------------------------------


def original(a, b):
    return a / b


def test_a_decorator_has_its_own_parameters():
    """Keywords are bound as Python binds them; a decorator that hands all on has those of what it wraps."""

    @functools.wraps(original)
    def swapped(b, a):
        return original(a, b)

    @functools.wraps(original)
    def fewer(a):
        return original(a, 2.0)

    @functools.wraps(original)
    def generic(*args, **kwargs):
        return original(*args, **kwargs)

    for f in (swapped, pygrad.compile(swapped)):
        assert 3.0 == (f(b=2.0, a=6.0) if f is not swapped else f(Value(2.0), Value(6.0)).data)
        assert [-1.5, 0.5] == pygrad.gradient(f)(b=2.0, a=6.0)
    assert [0.5, 0.5] == [pygrad.gradient(fewer)(a=6.0), pygrad.gradient(pygrad.compile(fewer))(a=6.0)]
    for f in (generic, pygrad.compile(generic)):
        assert [0.5, -1.5] == pygrad.gradient(f)(6.0, b=2.0) == pygrad.gradient(f)(6.0, 2.0)
    power = functools.wraps(lambda x, n: x)(lambda *args, **kwargs: args[0] ** (args[1:] or (kwargs["n"],))[0])
    f = pygrad.compile(power, static=("n",))
    assert [8.0, 9.0] == [f(2.0, 3), f(3.0, n=2)]


def test_a_function_that_wraps_a_method_has_no_self():
    """Its list is data; so is a first argument that is called self and is a number."""

    class M:
        def f(self, x):
            return x

    g = functools.wraps(M.f)(lambda x: x[0] * 2.0)
    f, xs = pygrad.compile(g, batched=False), [1.0]
    assert 2.0 == f(xs)
    xs[0] = 5.0
    assert 10.0 == f(xs)
    for transform in (pygrad.derivative(Value.exp), pygrad.gradient(pygrad.compile(Value.exp, batched=False))):
        assert pytest.approx(math.e) == transform(1.0)


def test_transforms_of_a_method_of_the_class():
    """The object is the first argument; compiled or not."""

    class M:
        def __init__(self):
            self.w = Value(2.0)

        @pygrad.compile
        def compiled(self, x):
            return self.w * x * x

        def plain(self, x):
            return self.w * x * x

    m = M()
    for f in (M.compiled, M.plain):
        assert 12.0 == pygrad.gradient(f)(m, 3.0) == pygrad.gradient(f, 1)(m, 3.0)
        assert 4.0 == pygrad.hessian(f)(m, 3.0)


def test_keywords_of_products_are_handed_on():
    """They are no arguments to differentiate by, eager or compiled."""
    f = lambda x, y=3.0, z=4.0: x * y * z  # noqa: E731
    for g in (f, pygrad.compile(f, batched=False)):
        assert (30.0, 15.0) == tuple(pygrad.vjp(g)(2.0, 1.0, z=5.0)) == tuple(pygrad.vjp(g)(2.0, 1.0, z=5.0, y=3.0))
        assert [30.0, 15.0] == list(pygrad.jvp(g)(2.0, 1.0, z=5.0)) == list(pygrad.jvp(g)(2.0, 1.0, y=3.0, z=5.0))
        assert 0.0 == pygrad.hvp(g)(2.0, 1.0, z=5.0)


def test_aux_of_each_sample():
    """Values and gradients of each, however many samples there are."""
    for reduction in ("mean", "none"):
        f = pygrad.compile(lambda x: (x**2, {"k": x}), reduction=reduction)
        g = pygrad.value_and_grad(f, has_aux=True, per_sample=True)
        for n in (1, 2, 3):
            xs = [float(i) for i in range(1, n + 1)]
            (values, aux), gradients = g(xs)
            assert ([x * x for x in xs], [2.0 * x for x in xs]) == (list(values), list(gradients))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {"s": "t"} == pygrad.compile(lambda x: {"s": "t"})([1.0, 2.0])


# --- batches with Values ----------------------------------------------------------------------------------------------

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("reduction, share", [("mean", 1.0 / 3.0), ("sum", 1.0)])
def test_a_batch_beside_a_value_is_reduced(reduction, share):
    """The result is that of numbers, and so are its derivatives; a list of Values has a sample each."""
    f = pygrad.compile(lambda w, x: w * w * (x[0] + x[1]), reduction=reduction)
    assert pytest.approx(f(2.0, ROWS)) == f(Value(2.0), ROWS).data == 84.0 * share
    value, slope = pygrad.value_and_grad(lambda w: f(w, ROWS))(2.0)
    assert pytest.approx((84.0 * share, 84.0 * share)) == (value, slope)
    assert pytest.approx(84.0 * share) == pygrad.gradient(pygrad.compile(lambda w: f(w, ROWS), batched=False))(2.0)
    ws = [Value(1.0), Value(2.0), Value(3.0)]
    assert pytest.approx(f([1.0, 2.0, 3.0], ROWS)) == f(ws, ROWS).data
    alone = pygrad.compile(lambda x: x * 2, reduction=reduction)
    assert alone([1.0, 2.0]) == alone([Value(1.0), Value(2.0)]).data


def test_a_batch_beside_a_value_without_reduction():
    """A result for each sample, in lists or a record."""
    f = pygrad.compile(lambda w, x: [w * x, x], reduction="none")
    assert [[2.0, 1.0], [4.0, 2.0]] == [[v.data for v in row] for row in f(Value(2.0), [1.0, 2.0])]
    g = pygrad.compile(lambda p, w: {"y": p["x"] * w})
    assert [2.0, 4.0] == [v.data for v in g({"x": [1.0, 2.0]}, Value(2.0))["y"]]
    with pytest.raises(ValueError, match="all arguments need as many samples"):
        f([Value(1.0)], [1.0, 2.0])
    for transform in (pygrad.jacobian, lambda f: pygrad.gradient(pygrad.compile(lambda w, x: w * x), per_sample=False)):
        with pytest.raises(TypeError, match="one sample at a time"):
            transform(f)(Value(2.0), [1.0, 2.0])


# --- shapes of derivatives, and copies --------------------------------------------------------------------------------


def test_a_gradient_by_a_list_of_records_is_such_a_list():
    """Made without __init__, and without what is static."""

    @dataclasses.dataclass
    class Clamped:
        x: float

        def __post_init__(self):
            assert not isinstance(self.x, float) or self.x <= 10.0

    f = pygrad.compile(lambda p: 75.0 * p.x)
    [only] = pygrad.gradient(f, per_sample=False)([Clamped(1.0)])
    assert (Clamped, 75.0) == (type(only), only.x)
    g = pygrad.compile(lambda p: p["w"] ** 2 if p["k"] == "s" else p["w"])
    assert [{"w": 1.0}, {"w": 2.0}] == pygrad.gradient(g, per_sample=False)(
        [{"w": 1.0, "k": "s"}, {"w": 2.0, "k": "s"}]
    )


def test_static_parts_of_a_result_stay_in_its_jacobian():
    """Eager and compiled alike."""
    f = lambda x: {"y": x * x, "k": "s"}  # noqa: E731
    assert {"y": 6.0, "k": "s"} == pygrad.jacobian(f)(3.0) == pygrad.jacobian(pygrad.compile(f, batched=False))(3.0)


def test_copies_of_derivatives():
    """With their recordings, those of the function, or both."""
    f = pygrad.compile(original, batched=False)
    for transform, call in (
        (pygrad.gradient, (6.0, 2.0)),
        (pygrad.value_and_grad, (6.0, 2.0)),
        (pygrad.jvp, ((6.0, 2.0), (1.0, 0.0))),
        (pygrad.vjp, ((6.0, 2.0), 1.0)),
    ):
        for is_recorded in (False, True):
            g = transform(pygrad.compile(original, batched=False))
            expected = g(*call)
            if is_recorded:
                f(6.0, 2.0)
                g = transform(f)
                g(*call)
            for other in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
                assert expected == other(*call)


def test_a_bound_jacobian_keeps_its_static_arguments():
    """Also for the rows that run again, where a slope is infinite."""
    f = pygrad.compile(lambda xs, g: [g(x) for x in xs] * 20, batched=False)
    bound = pygrad.jacobian(f, argnums=0).bind(array("d", [0.0, 1.0]), lambda x: x**0.5)
    bound.forward()
    assert math.inf == bound.output[0]


def test_static_within_static():
    """Transforms of transforms of a function with self."""

    class M:
        k = 2.0

        def f(self, x):
            return self.k * x**3

        @pygrad.compile
        def g(self, x):
            return self.k * x**3

        second = pygrad.gradient(pygrad.gradient(f))

    m = M()
    assert [24.0, 24.0, 24.0] == [m.second(2.0), pygrad.gradient(pygrad.gradient(M.f))(m, 2.0), M.second(m, 2.0)]
    for transform in (pygrad.gradient, pygrad.derivative):
        function = M.g if transform is pygrad.gradient else m.g
        assert 24.0 == (transform(function)(m, 2.0) if transform is pygrad.gradient else transform(function)(2.0))
    assert 24.0 == pygrad.compile(pygrad.gradient(M.f))(m, 2.0)
