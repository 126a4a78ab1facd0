"""Random programs against the engine: `python tests/tools/fuzz.py SECONDS SEED [--threads N]`. Not collected by pytest.

Every program runs twice, step by step: on `pygrad.engine` (the C arena) and on `pygrad.reference` (pure Python, so its
lifetimes are CPython's own). What a program can tell must agree: data to the bit, gradients to 1e-12, labels,
attributes, exceptions, which operands are one object, which weak references live. When a program has ended and all is
dropped, the arena must be as before and sound, and after thousands of programs nothing of Python's may have grown.

A step is (name of an action, seed): the action draws from `Random(seed)`, on both sides alike, and names operands by
their places, so any list of steps is a program and a failing one can be shortened. `--replay N` runs program N alone,
`--trace` prints each step before it runs (for a crash). `--threads N` gives each of N threads programs of its own over
shared leaves; what one thread drops another one frees.
"""

import argparse
import collections
import contextlib
import copy
import gc
import os
import pickle
import random
import struct
import sys
import threading
import time
import traceback
import weakref
from decimal import Decimal
from fractions import Fraction

import numpy as np
from programs import is_flat, rows

import pygrad
from pygrad import engine, nn, reference
from pygrad.common.numbers import is_number, to_float
from pygrad.engine._lib import ffi, lib

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    set_nomemory = None

MOST = 12  # variables of a program
NAMES = ["note", "later", "box", "label"]
GOOD_NUMBERS = [0.0, -0.0, 1, 2.5, -3, True, 0.5, 1e-3, np.float64(1.25), np.float32(0.5), np.int64(-2), np.bool_(True)]
GOOD_NUMBERS += [Fraction(1, 3), Decimal("0.125"), float("inf"), float("nan"), 1e300]
BAD_NUMBERS = [None, "1", b"1", 1j, [1], (), (1,), {}, object, 10**400]
BINARY = [name for name in rows(2) if not is_flat(name)]
COMPARISONS = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]
UNARY = [name for name in rows(1) if hasattr(reference.Value, name)]  # the others are literal powers, and -v


# --- one side: an engine and the variables of a program that runs on it -----------------------------------------------


def subclasses(engine):
    """Subclasses of the engine's Value as users write them, by name; findable by pickle."""

    class Plain(engine.Value):
        pass

    class Slotted(engine.Value):
        __slots__ = ("note",)

    class Reviving(engine.Value):
        def __del__(self):
            if not hasattr(self, "revived"):
                self.revived = True
                self.box = [self]

    class Touching(engine.Value):
        def __del__(self):
            sum(child.data for child in self._prev)
            self.later = self * 2.0

    class Overriding(engine.Value):
        def __add__(self, other):
            return engine.Value.__add__(self, other) * 1.5

        def __rmul__(self, other):
            return engine.Value.__mul__(self, other) + 0.25

        def relu(self):
            return self.tanh()

    found = {cls.__name__: cls for cls in (Plain, Slotted, Reviving, Touching, Overriding)}
    for name, cls in found.items():
        cls.__qualname__ = f"{engine.__name__.rpartition('.')[2]}_{name}"
        globals()[cls.__qualname__] = cls
    return found


class Side:
    """The variables of a program on one engine. A `shared` leaf is one that other threads use too."""

    classes = {module: subclasses(module) for module in (engine, reference)}

    def __init__(self, module, shared=()):
        self.engine, self.Value, self.native = module, module.Value, module is engine
        self.variables = [module.Value(1.5), module.Value(-0.75)]
        self.refs, self.shared, self.patched = [], shared, False

    def pick(self, rng):
        return rng.choice(self.variables)

    def operand(self, rng):
        """A Value, often; a number of some kind; or, rarely, what is none."""
        kind = rng.randrange(12)
        if kind == 0:
            return rng.choice(BAD_NUMBERS)
        if kind == 1 and self.shared:
            return rng.choice(self.shared)
        return rng.choice(GOOD_NUMBERS) if kind < 5 else self.pick(rng)

    def values(self, rng, most):
        return [self.pick(rng) for _ in range(rng.randrange(most))]

    def add(self, v):
        if isinstance(v, self.Value):
            self.variables.append(v)

    def any_class(self, rng):
        return rng.choice([self.Value, *self.classes[self.engine].values()])


