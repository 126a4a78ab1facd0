"""The parts of a structure that are no lists: a `Record`, of parts with names, and a `Static`, which is no number.

A dict, a namedtuple and a dataclass are records; `record_of` reads them. A bool, None, a str, a function, a class, an
Enum and a Module are static: `is_static` says so. pygrad.common.nested visits structures with both.
"""

import sys
import types
import weakref
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial

# --- records ----------------------------------------------------------------------------------------------------------


class Record:
    """Parts with names. In a structure the parts are structures; `record_of` returns one with what an object holds.

    kind   (function that makes the object, its class, what the function needs besides)
    names  the keys of a dict, the names of fields
    """

    __slots__ = ("kind", "names", "parts")

    def __init__(self, kind, names, parts):
        self.kind, self.names, self.parts = kind, tuple(names), tuple(parts)

    def make(self, parts):
        """Return an object of this kind that holds `parts`, one for each name."""
        maker, kind, extra = self.kind
        return maker(kind, extra, self.names, parts)

    def with_parts(self, parts):
        return Record(self.kind, self.names, parts)

    def as_bare(self, parts):
        """Return the Record of what stands for the parts: a dataclass is then made without its __init__."""
        maker, kind, extra = self.kind
        return Record((_make_bare if maker is _make_dataclass else maker, kind, extra), self.names, parts)

    def as_derivative(self, parts):
        """Return the Record of derivatives by the parts: a dict leaves static ones out, any other has None there.

        A dataclass is then made without its __init__, which may refuse numbers that are no arguments of it.
        """
        if self.kind[0] in (_make_dict, _make_defaultdict):
            pairs = [(name, part) for name, part in zip(self.names, parts) if type(part) is not Static]
            return Record(self.kind, [name for name, _ in pairs], [part for _, part in pairs])
        return self.as_bare([Static(None) if type(part) is Static else part for part in parts])

    def name_of(self, i, name):
        """Return the name of part i, where the object's is `name`: "x['rate']" or "x.rate"."""
        is_dict = self.kind[0] in (_make_dict, _make_defaultdict)
        return f"{name}[{self.names[i]!r}]" if is_dict else f"{name}.{self.names[i]}"

    def _key(self):
        return self.kind, self.names, self.parts

    def __eq__(self, other):
        return type(other) is Record and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        parts = ", ".join(f"{name}={part}" for name, part in zip(self.names, self.parts))
        return f"{self.kind[1].__name__}({parts})"


def record_of(x):
    """Return the Record of a dict, namedtuple or dataclass, None for any other object."""
    kind = type(x)
    if issubclass(kind, dict):
        if issubclass(kind, defaultdict):
            return Record((_make_defaultdict, kind, x.default_factory), x, x.values())
        return Record((_make_dict, kind, None), x, x.values())
    if issubclass(kind, tuple):
        is_named = hasattr(kind, "_fields") and hasattr(kind, "_make")
        return Record((_make_namedtuple, kind, None), kind._fields, x) if is_named else None
    if hasattr(kind, "__dataclass_fields__"):
        names = [field.name for field in sys.modules["dataclasses"].fields(x) if field.init]
        return Record((_make_dataclass, kind, None), names, [getattr(x, name) for name in names])
    if isinstance(x, Mapping):
        return dict_record(x, x.values())
    return None


def dict_record(names, parts):
    """Return the Record of a dict with these keys."""
    return Record((_make_dict, dict, None), names, parts)


def _make_dict(kind, _, names, parts):
    out = kind.__new__(kind)
    out.update(zip(names, parts))
    return out


def _make_defaultdict(kind, factory, names, parts):
    out = _make_dict(kind, None, names, parts)
    out.default_factory = factory
    return out


def _make_namedtuple(kind, _, names, parts):
    return kind._make(parts)


def _make_dataclass(kind, _, names, parts):
    """The class's own __init__ makes it, so that what it computes from its fields follows them."""
    try:
        return kind(**dict(zip(names, parts)))
    except TypeError as error:
        raise TypeError(
            f"the dataclass {kind.__name__} cannot be made of its fields ({error}): pass a dict of them"
        ) from error


def _make_bare(kind, _, names, parts):
    out = object.__new__(kind)
    fields = dict.fromkeys(field.name for field in sys.modules["dataclasses"].fields(kind))
    for name, part in {**fields, **dict(zip(names, parts))}.items():
        object.__setattr__(out, name, part)
    return out


# --- static parts -----------------------------------------------------------------------------------------------------


class Static:
    """What is handed on as it is. Two are equal if their values are: see `_key`.

    An object that counts by its identity is not kept alive by a Static, if it allows weak references; unless is_kept.
    """

    __slots__ = ("_held", "_key", "is_weak")

    def __init__(self, value, by_identity=False, is_kept=False):
        self._key = _Same(value) if by_identity else _key(value)
        self.is_weak = not is_kept and type(self._key) is _Same and type(self._key.reference) is weakref.ref
        self._held = self._key.reference if self.is_weak else value

    @property
    def value(self):
        return self._held() if self.is_weak else self._held

    def __eq__(self, other):
        return type(other) is Static and self._key == other._key

    def __hash__(self):
        return hash(self._key)

    def __repr__(self):
        return repr(self.value)

    def __reduce__(self):
        return Static, (self.value, type(self._key) is _Same)


_NEVER_STATIC = {float, int, list, tuple}


def is_static(x):
    """True for an argument that is no number: a bool, None, a str, a function, a class, an Enum member or a Module."""
    if type(x) in _NEVER_STATIC:
        return False
    if x is None or isinstance(x, (bool, str, Enum, type, types.FunctionType)) or is_module(x):
        return True
    return callable(x) and not any(hasattr(x, name) for name in ("__len__", "__dataclass_fields__", "_prev"))


def is_module(x):
    return getattr(type(x), "_is_module", False)


class _Same:
    """A key that is equal to that of the same object only."""

    __slots__ = ("reference", "_id")

    def __init__(self, x):
        self._id = id(x)
        try:
            self.reference = weakref.ref(x)
        except TypeError:
            self.reference = lambda: x

    def __eq__(self, other):
        x = self.reference()
        return type(other) is _Same and x is not None and x is other.reference()

    def __hash__(self):
        return self._id


_ATOMS = (bool, type(None), str, int, bytes, complex, range, slice)


def _key(x):
    """Return what stands for `x` in the key of a recording: equal for equal values of a type, or for one object alone.

    1, 1.0 and True are three keys, and so are 0.0 and -0.0. Lists, sets, dicts and arrays count by what they hold now.
    """
    kind = type(x)
    if kind in _ATOMS:
        return kind, x
    if kind is float:
        return kind, x.hex()
    if kind in (Decimal, Fraction):
        return kind, str(x)
    if isinstance(x, (tuple, list)):
        return kind, tuple(map(_key, x))
    if isinstance(x, (set, frozenset)):
        return kind, frozenset(map(_key, x))
    if isinstance(x, dict):
        return kind, tuple([(_key(name), _key(part)) for name, part in x.items()])
    if kind is types.MethodType:
        return kind, _key(x.__func__), _Same(x.__self__)
    if kind is partial:
        return kind, _key(x.func), _key(x.args), _key(x.keywords)
    if kind.__module__ == "numpy" and hasattr(x, "tobytes") and not x.dtype.hasobject:
        return kind, x.dtype.str, x.shape, x.tobytes()
    return (kind, x) if _counts_by_value(x) else _Same(x)


def _counts_by_value(x):
    """True for an object whose class says by its own == and hash which objects are equal."""
    kind = type(x)
    has_own = kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
    return has_own and not is_static(x)
