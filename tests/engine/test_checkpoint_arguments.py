"""checkpoint: arguments that the function also finds around it, results that no root reaches, lists within themselves.

What else a checkpoint does is in test_no_grad_and_checkpoint.py; derivatives as Values are in calculus/test_reruns.py.
"""

import collections
import math
import types

import numpy as np
import pytest

import pygrad
from pygrad import engine
from pygrad.engine import Value


class Around:
    """Values that a function finds around it, and is also called with: leaves, and results of these."""

    def __init__(self):
        self.a, self.b = Value(3.0), Value(-0.5)
        self.h = self.a * self.b
        self.g = self.h.tanh() + self.a

    def gradients(self):
        return [self.a.grad, self.b.grad]


# name -> (the function, given what is around; its arguments)
SHARED = {
    "a leaf": lambda p: (lambda x: x * p.a, (p.a,)),
    "alone from around": lambda p: (lambda x: p.a * 2.0, (p.a,)),
    "a result": lambda p: (lambda x: x * p.h, (p.h,)),
    "twice": lambda p: (lambda x, y: x * y * p.a, (p.a, p.a)),
    "in lists": lambda p: (lambda xs, d: xs[0] * xs[1][0] * d["k"] + p.a, ([p.a, [p.b]], {"k": p.a})),
    "its own operand": lambda p: (lambda x: x * p.a * p.b, (p.h,)),
    "its own consumer": lambda p: (lambda x: x * p.g, (p.a,)),
    "a leaf and its interior": lambda p: (lambda x, y: x * y * p.g, (p.a, p.g)),
    "an argument returned": lambda p: (lambda x: x, (p.a,)),
    "one from around returned": lambda p: (lambda x: p.a, (p.a,)),
    "nested": lambda p: (pygrad.checkpoint(lambda x: pygrad.checkpoint(lambda y: y * p.a * x)(x) * p.a), (p.a,)),
    "the argument around the inner one": lambda p: (lambda x: pygrad.checkpoint(lambda y: y * x * p.a)(x), (p.a,)),
}


@pytest.mark.parametrize("sweep", ["backward", "twice", "grad", "anomaly"])
@pytest.mark.parametrize("shared", SHARED)
def test_an_argument_is_also_found_around(shared, sweep):
    """Its gradient is that of the plain function, added once."""
    numbers = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        p = Around()
        f, args = SHARED[shared](p)
        y = wrap(f)(*args) * p.a
        if sweep == "grad":
            numbers.append(pygrad.grad(y, [p.a, p.b, p.h, p.g]))
            assert [0.0, 0.0] == p.gradients()
        elif sweep == "anomaly":
            with pygrad.detect_anomaly():
                y.backward()
            numbers.append(p.gradients())
        else:
            for _ in range(2 if sweep == "twice" else 1):
                y.backward()
            numbers.append(p.gradients())

    assert numbers[0] == pytest.approx(numbers[1], rel=1e-13)
    assert any(numbers[0])
    engine.check_arena()


def test_a_keyword_is_also_found_around():
    """Arguments by name are arguments."""
    a = Value(3.0)
    pygrad.checkpoint(lambda *, x: x * a)(x=a).backward()
    assert 6.0 == a.grad


def test_a_frozen_argument_is_also_found_around():
    """A frozen one keeps its gradient, and is still differentiated by grad()."""
    a, b = Value(3.0).requires_grad_(False), Value(2.0)
    y = pygrad.checkpoint(lambda x: x * a * b)(a)
    y.backward()
    assert (0.0, 9.0, [12.0]) == (a.grad, b.grad, pygrad.grad(y, [a]))


# --- results that no root reaches -------------------------------------------------------------------------------------


def roots(x, s, y):
    """Three results: of y; of x, with an infinite slope at 0; of s, whose own slope is infinite."""
    return y * (x + 1.0), x.sqrt() * y, [s * 3.0 + x]


def plain_and_checkpointed(use):
    """Return [gradients of the leaves, of the plain function and of the checkpointed one]."""
    found = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        u, v, y = Value(0.0), Value(0.0), Value(2.0)
        s = v.sqrt()
        held = use(wrap(roots)(u, s, y))  # noqa: F841
        found.append([u.grad, v.grad, y.grad])
        engine.check_arena()
    return found


