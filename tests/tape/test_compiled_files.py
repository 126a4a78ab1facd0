"""Compiled functions out of the process: files, pickles and C. The same bits, and no file that can do harm."""

import contextlib
import copy
import ctypes
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import struct
import subprocess
import sys
from array import array

import pytest
from carried import expression, softclip

import pygrad
from pygrad.common import nested as lists
from pygrad.engine._lib import ffi, lib
from pygrad.nn import MLP
from pygrad.tape import files as tapefile

pytestmark = pytest.mark.wheel
Value = pygrad.Value


# --- functions to carry about; each returns the function and its parameters -------------------------------------------


def network():
    """Dots in layers."""
    random.seed(3)
    mlp = MLP(2, [4, 1])

    def f(x, y):
        return (mlp([x, y]) - 1.0) ** 2 + pygrad.sum([p * p for p in mlp.parameters()]) * 0.01

    return f, mlp.parameters()


def choices():
    """Ops with an index, and such without a derivative."""
    table = [Value(0.1 * i) for i in range(5)]

    def f(x, y):
        index = pygrad.less(x, y) + pygrad.greater_equal(x, 0.0) + pygrad.equal(x, x) + pygrad.not_equal(x, y)
        inner = pygrad.where(pygrad.less_equal(y, 0.2), x * y, pygrad.stop_gradient(x) + y)
        return pygrad.take(table, index) * inner + pygrad.take([x, y, x * y], pygrad.less(x, y))

    return f, table


def declared():
    """A declared op."""
    a = Value(0.5)
    return (lambda x, y: softclip(x * a) * y + softclip(y)), [a]


def several():
    """Outputs in a nested list, one of them a constant, one an input."""
    a = Value(2.0)
    return (lambda x, y: [x * a, [y, 3.0], (x + y) ** 2]), [a]


def hidden():
    """Interior nodes and leaves that were there before, some of which no Value is left of."""
    a = Value(1.25)
    half, gone = a * 0.5, Value(7.0) * a
    return (lambda x, y: x * half + gone * y), [a]


def unused():
    """An input and a parameter without effect."""
    a, b = Value(1.0), Value(2.0)
    return (lambda x, y: y * a + 0.0 * b), [a, b]


def nothing():
    """Sums of nothing."""
    a = Value(3.0)
    return (lambda x, y: pygrad.sum([], x) * pygrad.dot([], [], y) + pygrad.sum([]) * a), [a]


FUNCTIONS = [expression, network, choices, declared, several, hidden, unused, nothing]
PASSES = [("fold", "share", "fuse", "hoist"), ()]
functions = pytest.mark.parametrize("make", FUNCTIONS)


def traced(make, passes=PASSES[0], **options):
    """Return a compiled function that has been traced, and keeps its parameters alive."""
    function, parameters = make()
    f = pygrad.compile(function, passes=passes, **options)
    f.kept = parameters
    f(0.3, -0.4)
    return f


def points(seed, n):
    """Return n random points, coordinate by coordinate."""
    rng = random.Random(seed)
    return [rng.uniform(-2, 2) for _ in range(n)], [rng.uniform(-2, 2) for _ in range(n)]


def run(f, n, seed=1):
    """Return what a function gives at n points and the gradients of inputs and parameters, as text, to the bit."""
    for p in f.parameters():
        p.grad = 0.0
    args = [column[0] for column in points(seed, 1)] if n == 1 else points(seed, n)
    out = [f(*args)]
    if f.tape.structure is None and f.reduction != "none":
        out += f.backward(*args, inputs=True)
    return repr([out, [(p.data, p.grad) for p in f.parameters()]])


@pytest.fixture
def path(tmp_path):
    """Where a file may be."""
    return tmp_path / "function.pygrad"


def reload(f, path):
    """Return a function after a round trip through a file."""
    f.save(path)
    return pygrad.load(path)


# --- round trips ------------------------------------------------------------------------------------------------------


@functions
@pytest.mark.parametrize("passes", PASSES, ids=["all", "none"])
@pytest.mark.parametrize("carry", [reload, lambda f, _: pickle.loads(pickle.dumps(f)), lambda f, _: copy.deepcopy(f)])
def test_the_same_bits(make, passes, carry, path):
    """A function that was saved, pickled or copied gives the same bits: outputs, gradients, one sample and batches."""
    f = traced(make, passes)
    other = carry(f, path)

    assert [p.data for p in f.parameters()] == [p.data for p in other.parameters()]
    assert not set(map(id, f.parameters())) & set(map(id, other.parameters()))
    for n in 1, 3, 100:
        assert run(f, n) == run(other, n)
    assert str(f.tape) == str(other.tape)


@pytest.mark.parametrize("make", [expression, hidden])
def test_parameters_are_read_anew(make, path):
    """What is assigned to the parameters of a loaded function counts, and the original is left alone."""
    f = traced(make)
    g = reload(f, path)
    before = f(0.3, -0.4)
    for other in g.parameters():
        other.data += 0.25

    assert before == f(0.3, -0.4)
    for mine, other in zip(f.parameters(), g.parameters()):
        mine.data = other.data
    assert f(0.3, -0.4) == g(0.3, -0.4) != before


