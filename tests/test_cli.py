"""The `pygrad` command as a user meets it: in processes of its own, compared with `python script.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pygrad

pytestmark = [pytest.mark.once, pytest.mark.python, pytest.mark.wheel]

PACKAGE_PARENT = str(Path(pygrad.__file__).resolve().parents[1])


def python(*args, cwd, stdin="", **env):
    """Run this Python with `args` in the folder `cwd`, with this pygrad on its path."""
    path = os.pathsep.join(filter(None, [env.pop("path", ""), PACKAGE_PARENT]))
    env = {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", **env}
    words = [sys.executable, *args]
    return subprocess.run(words, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=120)


def command(*args, cwd, **env):
    """Run `python -m pygrad` with `args`."""
    return python("-m", "pygrad", *args, cwd=cwd, **env)


def write(folder, text, name="script.py"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return name


# --- pygrad run: micrograd is pygrad ----------------------------------------------------------------------------------

README_EXAMPLE = """
from micrograd.engine import Value

a = Value(-4.0)
b = Value(2.0)
c = a + b
d = a * b + b**3
c += c + 1
c += 1 + c + (-a)
d += d * 2 + (b + a).relu()
d += 3 * d + (b - a).relu()
e = c - d
f = e**2
g = f / 2.0
g += 10.0 / f
print(f'{g.data:.4f}')
g.backward()
print(f'{a.grad:.4f}')
print(f'{b.grad:.4f}')
print(Value.__module__)
"""


def test_micrograds_readme_example_runs_on_pygrad(tmp_path):
    """An unmodified micrograd script prints micrograd's numbers, and its Value is pygrad's."""
    done = command("run", write(tmp_path, README_EXAMPLE), cwd=tmp_path)

    assert ("24.7041\n138.8338\n645.5773\npygrad.engine\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    "imports",
    [
        "import micrograd; found = micrograd.nn.MLP",
        "import micrograd.nn; found = micrograd.nn.MLP",
        "import micrograd.nn as nn; found = nn.MLP",
        "from micrograd import nn; found = nn.MLP",
        "from micrograd.nn import Neuron, Layer, MLP, Module; found = MLP",
    ],
)
def test_every_form_of_import_finds_pygrad(tmp_path, imports):
    """Whichever way a script imports micrograd, it gets the very classes of pygrad."""
    text = f"{imports}\nimport sys\nprint(found is sys.modules['pygrad.nn'].MLP)"

    assert "True\n" == command("run", write(tmp_path, text), cwd=tmp_path).stdout


def test_micrograd_beside_the_script_gives_way_too(tmp_path):
    """In a checkout of micrograd its own package is next to the script, and pygrad still takes its place."""
    write(tmp_path, "raise SystemExit('the real micrograd')", "micrograd/__init__.py")
    done = command("run", write(tmp_path, "import micrograd; print(micrograd.__name__)"), cwd=tmp_path)

    assert ("pygrad\n", "") == (done.stdout, done.stderr)


def test_installing_twice_is_harmless(tmp_path):
    """The second call finds what the first has done."""
    text = """
import pygrad.compat, sys
pygrad.compat.install_as_micrograd()
pygrad.compat.install_as_micrograd()
from micrograd.engine import Value
print(Value.__module__)
"""
    assert "pygrad.engine\n" == python(write(tmp_path, text), cwd=tmp_path).stdout


@pytest.mark.parametrize("imported", ["micrograd", "micrograd.engine"])
def test_installing_after_the_real_micrograd_is_an_error(tmp_path, imported):
    """A program must not run on two engines: the error says to call first, and nothing has changed."""
    write(tmp_path, "", "micrograd/__init__.py")
    write(tmp_path, "", "micrograd/engine.py")
    text = f"""
import {imported}, sys, pygrad.compat
before = {{name: module for name, module in sys.modules.items() if name.startswith("micrograd")}}
try:
    pygrad.compat.install_as_micrograd()
except RuntimeError as error:
    print(error)
print(before == {{name: module for name, module in sys.modules.items() if name.startswith("micrograd")}})
"""
    done = python(write(tmp_path, text), cwd=tmp_path)

    assert (
        "micrograd is imported already: call pygrad.install_as_micrograd() before its first import\nTrue\n"
    ) == done.stdout, done.stderr


WORKERS = """
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from micrograd.engine import Value
import micrograd.nn as nn

def slope(x):
    v = Value(x)
    (v * v).backward()
    return v.grad, Value.__module__, nn.__name__

