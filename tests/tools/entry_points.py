"""The entry points that tests/tools/interrupts.py interrupts: each a small program on fresh objects.

A function here that is marked `@entry` sets a program up in a new directory, and returns a Case. Everything that the
program needs is made anew for every interrupt, so that each run does the same steps.
"""

import os
import random
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import graphviz  # noqa: F401 - what the programs import at their first run, for all workers
import safetensors.numpy  # noqa: F401
import scipy.optimize  # noqa: F401
import scipy.sparse  # noqa: F401

import pygrad
from pygrad import Value, data, engine, functional, lr_scheduler, nn, optim, viz

ENTRIES = {}  # name -> function from a directory to a Case


class Case(NamedTuple):
    """A program to interrupt.

    run         the program: what it returns is compared bit by bit
    state       what it changes, all or nothing; None: the program may be half done, and begins anew at the next run
    reset       called before the program is run again after an interrupt, where half a program leaves a trace that it
                may leave: gradients that were added
    draws       the program draws from the global `random`, and may leave it anywhere
    hook        the trace hook that is set all the time
    steps       for a program of several steps: a function that takes them one by one. The state is whole after each
    """

    run: Callable[[], Any]
    state: Callable[[], Any] = lambda: None
    reset: Callable[[], None] = lambda: None
    draws: bool = False
    hook: Callable[..., Any] | None = None
    steps: Callable[[], Any] | None = None


def entry(function):
    ENTRIES[function.__name__] = function
    return function


def numbers_of(values):
    return [v._read() for v in values]


def grads_of(values):
    return [v.grad for v in values]


def clear(values):
    for v in values:
        v.grad = 0.0


# --- Values -----------------------------------------------------------------------------------------------------------


@entry
def eager(_):
    a, b = Value(2.0), Value(-3.0)

    def run():
        c = a * b + a / 3.0 - b**2 + 2.0**a
        d = (c.tanh() + a.exp() * b.relu() - 1.5).maximum(a) + (-c).sin()
        return numbers_of([c, d, pygrad.where(pygrad.less(a, b), c, d)])

    return Case(run)


@entry
def sum_dot_take(_):
    xs, ws = [Value(float(i)) for i in range(5)], [Value(0.5 * i) for i in range(5)]

    def run():
        y = pygrad.sum(xs) + pygrad.dot(xs, ws) + pygrad.take(xs, Value(2.0)) + pygrad.take([xs, ws], Value(1.0))[3]
        return y._read(), pygrad.logsumexp(xs)._read()

    return Case(run)


@entry
def backward(_):
    a, b = Value(2.0), Value(-3.0)

    def run():
        (a * b + a.tanh() / b).backward()
        return grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def backward_with_closures(_):
    a, b = Value(2.0), Value(-3.0)

    def run():
        c = a * b
        out = Value(c._read() ** 2, (c,), "squared")

        def step():
            c.grad += 2.0 * c._read() * out.grad

        out._backward = step
        (out * a + out).backward()
        out._backward = lambda: None
        return grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def backward_of_several(_):
    a, b = Value(2.0), Value(-3.0)

    def run():
        c, d = a * b, a + b * b
        pygrad.backward([c, d], [1.0, 2.0])
        return grads_of([a, b]), numbers_of(pygrad.grad(c * d, [a, b], create_graph=True))

    return Case(run, reset=lambda: clear([a, b]))


@entry
def make_and_drop(_):
    class Own(Value):
        pass

    def run():
        values = [Value(1.0), Value(2.0, (), "leaf", "x"), Own(3.0)]
        values.append(Value(4.0, (values[0], values[1]), local_grads=(1.0, 2.0)))
        values.append(values[0] * values[2])
        values.append(Value(5.0, (values[0], values[1]), "both"))
        found = [(v.label, v._op, len(v._prev), v.detach()._read()) for v in values]
        while values:
            values.pop()
        return found

    return Case(run)


