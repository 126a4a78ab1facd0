"""The demos, with settings that take seconds: their numbers, and the files they leave."""

import importlib
import itertools
import math
import os
import random
import subprocess
import sys
import warnings
import xml.etree.ElementTree
from pathlib import Path

import pytest

import pygrad
import pygrad.reference
from pygrad import demos, optim, viz
from pygrad.demos.gpt_model import BOUNDARY, GPT, Adam, decode, encode, softmax
from pygrad.functional import largest
from pygrad.lr_scheduler import LinearLR

for package in ("numpy", "matplotlib", "sklearn", "tqdm", "graphviz", "safetensors", "names", "micrograd", "scipy"):
    pytest.importorskip(package)
import numpy as np  # noqa: E402 - skipped without it

pytestmark = [pytest.mark.python, pytest.mark.wheel]

PNG = b"\x89PNG\r\n"


def test_moons_prints_the_losses_of_micrograds_notebook(tmp_path, capsys):
    """Seeds, model, loss and learning rates are the notebook's, and so are the first losses; both pictures exist."""
    if viz.dot_program() is None:
        pytest.skip("needs Graphviz's dot, or graphviz-pure")

    results = demos.run("moons", tmp_path, quick=True)

    published = [0.8958441028683222, 1.7235905336972022, 0.7429006313851131, 0.7705641260584201, 0.3692793385976538]
    assert pytest.approx(published, rel=1e-9) == results["losses"]
    assert pytest.approx(published, rel=1e-9) == results["compiled_losses"]
    assert [0.5, 0.81, 0.77, 0.82, 0.84] == results["accuracies"]
    boundary, neuron = results["files"]
    assert boundary.read_bytes().startswith(PNG)
    assert "{http://www.w3.org/2000/svg}svg" == xml.etree.ElementTree.parse(neuron).getroot().tag
    assert [2, 2] == [neuron.read_text().count(f">{op}</text>") for op in "*+"]  # the fused node is opened up
    assert f"step 0 loss {results['losses'][0]}, accuracy 50.0%" in capsys.readouterr().out


def test_moons_compiled_has_the_losses_of_the_loop(tmp_path):
    """All hundred steps: `fit` and the loop have the same losses to the last step, where all samples are told apart."""
    from pygrad.demos import moons

    results = moons.run(tmp_path, grid=1.0)

    assert 100 == len(results["losses"])
    assert pytest.approx(results["losses"], rel=1e-10) == results["compiled_losses"]
    assert 1.0 == results["accuracies"][-1]


def test_digits_learns_and_reads_its_model_back(tmp_path):
    """On a few images the loss falls, the saved model is as good as the trained one, and the files are there."""
    results = demos.run("digits", tmp_path, quick=True)

    losses = results["losses"]
    assert 12 == len(losses)  # two epochs of 96 images, 16 at a time
    assert 0.8 * sum(losses[:6]) > sum(losses[6:])
    assert results["accuracy"] == results["reloaded_accuracy"]
    model, predictions, curve = results["files"]
    assert [PNG, PNG] == [path.read_bytes()[: len(PNG)] for path in (predictions, curve)]
    assert tmp_path / "digits-model.safetensors" == model


def test_digits_compiled_training_is_that_of_the_loop(capfd):
    """The loop in Python and `fit` take the same batches, rates and steps: losses agree in each epoch they share."""
    from pygrad.demos import digits

    rng = random.Random(1)
    X, y = [[rng.random() for _ in range(64)] for _ in range(50)], [k % 10 for k in range(50)]
    model, twin = digits.new_model(3), digits.new_model(3)

    losses = digits.train(model, X, y, digits.falling_rate(8), 2, seed=5)

    expected = digits.train_one_epoch(twin, X, y, digits.falling_rate(8), seed=5)
    assert 8 == len(losses)
    assert pytest.approx(expected, rel=1e-11) == losses[:4]
    assert "8/8" in capfd.readouterr().err  # the progress that is shown


def test_digits_accuracy_counts_what_is_read_right(monkeypatch):
    """Three right of four are 75 %."""
    from pygrad.demos import digits

    monkeypatch.setattr(digits, "predict", lambda model, x: x)

    assert 0.75 == digits.evaluate(None, [1, 2, 3, 4], [1, 2, 3, 9])


