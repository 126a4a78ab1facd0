"""`no_grad`, `enable_grad`, `detect_anomaly`: blocks of code in which a thread works in another way.

Usually the result of an operation holds its operands, to pass gradients on to them, and so keeps them alive. Within
`no_grad()` the result is a leaf with its number, and holds nothing. (`requires_grad = False` is another way to save
gradients: it freezes one leaf, in every graph.)

The state is in C (csrc/engine/modes.h), and ends with the cell that holds it. A with block of Python first looks
`__exit__` up, then calls `__enter__`, and holds what it has found until the block is left, in whatever way. So the cell
is made when `__exit__` is looked up, the block alone holds it, and leaving it is one step of C.
"""

import functools
import threading
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
            return _leave  # contextlib.ExitStack calls the class's own
        if _own(mode._by_hand):
            return functools.partial(_leave, mode)
        cell = cells.new_mode()
        _coming().append((mode, weakref.ref(cell)))
        return functools.partial(cell.__exit__)  # no profile function is told of a call of a partial


class _Mode:
    """A context manager and a decorator, with parentheses or without, of functions and generator functions."""

    def __new__(cls, function=None):
        mode = super().__new__(cls)
        mode._by_hand = []  # the cells of calls of __enter__ by hand: they end with this object at the latest
        return mode if function is None else mode(function)

    def __enter__(self):
        # No name may hold the cell: a traceback that is kept would.
        check(lib.pg_mode_begin(_cell_of_block(self) or _cell_by_hand(self), self._kind))
        return self

    __exit__ = _Exit()

    def __call__(self, function):
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__} takes no argument, or decorates a function, not {describe(function)}"
            )
        with forks.importing:
            import inspect  # here, for its import takes a while

        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{type(self).__name__} cannot decorate an async function: use it in a with block inside, and await "
                "nothing there, for other tasks run meanwhile"
            )
        if inspect.isgeneratorfunction(function):
            return functools.wraps(function)(lambda *args, **kwargs: _steps(self, function(*args, **kwargs)))

        @functools.wraps(function)
        def within(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return within


class no_grad(_Mode):
    """Within the block, or the decorated function, no graph is built: every result is a leaf with its number.

    The block counts for this thread only. Blocks may be nested; `enable_grad` in a block builds graphs again. In the
    block `Value(data, children)` makes a leaf too, and a `_backward` assigned to a leaf is dropped. Of a decorated
    generator function only the code between its yields runs without a graph. (A with block around a `yield` lasts while
    the caller runs.)

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
    """Return [(mode, reference to the cell)] of the with blocks of this thread that have looked `__exit__` up and not
    called `__enter__` yet. It is a list, for a signal handler may run another block in between."""
    if not hasattr(_thread, "coming"):
        _thread.coming = []
    return _thread.coming


def _cell_of_block(mode):
    """Return the cell that the with block which is entering `mode` has made; None in a call by hand.

    A cell that is gone was of a block that never began, or of a mere look at `__exit__`.
    """
    coming = _coming()
    coming[:] = [(other, ref) for other, ref in coming if ref() is not None]
    for i in reversed(range(len(coming))):
        if coming[i][0] is mode:
            return coming.pop(i)[1]()
    return None


def _cell_by_hand(mode):
    mode._by_hand.append(cells.new_mode())
    return mode._by_hand[-1]


def _own(by_hand):
    """Return the place of the newest of these cells that is of this thread, counted from 1; 0: there is none."""
    own = lib.pg_own_number()
    return max((i for i, cell in enumerate(by_hand, 1) if cell.thread in (0, own)), default=0)


def _leave(mode, *_):
    """Leave `mode`, which this thread has entered by hand; blocks of one mode are alike, so leave the newest."""
    newest = _own(mode._by_hand)
    if not newest:
        raise RuntimeError(f"{type(mode).__name__}: this thread has not entered this block, or has left it already")
    del mode._by_hand[newest - 1]


# --- generators -------------------------------------------------------------------------------------------------------


def _steps(mode, generator):
    """Yield what `generator` yields; only its own code runs in the mode, not its caller's."""

    def step(action, *argument):
        with mode:
            return action(*argument)

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


# --- functions that need graphs ---------------------------------------------------------------------------------------


def recorded(function):
    """Return a function that runs `function` with graphs, even within no_grad(); there its results are leaves."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        if is_grad_enabled():
            return function(*args, **kwargs)
        with cells.grad():
            found = function(*args, **kwargs)
        return each(_plain, found)

    return run


def _plain(x):
    """Return `x`, or, for the result of an operation, a Value as no_grad() would have made it."""
    return x.stop_gradient() if is_value(x) and not x._is_leaf() else x
