"""gradcheck: does backward() give the derivative that the function has?

Three steps. (1) Compare each exact derivative with central differences, extrapolated to step 0: Richardson's method
with Ridders' error estimate (C. J. F. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Advances in Engineering
Software 4 (2), 1982), so that any moderate first step will do. Values are real, so there is no complex step. (2) Run
each `_backward` closure with two seeds: it must add to gradients, in proportion to its node's own. (3) If something is
wrong, check each node by itself, to name the op and the operand. The derivative of an op of the table is compared with
differences of its formula; that of a user's op with the way its data follows its operands' data in new runs of `fn`.
"""

import math

from pygrad.calculus import traversal
from pygrad.calculus.grad import grad
from pygrad.calculus.points import Point
from pygrad.calculus.reruns import SeenThrough
from pygrad.common.named_tuples import named_tuple
from pygrad.common.value_base import op_and_label
from pygrad.engine._lib import ffi, lib
from pygrad.engine.modes import enable_grad
from pygrad.engine.optable import CODES

_UNIT = 2.0**-52
_LARGEST_ERROR = 1e-4  # relative: Ridders' error estimate may excuse no more, so never an error of 0.1 %
_SHRINK = 0.6  # each step / the step before; not a half: quotients of coarse numbers would agree by chance
_RANGE = 1e-4  # the last step / the first with a finite quotient: for smaller steps coarse numbers do not move at all
_MOST_STEPS = 50
_SMALL_DOUBT = 1e-7  # relative: with a larger one, shorter steps are tried too
_MOST_NAMED = 10  # mismatches, and faults, that a report lists


class GradcheckError(AssertionError):
    """A derivative is wrong; the message names it, the size of the error, and the op at fault."""


def gradcheck(fn, xs, *, eps=0.01, rtol=1e-6, atol=0.0, raise_exception=True):
    """Compare the gradients of `fn` at `xs` with finite differences; return True if they agree.

    fn      takes Values and returns a Value or a list of Values. It gets one list if `xs` is a list, several arguments
            for a tuple, one Value for a number. It is run some ten times for each number, at most two hundred times,
            and must return equal results for equal numbers
    xs      the numbers: a point where `fn` is smooth, so beside a kink, not on it
    eps     the first step, relative to max(1, |x|); smaller steps follow until the quotients settle. If they do not,
            as beside the pole of 1 / x, steps relative to min(1, |x|) are tried too
    rtol    the allowed difference between gradient and quotient, relative to the larger one
    atol    the allowed difference besides. Leave it 0 unless the report says that fn is noisy

    The rounding error of the differences is allowed for. No `.grad` changes, not even of other Values that `fn` uses.
    Raises GradcheckError if a gradient is wrong; with `raise_exception=False` returns False instead. The error names
    the inputs with both numbers, then the op and the operand whose derivative is wrong. Raises ValueError if `fn`
    returns another result when it is run again.

    >>> import pygrad
    >>> pygrad.gradcheck(lambda x: x[0] * x[1].tanh(), [2.0, 0.5])
    True
    >>> def double(v):
    ...     out = pygrad.Value(2 * v.data, (v,), "double")
    ...     def backward():
    ...         v.grad += 2.002 * out.grad
    ...     out._backward = backward
    ...     return out
    >>> pygrad.gradcheck(double, 3.0)
    Traceback (most recent call last):
    ...
    pygrad.calculus.gradcheck.GradcheckError: the gradient is wrong:
      d y / d x is 2.002, and differences give 2.0 (0.1% apart)
    found at:
      'double', operand 1 of 1 (x, data 3.0): its derivative is 2.002, and should be 2.0
    """
    with enable_grad():
        check = _Check(fn, Point(xs), eps, rtol, atol)
        mismatches, misdeeds = check.mismatches(), check.misdeeds()
        if not mismatches and not misdeeds:
            return True
        if raise_exception:
            raise GradcheckError(check.report(mismatches, misdeeds))
        return False