@entry
def freeze(_):
    model = nn.MLP(2, [2, 1])

    def run():
        model.layers[0].requires_grad_(False)
        model([1.0, 2.0]).backward()
        model.requires_grad_(True)
        model([1.0, 2.0]).backward()
        return grads_of(model.parameters())

    def reset():
        model.requires_grad_(True)
        clear(model.parameters())

    return Case(run, reset=reset)


@entry
def custom_op(_):
    @pygrad.custom_op
    def cube(x):
        return x * x * x

    @cube.derivative
    def _(y, x):
        return 3.0 * x * x

    a = Value(2.0)

    def run():
        y = cube(a) + cube(a * 2.0)
        y.backward()
        return y._read(), a.grad

    return Case(run, reset=lambda: clear([a]))


@entry
def layers(_):
    model, x = nn.MLP(3, [3, 2]), [Value(1.0), Value(2.0), 0.5]

    def run():
        return numbers_of(model(x)), numbers_of(model.layers[0](x)), model.layers[0].neurons[0](x)._read()

    return Case(run)


@entry
def losses(_):
    xs = [Value(0.5), Value(-1.0), Value(2.0)]

    def run():
        y = (
            functional.cross_entropy([xs], [1])
            + pygrad.sum(functional.softmax([xs])[0])
            + functional.mse_loss(xs, [1.0, 2.0, 3.0])
        )
        y.backward()
        return y._read(), grads_of(xs)

    return Case(run, reset=lambda: clear(xs))


# --- modes ------------------------------------------------------------------------------------------------------------


@entry
def no_grad_block(_):
    a = Value(2.0)

    def run():
        with pygrad.no_grad():
            b = a * a
            with pygrad.enable_grad():
                c = a * a
        return len(b._prev), len(c._prev), len((a * a)._prev)

    return Case(run)


@entry
def no_grad_decorator(_):
    a = Value(2.0)

    @pygrad.no_grad()
    def without():
        return a * a

    @pygrad.enable_grad
    def within():
        return a * a

    def run():
        return len(without()._prev), len(within()._prev)

    return Case(run)


@entry
def no_grad_generator(_):
    a = Value(2.0)

    @pygrad.no_grad()
    def steps():
        yield a * a
        try:
            yield a * a
        finally:
            a * a

    def run():
        found = []
        for b in steps():
            found.append((len(b._prev), len((a * a)._prev)))
        early = steps()
        next(early)
        next(early)
        early.close()
        return found

    return Case(run)


@entry
def no_grad_async(_):
    a = Value(2.0)

    @pygrad.no_grad()
    async def without():
        return a * a

    @pygrad.no_grad()
    async def steps():
        yield a * a
        yield a * a

    async def both():
        found = [len((await without())._prev)]
        async for b in steps():
            found.append((len(b._prev), len((a * a)._prev)))
        return found

    def run():
        try:
            both().send(None)
        except StopIteration as stop:
            return stop.value

    return Case(run)


@entry
def detect_anomaly(_):
    a, b = Value(2.0), Value(3.0)

    def run():
        with pygrad.detect_anomaly():
            y = a * b + a.log()
            y.backward()
            try:
                Value(0.0).log()
            except FloatingPointError:
                return grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def checkpoint(_):
    a, b = Value(2.0), Value(-3.0)
    block = pygrad.checkpoint(lambda x, y: [(x * y * b).tanh() * x, x + y])

    def run():
        y = block(a, b * 2.0)
        (y[0] * y[1]).backward()
        return numbers_of(y), grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def checkpoint_that_draws(_):
    a = Value(2.0)
    block = pygrad.checkpoint(lambda x: x * a * random.random())
    random.seed(3)

    def run():
        y = block(Value(1.5))
        y.backward()
        return y._read(), a.grad, random.random()

    def reset():
        clear([a])
        random.seed(3)

    return Case(run, reset=reset, draws=True)


@entry
def checkpoint_random_state(_):
    """Only the backward pass: it puts the state of the generator back, wherever it was interrupted."""
    a = Value(2.0)
    random.seed(3)
    y = pygrad.checkpoint(lambda x: x * a * random.random())(Value(1.5))

    def run():
        y.backward()

    return Case(run)


# --- compiled functions -----------------------------------------------------------------------------------------------


