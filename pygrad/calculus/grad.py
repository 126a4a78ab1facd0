"""`grad` and `backward`, and the two functions that the transforms are built from: `pull` and `push`.

`pull` goes backward through a graph, from gradients of results to gradients of operands; `push` goes forward. Both make
the derivatives as nodes, so these can be differentiated again. csrc/calculus/derive.c makes the nodes; it has the
derivative of each op from csrc/ops.def.
"""

from pygrad import engine
from pygrad.calculus.reruns import Substitutes
from pygrad.common import anomaly, truth
from pygrad.common.nested import flatten, or_lists, rebuild
from pygrad.common.numbers import describe, to_float
from pygrad.engine import Value, adjoints, cells, is_value, recordings, sweep
from pygrad.engine._lib import ffi, lib
from pygrad.engine.arena import needed_now, proxies_below
from pygrad.engine.errors import check
from pygrad.tape.record import warn_here

# --- for users --------------------------------------------------------------------------------------------------------


def backward(ys, seeds=None):
    """Set the gradients of all Values that `ys` were computed from, in one sweep.

    A leaf adds its new gradient to the one it has. In results, and in `ys` themselves, the new gradient replaces the
    old one.

    ys      a Value or a list of Values; a Value that is listed twice counts twice
    seeds   the gradient that each of `ys` starts with: a number for all, or a list of them; by default 1.0

    Raises TypeError for a y that is no Value and a seed that is no number, ValueError if there are not as many seeds as
    `ys`, and RuntimeError while another backward pass runs over the same nodes.

    >>> import pygrad
    >>> a = pygrad.Value(3.0)
    >>> pygrad.backward([a * 2.0, a * a], seeds=[1.0, 10.0])
    >>> a.grad
    62.0
    """
    ys, seeds = _roots(ys, 1.0 if seeds is None else seeds)
    sweep(ys, seeds)


def grad(y, xs, create_graph=False, seed=1.0):
    """Return d y / d x for each x, in the structure of `xs`; no Value's `grad` is read or changed.

    The derivative by x is the sum over all paths from y to x, also those that go through other xs: if b = a * 2, then
    grad(a * b, [a, b]) is [4 a, a], and 4 a counts the path through b. `gradient` takes arguments as independent:
    gradient(lambda a, b: a * b)(a, b) is [b, a], whatever b was computed from.

    y             a Value; or a list of Values: then their sum is differentiated, each Value times its seed
    xs            a Value, or nested lists of Values: leaves or results. An x that y does not depend on gives 0.0. A
                  frozen leaf (`requires_grad` is False) gives its derivative too
    create_graph  False: return floats. True: return Values, which have derivatives again. Then all operations between x
                  and y must have a formula; a TypeError names an op without one, such as an op with a `_backward`
    seed          a number, or a list with a number for each y; with create_graph Values too

    Raises TypeError and ValueError for arguments that are not like that, and RuntimeError while a backward pass runs
    over the same nodes.

    >>> import pygrad
    >>> x = pygrad.Value(2.0)
    >>> (dx,) = pygrad.grad(x**3, [x], create_graph=True)
    >>> dx.data, pygrad.grad(dx, x), x.grad
    (12.0, 12.0, 0.0)
    >>> a = pygrad.Value(3.0)
    >>> b = a * 2
    >>> pygrad.grad(a * b, [a, b]), pygrad.gradient(lambda a, b: a * b)(3.0, 6.0)
    ([12.0, 3.0], [6.0, 3.0])
    """
    values = []
    structure = flatten(xs, values, _as_x)
    ys, seeds = _roots(y, seed, create_graph)
    if create_graph:
        found = map(as_value, pull(ys, seeds, values))
    else:
        if recordings.is_recording():
            warn_here("grad() gives the numbers of this one run: use create_graph=True where it is recorded")
        elif any(map(recordings.is_variable, ys)):
            truth.warn_of_gradients("grad()")
        found = adjoints(ys, seeds, values)
    return rebuild(structure, iter(found))


def _roots(ys, seeds, with_values=False):
    """Return `ys` and `seeds` as two lists of equal length."""
    ys = [ys] if is_value(ys) else ys
    if not isinstance(ys, (list, tuple)):
        raise TypeError(f"y must be a Value or a list of Values, not {describe(ys)}")
    for y in ys:
        if not is_value(y):
            raise TypeError(f"y must be a Value or a list of Values, and {describe(y)} is in it")
    seeds = list(seeds) if isinstance(seeds, (list, tuple)) else [seeds] * len(ys)
    if len(seeds) != len(ys):
        raise ValueError(f"there must be one seed for each y: {len(ys)}, not {len(seeds)}")
    return list(ys), [s if with_values and is_value(s) else to_float(s, "a seed") for s in seeds]


