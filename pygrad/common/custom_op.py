"""CustomOp: an op that the user defines, for the Values of either engine; see `pygrad.custom_op`.

Each output of a call is a *declared* node: its data is that of y, the node that `forward` has computed, and its
derivatives are those that `derivative` has computed. `forward` works on copies of the arguments that pass no gradient
on (`stop_gradient`). So y leads to nothing but Values that `forward` closes over; if there are any, y is one more
argument of the declared node, with the derivative 1.

For a backward pass the derivatives are numbers. To differentiate them, the engine calls `derivative` again with the
node itself in place of y (`Call.again`, pygrad/calculus/own_ops.py): this cannot be done before the node is there.
"""

import contextlib
import copy
import functools
import warnings
import weakref
from collections.abc import Callable

from pygrad.common import anomaly
from pygrad.common.arrays import number_in
from pygrad.common.caller import caller
from pygrad.common.named_tuples import named_tuple
from pygrad.common.nested import count, flatten, in_words, or_lists, plain, rebuild
from pygrad.common.numbers import describe
from pygrad.common.parts import Static, is_static
from pygrad.common.signatures import arranged
from pygrad.common.value_base import CALL, HELD, OP_NAME, is_a


@named_tuple
class Engine:
    """What a CustomOp needs of the engine in use."""

    value_type: type
    declared: Callable  # declared(y, xs, derivatives) makes the node
    leads_out: Callable  # leads_out(y, since): does y lead to a leaf, or to a Value older than `since`, a result?
    call: Callable  # call(function, arguments, values): call it, on Values that stand for other numbers too
    noting: Callable  # noting(function, found): one that appends to `found` the Values whose numbers it reads


