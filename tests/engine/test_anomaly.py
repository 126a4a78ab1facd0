"""`detect_anomaly()` stops at the first nan or inf and says which op made it, from what, and where in the program."""

import math

import pytest

import pygrad
from pygrad import detect_anomaly

pytestmark = pytest.mark.large


def test_forward_names_op_operands_and_line(Value):
    """The first result that is not finite raises FloatingPointError with op, operands, file and source line."""
    a = Value(-1.5)

    with detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        a.log()  # the culprit

    for part in ("'log'", "nan", "-1.5", __file__, "a.log()  # the culprit"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "compute, op, operands",
    [
        (lambda v: v / 0.0, "'/'", "(2.0, 0.0)"),
        (lambda v: 1.0 / (v - 2.0), "'/'", "(1.0, 0.0)"),
        (lambda v: (v * 400.0).exp(), "'exp'", "(800.0)"),
        (lambda v: v**2000, "'**2000'", "(2.0)"),
        (lambda v: v * 1e308 * 10.0, "'*'", "10.0"),
        (lambda v: (v - 2.0) ** -1, "'**-1'", "(0.0)"),
    ],
)
def test_forward_of_each_kind_of_node(Value, compute, op, operands):
    """Binary ops, constants on either side, powers and chains name the op that made the inf, and its operands."""
    v = Value(2.0)

    with detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        compute(v)

    assert op in str(caught.value)
    assert operands in str(caught.value)


def test_forward_of_sum_and_dot(engine):
    """n-ary nodes are checked too; of many operands the first few are shown."""
    values = [engine.Value(1e308) for _ in range(8)]

    with detect_anomaly():
        with pytest.raises(FloatingPointError, match=r"'sum' gave inf from \(1e\+308, .*8 operands"):
            engine.sum(values)
        with pytest.raises(FloatingPointError, match="'dot' gave inf"):
            engine.dot(values, values)


def test_backward_names_op_operands_and_line(Value):
    """A finite result whose derivative is not finite is caught in the sweep, with the line that built the node."""
    a = Value(0.0)

    with detect_anomaly():
        y = a.sqrt() * 3.0  # a slope of inf
        with pytest.raises(FloatingPointError) as caught:
            y.backward()

    for part in ("derivative", "'sqrt'", "(0.0)", "inf", __file__, "y = a.sqrt() * 3.0  # a slope of inf"):
        assert part in str(caught.value)


def test_backward_of_a_graph_built_before(Value):
    """A node made before the block has no line; the error says so and names the op all the same."""
    y = Value(0.0).sqrt()

    with detect_anomaly(), pytest.raises(FloatingPointError, match="'sqrt'.*before"):
        y.backward()


def test_backward_through_a_closure(Value):
    """A closure that passes on a nan is named by its op label."""
    a = Value(1.0)
    node = Value(1.0, (a,), "my_op")
    node._backward = lambda: setattr(a, "grad", math.nan)

    with detect_anomaly(), pytest.raises(FloatingPointError, match="'my_op'"):
        (node * 2.0).backward()


def test_the_label_is_named(Value):
    """A node with a label is named with it."""
    y = Value(0.0).sqrt()
    y.label = "norm"

    with detect_anomaly(), pytest.raises(FloatingPointError, match="norm"):
        y.backward()


def test_labels_of_operands_are_named(Value):
    """Operands with a label show it, forward and backward, and so does the one whose gradient it is."""
    a, b = Value(0.0, label="rate"), Value(-1.0)

    with detect_anomaly():
        with pytest.raises(FloatingPointError, match=r"'/' gave -inf from \(-1\.0, rate=0\.0\)"):
            b / a
        y = a.sqrt()
        with pytest.raises(FloatingPointError, match=r"at \(rate=0\.0\) gave a gradient of inf to 'rate'"):
            y.backward()


def test_what_was_not_finite_before_is_said(engine):
    """An op is not blamed for what it was given: of many operands the place of the first such one is told."""
    values = [engine.Value(1.0) for _ in range(8)]
    values[5].data = math.nan

    with detect_anomaly():
        with pytest.raises(
            FloatingPointError, match=r"'sum' gave nan .*; operand 7 of 9 was nan already|operand 6 of 8"
        ):
            engine.sum(values)
        with pytest.raises(FloatingPointError) as caught:
            engine.Value(-1.0).log()
    assert "already" not in str(caught.value)


