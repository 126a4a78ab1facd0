"""Where pygrad finds its compiled part, and what it says and can do where it has none or one that does not fit.

Each test runs Python in a folder with a copy of the package, away from what is installed here.
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import _cffi_backend
import pytest

import pygrad

pytestmark = [pytest.mark.once, pytest.mark.python, pytest.mark.wheel]

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(pygrad.__file__).resolve().parent
BINARIES = [file for name in ("_core", "_native") for file in PACKAGE.glob(f"{name}.*")]
needs_sources = pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="runs in a source checkout")


@pytest.fixture
def bare(tmp_path):
    """A folder with the package, without its binaries."""
    shutil.copytree(PACKAGE, tmp_path / "bare" / "pygrad", ignore=shutil.ignore_patterns("_core.*", "_native.*"))
    return tmp_path / "bare"


@pytest.fixture
def source(bare):
    """A source folder that is not compiled."""
    shutil.copytree(ROOT / "csrc", bare / "csrc")
    return bare


@pytest.fixture
def installed(tmp_path):
    """Another folder, with the package and its binaries."""
    shutil.copytree(PACKAGE, tmp_path / "installed" / "pygrad")
    return tmp_path / "installed"


def compile_in_place(source):
    """Do as `make build` does."""
    for file in BINARIES:
        shutil.copy(file, source / "pygrad")


def run(program, folder, *path, cffi=True):
    """Run a program in `folder`, which Python looks into first, then into `path`. Return (what it prints, its end)."""
    alone = folder.parent / "cffi"  # beside it may be an installed pygrad
    alone.mkdir(exist_ok=True)
    if cffi:
        shutil.copy(_cffi_backend.__file__, alone)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYGRAD_")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        env=inherited | {"PYTHONPATH": os.pathsep.join(map(str, [*path, alone]))},
    )
    return done.stdout, done.stderr.strip().rpartition("\n")[2]


USE = """
    import sys
    import pygrad
    x = pygrad.Value(3.0)
    (x * x).backward()
    print(x.grad, pygrad.__file__, *[sys.modules[name].__file__ for name in ("pygrad._core", "pygrad._native")])
"""


# --- without the compiled part ----------------------------------------------------------------------------------------


def test_the_reference_needs_no_compiled_part(bare):
    """The README's example, on `pygrad.reference`."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "24.7041" in block]
    printed, end = run(example.replace("pygrad.engine", "pygrad.reference"), bare)

    assert "" == end
    assert ["24.7041", "138.8338", "645.5773"] == printed.split()


def test_what_belongs_to_the_reference_needs_none(bare):
    """Ops of one's own, detect_anomaly() and pictures' lists too."""
    printed, end = run(
        """
        import pygrad
        from pygrad.reference import Value, custom_op

        @custom_op
        def double(x):
            return x + x

        @double.derivative
        def _(y, x):
            return 2.0

        x = Value(3.0)
        y = double(x)
        y.backward()
        print(x.grad, len(pygrad.viz.trace(x + 1.0)[0]), pygrad.__version__)
        try:
            with pygrad.detect_anomaly():
                Value(0.0).log()
        except FloatingPointError as error:
            print(error)
        """,
        bare,
    )

    assert "" == end
    assert printed.startswith(f"2.0 3 {pygrad.__version__}\n'log' gave -inf")


NEED_IT = [
    "from pygrad import Value",
    "from pygrad import *",
    "from pygrad import nn",
    "from pygrad import engine",
    "import pygrad; pygrad.Value(1.0)",
    "import pygrad; pygrad.engine.Value(1.0)",
    "import pygrad; pygrad.config()",
    "import pygrad.engine",
    "import pygrad.nn",
    "import pygrad.tape.compiled",
    "import pygrad.reference; pygrad.install_as_micrograd()",
]


def test_what_needs_it_says_what_to_do(bare):
    """Every way to a name that needs the compiled part ends in one and the same ImportError."""
    printed, end = run(
        f"""
        for statement in {NEED_IT!r}:
            try:
                exec(statement, {{}})
            except ImportError as error:
                print(error)
        """,
        bare,
    )
    said = f"pygrad's compiled part is missing from {bare / 'pygrad'}: reinstall pygrad-engine"

    assert "" == end
    assert [said] * len(NEED_IT) == printed.splitlines()