# --- actions: each does one thing to a side, with draws from rng ------------------------------------------------------

ACTIONS = {}  # name -> (function, weight, may run beside other threads)


def action(weight=1, threads=True):
    def note(function):
        ACTIONS[function.__name__] = (function, weight, threads)
        return function

    return note


def run_any(side, rng):
    """Run one action that holds no other one, chosen by rng."""
    plain = [name for name in ACTIONS if name not in ("anomaly", "patch", "eager_gc", "inside", "fork")]
    name = rng.choice([name for name in plain if ACTIONS[name][2] or not side.shared])
    ACTIONS[name][0](side, rng)


def tamed(v):
    """Keep numbers within reach, so that a program stays sensitive to them."""
    if not abs(v.data) < 1e6:
        v.data = 0.5
    return v


@action(weight=6)
def leaf(side, rng):
    side.add(side.any_class(rng)(rng.choice(GOOD_NUMBERS + BAD_NUMBERS), label=rng.choice(["", "", "x"])))


@action(weight=20)
def binary(side, rng):
    name, a, b = rng.choice(BINARY), side.pick(rng), side.operand(rng)
    operate = {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: a * b,
        "div": lambda: a / b,
        "pow": lambda: a**b,
        "minimum": lambda: side.engine.minimum(a, b),
    }
    if rng.random() < 0.3 and name in operate and name != "minimum":
        a, b = b, a
    side.add(tamed(operate[name]() if name in operate else getattr(a, name)(b)))


@action(weight=8)
def unary(side, rng):
    v = side.pick(rng)
    side.add(tamed(-v if rng.random() < 0.1 else getattr(v, rng.choice(UNARY))()))


@action(weight=3)
def comparison(side, rng):
    name, a, b = rng.choice(COMPARISONS), side.pick(rng), side.operand(rng)
    if rng.random() < 0.3:
        a, b = b, a
    as_method = isinstance(a, side.Value) and "greater" not in name and rng.random() < 0.3
    side.add(getattr(a, name)(b) if as_method else getattr(side.engine, name)(a, b))


@action(weight=3)
def power(side, rng):
    side.add(tamed(side.pick(rng) ** rng.choice([2, 3, -1, 0.5, -0.5, 1, 0, 4.0, 1 / 3, Fraction(1, 2)])))


@action(weight=3)
def in_place(side, rng):
    place, other = rng.randrange(len(side.variables)), side.pick(rng)
    side.variables[place] += other
    side.variables[place] *= 0.5


@action(weight=5)
def sums(side, rng):
    values = side.values(rng, 6) * rng.choice([1, 1, 1, 300])  # so long a list is split in the arena
    values += [rng.choice(GOOD_NUMBERS)] if rng.random() < 0.3 else []
    values += [rng.choice(BAD_NUMBERS)] if rng.random() < 0.05 else []
    start = rng.choice([0, 0.0, side.operand(rng)])
    side.add(tamed(side.engine.sum((v for v in values) if rng.random() < 0.5 else values, start)))


@action(weight=4)
def sum_of_a_generator(side, rng):
    """Python's own sum over a generator that drops variables as it runs."""

    def generate():
        for _ in range(rng.randrange(5)):
            drop(side, rng)
            yield side.pick(rng) * 0.5

    side.add(tamed(sum(generate(), rng.choice([0, side.pick(rng)])) + side.pick(rng)))


@action(weight=5)
def dot(side, rng):
    xs, ws = side.values(rng, 5), side.values(rng, 5)
    cut = max(0, min(len(xs), len(ws)) - (rng.random() < 0.1))
    side.add(tamed(side.engine.dot(ws[:cut], xs[: min(len(xs), len(ws))], rng.choice([None, side.operand(rng)]))))


