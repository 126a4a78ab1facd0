"""Kinds of programs that people write with micrograd: `pygrad run` prints what micrograd prints.

Each program is text, and what it prints stands beside it. Data is printed with a format, for micrograd prints the ints
that it was given. Where micrograd is installed, the programs run with it too, so that what stands here is its own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pygrad

pytestmark = [pytest.mark.once, pytest.mark.wheel]

PROGRAMS = {}

# A subclass counts its operations, also those of builtin sum and of a number on the left.
PROGRAMS["a subclass that counts"] = (
    """
from micrograd.engine import Value

class Counted(Value):
    uses = []

    def __add__(self, other):
        Counted.uses.append("+")
        return Counted(self.data + (other.data if isinstance(other, Value) else other))

    def __mul__(self, other):
        Counted.uses.append("*")
        return Counted(self.data * (other.data if isinstance(other, Value) else other))

xs = [Counted(1.5), Counted(2.5)]
total = sum(xs) + sum(3 * x for x in xs)
print(type(total).__name__, f"{total.data:.2f}", "".join(Counted.uses))
print(type(Value(2.0) + xs[0]).__name__, type(xs[0] + Value(2.0)).__name__)
""",
    "Counted 16.00 ++*+*++\nValue Counted\n",
)

# A network is written as the text of a module, and imported from there.
PROGRAMS["weights as a module"] = (
    """
import random
from micrograd.engine import Value
from micrograd.nn import MLP

random.seed(2)
net = MLP(2, [3, 1])
with open("weights.py", "w") as f:
    f.write("from micrograd.engine import *\\nfrom micrograd.nn import *\\n")
    f.write(f"net = MLP(2, {[len(layer.neurons) for layer in net.layers]})\\n")
    f.write("saved = [" + ", ".join(f"Value({p.data!r})" for p in net.parameters()) + "]\\n")
    f.write("for p, q in zip(net.parameters(), saved):\\n    p.data = q.data\\n")
import weights
xs = [[0.25, -1.0], (2, 1), range(2), [1.0, True]]
print([f"{net(list(x)).data == weights.net(list(x)).data}" for x in xs[:3]], len(weights.saved))
print(f"{net(xs[3]).data:.6f}", sum([True, False]) / 4)
""",
    "['True', 'True', 'True'] 13\n0.855826 0.25\n",
)

# The names that micrograd.nn looks up are replaced: its networks are made of what stands there.
PROGRAMS["names of the module replaced"] = (
    """
import micrograd.nn as nn
from micrograd.engine import Value

class Named(Value):
    made = 0

    def __init__(self, data):
        super().__init__(data)
        Named.made += 1

class Doubled(nn.Neuron):
    def __call__(self, x):
        return 2 * sum((w * xi for w, xi in zip(self.w, x)), self.b)

    def __repr__(self):
        return f"Doubled({len(self.w)})"

class Halves:
    @staticmethod
    def uniform(low, high):
        return 0.5

nn.Value, nn.Neuron, nn.random = Named, Doubled, Halves
net = nn.MLP(2, [2, 1])
out = net([1.0, 3.0])
out.backward()
print(net, Named.made, f"{out.data:.1f}", [f"{p.grad:.1f}" for p in net.parameters()])
""",
    "MLP of [Layer of [Doubled(2), Doubled(2)], Layer of [Doubled(2)]] 9 8.0 "
    "['2.0', '6.0', '2.0', '2.0', '6.0', '2.0', '8.0', '8.0', '2.0']\n",
)

# Weights are replaced, shared, appended and made numbers; neurons are switched; zero_grad asks parameters().
PROGRAMS["networks edited"] = (
    """
from micrograd.engine import Value
from micrograd.nn import Layer, Module, Neuron

n = Neuron(2, nonlin=False)
shared = Value(1.5)
n.w, n.b = [shared, shared], Value(-1.0)
n([shared, 2.0]).backward()
print(f"{shared.grad:.2f}", f"{n([0.0, 1.0]).data:.2f}")
n.w = [2.0, 3.0]
print(f"{n([Value(1.0), 4.0]).data:.2f}")

layer = Layer(1, 2)
for neuron, w in zip(layer.neurons, (-1.0, 4.0)):
    neuron.w[0].data = w
    neuron.w.append(Value(10 * w))
print(layer, [f"{v.data:.2f}" for v in layer([1.0, 0.5])])
layer.neurons[0].nonlin = False
print(layer, [f"{v.data:.2f}" for v in layer([1.0, 0.5])])

class Scaled(Module):
    def __init__(self):
        self.scale, self.frozen = Value(2.0), [Value(3.0)]

    def parameters(self):
        return [self.scale]

m = Scaled()
(m.scale * m.frozen[0]).backward()
m.zero_grad()
print(f"{m.scale.grad:.1f} {m.frozen[0].grad:.1f}", Module().parameters())
""",
    "5.00 0.50\n13.00\nLayer of [ReLUNeuron(2), ReLUNeuron(2)] ['0.00', '24.00']\n"
    "Layer of [LinearNeuron(2), ReLUNeuron(2)] ['-6.00', '24.00']\n0.0 2.0 []\n",
)

# Backward steps are wrapped and called by hand; Values are keys; attributes are the program's.
PROGRAMS["a look inside"] = (
    """
from micrograd.engine import Value

a, b = Value(2.0), Value(-3.0)
c = a * b
step, seen = c._backward, []

def wrapped():
    seen.append(float(c.grad))
    step()

c._backward = wrapped
d = c + a
d.backward()
print(seen, f"{a.grad:.1f} {b.grad:.1f}", d._op, c._op, d._prev == {c, a}, len((a + a)._prev))
names = {a: "a", b: "b"}
a.color = "red"
print(sorted(names[v] for v in c._prev), a.color, a in names, [b, a].index(a))
a.grad, b.grad, c.grad, d.grad = 0, 0, 0, 1
for node in (d, c):
    node._backward()
print(f"{a.grad:.1f} {b.grad:.1f} {c.grad:.1f}")
""",
    "[1.0] -2.0 2.0 + * True 1\n['a', 'b'] red True 1\n-2.0 2.0 1.0\n",
)


def run(folder, *command, **env):
    """Run a command of this Python on script.py, beside this pygrad; return what it prints and says."""
    path = str(Path(pygrad.__file__).resolve().parents[1])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **env}
    process = [sys.executable, *command, "script.py"]
    result = subprocess.run(process, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    return result.stdout, result.stderr


@pytest.mark.parametrize("name, proxy", [*((name, "native") for name in PROGRAMS), (next(iter(PROGRAMS)), "python")])
def test_program_prints_what_micrograd_prints(tmp_path, name, proxy):
    """No more, no less, and no warning."""
    text, expected = PROGRAMS[name]
    (tmp_path / "script.py").write_text(text, encoding="utf-8")

    if proxy == "native" and importlib.util.find_spec("pygrad._native") is None:
        pytest.skip("this build has no native proxy")
    assert (expected, "") == run(tmp_path, "-m", "pygrad", "run", PYGRAD_PROXY=proxy)


@pytest.mark.parametrize("name", PROGRAMS)
def test_micrograd_prints_that(tmp_path, name):
    """What stands beside each program is micrograd's own output."""
    pytest.importorskip("micrograd")
    text, expected = PROGRAMS[name]
    (tmp_path / "script.py").write_text(text, encoding="utf-8")

    assert (expected, "") == run(tmp_path)
