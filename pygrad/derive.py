"""Derivatives as Values: `grad`, `backward` from several roots, and what `pygrad.transforms` is made of.

csrc/ops.def has one row an op, with its derivatives as C. Here these formulas are read (by pycparser), and become
functions on Values: `y * (1.0 - y)` of sigmoid's row makes two nodes. So a gradient is itself a graph, which has
derivatives like any other, and no op has a second place where its derivative is written down.

Backward (`pull`) goes through the nodes newest first, as csrc/sweep.c does, and forward (`push`) oldest first. Both go
only where something depends on the `xs`. A comparison in a formula becomes a node too, so what is built is still right
where it is computed again with other numbers: on a compiled tape.
"""

import functools
import operator
import re

from pygrad import engine, trace
from pygrad._lib import ffi, lib
from pygrad._numbers import describe, is_number, to_float
from pygrad.arena import CODES, NAMES, adjoints, receivers, refuse, sweep
from pygrad.engine import Value
from pygrad.nested import flatten, rebuild
from pygrad.surface import CLOSURE

# --- for users --------------------------------------------------------------------------------------------------------


def backward(ys, seeds=None):
    """Set the gradients of all that `ys` were computed from, in one sweep; leaves add theirs to what they have.

    What each of `ys` had before is replaced by its seed, as `Value.backward` does.

    ys      a Value or a list of them; one that is named twice counts twice
    seeds   a number, or one for each of `ys`: the gradient that it starts with; by default 1.0

    Raises TypeError for what is no Value or no number, ValueError if there are not as many seeds as `ys`, and
    RuntimeError while another backward pass runs over the same nodes.

    >>> import pygrad
    >>> a = pygrad.Value(3.0)
    >>> pygrad.backward([a * 2.0, a * a], seeds=[1.0, 10.0])
    >>> a.grad
    62.0
    """
    ys, seeds = _roots(ys, 1.0 if seeds is None else seeds)
    sweep(ys, seeds, engine._proxy.value_of)


def grad(y, xs, create_graph=False, seed=1.0):
    """Return d y / d x for each x, in the structure of `xs`; no Value's `grad` is read or changed.

    y             a Value; or a list of them, of which the sum is meant, each times its seed
    xs            a Value, or lists of them, nested if you like; leaves or results. What y does not depend on gives 0.0
    create_graph  False: floats. True: Values, which depend on all that y does, so they have derivatives too. What is
                  between x and y must then have formulas: a TypeError names an op that has not
    seed          a number, or one for each y in a list; with create_graph Values too

    Raises TypeError and ValueError for arguments that are not like that, and RuntimeError while a backward pass runs
    over the same nodes.

    >>> import pygrad
    >>> x = pygrad.Value(2.0)
    >>> (dx,) = pygrad.grad(x**3, [x], create_graph=True)
    >>> dx.data, pygrad.grad(dx, x), x.grad
    (12.0, 12.0, 0.0)
    """
    values = []
    structure = flatten(xs, values, _as_x)
    ys, seeds = _roots(y, seed, create_graph)
    if create_graph:
        found = map(as_value, pull(ys, seeds, values))
    else:
        if trace.is_recording():
            trace.warn_here("grad() gives the numbers of this one run: use create_graph=True where it is recorded")
        found = adjoints(ys, seeds, values, engine._proxy.value_of)
    return rebuild(structure, iter(found))


def _roots(ys, seeds, with_values=False):
    """Return `ys` and `seeds` as two lists of one length."""
    ys = [ys] if isinstance(ys, Value) else ys
    if not isinstance(ys, (list, tuple)):
        raise TypeError(f"y must be a Value or a list of Values, not {describe(ys)}")
    for y in ys:
        if not isinstance(y, Value):
            raise TypeError(f"y must be a Value or a list of Values, and {describe(y)} is in it")
    seeds = list(seeds) if isinstance(seeds, (list, tuple)) else [seeds] * len(ys)
    if len(seeds) != len(ys):
        raise ValueError(f"there must be one seed for each y: {len(ys)}, not {len(seeds)}")
    return list(ys), [s if with_values and isinstance(s, Value) else to_float(s, "a seed") for s in seeds]


