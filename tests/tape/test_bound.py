"""The raw path: a compiled function bound to the caller's memory."""

from array import array

import pytest

import pygrad

pytestmark = pytest.mark.wheel


def matrix(lists):
    """Return memory of the shape (len(lists), len(lists[0]))."""
    return memoryview(array("d", sum(lists, []))).cast("B").cast("d", (len(lists), len(lists[0])))


def test_an_array_is_bound_as_one_sample_or_as_many():
    """The caller's memory is read anew in every call, whole or an item a sample; a number has memory of its own."""
    x = array("d", [2.0, 3.0])
    one = pygrad.compile(lambda x, c: x[0] * x[1] * c, batched=False).bind(x, 5.0)
    many = pygrad.compile(lambda x, c: x * x * c, reduction="sum").bind(x, 5.0)
    seen = []
    for first, c in ((2.0, 5.0), (4.0, 10.0)):
        x[0], one.inputs[1][0], many.inputs[1][0] = first, c, c
        for bound in (one, many):
            bound.backward()
            seen.append((bound.output[0], bound.gradients.tolist()))

    assert (30.0, [15.0, 10.0, 6.0]) == seen[0]
    assert (65.0, [20.0, 30.0, 4.0, 9.0]) == seen[1]  # d/dx of both samples, then d/dc
    assert (120.0, [30.0, 40.0, 12.0]) == seen[2]
    assert (250.0, [80.0, 60.0, 16.0, 9.0]) == seen[3]


def test_one_sample_may_be_a_matrix():
    """With batched=False an array of any shape is one sample, as nested lists of that shape are."""
    f = pygrad.compile(lambda x: x[0][1] * x[1][0], batched=False)
    bound = f.bind(matrix([[1.0, 2.0], [3.0, 4.0]]))

    bound.backward()

    assert 6.0 == bound.output[0] == f([[1.0, 2.0], [3.0, 4.0]])
    assert [0.0, 3.0, 2.0, 0.0] == bound.gradients.tolist()
    assert 1 == len(f._tapes)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_each_sample_has_its_result_and_its_gradients(n):
    """With reduction "none" they are what each sample gives by itself; parameters get the sum of all."""
    w = pygrad.Value(0.5)
    X = [[0.1 * k, 2.0 - k] for k in range(n)]

    def function(x):
        return (w * x[0]).tanh() * x[1]

    alone = pygrad.compile(function, batched=False)
    outputs, gradients = zip(*(alone.backward(x, inputs=True) for x in X))
    of_parameter, w.grad = w.grad, 0.0
    bound = pygrad.compile(function, reduction="none").bind(matrix(X))

    bound.backward()

    assert list(outputs) == bound.output.tolist()
    assert pytest.approx([g for (pair,) in gradients for g in pair], rel=1e-14) == bound.gradients.tolist()
    assert pytest.approx(of_parameter, rel=1e-13) == w.grad


@pytest.mark.parametrize("n", [1, 3, 50])
def test_gradients_follow_one_argument_after_the_other(n):
    """Each argument's stand together, as its own numbers do; a number for all samples has one for each of them."""
    X, y, c = [[0.1 * k, 2.0 - k] for k in range(n)], array("d", [1.5 + k for k in range(n)]), 3.0
    bound = pygrad.compile(lambda x, y, c: x[0] * x[1] * y * c, reduction="none").bind(matrix(X), y, c)

    bound.backward()

    of_x = [g for (a, b), y in zip(X, y) for g in (b * y * c, a * y * c)]
    expected = [*of_x, *(a * b * c for a, b in X), *(a * b * y for (a, b), y in zip(X, y))]
    assert pytest.approx(expected, rel=1e-14) == bound.gradients.tolist()


def test_gradients_of_inputs_are_shaped_like_them():
    """Matrices, numbers a sample, and a number for all: each argument's gradients have its shape, and none is lost."""
    f = pygrad.compile(lambda x, y, c: x[0][0] * x[1][1] * y * c, reduction="sum")
    X = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]

    value, (dx, dy, dc) = f.backward(X, [3.0, 4.0], 10.0, inputs=True)

    assert 1720.0 == value
    assert [[[120.0, 0.0], [0.0, 30.0]], [[320.0, 0.0], [0.0, 200.0]]] == dx
    assert [40.0, 400.0] == dy
    assert 172.0 == dc


def test_bound_memory_stays_as_long_as_it_is():
    """What C reads and writes cannot be made shorter or longer while it is bound; afterwards it can."""
    x = array("d", [3.0] * 100_000)
    f = pygrad.compile(lambda x, c: x * x * c, reduction="none")
    bound = f.bind(x, 2.0)
    for memory in (x, bound.inputs[1], bound.output, bound.gradients):
        for change in (array.pop, lambda memory: memory.extend(memory)):
            with pytest.raises(BufferError):
                change(memory)
    bound.backward()
    assert (18.0, 12.0) == (bound.output[-1], bound.gradients[99_999])

    del bound, memory
    x.append(1.0)


def test_memory_of_a_bound_jacobian_stays_as_long_as_it_is():
    """Likewise, unrolled or in lanes."""
    for n in (2, 40):
        x = array("d", [3.0] * n)

        def function(x, c):
            return [pygrad.sum(x) * a * c for a in x]

        bound = pygrad.jacobian(pygrad.compile(function, batched=False)).bind(x, 2.0)
        for memory in (x, bound.inputs[1]):
            with pytest.raises(BufferError):
                memory.pop()
        bound.forward()
        assert n * (n + 1) == len(bound.output)


@pytest.mark.parametrize("x", [[1.0, 2.0], (1.0, 2.0), array("f", [1.0, 2.0]), array("i", [1, 2])])
def test_what_would_have_to_be_copied_is_not_bound(x):
    """Lists and other kinds of numbers are refused: what is written to them later would not be read."""
    with pytest.raises(ValueError, match="argument 1 cannot be bound"):
        pygrad.compile(lambda x: x * x).bind(x)


def test_a_list_as_result_is_bound_forward_only():
    """Its numbers are there after a call; but only one number has a gradient, or one a sample."""
    bound = pygrad.compile(lambda x: [x, x * 2.0]).bind(array("d", [1.0]))
    bound.forward()
    assert [1.0, 2.0] == list(bound.output)
    assert bound.gradients is None
    with pytest.raises(ValueError, match="needs one number"):
        bound.backward()