@action(weight=5)
def take(side, rng):
    """One of some values, or of rows of them, by an index that is mostly right."""
    values = side.values(rng, 5) * rng.choice([1, 1, 1, 300])
    values += [rng.choice(GOOD_NUMBERS if rng.random() < 0.9 else BAD_NUMBERS)]
    width = rng.choice([0, 0, 2, 3])
    if width:
        values = [values[: width - (rng.random() < 0.02)]] + [side.values(rng, 1) * width for _ in range(2)]
        values = [row or [1.5] * width for row in values]
    place = rng.choice([rng.randrange(len(values)), 0, 7, -1, 0.5])
    index = rng.choice([int, side.Value, side.any_class(rng)])(place)
    if isinstance(index, side.Value) and rng.random() < 0.7:
        side.add(index)
    taken = side.engine.take(values, index)
    for v in taken if isinstance(taken, list) else [taken]:
        side.add(tamed(v))
    if isinstance(index, side.Value) and rng.random() < 0.2:
        index.data = rng.choice([0, 1, 0.5, float("nan"), 1e300])


@action(weight=3)
def where(side, rng):
    """By a Value or a number, which may give back an operand itself: so none that other threads use."""
    numbers = GOOD_NUMBERS + BAD_NUMBERS
    a, b = (side.pick(rng) if rng.random() < 0.7 else rng.choice(numbers) for _ in range(2))
    side.add(tamed(side.engine.where(side.operand(rng), a, b)))


@action(weight=4)
def declared(side, rng):
    """An op whose derivative is declared; sometimes wrongly, or of an operand list that is split."""
    make = pygrad.custom_op if side.native else reference.custom_op
    xs, kind, wrong = side.values(rng, 4), rng.randrange(4), rng.random() < 0.1
    captured = side.pick(rng)

    def mine(*given):
        return [captured * 2.0, 0.5, side.engine.sum(given), captured][kind]

    op = make(mine)
    if not wrong or rng.random() < 0.5:
        op.derivative(lambda y, *given: [y, 2.0, captured, 1][: len(given) + wrong])
    side.add(tamed(op(*xs, *([rng.choice(GOOD_NUMBERS)] if len(xs) < 3 else []))))
    if rng.random() < 0.3:
        side.add(tamed(side.engine.declared(captured, xs * 300, xs[::-1] * 300)))


@action(weight=6)
def layer(side, rng):
    """A layer of pygrad.nn; on the reference what it stands for, one `dot` a neuron where nobody could tell."""
    nin, nout = rng.randrange(1, 4), rng.randrange(1, 4)
    rows = [[side.pick(rng) for _ in range(nin)] for _ in range(nout)]
    biases = [side.pick(rng) for _ in range(nout)]
    xs = [side.pick(rng) if rng.random() < 0.7 else rng.choice(GOOD_NUMBERS[:8]) for _ in range(nin)]
    name = rng.choice(["relu", "tanh", "abs", "nonsense", 7] + 3 * ["sigmoid", None])
    if side.native:
        made = nn.Layer(nin, nout)
        for neuron, w, b in zip(made.neurons, rows, biases):
            neuron.w, neuron.b, neuron.activation, neuron.nonlin = w, b, name, name is not None
        outs = made(xs)
        outs = outs if isinstance(outs, list) else [outs]
    else:
        outs = reference_layer(side, rows, biases, xs, name)
    for out in outs:
        side.add(tamed(out))


def reference_layer(side, rows, biases, xs, name):
    def is_plain(v):
        return type(v) is side.Value or (is_number(v) and not isinstance(v, side.Value))

    def neuron(ws, b, xs):
        if not side.patched and all(map(is_plain, [*ws, b, *xs])):
            return reference.dot(ws, xs, b)
        return sum((w * x for w, x in zip(ws, xs)), b)

    def activated(out):
        return out if name is None else getattr(out, name)()

    if not side.patched and all(map(is_plain, [*xs, *biases, *(w for ws in rows for w in ws)])):
        xs = [x if type(x) is side.Value else side.Value(x) for x in xs]  # one leaf for all neurons
        return [activated(out) for out in [neuron(ws, b, xs) for ws, b in zip(rows, biases)]]
    return [activated(neuron(ws, b, xs)) for ws, b in zip(rows, biases)]  # one after the other


class Raised(Exception):
    pass


