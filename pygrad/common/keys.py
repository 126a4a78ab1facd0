"""What an object holds, as a key: equal for equal objects of a type, or for one object alone. See `key_of`.

Two values that a program can tell apart have two keys: 1, 1.0 and True, 0.0 and -0.0, two time zones.
"""

import copyreg
import sys
import types
import weakref
from array import array
from collections import defaultdict, deque
from decimal import Decimal
from enum import Enum
from functools import partial

MOST_LEVELS = 100  # what lies deeper in an object counts by identity


class Same:
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
        return type(other) is Same and x is not None and x is other.reference()

    def __hash__(self):
        return self._id


def key_of(x):
    """Return what stands for `x` in the key of a recording.

    Numbers, text, dates, lists, sets, dicts, arrays and objects with an `==` of their own count by what they hold now,
    and so do their attributes. A function, a class, a Value, a Module, and an object with the `==` of all objects count
    by identity.
    """
    return _key(x, (), False)


def holds_same(a, b, within=()):
    """True if `a` and `b` are of one type and hold the same. Functions count by their code, and Values by their data,
    but for leaves: each is a parameter of its own.

    `within` are two objects whose attributes they are: what leads back to these counts as the same.
    """
    return a is b or (type(a) is type(b) and _key(a, within[:1], True) == _key(b, within[1:], True))


def attributes_of(x):
    """Return {name: value} of an object's own attributes, those in slots too."""
    found = dict(getattr(x, "__dict__", ()))
    for kind in type(x).__mro__:
        if kind.__dict__.get("__slots__"):
            slots = [member for member in kind.__dict__.values() if type(member) is types.MemberDescriptorType]
            values = {slot.__name__: _in_slot(slot, x) for slot in slots}
            found |= {name: value for name, value in values.items() if value is not _UNSET}
    if isinstance(x, defaultdict):
        found["default_factory"] = x.default_factory
    return found


_UNSET = object()


def _in_slot(slot, x):
    try:
        return slot.__get__(x)
    except AttributeError:
        return _UNSET


# --- how each kind of object is read ----------------------------------------------------------------------------------

_ATOMS = {bool, type(None), str, int, bytes}
_BY_IDENTITY = (type, types.ModuleType, Enum)
_LISTS = (tuple, list, deque)
_VIEWS = tuple(map(type, ({}.keys(), {}.values(), {}.items())))


def _key(x, inside, is_deep):
    """Return the key of `x`, which lies in the objects of the tuple `inside`; `is_deep`: as holds_same() compares."""
    kind = type(x)
    if kind in _ATOMS:
        return kind, x
    if kind is float:
        return kind, x.hex()
    if (kind is list or kind is tuple) and _ATOMS.issuperset(map(type, x)):  # as mostly
        return kind, *zip(map(type, x), x)
    if kind is Same:
        return x
    around = [x is outer for outer in inside]
    if True in around:
        return "holds itself", around.index(True)
    if isinstance(x, _BY_IDENTITY) or getattr(kind, "_is_module", False) or len(inside) >= MOST_LEVELS:
        return Same(x)
    inside = (*inside, x)
    try:
        if isinstance(x, (set, frozenset)):
            return kind, frozenset([_key(item, inside, is_deep) for item in x]), _key(attributes_of(x), inside, is_deep)
        held = _held(x, kind, is_deep)
        return Same(x) if held is None else (kind, *[_key(part, inside, is_deep) for part in held])
    except Exception:  # of the object's own methods: a view that was released, a __reduce__ that refuses
        return Same(x)


def _held(x, kind, is_deep):
    """Return the parts that tell an object from others of its type, in a sequence; None if only its identity tells."""
    if kind is tuple or kind is list:
        return x
    if hasattr(kind, "_prev"):
        return (x._read(),) if is_deep and not x._is_leaf() else None
    if isinstance(x, dict):
        return [*x.items()] if kind is dict else ([*x.items()], attributes_of(x))
    if isinstance(x, _LISTS):
        return [*x], getattr(x, "maxlen", None), attributes_of(x)
    if isinstance(x, types.FunctionType):
        return _in_function(x) if is_deep else None
    if kind is types.MethodType:
        return x.__func__, x.__self__ if is_deep else Same(x.__self__)
    if isinstance(x, (types.BuiltinMethodType, types.MethodWrapperType)):
        return None if x.__self__ is None else (x.__qualname__, x.__self__)
    if isinstance(x, partial):
        return x.func, x.args, x.keywords, attributes_of(x)
    held = _in_number(x, kind)
    held = _in_memory(x, kind) if held is None else held
    if held is None and (is_deep or kind.__eq__ is not object.__eq__):
        return _reduced(x, kind)
    return held


def _in_function(x):
    return x.__code__, x.__defaults__, x.__kwdefaults__, [cell.cell_contents for cell in x.__closure__ or ()]


def _in_number(x, kind):
    """Return what a number, a text or a range holds; also one of a derived class. None for any other object."""
    if kind is Decimal or (kind.__name__, kind.__module__) == ("Fraction", "fractions"):  # not imported for this
        return (str(x),)
    if kind in (range, slice):
        return x.start, x.stop, x.step
    if kind.__module__ == "numpy":
        return None
    if isinstance(x, float):
        return float.hex(x), attributes_of(x)
    if isinstance(x, int):
        return int.__add__(x, 0), attributes_of(x)
    if isinstance(x, complex):
        return x.real, x.imag, attributes_of(x)
    if isinstance(x, str):
        return str.__str__(x), attributes_of(x)
    return (memoryview(x).tobytes(), attributes_of(x)) if isinstance(x, (bytes, bytearray)) else None


def _in_memory(x, kind):
    """Return what an array, a table or a view holds; None for any other object."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, (numpy.ndarray, numpy.generic)):
        if kind is not numpy.ndarray and isinstance(x, numpy.ndarray):
            return x.__reduce__(), attributes_of(x), x.tolist() if x.dtype.hasobject else None
        dtype = x.dtype.str if x.dtype.names is None else repr(x.dtype)
        return dtype, x.shape, x.tolist() if x.dtype.hasobject else x.tobytes()
    if isinstance(x, array):
        return x.typecode, x.tobytes(), attributes_of(x)
    if kind is memoryview:
        return x.format, x.shape, x.tobytes()
    if kind is types.MappingProxyType:
        return ([*x.items()],)
    if isinstance(x, _VIEWS):
        return ([*x],)
    if numpy is not None and hasattr(kind, "__array__"):  # a tensor or a table: there may be more to it than numbers
        return Same(x), numpy.asarray(x)
    return None


def _reduced(x, kind):
    """Return what pickle would write of an object; None if that is the name of a global one."""
    reduce = copyreg.dispatch_table.get(kind)
    found = reduce(x) if reduce else x.__reduce_ex__(2)
    return (
        None if isinstance(found, str) else [part if i < 3 or part is None else [*part] for i, part in enumerate(found)]
    )
