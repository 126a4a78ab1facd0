"""Measure memory in a process of its own: `python footprint.py ENGINE WORKLOAD N` prints the bytes of one of N things.

The figure is the growth of the resident set, so it counts all there is: nodes, proxies, and what allocators round up.
"""

import gc
import math
import os
import resource
import sys

from engines import ENGINES


def resident_bytes():
    """The resident set of this process; its peak where /proc is missing (macOS), as nothing here shrinks."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def growth(run, n):
    """Return (what `run(n)` returns, how many bytes one of the n took), after a short run that warms up."""
    run(n // 100)
    before = resident_bytes()
    result = run(n)
    return result, (resident_bytes() - before) / n


def adds(engine, n):
    """A chain of n operations a + b, held by its last node."""
    one = engine.Value(1.0)

    def run(n):
        x = one
        for _ in range(n):
            x = x + one
        return x

    x, size = growth(run, n)
    return size, float(n + 1), x.data


def held(engine, n):
    """n results a + b, each held by the program: every node with its proxy."""
    a, b = engine.Value(2.0), engine.Value(3.0)

    def run(n):
        results = [None] * n
        for i in range(n):
            results[i] = a + b
        return results

    results, size = growth(run, n)
    return size, 5.0 * n, sum(v.data for v in results)


def constants(engine, n):
    """A chain of n operations a * 2.0 or a * 0.5, in turn; each with a constant of its own."""

    def run(n):
        x = engine.Value(3.0)
        for _ in range(n // 2):
            x = x * 2.0 * 0.5
        return x

    x, size = growth(run, n)
    return size, 3.0, x.data


def kept(engine, n):
    """A loop that keeps one Value of each of n graphs of 71 operations: the first, over leaves all graphs share."""
    a, b = engine.Value(2.0), engine.Value(3.0)
    if engine.cyclic:
        gc.enable()

    def run(n):
        kept = []
        for _ in range(n):
            first = x = a * b
            for _ in range(70):
                x = x + b
            kept.append(first)
        return kept

    values, size = growth(run, n)
    return size, 6.0 * n, sum(v.data for v in values)


def training(engine, n):
    """n training steps of a small expression; nothing is kept but the weight."""
    w, x = engine.Value(0.0), engine.Value(2.0)

    def run(n):
        for _ in range(n):
            loss = (w * x - 5.0) ** 2
            w.grad = 0.0
            loss.backward()
            w.data -= 0.05 * w.grad

    _, size = growth(run, n)
    return size, 2.5, w.data


WORKLOADS = {"adds": adds, "held": held, "constants": constants, "kept": kept, "training": training}

if __name__ == "__main__":
    gc.disable()
    size, expected, actual = WORKLOADS[sys.argv[2]](ENGINES[sys.argv[1]], int(sys.argv[3]))
    if not math.isclose(expected, actual, rel_tol=1e-9):
        sys.exit(f"wrong answer: expected {expected}, got {actual}")
    print(size)