def _as_x(x):
    if not isinstance(x, Value):
        raise TypeError(f"xs must be a Value or lists of Values, not {describe(x)}")
    return x


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


# --- formulas of csrc/ops.def, on Values ------------------------------------------------------------------------------

_ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_CONDITIONS = {
    "<": lambda a, b: _apply("less", a, b),
    "<=": lambda a, b: _apply("less_equal", a, b),
    ">": lambda a, b: _apply("less", b, a),
    ">=": lambda a, b: _apply("less_equal", b, a),
    "==": lambda a, b: _apply("equal", a, b),
    "!=": lambda a, b: _apply("not_equal", a, b),
    "&&": operator.mul,  # of what is 0.0 or 1.0
    "||": lambda a, b: _apply("maximum", a, b),
}
_CONSTANTS = {"NAN": float("nan"), "INFINITY": float("inf")}
_OTHER_NAMES = {"fabs": "abs"}  # of functions that C calls otherwise
_SAFE = 0.5  # what a branch that is not taken is computed of: no op of one number has a pole there


@functools.cache
def slope(op, place):
    """Return the function (a, b, y) -> d y / d operand of a row: of Values (b: None in a unary row), a Value or number.

    `op` is its code, and `place` the operand's: 0 or 1.
    """
    source = ffi.string(lib.pg_op_source(op, 1 + place)).decode()
    try:
        formula = _translate(_parse(f"double f(double a, double b, double y) {{ return {source}; }}")[1])
    except NotImplementedError as error:
        raise NotImplementedError(f"the derivative of {NAMES[op]!r}: {error}") from None
    return lambda a, b, y: formula({"a": a, "b": b, "y": y})


def _apply(name, *arguments):
    """Return the result of an op by name, of Values and numbers; or of what knows it itself (pygrad.series)."""
    for x in arguments:
        if not isinstance(x, Value) and not is_number(x):
            return x.apply(name, arguments)
    first, *others = arguments
    return getattr(as_value(first), name)(*others)


def _choose(index, branches):
    """Return one of two, by a condition that is 0.0 or 1.0."""
    return engine._proxy.choose(index, branches) if isinstance(index, Value) else index.choose(branches)


def _parse(function):
    """Return the names of a C function's parameters, and the expression that it returns."""
    from pycparser import CParser  # here: who needs no second derivative need not wait for it

    definition = CParser().parse(function).ext[0]
    return [p.name for p in definition.decl.type.args.params], definition.body.block_items[0].expr


def _translate(node):
    """Return a C expression as a function of a dict: what its names stand for, Values and numbers."""
    return _TRANSLATIONS.get(type(node).__name__, _unknown)(node)


def _unknown(node):
    raise NotImplementedError(f"there is no translation of C's {type(node).__name__} to Values")


def _constant(node):
    text = node.value.lower()
    number = float.fromhex(text) if text.startswith("0x") else float(text.rstrip("lfu"))
    return lambda names: number


def _name(node):
    return lambda names: _CONSTANTS[node.name] if node.name in _CONSTANTS else names[node.name]


def _cast(node):
    return _translate(node.expr)


def _unary(node):
    inner = _translate(node.expr)
    if node.op == "!":
        return lambda names: _apply("equal", inner(names), 0.0)
    return inner if node.op == "+" else lambda names: -inner(names)


def _binary(node):
    apply = _ARITHMETIC.get(node.op) or _CONDITIONS[node.op]
    left, right = _translate(node.left), _translate(node.right)
    return lambda names: apply(left(names), right(names))


