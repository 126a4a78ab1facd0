"""Data that is not lists: arrays, tensors and tables of other libraries are read by position, or refused."""

import array
import collections
import ctypes
import decimal
import fractions
import gc
import importlib.util
import math
import sys

import numpy as np
import pytest
from alone import alone

import pygrad
from pygrad import Value
from pygrad import functional as F
from pygrad.data import batches, train_test_split

pytestmark = [pytest.mark.python, pytest.mark.filterwarnings("ignore::DeprecationWarning:(?!pygrad)")]

BIG = 2**53 + 1  # no float is equal to it
ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.5]]
ROW = [1.0, 2.0, 4.5]


def library(name):
    """Return the module, its many objects frozen for the collector; skip the test if it is not installed."""
    is_new = name not in sys.modules
    module = pytest.importorskip(name)
    if is_new:
        gc.freeze()
    return module


def pd():
    return library("pandas")


def pa():
    return library("pyarrow")


def total(x):
    """Return the sum of nested lists, each item by another weight, so that a wrong sequence shows."""
    if not isinstance(x, list):
        return x
    return pygrad.sum([total(part) * (i + 1.0) for i, part in enumerate(x)])


# --- what is read -----------------------------------------------------------------------------------------------------

TABLES = {
    "DataFrame": lambda: pd().DataFrame(ROWS, columns=["a", "b"], index=[2, 0, 1]),
    "DataFrame with columns 0 and 1": lambda: pd().DataFrame(ROWS),
    "DataFrame of ints and floats": lambda: pd().DataFrame({"a": [1, 3, 5], "b": [2.0, 4.0, 6.5]}),
    "DataFrame with nullable ints": lambda: pd().DataFrame(
        {"a": pd().array([1, 3, 5], dtype="Int64"), "b": [2.0, 4.0, 6.5]}
    ),
    "DataFrame with a name of sparse arrays": lambda: pd().DataFrame(ROWS, columns=["nnz", "filled"]),
    "pyarrow Table": lambda: pa().table({"a": [1, 3, 5], "b": [2.0, 4.0, 6.5]}),
    "pyarrow RecordBatch": lambda: pa().record_batch({"a": [1, 3, 5], "b": [2.0, 4.0, 6.5]}),
    "Polars DataFrame": lambda: library("polars").DataFrame({"a": [1, 3, 5], "b": [2.0, 4.0, 6.5]}),
    "torch": lambda: library("torch").tensor(ROWS),
    "torch transposed": lambda: library("torch").tensor(list(map(list, zip(*ROWS)))).T,
    "torch bfloat16": lambda: library("torch").tensor(ROWS).bfloat16(),
    "JAX": lambda: library("jax.numpy").array(ROWS),
    "xarray": lambda: library("xarray").DataArray(ROWS),
    "object array": lambda: np.array([[1, 2.0], [decimal.Decimal(3), fractions.Fraction(4)], [5.0, 6.5]], dtype=object),
    "list of Series": lambda: [pd().Series(row, index=[1, 0]) for row in ROWS],
    "list of tensors": lambda: [library("torch").tensor(row) for row in ROWS],
    "list of ctypes": lambda: [(ctypes.c_double * 2)(*row) for row in ROWS],
    "ctypes floats": lambda: ((ctypes.c_float * 2) * 3)(*map(tuple, ROWS)),
    "memoryview in Fortran order": lambda: memoryview(np.array(ROWS, order="F")),
    "big-endian": lambda: np.array(ROWS, dtype=">f8"),
    "backwards": lambda: np.array(ROWS[::-1])[::-1],
    "matrix": lambda: np.array(ROWS).view(np.matrix),
    "longdouble": lambda: np.array(ROWS, dtype=np.longdouble),
    "only DLPack": lambda: OnlyDLPack(np.array(ROWS)),
}
COLUMNS = {
    "Series": lambda: pd().Series(ROW, index=[2, 0, 1]),
    "Series of labels": lambda: pd().Series(ROW, index=list("abc")),
    "nullable Series": lambda: pd().Series(ROW, dtype="Float64"),
    "Series of pyarrow": lambda: pd().Series(ROW, dtype=pd().ArrowDtype(pa().float64())),
    "Series of categories": lambda: pd().Series(ROW, dtype="category"),
    "sparse Series": lambda: pd().Series(pd().arrays.SparseArray(ROW)),
    "Index": lambda: pd().Index(ROW),
    "pyarrow": lambda: pa().array(ROW),
    "pyarrow chunks": lambda: pa().chunked_array([ROW[:1], ROW[1:]]),
    "pyarrow Decimals": lambda: pa().array(list(map(decimal.Decimal, ROW))),
    "list of pyarrow's scalars": lambda: list(pa().array(ROW)),
    "Polars": lambda: library("polars").Series(ROW),
    "torch": lambda: library("torch").tensor(ROW),
    "JAX": lambda: library("jax.numpy").array(ROW),
    "list of tensors": lambda: list(library("torch").tensor(ROW)),
    "list of JAX's": lambda: list(library("jax.numpy").array(ROW)),
    "float16": lambda: np.array(ROW, dtype=np.float16),
    "deque": lambda: collections.deque(ROW),
    "array": lambda: array.array("f", ROW),
    "ctypes": lambda: (ctypes.c_double * 3)(*ROW),
    "ctypes of the other byte order": lambda: (ctypes.c_double.__ctype_be__ * 3)(*ROW),
}


