"""Names from elsewhere that lead to pygrad: micrograd's modules, and the paths of pygrad 0.1's own."""

import sys

from pygrad import engine, nn
from pygrad.calculus import gradcheck
from pygrad.contract import value_base
from pygrad.tape import compiled, record, training

# Where users of 0.1 found these: pickles name the first two, programs the others.
_OLD_PATHS = {
    "pygrad.surface": value_base,
    "pygrad.compiled": compiled,
    "pygrad.trace": record,
    "pygrad.checking": gradcheck,
    "pygrad.fitting": training,
}
sys.modules.update(_OLD_PATHS)


def install_as_micrograd():
    """From now on `import micrograd`, `micrograd.engine` and `micrograd.nn` give pygrad's modules.

    Call it before anything imports micrograd: it is a RuntimeError if the real one is loaded already.
    A second call is harmless.
    """
    stand_ins = {"micrograd": sys.modules["pygrad"], "micrograd.engine": engine, "micrograd.nn": nn}
    for name, module in stand_ins.items():
        if sys.modules.get(name, module) is not module:
            raise RuntimeError(
                f"{name} is imported already: call pygrad.install_as_micrograd() before its first import"
            )
    sys.modules.update(stand_ins)
