"""Records and static arguments of every make: what an object holds beside its parts, and what tells two keys apart.

A plain call of each function says what is right.
"""

import array
import collections
import dataclasses
import datetime
import enum
import functools
import gc
import math
import types
import weakref

import numpy as np
import pytest

import pygrad
from pygrad import Value

pytestmark = pytest.mark.python


def compiled(f, **options):
    return pygrad.compile(f, batched=False, **options)


def number(x):
    return x.data if isinstance(x, Value) else x


# --- dataclasses ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Doubled:
    w: float

    def __post_init__(self):
        self.w = self.w * 2.0


@dataclasses.dataclass
class Scaled:
    w: float
    scale: float = dataclasses.field(init=False, default=1.0)
    other = 1.0


@dataclasses.dataclass
class WithInitVar:
    w: float
    k: dataclasses.InitVar[float] = 2.0

    def __post_init__(self, k):
        self.v = self.w * k


@dataclasses.dataclass(frozen=True)
class Derived:
    """All that a class can compute from its fields: they follow the fields."""

    w: float
    area: float = dataclasses.field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "area", self.w * self.w)
        object.__setattr__(self, "both", [self.w, {"twice": self.w * 2.0}])
        object.__setattr__(self, "inner", types.SimpleNamespace(w=self.w))
        object.__setattr__(self, "times", lambda x: x * self.w)
        object.__setattr__(self, "method", self.plus)

    def plus(self, x):
        return self.w + x

    @functools.cached_property
    def cached(self):
        return self.w * 3.0


@dataclasses.dataclass(slots=True)
class Slotted:
    w: float
    more: float = dataclasses.field(init=False)


@dataclasses.dataclass
class Checked:
    xs: list
    w: float = -0.0

    def __post_init__(self):
        self.xs = tuple(self.xs)
        if not isinstance(self.w, float):
            raise ValueError("w must be a float")


@dataclasses.dataclass
class Longer:
    """Changes its list in place."""

    w: float
    xs: object

    def __post_init__(self):
        self.xs.append(1.0)


@dataclasses.dataclass
class Normed:
    w: float
    xs: object

    def __post_init__(self):
        self.xs = np.asarray(self.xs)
        self.total = self.xs.sum() * self.w


def with_attributes(x, **attributes):
    for name, value in attributes.items():
        setattr(x, name, value)
    return x


def looked_at(x):
    assert 6.0 == x.cached
    return x


def slotted(w, more):
    return with_attributes(Slotted(w), more=more)


