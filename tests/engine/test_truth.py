"""Truth, `==`, `in`, float(), int() and indices of Values: what is answered, refused, and warned of.

As in micrograd a Value is true, and `==` asks for the same object. Within a function that is recorded or transformed a
Value stands for other numbers too: there these answers would be wrong, and asking is an error.
"""

import copy
import math
import pickle
import random
import threading
import warnings
from array import array

import pytest

import pygrad
from pygrad import Value, engine
from pygrad.common.numbers import generator, to_whole

pytestmark = [pytest.mark.proxy]

# Each way to run a function of one number at 2.0 on Values that stand for other numbers too.
WAYS = {
    "compile": lambda f: pygrad.compile(f, batched=False)(2.0),
    "compile, a batch": lambda f: pygrad.compile(f)([2.0, 3.0]),
    "gradient": lambda f: pygrad.gradient(f)(2.0),
    "value_and_grad": lambda f: pygrad.value_and_grad(f)(2.0),
    "derivative": lambda f: pygrad.derivative(f, 2)(2.0),
    "jacobian": lambda f: pygrad.jacobian(f)(2.0),
    "hessian": lambda f: pygrad.hessian(f)(2.0),
    "hvp": lambda f: pygrad.hvp(f)(2.0, 1.0),
    "jvp": lambda f: pygrad.jvp(f)(2.0, 1.0),
    "vjp": lambda f: pygrad.vjp(f)(2.0, 1.0),
    "taylor": lambda f: pygrad.taylor(f, 2)(2.0),
    "gradient of Values": lambda f: pygrad.gradient(f)(Value(2.0)),
    "gradcheck": lambda f: pygrad.gradcheck(f, 2.0),
    "gradient of compiled": lambda f: pygrad.gradient(pygrad.compile(f, batched=False))(2.0),
}


def factorial(n):
    return 1.0 if n == 0 else n * factorial(n - 1)


def countdown(n):
    while n:
        n = n - 1.0
    return n


def cases(t):
    match t:
        case 0:
            return t
        case 2:
            return t * 2.0
    return t * 3.0


# What a program may ask of its argument.
QUESTIONS = {
    "if": lambda x: x if x else -x,
    "if of a difference": lambda x: x if x - 2.0 else -x,
    "while": countdown,
    "not": lambda x: x * float(not x),
    "and": lambda x: x and x * 2.0,
    "or": lambda x: x or x * 2.0,
    "any": lambda x: x * float(any([x])),
    "all": lambda x: x * float(all([x, x * 2.0])),
    "filter": lambda x: x * len(list(filter(None, [x]))),
    "==": lambda x: x * float(x == 2.0),
    "== on the right": lambda x: x * float(2 == x),  # noqa: SIM300
    "!=": lambda x: x * float(x != 2.0),
    "== of two": lambda x: x * float(x * 1.0 == x),
    "== of a leaf and it": lambda x: x * float(Value(2.0) == x),
    "== in a tuple": lambda x: x * float((x, "a") == (2.0, "a")),
    "a recursion": factorial,
    "match": cases,
    "in a tuple": lambda x: x * float(x in (1, 2)),
    "in a list": lambda x: x * float(x in [2.0]),
    "a number in a list of it": lambda x: x * float(2.0 in [x]),
    "index": lambda x: x * [1.0, 2.0].index(x),
    "count": lambda x: x * [2.0, 1.0].count(x),
    "range": lambda x: x * len(range(x)),
    "an item": lambda x: x * [1.0, 2.0, 3.0][x],
    "a slice": lambda x: x * len([1.0, 2.0, 3.0][:x]),
    "float": lambda x: x * float(x),
    "int": lambda x: x * int(x),
    "math": lambda x: x * math.sin(x),
    "complex": lambda x: x * complex(x).real,
    "%f": lambda x: x * float("%f".__mod__(x)),
    "within a checkpoint": lambda x: pygrad.checkpoint(lambda y: y * float(y == 2.0))(x),
    "behind a checkpoint": lambda x: x if pygrad.checkpoint(lambda y: y * y)(x) else -x,
    "of what passes no gradient": lambda x: x * float(pygrad.stop_gradient(x) == 2.0),
    "of a sum of masks": lambda x: x if pygrad.less(x, 1.0) + pygrad.less(x, 3.0) else -x,
    "of a where": lambda x: x if pygrad.where(pygrad.less(x, 1.0), 1.0, 0.0) else -x,
    "of a dot": lambda x: x if pygrad.dot([x, 1.0], [1.0, x]) else -x,
}

