"""Memory that C is given is held: it cannot move or become shorter while C may read or write it."""

import contextlib
import ctypes
import gc
import mmap
import sys
import threading
from array import array

import numpy as np
import pytest
from alone import alone

import pygrad
from pygrad import Value, engine, nn, optim

N = 1000
w = Value(2.0)
f = pygrad.compile(lambda x, c: x * c * w, reduction="sum")


def of_a_bytearray():
    memory = bytearray(bytes(array("d", [1.0] * N)))
    return memoryview(memory).cast("d"), [memory.clear, lambda: memory.extend(memory), memory.pop]


def of_an_mmap():
    memory = mmap.mmap(-1, 8 * N)
    view = memoryview(memory).cast("d")
    view[:] = array("d", [1.0] * N)

    def close():
        with contextlib.suppress(BufferError):
            view.release()
        memory.close()

    return view, [close, lambda: memory.resize(800_000)]


def of_an_array():
    memory = array("d", [1.0] * N)
    changes = [memory.pop, lambda: memory.extend(memory), lambda: memory.__delitem__(slice(None))]
    return memory, [*changes, lambda: memory.__iadd__(memory), lambda: memory.fromlist([1.0])]


def of_numpy():
    memory = np.ones(N)
    return memory, [lambda: memory.resize(10 * N), lambda: memory.resize(0)]


def of_ctypes():
    memory = bytearray(bytes(array("d", [1.0] * N)))
    given = (ctypes.c_double * N).from_buffer(memory)
    return given, [memory.clear, lambda: ctypes.resize(given, 80 * N)]


MEMORIES = {
    "array": of_an_array,
    "bytearray": of_a_bytearray,
    "mmap": of_an_mmap,
    "numpy": of_numpy,
    "ctypes": of_ctypes,
}


@alone
def test_what_a_bound_function_reads_and_writes_cannot_move():
    """Arrays of every kind, and its own output and gradients."""
    for make in MEMORIES.values():
        given, changes = make()
        bound = f.bind(given, 2.0)
        for own in (bound.output, bound.gradients, bound.inputs[1]):
            changes += [
                own.pop,
                lambda own=own: own.extend([0.0] * 100_000),
                lambda own=own: own.__delitem__(slice(None)),
            ]
        for change in changes:
            try:
                change()
            except (BufferError, ValueError, SystemError):  # SystemError: an mmap that cannot be resized at all
                pass
            else:
                raise AssertionError(f"{make.__name__}: {change} is allowed")
        bound.backward()
        assert 4.0 * N == bound.output[0]
        assert [4.0] * N + [2.0] * N == bound.gradients.tolist()
        run = bound.backward
        del given, changes, change, bound
        gc.collect()
        run()  # the function alone holds all of it too


@alone
def test_memory_of_ctypes_that_may_move_is_copied():
    """ctypes.resize() moves an array though there are views of it: so it is not bound, and a call copies it."""
    given = (ctypes.c_double * N)(*[1.0] * N)
    view = memoryview(given)
    for memory in (given, view, memoryview(view)):
        with pytest.raises(ValueError, match=r"from_buffer\(\)"):
            f.bind(memory, 2.0)
        assert 4.0 * N == f(memory, 2.0)

    def resize(progress):
        ctypes.resize(given, 8 * N * (progress.epoch + 2))

    losses = f.fit(optim.SGD([w], lr=0.0), given, 2.0, epochs=20, callback=resize)
    assert [4.0 * N] * 20 == losses


@alone
def test_what_a_training_reads_cannot_move():
    """A callback or a schedule that resizes samples, targets or weights gets the error of a memory in use."""
    loss = pygrad.compile(lambda x, y, weight: (x * w - y) ** 2 * weight)
    for place in range(3):
        for options in ({"batch_size": 64, "seed": 1}, {}):
            for name in ("callback", "schedule"):
                given = [array("d", [1.0] * N) for _ in range(3)]

                def change(progress, memory=given[place]):
                    memory.extend([0.0] * 100_000)

                try:
                    loss.fit(optim.SGD([w], lr=0.0), *given, epochs=3, **options, **{name: change})
                except BufferError:
                    continue
                raise AssertionError("extended")
    assert [1.0] == loss.fit(optim.SGD([w], lr=0.0), *[array("d", [1.0] * N) for _ in range(3)])


