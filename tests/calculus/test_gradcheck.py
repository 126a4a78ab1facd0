"""gradcheck and gradgradcheck: right gradients pass, planted wrong ones are caught and named."""

import math
import random

import pytest

import pygrad
import pygrad.calculus.gradcheck
from pygrad import GradcheckError, Value
from pygrad.calculus.gradcheck import differentiate, gradcheck, gradgradcheck
from pygrad.engine import OPS

pytestmark = pytest.mark.python


def closure_op(name, children, data, derivatives, assign=False, forget=False):
    """An op of the lecture's kind, with these derivatives; it overwrites gradients, or forgets its own, on demand."""
    out = Value(data, children, name)

    def backward():
        for child, derivative in zip(children, derivatives):
            share = derivative if forget else derivative * out.grad
            child.grad = share if assign else child.grad + share

    out._backward = backward
    return out


# --- what is right passes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, (_, arity) in OPS.items() if arity == 1 and hasattr(Value, name)])
@pytest.mark.parametrize("x", [0.37, 2.5, 1e-4, 40.0, 1e5])
def test_unary_ops_pass(name, x):
    """Each op of the table with a method, at points small and large; stop_gradient cuts by design, and fails."""
    if name == "stop_gradient":
        pytest.skip("it passes no gradient on")
    if not math.isfinite(getattr(Value(1.01 * x), name)().data):
        pytest.skip("outside its range")

    assert gradcheck(lambda v: getattr(v, name)(), x)


@pytest.mark.parametrize("op", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b])
def test_arithmetic_passes(op):
    """Two arguments, of different sizes."""
    assert gradcheck(op, (3e-3, -700.0))


FAR_AND_NEAR = {
    "1/x": (lambda x: 1 / x, [1e-100, 1e-9, 1e-6, -1e-6, 1e-3, 1e6, 1e12]),
    "log": (lambda x: x.log(), [1e-300, 1e-9, 1e6, 1e12]),
    "root": (lambda x: x**1.5, [1e-100, 1e-9, 1e6, 1e12]),
    "square": (lambda x: x * x, [1e-100, 1e-9, 1e6, 1e12]),
    "cube": (lambda x: x * x * x, [1e-60, 1e-9, 1e6, 1e12]),
    "sin": (lambda x: x.sin(), [1e-9, 1e6, 1e9, 1e12]),
    "fast sin": (lambda x: (1000 * x).sin(), [1e-9, 1e-3, 1e3]),
    "large constant": (lambda x: 1e6 + x.sin(), [0.0, 1e-9, 1.0, 1e3]),
    "pole beside a line": (lambda x: x + 1 / x, [1e-9, 1e-6, 1e6, 1e12]),
    "relu": (lambda x: x.relu(), [1e-9, 1e6]),
    "abs": (lambda x: abs(x), [1e-9, -1e-9, 1e6]),
    "steep": (lambda x: (1e6 * x).atan(), [1e-9, 1e-6]),
    "asin": (lambda x: x.asin(), [1e-9, 0.999999]),
}


@pytest.mark.parametrize("f, points", FAR_AND_NEAR.values(), ids=FAR_AND_NEAR.keys())
def test_steps_fit_the_point(f, points):
    """Beside a pole or a kink at 0, and far from 0, right gradients pass, and those wrong by 0.1% are found."""
    for x in points:
        assert gradcheck(f, x), x
        for factor in (1.001, 0.999, 2.0, 0.0):
            wrong = lambda v, factor=factor: closure_op("wrong", (y := f(v),), y._read(), (factor,))  # noqa: E731
            assert not gradcheck(wrong, x, raise_exception=False), (x, factor)


def test_second_derivatives_and_reports_beside_a_pole():
    """gradgradcheck fits its steps too, and a report names the right number."""
    assert pygrad.gradgradcheck(lambda x: 1 / x, 1e-6)
    with pytest.raises(GradcheckError, match="is -2000000000000.0, and differences give -1000000000000.0"):
        gradcheck(lambda x: [closure_op("inverse", (x[0],), 1 / x[0]._read(), (-2e12,)), x[0] * 3.0], [1e-6])


