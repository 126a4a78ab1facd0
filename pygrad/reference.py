"""The engine in pure Python: read it to see how pygrad differentiates. The tests compare the engine in C with it.

A Value has a number, its operands, and the row of the op table that made it. The row has the op's partial
derivatives. `root.backward()` has three steps:

1. List all Values that the root was computed from, newest first. An operand is older than its consumer. So each Value
   comes after all its consumers, and has its whole gradient when its turn comes.
2. Set the gradient of the root to 1, of the other results to 0. Leaves keep theirs: new gradients are added to it.
3. Each Value in turn adds to each operand's gradient: its own gradient times the partial derivative by that operand.

This is the chain rule, and all of reverse-mode differentiation. Some ops pass no gradient on, comparisons for example:
step 1 does not go to their operands. A `where` or `take` passes its gradient on to the operand that is chosen. A Value
that is reached only by operands that are not chosen gets the gradient 0, and step 3 leaves it out: a 0 is not
multiplied with a partial derivative that may be infinite.

For example z = x * y + x with x = 2, y = 3. Step 1 lists z and x * y. z passes 1 on to x * y and to x; x * y passes
1 * 3 on to x, and 1 * 2 to y. So dz/dx = 4 and dz/dy = 2:

>>> from pygrad.reference import Value
>>> x, y = Value(2.0), Value(3.0)
>>> z = x * y + x
>>> z.backward()
>>> x.grad, y.grad
(4.0, 2.0)

Closures in `_backward`, detect_anomaly() and custom ops work as in the engine in C. The file has five parts:
arithmetic, the op table, methods, Value, functions.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from pygrad.common import anomaly, refusals, truth, value_base
from pygrad.common.arrays import operands_of
from pygrad.common.custom_op import CustomOp, Engine
from pygrad.common.docs import documented
from pygrad.common.numbers import operand, to_float
from pygrad.common.signatures import SignatureOfInit
from pygrad.common.value_base import (
    CLOSURE,
    OP_NAME,
    ValueBase,
    forget_op,
    is_default,
    pair_up,
    parse_dialect,
    parse_prev,
    power_label,
)

# --- IEEE-754 arithmetic: inf and nan where Python's own operators and `math` raise -----------------------------------


def _div(a, b):
    if b != 0.0:
        return a / b
    return math.nan if a == 0.0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _pow(a, b):
    odd = b % 2.0 == 1.0 if math.isfinite(b) else False
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0.0 and odd else math.inf
    except ValueError:  # a negative base with a broken exponent, or a zero with a negative one
        return math.nan if a != 0.0 else math.copysign(math.inf, a) if odd else math.inf


def _log(a):
    if a > 0.0 or a != a:
        return math.log(a)
    return -math.inf if a == 0.0 else math.nan


def _sqrt(a):
    return math.nan if a < 0.0 else math.sqrt(a)


def _log1p(a):
    return -math.inf if a == -1.0 else _nan_outside(math.log1p)(a)


def _nan_outside(f):
    """Return `f`, with nan as its result outside its domain."""

    def ieee(a):
        try:
            return f(a)
        except ValueError:
            return math.nan

    return ieee


def _inf_above(f):
    """Return `f`, with an infinity as its result where it overflows; the sign is that of f(1) or f(-1)."""

    def ieee(a):
        try:
            return f(a)
        except OverflowError:
            return math.copysign(math.inf, f(math.copysign(1.0, a)))

    return ieee


_exp, _expm1, _sinh, _cosh = map(_inf_above, (math.exp, math.expm1, math.sinh, math.cosh))
_sin, _cos, _tan, _asin, _acos = map(_nan_outside, (math.sin, math.cos, math.tan, math.asin, math.acos))

# --- the op table: the rows of csrc/ops.def, and the ops of many operands ---------------------------------------------


def _all(*operands):
    return operands


def _none(*operands):
    return ()


class Op(NamedTuple):
    """One row of the table: how an op computes its result y from its operands' data, and its partial derivatives."""

    label: str
    forward: Callable  # forward(*operands) -> y
    partials: Callable  # partials(y, *operands) -> a number per operand, None: pass nothing on; (): to no operand
    receivers: Callable = _all  # receivers(*operands) -> the operands that get a gradient


def _sigmoid(a):
    return _div(1.0, 1.0 + _exp(-a)) if a >= 0.0 else _exp(a) / (1.0 + _exp(a))


