"""The derivatives of csrc/ops.def as steps: what the build reads, what it refuses, and the table that C has of it."""

import itertools
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from programs import apply

from pygrad import Value
from pygrad import engine as arena
from pygrad.calculus.formulas import evaluate, formula
from pygrad.engine._lib import ffi, lib
from pygrad.engine.optable import CODES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made():
    """The names of make_formulas.py."""
    pytest.importorskip("pycparser")
    path = ROOT / "csrc" / "calculus" / "make_formulas.py"
    if not path.exists():
        pytest.skip("runs in a source checkout")
    return runpy.run_path(str(path))


def with_row(made, text):
    """Return the formulas of ops.def with one more row, of which `text` is the derivative by a."""
    ops, helpers = [(ROOT / "csrc" / name).read_text(encoding="utf-8") for name in ("ops.def", "helpers.def")]
    return made["formulas"](f'{ops}\nPG_BINARY(planted, "planted", a, {text}, 1.0)\n', helpers)


def run(program, *arguments):
    """Return what a program says in a fresh process."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "" == done.stderr
    return done.stdout.split()


# --- what the build reads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, function",
    [
        ("!a ? b : y", lambda a, b, y: b if a == 0.0 else y),
        ("a > 1.0 || b == 1.0 ? 2.0 : 3.0", lambda a, b, y: 2.0 if a > 1.0 or b == 1.0 else 3.0),
        ("a - 1.0 ? 1.0 / (a - 1.0) : b", lambda a, b, y: 1.0 / (a - 1.0) if a - 1.0 else b),
        ("a > b ? -1.5 : a >= b ? +y : -(a * -0.0)", lambda a, b, y: -1.5 if a > b else y if a == b else 0.0),
    ],
)
def test_what_a_formula_may_say(made, text, function):
    """Also what no row says yet: a number as a condition, as C takes it, and what is not."""
    out = with_row(made, text)["planted", "a"]
    for point in itertools.product([0.0, 1.0, 2.0], repeat=3):
        values = map(Value, point)
        found = evaluate(out, *values, lambda name, operands: apply(arena, name, *operands))
        assert function(*point) == getattr(found, "data", found), point


@pytest.mark.once
def test_numbers_of_a_formula_are_told_apart_by_their_bits(made):
    """A zero by its sign; and nan is one number."""
    f = made["Formula"]({}, {})
    assert [-1, -2, -3, -1, -2, -3] == [f.number(x) for x in (0.0, -0.0, math.nan, 0.0, -0.0, float("nan"))]


@pytest.mark.once
@pytest.mark.parametrize(
    "text, why",
    [
        ("cbrt(a)", r"cbrt\(\) is neither an op nor one of csrc/helpers.def"),
        ("b * fmod(a, 2.0)", r"fmod\(\)"),
        ("a % b", "no op for C's %"),
        ("~a", "no op for C's ~"),
        ("a[0]", "ArrayRef"),
        ("1.0 - c", "no 'c'"),
        ("a > 0.0 ? 1.0 / c : a", "no 'c'"),
        ("1.0 +", "no C"),
        ("(a", "no C"),
    ],
)
def test_a_bad_derivative_is_named(made, text, why):
    """What cannot be a formula stops the build, and the message says the row and the reason."""
    with pytest.raises(ValueError, match=f"csrc/ops.def.*planted.*{why}"):
        with_row(made, text)


@pytest.mark.once
def test_no_row_is_passed_over(made):
    """A row may take two lines and have a comment beside it; what is no row stops the build."""
    found = with_row(made, "1.0 /* a\ncomment */ -\n y")
    assert [("sub", (-1, 2))] == found["planted", "a"].steps
    for ops, helpers in [('stray\nPG_UNARY(neg, "neg", -a, -1.0)', ""), ("", "PG_HELPER(double, stray, a)")]:
        with pytest.raises(ValueError, match="stray"):
            made["formulas"](ops, helpers)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_the_table_is_what_the_sources_say(made):
    """C has the formula of every row, to the bit of its numbers."""
    found = with_row(made, "a")
    del found["planted", "a"], found["planted", "b"]
    places = itertools.product(CODES.items(), (0, 1))
    there = {(name, "ab"[place]) for (name, op), place in places if lib.pg_formula_of(op, place) != ffi.NULL}
    assert found.keys() == there
    for (name, operand), f in found.items():
        compiled = formula(CODES[name], "ab".index(operand))
        assert (f.steps, repr(f.numbers), f.result) == (compiled.steps, repr(compiled.numbers), compiled.result)


def test_of_no_row_there_is_no_formula():
    """Of ops outside of ops.def, comparisons, other operands and other numbers there is none."""
    assert ffi.NULL != lib.pg_formula_of(CODES["add"], 1)
    for name, place in [("leaf", 0), ("power", 0), ("take", 0), ("less", 0), ("tanh", 1), ("add", 2), ("add", -1)]:
        assert ffi.NULL == lib.pg_formula_of(CODES[name], place)
    assert ffi.NULL == lib.pg_formula_of(-1, 0)
    assert ffi.NULL == lib.pg_formula_of(10_000, 0)


WITHOUT_PARSER = """
import sys
sys.modules["pycparser"] = sys.modules["cffi"] = None  # as where neither is installed
import pygrad
print(pygrad.hessian(pygrad.Value.tanh)(0.0), *pygrad.taylor(pygrad.Value.exp, 2)(0.0))
"""


@pytest.mark.wheel
def test_derivatives_need_no_parser():
    """What reads ops.def is not needed once pygrad is built."""
    assert ["0.0", "1.0", "1.0", "0.5"] == run(WITHOUT_PARSER)


AT_ONCE = """
import sys
import threading
sys.path.insert(0, sys.argv[1])
import pygrad
from programs import apply
from pygrad.engine._lib import ffi, lib
from pygrad.engine.optable import CODES, OPS

rows = [name for name, op in CODES.items() if lib.pg_formula_of(op, 0) != ffi.NULL]

def second(f):
    return pygrad.hessian(f)([0.3, 0.6])

def series(f):
    return pygrad.taylor(lambda x: f([x, 0.6]), 3)(0.3)

def derivatives(begin):
    found = []
    for way in (second, series):
        for name in rows:
            begin()
            found.append(way(lambda xs: apply(pygrad.engine, name, *xs[: OPS[name][1]])))
    return found

def ask(i):
    answers[i] = derivatives(together.wait)

together, answers = threading.Barrier(8, timeout=30), [None] * 8
threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
expected = derivatives(int)
print(len(rows), *[answer == expected for answer in answers])
"""


@pytest.mark.threads
def test_threads_that_ask_first_at_once_get_the_right_formulas():
    """Eight threads derive twice by every row, and none has before them."""
    count, *right = run(AT_ONCE, str(ROOT / "tests" / "tools"))
    assert int(count) > 30
    assert ["True"] * 8 == right