class OnlyDLPack:
    """An array that has __dlpack__, and neither __array__ nor a buffer."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("batched", [True, False])
def test_tables_are_their_rows_for_compiled_functions(make, batched):
    """As one sample or many; forward, backward and in a training."""
    f, x = pygrad.compile(total, batched=batched), make()

    assert f(ROWS) == f(x)
    value, (gradient,) = f.backward(ROWS, inputs=True)
    found, (by_x,) = f.backward(x, inputs=True)
    assert value == found
    assert gradient == np.asarray(by_x).tolist()
    w = Value(1.0)
    scaled = pygrad.compile(lambda x: total(x) * w, batched=batched)
    runs = [scaled.fit(pygrad.optim.SGD([w], lr=0.0), given, epochs=2, batch_size=2, seed=1) for given in (ROWS, x)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("batched", [True, False])
def test_columns_are_read_by_position_by_compiled_functions(make, batched):
    f = pygrad.compile(total, batched=batched, reduction="none")

    assert f(ROW) == np.asarray(f(make())).tolist()


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
def test_columns_are_read_by_position_by_losses_and_networks(Value, make):
    x = make()
    names = ["mse_loss", "binary_cross_entropy_with_logits"]
    for name in names:
        loss = getattr(F, name)
        assert loss(list(map(Value, ROW)), ROW[::-1]).data == loss(make(), ROW[::-1]).data
        assert loss(list(map(Value, ROW)), ROW).data == loss(list(map(Value, ROW)), x).data
    assert [z.data for z in F.softmax(ROW)] == [z.data for z in F.softmax(x)]
    assert [z.data for z in F.log_softmax(ROW)] == [z.data for z in F.log_softmax(x)]
    assert F.cross_entropy(ROW, 1).data == F.cross_entropy(x, 1).data
    assert F.logsumexp(ROW).data == F.logsumexp(x).data
    assert 4.5 == F.largest(x)
    model = pygrad.MLP(3, [2, 1])
    for call in (model, model.layers[0].neurons[0]):
        assert call(ROW).data == call(x).data


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
def test_columns_are_read_by_position_by_sum_dot_and_take(engine, make):
    x = make()
    if isinstance(x, list):
        x = np.asarray(x, dtype=float)

    assert 7.5 == engine.sum(x).data
    assert 1.0 + 4.0 + 20.25 == engine.dot(x, make() if not isinstance(make(), list) else ROW).data
    assert 4.5 == engine.take(x, 2).data


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_tables_are_their_rows_for_losses(make):
    x = make()

    assert (
        F.mse_loss([list(map(Value, row)) for row in ROWS], [[0.0, 1.0]] * 3).data
        == F.mse_loss(x, [[0.0, 1.0]] * 3).data
    )
    assert F.cross_entropy(ROWS, [0, 1, 1]).data == F.cross_entropy(x, [0, 1, 1]).data
    assert F.cross_entropy(ROWS, [0, 1, 1]).data == F.cross_entropy(ROWS, np.array([0, 1, 1])).data
    assert [3.0, 4.0] == [v.data for v in pygrad.take(make(), 1)]


@pytest.mark.parametrize("name", [name for name in TABLES if "list" not in name and "ctypes" not in name])
def test_a_network_takes_one_sample(name):
    """A table is several: the error says what takes these."""
    model = pygrad.MLP(3, [1])
    with pytest.raises(TypeError, match=r"the numbers of one sample.* pygrad\.compile\(model\)"):
        model(TABLES[name]())


def test_eager_transforms_read_by_position():
    """A table is its rows for them too."""
    of_rows = pygrad.gradient(total)(ROWS)
    for name in ("DataFrame", "DataFrame with columns 0 and 1", "pyarrow Table"):
        assert of_rows == pygrad.gradient(total)(TABLES[name]())
    assert [1.0, 2.0, 3.0] == pygrad.gradient(total)(COLUMNS["Series"]())


def test_arrays_without_dimensions_are_numbers():
    """Shared by all samples; and operands."""
    f, zeros = pygrad.compile(lambda x, c: x * c), [np.array(2.0), np.array(2), np.array(2, dtype=object)]
    for name, make in {"torch": "tensor", "jax.numpy": "array"}.items():
        if importlib.util.find_spec(name.split(".")[0]):
            zeros.append(getattr(library(name), make)(2.0))
    for zero in zeros:
        v = Value(3.0)
        assert 4.0 == f([1.0, 3.0], zero)
        for out, expected in ((v * zero, 6.0), (zero * v, 6.0), (v - zero, 1.0), (zero - v, -1.0), (v**zero, 9.0)):
            assert expected == out.data
        assert zero < v
        assert 1.0 == F.mse_loss(v, zero).data


def test_a_tensor_is_no_operand():
    """Of more than one number, or with a gradient that would be lost."""
    torch = library("torch")
    for x, words in (
        (torch.ones(2), r"numpy\.asarray\(x\)"),
        (torch.tensor(2.0, requires_grad=True), r"x\.detach\(\)"),
    ):
        for compute in (lambda v, x: v * x, lambda v, x: x * v, lambda v, x: v**x):
            with pytest.raises(TypeError, match=f"must be a Value or a real number, not Tensor; .*{words}"):
                compute(Value(2.0), x)


def test_memory_is_read_in_place_where_it_can_be():
    """No copy of float64 in C order, whoever owns it."""
    f, x = pygrad.compile(lambda x: x[0], batched=False, reduction="none"), np.array(ROW)
    run = f.prepare([x], {})
    assert run.arguments[0].numbers is x
    makes = [lambda x: library("pandas").Series(x, copy=False), lambda x: library("pyarrow").array(x)]
    for make in makes:
        held = make(x)
        argument = f.prepare([held], {}).arguments[0]
        assert np.shares_memory(np.asarray(held), argument.numbers)


# --- what is refused --------------------------------------------------------------------------------------------------

GAP = r"gaps.*\.fillna"
REFUSED = {
    "nullable": (lambda: pd().Series([1, None], dtype="Int64"), GAP),
    "nullable bools": (lambda: pd().Series([True, None], dtype="boolean"), GAP),
    "categories": (lambda: pd().Series([3, None], dtype="category"), GAP),
    "gap in a column": (
        lambda: pd().DataFrame({"a": pd().array([1, None], dtype="Int64"), "b": [1.0, 2.0]}),
        "'a'.*" + GAP,
    ),
    "pyarrow with a gap": (lambda: pa().array([1, None]), GAP),
    "pyarrow Table with a gap": (lambda: pa().table({"a": [1, None], "b": [1.0, 2.0]}), "'a'.*" + GAP),
    "Polars with a gap": (lambda: library("polars").Series([1, None]), GAP),
    "text in a column": (lambda: pd().DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}), "'a'.*str 'x'"),
    "dates in a column": (
        lambda: pd().DataFrame({"a": pd().to_datetime(["2020-01-01"]), "b": [1.0]}),
        "'a'.*timedelta64",
    ),
    "a large int in a column": (lambda: pd().DataFrame({"a": [1, BIG], "b": [0.5, 1.0]}), "'a'.*no float is equal"),
    "a large int in a nullable column": (
        lambda: pd().DataFrame({"a": pd().array([1, BIG], dtype="Int64"), "b": [0.5, 1.0]}),
        "'a'.*no float is equal",
    ),
    "dates": (lambda: np.array(["2020-01-01"], dtype="datetime64[D]"), r"timedelta64\(1, 'D'\)"),
    "durations": (lambda: np.array([5], dtype="timedelta64[s]"), r"x / numpy\.timedelta64\(1, 's'\)"),
    "list of durations": (lambda: [np.timedelta64(5, "s"), np.timedelta64(6, "s")], r"x / numpy\.timedelta64"),
    "Series of durations": (lambda: pd().Series(pd().to_timedelta([1, 2], "s")), r"x / numpy\.timedelta64"),
    "large ints": (lambda: np.array([1, BIG]), f"integer {BIG}.*no float is equal"),
    "large unsigned ints": (lambda: np.array([2**64 - 1], dtype=np.uint64), "no float is equal"),
    "large ints in a list": (lambda: [1, BIG], "no float is equal"),
    "large ints among floats": (lambda: [0.5, BIG], "no float is equal"),
    "large negative ints": (lambda: [[-BIG], [1]], "no float is equal"),
    "large ints as objects": (lambda: np.array([1, BIG], dtype=object), "no float is equal"),
    "large ints in a buffer": (lambda: array.array("q", [1, BIG]), "no float is equal"),
    "large ints of torch": (lambda: library("torch").tensor([BIG]), "no float is equal"),
    "complex": (lambda: np.array([1j]), r"\.real"),
    "text": (lambda: np.array(["1"]), r"astype\(float\)"),
    "bytes": (lambda: np.array([b"1"]), r"astype\(float\)"),
    "records": (lambda: np.zeros(2, dtype=[("a", "f8")]), "structured_to_unstructured"),
    "masked": (lambda: np.ma.array(ROW, mask=[0, 1, 0]), r"\.filled\("),
    "list of masked": (lambda: [np.ma.array(ROW, mask=[0, 1, 0])], r"\.filled\("),
    "the masked constant": (lambda: [np.ma.masked, 1.0], r"\.filled\("),
    "sparse": (lambda: library("scipy.sparse").csr_array(np.eye(2)), r"\.toarray\(\)"),
    "sparse matrix": (lambda: library("scipy.sparse").coo_matrix(np.eye(2)), r"\.toarray\(\)"),
    "list of sparse": (lambda: [library("scipy.sparse").csr_array(np.eye(2))], r"\.toarray\(\)"),
    "sparse torch": (lambda: library("torch").eye(2).to_sparse(), r"\.to_dense\(\)"),
    "torch with a gradient": (lambda: library("torch").ones(2, requires_grad=True), r"\.detach\(\)"),
    "list of torch with a gradient": (lambda: [library("torch").ones(2, requires_grad=True)], r"\.detach\(\)"),
    "dict": (lambda: {"a": 1.0}, r"list\(x\.values\(\)\)"),
    "a kind of dict": (lambda: collections.UserDict({0: 1.0, 1: 2.0}), r"list\(x\.values\(\)\)"),
    "what has keys": (lambda: HasKeys(), r"list\(x\.values\(\)\)"),
    "set": (lambda: {1.0, 2.0}, r"sorted\(x\)"),
    "frozenset": (lambda: frozenset([1.0, 2.0]), r"sorted\(x\)"),
    "NA": (lambda: [1.0, pd().NA], "gap"),
}


class HasKeys:
    """A table as long as it is wide, without `columns`: its items are the names of its columns."""

    def keys(self):
        return [0, 1]

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return 2

    def __getitem__(self, name):
        return [10.0 + name, 20.0 + name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_compiled_functions_refuse_with_the_cure(name):
    make, cure = REFUSED[name]
    if name in ("dict", "a kind of dict"):
        pytest.skip("is a structure there")
    with pytest.raises(TypeError, match=rf"argument 1\b.*{cure}"):
        pygrad.compile(total)(make())


# Of the lists among them, a loss looks at their items only when it computes with them.
@pytest.mark.parametrize("name", [name for name in REFUSED if name != "NA"])
def test_what_losses_refuse_with_the_cure(name):
    make, cure = REFUSED[name]
    for loss in (F.mse_loss, F.hinge_loss, F.binary_cross_entropy_with_logits):
        for arguments in ((make(), [1.0, 1.0]), ([Value(1.0), Value(2.0)], make())):
            with pytest.raises(TypeError, match=cure):
                loss(*arguments)
    for f in (F.softmax, F.log_softmax, lambda x: F.cross_entropy(x, 0), lambda y: F.cross_entropy([1.0, 2.0], y)):
        with pytest.raises(TypeError, match=cure):
            f(make())
    for f in (F.logsumexp, F.largest):
        with pytest.raises(TypeError, match=cure):
            f(make())


WITHOUT_POSITIONS = ["dict", "a kind of dict", "what has keys", "set", "frozenset"]
LISTS = ["NA", "the masked constant", "large ints among floats", "large negative ints", "large ints as objects"]
NOT_LISTED = [name for name in REFUSED if "list" not in name.split() and name not in LISTS]


@pytest.mark.parametrize("name", NOT_LISTED)
def test_what_sum_dot_and_take_refuse_with_the_cure(engine, name):
    make, cure = REFUSED[name]
    for call in (
        engine.sum,
        lambda x: engine.dot(x, [1.0, 2.0]),
        lambda x: engine.dot([1.0, 2.0], x),
        lambda x: engine.take(x, 0),
    ):
        with pytest.raises(TypeError, match=cure):
            call(make())


@pytest.mark.parametrize("name", NOT_LISTED)
def test_what_networks_and_penalties_refuse_with_the_cure(name):
    make, cure = REFUSED[name]
    model = pygrad.MLP(2, [2, 1])
    for call in (model, model.layers[0], model.layers[0].neurons[0], F.l2_penalty):
        with pytest.raises(TypeError, match=cure):
            call(make())


@pytest.mark.parametrize("given", ["12", b"12", bytearray(b"12"), None, 1.0, len], ids=str)
def test_what_has_no_items_is_refused(engine, given):
    """Text too, whose letters are no numbers."""
    for call in (engine.sum, lambda x: engine.dot(x, [1.0, 2.0]), pygrad.MLP(2, [1]), F.logsumexp, F.l2_penalty):
        with pytest.raises(TypeError, match="must be a list of Values and numbers"):
            call(given)


@pytest.mark.parametrize("given", [b"\0\xff", bytearray(b"\0\xff")], ids=str)
def test_bytes_are_numbers_by_their_list(engine, given):
    """What a reader of images has: refused, for it may be text, and the cure works."""
    model = pygrad.MLP(2, [1])
    for call in (engine.sum, model, lambda x: pygrad.compile(model)(x)):
        with pytest.raises(TypeError, match=r"pass list\(\.\.\.\) of it if its bytes are the numbers"):
            call(given)
    assert 255.0 == engine.sum(list(given)).data
    assert model([0, 255]).data == model(list(given)).data


def test_what_has_positions_alone_may_be_listed():
    """An object with `__getitem__` and no `__iter__`, as a row of a data set may be."""

    class Row:
        def __getitem__(self, i):
            return [1.0, 2.0][i]

    with pytest.raises(TypeError, match=r"not Row: pass list\(\.\.\.\) of it"):
        pygrad.MLP(2, [1])(Row())
    pygrad.MLP(2, [1])(list(Row()))


def test_iterators_are_read_where_they_were():
    """By sum, dot, losses and networks; a compiled function may need them twice, and says what to pass."""
    assert 3.0 == pygrad.sum(x for x in [1.0, 2.0]).data == pygrad.sum({"a": 1.0, "b": 2.0}.values()).data
    assert 5.0 == pygrad.dot(iter([1.0, 2.0]), map(float, [1, 2])).data
    assert 2.5 == F.mse_loss(map(Value, [1.0, 2.0]), iter([2.0, 4.0])).data
    for given in (iter([1.0]), (x for x in [1.0]), map(float, [1]), {"a": 1.0}.values()):
        with pytest.raises(TypeError, match=r"argument 1 must be .*: pass list\(\.\.\.\) of it"):
            pygrad.compile(lambda x: x)(given)


def test_integers_that_floats_can_hold():
    """Large ones too, if they are exact; and where numbers are computed with, an int is rounded as Python rounds it."""
    f = pygrad.compile(lambda x: x)
    for given in ([2**60], np.array([2**60]), np.array([2**63], dtype=np.uint64), [-(2**80)], [2**53], 2**60):
        assert float(np.asarray(given).ravel()[0]) == f(given)
    assert 2.0 / math.factorial(25) == (Value(2.0) / math.factorial(25)).data
    with pytest.raises(TypeError, match="no float is equal"):
        f(BIG)


TOO_LARGE = {
    "int": 10**400,
    "negative int": -(10**400),
    "Fraction": fractions.Fraction(10**400),
    "Decimal": decimal.Decimal("1e400"),
    "longdouble": np.longdouble("1e4000"),
}


@pytest.mark.parametrize("x", TOO_LARGE.values(), ids=TOO_LARGE)
def test_numbers_that_are_too_large(Value, x):
    """A float has no room for them; infinite is another number. The error is pygrad's own."""
    if x == math.inf:
        pytest.skip("is infinite on this machine")
    v = Value(1.0)
    for compute in (Value, lambda x: v * x, lambda x: x - v, lambda x: v**x, lambda x: setattr(v, "data", x)):
        with pytest.raises(OverflowError, match="too large for a float"):
            compute(x)
    for given in (x, [x], [[1.0], [x]], np.array([x])):
        with pytest.raises(OverflowError, match="argument 1.* too large for a float"):
            pygrad.compile(total)(given)


