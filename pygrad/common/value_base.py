"""The part of `Value` that does no arithmetic: reading, comparing, printing, copying.

Both proxies and `pygrad.reference` inherit it. For programs a Value has the names of micrograd's Value, `_prev`, `_op`
and `_backward` included. The modules of pygrad use these names too; programs should not:

    _read(what=None)      the data; a trace hook is called only if `what` names the reader
    _read_grad()          the gradient; a recording is not told
    _is_leaf()            True for a leaf; RuntimeError for a Value without a node
    _is_comparison()      True if `less`, `equal`, ... made it
    _compared()           tell a recording that a comparison reads the data
    _set_leaf(data)       make it a leaf; if it is one already, set its data, and its gradient to 0
    _operands_in_order()  the operands in a tuple, as the op has them
    _slopes()             the derivatives by them, numbers; None if the op is the program's
    _pg_id                the id of its node in the C arena, 0 if it has none (`pygrad.engine` alone)
"""

import operator

from pygrad.common import refusals, truth
from pygrad.common.absent import absent_names, with_absent_names
from pygrad.common.arrays import is_iterable, number_in, operands_of
from pygrad.common.nested import build_lists, count, flatten, has_gap
from pygrad.common.numbers import describe, is_number, operand, shown, to_float
from pygrad.common.ufuncs import OfArrays

# Keys of a Value's __dict__ for the engines' own use: no attribute can have such a name.
CLOSURE = "<backward>"  # the function assigned to `_backward`
OP_NAME = "<op>"  # the label assigned to `_op`
CALL = "<call>"  # of a declared node: the call of the custom op, so that its derivatives can be differentiated
HELD = "<held>"  # other Values that must live as long
MADE_AT = "<made at>"  # the source line, noted by detect_anomaly()


def is_a(x, value_type):
    """True if the class of `x` is `value_type`, or derived from it.

    isinstance() is true as well of an object that only says so: a weak proxy, a mock, any object with a `__class__`.
    """
    return issubclass(type(x), value_type)


def _refused(what):
    """Return a method without operands that raises the TypeError of a conversion."""

    def method(self, *_):
        raise truth.no_number(self, what)

    return method


def _refused_with_operand(what):
    """Return a method of an operator that raises the TypeError of a conversion; a foreign operand may answer it."""

    def method(self, other):
        if not isinstance(other, ValueBase) and operand(other) is NotImplemented:
            return NotImplemented
        raise truth.no_number(self, what)

    return method


class _Readable:
    """An attribute that a function computes when it is read, until a program sets it."""

    def __init__(self, function):
        self.function, self.__doc__ = function, function.__doc__

    def __get__(self, value, kind=None):
        return self if value is None else self.function(value)


