"""Loss functions on Values, with PyTorch's names: mean squared, hinge, binary and softmax cross-entropy.

A prediction (`input`) is a Value, such as `model(x)` of a model with one output, or nested lists of Values. The target
has the same shape. `reduction` is "mean" (one Value, the default), "sum" (one Value) or "none" (a Value for each
element, in the shape of the input). Wrong shapes, empty input and an unknown reduction raise a ValueError.

`pygrad.compile` can record all of them, and targets may be Values. Checks on the numbers of targets and probabilities
are made only when the number is known: not for targets that are Values, nor for probabilities while recording.
"""

import builtins
import functools
import math

from pygrad import engine
from pygrad.common.arrays import items
from pygrad.common.nested import as_lists
from pygrad.common.numbers import describe, is_number, shown, to_float, to_whole
from pygrad.engine import recordings

_TINY = 3.720075976020836e-44  # exp(-100): a log is at least -100, as in PyTorch


def mse_loss(input, target, *, reduction="mean"):
    """Squared error, (input - target)**2.

    >>> import pygrad
    >>> pygrad.functional.mse_loss([pygrad.Value(1.0), pygrad.Value(2.0)], [1.0, 4.0]).data
    2.0
    """
    return _elementwise(lambda p, t: (p - t) ** 2, input, target, reduction)


def hinge_loss(input, target, *, reduction="mean"):
    """Max-margin loss of a score, max(0, 1 - target * input); a target that is not -1 or 1 raises a ValueError.

    Cortes and Vapnik, "Support-vector networks" (1995).
    """

    def loss(score, t):
        if not _is_value(t) and t != -1 and t != 1:
            raise ValueError(f"a target of hinge_loss must be -1 or 1, not {shown(t)}")
        return (1 + -t * score).relu()

    return _elementwise(loss, input, target, reduction)


def binary_cross_entropy(input, target, *, reduction="mean"):
    """-(t log p + (1-t) log(1-p)) for probabilities p; a probability outside [0, 1] raises a ValueError.

    A log is at least -100, as in PyTorch; where it would be less its gradient is 0. `binary_cross_entropy_with_logits`
    has no such limit.
    """

    def loss(p, t):
        if not recordings.is_recording() and (p < 0 or p > 1):
            raise ValueError(f"binary_cross_entropy needs probabilities from 0 to 1, not {p:.6g}: use ..._with_logits")
        return -(t * p.maximum(_TINY).log() + (1 - t) * (1 - p).maximum(_TINY).log())

    return _elementwise(loss, input, target, reduction)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean"):
    """`binary_cross_entropy` of sigmoid(input), computed from the logits: accurate for logits of any size."""
    # max(z, 0) and |z| have the derivatives 1/2 and 0 at z = 0, and so the loss has the right one there: 1/2 - t
    return _elementwise(lambda z, t: z.maximum(0) - t * z + (1 + (-abs(z)).exp()).log(), input, target, reduction)


