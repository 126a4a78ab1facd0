"""cross_entropy with weights of classes, ignored samples and smoothed labels: PyTorch's, on both engines."""

import itertools
import math

import pytest

import pygrad
from pygrad import functional as F

ROWS = [[0.5, -1.25, 2.0], [1000.0, -1000.0, 0.0], [3.0, 3.0, 3.0], [-7.0, 0.25, 0.5]]
CLASSES = [[0, 2, 1, 1], [2, -1, 0, -1], [1, 1, -1, 0]]
PROBABILITIES = [[0.25, 0.5, 0.25], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]]
WEIGHTS = [None, [0.5, 2.0, 1.25], [0.0, 1.0, 3.0]]
REDUCTIONS = ["mean", "sum", "none"]
TIGHT = {"rel": 1e-13, "abs": 1e-13}


def theirs(torch, rows, target, reduction, weight, **options):
    """Return PyTorch's losses, flat, and the gradients of their sum."""
    x = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    is_class = not isinstance(target[0] if isinstance(target, list) else target, list)
    is_class = is_class and not isinstance(target[0] if isinstance(target, list) else target, float)
    t = torch.tensor(target) if is_class else torch.tensor(target, dtype=torch.float64)
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy(x, t, weight=weight, reduction=reduction, **options)
    loss.sum().backward()
    return loss.reshape(-1).tolist(), x.grad.reshape(-1).tolist()


def ours(Value, rows, target, **options):
    """Return ours."""
    x = [[Value(z) for z in row] if isinstance(row, list) else Value(row) for row in rows]
    found = F.cross_entropy(x, target, **options)
    parts = found if isinstance(found, list) else [found]
    for part in parts:
        part.backward()
    leaves = [z for row in x for z in (row if isinstance(row, list) else [row])]
    return [part.data for part in parts], [z.grad for z in leaves]


def check(torch, Value, rows, target, **options):
    """Compare the two."""
    for expected, found in zip(theirs(torch, rows, target, **options), ours(Value, rows, target, **options)):
        assert expected == pytest.approx(found, **TIGHT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_options_are_pytorchs(torch, Value, reduction):
    """For classes, some ignored, and for probabilities: values and gradients."""
    for weight, smoothing in itertools.product(WEIGHTS, [0.0, 0.1, 1.0]):
        options = {"reduction": reduction, "weight": weight, "label_smoothing": smoothing}
        for target in CLASSES:
            check(torch, Value, ROWS, target, ignore_index=-1, **options)
        check(torch, Value, ROWS, PROBABILITIES, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_sample(torch, Value, reduction):
    """A row by itself, of a class or of probabilities; in a mean the weight of its class cancels, as in PyTorch."""
    for weight, smoothing, target in itertools.product(WEIGHTS, [0.0, 0.25], [1, 2, [0.25, 0.5, 0.25]]):
        check(torch, Value, ROWS[0], target, reduction=reduction, weight=weight, label_smoothing=smoothing)


def test_ignored_samples_need_not_be_classes(torch, Value):
    """Any number may stand for them; one that is a class is ignored all the same, and their logits get 0."""
    for ignored in (-100, 7, 1):
        check(torch, Value, ROWS, [0, ignored, 2, ignored], reduction="mean", weight=WEIGHTS[1], ignore_index=ignored)
    losses, grads = ours(Value, ROWS, [0, 5, 5, 5], reduction="none", ignore_index=5)
    assert [0.0] * 3 == losses[1:]
    assert [0.0] * 9 == grads[3:]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_that_are_values(weight, smoothing):
    """A compiled function follows them, ignored ones too, with the losses and gradients of the eager one."""
    options = {"reduction": "sum", "weight": weight, "label_smoothing": smoothing, "ignore_index": -1}
    scale = pygrad.Value(1.5)
    f = pygrad.compile(lambda z, t: F.cross_entropy([scale * v for v in z], t, **options), reduction="sum")
    for target in CLASSES:
        scale.grad = 0.0
        expected = F.cross_entropy([[scale * v for v in row] for row in ROWS], target, **options)
        expected.backward()
        slope, scale.grad = scale.grad, 0.0
        assert expected.data == pytest.approx(f.backward(ROWS, target), **TIGHT)
        assert slope == pytest.approx(scale.grad, **TIGHT)
        values = [pygrad.Value(t) for t in target]
        mean = F.cross_entropy(ROWS, values, **{**options, "reduction": "mean"}).data
        assert F.cross_entropy(ROWS, target, **{**options, "reduction": "mean"}).data == pytest.approx(mean, **TIGHT)


def test_weights_that_are_values():
    """They get gradients."""
    weights = [pygrad.Value(w) for w in (0.5, 2.0, 1.25)]
    assert pygrad.gradcheck(
        lambda w: F.cross_entropy(ROWS, [0, 1, 2, 1], weight=w, label_smoothing=0.1), [w.data for w in weights]
    )


def test_without_options_nothing_changes(Value):
    """The bits, and the nodes, are those of the call without options."""
    options = {"weight": None, "ignore_index": None, "label_smoothing": 0}
    for target in ([0, 2, 1, 1], PROBABILITIES):
        assert ours(Value, ROWS, target) == ours(Value, ROWS, target, **options)


@pytest.mark.parametrize(
    "target, options, error, message",
    [
        ([0, 1], {"weight": [1.0, 2.0]}, ValueError, "needs as many weights of classes, not 2"),
        ([0, 1], {"weight": [1.0, 2.0, -1.0]}, ValueError, "at least 0"),
        ([0, 1], {"weight": [1.0, 2.0, math.nan]}, ValueError, "at least 0"),
        ([0, 1], {"weight": [1.0, 2.0, "3"]}, TypeError, "weight of a class|weights of classes"),
        ([0, 1], {"weight": 2.0}, (TypeError, ValueError), "weights of classes"),
        ([0, 1], {"ignore_index": 1.5}, TypeError, "ignore_index must be a whole number"),
        ([0, 1], {"ignore_index": "1"}, TypeError, "ignore_index must be a whole number"),
        ([0, 1], {"label_smoothing": 1.5}, ValueError, "from 0 to 1"),
        ([0, 1], {"label_smoothing": math.nan}, ValueError, "from 0 to 1"),
        ([0, 1], {"label_smoothing": "0.1"}, TypeError, "label_smoothing must be a real number"),
        ([0, 5], {"ignore_index": -1}, ValueError, "a class from 0 to 2, not 5"),
        ([0, -100], {}, ValueError, "pass ignore_index=-100"),
        ([-1, -1], {"ignore_index": -1}, ValueError, "there is no mean"),
        ([0, 0], {"weight": [0.0, 1.0, 1.0]}, ValueError, "there is no mean"),
        ([[0.5, 0.5], [0.5, 0.5]], {"label_smoothing": 0.1}, ValueError, "as many probabilities"),
    ],
)
def test_refusals(Value, target, options, error, message):
    """What cannot be is refused with the reason."""
    rows = [[Value(z) for z in row] for row in ROWS[:2]]
    with pytest.raises(error, match=message):
        F.cross_entropy(rows, target, **options)