@with_absent_names
class ValueBase(OfArrays):
    """Mixin of both `Value` classes, over their `data`, `grad`, `_op`, `_prev` and `_is_leaf()`."""

    __slots__ = ()

    label = ""  # a name that the user gives; error messages and `pygrad.viz` show it

    def __init_subclass__(cls, **options):
        """Let a subclass that has its own `+` or `*`, and not the reflected one, serve `2 + v` and `2 * v` by it.

        As micrograd's does; so builtin `sum`, which begins with `0 + v`, is the subclass's too.
        """
        super().__init_subclass__(**options)
        for name, reflected, method in ("__add__", "__radd__", _reflected_add), ("__mul__", "__rmul__", _reflected_mul):
            if _has_own(cls, name) and not _has_own(cls, reflected):
                setattr(cls, reflected, method)

    def item(self):
        """Return the data, a float, as PyTorch's method does.

        >>> from pygrad import Value
        >>> Value(3.0).item()
        3.0
        """
        return self._read("item()")

    def requires_grad_(self, requires_grad=True):
        """Set `requires_grad` and return the Value, as PyTorch's method does.

        >>> from pygrad import Value
        >>> Value(3.0).requires_grad_(False).requires_grad
        False
        """
        self.requires_grad = requires_grad
        return self

    def _read(self, what=None):
        """Return the data; first call a trace hook, if `what` says by which means a program reads the data."""
        return self.data

    def _read_grad(self):
        """Return the gradient; a recording that is told of reads is not told of this one."""
        return self.grad

    @_Readable
    def _children(self):
        """The operands as a tuple, as in microgpt. Of a sum: start, terms; of a dot: bias, w0, x0, w1, x1, ...."""
        return self._operands_in_order()

    @_Readable
    def _local_grads(self):
        """The derivatives by the `_children`, a tuple of numbers, as in microgpt: computed from the data as it is now.

        0.0 for one that gets no gradient, as the index of a take. Raises AttributeError for a Value whose backward step
        is a function of the program's.
        """
        if self._is_leaf():
            return ()
        slopes = None if CLOSURE in self._attributes() else self._slopes()
        if slopes is None:
            raise refusals.no_local_grads(self)
        self._read("_local_grads")
        return slopes

    def _compared(self):
        """Tell a recording that a comparison reads the data of its right side, this Value."""

    # What is answered here, and what is refused, pygrad.common.truth says.
    def __bool__(self):
        if self._is_comparison():
            return self._read("bool()") != 0.0
        truth.check_truth(self)
        return True

    def __eq__(self, other):
        truth.check_equality(self, other, ValueBase, True)
        return True if self is other else NotImplemented

    def __ne__(self, other):
        truth.check_equality(self, other, ValueBase, False)
        return False if self is other else NotImplemented

    __hash__ = object.__hash__  # by identity: Values are members of sets and keys of dicts

    def __float__(self):
        raise truth.no_number(self, "float()")

    def __int__(self):
        raise truth.no_number(self, "int()")

    def __index__(self):
        raise truth.no_number(self, "an index")

    def __pos__(self):  # +self
        return self

    # Roundings and remainders have no derivative that is of use: they are refused, with the cure.
    __floordiv__, __rfloordiv__ = (_refused_with_operand("//"),) * 2
    __mod__, __rmod__ = (_refused_with_operand("%"),) * 2
    __divmod__, __rdivmod__ = (_refused_with_operand("divmod()"),) * 2
    __round__, __trunc__ = _refused("round()"), _refused("trunc()")
    __floor__, __ceil__ = _refused("floor()"), _refused("ceil()")

    def __lt__(self, other):
        return _compare(self, other, float.__lt__)

    def __le__(self, other):
        return _compare(self, other, float.__le__)

    def __gt__(self, other):
        return _compare(self, other, float.__gt__)

    def __ge__(self, other):
        return _compare(self, other, float.__ge__)

    def __format__(self, spec):
        if not spec:
            return repr(self)
        truth.note_format(self)
        return format(self._read(), spec)

    def __repr__(self):
        return f"Value(data={self._read()}, grad={self._read_grad()})"

    def __reduce_ex__(self, protocol):
        """Copy or pickle a leaf as a new leaf; refuse a result, with a message that says why.

        A Value that depends on an argument of a running function is its own copy, so that its derivatives are not lost.
        """
        if truth.is_variable(self):
            return truth.NOT_PICKLED  # for a str, `copy` returns the object itself, and `pickle` raises an error
        if not self._is_leaf():
            raise TypeError(
                f"only a leaf Value can be copied or pickled, and this one is the result of {shown(self._op)}; "
                "use .detach() for a new leaf with its data"
            )
        attributes = {name: kept for name, kept in self._attributes().items() if name not in (CLOSURE, MADE_AT)}
        frozen = () if getattr(self, "requires_grad", True) else (False,)
        return _restore_leaf, (type(self), self.data, self._read_grad(), *frozen), attributes or None

    def _attributes(self):
        """Return a copy of the Value's `__dict__`."""
        return dict(self.__dict__)

    def __getstate__(self):
        return self._attributes() or None

    def __dir__(self):
        return sorted({*dir(type(self))} - absent_names(type(self)) | {*self._attributes()})


def _has_own(cls, name):
    """True if a subclass of an engine's Value, and not the engine, has the attribute `name`."""
    for kind in cls.__mro__:
        if ValueBase in kind.__bases__:
            return False
        if name in vars(kind):
            return True
    return False


# Python asks these first in `value + v`, where the operator of `value` is to be used.
def _reflected_add(self, other):
    return NotImplemented if isinstance(other, ValueBase) else self + other


def _reflected_mul(self, other):
    return NotImplemented if isinstance(other, ValueBase) else self * other


def _compare(value, other, compare):
    number = None if isinstance(other, ValueBase) else operand(other)
    if number is NotImplemented:
        return number
    data = value._read("a comparison")
    if number is None:
        other._compared()
        number = other._read()
    return compare(data, number)


def _restore_leaf(cls, data, grad, requires_grad=True):
    leaf = cls.__new__(cls)
    leaf._set_leaf(data)
    leaf.grad = grad
    if not requires_grad:
        leaf.requires_grad = False
    return leaf


def argument_parser(value_type):
    """Return a function that turns the arguments of Value into (data, children, op, label, local gradients or None)."""

    def parse(data, _children=(), _op="", label="", **dialect):
        data, children, op, local_grads = to_float(data), (), _op, None
        if _children or _op or dialect:
            children, op, local_grads = parse_dialect(value_type, _children, _op, dialect)
        return data, children, op, label, local_grads

    parse.__qualname__ = "Value.__init__"  # error messages name this function
    return parse


