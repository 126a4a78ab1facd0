"""Mini-batches and the train/test split: every item once, in step, and the same again with the same seed."""

import random

import pytest

import pygrad
from pygrad.data import batches, train_test_split

pytestmark = [pytest.mark.once, pytest.mark.python]

X = list(range(10))
Y = [str(x) for x in X]


def test_every_item_comes_once_a_pass():
    """A pass gives every item once; the last batch is smaller."""
    got = list(batches(X, batch_size=4, seed=1))

    assert [4, 4, 2] == [len(batch) for batch in got]
    assert sorted(sum(got, [])) == X
    assert sum(got, []) != X


def test_sequences_stay_in_step():
    """Batches of several sequences hold the same places of each."""
    for x, y in batches(X, Y, batch_size=3, seed=1):
        assert [str(i) for i in x] == y


def test_without_shuffle_the_order_is_kept():
    """Without shuffle the batches are slices."""
    assert [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] == list(batches(X, batch_size=4, shuffle=False))


def test_drop_last():
    """drop_last leaves a smaller last batch out, and only that."""
    assert [[0, 1, 2, 3], [4, 5, 6, 7]] == list(batches(X, batch_size=4, shuffle=False, drop_last=True))
    assert 2 == len(list(batches(X, batch_size=5, drop_last=True)))
    assert [] == list(batches(X, batch_size=11, drop_last=True))


@pytest.mark.parametrize("size, drop_last", [(1, False), (4, False), (4, True), (5, True), (10, True), (99, False)])
def test_len_is_the_number_of_batches(size, drop_last):
    """len() is the number of batches of a pass."""
    loader = batches(X, batch_size=size, drop_last=drop_last)

    assert len(list(loader)) == len(loader)


def test_each_pass_shuffles_anew_and_a_seed_repeats_them_all():
    """Passes differ; the same seed gives the same passes, another one others."""
    first, again, other = (batches(X, batch_size=3, seed=seed) for seed in (1, 1, 2))
    passes = [list(first) for _ in range(3)]

    assert passes[0] != passes[1] != passes[2]
    assert passes == [list(again) for _ in range(3)]
    assert passes[0] != list(other)


def test_the_global_generator_is_left_alone():
    """Neither batches nor a split draws from Python's global generator, or depends on it."""
    random.seed(1)
    state = random.getstate()
    first = list(batches(X, batch_size=3, seed=5)), train_test_split(X, seed=5)
    assert state == random.getstate()
    random.seed(2)

    assert first == (list(batches(X, batch_size=3, seed=5)), train_test_split(X, seed=5))
    list(batches(X, batch_size=3))
    random.seed(2)
    expected = random.random()
    random.seed(2)
    train_test_split(X)
    assert expected == random.random()


def test_numpy_arrays_give_arrays():
    """Batches and parts of NumPy arrays are arrays, in step with lists."""
    numpy = pytest.importorskip("numpy")
    array = numpy.array(X)[:, None] * [1.0, 2.0]
    for a, x in batches(array, X, batch_size=4, seed=3):
        assert [[i, 2 * i] for i in x] == a.tolist()
        assert isinstance(a, numpy.ndarray)
    train, test, _, x_test = train_test_split(array, X, test_size=3, seed=1)

    assert ((7, 2), (3, 2)) == (train.shape, test.shape)
    assert x_test == test[:, 0].tolist()


def test_empty_sequences_have_no_batches():
    """Nothing to iterate over is no error."""
    assert [] == list(batches([], batch_size=4))


@pytest.mark.parametrize("test_size, n", [(0.25, 3), (0.2, 2), (0.01, 1), (4, 4)])
def test_split_sizes(test_size, n):
    """A fraction of the items is rounded up; a number is that number."""
    x_train, x_test, y_train, y_test = train_test_split(X, Y, test_size=test_size, seed=1)

    assert (10 - n, n) == (len(x_train), len(x_test))
    assert X == sorted(x_train + x_test)
    assert ([str(x) for x in x_train], [str(x) for x in x_test]) == (y_train, y_test)


def test_split_repeats_with_its_seed():
    """The same seed gives the same split, another one another, and it is shuffled."""
    assert train_test_split(X, seed=1) == train_test_split(X, seed=1)
    assert train_test_split(X, seed=1) != train_test_split(X, seed=2)
    assert X[:3] != train_test_split(X, seed=1)[1]


@pytest.mark.parametrize("test_size", [0, 10, -1, 0.0, 1.0, 11, 1.5])
def test_split_into_nothing(test_size):
    """A split that leaves one part empty is refused."""
    with pytest.raises(ValueError, match="empty"):
        train_test_split(X, test_size=test_size)


def test_lengths_that_differ():
    """Sequences of different lengths are refused with their lengths."""
    with pytest.raises(ValueError, match="not 10, 9"):
        batches(X, Y[:9], batch_size=2)
    with pytest.raises(ValueError, match="not 10, 9"):
        train_test_split(X, Y[:9])


@pytest.mark.parametrize("size, error", [(0, ValueError), (-1, ValueError), (2.5, TypeError), (None, TypeError)])
def test_batch_size_out_of_range(size, error):
    """A batch size below 1, or that is no integer, is refused."""
    with pytest.raises(error):
        batches(X, batch_size=size)


def test_no_sequences():
    """At least one sequence is needed."""
    with pytest.raises(ValueError, match="at least one"):
        batches(batch_size=2)
    with pytest.raises(ValueError, match="at least one"):
        train_test_split()


@pytest.mark.parametrize("shuffled", [lambda x: next(iter(batches(x, batch_size=3))), lambda x: train_test_split(x)[0]])
def test_an_order_that_is_recorded_is_told(shuffled):
    """A compiled function would keep the order that it was recorded with: a warning says so, at the line that asks."""
    f = pygrad.compile(lambda x: pygrad.sum(shuffled(x)), batched=False)

    with pytest.warns(pygrad.TraceWarning, match="shuffle outside") as told:
        f([1.0, 2.0, 3.0, 4.0])

    assert [__file__] == [warning.filename for warning in told]


def test_batches_in_order_are_recorded():
    """What is not shuffled is no matter."""
    f = pygrad.compile(lambda x: [pygrad.sum(part) for part in batches(x, batch_size=2, shuffle=False)], batched=False)

    assert [3.0, 7.0] == f([1.0, 2.0, 3.0, 4.0])