# name: (function, its argument, the derivative by w)
RECORDS = {
    "a __post_init__ that changes a field": (lambda p: p.w**2, Doubled(1.0), 4.0),
    "a __post_init__ that changes a field, at 0": (lambda p: p.w * 3.0, Doubled(0.0), 3.0),
    "a field set later": (lambda p: p.w * p.scale, with_attributes(Scaled(2.0), scale=3.0), 3.0),
    "an attribute of the class set later": (lambda p: p.w * p.other, with_attributes(Scaled(2.0), other=3.0), 3.0),
    "an InitVar": (lambda p: p.v, WithInitVar(2.0), 2.0),
    "what a class computes": (
        lambda p: p.area + p.both[0] + p.both[1]["twice"] + p.inner.w + p.times(2.0) + p.method(1.0),
        Derived(2.0),
        4.0 + 1.0 + 2.0 + 1.0 + 2.0 + 1.0,
    ),
    "a cached property": (lambda p: p.cached, looked_at(Derived(2.0)), 3.0),
    "slots": (lambda p: p.w * p.more, slotted(2.0, 3.0), 3.0),
    "slots, not set": (lambda p: p.w * (p.more if hasattr(p, "more") else 5.0), Slotted(2.0), 5.0),
    "a list that grows": (lambda p: p.w * len(p.xs), Longer(2.0, [3.0]), 2.0),
    "an array": (lambda p: p.total + p.w * p.xs[0], Normed(2.0, [3.0, 4.0]), 10.0),
    "a check of the class": (lambda p: p.w * p.xs[0], Checked([2.0, 3.0], 4.0), 2.0),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_what_a_dataclass_holds(kind):
    """Compiled and in transforms the function sees it as in a plain call."""
    function, given, derivative = RECORDS[kind]
    expected = function(given)
    for _ in range(2):
        assert expected == compiled(function)(given)
    for f in (function, compiled(function)):
        assert derivative == pygrad.gradient(f)(given).w
    assert expected == function(given)


def test_what_was_set_is_part_of_the_key():
    """Another number there is another recording; without a change there is none."""
    f = compiled(lambda p: p.w * p.scale)
    p = Scaled(2.0)
    assert 2.0 == f(p)
    for scale in (3.0, -0.0, True, [4.0][0]):
        p.scale = scale
        assert str(2.0 * scale) == str(f(p)) == str(f(p))
    assert 5 == len(f._tapes)
    p.w = 7.0
    assert 28.0 == f(p)
    assert 5 == len(f._tapes)


def test_a_dataclass_that_would_lose_something_is_refused():
    """A changed field, or an InitVar that was given, with attributes that follow from them."""

    @dataclasses.dataclass
    class Both:
        w: float

        def __post_init__(self):
            self.w = self.w * 2.0
            self.v = self.w

    for given in (Both(1.0), Both(0.0), WithInitVar(2.0, 5.0)):
        for f in (compiled(lambda p: p.v), pygrad.gradient(lambda p: p.v)):
            with pytest.raises(TypeError, match="cannot be made of its fields .*: pass a dict"):
                f(given)


def test_a_list_that_its_class_changes_is_left_alone():
    """No call changes the object that it is given."""
    given = with_attributes(Longer(2.0, [3.0]), more=1.0)
    with pytest.raises(TypeError, match="Longer cannot be made of its fields .*: pass a dict"):
        compiled(lambda p: p.w * len(p.xs))(given)
    assert [3.0, 1.0] == given.xs


def test_dataclasses_as_results():
    """They are as in a plain call, of one sample and of many."""
    assert Doubled(2.0).w == compiled(lambda x: Doubled(x))(2.0).w == compiled(lambda x: [Doubled(x)])(2.0)[0].w
    f = pygrad.compile(lambda x: Derived(x), reduction="none")
    assert 9.0 == f(3.0).area
    assert ([3.0, 2.0], [9.0, 4.0]) == (f([3.0, 2.0]).w, f([3.0, 2.0]).area)
    assert [9.0, 4.0] == f(np.array([3.0, 2.0])).area.tolist()
    assert 5.0 == compiled(lambda x: with_attributes(Scaled(x), scale=5.0))(2.0).scale
    for scale in (lambda x: x * 5.0, lambda x: x, lambda x: [x]):
        with pytest.raises(TypeError, match="a Scaled with Values in its attribute 'scale'.*: return a dict"):
            compiled(lambda x, scale=scale: with_attributes(Scaled(x), scale=scale(x)))(2.0)
    assert 2.0 == pygrad.jacobian(lambda x: Doubled(x))(3.0).w


def test_a_parameter_in_an_attribute_is_that_of_the_object():
    """Also if the class makes one of its own each time; its number is read anew, and it gets the gradient."""

    @dataclasses.dataclass
    class Layer:
        x: float
        w: Value = dataclasses.field(init=False, default_factory=lambda: Value(3.0))

    for layer in (Layer(2.0), with_attributes(Layer(2.0), w=Value(3.0))):
        f = compiled(lambda p: p.x * p.w)
        assert 6.0 == f.backward(layer)
        assert 2.0 == layer.w.grad
        layer.w.data = 5.0
        assert 10.0 == f(layer)
        assert 5.0 == pygrad.gradient(f)(layer).x

    def outer(t):
        return pygrad.gradient(lambda p: p.x**2 * p.w)(with_attributes(Layer(2.0), w=t * 3.0)).x

    assert [12.0, 12.0] == [pygrad.gradient(outer)(1.0), compiled(outer)(1.0)]


def test_a_dataclass_of_a_builtin_class():
    """An exception, say."""

    @dataclasses.dataclass
    class Failure(Exception):
        w: float

    for f in (lambda p: p.w**2, compiled(lambda p: p.w**2)):
        assert 6.0 == pygrad.gradient(f)(Failure(3.0)).w


def test_a_result_keeps_what_it_holds():
    """A function that the recording made, too."""
    f = compiled(lambda x: {"f": lambda: 7.0, "y": x})
    f(1.0)
    gc.collect()
    assert 7.0 == f(2.0)["f"]()


# --- dicts and namedtuples --------------------------------------------------------------------------------------------


class Bunch(dict):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class Mirror(dict):
    """Each item is an attribute too."""

    def __init__(self, **items):
        for name, item in items.items():
            self[name] = item

    def __setitem__(self, name, item):
        super().__setitem__(name, item)
        setattr(self, name, item)


class Summed(dict):
    """Counts what it holds."""

    total = 0.0

    def __setitem__(self, name, item):
        super().__setitem__(name, item)
        self.total = self.total + item


class Doubling(dict):
    def __setitem__(self, name, item):
        super().__setitem__(name, item * 2.0)


class Needy(dict):
    scale = 1.0

    def __new__(cls, scale, **items):
        return super().__new__(cls)

    def __init__(self, scale, **items):
        super().__init__(**items)
        self.scale = scale


class Default(collections.defaultdict):
    pass


class NeedyOrdered(collections.OrderedDict):
    def __init__(self, scale, **items):
        super().__init__(**items)
        self.scale = scale


class SlottedDict(dict):
    __slots__ = ("scale",)


class Point(collections.namedtuple("Point", "w")):
    pass


def filled(kind, **items):
    out = kind()
    for name, item in items.items():
        out[name] = item
    return out


# name: (function, what makes its argument, the derivative by w)
DICTS = {
    "Counter": (lambda p: p["w"] * 2.0 + p["b"], lambda: collections.Counter(w=2, b=1), 2.0),
    "a Bunch": (lambda p: p.w * p["w"], lambda: Bunch(w=2.0), 4.0),
    "a mirror": (lambda p: p.w * p["w"], lambda: Mirror(w=2.0), 4.0),
    "what __setitem__ computes": (lambda p: p.total, lambda: filled(Summed, w=2.0, b=1.0), 1.0),
    "a __setitem__ that changes": (lambda p: p["w"] * 3.0, lambda: filled(Doubling, w=1.0), 3.0),
    "arguments of __new__ and __init__": (lambda p: p["w"] * p.scale, lambda: Needy(3.0, w=2.0), 3.0),
    "an OrderedDict": (lambda p: p["w"] * p.scale, lambda: NeedyOrdered(3.0, w=2.0), 3.0),
    "a defaultdict": (
        lambda p: p["w"] * p["new"] * p.scale,
        lambda: with_attributes(Default(lambda: 3.0, w=2.0), scale=2.0),
        6.0,
    ),
    "slots": (lambda p: p["w"] * p.scale, lambda: with_attributes(SlottedDict(w=2.0), scale=3.0), 3.0),
    "a namedtuple": (lambda p: p.w * p.scale, lambda: with_attributes(Point(2.0), scale=3.0), 3.0),
}


@pytest.mark.parametrize("kind", DICTS)
def test_what_a_dict_or_namedtuple_holds(kind):
    """Compiled and in transforms the function sees it as in a plain call."""
    function, make, derivative = DICTS[kind]
    given, expected = make(), function(make())
    assert expected == compiled(function)(given)
    for f in (function, compiled(function)):
        found = pygrad.gradient(f)(given)
        assert type(given) is type(found)
        assert derivative == (found.w if isinstance(found, tuple) else found["w"])
        assert expected == pygrad.value_and_grad(f)(given)[0]


def test_a_dict_that_cannot_be_made_is_refused():
    """A __setitem__ that needs what __init__ has set."""

    class Odd(dict):
        def __init__(self, scale):
            self.scale = scale

        def __setitem__(self, name, item):
            super().__setitem__(name, item * self.scale)

    odd = Odd(2.0)
    odd["w"] = 1.0
    with pytest.raises(TypeError, match="Odd cannot be made of its items .*: pass a dict of them"):
        compiled(lambda p: p["w"])(odd)


def test_dicts_as_results():
    """A Counter counts nothing here, and a Bunch has its attributes."""
    assert collections.Counter(a=4.0) == compiled(lambda x: collections.Counter(a=x * 2.0))(2.0)
    assert 4.0 == compiled(lambda x: Bunch(a=x * 2.0))(2.0).a
    assert [4.0, 6.0] == pygrad.compile(lambda x: Bunch(a=x * 2.0))([2.0, 3.0]).a
    assert [4.0, 6.0] == pygrad.compile(lambda x: Mirror(a=x * 2.0))([2.0, 3.0]).a


class Name(str, enum.Enum):
    A = "a"


@pytest.mark.parametrize("keys", [(1, True, 1.0), (0.0, -0.0), ("a", Name.A)], ids=str)
def test_equal_keys_of_dicts_are_told_apart(keys):
    """Each has its own recording."""

    def function(p):
        return {key: item * (-2.0 if str(key) == "-0.0" else 2.0) for key, item in p.items()}

    f = compiled(function)
    for key in keys:
        [(found, item)] = f({key: 3.0}).items()
        assert (type(key), str(key), -6.0 if str(key) == "-0.0" else 6.0) == (type(found), str(found), item)
    assert len(keys) == len(f._tapes)


# --- keys of static arguments -----------------------------------------------------------------------------------------


class List(list):
    pass


class Float(float):
    pass


class Int(int):
    pass


class Array(np.ndarray):
    pass


@dataclasses.dataclass(frozen=True)
class Frozen:
    n: object
    m: float = dataclasses.field(compare=False, default=1.0)


@dataclasses.dataclass
class Plain:
    n: object


class AllEqual:
    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        raise RuntimeError("this is never called")

    __hash__ = None


UTC, EAST = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=1))
NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=UTC)

