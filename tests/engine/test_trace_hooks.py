"""What tracing needs of the engine: to tell new leaves from old ones, and to hear of reads that fix a number."""

import gc
import os
import subprocess
import sys
import threading

import pytest

from pygrad import detect_anomaly, engine
from pygrad.engine import Value, cells
from pygrad.engine._lib import lib

# --- traces -----------------------------------------------------------------------------------------------------------

running = threading.local()


def begin_trace():
    """Begin a trace, which lasts until end_trace() of this thread; return its moment."""
    running.__dict__.setdefault("traces", []).append(cells.trace())
    return running.traces[-1].moment


def end_trace():
    """End the trace that this thread began last."""
    running.traces.pop()


@pytest.fixture
def since():
    """The moment at which a trace began that runs during the test, with free leaf slots left by what was before."""
    freed = [Value(1.0) for _ in range(50)]
    del freed
    found = begin_trace()
    yield found
    end_trace()


def is_new(v, since):
    """True if the leaf `v` was made after the trace that began at this moment."""
    return bool(lib.pg_made_since(since, v._pg_id))


def test_leaves_made_inside_are_new(since):
    """Each leaf that a trace makes is told, in a free slot or a further one; the hidden constant of `v * 2.0` too."""
    made = [Value(1.0) for _ in range(100)]
    made += [v for v in (made[0] * 2.0)._prev if v is not made[0]]

    assert [True] * 101 == [is_new(v, since) for v in made]
    engine.check_arena()


def test_leaves_made_before_are_not_new():
    """A leaf that was there when the trace began is told from those made inside, one of an earlier trace too."""
    begin_trace()
    old = [Value(1.0) for _ in range(50)]
    end_trace()
    old += [Value(1.0) for _ in range(50)]
    since = begin_trace()
    try:
        assert [False] * 100 == [is_new(v, since) for v in old]
    finally:
        end_trace()


def test_a_leaf_in_the_slot_of_an_old_one_is_new():
    """The slot of a leaf that was there before, and died inside, serves again: what is made there now is new."""
    old = Value(1.0)
    slot, since = old._pg_id, begin_trace()
    try:
        del old
        made = [Value(1.0) for _ in range(10)]
        assert slot in [v._pg_id for v in made]
        assert [True] * 10 == [is_new(v, since) for v in made]
        engine.check_arena()
    finally:
        end_trace()


def test_a_leaf_in_the_slot_of_a_new_one_is_old_to_the_next_trace():
    """What is made after a trace, in a slot that served inside it, was there before the next trace."""
    begin_trace()
    inside = [Value(1.0) for _ in range(50)]
    slots = {v._pg_id for v in inside}
    del inside
    end_trace()
    old = [Value(1.0) for _ in range(50)]
    since = begin_trace()
    end_trace()

    assert slots == {v._pg_id for v in old}
    assert [False] * 50 == [is_new(v, since) for v in old]
    engine.check_arena()


def test_slots_serve_again_inside_a_trace_and_after_it(since):
    """Slots that are free when a trace begins, and those freed inside it, serve at once: the pool does not grow."""
    slots = set()
    for _ in range(3):
        made = [Value(1.0) for _ in range(50)]
        slots |= {v._pg_id for v in made}
        del made
        engine.check_arena()

    assert 50 == len(slots)


def test_traces_nest(since):
    """A trace in a trace has a moment of its own; what the inner one made is new to the outer one, and later too."""
    outside = Value(1.0)
    dead = Value(1.0)
    del dead
    inner = begin_trace()
    try:
        inside = Value(1.0)
        assert (True, False) == (is_new(inside, inner), is_new(outside, inner))
        assert is_new(inside, since)
    finally:
        end_trace()
    del inside
    later = Value(1.0)

    assert [True, True] == [is_new(v, since) for v in (outside, later)]
    engine.check_arena()


@pytest.mark.threads
def test_traces_of_several_threads():
    """Traces may overlap in any way: each knows what was made since it began, by whatever thread."""
    first, begun, end, made = begin_trace(), threading.Event(), threading.Event(), []
    early = Value(1.0)

    def trace():
        made.append(begin_trace())
        made.append(Value(1.0))
        begun.set()
        end.wait()
        made.append([is_new(v, made[0]) for v in (early, made[1], during)])
        end_trace()

    thread = threading.Thread(target=trace)
    thread.start()
    begun.wait()
    seen = [is_new(v, first) for v in (early, made[1])]
    end_trace()
    during = Value(1.0)
    end.set()
    thread.join()

    assert [True, True] == seen
    assert [False, True, True] == made[-1]
    engine.check_arena()


def test_out_of_memory_inside_a_trace(since):
    """A leaf that there is no memory for is a MemoryError, and the trace goes on."""
    before = engine.live_nodes()
    kept = []

    def fill():
        while True:
            kept.append(Value(0.0))

    lib.pg_fail_allocation(1)
    try:
        with pytest.raises(MemoryError):
            fill()
    finally:
        lib.pg_fail_allocation(0)
    engine.check_arena()

    assert before + len(kept) == engine.live_nodes()
    assert is_new(Value(1.0), since)


