"""`no_grad`, `enable_grad`, `detect_anomaly`: blocks of code in which a thread, or a task, works in another way.

Usually the result of an operation holds its operands, to pass gradients on to them, and so keeps them alive. Within
`no_grad()` the result is a leaf with its number, and holds nothing. (`requires_grad = False` is another way to save
gradients: it freezes one leaf, in every graph.)

The state is in C (csrc/engine/modes.h), and ends with the cell of its block. A with block of Python first looks
`__exit__` up, then calls `__enter__`, and holds what it has found until the block is left, in whatever way. So the cell
is made when `__exit__` is looked up, and the block alone holds it: no interrupt leaves the state on.
"""

import functools
import threading
import types
import weakref

from pygrad.common import anomaly, forks
from pygrad.common.nested import each
from pygrad.common.numbers import describe
from pygrad.engine import cells, is_grad_enabled, is_value
from pygrad.engine._lib import lib
from pygrad.engine.errors import check

_thread = threading.local()  # .coming: see _coming()


class _Exit:
    """The `__exit__` of a mode: for each with block another function, of a cell of its own."""

    def __get__(self, mode, _=None):
        if mode is None:
            return _leave_by_hand  # contextlib.ExitStack calls the class's own
        if _newest(mode._by_hand):
            return functools.partial(_leave_by_hand, mode)
        block = _Block()
        leave = functools.partial(_leave_entered, mode, weakref.ref(block))  # see _Block
        leave.block = block
        _coming().append((mode, weakref.ref(block)))
        return leave


class _Block:
    """A block: its cell, and the token of the context that entered it, None before.

    A function that may raise binds a weak reference to it: a traceback that is kept would hold the block.
    """

    def __init__(self):
        self.cell, self.token = cells.new_scope(), None


class _Mode:
    """A context manager and a decorator, with parentheses or without, of functions and generators, async ones too."""

    def __new__(cls, function=None):
        mode = super().__new__(cls)
        mode._by_hand = []  # the blocks of calls of __enter__ by hand: they end with this object at the latest
        return mode if function is None else mode(function)

    def __enter__(self):
        state, block = cells.new_scope(), _coming_block(self) or _block_by_hand(self)
        check(lib.pg_scope_begin(block().cell, state, self._kind, cells.state()))
        block().token = cells.STATE.set(cells.State(state))
        return self

    __exit__ = _Exit()

    def __call__(self, function):
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__} takes no argument, or decorates a function, not {describe(function)}"
            )
        with forks.importing:
            import inspect  # here, for its import takes a while

        if inspect.iscoroutinefunction(function):
            within = _awaiting(self, function)
        elif inspect.isasyncgenfunction(function):
            within = _stepping_async(self, function)
        elif inspect.isgeneratorfunction(function):
            within = _stepping(self, function)
        else:
            within = _calling(self, function)
        return functools.wraps(function)(within)


class no_grad(_Mode):
    """Within the block, or the decorated function, no graph is built: every result is a leaf with its number.

    The block counts for this thread only, and for this task of `asyncio`, or of another library with `contextvars`:
    while it awaits, other tasks are as they were. A task that is made in the block starts within it, and stays there
    when the block is left; so does a function that `asyncio.to_thread` runs. A thread, and what `run_in_executor` runs,
    starts outside. Blocks may be nested; `enable_grad` in a block builds graphs again. In the block
    `Value(data, children)` makes a leaf too, and a `_backward` assigned to a leaf is dropped. Functions that are
    decorated may be async. Of a decorated generator function only the code between its yields runs without a graph. (A
    with block around a `yield` lasts while the caller runs.)

    While `pygrad.compile` records a function, or a transform runs one, a result within the block is a `stop_gradient`
    node, for its number stands for others too. `compile` and the transforms (`grad` of a function, `hessian`, ...) work
    within the block too.

    >>> import pygrad
    >>> a = pygrad.Value(3.0)
    >>> with pygrad.no_grad():
    ...     b = a * a
    >>> b.data, b._prev
    (9.0, set())
    >>> @pygrad.no_grad()
    ... def predict(x):
    ...     return a * x
    >>> predict(2.0)._prev
    set()
    """

    _kind = lib.PG_MODE_NO_GRAD


class enable_grad(_Mode):
    """Within the block, or the decorated function, graphs are built, even inside `no_grad()`.

    >>> import pygrad
    >>> a = pygrad.Value(3.0)
    >>> with pygrad.no_grad(), pygrad.enable_grad():
    ...     b = a * a
    >>> b.backward()
    >>> a.grad
    6.0
    """

    _kind = lib.PG_MODE_GRAD


class detect_anomaly(_Mode):
    __doc__ = anomaly.detect_anomaly_of_reference.__doc__

    _kind = lib.PG_MODE_ANOMALY


# --- with blocks, and calls of __enter__ and __exit__ by hand ---------------------------------------------------------


