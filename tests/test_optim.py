"""Optimizers and schedules against PyTorch's; steps in C against those in Python; their states; and their refusals."""

import copy
import json
import math
import pickle
from array import array
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import in_threads

from pygrad import engine, lr_scheduler, optim, reference
from pygrad.engine import Value
from pygrad.engine._lib import lib
from pygrad.module import Module

START = [1.5, -2.0, 0.25]


def loss_of(a, b, c):
    """Return a curved loss of three parameters, of Values or tensors; c has no gradient at first."""
    return (a * b - 3.0) ** 2 + 0.5 * (a - 1.0) ** 4 + (b * c) ** 2 * 0.1


def values():
    """Make the three parameters."""
    return [Value(x) for x in START]


def take_steps(optimizer, params, steps):
    """Train for some steps; return the parameters after each."""
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(*params).backward()
        optimizer.step()
        path.append([p.data for p in params])
    return path


def torch_steps(torch, name, steps, **kwargs):
    """Do the same with PyTorch's optimizer of that name."""
    params = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in START]
    optimizer = getattr(torch.optim, name)(params, foreach=False, **kwargs)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(*params).backward()
        optimizer.step()
        path.append([p.item() for p in params])
    return path


# --- trajectories -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options",
    [
        ("SGD", {}),
        ("SGD", {"lr": 0.01}),
        ("SGD", {"lr": 0.01, "momentum": 0.9}),
        ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.3}),
        ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
        ("SGD", {"lr": 0.01, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.01, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1, "nesterov": True}),
        ("Adam", {}),
        ("Adam", {"lr": 0.1}),
        ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}),
        ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
        ("Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
        ("AdamW", {}),
        ("AdamW", {"lr": 0.1}),
        ("AdamW", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.2}),
        ("SGD", {"lr": 1e-4, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
        ("Adam", {"lr": 0.1, "amsgrad": True}),
        ("Adam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
        ("AdamW", {"lr": 0.1, "amsgrad": True, "betas": (0.9, 0.5)}),
        ("AdamW", {"lr": 0.01, "amsgrad": True, "maximize": True}),
        ("RMSprop", {}),
        ("RMSprop", {"lr": 0.01, "alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.9}),
        ("RMSprop", {"lr": 0.01, "centered": True}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.1, "alpha": 0.9}),
        ("RMSprop", {"lr": 0.001, "momentum": 0.5, "maximize": True}),
    ],
)
def test_trajectory_is_pytorchs(torch, name, options):
    """Fifty steps lead where PyTorch's lead, with the same options and defaults."""
    expected = torch_steps(torch, name, 50, **options)
    params = values()
    path = take_steps(getattr(optim, name)(params, **options), params, 50)

    for theirs, ours in zip(expected, path, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-11, abs=1e-13)


def test_sgd_is_the_plain_formula_to_the_bit():
    """Without options SGD computes p - lr * grad, the loop of micrograd's demo, to the bit."""
    params, by_hand = values(), values()
    take_steps(optim.SGD(params, lr=0.013), params, 20)
    for _ in range(20):
        for p in by_hand:
            p.grad = 0
        loss_of(*by_hand).backward()
        for p in by_hand:
            p.data -= 0.013 * p.grad

    assert [p.data for p in by_hand] == [p.data for p in params]


def test_groups_have_hyperparameters_of_their_own():
    """A group's own lr counts for its parameters, the default for the others, and both may be changed later."""
    a, b = Value(1.0), Value(1.0)
    a.grad = b.grad = 1.0
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.25)
    optimizer.step()
    assert [0.75, 0.5] == [a.data, b.data]

    optimizer.param_groups[0]["lr"] = 0.125
    optimizer.step()
    assert [0.625, 0.0] == [a.data, b.data]


def test_a_parameter_listed_twice_moves_once():
    """Tied parameters are one parameter."""
    p = Value(1.0)
    p.grad = 1.0
    optim.SGD([p, p], lr=0.5).step()

    assert 0.5 == p.data


def test_adam_without_eps_and_gradient_gives_nan():
    """Where PyTorch divides 0 by 0, the parameter is nan too, and not an exception in the middle of a step."""
    p, q = Value(1.0), Value(1.0)
    q.grad = 1.0
    optim.Adam([p, q], lr=0.5, eps=0).step()

    assert math.isnan(p.data)
    assert 0.5 == pytest.approx(q.data, rel=1e-14)


# --- in C and in Python -----------------------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, 1.0, 5e-324, -2e-310, 1.7e308, math.inf, -math.inf, math.nan]
NUMBERS = st.floats(-10, 10) | st.sampled_from(SPECIAL) | st.floats()
BETAS = st.sampled_from([0, 0.9, 0.999, 5e-324, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True)
HYPER = {name: NUMBERS | st.just(0) for name in ("lr", "momentum", "dampening", "weight_decay", "eps", "alpha")}
FLAGS = {name: st.booleans() for name in ("nesterov", "amsgrad", "centered", "maximize")}
OPTIONS = {
    "SGD": st.fixed_dictionaries({**HYPER, **FLAGS}),
    "Adam": st.fixed_dictionaries({**HYPER, **FLAGS, "betas": st.tuples(BETAS, BETAS)}),
    "RMSprop": st.fixed_dictionaries({**HYPER, **FLAGS}),
}
OPTIONS["AdamW"] = OPTIONS["Adam"]


@st.composite
def trainings(draw):
    """Draw an optimizer, the data to start from, a state or None, and each step's hyperparameters and gradients."""
    name, row = draw(st.sampled_from(list(OPTIONS))), st.lists(NUMBERS, min_size=3, max_size=3)
    state = {"step": st.integers(0, 10**6), "exp_avg": row, "exp_avg_sq": row}
    if name == "SGD":
        state = {"momentum_buffer": st.none() | row}
    if name == "RMSprop":
        state = {"square_avg": row}
    steps = st.lists(st.tuples(OPTIONS[name], row), min_size=1, max_size=6)
    return getattr(optim, name), draw(row), draw(st.none() | st.fixed_dictionaries(state)), draw(steps)


def everything(optimizer):
    """Return all that a step may change as text, which tells every bit, but for those of nan."""
    values = [p for group in optimizer.param_groups for p in group["params"]]
    return repr([[(p.data, p.grad) for p in values], optimizer.state_dict()])


def step_by(optimizer, grads):
    """Take a step with these gradients."""
    for p, grad in zip(optimizer.param_groups[0]["params"], grads, strict=True):
        p.grad = grad
    optimizer.step()


def train(engine, kind, start, state, steps):
    """Take steps with hyperparameters that change from one to the next; return everything after each."""
    optimizer, path = kind([engine.Value(x) for x in start]), []
    if state is not None:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": [state]})
    for options, grads in steps:
        optimizer.param_groups[0].update(options)
        step_by(optimizer, grads)
        path.append(everything(optimizer))
    return path


@pytest.fixture
def calls(monkeypatch):
    """The names of the C functions that optimizers and Modules call."""
    called = []

    class Spy:
        def __getattr__(self, name):
            if name.startswith("pg_"):
                called.append(name)
            return getattr(lib, name)

    monkeypatch.setattr(optim, "lib", Spy())
    return called


@given(trainings())
def test_a_step_in_c_is_the_formula_to_the_bit(training):
    """Values of the arena and of the pure-Python engine, which has no C step, go the same way, whatever the numbers."""
    assert train(reference, *training) == train(engine, *training)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_long_training_in_c_is_the_formula_to_the_bit(name):
    """So they do over 300 ordinary steps, where each starts from what the last one left."""
    options = {"lr": 0.01, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01, "amsgrad": True, "centered": True}
    steps = [(options, [math.sin(i * k) for k in range(1, 4)]) for i in range(300)]
    training = getattr(optim, name), START, None, steps

    assert train(reference, *training) == train(engine, *training)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_is_the_textbook_formula_to_the_bit(decoupled):
    """What steps share is worked out beforehand, and that changes no bit of the formula in one piece."""
    p, q, m, v = Value(0.7), 0.7, 0.0, 0.0
    optimizer = (optim.AdamW if decoupled else optim.Adam)([p], lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3)
    for t in range(1, 50):
        g = math.sin(t)
        step_by(optimizer, [g])
        q, g = (q * (1 - 0.1 * 0.3), g) if decoupled else (q, g + 0.3 * q)
        m = 0.8 * m + (1 - 0.8) * g
        v = 0.95 * v + (1 - 0.95) * g * g
        q = q - 0.1 / (1 - 0.8**t) * (m / (math.sqrt(v) / math.sqrt(1 - 0.95**t) + 1e-3))
        assert q == p.data


def test_sgd_is_the_textbook_formula_to_the_bit():
    """Momentum begins as the first gradient, undampened, and Nesterov's looks one step ahead."""
    p, q, ahead, buf = Value(0.7), Value(0.7), 0.7, None
    plain = optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.5)
    nesterov = optim.SGD([q], lr=0.1, momentum=0.9, nesterov=True)
    step_by(plain, [3.0])
    step_by(plain, [5.0])
    assert 0.7 - 0.1 * 3.0 - 0.1 * (0.9 * 3.0 + 0.5 * 5.0) == p.data
    for g in (3.0, 5.0, -1.0):
        step_by(nesterov, [g])
        buf = g if buf is None else 0.9 * buf + g
        ahead = ahead - 0.1 * (g + 0.9 * buf)
    assert ahead == q.data


@pytest.mark.parametrize("engine", [engine, reference])
@pytest.mark.parametrize("number", [Fraction(1, 3), Decimal("0.1"), 1, True])
@pytest.mark.parametrize("name", list(OPTIONS))
def test_hyperparameters_are_any_real_numbers(engine, name, number):
    """Fractions, decimals and integers count as the floats nearest to them, on either engine."""
    hyper = {"lr": number, "weight_decay": number, "momentum": number, "dampening": number, "eps": number}
    hyper["alpha"] = number
    betas = [x if x < 1 else 0 for x in (number, number)]
    grads = [0.3, -4.0, 1e-9]
    steps = [({**hyper, "betas": betas}, grads)] * 3
    as_floats = [({key: float(x) for key, x in hyper.items()} | {"betas": [float(x) for x in betas]}, grads)] * 3
    kind = getattr(optim, name)

    expected = [path.split("'param_groups'")[0] for path in train(engine, kind, START, None, as_floats)]
    assert expected == [path.split("'param_groups'")[0] for path in train(engine, kind, START, None, steps)]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_plain_values_are_moved_in_one_call(calls, name):
    """One C function call moves all groups, and one clears the gradients of all groups."""
    groups = [{"params": values()}, {"params": values()}]
    optimizer = getattr(optim, name)(groups)
    optimizer.step()
    assert ["pg_move"] == calls
    calls.clear()
    optimizer.zero_grad()

    assert ["pg_set_grads"] == calls


class Clamped(Value):
    """A Value whose data stays within [-1, 1], and whose gradient counts twice."""

    @property
    def data(self):
        return Value.data.__get__(self)

    @data.setter
    def data(self, number):
        Value.data.__set__(self, max(-1.0, min(1.0, number)))

    @property
    def grad(self):
        return 2.0 * Value.grad.__get__(self)

    @grad.setter
    def grad(self, number):
        Value.grad.__set__(self, number + 0.5)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_subclass_keeps_its_data_and_grad(name):
    """A step goes through the data and grad of a subclass, and moves the plain Value beside it just as well."""
    plain, clamped = Value(0.5), Clamped(0.5)
    lr = 0.025 if name == "RMSprop" else 0.25  # its first step is ten times the rate
    optimizer = getattr(optim, name)([plain, clamped], lr=lr)
    step_by(optimizer, [1.0, 1.0])
    alone = Value(0.5)
    step_by(getattr(optim, name)([alone], lr=lr), [1.0])
    tripled = Value(0.5)
    step_by(getattr(optim, name)([tripled], lr=lr), [3.0])
    assert [alone.data, tripled.data] == [plain.data, clamped.data]

    optimizer.param_groups[0]["lr"] = 100.0
    optimizer.step()
    assert clamped.data == -1.0
    assert plain.data < -1.0


@pytest.mark.parametrize("replaced", ["data", "grad"])
def test_a_replaced_property_is_used(monkeypatch, replaced):
    """Steps and zero_grad() go through a `data` or `grad` that a program put into Value, as long as it is there."""
    own, seen, p = vars(Value)[replaced], [], Value(0.5)
    optimizer = optim.SGD([p], lr=0.25)
    noting = property(own.__get__, lambda v, number: (seen.append(number), own.__set__(v, number)))
    with monkeypatch.context() as patch:
        patch.setattr(Value, replaced, noting)
        step_by(optimizer, [1.0])
        optimizer.zero_grad()
    assert {"data": [0.25], "grad": [1.0, 0]}[replaced] == seen

    step_by(optimizer, [1.0])
    assert 0.0 == p.data
    assert len(seen) == {"data": 1, "grad": 2}[replaced]


def test_parameters_live_until_they_have_moved():
    """Whoever empties a group while a step is being prepared does not make C write to another Value's node."""

    class Meddler(Value):
        @property
        def data(self):
            optimizer.param_groups[0]["params"].clear()
            newcomers.append(Value(5.0))
            return 1.0

        @data.setter
        def data(self, number):
            pass

    newcomers = []
    optimizer = optim.SGD([{"params": [Value(1.0)]}, {"params": [Meddler(1.0)]}], lr=0.5, weight_decay=1)
    optimizer.step()

    assert [5.0] == [p.data for p in newcomers]


@pytest.mark.parametrize("count", [0, 2])
def test_without_buffers_params_may_be_others(count):
    """SGD without momentum has no state to fit: "params" may be any Values, or none."""
    optimizer, others = optim.SGD(values(), lr=0.5), [Value(1.0) for _ in range(count)]
    optimizer.param_groups[0]["params"] = others
    step_by(optimizer, [1.0] * count)

    assert [0.5] * count == [p.data for p in others]


def test_values_of_both_engines_in_one_group():
    """Values of the arena and of the pure-Python engine can be trained side by side."""
    params = [Value(1.0), reference.Value(1.0)]
    optimizer = optim.Adam(params, lr=0.5)
    step_by(optimizer, [1.0, 1.0])
    assert params[0].data == params[1].data < 1.0

    optimizer.zero_grad()
    assert [0.0, 0.0] == [p.grad for p in params]


# --- zero_grad --------------------------------------------------------------------------------------------------------


class Holder(Module):
    """A Module whose parameters come from a generator."""

    def __init__(self, params):
        self.params = params

    def parameters(self):
        yield from self.params


CLEARERS = {
    "optimizer": lambda params: optim.SGD([{"params": [p]} for p in params]).zero_grad(),
    "module": lambda params: Holder(params).zero_grad(),
}


@pytest.mark.parametrize("clear", CLEARERS.values(), ids=CLEARERS.keys())
@pytest.mark.parametrize("others", [[], [Clamped], [reference.Value]], ids=["plain", "subclass", "reference"])
def test_zero_grad(clear, others):
    """zero_grad() makes every gradient 0, whatever it was and whosever Value it is of, and touches nothing else."""
    plain, rest = [Value(x) for x in SPECIAL], [kind(0.5) for kind in others]
    for p, grad in zip(plain, SPECIAL):
        p.grad = grad
    for p in rest:
        p.grad = 7.0
    clear(plain + rest)

    assert repr([(x, 0.0) for x in SPECIAL]) == repr([(p.data, p.grad) for p in plain])
    assert [1.0 if kind is Clamped else 0.0 for kind in others] == [p.grad for p in rest]


@pytest.mark.parametrize("clear", CLEARERS.values(), ids=CLEARERS.keys())
def test_zero_grad_of_a_module_is_one_call(calls, clear):
    """The gradients of plain Values are cleared in one C call."""
    clear(values())

    assert ["pg_set_grads"] == calls


def test_a_module_without_parameters_has_no_gradients():
    """A Module that holds no Value has nothing to clear."""
    assert Holder([]).zero_grad() is None


# --- failures change nothing ------------------------------------------------------------------------------------------


def spoil(change):
    """Return a change of the second group, or of the second group's state, of an optimizer."""
    return lambda optimizer: change(optimizer.param_groups[1], optimizer.state[1])


BUFFER = {"SGD": "momentum_buffer", "Adam": "exp_avg"}
SPOILED = {
    "more params": (spoil(lambda group, state: group["params"].append(Value(1.0))), ValueError, "of 3 parameters.* 4"),
    "fewer params": (spoil(lambda group, state: group["params"].pop()), ValueError, "of 3 parameters.* 2"),
    "no params": (spoil(lambda group, state: group["params"].clear()), ValueError, "of 3 parameters.* 0"),
    "a number": (spoil(lambda group, state: group["params"].insert(1, 3.0)), Exception, "float|4"),
    "lr": (spoil(lambda group, state: group.update(lr="0.1")), TypeError, "lr must be a real number"),
    "huge lr": (spoil(lambda group, state: group.update(lr=10**400)), OverflowError, "too large"),
    "weight decay": (spoil(lambda group, state: group.update(weight_decay=None)), TypeError, "weight_decay must be"),
    "new group": (
        lambda optimizer: optimizer.param_groups.append({**optimizer.param_groups[0], "params": values()}),
        ValueError,
        "add_param_group",
    ),
    "lost state": (lambda optimizer: optimizer.state.pop(), ValueError, "2 param_groups and the state of 1"),
}


def half_trained(name, kind=Value):
    """Return six parameters with gradients, and an optimizer of two groups of three of them, after one step."""
    options = {"momentum": 0.9} if name == "SGD" else {}
    params = [kind(x) for x in START * 2]
    optimizer = getattr(optim, name)([{"params": params[:3]}, {"params": params[3:]}], lr=0.1, **options)
    for p in params:
        p.grad = 1.0
    optimizer.step()
    return params, optimizer


def refused_step(params, optimizer, error, message):
    """Check that a step raises this, and that all Values and the state are as before."""
    before = repr([[p.data for p in params], optimizer.state])
    with pytest.raises(error, match=message):
        optimizer.step()
    assert before == repr([[p.data for p in params], optimizer.state])


@pytest.mark.parametrize("kind", [Value, Clamped], ids=["plain", "subclass"])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("change, error, message", SPOILED.values(), ids=SPOILED.keys())
def test_a_failing_step_moves_nothing(name, kind, change, error, message):
    """If the second group was changed to what cannot be, the step raises, and the first group does not move either."""
    params, optimizer = half_trained(name, kind)
    change(optimizer)
    refused_step(params, optimizer, error, message)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (0.9, 1.5), (0.9,), (0.9, math.nan), 0.9, (0.9, "0.9")])
