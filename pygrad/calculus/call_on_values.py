"""One call of a function that is transformed: which arguments are differentiated, and how the results are shaped."""

from pygrad.calculus.grad import as_value, pull
from pygrad.common import forks
from pygrad.common.nested import as_bare, as_derivative, each, flatten, or_lists, plain, rebuild
from pygrad.common.numbers import describe, is_number, shown, to_whole
from pygrad.common.parts import Static, is_static, record_of
from pygrad.common.signatures import arranged, first_is_self, is_data, place_of
from pygrad.engine import Value, adjoints, cells, is_value, recordings
from pygrad.tape.call import hand_on

LIKE_XS = "vs must be in the structure of xs, and dicts in it must have their keys in the same sequence"

# --- which arguments --------------------------------------------------------------------------------------------------


def checked_argnums(argnums):
    """Return `argnums` as None, an int or a tuple of ints. Raises TypeError and ValueError for anything else."""
    if argnums is None:
        return None
    if isinstance(argnums, (list, tuple)):
        places = tuple([_place(place) for place in argnums])
        _check_distinct(places, argnums)
        return places
    return _place(argnums)


def _check_distinct(places, argnums):
    if len(set(places)) < len(places):
        raise ValueError(f"argnums names an argument twice: {shown(argnums)}")


def _place(argnum):
    if isinstance(argnum, bool):
        raise TypeError("argnums must be places of arguments, 0 for the first, not a bool")
    return to_whole(argnum, "argnums, a place of an argument,", float("-inf"))


def differentiated(argnums, places, given):
    """Return which of the given arguments are differentiated, as indices.

    argnums  as `checked_argnums` returns it
    places   the position of each given argument; None for one that has a name only
    given    the arguments; `Static`s have no derivative. TypeError if there are no others
    """
    if argnums is None:
        found = [k for k, place in enumerate(places) if place is not None and type(given[k]) is not Static]
        wrong = [] if found else [x for x in given[:1] if type(x) is Static]
    else:
        found = [_index(argnum, places) for argnum in ((argnums,) if isinstance(argnums, int) else argnums)]
        _check_distinct(found, argnums)
        wrong = [given[k] for k in found if type(given[k]) is Static]
    if wrong:
        raise TypeError(
            f"arguments must be numbers or Values, or lists of them, not {describe(wrong[0].value)}: it is static (see "
            "pygrad.compile), so there is no derivative by it"
        )
    return found


def _index(argnum, places):
    by_place = [place for place in places if place is not None]
    place = argnum if argnum >= 0 else max(by_place, default=-1) + 1 + argnum
    if place not in by_place:
        raise ValueError(f"argnums={argnum} names no argument: the function was called with {len(by_place)}")
    return places.index(place)


def wanted_trees(call, argnums, compiled):
    """Return the trees of the arguments of a call that are differentiated."""
    by_place = len(call.trees) - len(call.keywords)
    places = [*range(by_place), *(place_of(compiled.function, name) for name in call.keywords)]
    return [call.trees[k] for k in differentiated(argnums, places, call.trees)]


# --- a call -----------------------------------------------------------------------------------------------------------


