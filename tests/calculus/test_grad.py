"""Seeds, several roots, `grad` without a trace, and gradients that are Values again: any order of derivative."""

import itertools
import math

import pytest
import sympy
from programs import same

import pygrad
from pygrad import Value
from pygrad import engine as arena
from pygrad.calculus import grad as derive
from pygrad.engine._lib import ffi, lib
from pygrad.engine.arena import proxies_below
from pygrad.engine.optable import NAMES

ROWS = [name for op, name in enumerate(NAMES) if lib.pg_op_source(op, 1) != ffi.NULL]


@pygrad.custom_op
def tripled(x):
    """3 x, of which the derivative is declared."""
    return pygrad.stop_gradient(x) * 3.0


@tripled.derivative
def _(y, x):
    return pygrad.where(pygrad.less(x, 1e9), 3.0, 0.0) + 0.0 * x


def everything(a, b):
    """A graph with every kind of node that has formulas: also a split list and rows shared by dots."""
    chosen = pygrad.where(pygrad.less(a, b), a * b, a - b)
    dots = [pygrad.dot([a, b, w], [b, a, a], bias=a * w) for w in (a, b)]
    long = pygrad.sum([a, b * a, a] * 1000)
    return tripled(a) * chosen + dots[0] * dots[1] + long * 1e-3 + a**2.5 + pygrad.stop_gradient(a) * b


def close(expected, actual, tolerance=1e-12):
    """Both are numbers this close, relative to what is expected or 1."""
    return abs(expected - actual) <= tolerance * max(1.0, abs(expected))


# --- seeds and several roots ------------------------------------------------------------------------------------------


def test_backward_with_a_seed(Value):
    """A seed is the gradient of the root, and multiplies all others."""
    a = Value(3.0)
    b = a * a
    b.backward(seed=10.0)
    b.backward(-1)
    assert -1.0 == b.grad
    assert 54.0 == a.grad


@pytest.mark.parametrize("arguments", [("1",), (None,), (1.0, 2.0)])
def test_a_bad_seed_is_refused(Value, arguments):
    """A seed is one real number; else nothing is done."""
    a = Value(3.0)
    with pytest.raises(TypeError):
        (a * a).backward(*arguments)
    with pytest.raises(TypeError):
        (a * a).backward(sed=1.0)
    assert 0.0 == a.grad


def test_a_seed_reaches_closures(Value):
    """With closures the root starts from the seed too."""
    a = Value(3.0)
    out = Value(6.0, (a,), "twice")

    def back():
        a.grad += 2.0 * out.grad

    out._backward = back
    out.backward(5.0)
    assert 10.0 == a.grad


def test_several_roots_are_one_sweep():
    """Roots may depend on one another, be leaves, and be named twice."""
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c * a
    pygrad.backward([d, c, c, b], [1.0, 10.0, 100.0, 7.0])
    assert 1.0 == d.grad
    assert 112.0 == c.grad
    assert 112.0 * 3.0 + 6.0 == a.grad
    assert 112.0 * 2.0 + 7.0 == b.grad


def test_several_roots_need_not_be_below_one_another():
    """Each root is swept from, whatever the others reach; also with closures, whose order holds on to every root."""
    a, b, c = Value(2.0), Value(3.0), Value(5.0)
    ys = [a * a, (b * b).exp().log(), c * a]
    pygrad.backward(ys, [1.0, 10.0, 100.0])
    assert [4.0 + 500.0, 200.0] == [a.grad, c.grad]
    assert close(60.0, b.grad)
    ys[2]._backward = ys.clear
    pygrad.backward(ys, 1.0)
    assert [508.0, 200.0] == [a.grad, c.grad]
    arena.check_arena()


def test_backward_of_one_value_and_of_none():
    """One Value needs no list; of no roots nothing happens; a number stands for all seeds."""
    a = Value(2.0)
    pygrad.backward(a * a)
    pygrad.backward([])
    pygrad.backward([a * 1.0, a * 1.0], 3.0)
    assert 10.0 == a.grad