def cross_entropy(input, target, *, reduction="mean", weight=None, ignore_index=None, label_smoothing=0.0):
    """Cross-entropy of softmax(input), for the logits of one sample in a list, or a list of such lists.

    The target of a sample is the index of its class, or a list with the probability of each class. If the index is a
    Value, a compiled function reads it anew in every run. A float that is whole, such as 1.0, is an index too. An index
    that is no class raises ValueError if it is a number, and IndexError if it is a Value (see `pygrad.take`); text, and
    what else is no number, raises TypeError.

    weight           a number for each class, by which its losses are multiplied; Values too
    ignore_index     samples of this class have the loss 0. Unlike in PyTorch there is none by default
    label_smoothing  from 0 to 1: this share of each target is spread over all classes. Szegedy et al., "Rethinking the
                     Inception architecture" (2016)

    As in PyTorch the mean of targets that are classes is the sum of the losses divided by the sum of the targets'
    weights, that of ignored samples being 0; if the latter sum is 0, ValueError, or nan if it depends on a Value. So of
    one sample the weight of its class cancels: in a compiled function, which sees one sample, use reduction="sum".
    Weights of another length, or below 0, raise ValueError.

    >>> import pygrad
    >>> logits = [pygrad.Value(2.0), pygrad.Value(1.0)]
    >>> round(pygrad.functional.cross_entropy(logits, 0).data, 6)
    0.313262
    >>> round(pygrad.functional.cross_entropy([logits, logits], [0, -1], ignore_index=-1).data, 6)
    0.313262
    """
    _check(reduction)
    weight, ignore_index, smoothing = _checked_options(weight, ignore_index, label_smoothing)
    input, target = as_lists(input, "the input"), as_lists(target, "the target")
    _check_sequence(input, target)
    rows = _rows(input)
    is_one = not isinstance(rows[0], list)
    if weight is None and ignore_index is None and smoothing == 0:
        losses = _row_cross_entropy(rows, target) if is_one else _pair(_row_cross_entropy, rows, target)
        return losses if is_one else _reduce(losses, losses, reduction)
    sample = functools.partial(_sample, weight=weight, ignore_index=ignore_index, smoothing=smoothing)
    pairs = [sample(rows, target)] if is_one else _pair(sample, rows, target)
    losses = [loss for loss, _ in pairs]
    if reduction == "none":
        return losses[0] if is_one else losses
    total = losses[0] if len(losses) == 1 else _sum(losses)
    return total if reduction == "sum" else total / _divisor([share for _, share in pairs])


def softmax(input):
    """exp(z) / sum(exp(z)) over a list of logits, or over each list of logits in a list; in the shape of the input."""
    return _over_rows(_row_softmax, _rows(input))


def log_softmax(input):
    """The log of softmax(input), computed without softmax: accurate for small probabilities too."""
    return _over_rows(_row_log_softmax, _rows(input))


def largest(values):
    """Return the largest of some Values, to subtract from all of them before an exp, so that the exp cannot overflow.

    Its gradients would cancel, so it is a float; while a function is recorded, a Value without gradient.
    """
    return _largest([_value(v) for v in _items(values, "the values of largest")])


def _largest(values):
    if recordings.is_recording() and _own(values):
        return engine.stop_gradient(functools.reduce(lambda peak, z: engine.maximum(z, peak), values))
    return max(z.data for z in values)


def logsumexp(values):
    """log(sum(exp(v) for v in values)) of Values or numbers, at least one, as a Value; its gradients are their softmax.

    There is no overflow, and no cancellation if one value outweighs the rest: `logsumexp([0, -50])` is exp(-50). For
    infinities the result is that of PyTorch. Raises ValueError if there are no values.

    >>> import pygrad
    >>> round(pygrad.logsumexp([pygrad.Value(1000.0), 1000.0]).data, 6)
    1000.693147
    """
    values = [_value(v) for v in _items(values, "the values of logsumexp")]
    if not values:
        raise ValueError("logsumexp needs at least one value")
    peak, peaks = _peaks(values)
    # exp is exactly 1 at the peaks. Subtract 1 there; add it again for all peaks but one: log1p adds the 1 of that one.
    others = [(v - peak).exp() - is_peak for v, is_peak in zip(values, peaks)]
    return (_sum(others) + (_sum(peaks) - 1.0)).log1p() + peak


def l2_penalty(parameters, alpha=1e-4):
    """alpha times the sum of the squared parameters, to be added to a loss (micrograd's regularization)."""
    parameters = _items(parameters, "the parameters of l2_penalty")
    return alpha * _dot(parameters, parameters)


def _peaks(values):
    """Return the largest value (0 if it is infinite or nan), and for each value 1.0 if it is equal to that, else 0.0.

    All are floats; while a function is recorded, Values without gradient.
    """
    peak = _largest(values)
    if recordings.is_recording() and _own(values):
        peak = engine.where(engine.less(abs(peak), math.inf), peak, 0.0)
        return peak, [v.equal(peak) for v in values]
    peak = peak if math.isfinite(peak) else 0.0
    return peak, [float(v.data == peak) for v in values]