def test_signaling_nan(Value):
    """Decimal has one, which Python makes no float of."""
    x, v = decimal.Decimal("sNaN"), Value(1.0)
    for compute in (Value, lambda x: v * x, lambda x: pygrad.compile(total)([x])):
        with pytest.raises(ValueError, match=r"signaling nan.*math\.nan"):
            compute(x)
    assert math.isnan(Value(decimal.Decimal("NaN")).data)
    assert math.inf == Value(decimal.Decimal("Infinity")).data


def test_a_duration_is_no_number(Value):
    """NumPy says that it is an integer."""
    second = np.timedelta64(1, "s")
    for compute in (
        Value,
        lambda x: Value(1.0) * x,
        lambda x: Value(1.0) < x,
        lambda x: setattr(Value(1.0), "grad", x),
    ):
        with pytest.raises(TypeError, match=r"real number, not timedelta64; divide it by its unit"):
            compute(second)
    with pytest.raises(TypeError, match=r"numpy\.timedelta64"):
        pygrad.compile(lambda x: x)(second)


@alone
def test_arrays_without_numbers_of_any_size_are_refused_at_once():
    """An array of no numbers may have any other lengths: they are no samples to compute, and no lists to make."""
    model, f = pygrad.MLP(2, [1]), pygrad.compile(total)
    one = pygrad.compile(total, batched=False)
    for shape in ((10**15, 0), (3, 0, 10**11), (10**11, 0, 3)):
        for call in (
            f,
            one,
            pygrad.compile(model),
            pygrad.sum,
            F.softmax,
            lambda x: f([x]),
            lambda x: f(memoryview(x)),
            model,
        ):
            with pytest.raises(ValueError, match="rows without numbers"):
                call(np.zeros(shape))
    assert 0.0 == one(np.zeros((0, 10**11))) == one([])
    with pytest.raises(ValueError, match="empty batch"):
        f(np.zeros((0, 10**11)))


