"""`detect_anomaly()`: stop at the first nan or inf, and name the op and the source line that made it."""

import contextlib
import linecache
import math
import os
import sys

depth = 0  # how many detect_anomaly() blocks are open, in all threads; the engines look at it for every operation
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@contextlib.contextmanager
def detect_anomaly():
    """Within the block, raise FloatingPointError at the first operation whose result, or gradient, is not finite.

    The message names the op, its operands and the line of your program. Costs time: use it to look for an error.
    """
    global depth
    depth += 1
    try:
        yield
    finally:
        depth -= 1


def check_forward(node, operands):
    """Note the source line of a new node, and raise if its data is not finite."""
    node.__dict__["_made_at"] = _caller()
    if not math.isfinite(node.data):
        raise FloatingPointError(f"{_name(node)} gave {node.data} from {_data(operands)}{_place(node)}")


def check_backward(node, operands):
    """Raise if `node`, which has just passed its gradient on, gave an operand one that is not finite."""
    for v in operands:
        if not math.isfinite(v.grad):
            raise FloatingPointError(
                f"the derivative of {_name(node)} at {_data(operands)} gave a gradient of {v.grad}{_place(node)}"
            )


def _name(node):
    return f"{node._op!r}" + (f" (label {node.label!r})" if node.label else "")


def _data(operands):
    shown = ", ".join(f"{v.data!r}" for v in operands[:4])
    return f"({shown}, … {len(operands)} operands)" if len(operands) > 4 else f"({shown})"


def _caller():
    """File and line of the innermost frame outside this package's engine files."""
    frame = sys._getframe(1)
    while frame.f_back and _is_engine(frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _is_engine(filename):
    return filename.startswith(_PACKAGE) and os.sep not in filename[len(_PACKAGE) :]


def _place(node):
    if "_made_at" not in node.__dict__:
        return " (made before detect_anomaly() began)"
    filename, line = node.__dict__["_made_at"]
    source = linecache.getline(filename, line).strip()
    return f', in {filename}, line {line}: "{source}"' if source else f", in {filename}, line {line}"
