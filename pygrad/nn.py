"""Neurons, layers and multi-layer perceptrons of Values: micrograd's nn.py, with activations to choose from."""

import random

from pygrad import engine
from pygrad.engine import Value
from pygrad.module import Module


class Neuron(Module):
    """`nin` weights and a bias; called with `nin` inputs it gives one Value, activation(w·x + b).

    `activation` is the name of a method of Value, or None or "linear" for none; `nonlin=False` also means none.
    """

    activation = "relu"  # for subclasses that set no more than micrograd's neuron has

    def __init__(self, nin, nonlin=True, activation="relu"):
        self.activation = _known(activation)
        self.nonlin = nonlin and self.activation is not None
        self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0)

    def __call__(self, x):
        x = _inputs(x)
        if len(x) != len(self.w):
            raise ValueError(f"this neuron takes {len(self.w)} inputs, and the input has length {len(x)}")
        if out := engine.layer([self], x, type(self)):
            return out[0]
        act = sum((wi * xi for wi, xi in zip(self.w, x)), self.b)
        return getattr(act, self.activation)() if self.nonlin else act

    def parameters(self):
        return self.w + [self.b]

    def __repr__(self):
        return f"{_title(self.activation) if self.nonlin else 'Linear'}Neuron({len(self.w)})"


_plain_call = Neuron.__call__


class Layer(Module):
    """`nout` neurons side by side; called with `nin` inputs it gives a list of Values, or one Value if `nout` is 1."""

    def __init__(self, nin, nout, **kwargs):
        self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

    def __call__(self, x):
        x = _inputs(x)
        out = engine.layer(self.neurons, x, Neuron) if Neuron.__call__ is _plain_call else None
        out = out or [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self):
        return [p for n in self.neurons for p in n.parameters()]

    def __repr__(self):
        return f"Layer of [{', '.join(str(n) for n in self.neurons)}]"


class MLP(Module):
    """Layers of the sizes `nouts`, one after the other.

    `activation="tanh"` is that of all layers but the last, `output_activation` that of the last (none, as micrograd).
    """

    def __init__(self, nin, nouts, *, output_activation=None, **kwargs):
        sz = [nin, *nouts]
        last = {"activation": output_activation} if output_activation else {"nonlin": False}
        options = [kwargs] * (len(nouts) - 1) + [{**kwargs, **last}]
        self.layers = [Layer(sz[i], sz[i + 1], **options[i]) for i in range(len(nouts))]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self):
        return f"MLP of [{', '.join(str(layer) for layer in self.layers)}]"


# --- inputs and activations -------------------------------------------------------------------------------------------


def _inputs(x):
    """Return the inputs as a list; a lone Value, as a layer of one neuron gives, is a row of one."""
    return x if type(x) is list else [x] if hasattr(x, "backward") else list(x)


def _known(activation):
    """Return the name, None for "linear"; any method of Value without arguments will do, yours included."""
    if activation is None or activation == "linear":
        return None
    others = {"backward", "detach", "item", "minimum", "maximum"}
    known = [name for name in dir(Value) if name[0] != "_" and callable(getattr(Value, name)) and name not in others]
    if activation not in known:
        raise ValueError(f"unknown activation {activation!r}; known are linear, {', '.join(known)}")
    return activation


def _title(activation):
    """Return the name as a class would be called: ReLU, Tanh."""
    return activation.title().replace("_", "").replace("Relu", "ReLU")
