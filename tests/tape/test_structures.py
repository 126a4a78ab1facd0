"""Arguments and results of compiled functions that are no lists of numbers: static ones, records, keywords, methods."""

import collections
import copy
import dataclasses
import enum
import functools
import gc
import pickle
import weakref
from types import MappingProxyType

import numpy as np
import pytest

import pygrad
from pygrad import Value

Pair = collections.namedtuple("Pair", "u v")


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Flag(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass
class Line:
    slope: float
    offset: float
    activation: str = "none"

    def __call__(self, x):
        y = self.slope * x + self.offset
        return y.tanh() if self.activation == "tanh" else y


@dataclasses.dataclass(frozen=True)
class Box:
    width: float
    height: float
    area: float = dataclasses.field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "area", self.width * self.height)


def double(x):
    return x * 2.0


def triple(x):
    return x * 3.0


# --- static arguments -------------------------------------------------------------------------------------------------


def by_flag(x, flag):
    return x * 2.0 if flag else x * 3.0


def by_mode(x, mode):
    return {None: x, "double": x * 2.0, "triple": x * 3.0}[mode]


def by_color(x, color):
    return x * 2.0 if color is Color.RED else x * 3.0


def by_function(x, f):
    return f(x)


STATIC = {
    "bool": (by_flag, [(True, 8.0), (False, 12.0)]),
    "None and str": (by_mode, [(None, 4.0), ("double", 8.0), ("triple", 12.0)]),
    "Enum": (by_color, [(Color.RED, 8.0), (Color.BLUE, 12.0)]),
    "function": (by_function, [(double, 8.0), (triple, 12.0), (lambda x: -x, -4.0)]),
    "built-in": (by_function, [(abs, 4.0)]),
    "method": (by_function, [(Line(2.0, 1.0).__call__, 9.0), (Line(3.0, 1.0).__call__, 13.0)]),
    "partial": (
        by_function,
        [(functools.partial(by_flag, flag=True), 8.0), (functools.partial(by_flag, flag=0), 12.0)],
    ),
    "callable": (by_function, [(pygrad.compile(double), 8.0)]),
    "class": (lambda x, kind: x * (2.0 if kind is Pair else 3.0), [(Pair, 8.0), (Line, 12.0)]),
    "a flag of Enum": (lambda x, f: x * (2.0 if Flag.A in f else 3.0), [(Flag.A | Flag.B, 8.0), (Flag.B, 12.0)]),
}


@pytest.mark.parametrize("kind", STATIC)
def test_static_arguments_are_handed_on(kind):
    """With a recording for each; alone and beside a batch; the second time nothing is recorded."""
    function, cases = STATIC[kind]
    f = pygrad.compile(function)
    for _ in range(2):
        for static, expected in cases:
            assert expected == f(4.0, static)
            assert expected == f([4.0, 4.0], static) == f([4.0], static)
    assert len(cases) == len(f._tapes)


@pytest.mark.parametrize("kind", STATIC)
def test_static_arguments_have_no_derivative(kind):
    """Results are shaped as without them: by transforms eager and compiled, and by backward."""
    function, cases = STATIC[kind]
    for static, expected in cases:
        slope = expected / 4.0 if kind != "method" else (expected - 1.0) / 4.0
        for f in (function, pygrad.compile(function)):
            assert slope == pygrad.gradient(f)(4.0, static)
            assert (expected, slope) == tuple(pygrad.value_and_grad(f)(4.0, static))
            assert 0.0 == pygrad.hessian(f)(4.0, static)
            assert (expected, 3.0 * slope) == tuple(pygrad.jvp(f)((4.0, static), 3.0))
            assert slope == pygrad.derivative(f)(4.0, static)
        assert (expected, (slope,)) == pygrad.compile(function).backward(4.0, static, inputs=True)


