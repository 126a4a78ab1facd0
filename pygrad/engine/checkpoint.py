"""checkpoint: drop the graph of a function call, and build it again in the backward pass."""

import contextlib
import functools
import weakref
from array import array

from pygrad import engine
from pygrad.common.nested import each
from pygrad.common.numbers import describe
from pygrad.engine import Value, cells, is_grad_enabled, is_value, recordings, sweep_within
from pygrad.engine.arena import is_busy
from pygrad.engine.randomness import random_states, set_random_states


def checkpoint(function):
    """Return a version of `function` that needs less memory and more time; usable as a decorator.

    The graph of a call is dropped as soon as the call has returned. A backward pass that reaches the results calls
    `function` once more, sweeps the new graph, and drops it. So a program made of checkpointed parts has the graph of
    one part in memory at a time. Gradients reach the arguments and every other Value that the function uses.

    function    takes Values, numbers, nested lists of them, and anything else; returns a Value, or nested lists or
                tuples of Values and numbers. Within it the Values among the arguments are new leaves with their data.
                Its second run must repeat the first: numbers that it draws from `random` or from NumPy's global
                generator are the same again

    Within no_grad(), and while `pygrad.compile` records, `function` is called as it is. A backward pass raises
    RuntimeError if the second run has other operations, results or outer Values than the first; that equal operations
    have other operands is not noticed. A second derivative through a checkpoint is a TypeError.

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
        if not is_grad_enabled() or recordings.is_recording():
            return function(*args, **kwargs)
        return _Checkpoint(function, args, kwargs).first_run()

    return run


class _Checkpoint:
    """One call of a checkpointed function, which the backward pass repeats.

    The call leaves these nodes in the graph: a join, whose operands are all outer Values that the function uses, and a
    node for each result, with the join as its operand. A sweep gives the results their gradients, and then reaches the
    join: its closure runs the function again.
    """

    def __init__(self, function, args, kwargs):
        self.function, self.given = function, (args, kwargs)
        self.name = getattr(function, "__name__", type(function).__name__)

    def first_run(self):
        """Call the function; return its results as Values whose gradients the join passes on."""
        states = random_states()
        with self._called() as (out, ys, copies, since):
            sweep_within(_own(ys), [0.0] * len(ys), since, functools.partial(self._note, ys, copies))
        self.states = states if states != random_states() else None
        if not self.operands:
            return each(lambda y: Value(y._read()) if is_value(y) else y, out)
        self.shape, self.inputs, self.outputs = _shape(out), _numbers(self.operands), _numbers(ys)
        join = Value(0.0, self.operands, "checkpoint")
        join._backward = self._run_again
        results = [Value(y._read(), (join,), "checkpoint") for y in ys]
        self.results = [weakref.ref(v) for v in results]
        items = iter(results)
        return each(lambda y: next(items) if is_value(y) else y, out)

    @contextlib.contextmanager
    def _called(self):
        """Call the function with a new leaf in place of each Value among its arguments: `copies` maps Value to leaf."""
        copies = {}

        def copy(x):
            if is_value(x) and x not in copies:
                copies[x] = Value(x._read())
            return copies[x] if is_value(x) else x

        args, kwargs = each(copy, self.given)
        with cells.grad(), cells.trace() as trace:
            since = trace.moment
            del trace
            out = self.function(*args, **kwargs)
            ys = []
            each(lambda y: ys.append(y) if is_value(y) else None, out)
            yield out, ys, copies, since

    def _note(self, ys, copies, digest, outside):
        """Note the digest and the outer Values of the first run; return False: no sweep now."""
        given = {copy._pg_id: x for x, copy in copies.items()}
        others = [id for id in outside if id not in given]
        given.update(zip(others, engine.values_of(others, ys)))
        self.digest, self.operands = digest, tuple([given[id] for id in outside])
        return False

    def _run_again(self):
        """Pass the gradients of the results on: the `_backward` of the join."""
        results = [ref() for ref in self.results]
        reached = [v is not None and is_busy(v) for v in results]
        if not any(reached):  # no sweep is running: a program has called _backward() by hand
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
            f"checkpoint: {self.name} did not do the same a second time: {what}. It may depend on its arguments, and "
            "on what does not change until the backward pass; draw random numbers from `random`, or outside"
        )


def _own(ys):
    """Return a new node for each result: a result may itself be an outer Value."""
    return [y * 1.0 for y in ys]


def _numbers(values):
    """Return a hash of the data of Values, to compare with that of the other run."""
    return hash(array("d", [v._read() for v in values]).tobytes())


def _shape(out):
    """Return the structure of a result as text: where it has Values, and the types of the other items."""
    return repr(each(lambda y: "Value" if is_value(y) else type(y), out))
