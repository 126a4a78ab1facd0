"""The figures of the README: engines in turn, round after round, so that a busy machine slows them alike.

`python bench/side_by_side.py [rounds]`. pytest-benchmark times one engine after the other; on a machine whose speed
changes from minute to minute that says little about a ratio. Here each round times every engine once, and a ratio is
the median over the rounds of the ratio within a round. Answers are checked first. The garbage collector is off in what
is timed, but in the rows that say "gc on". Before it is timed a run is done once untimed: caches are warm, and with the
collector on, the garbage of the step before is about, as in a program that goes on.
"""

import gc
import platform
import sys
import time
import timeit
from functools import partial
from statistics import median

from engines import ENGINES, entrants
from workloads import GRAPHS, OPS, STEPS, check, check_graph, check_op, check_step

SWEEPS = [(graph, n) for n in (1_000, 100_000, 1_000_000) for graph in ("chain", "net")]
SHORTEST = 2e-2  # seconds; what is shorter is repeated
LONGEST = 3  # seconds; an engine that takes longer for a row is timed once
OTHERS = list(ENGINES)[1:]


def main(rounds):
    print(f"{platform.processor() or platform.machine()}, CPython {platform.python_version()}, {rounds} rounds")
    print(f"{'':34}{'pygrad':>16}" + "".join(f"{name + ' / pygrad':>24}" for name in OTHERS))
    for name in ("a + b", "a * 2.0"):
        report(name, {e.name: operation(name, e) for e in entrants("op", name)}, rounds, "ns")
    for name in STEPS:
        report(name, {e.name: step_of(name, e) for e in entrants("step", name)}, rounds, "ms")
    for name in ("moons, nn", "moons, not fused", "moons, by hand", "char-GPT"):
        report(f"{name}, gc on", {e.name: step_of(name, e) for e in entrants("step", name)}, rounds, "ms", gc_on=True)
    for gc_on in (False, True):
        runs = {e.name: partial(whole_life, e, 1_000_000) for e in entrants("build") if e.in_c}
        report(f"chain 1,000,000 from build to free{', gc on' * gc_on}", runs, min(rounds, 3), "ms", gc_on=gc_on)
    for name, n in SWEEPS:
        built = {e.name: check_graph(name, e, n) for e in entrants("backward", name) if n <= e.most_nodes}
        runs = {engine: graph.root.backward for engine, graph in built.items()}
        fewer = min(rounds, 3) if n == 1_000_000 else rounds
        report(f"backward, {GRAPHS[name].title.format(n)}", runs, fewer, "ns a node", calls=built["pygrad"].nodes)


def operation(name, engine):
    """Return a function that does an operation 10^4 times, in a loop that costs some 10 ns more each."""
    check_op(name, engine)
    variables = dict(zip("ab", OPS[name].make(engine)[1]))
    return Loop(name, variables)


class Loop:
    calls = 10_000

    def __init__(self, statement, variables):
        self.timer = timeit.Timer(statement, globals=variables)

    def __call__(self):
        self.timer.inner(iter([None] * self.calls), time.perf_counter)


def step_of(name, engine):
    check_step(name, engine)
    return STEPS[name].make(engine, 100)


def whole_life(engine, n):
    """Build, sweep and free a chain, and check it."""
    built = GRAPHS["chain"].build(engine.Value, n)
    built.root.backward()
    check(GRAPHS["chain"].answer(n)[:1], [built.root.data])


def report(title, runs, rounds, unit, gc_on=False, calls=1):
    """Print one row: pygrad's median, and the other engines' ratios to it. A run does what is asked `calls` times."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            slow = times[name] and times[name][0] > LONGEST
            times[name].append(times[name][0] if slow else timed(run, gc_on))
    ours = times["pygrad"]
    per = getattr(runs["pygrad"], "calls", calls)
    figure = f"{median(ours) / per * (1e3 if unit == 'ms' else 1e9):.3f} {unit}"
    ratios = [f"{median(b / a for a, b in zip(ours, times[name])):.1f}" if name in times else "-" for name in OTHERS]
    print(f"{title:34}{figure:>16}" + "".join(f"{ratio:>24}" for ratio in ratios), flush=True)


def timed(run, gc_on):
    """Return the seconds of one call."""
    if not gc_on:
        gc.collect()
        gc.disable()
    try:
        run()
        calls, total = 0, 0.0
        while total < SHORTEST:
            start = time.perf_counter()
            run()
            total += time.perf_counter() - start
            calls += 1
        return total / calls
    finally:
        gc.enable()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
