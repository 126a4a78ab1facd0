"""Other module names that lead to pygrad's modules: those of micrograd, and those of pygrad 0.1."""

import functools
import os
import sys

from pygrad import engine, nn
from pygrad.calculus import explain, grad, gradcheck, minimize, transforms
from pygrad.common import value_base
from pygrad.engine import custom_op, modes
from pygrad.tape import compiled, record, training

_pygrad = sys.modules["pygrad"]

# The paths that these modules had in the first builds of pygrad 0.1: pickles and programs name them.
_OLD_PATHS = {
    "anomaly": modes,
    "checking": gradcheck,
    "compiled": compiled,
    "custom": custom_op,
    "derive": grad,
    "explaining": explain,
    "fits": minimize,
    "fitting": training,
    "recording": _pygrad,  # its names are in two modules now, and in the package
    "surface": value_base,
    "trace": record,
    "transforms": transforms,
}
for _name, _module in _OLD_PATHS.items():
    sys.modules[f"pygrad.{_name}"] = _module
    setattr(_pygrad, _name, _module)


def install_as_micrograd():
    """Make `import micrograd`, `micrograd.engine` and `micrograd.nn` give pygrad's modules from now on.

    Call it before anything imports micrograd: raises RuntimeError if the real micrograd is loaded already.
    A second call does nothing.
    """
    stand_ins = {"micrograd": _pygrad, "micrograd.engine": engine, "micrograd.nn": nn}
    for name, module in stand_ins.items():
        if sys.modules.get(name, module) is not module:
            raise RuntimeError(
                f"{name} is imported already: call pygrad.install_as_micrograd() before its first import"
            )
    sys.modules.update(stand_ins)


def install_in_workers():
    """Make `import micrograd` give pygrad in the processes that multiprocessing starts anew (spawn, forkserver), too.

    Such a process gets the sys.path of its parent, and runs the script once more. Here it gets one more folder in
    front, and hands that on to processes that it starts itself.
    """
    from multiprocessing import spawn

    prepare = spawn.get_preparation_data

    @functools.wraps(prepare)
    def with_stand_in(name):
        data = prepare(name)
        return {**data, "sys_path": [os.path.join(os.path.dirname(__file__), "stand_in"), *data["sys_path"]]}

    spawn.get_preparation_data = with_stand_in
