"""Learning-rate schedules: the rates of PyTorch's, groups that come later, states, and what is refused."""

import copy
import json
import math
import pickle

import pytest

from pygrad import lr_scheduler, optim
from pygrad.engine import Value
from pygrad.optim import SGD, Adam

RATES = (0.1, 0.3)


def two_groups(optimizer=SGD, **options):
    """Return an optimizer of two groups with rates of their own."""
    return optimizer([{"params": [Value(1.0)], "lr": lr} for lr in RATES], **options)


def torchs(torch, name="SGD", **options):
    """Return PyTorch's."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in RATES]
    return getattr(torch.optim, name)(groups, **options)


def path(scheduler, epochs=40, losses=None):
    """Return all that a schedule sets, epoch by epoch."""
    found = []
    for epoch in range(epochs + 1):
        groups = scheduler.optimizer.param_groups
        found += [x for g in groups for x in (g["lr"], g.get("momentum", 0.0), g.get("betas", (0.0,))[0])]
        if epoch < epochs:
            scheduler.optimizer.step()
            scheduler.step(*([] if losses is None else [losses[epoch % len(losses)]]))
    return found


RESTARTS = [(3,), (5, 2), (4, 3, 0.01), (1,), (1, 2)]
CYCLES = [
    {"max_lr": 0.5, "total_steps": 40},
    {"max_lr": [0.5, 1.0], "epochs": 8, "steps_per_epoch": 5, "anneal_strategy": "linear"},
    {"max_lr": 0.5, "total_steps": 40, "three_phase": True, "pct_start": 0.4},
    {"max_lr": 0.5, "total_steps": 41, "pct_start": 0.0, "base_momentum": 0.5, "max_momentum": [0.6, 0.7]},
    {"max_lr": 0.5, "total_steps": 40, "cycle_momentum": False, "div_factor": 2.0, "final_div_factor": 10.0},
]
SEQUENCES = {
    "warm up": (lambda L, o: [L.LinearLR(o, 0.1, total_iters=5), L.ExponentialLR(o, 0.9)], [5]),
    "three": (
        lambda L, o: [L.StepLR(o, 3, 0.5), L.CosineAnnealingLR(o, 20), L.LambdaLR(o, lambda e: 1 / (1 + e))],
        [7, 9],
    ),
    "one": (lambda L, o: [L.ExponentialLR(o, 0.9)], []),
    "restarts": (lambda L, o: [L.LinearLR(o), L.CosineAnnealingWarmRestarts(o, 4, 2)], [6]),
    "at once": (lambda L, o: [L.ExponentialLR(o, 0.5), L.LinearLR(o)], [1]),
}
PLATEAUS = [
    {},
    {"factor": 0.5, "patience": 1},
    {"factor": 0.5, "patience": 0, "cooldown": 2, "min_lr": 0.01},
    {"factor": 0.5, "patience": 1, "threshold": 0.2, "min_lr": [0.05, 0.001]},
    {"factor": 0.5, "patience": 1, "threshold": 0.2, "threshold_mode": "abs"},
    {"factor": 0.5, "patience": 2, "mode": "max", "eps": 0.05},
    {"factor": 0.5, "patience": 2, "mode": "max", "threshold_mode": "abs", "threshold": 0.0},
]


def near(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("args", RESTARTS)
def test_warm_restarts_are_pytorchs(torch, args):
    """The waves begin anew, each T_mult times as long as the one before."""
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(torchs(torch), *args)

    assert near(path(theirs)) == path(lr_scheduler.CosineAnnealingWarmRestarts(two_groups(), *args))


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
@pytest.mark.parametrize("options", CYCLES)
def test_one_cycle_is_pytorchs(torch, name, options):
    """Rates, and momenta or the first beta, go up and down as PyTorch's do; a line that ends below 0 ends at 0."""
    theirs = path(torch.optim.lr_scheduler.OneCycleLR(torchs(torch, name), **options))
    ours = path(lr_scheduler.OneCycleLR(two_groups(getattr(optim, name)), **options))

    assert near([max(0.0, x) for x in theirs]) == ours


