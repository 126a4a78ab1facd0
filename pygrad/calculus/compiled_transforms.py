"""The transforms of compiled functions: `CompiledJacobian`, and `CompiledProduct` for jvp, vjp and hvp.

For a Jacobian the function is recorded once, as a tape of m outputs and n inputs. For a Hessian the recorded function
is the gradient. pygrad.calculus.sparsity finds the inputs that each output depends on. Then there are two ways:

    unrolled   the derivatives are recorded too, as the outputs of a second tape: backward, for each output by the
               inputs that it depends on; or forward, for each input by the outputs that depend on it. Best where each
               output depends on few inputs, as in a band
    lanes      a tape from arguments and seeds to adjoints (or to tangents) runs over a batch of seeds. Outputs that
               depend on no common input share a seed: they have the same color. (So do inputs without a common output)
"""

import math
from array import array
from weakref import WeakKeyDictionary

from pygrad.calculus.grad import as_value, pull, push
from pygrad.calculus.points import several
from pygrad.calculus.sparsity import Pattern
from pygrad.common import anomaly, forks
from pygrad.common.nested import build_lists, dimensions, flatten, nest, or_lists
from pygrad.engine import adjoints, recordings
from pygrad.engine.modes import enable_grad
from pygrad.tape.anomalies import check_eagerly
from pygrad.tape.arguments import Argument, HasValues
from pygrad.tape.bound import BoundArgument
from pygrad.tape.compiled import Compiled

_GROWTH = 8  # unroll if the second tape has at most so many operations and results for each operation of the first


class CompiledOnce(Compiled):
    """A function that is recorded for one call, so it may branch on its numbers.

    There are no passes over the tape: they would cost more than they save.
    """

    def __init__(self, function, reduction="none", batched=False, threads=1, passes=(), max_recordings=None):
        super().__init__(function, reduction, batched, threads, passes, max_recordings)

    def like(self, function, batched=False):
        return CompiledOnce(function, batched=batched, threads=self.threads)

    def record(self, structures, arguments):
        return self.record_as(self.function, structures, arguments, watch=False)


class CompiledProduct(Compiled):
    """A compiled function of (xs, vs). xs may be a tuple of several arguments; so may vs if it is shaped like xs."""

    def __init__(self, compiled, product, is_shaped_alike):
        batched, self._is_shaped_alike = compiled.batched, is_shaped_alike
        if not isinstance(batched, bool):
            batched = (*batched, *batched) if is_shaped_alike else (*batched, any(batched))
        super().__init__(product, "none", batched, compiled.threads, compiled.passes, compiled.max_recordings)

    def prepare(self, args, kwargs, kind=Argument):
        if len(args) != 2 or kwargs:
            raise TypeError(f"{self.__name__} takes two arguments: xs, a tuple if it is several, and vs")
        xs, vs = args
        return super().prepare((*several(xs), *(several(vs) if self._is_shaped_alike else [vs])), {}, kind)

    def called(self, *items):
        n = len(items) // 2 if self._is_shaped_alike else len(items) - 1

        def one_or_all(items):  # a tuple of several arguments is a tuple again
            return items[0] if len(items) == 1 else items

        return self.function(one_or_all(items[:n]), one_or_all(items[n:]))


class CompiledJacobian:
    """What `jacobian` and `hessian` return for a compiled function. It makes a plan once for each recorded tape.

    `outputs_of` is the Python function, of Values, whose Jacobian is wanted; `eager` is the transform that is called if
    the arguments hold Values.
    """

    def __init__(self, compiled, outputs_of, eager, is_sparse, unrolls=True):
        self._base, self._eager = compiled.like(outputs_of), eager
        self._is_sparse, self._unrolls, self._plans = is_sparse, unrolls, WeakKeyDictionary()  # by tape
        self.__name__ = self.__qualname__ = eager.__name__
        self.__doc__ = eager.__doc__

    def __call__(self, *args):
        """Return the derivatives at these numbers: those of one sample, or of each sample in a batch."""
        try:
            run = self._base.prepare(args, {})
        except HasValues:
            run = None
        if run and not recordings.is_recording():
            return self._plan(run).result(run)
        if self._is_sparse:
            raise TypeError("sparse=True gives numbers, of numbers: it takes no Values, and cannot be recorded")
        return self._eager(*args)

    def bind(self, *args):
        """Return an object that computes this with its memory fixed, for many calls: see `Compiled.bind`.

        Write numbers to its `inputs` and call `forward()`. Then its `output`, always the same array of floats, has the
        Jacobian row by row; if sparse, the numbers at the places of `pattern()`, in the same sequence.
        """
        run = self._base.prepare(args, {}, BoundArgument)
        return self._plan(run).bind(run)

    def pattern(self, *args):
        """Return the (row, column) of each number that may be other than 0, row by row, at arguments like these."""
        pattern = self._plan(self._base.prepare(args, {})).pattern
        return list(zip(pattern.row_of_each(), pattern.columns))

    def _plan(self, run):
        plan = self._plans.get(run.tape)
        if plan is None:
            plan = self._plans[run.tape] = self._make_plan(run)
        return plan

    def _make_plan(self, run):
        pattern, structures = Pattern(run.tape), [a.structure for a in run.arguments]
        size = min(pattern.row_steps, pattern.column_steps) + len(pattern.columns)
        is_short = self._unrolls and size <= _GROWTH * len(run.tape)
        kind = _Unrolled if is_short or not pattern.columns else _Lanes
        plan = kind(self._base, pattern, structures, run.tape.structure, self._is_sparse)
        plan.compiled.eager = None if isinstance(self._base, CompiledOnce) else self._eager
        return plan


