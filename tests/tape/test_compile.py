"""A compiled function does what the function does: forward to the bit, gradients as csrc/pygrad.h says of each pass.

Hypothesis writes programs over two inputs and two parameters (`programs.pure_programs`). What they are compared with is
the same program run on `pygrad.engine`, sample by sample; the tolerance of gradients that are added up in another order
is 1e-13 of the sum of the magnitudes of what is added up, which a sweep of the reference engine computes.
"""

import array
import gc
import math
import os
import random
import subprocess
import sys
import weakref
from operator import neg

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import Machine, apply, pure_programs, rows, same_bits, sweep_magnitudes

import pygrad
from pygrad import engine, nn, reference
from pygrad.engine import Value
from pygrad.tape.tape import PASSES

pytestmark = pytest.mark.wheel

ALL = tuple(PASSES)
SIZES = [2, 7, 8, 9, 31, 32, 33, 100, 128, 129, 1000]
PARAMETERS = (1.5, -0.75)
tame = st.integers(-256, 256).map(lambda k: k / 64)
wild = st.one_of(tame, st.sampled_from([0.0, -0.0, 5e-324, 1e308]), st.floats())


# --- programs, eager and compiled -------------------------------------------------------------------------------------


def play(module, program, leaves):
    """Return the Values that a program makes on an engine from Values, its leaves first."""
    machine = Machine(module, leaves)
    for step in program:
        machine.step(*step)
    return machine.variables


class Case:
    """One program over inputs x, y and two parameters, to be run both ways."""

    def __init__(self, program, grads=(0.0, 0.0), every=False):
        self.program, self.grads, self.every = program, grads, every
        self.parameters = [Value(number) for number in PARAMETERS]
        self.reset()

    def __call__(self, x, y):
        made = play(engine, self.program, [x, y, *self.parameters])
        return made[4:] + made[:4] if self.every else made[-1] - 0.0  # no leaf: `backward` would set its gradient

    def reset(self):
        for p, grad in zip(self.parameters, self.grads):
            p.grad = grad

    def found(self):
        """Return the parameters' gradients, and set them back."""
        grads = [p.grad for p in self.parameters]
        self.reset()
        return grads

    def eager(self, *numbers):
        """Run one sample eagerly; return its output, and the gradients of its inputs and of the parameters."""
        inputs = [Value(number) for number in numbers]
        out = self(*inputs)
        out.backward()
        return out.data, [v.grad for v in inputs], self.found()

    def scales(self, *numbers):
        """Return the sums of the magnitudes of what is added up to the gradients of inputs and parameters."""
        tested = Machine(engine, [*numbers, *PARAMETERS])
        oracle = Machine(reference, [*numbers, *PARAMETERS])
        leaves = list(oracle.variables)
        for step in self.program:
            new, right = tested.step(*step), oracle.step(*step)
            if right is not None:
                right.data = new.data
        sweep_magnitudes(oracle.variables[-1])
        return [getattr(v, "scale", 0.0) for v in leaves]


def columns(numbers, size):
    """Return two columns of so many numbers, which repeat those given."""
    pairs = [numbers[i % len(numbers)] for i in range(size)]
    return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])


def assert_same_bits(expected, actual):
    """Assert that two flat sequences of floats are equal, -0.0 and nan told apart."""
    expected, actual = list(expected), list(actual)
    assert len(expected) == len(actual)
    assert [True] * len(actual) == [same_bits(a, b) for a, b in zip(expected, actual)], (expected, actual)


def assert_close(expected, actual, scale, note=None):
    """Assert that a gradient is within 1e-13 of the magnitudes of what was added up, where these are finite."""
    if math.isfinite(scale):
        assert abs(expected - actual) <= 1e-13 * scale + 1e-290, (note, expected, actual, scale)


pairs = st.lists(st.tuples(tame, tame), min_size=1, max_size=5)
wild_pairs = st.lists(st.tuples(wild, wild), min_size=1, max_size=5)
ONE = [("apply", "mul", 0, 2), ("apply", "tanh", 4), ("apply", "mul", 4, 5), ("apply", "add", 5, 6)]
CHAIN = [("apply", "mul", 0, 2), ("apply", "mul", 1, 3), ("apply", "add", 4, 5), ("apply", "add", 6, 0)]
SQUARES = [("apply", "square", 0), ("apply", "square", 2), ("apply", "add", 4, 5), ("apply", "mul", 6, 6)]
PENALTY = [("apply", "mul", 2, 2), ("apply", "exp", 3), ("apply", "add", 4, 5), ("apply", "mul", 6, 0)]


