"""One call of a compiled function: arguments in, outputs and gradients out."""

from array import array
from itertools import chain

from pygrad.common import forks
from pygrad.common.nested import as_derivative, build_lists, count, dimensions, is_of_lists
from pygrad.common.numbers import shortened
from pygrad.common.parts import Record, Static
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check
from pygrad.tape import anomalies
from pygrad.tape.call import leaves_of_all, like_tree


class Run:
    """One call of a compiled function: its tape, its arguments, its batch for C, and its outputs.

    `samples` is None if no argument has samples: then there is one sample, and results have no dimension for it.

    The batch has bare pointers, which keep no memory alive. So this object keeps all memory that they lead to:
    `arguments`, `columns`, `_output_memory`, `_seed`, `_seeds`, `_gradient_memory` and `_targets`.
    """

    numbers_of_samples = None  # those that the user knows them by; None: 0, 1, 2, ...

    def __init__(self, compiled, tape, call):
        self.compiled, self.tape, self.call = compiled, tape, call
        self.arguments, self.samples = call.arguments, call.samples
        self.reduction = compiled.reduction_of(tape)
        n = self.n = 1 if self.samples is None else self.samples
        arguments = self.arguments
        self.columns = ffi.new("pg_column[]", [column for a in arguments for column in a.columns])
        self.batch = ffi.new("pg_batch *", {"samples": n, "columns": self.columns, "threads": compiled.threads})
        self.batch.divisor = n if self.reduction == "mean" else 1
        if not compiled.is_checked:
            self.batch.unchecked = 1
        self.outputs = array("d", bytes(8 * tape.output_count * (n if self.reduction == "none" else 1)))
        # While this pointer lives, `outputs` cannot be made longer or shorter: a user has it as Bound.output.
        self._output_memory = ffi.from_buffer("double[]", self.outputs)
        setattr(self.batch, "outputs" if self.reduction == "none" else "sums", self._output_memory)

    def numbers_of(self, sample):
        """Return the numbers of a sample in a list, one for each input."""
        return [pointer[sample * step] for argument in self.arguments for pointer, step in argument.columns]

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
        return self._output(), tuple(self.gradients(grads))

    def run(self):
        self.check(lib.pg_replay_run(self.tape.replay, self.batch), self.batch)

    def seed(self, inputs_only=False):
        """Have the batch run backward too, with one seed for all outputs and samples.

        With inputs_only the gradients of parameters stay as they are.
        """
        self._seed = ffi.new("double[]", [1.0 / self.n if self.reduction == "mean" else 1.0])
        self._seeds = ffi.new("pg_column[]", [(self._seed, 0)] * self.tape.output_count)
        self.batch.seeds, self.batch.inputs_only = self._seeds, inputs_only

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

    def _output(self):
        if self.reduction != "none" or self.samples is None:
            return build_lists(self.tape.structure, iter(self.outputs))
        as_array = any(a.is_array for a in self.arguments if a.samples is not None)
        return of_samples(self.outputs, self.tape.structure, self.n, as_array)

    def want_input_gradients(self, trees=None):
        """Have the batch write the gradients by these arguments (see `Call.trees`), by default by all; return an array.

        It will have one leaf after the other, of each leaf one sample after the other, and of each sample the gradients
        by its `width` numbers.
        """
        leaves = self.arguments if trees is None else leaves_of_all(trees)
        grads = array("d", bytes(8 * self.n * sum(leaf.width for leaf in leaves)))
        self._gradient_memory = ffi.from_buffer("double[]", grads)
        first, places = self._gradient_memory, {}
        for leaf in leaves:
            places[id(leaf)] = [(first + k, leaf.width) for k in range(leaf.width)]
            first += self.n * leaf.width
        targets = [places.get(id(leaf), [(ffi.NULL, 0)] * leaf.width) for leaf in self.arguments]
        self._targets = ffi.new("pg_target[]", list(chain.from_iterable(targets)))
        self.batch.input_grads = self._targets
        return grads

    def gradients(self, grads, trees=None):
        """Return a list: the gradient by each of these arguments, shaped like it; see want_input_gradients()."""
        trees = self.call.numeric() if trees is None else trees
        found, begin = {}, 0
        for leaf in leaves_of_all(trees):
            end = begin + self.n * leaf.width
            found[id(leaf)] = self._gradient(grads[begin:end], leaf)
            begin = end
        return [like_tree(tree, found) for tree in trees]

    def _gradient(self, numbers, leaf):
        """Return the gradient by a leaf, shaped like it; by one that all samples share it is a sum over the samples."""
        if leaf.samples is None:
            items = (sum(numbers[k :: leaf.width]) for k in range(leaf.width))
            return build_lists(as_derivative(leaf.structure), items)
        if is_of_lists(leaf.structure):
            return of_samples(numbers, leaf.structure, self.n, leaf.is_array)
        items = iter(numbers)
        return [build_lists(as_derivative(leaf.structure), items) for _ in range(self.n)]


def of_samples(numbers, structure, n, as_array):
    """Return an array of the numbers of n samples, one after the other, in the structure that each of them has.

    The result is shaped (n, ...): an array if `as_array`, or else nested lists. But of a Record each part is so.
    """
    if type(structure) is Static:
        return structure.value
    if type(structure) is Record:
        parts = [of_samples(*part, n, as_array) for part in _parts(numbers, structure, n)]
        items = iter(numbers)
        return structure.make_batch(parts, lambda: [build_lists(structure, items) for _ in range(n)], as_array)
    if as_array and (shape := dimensions(structure)) is not None:
        with forks.importing:
            import numpy

        return numpy.frombuffer(numbers, dtype=float).reshape(n, *shape).copy()
    items = iter(numbers)
    return list(items) if structure is None else [build_lists(structure, items) for _ in range(n)]


def _parts(numbers, record, n):
    """Yield (numbers of all samples, structure) for each part of a Record."""
    every, first = count(record), 0
    for part in record.parts:
        width = count(part)
        begins = [first + every * i for i in range(n)]
        yield array("d", chain.from_iterable([numbers[begin : begin + width] for begin in begins])), part
        first += width