def test_what_is_named_static():
    """A count of steps; by place, by keyword and as a default; 1, 1.0 and True are three."""
    kinds = []

    def power(x, n=3):
        kinds.append(type(n))
        out = 1.0
        for _ in range(int(n)):
            out = out * x
        return out

    f = pygrad.compile(power, static=("n",))
    assert [8.0, 4.0, 16.0, 2.0, 2.0, 2.0] == [f(2.0), f(2.0, 2), f(2.0, n=4), f(2.0, 1), f(2.0, True), f(2.0, 1.0)]
    assert [int, int, int, int, bool, float] == kinds
    assert 12.0 == pygrad.gradient(f)(2.0, 3) == pygrad.gradient(f)(2.0, n=3) == pygrad.gradient(f)(2.0)
    assert [4.0, 6.0] == pygrad.gradient(f, per_sample=True)([2.0, 3.0], 2)
    assert 12.0 == pygrad.hessian(f)(2.0, 3) == pygrad.gradient(pygrad.gradient(f))(2.0, 3)


def test_static_lists_count_by_what_they_hold():
    """So a list that is changed is another one. An array, a dict and a set too."""
    f = pygrad.compile(lambda x, ks: sum((x * float(k) for k in ks), 0.0), static="ks")
    ks = [1, 2]
    assert 3.0 == f(1.0, ks)
    ks.append(3)
    assert [6.0, 6.0, 3.0] == [f(1.0, ks), f(1.0, np.array(ks)), f(1.0, {1: "a", 2: "b"})]
    assert 3.0 == f(1.0, {1, 2})
    assert 5 == len(f._tapes)


def test_signed_zeros_and_nans_are_told_apart():
    """-0.0 is no 0.0, and a nan is recorded once."""
    f = pygrad.compile(lambda x, c: x * c, static=("c",))
    assert ["0.0", "-0.0"] == [str(f(1.0, c)) for c in (0.0, -0.0)]
    for _ in range(3):
        f(1.0, float("nan"))
    assert 3 == len(f._tapes)


def test_numbers_are_no_static_arguments():
    """np.bool_, and bools in lists and arrays: one recording for all."""
    f = pygrad.compile(lambda x, c: x * c if not isinstance(c, list) else x * c[0])
    assert [2.0, 0.0] == [f(2.0, np.bool_(c)) for c in (True, False)]
    assert [2.0, 0.0] == [f([2.0], c) for c in ([True], np.array([False]))]
    assert 1 == len(f._tapes)


def test_a_module_is_static_and_its_weights_are_parameters():
    """Another one has a recording of its own; gradients go to the parameters."""
    f = pygrad.compile(lambda model, x: model(x))
    models = [pygrad.MLP(2, [1]) for _ in range(2)]
    for model in models:
        assert model([1.0, 2.0]).data == pytest.approx(f(model, [[1.0, 2.0]]))
        f.backward(model, [[1.0, 2.0]])
        assert 1.0 == model.parameters()[-1].grad
    assert 2 == len(f._tapes)
    assert len(f.parameters()) == 6
    assert f.backward(models[0], [[1.0, 2.0]], inputs=True)[1][0] == [[p.data for p in models[0].parameters()[:2]]]


def test_an_object_that_counts_by_identity_is_not_kept_alive():
    """Its recording goes later; a new object at its place has another."""
    f = pygrad.compile(lambda x, g: g(x))
    made = []
    for k in (2.0, 3.0):
        g = lambda x, k=k: x * k  # noqa: E731
        made.append(weakref.ref(g))
        assert k == f(1.0, g)
        del g
    gc.collect()
    assert [None, None] == [ref() for ref in made]


def test_static_names_are_checked():
    """An unknown one, and what is no name."""
    with pytest.raises(ValueError, match="static names parameters that the function does not have: m"):
        pygrad.compile(lambda x, n: x, static=("m",))
    with pytest.raises(TypeError, match="static must be names"):
        pygrad.compile(lambda x, n: x, static=(1,))
    assert 6.0 == pygrad.compile(lambda x, **k: x * k["n"], static=("n",))(2.0, n=3)


# --- records ----------------------------------------------------------------------------------------------------------