def _coming():
    """Return [(mode, reference to the block)] of the with blocks of this thread that have looked `__exit__` up and not
    called `__enter__` yet. It is a list, for a signal handler may run another block in between."""
    if not hasattr(_thread, "coming"):
        _thread.coming = []
    return _thread.coming


def _coming_block(mode):
    """Return a reference to the block of the with statement that is entering `mode`; None in a call by hand.

    A block that is gone never began, or was made by a mere look at `__exit__`.
    """
    coming = _coming()
    coming[:] = [(other, ref) for other, ref in coming if ref() is not None]
    for i in reversed(range(len(coming))):
        if coming[i][0] is mode:
            return coming.pop(i)[1]
    return None


def _block_by_hand(mode):
    mode._by_hand.append(_Block())
    return weakref.ref(mode._by_hand[-1])


def _newest(by_hand):
    """Return the place of the newest of these blocks that this context is in, counted from 1; 0: there is none."""
    state = cells.state()
    return max((i for i, block in enumerate(by_hand, 1) if lib.pg_scope_is_within(block.cell, state)), default=0)


def _leave(block):
    """Leave a block, given a reference to it. Only in its own context, and when it is the newest block there, can the
    state be put back, and tasks made within the block keep theirs; else the block ends for all."""
    back = lib.pg_scope_is_newest(block().cell, cells.state()) != 0
    if back:  # an interrupt from here on ends the block for all too, with its cell
        outer = cells.new_scope()
        is_within = lib.pg_scope_outer(cells.state(), outer)
        back = _is_own_context(block().token)
    if back:
        cells.STATE.set(cells.State(outer) if is_within else None)
    lib.pg_scope_leave(block().cell, back)


def _is_own_context(token):
    """Is this the context that entered the block, and not a copy, as of a task? If it is, its state is put back."""
    try:
        cells.STATE.reset(token)
    except ValueError:
        return False
    return True


def _leave_entered(mode, block, *_):
    """Leave the block of a with statement. One that was not entered: `__exit__` was looked up by hand."""
    if block().token is not None:
        _leave(block)
    elif _newest(mode._by_hand):  # this context has entered `mode`, and the one that looked `__exit__` up has not
        _leave_by_hand(mode)


def _leave_by_hand(mode, *_):
    """Leave `mode`, which this context has entered by hand; blocks of one mode are alike, so leave the newest."""
    newest = _newest(mode._by_hand)
    if not newest:
        raise RuntimeError(f"{type(mode).__name__}: this thread or task has not entered this block, or has left it")
    _leave(weakref.ref(mode._by_hand[newest - 1]))
    del mode._by_hand[newest - 1]


@forks.in_child
def _after_fork():
    lib.pg_scopes_after_fork(cells.state())


# --- decorated functions: only their own code runs in the mode, not that of their callers -----------------------------


def _calling(mode, function):
    def within(*args, **kwargs):
        with mode:
            out = function(*args, **kwargs)
        # A function that another decorator has made returns a coroutine, and none of its code has run yet.
        return _awaited(mode, out) if type(out) is types.CoroutineType else out

    return within


async def _awaited(mode, coroutine):
    with mode:
        return await coroutine


def _awaiting(mode, function):
    async def within(*args, **kwargs):
        with mode:
            return await function(*args, **kwargs)

    return within


def _stepping(mode, function):
    def step(action, *argument):
        with mode:
            return action(*argument)

    def within(*args, **kwargs):
        generator = function(*args, **kwargs)
        try:
            out = step(next, generator)
            while True:
                try:
                    sent = yield out
                except GeneratorExit:
                    step(generator.close)
                    raise
                except BaseException as error:
                    out = step(generator.throw, error)
                else:
                    out = step(generator.send, sent)
        except StopIteration as stop:
            return stop.value

    return within


def _stepping_async(mode, function):
    async def step(action, *argument):
        with mode:
            return await action(*argument)

    async def within(*args, **kwargs):
        generator = function(*args, **kwargs)
        try:
            out = await step(generator.asend, None)
            while True:
                try:
                    sent = yield out
                except GeneratorExit:
                    await step(generator.aclose)
                    raise
                except BaseException as error:
                    out = await step(generator.athrow, error)
                else:
                    out = await step(generator.asend, sent)
        except StopAsyncIteration:
            return

    return within


# --- functions that need graphs ---------------------------------------------------------------------------------------


def with_graphs(function, *args, **kwargs):
    """Call `function` such that it builds graphs, even within no_grad()."""
    if is_grad_enabled():  # most often: a block takes longer than this question
        return function(*args, **kwargs)
    with enable_grad():
        return function(*args, **kwargs)


def recorded(function):
    """Return a function that runs `function` with graphs, even within no_grad(); there its results are leaves."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        if is_grad_enabled():
            return function(*args, **kwargs)
        return each(_plain, with_graphs(function, *args, **kwargs))

    return run


def _plain(x):
    """Return `x`, or, for the result of an operation, a Value as no_grad() would have made it."""
    return x.stop_gradient() if is_value(x) and not x._is_leaf() else x
