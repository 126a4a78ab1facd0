"""A GPT that reads American first names, letter by letter, and makes up new ones.

The names are those of the United States census of 1990, from the package `names`. The loss of a name of seven letters
is computed by 61,889 operations, and each makes a Value (gpt_model.py). The loss is compiled: recorded once for each
length of a name, then run in C over batches of names of that length.
"""

import random
from itertools import groupby, islice
from math import log
from pathlib import Path

import names as census
from matplotlib.figure import Figure
from tqdm import tqdm

import pygrad
from pygrad.common.whole_files import write_whole
from pygrad.data import batches
from pygrad.demos import stopwatch
from pygrad.demos.gpt_model import GPT, N_TOKENS, encode
from pygrad.functional import largest
from pygrad.lr_scheduler import LinearLR
from pygrad.optim import Adam

HELD_OUT = 50  # names that the model does not see in training
BATCH = 32  # names per step, at most; all have one length
WINDOW = 50  # a point of the smoothed loss curve is the mean of so many steps


def run(out_dir, steps=2_000, samples=20, held_out=HELD_OUT, seed=1337):
    """Train for `steps` batches, then make up `samples` names; save the names as text and the loss curve as a picture.

    Returns {"losses": one per batch, in nats per letter, "held_out_loss": the mean over `held_out` names that the model
    does not see in training, "names": the names made up, "files": paths}.
    """
    rng = random.Random(seed)
    known = census_names()
    rng.shuffle(known)
    unseen, seen = known[:held_out], known[held_out:]
    model = GPT(pygrad.Value, seed=seed, take=pygrad.take, largest=largest)
    loss = pygrad.compile(model.loss)  # for a batch it returns the mean
    print(f"gpt: {len(seen)} names to learn from, {held_out} held out, {len(model.parameters())} parameters")

    with stopwatch() as eager:
        expected = sum(model.loss(encode(name)).data for name in unseen) / held_out
    with stopwatch() as recording:
        mean_loss(loss, unseen)
    with stopwatch() as compiled:
        untrained_loss = mean_loss(loss, unseen)
    print(f"gpt: before training, loss {expected:.9f} on the names held out; compiled, {untrained_loss:.9f}")
    print(f"gpt: that took {eager}; compiled, {recording} the first time, as it records, and then {compiled}")

    with stopwatch() as training:
        losses = train(model, loss, seen, steps, rng)
    print(f"gpt: {steps} steps, up to {BATCH} names each, took {training}")
    held_out_loss = mean_loss(loss, unseen)
    print(f"gpt: loss {held_out_loss:.3f} on the names held out; guessing would have {log(N_TOKENS):.3f}")

    made_up = [model.sample(rng) for _ in range(samples)]
    new = [name for name in made_up if name not in known]
    print(f"gpt: {', '.join(made_up)} ({len(new)} of them are in no census)")
    names_file = out_dir / "gpt-names.txt"
    write_whole(names_file, "".join(f"{name}\n" for name in made_up).encode())
    files = [names_file, draw_losses(losses, out_dir)]
    return {"losses": losses, "held_out_loss": held_out_loss, "names": made_up, "files": files}


def census_names():
    """Return the first names of the census, women's and men's, in small letters, sorted."""
    files = [Path(path) for kind, path in census.FILES.items() if kind.startswith("first:")]
    lines = [line for file in files for line in file.read_text(encoding="ascii").splitlines()]
    return sorted({line.split()[0].lower() for line in lines})  # a line: NAME, frequency, cumulative frequency, rank


def by_length(names):
    """Return the names in lists, one for each length."""
    return [list(group) for _, group in groupby(sorted(names, key=len), key=len)]


def mean_loss(loss, names):
    """Return the mean of the compiled loss over names of any lengths."""
    return sum(loss(list(map(encode, group))) * len(group) for group in by_length(names)) / len(names)


def endless_batches(names, rng):
    """Yield shuffled lists of at most BATCH names of one length, without end; each name comes once per epoch."""
    groups = [batches(group, batch_size=BATCH, seed=rng.random()) for group in by_length(names)]
    while True:
        epoch = [batch for group in groups for batch in group]
        rng.shuffle(epoch)
        yield from epoch


def train(model, loss, names, steps, rng):
    """Train `model` by its compiled loss, one batch per step; the rate falls linearly to 0. Return the losses."""
    optimizer = Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    schedule = LinearLR(optimizer, start_factor=1, end_factor=0, total_iters=steps)
    losses = []
    bar = tqdm(islice(endless_batches(names, rng), steps), total=steps, desc="gpt", unit="batch")
    for batch in bar:
        optimizer.zero_grad()
        losses.append(loss.backward(list(map(encode, batch))))
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    return losses


def draw_losses(losses, out_dir):
    """Plot the loss of every batch, and the mean of the last WINDOW losses; return the file."""
    figure = Figure(figsize=(6, 4))
    ax = figure.add_subplot(title="gpt: the loss", xlabel="step", ylabel="cross-entropy, nats a letter")
    ax.plot(losses, linewidth=0.5, alpha=0.5, label="one batch")
    means = [sum(losses[k - WINDOW : k]) / WINDOW for k in range(WINDOW, len(losses) + 1)]
    ax.plot(range(WINDOW - 1, len(losses)), means, label=f"mean of {WINDOW}")
    ax.axhline(log(N_TOKENS), color="gray", linestyle=":", label="guessing")
    ax.legend(loc="lower left")
    path = out_dir / "gpt-loss.png"
    figure.savefig(path, dpi=120)
    return path
