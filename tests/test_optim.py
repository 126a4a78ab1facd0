"""Optimizers and schedules against PyTorch's, step by step; their states; and their refusals."""

import gc
import json
import math

import pytest

from pygrad import lr_scheduler, optim
from pygrad.engine import Value

START = [1.5, -2.0, 0.25]


@pytest.fixture(scope="session")
def torch():
    """PyTorch, its objects out of the garbage collector's way: every test here ends with a collection."""
    torch = pytest.importorskip("torch")
    gc.collect()
    gc.freeze()
    return torch


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


def test_zero_grad():
    """zero_grad() clears the gradients of every group."""
    a, b = Value(1.0), Value(1.0)
    a.grad = b.grad = 1.0
    optim.SGD([{"params": [a]}, {"params": [b]}]).zero_grad()

    assert [0.0, 0.0] == [a.grad, b.grad]


def test_adam_without_eps_and_gradient_gives_nan():
    """Where PyTorch divides 0 by 0, the parameter is nan too, and not an exception in the middle of a step."""
    p, q = Value(1.0), Value(1.0)
    q.grad = 1.0
    optim.Adam([p, q], lr=0.5, eps=0).step()

    assert math.isnan(p.data)
    assert 0.5 == pytest.approx(q.data, rel=1e-14)


# --- states -----------------------------------------------------------------------------------------------------------

MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.01, momentum=0.9),
    "plain SGD": lambda params: optim.SGD(params, lr=0.01),
    "Adam": lambda params: optim.Adam(params, lr=0.1),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1),
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
        "buffer of text": {**good, "state": [{**state, "exp_avg": ["a", "b", "c"]}]},
        "buffer missing": {**good, "state": [{**state, "exp_avg": None}]},
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
