"""no_grad(), enable_grad() and detect_anomaly(): blocks that end in whatever way, by thread; nothing is left on."""

import contextlib
import gc
import os
import sys
import threading

import pytest

import pygrad
from pygrad import Value, engine
from pygrad.engine import cells


@pytest.fixture(autouse=True)
def nothing_stays_on():
    """After each test no mode runs, in any thread."""
    yield
    gc.collect()
    engine.check_arena(idle=True)


def is_off():
    """True if results have no operands now."""
    assert pygrad.is_grad_enabled() == bool((Value(1.0) * 2.0)._prev)
    return not pygrad.is_grad_enabled()


def raise_at_line(line_after):
    """Return a trace function that raises KeyboardInterrupt before the line `line_after` of the frame that calls."""
    first = sys._getframe(1).f_lineno

    def trace(frame, event, _):
        if event == "line" and frame.f_lineno == first + line_after:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys._getframe(1).f_trace = trace
    return trace


@pytest.mark.parametrize("mode", [pygrad.no_grad, pygrad.enable_grad, pygrad.detect_anomaly])
def test_a_trace_function_that_raises_at_the_end_of_a_block(mode):
    """The block is left without a call of __exit__, and its traceback is kept: the mode has ended nevertheless."""
    before = sys.gettrace()
    try:
        try:
            sys.settrace(raise_at_line(3))
            with mode():
                pygrad.is_grad_enabled()
            kept = None
        except KeyboardInterrupt as error:
            kept = error
    finally:
        sys.settrace(before)

    engine.check_arena(idle=True)
    assert not is_off()
    del kept


def test_blocks_may_end_in_any_sequence():
    """The newest block that is still open decides: two generators may end in the sequence in which they began."""

    def block():
        with pygrad.no_grad():
            yield

    first, second = block(), block()
    next(first), next(second)
    first.close()
    assert is_off()
    second.close()
    assert not is_off()


def test_a_generator_that_another_thread_closes():
    """The mode is that of the thread that began it, whoever ends it."""

    def block():
        with pygrad.no_grad():
            yield

    generator = block()
    next(generator)
    seen = []
    thread = threading.Thread(target=lambda: (seen.append(is_off()), generator.close(), seen.append(is_off())))
    thread.start()
    thread.join()

    assert [False, False] == seen
    assert not is_off()


def test_a_thread_that_ends_within_a_block():
    """Its mode ends with the block, and no later thread takes it over."""

    def block():
        with pygrad.no_grad():
            yield

    generators, seen = [], []

    def begin():
        generators.append(block())
        next(generators[0])

    for target in (begin, lambda: seen.append(is_off())):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    assert [False] == seen
    assert cells.OPEN.unusual == 1
    generators.clear()


def test_entering_and_leaving_by_hand():
    """`__enter__` and `__exit__` may be called, nested and beside with blocks of the same object."""
    mode = pygrad.no_grad()
    assert mode.__enter__() is mode
    with mode:
        assert is_off()
        mode.__enter__()
        mode.__exit__(None, None, None)
        assert is_off()
    assert is_off()
    mode.__exit__(None, None, None)
    assert not is_off()
    mode.__exit__(None, None, None)  # once too often: there is nothing to leave
    assert not is_off()


def test_an_exit_stack():
    """contextlib.ExitStack enters and leaves a mode through its class."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(pygrad.no_grad())
        assert is_off()
        stack.enter_context(pygrad.enable_grad())
        assert not is_off()
    assert not is_off()

    with pytest.raises(RuntimeError, match="has not entered this block"):
        type(pygrad.no_grad()).__exit__(pygrad.no_grad(), None, None, None)


def test_looking_at_exit_enters_nothing():
    """hasattr and getattr of `__exit__` change nothing, and the next `__enter__` by hand works."""
    mode = pygrad.no_grad()
    assert hasattr(mode, "__exit__")
    mode.__enter__()
    assert is_off()
    mode.__exit__(None, None, None)


def test_a_block_within_the_beginning_of_a_block():
    """A finalizer, or a signal handler, may run a block between a block's look at __exit__ and its __enter__."""

    def trace(frame, event, _):
        if event == "call" and frame.f_code.co_name == "__enter__":
            sys.settrace(None)
            with pygrad.no_grad(), mode:
                assert is_off()
            sys.settrace(trace)

    before, mode = sys.gettrace(), pygrad.no_grad()
    for outer in (pygrad.no_grad(), mode):
        sys.settrace(trace)
        try:
            with outer:
                sys.settrace(None)
                assert is_off()
        finally:
            sys.settrace(before)
        assert not is_off()


def test_a_stack_that_is_dropped():
    """What was entered by hand, or by an ExitStack that Ctrl-C has prevented from leaving it, ends with its object."""
    stack = contextlib.ExitStack()
    stack.enter_context(pygrad.no_grad())
    assert is_off()
    del stack
    assert not is_off()


def test_exits_that_are_looked_up_first():
    """Functions `__exit__` that were looked up before their modes were entered leave these modes."""
    first, second = pygrad.no_grad(), pygrad.detect_anomaly()
    exits = [first.__exit__, second.__exit__]
    first.__enter__(), second.__enter__()
    assert is_off()
    for leave in exits:
        leave(None, None, None)
    engine.check_arena(idle=True)


def test_one_object_in_two_threads():
    """Each thread is in the block of its own, even if both use one object."""
    mode, entered, leave, seen = pygrad.no_grad(), threading.Event(), threading.Event(), []

    def other():
        with mode:
            entered.set()
            leave.wait()
            seen.append(is_off())

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    assert not is_off()
    with mode:
        assert is_off()
        leave.set()
        thread.join()
        assert is_off()

    assert [True] == seen


def test_detect_anomaly_decorates_functions_and_generators():
    """It is a decorator as no_grad is; of a generator function only its own code is checked."""

    @pygrad.detect_anomaly()
    def root(x):
        return x.log()

    @pygrad.detect_anomaly
    def roots(x):
        yield 1.0
        yield x.log()

    steps = roots(Value(0.0))
    assert next(steps) == 1.0
    Value(0.0).log()
    for call in (lambda: root(Value(0.0)), lambda: next(steps)):
        with pytest.raises(FloatingPointError):
            call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_the_modes_of_its_own_thread():
    """The child goes on within the blocks of the thread that forked; those of other threads are not there."""
    begun, end = threading.Event(), threading.Event()

    def other():
        with pygrad.detect_anomaly(), pygrad.no_grad():
            begun.set()
            end.wait()

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    with pygrad.no_grad():
        child = os.fork()
        if child == 0:
            right = is_off() and cells.OPEN.unusual == 1 and Value(0.0).log().data < 0
            os._exit(0 if right else 1)
    end.set()
    thread.join()

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_check_arena_says_what_is_running():
    """With `idle`, check_arena() names the mode, or the backward pass, that is on."""
    x = Value(2.0)
    y = Value(4.0, (x,))
    y._backward = lambda: engine.check_arena(idle=True)
    modes = {"no_grad": pygrad.no_grad, "detect_anomaly": pygrad.detect_anomaly}
    modes |= {"recording": cells.recording, "trace": cells.trace, "a call": cells.call}
    for what, mode in modes.items():
        with mode(), pytest.raises(RuntimeError, match=what):
            engine.check_arena(idle=True)
    with pytest.raises(RuntimeError, match="a backward pass is running"):
        y.backward()
