"""The transforms of compiled functions: `CompiledJacobian`, and `CompiledProduct` for jvp, vjp and hvp.

For a Jacobian the function is recorded once, as a tape of m outputs and n inputs. For a Hessian the recorded function
is the gradient. pygrad.calculus.sparsity finds the inputs that each output depends on. Then there are two ways:

    unrolled   the derivatives are recorded too, as the outputs of a second tape: backward, for each output by the
               inputs that it depends on; or forward, for each input by the outputs that depend on it. Best where each
               output depends on few inputs, as in a band
    lanes      a tape from arguments and seeds to adjoints (or to tangents) runs over a batch of seeds. Outputs that
               depend on no common input share a seed: they have the same color. (So do inputs without a common output)
"""

import copy
import functools
import math
from array import array
from itertools import accumulate
from weakref import WeakKeyDictionary

from pygrad.calculus.call_on_values import LIKE_XS, differentiated, pair_of
from pygrad.calculus.compiled_gradient import CompiledGradient, deep_copy, reduced
from pygrad.calculus.grad import as_value, pull, push
from pygrad.calculus.points import several
from pygrad.calculus.sparsity import Pattern
from pygrad.common import anomaly, forks
from pygrad.common.nested import as_bare, as_derivative, build_lists, count, dimensions, flatten, nest, or_lists
from pygrad.common.parts import Static
from pygrad.common.signatures import place_of
from pygrad.common.value_base import each_once
from pygrad.engine import adjoints, recordings
from pygrad.engine.modes import enable_grad
from pygrad.tape import files
from pygrad.tape.anomalies import check_eagerly
from pygrad.tape.arguments import Argument, HasValues
from pygrad.tape.bound import Bound, BoundArgument, as_given, packed, unpacked, write
from pygrad.tape.call import Call, apply, hand_on, inputs_of, split
from pygrad.tape.compiled import Compiled
from pygrad.tape.in_values import ValuesLeaf
from pygrad.tape.record import record
from pygrad.tape.run import of_samples
from pygrad.tape.states import state_of

_GROWTH = 8  # unroll if the second tape has at most so many operations and results for each operation of the first


class CompiledOnce(Compiled):
    """A function that is recorded for one call, so it may branch on its numbers.

    There are no passes over the tape: they would cost more than they save.
    """

    def __init__(self, function, reduction="none", batched=False, **options):
        super().__init__(function, reduction, batched, **{"passes": (), "max_recordings": None, **options})
        self._kind_of_others = CompiledOnce

    def record(self, key, numbers):
        return record(self.function, key, numbers, self._passes, watch=False)


def _no_method(self, owner, kind=None):
    """A product takes a point as one argument, so nothing could say which object's method it is."""
    if owner is None:
        return self
    raise TypeError(f"{self.__name__} cannot be a method: take the transform of the object's own method, as jvp(obj.f)")


