"""Gradients clipped by norm and by value: as PyTorch clips them, in loops and in fit, on either engine."""

import itertools
import math
import random

import pytest

import pygrad
from pygrad import Value, engine, nn, optim, reference
from pygrad.data import batches
from pygrad.optim import clip_grad_norm_, clip_grad_value_

GRADS = [3.0, -4.0, 0.0, 1e-3, -12.0]
KINDS = [engine.Value, reference.Value, type("Own", (Value,), {})]


def parameters(grads, kind=Value):
    """Return a parameter for each gradient."""
    made = [kind(1.0) for _ in grads]
    for p, grad in zip(made, grads):
        p.grad = grad
    return made


def grads_of(values):
    return [p.grad for p in values]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "grads", [GRADS, [0.0, 0.0], [1e-9], [], [math.inf, 1.0], [math.nan, 1.0], [-math.inf, math.nan]]
)
def test_norms_are_pytorchs(torch, kind, grads):
    """The norm that is returned, and the gradients after, are PyTorch's; so are those of infinities and nan."""
    for norm_type, max_norm in itertools.product([2, 1, 3.5, math.inf], [0.0, 1.0, 13.0, 100.0, math.inf]):
        theirs = [torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in grads]
        for t, grad in zip(theirs, grads):
            t.grad = torch.tensor([grad], dtype=torch.float64)
        ours = parameters(grads, kind)
        expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type, foreach=False).item()

        assert expected == pytest.approx(clip_grad_norm_(ours, max_norm, norm_type), rel=1e-13, nan_ok=True)
        assert [t.grad.item() for t in theirs] == pytest.approx(grads_of(ours), rel=1e-13, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grads", [GRADS, [math.inf, -math.inf, math.nan]])
@pytest.mark.parametrize("limit", [0.0, 3.5, 1e9, math.inf])
def test_values_are_pytorchs(torch, kind, grads, limit):
    """Each gradient is moved into the range by itself."""
    theirs = [torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in grads]
    for t, grad in zip(theirs, grads):
        t.grad = torch.tensor([grad], dtype=torch.float64)
    ours = parameters(grads, kind)
    torch.nn.utils.clip_grad_value_(theirs, limit, foreach=False)
    clip_grad_value_(ours, limit)

    assert [t.grad.item() for t in theirs] == pytest.approx(grads_of(ours), abs=0, nan_ok=True)


def test_both_engines_have_the_same_bits():
    """So have Values of a subclass."""
    rng = random.Random(5)
    for _ in range(50):
        grads = [rng.gauss(0, 1) * 10.0 ** rng.randint(-160, 150) for _ in range(rng.randint(1, 20))]
        made = [parameters(grads, kind) for kind in KINDS]
        found = [(clip_grad_norm_(ps, 0.3), grads_of(ps)) for ps in made]
        assert found[0] == found[1] == found[2]


def test_no_square_overflows_or_vanishes():
    """The norm of very large and very small gradients is right."""
    for unit in (1e200, 1e-200, 5e-324, 1e307):
        assert clip_grad_norm_(parameters([3 * unit, 4 * unit]), 1.0) == pytest.approx(5 * unit, rel=1e-15)
    ps = parameters([3e200, 4e200])
    clip_grad_norm_(ps, 1.0)
    assert [0.6, 0.8] == pytest.approx(grads_of(ps))


def test_one_value_each_once_and_frozen():
    """A single Value is taken as it is, one listed twice counts once, and a frozen one is left alone."""
    (p,) = parameters([3.0])
    assert 3.0 == clip_grad_norm_(p, 10.0)
    assert 3.0 == clip_grad_norm_([p, p], 1.5)
    assert 1.5 == pytest.approx(p.grad)
    frozen, free = parameters([4.0, 3.0])
    frozen.requires_grad = False
    assert 3.0 == clip_grad_norm_(iter([frozen, free]), 1.0)
    clip_grad_value_((frozen, free), 0.5)
    assert [4.0, 0.5] == grads_of([frozen, free])


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda ps: clip_grad_norm_(ps, -1.0), ValueError, "max_norm must be at least 0"),
        (lambda ps: clip_grad_norm_(ps, math.nan), ValueError, "max_norm must be at least 0"),
        (lambda ps: clip_grad_norm_(ps, "1"), TypeError, "max_norm must be a real number"),
        (lambda ps: clip_grad_norm_(ps, 1.0, 0), ValueError, "norm_type must be above 0"),
        (lambda ps: clip_grad_norm_(ps, 1.0, "inf"), TypeError, "norm_type must be a real number"),
        (lambda ps: clip_grad_norm_([*ps, 3.0], 1.0), TypeError, "a parameter must be a Value, not float"),
        (lambda ps: clip_grad_norm_(5, 1.0), TypeError, "gradients are clipped of Values"),
        (lambda ps: clip_grad_value_(ps, -1.0), ValueError, "clip_value must be at least 0"),
        (lambda ps: clip_grad_value_(ps, None), TypeError, "clip_value must be a real number"),
        (lambda ps: clip_grad_value_([*ps, "w"], 1.0), TypeError, "a parameter must be a Value, not str"),
        (lambda ps: clip_grad_norm_([*ps, *parameters([math.inf])], 1.0, 2, True), RuntimeError, "is inf"),
    ],
)
def test_refusals_change_nothing(call, error, message):
    """What cannot be is refused, and no gradient has changed."""
    ps = parameters(GRADS)
    with pytest.raises(error, match=message):
        call(ps)
    assert grads_of(ps) == GRADS


