"""Threads and forks: what threads share, what the child of a fork finds, what the garbage collector must see.

(Of Values alone: tests/engine/test_lifetime.py. Many more forks: `python tests/tools/forks.py 2000`.)
"""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from array import array
from pathlib import Path

import pytest
from together import in_threads

import pygrad
from pygrad.engine import Value, check_arena, reserved_bytes
from pygrad.tape.tape import Tape

pytestmark = pytest.mark.threads
FORKS = Path(__file__).parent.parent / "tools" / "forks.py"
needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or "PYGRAD_SANITIZED" in os.environ,
    reason="needs fork, and an allocator that survives one beside threads",
)


def run(*command, program="", limit=100):
    """Run Python; return what it wrote to stdout."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        *map(str, command),
        *(["-c", textwrap.dedent(program)] if program else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    assert (0, "") == (done.returncode, done.stderr if done.returncode else ""), done.stdout
    return done.stdout


# --- forks ------------------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("how, count", [("fork", 60), ("process", 2), ("pool", 1), ("forkserver", 1)])
def test_a_child_can_do_everything(how, count):
    """Whatever other threads were doing, the child of a fork does all that pygrad can, and no child hangs."""
    assert ": 0 failed" in run(FORKS, count, "--how", how)


@needs_fork
def test_a_fork_while_another_thread_imports():
    """pygrad imports some modules at their first use: a fork waits until they are there."""
    program = """
        import os, signal, sys, threading, time
        import pygrad

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "inspect":
                    begun.set()
                    time.sleep(0.2)

        def work():
            pygrad.no_grad()(len)

        begun = threading.Event()
        sys.meta_path.insert(0, Slow())
        assert "inspect" not in sys.modules
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            work()
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        thread.join()
    """
    assert "0\n" == run(program=program)


# --- threads ----------------------------------------------------------------------------------------------------------


def test_what_runs_at_any_moment_may_record():
    """A signal handler, or a finalizer, may run while a recording begins: it records a function of its own."""
    program = """
        import signal, sys
        import pygrad

        def handler(frame, event, argument):
            if event == "call" and frame.f_code.co_name == "watch":
                sys.setprofile(None)
                seen.append(pygrad.compile(lambda x: x * 3.0)(2.0))
                sys.setprofile(handler)

        signal.alarm(30)
        seen = []
        sys.setprofile(handler)
        outer = pygrad.compile(lambda x: x * 2.0)(1.0)
        sys.setprofile(None)
        print(outer, set(seen), pygrad.engine.set_trace_hook(None))
    """
    assert "2.0 {6.0} None\n" == run(program=program)


def test_the_first_of_everything_in_eight_threads():
    """In a fresh process eight threads ask for all that is made at its first use: each gets what one alone gets."""
    program = """
        import os, pickle, sys, tempfile, threading
        import pygrad
        from pygrad.engine import Value

        NAMES = "tanh exp log sigmoid sqrt sin cos tan asin acos atan sinh cosh log1p expm1 erf".split()
        NAMES += ["softplus", "silu", "gelu"]

        def twice():
            return [pygrad.derivative(lambda v: getattr(v, name)(), order=2)(0.37) for name in NAMES]

        def compiled():
            f = pygrad.compile(lambda x, y: (x * y).tanh() + x)
            out = [f(0.5, y=0.25), f.backward([1.0, 2.0], [3.0, 4.0], inputs=True)]
            with tempfile.TemporaryDirectory() as folder:
                f.save(os.path.join(folder, "f"))
                out.append(pygrad.load(os.path.join(folder, "f"))(0.5, 0.25))
            return out, pickle.loads(pickle.dumps(f))(1.0, 2.0)

        def transformed():
            x = [0.5, 0.25]
            jacobian = pygrad.jacobian(lambda v: [v[0] * v[1], v[1]])(x)
            return pygrad.jvp(Value.gelu)(0.5, 1.0), pygrad.taylor(Value.erf, 4)(0.3), jacobian

        def others():
            from pygrad import viz
            with pygrad.no_grad():
                y = Value(1.0) * 2.0
            @pygrad.no_grad()
            def steps():
                yield (Value(3.0) * 2.0)._prev
            return y._prev, list(steps()), len(viz.trace(Value(1.0) * 2.0)[0])

        JOBS = [twice, compiled, transformed, others]
        results, start = [None] * 8, threading.Barrier(8)

        def work(i):
            start.wait()
            results[i] = {job: repr(job()) for job in JOBS[i % 4:] + JOBS[:i % 4]}

        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(results == [{job: repr(job()) for job in JOBS}] * 8)
    """
    assert "True\n" == run(program=program)


def test_recording_beside_a_busy_thread_takes_no_memory(monkeypatch):
    """While one function is recorded, other threads use the slots of dead leaves again: the arena does not grow."""
    stop = threading.Event()

    def record():
        def slow(x):
            begun.set()
            stop.wait(60)
            return x * 2.0

        return pygrad.compile(slow)(1.0)

    def work():
        begun.wait()
        for _ in range(1000):
            Value(1.0)
        before = reserved_bytes()
        for _ in range(100_000):
            Value(1.0) * Value(2.0)
        stop.set()
        return reserved_bytes() - before

    begun = threading.Event()

    assert [2.0, 0] == in_threads(record, work)


def test_numpy_while_another_thread_imports_it(monkeypatch):
    """In the middle of NumPy's import there is a module, and no generator of random numbers yet."""
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    monkeypatch.delitem(sys.modules, "numpy.random", raising=False)
    x = Value(0.5)

    assert 6.0 == pygrad.compile(lambda v: v * 2.0)(3.0)
    pygrad.checkpoint(lambda v: v * v)(x).backward()
    assert 1.0 == x.grad


