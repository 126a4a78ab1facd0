"""`where` and `take`: what is reached by no other way than values that are not chosen gets exactly 0.

No 0 * inf is formed there: at each sample, on every way to differentiate, of any order. The oracle is the program with
Python's `if` in place of `where`: its graph has nothing but what is chosen.
"""

import functools
import math
import random
import shutil
import subprocess

import pytest

import pygrad
from pygrad import engine as c_engine
from pygrad import reference

ALL = ("fold", "share", "fuse", "hoist")


class Ifs:
    """`where` and `take` as an ordinary program has them: of what is not chosen there is no node."""

    Value = c_engine.Value
    less, less_equal, not_equal, equal = map(
        staticmethod, (c_engine.less, c_engine.less_equal, c_engine.not_equal, c_engine.equal)
    )

    @staticmethod
    def where(condition, a, b):
        return a if condition.data != 0.0 else b

    @staticmethod
    def take(values, index):
        return values[int(index.data)]


def same(found, expected):
    """Compare numbers, or lists of numbers, to what rounding does to the largest; nan equals nan."""
    found, expected = ([*x] if isinstance(x, (list, tuple)) else [x] for x in (found, expected))
    largest = max([abs(x) for x in expected if math.isfinite(x)], default=0.0)
    return found == pytest.approx(expected, rel=1e-9, abs=1e-12 + 1e-9 * largest, nan_ok=True)


# --- programs ---------------------------------------------------------------------------------------------------------

CASES = {  # by name: a program of an engine P and two Values
    "log": lambda P, x, y: P.where(P.less(0.0, x), x.log(), 0.0) * y,
    "root": lambda P, x, y: P.where(P.less(0.0, x), x.sqrt() * y, x * x * y),
    "quotient": lambda P, x, y: P.where(P.not_equal(x, 0.0), y / x, y * y),
    "reciprocal": lambda P, x, y: P.where(x, x**-1, x * y),
    "root of a power": lambda P, x, y: P.where(P.less(0.0, x), (x**2.0) ** 0.25, x * x * y),
    "nested": lambda P, x, y: P.where(
        P.less(0.0, x),
        P.where(P.less(0.0, y), x.log() * y.log(), x.sqrt() * y),
        P.where(P.less(0.0, y), y.sqrt(), x * y),
    ),
    "taken of one, not of another": lambda P, x, y: _both_ways(P, x.sqrt() * 1.5, x, y),
    "not taken, and outside": lambda P, x, y: _outside(P, (x * x * y).sqrt(), x, y),
    "index": lambda P, x, y: P.take([x.log(), y * x, x.sqrt() * y, 1.0 / x], P.less(x, 0.5) + 2.0 * P.less(y, 0.5)),
    "all the same": lambda P, x, y: P.take([x.sqrt()] * 3, P.less(0.0, y) + 1.0),
    "condition of a branch": lambda P, x, y: P.where(P.less(P.where(P.less(0.0, x), x.log(), -1.0), 0.0), x * y, y),
    "below a root": lambda P, x, y: P.where(P.less(0.0, x), x, x * y + 1.0).sqrt() * P.where(x, 1.0 / x, y),
    "a power by a Value": lambda P, x, y: P.where(P.less(0.0, x), x**y, y * y * x),
    "a sum and a dot": lambda P, x, y: _lists(P, x, y),
    "a comparison reads a take": lambda P, x, y: _compared(P, (x * x).sqrt(), x, y),
    "a loop of shared parts": lambda P, x, y: _loop(P, x, y),
}
POINTS = [(0.0, 2.0), (-1.0, 2.0), (2.0, 0.0), (2.0, -1.5), (0.0, 0.0), (-1.0, -1.0), (0.25, 3.0), (1.0, 1.0)]


def _both_ways(P, shared, x, y):
    return P.where(P.less(0.0, x), shared, y) + P.where(P.less(1.0, x), y * y, P.where(P.less(0.0, x), shared * y, x))