def test_a_value_that_refuses_its_gradient():
    """Then those that have changed before it change back."""

    class Proud(Value):
        @property
        def grad(self):
            return Value.grad.__get__(self)

        @grad.setter
        def grad(self, number):
            if 0 < abs(number) < 1:
                raise ArithmeticError("too small")
            Value.grad.__set__(self, number)

    ps = [*parameters([3.0, 4.0]), *parameters([5.0], Proud)]
    with pytest.raises(ArithmeticError, match="too small"):
        clip_grad_norm_(ps, 0.5)
    assert [3.0, 4.0, 5.0] == grads_of(ps)


# --- in fit -----------------------------------------------------------------------------------------------------------

N = 23
_rng = random.Random(3)
X = [[_rng.gauss(0, 1), _rng.gauss(0, 1)] for _ in range(N)]
Y = [float(a * b > 0) for a, b in X]


def training(make, kind=Value):
    """Return a function with its optimizer of two groups, and all their parameters; one is not on the tape."""
    random.seed(7)
    model, apart = nn.MLP(2, [3, 1], activation="tanh"), kind(0.5)
    f = pygrad.compile(lambda x, y: 3 * (model(x) - y) ** 2)
    first, second = (layer.parameters() for layer in model.layers)
    second[0].requires_grad = False
    return f, make([{"params": [*first[::-1], apart]}, {"params": second}], lr=0.05), [*first, *second, apart]


LIMITS = [(0.25, None), (None, 0.02), (0.25, 0.02), (0.0, None), (1e9, 1e9), (1, None)]


@pytest.mark.parametrize("kind", [Value, type("Own", (Value,), {})], ids=["C", "Python"])
@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.RMSprop])
@pytest.mark.parametrize("norm, value", LIMITS)
def test_fit_clips_as_the_loop_does(make, kind, norm, value):
    """Losses, parameters, gradients and states are those of the loop by hand, to the bit."""
    f, optimizer, ps = training(make, kind)
    g, other, qs = training(make, kind)
    expected = []
    for _ in range(3):
        for x, y in batches(X, Y, batch_size=10, shuffle=False):
            other.zero_grad()
            expected.append(g.backward(x, y))
            if norm is not None:
                clip_grad_norm_(qs[:-1][8::-1] + qs[-1:] + qs[9:-1], norm)
            if value is not None:
                clip_grad_value_(qs, value)
            other.step()
    found = f.fit(optimizer, X, Y, epochs=3, batch_size=10, shuffle=False, clip_grad_norm=norm, clip_grad_value=value)

    assert expected == found
    assert [(q.data, q.grad) for q in qs] == [(p.data, p.grad) for p in ps]
    assert other.state_dict() == optimizer.state_dict()


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"clip_grad_norm": -1.0}, ValueError, "clip_grad_norm must be at least 0"),
        ({"clip_grad_norm": "1"}, TypeError, "clip_grad_norm must be a real number"),
        ({"clip_grad_value": math.nan}, ValueError, "clip_grad_value must be at least 0"),
    ],
)
def test_fit_refuses_wrong_limits(options, error, message):
    """Before a step is taken."""
    f, optimizer, ps = training(optim.SGD)
    before = [p.data for p in ps]
    with pytest.raises(error, match=message):
        f.fit(optimizer, X, Y, **options)
    assert before == [p.data for p in ps]
