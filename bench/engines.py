"""The engines that race: name -> what a workload needs of each. A new engine is one more record here.

A record says how to make a Value and a network of them, so a workload is written once and timed on all.
"""

import importlib
import math
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import microgpt_value

import pygrad
from pygrad import reference


class Engine(NamedTuple):
    """One engine. `mlp(nin, nouts, tanh=False)` makes a network as micrograd's nn.MLP, or one all of tanh neurons."""

    name: str
    Value: type
    mlp: Callable
    sum: Callable  # sum(values)
    dot: Callable  # dot(ws, xs, bias)
    fuse: Callable = lambda on: None  # of pygrad: are the neurons of `mlp` fused, from now on?
    in_c: bool = False  # fast enough for the full sizes of the memory loops
    cyclic: bool = False  # its graphs are reference cycles, which only the garbage collector frees
    most_nodes: float = math.inf  # the largest graph that it can sweep
    without: frozenset = frozenset()  # kinds of benchmark, or single workloads, that it does not take part in


def _pygrad(name, package):
    """pygrad itself, or another copy of it."""

    def mlp(nin, nouts, tanh=False):
        options = {"activation": "tanh", "output_activation": "tanh"} if tanh else {}
        return package.nn.MLP(nin, nouts, **options)

    engine = package.engine
    return Engine(name, engine.Value, mlp, engine.sum, engine.dot, package.nn.fuse, in_c=True)


def _on_python_proxy():
    """Import pygrad once more, with its proxy in Python: all its modules are there twice then, over the same arena."""

    def ours():
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "pygrad"}

    first, environ = ours(), dict(os.environ)
    for name in first.keys() - {"pygrad._core", "pygrad._native"}:
        del sys.modules[name]
    os.environ.update(PYGRAD_PROXY="python")
    try:
        return importlib.import_module("pygrad")
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(first)
        os.environ.clear()
        os.environ.update(environ)


def _mlp_on(value):
    """Return `mlp` for another Value: pygrad's network with that engine's weights, which then runs as plain Python."""

    def mlp(nin, nouts, tanh=False):
        model = _RECORDS[0].mlp(nin, nouts, tanh)
        for neuron in (n for layer in model.layers for n in layer.neurons):
            neuron.w, neuron.b = [value(w.data) for w in neuron.w], value(neuron.b.data)
        return model

    return mlp


def _micrograd():
    from micrograd.engine import Value
    from micrograd.nn import MLP, Module

    class TanhNeuron(Module):
        """A linear neuron of micrograd's, and the tanh of the lecture: micrograd 0.1.0 itself has none."""

        def __init__(self, linear):
            linear.nonlin = False
            self.linear, self.parameters = linear, linear.parameters

        def __call__(self, x):
            act = self.linear(x)
            out = Value(math.tanh(act.data), (act,), "tanh")

            def _backward():
                act.grad += (1 - out.data**2) * out.grad

            out._backward = _backward
            return out

    def mlp(nin, nouts, tanh=False):
        model = MLP(nin, nouts)
        for layer in model.layers if tanh else ():
            layer.neurons = [TanhNeuron(n) for n in layer.neurons]
        return model

    # Its backward recurses, a call a level. From Python 3.11 on such calls need no C stack, only the limit raised;
    # before that they crash somewhere beyond 10^4 levels, and the larger graphs are left out.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 4_000_000))
    most = math.inf if sys.version_info >= (3, 11) else 2_000
    without = frozenset({"char-GPT"})  # it has neither exp nor log
    return Engine("micrograd", Value, mlp, sum, _plain_dot, cyclic=True, most_nodes=most, without=without)


def _microgpt():
    """Single operations and steps show what the design costs; it has no tanh, and takes no weak references."""
    Value = microgpt_value.Value
    without = frozenset({"build", "backward", "free", "bytes", "lecture net"})
    return Engine("microgpt", Value, _mlp_on(Value), sum, _plain_dot, cyclic=True, without=without)


def _plain_dot(ws, xs, bias):
    return sum((w * x for w, x in zip(ws, xs)), bias)


_RECORDS = [_pygrad("pygrad", pygrad)]
if pygrad.config()["proxy"] == "native":
    _RECORDS.append(_pygrad("python proxy", _on_python_proxy()))
_RECORDS.append(Engine("reference", reference.Value, _mlp_on(reference.Value), reference.sum, reference.dot))
if find_spec("micrograd"):
    _RECORDS.append(_micrograd())
_RECORDS.append(_microgpt())

ENGINES = {record.name: record for record in _RECORDS}


def entrants(kind, workload=None):
    """Return the engines that take part in a kind of benchmark ("op", "step", ...), or in one workload of it."""
    return [engine for engine in ENGINES.values() if not engine.without & {kind, workload}]
