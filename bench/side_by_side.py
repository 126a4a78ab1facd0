"""The figures of the README: engines in turn, round after round, so that a busy machine slows them alike.

`python bench/side_by_side.py [rounds]`. pytest-benchmark times one engine after the other; on a machine whose speed
changes from minute to minute that says little about a ratio. Here each round times every engine once, and a ratio is
the median over the rounds of the ratio within a round. Answers are checked first; gc is off in what is timed.
"""

import gc
import platform
import sys
import time
from statistics import median

from engines import ENGINES, entrants
from workloads import GRAPHS, STEPS, check_graph, check_step

SWEEPS = [
    ("chain", 1_000),
    ("chain", 100_000),
    ("chain", 1_000_000),
    ("net", 1_000),
    ("net", 100_000),
    ("net", 1_000_000),
]
SHORTEST = 2e-3  # seconds; what is shorter is repeated


def main(rounds):
    print(f"{platform.processor() or platform.machine()}, CPython {platform.python_version()}, {rounds} rounds, gc off")
    print(f"{'':24}{'pygrad':>16}" + "".join(f"{name + ' / pygrad':>22}" for name in list(ENGINES)[1:]))
    for name in STEPS:
        runs = {engine.name: step_of(name, engine) for engine in entrants("step", name)}
        report(name, runs, rounds, nodes=None)
    for name, n in SWEEPS:
        built = {e.name: check_graph(name, e, n) for e in entrants("backward", name) if n <= e.most_nodes}
        runs = {engine: graph.root.backward for engine, graph in built.items()}
        report(GRAPHS[name].title.format(n), runs, min(rounds, 3) if n == 1_000_000 else rounds, built["pygrad"].nodes)


def step_of(name, engine):
    check_step(name, engine)
    return STEPS[name].make(engine, 100)


def report(title, runs, rounds, nodes):
    """Print one row: pygrad's median (a node's, in nanoseconds, for a sweep), and the other engines' ratios to it."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run))
    ours = times["pygrad"]
    figure = f"{median(ours) * 1e3:.3f} ms" if nodes is None else f"{median(ours) / nodes * 1e9:.1f} ns a node"
    others = [times.get(name) for name in list(ENGINES)[1:]]
    ratios = [f"{median(b / a for a, b in zip(ours, theirs)):.1f}" if theirs else "-" for theirs in others]
    print(f"{title:24}{figure:>16}" + "".join(f"{ratio:>22}" for ratio in ratios), flush=True)


def timed(run):
    """Return the seconds of one call."""
    gc.collect()
    gc.disable()
    try:
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
