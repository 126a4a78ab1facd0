"""What Python imports when it starts, in the processes that a program under `pygrad run` starts.

`import micrograd` leads to pygrad there too. Only this folder is in front of their PYTHONPATH
(`pygrad.compat.install_in_workers`).
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_HERE = os.path.dirname(os.path.abspath(__file__))


class Lead:
    """Puts pygrad in micrograd's place when a program imports that; others do not wait for pygrad."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "micrograd":
            return None
        sys.meta_path.remove(Lead)
        _compat().install_as_micrograd(fused=os.environ.get("PYGRAD_RUN_FUSED") == "1")
        return sys.modules[name].__spec__


def _compat():
    """Return pygrad.compat, of this pygrad if the process knows of no other."""
    try:
        from pygrad import compat
    except ModuleNotFoundError as error:
        if error.name != "pygrad":
            raise
        sys.path.append(os.path.dirname(os.path.dirname(_HERE)))
        try:
            from pygrad import compat
        finally:
            sys.path.pop()
    return compat


def _import_next():
    """Import the sitecustomize that Python would have found without this one."""
    spec = PathFinder.find_spec("sitecustomize")
    if spec is not None:
        sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["sitecustomize"])


sys.meta_path.insert(0, Lead)
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _HERE]  # as the program expects it
_import_next()
