"""Helpers: how each op of the table is written, and small programs that run on any engine.

A program is a list of steps, plain data. A step names its operands by numbers, taken modulo the number of variables
alive, so that every list of steps is a valid program and hypothesis may cut and shrink it at will.

`compare` runs one program on two engines in lockstep. After each step the second engine's Value is given the first
one's data. So operands agree to the bit, and each step is judged by itself: no error of an earlier one is amplified.
"""

import importlib.util
import inspect
import math
import sys

from hypothesis import strategies as st

from pygrad import reference

EPS = sys.float_info.epsilon

# How a user writes each op. A row that is not here is unary, and a method of Value by the row's name.
WRITTEN = {
    "add": lambda engine, a, b: a + b,
    "sub": lambda engine, a, b: a - b,
    "mul": lambda engine, a, b: a * b,
    "div": lambda engine, a, b: a / b,
    "pow": lambda engine, a, b: a**b,
    "minimum": lambda engine, a, b: engine.minimum(a, b),
    "maximum": lambda engine, a, b: engine.maximum(a, b),
    "leaky_relu": lambda engine, a, b: as_value(engine, a).leaky_relu(b),
    "elu": lambda engine, a, b: as_value(engine, a).elu(b),
    "less": lambda engine, a, b: engine.less(a, b),
    "less_equal": lambda engine, a, b: engine.greater_equal(b, a),
    "equal": lambda engine, a, b: engine.equal(a, b),
    "not_equal": lambda engine, a, b: engine.not_equal(a, b),
    "neg": lambda engine, a: -a,
    "abs": lambda engine, a: abs(a),
    "square": lambda engine, a: a**2,
    "cube": lambda engine, a: a**3,
    "reciprocal": lambda engine, a: a**-1,
    "sum": lambda engine, *values: engine.sum(values),
    "dot": lambda engine, *operands: write_dot(engine, operands),
    "take": lambda engine, index, *values: engine.take(values, index),
}

# Rows whose result is one IEEE operation, or several in a stated order: equal to the bit. The others call libm.
EXACT = set(WRITTEN) - {"pow", "elu"} | {"relu", "sqrt", "stop_gradient"}

NOT_OPS = {"leaf", "custom", "local", "power", "declared"}  # rows of the C table that no user calls by name


def as_value(engine, x):
    """Return the Value or number `x` as a Value."""
    return x if isinstance(x, engine.Value) else engine.Value(x)


def write_dot(engine, operands):
    """Call `dot` with operands in the order of the table: a bias if their number is odd, then w0, x0, w1, x1, …"""
    odd = len(operands) % 2
    pairs = operands[odd:]
    return engine.dot(pairs[::2], pairs[1::2], *operands[:odd])


def apply(engine, name, *operands):
    """Apply the op of the row `name` as a user would."""
    if name in WRITTEN:
        return WRITTEN[name](engine, *operands)
    return getattr(operands[0], name)()


def arity(name):
    """How many operands the reference's row `name` takes; 0 for any number."""
    parameters = list(inspect.signature(reference.OPS[name].partials).parameters.values())[1:]  # without y
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return 0 if variadic else len(parameters)


def is_flat(name):
    """True for a row without derivative: it passes nothing on."""
    return arity(name) > 0 and reference.OPS[name].partials(1.0, *[1.0] * arity(name)) == ()


def rows(*arities):
    """The names of the table's rows of these arities, in order."""
    return [name for name in reference.OPS if arity(name) in arities]


def second_reference():
    """Return a second copy of the reference engine, so that a fault planted in it stays in it."""
    spec = importlib.util.spec_from_file_location("second_reference", reference.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(a, b):
    """True if two floats are equal, nan being equal to nan."""
    return a == b or (a != a and b != b)


def same_bits(a, b):
    """True if two floats are equal, with the sign of a zero."""
    return same(a, b) and (a != a or math.copysign(1.0, a) == math.copysign(1.0, b))


# --- programs ---------------------------------------------------------------------------------------------------------

_indices = st.integers(0, 30)
_numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0]),
    st.floats(-4.0, 4.0),
    st.floats(allow_nan=True, allow_infinity=True),
)
_exponents = st.sampled_from([2, 3, -1, 0, 1, 0.5, -0.5, 4, -2, 1 / 3, 2.0])
_several = st.lists(_indices, min_size=0, max_size=6)