class CompiledWithAux:
    """A transform with has_aux of a compiled function, which returns a pair: its result, and something besides.

    What is besides comes as a compiled function that returned it alone would return it.
    """

    def __init__(self, base, eager, transform, make):
        self._of_result, self._eager = transform(_part(base, 0)), eager
        self._aux, self._is_product = _part(base, 1), isinstance(self._of_result, CompiledProduct)
        self._base, self._make = base, make  # for pickles: make(base) makes this
        self._whole = self._of_result.like_this(base, eager) if self._is_product else base.like(eager)
        self._has_inner = eager.__name__.startswith("value_and_grad")
        self.__name__ = self.__qualname__ = eager.__name__
        self.__doc__ = eager.__doc__

    __get__ = _no_method

    def __call__(self, *args, **kwargs):
        point = several(args[0]) if self._is_product and args else args
        try:
            call, has_values = self._aux.read(point, kwargs), False
        except HasValues:
            call, has_values = self._aux.read(point, kwargs, ValuesLeaf), True
        if has_values or (recordings.is_calling() and call.samples is None):
            return self._eager(*args, **kwargs) if self._is_product else call.hand_on_to(self._eager, args, kwargs)
        found, aux = self._of_result(*args, **kwargs), self._aux(*point, **kwargs)
        if self._has_inner:
            values, gradients = self._of_result.parted(found, call)
            return (values, aux), gradients
        return (*found, aux) if self._of_result.__name__.startswith(("jvp", "vjp")) else (found, aux)

    def __reduce__(self):
        """Pickles have the function; if there is no other way, with recordings that are made now."""
        if not self._base.can_be_pickled():
            for key, tape in self._aux.recorded().items():
                self._base.tape_at(key, list(tape.point))
        return self._make, (self._base,)

    def __copy__(self):
        return _shallow(self)

    def __deepcopy__(self, memo):
        return self._make(copy.deepcopy(self._base, memo))

    @property
    def tape(self):
        """The tape of all that a call returns, at arguments like those of the latest recording; see `trace`."""
        return self._tapes()[-1][1]

    def trace(self, *args, **kwargs):
        """Return the tape of all that a call returns for arguments of these structures. A call runs two others."""
        return self._whole.trace(*args, **kwargs)

    def parameters(self):
        """Return the parameters, the Values that every run reads anew, in a list."""
        return each_once([*self._of_result.parameters(), *self._aux.parameters()])

    def save(self, path, *, args=None, kwargs=None):
        """See `pygrad.tape.compiled.Compiled.save`."""
        state = state_of(self._whole, dict(self._tapes(args, kwargs)))
        is_whole = not isinstance(self._of_result, CompiledGradient) or self._of_result.is_whole
        files.save(state if is_whole else {**state, "one_sample": True}, path)

    def to_c(self, path, name="model", *, args=None, kwargs=None):
        """See `pygrad.tape.compiled.Compiled.to_c`."""
        key, tape = self._tapes(args, kwargs)[-1]
        with forks.importing:
            from pygrad.tape import c_source

        c_source.write(tape, key, path, name, self.__name__)

    def _tapes(self, args=None, kwargs=None):
        """Return [(key, tape of all that a call returns)] for these arguments; None: for all recordings."""
        if args is not None or kwargs is not None:
            return [self._whole.chosen(args, kwargs)]
        recorded = (self._of_result if self._is_product else self._aux).recorded(needed=True)
        return [(key, self._whole.tape_at(key, list(tape.point))) for key, tape in recorded.items()]


def _shallow(x):
    other = object.__new__(type(x))
    other.__dict__.update(x.__dict__)
    return other


def _part(base, i):
    """Return the compiled function that returns part `i` of the pair that the function of `base` returns."""
    function = base.function

    @functools.wraps(function, updated=())
    def part(*args, **kwargs):
        return pair_of(function(*args, **kwargs))[i]

    part.takes_static = getattr(function, "takes_static", False)
    return base.like(part, reduction=base.reduction)