# --- batches ----------------------------------------------------------------------------------------------------------

CUT = {
    "Series": lambda: pd().Series(range(10), index=range(9, -1, -1)),
    "Series of labels": lambda: pd().Series(range(10), index=list("abcdefghij")),
    "Index": lambda: pd().Index(range(10)),
    "pyarrow": lambda: pa().array(range(10)),
    "pyarrow chunks": lambda: pa().chunked_array([list(range(4)), list(range(4, 10))]),
    "torch": lambda: library("torch").arange(10),
    "JAX": lambda: library("jax.numpy").arange(10),
    "Polars": lambda: library("polars").Series(range(10)),
    "xarray": lambda: library("xarray").DataArray(range(10)),
    "NumPy": lambda: np.arange(10),
    "deque": lambda: collections.deque(range(10)),
    "ctypes": lambda: (ctypes.c_int * 10)(*range(10)),
    "array": lambda: array.array("i", range(10)),
    "tuple": lambda: tuple(range(10)),
}
CUT_TABLES = {
    "DataFrame": lambda: pd().DataFrame({"a": range(10), "b": np.arange(10) * 2.0}, index=range(9, -1, -1)),
    "pyarrow Table": lambda: pa().table({"a": list(range(10)), "b": [2.0 * i for i in range(10)]}),
    "Polars": lambda: library("polars").DataFrame({"a": list(range(10)), "b": [2.0 * i for i in range(10)]}),
    "torch": lambda: library("torch").arange(20.0).reshape(10, 2) // 2 * library("torch").tensor([1, 2]),
    "JAX": lambda: library("jax.numpy").arange(10)[:, None] * library("jax.numpy").array([1, 2]),
    "memoryview": lambda: memoryview(np.arange(10)[:, None] * [1, 2]),
}


