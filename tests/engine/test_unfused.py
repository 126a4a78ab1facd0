"""Networks that are not fused (pygrad.nn.fuse(False)): micrograd's own graph, node for node, with the fused bits."""

import copy
import functools
import random
import threading
from collections import Counter

import pytest

import pygrad
from pygrad import engine, nn, viz
from pygrad.engine import Value


@pytest.fixture(autouse=True)
def unfused():
    """Build networks of multiplies and adds; each test runs so."""
    nn.fuse(False)
    yield
    nn.fuse(True)


def plain(neuron, x):
    """What micrograd's neuron computes, by operators of pygrad's."""
    act = sum((wi * xi for wi, xi in zip(neuron.w, x)), neuron.b)
    return getattr(act, neuron.activation)() if neuron.nonlin else act


def ordered(root):
    """The nodes below a root, operands first: micrograd's own topological sort, without its recursion."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        v, is_done = stack.pop()
        if is_done:
            order.append(v)
        elif v not in seen:
            seen.add(v)
            stack += [(v, True), *((child, False) for child in v._prev)]
    return order


KNOWN = {}  # what can be told of a node -> a number: equal graphs have equal numbers


def drawn(root, names):
    """What a program that looks can tell of a graph: of each node its op, numbers, name and operands, in any order."""
    made = {}
    for v in ordered(root):
        operands = tuple(sorted(made[child] for child in v._prev))
        node = (v._op, v.data, v.grad, names.get(v, ""), operands)
        made[v] = KNOWN.setdefault(node, len(KNOWN))
    return made[root], Counter(made.values())


def names_of(model, x):
    return {v: f"p{i}" for i, v in enumerate(model.parameters())} | {v: f"x{i}" for i, v in enumerate(x)}


def of_many(outs):
    return outs if isinstance(outs, list) else [outs]


def cleared(model, x):
    for v in (*model.parameters(), *x):
        v.grad = 0.0


def layer_of(kind, nin=4, nout=3):
    random.seed(7)
    return nn.Layer(nin, nout, **kind)


KINDS = [{}, {"nonlin": False}, {"activation": "tanh"}, {"activation": "abs"}, {"activation": "leaky_relu"}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("nin", [1, 3, 70])
def test_a_layer_is_the_graph_of_its_operators(kind, nin):
    """The graph, its data and all its gradients are those of `sum(wi * xi)`, also after a second backward()."""
    layer, x = layer_of(kind, nin), [Value(random.gauss(0, 1)) for _ in range(nin)]
    results = []
    for build in (layer, lambda x: [plain(n, x) for n in layer.neurons]):
        cleared(layer, x)
        total = sum(of_many(build(x)))
        total.backward()
        total.backward()
        results.append([drawn(total, names_of(layer, x)), [v.grad for v in (*layer.parameters(), *x)]])

    assert results[0] == results[1]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_are_the_fused_ones(kind):
    """Data and gradients have the bits of the fused layer's."""
    layer, x = layer_of(kind), [Value(v) for v in (0.3, -1.7, 2.2, -0.0)]
    results = []
    for on in (True, False):
        nn.fuse(on)
        cleared(layer, x)
        outs = layer(x)
        sum(out * out for out in outs).backward()
        results.append([repr(n) for v in (*outs, *layer.parameters(), *x) for n in (v.data, v.grad)])

    assert results[0] == results[1]


def test_the_graph_of_real_micrograd():
    """A network of micrograd 0.1.0 itself has as many nodes of each op, its edges and data; gradients to rounding."""
    theirs = pytest.importorskip("micrograd.nn")
    if theirs is nn:
        pytest.skip("micrograd is pygrad here")
    from micrograd.engine import Value as TheirValue

    results = []
    for module, make in ((theirs, TheirValue), (nn, Value)):
        random.seed(3)
        model, x = module.MLP(3, [4, 4, 1]), [make(v) for v in (2.0, 3.0, -1.0)]
        out = model(x) + model([0.5, 1, True])
        out.backward()
        nodes = ordered(out)
        edges = Counter((child._op, child.data, v._op, v.data) for v in nodes for child in v._prev)
        results.append((Counter((v._op, v.data) for v in nodes), edges, [v.grad for v in nodes]))
        results[-1] += ([p.grad for p in model.parameters()],)

    assert results[0][:2] == results[1][:2]
    assert sorted(results[0][2]) == pytest.approx(sorted(results[1][2]), rel=1e-12)
    assert results[0][3] == pytest.approx(results[1][3], rel=1e-12)


def test_each_neuron_has_its_own_leaves_for_numbers():
    """As `wi * 2.0` makes a leaf each time: but a Value stays one operand of all neurons."""
    layer = layer_of({"nonlin": False}, 3, 2)
    outs = layer([2.0, Value(3.0), True])
    leaves = [{v for v in ordered(out) if not v._op and v not in layer.parameters()} for out in outs]

    assert [3, 3] == [len(one) for one in leaves]
    assert [3.0] == [v.data for v in leaves[0] & leaves[1]]
    assert sorted(v.data for v in leaves[1]) == [1.0, 2.0, 3.0]