def gradgradcheck(fn, xs, *, eps=0.01, rtol=1e-6, atol=0.0, raise_exception=True):
    """Compare the second derivatives of `fn` at `xs` with finite differences of its gradients: see `gradcheck`.

    In a report y[i] is the i-th gradient: first the gradients of the first result by all numbers of `xs`, and so on.

    >>> import pygrad
    >>> pygrad.gradgradcheck(lambda x: x[0] * x[1].tanh(), [2.0, 0.5])
    True
    """
    point = Point(xs)

    def gradient(leaves):
        ys, _ = point.call(fn, leaves)
        return [g for y in ys for g in grad(y, leaves, create_graph=True)]

    return gradcheck(gradient, point.numbers, eps=eps, rtol=rtol, atol=atol, raise_exception=raise_exception)


# --- differences ------------------------------------------------------------------------------------------------------


@named_tuple
class Slope:
    """A numerical derivative: `error` is Ridders' estimate, `noise` the error that rounding can make."""

    value: float
    error: float
    noise: float


def differentiate(f, x, eps=0.01):
    """Return the derivatives at `x` of `f`, a function of a number that returns a list of numbers, as `Slope`s.

    Ridders' method: central differences with steps that shrink from eps * max(1, |x|), extrapolated to step 0. Beside a
    pole at 0 such a step is too long, and far out it passes over the waves of a sine. So where the result leaves a
    doubt, the steps shrink from eps * min(1, |x|) too, and the result with the smaller doubt is returned.
    """
    differences = _Differences(f, x, eps * max(1.0, abs(x)))
    slopes = [_extrapolated(differences, output) for output in range(differences.outputs)]
    if 0.0 < abs(x) != 1.0 and any(_doubt(slope) > _SMALL_DOUBT for slope in slopes):
        shorter = _Differences(f, x, eps * min(1.0, abs(x)))
        slopes = [_better(slope, _extrapolated(shorter, output)) for output, slope in enumerate(slopes)]
    return slopes


def _better(slope, shorter):
    """Return the Slope with the smaller doubt. Where short steps do not move f at all, they say nothing."""
    return shorter if shorter.value != 0.0 and _doubt(shorter) < _doubt(slope) else slope


def _doubt(slope):
    """Return the relative error that a Slope may have; inf, never nan, if nothing is known of it."""
    doubt = slope.error + slope.noise
    if doubt == 0.0:
        return 0.0
    return doubt / abs(slope.value) if slope.value and math.isfinite(slope.value) else math.inf


class _Differences:
    """Central differences: `at(k)` returns (step, quotients, sizes of f) of the k-th step, computed only once."""

    def __init__(self, f, x, step):
        self._f, self._x, self._step, self._known = f, x, step, []
        self.outputs = len(self.at(0)[1])

    def at(self, k):
        while len(self._known) <= k:
            above = self._x + self._step * _SHRINK ** len(self._known)
            h = above - self._x  # exactly, though x is large
            below = self._x - h
            ups, downs = self._f(above), self._f(below)
            width = above - below
            quotients = [(u - d) / width if width else math.nan for u, d in zip(ups, downs)]
            self._known.append((h, quotients, [max(abs(u), abs(d)) for u, d in zip(ups, downs)]))
        return self._known[k]


def _extrapolated(differences, output):
    """Return the Slope of one output: the entry of Ridders' table that differs least from its three neighbours.

    (Ridders compares with two: they agree by chance too easily where f is noisy.) After a quotient that is not finite
    the table starts anew. It ends where x is so large that the step cannot shrink any more.
    """
    best, steps, before, last = Slope(math.nan, math.inf, 0.0), [], [], 0.0
    for k in range(_MOST_STEPS):
        h, quotients, sizes = differences.at(k)
        line = [quotients[output]]
        if not math.isfinite(line[0]):
            steps, before = [], []
            continue
        if steps and not h < steps[-1]:
            break
        noise = 4 * _UNIT * sizes[output] / h
        last = last if before else h * _RANGE
        for j, old in enumerate(before, 1):
            line.append(line[-1] + (line[-1] - old) / ((steps[-j] / h) ** 2 - 1))
            error = max([abs(line[-1] - neighbour) for neighbour in (line[-2], *before[j - 1 : j + 1])])
            if j < len(before) and error < best.error:
                best = Slope(line[-1], error, noise)
        if best.error <= max(1e-10 * abs(best.value), best.noise) or h < last:
            break
        before = line
        steps.append(h)
    return best


