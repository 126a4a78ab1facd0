"""Reads and writes in a function that is recorded or transformed: what would be kept for all runs is warned of.

And what is not kept: after `clear()` derivatives are recorded anew, and an option that is set later is checked.
"""

import threading
import warnings
from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest

import pygrad
from pygrad import TraceWarning, Value, optim

pytestmark = [pytest.mark.proxy]


def recorded(f):
    return pygrad.compile(f, batched=False)


def warnings_of(f, *args):
    """Return the warnings of f(*args) as (category, line, message); all are of this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f(*args)
    assert {__file__} >= {w.filename for w in caught}
    return [(w.category, w.lineno, str(w.message)) for w in caught]


def line_of(f, after):
    return f.__code__.co_firstlineno + after


# --- gradients --------------------------------------------------------------------------------------------------------


def by_backward(x):
    y = x[0] ** 2 * x[1]
    y.backward()
    return x[0].grad * x[1]


def by_backward_of_many(x):
    y = x[0] ** 2 * x[1]
    pygrad.backward([y, y])
    return x[0].grad * x[1]


@pytest.mark.parametrize("f", [by_backward, by_backward_of_many])
def test_a_recording_warns_of_backward_and_of_grad(f):
    """Both lines are named, and the cure."""
    found = warnings_of(recorded(f), [1.0, 2.0])

    assert [(TraceWarning, line_of(f, 2)), (TraceWarning, line_of(f, 3))] == [w[:2] for w in found]
    assert all("create_graph=True" in w[2] for w in found)


@pytest.mark.parametrize("f", [by_backward, by_backward_of_many])
def test_a_transform_warns_of_backward(f):
    """There the derivative of `.grad` is lost."""
    found = warnings_of(pygrad.gradient(f), [1.0, 2.0])

    assert [(UserWarning, line_of(f, 2))] == [w[:2] for w in found]
    assert "create_graph=True" in found[0][2]


def test_a_transform_warns_of_grad_without_a_graph():
    """Its numbers have no derivatives either."""
    f = lambda x: pygrad.grad(x[0] ** 2 * x[1], x)[0] * x[1]  # noqa: E731

    assert [UserWarning] == [w[0] for w in warnings_of(pygrad.gradient(f), [1.0, 2.0])]


def test_a_backward_pass_over_other_values_is_no_fault_of_a_transform():
    """A training inside that does not depend on the argument is right; so is `.grad` outside, and text."""

    def f(x):
        w = Value(3.0)
        (w * w).backward()
        return x * w.grad

    assert 6.0 == pygrad.gradient(f)(2.0)
    assert [] == warnings_of(recorded(lambda x: [x, str(x), repr(x)][0]), 2.0)


# --- writes -----------------------------------------------------------------------------------------------------------

w, optimizer = Value(2.0), None


def sets_data_of_an_argument(x):
    x[0].data = 7.0
    return x[0] * x[1]


def sets_data_of_a_result(x):
    y = x[0] * 2.0
    y.data = 100.0
    return y


def sets_data_of_a_parameter(x):
    w.data = 2.0
    return w * x[0]


def sets_grad_of_a_parameter(x):
    w.grad = 0.0
    return w * x[0]


def sets_by_setattr(x):
    setattr(w, "data", 2)  # noqa: B010
    return w * x[0]


def zeroes_gradients(x):
    optimizer.zero_grad()
    return w * x[0]


def takes_a_step(x):
    optimizer.step()
    return w * x[0]


WRITERS = [
    (sets_data_of_an_argument, 1),
    (sets_data_of_a_result, 2),
    (sets_data_of_a_parameter, 1),
    (sets_grad_of_a_parameter, 1),
    (sets_by_setattr, 1),
    (zeroes_gradients, 1),
    (takes_a_step, 1),
]


@pytest.mark.parametrize("f, line", WRITERS, ids=[f.__name__ for f, _ in WRITERS])
def test_a_recording_warns_of_writes(f, line, monkeypatch):
    """Once for the line; the compiled function itself warns no more, and eager code never."""
    monkeypatch.setattr(f"{__name__}.optimizer", optim.SGD([w], lr=0.0))
    compiled = recorded(f)
    found = warnings_of(compiled, [1.0, 2.0])

    assert [(TraceWarning, line_of(f, line))] == [w[:2] for w in found]
    assert [] == warnings_of(compiled, [1.0, 2.0])
    assert [] == warnings_of(f, [Value(1.0), Value(2.0)])


def test_a_write_that_is_an_error_has_not_happened():
    """With warnings as errors the data stays."""
    p = Value(2.0)

    def f(x):
        p.data = 5.0
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TraceWarning, match=r"setting \.data"):
            recorded(f)(1.0)
    assert 2.0 == p.data


def test_values_of_the_function_itself_may_be_set():
    """A leaf that was made inside is new in no later run either: its number is the same."""

    def f(x):
        c = Value(0.0)
        c.data, c.grad = 3.0, 1.0
        return c * x

    assert [] == warnings_of(recorded(f), 2.0)
    assert 6.0 == recorded(f)(2.0)


def test_each_step_of_a_training_inside_is_warned_of():
    """zero_grad(), backward() and step() would run once."""
    p = Value(2.0)
    sgd = optim.SGD([p], lr=0.1)

    def f(x):
        loss = (p * x) ** 2
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    found = warnings_of(recorded(f), 1.0)

    assert [(TraceWarning, line_of(f, k)) for k in (2, 3, 4)] == [w[:2] for w in found]


# --- compiled functions inside ----------------------------------------------------------------------------------------

g = pygrad.compile(lambda x: (w * x) ** 2)
of_one, of_two = g.bind(1.0), g.bind(array("d", [1.0, 2.0]))
OTHERS = {
    "backward": lambda: g.backward([1.0, 2.0]),
    "fit": lambda: g.fit(optim.SGD([w], lr=0.0), [1.0, 2.0]),
    "bound": of_two.forward,
    "bound, backward": of_two.backward,
    "bound to one sample": of_one.forward,
    "bound to one sample, backward": of_one.backward,
}


@pytest.mark.parametrize("run", OTHERS.values(), ids=OTHERS)
def test_a_recording_warns_of_runs_of_other_compiled_functions(run):
    """As it does of a call over a batch."""

    def f(x):
        run()
        return x * w

    (found,) = warnings_of(recorded(f), 2.0)

    assert TraceWarning is found[0]
    assert [] == warnings_of(run)


# --- threads ----------------------------------------------------------------------------------------------------------


def in_a_thread(ask):
    """Return a function of x that asks in a thread of its own, and raises what is raised there."""

    def f(x):
        with ThreadPoolExecutor(1) as pool:
            list(pool.map(ask, [x * 1.0]))
        return x * 2.0

    return f


@pytest.mark.parametrize("ask", [bool, lambda x: x == 1.0, lambda x: x in [0.0], lambda x: float(x)])
@pytest.mark.parametrize("way", [recorded, pygrad.gradient, lambda f: pygrad.derivative(f, 2)])
def test_a_variable_is_one_in_threads_of_the_function(ask, way):
    with pytest.raises(TypeError, match="depends on an argument"):
        way(in_a_thread(ask))(3.0)


READS = [
    lambda x: x.data,
    lambda x: x.item(),
    lambda x: x < 1.0,
    lambda x: x.grad,
    lambda x: {x},
    lambda x: f"{x:.2f}",
    lambda x: x.backward(),
    lambda x: setattr(x, "data", 3.0),
    lambda x: bool(x.less(1.0)),
]


@pytest.mark.parametrize("read", READS)
def test_a_recording_warns_of_reads_in_threads_of_the_function(read):
    assert [TraceWarning] == [w[0] for w in warnings_of(recorded(in_a_thread(read)), 3.0)]


def test_other_threads_have_no_variables():
    """What another thread computes meanwhile, on Values of its own, may be asked and read."""
    own, found = Value(2.0), []

    def elsewhere():
        y = own * 3.0
        with pygrad.no_grad():
            z = y * 1.0
        found.extend([bool(y), y is None, y.data, y > 1.0, z._prev, own.grad])

    def f(x):
        y = x * own
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return y

    assert [] == warnings_of(recorded(f), 3.0)
    assert [True, False, 6.0, True, set(), 0.0] == found
    assert 2.0 == pygrad.gradient(f)(3.0)


# --- no_grad() and detach() -------------------------------------------------------------------------------------------


def within_no_grad(x):
    with pygrad.no_grad():
        return x * 2.0


def within_no_grad_of_a_thread(x):
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(within_no_grad, [x]))


CUTS = [
    within_no_grad,
    within_no_grad_of_a_thread,
    lambda x: within_no_grad(within_no_grad(x)) * 3.0,
]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("ask", [bool, lambda y: y == 6.0])
def test_a_variable_without_a_graph_is_one_still(cut, ask):
    """Within no_grad(): its number is that of one call."""

    def f(x):
        return x * 3.0 if ask(cut(x)) else x

    with pytest.raises(TypeError, match="depends on an argument"):
        pygrad.gradient(f)(3.0)


@pytest.mark.parametrize("cut", CUTS)
def test_no_gradient_goes_through_it(cut):
    y = cut(Value(3.0)).data

    assert y == pygrad.gradient(lambda x: x * cut(x))(3.0)
    assert 0.0 == pygrad.derivative(lambda x: cut(x))(3.0)
    assert 0.0 == pygrad.derivative(lambda x: cut(x) + 1.0, 2)(3.0)


def test_the_number_of_a_result_without_a_graph_in_a_thread_is_not_kept():
    compiled = recorded(lambda x: within_no_grad_of_a_thread(x) * x)

    assert [18.0, 32.0] == [compiled(3.0), compiled(4.0)]


def test_outside_and_for_other_values_it_is_a_leaf():
    """So an optimizer may take what is detached from a parameter, in a transform too."""
    p = Value(2.0)

    def f(x):
        q = p.detach()
        optim.SGD([q], lr=0.1).step()
        return x * q

    assert 2.0 == pygrad.gradient(f)(3.0)
    assert within_no_grad(p)._is_leaf()
    assert (p * 2.0).detach()._is_leaf()


# --- clear(), and options that are set later --------------------------------------------------------------------------

DERIVED = {
    "derivative": pygrad.derivative,
    "second derivative": lambda f: pygrad.derivative(f, 2),
    "derivative of the derivative": lambda f: pygrad.derivative(pygrad.derivative(f)),
    "gradient": pygrad.gradient,
    "value_and_grad": pygrad.value_and_grad,
    "jacobian": pygrad.jacobian,
    "hessian": pygrad.hessian,
    "hvp": lambda f: lambda x: pygrad.hvp(f)(x, 1.0),
    "with aux": lambda f: pygrad.gradient(pygrad.compile(lambda x: (f(x), f(x)), batched=False), has_aux=True),
    "taylor": lambda f: pygrad.taylor(f, 2),
}


@pytest.mark.parametrize("transform", DERIVED.values(), ids=DERIVED)
def test_clear_reaches_derivatives_taken_before(transform):
    """They are recorded anew, with the numbers of now."""
    k = [2.0]
    f = recorded(lambda x: k[0] * x**3)
    g = transform(f)
    before = g(1.0)
    k[0] = 3.0
    if transform is DERIVED["with aux"]:
        return
    f.clear()

    assert before != g(1.0)
    assert transform(recorded(f.function))(1.0) == g(1.0)


def test_clear_reaches_the_gradient_of_a_batch_and_sparse_plans():
    k = [2.0]
    f = pygrad.compile(lambda x: k[0] * x**2, reduction="sum")
    gradient = pygrad.gradient(f, per_sample=False)
    g = recorded(lambda x: [k[0] * v**2 for v in x])
    jacobian = pygrad.jacobian(g, sparse=True)
    assert ([4.0, 8.0], [4.0, 8.0]) == (gradient([1.0, 2.0]), jacobian([1.0, 2.0]).diagonal().tolist())
    k[0] = 3.0
    f.clear()
    g.clear()

    assert ([6.0, 12.0], [6.0, 12.0]) == (gradient([1.0, 2.0]), jacobian([1.0, 2.0]).diagonal().tolist())


def test_clear_of_a_method_reaches_the_objects():
    class Model:
        def __init__(self):
            self.k = 2.0

        @pygrad.compile(batched=False)
        def f(self, x):
            return self.k * x

    model = Model()
    assert 2.0 == model.f(1.0)
    model.k = 3.0
    Model.f.clear()

    assert 3.0 == model.f(1.0)


WRONG = [
    ("reduction", "max", ValueError),
    ("reduction", 5, ValueError),
    ("threads", -1, ValueError),
    ("threads", "2", TypeError),
    ("threads", 0, ValueError),
    ("batched", "x", TypeError),
    ("function", 3, TypeError),
    ("max_recordings", 0, ValueError),
]


@pytest.mark.parametrize("name, wrong, error", WRONG)
def test_an_option_that_is_set_is_checked(name, wrong, error):
    f = pygrad.compile(lambda x: x * x)
    right = getattr(f, name)

    with pytest.raises(error, match=name):
        setattr(f, name, wrong)
    assert right == getattr(f, name)
    assert 2.5 == f([1.0, 2.0])


def test_another_function_has_no_recordings_yet():
    f = pygrad.compile(lambda x: x * x, reduction="sum")
    derived = pygrad.gradient(f, per_sample=False)
    assert (5.0, [2.0, 4.0]) == (f([1.0, 2.0]), derived([1.0, 2.0]))
    f.function = lambda x: x * 3.0

    assert (9.0, [2.0, 4.0]) == (f([1.0, 2.0]), derived([1.0, 2.0]))
    assert [3.0, 3.0] == pygrad.gradient(f, per_sample=False)([1.0, 2.0])
