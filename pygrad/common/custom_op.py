"""CustomOp: an op that the user defines, for the Values of either engine; see `pygrad.custom_op`."""

import functools

from pygrad.common.numbers import describe, is_number


class CustomOp:
    """An op that the user defines: `custom_op` returns it. `value_type` and `declared` come from the engine in use."""

    def __init__(self, forward, value_type, declared):
        if not callable(forward):
            raise TypeError(f"custom_op needs a function of Values, not {describe(forward)}")
        functools.update_wrapper(self, forward)
        self._name = getattr(forward, "__name__", type(forward).__name__)
        self._forward, self._derivative = forward, None
        self._value_type, self._declared = value_type, declared

    def derivative(self, function):
        """Declare the derivative: `function(y, *arguments)` returns d y / d argument, a Value or number.

        With several arguments it returns a tuple, one derivative per argument. Returns the op; usable as a decorator.
        """
        if not callable(function):
            raise TypeError(f"the derivative of {self._name} must be a function, not {describe(function)}")
        self._derivative = function
        return self

    def __call__(self, *arguments):
        """Apply the op to Values and numbers; return its result, a Value.

        Raises TypeError if no derivative is declared, or if one of the two functions returns neither a Value nor a
        number; ValueError if there are not as many derivatives as arguments.
        """
        if self._derivative is None:
            raise TypeError(
                f"the derivative of {self._name} is not declared: decorate a function of (y, *arguments) "
                f"with @{self._name}.derivative"
            )
        xs = [x if isinstance(x, self._value_type) else self._value_type(x) for x in arguments]
        y = self._checked(self._forward(*xs), self._name)
        out = self._declared(y, xs, self._derivatives(y, xs))
        if not out._is_leaf():  # within no_grad() it is a leaf
            out._op = self._name
        return out

    def __repr__(self):
        return f"<custom op {self._name}>"

    def _derivatives(self, y, xs):
        """Return the derivatives of `y` by `xs`, one for each."""
        found = self._derivative(y, *xs)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) != len(xs):
            raise ValueError(
                f"the derivative of {self._name} must return one number or Value for each argument: "
                f"{len(xs)}, not {len(found)}"
            )
        return [self._checked(d, f"the derivative of {self._name}") for d in found]

    def _checked(self, x, what):
        """Return `x`, the result of a function, as a Value, or raise a TypeError that names the function (`what`)."""
        if isinstance(x, self._value_type):
            return x
        if not is_number(x):
            raise TypeError(f"{what} must return a Value or a number, not {describe(x)}")
        return self._value_type(x)
