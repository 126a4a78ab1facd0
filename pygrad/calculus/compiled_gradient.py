"""The gradient of a compiled function: `CompiledGradient`, which `gradient` and `value_and_grad` return.

A function that is reduced over its batch has one number, and its gradient is that of this number: a backward pass over
the function's own tape finds it. For one sample, or if each sample has its own result, the derivative is recorded.
"""

import copy
import functools
import warnings
from array import array

from pygrad.calculus.call_on_values import wanted_trees
from pygrad.common.caller import caller
from pygrad.common.nested import as_derivative
from pygrad.common.value_base import each_once
from pygrad.engine import recordings
from pygrad.tape.arguments import HasValues
from pygrad.tape.bound import Bound, BoundArgument, as_given, packed, same, unpacked
from pygrad.tape.call import leaves_of_all
from pygrad.tape.compiled import Compiled
from pygrad.tape.files import save
from pygrad.tape.in_values import ValuesLeaf
from pygrad.tape.record import warn_here


class CompiledGradient(Compiled):
    """What `gradient` and `value_and_grad` return for a compiled function.

    For one sample, or for each, it runs a tape of the derivative. The gradient of a batch that the function reduces to
    one number is that of a backward pass over the function's own tape.
    """

    def __init__(self, compiled, derived, transform, argnums, per_sample):
        super().__init__(derived, **{**compiled.options(), "reduction": "none"})
        self.reading, self._base, self._argnums = compiled.reading, compiled, argnums
        self._transform, self._per_sample = transform, per_sample
        self._with_value = transform.__name__ == "value_and_grad"

    def __get__(self, owner, kind=None):
        method = super().__get__(owner, kind)
        if method is not self:
            method._base = self._base.__get__(owner, kind)
        return method

    def __call__(self, *args, **kwargs):
        try:
            call = self.read(args, kwargs)
        except HasValues:
            return self._of_values(args, kwargs)
        run = self._of_reduced(call)
        if run is None:
            return self.result_of(self.run_on(call))
        if recordings.is_calling():
            self._check_within_a_call(run.run)
        return run.result()

    def _of_values(self, args, kwargs):
        call = self.read(args, kwargs, ValuesLeaf)
        if call.samples is not None and not self._per_sample and self._base.reduction != "none":
            raise TypeError(
                "the gradient of a batch is one of numbers: with Values call it for one sample at a time, or take the "
                "gradient of a Python function; or pass per_sample=True"
            )
        return super()._of_values(args, kwargs)

    def _check_within_a_call(self, run):
        if any(map(recordings.is_variable, run.tape.parameters)):
            raise TypeError(
                "this gradient over a batch would be a constant of the function that is recorded or transformed: take "
                "it for one sample at a time, or of a Python function"
            )
        if recordings.is_recording():
            warn_here("a gradient over a batch was computed while a function was recorded: its result is kept")

    def parted(self, found, call):
        """Return (values, gradients) of what a call of `value_and_grad` has returned, of each sample if it did."""
        if call.samples is None or self._of_reduced(call) is not None:
            return found
        if hasattr(found, "dtype"):
            return found[:, 0], found[:, 1]
        return [value for value, _ in found], [gradient for _, gradient in found]

    def record(self, key, numbers):
        tape = super().record(key, numbers)
        gradient = as_derivative(tape.structure[1] if self._with_value else tape.structure)
        tape.structure = (None, gradient) if self._with_value else gradient
        return tape

    def parameters(self):
        return each_once([*super().parameters(), *self._base.parameters()])

    def bind(self, *args, inputs=True):
        call = self.read(args, {}, BoundArgument)
        run = self._of_reduced(call)
        return super().bind(*args, inputs=inputs) if run is None else BoundGradient(run)

    def _of_reduced(self, call):
        """Return the run whose gradient is that of a number reduced over the batch; None if each sample has its own."""
        if call.samples is None or self._per_sample or self._base.reduction == "none":
            return None
        run = self._base.run_on(call)
        if run.reduction == "none":  # the function returns a list: the derivative itself says what to do
            return None
        if self._per_sample is None:
            _warn_of_change()
        return _ReducedGradient(run, wanted_trees(call, self._argnums, self._base), self._argnums, self._with_value)

    def __reduce__(self):
        """Pickles and deep copies have the recordings of this derivative, and those of its function."""
        return self._reduced()

    def __deepcopy__(self, memo):
        return deep_copy(self._reduced(is_copy=True), memo)

    def _reduced(self, is_copy=False):
        make = functools.partial(self._transform, argnums=self._argnums, per_sample=self._per_sample)
        return reduced(make, self._base, self._tapes and super().__reduce__(), not self.is_whole, is_copy)

    def save(self, path, *, args=None, kwargs=None):
        """See `Compiled.save`. The file has what runs for one sample: the loaded function refuses a batch."""
        state = self._state(self.chosen_or_all(args, kwargs))
        save(state if self.is_whole else {**state, "one_sample": True}, path)

    @property
    def is_whole(self):
        """Does what runs for one sample run for each of a batch, too?"""
        return bool(self._per_sample or self._base.reduction == "none" or self.batched is False)