CURES = ("where", "equal", "static=", "argnums=")


def refused(run):
    """Assert that `run` raises the TypeError that names all cures."""
    with pytest.raises(TypeError) as caught:
        run()
    assert [] == [cure for cure in CURES if cure not in str(caught.value)]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("way", ["compile", "gradient"])
def test_what_depends_on_an_argument_does_not_answer(way, question):
    """It is an error that names the cures, and not the answer for one number."""
    refused(lambda: WAYS[way](QUESTIONS[question]))
    engine.check_arena(idle=True)


@pytest.mark.parametrize("question", ["if", "==", "in a tuple", "index", "range", "float"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_run_a_function_answers(way, question):
    """Recordings, transforms and gradcheck refuse alike."""
    refused(lambda: WAYS[way](QUESTIONS[question]))


@pytest.mark.parametrize("question", ["if", "==", "in a list", "float"])
def test_optimisers_do_not_answer(question):
    """`minimize`, `least_squares` and the classes below them neither; nor sparse Jacobians."""
    pytest.importorskip("scipy")
    asks = QUESTIONS[question]
    for run in (
        lambda: pygrad.minimize(asks, 2.0),
        lambda: pygrad.least_squares(lambda x: [asks(x)], 2.0),
        lambda: pygrad.Objective(lambda x: asks(x[0]), [2.0]).hess([2.0]),
        lambda: pygrad.Residuals(lambda x: [asks(x[0])], [2.0]).jac([2.0]),
        lambda: pygrad.jacobian(lambda x: [asks(x)], sparse=True)(2.0),
    ):
        refused(run)


ARRAYS = {
    "array == it": lambda np, x: (np.array([1.0, 2.0]) == x)[1],
    "it == array": lambda np, x: (x == np.array([1.0, 2.0]))[1],
    "np.float64 == it": lambda np, x: np.float64(2.0) == x,  # noqa: SIM300
    "np.float64 in a list of it": lambda np, x: np.float64(2.0) in [x],
    "it in an array": lambda np, x: x in np.array([1.0, 2.0]),
    "np.isin": lambda np, x: np.isin(np.array([x]), [2.0])[0],
    "np.array_equal": lambda np, x: np.array_equal(np.array([x]), [2.0]),
    "np.where": lambda np, x: np.where(np.array([x]), 1.0, 0.0)[0],
    "np.any": lambda np, x: bool(np.any(np.array([x]))),
    "np.logical_not": lambda np, x: np.logical_not(np.array([x]))[0],
    "np.count_nonzero": lambda np, x: np.count_nonzero(np.array([x])),
    "astype(bool)": lambda np, x: np.array([x]).astype(bool)[0],
    "astype(float)": lambda np, x: np.array([x]).astype(float)[0],
    "dtype=float": lambda np, x: np.array([x], dtype=float)[0],
    "np.float64": lambda np, x: np.float64(x),
    "an item set": lambda np, x: np.zeros(1).__setitem__(0, x) or 1.0,
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("way", ["compile", "gradient"])
def test_numpy_does_not_get_an_answer_either(way, name):
    """What NumPy asks of a Value is refused too, and the error comes through."""
    np = pytest.importorskip("numpy")

    refused(lambda: WAYS[way](lambda x: x * float(ARRAYS[name](np, x))))


def test_what_does_not_depend_on_an_argument_is_as_outside():
    """A parameter is true, and `==` is identity; the check walks only what the call has made."""
    w, old = Value(1.0), Value(0.5)
    for _ in range(200):
        old = old * 1.0
    found = []

    def f(x):
        y = x * w
        found.append((bool(w), bool(old), w == w, w == old, w != old, y is None, y == None))  # noqa: E711, PLR0124
        return y * old

    assert 0.5 == pygrad.gradient(f)(2.0)
    assert 1.0 == pygrad.compile(f, batched=False)(2.0)
    assert [(True, True, True, False, True, False, False)] * 2 == found


def test_a_number_in_a_call_is_warned_of_as_outside():
    """`==` of a parameter and a number, within a recording."""
    w = Value(1.0)
    with pytest.warns(UserWarning, match=r"pygrad\.equal"):
        assert 2.0 == pygrad.compile(lambda x: x * (2.0 if w == 1.0 else 1.0), batched=False)(2.0)


def test_no_object_but_a_number_or_a_value_is_like_a_value():
    """So `==` of a variable and None or a str is answered, and a foreign type has its turn."""

    class Anything:
        def __eq__(self, other):
            return True

    assert [False, False, False, True] == pygrad.compile(
        lambda x: [x * 0.0 + float(x == other) for other in (None, "mean", [2.0], Anything())], batched=False
    )(2.0)


def test_every_running_call_counts():
    """Within an inner transform the argument of the outer one is a variable; after the inner one, and an error, too."""

    def outer(x):
        assert 2.0 == pygrad.gradient(lambda z: z * 2.0)(1.0).data
        refused(lambda: pygrad.gradient(lambda z: z * float(x == 2.0))(1.0))
        refused(lambda: bool(x))
        return x * x

    assert 4.0 == pygrad.gradient(outer)(2.0)
    assert 2.0 == pygrad.compile(lambda x: pygrad.gradient(lambda z: z * x)(1.0), batched=False)(2.0)
    refused(lambda: pygrad.compile(lambda x: pygrad.gradient(lambda z: z * x if x else z)(1.0), batched=False)(2.0))


def test_a_kept_error_leaves_nothing_on():
    """The traceback of an error holds the frame of the call; the call has ended all the same."""
    kept = []

    def f(x):
        kept.append(x)
        raise KeyError

    for way in (pygrad.gradient(f), pygrad.compile(f, batched=False)):
        with pytest.raises(KeyError) as caught:
            way(2.0)
        engine.check_arena(idle=True)
        assert kept.pop()
        del caught
    assert Value(1.0)


@pytest.mark.threads
def test_another_threads_calls_do_not_matter():
    """While a thread runs a transform, a Value of another one is true, and `==` is identity; but not its variables."""
    inside, end, seen = threading.Event(), threading.Event(), []

    def f(x):
        seen.append(x)
        inside.set()
        end.wait(10)
        return x * x

    thread = threading.Thread(target=pygrad.gradient(f), args=[2.0])
    thread.start()
    assert inside.wait(10)
    v, y = Value(2.0), Value(2.0) * 3.0
    found = (bool(v), bool(y), v == y, len({v, y}))
    with pytest.raises(TypeError, match="depends on an argument"):
        bool(seen[0])
    end.set()
    thread.join()
    del seen[:]

    assert (True, True, False, 2) == found


@pytest.mark.parametrize(
    "look_up",
    [
        lambda x: x in {1.0, 2.0},
        lambda x: {2.0: 1.0}.get(x, 0.0),
        lambda x: len({x, 2.0}),
        lambda x: len(set([x, 2.0])),  # noqa: C405
        lambda x: dict.fromkeys([2.0, x])[x] is None,
    ],
    ids=["in", "get", "{}", "set()", "dict.fromkeys"],
)
def test_a_set_or_dict_finds_by_identity_and_warns(look_up):
    """It asks for the hash first, so it cannot refuse; a warning names the line."""
    with pytest.warns(pygrad.TraceWarning, match="set or dict") as told:
        pygrad.compile(lambda x: x * float(look_up(x)), batched=False)(2.0)
    assert {__file__} == {w.filename for w in told}
    with pytest.warns(UserWarning, match="set or dict"):
        pygrad.gradient(lambda x: x * float(look_up(x)))(2.0)


def test_pygrad_hashes_in_silence():
    """`_prev`, parameters() and checkpoints, within a transform."""
    model = pygrad.MLP(1, [2, 1])

    def f(x):
        assert any(v is x for v in (x * 1.0)._prev)
        return pygrad.checkpoint(lambda y: model([y]))(x) + pygrad.sum(model.parameters())

    pygrad.gradient(f)(2.0)
    pygrad.compile(f, batched=False)(2.0)


# --- outside ----------------------------------------------------------------------------------------------------------


def test_a_value_is_true_and_is_itself(Value):
    """As in micrograd: of any data, on both engines; nothing is said."""
    zero, one = Value(0.0), Value(0.0)

    assert zero
    assert zero * one
    assert (True, False) == (zero == zero, zero == one)  # noqa: PLR0124
    assert (False, True) == (zero != zero, zero != one)  # noqa: PLR0124
    assert zero in [one, zero]
    assert zero != None  # noqa: E711
    assert zero != "a"
    assert zero != [0.0]
    assert 0.0 != zero
    assert [True, False] == [x == zero for x in [zero, "a"]]


def test_a_value_that_equals_a_number_is_warned_of_once_a_line(Value):
    """By Python's own registry: once for each line, and each line."""
    v = Value(2.0)
    source = "for _ in range(3):\n    found = v == 2.0\nfound = found or v == 2\nfound = found or 2.0 == v\n"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        space = {"v": v, "__name__": "program"}
        exec(compile(source, "program.py", "exec"), space)

    assert not space["found"]
    assert [("program.py", line) for line in (2, 3, 4)] == [(w.filename, w.lineno) for w in told]
    for w in told:
        assert issubclass(w.category, UserWarning)
        for cure in ("pygrad.equal", ".data"):
            assert cure in str(w.message)


@pytest.mark.parametrize("ask", [lambda v: v in (1.0, 2.0), lambda v: [2.0, v].count(v), lambda v: (v, 1) == (2.0, 1)])
def test_what_asks_for_equality_is_warned_of_too(Value, ask):
    """`in`, `count` and the like ask by `==`."""
    with pytest.warns(UserWarning, match=r"pygrad\.equal"):
        ask(Value(2.0))


def test_comparisons_have_the_truth_of_their_data(engine):
    """On both engines, in `if`, `while`, `not`, `any` and `all`, and if their data is set."""
    a, b = engine.Value(1.0), engine.Value(2.0)
    for true in (
        engine.less(a, b),
        engine.less_equal(a, a),
        engine.greater(b, a),
        engine.greater_equal(b, 2.0),
        engine.equal(a, 1),
        engine.not_equal(a, math.nan),
        a.less(b),
    ):
        assert true
    for false in (
        engine.less(b, a),
        engine.less_equal(b, a),
        engine.greater(a, b),
        engine.greater_equal(a, 2.0),
        engine.equal(a, math.nan),
        engine.not_equal(a, 1.0),
        a.equal(b),
    ):
        assert not false
    assert (True, False) == (any([engine.less(b, a), engine.less(a, b)]), all([engine.less(b, a), engine.less(a, b)]))
    steps, n = 0, engine.Value(3.0)
    while engine.greater(n, 0.0):
        n, steps = n - 1.0, steps + 1
    assert 3 == steps
    mask = engine.less(a, b)
    mask.data = 0.0
    assert not mask
    assert engine.less(b, a) + 0.0  # a sum of masks is no mask


def test_copies_of_a_comparison_are_comparisons(engine):
    """detach(), stop_gradient, copies and pickles of them."""
    mask = engine.less(engine.Value(2.0), 1.0)
    leaf = mask.detach()

    assert not leaf
    assert not mask.stop_gradient()
    assert not leaf.stop_gradient().stop_gradient()
    assert not copy.copy(leaf)
    assert not copy.deepcopy([leaf])[0]
    assert not pickle.loads(pickle.dumps(leaf))
    assert not leaf.detach()
    assert engine.Value(0.0).detach()
    assert engine.Value(0.0).stop_gradient()


def test_comparisons_within_no_grad():
    """There the result is a leaf, and has the truth of its data, too."""
    a = Value(2.0)
    with pygrad.no_grad():
        small, large, other = pygrad.less(a, 3.0), pygrad.less(a, 1.0), a - 2.0
        again = large.stop_gradient()

    assert [True, False, True, False] == [bool(v) for v in (small, large, other, again)]
    assert set() == small._prev | large._prev


def test_comparisons_in_a_transform_choose_without_a_word():
    """A branch is right at the point where the function is differentiated."""

    def f(x):
        if pygrad.less(x, 0.0):
            return x * x
        while pygrad.less(x, 10.0):
            x = x * 2.0
        return x if not pygrad.equal(x, 0.0) and any([pygrad.greater(x, 1.0)]) else -x

    assert [-2.0, 8.0] == [pygrad.gradient(f)(x) for x in (-1.0, 1.5)]
    assert 2.0 == pygrad.hessian(f)(-1.0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: 1.0 if m else 2.0,
        lambda m: float(not m),
        lambda m: float(any([m])),
        lambda m: float(bool(m.stop_gradient())),
        lambda m: float(pytest.importorskip("numpy").where([m], 1.0, 2.0)[0]),
    ],
)
def test_comparisons_in_a_recording_warn(ask):
    """The branch is kept, so a TraceWarning names the line, once."""
    with pytest.warns(pygrad.TraceWarning, match="truth") as told:
        pygrad.compile(lambda x: x * ask(pygrad.less(x, 3.0)), batched=False)(2.0)

    assert [__file__] == [w.filename for w in told]


def test_what_uses_a_comparison_as_a_number_does_not_warn():
    """The condition of `where`, a mask as a factor, maximum and take."""

    def f(x):
        mask = pygrad.less(x, 3.0)
        return pygrad.where(mask, x, -x) * mask + pygrad.take([x, 1.0], mask) + pygrad.maximum(x, mask)

    compiled = pygrad.compile(f, batched=False)

    assert [5.0, 8.0] == [compiled(2.0), compiled(4.0)]


@pytest.mark.parametrize("compare", [lambda a, b: a < b, lambda a, b: a >= b, lambda a, b: min(b, a) is b])
def test_the_right_side_of_a_comparison_is_watched_too(compare):
    """A leaf that the function makes may stand on the left: the number of the right side is kept."""
    with pytest.warns(pygrad.TraceWarning, match="comparison"):
        pygrad.compile(lambda x: x * float(compare(Value(3.0), x)), batched=False)(2.0)


def test_a_hook_hears_of_the_truth_of_a_comparison():
    """By its own name; the truth of any other Value reads nothing."""
    told = []
    before = engine.set_trace_hook(lambda value, what: told.append((value, what)))
    try:
        mask = pygrad.less(Value(1.0), 2.0)
        assert mask
        assert Value(0.0)
        assert [(mask, "bool()")] == told
    finally:
        engine.set_trace_hook(before)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert, cure",
    [
        (float, r"v\.data"),
        (math.sin, r"v\.sin\(\)"),
        (math.exp, r"v\.exp\(\).*float\(v\.data\)"),
        (lambda v: math.pow(v, 2.0), r"v\.data"),
        (lambda v: random.choices([1, 2], weights=[v, v]), r"\[v\.data for v in"),
        (lambda v: random.choices([1, 2], cum_weights=[1.0, v]), r"\[v\.data for v in"),
        (lambda v: array("d", [v]), r"v\.data"),
        (math.floor, r"v\.data"),
        (complex, r"v\.data"),
        ("%.2f".__mod__, r"v\.data"),
        (int, r"int\(v\.data\)"),
        (range, r"int\(v\.data\)"),
        (hex, r"int\(v\.data\)"),
        ([1, 2, 3].__getitem__, r"take"),
        (lambda v: [1, 2, 3][:v], r"int\(v\.data\)"),
    ],
)
def test_a_value_is_no_number(Value, convert, cure):
    """Each conversion names its cure."""
    with pytest.raises(TypeError, match=cure):
        convert(Value(2.0))
    with pytest.raises(TypeError, match=cure):
        convert(Value(2.0) * 1.0)


def test_numpy_functions_of_plain_numbers_say_so():
    """np.interp and the like convert to floats themselves."""
    np = pytest.importorskip("numpy")
    for asked in (Value(1.5), [Value(1.5)], Value(1.5) * 1.0):
        with pytest.raises(TypeError, match=r"\[v\.data for v in values\].*interp"):
            np.interp(asked, [1.0, 2.0], [3.0, 4.0])


@pytest.mark.parametrize(
    "ask, cure",
    [
        (lambda x: x * math.exp(x), r"v\.exp\(\) for math\.exp\(v\)"),
        (lambda x: [1.0, 2.0, 3.0][x] * x, r"pygrad\.take\(xs, v\)"),
        (lambda x: (Value(1.0), Value(2.0), Value(3.0))[x] * x, r"pygrad\.take\(xs, v\)"),
        (lambda x: [1.0, 2.0, 3.0][int(x)] * x, r"pygrad\.take\(xs, v\)"),
    ],
)
@pytest.mark.parametrize("way", ["compile", "compile, a batch", "gradient", "jvp"])
def test_a_variable_is_no_number_and_no_index(way, ask, cure):
    """The cure that fits what was asked stands beside those for all variables."""
    with pytest.raises(TypeError, match=cure):
        WAYS[way](ask)
    refused(lambda: WAYS[way](ask))


def test_who_asks_for_whole_numbers_and_seeds_has_words_of_its_own(Value):
    """A Value has an `__index__` that refuses; the messages stay those of the function that was called."""
    with pytest.raises(TypeError, match="the size must be a whole number, not Value"):
        to_whole(Value(2.0), "the size", 1)
    with pytest.raises(TypeError, match="a seed must be None, a number, a str or bytes, not Value"):
        generator(Value(2.0))
    assert generator(3).random() == generator(3).random()
    with pytest.raises(TypeError, match="a repeated list needs an int"):
        [0.0] * Value(2.0)


def test_numpy_still_takes_values_as_objects():
    """Arrays of Values, and NumPy's numbers beside Values, are what they were."""
    np = pytest.importorskip("numpy")
    v = Value(2.0)

    assert np.asarray([v])[0] is v
    assert object == np.array([v, v * 2.0]).dtype == np.array(v).dtype
    assert [4.0, 4.0, 4.0, 0.5, 4.0] == [
        x.data for x in (np.float64(2) * v, v * np.float64(2), np.int64(2) + v, np.float32(1) / v, np.int64(2) ** v)
    ]
    assert [2.0, 4.0] == [x.data for x in np.array([1.0, 2.0]) * v]
    assert 4.0 == np.sum([v, v]).data
    assert (True, True) == (np.float64(1) < v, bool(np.array([v]) > 1.0))
    for fails in (lambda: np.array([v]).astype(float), lambda: np.array([v], dtype=float), lambda: np.float64(v)):
        with pytest.raises(TypeError, match=r"v\.data"):
            fails()
    masks = np.array([pygrad.less(v, 1.0), pygrad.less(v, 3.0)])
    assert [0.0, 1.0] == np.where(masks, 1.0, 0.0).tolist()
    assert (True, False) == (bool(np.any(masks)), bool(np.all(masks)))


# --- copies, text and roundings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda x: copy.deepcopy([x, 1.0])[0], lambda x: copy.deepcopy({"a": x})["a"]],
    ids=["copy", "deepcopy", "in a list", "in a dict"],
)
def test_a_copy_of_an_argument_is_the_argument(copied):
    """A new leaf would lose the gradient, and be a constant of a recording."""
    for x in (2.0, 3.0):
        assert 2.0 * x == pygrad.gradient(lambda x: x * copied(x))(x)
        assert [x, 1.0] == [pygrad.compile(copied)(x), pygrad.gradient(lambda x: copied(x * 1.0))(x)]
    f = pygrad.compile(lambda x: x * copied(x))
    assert [4.0, 9.0] == [f(2.0), f(3.0)]
    outside = Value(2.0)
    assert outside is not copied(outside)


