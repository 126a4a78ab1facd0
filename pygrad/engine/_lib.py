"""Load the compiled arena, pygrad._core; refuse one that does not belong to this Python code."""

import os
import sys

from pygrad._version import __version__
from pygrad.engine import _binaries

_REBUILD = "run `make build` in a source checkout, or reinstall pygrad-engine"


def _import_core():
    """Return pygrad._core. Raises ImportError, with this name, if pygrad._core is missing, or cffi, which it needs."""
    core = "pygrad._core"
    try:
        return _binaries.import_binary(core)
    except ModuleNotFoundError as error:
        if error.name == core:
            said = _binaries.why_missing()
        else:
            said = f"pygrad needs cffi, and {sys.executable} cannot find it ({error}): run `pip install cffi`"
        raise ImportError(said, name=core) from error
    except ImportError as error:
        raise ImportError(f"pygrad's compiled part does not load ({error}): {_REBUILD}") from error


_core = _import_core()
ffi, lib = _core.ffi, _core.lib


def _string(chars):
    return ffi.string(chars).decode()


def _check_version(built):
    if built != __version__:
        raise ImportError(f"pygrad {__version__} found the binary of version {built}: {_REBUILD}")


def _check_sources(digest):
    if _binaries.digest_of_csrc() not in (None, digest):
        raise ImportError(f"pygrad's binary is older than csrc/: run `make build` in {_binaries.ROOT}")


def native_arena(version, digest):
    """Return the arena's address, for the native proxy; refuse one built of other sources: its structs may differ."""
    _check_version(version)
    if digest != _string(lib.pg_source_digest()):
        raise ImportError(f"pygrad's two binaries are built of different sources: {_REBUILD}")
    return lib.pg_arena_address()


def _refuse_subinterpreters():
    """A process has one arena, and two interpreters cannot share it: a node of one would have no proxy in the other."""
    try:
        import _interpreters as interpreters  # Python 3.13 and newer
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            return
    current, main = interpreters.get_current(), interpreters.get_main()
    if current != main:
        raise ImportError("pygrad cannot be used in a sub-interpreter: import it in the main interpreter")


def _refuse_free_threads():
    """The proxies need the global interpreter lock: the arena's own lock does not guard them."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError("pygrad needs the global interpreter lock: start Python with PYTHON_GIL=1 or -X gil=1")


def _lanes(environ):
    """Return the instruction set of compiled functions over batches. PYGRAD_LANES names the widest that may be used."""
    wanted = environ.get("PYGRAD_LANES", "")
    if wanted not in ("", "baseline", "avx2", "avx512"):
        raise ImportError(f"PYGRAD_LANES must be baseline, avx2 or avx512, not {wanted!r}")
    return _string(lib.pg_replay_lanes())


_check_version(_string(lib.pg_version()))
_check_sources(_string(lib.pg_source_digest()))
_refuse_subinterpreters()
_refuse_free_threads()
if lib.pg_init() != lib.PG_OK:
    raise MemoryError("pygrad cannot get memory for its arena")
LANES = _lanes(os.environ)
