"""A compiled function bound to memory, for loops that cannot spare a microsecond a call."""

import functools
from array import array

from pygrad import engine
from pygrad.common import forks
from pygrad.common.named_tuples import named_tuple
from pygrad.engine import recordings
from pygrad.engine._lib import ffi, lib
from pygrad.tape.arguments import Argument
from pygrad.tape.call import Call, with_leaves
from pygrad.tape.run import Run


class Bound:
    """A compiled function and the memory that it reads and writes; made by `Compiled.bind`.

    inputs      an array for each argument: the caller's own memory, or for a number an array of length 1. Write new
                numbers to them, then call `forward` or `backward`
    output      array of floats: the result of the last call; with reduction "none" that of each sample in turn. It is a
                NumPy array if an argument is an array of NumPy, else an array.array
    gradients   array of floats, of the same kind: after `backward()` the derivatives of the result by all numbers of
                `inputs`, argument by argument and sample by sample. An argument that is shared by all samples has
                gradients for each sample too. None with `inputs=False`, and where `backward()` raises ValueError
    forward()   runs the function
    backward()  runs it forward and backward, and adds to the gradients of the parameters

    Both methods return None. They do not check `inputs`, and allocate memory in the first call only. Both raise
    IndexError as a call of the function does. `backward()` raises ValueError if the result is not one number, or with
    reduction "none" one number for each sample.

    While the memory is bound its length is fixed: growing or shrinking an array in `inputs` raises BufferError. (But
    NumPy's resize(refcheck=False) does not: it moves the memory whoever uses it.)
    """

    def __init__(self, run, with_inputs):
        self._with_inputs = with_inputs
        self.run, self.inputs, self.output = run, [a.numbers for a in run.arguments], as_given(run, run.outputs)
        self._replay = run.tape.new_replay()
        self.forward = self._runner(run.batch)
        if not run.is_one_number(per_sample=True):
            self.gradients, self.backward = None, functools.partial(run.check_one_number, per_sample=True)
            return
        run.seed()
        self.gradients = as_given(run, run.want_input_gradients()) if with_inputs else None
        self.backward = self._runner(run.batch)

    def __copy__(self):
        """Return another Bound with the same inputs, and results of its own."""
        return _new_bound(same(self.run), self._with_inputs, *self._results())

    def __reduce__(self):
        """Deep copies and pickles have the recording, the inputs and the results, and the parameters."""
        return _bound, (packed(self.run), self._with_inputs, *self._results())

    def _results(self):
        return [None if numbers is None else array("d", numbers) for numbers in (self.output, self.gradients)]

    def _runner(self, batch):
        """Return a function without arguments that runs the batch; the batch is copied now."""
        batch = ffi.new("pg_batch *", batch[0])
        keep = self.run, self._replay, batch
        replay = self._replay.replay
        if batch.samples == 1 and engine.trigger:
            function = ffi.addressof(lib, "pg_replay_run_alone")
            addresses = [int(ffi.cast("uintptr_t", p)) for p in (function, replay, batch)]
            return engine.trigger(*addresses, (self.run.check, batch), keep)
        check = self.run.check

        def run(_keep=keep):
            recordings.note("a bound run")
            check(lib.pg_replay_run(replay, batch), batch)

        return run


def _bound(run, *results):
    return _new_bound(unpacked(run), *results)


def _new_bound(run, with_inputs, output, gradients):
    bound = Bound(run, with_inputs)
    write(bound.output, output)
    if gradients is not None:
        write(bound.gradients, gradients)
    return bound


def write(target, numbers):
    """Write numbers to an array of floats of any make, which stays where it is."""
    memoryview(target)[:] = numbers


def same(run):
    """Return another `Run` with the same arguments."""
    return Run(run.compiled, run.tape, run.call)


@named_tuple
class Held:
    """A leaf of the arguments in a pickle."""

    given: object  # the caller's memory; or a number
    name: str
    is_batch: bool


def packed(run):
    """Return a `Run` on memory as what can be pickled, for `unpacked`: its recording alone, and its arguments."""

    def hold(leaf):
        given = leaf.numbers[0] if leaf.is_number else leaf.numbers
        if type(given) is memoryview:
            given = _View(array("d", given.tobytes()), given.shape)
        return Held(given, leaf.name, leaf.samples is not None)

    trees = [with_leaves(tree, hold) for tree in run.call.trees]
    return run.compiled.packed({run.call.key: run.tape}), trees, run.call.keywords


def unpacked(run):
    """Return the `Run` that `packed` has packed, of a Compiled with its recording alone."""
    (make, args), trees, keywords = run
    compiled = make(*args)
    [tape] = compiled.recorded().values()

    def leaf(held):
        given = held.given.view() if type(held.given) is _View else held.given
        return BoundArgument(given, held.name, held.is_batch)

    return Run(compiled, tape, Call.of_trees([with_leaves(tree, leaf) for tree in trees], keywords))


@named_tuple
class _View:
    """A memoryview in a pickle."""

    numbers: array
    shape: tuple

    def view(self):
        return memoryview(self.numbers).cast("B").cast("d", self.shape)


def as_given(run, numbers):
    """Return an array of floats as a NumPy array over its memory, if an argument is an array."""
    return _numpy_over(numbers) if any(a.is_array for a in run.arguments) else numbers


@functools.cache
def _class_of_numpy():
    with forks.importing:
        import numpy

    class BoundArray(numpy.ndarray):
        """A NumPy array that keeps its memory and its length; what would change it fails as for an array.array."""

        def pop(self, *_):
            raise BufferError("memory that is bound stays as long as it is")

        extend = append = insert = pop

    return BoundArray


def _numpy_over(numbers):
    with forks.importing:
        import numpy

    return numpy.asarray(memoryview(numbers)).view(_class_of_numpy())  # its memoryview holds the memory


class BoundArgument(Argument):
    """An argument whose memory is read anew in every call: a number, or an array of float64 in C order."""

    def __init__(self, given, name, is_batch=True):
        super().__init__(given, name, is_batch)
        if self.numbers is not given and not self.is_number:
            raise ValueError(
                f"{name} cannot be bound: it must be a number or an array of float64 in C order, whose memory each "
                'call reads anew. Bind numpy.asarray(x, dtype=float, order="C"), or array.array("d", x) without NumPy, '
                "and write to that (of ctypes, bind one made by from_buffer(): ctypes.resize() may move others)"
            )