@pytest.mark.parametrize("make", CUT.values(), ids=CUT)
def test_batches_pair_by_position(make):
    """What comes out is of the kind that went in, and goes into a compiled function."""
    f = pygrad.compile(lambda x: x, reduction="none")
    for x, y in batches(list(range(10)), make(), batch_size=4, seed=3):
        assert x == np.asarray(f(y)).tolist()
    _, x_test, _, y_test = train_test_split(list(range(10)), make(), test_size=3, seed=1)
    assert x_test == np.asarray(f(y_test)).tolist()
    assert isinstance(y_test, list) or isinstance(make(), type(y_test))


@pytest.mark.parametrize("make", CUT_TABLES.values(), ids=CUT_TABLES)
def test_batches_of_tables_are_rows(make):
    f = pygrad.compile(lambda x: [x[0], x[1]])
    seen = 0
    for x, rows in batches(list(range(10)), make(), batch_size=4, seed=3):
        assert [[i, 2.0 * i] for i in x] == np.asarray(f(rows)).tolist()
        seen += len(x)
    assert 10 == seen
    x_train, _, train, test = train_test_split(list(range(10)), make(), test_size=3, seed=1)
    assert [[i, 2.0 * i] for i in x_train] == np.asarray(f(train)).tolist()
    assert 3 == len(test)