@pytest.mark.parametrize("make, milestones", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_sequences_are_pytorchs(torch, make, milestones):
    """One schedule runs after the other, each from its beginning."""
    their_optimizer, optimizer = torchs(torch), two_groups()
    schedules = torch.optim.lr_scheduler
    theirs = schedules.SequentialLR(their_optimizer, make(schedules, their_optimizer), milestones)
    ours = lr_scheduler.SequentialLR(optimizer, make(lr_scheduler, optimizer), milestones)

    assert near(path(theirs)) == path(ours)


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateaus_are_pytorchs(torch, options):
    """Rates fall where the losses do not improve, a nan among them."""
    losses = [3.0, 2.0, 2.0, 1.95, 1.95, math.nan, 1.2, 1.2, 1.2, 1.2, 1.0, 1.1, 1.1, 1.1, 5.0, 0.5, 0.49, 0.48]
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(torchs(torch), **options)
    ours = lr_scheduler.ReduceLROnPlateau(two_groups(), **options)

    assert near(path(theirs, losses=losses)) == path(ours, losses=losses)


# --- states -----------------------------------------------------------------------------------------------------------

MAKERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.5, 20),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o), lr_scheduler.StepLR(o, 2, 0.5)], [3]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1),
}


def go(scheduler, epochs):
    """Step some epochs; return the rates of each."""
    loss = [1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []
    rates = []
    for _ in range(epochs):
        scheduler.step(*loss)
        rates.append(scheduler.get_last_lr())
    return rates


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_loaded_state_sets_the_rates(make):
    """The first epoch after a load has the rate of its epoch, not the one that the new schedule began with."""
    scheduler, other = make(two_groups()), make(two_groups())
    go(scheduler, 5)
    other.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))

    assert scheduler.get_last_lr() == other.get_last_lr() != make(two_groups()).get_last_lr()
    assert scheduler.state_dict() == other.state_dict()
    assert go(scheduler, 9) == go(other, 9)


@pytest.mark.parametrize("make", [make for name, make in MAKERS.items() if name != "LambdaLR"])
def test_copies_and_pickles(make):
    """A copy of a schedule, with its optimizer, goes its own way; so does one from a pickle."""
    scheduler = make(two_groups())
    go(scheduler, 3)
    copies = [copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))]
    rates = go(scheduler, 6)

    assert [rates, rates] == [go(other, 6) for other in copies]


def test_options_are_in_the_state():
    """A loaded schedule has the options of the saved one; a state without options, an older one, leaves its own."""
    scheduler = lr_scheduler.StepLR(two_groups(), 3, 0.25)
    other = lr_scheduler.StepLR(two_groups(), 7)
    other.load_state_dict(scheduler.state_dict())
    assert (3, 0.25) == (other.step_size, other.gamma)

    other.load_state_dict({"last_epoch": 4, "base_lrs": [1.0, 2.0]})
    assert ([0.25, 0.5], 3) == (other.get_last_lr(), other.step_size)


BROKEN = {
    "none": None,
    "empty": {},
    "epoch of text": {"last_epoch": "4", "base_lrs": [0.1, 0.3]},
    "epoch below 0": {"last_epoch": -4, "base_lrs": [0.1, 0.3]},
    "rate of text": {"last_epoch": 4, "base_lrs": ["0.1", 0.3]},
    "rate below 0": {"last_epoch": 4, "base_lrs": [-0.1, 0.3]},
    "no rates": {"last_epoch": 4, "base_lrs": 5},
    "more rates": {"last_epoch": 4, "base_lrs": [0.1, 0.3, 0.5]},
    "bad option": {"last_epoch": 4, "base_lrs": [0.1, 0.3], "gamma": -1, "step_size": 0, "T_max": 0, "max_lr": -1}
    | {"total_iters": 0, "T_0": 0, "milestones": [4, 5], "schedulers": [{}], "factor": 2, "lrs": [0.1, 0.3]},
}


