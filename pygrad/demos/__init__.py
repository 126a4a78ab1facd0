"""The demos: `moons` is micrograd's own, `digits` reads handwriting, `gpt` makes up names, `race` times the engines.

Four more are worked examples of scalar calculus, each checked against a known solution: `rosenbrock` (minimising),
`pendulum` (optimal control), `greeks` (a Monte-Carlo price of finance) and `orbit` (fitting).

Each demo is a module with a function `run(out_dir, …)`: it writes files to `out_dir` and returns a dict of results.
"""

import importlib
import time
from pathlib import Path

from pygrad.common.whole_files import write_whole

NAMES = ("moons", "digits", "gpt", "race", "rosenbrock", "pendulum", "greeks", "orbit")

# The arguments of each demo's run() with `quick`: it takes seconds, and shows only that the demo works.
QUICK = {
    "moons": {"steps": 5, "grid": 1.0},
    "digits": {"epochs": 2, "images": 120},
    "gpt": {"steps": 8, "samples": 3, "held_out": 4},
    "race": {"rounds": 3, "samples": 10},
    "rosenbrock": {"variables": 4},
    "pendulum": {"steps": 10},
    "greeks": {"samples": 2000},
    "orbit": {"observations": 12},
}


class MissingExtra(ImportError):
    """A package that a demo needs is not installed."""


def run(name, out_dir, quick=False):
    """Run the demo `name` (one of NAMES), write its files to `out_dir` and return its results.

    Raises MissingExtra if a package of the `demo` extra is missing.
    """
    try:
        demo = importlib.import_module(f"pygrad.demos.{name}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "pygrad":
            raise  # a fault of pygrad, not a missing package
        message = f"the {name} demo needs the package {error.name}: pip install 'pygrad-engine[demo]'"
        raise MissingExtra(message) from None
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return demo.run(folder, **(QUICK[name] if quick else {}))


def save_table(path, lines, show=None):
    """Print the first `show` lines (by default all), write all lines to the file `path`, and return `path`."""
    print("\n".join(lines[:show]))
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    return path


class stopwatch:
    """Times a `with` block: after it `seconds` is the time it took, and `str()` shows this with three digits."""

    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start

    def __str__(self):
        return f"{self.seconds:.3g} s" if self.seconds >= 0.1 else f"{self.seconds * 1e3:.3g} ms"