@pytest.mark.parametrize(
    "ys, seeds, error",
    [
        (1.0, None, TypeError),
        ([1.0], None, TypeError),
        (None, None, TypeError),
        ("leaf", [1.0, 2.0], ValueError),
        ("leaf", "1", TypeError),
        ("leaf", ["1"], TypeError),
    ],
)
def test_bad_roots_and_seeds(ys, seeds, error):
    """What is no Value, no number, or of another length is refused."""
    a = Value(1.0)
    with pytest.raises(error):
        pygrad.backward(a if ys == "leaf" else ys, seeds)
    with pytest.raises(error):
        pygrad.grad(a if ys == "leaf" else ys, a, seed=1.0 if seeds is None else seeds)
    assert 0.0 == a.grad


def test_a_value_without_a_node_is_refused():
    """A Value whose __init__ never ran has no gradient, and says so, as root and as x."""
    blank, a = Value.__new__(Value), Value(1.0)
    for create_graph in (False, True):
        with pytest.raises(RuntimeError, match="never initialised"):
            pygrad.grad(blank, a, create_graph)
        with pytest.raises(RuntimeError, match="never initialised"):
            pygrad.grad(a, blank, create_graph)
    with pytest.raises(RuntimeError, match="never initialised"):
        pygrad.backward(blank)


# --- grad -------------------------------------------------------------------------------------------------------------


def test_grad_leaves_every_gradient_as_it_is():
    """The same numbers as backward's, to the bit, and no node's grad is changed."""
    a, b = Value(0.7), Value(1.3)
    y = everything(a, b)
    nodes = list(proxies_below(y).values())
    for i, v in enumerate(nodes):
        v.grad = float(i)
    found = pygrad.grad(y, nodes)
    assert [float(i) for i in range(len(nodes))] == [v.grad for v in nodes]
    for v in nodes:
        v.grad = 0.0
    y.backward()
    assert [v.grad for v in nodes] == found


def test_grad_leaves_those_alone_that_are_not_asked_for():
    """Also a second time, and also leaves that get a gradient but are no x."""
    a, b = Value(0.7), Value(1.3)
    c = a * b
    y = c * b + a
    for v in (a, b, c, y):
        v.grad = 4.0
    for _ in range(2):
        assert 1.3 == pygrad.grad(y, c)
        assert 1.3 * 1.3 + 1.0 == pygrad.grad(y, a)
        assert [4.0] * 4 == [v.grad for v in (a, b, c, y)]


def test_what_y_does_not_depend_on_has_no_gradient():
    """It is 0.0, whatever its `grad` is: of a leaf, and of a result."""
    a, other = Value(2.0), Value(9.0)
    above = other * 2.0
    other.grad = above.grad = 4.0
    assert [0.0, 0.0, 4.0] == pygrad.grad(a * a, [other, above, a])
    assert [4.0, 4.0] == [other.grad, above.grad]


def test_grad_runs_the_closure_of_a_leaf():
    """A leaf's closure runs too, last, in every call; and where nothing else has one."""
    a, b = Value(3.0), Value(5.0)

    def back():
        b.grad += 10.0 * a.grad

    a._backward = back
    y = a * 2.0 + b
    for _ in range(2):
        assert [21.0, 2.0] == pygrad.grad(y, [b, a])
        assert [0.0, 0.0] == [a.grad, b.grad]


def test_grad_keeps_the_structure_of_xs():
    """Leaves, results, the root itself and what y does not depend on, in nested lists and tuples."""
    a, b, other = Value(2.0), Value(3.0), Value(9.0)
    c = a * b
    y = c * c
    assert ([36.0, 24.0], 12.0, [1.0, 0.0]) == pygrad.grad(y, ([a, b], c, [y, other]))
    assert 36.0 == pygrad.grad(y, a)
    assert [] == pygrad.grad(y, [])
    assert [30.0, 30.0] == pygrad.grad([c, a], [a, a], seed=[9.0, 3.0])


@pytest.mark.parametrize("xs", [1.0, None, ["x"], [[1.0]]])
def test_xs_that_are_no_values(xs):
    """xs must be Values."""
    with pytest.raises(TypeError, match="xs must be"):
        pygrad.grad(Value(1.0), xs)


