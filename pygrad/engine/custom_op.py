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

from pygrad.contract.custom_op import CustomOp
from pygrad.engine import Value, declared


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
    return CustomOp(forward, Value, declared)
