"""The point at which a function of Values is looked at: its arguments, and the leaves that stand for their numbers.

One rule for all that take `fn, xs`: a list is one argument, a list of Values; a tuple is several arguments, each a
number or a list; a number is one argument, a Value. Lists may be nested. A NumPy array counts as a list. A Value among
them is read, and not used: its graph and its gradient are left alone.
"""

from pygrad._numbers import describe, is_number
from pygrad.engine import Value


class Point:
    """Where a function is looked at: `numbers`, all of them in order, and `names`, what each is called in a report."""

    def __init__(self, xs):
        self._is_several = isinstance(xs, tuple)
        self._shape = [_shape(_listed(x)) for x in (xs if self._is_several else (xs,))]
        self.numbers, self.names = [], []
        for i, x in enumerate(xs if self._is_several else (xs,)):
            self._add(_listed(x), f"x{i}" if self._is_several else "x")
        if not self.numbers:
            raise ValueError("a function is looked at in a point of at least one number, and xs has none")

    def _add(self, x, name):
        if isinstance(x, list):
            for i, item in enumerate(x):
                self._add(item, f"{name}[{i}]")
        else:
            self.numbers.append(x._read() if isinstance(x, Value) else float(x))
            self.names.append(name)

    def leaves(self, numbers=None):
        """Return new leaves of these numbers, by default the point's own, in a list."""
        return [Value(number) for number in (self.numbers if numbers is None else numbers)]

    def arguments(self, items):
        """Return the arguments that these items, one a number, are: a tuple, to be called as `fn(*arguments)`."""
        items = iter(items)
        return tuple([_build(shape, items) for shape in self._shape])

    def call(self, fn, leaves):
        """Call `fn` at these leaves; return (its results as a list of Values, was it one Value).

        Raises TypeError if it returns neither a Value or number nor a list of such.
        """
        result = fn(*self.arguments(leaves))
        is_one = isinstance(result, Value) or is_number(result)
        return [_as_value(y) for y in ([result] if is_one else _flat(_listed(result)))], is_one


def _listed(x):
    """Return `x` with its arrays and tuples as lists; or raise the TypeError that says what it is."""
    if isinstance(x, Value) or is_number(x):
        return x
    if hasattr(x, "tolist"):
        x = x.tolist()
        return _listed(x) if isinstance(x, list) else x
    if isinstance(x, (list, tuple)):
        return [_listed(item) for item in x]
    raise TypeError(f"a Value, a number, or a list of them is needed here, not {describe(x)}")


def _flat(x):
    return [item for part in x for item in _flat(part)] if isinstance(x, list) else [x]


def _shape(x):
    return [_shape(item) for item in x] if isinstance(x, list) else None


def _build(shape, items):
    return next(items) if shape is None else [_build(part, items) for part in shape]


def _as_value(x):
    return x if isinstance(x, Value) else Value(x)
