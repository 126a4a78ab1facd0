"""fit() takes the very steps of the loop written by hand over backward() and step(): to the bit, its state included."""

import math
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import pygrad
from pygrad import engine, nn, optim, reference
from pygrad.data import batches
from pygrad.engine import Value
from pygrad.engine._lib import lib
from pygrad.optim import lr_scheduler
from pygrad.tape import training
from pygrad.tape.training import Progress

pytestmark = pytest.mark.wheel

N = 45
_random = random.Random(7)
X = [[_random.gauss(0, 1), _random.gauss(0, 1)] for _ in range(N)]
Y = [float(a * b > 0) for a, b in X]


class Case:
    """A small model with its loss, the same at every making, and a Value that the loss does not use."""

    def __init__(self, optimizer, value=Value, reduction=None, **options):
        random.seed(11)
        self.model, self.apart = nn.MLP(2, [3, 1], activation="tanh"), value(0.5)
        if value is not Value:
            self.model.layers[1].neurons[0].b = value(0.125)
        self.f = pygrad.compile(self.loss, reduction=reduction)
        self.parameters = [*self.model.parameters(), self.apart]
        self.optimizer = optimizer(self.parameters, **options)

    def loss(self, x, y):
        return (self.model(x) - y) ** 2 + 0.001 * sum(p * p for p in self.model.parameters())

    def by_hand(self, x, y, epochs=1, rate=None, end_epoch=lambda: None, **options):
        """The loop that fit() stands for; returns its losses."""
        losses, given = [], batches(x, y, **options)
        for _ in range(epochs):
            for part in given:
                if rate:
                    for group in self.optimizer.param_groups:
                        group["lr"] = rate(len(losses))
                self.optimizer.zero_grad()
                losses.append(self.f.backward(*part))
                self.optimizer.step()
            end_epoch()
        return losses

    def state(self):
        """All that training changes."""
        return [(p.data, p.grad) for p in self.parameters], self.optimizer.state_dict()


SGD = {
    "plain": {"lr": 0.1},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "decay": {"lr": 0.1, "weight_decay": 0.01},
    "all": {"lr": 0.1, "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.01},
    "standing still": {"lr": 0.0, "momentum": 0.9},
    "up": {"lr": 0.001, "weight_decay": 0.01, "maximize": True},
    "up alone": {"lr": 0.001, "maximize": True},
}
ADAM = {
    "plain": {"lr": 0.01},
    "betas": {"lr": 0.01, "betas": (0.5, 0.75), "eps": 1e-3},
    "decay": {"lr": 0.01, "weight_decay": 0.1},
    "amsgrad": {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True, "betas": (0.9, 0.5)},
    "up": {"lr": 0.01, "maximize": True},
}
RMSPROP = {
    "plain": {"lr": 0.01},
    "momentum": {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1},
    "centered": {"lr": 0.01, "centered": True, "alpha": 0.5},
    "all": {"lr": 0.01, "centered": True, "momentum": 0.5, "weight_decay": 0.1, "maximize": True},
}
OPTIMIZERS = {f"SGD {name}": (optim.SGD, options) for name, options in SGD.items()}
OPTIMIZERS |= {f"{cls.__name__} {n}": (cls, o) for cls in (optim.Adam, optim.AdamW) for n, o in ADAM.items()}
OPTIMIZERS |= {f"RMSprop {name}": (optim.RMSprop, options) for name, options in RMSPROP.items()}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 10, N])
def test_every_optimizer_takes_the_steps_of_the_loop(kind, size):
    """Losses, parameters, gradients and the optimizer's state are the loop's to the bit, and so when it is resumed."""
    cls, options = OPTIMIZERS[kind]
    ours, theirs = Case(cls, **options), Case(cls, **options)
    for epochs in (3, 1):
        right = theirs.by_hand(X, Y, epochs=epochs, batch_size=size, shuffle=False)
        assert right == ours.f.fit(ours.optimizer, X, Y, epochs=epochs, batch_size=size, shuffle=False)
        assert theirs.state() == ours.state()


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True, None])
@pytest.mark.parametrize("size", [7, 44, N, 100])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_batches_are_those_of_the_loop(size, shuffle, drop_last, reduction):
    """Every batch size, with and without a rest, shuffled by a seed or not, of either reduction: as the loop has it."""
    options = {"batch_size": size, "seed": 3, "drop_last": drop_last, "epochs": 3}
    shuffled = size < N if shuffle is None else shuffle
    ours, theirs = (Case(optim.Adam, reduction=reduction, lr=0.01) for _ in range(2))
    if drop_last and size > N:
        with pytest.raises(ValueError, match="drop_last leaves no batch"):
            ours.f.fit(ours.optimizer, X, Y, shuffle=shuffle, **options)
        return
    right = theirs.by_hand(X, Y, shuffle=shuffled, **options)

    assert right == ours.f.fit(ours.optimizer, X, Y, shuffle=shuffle, **options)
    assert theirs.state() == ours.state()