@action(weight=6)
def custom(side, rng):
    """An op of the user's; its closure may raise, build and free graphs, sweep another one or collect garbage."""
    a, b = side.pick(rng), side.pick(rng)
    out = rng.choice([side.Value, side.classes[side.engine]["Plain"]])(a.data + 2.0 * b.data, (a, b), "mine")
    get = weakref.ref(out) if rng.random() < 0.5 else lambda: out  # the second makes a cycle
    kind, side_of = rng.randrange(8), weakref.ref(side)

    def backward():
        a.grad += get().grad
        b.grad += 2.0 * get().grad
        if kind == 0:
            raise Raised("in a closure")
        if kind == 1:
            (a.detach() * 2.0 + b.detach()).tanh().backward()
        if kind == 2:
            (a * b).backward()  # refused where the pass that runs holds them
        if kind == 3:
            gc.collect()
        if kind == 4 and side_of():
            drop(side_of(), random.Random(1))
        if kind == 5:
            get().later = [a * 3.0]

    out._backward = backward
    side.add(tamed(out))


@action(weight=2)
def closure_on(side, rng):
    """A closure for a Value that may be used already."""
    v = side.pick(rng)
    children = list(v._prev)
    v._backward = rng.choice([v._backward, lambda: [setattr(c, "grad", c.grad + 1.0) for c in children]])


@action(weight=4)
def local_grads(side, rng):
    a, b = side.pick(rng), side.pick(rng)
    grads = rng.choice([(0.5, 2), [1, Fraction(1, 4)], (1.0,), (1.0, "x")])
    made = rng.choice(
        [lambda: side.Value(a.data, (a, b), grads), lambda: side.Value(1, children=[a, b], local_grads=grads)]
    )
    side.add(made())


@action(weight=2)
def no_closure(side, rng):
    side.add(side.any_class(rng)(0.5, side.values(rng, 4), rng.choice(["", "+", "mine"]), rng.choice(["", "named"])))


@action(weight=4)
def rewire(side, rng):
    v, others = side.any_class(rng)(0.5), side.values(rng, 3)
    user = v * 2.0 if rng.random() < 0.2 else None
    if rng.random() < 0.3:
        v.note = [side.pick(rng)]
    side.add(v)
    v._prev = rng.choice([others, iter(others), [v], [1.0], others])
    side.add(user)


@action(weight=2)
def rewire_interior(side, rng):
    v = side.pick(rng) + 1.0
    v._prev = [side.pick(rng)]


@action(weight=8)
def drop(side, rng):
    if len(side.variables) > 1:
        v = side.variables.pop(rng.randrange(len(side.variables)))
        if side.native and side.shared:
            handed_over.append(v)


@action(weight=12)
def attribute(side, rng):
    v, name = side.pick(rng), rng.choice(NAMES + ["_op"])
    what = rng.randrange(7)
    setattr(v, name, ["x", 2.5, 10**20, None, side.pick(rng), [side.pick(rng), 1], {"k": (side.pick(rng), v)}][what])


@action(weight=2)
def delete_attribute(side, rng):
    delattr(side.pick(rng), rng.choice(NAMES + ["_op", "data", "_prev"]))


@action(weight=3)
def through_the_dict(side, rng):
    v, name = side.pick(rng), rng.choice(NAMES)
    if rng.random() < 0.3:
        v.__dict__ = {name: [side.pick(rng)]} if "<backward>" not in v.__dict__ else v.__dict__
    elif rng.random() < 0.2 and hasattr(v, "__getstate__"):
        state = v.__getstate__()
        if isinstance(state, dict):
            state["box"] = [v]  # it may be the dict itself
        v.box = [v]
    else:
        vars(v)[name] = rng.choice([1.0, [v], side.pick(rng)])


@action(weight=4)
def write(side, rng):
    v, name = side.pick(rng), rng.choice(["data", "grad"])
    setattr(v, name, rng.choice(GOOD_NUMBERS[:12] + BAD_NUMBERS))


@action(weight=2)
def init_again(side, rng):
    side.pick(rng).__init__(rng.choice(GOOD_NUMBERS[:8]), rng.choice([(), (), [side.pick(rng)]]))