def _agree(exact, slope, scale, rtol, atol):
    size = max(abs(exact), abs(slope.value))
    excused = min(2 * slope.error, _LARGEST_ERROR * max(size, scale))
    return abs(exact - slope.value) <= atol + rtol * size + slope.noise + excused  # False for a nan


# --- the whole function -----------------------------------------------------------------------------------------------


class _Check:
    def __init__(self, fn, point, eps, rtol, atol):
        self.fn, self.point, self.eps, self.rtol, self.atol = fn, point, eps, rtol, atol
        self.leaves = point.leaves()
        self.ys, self.is_one = point.call(fn, self.leaves)
        before = [y._read() for y in self.ys]
        if repr(before) != repr(self.data_at(0, point.numbers[0])):  # by repr: there a nan equals a nan
            raise ValueError(
                "fn gives another result each time it is called: it cannot be differentiated by running it"
            )

    def data_at(self, i, number):
        return [y._read() for y in self.run_at(i, number)]

    def run_at(self, i, number):
        return self.leaves_and_results_at(i, number)[1]

    def leaves_and_results_at(self, i, number):
        numbers = list(self.point.numbers)
        numbers[i] = number
        leaves = self.point.leaves(numbers)
        return leaves, self.point.call(self.fn, leaves)[0]

    def mismatches(self):
        """Compare all derivatives with differences; return a text for each that is wrong."""
        exact = [grad(y, self.leaves) for y in self.ys]
        scales = [max(map(abs, row)) for row in exact]
        texts = []
        for i, x in enumerate(self.point.numbers):
            slopes = differentiate(lambda number, i=i: self.data_at(i, number), x, self.eps)
            for o, slope in enumerate(slopes):
                if not _agree(exact[o][i], slope, scales[o], self.rtol, self.atol):
                    y = "y" if self.is_one else f"y[{o}]"
                    texts.append(f"d {y} / d {self.point.names[i]} {_apart(exact[o][i], slope)}")
        return texts

    def misdeeds(self):
        """Run each closure with two seeds; return a text for each that does not add in proportion to its seed."""
        texts = []
        for node in filter(traversal.is_closure, SeenThrough(self.leaves, self.ys).in_order(*self.ys)):
            once, again = traversal.slopes(node), traversal.slopes(node, seed=3.0, start=1.0)
            for place, (a, b) in enumerate(zip(once, again)):
                if not _close(b, 1.0 + 3.0 * a):
                    texts.append(f"{self.operand(node, place)}: {_misdeed(a, b)}")
        return texts

    def report(self, mismatches, misdeeds):
        lines = ["the gradient is wrong:", *_shortened(mismatches)] if mismatches else ["a backward step is wrong:"]
        found = misdeeds or self.faults()
        if not found:
            found = ["no node by itself: does fn use .data or detach(), or lose the digits that differences need?"]
        return "\n".join([*lines, *(["found at:"] if mismatches else []), *_shortened(found)])

    # --- node by node -------------------------------------------------------------------------------------------------

    def faults(self):
        """Check each node by itself; return a text for each derivative that is not its op's."""
        self.graph = SeenThrough(self.leaves, self.ys, _followed)
        nodes = self.active()
        texts, moves = [], None
        for node in nodes:
            if self.graph.stand_in(node):
                continue
            if lib.pg_op(node._pg_id) == CODES["stop_gradient"]:
                texts.append(f"{op_and_label(node)} passes no gradient on, by design")
                continue
            expected = _by_formula(node, self.eps)
            if expected is None:
                moves = moves or self.moves(nodes)
                texts += self.faults_of_opaque(node, moves)
                continue
            for place, (actual, slope) in enumerate(zip(traversal.slopes(node), expected)):
                if not _agree(actual, slope, 0.0, 1e-6, 0.0):
                    texts.append(f"{self.operand(node, place)}: its derivative {_should_be(actual, slope.value)}")
        return texts

    def active(self):
        """List the nodes on the ways from the leaves to the results, operands first; not the leaves themselves."""
        ours, nodes = {x._pg_id for x in self.leaves}, []
        for node in self.graph.in_order(*self.ys):
            if node._pg_id not in ours and any(v._pg_id in ours for v in self.graph.operands(node)):
                ours.add(node._pg_id)
                nodes.append(node)
        return nodes

    def moves(self, nodes):
        """Return {id: derivatives of a node's data by each input, from differences}, for user's ops and their operands.

        A node is found again in another run by its place in the graph. If the graph changes with the inputs that is
        impossible, and the derivatives are nan.
        """
        order = self.graph.in_order(*self.ys)
        opaque = [node for node in nodes if _is_opaque(node) and not self.graph.stand_in(node)]
        wanted = {v._pg_id for node in opaque for v in (node, *traversal.receivers(node))}
        places = [place for place, v in enumerate(order) if v._pg_id in wanted]
        ops = [v._op for v in order]

        def data(i, number):
            leaves, ys = self.leaves_and_results_at(i, number)
            there = SeenThrough(leaves, ys, _followed).in_order(*ys)
            if [v._op for v in there] != ops:
                return [math.nan] * len(places)
            return [there[place]._read() for place in places]

        columns = [
            [slope.value for slope in differentiate(lambda number, i=i: data(i, number), x, self.eps)]
            for i, x in enumerate(self.point.numbers)
        ]
        return {order[place]._pg_id: row for place, row in zip(places, zip(*columns))}

    def faults_of_opaque(self, node, moves):
        """Return texts for the wrong derivatives of a user's op.

        By the chain rule the node moves, for each input, by the sum over its operands of derivative * move of operand.
        """
        actual, moved = traversal.slopes(node), moves[node._pg_id]
        columns = [moves[v._pg_id] for v in traversal.receivers(node)]
        if not all(map(math.isfinite, [*moved, *[x for column in columns for x in column]])):
            return [f"{op_and_label(node)} cannot be checked: the graph is another one at each point"]
        by_chain_rule = [math.fsum(s * m for s, m in zip(actual, row)) for row in zip(*columns)]
        size = max(max(map(abs, moved)), *[abs(s * m) for s, c in zip(actual, columns) for m in c])
        if all(abs(a - b) <= _LARGEST_ERROR * size for a, b in zip(by_chain_rule, moved)):
            return []
        return self._wrong_operands(node, actual, columns, moved, size)

    def _wrong_operands(self, node, actual, columns, moved, size):
        live = [k for k, column in enumerate(columns) if any(column)]
        true = _least_squares([columns[k] for k in live], moved)
        if true is None:
            named = " or ".join(self.value(v) for v in traversal.receivers(node))
            return [f"{op_and_label(node)}: the derivative by {named}; no input moves them apart"]
        rest = [m - math.fsum(t * columns[k][i] for t, k in zip(true, live)) for i, m in enumerate(moved)]
        if max(map(abs, rest)) > _LARGEST_ERROR * size:
            return [f"{op_and_label(node)}: its data depends on a Value that is not among its operands"]
        wrong = [(k, t) for k, t in zip(live, true) if not _near(actual[k], t)]
        hint = ""
        if len(wrong) == 2 and _near(actual[wrong[0][0]], wrong[1][1]) and _near(actual[wrong[1][0]], wrong[0][1]):
            hint = " (the two operands' derivatives are swapped)"
        return [f"{self.operand(node, k)}: its derivative {_should_be(actual[k], t)}{hint}" for k, t in wrong]

    # --- names --------------------------------------------------------------------------------------------------------

    def operand(self, node, place):
        to = traversal.receivers(node)
        return f"{op_and_label(node)}, operand {place + 1} of {len(to)} ({self.value(to[place])})"

    def value(self, v):
        ours = [name for name, x in zip(self.point.names, self.leaves) if x is v]
        name = (ours or [v.label or v._op or "a leaf"])[0]
        return f"{name}, data {v._read()!r}"


