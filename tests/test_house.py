"""The plan of the house is kept: imports go down only, without circles, and few modules call the compiled part."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

import pygrad

PACKAGE = Path(pygrad.__file__).parent

# From the ground up: who stands later may import who stands earlier, not the other way round.
ORDER = """_version common engine lr_scheduler clipping optim module nn reference tape calculus functional data storage
viz compat stand_in __init__ demos cli __main__""".split()

# Who may touch `ffi` and `lib`. Each calls what C has for it; nodes are made and freed by the engine alone.
CALL_C = """calculus/formulas calculus/grad calculus/gradcheck calculus/sparsity calculus/taylor calculus/traversal
clipping engine/__init__ engine/arena engine/cells engine/checkpoint engine/errors engine/modes engine/optable
engine/portable engine/recordings engine/sweeps optim
tape/anomalies tape/arguments tape/bound tape/c_source
tape/record tape/run tape/states tape/tape tape/training""".split()


def _imported(tree):
    """Yield the dotted names of this package's that a module imports, at its head or within a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "pygrad":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "pygrad")


def _module(dotted):
    """Return the module that a dotted name is, or belongs to: "engine/arena" for "pygrad.engine.arena.live_nodes"."""
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    while not path.is_dir() and not path.with_suffix(".py").exists():
        path = path.parent
    return (path / "__init__" if path.is_dir() else path).relative_to(PACKAGE).as_posix()


def _place(module):
    return ORDER.index(module.split("/")[0])


TREES = {p.relative_to(PACKAGE).with_suffix("").as_posix(): ast.parse(p.read_bytes()) for p in PACKAGE.rglob("*.py")}
NAMES = {module: set(_imported(tree)) for module, tree in TREES.items()}
IMPORTS = {
    module: {_module(name) for name in names if not name.startswith("pygrad._core")} - {module}
    for module, names in NAMES.items()
}


def test_imports_go_down():
    """No room imports from one above it."""
    upward = [(module, to) for module, found in IMPORTS.items() for to in found if _place(to) > _place(module)]

    assert [] == upward


def test_no_circles():
    """Taking away what imports nothing that is left, all modules go: within a room too there is an order."""
    left = dict(IMPORTS)
    while done := [module for module, found in left.items() if not found & left.keys()]:
        left = {module: found for module, found in left.items() if module not in done}

    assert {} == left


def test_few_modules_call_c():
    """The compiled part is called from the modules of the list, and from no others."""
    callers = [module for module, names in NAMES.items() if any("._lib." in name for name in names)]

    assert CALL_C == sorted(callers)


def _mapped(readme):
    """Yield (file named from the folder, is it in the first column?) for each file that a README's tables name."""
    room = ""
    for line in readme.splitlines():
        if heading := re.match(r"(?:\*\*)?`(\w+/)`", line):
            room = heading[1]
        for column, cell in enumerate(line.split("|")[1:] if line.startswith("| `") else []):
            yield from ((room + name, column == 0) for name in re.findall(r"`([\w.*]+\.(?:py|c|h|def))`", cell))


@pytest.mark.skipif(not (PACKAGE.parent / "csrc").exists(), reason="runs in a source checkout")
@pytest.mark.parametrize("folder", [PACKAGE, PACKAGE.parent / "csrc"], ids=["pygrad", "csrc"])
def test_every_file_is_on_the_map(folder):
    """The folder's README has each file in a line of its table, and none that is not there."""
    mapped = list(_mapped((folder / "README.md").read_text(encoding="utf-8")))
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in (".py", ".c", ".h", ".def")}
    files = {name for name in files if not re.search(r"^demos/|^(tape|calculus|common)/__init__|^_core", name)}

    assert {name for name in files if not any(fnmatch(name, pattern) for pattern, _ in mapped)} == set()
    assert {name for name, is_first in mapped if is_first} <= files | {"engine/__init__.py"}
