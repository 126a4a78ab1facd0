"""Ops of your own whose derivative you declare, as expressions on Values.

    @pygrad.custom_op
    def softclip(x):
        return pygrad.maximum(-1.0, pygrad.minimum(x, 1.0))

    @softclip.derivative
    def _(y, x):
        return pygrad.where(pygrad.less(abs(x), 1.0), 1.0, 0.1)  # d y / d x

`softclip(v)` is one node: its data is that of the first function's result, its derivative the second one's, whatever
the first one's own derivative would be: backward() does not go into either function. Both are graphs, so unlike the
lecture's closure on `_backward` they are still right where a graph is computed again with other numbers: on a compiled
tape.
"""

import functools

from pygrad import engine
from pygrad._numbers import describe, is_number


def custom_op(forward):
    """Make an op of `forward`, a function of one or more Values that returns a Value or number; usable as a decorator.

    Call it with Values or numbers, once `.derivative` has been given what returns its derivative: a TypeError before.
    `pygrad.gradcheck` compares the two functions.

    >>> import pygrad
    >>> @pygrad.custom_op
    ... def floor_ish(x):
    ...     return x - (2 * 3.14159265 * x).sin() / 6.2831853
    >>> @floor_ish.derivative
    ... def _(y, x):
    ...     return 1.0  # "straight through", whatever the slope is
    >>> x = pygrad.Value(1.25)
    >>> floor_ish(x).backward()
    >>> x.grad
    1.0
    """
    return CustomOp(forward, engine.Value, engine.declared)


class CustomOp:
    """An op of the user's: what `custom_op` returns. `value_type` and `declared` are those of an engine."""

    def __init__(self, forward, value_type, declared):
        if not callable(forward):
            raise TypeError(f"custom_op needs a function of Values, not {describe(forward)}")
        functools.update_wrapper(self, forward)
        self._name = getattr(forward, "__name__", type(forward).__name__)
        self._forward, self._derivative = forward, None
        self._value_type, self._declared = value_type, declared

    def derivative(self, function):
        """Declare the derivative: `function(y, *arguments)` returns d y / d argument, a Value or number.

        Of several arguments a tuple, one derivative for each. Returns the op, so this too is usable as a decorator.
        """
        if not callable(function):
            raise TypeError(f"the derivative of {self._name} must be a function, not {describe(function)}")
        self._derivative = function
        return self

    def __call__(self, *arguments):
        """Return the op's Value of these Values and numbers.

        Raises TypeError if no derivative is declared, or one of the two functions returns neither Value nor number;
        ValueError if there are not as many derivatives as arguments.
        """
        if self._derivative is None:
            raise TypeError(
                f"the derivative of {self._name} is not declared: decorate a function of (y, *arguments) "
                f"with @{self._name}.derivative"
            )
        xs = [x if isinstance(x, self._value_type) else self._value_type(x) for x in arguments]
        y = self._checked(self._forward(*xs), self._name)
        out = self._declared(y, xs, self._derivatives(y, xs))
        if not out._is_leaf():  # as it is within no_grad()
            out._op = self._name
        return out

    def __repr__(self):
        return f"<custom op {self._name}>"

    def _derivatives(self, y, xs):
        """Return the derivatives at `xs`, one for each."""
        found = self._derivative(y, *xs)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) != len(xs):
            raise ValueError(
                f"the derivative of {self._name} must return one number or Value for each argument: "
                f"{len(xs)}, not {len(found)}"
            )
        return [self._checked(d, f"the derivative of {self._name}") for d in found]

    def _checked(self, x, what):
        """Return a function's result as a Value, or raise the TypeError that names it."""
        if isinstance(x, self._value_type):
            return x
        if not is_number(x):
            raise TypeError(f"{what} must return a Value or a number, not {describe(x)}")
        return self._value_type(x)
