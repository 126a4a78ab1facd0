"""One training step on three engines: pygrad's C engine, `pygrad.reference` in pure Python, and micrograd.

pygrad races twice: with plain code, and with its loss compiled. All train the same network on the same samples, in
turn, so a busy machine slows all of them. A round counts only if the losses agree: a wrong answer has no speed.
Python's garbage collector runs between the timed steps, not in them. That favours micrograd: only the collector can
free its graphs.
"""

import gc
import random
import time
from functools import partial
from statistics import median

import numpy as np
from micrograd.engine import Value as MicrogradValue
from micrograd.nn import MLP as MicrogradMLP
from sklearn.datasets import make_moons
from tqdm import tqdm

import pygrad.reference
from pygrad.common.whole_files import write_whole
from pygrad.engine import Value
from pygrad.nn import MLP
from pygrad.optim import SGD

SEED = 1337
SIZES = (2, [16, 16, 1])
RATE = 0.1
TOLERANCE = 1e-9  # relative, of the losses


def run(out_dir, rounds=7, samples=100):
    """Time `rounds` training steps on each engine; print the table of medians and save it as text.

    Returns {"seconds": {engine: median}, "losses": one per round, "files": paths}. Raises RuntimeError if losses
    disagree.
    """
    X, y = make_moons(n_samples=samples, noise=0.1, random_state=SEED)
    X, y = X.tolist(), (y * 2 - 1).tolist()
    racers = {
        "pygrad": partial(train_step, Value, seeded(MLP), X, y),
        "pygrad, compiled": compiled_step(seeded(MLP), X, y),
        "pygrad.reference": partial(train_step, pygrad.reference.Value, on_reference(seeded(MLP)), X, y),
        "micrograd": partial(train_step, MicrogradValue, seeded(MicrogradMLP), X, y),
    }

    times, losses = {name: [] for name in racers}, []
    for _ in tqdm(range(rounds), desc="race", unit="round"):
        results = {}
        for name, step in racers.items():
            results[name], seconds = timed(step)
            times[name].append(seconds)
        check(results)
        losses.append(results["pygrad"])

    medians = {name: median(seconds) for name, seconds in times.items()}
    text = table(medians, rounds, samples)
    print(text)
    path = out_dir / "race.txt"
    write_whole(path, f"{text}\n".encode())
    return {"seconds": medians, "losses": losses, "files": [path]}


def seeded(mlp):
    random.seed(SEED)  # the same weights for every engine
    return mlp(*SIZES)


def on_reference(model):
    """Replace the weights of `model` by Values of the pure-Python engine, and return it: it works with any Values."""
    for layer in model.layers:
        for neuron in layer.neurons:
            neuron.w = [pygrad.reference.Value(w.data) for w in neuron.w]
            neuron.b = pygrad.reference.Value(neuron.b.data)
    return model


def train_step(value, model, X, y):
    """Forward, backward and update, as in the moons demo; return the loss."""
    scores = [model([value(x0), value(x1)]) for x0, x1 in X]
    losses = [(1 + -yi * score).relu() for yi, score in zip(y, scores)]
    loss = sum(losses) * (1.0 / len(losses))
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= RATE * p.grad
    return loss.data


def compiled_step(model, X, y):
    """Compile the loss of a sample; return a function that takes the step of train_step() and returns the loss."""
    loss = pygrad.compile(lambda x, yi: (1 + -yi * model(x)).relu())
    bound = loss.bind(np.array(X), np.array(y, dtype=float), inputs=False)
    optimizer = SGD(model.parameters(), lr=RATE)

    def step():
        optimizer.zero_grad()
        bound.backward()
        optimizer.step()
        return bound.output[0]

    return step


def timed(step):
    """Return (what `step` returns, the seconds it took)."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        result = step()
        return result, time.perf_counter() - start
    finally:
        gc.enable()


def check(losses):
    """Raise RuntimeError unless the engines' losses, {engine: loss}, agree."""
    if not np.allclose(list(losses.values()), losses["micrograd"], rtol=TOLERANCE, atol=0):
        raise RuntimeError(f"the engines disagree, so there is nothing to time: {losses}")


def table(medians, rounds, samples):
    """Return a table as text: the medians in milliseconds, and each divided by pygrad's."""
    lines = [
        f"One training step: moons, {samples} samples, MLP(2, [16, 16, 1]); medians of {rounds} rounds, gc off.",
        "",
        f"{'engine':<18}{'ms a step':>12}{'times pygrad':>14}",
    ]
    for name, seconds in medians.items():
        lines.append(f"{name:<18}{seconds * 1e3:>12.2f}{seconds / medians['pygrad']:>14.3g}")
    return "\n".join(lines)
