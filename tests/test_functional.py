"""Losses against PyTorch's, values and gradients, ordinary and extreme; on both engines."""

import math
import random
import warnings
from decimal import Decimal
from fractions import Fraction

import pytest

import pygrad
from pygrad import engine as default_engine
from pygrad import functional as F

LOGITS = [-1000.0, -30.0, -1.5, -1e-9, 0.0, 0.25, 3.0, 40.0, 1000.0]
ROWS = [[0.5, -1.25, 2.0], [1000.0, -1000.0, 0.0], [-1000.0, -1000.0, -999.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0]]
TIGHT = {"rel": 1e-13, "abs": 2e-15}  # log(1 + e) is right to some ulp of 1, not of e


def leaves(Value, numbers):
    """Make Values of nested lists of numbers."""
    return [leaves(Value, x) for x in numbers] if isinstance(numbers, list) else Value(numbers)


def read(values, attribute):
    """Read an attribute of nested lists of Values."""
    return [read(v, attribute) for v in values] if isinstance(values, list) else getattr(values, attribute)


def flat(numbers):
    """Flatten nested lists."""
    return [x for item in numbers for x in flat(item)] if isinstance(numbers, list) else [numbers]


def check_against_torch(torch, Value, name, input, target, **kwargs):
    """Compare a loss with torch's, with the gradients of its (summed) output."""
    x = leaves(Value, input)
    loss = getattr(F, name)(x, target, **kwargs)
    for part in flat(loss):
        part.backward()
    tx = torch.tensor(input, dtype=torch.float64, requires_grad=True)
    is_index = name == "cross_entropy" and not isinstance(flat(target)[0], float)
    tloss = getattr(torch.nn.functional, name)(tx, torch.tensor(target, dtype=None if is_index else tx.dtype), **kwargs)
    tloss.sum().backward()

    assert flat(tloss.tolist()) == pytest.approx(flat(read(loss, "data")), **TIGHT)
    assert flat(tx.grad.tolist()) == pytest.approx(flat(read(x, "grad")), **TIGHT)


REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@REDUCTIONS
def test_mse_loss(torch, Value, reduction):
    """mse_loss is PyTorch's, for one dimension and two."""
    check_against_torch(torch, Value, "mse_loss", [1.0, -2.5, 1000.0], [0.5, 3.0, -1000.0], reduction=reduction)
    check_against_torch(
        torch, Value, "mse_loss", [[1.0, 2.0], [3.0, 5.0]], [[0.0, 4.0], [3.0, -1.0]], reduction=reduction
    )
    check_against_torch(torch, Value, "mse_loss", 1.5, 0.25, reduction=reduction)


@REDUCTIONS
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy_with_logits(torch, Value, reduction, target):
    """It is PyTorch's for small and huge logits and at 0, for hard and soft targets."""
    name = "binary_cross_entropy_with_logits"
    check_against_torch(torch, Value, name, LOGITS, [target] * len(LOGITS), reduction=reduction)


@REDUCTIONS
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy(torch, Value, reduction, target):
    """It is PyTorch's for probabilities inside (0, 1)."""
    input = [1e-9, 0.2, 0.5, 0.75, 1 - 1e-9]
    check_against_torch(torch, Value, "binary_cross_entropy", input, [target] * len(input), reduction=reduction)


def test_binary_cross_entropy_of_certainty(Value):
    """At 0 and 1 the loss is 0 or 100, as PyTorch's, and the gradient finite."""
    right, wrong = [Value(0.0), Value(1.0)], [Value(0.0), Value(1.0)]
    losses = F.binary_cross_entropy(right, [0, 1], reduction="none")
    losses += F.binary_cross_entropy(wrong, [1, 0], reduction="none")
    for loss in losses:
        loss.backward()

    assert [0.0, 0.0, 100.0, 100.0] == pytest.approx(read(losses, "data"), rel=1e-14)
    assert [1.0, -1.0] == read(right, "grad")
    assert [0.0, 0.0] == read(wrong, "grad")


@pytest.mark.parametrize("z", [-1000.0, 1000.0])
def test_binary_cross_entropy_of_a_saturated_sigmoid(Value, z):
    """Through a sigmoid that is 0 or 1 to the bit no nan comes back."""
    x = Value(z)
    F.binary_cross_entropy(x.sigmoid(), z < 0).backward()

    assert 0.0 == x.grad


