"""What is not recorded: no_grad and enable_grad, frozen leaves, checkpoint."""

import doctest
import math
import os
import random
import threading

import pytest

import pygrad
from pygrad import engine
from pygrad.engine import Value

# Each way to make a result, of two Values.
WAYS = {
    "+": lambda a, b: a + b,
    "number on the right": lambda a, b: a * 2.0,
    "number on the left": lambda a, b: 2.0 - a,
    "power": lambda a, b: a**1.5,
    "square": lambda a, b: a**2,
    "**": lambda a, b: a**b,
    "negation": lambda a, b: -a,
    "abs": lambda a, b: abs(a),
    "method": lambda a, b: a.tanh(),
    "method of two": lambda a, b: a.maximum(b),
    "default": lambda a, b: a.elu(),
    "comparison": lambda a, b: a.less(b),
    "sum": lambda a, b: pygrad.sum([a, b, 1.0]),
    "sum from": lambda a, b: pygrad.sum([a], b),
    "long sum": lambda a, b: pygrad.sum([a, b] * 2000),
    "dot": lambda a, b: pygrad.dot([a, 2.0], [b, b], b),
    "where": lambda a, b: pygrad.where(a, b, 1.0),
    "take": lambda a, b: pygrad.take([a, b], Value(1.0)),
    "stop_gradient": lambda a, b: a.stop_gradient(),
    "detach": lambda a, b: a.detach(),
    "neuron": lambda a, b: pygrad.Neuron(2)([a, 1.0]),
    "layer": lambda a, b: pygrad.MLP(2, [3, 1], activation="tanh")([a, b]),
    "loss": lambda a, b: pygrad.functional.cross_entropy([a, b], 1),
    "custom op": lambda a, b: twice(a),
    "children": lambda a, b: Value(a.data, (a, b), "mine"),
    "local gradients": lambda a, b: Value(a.data, (a, b), (1.0, 2.0)),
}


@pygrad.custom_op
def twice(x):
    """An op with a declared derivative."""
    return 2.0 * x


@twice.derivative
def _(y, x):
    return 2.0


def graph_of(v):
    """What a Value shows of its graph."""
    return v._prev, v._op


LEAF = (set(), "")


# --- no_grad ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hold", [False, True], ids=["plain", "with an attribute"])
def test_a_result_is_a_leaf(way, hold):
    """Whatever makes it, a result within no_grad() has the number of the recorded one, and nothing else."""
    a, b = Value(0.75), Value(1.25)
    if hold:  # on the native proxy, results of such keep their operands
        a.note = b.note = []
    random.seed(1)
    recorded = WAYS[way](a, b)
    random.seed(1)
    before = engine.live_nodes()
    with pygrad.no_grad():
        v = WAYS[way](a, b)

    assert LEAF == graph_of(v)
    assert recorded.data == v.data
    assert before + 1 == engine.live_nodes()
    (v * a).backward()
    assert (0.0, 1.0) == (b.grad, v.grad / a.data)


def test_blocks_end_and_nest():
    """Outside of a block results are recorded; blocks nest, with enable_grad in between."""
    a = Value(2.0)
    seen = [pygrad.is_grad_enabled()]
    with pygrad.no_grad():
        seen.append(pygrad.is_grad_enabled())
        with pygrad.enable_grad():
            seen.append(pygrad.is_grad_enabled())
            inner = a * a
            with pygrad.no_grad():
                seen.append(pygrad.is_grad_enabled())
        with pygrad.no_grad():
            pass
        outer = a * a
    seen.append(pygrad.is_grad_enabled())

    assert [True, False, True, False, True] == seen
    assert ({a}, "*") == graph_of(inner)
    assert LEAF == graph_of(outer)
    assert ({a}, "*") == graph_of(a * a)


def test_one_block_is_entered_again():
    """The same no_grad() object may be entered while it is open, and again after."""
    block = pygrad.no_grad()
    with block:
        with block:
            pass
        assert not pygrad.is_grad_enabled()
    assert pygrad.is_grad_enabled()
    with block:
        assert not pygrad.is_grad_enabled()
    assert pygrad.is_grad_enabled()


