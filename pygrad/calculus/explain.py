"""explain(y, x): the paths that make up a derivative; unreached(loss, parameters): the parameters without a path.

By the chain rule d y / d x is a sum over all paths from y to x; the term of a path is the product of the local
derivatives along it. There may be far too many paths to list, so only the largest are found, one by one. First a pass
over the nodes, operands first, gives each node its best tail: the largest product from the node to x. The best path
follows the tails from y. Every other path leaves an earlier path at some node by another operand, and follows the tails
from there (Lawler's partition of the remaining paths: E. L. Lawler, "A procedure for computing the k best solutions",
Management Science 18 (7), 1972). So k paths over n nodes cost O(n + k * length), however many paths there are.
"""

import heapq
import itertools
import math
import sys
import warnings

from pygrad.calculus import traversal
from pygrad.calculus.reruns import SeenThrough
from pygrad.common.named_tuples import named_tuple
from pygrad.common.numbers import describe, to_whole
from pygrad.engine import Value, is_value

_HUGE = 1e200  # stands for the logarithm of inf and nan, and -_HUGE for that of 0: sums of these stay finite
_MOST_SHOWN = 8  # steps of a path that its text shows


@named_tuple
class Path:
    """A path: its `values` from y to x, the derivatives (`slopes`) from each to the next, and their `product`."""

    values: tuple
    slopes: tuple
    product: float

    def __str__(self):
        steps = [f" --{slope:.4g}--> {_name(v)}" for slope, v in zip(self.slopes, self.values[1:])]
        cut = len(steps) - _MOST_SHOWN
        if cut > 0:
            half = _MOST_SHOWN // 2
            steps[half:-half] = [f" --({cut} more steps)-->"]
        return _name(self.values[0]) + "".join(steps)


@named_tuple
class Explanation:
    """The result of `explain`: the largest `paths`, the `count` of all (a float), and the `derivative` d y / d x."""

    y: Value
    x: Value
    derivative: float
    count: float
    paths: tuple

    def __str__(self):
        if not self.paths:
            return f"{_name(self.y)} does not depend on {_name(self.x)}: there is no path, and the derivative is 0"
        paths = "one path" if self.count == 1 else f"{_counted(self.count)} paths"
        shown = f", the largest {len(self.paths)} first" if self.count > len(self.paths) else ""
        lines = [f"d {_name(self.y)} / d {_name(self.x)} = {self.derivative:.6g}, over {paths}{shown}:"]
        width = max(len(f"{path.product:.6g}") for path in self.paths)
        lines += [f"  {f'{path.product:.6g}'.rjust(width)}  {path}" for path in self.paths]
        return "\n".join(lines)


def explain(y, x, limit=10):
    """Return the paths by which the Value `y` depends on the Value `x`, at most `limit`, the largest product first.

    The result is an `Explanation`: print it, or draw its paths with `viz.draw_dot(y, highlight=explanation)`. The local
    derivatives are those of backward(), at the present data. If an operand has several places (x * x), these are one
    step. No path leads through a value that a `where` or `take` does not choose. Products are compared by magnitude;
    nan and inf come first. No `.grad` is changed. Even 10^30 paths take no longer. Raises TypeError unless y and x are
    Values; ValueError unless `limit` is at least 1.

    >>> import pygrad
    >>> x = pygrad.Value(3.0, label="x")
    >>> square = x * x; square.label = "square"
    >>> y = square * 2 + x
    >>> print(pygrad.explain(y, x))
    d + / d x = 13, over 2 paths:
      12  + --1--> * --2--> square (*) --6--> x
       1  + --1--> x
    """
    for v in (y, x):
        if not is_value(v):
            raise TypeError(f"explain needs two Values, not {describe(v)}")
    limit = to_whole(limit, "limit", 1)
    steps, sums, counts = _to(x, y)
    if y._pg_id not in sums:
        return Explanation(y, x, 0.0, 0.0, ())
    paths = tuple(itertools.islice(_best_paths(y, steps), min(limit, sys.maxsize)))
    return Explanation(y, x, sums[y._pg_id], counts[y._pg_id], paths)


