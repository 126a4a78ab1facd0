"""The arguments of one call of a compiled function: which are numbers, which are static, and how they are shaped.

Each argument is a tree. A leaf is an `Argument`: a number, or samples; a `Static` is handed to the function as it is; a
`Record` (a dict, namedtuple or dataclass) has trees for parts, so each of its leaves is read as an argument of its own.
The *key* of a call has the structure of one sample of each argument. Calls of one key share a recording.
"""

import copy
from array import array

from pygrad.common.nested import MOST_DIMENSIONS, build_lists, check_level, flatten
from pygrad.common.numbers import shortened, shown
from pygrad.common.parts import Record, Static, is_static, record_of
from pygrad.common.signatures import first_is_self, has_parameter, is_data, place_of

_NUMBERS = {float, int, list, tuple, array}  # types of arguments that need no closer look; NumPy's array is added


def _is_array(x):
    """True for an array of NumPy, whose type is known from now on."""
    kind = type(x)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        _NUMBERS.add(kind)
        return True
    return False


STATIC, SELF = object(), object()  # besides True and False: how an argument is read


class Reading:
    """How the arguments of a function are read: which are static, and which hold samples."""

    def __init__(self, function, batched=True, static=()):
        if not isinstance(batched, bool) and not isinstance(batched, (tuple, list)):
            raise TypeError(f"batched must be True, False, or a tuple of them, one an argument, not {shown(batched)}")
        self.batched, self.static = batched, _names(static, function)
        self._has_self = first_is_self(function)
        self._static_places = {place_of(function, name) for name in self.static}
        self.is_first_batched = batched if isinstance(batched, bool) else all(batched[:1])
        self.is_simple = isinstance(batched, bool) and not self._has_self and not self.static

    def place(self, i):
        """Return how the argument at place i is read: SELF, STATIC, True (it may hold samples) or False."""
        if i == 0 and self._has_self:
            return SELF
        if i in self._static_places:
            return STATIC
        if isinstance(self.batched, bool):
            return self.batched
        if i >= len(self.batched):
            raise TypeError(f"batched says it of {len(self.batched)} arguments, and more were given")
        return self.batched[i]

    def keyword(self, name, function):
        """Return how the argument that is given by keyword is read."""
        if name in self.static:
            return STATIC
        place = None if isinstance(self.batched, bool) else place_of(function, name)
        return self.batched is not False if place is None else self.place(place)


def _names(static, function):
    """Return the names of static parameters in a tuple, after a check."""
    names = (static,) if isinstance(static, str) else static
    if not isinstance(names, (tuple, list, set, frozenset)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"static must be names of parameters, such as ('n',), not {shown(static)}")
    if unknown := sorted(name for name in set(names) if not has_parameter(function, name)):
        raise ValueError(f"static names parameters that the function does not have: {', '.join(unknown)}")
    return tuple(names)


class Call:
    """The arguments of a call.

    trees      one for each argument: first those by position, then those by keyword
    keywords   the names of those by keyword
    arguments  all leaves, in a list of `Argument`s
    samples    how many samples there are; None if all arguments are shared
    key        of the recording: the structure of one sample of each argument; the last one is a Record of the keywords
    """

    def __init__(self, args, kwargs, read, reading, function=None):
        """`read` is Argument, or another type of leaves; `reading` is the Reading of the function."""
        self._given = args, kwargs  # a Static does not keep its object alive, and the call must
        if not kwargs and reading.is_simple and _NUMBERS.issuperset(map(type, args)):  # as mostly: all are leaves
            self.keywords, self._read = (), read
            self.trees = self.arguments = [read(x, f"argument {i + 1}", reading.batched) for i, x in enumerate(args)]
            self.key = tuple([a.structure for a in self.trees])
            self.samples = _common_samples(self.arguments)
            return
        self.keywords, self.arguments, self._read = tuple(kwargs), [], read
        self._reading = reading
        self.trees = [self._tree(x, f"argument {i + 1}", reading.place(i)) for i, x in enumerate(args)]
        for name, x in kwargs.items():
            self.trees.append(self._tree(x, f"argument {name!r}", reading.keyword(name, function)))
        self.samples = _common_samples(self.arguments)
        self.key = self._key()

    @classmethod
    def of_trees(cls, trees, keywords):
        """Return the Call with these trees; the last ones are those of the `keywords`."""
        self = cls.__new__(cls)
        self.trees, self.keywords, self.arguments = trees, keywords, leaves_of_all(trees)
        self._given = [tree.value for tree in trees if type(tree) is Static]  # kept alive, as in __init__
        self.samples, self.key = _common_samples(self.arguments), self._key()
        return self

    def _tree(self, given, name, how, level=0):
        """Return the tree of an argument; `how` is STATIC, SELF, or True or False: does it hold samples?"""
        if how is STATIC or (how is SELF and not is_data(given)):
            return Static(given, by_identity=how is SELF)
        how = self._reading.is_first_batched if how is SELF else how
        if type(given) not in _NUMBERS and not _is_array(given):
            if is_static(given):
                return Static(given)
            if (record := record_of(given)) is not None:
                check_level(level, MOST_DIMENSIONS)
                parts = [self._tree(x, record.name_of(i, name), how, level + 1) for i, x in enumerate(record.parts)]
                return record.with_parts(parts)
        self.arguments.append(self._read(given, name, how))
        return self.arguments[-1]

    def hand_on_to(self, function, args, kwargs):
        """Return function(*args, **kwargs), the call's own arguments; a transform gets the static ones as `Static`s."""
        if len(args) + len(kwargs) == len(self.trees):
            args, kwargs = self._given
            given = [tree if type(tree) is Static else x for tree, x in zip(self.trees, (*args, *kwargs.values()))]
            args, kwargs = given[: len(args)], dict(zip(kwargs, given[len(args) :]))
        return hand_on(function, args, kwargs)

    def with_more(self, other):
        """Return a Call with the arguments of the other one behind those of this one that are given by position."""
        both = copy.copy(self)
        by_place = len(self.trees) - len(self.keywords)
        both.trees = [*self.trees[:by_place], *other.trees, *self.trees[by_place:]]
        both.arguments = leaves_of_all(both.trees)
        both.samples, both.key = _common_samples(both.arguments), both._key()
        return both

    def _key(self):
        structures = [structure_of(tree) for tree in self.trees]
        if not self.keywords:
            return tuple(structures)
        places = len(structures) - len(self.keywords)
        return (*structures[:places], keywords_record(self.keywords, structures[places:]))

    def select(self, samples):
        """Return (args, kwargs) with the samples of these numbers, in a form that may be given again."""
        given = [_each_leaf(tree, lambda leaf: leaf.select(samples)) for tree in self.trees]
        places = len(given) - len(self.keywords)
        return given[:places], dict(zip(self.keywords, given[places:]))

    def numbers(self):
        """Return the numbers of the first sample in a list, one for each input."""
        return [column[0] for argument in self.arguments for column, _ in argument.columns]

    def numeric(self):
        """Return the trees of the arguments that are not static, in a list."""
        return [tree for tree in self.trees if type(tree) is not Static]


