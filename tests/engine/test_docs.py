"""The docstrings of Value are true: each op has one, its derivative is the engine's, and its example runs."""

import doctest
import inspect
import math

import pytest

from pygrad import engine, reference
from pygrad.common.docs import DOCS, OPS, documented
from pygrad.engine._lib import ffi, lib
from pygrad.engine.optable import CODES
from pygrad.engine.portable import Value as PortableValue

DIFFERENTIABLE = [name for name, op in OPS.items() if op.derivatives]
NUMBERS = (-2.3, -0.7, -0.2, 0.0, 0.4, 0.9, 1.7)  # both sides of every kink, and the kinks themselves


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _evaluate(expression, **operands):
    """Return the number that a derivative's text stands for; nan outside the domain."""
    try:
        return eval(expression, vars(math) | {"sigmoid": _sigmoid} | operands)
    except (ValueError, ZeroDivisionError):
        return math.nan


def _slopes(name, a, b):
    """Return the derivatives by a and b that the engine computes."""
    out = ffi.new("double[3]")
    lib.pg_op_eval(CODES[name], a, b, out)
    return out[1], out[2]


def _promised(op, a, b):
    """Return the derivatives by a and b that the docstring tells; one for each operand."""
    other = op.parameter.partition("=")[0] or "unused"
    return [_evaluate(text, **{"self": a, other: b}) for text in op.derivatives]


def test_each_op_with_a_method_is_documented():
    """A row of the op table that is a method has an entry, and no other name has."""
    assert {name for name in engine.OPS if hasattr(engine.Value, name)} == set(OPS)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives_are_true(name):
    """The expression in a docstring gives the slope that the op has."""
    checked = 0
    for a in NUMBERS:
        for b in NUMBERS if OPS[name].parameter else (0.0,):
            for promised, slope in zip(_promised(OPS[name], a, b), _slopes(name, a, b)):
                if math.isfinite(promised):
                    checked += 1
                    assert promised == pytest.approx(slope, rel=1e-13, abs=1e-15), (a, b)
    assert checked >= 3


def test_a_false_derivative_is_found():
    """Swapped derivatives, and one that is off by a little, are not those of the op."""
    op = OPS["leaky_relu"]
    planted = op._replace(derivatives=op.derivatives[::-1])

    assert _promised(op, -2.3, 0.4) == list(_slopes("leaky_relu", -2.3, 0.4))
    assert _promised(planted, -2.3, 0.4) != list(_slopes("leaky_relu", -2.3, 0.4))
    assert _evaluate("1.000001 - tanh(self)**2", self=0.4) != pytest.approx(_slopes("tanh", 0.4, 0.0)[0], rel=1e-13)


def test_ops_without_derivative_say_so():
    """Exactly the flat rows have no derivative in their docstrings."""
    flat = [name for name in OPS if not lib.pg_op_has_derivative(CODES[name])]

    assert flat == [name for name in OPS if name not in DIFFERENTIABLE]
    assert all("No gradient is passed on" in DOCS[name] for name in flat)


@pytest.mark.parametrize("value_type", [engine.Value, PortableValue, reference.Value])
@pytest.mark.parametrize("name", OPS)
def test_help_shows_it(value_type, name):
    """`help(Value.tanh)` has what the method returns, its derivatives and an example."""
    shown = inspect.getdoc(getattr(value_type, name))

    assert all(text in shown for text in (OPS[name].returns, *OPS[name].derivatives, f"x.{name}(", OPS[name].result))


@pytest.mark.parametrize("module", ["pygrad", "pygrad.reference"])
@pytest.mark.parametrize("name", DOCS)
def test_examples_run(name, module):
    """The example in a docstring gives what stands below it, on both engines."""
    if module == "pygrad.reference" and name == "requires_grad":
        pytest.skip("the reference freezes no leaves")
    text = DOCS[name].replace("from pygrad import Value", f"from {module} import Value")
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)

    assert (0, len(example.examples)) == tuple(doctest.DocTestRunner().run(example))[:2]
    assert example.examples


def test_both_proxies_say_the_same():
    """`inspect.getdoc` is equal for each name that a program may use; the class itself included."""

    def public(value_type):
        return [name for name in dir(value_type) if not name.startswith("_") and hasattr(value_type, name)]

    names = [*public(engine.Value), "_op", "_prev", "_backward"]

    assert set(OPS) < set(names)
    assert public(PortableValue) == names[:-3]
    assert inspect.getdoc(engine.Value) == inspect.getdoc(PortableValue)
    for name in names:
        assert inspect.getdoc(getattr(engine.Value, name)) == inspect.getdoc(getattr(PortableValue, name)), name
        assert inspect.getdoc(getattr(engine.Value, name)), name


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.parameter] + ["backward", "tanh"])
def test_both_proxies_have_the_same_signatures(name):
    """`inspect.signature` names the parameters and defaults of a method."""

    def parameters(method):
        return [(p.name, p.default) for p in inspect.signature(method).parameters.values()]

    assert parameters(getattr(PortableValue, name)) == parameters(getattr(engine.Value, name))


def test_a_class_is_documented_where_it_defines_a_name():
    """`documented` gives a docstring to what a class defines, and leaves the rest of it alone."""

    @documented
    class Partial:
        def tanh(self):
            pass

        def mine(self):
            """Mine."""

    assert (DOCS["tanh"].strip(), "Mine.") == (inspect.getdoc(Partial.tanh), inspect.getdoc(Partial.mine))
    assert not hasattr(Partial, "exp")


def test_the_signature_of_the_class(Value):
    """`inspect.signature(Value)` has micrograd's parameters; that of a derived class has its own."""
    assert "(data, _children=(), _op='', label='', **dialect)" == str(inspect.signature(Value))

    class Plain(Value):
        pass

    class Named(Value):
        def __init__(self, name, data=0.0):
            super().__init__(data, label=name)

    class Made(Value):
        def __new__(cls, made):
            return super().__new__(cls)

    assert inspect.signature(Value) == inspect.signature(Plain)
    assert "(name, data=0.0)" == str(inspect.signature(Named))
    assert "(made)" == str(inspect.signature(Made))
