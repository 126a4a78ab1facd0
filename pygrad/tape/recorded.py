"""A function and its recordings: `Recorded`, the ground on which `Compiled` stands.

It reads the arguments of a call, finds the recording for them or makes it, and keeps what is made of the recordings.
"""

import copy
import functools
import weakref

from pygrad.common.numbers import describe, shown, to_whole
from pygrad.common.signatures import arranged
from pygrad.common.value_base import each_once
from pygrad.module import Module
from pygrad.tape import files
from pygrad.tape.advice import explained
from pygrad.tape.arguments import Argument
from pygrad.tape.call import Call, Reading
from pygrad.tape.kept import MAX_RECORDINGS, Kept, Recordings, checked
from pygrad.tape.loaded import Loaded
from pygrad.tape.record import record
from pygrad.tape.run import Run
from pygrad.tape.tape import PASSES

REDUCTIONS = files.REDUCTIONS
_MOST_KEPT = 32  # derivatives and the like that a function keeps: see Recorded.kept


class Recorded:
    """A function with options, recorded once for each combination of structures of its arguments; see `compile`."""

    _kind_of_others = None  # of functions made by like(): Compiled, but for a subclass
    is_of_one_sample = False  # is it a loaded derivative whose meaning for a batch the file does not have?
    is_checked = True  # False: the caller checks what this computes, within detect_anomaly()
    eager = None  # see of_numbers()

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

    # --- recordings ---------------------------------------------------------------------------------------------------

    def recorded(self, needed=False):
        """Return the recordings, {key: Tape}: a copy, for another thread may add one.

        RuntimeError if there is none, and one is `needed`.
        """
        tapes = self._tapes.things()
        if needed and not tapes:
            raise RuntimeError(
                "nothing has been traced yet: call the function, or trace it with .trace(...); save() and to_c() take "
                "arguments too, args=(...)"
            )
        return tapes

    def chosen(self, args=None, kwargs=None):
        """Return (key, tape) of the recording for these arguments, which is made now if need be; None: the latest."""
        if args is None and kwargs is None:
            return list(self.recorded(needed=True).items())[-1]
        if not isinstance(args, (tuple, type(None))):
            raise TypeError(
                f"args must be the arguments of a call in a tuple, such as (1.0, [2.0]), not {describe(args)}"
            )
        if not isinstance(kwargs, (dict, type(None))):
            raise TypeError(f"kwargs must be the keywords of a call in a dict, not {describe(kwargs)}")
        call = self.read(args or (), kwargs or {})
        return call.key, explained(call.arguments, self.tape_at, call.key, call.numbers())

    def chosen_or_all(self, args, kwargs):
        """Return {key: tape}: the recording for these arguments; None: all recordings."""
        return self.recorded(needed=True) if args is None and kwargs is None else dict([self.chosen(args, kwargs)])

    def tape_at(self, key, numbers):
        """Return the tape for arguments of the structures in `key`; it is recorded at these numbers if need be."""
        tape = self._tapes.get(key)
        return self._recorded_now(key, numbers) if tape is None else tape

    def _recorded_now(self, key, numbers):
        tape = self.record(key, numbers)
        self._tapes.add(key, tape, self.__name__)
        return tape

    def use_recordings_of(self, other):
        self._tapes = other._tapes

    def clear(self):
        """Forget all recordings: the next call records anew, also of derivatives and methods made from this function.

        TypeError for a loaded function: it has no Python code.
        """
        if isinstance(self.function, Loaded):
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
        if isinstance(made, Recorded):
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
        if most is not None and most < len(self._tapes) and isinstance(self.function, Loaded):
            raise TypeError(f"{self.__name__} was loaded, without its Python source: none of its recordings may go")
        self._tapes.most = most
        self._tapes.shrink()

    def parameters(self):
        """Return the parameters, the Values that every run reads anew, in a list."""
        return parameters_of(self.recorded().values())

    def record(self, key, numbers):
        """Return a new tape for arguments of the structures in `key`, recorded at these numbers."""
        return record(self.called(key), key, numbers, self._passes)

    def called(self, key):
        """Return the function to `apply` to the items of one sample."""
        return self.function

    def of_numbers(self, key):
        """Return the function to `apply` to numbers that computes this in eager code, to name an anomaly, or None."""
        return self.eager or (self.called(key) if getattr(self.function, "takes_numbers", False) else None)

    # --- options ------------------------------------------------------------------------------------------------------

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

    @property
    def passes(self):
        """The names of the passes that are made over a tape, in a tuple."""
        return tuple(name for name, bit in PASSES.items() if self._passes & bit)

    def reduction_of(self, tape):
        """Return the reduction for a batch of this tape."""
        return self.reduction_for(tape.structure)

    def reduction_for(self, structure):
        """Return the reduction for a batch of results of this structure."""
        if self.reduction is not None:
            return self.reduction
        return "none" if structure is not None or self._is_module else "mean"

    def __copy__(self):
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _tapes=self._tapes.copy(), _kept=Kept(_MOST_KEPT))
        other._methods, other._owners = {}, Kept(_MOST_KEPT)
        return other

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
            tape = explained(call.arguments, self._recorded_now, call.key, call.numbers())
        return Run(self, tape, call)


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
    return made._options() if isinstance(made, Recorded) else None


def parameters_of(tapes):
    """Return the parameters of these tapes, each once, in a list."""
    return each_once(p for tape in tapes for p in tape.parameters)