@given(pure_programs(), wild_pairs, st.sampled_from([ALL, (), ("share",), ("fuse",), ("hoist",), ("fold",)]))
@example(CHAIN, [(1.0, math.nan), (-0.0, 2.0), (math.inf, 0.0)], ALL)
@example([("pick", [0, 1, 2], 0, 1, 2)], [(1.0, 2.0), (2.0, 1.0)], ALL)
def test_forward_is_eager_to_the_bit(program, numbers, passes):
    """All Values of a program, and the last one alone, have eager's bits: of one sample, and of batches in lanes."""
    for every in (True, False):
        case = Case(program, every=every)
        f = pygrad.compile(case, passes=passes, reduction="none")
        right = []
        for x, y in numbers:
            out = case(Value(x), Value(y))
            right.append([v.data for v in out] if every else [out.data])
            assert_same_bits(right[-1], f(x, y) if every else [f(x, y)])
        for size in (2, 9, 32, 45):
            out = f(*columns(numbers, size))
            assert (size, len(right[0])) == (out.shape if every else (len(out), 1))
            for i, row in enumerate(out if every else out[:, None]):
                assert_same_bits(right[i % len(right)], row)


@given(pure_programs(), wild_pairs, st.sampled_from([(), ("fold",)]), st.tuples(wild, wild))
@example(ONE, [(0.5, 2.0)], (), (0.0, 0.0))
@example(ONE, [(0.5, 2.0)], ("fold",), (1.0, -1e9))
@example([("apply", "log", 0), ("apply", "stop_gradient", 4), ("apply", "mul", 5, 0)], [(0.0, 1.0)], (), (0.0, 0.0))
def test_gradients_of_a_sample_are_eagers_to_the_bit(program, numbers, passes, start):
    """Without passes, or with constant folding alone, a sample's gradients have eager's bits, whatever they add to."""
    for grads in ((0.0, 0.0), [grad + 0.0 for grad in start]):  # no -0.0, of which eager may make 0.0
        case = Case(program, grads)
        f = pygrad.compile(case, passes=passes)
        for x, y in numbers:
            right, right_inputs, right_parameters = case.eager(x, y)
            out, inputs = f.backward(x, y, inputs=True)
            assert_same_bits([right, *right_inputs, *right_parameters], [out, *inputs, *case.found()])


@given(pure_programs(numbers=tame), pairs, st.sampled_from([ALL, *[(name,) for name in ALL]]))
@example(CHAIN, [(1.0, 2.0)], ALL)
@example(SQUARES, [(1.0, 2.0)], ALL)
def test_gradients_of_a_sample_with_passes(program, numbers, passes):
    """With passes, one sample's gradients are eager's within 1e-13 of the magnitudes of what is added up."""
    case = Case(program, (0.5, -2.0))
    f = pygrad.compile(case, passes=passes)
    for x, y in numbers:
        _, right_inputs, right_parameters = case.eager(x, y)
        _, inputs = f.backward(x, y, inputs=True)
        for right, grad, scale in zip(right_inputs + right_parameters, [*inputs, *case.found()], case.scales(x, y)):
            assert_close(right, grad, scale + 2.0)  # of what the gradients start with


@given(pure_programs(numbers=tame), pairs, st.sampled_from(SIZES), st.sampled_from([ALL, ()]), st.integers(1, 3))
@example(ONE, [(1.0, 2.0), (-0.5, 0.25), (3.0, -1.0)], 9, ALL, 1)
@example(CHAIN, [(1.0, 2.0), (-0.5, 0.25), (3.0, -1.0)], 1000, ALL, 2)
@example(PENALTY, [(1.0, 2.0), (-0.5, 0.25), (3.0, -1.0)], 33, ALL, 1)
def test_gradients_of_a_batch(program, numbers, size, passes, threads):
    """A batch's gradients are the sums of eager's over its samples, within 1e-13 of the magnitudes added up."""
    case = Case(program, (0.5, -2.0))
    f = pygrad.compile(case, passes=passes, reduction="sum", threads=threads)
    eager = [case.eager(x, y) for x, y in numbers]
    scales = [case.scales(x, y) for x, y in numbers]
    counts = [len(range(i, size, len(numbers))) for i in range(len(numbers))]
    out, inputs = f.backward(*columns(numbers, size), inputs=True)

    assert_close(sum(n * e[0] for n, e in zip(counts, eager)), out, sum(n * abs(e[0]) for n, e in zip(counts, eager)))
    for k, (grad, start) in enumerate(zip(case.found(), case.grads)):
        right = math.fsum([start, *(n * (e[2][k] - start) for n, e in zip(counts, eager))])
        assert_close(right, grad, abs(start) + sum(n * (s[2 + k] + abs(start)) for n, s in zip(counts, scales)), k)
    for i in range(size):
        for k in range(2):
            e, s = eager[i % len(numbers)], scales[i % len(numbers)]
            assert_close(e[1][k], inputs[k][i], s[k], (i, k))


# --- what the passes do -----------------------------------------------------------------------------------------------


def test_each_pass_does_its_work():
    """Each pass alone shortens a tape that it should, or moves work out of the batch, and none is run unasked."""
    p = Value(2.0)

    def f(x, y):
        two = Value(1.0) + 1.0
        return x * p + y * (p * p) + x * p * two

    lengths = {name: len(pygrad.compile(f, passes=(name,)).trace(1.0, 2.0)) for name in PASSES}
    plain = len(pygrad.compile(f, passes=()).trace(1.0, 2.0))

    assert {"fold": plain - 1, "share": plain - 1, "fuse": plain - 3, "hoist": plain} == lengths
    assert plain - 5 == len(pygrad.compile(f).trace(1.0, 2.0))