def test_a_deep_program_passes():
    """A network with sums, dots, takes, powers, constants and Values used many times, of a few inputs."""
    rng = random.Random(1)
    model = pygrad.MLP(4, [5, 5, 1], activation="tanh")
    target = Value(0.3)

    def loss(x):
        z = pygrad.sum([x[0] ** 3, x[1] ** 2.5, x[2] ** -1, 2.0 ** x[3], x[0] * x[0]])
        return (model(x) - target) ** 2 * z + pygrad.take(x, 2).exp() / (x[1] + 3.0)

    assert gradcheck(loss, [rng.uniform(0.5, 2.0) for _ in range(4)])


def test_shapes_of_arguments():
    """A list is one argument, a tuple is several, a number is one Value; lists nest, arrays and Values are read."""
    assert gradcheck(lambda x: x[0] * x[1], [2.0, 3.0])
    assert gradcheck(lambda a, b: a * b[0] * b[1], (2.0, [3.0, 4.0]))
    assert gradcheck(lambda rows: rows[0][0] * rows[1][0], [[2.0], [3.0]])
    assert gradcheck(lambda x: x * x, Value(2.0))
    assert gradcheck(lambda x: x[0][0] * x[0][1], [(2.0, 3.0)])
    with pytest.raises(GradcheckError, match=r"x1\[0\]\[1\]"):
        gradcheck(lambda a, b: a * b[0][0] * b[0][1].detach(), (2.0, [(3.0, 4.0)]))


def test_many_results_and_numbers_among_them():
    """A list of results is checked row by row; a number among them has no derivative; zero derivatives pass."""
    assert gradcheck(lambda x: [x[0] * x[1], x[1].sin(), 3.0, x[0]], [2.0, 3.0])
    assert gradcheck(lambda x: x[0] * 0.0 + x[1] - x[1], [2.0, 1e6])


def test_right_custom_ops_pass():
    """A closure that adds, local gradients, and a declared derivative, each right, each used twice."""

    @pygrad.custom_op
    def cubed(v):
        return v * v * v

    cubed.derivative(lambda y, v: 3.0 * v * v)

    def fn(x):
        a = closure_op("mul", (x[0], x[1]), x[0].data * x[1].data, (x[1].data, x[0].data))
        b = Value(math.exp(x[0].data), (x[0],), (math.exp(x[0].data),))
        return a * a + b * x[0] + cubed(x[1]) * a

    assert gradcheck(fn, [1.3, -0.7])


def test_nobodys_gradient_is_touched():
    """Gradients of Values that fn uses, of those given as xs, and of the graph between, are as before: also a nan."""
    w, x = Value(2.0), Value(3.0)
    between = w * 2.0
    w.grad, x.grad, between.grad = 5.0, math.nan, 7.0

    gradcheck(lambda v: v * between, x)
    with pytest.raises(GradcheckError):
        gradcheck(lambda v: closure_op("bad", (v,), v.data * w.data, (1.0,)) * between, x)

    assert (5.0, 7.0) == (w.grad, between.grad)
    assert math.isnan(x.grad)


# --- what is wrong is caught and named --------------------------------------------------------------------------------


def message_of(fn, xs, **options):
    assert gradcheck(fn, xs, raise_exception=False, **options) is False
    with pytest.raises(GradcheckError) as caught:
        gradcheck(fn, xs, **options)
    return str(caught.value)


@pytest.mark.parametrize("off", [1.001, 0.999, 1.0 + 2e-4, -1.0, 0.0, math.nan])
def test_a_closure_that_is_off(off):
    """0.1 % and less, the wrong sign, nothing, a nan: the report names op, label, operand, and both numbers."""

    def fn(x):
        out = closure_op("mine", (x[1],), 5.0 * x[1].data, (5.0 * off,))
        out.label = "m"
        return out * x[0] + x[1].tanh()

    message = message_of(fn, [2.0, 0.5])

    assert "d y / d x[1] is" in message
    assert "d y / d x[0]" not in message
    assert "'mine' (label 'm'), operand 1 of 1 (x[1], data 0.5)" in message
    assert math.isnan(off) or "should be 5.0" in message
    assert "tanh" not in message


def test_swapped_operands():
    """d/da where d/db belongs: both operands are named, and that they are swapped."""

    def divide(a, b):
        da, db = 1 / b.data, -a.data / b.data**2
        return closure_op("div", (a, b), a.data / b.data, (db, da))

    message = message_of(lambda x: divide(x[0].exp(), x[1]) * x[2], [0.3, 0.7, 2.0])

    assert "'div', operand 1 of 2 (exp" in message
    assert "'div', operand 2 of 2 (x[1], data 0.7)" in message
    assert "swapped" in message