def nested(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.apply(slope, (4.0,))

def put(queue, x):
    queue.put((slope(x), nested(sys.argv[1])))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    process = context.Process(target=put, args=(queue, 3.0))
    process.start()
    found = [*queue.get()]
    process.join()
    with context.Pool(2) as pool:
        found += pool.map(slope, [1.0])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found.append(pool.submit(slope, 2.0).result())
    print([grad for grad, *_ in found], {tuple(names) for _, *names in found})
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_find_pygrad_too(tmp_path, method):
    """However multiprocessing starts a process, it runs the script on pygrad; so do the processes that it starts.

    A micrograd beside the script gives way there too.
    """
    write(tmp_path, "raise SystemExit('the real micrograd')", "micrograd/__init__.py")
    done = command("run", write(tmp_path, WORKERS), method, cwd=tmp_path)

    assert ("[6.0, 8.0, 2.0, 4.0] {('pygrad.engine', 'pygrad.nn')}\n", "") == (done.stdout, done.stderr)


# --- pygrad run: as `python script.py` --------------------------------------------------------------------------------

SELF_PORTRAIT = """
import json, sys
print(json.dumps([sys.argv, sys.path[0], __name__, __file__, sys.modules["__main__"].__file__, __package__, __spec__]))
"""


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["data.txt"],
        ["--help"],
        ["--version"],
        ["-x", "--lr", "0.1", "name"],
        ["--", "-x"],
        ["a", "--", "b"],
        ["run", "demo", ""],
    ],
)
def test_script_sees_what_python_would_show_it(tmp_path, args):
    """argv, sys.path[0], names and files are those of `python script.py`; all that follows the script is its own."""
    script = write(tmp_path, SELF_PORTRAIT, "sub/script.py")

    expected = python(script, *args, cwd=tmp_path)
    found = command("run", script, *args, cwd=tmp_path)

    assert json.loads(expected.stdout) == json.loads(found.stdout), found.stderr


def test_script_behind_a_link_finds_its_neighbours(tmp_path):
    """As in Python, sys.path[0] is the folder of the file a link points to."""
    write(tmp_path, "import neighbour; print(neighbour.x)", "there/script.py")
    write(tmp_path, "x = 5", "there/neighbour.py")
    (tmp_path / "link.py").symlink_to(tmp_path / "there" / "script.py")

    assert "5\n" == command("run", "link.py", cwd=tmp_path).stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_safe_path_is_respected(tmp_path):
    """Who asked Python not to put the script's folder on the path does not get it from us."""
    script = write(tmp_path, "import sys; print(sys.path)")

    expected = python(script, cwd=tmp_path, PYTHONSAFEPATH="1")
    found = command("run", script, cwd=tmp_path, PYTHONSAFEPATH="1")

    assert expected.stdout == found.stdout


ENDINGS = {
    "its end": "print('done')",
    "sys.exit()": "import sys; sys.exit()",
    "sys.exit(3)": "import sys; sys.exit(3)",
    "sys.exit(message)": "import sys; sys.exit('no data')",
    "an exception": "def f():\n    return 1 / 0\n\n\nf()",
    "a chained exception": "try:\n    [][0]\nexcept IndexError as e:\n    raise ValueError('bad') from e",
    "a syntax error": "x = 1\ny = = 2",
    "a failing exit handler": "import atexit\natexit.register(print, 'bye')\nraise KeyError('k')",
    "its own excepthook": "import sys\nsys.excepthook = lambda *e: print('mine', e[0].__name__)\n1 / 0",
    "pickle of its own class": "import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))))",
    "an encoding": "# -*- coding: utf-8 -*-\nprint(ascii('é'))",
}


@pytest.mark.parametrize("how", ENDINGS)
def test_script_ends_as_under_python(tmp_path, how):
    """Exit code, output and traceback are those of `python script.py`, without frames of ours."""
    script = write(tmp_path, ENDINGS[how])

    expected, found = python(script, cwd=tmp_path), command("run", script, cwd=tmp_path)

    assert (expected.returncode, expected.stdout, expected.stderr) == (found.returncode, found.stdout, found.stderr)


@pytest.mark.parametrize("script", ["missing.py", "."])
def test_script_that_cannot_be_read_is_one_line_and_exit_2(tmp_path, script):
    """As Python does, without a traceback."""
    done = command("run", script, cwd=tmp_path)

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert done.stderr.startswith(f"pygrad: can't open '{script}': ")


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_version_is_the_packages(tmp_path):
    """`pygrad --version` names the package and its version."""
    assert f"pygrad {pygrad.__version__}\n" == command("--version", cwd=tmp_path).stdout


@pytest.mark.parametrize("args", [[], ["fly"], ["run"], ["demo", "nonsense"]])
def test_wrong_usage_is_exit_2(tmp_path, args):
    """argparse explains, and nothing runs."""
    done = command(*args, cwd=tmp_path)

    assert (2, "") == (done.returncode, done.stdout)
    assert "usage: pygrad" in done.stderr


@pytest.mark.parametrize("name", ["moons", "digits", "gpt", "race"])
def test_demo_without_its_extra_says_what_to_install(tmp_path, name):
    """A missing package is one line that names the extra, and no folder is left behind."""
    write(tmp_path, "raise ModuleNotFoundError(\"No module named 'tqdm'\", name='tqdm')", "hidden/tqdm.py")
    for package in ("numpy", "matplotlib", "sklearn", "graphviz", "names", "micrograd"):  # any of them may come first
        write(tmp_path, f"raise ModuleNotFoundError('none', name='{package}')", f"hidden/{package}.py")

    done = command("demo", name, cwd=tmp_path, path=str(tmp_path / "hidden"))

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert "pip install 'pygrad-engine[demo]'" in done.stderr
    assert not (tmp_path / "demo-results").exists()


def test_results_folder_that_cannot_be_made_is_one_line(tmp_path):
    """A file in the folder's place stops the demo before it starts to train."""
    pytest.importorskip("micrograd")
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    write(tmp_path, "", "taken")

    done = command("demo", "race", "--out", "taken", cwd=tmp_path)

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert "taken" in done.stderr
