"""pygrad in micrograd's place: what `import` gives, whose files are found, and what Python itself can run."""

import json
import sys
from importlib.machinery import PathFinder

import pytest
from test_cli import PACKAGE_PARENT, command, python, write

pytestmark = [pytest.mark.once, pytest.mark.python, pytest.mark.wheel]


def output(done):
    """Return what a process has printed; it must have ended well."""
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# --- import * ---------------------------------------------------------------------------------------------------------

STARS = """
import json
found = {}
for module in ("micrograd.engine", "micrograd.nn", "micrograd"):
    names = {}
    exec(f"from {module} import *", names)
    found[module] = sorted(set(names) - {"__builtins__"})
from micrograd.engine import *
print(json.dumps(found), sum([True, False]) / 4)
"""


def test_stars_give_what_micrograds_give(tmp_path):
    """No star replaces a builtin: `sum` stays Python's."""
    script = write(tmp_path, STARS)

    found = output(command("run", script, cwd=tmp_path))

    expected = {
        "micrograd.engine": ["Value"],
        "micrograd.nn": ["Layer", "MLP", "Module", "Neuron", "Value", "random"],
        "micrograd": ["engine", "nn"],
    }
    assert f"{json.dumps(expected)} 0.25\n" == found
    if PathFinder.find_spec("micrograd"):
        assert output(python(script, cwd=tmp_path)) == found


def test_pygrads_own_stars_are_as_before(tmp_path):
    """Also after micrograd's place is taken."""
    text = """
import pygrad
names, after = {}, {}
exec("from pygrad.engine import *", names)
pygrad.install_as_micrograd()
exec("from pygrad.engine import *\\nfrom micrograd.nn import *", after)
print({"sum", "dot", "Value"} < set(names), set(after) - set(names) == {"random", "Module", "Neuron", "Layer", "MLP"})
"""
    assert "True True\n" == output(python(write(tmp_path, text), cwd=tmp_path))


# --- submodules -------------------------------------------------------------------------------------------------------


def test_submodules_are_pygrads_same_objects(tmp_path):
    """Under a second name, and loaded once; what pygrad does not have is not found."""
    text = """
import sys
import pygrad
own = pygrad.optim, pygrad.engine.portable if "pygrad.engine.portable" in sys.modules else None
import micrograd.optim
import micrograd.functional as functional
from micrograd import viz
from micrograd.tape import compiled
import micrograd.tape.training
import micrograd.engine.modes
import importlib
print(micrograd.optim is pygrad.optim is own[0] is sys.modules["micrograd.optim"], pygrad.optim.__spec__.name)
print(functional is pygrad.functional, viz is pygrad.viz, compiled is sys.modules["pygrad.tape.compiled"])
print(sys.modules["micrograd.tape.training"] is sys.modules["pygrad.tape.training"])
print(sys.modules["micrograd.engine.modes"] is sys.modules["pygrad.engine.modes"])
print(issubclass(micrograd.optim.SGD, pygrad.optim.SGD), micrograd.__version__ == pygrad.__version__)
for name in ("micrograd.nothing", "micrograd.tape.nothing", "micrograd.__main__", "micrograd.optim.nothing"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name == name)
try:
    from micrograd import nothing
except ImportError as error:
    print("cannot import name 'nothing'" in str(error))
"""
    found = output(command("run", write(tmp_path, text), cwd=tmp_path))

    assert ["True pygrad.optim", "True True True", "True", "True", "True True", *["True"] * 5] == found.splitlines()


USERS = {
    "micrograd/__init__.py": "raise SystemExit('the real micrograd')",
    "micrograd/engine.py": "raise SystemExit('the real micrograd')",
    "micrograd/graph.py": "from .engine import Value\nfrom micrograd import nn\nx = Value.__module__ + nn.__name__",
    "micrograd/optim.py": "x = 'mine'",
    "micrograd/trace.py": "x = 'mine'",
    "micrograd/more/__init__.py": "from . import deep",
    "micrograd/more/deep.py": "from ..graph import x",
}


@pytest.mark.parametrize("package", [True, False], ids=["package", "folder"])
def test_files_of_the_users_micrograd_win(tmp_path, package):
    """Also where pygrad has a module of that name, which stays as it is; engine and nn are pygrad's."""
    for name, text in USERS.items():
        if package or name != "micrograd/__init__.py":
            write(tmp_path, text, name)
    text = """
from micrograd import graph, trace
import micrograd.optim as optim
import micrograd.more
import pygrad
print(graph.x, optim.x, trace.x, micrograd.more.deep.x, micrograd.optim is optim)
print(pygrad.optim.__name__, pygrad.optim.SGD.__name__, hasattr(pygrad, "graph"), pygrad.trace.__name__)
from micrograd.functional import softmax
print(softmax.__module__, micrograd.graph is graph)
"""
    found = output(command("run", write(tmp_path, text), cwd=tmp_path))

    assert [
        "pygrad.enginepygrad.nn mine mine pygrad.enginepygrad.nn True",
        "pygrad.optim SGD False pygrad.tape.record",
        "pygrad.functional True",
    ] == found.splitlines()