def test_a_step_with_impossible_betas_moves_nothing(betas):
    """Betas set to what cannot be between steps are refused by the step."""
    params, optimizer = half_trained("Adam")
    optimizer.param_groups[1]["betas"] = betas
    refused_step(params, optimizer, (TypeError, ValueError), "beta|iterable")


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize(
    "buffer",
    [[0.0] * 2, [], array("d", [0.0] * 4), b"24 bytes: of three floats", ["0", "0", "0"], [None] * 3, 3, [10**400] * 3],
)
def test_a_step_with_a_buffer_that_does_not_fit_moves_nothing(name, buffer):
    """A buffer set to what cannot be is refused by the step; C never sees it."""
    params, optimizer = half_trained(name)
    optimizer.state[1][BUFFER[name]] = buffer
    refused_step(params, optimizer, (TypeError, ValueError, OverflowError), "parameters|real number|iterable|too large")


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_buffer_keeps_its_length_during_a_step(name):
    """What a program does while a later group is read cannot make a buffer shorter that C is about to write."""

    class Rate(float):
        def __float__(self):
            optimizer.state[0][BUFFER[name]].pop()
            return 0.1

    params, optimizer = half_trained(name)
    optimizer.param_groups[1]["lr"] = Rate(0.1)
    refused_step(params, optimizer, BufferError, "cannot resize an array")


