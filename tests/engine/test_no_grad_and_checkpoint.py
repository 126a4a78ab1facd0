"""What is not recorded: no_grad and enable_grad, frozen leaves, checkpoint."""

import copy
import gc
import math
import os
import pickle
import random
import subprocess
import sys
import threading

import pytest

import pygrad
from pygrad import engine
from pygrad.engine import Value
from pygrad.optim import SGD, Adam, AdamW

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
                    seen.append(graph_of(a * a) == LEAF)
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
    assert ["sent", True, None, False, False] == seen
    assert pygrad.is_grad_enabled()


@pytest.mark.parametrize("mode", [pygrad.no_grad, pygrad.enable_grad])
def test_what_cannot_be_decorated(mode):
    """What is no function is refused. (Async functions can be decorated: test_tasks.py.)"""
    with pytest.raises(TypeError, match="decorates a function, not"):
        mode()(3.0)


@pytest.mark.threads
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
@pytest.mark.parametrize("mode", [pygrad.no_grad, pygrad.enable_grad])
def test_a_child_has_its_own_thread_left(mode):
    """After a fork the child is in the blocks of the forking thread, and of no other."""
    opened, done = threading.Event(), threading.Event()

    def other():
        with pygrad.no_grad():
            opened.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    opened.wait(10)
    with mode():
        child = os.fork()
        if child == 0:
            good = graph_of(Value(1.0) * 2.0)[1] == ("*" if mode is pygrad.enable_grad else "")
            with pygrad.no_grad():
                good = good and graph_of(Value(1.0) * 2.0) == LEAF
            with pygrad.enable_grad():
                good = good and graph_of(Value(1.0) * 2.0)[1] == "*"
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
        assert a is pygrad.gradient(lambda x: x * a)(Value(3.0))
        assert not pygrad.is_grad_enabled()

    assert ([[4.0, 2.0], [2.0, 0.0]], 6.0) == numbers
    assert [8.0, 12.0] == [v.data for v in found]
    assert [LEAF, LEAF] == [graph_of(v) for v in found]


# --- frozen leaves ----------------------------------------------------------------------------------------------------


def lecture_tanh(x):
    """The lecture's tanh, with a closure."""
    out = Value(math.tanh(x.data), (x,), "tanh")

    def _backward():
        x.grad += (1 - out.data**2) * out.grad

    out._backward = _backward
    return out


def newest_first(root):
    """micrograd's topological order."""
    order, seen = [], set()

    def visit(v):
        if v not in seen:
            seen.add(v)
            for child in v._prev:
                visit(child)
            order.append(v)

    visit(root)
    return reversed(order)


# Each way a sweep gives a leaf its gradient.
RECEIVED = {
    **{
        way: f
        for way, f in WAYS.items()
        if way not in ("comparison", "detach", "stop_gradient", "take", "children", "method of two", "where")
    },
    "minimum": lambda a, b: a.minimum(b),
    "where": lambda a, b: pygrad.where(b, a, 1.0),
    "take": lambda a, b: pygrad.take([a, b], 0),
    "take by a Value": lambda a, b: pygrad.take([a, b], Value(0.0)),
    "closure": lambda a, b: lecture_tanh(a),
    "twice": lambda a, b: a * a,
}


@pytest.mark.parametrize("way", RECEIVED)
@pytest.mark.parametrize("sweep", ["backward", "pygrad.backward", "with a closure", "anomaly", "by hand"])
def test_no_sweep_changes_a_frozen_leaf(way, sweep):
    """Its gradient stays what it was, the other leaf's is what it would be; its data is read as ever."""
    if (way, sweep) == ("closure", "by hand"):
        pytest.skip("a program that calls its own closure by itself sets the gradient by itself")

    def run(frozen):
        random.seed(1)
        a, b = Value(0.75), Value(1.25)
        a.grad, b.grad = 7.0, 0.5
        a.requires_grad = not frozen
        a.data = 0.8
        y = RECEIVED[way](a, b) * (b if sweep != "by hand" else 1.0)
        if sweep == "pygrad.backward":
            pygrad.backward([y, y * 2.0], [1.0, 3.0])
        elif sweep == "with a closure":
            lecture_tanh(y * 1e-4).backward()
        elif sweep == "anomaly":
            with pygrad.detect_anomaly():
                y.backward()
        elif sweep == "by hand":
            y.grad = 1.0
            for v in newest_first(y):
                v._backward()
        else:
            y.backward()
        return y.data, a.grad, b.grad

    data, by_a, by_b = run(False)

    assert (data, 7.0, by_b) == run(True)
    assert 7.0 != by_a