def _outside(P, shared, x, y):
    return P.where(P.less(0.0, x), shared * y, x * y) + P.where(P.less(0.0, y), shared, y * y)


def _compared(P, shared, x, y):
    return P.where(P.less(0.0, x), shared + 1.0, x * y) + P.less(P.where(P.less(5.0, x), 3.0, shared), 2.0)


def _lists(P, x, y):
    module = pygrad.engine if P is Ifs else P
    total = module.sum([x.sqrt(), y, x])
    return P.where(P.less(0.0, x), module.dot([total, y], [x.log(), total]), module.dot([x, y], [y, x]))


def _loop(P, x, y):
    for k in range(6):
        step = x.sqrt() * y + x
        x, y = P.where(P.less(0.0, x), step * 0.5, x * y), P.where(P.less(k - 3.0, x), y, (x + step) * 0.25)
    return x * y


def random_program(seed):
    """Return a program of an engine and two Values: many steps, few of which are chosen."""
    rng = random.Random(seed)
    steps = [(rng.choice(_STEPS), [rng.randrange(100) for _ in range(4)]) for _ in range(rng.randint(3, 12))]

    def program(P, x, y):
        known = [x, y]
        for step, numbers in steps:
            a, b, c, d = [known[-1 - k % min(len(known), 5)] for k in numbers]
            known.append(step(P, a, b, c, d))
        return known[-1] + known[-2]

    return program


_STEPS = [
    lambda P, a, b, c, d: a * b,
    lambda P, a, b, c, d: a + 2.0 * b,
    lambda P, a, b, c, d: a / b,
    lambda P, a, b, c, d: a.sqrt(),
    lambda P, a, b, c, d: a.log(),
    lambda P, a, b, c, d: a.tanh() * b,
    lambda P, a, b, c, d: P.where(P.less(a, b), c, d),
    lambda P, a, b, c, d: P.where(P.less(0.0, a), a.sqrt(), b),
    lambda P, a, b, c, d: P.where(P.less(a, 0.5), a * b, c.log()),
    lambda P, a, b, c, d: P.where(a, b / a, c),
    lambda P, a, b, c, d: P.take([a, b, c.sqrt()], P.less(a, b) + P.less(0.0, d)),
]
PROGRAMS = {**CASES, **{f"random {seed}": random_program(seed) for seed in range(12)}}
programs = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
cases = pytest.mark.parametrize("program", CASES.values(), ids=CASES.keys())


def of(program, engine):
    return functools.partial(program, engine)


# --- eager ------------------------------------------------------------------------------------------------------------


def swept(P, program, point):
    xs = [P.Value(x) for x in point]
    out = program(P, *xs)
    if isinstance(out, P.Value):
        out.backward()
    return [x.grad for x in xs]


@programs
def test_backward(program):
    """Both engines give the gradients of the program with `if`."""
    for point in POINTS:
        expected = swept(Ifs, program, point)
        assert same(swept(c_engine, program, point), expected), point
        assert same(swept(reference, program, point), expected), point


@cases
def test_grad_leaves_no_trace(program):
    """`grad` finds the same numbers as `backward`, and changes none."""
    for point in POINTS:
        xs = [c_engine.Value(x) for x in point]
        assert same(pygrad.grad(program(c_engine, *xs), xs), swept(Ifs, program, point))
        assert [0.0, 0.0] == [x.grad for x in xs]


def derivatives_of_order(program, order, point):
    """Return all partial derivatives of an order, by repeated `gradient`s."""
    functions = [program]
    for _ in range(order):
        functions = [
            functools.partial(lambda f, i, *xs: pygrad.gradient(f)(*xs)[i], f, i) for f in functions for i in (0, 1)
        ]
    return [f(*point) for f in functions]


