"""`no_grad` and `enable_grad`: compute without a graph, or with one.

Usually the result of an operation holds its operands, to pass gradients on to them, and so keeps them alive. Within
`no_grad()` the result is a leaf with its number, and holds nothing. (`requires_grad = False` is another way to save
gradients: it freezes one leaf, in every graph.)
"""

import functools
import threading

from pygrad.common import forks
from pygrad.common.nested import each
from pygrad.common.numbers import describe
from pygrad.engine import Value, is_grad_enabled, set_grad_enabled

_thread = threading.local()  # .blocks: of each open block, the outermost first, (mode, is_grad_enabled() before it)


class _GradMode:
    """A context manager and a decorator, with parentheses or without, of functions and generator functions."""

    def __new__(cls, function=None):
        mode = super().__new__(cls)
        return mode if function is None else mode(function)

    def __enter__(self):
        _blocks().append((self, set_grad_enabled(self._on)))

    def __exit__(self, kind, error, traceback):
        # If the block was opened by another thread, in a generator that is closed by this one, this one was not in it.
        if any(mode is self for mode, _ in _blocks()):
            set_grad_enabled(_blocks().pop()[1])

    def __call__(self, function):
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__} takes no argument, or decorates a function, not {describe(function)}"
            )
        with forks.changing:
            import inspect  # here, for its import takes a while

        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{type(self).__name__} cannot decorate an async function: use it in a with block inside")
        if inspect.isgeneratorfunction(function):
            return functools.wraps(function)(lambda *args, **kwargs: _steps(self, function(*args, **kwargs)))

        @functools.wraps(function)
        def within(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return within


class no_grad(_GradMode):
    """Within the block, or the decorated function, no graph is built: every result is a leaf with its number.

    The block counts for this thread only. Blocks may be nested; `enable_grad` in a block builds graphs again. In the
    block `Value(data, children)` makes a leaf too, and a `_backward` assigned to a leaf is dropped. Of a decorated
    generator function only the code between its yields runs without a graph. (A with block around a `yield` lasts while
    the caller runs.)

    While `pygrad.compile` records a function, a result within the block is a `stop_gradient` node: every run computes
    it anew. `compile` and the transforms (`grad` of a function, `hessian`, ...) work within the block too.

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

    _on = False


class enable_grad(_GradMode):
    """Within the block, or the decorated function, graphs are built, even inside `no_grad()`.

    >>> import pygrad
    >>> a = pygrad.Value(3.0)
    >>> with pygrad.no_grad(), pygrad.enable_grad():
    ...     b = a * a
    >>> b.backward()
    >>> a.grad
    6.0
    """

    _on = True


def _blocks():
    if not hasattr(_thread, "blocks"):
        _thread.blocks = []
    return _thread.blocks


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


def recorded(function):
    """Return a function that runs `function` with graphs, even within no_grad(); there its results are leaves."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        if is_grad_enabled():
            return function(*args, **kwargs)
        with enable_grad():
            found = function(*args, **kwargs)
        return each(_plain, found)

    return run


def _plain(x):
    """Return `x`, or, for the result of an operation, a Value as no_grad() would have made it."""
    return x.stop_gradient() if isinstance(x, Value) and not x._is_leaf() else x