RECORDS = {
    "dict": (lambda p: p["u"] * p["v"], lambda u, v: {"u": u, "v": v}),
    "namedtuple": (lambda p: p.u * p.v, Pair),
    "dataclass": (lambda p: p.slope * p.offset, Line),
    "an ordered dict": (lambda p: p["u"] * p["v"], lambda u, v: collections.OrderedDict(u=u, v=v)),
    "a default dict": (lambda p: p["u"] * p["v"] + p["w"], lambda u, v: collections.defaultdict(float, u=u, v=v)),
    "a mapping": (lambda p: p["u"] * p["v"], lambda u, v: MappingProxyType({"u": u, "v": v})),
    "nested": (lambda p: p["a"].u * p["a"].v["b"], lambda u, v: {"a": Pair(u, {"b": v})}),
    "what __post_init__ makes": (lambda p: p.area, Box),
}


def numbers_in(x):
    """All numbers of a record, in a flat list."""
    if isinstance(x, dict):
        return [n for part in x.values() for n in numbers_in(part)]
    if dataclasses.is_dataclass(x):
        return [n for f in dataclasses.fields(x) for n in numbers_in(getattr(x, f.name, None))]
    if isinstance(x, (tuple, list, np.ndarray)):
        return [n for part in x for n in numbers_in(part)]
    return [] if x is None or isinstance(x, str) else [x]


@pytest.mark.parametrize("kind", RECORDS)
def test_records_are_structures(kind):
    """Each leaf is read as an argument: a number is shared, a list has samples. Derivatives are shaped like it."""
    function, make = RECORDS[kind]
    f = pygrad.compile(function)
    assert 6.0 == f(make(2.0, 3.0))
    x = np.array([2.0, 3.0])
    assert 7.5 == f(make(x, 3.0))
    assert [6.0, 12.0] == pygrad.compile(function, reduction="none")(make(x, x + 1.0)).tolist()
    assert 1 == len(f._tapes)
    output, (gradient,) = f.backward(make(x, 3.0), inputs=True)
    assert (7.5, [1.5, 1.5, 2.5]) == (output, numbers_in(gradient))
    for g in (function, f):
        found = pygrad.gradient(g)(make(2.0, 3.0))
        assert [3.0, 2.0] == numbers_in(found)
        if kind != "a mapping":
            assert type(make(2.0, 3.0)) is type(found)
        assert [0.0, 1.0, 1.0, 0.0] == numbers_in(pygrad.hessian(g)(make(2.0, 3.0)))
        assert (6.0, 23.0) == tuple(pygrad.jvp(g)(make(2.0, 3.0), make(1.0, 10.0)))


@pytest.mark.parametrize("kind", RECORDS)
def test_records_in_a_list_are_samples(kind):
    """And in an argument of one sample they are what they are."""
    function, make = RECORDS[kind]
    f = pygrad.compile(function, reduction="none")
    assert [6.0, 20.0] == f([make(2.0, 3.0), make(4.0, 5.0)])
    of_list = pygrad.compile(lambda ps: function(ps[0]) + function(ps[1]), batched=False)
    assert 26.0 == of_list([make(2.0, 3.0), make(4.0, 5.0)])


@pytest.mark.parametrize("kind", ["dict", "namedtuple", "dataclass"])
def test_records_as_results(kind):
    """Each leaf has an item for each sample; an array of an array."""
    _, make = RECORDS[kind]
    f = pygrad.compile(lambda x: make(x * 2.0, [x, x * x]))
    assert make(6.0, [3.0, 9.0]) == f(3.0)
    assert make([6.0, 4.0], [[3.0, 9.0], [2.0, 4.0]]) == f([3.0, 2.0])
    found = f(np.array([3.0, 2.0]))
    assert [6.0, 4.0, 3.0, 9.0, 2.0, 4.0] == [n for part in map(numbers_in, numbers_in(found)) for n in part] or (
        numbers_in(found) == [6.0, 4.0, 3.0, 9.0, 2.0, 4.0]
    )
    jacobian = pygrad.jacobian(f)(3.0)
    assert [2.0, 1.0, 6.0] == numbers_in(jacobian) == numbers_in(pygrad.jacobian(f.function)(3.0))
    reduced = pygrad.compile(f.function, reduction="sum")
    assert make(10.0, [5.0, 13.0]) == reduced([3.0, 2.0])


