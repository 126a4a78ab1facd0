"""The build: what the knobs do, what cffi is told, and that a binary of other sources is refused."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pygrad
from pygrad.engine._digest import source_digest
from pygrad.engine._lib import ffi, lib

pytestmark = [pytest.mark.once, pytest.mark.wheel]

ROOT = Path(__file__).resolve().parent.parent
needs_sources = pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="runs in a source checkout")


@pytest.fixture(scope="module")
def build():
    """The build file's names."""
    pytest.importorskip("setuptools")
    return runpy.run_path(str(ROOT / "csrc" / "ffi_build.py"))


@needs_sources
def test_knobs(build):
    """PYGRAD_DEBUG turns assertions on and optimisation off; PYGRAD_SANITIZE reaches compiler and linker."""
    plain, _ = build["compile_flags"]({})
    debug, _ = build["compile_flags"]({"PYGRAD_DEBUG": "1"})
    sanitized, link = build["compile_flags"]({"PYGRAD_SANITIZE": "address"})

    assert "-O3" in plain
    assert "-UNDEBUG" not in plain
    assert {"-O0", "-UNDEBUG"} <= set(debug)
    assert "-fsanitize=address" in sanitized
    assert "-fsanitize=address" in link


@needs_sources
@pytest.mark.parametrize("environ", [{}, {"PYGRAD_DEBUG": "1"}, {"PYGRAD_SANITIZE": "thread"}])
def test_no_build_changes_the_arithmetic(build, environ):
    """No knob lets the compiler contract or reorder floating-point operations."""
    flags, _ = build["compile_flags"](environ)

    assert "-ffp-contract=off" in flags
    assert not [flag for flag in flags if "fast" in flag]


@needs_sources
def test_the_header_is_the_truth(build):
    """cffi gets what stands between the markers of pygrad.h, and every function of it is there."""
    header = (ROOT / "csrc" / "pygrad.h").read_text(encoding="utf-8")
    names = re.findall(r"\b(pg_\w+)\(", build["declarations"](header))

    assert len(names) > 30
    assert [] == [name for name in names if not hasattr(lib, name)]


@needs_sources
@pytest.mark.parametrize("header", ["", "/* cdef-begin */", "/* cdef-begin *//* cdef-begin *//* cdef-end */"])
def test_a_header_without_markers_is_refused(build, header):
    """A header that lost a marker stops the build."""
    with pytest.raises(ValueError, match="exactly one"):
        build["declarations"](header)


@needs_sources
def test_the_binary_belongs_to_these_sources():
    """The compiled digest is that of csrc/ as it is now."""
    assert source_digest(ROOT / "csrc") == ffi.string(lib.pg_source_digest()).decode()
    assert pygrad.__version__ == ffi.string(lib.pg_version()).decode()


@needs_sources
def test_the_digest_sees_every_change(tmp_path):
    """Another byte, another name and another file each make another digest; other kinds of file do not count."""
    (tmp_path / "a.c").write_text("int a;")
    digests = {source_digest(tmp_path)}
    (tmp_path / "README.md").write_text("words")
    assert digests == {source_digest(tmp_path)}
    (tmp_path / "a.c").write_text("int b;")
    digests.add(source_digest(tmp_path))
    (tmp_path / "b.def").write_text("row")
    digests.add(source_digest(tmp_path))
    (tmp_path / "a.c").rename(tmp_path / "c.c")
    digests.add(source_digest(tmp_path))

    assert 4 == len(digests)


@needs_sources
@pytest.mark.parametrize(
    "environ, missing",
    [
        ({"CC": "/nonexistent"}, "a C compiler"),
        ({"PATH": ""}, "a C compiler"),
        ({"CC": "./cc"}, "Python's C header files"),
    ],
)
def test_where_nothing_can_be_compiled_the_last_line_says_what_to_install(environ, missing, tmp_path):
    """`pip install` without a C compiler, and without Python's header files, ends in one line of ours."""
    for name in ("csrc", "pygrad"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "cc").write_text('#!/bin/sh\n! grep -qs -- Python.h "$@" && exec cc "$@"\n')  # as if it were not there
    (tmp_path / "cc").chmod(0o755)
    install = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    inherited = {name: value for name, value in os.environ.items() if name != "CC"}
    done = subprocess.run(install, capture_output=True, text=True, cwd=tmp_path, timeout=120, env=inherited | environ)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    last = lines[lines.index("[end of output]") - 1]

    assert last.startswith(f"pygrad-engine is built from C: install {missing}")
    assert "apt install" in last
    assert len(lines) < 30