def _asin_slope(a):
    if not abs(a) <= 1.0:
        return math.nan
    return _pow(1.0 - a * a if abs(a) < 0.7 else (1.0 - a) * (1.0 + a), -0.5)


def _atan_slope(a):
    return 1.0 / (1.0 + a * a) if abs(a) < 1e9 else 1.0 / a / a


_TWO_BY_ROOT_PI, _ROOT_HALF, _ROOT_HALF_BY_PI = 1.1283791670955126, 0.7071067811865476, 0.3989422804014327


def _erf_slope(a):
    return _TWO_BY_ROOT_PI * _exp(-a * a)


def _softplus(a):
    return (a if a > 0.0 else 0.0) + math.log1p(_exp(-abs(a)))


def _gelu(a):
    return 0.5 * a * math.erfc(-_ROOT_HALF * a)


def _gelu_slope(a):
    return 0.5 * math.erfc(-_ROOT_HALF * a) + a * (_ROOT_HALF_BY_PI * _exp(-0.5 * a * a))


def _elu_partials(y, a, b):
    return b * _exp(a) if a <= 0.0 else 1.0, _expm1(a) if a <= 0.0 else 0.0


def _power_slope(a, b):
    """Return d/da of a**b. Where b - 1 is rounded, pow would magnify the error: then use a**b / a."""
    if b - 1.0 + 1.0 != b and _div(a, a) == 1.0:
        return b * (_pow(a, b) / a)
    if b == 0.0:
        return b / a if _div(a, a) == 1.0 else 0.0
    return b * _pow(a, b - 1.0)


def _pow_partials(y, a, b):
    by_exponent = 0.0 if a == 0.0 and b >= 0.0 else y * _log(a)
    return _power_slope(a, b), by_exponent


def _maximum(a, b):
    return a if a > b or a != a else b


def _minimum(a, b):
    return a if a < b or a != a else b


def _share(a, b, loses):
    """Return the partial of minimum or maximum by a: 0.5 if a and b are equal, 1 if one is nan (as in PyTorch)."""
    return 0.5 if a == b else 0.0 if loses(a, b) else 1.0


def _lower(a, b):
    return a < b


def _higher(a, b):
    return a > b


def _sum(*values):
    return _sum_from(0.0, *values)


def _sum_from(start, *values):
    total = start
    for a in values:
        total += a
    return total


def _dot(*operands):
    bias, pairs = _split_bias(operands)
    (total,) = bias or (0.0,)
    for a, b in zip(pairs[::2], pairs[1::2]):
        total += a * b
    return total


def _dot_partials(y, *operands):
    bias, pairs = _split_bias(operands)
    swapped = [pairs[i ^ 1] for i in range(len(pairs))]  # d(a*b)/da = b, d(a*b)/db = a
    return (*(1.0 for _ in bias), *swapped)


def _split_bias(operands):
    """Split (bias, w0, x0, w1, x1, …) into (bias,) and the pairs; without a bias, into () and the pairs."""
    odd = len(operands) % 2
    return operands[:odd], operands[odd:]


def _take(index, *values):
    """Return the value that the index chooses; nan if it chooses none."""
    return values[int(index)] if _chooses(index, values) else math.nan


def _take_partials(y, index, *values):
    chosen = int(index) if _chooses(index, values) else None
    return (None, *(1.0 if i == chosen else None for i in range(len(values))))


def _chooses(index, values):
    return float(index).is_integer() and 0 <= index < len(values)