class _ReducedGradient:
    """A `Run` of a function that is reduced over its batch, and its gradient by the arguments of these trees."""

    def __init__(self, run, trees, argnums, with_value):
        run.check_one_number()
        self.run, self._trees, self.argnums, self.with_value = run, trees, argnums, with_value
        self._is_one = isinstance(argnums, int) or (argnums is None and len(trees) == 1)
        run.seed(inputs_only=True)
        self.numbers = run.want_input_gradients(trees)

    def result(self):
        """Run, and return what the transform returns."""
        self.run.run()
        found = self.run.gradients(self.numbers, self._trees)
        found = found[0] if self._is_one else found
        return [self.run.outputs[0], found] if self.with_value else found

    def flat(self):
        """Return the numbers of the last run: the value if wanted, then the gradients, argument by argument."""
        out, begin = array("d", self.run.outputs if self.with_value else ()), 0
        for leaf in leaves_of_all(self._trees):
            mine = self.numbers[begin : begin + self.run.n * leaf.width]
            begin += len(mine)
            is_shared = leaf.samples is None
            out.extend([sum(mine[k :: leaf.width]) for k in range(leaf.width)] if is_shared else mine)
        return out


class BoundGradient(Bound):
    """What `CompiledGradient.bind` returns for a batch that the function reduces to one number.

    `output` has the value, for `value_and_grad`, and then the gradients argument by argument, sample by sample; an
    argument that all samples share has one.
    """

    def __init__(self, reduced):
        self._gradient, self.run = reduced, reduced.run
        self._replay = self.run.tape.new_replay()
        self.inputs, self._run = [leaf.numbers for leaf in self.run.arguments], self._runner(self.run.batch)
        self._numbers, self.gradients = reduced.flat(), None
        self.output = as_given(self.run, self._numbers)

    def __copy__(self):
        reduced = self._gradient
        return _new_bound_gradient(same(self.run), reduced.argnums, reduced.with_value, self._numbers)

    def __reduce__(self):
        return _bound_gradient, (packed(self.run), self._gradient.argnums, self._gradient.with_value, self._numbers)

    def forward(self):
        """Compute `output` from `inputs`."""
        self._run()
        self._numbers[:] = self._gradient.flat()

    def backward(self):
        raise ValueError("this is a gradient already, with many numbers: forward() computes it")


def _bound_gradient(run, argnums, with_value, numbers):
    return _new_bound_gradient(unpacked(run), argnums, with_value, numbers)


def _new_bound_gradient(run, argnums, with_value, numbers):
    bound = BoundGradient(_ReducedGradient(run, wanted_trees(run.call, argnums, run.compiled), argnums, with_value))
    bound._numbers[:] = numbers
    return bound


def reduced(make, base, own, is_of_one_sample=False, is_copy=False):
    """Return what a derivative's __reduce__ returns: `make` makes it of the function `base`, `own` of its recordings.

    If the function has no recordings, and is none that pickle can find again, the derivative's own must do.
    """
    has_base = not own or is_copy or base.can_be_pickled()
    return _unpickled, (make, base if has_base else None, own or None, is_of_one_sample)


def deep_copy(reduced, memo):
    """Return the deep copy of a derivative, for its __deepcopy__."""
    make, args = reduced
    return make(*copy.deepcopy(args, memo))


def _unpickled(make, base, own, is_of_one_sample):
    alone = own and own[0](*own[1])
    if base is None:
        alone.is_of_one_sample = is_of_one_sample
        return alone
    derivative = make(base)
    if alone:
        derivative.use_recordings_of(alone)
    return derivative


_has_warned = False  # of the change that per_sample names


def _warn_of_change():
    global _has_warned
    if not _has_warned:
        _has_warned = True
        message = (
            "the gradient of a compiled function that is reduced over its batch is now that of the reduced number; "
            "per_sample=True gives one for each sample, as before, and per_sample=False this one without a warning"
        )
        warnings.warn_explicit(message, FutureWarning, *caller(), registry={})