@alone
def test_one_thread_resizes_what_another_one_uses():
    """Each call sees one length of its array, or refuses it; all numbers in the array are 1."""
    sys.setswitchinterval(1e-6)
    memory, stop = array("d", [1.0] * N), threading.Event()
    jacobian = pygrad.jacobian(pygrad.compile(lambda x: [x * w]))

    def resize():
        while not stop.is_set():
            with contextlib.suppress(BufferError):
                memory.extend([1.0] * 5000)
            with contextlib.suppress(BufferError):
                del memory[N:]

    thread = threading.Thread(target=resize)
    thread.start()
    try:
        for k in range(400):
            with contextlib.suppress(ValueError):
                given = memoryview(memory) if k % 5 == 4 else memory
                assert (f(given, 2.0) / 4.0 - N) % 5000 == 0
                total, (by_x, by_c) = f.backward(given, 2.0, inputs=True)
                assert {4.0} == set(by_x)
                assert len(by_x) == total / 4.0 == by_c / 2.0
                assert {2.0} == {row[0] for row in jacobian(given)} if k % 10 == 0 else True
            if k % 40 == 0:
                assert f.fit(optim.SGD([w], lr=0.0), memory, 2.0)[0] >= 4.0 * N
            given = None
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs __buffer__")
@alone
def test_a_buffer_is_asked_for_once():
    """An object that gives another buffer the second time is read as it was the first time."""
    others = [
        np.ones(1),
        np.zeros(0),
        np.ones(N, dtype="q"),
        np.ones(2 * N, dtype="f"),
        np.ones((N, 2)).T,
        np.ones(9 * N),
    ]

    class Changing:
        def __init__(self, other):
            self.buffers = iter([np.ones(N), other])

        def __buffer__(self, flags):
            return memoryview(next(self.buffers))

    for other in others:
        assert 4.0 * N == f(Changing(other), 2.0)
        assert 4.0 * N == f.backward(Changing(other), 2.0)
        bound = f.bind(Changing(other), 2.0)
        bound.backward()
        assert 4.0 * N == bound.output[0]


# --- numbers that run a program's code --------------------------------------------------------------------------------


class Acting(float):
    """A number that does something when it is read."""

    def __new__(cls, number, act):
        self = super().__new__(cls, number)
        self.act = act
        return self

    def __float__(self):
        self.act()
        return float.__add__(self, 0.0)


class Derived(Value):
    """For C this is no plain Value: an optimizer moves it in Python."""


def empty(buffers):
    for buffer in buffers:
        if isinstance(buffer, array):
            del buffer[:]


ACTIONS = {
    "empties the state": lambda o: [empty(state.values()) for state in o.state],
    "lengthens the state": lambda o: [b.append(0.0) for s in o.state for b in s.values() if isinstance(b, array)],
    "replaces the state": lambda o: [state.update(dict.fromkeys(state)) for state in o.state],
    "clears the state": lambda o: [state.clear() for state in o.state],
    "clears the parameters": lambda o: [group["params"].clear() for group in o.param_groups],
    "drops the parameters": lambda o: [group.update(params=[]) for group in o.param_groups],
    "clears the groups": lambda o: o.param_groups.clear(),
    "steps": lambda o: o.step(),
    "zeroes": lambda o: o.zero_grad(),
    "loads": lambda o: o.load_state_dict(o.state_dict()),
    "gives operands": lambda o: [setattr(p, "_prev", {Value(1.0)}) for g in o.param_groups for p in g["params"]],
}
OPTIONS = {optim.SGD: ("lr", "momentum", "dampening", "weight_decay"), optim.AdamW: ("lr", "eps", "weight_decay")}


