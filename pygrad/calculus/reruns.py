"""See through checkpoints: call their functions again, and take the new graphs in place of the results.

`pygrad.checkpoint` leaves no graph but a join and its results, which have no formula. Code that needs the graph itself
makes a `SeenThrough` of the results and the Values that it looks for. A result of a checkpoint has there one operand,
the Value of the new graph that *stands for* it, with the derivative 1; no join is met. The order of creation is that of
a program without checkpoints: the nodes of a new graph are where the join was.

The node of a custom op has derivatives that were computed before it was there. To differentiate them,
`declared_again` makes a node with derivatives that are computed from the first one, which stands for the first one.
"""

import bisect
import warnings

from pygrad import engine
from pygrad.calculus import traversal
from pygrad.common.caller import caller
from pygrad.common.value_base import CALL, op_and_label
from pygrad.engine import arena, cells, recordings
from pygrad.engine.checkpoint import Rerun, rerun
from pygrad.engine.modes import enable_grad
from pygrad.engine.sweeps import listed_within

_READS = (
    "reads the number of a Value: differentiated again, this number is a constant; compute with Values, and choose "
    "with pygrad.where"
)


def reruns_between(xs, ys, operands=arena.receivers):
    """Call again each checkpointed function between the Values `xs` and `ys`, also in new graphs; return Reruns.

    operands: a function from a Value to the operands to follow.
    """
    found, leads, todo, wanted = [], {}, [ys], {x._pg_id for x in xs}  # leads: id -> does the node lead to xs?

    def not_seen(v):
        return () if v._pg_id in leads else operands(v)

    while todo:
        for v in traversal.in_order(*todo.pop(), operands=not_seen):
            if v._pg_id in leads:
                continue
            leads[v._pg_id] = v._pg_id in wanted or any(leads[u._pg_id] for u in operands(v))
            run = rerun(v) if leads[v._pg_id] else None
            if run:
                found.append(run)
                todo.append(run.again)
    return found


class Substitutes:
    """What `pg_pull` and `pg_push` go through in place of checkpoints and custom ops; `pull` is that of grad.py."""

    def __init__(self, pull):
        self.reruns, self._pull, self._saw_checkpoints = [], pull, False

    def find(self, xs, ys, ops):
        """Find the Reruns of `ops`, declared nodes; without any, of the checkpoints. Return True if one is new."""
        found = []
        for v in ops:
            again = declared_again(v, self._pull) if is_call_of_op(v) else None
            found += [again, _as_it_is(*again.again)] if again else [_as_it_is(v)]
        if not ops and not self._saw_checkpoints:
            self._saw_checkpoints = True
            found = reruns_between(xs, ys)
        self.reruns += found
        return bool(found)


def _as_it_is(v):
    """Return the Rerun that says that a declared node has the derivatives that it has."""
    return Rerun(v, [], [], 0)


def is_call_of_op(v):
    """True for a node that a call of a custom op has made."""
    return CALL in v.__dict__


def declared_again(v, pull):
    """Compute the derivatives of the node of a custom op again, from the node itself; return a Rerun.

    Raises RuntimeError if the op does something else than before; warns if the derivative reads a number.
    """
    call, read = v.__dict__[CALL], []
    y, *pairs = v._operands_in_order()
    own = len(pairs) - 2 * call.closes  # behind them y and the derivative 1
    known = list(zip(pairs[:own:2], pairs[1:own:2]))
    xs = call.xs or [x for x, _ in known]
    with enable_grad(), cells.trace() as trace:
        since = trace.moment
        del trace
        found = [(x, d) for x, d in zip(xs, call.noting(read).again(v, xs)) if d is not None]
        if list(map(_kept, found)) != list(map(_kept, known)) or not _are_alike(known, found, call.results(y)):
            raise _did_another_thing(v, "the derivative")
        if read and call.op.warns_of_number() and not recordings.is_recording():
            warnings.warn_explicit(f"the derivative of {op_and_label(v)} {_READS}", UserWarning, *caller(), registry={})
        if call.closes:
            found += _by_closed_over(v, y, xs, pull)
        again = engine.declared(v, [x for x, _ in found], [d for _, d in found])
    return Rerun(v, [], [again], since)


def _kept(pair):
    """Return what must be the same when an op computes a derivative again."""
    x, d = pair
    return x._pg_id, repr(d._read())


