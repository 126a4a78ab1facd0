"""The demos: `moons` is micrograd's own, `digits` reads handwriting, `gpt` makes up names, `race` measures engines.

And four worked examples of scalar calculus, each checked against a closed form: `rosenbrock` (minimising), `pendulum`
(optimal control), `greeks` (a Monte-Carlo price of finance) and `orbit` (fitting).

Each is a module with `run(out_dir, …)`, which leaves its files in `out_dir` and returns a small dict of results.
"""

import importlib
import time
from pathlib import Path

NAMES = ("moons", "digits", "gpt", "race", "rosenbrock", "pendulum", "greeks", "orbit")

# What `quick` makes of each demo: seconds, to see that it works rather than what it can do.
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
    """Run the demo `name` (one of NAMES), leave its files in `out_dir` and return its results.

    Raises MissingExtra when one of the packages of the `demo` extra is missing.
    """
    try:
        demo = importlib.import_module(f"pygrad.demos.{name}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "pygrad":
            raise  # a mistake of ours, not a missing package
        message = f"the {name} demo needs the package {error.name}: pip install 'pygrad-engine[demo]'"
        raise MissingExtra(message) from None
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return demo.run(folder, **(QUICK[name] if quick else {}))


def save_table(path, lines, show=None):
    """Print the first `show` lines, by default all, write all to the file `path`, and return it."""
    print("\n".join(lines[:show]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class stopwatch:
    """Measures a `with` block: afterwards `seconds` has its time, and `str()` says it with three digits."""

    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start

    def __str__(self):
        return f"{self.seconds:.3g} s" if self.seconds >= 0.1 else f"{self.seconds * 1e3:.3g} ms"
