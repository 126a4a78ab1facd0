"""What is timed, and the right answers.

- OPS: one operation.
- GRAPHS: a graph of about n operations, to build, sweep and free.
- STEPS: a whole forward and backward pass, and for the networks the update.

Each has an answer that does not come from the engine under test: a closed form, the same sums in plain floats, or,
for the networks, another engine. `check_op`, `check_graph` and `check_step` compare; a wrong answer is an
AssertionError and has no speed.
"""

import math
import operator
import random
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import NamedTuple

from engines import entrants

from pygrad.demos.gpt_model import GPT, Adam, encode

SEED = 1337


def check(expected, actual):
    """Raise AssertionError unless two lists of numbers agree, to 1e-9 relative, or absolute where they are small."""
    assert len(expected) == len(actual)
    wrong = [(e, a) for e, a in zip(expected, actual) if not math.isclose(e, a, rel_tol=1e-9, abs_tol=1e-9)]
    assert not wrong, f"wrong answer: (expected, actual) is {wrong[:3]}"


# --- one operation ----------------------------------------------------------------------------------------------------


class Op(NamedTuple):
    """`make(engine)` gives a function and its arguments; `answer` is the result's data, then the arguments' grads."""

    make: Callable
    answer: list


def _sixteen(engine):
    ws, xs = ([engine.Value(float(i + k)) for i in range(16)] for k in (0, 1))
    return engine.dot, (ws, xs, engine.Value(0.5))


OPS = {
    "Value(2.0)": Op(lambda e: (e.Value, (2.0,)), [2.0]),
    "a + b": Op(lambda e: (operator.add, (e.Value(2.0), e.Value(3.0))), [5.0, 1.0, 1.0]),
    "a * 2.0": Op(lambda e: (operator.mul, (e.Value(3.0), 2.0)), [6.0, 2.0]),
    "a.relu()": Op(lambda e: (e.Value.relu, (e.Value(3.0),)), [3.0, 1.0]),
    "w.x + b of 16": Op(_sixteen, [1360.5] + [float(i + 1) for i in range(16)] + [float(i) for i in range(16)] + [1.0]),
    "sum of 100": Op(lambda e: (e.sum, ([e.Value(1.0) for _ in range(100)],)), [100.0] + [1.0] * 100),
}


def check_op(name, engine):
    """Run an op and its backward pass, and check both."""
    function, args = OPS[name].make(engine)
    out = function(*args)
    out.backward()
    operands = [v for arg in args for v in (arg if isinstance(arg, list) else [arg])]
    check(OPS[name].answer, [out.data] + [v.grad for v in operands if isinstance(v, engine.Value)])


# --- graphs -----------------------------------------------------------------------------------------------------------


class Built(NamedTuple):
    root: object
    leaves: tuple
    nodes: int  # operations under the root
    others: tuple = ()  # Values that live beside the graph


class Graph(NamedTuple):
    """`build(Value, n)` gives a Built; `answer(n)` its root's data, then its leaves' grads."""

    title: str
    build: Callable
    answer: Callable


def check_graph(name, engine, n=1_000):
    """Build a graph, check its first backward pass, and return it."""
    built = GRAPHS[name].build(engine.Value, n)
    built.root.backward()
    check(GRAPHS[name].answer(n), [built.root.data] + [leaf.grad for leaf in built.leaves])
    return built


