"""The raw path: a compiled function bound to memory, for callers in a loop who cannot spare a microsecond a call."""

import functools

from pygrad import engine
from pygrad.engine._lib import ffi, lib
from pygrad.tape.arguments import Argument


class Bound:
    """A compiled function and the memory that it reads and writes; made by `Compiled.bind`.

    inputs     one array an argument: the caller's own memory, or for a number an array of one. Write to them, and call
    output     array of floats: the result after a call; of each sample in turn with reduction "none"
    gradients  array of floats after `backward()`: the derivatives of the result with respect to all numbers of
               `inputs`, in their order, one argument after the other; what is the same for all samples has one for each
               of them (None with `inputs=False`)
    forward()  runs; `backward()` runs forward and backward, and adds to the parameters' gradients. Neither allocates or
               checks anything; both return None. IndexError, as in a call of the function; ValueError from `backward()`
               if there is not one number to go back from

    While it is bound, the memory keeps its length: an array that is told to grow or shrink raises BufferError.
    """

    def __init__(self, run, inputs):
        self.run, self.inputs, self.output = run, [a.numbers for a in run.arguments], run.outputs
        self._replay = run.tape.new_replay()
        self.forward = self._runner(run.batch)
        if not run.is_one_number(per_sample=True):
            self.gradients, self.backward = None, functools.partial(run.check_one_number, per_sample=True)
            return
        run.seed()
        self.gradients = run.want_input_gradients() if inputs else None
        self.backward = self._runner(run.batch)

    def _runner(self, batch):
        """Return a function without arguments that runs a copy of the batch."""
        batch = ffi.new("pg_batch *", batch[0])
        keep = self.run, self._replay, batch
        if batch.samples == 1 and engine.trigger:
            function = ffi.addressof(lib, "pg_replay_run_alone")
            addresses = [int(ffi.cast("uintptr_t", p)) for p in (function, self._replay, batch)]
            return engine.trigger(*addresses, (self.run.check, batch), keep)
        replay, check = self._replay, self.run.check

        def run(_keep=keep):
            check(lib.pg_replay_run(replay, batch), batch)

        return run


class BoundArgument(Argument):
    """An argument whose memory is read at every call: a number, or float64 in C order."""

    def __init__(self, given, name, is_batch=True):
        super().__init__(given, name, is_batch)
        if self.numbers is not given and not self.is_number:
            raise ValueError(f"{name} cannot be bound: it must be a number or an array of float64 in C order")
