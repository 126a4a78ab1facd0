"""pygrad.nn against micrograd's, and what it has beyond: activations, names of parameters, states to save and load."""

import copy
import math
import pickle
import random

import pytest

from pygrad import nn, reference
from pygrad.nn import MLP, Layer, Module, Neuron, Value

pytestmark = pytest.mark.wheel

X = [0.5, -1.25, 2.0]


def seeded(make, *args, **kwargs):
    """Make a module after seeding Python's generator."""
    random.seed(1337)
    return make(*args, **kwargs)


class Polynomial(Module):
    """A module of the user's own, which holds Values in every way a module may."""

    def __init__(self):
        self.name = "polynomial"
        self.bias = Value(1.0)
        self.matrix = [[Value(2.0), Value(3.0)], [Value(4.0), Value(5.0)]]
        self.ragged = [[Value(6.0)], [Value(7.0), Value(8.0)]]
        self.pair = (Value(9.0), Value(10.0))
        self.table = {"a": Value(11.0), "inner": seeded(Neuron, 1)}
        self.tied = self.bias
        self.result = self.bias * 2
        self.parent = self
        self.nothing = []


# --- as micrograd -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, args", [("Neuron", (3,)), ("Layer", (3, 4)), ("MLP", (3, [4, 4, 1]))])
def test_same_seed_gives_micrograds_weights_repr_and_output(name, args):
    """The same seed gives the weights, the repr and the output of micrograd, to the bit."""
    micrograd = pytest.importorskip("micrograd.nn")
    theirs, ours = seeded(getattr(micrograd, name), *args), seeded(getattr(nn, name), *args)

    assert [p.data for p in theirs.parameters()] == [p.data for p in ours.parameters()]
    assert repr(theirs) == repr(ours)
    out, expected = ours(X), theirs(X)
    if isinstance(expected, list):
        assert [v.data for v in expected] == [v.data for v in out]
    else:
        assert expected.data == out.data


def test_same_gradients_as_micrograd():
    """A backward pass through an MLP gives micrograd's gradients."""
    micrograd = pytest.importorskip("micrograd.nn")
    theirs, ours = seeded(micrograd.MLP, 3, [4, 4, 1]), seeded(MLP, 3, [4, 4, 1])
    theirs(X).backward()
    ours(X).backward()

    expected = [p.grad for p in theirs.parameters()]
    assert any(expected)
    assert expected == pytest.approx([p.grad for p in ours.parameters()], rel=1e-13, abs=1e-15)


def test_layer_passes_keywords_on():
    """Layer gives its keywords to its neurons, as micrograd's."""
    assert "Layer of [LinearNeuron(2), LinearNeuron(2)]" == repr(Layer(2, 2, nonlin=False))


def test_zero_grad_clears_every_gradient():
    """zero_grad() sets the gradient of every parameter to 0."""
    mlp = seeded(MLP, 3, [4, 1])
    mlp(X).backward()
    assert any(p.grad for p in mlp.parameters())
    mlp.zero_grad()

    assert [0.0] * 21 == [p.grad for p in mlp.parameters()]


def test_a_subclass_may_set_only_what_micrograds_neuron_has():
    """A subclass with an __init__ of its own, after micrograd's attributes, is a ReLU neuron as there."""

    class Mine(Neuron):
        def __init__(self):
            self.w, self.b, self.nonlin = [Value(-2.0)], Value(1.0), True

    assert 0.0 == Mine()([1.0]).data
    assert "ReLUNeuron(1)" == repr(Mine())


def test_mlp_takes_a_replaced_neuron_class(monkeypatch):
    """A neuron class with micrograd's signature can stand in for Neuron."""

    class Mine(Neuron):
        def __init__(self, nin, nonlin=True):
            super().__init__(nin, nonlin)

    monkeypatch.setattr(nn, "Neuron", Mine)

    assert {Mine} == {type(n) for layer in MLP(2, [2, 1]).layers for n in layer.neurons}


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_inputs_may_be_numbers_values_and_numpy_rows():
    """Numbers, Values, a NumPy row and an iterator give the same output."""
    numpy = pytest.importorskip("numpy")
    mlp = seeded(MLP, 3, [4, 1])
    expected = mlp(X).data

    assert expected == mlp([Value(x) for x in X]).data
    assert expected == mlp(tuple(X)).data
    assert expected == mlp(numpy.array(X)).data
    assert expected == Layer.__call__(mlp.layers[1], mlp.layers[0](X)).data
    assert seeded(Neuron, 3)(X).data == seeded(Neuron, 3)(iter(X)).data