# --- one node ---------------------------------------------------------------------------------------------------------


def _followed(node):
    """Return the operands that move the data of a node: those that get a gradient, and that of stop_gradient."""
    if lib.pg_op(node._pg_id) == CODES["stop_gradient"]:
        return node._operands_in_order()
    return traversal.receivers(node)


def _is_opaque(node):
    """True for an op of the user's: with a closure, with local gradients, or with a declared derivative."""
    return traversal.is_closure(node) or lib.pg_op(node._pg_id) in _OPAQUE


_OPAQUE = {CODES[name] for name in ("custom", "local", "declared") if name in CODES}


def _by_formula(node, eps):
    """Return the derivatives of a node by its receivers, from differences of its op's result; None for a user's op."""
    op, operands, to = lib.pg_op(node._pg_id), node._operands_in_order(), traversal.receivers(node)
    if _is_opaque(node):
        return None
    if op in (CODES["sum"], CODES["dot"], CODES["take"]):
        return _of_list(op, [v._pg_id for v in operands], [v._read() for v in operands], to)
    out, datas = ffi.new("double[3]"), [v._read() for v in operands]

    def result(moving, number):
        numbers = [number if v is moving else data for v, data in zip(operands, datas)]
        if op == CODES["power"]:
            numbers.append(lib.pg_exponent(node._pg_id))
        lib.pg_op_eval(CODES["pow"] if op == CODES["power"] else op, *(numbers + [0.0])[:2], out)
        return [out[0]]

    return [differentiate(lambda number, v=v: result(v, number), v._read(), eps)[0] for v in to]


