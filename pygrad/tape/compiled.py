"""`compile` and `Compiled`: a function is recorded once, and from then on runs in C, over many samples at a time.

pygrad.tape.record records the function; csrc/tape/replay.c runs the tape.
"""

import copy
import functools
import weakref
from array import array

from pygrad import engine
from pygrad.common import forks
from pygrad.common.numbers import shown, to_whole
from pygrad.common.signatures import arranged
from pygrad.common.value_base import each_once
from pygrad.engine import recordings
from pygrad.engine._lib import lib
from pygrad.module import Module
from pygrad.tape import c_source, files, in_values, training
from pygrad.tape.advice import explained
from pygrad.tape.arguments import Argument, HasValues
from pygrad.tape.bound import Bound, BoundArgument
from pygrad.tape.call import Call, Reading, apply
from pygrad.tape.kept import MAX_RECORDINGS, Kept, Recordings, checked
from pygrad.tape.record import record, warn_here
from pygrad.tape.run import Run
from pygrad.tape.tape import PASSES, Tape

REDUCTIONS = files.REDUCTIONS
_MOST_KEPT = 32  # derivatives and the like that a function keeps: see Compiled.kept


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

    Raises FileNotFoundError if there is no such file, and ValueError if it is damaged, cut, of a newer version or no
    file of a compiled function.
    """
    return _restore(files.read(path), str(path))


class Compiled:
    """A compiled function: see `compile`. It is recorded once for each combination of structures of its arguments.

    At most `max_recordings` recordings are kept. What uses a recording, such as a `Bound`, keeps it on its own.

    Its parameters are the leaf Values that it depends on and that existed before the recording: every run reads them
    anew. All else that it uses, such as other numbers and the structure of a model, stays as it was when the function
    was recorded. Call `clear()` after a change of these.
    """

    _kind_of_others = None  # of functions made by like(): Compiled, but for a subclass
    is_of_one_sample = False  # is it a loaded derivative whose meaning for a batch the file does not have?

    def __init__(
        self,
        function,
        reduction=None,
        batched=True,
        threads=1,
        passes=tuple(PASSES),
        max_recordings=MAX_RECORDINGS,
        static=(),
    ):
        if function is None:
            raise TypeError("compile needs a function, not NoneType")
        passes = (passes,) if isinstance(passes, str) else tuple(passes)
        for name in passes:
            if name not in tuple(PASSES):
                raise ValueError(f"unknown pass {shown(name)}; known are {', '.join(PASSES)}")
        self.function, self.reduction, self.threads = function, reduction, threads
        self.reading = Reading(function, batched, static)
        self._passes = sum(PASSES[name] for name in set(passes))
        self._is_module = isinstance(function, Module)
        self._tapes, self._kept = Recordings(max_recordings), Kept(_MOST_KEPT)
        self._methods, self._owners = {}, Kept(_MOST_KEPT)  # see _tapes_of()
        functools.update_wrapper(self, function, updated=())
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __setattr__(self, name, given):
        """Set an attribute; an option is checked first, as in __init__. Another function has no recordings yet."""
        check = _CHECKS.get(name)
        if self.__dict__.get("_is_method") and (check or name in ("batched", "max_recordings")):
            raise AttributeError(
                f"{name} of a method: each access makes it anew, so set it on the function of the class"
            )
        super().__setattr__(name, check(given) if check else given)
        if name == "function" and "_tapes" in self.__dict__ and given is not None:
            self.reading, self._is_module = Reading(given, self.batched, self.reading.static), isinstance(given, Module)
            self._tapes, self._kept, self._methods = Recordings(self.max_recordings), Kept(_MOST_KEPT), {}

    @property
    def batched(self):
        """Which arguments hold samples: see `compile`."""
        return self.reading.batched

    @batched.setter
    def batched(self, batched):
        self.reading = Reading(self.function, batched, self.reading.static)

    def __get__(self, owner, kind=None):
        """Return this function as a method of `owner`: a Compiled with the recordings of this one object."""
        bound = self.function.__get__(owner, kind) if hasattr(self.function, "__get__") else self.function
        if owner is None or bound is self.function:  # of a class; or no function that becomes a method
            return self
        method = copy.copy(self)
        method.function = bound
        method._tapes = self._tapes_of(owner)
        method._is_method = True
        return method

    def _tapes_of(self, owner):
        """Return the recordings for methods of `owner`; they end with it.

        An owner that allows no weak references is kept alive, but of these the last few only.
        """
        methods, id_of = self._methods, id(owner)
        entry = methods.get(id_of) or self._owners.get(id_of)
        if entry is None:
            tapes = Recordings(self.max_recordings)
            try:
                entry = methods[id_of] = tapes, weakref.ref(owner, lambda _: methods.pop(id_of, None))
            except TypeError:
                entry = tapes, owner
                self._owners.put(id_of, entry)
        return entry[0]

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

    def clear(self):
        """Forget all recordings: the next call records anew, also of derivatives and methods made from this function.

        TypeError for a loaded function: it has no Python code.
        """
        if isinstance(self.function, files.Loaded):
            raise TypeError(f"{self.__name__} was loaded, without its Python source: it cannot be traced anew")
        self._tapes.clear()
        self._kept.clear()
        for recordings_of_methods, _ in list(self._methods.values()):
            recordings_of_methods.clear()

    def kept(self, key, make):
        """Return make(this function), made once for this key: a derivative of this function, say.

        It is made anew if an option of this function, or of what was made, has been set since then.
        """
        key = (*key, self._options())
        if found := self._kept.get(key):
            made, options = found
            if options == _options_of(made):
                return made
        base = copy.copy(self)
        base._tapes = self._tapes  # `make` gets another object with the same recordings: a cycle would keep all alive
        made = make(base)
        if isinstance(made, Compiled):
            self._tapes.derive(made._tapes)
        self._kept.put(key, (made, _options_of(made)))
        return made

    def _options(self):
        """Return what an assignment may change, as one key."""
        batched = self.batched if isinstance(self.batched, bool) else tuple(self.batched)
        static = tuple(self.reading.static)
        return id(self.function), self.reduction, batched, self.threads, self._passes, self.max_recordings, static

    @property
    def max_recordings(self):
        """How many recordings are kept at most; None: all. See `compile`.

        Setting it raises TypeError and ValueError unless it is None or a whole number from 1; and TypeError for a
        loaded function, which cannot be recorded anew, if it has more recordings.
        """
        return self._tapes.most

    @max_recordings.setter
    def max_recordings(self, most):
        most = checked(most)
        if most is not None and most < len(self._tapes) and isinstance(self.function, files.Loaded):
            raise TypeError(f"{self.__name__} was loaded, without its Python source: none of its recordings may go")
        self._tapes.most = most
        self._tapes.shrink()

    @property
    def tape(self):
        """The tape of the latest recording; print it to see its operations. RuntimeError if there is no recording."""
        return list(self._recorded().values())[-1]

    def trace(self, *args, **kwargs):
        """Return the tape for arguments of these structures; the function is recorded now if it has not been before."""
        return self.prepare(args, kwargs).tape

    def parameters(self):
        """Return the parameters, the Values that every run reads anew, in a list."""
        return _parameters_of(self._tapes.things().values())

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

    def options(self):
        """Return what __init__ takes besides the function, in a dict; but for `static`, for a function of its own."""
        own = {"reduction": self.reduction, "batched": self.batched, "threads": self.threads, "passes": self.passes}
        return {**own, "max_recordings": self.max_recordings}

    def like(self, function, **changes):
        """Return `function` compiled with the options of this one but reduction "none", and with these changes."""
        compiled = self._kind_of_others(function, **{**self.options(), "reduction": "none", **changes})
        if "batched" not in changes:
            compiled.reading = self.reading
        self._tapes.derive(compiled._tapes)
        return compiled

    def recorded(self):
        """Return the recordings, {key: Tape}."""
        return self._tapes.things()

    def use_recordings_of(self, other):
        self._tapes = other._tapes

    @property
    def passes(self):
        """The names of the passes that are made over a tape, in a tuple."""
        return tuple(name for name, bit in PASSES.items() if self._passes & bit)

    # --- out of the process (files.py, c_source.py) ------------------------------------------------------------------

    def save(self, path):
        """Write all recordings, and the parameters' numbers, to the file `path`, for `load`; all at once or not at all.

        Raises RuntimeError if nothing has been recorded yet, OSError if the file cannot be written, and ValueError if
        an argument or the result is nested too deep for a file.
        """
        files.save(self._state(), path)

    def to_c(self, path, name="model"):
        """Write a C99 file that computes outputs and gradients of `tape` for one sample, and says how to use it.

        Its C names begin with `name`. Compiled as the file says, it computes the same bits as a call with one sample,
        and has a self-check of this. Raises RuntimeError if nothing has been recorded yet, ValueError if `name` cannot
        begin a C name, and OSError if the file cannot be written.
        """
        tapes = self._recorded()
        c_source.write(list(tapes.values())[-1], list(tapes)[-1], path, name, self.__name__)

    def _recorded(self):
        """Return a copy of the recordings, {structures: Tape}: another thread may add one. RuntimeError for none."""
        tapes = self._tapes.things()
        if not tapes:
            raise RuntimeError("nothing has been traced yet: call the function, or trace it with .trace(...)")
        return tapes

    def _state(self, tapes=None):
        tapes = tapes or self._recorded()
        visible = _parameters_of(tapes.values())
        places = {p._pg_id: i for i, p in enumerate(visible)}
        for tape in tapes.values():  # and leaves whose Values are gone
            for id in tape.parameter_ids:
                places.setdefault(id, len(places))
        return {
            "name": self.__name__,
            "signature": files.signature_entry(self.function),
            "reduction": "none" if self._is_module and self.reduction is None else self.reduction,
            "batched": self.batched if isinstance(self.batched, bool) else [bool(b) for b in self.batched],
            "threads": int(self.threads),
            **({"one_sample": True} if self.is_of_one_sample else {}),
            **({"static": list(self.reading.static)} if self.reading.static else {}),
            "passes": list(self.passes),
            **files.max_recordings_entry(self.max_recordings),
            "visible": len(visible),
            "numbers": array("d", map(lib.pg_data, places)),
            "tapes": [
                {
                    **tape.state(),
                    "arguments": structures,
                    "parameters": array("i", [places[id] for id in tape.parameter_ids]),
                }
                for structures, tape in tapes.items()
            ],
        }

    def __reduce__(self):
        """Pickles and deep copies have the recordings and parameters. Without a recording they have the function."""
        if tapes := self._tapes.things():
            blob, apart = files.pack_apart(self._state(tapes))
            return _unpickle, (blob, _parameters_of(tapes.values()), apart)
        if error := self.function_error():
            with forks.importing:
                from pickle import PicklingError  # here, for its import takes a while

            raise PicklingError(
                f"{self.__name__} has not been traced yet, and its Python function cannot be pickled ({error}): call "
                "it once first, or trace it with .trace(...)"
            ) from error
        return functools.partial(Compiled, **self.options(), static=self.reading.static), (self.function,)

    def function_error(self):
        """Return the exception that pickling the Python function raises, or None."""
        with forks.importing:
            import pickle

        try:
            pickle.dumps(self.function)
        except Exception as error:
            return error
        return None

    def __copy__(self):
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _tapes=self._tapes.copy(), _kept=Kept(_MOST_KEPT))
        other._methods, other._owners = {}, Kept(_MOST_KEPT)
        return other

    # --- detect_anomaly() (anomalies.py) -----------------------------------------------------------------------------

    is_checked = True  # False: the caller checks what this computes
    eager = None  # see of_numbers()

    # --- runs ---------------------------------------------------------------------------------------------------------

    def prepare(self, args, kwargs, kind=Argument):
        """Return the `Run` for these arguments; `kind` is the type that reads a leaf of them."""
        return self.run_on(self.read(args, kwargs, kind))

    def read(self, args, kwargs, kind=Argument):
        """Return the `Call` with these arguments."""
        if kwargs:
            args, kwargs = arranged(self.function, args, kwargs)
        return Call(args, kwargs, kind, self.reading, self.function)

    def run_on(self, call):
        """Return the `Run` of this `Call`."""
        if self.is_of_one_sample and call.samples is not None:
            raise TypeError(
                f"{self.__name__} was saved as the derivative of one sample: for a batch save the function itself, and "
                "take the derivative of what pygrad.load(path) returns"
            )
        tape = self._tapes.get(call.key)
        if tape is None:
            tape = self.record(call.key, call.arguments)
            self._tapes.add(call.key, tape, self.__name__)
        return Run(self, tape, call)

    def _of_values(self, args, kwargs):
        """Call the Python function with arguments among which there are Values; for each sample of a batch."""
        call = self.read(args, kwargs, in_values.ValuesLeaf)
        if call.samples is None:
            return call.hand_on_to(self.function, args, kwargs)
        rows = ([x for leaf in call.arguments for x in leaf.row(sample)] for sample in range(call.samples))
        return explained(call.arguments, in_values.run, self.called(call.key), call.key, rows, self.reduction_for)

    def record(self, key, arguments):
        """Return a new tape for arguments of the structures in `key`."""
        return self.record_as(self.called(key), key, arguments)

    def called(self, key):
        """Return the function to `apply` to the items of one sample."""
        return self.function

    def of_numbers(self, key):
        """Return the function to `apply` to numbers that computes this in eager code, to name an anomaly, or None."""
        return self.eager or (self.called(key) if getattr(self.function, "takes_numbers", False) else None)

    def record_as(self, function, key, arguments, watch=True):
        """Return a new tape of `function`, this one or a substitute, recorded at the numbers of the first sample."""
        numbers = [column[0] for argument in arguments for column, _ in argument.columns]
        return explained(arguments, record, function, key, numbers, self._passes, watch)

    def reduction_of(self, tape):
        """Return the reduction for a batch of this tape."""
        return self.reduction_for(tape.structure)

    def reduction_for(self, structure):
        """Return the reduction for a batch of results of this structure."""
        if self.reduction is not None:
            return self.reduction
        return "none" if structure is not None or self._is_module else "mean"


Compiled._kind_of_others = Compiled


def _function(function):
    if isinstance(function, (staticmethod, classmethod)):
        raise TypeError(f"put @{type(function).__name__} above the compiled function, not below")
    if not (callable(function) or function is None):  # None: only what has been recorded can run
        raise TypeError(f"compile needs a function, not {type(function).__name__}")
    return function


def _reduction(reduction):
    if reduction not in (None, *REDUCTIONS):
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {shown(reduction)}")
    return reduction


def _threads(threads):
    return min(to_whole(threads, "threads", 1), 1024)


_CHECKS = {"function": _function, "reduction": _reduction, "threads": _threads}  # of options that are attributes


def _options_of(made):
    return made._options() if isinstance(made, Compiled) else None


def _parameters_of(tapes):
    """Return the parameters of these tapes, each once, in a list."""
    return each_once(p for tape in tapes for p in tape.parameters)


def _unpickle(blob, parameters, apart=None):
    return _restore(files.unpack_apart(blob, apart, "this pickle"), "this pickle", parameters)


def _restore(state, source, values=None):
    """Return the Compiled whose `_state()` was `state`, over these Values or new ones; errors name the `source`."""
    numbers, visible = state["numbers"], state["visible"]
    values = [engine.Value(number) for number in numbers[:visible]] if values is None else list(values)
    if len(values) != visible:
        raise ValueError(f"{source} is of a function with {visible} parameters, not {len(values)}")
    values += [engine.Value(number) for number in numbers[visible:]]
    structures = [tape["arguments"] for tape in state["tapes"]]
    function = files.Loaded(state["name"], files.signature(state["signature"]), structures)
    options = {name: state[name] for name in ("reduction", "batched", "threads", "passes", "static")}
    out = Compiled(function, **options, max_recordings=None)
    out.is_of_one_sample = state["one_sample"]
    try:
        for tape in state["tapes"]:
            loaded = Tape.from_state(tape, state["ops"], values, visible, out._passes)
            out._tapes.put(tape["arguments"], loaded)
    except ValueError as error:
        raise ValueError(files.refusal(source, error)) from None
    out._tapes.most = state["max_recordings"]  # now, for none of the recordings may go
    return out