def test_gradients_reach_the_inputs():
    """An input Value gets its gradient: the weight, in a linear neuron."""
    neuron, x = Neuron(2, nonlin=False), [Value(3.0), Value(4.0)]
    neuron(x).backward()

    assert [w.data for w in neuron.w] == [v.grad for v in x]
    assert [3.0, 4.0] == [w.grad for w in neuron.w]


def test_a_bottleneck_of_one_neuron_works():
    """The lone Value that a layer of one neuron gives is a row of one for the next layer."""
    mlp = MLP(2, [1, 2], activation=None)
    hidden = mlp.layers[0]([1.0, 2.0])
    neuron = mlp.layers[1].neurons[1]

    assert neuron.w[0].data * hidden.data == mlp([1.0, 2.0])[1].data


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0, 3.0]])
def test_wrong_input_length_names_both_lengths(x):
    """An input of the wrong length is refused, with both lengths in the message."""
    with pytest.raises(ValueError, match=f"takes 2 inputs, and the input has length {len(x)}"):
        Neuron(2)(x)
    with pytest.raises(ValueError, match="length"):
        MLP(2, [2, 1])(x)


def test_modules_work_on_the_reference_engine(monkeypatch):
    """With the reference's Value in place, the same network gives the same output and state."""
    expected = seeded(MLP, 3, [4, 1])
    monkeypatch.setattr(nn, "Value", reference.Value)
    mlp = seeded(MLP, 3, [4, 1])

    assert expected(X).data == mlp([reference.Value(x) for x in X]).data
    assert expected.state_dict() == mlp.state_dict()
    assert 21 == len(Module.parameters(mlp))


# --- activations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "exp", "sin", "cos", "abs"])
def test_activation_is_the_method_of_that_name(name):
    """A neuron applies the method of Value that `activation` names."""
    neuron = seeded(Neuron, 3, activation=name)
    linear = seeded(Neuron, 3, activation=None)

    assert getattr(linear(X), name)().data == neuron(X).data


def test_activations_are_in_the_repr():
    """The repr names the activation; none is Linear."""
    names = ["relu", "tanh", "sigmoid", "linear", None]

    assert ["ReLUNeuron(2)", "TanhNeuron(2)", "SigmoidNeuron(2)", "LinearNeuron(2)", "LinearNeuron(2)"] == [
        repr(Neuron(2, activation=name)) for name in names
    ]
    assert "LinearNeuron(2)" == repr(Neuron(2, nonlin=False, activation="tanh"))


def test_mlp_activation_leaves_out_the_last_layer():
    """In an MLP the activation is that of all layers but the last, whose own is output_activation."""
    hidden = "Layer of [TanhNeuron(2)], Layer of [TanhNeuron(1)], "

    assert f"MLP of [{hidden}Layer of [LinearNeuron(1)]]" == repr(MLP(2, [1, 1, 1], activation="tanh"))
    assert f"MLP of [{hidden}Layer of [SigmoidNeuron(1)]]" == repr(
        MLP(2, (1, 1, 1), activation="tanh", output_activation="sigmoid")
    )


def test_the_lectures_network():
    """MLP(3, [4, 4, 1]) with tanh everywhere computes what the lecture's loops do."""
    mlp = seeded(MLP, 3, [4, 4, 1], activation="tanh", output_activation="tanh")
    x = X
    for layer in mlp.layers:
        x = [math.tanh(sum((w.data * xi for w, xi in zip(n.w, x, strict=True)), n.b.data)) for n in layer.neurons]

    assert x[0] == pytest.approx(mlp(X).data, rel=1e-15)


@pytest.mark.parametrize("name", ["foo", "backward", "data", "__add__", "_op", "", "maximum", 3])
def test_unknown_activation_lists_the_known(name):
    """What names no activation is refused before a weight is drawn, and the known ones are listed."""
    random.seed(5)
    before = random.getstate()
    with pytest.raises(ValueError, match=f"unknown activation {name!r}; known are linear, .*relu, .*tanh"):
        Neuron(2, activation=name)

    assert before == random.getstate()


def test_a_method_added_to_value_is_an_activation(monkeypatch):
    """A method added to Value from outside can be named as activation."""
    monkeypatch.setattr(Value, "double", lambda self: self * 2, raising=False)

    assert 2 * seeded(Neuron, 3, activation=None)(X).data == seeded(Neuron, 3, activation="double")(X).data


# --- walking a module -------------------------------------------------------------------------------------------------


def test_parameters_are_found_wherever_they_are_held():
    """parameters() walks attributes, lists, tuples, dicts and Modules in order, and gives each leaf once."""
    module = Polynomial()
    inner = module.table["inner"]

    assert [float(i) for i in range(1, 12)] + [inner.w[0].data, 0.0] == [p.data for p in module.parameters()]
    assert 13 == module.num_parameters()