def programs(max_size=25):
    """A strategy for programs over all ops of the table: lists of steps (kind, ...)."""
    step = st.one_of(
        st.tuples(st.just("leaf"), _numbers),
        st.tuples(st.just("apply"), st.sampled_from(rows(1)), _indices),
        st.tuples(st.just("apply"), st.sampled_from(rows(2)), _indices, _indices),
        st.tuples(st.just("constant_right"), st.sampled_from(rows(2)), _indices, _numbers),
        st.tuples(st.just("constant_left"), st.sampled_from(rows(2)), _numbers, _indices),
        st.tuples(st.just("power"), _indices, _exponents),
        st.tuples(st.just("sum"), _several, _numbers),
        st.tuples(st.just("dot"), _several, _several, st.one_of(st.none(), _indices)),
        st.tuples(st.just("take"), _several, _indices, _indices),
        st.tuples(st.just("where"), _indices, _indices, _indices),
        st.tuples(st.just("declared"), _indices, _several, _several),
        st.tuples(st.just("add_in_place"), _indices, _indices),
        st.tuples(st.just("drop"), _indices),
        st.tuples(st.just("set_data"), _indices, _numbers),
        st.tuples(st.just("zero_grad"), _indices),
        st.tuples(st.just("backward"), _indices),
    )
    return st.lists(step, min_size=1, max_size=max_size)


def pure_programs(max_size=20, numbers=_numbers):
    """A strategy for programs that only make Values, and change none: what a compiled function may do."""
    step = st.one_of(
        st.tuples(st.just("leaf"), numbers),
        st.tuples(st.just("apply"), st.sampled_from(rows(1)), _indices),
        st.tuples(st.just("apply"), st.sampled_from(rows(2)), _indices, _indices),
        st.tuples(st.just("apply"), st.sampled_from(["add", "mul"]), _indices, _indices),  # what passes look for
        st.tuples(st.just("constant_right"), st.sampled_from(rows(2)), _indices, numbers),
        st.tuples(st.just("constant_left"), st.sampled_from(rows(2)), numbers, _indices),
        st.tuples(st.just("power"), _indices, _exponents),
        st.tuples(st.just("sum"), _several, numbers),
        st.tuples(st.just("dot"), _several, _several, st.one_of(st.none(), _indices)),
        st.tuples(st.just("pick"), _several, _indices, _indices, _indices),
        st.tuples(st.just("where"), _indices, _indices, _indices),
        st.tuples(st.just("declared"), _indices, _several, _several),
        st.tuples(st.just("add_in_place"), _indices, _indices),
    )
    return st.lists(step, min_size=1, max_size=max_size)


class Machine:
    """Runs a program on one engine, a step at a time."""

    def __init__(self, engine, leaves=(1.5, -0.7)):
        self.engine = engine
        self.variables = [x if isinstance(x, engine.Value) else engine.Value(x) for x in leaves]

    def at(self, index):
        return self.variables[index % len(self.variables)]

    def step(self, kind, *arguments):
        """Take one step; return the Value it made, or None."""
        out = getattr(self, f"_{kind}")(*arguments)
        if out is not None and kind != "add_in_place":
            self.variables.append(out)
        return out

    def _leaf(self, data):
        return self.engine.Value(data)

    def _apply(self, name, *indices):
        return apply(self.engine, name, *[self.at(i) for i in indices])

    def _constant_right(self, name, index, number):
        return apply(self.engine, name, self.at(index), number)

    def _constant_left(self, name, number, index):
        return apply(self.engine, name, number, self.at(index))

    def _power(self, index, exponent):
        return self.at(index) ** exponent

    def _sum(self, indices, start):
        return self.engine.sum([self.at(i) for i in indices], start)

    def _dot(self, ws, xs, bias):
        pairs = list(zip(ws, xs))
        ws, xs = [self.at(w) for w, _ in pairs], [self.at(x) for _, x in pairs]
        return self.engine.dot(ws, xs, None if bias is None else self.at(bias))

    def _take(self, indices, index, place):
        """Take a place of some values; the index is a variable, which is given that number."""
        values, index = [self.at(i) for i in indices] or [self.at(place)], self.at(index)
        index.data = float(place % len(values))
        return self.engine.take(values, index)

    def _pick(self, indices, a, b, place):
        """Take one of some values, the first or another, by whether a < b."""
        values = [self.at(i) for i in indices] or [self.at(place)]
        return self.engine.take(values, self.engine.less(self.at(a), self.at(b)) * float(place % len(values)))

    def _where(self, condition, a, b):
        return self.engine.where(self.at(condition), self.at(a), self.at(b))

    def _declared(self, y, xs, derivatives):
        pairs = [(self.at(x), self.at(d)) for x, d in zip(xs, derivatives)]
        return self.engine.declared(self.at(y), [x for x, _ in pairs], [d for _, d in pairs])

    def _add_in_place(self, i, j):
        other = self.at(j)
        self.variables[i % len(self.variables)] += other
        return self.at(i)

    def _drop(self, index):
        if len(self.variables) > 1:
            del self.variables[index % len(self.variables)]

    def _set_data(self, index, number):
        self.at(index).data = number

    def _zero_grad(self, index):
        self.at(index).grad = 0.0

    def _backward(self, index):
        self.at(index).backward()