class CallOnValues:
    """One call of a function: on new Values `xs`, with results `ys`; both are flat lists.

    args, kwargs  those of the call; the ones that are not differentiated are handed on as they are
    argnums       None: all that have a position and are not static; else as `checked_argnums` returns it
    keywords_too  False: those in kwargs are not differentiated
    has_aux       the function returns a pair of its result and something besides, which `aux` will be
    """

    def __init__(self, function, args, kwargs=None, argnums=None, has_aux=False, keywords_too=True):
        kwargs, places = kwargs or {}, [None] * len(kwargs or ())
        if kwargs and keywords_too:
            args, kwargs = arranged(function, args, kwargs)
            places = [place_of(function, name) for name in kwargs]
        given, places = [*args, *kwargs.values()], [*range(len(args)), *places]
        if args and first_is_self(function) and type(args[0]) is not Static and not is_data(args[0]):
            given[0] = Static(args[0], by_identity=True)
        given = [Static(x) if is_static(x) else x for x in given]
        chosen = differentiated(argnums, places, given)
        self.is_one = isinstance(argnums, int) or (argnums is None and len(chosen) == 1)
        numbers = []
        self.structures = [flatten(given[k], numbers, _as_input) for k in chosen]
        self.are_numbers = all(map(is_number, numbers)) and not recordings.is_calling()
        if len(chosen) < len(given):
            others = (x for k, x in enumerate(given) if k not in chosen)
            self.are_numbers = self.are_numbers and not any(map(_holds_values, others))
        # A given Value gets a node of its own: the derivative must not go on to the Values that it was computed from.
        self.xs = [x * 1.0 if is_value(x) else Value(x) for x in numbers]
        items = iter(self.xs)
        for k, structure in zip(chosen, self.structures):
            given[k] = rebuild(structure, items)
        out = _inside(function, given[: len(args)], dict(zip(kwargs, given[len(args) :])), self.xs)
        self.aux = None
        if has_aux:
            out, self.aux = pair_of(out)
        self.ys = []
        self.structure = flatten(out, self.ys, _as_output)

    def one_output(self, name):
        if self.structure is not None:
            raise TypeError(f"{name} needs a function that returns one Value, not a list of them: use jacobian")
        return self.ys[0]

    def with_aux(self, result, has_aux):
        """Return `result`, or, if the function has one, the pair of it and `aux`, with numbers for Values."""
        return (result, each_number(self.aux) if self.are_numbers else self.aux) if has_aux else result

    def gradient(self, y):
        """Return the derivatives of `y` by all `xs`, as the caller gets them: floats, or Values."""
        return self.pull([y], [1.0])

    def gradient_values(self, y):
        """Return the derivatives of `y` by all `xs`, to be differentiated again: Values, or floats where constant."""
        return pull([y], [1.0], self.xs)

    def pull(self, ys, seeds):
        if self.are_numbers:
            return adjoints(ys, seeds, self.xs)
        return [as_value(g) for g in pull(ys, seeds, self.xs)]

    def result(self, y):
        """Return a Value or number as the caller gets it: a float, or a Value."""
        if self.are_numbers:
            return y.data if is_value(y) else y
        return as_value(y)

    def outputs(self):
        return self.like_output([self.result(y) for y in self.ys])

    def like_output(self, items):
        return rebuild(self.structure, iter(items))

    def jacobian(self, items):
        """Return items, one for each of `ys`, shaped like the result."""
        return rebuild(as_bare(self.structure), iter(items))

    def like_arguments(self, items):
        """Return items, one for each of `xs`, shaped like the argument; or, if there are several, a list of these."""
        found = self._like_each(items)
        return found[0] if self.is_one else found

    def _like_each(self, items):
        items = iter(items)
        return [rebuild(as_derivative(structure), items) for structure in self.structures]

    def like(self, xs, items, argnums):
        """Return items, one for each of `self.xs`, in the structure of `xs`, the arguments as the caller gave them."""
        found = self._like_each(items)
        return tuple(found) if type(xs) is tuple and not isinstance(argnums, int) else found[0]

    def same_shape(self, given, structures, message):
        """Return the items of `given`, which must have this structure. One Value in it makes all results Values."""
        items = []
        found = flatten(given, items, _as_input)
        if plain(as_derivative(found)) != plain(as_derivative(structures)):
            raise ValueError(message)
        self.are_numbers = self.are_numbers and all(map(is_number, items))
        return items


@or_lists
def _as_input(x):
    if is_value(x):
        return x
    if not is_number(x):
        x = x.value if type(x) is Static else x
        raise TypeError(
            f"arguments must be numbers or Values, or lists of them, not {describe(x)}: name the arguments to "
            "differentiate with argnums=, and the others are handed on as they are"
        )
    return float(x)


@or_lists
def _as_output(y):
    if not (is_value(y) or is_number(y)):
        raise TypeError(f"the function must return Values or numbers, or lists of them, not {describe(y)}")
    return as_value(y)


def pair_of(out):
    """Return what a function with has_aux has returned, after a check: (its result, what is besides)."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"with has_aux=True the function must return a pair, (result, aux), not {describe(out)}")
    return out


def each_number(x):
    """Return what a function has returned besides its result, with the number of each Value in it."""
    if is_value(x):
        return x._read()
    if str(getattr(x, "dtype", "")) == "object" and hasattr(x, "tolist"):
        with forks.importing:
            import numpy

        return numpy.array(each_number(x.tolist()))
    if not is_static(x) and (record := record_of(x)) is not None:
        return record.make([each_number(part) for part in record.parts])
    if isinstance(x, (set, frozenset)):
        return type(x)([each_number(part) for part in x])
    return each(each_number, x) if type(x) in (list, tuple) else x


def _holds_values(x):
    """True if there is a Value in `x`, in lists and records."""
    if is_value(x) or is_static(x) or type(x) is Static:
        return is_value(x)
    record = record_of(x)
    parts = record.parts if record is not None else x if isinstance(x, (list, tuple)) else ()
    return any(map(_holds_values, parts))


def _inside(function, args, kwargs, xs):
    return recordings.call(hand_on, (function, args, kwargs), xs, cells.nested)
