"""What recordings cost: a function keeps `max_recordings` of them, and its derivatives with them."""

import copy
import gc
import pickle
import warnings
import weakref

import pytest
from together import in_threads

import pygrad
from pygrad import TraceWarning, Value
from pygrad.engine import live_nodes


def total(xs):
    return pygrad.sum(xs)


def recorded_at(f):
    """Return the lengths of the lists that f has recordings for, in the sequence in which they were made."""
    return [len(structure) for (structure,) in f._tapes]


def compiled(function=total, **options):
    return pygrad.compile(function, batched=False, **options)


# --- the least recently used goes -------------------------------------------------------------------------------------


def test_the_least_recently_used_goes():
    """A call uses a recording; the one whose last use is longest ago goes for a new one, and is made again later."""
    f = compiled(max_recordings=3)
    for n in (1, 2, 3):
        f([1.0] * n)
    f([1.0])
    f([1.0] * 4)

    assert [1, 3, 4] == recorded_at(f)
    assert 2.0 == f([1.0] * 2)
    assert [1, 4, 2] == recorded_at(f)


def test_by_default_there_are_256():
    """So says the attribute; None is no limit."""
    f, g = compiled(), compiled(max_recordings=None)
    for n in range(1, 301):
        f([1.0] * n), g([1.0] * n)

    assert [256, None] == [f.max_recordings, g.max_recordings]
    assert list(range(45, 301)) == recorded_at(f)
    assert 300 == len(recorded_at(g))


def test_the_limit_is_an_attribute():
    """Setting it lower drops recordings at once; what it cannot be is refused, and changes nothing."""
    f = compiled()
    for n in (1, 2, 3):
        f([1.0] * n)
    f([1.0])
    f.max_recordings = 2

    assert [1, 3] == recorded_at(f)
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="max_recordings"):
            f.max_recordings = wrong
        with pytest.raises(error, match="max_recordings"):
            compiled(max_recordings=wrong)
    assert 2 == f.max_recordings
    f.max_recordings = None
    assert f.max_recordings is None