def test_several_structures_and_options(path):
    """All tapes are saved, and reduction, batched, threads and passes; keywords are bound as before."""
    w = [Value(1.0), Value(-2.0)]

    def f(x, scale=1.0):
        return pygrad.dot(x if isinstance(x, list) else [x, x], w) * scale

    f = pygrad.compile(f, reduction="sum", batched=(True, False), threads=2, passes=["fold", "fuse"])
    calls = [[([[1.0, 2.0], [3.0, 4.0]],), {}], [([1.0, 2.0],), {}], [([1.0, 2.0], 3.0), {}], [(), {"x": [1.0]}]]
    expected = [f(*args, **kwargs) for args, kwargs in calls]
    f(scale=2.0, x=[5.0])
    g = reload(f, path)

    assert expected == [g(*args, **kwargs) for args, kwargs in calls]
    assert f(scale=2.0, x=[5.0]) == g(scale=2.0, x=[5.0])
    assert ("f", "sum", (True, False), 2) == (g.__name__, g.reduction, g.batched, g.threads)
    assert f._passes == g._passes
    assert [w[0].data, w[1].data] == [p.data for p in g.parameters()]


def test_a_model_gives_each_sample(path):
    """A compiled Module returns each sample's output, once loaded too."""
    random.seed(1)
    f = pygrad.compile(MLP(2, [3, 1]))
    X = [[0.1, 0.2], [0.3, 0.4]]

    assert f(X) == reload(f, path)(X)


def test_saving_again_is_the_same_file(path):
    """A loaded function can be saved and pickled again: the file is the same to the byte."""
    f = traced(expression)
    g = reload(f, path)
    first = path.read_bytes()
    g.save(path)

    assert first == path.read_bytes()
    assert run(f, 3) == run(pickle.loads(pickle.dumps(g)), 3)


def test_numbers_without_a_value(path):
    """nan, infinities, -0.0 and the smallest number come through, as parameters and constants."""
    numbers = [float("nan"), float("inf"), -float("inf"), -0.0, 5e-324]
    w = [Value(x) for x in numbers]
    f = pygrad.compile(lambda x: [x, *[p + 0.0 * x for p in w], *[Value(c) for c in numbers]])
    f(1.0)

    assert repr(f(1.0)) == repr(reload(f, path)(1.0))
    assert repr([p.data for p in w]) == repr([p.data for p in reload(f, path).parameters()])


def test_what_a_loaded_function_cannot(path):
    """Other structures, Values and clear() are TypeErrors that say what there is; a mistaken call as ever."""
    f = pygrad.compile(lambda x, y: (x[0] if isinstance(x, list) else x) + y)
    f(1.0, 2.0)
    f([[1.0, 2.0]], [3.0])
    g = reload(f, path)
    structures = re.escape("(number, number) or ([number, number], number)")

    for args in [(1.0,), ([[1.0]], [1.0]), (1.0, 2.0, 3.0), (Value(1.0), Value(2.0))]:
        with pytest.raises(TypeError, match=rf"lambda> was loaded, .* {structures}$|lambda> was loaded.*{structures}"):
            g(*args)
    with pytest.raises(TypeError, match="cannot be traced anew"):
        g.clear()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        g(1.0, y=2.0, z=2.0)
    with pytest.raises(IndexError, match="out of range"):
        reload(traced(lambda: (lambda x, y: pygrad.take([x, y], y + 0.4), [])), path)(0.0, 7.0)
    assert 3.0 == g(1.0, 2.0)


def test_fit_goes_on(path):
    """A loaded function is trained as the original is, to the bit."""
    f = traced(network)
    g = reload(f, path)
    for each in f, g:
        each.fit(pygrad.optim.SGD(each.parameters(), lr=0.1), *points(2, 20), epochs=3, batch_size=5, seed=1)

    assert [p.data for p in f.parameters()] == [p.data for p in g.parameters()]


def test_copies_share_as_values_do():
    """A deep copy of a function with its model keeps them together; a shallow copy has the same parameters."""
    w = Value(2.0)
    f = pygrad.compile(lambda x: x * w)
    f(1.0)
    g, v = copy.deepcopy((f, w))
    h, u = pickle.loads(pickle.dumps((f, w)))
    shallow = copy.copy(f)
    v.data, u.data = 3.0, 4.0

    assert [2.0, 3.0, 4.0, 2.0] == [f(1.0), g(1.0), h(1.0), shallow(1.0)]
    assert w is shallow.parameters()[0]
    shallow.clear()
    assert ([w], []) == (f.parameters(), shallow.parameters())


def test_a_pickle_in_a_spawned_process():
    """A lambda's tape goes to a worker that has never seen its source, and gives the same bits there."""
    f = traced(declared)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(f, points(1, 5))

    assert f(*points(1, 5)) == there


def test_a_pickle_before_the_first_call():
    """What has not been traced is pickled with its function, or a clear error says to call it first."""
    model = MLP(2, [1])
    f = pickle.loads(pickle.dumps(pygrad.compile(model, threads=2)))
    w = Value(1.0)

    assert ([model([1.0, 2.0]).data], 2) == (f([[1.0, 2.0]]), f.threads)
    with pytest.raises(pickle.PicklingError, match="has not been traced yet, .* call it once first"):
        pickle.dumps(pygrad.compile(lambda x: x * w))


# --- bad files --------------------------------------------------------------------------------------------------------


