"""Everything compiled travels: transforms, tapes and bound functions in copies and pickles; C, files and tapes of a
recording that the arguments choose."""

import copy
import ctypes
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from array import array

import pytest

import pygrad

pytestmark = pytest.mark.wheel
Value = pygrad.Value


@pygrad.compile
def decorated(x, y):
    """Nothing calls it, so it has no recording."""
    return x**2 * y


def plain(x, y):
    return x * y**2


def polynomial():
    w = Value(3.0)
    return pygrad.compile(lambda x, y: w * x[0] ** 2 * y + x[1] ** 3 * x[0])


AT, BATCH = ([[2.0, 3.0]], 5.0), ([[2.0, 3.0], [1.0, -1.0]], [5.0, 2.0])

TRANSFORMS = {
    "gradient": lambda f: pygrad.gradient(f, per_sample=False),
    "value_and_grad": lambda f: pygrad.value_and_grad(f, argnums=0, per_sample=True),
    "jacobian": pygrad.jacobian,
    "hessian": pygrad.hessian,
    "hessian by the second": lambda f: pygrad.hessian(f, argnums=(1, 0)),
    "hessian of a part": lambda f: pygrad.hessian(f, argnums=0),
    "with aux": lambda f: pygrad.hessian(pygrad.compile(pair_of(f)), has_aux=True),
    "gradient with aux": lambda f: pygrad.value_and_grad(pygrad.compile(pair_of(f)), has_aux=True, per_sample=True),
}
PRODUCTS = {
    "jvp": (pygrad.jvp, AT),
    "hvp": (pygrad.hvp, AT),
    "vjp": (pygrad.vjp, 1.5),
}
WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def pair_of(f):
    return lambda x, y: (f.function(x, y), [x[0] * y])


def near(found):
    return pytest.approx(flat(found), rel=1e-12)


def flat(found):
    found = found.toarray().tolist() if hasattr(found, "toarray") else found
    if isinstance(found, (list, tuple)):
        return [x for part in found for x in flat(part)]
    return [found]


# --- copies and pickles -----------------------------------------------------------------------------------------------


@ways
@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, is_recorded, way):
    """A transform comes back working, whether its function has been recorded or not."""
    f = polynomial()
    transformed = TRANSFORMS[name](f)
    expected = [transformed(*at) for at in (AT, BATCH)]
    if is_recorded:
        f.trace(*AT)
    again = way(transformed)

    assert [near(e) for e in expected] == [flat(again(*at)) for at in (AT, BATCH)]
    assert len(again.parameters()) == 1


@ways
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name, way):
    """Products too."""
    f, (transform, vs) = polynomial(), PRODUCTS[name]
    f.trace(*AT)
    product = transform(f)
    expected = product(AT, vs if name == "vjp" else AT)

    assert near(expected) == flat(way(product)(AT, vs if name == "vjp" else AT))


@ways
def test_sparse_jacobians(way):
    """A sparse Jacobian has its pattern again: unrolled, and in lanes."""
    pytest.importorskip("scipy")
    for size in 3, 40:
        f = pygrad.compile(lambda xs: [x * y * xs[0] for x, y in zip(xs, xs[1:])], batched=False)
        for transformed in pygrad.jacobian(f, sparse=True), pygrad.jacobian(f):
            at = [[0.5 * i + 1.0 for i in range(size)]]
            expected = transformed(*at)
            again = way(transformed)
            assert transformed.pattern(*at) == again.pattern(*at)
            assert near(expected) == flat(again(*at))


@ways
def test_a_hessian_with_a_custom_op(way):
    """It has what was recorded of it: a loaded function has the first derivative of a custom op alone."""
    cube = pygrad.custom_op(lambda x: x**3).derivative(lambda y, x: 3.0 * y / x)
    f = pygrad.compile(lambda x: cube(x) * x, batched=False)
    hessian = pygrad.hessian(f)
    for is_recorded in False, True:
        if is_recorded:
            f.trace(1.0)
        assert 48.0 == pytest.approx(hessian(2.0))
        again = way(way(hessian))
        assert (hessian.__name__, pytest.approx(48.0)) == (again.__name__, again(2.0))


@ways
def test_tapes(way):
    """A tape has the same operations again, over copies of its parameters, and hidden leaves."""
    w, hidden = Value(2.0), Value(7.0) * 1.0
    f = pygrad.compile(lambda x: [w * x, {"a": x.sin() * hidden}])
    tape = way(f.trace(1.0))

    assert str(f.tape) == str(tape)
    assert (f.tape.structure, f.tape.passes, list(f.tape.point)) == (tape.structure, tape.passes, list(tape.point))
    assert sorted(p.data for p in f.tape.parameters) == sorted(p.data for p in tape.parameters)


