import os
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

write_formulas = runpy.run_path("csrc/calculus/make_formulas.py")["write"]


class Build(build_ext):
    """Write formulas.h into the build's own folder, then compile.

    The sources of a binary are compiled on all cores: by itself setuptools takes one after the other.
    """

    def build_extensions(self):
        write_formulas(Path(self.build_temp, "formulas.h"))
        self.compiler.add_include_dir(self.build_temp)
        compile_all = self.compiler.compile

        def compile_each(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                done = list(pool.map(lambda source: compile_all([source], **options), sources))
            return [name for names in done for name in names]

        self.compiler.compile = compile_each
        super().build_extensions()


setup(
    cmdclass={"build_ext": Build},
    cffi_modules=["csrc/ffi_build.py:ffi"],
    ext_modules=[runpy.run_path("csrc/ffi_build.py")["native"]],
)
