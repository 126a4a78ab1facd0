"""checkpoint: drop the graph of a function call, and build it again in the backward pass."""

import functools
import weakref
from array import array

from pygrad import engine
from pygrad.common.arrays import number_in
from pygrad.common.named_tuples import named_tuple
from pygrad.common.nested import each
from pygrad.common.numbers import describe
from pygrad.common.value_base import CLOSURE, each_once
from pygrad.engine import Value, cells, is_grad_enabled, is_value, recordings, sweep_within
from pygrad.engine._lib import lib
from pygrad.engine.arena import is_busy
from pygrad.engine.modes import enable_grad
from pygrad.engine.randomness import random_states, repeated
from pygrad.engine.sweeps import listed_within, pass_on_to


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
    have other operands is not noticed. Derivatives as Values (`create_graph`, `hessian`, `jvp`, `taylor`, ...) go
    through a checkpoint too: they call `function` once more, on the Values themselves, and keep the graph.

    Raises TypeError for what is no function. A call raises ValueError for lists that hold themselves, and TypeError for
    an iterator among the arguments, and for a result in which Values may be hidden: an array of objects, a generator,
    .... (A Value that the function leaves somewhere else, in a list of its caller say, has a graph of its own, which
    ends at copies of the arguments.)

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


@named_tuple
class Rerun:
    """A checkpointed function, called again outside of a backward pass, so that its graph is there."""

    join: Value
    results: list  # Values of the first call
    again: list  # for each of these the Value in the new graph that stands for it
    since: object  # the moment before the new graph was made