class CompiledProduct(Compiled):
    """A compiled function of (xs, vs). xs may be a tuple of several arguments; so may vs if it is shaped like xs."""

    def __init__(self, compiled, product, transform, argnums, is_shaped_alike):
        super().__init__(product, **{**compiled.options(), "reduction": "none"})
        self._base, self._argnums, self._is_shaped_alike = compiled, argnums, is_shaped_alike
        self._transform = transform

    __get__ = _no_method

    def __reduce__(self):
        return self._reduced()

    def __deepcopy__(self, memo):
        return deep_copy(self._reduced(is_copy=True), memo)

    def _reduced(self, is_copy=False):
        make = functools.partial(self._transform, argnums=self._argnums)
        return reduced(make, self._base, self._tapes and super().__reduce__(), is_copy=is_copy)

    def like_this(self, base, product):
        """Return a product of the same kind: the function `product`, made of the function of `base`, compiled."""
        return CompiledProduct(base, product, self._transform, self._argnums, self._is_shaped_alike)

    def read(self, args, kwargs, kind=Argument):
        if len(args) != 2:
            raise TypeError(f"{self.__name__} takes two arguments: xs, a tuple if it is several, and vs")
        xs, vs = several(args[0]), several(args[1]) if self._is_shaped_alike else [args[1]]
        point = Call(xs, kwargs, kind, self._base.reading, self._base.function)
        places = _places(point.key, self._argnums) if self._is_shaped_alike else []
        if self._is_shaped_alike and len(vs) != len(places):
            raise ValueError(LIKE_XS)
        return point.with_more(Call(vs, {}, kind, _ReadingOfDirections(self._base.reading, places)))

    def _of_values(self, args, kwargs):
        call = self.read(args, kwargs, ValuesLeaf)
        if call.samples is not None:
            return super()._of_values(args, kwargs)
        xs = tuple([tree if type(tree) is Static else x for tree, x in zip(call.trees, several(args[0]))])
        return self.function(xs if type(args[0]) is tuple else xs[0], args[1], **kwargs)

    def called(self, key):
        by_place, _ = split(key)
        n = self._count(by_place)

        def one_or_all(items):  # a tuple of several arguments is a tuple again
            return items[0] if len(items) == 1 else items

        def function(*items, **kwargs):
            return self.function(one_or_all(items[:n]), one_or_all(items[n:]), **kwargs)

        function.takes_static = True
        return function

    def _count(self, by_place):
        """Return how many of these structures are of xs; the others are of vs."""
        if not self._is_shaped_alike:
            return len(by_place) - 1
        statics = [type(s) is Static for s in by_place]
        if self._argnums is not None:
            return len(by_place) - (1 if isinstance(self._argnums, int) else len(self._argnums))
        return next(n for n in range(len(by_place) + 1) if n + statics[:n].count(False) == len(by_place))


class _ReadingOfDirections:
    """How vs is read: as the arguments at these places of xs; without places, as samples if any argument has some."""

    is_simple = False

    def __init__(self, reading, places):
        self._reading, self._places = reading, places

    def place(self, i):
        if i < len(self._places):
            return self._reading.place(self._places[i])
        batched = self._reading.batched
        return batched if isinstance(batched, bool) else any(batched)


def _places(key, argnums):
    """Return the places of the arguments of a key that are differentiated."""
    by_place, _ = split(key)
    return differentiated(argnums, [*range(len(by_place))], by_place)


