"""What an adversary found: interruptions, races, odd subclasses and operands; each once crashed or was wrong."""

import contextlib
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from pygrad import detect_anomaly, engine, nn
from pygrad.engine import Value

pytestmark = pytest.mark.proxy


def interrupt_after(function_name, run):
    """Run `run()`, interrupted just as the C function of that name returns; skip the test if Python never calls it."""

    def profile(frame, event, function):
        if event == "c_return" and function.__name__ == function_name:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        run()
    except KeyboardInterrupt:
        return
    finally:
        sys.setprofile(None)
    pytest.skip(f"nothing to interrupt: no call of {function_name} returns to Python")


@contextlib.contextmanager
def beside(work, stop):
    """Run the block while another thread does `work`, switching as often as Python can; then set the event `stop`."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)


def test_an_interrupted_prev_assignment_is_whole():
    """An interruption as `_prev` is assigned leaves a Value that is a custom node, with one proxy a node."""
    a, v = Value(2.0), Value(5.0)

    def assign():
        v._prev = {a}

    interrupt_after("pg_leaf_to_custom", assign)
    assert {a} == v._prev
    assert 5.0 == v.data
    engine.check_arena()


def test_an_interrupted_sweep_leaves_no_busy_nodes():
    """An interruption as an order begins does not block the graph for later sweeps."""
    a = Value(2.0)
    out = Value(1.0, (a * 3.0,), "custom")
    out._backward = lambda: None

    interrupt_after("pg_order_from", out.backward)
    out.backward()
    assert 1.0 == out.grad


@pytest.mark.threads
def test_reading_and_assigning_prev_from_two_threads():
    """`_prev` read while another thread assigns it is the old or the new operands, and the arena stays whole."""
    children = [Value(float(i)) for i in range(40)]
    target, stop = [Value(1.0)], threading.Event()
    lengths = set()

    def read():
        while not stop.is_set():
            lengths.add(len(target[0]._prev))

    with beside(read, stop):
        for _ in range(3000):
            target[0] = Value(1.0)
            target[0]._prev = children

    assert lengths <= {0, 40}
    engine.check_arena()


@pytest.mark.threads
def test_bringing_a_value_back_while_it_dies():
    """A thread that gets a dying Value through a weak reference gets an error or a whole Value, never a freed node."""
    stop, seen = threading.Event(), [None]

    def revive():
        while not stop.is_set():
            v = seen[0] and seen[0]()
            if v is not None:
                with contextlib.suppress(RuntimeError):
                    (v * 2.0).backward()

    with beside(revive, stop):
        for i in range(5000):
            v = Value(float(i))
            seen[0] = weakref.ref(v)
            del v
    engine.check_arena()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif("PYGRAD_SANITIZED" in os.environ, reason="the sanitizer's allocator does not survive such a fork")
def test_a_fork_while_another_thread_reads_prev():
    """The child of a fork can read `_prev`, whatever another thread of its parent held."""
    program = """
        import os, sys, threading
        from pygrad.engine import Value
        sys.setswitchinterval(1e-6)
        stop = threading.Event()
        def read():
            while not stop.is_set():
                v = Value(1.0)
                v._prev = {Value(2.0)}
                (v * 2.0)._prev
        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(50):
            child = os.fork()
            if child == 0:
                v = Value(1.0)
                v._prev = {Value(2.0)}
                os._exit(len((v * 2.0)._prev))
            assert 2 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stop.set()
        thread.join()
        print("done")
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert ("done\n", "") == (done.stdout, done.stderr)


# --- lists that are split ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 504, 505, 600, 2000])
def test_manual_backpropagation_of_a_long_sum(engine, n):
    """`_backward()` by hand reaches every operand of a list, however many nodes it is split over."""
    values = [engine.Value(float(i)) for i in range(n)]
    out = engine.sum(values)
    out.grad = 3.0
    out._backward()
    out._backward()

    assert [6.0] * n == [v.grad for v in values]


def test_manual_backpropagation_of_many_local_gradients(engine):
    """The same of a node with local gradients of its own."""
    values = [engine.Value(1.0) for _ in range(400)]
    out = engine.Value(1.0, values, [float(i) for i in range(400)])
    out.grad = 2.0
    out._backward()

    assert [2.0 * i for i in range(400)] == [v.grad for v in values]


def test_an_overflow_in_a_long_dot_is_an_anomaly(engine):
    """detect_anomaly() sees every operand of a split list."""
    ws, xs = ([engine.Value(1.0) for _ in range(1000)] for _ in "wx")
    out = engine.dot(ws, xs) * 1e10
    xs[0].data = 1e300
    with detect_anomaly(), pytest.raises(FloatingPointError, match="dot"):
        out.backward()


# --- odd operands and subclasses --------------------------------------------------------------------------------------


def test_a_closure_may_be_false(engine):
    """A callable that is false, as an empty list of hooks, is a closure all the same."""

    class Hooks(list):
        calls = 0

        def __call__(self):
            Hooks.calls += 1

    out = engine.Value(1.0, (engine.Value(2.0),), "custom")
    out._backward = Hooks()
    out.backward()

    assert 1 == Hooks.calls


def test_a_bias_may_be_false(engine):
    """A subclass with a truth value of its own is a bias like any other."""

    class Falsy(engine.Value):
        def __bool__(self):
            return False

    bias = Falsy(5.0)
    out = engine.dot([engine.Value(2.0)], [3.0], bias)
    out.backward()

    assert (11.0, 1.0) == (out.data, bias.grad)