def test_an_exception_ends_a_block():
    """An exception goes through, and the block is closed behind it."""
    with pytest.raises(ZeroDivisionError), pygrad.no_grad():
        raise ZeroDivisionError
    assert pygrad.is_grad_enabled()


@pytest.mark.parametrize("decorate", [pygrad.no_grad, pygrad.no_grad()], ids=["no_grad", "no_grad()"])
def test_a_decorated_function(decorate):
    """It runs without a graph, keeps its name and result, and nests in itself."""

    @decorate
    def power(x, n):
        """The n-th power."""
        return x * power(x, n - 1) if n else Value(1.0)

    v = power(Value(2.0), n=3)

    assert (8.0, *LEAF) == (v.data, *graph_of(v))
    assert ("power", "The n-th power.") == (power.__name__, power.__doc__)
    assert pygrad.is_grad_enabled()


def test_a_decorated_generator():
    """It runs without a graph between its yields, its caller with one; what is sent and thrown gets through."""
    a, seen = Value(2.0), []

    @pygrad.no_grad()
    def steps(n):
        try:
            for _ in range(n):
                try:
                    seen.append((yield a * a))
                except KeyError:
                    seen.append("thrown")
            return "done"
        finally:
            seen.append(pygrad.is_grad_enabled())

    generator = steps(3)
    assert LEAF == graph_of(next(generator))
    assert ({a}, "*") == graph_of(a * a)
    assert LEAF == graph_of(generator.send("sent"))
    assert pygrad.is_grad_enabled()
    generator.throw(KeyError())
    with pytest.raises(StopIteration) as stop:
        next(generator)
    unfinished = steps(2)
    next(unfinished)
    unfinished.close()

    assert "done" == stop.value.value
    assert ["sent", "thrown", None, False, False] == seen
    assert pygrad.is_grad_enabled()


@pytest.mark.parametrize("mode", [pygrad.no_grad, pygrad.enable_grad])
def test_what_cannot_be_decorated(mode):
    """What is no function, and async ones, are refused."""

    async def coroutine():
        pass

    with pytest.raises(TypeError, match="decorates a function, not"):
        mode()(3.0)
    with pytest.raises(TypeError, match="async"):
        mode(coroutine)


def test_it_is_a_threads_own():
    """A block in one thread leaves the others alone, in both directions."""
    a, results = Value(2.0), {}
    opened, checked = threading.Event(), threading.Event()

    def other():
        with pygrad.no_grad():
            results["other"] = (a * a)._prev
            opened.set()
            checked.wait(10)
            results["other again"] = (a.tanh())._prev

    thread = threading.Thread(target=other)
    thread.start()
    opened.wait(10)
    ways = {way: graph_of(WAYS[way](a, Value(1.5))) for way in ("+", "number on the right", "dot", "layer", "children")}
    results["this"] = (a * a)._prev
    checked.set()
    thread.join()

    assert {"other": set(), "other again": set(), "this": {a}} == results
    assert LEAF not in ways.values()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_its_own_thread_left():
    """After a fork the child is in the blocks of the forking thread, and of no other."""
    opened, done = threading.Event(), threading.Event()

    def other():
        with pygrad.no_grad():
            opened.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    opened.wait(10)
    child = os.fork()
    if child == 0:
        good = pygrad.is_grad_enabled() and graph_of(Value(1.0) * 2.0)[1] == "*"
        with pygrad.no_grad():
            good = good and graph_of(Value(1.0) * 2.0) == LEAF
        os._exit(0 if good else 1)
    done.set()
    thread.join()

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_closure_is_dropped():
    """An op of one's own, as in the lecture, passes no gradient on that was made within no_grad()."""
    a = Value(2.0)
    with pygrad.no_grad():
        out = Value(math.tanh(a.data), (a,), "tanh")
        out._backward = lambda: setattr(a, "grad", 100.0)
        rewired = Value(1.0)
        rewired._prev = {a}
    (out * rewired).backward()

    assert (LEAF, LEAF) == (graph_of(out), graph_of(rewired))
    assert 0.0 == a.grad