def bounds():
    f = polynomial()
    numpy = pytest.importorskip("numpy")
    xs, y = numpy.array([[2.0, 3.0], [1.0, -1.0]]), numpy.array([5.0, 2.0])
    whole = pygrad.compile(f.function, batched=False)
    wide = pygrad.compile(lambda xs: [x * sum(xs) for x in xs], batched=False, passes=())
    yield f.bind(xs, y)
    yield f.bind(xs, 5.0, inputs=False)
    yield pygrad.compile(f.function, reduction="none").bind(xs, y)
    yield whole.bind(array("d", [2.0, 3.0]), 5.0)
    yield whole.bind(memoryview(array("d", [2.0, 3.0])), 5.0)
    yield pygrad.gradient(f, per_sample=False).bind(xs, y)
    yield pygrad.value_and_grad(f, argnums=1, per_sample=False).bind(xs, 5.0)
    yield pygrad.gradient(whole).bind(xs[0], 5.0)
    yield pygrad.hessian(whole).bind(xs[0], 5.0)
    yield pygrad.jacobian(wide).bind(numpy.arange(30.0))
    yield pygrad.jvp(whole).bind((xs[0], 5.0), (xs[1], 1.0))
    yield pygrad.compile(lambda d, k: d["x"] * d["y"][0] * k, batched=False).bind({"x": 2.0, "y": y}, True)


@ways
@pytest.mark.parametrize("i", range(12))
def test_bound_functions(i, way):
    """A bound function has its recording, its inputs and its results, and goes on from there."""
    bound = [*bounds()][i]
    bound.inputs[0].__setitem__(0, 1.5)
    bound.forward()
    again = way(bound)

    assert flat([list(map(flat_of, bound.inputs)), [*bound.output]]) == flat(
        [list(map(flat_of, again.inputs)), [*again.output]]
    )
    is_shared = way is copy.copy
    again.inputs[0].__setitem__(0, 2.5)
    if not is_shared:
        bound.inputs[0].__setitem__(0, 2.5)
    for each in bound, again:
        each.forward()
    assert near([*bound.output]) == [*again.output]
    if getattr(bound, "gradients", None) is not None:
        for each in bound, again:
            each.backward()
        assert near([*bound.gradients]) == [*again.gradients]


def flat_of(numbers):
    return numbers.ravel().tolist() if hasattr(numbers, "ravel") else list(numbers)


def test_a_bound_function_keeps_its_memory_shared():
    """In one pickle the inputs are the arrays that travel with them; a shallow copy has the same ones."""
    numpy = pytest.importorskip("numpy")
    xs = numpy.array([1.0, 2.0])
    bound = pygrad.compile(lambda x: x * x).bind(xs)
    ys, again = pickle.loads(pickle.dumps((xs, bound)))
    shallow = copy.copy(bound)
    xs[0], ys[0] = 3.0, 5.0
    for each in again, shallow:
        each.forward()

    assert [(25.0 + 4.0) / 2, (9.0 + 4.0) / 2] == [again.output[0], shallow.output[0]]
    assert 0.0 == bound.output[0]


def test_a_decorated_function_is_pickled_by_its_name():
    """Without a recording it is found again as what its module holds, as functions are."""
    assert decorated is pickle.loads(pickle.dumps(decorated))
    f = pickle.loads(pickle.dumps(pygrad.compile(plain, threads=2)))
    assert (18.0, 2) == (f(2.0, 3.0), f.threads)
    deep = copy.deepcopy(decorated)
    assert deep is not decorated
    assert 12.0 == deep(2.0, 3.0)


def test_what_cannot_be_pickled_says_so():
    """A function without a name and without a recording is refused by pickle, and the error names the cures."""
    f = pygrad.compile(lambda x: x * x)
    for thing in f, pygrad.hessian(f), pygrad.gradient(f), pygrad.jvp(f), pygrad.gradient(f, has_aux=True):
        with pytest.raises(pickle.PicklingError, match="not been traced yet, .* call it once first, .*cloudpickle"):
            pickle.dumps(thing)
        with pytest.raises(pickle.PicklingError, match="not been traced yet"):
            pickle._dumps(thing)
    assert 6.0 == pygrad.gradient(copy.deepcopy(f), per_sample=True)(3.0)


