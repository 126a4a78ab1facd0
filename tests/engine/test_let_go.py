"""`v._prev = ()`: a result lets its operands go, and is a leaf from then on, with its data, gradient and identity."""

import copy
import gc
import threading
import weakref

import pytest

import pygrad
from pygrad import engine as c_engine


def one_of_each(engine):
    """Results of ops of all kinds: {name: (operands, result)}."""
    a, b, c = map(engine.Value, (0.5, -1.5, 2.0))
    local = engine.Value(3.0, (a, b), local_grads=(2.0, 4.0))
    closure = engine.Value(3.0, (a, b), "mine")
    closure._backward = lambda: setattr(a, "grad", a.grad + 7.0)
    return {
        "+": ((a, b), a + b),
        "* number": ((a,), a * 3.0),
        "square of itself": ((a,), a * a),
        "tanh": ((a,), a.tanh()),
        "power": ((a,), a**2.5),
        "sum": ((a, b, c), engine.sum([a, b, c], start=c)),
        "long sum": ((a, b), engine.sum([a, b] * 2000)),
        "dot": ((a, b, c), engine.dot([a, b], [b, c], a)),
        "long dot": ((a, b), engine.dot([a] * 1500, [b] * 1500)),
        "take": ((a, b), engine.take([a, b], engine.Value(1.0))),
        "local": ((a, b), local),
        "closure": ((a, b), closure),
        "less": ((a, b), a.less(b)),
    }


NAMES = list(one_of_each(c_engine))
NONE = {"tuple": (), "list": [], "set": set(), "frozenset": frozenset()}


@pytest.mark.parametrize("nothing", NONE.values(), ids=NONE)
@pytest.mark.parametrize("name", NAMES)
def test_a_result_becomes_a_leaf(engine, name, nothing):
    """Data and gradient stay; there are no operands, and no gradient is passed on, from the result or its consumers."""
    operands, v = one_of_each(engine)[name]
    consumer, data = v * v + v * 2.0, v.data
    v.grad = 11.0
    v._prev = nothing

    assert (set(), data, 11.0, True) == (v._prev, v.data, v.grad, v._is_leaf())
    consumer.backward()
    assert v.grad == pytest.approx(11.0 + 2.0 * data + 2.0)
    v.backward()
    v._backward()
    assert [0.0] * len(operands) == [x.grad for x in operands]


@pytest.mark.parametrize("name", NAMES)
def test_consumers_have_it_still(engine, name):
    """Consumers from before find the same object, with its attributes; and new ones can be made."""
    _, v = one_of_each(engine)[name]
    consumers = [v * 2.0, engine.sum([v, v, v]), engine.dot([v, v], [v, engine.Value(1.0)], v)]
    consumers += [engine.take([engine.Value(9.0), v], engine.Value(1.0)), engine.Value(0.0, (v,), local_grads=(5.0,))]
    consumers += [engine.sum([v] * 3000)]
    v.note = "kept"
    v._prev = ()
    consumers.append(v + 1.0)

    for consumer in consumers:
        assert any(child is v for child in consumer._prev)
        assert "kept" == next(child.note for child in consumer._prev if child is v)
    for consumer, slope in zip(consumers, (2.0, 3.0, 2.0 * v.data + 2.0, 1.0, 5.0, 3000.0, 1.0)):
        v.grad = 0.0
        consumer.backward()
        assert v.grad == pytest.approx(slope)


def test_the_operands_are_freed(engine):
    """What only the result led to is gone: objects and nodes."""
    Value = engine.Value
    v = Value(1.0)
    for _ in range(100):
        v = v * 1.5 + Value(0.1)
    hidden = Value(2.0)
    end = weakref.ref(hidden)
    v = v + hidden.tanh()
    del hidden
    gc.collect()
    before = c_engine.live_nodes()
    v._prev = ()
    gc.collect()

    assert end() is None
    if engine is c_engine:
        assert c_engine.live_nodes() <= before - 400