@pytest.mark.parametrize(
    "function, lines",
    [
        (lambda x, y: x * 1.0 + 1.0 * y, ["v0 = add(x0, x1)"]),
        (lambda x, y: neg(neg(x)) * -1.0 * y, ["v0 = neg(x0)", "v1 = mul(x1, v0)"]),
        (
            lambda x, y: -(3.0 * x) - y * neg(neg(x * -2.0)),
            ["v0 = mul(x0, -3.0)", "v1 = mul(x0, -2.0)", "v2 = mul(x1, v1)"],
        ),
        (lambda x, y: neg(neg(3.0 * -x)) - y, ["v0 = mul(x0, -3.0)", "v1 = sub(v0, x1)"]),
        (lambda x, y: (-x * -y) * -(y * 0.0), ["v0 = mul(x0, x1)", "v1 = mul(x1, -0.0)", "v2 = mul(v0, v1)"]),
        (lambda x, y: [x * 1.0, neg(neg(y))], []),
    ],
)
def test_signs_and_ones_are_simplified_to_the_bit(function, lines):
    """Negations go into constants, products with 1 vanish; the bits are eager's, of zeros and infinities too."""
    f = pygrad.compile(function, passes=("share",), reduction="none", batched=False)
    assert lines == str(f.trace(1.0, 1.0)).splitlines()[: len(lines)]
    assert len(lines) <= len(f.tape) <= len(lines) + 1
    numbers = (0.0, -0.0, 3.0, -0.1, math.inf, -math.inf, 5e-324, math.nan)
    for x in numbers:
        for y in numbers:
            right, found = function(Value(x), Value(y)), f(x, y)
            assert_same_bits([v.data for v in right] if isinstance(right, list) else [right.data],
                             found if isinstance(right, list) else [found])  # fmt: skip


@given(st.lists(st.sampled_from(["neg", "one", "minus", "three", "self"]), max_size=12), st.tuples(wild, wild))
def test_any_signs_and_ones(steps, numbers):
    """Whatever is done to two Values in turn, the bits are eager's."""

    def function(x, y):
        for step in steps:
            x, y = y, {"neg": lambda x=x: -x, "one": lambda x=x: x * 1.0, "minus": lambda x=x: -1.0 * x,
                       "three": lambda x=x: 3.0 * x, "self": lambda x=x, y=y: x * y}[step]()  # fmt: skip
        return [x, y]

    f = pygrad.compile(function, batched=False)
    assert_same_bits([v.data for v in function(*map(Value, numbers))], f(*numbers))


def test_dead_code_is_dropped_always():
    """What no output depends on is not on the tape, whatever the passes."""
    f = pygrad.compile(lambda x: (x.exp(), x * 2.0)[1], passes=())

    assert "v0 = mul(x0, 2.0)\nreturn v0" == str(f.trace(1.0))


# --- every row of the table, at every kind of number ------------------------------------------------------------------

POINTS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 1e-300, 5e-324, -5e-324, 709.0, -746.0, 1e200, -1e308]
POINTS += [math.inf, -math.inf, math.nan, 0.1, 7.25]


def eager_row(name, *numbers):
    """Return an op's result and the gradients of its operands."""
    leaves = [Value(number) for number in numbers]
    out = apply(engine, name, *leaves)
    out.backward()
    return [out.data, *[v.grad for v in leaves]]


@pytest.mark.parametrize("name", rows(1, 2))
def test_every_row_in_lanes_and_alone(name):
    """Each op of the table has eager's bits at ordinary and extreme points, both passes, alone and in lanes."""
    unary = name in rows(1)
    points = [(x,) for x in POINTS] if unary else [(x, y) for x in POINTS for y in POINTS]
    f = pygrad.compile((lambda x: apply(engine, name, x)) if unary else lambda x, y: apply(engine, name, x, y))
    right = [eager_row(name, *point) for point in points]
    for point, row in zip(points, right):
        out, grads = f.backward(*point, inputs=True)
        assert_same_bits(row, [out, *grads])

    batch = pygrad.compile(f.function, reduction="none")
    total = pygrad.compile(f.function, reduction="sum")
    arguments = [np.array(column) for column in zip(*points)]
    for begin in (0, 3, 5):  # other lanes, other tails
        part = [argument[begin:] for argument in arguments]
        assert_same_bits([row[0] for row in right[begin:]], batch(*part))
        for k, grads in enumerate(total.backward(*part, inputs=True)[1]):
            assert_same_bits([row[1 + k] for row in right[begin:]], grads)


@pytest.mark.parametrize("exponent", [2, 3, -1, 0, 1, 0.5, -0.5, 4, -2, 1 / 3])
def test_powers_in_lanes_and_alone(exponent):
    """A power with a number as exponent has eager's bits at every kind of number."""
    right = []
    for x in POINTS:
        v = Value(x)
        out = v**exponent
        out.backward()
        right.append((out.data, v.grad))
    f = pygrad.compile(lambda x: x**exponent, reduction="sum")
    each = pygrad.compile(f.function, reduction="none")

    assert_same_bits([out for out, _ in right], each(POINTS))
    assert_same_bits([grad for _, grad in right], f.backward(POINTS, inputs=True)[1][0])
    for x, (out, grad) in zip(POINTS, right):
        found, (slope,) = f.backward(x, inputs=True)
        assert_same_bits([out, grad], [found, slope])


