"""Never a silent difference: programs in ordinary Python mean the same on floats, transformed and compiled.

tests/tools/ordinary_programs.py says what is compared, and runs ten thousands of them. Here are a few hundred; and
faults, planted to see that they are found.
"""

import collections

import program_author
import pytest
from ordinary_programs import FINE, WAYS, campaign, check, shrunk
from program_author import write

from pygrad import Value
from pygrad.tape import record

pytestmark = pytest.mark.python

BLOCK = 60  # programs of a test


@pytest.mark.parametrize("block", range(5))
def test_no_program_is_silently_different(block):
    """Each is answered right, refused by an error of pygrad's own, or warned of by its line."""
    _, findings = campaign(range(block * BLOCK, (block + 1) * BLOCK))

    assert [] == [str(shrunk(finding, tries=60)) for finding in findings[:2]]


def test_programs_are_of_all_sorts():
    """A seed makes always the same program. Most have an answer; some are warned of, some refused."""
    verdicts, _ = campaign(range(BLOCK), ways=["gradient", "compiled without static"])

    assert write(7) == write(7) != write(8)
    assert verdicts["programs"] > 0.9 * BLOCK
    assert verdicts["same"] > BLOCK / 2
    assert min(verdicts["warned"], verdicts["refused"]) > 3


def _without_gradient(x):
    return x.tanh().stop_gradient() if isinstance(x, Value) else program_author.math.tanh(x)


def _without_words(x):
    return x.no_such_method() if isinstance(x, Value) else program_author.math.tanh(x)


FAULTS = {
    "a Value is always true": ("value", ["gradient of all"], (Value, "__bool__", lambda self: True)),
    "recordings do not warn": ("value", ["compiled"], (record, "_tell", lambda message, told: None)),
    "a gradient is lost": ("gradient", ["gradient"], (program_author.NAMES, "tanh", _without_gradient)),
    "an error is not pygrad's": ("foreign", ["gradient"], (program_author.NAMES, "tanh", _without_words)),
}


@pytest.mark.parametrize("kind, ways, planted", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(monkeypatch, kind, ways, planted):
    """The campaign finds it within a hundred programs, and cuts the program down."""
    place, name, fault = planted
    (monkeypatch.setitem if isinstance(place, dict) else monkeypatch.setattr)(place, name, fault)
    _, findings = campaign(range(100), most=1, ways=ways)
    found = [finding for finding in findings if finding.kind == kind]

    assert 1 <= len(found)
    assert len(shrunk(found[0], tries=60).source) < len(found[0].source)


def test_each_way_is_judged():
    """All ways give verdicts, and an unfit program none."""
    source = "def f(x):\n    return x * 2.0\nargnums, static = (0,), ()\ncalls = [lambda f: f(1.0), lambda f: f(3.0)]"
    verdicts, findings = check(source, "twice")

    assert (collections.Counter(same=len(WAYS)), []) == (verdicts, findings)
    assert "same" in FINE
    assert (None, []) == check(source.replace("2.0", "(1.0 / 0)"), "no number")