class Bounded(Value):
    """A Value that refuses data above 1."""

    @property
    def data(self):
        return Value.data.__get__(self)

    @data.setter
    def data(self, number):
        if number > 1:
            raise ArithmeticError("above 1")
        Value.data.__set__(self, number)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_step_that_a_value_refuses_moves_nothing(name):
    """If a subclass of Value refuses its new data, those that have moved before it move back."""
    options = {"momentum": 0.9} if name == "SGD" else {}
    params = [Value(0.5), Bounded(0.5), Bounded(1.0), Bounded(0.5), reference.Value(0.5)]
    optimizer = getattr(optim, name)([{"params": params[:1]}, {"params": params[1:]}], lr=0.1, **options)
    for p in params:
        p.grad = -1.0
    refused_step(params, optimizer, ArithmeticError, "above 1")


def test_a_step_that_c_refuses_moves_nothing(monkeypatch):
    """If a parameter's node is gone when C gets its id, the parameters that Python has moved move back."""
    params = [Clamped(0.5), Value(0.5)]
    optimizer = optim.Adam([{"params": [p]} for p in params], lr=0.1)
    params[0].grad = params[1].grad = 1.0
    gone = Value(0.5)
    ids = engine.plain_ids([gone])
    del gone
    monkeypatch.setattr(optim, "plain_ids", lambda values: None if values == params[:1] else ids)
    refused_step(params, optimizer, RuntimeError, "lost its node")