class CompiledJacobian:
    """What `jacobian` and `hessian` return for a compiled function. It makes a plan once for each recorded tape.

    `outputs_of` is the Python function, of Values, whose Jacobian is wanted, by the arguments of `argnums`; `eager` is
    the transform that is called if the arguments hold Values. `makers` are for pickles: the transform, which makes this
    of `compiled`, and that which makes it of `outputs_of`, compiled.
    """

    def __init__(self, compiled, outputs_of, eager, is_sparse, argnums=None, makers=None, unrolls=None):
        self._base, self._eager, self._argnums = compiled.like(outputs_of), eager, argnums
        self._made_of, self._makers = compiled, makers
        self._unrolls = not isinstance(compiled, CompiledOnce) if unrolls is None else unrolls
        self._is_sparse, self._plans = is_sparse, WeakKeyDictionary()  # by tape
        self.__name__ = self.__qualname__ = eager.__name__
        self.__doc__ = eager.__doc__

    def __get__(self, owner, kind=None):
        base = self._base.__get__(owner, kind)
        if base is self._base:
            return self
        eager = self._eager.__get__(owner, kind)
        makers = self._makers and (self._makers[1], self._makers[1])
        return CompiledJacobian(base, base.function, eager, self._is_sparse, self._argnums, makers, self._unrolls)

    # --- pickles and copies -------------------------------------------------------------------------------------------

    def __reduce__(self):
        """Pickles and deep copies have the recordings of this derivative, and those of its function."""
        return self._reduced()

    def __copy__(self):
        return _shallow(self)

    def __deepcopy__(self, memo):
        return deep_copy(self._reduced(is_copy=True), memo)

    def _reduced(self, is_copy=False):
        mine, others = self._base.recorded(), self._made_of.recorded()
        own = mine and self._base.__reduce__()
        # What was recorded comes back without its Python code. Then the tapes here are best, if they are for all calls.
        needs_no_base = others.keys() <= mine.keys() if others else not (is_copy or self._made_of.can_be_pickled())
        if own and needs_no_base:
            return _of_outputs, (self._makers[1], own, self.__name__)
        return reduced(self._makers[0], self._made_of, own, is_copy=is_copy)

    def use_recordings_of(self, other):
        self._base.use_recordings_of(other)

    # --- calls --------------------------------------------------------------------------------------------------------

    def __call__(self, *args, **kwargs):
        """Return the derivatives at these numbers: those of one sample, or of each sample in a batch."""
        try:
            call = self._base.read(args, kwargs)
        except HasValues:
            call = self._base.read(args, kwargs, ValuesLeaf)
            if call.samples is not None:
                raise TypeError(_ONE_AT_A_TIME) from None
            run = None
        else:
            run = self._base.run_on(call)
        if run and not _depends(run):
            return self._plan(run).result(run)
        if self._is_sparse:
            raise TypeError(
                "sparse=True gives numbers, of numbers: it takes no Values, cannot be recorded, and its function may "
                "not use the arguments of another one that is transformed"
            )
        return call.hand_on_to(self._eager, args, kwargs)

    def bind(self, *args):
        """Return an object that computes this with its memory fixed, for many calls: see `Compiled.bind`.

        Write numbers to its `inputs` and call `forward()`. Then its `output`, always the same array of floats, has the
        Jacobian row by row; if sparse, the numbers at the places of `pattern()`, in the same sequence.
        """
        return self.bound(self._base.prepare(args, {}, BoundArgument))

    def bound(self, run):
        bound = self._plan(run).bind(run)
        if type(bound) is _BoundLanes:
            bound.make = self._makers[1]
        return bound

    def pattern(self, *args, **kwargs):
        """Return the (row, column) of each number that may be other than 0, row by row, at arguments like these."""
        pattern = self._plan_of(*self._base.chosen(args, kwargs)).pattern
        return list(zip(pattern.row_of_each(), pattern.columns))

    def _plan(self, run):
        return self._plan_of(run.call.key, run.tape)

    def _plan_of(self, key, tape):
        plan = self._plans.get(tape)
        if plan is None:
            plan = self._plans[tape] = self._make_plan(key, tape)
        return plan

    def _make_plan(self, key, tape, kind=None):
        pattern, wanted = Pattern(tape), _Wanted(key, self._argnums, self._base)
        pattern.keep_columns(wanted.inputs)
        size = min(pattern.row_steps, pattern.column_steps) + len(pattern.columns)
        is_short = self._unrolls and size <= _GROWTH * len(tape)
        kind = kind or (_Unrolled if is_short or not pattern.columns else _Lanes)
        plan = kind(self._base, pattern, key, tape.structure, self._is_sparse, wanted)
        plan.compiled.eager = None if isinstance(self._base, CompiledOnce) else self._eager
        return plan

    # --- its numbers as the outputs of one tape -----------------------------------------------------------------------

    @property
    def tape(self):
        """The tape that computes all numbers, at arguments like those of the latest recording; see `trace`."""
        return self._numbers_of(*self._base.chosen())

    def trace(self, *args, **kwargs):
        """Return the tape that computes all numbers of one sample, at arguments like these; if sparse, those of
        `pattern()`, in the same sequence. A call may take another way."""
        return self._numbers_of(*self._base.chosen(args, kwargs))

    def parameters(self):
        """Return the parameters, the Values that every run reads anew, in a list."""
        return self._base.parameters()

    def save(self, path, *, args=None, kwargs=None):
        """See `pygrad.tape.compiled.Compiled.save`. ValueError if sparse: a file has lists of numbers, no matrices."""
        if self._is_sparse:
            raise ValueError(
                "a file keeps no sparse matrices: save the function itself, and take the sparse derivative of what "
                "pygrad.load(path) returns"
            )
        tapes = {key: self._numbers_of(key, tape) for key, tape in self._base.chosen_or_all(args, kwargs).items()}
        files.save(state_of(self._base.like(self._eager), tapes), path)

    def to_c(self, path, name="model", *, args=None, kwargs=None):
        """See `pygrad.tape.compiled.Compiled.to_c`: the outputs are the numbers that `trace` speaks of."""
        key, tape = self._base.chosen(args, kwargs)
        with forks.importing:
            from pygrad.tape import c_source

        c_source.write(self._numbers_of(key, tape), key, path, name, self.__name__)

    def _numbers_of(self, key, tape):
        plan = self._plan_of(key, tape)
        if not isinstance(plan, _Unrolled):
            plan = self._make_plan(key, tape, _Unrolled)
        return plan.tape_at(tape.point)