def loss_of_line(a, b):
    return lambda x, y: (a * x + b - y) ** 2


@entry
def compile_and_call(_):
    a, b = Value(2.0), Value(-3.0)
    f = pygrad.compile(loss_of_line(a, b))

    def run():
        return f([1.0, 2.0], [3.0, 4.0])

    return Case(run)


@entry
def compile_what_reads(_):
    a, b = Value(2.0), Value(-3.0)

    def branching(x):
        inner = pygrad.compile(loss_of_line(a, b), batched=False)
        return (x * a if x.data > 0 else x * b) + inner(x, 2.0) + inner(1.0, 2.0)

    f = pygrad.compile(branching, batched=False)

    def run():
        return f(1.0)

    return Case(run)


@entry
def call_compiled(_):
    a, b = Value(2.0), Value(-3.0)
    f = pygrad.compile(loss_of_line(a, b), threads=2)
    f([1.0, 2.0], [3.0, 4.0])

    def run():
        out = f.backward([1.0, 2.0], [3.0, 4.0], inputs=True)
        return f([1.0, 2.0, 3.0], array("d", [3.0, 4.0, 5.0])), out, grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def bind(_):
    a, b = Value(2.0), Value(-3.0)
    f = pygrad.compile(loss_of_line(a, b))
    f([1.0, 2.0], [3.0, 4.0])

    def run():
        bound = f.bind(array("d", [1.0, 2.0]), array("d", [3.0, 4.0]))
        bound.forward()
        bound.backward()
        return list(bound.output), bound.gradients, grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def call_bound(_):
    a, b = Value(2.0), Value(-3.0)
    f = pygrad.compile(loss_of_line(a, b), batched=False)
    bound = f.bind(1.0, 2.0)

    def run():
        bound.forward()
        bound.backward()
        return list(bound.output), bound.gradients, grads_of([a, b])

    return Case(run, reset=lambda: clear([a, b]))


@entry
def transforms(_):
    def f(xs):
        return xs[0] ** 2 * xs[1] + xs[1].tanh()

    at = [2.0, 3.0]

    def run():
        found = (
            pygrad.gradient(f)(at),
            pygrad.hessian(f)(at),
            pygrad.jvp(f)(at, [1.0, 2.0]),
            pygrad.hvp(f)(at, [1.0, 2.0]),
        )
        return found, pygrad.jacobian(lambda xs: [f(xs), xs[0]])(at), pygrad.taylor(lambda x: x.exp(), 3)(1.0)

    return Case(run)


@entry
def transforms_of_compiled(_):
    f = pygrad.compile(lambda xs: xs[0] ** 2 * xs[1] + xs[1].tanh(), batched=False)
    at = [2.0, 3.0]

    def run():
        return (
            pygrad.gradient(f)(at),
            pygrad.hessian(f)(at),
            pygrad.jvp(f)(at, [1.0, 2.0]),
            pygrad.hvp(f)(at, [1.0, 2.0]),
        )

    return Case(run)


@entry
def gradcheck(_):
    def run():
        return pygrad.gradcheck(lambda x, y: x * y + x.tanh(), (1.0, 2.0))

    return Case(run)


@entry
def minimize(_):
    def run():
        found = pygrad.minimize(lambda x: (x[0] - 1) ** 2 + (x[1] - x[0]) ** 2, [-1.0, 2.0], method="BFGS")
        return found.success, [float(x) for x in found.x]

    return Case(run)


# --- training ---------------------------------------------------------------------------------------------------------


class Watched(Value):
    """A subclass: the optimizers move it in Python."""


def state_of(values, optimizer):
    state = optimizer.state_dict()
    return numbers_of(values), state["state"], [dict(g) for g in state["param_groups"]]


def stepped(make, kind=Value):
    def step(_):
        values = [[kind(1.0), kind(2.0)], [kind(3.0)]]
        flat = [v for group in values for v in group]
        optimizer = make([{"params": values[0]}, {"params": values[1], "lr": 0.5}])
        for v in flat:
            v.grad = 0.25

        return Case(optimizer.step, lambda: (state_of(flat, optimizer), grads_of(flat)))

    return step