def test_the_dicts_of_a_state_are_the_same_from_step_to_step():
    """A program may hold a group's state, and copies of the optimizer may share it."""
    params, optimizer = half_trained("Adam")
    state, shared = optimizer.state[1], copy.copy(optimizer)
    optimizer.step()
    shared.step()

    assert state is optimizer.state[1] is shared.state[1]
    assert 3 == state["step"] == optimizer.state[0]["step"]


def test_a_step_of_adam_without_a_buffer_moves_nothing():
    """Only momentum may be None before the first step."""
    params, optimizer = half_trained("Adam")
    optimizer.state[1]["exp_avg_sq"] = None
    refused_step(params, optimizer, TypeError, "iterable")


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_step_with_a_value_that_is_none_yet(name):
    """A Value whose __init__ never ran says so, and its neighbours do not move."""
    params, optimizer = half_trained(name)
    optimizer.param_groups[1]["params"][2] = Value.__new__(Value)
    refused_step(params, optimizer, RuntimeError, "never initialised")
    with pytest.raises(RuntimeError, match="never initialised"):
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_c_refuses_an_id_that_is_no_node(monkeypatch, name):
    """Should a parameter's node be gone when C gets its id, nothing is changed and the step says so."""
    p, gone = Value(0.5), Value(0.5)
    optimizer = getattr(optim, name)([p, gone], lr=0.1)
    p.grad, ids = 1.0, engine.plain_ids([p, gone])
    optimizer.param_groups[0]["params"][1] = p
    del gone
    monkeypatch.setattr(optim, "plain_ids", lambda values: ids)
    refused_step([p], optimizer, RuntimeError, "lost its node")

    assert lib.PG_NO_NODE == lib.pg_set_grads(2, ids, 5.0)
    assert 1.0 == p.grad