# --- a "row" is the list of one sample's logits -----------------------------------------------------------------------


def _rows(input):
    """Return the logits of one sample, or a list of them, as lists."""
    rows = as_lists(input, "the input")
    if not isinstance(rows, list) or not rows:
        raise ValueError("a row of logits, or a list of rows, is needed, with at least one in it")
    return rows


def _over_rows(f, rows):
    return [f(row) for row in rows] if isinstance(rows[0], list) else f(rows)


def _shifted(row):
    """Return the logits minus their maximum, the exp of each difference, and the sum of these."""
    if not row:
        raise ValueError("a row of logits must not be empty")
    row = [_value(z) for z in row]
    peak = _largest(row)
    row = [z - peak for z in row]
    exps = [z.exp() for z in row]
    return row, exps, _sum(exps)


def _row_softmax(row):
    _, exps, total = _shifted(row)
    return [e / total for e in exps]


def _row_log_softmax(row):
    row, _, total = _shifted(row)
    log_total = total.log()
    return [z - log_total for z in row]


def _row_cross_entropy(row, target):
    row, _, total = _shifted(row)
    if isinstance(target, list):
        if len(target) != len(row):
            raise ValueError(f"a row of {len(row)} logits needs as many probabilities, not {len(target)}")
        _check_probabilities(target)
        return builtins.sum(target) * total.log() - _dot(target, row)
    if engine.is_value(target):
        return total.log() - engine.take(row, target)
    return total.log() - row[_class(target, len(row))]


def _sample(row, target, weight, ignore_index, smoothing):
    """Return the cross-entropy of one sample, and its share in the divisor of the mean."""
    row, _, total = _shifted(row)
    log_total, count = total.log(), len(row)
    losses = [log_total - z for z in row]  # one for each class, were it the target
    weights = [1.0] * count if weight is None else weight
    if len(weights) != count:
        raise ValueError(f"a row of {count} logits needs as many weights of classes, not {len(weights)}")
    spread = smoothing / count
    if isinstance(target, list):
        if len(target) != count:
            raise ValueError(f"a row of {count} logits needs as many probabilities, not {len(target)}")
        _check_probabilities(target)
        return _dot([w * ((1.0 - smoothing) * q + spread) for w, q in zip(weights, target)], losses), 1.0
    rest = spread * _dot(weights, losses) if smoothing else 0.0
    if engine.is_value(target):
        return _followed(target, losses, weights, ignore_index, 1.0 - smoothing, rest)
    if ignore_index is not None and is_number(target) and target == ignore_index:
        return (engine.Value if _own(row) else type(row[0]))(0.0), 0.0
    place = _class(target, count)
    return (1.0 - smoothing) * weights[place] * losses[place] + rest, weights[place]


def _followed(target, losses, weights, ignore_index, share, rest):
    """Return the two numbers of `_sample` for a class that is a Value."""
    is_ignored = None if ignore_index is None else target.equal(ignore_index)
    place = target if is_ignored is None else engine.where(is_ignored, 0.0, target)
    own = engine.take(weights, place)
    loss = share * own * engine.take(losses, place) + rest
    if is_ignored is None:
        return loss, own
    return engine.where(is_ignored, 0.0, loss), engine.where(is_ignored, 0.0, own)


def _divisor(shares):
    """Return the sum by which the mean divides. Raises ValueError if it is known to be 0."""
    total = builtins.sum(shares)
    if not _is_value(total) and total == 0:
        raise ValueError(
            'there is no mean: every target is ignored, or of a class of weight 0; reduction="sum" gives 0 then'
        )
    return total


