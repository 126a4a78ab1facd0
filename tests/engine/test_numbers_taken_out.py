"""Copies, text and rounding of a Value that a function is transformed or recorded by: right, refused, or warned of."""

import copy
import dataclasses
import math
import pickle

import pytest

import pygrad
from pygrad import TraceWarning, Value


@dataclasses.dataclass
class Params:
    w: float


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "of a result": lambda x: copy.deepcopy(x * 1.0),
    "in a list": lambda x: copy.deepcopy([x])[0],
    "in a dict": lambda x: copy.deepcopy({"a": [x]})["a"][0],
    "asdict": lambda x: dataclasses.asdict(Params(x))["w"],
    "plus": lambda x: +x,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_an_argument_is_the_argument(copied):
    """Its gradient goes on, and a recording does not keep its number."""

    def f(x):
        return x * copied(x)

    compiled = pygrad.compile(f, batched=False)

    assert -3.0 == pygrad.gradient(f)(-1.5)
    assert 2.0 == pygrad.derivative(f, 2)(-1.5)
    assert [4.0, 9.0] == [compiled(2.0), compiled(3.0)]
    assert [4.0, 9.0] == pygrad.compile(f, reduction="none")([2.0, 3.0])


def test_outside_of_a_call_a_copy_is_a_new_leaf():
    """As ever; and a result is no leaf to copy."""
    x = Value(2.0)

    assert x is not copy.deepcopy(x)
    with pytest.raises(TypeError, match="only a leaf"):
        copy.copy(x * 2.0)


def test_a_copy_of_a_parameter_is_warned_of():
    """It is a new leaf, so a recording keeps its number."""
    w = Value(2.0)
    compiled = pygrad.compile(lambda x: x * copy.deepcopy(w), batched=False)

    with pytest.warns(TraceWarning, match="keeps the number of this one run") as warned:
        assert 6.0 == compiled(3.0)
    assert [__file__] == [warning.filename for warning in warned]


def test_an_argument_cannot_be_pickled():
    """It has no number of its own: the error says what it is."""
    with pytest.raises(pickle.PicklingError, match="depends on an argument"):
        pygrad.gradient(lambda x: pickle.loads(pickle.dumps(x)))(2.0)


def test_text_of_a_recorded_value_is_warned_of():
    """A format that a number can be read from keeps the number of one run. Eager code may print what it likes."""

    def f(x):
        return x - float(f"{x:.3f}")

    compiled = pygrad.compile(f, batched=False)

    assert 1.0 == pygrad.gradient(f)(2.0)
    with pytest.warns(TraceWarning, match="written as text"):
        assert 0.0 == compiled(2.0)


ROUNDINGS = {
    "round": round,
    "digits": lambda x: round(x, 1),
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "//": lambda x: x // 2,
    "// of a number": lambda x: 2 // x,
    "%": lambda x: x % 2.0,
    "% of a number": lambda x: 2 % x,
    "% of Values": lambda x: x % x,
    "divmod": lambda x: divmod(x, 2),
    "divmod of a number": lambda x: divmod(2, x),
}


@pytest.mark.parametrize("rounded", ROUNDINGS.values(), ids=ROUNDINGS)
def test_rounding_is_refused_with_its_cure(engine, rounded):
    """pygrad's own error names `v.data`, and within a transform or recording `static`."""
    with pytest.raises(TypeError, match=r"of a Value: .*use v\.data"):
        rounded(engine.Value(2.5))
    for run in (pygrad.gradient(rounded), pygrad.compile(rounded, batched=False)):
        with pytest.raises(TypeError, match="depends on an argument: .*static"):
            run(2.5)


def test_a_foreign_type_may_divide_a_value(engine):
    """Operators of other types have their turn."""

    class Other:
        def __rmod__(self, other):
            return "mine"

    assert "mine" == engine.Value(2.0) % Other()
    with pytest.raises(TypeError, match="convert it first"):
        engine.Value(2.0) // "text"
