"""Times: one op, build, backward, free, and whole training steps; every engine on the same workloads.

A group is a kind and a workload, and within it the engines stand side by side. Each benchmark checks its answer
first. What is timed:

- op: one operation on leaves that are there, the freeing of its result, and about 40 ns for the call.
- build: all operations of a graph; its nodes are freed outside the time.
- backward: one sweep over a graph built once. micrograd adds up what it found before; its time does not change.
- free: dropping the root of a graph; for micrograd the garbage collection that this takes, as it makes cycles.
- step: forward and backward and, for a network, the update, with the freeing of the step before.
"""

import gc
import math
import time
import weakref
from functools import partial

import pytest
from engines import ENGINES, entrants
from workloads import GRAPHS, OPS, STEPS, check, check_graph, check_op, check_step

from pygrad import reference

SIZES = [1_000, 100_000, 1_000_000]
BUDGET = 1.5  # seconds of a benchmark, if they are enough for MIN_ROUNDS
MIN_ROUNDS, MAX_ROUNDS = 3, 100
SHORTEST = 1e-3  # seconds of a round at least: what is shorter is repeated

pytestmark = pytest.mark.benchmark(disable_gc=True, timer=time.perf_counter)
each_size = pytest.mark.parametrize("n", SIZES)
SWEPT = [(name, n) for name in ("chain", "net") for n in SIZES] + [("hundred", 0), ("hundred", 1_000_000)]
STEPPED = [(name, engine) for name in STEPS for engine in entrants("step", name)]


def each_engine(kind):
    return pytest.mark.parametrize("engine", entrants(kind), ids=lambda engine: engine.name)


@each_engine("op")
@pytest.mark.parametrize("name", OPS)
def test_op(benchmark, engine, name):
    """One operation."""
    check_op(name, engine)
    function, args = OPS[name].make(engine)
    time_it(benchmark, "op", name, engine, partial(function, *args))


@each_size
@each_engine("build")
def test_build(benchmark, engine, size, n):
    """Build a chain of n operations, and keep it."""
    keep = Keep(engine, size(n))
    keep.build()
    check(GRAPHS["chain"].answer(size(n))[:1], [keep.chain.root.data])
    time_it(benchmark, "build", f"chain {n:,}", engine, keep.build, setup=keep.drop, nodes=keep.chain.nodes)


@each_engine("backward")
@pytest.mark.parametrize("graph", SWEPT, ids="{0[0]}-{0[1]}".format)
def test_backward(benchmark, engine, size, graph):
    """Sweep a graph of about n operations, or a small one beside n others."""
    name, n = graph
    if n > engine.most_nodes:
        pytest.skip(f"{engine.name} cannot sweep {n} nodes on this Python")
    built = check_graph(name, engine, size(n))
    time_it(benchmark, "backward", GRAPHS[name].title.format(n), engine, built.root.backward, nodes=built.nodes)


@each_size
@each_engine("free")
def test_free(benchmark, engine, size, n):
    """Drop a chain of n operations."""
    keep = Keep(engine, size(n))
    keep.build()
    nodes, leaves = keep.chain.nodes, [weakref.ref(leaf) for leaf in keep.chain.leaves]
    keep.drop()
    assert [None] * 3 == [leaf() for leaf in leaves], "the graph is still there"
    time_it(benchmark, "free", f"chain {n:,}", engine, keep.drop, setup=keep.build, nodes=nodes)


@pytest.mark.parametrize("name, engine", STEPPED, ids=[f"{name}-{engine.name}" for name, engine in STEPPED])
def test_step(benchmark, engine, name):
    """A forward and a backward pass and, for a network, the update of its parameters."""
    samples = 100 if benchmark.enabled else 10
    check_step(name, engine, samples)
    step = STEPS[name].make(engine, samples)
    time_it(benchmark, "step", name, engine, step, between=lambda: collect(engine))


@each_engine("backward")
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_has_the_nodes_it_claims(engine, name):
    """Nanoseconds a node are of the operations that the root reaches."""
    built = GRAPHS[name].build(engine.Value, 3_000)
    reached, stack = set(), [built.root]
    while stack:
        v = stack.pop()
        if v not in reached and v._prev:
            reached.add(v)
            stack.extend(v._prev)

    assert built.nodes == len(reached)


CHECKS = [(check_op, OPS), (check_graph, GRAPHS), (check_step, STEPS)]
WITH_GRADIENTS = [(check, name) for check, names in CHECKS for name in names if name != "Value(2.0)"]


@pytest.mark.parametrize("workload", WITH_GRADIENTS, ids="{0[1]}".format)
def test_a_wrong_engine_gets_no_time(monkeypatch, workload):
    """Derivatives that are 0.1 % off are noticed in every workload."""
    check_it, name = workload
    for op in ("add", "mul", "relu", "sum", "dot", "tanh"):
        monkeypatch.setitem(reference.OPS, op, bent(reference.OPS[op]))

    with pytest.raises(AssertionError, match="wrong answer"):
        check_it(name, ENGINES["reference"])


def bent(row):
    return row._replace(partials=lambda *args: [1.001 * d for d in row.partials(*args)])


class Keep:
    """Builds a chain and drops it, in two calls."""

    def __init__(self, engine, n):
        self.engine, self.n, self.chain = engine, n, None

    def build(self):
        self.chain = GRAPHS["chain"].build(self.engine.Value, self.n)

    def drop(self):
        self.chain = None
        collect(self.engine)


def collect(engine):
    """Free what was dropped, where dropping alone does not."""
    if engine.cyclic:
        gc.collect()


def time_it(benchmark, kind, workload, engine, run, *, setup=None, between=None, nodes=None):
    """Time `run()`, whose answer was checked, and note what it was.

    `setup` is called before every round, which is one call of `run` then; `between` only where a round is one anyway.
    """
    iterations, rounds = 1, 1
    if benchmark.enabled:
        setup_seconds, seconds = seconds_of(setup), seconds_of(run)
        iterations = 1 if setup else max(1, math.ceil(SHORTEST / seconds))
        rounds = int(BUDGET / (setup_seconds + seconds * iterations))
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, rounds))
    if iterations == 1:
        setup = setup or between
    benchmark.group = f"{kind}: {workload}"
    benchmark.pedantic(run, setup=setup, rounds=rounds, iterations=iterations)
    benchmark.extra_info.update(kind=kind, workload=workload, engine=engine.name, correct=True)
    if benchmark.enabled and nodes:
        benchmark.extra_info.update(nodes=nodes, ns_per_node=benchmark.stats.stats.median / nodes * 1e9)


def seconds_of(call):
    """Call, if there is something to call, and return the seconds it took."""
    start = time.perf_counter()
    if call:
        call()
    return time.perf_counter() - start
