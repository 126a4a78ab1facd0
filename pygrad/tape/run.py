"""One call of a compiled function: arguments in, outputs and gradients out."""

from array import array

from pygrad.common import forks
from pygrad.common.nested import build_lists, dimensions
from pygrad.common.numbers import shortened
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check
from pygrad.tape import anomalies


class Run:
    """One call of a compiled function: its tape, its arguments, its batch for C, and its outputs.

    `samples` is None if no argument has samples: then there is one sample, and results have no dimension for it.

    The batch has bare pointers, which keep no memory alive. So this object keeps all memory that they lead to:
    `arguments`, `columns`, `_output_memory`, `_seed`, `_seeds`, `_gradient_memory` and `_targets`.
    """

    numbers_of_samples = None  # those that the user knows them by; None: 0, 1, 2, ...

    def __init__(self, compiled, tape, arguments, samples):
        self.compiled, self.tape, self.arguments, self.samples = compiled, tape, arguments, samples
        self.reduction = compiled.reduction_of(tape)
        n = self.n = 1 if samples is None else samples
        self.columns = ffi.new("pg_column[]", [column for a in arguments for column in a.columns])
        self.batch = ffi.new("pg_batch *", {"samples": n, "columns": self.columns, "threads": compiled.threads})
        self.batch.divisor = n if self.reduction == "mean" else 1
        if not compiled.is_checked:
            self.batch.unchecked = 1
        self.outputs = array("d", bytes(8 * tape.output_count * (n if self.reduction == "none" else 1)))
        # While this pointer lives, `outputs` cannot be made longer or shorter: a user has it as Bound.output.
        self._output_memory = ffi.from_buffer("double[]", self.outputs)
        setattr(self.batch, "outputs" if self.reduction == "none" else "sums", self._output_memory)

    def forward(self):
        self.run()
        return self._output()

    def backward(self, with_inputs):
        self.check_one_number()
        self.seed()
        if not with_inputs:
            self.run()
            return self._output()
        grads = self.want_input_gradients()
        self.run()
        return self._output(), self._gradients(grads)

    def run(self):
        self.check(lib.pg_replay_run(self.tape.replay, self.batch), self.batch)

    def seed(self):
        """Have the batch run backward too, with one seed for all outputs and samples."""
        self._seed = ffi.new("double[]", [1.0 / self.n if self.reduction == "mean" else 1.0])
        self._seeds = ffi.new("pg_column[]", [(self._seed, 0)] * self.tape.output_count)
        self.batch.seeds = self._seeds

    def is_one_number(self, per_sample=False):
        """True if the function returns one number, and there is one result: one sample, or the batch is reduced.

        With `per_sample` there may be a result for each sample: the function must return one number, no more.
        """
        return self.tape.output_count == 1 and (self.reduction != "none" or self.samples is None or per_sample)

    def check_one_number(self, per_sample=False):
        """Raise ValueError unless is_one_number(per_sample)."""
        if not self.is_one_number(per_sample):
            raise ValueError('this needs one number: return one, and compile with reduction="mean" or "sum"')

    def check(self, status, where):
        if status == lib.PG_BAD_INDEX:
            line, sample = self.tape.name_of(where.bad_node), self._number_of(where.bad_sample)
            raise IndexError(f"sample {sample}: the index of {shortened(line)} is out of range, or not whole")
        if status == lib.PG_ANOMALY:
            raise anomalies.error_of(self, where) from None
        check(status, of="this batch")

    def _number_of(self, sample):
        return sample if self.numbers_of_samples is None else self.numbers_of_samples[sample]

    def place_of(self, sample):
        """Name the function and a sample, for an error."""
        name = shortened(self.compiled.__name__)
        return f"compiled {name}" if self.samples is None else f"sample {self._number_of(sample)} of compiled {name}"

    def arguments_from(self, items):
        """Return the arguments of one sample: these items, one for each input, in their structures."""
        items = iter(items)
        return [build_lists(argument.structure, items) for argument in self.arguments]

    def _output(self):
        if self.reduction != "none" or self.samples is None:
            return build_lists(self.tape.structure, iter(self.outputs))
        as_array = any(a.is_array for a in self.arguments if a.samples is not None)
        return self._shaped(self.outputs, self.tape.structure, as_array)

    def _shaped(self, numbers, structure, as_array):
        """Return the numbers of all samples, shaped (samples, ...): an array if `as_array`, or else nested lists."""
        if as_array and (shape := dimensions(structure)) is not None:
            with forks.importing:
                import numpy

            return numpy.frombuffer(numbers, dtype=float).reshape(self.n, *shape).copy()
        items = iter(numbers)
        return list(items) if structure is None else [build_lists(structure, items) for _ in range(self.n)]

    def want_input_gradients(self):
        """Have the batch write the inputs' gradients; return the array that it will write them to.

        The array has one argument after the other, of each argument one sample after the other, and of each sample the
        gradients by its `width` numbers.
        """
        grads = array("d", bytes(8 * self.n * self.tape.input_count))
        self._gradient_memory = ffi.from_buffer("double[]", grads)
        first, targets = self._gradient_memory, []
        for argument in self.arguments:
            targets += [(first + k, argument.width) for k in range(argument.width)]
            first += self.n * argument.width
        self._targets = ffi.new("pg_target[]", targets)
        self.batch.input_grads = self._targets
        return grads

    def _gradients(self, grads):
        """Return a tuple: the gradients by each argument, shaped like it. `grads` is from want_input_gradients()."""
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
