"""Tape: a recorded function in C's memory (csrc/tape/tape.h), which can be printed, and copied to plain arrays."""

from array import array

from pygrad import engine
from pygrad.common.nested import check_result, flatten, or_lists, plain
from pygrad.common.numbers import shortened
from pygrad.engine import cells
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check
from pygrad.engine.optable import CODES, NAMES

PASSES = {
    "fold": lib.PG_PASS_FOLD,
    "share": lib.PG_PASS_SHARE,
    "fuse": lib.PG_PASS_FUSE,
    "hoist": lib.PG_PASS_HOIST,
}
_MEMORY = "the tape"


class Tape:
    """A recorded function. `str(tape)` shows it, one operation a line.

    structure   that of the output
    parameters  the Values that a run reads, and to whose gradients it adds
    point       the numbers that the function was recorded with, one for each input
    """

    def __init__(self, inputs, out, since, passes):
        outputs = []
        self.structure = plain(flatten(out, outputs, _as_output))
        check_result(self.structure)
        self.passes = passes
        self._cell, culprit = cells.new_tape(), ffi.new("pg_id *")
        ids = [[v._pg_id for v in values] for values in (inputs, outputs)]
        status = lib.pg_tape_new(len(inputs), ids[0], len(outputs), ids[1], since, self._cell, culprit)
        if status == lib.PG_NOT_REPLAYABLE:
            raise TypeError(_not_replayable(culprit[0], outputs))
        check(status, of=_MEMORY)
        self.handle = self._cell.tape
        check(lib.pg_tape_optimize(self.handle, passes), of=_MEMORY)
        self._open()
        self.parameters = engine.leaves_of(list(self.parameter_ids), outputs)

    @classmethod
    def from_state(cls, state, ops, parameters, visible, passes):
        """Return the tape that `state()` described in the dict `state`, over the Values of the list `parameters`.

        The tape's attribute `parameters` has only those of its Values that are among the first `visible` of the list.
        `ops` translates: ops[i] is the code here of the op that the state calls i, or -1 if there is none. Nothing in
        the arrays of the state is trusted: ValueError if no program could have made such a tape.
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
        cell, broken = cells.new_tape(), ffi.new("char const **")
        status = lib.pg_tape_from(image, cell, broken)
        if status == lib.PG_BAD_TAPE:
            raise ValueError(ffi.string(broken[0]).decode())
        check(status, of=_MEMORY)
        self = cls.__new__(cls)
        self._cell, self.handle = cell, cell.tape
        self.structure, self.passes, self.point = state["output"], passes, state["point"]
        self.parameters = [parameters[i] for i in state["parameters"] if i < visible]
        self._open()
        return self

    def state(self):
        """Return all of the tape but its parameters, as a dict of plain arrays and sizes."""
        image = ffi.new("pg_tape_image *")
        lib.pg_tape_image_size(self.handle, image)
        numbers, words = array("d", bytes(8 * image.number_count)), array("i", bytes(4 * image.word_count))
        outputs = ffi.new("int32_t[]", image.outputs)
        lib.pg_tape_write(self.handle, ffi.from_buffer("double[]", numbers), ffi.from_buffer("int32_t[]", words))
        lib.pg_tape_outputs(self.handle, outputs)
        arrays = {"outputs": array("i", outputs), "words": words, "point": self.point, "numbers": numbers}
        return {"output": self.structure, "constants": image.constants, **arrays}

    def __reduce__(self):
        """Copies and pickles have the same operations, over copies of the parameters."""
        values = {p._pg_id: p for p in self.parameters}
        gone = [id for id in self.parameter_ids if id not in values]
        places = {id: i for i, id in enumerate([*values, *gone])}
        state = {**self.state(), "parameters": array("i", [places[id] for id in self.parameter_ids])}
        return _from_pickle, (state, NAMES, self.parameters, array("d", map(lib.pg_data, gone)), self.passes)

    def _open(self):
        """Read the sizes and parameters of the finished tape in C, and make the replay that runs it."""
        self._sizes = ffi.new("pg_tape_sizes *")
        lib.pg_tape_size(self.handle, self._sizes)
        self.parameter_ids = ffi.new("pg_id[]", self._sizes.parameters)
        lib.pg_tape_parameters(self.handle, self.parameter_ids)
        self.place_of_parameter = {id: place for place, id in enumerate(self.parameter_ids)}
        self._replay = self.new_replay()
        self.replay = self._replay.replay

    def new_replay(self):
        """Return a cell with a pg_replay: the memory for running this tape. It may outlive the Tape."""
        cell = cells.new_replay()
        check(lib.pg_replay_new(self.handle, self.passes, cell), of=_MEMORY)
        return cell

    @property
    def input_count(self):
        return self._sizes.inputs

    @property
    def output_count(self):
        return self._sizes.outputs

    def output_places(self):
        """Return the place of each output, in a list."""
        places = ffi.new("int32_t[]", self.output_count)
        lib.pg_tape_outputs(self.handle, places)
        return list(places)

    def parameter_values(self):
        """Return the parameters as Values, one for each place; one whose Value is gone is a number for good."""
        values = {p._pg_id: p for p in self.parameters}
        return [values[id] if id in values else engine.number(lib.pg_data(id)) for id in self.parameter_ids]

    def operations(self):
        """Yield (name, number, places of the operands) for each place behind the parameters.

        First come the constants, by the name "constant". An op with a list has -1 for a start or bias that is missing.
        """
        op, literal, operands = _buffers(self._sizes)
        for node in range(self._sizes.inputs + self._sizes.parameters, self._sizes.nodes):
            n = lib.pg_tape_read(self.handle, node, op, literal, operands)
            yield NAMES[op[0]] if op[0] < len(NAMES) else "constant", literal[0], list(operands[0:n])

    def __len__(self):
        """Return the number of operations."""
        s = self._sizes
        return s.nodes - s.inputs - s.parameters - s.constants

    def __str__(self):
        return "\n".join(_lines(self.handle, self._sizes))

    def name_of(self, node):
        """Return the operation at place `node` of the tape as a line of text."""
        return _line(self.handle, self._sizes, node, _buffers(self._sizes))

    def leaf_at(self, node):
        """Return the name of the input or parameter at place `node`, with the label of its Value if that has one."""
        name, place = _operand(self.handle, self._sizes, node, None), node - self._sizes.inputs
        id = self.parameter_ids[place] if 0 <= place < self._sizes.parameters else 0
        labels = [p.label for p in self.parameters if p._pg_id == id and p.label]
        return f"{name} ({labels[0]})" if labels else name

    def operation_at(self, node, columns, sample):
        """Return the operation at place `node`, its value and those of its operands at one sample: a text, a float, and
        a text such as "x0 = 1.0, v2 = 0.0"."""
        values, buffers = ffi.new("double[]", self._sizes.nodes), _buffers(self._sizes)
        lib.pg_tape_values(self.handle, columns, sample, values)
        n = lib.pg_tape_read(self.handle, node, *buffers)
        leaves = self._sizes.inputs + self._sizes.parameters
        names = {
            i: self.leaf_at(i) if i < leaves else _operand(self.handle, self._sizes, i, _buffers(self._sizes))
            for i in buffers[2][0:n]
            if i >= 0
        }
        operands = [f"{name} = {values[i]!r}" for i, name in names.items() if name != repr(values[i])]
        return self.name_of(node), values[node], shortened(", ".join(operands))


def _from_pickle(state, names, parameters, gone, passes):
    ops = [CODES.get(name, -1) for name in names]
    return Tape.from_state(state, ops, [*parameters, *map(engine.Value, gone)], len(parameters), passes)


@or_lists
def _as_output(out):
    if engine.is_value(out):
        return out
    try:
        return engine.Value(out)
    except TypeError:
        kind = type(out).__name__
        raise TypeError(f"a compiled function must return Values or numbers, or lists of them, not {kind}") from None


def _not_replayable(id, outputs):
    [value] = engine.values_of([id], outputs)
    name = value._op or "a Value"
    label = f" (label {value.label!r})" if value.label else ""
    if name == "checkpoint":
        return f"the result of a checkpoint{label} cannot be recorded: call the function without pygrad.checkpoint"
    return (
        f"the operation {name!r}{label} has a _backward or local gradients of its own, which only Python can run: "
        "declare it with pygrad.custom_op to compile it"
    )


# --- printing ---------------------------------------------------------------------------------------------------------


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
    """Return the name of a node: x0 of an input, p0 of a parameter, v0 of an operation, the number of a constant."""
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
    name, number, ids = NAMES[op[0]], literal[0], list(operands[0:n])
    target = _operand(tape, sizes, node, buffers)
    names = [_operand(tape, sizes, i, _buffers(sizes)) if i >= 0 else "0.0" for i in ids]
    if name in ("dot", "declared"):
        pairs = [f"{a}*{b}" for a, b in zip(names[1::2], names[2::2])]
        return f"{target} = {name}({'; '.join([names[0], ', '.join(pairs)])})"
    if name == "power":
        return f"{target} = power({names[0]}, {number!r})"
    return f"{target} = {name}({', '.join(names[1:] if name == 'take' else names)})"