@pytest.mark.parametrize("make", [np.array, tuple, lambda x: np.array(x, dtype=np.float32)])
def test_any_kind_of_samples(make):
    """Arrays are trained on as lists are."""
    x, y = make(X), make(Y)
    ours, theirs = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1)
    as_lists = [[float(v) for v in row] for row in x], [float(v) for v in y]
    right = theirs.by_hand(*as_lists, epochs=2, batch_size=8, seed=1)

    assert right == ours.f.fit(ours.optimizer, x, y, epochs=2, batch_size=8, seed=1)
    assert theirs.state() == ours.state()


def test_the_whole_set_is_the_default_batch():
    """Without batch_size a step takes all samples, in order."""
    ours, theirs = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1)
    right = theirs.by_hand(X, Y, epochs=5, batch_size=N, shuffle=False)

    assert right == ours.f.fit(ours.optimizer, X, Y, epochs=5)
    assert theirs.state() == ours.state()


def grouped(case):
    """Give the layers groups of their own; the last parameter of the model has none."""
    first, second = (layer.parameters() for layer in case.model.layers)
    groups = [{"params": first, "lr": 0.2}, {"params": second[:-1], "momentum": 0.5}, {"params": [case.apart]}]
    case.optimizer = optim.SGD(groups, lr=0.05, weight_decay=0.01)
    case.model.layers[1].neurons[0].b.grad = 2.0


def test_groups_and_parameters_that_one_side_lacks():
    """Each group has its own options; what the optimizer lacks gathers gradients, what the loss lacks only decays."""
    ours, theirs = Case(optim.SGD), Case(optim.SGD)
    grouped(ours)
    grouped(theirs)
    right = theirs.by_hand(X, Y, epochs=3, batch_size=10, seed=2)

    assert right == ours.f.fit(ours.optimizer, X, Y, epochs=3, batch_size=10, seed=2)
    assert theirs.state() == ours.state()
    assert 2.0 != ours.model.layers[1].neurons[0].b.grad
    assert 0.5 != ours.apart.data


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads):
    """Batches that threads share train to the same bits."""
    x, y = np.array(X * 20), np.array(Y * 20)
    ours, theirs = Case(optim.Adam, lr=0.01), Case(optim.Adam, lr=0.01)
    ours.f.threads = threads
    right = theirs.by_hand(x, y, epochs=3, batch_size=600, seed=1)

    assert right == ours.f.fit(ours.optimizer, x, y, epochs=3, batch_size=600, seed=1)
    assert theirs.state() == ours.state()


# --- schedules --------------------------------------------------------------------------------------------------------


def test_a_schedule_by_step():
    """A function of the step number gives each step's rate, and leaves the last one in the optimizer."""
    ours, theirs = Case(optim.AdamW), Case(optim.AdamW)
    rate = lambda step: 0.05 / (1 + step)  # noqa: E731
    right = theirs.by_hand(X, Y, rate=rate, epochs=3, batch_size=10, seed=2)

    assert right == ours.f.fit(ours.optimizer, X, Y, schedule=rate, epochs=3, batch_size=10, seed=2)
    assert theirs.state() == ours.state()
    assert rate(14) == ours.optimizer.param_groups[0]["lr"]


