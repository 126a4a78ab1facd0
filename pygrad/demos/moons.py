"""micrograd's demo.ipynb: a small network learns to separate two interleaved half-moons.

The seeds, the model, the loss and the learning rates are the notebook's, and so are the losses that the demo prints.
The code is what you would write for micrograd; only the imports say pygrad. Then the training is repeated compiled: the
loss of one sample is recorded once, and `fit` takes the steps in C.
"""

import copy
import random

import graphviz  # noqa: F401 - viz needs it; an ImportError now is better than after the training
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from tqdm import tqdm

import pygrad
from pygrad import viz
from pygrad.common.whole_files import write_whole
from pygrad.demos import stopwatch
from pygrad.engine import Value
from pygrad.nn import MLP, Neuron
from pygrad.optim import SGD

SEED = 1337


def run(out_dir, steps=100, grid=0.25):
    """Train, and save the decision boundary (PNG, a point every `grid`) and the graph of one neuron (SVG).

    Returns {"losses": one per step, "compiled_losses": those of the same steps taken by `fit`, "accuracies": one per
    step, "files": paths}.
    """
    neuron_file = draw_neuron(out_dir)

    random.seed(SEED)
    np.random.seed(SEED)
    X, y = make_moons(n_samples=100, noise=0.1)
    y = y * 2 - 1  # -1 or 1
    model = MLP(2, [16, 16, 1])
    twin = copy.deepcopy(model)

    with stopwatch() as eager:
        losses, accuracies = train(model, X, y, steps)
    with stopwatch() as compiled:
        compiled_losses = train_compiled(twin, X, y, steps)
    furthest = max(abs(a / e - 1) for e, a in zip(losses, compiled_losses))
    print(f"moons: {steps} steps took {eager}; compiled, {compiled}, the losses agree to {furthest:.1g}")

    boundary_file = draw_boundary(model, X, y, grid, out_dir)
    files = [boundary_file, neuron_file]
    return {"losses": losses, "compiled_losses": compiled_losses, "accuracies": accuracies, "files": files}


def learning_rate(k):
    return 1.0 - 0.9 * k / 100


def train(model, X, y, steps):
    """Take `steps` steps as the notebook does, and print the same lines; return the losses and accuracies."""
    losses, accuracies = [], []
    for k in (bar := tqdm(range(steps), desc="moons", unit="step")):
        # forward
        total_loss, accuracy = loss(model, X, y)

        # backward
        model.zero_grad()
        total_loss.backward()

        # update (SGD)
        for p in model.parameters():
            p.data -= learning_rate(k) * p.grad

        losses.append(total_loss.data)
        accuracies.append(accuracy)
        bar.write(f"step {k} loss {total_loss.data}, accuracy {accuracy * 100}%")
    return losses, accuracies


def train_compiled(model, X, y, steps):
    """Take the same steps compiled; return the losses."""

    @pygrad.compile
    def loss(x, yi):  # of one sample; for a batch fit() takes the mean, and computes the penalty once
        return (1 + -yi * model(x)).relu() + 1e-4 * sum(p * p for p in model.parameters())

    # without batch_size a batch is all samples, so an epoch is one step
    return loss.fit(SGD(model.parameters()), X, y, epochs=steps, schedule=learning_rate)


def loss(model, X, y):
    """Return the loss of `model` as a Value, and the fraction of X (n, 2) that it puts on the right side."""
    inputs = [list(map(Value, xrow)) for xrow in X]
    scores = list(map(model, inputs))

    # the hinge loss of a support vector machine: 0 if a sample is on the right side by a margin of 1
    losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
    data_loss = sum(losses) * (1.0 / len(losses))

    # L2 regularization
    alpha = 1e-4
    reg_loss = alpha * sum(p * p for p in model.parameters())

    right = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(y, scores)]
    return data_loss + reg_loss, sum(right) / len(right)


def draw_boundary(model, X, y, grid, out_dir):
    """Colour the plane by the sign of the model's score, with the samples on top; return the file."""
    (x_min, y_min), (x_max, y_max) = X.min(axis=0) - 1, X.max(axis=0) + 1
    xx, yy = np.meshgrid(np.arange(x_min, x_max, grid), np.arange(y_min, y_max, grid))
    scores = [model([Value(a), Value(b)]).data for a, b in zip(xx.ravel(), yy.ravel())]

    figure = Figure(figsize=(6, 5))
    ax = figure.add_subplot(title="moons: the decision boundary")
    ax.contourf(xx, yy, np.reshape(scores, xx.shape) > 0, cmap="Spectral", alpha=0.8)
    ax.scatter(X[:, 0], X[:, 1], c=y, s=40, cmap="Spectral", edgecolors="black")
    path = out_dir / "moons-boundary.png"
    figure.savefig(path, dpi=120)
    return path


def draw_neuron(out_dir):
    """Draw the graph of a neuron with two inputs, opened up into its multiplies and adds; return the file."""
    random.seed(SEED)
    n = Neuron(2)
    n.w[0].label, n.w[1].label, n.b.label = "w0", "w1", "b"
    x = [Value(1.0, label="x0"), Value(-2.0, label="x1")]
    y = n(x)
    y.label = "y"
    y.backward()

    path = out_dir / "moons-neuron.svg"
    write_whole(path, viz.render_svg(viz.draw_dot(y, open_fused=True)).encode())
    return path
