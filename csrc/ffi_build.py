"""Build the two binaries of csrc/; setup.py names this file, and it is not part of the installed package.

- pygrad._core, through cffi: the arena (`ffi`).
- pygrad._native, the native proxy: pyvalue.c, with the arena's sources once more (`native`). It may fail to build.

Knobs (environment variables):
    PYGRAD_DEBUG=1                 no optimisation, assertions on
    PYGRAD_SANITIZE=address,...    the compiler's -fsanitize= list
    PYGRAD_REQUIRE_NATIVE=1        a native proxy that does not build is an error
"""

import os
import re
import runpy
from pathlib import Path

import cffi
from setuptools import Extension

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
PROXY = "csrc/pyvalue.c"
SOURCES = sorted({f"csrc/{path.name}" for path in CSRC.glob("*.c")} - {PROXY})
# One copy of these is enough.
_REPLAY = ("derive", "fit", "lanes_", "passes", "pattern", "pool", "program", "replay", "scalar", "tape_file")
ARENA = [source for source in SOURCES if not source.startswith(tuple(f"csrc/{name}" for name in _REPLAY))]
HEADERS = sorted(f"csrc/{path.name}" for pattern in ("*.h", "*.def") for path in CSRC.glob(pattern))


def declarations(header):
    """Return the part of pygrad.h between its two markers: what cffi's cdef gets."""
    begin, end = "/* cdef-begin */", "/* cdef-end */"
    if header.count(begin) != 1 or header.count(end) != 1:
        raise ValueError(f"pygrad.h must have exactly one {begin} and one {end}")
    return header.split(begin)[1].split(end)[0]


def version():
    text = (ROOT / "pygrad" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def compile_flags(environ):
    """Return (compiler flags, linker flags). The same bits as Python's own arithmetic: no contraction, no fast-math."""
    flags, link = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"], []
    if environ.get("PYGRAD_DEBUG") == "1":
        flags += ["-O0", "-g", "-UNDEBUG"]
    else:
        flags += ["-O3", "-g0"]  # Python's own flags may ask for debugging data, which takes a quarter of the time
    if environ.get("PYGRAD_SANITIZE"):
        sanitize = [f"-fsanitize={environ['PYGRAD_SANITIZE']}", "-fno-omit-frame-pointer"]
        flags, link = flags + sanitize + ["-fno-sanitize-recover=undefined"], link + sanitize
    return flags, link


compile_args, link_args = compile_flags(os.environ)
OPTIONS = {
    "depends": [*HEADERS, *SOURCES, PROXY, "csrc/ffi_build.py", "pygrad/__init__.py"],  # all that the digest is of
    "include_dirs": ["csrc"],
    "define_macros": [
        ("PG_VERSION", f'"{version()}"'),
        ("PG_SOURCE_DIGEST", f'"{runpy.run_path(str(ROOT / "pygrad" / "_digest.py"))["source_digest"](CSRC)}"'),
    ],
    "extra_compile_args": compile_args,
    "extra_link_args": link_args,
}

ffi = cffi.FFI()
ffi.cdef(declarations((CSRC / "pygrad.h").read_text(encoding="utf-8")))
ffi.set_source("pygrad._core", '#include "pygrad.h"', sources=SOURCES, **OPTIONS)

required = os.environ.get("PYGRAD_REQUIRE_NATIVE") == "1"
under_gil = {**OPTIONS, "define_macros": [*OPTIONS["define_macros"], ("PG_UNDER_GIL", "1")]}
native = Extension("pygrad._native", sources=[PROXY, *ARENA], optional=not required, **under_gil)