@programs
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_derivatives(program, order):
    """Derivatives of derivatives are those of the program with `if`."""
    for point in POINTS:
        found = derivatives_of_order(of(program, c_engine), order, point)
        assert same(found, derivatives_of_order(of(program, Ifs), order, point)), point


@programs
def test_forward_mode(program):
    """Tangents, and gradients and tangents of tangents, are those of the program with `if`."""

    def tangent(f, *point):
        return pygrad.jvp(f)(point, (1.0, 0.5))[1]

    for point in POINTS:
        for again in (tangent, lambda f, *xs: pygrad.gradient(functools.partial(tangent, f))(*xs)):
            found, expected = again(of(program, c_engine), *point), again(of(program, Ifs), *point)
            assert same(found, expected), point
        twice = [tangent(functools.partial(tangent, of(program, P)), *point) for P in (c_engine, Ifs)]
        assert same(*twice), point


@pytest.mark.parametrize(
    "program",
    [
        lambda x: pygrad.where(pygrad.less(5.0, x), x, 0.0).sqrt() * 2.0 + x,
        lambda x: pygrad.where(pygrad.less(5.0, x), x * 0.1, pygrad.Value(1.0)).asin().exp() * x,
        lambda x: pygrad.where(pygrad.less(5.0, x), x.log(), x.stop_gradient() * 0.0).sqrt() + x * x,
        lambda x: (pygrad.take([1.0, x, 0.0], pygrad.less(5.0, x) * 1.0) - 1.0).sqrt() * x,
    ],
)
def test_forward_mode_through_what_does_not_depend_on_x(program):
    """What is taken has no tangent, and its slope is infinite: no 0 * inf is formed, as none is backward."""
    for x in (0.5, 6.0):
        expected = pygrad.derivative(program)(x)
        assert math.isfinite(expected)
        assert same(pygrad.jvp(program)(x, 1.0)[1], expected)
        assert same(pygrad.jvp(pygrad.compile(program, batched=False))(x, 1.0)[1], expected)
        assert same(pygrad.derivative(lambda s: pygrad.jvp(program)(s, 1.0)[1])(x), pygrad.derivative(program, 2)(x))


@programs
def test_series(program):
    """Taylor series, and their gradients, are those of the program with `if`."""
    for a, b in POINTS:
        series = [pygrad.taylor(lambda x, P=P, b=b: program(P, x, b + 0.0 * x), 3)(a) for P in (c_engine, Ifs)]
        assert same(*series), (a, b)


# --- tapes ------------------------------------------------------------------------------------------------------------

BATCH = [POINTS[k * 5 % len(POINTS)] for k in range(75)]  # two wide blocks, one narrow one, and a part of one
passes = pytest.mark.parametrize("passes", [(), ALL], ids=["plain", "all"])


def columns(points):
    return [[*column] for column in zip(*points)]


@programs
@passes
def test_a_tape_on_one_sample(program, passes):
    """A tape recorded at one sample has the gradients of the program with `if` at all others."""
    run = pygrad.compile(of(program, c_engine), passes=passes, batched=False)
    for point in POINTS:
        assert same(run.backward(*point, inputs=True)[1], swept(Ifs, program, point)), point


@programs
@passes
@pytest.mark.parametrize("n", [2, 9, 75])
def test_a_tape_on_a_batch(program, passes, n):
    """Each sample of a batch has the gradients of the program with `if`; samples take different branches."""
    run = pygrad.compile(of(program, c_engine), reduction="sum", passes=passes)
    _, found = run.backward(*columns(BATCH[:n]), inputs=True)
    for i, point in enumerate(BATCH[:n]):
        assert same([column[i] for column in found], swept(Ifs, program, point)), point