def _checked_options(weight, ignore_index, smoothing):
    """Return the options of cross_entropy, the weights in a list. Raises TypeError or ValueError for a wrong one."""
    if weight is not None:
        weight = _items(weight, "the weights of classes")
        for w in weight:
            if not _is_value(w) and not to_float(w, "the weight of a class") >= 0:
                raise ValueError(f"the weight of a class must be at least 0, not {shown(w)}")
    if ignore_index is not None:
        ignore_index = to_whole(ignore_index, "ignore_index", -math.inf)
    if not 0 <= to_float(smoothing, "label_smoothing") <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, not {shown(smoothing)}")
    return weight, ignore_index, to_float(smoothing, "label_smoothing")


def _class(target, count):
    """Return the class of a sample as an int: a whole number from 0 to count - 1, of whatever type of numbers.

    Raises ValueError for any other number, and TypeError for what is no number.
    """
    if not is_number(target):
        is_text = isinstance(target, str)
        cure = ": convert it first, as in int(target)" if is_text else ": use target.data" if _is_value(target) else ""
        raise TypeError(f"a target must be a class from 0 to {count - 1}, a whole number, not {describe(target)}{cure}")
    if not 0 <= target < count or target != int(target):
        cure = ": to leave such samples out pass ignore_index=-100" if target == -100 else ""  # PyTorch's default
        raise ValueError(f"a target must be a class from 0 to {count - 1}, not {shown(target)}{cure}")
    return int(target)


def _check_probabilities(target):
    for p in target:
        if not _is_value(p) and not is_number(p):
            raise TypeError(f"a probability of a class must be a Value or a number, not {describe(p)}")


def _check_sequence(rows, target):
    """Raise ValueError if the input and target of cross_entropy are swapped: the target has the lists of logits."""
    depth = _depth(rows)
    if depth < 2 and _depth(target) == depth + 1:
        raise ValueError(
            "cross_entropy takes the logits first, a list for each sample, and then the targets, a class for each: "
            "are the two swapped?"
        )


def _depth(x):
    return 1 + _depth(x[0]) if isinstance(x, list) and x else int(isinstance(x, list))


# --- shapes and reductions --------------------------------------------------------------------------------------------


def _is_value(x):
    return hasattr(type(x), "_prev")


def _items(values, name):
    """Return Values and numbers in a list: see pygrad.common.arrays.items."""
    return as_lists(items(values, name, "a list of Values and numbers"), name)


def _value(x):
    return x if _is_value(x) else engine.Value(x)


def _elementwise(loss, input, target, reduction):
    """Return the reduced `loss` of all predictions and their targets."""
    _check(reduction)
    flat = []

    def deep(i, t):
        if isinstance(i, list):
            return _pair(deep, i, t)
        if isinstance(t, list):
            raise ValueError(f"one prediction needs one target, not a list of {len(t)}")
        flat.append(loss(_value(i), t))
        return flat[-1]

    return _reduce(deep(as_lists(input, "the input"), as_lists(target, "the target")), flat, reduction)


def _pair(loss, input, target):
    """Return the `loss` of each prediction and its target, in a list. ValueError if there are not as many targets."""
    if not isinstance(target, list) or len(target) != len(input):
        given = len(target) if isinstance(target, list) else "a single one"
        raise ValueError(f"{len(input)} predictions need as many targets, not {given}")
    return [loss(i, t) for i, t in zip(input, target, strict=True)]


def _check(reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", not {shown(reduction)}')


def _reduce(losses, flat, reduction):
    """Return `losses`, nested as the predictions are, or their sum or mean; `flat` has them all in one list."""
    if not flat:
        raise ValueError("a loss needs at least one prediction")
    if reduction == "none":
        return losses
    total = flat[0] if len(flat) == 1 else _sum(flat)
    return total / len(flat) if reduction == "mean" and len(flat) > 1 else total


# --- sum and dot: one node each for pygrad's own Values, a loop in Python for those of another engine -----------------


def _sum(values):
    return (engine.sum if _own(values) else builtins.sum)(values)


def _dot(ws, xs):
    return engine.dot(ws, xs) if _own(xs) else builtins.sum(w * x for w, x in zip(ws, xs, strict=True))


def _own(values):
    return all(engine.is_value(v) for v in values)
