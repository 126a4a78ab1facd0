"""The parts of a structure that are no lists: a `Record`, of parts with names, and a `Static`, which is no number.

A dict, a namedtuple and a dataclass are records; `record_of` reads them. A bool, None, a str, a function, a class, an
Enum and a Module are static: `is_static` says so. pygrad.common.nested visits structures with both.
"""

import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from functools import cached_property

from pygrad.common.keys import Same, attributes_of, holds_same, key_of

# --- records ----------------------------------------------------------------------------------------------------------


class Record:
    """Parts with names. In a structure the parts are structures; `record_of` returns one with what an object holds.

    kind   (function that makes the object, its class, ((name, Static), ...) of the attributes that it has besides);
           None in place of a Static: this one follows the parts
    names  the keys of a dict, the names of fields
    """

    __slots__ = ("kind", "names", "parts")

    def __init__(self, kind, names, parts):
        self.kind, self.names, self.parts = kind, tuple(names), tuple(parts)

    def make(self, parts):
        """Return an object of this kind that holds `parts`, one for each name. TypeError if its class cannot do so."""
        maker, kind, attributes = self.kind
        try:
            return maker(kind, attributes, self.names, parts)
        except Exception as error:  # of the class's own code, or _Changed
            if maker in _PLAINLY and not attributes:
                return _PLAINLY[maker](kind, (), self.names, parts)
            raise _not_made(kind, error) from error

    def make_batch(self, parts, samples, as_array):
        """Return an object of `parts`, each with an item for each sample; the other attributes as `make` makes them.

        What follows the parts has an item for each sample too. `samples()` returns an object of this kind for each.
        """
        maker, kind, attributes = self.kind
        following = [name for name, static in attributes if static is None] if maker in _PLAINLY else ()
        if not following:
            return self.make(parts)
        kept = [pair for pair in attributes if pair[1] is not None]
        out = _with(_PLAINLY[maker](kind, (), self.names, parts), kept)
        found = [attributes_of(sample) for sample in samples()]
        for name in following:
            if all(name in sample for sample in found):
                _set(out, name, _column([sample[name] for sample in found], as_array))
        return out

    def with_parts(self, parts):
        return Record(self.kind, self.names, parts)

    def as_bare(self, parts):
        """Return the Record of what stands for the parts: an object made without its __init__, and without attributes.

        Its class's own code may refuse what is none of its parts.
        """
        return Record(self._bare_kind(), self.names, parts)

    def as_derivative(self, parts):
        """Return the Record of derivatives by the parts: a dict leaves static ones out, any other has None there.

        It is made as `as_bare` says.
        """
        if self._is_dict():
            pairs = [(name, part) for name, part in zip(self.names, parts) if type(part) is not Static]
            return Record(self._bare_kind(), [name for name, _ in pairs], [part for _, part in pairs])
        return self.as_bare([Static(None) if type(part) is Static else part for part in parts])

    def _bare_kind(self):
        maker, kind, attributes = self.kind
        if not self._is_dict():
            return _make_namedtuple if maker is _make_namedtuple else _make_bare, kind, ()
        if attributes and maker is not None:
            return _make_dict, kind, tuple([pair for pair in attributes if pair[0] in _OF_EVERY_DICT])
        return self.kind

    def _is_dict(self):
        return issubclass(self.kind[1], dict)

    def name_of(self, i, name):
        """Return the name of part i, where the object's is `name`: "x['rate']" or "x.rate"."""
        return f"{name}[{self.names[i]!r}]" if self._is_dict() else f"{name}.{self.names[i]}"

    def _key(self):
        names = self.names if _TEXT.issuperset(map(type, self.names)) else key_of(self.names)  # 1 is not True
        return self.kind, names, self.parts

    def __eq__(self, other):
        return type(other) is Record and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        parts = ", ".join(f"{name}={part}" for name, part in zip(self.names, self.parts))
        return f"{self.kind[1].__name__}({parts})"


