"""The op table (csrc/ops.def) as Python sees it: each op's code, name, label and arity."""

from pygrad.engine._lib import ffi, lib

NAMES = [ffi.string(lib.pg_op_name(op)).decode() for op in range(lib.pg_op_count())]
LABELS = [ffi.string(lib.pg_op_label(op)).decode() for op in range(lib.pg_op_count())]
ARITIES = [lib.pg_op_arity(op) for op in range(len(NAMES))]
CODES = {name: op for op, name in enumerate(NAMES)}
OPS = {name: (LABELS[op], ARITIES[op]) for name, op in CODES.items()}  # the table of csrc/ops.def
