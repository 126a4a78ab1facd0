"""Load the compiled arena and refuse one that does not belong to this Python code."""

from pathlib import Path

import pygrad
from pygrad._digest import source_digest

_REBUILD = "run `make build` in a source checkout, or reinstall pygrad-engine"

try:
    from pygrad._core import ffi, lib
except ImportError as error:
    raise ImportError(f"pygrad's compiled part is missing or does not load ({error}): {_REBUILD}") from error


def _check_binary():
    built = ffi.string(lib.pg_version()).decode()
    if built != pygrad.__version__:
        raise ImportError(f"pygrad {pygrad.__version__} found the binary of version {built}: {_REBUILD}")
    csrc = Path(__file__).resolve().parent.parent / "csrc"
    if (csrc / "ops.def").exists() and ffi.string(lib.pg_source_digest()).decode() != source_digest(csrc):
        raise ImportError(f"pygrad's binary is older than csrc/: {_REBUILD}")


def _refuse_subinterpreters():
    """One arena a process cannot serve two interpreters: their Values would share ids but not proxies."""
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


_check_binary()
_refuse_subinterpreters()
if lib.pg_init() != lib.PG_OK:
    raise MemoryError("pygrad cannot get memory for its arena")