class CustomOp:
    """An op that the user defines: `custom_op` returns it."""

    def __init__(self, forward, engine):
        if not callable(forward):
            raise TypeError(f"custom_op needs a function of Values, not {describe(forward)}")
        functools.update_wrapper(self, forward)
        self._name = getattr(forward, "__name__", type(forward).__name__)
        self._forward, self._derivative, self._engine = forward, None, engine
        self._value_type, self._copy = engine.value_type, engine.value_type.stop_gradient
        self._was_called, self._has_warned = False, False
        self._plain = Call(self, _PLAIN, False), Call(self, _PLAIN, True)

    def derivative(self, function):
        """Declare the derivative: `function(y, *arguments)` returns d y / d argument, a Value or number.

        With several arguments it returns a tuple, one derivative per argument; that of a list is a list. None says that
        there is no derivative: no gradient goes there. Arguments that are no numbers (bool, str, None, functions) have
        none, and may be left out of the tuple. If there are several outputs, y has the structure of what the op
        returns, and so has the result of `function`, with the derivatives of an output in place of the output, as in a
        Jacobian. Keyword arguments are passed on as the op got them; their derivatives are in the sequence of the op's
        signature. Returns the op; usable as a decorator.
        """
        if not callable(function):
            raise TypeError(f"the derivative of {self._name} must be a function, not {describe(function)}")
        self._derivative = function
        return self

    def __call__(self, *args, **kwargs):
        """Apply the op to Values, numbers and nested lists of them; return its result, a Value, or its results.

        Raises TypeError if no derivative is declared, or if one of the two functions returns neither a Value nor a
        number; ValueError if there are not as many derivatives as arguments.
        """
        if self._derivative is None:
            raise TypeError(
                f"the derivative of {self._name} is not declared: decorate a function of (y, *arguments) "
                f"with @{self._name}.derivative"
            )
        xs, shape, value_type = args, _PLAIN, self._value_type
        for x in args:
            if type(x) is not value_type:
                xs, shape = self._read(args, kwargs)
                break
        else:
            if kwargs:
                xs, shape = self._read(args, kwargs)
        copies = [*map(self._copy, xs)]
        y = self._engine.call(self._forward, copies, copies) if shape is _PLAIN else self.forward(copies, shape)
        if not self._was_called:
            self._was_called = True
            self._warn_of_reads(y)
        try:
            if type(y) is list or type(y) is tuple:
                return self._several(y, xs, copies, shape)
            y, closes = self._own(y, xs, copies)
            call = self._plain[closes] if shape is _PLAIN else Call(self, shape, closes)
            try:
                ds = self.derivatives(y, xs, shape)
            except RecursionError as error:
                raise self._endless(error) from None
            return self._declared(y, xs, ds, call)
        except FloatingPointError:
            anomaly.check_call(self._name, y, xs)
            raise

    def __reduce__(self):
        """Pickles find an op of a module by its name, as they do functions."""
        return self.__qualname__

    def __repr__(self):
        return f"<custom op {self._name}>"

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _read(self, args, kwargs):
        """Return the numbers among the arguments as Values, in a list, and the Shape of the arguments."""
        if kwargs:
            args, kwargs = arranged(self._forward, args, kwargs)
        xs = []
        parts = [
            Static(x, is_kept=True) if is_static(x) else flatten(x, xs, self._as_x) for x in (*args, *kwargs.values())
        ]
        if not kwargs and parts.count(None) == len(parts):
            return xs, _PLAIN
        return xs, Shape(parts, tuple(kwargs))

    @property
    def _as_x(self):
        value_type = self._value_type
        return or_lists(lambda x: x if is_a(x, value_type) else value_type(x))

    def _warn_of_reads(self, y):
        """Warn of each Value that `forward` closes over and that its result `y` does not lead to."""
        names = _named_values(self._forward, self._value_type)
        if not names:
            return
        ys = []
        flatten(y, ys, lambda v: v)
        reached = _reached([v for v in ys if is_a(v, self._value_type)], names)
        for id_of, (v, name) in names.items():
            if id_of not in reached and getattr(v, "requires_grad", True):
                warnings.warn_explicit(
                    f"{self._name} uses {name}, but its result does not lead to this Value, so it gets no gradient: "
                    "compute with it, not with its data, or pass it as an argument",
                    UserWarning,
                    *caller(),
                    registry={},
                )

    def noting(self, found):
        other = copy.copy(self)
        noting = self._engine.noting
        other._forward, other._derivative = noting(self._forward, found), noting(self._derivative, found)
        return other

    def warns_of_number(self):
        """Return True the first time: a derivative that reads numbers is told of once."""
        told, self._has_warned = self._has_warned, True
        return not told

    # --- outputs ------------------------------------------------------------------------------------------------------

    def _own(self, y, xs, copies):
        """Return y, a result of `forward`, as a Value; and True if it leads to Values that `forward` closes over."""
        if type(y) is float or not is_a(y, self._value_type):
            return self._checked(y, self._name), False
        for i, x in enumerate(copies):
            if y is x:
                return xs[i], False
        return y, self._engine.leads_out(y, copies[0] if copies else self._copy(self._value_type(0.0)))

    def forward(self, copies, shape):
        """Return what `forward` returns for copies of the xs."""
        return self._engine.call(shape.call, (self._forward, (), copies), copies)

    def _declared(self, y, xs, ds, call):
        """Return the declared node of y."""
        for d in ds:
            if d is None:
                # A derivative by another argument does not pass its own on to an argument that has none.
                call = call._replace(xs=[x if d is not None else self._copy(x) for x, d in zip(xs, ds)])
                pairs = [(x, d) for x, d in zip(xs, ds) if d is not None]
                xs, ds = [x for x, _ in pairs], [d for _, d in pairs]
                break
        if call.closes:
            xs, ds = [*xs, y], [*ds, 1.0]
        out = self._engine.declared(y, xs, ds)
        if not out._is_leaf():  # within no_grad() it is a leaf
            attributes = out.__dict__
            attributes[OP_NAME] = self._name
            attributes[CALL] = call
        return out

    def derivatives(self, y, xs, shape):
        """Return the derivatives of `y`, the one output, by each of `xs`; None where there is none."""
        if shape is not _PLAIN:
            return self._row(self._engine.call(shape.call, (self._derivative, (y,), xs), (y, *xs)), shape)
        args = (y, *xs)
        found = self._engine.call(self._derivative, args, args)
        if not isinstance(found, (tuple, list)):
            found = (found,)
        if len(found) != len(xs):
            raise self._wrong_count(len(xs), len(found))
        for d in found:
            if type(d) is not self._value_type:
                return [*map(self._checked_derivative, found)]
        return found

    def _checked_derivative(self, d):
        return d if d is None else self._checked(d, f"the derivative of {self._name}")

    def _endless(self, error):
        """Return a RecursionError that names the cure."""
        if "calls this op again" in str(error):
            return error
        return RecursionError(
            f"the derivative of {self._name} needs an endless number of calls, if it calls this op again, itself or by "
            "another op: compute it from y, or with methods of Value"
        )

    def _wrong_count(self, count, found):
        return ValueError(
            f"the derivative of {self._name} must return one number or Value for each argument: {count}, not {found}"
        )

    def _checked(self, x, what):
        """Return `x`, the result of a function, as a Value, or raise a TypeError that names the function (`what`)."""
        if type(x) is float:
            return self._value_type(x)
        if is_a(x, self._value_type):
            return x
        if number_in(x, f"the result of {what}") is None:
            raise TypeError(f"{what} must return a Value or a number, not {describe(x)}")
        return self._value_type(x)

    def _row(self, found, shape):
        """Return what the derivative gave for one output as a flat list, a Value or None for each x."""
        parts = shape.parts
        with_x = [part for part in parts if type(part) is not Static]
        if len(parts) == 1 == len(with_x):
            found = found if not _is_one_in_a_tuple(found, parts[0]) else found[0]
            found = [found]
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) == len(parts):
            found = [d for d, part in zip(found, parts) if type(part) is not Static]
        if len(found) != len(with_x):
            raise self._wrong_count(len(with_x), len(found))
        return [d for part, given in zip(with_x, found) for d in self._flat(given, part)]

    def _flat(self, given, part):
        """Return the derivatives by one argument, of the structure `part`, in a flat list."""
        if given is None:
            return [None] * count(part)
        items = []
        found = flatten(given, items, or_lists(self._checked_derivative))
        if plain(found) != plain(part):
            raise ValueError(
                f"the derivative of {self._name} by an argument must have the structure of the argument: "
                f"{in_words(part)}, not {in_words(found)}"
            )
        return items

    # --- several outputs ----------------------------------------------------------------------------------------------

    def _several(self, result, xs, copies, shape):
        """Return the outputs in the structure of `result`, that of `forward`."""
        ys = []
        structure = flatten(result, ys, lambda y: y)
        ys = [self._own(y, xs, copies) for y in ys]
        rows = self.rows(structure, [y for y, _ in ys], xs, shape)
        group = Outputs(structure, [])
        calls = [Call(self, shape, closes, None, group) for _, closes in ys]
        outs = [self._declared(y, xs, row, call) for (y, _), row, call in zip(ys, rows, calls)]
        group.outs.extend([weakref.ref(out) for out in outs])
        return rebuild(structure, iter(_sharing(outs)))

    def rows(self, structure, ys, xs, shape):
        """Return the derivatives of each output: a list, as `derivatives` gives it, for each of `ys`."""
        args = self._derivative, (rebuild(structure, iter(ys)),), xs
        found = self._engine.call(shape.call, args, (*ys, *xs))
        rows = []
        self._take_rows(found, structure, rows)
        shape = shape if shape is not _PLAIN else Shape([None] * len(xs), ())
        return [[None] * len(xs) if row is None else self._row(row, shape) for row in rows]

    def _take_rows(self, found, structure, rows):
        """Append to `rows` what the derivative gave for each output of the structure."""
        if structure is None or found is None:
            rows.extend([found] * count(structure))
            return
        if not isinstance(found, (tuple, list)) or len(found) != len(structure):
            given = len(found) if isinstance(found, (tuple, list)) else describe(found)
            raise ValueError(
                f"the derivative of {self._name} must return the derivatives of each output: "
                f"{in_words(structure)} has {len(structure)} parts, not {given}"
            )
        for part, inner in zip(found, structure):
            self._take_rows(part, inner, rows)