# --- the comparison ---------------------------------------------------------------------------------------------------


def compare(engine, program, oracle=reference):
    """Run `program` on `engine` and on `oracle` (a reference engine); AssertionError at the first difference.

    Data must agree to the bit, or to 2 ulp where the row calls libm. Gradients must agree to 4 ulp of their scale:
    the sum, over all paths from the root, of the magnitude of the product of the partials along the path. That is
    the gradient of a graph in which every partial is replaced by its magnitude, so one extra sweep computes it.
    """
    tested, expected = Machine(engine), Machine(oracle)
    for step in [*program, ("backward", len(program))]:
        if step[0] == "backward":
            sweep_magnitudes(expected.at(step[1]))
        new, right = tested.step(*step), expected.step(*step)
        if right is not None:
            assert_data(right, new, step)
            right.data = new.data
        for position, (v, w) in enumerate(zip(expected.variables, tested.variables)):
            assert_gradient(v, w, (step, position))


def assert_data(expected, value, note):
    """Assert that data agree: to the bit, or to 2 ulp where the oracle's row calls libm."""
    exact = expected._row is reference.DECLARED or expected._row.label in {reference.OPS[name].label for name in EXACT}
    a, b = expected.data, value.data
    assert same_bits(a, b) or (not exact and abs(a - b) <= 2.0 * math.ulp(a)), (note, a, b)


def assert_gradient(expected, value, note):
    """Assert that gradients agree to 4 ulp of their scale (see `compare`)."""
    a, b, scale = expected.grad, value.grad, getattr(expected, "scale", 0.0)
    assert same(a, b) or abs(a - b) <= 4.0 * EPS * scale, (note, a, b, scale)


def sweep_magnitudes(root):
    """Set `scale` wherever the oracle's `root.backward()` would set `grad`, and alike: leaves accumulate."""
    order, seen = [], {id(root)}
    stack = [root]
    while stack:
        order.append(v := stack.pop())
        fresh = [w for w in dict.fromkeys(v._receivers()) if id(w) not in seen]
        seen.update(map(id, fresh))
        stack.extend(fresh)
    for v in order:
        v.scale = getattr(v, "scale", 0.0) if v._is_leaf() else 0.0
    root.scale = 1.0
    for v in sorted(order, key=lambda v: -v._serial):
        partials = v._row.partials(v.data, *[w.data for w in v._operands])
        for w, partial in zip(v._operands, partials):
            if partial is not None:
                w.scale += v.scale * abs(partial)


def reference_that_loses_accumulation():
    """Return a second reference engine whose nodes overwrite gradients instead of adding to them: a planted fault."""
    faulty = second_reference()

    def overwrite(self):
        partials = self._row.partials(self._data, *[child._data for child in self._operands])
        for child, partial in zip(self._operands, partials):
            if partial is not None:
                child._grad = self._grad * partial

    faulty.Value._propagate = overwrite
    return faulty
