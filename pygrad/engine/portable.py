"""The portable proxy: micrograd's `Value` in Python, with the graph in C. `pygrad.engine` says when it is used.

A Value is a thin proxy of a node in the C arena (csrc/engine/arena.h). The node has the number, its gradient, the op
and the operands. The proxy has the node's id, and holds its operands' proxies; it gives the node back when it dies. So
`backward()` is one call into C, and reference counting frees a graph as soon as no one needs it. The docstrings of
Value are in pygrad/common/docs.py.
"""

from weakref import WeakValueDictionary

from pygrad.common import anomaly, refusals, truth
from pygrad.common.arrays import operands_of
from pygrad.common.docs import DOCS, documented
from pygrad.common.numbers import is_number, operand, to_float
from pygrad.common.signatures import SignatureOfInit
from pygrad.common.value_base import (
    CLOSURE,
    OP_NAME,
    ValueBase,
    forget_op,
    is_a,
    is_default,
    pair_up,
    parse_dialect,
    parse_prev,
    power_label,
)
from pygrad.engine import cells, recordings
from pygrad.engine._lib import ffi, lib
from pygrad.engine.arena import proxies_below, set_frozen
from pygrad.engine.errors import check, refuse
from pygrad.engine.optable import CODES, LABELS
from pygrad.engine.sweeps import backward_in_pieces

_LEAF, _POWER, _CUSTOM, _STOP_GRADIENT = (CODES[name] for name in ("leaf", "power", "custom", "stop_gradient"))
_RECORDING = lib.PG_MODE_RECORDING
_COMPARISONS = [CODES[name] for name in ("less", "less_equal", "equal", "not_equal")]

_IDS = ffi.typeof("pg_id[]")
_new, _hash, _new_cell = object.__new__, object.__hash__, cells.new_node
_pg_leaf, _pg_unary, _pg_binary = lib.pg_leaf, lib.pg_unary, lib.pg_binary
_pg_binary_left, _pg_binary_right = lib.pg_binary_left, lib.pg_binary_right

_trace_hook = None  # see set_trace_hook
_open = cells.OPEN  # .unusual: is any thread within no_grad() or detect_anomaly()?

_with_closure = WeakValueDictionary()  # node id -> the Value whose `_backward` was assigned
value_of = _with_closure.get


# --- the methods that make nodes; _unary and _binary do the work of _make themselves, for speed ---


def _unary(name):
    """Return the method of a unary row of the op table."""
    op = CODES[name]

    def method(self):
        out = _new(Value)
        out._pg_cell = cell = _new_cell()
        out._pg_a = self
        out._pg_b = None
        out._pg_node = id = _pg_unary(op, self._pg_node, cell)
        if not id:
            refuse(self)
        return _finish(out, (self,)) if _open.unusual else out

    return _named(method, name)


def _binary(name):
    """Return the method `self op other` of a binary row; `other` is a Value or a number."""
    op = CODES[name]

    def method(self, other):
        kind = type(other)
        if kind is not Value and not issubclass(kind, Value):  # isinstance() would believe a weak proxy, or a mock
            number = operand(other)
            if number is NotImplemented:
                return number
            return _make(self, None, _pg_binary_right, op, self._pg_node, number)
        out = _new(Value)
        out._pg_cell = cell = _new_cell()
        out._pg_a = self
        out._pg_b = other
        out._pg_node = id = _pg_binary(op, self._pg_node, other._pg_node, cell)
        if not id:
            refuse(self, other)
        return _finish(out, (self, other)) if _open.unusual else out

    return _named(method, name)


def _reflected(name):
    """Return the method `other op self` of a binary row; `other` is a number, or a Value in an explicit call."""
    op = CODES[name]

    def method(self, other):
        if is_a(other, Value):
            return _make(other, self, _pg_binary, op, other._pg_node, self._pg_node)
        number = operand(other)
        if number is NotImplemented:
            return number
        return _make(self, None, _pg_binary_left, op, number, self._pg_node)

    return _named(method, name)