def test_windows_through_time(engine):
    """A state that lets go after each window: memory stays, and the gradients are those of a detached state."""
    Value = engine.Value
    w, h, expected = Value(0.5), Value(1.0), []
    for let_go in (True, False):
        w.grad, h = 0.0, Value(1.0)
        for _ in range(5):
            for _ in range(10):
                h = (h * w + 1.0).tanh()
            h.backward()
            if let_go:
                h._prev = ()
            else:
                h = h.detach()
        expected.append((w.grad, h.data))

    assert expected[0] == expected[1]


def test_all_of_a_graph_lets_go(engine):
    """A program that frees a graph node by node, from either end, has leaves afterwards."""
    for reverse in (False, True):
        v, nodes = engine.Value(1.5), []
        for _ in range(300):
            nodes.append(v := v * 0.99 + v)
        for node in reversed(nodes) if reverse else nodes:
            node._prev = set()
        assert [set()] * 300 == [node._prev for node in nodes]
        nodes[-1].backward()
        assert [0.0] * 299 + [1.0] == [node.grad for node in nodes]


def test_it_is_a_leaf_in_every_way(engine):
    """It can be copied and frozen, takes a new op by `_prev`, and is a parameter of derivatives."""
    Value = engine.Value
    a = Value(2.0)
    v = a * 3.0
    v._prev = ()

    assert "" == v._op
    assert 6.0 == copy.deepcopy(v).data
    v._prev = {a}
    v._backward = lambda: setattr(a, "grad", a.grad + 5.0 * v.grad)
    v.backward()
    assert (5.0, {a}) == (a.grad, v._prev)
    v._backward = lambda: None


def test_the_truth_of_a_comparison_stays(engine):
    """The leaf of a comparison is true or false, as a detached one is."""
    v, w = engine.Value(1.0).less(2.0), engine.Value(3.0).less(2.0).stop_gradient()
    v._prev = w._prev = ()

    assert (True, False) == (bool(v), bool(w))


def test_a_closure_goes_with_the_operands(engine):
    """The closure, which would lead to the operands, is dropped; a later one is the leaf's."""
    a = engine.Value(2.0)
    out, calls = engine.Value(4.0, (a,), "mine"), []
    out._backward = lambda: calls.append("old")
    top = out * 1.0
    out._prev = []
    top.backward()
    assert [] == calls
    out._backward = lambda: calls.append("new")
    top.backward()
    assert ["new"] == calls


def test_what_is_no_operand_list_is_refused(engine):
    """Only nothing can be assigned to a result; all else is refused, and changes nothing."""
    a, b = engine.Value(1.0), engine.Value(2.0)
    c = a * b
    for bad, error in (({a}, AttributeError), ((a, b), AttributeError), (5, TypeError), (None, TypeError)):
        with pytest.raises(error):
            c._prev = bad
    with pytest.raises(AttributeError, match=r"v\._prev = \(\)"):
        c._prev = {a}
    with pytest.raises(AttributeError):
        del c._prev

    assert {a, b} == c._prev
    c.backward()
    assert (2.0, 1.0) == (a.grad, b.grad)


def test_within_its_own_backward_pass_it_is_refused(engine):
    """A closure cannot take the operands of a Value from the pass that has it; afterwards it can."""
    a = engine.Value(2.0)
    b = a * 3.0
    out = engine.Value(1.0, (b,), "mine")

    def closure():
        b.grad += 1.0
        with pytest.raises(RuntimeError, match="backward pass is still running"):
            b._prev = ()

    out._backward = closure
    out.backward()
    assert 3.0 == a.grad
    out._prev = b._prev = ()
    out._backward = lambda: None