@cases
@pytest.mark.parametrize("n", [1, 3, 75])
def test_parameters(program, n):
    """Parameters below what no sample chooses get 0; others the sum over the samples that choose what is above them."""
    for point in POINTS:
        ps = [c_engine.Value(x) for x in point]
        run = pygrad.compile(lambda x, ps=tuple(ps): program(c_engine, ps[0] * 1.0, ps[1]) * x, reduction="sum")
        run.backward([1.0] * n)
        assert same([p.grad for p in ps], [n * d for d in swept(Ifs, program, point)]), point


@pytest.mark.parametrize("n", [1, 5, 75])
def test_layers_in_a_branch(n):
    """A network in a branch: its weights get nothing from samples that do not take the branch, were they infinite."""
    ws = [[c_engine.Value(0.3 * i - 0.2 * j) for j in range(3)] for i in range(4)]

    def network(P, x, y):
        hidden = [c_engine.dot(row, [x, y, x * y]).tanh() for row in ws]
        return P.where(
            P.less(0.0, x), c_engine.sum(hidden) * y, P.where(P.less(0.0, y), hidden[0].sqrt(), hidden[1] * y)
        )

    points = [(x if k % 3 else -math.inf if k % 2 else math.nan, y) for k, (x, y) in enumerate(BATCH[:n])]
    for point in points:
        swept(Ifs, network, point)
    expected = [w.grad for row in ws for w in row]
    for row in ws:
        for w in row:
            w.grad = 0.0
    run = pygrad.compile(of(network, c_engine), reduction="sum")
    run.backward(*columns(points))
    assert same([w.grad for row in ws for w in row], expected)
    for row in ws:
        for w in row:
            w.grad = 0.0


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_give_the_same_bits(threads):
    """Blocks that leave operations out are added up like others."""
    p = c_engine.Value(0.5)
    run = pygrad.compile(lambda x, y: CASES["nested"](c_engine, x * p, y), reduction="mean", threads=threads)
    run.backward(*columns(BATCH * 20))
    expected = pygrad.Value(0.0)
    for x, y in BATCH:
        q = c_engine.Value(0.5)
        out = CASES["nested"](Ifs, c_engine.Value(x) * q, c_engine.Value(y))
        out.backward()
        expected.data += q.grad / len(BATCH)
    assert same(p.grad, expected.data)


@programs
def test_compiled_transforms(program):
    """Compiled derivatives, recorded at one point, are those of the program with `if` at others."""
    f, g = pygrad.compile(of(program, c_engine)), of(program, Ifs)
    transforms = {
        "hessian": (pygrad.hessian(f), pygrad.hessian(g)),
        "gradient": (pygrad.gradient(f, per_sample=True), pygrad.gradient(g)),
        "jvp": (lambda *xs: pygrad.jvp(f)(xs, (1.0, 0.5))[1], lambda *xs: pygrad.jvp(g)(xs, (1.0, 0.5))[1]),
        "hvp": (lambda *xs: pygrad.hvp(f)(xs, (1.0, 0.5)), lambda *xs: pygrad.hvp(g)(xs, (1.0, 0.5))),
        "gradient of the gradient": (
            pygrad.gradient(pygrad.compile(lambda x, y: pygrad.gradient(f)(x, y)[0]), per_sample=True),
            pygrad.gradient(lambda x, y: pygrad.gradient(g)(x, y)[0]),
        ),
    }
    for name, (compiled, eager) in transforms.items():
        for point in POINTS:
            assert same(flat(compiled(*point)), flat(eager(*point))), (name, point)


def flat(numbers):
    return [x for part in numbers for x in flat(part)] if isinstance(numbers, (list, tuple)) else [numbers]


# --- what looks into graphs -------------------------------------------------------------------------------------------


@cases
def test_explain(program):
    """No path leads through what is not chosen, so the derivative is that of a sweep."""
    for point in POINTS:
        xs = [c_engine.Value(x) for x in point]
        out = program(c_engine, *xs)
        assert same([pygrad.explain(out, x).derivative for x in xs], swept(Ifs, program, point)), point