@pytest.mark.parametrize("what", ["save", "pickle"])
def test_a_recording_while_another_thread_saves(what, monkeypatch, tmp_path):
    """What is saved has the recordings that there were, whole."""
    f, read = pygrad.compile(lambda x: x[0] * 2.0, batched=False), Tape.state
    f([1.0])

    def state(tape):  # as another thread would
        f([1.0] * (1 + len(f._tapes)))
        return read(tape)

    monkeypatch.setattr(Tape, "state", state)
    if what == "save":
        f.save(tmp_path / "f")
        loaded = pygrad.load(tmp_path / "f")
    else:
        rebuild, parts = f.__reduce__()
        loaded = rebuild(*parts)

    assert [1, 2] == [len(loaded._tapes), len(f._tapes)]


def test_one_bound_function_in_many_threads():
    """Calls of a Bound, of another Bound of the function, and of the function itself at once: each is whole."""
    w = Value(2.0)
    f = pygrad.compile(lambda x: (w * x) ** 2, reduction="sum")
    one, other, many = f.bind(3.0, inputs=False), f.bind(5.0), f.bind(array("d", [1.0] * 300))
    rounds = 200

    def work(bound, expected):
        for _ in range(rounds):
            bound.backward()
            assert expected == bound.output[0]

    def call():
        for _ in range(rounds):
            assert 36.0 == f(3.0)

    in_threads(*[lambda b=b, y=y: work(b, y) for b, y in ((one, 36.0), (one, 36.0), (other, 100.0))], call, call)
    assert rounds * (2 * 36.0 + 100.0) == w.grad  # d/dw of (wx)² is 2wx², at w = 2 the value itself
    in_threads(lambda: work(many, 1200.0), lambda: work(many, 1200.0), call)
    assert rounds * (2 * 36.0 + 100.0 + 2 * 1200.0) == w.grad


@pytest.mark.parametrize("mode", [pygrad.no_grad, pygrad.detect_anomaly])
def test_a_block_that_another_thread_leaves(mode):
    """A generator that has opened a block may be closed by another thread: that one stays in its own blocks."""

    def steps():
        with mode():
            yield

    def begin():
        generator = steps()
        next(generator)
        return generator

    [generator] = in_threads(begin)
    assert pygrad.is_grad_enabled()
    with pygrad.no_grad(), pygrad.enable_grad():
        generator.close()
        assert {Value} == set(map(type, (Value(1.0) * 2.0)._prev))
    check_arena(idle=True)


# --- cycles -----------------------------------------------------------------------------------------------------------


class Memory(array):
    """An array that may refer to what is bound to it."""


@pytest.mark.parametrize("reduction, numbers", [("sum", [2.0]), ("none", [2.0, 3.0])])
def test_a_cycle_through_a_bound_function_is_collected(reduction, numbers):
    """The garbage collector sees what a Bound holds: its arrays, its function, and through that the parameters."""
    w = Value(3.0)
    f = pygrad.compile(lambda x: w * x, reduction=reduction)
    memory = Memory("d", numbers)
    memory.bound = f.bind(memory)
    memory.bound.backward()
    w.bound = f.bind(2.0)
    f.forward = w.bound.forward
    gone = [weakref.ref(x) for x in (memory, memory.bound, w, w.bound, f)]
    memory = f = w = None
    gc.collect()

    assert [None] * 5 == [ref() for ref in gone]


@pytest.mark.parametrize("given", ["numbers", "memoryview(numbers)", "numpy", "memoryview(numpy)"])
def test_the_collector_comes_to_memory_first(given):
    """Views that still lend their memory when the collector clears them end the process: a Bound holds none."""
    program = f"""
        import gc
        from array import array
        import pygrad

        numbers = array("d", [1.0, 2.0])
        if "numpy" in "{given}":
            import numpy
            numpy = numpy.array(numbers)
        f = pygrad.compile(lambda x: x * 2.0, reduction="sum")
        gc.collect()
        gc.disable()
        bound = f.bind({given})
        bound.itself = bound
        views = [x for x in gc.get_objects() if isinstance(x, memoryview)]
        rest = [bound]
        bound = None
        gc.collect(0)  # puts what only the list `rest` leads to behind the views, which are reachable by themselves
        views = rest = numbers = numpy = None
        gc.collect()
        print("collected")
    """
    if "numpy" in given:
        pytest.importorskip("numpy")
    assert "collected\n" == run(program=program)


def test_a_bound_function_that_failed_is_collected():
    """An error's traceback holds the run that failed."""
    f = pygrad.compile(lambda i: pygrad.take([1.0, 2.0], i))
    f(1.0)
    bound = f.bind(7.0)
    with pytest.raises(IndexError) as raised:
        bound.forward()
    bound.error = raised.value
    gone = weakref.ref(bound)
    del bound, raised
    gc.collect()

    assert gone() is None