def test_a_start_without_a_node_is_refused():
    """A start whose __init__ never ran is not taken for none."""
    with pytest.raises(RuntimeError, match="never initialised"):
        engine.sum([Value(1.0)], Value.__new__(Value))


def test_attributes_of_a_subclass_are_its_own():
    """A subclass may call its attributes `_id`, `_a` and `_b`."""
    counter = itertools.count()

    class Named(Value):
        def __init__(self, data):
            super().__init__(data)
            self._id, self._a, self._b = next(counter), "a", "b"

    v = Named(3.0)
    out = v * 2.0
    out.backward()

    assert (6.0, 2.0, {v}) == (out.data, v.grad, out._prev - {w for w in out._prev if w is not v})


def test_a_finaliser_from_a_mixin_gives_the_node_back():
    """A __del__ that comes before Value's in the order of classes leaks nothing."""

    class Mixin:
        def __del__(self):
            pass

    class Mixed(Mixin, Value):
        pass

    before = engine.live_nodes()
    Mixed(1.0)

    assert before == engine.live_nodes()


@pytest.mark.parametrize(
    "change",
    [
        lambda neurons: neurons[1].w.pop(),
        lambda neurons: neurons[1].w.append(Value(1.0)),
        lambda neurons: neurons[1].w.clear(),
        lambda neurons: setattr(neurons[1], "w", 3),
        lambda neurons: neurons[0].w.__setitem__(1, 2.0),
        lambda neurons: setattr(neurons[0], "b", None),
        lambda neurons: neurons.append("a string"),
    ],
    ids=["short", "long", "empty", "a number", "a number among the weights", "no bias", "no neuron"],
)
def test_a_layer_that_does_not_fit_is_refused(change):
    """`layer` checks what C would trust, and makes nothing then."""
    neurons = nn.Layer(3, 2).neurons
    change(neurons)
    x = [Value(1.0)] * 3
    before = engine.live_nodes()
    with contextlib.suppress(TypeError):  # a number has no weights
        assert engine.layer(neurons, x, nn.Neuron) is None

    assert before == engine.live_nodes()


def test_a_layer_that_is_an_anomaly_leaks_nothing():
    """The nodes of a layer that detect_anomaly() refuses are given back."""
    layer = nn.Layer(1, 10)
    layer.neurons[0].w[0].data = 1e308
    x = [Value(1e308)]
    before = engine.live_nodes()
    with detect_anomaly(), pytest.raises(FloatingPointError):
        layer(x)

    assert before == engine.live_nodes()


@pytest.mark.parametrize("name", [7, 1.5, b"relu", ["relu"]])
def test_an_activation_that_is_no_name_is_refused(name):
    """A neuron's activation set to what cannot be a method's name is a TypeError."""
    layer = nn.Layer(2, 3)
    layer.neurons[1].activation = name

    with pytest.raises(TypeError):
        layer([1.0, 2.0])


def test_neurons_that_change_while_they_are_called():
    """A program's code that runs inside a layer's call, and spoils a weight, spoils neither memory nor types."""
    layer = nn.Layer(2, 4)

    def spoil(frame, event, arg):
        if event == "call" and frame.f_code.co_name == "check_forward":
            sys.setprofile(None)
            for neuron in layer.neurons[1:]:
                neuron.w[:], neuron.b = [0.1, 0.2], 0.3

    with detect_anomaly():
        sys.setprofile(spoil)
        try:
            outs = layer([1.0, 2.0])
        finally:
            sys.setprofile(None)

    assert {Value} == set(map(type, outs))


def test_a_replaced_data_leaves_nothing_in_the_next_value(monkeypatch):
    """With `Value.data` gone, `v.data = x` is an attribute like any other, and dies with its Value."""
    monkeypatch.setattr(Value, "data", 3.0)
    v = Value(2.0)
    v.data = [5]
    del v

    assert {} == vars(Value(2.0))


@pytest.mark.parametrize("other", [(1.0,), (), (1.0, 2.0)])
@pytest.mark.parametrize("operate", [lambda a, b: a + b, lambda a, b: a * b], ids=["add", "mul"])
def test_a_tuple_is_no_list_of_arguments(operate, other):
    """`tuple + v` is the TypeError of a wrong operand, also where a subclass has its own operators."""

    class Sub(Value):
        def __add__(self, other):
            return Value.__add__(self, other)

        def __mul__(self, other):
            return Value.__mul__(self, other)

    with pytest.raises(TypeError, match="not tuple"):
        operate(other, Sub(1.0))


def test_an_argument_without_truth_is_an_error():
    """An `_op` whose truth value raises makes the construction raise."""

    class Undecided:
        def __bool__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Value(1.0, (Value(2.0),), Undecided(), label="x")


@pytest.mark.parametrize("nothing", [None, 0, False, (), []])
def test_no_children_are_a_leaf(nothing):
    """Whatever is false stands for no children."""
    assert set() == Value(1.0, nothing)._prev


def test_an_operator_called_by_its_name():
    """`v.__rsub__(w)` with two Values is w - v."""
    assert 3.0 == Value(2.0).__rsub__(Value(5.0)).data


def test_a_dict_that_goes_while_it_is_read():
    """A key that takes the dict away while it is compared does no harm."""
    v, calls = Value(1.0) * 2.0, []

    class Key:
        def __hash__(self):
            return hash("<op>")

        def __eq__(self, other):
            if armed:
                calls.append(other)
                v.__dict__ = {}
            return False

    armed = False
    v.__dict__[Key()] = 1
    armed = True

    assert "*" == v._op
    v._op = "other"
    assert calls