NO_BATCHES = {**{name: REFUSED[name] for name in [*WITHOUT_POSITIONS, "sparse", "sparse matrix"]}}
NO_BATCHES["generator"] = (lambda: (x for x in [1.0]), r"pass list\(\.\.\.\) of it")
NO_BATCHES["one number"] = (lambda: np.array(1.0), "a list, an array or a table")
NO_BATCHES["None"] = (lambda: None, "a list, an array or a table")


@pytest.mark.parametrize("name", NO_BATCHES)
def test_what_has_no_positions_is_not_cut(name):
    make, cure = NO_BATCHES[name]
    for cut in (lambda x: batches(x, batch_size=1), lambda x: train_test_split(x, test_size=1)):
        with pytest.raises(TypeError, match=f"a sequence of samples .*{cure}"):
            cut(make())


# --- bind -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [np.ones(3, dtype=np.float32), np.ones((3, 2), order="F"), np.arange(3), np.ones(6)[::2], [1.0, 2.0]],
    ids=["float32", "Fortran order", "integers", "steps", "list"],
)
def test_what_cannot_be_bound_is_told_what_to_bind(x):
    f = pygrad.compile(total, batched=False)
    with pytest.raises(ValueError, match=r"argument 1 cannot be bound.*numpy\.asarray\(x, dtype=float, order=\"C\"\)"):
        f.bind(x)
    bound = f.bind(np.asarray(x, dtype=float, order="C"))
    bound.forward()
    assert f(x) == bound.output[0]