def test_requires_grad_of_leaves_and_results():
    """True by default; of a result, whether a gradient would get to a leaf that is not frozen."""
    a, b = Value(2.0), Value(3.0)
    assert (True, True) == (a.requires_grad, (a * b).requires_grad)
    assert a is a.requires_grad_(False)
    both, mine = a * b, a * 2.0 + pygrad.sum([a, 1.0]) + pygrad.where(a, 1.0, a) + pygrad.dot([a], [2.0], 1.0)
    assert (False, True, False) == (a.requires_grad, both.requires_grad, mine.requires_grad)
    assert not (mine + b.stop_gradient() + a.less(b) + pygrad.take([a, a], Value(1.0))).requires_grad
    assert (mine + lecture_tanh(b)).requires_grad
    assert pygrad.sum([a] * 4000 + [b]).requires_grad
    declared = engine.declared(b, [a] * 4000, [a] * 4000)
    assert not declared.requires_grad
    declared._backward = lambda: None  # which may pass something on to any operand, of the first part too
    assert declared.requires_grad
    assert a is a.requires_grad_()
    assert (True, True) == (a.requires_grad, mine.requires_grad)
    with pygrad.no_grad():
        assert (a * b).requires_grad


def test_freezing_and_unfreezing_midway():
    """The gradient is kept over both, and sweeps of graphs that were there before go by what is the case now."""
    a = Value(3.0)
    y = a * a
    seen = []
    for frozen in (False, True, True, False):
        a.requires_grad = not frozen
        y.backward()
        seen.append(a.grad)

    assert [6.0, 6.0, 6.0, 12.0] == seen


def test_a_frozen_gradient_can_be_set():
    """By assignment and by zero_grad(); and it is anew with a new __init__."""
    a = Value(3.0).requires_grad_(False)
    a.grad = 5.0
    (a * a).backward()
    assert 5.0 == a.grad
    SGD([a], lr=1.0).zero_grad()
    assert 0.0 == a.grad
    a.grad = 5.0
    a.__init__(4.0)
    assert (4.0, 0.0, False) == (a.data, a.grad, a.requires_grad)
    a.requires_grad = True
    assert 0.0 == a.grad


def test_a_frozen_leaf_becomes_a_result():
    """Given operands, it keeps its gradient, and is frozen no more."""
    a, b = Value(3.0).requires_grad_(False), Value(1.0)
    a.grad = 5.0
    a._prev = {b}

    assert ({b}, 5.0, True) == (a._prev, a.grad, a.requires_grad)


def test_a_frozen_leaf_has_no_operands():
    """What keeps its gradient is nobody's business."""
    a = Value(3.0).requires_grad_(False)

    assert LEAF == graph_of(a)
    assert a._is_leaf()


def test_what_requires_grad_refuses():
    """A result, and what is no bool; nothing changes."""
    a = Value(3.0)
    y = a * a
    for flag in (False, True):
        with pytest.raises(RuntimeError, match=r"result of '\*'.*detach\(\)"):
            y.requires_grad = flag
        with pytest.raises(RuntimeError, match="leaf"):
            y.requires_grad_(flag)
    for flag in (None, "no", 2.0, a):
        with pytest.raises(TypeError, match="True or False"):
            a.requires_grad = flag
    with pytest.raises(AttributeError):
        del a.requires_grad
    with pytest.raises(RuntimeError, match="never initialised"):
        Value.__new__(Value).requires_grad = False
    with pytest.raises(RuntimeError, match="never initialised"):
        Value.__new__(Value).requires_grad  # noqa: B018

    assert (True, True) == (a.requires_grad, y.requires_grad)


