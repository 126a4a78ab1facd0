"""Minimise and fit with SciPy and exact derivatives: `minimize`, `least_squares`, and the classes below them.

SciPy's optimisers take a function of an array and, if you have them, functions for its gradient, Hessian or Jacobian;
for a missing one they use finite differences. Here they get exact derivatives of the function. `Objective` and
`Residuals` have them as methods, for any function of `scipy.optimize`:

    objective = pygrad.Objective(fn, x0)
    scipy.optimize.basinhopping(objective.fun, objective.x0, minimizer_kwargs={"jac": objective.jac})

A gradient takes one backward pass, a Jacobian one per row, a Hessian one per row over the graph of the gradient. If the
function is compiled, its derivatives are compiled too.
"""

import threading
from array import array

from pygrad.calculus.grad import grad
from pygrad.calculus.points import Point
from pygrad.calculus.transforms import hessian, hvp, jacobian, value_and_grad
from pygrad.common import forks
from pygrad.common.parts import is_static, record_of
from pygrad.engine import dot
from pygrad.engine.modes import recorded, with_graphs
from pygrad.tape.compiled import Compiled

# The methods of scipy.optimize.minimize that take a Hessian, and those that take no gradient.
_WITH_HESSIAN = ("newton-cg", "trust-ncg", "trust-exact", "trust-krylov", "trust-constr", "dogleg")
_WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")


def minimize(fn, x0, method=None, **options):
    """Minimise `fn` from `x0` with `scipy.optimize.minimize`, by its exact gradient, and its Hessian if it is used.

    fn       takes Values and returns one Value. It gets one list if `x0` is a list, several arguments for a tuple, one
             Value for a number. Or a function compiled by `pygrad.compile` with batched=False
    x0       the numbers to begin with
    method   the name of a SciPy method; with None SciPy chooses. A method gets the gradient and the Hessian if it takes
             them
    options  all other arguments of `scipy.optimize.minimize`: bounds, constraints, tol, callback, options, ...; but
             not `args`: write a lambda that passes them to `fn`

    Returns SciPy's OptimizeResult; its `x` is an array (n,). No `.grad` is changed. Raises ImportError without SciPy,
    which the extra `scipy` installs.

    >>> import pygrad
    >>> found = pygrad.minimize(lambda x: (x[0] - 1) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2, [-1.0, 2.0])
    >>> found.success, [round(float(x), 4) for x in found.x]
    (True, [1.0, 1.0])
    """
    _refuse_extra_arguments(options)
    optimize = _scipy()
    objective = Objective(fn, x0)
    name = method.lower() if isinstance(method, str) else ""
    if name not in _WITHOUT_GRADIENT:
        options.setdefault("jac", objective.jac)
    if name in _WITH_HESSIAN and "hessp" not in options:
        options.setdefault("hess", objective.hess)
    return optimize.minimize(objective.fun, objective.x0, method=method, **options)


def least_squares(fn, x0, **options):
    """Minimise the sum of the squares of `fn`'s results, by `scipy.optimize.least_squares` and its exact Jacobian.

    fn       as for `minimize`, but it returns a list of Values: the residuals
    options  all other arguments of `scipy.optimize.least_squares`: method, bounds, loss, ...; but not `args`, `kwargs`

    Returns SciPy's OptimizeResult. No `.grad` is changed. Raises ImportError without SciPy: the extra `scipy`.

    >>> import pygrad
    >>> found = pygrad.least_squares(lambda a, b: [a * t + b - (3 * t + 1) for t in range(5)], (0.0, 0.0))
    >>> [round(float(x), 6) for x in found.x]
    [3.0, 1.0]
    """
    _refuse_extra_arguments(options)
    optimize = _scipy()
    residuals = Residuals(fn, x0)
    options.setdefault("jac", residuals.jac)
    return optimize.least_squares(residuals.fun, residuals.x0, **options)


def _refuse_extra_arguments(options):
    for name in ("args", "kwargs"):
        if options.get(name):
            raise TypeError(f"there is no {name} here: write lambda x: fn(x, ...), with the other arguments of fn")


