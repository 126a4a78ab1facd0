"""Second derivatives and sparse Jacobians beside casadi, jax and autograd, in turn, round after round.

`pip install numpy scipy casadi jax autograd`, as many of them as you want columns, then `python bench/calculus.py
[rounds]`. A cell has the median time, and in brackets how many times the first column's it is, as in compiled.py.

- Hessian: of Rosenbrock's function of 100 variables. "first call" is in a new process, imports not counted; "any call"
  from array (eager pygrad: list) to the whole Hessian; "raw call" through bound buffers, of the numbers that can be
  other than 0.
- band: 10,000 functions of 10,000 variables, of three neighbours each. Its Jacobian, and beside it what one
  function-and-gradient sweep over all of them takes (that of their sum), both through bound buffers.

Every answer is checked against the formula first.
"""

import gc
import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import median

VARIABLES, BAND = 100, 10_000
POINT = [0.5 + 0.01 * i for i in range(VARIABLES)]


def rosenbrock(xs, total=sum):
    return total([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in zip(xs, xs[1:])])


def band(xs, sin):
    n = len(xs)
    return [(xs[i - 1] if i else 0.0) * xs[i] - (sin(xs[i + 1]) if i + 1 < n else 0.0) for i in range(n)]


def band_point():
    return [0.5 + 1e-4 * i for i in range(BAND)]


# --- answers ----------------------------------------------------------------------------------------------------------


def hessian_diagonals():
    """Return the diagonal of the Hessian, and the one beside it."""
    x = POINT
    main = [(1200.0 * x[i] ** 2 - 400.0 * x[i + 1] + 2.0 if i + 1 < VARIABLES else 0.0) for i in range(VARIABLES)]
    return [m + (200.0 if i else 0.0) for i, m in enumerate(main)], [-400.0 * a for a in x[:-1]]


def check_hessian(found):
    import numpy as np

    main, side = hessian_diagonals()
    np.testing.assert_allclose(np.diag(main) + np.diag(side, 1) + np.diag(side, -1), np.array(found), rtol=1e-12)


def check_numbers(found):
    """Check the numbers of a sparse Hessian, in any order."""
    main, side = hessian_diagonals()
    right = sorted([*main, *side, *side])
    assert len(right) == len(found)
    assert all(abs(a - b) <= 1e-9 * abs(a) for a, b in zip(right, sorted(found)))


def check_band(found):
    """Check a sum over the numbers of the band's Jacobian."""
    import math

    x = band_point()
    right = sum(x[1:]) + sum(x[:-1]) - sum(map(math.cos, x[1:]))
    assert abs(right - sum(found)) <= 1e-9 * abs(right), (right, sum(found))


# --- entries: each returns a call, and what checks its answer ---------------------------------------------------------


def pygrad_hessian():
    import pygrad

    return pygrad.hessian(lambda xs: rosenbrock(xs, pygrad.sum)), POINT


def compiled_hessian():
    import numpy as np

    import pygrad

    return pygrad.hessian(pygrad.compile(lambda xs: rosenbrock(xs, pygrad.sum), batched=False)), np.array(POINT)


def jax_hessian(jit=False):
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", True)

    def f(x):
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    h = jax.jit(jax.hessian(f)) if jit else jax.hessian(f)
    return (lambda x: np.asarray(h(x))), jnp.asarray(POINT)


def jax_jitted_hessian():
    return jax_hessian(jit=True)


def autograd_hessian():
    import autograd
    import autograd.numpy as np

    def f(x):
        return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    return autograd.hessian(f), np.array(POINT)


CALLS = {
    "compiled": compiled_hessian,
    "pygrad": pygrad_hessian,
    "jax": jax_hessian,
    "jax jit": jax_jitted_hessian,
    "autograd": autograd_hessian,
}


def pygrad_raw():
    import numpy as np

    import pygrad

    f = pygrad.compile(lambda xs: rosenbrock(xs, pygrad.sum), batched=False)
    bound = pygrad.hessian(f, sparse=True).bind(np.array(POINT))
    return bound.forward, lambda: check_numbers(list(bound.output))


