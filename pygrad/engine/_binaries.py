"""Find the two binaries, `pygrad._core` and `pygrad._native`; say what to do if they are missing.

The binaries are in the package's folder. But Python started in the source folder finds the package in there first, and
that one has binaries only after `make build`. If it has none, the binaries of an installed pygrad-engine are used,
provided that they were built of this csrc/.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
ROOT = os.path.dirname(_PACKAGE)
_IS_SOURCE_FOLDER = os.path.exists(os.path.join(ROOT, "csrc", "ops.def"))


def digest_of_csrc():
    """Return the digest of the csrc/ beside this package; None if there is none: only a source folder has it."""
    if not _IS_SOURCE_FOLDER:
        return None
    from pygrad.engine._digest import source_digest  # here: an installed pygrad does not need it

    return source_digest(os.path.join(ROOT, "csrc"))


def import_binary(name):
    """Import "pygrad._core" or "pygrad._native". ModuleNotFoundError if it, or a module that it needs, is missing."""
    spec = PathFinder.find_spec(name, _borrowed) if name not in sys.modules else None
    if not spec:
        return importlib.import_module(name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def why_missing():
    """Return a message: why the compiled part is missing, and what to do."""
    missing = "pygrad's compiled part is missing"
    if not _IS_SOURCE_FOLDER:
        return f"{missing} from {_PACKAGE}: reinstall pygrad-engine"
    missing += f"; this is the source folder, {ROOT}"
    if not _installed:
        return f"{missing}: run `make build` or `pip install .` in it"
    return (
        f"{missing}, and the binaries in {os.path.dirname(_installed[0])} are built of other C sources: "
        "run `make build` or `pip install .` in it, or start Python in another folder"
    )


def _compiled(folders):
    """Return the files of pygrad._core in these folders."""
    specs = [PathFinder.find_spec("pygrad._core", [folder]) for folder in folders]
    return [spec.origin for spec in specs if spec]


def _is_of(digest, file):
    with open(file, "rb") as binary:
        return digest.encode() in binary.read()


_installed, _borrowed = [], []  # files of pygrad._core on sys.path; the folder of the first that fits csrc/
if _IS_SOURCE_FOLDER and not _compiled([_PACKAGE]):
    _installed = _compiled(os.path.join(folder, "pygrad") for folder in sys.path)
    _borrowed = [os.path.dirname(file) for file in _installed if _is_of(digest_of_csrc(), file)][:1]