@REDUCTIONS
@pytest.mark.parametrize("target", [[0, 1, 2, 0, 1], [[0.2, 0.3, 0.5]] * 5, [[0.0, 1.0, 0.0]] * 5])
def test_cross_entropy(torch, Value, reduction, target):
    """It is PyTorch's on a batch with logits of +-1000, for classes and for probabilities."""
    check_against_torch(torch, Value, "cross_entropy", ROWS, target, reduction=reduction)


@pytest.mark.parametrize("target", [0, 2, [0.25, 0.25, 0.5], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("row", ROWS)
def test_cross_entropy_of_one_row(torch, Value, row, target):
    """One row and its target give one loss, PyTorch's; probabilities need not sum to 1."""
    check_against_torch(torch, Value, "cross_entropy", row, target)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_and_log_softmax(torch, Value, name):
    """softmax and log_softmax are PyTorch's over the last dimension, with the gradients of each output."""
    for k in range(3):
        x = leaves(Value, ROWS)
        out = getattr(F, name)(x)
        tx = torch.tensor(ROWS, dtype=torch.float64, requires_grad=True)
        tout = getattr(torch, name)(tx, dim=-1)
        tout[:, k].sum().backward()
        for row in out:
            row[k].backward()

        assert flat(tout.tolist()) == pytest.approx(flat(read(out, "data")), **TIGHT)
        assert flat(tx.grad.tolist()) == pytest.approx(flat(read(x, "grad")), **TIGHT)
        assert read(out[0], "data") == read(getattr(F, name)(x[0]), "data")


@REDUCTIONS
def test_hinge_loss(Value, reduction):
    """It is max(0, 1 - t*y), with the gradient -t inside the margin and 0 outside."""
    scores = leaves(Value, [0.5, 2.0, -0.25, -1000.0, 1000.0])
    loss = F.hinge_loss(scores, [1, 1, -1, 1, -1], reduction=reduction)
    for part in flat(loss):
        part.backward()
    n = 5 if reduction == "mean" else 1
    expected = [0.5, 0.0, 0.75, 1001.0, 1001.0]

    assert (expected if reduction == "none" else sum(expected) / n) == read(loss, "data")
    assert [g / n for g in (-1.0, 0.0, 1.0, -1.0, 1.0)] == pytest.approx(read(scores, "grad"), rel=1e-15)


def test_l2_penalty(Value):
    """It is alpha times the sum of squares, with gradient 2 alpha p, as in micrograd's demo."""
    ps = leaves(Value, [0.1, -0.2, 3.0])
    penalty = F.l2_penalty((p for p in ps), alpha=0.01)
    penalty.backward()

    assert 0.01 * sum(p.data * p.data for p in ps) == penalty.data
    assert [0.02 * p.data for p in ps] == pytest.approx(read(ps, "grad"), rel=1e-14)
    assert 1e-4 * 9.0 == F.l2_penalty([ps[2]]).data


def test_numpy_targets_and_predictions(Value):
    """Targets, and arrays of Values, may come as NumPy arrays."""
    numpy = pytest.importorskip("numpy")
    x = [Value(1.0), Value(-2.0)]
    expected = F.hinge_loss(x, [1, -1]).data

    assert expected == F.hinge_loss(numpy.array(x), numpy.array([1, -1])).data
    assert F.cross_entropy([x], [1]).data == F.cross_entropy(numpy.array([x]), numpy.array([1])).data


def test_losses_train_a_model_with_one_output():
    """A single prediction and its target need no lists, and the loss is that of lists of one."""
    x = default_engine.Value(0.5)

    assert 2.25 == F.mse_loss(x, 2).data
    assert F.mse_loss([x], [2]).data == F.mse_loss(x, 2).data


def test_a_sum_of_losses_is_one_node(Value):
    """The mean of a hundred losses adds two nodes on pygrad's own Values, not a hundred."""
    x = leaves(default_engine.Value, [1.0] * 100)
    total = next(v for v in F.mse_loss(x, [0.0] * 100)._prev if v._op == "sum")

    assert 100 == len(total._prev)


# --- bad input --------------------------------------------------------------------------------------------------------

LOSSES = ["mse_loss", "hinge_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy"]


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_reduction(Value, name):
    """An unknown reduction is refused."""
    with pytest.raises(ValueError, match='reduction must be "mean", "sum" or "none", not \'average\''):
        getattr(F, name)([Value(0.5)], [1], reduction="average")


@pytest.mark.parametrize("name", LOSSES)
def test_empty_input(name):
    """No predictions are refused: their mean would be nan."""
    with pytest.raises(ValueError, match="at least one"):
        getattr(F, name)([], [])


@pytest.mark.parametrize("name", LOSSES[:4])
@pytest.mark.parametrize("target", [[1], [1, 1, 1], 1, [[1], [1]], [[1, 1]]])
def test_targets_of_another_shape(Value, name, target):
    """Targets in another shape than the predictions are refused."""
    with pytest.raises(ValueError, match="targets, not|one target, not"):
        getattr(F, name)([Value(0.5), Value(0.25)], target)


@pytest.mark.parametrize(
    "target, error",
    [(3, ValueError), (-1, ValueError), (1.5, ValueError), (None, TypeError), ([0.5, 0.5], ValueError)],
)
def test_wrong_targets_of_cross_entropy(Value, target, error):
    """A class out of range, no whole number, or probabilities of another length are refused."""
    row = leaves(Value, [1.0, 2.0, 3.0])
    with pytest.raises(error):
        F.cross_entropy(row, target)
    with pytest.raises(error):
        F.cross_entropy([row], [target])


@pytest.mark.parametrize("make", [float, Fraction, Decimal, bool])
def test_classes_may_be_whole_numbers_of_any_type(Value, make):
    """A table of numbers has its classes as floats: 1.0 is class 1, for one sample and for several."""
    row = [Value(1.0), Value(2.0)]

    assert F.cross_entropy(row, 1).data == F.cross_entropy(row, make(1)).data
    assert F.cross_entropy([row, row], [0, 1]).data == F.cross_entropy([row, row], [make(0), make(1)]).data


def test_classes_in_arrays_of_floats(Value):
    np = pytest.importorskip("numpy")
    row = [Value(1.0), Value(2.0)]
    for kind in ("f4", "f8", "i8", "?"):
        assert F.cross_entropy([row, row], [0, 1]).data == F.cross_entropy([row, row], np.array([0, 1], kind)).data
        assert F.cross_entropy(row, 1).data == F.cross_entropy(row, np.ones((), kind)).data


@pytest.mark.parametrize(
    "target, error, words",
    [
        ("1", TypeError, r"a class from 0 to 1.*not str '1'.*int\(target\)"),
        (None, TypeError, "a class from 0 to 1.*not NoneType"),
        (1j, TypeError, "a class from 0 to 1.*not complex 1j"),
        (0.5, ValueError, "a class from 0 to 1, not 0.5"),
        (math.nan, ValueError, "a class from 0 to 1, not nan"),
        (math.inf, ValueError, "a class from 0 to 1, not inf"),
        (2.0, ValueError, "a class from 0 to 1, not 2.0"),
        (-1, ValueError, "a class from 0 to 1, not -1"),
    ],
)
def test_what_is_no_class_says_what_is(Value, target, error, words):
    """Text, numbers that are not whole, and classes that there are not; for one sample and for several."""
    row = [Value(1.0), Value(2.0)]
    with pytest.raises(error, match=words):
        F.cross_entropy([row, row], [0, target])
    with pytest.raises(error, match=words):
        F.cross_entropy(row, target)


@pytest.mark.parametrize("one_hot", [["1", "0"], [None, 1.0], [1j, 0.0]])
def test_probabilities_are_numbers(Value, one_hot):
    with pytest.raises(TypeError, match="a probability of a class must be a Value or a number, not"):
        F.cross_entropy([Value(1.0), Value(2.0)], one_hot)


@pytest.mark.parametrize("make", [list, lambda x: pytest.importorskip("numpy").array(x)])
def test_swapped_arguments_of_cross_entropy_say_so(Value, make):
    """The target and then the logits: for one sample, for several, with classes of any type."""
    row = [Value(1.0), Value(2.0)]
    swapped = [(1, make(row)), (1.0, make(row)), (Value(1.0), row), (make([0, 1, 0]), make([row] * 3))]
    for first, second in [*swapped, ([0.0, 1.0], [row, row]), (["0", "1"], [row, row]), ([Value(0.0)], [row])]:
        with pytest.raises(ValueError, match="the logits first.*swapped"):
            F.cross_entropy(first, second)


def test_wrong_rows_of_cross_entropy(Value):
    """A single logit, an empty row and a batch with too few targets are refused."""
    for input, target in ((Value(1.0), 0), ([[]], [0]), ([[Value(1.0)]] * 2, [0]), ([[Value(1.0)]], 0)):
        with pytest.raises(ValueError, match="at least one|empty|targets"):
            F.cross_entropy(input, target)
    with pytest.raises(ValueError, match="at least one"):
        F.softmax(Value(1.0))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.inf])