RECORDINGS = """
import threading
import pygrad
from pygrad import engine
from pygrad.engine._lib import lib
from pygrad.engine import Value, cells

furthest = 0  # the id of a leaf: the further, the smaller

def steps(x):
    # 200 leaves of its own, and 200 constants
    global furthest
    for _ in range(200):
        leaf = Value(0.1)
        furthest = min(furthest, leaf._pg_id)
        x = x * 1.01 + leaf
    return x

def record(function=steps):
    pygrad.compile(function, batched=False)(2.0)

def record_within():
    record(lambda x: pygrad.compile(steps, batched=False)(x) + steps(x))

def record_while_recording():
    record(lambda x: (record(), steps(x))[1])

def record_a_jacobian():
    pygrad.jacobian(pygrad.compile(lambda x: [steps(x)], batched=False))(2.0)

def record_a_gradient():
    record(lambda x: pygrad.grad(steps(x), x, create_graph=True))

def record_what_raises():
    try:
        record(lambda x: steps(x) / (1 // 0))
    except ZeroDivisionError:
        pass

def record_what_stays():
    # the last leaf of each, until the next one has ended: never in the same slot
    record(lambda x: (steps(x), kept.append(Value(1.0)))[0])
    del kept[:-1]

def record_beside():
    def overlap(x):
        thread = threading.Thread(target=record)
        thread.start()
        y = steps(x)
        thread.join()
        return y
    record(overlap)

def checkpoint():
    pygrad.checkpoint(steps)(Value(2.0)).backward()

def checkpoint_within():
    inner = pygrad.checkpoint(steps)
    pygrad.checkpoint(lambda x: steps(inner(x)))(Value(2.0)).backward()

def checkpoint_what_raises():
    try:
        pygrad.checkpoint(lambda x: steps(x) / (1 // 0))(Value(2.0))
    except ZeroDivisionError:
        pass

kept = []
runs = [record, record_within, record_while_recording, record_a_jacobian, record_a_gradient, record_what_raises]
runs += [record_what_stays, record_beside, checkpoint, checkpoint_within, checkpoint_what_raises]
for run in 3 * runs:
    run()
reserved = engine.reserved_bytes()
for is_inside in (False, True):
    if is_inside:
        outer = cells.trace()
    for run in runs:
        run()
        before = furthest
        for _ in range(12):
            run()
        engine.check_arena()
        if before - furthest > 2000:
            print(run.__name__, "takes", before - furthest, "slots more")
del outer
print(engine.reserved_bytes() - reserved)
"""