# --- gpt --------------------------------------------------------------------------------------------------------------


def small_gpt(Value=pygrad.Value, **sizes):
    """Return a GPT that is quick to run, whose weights are large enough for every part to matter."""
    model = GPT(Value, **{"n_embd": 6, "n_head": 2, "n_layer": 2, "block_size": 5, **sizes})
    for p in model.parameters():
        p.data *= 5.0
    return model


def numbers(matrix):
    return np.array([[w.data for w in row] for row in matrix])


def scores_by_matrices(model, tokens):
    """Return the scores (len(tokens), 27) of `model` as NumPy has them: all places at once, the future masked out."""

    def norm(x):
        return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)

    future = np.triu(np.full((len(tokens), len(tokens)), -np.inf), k=1)
    x = numbers(model.letters)[tokens] + numbers(model.places)[: len(tokens)]
    for layer in model.layers:
        q, k, v = (norm(x) @ numbers(m).T for m in (layer.query, layer.key, layer.value))
        found = []
        for head in (slice(0, 3), slice(3, 6)):
            weights = np.exp(q[:, head] @ k[:, head].T / np.sqrt(3) + future)
            found.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, head])
        x = x + np.hstack(found) @ numbers(layer.merge).T
        x = x + np.maximum(norm(x) @ numbers(layer.widen).T, 0.0) @ numbers(layer.narrow).T
    return norm(x) @ numbers(model.output).T


def test_gpt_learns_and_leaves_its_names(tmp_path):
    """It begins by guessing, and gets better at names held out; the names and the curve are in the files."""
    results = demos.run("gpt", tmp_path, quick=True)

    assert 8 == len(results["losses"])
    assert pytest.approx(math.log(27), abs=0.3) == results["losses"][0]
    assert 0.95 * math.log(27) > results["held_out_loss"]
    names, curve = results["files"]
    assert [*results["names"], ""] == names.read_text().split("\n")
    assert 3 == len(results["names"])
    assert curve.read_bytes().startswith(PNG)


def test_gpt_makes_the_same_names_again(tmp_path):
    """The seed decides: two runs of a step agree to the last bit, another seed gives other losses."""
    from pygrad.demos import gpt

    short = {"steps": 1, "samples": 1, "held_out": 1}
    first, second, other = (gpt.run(tmp_path, **short, seed=seed) for seed in (1, 1, 2))

    assert first == second
    assert first["losses"] != other["losses"]


def test_gpt_names_are_the_census():
    """5,163 different first names, women's and men's, in order and in small letters."""
    from pygrad.demos import gpt

    names = gpt.census_names()

    assert 5163 == len(names) == len(set(names))
    assert sorted(names) == names
    assert {"mary", "james", "christopher"} <= set(names)
    assert names == [decode(encode(name)[1:-1]) for name in names]


