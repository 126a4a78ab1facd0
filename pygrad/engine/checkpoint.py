"""checkpoint: a graph dropped, and made again in the backward pass."""

import contextlib
import functools
import weakref
from array import array

from pygrad import engine
from pygrad.contract.nested import each
from pygrad.contract.numbers import describe
from pygrad.engine import Value, is_grad_enabled, modes, sweep_within
from pygrad.engine.arena import is_busy
from pygrad.engine.grad_mode import enable_grad
from pygrad.engine.randomness import random_states, set_random_states
from pygrad.engine.sweeps import moment


def checkpoint(function):
    """Return `function` as one that keeps its results only, and runs again in a backward pass: memory for time.

    The graph of a call is dropped as soon as the call has returned. When a backward pass comes by, the function is
    called once more, and its graph swept and dropped. So of a program in parts that are checkpointed one part's graph
    is there at a time. Gradients reach the arguments and every other Value that the function uses. Usable as a
    decorator.

    function    takes Values, numbers, nested lists of them, and what else it needs; returns a Value, or nested lists or
                tuples of Values and numbers. It must do the same again: what it draws from `random` and from NumPy's
                global generator it is given again. Within it the Values of the arguments are leaves with their numbers

    Within no_grad(), and while `pygrad.compile` records, it is `function` itself. A backward pass raises RuntimeError
    if the function does something else the second time: has other operations, results or outer Values; the same
    operations wired in another way are not told. A second derivative through it is a TypeError.

    >>> import pygrad
    >>> w = pygrad.Value(2.0)
    >>> def block(x):
    ...     return (w * x).tanh() * x
    >>> x = pygrad.Value(0.5)
    >>> pygrad.checkpoint(block)(x).backward()
    >>> by_w, by_x = pygrad.grad(block(x), [w, x])
    >>> (by_w, by_x) == (w.grad, x.grad)
    True
    """
    if not callable(function):
        raise TypeError(f"checkpoint needs a function of Values, not {describe(function)}")

    @functools.wraps(function)
    def run(*args, **kwargs):
        if not is_grad_enabled() or modes.is_recording():
            return function(*args, **kwargs)
        return _Checkpoint(function, args, kwargs).first_run()

    return run


class _Checkpoint:
    """One call of a checkpointed function, to be made again.

    In the graph stand a hidden node, whose operands are all Values that the function uses, and a node of it for each
    result. A sweep gives the results their gradients, and then comes to the hidden node, whose closure runs again.
    """

    def __init__(self, function, args, kwargs):
        self.function, self.given = function, (args, kwargs)
        self.name = getattr(function, "__name__", type(function).__name__)

    def first_run(self):
        """Return the results, as Values that lead here."""
        states = random_states()
        with self._called() as (out, ys, copies, since):
            sweep_within(_own(ys), [0.0] * len(ys), since, functools.partial(self._note, ys, copies))
        self.states = states if states != random_states() else None
        if not self.operands:
            return each(lambda y: Value(y._read()) if isinstance(y, Value) else y, out)
        self.shape, self.inputs, self.outputs = _shape(out), _numbers(self.operands), _numbers(ys)
        join = Value(0.0, self.operands, "checkpoint")
        join._backward = self._run_again
        results = [Value(y._read(), (join,), "checkpoint") for y in ys]
        self.results = [weakref.ref(v) for v in results]
        items = iter(results)
        return each(lambda y: next(items) if isinstance(y, Value) else y, out)

    @contextlib.contextmanager
    def _called(self):
        """Call the function, with leaves in the place of the Values it was given; they are so in the dict `copies`."""
        copies = {}

        def copy(x):
            if isinstance(x, Value) and x not in copies:
                copies[x] = Value(x._read())
            return copies[x] if isinstance(x, Value) else x

        args, kwargs = each(copy, self.given)
        with enable_grad(), moment() as since:
            out = self.function(*args, **kwargs)
            ys = []
            each(lambda y: ys.append(y) if isinstance(y, Value) else None, out)
            yield out, ys, copies, since

    def _note(self, ys, copies, digest, outside):
        """Note what the function uses, in the first run."""
        given = {copy._pg_id: x for x, copy in copies.items()}
        others = [id for id in outside if id not in given]
        given.update(zip(others, engine.values_of(others, ys)))
        self.digest, self.operands = digest, tuple([given[id] for id in outside])
        return False

    def _run_again(self):
        """Pass the gradients of the results on: the `_backward` of the hidden node."""
        results = [ref() for ref in self.results]
        reached = [v is not None and is_busy(v) for v in results]
        if not any(reached):  # a program calls _backward() by hand
            reached = [v is not None for v in results]
        seeds = [v.grad if is_reached else 0.0 for v, is_reached in zip(results, reached)]
        states = random_states()
        if self.states:
            set_random_states(self.states)
        try:
            copies = self._sweep_again(seeds)
        finally:
            if self.states:
                set_random_states(states)
        for x in self.operands:
            if x in copies:
                x.grad += copies[x].grad

    def _sweep_again(self, seeds):
        inputs = _numbers(self.operands)
        with self._called() as (out, ys, copies, since):
            if _shape(out) != self.shape:
                self._refuse("the structure of its result is another")
            if inputs == self.inputs and _numbers(ys) != self.outputs:
                self._refuse("its result is another")
            sweep_within(_own(ys), seeds, since, functools.partial(self._check, copies))
        return copies

    def _check(self, copies, digest, outside):
        known = {copies.get(x, x)._pg_id for x in self.operands}
        if digest != self.digest or not known.issuperset(outside):
            self._refuse("it took other operations")
        return True

    def _refuse(self, what):
        raise RuntimeError(
            f"checkpoint: {self.name} did not do the same a second time: {what}. It must go by its arguments, and by "
            "what does not change until the backward pass; draw random numbers from `random`, or outside"
        )


def _own(ys):
    """Return a node for each result, so that none is one from outside."""
    return [y * 1.0 for y in ys]


def _numbers(values):
    """Return the data of Values, to compare."""
    return hash(array("d", [v._read() for v in values]).tobytes())


def _shape(out):
    """Return the structure of a result: where it has Values, and the other things in it."""
    return repr(each(lambda y: "Value" if isinstance(y, Value) else type(y), out))
