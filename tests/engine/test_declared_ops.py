"""`custom_op`: an op whose data is one function of Values, and whose derivative is another."""

import gc
import math
import weakref

import pytest

import pygrad
from pygrad import engine as c_engine
from pygrad import reference, viz


@pytest.fixture
def custom_op(engine):
    """The engine's `custom_op`."""
    return pygrad.custom_op if engine is c_engine else reference.custom_op


@pytest.fixture
def softclip(engine, custom_op):
    """x between -1 and 1, with a slope of 0.1 beyond."""

    @custom_op
    def softclip(x):
        """Clip softly."""
        return engine.maximum(-1.0, engine.minimum(x, 1.0))

    @softclip.derivative
    def _(y, x):
        return engine.where(engine.less(abs(x), 1.0), 1.0, 0.1)

    return softclip


@pytest.mark.parametrize("x, data, slope", [(0.5, 0.5, 1.0), (3.0, 1.0, 0.1), (-7.0, -1.0, 0.1)])
def test_the_declared_derivative_counts(engine, softclip, x, data, slope):
    """Data is the function's, the gradient that of the derivative declared; none flows through the function."""
    v = engine.Value(x)
    out = softclip(v * 2.0 - v)
    (out * 5.0).backward()

    assert (data, 5.0 * slope) == (out.data, v.grad)


def test_it_is_one_node(engine, softclip):
    """The node has the op's name, and as operands its data's node, the argument and the derivative."""
    v = engine.Value(0.5)
    out = softclip(v)
    y, x, derivative = out._operands_in_order()

    assert ("softclip", 0.5, v, 1.0) == (out._op, y.data, x, derivative.data)
    assert ("minimum", "take") == (next(w for w in y._prev if w._op)._op, derivative._op)
    assert ("softclip", "Clip softly.") == (softclip.__name__, softclip.__doc__)
    assert "<custom op softclip>" == repr(softclip)


def test_several_arguments(engine, custom_op):
    """A tuple of derivatives, one for each argument; numbers are arguments and derivatives too."""

    @custom_op
    def weighted(a, b, c):
        return a + 2 * b + 3 * c

    @weighted.derivative
    def _(y, a, b, c):
        return b * 10, 7, y

    a, b = engine.Value(1.0), engine.Value(2.0)
    out = weighted(a, b, 4)
    out.backward()

    assert (17.0, 20.0, 7.0) == (out.data, a.grad, b.grad)
    assert (17.0, 17.0) == (out._operands_in_order()[5].grad, out._operands_in_order()[6].data)


def test_one_value_as_several_arguments(engine, custom_op):
    """An argument that stands in two places gets both derivatives."""
    times = custom_op(lambda a, b: a * b).derivative(lambda y, a, b: (b, a))
    v = engine.Value(3.0)
    times(v, v).backward()

    assert 6.0 == v.grad


def test_the_derivative_is_read_when_it_is_used(engine, custom_op):
    """A derivative whose data was changed after the forward pass counts as it is then."""
    op = custom_op(lambda x: x).derivative(lambda y, x: factor)
    v, factor = engine.Value(2.0), engine.Value(3.0)
    out = op(v)
    factor.data = -4.0
    out.backward()

    assert (-4.0, 0.0) == (v.grad, factor.grad)


def test_what_function_and_derivative_close_over(engine, custom_op):
    """A Value that the function uses gets its derivative; one that only the derivative uses gets none, for y does not
    depend on it."""
    inside, beside = engine.Value(2.0), engine.Value(3.0)
    op = custom_op(lambda x: x * inside).derivative(lambda y, x: beside * x)
    v = engine.Value(1.0)
    (op(v) * 1e300).backward()

    assert (1e300, 0.0, 3e300) == (inside.grad, beside.grad, v.grad)


def test_an_op_of_ops_and_a_second_backward(engine, softclip):
    """Ops stand within one another; a second backward() adds the same again."""
    v = engine.Value(4.0)
    out = softclip(softclip(v) * 3.0)
    out.backward()
    first = v.grad
    out.backward()

    assert 0.1 * 3.0 * 0.1 == first
    assert first + first == v.grad


def test_functions_may_return_numbers_and_their_argument(engine, custom_op):
    """A number as result is a constant; the argument itself is not replaced."""
    constant = custom_op(lambda x: 7).derivative(lambda y, x: (2,))
    same = custom_op(lambda x: x).derivative(lambda y, x: 5)
    v = engine.Value(1.0)
    (constant(v) + same(v)).backward()

    assert (7.0, 7.0, v) == (constant(v).data, v.grad, same(v)._operands_in_order()[0])


def test_an_op_without_arguments(engine, custom_op):
    """An op of nothing is a constant of the user's making."""
    out = custom_op(lambda: 3.0).derivative(lambda y: ())()
    (out * 2.0).backward()

    assert (3.0, 2.0) == (out.data, out.grad)


@pytest.mark.parametrize("count", [251, 252, 253, 504, 505, 1500])
def test_more_arguments_than_a_block_holds(engine, count):
    """An operand list that the arena splits passes each derivative on to its own argument."""
    xs = [engine.Value(float(i)) for i in range(count)]
    derivatives = [engine.Value(0.5 * i + 1.0) for i in range(count)]
    y = engine.Value(3.0) * 1.0
    out = engine.declared(y, xs, derivatives)
    (out * 2.0).backward()

    assert [2.0 * d.data for d in derivatives] == [x.grad for x in xs]
    assert ([0.0] * count, 0.0, 3.0) == ([d.grad for d in derivatives], y.grad, out.data)
    assert (y, *[v for pair in zip(xs, derivatives) for v in pair]) == out._operands_in_order()
    out.grad = 1.0
    out._backward()
    assert [3.0 * d.data for d in derivatives] == [x.grad for x in xs]
    if engine is c_engine:
        engine.check_arena()


