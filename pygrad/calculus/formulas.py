"""The derivatives of csrc/ops.def as formulas of a few steps, each an op. They come from csrc/calculus/derive.c."""

import functools

from pygrad.common.named_tuples import named_tuple
from pygrad.engine._lib import lib
from pygrad.engine.optable import NAMES


@named_tuple
class Formula:
    """`steps` are (op's name, operands). Operands and `result` are numbered as pg_step in csrc/pygrad.h says."""

    steps: list
    numbers: list
    result: int


@functools.cache
def formula(op, place):
    """Return the Formula for the derivative of the op with code `op` by its operand at `place`, 0 or 1."""
    found = lib.pg_formula_of(op, place)
    steps = [(NAMES[step.op], _operands(step)) for step in found.steps[0 : found.step_count]]
    return Formula(steps, list(found.numbers[0 : found.number_count]), found.result)


def _operands(step):
    count = lib.pg_op_arity(step.op) or 3  # of a take
    return tuple(step.operands[0:count])


def evaluate(f, a, b, y, apply):
    """Return the result of a Formula at a, b and y, which may be of any type: `apply(name, operands)` runs one op."""
    known = [a, b, y]

    def operand(which):
        return f.numbers[-1 - which] if which < 0 else known[which]

    for name, operands in f.steps:
        known.append(apply(name, tuple(map(operand, operands))))
    return operand(f.result)