# --- states -----------------------------------------------------------------------------------------------------------

MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.01, momentum=0.9),
    "plain SGD": lambda params: optim.SGD(params, lr=0.01),
    "Adam": lambda params: optim.Adam(params, lr=0.1),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1),
    "AMSGrad": lambda params: optim.Adam(params, lr=0.1, amsgrad=True),
    "maximizing": lambda params: optim.SGD(params, lr=1e-4, momentum=0.5, maximize=True),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.01),
    "centered RMSprop": lambda params: optim.RMSprop(params, lr=0.01, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_state_round_trip_goes_on_as_if_nothing_had_happened(make):
    """After 10 steps, a saved, JSON-encoded and loaded state leads to the same bits as going on."""
    params = values()
    optimizer = make(params)
    take_steps(optimizer, params, 10)
    state = json.loads(json.dumps(optimizer.state_dict()))
    others = [Value(p.data) for p in params]
    other = make(others)
    other.param_groups[0]["lr"] = 77.0
    groups = other.param_groups
    other.load_state_dict(state)

    assert take_steps(optimizer, params, 10) == take_steps(other, others, 10)
    assert groups is other.param_groups
    assert state == json.loads(json.dumps(state))


def test_a_state_is_a_copy():
    """Neither later steps nor the optimizer it was loaded into change a state_dict()."""
    params = values()
    optimizer = MAKERS["Adam"](params)
    take_steps(optimizer, params, 3)
    state = optimizer.state_dict()
    frozen = json.dumps(state)
    take_steps(optimizer, params, 3)
    assert frozen == json.dumps(state)

    optimizer.load_state_dict(state)
    take_steps(optimizer, params, 3)
    assert frozen == json.dumps(state)

    other = MAKERS["Adam"](values())
    other.load_state_dict({**state, "state": optimizer.state})
    before = repr(other.state)
    take_steps(optimizer, params, 3)
    assert before == repr(other.state)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_of_an_optimizer_goes_its_own_way(make, duplicate):
    """An optimizer and its parameters, copied or pickled together, go on as if they were the first ones."""
    params = values()
    optimizer = make(params)
    take_steps(optimizer, params, 5)
    others, other = duplicate((params, optimizer))

    assert take_steps(optimizer, params, 5) == take_steps(other, others, 5)


@pytest.mark.parametrize("engine", [engine, reference])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_state_is_of_plain_lists(engine, make):
    """state_dict() has lists of floats, whichever way the steps went; momentum's is None before the first."""
    optimizer = make([engine.Value(x) for x in START])
    fresh = optimizer.state_dict()["state"][0]
    step_by(optimizer, [1.0, 2.0, 3.0])
    (state,) = optimizer.state_dict()["state"]
    buffers = [kept for kept in state.values() if not isinstance(kept, int) and kept is not None]

    assert fresh.get("momentum_buffer") is None or "square_avg" in fresh
    assert {"step": 1}.items() <= state.items() or {"momentum_buffer", "square_avg"} & state.keys()
    assert [list] * len(buffers) == [type(kept) for kept in buffers]
    assert {float} >= {type(x) for kept in buffers for x in kept}


def test_buffers_may_be_set_to_lists():
    """Lists and arrays of numbers put into `state` serve as well as what was there."""
    optimizers = [optim.Adam(values(), lr=0.1) for _ in range(3)]
    for optimizer, buffer in zip(optimizers, ([0.5, 1.0, 2.0], [Fraction(1, 2), 1, True + 1], array("f", [0.5, 1, 2]))):
        optimizer.state[0]["exp_avg"] = buffer
        step_by(optimizer, [1.0, 2.0, 3.0])
        step_by(optimizer, [1.0, 2.0, 3.0])

    assert everything(optimizers[0]) == everything(optimizers[1]) == everything(optimizers[2])


def test_momentum_may_begin_and_pause():
    """Without momentum a buffer is neither made nor changed; when momentum begins it is the gradient."""
    p = Value(1.0)
    optimizer = optim.SGD([p], lr=0.5)
    step_by(optimizer, [1.0])
    assert [{"momentum_buffer": None}] == optimizer.state_dict()["state"]

    for momentum, grad, expected in [(0.5, 4.0, 4.0), (0, 7.0, 4.0), (0.5, 1.0, 3.0)]:
        optimizer.param_groups[0]["momentum"] = momentum
        step_by(optimizer, [grad])
        assert [{"momentum_buffer": [expected]}] == optimizer.state_dict()["state"]


def test_options_that_are_turned_on_and_off():
    """Buffers of amsgrad, momentum and centered begin with zeros when first used; every state can be loaded again."""
    for make, options in [
        (optim.Adam, {"amsgrad": True}),
        (optim.RMSprop, {"momentum": 0.5}),
        (optim.RMSprop, {"centered": True}),
    ]:
        p, q = Value(1.0), Value(1.0)
        optimizer, other = make([p], lr=0.1), make([q], lr=0.1)
        off = {name: optimizer.param_groups[0][name] for name in options}
        for change in (options, {}, off, {}, options):
            optimizer.param_groups[0].update(change)
            other.load_state_dict(json.loads(json.dumps(optimizer.state_dict())))
            step_by(optimizer, [3.0])
            step_by(other, [3.0])
            assert (p.data, optimizer.state_dict()["state"]) == (q.data, other.state_dict()["state"])


def test_an_older_state_is_loaded():
    """States of the first versions lack the options that were added since: they are off."""
    for make in (optim.SGD, optim.Adam, optim.AdamW):
        optimizer, other = make(values(), lr=0.5), make(values(), lr=0.1, maximize=True)
        state = optimizer.state_dict()
        for group in state["param_groups"]:
            group.pop("maximize"), group.pop("amsgrad", None)
        other.load_state_dict(state)
        assert not other.param_groups[0]["maximize"]
        assert everything(optimizer) == everything(other)
        del optimizer.param_groups[0]["maximize"]  # of an optimizer that was pickled then
        step_by(optimizer, [1.0, 2.0, 3.0])
        step_by(other, [1.0, 2.0, 3.0])
        assert optimizer.state == other.state


def test_the_rates_of_zeros(torch):
    """Without eps 0/0 is nan and x/0 infinite, as in PyTorch, on either engine."""
    for kind in (engine.Value, reference.Value):
        for name in ("RMSprop", "Adam"):
            ours = [kind(1.0), kind(1.0), kind(1.0)]
            theirs = [torch.tensor(1.0, dtype=torch.float64, requires_grad=True) for _ in ours]
            for p, t, grad in zip(ours, theirs, (0.0, 1e-200, -1e-200)):
                p.grad, t.grad = grad, torch.tensor(grad, dtype=torch.float64)
            getattr(optim, name)(ours, eps=0).step()
            getattr(torch.optim, name)(theirs, eps=0, foreach=False).step()
            assert [t.item() for t in theirs] == pytest.approx([p.data for p in ours], nan_ok=True)


def broken_states():
    """Return states that do not fit Adam over three parameters."""
    good = optim.Adam(values()).state_dict()
    (state,), (group,) = good["state"], good["param_groups"]
    return {
        "none": None,
        "empty": {},
        "no groups": {"state": [], "param_groups": []},
        "state missing": {"state": [], "param_groups": [group]},
        "other size": optim.Adam([Value(1.0)]).state_dict(),
        "of SGD": optim.SGD(values()).state_dict(),
        "more groups": optim.Adam([{"params": [v]} for v in values()]).state_dict(),
        "buffer cut": {**good, "state": [{**state, "exp_avg": [0.0]}]},
        "buffer too large": {**good, "state": [{**state, "exp_avg": [10**400] * 3}]},
        "buffer of text": {**good, "state": [{**state, "exp_avg": ["a", "b", "c"]}]},
        "buffer lacking": {**good, "state": [{"step": 1, "exp_avg": [0.0] * 3}]},
        "buffer too many": {**good, "state": [{**state, "max_exp_avg_sq": [0.0] * 3}]},
        "buffer missing": {**good, "state": [{**state, "exp_avg": None}]},
        "step below 0": {**good, "state": [{**state, "step": -1}]},
        "step of text": {**good, "state": [{**state, "step": "3"}]},
        "state no dict": {**good, "state": [3]},
        "bad lr": {**good, "param_groups": [{**group, "lr": -1.0}]},
        "lr missing": {**good, "param_groups": [{"params": 3}]},
    }


@pytest.mark.parametrize("name", list(broken_states()))
def test_a_state_that_does_not_fit_changes_nothing(name):
    """A state of something else, or a damaged one, is a ValueError, and the optimizer is as before."""
    optimizer = optim.Adam(values(), lr=0.5)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="state|lr"):
        optimizer.load_state_dict(broken_states()[name])

    assert before == optimizer.state_dict()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options",
    [
        ("SGD", {"lr": -0.1}),
        ("SGD", {"lr": math.nan}),
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"weight_decay": -0.1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"lr": -0.1}),
        ("Adam", {"eps": -1e-8}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, -0.1)}),
        ("Adam", {"betas": (0.9,)}),
        ("AdamW", {"weight_decay": -1}),
        ("Adam", {"betas": 5}),
        ("RMSprop", {"alpha": -0.1}),
        ("RMSprop", {"momentum": -0.1}),
        ("RMSprop", {"eps": math.nan}),
    ],
)
def test_hyperparameters_out_of_range(name, options):
    """A hyperparameter out of range is a ValueError, in the constructor and in a group."""
    make = getattr(optim, name)
    with pytest.raises(ValueError, match="must be|needs"):
        make([Value(1.0)], **options)
    with pytest.raises(ValueError, match="must be|needs"):
        make([{"params": [Value(1.0)], **options}])