class _Differentiated:
    """A function of Values as a function of an array; keeps the last results, as SciPy asks for them one by one."""

    def __init__(self, fn, x0):
        self.fn, self._point, self._last = fn, Point(x0), None  # _last: (numbers, results), set at once for all threads
        self.x0 = _numpy().array(self._point.numbers)

    def arguments(self, x):
        """Return the numbers of an array (n,), such as SciPy's result, as the tuple of arguments that `fn` takes."""
        return self._point.arguments([float(number) for number in x])

    def _read(self, x):
        """Return an array (n,) as a list of floats; a ValueError if x0 has not as many."""
        numbers = [float(number) for number in x]
        if len(numbers) != len(self._point.numbers):
            raise ValueError(f"{len(self._point.numbers)} numbers are needed here, as in x0, not {len(numbers)}")
        return numbers

    def _results(self, x):
        """Return the results of the function at `x`: those of its last run, if that was there."""
        numbers, last = self._read(x), self._last
        bits = array("d", numbers).tobytes()  # 0.0 and -0.0 are two points
        if last is None or last[0] != bits:
            last = self._last = bits, with_graphs(self._run, numbers)
        return last[1]


class Objective(_Differentiated):
    """The function `fn` and its derivatives, to minimise with `scipy.optimize`; `fn` and `x0` are as for `minimize`.

    The attribute `x0` is an array (n,). The value and gradient at the last `x` are kept and not computed again, so
    nothing else that `fn` reads should change.

    >>> import pygrad
    >>> f = pygrad.Objective(lambda x: x[0] ** 2 * x[1], [3.0, 2.0])
    >>> f.fun(f.x0), f.jac(f.x0).tolist()
    (18.0, [12.0, 9.0])
    """

    def __init__(self, fn, x0):
        super().__init__(fn, x0)
        self._compiled = _CompiledObjective(fn, self._point) if isinstance(fn, Compiled) else None

    def fun(self, x):
        """Return the value at `x`, a float."""
        return self._results(x)[0]

    def jac(self, x):
        """Return the gradient at `x`, an array (n,)."""
        return _numpy().array(self._results(x)[1])

    @recorded
    def hess(self, x):
        """Return the Hessian at `x`, an array (n, n)."""
        if self._compiled:
            return self._compiled.hessian(self._read(x))
        leaves = self._point.leaves(self._read(x))
        y = self._one(self.fn, leaves)
        return _numpy().array([grad(g, leaves) for g in grad(y, leaves, create_graph=True)])

    @recorded
    def hessp(self, x, p):
        """Return the Hessian at `x` times `p`, both arrays (n,): an array (n,), by two backward passes."""
        if self._compiled:
            return self._compiled.product(self._read(x) + self._read(p))
        leaves = self._point.leaves(self._read(x))
        y = self._one(self.fn, leaves)
        along = dot(grad(y, leaves, create_graph=True), self._read(p))
        return _numpy().array(grad(along, leaves))

    def _run(self, numbers):
        """Return the value and the gradient."""
        if self._compiled:
            return self._compiled.value_and_gradient(numbers)
        leaves = self._point.leaves(numbers)
        y = self._one(self.fn, leaves)
        return y.item(), grad(y, leaves)

    def _one(self, fn, leaves):
        ys, is_one = self._point.call(fn, leaves)
        if not is_one:
            raise TypeError(f"a function to minimise must return one Value, not {len(ys)} in a list")
        return ys[0]


