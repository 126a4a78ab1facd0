"""Ops of your own, with a derivative that you declare as an expression on Values.

    @pygrad.custom_op
    def softclip(x):
        return pygrad.maximum(-1.0, pygrad.minimum(x, 1.0))

    @softclip.derivative
    def _(y, x):
        return pygrad.where(pygrad.less(abs(x), 1.0), 1.0, 0.1)  # d y / d x

`softclip(v)` is one node. The first function gives its data and the second its derivative; backward() does not go
through their graphs to the arguments. A compiled function computes both graphs again for every sample, so the op stays
right there. (The lecture's way, a closure on `_backward`, cannot be compiled.)
"""

from pygrad.common.custom_op import CustomOp, Engine
from pygrad.engine import Value, call_on, declared, recordings
from pygrad.engine.arena import leads_out
from pygrad.engine.reads import noting


def custom_op(forward):
    """Make an op of `forward`, a function of Values that returns a Value or number, or lists of them; a decorator too.

    Then give its method `.derivative` the function that returns the derivative. Now call the op; a call before is a
    TypeError. `pygrad.gradcheck` compares the two functions.

    Arguments are Values and numbers, and nested lists of them: the derivative by a list is a list. Both functions get
    keyword arguments by keyword, and bool, str, None, Enum members and functions as they are. The derivative None means
    that there is none: no gradient goes to this argument, and no derivative of higher order either, though another
    argument's derivative computes with it.

    `forward` may compute with Values that are no arguments: these get gradients by its formulas, of any order. But a
    number that it reads from such a Value (`w.data`) gives it no gradient: pass the Value as an argument. There is a
    UserWarning if the result of the first call does not lead to a Value of the function's closure or globals.

    Derivatives of any order come from the function that is declared, with the op's own result as y. It must compute
    with Values for that; what it reads from `x.data` is constant, and there is a UserWarning. To differentiate a
    derivative pygrad calls the function again, and `forward` too if it uses other Values: then it must compute with
    Values as well, else TypeError. (`w * math.exp(x.data)` does not tell d2 / dw dx: pass w as an argument.) They must
    do the same as before, else RuntimeError. The truth of arguments and of y, `==`, float() and the like are a
    TypeError in both functions, as in a transform: choose with `pygrad.where`.

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

    Several outputs, and derivatives that use them. As in a Jacobian, there is for each output what an op of one output
    returns: the derivative by the argument, or a tuple with one for each argument.

    >>> import math
    >>> sin_cos = pygrad.custom_op(lambda x: (math.sin(x.data), math.cos(x.data)))
    >>> sin_cos = sin_cos.derivative(lambda y, x: (y[1], -y[0]))
    >>> pygrad.derivative(lambda x: sin_cos(x)[1], order=2)(0.0)
    -1.0

    A list, a flag and a keyword argument:

    >>> weighted = pygrad.custom_op(lambda xs, is_squared, scale: xs[0] * xs[1] ** (2 if is_squared else 1) * scale)
    >>> @weighted.derivative
    ... def _(y, xs, is_squared, scale):
    ...     return [y / xs[0], (2 if is_squared else 1) * y / xs[1]], None, None
    >>> xs = [pygrad.Value(3.0), pygrad.Value(2.0)]
    >>> weighted(xs, True, scale=10.0).backward()
    >>> [x.grad for x in xs]
    [40.0, 120.0]

    Raises TypeError if `forward` is no function. The op raises TypeError for arguments and results that are no numbers,
    and ValueError for derivatives that do not have the structure of the arguments and outputs.
    """
    return CustomOp(forward, _ENGINE)


_ENGINE = Engine(Value, declared, leads_out, call_on or recordings.call, noting)