def test_an_input_that_was_a_number_once_is_shared():
    """The leaf of a number that a program has found through `_prev` is an input like any other Value."""
    product = Value(1.0) * 2.5
    number = next(v for v in product._prev if v.data == 2.5)
    layer = layer_of({"nonlin": False}, 1, 2)
    for out in layer([number]):
        assert number in ordered(out)
        out.backward()

    assert number.grad == pytest.approx(sum(n.w[0].data for n in layer.neurons))


def test_what_a_program_finds_stays():
    """The nodes below a neuron are the same objects each time, and keep the attributes they get."""
    out = layer_of({}, 3, 1)([Value(v) for v in (1.0, 2.0, 3.0)])
    first = ordered(out)
    for i, v in enumerate(first):
        v.note = i

    again = set(ordered(out))
    assert set(first) == again
    assert {v.note for v in again} == set(range(len(first)))
    assert all(any(v is w for w in again) for v in first)
    assert Counter({"": 7, "*": 3, "+": 3, "ReLU": 1}) == Counter(v._op for v in first)


def test_attributes_of_weights_stay():
    """A label on a weight, before or after the graph is built, is found in the graph."""
    layer = layer_of({}, 2, 2)
    layer.neurons[0].w[0].label = "before"
    outs = layer([Value(1.0), Value(2.0)])
    layer.neurons[1].w[0].label = "after"

    assert "before" in [v.label for v in ordered(outs[0])]
    assert "after" in [v.label for v in ordered(outs[1])]
    assert [6, 6] == [sum(v._op in "*+" and v._op != "" for v in ordered(out)) + 2 for out in outs]


def test_backward_by_hand():
    """micrograd's own backward(), written by the user: its sort, and each node's `_backward()`."""
    layer, x = layer_of({"activation": "tanh"}), [Value(v) for v in (0.3, -1.7, 2.2, 0.9)]
    outs = layer(x)
    sum(outs).backward()
    expected = [v.grad for v in (*layer.parameters(), *x)]
    cleared(layer, x)
    total = sum(layer(x))
    total.grad = 1.0
    for v in reversed(ordered(total)):
        v._backward()

    assert [v.grad for v in (*layer.parameters(), *x)] == pytest.approx(expected, rel=1e-14)


def test_a_closure_below_a_neuron_runs():
    """A `_backward` assigned to an inner sum of a neuron is called, and its own operands get what it gives."""
    w = nn.Neuron(2, nonlin=False)
    out = w([1.0, 2.0])
    (inner,) = (v for v in out._prev if v._op == "+")
    calls = []
    inner._backward = lambda: calls.append(inner.grad)
    out.backward()

    assert [1.0] == calls
    assert (2.0, 0.0, 0.0) == (w.w[1].grad, w.w[0].grad, w.b.grad)


def test_inner_nodes_end_with_the_graph():
    """No node stays when the outputs go, looked at or not."""
    layer, x = layer_of({}), [Value(1.0)] * 4
    before = engine.live_nodes()
    for look in (False, True):
        outs = layer(x)
        assert engine.live_nodes() == before + 3 * (2 * 4 + 1)
        if look:
            [ordered(out) for out in outs]
        del outs
        assert engine.live_nodes() == before


def test_a_neuron_and_layers_of_the_users():
    """A neuron alone, a subclass of Neuron, and a user's Layer over pygrad's Neuron have micrograd's graph too."""

    class Mine(nn.Neuron):
        """A subclass that changes nothing."""

    class MyLayer(nn.Module):
        def __init__(self, nin, nout):
            self.neurons = [Mine(nin) for _ in range(nout)]

        def __call__(self, x):
            return [n(x) for n in self.neurons]

    x = [Value(1.0), Value(-2.0)]
    for out, n in [(n(x), n) for n in (nn.Neuron(2), Mine(2))]:
        assert drawn(plain(n, x), {}) == drawn(out, {})
    layer = MyLayer(2, 2)
    assert [drawn(plain(n, x), {}) for n in layer.neurons] == [drawn(out, {}) for out in layer(x)]


def test_a_neuron_without_inputs_is_its_bias():
    """`sum` of nothing from b is b itself, as in micrograd."""
    n = nn.Neuron(0, nonlin=False)

    assert n([]) is n.b
    assert {n.b} == nn.Neuron.__call__(n, [])._prev | {n.b}


def test_replaced_operators_and_values_of_a_subclass_are_used(monkeypatch):
    """As where networks are fused: what a program has changed is what runs."""

    class Times100(Value):
        def __mul__(self, other):
            return Value(100.0)

    layer = layer_of({"nonlin": False}, 2, 2)
    layer.neurons[0].w[1] = Times100(0.0)
    assert layer([0.0, 0.0])[0].data == 100.0

    calls, original = [], Value.__mul__
    monkeypatch.setattr(Value, "__mul__", lambda self, other: (calls.append(1), original(self, other))[1])
    layer_of({}, 2, 2)([1.0, 2.0])
    assert 4 == len(calls)