def test_memory_is_constant():
    """After a warm-up, new recordings take the place of old ones: tapes, the nodes that they hold, and Python's."""
    w = Value(2.0)
    f = compiled(lambda xs: pygrad.sum([w * x for x in xs]), max_recordings=8)
    grad, jacobian, hessian = pygrad.gradient(f), pygrad.jacobian(f), pygrad.hessian(f, sparse=True)
    tapes = weakref.WeakSet()

    def call(n):
        xs = [1.0] * n
        f.backward(xs)
        tapes.add(f.trace(xs))
        tapes.update(g.trace(xs) for g in (grad, jacobian._base, hessian._base))
        grad(xs), jacobian(xs), hessian(xs)

    pytest.importorskip("scipy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        for n in range(1, 21):
            call(n)
        gc.collect()
        before = len(tapes), live_nodes(), len(gc.get_objects())
        for n in range(21, 81):
            call(n)
        gc.collect()

    assert 32 == len(tapes) == before[0]
    assert live_nodes() == before[1]
    assert len(gc.get_objects()) < before[2] + 8 * 4 * 80  # the structures of longer lists, no more
    assert 8 == len(jacobian._plans) == len(hessian._plans)


def test_a_function_that_has_gone_leaves_nothing_to_the_collector():
    """What a function keeps does not lead back to it."""
    f = compiled()
    f([1.0]), pygrad.gradient(f)([1.0]), pygrad.jacobian(f)([1.0]), pygrad.hvp(f)([1.0], [1.0])
    pygrad.gradient(pygrad.gradient(compiled(lambda x: x**3)))(1.0)
    gc.collect()
    gone = weakref.ref(f), weakref.ref(pygrad.gradient(f)), weakref.ref(f.tape)
    gc.disable()
    try:
        del f
        assert [None] * 3 == [ref() for ref in gone]
    finally:
        gc.enable()


# --- in use -----------------------------------------------------------------------------------------------------------


def test_what_is_bound_stays():
    """A Bound, and a bound Jacobian, run on after their recordings have gone."""
    w = Value(3.0)
    f = compiled(lambda xs: pygrad.sum([w * x * x for x in xs]), max_recordings=1)
    np = pytest.importorskip("numpy")
    xs = np.array([1.0, 2.0])
    bound, jacobian = f.bind(xs), pygrad.jacobian(f).bind(xs)
    f([1.0]), pygrad.jacobian(f)([1.0]), gc.collect()
    xs[:] = 3.0, 4.0
    bound.backward(), jacobian.forward()

    assert [75.0, 18.0, 24.0] == [bound.output[0], *bound.gradients]
    assert [18.0, 24.0] == list(jacobian.output)
    assert 25.0 == w.grad


def test_a_training_goes_on():
    """A callback that has the recording dropped, and the steps after it."""
    w = Value(0.0)
    f = pygrad.compile(lambda xs: pygrad.sum([(w - x) ** 2 for x in xs]), max_recordings=1)

    def callback(progress):
        if progress.epoch < 5:
            f([[1.0] * (2 + progress.epoch)])
            gc.collect()

    losses = f.fit(pygrad.optim.SGD([w], lr=0.1), [[1.0, 2.0]] * 4, epochs=30, callback=callback)

    assert (30, 1.5) == (len(losses), round(w.data, 3))
    assert [6] == recorded_at(f)


def test_threads_record_and_drop_at_once():
    """More threads than recordings, each with structures of its own: every result is right."""
    f = compiled(max_recordings=2)
    results = []

    def work(k):
        for i in range(40):
            n = 1 + (7 * k + i) % 9
            results.append(f([float(k)] * n) == k * n)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        in_threads(*[lambda k=k: work(k) for k in range(4)])

    assert [True] * 160 == results
    assert len(f._tapes) <= 2


# --- recorded again and again -----------------------------------------------------------------------------------------


def test_a_warning_says_that_recordings_come_and_go():
    """There is one, it names the function, the limit, the cure and the line of the call."""
    f = compiled(max_recordings=4)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(5):
            for n in range(1, 7):
                f([1.0] * n)  # the line

    [warning] = told
    assert (TraceWarning, __file__) == (warning.category, warning.filename)
    for part in ("total", "again and again", "max_recordings=4", "as numbers"):
        assert part in str(warning.message)


def test_a_warning_that_is_an_error_leaves_all_well():
    """The recording is kept, so that the next call runs."""
    f = compiled(max_recordings=1)
    for n in range(1, 11):
        f([1.0] * n)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TraceWarning)
        with pytest.raises(TraceWarning):
            f([1.0] * 11)
        assert [11] == recorded_at(f)
        assert 11.0 == f([1.0] * 11)


# --- copies, files, derived functions ---------------------------------------------------------------------------------


def test_the_limit_goes_along(tmp_path):
    """With copies, pickles before and after the first call, files, and derivatives."""
    f = compiled(max_recordings=5)
    early = pickle.loads(pickle.dumps(f))
    f([1.0])
    f.save(tmp_path / "f")
    g = pygrad.gradient(f)

    others = [early, copy.copy(f), copy.deepcopy(f), pickle.loads(pickle.dumps(f)), pygrad.load(tmp_path / "f")]
    assert [5] * 9 == [other.max_recordings for other in (*others, g, pygrad.hvp(f), f.like(total), pygrad.gradient(g))]
    assert [None, 2**31 - 1] == [
        pickle.loads(pickle.dumps(h)).max_recordings
        for h in (compiled(max_recordings=most) for most in (None, 10**30))
        if h([1.0])
    ]


def test_a_copy_drops_recordings_of_its_own():
    """What a copy drops or forgets, the other one keeps."""
    f = compiled(max_recordings=2)
    f([1.0]), f([1.0] * 2)
    g = copy.copy(f)
    g.max_recordings = 1

    assert [[1, 2], [2]] == [recorded_at(f), recorded_at(g)]
    assert [2, 1] == [f.max_recordings, g.max_recordings]


def test_no_recording_of_a_loaded_function_goes(tmp_path):
    """It cannot be made again; also where the file has more than the limit, which older files do not say."""
    f = compiled(max_recordings=None)
    for n in range(1, 301):
        f([1.0] * n)
    f.max_recordings = None
    f._tapes.most = 256  # as in a file of an older version
    f.save(tmp_path / "f")
    g = pygrad.load(tmp_path / "f")

    assert (300, 256) == (len(g._tapes), g.max_recordings)
    assert 1.0 == g([1.0])
    with pytest.raises(TypeError, match="was loaded"):
        g.max_recordings = 299
    g.max_recordings = 300
    assert (300, 300) == (len(g._tapes), g.max_recordings)


