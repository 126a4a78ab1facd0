"""A GPT that reads American first names, letter by letter, and makes up new ones.

The names are those of the United States census of 1990, from the package `names`. The model (gpt_model.py) is trained
on one name a step. Below the loss of a name of seven letters stand 61,889 operations, each of them a Value.
"""

import random
from math import log
from pathlib import Path

import names as census
from matplotlib.figure import Figure
from tqdm import tqdm

from pygrad.demos.gpt_model import GPT, N_TOKENS, Adam, encode
from pygrad.engine import Value

HELD_OUT = 50  # names that the model does not see in training
WINDOW = 25  # names that a point of the smoothed loss curve is the mean of


def run(out_dir, steps=1_500, samples=20, held_out=HELD_OUT, seed=1337):
    """Train on `steps` names, then make up `samples` of them; save these as text, and the loss curve as a picture.

    Returns {"losses": one a name, in nats a letter, "held_out_loss": the mean on `held_out` names that were not
    trained on, "names": the new ones, "files": paths}.
    """
    rng = random.Random(seed)
    known = census_names()
    rng.shuffle(known)
    unseen, seen = known[:held_out], known[held_out:]
    model = GPT(Value, seed=seed)
    print(f"gpt: {len(seen)} names to learn from, {held_out} held out, {len(model.parameters())} parameters")

    losses = train(model, seen, steps)
    held_out_loss = sum(model.loss(encode(name)).data for name in unseen) / held_out
    print(f"gpt: loss {held_out_loss:.3f} on the names held out; guessing would have {log(N_TOKENS):.3f}")

    made_up = [model.sample(rng) for _ in range(samples)]
    new = [name for name in made_up if name not in known]
    print(f"gpt: {', '.join(made_up)} ({len(new)} of them are in no census)")
    names_file = out_dir / "gpt-names.txt"
    names_file.write_text("".join(f"{name}\n" for name in made_up), encoding="utf-8")
    files = [names_file, draw_losses(losses, out_dir)]
    return {"losses": losses, "held_out_loss": held_out_loss, "names": made_up, "files": files}


def census_names():
    """Return the first names of the census, women's and men's, in small letters and in alphabetical order."""
    files = [Path(path) for kind, path in census.FILES.items() if kind.startswith("first:")]
    lines = [line for file in files for line in file.read_text(encoding="ascii").splitlines()]
    return sorted({line.split()[0].lower() for line in lines})  # a line: NAME, how frequent, cumulative, rank


def train(model, names, steps):
    """Train `model` on one name a step, over and over if they are few; return the losses."""
    optimizer = Adam(model.parameters(), steps)
    losses = []
    for k in (bar := tqdm(range(steps), desc="gpt", unit="name")):
        loss = model.loss(encode(names[k % len(names)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.data)
        bar.set_postfix(loss=f"{loss.data:.3f}", refresh=False)
    return losses


def draw_losses(losses, out_dir):
    """Plot the loss of every name, and the mean of WINDOW of them; return the file."""
    figure = Figure(figsize=(6, 4))
    ax = figure.add_subplot(title="gpt: the loss", xlabel="step", ylabel="cross-entropy, nats a letter")
    ax.plot(losses, linewidth=0.5, alpha=0.5, label="one name")
    means = [sum(losses[k - WINDOW : k]) / WINDOW for k in range(WINDOW, len(losses) + 1)]
    ax.plot(range(WINDOW - 1, len(losses)), means, label=f"mean of {WINDOW} names")
    ax.axhline(log(N_TOKENS), color="gray", linestyle=":", label="guessing")
    ax.legend(loc="lower left")
    path = out_dir / "gpt-loss.png"
    figure.savefig(path, dpi=120)
    return path
