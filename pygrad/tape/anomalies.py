"""`detect_anomaly()` for recorded functions: which op of the program, at which line, made the nan or inf that C found?

While a block is open, C checks each sample before it runs a batch (csrc/tape/anomaly.c), and says which operation of
the tape is not finite, in which sample. A tape knows no lines. So here the Python function is called once more, for
this sample, under the checks of eager code. If that finds nothing (there is no Python code, or it does something else
by now), the error shows the operation of the tape.
"""

from pygrad.engine import Value, adjoints, cells
from pygrad.engine._lib import ffi, lib
from pygrad.engine.modes import enable_grad
from pygrad.tape.call import apply


def error_of(run, found):
    """Return the FloatingPointError for what C has found in a batch of `run`; `found` is its pg_batch or pg_fit."""
    node = found.bad_node
    if found.bad_kind == lib.PG_ANOMALY_SUM:
        return FloatingPointError("the sum of the results of all samples is not finite, though each result is")
    if found.bad_kind == lib.PG_ANOMALY_GRADIENT_SUM:
        return FloatingPointError(f"the sum of the gradients of {run.tape.leaf_at(node)} is not finite")
    if found.bad_kind == lib.PG_ANOMALY_BEFORE:
        return FloatingPointError(
            f"the gradient of {run.tape.leaf_at(node)} is not finite before the backward pass has begun: set it to 0 "
            "first"
        )
    where = f"; {run.place_of(found.bad_sample)}"
    try:
        _call_again(run, found)
    except FloatingPointError as error:
        return FloatingPointError(f"{error}{where}")
    except Exception as error:  # the function has changed, or was loaded without its code
        why = error
    else:
        why = None
    if found.bad_kind == lib.PG_ANOMALY_CONSTANT:
        text = "an operation on constants gave a number that is not finite"
    else:
        text = _of_tape(run.tape, found.bad_kind, node, found.bad_sample, run.columns)
    error = FloatingPointError(text + where)
    error.__cause__ = why
    return error


def check_eagerly(function, key, numbers):
    """Call a transform with the numbers of one sample under the checks of eager code, for the errors that it raises."""
    with enable_grad(), cells.quiet():
        apply(function, key, iter(numbers))


def _call_again(run, found):
    """Call the Python function for the sample with the anomaly, and derive it if the anomaly is in a gradient."""
    numbers = [column.data[found.bad_sample * column.step] for column in run.columns[0 : run.tape.input_count]]
    key = run.call.key
    is_value = found.bad_kind in (lib.PG_ANOMALY_VALUE, lib.PG_ANOMALY_CONSTANT)
    if is_value and (transform := run.compiled.of_numbers(key)):
        check_eagerly(transform, key, numbers)
    leaves = [Value(number) for number in numbers]
    with enable_grad(), cells.quiet():
        y = apply(run.compiled.called(key), key, iter(leaves))
        if found.bad_kind == lib.PG_ANOMALY_GRADIENT:
            only_inputs, targets = getattr(found, "inputs_only", False), getattr(found, "input_grads", ffi.NULL)
            wanted = [] if only_inputs else [p for p in run.tape.parameters if p.requires_grad]
            wanted += [leaf for i, leaf in enumerate(leaves) if targets and targets[i].data]
            adjoints([y], [1.0 / run.n if run.reduction == "mean" else 1.0], wanted)


def _of_tape(tape, kind, node, sample, columns):
    """Return the message about an operation of the tape."""
    line, value, operands = tape.operation_at(node, columns, sample)
    if kind == lib.PG_ANOMALY_VALUE:
        return f"{line} gave {value}, where {operands}"
    return f"the derivative of {line} gave a gradient that is not finite, where {operands}"