def test_deep_copies_without_a_recording():
    """A deep copy of what has no recording has the function, and options of its own."""
    f = polynomial()
    for transform in pygrad.hessian, pygrad.jacobian, lambda f: pygrad.gradient(f, per_sample=True):
        assert flat(transform(f)(*AT)) == flat(copy.deepcopy(transform(f))(*AT))


PROGRAM = """
import pickle, sys
import cloudpickle
import pygrad
w = pygrad.Value(3.0)
f = pygrad.compile(lambda x: w * x**2)
@pygrad.compile
def g(x):
    return w * x**3
things = [f, g, pygrad.hessian(f), pygrad.gradient(f, per_sample=True), pygrad.jvp(f), pygrad.derivative(f, 2),
          pygrad.value_and_grad(pygrad.compile(lambda x: (w * x, x)), has_aux=True, per_sample=True)]
assert not any(thing.recorded() for thing in (f, g))
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump((things, w), file)
"""


def test_cloudpickle_takes_functions_by_value(tmp_path):
    """What has not been recorded travels with its function to a process that does not have the program."""
    pytest.importorskip("cloudpickle")
    path = tmp_path / "things"
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    subprocess.run([sys.executable, str(tmp_path / "program.py"), str(path)], check=True)
    (f, g, hessian, gradient, jvp, second, aux), w = pickle.loads(path.read_bytes())

    assert [12.0, 24.0, 6.0, 12.0] == [f(2.0), g(2.0), hessian(2.0), gradient(2.0)]
    assert [12.0, 12.0, 6.0] == [*jvp(2.0, 1.0), second(2.0)]
    assert ((6.0, 2.0), 3.0) == aux(2.0)
    w.data = 1.0
    assert [4.0, 8.0, 2.0] == [f(2.0), g(2.0), hessian(2.0)]


# --- which recording --------------------------------------------------------------------------------------------------


NUMBERS = itertools.count()