@action(weight=3)
def never_initialised(side, rng):
    v = side.Value.__new__(side.any_class(rng))
    use = [lambda: v + 1.0, lambda: v.data, lambda: v._prev, lambda: side.engine.sum([side.pick(rng), v]), v.backward]
    with contextlib.suppress(RuntimeError):
        rng.choice(use)()
        raise AssertionError("used without a node")
    v.note = [v] if rng.random() < 0.3 else 0
    w = side.pick(rng)
    if rng.random() < 0.8:
        v.__init__(1.5, (side.pick(rng), w), "late")
        w.label = "w"
        side.add(v)


@action(weight=5)
def weak(side, rng):
    v, other = side.pick(rng), weakref.ref(side.pick(rng))

    def touch(_):
        if other():
            other().seen = True  # when is the collector's to say: not compared
            list(other()._prev)

    quiet = rng.random() < 0.7
    side.refs.append(weakref.ref(v, None if quiet else touch))
    if rng.random() < 0.3:
        weakref.WeakKeyDictionary()[v] = 1
        side.refs.append(weakref.WeakValueDictionary(v=v).valuerefs()[0])


@action(weight=3)
def change_class(side, rng):
    side.pick(rng).__class__ = side.any_class(rng)


@action(weight=1)
def new_class(side, rng):
    """A class that goes with its instances."""
    cls = type("New", (side.Value,), {"__slots__": ("extra",)} if rng.random() < 0.5 else {"factor": 2.0})
    v = cls(side.pick(rng).data)
    v.note = v.__class__
    side.add(v)


@action(weight=10)
def backward(side, rng):
    side.pick(rng).backward()


@action(weight=5)
def backward_with_seeds(side, rng):
    """From one Value, or from several, leaves among them and some of them twice."""
    seeds = [rng.choice(GOOD_NUMBERS[:12] if rng.random() < 0.95 else BAD_NUMBERS) for _ in range(rng.randrange(4))]
    ys = [side.pick(rng) for _ in seeds]
    if len(ys) == 1:
        ys[0].backward(seeds[0])
    elif side.native:
        pygrad.backward(ys, seeds)
    else:
        reference_backward(ys, seeds)


def reference_backward(ys, seeds):
    """The same on the reference: from one root over them all, with the seeds as its local gradients."""
    seeds = [to_float(seed, "a seed") for seed in seeds]
    used = [y._used for y in ys]
    root = reference.Value(0.0, ys, local_grads=seeds)
    for y, was_used in zip(ys, used):
        y._used = was_used
        if y._is_leaf():
            y.grad = 0.0
    root.backward()


@action(weight=5)
def grad(side, rng):
    """Gradients without a trace: they become those of new leaves, where they are compared."""
    ys, xs = [side.pick(rng) for _ in range(rng.randrange(1, 3))], side.values(rng, 4)
    seed = rng.choice(GOOD_NUMBERS[:12] if rng.random() < 0.95 else BAD_NUMBERS)
    found = pygrad.grad(ys, xs, seed=[seed] * len(ys)) if side.native else reference_grad(ys, xs, seed)
    if rng.random() < 0.7 and side.native and seed != 0:  # a 0 goes to no closure, which may do what it likes
        compare_with_values(found, ys, xs, seed)
    for gradient in found:
        v = side.Value(0.5)
        v.grad = gradient
        side.add(v)


def compare_with_values(found, ys, xs, seed):
    """The gradients as Values are these numbers; and their own gradients need not be any, but are found."""
    with contextlib.suppress(TypeError, FloatingPointError):  # closures; anomalies
        values = pygrad.grad(ys, xs, create_graph=True, seed=[seed] * len(ys))
        for x, v in zip(found, values):
            differ = abs(x - v.data) > 1e-9 * max(1.0, abs(x))  # not for nan, which a 0 that is no node does not make
            assert not differ or v.data - v.data != 0.0, ("as a Value", x, v)
        pygrad.grad(values, xs, create_graph=True)


def reference_grad(ys, xs, seed):
    """The same on the reference: by a sweep after which all gradients are as before."""
    kept = {id(v): (v, v.grad) for v in [*ys, *xs]}
    stack = [v for v, _ in kept.values()]
    while stack:
        new = [v for v in stack.pop()._operands if id(v) not in kept]
        kept |= {id(v): (v, v.grad) for v in new}
        stack += new
    try:
        for v, _ in kept.values():
            v.grad = 0.0
        reference_backward(ys, [seed] * len(ys))
        return [x.grad for x in xs]
    finally:
        for v, before in kept.values():
            v.grad = before


