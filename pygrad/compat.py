"""Other module names that lead to pygrad's modules: those of micrograd, and those of pygrad 0.1."""

import functools
import importlib.util
import os
import sys
import types
import warnings
from importlib.machinery import ModuleSpec, PathFinder

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


# --- micrograd --------------------------------------------------------------------------------------------------------


def install_as_micrograd(fused=False):
    """Make `import micrograd`, `micrograd.engine` and `micrograd.nn` give pygrad's modules from now on.

    Networks are micrograd's own graphs, node for node; with `fused` each neuron is one node: see `pygrad.nn.fuse`. A
    file of a package micrograd of yours is found as `micrograd.its_name`, and so are pygrad's other modules.

    Call it before anything imports micrograd: raises RuntimeError if the real micrograd is loaded already. A second
    call only sets `fused`. Raises TypeError if that is no bool.
    """
    for name, module in _stand_ins().items():
        if sys.modules.get(name, module) is not module:
            raise RuntimeError(
                f"{name} is imported already: call pygrad.install_as_micrograd() before its first import"
            )
    nn.fuse(fused)
    sys.modules.update(_stand_ins())
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def install_in_workers(fused):
    """Make `import micrograd` give pygrad in the Python processes that this one starts, too, and in those they start.

    Such a process imports sitecustomize when it starts, and finds the one in `stand_in` first. Warns if Python was
    started with -E or -I: its processes would not look there.
    """
    if sys.flags.ignore_environment:
        warnings.warn("with -E or -I, micrograd is not pygrad in processes that the program starts", stacklevel=2)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_in")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    os.environ["PYGRAD_RUN_FUSED"] = str(int(fused))


class _Package(types.ModuleType):
    """`micrograd`: it has its modules, the files of the user's package micrograd, and all that pygrad has."""

    @property
    def __path__(self):
        """The folders micrograd on sys.path, and those of a package that is installed in another way."""
        folders = [os.path.join(folder or ".", "micrograd") for folder in sys.path if isinstance(folder, str)]
        others = [finder for finder in sys.meta_path if finder is not _Finder and hasattr(finder, "find_spec")]
        specs = filter(None, (finder.find_spec("micrograd", None) for finder in others))
        installed = [folder for spec in specs for folder in spec.submodule_search_locations or []]
        return list(dict.fromkeys([*filter(os.path.isdir, folders), *installed]))

    def __getattr__(self, name):
        is_file = name[:2] != "__" and PathFinder.find_spec(f"micrograd.{name}", self.__path__)
        found = importlib.import_module(f"micrograd.{name}") if is_file else getattr(_pygrad, name)
        vars(self)[name] = found  # for the next time
        return found

    def __dir__(self):
        return [*vars(self), *dir(_pygrad)]


class _Module(types.ModuleType):
    """A module of micrograd's: one of pygrad's, but for what `import *` takes from it.

    What a program sets here it sets there too: a Layer of pygrad.nn must find the Neuron that was set in micrograd.nn.
    """

    def __setattr__(self, name, x):
        super().__setattr__(name, x)
        if name[:2] != "__":  # those are the import system's
            setattr(self._stands_for, name, x)

    def __delattr__(self, name):
        super().__delattr__(name)
        delattr(self._stands_for, name)


@functools.cache
def _stand_ins():
    """Return {name: module} of micrograd's three modules; `__all__` is what `import *` takes from micrograd's own."""
    package = _Package("pygrad", _pygrad.__doc__)
    vars(package).update(__spec__=_spec("micrograd", "pygrad"), __all__=["engine", "nn"])
    stand_ins = {"micrograd": package}
    names = {"engine": ["Value"], "nn": ["random", "Value", "Module", "Neuron", "Layer", "MLP"]}
    for leaf, module in (("engine", engine), ("nn", nn)):
        spec = _spec(f"micrograd.{leaf}", module.__name__)
        stand_in = stand_ins[spec.name] = vars(package)[leaf] = _Module(module.__name__)
        vars(stand_in).update(vars(module), __spec__=spec, __all__=names[leaf], _stands_for=module)
    return stand_ins


def _spec(name, of_pygrad):
    return ModuleSpec(name, _Loader(of_pygrad), origin=of_pygrad, is_package=name == "micrograd")


class _Finder:
    """Finds pygrad's modules under micrograd's name, where the user has no file of that name."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith("micrograd"):
            return None
        stand_ins, (package, _, leaf) = _stand_ins(), name.rpartition(".")
        if name in stand_ins:
            return stand_ins[name].__spec__
        if package in stand_ins:
            around = stand_ins[package].__spec__.loader.of_pygrad
        else:
            around = getattr(sys.modules.get(package), "__name__", "")
        if around.partition(".")[0] != "pygrad" or leaf[:2] == "__":
            return None  # in a package of the user's
        if package == "micrograd" and PathFinder.find_spec(name, path):
            return None  # another finder finds it
        return _spec(name, f"{around}.{leaf}") if importlib.util.find_spec(f"{around}.{leaf}") else None


class _Loader:
    """Puts the same module object under a second name; `importlib.reload` changes nothing."""

    def __init__(self, of_pygrad):
        self.of_pygrad = of_pygrad

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__spec__.name
        sys.modules[name] = _stand_ins().get(name) or importlib.import_module(self.of_pygrad)