def test_one_wrong_operand_of_two():
    """Only the operand whose derivative is wrong is named, with the number that it should be."""
    message = message_of(lambda a, b: closure_op("mul", (a, b), a.data * b.data, (b.data, 1.001 * a.data)), (2.0, 3.0))

    assert "'mul', operand 2 of 2 (x1, data 3.0): its derivative is 2.002, and should be 2.0" in message
    assert "operand 1" not in message


def test_operands_that_cannot_be_told_apart():
    """With one input that moves both operands alike, the node is named and both operands are."""
    message = message_of(lambda v: closure_op("mul", (v * 1.0, v * 2.0), 2.0 * v.data**2, (v.data, v.data)), 3.0)

    assert "'mul': the derivative by *, data 3.0 or *, data 6.0" in message


@pytest.mark.parametrize("last", [True, False])
def test_lost_accumulation_in_a_closure(last):
    """`=` where `+=` belongs is caught also where the sweep's order happens to make the total right."""

    def fn(v):
        if last:
            return closure_op("set", (v,), 2.0 * v.data, (2.0,), assign=True) + v * 3.0
        three = v * 3.0
        return three + closure_op("set", (v,), 2.0 * v.data, (2.0,), assign=True)

    message = message_of(fn, 1.5)

    assert "'set', operand 1 of 1 (x, data 1.5): the closure overwrites the gradient" in message


def test_lost_accumulation_of_an_operand_used_twice():
    """x * x whose closure assigns to the one after the other."""

    def square(v):
        out = Value(v.data * v.data, (v, v), "square")

        def backward():
            v.grad = v.data * out.grad
            v.grad = v.data * out.grad

        out._backward = backward
        return out

    message = message_of(square, 1.5)

    assert "d y / d x is 1.5, and differences give 3.0 (50% apart)" in message
    assert "'square', operand 1 of 1 (x, data 1.5): the closure overwrites" in message


def test_a_closure_without_the_chain_rule():
    """As the last node its total is right, for its gradient is 1; it is caught all the same."""
    message = message_of(lambda v: closure_op("top", (v,), 2.0 * v.data, (2.0,), forget=True), 1.5)

    assert message.startswith("a backward step is wrong:\n  'top', operand 1 of 1")
    assert "out.grad" in message


@pytest.mark.parametrize(
    "derivative, named",
    [
        (lambda y, a, b: (b * 1.001, a), "operand 1 of 2 (x[0], data 2.0): its derivative is 3.003, and should be 3.0"),
        (lambda y, a, b: (a, b), "swapped"),
        (lambda y, a, b: (b, 0.0), "operand 2 of 2 (x[1], data 3.0): its derivative is 0.0, and should be 2.0"),
    ],
)
def test_a_wrong_declared_derivative(derivative, named):
    """0.1 % off, swapped, lost: in a custom_op, which is named as its function is."""

    @pygrad.custom_op
    def product(a, b):
        return a * b

    product.derivative(derivative)

    message = message_of(lambda x: product(x[0], x[1]).sin() + x[0], [2.0, 3.0])

    assert f"'product', {named}" in message or ("'product'" in message and named in message)


def test_wrong_local_gradients():
    """Of two such nodes in a row the wrong one is named, and not the right one."""

    def fn(v):
        right = Value(3.0 * v.data, (v,), (3.0,))
        right.label = "right"
        wrong = Value(right.data**2, (right,), (2.001 * right.data,))
        wrong.label = "wrong"
        return wrong * 2.0

    message = message_of(fn, 0.5)

    assert "(label 'wrong'), operand 1 of 1 (right, data 1.5)" in message
    assert "label 'right'" not in message


def test_a_value_that_is_no_operand():
    """An op whose data uses a Value that it does not list."""
    message = message_of(lambda x: closure_op("sly", (x[0],), x[0].data + x[1].data, (1.0,)), [1.0, 2.0])

    assert "d y / d x[1] is 0.0, and differences give 1.0" in message
    assert "'sly': its data depends on a Value that is not among its operands" in message


def test_kinks_cuts_and_noise_are_called_so():
    """relu at 0 is named; stop_gradient cuts by design; detach leaves no node to name; noise neither."""
    assert "'ReLU', operand 1 of 1" in message_of(lambda v: v.relu() * 2.0, 0.0)
    assert "'stop_gradient' passes no gradient on, by design" in message_of(lambda v: v.stop_gradient() * v, 2.0)
    assert "no node by itself" in message_of(lambda v: v.detach() * v, 2.0)
    assert "lose the digits that differences need" in message_of(lambda v: (v + 1e10) - 1e10, 2.0)
    assert gradcheck(lambda v: (v + 1e10) - 1e10, 2.0, atol=1e-3)


