"""What a user does with twice as much takes twice as long, and not four times: instructions are counted, not seconds.

callgrind runs each program of tools/growth.py at two sizes, and counts the instructions of each function of C, Python's
own included. A loop within a loop shows there even while it is too short for a clock to see.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import growth
import pytest

pytestmark = [pytest.mark.once, pytest.mark.python]

SIZES = (16, 32, 64)
FEW = (6, 12, 24)  # of programs that take long for each item
NAMES = sorted(growth.PROGRAMS.keys() - growth.SLOW)
SUSPECT = 2.7  # a function may grow so much when the size doubles: if it is linear 2, if it is quadratic 4
NOTABLE = 0.01  # the share of all instructions from which on a function is looked at
# These walk the proxies of a block, 64 at most, or are called once a block: at sizes below 64 they look quadratic.
OF_A_BLOCK = {"proxy_of", "adopt", "module_adopt", "value_dealloc", "pg_mark_far"}

# Instructions count from begin() to end(), which writes them to a file.
COUNTER = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
"""

RUN = """
import ctypes, gc, sys, warnings
sys.path.insert(0, sys.argv[1])
counter = ctypes.CDLL(sys.argv[2])
warnings.simplefilter("ignore")
import growth
for program in sys.argv[3:]:
    name, *sizes = program.split()
    growth.PROGRAMS[name](3)()  # what is made once only is there now
    for size in sizes:
        run = growth.PROGRAMS[name](int(size))
        gc.collect()
        gc.disable()
        counter.begin()
        run()
        counter.end(f"{name} {size}".encode())
        gc.enable()
        del run
"""


def costs(path):
    """Return the name that `end` was given, and {function: instructions}, of a file of callgrind's."""
    found, name, function, is_call = Counter(), None, None, False
    for line in path.read_text().splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            name = line.rpartition(": ")[2]
        elif line.startswith("fn="):
            function = line[3:].partition("'")[0]  # without the depth of its recursion
        elif line[:1].isdigit() and not is_call:
            found[function] += int(line.split()[1])
        is_call = line.startswith("calls=")
    return name, found


def sizes_of(name):
    return FEW if name in growth.HEAVY else SIZES


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """{"program size": {function: instructions}} of all programs."""
    if not shutil.which("valgrind") or not shutil.which("cc"):
        pytest.skip("counting needs valgrind, and a compiler")
    folder = tmp_path_factory.mktemp("growth")
    (folder / "counter.c").write_text(COUNTER)
    made = subprocess.run("cc -shared -fPIC -O1 -o counter.so counter.c".split(), cwd=folder, capture_output=True)
    if made.returncode:
        pytest.skip("the headers of valgrind are missing")
    valgrind = "valgrind --tool=callgrind --instr-atstart=no --compress-strings=no --compress-pos=no".split()
    programs = [" ".join([name, *map(str, sizes_of(name))]) for name in NAMES]
    arguments = [str(Path(growth.__file__).parent), str(folder / "counter.so"), *programs]
    done = subprocess.run(
        [*valgrind, "--callgrind-out-file=out", sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(map(costs, folder.glob("out.*")))


@pytest.mark.parametrize("name", NAMES)
def test_twice_as_much_takes_twice_as_long(counted, name):
    """No function of C, Python's own included, grows as a square of the size."""
    small, middle, large = [counted[f"{name} {size}"] for size in sizes_of(name)]
    least = NOTABLE * sum(large.values())
    squares = {
        f: (small[f], middle[f], n)
        for f, n in large.items()
        if n > least and n > SUSPECT * middle[f] and middle[f] > SUSPECT * small[f] and f not in OF_A_BLOCK
    }

    assert {} == squares