def test_a_variable_is_refused():
    """In a function that is recorded or transformed a number of one run would stay: the error names stop_gradient."""

    def function(x):
        y = x * 2.0
        y._prev = ()
        return y * x

    for run in (pygrad.derivative(function), pygrad.compile(function)):
        with pytest.raises(AttributeError, match="stop_gradient"):
            run(3.0)

    def on_a_constant(x):
        y = c_engine.Value(2.0) * 2.0
        y._prev = ()
        return y * x

    assert 4.0 == pygrad.derivative(on_a_constant)(3.0)


def test_a_recording_tells_that_it_keeps_the_number():
    """Of a parameter's result, made in the function or before it: like detach(), it is done once for all runs."""
    w = c_engine.Value(2.0)
    before = w * w

    def inside(x):
        y = w * w
        y._prev = ()
        return y * x

    def outside(x):
        before._prev = ()
        return before * x

    for function in (inside, outside):
        with pytest.warns(pygrad.TraceWarning, match=r"_prev .* use pygrad\.stop_gradient") as told:
            assert 12.0 == pygrad.compile(function)(3.0)
        assert [__file__] == [warning.filename for warning in told]


def test_within_no_grad_and_checkpoint():
    """Within no_grad() a result is a leaf already; an outer result that lets go within a checkpoint stays outside."""
    a = c_engine.Value(3.0)
    with pygrad.no_grad():
        v = a * 2.0
        v._prev = ()
    assert (set(), 6.0) == (v._prev, v.data)

    outer = a * 2.0

    @pygrad.checkpoint
    def function(x):
        outer._prev = ()
        return outer * x

    x = c_engine.Value(5.0)
    out = function(x)
    out.backward()
    assert (6.0, 5.0, 0.0) == (x.grad, outer.grad, a.grad)


def test_the_result_of_a_checkpoint_and_of_a_custom_op():
    """They let go as other results do: nothing is run again, and no derivative declared."""
    calls, a = [], c_engine.Value(3.0)
    out = pygrad.checkpoint(lambda x: (calls.append(1), x * 2.0)[1])(a)
    top = out * 1.0
    out._prev = ()
    top.backward()
    assert ([1], 0.0, 1.0) == (calls, a.grad, out.grad)

    @pygrad.custom_op
    def cube(x):
        return x**3

    @cube.derivative
    def _(y, x):
        return 3.0 * x**2

    v = cube(a)
    v._prev = ()
    assert (27.0, [0.0]) == (v.data, pygrad.grad(v * 1.0, [a]))


def test_compiled_and_derived_after():
    """A graph with such a leaf is recorded and derived as with any other."""
    a = c_engine.Value(3.0)
    v = a * 2.0
    square = v * v
    v._prev = ()

    assert [12.0] == pygrad.grad(square, [v])
    (dv,) = pygrad.grad(v * v * v, [v], create_graph=True)
    assert [36.0] == pygrad.grad(dv, [v])
    assert (6.0, 2.0) == (pygrad.compile(lambda x: v * x)(1.0), v.data / 3.0)


def test_subclasses_and_labels():
    """A Value of a subclass, with a label and a weak reference to it, is the same object still."""

    class Mine(pygrad.Value):
        """A subclass."""

    a = Mine(2.0)
    v = a * 3.0
    v.label, ended = "state", weakref.ref(v)
    c = v + 1.0
    v._prev = ()

    assert v is ended()
    assert "state" == v.label
    assert v in c._prev
    del v
    assert "state" in [child.label for child in c._prev]


@pytest.mark.threads
def test_threads_let_go_and_use():
    """Threads that build on a result while another lets its operands go do not disturb the arena."""
    failures = []

    def build(v):
        try:
            for _ in range(200):
                c = v * 2.0 + v
                c.backward()
                assert c.data == 3.0 * v.data
                assert c._prev
        except BaseException as error:
            failures.append(error)

    for _ in range(5):
        v = c_engine.Value(1.0) * 2.0
        threads = [threading.Thread(target=build, args=(v,)) for _ in range(2)]
        [t.start() for t in threads]
        v._prev = ()
        [t.join() for t in threads]
        assert set() == v._prev
        c_engine.check_arena()

    assert not failures