def test_grad_with_closures_restores_too():
    """Closures run as in backward, and what they added is taken away again, also if one raises."""
    a, b = Value(3.0), Value(5.0)
    out = Value(6.0, (a * 1.0,), "twice")

    def back():
        for v in out._prev:
            v.grad += 2.0 * out.grad
        if b.data < 0.0:
            raise ZeroDivisionError

    out._backward = back
    y = out * b
    a.grad = b.grad = out.grad = y.grad = 0.25
    assert [10.0, 6.0, 5.0] == pygrad.grad(y, [a, b, out])
    b.data = -5.0
    with pytest.raises(ZeroDivisionError):
        pygrad.grad(y, [a, b])
    assert [0.25] * 4 == [v.grad for v in (a, b, out, y)]


def test_grad_of_a_graph_that_is_being_swept():
    """Inside a closure the graph that is being swept is busy; another one over the same leaves is not."""
    a, seen = Value(3.0), []
    out = Value(6.0, (a * 1.0,), "twice")
    y = out * 2.0

    def back():
        seen.append(pygrad.grad(a * a, a))
        with pytest.raises(RuntimeError, match="still running"):
            pygrad.grad(y, a)
        a.grad += out.grad

    out._backward = back
    y.backward()
    assert [6.0] == seen
    assert 2.0 == a.grad


def test_grad_out_of_memory_changes_nothing():
    """Whichever allocation fails, gradients stay as they were; at last there is none to fail."""
    a, b = Value(0.7), Value(1.3)
    y = everything(a, b)
    nodes = list(proxies_below(y).values())
    for i, v in enumerate(nodes):
        v.grad = float(i)
    refused = 0
    while True:
        lib.pg_fail_allocation(refused + 1)
        try:
            pygrad.grad(y, [a, b])
            break
        except MemoryError:
            refused += 1
        finally:
            lib.pg_fail_allocation(0)
        arena.check_arena()
        assert [float(i) for i in range(len(nodes))] == [v.grad for v in nodes]
    assert refused >= 5


def test_grad_under_detect_anomaly():
    """An infinite slope is named, and the gradients are as before."""
    a = Value(0.0)
    with pygrad.detect_anomaly():
        y = a.sqrt() * 2.0
        a.grad = 4.0
        with pytest.raises(FloatingPointError, match="'sqrt'"):
            pygrad.grad(y, a)
        assert 2.0 == pygrad.grad(a * 2.0, a)
    assert 4.0 == a.grad


def test_creation_order_within_a_block_and_over_many():
    """Numbers that rise as results are made; of leaves 0, which are below all."""
    made = [Value(1.0)]
    for _ in range(200):
        made.append(made[-1] * 2.0)
    out = ffi.new("uint64_t[]", len(made))
    lib.pg_creation_order(len(made), [v._pg_id for v in made], out)
    assert 0 == out[0]
    assert len(made) == len({*out})
    assert sorted(out) == [*out]


# --- create_graph -----------------------------------------------------------------------------------------------------


def test_first_derivatives_have_the_bits_of_the_sweep():
    """The formulas as Values give what C computes."""
    a, b = Value(0.7), Value(1.3)
    y = everything(a, b)
    for expected, actual in zip(pygrad.grad(y, [a, b]), pygrad.grad(y, [a, b], create_graph=True)):
        assert close(expected, actual.data, 1e-15)


EDGES = [0.0, -0.0, 1.0, -1.0, 0.7, -3.0, 800.0, -800.0, 1e300, math.inf, -math.inf]


@pytest.mark.parametrize("name", ROWS)
def test_first_derivatives_at_edges_are_those_of_the_sweep(name):
    """Where formulas have cases, and where numbers overflow: the same, and nan where the sweep has nan."""
    n = lib.pg_op_arity(NAMES.index(name))
    for point in itertools.product(EDGES, repeat=n):
        xs = [Value(x) for x in point]
        y = getattr(xs[0], name)(*xs[1:]) if hasattr(Value, name) else _by_operator(name, *xs)
        for expected, actual in zip(pygrad.grad(y, xs), pygrad.grad(y, xs, create_graph=True)):
            assert same(expected, actual.data), (point, expected, actual)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_second_derivatives(name):
    """The derivative of each op's formula is the slope of its first derivative, by central differences."""
    op = NAMES.index(name)
    n = lib.pg_op_arity(op)
    for point in ([0.6, 1.7], [0.35, 0.2]):
        xs = [Value(x) for x in point[:n]]
        y = getattr(xs[0], name)(*xs[1:]) if hasattr(Value, name) else _by_operator(name, *xs)
        assert op == lib.pg_op(y._pg_id)
        for i, first in enumerate(pygrad.grad(y, xs, create_graph=True)):
            for j, second in enumerate(pygrad.grad(first, xs)):
                h = 1e-5
                low, high = (_slope(op, point, i, j, step) for step in (-h, h))
                assert close((high - low) / (2 * h), second, 1e-6), (i, j, point)