OPS = {
    "add": Op("+", lambda a, b: a + b, lambda y, a, b: (1.0, 1.0)),
    "sub": Op("-", lambda a, b: a - b, lambda y, a, b: (1.0, -1.0)),
    "mul": Op("*", lambda a, b: a * b, lambda y, a, b: (b, a)),
    "div": Op("/", _div, lambda y, a, b: (_div(1.0, b), _div(-_div(a, b), b))),
    "pow": Op("**", _pow, _pow_partials),
    "minimum": Op("minimum", _minimum, lambda y, a, b: (_share(a, b, _higher), _share(b, a, _higher))),
    "maximum": Op("maximum", _maximum, lambda y, a, b: (_share(a, b, _lower), _share(b, a, _lower))),
    "leaky_relu": Op(
        "leaky_relu", lambda a, b: a if a > 0.0 else a * b, lambda y, a, b: (1.0, 0.0) if a > 0.0 else (b, a)
    ),
    "elu": Op("elu", lambda a, b: b * _expm1(a) if a < 0.0 else a, _elu_partials),
    "neg": Op("neg", lambda a: -a, lambda y, a: (-1.0,)),
    "abs": Op("abs", abs, lambda y, a: (float((a > 0.0) - (a < 0.0)),)),
    "relu": Op("ReLU", lambda a: 0.0 if a < 0.0 else a, lambda y, a: (0.0 if y <= 0.0 else 1.0,)),
    "tanh": Op("tanh", math.tanh, lambda y, a: (1.0 - y * y,)),
    "exp": Op("exp", _exp, lambda y, a: (y,)),
    "log": Op("log", _log, lambda y, a: (_div(1.0, a),)),
    "sigmoid": Op("sigmoid", _sigmoid, lambda y, a: (y * (1.0 - y),)),
    "sqrt": Op("sqrt", _sqrt, lambda y, a: (_div(0.5, y),)),
    "sin": Op("sin", _sin, lambda y, a: (_cos(a),)),
    "cos": Op("cos", _cos, lambda y, a: (-_sin(a),)),
    "tan": Op("tan", _tan, lambda y, a: (1.0 + y * y,)),
    "asin": Op("asin", _asin, lambda y, a: (_asin_slope(a),)),
    "acos": Op("acos", _acos, lambda y, a: (-_asin_slope(a),)),
    "atan": Op("atan", math.atan, lambda y, a: (_atan_slope(a),)),
    "sinh": Op("sinh", _sinh, lambda y, a: (_cosh(a),)),
    "cosh": Op("cosh", _cosh, lambda y, a: (_sinh(a),)),
    "log1p": Op("log1p", _log1p, lambda y, a: (_div(1.0, 1.0 + a),)),
    "expm1": Op("expm1", _expm1, lambda y, a: (_exp(a),)),
    "erf": Op("erf", math.erf, lambda y, a: (_erf_slope(a),)),
    "erfc": Op("erfc", math.erfc, lambda y, a: (-_erf_slope(a),)),
    "softplus": Op("softplus", _softplus, lambda y, a: (_sigmoid(a),)),
    "silu": Op("silu", lambda a: a * _sigmoid(a), lambda y, a: (_sigmoid(a) * (1.0 + a * _sigmoid(-a)),)),
    "gelu": Op("gelu", _gelu, lambda y, a: (_gelu_slope(a),)),
    "square": Op("**2", lambda a: a * a, lambda y, a: (2.0 * a,)),
    "cube": Op("**3", lambda a: a * a * a, lambda y, a: (3.0 * (a * a),)),
    "reciprocal": Op("**-1", lambda a: _div(1.0, a), lambda y, a: (_div(-_div(1.0, a), a),)),
    "less": Op("<", lambda a, b: float(a < b), lambda y, a, b: (), _none),
    "less_equal": Op("<=", lambda a, b: float(a <= b), lambda y, a, b: (), _none),
    "equal": Op("==", lambda a, b: float(a == b), lambda y, a, b: (), _none),
    "not_equal": Op("!=", lambda a, b: float(a != b), lambda y, a, b: (), _none),
    "stop_gradient": Op("stop_gradient", lambda a: a, lambda y, a: (), _none),
    "sum": Op("sum", _sum, lambda y, *values: (1.0,) * len(values)),
    "dot": Op("dot", _dot, _dot_partials),
    "take": Op("take", _take, _take_partials, lambda index, *values: values),
}


def _power_row(k):
    """Return the row of `a ** k` for a number k; 2, 3 and -1 have rows of their own, without the cost of pow."""
    short = {2.0: "square", 3.0: "cube", -1.0: "reciprocal"}.get(k)
    if short:
        return OPS[short]
    return Op(power_label(k), lambda a: _pow(a, k), lambda y, a: (_power_slope(a, k),))


def _given_row(label, local_grads):
    """Return the row of a Value that a program made with operands: it passes on these numbers; None: nothing."""
    return Op(label, None, lambda y, *operands: local_grads or ())


def _declared_partials(data, y, *pairs):
    """Return the partials of `declared`, whose operands are y, x0, derivative 0, x1, …: the derivatives, by the xs."""
    return (None, *(partial for derivative in pairs[1::2] for partial in (derivative, None)))


DECLARED = Op("", lambda y, *pairs: y, _declared_partials, lambda y, *pairs: pairs[::2])
LEAF = _given_row("", None)
COMPARISONS = [OPS[name] for name in ("less", "less_equal", "equal", "not_equal")]

