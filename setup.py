import runpy

from setuptools import setup

setup(cffi_modules=["csrc/ffi_build.py:ffi"], ext_modules=[runpy.run_path("csrc/ffi_build.py")["native"]])