@pytest.mark.parametrize("forward", [True, False])
def test_deep_in_a_large_graph(Value, forward):
    """Of 100,000 nodes the one that makes the first nan is named with its line, forward and backward."""

    def program(y, one):
        for i in range(50_000):
            y = y * one
            if i == 25_000 and forward:
                y = (y - 2.0).log()  # forward it is here
            if i == 25_000 and not forward:
                y = y + (y - y).sqrt() * 0.0  # backward it is here
            y = y + 0.0
        y.backward()

    with detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        program(Value(1.0), Value(1.0))

    op, operands, line = ("log", "(-1.0)", "# forward it") if forward else ("sqrt", "(0.0)", "# backward it")
    expected = (f"'{op}'", operands, line)
    for part in (*expected, __file__):
        assert part in str(caught.value)


def test_sound_programs_pass_unchanged(engine):
    """A program without nan or inf gives the same data and gradients inside the block, closures included."""

    def program():
        a, b = engine.Value(0.5), engine.Value(-2.0)
        node = engine.Value(3.0, (a,), "custom")
        node._backward = lambda: setattr(a, "grad", a.grad + 2.0 * node.grad)
        loss = engine.sum([a * b, node, engine.dot([a, b], [b, 2.0], a)]).tanh() + abs(b) ** 3
        loss.backward()
        loss.backward()
        return loss.data, a.grad, b.grad

    with detect_anomaly():
        inside = program()

    assert program() == inside


def test_everything_is_usable_after_an_anomaly(Value):
    """After the error in a sweep the graph can be swept again, as after any exception."""
    a, b = Value(0.0), Value(3.0)
    y = a.sqrt() + b * b

    with detect_anomaly(), pytest.raises(FloatingPointError):
        y.backward()
    b.grad = 0.0
    y.backward()

    assert 6.0 == b.grad
    assert math.isinf(a.grad)


def test_a_refused_pass_can_be_tried_again(Value):
    """A backward pass refused for a gradient that was nan before leaves nothing busy."""
    a = Value(2.0)
    root = a * 3.0
    a.grad = math.nan
    with detect_anomaly():
        with pytest.raises(FloatingPointError):
            root.backward()
        a.grad = 0.0
        root.backward()

    assert 3.0 == a.grad


def test_off_outside_the_block(Value):
    """Before and after the block nothing raises."""
    assert math.isnan(Value(-1.0).log().data)
    with detect_anomaly():
        pass
    assert math.isnan(Value(-1.0).log().data)


def test_off_again_after_an_exception(Value):
    """An exception, its own or another's, ends the block and with it the check."""
    for error, provoke in ((FloatingPointError, lambda: Value(-1.0).log()), (KeyError, lambda: {}["missing"])):
        with pytest.raises(error), detect_anomaly():
            provoke()

        assert math.isnan(Value(-1.0).log().data)


def test_blocks_nest(Value):
    """The end of an inner block, by exception or not, leaves the outer one on."""
    with detect_anomaly():
        with detect_anomaly():
            pass
        with pytest.raises(FloatingPointError):
            Value(-1.0).log()
        with pytest.raises(KeyError), detect_anomaly():
            raise KeyError
        with pytest.raises(FloatingPointError):
            Value(-1.0).log()
    Value(-1.0).log()


def test_use_as_a_decorator(Value):
    """`@detect_anomaly()` covers a function, each time it is called."""

    @detect_anomaly()
    def step():
        return Value(-1.0).log()

    for _ in range(2):
        with pytest.raises(FloatingPointError):
            step()
    Value(-1.0).log()


@pytest.mark.skipif(not hasattr(pygrad, "Value"), reason="the package's top level is not written yet")
def test_it_is_at_top_level():
    """`pygrad.detect_anomaly` is this function."""
    assert detect_anomaly is pygrad.detect_anomaly
