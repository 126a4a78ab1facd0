"""The README and docs/ tell the truth: their Python examples print what the comments say. So do docstrings."""

import doctest
import importlib
import inspect
import operator
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pygrad

pytestmark = [pytest.mark.python, pytest.mark.wheel]

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_example_prints_what_its_comments_say(block):
    """Each `# prints X` of an example is what the example prints there."""
    promised = re.findall(r"# prints ([\w.]+)", block)
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=120)

    assert "" == done.stderr
    assert promised == done.stdout.split()


def test_the_readme_has_examples():
    """The example of micrograd's README is among them, with its three numbers."""
    assert any("24.7041" in block and "138.8338" in block and "645.5773" in block for block in BLOCKS)


def test_the_pages_are_there():
    """What is refused has its page, and the README leads to it."""
    assert "refused.md" in [page.name for page in PAGES]
    assert "(docs/refused.md)" in README.read_text(encoding="utf-8")


def test_names_of_the_table_exist():
    """Every `pygrad.x` beside a name of another library is there."""
    table = README.read_text(encoding="utf-8").split("## Coming from PyTorch")[1].split("\n## ")[0]
    names = set(re.findall(r"\bpygrad((?:\.\w+)+)", table))

    assert len(names) > 30
    assert [] == sorted(name for name in names if not _exists(name))


def _exists(name):
    try:
        operator.attrgetter(name[1:])(importlib.import_module("pygrad"))
    except AttributeError:
        return False
    return True


def test_the_wrong_project_is_never_named():
    """Nobody is told to install the unrelated distribution that has our import's name."""
    assert not re.search(r"pip install ['\"]?pygrad(?!-engine)\b", README.read_text(encoding="utf-8"))


MODULES = [name for _, name, _ in pkgutil.walk_packages(pygrad.__path__, "pygrad.") if not name.startswith("pygrad._")]
MODULES = [name for name in MODULES if ">>>" in inspect.getsource(importlib.import_module(name))]


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_show_what_happens(module):
    """The examples in docstrings give what stands below them."""
    result = doctest.testmod(importlib.import_module(module))

    assert 0 == result.failed
    assert 1 <= result.attempted


# What a user of derivatives looks up: each has an example where help() shows it.
SHOWN = re.findall(
    r"\w+",
    """backward checkpoint compile custom_op derivative detect_anomaly enable_grad explain grad gradcheck gradgradcheck
    gradient hessian hvp is_grad_enabled jacobian jvp least_squares logsumexp minimize no_grad Objective Residuals
    stop_gradient taylor unreached value_and_grad vjp where""",
)


@pytest.mark.parametrize("name", SHOWN)
def test_who_looks_up_a_derivative_finds_an_example(name):
    """`help(pygrad.x)` has one, which the test above runs."""
    assert ">>> " in inspect.getdoc(getattr(pygrad, name))
