"""The fused path of pygrad.nn: the same numbers as plain Python code, and plain Python code wherever it shows."""

import random

import pytest

from pygrad import engine, nn, reference
from pygrad.engine import Value


def plain(neuron, x):
    """What micrograd's neuron computes, node by node."""
    act = sum((wi * xi for wi, xi in zip(neuron.w, x)), neuron.b)
    return getattr(act, neuron.activation)() if neuron.nonlin else act


def is_fused(out):
    """True if `out` is the activation of one dot node."""
    (act,) = out._prev
    return act._op == "dot"


@pytest.fixture
def layer():
    """A layer of three neurons of four inputs."""
    random.seed(7)
    return nn.Layer(4, 3, activation="tanh")


@pytest.fixture
def x():
    """Four inputs."""
    return [Value(v) for v in (0.3, -1.7, 2.2, 0.9)]


def test_a_plain_layer_is_fused_and_gives_the_same_bits(layer, x):
    """Data is that of the unfused neuron to the bit, and so are the gradients of weights, bias and inputs."""
    fused = layer(x)
    assert [True] * 3 == [is_fused(out) for out in fused]
    engine.sum(fused).backward()
    grads = [v.grad for v in (*layer.parameters(), *x)]
    for v in (*layer.parameters(), *x):
        v.grad = 0.0
    unfused = [plain(n, x) for n in layer.neurons]
    sum(unfused).backward()

    assert [out.data for out in unfused] == [out.data for out in fused]
    assert [v.grad for v in (*layer.parameters(), *x)] == pytest.approx(grads, rel=1e-15)


def test_a_neuron_alone_is_fused(layer, x):
    """Calling one neuron makes one dot node too."""
    assert is_fused(layer.neurons[0](x))


def test_numbers_are_inputs_too(layer):
    """Numbers of any kind are fused with; each becomes one constant of the whole layer."""
    row = [1, 2.5, True, -0.5]
    outs = layer(row)

    assert [True] * 3 == [is_fused(out) for out in outs]
    assert [plain(n, row).data for n in layer.neurons] == [out.data for out in outs]


@pytest.mark.parametrize("name", ["__mul__", "__rmul__", "__add__", "__radd__"])
def test_a_replaced_operator_is_used(layer, x, monkeypatch, name):
    """A patched operator of Value turns fusing off: the plain loop calls it."""
    calls = []
    original = getattr(Value, name)
    monkeypatch.setattr(Value, name, lambda self, other: (calls.append(1), original(self, other))[1])
    out = layer.neurons[0](x if "r" not in name[2] else [2.0] * 4)

    assert not is_fused(out)
    assert bool(calls) == (name in ("__mul__", "__add__"))


def test_a_replaced_activation_is_used(layer, x, monkeypatch):
    """A patched activation method is called on the fused node."""
    monkeypatch.setattr(Value, "tanh", lambda self: self * 0.0 + 42.0)

    assert [42.0] * 3 == [out.data for out in layer(x)]


def test_a_replaced_call_of_neuron_is_used(layer, x, monkeypatch):
    """A patched Neuron.__call__ is what the layer calls."""
    monkeypatch.setattr(nn.Neuron, "__call__", lambda self, x: len(x))

    assert [4, 4, 4] == layer(x)


def test_a_subclass_of_neuron_is_called(layer, x):
    """One neuron of another class in a layer turns the whole layer to calling its neurons."""

    class Loud(nn.Neuron):
        def __call__(self, x):
            return "loud"

    layer.neurons[1] = Loud(4)
    outs = layer(x)

    assert "loud" == outs[1]
    assert plain(layer.neurons[0], x).data == outs[0].data


def test_values_of_a_subclass_are_not_fused(layer, x):
    """A weight or an input of a subclass, whose operators may differ, goes through the operators."""

    class Times100(Value):
        def __mul__(self, other):
            return Value(100.0)

    layer.neurons[0].w[2] = Times100(0.0)
    assert not is_fused(layer(x)[0])
    assert layer.neurons[0](x).data == plain(layer.neurons[0], x).data

    x[1] = Times100(1.0)
    assert not is_fused(layer(x)[1])


def test_weights_of_another_engine(layer):
    """A network whose weights are Values of the reference runs on the reference."""
    for n in layer.neurons:
        n.w, n.b = [reference.Value(w.data) for w in n.w], reference.Value(n.b.data)
    out = layer([1.0, 2.0, 3.0, 4.0])[0]

    assert type(out) is reference.Value


def test_a_replaced_weight_counts(layer, x):
    """`neuron.w[3] = Value(0)` takes effect at the next call."""
    layer.neurons[0].w[3] = Value(0)
    out = layer(x)[0]

    assert is_fused(out)
    assert plain(layer.neurons[0], x).data == out.data


def test_a_shared_weight_gets_both_gradients(x):
    """A Value that is two weights gets the sum of their gradients."""
    n = nn.Neuron(2, nonlin=False)
    n.w[1] = n.w[0]
    n([3.0, 4.0]).backward()

    assert 7.0 == n.w[0].grad


def test_neurons_show_the_same_input_also_when_one_is_gone():
    """What is written on an input that one neuron shows is there on the input that its neighbour shows."""
    outs = nn.Layer(2, 2, nonlin=False)([3.0, 4.0])
    outs[0].note = outs[1].note = "kept"
    next(v for v in outs[0]._prev if v.data == 3.0).note = "input"
    del outs[0]

    assert ["input"] == [v.note for v in outs[0]._prev if v.data == 3.0]


def test_a_closure_sweeps_a_neighbour_with_the_same_inputs():
    """While one neuron's sweep runs, a closure may sweep another of the layer: only their inputs are the same."""
    x = [Value(3.0), Value(4.0)]
    one, other = nn.Layer(2, 2, nonlin=False)(x)
    root = one * 2.0
    root._backward = lambda: (other.backward(), setattr(one, "grad", one.grad + 2.0))
    root.backward()

    assert [1.0, 2.0] == [other.grad, one.grad]


@pytest.mark.parametrize("x", [[1.0], [1.0] * 5, []])
def test_a_wrong_length_is_refused(layer, x):
    """An input of the wrong length is a ValueError with both lengths, and leaves nothing behind."""
    before = engine.live_nodes()
    with pytest.raises(ValueError, match=f"4 inputs, and the input has length {len(x)}"):
        layer(x)

    assert before == engine.live_nodes()


@pytest.mark.parametrize("bad", [None, "1", 1j, [1.0]])
def test_an_input_that_is_no_number_is_refused(layer, bad):
    """What no operator takes as an operand, no layer takes as an input."""
    with pytest.raises(TypeError):
        layer([1.0, 2.0, 3.0, bad])


def test_an_iterator_is_an_input(layer):
    """A generator is read once, for all neurons."""
    row = [1.0, 2.0, 3.0, 4.0]

    assert [out.data for out in layer(row)] == [out.data for out in layer(v for v in row)]