class _Plan:
    """How the Jacobian of one tape is computed, and how its numbers are shaped for the caller."""

    def __init__(self, base, pattern, structures, structure, is_sparse):
        self.base, self.pattern, self.is_sparse = base, pattern, is_sparse
        self.structures = structures
        if not is_sparse:
            self.structure = nest(structure, structures[0] if len(structures) == 1 else tuple(structures))
            self.shape = dimensions(self.structure)  # None: it is not rectangular

    def shaped(self, numbers, run):
        """Return the derivatives of one sample, or of all in a batch, as the caller gets them, from a flat array."""
        if self.is_sparse:
            return self._sparse(numbers, run)
        if self.shape is not None and any(a.is_array for a in run.arguments):
            with forks.importing:
                import numpy as np

            found = np.frombuffer(numbers, dtype=float).reshape(run.n, *self.shape)
        else:
            items = iter(numbers)
            found = [build_lists(self.structure, items) for _ in range(run.n)]
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
        self.compiled = self.base.like(self._outputs)

    def _outputs(self, *arguments):
        """Return the derivatives as Values, for arguments of Values: those in the pattern if sparse, else all."""
        xs, ys = [], []
        flatten(arguments, xs, lambda x: x)
        flatten(self.base.function(*arguments), ys, or_lists(as_value))
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

    def result(self, run):
        mine = self.compiled.run_on(run.arguments, run.samples)
        mine.run()
        return self.shaped(mine.outputs, run)

    def bind(self, run):
        return self.compiled.bind(*[a.given for a in run.arguments], inputs=False)


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
        items, ys = iter(xs), []
        flatten(self.base.function(*[build_lists(s, items) for s in self.structures]), ys, or_lists(as_value))
        return ys

    def _adjoints(self, xs, seeds):
        return pull(self._call(xs), seeds, xs)

    def _tangents(self, xs, seeds):
        return push(self._call(xs), xs, seeds)

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
            items = iter(xs)
            check_eagerly(self.compiled.eager, [build_lists(s, items) for s in self.structures])
        if not math.isfinite(sum(found)):
            return self._row_by_row(xs)
        return found if self.sources is None else array("d", map([*found, 0.0].__getitem__, self.sources))

    def _row_by_row(self, xs):
        with enable_grad():
            leaves = [as_value(x) for x in xs]
            ys = self._call(leaves)
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
        return _BoundLanes(self, run.arguments)


class _BoundLanes:
    """What `CompiledJacobian.bind` returns if the plan is _Lanes."""

    def __init__(self, plan, arguments):
        self.inputs = [a.numbers for a in arguments]
        self._plan, self._columns = plan, [column for a in arguments for column in a.columns]
        self._arguments = arguments  # they keep the memory of the columns alive
        self._xs = array("d", bytes(8 * len(self._columns)))
        self._bound = plan.compiled.bind(self._xs, plan.seeds)
        self.output = array("d", plan.numbers(self._xs, self._bound.output))

    def forward(self):
        """Compute `output` from `inputs`."""
        for i, (pointer, _) in enumerate(self._columns):
            self._xs[i] = pointer[0]
        self._bound.forward()
        self.output[:] = array("d", self._plan.numbers(self._xs, self._bound.output))


def _scipy_sparse():
    try:
        with forks.importing:
            from scipy import sparse
    except ImportError:
        raise ImportError("sparse=True needs SciPy: pip install 'pygrad-engine[scipy]'") from None
    return sparse