def _choice(node):
    """`c ? x : y`: both are computed. Where one is not chosen its operands are replaced, lest it has an infinite slope
    there: times the 0.0 that it gets, that would be nan."""
    condition, is_truth = _translate(node.cond), getattr(node.cond, "op", None) in (*_CONDITIONS, "!")
    branches = [(_translate(branch), _may_have_poles(branch)) for branch in (node.iffalse, node.iftrue)]

    def choose(names):
        index = condition(names) if is_truth else _apply("not_equal", condition(names), 0.0)
        found = [
            branch(_guarded(names, index, taken) if guard else names) for taken, (branch, guard) in enumerate(branches)
        ]
        return _choose(index, found)

    return choose


def _guarded(names, index, taken):
    """Return Values that are safe numbers wherever `index` is not `taken`."""

    def guard(v):
        return _choose(index, (_SAFE, v) if taken else (v, _SAFE))

    return {name: v if v is None else guard(v) for name, v in names.items()}


def _may_have_poles(node):
    """True for an expression that calls a function or divides."""
    kind = type(node).__name__
    return kind == "FuncCall" or getattr(node, "op", "") == "/" or any(_may_have_poles(c) for _, c in node.children())


def _call(node):
    arguments = [_translate(argument) for argument in node.args.exprs]
    function = _function(node.name.name)
    return lambda names: function(*[argument(names) for argument in arguments])


@functools.cache
def _function(name):
    """Return what a function that formulas call is on Values: a helper of csrc/helpers.def, or a method of Value."""
    if source := _helper(name):
        parameters, expression = _parse(source)
        body = _translate(expression)
        return lambda *arguments: body(dict(zip(parameters, arguments)))
    if name == "pow":
        return lambda a, b: (as_value(a) if is_number(a) else a) ** b
    method = _OTHER_NAMES.get(name, name)
    if method not in CODES or not hasattr(Value, method):
        raise NotImplementedError(f"{name}() is neither an op nor one of csrc/helpers.def")
    return lambda *arguments: _apply(method, *arguments)


def _helper(name):
    i = 0
    while source := lib.pg_helper_source(i):
        text = ffi.string(source).decode()
        if re.match(rf"static \w+ {name}\(", text):
            return text
        i += 1
    return None


_TRANSLATIONS = {
    "Constant": _constant,
    "ID": _name,
    "Cast": _cast,
    "UnaryOp": _unary,
    "BinaryOp": _binary,
    "TernaryOp": _choice,
    "FuncCall": _call,
}

# --- one node ---------------------------------------------------------------------------------------------------------


def _slopes(v, needed):
    """Return (operand, d v / d operand) for each operand whose id is needed: Values or numbers."""
    check_has_formula(v)
    op, operands = lib.pg_op(v._pg_id), v._operands_in_order()
    return [(x, by_x()) for x, by_x in _STRUCTURAL[op](v, op, operands) if x._pg_id in needed]


def check_has_formula(v):
    """Raise the TypeError that names a Value with a closure or local gradients."""
    if CLOSURE in v.__dict__ or lib.pg_op(v._pg_id) not in _STRUCTURAL:
        label = f" (label {v.label!r})" if v.label else ""
        raise TypeError(
            f"the operation {v._op or 'a Value'!r}{label} has a _backward or local gradients of its own, of which "
            "there is no second derivative: declare it with pygrad.custom_op"
        )


def _row_slopes(v, op, operands):
    a, b = operands if len(operands) == 2 else (*operands, None)
    return [(x, functools.partial(slope(op, i), a, b, v)) for i, x in enumerate(operands)]


def _flat_slopes(v, op, operands):
    return []


def _power_slopes(v, op, operands):
    k, (a,) = lib.pg_exponent(v._pg_id), operands
    if k in (0.0, 1.0):
        return [(a, lambda: k)]
    return [(a, lambda: k * (a if k == 2.0 else a ** (k - 1.0)))]


def _sum_slopes(v, op, operands):
    return [(x, lambda: 1.0) for x in operands]


def _dot_slopes(v, op, operands):
    odd = len(operands) % 2  # the bias
    pairs = operands[odd:]
    swapped = [(x, lambda i=i: pairs[i ^ 1]) for i, x in enumerate(pairs)]
    return [(x, lambda: 1.0) for x in operands[:odd]] + swapped