def _are_alike(known, found, ys):
    """True if two lists of (x, derivative) have equal graphs; where the first one has a y, the second may have any."""
    ys, done = {y._pg_id for y in ys}, set()
    stack = [(a, b) for (_, a), (_, b) in zip(known, found)]
    while stack:
        a, b = stack.pop()
        pair = a._pg_id, b._pg_id
        if pair in done or _stands_for(b, a) or a._pg_id in ys:
            continue
        done.add(pair)
        below = a._operands_in_order(), b._operands_in_order()
        if _operation(a) != _operation(b) or len(below[0]) != len(below[1]):
            return False
        stack.extend(zip(*below))
    return True


def _stands_for(b, a):
    """True if b is the Value a, or its copy: an argument without a derivative is copied."""
    is_copy = traversal.name_of(b) == "stop_gradient"
    return b._pg_id == a._pg_id or (is_copy and b._operands_in_order()[0]._pg_id == a._pg_id)


def _operation(v):
    return traversal.name_of(v), v._op, repr(v._read())  # `_op` tells the exponent of a power


def _by_closed_over(v, y, xs, pull):
    """Return (Value, derivative of the declared node `v` by it) for all Values that the op's `forward` closes over.

    y: the first operand of `v`. The derivatives depend on the xs.
    """
    copies = [x * 1.0 for x in xs]
    with cells.trace() as trace:
        since = trace.moment
        del trace
        read = []
        again = v.__dict__[CALL].noting(read).forward(v, copies)
        if read:
            raise TypeError(
                f"{op_and_label(v)} reads the number of an argument and computes with other Values: the derivatives by "
                "these cannot be differentiated; compute with Values, or pass these Values as arguments, and declare "
                "their derivatives"
            )
        if not engine.is_value(again) or repr(again._read()) != repr(y._read()):
            raise _did_another_thing(v, "the op")
        own = again * 1.0  # what `forward` has returned may be older
        known = {copy._pg_id for copy in copies}
        ids = [id for id in listed_within([own], since)[1] if id not in known]
        closed_over = engine.values_of(ids, [own])
        return list(zip(closed_over, pull([own], [1.0], closed_over, since)))


def _did_another_thing(v, what):
    return RuntimeError(
        f"{what} of {op_and_label(v)} did not give the same a second time: it may depend on its arguments, and on what "
        "does not change until derivatives are differentiated; pass random numbers as arguments"
    )


class SeenThrough:
    """The graph between the Values `xs` and `ys` as it would be without checkpoints."""

    def __init__(self, xs, ys, operands=traversal.receivers):
        self._operands, self._reruns = operands, reruns_between(xs, ys, operands)
        self._stand_ins = {v._pg_id: again for run in self._reruns for v, again in zip(run.results, run.again)}

    def stand_in(self, v):
        """Return the Value that stands for a result of a checkpoint; None for any other Value."""
        return self._stand_ins.get(v._pg_id)

    def operands(self, v):
        """Return the operands of a Value to follow: by default those that a backward pass goes on to."""
        return (self._stand_ins[v._pg_id],) if v._pg_id in self._stand_ins else self._operands(v)

    def slopes_now(self, v, to):
        """Do as `traversal.slopes_now`."""
        return [1.0] if v._pg_id in self._stand_ins else traversal.slopes_now(v, to)

    def in_order(self, *roots):
        """Do as `traversal.in_order`."""
        return traversal.in_order(*roots, operands=self.operands)

    def oldest_first(self, values):
        """Return Values in a list, in the order of creation."""
        values, joins = list(values), [run.join for run in self._reruns]
        made = traversal.creation_order([*joins, *values])
        begins = [run.since * traversal.BLOCK_SLOTS for run in self._reruns]
        keyed = [(_key(number, begins, made), i) for i, number in enumerate(made[len(joins) :])]
        return [values[i] for _, i in sorted(keyed)]


def _key(number, begins, joins):
    """Return the place of a node in the order of creation, given its number there, as a tuple.

    A node of the new graph number k, which begins at the number begins[k], has its place behind that of joins[k]. This
    join may be a node of another new graph.
    """
    at = bisect.bisect_right(begins, number) - 1
    return (*_key(joins[at], begins, joins), number) if at >= 0 else (number,)