def _slope(op, point, i, j, step):
    at, out = list(point), ffi.new("double[3]")
    at[j] += step
    lib.pg_op_eval(op, *at, out)
    return out[1 + i]


def _by_operator(name, a, b=None):
    operators = {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: a * b,
        "div": lambda: a / b,
        "pow": lambda: a**b,
        "neg": lambda: -a,
        "square": lambda: a**2,
        "cube": lambda: a**3,
        "reciprocal": lambda: a**-1,
    }
    return operators[name]()


def composed(a, b, m):
    """An expression of a and b, by the functions of `m`: of Values or of SymPy."""
    return (
        m.tanh(a * b) * m.exp(a / b) + (a**2 + b**3) ** 0.5 * m.log(b) + m.sin(a) ** 3 * m.cos(b) / (b**-1 + a) + a**b
    )


class OfValues:
    """The functions of `composed` on Values."""

    tanh, exp, log, sin, cos = Value.tanh, Value.exp, Value.log, Value.sin, Value.cos


@pytest.mark.python
def test_derivatives_to_the_fourth_are_sympys():
    """Every derivative of a composed expression up to the fourth order, to 1e-12."""
    point = {"a": 0.7, "b": 1.3}
    symbols = sympy.symbols("a b")
    values = [Value(point[s.name]) for s in symbols]

    def compare(symbolic, y, order):
        exact = float(symbolic.evalf(30, subs={s: sympy.Float(point[s.name], 30) for s in symbols}))
        assert close(exact, y.data), (order, exact, y.data)
        if order < 4:
            first = order if order < 2 else 1  # the mixed ones, without all their repetitions
            for s, dy in list(zip(symbols, pygrad.grad(y, values, create_graph=True)))[: 2 if first < 2 else 1]:
                compare(sympy.diff(symbolic, s), dy, order + 1)

    compare(composed(*symbols, sympy), composed(*values, OfValues), 0)


def test_a_gradient_as_values_keeps_to_what_is_asked():
    """Constants and paths without an x cost nothing: the gradient of a product by one factor is the other factor."""
    a, b = Value(2.0), Value(3.0)
    before = arena.live_nodes()
    da = pygrad.grad((a * b) + b.exp().exp(), a, create_graph=True)
    assert da is b
    assert before == arena.live_nodes()
    assert 0.0 == pygrad.grad(b.exp(), a, create_graph=True).data


def test_an_x_may_be_computed_from_another():
    """It gets its own derivative, and what passes through it gets to the other."""
    x = Value(3.0)
    u = x * x
    y = u * x
    assert [27.0, 3.0] == [d.data for d in pygrad.grad(y, [x, u], create_graph=True)]
    assert [3.0, 27.0] == [d.data for d in pygrad.grad(y, [u, x], create_graph=True)]
    assert [30.0, 0.0] == [t.data for t in map(derive.as_value, derive.push([y, x], [u, x], [10.0, 0.0]))]
    x.grad = 5.0
    assert [27.0, 27.0] == [d.data for d in pygrad.grad(y, [x, x], create_graph=True)]
    assert [6.0] == [t.data for t in derive.push([u], [x, x], [Value(5.0), Value(1.0)])]
    assert 5.0 == x.grad


def test_what_has_the_adjoint_zero_is_not_derived():
    """A power of 0 above a node without formula, or a seed of 0.0: nothing goes on from there."""
    a = Value(3.0)
    out = Value(6.0, (a,), "custom")
    out._backward = lambda: None
    assert 2.0 == pygrad.grad(out**0 + a * 2.0, a, create_graph=True).data
    assert 2.0 == pygrad.grad([out, a * 2.0], a, create_graph=True, seed=[0.0, 1.0]).data