def test_a_scheduler_by_epoch():
    """An LRScheduler is stepped after each epoch."""
    ours, theirs = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1)
    mine, other = (lr_scheduler.StepLR(case.optimizer, step_size=2, gamma=0.5) for case in (ours, theirs))
    right = theirs.by_hand(X, Y, end_epoch=other.step, epochs=5, batch_size=10, seed=2)

    assert right == ours.f.fit(ours.optimizer, X, Y, schedule=mine, epochs=5, batch_size=10, seed=2)
    assert theirs.state() == ours.state()
    assert (0.025, 5) == (ours.optimizer.param_groups[0]["lr"], mine.last_epoch)


@pytest.mark.parametrize(
    "schedule, error", [(0.1, TypeError), (lambda i: -1.0, ValueError), (lambda i: math.nan, ValueError)]
)
def test_a_wrong_schedule(schedule, error):
    """What is no schedule, or gives no rate, is refused before a step is taken."""
    case = Case(optim.SGD, lr=0.1)
    before = case.state()
    with pytest.raises(error):
        case.f.fit(case.optimizer, X, Y, schedule=schedule)

    assert before == case.state()


def test_a_schedule_of_another_optimizer():
    """It would change the rates of nobody: refused before a step is taken. A sequence is one of its optimizer."""
    case, other = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1)
    before = case.state()
    for schedule in (lr_scheduler.StepLR(other.optimizer, 2), lr_scheduler.ReduceLROnPlateau(other.optimizer)):
        with pytest.raises(ValueError, match="another optimizer"):
            case.f.fit(case.optimizer, X, Y, schedule=schedule)
    assert before == case.state()
    first = lr_scheduler.LinearLR(case.optimizer, total_iters=2)
    second = lr_scheduler.ExponentialLR(case.optimizer, 0.5)
    case.f.fit(case.optimizer, X, Y, epochs=4, schedule=lr_scheduler.SequentialLR(case.optimizer, [first, second], [2]))

    assert 0.1 * 0.25 == case.optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("make", [lambda: Value(1.0), lambda: reference.Value(1.0), lambda: Tracked(1.0)])
def test_an_optimizer_of_other_parameters(make):
    """One that has no parameter of the function would train nothing: refused before a step is taken."""
    case = Case(optim.SGD, lr=0.1)
    before = case.state()
    with pytest.raises(ValueError, match="uses none of the optimizer's parameters"):
        case.f.fit(optim.SGD([make()]), X, Y)
    with pytest.raises(ValueError, match="uses none of the optimizer's parameters"):
        pygrad.compile(lambda x: x * x).fit(case.optimizer, [1.0])
    assert before == case.state()
    case.model.requires_grad_(False)
    assert 1 == len(case.f.fit(optim.SGD(case.model.parameters()), X, Y))  # the program froze them


@pytest.mark.parametrize("optimizer", [3, None, [Value(1.0)], nn.MLP(2, [1])])
def test_no_optimizer(optimizer):
    """What has no step() and zero_grad() is refused by name."""
    with pytest.raises(TypeError, match=r"an optimizer has step\(\) and zero_grad\(\), and \w+ has not"):
        Case(optim.SGD).f.fit(optimizer, X, Y)


@pytest.mark.parametrize("options", [{"batch_size": 10, "shuffle": False}, {}])
def test_a_plateau_gets_the_mean_loss(options):
    """ReduceLROnPlateau is stepped with the mean of the epoch's losses."""
    ours, theirs = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1)
    mine, other = (
        lr_scheduler.ReduceLROnPlateau(case.optimizer, factor=0.5, patience=0, threshold=0.05)
        for case in (ours, theirs)
    )
    losses = ours.f.fit(ours.optimizer, X, Y, epochs=8, schedule=mine, **options)
    expected = []
    for _ in range(8):
        new = theirs.by_hand(X, Y, **{"batch_size": N, "shuffle": False, **options})
        other.step(sum(new) / len(new))
        expected += new

    assert expected == losses
    assert other.state_dict() == mine.state_dict()
    assert mine.get_last_lr()[0] < 0.1