USES = {
    "dropped": lambda out: out[0].backward(),
    "held": lambda out: (out, out[0].backward()),
    "used by another root": lambda out: (out[1] * out[2][0], out[0].backward()),
    "reached, then not": lambda out: (pygrad.grad(out[1] + out[2][0], [out[0]]), out[0].backward()),
    "grad": lambda out: (out[0] * pygrad.grad(out[0] * 2.0, out[0])).backward(),
    "two of three": lambda out: pygrad.backward([out[0], out[0] * out[0]], [1.0, 2.0]),
    "in a deeper graph": lambda out: pygrad.checkpoint(lambda a: a * a)(out[0]).backward(),
}


@pytest.mark.parametrize("use", USES)
def test_what_no_root_reaches_is_not_swept(use):
    """Neither within the function, nor what leads to it: 0 times an infinite slope would be nan."""
    plain, again = plain_and_checkpointed(USES[use])
    assert plain == again
    assert all(map(math.isfinite, plain))


def test_what_no_root_reaches_within_anomaly_mode():
    """detect_anomaly() has nothing to say about it."""

    def use(out):
        with pygrad.detect_anomaly():
            out[0].backward()

    plain, again = plain_and_checkpointed(use)
    assert plain == again


def test_what_no_root_reaches_of_nested_checkpoints():
    """The inner call's unused results are not swept either, nor what leads to them around the outer one."""
    found = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        x, y, w = Value(0.0), Value(2.0), Value(0.0)
        r, q = x.sqrt(), w.sqrt()

        def outer(a, b, wrap=wrap, q=q):
            first, second = wrap(lambda c, d: (c.sqrt() + q, d * 2.0))(a * 1.0, b)
            return second * b, first

        wrap(outer)(r, y)[0].backward()
        found.append([x.grad, y.grad, w.grad])
    assert found[0] == found[1] == [0.0, 8.0, 0.0]


def test_two_checkpoints_that_pass_less_on():
    """A result that the later one passes nothing to is not reached; what another one reaches is."""
    found = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        x, y, z = Value(0.0), Value(2.0), Value(0.0)
        r, q = x.sqrt(), z.sqrt()
        a, b = wrap(lambda u, v, w: (u * 2.0, v + w))(y, r, q)
        c, d = wrap(lambda u, v: (u * 3.0, v * 2.0))(a, b)
        (c + wrap(lambda u, v: (u, v))(y * y, q)[0]).backward()
        found.append([x.grad, y.grad, z.grad])
    assert found[0] == found[1] == [0.0, 10.0, 0.0]


def test_a_seed_that_is_0_is_swept():
    """A result that the loss multiplies by 0 is reached: 0 times an infinite slope is nan, as without a checkpoint."""
    plain, again = plain_and_checkpointed(lambda out: (out[0] + out[1] * 0.0).backward())
    assert [math.isnan(g) for g in plain] == [math.isnan(g) for g in again] == [True, False, False]


def test_by_hand_only_gradients_tell():
    """Back-propagation by hand sweeps the results that have a gradient."""
    x, y = Value(0.0), Value(2.0)
    a, b = pygrad.checkpoint(lambda x, y: (x * y, x.sqrt()))(x, y)
    (join,) = a._prev
    join._backward()
    assert [0.0, 0.0] == [x.grad, y.grad]
    a.grad = 1.0
    join._backward()
    assert [2.0, 0.0] == [x.grad, y.grad]
    assert 0.0 == b.grad


def test_no_memory_for_a_pass_that_goes_on_to_less():
    """The sweep ends with a MemoryError, and the next one is right."""
    for n in range(1, 200):
        x, y = Value(0.0), Value(2.0)
        a, _ = pygrad.checkpoint(lambda x, y: (y * 2.0, x * 3.0))(x.sqrt(), y)
        engine.sweeps.lib.pg_fail_allocation(n)
        try:
            a.backward()
            break
        except MemoryError:
            engine.check_arena()
            x.grad = y.grad = 0.0
            a.backward()
            assert [0.0, 2.0] == [x.grad, y.grad]
        finally:
            engine.sweeps.lib.pg_fail_allocation(0)
    assert 3 < n < 199


