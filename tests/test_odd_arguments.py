"""Numbers of a wrong kind or size as arguments; and no message grows with what it is about."""

import math

import pytest

import pygrad
from pygrad import Value, data, optim
from pygrad.common.numbers import shortened, shown

numpy = pytest.importorskip("numpy")
pytestmark = [pytest.mark.once, pytest.mark.python]

NOT_WHOLE = [1.0, math.inf, math.nan, "1", [1], numpy.float64(2.0)]
HUGE = [2**31, 2**32, 2**63, 2**64, 10**30, 10**400]


@pytest.fixture
def f():
    w = Value(0.5)
    compiled = pygrad.compile(lambda x: (x * w - 1.0) ** 2)
    compiled([1.0])
    compiled.optimizer = optim.SGD([w], lr=0.01)
    return compiled


@pytest.mark.parametrize("size", HUGE, ids=lambda size: f"2^{size.bit_length()}")
def test_a_batch_larger_than_the_data_is_all_of_it(f, size):
    """Whatever its size; and drop_last leaves nothing of it."""
    assert 1 == len(f.fit(f.optimizer, [1.0, 2.0, 3.0], batch_size=size))
    assert [3] == [len(batch) for batch in data.batches([1, 2, 3], batch_size=size)]
    assert 1 == len(data.batches([1, 2, 3], batch_size=size))
    assert not len(data.batches([1, 2, 3], batch_size=size, drop_last=True))
    with pytest.raises(ValueError, match="drop_last leaves no batch"):
        f.fit(f.optimizer, [1.0, 2.0], batch_size=size, drop_last=True)


CALLS = {
    "batch_size": lambda f, x: f.fit(f.optimizer, [1.0, 2.0], batch_size=x),
    "epochs": lambda f, x: f.fit(f.optimizer, [1.0, 2.0], epochs=x),
    "batches": lambda f, x: data.batches([1, 2], batch_size=x),
    "threads": lambda f, x: pygrad.compile(f.function, threads=x),
    "limit": lambda f, x: pygrad.explain(f.optimizer.param_groups[0]["params"][0], Value(1.0), limit=x),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("x", NOT_WHOLE, ids=repr)
def test_what_is_not_whole_is_refused(f, call, x):
    with pytest.raises(TypeError, match="must be a whole number, not "):
        call(f, x)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("x", [-1, -(10**30), -(10**5000), numpy.int64(-2)], ids=["-1", "-10^30", "-10^5000", "int64"])
def test_what_is_too_small_is_refused(f, call, x):
    with pytest.raises(ValueError, match="must be at least [01], not ") as error:
        call(f, x)
    assert 300 > len(str(error.value))


@pytest.mark.parametrize("x", [True, numpy.int8(1), numpy.uint64(1)], ids=repr)
def test_whole_numbers_of_other_types_are_whole_numbers(f, x):
    for call in CALLS.values():
        call(f, x)


def test_seeds(f):
    """A NumPy integer is the int; what is no seed is refused."""
    one = [list(data.batches(range(20), batch_size=5, seed=seed)) for seed in (7, numpy.int64(7), numpy.uint8(7))]
    assert one[0] == one[1] == one[2]
    for seed in ([1], {}, Value(1.0)):
        for call in (
            lambda seed: data.batches([1], batch_size=1, seed=seed),
            lambda seed: data.train_test_split([1, 2], test_size=1, seed=seed),
            lambda seed: f.fit(f.optimizer, [1.0, 2.0], batch_size=1, seed=seed),
        ):
            with pytest.raises(TypeError, match="a seed must be"):
                call(seed)


@pytest.mark.parametrize("size", [math.inf, math.nan, "1", None, [1]], ids=repr)
def test_test_sizes(size):
    with pytest.raises(TypeError, match="test_size, if it is no fraction, must be a whole number"):
        data.train_test_split([1, 2, 3], test_size=size)


# --- messages ---------------------------------------------------------------------------------------------------------

LONG = "x" * 1_000_000


def long_take(_):
    """A take of as many values has as long a line on the tape."""
    f = pygrad.compile(lambda xs, i: pygrad.take(xs, i), batched=False)
    f([1.0] * 50_000, 50_001.0)


def long_sizes(_):
    optimizer = optim.SGD([{"params": [Value(1.0)]} for _ in range(10_000)])
    state = optimizer.state_dict()
    state["param_groups"].pop()
    state["state"].pop()
    optimizer.load_state_dict(state)


class Wide(pygrad.Module):
    def __init__(self):
        for i in range(10_000):
            setattr(self, f"parameter{i}", Value(1.0))


MESSAGES = {
    "take": long_take,
    "take eagerly": lambda _: pygrad.take([1.0], 10**5000),
    "an op's name": lambda v: setattr(v, "requires_grad", False),
    "a parameter": lambda v: optim.SGD([v]),
    "copy": lambda v: v.__reduce_ex__(2),
    "init": lambda v: v.__init__(1.0),
    "groups": long_sizes,
    "state": lambda _: Wide().load_state_dict({}),
    "activation": lambda _: pygrad.MLP(1, [1], activation=LONG),
    "pass": lambda _: pygrad.compile(abs, passes=[LONG]),
    "reduction": lambda _: pygrad.compile(abs, reduction=LONG),
    "batched": lambda _: pygrad.compile(abs, batched=LONG),
    "lengths": lambda _: data.batches(*[[0] * (i % 3) for i in range(10_000)], batch_size=1),
    "operand": lambda v: v + LONG,
    "data": lambda _: Value(LONG),
    "betas": lambda v: optim.Adam([Value(1.0)], betas=[0.5] * 10_000),
}


@pytest.mark.parametrize("fails", MESSAGES.values(), ids=MESSAGES)
def test_messages_are_short(fails):
    v = Value(1.0, (Value(1.0),), LONG)
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)) as error:
        fails(v)
    assert 2_500 > len(str(error.value)), str(error.value)[:1000]


def test_shortened():
    """The beginning and the end stay, and a short text as it is."""
    assert "abc" == shortened("abc")
    assert "'abc'" == shown("abc")
    assert "int" == shown(10**5000)
    assert "ab … (6 more characters) … ij" == shortened("abcdefghij", 4)
