"""Memory: bytes an op node with its proxy, bytes a kept Value, and the growth of a training loop.

Each figure comes from a fresh process (footprint.py), which checks its answer. pytest-benchmark times that process,
which says nothing: the figure is extra_info["bytes"], and summary.py prints it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from engines import entrants

# name in footprint.py: (what it says, how many; how many where the ops run in Python, how many in a quick run)
MEASURES = {
    "adds": ("an op node, a + b", 200_000, 200_000, 20_000),
    "held": ("a result a + b in a list, the list included", 200_000, 200_000, 20_000),
    "constants": ("an op node, a * 2.0", 200_000, 200_000, 20_000),
    "kept": ("a Value kept of each of {n:,} graphs", 100_000, 10_000, 300),
    "training": ("a training step, gc off, of {n:,}", 100_000, 20_000, 1_000),
}


@pytest.mark.parametrize("engine", entrants("bytes"), ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", MEASURES)
def test_bytes(benchmark, engine, name):
    """The growth of the resident set, by what there are n of."""
    text, full, python, quick = MEASURES[name]
    n = quick if benchmark.disabled else full if engine.in_c else python
    measured = benchmark.pedantic(measure, args=(engine.name, name, n), rounds=1)
    benchmark.group = "memory (the time is that of the measuring process)"
    workload = text.format(n=full)
    benchmark.extra_info.update(kind="bytes", workload=workload, engine=engine.name, n=n, bytes=measured, correct=True)


def measure(*args):
    """Run footprint.py and return the bytes it prints; a wrong answer there is a CalledProcessError here."""
    script = Path(__file__).with_name("footprint.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script), *map(str, args)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)