def test_every_public_name_is_there_or_says_what_to_do(bare):
    """None of `__all__` is an AttributeError, and what does not exist is one."""
    _, end = run(
        """
        import pygrad
        for name in pygrad.__all__:
            try:
                getattr(pygrad, name)
            except ImportError as error:
                assert "missing" in str(error)
        pygrad.no_such_name
        """,
        bare,
    )

    assert "AttributeError: module 'pygrad' has no attribute 'no_such_name'" == end


def test_without_cffi_it_says_so(installed):
    """The compiled part is there, and what it needs is not; the reference works."""
    _, end = run("from pygrad import Value", installed, cffi=False)
    printed, _ = run("from pygrad.reference import Value; print(Value(1.0).data)", installed, cffi=False)

    assert "pip install cffi" in end
    assert "missing" not in end
    assert "1.0\n" == printed


# --- in a source folder -----------------------------------------------------------------------------------------------


@needs_sources
def test_a_source_folder_that_is_not_compiled_says_so(source):
    """It names itself and the cure; the reference works."""
    _, end = run("from pygrad import Value", source)
    printed, _ = run("from pygrad.reference import Value; print(Value(1.0).data)", source)

    assert f"this is the source folder, {source}" in end
    assert "`make build`" in end
    assert "reinstall" not in end
    assert "1.0\n" == printed


@needs_sources
def test_a_source_folder_uses_the_binaries_of_an_installed_pygrad(source, installed):
    """`pip install .`, and then Python in that same folder: its own Python code, but those binaries."""
    printed, end = run(USE, source, installed)

    assert "" == end
    grad, package, *binaries = printed.split()
    assert "6.0" == grad
    assert str(source / "pygrad" / "__init__.py") == package
    assert [installed / "pygrad" / file.name for file in BINARIES] == list(map(Path, binaries))


@needs_sources
def test_it_uses_none_of_other_sources(source, installed):
    """A binary that was built of another csrc/ is not loaded, and the message says where it is; the reference works."""
    (source / "csrc" / "new.h").write_text("/* new */")
    _, end = run(USE, source, installed)
    printed, _ = run("import sys; import pygrad.reference; print('pygrad._core' in sys.modules)", source, installed)

    assert f"this is the source folder, {source}" in end
    assert f"the binaries in {installed / 'pygrad'} are built of other C sources" in end
    assert "`make build`" in end
    assert "in another folder" in end
    assert "False\n" == printed


@needs_sources
def test_it_uses_the_one_that_fits(source, installed, tmp_path):
    """Of two that are installed the second, where the first is built of other sources."""
    other = shutil.copytree(installed, tmp_path / "other")
    digest = pygrad.engine._lib.ffi.string(pygrad.engine._lib.lib.pg_source_digest())
    for file in BINARIES:
        binary = other / "pygrad" / file.name
        binary.write_bytes(file.read_bytes().replace(digest, b"0123456789abcdef"))
    printed, end = run(USE, source, other, installed)

    assert "" == end
    assert str(installed / "pygrad" / BINARIES[0].name) in printed


@needs_sources
def test_it_uses_none_of_another_version(source, installed):
    """The C sources are the same, the version is not: the import stops."""
    (source / "pygrad" / "_version.py").write_text('__version__ = "9.9.9"')
    _, end = run("import pygrad", source, installed)

    assert f"ImportError: pygrad 9.9.9 found the binary of version {pygrad.__version__}" in end
    assert "`make build`" in end


@needs_sources
def test_a_stale_binary_stops_the_import_even_where_another_would_fit(source, installed):
    """A source folder that was compiled is compiled anew, and says where; the reference has to wait too."""
    compile_in_place(source)
    assert "" == run(USE, source, installed)[1]
    (source / "csrc" / "new.h").write_text("/* new */")
    _, end = run("import pygrad.reference", source, installed)

    assert f"ImportError: pygrad's binary is older than csrc/: run `make build` in {source}" == end
