"""Errors and warnings of functions that are recorded, and should be written in another way: they name the cure."""

import re
import warnings

import pytest

import pygrad
from pygrad import Value
from pygrad import functional as F

pytestmark = [pytest.mark.proxy]

X = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
Y = [1.0, 0.0, 1.0]
W = [Value(0.5), Value(-0.5)]
SGD = pygrad.optim.SGD(W, lr=0.1)


def score(x):
    return W[0] * x[0] + W[1] * x[1]


def model(x):
    return pygrad.nn.MLP(2, [2, 1])(x)


# Functions that are written for the whole batch, and the error that they raise for one sample.
OF_BATCHES = {
    "a loop over X and y": (lambda X, y: sum((score(a) - b) ** 2 for a, b in zip(X, y)), TypeError),
    "a loop over X": (lambda X, y: sum(score(a) for a in X), TypeError),
    "a loop over y": (lambda X, y: sum(b * 1.0 for b in y), TypeError),
    "enumerate": (lambda X, y: sum(b * i for i, b in enumerate(y)), TypeError),
    "len(y)": (lambda X, y: W[0] * len(y), TypeError),
    "y[i]": (lambda X, y: W[0] * y[0], TypeError),
    "y[i] = ": (lambda X, y: y.__class__ and exec("y[0] = 1.0", {"y": y}), TypeError),
    "unpacked rows": (lambda X, y: sum(a * b for a, b in X), TypeError),
    "an unpacked column": (lambda X, y: X[0] * [*y][0], TypeError),
    "too few samples": (lambda X, y: score([X[2], y]), IndexError),
    "three samples unpacked": (lambda X, y: (lambda a, b, c: a)(*X) if len(X) > 2 else _three(X), ValueError),
    "a network": (lambda X, y: sum(model(a) - y for a in X), ValueError),
    "map": (lambda X, y: sum(s * y for s in map(model, X)), ValueError),
    "a loss": (lambda X, y: F.mse_loss([model(a) for a in X], y), ValueError),
    "a sum": (lambda X, y: pygrad.sum(y) * X[0], TypeError),
    "a dot": (lambda X, y: pygrad.dot(W, y), TypeError),
    "X.shape": (lambda X, y: X.shape[0] * y, AttributeError),
    "y.mean": (lambda X, y: y.mean(), AttributeError),
}


def _three(X):
    a, b, c = X
    return a * b * c


WAYS = {
    "call": lambda f: f(X, Y),
    "backward": lambda f: f.backward(X, Y),
    "trace": lambda f: f.trace(X, Y),
    "fit": lambda f: f.fit(SGD, X, Y),
    "gradient": lambda f: pygrad.gradient(f)(X, Y),
    "keywords": lambda f: f(X=X, y=Y),
    "Values": lambda f: f(X, [Value(y) for y in Y]),
    "arrays": lambda f: f(pytest.importorskip("numpy").array(X), pytest.importorskip("numpy").array(Y)),
}


def assert_says_one_sample(run, error):
    with pytest.raises(error) as caught:
        run()
    assert type(caught.value) is error
    assert 1 == len(re.findall("one sample at a time", str(caught.value)))
    for part in ("holds 3 of them", "write it for one sample", "batched=False"):
        assert part in str(caught.value)


@pytest.mark.parametrize("case", OF_BATCHES)
def test_a_function_for_the_whole_batch_is_told_of_one_sample(case):
    """The type of the error is what it was, and so is its traceback."""
    function, error = OF_BATCHES[case]
    assert_says_one_sample(lambda: pygrad.compile(function)(X, Y), error)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["a loop over X and y", "len(y)", "a network"])
def test_every_way_to_record_says_so(way, case):
    function, error = OF_BATCHES[case]
    assert_says_one_sample(lambda: WAYS[way](pygrad.compile(function)), error)


def test_within_another_recording_it_is_said_once():
    inner = pygrad.compile(lambda x: sum(x))

    assert_says_one_sample(lambda: pygrad.compile(lambda x: inner([x, x, x]))([1.0, 2.0, 3.0]), TypeError)


def test_the_cure_works():
    """batched=False gives the arguments whole."""
    for case in ("a loop over X and y", "enumerate"):
        function, _ = OF_BATCHES[case]
        eager = function([[Value(x) for x in row] for row in X], [Value(y) for y in Y])

        assert eager.data == pygrad.compile(function, batched=False)(X, Y)


class Mine(ValueError):
    """An error of the program's own."""


@pytest.mark.parametrize(
    "kind, args",
    [
        (TypeError, ("mine",)),
        (ValueError, ("mine",)),
        (Mine, ("the input has length 1",)),
        (IndexError, (5,)),
        (TypeError, ()),
        (AttributeError, ("no attribute 'x'",)),
        (KeyError, ("Value is not iterable",)),
        (TypeError, ("Value", "is not iterable")),
    ],
)
def test_errors_of_the_program_stay_what_they_are(kind, args):
    """The object, its message and its arguments."""
    raised = []

    def fails(x):
        raised.append(kind(*args))
        raise raised[0]

    with pytest.raises(kind) as caught:
        pygrad.compile(fails)([1.0, 2.0])
    assert caught.value is raised[0]
    assert args == caught.value.args


def test_without_a_batch_there_is_no_word_of_one():
    """Numbers, or batched=False: the error is Python's."""
    for f in (pygrad.compile(lambda x: x[0]), pygrad.compile(lambda x: x[0], batched=False)):
        with pytest.raises(TypeError, match="subscriptable$"):
            f(1.0)


def test_an_array_indexed_by_a_recorded_value_names_take():
    """NumPy has an error of its own, which a list has not."""
    np = pytest.importorskip("numpy")
    for xs in (np.arange(3.0), [0.0, 1.0, 2.0], (Value(0.0), Value(1.0), Value(2.0))):
        with pytest.raises((IndexError, TypeError), match=r"pygrad\.take\(xs, v\) in place of xs\[v\]"):
            pygrad.compile(lambda i, xs=xs: xs[i] * 1.0)([1.0, 2.0])


def test_a_list_has_no_shape_and_the_array_is_named():
    with pytest.raises(AttributeError, match=r"'list' object has no attribute 'shape'; numpy\.array\(x\)"):
        pygrad.compile(lambda x: x.shape[0] * x[0], batched=False)([1.0, 2.0])


def test_backward_without_arguments_says_which():
    """A call returns a float, which has no backward(); the function has."""
    loss = pygrad.compile(lambda X, y: (score(X) - y) ** 2)

    assert type(loss(X, Y)) is float
    for run in (loss.backward, loss, lambda: loss.fit(SGD)):
        with pytest.raises(TypeError, match=r"missing 2 required.*loss\.backward\(X, y\)"):
            run()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'$"):
        loss(X)
    assert "loss.backward(X, y)" in pygrad.tape.compiled.Compiled.__call__.__doc__


def softmax(peak):
    def f(xs):
        shifted = [(x - peak(xs)).exp() for x in xs]
        return [e / sum(shifted) for e in shifted]

    return f


@pytest.mark.parametrize(
    "peak", [lambda xs: max(x.data for x in xs), lambda xs: max(x.item() for x in xs), max, lambda xs: max(xs).data]
)
def test_a_recorded_softmax_is_told_of_pygrads(peak):
    """The number that is subtracted is kept from the first run: functional.softmax subtracts that of each run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pygrad.compile(softmax(peak), batched=False)([1.0, 2.0])

    assert caught
    for warning in caught:
        assert pygrad.TraceWarning is warning.category
        assert "functional.softmax" in str(warning.message)
        assert "logsumexp" in str(warning.message)
