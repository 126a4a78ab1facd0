"""The op table (csrc/ops.def) as Python sees it: each op's code, name, label and arity."""

from pygrad.engine._lib import ffi, lib

NAMES = [ffi.string(lib.pg_op_name(op)).decode() for op in range(lib.pg_op_count())]
LABELS = tuple([ffi.string(lib.pg_op_label(op)).decode() for op in range(lib.pg_op_count())])  # the native proxy's too
ARITIES = [lib.pg_op_arity(op) for op in range(len(NAMES))]
CODES = {name: op for op, name in enumerate(NAMES)}
OPS = {name: (LABELS[op], ARITIES[op]) for name, op in CODES.items()}  # the table of csrc/ops.def


def _receivers(op):
    first, step = ffi.new("int *"), ffi.new("int *")
    lib.pg_op_receivers(op, first, step)
    return slice(first[0], None, step[0]) if step[0] else slice(0)


RECEIVERS = [_receivers(op) for op in range(len(NAMES))]  # which of its operands an op passes its gradient on to