def test_parameters_walk_agrees_with_the_written_out_ones():
    """Module.parameters, the walk, finds in an MLP what its own parameters() lists."""
    mlp = seeded(MLP, 3, [4, 4, 1])

    assert mlp.parameters() == Module.parameters(mlp)
    assert 41 == mlp.num_parameters()


def test_named_parameters_say_where():
    """The names are the path of attributes, indices and keys."""
    names = [name for name, _ in Polynomial().named_parameters()]

    assert ["bias", "matrix.0.0", "matrix.0.1", "matrix.1.0", "matrix.1.1", "ragged.0.0", "ragged.1.0"] == names[:7]
    assert ["ragged.1.1", "pair.0", "pair.1", "table.a", "table.inner.w.0", "table.inner.b"] == names[7:]


def test_numpy_arrays_of_values_are_parameters():
    """A NumPy array of Values is walked as a nested list; one of numbers is not a parameter."""
    numpy = pytest.importorskip("numpy")
    module = Module()
    module.w = numpy.array([[Value(1.0), Value(2.0)]])
    module.table = numpy.ones(3)

    assert {"w": [[1.0, 2.0]]} == module.state_dict()
    assert 2 == module.num_parameters()


def test_an_empty_module_has_no_parameters():
    """A Module without Values has no parameters, as micrograd's base class."""
    assert [] == Module().parameters()
    assert {} == Module().state_dict()


# --- state_dict -------------------------------------------------------------------------------------------------------


def test_state_dict_has_one_entry_an_attribute():
    """A state holds floats and nested lists, one entry an attribute that holds Values, and only plain floats."""
    state = Polynomial().state_dict()

    assert ["bias", "matrix", "ragged.0", "ragged.1", "pair", "table.a"] == list(state)[:6]
    assert ["table.inner.w", "table.inner.b", "tied"] == list(state)[6:]
    assert [[2.0, 3.0], [4.0, 5.0]] == state["matrix"]
    assert [9.0, 10.0] == state["pair"]
    assert float is type(state["bias"])


def test_mlp_state_names():
    """An MLP's entries are named after its layers and neurons."""
    state = MLP(2, [2, 1]).state_dict()

    assert ["layers.0.neurons.0.w", "layers.0.neurons.0.b", "layers.0.neurons.1.w"] == list(state)[:3]
    assert 2 == len(state["layers.0.neurons.1.w"])


@pytest.mark.parametrize("make", [Polynomial, lambda: MLP(3, [4, 2])])
def test_state_round_trip(make):
    """Loading a state gives the numbers back to the bit, nan, inf and -0.0 included."""
    module, other = make(), make()
    for i, p in enumerate(module.parameters()):
        p.data = [math.nan, math.inf, -math.inf, -0.0, 0.1, 5e-324][i % 6]
    missing_unexpected = other.load_state_dict(module.state_dict())

    assert ([], []) == missing_unexpected
    assert repr(module.state_dict()) == repr(other.state_dict())


def test_a_state_of_numpy_arrays_loads():
    """An entry may be a NumPy array or scalar of the right shape."""
    numpy = pytest.importorskip("numpy")
    neuron = Neuron(2)
    neuron.load_state_dict({"w": numpy.array([1.5, 2.5]), "b": numpy.float64(3.5)})

    assert {"w": [1.5, 2.5], "b": 3.5} == neuron.state_dict()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"w": None}, "w must be a list of 2, not NoneType"),
        ({"w": [1.0]}, "w must have length 2, not 1"),
        ({"w": 1.0}, "w must be a list of 2, not float"),
        ({"w": [1.0, "2"]}, "w.1 must be a real number, not str '2'"),
        ({"w": [1.0, [2.0]]}, "w.1 must be a real number, not list"),
        ({"b": [1.0]}, "b must be a real number, not list"),
        ({"b": 10**400}, "too large"),
        ({"c": 1.0}, "c is unexpected"),
    ],
)
def test_a_wrong_state_changes_nothing(change, message):
    """A state that does not fit is refused with what is wrong, and nothing is written."""
    neuron = Neuron(2)
    before = neuron.state_dict()
    with pytest.raises(ValueError, match=message):
        neuron.load_state_dict({"w": [7.0, 8.0], "b": 9.0} | change)

    assert before == neuron.state_dict()


def test_all_that_is_wrong_is_listed_at_once():
    """The error names every missing, unexpected and ill-fitting entry."""
    with pytest.raises(ValueError, match="fit the Neuron: b is missing; c is unexpected; w must have length 2, not 1"):
        Neuron(2).load_state_dict({"c": 1.0, "w": [1.0]})


