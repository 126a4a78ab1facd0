"""`compile` and `Compiled`: a function is recorded once, and from then on runs in C, over many samples at a time.

pygrad.tape.recorded keeps the recordings; csrc/tape/replay.c runs the tape.
"""

import copy
import functools

from pygrad import engine
from pygrad.common import forks
from pygrad.common.numbers import shown
from pygrad.engine import recordings
from pygrad.tape import files, in_values, passing_on, training
from pygrad.tape.advice import explained
from pygrad.tape.arguments import HasValues
from pygrad.tape.bound import Bound, BoundArgument
from pygrad.tape.call import apply
from pygrad.tape.kept import MAX_RECORDINGS
from pygrad.tape.loaded import Loaded
from pygrad.tape.record import warn_here
from pygrad.tape.recorded import Recorded, parameters_of
from pygrad.tape.states import restored, state_of
from pygrad.tape.tape import PASSES


def compile(
    function=None,
    *,
    reduction=None,
    batched=True,
    static=(),
    threads=1,
    passes=tuple(PASSES),
    max_recordings=MAX_RECORDINGS,
):
    """Return `function` compiled, as a `Compiled`: its first call records it, and every call runs it in C.

    function    written for one sample, in Values and nested lists of Values; it returns a Value or a list of Values. Or
                a method, a Module such as an MLP, or another object with a `__call__`
    reduction   what a batch returns: "mean" or "sum" over its samples, or "none": the output of each sample. By default
                "mean" if the function returns one Value, and "none" if it returns a list or is a Module
    batched     True: an argument is a number, shared by all samples, or has one item for each sample. False: all
                arguments together are one sample. Or a tuple of True and False, one for each argument
    threads     how many threads may share a batch; the results have the same bits for any number
    passes      names of the passes over the tape that are made. "fold" computes operations on constants, "share" makes
                equal operations one, "fuse" makes chains of additions one sum or dot, and "hoist" runs an operation
                that depends on no input once a batch. All but "fold" may add gradients up in another sequence
    max_recordings
                how many recordings are kept, one for each combination of structures of the arguments; None: all. One
                more drops the recording whose last use is longest ago. Also an attribute, which may be set at any time

    A bool, None, str, function, class, Enum or Module is a static argument too, and so is `self`. Such an argument
    counts by its value, or, if it has none that can be compared, as this one object: what the function reads from the
    attributes of an object is kept by the recording. Lists, sets, dicts and arrays that `static` names count by what
    they hold. np.bool_ and the bools in lists and arrays are numbers.

    A dict, a namedtuple or a dataclass as an argument is a structure: each of its leaves is read as an argument of its
    own, so a list in it has an item for each sample. As a result each of its leaves has an item for each sample. The
    function gets the keywords and defaults of a call as Python passes them.

    Also a decorator: `@pygrad.compile` or `@pygrad.compile(reduction="sum")`, of methods too. Raises TypeError and
    ValueError for arguments that are not like that.

    >>> import pygrad
    >>> w = pygrad.Value(3.0)
    >>> @pygrad.compile
    ... def loss(x, y):
    ...     return (w * x - y) ** 2
    >>> loss([1.0, 2.0], [3.0, 8.0])  # two samples: the mean of 0 and 4
    2.0
    >>> print(loss.tape)  # x0 and x1 are inputs, p0 is the parameter w
    v0 = mul(x0, p0)
    v1 = sub(v0, x1)
    v2 = square(v1)
    return v2
    """
    if function is None:
        options = {"reduction": reduction, "batched": batched, "static": static, "threads": threads, "passes": passes}
        return functools.partial(compile, **options, max_recordings=max_recordings)
    return Compiled(function, reduction, batched, threads, passes, max_recordings, static)


def load(path):
    """Return the compiled function that `Compiled.save` wrote to the file `path`.

    Its parameters are new Values; `parameters()` returns them in the same sequence as that of the saved function. It
    accepts arguments in the structures that the saved function had been called with, and raises TypeError for others. A
    file holds numbers and no code, so a file from a stranger is safe to load.

    It can be transformed, and called within functions that are transformed or recorded, as the saved one. But of a
    custom op it has the first derivative alone: TypeError for a higher one. Save that derivative itself, then.

    Raises FileNotFoundError if there is no such file, and ValueError if it is damaged, cut, of a newer version or no
    file of a compiled function.
    """
    return _restore(files.read(path), str(path))


