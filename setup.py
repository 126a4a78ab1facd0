import os
import runpy
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

HOW_TO_INSTALL = (
    "Debian, Ubuntu: apt install build-essential python3-dev; Fedora: dnf install gcc python3-devel; "
    "macOS: xcode-select --install"
)


class CompileFirst(build):
    """Compile before anything is copied: a message that nothing can be compiled stands alone."""

    sub_commands = sorted(build.sub_commands, key=lambda command: command[0] != "build_ext")


write_formulas = runpy.run_path("csrc/calculus/make_formulas.py")["write"]
settings = runpy.run_path("csrc/ffi_build.py")


class Build(build_ext):
    """Write formulas.h into the build's own folder, then compile.

    The sources of a binary are compiled on all cores: by itself setuptools takes one after the other.
    """

    def build_extensions(self):
        write_formulas(Path(self.build_temp, "formulas.h"))
        self.compiler.add_include_dir(self.build_temp)
        compile_all = self.compiler.compile
        self.require("", "a C compiler, or name yours in CC,")
        self.require("#include <Python.h>\n", "Python's C header files")

        def compile_one(source, extra_postargs=(), **options):
            flags = [*extra_postargs, *settings["FLAGS_OF"].get(source, [])]
            return compile_all([source], extra_postargs=flags, **options)

        def compile_each(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                done = list(pool.map(lambda source: compile_one(source, **options), sources))
            return [name for names in done for name in names]

        self.compiler.compile = compile_each
        super().build_extensions()

    def require(self, text, what):
        """End the build with one line if a C file with this text does not compile, for want of `what`."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "try.c")
            with open(source, "w") as file:
                file.write(text)
            try:
                self.compiler.compile([source], output_dir=folder)
            except CompileError:
                raise SystemExit(f"pygrad-engine is built from C: install {what} first ({HOW_TO_INSTALL})") from None


setup(
    cmdclass={"build": CompileFirst, "build_ext": Build},
    cffi_modules=["csrc/ffi_build.py:ffi"],
    ext_modules=[settings["native"]],
)
