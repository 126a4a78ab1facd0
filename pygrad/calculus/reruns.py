"""See through checkpoints: call their functions again, and take the new graphs in place of the results.

`pygrad.checkpoint` leaves no graph but a join and its results, which have no formula. Code that needs the graph itself
makes a `SeenThrough` of the results and the Values that it looks for. A result of a checkpoint has there one operand,
the Value of the new graph that *stands for* it, with the derivative 1; no join is met. The order of creation is that of
a program without checkpoints: the nodes of a new graph are where the join was.
"""

import bisect

from pygrad.calculus import traversal
from pygrad.engine import arena
from pygrad.engine.checkpoint import rerun


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