# --- the call of an op ------------------------------------------------------------------------------------------------


@named_tuple
class Shape:
    """How the arguments of a call are built from its xs."""

    parts: list  # for each argument its structure, or a Static
    names: tuple  # of the last arguments, which are passed by keyword

    def call(self, function, first, xs):
        """Call the function: with the arguments `first`, and then those of the op."""
        items = iter(xs)
        args = [part.value if type(part) is Static else rebuild(part, items) for part in self.parts]
        by_name = len(args) - len(self.names)
        return function(*first, *args[:by_name], **dict(zip(self.names, args[by_name:])))


class _Plain:
    """The Shape of a call whose arguments are the xs."""

    @staticmethod
    def call(function, first, xs):
        return function(*first, *xs)


_PLAIN = _Plain()


@named_tuple
class Outputs:
    """The outputs of a call.

    Their declared nodes do not hold one another: what a program gets for each is one more Value, which holds them all.
    """

    structure: object
    outs: list  # weak references to the declared nodes

    def values(self):
        return [ref() for ref in self.outs]

    def place(self, out):
        return [v is out for v in self.values()].index(True)


@named_tuple
class Call:
    """The call of an op; the declared node of each output has it as an attribute."""

    op: CustomOp
    shape: object
    closes: bool  # does `forward` close over Values that y leads to? Then the last x of the node is y
    xs: object = None  # None: all xs have a derivative, and are those of the node. Else those without are copies
    outputs: object = None  # None: there is one

    def noting(self, found):
        """Return the call of an op that appends to `found` the Values whose numbers its two functions read."""
        return self._replace(op=self.op.noting(found))

    def results(self, y):
        """Return the results of `forward` in this call; `y` is that of this node."""
        return [y] if self.outputs is None else [out._operands_in_order()[0] for out in self.outputs.values()]

    def again(self, out, xs):
        """Compute the derivatives of `out`, a declared node, from the node itself."""
        if self.outputs is None:
            return self.op.derivatives(out, xs, self.shape)
        ys = _sharing(self.outputs.values())
        return self.op.rows(self.outputs.structure, ys, xs, self.shape)[self.outputs.place(out)]

    def forward(self, out, xs):
        """Call `forward`; return its result for the declared node `out`."""
        found = self.op.forward(xs, self.shape)
        if self.outputs is None:
            return found
        ys = []
        flatten(found, ys, lambda y: y)
        return ys[self.outputs.place(out)]