def _by_name(name):
    """Return the method of a binary row without an operator. It takes a Value or number, and refuses all else."""
    op = CODES[name]

    def method(self, other):
        if is_a(other, Value):
            return _make(self, other, _pg_binary, op, self._pg_node, other._pg_node)
        return _make(self, None, _pg_binary_right, op, self._pg_node, to_float(other))

    return _named(method, name)


def _named(method, name):
    method.__name__, method.__qualname__ = name, f"Value.{name}"
    method.__doc__ = f"Return the Value of the op {LABELS[CODES[name]]!r}."  # methods that are called by name have more
    return method


# --- Value ------------------------------------------------------------------------------------------------------------


@documented
class Value(ValueBase):
    __doc__ = DOCS["Value"]
    __module__ = "pygrad.engine"  # of both proxies, so that one reads what the other has pickled

    # _pg_cell owns the node: C writes the node's id there when it makes it, and gives the node back when the cell is
    # freed. _pg_node is this id, 0 if there is none yet; others read it as _pg_id. _pg_a and _pg_b keep the operands'
    # proxies alive: each a Value, a tuple of them, or None.
    __slots__ = ("_pg_cell", "_pg_node", "_pg_a", "_pg_b", "__dict__", "__weakref__")
    __signature__ = SignatureOfInit()

    @property
    def _pg_id(self):
        return self._pg_node

    def __new__(cls, *args, **kwargs):
        self = _new(cls)
        self._pg_cell = _new_cell()
        self._pg_node = 0  # no node, until __init__ has run
        self._pg_a = self._pg_b = None
        return self

    def __init__(self, data, _children=(), _op="", label="", **dialect):
        if _children or _op or dialect:
            self._init_node(to_float(data), *parse_dialect(Value, _children, _op, dialect))
        else:
            self._set_leaf(to_float(data))
        if label:
            self.label = label

    def _set_leaf(self, data):
        if not self._pg_node:
            self._pg_node = _pg_leaf(data, self._pg_cell) or refuse()
        elif self._is_leaf():
            lib.pg_set_data(self._pg_node, data)
            lib.pg_set_grad(self._pg_node, 0.0)
        else:
            raise refusals.init_of_result(self)

    def _init_node(self, data, children, op, local_grads):
        if not children:
            self._set_leaf(data)
        elif _open.unusual and _drops_operands():
            self._set_leaf(data)
            return
        elif self._pg_node:
            raise refusals.children_too_late()
        else:
            grads = ffi.NULL if local_grads is None else ffi.new("double[]", local_grads)
            id = lib.pg_custom(data, len(children), _ids(children), grads, self._pg_cell)
            self._pg_node = id or refuse(*children)
            self._pg_a = children
            if anomaly.is_on():
                anomaly.check_forward(self, children)
        if op:
            self._op = op

    def _alive(self):
        """Return the id, or raise if there is no node."""
        return self._pg_node if lib.pg_exists(self._pg_node) else refuse(self)

    def _read(self, what=None):
        if not _is_watched():
            return self.data
        if what is not None:
            _tell_hook(self, what)
        with cells.quiet():
            return self.data

    def _read_grad(self):
        if not _open.of[_RECORDING]:
            return self.grad
        with cells.quiet():
            return self.grad

    def _compared(self):
        if _open.of[_RECORDING]:
            _tell_recording(self, "a comparison")

    def _is_comparison(self):
        op = lib.pg_op(self._pg_node)
        if op == _STOP_GRADIENT:
            return self._operands_in_order()[0]._is_comparison()
        return op in _COMPARISONS or truth.COMPARISON in self.__dict__

    def _is_leaf(self):
        return lib.pg_op(self._alive()) == _LEAF

    @property
    def data(self):
        if _is_watched():
            _tell_hook(self, "data")
        data = lib.pg_data(self._pg_node)
        return data if data == data or self._alive() else data  # without a node it reads as nan

    @data.setter
    def data(self, number):
        number = to_float(number)
        if _open.of[_RECORDING]:
            _tell_recording(self, "data =")
        check(lib.pg_set_data(self._pg_node, number), (self,))

    @property
    def grad(self):
        if _open.of[_RECORDING]:
            _tell_recording(self, "grad")
        grad = lib.pg_grad(self._pg_node)
        return grad if grad == grad or self._alive() else grad

    @grad.setter
    def grad(self, number):
        number = to_float(number, "a gradient")
        if _open.of[_RECORDING]:
            _tell_recording(self, "grad =")
        check(lib.pg_set_grad(self._pg_node, number), (self,))

    @property
    def requires_grad(self):
        return bool(lib.pg_requires_grad(self._alive()))

    @requires_grad.setter
    def requires_grad(self, requires_grad):
        set_frozen(self, requires_grad)

    @property
    def _op(self):
        op = lib.pg_op(self._alive())
        label = power_label(lib.pg_exponent(self._pg_node)) if op == _POWER else LABELS[op]
        return self.__dict__.get(OP_NAME, label)

    @_op.setter
    def _op(self, name):
        self.__dict__[OP_NAME] = name

    def __hash__(self):
        if _open.calls:
            recordings.check_hash(self)
        return _hash(self)

    @property
    def _prev(self):
        with cells.quiet():  # within a transform a set of its Values would be warned of
            return set(self._operands_in_order())

    @_prev.setter
    def _prev(self, children):
        children = parse_prev(Value, self, children)
        if not self._is_leaf() and not children:
            self._let_go()
        elif children and not (self._is_leaf() and _drops_operands()):
            self._take_operands(children)

    def _take_operands(self, children):
        old = _blank()
        try:
            status = lib.pg_cell_to_custom(self._pg_cell, len(children), _ids(children), old._pg_cell)
        finally:  # even if we are interrupted, each node has its proxy: this Value holds that of the old leaf
            if old._pg_cell.id:
                self._pg_a, self._pg_b = children, old
                old._pg_node, self._pg_node = self._pg_node, self._pg_cell.id
        if status in (lib.PG_IN_USE, lib.PG_BUSY):
            raise refusals.prev_is_fixed()
        check(status, children)
        if CLOSURE in self.__dict__:
            _with_closure[self._pg_node] = self

    def _let_go(self):
        """Let the operands go: a leaf takes the place of the node, which `old` keeps for threads that have its id."""
        if self._is_comparison():
            self.__dict__[truth.COMPARISON] = True
        old = _blank()
        try:
            status = lib.pg_cell_to_leaf(self._pg_cell, old._pg_cell)
        finally:
            if old._pg_cell.id:
                old._pg_node, self._pg_node = self._pg_node, self._pg_cell.id
                self._pg_a, self._pg_b = None, old
                _with_closure.pop(old._pg_node, None)
                forget_op(self.__dict__)
        if status == lib.PG_BUSY:
            raise refusals.busy()
        check(status, (self,))

    def _operands_in_order(self):
        """Return the operands as a tuple. Sum: start, terms. Dot: bias, w0, x0, w1, x1, …. Take: index, values. Custom
        op with a declared derivative: y, x0, derivative 0, x1, ….

        A hidden operand gets its proxy here, and this Value holds it.
        """
        while True:
            a, b, ids = self._pg_a, self._pg_b, _operand_ids(self._alive())
            proxies = {v._pg_node: v for v in (*_as_tuple(a), *_as_tuple(b))}
            known = len(proxies)
            _reveal(ids, proxies)
            operands = tuple([proxies[id] for id in ids])
            if known == len(proxies):
                return operands
            if self._pg_a is a and self._pg_b is b:  # no other thread was faster
                self._pg_a, self._pg_b = operands, None
                return operands

    def _slopes(self):
        """Return the derivatives by `_operands_in_order()`, a tuple of numbers; None if the op is the program's."""
        if lib.pg_op(self._alive()) == _CUSTOM:
            return None
        slopes = ffi.new("double[]", lib.pg_operand_count(self._pg_node))
        lib.pg_slopes(self._pg_node, slopes)
        return tuple(slopes)

    @property
    def _backward(self):
        self._alive()
        return self.__dict__.get(CLOSURE, self._propagate)

    @_backward.setter
    def _backward(self, closure):
        if not callable(closure):
            raise refusals.no_closure()
        if self._is_leaf() and _drops_operands():
            return
        _with_closure[self._alive()] = self
        self.__dict__[CLOSURE] = closure
        lib.pg_set_closure(self._pg_node, 1)

    def _propagate(self):
        lib.pg_backprop(self._alive())

    def detach(self):
        return _copy_kind(self, Value(self._read("detach()")))

    # --- operators, in micrograd's order; each is one row of csrc/ops.def ---

    __add__ = _binary("add")
    __mul__ = _binary("mul")

    def __pow__(self, other):
        if is_a(other, Value):
            return _pow(self, other)
        exponent = operand(other)
        return exponent if exponent is NotImplemented else _make(self, None, lib.pg_power, self._pg_node, exponent)

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
        return _leaky_relu(self, negative_slope)

    def elu(self, alpha=1.0):
        return _elu(self, alpha)

    minimum = _by_name("minimum")
    maximum = _by_name("maximum")

    # 1.0 or 0.0, where `<` and the like give a bool
    less = _by_name("less")
    less_equal = _by_name("less_equal")
    equal = _by_name("equal")
    not_equal = _by_name("not_equal")
    stop_gradient = _unary("stop_gradient")

    def backward(self, seed=1.0):
        seed = to_float(seed, "a seed")
        if _open.calls:
            recordings.check_backward(self)
        if anomaly.is_on() or lib.pg_backward(self._pg_node, seed) != lib.PG_OK:
            backward_in_pieces((self,), (seed,), value_of)

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