def test_what_is_static_in_a_record():
    """A str and None as they are; a bool and a function too; a derivative has None there, a dict nothing."""
    by_name = lambda p: p["f"](p["x"]) * (2.0 if p["twice"] else 1.0) if p["mode"] is None else p["x"]  # noqa: E731
    f = pygrad.compile(by_name)
    given = {"x": 4.0, "f": triple, "twice": True, "mode": None}
    assert [24.0, 12.0, 4.0] == [f(given), f({**given, "twice": False}), f({**given, "mode": "none"})]
    assert {"x": 6.0} == pygrad.gradient(f)(given) == pygrad.gradient(by_name)(given)
    line = Line(2.0, 1.0, "tanh")
    slope = 1.0 - np.tanh(7.0) ** 2
    for g in (lambda p, x: p(x), pygrad.compile(lambda p, x: p(x))):
        found = pygrad.gradient(g, argnums=0)(line, 3.0)
        assert pytest.approx([3.0 * slope, slope]) == [found.slope, found.offset]
        assert found.activation is None
    assert Line(6.0, 2.0, "kept") == pygrad.compile(lambda x: Line(x * 3.0, x, "kept"))(2.0)


def test_keys_and_classes_tell_recordings_apart():
    """A dict with another key, or a class with fields of the same names, is recorded anew."""
    Other = collections.namedtuple("Other", "u v")
    f = pygrad.compile(lambda p: p.u * 2.0 if type(p) is Pair else p.u * 3.0)
    assert [2.0, 3.0] == [f(Pair(1.0, 0.0)), f(Other(1.0, 0.0))]
    g = pygrad.compile(lambda p: sum(p.values(), 0.0) * len(p))
    assert [1.0, 6.0] == [g({"a": 1.0}), g({"a": 1.0, "b": 2.0})]


def test_a_dataclass_that_cannot_be_made_is_refused():
    """With what to do."""

    class Odd(Line):
        def __init__(self):
            super().__init__(1.0, 2.0)
            self.more = 3.0

    with pytest.raises(TypeError, match="Odd cannot be made of its fields .*: pass a dict of them"):
        pygrad.compile(lambda p: p.slope)(Odd())


def test_training_with_records_and_static_arguments():
    """fit selects samples of each leaf; by hand too."""

    class MySGD:
        def __init__(self, parameters):
            self.own = pygrad.optim.SGD(parameters, lr=0.1)

        def zero_grad(self):
            self.own.zero_grad()

        def step(self):
            self.own.step()

    found = []
    for kind in (lambda p: pygrad.optim.SGD(p, lr=0.1), MySGD):
        w = Value(0.0)
        f = pygrad.compile(lambda batch, flag, w=w: (w * batch["x"] - batch["y"]) ** 2 if flag else w * 0.0)
        f.fit(kind([w]), {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]}, True, epochs=20, batch_size=2, seed=1)
        found.append(w.data)
    assert found[0] == found[1] == pytest.approx(2.0, rel=1e-3)


# --- keywords and defaults --------------------------------------------------------------------------------------------


def test_keywords_are_arguments():
    """By keyword alone, after a skipped default, and in **; in every method."""
    only = pygrad.compile(lambda x, *, k, scale=1.0: x * k * scale)
    assert [6.0, 7.5, 12.0] == [only(2.0, k=3.0), only([1.0, 2.0], k=[3.0, 6.0]), only(2.0, scale=2.0, k=3.0)]
    assert (4.5, ([1.5, 1.5], 1.5)) == only.backward([1.0, 2.0], k=3.0, inputs=True)
    skipped = pygrad.compile(lambda x, a=10.0, b=1.0: x + a * b)
    assert [31.0, 13.0, 31.0] == [skipped(1.0, b=3.0), skipped(1.0, a=12.0), skipped(1.0, b=3.0)]
    several = pygrad.compile(lambda x, **more: x * more["a"] + more["b"])
    assert 11.0 == several(2.0, a=4.0, b=3.0)
    assert [True] == [several.trace(2.0, a=4.0, b=3.0) is several.tape]