def test_not_strict_loads_what_is_there():
    """Without strict, missing and unexpected names are returned; wrong lengths are an error still."""
    neuron = Neuron(2)

    assert (["b"], ["c"]) == neuron.load_state_dict({"w": [1.0, 2.0], "c": 3.0}, strict=False)
    assert [1.0, 2.0] == neuron.state_dict()["w"]
    with pytest.raises(ValueError, match="length"):
        neuron.load_state_dict({"w": [1.0]}, strict=False)


@pytest.mark.parametrize("state", [None, [], "w"])
def test_a_state_must_be_a_dict(state):
    """What is no dict is a TypeError that says so."""
    with pytest.raises(TypeError, match="a state must be a dict"):
        Neuron(2).load_state_dict(state)


def test_models_can_be_copied_and_pickled():
    """A deep copy and an unpickled model have the same numbers, and parameters of their own."""
    mlp = MLP(3, [4, 1], activation="tanh")
    for other in copy.deepcopy(mlp), pickle.loads(pickle.dumps(mlp)):
        assert mlp(X).data == other(X).data
        assert not set(mlp.parameters()) & set(other.parameters())


# --- words that help --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: MLP(2, 3), TypeError, r"nouts must be a list.*MLP\(2, \[3\]\)"),
        (lambda: MLP(2, None), TypeError, r"nouts must be a list.*MLP\(2, \[4, 1\]\)"),
        (lambda: MLP(2, "41"), TypeError, "nouts must be a list"),
        (lambda: MLP(2, {4: 1}), TypeError, "nouts must be a list"),
        (lambda: MLP(2, 4, 1), TypeError, r"in one list, as in MLP\(2, \[4, 1\]\)"),
        (lambda: MLP(2, [4, 1], "tanh"), TypeError, "activation='tanh'"),
        (lambda: MLP(2, [4, 1], "tanh", "relu"), TypeError, "activation='tanh'"),
        (lambda: MLP(2, [4, 1], None), TypeError, "given by name"),
        (lambda: Layer(2, 3, "tanh"), TypeError, "activation='tanh'"),
        (lambda: Neuron(2, "tanh"), TypeError, "activation='tanh'"),
        (lambda: Neuron(2, nonlin="tanh"), TypeError, "activation='tanh'"),
        (lambda: MLP(2, [4.0, 1]), TypeError, "nout, .*whole number, not float"),
        (lambda: MLP(2, [4, [1]]), TypeError, "nout, .*whole number, not list"),
        (lambda: MLP([2], [4, 1]), TypeError, "nin, .*whole number, not list"),
        (lambda: Neuron(2.5), TypeError, "nin, .*whole number, not float"),
        (lambda: MLP(-2, [1]), ValueError, "nin, .*at least 0, not -2"),
        (lambda: MLP(2, [-1]), ValueError, "nout, .*at least 0, not -1"),
    ],
)
def test_a_network_of_wrong_sizes_says_what_to_write(make, error, words):
    """Nothing is made, and an activation in the place of another argument is not taken for `nonlin`."""
    state = random.getstate()
    with pytest.raises(error, match=words):
        make()
    if error is TypeError and "nout, " not in words:
        assert state == random.getstate()


def test_sizes_may_be_any_whole_numbers():
    """A tuple or an array of them, NumPy's integers; a layer without inputs has its biases."""
    np = pytest.importorskip("numpy")
    for nouts in ((4, 1), np.array([4, 1]), [np.int64(4), True], iter([4, 1]), range(4, 0, -3)):
        assert repr(MLP(2, [4, 1])) == repr(MLP(np.int32(2), nouts))
    assert 0.0 == MLP(0, [1])([]).data


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("kind", ["lists", "tuples", "a tuple", "Values", "an array", "arrays", "floats, then a list"])
@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_several_samples_at_once_say_how_to_call(rows, kind, activation):
    """A batch in any form, though its length may be that of a sample; a neuron and a layer say so too."""
    np = pytest.importorskip("numpy")
    array = np.ones((rows, 2))
    X = {
        "lists": array.tolist(),
        "tuples": [tuple(row) for row in array.tolist()],
        "a tuple": tuple(array.tolist()),
        "Values": [[Value(x) for x in row] for row in array.tolist()],
        "an array": array,
        "arrays": list(array),
        "floats, then a list": [1.0] * (rows - 1) + [[1.0, 2.0]],
    }[kind]
    model = MLP(2, [3, 1], activation=activation)
    for part in (model, model.layers[0], model.layers[0].neurons[0]):
        with pytest.raises(TypeError, match=r"one sample.*\[model\(x\) for x in X\].*pygrad\.compile\(model\)"):
            part(X)
