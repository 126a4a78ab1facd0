"""The banana valley: Rosenbrock's function of many variables, by exact gradients and Hessians.

H. H. Rosenbrock, "An automatic method for finding the greatest or least value of a function", Computer Journal 3, 1960.
Its minimum is 0, where every variable is 1. A quasi-Newton method (BFGS) must learn the curvature of the valley from
gradients; Newton's method (trust-exact) gets it as the Hessian.
"""

from pygrad import minimize
from pygrad.demos import save_table, stopwatch

METHODS = ("BFGS", "trust-exact")
TOLERANCE = 1e-5  # of each variable


def rosenbrock(x):
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in zip(x, x[1:]))


def run(out_dir, variables=20):
    """Minimise from 0 by two methods; print and save the iterations, time and error of each.

    (From other points they may end in a local minimum near x[0] = -1, which the function has for four variables or
    more.)

    Returns {"errors": {method: of the worst variable}, "iterations": {method: count}, "files": paths}. Raises
    RuntimeError if a method does not end where every variable is 1.
    """
    errors, iterations, lines = {}, {}, [f"Rosenbrock's function of {variables} variables"]
    for method in METHODS:
        with stopwatch() as time:
            found = minimize(rosenbrock, [0.0] * variables, method=method, tol=1e-9)
        errors[method] = max(abs(float(x) - 1.0) for x in found.x)
        iterations[method] = int(found.nit)
        if errors[method] > TOLERANCE:
            raise RuntimeError(f"{method} ended {errors[method]:.1g} from the minimum")
        lines.append(f"{method:12} {found.nit:4} iterations, {time}, error {errors[method]:.1g}")
    return {"errors": errors, "iterations": iterations, "files": [save_table(out_dir / "rosenbrock.txt", lines)]}