SGD = lambda params: optim.SGD(params, lr=0.1, momentum=0.9)  # noqa: E731
ENTRIES["step_of_plain_sgd"] = stepped(lambda params: optim.SGD(params, lr=0.1))
ENTRIES["step_of_sgd"] = stepped(SGD)
ENTRIES["step_of_adam"] = stepped(optim.Adam)
ENTRIES["step_of_adamw"] = stepped(optim.AdamW)
ENTRIES["step_of_sgd_by_formula"] = stepped(SGD, Watched)
ENTRIES["step_of_adam_by_formula"] = stepped(optim.Adam, Watched)
RMSPROP = lambda params: optim.RMSprop(params, lr=0.1, momentum=0.5, centered=True)  # noqa: E731
ENTRIES["step_of_rmsprop"] = stepped(RMSPROP)
ENTRIES["step_of_amsgrad_by_formula"] = stepped(lambda params: optim.Adam(params, amsgrad=True), Watched)


def clipped(clip, kind=Value):
    def entry(_):
        values = [kind(1.0), kind(2.0), kind(3.0)]
        for v in values:
            v.grad = 2.0

        return Case(lambda: clip(values, 0.5), lambda: grads_of(values))

    return entry


ENTRIES["clip_norm"] = clipped(optim.clip_grad_norm_)
ENTRIES["clip_value_by_formula"] = clipped(optim.clip_grad_value_, Watched)


@entry
def zero_grad(_):
    values = [Value(1.0), Value(2.0), Value(3.0)]
    optimizer = optim.SGD(values, lr=0.1)
    for v in values:
        v.grad = 1.0

    return Case(optimizer.zero_grad, lambda: grads_of(values))


@entry
def schedule(_):
    optimizer = optim.SGD([{"params": [Value(1.0)]}, {"params": [Value(1.0)], "lr": 0.2}], lr=0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)

    return Case(scheduler.step, lambda: (scheduler.state_dict(), scheduler.get_last_lr()))


@entry
def load_schedule(_):
    made = []
    for epochs in (0, 3):
        optimizer = optim.SGD([{"params": [Value(1.0)]}, {"params": [Value(1.0)], "lr": 0.2}], lr=0.1)
        both = [lr_scheduler.LinearLR(optimizer), lr_scheduler.OneCycleLR(optimizer, 0.5, 10)]
        made.append(lr_scheduler.SequentialLR(optimizer, both, [2]))
        for _ in range(epochs):
            made[-1].step()
    first, state = made[0], made[1].state_dict()

    return Case(lambda: first.load_state_dict(state), lambda: (first.state_dict(), state_of([], first.optimizer)))