@pytest.mark.parametrize("make", [make for name, make in MAKERS.items() if name != "LambdaLR"])
@pytest.mark.parametrize("state", BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_state_changes_nothing(make, state):
    """It is a ValueError, and schedule and optimizer are as before."""
    scheduler = make(two_groups())
    go(scheduler, 2)
    before = repr([scheduler.state_dict(), scheduler.optimizer.param_groups])
    with pytest.raises(ValueError, match="state|rate|must be"):
        scheduler.load_state_dict(state)

    assert before == repr([scheduler.state_dict(), scheduler.optimizer.param_groups])


# --- groups that come later -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_group_that_is_added_later(make):
    """It keeps its own rate until the next step, and from then on has the schedule's, from a base of its own."""
    optimizer, alone = two_groups(), SGD([Value(1.0)], lr=0.7)
    scheduler, other = make(optimizer), make(alone)
    go(scheduler, 2)
    go(other, 2)
    optimizer.add_param_group({"params": [Value(1.0)], "lr": 0.7})
    alone.param_groups[0]["lr"] = 0.7  # of ReduceLROnPlateau, which has no base rates
    assert 0.7 == scheduler.get_last_lr()[-1]

    assert go(other, 6) == [rates[-1:] for rates in go(scheduler, 6)]


def test_groups_that_options_do_not_fit():
    """A list of options, one a group, needs one for the group that is new; nothing is left half-done."""
    lists = [
        lambda o: lr_scheduler.LambdaLR(o, [lambda epoch: 0.5] * 2),
        lambda o: lr_scheduler.OneCycleLR(o, [0.5, 0.6], 20),
    ]
    for make in lists:
        optimizer = two_groups()
        scheduler = make(optimizer)
        optimizer.add_param_group({"params": [Value(1.0)]})
        before = repr([scheduler.state_dict(), optimizer.param_groups])
        with pytest.raises(ValueError, match="lr_lambdas|append"):
            scheduler.step()
        assert before == repr([scheduler.state_dict(), optimizer.param_groups])
        if isinstance(scheduler, lr_scheduler.LambdaLR):
            scheduler.lr_lambdas.append(lambda epoch: 2.0)
            scheduler.step()
            assert 2e-3 == scheduler.get_last_lr()[-1]

    optimizer.param_groups.pop(), optimizer.param_groups.pop()
    with pytest.raises(ValueError, match="make a new schedule"):
        scheduler.step()


# --- refusals ---------------------------------------------------------------------------------------------------------

WRONG = [
    ("ExponentialLR", (1j,), {}, TypeError),
    ("ExponentialLR", (-1,), {}, ValueError),
    ("ExponentialLR", (math.nan,), {}, ValueError),
    ("ExponentialLR", ("0.5",), {}, TypeError),
    ("ExponentialLR", (0.5,), {"last_epoch": -2}, ValueError),
    ("ExponentialLR", (0.5,), {"last_epoch": 1.5}, TypeError),
    ("StepLR", ("3",), {}, TypeError),
    ("StepLR", (3, -0.1), {}, ValueError),
    ("StepLR", (math.nan,), {}, ValueError),
    ("CosineAnnealingLR", (None,), {}, TypeError),
    ("CosineAnnealingLR", (5, -0.1), {}, ValueError),
    ("LinearLR", ("1",), {}, TypeError),
    ("LinearLR", (0.5, 0.5, None), {}, TypeError),
    ("LambdaLR", (0.5,), {}, TypeError),
    ("LambdaLR", ([lambda epoch: 1, 0.5],), {}, TypeError),
    ("LambdaLR", (lambda epoch: "1",), {}, TypeError),
    ("LambdaLR", (lambda epoch: -1.0,), {}, ValueError),
    ("LambdaLR", (lambda epoch: math.nan,), {}, ValueError),
    ("LambdaLR", (lambda epoch: math.inf,), {}, ValueError),
    ("CosineAnnealingWarmRestarts", (0,), {}, ValueError),
    ("CosineAnnealingWarmRestarts", (2.5,), {}, TypeError),
    ("CosineAnnealingWarmRestarts", (2, 0), {}, ValueError),
    ("CosineAnnealingWarmRestarts", (2, 1, -1.0), {}, ValueError),
    ("OneCycleLR", (0.5,), {}, ValueError),
    ("OneCycleLR", (0.5, 0), {}, ValueError),
    ("OneCycleLR", (0.5, 2.5), {}, TypeError),
    ("OneCycleLR", (-0.5, 10), {}, ValueError),
    ("OneCycleLR", ("0.5", 10), {}, TypeError),
    ("OneCycleLR", ([0.5], 10), {}, ValueError),
    ("OneCycleLR", (0.5, 10), {"pct_start": 1.5}, ValueError),
    ("OneCycleLR", (0.5, 10), {"anneal_strategy": "sine"}, ValueError),
    ("OneCycleLR", (0.5, 10), {"div_factor": 0}, ValueError),
    ("OneCycleLR", (0.5, 10), {"max_momentum": 1.0}, ValueError),
    ("SequentialLR", ([], []), {}, ValueError),
    ("SequentialLR", ([3], []), {}, TypeError),
    ("ReduceLROnPlateau", ("least",), {}, ValueError),
    ("ReduceLROnPlateau", (), {"factor": 1.0}, ValueError),
    ("ReduceLROnPlateau", (), {"factor": "0.1"}, TypeError),
    ("ReduceLROnPlateau", (), {"patience": -1}, ValueError),
    ("ReduceLROnPlateau", (), {"threshold_mode": "x"}, ValueError),
    ("ReduceLROnPlateau", (), {"min_lr": [0.1]}, ValueError),
]


@pytest.mark.parametrize("name, args, options, error", WRONG)
def test_wrong_options(name, args, options, error):
    """An option that cannot be is refused, and the optimizer is as before."""
    optimizer = two_groups()
    before = repr(optimizer.param_groups)
    with pytest.raises(error, match="must|need|made of|a learning rate"):
        getattr(lr_scheduler, name)(optimizer, *args, **options)

    assert before == repr(optimizer.param_groups)


@pytest.mark.parametrize(
    "name, args", [("StepLR", (1,)), ("LambdaLR", (abs,)), ("OneCycleLR", (1.0, 5)), ("ReduceLROnPlateau", ())]
)
@pytest.mark.parametrize("optimizer", [3, None, [Value(1.0)]])
def test_a_schedule_needs_an_optimizer(name, args, optimizer):
    """What has no groups is refused by name."""
    with pytest.raises(TypeError, match="a schedule needs an optimizer, with its param_groups, not"):
        getattr(lr_scheduler, name)(optimizer, *args)


def test_a_rate_that_cannot_be_is_refused():
    """A step to a rate below 0, or too large for a float, changes nothing."""
    optimizer = two_groups()
    below = lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 - epoch)
    below.step()
    before = repr([below.state_dict(), optimizer.param_groups])
    with pytest.raises(ValueError, match="that of epoch 2 would be -0.1"):
        below.step()
    assert before == repr([below.state_dict(), optimizer.param_groups])

    large = lr_scheduler.ExponentialLR(two_groups(), 1e200)
    large.step()
    with pytest.raises(ValueError, match="that of epoch 2 would be inf"):
        large.step()
    assert 1 == large.last_epoch
    assert [math.inf, math.inf] == lr_scheduler.ExponentialLR(two_groups(), 2).rates(5000)  # an int overflows later