@pytest.mark.parametrize("size", [1, 2, 7, 9, 31, 33, 41, 129])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_sample_spoils_no_other_one(size, bad):
    """nan and inf of one sample reach its own output and gradients, and those of nobody else; the next run is clean."""
    random.seed(1)
    model = nn.MLP(2, [3, 1])
    f = pygrad.compile(lambda x: model(x).exp(), reduction="sum")
    each = pygrad.compile(f.function, reduction="none")
    X = np.linspace(-1.0, 1.0, 2 * size).reshape(size, 2)
    clean, (clean_grads,) = each(X), f.backward(X, inputs=True)[1]
    for place in {0, size // 2, size - 1}:
        spoilt = X.copy()
        spoilt[place] = bad
        out, (grads,) = each(spoilt), f.backward(spoilt, inputs=True)[1]
        others = [i for i in range(size) if i != place]
        assert bad == math.inf or np.isnan(out[place])
        assert clean[others].tolist() == out[others].tolist()
        assert clean_grads[others].tolist() == grads[others].tolist()
        model.zero_grad()
        assert clean_grads.tolist() == f.backward(X, inputs=True)[1][0].tolist()
        assert all(math.isfinite(p.grad) for p in model.parameters())


def test_smaller_and_larger_batches_in_turn():
    """Batches of all sizes in any order, by one function, each have the gradients of their samples."""
    w, b = Value(0.5), Value(-0.25)
    f = pygrad.compile(lambda x, y: (w * x + b - y) ** 2, reduction="sum", threads=2)
    for size in [1000, 2, 129, 1, 33, 8, 40, 7, 700, 32, 3, 1, 8200, 5]:
        x, y = np.arange(size) % 16 / 8.0, np.arange(size) % 5 / 4.0
        w.grad = b.grad = 0.0
        out = f.backward(x, y)
        error = 0.5 * x - 0.25 - y  # all numbers are exact
        assert (error**2).sum() == out
        assert ((2 * error * x).sum(), 2 * error.sum()) == (w.grad, b.grad)


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@pytest.mark.parametrize("inputs", [[0], [1, 0], [2, 2], [0, 1, 0, 3], [3, 2, 1, 0, 2], [1] * 9, [0, 1, 2, 3] * 3])
@pytest.mark.parametrize("bias", ["none", "first", "last"])
def test_layers_of_every_shape(rows, inputs, bias):
    """Rows and inputs of any number, one of which may come more than once: all numbers here are exact."""
    rng = random.Random(rows)

    def numbers(count):
        return [rng.randrange(-16, 17) / 8.0 for _ in range(count)]

    weights, factors = [[Value(w) for w in numbers(len(inputs))] for _ in range(rows)], numbers(rows)
    biases = [Value(b) for b in numbers(rows)]

    def neuron(ws, b, xs):
        if bias == "first":
            return sum((w * x for w, x in zip(ws, xs)), b)
        return pygrad.dot(ws, xs) + b if bias == "last" else pygrad.dot(ws, xs)

    def function(x):
        xs = [x[i] for i in inputs]
        return sum(c * neuron(ws, b, xs).relu() for ws, b, c in zip(weights, biases, factors))

    f = pygrad.compile(function, reduction="sum")
    parameters = sum(weights, biases)
    for samples in (1, 3, 8, 37, 100):
        X = [numbers(4) for _ in range(samples)]
        points = [[Value(number) for number in x] for x in X]
        total = sum(map(function, points))
        total.backward()
        expected = total.data, [p.grad for p in parameters], [[v.grad for v in x] for x in points]
        for p in parameters:
            p.grad = 0.0
        out, (slopes,) = f.backward(X, inputs=True)
        assert expected == (out, [p.grad for p in parameters], slopes)
        for p in parameters:
            p.grad = 0.0


def test_what_is_the_same_for_all_samples_is_computed_once():
    """A uniform product is no term of a varying sum, whose lanes would each compute it; a uniform sum keeps it."""
    w, u = Value(2.0), Value(3.0)
    f = pygrad.compile(lambda x: w * x + 0.5 * (w * w + u * u))
    f.trace(1.0)

    assert "v1 = dot(v0; p0*p0)\nv2 = mul(0.5, v1)\nv3 = dot(v2; x0*p0)" in str(f.tape)


# --- the same bits, however it is run ---------------------------------------------------------------------------------

BITS = """
import random, sys
import numpy as np
import pygrad
from pygrad import nn
from pygrad.engine._lib import ffi, lib
random.seed(3)
model = nn.MLP(3, [9, 5, 4], activation="tanh")
layer = nn.Layer(6, 3)
table = [[pygrad.engine.Value(random.gauss(0, 1)) for _ in range(3)] for _ in range(7)]
def loss(x, i, k):
    row = pygrad.take(table, i)
    outs = model([a * b.exp() for a, b in zip(x, row)])
    penalty = sum((p * p for p in model.parameters()), 0.0)
    entropy = sum(out.exp() for out in outs).log() - pygrad.take(outs, k)
    repeated = sum(layer([outs[0], outs[1], outs[0], outs[2], outs[3], outs[0]]))
    return entropy + 0.01 * penalty + pygrad.maximum(outs[0], outs[1]).sigmoid() + repeated
rng = np.random.default_rng(5)
found = []
for size in (2, 9, 33, 129, 1000, 9001):
    X, I, K = rng.normal(size=(size, 3)), rng.integers(0, 7, size), rng.integers(0, 4, size)
    for threads in THREADS:
        f = pygrad.compile(loss, threads=threads)
        out, grads = f.backward(X, I, K, inputs=True)
        leaves = model.parameters() + layer.parameters() + [v for row in table for v in row]
        found.append((out, [g.tolist() for g in grads], [p.grad for p in leaves]))
        for p in leaves:
            p.grad = 0.0
    assert all(repr(found[0]) == repr(other) for other in found), size
    print(hash(repr(found[0])))
    found.clear()
print(ffi.string(lib.pg_replay_lanes()).decode())
"""


def bits_of(lanes, threads):
    """Return what a fresh process finds: a line a batch size, and the instruction set at the end."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYGRAD_LANES": lanes}
    program = BITS.replace("THREADS", repr(threads))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=240)
    assert "" == done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def baseline():
    """What the baseline finds with 1, 2, 3 and 8 threads, which must be the same."""
    *found, lanes = bits_of("baseline", (1, 2, 3, 8))
    assert "baseline" == lanes
    return found


@pytest.mark.parametrize("lanes", ["avx2", "avx512"])
def test_every_instruction_set_and_number_of_threads_gives_the_same_bits(baseline, lanes):
    """Output and gradients are the same bits for any number of threads and in the lanes of any instruction set."""
    *found, chosen = bits_of(lanes, (1, 3))
    if chosen != lanes:
        pytest.skip(f"this processor has no {lanes}")

    assert baseline == found


def test_a_run_gives_the_same_bits_twice(baseline):
    """The same program in another process gives the same bits."""
    assert baseline == bits_of("baseline", (2,))[:-1]


# --- what a compiled function takes -----------------------------------------------------------------------------------

BATCH = [[0.0, 1.0, 3.0], [2.0, -4.0, 1.0]]
SAME = {
    "list": BATCH,
    "tuples": tuple(map(tuple, BATCH)),
    "float64": np.array(BATCH),
    "float32": np.array(BATCH, dtype=np.float32),
    "int": np.array(BATCH, dtype=int),
    "int8": np.array(BATCH, dtype=np.int8),
    "objects": np.array(BATCH, dtype=object),
    "fortran": np.asfortranarray(BATCH),
    "reversed": np.array(BATCH)[::-1, ::-1].copy()[::-1, ::-1],
    "strided": np.repeat(np.repeat(BATCH, 2, axis=0), 3, axis=1)[::2, ::3],
    "big endian": np.array(BATCH, dtype=">f8"),
    "half": np.array(BATCH, dtype=np.float16),
    "list of arrays": [np.array(row) for row in BATCH],
    "memoryview": memoryview(array.array("d", sum(BATCH, []))).cast("B").cast("d", (2, 3)),
    "read-only": memoryview(np.array(BATCH).tobytes()).cast("d", (2, 3)),
    "list of array.array": [array.array("d", row) for row in BATCH],
}


@pytest.mark.parametrize("kind", SAME)
def test_any_kind_of_numbers(kind):
    """Lists, arrays of any dtype and layout, buffers: all hold the same samples, and are left as they are."""
    f = pygrad.compile(lambda x: x[0] - 10.0 * x[1] + 100.0 * x[2], reduction="none")
    before = repr(SAME[kind])
    out, (grads,) = list(f(SAME[kind])), pygrad.compile(f.function).backward(SAME[kind], inputs=True)[1]

    assert [290.0, 142.0] == out
    assert [[0.5, -5.0, 50.0]] * 2 == [list(row) for row in grads]
    assert before == repr(SAME[kind])


@pytest.mark.parametrize("column", [[1, 0, 1], [True, False, True], np.array([True, False, True]), range(1, 4, 2)])
def test_whole_numbers_and_truths(column):
    """ints, bools and a range are numbers too."""
    assert sum(column) == pygrad.compile(lambda x: x, reduction="sum")(column)


@pytest.mark.parametrize("kind", [float, int, np.float64, np.float32, np.int64, np.bool_, np.array])
def test_a_number_of_any_kind_is_the_same_for_all(kind):
    """A number beside a batch, an array without dimensions too, is every sample's; its gradient is their sum."""
    f = pygrad.compile(lambda x, k: x * k, reduction="sum")
    out, (by_x, by_k) = f.backward([1.0, 2.0, 4.0], kind(1), inputs=True)

    assert (7.0, [1.0, 1.0, 1.0], 7.0) == (out, by_x, by_k)


def test_results_are_an_array_where_the_samples_are():
    """What is the same for all samples may be an array, and says nothing of what the results are."""
    f = pygrad.compile(lambda c, x: c[0] * x, reduction="none", batched=(False, True))

    assert [6.0, 8.0] == f(np.array([2.0]), [3.0, 4.0])
    assert isinstance(f([2.0], np.array([3.0, 4.0])), np.ndarray)


def test_the_order_of_arguments():
    """Arguments of different shapes and their gradients keep their order, by position or by name."""
    f = pygrad.compile(lambda a, b, c: a[0] + 10 * a[1] + 100 * b + 1000 * (c[0][0] * c[0][1]), reduction="sum")
    given = ([1.0, 2.0], [3.0, 4.0]), np.array([5.0, 6.0]), [[[7.0, 8.0]], [[9.0, 1.0]]]
    right = 21 + 500 + 56000 + 43 + 600 + 9000
    out, grads = f.backward(*given, inputs=True)

    assert right == out == f(given[0], c=given[2], b=given[1])
    assert [[1.0, 10.0], [1.0, 10.0]] == [list(row) for row in grads[0]]
    assert [100.0, 100.0] == list(grads[1])
    assert [[[8000.0, 7000.0]], [[1000.0, 9000.0]]] == [[list(row) for row in sample] for sample in grads[2]]


def test_reductions():
    """mean, sum and none; by default the mean of a number and each sample's list."""
    X = np.array([1.0, 2.0, 6.0])
    one, several = (lambda x: x * 2), (lambda x: [x, [x * 2, 3.0]])

    assert 6.0 == pygrad.compile(one)(X) == pygrad.compile(one, reduction="mean")(X)
    assert 18.0 == pygrad.compile(one, reduction="sum")(X)
    assert [2.0, 4.0, 12.0] == pygrad.compile(one, reduction="none")(X).tolist()
    assert [2.0, 4.0, 12.0] == pygrad.compile(one, reduction="none")(X.tolist())
    assert 2.0 == pygrad.compile(one, reduction="none")(1.0)
    assert [[1.0, [2.0, 3.0]], [2.0, [4.0, 3.0]], [6.0, [12.0, 3.0]]] == pygrad.compile(several)(X)
    assert [3.0, [6.0, 3.0]] == pygrad.compile(several, reduction="mean")(X)
    assert [9.0, [18.0, 9.0]] == pygrad.compile(several, reduction="sum")(X)
    assert [1.0, [2.0, 3.0]] == pygrad.compile(several)(1.0)


def test_shapes_of_array_results():
    """With arrays as arguments, outputs that form a rectangle come as an array, (samples, ...)."""
    X = np.arange(6.0).reshape(3, 2)
    matrix = pygrad.compile(lambda x: [[x[0], x[1], 1.0], [x[1], x[0], 2.0]])(X)
    column = pygrad.compile(lambda x: [x[0]])(X)

    assert ((3, 2, 3), (3, 1)) == (matrix.shape, column.shape)
    assert [[2.0, 3.0, 1.0], [3.0, 2.0, 2.0]] == matrix[1].tolist()
    assert [[], [], []] == pygrad.compile(lambda x: [])(X)


def test_one_sample_as_it_is():
    """batched=False takes its arguments as one sample; a tuple says it of each argument."""
    dot = pygrad.compile(lambda w, x: engine.dot(list(w), list(x)), batched=False)
    shared = pygrad.compile(dot.function, batched=(False, True), reduction="none")

    assert 11.0 == dot([1.0, 2.0], np.array([3.0, 4.0]))
    assert (11.0, ([3.0, 4.0], [1.0, 2.0])) == dot.backward([1.0, 2.0], (3.0, 4.0), inputs=True)
    assert [11.0, 17.0] == shared((1.0, 2.0), [[3.0, 4.0], [5.0, 6.0]])
    total = pygrad.compile(dot.function, batched=(False, True), reduction="sum")
    assert ([8.0, 10.0], [[1.0, 2.0]] * 2) == total.backward((1.0, 2.0), [[3.0, 4.0], [5.0, 6.0]], inputs=True)[1]


def test_samples_of_any_structure():
    """A sample may be a number beside lists of different lengths, if all samples are alike."""
    f = pygrad.compile(lambda x: x[0] * x[1][0] + sum(x[2]), reduction="sum")
    X = [(1.0, [2.0], [3.0, 4.0, 5.0]), (6.0, [7.0], [8.0, 9.0, 10.0])]
    out, (grads,) = f.backward(X, inputs=True)

    assert 2.0 + 12.0 + 42.0 + 27.0 == out
    assert [[2.0, [1.0], [1.0] * 3], [7.0, [6.0], [1.0] * 3]] == grads


def test_a_tape_for_each_structure():
    """A function is traced once for each structure of its arguments, and again after clear()."""
    traced = []

    @pygrad.compile
    def total(x):
        traced.append(len(x))
        return sum(x)

    calls = [[[1.0]], [[2.0], [3.0]], [[1.0, 2.0]], [[5.0]], np.ones((4, 2)), [(1.0, 2.0)]]

    assert [1.0, 2.5, 3.0, 5.0, 2.0, 3.0] == [total(x) for x in calls]
    assert [1, 2] == traced
    total.clear()
    assert 7.0 == total([[7.0]])
    assert [1, 2, 1] == traced
    assert "total" == total.__name__


# --- what a compiled function may be ----------------------------------------------------------------------------------


def test_a_function_of_nothing():
    """Without arguments, parameters or operations a function is compiled like any other."""
    p = Value(3.0)

    assert 2.0 == pygrad.compile(lambda: 2.0)()
    assert 6.0 == pygrad.compile(lambda: p * 2).backward()
    assert 2.0 == p.grad
    assert [2.0, 2.0] == pygrad.compile(lambda x: 2.0, reduction="none")([5.0, 6.0])
    assert [] == pygrad.compile(lambda: [])()
    assert 4.0 == pygrad.compile(lambda x: 4.0, reduction="sum").backward(1.0)
    assert (8.0, ([0.0, 0.0],)) == pygrad.compile(lambda x: 4.0, reduction="sum").backward([1.0, 2.0], inputs=True)


def test_leaves_as_results():
    """An input or parameter returned as it is has the derivative 1; the same one twice, and each of both, is given."""
    p = Value(3.0)
    identity = pygrad.compile(lambda x: x, reduction="sum")
    constant = pygrad.compile(lambda x: p, reduction="sum")
    both = pygrad.compile(lambda x: [x, x, p, p, x * p])

    assert (5.0, ([1.0, 1.0],)) == identity.backward([2.0, 3.0], inputs=True)
    assert (6.0, ([0.0, 0.0],)) == constant.backward([2.0, 3.0], inputs=True)
    assert 2.0 == p.grad
    assert 3.0 == constant.backward(1.0)
    assert 3.0 == p.grad
    assert [[2.0, 2.0, 3.0, 3.0, 6.0], [4.0, 4.0, 3.0, 3.0, 12.0]] == both([2.0, 4.0])


def test_what_existed_before_is_live():
    """Parameters, and graphs built from them before the trace, are computed anew from their leaves in every run."""
    w = Value(2.0)
    square = w * w + w / w
    f = pygrad.compile(lambda x: square * x, reduction="sum")
    assert 15.0 == f([1.0, 2.0])
    w.data = 3.0

    assert 30.0 == f([1.0, 2.0])
    assert 5.0 == square.data  # the graph itself is left alone
    assert 30.0 == f.backward([1.0, 2.0])
    assert abs(18.0 - w.grad) < 1e-12
    assert [w] == f.parameters()


def test_a_leaf_made_inside_is_a_constant():
    """A Value made while a function is traced is a constant of the tape."""
    made = []

    def f(x):
        made.append(Value(3.0))
        return x * made[-1]

    f = pygrad.compile(f, reduction="sum")
    f.backward([1.0, 2.0])
    made[0].data = 100.0

    assert 9.0 == f([1.0, 2.0])
    assert 0.0 == made[0].grad
    assert [] == f.parameters()


def test_compiled_functions_may_be_nested():
    """A compiled function that is called with Values is a part of the function that is being compiled."""
    p = Value(2.0)
    inner = pygrad.compile(lambda x: x * p)
    f = pygrad.compile(lambda x: inner(x) + inner(x=x * 2), reduction="sum")

    assert 18.0 == f.backward([1.0, 2.0])
    assert 9.0 == p.grad
    out = inner(Value(3.0))
    assert isinstance(out, Value)
    assert 6.0 == out.data


def test_a_nested_function_of_numbers_keeps_its_gradient():
    """Called without Values while another one is recorded, a compiled function is still a part of that one."""
    p = Value(2.0)
    penalty = pygrad.compile(lambda: p * p)
    scaled = pygrad.compile(lambda k: p * k)
    f = pygrad.compile(lambda x: x * p + penalty() + scaled(10.0))

    assert 26.0 == f.backward(1.0)
    assert 1.0 + 4.0 + 10.0 == p.grad


def test_a_model_is_a_function():
    """A Module is compiled as it is: outputs of each sample, as the module gives them."""
    model = nn.MLP(2, [4, 3])
    f = pygrad.compile(model)
    X = [[0.5, 1.0], [-1.0, 2.0]]

    assert [[v.data for v in model(x)] for x in X] == f(X)
    assert set(model.parameters()) == set(f.parameters())
    assert (2, 3) == f(np.array(X)).shape


def test_parameters_are_in_the_tapes_order_each_once():
    """parameters() lists what all tapes read, each Value once."""
    a, b, c = Value(1.0), Value(2.0), Value(3.0)
    f = pygrad.compile(lambda *x: a * x[0] + (b if len(x) == 1 else c) * a)
    f(1.0)
    assert [a, b] == f.parameters()
    f(1.0, 2.0)

    assert [a, b, c] == f.parameters()
    assert [a, c] == f.tape.parameters


def test_printing_a_tape():
    """A tape prints one line an operation, with its operands' names, and what it returns."""
    p = Value(0.5)

    def f(x, y):
        taken = pygrad.take([x[0], x[1], p], y)
        return [x[0] * p + x[1] * 2.0 + 1.0, (taken**0.5).tanh(), pygrad.where(y, 1.0, p), engine.sum([x[0], p, y])]

    f = pygrad.compile(f)
    with pytest.raises(RuntimeError, match="nothing has been traced yet"):
        assert f.tape
    text = str(f.trace([[1.0, 2.0]], [1.0]))

    assert text == str(f.tape)
    assert len(f.tape) + 1 == len(text.splitlines())
    assert "take(x2, x0, x1, p0)" in text
    assert "power(v" in text
    assert ", 0.5)" in text
    assert "1.0" in text
    assert text.splitlines()[-1].startswith("return v")


def compiled_and_gone():
    """Return the compiled function of a model that is gone, its outputs, and a weak reference to a parameter."""
    model = nn.MLP(2, [3, 1])
    f = pygrad.compile(model, reduction="none")
    right = f([[1.0, 2.0], [0.5, -1.0]])
    f.function = f.__wrapped__ = None
    return f, right, weakref.ref(model.parameters()[0])


def test_a_tape_keeps_its_parameters_and_lets_them_go():
    """A compiled function keeps the parameters of a model that is gone; when it goes too, nothing is left."""
    gc.collect()
    before = engine.live_nodes()
    f, right, of_model = compiled_and_gone()
    gc.collect()

    assert right == f([[1.0, 2.0], [0.5, -1.0]])
    assert 13 == len(f.parameters())
    engine.check_arena()
    del f
    gc.collect()
    assert of_model() is None
    assert before == engine.live_nodes()


def test_a_parameter_changes_between_runs():
    """Data and gradients of parameters are read and added to anew in every run, by whoever changed them."""
    w = Value(2.0)
    f = pygrad.compile(lambda x: w * x, reduction="sum")
    found = []
    for size in (1, 2, 40):
        for data, grad in ((3.0, 0.0), (-1.0, 5.0)):
            w.data, w.grad = data, grad
            found.append((f.backward([1.0] * size), w.grad))

    assert [(3.0, 1.0), (-1.0, 6.0), (6.0, 2.0), (-2.0, 7.0), (120.0, 40.0), (-40.0, 45.0)] == found


def test_long_operand_lists():
    """Sums, dots, takes and declared ops whose lists the arena splits give eager's bits and gradients."""
    p = [Value(k / 8.0) for k in range(300)]
    twice = pygrad.custom_op(lambda *xs: engine.sum([x * 2.0 for x in xs]))
    twice.derivative(lambda y, *xs: (2.0,) * len(xs))

    def f(x, i):
        return engine.sum([v * x for v in p]) + engine.dot(p, [x] * 300, x) + pygrad.take(p, i) * x + twice(*p)

    x = Value(0.75)
    out = f(x, Value(250.0))
    out.backward()
    right = [out.data, x.grad, *(v.grad for v in p)]
    for passes in (ALL, ()):
        for v in p:
            v.grad = 0.0
        compiled = pygrad.compile(f, passes=passes)
        found, (by_x, by_i) = compiled.backward(0.75, 250.0, inputs=True)
        assert_same_bits(right, [found, by_x, *(v.grad for v in p)])
        assert 0.0 == by_i
        two = compiled([0.75, 0.75], [250.0, 250.0])
        assert out.data == two


def test_what_a_batch_leaves_in_its_lanes_reaches_no_smaller_one():
    """Samples of nan and inf, left in lanes that a smaller batch does not fill, spoil none of its sums."""
    random.seed(2)
    model = nn.MLP(2, [3, 2], activation="tanh")
    table = [Value(0.5), Value(2.0)]

    def loss(x, i):
        return sum(model(x)) * pygrad.take(table, i) * x[0] + pygrad.where(i, x[1], table[1])

    f = pygrad.compile(loss, reduction="sum")
    parameters = [*model.parameters(), *table]
    for bad in (math.nan, math.inf):
        for size in range(2, 8):
            f.backward([[bad, bad]] * 8, [1.0] * 8)
            for p in parameters:
                p.grad = 0.0
            out, (grads, _) = f.backward([[0.5, -1.0]] * size, [0.0] * size, inputs=True)
            right = [out, *(p.grad for p in parameters), *sum(grads, [])]
            fresh = pygrad.compile(loss, reduction="sum")
            for p in parameters:
                p.grad = 0.0
            out, (grads, _) = fresh.backward([[0.5, -1.0]] * size, [0.0] * size, inputs=True)
            assert [out, *(p.grad for p in parameters), *sum(grads, [])] == right
            assert all(map(math.isfinite, right))


def test_a_compiled_function_of_numbers_within_a_recording():
    """The inner function gets Values, as when it is recorded alone, and becomes a part of the outer one."""
    w = Value(3.0)
    inner = pygrad.compile(lambda a, b: a.exp() * w + b[0].tanh(), batched=False)
    outer = pygrad.compile(lambda x: x * inner(2.0, [0.5]))

    assert outer(2.0) == 2.0 * inner(2.0, [0.5])
    outer.backward(2.0)
    assert w.grad == 2.0 * math.exp(2.0)
