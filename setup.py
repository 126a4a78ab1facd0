import os
import runpy
from concurrent.futures import ThreadPoolExecutor

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildSideBySide(build_ext):
    """Compile the sources of a binary on all cores: by itself setuptools takes one after the other."""

    def build_extensions(self):
        compile_all = self.compiler.compile

        def compile_each(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                done = list(pool.map(lambda source: compile_all([source], **options), sources))
            return [name for names in done for name in names]

        self.compiler.compile = compile_each
        super().build_extensions()


setup(
    cmdclass={"build_ext": BuildSideBySide},
    cffi_modules=["csrc/ffi_build.py:ffi"],
    ext_modules=[runpy.run_path("csrc/ffi_build.py")["native"]],
)