def unreached(loss, parameters, warn=True):
    """Return the parameters to which `loss` has no path, in a list: backward() gives them no gradient.

    parameters  Values, or a Module
    warn        name these parameters in a UserWarning

    A path leads where gradients go: not through `stop_gradient`, `detach()`, a comparison or the index of a take. A
    parameter whose gradient happens to be 0 has a path. Raises TypeError unless all are Values.

    >>> import pygrad
    >>> w, b = pygrad.Value(1.0, label="w"), pygrad.Value(0.5, label="b")
    >>> pygrad.unreached(w * 3 + b.detach(), [w, b], warn=False)
    [Value(data=0.5, grad=0.0)]
    """
    parameters = parameters.parameters() if hasattr(parameters, "parameters") else parameters
    parameters = list(parameters)
    for v in (loss, *parameters):
        if not is_value(v):
            raise TypeError(f"unreached needs a loss and its parameters, all Values, not {describe(v)}")
    reached = {v._pg_id for v in SeenThrough(parameters, [loss]).in_order(loss)}
    left = [(i, p) for i, p in enumerate(parameters) if p._pg_id not in reached]
    if left and warn:
        names = ", ".join(repr(p.label) if p.label else f"number {i}" for i, p in left[:10])
        more = f" and {len(left) - 10} more" if len(left) > 10 else ""
        text = f"{len(left)} of {len(parameters)} parameters have no path from the loss: {names}{more}"
        warnings.warn(f"{text}; is one detached, overwritten or left out?", stacklevel=2)
    return [p for _, p in left]


# --- paths ------------------------------------------------------------------------------------------------------------


@named_tuple
class _Step:
    """A step from a node to an operand that reaches x. `best` is the log of the largest product that begins with it."""

    best: float
    size: float  # log |slope|
    slope: float
    to: Value


def _to(x, y):
    """Return three dicts by the id of a node that reaches x: its steps, best first; its derivative; its path count."""
    steps, sums, counts = {x._pg_id: []}, {x._pg_id: 1.0}, {x._pg_id: 1.0}
    graph = SeenThrough([x], [y], traversal.chosen)
    for node in graph.in_order(y):  # operands first
        id = node._pg_id
        to = graph.operands(node) if id != x._pg_id else ()
        if not any(v._pg_id in sums for v in to):
            continue
        ways = [(v, slope) for v, slope in zip(to, graph.slopes_now(node, to)) if v._pg_id in sums]
        steps[id] = sorted((_step(v, slope, steps) for v, slope in ways), key=lambda step: -step.best)
        sums[id] = sum([slope * sums[v._pg_id] for v, slope in ways])
        counts[id] = sum([counts[v._pg_id] for v, _ in ways])
    return steps, sums, counts


def _step(to, slope, steps):
    size = -_HUGE if slope == 0 else math.log(abs(slope)) if math.isfinite(slope) else _HUGE
    ahead = steps[to._pg_id]
    return _Step(size + (ahead[0].best if ahead else 0.0), size, slope, to)


def _best_paths(y, steps):
    """Yield the paths from y, the largest product first.

    The paths that remain are on the heap, in sets. A set holds the paths that begin with some steps of an earlier path,
    and then leave a node by its step number `choice` or a later one. Its entry: (-log of the best product in the set, a
    serial number, the earlier path, how many of its steps are kept, the log of their product, the id of the node,
    choice). When the best path of a set is yielded, the other paths become new sets, one for each node of that path
    from the leaving node on: the paths that leave it by its next step or a later one.
    """
    number = itertools.count()  # makes entries differ: the earlier of two equal ones comes first
    heap = [(0.0, next(number), [], 0, 0.0, y._pg_id, 0)]
    while heap:
        _, _, parent, kept, size, at, choice = heapq.heappop(heap)
        path = parent[:kept]
        while steps[at]:
            ways = steps[at]
            if choice + 1 < len(ways):
                rest = -(size + ways[choice + 1].best)
                heapq.heappush(heap, (rest, next(number), path, len(path), size, at, choice + 1))
            path.append(ways[choice])
            size += ways[choice].size
            at, choice = ways[choice].to._pg_id, 0
        slopes = tuple([step.slope for step in path])
        yield Path((y, *[step.to for step in path]), slopes, math.prod(slopes))


# --- words ------------------------------------------------------------------------------------------------------------


def _name(v):
    op = v._op
    if v.label:
        return f"{v.label} ({op})" if op else str(v.label)
    return op or f"leaf {v._read():.4g}"


def _counted(count):
    return f"{count:.0f}" if count < 1e6 else f"{count:.3g}" if math.isfinite(count) else "more than 1e308"