@cases
def test_detect_anomaly(program):
    """Where the program with `if` has no anomaly, neither a gradient of the one with `where` has one, nor a tape."""
    run = pygrad.compile(of(program, c_engine), batched=False)
    hessian = pygrad.hessian(run)
    run.backward(1.0, 1.0)
    hessian(1.0, 1.0)  # recorded here: within the block a number is looked at where it is computed
    for point in POINTS:
        xs = [c_engine.Value(x) for x in point]
        out = program(c_engine, *xs)
        expected = [swept(Ifs, program, point), flat(pygrad.hessian(of(program, Ifs))(*point))]
        if not all(map(math.isfinite, flat(expected))):
            continue
        with pygrad.detect_anomaly():
            found = pygrad.grad(out, xs), [pygrad.grad(d, xs) for d in pygrad.grad(out, xs, create_graph=True)]
            out.backward()
            assert same([x.grad for x in xs], expected[0]), point
            assert same(flat(found), flat(expected)), point
            assert same(flat(run.backward(*point, inputs=True)[1]), expected[0]), point
            assert same(flat(hessian(*point)), expected[1]), point


def test_closures_below_what_is_not_chosen():
    """A closure that only a value which is not chosen leads to does not run; and it may run another pass meanwhile."""
    for P in (c_engine, reference):
        x, v, ran = P.Value(0.0), P.Value(3.0), []
        other, mine = x.sqrt() * 1.0, v * 1.0
        other._backward = lambda ran=ran: ran.append("other")
        mine._backward = lambda ran=ran, v=v, mine=mine: (ran.append("mine"), setattr(v, "grad", mine.grad))
        other.grad = 7.0
        (P.where(P.less(v, 0.0), other, mine) * 2.0).backward()

        assert (["mine"], 2.0, 0.0, 0.0) == (ran, v.grad, x.grad, other.grad)


def test_checkpoints_and_custom_ops():
    """In a checkpoint, below one, and in the derivatives of a custom op, what is not chosen gets 0."""
    scaled = pygrad.custom_op(lambda x: x.sqrt())
    scaled.derivative(lambda y, x: 0.5 / y)
    inner = {
        "within": lambda x, y: pygrad.checkpoint(of(CASES["nested"], c_engine))(x, y),
        "below": lambda x, y: c_engine.where(
            c_engine.less(0.0, x), pygrad.checkpoint(lambda x, y: x.sqrt() * y)(x, y), x * y * y
        ),
        "custom": lambda x, y: c_engine.where(c_engine.less(0.0, x), scaled(x) * y, x * y * y),
    }
    plain = {
        "within": CASES["nested"],
        "below": lambda P, x, y: P.where(P.less(0.0, x), x.sqrt() * y, x * y * y),
        "custom": lambda P, x, y: P.where(P.less(0.0, x), x.sqrt() * y, x * y * y),
    }
    for name, function in inner.items():
        for point in POINTS:
            xs = [c_engine.Value(x) for x in point]
            function(*xs).backward()
            assert same([x.grad for x in xs], swept(Ifs, plain[name], point)), (name, point)
            found = flat(pygrad.hessian(function)(*point))
            assert same(found, flat(pygrad.hessian(of(plain[name], Ifs))(*point))), (name, point)


@pytest.mark.parametrize("count", [3, 502, 503, 1300])
def test_long_lists(count):
    """Of a list that the arena splits only the part with the chosen value is reached, of any order."""
    places = sorted({0, 1, 501, 502, count - 1} & set(range(count)))
    for P in (c_engine, reference):
        for place in places:
            x = P.Value(0.0)
            values = [x * 2.0 if i == place else x.sqrt() for i in range(count)]
            P.take(values, P.Value(place)).backward()
            assert 2.0 == x.grad
    for place in places:

        def f(x, place=place):
            items = [x**3.0 if i == place else (1.0 - x).sqrt() for i in range(count)]
            return c_engine.take(items, c_engine.Value(float(place)) + 0.0 * x)

        assert 6.0 == pygrad.derivative(f, 2)(1.0)
        run = pygrad.compile(f, reduction="sum")
        assert [3.0, 3.0] == run.backward([1.0, -1.0], inputs=True)[1][0]
        assert (1.0, 3.0) == pygrad.jvp(f)(1.0, 1.0)


