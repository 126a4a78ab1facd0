"""minimize and least_squares: SciPy's optimisers with exact derivatives, of plain and of compiled functions."""

import builtins
import math

import pytest
from together import in_threads

import pygrad
import pygrad.calculus.minimize
from pygrad import Objective, Residuals, Value, least_squares, minimize
from pygrad.calculus.minimize import _WITH_HESSIAN, _WITHOUT_GRADIENT

pytestmark = pytest.mark.python

np = pytest.importorskip("numpy")
optimize = pytest.importorskip("scipy.optimize")


def rosenbrock(x):
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in zip(x, x[1:]))


START = [-1.2, 1.0, 0.5]


@pytest.mark.parametrize("method", [None, "CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Nelder-Mead", "Powell"])
def test_methods_without_a_hessian(method):
    """Each finds the minimum; those that use a gradient get ours, and SciPy takes no differences."""
    found = minimize(rosenbrock, [0.8, 0.7, 0.6], method=method, tol=1e-6)

    is_rough = str(method).lower() in _WITHOUT_GRADIENT
    assert pytest.approx([1.0] * 3, abs=0.05 if is_rough else 1e-3) == found.x
    assert is_rough or found.nfev < 200


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-exact", "trust-krylov", "trust-constr", "dogleg"])
@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")
def test_methods_with_a_hessian(method):
    """Each finds the minimum, with our Hessian."""
    assert method.lower() in _WITH_HESSIAN

    found = minimize(rosenbrock, [1.1, 1.2, 1.3], method=method, tol=1e-8)

    assert pytest.approx([1.0] * 3, abs=1e-5) == found.x


def test_derivatives_are_exact():
    """Value and gradient are those of SciPy's own Rosenbrock function, to rounding."""
    f = Objective(rosenbrock, START)

    assert pytest.approx(optimize.rosen(f.x0), rel=1e-14) == f.fun(f.x0)
    np.testing.assert_allclose(optimize.rosen_der(f.x0), f.jac(f.x0), rtol=1e-13)


def test_hessians_are_exact():
    """Hessian, and Hessian times a vector, are those of SciPy's own Rosenbrock function; of unused numbers 0."""
    f, p = Objective(rosenbrock, START), np.array([0.3, -1.0, 2.0])

    np.testing.assert_allclose(optimize.rosen_hess(f.x0), f.hess(f.x0), rtol=1e-13)
    np.testing.assert_allclose(optimize.rosen_hess_prod(f.x0, p), f.hessp(f.x0, p), rtol=1e-13)
    np.testing.assert_array_equal([[2.0, 0.0], [0.0, 0.0]], Objective(lambda x: x[0] ** 2, [3.0, 1.0]).hess([3.0, 1.0]))


def test_the_objects_work_with_scipy_directly():
    """fun, jac and x0 are what any function of scipy.optimize takes."""
    f = Objective(lambda x: (x[0] - 2.0) ** 2 + x[1] ** 4, [0.0, 1.0])

    found = optimize.minimize(f.fun, f.x0, jac=f.jac, method="BFGS", tol=1e-12)

    assert 1e-6 > optimize.check_grad(f.fun, f.jac, f.x0)
    assert pytest.approx([2.0, 0.0], abs=1e-3) == found.x


def test_a_point_is_run_once():
    """fun and then jac at one point run the function once; at another point once more, and after an error again."""
    calls = []

    def fn(x):
        calls.append(x.data)
        if x.data == 7.0:
            raise ArithmeticError
        return x * x

    f = Objective(fn, 1.0)
    f.fun([2.0]), f.jac([2.0]), f.fun(np.array([2.0])), f.jac([3.0])
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            f.fun([7.0])

    assert [2.0, 3.0, 7.0, 7.0] == calls


def test_an_error_leaves_nothing_half_done():
    """After a point where the function raises, the one before is run anew."""

    def fn(x):
        if x.data == 7.0:
            return ["no Value"]
        return [x * x]

    r = Residuals(fn, 2.0)
    r.fun([2.0])
    with pytest.raises(TypeError):
        r.fun([7.0])

    assert ([4.0], [[4.0]]) == (r.fun([2.0]).tolist(), r.jac([2.0]).tolist())


def test_results_are_not_shared():
    """Writing to a gradient does not change the one that is given next."""
    f = Objective(lambda x: x * x, 3.0)
    f.jac([3.0])[:] = 0.0

    assert [6.0] == f.jac([3.0]).tolist()