def refuse(path, blob, match=""):
    """Check that a file of these bytes is a ValueError that names it, and leaves no node behind."""
    path.write_bytes(blob)
    before, message = pygrad.engine.live_nodes(), "it was loaded"
    try:
        pygrad.load(path)
    except ValueError as error:
        message = str(error)

    assert re.search(match, message)
    assert str(path) in message
    assert before == pygrad.engine.live_nodes()


def sealed(content, header_size, version=1):
    """Return a file of this content (header and body) with the right sizes and checksum."""
    digest = hashlib.sha256(content).digest()
    return struct.pack("<8sIIQ32s", b"\x89pygrad\n", version, header_size, len(content) - header_size, digest) + content


def parts(path):
    """Return the header of a file, as a dict, and its body."""
    blob = path.read_bytes()
    size = struct.unpack_from("<I", blob, 12)[0]
    return json.loads(blob[56 : 56 + size]), blob[56 + size :]


def joined(header, body):
    """Return a file of this header and body, with the right checksum."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return sealed(text + body, len(text))


@pytest.fixture
def whole(path):
    """The bytes of a small file with every kind of operation, which is at `path`."""
    a = Value(0.5)
    f = pygrad.compile(lambda x, y: softclip(x) + pygrad.take([x, y, a], y) + pygrad.dot([x, y], [y, a]) + x**1.5 * a)
    f(1.0, 1.0)
    f.save(path)
    return path.read_bytes()


def test_any_changed_byte_is_found(path, whole):
    """There is no byte that could be another one."""
    for i in range(len(whole)):
        for flip in {0xFF, 1 << i % 8}:
            refuse(path, whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])


def test_any_cut_and_addition_is_found(path, whole):
    """Every beginning of a file is refused, and a file with something behind it."""
    for size in range(len(whole)):
        refuse(path, whole[:size], "is damaged: it is cut|is no file of a compiled function")
    refuse(path, whole + b"\0", "is damaged: it is cut, or something was added")


def test_a_newer_version_says_so(path, whole):
    """The version is looked at first."""
    refuse(
        path, sealed(whole[56:], struct.unpack_from("<I", whole, 12)[0], 2), "by a newer pygrad, in format 2.* reads 1"
    )
    refuse(
        path, whole[:8] + struct.pack("<I", 7) + b"anything at all, in the end the version comes first.....", "newer"
    )


@pytest.mark.parametrize(
    "blob", [b"", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04" * 30, b"\xff" * 100, b"\x89PNG\r\n\x1a\n" * 9]
)
def test_foreign_files(path, blob):
    """What begins otherwise is no file of ours."""
    refuse(path, blob, "is no file of a compiled function")


def test_paths_that_cannot_be(tmp_path):
    """Missing files and folders are the system's own errors, and a failed save leaves nothing."""
    f = traced(several)
    with pytest.raises(FileNotFoundError):
        pygrad.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        pygrad.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        f.save(tmp_path / "nowhere" / "file")
    with pytest.raises(OSError, match="directory"):
        f.save(tmp_path)
    with pytest.raises(FileNotFoundError):
        f.to_c(tmp_path / "nowhere" / "file.c")
    with pytest.raises(RuntimeError, match="nothing has been traced yet"):
        pygrad.compile(lambda x: x).save(tmp_path / "file")
    assert [] == os.listdir(tmp_path)


def test_a_save_that_fails_leaves_the_old_file(path, monkeypatch):
    """A file is replaced in one go or not at all."""
    traced(several).save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        traced(expression).save(path)

    assert (before, [path.name]) == (path.read_bytes(), os.listdir(path.parent))


def changed(header, tape=None, **entries):
    """Return a header with other entries, or with other ones of its tape."""
    header = copy.deepcopy(header)
    (header["tapes"][0] if tape else header).update(entries)
    return header


HEADERS = [
    {"name": 3},
    {"reduction": "product"},
    {"reduction": []},
    {"threads": "2"},
    {"threads": -1},
    {"threads": 1e3},
    {"batched": None},
    {"batched": [True, 2]},
    {"passes": ["fold", "magic"]},
    {"passes": "fold"},
    {"passes": [["fold"]]},
    {"signature": "xy"},
    {"signature": [["x"]]},
    {"signature": [["x", "ANY", False]]},
    {"signature": [["not a name", "POSITIONAL_ONLY", False]]},
    {"signature": [["", "POSITIONAL_ONLY", False]]},
    {"signature": [["x", "POSITIONAL_ONLY", True], ["y", "POSITIONAL_ONLY", False]]},
    {"visible": 2},
    {"visible": -1},
    {"visible": True},
    {"numbers": 2},
    {"numbers": 2**70},
    {"ops": None},
    {"ops": [1, 2]},
    {"ops": ["add"]},
    {"tapes": None},
    {"tapes": []},
    {"tapes": [None]},
    {"tapes": [{}]},
    {"tape": 1, "arguments": None},
    {"tape": 1, "arguments": [None]},
    {"tape": 1, "arguments": [None, {"a": 1}]},
    {"tape": 1, "output": [None, None]},
    {"tape": 1, "output": 1},
    {"tape": 1, "constants": 10**6},
    {"tape": 1, "constants": 2**40},
    {"tape": 1, "constants": None},
    {"tape": 1, "words": 1},
    {"tape": 1, "words": -1},
    {"tape": 1, "point": 2.0},
    {"tape": 1, "parameters": 0},
]


