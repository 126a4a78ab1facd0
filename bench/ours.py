"""pygrad's compiled programs, for the table of compiled.py.

Training rows are steps within one `fit`; the calls are those of a bound function, with its gradients. To compile a
graph is to build it from Python, write its tape and run the passes over it.
"""

from array import array
from functools import partial

import rows
from rows import EXPRESSIONS, GPT, LARGE, LECTURE, RATES, SMALL, TINY_MANY, TWO_THREADS, Run, again, problem
from workloads import GPT_STEPS, GRAPHS, NAMES

import pygrad
from pygrad.demos.gpt_model import GPT as Model
from pygrad.demos.gpt_model import encode
from pygrad.functional import largest
from pygrad.optim import SGD, Adam


def net(row, steps=1_000, threads=1):
    """`fit` over the full batch: an epoch is a step."""
    given = problem(row)
    model, x, y = given.model, matrix(given.x), array("d", given.y)
    f = pygrad.compile(partial(LOSSES[row], model), reduction="sum" if row == LECTURE else "mean", threads=threads)
    train = partial(f.fit, SGD(model.parameters(), lr=RATES[row]), x, y, epochs=steps)
    return Run(train, lambda losses: [losses[-1], *(p.data for p in model.parameters())], steps)


def moons_loss(model, x, y):
    return (1 + -y * model(x)).relu() + 1e-4 * sum(p * p for p in model.parameters())


def lecture_loss(model, x, y):
    return (model(x) - y) ** 2


LOSSES = {SMALL: moons_loss, LARGE: moons_loss, TWO_THREADS: moons_loss, LECTURE: lecture_loss}


def matrix(lists):
    """Return memory of the shape (len(lists), len(lists[0])), as a NumPy array would be."""
    return memoryview(array("d", sum(lists, []))).cast("B").cast("d", (len(lists), len(lists[0])))


def call(row):
    """The raw path, value and gradients."""
    function, *point = EXPRESSIONS[row]
    bound = pygrad.compile(lambda a, b: function(a, b, lambda v: v.relu()), batched=False).bind(*point)
    return again("call()", lambda: [*bound.output, *bound.gradients], 10_000, call=bound.backward)


def many():
    """One call: each sample's value and gradients."""
    bound = pygrad.compile(rows.tiny, reduction="none").bind(*(array("d", numbers) for numbers in rows.points()))
    outs = bound.output, bound.gradients
    return Run(bound.backward, lambda _: rows.sampled([outs[0], outs[1][: rows.MANY], outs[1][rows.MANY :]]), rows.MANY)


def gpt(epochs=10):
    """`fit`, a name a step in their order, as the eager engines; recorded once, as all names are of one length."""
    model = Model(pygrad.Value, block_size=8, take=pygrad.take, largest=largest)
    loss, tokens = pygrad.compile(model.loss), list(map(encode, NAMES))
    optimizer = Adam(model.parameters(), betas=(0.9, 0.99))
    options = {"epochs": epochs, "batch_size": 1, "shuffle": False}

    def train():
        taken = optimizer.state[0]["step"]
        return loss.fit(optimizer, tokens, schedule=lambda k: 0.01 * max(0.0, 1 - (taken + k) / GPT_STEPS), **options)

    def numbers(losses):
        return [losses[-1], *(p.grad for p in model.parameters())]

    return Run(train, numbers, epochs * len(NAMES))


def recordable(graph):
    """Return a graph of a million operations as a compiled function of its leaves, and their numbers."""
    numbers = array("d", [leaf.data for leaf in GRAPHS[graph].build(pygrad.Value, 2_000).leaves])

    def root(leaves):
        following = iter(leaves)
        return GRAPHS[graph].build(lambda _: next(following), rows.MANY).root

    return pygrad.compile(root, batched=False), numbers


def compile_graph(graph):
    f, numbers = recordable(graph)

    def record():
        f.clear()
        f.trace(numbers)

    def answer(_):
        value, (slopes,) = f.backward(numbers, inputs=True)
        return [value, *slopes]

    return Run(record, answer, rows.MANY)


def replay_graph(graph):
    f, numbers = recordable(graph)
    bound = f.bind(numbers)
    return Run(bound.backward, lambda _: [*bound.output, *bound.gradients], rows.MANY)


ENTRIES = {row: partial(net, row) for row in (SMALL, LARGE, LECTURE)}
ENTRIES[TWO_THREADS] = partial(net, TWO_THREADS, threads=2)
ENTRIES |= {row: partial(call, row) for row in EXPRESSIONS}
ENTRIES |= {TINY_MANY: many, GPT: gpt}
for _graph in ("chain", "net"):
    ENTRIES |= {
        f"{_graph}: compile": partial(compile_graph, _graph),
        f"{_graph}: replay": partial(replay_graph, _graph),
    }
