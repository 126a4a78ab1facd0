"""C by hand: builds by_hand.c with the compiler that is there, and has its entries for the table of compiled.py."""

import os
import re
import subprocess
import tempfile
from functools import cache, partial
from pathlib import Path

from cffi import FFI
from rows import EXPRESSIONS, LARGE, LECTURE, MANY, RATES, SMALL, TINY_MANY, TWO_THREADS, Run, points, problem, sampled


@cache
def library():
    """Compile by_hand.c and load it. There is no contraction, as in pygrad; flags in $CFLAGS come after these."""
    source = Path(__file__).with_name("by_hand.c")
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-Wno-psabi", *os.environ.get("CFLAGS", "").split()]
    ffi = FFI()
    ffi.cdef(re.search(r"/\* cdef-begin \*/(.*)/\* cdef-end \*/", source.read_text(), re.DOTALL)[1])
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/by_hand.so"
        command = [os.environ.get("CC", "cc"), *flags, "-shared", "-fPIC", "-o", file, str(source), "-lm"]
        subprocess.run(command, check=True)
        return ffi, ffi.dlopen(file)


def c_net(row, steps=100):
    ffi, lib = library()
    given = problem(row)
    p = ffi.new("double[]", [p.data for p in given.model.parameters()])
    x, y = (ffi.new("double[]", numbers) for numbers in (sum(given.x, []), given.y))
    losses = ffi.new("double[]", steps)
    descend = partial(lib.lecture, p) if row == LECTURE else partial(lib.moons, p, len(given.x))
    return Run(partial(descend, x, y, steps, RATES[row], losses), lambda out: [losses[steps - 1], *p], steps)


def c_call(row, calls=100_000):
    """What a call takes within C: called from Python it would be all overhead."""
    ffi, lib = library()
    function, a, b = EXPRESSIONS[row]
    out = ffi.new("double[3]")
    function = ffi.addressof(lib, function.__name__)
    return Run(partial(lib.call_again, function, calls, a, b, out), lambda _: list(out), calls)


def c_many():
    ffi, lib = library()
    a, b = (ffi.new("double[]", numbers) for numbers in points())
    outs = [ffi.new("double[]", MANY) for _ in range(3)]
    return Run(partial(lib.tiny_of_arrays, MANY, a, b, *outs), lambda _: sampled(map(list, outs)), MANY)


ENTRIES = {row: partial(c_net, row) for row in (SMALL, LARGE, TWO_THREADS, LECTURE)}
ENTRIES |= {row: partial(c_call, row) for row in EXPRESSIONS}
ENTRIES[TINY_MANY] = c_many
