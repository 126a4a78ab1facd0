"""The compiled programs beside C by hand, casadi, jax, PyTorch and numpy, in turn, round after round.

`pip install numpy casadi jax torch==2.13.0 micrograd==0.1.0`, as many of them as you want columns (no other part of the
project needs casadi or jax), then `python bench/compiled.py [rounds] [words of the rows wanted]`.

A cell has the median time, and in brackets how many times the first column's it is: the median over the rounds of the
ratio within a round. Each entry's answer is checked first, then it runs once untimed. The garbage collector is off.

- moons, lecture net, char-GPT: a training step, many of which may be one call (pygrad's `fit`, C by hand; "jax, loop"
  has a hundred in a jitted loop, "jax" calls from Python for each). C by hand has one thread in every row. The GPT's is
  of one name, with Adam.
- "a call": value and both gradients. C by hand is called from C, the others from Python; pygrad and casadi through
  bound buffers.
- For the eager engines "replay" is to build, sweep and free the graph again.
- "compile": pygrad's from the function in Python to a tape that is ready to run; casadi's without building the graph.
"""

import gc
import platform
import sys
from statistics import median

from ours import ENTRIES
from peers import PEERS
from rows import ROWS, check_run
from side_by_side import LONGEST, timed

SCALE = {"ns": 1e9, "us": 1e6, "ms": 1e3}
ENGINES = {"pygrad": ENTRIES, **PEERS}  # engine -> row -> function without arguments that returns a Run (rows.py)


def main(rounds, words):
    rows = [row for row in ROWS if not words or any(word in row for word in words)]
    columns = [name for name, entries in ENGINES.items() if any(row in entries for row in rows)]
    print(f"{platform.processor() or platform.machine()}, CPython {platform.python_version()}, {rounds} rounds")
    print(f"{'':36}" + "".join(f"{name:>20}" for name in columns))
    for row in rows:
        print(f"{row + ', ' + ROWS[row].unit:36}", end="", flush=True)
        times = race(runs_of(row), rounds)
        print("".join(f"{cell(times, name, ROWS[row].unit):>20}" for name in columns), flush=True)


def runs_of(row):
    """Return engine -> Run, each with its answer checked."""
    runs = {name: entries[row]() for name, entries in ENGINES.items() if row in entries}
    for name, run in runs.items():
        try:
            check_run(row, run)
        except AssertionError as error:
            raise AssertionError(f"{row}, {name}: {error}") from None
    return runs


def race(runs, rounds):
    """Return engine -> seconds a step, evaluation or node, one number a round; who is very slow is timed once."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            slow = times[name] and times[name][0] * run.calls > LONGEST
            times[name].append(times[name][0] if slow else timed(run, gc_on=False) / run.calls)
    gc.collect()
    return times


def cell(times, name, unit):
    if name not in times:
        return "-"
    first = next(iter(times.values()))
    ratio = median(mine / base for mine, base in zip(times[name], first))
    return f"{short(median(times[name]) * SCALE[unit])} ({short(ratio)})"


def short(number):
    """Return three digits, or a whole number if that is longer."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"


if __name__ == "__main__":
    wanted = sys.argv[1:]
    count = int(wanted.pop(0)) if wanted and wanted[0].isdigit() else 9
    main(count, wanted)
