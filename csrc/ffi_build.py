"""Describe how the two binaries of csrc/ are built. setup.py reads `ffi` and `native`; this file is not installed.

- pygrad._core (`ffi`) is built with cffi: the arena, and all that works on it.
- pygrad._native (`native`) is the native proxy: csrc/python/ and a second copy of the engine. pygrad works without it.

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


def files(*patterns):
    """Return the files in csrc/ that match one of the patterns, sorted, as paths relative to the project's folder."""
    return sorted(path.relative_to(ROOT).as_posix() for pattern in patterns for path in CSRC.glob(pattern))


CORE = files("*.c", "engine/*.c", "tape/*.c", "calculus/*.c")
NATIVE = ["csrc/mem.c", "csrc/ops.c", *files("engine/*.c", "python/*.c")]


def declarations(header):
    """Return the part of pygrad.h between its two markers, for the cdef of cffi. ValueError without the markers."""
    begin, end = "/* cdef-begin */", "/* cdef-end */"
    if header.count(begin) != 1 or header.count(end) != 1:
        raise ValueError(f"pygrad.h must have exactly one {begin} and one {end}")
    return header.split(begin)[1].split(end)[0]


def version():
    text = (ROOT / "pygrad" / "_version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def compile_flags(environ):
    """Return (compiler flags, linker flags). No contraction, no fast-math: C gets the bits of Python's arithmetic."""
    flags, link = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"], []
    if environ.get("PYGRAD_DEBUG") == "1":
        flags += ["-O0", "-g", "-UNDEBUG"]
    else:
        flags += ["-O3", "-g0"]  # Python's own flags may ask for debugging data: a quarter of the build's time
    if environ.get("PYGRAD_SANITIZE"):
        sanitize = [f"-fsanitize={environ['PYGRAD_SANITIZE']}", "-fno-omit-frame-pointer"]
        flags, link = flags + sanitize + ["-fno-sanitize-recover=undefined"], link + sanitize
    return flags, link


# Flags of one file. scalar.c is an interpreter: one indirect jump leads to the code of each op, and where that code
# happens to lie decides a third of its time; so each op begins at a multiple of 32.
FLAGS_OF = {"csrc/tape/scalar.c": ["-falign-labels=32"]}

compile_args, link_args = compile_flags(os.environ)
digest = runpy.run_path(str(ROOT / "pygrad" / "engine" / "_digest.py"))["source_digest"](CSRC)
OPTIONS = {
    # A change of one of these files makes a new build necessary: those of the digest, its formula, and the version.
    "depends": [*files("**/*.[ch]", "**/*.def", "**/*.py"), "pygrad/engine/_digest.py", "pygrad/_version.py"],
    "include_dirs": ["csrc"],
    "define_macros": [("PG_VERSION", f'"{version()}"'), ("PG_SOURCE_DIGEST", f'"{digest}"')],
    "extra_compile_args": compile_args,
    "extra_link_args": link_args,
}

ffi = cffi.FFI()
ffi.cdef(declarations((CSRC / "pygrad.h").read_text(encoding="utf-8")))
ffi.set_source("pygrad._core", '#include "pygrad.h"', sources=CORE, **OPTIONS)

required = os.environ.get("PYGRAD_REQUIRE_NATIVE") == "1"
under_gil = {**OPTIONS, "define_macros": [*OPTIONS["define_macros"], ("PG_UNDER_GIL", "1")]}
native = Extension("pygrad._native", sources=NATIVE, optional=not required, **under_gil)
