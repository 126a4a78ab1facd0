"""Write formulas.h for derive.c: the derivatives of ops.def as formulas, a few steps each, every step an op on nodes.

    python csrc/calculus/make_formulas.py FILE

A row of ops.def has its derivatives as C text. Here pycparser reads the text, and `1.0 - y * y` becomes the steps
s = mul(y, y) and sub(1.0, s). derive.c makes nodes from the steps. So a gradient is a graph, which has derivatives like
any other graph, and the derivative of each op is written down only once.

A comparison becomes an op too. So the nodes are still right when a compiled tape computes them with other numbers.

setup.py calls `write` when it builds the extension; the Makefile runs this file where it compiles C without setup.py.
"""

import re
import sys
from pathlib import Path

from pycparser import CParser
from pycparser.c_parser import ParseError

CSRC = Path(__file__).resolve().parent.parent

A, B, Y, FIRST_STEP = 0, 1, 2, 3  # the operands of steps as C numbers them (pg_step); constants are -1, -2, ...

# C's operators: the op, and whether the op has the operands in reverse
_ARITHMETIC = {"+": ("add", False), "-": ("sub", False), "*": ("mul", False), "/": ("div", False)}
_CONDITIONS = {
    "<": ("less", False),
    "<=": ("less_equal", False),
    ">": ("less", True),
    ">=": ("less_equal", True),
    "==": ("equal", False),
    "!=": ("not_equal", False),
    "&&": ("mul", False),  # of two conditions, each 0.0 or 1.0
    "||": ("maximum", False),
}
_CONSTANTS = {"NAN": float("nan"), "INFINITY": float("inf")}
_OTHER_NAMES = {"fabs": "abs"}  # functions that have another name in C
_parser = CParser()
_SAFE = 0.5  # the operand of a branch that is not chosen: no op of one number has a pole here


class Formula:
    """`steps` are (op's name, operands), and `result` is an operand; `numbers` are the constants.

    `ops` are the names of all rows. `helpers` are the functions that rows call: parameters and result by name.
    """

    def __init__(self, ops, helpers):
        self.ops, self.helpers = ops, helpers
        self.steps, self.numbers, self.result, self._places = [], [], None, {}

    def number(self, x):
        """Return the operand that is a constant."""
        texts = list(map(repr, self.numbers))  # texts tell -0.0 from 0.0, and nan equals nan
        if repr(x) not in texts:
            self.numbers.append(x)
            texts.append(repr(x))
        return -1 - texts.index(repr(x))

    def step(self, name, *operands):
        """Return the operand that is the result of an op. The same op on the same operands is one step."""
        key = name, *operands
        if key not in self._places:
            self._places[key] = FIRST_STEP + len(self.steps)
            self.steps.append((name, operands))
        return self._places[key]


def formulas(ops, helpers):
    """Return {(row's name, operand's name): Formula} for the texts of ops.def and helpers.def.

    Raises ValueError, which names the row, for C that has no translation to ops.
    """
    rows, functions = _rows(ops), _helpers(helpers)
    found = {}
    for name, derivatives in rows.items():
        for operand, derivative in zip("ab", derivatives):
            out = found[name, operand] = Formula(rows.keys(), functions)
            try:
                out.result = _translate(derivative, out, {"a": A, "b": B, "y": Y})
            except ValueError as error:
                raise ValueError(f"csrc/ops.def: the derivative of {name!r} by {operand}: {error}") from None
    return found


# --- the two .def files -----------------------------------------------------------------------------------------------


def _rows(text):
    """Return the derivatives of each row of ops.def, as pycparser's expressions."""
    found = {}
    for row in _macros(text):
        call = _parse(f"double row(void) {{ return {row}; }}", f"csrc/ops.def: {row}")[1]
        name, _label, _forward, *derivatives = call.args.exprs
        found[name.name] = [] if call.name.name == "PG_FLAT" else derivatives
    return found


def _helpers(text):
    """Return the parameters' names and the result of each function of helpers.def."""
    found = {}
    for row in _macros(text):
        match = re.fullmatch(r"PG_HELPER\((\w+), (\w+), (\([^()]*\)), (.*)\)", row)
        if not match:
            raise ValueError(f"csrc/helpers.def: {row!r} is not PG_HELPER(type, name, (parameters), result)")
        kind, name, parameters, result = match.groups()
        found[name] = _parse(f"{kind} {name}{parameters} {{ return {result}; }}", f"csrc/helpers.def: {row}")
    return found