_KEYWORDS = (None, dict, "keywords")  # the kind of the Record at the end of a key


def keywords_record(names, structures):
    return Record(_KEYWORDS, names, structures)


def is_keywords(structure):
    return type(structure) is Record and structure.kind == _KEYWORDS


def apply(function, key, items):
    """Call the function with arguments of these structures, which hold the items of an iterator; return its result.

    A transform (it has `takes_static`) gets the static arguments as `Static`s, since it must know them.
    """
    by_place, keywords = split(key)
    args = [_argument(structure, items) for structure in by_place]
    return hand_on(function, args, {name: _argument(part, items) for name, part in keywords.items()})


def hand_on(function, args, kwargs):
    """Return function(*args, **kwargs); static arguments may be `Static`s, and a transform gets them so."""
    if not getattr(function, "takes_static", False):
        args = [x.value if type(x) is Static else x for x in args]
        if kwargs:
            kwargs = {name: x.value if type(x) is Static else x for name, x in kwargs.items()}
    return function(*args, **kwargs)


def _argument(structure, items):
    return structure if type(structure) is Static else build_lists(structure, items)


def inputs_of(args, kwargs):
    """Return the items in the arguments that `apply` has passed to a function that takes Statics, in a list."""
    items = []
    for x in (*args, *kwargs.values()):
        if type(x) is not Static:
            flatten(x, items, _record_or_item)
    return items


def _record_or_item(x):
    record = record_of(x)
    return x if record is None else record


def split(key):
    """Return the structures of a key: (of the arguments by position, {keyword: structure})."""
    if key and is_keywords(key[-1]):
        return key[:-1], dict(zip(key[-1].names, key[-1].parts))
    return key, {}


def structure_of(tree):
    """Return the structure of one sample of a tree."""
    if type(tree) is Record:
        return tree.with_parts(map(structure_of, tree.parts))
    return tree if type(tree) is Static else tree.structure


def with_leaves(tree, f):
    """Return the tree with f(leaf) in place of each leaf."""
    if type(tree) is Record:
        return tree.with_parts([with_leaves(part, f) for part in tree.parts])
    return tree if type(tree) is Static else f(tree)


def _each_leaf(tree, f):
    if type(tree) is Record:
        return tree.make([_each_leaf(part, f) for part in tree.parts])
    return tree.value if type(tree) is Static else f(tree)


def leaves_of_all(trees):
    """Return all leaves of these trees in a list."""
    leaves = []
    for tree in trees:
        if type(tree) is Record:
            leaves += leaves_of_all(tree.parts)
        elif type(tree) is not Static:
            leaves.append(tree)
    return leaves


def like_tree(tree, found):
    """Return what is found for the leaves of a tree, {id(leaf): it}, shaped like the argument; without static parts."""
    if type(tree) is not Record:
        return None if type(tree) is Static else found[id(tree)]
    shape = tree.as_derivative(tree.parts)
    return shape.make([like_tree(part, found) for part in shape.parts])


def _common_samples(arguments):
    sizes = {a.samples for a in arguments if a.samples is not None}
    if len(sizes) > 1:
        named = ", ".join(f"{a.name} has {a.samples}" for a in arguments if a.samples is not None)
        raise ValueError(f"all arguments need as many samples: {shortened(named)}")
    return sizes.pop() if sizes else None