def test_grad_answers_by_a_frozen_leaf():
    """grad() of a frozen leaf that is named gives its derivative; nobody's gradient is touched."""
    a, b = Value(3.0).requires_grad_(False), Value(2.0)
    a.grad = b.grad = 7.0
    y = a * a * b + lecture_tanh(a) * 0.0
    (slope,) = pygrad.grad(a**3, [a], create_graph=True)

    assert [12.0, 9.0] == pygrad.grad(y, [a, b])
    assert 12.0 == pygrad.grad(a * a * b, a)
    assert (27.0, 18.0) == (slope.data, pygrad.grad(slope, a))
    assert (7.0, 7.0) == (a.grad, b.grad)


def test_copies_and_pickles_keep_it():
    """So do models and compiled functions; an attribute of that name set before there was one is none."""
    a = Value(3.0).requires_grad_(False)
    a.grad = 2.0
    model = pygrad.MLP(2, [2, 1])
    model.layers[0].requires_grad_(False)
    for again in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        b = again(a)
        assert (3.0, 2.0, False) == (b.data, b.grad, b.requires_grad)
        b.requires_grad = True
        assert (2.0, False) == (b.grad, a.requires_grad)
    twin = pickle.loads(pickle.dumps(model))
    assert [False] * 6 + [True] * 3 == [p.requires_grad for p in twin.parameters()]
    assert [] == [name for p in model.parameters() for name in vars(p)]


def test_a_subclass_is_frozen_too():
    """A class derived from Value has the same property."""

    class Named(Value):
        pass

    a = Named(3.0).requires_grad_(False)
    (a * a).backward()

    assert (0.0, False) == (a.grad, a.requires_grad)


def test_detect_anomaly_does_not_look_at_frozen_leaves():
    """A derivative that is inf is no anomaly where nobody asks for it."""
    a, b = Value(0.0).requires_grad_(False), Value(1.0)
    with pygrad.detect_anomaly():
        for _ in range(2):
            (a.sqrt() + b).backward()
    assert (0.0, 2.0) == (a.grad, b.grad)
    a.requires_grad = True
    with pytest.raises(FloatingPointError), pygrad.detect_anomaly():
        (a.sqrt() + b).backward()


