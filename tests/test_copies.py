"""What copies, pickles and files carry: gradients travel with the objects of a program, files have the data alone."""

import copy
import os
import pickle

import pytest

import pygrad

WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


class Line(pygrad.Module):
    """A model over the Values of either engine."""

    def __init__(self, value):
        self.slope, self.offset, self.frozen = value(2.0, label="slope"), value(1.0), value(4.0).requires_grad_(False)

    def __call__(self, x):
        return self.slope * x + self.offset * self.frozen


def state_of(parameters):
    return [(p.data, p.grad, getattr(p, "requires_grad", True), p.label) for p in parameters]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_of_a_value_has_its_gradient(Value, way):
    """As micrograd's deepcopy; the two go their own ways from there."""
    v = Value(3.0, label="v")
    (v * v).backward()
    w = way(v)
    (w * 2.0).backward()

    assert ((3.0, 6.0), (3.0, 8.0, "v")) == ((v.data, v.grad), (w.data, w.grad, w.label))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_of_a_module_has_its_gradients(Value, way):
    """A deep copy and a pickle; frozen leaves stay frozen."""
    model = Line(Value)
    model(5.0).backward()
    before, other = state_of(model.parameters()), WAYS[way](model)

    assert [5.0, 4.0] == [p.grad for p in other.parameters()][:2]
    assert before == state_of(other.parameters())
    other.zero_grad()
    assert before == state_of(model.parameters())


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_of_a_compiled_function_has_the_gradients_of_its_parameters(way):
    """With its recordings, those of its derivatives and of a bound function too."""
    f = pygrad.compile(Line(pygrad.Value), batched=False)
    f.backward(5.0)
    bound = f.bind(5.0)
    expected = sorted(state_of(f.parameters()))

    jacobian = pygrad.jacobian(f)
    jacobian(5.0)
    assert expected == sorted(state_of(WAYS[way](f).parameters()))
    assert expected == sorted(state_of(WAYS[way](f.tape).parameters))
    assert expected == sorted(state_of(WAYS[way](jacobian).parameters()))
    again = WAYS[way](bound)
    again.backward()
    assert [10.0, 8.0, 0.0] == [p.grad for p in sorted(again.run.tape.parameters, key=lambda p: -p.grad)]
    assert expected == sorted(state_of(f.parameters()))


def test_files_have_no_gradients(tmp_path):
    """What is loaded begins at 0, and a model that is loaded into keeps its own gradients."""
    model = Line(pygrad.Value)
    f = pygrad.compile(model, batched=False)
    f.backward(5.0)
    f.save(tmp_path / "f")

    assert [0.0] * 3 == [p.grad for p in pygrad.load(tmp_path / "f").parameters()]
    assert [5.0, 4.0, 0.0] == [p.grad for p in model.parameters()]
    pytest.importorskip("safetensors")
    pygrad.save_model(model, tmp_path / "model")
    other = Line(pygrad.Value)
    other.slope.grad = 7.0
    pygrad.load_model(other, tmp_path / "model")
    assert [7.0, 0.0, 0.0] == [p.grad for p in other.parameters()]


# --- paths and models that are none -----------------------------------------------------------------------------------


def uses_of_a_path():
    f = pygrad.compile(lambda x: x * 2.0)
    f.trace(1.0)
    hessian = pygrad.hessian(f)
    hessian.trace(1.0)
    yield from (f.save, f.to_c, hessian.save, hessian.to_c, pygrad.load)
    try:
        import safetensors  # noqa: F401
    except ImportError:
        return
    model = pygrad.MLP(2, [1])
    yield from (lambda path: pygrad.save_model(model, path), lambda path: pygrad.load_model(model, path))


@pytest.mark.parametrize("path", [0, 1, True, None, 2.0, [], pytest], ids=repr)
def test_what_is_no_path(path):
    """A number would be a descriptor, which is not read, written or closed: a TypeError says what a path is."""
    for use in uses_of_a_path():
        with pytest.raises(TypeError, match="path must be a str, bytes or os.PathLike object, not"):
            use(path)
    os.fstat(1)


@pytest.mark.parametrize("path", ["a\0b", b"a\0b", "\ud800"], ids=ascii)
def test_what_no_file_can_be_called(path):
    """A null character and half a character are a ValueError that shows the path."""
    for use in uses_of_a_path():
        with pytest.raises(ValueError, match="path cannot be the name of a file, '"):
            use(path)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")
def test_descriptors_that_are_not_open():
    """The error names the path and the descriptor."""
    f = pygrad.compile(lambda x: x * 2.0)
    f.trace(1.0)
    for number in 987, 10**20:
        with pytest.raises(OSError, match=r"descriptor \d+ of this process is not open for writing") as error:
            f.save(f"/dev/fd/{number}")
        assert f"/dev/fd/{number}" == error.value.filename
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="not open for writing"):
            f.save(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("model", [3, None, "model", [1.0], pygrad.MLP], ids=repr)
def test_what_is_no_model(model, tmp_path):
    """It is refused before a file is looked at."""
    with pytest.raises(TypeError, match=r"a model is needed, a Module or another object with state_dict\(\), not"):
        pygrad.save_model(model, tmp_path / "file")
    with pytest.raises(TypeError, match=r"a model is needed, .* load_state_dict\(\), not"):
        pygrad.load_model(model, tmp_path / "file")
    assert [] == os.listdir(tmp_path)


class Box(pygrad.Module):
    def __init__(self, inner):
        self.inner = inner


@pytest.mark.parametrize("wrap", [Box, lambda x: {"inner": x}], ids=["modules", "dicts"])
def test_deep_models(wrap):
    """A Module may hold others 50,000 deep, and a circle of them ends."""
    leaf = pygrad.Value(1.0)
    inner = leaf
    for _ in range(50_000):
        inner = wrap(inner)
    model = Box(inner)
    [(name, entry)] = model.state_dict().items()

    assert ([leaf], 1.0, 50_000) == (model.parameters(), entry, name.count(".inner"))
    model.load_state_dict({name: 2.0})
    model.zero_grad()
    assert (2.0, 1) == (leaf.data, model.requires_grad_(False).num_parameters())
    circle = Box(None)
    circle.inner, circle.own = {"again": circle, "twice": [circle, leaf]}, leaf
    assert [("inner.twice.1", leaf)] == [*circle.named_parameters()]
    circle.inner = None