def test_a_schedule_is_asked_once_and_finds_the_last_rate(monkeypatch):
    """Rates are asked for ahead of the steps in C; still each one once, in order, and from the rate before."""
    monkeypatch.setattr(training, "SECONDS", 0.0)  # every call of C takes one step
    monkeypatch.setattr(training, "MOST_STEPS", 7)
    ours, theirs, asked = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1), []

    def decay(case):
        return lambda step: case.optimizer.param_groups[0]["lr"] * (1.0 - 0.01 * step)

    right = theirs.by_hand(X, Y, rate=decay(theirs), epochs=20, batch_size=N, shuffle=False)
    rate = decay(ours)
    losses = ours.f.fit(ours.optimizer, X, Y, epochs=20, schedule=lambda step: (asked.append(step), rate(step))[1])

    assert right == losses
    assert list(range(20)) == asked
    assert theirs.state() == ours.state()


def test_a_schedule_that_raises():
    """The rate of the optimizer is as it was; the rates that were asked for ahead are not in it."""
    case = Case(optim.SGD, lr=0.1)
    before = case.state()
    with pytest.raises(ZeroDivisionError):
        case.f.fit(case.optimizer, X, Y, epochs=9, schedule=lambda step: 1 / (3 - step))
    assert before == case.state()


# --- the path through Python ------------------------------------------------------------------------------------------


class Tracked(Value):
    """A Value that is not plain."""


class Foreign:
    """An optimizer of somebody else's."""

    def __init__(self, parameters, lr):
        self.parameters, self.param_groups, self.steps = parameters, [{"lr": lr}], 0

    def zero_grad(self):
        for p in self.parameters:
            p.grad = 0.0

    def step(self):
        self.steps += 1
        for p in self.parameters:
            p.data -= self.param_groups[0]["lr"] * p.grad

    def state_dict(self):
        return self.steps


class Halving(optim.SGD):
    """A derived optimizer whose step is its own."""

    def step(self):
        super().step()
        self.param_groups[0]["lr"] /= 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Case(optim.Adam, Tracked, lr=0.01),
        lambda: Case(Foreign, lr=0.1),
        lambda: Case(Halving, lr=0.5),
    ],
    ids=["subclass", "foreign", "derived"],
)
@pytest.mark.parametrize("size", [7, N])
def test_what_c_does_not_know_runs_in_python(make, size):
    """Subclasses of Value, foreign optimizers and derived ones take the loop's steps too."""
    ours, theirs = make(), make()
    options = {"epochs": 3, "batch_size": size, "seed": 2, "shuffle": True}
    right = theirs.by_hand(X, Y, **options)

    assert right == ours.f.fit(ours.optimizer, X, Y, **options)
    assert theirs.state() == ours.state()


def test_python_and_c_take_the_same_steps():
    """An optimizer whose step() is replaced on the object runs in Python, with the result of C."""
    ours, theirs = Case(optim.AdamW, lr=0.01), Case(optim.AdamW, lr=0.01)
    calls = []
    step = ours.optimizer.step
    ours.optimizer.step = lambda: (calls.append(1), step())
    options = {"epochs": 3, "batch_size": 10, "seed": 2, "schedule": lambda i: 0.01 + i / 1000}

    assert theirs.f.fit(theirs.optimizer, X, Y, **options) == ours.f.fit(ours.optimizer, X, Y, **options)
    assert theirs.state() == ours.state()
    assert 15 == len(calls)


# --- callbacks, progress, endings -------------------------------------------------------------------------------------


def test_a_callback_after_each_epoch():
    """The callback is told where the training is, may change the optimizer, and ends it by True."""
    ours, theirs = Case(optim.SGD, lr=0.1), Case(optim.SGD, lr=0.1)
    told = []

    def callback(progress):
        told.append(progress)
        ours.optimizer.param_groups[0]["lr"] = 0.1 / (1 + progress.epoch)
        return progress.epoch == 3

    epoch = iter(range(1, 9))

    def end_epoch():
        theirs.optimizer.param_groups[0]["lr"] = 0.1 / (1 + next(epoch))

    right = theirs.by_hand(X, Y, end_epoch=end_epoch, epochs=3, batch_size=10, seed=2)
    losses = ours.f.fit(ours.optimizer, X, Y, epochs=8, batch_size=10, seed=2, callback=callback)

    assert right == losses
    assert [Progress(k, 8, 5 * k, losses[5 * k - 1]) for k in (1, 2, 3)] == told
    assert theirs.state() == ours.state()