def sum(values, start=0):
    """Return the sum of Values and numbers as one node, added from the left as Python's `sum` does."""
    values = _as_values(values)
    if is_default(start):
        return _make(values, None, lib.pg_sum, 0, len(values), _ids(values))
    start = _as_value(start)
    return _make(values, start, lib.pg_sum, start._pg_node or refuse(start), len(values), _ids(values))


def dot(ws, xs, bias=None):
    """Return `bias + ws[0]*xs[0] + ws[1]*xs[1] + …` as one node, added in that order.

    Raises ValueError if `ws` and `xs` differ in length.
    """
    ws, xs = pair_up(_as_values(ws), _as_values(xs))
    if bias is None:
        return _make(ws, xs, lib.pg_dot, 0, len(ws), _ids(ws), _ids(xs))
    bias = _as_value(bias)
    return _make((bias, *ws), xs, lib.pg_dot, bias._pg_node or refuse(bias), len(ws), _ids(ws), _ids(xs))


def choose(index, values):
    """Return the value that the data of `index` chooses from `values`, as one node: see `pygrad.engine.take`.

    The index is not checked: one that is outside gives nan.
    """
    index, values = _as_value(index), _as_values(values)
    return _make((index, *values), None, lib.pg_choose, index._pg_node, len(values), _ids(values))