@alone
def test_an_option_of_an_optimizer_that_acts_when_it_is_read():
    """Whatever it does to the optimizer, the step is made or refused; C never writes past the end of a buffer."""
    for act in ACTIONS.values():
        for kind, names in OPTIONS.items():
            for name in names:
                for value_type in (Value, Derived):
                    for train in (False, True):
                        step_with(act, kind, name, value_type, train)
    gc.collect()
    engine.check_arena()


def step_with(act, kind, name, value_type, train):
    params = [value_type(float(i)) for i in range(200)]
    momentum = {"momentum": 0.5} if kind is optim.SGD else {}
    optimizer = kind([{"params": params[:100]}, {"params": params[100:]}], lr=0.1, **momentum)
    for p in params:
        p.grad = 1.0
    optimizer.step()
    acting = []

    def once():
        if acting:
            acting.pop()
            act(optimizer)

    optimizer.param_groups[1][name] = Acting(0.1, once)
    acting.append(1)
    with contextlib.suppress(BufferError, ValueError, TypeError, KeyError, IndexError, RuntimeError, AttributeError):
        if train:
            pygrad.compile(lambda x: params[0] * x).fit(optimizer, [1.0, 2.0], epochs=2)
        else:
            optimizer.step()
    assert all(abs(p.data) < 1e6 for p in params)


class Read(float):
    """A number that empties the lists of the test when it is read."""

    lists = []

    def __float__(self):
        for given in self.lists:
            given.clear()
        return 2.0


def of_lists(make, *given):
    """Call `make` with lists that are emptied while they are read, and return the data of the result."""
    lists = [list(items) for items in given]
    Read.lists[:] = lists
    out = make(*lists)
    Read.lists.clear()
    return out.data if isinstance(out, Value) else out


@alone
def test_lists_that_their_items_empty():
    """A list is read once: what an item does to it later changes nothing, or is refused."""
    x, two = Value(3.0), Read(2.0)
    assert 8.0 == of_lists(pygrad.sum, [two, x, x])
    assert 12.0 == of_lists(lambda ws: pygrad.dot(ws, [x, x]), [two, two])
    assert 3.0 == of_lists(lambda values: pygrad.take(values, Value(1.0)), [two, x])
    assert 3.0 == of_lists(lambda xs, slopes: engine.declared(x, xs, slopes), [x, x], [two, two])
    assert 1.0 == of_lists(lambda children, grads: Value(1.0, children, tuple(grads)), [x, x], [two, two])
    assert 2.0 == of_lists(lambda children: Value(two, children), [x, x])
    assert [3.0] == of_lists(lambda point: pygrad.gradient(lambda p: p[0] * x)(point), [two])
    assert 8.0 == of_lists(lambda column: pygrad.compile(lambda p: p * 2.0, reduction="sum")(column), [two, two])

    layer = nn.Layer(2, 3)
    rows, inputs = [n.w for n in layer.neurons], [two, two]
    Read.lists[:] = [*rows, inputs, layer.neurons]
    with contextlib.suppress(TypeError, ValueError):
        layer(inputs)
    Read.lists.clear()


@alone
def test_an_option_of_fit_that_acts_when_it_is_read():
    """Epochs and batch size are read once; what that does to the samples or the optimizer is refused, or seen."""

    class Whole:
        def __init__(self, number, act, *given):
            self.number, self.act, self.given = number, act, given

        def __index__(self):
            self.act(*self.given)
            return self.number

    acts = [
        lambda samples, optimizer: samples.clear(),
        lambda samples, optimizer: optimizer.state.clear(),
        lambda samples, optimizer: empty(optimizer.state[0].values()),
    ]
    loss = pygrad.compile(lambda x: x * w)
    for option, number in (("batch_size", 7), ("epochs", 2)):
        for act in acts:
            samples, optimizer = bytearray(bytes(array("d", [1.0] * N))), optim.Adam([w], lr=0.0)
            options = {option: Whole(number, act, samples, optimizer)}
            with contextlib.suppress(BufferError, ValueError, IndexError):
                assert {2.0} == set(loss.fit(optimizer, memoryview(samples).cast("d"), **options))
