"""Recording a function: run it once on Values, and write the graph that this makes down as a tape (csrc/tape.h).

What a program takes out of a Value while it is recorded becomes part of the tape as the number it is now. That is
mostly a mistake, so it is told: reading `.data`, comparing, drawing random numbers.
"""

import contextlib
import os
import pickle
import random
import sys
import threading
import warnings
from array import array
from pathlib import Path

from pygrad import engine
from pygrad._lib import ffi, lib
from pygrad.arguments import build
from pygrad.nested import flatten, shape

PASSES = {
    "fold": lib.PG_PASS_FOLD,
    "share": lib.PG_PASS_SHARE,
    "fuse": lib.PG_PASS_FUSE,
    "hoist": lib.PG_PASS_HOIST,
}
_HERE = str(Path(__file__).parent) + os.sep
_recording = threading.local()


class TraceWarning(UserWarning):
    """Something was recorded that will not change when the function runs again."""


def is_recording():
    """Return True while this thread records a function, which then must not decide by the numbers it sees."""
    return len(_watches()) > 0


def record(function, structures, numbers, passes, watch=True):
    """Call the function with Values of these numbers, shaped as `structures` say, one an argument.

    With `watch` False it may decide by these numbers: the tape is for them alone.

    Returns a Tape. Raises what the function raises; TypeError if it does not return numbers, or if a node of its graph
    cannot be run again.
    """
    since = lib.pg_trace_begin()
    try:
        inputs = [engine.Value(number) for number in numbers]
        items = iter(inputs)
        arguments = [build(structure, items) for structure in structures]
        enabled = engine.set_grad_enabled(True)  # the first call may be within no_grad()
        try:
            with _Watch({v._pg_id for v in inputs}, since) if watch else contextlib.nullcontext():
                out = function(*arguments)
        finally:
            engine.set_grad_enabled(enabled)
        tape = Tape(inputs, out, since, passes)
        tape.point = array("d", numbers)
        return tape
    finally:
        lib.pg_trace_end()


class _Watch:
    """Warns of what a function takes out of Values while it is recorded, and of random numbers.

    One hook serves all threads that record, and goes with the last; each thread has a stack of the watches in it.
    """

    lock, running, hook_before = threading.Lock(), 0, None

    def __init__(self, input_ids, since):
        self.input_ids, self.since, self.told = input_ids, since, set()

    def __enter__(self):
        self.states = random_states()
        with _Watch.lock:
            if _Watch.running == 0:
                _Watch.hook_before = engine.set_trace_hook(_tell_of_read)
            _Watch.running += 1
        _recording.watches = [*_watches(), self]

    def __exit__(self, kind, error, traceback):
        _recording.watches = _watches()[:-1]
        with _Watch.lock:
            _Watch.running -= 1
            if _Watch.running == 0:
                engine.set_trace_hook(_Watch.hook_before)
        states = random_states()
        if kind is None and any(states[name] != state for name, state in self.states.items()):
            warn_here(
                "the function drew random numbers while it was recorded: every run will use these. Draw them outside, "
                "and pass them as arguments"
            )


def _watches():
    return getattr(_recording, "watches", [])


def _tell_of_read(value, what):
    id = value._pg_id
    for watch in _watches()[-1:]:
        if id > 0 or id in watch.input_ids or not lib.pg_made_since(watch.since, id):
            _tell(_READS[what], watch.told)


_READS = {
    "data": "reading .data of a Value that is being recorded keeps the number of this one run",
    "item()": "item() of a Value that is being recorded keeps the number of this one run",
    "detach()": "detach() of a Value that is being recorded keeps the number of this one run: use pygrad.stop_gradient",
    "a comparison": "a comparison of a Value that is being recorded is decided now, once for all runs",
}
_ADVICE = "; pygrad.where, maximum, minimum, take and less are recorded"


def _tell(message, told):
    """Warn once for each line of the program."""
    frame = _caller()
    place = frame.f_code.co_filename, frame.f_lineno
    if (place, message) not in told:
        told.add((place, message))
        advice = "" if "stop_gradient" in message else _ADVICE
        warnings.warn_explicit(message + advice, TraceWarning, *place, registry={})


def warn_here(message):
    """Warn, at the line of the program that called."""
    frame = _caller()
    warnings.warn_explicit(message, TraceWarning, frame.f_code.co_filename, frame.f_lineno, registry={})