# name: (what the function computes from a static argument, the static arguments)
APART = {
    "ranges": (lambda s: s.stop, [range(0, 3, 2), range(0, 4, 2)]),
    "slices": (lambda s: s.stop, [slice(0, 2), slice(0, 3), slice(0, 3.0)]),
    "complex numbers": (lambda s: math.copysign(1.0, s.imag), [complex(0.0, 0.0), complex(0.0, -0.0)]),
    "floats of a derived class": (lambda s: math.copysign(1.0, s), [Float(0.0), Float(-0.0), 0.0]),
    "attributes of a number": (lambda s: s.k, [with_attributes(Int(1), k=2.0), with_attributes(Int(1), k=3.0)]),
    "attributes of a list": (lambda s: s.k, [with_attributes(List(), k=2.0), with_attributes(List(), k=3.0)]),
    "attributes of a namedtuple": (lambda s: s.k, [with_attributes(Point(1), k=2.0), with_attributes(Point(1), k=3.0)]),
    "attributes of an array": (
        lambda s: s.k,
        [with_attributes(np.zeros(2).view(Array), k=k) for k in (2.0, 3.0)],
    ),
    "zeros in a dataclass": (lambda s: math.copysign(1.0, s.n), [Frozen(0.0), Frozen(-0.0)]),
    "bools in a dataclass": (lambda s: 2.0 if s.n is True else 1.0, [Frozen(1), Frozen(True), Frozen(1.0)]),
    "fields that are not compared": (lambda s: s.m, [Frozen(1, 2.0), Frozen(1, 3.0)]),
    "time zones": (lambda s: s.hour, [NOON, NOON.astimezone(EAST)]),
    "factories": (lambda s: s["q"], [collections.defaultdict(lambda: 1.0), collections.defaultdict(lambda: 2.0)]),
    "lengths of a deque": (lambda s: s.maxlen, [collections.deque([1], 2), collections.deque([1], 3)]),
    "an == of its own": (lambda s: s.n, [AllEqual(1), AllEqual(2)]),
    "names of fields": (lambda s: s["b"][0], [np.array([(1, 2)], [(a, "i4"), (b, "i4")]) for a, b in ("ab", "ba")]),
    "partials": (lambda s: s(), [functools.partial(math.copysign, 1.0, zero) for zero in (0.0, -0.0)]),
    "methods of builtins": (lambda s: s("a"), [{"a": 1.0}.get, {"a": 2.0}.get]),
}


