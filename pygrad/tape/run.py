"""One call of a compiled function: arguments in, outputs and gradients out."""

from array import array

from pygrad.common.nested import build_lists, dimensions
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check


class Run:
    """One call of a compiled function: its tape, its arguments, its batch for C, and its outputs.

    `samples` is None if no argument has samples: then there is one sample, and results have no dimension for it.
    """

    def __init__(self, compiled, tape, arguments, samples):
        self.tape, self.arguments, self.samples = tape, arguments, samples
        self.reduction = compiled.reduction_of(tape)
        n = self.n = 1 if samples is None else samples
        self.columns = ffi.new("pg_column[]", [column for a in arguments for column in a.columns])
        self.batch = ffi.new("pg_batch *", {"samples": n, "columns": self.columns, "threads": compiled.threads})
        self.batch.divisor = n if self.reduction == "mean" else 1
        self.outputs = array("d", bytes(8 * tape.output_count * (n if self.reduction == "none" else 1)))
        self._held = ffi.from_buffer("double[]", self.outputs)  # Bound.output is this array: a user must not shorten it
        setattr(self.batch, "outputs" if self.reduction == "none" else "sums", self._held)

    def forward(self):
        self.run()
        return self._output()

    def backward(self, inputs):
        self.check_one_number()
        self.seed()
        if inputs:
            grads = self.want_input_gradients()
        self.run()
        return (self._output(), self._gradients(grads)) if inputs else self._output()

    def run(self):
        self.check(lib.pg_replay_run(self.tape.replay, self.batch), self.batch)

    def seed(self):
        """Have the batch run backward too."""
        number = ffi.new("double[]", [1.0 / self.n if self.reduction == "mean" else 1.0])
        self.seeds = number, ffi.new("pg_column[]", [(number, 0)] * self.tape.output_count)
        self.batch.seeds = self.seeds[-1]

    def is_one_number(self, per_sample=False):
        """True if the result is one number, so that it has a gradient; or, if `per_sample`, one for each sample."""
        return self.tape.output_count == 1 and (self.reduction != "none" or self.samples is None or per_sample)

    def check_one_number(self, per_sample=False):
        """Raise ValueError unless the result is one number."""
        if not self.is_one_number(per_sample):
            raise ValueError('this needs one number: return one, and compile with reduction="mean" or "sum"')

    def check(self, status, where):
        if status == lib.PG_BAD_INDEX:
            line = self.tape.name_of(where.bad_node)
            raise IndexError(f"sample {where.bad_sample}: the index of {line} is out of range, or not whole")
        check(status, of="this batch")

    def _output(self):
        if self.reduction != "none" or self.samples is None:
            return build_lists(self.tape.structure, iter(self.outputs))
        as_array = any(a.is_array for a in self.arguments if a.samples is not None)
        return self._shaped(self.outputs, self.tape.structure, as_array)

    def _shaped(self, numbers, structure, as_array):
        """Return the numbers of all samples, shaped (samples, ...): an array if `as_array`, or else nested lists."""
        if as_array and (shape := dimensions(structure)) is not None:
            import numpy

            return numpy.frombuffer(numbers, dtype=float).reshape(self.n, *shape).copy()
        items = iter(numbers)
        return list(items) if structure is None else [build_lists(structure, items) for _ in range(self.n)]

    def want_input_gradients(self):
        """Have the batch write the inputs' gradients; return the array for them: (samples, width) for each argument."""
        grads = array("d", bytes(8 * self.n * self.tape.input_count))
        held, targets = ffi.from_buffer("double[]", grads), []
        first = held
        for argument in self.arguments:
            targets += [(first + k, argument.width) for k in range(argument.width)]
            first += self.n * argument.width
        self.targets = ffi.new("pg_target[]", targets), held
        self.batch.input_grads = self.targets[0]
        return grads

    def _gradients(self, grads):
        out, begin = [], 0
        for argument in self.arguments:
            width = argument.width
            mine = grads[begin : begin + self.n * width]
            begin += self.n * width
            if argument.samples is not None:
                out.append(self._shaped(mine, argument.structure, argument.is_array))
            else:
                out.append(build_lists(argument.structure, (sum(mine[k::width]) for k in range(width))))
        return tuple(out)