def test_what_gets_no_gradient_is_no_way_to_an_x():
    """An index, and the y of a declared op: what is above these need have no formula."""
    a, b, i = Value(2.0), Value(3.0), Value(1.0)
    for between in (pygrad.take([a, b], i), arena.declared(i, [a], [b])):
        out = Value(6.0, (between,), "custom")
        out._backward = lambda: None
        assert 0.0 == pygrad.grad(out, i, create_graph=True).data


def test_slopes_of_powers_have_the_bits_of_the_sweep():
    """Where k - 1 is rounded the power of it would be off by as much as the number is large; of 0 and 1 no node."""
    x = Value(1e300)
    for k in (0.1, 0.7, 1e-3):
        y = x**k
        assert close(1.0, pygrad.grad(y, x, create_graph=True).data / pygrad.grad(y, x), 1e-15)
    for k in (0.0, 1.0):
        assert {x} == x.__pow__(k)._prev
        assert (k, set()) == ((dx := pygrad.grad(x**k, x, create_graph=True)).data, dx._prev)
    assert set() == pygrad.grad((x**0.0).exp(), x, create_graph=True)._prev
    zero = Value(0.0)
    with pygrad.detect_anomaly():
        assert 0.0 == pygrad.grad(zero**0, zero, create_graph=True).data


def test_numbers_in_a_derivative_want_no_gradient():
    """What a sum or choice of numbers and Values is made of: only the Values of the program may ask for one."""
    a, b = Value(2.0), Value(3.0)
    for on in (False, True):
        b.requires_grad = on
        assert on is pygrad.grad(a + a + a * b, a, create_graph=True).requires_grad
        assert on is pygrad.grad((b * 0.5).relu() * a, a, create_graph=True).requires_grad


def test_seeds_may_be_values():
    """With create_graph a seed may be a Value, and has its own derivative."""
    a, s = Value(3.0), Value(5.0)
    (da,) = pygrad.grad([a * a], [a], create_graph=True, seed=[s])
    assert 30.0 == da.data
    assert [10.0, 6.0] == pygrad.grad(da, [a, s])
    with pytest.raises(TypeError, match="a seed"):
        pygrad.grad(a * a, a, seed=s)


def test_a_closure_has_no_second_derivative():
    """A node with a closure or local gradients is named; one that no x is below does not matter."""
    a, b = Value(3.0), Value(4.0)
    out = Value(6.0, (a,), "twice", label="mine")
    out._backward = lambda: None
    with pytest.raises(TypeError, match=r"'twice' \(label 'mine'\).*custom_op"):
        pygrad.grad(out * b, a, create_graph=True)
    with pytest.raises(TypeError, match="custom_op"):
        pygrad.grad(Value(6.0, (a,), (2.0,)), a, create_graph=True)
    assert 6.0 == pygrad.grad(out * b, b, create_graph=True).data
    assert 4.0 == pygrad.grad(out * b, out, create_graph=True).data


def test_a_branch_not_taken_does_no_harm():
    """Where a formula has cases, an infinite slope in the other one is no nan."""
    a, b = Value(0.0), Value(0.0)
    firsts = pygrad.grad(a**b, [a, b], create_graph=True)
    for first in firsts:
        assert all(math.isfinite(second) for second in pygrad.grad(first, [a, b]))


def test_a_long_graph_is_no_recursion():
    """A chain of 20 000 nodes has second derivatives."""
    x = Value(1.0)
    y = x
    for _ in range(10_000):
        y = (y * x) * 0.9999
    dx = pygrad.grad(y, x, create_graph=True)
    n, scale = 10_000, 0.9999**10_000
    assert close((n + 1) * scale, dx.data, 1e-9)
    assert close((n + 1) * n * scale, pygrad.grad(dx, x), 1e-9)


def test_a_compiled_function_may_call_grad():
    """What is recorded is right at other numbers, on the other side of kinks too; so are its gradients."""
    w = Value(0.9)

    def f(a, b):
        da, db = pygrad.grad(everything(a, b) * w + abs(a - b) ** 3, [a, b], create_graph=True)
        return da * db + da

    compiled = pygrad.compile(f, batched=False)
    for point in ((0.7, 1.3), (1.9, 0.4), (2.0, 3.0)):
        a, b = map(Value, point)
        y = f(a, b)
        value, gradients = compiled.backward(*point, inputs=True)
        assert close(y.data, value)
        for expected, actual in zip(pygrad.grad(y, [a, b]), gradients):
            assert close(expected, actual)


