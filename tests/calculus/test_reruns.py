"""Derivatives as Values, series, paths and pictures of graphs with checkpoints: those of the plain function."""

import math
import random

import pytest

import pygrad
from pygrad import engine, viz
from pygrad.engine import Value

# Each way to wrap a function; the first one gives the plain result.
WRAPS = {"plain": lambda f: f, "checkpoint": pygrad.checkpoint}


def curved(x):
    """A function of a list, with shared parts, a list and a take."""
    a = (x[0] * x[1]).tanh() + x[0] ** 3
    b = pygrad.dot([a, x[1], a], [x[0], a, a]) + pygrad.take([a, x[1] ** 2], 1)
    return pygrad.sum([a * b, b.exp(), x[1] / (a + 5.0)])


def in_blocks(wrap):
    """Return `curved` in checkpoints: one within another, one after another, one result twice, and some unused."""
    inner = wrap(lambda a, b: ((a * b).tanh(), a**3, a + b))

    def blocks(x):
        first, second, _ = inner(x[0], x[1])
        a = wrap(lambda p, q: (p + q, [p * q]))(first, second)[0]
        deep = wrap(lambda y, a: wrap(lambda v: (v * a, v))(y)[0] + a * a + x[1] * a)(x[0], a)
        b = deep + pygrad.take([a, x[1] ** 2], 1)
        return wrap(lambda u, v: pygrad.sum([u * v, v.exp(), x[1] / (u + 5.0)]))(a, b)

    return blocks


POINT, VECTOR = [0.7, -0.4], [0.3, 2.0]

TRANSFORMS = {
    "hessian": lambda f: pygrad.hessian(f)(POINT),
    "hvp": lambda f: pygrad.hvp(f)(POINT, VECTOR),
    "jvp": lambda f: pygrad.jvp(f)(POINT, VECTOR),
    "jvp of the gradient": lambda f: pygrad.jvp(pygrad.gradient(f))(POINT, VECTOR),
    "hessian of a jvp": lambda f: pygrad.hessian(lambda x: pygrad.jvp(f)(x, VECTOR)[1])(POINT),
    "vjp": lambda f: pygrad.vjp(f)(POINT, 2.0),
    "derivative": lambda f: pygrad.derivative(lambda x: f([x, x * 0.5]), 4)(0.6),
    "taylor": lambda f: pygrad.taylor(lambda x: f([x, x * 0.5]), 6)(0.6),
    "derivative of taylor": lambda f: pygrad.derivative(lambda y: pygrad.taylor(lambda x: f([x, y]), 3)(y)[3])(0.6),
    "of Values": lambda f: [v.data for v in pygrad.gradient(f)([Value(0.7), Value(-0.4)])],
    "within a checkpoint": lambda f: pygrad.gradient(pygrad.checkpoint(lambda x: pygrad.hvp(f)(x, VECTOR)[1]))(POINT),
}


def flat(numbers):
    return [n for part in numbers for n in flat(part)] if isinstance(numbers, (list, tuple)) else [numbers]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_see_through_one_checkpoint(name):
    """To the bit: the operations are those of the plain function."""
    plain, again = [TRANSFORMS[name](wrap(curved)) for wrap in WRAPS.values()]
    assert plain == again
    assert all(map(math.isfinite, flat(plain)))
    engine.check_arena()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_see_through_many_checkpoints(name):
    """One within another and one after another: but for the sequence of additions, the numbers are the plain ones."""
    plain, again = [TRANSFORMS[name](in_blocks(wrap)) for wrap in WRAPS.values()]
    assert flat(plain) == pytest.approx(flat(again), rel=1e-13)
    with pygrad.detect_anomaly():
        assert again == TRANSFORMS[name](in_blocks(pygrad.checkpoint))
    engine.check_arena()


def test_each_result_may_be_an_x():
    """By leaves, and by results of checkpoints, which stay what the derivatives depend on: three derivatives deep."""
    found = []
    for wrap in WRAPS.values():
        w, x = Value(0.7), Value(-0.3)
        h, k = wrap(lambda v, w=w: ((v * w).tanh(), v * v * w))(x)
        y = wrap(lambda a, b, w=w: a**3 * b.exp() * w)(h, k) * h
        by = pygrad.grad(y, [h, x, w, k], create_graph=True)
        twice = pygrad.grad(by[0] * by[3], [x, h, w, k], create_graph=True)
        twice += [g for v in by for g in pygrad.grad(v * v, [x, w], create_graph=True)]
        thrice = pygrad.grad(pygrad.sum([v.sin() for v in twice]), [w, x])
        found.append([v.data for v in (*by, *twice)] + thrice)
        assert [0.0, 0.0] == [w.grad, x.grad]
        pygrad.sum(twice).backward()
        found[-1] += [w.grad, x.grad]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_seeds_and_several_roots():
    """Seeds may be Values, and roots be several results of one checkpoint."""
    found = []
    for wrap in WRAPS.values():
        x, seed = Value(0.5), Value(2.0)
        a, b, c = wrap(lambda v: (v.exp(), v * v, v))(x)
        (g,) = pygrad.grad([a, b, c, b], [x], create_graph=True, seed=[seed, 1.0, 3.0, seed])
        found.append([g.data, *pygrad.grad(g, [x, seed])])
    assert found[0] == pytest.approx(found[1], rel=1e-14)


