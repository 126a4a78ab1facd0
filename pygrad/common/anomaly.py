"""`detect_anomaly()`: stop at the first nan or inf, and name the op and the source line that made it."""

import contextlib
import linecache
import math
import threading

from pygrad.common import forks
from pygrad.common.caller import caller
from pygrad.common.value_base import MADE_AT, op_and_label

depth = 0  # how many detect_anomaly() blocks are open, in all threads; the engines read it in every operation
_told = []  # functions to call with each new depth: the native proxy keeps a copy in C
_blocks = {}  # of each open block: a token -> the number of the thread that opened it; another thread may close it


@contextlib.contextmanager
def detect_anomaly():
    """Within the block, raise FloatingPointError at the first operation whose result, or gradient, is not finite.

    The message names the op, its operands, their labels and the line of your program. It also names an operand that was
    nan or inf already: a leaf, or a Value that was made or set outside the block. While the block is open, every thread
    is checked. Checking costs time: use it to look for an error.

    >>> import pygrad
    >>> x = pygrad.Value(0.0, label="x")
    >>> try:
    ...     with pygrad.detect_anomaly():
    ...         y = x.log()
    ... except FloatingPointError as error:
    ...     print(str(error).partition(", in ")[0])  # file, line and source follow
    'log' gave -inf from (x=0.0)
    """
    block = object()
    with forks.changing:
        _blocks[block] = threading.get_ident()
        _tell_depth()
    try:
        yield
    finally:
        _end([block])


def tell_depth_to(function):
    """Call `function(depth)` whenever `depth` changes."""
    _told.append(function)
    function(depth)


def _tell_depth():
    global depth
    depth = len(_blocks)
    for function in _told:
        function(depth)


def _end(blocks):
    with forks.changing:
        for block in blocks:
            _blocks.pop(block, None)  # in the child of a fork it may be gone
        _tell_depth()


def _forget_other_threads():
    """End the blocks of other threads: the child of a fork has none of them."""
    _end([block for block, thread in _blocks.items() if thread != threading.get_ident()])


forks.in_child(_forget_other_threads)


def check_forward(node, operands):
    """Note the source line of a new node, and raise if its data is not finite."""
    node.__dict__[MADE_AT] = caller()
    data = node._read()
    if not math.isfinite(data):
        raise FloatingPointError(
            f"{op_and_label(node)} gave {data} from {_data(operands)}{_place(node)}{_inherited(operands)}"
        )


def check_before(receivers):
    """Raise if a gradient is not finite before the pass begins: the pass would blame it on the wrong op."""
    for v in receivers:
        if not math.isfinite(v.grad):
            raise FloatingPointError(f"a gradient is {v.grad} before backward() has begun: set it to 0 first")


def check_backward(node, operands, receivers):
    """Raise if the gradient of a receiver is not finite after `node` has passed its own gradient on to it."""
    for v in receivers:
        if not math.isfinite(v.grad):
            raise FloatingPointError(
                f"the derivative of {op_and_label(node)} at {_data(operands)} gave a gradient of {v.grad}"
                f"{_to(v)}{_place(node)}{_inherited(operands)}"
            )


def _data(operands):
    shown = ", ".join((f"{v.label}=" if v.label else "") + repr(v._read()) for v in operands[:4])
    return f"({shown}, … {len(operands)} operands)" if len(operands) > 4 else f"({shown})"


def _to(receiver):
    return f" to {receiver.label!r}" if receiver.label else ""


def _inherited(operands):
    """Name the first operand that is not finite, if there is one: then this op is not to blame."""
    for i, v in enumerate(operands, 1):
        if not math.isfinite(v._read()):
            return f"; operand {i} of {len(operands)} was {v._read()} already"
    return ""


def _place(node):
    if MADE_AT not in node.__dict__:
        return " (made before detect_anomaly() began)"
    filename, line = node.__dict__[MADE_AT]
    source = linecache.getline(filename, line).strip()
    return f', in {filename}, line {line}: "{source}"' if source else f", in {filename}, line {line}"