def test_an_argument_is_not_pickled():
    """Its copy would be a constant."""
    for f in (pygrad.gradient, pygrad.compile):
        with pytest.raises(pickle.PicklingError, match="depends on an argument"):
            f(lambda x: pickle.loads(pickle.dumps(x)))(2.0)


def test_numbers_written_as_text_are_kept_with_a_warning():
    """In a recording alone; repr is no number."""
    for text in (lambda x: f"{x:.3f}", lambda x: format(x, ".3f"), "{:.3f}".format):
        with pytest.warns(pygrad.TraceWarning, match="written as text"):
            pygrad.compile(lambda x, text=text: x - float(text(x)))(2.0)
        assert 1.0 == pygrad.gradient(lambda x, text=text: x - float(text(x)))(2.0)
    pygrad.compile(lambda x: [x, str(x), f"{x}"][0])(2.0)


@pytest.mark.parametrize(
    "what",
    [
        round, math.floor, math.ceil, math.trunc, lambda v: v // 2, lambda v: 5.0 // v, lambda v: v % 2,
        lambda v: 5 % v, lambda v: divmod(v, 2), lambda v: divmod(2, v), lambda v: round(v, 2),
        lambda v: v // v, lambda v: v % v,
    ],
)  # fmt: skip
def test_roundings_are_refused_with_the_cure(what):
    """Outside, and in a transform."""
    with pytest.raises(TypeError, match=r"use v\.data"):
        what(Value(2.5))
    with pytest.raises(TypeError, match="pygrad.where"):
        pygrad.gradient(what)(2.5)


def test_plus_is_the_value_itself():
    """As of a float."""
    v = Value(2.0)
    assert v is +v
    assert 4.0 == pygrad.gradient(lambda x: +x * +x)(2.0)
    with pytest.raises(TypeError, match="unsupported operand"):
        v % object()


def test_sets_of_pygrad_itself_warn_of_nothing():
    """Only a program's sets and dicts are warned of."""

    def f(x):
        y = x * x
        pygrad.explain(y, x)
        pygrad.optim.SGD([x])
        list(pygrad.viz.trace(y))
        return y

    assert 6.0 == pygrad.gradient(f)(3.0)
    with pytest.raises(TypeError, match="depends on an argument"):
        pygrad.gradient(lambda x: x if x == 0j else x * 2)(1.0)