@entry
def plateau(_):
    optimizer = optim.SGD([{"params": [Value(1.0)]}, {"params": [Value(1.0)], "lr": 0.2}], lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    scheduler.step(1.0)

    return Case(lambda: scheduler.step(1.0), scheduler.state_dict)


def fitted(kind=Value, make=optim.Adam, by_hand=False, **options):
    """A training: after an interrupt the parameters and the optimizer are those after some whole step."""

    def fit(_):
        a, b = kind(0.5), kind(-0.5)
        f = pygrad.compile(loss_of_line(a, b))
        xs, ys = array("d", [1.0, 2.0, 3.0, 4.0]), array("d", [3.0, 5.0, 7.0, 9.0])
        f(xs, ys)
        optimizer = make([a, b], lr=0.1)
        given = {name: make_option(optimizer) for name, make_option in options.items()}

        def run():
            return f.fit(optimizer, xs, ys, epochs=2, batch_size=2, seed=1, **given)

        def steps():
            batches = data.batches(xs, ys, batch_size=2, shuffle=True, seed=1)
            for step, batch in enumerate([*batches, *batches]):
                if "schedule" in given:
                    for group in optimizer.param_groups:
                        group["lr"] = given["schedule"](step)
                optimizer.zero_grad()
                f.backward(*batch)
                if "clip_grad_norm" in given:
                    optim.clip_grad_norm_([a, b], given["clip_grad_norm"])
                optimizer.step()
                yield

        return Case(run, lambda: state_of([a, b], optimizer), lambda: clear([a, b]), steps=steps)

    return fit


class OwnSGD(optim.SGD):
    """A subclass: trainings run in Python."""


ENTRIES["fit"] = fitted()
ENTRIES["fit_sgd"] = fitted(make=lambda params, lr: optim.SGD(params, lr=lr, momentum=0.9))
ENTRIES["fit_clipped"] = fitted(make=optim.RMSprop, clip_grad_norm=lambda _: 0.5)
ENTRIES["fit_in_python"] = fitted(make=lambda params, lr: OwnSGD(params, lr=lr, momentum=0.9))
ENTRIES["fit_by_formula"] = fitted(kind=Watched)
ENTRIES["fit_with_callback"] = fitted(callback=lambda _: lambda progress: progress.epoch > 5)
ENTRIES["fit_with_schedule"] = fitted(schedule=lambda _: lambda step: 0.1 / (step + 1))


# --- models and files -------------------------------------------------------------------------------------------------


@entry
def load_state_dict(_):
    model, other = nn.MLP(2, [2, 1]), nn.MLP(2, [2, 1])
    state = other.state_dict()

    return Case(lambda: model.load_state_dict(state), model.state_dict)


@entry
def load_optimizer(_):
    values = [Value(1.0), Value(2.0)]
    optimizer, other = optim.Adam(values, lr=0.1), optim.Adam(values, lr=0.2)
    other.step()
    state = other.state_dict()

    return Case(lambda: optimizer.load_state_dict(state), lambda: state_of([], optimizer))


def files_in(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read()
    return found


@entry
def save_compiled(folder):
    path = os.path.join(folder, "f.pygrad")
    old, new = (
        pygrad.compile(loss_of_line(Value(1.0), Value(2.0))),
        pygrad.compile(loss_of_line(Value(3.0), Value(2.0))),
    )
    old([1.0], [2.0]), new([1.0], [2.0])
    old.save(path)

    return Case(lambda: new.save(path), lambda: files_in(folder))


@entry
def load_compiled(folder):
    path = os.path.join(folder, "f.pygrad")
    f = pygrad.compile(loss_of_line(Value(1.0), Value(2.0)))
    f([1.0], [2.0])
    f.save(path)

    return Case(lambda: pygrad.load(path)([1.0, 2.0], 2.0))


@entry
def to_c(folder):
    path = os.path.join(folder, "f.c")
    with open(path, "w") as file:
        file.write("old")
    a, b = Value(1.0), Value(2.0)
    a.grad, b.grad = 0.5, 0.25
    f = pygrad.compile(loss_of_line(a, b))
    f([1.0], [2.0])

    return Case(lambda: f.to_c(path), lambda: (files_in(folder), grads_of([a, b])))


@entry
def save_model(folder):
    path = os.path.join(folder, "m.safetensors")
    pygrad.save_model(nn.MLP(2, [1]), path)
    model = nn.MLP(2, [1])
    other = nn.MLP(2, [1])

    def state():
        """What the file holds; its bytes differ from time to time, by the sequence of its metadata."""
        return sorted(os.listdir(folder)), pygrad.load_model(other, path).state_dict()

    return Case(lambda: pygrad.save_model(model, path), state)


@entry
def load_model(folder):
    path = os.path.join(folder, "m.safetensors")
    pygrad.save_model(nn.MLP(2, [1]), path)
    model = nn.MLP(2, [1])

    def run():
        pygrad.load_model(model, path)

    return Case(run, model.state_dict)


@entry
def trace_hook(_):
    a, seen = Value(2.0), []

    def hook(value, what):
        seen.append((what, value.data))

    engine.set_trace_hook(hook)

    def run():
        seen.clear()
        found = a.data, a.item(), a < 3.0, a.detach()._read()
        return found, list(seen)

    return Case(run, hook=hook)


@entry
def draw(_):
    model = nn.MLP(2, [1])

    def run():
        return len(str(viz.draw_dot(model([1.0, 2.0]))))

    return Case(run)