@pytest.mark.parametrize("entries", HEADERS, ids=str)
def test_headers_that_cannot_be(path, whole, entries):
    """A wrong entry is refused although the checksum is right."""
    header, body = parts(path)
    refuse(path, joined(changed(header, **entries), body), "is damaged, or was not written by pygrad")


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": ' * 5000, b"NaN"])
def test_headers_that_are_none(path, whole, text):
    """A header that is no JSON object of ours, however deep, is refused."""
    refuse(path, joined(text, parts(path)[1]), "is damaged, or was not written by pygrad")


@pytest.mark.parametrize("text", [b"[" * 300_000, b'["\\"[",' * 200_000], ids=["plain", "with strings"])
def test_depth_is_refused_whatever_the_recursion_limit(path, whole, text):
    """A program may have raised the limit, as micrograd's users do; the JSON parser would overflow the stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000_000)
    try:
        refuse(path, joined(text, parts(path)[1]), "it is nested too deep")
    finally:
        sys.setrecursionlimit(limit)


def test_deep_structures(path, whole):
    """Structures too deep to walk are refused, in a file and before there is one; brackets in a name do not count."""
    header, body = parts(path)
    text = json.dumps(header).replace('"output": null', '"output": ' + "[" * 900 + "null" + "]" * 900)
    refuse(path, joined(text.encode(), body), "it is nested too deep")

    with pytest.raises(ValueError, match="nested more than 64 deep"):
        pygrad.compile(nested).trace(1.0)
    deep = pygrad.compile(lambda x: x[0] * 2.0, batched=False)
    deep.trace([1.0, nested(2.0)])
    with pytest.raises(ValueError, match="lists nested 200 deep"):
        deep.save(path)
    named = pygrad.compile(lambda x: x * 2.0)
    named.__name__ = "[" * 300
    named.trace(1.0)
    named.save(path)
    assert 6.0 == pygrad.load(path)(3.0)


def nested(x):
    for _ in range(250):
        x = [x]
    return x


def test_entries_left_out_and_added(path, whole):
    """Every entry of the header is needed; one that is not known is not minded."""
    header, body = parts(path)
    for name in header:
        refuse(path, joined({key: header[key] for key in header if key != name}, body), f"KeyError: '{name}'")
    for name in header["tapes"][0]:
        entries = {key: kept for key, kept in header["tapes"][0].items() if key != name}
        refuse(path, joined({**header, "tapes": [entries]}, body), f"KeyError: '{name}'")
    path.write_bytes(joined(changed(header, more="anything"), body))
    assert 2 == len(pygrad.load(path).tape.point)


def test_sizes_that_do_not_add_up(path, whole):
    """A body that is longer or shorter than the header says is refused although the checksum is right."""
    header, body = parts(path)
    for other in body + bytes(8), body[:-8], b"":
        refuse(path, joined(header, other), "its sizes do not add up")


def test_two_tapes_for_the_same_arguments(path, whole):
    """One structure of arguments has one tape."""
    header, body = parts(path)
    twice = changed(header, tapes=header["tapes"] * 2)

    refuse(path, joined(twice, body + body[8:]), "two for the same arguments")


def test_an_op_that_is_not_known_matters_only_if_it_is_used(path, whole):
    """A file of a pygrad with more ops loads as long as it uses none of them."""
    header, body = parts(path)
    expected = pygrad.load(path)(0.3, 1.0)
    more = [name if name not in ("sigmoid", "sin") else f"new {name}" for name in header["ops"]]
    path.write_bytes(joined(changed(header, ops=more), body))

    assert expected == pygrad.load(path)(0.3, 1.0)
    more = [name if name != "take" else "new take" for name in header["ops"]]
    refuse(path, joined(changed(header, ops=more), body), "an operation that is unknown here")


# --- tapes that cannot be ---------------------------------------------------------------------------------------------

OPS = {ffi.string(lib.pg_op_name(op)).decode(): op for op in range(lib.pg_op_count())}


def image(words, numbers=(), outputs=(0,), inputs=2, parameters=1, constants=0):
    """Return a tape from this image: as text, or as the ValueError that says what is wrong."""
    state = {
        "parameters": array("i", range(parameters)),
        "point": array("d", [0.0] * inputs),
        "numbers": array("d", numbers),
        "words": array("i", [OPS.get(word, word) for word in words]),
        "outputs": array("i", outputs),
        "constants": constants,
        "output": (None,) * len(outputs),
    }
    try:
        values = [Value(1.0) for _ in range(parameters)]
        tape = pygrad.tape.tape.Tape.from_state(state, list(range(len(OPS))), values, parameters, 15)
    except ValueError as error:
        return str(error)
    return str(tape)


BEFORE, WITHIN = "an operand does not come before its operation", "it ends within an operation"
UNKNOWN, COUNT = "it has an operation that is unknown here", "an operation has a wrong number of operands"
LARGE = 2**31 - 1
IMAGES = [
    (["tanh", 0], (), (3,), "v0 = tanh(x0)\nreturn v0"),
    (["add", 0, 2, "neg", 3], (), (4,), "v0 = add(x0, p0)\nv1 = neg(v0)\nreturn v1"),
    (["sum", -1, 0], (), (3,), "v0 = sum(0.0)\nreturn v0"),
    (["sum", 0, 3, 1, 1, 2], (), (3,), "v0 = sum(x0, x1, x1, p0)\nreturn v0"),
    (["dot", -1, 2, 1, 2], (), (3,), "v0 = dot(0.0; x1*p0)\nreturn v0"),
    (["take", -1, 2, 0, 1], (), (3,), "v0 = take(x0, x1)\nreturn v0"),
    (["declared", 0, 2, 1, 2], (), (3,), "v0 = declared(x0; x1*p0)\nreturn v0"),
    (["power", 0], (1.5,), (3,), "v0 = power(x0, 1.5)\nreturn v0"),
    (["neg", 0, "exp", 1], (), (4,), "v0 = exp(x1)\nreturn v0"),  # what no output needs is dropped
    (["tanh", 3], (), (3,), BEFORE),
    (["tanh", -1], (), (3,), BEFORE),
    (["tanh", LARGE], (), (3,), BEFORE),
    (["add", 0, 3], (), (3,), BEFORE),
    (["add", 0, -1], (), (3,), BEFORE),
    (["add", 0], (), (3,), WITHIN),
    (["tanh"], (), (3,), WITHIN),
    (["sum"], (), (3,), WITHIN),
    (["sum", 0], (), (3,), WITHIN),
    (["sum", 0, 1], (), (3,), WITHIN),
    (["sum", 0, LARGE, 1], (), (3,), WITHIN),
    (["sum", 0, -1], (), (3,), COUNT),
    (["sum", -2, 1, 0], (), (3,), BEFORE),
    (["sum", 3, 1, 0], (), (3,), BEFORE),
    (["sum", 0, 1, 3], (), (3,), BEFORE),
    (["sum", 0, 1, -1], (), (3,), BEFORE),
    (["dot", 0, 1, 1], (), (3,), COUNT),
    (["dot", 0, -2, 1, 1], (), (3,), COUNT),
    (["declared", 0, 1, 1], (), (3,), COUNT),
    (["declared", -1, 2, 1, 1], (), (3,), BEFORE),
    (["take", -1, 0], (), (3,), COUNT),
    (["take", -1, 1, 0], (), (3,), COUNT),
    (["take", 0, 2, 0, 1], (), (3,), "a take has an operand too many"),
    (["leaf", 0], (), (3,), UNKNOWN),
    (["custom", 0, 0], (), (3,), UNKNOWN),
    (["local", 0, 0], (), (3,), UNKNOWN),
    ([len(OPS), 0], (), (3,), UNKNOWN),
    ([-1, 0], (), (3,), UNKNOWN),
    (["power", 0], (), (3,), "it lacks a number"),
    (["tanh", 0], (1.5,), (3,), "it has a number too many"),
    (["tanh", 0], (), (4,), "an output is no node of it"),
    (["tanh", 0], (), (-1,), "an output is no node of it"),
]


@pytest.mark.parametrize("words, numbers, outputs, expected", IMAGES)
def test_every_invariant_of_a_tape_is_checked(words, numbers, outputs, expected):
    """An image is a tape that a program could have made, or a ValueError says which invariant it breaks."""
    assert expected == image(words, numbers, outputs)


def test_images_too_large():
    """Sizes whose sum would overflow are refused before anything is made."""
    assert "it lacks a number" == image([], constants=3)
    sizes = {"inputs": 2**32 - 1, "parameters": 2**32 - 1, "constants": 2**32 - 1, "word_count": 2**62}
    cell, broken = ffi.new("pg_tape_cell *"), ffi.new("char const **")

    assert lib.PG_BAD_TAPE == lib.pg_tape_from(ffi.new("pg_tape_image *", sizes), cell, broken)
    assert (b"it is too large", ffi.NULL) == (ffi.string(broken[0]), cell.tape)


def test_memory_that_runs_out():
    """Whichever allocation of a load fails, it is a MemoryError, and leaves nothing behind."""
    blob = tapefile.pack(traced(choices)._state())
    failed = 0
    for n in range(1, 40):
        before = pygrad.engine.live_nodes()
        lib.pg_fail_allocation(n)
        try:
            pygrad.tape.compiled._unpickle(blob, [Value(1.0) for _ in range(5)])
        except MemoryError:
            failed += 1
        finally:
            lib.pg_fail_allocation(0)
        assert before == pygrad.engine.live_nodes()
    assert failed > 5


def test_parameters_that_a_function_does_not_have(path, whole):
    """A tape names parameters of the function, each once."""
    header, body = parts(path)
    at = 8 * header["numbers"]  # behind the parameters' numbers: the first tape's parameters
    for index in 1, -1, LARGE:
        refuse(path, joined(header, body[:at] + struct.pack("<i", index) + body[at + 4 :]), "none of the function's")
    twice = changed(header, numbers=2, visible=2)
    twice["tapes"][0]["parameters"] = 2
    refuse(path, joined(twice, body[:at] + bytes(8 + 8) + body[at + 4 :]), "is there twice")


def mutated(rng, content, header_size):
    """Return a content with a few bytes, words or pieces of its body changed, and rarely of its header."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        low = 0 if rng.random() < 0.2 else header_size
        at = rng.randrange(low, len(content))
        kind = rng.randrange(3)
        if kind == 0:
            content[at] = rng.randrange(256)
        elif kind == 1:
            at -= (at - header_size) % 4
            word = rng.choice([rng.randrange(-3, 45), rng.randrange(-(2**31), 2**31), LARGE])
            content[at : at + 4] = struct.pack("<i", word)
        else:
            other = rng.randrange(low, len(content))
            n = min(rng.randrange(1, 16), len(content) - max(at, other))
            content[at : at + n] = content[other : other + n]
    return bytes(content)