def casadi_raw():
    import casadi
    import numpy as np
    from peers import raw

    symbols = casadi.SX.sym("x", VARIABLES)
    found = casadi.hessian(rosenbrock(casadi.vertsplit(symbols)), symbols)[0]
    out = np.zeros(found.nnz())
    call = raw(casadi.Function("h", [symbols], [found]), [np.array(POINT)], [out])
    return call, lambda: check_numbers(out.tolist())


def pygrad_band():
    import numpy as np

    import pygrad

    f = pygrad.compile(lambda xs: band(xs, pygrad.Value.sin), batched=False)
    bound = pygrad.jacobian(f, sparse=True).bind(np.array(band_point()))
    return bound.forward, lambda: check_band(bound.output)


def pygrad_sweep():
    import numpy as np

    import pygrad

    f = pygrad.compile(lambda xs: pygrad.sum(band(xs, pygrad.Value.sin)), batched=False)
    bound = f.bind(np.array(band_point()))
    return bound.backward, lambda: check_band(bound.gradients)


def casadi_band(jacobian=True):
    import casadi
    import numpy as np
    from peers import raw

    symbols = casadi.SX.sym("x", BAND)
    ys = casadi.vertcat(*band(casadi.vertsplit(symbols), casadi.sin))
    found = casadi.jacobian(ys, symbols) if jacobian else casadi.gradient(casadi.sum1(ys), symbols)
    results = [found] if jacobian else [casadi.sum1(ys), found]
    outs = [np.zeros(result.nnz()) for result in results]
    call = raw(casadi.Function("j", [symbols], results), [np.array(band_point())], outs)
    return call, lambda: check_band(outs[-1].tolist())


RAW = {
    "Hessian, raw call, us": (1e6, 2000, {"pygrad": pygrad_raw, "casadi": casadi_raw}),
    "band, Jacobian and one sweep, us": (
        1e6,
        50,
        {"pygrad": pygrad_band, "pygrad, sweep": pygrad_sweep, "casadi": casadi_band,
         "casadi, sweep": lambda: casadi_band(jacobian=False)},
    ),
}  # fmt: skip

# --- timing -----------------------------------------------------------------------------------------------------------


def there(name):
    """Is the package of a column installed?"""
    package = name.split(" ")[0].rstrip(",")
    return package in ("compiled", "pygrad") or find_spec(package) is not None


def first_call(name):
    """Return the seconds of a first call, in a process of its own."""
    program = f"import calculus; print(calculus.time_first({name!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=sys.path[0], check=True)
    return float(done.stdout)


def time_first(name):
    function, x = CALLS[name]()
    begin = time.perf_counter()
    function(x)
    return time.perf_counter() - begin


def seconds(call, times):
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def show(row, times, scale):
    first = next(iter(times.values()))
    cells = []
    for name, found in times.items():
        ratio = median(mine / base for mine, base in zip(found, first))
        cells.append(f"{name} {median(found) * scale:.3g} ({ratio:.3g})")
    print(f"{row:34}" + "   ".join(cells), flush=True)


def main(rounds):
    names = [name for name in CALLS if there(name)]
    show("Hessian, first call, ms", {name: [first_call(name) for _ in range(3)] for name in names}, 1e3)
    calls = {}
    for name in names:
        function, x = CALLS[name]()
        check_hessian(function(x))
        calls[name] = lambda function=function, x=x: function(x)
    gc.disable()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, 3))
    show("Hessian, any call, ms", times, 1e3)
    for row, (scale, count, entries) in RAW.items():
        runs = {name: make() for name, make in entries.items() if there(name)}
        for call, check in runs.values():
            call()
            check()
        times = {name: [] for name in runs}
        for _ in range(rounds):
            for name, (call, _) in runs.items():
                times[name].append(seconds(call, count))
        show(row, times, scale)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
