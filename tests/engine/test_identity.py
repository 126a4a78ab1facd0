"""What a program can tell of Values it has dropped: identity, attributes, labels, weak references, garbage.

A graph keeps its Values alive, as micrograd's does: what hangs on an intermediate Value is there when `_prev` leads to
it again. An engine may drop the proxy of a Value on which nothing hangs; no test here can tell.
"""

import gc
import weakref

import pytest

import pygrad
from pygrad import reference, viz

pytestmark = [pytest.mark.large, pytest.mark.proxy]


class Thing:
    """Something that can be weakly referenced, and found by the garbage collector."""


@pytest.fixture
def custom_op(Value):
    return reference.custom_op if Value is reference.Value else pygrad.custom_op


def collected(thing_of):
    """True if the Thing that `thing_of()` returns is garbage once it has returned."""
    seen = weakref.ref(thing_of())
    gc.collect()
    return seen() is None


def only(values):
    """The one element of a set."""
    (value,) = values
    return value


def operand(root, *path):
    """Follow `_prev` by the data of the operands."""
    for data in path:
        root = only({v for v in root._prev if v.data == data})
    return root


@pytest.fixture
def graph(Value):
    """A function that makes root = (a * b).tanh() + 1.0 and returns a, a * b, its tanh and the root."""

    def make():
        a, b = Value(2.0), Value(0.25)
        product = a * b
        tanh = product.tanh()
        return a, product, tanh, tanh + 1.0

    return make


# --- identity ---------------------------------------------------------------------------------------------------------


def test_prev_gives_the_same_objects(graph):
    """Operands are the same objects each time, by `is` and by their id, whether the program had them or not."""
    *_, root = graph()
    (tanh,) = [v for v in root._prev if v._prev]
    ids = {id(v) for v in root._prev} | {id(v) for v in tanh._prev}

    assert tanh in root._prev
    assert ids == {id(v) for v in root._prev} | {id(v) for v in tanh._prev}


def test_prev_gives_what_the_program_has(graph):
    """An operand that the program holds is that very object."""
    a, product, tanh, root = graph()

    assert product is only(tanh._prev)
    assert tanh in root._prev
    assert a in product._prev


def test_a_walk_that_remembers_ids_ends(Value):
    """A walk down a graph that notes the ids of the Values it has seen, and not the Values, counts each once."""
    v = Value(1.0)
    for _ in range(50):
        v = v * v + 1.0

    def count(v, seen):
        if id(v) in seen:
            return 0
        seen.add(id(v))
        return 1 + sum(count(w, seen) for w in v._prev)

    assert 1 + 3 * 50 == count(v, set())


# --- what hangs on a Value --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["label", "note"])
@pytest.mark.parametrize("kept", ["text", 2.5, ("a", "tuple"), ["a list"]], ids=str)
@pytest.mark.parametrize("early", [True, False], ids=["before it is used", "after"])
def test_an_attribute_outlives_the_name(Value, name, kept, early):
    """An attribute of an intermediate that the program has dropped is there when `_prev` leads to it again."""
    a = Value(2.0)
    middle = a * 3.0
    if early:
        setattr(middle, name, kept)
    root = (middle + 1.0) * 2.0
    if not early:
        setattr(middle, name, kept)
    del middle

    assert kept == getattr(operand(root, 7.0, 6.0), name)
    root.backward()
    assert 6.0 == a.grad


def test_an_attribute_of_a_leaf_outlives_the_name(Value):
    """The label of a leaf that only a graph holds stays."""

    def build():
        x, w = Value(2.0, label="x"), Value(3.0)
        return (w * x).relu()

    assert "x" == operand(build(), 6.0, 2.0).label


@pytest.mark.parametrize("consumer", ["an attribute", "a subclass", "late __init__"])
def test_an_attribute_under_a_consumer_that_has_something_itself(Value, consumer):
    """A label that an operand gets after something was hung on its consumer outlives the name, too."""

    class Sub(Value):
        pass

    a = Value(2.0)
    if consumer == "late __init__":
        root = Value.__new__(Value)
        (a * 3.0 + 1.0).note = ["something"]
        root.__init__(6.0, (a,))
    else:
        root = Sub(6.0, (a,)) if consumer == "a subclass" else a * 3.0
    root.note = ["something"]
    a.label = "a"
    del a

    assert "a" == operand(root, 2.0).label


def test_a_closure_under_a_consumer_that_has_something_itself(Value):
    """A closure that an operand gets after something was hung on its consumer still runs."""
    x = Value(1.0)
    middle = Value(2.0, (x,))
    root = middle * 3.0
    root.note = ["something"]
    middle._backward = lambda: setattr(x, "grad", 7.0)
    del middle
    gc.collect()
    root.backward()

    assert 7.0 == x.grad


def test_attributes_given_while_garbage_is_collected(engine, Value):
    """A label that a garbage collection hangs on an operand, just as an op is made of it, outlives the name."""
    values = [Value(1.0), Value(2.0)]

    def label(phase, info):
        if values:
            values[0].label = "first"

    gc.callbacks.append(label)
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        total = engine.sum(values)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(label)
    labelled = "first" == values[0].label
    values.clear()

    assert labelled == ("first" == operand(total, 1.0).label)