# --- the methods that make nodes --------------------------------------------------------------------------------------


def _unary(name):
    """Return the method of an op of one operand."""

    def method(self):
        return _make(OPS[name], (self,))

    return _named(method, name)


def _binary(name):
    """Return the operator `self op other`. It leaves an `other` of a foreign type to that type's own operator."""

    def method(self, other):
        return NotImplemented if _is_foreign(other) else _make(OPS[name], (self, _as_value(other)))

    return _named(method, name)


def _reflected(name):
    """Return the operator `other op self`: Python calls it if `other` has no operator for Values."""

    def method(self, other):
        return NotImplemented if _is_foreign(other) else _make(OPS[name], (_as_value(other), self))

    return _named(method, name)


def _by_name(name):
    """Return the method `self.name(other)` of an op of two operands."""

    def method(self, other):
        return _make(OPS[name], (self, _as_value(other)))

    return _named(method, name)


def _named(method, name):
    method.__name__, method.__qualname__ = name, f"Value.{name}"
    return method


def _is_foreign(x):
    return not isinstance(x, Value) and operand(x) is NotImplemented


# --- Value ------------------------------------------------------------------------------------------------------------

_serials = itertools.count()


@documented
class Value(ValueBase):
    """A number that remembers how it was computed: see `pygrad.engine.Value`, which this one mirrors."""

    # _serial numbers the Values in creation order; _used: it is an operand; _busy: a backward pass is running over it
    __slots__ = ("_data", "_grad", "_row", "_operands", "_serial", "_used", "_busy", "__dict__", "__weakref__")
    __signature__ = SignatureOfInit()

    def __new__(cls, *args, **kwargs):
        self = object.__new__(cls)
        self._row = None  # until __init__ has run
        return self

    def __init__(self, data, _children=(), _op="", label="", **dialect):
        children, _op, local_grads = parse_dialect(Value, _children, _op, dialect)
        data = to_float(data)
        if children and self._row is not None:
            raise refusals.children_too_late()
        if children:
            self._set_node(_given_row("", local_grads), children, data)
            if anomaly.is_on():
                anomaly.check_forward(self, children)
        else:
            self._set_leaf(data)
        if _op:
            self._op = _op
        if label:
            self.label = label

    def _set_leaf(self, data):
        if self._row not in (None, LEAF):
            raise refusals.init_of_result(self)
        if self._row is None:
            self._set_node(LEAF, (), data)
        self._data, self._grad = data, 0.0

    def _set_node(self, row, operands, data):
        self._row, self._operands, self._data, self._grad = row, operands, data, 0.0
        self._serial = next(_serials)
        self._used = self._busy = False
        for child in operands:
            child._alive()._used = True

    def _alive(self):
        if self._row is None:
            raise refusals.uninitialised()
        return self

    def _is_comparison(self):
        if self._row is OPS["stop_gradient"]:
            return self._operands[0]._is_comparison()
        return self._row in COMPARISONS or truth.COMPARISON in self.__dict__

    def _is_leaf(self):
        return self._alive()._row is LEAF

    data = property(lambda self: self._alive()._data)
    grad = property(lambda self: self._alive()._grad)

    @data.setter
    def data(self, number):
        self._alive()._data = to_float(number)

    @grad.setter
    def grad(self, number):
        self._alive()._grad = to_float(number, "a gradient")

    @property
    def _op(self):
        return self.__dict__.get(OP_NAME, self._alive()._row.label)

    @_op.setter
    def _op(self, name):
        self.__dict__[OP_NAME] = name

    @property
    def _prev(self):
        return set(self._alive()._operands)

    @_prev.setter
    def _prev(self, children):
        children = parse_prev(Value, self, children)
        if not children:
            self._let_go()
            return
        if not self._is_leaf() or self._used or self._busy:
            raise refusals.prev_is_fixed()
        grad = self._grad
        self._set_node(_given_row("", None), children, self._data)
        self._grad = grad

    def _let_go(self):
        """Become a leaf, which has the data and the gradient."""
        if self._is_leaf():
            return
        if self._busy:
            raise refusals.busy()
        if self._is_comparison():
            self.__dict__[truth.COMPARISON] = True
        self._row, self._operands = LEAF, ()
        forget_op(self.__dict__)

    def _operands_in_order(self):
        """Return the operands as a tuple: see `pygrad.engine.portable.Value._operands_in_order`."""
        return self._alive()._operands

    def _slopes(self):
        """Return the partial derivatives by the operands, a tuple of numbers; None if the program made the Value."""
        operands = self._alive()._operands
        partials = self._row.partials(self._data, *[child._data for child in operands])
        if not partials and self._row.forward is None:
            return None
        return tuple([0.0 if partial is None else partial for partial in partials or [None] * len(operands)])

    @property
    def _backward(self):
        return self._alive().__dict__.get(CLOSURE, self._propagate)

    @_backward.setter
    def _backward(self, closure):
        if not callable(closure):
            raise refusals.no_closure()
        self._alive().__dict__[CLOSURE] = closure

    def _propagate(self):
        datas = [child._data for child in self._operands]
        for child, partial in zip(self._operands, self._row.partials(self._data, *datas)):
            if partial is not None:
                child._grad += self._grad * partial

    def _receivers(self):
        """Return the operands that may get a gradient; all of them, if a closure passes it on: it may reach any."""
        return self._operands if CLOSURE in self.__dict__ else self._row.receivers(*self._operands)

    def _chosen(self):
        """Return the receivers that get a gradient now: of a take the one that its index chooses."""
        if self._row is not OPS["take"] or CLOSURE in self.__dict__:
            return self._receivers()
        index, *values = self._operands
        return (values[int(index.data)],) if _chooses(index.data, values) else ()

    def detach(self):
        leaf = Value(self.data)
        if self._is_comparison():  # so is the leaf: it has the truth of its data
            leaf.__dict__[truth.COMPARISON] = True
        return leaf

    # --- operators, in micrograd's order ---

    __add__ = _binary("add")
    __mul__ = _binary("mul")

    def __pow__(self, other):
        if isinstance(other, Value):
            return _make(OPS["pow"], (self, other))
        exponent = operand(other)
        return exponent if exponent is NotImplemented else _make(_power_row(exponent), (self,))

    __rpow__ = _reflected("pow")  # other ** self

    relu = _unary("relu")
    tanh = _unary("tanh")
    exp = _unary("exp")
    log = _unary("log")
    sigmoid = _unary("sigmoid")
    sqrt = _unary("sqrt")
    sin = _unary("sin")
    cos = _unary("cos")
    tan = _unary("tan")
    asin = _unary("asin")
    acos = _unary("acos")
    atan = _unary("atan")
    sinh = _unary("sinh")
    cosh = _unary("cosh")
    log1p = _unary("log1p")
    expm1 = _unary("expm1")
    erf = _unary("erf")
    erfc = _unary("erfc")
    softplus = _unary("softplus")
    silu = _unary("silu")
    gelu = _unary("gelu")

    def leaky_relu(self, negative_slope=0.01):
        return _make(OPS["leaky_relu"], (self, _as_value(negative_slope)))

    def elu(self, alpha=1.0):
        return _make(OPS["elu"], (self, _as_value(alpha)))

    minimum = _by_name("minimum")
    maximum = _by_name("maximum")
    less = _by_name("less")
    less_equal = _by_name("less_equal")
    equal = _by_name("equal")
    not_equal = _by_name("not_equal")
    stop_gradient = _unary("stop_gradient")

    def backward(self, seed=1.0):
        seed = to_float(seed, "a seed")
        for v in _order(self, Value._receivers):
            if not v._is_leaf():
                v._grad = 0.0
        order = _order(self, Value._chosen)
        for v in order:
            v._busy = True  # a second pass over these Values, begun by a closure, is refused
        self._grad = seed
        try:
            if anomaly.is_on():
                anomaly.check_before(child for v in order for child in v._chosen())
            for v in order:
                v.__dict__.get(CLOSURE, v._propagate)()
                if anomaly.is_on():
                    anomaly.check_backward(v, v._operands, v._chosen())
        finally:
            for v in order:
                v._busy = False

    __neg__ = _unary("neg")  # -self
    __abs__ = abs = _unary("abs")  # abs(self)

    def __radd__(self, other):  # other + self
        return self.__add__(other)

    __sub__ = _binary("sub")  # self - other
    __rsub__ = _reflected("sub")  # other - self

    def __rmul__(self, other):  # other * self
        return self.__mul__(other)

    __truediv__ = _binary("div")  # self / other
    __rtruediv__ = _reflected("div")  # other / self