def _of_outputs(make, own, name):
    """Return a CompiledJacobian over the recordings `own` of the function whose Jacobian it is."""
    compiled = own[0](*own[1])
    jacobian = make(compiled)
    jacobian.use_recordings_of(compiled)
    jacobian.__name__ = jacobian.__qualname__ = name
    return jacobian


def _depends(run):
    """True if derivatives of this run must be Values: another function is recorded, or transformed, and this one finds
    the arguments of that one around it. TypeError for those of a batch.
    """
    if not recordings.is_calling():
        return False
    if not recordings.is_recording() and not any(map(recordings.is_variable, run.tape.parameters)):
        return False
    if run.samples is not None:
        raise TypeError(_ONE_AT_A_TIME)
    return True


_ONE_AT_A_TIME = "derivatives of a batch are numbers: where they must be Values take them for one sample at a time"


class _Wanted:
    """The arguments that a Jacobian is by: the numbers of their `inputs`, and their `structure`, with that of a row."""

    def __init__(self, key, argnums, compiled):
        by_place, keywords = split(key)
        given = [*by_place, *keywords.values()]
        places = [*range(len(by_place)), *(place_of(compiled.function, name) for name in keywords)]
        firsts = [0, *accumulate(map(count, given))]
        chosen = differentiated(argnums, places, given)
        self.inputs = [i for k in chosen for i in range(firsts[k], firsts[k + 1])]
        structures = [as_derivative(given[k]) for k in chosen]
        is_one = isinstance(argnums, int) or (argnums is None and len(chosen) == 1)
        self.structure = structures[0] if is_one else tuple(structures)


class _Plan:
    """How the Jacobian of one tape is computed, and how its numbers are shaped for the caller."""

    def __init__(self, base, pattern, key, structure, is_sparse, wanted=None):
        """The key is that of the tape, and `structure` that of its output; by default all inputs are wanted."""
        self.base, self.pattern, self.is_sparse, self.key = base, pattern, is_sparse, tuple(key)
        self.inputs = range(pattern.shape[1]) if wanted is None else wanted.inputs
        inner = wanted.structure if wanted else key[0] if len(key) == 1 else tuple(key)
        self.structure = None if is_sparse else nest(as_bare(structure), inner)

    def shaped(self, numbers, run):
        """Return the derivatives of one sample, or of all in a batch, as the caller gets them, from a flat array."""
        if self.is_sparse:
            return self._sparse(numbers, run)
        as_array = any(a.is_array for a in run.arguments)
        if run.samples is None and not (as_array and dimensions(self.structure) is not None):
            return build_lists(self.structure, iter(numbers))
        found = of_samples(numbers, self.structure, run.n, as_array)
        return found[0] if run.samples is None else found

    def _sparse(self, numbers, run):
        with forks.importing:
            import numpy as np

        sparse = _scipy_sparse()
        places = [np.frombuffer(part, dtype=np.intc) for part in (self.pattern.columns, self.pattern.starts)]
        values = np.array(numbers).reshape(run.n, len(self.pattern.columns))
        found = [sparse.csr_array((row, *places), shape=self.pattern.shape, copy=True) for row in values]
        return found[0] if run.samples is None else found