OPTIMIZERS = {
    "SGD": lambda ps: SGD(ps, lr=0.1),
    "SGD with all": lambda ps: SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "Adam": lambda ps: Adam(ps, lr=0.1, weight_decay=0.1),
    "AdamW": lambda ps: AdamW(ps, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["Value", "subclass", "attribute"])
def test_an_optimizer_does_not_move_frozen_leaves(optimizer, kind):
    """Not by momentum and not by weight decay; the others move as if it were not there; unfrozen, it moves."""

    class Own(Value):
        pass

    def make():
        ps = [(Own if kind == "subclass" else Value)(x) for x in (1.0, -2.0, 0.5)]
        if kind == "attribute":
            ps[0].note = []
        for p in ps:
            p.grad = 1.0
        return ps

    ps, others = make(), make()
    mine, reference = OPTIMIZERS[optimizer](ps), OPTIMIZERS[optimizer](others)
    mine.step()
    reference.step()
    ps[1].requires_grad = False
    kept = ps[1].data
    for _ in range(3):
        mine.step()
        reference.step()

    assert [others[0].data, kept, others[2].data] == [p.data for p in ps]
    ps[1].requires_grad = True
    mine.step()
    assert kept != ps[1].data


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fit_does_not_move_frozen_leaves(optimizer):
    """fit is the loop by hand to the bit, with frozen parameters on the tape, off it, and none left but one."""
    X, y = [0.5, -1.0, 2.0, 0.25, 1.5], [1.0, 0.0, -1.0, 0.5, 2.0]

    def prepare():
        ps = [Value(x) for x in (0.1, -0.2, 0.3, 0.4, -0.5, 0.6)]
        for p in (ps[0], ps[2], ps[3], ps[5]):
            p.requires_grad = False
            p.grad = 3.0
        f = pygrad.compile(lambda x, t: (ps[0] * x + ps[1] * ps[2] * x**2 + ps[3] * ps[3] - t) ** 2)
        return ps, f, OPTIMIZERS[optimizer](ps[:2] + ps[3:])

    ps, f, fitter = prepare()
    start = [p.data for p in ps]
    losses = f.fit(fitter, X, y, epochs=3, batch_size=2, seed=1)
    others, g, by_hand = prepare()
    expected = []
    for batch in _epochs(X, y, 3):
        by_hand.zero_grad()
        expected.append(g.backward(*batch))
        by_hand.step()

    assert expected == losses
    assert [p.data for p in others] == [p.data for p in ps]
    assert [p.grad for p in others] == [p.grad for p in ps]
    assert [True, False, True, True, False, True] == [
        before == p.data for before, p in zip(start[:5] + [0.6], ps[:4] + [ps[1], ps[5]])
    ]
    ps[0].requires_grad = True
    f.fit(fitter, X, y)
    assert start[0] != ps[0].data


def _epochs(X, y, epochs):
    """The batches that `fit` with seed 1 makes."""
    order = random.Random(1)
    for _ in range(epochs):
        places = list(range(len(X)))
        order.shuffle(places)
        for i in range(0, len(X), 2):
            yield [X[k] for k in places[i : i + 2]], [y[k] for k in places[i : i + 2]]


def test_a_compiled_function_does_not_add_to_frozen_leaves():
    """Its backward, its bound form and threads; data is read anew."""
    a, b = Value(3.0).requires_grad_(False), Value(2.0)
    a.grad = 7.0
    f = pygrad.compile(lambda x: a * b * x)
    assert 30.0 == f.backward(5.0)
    a.data = 4.0
    assert 40.0 == f.backward(5.0)
    bound = f.bind(5.0)
    bound.backward()
    f.backward([5.0] * 100)

    assert (7.0, 15.0 + 3 * 20.0) == (a.grad, b.grad)
    assert [a, b] == f.parameters()
    a.requires_grad = True
    f.backward(5.0)
    assert 17.0 == a.grad


def test_frozen_leaves_go_with_all_they_have():
    """Freed frozen, a leaf leaves nothing behind; nor does one that a graph held."""
    before = engine.live_nodes()
    y = Value(3.0).requires_grad_(False) * 2.0
    y.backward()
    del y
    gc.collect()

    assert before == engine.live_nodes()


@pytest.mark.threads
def test_a_threads_sweep_leaves_anothers_frozen_leaf_alone():
    """While a sweep with closures runs in one thread, another one reads and sets the gradient that is kept."""
    a, seen = Value(3.0).requires_grad_(False), []
    a.grad = 7.0
    out = Value(9.0, (a,), "square")

    def _backward():
        a.grad += 6.0 * out.grad
        thread = threading.Thread(target=lambda: (seen.append(a.grad), setattr(a, "grad", 8.0)))
        thread.start()
        thread.join()

    out._backward = _backward
    out.backward()

    assert ([7.0], 8.0) == (seen, a.grad)


# --- checkpoint -------------------------------------------------------------------------------------------------------


class Program:
    """A program in parts, with Values of every kind: what its parts are called with, and what they find around."""

    def __init__(self):
        self.w, self.x, self.y = Value(2.0), Value(0.5), Value(-0.25)
        self.h, self.z = self.w * 3.0, self.x * self.y  # results that a part uses, from around and as argument
        self.leaves = [self.w, self.x, self.y]

    def part(self, z, ys, scale=1.0):
        """Three results, of one argument twice, a list, a number, and of what is around."""
        inner = (self.w * z).tanh() * self.h * scale
        return inner, [ys[0] * z + ys[0].stop_gradient(), 3.0], (pygrad.dot([self.w, ys[0]], [z, inner]),)

    def loss(self, part):
        """A loss in which all results, and all that the part uses, are used otherwise too."""
        a, (b, three), (c,) = part(self.z, [self.y, 1.0], scale=2.0)
        assert 3.0 == three
        return a * b + a * self.h + c * self.z + self.x

    def gradients(self):
        return [v.grad for v in self.leaves]


def close(numbers):
    """Equal but for the order in which gradients were added."""
    return pytest.approx(numbers, rel=1e-13)


SWEEPS = {
    "once": lambda p, loss: loss.backward(),
    "twice": lambda p, loss: (loss.backward(), loss.backward(2.0)),
    "from two roots": lambda p, loss: pygrad.backward([loss, p.h, loss], [1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("sweep", ["once", "twice", "from two roots", "anomaly", "no_grad"])
def test_checkpoint_gives_the_same_gradients(sweep):
    """Results and all gradients are those of the function itself, however the sweep is called."""
    numbers = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        p = Program()
        loss = p.loss(wrap(p.part))
        if sweep == "anomaly":
            with pygrad.detect_anomaly():
                loss.backward()
        elif sweep == "no_grad":
            with pygrad.no_grad():
                loss.backward()
        else:
            SWEEPS[sweep](p, loss)
        numbers.append([loss.data, *p.gradients()])

    assert close(numbers[0]) == numbers[1]
    assert pygrad.is_grad_enabled()


def test_grad_through_a_checkpoint_touches_nobody():
    """grad() by leaves and results gives what it gives without, and no Value's gradient changes."""
    p, q = Program(), Program()
    for v in p.leaves:
        v.grad = 7.0
    loss, plain = p.loss(pygrad.checkpoint(p.part)), q.loss(q.part)

    assert close(pygrad.grad(plain, [q.w, q.x, q.y, q.h, q.z])) == pygrad.grad(loss, [p.w, p.x, p.y, p.h, p.z])
    assert [7.0] * 3 == p.gradients()
    assert close(pygrad.grad(plain, q.w)) == pygrad.grad(loss, p.w)
    assert [7.0] * 3 == p.gradients()


def test_results_that_are_not_used():
    """A result that the loss does not use, or that was dropped, passes nothing on, also after a sweep that used it."""
    p, q = Program(), Program()
    a, (b, _), (c,) = pygrad.checkpoint(p.part)(p.z, [p.y])
    (a + b + c).backward()
    del c
    for v in p.leaves:
        v.grad = 0.0
    (b * 2.0).backward()
    plain = q.part(q.z, [q.y])[1][0]
    (plain * 2.0).backward()

    assert close(q.gradients()) == p.gradients()


def test_it_runs_once_a_pass():
    """Several results or not, the function is called again once in each backward pass."""
    calls, w = [], Value(2.0)

    @pygrad.checkpoint
    def part(x):
        calls.append(x)
        return x * w, x + w, [x.tanh()]

    x = Value(3.0)
    a, b, (c,) = part(x)
    assert 1 == len(calls)
    (a * b * c).backward()
    assert 2 == len(calls)
    pygrad.grad(a + c, [x])
    assert 3 == len(calls)
    assert all(v is not x and v._is_leaf() for v in calls)


def test_memory_is_that_of_one_part():
    """While the graph is held there is a node for each result and a few more; it is freed without the collector."""
    random.seed(1)
    layers = [pygrad.MLP(4, [16, 16, 4], activation="tanh") for _ in range(5)]
    seen = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        gc.collect()
        gc.disable()
        before = engine.live_nodes()
        x = [Value(0.1)] * 4
        for layer in layers:
            x = wrap(layer)(x)
        loss = pygrad.sum(x)
        held = engine.live_nodes() - before
        loss.backward()
        seen.append((held, engine.live_nodes() - before, [p.grad for layer in layers for p in layer.parameters()]))
        for layer in layers:
            layer.zero_grad()
        del x, loss
        assert before == engine.live_nodes()
        gc.enable()

    (plain, _, gradients), (held, after, again) = seen
    assert close(gradients) == again
    assert held <= 5 * (4 + 1) + 2 < plain / 5
    assert held == after


def test_checkpoints_nest():
    """One within another, and one after another, give the plain gradients."""

    def nested(wrap):
        w, x = Value(0.7), Value(0.3)

        @wrap
        def inner(v, k):
            return (v * w).tanh() + k

        @wrap
        def outer(v):
            a = inner(v, 1.0)
            return inner(a, v) * w, a

        a, b = outer(x)
        loss = outer(a)[0] * inner(b, a)
        loss.backward()
        return loss.data, w.grad, x.grad

    assert close(nested(lambda f: f)) == nested(pygrad.checkpoint)


def test_a_result_may_be_an_argument_or_from_around():
    """What the function hands through is passed on as well, once."""
    w, x = Value(2.0), Value(3.0)
    h = w * w
    a, b, c, d = pygrad.checkpoint(lambda v: (v, w, h, 5.0))(x)
    (a * 10.0 + b * 100.0 + c * 1000.0 + h * d).backward()

    assert (10.0, 100.0 + 4.0 * 1005.0) == (x.grad, w.grad)
    assert a is not x


def test_without_values_it_is_a_leaf():
    """Of a function that uses no Value the results are leaves; of one that returns none, what it returns."""
    v = pygrad.checkpoint(lambda x: Value(x) * 2.0)(3.0)

    assert (6.0, *LEAF) == (v.data, *graph_of(v))
    assert [1.0, None] == pygrad.checkpoint(lambda x: [1.0, None])(Value(1.0))


def test_what_has_no_gradient_is_not_reached():
    """An argument behind stop_gradient gets none: not even a 0, which an infinite slope makes a nan."""
    x, y = Value(0.0), Value(1.0)
    out = pygrad.checkpoint(lambda a, b: a.stop_gradient() + b)(x.sqrt(), y)
    out.backward()

    assert (0.0, 1.0) == (x.grad, y.grad)


def test_closures_within_a_checkpoint():
    """Ops of one's own within the function, declared or with a closure, work as outside."""
    numbers = []
    for wrap in (lambda f: f, pygrad.checkpoint):
        w, x = Value(0.7), Value(0.3)
        wrap(lambda v, w=w: lecture_tanh(v * w) * twice(v) + Value(v.data, (v,), (5.0,)))(x * 2.0).backward()
        numbers.append((w.grad, x.grad))

    assert close(numbers[0]) == numbers[1]


def test_frozen_leaves_and_a_checkpoint():
    """A frozen argument and a frozen leaf from around keep their gradients; requires_grad sees through."""
    w, u, x = Value(2.0).requires_grad_(False), Value(3.0), Value(0.5).requires_grad_(False)
    part = pygrad.checkpoint(lambda v: v * w + u * v)
    assert part(x).requires_grad
    part(x).backward()
    assert (0.0, 0.5, 0.0) == (w.grad, u.grad, x.grad)
    u.requires_grad = False
    assert not part(x).requires_grad
    x.requires_grad = True
    part(x).backward()

    assert (0.0, 0.5, 5.0) == (w.grad, u.grad, x.grad)
    assert [0.5] == pygrad.grad(part(x), [w])


def test_within_no_grad_and_recorded_it_is_the_function():
    """Within no_grad() results are leaves; a compiled function has its operations."""
    w, x = Value(2.0), Value(3.0)
    part = pygrad.checkpoint(lambda v: v * w)
    with pygrad.no_grad():
        assert LEAF == graph_of(part(x))
    f = pygrad.compile(part)

    assert (6.0, (2.0,)) == f.backward(3.0, inputs=True)
    assert 3.0 == w.grad
    assert "part" != part.__name__ == "<lambda>"


def test_random_numbers_are_drawn_again():
    """What the function draws from `random` is the same the second time; the program's own sequence goes on."""

    def draws(wrap):
        random.seed(5)
        x = Value(0.5)
        out = wrap(lambda v: pygrad.sum([v * random.random() for _ in range(5)]))(x)
        between = random.random()
        out.backward()
        return out.data, x.grad, between, random.random()

    assert draws(lambda f: f) == draws(pygrad.checkpoint)


def test_numpys_random_numbers_are_drawn_again():
    """So is what comes from NumPy's global generator."""
    numpy = pytest.importorskip("numpy")
    numpy.random.seed(5)
    x = Value(0.5)
    out = pygrad.checkpoint(lambda v: v * float(numpy.random.random()))(x)
    out.backward()

    assert out.data == x.grad * x.data


@pytest.mark.parametrize(
    "second, told",
    [
        (lambda v: [v * 2.0], "structure"),
        (lambda v: 3.0, "structure"),
        (lambda v: v * 3.0, "result is another"),
        (lambda v: v**2, "other operations"),
        (lambda v: v * 2.0 + 0.0, "other operations"),
        (lambda v: v * other, "other operations"),
    ],
)
def test_another_second_run_is_refused(second, told):
    """Code that does something else the second time is named; gradients stay, and the first function serves again."""
    todo, x = [], Value(2.0)

    def part(v):
        return todo.pop()(v)

    todo.append(lambda v: v * 2.0)
    y = pygrad.checkpoint(part)(x) * 3.0
    todo.append(second)
    with pytest.raises(RuntimeError, match=f"part did not do the same a second time: .*{told}"):
        y.backward()

    assert (0.0, 0.0) == (x.grad, other.grad)
    todo.append(lambda v: v * 2.0)
    y.backward()
    assert 6.0 == x.grad


other = None


@pytest.fixture(autouse=True)
def a_value_from_around():
    """`other`, for functions that are parameters."""
    global other
    other = Value(2.0)
    yield
    other = None


def test_data_that_changed_in_between():
    """A backward pass goes by the data as they are then, as it does without a checkpoint."""
    for wrap in (lambda f: f, pygrad.checkpoint):
        w, x = Value(2.0), Value(3.0)
        y = wrap(lambda v, w=w: v * w)(x)
        w.data = 5.0
        y.backward()
        assert (3.0, 5.0) == (w.grad, x.grad)


def test_exceptions_go_through():
    """One in the first run leaves nothing behind; one in the second ends the sweep, and the next one is right."""
    todo, x, u = [], Value(2.0), Value(1.0)

    @pygrad.checkpoint
    def part(v):
        y = v * v
        if todo:
            todo.pop()
            raise KeyError("mine")
        return y

    todo.append(1)
    before = engine.live_nodes()
    with pytest.raises(KeyError, match="mine"):
        part(x)
    assert before == engine.live_nodes()
    assert pygrad.is_grad_enabled()
    y = part(x) * u
    todo.append(1)
    with pytest.raises(KeyError, match="mine"):
        y.backward()
    x.grad = u.grad = 0.0
    y.backward()

    assert (4.0, 4.0) == (x.grad, u.grad)
    engine.check_arena()


def test_checkpoint_by_hand():
    """Back-propagation node by node, by `_backward()`, goes through too."""
    x = Value(3.0)
    y = pygrad.checkpoint(lambda v: v * v)(x)
    y.grad = 1.0
    for v in newest_first(y):
        v._backward()

    assert 6.0 == x.grad


@pytest.mark.threads
def test_checkpoints_in_threads():
    """Threads that checkpoint at the same time, with shared parameters, do not meet."""
    w, grads = Value(2.0), {}

    def run(k):
        x = Value(float(k))
        for _ in range(20):
            pygrad.checkpoint(lambda v: (v * w).tanh() * v)(x).backward()
        grads[k] = x.grad

    threads = [threading.Thread(target=run, args=(k,)) for k in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in grads:
        x = Value(float(k))
        for _ in range(20):
            ((x * 2.0).tanh() * x).backward()
        assert close(x.grad) == grads[k]


def test_what_checkpoint_refuses():
    """What is no function."""
    with pytest.raises(TypeError, match="needs a function"):
        pygrad.checkpoint(3.0)


@pytest.mark.once
def test_a_checkpoint_makes_the_first_draw_of_numpy():
    """NumPy loads its generator then: the second run draws the numbers of the first one."""
    program = """
import sys
import numpy as np
import pygrad

w = pygrad.Value(2.0)
y = pygrad.checkpoint(lambda x: x * float(np.random.normal()))(w)
y.backward()
print(w.grad == y.data / 2.0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ("True", "") == (done.stdout.strip(), done.stderr)