def test_the_state_is_a_copy(Value):
    """What `__getstate__` gives is not the Value's own dict: writing to it makes no cycle."""
    v = Value(2.0, label="v")
    v.__getstate__()["self"] = v

    assert {"label": "v"} == vars(v)
    assert {"label": "v"} == v.__getstate__()


def test_attributes_through_dict(Value):
    """What is written into `__dict__` is an attribute like any other, also of a Value in use."""
    middle = Value(2.0) * 3.0
    root = middle + 1.0
    middle.__dict__["note"] = "here"
    del middle

    assert "here" == operand(root, 6.0).note
    assert {"note": "here"} == vars(operand(root, 6.0))


def test_attributes_of_an_operand_that_prev_has_shown(Value):
    """A Value that the program never had, a constant, keeps an attribute it is given."""
    root = Value(2.0) * 3.0
    operand(root, 3.0).note = "three"
    gc.collect()

    assert "three" == operand(root, 3.0).note


def test_a_constant_that_prev_has_shown_can_be_set(Value):
    """Writing the data of a constant changes the derivative."""
    a = Value(2.0)
    root = a * 3.0
    operand(root, 3.0).data = 5.0
    root.backward()

    assert 5.0 == a.grad


def test_operands_of_sums_and_dots_keep_attributes(engine, Value):
    """Also the operands of the n-ary ops."""
    a, b = Value(1.0, label="a"), Value(2.0)
    b.note = ["b"]
    total, dot = (
        engine.sum([a, b, 3.0], Value(4.0, label="start")),
        engine.dot([a, 5.0], [b, a], Value(6.0, label="bias")),
    )
    del a, b

    assert ["a", "", "", "start"] == [v.label for v in sorted(total._prev)]
    assert {"a", "bias", ""} == {v.label for v in dot._prev}
    assert ["b"] == operand(dot, 2.0).note


def test_the_value_of_a_custom_op_keeps_its_closure(Value):
    """A custom node that the program has dropped still runs its closure."""
    a = Value(2.0)

    def tripled():
        out = Value(3.0 * a.data, (a,), "triple")

        def backward():
            a.grad += 3.0 * out.grad

        out._backward = backward
        return out

    root = tripled() * 2.0
    gc.collect()
    root.backward()

    assert 6.0 == a.grad
    assert "triple" == operand(root, 6.0)._op


# --- weak references --------------------------------------------------------------------------------------------------


def test_a_weak_reference_lives_with_the_graph(Value):
    """A weak reference to an intermediate is alive as long as something computed from it is, and then no longer."""
    middle = Value(2.0) * 3.0
    seen, root = weakref.ref(middle), (middle + 1.0).tanh()
    del middle
    gc.collect()

    assert 6.0 == seen().data
    assert seen() in operand(root, 7.0)._prev
    del root
    gc.collect()
    assert seen() is None


def test_a_weak_reference_without_a_graph(Value):
    """A weak reference to a Value that nothing uses dies with it, and its callback runs once."""
    calls = []
    v = Value(2.0) * 3.0
    seen = weakref.ref(v, calls.append)
    del v

    assert seen() is None
    assert [seen] == calls


def test_a_weak_dictionary_of_intermediates(Value):
    """Values may be the keys of a WeakKeyDictionary, whose entries live as long as the graph."""
    notes = weakref.WeakKeyDictionary()
    v = Value(1.0)
    for i in range(20):
        v = v + 1.0
        notes[v] = i

    assert 20 == len(notes)
    assert 5 == notes[operand(v, *range(20, 6, -1))]
    del v
    gc.collect()
    assert 0 == len(notes)


# --- garbage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["before it is used", "after"])
def test_a_cycle_through_the_graph_is_garbage(Value, late):
    """An intermediate that refers to what was computed from it makes a cycle, which is collected."""

    def make():
        thing, middle = Thing(), Value(2.0) * 3.0
        if not late:
            middle.later = []
        root = (middle + 1.0).tanh() * 2.0
        if late:
            middle.later = []
        middle.later.append(root)
        middle.thing = thing
        return thing

    assert collected(make)


def test_a_cycle_through_a_leaf_is_garbage(Value):
    """A leaf with the losses of its past in a list is collected, losses and all."""

    def make():
        w = Value(2.0)
        w.thing, w.losses = Thing(), []
        for i in range(5):
            w.losses.append((w * float(i) - 1.0) ** 2)
        return w.thing

    assert collected(make)


def test_a_cycle_through_a_closure_is_garbage(Value):
    """The closure of a custom op that refers to its own result, and to a later one, is collected."""

    def make():
        a, thing = Value(2.0), Thing()
        out = Value(1.0, (a,), "custom")
        later = [out * 2.0]
        out._backward = lambda: (out, later, thing)
        return thing

    assert collected(make)


def test_a_cycle_through_a_subclass_is_garbage(Value):
    """Values of a subclass are collected like others."""

    class Named(Value):
        pass

    def make():
        v = Named(2.0)
        v.thing, v.later = Thing(), (v * 2.0 + 1.0).relu()
        return v.thing

    assert collected(make)