@pytest.mark.parametrize(
    "params, error, message",
    [
        ([], ValueError, "empty"),
        (lambda: Value(1.0), TypeError, "iterable of Values"),
        ([1.0], TypeError, "must be a Value, not float"),
        ({"w": 1.0}, TypeError, "must be a Value, not str 'w'"),
        ([{"params": []}], ValueError, "empty"),
        ([{"parameters": []}], ValueError, '"params"'),
        (lambda: [Value(1.0) * 2], ValueError, r"result of '\*'"),
    ],
)
def test_wrong_parameters(params, error, message):
    """No parameters, no list, no Values and interior Values are refused with the reason."""
    with pytest.raises(error, match=message):
        optim.SGD(params() if callable(params) else params)


@pytest.mark.parametrize("flag", ["False", None, 2, math.nan, [True]])
@pytest.mark.parametrize(
    "name, option",
    [("SGD", "nesterov"), ("SGD", "maximize"), ("Adam", "amsgrad"), ("AdamW", "maximize"), ("RMSprop", "centered")],
)
def test_options_that_are_on_or_off(name, option, flag):
    """What is neither True nor False is refused, in the constructor and by a step."""
    with pytest.raises(TypeError, match=f"{option} must be True or False, not"):
        getattr(optim, name)([Value(1.0)], **{option: flag})
    optimizer = getattr(optim, name)([Value(1.0)])
    optimizer.param_groups[0][option] = flag
    with pytest.raises(TypeError, match=f"{option} must be True or False, not"):
        optimizer.step()