def _order(root, operands):
    """List the Values that `root` leads to by `operands`, a method, each after all its consumers.

    Leaves are left out, for they pass nothing on: except the root, and leaves with a closure, which come last. There is
    no recursion: the graph may be of any depth.
    """
    reached, stack = {id(root): root}, [root]
    while stack:
        for child in operands(stack.pop()._alive()):
            if id(child) not in reached:
                reached[id(child)] = child
                stack.append(child)
    order = [v for v in reached.values() if v is root or not v._is_leaf() or CLOSURE in v.__dict__]
    if any(v._busy for v in order):
        raise refusals.busy()
    return sorted(order, key=lambda v: (v._is_leaf(), -v._serial))


def _make(row, operands):
    """Return the Value that a row computes from `operands`, which are Values."""
    out = Value.__new__(Value)
    out._set_node(row, operands, row.forward(*[v.data for v in operands]))
    if anomaly.is_on():
        anomaly.check_forward(out, operands)
    return out


def _as_value(x):
    return x if isinstance(x, Value) else Value(x)


def minimum(a, b):
    """Return the smaller of two Values or numbers; equal ones share the gradient."""
    return _as_value(a).minimum(b)


def maximum(a, b):
    """Return the larger of two Values or numbers; equal ones share the gradient."""
    return _as_value(a).maximum(b)