def fuzz(contents, rounds, seed, source="fuzz"):
    """Load mutated contents with a right checksum, run what loads; return how many did, and how many were refused."""
    rng, loaded, told = random.Random(seed), 0, 0
    for _ in range(rounds):
        content, header_size = rng.choice(contents)
        content = mutated(rng, content, header_size)
        try:
            f = pygrad.tape.compiled._restore(tapefile.unpack(sealed(content, header_size), source), source)
        except ValueError as error:
            told += str(error).startswith("fuzz is damaged, or was not written by pygrad: ")
        else:
            loaded += 1
            run_anything(f, 1)
            run_anything(f, 9)
    return loaded, told


def run_anything(f, n):
    """Run a function forward and backward, whatever it is; what may be wrong is the index of a take."""
    args = [lists.build_lists(s, iter([0.5] * 1000)) for s in list(f._tapes)[-1]]
    f.reduction, f.threads, f.batched = "sum", 1, n > 1
    with contextlib.suppress(IndexError):
        f(*(args if n == 1 else [[arg] * n for arg in args]))
        if f.tape.output_count == 1:
            f.backward(*(args if n == 1 else [[arg] * n for arg in args]))
    assert str(f.tape)


@pytest.mark.parametrize("seed", range(4))
def test_mutations_with_a_right_checksum(seed):
    """A file that somebody made on purpose is refused, or is a function that can be run."""
    contents = []
    for make in FUNCTIONS:
        blob = tapefile.pack(traced(make)._state())
        contents.append((blob[56:], struct.unpack_from("<I", blob, 12)[0]))
    rounds = int(os.environ.get("PYGRAD_FUZZ_ROUNDS", 1000))
    loaded, told = fuzz(contents, rounds, seed)

    assert rounds == loaded + told
    assert rounds / 20 < loaded < rounds
    assert lib.pg_check() == ffi.NULL


