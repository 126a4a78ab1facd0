"""no_grad() and its like belong to a context: tasks, asyncio.to_thread, contextvars, decorated async functions."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import os
import random
import sys
import threading

import pytest

import pygrad
from pygrad import Value, engine
from pygrad.engine import cells


@pytest.fixture(autouse=True)
def nothing_stays_on():
    """After each test no mode runs, in any context."""
    yield
    gc.collect()
    engine.check_arena(idle=True)
    assert 0 == cells.OPEN.unusual


def is_off():
    """True if results have no operands now."""
    assert pygrad.is_grad_enabled() == bool((Value(1.0) * 2.0)._prev)
    return not pygrad.is_grad_enabled()


def turns(count=3):
    """Await this often, so that other tasks run."""
    return asyncio.sleep(0.0) if count == 1 else _turns(count)


async def _turns(count):
    for _ in range(count):
        await asyncio.sleep(0.0)


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_within_no_grad():
    """Another task of its thread builds graphs meanwhile; when the first one resumes, it is still within its block."""
    seen = []

    async def evaluates():
        with pygrad.no_grad():
            for _ in range(3):
                seen.append(("evaluates", is_off()))
                await turns(1)
        seen.append(("after", is_off()))

    async def trains():
        for _ in range(3):
            x = Value(3.0)
            y = x * x
            await turns(1)
            y.backward()
            seen.append(("trains", x.grad))

    async def main():
        await asyncio.gather(evaluates(), trains())
        return is_off()

    assert not asyncio.run(main())
    assert {("evaluates", True), ("after", False), ("trains", 6.0)} == set(seen)
    assert 7 == len(seen)


def test_tasks_that_are_made_within_a_block():
    """They start within it, and leave it for nobody else; one that lives longer than the block stays within."""
    gate = {}

    async def builds():
        before = is_off()
        with pygrad.enable_grad():
            await turns()
            within = is_off()
        await turns()
        return before, within, is_off()

    async def outlives():
        await gate["open"].wait()
        return is_off()

    async def main():
        gate["open"] = asyncio.Event()
        with pygrad.no_grad():
            found = await asyncio.gather(builds(), builds(), turns())
            late = asyncio.create_task(outlives())
            assert is_off()
        assert not is_off()
        gate["open"].set()
        return found[:2], await late, is_off(), await asyncio.create_task(builds())

    expected = [(True, False, True)] * 2, True, False, (False, False, False)
    assert expected == asyncio.run(main())


def test_a_task_keeps_enable_grad_too():
    """A training task made within enable_grad() has its gradients when the block, and no_grad() around it, are left."""

    async def trains():
        await turns(5)
        x = Value(3.0)
        (x * x).backward()
        return x.grad

    async def main():
        with pygrad.no_grad():
            with pygrad.enable_grad():
                task = asyncio.create_task(trains())
            await turns()
            assert is_off()
        return await task

    assert 6.0 == asyncio.run(main())


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
def test_a_task_that_ends_with_an_error(error):
    """Its block ends, whatever ends it, and no other task is touched."""
    seen = []

    async def fails():
        with pygrad.no_grad(), contextlib.suppress(ZeroDivisionError):
            try:
                await turns(2)
                raise error
            finally:
                seen.append(is_off())

    async def lasts():
        for _ in range(4):
            seen.append(is_off())
            await turns(1)

    async def main():
        task, other = asyncio.create_task(fails()), asyncio.create_task(lasts())
        await asyncio.wait([task, other])
        assert not is_off()
        return await task

    with pytest.raises(error):
        asyncio.run(main())
    assert [True] == [off for off in seen if off]
    assert not is_off()


def test_a_task_that_is_cancelled_or_forgotten():
    """Cancelled while it waits, or left behind when the loop closes: its block ends."""

    async def waits():
        with pygrad.no_grad():
            await asyncio.sleep(100.0)

    async def main():
        first, second = asyncio.create_task(waits()), asyncio.create_task(waits())
        await turns()
        assert not is_off()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        assert not is_off()
        return second

    asyncio.run(main())
    assert not is_off()


def test_blocks_of_tasks_in_any_sequence():
    """Many tasks, each with blocks of its own, entered and left at random: each is where its own blocks say."""
    choice = random.Random(5)
    modes = {pygrad.no_grad: True, pygrad.enable_grad: False, pygrad.detect_anomaly: None}

    async def task(depth, off, made):
        assert off == is_off()
        for _ in range(choice.randrange(4)):
            await turns(choice.choice([1, 2, 5]))
            assert off == is_off()
            mode = choice.choice(list(modes))
            inner = off if modes[mode] is None else modes[mode]
            with contextlib.suppress(KeyError), mode():
                assert inner == is_off()
                if depth < 3:
                    if choice.random() < 0.5:
                        made.append(asyncio.create_task(task(depth + 1, inner, made)))
                    await task(depth + 1, inner, made)
                assert inner == is_off()
                if choice.random() < 0.3:
                    raise KeyError
            assert off == is_off()

    async def main():
        made = []
        with pygrad.no_grad():
            made += [asyncio.create_task(task(0, True, made)) for _ in range(10)]
        made += [asyncio.create_task(task(0, False, made)) for _ in range(10)]
        while made:
            await made.pop()

    for _ in range(5):
        asyncio.run(main())


def test_an_interrupt_at_the_end_of_a_tasks_block():
    """The block is left without its __exit__, and the traceback is kept: its context is outside nevertheless."""
    seen = []

    def trace(frame, event, _):
        if event == "call" and frame.f_code.co_name == "_leave":
            sys.settrace(None)
            raise KeyboardInterrupt

    async def interrupted():
        before = sys.gettrace()
        try:
            sys.settrace(trace)
            with pygrad.no_grad():
                pass
        except KeyboardInterrupt as error:
            seen.append(error)
        finally:
            sys.settrace(before)
        seen.append(is_off())
        await turns()
        seen.append(is_off())

    asyncio.run(interrupted())
    assert [False, False] == seen[1:]
    assert isinstance(seen[0], KeyboardInterrupt)


def test_one_object_in_many_tasks():
    """Tasks may share one no_grad() object, in with blocks, by hand and in exit stacks."""
    mode = pygrad.no_grad()

    async def block():
        with mode:
            await turns()
            assert is_off()
        assert not is_off()

    async def by_hand():
        mode.__enter__()
        await turns()
        assert is_off()
        mode.__exit__(None, None, None)
        assert not is_off()

    async def stack():
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(mode)
            await turns()
            assert is_off()
        assert not is_off()
        with pytest.raises(RuntimeError, match="has not entered this block"):
            type(mode).__exit__(mode, None, None, None)

    async def main():
        await asyncio.gather(*[task() for task in (block, by_hand, stack) * 3])

    asyncio.run(main())


def test_detect_anomaly_is_everywhere_while_its_block_is_open():
    """Every task is checked while one waits within its block, and none when it is left, though it was made within."""

    async def logs():
        await turns()
        return Value(0.0).log().data

    async def waits():
        with pygrad.detect_anomaly():
            await turns(6)

    async def main():
        _, found = await asyncio.gather(waits(), logs(), return_exceptions=True)
        with pygrad.detect_anomaly():
            late = asyncio.create_task(logs())
        return found, await late

    found, late = asyncio.run(main())
    assert isinstance(found, FloatingPointError)
    assert late == -float("inf")


# --- threads, executors and contexts ----------------------------------------------------------------------------------


def test_to_thread_takes_the_state_along_and_executors_do_not():
    """asyncio.to_thread runs a function in a copy of the context; run_in_executor, and a thread, in an empty one."""

    async def main():
        with pygrad.no_grad():
            loop = asyncio.get_running_loop()
            found = [await asyncio.to_thread(is_off), await loop.run_in_executor(None, is_off)]
            thread = threading.Thread(target=lambda: found.append(is_off()))
            thread.start()
            thread.join()
            found.append(await loop.run_in_executor(None, contextvars.copy_context().run, is_off))
        return [*found, await asyncio.to_thread(is_off)]

    assert [True, False, False, True, False] == asyncio.run(main())


def test_contexts():
    """A context has the state of its making, and what is entered in it stays in it."""
    mode = pygrad.no_grad()
    with pygrad.no_grad():
        off = contextvars.copy_context()
        assert off.run(is_off)
    on = contextvars.copy_context()
    assert (True, False) == (off.run(is_off), on.run(is_off))

    on.run(mode.__enter__)
    assert (True, False) == (on.run(is_off), is_off())
    with pytest.raises(RuntimeError, match="has not entered this block"):
        type(mode).__exit__(mode, None, None, None)
    on.run(lambda mode: mode.__exit__(None, None, None), mode)
    assert not on.run(is_off)
    on.run(mode.__enter__)
    del mode
    assert not on.run(is_off)
    with pygrad.no_grad():
        assert not on.run(is_off)
        assert off.run(pygrad.enable_grad()(is_off)) is False


def test_a_generator_that_another_context_closes():
    """Its block ends for all, whoever closes it; blocks that are left in another sequence leave the others be."""

    def block(mode):
        with mode():
            yield

    here, there = block(pygrad.no_grad), block(pygrad.no_grad)
    context = contextvars.copy_context()
    context.run(next, there)
    next(here)
    assert is_off()
    assert context.run(is_off)
    context.run(here.close)
    there.close()
    assert not is_off()
    assert not context.run(is_off)

    outer, inner, innermost = block(pygrad.no_grad), block(pygrad.enable_grad), block(pygrad.no_grad)
    next(outer), next(inner), next(innermost)
    copy = contextvars.copy_context()
    inner.close()
    assert is_off()
    assert copy.run(is_off)
    innermost.close()
    assert is_off()
    assert copy.run(is_off)
    outer.close()
    assert not is_off()


def test_an_async_generator_that_is_dropped_within_its_block():
    """asyncio closes it in a task, whose context is a copy: the task that was within the block is outside again."""

    async def reads():
        with pygrad.no_grad():
            while True:
                yield is_off()

    async def main():
        async for found in reads():
            assert found
            break
        gc.collect()
        await turns(6)
        return is_off()

    assert not asyncio.run(main())


def test_a_block_that_a_copy_of_its_context_leaves():
    """It ends where it began too: no block stays that nobody can leave."""
    mode, stack = pygrad.no_grad(), contextlib.ExitStack()
    stack.enter_context(mode)
    assert is_off()
    contextvars.copy_context().run(stack.close)
    assert not is_off()

    block = _block_of(mode)
    next(block)
    assert is_off()
    contextvars.copy_context().run(block.close)
    assert not is_off()


def _block_of(mode):
    with mode:
        yield


def test_an_exit_that_was_looked_up_in_another_context():
    """`context.run(mode.__exit__, ...)` leaves what `context.run(mode.__enter__)` has entered."""
    mode, context = pygrad.no_grad(), contextvars.copy_context()
    context.run(mode.__enter__)
    assert context.run(is_off)
    assert not is_off()
    context.run(mode.__exit__, None, None, None)
    assert not context.run(is_off)


def test_generators_that_overlap_for_ever():
    """Each begins before the last one ends: nothing is left of those that have ended."""

    def block():
        with pygrad.no_grad():
            yield

    last = block()
    next(last)
    for _ in range(1000):
        last, before = block(), last
        next(last)
        before.close()
        assert 1 == cells.OPEN.unusual
        assert is_off()
    last.close()
    assert not is_off()


def test_a_state_of_another_kind_is_none():
    """What a program puts into the context variable counts for nothing, and harms nothing."""
    for state in (5, "nonsense", object(), None):
        context = contextvars.copy_context()
        context.run(cells.STATE.set, state)
        assert not context.run(is_off)
        assert context.run(pygrad.no_grad()(is_off))
        with pygrad.no_grad():  # so that operations ask
            assert not context.run(is_off)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("begins_in_thread", [False, True])
def test_a_fork_has_the_state_of_the_context_that_forked(begins_in_thread):
    """The child is in the blocks of its context, though another thread began them, and not in those of others."""
    begun, end = threading.Event(), threading.Event()

    def other():
        with pygrad.no_grad(), pygrad.detect_anomaly():
            begun.set()
            end.wait(10)

    def forks():
        child = os.fork()
        if child == 0:
            os._exit(0 if is_off() and cells.OPEN.unusual == 1 else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    async def main():
        with pygrad.no_grad():
            return await asyncio.to_thread(forks) if begins_in_thread else forks()

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(10)
    status = asyncio.run(main())
    end.set()
    thread.join()
    assert 0 == status


# --- what pygrad itself runs ------------------------------------------------------------------------------------------


def square(x):
    return x * x


def in_tasks(x):
    """Compute x*x in a task of a loop of its own, and in a thread of that loop."""

    async def main():
        return await asyncio.gather(asyncio.to_thread(square, x), asyncio.create_task(asyncio.sleep(0.0, x)))

    squared, same = asyncio.run(main())
    return squared * same


@pytest.mark.parametrize("on", [True, False])
def test_transforms_of_functions_with_tasks(on):
    """Derivatives need graphs: within no_grad(), too, the tasks and threads of the function build them."""
    with contextlib.nullcontext() if on else pygrad.no_grad():
        assert 12.0 == pygrad.derivative(in_tasks)(2.0)
        assert 12.0 == pygrad.hessian(lambda xs: in_tasks(xs[0]))([2.0])[0][0]
        x = Value(2.0)
        compiled = pygrad.compile(in_tasks)
        assert (8.0, 12.0) == (compiled(2.0), pygrad.derivative(compiled)(2.0))
        y = pygrad.checkpoint(in_tasks)(x)
        assert on == bool(y._prev)
    if on:
        y.backward()
        assert 12.0 == x.grad


def test_a_task_made_while_a_function_is_recorded():
    """It runs when the recording is over: then it is in none, and in no block that it was not made in."""
    made = []

    async def later():
        await turns()
        return engine.recordings.is_recording(), is_off()

    async def main():
        @pygrad.compile
        def f(x):
            with pygrad.no_grad():
                made.append(asyncio.create_task(later()))
            made.append(asyncio.create_task(later()))
            return x * x

        assert 4.0 == f(2.0)
        return [await task for task in made]

    assert [(False, True), (False, False)] == asyncio.run(main())


# --- decorators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decorate", [pygrad.no_grad, pygrad.no_grad()], ids=["no_grad", "no_grad()"])
def test_decorated_async_functions(decorate):
    """They run within the mode, and others that run meanwhile do not; name, result and errors are the function's."""

    @decorate
    async def evaluates(x, times=1):
        """Its words."""
        for _ in range(times):
            await turns(1)
            assert is_off()
        return x * 2.0

    @decorate
    async def fails():
        await turns(1)
        raise KeyError("its own")

    async def lasts():
        for _ in range(5):
            assert not is_off()
            await turns(1)

    async def main():
        x = Value(3.0)
        first, second, _ = await asyncio.gather(evaluates(x), evaluates(x, times=3), lasts())
        assert not is_off()
        with pytest.raises(KeyError, match="its own"):
            await fails()
        assert not is_off()
        return first, second

    first, second = asyncio.run(main())
    assert (6.0, 6.0, set(), set()) == (first.data, second.data, first._prev, second._prev)
    assert ("evaluates", "Its words.") == (evaluates.__name__, evaluates.__doc__)
    assert asyncio.iscoroutinefunction(evaluates) or sys.version_info >= (3, 14)