# --- lists that hold themselves ---------------------------------------------------------------------------------------


def test_lists_that_hold_themselves_are_refused():
    """By pygrad's own error, as arguments and as results; of losses and compiled functions too."""
    inside = [1.0]
    inside.append(inside)
    table = {}
    table["table"] = (table,)

    class Model(pygrad.Module):
        def __init__(self):
            self.values = [Value(1.0)]
            self.values.append(self.values)

    for refused in (
        lambda: pygrad.checkpoint(lambda x: x)(inside),
        lambda: pygrad.checkpoint(lambda x: x)(x=table),
        lambda: pygrad.checkpoint(lambda x: inside)(Value(1.0)),
        lambda: pygrad.checkpoint(lambda x: table)(2.0),
        lambda: pygrad.functional.mse_loss(inside, inside),
        lambda: pygrad.functional.cross_entropy([[1.0, 2.0]], inside),
        lambda: pygrad.functional.softmax(inside),
        lambda: pygrad.compile(lambda x: x)(inside),
        lambda: pygrad.compile(lambda x: inside)(1.0),
        lambda: pygrad.compile(lambda x: pygrad.functional.mse_loss(x, x))(inside),
        lambda: Model().parameters(),
    ):
        with pytest.raises(ValueError, match="one holds itself"):
            refused()
    engine.check_arena()


# --- results in which Values may be hidden ----------------------------------------------------------------------------

HIDING = {
    "array": lambda v: np.array([v * 2.0, v]),
    "0-d array": lambda v: np.array(v * 2.0),
    "namedtuple": lambda v: collections.namedtuple("Pair", "a b")(v * 2.0, v),
    "list subclass": lambda v: type("List", (list,), {})([v * 2.0]),
    "set": lambda v: {v * 2.0},
    "deque": lambda v: collections.deque([v * 2.0]),
    "generator": lambda v: (x for x in [v * 2.0]),
    "object": lambda v: types.SimpleNamespace(a=v * 2.0),
    "in a list": lambda v: [v, {v * 2.0}],
}


@pytest.mark.parametrize("function", HIDING.values(), ids=HIDING)
def test_results_in_which_values_are_hidden(function):
    """They are refused: their gradients would end at copies of the arguments."""
    with pytest.raises(TypeError, match="checkpoint: the function returned .*: return Values and numbers, in lists"):
        pygrad.checkpoint(function)(Value(3.0))


def test_plain_results():
    """Numbers, texts, None and arrays of numbers are results as they are."""
    out = pygrad.checkpoint(lambda v: [v * 2.0, 1, 2.0, True, None, "a", np.ones(2), np.float32(1.0), 1j])(Value(3.0))

    assert [1, 2.0, True, None, "a"] == out[1:6]
    out[0].backward()


@pytest.mark.parametrize(
    "iterator",
    [
        lambda xs: (x for x in xs),
        iter,
        lambda xs: map(abs, xs),
        lambda xs: zip(xs, xs),
        lambda xs: [1.0, (x for x in xs)],
        lambda xs: {"k": iter(xs)},
    ],
    ids=["generator", "iterator", "map", "zip", "in a list", "in a dict"],
)
def test_an_iterator_is_refused_when_it_is_given(iterator):
    """Its items would be gone in the second run, and the error would blame the function. Nothing has been read."""
    xs = [Value(1.0), Value(2.0)]
    given, calls = iterator(xs), []

    for call in (lambda f: f(given), lambda f: f(items=given)):
        with pytest.raises(TypeError, match=r"gives its items once.*list\(\.\.\.\)"):
            call(pygrad.checkpoint(lambda items: calls.append(items)))

    assert [] == calls
    with pygrad.no_grad():
        assert 2 == pygrad.checkpoint(lambda items: len(list(items)))(x for x in xs)


def test_what_can_be_read_again_is_passed_on():
    """A range, the items of a dict, a list."""
    x = Value(2.0)
    for items in (range(3), {0: 1, 1: 2}.keys(), [0, 1, 2]):
        pygrad.checkpoint(lambda x, items: x * sum(items))(x, items).backward()

    assert 7.0 == x.grad
