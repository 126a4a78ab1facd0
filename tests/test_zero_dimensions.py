"""An array or tensor without dimensions is a number wherever a number is taken, or is refused."""

import importlib.util
from unittest import mock

import pytest

import pygrad
from pygrad import Value
from pygrad import functional as F
from pygrad.optim import SGD

np = pytest.importorskip("numpy")


class Tensor:
    """What PyTorch's and JAX's tensors have in common: no operator of theirs takes Values."""

    ndim, dtype = 0, "float64"

    def __init__(self, number):
        self.number = number

    def item(self):
        return self.number

    def __array__(self, dtype=None, copy=None):
        return np.array(self.number, dtype)

    def __dlpack__(self, **options):
        return np.array(self.number).__dlpack__(**options)


MAKERS = {
    "NumPy's float": np.array,
    "NumPy's int": lambda x: np.array(int(x)),
    "NumPy's object": lambda x: np.array(x, dtype=object),
    "NumPy's longdouble": lambda x: np.array(x, dtype=np.longdouble),
    "tensor": Tensor,
}
for library, make in {"torch": "tensor", "jax.numpy": "array", "pyarrow": "scalar", "xarray": "DataArray"}.items():
    if importlib.util.find_spec(library.split(".")[0]):
        MAKERS[library] = lambda x, library=library, make=make: getattr(importlib.import_module(library), make)(x)


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request):
    """Make an object without dimensions of a float."""
    return request.param


def test_as_data_gradient_and_seed(engine, make):
    """Wherever a Value is given a number."""
    v = engine.Value(make(2.0))
    assert 2.0 == v.data
    v.data = make(3.0)
    v.grad = make(5.0)
    assert (3.0, 5.0) == (v.data, v.grad)
    (v * 1.0).backward(make(2.0))
    assert 7.0 == v.grad
    assert float is type(v.data) is type(v.grad)
    assert 2.0 == engine.Value(1.0, (v,), (make(2.0),)).data * 2.0


def test_as_operand_of_functions(engine, make):
    """On both sides, as a condition, a bias, a start and a slope."""
    v, two = engine.Value(3.0), make(2.0)

    found = [
        engine.sum([v, two]),
        engine.sum([v], two),
        engine.dot([v, two], [two, 1.0], two),
        engine.minimum(v, two),
        engine.minimum(two, v),
        v.maximum(two),
        engine.less(two, v),
        engine.stop_gradient(two),
        engine.where(two, v, 1.0),
        engine.where(v, two, 1.0),
        engine.take([two, 1.0], engine.Value(0.0)),
        (-v).leaky_relu(two),
    ]

    assert [5.0, 5.0, 10.0, 2.0, 2.0, 3.0, 1.0, 2.0, 3.0, 2.0, 2.0, -6.0] == [out.data for out in found]


def test_as_argument_and_result_of_functions(make):
    """Of transforms, compiled functions, custom ops, checkpoints, networks, losses, optimizers and states."""
    two, v = make(2.0), Value(3.0)
    square = pygrad.custom_op(lambda x: make(x.data**2))
    square.derivative(lambda y, x: make(6.0))
    neuron = pygrad.Neuron(2)

    assert 4.0 == pygrad.derivative(lambda x: x**2)(two)
    assert 0.0 == pygrad.derivative(lambda x: two)(1.0)
    assert 6.0 == pygrad.compile(lambda x: x * two, batched=False)(v).data
    assert 12.0 == pygrad.compile(lambda x, y: x * y, batched=False)(two, 6.0)
    assert (9.0, 6.0) == (square(v).data, pygrad.grad(square(v), [v])[0])
    assert two is pygrad.checkpoint(lambda v: (v, two))(v)[1]
    assert neuron([2.0, 1.0]).data == neuron([two, 1.0]).data
    assert 1.0 == F.mse_loss([v], [two]).data
    v.grad = 1.0
    SGD([v], lr=two).step()
    assert 1.0 == v.data
    neuron.load_state_dict({"w": [two, two], "b": two})
    assert [2.0] * 3 == [p.data for p in neuron.parameters()]


REFUSED = {
    "masked": (lambda: np.ma.array(2.0, mask=True), r"\.filled\(\.\.\.\)"),
    "NumPy's masked": (lambda: np.ma.masked, r"\.filled\(\.\.\.\)"),
    "duration": (lambda: np.array(5, dtype="timedelta64[ns]"), r"numpy\.timedelta64\(1, 's'\)"),
    "date": (lambda: np.array("2026-11-30", dtype="datetime64[ns]"), "must be a real number, not datetime64"),
    "complex": (lambda: np.array(2j), r"x\.real or abs\(x\)"),
    "text": (lambda: np.array("2"), r"float\(\.\.\.\)"),
    "None": (lambda: np.array(None), "must be a real number, not NoneType"),
    "Value": (lambda: np.array(Value(1.0)), r"its \.data for a new leaf"),
    "record": (lambda: np.array((1.0, 2.0), dtype="d,d"), "must be a real number"),
    "one element": (lambda: np.array([1.0]), r"x\.item\(\) for one number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_real_number_is_refused(name):
    """An item() of the wrong kind is no number, and the error says what to do; nothing has changed."""
    bad, words = REFUSED[name]
    v = Value(1.0)
    with pytest.raises(TypeError, match=words):
        Value(bad())
    with pytest.raises(TypeError, match=words):
        v.data = bad()
    with pytest.raises(TypeError, match=words):
        v.backward(bad())
    assert (1.0, 0.0) == (v.data, v.grad)


class WithGradient(Tensor):
    """A tensor that is about to get a gradient, as PyTorch's are."""

    requires_grad = True

    def detach(self):
        return Tensor(self.number)


class Unreadable(Tensor):
    """A tensor that stands for a number which nobody knows yet, as within jax.jit."""

    def item(self):
        raise RuntimeError("no number yet")


@pytest.mark.parametrize("tensor, words", [(WithGradient, r"\.detach\(\)"), (Unreadable, "says: no number yet")])
def test_a_tensor_whose_number_must_not_or_cannot_be_read_is_refused(engine, tensor, words):
    """Its gradient would be lost in silence; the error of another library is part of pygrad's."""
    v, x = engine.Value(1.0), tensor(2.0)
    for use in (engine.Value, lambda x: v + x, lambda x: x * v, lambda x: engine.sum([v, x]), v.backward):
        with pytest.raises(TypeError, match=words):
            use(x)


def test_integers_that_no_float_is_equal_to(engine):
    """Rounded as data, like any other int; refused where data is read, for there they may be names."""
    big = np.array(2**53 + 1)
    assert 2.0**53 == engine.Value(big).data
    for read in (pygrad.compile(lambda x: x, batched=False), lambda x: F.mse_loss([1.0], [x])):
        with pytest.raises(TypeError, match="no float is equal to it"):
            read(big)


def test_what_answers_to_every_name_is_no_number(engine):
    """A mock has an as_py() and an ndim."""
    for use in (engine.Value, lambda x: engine.sum([x])):
        with pytest.raises(TypeError, match="not Mock"):
            use(mock.Mock())
    with pytest.raises(TypeError, match="not Mock"):
        engine.Value(1.0) + mock.Mock()
    assert engine.Value(1.0) != mock.Mock()


def test_equality_with_a_tensor_is_asked_of_no_argument(make):
    """`x == 2.0` would be False, in silence, for all numbers that the function runs for."""
    for function in (lambda x: x * 2.0 if x == make(2.0) else x, lambda x: x * 2.0 if make(2.0) == x else x):
        with pytest.raises(TypeError, match=r"pygrad\.equal"):
            pygrad.gradient(function)(2.0)