def test_what_is_bound_to_arrays_has_arrays():
    """Output and gradients are NumPy arrays over the memory that each call writes; else array.array, as ever."""
    f = pygrad.compile(lambda x, c: x[0] * x[1] * c, reduction="none")
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    bound = f.bind(X, 10.0)
    output, gradients = bound.output, bound.gradients
    bound.backward()
    X[0, 0] = 5.0
    bound.backward()

    assert isinstance(output, np.ndarray)
    assert isinstance(gradients, np.ndarray)
    assert [100.0, 120.0] == output.tolist()
    assert 220.0 == output.sum()
    assert [[20.0, 50.0], [40.0, 30.0]] == gradients[:4].reshape(2, 2).tolist()
    del bound, f
    output[0] = 1.0
    assert (1.0, 120.0) == (output[0], output[-1])
    for change in (lambda: output.resize(10**6), output.pop, lambda: output.extend([1.0] * 10**6)):
        with pytest.raises((ValueError, BufferError)):
            change()
    assert isinstance(pygrad.compile(lambda x: x * x).bind(array.array("d", [1.0])).output, array.array)


def test_only_what_reads_its_own_memory_anew_is_bound():
    """A Series may move to other memory when it is written to; a tensor's NumPy view is what can be bound."""
    f = pygrad.compile(lambda x: x * x, reduction="sum")
    for make in (COLUMNS["Series"], COLUMNS["torch"], COLUMNS["pyarrow"], COLUMNS["JAX"]):
        try:
            given = make()
        except pytest.skip.Exception:
            continue
        with pytest.raises(ValueError, match=r"numpy\.asarray"):
            f.bind(given)