def test_tiny_gradients_do_not_pass_for_being_tiny():
    """Everything scaled by 1e-200: 0.1 % is still caught."""
    assert gradcheck(lambda v: v.sin() * 1e-200, 1.0)
    assert "'tiny'" in message_of(lambda v: closure_op("tiny", (v,), 1e-200 * v.data, (1.001e-200,)), 1.0)


def test_rounding_is_allowed_for():
    """At a maximum the exact derivative is almost 0, and differences see the rounding of a large result."""
    assert gradcheck(lambda v: v.sin() * 1e6, math.pi / 2)


def test_beside_a_kink():
    """A kink a ten-thousandth away, or the end of the domain, does not mislead the differences."""
    assert gradcheck(lambda v: abs(v) * 3.0, 1e-4)
    assert gradcheck(lambda v: v.log(), 1e-7)


def test_long_reports_are_cut():
    """Ten mismatches are listed, and then how many more there are."""
    message = message_of(
        lambda xs: sum(closure_op("no", (x,), x.data, (0.0,)) for x in xs), [float(i) for i in range(15)]
    )

    assert 2 == message.count("  and 5 more")


def test_a_function_that_changes_is_refused():
    """A random function has no derivative to measure."""
    with pytest.raises(ValueError, match="another result each time"):
        gradcheck(lambda v: v * random.random(), 1.0)


def test_bad_arguments():
    """What is no number, no number at all, and results that are no Values."""
    with pytest.raises(TypeError, match="is needed here, not str 'a'"):
        gradcheck(lambda v: v, "a")
    with pytest.raises(ValueError, match="at least one number"):
        gradcheck(lambda v: v, [])
    with pytest.raises(TypeError, match="not NoneType"):
        gradcheck(lambda v: None, 1.0)


def test_differences_come_with_an_error_that_holds():
    """The estimate covers the true error, for functions easy and hard."""
    for f, x, true in [
        (math.sin, 1.0, math.cos(1.0)),
        (lambda t: math.sin(1000 * t), 0.3, 1000 * math.cos(300.0)),
        (lambda t: math.exp(30 * t), 0.5, 30 * math.exp(15.0)),
        (lambda t: 1 / t, 1e-3, -1e6),
    ]:
        (slope,) = differentiate(lambda t, f=f: [f(t)], x)
        assert abs(slope.value - true) <= 2 * slope.error + slope.noise
        assert abs(slope.value - true) <= 1e-7 * abs(true)


# --- second derivatives -----------------------------------------------------------------------------------------------


def test_second_derivatives_pass():
    """A function of a list, and of several arguments, with mixed derivatives."""
    assert gradgradcheck(lambda x: x[0] ** 3 * x[1].tanh() + (x[0] * x[1]).exp(), [0.7, 0.4])
    assert gradgradcheck(lambda a, b: a.sin() / (b[0] * b[1]), (0.3, [2.0, 3.0]))


def test_a_wrong_second_derivative_is_caught():
    """First derivatives that are right, of which the declared second one is cut off."""

    @pygrad.custom_op
    def squared(v):
        return v * v

    squared.derivative(lambda y, v: 2.0 * v.stop_gradient())

    assert gradcheck(lambda v: squared(v), 1.5)
    assert gradgradcheck(lambda v: squared(v), 1.5, raise_exception=False) is False


def test_a_block_without_gradients_around_a_check_changes_nothing():
    """Within no_grad() a right gradient passes both checks, and what is no function is a TypeError."""
    with pygrad.no_grad():
        assert gradcheck(lambda x: x * x.tanh(), 0.5)
        assert gradgradcheck(lambda x: x * x.tanh(), 0.5)
    with pytest.raises(TypeError, match="a function of Values is needed here, not int"):
        gradcheck(3, [1.0])


@pytest.mark.parametrize("x", [1e-5, 1e-6, -1e-5])
def test_short_steps_that_do_not_move_the_function_say_nothing(x):
    """log(cosh(x)) and log(x² + 1) near 0 lose their digits within: there the long steps are the better ones."""
    assert gradcheck(lambda v: v.cosh().log(), x)
    assert gradcheck(lambda v: (v * v + 1.0).log(), x)