def test_sequences_of_what_does_not_belong_together():
    """Schedules of other optimizers, of losses, and milestones that do not fit are refused."""
    optimizer = two_groups()
    first, other = lr_scheduler.LinearLR(optimizer), lr_scheduler.LinearLR(two_groups())
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    for schedules, milestones in [
        ([first, other], [3]),
        ([first, plateau], [3]),
        ([first, first], []),
        ([first, first, first], [5, 3]),
        ([first, first], [-1]),
    ]:
        with pytest.raises(ValueError, match="optimizer|loss|milestone"):
            lr_scheduler.SequentialLR(optimizer, schedules, milestones)


def test_sequences_of_what_is_no_list():
    """One schedule or milestone without its list, and no schedule at all."""
    optimizer = two_groups()
    one = lr_scheduler.LinearLR(optimizer)
    with pytest.raises(TypeError, match="schedulers must be a list, not LinearLR"):
        lr_scheduler.SequentialLR(optimizer, one, [3])
    with pytest.raises(TypeError, match="milestones must be a list, not int"):
        lr_scheduler.SequentialLR(optimizer, [one, one], 3)
    with pytest.raises(ValueError, match="at least one schedule"):
        lr_scheduler.SequentialLR(optimizer, [], [])


def test_the_end_of_a_cycle_and_optimizers_without_momentum():
    """A cycle refuses the step after its last, and an optimizer that has no momentum to change."""
    scheduler = lr_scheduler.OneCycleLR(two_groups(Adam), 0.5, 3)
    go(scheduler, 3)
    with pytest.raises(ValueError, match="3 steps"):
        scheduler.step()
    assert 3 == scheduler.last_epoch

    class Bare:
        param_groups = [{"params": [], "lr": 0.1}]

    with pytest.raises(ValueError, match="cycle_momentum=False"):
        lr_scheduler.OneCycleLR(Bare(), 0.5, 3)


def test_a_metric_is_a_number():
    """A Value, or nothing, is no metric; the epoch does not count."""
    scheduler = lr_scheduler.ReduceLROnPlateau(two_groups())
    with pytest.raises(TypeError, match="metrics must be a real number"):
        scheduler.step(Value(1.0))
    with pytest.raises(TypeError, match="metrics"):
        scheduler.step()
    with pytest.raises(TypeError, match="depend on the losses"):
        scheduler.rates(3)
    assert 0 == scheduler.last_epoch
