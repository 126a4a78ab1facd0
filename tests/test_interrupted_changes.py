"""What moves many numbers of a model, an optimizer or a schedule happens wholly or not at all.

A trace function, or a profile function, raises KeyboardInterrupt at the first event within pygrad, then at the second,
and so on, until the call comes through. That is at each instruction, and before and after each C function: Ctrl-C comes
at fewer places. Each exception is kept, with the frames that it holds, as an interactive session keeps the last one.
"""

import random
import sys
from pathlib import Path

import pytest

import pygrad
from pygrad import lr_scheduler, optim, reference
from pygrad.data import batches
from pygrad.engine import Value
from pygrad.module import Module

pytestmark = pytest.mark.python

PACKAGE = str(Path(pygrad.__file__).parent)
OPTIM, SCHEDULE, WHOLE, FIT = (
    f"{PACKAGE}/{name}.py" for name in ("optim", "lr_scheduler", "common/whole", "tape/training")
)


def interrupted(call, install, at, where):
    """Call; raise KeyboardInterrupt at event number `at` in files whose names begin with `where`, and return it.

    Return None if there are fewer events.
    """
    events = 0

    def event(frame, event, _):
        if not frame.f_code.co_filename.startswith(where):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return count(frame, event, _)

    def count(frame, event, _):
        nonlocal events
        events += 1
        if events == at:
            raise KeyboardInterrupt
        return count

    before = {sys.settrace: sys.gettrace, sys.setprofile: sys.getprofile}[install]()
    try:
        install(event)
        call()
    except KeyboardInterrupt as error:
        return error
    finally:
        install(before)
    return None


INSTALLERS = {"trace": sys.settrace, "profile": sys.setprofile}


@pytest.fixture(params=INSTALLERS.values(), ids=INSTALLERS.keys())
def install(request):
    """How a function that is told of events is installed: of all instructions, or of all calls."""
    return request.param


def interrupted_everywhere(install, make, where=(PACKAGE,)):
    """Yield make()'s results, each after its call `act` was interrupted one event later; at last after it was not.

    A result whose state() an interrupt has left as it was is used again.
    """
    case, kept, at = make(), [], 0
    before = case.state()
    while not kept or kept[-1]:
        at += 1
        kept.append(interrupted(case.act, install, at, where))
        yield case
        if case.state() != before:
            case = make()
            assert before == case.state()
    assert len(kept) > 5, "nothing was interrupted"


def check_wholly_or_not_at_all(install, make, where=(PACKAGE,)):
    """Check that each interrupted `act` has done nothing, or all; and that another `act` goes on from there."""
    whole = make()
    states = [whole.state()]
    for _ in range(2):
        whole.act()
        states.append(whole.state())
    for case in interrupted_everywhere(install, make, where):
        found = case.state()
        assert found in states[:2]
        if found == states[1]:
            case.act()
            assert states[2] == case.state()
    assert found == states[1]


# --- steps ------------------------------------------------------------------------------------------------------------


class Clamped(Value):
    """A Value whose data stays within [-9, 9]: it is moved in Python."""

    @property
    def data(self):
        return Value.data.__get__(self)

    @data.setter
    def data(self, number):
        Value.data.__set__(self, max(-9.0, min(9.0, number)))


class Steps:
    """An optimizer of one group for each of `kinds`, with gradients, after some steps."""

    def __init__(self, make, kinds, steps=0):
        rng = random.Random(1)
        groups = [[kind(rng.uniform(-1, 1)) for _ in range(2)] for kind in kinds]
        self.params = [p for group in groups for p in group]
        for p in self.params:
            p.grad = rng.uniform(-1, 1)
        self.optimizer = make([{"params": group} for group in groups])
        for _ in range(steps):
            self.optimizer.step()

    def act(self):
        """Take a step."""
        self.optimizer.step()

    def state(self):
        """All that the optimizer may change, as text: so every bit counts."""
        state = self.optimizer.state_dict()
        return repr([[(p.data, p.grad) for p in self.params], state, self.optimizer.param_groups])


MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": lambda params: optim.Adam(params, lr=0.1),
}
KINDS = {"one group": [Value], "groups": [Value, Value], "mixed": [Value, Clamped, reference.Value]}


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("name, steps", [("SGD", 0), ("Adam", 1)])
def test_a_step(install, name, steps, kinds):
    """Parameters, buffers and step counts of all groups move together, or stay."""
    check_wholly_or_not_at_all(install, lambda: Steps(MAKERS[name], kinds, steps), (OPTIM, WHOLE))


# --- everything else --------------------------------------------------------------------------------------------------


class Case:
    """What make() returns, with `act` and `state` as functions of it."""

    def __init__(self, make, act, state):
        self.made = make()
        self.act, self.state = (lambda: act(self.made)), (lambda: repr(state(self.made)))


class Pair(Module):
    """A model with parameters of each kind."""

    def __init__(self, kinds=(Value, Clamped, reference.Value)):
        self.plain, self.mixed = [Value(0.5) for _ in range(3)], [kind(0.5) for kind in kinds]

    def load_half(self):
        """Load numbers half as large."""
        self.load_state_dict({name: [p.data / 2 for p in values] for name, values in vars(self).items()})