def test_a_keyword_after_a_skipped_default_is_one_recording_with_the_batch():
    """And each has its own samples or none."""
    f = pygrad.compile(lambda x, a=10.0, b=1.0: x + a * b, reduction="none", batched=(True, False, True))
    assert [12.0, 23.0] == f([2.0, 3.0], b=[1.0, 2.0])
    assert [3.0, 7.0] == f([2.0, 3.0], 1.0, [1.0, 4.0]) == f([2.0, 3.0], b=[1.0, 4.0], a=1.0)


# --- methods and callable objects -------------------------------------------------------------------------------------


class Model:
    def __init__(self, w):
        self.w = Value(w)

    @pygrad.compile
    def loss(self, x, y=0.0):
        """The loss."""
        return (self.w * x - y) ** 2

    @pygrad.compile(reduction="sum")
    def total(self, x):
        return self.w * x

    @pygrad.gradient
    def slope(self, x):
        return self.w * x * x

    def plain(self, x):
        return self.w * x


def test_methods_can_be_compiled():
    """Each object has its own recordings and parameters; every method of a compiled function is there."""
    a, b = Model(2.0), Model(5.0)
    assert [2.5 * 4.0, 62.5, 5.0] == [a.loss([1.0, 2.0]), b.loss([1.0, 2.0]), a.loss(2.0, 4.0) + 5.0]
    assert [[a.w], [b.w]] == [a.loss.parameters(), b.loss.parameters()]
    assert a.loss.trace([1.0]) is a.loss.trace([2.0, 3.0])
    a.loss.backward(1.0)
    assert (4.0, 0.0) == (a.w.grad, b.w.grad)
    assert [6.0, 6.0] == [a.total([1.0, 2.0]), Model.total(a, [1.0, 2.0])]
    a.loss.fit(pygrad.optim.SGD([a.w], lr=0.1), [1.0, 2.0], [3.0, 6.0], epochs=100)
    assert pytest.approx(3.0) == a.w.data
    assert "The loss." == a.loss.__doc__


def test_transforms_of_methods():
    """Of a bound method, plain or compiled; as a decorator; of an object with __call__."""
    a = Model(2.0)
    assert [8.0, 8.0] == [pygrad.gradient(a.loss)(1.0, 0.0)[0], pygrad.gradient(a.loss, argnums=0)(1.0)]
    assert [2.0, 12.0, 12.0] == [pygrad.gradient(a.plain)(1.0), a.slope(3.0), Model.slope(a, 3.0)]
    line = Line(2.0, 1.0)
    assert [2.0, 7.0] == [pygrad.gradient(line)(3.0), pygrad.compile(line)(3.0)]
    assert 2.0 == pygrad.gradient(pygrad.compile(line))(3.0)
    assert 2.0 == pygrad.gradient(pygrad.MLP(1, [1]).layers[0].neurons[0].__class__.__call__ and line)(3.0)


def test_recordings_of_methods_end_with_the_object():
    """The class keeps neither."""
    gc.collect()
    before = len(Model.loss._methods)
    a = Model(2.0)
    a.loss([1.0])
    seen, tape = weakref.ref(a), weakref.ref(a.loss.tape)
    assert before + 1 == len(Model.loss._methods)
    del a
    assert [None, None, before] == [seen(), tape(), len(Model.loss._methods)]


def test_decorators_in_the_wrong_sequence():
    """Are told."""
    for kind in (staticmethod, classmethod):
        with pytest.raises(TypeError, match=f"put @{kind.__name__} above"):
            pygrad.compile(kind(double))

    class Static:
        @staticmethod
        @pygrad.compile
        def twice(x):
            return x * 2.0

    assert [6.0, 6.0] == [Static.twice(3.0), Static().twice(3.0)]


# --- files and pickles ------------------------------------------------------------------------------------------------