def _sharing(outs):
    """Return for each declared node a Value that holds all of them."""
    shared = [out * 1.0 for out in outs]
    for v in shared:
        if not v._is_leaf():
            v.__dict__[HELD] = outs
    return shared


def _named_values(function, value_type):
    """Return {id: (Value, its name)} for the Values in a function's closure, and for the globals that it names."""
    code, found = getattr(function, "__code__", None), {}
    if code is None:
        return found
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        with contextlib.suppress(ValueError):  # the cell is empty
            found[name] = cell.cell_contents
    found.update((name, function.__globals__[name]) for name in code.co_names if name in function.__globals__)
    return {id(v): (v, name) for name, v in found.items() if is_a(v, value_type)}


def _reached(ys, ends):
    """Return the ids of `ends` that the Values `ys` lead to, without a look below the `ends`."""
    stack, done = list(ys), {}  # by id, for a hash of a Value may give a warning
    while stack:
        v = stack.pop()
        if id(v) not in done:
            done[id(v)] = v
            stack.extend(() if id(v) in ends else v._operands_in_order())
    return done.keys() & ends.keys()


def _is_one_in_a_tuple(found, part):
    """True for a tuple that holds the derivatives by the only argument, of the structure `part`."""
    return (
        isinstance(found, (tuple, list))
        and len(found) == 1
        and (part is None or len(part) != 1 or isinstance(found[0], (tuple, list)))
    )