def scheduled():
    """An optimizer of two groups, and its schedule."""
    optimizer = optim.SGD([{"params": [Value(0.5)], "lr": lr} for lr in (0.1, 0.2)])
    return lr_scheduler.ExponentialLR(optimizer, 0.5)


def rates(scheduler):
    """All that a schedule changes."""
    return scheduler.state_dict(), scheduler.optimizer.param_groups


def later_states():
    """The states of an optimizer after one step and after two, with other rates."""
    for steps in (1, 2):
        optimizer = Steps(MAKERS["Adam"], [Value, Value], steps).optimizer
        for group in optimizer.param_groups:
            group["lr"] /= steps
        yield optimizer.state_dict()


LATER = list(later_states())


CASES = {
    "load into an optimizer": (
        lambda: Steps(MAKERS["Adam"], [Value, Value]),
        lambda steps: steps.optimizer.load_state_dict(LATER[steps.optimizer.state[0]["step"]]),
        Steps.state,
    ),
    "add a group": (
        lambda: optim.Adam([Value(1.0)]),
        lambda optimizer: optimizer.add_param_group({"params": [Value(1.0)]}),
        lambda optimizer: (optimizer.param_groups, optimizer.state),
    ),
    "begin a schedule": (
        lambda: optim.SGD([{"params": [Value(0.5)]} for _ in range(2)]),
        lambda optimizer: lr_scheduler.LinearLR(optimizer, 1 / (2 + len(optimizer.param_groups[0]))),
        lambda optimizer: optimizer.param_groups,
    ),
    "step a schedule": (scheduled, lr_scheduler.LRScheduler.step, rates),
    "load into a schedule": (
        scheduled,
        lambda s: s.load_state_dict({"last_epoch": s.last_epoch + 2, "base_lrs": [lr + 1 for lr in s.base_lrs]}),
        rates,
    ),
    "load into a model": (
        lambda: Pair([Value]),
        Pair.load_half,
        lambda model: model.state_dict(),
    ),
    "load into a mixed model": (
        Pair,
        Pair.load_half,
        lambda model: model.state_dict(),
    ),
    "freeze a model": (
        lambda: Pair([Value, Clamped]),
        lambda model: model.requires_grad_(not model.plain[0].requires_grad),
        lambda model: [p.requires_grad for p in model.parameters()],
    ),
}
WRITERS = (OPTIM, SCHEDULE, WHOLE, f"{PACKAGE}/module.py")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_another_change(install, case):
    """States are loaded, groups added, rates set and parameters frozen wholly or not at all."""
    check_wholly_or_not_at_all(install, lambda: Case(*case), WRITERS)


# --- fit --------------------------------------------------------------------------------------------------------------


class PlainSGD(optim.SGD):
    """Not an optimizer that C knows."""


class Fits:
    """A training of two epochs of two batches, with a schedule; `path` are the states that its steps lead to."""

    X = [[0.1 * i, 0.7 - 0.2 * i] for i in range(4)]

    def __init__(self, make, schedule):
        self.w, self.b = [Value(0.5), Value(-0.25)], Value(0.125)
        self.frozen = Value(0.25)
        self.frozen.requires_grad = False
        self.f = pygrad.compile(lambda x: (pygrad.dot(self.w, x, self.b) - self.frozen) ** 2)
        self.optimizer = make([{"params": self.w}, {"params": [self.b, self.frozen]}])
        self.schedule = schedule(self.optimizer)
        self.f.trace(self.X)

    def act(self):
        """Train in one call."""
        self.f.fit(self.optimizer, self.X, epochs=2, batch_size=2, shuffle=False, schedule=self.schedule)

    def path(self):
        """Train by hand, and yield the state before each step and after the last."""
        yield self.state()
        for epoch in range(2):
            for i, part in enumerate(batches(self.X, batch_size=2, shuffle=False)):
                if callable(self.schedule):
                    for group in self.optimizer.param_groups:
                        group["lr"] = self.schedule(2 * epoch + i)
                self.optimizer.zero_grad()
                self.f.backward(part)
                if not isinstance(self.optimizer, optim.Adam):
                    yield self.state()  # a loop in Python sets the rate first
                self.optimizer.step()
                yield self.state()
            if not callable(self.schedule):
                self.schedule.step()
                yield self.state()

    def state(self):
        """The parameters, the state of the optimizer, and the rates."""
        groups = self.optimizer.param_groups
        return repr([[p.data for p in (*self.w, self.b)], self.optimizer.state, [group["lr"] for group in groups]])


SCHEDULES = {
    "per step": lambda optimizer: lambda step: 0.1 / (step + 1),
    "per epoch": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
}
FITTED = {"in C": MAKERS["Adam"], "in Python": lambda params: PlainSGD(params, lr=0.1, momentum=0.9)}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED.keys())
def test_fit(install, make, schedule):
    """A training that is interrupted has taken whole steps, and the rates are those of its last step."""
    path = list(Fits(make, schedule).path())
    for case in interrupted_everywhere(install, lambda: Fits(make, schedule), (SCHEDULE, WHOLE, FIT)):
        assert case.state() in path
    assert path[-1] == case.state()
