"""`no_grad` and `enable_grad`: with a graph, or without.

An operation's result knows its operands, so that a gradient can go to them, and keeps them alive. Within `no_grad()` it
does not: it is a leaf, a number and no more. (`Value.requires_grad = False` is the other way to have no gradient: of
one leaf, everywhere.)
"""

import functools
import threading

from pygrad.contract.nested import each
from pygrad.contract.numbers import describe
from pygrad.engine import Value, is_grad_enabled, set_grad_enabled

_thread = threading.local()  # .before: what is_grad_enabled() was outside of each block that is open


class _GradMode:
    """A context manager, and a decorator of functions and generator functions, with parentheses or without."""

    def __new__(cls, function=None):
        mode = super().__new__(cls)
        return mode if function is None else mode(function)

    def __enter__(self):
        _blocks().append(set_grad_enabled(self._on))

    def __exit__(self, kind, error, traceback):
        set_grad_enabled(_blocks().pop())

    def __call__(self, function):
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__} takes no argument, or decorates a function, not {describe(function)}"
            )
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

    It holds for this thread, and blocks may be nested (`enable_grad` undoes it within one). What is made by
    `Value(data, children)` or given a `_backward` there is a leaf without them too. A generator function that is
    decorated runs so between its yields, and not its caller; a with block around a `yield` would be the caller's too.

    While `pygrad.compile` records a function, a result there is a `stop_gradient`: computed anew in every run.
    `compile` and the transforms (`grad` of a function, `hessian`, ...) do not mind a block around them.

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
    """Within the block, or the decorated function, graphs are built, also if that is within `no_grad()`.

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
    if not hasattr(_thread, "before"):
        _thread.before = []
    return _thread.before


def _steps(mode, generator):
    """Yield what a generator does, which runs in the mode; its caller does not."""

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
    """Return `function`, which needs graphs within; what it returns within no_grad() has none there."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        if is_grad_enabled():
            return function(*args, **kwargs)
        with enable_grad():
            found = function(*args, **kwargs)
        return each(_plain, found)

    return run


def _plain(x):
    """Return a Value as it would be if it had been made within no_grad()."""
    return x.stop_gradient() if isinstance(x, Value) and not x._is_leaf() else x