def test_files_keep_static_arguments(tmp_path):
    """bool, None, str and numbers; dicts; keywords. What they cannot keep they name."""
    f = pygrad.compile(lambda p, mode, *, k: p["x"] * (2.0 if mode else 3.0) * k, static=("k",))
    for mode, k in [(True, 1), (False, 1), (None, 2.5), ("", 1), ("on", -0.0)]:
        f({"x": [1.0, 2.0]}, mode, k=k)
    f.save(tmp_path / "f")
    loaded = pygrad.load(tmp_path / "f")
    for mode, k in [(True, 1), (False, 1), (None, 2.5), ("", 1), ("on", -0.0)]:
        assert str(f({"x": 3.0}, mode, k=k)) == str(loaded({"x": 3.0}, mode, k=k))
    with pytest.raises(TypeError, match=r"takes only numbers in these structures: .*\(dict\(x=number\), True, k=1\)"):
        loaded({"x": 3.0}, True, k=2)
    result = pygrad.compile(lambda x: {"a": x, "b": [x * 2.0], "name": "it"})
    result([1.0])
    result.save(tmp_path / "r")
    assert {"a": [1.0, 2.0], "b": [[2.0], [4.0]], "name": "it"} == pygrad.load(tmp_path / "r")([1.0, 2.0])


@pytest.mark.parametrize(
    "argument, named",
    [(double, "function double"), (Color.RED, "Color.RED"), (Pair(1.0, 2.0), "_asdict"), (Line(1.0, 2.0), "asdict")],
)
def test_what_a_file_cannot_keep_is_named(tmp_path, argument, named):
    """And nothing is written."""
    f = pygrad.compile(lambda x, a: x * 2.0)
    f(1.0, argument)
    with pytest.raises(ValueError, match=named):
        f.save(tmp_path / "f")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", [double, Color.RED, Pair(1.0, 2.0), Line(1.0, 2.0), {"a": True}, None])
def test_pickles_and_copies_keep_everything(argument):
    """By reference where pickle does."""
    f = pygrad.compile(lambda x, a: x * 2.0)
    f(1.0, argument)
    for other in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        assert 6.0 == other(3.0, argument)
        assert 6.0 == other([3.0], argument)


def test_c_source_of_records_and_static_arguments(tmp_path):
    """The arguments are numbers in a row there."""
    f = pygrad.compile(lambda p, flag, *, k: p["x"] * p["y"] * k if flag else p["x"])
    f({"x": 2.0, "y": 3.0}, True, k=4.0)
    f.to_c(tmp_path / "f.c")
    text = (tmp_path / "f.c").read_text()
    assert "dict(x=number, y=number), True, k=number" in text


def test_a_dict_that_holds_itself():
    """Is refused, and so is a deep one."""
    own = {"x": 1.0}
    own["own"] = own
    deep = {"x": 1.0}
    for _ in range(300):
        deep = {"x": deep}
    for x in (own, deep):
        with pytest.raises(ValueError, match="nested more than 64 deep"):
            pygrad.compile(lambda p: p["x"])(x)


def test_an_argument_called_inputs():
    """backward() takes that name for itself, and says so."""
    f = pygrad.compile(lambda x, inputs=1.0: x * inputs)
    with pytest.raises(TypeError, match="pass an argument of that name by place"):
        f.backward(2.0, inputs=5.0)
    assert 10.0 == f(2.0, inputs=5.0) == f.backward(2.0, 5.0)


def test_options_of_a_method():
    """Each access makes a method anew: its options are those of the class's function."""
    a = Model(2.0)
    for name, given in (("threads", 2), ("reduction", "sum"), ("batched", False), ("max_recordings", 3)):
        with pytest.raises(AttributeError, match="set it on the function of the class"):
            setattr(a.loss, name, given)


def test_static_arguments_beside_values():
    """Handed on as they are, to functions and to their derivatives."""
    f = pygrad.compile(lambda x, n, *, flag=True: x**n if flag else x, static=("n",), batched=False)
    for args, kwargs in (((Value(2.0), 3), {}), ((Value(2.0),), {"n": 3}), ((Value(2.0), 3), {"flag": True})):
        assert 8.0 == f(*args, **kwargs).data
        assert 12.0 == pygrad.gradient(f)(*args, **kwargs).data
        assert 12.0 == pygrad.hessian(f)(*args, **kwargs).data
    assert 12.0 == pygrad.gradient(lambda x: f(x, 3))(2.0)
    assert 12.0 == pygrad.gradient(lambda x: pygrad.gradient(f)(x, 3))(2.0)
    assert [8.0, 12.0] == [v.data for v in pygrad.jvp(f)((Value(2.0), 3), 1.0)]