def test_a_callback_that_raises():
    """An exception of the callback comes out, and the training stands where it stood."""
    ours, theirs = Case(optim.Adam, lr=0.01), Case(optim.Adam, lr=0.01)

    def callback(progress):
        if progress.epoch == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        ours.f.fit(ours.optimizer, X, Y, epochs=8, batch_size=10, seed=2, callback=callback)
    theirs.by_hand(X, Y, epochs=2, batch_size=10, seed=2)

    assert theirs.state() == ours.state()


def test_a_callback_may_run_the_function():
    """From the callback the function may be called, on other samples too; its gradients do not disturb the training."""
    ours, theirs = Case(optim.Adam, lr=0.01), Case(optim.Adam, lr=0.01)
    found = []
    right = theirs.by_hand(X, Y, epochs=3, batch_size=10, seed=2)

    def callback(progress):
        found.append((ours.f.backward(X[:3], Y[:3]), ours.f(X, Y)))

    assert right == ours.f.fit(ours.optimizer, X, Y, epochs=3, batch_size=10, seed=2, callback=callback)
    assert [p.data for p in theirs.parameters] == [p.data for p in ours.parameters]
    assert theirs.f(X, Y) == found[-1][1]


def test_progress_by_tqdm(capsys):
    """progress=True shows a bar with steps and loss."""
    pytest.importorskip("tqdm")
    case = Case(optim.SGD, lr=0.1)
    losses = case.f.fit(case.optimizer, X, Y, epochs=4, batch_size=10, progress=True)

    assert "20/20" in (text := capsys.readouterr().err)
    assert f"loss={losses[-1]:.4g}" in text


def test_progress_without_tqdm(capsys, monkeypatch):
    """Without tqdm, lines tell the same."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    case = Case(optim.SGD, lr=0.1)
    losses = case.f.fit(case.optimizer, X, Y, epochs=4, batch_size=10, progress=True)

    assert f"step 20 of 20, loss {losses[-1]:.4g}\n" == capsys.readouterr().err


def test_no_epochs():
    """epochs=0 takes no step and changes nothing."""
    case = Case(optim.Adam, lr=0.01)
    before = case.state()

    assert [] == case.f.fit(case.optimizer, X, Y, epochs=0, progress=True)
    assert before == case.state()


@pytest.mark.parametrize(
    "options, error",
    [
        ({"epochs": -1}, ValueError),
        ({"epochs": 1.5}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": -3}, ValueError),
        ({"batch_size": "4"}, TypeError),
        ({"callback": 5}, TypeError),
        ({"epoch": 3}, TypeError),
    ],
)
def test_wrong_options(options, error):
    """What is no option, or out of range, is refused before a step is taken."""
    case = Case(optim.SGD, lr=0.1)
    before = case.state()
    with pytest.raises(error):
        case.f.fit(case.optimizer, X, Y, **options)

    assert before == case.state()


def test_a_function_of_several_numbers_cannot_be_trained():
    """fit() needs one number a sample, and its mean or sum."""
    w = Value(1.0)
    optimizer = optim.SGD([w], lr=0.1)
    for f in (pygrad.compile(lambda x: [w * x, w]), pygrad.compile(lambda x: w * x, reduction="none")):
        with pytest.raises(ValueError, match="this needs one number"):
            f.fit(optimizer, [1.0, 2.0])
    assert 1.0 == w.data


@pytest.mark.parametrize("change", [{"lr": -1.0}, {"lr": "x"}, {"betas": (2.0, 0.5)}])
def test_an_optimizer_that_cannot_step(change):
    """What step() refuses fit() refuses, with the same error, and nothing has moved."""
    case, other = Case(optim.Adam, lr=0.01), Case(optim.Adam, lr=0.01)
    for optimizer in (case.optimizer, other.optimizer):
        optimizer.param_groups[0].update(change)
    before = case.state()
    right = raised_by(other.optimizer.step)

    assert right == raised_by(lambda: case.f.fit(case.optimizer, X, Y))
    assert right is None or before == case.state()


def raised_by(run):
    """Return the exception's type and text, or None."""
    try:
        run()
    except Exception as error:
        return type(error), str(error)
    return None


