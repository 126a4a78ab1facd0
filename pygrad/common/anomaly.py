"""What `detect_anomaly()` checks: stop at the first nan or inf, and name the op and the source line that made it."""

import contextlib
import math

from pygrad.common import forks
from pygrad.common.caller import caller
from pygrad.common.nested import flatten
from pygrad.common.numbers import is_number
from pygrad.common.value_base import MADE_AT, op_and_label

_depth = 0  # how many blocks are open, where there is no compiled part


@contextlib.contextmanager
def detect_anomaly_of_reference():
    """Within the block, raise FloatingPointError at the first operation whose result, or gradient, is not finite.

    The message names the op, its operands, their labels and the line of your program. It also names an operand that was
    nan or inf already: a leaf, or a Value that was made or set outside the block. While the block is open, every thread
    is checked. Checking costs time: use it to look for an error.

    Compiled functions, their derivatives, `bind` and `fit` are checked too, whenever they were recorded. What is not
    finite changes no gradient; `fit` leaves parameters and optimizer as they were after the last good step. The cost:
    each sample is computed once more before a batch, one after the other in one thread; of a Jacobian that needs many
    sweeps, in Python too. Once a sample is found the Python function is called for it, to name the line, and does
    again what else it does. If that finds nothing, as for a loaded function, the message shows the operation of the
    tape. A derivative that nobody asked for is not checked, as that by the arguments in `fit`. An operation that no
    result needs is in no recording: it is checked only where the function is recorded within the block.

    >>> import pygrad
    >>> x = pygrad.Value(0.0, label="x")
    >>> try:
    ...     with pygrad.detect_anomaly():
    ...         y = x.log()
    ... except FloatingPointError as error:
    ...     print(str(error).partition(", in ")[0])  # file, line and source follow
    'log' gave -inf from (x=0.0)
    """
    # It serves where there is no compiled part; else pygrad.engine.modes.detect_anomaly does, with this docstring.
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_on():
    """Return True while a thread is within detect_anomaly(). (pygrad.engine puts a function of its own here.)"""
    return _depth > 0


def check_forward(node, operands):
    """Note the source line of a new node, and raise if its data is not finite."""
    node.__dict__[MADE_AT] = caller()
    data = node._read()
    if not math.isfinite(data):
        raise FloatingPointError(
            f"{op_and_label(node)} gave {data} from {_data(operands)}{_place(node)}{_inherited(operands)}"
        )


def check_call(name, y, xs):
    """Raise if `y`, what the custom op of this name has returned for the arguments `xs`, is not finite."""
    numbers = []
    flatten(y, numbers, lambda v: v if is_number(v) else v._read())
    for data in numbers:
        if is_on() and not math.isfinite(data):
            raise FloatingPointError(f"{name!r} gave {data} from {_data(xs)}{_at(*caller())}{_inherited(xs)}")


def check_before(receivers):
    """Raise if a gradient is not finite before the pass begins: the pass would blame it on the wrong op."""
    for v in receivers:
        if not math.isfinite(v._read_grad()):
            raise FloatingPointError(f"a gradient is {v._read_grad()} before backward() has begun: set it to 0 first")


def check_backward(node, operands, receivers):
    """Raise if the gradient of a receiver is not finite after `node` has passed its own gradient on to it."""
    for v in receivers:
        if not math.isfinite(v._read_grad()):
            raise FloatingPointError(
                f"the derivative of {op_and_label(node)} at {_data(operands)} gave a gradient of {v._read_grad()}"
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
    return _at(*node.__dict__[MADE_AT])


def _at(filename, line):
    with forks.importing:
        import linecache  # here, for its import takes a while
    source = linecache.getline(filename, line).strip()
    return f', in {filename}, line {line}: "{source}"' if source else f", in {filename}, line {line}"