def test_several_arguments_and_other_options():
    """A tuple is several arguments, numbers or lists; bounds, constraints and callback go to SciPy."""
    seen = []

    found = minimize(
        lambda a, b: (a - 3.0) ** 2 + (b[0] + 1.0) ** 2 + b[1] ** 2,
        (0.0, [0.0, 1.0]),
        method="L-BFGS-B",
        bounds=[(None, 2.0), (0.0, None), (None, None)],
        callback=lambda x: seen.append(tuple(x)),
    )

    assert pytest.approx([2.0, 0.0, 0.0], abs=1e-6) == found.x
    assert len(seen) >= 1
    assert (2.0, [0.0, 1.0]) == Objective(lambda a, b: a, (0.0, [0.0, 1.0])).arguments([2, 0, 1])


def test_a_given_jac_is_kept():
    """Who passes jac gets that one."""
    found = minimize(lambda x: (x - 3.0) ** 2, 0.0, method="BFGS", jac=lambda x: np.zeros(1))

    assert 0.0 == found.x[0]


@pytest.mark.parametrize("several", [False, True])
def test_compiled_functions(several):
    """The compiled function's numbers and minimum are the plain one's; its parameters keep their gradients."""
    w = Value(100.0)
    w.grad = 5.0

    def plain(a, b):
        return w * (b - a * a) ** 2 + (1.0 - a) ** 2

    fn = plain if several else lambda x: plain(*x)
    start = (-1.2, 1.0) if several else [-1.2, 1.0]
    compiled = pygrad.compile(fn, batched=False)

    f, g = Objective(fn, start), Objective(compiled, start)
    found = minimize(compiled, start, method="BFGS")

    for x in ([-1.2, 1.0], [0.3, 0.4]):
        assert pytest.approx(f.fun(x), rel=1e-12) == g.fun(x)
        np.testing.assert_allclose(f.jac(x), g.jac(x), rtol=1e-11)
        np.testing.assert_allclose(f.hess(x), g.hess(x), rtol=1e-11)
        np.testing.assert_allclose(f.hessp(x, [1.0, 10.0]), g.hessp(x, [1.0, 10.0]), rtol=1e-11)
    assert pytest.approx([1.0, 1.0], abs=1e-4) == found.x
    assert pytest.approx([1.0, 1.0]) == minimize(compiled, start, method="trust-exact").x
    assert 5.0 == w.grad


def test_a_compiled_function_of_batches_is_refused():
    """A list would be a batch of samples there: the error says what to write."""
    with pytest.raises(ValueError, match="batched=False"):
        minimize(pygrad.compile(lambda x: x * x), [1.0])


TIMES = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
HEIGHTS = [3.0 * math.exp(-0.7 * t) + 0.5 for t in TIMES]


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares(method):
    """A decay is fitted to its own data, with an exact Jacobian, by each method; compiled too."""

    def residuals(height, rate, floor):
        return [height * (-rate * t).exp() + floor - y for t, y in zip(TIMES, HEIGHTS)]

    for fn in (residuals, pygrad.compile(residuals, batched=False)):
        found = least_squares(fn, (1.0, 1.0, 0.0), method=method, xtol=1e-12)

        assert pytest.approx([3.0, 0.7, 0.5], rel=1e-6) == found.x


def test_residuals_and_their_jacobian():
    """Rows are results, columns numbers; one result is a row of its own."""
    r = Residuals(lambda a, b: [a * b, a - b, 2.0 * a], (3.0, 4.0))

    assert [12.0, -1.0, 6.0] == r.fun([3.0, 4.0]).tolist()
    assert [[4.0, 3.0], [1.0, -1.0], [2.0, 0.0]] == r.jac([3.0, 4.0]).tolist()
    assert [[6.0]] == Residuals(lambda x: x * x, 3.0).jac([3.0]).tolist()


def test_nobodys_gradient_is_touched():
    """Not that of a Value that the function uses."""
    w = Value(2.0)
    w.grad = 7.0

    minimize(lambda x: (x - w) ** 2, 0.0)
    least_squares(lambda x: [x - w], 0.0)

    assert 7.0 == w.grad


