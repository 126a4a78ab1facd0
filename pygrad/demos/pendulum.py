"""Optimal control: find the cheapest torques that swing a pendulum by half a radian and stop it there.

The pendulum is simulated by symplectic Euler steps on Values, so the cost has a gradient through the whole simulation.
The cost is the sum of the squared torques plus, heavily weighted, the squared error at the end. For the linear pendulum
(a in place of sin a) NumPy solves the problem in closed form, as a ridge regression; the demo must find those torques.
Then it solves the true pendulum, for which no formula is known.
"""

import numpy as np

import pygrad
from pygrad.demos import save_table, stopwatch

TARGET = 0.5  # radians, at rest
SECONDS = 2.0
WEIGHT = 1e4  # of the error at the end
TOLERANCE = 1e-5  # of each torque, relative to the largest


def cost(torques, sine):
    """Return the cost of these torques, one per time step; `sine(angle)` is the torque that pulls back."""
    dt = SECONDS / len(torques)
    angle = speed = 0.0
    for torque in torques:
        speed = speed + dt * (torque - sine(angle))
        angle = angle + dt * speed
    return dt * sum(torque**2 for torque in torques) + WEIGHT * ((angle - TARGET) ** 2 + speed**2)


def linear_torques(steps):
    """Return the best torques u of the linear pendulum, an array (steps,), by ridge regression.

    The final (angle, speed) is E @ u, so the cost is dt |u|^2 + WEIGHT |E u - target|^2. It is least where its gradient
    is 0: a linear system.
    """
    dt = SECONDS / steps
    step = np.array([[1.0 - dt * dt, dt], [-dt, 1.0]])  # of (angle, speed), without torque
    push = np.array([dt * dt, dt])
    columns = [np.linalg.matrix_power(step, steps - 1 - k) @ push for k in range(steps)]
    E = np.array(columns).T
    return np.linalg.solve(dt * np.eye(steps) + WEIGHT * E.T @ E, WEIGHT * E.T @ np.array([TARGET, 0.0]))


def run(out_dir, steps=40):
    """Find the torques of both pendulums with a compiled cost; print the error, save the torques.

    Returns {"error": of the linear pendulum's torques, relative to the largest, "costs": (linear, true), "torques":
    those of the true pendulum, "files": paths}. Raises RuntimeError if the linear torques differ from the formula's.
    """
    found = {}
    for name, sine in (("linear", lambda angle: angle), ("true", _sine)):
        compiled = pygrad.compile(lambda torques, sine=sine: cost(torques, sine), batched=False)
        with stopwatch() as time:
            found[name] = pygrad.minimize(compiled, [0.0] * steps, method="BFGS", options={"gtol": 1e-7})
        print(f"pendulum: {name}, {found[name].nit} iterations, {time}")
    expected = linear_torques(steps)
    error = float(max(abs(found["linear"].x - expected)) / max(abs(expected)))
    if error > TOLERANCE:
        raise RuntimeError(f"the linear pendulum's torques are {error:.1g} from the formula's")
    lines = [f"pendulum: the linear one's torques are the formula's to {error:.1g}"]
    lines += ["torques by time step: linear pendulum (formula, found), true pendulum (found)"]
    lines += [f"{a:12.6f} {b:12.6f} {c:12.6f}" for a, b, c in zip(expected, found["linear"].x, found["true"].x)]
    return {
        "error": error,
        "costs": (float(found["linear"].fun), float(found["true"].fun)),
        "torques": found["true"].x.tolist(),
        "files": [save_table(out_dir / "pendulum.txt", lines, show=1)],
    }


def _sine(angle):
    return angle.sin() if isinstance(angle, pygrad.Value) else 0.0  # at the start the angle is the number 0.0