def run_c(source, outputs, inputs, parameters=(), name="model"):
    """Compile a C file, and return what it computes."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = f"{source}.{next(NUMBERS)}.so"  # a library is loaded once by its name
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O0", "-ffp-contract=off", "-o", library, "-x", "c", str(source), "-lm"],
        check=True,
    )
    made = [(ctypes.c_double * max(1, len(x)))(*x) for x in (inputs, parameters, [0.0] * outputs, [0.0] * 10_000)]
    assert 0 == getattr(ctypes.CDLL(library), f"{name}_forward")(*made)
    return [*made[2]][:outputs]


def test_arguments_choose_the_recording(tmp_path):
    """to_c and save write the recording for the arguments; it is made if need be. Without them all is as before."""
    f = pygrad.compile(lambda x, y: pygrad.sum(x) * y if isinstance(x, list) else x * y, batched=False)
    f.trace(2.0, 3.0)
    f.trace([1.0, 2.0], 3.0)
    path = tmp_path / "f"

    f.to_c(path, args=(1.0, 2.0))
    assert [12.0] == run_c(path, 1, [3.0, 4.0])
    f.to_c(path)
    assert [28.0] == run_c(path, 1, [3.0, 4.0, 4.0])
    f.to_c(path, args=([1.0, 2.0, 3.0],), kwargs={"y": 2.0})
    assert [40.0] == run_c(path, 1, [3.0, 3.0, 4.0, 4.0])
    assert 3 == len(f.recorded())
    f.save(path, args=(1.0, 2.0))
    assert 1 == len(pygrad.load(path).recorded())
    f.save(path)
    assert 3 == len(pygrad.load(path).recorded())
    assert f.trace(1.0, 2.0) is not f.tape


@pytest.mark.parametrize("args", [2.0, [1.0, 2.0], "ab", {"x": 1.0}])
def test_arguments_that_are_none(args, tmp_path):
    """args is a tuple: a list could be one argument, or several."""
    f = pygrad.compile(lambda x, y: x * y)
    for write in f.save, f.to_c, pygrad.hessian(f).to_c, pygrad.gradient(f).save:
        with pytest.raises(TypeError, match="args must be the arguments of a call in a tuple"):
            write(tmp_path / "f", args=args)
        with pytest.raises(TypeError, match="kwargs must be the keywords of a call in a dict"):
            write(tmp_path / "f", args=(1.0,), kwargs=3)
        with pytest.raises(RuntimeError, match=r"nothing has been traced yet: .* args=\("):
            write(tmp_path / "f")
    assert [] == os.listdir(tmp_path)


def one_sample(f):
    return pygrad.compile(f.function, batched=False)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_exported(name, tmp_path):
    """to_c, save and tape of a transform: by arguments, without a call; and after one."""
    transformed, path = TRANSFORMS[name](one_sample(polynomial())), tmp_path / "f"
    if "aux" in name:
        transformed = pygrad.hessian(pygrad.compile(pair_of(polynomial()), batched=False), has_aux=True)
    at = [2.0, 3.0], 5.0

    transformed.to_c(path, "name", args=at)
    expected = flat(transformed(*at))
    assert pytest.approx(expected) == run_c(path, len(expected), [2.0, 3.0, 5.0], [3.0], "name")
    assert len(expected) == transformed.trace(*at).output_count == transformed.tape.output_count
    transformed.to_c(path)
    assert pytest.approx(expected) == run_c(path, len(expected), [2.0, 3.0, 5.0], [3.0])
    for options in {}, {"args": at}:
        transformed.save(path, **options)
        found = pygrad.load(path)(*at)
        assert pytest.approx(expected) == flat(found)
        assert str(transformed(*at)).replace("(", "[").replace(")", "]") == str(found) or "aux" in name


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_exported(name, tmp_path):
    """A product takes its arguments, xs and vs, as in a call; the inputs in C are those of xs, then those of vs."""
    transform, vs = PRODUCTS[name]
    product, xs = transform(one_sample(polynomial())), ([2.0, 3.0], 5.0)
    vs = vs if name == "vjp" else ([1.0, 2.0], -1.0)
    product.to_c(tmp_path / "f", args=(xs, vs))
    inputs = [2.0, 3.0, 5.0, *([vs] if name == "vjp" else [1.0, 2.0, -1.0])]
    expected = flat(product(xs, vs))

    assert pytest.approx(expected) == run_c(tmp_path / "f", len(expected), inputs, [3.0])
    product.save(tmp_path / "g", args=(xs, vs))
    parts = (*xs, vs) if name == "vjp" else (*xs, *vs)
    assert pytest.approx(expected) == flat(pygrad.load(tmp_path / "g")(*parts))


def test_a_jacobian_in_lanes_is_exported(tmp_path):
    """The tape of all its numbers is made, though calls take another way."""
    f = pygrad.compile(lambda xs: [x * pygrad.sum(xs) for x in xs], batched=False)
    jacobian, at = pygrad.jacobian(f), [1.0, 2.0, 3.0, 4.0, 5.0] * 3
    jacobian.to_c(tmp_path / "f", args=(at,))
    jacobian.save(tmp_path / "g", args=(at,))

    assert pytest.approx(flat(jacobian(at))) == run_c(tmp_path / "f", 225, at)
    assert pytest.approx(flat(jacobian(at))) == flat(pygrad.load(tmp_path / "g")(at))


def test_a_sparse_jacobian_is_exported(tmp_path):
    """C has the numbers at the places of pattern(); a file refuses, and names the cure."""
    pytest.importorskip("scipy")
    f = pygrad.compile(lambda xs: [x * y for x, y in zip(xs, xs[1:])], batched=False)
    jacobian, at = pygrad.jacobian(f, sparse=True), [1.0, 2.0, 3.0]
    jacobian.to_c(tmp_path / "f", args=(at,))

    assert [2.0, 1.0, 3.0, 2.0] == run_c(tmp_path / "f", 4, at)
    assert [(0, 0), (0, 1), (1, 1), (1, 2)] == jacobian.pattern(at)
    with pytest.raises(ValueError, match=r"keeps no sparse matrices: .* pygrad.load\(path\)"):
        jacobian.save(tmp_path / "g", args=(at,))


def test_a_batch_chooses_its_structure(tmp_path):
    """The arguments of a batch choose the recording of its samples; and a reduced gradient is one of a sample."""
    f = polynomial()
    gradient = pygrad.gradient(f, per_sample=False)
    gradient(*BATCH)
    with pytest.raises(RuntimeError, match="nothing has been traced yet"):
        gradient.to_c(tmp_path / "f")
    gradient.to_c(tmp_path / "f", args=BATCH)
    assert pytest.approx(flat(gradient(*AT))) == run_c(tmp_path / "f", 3, [2.0, 3.0, 5.0], [3.0])
    gradient.save(tmp_path / "g", args=BATCH)
    with pytest.raises(TypeError, match="derivative of one sample"):
        pygrad.load(tmp_path / "g")(*BATCH)
    aux = pygrad.gradient(pygrad.compile(pair_of(f)), has_aux=True, per_sample=False)
    aux.save(tmp_path / "g", args=BATCH)
    with pytest.raises(TypeError, match="derivative of one sample"):
        pygrad.load(tmp_path / "g")(*BATCH)