class Residuals(_Differentiated):
    """Residuals and their Jacobian, for `scipy.optimize`; `fn` and `x0` are as for `least_squares`.

    The attribute `x0` is an array (n,). The residuals at the last `x` are kept and not computed again.

    >>> import pygrad
    >>> r = pygrad.Residuals(lambda a, b: [a * b, a - 1.0], (2.0, 3.0))
    >>> r.fun(r.x0).tolist(), r.jac(r.x0).tolist()
    ([6.0, 1.0], [[3.0, 2.0], [1.0, 0.0]])
    """

    def __init__(self, fn, x0):
        super().__init__(fn, x0)
        self._compiled = _CompiledResiduals(fn, self._point) if isinstance(fn, Compiled) else None

    def fun(self, x):
        """Return the residuals at `x`, an array (m,)."""
        ys, _ = self._results(x)
        return _numpy().array(ys if self._compiled else [y.item() for y in ys])

    @recorded
    def jac(self, x):
        """Return the Jacobian of the residuals at `x`, an array (m, n)."""
        if self._compiled:
            return self._compiled.jacobian(self._read(x))
        ys, leaves = self._results(x)
        return _numpy().array([grad(y, leaves) for y in ys]).reshape(len(ys), len(x))

    def _run(self, numbers):
        """Return the residuals, and the leaves that they were computed from."""
        if self._compiled:
            return self._compiled.residuals(numbers), None
        leaves = self._point.leaves(numbers)
        return self._point.call(self.fn, leaves)[0], leaves


class _Memory(threading.local):
    """The memory that a compiled function and its derivatives are bound to: new arrays with a point's numbers.

    Each thread has its own.
    """

    def __init__(self, fn, point):
        if fn.batched is not False:
            raise ValueError("a compiled function to minimise needs its numbers as they are: compile(batched=False)")
        self.arguments = [_with_arrays(a) for a in point.arguments(point.numbers)]

    def run(self, bound, numbers):
        """Write the numbers into the memory of `bound`, and run it forward; return its output as an array."""
        while True:
            run = self.newest = object()
            start = 0
            for memory in bound.inputs:
                flat = _numpy().asarray(memory).reshape(-1)
                flat[:] = numbers[start : start + len(flat)]
                start += len(flat)
            bound.forward()
            found = _numpy().array(bound.output)
            if self.newest is run:  # else a signal handler has used the memory meanwhile
                return found


def _with_arrays(x):
    """Return an argument with a new array for each list or array in it, so that it can be bound."""
    if (record := record_of(x)) is not None:
        return record.make([_with_arrays(part) for part in record.parts])
    return _numpy().array(x, dtype=float) if isinstance(x, (list, tuple)) or hasattr(x, "dtype") else x


class _CompiledObjective(_Memory):
    def __init__(self, fn, point):
        super().__init__(fn, point)
        self._fn, self._both = fn, value_and_grad(fn).bind(*self.arguments)
        self._hessian = self._product = None  # made at the first use

    def value_and_gradient(self, numbers):
        found = self.run(self._both, numbers)
        return float(found[0]), found[1:]

    def hessian(self, numbers):
        if self._hessian is None:
            self._hessian = hessian(self._fn).bind(*self.arguments)
        return self.run(self._hessian, numbers).reshape(len(numbers), len(numbers))

    def product(self, numbers_and_direction):
        if self._product is None:
            directions = [_with_arrays(a) for a in self.arguments if not is_static(a)]
            self._product = hvp(self._fn).bind(tuple(self.arguments), tuple(directions))
        return self.run(self._product, numbers_and_direction)


class _CompiledResiduals(_Memory):
    def __init__(self, fn, point):
        super().__init__(fn, point)
        self._residuals = fn.bind(*self.arguments, inputs=False)
        self._jacobian = jacobian(fn).bind(*self.arguments)

    def residuals(self, numbers):
        return self.run(self._residuals, numbers)

    def jacobian(self, numbers):
        return self.run(self._jacobian, numbers).reshape(-1, len(numbers))


def _scipy():
    try:
        with forks.importing:
            from scipy import optimize
    except ImportError:
        raise ImportError("this needs SciPy: pip install 'pygrad-engine[scipy]'") from None
    return optimize


def _numpy():
    try:
        with forks.importing:
            import numpy
    except ImportError:
        raise ImportError("this needs NumPy and SciPy: pip install 'pygrad-engine[scipy]'") from None
    return numpy