def _macros(text):
    """Return the rows of a .def file, each as one line."""
    text = re.sub(r"/\*.*?\*/|^#.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    before, *rows = re.split("^(?=PG_)", text, flags=re.MULTILINE)
    if before.strip():
        raise ValueError(f"csrc: {before.strip()!r} is no row of a .def file")
    return [" ".join(row.split()) for row in rows]


def _parse(function, row):
    """Return the names of a C function's parameters, and the expression that it returns."""
    try:
        definition = _parser.parse(function).ext[0]
    except ParseError as error:
        raise ValueError(f"{row} is no C that pycparser can read: {error}") from None
    return [p.name for p in definition.decl.type.args.params], definition.body.block_items[0].expr


# --- from C to steps --------------------------------------------------------------------------------------------------


def _translate(node, out, names):
    """Add the steps of a C expression to the Formula `out`; return the result's operand. `names` are operands too."""
    kind = type(node).__name__
    if kind not in _TRANSLATIONS:
        raise ValueError(f"there is no translation of C's {kind} to ops")
    return _TRANSLATIONS[kind](node, out, names)


def _constant(node, out, names):
    text = node.value.lower()
    return out.number(float.fromhex(text) if text.startswith("0x") else float(text.rstrip("lfu")))


def _name(node, out, names):
    if node.name in _CONSTANTS:
        return out.number(_CONSTANTS[node.name])
    try:
        return names[node.name]
    except KeyError:
        raise ValueError(f"there is no {node.name!r}") from None


def _cast(node, out, names):
    return _translate(node.expr, out, names)


def _unary(node, out, names):
    inner = _translate(node.expr, out, names)
    if node.op == "!":
        return out.step("equal", inner, out.number(0.0))
    if node.op == "+":
        return inner
    if node.op != "-":
        raise ValueError(f"there is no op for C's {node.op}")
    return out.number(-out.numbers[-1 - inner]) if inner < 0 else out.step("neg", inner)


def _binary(node, out, names):
    if node.op not in _ARITHMETIC | _CONDITIONS:
        raise ValueError(f"there is no op for C's {node.op}")
    name, is_reversed = (_ARITHMETIC | _CONDITIONS)[node.op]
    operands = [_translate(side, out, names) for side in (node.left, node.right)]
    return out.step(name, *(operands[::-1] if is_reversed else operands))


def _choice(node, out, names):
    """`c ? x : y`: both branches are computed. In the branch not chosen a safe number replaces each operand. Otherwise
    its slope could be infinite, and the product with its gradient, 0.0, would be nan."""
    index = _translate(node.cond, out, names)
    if getattr(node.cond, "op", None) not in (*_CONDITIONS, "!"):
        index = out.step("not_equal", index, out.number(0.0))
    branches = []
    for taken, branch in enumerate((node.iffalse, node.iftrue)):
        mine = _guarded(names, index, taken, out) if _may_have_poles(branch) else names
        branches.append(_translate(branch, out, mine))
    return out.step("take", index, *branches)


def _guarded(names, index, taken, out):
    """Return names that stand for safe numbers wherever `index` is not `taken`."""
    safe = out.number(_SAFE)
    return _Guarded(names, lambda v: out.step("take", index, *((safe, v) if taken else (v, safe))))


class _Guarded:
    """Names, each of which is guarded when it is asked for."""

    def __init__(self, names, guard):
        self._names, self._guard = names, guard

    def __getitem__(self, name):
        return self._guard(self._names[name])


def _may_have_poles(node):
    """True for an expression that calls a function or divides."""
    kind = type(node).__name__
    return kind == "FuncCall" or getattr(node, "op", "") == "/" or any(_may_have_poles(c) for _, c in node.children())


def _call(node, out, names):
    operands = [_translate(argument, out, names) for argument in getattr(node.args, "exprs", ())]
    name = _OTHER_NAMES.get(node.name.name, node.name.name)
    if name.removeprefix("pg_") in out.ops:  # pg_sigmoid is the op sigmoid
        return out.step(name.removeprefix("pg_"), *operands)
    if name not in out.helpers:
        raise ValueError(f"{name}() is neither an op nor one of csrc/helpers.def")
    parameters, result = out.helpers[name]
    return _translate(result, out, dict(zip(parameters, operands)))


_TRANSLATIONS = {
    "Constant": _constant,
    "ID": _name,
    "Cast": _cast,
    "UnaryOp": _unary,
    "BinaryOp": _binary,
    "TernaryOp": _choice,
    "FuncCall": _call,
}


# --- formulas.h -------------------------------------------------------------------------------------------------------


def header(found):
    """Return the text of formulas.h: a pg_formula `tanh_by_a`, and so on. `found` is what `formulas` returned."""
    lines = ["/* formulas.h: the derivatives of ops.def; made by make_formulas.py. */"]
    lines.append(f"enum {{ MOST_STEPS = {max(len(f.steps) for f in found.values())} }};")
    for (name, operand), f in found.items():
        lines += [f"static const pg_formula {name}_by_{operand} = {{", f"    .result = {f.result},"]
        lines += _array("step", "pg_step", [_step(*step) for step in f.steps])
        lines += _array("number", "double", [_number(x) for x in f.numbers])
        lines.append("};")
    return "\n".join(lines) + "\n"


def _step(op, operands):
    code = "PG_TAKE" if op == "take" else f"PG_OP_{op}"
    return f"{{{code}, {{{', '.join(map(str, operands))}}}}}"


def _number(x):
    return repr(x).replace("nan", "NAN").replace("inf", "INFINITY")


def _array(name, kind, items):
    """Return two members of a pg_formula: an array and its length; or nothing for no items."""
    if not items:
        return []
    return [f"    .{name}_count = {len(items)},", f"    .{name}s = (const {kind}[]){{{', '.join(items)}}},"]


def write(path):
    """Write formulas.h."""
    texts = [(CSRC / name).read_text(encoding="utf-8") for name in ("ops.def", "helpers.def")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header(formulas(*texts)), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
