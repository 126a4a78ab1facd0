"""Neurons, layers and multi-layer perceptrons of Values: micrograd's nn.py, with activations to choose from."""

import random

from pygrad import engine
from pygrad.common.absent import absent_names
from pygrad.common.arrays import items
from pygrad.common.numbers import describe, is_number, shown, to_whole
from pygrad.engine import Value, recordings
from pygrad.module import Module

_is_fused = True


def fuse(on):
    """Make each neuron one `dot` node (True, the initial setting), or the multiplies and adds of micrograd's (False).

    The setting is the process's; it holds for graphs that are built from now on. Data and gradients are the same; the
    gradient of a Value that is two inputs of a neuron may differ in its last bit.
    False is for programs that look into the graph of a network as micrograd's: `install_as_micrograd()` sets it. A
    function that is compiled or transformed has fused networks in any case. Raises TypeError if `on` is no bool.
    """
    global _is_fused
    if not isinstance(on, bool):
        raise TypeError(f"fuse() takes True or False, not {describe(on)}")
    _is_fused = on


class Neuron(Module):
    """A neuron of `nin` weights `w` and a bias `b`; called with `nin` inputs it returns the Value activation(w·x + b).

    `activation` is the name of a method of Value without arguments, such as "tanh". None or "linear" means no
    activation, and so does `nonlin=False`. Weights are drawn from -1 to 1 by Python's `random`; the bias is 0. Raises
    ValueError for an unknown activation, and for an input of another length; TypeError for an input of several samples.
    """

    activation = "relu"  # for a subclass whose __init__ sets only what micrograd's neuron has: w, b and nonlin

    def __init__(self, nin, nonlin=True, activation="relu"):
        if isinstance(nonlin, str):
            raise _misplaced(nonlin)
        nin = to_whole(nin, "nin, how many inputs a neuron has,", 0)
        self.activation = _known(activation)
        self.nonlin = nonlin and self.activation is not None
        self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0)

    def __call__(self, x):
        x = _inputs(x)
        if len(x) != len(self.w):
            raise _unfit(x, len(self.w))
        if out := engine.layer([self], x, type(self), _is_fused or _is_unseen()):
            return out[0]
        if any(map(_is_row, x)):
            raise _several_samples()
        act = sum((wi * xi for wi, xi in zip(self.w, x)), self.b)
        return getattr(act, self.activation)() if self.nonlin else act

    def parameters(self):
        return self.w + [self.b]

    def __repr__(self):
        return f"{_title(self.activation) if self.nonlin else 'Linear'}Neuron({len(self.w)})"


_plain_call = Neuron.__call__


def _is_unseen():
    """True where no program sees the graph: within no_grad(), and while a function is recorded or transformed."""
    return recordings.is_calling() or not engine.is_grad_enabled()


class Layer(Module):
    """`nout` neurons, all with the same `nin` inputs; a call returns a list of Values, or one Value if `nout` is 1."""

    def __init__(self, nin, nout, *misplaced, **kwargs):
        if misplaced:
            raise _misplaced(*misplaced)
        self.neurons = [Neuron(nin, **kwargs) for _ in range(to_whole(nout, "nout, how many neurons a layer has,", 0))]

    def __call__(self, x):
        x = _inputs(x)
        fused = _is_fused or _is_unseen()
        out = engine.layer(self.neurons, x, Neuron, fused) if Neuron.__call__ is _plain_call else None
        out = out or [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self):
        return [p for n in self.neurons for p in n.parameters()]

    def __repr__(self):
        return f"Layer of [{', '.join(str(n) for n in self.neurons)}]"


class MLP(Module):
    """A multi-layer perceptron: layers of `nouts` neurons each; the outputs of one layer are the inputs of the next.

    `activation` is that of all layers but the last, "relu" by default. `output_activation` is that of the last layer;
    by default there is none, as in micrograd. Raises TypeError and ValueError for sizes that are not like that.

    >>> from pygrad.nn import MLP
    >>> MLP(2, [2, 1], activation="tanh")
    MLP of [Layer of [TanhNeuron(2), TanhNeuron(2)], Layer of [LinearNeuron(2)]]
    """

    def __init__(self, nin, nouts, *misplaced, output_activation=None, **kwargs):
        if misplaced:
            raise _misplaced(*misplaced)
        nouts = _sizes(nin, nouts)
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
    """Return the inputs as a list; a lone Value, the output of a layer of one neuron, becomes a list of one."""
    if type(x) is list:
        return x
    if hasattr(type(x), "_prev"):
        return [x]
    inputs = list(items(x, "the input of a network", "a list of Values and numbers, or an array"))
    if inputs and type(inputs[0]) is list:
        raise _several_samples()
    return inputs


def _is_row(x):
    """True for an input that is itself a list or an array: the input is several samples."""
    return isinstance(x, (list, tuple)) or getattr(x, "ndim", 0) != 0


def _unfit(x, count):
    """Return the error for an input of another length than `count`."""
    if any(map(_is_row, x)):
        return _several_samples()
    return ValueError(f"this neuron takes {count} inputs, and the input has length {len(x)}")


def _several_samples():
    return TypeError(
        "a network takes the numbers of one sample, and this is an array of several: call it with each row, as in "
        "[model(x) for x in X], or compile it, which accepts batches: pygrad.compile(model)"
    )


# --- sizes ------------------------------------------------------------------------------------------------------------


def _sizes(nin, nouts):
    """Return the sizes of all layers in a list. Raises TypeError for one that is no list, and names the cure."""
    if nouts is None or is_number(nouts) or isinstance(nouts, str):
        sizes = f"[{nouts}]" if is_number(nouts) else "[4, 1]"
        raise TypeError(
            f"nouts must be a list, one size for each layer, not {describe(nouts)}: MLP({shown(nin)}, {sizes})"
        )
    return list(items(nouts, "nouts", "a list, one size for each layer"))


def _misplaced(*given):
    """Return the TypeError for an argument that must be given by name."""
    if isinstance(given[0], str):
        return TypeError(f"an activation is given by name: activation={shown(given[0])}")
    if all(map(is_number, given)):
        return TypeError("the sizes of an MLP's layers stand in one list, as in MLP(2, [4, 1])")
    return TypeError(f"options are given by name, as in activation='tanh', and this is {describe(given[0])}")


def _known(activation):
    """Return the name, or None for "linear"; an op of one operand will do, or a method that you have added to Value."""
    if activation is None or activation == "linear":
        return None
    names = [name for name in dir(Value) if name[0] != "_" and callable(getattr(Value, name, None))]
    known = [name for name in names if name in _ACTIVATIONS or name not in _METHODS]
    if activation not in known:
        raise ValueError(f"unknown activation {shown(activation)}; known are linear, {', '.join(known)}")
    return activation


_METHODS = frozenset(dir(Value)) - absent_names(Value)  # those that a program adds are activations, too
_ACTIVATIONS = {name for name, (_, operands) in engine.OPS.items() if operands == 1} - {"stop_gradient"}
_ACTIVATIONS |= {"leaky_relu", "elu"}  # their second operand has a default


def _title(activation):
    """Return the name in the spelling of a class: ReLU, Tanh."""
    return activation.title().replace("_", "").replace("Relu", "ReLU")
