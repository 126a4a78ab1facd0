"""Orbit fitting: find the ellipse of a double star from positions on the sky, measured with errors.

Kepler's equation M = E - e sin E gives the angle E at each time by Newton steps (C. D. Murray and S. F. Dermott, "Solar
System Dynamics", Cambridge 1999, chapter 2). The steps are computed on Values, so the Jacobian goes through them. From
data without errors the fit must find the very orbit that made them; from data with errors, that orbit within five
standard errors, computed from J^T J at the fit. The derivative of E by e must agree with its closed form,
sin E / (1 - e cos E).
"""

import math
import random

import numpy as np

import pygrad
from pygrad.demos import save_table

SEED = 1609
ORBIT = (1.7, 0.45, 0.8, 11.0, 2.5)
NAMES = ("axis", "eccentricity", "direction", "period", "periastron")  # arcseconds, -, radians, years, years
NEWTON_STEPS = 8


def eccentric_anomaly(mean, e):
    """Solve Kepler's equation by NEWTON_STEPS steps from E = M + e sin M; return E, a Value. `mean` (M) is a Value."""
    E = mean + e * mean.sin()
    for _ in range(NEWTON_STEPS):
        E = E - (E - e * E.sin() - mean) / (1.0 - e * E.cos())
    return E


def position(time, axis, e, direction, period, periastron):
    """Return the position (x, y), Values, on the sky at a time, for an orbit seen from above."""
    E = eccentric_anomaly((time - periastron) * (2.0 * math.pi) / period, e)
    along, across = axis * (E.cos() - e), axis * (1.0 - e * e).sqrt() * E.sin()
    return along * direction.cos() - across * direction.sin(), along * direction.sin() + across * direction.cos()


def observe(times, noise, rng):
    """Return observations of ORBIT, a list of (time, x, y); `noise` is their standard error in arcseconds."""
    orbit = [pygrad.Value(number) for number in ORBIT]
    return [(t, *[p.data + rng.gauss(0.0, noise) for p in position(t, *orbit)]) for t in times]


def fit(seen, start):
    """Fit an orbit to the observations `seen`, from the numbers `start`; return SciPy's result."""

    def residuals(*orbit):
        return [p - q for t, x, y in seen for p, q in zip(position(t, *orbit), (x, y))]

    return pygrad.least_squares(residuals, start, x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14)


def run(out_dir, observations=30, noise=0.02):
    """Fit the orbit to data without errors and with errors; print and save the second fit.

    Returns {"exact_error": the largest relative error of the first fit, "errors": {name: that of the second fit, in
    standard errors}, "slope_error": that of dE/de, "files": paths}. Raises RuntimeError if one is too large.
    """
    rng = random.Random(SEED)
    times, start = [rng.uniform(0.0, 15.0) for _ in range(observations)], (1.5, 0.3, 0.6, 10.5, 2.3)
    exact, noisy = (fit(observe(times, n, rng), start) for n in (0.0, noise))
    exact_error = max(abs(x / true - 1.0) for x, true in zip(exact.x.tolist(), ORBIT))
    spreads = noise * np.sqrt(np.diag(np.linalg.inv(noisy.jac.T @ noisy.jac)))
    errors = {n: float((x - true) / s) for n, x, true, s in zip(NAMES, noisy.x, ORBIT, spreads)}
    slope_error = _slope_error(2.0, ORBIT[1])
    if exact_error > 1e-9 or max(map(abs, errors.values())) > 5 or slope_error > 1e-12:
        raise RuntimeError(f"the orbit was not found: {exact_error}, {errors}, {slope_error}")
    lines = [f"{'':14}{'true':>10}{'found':>10}{'+-':>10}"]
    lines += [f"{n:14}{true:10.4f}{x:10.4f}{s:10.4f}" for n, true, x, s in zip(NAMES, ORBIT, noisy.x, spreads)]
    files = [save_table(out_dir / "orbit.txt", lines)]
    return {"exact_error": exact_error, "errors": errors, "slope_error": slope_error, "files": files}


def _slope_error(mean, e):
    """Return how far d E / d e, computed through the Newton steps, is from its closed form."""
    by = pygrad.Value(e)
    E = eccentric_anomaly(pygrad.Value(mean), by)
    return abs(pygrad.grad(E, by) - math.sin(E.data) / (1.0 - e * math.cos(E.data)))