@pytest.mark.parametrize("x", [[1.0], [1.0] * 5, []])
def test_a_wrong_length_is_refused(x):
    """As where networks are fused, and nothing stays behind."""
    layer = layer_of({})
    before = engine.live_nodes()
    with pytest.raises(ValueError, match="takes 4 inputs, and the input has length"):
        layer(x)

    assert before == engine.live_nodes()


@pytest.mark.parametrize("bad", [None, "1", 1j, [1.0]])
def test_an_input_that_is_no_number_is_refused(bad):
    """What no operator takes as an operand, no layer takes as an input."""
    layer = layer_of({})
    before = engine.live_nodes()
    with pytest.raises(TypeError):
        layer([1.0, 2.0, 3.0, bad])

    assert before == engine.live_nodes()


def test_no_grad_gives_leaves():
    """Within no_grad() the outputs are leaves; within enable_grad() in it, graphs again."""
    layer, x = layer_of({}), [1.0, -2.0, 3.0, 0.5]
    with pygrad.no_grad():
        outs = layer(x)
        with pygrad.enable_grad():
            inner = layer(x)

    assert [set()] * 3 == [out._prev for out in outs]
    assert [out.data for out in layer(x)] == [out.data for out in outs] == [out.data for out in inner]
    assert ["ReLU"] * 3 == [out._op for out in inner]
    assert {"", "*", "+", "ReLU"} == {v._op for v in ordered(inner[0])}


def test_checkpoint_has_the_gradients():
    """A network within a checkpoint has the bits of one without."""
    model, x = nn.MLP(2, [3, 1]), [Value(0.5), Value(-1.5)]
    results = []
    for call in (model, pygrad.checkpoint(model)):
        cleared(model, x)
        call(x).backward()
        results.append([v.grad for v in (*model.parameters(), *x)])

    assert results[0] == results[1]


def test_detect_anomaly_names_the_multiply():
    """Within detect_anomaly() each node is checked: the product that overflows is the one that is named."""
    n = nn.Neuron(2)
    n.w[1].data = 1e300  # and 1e300 * 1e300 is inf
    with pygrad.detect_anomaly(), pytest.raises(FloatingPointError, match=r"'\*'"):
        n([1.0, 1e300])


def test_functions_are_recorded_and_transformed_fused():
    """A compiled or transformed function has its dots, and the numbers that an eager call has."""
    model, x = nn.MLP(2, [3, 1]), [0.5, -1.5]
    compiled = pygrad.compile(model)
    seen = []

    def function(x):
        out = model(x)
        seen.append(out._op)
        return out

    assert list(compiled([x])) == [model(x).data]
    assert 4 == str(compiled.tape).count("dot(")
    pygrad.gradient(function)(x)
    pygrad.compile(function)([x])
    assert ["dot", "dot"] == seen
    assert "+" == function(x)._op


def test_derivatives_as_values():
    """grad() of a gradient goes through the multiplies and adds, and a copy of the model has the numbers too."""
    model, x = nn.MLP(2, [3, 1], activation="tanh"), [Value(0.5), Value(-1.5)]
    results = []
    for on in (True, False):
        nn.fuse(on)
        (dx,) = pygrad.grad(model(x), [x[0]], create_graph=True)
        results.append([dx.data, *pygrad.grad(dx, x)])
        results.append([dx.data, *pygrad.grad(copy.deepcopy(model)(x), x)])

    assert results[0] == pytest.approx(results[2], rel=1e-12)
    assert results[1][1:] == pytest.approx(results[3][1:], rel=1e-12)


@pytest.mark.threads
def test_threads_build_and_look():
    """Threads that build, look, sweep and drop graphs of one model do not disturb one another."""
    layer, failures = layer_of({}, 8, 4), []

    def work():
        try:
            for _ in range(30):
                outs = layer([Value(1.0) for _ in range(8)])
                assert 4 * 17 + 44 == len({v for out in outs for v in ordered(out)})
                sum(outs).backward()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    engine.check_arena()

    assert not failures


@pytest.mark.threads
def test_two_threads_open_one_graph():
    """Threads that look into one neuron at once find the same objects."""
    for _ in range(20):
        out, found = layer_of({}, 16, 1)([1.0] * 16), []
        work = functools.partial(lambda out, found: found.append(ordered(out)), out, found)
        threads = [threading.Thread(target=work) for _ in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert set(found[0]) == set(found[1]) == set(found[2])


def test_pictures_are_those_of_micrograd():
    """draw_dot has a box for each multiply and each add."""
    out = nn.Neuron(2)([Value(1.0), Value(2.0)])
    source = viz.draw_dot(out).source

    assert [2, 2] == [source.count(f'label="{op}"') for op in "*+"]
    assert "dot" not in source.replace("digraph", "")


def test_the_setting():
    """fuse() takes a bool, and anything else changes nothing."""
    for bad in (None, 0, "no", 1.0):
        with pytest.raises(TypeError, match=r"fuse\(\) takes True or False"):
            nn.fuse(bad)

    assert "+" == nn.Neuron(1, nonlin=False)([1.0])._op
    nn.fuse(True)
    assert "dot" == nn.Neuron(1, nonlin=False)([1.0])._op
