"""Hypothesis writes small programs; every engine must agree on them.

`pygrad.engine` against `pygrad.reference` over all ops (see `programs.compare` for what "agree" means), against
micrograd over its own ops, and chains too deep for an oracle that recurses against plain floats.
"""

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import (
    EPS,
    Machine,
    compare,
    programs,
    reference_that_loses_accumulation,
    same_bits,
    second_reference,
)

from pygrad import engine as c_engine
from pygrad import reference

pytestmark = [pytest.mark.large, pytest.mark.proxy]

# --- the C engine against the reference -------------------------------------------------------------------------------

DIAMOND = [
    ("apply", "mul", 0, 1),
    ("apply", "tanh", 2),
    ("add_in_place", 3, 3),
    ("backward", 3),
    ("apply", "mul", 2, 3),
]


@given(programs())
@example(DIAMOND)
@example([("apply", "sub", 0, 0), ("apply", "div", 2, 2), ("backward", 3)])  # 0/0
@example([("power", 0, 3), ("set_data", 0, 0.25), ("backward", 2), ("backward", 2)])
@example([("apply", "exp", 0), ("apply", "mul", 2, 2), ("drop", 2), ("backward", 2), ("backward", 0)])
@example([("sum", [0, 0, 1], -0.0), ("dot", [0, 1], [1, 1], 2), ("apply", "maximum", 2, 3)])
@example([("sum", [], 0.0), ("dot", [], [], None), ("backward", 2)])
@example([("take", [0, 1, 0], 1, 2), ("backward", 2), ("set_data", 1, 0.5), ("backward", 2), ("where", 1, 0, 2)])
@example([("apply", "mul", 0, 1), ("declared", 2, [0, 1], [1, 2]), ("backward", 3), ("set_data", 1, 4.0)])
def test_random_programs_agree_with_the_reference(program):
    """A random program gives the reference's data and gradients at every step."""
    compare(c_engine, program)


@given(programs(max_size=12))
def test_a_program_gives_the_same_bits_twice(engine, program):
    """Two runs of one program give the same bits, gradients included."""
    first, second = Machine(engine), Machine(engine)
    for step in [*program, ("backward", 3)]:
        first.step(*step)
        second.step(*step)

    for v, w in zip(first.variables, second.variables, strict=True):
        assert same_bits(v.data, w.data)
        assert same_bits(v.grad, w.grad)


def _off_by_a_little(row):
    return row._replace(forward=lambda *operands: row.forward(*operands) * 1.001)


def _swapped(row):
    return row._replace(partials=lambda y, *operands: row.partials(y, *operands)[::-1])


def _slope_off(row):
    return row._replace(partials=lambda y, *operands: [p * 1.001 for p in row.partials(y, *operands)])


@pytest.mark.parametrize(
    "name, fault",
    [("mul", _off_by_a_little), ("tanh", _off_by_a_little), ("mul", _swapped), ("tanh", _slope_off)],
)
def test_a_planted_fault_in_the_table_is_found(name, fault):
    """An engine with one faulty row does not pass the comparison."""
    faulty = second_reference()
    compare(faulty, DIAMOND)
    faulty.OPS[name] = fault(faulty.OPS[name])

    with pytest.raises(AssertionError):
        compare(faulty, DIAMOND)


def test_a_lost_accumulation_is_found():
    """An engine whose nodes overwrite gradients instead of adding to them does not pass the comparison."""
    faulty = reference_that_loses_accumulation()

    with pytest.raises(AssertionError):
        compare(faulty, DIAMOND)


# --- against micrograd: whole numbers, so that every order of summation gives the same bits ---------------------------

_indices = st.integers(0, 30)
_wholes = st.integers(-3, 3).map(float)
_micrograd_programs = st.lists(
    st.one_of(
        st.tuples(st.just("leaf"), _wholes),
        st.tuples(st.just("apply"), st.sampled_from(["add", "sub", "mul"]), _indices, _indices),
        st.tuples(st.just("apply"), st.sampled_from(["neg", "relu"]), _indices),
        st.tuples(st.just("constant_right"), st.sampled_from(["add", "sub", "mul"]), _indices, _wholes),
        st.tuples(st.just("constant_left"), st.sampled_from(["add", "sub", "mul"]), _wholes, _indices),
        st.tuples(st.just("power"), _indices, st.sampled_from([2, 3])),
        st.tuples(st.just("add_in_place"), _indices, _indices),
        st.tuples(st.just("drop"), _indices),
    ),
    min_size=1,
    max_size=14,
)


@given(_micrograd_programs)
@example([("apply", "add", 0, 0), ("add_in_place", 2, 2), ("apply", "mul", 2, 2)])
@example([("apply", "sub", 0, 0), ("apply", "relu", 2)])  # the kink
def test_random_programs_agree_with_micrograd(engine, program):
    """A random program of whole numbers gives micrograd's data and gradients exactly, while they are exact."""
    micrograd = pytest.importorskip("micrograd.engine")
    ours, theirs, magnitudes = (Machine(module, leaves=(2.0, -3.0)) for module in (engine, micrograd, reference))
    for step in program:
        for machine in (ours, theirs, magnitudes):
            machine.step(*step)
    for machine in (ours, theirs):
        machine.at(len(program)).backward()

    for v, w in zip(ours.variables, theirs.variables, strict=True):
        if max(abs(w.data), abs(w.grad)) < 2.0**50:
            assert w.data == v.data
            assert w.grad == v.grad


# --- without an oracle: deep chains -----------------------------------------------------------------------------------

# (apply to a Value or a float, its derivative there)
_LINKS = {
    "add": (lambda x: x + 0.25, lambda x: 1.0),
    "sub": (lambda x: 0.25 - x, lambda x: -1.0),
    "mul": (lambda x: x * 0.75, lambda x: 0.75),
    "square": (lambda x: x * x, lambda x: x + x),
    "div": (lambda x: x / 0.875, lambda x: 1.0 / 0.875),
}


@pytest.mark.parametrize("pattern", list(itertools.combinations(_LINKS, 3)), ids="-".join)
def test_a_deep_chain_has_the_product_of_its_slopes(engine, pattern):
    """A chain of 10^5 ops gives the data of plain floats and, as gradient, the product of its slopes."""
    depth = 100_000 if engine is c_engine else 5_000
    leaf = v = engine.Value(0.5)
    x, slopes = 0.5, []
    for name in itertools.islice(itertools.cycle(pattern), depth):
        link, slope = _LINKS[name]
        if abs(x) > 4.0:  # keep to numbers, far from inf
            link, slope = (lambda x: x * 0.125), (lambda x: 0.125)
        slopes.append(slope(x))
        v, x = link(v), link(x)
    v.backward()

    product = 1.0
    for slope in reversed(slopes):
        product *= slope
    assert x == v.data
    assert product == pytest.approx(leaf.grad, rel=4.0 * EPS * depth, abs=math.ulp(0.0) * depth)
