"""Power series through a graph, for `pygrad.taylor`.

Every node gets a series in h: the coefficients of its value at x + h. Series are added, multiplied and divided by the
usual rules. Any other op, say y of a, is computed from its derivative: y' = s a', where s is the op's formula in
csrc/ops.def, computed on series too. This equation gives the k-th coefficient of y from lower coefficients of y. So n
coefficients cost n**2 steps; differentiating n times would double the graph each time. (Griewank and Walther,
Evaluating Derivatives, 2nd ed., chapter 13.)

A coefficient is made when it is first read, the lowest first. Therefore a series may depend on itself.

What is not taken (csrc/engine/sweep.c). The series of a node has a *reach*: 1 if the node depends on x whatever the
indices of takes are; else a Value that is 1 where they let it depend on x, and 0 elsewhere. There the coefficients
behind the first are exactly 0: they are chosen by the reach, for 0 times an infinite slope would be nan.
"""

import functools
import operator
import threading
import weakref

from pygrad import engine
from pygrad.calculus.formulas import evaluate, formula
from pygrad.calculus.grad import as_value, no_formula, pull
from pygrad.calculus.reruns import SeenThrough, declared_again, is_call_of_op
from pygrad.common.numbers import is_number
from pygrad.common.value_base import CLOSURE
from pygrad.engine._lib import lib
from pygrad.engine.arena import proxies_below, receivers
from pygrad.engine.optable import CODES, NAMES

_thread = threading.local()  # .series: references to all series made since `coefficients` was called last


class Series:
    """The coefficients of a node: the first ones, and a function that makes the k-th from those below.

    Each coefficient is a Value or a float. A Series has the operators, and `apply` for an op by its name. A node's has
    a reach too: see above.
    """

    reach = 0.0  # that of a constant

    def __init__(self, first, coefficient=lambda k: 0.0):
        self._known, self._coefficient = list(first), coefficient
        self._made = {}  # (op, ids of arguments) -> (result, arguments), so that sin and cos find one another
        _thread.series.append(weakref.ref(self))

    def forget(self):
        """Keep the coefficients made so far, but drop the means to make more: they form reference cycles of series."""
        self._coefficient, self._made = None, {}

    def __getitem__(self, k):
        while len(self._known) <= k:
            self._known.append(self._coefficient(len(self._known)))
        return self._known[k]

    def __neg__(self):
        return Series([], lambda k: times(-1.0, self[k]))

    def __add__(self, other):
        other = _lift(other)
        return Series([], lambda k: total([self[k], other[k]]))

    def __mul__(self, other):
        other = _lift(other)
        return Series([], lambda k: total([times(self[j], other[k - j]) for j in range(k + 1)]))

    def __truediv__(self, other):
        other = _lift(other)

        def coefficient(k):
            rest = total([self[k], *(times(-1.0, times(out[j], other[k - j])) for j in range(k))])
            return 0.0 if is_zero(rest) else rest / as_value(other[0])

        out = Series([], coefficient)
        return out

    def __sub__(self, other):
        return self + -_lift(other)

    def __pow__(self, other):
        return self.apply("pow", (self, other))

    def __radd__(self, other):
        return _lift(other) + self

    def __rmul__(self, other):
        return _lift(other) * self

    def __rsub__(self, other):
        return _lift(other) - self

    def __rtruediv__(self, other):
        return _lift(other) / self

    def __rpow__(self, other):
        return self.apply("pow", (other, self))

    def apply(self, name, arguments, value=None):
        """Return the series of the op `name`; `value` is the Value of its result, if there is one already."""
        key = name, *map(id, arguments)
        if key not in self._made:
            self._made[key] = _apply(name, [_lift(x) for x in arguments], value), arguments
        return self._made[key][0]

    def choose(self, branches):
        """Return the series of the branch that this series, an index, chooses."""
        branches = [_lift(branch) for branch in branches]
        return Series([], lambda k: _choose(self[0], [branch[k] for branch in branches]))


def _lift(x):
    return x if isinstance(x, Series) else Series([x])