def test_no_probability(Value, p):
    """Binary cross-entropy refuses what is no probability and points to the one with logits."""
    with pytest.raises(ValueError, match="with_logits"):
        F.binary_cross_entropy(Value(p), 1)


@pytest.mark.parametrize("t", [0, 2, 0.5, "1"])
def test_no_hinge_target(Value, t):
    """The hinge loss refuses targets other than -1 and 1."""
    with pytest.raises(ValueError, match="must be -1 or 1"):
        F.hinge_loss(Value(1.0), t)


def test_predictions_that_are_no_numbers(Value):
    """A prediction that is no number is the TypeError of Value."""
    with pytest.raises(TypeError, match="must be a real number"):
        F.mse_loss(["1"], [1])
    with pytest.raises(TypeError, match="operand must be"):
        F.mse_loss([Value(1.0)], [None])


def test_numbers_as_predictions():
    """Plain numbers are taken as Values."""
    assert 0.25 == F.mse_loss([1.0, 1.0], [0.5, 1.5]).data
    assert [0.5, 0.5] == read(F.softmax([1, 1]), "data")


# --- recorded ---------------------------------------------------------------------------------------------------------

# name -> the loss of one sample (x has three numbers, z of which two are scaled to probabilities), and its target
CLASSES = [0, 2, 1, 1, 2, 0, 2]
RECORDED = {
    "mse": (F.mse_loss, [[0.5, -2.0, float(k)] for k in range(7)]),
    "mse of one": (lambda z, t: F.mse_loss(z[1], t), [0.25 * k for k in range(7)]),
    "mse, sum": (lambda z, t: F.mse_loss(z, t, reduction="sum"), [[0.5, -2.0, float(k)] for k in range(7)]),
    "hinge": (F.hinge_loss, [[1, -1, 1 - 2 * (k % 2)] for k in range(7)]),
    "hinge of one": (lambda z, t: F.hinge_loss(z[0], t), [1 - 2 * (k % 2) for k in range(7)]),
    "bce": (lambda z, t: F.binary_cross_entropy(z[0].sigmoid(), t), [0, 1, 0.25, 1, 1, 0, 0.5]),
    "bce of certainty": (lambda z, t: F.binary_cross_entropy(z[0].relu().minimum(1), t), [0, 1, 0, 1, 1, 0, 0]),
    "bce with logits": (F.binary_cross_entropy_with_logits, [[0, 1, 0.25]] * 7),
    "cross-entropy": (F.cross_entropy, CLASSES),
    "cross-entropy of rows": (lambda z, t: F.cross_entropy([z, z[::-1]], t), [[c, 2 - c] for c in CLASSES]),
    "cross-entropy of probabilities": (F.cross_entropy, [[0.25, 0.5, 0.25], [0.0, 1.0, 0.0]] * 3 + [[0.5, 0.5, 0.0]]),
    "softmax": (lambda z, t: default_engine.take(F.softmax(z), t), CLASSES),
    "log_softmax": (lambda z, t: -default_engine.take(F.log_softmax(z), t), CLASSES),
    "with l2": (lambda z, t: F.cross_entropy(z, t) + F.l2_penalty(z, 0.1), CLASSES),
}
EVERY_LOSS = pytest.mark.parametrize("name", RECORDED)