@action(weight=2)
def step_by_hand(side, rng):
    side.pick(rng)._backward()


@action(weight=4)
def copies(side, rng):
    v = side.pick(rng)
    side.add(rng.choice([copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])(v))


@action(weight=2)
def compare_and_print(side, rng):
    v, other = side.pick(rng), side.operand(rng)
    assert v == v and v in {v} and repr(v) == f"{v}" and v.item() == v.data or v.data != v.data
    side.add(v if v < other or v >= other else side.Value(0))


@action(weight=3, threads=False)
def anomaly(side, rng):
    with pygrad.detect_anomaly():
        run_any(side, rng)
        run_any(side, rng)


@action(weight=3, threads=False)
def patch(side, rng):
    """Replace a method or property of Value, run something and restore it."""
    name = rng.choice(["__mul__", "__rmul__", "__add__", "relu", "__init__", "data", "label", "_op"])
    old = side.Value.__dict__.get(name, getattr(side.Value, name))
    own = name in side.Value.__dict__
    side.patched = name in ("__mul__", "__rmul__", "__add__")
    if name in ("data", "_op"):
        new = property(old.__get__, old.__set__)
    else:
        new = "patched" if name == "label" else lambda self, *args, **kwargs: old(self, *args, **kwargs)
    setattr(side.Value, name, new)
    try:
        run_any(side, rng)
        run_any(side, rng)
    finally:
        side.patched = False
        setattr(side.Value, name, old) if own else delattr(side.Value, name)


@action(weight=3, threads=False)
def eager_gc(side, rng):
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(3):
            run_any(side, rng)
    finally:
        gc.set_threshold(*before)


@action(weight=2)
def inside(side, rng):
    """Run something from within a weak reference's callback, so from within a release."""
    victim, errors = side.Value(1.0) * 2.0, []

    def callback(_):
        try:
            run_any(side, rng)
        except Exception as error:
            errors.append(type(error)(*error.args))

    ref = weakref.ref(victim, callback)
    del victim
    assert ref() is None
    if errors:
        raise errors.pop()


@action(weight=2)
def collect(side, rng):
    gc.collect()


@action(weight=2, threads=False)
def out_of_memory(side, rng):
    """On the native side only: what fails for want of memory raises MemoryError, and has changed nothing."""
    v, w, after = side.pick(rng), side.pick(rng), rng.randrange(12)
    tries = [lambda: v * w, lambda: v + 2.0, lambda: v._operands_in_order(), lambda: engine.sum([v, w, 1.0])]
    tries += [lambda: side.Value(1.0, (v, w)), lambda: setattr(v, "oom", [1]), lambda: engine.dot([v], [w], 1)]
    choose = engine.choose  # what `take` is made of: when its own closures fail, CPython 3.11 leaks their cells
    tries += [lambda: choose(engine.Value(0), [v, 1.0]), lambda: engine.declared(v, [w], [2.0])]
    tries += [lambda: engine.layer([neuron_of([v, w], v)], [w, 1.0], nn.Neuron), lambda: side.Value(2.0), v.detach]
    attempt, arena = rng.choice(tries), rng.random() < 0.3
    if side.native:
        fail_memory(attempt, None if arena else after)
        with contextlib.suppress(AttributeError):
            del v.oom


def neuron_of(ws, bias):
    neuron = nn.Neuron(0, activation="tanh")
    neuron.w, neuron.b = ws, bias
    return neuron


def fail_memory(attempt, after):
    """Run it with one allocation of the arena failing, or with three of Python's, after so many (not on the portable
    proxy: cffi makes an int of the id of a node that is there already, and where that fails the node is lost)."""
    if after is not None and (not set_nomemory or engine.config()["proxy"] == "python"):
        return
    try:
        lib.pg_fail_allocation(1) if after is None else set_nomemory(after, after + 3)
        attempt()
    except MemoryError:
        pass
    finally:
        lib.pg_fail_allocation(0) if after is None else remove_mem_hooks()