class _Unrolled(_Plan):
    """The derivatives are the outputs of a second tape."""

    def __init__(self, *args):
        super().__init__(*args)
        outputs = functools.partial(self._outputs)
        outputs.takes_static, outputs.__name__ = True, self.base.__name__
        self.compiled = self.base.like(outputs)

    def _outputs(self, *args, **kwargs):
        """Return the derivatives as Values, for arguments of Values: those in the pattern if sparse, else all."""
        items, ys = inputs_of(args, kwargs), []
        xs = [items[i] for i in self.inputs]
        flatten(hand_on(self.base.function, args, kwargs), ys, or_lists(as_value))
        by_rows = self.pattern.row_steps <= self.pattern.column_steps
        found = (self._by_rows if by_rows else self._by_columns)(ys, xs)
        if self.is_sparse:
            return found
        (m, n), zero = self.pattern.shape, as_value(0.0)
        everything = [zero] * (m * n)
        for i, j, d in zip(self.pattern.row_of_each(), self.pattern.columns, found):
            everything[i * n + j] = d
        return everything

    def _by_rows(self, ys, xs):
        return [d for y, row in zip(ys, self.pattern.rows()) for d in pull([y], [1.0], [xs[j] for j in row])]

    def _by_columns(self, ys, xs):
        columns = [iter(push([ys[i] for i in rows], [x], [1.0])) for x, rows in zip(xs, self.pattern.by_columns())]
        return [next(columns[j]) for j in self.pattern.columns]

    def tape_at(self, numbers):
        """Return the tape, with the structure that a caller gets."""
        tape = self.compiled.tape_at(self.key, list(numbers))
        tape.structure = tape.structure if self.is_sparse else self.structure
        return tape

    def result(self, run):
        mine = self.compiled.run_on(run.call)
        mine.run()
        return self.shaped(mine.outputs, run)

    def bind(self, run):
        return Bound(self.compiled.run_on(run.call), with_inputs=False)