def test_a_cycle_between_two_graphs_is_garbage(Value):
    """Two graphs, each with an intermediate that refers to the other's root, are collected."""

    def make():
        a, b, thing = Value(2.0) * 3.0, Value(3.0) * 4.0, Thing()
        a.other, b.other = (b + 1.0).exp(), (a + 1.0).exp()
        a.thing = thing
        return thing

    assert collected(make)


def test_a_long_chain_of_values_with_attributes(Value):
    """A chain of 10^5 operations, each Value with an attribute, is freed without recursion."""
    v = Value(1.0)
    for i in range(100_000):
        v = v + 1.0
        v.step = [i]
    seen = weakref.ref(v)
    del v
    gc.collect()

    assert seen() is None


def test_a_long_chain_through_containers(Value):
    """A chain in which each Value hangs on the next one by a list in a dict is freed without recursion."""
    v = Value(1.0)
    for _ in range(100_000):
        w = Value(1.0)
        w.before = {"list": [v]}
        v = w
    seen = weakref.ref(v)
    del v, w

    assert seen() is None


def test_a_class_may_be_changed(Value):
    """A plain Value that is made one of a subclass, and back, works and is freed."""

    class Loud(Value):
        def shout(self):
            return f"{self.data}!"

    v = Value(2.0)
    root = v * 3.0
    v.__class__ = Loud

    assert "2.0!" == v.shout()
    v.__class__ = Value
    root.backward()
    assert 3.0 == v.grad


# --- a class with an == of its own ------------------------------------------------------------------------------------


@pytest.fixture
def Alike(Value):
    """A class of Values that are equal if their data is."""

    class Alike(Value):
        def __eq__(self, other):
            return self.data == other.data

        def __hash__(self):
            return hash(self.data)

    return Alike


@pytest.mark.filterwarnings("ignore:a set or dict")
def test_pygrad_tells_equal_values_apart(Alike, custom_op):
    """Optimizers, Modules, pictures, custom ops: a Value is one object, whatever its class says of equality."""
    a, b = Alike(2.0), Alike(2.0)
    assert [2] == [len(group["params"]) for group in pygrad.optim.SGD([a, b, a]).param_groups]
    optimizer = pygrad.optim.SGD([a])
    optimizer.add_param_group({"params": [b]})
    with pytest.raises(ValueError, match="in more than one parameter group"):
        optimizer.add_param_group({"params": [b]})

    class Pair(pygrad.Module):
        def __init__(self):
            self.both, self.again = [a, b], a

    assert ["both.0", "both.1"] == [name for name, _ in Pair().named_parameters()]
    assert [a, b] == Pair().parameters()
    assert Pair().parameters()[1] is b
    assert 3 == viz.draw_dot(a * b).source.count("data")
    op = custom_op(lambda x, y: x * b * y)
    op.derivative(lambda y, x, z: (b * z, x * b))
    op(a, a).backward()
    assert (8.0, 4.0) == (a.grad, b.grad)


def test_pygrad_tells_equal_values_apart_in_c(Alike):
    """Checkpoints, compiled functions, gradients by name, explanations."""
    if issubclass(Alike, reference.Value):
        pytest.skip("these are of the C engine")
    a, b = Alike(2.0), Alike(2.0)
    pygrad.checkpoint(lambda x, y: x * x * y)(a, b).backward()
    assert (8.0, 4.0) == (a.grad, b.grad)
    a.grad = b.grad = 0.0
    pygrad.checkpoint(lambda: a * a * b)().backward()
    assert (8.0, 4.0) == (a.grad, b.grad)
    compiled = pygrad.compile(lambda x: x * a + b)
    compiled(1.0)
    assert [True, True] == [p is v for p, v in zip(compiled.parameters(), (a, b))]
    a.grad = b.grad = 0.0
    compiled.backward([3.0])
    assert (3.0, 1.0) == (a.grad, b.grad)
    assert [8.0, 4.0] == pygrad.grad(a * a * b, [a, b])
    assert 4.0 == pygrad.explain(a * a * b, b).derivative
    assert [True] == [v is b for v in pygrad.unreached(a * 1.0, [a, b], warn=False)]
    steps = pygrad.hessian(lambda x, y: x * x * y)(a, b)
    assert [[4.0, 4.0], [4.0, 0.0]] == [[v.data for v in row] for row in steps]


def test_a_value_that_can_be_called_is_no_function(engine, Value, custom_op):
    """A class of Values with __call__: an argument of it is differentiated, for it is a Value before all."""

    class Called(Value):
        def __call__(self):
            return 1

    op = custom_op(lambda x: x * x)
    op.derivative(lambda y, x: 2.0 * x)
    x = Called(3.0)
    op(x).backward()
    assert 6.0 == x.grad
    if engine is not reference:
        assert (8.0, 8.0) == (pygrad.gradient(op)(Called(4.0)).data, pygrad.gradient(lambda x: x * x)(Called(4.0)).data)