def test_recordings_take_no_memory_for_good():
    """Whatever was recorded before, a recording finds its slots again; also while there is a trace that goes on."""
    done = subprocess.run([sys.executable, "-c", RECORDINGS], capture_output=True, text=True, timeout=240)

    assert ("", "0\n") == (done.stderr, done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_keeps_the_traces_of_its_own_thread(since):
    """The child of a fork goes on with the trace of the thread that forked, and drops those of the others."""
    begun, end = threading.Event(), threading.Event()

    def trace():
        begin_trace()
        begun.set()
        end.wait()
        end_trace()

    thread = threading.Thread(target=trace)
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        inside = Value(1.0)
        right = is_new(inside, since)
        ended = cells.OPEN.of[lib.PG_MODE_TRACE] == 1  # the other thread's
        end_trace()
        slot = inside._pg_id
        del inside
        outside = Value(1.0)  # whose birth nobody notes
        next_trace = begin_trace()
        right = right and ended and slot == outside._pg_id and not is_new(outside, next_trace)
        os._exit(0 if right and not lib.pg_check() else 1)
    end.set()
    thread.join()

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# --- the hook ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def told():
    """What a hook was told during the test: a list of (Value, what)."""
    calls = []
    assert engine.set_trace_hook(lambda value, what: calls.append((value, what))) is None
    yield calls
    engine.set_trace_hook(None)
    calls.clear()


READS = {
    "data": (lambda v: v.data, 2.0),
    "item()": (lambda v: v.item(), 2.0),
    "detach()": (lambda v: v.detach()._read(), 2.0),
}
COMPARISONS = [
    (lambda v, w: v < w, True),
    (lambda v, w: v <= w, True),
    (lambda v, w: v > w, False),
    (lambda v, w: v >= w, False),
]


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("make", [lambda: Value(2.0), lambda: Value(1.0) * 2.0], ids=["leaf", "interior"])
def test_a_read_is_told_once(told, what, make):
    """`.data`, `.item()` and `.detach()` tell the hook once, by their own name, and give what they always do."""
    v = make()
    read, expected = READS[what]

    assert expected == read(v)
    assert [(v, what)] == told


@pytest.mark.parametrize("compare, expected", COMPARISONS)
@pytest.mark.parametrize("make", [lambda: Value(3.0), lambda: 3.0], ids=["Value", "number"])
def test_a_comparison_is_told_once(told, compare, expected, make):
    """Each of `< <= > >=`, with a Value or a number, tells the hook once, and not of `data` too."""
    v = Value(2.0)

    assert expected is compare(v, make())
    assert [(v, "a comparison")] == told


def test_a_number_on_the_left_is_told(told):
    """`3.0 > v` is `v < 3.0`: told once."""
    v = Value(2.0)

    assert (3.0 > v) is True
    assert [(v, "a comparison")] == told


def test_what_takes_no_number_out_is_not_told(told):
    """repr, format, arithmetic, backward, equality, writing, layers and optimizers tell nothing."""
    from pygrad import nn, optim

    v, w = Value(2.0), Value(3.0)
    y = v * w + 2.0 - v.relu() ** 2
    y.backward()
    text = f"{v} {v:.2f} {v!r}"
    same = v == w or v != v or v in {w}
    v.data, v.grad = 4.0, v.grad + 1.0
    net = nn.MLP(2, [2, 1])
    net([v, w]).backward()
    sgd = optim.SGD(net.parameters(), lr=0.1)
    sgd.step()
    sgd.zero_grad()
    engine.sum([v, w]), engine.dot([v], [w]), engine.maximum(v, w)

    assert ("Value(data=2.0, grad=-1.0) 2.00 Value(data=2.0, grad=-1.0)", False) == (text, same)
    assert [] == told


def test_detect_anomaly_is_not_told(told):
    """The checks of detect_anomaly() read every result, and are no program."""
    with detect_anomaly():
        (Value(2.0) * 3.0 + Value(1.0)).backward()
        with pytest.raises(FloatingPointError):
            Value(-1.0).log()

    assert [] == told


@pytest.mark.parametrize("what", [*READS, "a comparison"])
def test_a_hook_that_raises_stops_the_read(what):
    """An exception of the hook is the read's, and nothing leaks: the Values go, and reads work again."""

    class Warned(Exception):
        pass

    def hook(value, what):
        raise Warned(what)

    v = Value(2.0)
    live, references = engine.live_nodes(), sys.getrefcount(v)
    engine.set_trace_hook(hook)
    try:
        for _ in range(100):
            with pytest.raises(Warned, match=what.replace("(", r"\(").replace(")", r"\)")):
                READS[what][0](v) if what in READS else v < 3.0
    finally:
        engine.set_trace_hook(None)
    gc.collect()

    assert (live, references) == (engine.live_nodes(), sys.getrefcount(v))
    assert 2.0 == v.data


def test_a_hook_may_read():
    """What the hook itself reads is not told to it."""
    seen = []
    engine.set_trace_hook(lambda value, what: seen.append((what, value.data, value < 3.0, value.item())))
    try:
        assert 2.0 == Value(2.0).data
    finally:
        engine.set_trace_hook(None)

    assert [("data", 2.0, True, 2.0)] == seen


def test_a_data_of_a_subclass_is_told_once(told):
    """A subclass whose `data` is its own is read through it, and the hook is told once."""

    class Doubled(Value):
        @property
        def data(self):
            return 2.0 * super().data

    v = Doubled(2.0)

    assert (4.0, True) == (v.item(), v > 3.0)
    assert [(v, "item()"), (v, "a comparison")] == told
    assert 4.0 == v.data
    assert (v, "data") == told[-1]
    assert "Value(data=4.0, grad=0.0)" == repr(v)
    assert 3 == len(told)


@pytest.mark.parametrize("other", ["1", None, 1j])
def test_a_comparison_that_is_refused_is_not_told(told, other):
    """A comparison with what is no number raises TypeError, and reads nothing."""
    with pytest.raises(TypeError):
        assert Value(1.0) < other

    assert [] == told


def test_a_value_without_a_node_is_not_told(told):
    """Reading a Value whose __init__ never ran raises as ever."""
    v = Value.__new__(Value)
    for read, _ in READS.values():
        with pytest.raises(RuntimeError, match="never initialised"):
            read(v)

    assert [] == told


def test_a_new_hook_returns_the_old_one():
    """set_trace_hook returns the hook that it replaces, so that hooks can be nested."""

    def first(value, what):
        pass

    assert engine.set_trace_hook(first) is None
    assert engine.set_trace_hook(print) is first
    assert engine.set_trace_hook(None) is print
    assert engine.set_trace_hook(None) is None


@pytest.mark.parametrize("bad", [1, "hook", []])
def test_what_cannot_be_called_is_no_hook(bad):
    """A hook that is no function is refused, and the one there stays."""
    engine.set_trace_hook(print)
    try:
        with pytest.raises(TypeError, match="a trace hook must be a function"):
            engine.set_trace_hook(bad)
    finally:
        assert engine.set_trace_hook(None) is print
