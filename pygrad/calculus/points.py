"""The point at which a function of Values is called, for functions with arguments `fn, xs` such as `gradcheck`.

The rule for `xs`: a number is one argument; a list is one argument, a list of numbers; a tuple has several arguments,
each a number or a list. Lists and tuples within an argument may be nested, and dicts, namedtuples and dataclasses may
be among them. A NumPy array counts as a list. Static arguments (see `pygrad.compile`) are handed on as they are. A
Value among the numbers stands for its data: its graph and its gradient are left alone.
"""

from pygrad.common.nested import flatten, names, or_lists, rebuild
from pygrad.common.numbers import describe, is_number
from pygrad.common.parts import Static, is_static
from pygrad.engine import Value, is_value, recordings


class Point:
    """The arguments `xs` of a function: all their `numbers` in a flat list, and the `names` of these for reports."""

    def __init__(self, xs):
        self.numbers = []
        self._structures = [Static(x) if is_static(x) else flatten(x, self.numbers, _as_number) for x in several(xs)]
        if self._structures and all(type(s) is Static for s in self._structures):
            _checked(self._structures[0].value)  # a TypeError that says what is needed
        if not self.numbers:
            raise ValueError("xs must have at least one number, and has none")
        arguments = [f"x{i}" for i in range(len(xs))] if type(xs) is tuple else ["x"]
        self.names = [name for pair in zip(self._structures, arguments) for name in names(*pair)]

    def leaves(self, numbers=None):
        """Return a list of new leaves with these numbers, by default those of the point."""
        return [Value(number) for number in (self.numbers if numbers is None else numbers)]

    def arguments(self, items):
        """Return the arguments for `fn` in a tuple: these items, one for each number, in the structure of `xs`."""
        items = iter(items)
        return tuple([rebuild(structure, items) for structure in self._structures])

    def call(self, fn, leaves):
        """Call `fn` with these leaves; return (its results as a flat list of Values, True if it returned one Value).

        Raises TypeError if `fn` is no function, or does not return Values and numbers, or lists of them.
        """
        if not callable(fn):
            raise TypeError(f"a function of Values is needed here, not {describe(fn)}")
        ys = []
        structure = flatten(recordings.call(fn, self.arguments(leaves), leaves), ys, _as_value)
        return ys, structure is None


def several(xs):
    """Return the arguments of a function in a tuple: those in `xs` if `xs` is a tuple, else `xs` alone."""
    return xs if type(xs) is tuple else (xs,)


@or_lists
def _as_number(x):
    return x._read() if is_value(x) else float(_checked(x))


@or_lists
def _as_value(x):
    return x if is_value(x) else Value(_checked(x))


def _checked(x):
    if not is_number(x):
        raise TypeError(f"a Value, a number, or a list of them is needed here, not {describe(x)}")
    return x