class Compiled(Recorded):
    """A compiled function: see `compile`. It is recorded once for each combination of structures of its arguments.

    At most `max_recordings` recordings are kept. What uses a recording, such as a `Bound`, keeps it on its own.

    Its parameters are the leaf Values that it depends on and that existed before the recording: every run reads them
    anew. All else that it uses, such as other numbers and the structure of a model, stays as it was when the function
    was recorded. Call `clear()` after a change of these.
    """

    def __call__(self, *args, **kwargs):
        """Run forward; return the function's result, reduced over the batch: floats, nested lists or arrays.

        A float has no `backward()`: `loss.backward(X, y)` does what `loss(X, y).backward()` does in eager code.

        With Values as arguments, the Python function itself is called, for each sample, and the results are Values. So
        it is within another function that is recorded or transformed, if it may use the arguments there. Raises
        IndexError if an index (see `pygrad.take`) is out of range or not whole, and TypeError or ValueError for
        arguments that are no numbers, ragged, or not of one number of samples.
        """
        try:
            run = self.prepare(args, kwargs)
        except HasValues:
            return self._of_values(args, kwargs)
        return self.result_of(run)

    def result_of(self, run):
        """Return what a call returns, for its `Run`."""
        return self._within_a_call(run) if recordings.is_calling() else run.forward()

    def _within_a_call(self, run):
        """Return the result within another function, which is recorded or transformed: it may use the arguments there.

        What this function found around it when it was recorded may be another thing now.
        """
        if run.samples is None and len(run.tape.parameter_ids):
            return apply(self.called(run.call.key), run.call.key, map(engine.Value, run.numbers_of(0)))
        if any(map(recordings.is_variable, run.tape.parameters)):
            rows = (map(engine.Value, run.numbers_of(sample)) for sample in range(run.n))
            return in_values.run(self.called(run.call.key), run.call.key, rows, self.reduction_for)
        if recordings.is_recording() and run.samples is not None:
            warn_here("a compiled function was run over a batch while another one was recorded: its result is kept")
        return run.forward()

    def backward(self, *args, inputs=False, **kwargs):
        """Run forward and backward: add to the gradients of the parameters, and return the output.

        With `inputs=True` return (output, gradients): a gradient for each argument, shaped like it. The gradient of an
        argument that all samples share is the sum over the samples. Raises as a call does, and ValueError if the result
        is not one number.

        >>> import pygrad
        >>> w = pygrad.Value(3.0)
        >>> f = pygrad.compile(lambda x, c: w * x * c)
        >>> f.backward([1.0, 2.0], 10.0)
        45.0
        >>> w.grad
        15.0
        >>> f.backward([1.0, 2.0], 10.0, inputs=True)
        (45.0, ([15.0, 15.0], 4.5))
        """
        if not isinstance(inputs, bool):
            raise TypeError(
                f"inputs must be True or False, not {shown(inputs)}: pass an argument of that name by place"
            )
        recordings.note("backward")
        run = self.prepare(args, kwargs)
        return run.backward(inputs)

    def fit(
        self,
        optimizer,
        *args,
        epochs=1,
        batch_size=None,
        shuffle=None,
        seed=None,
        drop_last=False,
        schedule=None,
        clip_grad_norm=None,
        clip_grad_value=None,
        progress=False,
        callback=None,
    ):
        """Train for `epochs` passes over the samples of `args`, in C; return the loss of every step, in a list.

        optimizer   one of `pygrad.optim`; any other object with zero_grad() and step() works too, in a Python loop
        batch_size  how many samples a step uses; None: all
        shuffle     True: shuffle the samples for each epoch, as `pygrad.data.batches` does with this seed. By default
                    True if there is more than one batch
        drop_last   True: leave out the last batch of an epoch if it is smaller than the others
        schedule    an LRScheduler of this optimizer, stepped after each epoch; or a function from a step's number, 0
                    for the first, to its learning rate. ReduceLROnPlateau gets the mean of the epoch's losses
        clip_grad_norm, clip_grad_value    limits of the gradients of all the optimizer's parameters before each step,
                    as of `optim.clip_grad_norm_` and then `optim.clip_grad_value_`
        progress    True: show the progress, with tqdm if it is installed
        callback    called after each epoch with a `pygrad.tape.training.Progress`; if it returns True the training ends

        An exception, Ctrl-C included, leaves the parameters and the optimizer as they were after the last whole step.
        No other thread may write to the parameters during the training: its writes may be lost. Raises as `backward`
        does, and TypeError or ValueError for options that are not like that.

        >>> import pygrad
        >>> w = pygrad.Value(0.0)
        >>> f = pygrad.compile(lambda x, y: (w * x - y) ** 2)
        >>> losses = f.fit(pygrad.optim.SGD([w], lr=0.1), [1.0, 2.0], [2.0, 4.0], epochs=50)
        >>> len(losses), round(w.data, 6)
        (50, 2.0)
        """
        recordings.note("fit")
        run = self.prepare(args, {})
        run.check_one_number()

        def by_hand(samples):
            args, kwargs = run.call.select(samples)
            batch = self.prepare(args, kwargs)
            batch.numbers_of_samples = samples
            return batch.backward(False)

        options = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle, "seed": seed, "callback": callback}
        options |= {"drop_last": drop_last, "schedule": schedule, "progress": progress, "by_hand": by_hand}
        options["clip"] = clip_grad_norm, clip_grad_value
        return training.fit(run, optimizer, **options)

    @property
    def tape(self):
        """The tape of the latest recording; print it to see its operations. RuntimeError if there is no recording.

        `trace` returns that for arguments of your choice.
        """
        return self.chosen()[1]

    def trace(self, *args, **kwargs):
        """Return the tape for arguments of these structures; the function is recorded now if it has not been before."""
        return self.prepare(args, kwargs).tape

    def bind(self, *args, inputs=True):
        """Return a `Bound`: this function with its memory fixed, for many calls at the least cost.

        Arguments are numbers, or arrays of float64 in C order: every call reads the arrays anew. With reduction "none"
        each sample has its own result, and the gradients of that result by the sample's numbers. With `inputs=False`
        `backward()` computes the parameters' gradients only. Raises as a call does, and ValueError for an argument of
        another kind.

        >>> import pygrad
        >>> bound = pygrad.compile(lambda a, b: a * b, batched=False).bind(2.0, 3.0)
        >>> bound.inputs[0][0] = 5.0
        >>> bound.backward()
        >>> bound.output[0], bound.gradients.tolist()
        (15.0, [3.0, 5.0])
        """
        run = self.prepare(args, {}, BoundArgument)
        return Bound(run, inputs)

    # --- out of the process (files.py, c_source.py) ------------------------------------------------------------------

    def save(self, path, *, args=None, kwargs=None):
        """Write all recordings, and the parameters' numbers, to the file `path`, for `load`; all at once or not at all.

        With `args`, the arguments of a call in a tuple, or `kwargs`, a dict of its keywords, write the recording for
        such arguments alone; it is made now if need be. No gradients are written.

        Raises RuntimeError if nothing has been recorded yet, OSError if the file cannot be written, and ValueError if
        an argument or the result is nested too deep for a file.

        >>> import os, pygrad, tempfile
        >>> f = pygrad.compile(lambda x, ys: x * ys[0])
        >>> path = os.path.join(tempfile.mkdtemp(), "f.pygrad")
        >>> f.save(path, args=(2.0, [[3.0]]))
        >>> pygrad.hessian(pygrad.load(path))(2.0, [[3.0]])
        [[[0.0, [1.0]], [[1.0, [0.0]]]]]
        """
        files.save(self._state(self.chosen_or_all(args, kwargs)), path)

    def to_c(self, path, name="model", *, args=None, kwargs=None):
        """Write a C99 file that computes outputs and gradients of `tape` for one sample, and says how to use it.

        With `args` and `kwargs`, as for `save`, it computes those of the recording for such arguments. Its C names
        begin with `name`. Compiled as the file says, it computes the same bits as a call with one sample, and has a
        self-check of this. Raises RuntimeError if nothing has been recorded yet, ValueError if `name` cannot begin a C
        name, and OSError if the file cannot be written.
        """
        key, tape = self.chosen(args, kwargs)
        with forks.importing:
            from pygrad.tape import c_source

        c_source.write(tape, key, path, name, self.__name__)

    def _state(self, tapes=None):
        return state_of(self, tapes or self.recorded(needed=True))

    # --- pickles and copies (passing_on.py) ---------------------------------------------------------------------------

    def packed(self, tapes):
        """Return what __reduce__ returns for a function with these recordings alone, {key: Tape}."""
        blob, apart = files.pack_apart(self._state(tapes))
        return _unpickle, (blob, parameters_of(tapes.values()), apart)

    def __reduce__(self):
        """Pickles and deep copies have the recordings, and the parameters with their gradients.

        Without a recording they have the function, as the pickler at work takes functions: by name or by value.
        """
        if tapes := self.recorded():
            return self.packed(tapes)
        if (name := passing_on.name_of(self)) is not None:
            return name
        if error := passing_on.error_of(self.function):
            raise passing_on.not_picklable(self, error) from error
        return self._made_anew(self.function)

    def _made_anew(self, function):
        return functools.partial(Compiled, **self.options(), static=self.reading.static), (function,)

    def can_be_pickled(self):
        return bool(self.recorded()) or passing_on.name_of(self) is not None or not passing_on.error_of(self.function)

    def __deepcopy__(self, memo):
        make, args = self.__reduce__() if self.recorded() else self._made_anew(self.function)
        return make(*copy.deepcopy(args, memo))

    def _of_values(self, args, kwargs):
        """Call the Python function with arguments among which there are Values; for each sample of a batch."""
        if isinstance(self.function, Loaded) and not recordings.is_calling():
            raise self.function.refusal()
        call = self.read(args, kwargs, in_values.ValuesLeaf)
        if call.samples is None:
            return call.hand_on_to(self.function, args, kwargs)
        rows = ([x for leaf in call.arguments for x in leaf.row(sample)] for sample in range(call.samples))
        return explained(call.arguments, in_values.run, self.called(call.key), call.key, rows, self.reduction_for)


Compiled._kind_of_others = Compiled


def _unpickle(blob, parameters, apart=None):
    return _restore(files.unpack_apart(blob, apart, "this pickle"), "this pickle", parameters)


def _restore(state, source, values=None):
    return restored(Compiled, state, source, values)