def rerun(join):
    """Call a checkpointed function again on the Values of its first call, given their join; return a Rerun.

    Returns None if `join` is not the join of a checkpoint. Raises RuntimeError if the function does something else.
    """
    call = getattr(join.__dict__.get(CLOSURE), "__self__", None)
    return call.rerun(join) if isinstance(call, _Checkpoint) else None


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
        copies, given = self._copied()

        def note(out, ys, since):
            self.digest, outside = listed_within(_own(ys), since)
            return out, ys, _originals(outside, copies, ys)

        self.is_within_a_call = recordings.is_calling()
        given_values = [x for x, _ in copies.values()]
        self.variables = [x for x in given_values if recordings.is_variable(x)] if self.is_within_a_call else []
        out, ys, self.operands = self._call(given, note, self._variables_among(copies))
        now = random_states()
        if len(now) > len(states):  # NumPy loads its generator at the first draw: its state before that is lost
            return self.first_run()
        self.states = states if states != now else None
        if not self.operands:
            return each(lambda y: Value(y._read()) if is_value(y) else y, out)
        self.shape, self.inputs, self.outputs = _shape(out), _numbers(self.operands), _numbers(ys)
        join = Value(0.0, self.operands, "checkpoint")
        join._backward, self.join_id = self._run_again, join._pg_id
        results = [Value(y._read(), (join,), "checkpoint") for y in ys]
        self.results = [weakref.ref(v) for v in results]
        items = iter(results)
        return each(lambda y: next(items) if is_value(y) else y, out)

    def rerun(self, join):
        """Call the function on the Values that it was given, not on copies; return a Rerun."""

        def keep(ys, since):
            self._check({}, *listed_within(_own(ys), since))
            pairs = [(ref(), y) for ref, y in zip(self.results, ys) if ref() is not None]
            return Rerun(join, [v for v, _ in pairs], [y for _, y in pairs], since)

        return self._call_again(self.given, keep, self.variables)

    def _run_again(self):
        """Pass the gradients of the results on: the `_backward` of the join."""
        reached = self._reached()
        copies, given = self._copied()
        check = functools.partial(self._check, copies)

        def sweep(ys, since):
            if len(reached) < len(ys):
                check(*listed_within(_own(ys), since))
            agree = _agree if len(reached) < len(ys) else check
            return set(sweep_within(_own([ys[i] for i in reached]), list(reached.values()), since, agree))

        outside = self._call_again(given, sweep, self._variables_among(copies))
        for x, copy in copies.values():
            if copy._pg_id in outside:
                lib.pg_add_grad(x._pg_id, copy.grad)  # in one step: another thread may add to it, too
                outside.add(x._pg_id)
        passed_on = [x for x in self.operands if x._pg_id in outside]
        if len(passed_on) < len(self.operands):
            pass_on_to(self.join_id, passed_on)

    def _reached(self):
        """Return {number of a result: its gradient} for the results that the running sweep has reached.

        The others are not swept: a gradient of 0 times an infinite slope would be nan.
        """
        results = {i: v for i, v in enumerate([ref() for ref in self.results]) if v is not None}
        reached = {i: v.grad for i, v in results.items() if is_busy(v)}
        # No sweep is running if a program has called _backward() by hand: then nothing but a gradient tells.
        return reached or {i: v.grad for i, v in results.items() if v.grad != 0.0}

    # --- one run ------------------------------------------------------------------------------------------------------

    def _copied(self):
        """Return {id: (Value, new leaf with its data)} of the Values among the arguments, and these with the leaves."""
        copies = {}

        def copy(x):
            if not is_value(x):
                return self._checked(x)
            if x._pg_id not in copies:
                copies[x._pg_id] = x, Value(x._read())
            return copies[x._pg_id][1]

        given = each(copy, self.given)
        return copies, given

    def _checked(self, x):
        if hasattr(type(x), "__next__"):
            raise TypeError(
                f"checkpoint: an argument of {self.name} is or holds {describe(x)}, which gives its items once, and "
                "the backward pass needs them again: pass list(...) of it"
            )
        return x

    def _variables_among(self, copies):
        """Return the copies of the variables."""
        return [copies[x._pg_id][1] for x in self.variables]

    def _call(self, given, use, variables):
        """Call the function; return use(what it returned, the Values in that, the moment before the call).

        `variables` are those of the given Values that depend, or are copies of Values that depend, on an argument of
        the function that is transformed or recorded when the checkpoint is made. Its later runs are as if within it.
        """
        args, kwargs = given
        with enable_grad(), cells.trace() as trace:
            since = trace.moment
            del trace
            if self.is_within_a_call:
                out = recordings.call(functools.partial(self.function, **kwargs), args, variables)
            else:
                out = self.function(*args, **kwargs)
            ys = []
            each(lambda y: ys.append(y) if is_value(y) else _check_plain(y), out)
            return use(out, ys, since)

    def _call_again(self, given, use, variables):
        """Call the function as in its first run, and check what it returns; return use(its Values, the moment)."""
        inputs = _numbers(self.operands)

        def use_what_is_right(out, ys, since):
            if _shape(out) != self.shape:
                self._refuse("the structure of its result is another")
            if inputs == self.inputs and _numbers(ys) != self.outputs:
                self._refuse("its result is another")
            return use(ys, since)

        return repeated(self.states, lambda: self._call(given, use_what_is_right, variables))

    def _check(self, copies, digest, outside):
        """Check that the run has the operations of the first one, and the outer Values or their copies."""
        known = {x._pg_id for x in self.operands}
        known.update([copy._pg_id for id, (_, copy) in copies.items() if id in known])
        if digest != self.digest or not known.issuperset(outside):
            self._refuse("it took other operations")

    def _refuse(self, what):
        raise RuntimeError(
            f"checkpoint: {self.name} did not do the same a second time: {what}. It may depend on its arguments, and "
            "on what does not change until the backward pass; draw random numbers from `random`, or outside"
        )


def _originals(ids, copies, ys):
    """Return the outer Values of a run, each once: `ids` are theirs and those of the copies of some of them."""
    given = {copy._pg_id: x for x, copy in copies.values()}
    others = [id for id in ids if id not in given]
    given.update(zip(others, engine.values_of(others, ys)))
    return tuple(each_once([given[id] for id in ids]))


def _check_plain(y):
    """Raise TypeError for an object that Values may be in: they would lead to the copies of the arguments."""
    is_array = getattr(getattr(y, "dtype", None), "kind", "O") in "biufcSU"
    if not (y is None or is_array or isinstance(y, (str, bytes, complex)) or number_in(y, "a result") is not None):
        raise TypeError(
            f"checkpoint: the function returned {describe(y)}: return Values and numbers, in lists, tuples or dicts"
        )


def _agree(digest, outside):
    pass


def _own(ys):
    """Return a new node for each result: a result may itself be an outer Value."""
    return [y * 1.0 for y in ys]


def _numbers(values):
    """Return a hash of the data of Values, to compare with that of the other run."""
    return hash(array("d", [v._read() for v in values]).tobytes())


def _shape(out):
    """Return the structure of a result as text: where it has Values, and the types of the other items."""
    return repr(each(lambda y: "Value" if is_value(y) else type(y), out))