def _run(program, **environ):
    """Run a program in a fresh process, which has of our environment variables only those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYGRAD_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=os.getcwd(),
        timeout=60,
        env=inherited | environ,
    )


def _import_with(patch, statement="import pygrad", **environ):
    """Import pygrad in a fresh process after `patch`; return the last line of what it says."""
    done = _run(f"{textwrap.dedent(patch)}\n{statement}\n", **environ)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def test_a_binary_of_another_version_is_refused():
    """A binary that says another version stops the import, and the message says what to do."""
    said = _import_with("""
        import types, sys
        from unittest import mock
        import cffi
        stale = types.ModuleType("pygrad._core")
        stale.ffi = cffi.FFI()
        stale.lib = mock.Mock()
        stale.lib.pg_version.return_value = stale.ffi.new("char[]", b"0.0.1")
        sys.modules["pygrad._core"] = stale
    """)

    assert "ImportError" in said
    assert "0.0.1" in said
    assert "reinstall" in said


@needs_sources
def test_a_binary_of_older_sources_is_refused():
    """In a checkout a binary whose digest is not that of csrc/ stops the import."""
    said = _import_with("""
        import runpy, sys, types
        digest = types.ModuleType("pygrad.engine._digest")
        digest.source_digest = lambda csrc: "other"
        sys.modules["pygrad.engine._digest"] = digest
    """)

    assert "ImportError" in said
    assert "older than csrc/" in said


def test_a_missing_binary_is_explained():
    """Without the compiled part the import of what needs it says how to get it."""
    said = _import_with(
        """
        import sys
        sys.modules["pygrad._core"] = None
        """,
        "from pygrad import Value",
    )

    assert "ImportError" in said
    assert "missing" in said


def test_the_import_waits_for_no_module_that_only_rare_calls_need():
    """What draws, pickles, names files or reads signatures is imported where it is used."""
    rare = {"inspect", "pickle", "shutil", "subprocess", "uuid"}
    said = _run("import sys; before = {*sys.modules}; import pygrad; print(*{*sys.modules} - before)").stdout

    assert set() == rare & set(said.split())


def test_what_is_there_after_the_import():
    """Names and modules need no import of their own; dir() shows them. A star import gives no module `data`."""
    names = ["TraceWarning", "GradcheckError", "data", "lr_scheduler", "reference", "storage", "optim"]
    said = _run(
        f"""
        import pygrad
        print(sorted(set({names!r}) - set(dir(pygrad))), pygrad.data.__name__, pygrad.lr_scheduler.StepLR.__name__)
        print(pygrad.reference.Value(2.0).data, issubclass(pygrad.GradcheckError, Exception), pygrad.storage.__name__)
        try:
            pygrad.dat
        except AttributeError as error:
            print(error, error.name, error.obj is pygrad)
        before = set(globals()) | {{"before"}}
        from pygrad import *
        print(*sorted({{"data", "lr_scheduler", "reference", "storage"}} & (set(globals()) - before)))
        """
    ).stdout.splitlines()

    assert "[] pygrad.data StepLR" == said[0]
    assert "2.0 True pygrad.storage" == said[1]
    assert "module 'pygrad' has no attribute 'dat' dat True" == said[2]
    assert "" == said[3]


def test_the_environment_names_the_widest_instruction_set():
    """PYGRAD_LANES must be one of the names, and config() says which instruction set is in use."""
    show = "import pygrad; print(pygrad.config()['lanes'])"
    assert "baseline" == _run(show, PYGRAD_LANES="baseline").stdout.strip()
    assert _run(show, PYGRAD_LANES="avx2").stdout.strip() in ("baseline", "avx2")
    assert _run(show, PYGRAD_LANES="").stdout.strip() in ("baseline", "avx2", "avx512")
    for wrong in ("nonsense", "AVX2", "avx2 "):
        said = _import_with("", PYGRAD_LANES=wrong)
        assert f"PYGRAD_LANES must be baseline, avx2 or avx512, not {wrong!r}" in said


# --- the two proxies --------------------------------------------------------------------------------------------------

NO_NATIVE = "import sys; sys.modules['pygrad._native'] = None"  # as if it had not been built
CONFIG = "import pygrad; print(pygrad.config()['proxy'], pygrad.engine.Value.__module__, pygrad.config()['why'])"


@pytest.mark.parametrize("proxy", ["native", "python"])
def test_the_environment_chooses_the_proxy(proxy):
    """PYGRAD_PROXY names the proxy, config() says which it is, and both call their class pygrad.engine.Value."""
    said = _run(CONFIG, PYGRAD_PROXY=proxy).stdout

    assert said.startswith(f"{proxy} pygrad.engine ")
    assert "PYGRAD_PROXY" in said


def test_without_the_native_proxy_the_portable_one_serves():
    """Where the native proxy was not built, pygrad works all the same, and config() says why it is the portable one."""
    said = _run(f"{NO_NATIVE}; {CONFIG}").stdout

    assert said.startswith("python pygrad.engine ")
    assert "_native" in said


@pytest.mark.parametrize("environ", [{"PYGRAD_REQUIRE_NATIVE": "1"}, {"PYGRAD_PROXY": "native"}])
def test_a_required_native_proxy_must_be_there(environ):
    """Asked for and missing, the native proxy stops the import, and the message says what to do."""
    said = _import_with(NO_NATIVE, **environ)

    assert "ImportError" in said
    assert "reinstall" in said


def test_an_unknown_proxy_is_refused():
    """PYGRAD_PROXY has two values; another one stops the import, and the message names them."""
    assert "python or native, not 'fast'" in _import_with("", PYGRAD_PROXY="fast")


def test_binaries_of_different_sources_are_refused():
    """The native proxy works on the other binary's arena only if both know the same structs."""
    said = _run("""
        import pygrad
        from pygrad.engine import _lib
        try:
            _lib.native_arena(pygrad.__version__, "0123456789abcdef")
        except ImportError as error:
            print(error)
    """).stdout

    assert "different sources" in said


def test_a_free_threaded_python_is_refused():
    """Without the global interpreter lock the import stops, and the message says how to get it."""
    said = _import_with("import sys; sys._is_gil_enabled = lambda: False")

    assert "ImportError" in said
    assert "PYTHON_GIL=1" in said


def test_sub_interpreters_are_refused():
    """A second interpreter in the process cannot import pygrad, and is told so."""
    try:
        import _interpreters as interpreters
    except ImportError:
        interpreters = pytest.importorskip("_xxsubinterpreters")
    program = f"""
        import sys
        sys.path[:] = {sys.path!r}
        import {interpreters.__name__} as interpreters
        new = interpreters.create()
        code = '''if 1:
            import sys
            sys.path[:] = {sys.path!r}
            try:
                import pygrad
            except ImportError as error:
                print(error)
            else:
                print("imported")
        '''
        result = interpreters.run_string(new, code)
    """
    program = textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert "imported" not in done.stdout
    assert "interpreter" in done.stdout