def test_gpt_batches_are_names_of_one_length():
    """Each name comes once an epoch, at most 32 at a time; the next epoch has them in other batches."""
    from pygrad.demos import gpt

    names = gpt.census_names()[:500]
    expected = sum(-(-sum(len(name) == k for name in names) // 32) for k in range(12))  # batches of an epoch

    endless = gpt.endless_batches(names, random.Random(1))
    first, second = ([next(endless) for _ in range(expected)] for _ in range(2))

    assert names == sorted(sum(first, [])) == sorted(sum(second, []))
    assert {1} == {len(set(map(len, batch))) for batch in first}
    assert 32 == max(map(len, first))
    assert first != second


def compilable(**sizes):
    return small_gpt(take=pygrad.take, largest=largest, **sizes)


def test_gpt_compiled_is_the_eager_one():
    """Recorded once for each length, without a warning, it has the losses of the plain model on names in batches."""
    from pygrad.demos import gpt

    plain, model, names = small_gpt(), compilable(), ["anna", "al", "bob", "cleo", "zoe", "mary"]
    loss = pygrad.compile(model.loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = [loss([encode(name)]) for name in names]
        mean = gpt.mean_loss(loss, names)

    expected = [plain.loss(encode(name)).data for name in names]
    assert expected == losses
    assert pytest.approx(sum(expected) / 6, rel=1e-13) == mean
    assert 3 == len(loss._tapes)


def test_gpt_compiled_has_the_eager_gradients():
    """Recorded with one name and run backward on others, its gradients are those of the plain model's mean loss."""
    plain, model, names = small_gpt(), compilable(), ["anna", "cleo", "mary"]
    loss = pygrad.compile(model.loss)
    loss([encode("bobo")])
    for name in names:
        (plain.loss(encode(name)) / 3).backward()

    loss.backward(list(map(encode, names)))

    expected = [p.grad for p in plain.parameters()]
    assert pytest.approx(expected, rel=1e-11, abs=1e-13) == [p.grad for p in model.parameters()]


def test_gpt_training_is_that_of_its_own_adam():
    """The steps of the demo, compiled and by pygrad.optim, end where eager ones by the model's own Adam do."""
    from pygrad.demos import gpt

    names = ["anna", "al", "bob", "cleo", "zoe", "mary"] * 6
    model, plain = compilable(), small_gpt()
    losses = gpt.train(model, pygrad.compile(model.loss), names, 4, random.Random(1))
    optimizer, expected = Adam(plain.parameters(), steps=4), []
    for batch in itertools.islice(gpt.endless_batches(names, random.Random(1)), 4):
        loss = sum(plain.loss(encode(name)) for name in batch) / len(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.data)

    assert pytest.approx(expected, rel=1e-9) == losses
    assert pytest.approx([p.data for p in plain.parameters()], rel=1e-6) == [p.data for p in model.parameters()]


def test_gpt_scores_are_those_of_matrices():
    """Letter by letter, with remembered keys and values, it computes what masked matrices do; its loss follows."""
    model, tokens = small_gpt(), encode("anna")

    memory = model.new_memory()
    scores = [[score.data for score in model.read(token, memory)] for token in tokens[:-1]]

    expected = scores_by_matrices(model, tokens[:-1])
    np.testing.assert_allclose(expected, scores, rtol=1e-10)
    chances = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    loss = -np.log(chances[np.arange(5), tokens[1:]]).mean()
    assert pytest.approx(loss, rel=1e-10) == model.loss(tokens).data


def test_gpt_gradients_are_the_slopes_of_its_loss():
    """In every matrix, for the weight that matters most: central differences agree with backward()."""
    model, tokens = small_gpt(), encode("anna")
    model.loss(tokens).backward()

    layer = model.layers[0]
    for matrix in (model.letters, model.places, model.output, *layer.matrices()):
        p = max((weight for row in matrix for weight in row), key=lambda weight: abs(weight.grad))
        data, h = p.data, 1e-5
        p.data = data + h
        above = model.loss(tokens).data
        p.data = data - h
        below = model.loss(tokens).data
        p.data = data
        assert pytest.approx((above - below) / (2 * h), rel=1e-6) == p.grad


def test_gpt_runs_on_the_value_it_is_given(Value):
    """Each engine's Values go in and come out, with the weights and the loss of the others."""
    model = small_gpt(Value)

    loss = model.loss(encode("al"))

    assert {Value} == set(map(type, [loss, *model.parameters()]))
    assert pytest.approx(small_gpt().loss(encode("al")).data, rel=1e-12) == loss.data


def test_gpt_parameters_are_all_its_weights():
    """Two tables of letters, one of places, and in each layer four square matrices and two of four times the size."""
    parameters = small_gpt().parameters()

    assert 2 * 27 * 6 + 5 * 6 + 2 * (4 * 6 * 6 + 2 * 24 * 6) == len(parameters) == len(set(parameters))


def test_gpt_step_has_the_nodes_that_are_claimed():
    """Below the loss of seven letters stand 61,889 operations: the figure of the demo and of the benchmarks."""
    reached, stack = set(), [GPT(pygrad.Value).loss(encode("michael"))]
    while stack:
        v = stack.pop()
        if v not in reached and v._op:
            reached.add(v)
            stack.extend(v._prev)

    assert 61_889 == len(reached)


def test_gpt_reads_no_further_than_its_block():
    """The token after the last place is an error that names the size, and nothing is remembered of it."""
    model = small_gpt(block_size=2)
    memory = model.new_memory()
    model.read(BOUNDARY, memory)
    model.read(1, memory)

    with pytest.raises(ValueError, match="block_size = 2"):
        model.read(2, memory)

    assert [2, 2] == [len(remembered) for remembered in memory]


def test_gpt_refuses_what_it_cannot_use():
    """Characters other than a to z, and heads that cannot share the numbers of a letter."""
    with pytest.raises(ValueError, match="'Anna' has characters other than a to z"):
        encode("Anna")
    with pytest.raises(ValueError, match="n_head = 4"):
        GPT(pygrad.Value, n_embd=6, n_head=4)


class Speller(GPT):
    """A GPT that has learned one name by heart: only the order of the scores is its own."""

    name = "bob"

    def read(self, token, memory):
        memory[0].append(token)
        wanted = (encode(self.name) + [1] * 9)[len(memory[0])]
        return [pygrad.Value(1.0 if token == wanted else 0.0) for token in range(27)]


def test_gpt_samples_until_the_boundary_or_the_end_of_its_block():
    """At a low temperature it takes the likeliest token each time; a boundary ends the name, and so does the block."""
    long = Speller(pygrad.Value, block_size=4)
    long.name = "charlotte"

    assert "bob" == Speller(pygrad.Value).sample(random.Random(1), temperature=0.01)
    assert "char" == long.sample(random.Random(1), temperature=0.01)


def test_gpt_temperature_divides_the_scores():
    """At temperature 1/log(30) a score one above the 25 others has 30 chances of 55: no boundary comes first."""
    model, rng = Speller(pygrad.Value, block_size=1), random.Random(1)

    drawn = [model.sample(rng, temperature=1 / math.log(30)) for _ in range(1000)]

    assert pytest.approx(30 / 55, abs=0.05) == drawn.count("b") / 1000
    assert "" not in drawn


def test_gpt_softmax_takes_large_scores():
    """exp(1000) would overflow; what counts is the differences."""
    chances = softmax([pygrad.Value(1000.0 + math.log(k)) for k in (1, 3, 4)])

    assert pytest.approx([0.125, 0.375, 0.5], rel=1e-12) == [chance.data for chance in chances]


def test_gpt_adam_is_that_of_optim():
    """Written out over lists of floats it takes the steps of pygrad.optim.Adam under LinearLR, and ends at rate 0."""
    ours, theirs = ([pygrad.Value(1.0), pygrad.Value(-2.0)] for _ in range(2))
    written_out = Adam(ours, steps=4, lr=0.1)
    packaged = optim.Adam(theirs, lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    schedule = LinearLR(packaged, start_factor=1, end_factor=0, total_iters=4)

    for k in range(6):
        for optimizer, parameters in ((written_out, ours), (packaged, theirs)):
            optimizer.zero_grad()
            (parameters[0] * (k - 1.5) + parameters[1] ** 2 * 0.3).backward()
            optimizer.step()
        schedule.step()
        assert pytest.approx([p.data for p in theirs], rel=1e-12) == [p.data for p in ours]


def test_gpt_model_needs_no_other_package(tmp_path):
    """The benchmarks use the model where the demo's packages are not installed."""
    text = "import sys, pygrad.demos.gpt_model; print({'names', 'numpy', 'matplotlib', 'tqdm'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(Path(pygrad.__file__).resolve().parents[1])}
    args = [sys.executable, "-c", text]

    done = subprocess.run(args, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

    assert ("set()\n", "") == (done.stdout, done.stderr)


# --- race -------------------------------------------------------------------------------------------------------------


RACERS = ["pygrad", "pygrad, compiled", "pygrad.reference", "micrograd"]


def test_race_times_three_engines_and_saves_its_table(tmp_path, capsys):
    """Each engine has a time, pygrad compiled one too, and the table that is printed is the one in the file."""
    results = demos.run("race", tmp_path, quick=True)

    assert RACERS == list(results["seconds"])
    assert min(results["seconds"].values()) > 0
    text = results["files"][0].read_text()
    assert text in capsys.readouterr().out
    assert RACERS == [line[:18].strip() for line in text.splitlines()[-4:]]


def test_race_runs_on_the_engines_it_names():
    """The network for the reference holds and gives the reference's Values, with the weights of the others."""
    from pygrad.demos import race

    model, ours = race.on_reference(race.seeded(race.MLP)), race.seeded(race.MLP)

    x = [pygrad.reference.Value(1.0), pygrad.reference.Value(2.0)]
    assert pygrad.reference.Value is type(model(x))
    assert [p.data for p in ours.parameters()] == [p.data for p in model.parameters()]
    assert "micrograd.engine" == race.MicrogradValue.__module__


def test_race_refuses_a_wrong_answer():
    """Losses that differ by more than 1e-9 stop the race; the last bits may differ."""
    from pygrad.demos import race

    race.check({"pygrad": 0.5 + 1e-12, "micrograd": 0.5})

    with pytest.raises(RuntimeError, match="disagree"):
        race.check({"pygrad": 0.5 + 1e-8, "micrograd": 0.5})


# --- worked examples --------------------------------------------------------------------------------------------------


def test_rosenbrock_ends_in_the_valley(tmp_path, capsys):
    """Both methods end at 1, Newton's in fewer iterations; what is printed is what is saved."""
    results = demos.run("rosenbrock", tmp_path, quick=True)

    assert max(results["errors"].values()) < 1e-5
    assert results["iterations"]["trust-exact"] < results["iterations"]["BFGS"]
    assert results["files"][0].read_text() in capsys.readouterr().out


def test_pendulum_has_the_formulas_torques(tmp_path):
    """The linear pendulum's torques are the matrix solution's; the true one does better with its own."""
    from pygrad.demos import pendulum

    results = demos.run("pendulum", tmp_path, quick=True)

    assert 1e-5 > results["error"]
    by_linear = pendulum.cost(pendulum.linear_torques(10), math.sin)
    assert pytest.approx(pendulum.cost(results["torques"], math.sin), rel=1e-9) == results["costs"][1] < by_linear
    linear, dt = pendulum.linear_torques(10), pendulum.SECONDS / 10
    angle, speed = 0.0, 0.0
    for torque in linear:
        speed += dt * (torque - angle)
        angle += dt * speed
    assert pytest.approx([0.5, 0.0], abs=1e-3) == [angle, speed]
    assert 10 == len(results["torques"]) == len(results["files"][0].read_text().splitlines()) - 2


def test_greeks_are_those_of_black_and_scholes(tmp_path):
    """All within five standard errors; the formula's Greeks are the slopes of its own price."""
    from pygrad.demos import greeks

    results = demos.run("greeks", tmp_path, quick=True)

    assert ["price", "delta", "vega", "rho", "-theta"] == list(results["estimates"])
    assert 5 > max(map(abs, results["errors"].values()))
    exact, h = greeks.black_scholes(*greeks.MARKET), 1e-5
    for i in range(4):
        up, down = list(greeks.MARKET), list(greeks.MARKET)
        up[i], down[i] = up[i] + h, down[i] - h
        slope = (greeks.black_scholes(*up)[0] - greeks.black_scholes(*down)[0]) / (2 * h)
        assert pytest.approx(exact[i + 1], rel=1e-6) == slope


def test_orbit_is_found(tmp_path):
    """To rounding from exact positions, within its standard errors from noisy ones; dE/de is the closed form's."""
    results = demos.run("orbit", tmp_path, quick=True)

    assert 1e-9 > results["exact_error"]
    assert 5 > max(map(abs, results["errors"].values()))
    assert 1e-12 > results["slope_error"]


@pytest.mark.parametrize(
    "name, function",
    [("pendulum", "linear_torques"), ("greeks", "black_scholes"), ("orbit", "_slope_error")],
)
def test_worked_examples_refuse_a_wrong_answer(tmp_path, monkeypatch, name, function):
    """A closed form that is 10 % off stops the demo."""
    module = importlib.import_module(f"pygrad.demos.{name}")
    right = getattr(module, function)
    off = {"black_scholes": lambda *a: tuple(1.1 * x for x in right(*a)), "_slope_error": lambda *a: 0.1}
    monkeypatch.setattr(module, function, off.get(function, lambda n: 1.1 * right(n)))

    with pytest.raises(RuntimeError):
        demos.run(name, tmp_path)


def test_command_names_the_folder_of_the_results(tmp_path):
    """`pygrad demo` prints where its files are, and puts them there."""
    env = {**os.environ, "PYTHONPATH": str(Path(pygrad.__file__).resolve().parents[1])}
    args = [sys.executable, "-m", "pygrad", "demo", "race", "--quick", "--out", "results"]

    done = subprocess.run(args, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    assert 0 == done.returncode, done.stderr
    assert f"Results are in {tmp_path / 'results'}\n" in done.stdout
    assert (tmp_path / "results" / "race.txt").exists()