def test_results_without_a_part_in_it():
    """Of unused results, and of those with an infinite slope, nothing comes in."""
    found = []
    for wrap in WRAPS.values():
        x, y = Value(0.0), Value(2.0)
        a, _ = wrap(lambda u, v: (v * v * (u + 1.0), u.sqrt()))(x, y)
        by = pygrad.grad(a, [x, y], create_graph=True)
        found.append([v.data for v in by] + pygrad.grad(by[0], [x, y]))
    assert found[0] == found[1] == [4.0, 4.0, 0.0, 4.0]


def test_only_what_lies_between_is_called_again():
    """A checkpoint below the x is left alone; those above it are called once for each derivative."""
    calls = []

    def part(name):
        return pygrad.checkpoint(lambda v: (calls.append(name), v.exp())[1])

    h = part("low")(Value(0.5))
    y = part("high")(part("middle")(h))
    assert ["low", "middle", "high"] == calls
    (g,) = pygrad.grad(y, [h], create_graph=True)
    assert ["middle", "high"] == sorted(calls[3:], reverse=True)
    assert pygrad.derivative(lambda v: v.exp().exp(), 1)(h.data) == g.data


def test_another_run_is_refused():
    """As in a backward pass; the derivative is not made, and no gradient is changed."""
    factors, x = [2.0, 3.0], Value(1.0)
    y = pygrad.checkpoint(lambda v: v * factors.pop(0))(x)
    with pytest.raises(RuntimeError, match="did not do the same"):
        pygrad.grad(y, [x], create_graph=True)
    assert 0.0 == x.grad
    assert pygrad.is_grad_enabled()
    engine.check_arena()


def test_what_has_no_formula_within_is_named():
    """A closure in a checkpoint has no second derivative: the message names it, and not the checkpoint."""

    def closure(v):
        out = Value(v.data, (v,), "mine")
        out._backward = lambda: None
        return out * v

    x = Value(1.0)
    for refused in (
        lambda: pygrad.grad(pygrad.checkpoint(closure)(x), [x], create_graph=True),
        lambda: pygrad.taylor(pygrad.checkpoint(closure), 2)(1.0),
        lambda: pygrad.jvp(pygrad.checkpoint(closure))(1.0, 1.0),
    ):
        with pytest.raises(TypeError, match="'mine'"):
            refused()


def test_what_is_recorded_names_checkpoint():
    """A sparse Jacobian records the function without telling it: the message says what to leave out."""
    pytest.importorskip("scipy")
    with pytest.raises(TypeError, match="without pygrad.checkpoint"):
        pygrad.jacobian(pygrad.checkpoint(lambda x: x[0] * x[1]), sparse=True)(POINT)


def test_random_numbers_are_the_same():
    """The function draws in its later runs what it drew in the first one, and the program's sequence goes on."""

    def drawn(wrap):
        random.seed(3)
        x = Value(0.5)
        y = wrap(lambda v: (v * random.random()).exp())(x)
        (g,) = pygrad.grad(y, [x], create_graph=True)
        return g.data, pygrad.grad(g, x), random.random()

    assert drawn(WRAPS["plain"]) == drawn(pygrad.checkpoint)


def test_declared_slopes_behind_a_checkpoint():
    """The derivative of a custom op may be computed in a checkpoint."""
    found = []
    for wrap in WRAPS.values():

        @pygrad.custom_op
        def cube(x):
            return x**3

        slope = wrap(lambda x: 3.0 * x * x)
        cube.derivative(lambda y, x, slope=slope: slope(x))
        found.append([pygrad.derivative(cube, 3)(2.0), pygrad.taylor(cube, 3)(2.0)])
    assert found[0] == found[1] == [6.0, [8.0, 12.0, 6.0, 1.0]]


def test_memory_comes_back():
    """Neither a derivative nor a refusal leaves a node."""
    before = engine.live_nodes()
    for _ in range(3):
        x = Value(0.5)
        y = in_blocks(pygrad.checkpoint)([x, x])
        by = pygrad.grad(y, [x], create_graph=True)
        pygrad.explain(y, x)
        del x, y, by
    assert before == engine.live_nodes()


def test_no_memory():
    """Whichever allocation fails, there is a MemoryError and nothing else, and the next derivative is right."""
    x, w = Value(0.5), Value(2.0)
    y = pygrad.checkpoint(lambda v: (v * w).tanh() * v)(x)
    right = pygrad.grad(y, [x], create_graph=True)[0].data
    for n in range(1, 400):
        engine.sweeps.lib.pg_fail_allocation(n)
        try:
            pygrad.grad(y, [x], create_graph=True)
            break
        except MemoryError:
            engine.check_arena()
        finally:
            engine.sweeps.lib.pg_fail_allocation(0)
    assert 5 < n < 399
    assert right == pygrad.grad(y, [x], create_graph=True)[0].data


