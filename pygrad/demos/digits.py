"""Handwritten digits, 8 by 8 pixels each, read by a network of 26 neurons.

The 1,797 images come with scikit-learn (from the UCI "Optical Recognition of Handwritten Digits" set). A fifth of them
is held out: the network never sees these in training, and only these count in the end.
Training is shown twice: one epoch in the loop that you would write, then all epochs compiled, by `fit`.
"""

import random

import safetensors  # noqa: F401 - save_model needs it; an ImportError now is better than after the training
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import pygrad
from pygrad.data import batches, train_test_split
from pygrad.demos import stopwatch
from pygrad.functional import cross_entropy
from pygrad.nn import MLP
from pygrad.optim import Adam
from pygrad.storage import load_model, save_model

BATCH = 16
LEARNING_RATE = 0.02


def run(out_dir, epochs=200, images=1797, seed=1337):
    """Train on four fifths of the `images`; save the model, and pictures of its predictions and losses.

    Returns {"accuracy": the fraction of the held-out images that is read right, "reloaded_accuracy": that of the saved
    model, "losses": one per batch, "files": paths}.
    """
    X, y = load_digits(return_X_y=True)
    X, y = (X[:images] / 16).tolist(), y[:images].tolist()  # pixels from 0 to 1, as lists of plain numbers
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, seed=seed)

    model, twin = new_model(seed), new_model(seed)
    print(f"digits: {len(X_train)} images to learn from, {len(X_test)} held out, {model.num_parameters()} parameters")
    rate = falling_rate(epochs * len(batches(X_train, batch_size=BATCH)))
    with stopwatch() as eager:
        expected = train_one_epoch(twin, X_train, y_train, rate, seed)
    with stopwatch() as compiled:
        losses = train(model, X_train, y_train, rate, epochs, seed)
    print(f"digits: one epoch took {eager}; compiled, {epochs} epochs took {compiled}")
    furthest = max(abs(e - a) for e, a in zip(expected, losses))
    print(f"digits: in the first epoch the two have the same losses, but for at most {furthest:.1g}")

    accuracy = evaluate(model, X_test, y_test)
    print(f"digits: {accuracy:.1%} of the held-out images are read right")

    model_file = out_dir / "digits-model.safetensors"
    save_model(model, model_file)
    fresh = MLP(64, [16, 10])
    load_model(fresh, model_file)
    reloaded = evaluate(fresh, X_test, y_test)
    print(f"digits: {reloaded:.1%} by the model saved and loaded again")

    files = [model_file, draw_predictions(fresh, X_test, y_test, out_dir), draw_losses(losses, out_dir)]
    return {"accuracy": accuracy, "reloaded_accuracy": reloaded, "losses": losses, "files": files}


def new_model(seed):
    random.seed(seed)
    return MLP(64, [16, 10])


def falling_rate(steps):
    """Return the learning rate as a function of the step: it falls linearly to 0."""
    return lambda step: LEARNING_RATE * (1 - step / steps)


def train_one_epoch(model, X, y, rate, seed):
    """Train `model` for one epoch in a Python loop; return the loss of each mini-batch."""
    optimizer = Adam(model.parameters())
    losses = []
    for step, (X_batch, y_batch) in enumerate(batches(X, y, batch_size=BATCH, seed=seed)):
        loss = cross_entropy([model(x) for x in X_batch], y_batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.data)
    return losses


def train(model, X, y, rate, epochs, seed):
    """Train `model` by `fit`: first on the mini-batches of train_one_epoch(), then on more; return the loss of each."""

    @pygrad.compile
    def loss(x, y):  # of one image; for a batch fit() takes the mean
        return cross_entropy(model(x), y)

    options = {"batch_size": BATCH, "seed": seed, "schedule": rate, "progress": True}
    return loss.fit(Adam(model.parameters()), X, y, epochs=epochs, **options)


def predict(model, x):
    """Return the digit that `model` reads in the image `x` (64 numbers): the digit with the largest score."""
    scores = model(x)
    return max(range(10), key=lambda digit: scores[digit].data)


def evaluate(model, X, y):
    """Return the fraction of the images X that `model` reads right."""
    return sum(predict(model, x) == yi for x, yi in zip(X, y)) / len(y)


def draw_predictions(model, X, y, out_dir):
    """Draw held-out images with the digits that the model reads above them, mistakes in red; return the file."""
    figure = Figure(figsize=(8, 5))
    figure.suptitle("digits: what the network reads in images it has not seen")
    for i, ax in enumerate(figure.subplots(4, 8).flat):
        ax.axis("off")
        if i < len(X):
            guess = predict(model, X[i])
            ax.imshow([X[i][row * 8 : row * 8 + 8] for row in range(8)], cmap="gray_r")
            ax.set_title(guess if guess == y[i] else f"{guess}, is {y[i]}", color="black" if guess == y[i] else "red")
    path = out_dir / "digits-predictions.png"
    figure.savefig(path, dpi=120)
    return path


def draw_losses(losses, out_dir):
    """Plot the loss of every mini-batch; return the file."""
    figure = Figure(figsize=(6, 4))
    ax = figure.add_subplot(title="digits: the loss", xlabel="mini-batch", ylabel="cross-entropy", yscale="log")
    ax.plot(losses, linewidth=0.8)
    path = out_dir / "digits-loss.png"
    figure.savefig(path, dpi=120)
    return path