def record_of(x):
    """Return the Record of a dict, namedtuple or dataclass, None for any other object.

    A dataclass, and a dict whose class has a __setitem__, are made by their class, so that what it computes from the
    parts follows them; if that gives the parts of x back. Else they are made part by part. Attributes that the class
    does not make so are kept as they are. Raises TypeError for an object that cannot be made in either way.
    """
    kind = type(x)
    if kind is dict:
        return Record((_make_dict, dict, ()), x, x.values())
    if issubclass(kind, dict):
        record = Record((_make_dict, kind, ()), x, x.values())
        return _with_attributes(x, record, _make_dict if _has_plain_items(kind) else _make_dict_by_class)
    if issubclass(kind, tuple):
        if not (hasattr(kind, "_fields") and hasattr(kind, "_make")):
            return None
        record = Record((_make_namedtuple, kind, ()), kind._fields, x)
        return _with_attributes(x, record, _make_namedtuple) if kind.__dictoffset__ else record
    if hasattr(kind, "__dataclass_fields__"):
        names = [field.name for field in sys.modules["dataclasses"].fields(x) if field.init]
        try:
            record = Record((_make_by_field, kind, ()), names, [getattr(x, name) for name in names])
        except AttributeError as error:
            raise _not_made(kind, error) from error
        return _with_attributes(x, record, _make_dataclass)
    if isinstance(x, Mapping):
        return dict_record(x, x.values())
    return None


def dict_record(names, parts):
    """Return the Record of a dict with these keys."""
    return Record((_make_dict, dict, ()), names, parts)


_TEXT = {str}
_OF_EVERY_DICT = ("__dict__", "default_factory")  # attributes that the derivative by a dict has too


def _with_attributes(x, record, by_class):
    """Return the Record of x that makes its attributes too: by the function `by_class`, if this gives what x holds."""
    _, kind, _ = record.kind
    if record._is_dict() and getattr(x, "__dict__", None) is x:
        own = {"__dict__": x}
    else:
        own = {n: value for n, value in attributes_of(x).items() if record._is_dict() or n not in record.names}
    if not own:  # as mostly
        return Record((by_class, kind, ()), record.names, record.parts)
    try:
        new = by_class(kind, (), record.names, record.parts)
        made = attributes_of(new)
        attributes = [(n, None if _follows(n, own[n], made, x, new) else Static(own[n], is_kept=True)) for n in own]
        if any(static is not None for _, static in attributes) and _has_init_var(kind):
            raise _Changed("what it computes from an InitVar is not that of the default")
        return Record((by_class, kind, tuple(attributes)), record.names, record.parts)
    except Exception as error:  # of the class's own code, or _Changed
        raise _not_made(kind, error) from error


def _follows(name, value, made, x, new):
    """True if an attribute of x follows its parts: `new`, which has the attributes `made`, has it as x has it.

    Of a dict also one that is the dict itself, or its item of this name.
    """
    if isinstance(x, dict) and (value is x or (name in x and x[name] is value)):
        return True
    if name not in made and type(getattr(type(x), name, None)) is cached_property:
        made[name] = getattr(new, name)
    return name in made and holds_same(value, made[name], (x, new))


def _has_init_var(kind):
    """True for a dataclass whose __init__ takes what no field keeps."""
    fields = getattr(kind, "__dataclass_fields__", {}).values()
    return any(field._field_type is sys.modules["dataclasses"]._FIELD_INITVAR for field in fields)


class _Changed(Exception):
    """The class of a record does not keep the parts that it is made of as they are."""


def _not_made(kind, error):
    parts = "items" if issubclass(kind, dict) else "fields"
    return TypeError(
        f"{kind.__name__} cannot be made of its {parts} ({error}): pass a dict of them, with all else that it holds"
    )


def _are_held(parts, found):
    """True if an object that was made of `parts` has these very ones, in lists or arrays of any make."""
    return all(map(_is_held, parts, found))


