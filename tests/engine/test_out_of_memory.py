"""Out of memory is a MemoryError that changes nothing: the n-th allocation of the arena fails, for every n there is."""

import subprocess
import sys

import pytest

from pygrad import engine
from pygrad.engine._lib import lib

# Each program makes the arena allocate; it prints how many times it was refused before it went through.
PROGRAM = """
import gc
from pygrad import engine, nn
from pygrad.calculus import grad as derive
from pygrad.engine._lib import lib

x, a, b, c = map(engine.Value, (0.5, 1.0, 2.0, 3.0))

def chain():
    v = x
    for _ in range(140_000):  # more than two chunks
        v = v * 1.0
    return v

def leaves():
    return [engine.Value(1.0) for _ in range(140_000)]

def long_sum():
    return engine.sum([x] * 1_000_000)

def long_take():
    return engine.choose(1.0, [x] * 1_000_000)

def long_declared():
    return engine.declared(x, [x] * 500_000, [x] * 500_000)

def neurons():
    return engine.layer([neuron] * 200, [x] * 399 + [1.0], nn.Neuron, False)

def closures():
    v = x
    for _ in range(1000):
        v = v + 1.0
    out = engine.Value(1.0, (v,), "custom")
    out._backward = lambda: None
    out.backward()
    return out

def derivatives():
    return derive.grad(deep, [x], create_graph=True)

def derivatives_of_leaves():
    return derive.grad(x * a + x * b + x * c + a * b + a * c + b * c, [x, a, b, c], create_graph=True)

def tangents():
    return derive.push([deep], [x], [deep])

neuron = nn.Neuron(400)
deep = x
for _ in range(1000):
    deep = (deep * x + deep + deep).tanh()
gc.collect()

refused = 0
kept = []
for n in range(1, 100):
    before = engine.live_nodes()
    lib.pg_fail_allocation(n)
    try:
        kept.append(BUILD())
        break
    except MemoryError:
        refused += 1
    gc.collect()
    assert before == engine.live_nodes(), "nodes are lost"
    engine.check_arena()
lib.pg_fail_allocation(0)
x.grad = 0.0
(x * 3.0).backward()
assert 3.0 == x.grad
engine.check_arena()
print(refused)
"""


@pytest.mark.parametrize(
    "build",
    [
        *["chain", "leaves", "long_sum", "long_take", "long_declared", "closures", "neurons"],
        *["derivatives", "derivatives_of_leaves", "tangents"],
    ],
)
def test_every_allocation_may_fail(build):
    """Whichever allocation fails, the error is a MemoryError, no node is lost and the arena works on."""
    program = PROGRAM.replace("BUILD()", f"{build}()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)

    assert "" == done.stderr
    assert int(done.stdout) >= 2


def test_a_failed_sweep_leaves_gradients_alone():
    """A sweep that cannot list its order raises before it has changed any gradient."""
    x = engine.Value(2.0)
    y = x * x
    out = engine.Value(1.0, (y,), "custom")
    out._backward = lambda: None
    y.grad = 7.0
    lib.pg_fail_allocation(1)
    with pytest.raises(MemoryError):
        out.backward()

    assert (7.0, 0.0) == (y.grad, x.grad)