def test_bad_input():
    """A list where one Value is needed, a wrong length, what is no number."""
    with pytest.raises(TypeError, match="must return one Value, not 2 in a list"):
        minimize(lambda x: [x, x], 1.0)
    with pytest.raises(ValueError, match="2 numbers are needed here, as in x0, not 3"):
        Objective(lambda x: x[0], [1.0, 2.0]).fun([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="not str"):
        minimize(lambda x: x, "start")


@pytest.mark.parametrize("fit", [minimize, least_squares])
def test_without_scipy_the_extra_is_named(monkeypatch, fit):
    """The ImportError says what to install."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "scipy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pygrad-engine\[scipy\]"):
        fit(lambda x: x, 1.0)


def test_a_block_without_gradients_around_a_fit_changes_nothing():
    """Within no_grad() SciPy is given the same gradients, Hessians and Jacobians."""
    with pygrad.no_grad():
        by_gradient = minimize(rosenbrock, [1.1, 1.2], method="BFGS")
        by_hessian = minimize(rosenbrock, [1.1, 1.2], method="trust-exact")
        fitted = least_squares(lambda x: [x[0] - 3.0, x[1] * 2.0], [0.0, 1.0])
        product = Objective(rosenbrock, [1.0, 1.0]).hessp([1.0, 1.0], [1.0, 0.0])

    assert pytest.approx([1.0, 1.0], abs=1e-4) == by_gradient.x
    assert pytest.approx([1.0, 1.0], abs=1e-4) == by_hessian.x
    assert pytest.approx([3.0, 0.0], abs=1e-9) == fitted.x
    assert [802.0, -400.0] == product.tolist()


@pytest.mark.parametrize("fit", [minimize, least_squares])
def test_what_is_no_function_or_has_more_arguments(fit):
    """A fit needs a function, and says where its other arguments go; SciPy's own error would name ours."""
    with pytest.raises(TypeError, match="a function of Values is needed here, not str 'sum'"):
        fit("sum", [1.0])
    with pytest.raises(TypeError, match="there is no args here: write lambda"):
        fit(lambda x, a: [x[0] - a], [1.0], args=(2.0,))


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: pygrad.compile(f, batched=False)])
def test_points_and_directions_of_another_length(wrap):
    """Every method says how many numbers it needs; none goes on with those of the call before."""
    objective = Objective(wrap(lambda x: x[0] ** 2 + x[1] ** 2), [1.0, 2.0])
    residuals = Residuals(wrap(lambda x: [x[0], x[1] ** 2]), [1.0, 2.0])

    for call in (objective.fun, objective.jac, objective.hess, residuals.fun, residuals.jac):
        for x in ([1.0], [1.0, 2.0, 3.0, 4.0]):
            with pytest.raises(ValueError, match="2 numbers are needed here, as in x0"):
                call(x)
    with pytest.raises(ValueError, match="2 numbers are needed here, as in x0, not 1"):
        objective.hessp([1.0, 2.0], [1.0])


@pytest.mark.threads
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: pygrad.compile(f, batched=False)])
def test_several_threads(wrap):
    """Threads may share one Objective, or Residuals: each gets the results at its own numbers."""
    objective = Objective(wrap(lambda x: x[0] ** 2 * x[1]), [1.0, 2.0])
    residuals = Residuals(wrap(lambda x: [x[0] * x[1], x[1]]), [1.0, 2.0])
    wrong = []

    def work(k):
        for _ in range(150):
            found = [objective.fun([k, 2.0]), *objective.jac([k, 2.0]), *residuals.fun([k, 2.0])]
            found += residuals.jac([k, 2.0]).ravel().tolist()
            if found != [2 * k * k, 4 * k, k * k, 2 * k, 2.0, 2.0, k, 0.0, 1.0]:
                wrong.append(found)

    in_threads(*[lambda k=k: work(k) for k in (1.0, 2.0, 3.0)])

    assert [] == wrong


@pytest.mark.parametrize("compiled", [False, True])
def test_structures_and_static_arguments(compiled):
    """A dict with a number and a list, and a bool: every derivative, in the sequence of the leaves."""

    def f(p, flag):
        return (p["x"] - 1.0) ** 2 + sum(((y - 2.0) ** 2 for y in p["y"]), 0.0) * (2.0 if flag else 0.0)

    fn = pygrad.compile(f, batched=False) if compiled else f
    start = ({"x": 0.0, "y": [0.0, 5.0]}, True)
    objective = pygrad.Objective(fn, start)
    assert [-2.0, -8.0, 12.0] == objective.jac(objective.x0).tolist()
    assert [[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]] == objective.hess(objective.x0).tolist()
    assert [2.0, 4.0, 8.0] == objective.hessp(objective.x0, [1.0, 1.0, 2.0]).tolist()
    for method in (None, "trust-ncg"):
        assert pytest.approx([1.0, 2.0, 2.0], abs=1e-5) == pygrad.minimize(fn, start, method=method).x.tolist()


def test_signed_zeros_are_two_points():
    """The kept result is that of the very numbers."""
    objective = pygrad.Objective(lambda x: 1.0 / x[0], [1.0])
    assert [math.inf, -math.inf] == [objective.fun([0.0]), objective.fun([-0.0])]