def _caller():
    """Return the frame of the program that called: the innermost that is not of this package."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame


def random_states():
    """Return the states of the global generators of Python, and of NumPy if it is there."""
    states, numpy = {"random": random.getstate()}, sys.modules.get("numpy")
    if numpy:
        states["numpy"] = pickle.dumps(numpy.random.get_state(legacy=False))
    return states


def set_random_states(states):
    """Wind the generators back to what `random_states` returned."""
    random.setstate(states["random"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(pickle.loads(states["numpy"]))


# --- tapes ------------------------------------------------------------------------------------------------------------


class Tape:
    """A recorded function. `str(tape)` is readable: one line an instruction.

    `structure` is that of its output; `parameters` are the Values that it reads and whose gradients it adds to; `point`
    is the numbers it was recorded with, one an input.
    """

    def __init__(self, inputs, out, since, passes):
        outputs = []
        self.structure = shape(flatten(out, outputs, _as_output))
        self.passes = passes
        tape, culprit = ffi.new("pg_tape **"), ffi.new("pg_id *")
        ids = [[v._pg_id for v in values] for values in (inputs, outputs)]
        status = lib.pg_tape_new(len(inputs), ids[0], len(outputs), ids[1], since, tape, culprit)
        if status == lib.PG_NOT_REPLAYABLE:
            raise TypeError(_not_replayable(culprit[0], outputs))
        check(status)
        self.handle = ffi.gc(tape[0], lib.pg_tape_free)
        check(lib.pg_tape_optimize(self.handle, passes))
        self._open()
        self.parameters = engine.leaves_of(list(self.parameter_ids), outputs)

    @classmethod
    def from_state(cls, state, ops, parameters, visible, passes):
        """Return the tape whose `state()` was the dict `state`, which may be anything, over these parameters (Values).

        Of these, `visible` are the first ones, which the tape has as `parameters`; ops[i] is the op that words of the
        state call i, or -1. Raises ValueError if it is not a tape that a program could have made.
        """
        own, numbers, words = [parameters[i] for i in state["parameters"]], state["numbers"], state["words"]
        arrays = {
            "numbers": ffi.from_buffer("double[]", numbers),
            "words": ffi.from_buffer("int32_t[]", words),
            "output_places": ffi.from_buffer("int32_t[]", state["outputs"]),
            "ops": ffi.new("int32_t[]", ops),
            "ids": ffi.new("pg_id[]", [value._pg_id for value in own]),
        }
        sizes = {"inputs": len(state["point"]), "parameters": len(own), "outputs": len(state["outputs"])}
        sizes |= {"constants": state["constants"], "number_count": len(numbers), "word_count": len(words)}
        image = ffi.new("pg_tape_image *", {**arrays, **sizes, "op_count": len(ops)})
        tape, broken = ffi.new("pg_tape **"), ffi.new("char const **")
        status = lib.pg_tape_from(image, tape, broken)
        if status == lib.PG_BAD_TAPE:
            raise ValueError(ffi.string(broken[0]).decode())
        check(status)
        self = cls.__new__(cls)
        self.handle = ffi.gc(tape[0], lib.pg_tape_free)
        self.structure, self.passes, self.point = state["output"], passes, state["point"]
        self.parameters = [parameters[i] for i in state["parameters"] if i < visible]
        self._open()
        return self

    def state(self):
        """Return what the tape is, beside its parameters, in plain arrays."""
        image = ffi.new("pg_tape_image *")
        lib.pg_tape_image_size(self.handle, image)
        numbers, words = array("d", bytes(8 * image.number_count)), array("i", bytes(4 * image.word_count))
        outputs = ffi.new("int32_t[]", image.outputs)
        lib.pg_tape_write(self.handle, ffi.from_buffer("double[]", numbers), ffi.from_buffer("int32_t[]", words))
        lib.pg_tape_outputs(self.handle, outputs)
        arrays = {"outputs": array("i", outputs), "words": words, "point": self.point, "numbers": numbers}
        return {"output": self.structure, "constants": image.constants, **arrays}

    def _open(self):
        """Read the sizes of a tape that is done, and make what runs it."""
        self._sizes = ffi.new("pg_tape_sizes *")
        lib.pg_tape_size(self.handle, self._sizes)
        self.parameter_ids = ffi.new("pg_id[]", self._sizes.parameters)
        lib.pg_tape_parameters(self.handle, self.parameter_ids)
        self.place_of_parameter = {id: place for place, id in enumerate(self.parameter_ids)}
        self.replay = self.new_replay()

    def new_replay(self):
        """Return memory for running this tape; it may outlive the Tape."""
        replay, tape = ffi.new("pg_replay **"), self.handle
        check(lib.pg_replay_new(tape, self.passes, replay))

        def free(replay, _tape=tape):  # the tape is there until its last replay has gone
            lib.pg_replay_free(replay)

        return ffi.gc(replay[0], free)

    @property
    def input_count(self):
        return self._sizes.inputs

    @property
    def output_count(self):
        return self._sizes.outputs

    def __len__(self):
        """The number of operations."""
        s = self._sizes
        return s.nodes - s.inputs - s.parameters - s.constants

    def __str__(self):
        return "\n".join(_lines(self.handle, self._sizes))

    def name_of(self, node):
        """Return one instruction as text."""
        return _line(self.handle, self._sizes, node, _buffers(self._sizes))


def _as_output(out):
    if isinstance(out, engine.Value):
        return out
    try:
        return engine.Value(out)
    except TypeError:
        kind = type(out).__name__
        raise TypeError(f"a compiled function must return Values or numbers, or lists of them, not {kind}") from None


def check(status):
    if status == lib.PG_BUSY:
        raise RuntimeError("a backward pass is still running over part of this graph: let it end first")
    if status == lib.PG_NO_NODE:
        raise RuntimeError("this Value was never initialised: call Value.__init__(self, data) first")
    if status != lib.PG_OK:
        raise MemoryError("no memory for the tape; nothing was changed")


def _not_replayable(id, outputs):
    value = engine.find_value(id, outputs)
    name = getattr(value, "_op", "") or "a Value"
    label = f" (label {value.label!r})" if value is not None and value.label else ""
    return (
        f"the operation {name!r}{label} has a _backward or local gradients of its own, which only Python can run: "
        "declare it with pygrad.custom_op to compile it"
    )


# --- printing ---------------------------------------------------------------------------------------------------------

_KINDS = {"input": "x", "parameter": "p", "constant": ""}


def _buffers(sizes):
    return ffi.new("int *"), ffi.new("double *"), ffi.new("int32_t[]", sizes.list_size + 2)


def _lines(tape, sizes):
    buffers = _buffers(sizes)
    first = sizes.inputs + sizes.parameters + sizes.constants
    for node in range(first, sizes.nodes):
        yield _line(tape, sizes, node, buffers)
    outputs = ffi.new("int32_t[]", sizes.outputs)
    lib.pg_tape_outputs(tape, outputs)
    yield f"return {', '.join(_operand(tape, sizes, node, _buffers(sizes)) for node in outputs)}"


def _operand(tape, sizes, node, buffers):
    """Return the name of a node: x0 an input, p0 a parameter, v0 an operation, a constant's number."""
    if node < sizes.inputs:
        return f"x{node}"
    if node < sizes.inputs + sizes.parameters:
        return f"p{node - sizes.inputs}"
    first = sizes.inputs + sizes.parameters + sizes.constants
    if node >= first:
        return f"v{node - first}"
    op, literal, operands = buffers
    lib.pg_tape_read(tape, node, op, literal, operands)
    return repr(literal[0])


def _line(tape, sizes, node, buffers):
    op, literal, operands = buffers
    n = lib.pg_tape_read(tape, node, op, literal, operands)
    name, number, ids = ffi.string(lib.pg_op_name(op[0])).decode(), literal[0], list(operands[0:n])
    target = _operand(tape, sizes, node, buffers)
    names = [_operand(tape, sizes, i, _buffers(sizes)) if i >= 0 else "0.0" for i in ids]
    if name in ("dot", "declared"):
        pairs = [f"{a}*{b}" for a, b in zip(names[1::2], names[2::2])]
        return f"{target} = {name}({'; '.join([names[0], ', '.join(pairs)])})"
    if name == "power":
        return f"{target} = power({names[0]}, {number!r})"
    return f"{target} = {name}({', '.join(names[1:] if name == 'take' else names)})"