@pytest.mark.parametrize("kind", APART)
def test_what_a_program_can_tell_apart(kind):
    """Each has its own recording."""
    read, statics = APART[kind]
    f = compiled(lambda x, s: x * read(s), static="s")
    for _ in range(2):
        for s in statics:
            assert str(float(read(s))) == str(f(1.0, s))
    assert len(statics) == len(f._tapes)


def changed(x, i, item):
    """A function that changes x[i]."""
    return x, lambda: x.__setitem__(i, item)


BYTES = bytearray([1])
MAPPING = {"k": 1.0}
# name: (what the function computes from a static argument, the argument and a function that changes it)
CHANGING = {
    "array.array": (lambda s: s[0], changed(array.array("d", [1.0]), 0, 5.0)),
    "a masked array": (lambda s: float(s[0]), changed(np.ma.array([1.0, 2.0]), 0, 5.0)),
    "a mask": (lambda s: float(s.sum()), changed(np.ma.array([1.0, 2.0]), 0, np.ma.masked)),
    "an array of objects": (lambda s: s[0], changed(np.array([1.0, "b"], dtype=object), 0, 5.0)),
    "a list in an array of objects": (
        lambda s: s[0][0],
        (lambda a: (a, lambda: a[0].append(a[0].pop() + 4.0)))(np.array([[1.0], None], dtype=object)),
    ),
    "a derived array": (lambda s: float(s[0]), changed(np.array([1.0]).view(Array), 0, 5.0)),
    "a bytearray": (lambda s: s[0], changed(bytearray([1]), 0, 5)),
    "a memoryview": (lambda s: s[0], (memoryview(BYTES), lambda: BYTES.__setitem__(0, 5))),
    "a deque": (lambda s: s[0], changed(collections.deque([1.0]), 0, 5.0)),
    "a UserDict": (lambda s: s["k"], changed(collections.UserDict(k=1.0), "k", 5.0)),
    "a ChainMap": (lambda s: s["k"], changed(collections.ChainMap({"k": 1.0}), "k", 5.0)),
    "a proxy": (lambda s: s["k"], (types.MappingProxyType(MAPPING), lambda: MAPPING.__setitem__("k", 5.0))),
    "a view": (lambda s: sum(s), (lambda d: (d.values(), lambda: d.__setitem__("k", 5.0)))({"k": 1.0})),
    "a method of a dict": (lambda s: s("k"), (lambda d: (d.get, lambda: d.__setitem__("k", 5.0)))({"k": 1.0})),
    "a dataclass": (lambda s: s.n, (lambda p: (p, lambda: setattr(p, "n", 5.0)))(Plain(1.0))),
    "a list that holds itself": (
        lambda s: s[1][1][0],
        (lambda x: (x.append(x), (x, lambda: x.__setitem__(0, 5.0)))[1])([1.0]),
    ),
}