def test_nothing_is_kept_alive():
    """A long computation within no_grad() needs no more nodes than it holds."""
    a, before, most = Value(1.0), engine.live_nodes(), 0
    with pygrad.no_grad():
        v = a
        for _ in range(100):
            v = v * a + 1.0
            most = max(most, engine.live_nodes() - before)

    assert most <= 2


def test_backward_within_no_grad():
    """A graph that was made before is swept there as anywhere."""
    a = Value(3.0)
    y = a * a
    with pygrad.no_grad():
        y.backward()
        assert [6.0] == pygrad.grad(y, [a])
    assert 6.0 == a.grad


def test_an_anomaly_is_found_within_no_grad():
    """detect_anomaly() names the op there, with its operands."""
    named = pytest.raises(FloatingPointError, match=r"'log' gave nan from \(-1.0\)")
    with named, pygrad.no_grad(), pygrad.detect_anomaly():
        Value(-1.0).log()
    with pygrad.detect_anomaly(), pygrad.no_grad():
        assert LEAF == graph_of(Value(1.0).log())


def test_bad_input_is_refused_as_outside():
    """An error of an operation is the same one, and leaves nothing behind."""
    with pygrad.no_grad():
        with pytest.raises(TypeError):
            Value(1.0) + "2"
        with pytest.raises(TypeError):
            Value(1.0, (2.0,))
        with pytest.raises(ValueError, match="one length"):
            pygrad.dot([1.0], [1.0, 2.0])


# --- no_grad, recorded and transformed --------------------------------------------------------------------------------


def test_a_recorded_function_computes_it_anew():
    """What is made within no_grad() while a function is recorded follows the inputs, and has no gradient."""
    w = Value(3.0)

    def f(x):
        with pygrad.no_grad():
            factor = w * x + pygrad.sum([x, w]) + pygrad.dot([x], [w]) + twice(x) + x.less(w)
        return factor * x

    compiled = pygrad.compile(f)
    for x in (2.0, 5.0):
        w.grad = 0.0
        v = Value(x)
        y = f(v)
        y.backward()
        out, (by_x,) = compiled.backward(x, inputs=True)

        assert (y.data, v.grad) == (out, by_x)
        assert 0.0 == w.grad


def test_a_function_recorded_within_no_grad():
    """Who first calls a compiled function does not decide whether it has gradients."""
    w = Value(3.0)
    f = pygrad.compile(lambda x: w * x)
    with pygrad.no_grad():
        assert 6.0 == f(2.0)
        assert not pygrad.is_grad_enabled()
    f.backward(2.0)

    assert 2.0 == w.grad


def test_a_function_with_a_graph_of_its_own_is_not_recorded():
    """Children without a formula are a TypeError while a function is recorded, not a number of that one run."""
    with pytest.raises(TypeError, match="'mine'"):
        pygrad.compile(pygrad.no_grad()(lambda x: Value(1.0, (x,), "mine")))(2.0)


def test_transforms_take_it_as_constant():
    """The derivative of what a function computes within no_grad() is 0."""

    def f(x):
        with pygrad.no_grad():
            c = x * x
        return c * x

    assert 4.0 == pygrad.derivative(f)(2.0)
    assert 0.0 == pygrad.derivative(f, order=2)(2.0)
    assert (8.0, 4.0) == pygrad.jvp(f)(2.0, 1.0)


def test_transforms_do_not_mind_a_block_around():
    """Within no_grad() they give what they give outside; Values without a graph."""
    a = Value(2.0)
    with pygrad.no_grad():
        numbers = pygrad.hessian(lambda x: x[0] ** 2 * x[1])([1.0, 2.0]), pygrad.derivative(lambda x: x**3, 3)(1.0)
        found = pygrad.value_and_grad(lambda x: x**3)(a)
        assert not pygrad.is_grad_enabled()

    assert ([[4.0, 2.0], [2.0, 0.0]], 6.0) == numbers
    assert [8.0, 12.0] == [v.data for v in found]
    assert [LEAF, LEAF] == [graph_of(v) for v in found]


def test_docstrings_show_what_happens():
    """The examples in docstrings give what stands below them."""
    result = doctest.testmod(pygrad.recording)

    assert 0 == result.failed
    assert 5 <= result.attempted