def chain(Value, n):
    """x = (x + a) * b, over and over: n operations, half of them adds, in one line."""
    x, a, b = leaves = Value(1.0), Value(0.25), Value(1 - 2**-10)
    for _ in range(n // 2):
        x = (x + a) * b
    return Built(x, leaves, n // 2 * 2)


def chain_answer(n):
    """In m rounds x becomes b^m x + a (b + b^2 + ... + b^m): the sum of a geometric series, and its derivatives."""
    m, x, a, b = n // 2, 1.0, 0.25, 1 - 2**-10
    series = b * (1 - b**m) / (1 - b)
    d_series = (1 - (m + 1) * b**m + m * b ** (m + 1)) / (1 - b) ** 2
    return [b**m * x + a * series, b**m, series, m * b ** (m - 1) * x + a * d_series]


WIDTH, FAN_IN = 32, 8  # of a layer of the net: units, and inputs of each; 545 operations a layer
LAYER_NODES = WIDTH * (2 * FAN_IN + 1) + 1


def _net_numbers():
    rng = random.Random(SEED)
    h = [rng.uniform(-1, 1) for _ in range(WIDTH)]
    w = [rng.uniform(-1, 1) * 1.5 / FAN_IN for _ in range(WIDTH * FAN_IN)]
    b = [rng.uniform(-0.5, 0.5) for _ in range(WIDTH)]
    return h, w, b


def _net_layers(n):
    return max(1, round(n / LAYER_NODES))


def net(Value, n):
    """Layers of 32 relu units of 8 inputs each, made of single multiplies and adds; all layers share their weights.

    The root is the sum of the last layer and of one unit of every other, so that no gradient dies out on the way down.
    """
    h, w, b = ([Value(number) for number in numbers] for numbers in _net_numbers())
    leaves, layers, root = h + w + b, _net_layers(n), h[0]
    for layer in range(layers):
        units = []
        for j in range(WIDTH):
            acc = b[j]
            for i in range(FAN_IN):
                acc = acc + h[(j + i) % WIDTH] * w[j * FAN_IN + i]
            units.append(acc.relu())
        h = units
        root = root + h[layer % WIDTH]
    for unit in h:
        root = root + unit
    return Built(root, leaves, layers * LAYER_NODES + WIDTH)


def net_answer(n):
    """The same in floats: forward, keeping each layer's units, then back with the chain rule written out."""
    h, w, b = _net_numbers()
    total, kept = h[0], [h]
    for layer in range(_net_layers(n)):
        h = [max(0.0, b[j] + sum(h[(j + i) % WIDTH] * w[j * FAN_IN + i] for i in range(FAN_IN))) for j in range(WIDTH)]
        total += h[layer % WIDTH]
        kept.append(h)
    total += sum(h)
    dh, dw, db = [1.0] * WIDTH, [0.0] * len(w), [0.0] * WIDTH
    for layer in reversed(range(_net_layers(n))):
        below, d_below = kept[layer], [0.0] * WIDTH
        dh[layer % WIDTH] += 1.0
        for j in range(WIDTH):
            g = dh[j] if kept[layer + 1][j] > 0.0 else 0.0
            db[j] += g
            for i in range(FAN_IN):
                dw[j * FAN_IN + i] += below[(j + i) % WIDTH] * g
                d_below[(j + i) % WIDTH] += w[j * FAN_IN + i] * g
        dh = d_below
    dh[0] += 1.0
    return [total, *dh, *dw, *db]


def hundred(Value, others):
    """100 operations in a line, the first of them older than `others` more that live beside the line."""
    a, one = Value(2.0), Value(1.0)
    v = a * a
    crowd = tuple([a + one for _ in range(others)])
    for _ in range(49):
        v = v * one + one
    return Built(v * one, (a, one), 100, crowd)


GRAPHS = {
    "chain": Graph("chain {:,}", chain, chain_answer),
    "net": Graph("net {:,}", net, net_answer),
    "hundred": Graph("100 nodes, one older than {:,} others", hundred, lambda others: [53.0, 4.0, 1474.0]),
}

# --- steps ------------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """`make(engine, samples)` gives a function that takes one step and returns numbers, which should be `answer`.

    Without an answer the first two steps are compared with those of another engine. `samples` is for moons, and a
    percentage of the letters for the GPT.
    """

    make: Callable
    answer: list | None = None


def tiny(engine, samples):
    def step():
        a, b = engine.Value(2.0), engine.Value(3.0)
        c = a + b
        d = a * b + b**3
        e = c - d
        f = e**2
        g = f / 2
        g.backward()
        return [g.data, a.grad, b.grad]

    return step


def readme(engine, samples):
    """The expression of micrograd's README."""

    def step():
        a, b = engine.Value(-4.0), engine.Value(2.0)
        c = a + b
        d = a * b + b**3
        c += c + 1
        c += 1 + c + (-a)
        d += d * 2 + (b + a).relu()
        d += 3 * d + (b - a).relu()
        e = c - d
        f = e**2
        g = f / 2.0
        g += 10.0 / f
        g.backward()
        return [round(g.data, 4), round(a.grad, 4), round(b.grad, 4)]  # as the README prints them

    return step


class HandWrittenMLP:
    """A model's weights, with neurons as people write them by hand: sum of wi*xi, then relu but in the last layer."""

    def __init__(self, model):
        self.layers = [layer.neurons for layer in model.layers]
        self.parameters = model.parameters
        self.zero_grad = model.zero_grad

    def __call__(self, x):
        for neurons in self.layers:
            x = [sum((wi * xi for wi, xi in zip(n.w, x)), n.b) for n in neurons]
            if neurons is not self.layers[-1]:
                x = [act.relu() for act in x]
        return x[0]


def moons(engine, samples, by_hand=False, fused=True):
    """micrograd's demo: MLP(2, [16, 16, 1]) on two half-moons, hinge loss and L2 penalty, full batch, SGD."""
    rng = random.Random(SEED)
    X, Y = [], []
    for k in range(samples):
        t = math.pi * k / samples
        x0, x1 = (math.cos(t), math.sin(t)) if k % 2 else (1 - math.cos(t), 0.5 - math.sin(t))
        X.append([x0 + rng.gauss(0, 0.1), x1 + rng.gauss(0, 0.1)])
        Y.append(1 if k % 2 else -1)
    random.seed(SEED)
    model = engine.mlp(2, [16, 16, 1])
    model = HandWrittenMLP(model) if by_hand else model

    def step():
        engine.fuse(fused)
        scores = [model([engine.Value(x0), engine.Value(x1)]) for x0, x1 in X]
        engine.fuse(True)
        losses = [(1 + -yi * score).relu() for yi, score in zip(Y, scores)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        return _descend(model, loss, 0.1)

    return step


def lecture(engine, samples):
    """The lecture's network and its four samples: MLP(3, [4, 4, 1]) of tanh neurons, squared error, SGD."""
    xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    ys = [1.0, -1.0, -1.0, 1.0]
    random.seed(SEED)
    model = engine.mlp(3, [4, 4, 1], tanh=True)

    def step():
        loss = sum((model(x) - y) ** 2 for x, y in zip(xs, ys))
        return _descend(model, loss, 0.05)

    return step


NAMES, GPT_STEPS = ("michael", "barbara", "jessica", "kenneth", "melissa"), 1_000


def char_gpt(engine, samples):
    """The GPT of the demos, a name that fills its context, and Adam: 61,889 operations below the loss."""
    letters = max(1, 7 * samples // 100)
    names = cycle(name[:letters] for name in NAMES)
    model = GPT(engine.Value, block_size=8)
    optimizer = Adam(model.parameters(), steps=GPT_STEPS)

    def step():
        loss = model.loss(encode(next(names)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [loss.data, *(p.grad for p in optimizer.parameters)]  # Adam would hide gradients of the wrong scale

    return step


def _descend(model, loss, rate):
    """Backward and update; return the loss and the parameters."""
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= rate * p.grad
    return [loss.data, *(p.data for p in model.parameters())]


STEPS = {
    "tiny expression": Step(tiny, [392.0, 56.0, 784.0]),  # e = a + b - a b - b^3 = -28; e (1 - b), e (1 - a - 3 b^2)
    "README expression": Step(readme, [24.7041, 138.8338, 645.5773]),
    "lecture net": Step(lecture),
    "moons, nn": Step(moons),
    "moons, not fused": Step(partial(moons, fused=False)),
    "moons, by hand": Step(partial(moons, by_hand=True)),
    "char-GPT": Step(char_gpt),
}


def check_step(name, engine, samples=10):
    """Take two steps with a fresh model, and check them."""
    other = next(e for e in entrants("step", name) if e.name != engine.name)
    answer = STEPS[name].answer
    check(answer * 2 if answer else two_steps(name, other, samples), two_steps(name, engine, samples))


def two_steps(name, engine, samples):
    step = STEPS[name].make(engine, samples)
    return step() + step()