@pytest.mark.parametrize("step, error", [("3", TypeError), (1.5, TypeError), (-1, ValueError), (10**30, ValueError)])
def test_a_count_of_steps_that_cannot_be(step, error):
    """Adam's number of steps is checked by a step, and by a load."""
    params, optimizer = half_trained("Adam")
    saved = optimizer.state_dict()
    optimizer.state[1]["step"] = step
    refused_step(params, optimizer, error, "step must be")
    saved["state"][1]["step"] = step
    with pytest.raises(ValueError, match="step must be"):
        optimizer.load_state_dict(saved)


def test_a_buffer_that_is_no_list():
    """It is refused by name."""
    params, optimizer = half_trained("Adam")
    optimizer.state[0]["exp_avg"] = 5
    refused_step(params, optimizer, TypeError, "exp_avg must be an iterable of 3 numbers, one a parameter, not int")


def test_a_parameter_in_two_groups():
    """A parameter in two groups would move twice: a ValueError, which leaves the optimizer as it was."""
    p = Value(1.0)
    optimizer = optim.SGD([p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [Value(2.0), p]})

    assert 1 == len(optimizer.param_groups) == len(optimizer.state)


@pytest.mark.parametrize("lr", ["0.1", None])
def test_a_learning_rate_that_is_no_number(lr):
    """A learning rate that is no number is a TypeError that names it."""
    with pytest.raises(TypeError, match="lr must be a real number"):
        optim.SGD([Value(1.0)], lr=lr)


# --- schedules --------------------------------------------------------------------------------------------------------

SCHEDULES = [
    ("LambdaLR", (lambda epoch: 1.0 - 0.9 * epoch / 100,), {}),
    ("LambdaLR", ([lambda epoch: 0.5**epoch, lambda epoch: epoch],), {}),
    ("StepLR", (7,), {}),
    ("StepLR", (5,), {"gamma": 0.5}),
    ("ExponentialLR", (0.9,), {}),
    ("CosineAnnealingLR", (30,), {}),
    ("CosineAnnealingLR", (7,), {"eta_min": 0.01}),
    ("LinearLR", (), {}),
    ("LinearLR", (0.1,), {"end_factor": 0.5, "total_iters": 20}),
]


def scheduled(schedules, optimizer, name, args, kwargs, epochs=40):
    """Return the learning rates of both groups in each epoch."""
    scheduler = getattr(schedules, name)(optimizer, *args, **kwargs)
    rates = [scheduler.get_last_lr()]
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        rates.append([group["lr"] for group in optimizer.param_groups])
    return rates


