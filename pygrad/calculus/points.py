"""The point at which a function of Values is looked at: its arguments, and the leaves that stand for their numbers.

One rule for all that take `fn, xs`: a list is one argument, a list of Values; a tuple is several arguments, each a
number or a list; a number is one argument, a Value. Lists and tuples in them may be nested. A NumPy array counts as a
list. A Value among them is read, and not used: its graph and its gradient are left alone.
"""

from pygrad.contract.nested import flatten, names, or_lists, rebuild
from pygrad.contract.numbers import describe, is_number
from pygrad.engine import Value


class Point:
    """Where a function is looked at: `numbers`, all of them in order, and `names`, what each is called in a report."""

    def __init__(self, xs):
        self.numbers = []
        self._structures = [flatten(x, self.numbers, _as_number) for x in several(xs)]
        if not self.numbers:
            raise ValueError("a function is looked at in a point of at least one number, and xs has none")
        arguments = [f"x{i}" for i in range(len(xs))] if isinstance(xs, tuple) else ["x"]
        self.names = [name for pair in zip(self._structures, arguments) for name in names(*pair)]

    def leaves(self, numbers=None):
        """Return new leaves of these numbers, by default the point's own, in a list."""
        return [Value(number) for number in (self.numbers if numbers is None else numbers)]

    def arguments(self, items):
        """Return the arguments that these items, one a number, are: a tuple, to be called as `fn(*arguments)`."""
        items = iter(items)
        return tuple([rebuild(structure, items) for structure in self._structures])

    def call(self, fn, leaves):
        """Call `fn` at these leaves; return (its results as a list of Values, was it one Value).

        Raises TypeError if it is no function, or returns neither a Value or number nor a list of such.
        """
        if not callable(fn):
            raise TypeError(f"a function of Values is needed here, not {describe(fn)}")
        ys = []
        structure = flatten(fn(*self.arguments(leaves)), ys, _as_value)
        return ys, structure is None


def several(xs):
    """Return the arguments of a function: a tuple is several, anything else is one."""
    return xs if isinstance(xs, tuple) else (xs,)


@or_lists
def _as_number(x):
    return x._read() if isinstance(x, Value) else float(_checked(x))


@or_lists
def _as_value(x):
    return x if isinstance(x, Value) else Value(_checked(x))


def _checked(x):
    if not is_number(x):
        raise TypeError(f"a Value, a number, or a list of them is needed here, not {describe(x)}")
    return x