def parse_dialect(value_type, children, op, keywords):
    """Turn the arguments of micrograd's Value or microgpt's into (children, op label, local gradients or None).

    micrograd writes `Value(data, _children, _op)`; microgpt writes `Value(data, children, local_grads)`: the third
    argument has one number per child. Keywords may be `children` for `_children`, and `local_grads` or `_local_grads`
    for the third argument.
    """
    local_grads = op if isinstance(op, (tuple, list)) else None
    op = "" if local_grads is not None else op
    for name, given in keywords.items():
        if name == "children" and not children:
            children = given
        elif name in ("local_grads", "_local_grads"):
            local_grads = given
        else:
            raise TypeError(f"Value() got an unexpected keyword argument {name!r}")
    children = _tuple(children, "children", "Values")
    for child in children:
        if not is_a(child, value_type):
            raise TypeError(f"a Value's children must be Values, not {describe(child)}")
    if local_grads is None:
        return children, op, None
    local_grads = tuple(to_float(grad, "a local gradient") for grad in _tuple(local_grads, "local_grads", "numbers"))
    if len(local_grads) != len(children):
        raise ValueError(f"{len(children)} children need as many local gradients, not {len(local_grads)}")
    return children, op, local_grads


def _tuple(given, what, of):
    if not is_iterable(given):
        advice = ", with a comma also for one: (x,)" if is_number(given) or isinstance(given, ValueBase) else ""
        raise TypeError(f"a Value's {what} must be a tuple of {of}, not {describe(given)}{advice}")
    return tuple(given)


def parse_prev(value_type, value, children):
    """Return the Values assigned to `value._prev` as a tuple; refuse a Value that is its own operand, and none for a
    result that depends on an argument of a running function."""
    children, _, _ = parse_dialect(value_type, children, "", {})
    if any(child is value for child in children):
        raise ValueError("a Value cannot be its own operand")
    if not children and not value._is_leaf():
        if truth.is_variable(value):
            raise refusals.prev_of_a_variable()
        truth.note_let_go(value)
    return children


def forget_op(attributes):
    """Take out of the `__dict__` of a Value that is a leaf now what belongs to the op that it was the result of."""
    for key in (CLOSURE, CALL, HELD, MADE_AT):
        attributes.pop(key, None)


def take(value_type, choose, values, index):
    """Return `values[index]`, for both engines: see `pygrad.engine.take`.

    choose(index, column) makes the node, if the index is a Value.
    """

    def read(x):
        if is_a(x, value_type):
            return x
        number = number_in(x, "what take chooses from")
        return list(operands_of(x)) if number is None else number

    items, is_fixed = [], not is_a(index, value_type)
    rows = flatten(values, items, read)
    if not rows:
        raise ValueError("take needs a list of values, or of rows of one length, with at least one in it")
    place = _place(_whole(index) if is_fixed else index._read(), len(rows))
    row, width = rows[0], count(rows[0])
    if has_gap(row) or rows.count(row) < len(rows):  # even if only the first one is used
        raise ValueError("take needs rows of one length, 1 or more, or no rows at all: the values are ragged")
    if is_fixed:
        chosen = items[place * width : (place + 1) * width]
        return build_lists(row, (v if is_a(v, value_type) else value_type(v) for v in chosen))
    return build_lists(row, (choose(index, items[i::width]) for i in range(width)))


def _whole(index):
    try:
        return operator.index(index)
    except TypeError:
        raise TypeError(f"take: the index must be an int or a Value, not {describe(index)}") from None


def _place(index, count):
    """Return an index as an int. Raises IndexError if it is not a whole number from 0 to count - 1."""
    whole = isinstance(index, int) or index.is_integer()
    if not whole or not 0 <= index < count:
        raise IndexError(f"take: the index is {shown(int(index) if whole else index)}, and there are {count} values")
    return int(index)


def each_once(values):
    """Return Values in a list, each object once: a class of the program's may have an `==` and a hash of its own."""
    return list({id(v): v for v in values}.values())


def op_and_label(value):
    """Return the op and label of a Value, for messages: "'tanh' (label 'hidden')"."""
    return shown(value._op) + (f" (label {shown(value.label)})" if value.label else "")


def is_default(start):
    """True for the int 0, the default `start` of a sum."""
    return type(start) is int and start == 0


def pair_up(ws, xs):
    """Return `ws` and `xs` as tuples. Raises ValueError if their lengths differ."""
    ws, xs = tuple(operands_of(ws)), tuple(operands_of(xs))
    if len(ws) != len(xs):
        raise ValueError(f"dot needs two sequences of one length, not {len(ws)} and {len(xs)}")
    return ws, xs


def power_label(exponent):
    """Return the label of `a ** exponent`: '**3' for a whole number, '**0.5' otherwise."""
    whole = exponent.is_integer() and abs(exponent) < 1e16
    return f"**{int(exponent)}" if whole else f"**{exponent!r}"