def _choose(index, values):
    return 0.0 if all(map(is_zero, values)) else engine.choose(index, values)


def _apply(name, arguments, value):
    if name in _OPERATORS:
        return _OPERATORS[name](*arguments)
    op = CODES[name]
    if value is None:
        first, *others = [as_value(x[0]) for x in arguments]
        value = first ** others[0] if name == "pow" else getattr(first, name)(*others)
    if not lib.pg_op_has_derivative(op):
        return Series([value])
    a, b = arguments if len(arguments) == 2 else (*arguments, None)
    formulas = [formula(op, i) for i in range(len(arguments))]
    return _integral(value, arguments, lambda y: [evaluate(f, a, b, y, _apply_step) for f in formulas])


def _apply_step(name, operands):
    """Return the series of one step of a formula; its operands are series and numbers."""
    if name == "take":
        return _lift(operands[0]).choose(operands[1:])
    return _lift(operands[0]).apply(name, operands)


_OPERATORS = {
    "neg": Series.__neg__,
    "add": Series.__add__,
    "sub": Series.__sub__,
    "mul": Series.__mul__,
    "div": Series.__truediv__,
    "stop_gradient": lambda a: Series([a[0]]),
}


def _integral(value, xs, slopes):
    """Return the series y that begins with `value` and has y' = s0 x0' + s1 x1' + ..., with the list s = slopes(y)."""
    pairs = []

    def coefficient(k):
        if not pairs:
            pairs.extend((x, _lift(s)) for x, s in zip(xs, slopes(out)))
        return _integrated(pairs, k)

    out = Series([value], coefficient)
    return out


def _integrated(pairs, k):
    """Return the k-th coefficient of the series y with y' = s0 x0' + s1 x1' + ..., for pairs (x, s) of series."""
    return total(times(j / k, times(x[j], s[k - j])) for x, s in pairs for j in range(1, k + 1) if not is_zero(x[j]))


def _power(a, k, value=None):
    """Return the series of a ** k for a number k; `value` is its first coefficient, if there is one already."""
    if k in (0.0, 1.0):
        return a if k else Series([1.0])
    return _integral(as_value(a[0]) ** k if value is None else value, [a], lambda y: [k * _power(a, k - 1.0)])


# --- the graph --------------------------------------------------------------------------------------------------------


def coefficients(y, x, order):
    """Return the `order` + 1 coefficients of the Value y as a series in h, at x + h, as Values and floats."""
    made, outer = [], getattr(_thread, "series", None)  # a signal handler may come here while another call runs
    _thread.series = made
    try:
        return _coefficients(y, x, order)
    finally:
        _thread.series = outer
        for series in [ref() for ref in made]:
            if series is not None:
                series.forget()


def _coefficients(y, x, order):
    found = {x._pg_id: (x, Series([x, 1.0]))}
    found[x._pg_id][1].reach = 1.0
    for series in _make_series([y], found):
        series[order]
    _, series = found.get(y._pg_id) or (y, Series([y]))
    return [series[k] for k in range(order + 1)]


def _make_series(ys, found):
    """Give each Value between the `ys` and the Values in `found` a Series there; yield these, oldest first.

    found: the id of a Value -> (the Value, its Series).
    """
    graph = SeenThrough([v for v, _ in found.values()], ys, lambda v: () if v._pg_id in found else _influences(v))
    for v in _between(graph, ys, found):
        operands = [_series_of(u, found) for u in v._operands_in_order()]
        if (again := graph.stand_in(v)) is not None:
            operands = [_series_of(again, found)]
            series = Series([v], operands[0].__getitem__)
        elif is_call_of_op(v):
            series = _of_custom_op(v, found)
        else:
            series = _of_node(v, operands)
        series = _within_reach(series, _reach_of(v, operands))
        found[v._pg_id] = v, series
        yield series