@pytest.mark.parametrize("kind", CHANGING)
def test_what_is_changed_is_another_one(kind):
    """And the recording of what it was is used again for an equal one."""
    read, (static, change) = CHANGING[kind]
    f = compiled(lambda x, s: x * read(s), static="s")
    assert [read(static)] * 2 == [f(1.0, static), f(1.0, static)]
    assert 1 == len(f._tapes)
    change()
    assert read(static) == f(1.0, static)
    assert 2 == len(f._tapes)


def test_what_has_no_key_counts_by_identity():
    """Nothing raises: a view that was released, lists deeper than Python can look, a class that cannot be pickled."""

    class Locked:
        __hash__ = None

        def __eq__(self, other):
            raise RuntimeError("this is never called")

        def __reduce_ex__(self, protocol):
            raise RuntimeError("never")

    view, deep = memoryview(b"abc"), []
    view.release()
    for _ in range(5000):
        deep = [deep]
    f = compiled(lambda x, s: x * 2.0, static="s")
    for s in (view, deep, Locked(), Locked(), iter([1]), {1: Locked()}, object()):
        assert 2.0 == f(1.0, s) == f(1.0, s)
    while deep:
        deep = deep.pop()


def test_a_value_in_a_static_argument_counts_by_identity():
    """It is a parameter, and its number is read anew."""
    w = Value(2.0)
    f = compiled(lambda x, s: x * s.n, static="s")
    assert 2.0 == f(1.0, Frozen(w))
    w.data = 3.0
    assert [3.0, 7.0] == [f(1.0, Frozen(w)), f(1.0, Frozen(Value(7.0)))]
    assert 2 == len(f._tapes)


# --- methods of objects without weak references -----------------------------------------------------------------------


def test_methods_of_objects_without_weak_references():
    """Each has recordings of its own; few of them are kept alive."""

    class Slots:
        __slots__ = ("k",)

        def __init__(self, k):
            self.k = Value(k)

        @pygrad.compile(batched=False)
        def f(self, x):
            return self.k * x

    a, b = Slots(2.0), Slots(3.0)
    for _ in range(2):
        assert [6.0, 9.0] == [a.f(3.0), b.f(3.0)]
    assert a.f.tape is a.f.trace(1.0)
    assert 2.0 == pygrad.gradient(a.f)(3.0)
    kept = []
    for i in range(100):
        s = Slots(float(i))
        kept.append(weakref.ref(s.k))
        assert i * 2.0 == s.f(2.0)
    del s
    gc.collect()
    assert 32 >= sum(ref() is not None for ref in kept)