def _is_held(part, found):
    if part is found:
        return True
    if hasattr(type(part), "_prev"):
        return False
    if type(part) is not type(found):  # a list of Values may be in an array now
        part, found = [x.tolist() if hasattr(type(x), "tolist") else x for x in (part, found)]
    if isinstance(part, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(part) == len(found) and _are_held(part, found)
    return holds_same(part, found)


def _apart(part):
    """Return a part in lists of its own, for a class may change a list or an array that it gets."""
    if type(part) is list:
        return [_apart(item) for item in part]
    can_copy = type(part) is dict or (hasattr(type(part), "__array__") and hasattr(type(part), "copy"))
    return part.copy() if can_copy else part


# --- how records are made: each function takes the class, the attributes, the names and the parts ---------------------


def _make_dict(kind, attributes, names, parts):
    base = _base_of(kind)
    out = base.__new__(kind)
    for name, part in zip(names, parts):
        base.__setitem__(out, name, part)
    return _with(out, attributes)


def _make_dict_by_class(kind, attributes, names, parts):
    out = _base_of(kind).__new__(kind)
    for name, part in zip(names, parts):
        out[name] = part
    if [*out] != [*names] or not _are_held(parts, out.values()):
        raise _Changed("its __setitem__ changes them")
    return _with(out, attributes)


def _base_of(kind):
    return OrderedDict if issubclass(kind, OrderedDict) else dict


def _has_plain_items(kind):
    return kind.__setitem__ is _base_of(kind).__setitem__


def _make_namedtuple(kind, attributes, names, parts):
    return _with(kind._make(parts), attributes)


def _make_dataclass(kind, attributes, names, parts):
    out = kind(**dict(zip(names, map(_apart, parts))))
    if not _are_held(parts, [getattr(out, name) for name in names]):
        raise _Changed("its __init__ or __post_init__ changes them")
    return _with(out, attributes)


_IS_OF_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE


def _make_by_field(kind, attributes, names, parts):
    out = next(base for base in kind.__mro__ if not base.__flags__ & _IS_OF_PYTHON).__new__(kind)
    for name, part in zip(names, parts):
        object.__setattr__(out, name, part)
    return out


def _make_bare(kind, attributes, names, parts):
    """A dataclass with None in the fields that have no name here."""
    fields = dict.fromkeys(field.name for field in sys.modules["dataclasses"].fields(kind))
    return _make_by_field(kind, (), *zip(*{**fields, **dict(zip(names, parts))}.items()))


def _with(out, attributes):
    """Return the object with these attributes too; one with None in place of a Static follows the parts."""
    for name, static in attributes:
        if static is not None:
            _set(out, name, static.value)
        elif name == "__dict__":
            out.__dict__ = out
        elif isinstance(out, dict) and name not in vars(out):
            vars(out)[name] = out[name]
    return out


def _column(values, as_array):
    """Return what the samples have in an attribute: in an array, if numbers are wanted so."""
    return sys.modules["numpy"].array(values) if as_array and set(map(type, values)) == {float} else values


def _set(x, name, value):
    member = getattr(type(x), name, None)
    if type(member) is types.MemberDescriptorType:
        member.__set__(x, value)
    else:
        vars(x)[name] = value


_PLAINLY = {_make_dict_by_class: _make_dict, _make_dataclass: _make_by_field}


# --- static parts -----------------------------------------------------------------------------------------------------


class Static:
    """What is handed on as it is. Two are equal if their values are: see pygrad.common.keys.

    An object that counts by its identity is not kept alive by a Static, if it allows weak references; unless is_kept.
    """

    __slots__ = ("_held", "_key", "is_weak")

    def __init__(self, value, by_identity=False, is_kept=False):
        self._key = Same(value) if by_identity else key_of(value)
        self.is_weak = not is_kept and type(self._key) is Same and type(self._key.reference) is weakref.ref
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
        return Static, (self.value, type(self._key) is Same, not self.is_weak)


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