def declared(y, xs, derivatives):
    """Return `y` as one node. It passes its gradient times `derivatives` on to `xs`: see `pygrad.custom_op`."""
    y, xs, derivatives = _as_value(y), _as_values(xs), _as_values(derivatives)
    if len(xs) != len(derivatives):
        raise refusals.derivatives_missing()
    operands = (y, *[v for pair in zip(xs, derivatives) for v in pair])
    return _make(operands, None, lib.pg_declared, y._pg_node, len(xs), _ids(xs), _ids(derivatives))


def layer(neurons, xs, neuron_type, fused=True):
    """Return [n(xs) for n in neurons] with one `dot` node a neuron, all made in one call; see `pygrad.nn.Neuron`.

    The numbers are those of Neuron.__call__, to the bit. The graph is another one; so if a program could notice, return
    None, and the caller must call each neuron. These conditions must be true: the type of each neuron is neuron_type,
    no subclass; all weights and biases are plain Values; the inputs are plain Values or numbers, as many as the
    weights; no one has redefined `+` or `*` of Value.

    If not fused, the graph is that of Neuron.__call__ too, node for node: see `pygrad.nn.fuse`. Operators must make it,
    so the result is None, also within detect_anomaly(), and where a neuron has no inputs.
    """
    if [vars(Value).get(name) for name in _ARITHMETIC] != _ORIGINALS or not {neuron_type}.issuperset(
        map(type, neurons)
    ):
        return None
    rows, biases = [tuple(n.w) for n in neurons], [n.b for n in neurons]
    given = tuple(xs)
    xs = tuple([x if type(x) is Value else number(x) if is_number(x) else None for x in given])
    nin, w_ids = len(xs), [w._pg_node for ws in rows for w in ws if type(w) is Value]
    x_ids = [x._pg_node for x in xs if type(x) is Value]
    b_ids = [b._pg_node for b in biases if type(b) is Value]
    if (
        len(w_ids) != len(rows) * nin
        or len(x_ids) != nin
        or len(b_ids) != len(rows)
        or not {nin}.issuperset(map(len, rows))
        or (not fused and (nin == 0 or anomaly.is_on()))
    ):
        return None
    numbers = None if fused else bytes(type(x) is not Value for x in given)
    outs = _make_layer(rows, xs, biases, (_as_ids(b_ids), _as_ids(w_ids), _as_ids(x_ids)), numbers)
    return [getattr(out, n.activation)() if n.nonlin else out for out, n in zip(outs, neurons)]