class _Lanes(_Plan):
    """A second tape computes adjoints from arguments and seeds, over a batch of seeds: a lane for each color.

    If the inputs have fewer colors than the outputs, it computes tangents instead.
    """

    def __init__(self, *args):
        super().__init__(*args)
        of_rows, of_columns = self.pattern.row_colors(), self.pattern.column_colors()
        self.is_backward = max(of_rows) <= max(of_columns)
        sweep, lanes = (self._adjoints, of_rows) if self.is_backward else (self._tangents, of_columns)
        k, self.sources = max(lanes) + 1, self._sources(lanes)
        seeds = array("d", bytes(8 * k * len(lanes)))
        for i, color in enumerate(lanes):
            seeds[color * len(lanes) + i] = 1.0
        self.seeds = memoryview(seeds).cast("B").cast("d", (k, len(lanes)))
        self.compiled = self.base.like(sweep, batched=(False, True))
        self.compiled.is_checked = False  # a seed of 0 times an infinite slope is nan, and is no anomaly: see numbers()

    def _sources(self, lanes):
        """Return the place of each number of the result in the output of all lanes; -1: it is 0, and has no place.

        The result has the numbers of the pattern if sparse, else all of the Jacobian. None: the output is the result.
        """
        (m, n), is_full = self.pattern.shape, self.pattern.is_full()
        if is_full and self.is_backward:
            return None
        pairs = zip(self.pattern.row_of_each(), self.pattern.columns)
        if self.is_backward:
            sources = array("q", (lanes[i] * n + j for i, j in pairs))
        else:
            sources = array("q", (lanes[j] * m + i for i, j in pairs))
        if self.is_sparse or is_full:
            return sources
        everywhere = array("q", [-1]) * (m * n)
        for i, j, source in zip(self.pattern.row_of_each(), self.pattern.columns, sources):
            everywhere[i * n + j] = source
        return everywhere

    def _call(self, xs):
        """Call the function with these Values, one for each input; return its results in a flat list."""
        ys = []
        flatten(apply(self.base.function, self.key, iter(xs)), ys, or_lists(as_value))
        return ys

    def _adjoints(self, xs, seeds):
        return pull(self._call(xs), seeds, [xs[i] for i in self.inputs])

    def _tangents(self, xs, seeds):
        return push(self._call(xs), [xs[i] for i in self.inputs], seeds)

    def result(self, run):
        numbers = array("d")
        for i in range(run.n):
            xs = array("d", (pointer[i * step] for a in run.arguments for pointer, step in a.columns))
            mine = self.compiled.prepare((xs, self.seeds), {})
            mine.run()
            numbers.extend(self.numbers(xs, mine.outputs))
        return self.shaped(numbers, run)

    def numbers(self, xs, found):
        """Return the numbers of the result in an array; `found` is the output of all lanes at xs.

        A slope that is not finite may have spoilt the numbers of other rows: a seed of 0 times an infinite slope is
        nan. Then each row gets a backward pass of its own.
        """
        if anomaly.is_on() and self.compiled.eager:
            check_eagerly(self.compiled.eager, self.key, xs)
        if not math.isfinite(sum(found)):
            return self._row_by_row(xs)
        return found if self.sources is None else array("d", map([*found, 0.0].__getitem__, self.sources))

    def _row_by_row(self, xs):
        with enable_grad():
            leaves = [as_value(x) for x in xs]
            ys = self._call(leaves)
            leaves = [leaves[i] for i in self.inputs]
        m, n = self.pattern.shape
        out = array("d", bytes(0 if self.is_sparse else 8 * m * n))
        for i, (y, row) in enumerate(zip(ys, self.pattern.rows())):
            found = adjoints([y], [1.0], [leaves[j] for j in row])
            if self.is_sparse:
                out.extend(found)
            for j, d in zip(row, found if not self.is_sparse else ()):
                out[i * n + j] = d
        return out

    def bind(self, run):
        if run.samples is not None:
            raise ValueError("this Jacobian can be bound for one sample only: compile the function with batched=False")
        return _BoundLanes(self, run)


class _BoundLanes:
    """What `CompiledJacobian.bind` returns if the plan is _Lanes."""

    make = None  # for pickles: make(compiled) makes the CompiledJacobian

    def __init__(self, plan, run):
        self.inputs = [a.numbers for a in run.arguments]
        self._plan, self._columns = plan, [column for a in run.arguments for column in a.columns]
        self._run = run  # it keeps the memory of the columns alive, and the static arguments
        self._xs = array("d", bytes(8 * len(self._columns)))
        self._bound = plan.compiled.bind(self._xs, plan.seeds)
        self._numbers = array("d", plan.numbers(self._xs, self._bound.output))
        self.output = as_given(run, self._numbers)

    def __copy__(self):
        other = _BoundLanes(self._plan, self._run)
        other.make = self.make
        write(other.output, self._numbers)
        return other

    def __reduce__(self):
        return _bound_lanes, (self.make, packed(self._run), self._numbers)

    def forward(self):
        """Compute `output` from `inputs`."""
        for i, (pointer, _) in enumerate(self._columns):
            self._xs[i] = pointer[0]
        self._bound.forward()
        self._numbers[:] = array("d", self._plan.numbers(self._xs, self._bound.output))


def _bound_lanes(make, run, numbers):
    run = unpacked(run)
    jacobian = make(run.compiled)
    jacobian.use_recordings_of(run.compiled)
    bound = jacobian.bound(run)
    write(bound.output, numbers)
    return bound


def _scipy_sparse():
    try:
        with forks.importing:
            from scipy import sparse
    except ImportError:
        raise ImportError("sparse=True needs SciPy: pip install 'pygrad-engine[scipy]'") from None
    return sparse