def test_it_works_among_closures_and_under_detect_anomaly(engine, softclip):
    """The order of a graph with closures runs it, and detect_anomaly names it."""
    v = engine.Value(3.0)
    mid = engine.Value(v.data, (v,), "mine")
    mid._backward = lambda: setattr(v, "grad", v.grad + mid.grad)
    softclip(mid).backward()
    assert 0.1 == v.grad

    op = pygrad.custom_op if engine is c_engine else reference.custom_op
    bad = op(lambda x: x).derivative(lambda y, x: x * 1e300)
    with pygrad.detect_anomaly():
        out = bad(engine.Value(2.0)) * 1e300
        with pytest.raises(FloatingPointError, match=r"the derivative of '<lambda>' at \(2.0, 2.0, 2e\+300\)"):
            out.backward()


def test_it_is_drawn(engine, softclip):
    """A picture shows the op's name, with all of its operands."""
    pytest.importorskip("graphviz")
    source = viz.draw_dot(softclip(engine.Value(0.5))).source

    assert "softclip" in source
    assert "take" in source


def test_take_is_drawn_with_its_index_first(engine):
    """A picture of a take has an edge from the index, and opening fused nodes leaves it alone."""
    pytest.importorskip("graphviz")
    index, a = engine.Value(1, label="index"), engine.Value(2.0, label="chosen")
    out = engine.take([3.0, a], index)

    assert {(index, out), (a, out)} <= viz.trace(out)[1]
    for open_fused in (False, True):
        source = viz.draw_dot(out, open_fused=open_fused).source
        assert 4 == source.count("->")
        assert "take" in source


def test_nothing_is_kept(custom_op, engine):
    """An op keeps no Value: graph and arguments go when the result goes."""
    op = custom_op(lambda x: x * 2.0).derivative(lambda y, x: 2.0)
    v = engine.Value(1.0)
    ref, out = weakref.ref(v), op(v)
    del v
    assert out.data == 2.0
    del out
    gc.collect()

    assert ref() is None


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_derivative_that_is_missing(engine, custom_op):
    """Before a derivative is declared, a call says how to declare one."""

    @custom_op
    def half(x):
        return x / 2

    with pytest.raises(TypeError, match=r"derivative of half is not declared: .*@half\.derivative"):
        half(engine.Value(1.0))


@pytest.mark.parametrize("returned, count", [((1.0,), 1), ((1.0, 2.0, 3.0), 3), (5.0, 1), ((), 0)])
def test_a_wrong_number_of_derivatives(engine, custom_op, returned, count):
    """As many derivatives as arguments, or a ValueError with both numbers."""
    op = custom_op(lambda a, b: a + b).derivative(lambda y, a, b: returned)

    with pytest.raises(ValueError, match=f"each argument: 2, not {count}"):
        op(engine.Value(1.0), engine.Value(2.0))


@pytest.mark.parametrize("bad", ["1", None, ["1"], 1j, {}])
def test_a_result_that_is_no_number(engine, custom_op, bad):
    """What is neither Value nor number is refused by name: as a result."""
    v = engine.Value(1.0)
    wrong = custom_op(lambda x: bad).derivative(lambda y, x: 1.0)
    with pytest.raises(TypeError, match="^<lambda> must return a Value or a number, not"):
        wrong(v)


@pytest.mark.parametrize("bad", ["1", [1.0], 1j, {}])
def test_a_derivative_that_is_no_number(engine, custom_op, bad):
    """What is neither Value nor number is refused by name: as a derivative."""
    v = engine.Value(1.0)
    wrong = custom_op(lambda x: x).derivative(lambda y, x: (bad,))
    with pytest.raises(TypeError, match="^the derivative of <lambda> must return a Value or a number, not"):
        wrong(v)


@pytest.mark.parametrize("bad", [1j, {"a": 1j}, ["1"], [None], b"1"])
def test_an_argument_that_is_no_number(custom_op, bad):
    """Arguments are Values, numbers, lists of them, and what is passed as it is."""
    op = custom_op(lambda x: x).derivative(lambda y, x: 1.0)

    with pytest.raises(TypeError, match="must be a real number"):
        op(bad)


def test_what_is_no_function(custom_op):
    """custom_op and derivative take functions."""
    with pytest.raises(TypeError, match="custom_op needs a function"):
        custom_op(3.0)
    with pytest.raises(TypeError, match="derivative of <lambda> must be a function"):
        custom_op(lambda x: x).derivative(3.0)


def test_an_exception_in_a_function_is_the_callers(engine, custom_op):
    """What the functions raise comes through, and leaves nothing behind."""
    op = custom_op(lambda x: math.sqrt(-1.0)).derivative(lambda y, x: 1.0)

    with pytest.raises(ValueError, match="math domain"):
        op(engine.Value(1.0))


def test_declared_needs_pairs(engine):
    """The primitive refuses another number of derivatives than of arguments."""
    with pytest.raises(ValueError, match="as many derivatives as xs"):
        engine.declared(1.0, [engine.Value(1.0)], [])