def samples_of(name):
    """Return a model of three outputs, seven samples x of two numbers, and the loss of a sample and its targets.

    Some outputs are beyond what exp takes, and in two of the rows the largest score is there twice.
    """
    random.seed(5)
    model = pygrad.MLP(2, [3])
    for p, data in zip(model.parameters(), (1.0, 0.5, 0.0, 0.5, 1.0, 0.0, -1.0, 0.25, 0.0)):
        p.data = data
    X = [[1.0, 1.0], [0.3, -0.2], [-1.1, 0.7], [900.0, -800.0], [-0.5, -0.5], [0.0, 0.0], [2.0, 1.9]]
    loss, targets = RECORDED[name]
    return model, X, targets, lambda x, t: loss(model(x), t)


def gradients(model, backward):
    """Return what `backward()` returns, and the gradients it leaves."""
    model.zero_grad()
    return backward(), read(model.parameters(), "grad")


def eager_backward(loss, x, t):
    out = loss(leaves(default_engine.Value, x), t)
    out.backward()
    return out.data


@EVERY_LOSS
def test_a_recorded_loss_is_the_eager_one_to_the_bit(name):
    """Recorded at one sample and run at all others: value and gradients have eager's bits, without a warning."""
    model, X, targets, loss = samples_of(name)
    compiled = pygrad.compile(loss, batched=False, passes=())
    for x, t in zip(X, targets, strict=True):
        expected = gradients(model, lambda x=x, t=t: eager_backward(loss, x, t))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert expected == gradients(model, lambda x=x, t=t: compiled.backward(x, t))