@action(weight=0.1)
def long_chain(side, rng):
    """A chain of Values, containers and attributes between them, longer than any stack, dropped from its root."""
    v, length = side.Value(0.0), rng.choice([1_000, 30_000])
    kind = rng.randrange(4)
    for i in range(length if side.native else 0):
        v = v + 1.0
        if kind == 1:
            v.note = "x"
        if kind == 2:
            v.box = {"k": [v._prev]}
        if kind == 3 and i % 2:
            w = side.Value(1.0)
            w.box = {"v": [v]}
            v = w
    del v


@action(weight=0.05, threads=False)
def fork(side, rng):
    if not side.native or not hasattr(os, "fork"):
        return
    child = os.fork()
    if child == 0:
        for v in side.variables:
            with contextlib.suppress(Exception):  # closures raise
                (v * 2.0).backward()
        side.variables.clear()
        collect_all()
        os._exit(lib.pg_check() != ffi.NULL)
    assert os.waitpid(child, 0)[1] == 0, "the child of a fork failed"


# --- comparing the two sides ------------------------------------------------------------------------------------------


def bits(x):
    return "nan" if x != x else struct.pack("d", x)


def close(a, b):
    return a == b or (a != a and b != b) or abs(a - b) <= 1e-12 * max(abs(a), abs(b))


def shape(x, depth=3):
    """What an attribute looks like, Values by their data."""
    if isinstance(x, (engine.Value, reference.Value)):
        return type(x).__name__, bits(x.data)
    if isinstance(x, (list, tuple, set)) and depth:
        return [shape(item, depth - 1) for item in x] if not isinstance(x, set) else len(x)
    if isinstance(x, dict) and depth:
        return {key: shape(item, depth - 1) for key, item in x.items()}
    return x.__name__ if isinstance(x, type) else repr(x) if isinstance(x, (int, float, str)) else type(x).__name__


def compare_values(v, w):
    """Compare without asking for what changes how the proxy is kept: operands, __dict__."""
    assert type(w).__name__ == type(v).__name__
    assert bits(w.data) == bits(v.data), (w, v)
    assert close(w.grad, v.grad), (w, v)
    for name in [*NAMES, "_op", "revived"]:
        assert shape(getattr(w, name, None)) == shape(getattr(v, name, None)), (name, w, v)


def compare_graphs(pairs, shared):
    """Walk both graphs in lockstep: equal Values, and one object here where there is one object there."""
    twin, stack = {}, list(pairs)
    while stack:
        v, w = stack.pop()
        if id(w) in twin:
            assert twin[id(w)][0] is v, ("two objects for one", w, v)
            continue
        twin[id(w)] = v, w
        if any(v is x for x in shared):
            continue
        compare_values(v, w)
        first, again = v._prev, v._prev
        assert len(w._prev) == len(first & again) == len(first)
        stack += zip(v._operands_in_order(), w._operands_in_order(), strict=True)
    assert len({id(v) for v, _ in twin.values()}) == len(twin), "one object for two"


def outcome(side, name, seed):
    """Run a step; return the name of the exception that it raised, or None."""
    try:
        ACTIONS[name][0](side, random.Random(seed))
        while len(side.variables) > MOST:
            drop(side, random.Random(0))
    except AssertionError:
        raise
    except Exception as error:
        return type(error).__name__
    return None


def run(steps, shared=((), ()), trace=False):
    """Run a program on both sides; AssertionError at the first difference."""
    sides = Side(engine, shared[0]), Side(reference, shared[1])
    for name, seed in steps:
        if trace:
            print("   ", name, seed, file=sys.stderr, flush=True)
        got, right = (outcome(side, name, seed) for side in sides)
        assert right == got, (name, "raised", right, got)
        assert len(sides[0].variables) == len(sides[1].variables), name
        for v, w in zip(*(side.variables for side in sides)):
            compare_values(v, w)
    compare_graphs(zip(*(side.variables for side in sides)), shared[0])
    if not shared[0]:
        collect_all()
        alive = [[ref() is not None for ref in side.refs] for side in sides]
        assert alive[1] == alive[0], ("weak references", alive)


# --- many programs ----------------------------------------------------------------------------------------------------

