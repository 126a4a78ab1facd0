"""Ops of your own, with a derivative that you declare as an expression on Values.

    @pygrad.custom_op
    def softclip(x):
        return pygrad.maximum(-1.0, pygrad.minimum(x, 1.0))

    @softclip.derivative
    def _(y, x):
        return pygrad.where(pygrad.less(abs(x), 1.0), 1.0, 0.1)  # d y / d x

`softclip(v)` is one node. The first function gives its data and the second its derivative; backward() goes into neither
of the two graphs. A compiled function computes both graphs again for every sample, so the op stays right there. (The
lecture's way, a closure on `_backward`, cannot be compiled.)
"""

from pygrad.common.custom_op import CustomOp, Engine
from pygrad.engine import Value, declared
from pygrad.engine._lib import lib


def custom_op(forward):
    """Make an op of `forward`, a function of one or more Values that returns a Value or number; usable as a decorator.

    Then give its method `.derivative` the function that returns the derivative. Now call the op with Values or numbers;
    a call before is a TypeError. `pygrad.gradcheck` compares the two functions.

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
    return CustomOp(forward, _ENGINE)


def _leads_out(y, since):
    return lib.pg_leads_out(y._pg_id, since._pg_id)


_ENGINE = Engine(Value, declared, _leads_out)
