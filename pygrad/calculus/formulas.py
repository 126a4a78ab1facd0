"""The derivatives in csrc/ops.def, read as formulas: a few steps each, every one an op on nodes.

A row has its derivatives as C text. Here pycparser reads it, and `1.0 - y * y` becomes the steps mul(y, y) and
sub(1.0, that). csrc/derive.c makes nodes of them, and `evaluate` whatever knows ops by name: so a gradient is a graph,
which has derivatives like any other, and no op has a second place where its derivative is written down.

A comparison becomes an op too, so what is made is still right where it is computed again with other numbers: on a
compiled tape.
"""

import functools
import re

from pygrad.engine._lib import ffi, lib
from pygrad.engine.optable import CODES, NAMES

A, B, Y, FIRST_STEP = 0, 1, 2, 3  # what operands of steps are called in C (pg_step); numbers are -1, -2, ...

_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
_CONDITIONS = {  # op, and whether its operands are the other way round
    "<": ("less", False),
    "<=": ("less_equal", False),
    ">": ("less", True),
    ">=": ("less_equal", True),
    "==": ("equal", False),
    "!=": ("not_equal", False),
    "&&": ("mul", False),  # of what is 0.0 or 1.0
    "||": ("maximum", False),
}
_CONSTANTS = {"NAN": float("nan"), "INFINITY": float("inf")}
_OTHER_NAMES = {"fabs": "abs"}  # of functions that C calls otherwise
_SAFE = 0.5  # what a branch that is not taken is computed of: no op of one number has a pole there


class Formula:
    """`steps` are (op's name, operands), and `result` is an operand; `numbers` are the constants."""

    def __init__(self):
        self.steps, self.numbers, self.result, self._places = [], [], None, {}

    def number(self, x):
        """Return the operand that is a constant."""
        texts = list(map(repr, self.numbers))  # which tell -0.0 from 0.0, and find nan
        if repr(x) not in texts:
            self.numbers.append(x)
            texts.append(repr(x))
        return -1 - texts.index(repr(x))

    def step(self, name, *operands):
        """Return the operand that is the result of an op; the same op on the same operands is one step."""
        key = name, *operands
        if key not in self._places:
            self._places[key] = FIRST_STEP + len(self.steps)
            self.steps.append((name, operands))
        return self._places[key]


@functools.cache
def formula(op, place):
    """Return the Formula of d y / d operand of a row: `op` is its code, `place` the operand's, 0 or 1.

    Raises NotImplementedError if the row's text has something that is no op.
    """
    source = ffi.string(lib.pg_op_source(op, 1 + place)).decode()
    out = Formula()
    try:
        expression = _parse(f"double f(double a, double b, double y) {{ return {source}; }}")[1]
        out.result = _translate(expression, out, {"a": A, "b": B, "y": Y})
    except NotImplementedError as error:
        raise NotImplementedError(f"the derivative of {NAMES[op]!r}: {error}") from None
    return out


def tell(op, place):
    """Let csrc/derive.c know the formula of a row."""
    f = formula(op, place)
    steps = ffi.new("pg_step[]", [{"op": CODES[name], "operands": operands} for name, operands in f.steps])
    numbers = ffi.new("double[]", f.numbers)
    sizes = {"step_count": len(f.steps), "number_count": len(f.numbers), "result": f.result}
    status = lib.pg_set_formula(op, place, ffi.new("pg_formula *", {"steps": steps, "numbers": numbers, **sizes}))
    if status == lib.PG_NO_MEMORY:
        raise MemoryError("no memory for a formula; nothing was changed")
    if status != lib.PG_OK:
        raise NotImplementedError(f"the derivative of {NAMES[op]!r} has more than 64 steps")


def evaluate(f, a, b, y, apply):
    """Return the result of a Formula at these operands, of any kind: `apply(name, operands)` is that of one op."""
    known = [a, b, y]

    def operand(which):
        return f.numbers[-1 - which] if which < 0 else known[which]

    for name, operands in f.steps:
        known.append(apply(name, tuple(map(operand, operands))))
    return operand(f.result)


# --- from C -----------------------------------------------------------------------------------------------------------


def _parse(function):
    """Return the names of a C function's parameters, and the expression that it returns."""
    definition = _parser().parse(function).ext[0]
    return [p.name for p in definition.decl.type.args.params], definition.body.block_items[0].expr


@functools.cache
def _parser():
    from pycparser import CParser  # here: who needs no second derivative need not wait for it

    return CParser()


def _translate(node, out, names):
    """Add the steps of a C expression to the Formula `out`; return the operand that it is. `names` are operands too."""
    kind = type(node).__name__
    if kind not in _TRANSLATIONS:
        raise NotImplementedError(f"there is no translation of C's {kind} to ops")
    return _TRANSLATIONS[kind](node, out, names)


def _constant(node, out, names):
    text = node.value.lower()
    return out.number(float.fromhex(text) if text.startswith("0x") else float(text.rstrip("lfu")))


def _name(node, out, names):
    return out.number(_CONSTANTS[node.name]) if node.name in _CONSTANTS else names[node.name]


def _cast(node, out, names):
    return _translate(node.expr, out, names)


def _unary(node, out, names):
    inner = _translate(node.expr, out, names)
    if node.op == "!":
        return out.step("equal", inner, out.number(0.0))
    if node.op == "+":
        return inner
    return out.number(-out.numbers[-1 - inner]) if inner < 0 else out.step("neg", inner)


def _binary(node, out, names):
    name, is_reversed = (_ARITHMETIC[node.op], False) if node.op in _ARITHMETIC else _CONDITIONS[node.op]
    operands = [_translate(side, out, names) for side in (node.left, node.right)]
    return out.step(name, *(operands[::-1] if is_reversed else operands))


def _choice(node, out, names):
    """`c ? x : y`: both are computed. Where one is not chosen its operands are replaced, lest it has an infinite slope
    there: times the 0.0 that it gets, that would be nan."""
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
    """Names, each of which is guarded when it is first asked for."""

    def __init__(self, names, guard):
        self._names, self._guard = names, guard

    def __getitem__(self, name):
        return self._guard(self._names[name])


def _may_have_poles(node):
    """True for an expression that calls a function or divides."""
    kind = type(node).__name__
    return kind == "FuncCall" or getattr(node, "op", "") == "/" or any(_may_have_poles(c) for _, c in node.children())


def _call(node, out, names):
    operands = [_translate(argument, out, names) for argument in node.args.exprs]
    name = _OTHER_NAMES.get(node.name.name, node.name.name)
    name = name.removeprefix("pg_") if name.removeprefix("pg_") in CODES else name  # pg_sigmoid is the op sigmoid
    if name in CODES:
        return out.step(name, *operands)
    if source := _helper(name):
        parameters, expression = _parse(source)
        return _translate(expression, out, dict(zip(parameters, operands)))
    raise NotImplementedError(f"{name}() is neither an op nor one of csrc/helpers.def")


def _helper(name):
    """Return the text of a helper of csrc/helpers.def, or None."""
    i = 0
    while source := lib.pg_helper_source(i):
        text = ffi.string(source).decode()
        if re.match(rf"static \w+ {name}\(", text):
            return text
        i += 1
    return None


_TRANSLATIONS = {
    "Constant": _constant,
    "ID": _name,
    "Cast": _cast,
    "UnaryOp": _unary,
    "BinaryOp": _binary,
    "TernaryOp": _choice,
    "FuncCall": _call,
}
