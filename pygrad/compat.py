"""Other module names that lead to pygrad's modules: those of micrograd, and those of pygrad 0.1."""

import sys

from pygrad import engine, nn
from pygrad.calculus import gradcheck
from pygrad.common import value_base
from pygrad.tape import compiled, record, training

# The paths that these modules had in pygrad 0.1. Its pickles name the first two, programs the others.
_OLD_PATHS = {
    "pygrad.surface": value_base,
    "pygrad.compiled": compiled,
    "pygrad.trace": record,
    "pygrad.checking": gradcheck,
    "pygrad.fitting": training,
}
sys.modules.update(_OLD_PATHS)


def install_as_micrograd():
    """Make `import micrograd`, `micrograd.engine` and `micrograd.nn` give pygrad's modules from now on.

    Call it before anything imports micrograd: raises RuntimeError if the real micrograd is loaded already.
    A second call does nothing.
    """
    stand_ins = {"micrograd": sys.modules["pygrad"], "micrograd.engine": engine, "micrograd.nn": nn}
    for name, module in stand_ins.items():
        if sys.modules.get(name, module) is not module:
            raise RuntimeError(
                f"{name} is imported already: call pygrad.install_as_micrograd() before its first import"
            )
    sys.modules.update(stand_ins)
