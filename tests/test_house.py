"""The plan of the house is kept: imports go down only, without circles, and few modules call the compiled part."""

import ast
from pathlib import Path

import pygrad

PACKAGE = Path(pygrad.__file__).parent

# From the ground up: who stands later may import who stands earlier, not the other way round.
ORDER = """_version contract engine lr_scheduler optim module nn reference tape calculus functional data storage viz
compat __init__ demos cli __main__""".split()

# Who may touch `ffi` and `lib`. Each calls what C has for it; nodes are made and freed by the engine alone.
CALL_C = """calculus/formulas calculus/grad calculus/gradcheck calculus/sparsity calculus/taylor calculus/traversal
engine/__init__ engine/arena engine/errors engine/optable engine/portable engine/sweeps optim
tape/arguments tape/bound tape/c_source tape/compiled tape/record tape/run tape/tape tape/training""".split()


def _imported(tree):
    """Yield the dotted names of this package's that a module imports, at its head or within a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "pygrad":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "pygrad")


def _module(dotted):
    """Return the module that a dotted name is, or belongs to: "engine/modes" for "pygrad.engine.modes.is_recording"."""
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