def test_what_a_program_sets_in_a_module_holds(tmp_path):
    """A Layer uses the Neuron that was set in micrograd.nn; mock.patch and reload leave things as they were."""
    text = """
import importlib
from unittest import mock
import micrograd.nn as nn
import micrograd.engine
import pygrad
neuron = nn.Neuron

class Mine(nn.Neuron):
    pass

nn.Neuron = Mine
print(type(nn.Layer(2, 2).neurons[0]) is Mine is pygrad.nn.Neuron)
nn.Neuron = neuron
with mock.patch("micrograd.nn.random", None):
    print(pygrad.nn.random)
nn.mine = 1
print(pygrad.nn.mine)
del nn.mine
print(hasattr(pygrad.nn, "mine"), pygrad.nn.random is nn.random, neuron is pygrad.nn.Neuron)
before = dict(vars(pygrad.nn)), dict(vars(pygrad.engine))
for module in (nn, micrograd.engine, micrograd):
    print(importlib.reload(module) is module)
print(before == (vars(pygrad.nn), vars(pygrad.engine)), micrograd.engine.Value is pygrad.Value)
print("MLP" in dir(nn), "Value" in vars(micrograd.engine), "optim" in dir(micrograd))
import micrograd.optim, micrograd.engine.sweeps
print(micrograd.optim is pygrad.optim, micrograd.engine.sweeps is pygrad.engine.sweeps)
"""
    found = output(command("run", write(tmp_path, text), cwd=tmp_path))

    expected = ["True", "None", "1", "False True True", *["True"] * 3, "True True", "True True True", "True True"]
    assert expected == found.splitlines()


# --- as Python itself: -m, -c, - --------------------------------------------------------------------------------------

PORTRAIT = """
import json, sys
main = sys.modules["__main__"]
spec = main.__spec__ and main.__spec__.name
print(json.dumps([sys.argv, sys.path, __name__, getattr(main, "__file__", None), __package__, spec]))
"""


@pytest.mark.parametrize("words", [["-m", "sub.tool"], ["-msub"], ["-c", PORTRAIT], ["-c" + PORTRAIT], ["-"]], ids=str)
def test_other_programs_see_what_python_would_show_them(tmp_path, words):
    """argv, sys.path, names and files; all that follows the program is its own."""
    for name in ("sub/__init__.py", "sub/tool.py", "sub/__main__.py"):
        write(tmp_path, "" if "init" in name else PORTRAIT, name)
    words = [*words, "-x", "--fused", "--", "-m", "name"]

    expected = python(*words, cwd=tmp_path, stdin=PORTRAIT)
    found = command("run", *words, cwd=tmp_path, stdin=PORTRAIT)

    assert json.loads(output(expected)) == json.loads(output(found))


ENDINGS = {
    "an exception in a module": ["-m", "failing"],
    "no such module": ["-m", "nothing"],
    "a package without __main__": ["-m", "empty"],
    "code that exits": ["-c", "import sys; sys.exit(3)"],
    "code with a wrong syntax": ["-c", "x = = 1"],
    "an exception in code": ["-c", "1 / 0"],
}


@pytest.mark.parametrize("how", ENDINGS)
def test_other_programs_end_as_under_python(tmp_path, how):
    """Exit code, output and traceback."""
    write(tmp_path, "def f():\n    1 / 0\n\n\nprint(1)\nf()", "failing.py")
    write(tmp_path, "", "empty/__init__.py")

    expected, found = python(*ENDINGS[how], cwd=tmp_path), command("run", *ENDINGS[how], cwd=tmp_path)

    assert (expected.returncode, expected.stdout) == (found.returncode, found.stdout)
    if sys.version_info < (3, 13) or "-c" not in ENDINGS[how]:  # later ones show the line of the code, too
        assert expected.stderr == found.stderr
    assert expected.stderr.splitlines()[-1:] == found.stderr.splitlines()[-1:]


@pytest.mark.parametrize("words", [["-m"], ["-c"], ["--fused"], ["-x", "script.py"]], ids=str)
def test_words_that_are_no_program_are_exit_2(tmp_path, words):
    """One line says what is missing, or argparse does."""
    done = command("run", *words, cwd=tmp_path)

    assert (2, "") == (done.returncode, done.stdout)
    assert "argument expected for" in done.stderr or "usage: pygrad" in done.stderr