def test_a_bad_index_ends_the_training_at_a_whole_step():
    """An index out of range tells the sample; steps before it have been taken, and count in the optimizer's state."""
    random.seed(1)
    for shuffle in (False, True):
        table, twin = [[Value(k / 4) for k in range(3)] for _ in range(2)]
        index = [float(i % 3) for i in range(N)]
        index[33] = 3.0
        f = pygrad.compile(lambda i, table=table: pygrad.take(table, i) ** 2)
        g = pygrad.compile(lambda i, table=twin: pygrad.take(table, i) ** 2)
        ours, theirs = optim.Adam(table, lr=0.1), optim.Adam(twin, lr=0.1)
        with pytest.raises(IndexError, match="sample 33: the index of v0 = take"):
            f.fit(ours, index, epochs=2, batch_size=10, shuffle=shuffle, seed=1)
        steps = 0
        for part in batches(index, batch_size=10, shuffle=shuffle, seed=1):
            theirs.zero_grad()
            if 3.0 in part:
                break
            g.backward(part)
            theirs.step()
            steps += 1
        assert theirs.state_dict() == ours.state_dict()
        assert [p.data for p in twin] == [p.data for p in table]
        assert [0.0] * 3 == [p.grad for p in table]
        assert ours.state[0]["step"] == steps


def test_what_the_last_callback_sets_stays():
    """The end of a training writes nothing over what a callback has changed in the optimizer."""
    w = Value(0.5)
    optimizer = optim.Adam([w], lr=0.1)

    def callback(progress):
        optimizer.state[0]["step"] = 77
        optimizer.param_groups[0]["lr"] = 7.0

    pygrad.compile(lambda x: (w * x) ** 2).fit(
        optimizer, [1.0, 2.0], epochs=2, schedule=lambda step: 0.1, callback=callback
    )
    assert 77 == optimizer.state[0]["step"]
    assert 7.0 == optimizer.param_groups[0]["lr"]


ENDLESS = """
import random, signal, sys, threading, os
import pygrad
from pygrad import nn, optim
from pygrad.data import batches
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
random.seed(1)
model = nn.MLP(2, [4, 1])
X = [[random.random(), random.random()] for _ in range(50)]
f = pygrad.compile(lambda x: (model(x) - x[0]) ** 2)
start = [p.data for p in model.parameters()]
def made():
    for p, number in zip(model.parameters(), start):
        p.data = number
    return optim.Adam(model.parameters(), lr=0.01)
f.fit(made(), X)
taken = []
for trial in range(8):
    optimizer = made()
    threading.Timer(0.05 + 0.0071 * trial, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        f.fit(optimizer, X, epochs=10**9, batch_size=BATCH, shuffle=SHUFFLE, seed=5)
        sys.exit("not interrupted")
    except KeyboardInterrupt:
        pass
    stopped, state = [p.data for p in model.parameters()], optimizer.state_dict()
    steps, again = state["state"][0]["step"], made()
    whole, rest = divmod(steps, BATCHES)
    parts = batches(X, batch_size=BATCH, shuffle=SHUFFLE, seed=5)
    f.fit(again, X, epochs=whole, batch_size=BATCH, shuffle=SHUFFLE, seed=5)
    for _ in range(whole * SHUFFLE):
        iter(parts).__next__()  # the shuffles of the epochs that are done
    for _, part in zip(range(rest), parts):
        again.zero_grad()
        f.backward(part)
        again.step()
    assert stopped == [p.data for p in model.parameters()], "not a whole step"
    assert state == again.state_dict(), "the state is of another step"
    taken.append(steps)
print(len(taken), max(taken) > 0)
"""