# --- exported ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_to_c(tmp_path):
    """An exported file has the gradients of the program with `if`, at every point; its own check agrees to the bit."""
    main, calls = ["#include <stdio.h>"], []
    for k, program in enumerate(PROGRAMS.values()):
        run = pygrad.compile(of(program, c_engine), batched=False)
        run.backward(*POINTS[k % len(POINTS)])
        run.to_c(tmp_path / f"f{k}.c", name=f"f{k}")
        main.append(f'#include "f{k}.c"')
        for point in POINTS:
            numbers = ", ".join(map(float.hex, point))
            calls.append(f"f{k}_gradient((double[]){{{numbers}}}, f{k}_parameters, 0, out, grads, 0, work);")
            calls.append('printf("%a %a\\n", grads[0], grads[1]);')
    main += ["int main(void)", "{", "double out[1], grads[2], work[9999];", *calls, "return 0;", "}"]
    (tmp_path / "main.c").write_text("\n".join(main))
    cc = "cc -std=c99 -O0 -ffp-contract=off"
    for command in (
        f"{cc} main.c -o main -lm",
        f"{cc} -DPYGRAD_SELF_CHECK f3.c -o check -lm && ./check",  # recorded where some parts are not chosen
        f"{cc} -DPYGRAD_SELF_CHECK f5.c -o check -lm && ./check",
    ):
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    lines = subprocess.run("./main", cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    expected = [swept(Ifs, program, point) for program in PROGRAMS.values() for point in POINTS]
    assert all(same([*map(float.fromhex, line.split())], pair) for line, pair in zip(lines, expected, strict=True))


def test_to_c_without_takes_is_as_it_was(tmp_path):
    """A tape without conditional operations has no word of them in its file."""
    run = pygrad.compile(lambda x, y: (x * y).sqrt() + c_engine.take([x, y], c_engine.less(x, y)), batched=False)
    run(1.0, 2.0)
    run.to_c(tmp_path / "f.c")
    text = (tmp_path / "f.c").read_text()
    assert "2 * MODEL_NODES" in text
    assert not {"conditional", "reached"} & {*text.split("_")}


@pytest.mark.parametrize("point", [0.5, 6.0])
def test_series_have_no_coefficients_of_what_is_not_taken(point):
    """Behind a where that chooses a constant a root has an infinite slope: it is not reached from x."""
    programs = [
        lambda x: pygrad.where(pygrad.greater(x, 5.0), x, 0.0).sqrt() * x,
        lambda x: pygrad.where(pygrad.greater(x, 5.0), x, 0.0) ** 0.5 + x**3,
        lambda x: pygrad.take([0.0, x, 2.0], pygrad.greater(x, 5.0)).sqrt().sqrt() / (x + 1.0),
    ]
    for program, straight in zip(programs, [lambda x: x.sqrt() * x, lambda x: x**0.5 + x**3, None]):
        found = pygrad.taylor(program, 3)(point)
        compiled = pygrad.taylor(pygrad.compile(program), 3)
        compiled(6.5 if point < 5.0 else 0.25)
        assert found == pytest.approx(list(compiled(point)), rel=1e-14)
        assert all(map(math.isfinite, found))
        if straight and point > 5.0:
            assert pygrad.taylor(straight, 3)(point) == pytest.approx(found, rel=1e-14)
        by_order = [pygrad.derivative(program, order=n)(point) for n in (1, 2, 3)]
        assert [c * math.factorial(n) for n, c in enumerate(found)][1:] == pytest.approx(by_order, rel=1e-12)