def _take_slopes(v, op, operands):
    index, *values = operands
    return [(x, lambda i=i: index.equal(float(i))) for i, x in enumerate(values)]


def _declared_slopes(v, op, operands):
    return [(x, lambda d=d: d) for x, d in zip(operands[1::2], operands[2::2])]


def _structural():
    rows = {op: _row_slopes for op in range(len(NAMES)) if lib.pg_op_source(op, 1)}
    flat = {op: _flat_slopes for op in range(len(NAMES)) if not lib.pg_op_has_derivative(op)}
    lists = {"power": _power_slopes, "sum": _sum_slopes, "dot": _dot_slopes}
    lists |= {"take": _take_slopes, "declared": _declared_slopes}
    return {**rows, **flat, **{CODES[name]: slopes for name, slopes in lists.items()}}


_STRUCTURAL = _structural()  # op -> function(v, op, operands) -> (operand, function -> slope), one for each receiver

# --- all nodes --------------------------------------------------------------------------------------------------------


def pull(ys, seeds, xs):
    """Return the adjoints of `xs`, a list of Values or floats; `seeds` are such, one for each of the Values `ys`."""
    order, needed, inner = between(ys, xs)
    contributions = {id: [] for id in needed}
    for y, seed in zip(ys, seeds):
        if y._pg_id in needed:
            contributions[y._pg_id].append(seed)
    adjoint = {}
    for v in order:
        g = adjoint[v._pg_id] = total(contributions.pop(v._pg_id))
        if v._pg_id in inner and not is_zero(g):
            for x, by_x in _slopes(v, needed):
                contributions[x._pg_id].append(times(g, by_x))
    return [adjoint.get(x._pg_id, 0.0) for x in xs]


def push(ys, xs, tangents):
    """Return the tangents of `ys`, from those of `xs`: lists of Values, or of numbers and Values, as in `pull`."""
    order, needed, _ = between(ys, xs)
    found = {x._pg_id: tangent for x, tangent in zip(xs, tangents)}
    for v in reversed(order):
        if v._pg_id not in found:
            found[v._pg_id] = total([times(found[x._pg_id], by_x) for x, by_x in _slopes(v, needed)])
    return [found.get(y._pg_id, 0.0) for y in ys]


def between(ys, xs, operands=receivers):
    """Find what is between `ys` and `xs`, by these operands.

    Returns (the Values that `ys` depend on and that depend on `xs`, both included, newest first; the ids of these and
    of all `xs`; the ids of those that have an operand among them).
    """
    for v in (*ys, *xs):
        if not v._pg_id:
            refuse(v)
    below, stack = {}, [*ys]  # id -> (Value, its operands' ids)
    while stack:
        v = stack.pop()
        if v._pg_id not in below:
            inputs = operands(v)
            below[v._pg_id] = v, [x._pg_id for x in inputs]
            stack.extend(inputs)
    made = ffi.new("uint64_t[]", len(below))
    lib.pg_creation_order(len(below), ffi.new("pg_id[]", list(below)), made)
    order = [id for _, id in sorted(zip(made, below))]
    needed, inner = {x._pg_id for x in xs}, set()
    for id in order:
        if not needed.isdisjoint(below[id][1]):
            needed.add(id)
            inner.add(id)
    return [below[id][0] for id in reversed(order) if id in needed], needed, inner


def total(terms):
    """Return the sum of Values and numbers, added from the left."""
    terms = [term for term in terms if not is_zero(term)]
    if len(terms) < 3 or all(map(is_number, terms)):
        return functools.reduce(operator.add, terms) if terms else 0.0
    return engine.sum(terms)


def times(a, b):
    """Return a product of Values and numbers, with no node for one with 0, 1 or -1."""
    if is_zero(a) or is_zero(b):
        return 0.0
    for one, other in ((a, b), (b, a)):
        if type(one) is float and one in (1.0, -1.0):
            return other if one == 1.0 else -other
    return a * b


def is_zero(x):
    return type(x) is float and x == 0.0
