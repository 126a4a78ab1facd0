"""The op table (csrc/ops.def) in Python: the code, name, label and arity of each op."""

from pygrad.engine._lib import ffi, lib

NAMES = [ffi.string(lib.pg_op_name(op)).decode() for op in range(lib.pg_op_count())]
LABELS = tuple([ffi.string(lib.pg_op_label(op)).decode() for op in range(lib.pg_op_count())])  # for both proxies
ARITIES = [lib.pg_op_arity(op) for op in range(len(NAMES))]
CODES = {name: op for op, name in enumerate(NAMES)}
OPS = {name: (LABELS[op], ARITIES[op]) for name, op in CODES.items()}


def _receivers(op):
    first, step = ffi.new("int *"), ffi.new("int *")
    lib.pg_op_receivers(op, first, step)
    return slice(first[0], None, step[0]) if step[0] else slice(0)


RECEIVERS = [_receivers(op) for op in range(len(NAMES))]  # by op: the operands that get a gradient
