"""The three demos, with settings that take seconds: their numbers, and the files they leave."""

import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

import pygrad
import pygrad.reference
from pygrad import demos, viz

for package in ("numpy", "matplotlib", "sklearn", "tqdm", "graphviz", "safetensors", "micrograd"):
    pytest.importorskip(package)

PNG = b"\x89PNG\r\n"


def test_moons_prints_the_losses_of_micrograds_notebook(tmp_path, capsys):
    """Seeds, model, loss and learning rates are the notebook's, and so are the first losses; both pictures exist."""
    if viz.dot_program() is None:
        pytest.skip("needs Graphviz's dot, or graphviz-pure")

    results = demos.run("moons", tmp_path, quick=True)

    published = [0.8958441028683222, 1.7235905336972022, 0.7429006313851131, 0.7705641260584201, 0.3692793385976538]
    assert pytest.approx(published, rel=1e-9) == results["losses"]
    assert [0.5, 0.81, 0.77, 0.82, 0.84] == results["accuracies"]
    boundary, neuron = results["files"]
    assert boundary.read_bytes().startswith(PNG)
    assert "{http://www.w3.org/2000/svg}svg" == xml.etree.ElementTree.parse(neuron).getroot().tag
    assert [2, 2] == [neuron.read_text().count(f">{op}</text>") for op in "*+"]  # the fused node is opened up
    assert f"step 0 loss {results['losses'][0]}, accuracy 50.0%" in capsys.readouterr().out


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


def test_digits_accuracy_counts_what_is_read_right(monkeypatch):
    """Three right of four are 75 %."""
    from pygrad.demos import digits

    monkeypatch.setattr(digits, "predict", lambda model, x: x)

    assert 0.75 == digits.evaluate(None, [1, 2, 3, 4], [1, 2, 3, 9])


def test_race_times_three_engines_and_saves_its_table(tmp_path, capsys):
    """Each engine has a time, and the table that is printed is the one in the file."""
    results = demos.run("race", tmp_path, quick=True)

    assert ["pygrad", "pygrad.reference", "micrograd"] == list(results["seconds"])
    assert min(results["seconds"].values()) > 0
    text = results["files"][0].read_text()
    assert text in capsys.readouterr().out
    assert ["pygrad", "pygrad.reference", "micrograd"] == [line.split()[0] for line in text.splitlines()[-3:]]


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


def test_command_names_the_folder_of_the_results(tmp_path):
    """`pygrad demo` prints where its files are, and puts them there."""
    env = {**os.environ, "PYTHONPATH": str(Path(pygrad.__file__).resolve().parents[1])}
    args = [sys.executable, "-m", "pygrad", "demo", "race", "--quick", "--out", "results"]

    done = subprocess.run(args, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    assert 0 == done.returncode, done.stderr
    assert f"Results are in {tmp_path / 'results'}\n" in done.stdout
    assert (tmp_path / "results" / "race.txt").exists()