def _of_list(op, ids, datas, to):
    """Return the derivatives of a sum, a dot or a take: it is linear in each operand, so no differences are needed."""
    slopes = dict.fromkeys([v._pg_id for v in to], 0.0)
    if op == CODES["sum"]:
        shares = [1.0] * len(ids)
    elif op == CODES["take"]:
        shares = [0.0] + [float(k == datas[0]) for k in range(len(ids) - 1)]
    else:
        odd = len(ids) % 2  # a bias, then w0, x0, w1, x1, ...
        shares = [1.0] * odd + [datas[odd + (k ^ 1)] for k in range(len(ids) - odd)]
    for id, share in zip(ids, shares):
        if id in slopes:
            slopes[id] += share
    return [Slope(slopes[v._pg_id], 0.0, 0.0) for v in to]


def _least_squares(columns, target):
    """Return the factors with which the columns add up nearest to the target; None if the columns are dependent.

    Modified Gram-Schmidt (Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, section 2.4).
    """
    columns, rest, steps = [list(column) for column in columns], list(target), []
    sizes = [math.sqrt(_inner(column, column)) for column in columns]
    for k, column in enumerate(columns):
        square = _inner(column, column)
        if math.sqrt(square) <= 1e-5 * sizes[k]:
            return None
        shares = [_inner(column, other) / square for other in columns[k + 1 :]]
        for share, other in zip(shares, columns[k + 1 :]):
            other[:] = [o - share * c for o, c in zip(other, column)]
        own = _inner(column, rest) / square
        rest = [r - own * c for r, c in zip(rest, column)]
        steps.append((own, shares))
    found = []
    for own, shares in reversed(steps):
        found.insert(0, own - _inner(shares, found))
    return found


def _inner(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


# --- words ------------------------------------------------------------------------------------------------------------


def _apart(exact, slope):
    if not math.isfinite(slope.value):
        return f"is {exact!r}, and fn is not finite around the point"
    text = f"is {_shown(exact)}, and differences give {_shown(slope.value)}"
    size = max(abs(exact), abs(slope.value))
    if not math.isfinite(exact):
        return text
    if slope.error > _LARGEST_ERROR * size:
        return f"{text}, known to {slope.error:.1g} only: fn is noisy, or not smooth there"
    return f"{text} ({100 * abs(exact - slope.value) / size:.2g}% apart)"


def _should_be(actual, true):
    return f"is {_shown(actual)}, and should be {_shown(true)}"


def _misdeed(once, again):
    if _close(again, 3.0 * once):
        return "the closure overwrites the gradient that is there: write += instead of ="
    if _close(again, 1.0 + once):
        return "the closure leaves out the gradient of its own node: multiply by out.grad"
    return f"the closure is not proportional to its node's gradient: it gives {once!r} for 1, and {again - 1.0!r} for 3"


def _close(a, b):
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b)) or a == b or (a != a and b != b)


def _near(a, b):
    return abs(a - b) <= _LARGEST_ERROR * max(abs(a), abs(b))


def _shown(number):
    """Return a number as text, with no more digits than differences can give."""
    return repr(float(f"{number:.9g}"))


def _shortened(lines):
    more = len(lines) - _MOST_NAMED
    return [f"  {line}" for line in lines[:_MOST_NAMED]] + ([f"  and {more} more"] if more > 0 else [])