def test_decorated_async_generators():
    """Only their own code runs in the mode, between their yields; what is sent and thrown gets through."""
    seen = []

    @pygrad.no_grad()
    async def steps(n):
        try:
            for i in range(n):
                await turns(1)
                assert is_off()
                try:
                    seen.append((yield i))
                except KeyError as error:
                    seen.append(error.args[0])
        finally:
            await turns(1)
            seen.append(is_off())

    async def main():
        async for _ in steps(2):
            assert not is_off()
            await turns(1)
        generator = steps(5)
        assert 0 == await generator.asend(None)
        assert not is_off()
        assert 1 == await generator.asend("sent")
        assert 2 == await generator.athrow(KeyError("thrown"))
        with pytest.raises(ZeroDivisionError):
            await generator.athrow(ZeroDivisionError())
        await generator.aclose()
        unfinished = steps(2)
        await unfinished.__anext__()
        await unfinished.aclose()
        assert not is_off()

    asyncio.run(main())
    assert [None, None, True, "sent", "thrown", True, True] == seen


def test_decorated_callables_that_return_coroutines():
    """A partial, and a function that another decorator has made, return coroutines: their code runs in the mode."""

    async def evaluates(_):
        await turns(1)
        return is_off()

    def plain(function):
        return lambda *args: function(*args)

    class Called:
        async def __call__(self, _):
            return await evaluates(_)

    async def main():
        kinds = [functools.partial(evaluates, 1), functools.partial(plain(evaluates), 1), plain(evaluates), Called()]
        arguments = [(), (), (1,), (1,)]
        found = [await pygrad.no_grad()(kind)(*given) for kind, given in zip(kinds, arguments)]
        return found, is_off()

    assert ([True] * 4, False) == asyncio.run(main())


def test_enable_grad_and_detect_anomaly_decorate_async_functions():
    """As no_grad does."""

    @pygrad.enable_grad
    async def builds():
        await turns(1)
        return is_off()

    @pygrad.detect_anomaly()
    async def logs():
        await turns(1)
        return Value(0.0).log()

    async def main():
        with pygrad.no_grad():
            found = await builds(), is_off()
        with pytest.raises(FloatingPointError):
            await logs()
        return found, Value(0.0).log().data

    assert ((False, True), -float("inf")) == asyncio.run(main())