handed_over = collections.deque()  # what one thread drops and another one frees


def program(seed, threads=False):
    rng = random.Random(seed)
    names = [name for name, (_, _, beside) in ACTIONS.items() if beside or not threads]
    weights = [ACTIONS[name][1] for name in names]
    return [(name, rng.getrandbits(32)) for name in rng.choices(names, weights, k=rng.randrange(3, 40))]


def collect_all():
    for _ in range(3):  # what a __del__ brings back goes with the next collection
        gc.collect()


def fault_of(steps):
    """Run a program alone and all that must hold after it; return what is wrong, or None."""
    collect_all()
    before = engine.live_nodes()
    try:
        run(steps)
        collect_all()
        assert before == engine.live_nodes(), f"{engine.live_nodes() - before} nodes left"
        engine.check_arena()
    except Exception:
        return traceback.format_exc(limit=-4)
    return None


def shorten(steps):
    """Leave out steps as long as the program fails."""
    for size in (8, 4, 2, 1):
        at = len(steps)
        while at > 0:
            at -= size
            fewer = steps[: max(at, 0)] + steps[max(at, 0) + size :]
            if len(fewer) < len(steps) and fault_of(fewer):
                steps = fewer
    return steps


def footprint():
    """References to the type, objects that the collector knows, blocks of memory: with the proxies' free list full."""
    full = [engine.Value(0.0) for _ in range(5000)]
    del full
    gc.collect()
    return sys.getrefcount(engine.Value), len(gc.get_objects()), sys.getallocatedblocks()


def run_many(seed, until, first=0, only=None, trace=False):
    """Run programs until the time is over; return how many, or exit with the first fault."""
    count, start = first if only is None else only, None
    while time.monotonic() < until and (only is None or count == only):
        if trace:
            print("program", count, file=sys.stderr, flush=True)
            run_steps = program(f"{seed}:{count}")
        steps = program(f"{seed}:{count}") if not trace else run_steps
        if fault := fault_of(steps) if not trace else trace_of(steps):
            print(f"program {count} of seed {seed} failed:\n{fault}\nin short:", *shorten(steps), sep="\n  ")
            print(fault_of(shorten(steps)))
            sys.exit(1)
        count += 1
        if count == first + 500:
            start = footprint()
        elif start and count % 2000 == 0:
            grown = [now - then for now, then in zip(footprint(), start)]
            assert all(map(int.__le__, grown, (0, 60, 2000))), f"grown after {count} programs: {grown}"
    return count - first


def trace_of(steps):
    run(steps, trace=True)
    return fault_of(steps)


def run_threads(seed, until, number):
    """Programs in several threads, over shared leaves; return how many ran."""
    before, faults, counts = engine.live_nodes(), [], [0] * number
    data = [0.5, -1.25, 2.0]
    shared = [engine.Value(x) for x in data]

    def work(index):
        while time.monotonic() < until and not faults:
            steps = program(f"{seed}:{index}:{counts[index]}", threads=True)
            try:
                run(steps, (shared, [reference.Value(x) for x in data]))
            except Exception:
                faults.append(f"thread {index}, program {counts[index]}:\n{traceback.format_exc(limit=-4)}{steps}")
            counts[index] += 1
            for _ in range(min(10, len(handed_over))):
                with contextlib.suppress(IndexError):
                    handed_over.popleft()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handed_over.clear()
    shared.clear()
    collect_all()
    engine.check_arena()
    if faults or before != engine.live_nodes():
        sys.exit("\n".join([*faults, f"{engine.live_nodes() - before} nodes left"]))
    return sum(counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--replay", type=int)
    parser.add_argument("--trace", action="store_true")
    args = parser.parse_args()
    sys.unraisablehook = lambda unraisable: None  # a __del__ of ours may raise: the release goes on
    gc.collect()
    gc.freeze()  # a collection then looks at a program's own objects only
    until = time.monotonic() + args.seconds
    if args.threads:
        count = run_threads(args.seed, until, args.threads)
    else:
        count = run_many(args.seed, until, only=args.replay, trace=args.trace)
    print(f"{engine.config()['proxy']}: {count} programs, nothing found (seed {args.seed})")


if __name__ == "__main__":
    main()