def _make_layer(rows, xs, biases, ids, numbers):
    """Return the Values of the neurons without their activations; fused if `numbers`, see pg_neurons, is None."""
    made = ffi.new("pg_id[]", len(rows))
    outs = [_blank((bias, *ws), xs) for ws, bias in zip(rows, biases)]
    owners = ffi.new("pg_node_cell *[]", [out._pg_cell for out in outs])
    if numbers is None:
        status = lib.pg_dots(len(rows), len(xs), *ids, made, owners)
    else:
        status = lib.pg_neurons(len(rows), len(xs), *ids, numbers if any(numbers) else ffi.NULL, made, owners)
    if status != lib.PG_OK:
        check(status, [*xs, *biases, *[w for ws in rows for w in ws]])
    for out, id in zip(outs, made):
        out._pg_node = id
    if _open.unusual:
        return [_finish(out, out._operands_in_order()) for out in outs]
    return outs


_ARITHMETIC = ("__add__", "__radd__", "__mul__", "__rmul__")
_ORIGINALS = [vars(Value)[name] for name in _ARITHMETIC]
_pow = _binary("pow")
_leaky_relu, _elu = _by_name("leaky_relu"), _by_name("elu")
_stop_gradient = _unary("stop_gradient")

# --- no_grad ---


def _drops_operands():
    """True if a Value that a program gives operands or a closure must stay a leaf: within no_grad(), while no function
    is recorded."""
    return not cells.is_grad_enabled() and not recordings.is_recording()


# --- the trace hook ---


def set_trace_hook(hook):
    """See pygrad.engine.set_trace_hook."""
    global _trace_hook
    if hook is not None and not callable(hook):
        raise refusals.no_hook()
    before, _trace_hook = _trace_hook, hook
    return before


def _is_watched():
    """True if reads of data are told: to the trace hook, or to a recording, of whatever thread."""
    return _trace_hook is not None or _open.of[_RECORDING]


def _tell_hook(value, what):
    """Tell that a program is about to read the data of `value`; reads of those who are told are not told."""
    value._alive()
    hook = _trace_hook
    if lib.pg_mode_of(lib.PG_MODE_QUIET):
        return
    with cells.quiet():
        recordings.tell(value, what)
        if hook is not None:
            hook(value, what)


def _tell_recording(value, what):
    """Tell recordings alone; see _tell_hook."""
    value._alive()
    if not lib.pg_mode_of(lib.PG_MODE_QUIET):
        with cells.quiet():
            recordings.tell(value, what)


# --- nodes and their proxies ---


def _blank(a=None, b=None):
    """Return a proxy that has no node yet; `a` and `b` are its operands, as in Value._pg_a."""
    out = _new(Value)
    out._pg_cell = _new_cell()
    out._pg_node = 0
    out._pg_a = a
    out._pg_b = b
    return out