OPS = [
    lambda a, b: a * b,
    lambda a, b: a + b,
    lambda a, b: a.tanh(),
    lambda a, b: pygrad.sum([a, b, a]),
    lambda a, b: pygrad.dot([a, b], [b, b]),
    lambda a, b: (a * 0.3).exp(),
]


def random_function(rng, around):
    """A function of Values that returns a list of them, made of random operations; it uses the Values around it too."""
    steps = [(rng.choice(OPS), rng.random(), rng.random()) for _ in range(5)]
    chosen = [rng.randrange(100) for _ in range(rng.randint(1, 3))]

    def function(*xs):
        known = [*xs, *around]
        for op, i, j in steps:
            known.append(op(known[int(i * len(known))], known[int(j * len(known))]))
        return [known[k % len(known)] for k in chosen]

    return function


def random_program(seed, wrap):
    """Derivatives of three kinds through a chain of functions, some within another; results are dropped at random."""
    rng = random.Random(seed)
    leaves = [Value(rng.uniform(0.1, 1.0)) for _ in range(4)]
    pool = list(leaves)
    for _ in range(rng.randint(1, 6)):
        f = random_function(rng, [rng.choice(pool) for _ in range(2)])
        g = wrap(f)
        if rng.random() < 0.3:
            g = wrap(lambda *xs, f=f, g=g: [v * 1.5 for v in g(*xs)] + g(xs[0] * 1.0, *xs[1:]) + f(*xs))
        out = g(*[rng.choice(pool) for _ in range(rng.randint(1, 3))])
        pool = [*pool, *([v for v in out if rng.random() < 0.8] or out[:1])][-8:]
    y = pygrad.sum([pool[-1].sin(), pool[-1 - len(pool) // 2]])
    by = pygrad.grad(y, leaves, create_graph=True)
    twice = pygrad.grad(pygrad.sum([v * v.sin() for v in by]), leaves, create_graph=True)
    thrice = pygrad.grad(pygrad.sum(twice), leaves)
    y.backward()
    paths = [pygrad.explain(y, v).derivative for v in leaves]
    missing = {id(v) for v in pygrad.unreached(y, leaves, warn=False)}
    numbers = [*[v.data for v in (*by, *twice)], *thrice, *[v.grad for v in leaves], *paths]
    return numbers, [id(v) in missing for v in leaves]


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed):
    """Of checkpoints in any place, all derivatives are the plain ones."""
    (plain, missing), (again, still_missing) = [random_program(seed, wrap) for wrap in WRAPS.values()]
    assert plain == pytest.approx(again, rel=1e-9, abs=1e-9)
    assert missing == still_missing


# --- reports ----------------------------------------------------------------------------------------------------------


def test_explain_sees_through():
    """The paths go through the function, and their products add up to the derivative."""
    x = Value(0.7)
    plain, y = in_blocks(WRAPS["plain"])([x, x * 0.5]), in_blocks(pygrad.checkpoint)([x, x * 0.5])
    one, other = pygrad.explain(plain, x), pygrad.explain(y, x)

    assert one.derivative == pytest.approx(other.derivative, rel=1e-13) == pytest.approx(pygrad.grad(y, x), rel=1e-13)
    assert one.count == other.count
    assert [p.product for p in one.paths] == pytest.approx([p.product for p in other.paths], rel=1e-13)
    assert "checkpoint --1--> " in str(other)


def test_unreached_sees_through():
    """A parameter that only an unused result needs has no path."""
    x, y, w = Value(1.0), Value(2.0), Value(3.0)
    a, b = pygrad.checkpoint(lambda u, v: (u * 2.0, v * w))(x, y)
    assert [y, w] == pygrad.unreached(a, [x, y, w], warn=False)
    assert [x] == pygrad.unreached(b, [x, y, w], warn=False)


def test_gradients_are_checked():
    """gradcheck and gradgradcheck pass what is right, and find a wrong closure within a checkpoint."""
    f = in_blocks(pygrad.checkpoint)
    assert pygrad.gradcheck(f, POINT)
    assert pygrad.gradgradcheck(f, POINT)

    def wrong(v):
        out = Value(v.data**2, (v,), "square")

        def backward():
            v.grad += v.data * out.grad

        out._backward = backward
        return out * 3.0

    with pytest.raises(AssertionError, match="'square', operand 1 of 1 .*should be 2"):
        pygrad.gradcheck(pygrad.checkpoint(wrong), 1.0)


def test_pictures():
    """A picture has the results, the join and what the function uses."""
    pytest.importorskip("graphviz")
    x = Value(0.7)
    y = pygrad.checkpoint(lambda v: v * x)(x)
    assert 3 == len(viz.trace(y)[0])
    assert 2 == viz.draw_dot(y).source.count("[label=checkpoint]")
    assert "color=red" in viz.draw_dot(y, highlight=[y, *y._prev]).source