# --- derivatives are made once ----------------------------------------------------------------------------------------

TRANSFORMS = {
    "gradient": pygrad.gradient,
    "value_and_grad": pygrad.value_and_grad,
    "jacobian": pygrad.jacobian,
    "hessian": pygrad.hessian,
    "hvp": pygrad.hvp,
    "jvp": pygrad.jvp,
    "vjp": pygrad.vjp,
    "derivative": pygrad.derivative,
    "taylor": lambda f: pygrad.taylor(f, 3),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_derivative_is_kept(name):
    """A transform called anew on one function gives what it gave before; after clear() another one."""
    transform, f = TRANSFORMS[name], compiled(lambda x: x * x)
    g = transform(f)

    assert g is transform(f)
    assert g is not transform(compiled(lambda x: x * x))
    f.clear()
    assert g is not transform(f)


def test_a_derivative_in_a_loop_is_recorded_once():
    """The Python function runs twice: once for the Jacobian's plan, and once for its tape."""
    calls = []

    def function(xs):
        calls.append(1)
        return [x * x for x in xs]

    f = compiled(function)
    for _ in range(5):
        assert [[2.0, 0.0], [0.0, 4.0]] == pygrad.jacobian(f)([1.0, 2.0])

    assert len(calls) <= 3


def test_options_of_their_own():
    """Other options make another derivative; so does a change of the function's options, or of the derivative's own."""
    f = pygrad.compile(lambda x: x**4, threads=2)
    assert pygrad.derivative(f, 2) is not pygrad.derivative(f, 3)
    assert pygrad.jacobian(f) is not pygrad.jacobian(f, sparse=True)
    g = pygrad.gradient(f, per_sample=True)
    f.threads = 3
    assert 3 == pygrad.gradient(f, per_sample=True).threads != g.threads
    pygrad.gradient(f, per_sample=True).reduction = "sum"
    assert [4.0, 32.0] == pygrad.gradient(f, per_sample=True)([1.0, 2.0])


def test_only_so_many_are_kept():
    """One for each order, and no more than a few dozen."""
    f, calls = compiled(lambda x: x * x), weakref.WeakSet()
    for order in range(100):
        calls.add(pygrad.derivative(f, order))
    gc.collect()

    assert 10 < len(calls) <= 32


def test_least_squares_compiles_the_jacobian_once():
    """The second call does not run the Python function; two objects at once do not write to each other's memory."""
    np = pytest.importorskip("numpy")
    pytest.importorskip("scipy")
    calls = []

    def residuals(x):
        calls.append(1)
        return [x[0] - 3.0, x[0] * x[1] - 6.0]

    f = compiled(residuals)
    found = [pygrad.least_squares(f, [1.0, 1.0]).x for _ in range(2)]
    count = len(calls)
    found += [pygrad.least_squares(f, [1.0, 1.0]).x for _ in range(3)]
    assert count == len(calls)
    assert np.allclose(found, [[3.0, 2.0]] * 5)

    first, second = pygrad.Residuals(f, [1.0, 1.0]), pygrad.Residuals(f, [1.0, 1.0])
    jac = first.jac(np.array([1.0, 2.0]))
    second.fun(np.array([9.0, 9.0])), second.jac(np.array([9.0, 9.0]))
    assert [[1.0, 0.0], [2.0, 1.0]] == jac.tolist() == first.jac(np.array([1.0, 2.0])).tolist()
    assert [-2.0, -4.0] == first.fun(np.array([1.0, 2.0])).tolist()
    assert count == len(calls)


def test_minimize_compiles_the_derivatives_once():
    """Gradient and Hessian, of functions of several arguments too."""
    pytest.importorskip("scipy")
    calls = []

    def function(x, y):
        calls.append(1)
        return (x - 1.0) ** 4 + (y - x) ** 2

    f = compiled(function)
    assert pygrad.minimize(f, (3.0, 0.0), method="trust-exact").success
    count = len(calls)
    found = pygrad.minimize(f, (3.0, 0.0), method="trust-exact")

    assert found.success
    assert abs(found.x[0] - 1.0) < 0.1
    assert count == len(calls)