def _make(a, b, make, *arguments):
    """Call the C function `make`; return the proxy of its node. The proxy is made first: each node must have one."""
    out = _blank(a, b)
    out._pg_node = make(*arguments, out._pg_cell)
    if not out._pg_node:
        refuse(*_as_tuple(a), *_as_tuple(b))
    return _finish(out, out._operands_in_order()) if _open.unusual else out


def _finish(out, operands):
    """Return a new Value of these operands; check it within detect_anomaly(), replace it within no_grad()."""
    if anomaly.is_on():
        anomaly.check_forward(out, operands)
    return out if cells.is_grad_enabled() else _without_graph(out)


def _without_graph(out):
    """Return the replacement of a result within no_grad(): a leaf; but while a function is recorded or transformed, a
    node that passes no gradient on, for a leaf would keep the number of this one run."""
    if _stays_node(out):
        return _stop_gradient(out) if lib.pg_op_has_derivative(lib.pg_op(out._pg_node)) else out
    if out._pg_a is None:
        return out
    return _copy_kind(out, _make(None, None, _pg_leaf, lib.pg_data(out._pg_node)))


def _stays_node(value):
    """Return True if what takes the place of a Value must stay a node, for the Value may be a variable."""
    return _open.calls and lib.pg_may_be_variable(value._pg_node)


def _copy_kind(out, leaf):
    """Return `leaf`, which has the number of `out`; if `out` is the result of a comparison, it counts as one too."""
    if out._is_comparison():
        leaf.__dict__[truth.COMPARISON] = True
    return leaf


def _adopt(id):
    """Return a new proxy of a hidden node."""
    proxy = _blank()
    lib.pg_retain(id, proxy._pg_cell)
    proxy._pg_node = id
    return proxy


def _reveal(ids, proxies):
    """Add to {id: proxy} a new proxy for each hidden node among the ids, and for all hidden nodes below it.

    A hidden node's operands are hidden too, or have their proxies there.
    """
    hidden, stack = {}, [id for id in ids if id not in proxies]
    while stack:
        id = stack.pop()
        proxies[id], hidden[id] = _adopt(id), _operand_ids(id)
        stack += [operand for operand in hidden[id] if operand not in proxies]
    for id, operands in hidden.items():
        proxies[id]._pg_a = tuple([proxies[operand] for operand in operands]) or None


def _operand_ids(id):
    ids = ffi.new(_IDS, lib.pg_operand_count(id))
    lib.pg_operands(id, ids)
    return list(ids)


def adopt(ids, made, roots):
    """See pygrad.engine.adopt."""
    known = proxies_below(*roots)
    for id in made:
        known[id] = _adopt(id)
        known[id]._pg_a = tuple([known[i] for i in _operand_ids(id) if i in known])  # the others are hidden
    return [known[id] for id in ids]


def keeps_proxies():
    """See pygrad.engine.keeps_proxies: a proxy of this module always holds them."""
    return True


def _as_value(x):
    return x if is_a(x, Value) else number(x)


def _as_values(given):
    """Return Values and numbers as a tuple of Values. `given` is read first: a number may change it when converted."""
    return tuple([x if type(x) is Value else _as_value(x) for x in tuple(operands_of(given))])


def number(x):
    """Return the leaf of a number in an expression."""
    return _make(None, None, lib.pg_number, to_float(x))


def _as_tuple(operands):
    """Return the Values in a proxy's _pg_a or _pg_b."""
    return operands if type(operands) is tuple else () if operands is None else (operands,)


def _ids(values):
    """Return the ids of Values as a pg_id[]."""
    return _as_ids([v._pg_node for v in values])


def _as_ids(ids):
    return ffi.new(_IDS, ids)


def plain_ids(values, _data=Value.data, _grad=Value.grad):
    """Return the ids of a list of Values as bytes, a pg_id each, or None: see pygrad.engine.plain_ids."""
    ids = [v._pg_node for v in values if type(v) is Value]
    ours = vars(Value).get("data") is _data and vars(Value).get("grad") is _grad
    return bytes(ffi.buffer(_as_ids(ids))) if ours and len(ids) == len(values) and all(ids) else None