def _reach_of(v, operands):
    """Return the reach of a node, given the series of its operands: 1 where one that counts is reached."""
    reaches = [series.reach for series in operands]
    if lib.pg_op(v._pg_id) == CODES["take"]:
        index, reaches = operands[0][0], reaches[1:]
        if any(type(reach) is not float or reach != 1.0 for reach in reaches):
            is_chosen = [engine.equal(index, float(i)) for i in range(len(reaches))]
            reaches = [times(chosen, reach) for chosen, reach in zip(is_chosen, reaches)]
    return functools.reduce(_either, reaches, 0.0)


def _either(a, b):
    """Of two reaches: 1 where one of them is 1."""
    for one, other in ((a, b), (b, a)):
        if type(one) is float:
            return other if one == 0.0 else 1.0
    return engine.maximum(a, b)


def _within_reach(series, reach):
    """Return the series of a node with this reach, from the one that its op gives."""
    if type(reach) is not float:
        inner = series
        series = Series([inner[0]], lambda k: _choose(reach, [0.0, inner[k]]))
    series.reach = reach
    return series


def _between(graph, ys, found):
    """Yield the Values on the paths from those in `found` to the `ys`, oldest first; each must be found meanwhile."""
    for v in graph.oldest_first(proxies_below(*ys, operands=graph.operands).values()):
        if v._pg_id not in found and any(u._pg_id in found for u in graph.operands(v)):
            yield v


def _series_of(v, found):
    return found[v._pg_id][1] if v._pg_id in found else Series([v])


def _of_custom_op(v, found):
    """Return the series y of the node of a custom op: y' = s0 x0' + s1 x1' + ..., where the s depend on y and the xs.

    The s are computed from the node: they are newer, and get their series when y needs its second coefficient.
    """
    pairs, newer = [], []

    def coefficient(k):
        if k == 1:
            (again,) = declared_again(v, pull).again
            _, *operands = again._operands_in_order()
            newer.extend(_make_series(operands[1::2], found))
            pairs.extend((_series_of(x, found), _series_of(s, found)) for x, s in zip(operands[::2], operands[1::2]))
        for series in newer:  # so that no series waits for a long chain of others
            series[k - 1]
        return _integrated(pairs, k)

    return Series([v], coefficient)


def _influences(v):
    """Return the operands that may change the derivatives of a Value; for a declared op also its slopes."""
    is_declared = lib.pg_op(v._pg_id) == CODES["declared"] and not is_call_of_op(v)
    return v._operands_in_order()[1:] if is_declared else receivers(v)


def _of_node(v, operands):
    name = NAMES[lib.pg_op(v._pg_id)]
    if CLOSURE in v.__dict__ or name in ("custom", "local"):
        raise TypeError(no_formula(v))
    if name == "power":
        return _power(*operands, lib.pg_exponent(v._pg_id), v)
    if name == "sum":
        return Series([v], lambda k: total([x[k] for x in operands]))
    if name == "dot":
        return _dot(v, operands)
    if name == "take":
        return Series([v], lambda k: _choose(operands[0][0], [x[k] for x in operands[1:]]))
    if name == "declared":
        return _integral(v, operands[1::2], lambda y: operands[2::2])
    return operands[0].apply(name, operands, v)


def _dot(v, operands):
    odd = len(operands) % 2
    products = [a * b for a, b in zip(operands[odd::2], operands[odd + 1 :: 2])]
    return Series([v], lambda k: total([x[k] for x in (*operands[:odd], *products)]))


# --- Values and numbers -----------------------------------------------------------------------------------------------


def total(terms):
    """Return the sum of Values and numbers, added from the left."""
    terms = [term for term in terms if not is_zero(term)]
    if len(terms) < 3 or all(map(is_number, terms)):
        return functools.reduce(operator.add, terms) if terms else 0.0
    return engine.sum(terms)


def times(a, b):
    """Return the product of Values or numbers; a factor of 0, 1 or -1 makes no node of `mul`."""
    if is_zero(a) or is_zero(b):
        return 0.0
    for one, other in ((a, b), (b, a)):
        if type(one) is float and one in (1.0, -1.0):
            return other if one == 1.0 else -other
    return a * b


def is_zero(x):
    return type(x) is float and x == 0.0