@pytest.mark.parametrize("batch, batches, shuffle", [(50, 1, False), (50, 1, True), (20, 3, True)])
def test_ctrl_c_leaves_a_whole_step(batch, batches, shuffle):
    """Ctrl-C ends the training soon, with parameters and the optimizer's state as of one and the same step."""
    program = ENDLESS.replace("BATCHES", str(batches)).replace("BATCH", str(batch)).replace("SHUFFLE", str(shuffle))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert "" == done.stderr
    assert "8 True" == done.stdout.strip()


def test_a_training_that_ends_before_its_first_step():
    """Not one epoch, or an index that is wrong at once: the optimizer's state and all gradients are as they were."""
    table, stays = [Value(1.0), Value(2.0)], Value(3.0)
    stays.requires_grad = False
    f = pygrad.compile(lambda x, i: (x * pygrad.take(table, i) * stays) ** 2)
    optimizer = optim.SGD([*table, stays], lr=0.1, momentum=0.9)
    for p in (*table, stays):
        p.grad = 5.0
    before = optimizer.state_dict()
    assert [] == f.fit(optimizer, [1.0], [0.0], epochs=0)
    with pytest.raises(IndexError):
        f.fit(optimizer, [1.0], [7.0])
    assert before == optimizer.state_dict()
    assert 5.0 == stays.grad
    assert [1.0, 2.0, 3.0] == [p.data for p in (*table, stays)]


@pytest.mark.threads
def test_another_thread_may_run_the_function_meanwhile():
    """While fit() runs, other threads may call the function: they wait, and find parameters of a whole step."""
    case = Case(optim.SGD, lr=0.0)
    right, found = case.f(X, Y), []

    def work():
        while not done.is_set():
            found.append(case.f(X, Y))

    done = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    case.f.fit(case.optimizer, X, Y, epochs=2000)
    done.set()
    thread.join()

    assert {right} == {*found, right}


def test_parameters_that_go_while_a_schedule_runs():
    """A schedule that empties the optimizer's list cannot free what C is about to move: C moves what is listed then."""
    w, made = Value(1.0), []
    f = pygrad.compile(lambda x: w * x)
    optimizer = optim.SGD([Value(2.0), w], lr=0.1, weight_decay=0.5)

    def rate(step):
        optimizer.param_groups[0]["params"].clear()
        made.append(Value(5.0))  # in the place of the one that went, if it did
        return 0.1

    f.fit(optimizer, [1.0, 2.0], epochs=2, schedule=rate)

    assert 1.0 == w.data
    assert [5.0, 5.0] == [v.data for v in made]
    engine.check_arena()


# --- what a signal handler, or a thread, changes meanwhile ------------------------------------------------------------


@pytest.fixture
def in_the_middle(monkeypatch):
    """Return a function that has another one called once, in the middle of a training in C, as a handler would be."""
    calls = []

    def after_a_call(replay, fit, run=lib.pg_fit_run):
        status = run(replay, fit)
        if calls and fit.done:
            calls.pop()()
        return status

    class Lib:
        pg_fit_run = staticmethod(after_a_call)

        def __getattr__(self, name):
            return getattr(lib, name)

    monkeypatch.setattr(training, "lib", Lib())
    monkeypatch.setattr(training, "MOST_STEPS", 10)
    return calls.append


def test_a_state_that_is_loaded_meanwhile(in_the_middle):
    """Steps are counted from the state that was loaded, as in the loop in Python."""
    w = Value(1.0)
    optimizer = optim.Adam([w], lr=0.01)
    saved = optimizer.state_dict()
    in_the_middle(lambda: optimizer.load_state_dict(saved))
    pygrad.compile(lambda x: (w * x) ** 2).fit(optimizer, [1.0], epochs=30)

    assert 20 == optimizer.state[0]["step"]


def test_a_rate_that_is_set_meanwhile(in_the_middle):
    """The next steps have the new rate."""
    w = Value(1.0)
    optimizer, seen = optim.SGD([w], lr=0.01), []
    in_the_middle(lambda: (optimizer.param_groups[0].update(lr=0.0), seen.append(w.data)))
    pygrad.compile(lambda x: (w * x) ** 2).fit(optimizer, [1.0], epochs=30)

    assert [w.data] == seen