# --- C ----------------------------------------------------------------------------------------------------------------

COMPILERS = [name for name in ("gcc", "clang", "cc") if shutil.which(name)]
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="needs a C compiler")
STRICT = [
    "-std=c99",
    "-pedantic",
    "-O2",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Werror",
]


def cc(*arguments, compiler=None):
    """Run the C compiler, which must not find anything to say."""
    done = subprocess.run([compiler or COMPILERS[0], *STRICT, *map(str, arguments)], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


def self_check(source, program, compiler=None):
    """Compile a file with its self-check and run it: exit status and what it printed."""
    cc("-DPYGRAD_SELF_CHECK", source, "-o", program, "-lm", compiler=compiler)
    done = subprocess.run([program], capture_output=True, text=True)
    return done.returncode, done.stdout


def from_c(library, f, x, y, seeds, name):
    """Return outputs and gradients of one sample from the library, as `from_tape` does."""
    n, outputs = len(f.parameters()), f.tape.output_count
    doubles = ctypes.c_double * 1000
    data, grads, out = doubles(*[p.data for p in f.parameters()]), doubles(*[0.25] * n), doubles()
    inputs = doubles()
    work = (ctypes.c_double * 10_000)()
    gradient = getattr(library, f"{name}_gradient")
    assert 0 == gradient(doubles(x, y), data, seeds and doubles(*seeds), out, inputs, grads, work)
    again = doubles()
    assert 0 == getattr(library, f"{name}_forward")(doubles(x, y), data, again, work)
    assert out[:outputs] == again[:outputs]
    return out[:outputs], inputs[:2], grads[:n]


def from_tape(f, x, y, seeds):
    """Return outputs and gradients of one sample from the tape, whose parameters' gradients begin with 0.25."""
    tape, n = f.tape, f.tape.output_count
    for p in f.parameters():
        p.grad = 0.25
    given, seeds = ffi.new("double[]", [x, y]), ffi.new("double[]", seeds or [1.0] * n)
    outputs, inputs = ffi.new("double[]", n), ffi.new("double[]", 2)
    columns = ffi.new("pg_column[]", [(given, 0), (given + 1, 0)])
    seeds = seeds, ffi.new("pg_column[]", [(seeds + i, 0) for i in range(n)])
    targets = ffi.new("pg_target[]", [(inputs, 0), (inputs + 1, 0)])
    batch = {"samples": 1, "columns": columns, "seeds": seeds[1], "outputs": outputs, "input_grads": targets}
    assert lib.PG_OK == lib.pg_replay_run(tape.replay, ffi.new("pg_batch *", batch))
    return list(outputs), list(inputs), [p.grad for p in f.parameters()]


@needs_compiler
@functions
@pytest.mark.parametrize("passes", PASSES, ids=["all", "none"])
def test_c_gives_the_same_bits(make, passes, tmp_path):
    """The exported file compiles without a warning and agrees with the tape at random points, gradients included."""
    f = traced(make, passes)
    grads = [p.grad for p in f.parameters()]
    f.to_c(tmp_path / "f.c", name="net")
    assert grads == [p.grad for p in f.parameters()]
    cc("-shared", "-fPIC", tmp_path / "f.c", "-o", tmp_path / "f.so", "-lm")
    library, rng = ctypes.CDLL(str(tmp_path / "f.so")), random.Random(5)

    for _ in range(20):
        x, y = rng.uniform(-2, 2), rng.uniform(-2, 2)
        for p in f.parameters():
            p.data += rng.uniform(-0.1, 0.1)
        seeds = rng.choice([None, [rng.uniform(-1, 1) for _ in range(f.tape.output_count)]])
        assert repr(from_tape(f, x, y, seeds)) == repr(from_c(library, f, x, y, seeds, "net"))


@needs_compiler
@functions
@pytest.mark.parametrize("compiler", COMPILERS)
def test_c_checks_itself(make, compiler, tmp_path, path):
    """The self-check agrees, with every compiler there is; that of a loaded function is the same file."""
    f = traced(make)
    f.to_c(tmp_path / "f.c")
    reload(f, path).to_c(tmp_path / "g.c")

    assert (tmp_path / "f.c").read_text() == (tmp_path / "g.c").read_text()
    assert (
        0,
        f"ok: {f.tape.output_count} outputs and {2 + len(f.parameters())} gradients, to the bit\n",
    ) == self_check(tmp_path / "f.c", tmp_path / "check", compiler)


@needs_compiler
@pytest.mark.parametrize("table", ["model_parameters", "constants", "exponents", "point", "outputs", "inputs", "lists"])
def test_c_finds_a_changed_number(table, tmp_path):
    """The self-check fails if a number of the file is another one."""
    a = Value(0.5)
    f = pygrad.compile(lambda x, y: (x * a + y**1.7) ** 2 * 1.25 + pygrad.sum([x, y, a * y]), passes=())
    f(0.3, 0.4)
    f.to_c(tmp_path / "f.c")
    text = (tmp_path / "f.c").read_text()
    name = {"outputs": "expected_outputs", "inputs": "expected_inputs"}.get(table, table)
    begin = re.search(rf"{name}\[\] = {{\n", text).end()
    number = re.search(r"0x1\.[0-9a-f]{12}()[0-9a-f]p|[0-9]()[0-9]*,\n|3, ()[0-9]", text[begin:])
    at = begin + max(number.start(i) for i in (1, 2, 3))
    at -= number.group(2) is not None
    (tmp_path / "f.c").write_text(f"{text[:at]}{int(text[at], 16) ^ 1:x}{text[at + 1 :]}")
    status, told = self_check(tmp_path / "f.c", tmp_path / "check")

    assert (1, "failure: ") == (status, told[:9])


@needs_compiler
def test_c_with_a_bad_index(tmp_path):
    """An index out of range is result 1, and writes nothing; at such a point the self-check expects just that."""
    f = pygrad.compile(lambda x, y: pygrad.take([x, x * x], y))
    f(3.0, 1.0)
    f.to_c(tmp_path / "f.c", "m")
    cc("-shared", "-fPIC", tmp_path / "f.c", "-o", tmp_path / "f.so", "-lm")
    library = ctypes.CDLL(str(tmp_path / "f.so"))
    doubles = ctypes.c_double * 50
    for index, result in [(0.0, 0), (1.0, 0), (2.0, 1), (-1.0, 1), (0.5, 1), (float("nan"), 1), (1e300, 1)]:
        out = doubles(7.0)
        assert result == library.m_forward(doubles(3.0, index), None, out, doubles())
        assert (7.0 if result else 3.0 ** (1 + index)) == out[0]
    f.tape.point[1] = 5.0
    f.to_c(tmp_path / "g.c")

    assert 0 == self_check(tmp_path / "g.c", tmp_path / "check")[0]


@needs_compiler
@pytest.mark.parametrize("function", [lambda x: x, lambda x: [], lambda x: 1.0, lambda x: pygrad.less(x, 0.0)])
def test_c_of_next_to_nothing(function, tmp_path):
    """Tapes without operations, outputs, parameters or derivatives are whole files too."""
    f = pygrad.compile(function)
    f(1.0)
    f.to_c(tmp_path / "f.c")

    assert 0 == self_check(tmp_path / "f.c", tmp_path / "check")[0]


@needs_compiler
@pytest.mark.parametrize("name", ["A", "pg_name_x", "NAME", "int", "m2"])
def test_c_names(name, tmp_path):
    """All external names begin with the one given, whatever it is; two files can be in one program."""
    f = traced(choices)
    f.to_c(tmp_path / "f.c", name=name)
    f.to_c(tmp_path / "g.c", name="other")
    (tmp_path / "main.c").write_text(f"int {name}_forward(); int other_forward();\nint main(void) {{ return 0; }}\n")
    cc("-c", tmp_path / "f.c", "-o", tmp_path / "f.o")
    (tmp_path / "both.c").write_text('#include "f.c"\n#include "g.c"\nint main(void) { return 0; }\n')
    cc("-Wno-overlength-strings", tmp_path / "both.c", "-o", tmp_path / "both", "-lm")

    assert 0 == self_check(tmp_path / "f.c", tmp_path / "check")[0]
    external = re.findall(r"^(?!static|typedef|enum)[a-z].*?\b(\w+)(?:\(|\[\])", (tmp_path / "f.c").read_text(), re.M)
    assert {f"{name}_forward", f"{name}_gradient", f"{name}_parameters", "main"} == set(external)


@pytest.mark.parametrize("name", ["", "2x", "a-b", "a b", "_x", "x;", "ä", "a\n", None, 3])
def test_c_names_that_cannot_be(name, tmp_path):
    """A name that no C name begins with is refused, and nothing is written."""
    f = traced(several)
    with pytest.raises(ValueError, match="name must be the beginning of C names"):
        f.to_c(tmp_path / "f.c", name=name)
    assert [] == os.listdir(tmp_path)


@needs_compiler
def test_c_of_a_function_with_a_strange_name(tmp_path):
    """What a function is called cannot end the comment that it is in."""

    def f(x):
        return x * 2.0

    f.__name__ = "*/ #error ??/ \n@inputs@ name_ pg_ ä"
    f = pygrad.compile(f)
    f(1.0)
    f.to_c(tmp_path / "f.c")

    assert 0 == self_check(tmp_path / "f.c", tmp_path / "check")[0]


def test_the_formulas_are_those_of_the_table():
    """A row's text is its formulas; a structural op has none."""
    text = {name: pygrad.tape.c_source._formulas(op) for name, op in OPS.items()}

    assert ["a + b", "1.0", "1.0"] == text["add"]
    assert ["tanh(a)", "1.0 - y * y", None] == text["tanh"]
    assert ["a < b ? 1.0 : 0.0", None, None] == text["less"]
    assert {None} == {formula for name in ("leaf", "sum", "take", "local") for formula in text[name]}
    assert "static double pg_power_slope(double a, double b)\n" in ffi.string(lib.pg_helper_source(0)).decode()
    assert ffi.NULL == lib.pg_helper_source(4)


ROUNDED = (
    "tanh exp log sqrt sin cos tan asin acos atan sinh cosh log1p expm1 erf erfc sigmoid softplus silu gelu".split()
)


@needs_compiler
@pytest.mark.parametrize("compiler", [name for name in COMPILERS if name != "cc"] or COMPILERS)
@pytest.mark.parametrize(
    "level, names", [("-O3", ROUNDED), *[(level, ["tanh", "exp", "log"]) for level in ("-O0", "-O1", "-O2")]]
)
def test_c_computes_no_constant_beforehand(compiler, level, names, tmp_path):
    """A compiler that computes the tanh of a constant or of a parameter rounds it otherwise than the library may."""
    rng = random.Random(2)
    for name in names:
        numbers, parameter = [rng.uniform(0.05, 0.95) for _ in range(2)], Value(rng.uniform(0.05, 0.95))

        def outputs(x, name=name, numbers=numbers, parameter=parameter):  # few, so that loops over them are unrolled
            return [getattr(v, name)() for v in (*map(Value, numbers), parameter)] + [2.0**x, x ** numbers[0]]

        f = pygrad.compile(outputs, passes=())
        f(0.37)
        f.to_c(tmp_path / "f.c")
        command = [compiler, "-std=c99", level, "-ffp-contract=off", "-DPYGRAD_SELF_CHECK", "f.c", "-o", "f", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        done = subprocess.run([tmp_path / "f"], capture_output=True, text=True)
        assert (0, "ok") == (done.returncode, done.stdout[:2]), (name, numbers, parameter, done.stdout)


def test_writing_c_touches_no_gradient(monkeypatch, tmp_path):
    """What another thread adds in the meantime stays; frozen parameters and hidden ones are left alone too."""
    a, b = Value(0.5), Value(2.0).requires_grad_(False)
    a.grad, b.grad = 7.0, 5.0
    f = pygrad.compile(lambda x: x * a * b)
    f(0.3)

    class Lib:
        """The compiled part, and another thread that adds to a gradient while the tape is run."""

        def __getattr__(self, name):
            return getattr(lib, name)

        def pg_replay_run(self, *arguments):
            assert (7.0, 5.0) == (a.grad, b.grad)
            status = lib.pg_replay_run(*arguments)
            a.grad += 1.0
            return status

    monkeypatch.setattr(pygrad.tape.c_source, "lib", Lib())
    f.to_c(tmp_path / "f.c")
    assert (8.0, 5.0) == (a.grad, b.grad)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
@pytest.mark.parametrize("deep", [False, True])
def test_headers_are_utf_8(encoding, deep, path):
    """Other encodings, which json would guess, are refused: the check of the depth does not see their brackets."""
    f = pygrad.compile(lambda x: x * 2.0)
    f(1.0)
    whole = tapefile.pack(f._state())
    size = struct.unpack_from("<I", whole, 12)[0]
    header, body = whole[56 : 56 + size].decode(), whole[56 + size :]
    if deep:
        header = header[:-1] + ', "deep": ' + "[" * 50_000 + "]" * 50_000 + "}"
    text = header.encode(encoding)
    path.write_bytes(sealed(text + body, len(text)))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(ValueError, match="damaged, or was not written by pygrad"):
            pygrad.load(path)
    finally:
        sys.setrecursionlimit(before)