def less(a, b):
    """Return the Value 1.0 if a < b, else 0.0, of two Values or numbers; like all comparisons it has no derivative."""
    return _as_value(a).less(b)


def less_equal(a, b):
    """Return the Value 1.0 if a <= b, else 0.0."""
    return _as_value(a).less_equal(b)


def greater(a, b):
    """Return the Value 1.0 if a > b, else 0.0."""
    return less(b, a)


def greater_equal(a, b):
    """Return the Value 1.0 if a >= b, else 0.0."""
    return less_equal(b, a)


def equal(a, b):
    """Return the Value 1.0 if a and b are the same number, else 0.0 (`==` asks for the same object)."""
    return _as_value(a).equal(b)


def not_equal(a, b):
    """Return the Value 0.0 if a and b are the same number, else 1.0, also for a nan."""
    return _as_value(a).not_equal(b)


def stop_gradient(x):
    """Return a Value of the same data as `x`, a Value or number, that passes no gradient on to it."""
    return _as_value(x).stop_gradient()


def sum(values, start=0):
    """Return the sum of Values and numbers as one node, added from the left as Python's `sum` does."""
    values = tuple(_as_value(v) for v in operands_of(values))
    if is_default(start):
        return _make(OPS["sum"], values)
    return _make(OPS["sum"]._replace(forward=_sum_from), (_as_value(start), *values))


def dot(ws, xs, bias=None):
    """Return `bias + ws[0]*xs[0] + ws[1]*xs[1] + …` as one node, added in that order."""
    pairs = [_as_value(v) for pair in zip(*pair_up(ws, xs)) for v in pair]
    return _make(OPS["dot"], tuple(pairs) if bias is None else (_as_value(bias), *pairs))


def take(values, index):
    """Return `values[index]`. See `pygrad.engine.take`."""
    return value_base.take(Value, choose, values, index)


def where(condition, a, b):
    """Return `a` where the condition holds, else `b`. See `pygrad.engine.where`."""
    a, b = _as_value(a), _as_value(b)
    if isinstance(condition, Value):
        return choose(condition.not_equal(0.0), (b, a))
    return a if to_float(condition, "a condition") != 0.0 else b


def choose(index, values):
    """Return the value that the data of `index` chooses from `values`, as one node; the index is not checked."""
    return _make(OPS["take"], (_as_value(index), *[_as_value(v) for v in values]))


def declared(y, xs, derivatives):
    """Return `y` as one node. It passes its gradient times `derivatives` on to `xs`: `custom_op` makes it."""
    if len(xs) != len(derivatives):
        raise refusals.derivatives_missing()
    pairs = [_as_value(v) for pair in zip(xs, derivatives) for v in pair]
    return _make(DECLARED, (_as_value(y), *pairs))


def custom_op(forward):
    """Make an op of `forward`, a function of Values. See `pygrad.custom_op`."""
    return CustomOp(forward, Engine(Value, declared, _leads_out, _call, None))


def _call(function, arguments, values):
    return function(*arguments)


def _leads_out(y, since):
    """Does a backward pass from y come to a Value that is older than `since`?"""
    stack, done = [y], {}
    while stack:
        v = stack.pop()
        if v._serial < since._serial:
            return True
        if id(v) not in done:
            done[id(v)] = v
            stack.extend(v._receivers())
    return False