@EVERY_LOSS
def test_a_compiled_loss_is_eager_over_a_batch(name):
    """All passes on, and many samples a call: the mean and its gradients are those of eager code, to 1e-13."""
    model, X, targets, loss = samples_of(name)

    def eager():
        out = default_engine.sum([loss(x, t) for x, t in zip(X, targets)]) / len(X)
        out.backward()
        return out.data

    value, grads = gradients(model, eager)
    compiled_value, compiled_grads = gradients(model, lambda: pygrad.compile(loss).backward(X, targets))

    assert pytest.approx(value, rel=1e-13) == compiled_value
    assert pytest.approx(grads, rel=1e-13, abs=1e-13) == compiled_grads


def test_a_recorded_class_is_an_input():
    """The class of cross_entropy is followed, and one that the row does not have is refused when it is given."""
    f = pygrad.compile(lambda z, t: F.cross_entropy(z, t), batched=False)

    losses = [f([1.0, 2.0, 3.0], t) for t in (0, 1, 2)]

    assert [F.cross_entropy([1.0, 2.0, 3.0], t).data for t in (0, 1, 2)] == losses
    assert 1 == len(f._tapes)
    for bad in (3, -1, 0.5):
        with pytest.raises(IndexError, match="out of range"):
            f([1.0, 2.0, 3.0], bad)


def test_a_class_may_be_a_value():
    """In eager code too the class may be a Value, as in a function that is not compiled."""
    row = leaves(default_engine.Value, [1.0, 2.0, 3.0])

    assert F.cross_entropy(row, 1).data == F.cross_entropy(row, default_engine.Value(1.0)).data
    with pytest.raises(IndexError):
        F.cross_entropy(row, default_engine.Value(3.0))


def test_targets_that_are_known_are_checked_while_recorded():
    """A number as target is looked at when the function is recorded, an input is not."""
    with pytest.raises(ValueError, match="must be -1 or 1"):
        pygrad.compile(lambda z: F.hinge_loss(z, 0))([1.0])
    with pytest.raises(ValueError, match="from 0 to 2"):
        pygrad.compile(lambda z: F.cross_entropy(z, 3), batched=False)([1.0, 2.0, 3.0])

    assert 1.0 == pygrad.compile(lambda z, t: F.hinge_loss(z, t))([1.0], [0.0])


def test_largest(Value):
    """It is a number, the largest of all, also of equal ones and with infinities."""
    for numbers in ([1.0], [1.0, 3.0, 2.0], [-5.0, -5.0], [-math.inf, 2.0, math.inf]):
        assert max(numbers) == F.largest(leaves(Value, numbers))


def test_a_recorded_largest_follows_its_values_and_has_no_gradient():
    """Recorded where the first is the largest, it is right where another is; no gradient comes through it."""
    f = pygrad.compile(lambda z: F.largest(z) * 2.0 + z[0], batched=False)
    f([3.0, 1.0, 2.0])

    assert [9.0, 7.0, 15.0] == [f(z) for z in ([3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [5.0, 0.0, 4.0])]
    assert (7.0, ([1.0, 0.0, 0.0],)) == f.backward([1.0, 3.0, 2.0], inputs=True)