# --- tests, and processes that a program starts -----------------------------------------------------------------------

TEST = """
import micrograd.engine
from micrograd.nn import MLP

def test_one():
    assert micrograd.engine.Value.__module__ == "pygrad.engine"

def test_two():
    assert MLP.__module__ == "pygrad.nn"
"""


@pytest.mark.parametrize("more", [[], ["-n", "2"]], ids=["one process", "two processes"])
def test_pytest_runs_the_tests_of_a_micrograd(tmp_path, more):
    """In a checkout of micrograd, where the tests' parent folder holds the real one; in workers of pytest-xdist too."""
    if more:
        pytest.importorskip("xdist")
    write(tmp_path, "raise ImportError('the real micrograd')", "micrograd/__init__.py")
    write(tmp_path, "raise ImportError('the real micrograd')", "micrograd/engine.py")
    write(tmp_path, "", "test/__init__.py")
    write(tmp_path, TEST, "test/test_engine.py")

    done = command("run", "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, cwd=tmp_path)

    assert 0 == done.returncode, done.stdout
    assert "2 passed" in done.stdout


WORKERS = """
import multiprocessing, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
sys.path.insert(0, "elsewhere")  # of a micrograd that gives way there, too
from micrograd.engine import Value
from micrograd.nn import Neuron
from micrograd import graph

def look():
    return Value.__module__, Neuron(2, nonlin=False)([1.0, 2.0])._op, graph.x

def looks():
    return {look()}

def elsewhere(first, *others):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(first)) as pool:
        return {look()} | pool.submit(elsewhere if others else looks, *others).result()

if __name__ == "__main__":
    found = elsewhere("spawn", "spawn") | elsewhere("forkserver", "spawn")
    code = "import sys; sys.path.insert(0, ''); from workers import look; print(*look())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    print(*map(" ".join, found), done.stdout.strip(), done.stderr, sep="|")
"""


@pytest.mark.parametrize("program, fused", [(["workers.py"], False), (["-m", "workers"], True)], ids=str)
def test_processes_that_a_program_starts_are_as_it_is(tmp_path, program, fused):
    """By whatever way, and those that they start: on pygrad, with networks fused or not, and with the user's files."""
    write(tmp_path, WORKERS, "workers.py")
    for folder in ("", "elsewhere/"):
        write(tmp_path, "raise ImportError('the real micrograd')", folder + "micrograd/__init__.py")
        write(tmp_path, "x = 'mine'", folder + "micrograd/graph.py")

    found = output(command("run", *["--fused"] * fused, *program, cwd=tmp_path))

    look = f"pygrad.engine {'dot' if fused else '+'} mine"
    assert f"{look}|{look}|\n" == found


def test_processes_that_a_program_starts_have_their_own_path(tmp_path):
    """What pygrad puts in front of it is gone, a sitecustomize of the user's is imported, and pygrad only on demand."""
    write(tmp_path, "import sys; sys.mine = 1", "site/sitecustomize.py")
    text = """
import subprocess, sys
code = "import sys; print(sys.path, sys.mine, 'pygrad' in sys.modules)"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True))
"""
    script, path = write(tmp_path, text), str(tmp_path / "site")

    expected = output(python(script, cwd=tmp_path, path=path))

    assert "1 False" in expected
    assert expected == output(command("run", script, cwd=tmp_path, path=path))


def test_networks_are_micrograds_graphs_unless_they_are_to_be_fused(tmp_path):
    """Under `run`, and after install_as_micrograd(); the last call of it decides."""
    text = """
import pygrad
from pygrad import Neuron
ops = [Neuron(2, nonlin=False)([1.0, 2.0])._op]
for options in ({}, {"fused": True}, {"fused": False}):
    pygrad.install_as_micrograd(**options)
    ops.append(Neuron(2, nonlin=False)([1.0, 2.0])._op)
try:
    pygrad.install_as_micrograd(fused=None)
except TypeError as error:
    print(error)
print(*ops)
"""
    script = write(tmp_path, text)

    assert ["dot + dot +"] == output(python(script, cwd=tmp_path)).splitlines()[1:]
    assert ["+ + dot +"] == output(command("run", script, cwd=tmp_path)).splitlines()[1:]
    assert ["dot + dot +"] == output(command("run", "--fused", script, cwd=tmp_path)).splitlines()[1:]


def test_processes_that_would_not_find_pygrad_are_told_of(tmp_path):
    """Python's -E makes them ignore the environment."""
    code = f"import sys; sys.path.append({PACKAGE_PARENT!r}); from pygrad.cli import main; main(['run', '-c', ''])"

    assert "with -E or -I, micrograd is not pygrad in processes" in python("-E", "-c", code, cwd=tmp_path).stderr