def test_numbers_of_grad_are_not_recorded_in_silence():
    """Without create_graph the gradient would be a constant of the tape: a warning says so."""
    with pytest.warns(pygrad.TraceWarning, match="create_graph=True"):
        pygrad.compile(lambda x: x * pygrad.grad(x * x, x))(3.0)


# --- the nodes that C makes -------------------------------------------------------------------------------------------


def test_a_gradient_shows_the_values_it_is_computed_from():
    """Its operands are the very Values that the program has, with what hangs on them."""
    x, w = Value(3.0, label="x"), Value(2.0)
    w.note = "a weight"
    y = (x * w).tanh() * x
    (dx,) = pygrad.grad(y, [x], create_graph=True)
    below = proxies_below(dx)
    assert x is below[x._pg_id]
    assert w is below[w._pg_id]
    assert dx._prev == dx._prev
    w_id = w._pg_id
    del below, w, y
    assert "a weight" == proxies_below(dx)[w_id].note


def test_an_adjoint_that_is_a_value_already_is_that_value():
    """d (x w) / d x makes no node: it is w."""
    x, w = Value(3.0), Value(2.0)
    (dx,) = pygrad.grad(x * w, [x], create_graph=True)
    assert w is dx


def test_no_gradient_is_changed_and_none_is_read():
    """Whatever the gradients are, all keep theirs; those of the xs, of what is between, and of other leaves."""
    x, w = Value(3.0), Value(2.0)
    u = x * w
    y = u.tanh() + u
    for i, v in enumerate((x, w, u, y)):
        v.grad = float(i + 1)
    (dx,) = pygrad.grad(y, [x], create_graph=True)
    pygrad.jvp(lambda a: (a * w).tanh())(x, 1.0)
    assert [1.0, 2.0, 3.0, 4.0] == [v.grad for v in (x, w, u, y)]
    assert close(2.0 * (2.0 - math.tanh(6.0) ** 2), dx.data)


def test_a_closure_may_derive_the_graph_that_is_being_swept():
    """The nodes that a running sweep holds are only looked at."""
    x = Value(3.0)
    y = x * x
    out, found = Value(1.0, (y,), "custom"), []
    out._backward = lambda: found.append(pygrad.grad(y, x, create_graph=True).data)
    out.backward()
    assert [6.0] == found


def test_what_cannot_be_derived_is_named_and_nothing_is_made():
    """Local gradients have no derivative: the error names the Value, and the gradients are as they were."""
    x = Value(3.0, label="x")
    x.grad = 5.0
    y = Value(6.0, (x,), (2.0,), label="twice")
    before = arena.live_nodes()
    with pytest.raises(TypeError, match="twice"):
        pygrad.grad((x * x).exp() * y, [x], create_graph=True)
    assert (before, 5.0) == (arena.live_nodes(), x.grad)


def test_long_lists_are_derived_part_by_part():
    """Lists that are split over nodes, of each kind: second derivatives of a sum, a dot, a take and a declared op."""
    n = 3000
    xs = [Value(i / n) for i in range(n)]
    squares = [x * x for x in xs]
    index = Value(n - 1.0)
    declared = arena.declared(squares[0], xs, squares)
    y = pygrad.sum(squares) + pygrad.dot(xs, squares) + pygrad.take(squares, index) ** 2 + declared
    firsts = pygrad.grad(y, xs, create_graph=True)
    for i in (0, 1, n - 1):
        x, last = i / n, i == n - 1
        assert close(2 * x + 3 * x**2 + 4 * x**3 * last + x**2, firsts[i].data)
        assert close(2 + 6 * x + 12 * x**2 * last + 2 * x, pygrad.grad(firsts[i], xs[i]))


def test_anomalies_in_derivatives_are_named():
    """detect_anomaly() looks at what the derivation makes, too."""
    x = Value(0.0)
    y = x.sqrt()
    with pygrad.detect_anomaly(), pytest.raises(FloatingPointError, match="inf"):
        pygrad.grad(y, x, create_graph=True)