@pytest.mark.parametrize("name, args, kwargs", SCHEDULES)
def test_schedule_is_pytorchs(torch, name, args, kwargs):
    """Forty epochs of two groups have the rates that PyTorch's schedule gives them."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.3)]
    expected = scheduled(torch.optim.lr_scheduler, torch.optim.SGD(groups), name, args, kwargs)
    ours = optim.SGD([{"params": [Value(1.0)], "lr": lr} for lr in (0.1, 0.3)])

    for theirs, rates in zip(expected, scheduled(lr_scheduler, ours, name, args, kwargs), strict=True):
        assert theirs == pytest.approx(rates, rel=1e-12, abs=1e-14)


def test_a_schedule_goes_on_from_its_state():
    """With the states of optimizer and scheduler loaded, the rates go on as they would have."""
    optimizer, other = (optim.SGD([Value(1.0)], lr=0.1) for _ in range(2))
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    for _ in range(5):
        scheduler.step()
    second = lr_scheduler.StepLR(other, 2)
    other.load_state_dict(optimizer.state_dict())
    second.load_state_dict(scheduler.state_dict())
    assert scheduler.get_last_lr() == second.get_last_lr()
    scheduler.step()
    second.step()

    assert [pytest.approx(1e-4, rel=1e-12)] == second.get_last_lr()
    assert scheduler.state_dict() == second.state_dict()


def test_a_schedule_goes_on_from_last_epoch():
    """Given last_epoch, a schedule starts one epoch later, from the group's initial rate."""
    optimizer = optim.SGD([{"params": [Value(1.0)], "lr": 0.5, "initial_lr": 1.0}])
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5, last_epoch=3)

    assert [0.0625] == scheduler.get_last_lr()
    with pytest.raises(ValueError, match="initial_lr"):
        lr_scheduler.ExponentialLR(optim.SGD([Value(1.0)]), 0.5, last_epoch=3)


def test_a_schedule_refuses_the_state_of_another():
    """A state with another number of groups changes nothing."""
    one = lr_scheduler.ExponentialLR(optim.SGD([Value(1.0)]), 0.5)
    two = lr_scheduler.ExponentialLR(optim.SGD([{"params": [Value(1.0)]} for _ in range(2)]), 0.5)
    before = one.state_dict()
    with pytest.raises(ValueError, match="2 learning rates"):
        one.load_state_dict(two.state_dict())

    assert before == one.state_dict()


def test_a_schedule_whose_function_raises_stays():
    """The epoch does not count, and no group has a new rate."""
    optimizer = optim.SGD([{"params": [Value(1.0)]}, {"params": [Value(1.0)]}], lr=0.5)
    scheduler = lr_scheduler.LambdaLR(optimizer, [lambda epoch: 1 / (epoch + 1), lambda epoch: 1 / (2 - epoch)])
    scheduler.step()
    before = repr([scheduler.state_dict(), optimizer.param_groups])
    with pytest.raises(ZeroDivisionError):
        scheduler.step()

    assert before == repr([scheduler.state_dict(), optimizer.param_groups])


@pytest.mark.parametrize(
    "name, args",
    [
        ("StepLR", (0,)),
        ("CosineAnnealingLR", (0,)),
        ("LinearLR", (0.0,)),
        ("LinearLR", (1.5,)),
        ("LinearLR", (0.5, -0.1)),
        ("LinearLR", (0.5, 1.0, 0)),
        ("LambdaLR", ([],)),
    ],
)
def test_schedule_options_out_of_range(name, args):
    """A schedule's option out of range is a ValueError, and the optimizer's rate stays."""
    optimizer = optim.SGD([Value(1.0)], lr=0.5)
    with pytest.raises(ValueError, match="must be|need"):
        getattr(lr_scheduler, name)(optimizer, *args)

    assert 0.5 == optimizer.param_groups[0]["lr"]
    assert "initial_lr" not in optimizer.param_groups[0]


# --- several threads, and handlers ------------------------------------------------------------------------------------


@pytest.mark.threads
@pytest.mark.parametrize("kind", [Value, type("Own", (Value,), {})])
def test_steps_of_several_threads(kind):
    """Each step is taken and counted: they come one after the other."""
    w = kind(0.0)
    w.grad = 1.0
    sgd, adam = optim.SGD([w], lr=1.0), optim.Adam([Value(0.0)])

    def work():
        for _ in range(300):
            sgd.step()
            adam.step()

    in_threads(*[work] * 4)

    assert (-1200.0, 1200) == (w.data, adam.state[0]["step"])


@pytest.mark.parametrize("moment", ["prepare", "take"])
def test_a_step_within_a_step(monkeypatch, moment):
    """A signal handler that takes a step while one is computed: both are taken, one after the other."""
    w = Value(0.0)
    w.grad = 1.0
    optimizer, handlers = optim.Adam([w], lr=0.1), [lambda: optimizer.step()]
    owner = {"prepare": optim.Adam, "take": optim._Step}[moment]
    original = getattr(owner, moment)

    def interrupted(*args):
        if handlers:
            handlers.pop()()
        return original(*args)

    monkeypatch.setattr(owner, moment, interrupted)
    optimizer.step()
    twin = Value(0.0)
    other = optim.Adam([twin], lr=0.1)
    for _ in range(2):
        twin.grad = 1.0
        other.step()

    assert (w.data, optimizer.state) == (twin.data, other.state)


def test_a_group_that_is_frozen_at_the_first_step():
    """The second step is no first one, whoever moves the parameters: the numbers and the state are those of C."""
    found = []
    for kind in (Value, type("Own", (Value,), {})):
        p = kind(1.0)
        optimizer = optim.SGD([p], lr=1.0, momentum=0.9, dampening=0.5)
        for frozen in (True, False):
            p.requires_grad = not frozen
            p.grad = 1.0
            optimizer.step()
        found.append((p.data, optimizer.state))

    assert found[0] == found[1]