@or_lists
def _as_x(x):
    if not is_value(x):
        raise TypeError(f"xs must be a Value or lists of Values, not {describe(x)}")
    return x


def as_value(x):
    return x if is_value(x) else Value(x)


# --- as nodes ---------------------------------------------------------------------------------------------------------


def pull(ys, seeds, xs, since=0):
    """Return the adjoints of `xs`; `seeds` are those of `ys`. They are Values, or floats where they are constant.

    since: a moment (pygrad.engine.cells.trace); what was made before it is not differentiated.
    """
    return _derive(lib.pg_pull, ys, xs, seeds, since)


def push(ys, xs, tangents):
    """Return the tangents of `ys`; `tangents` are those of `xs`. They are Values, or floats where they are constant."""
    return _derive(lib.pg_push, ys, xs, tangents)


def _derive(run, ys, xs, given, since=0, substitutes=None):
    """Return the Values and floats that `run`, a function of C, makes from the Values and floats `given`.

    substitutes: for the checkpoints and custom ops between xs and ys; they are found if need be.
    """
    ids, tops, _held = [_ids(values) for values in (ys, xs)], ys, None
    terms = [(x._pg_id, 0.0) if is_value(x) else (0, x) for x in given]
    fields = {"ys": ids[0], "y_count": len(ys), "xs": ids[1], "x_count": len(xs), "since": since}
    fields |= {"given": ffi.new("pg_term[]", terms), "keep_made": bool(anomaly.is_on() or engine.keeps_proxies())}
    if substitutes:
        reruns = substitutes.reruns
        fields["rerun_count"], tops = len(reruns), [*ys, *(v for run in reruns for v in run.again)]
        fields["reruns"], _held = _reruns_for_c(reruns)
    with cells.new_derivation() as job:
        job[0] = fields
        status = run(job)
        if status == lib.PG_OK:
            found = _adopt(job, [*tops, *xs, *filter(is_value, given)])
        culprit, ops = job.culprit, list(job.ops[0 : job.op_count])
        del job
    if status == lib.PG_NOT_REPLAYABLE:
        substitutes = substitutes or Substitutes(pull)
        if substitutes.find(xs, ys, engine.values_of(ops, tops)):
            return _derive(run, ys, xs, given, since, substitutes)
        raise TypeError(no_formula(*engine.values_of([culprit], tops)))
    check(status, [*ys, *xs])
    return found


def _adopt(job, roots):
    """Return the Values and floats that `job` has found; `roots` are above everything that it has made."""
    found, made = job.found[0 : job.found_count], list(job.made[0 : job.made_count])
    nodes = [t.id for t in found if t.id]
    values = engine.adopt([*nodes, *made], made, roots)
    if anomaly.is_on():
        _check(values[len(nodes) :], values[: len(nodes)])
    values = iter(values)
    return [next(values) if t.id else t.number for t in found]


def _check(made, found):
    """Check the Values that were made, oldest first: those that `found` depend on, by what takes choose."""
    ids = {v._pg_id for v in made}
    needed = proxies_below(*found, operands=lambda v: needed_now(v) if v._pg_id in ids else ())
    for v in made:
        if v._pg_id in needed:
            anomaly.check_forward(v, v._operands_in_order())


def _reruns_for_c(reruns):
    """Return the Reruns for C (pg_rerun[]), and the arrays that must live as long."""
    reruns = sorted(reruns, key=lambda run: run.join._pg_id)
    held = [[_ids(values) for values in (run.results, run.again)] for run in reruns]
    rows = [
        {"join": run.join._pg_id, "count": len(run.again), "results": results, "again": again, "since": run.since}
        for run, (results, again) in zip(reruns, held)
    ]
    return ffi.new("pg_rerun[]", rows), held


def _ids(values):
    return ffi.new("pg_id[]", [v._pg_id for v in values])


def no_formula(v):
    """Return the message about a Value with a closure or local gradients, which cannot be differentiated twice."""
    label = f" (label {v.label!r})" if v.label else ""
    return (
        f"the operation {v._op or 'a Value'!r}{label} has a _backward or local gradients of its own, "
        "without a second derivative: declare it with pygrad.custom_op"
    )
