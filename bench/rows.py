"""The rows of compiled.py: what is measured, and the right answer, from pygrad's own eager engine or a closed form.

An engine's entry for a row is a function without arguments that returns a Run. `check_run` takes a fresh Run's first
call, and compares.
"""

import inspect
import random
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from engines import ENGINES
from side_by_side import Loop
from workloads import GRAPHS, SEED, STEPS, check

MANY = 1_000_000
SMALL, LARGE, TWO_THREADS = "moons, 100 samples", "moons, 1,000 samples", "moons, 1,000 samples, 2 threads"
LECTURE, GPT = "lecture net", "char-GPT"
TINY, README, TINY_MANY = "tiny, a call", "README, a call", "tiny, 1,000,000 in one call"
PROGRAMS = {SMALL: ("moons, nn", 100), LARGE: ("moons, nn", 1_000), TWO_THREADS: ("moons, nn", 1_000)}
PROGRAMS |= {LECTURE: ("lecture net", 4), GPT: ("char-GPT", 100)}
RATES = {SMALL: 0.1, LARGE: 0.1, TWO_THREADS: 0.1, LECTURE: 0.05}  # of the SGD steps in workloads.py


class Run:
    """What is timed. A call of it runs the workload `calls` times: steps, evaluations, or nodes.

    `numbers(out)`, which is not timed, makes the answer of what the last call returned: of a training step the loss and
    the parameters after it (of the GPT, the gradients), else the value and the gradients.
    """

    def __init__(self, function, numbers=list, calls=1):
        self.function, self.numbers, self.calls, self.out = function, numbers, calls, None

    def __call__(self):
        self.out = self.function()


def again(statement, numbers, calls, each=1, **variables):
    """Return the Run of a statement in a loop, which costs some 10 ns each; a statement counts `each` times."""
    loop = Loop(statement, variables)
    loop.calls = calls
    return Run(loop, lambda out: numbers(), calls * each)


# --- workloads and answers --------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    step: Callable  # of pygrad's eager engine
    model: object
    x: list
    y: list


def problem(row):
    """Return a training program of workloads.py with the very model and samples that its step holds on to."""
    name, samples = PROGRAMS[row]
    step = STEPS[name].make(ENGINES["pygrad"], samples)
    held = inspect.getclosurevars(step).nonlocals
    return Problem(step, held["model"], held.get("X") or held.get("xs"), held.get("Y") or held.get("ys"))


@cache
def trained(row, steps):
    """Return the last loss and what the parameters (or, for the GPT, gradients) are after so many eager steps."""
    step = problem(row).step
    for _ in range(steps - 1):
        step()
    return step()


def tiny(a, b, relu=None):
    c = a + b
    d = a * b + b**3
    e = c - d
    f = e**2
    return f / 2


def readme(a, b, relu):
    """The expression of micrograd's README, also for numbers that have no method relu()."""
    c = a + b
    d = a * b + b**3
    c = c + (c + 1)
    c = c + (1 + c + (-a))
    d = d + (d * 2 + relu(b + a))
    d = d + (3 * d + relu(b - a))
    e = c - d
    f = e**2
    return f / 2.0 + 10.0 / f


# The README's own point is (-4, 2); there its first d is 0, which would hide mistakes.
EXPRESSIONS = {TINY: (tiny, 2.0, 3.0), README: (readme, -3.9, 2.1)}


def evaluated(row, calls):
    """Return an expression's value and gradients, from pygrad's eager engine."""
    function, *point = EXPRESSIONS[row]
    a, b = leaves = [ENGINES["pygrad"].Value(number) for number in point]
    out = function(a, b, lambda v: v.relu())
    out.backward()
    return [out.data, *(leaf.grad for leaf in leaves)]


@cache
def points():
    rng = random.Random(SEED)
    return [[rng.uniform(-2, 2) for _ in range(MANY)] for _ in range(2)]


def sampled(outs):
    """Return every 997th of the values, the d/da and the d/db: odd, so that each lane of a block has its turn."""
    return [float(number) for numbers in outs for number in numbers[::997]]


def sampled_answer(calls):
    a, b = (numbers[::997] for numbers in points())
    e = [p + q - (p * q + q**3) for p, q in zip(a, b)]
    da = [x * (1 - q) for x, q in zip(e, b)]
    return [x * x / 2 for x in e] + da + [x * (1 - p - 3 * q * q) for x, p, q in zip(e, a, b)]


class Row(NamedTuple):
    unit: str
    answer: Callable  # answer(calls)


ROWS = {row: Row("us", partial(trained, row)) for row in (SMALL, LARGE, TWO_THREADS, LECTURE)}
ROWS |= {row: Row("ns", partial(evaluated, row)) for row in EXPRESSIONS}
ROWS |= {TINY_MANY: Row("ns", sampled_answer), GPT: Row("ms", partial(trained, GPT))}
for _graph in ("chain", "net"):  # a million operations; a node is one of them
    for _what in ("compile", "replay"):
        ROWS[f"{_graph}: {_what}"] = Row("ns", lambda calls, graph=_graph: GRAPHS[graph].answer(MANY))


def check_run(row, run):
    """Call a fresh Run once, and compare its answer."""
    run()
    check(ROWS[row].answer(run.calls), [float(number) for number in run.numbers(run.out)])


# --- eager engines ----------------------------------------------------------------------------------------------------


def eager_step(row, engine):
    name, samples = PROGRAMS[row]
    return Run(STEPS[name].make(engine, samples))


def eager_call(row, engine):
    function, *point = EXPRESSIONS[row]

    def call():
        a, b = map(engine.Value, point)
        out = function(a, b, lambda v: v.relu())
        out.backward()
        return out.data, a.grad, b.grad

    return Run(call)


def eager_replay(graph, engine):
    """What it takes to evaluate again: build, sweep and free."""

    def life():
        built = GRAPHS[graph].build(engine.Value, MANY)
        built.root.backward()
        return [built.root.data, *(leaf.grad for leaf in built.leaves)]

    return Run(life, calls=MANY)
