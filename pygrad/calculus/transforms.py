"""Transforms: from a function of Values to its derivative, Jacobian, Hessian, products with these, or Taylor series.

Each transform has a function as its argument and returns a function, as in JAX: `hessian(f)([1.0, 2.0])`. The function
f has one or more arguments, Values or nested lists of Values, and returns a Value or nested lists of Values. dicts,
namedtuples and dataclasses count as nested lists with names. The returned function has the arguments of f (`hvp`, `jvp`
and `vjp` have two, and keywords):

    numbers in   floats and nested lists of floats out
    Values in    Values out, which depend on the arguments: so transforms nest, and `pygrad.compile` can record them

An array counts as nested lists: f gets lists of Values, and the results are lists. (Tuples stay tuples.) If f is
written for arrays, begin it with `x = np.array(x)`, which makes an array of Values.

Options of all transforms:

    argnums   which arguments to differentiate by: the place of one, or a tuple of places; then the result has a list of
              as many parts. f gets the other arguments as they are. By default these are the arguments that can be
              given by place and are not static: see `pygrad.compile`. Static arguments have no derivative: results are
              shaped as if these were not there. In a derivative by a namedtuple or dataclass, None stands for them
    has_aux   True: f returns a pair, its result and something besides. The transform returns a pair too: what it would
              return, and that, with numbers for its Values. (jvp and vjp return three items.)

Within a function that is being transformed or recorded the results are always Values, since they may depend on Values
outside. Derivatives are by the arguments alone: other Values that f uses are constants.

The derivatives are computed backward, by all arguments in one sweep; those of `jvp` and `taylor` are computed forward.

If f is a compiled function, the result is compiled too: it is recorded once, with the options of f. Over a batch it
returns the derivatives of each sample; but `gradient` and `value_and_grad` of a function that is reduced over its batch
differentiate the reduced number. It has `tape`, `trace`, `save`, `to_c` and, without has_aux, `bind`; except for
`jacobian` and `hessian`, and with has_aux, it has all other methods of `pygrad.tape.compiled.Compiled`. Its results
have lists in place of tuples, and a Jacobian or Hessian at an array is an array.
"""

import functools

from pygrad.calculus.call_on_values import LIKE_XS, CallOnValues, checked_argnums
from pygrad.calculus.compiled_gradient import CompiledGradient
from pygrad.calculus.compiled_transforms import CompiledJacobian, CompiledOnce, CompiledProduct, CompiledWithAux
from pygrad.calculus.grad import as_value, push
from pygrad.calculus.points import several
from pygrad.calculus.taylor import coefficients
from pygrad.common.numbers import describe, is_number, to_whole
from pygrad.engine.modes import recorded
from pygrad.tape.compiled import Compiled

# --- derivatives ------------------------------------------------------------------------------------------------------


def derivative(function, order=1, *, argnums=0, has_aux=False):
    """Return the derivative of a function by one number, as a function of x; `order` 2 is the second derivative.

    The order is a whole number from 0; 0 is the function itself. Raises ValueError for a negative order. The returned
    function raises TypeError if x is not one number or Value, or if `function` returns a list.

    >>> import pygrad
    >>> pygrad.derivative(lambda x: x**3)(2.0)
    12.0
    >>> pygrad.derivative(lambda x: x**3, order=3)(2.0)
    6.0
    """
    order, argnums = to_whole(order, "the order", 0), _one_place(argnums)

    if isinstance(function, Compiled):
        again = functools.partial(derivative, order=order, argnums=argnums)
        make = lambda base: base.like(again(base.function))  # noqa: E731
        return _compiled(function, ("derivative", order, argnums), has_aux, again, make)

    def derived(*args, **kwargs):
        call = _of_one_number(function, args, kwargs, argnums, has_aux, "derivative")
        y = call.one_output("derivative")
        for _ in range(order - 1):
            y = call.gradient_values(y)[0]
            if is_number(y):  # a constant: its derivatives are 0
                return call.with_aux(call.result(0.0), has_aux)
        return call.with_aux(call.gradient(y)[0] if order else call.result(y), has_aux)

    return _named(derived, function, "derivative")


def gradient(function, argnums=None, *, has_aux=False, per_sample=None):
    """Return the gradient of a function that returns one Value, as a function of the same arguments.

    The gradient is shaped like the argument; with several arguments it is a list with a gradient for each. The returned
    function raises TypeError if `function` returns a list.

    per_sample  of a compiled function with reduction "mean" or "sum", over a batch. False: differentiate the reduced
                number: each sample has its own row of it, and an argument that all samples share has one gradient.
                True: the gradient of each sample's result. (None is False with a warning, until the next release.)

    >>> import pygrad
    >>> pygrad.gradient(lambda xs: xs[0] * xs[1])([2.0, 3.0])
    [3.0, 2.0]
    >>> pygrad.gradient(lambda x, y: x * y)(2.0, 3.0)
    [3.0, 2.0]
    >>> pygrad.gradient(lambda x, n: x**n, argnums=0)(2.0, 3)
    12.0
    """
    argnums = checked_argnums(argnums)
    if isinstance(function, Compiled):
        return _compiled_gradient(function, argnums, has_aux, per_sample, gradient)

    def derived(*args, **kwargs):
        call = CallOnValues(function, args, kwargs, argnums, has_aux)
        return call.with_aux(call.like_arguments(call.gradient(call.one_output("gradient"))), has_aux)

    return _named(derived, function, "gradient")


def value_and_grad(function, argnums=None, *, has_aux=False, per_sample=None):
    """Return a function that returns (the result, its `gradient`); `function` is called once for both.

    The options are those of `gradient`. With has_aux the result is a pair with what the function returns besides.

    >>> import pygrad
    >>> pygrad.value_and_grad(lambda xs: xs[0] * xs[1])([2.0, 3.0])
    (6.0, [3.0, 2.0])
    """
    argnums = checked_argnums(argnums)
    if isinstance(function, Compiled):
        return _compiled_gradient(function, argnums, has_aux, per_sample, value_and_grad)

    def derived(*args, **kwargs):
        call = CallOnValues(function, args, kwargs, argnums, has_aux)
        y = call.one_output("gradient")
        return call.with_aux(call.result(y), has_aux), call.like_arguments(call.gradient(y))

    return _named(derived, function, "value_and_grad")


def jacobian(function, sparse=False, *, argnums=None, has_aux=False):
    """Return the Jacobian of a function: shaped like its result, with a `gradient` in place of each Value.

    sparse  True: return a csr_array of SciPy instead, with a row for each number of the result and a column for each
            number of the arguments; for a batch a list of them. Where an output does not depend on an input, the 0 is
            left out and costs nothing. The dependences of a compiled function are found once, those of any other in
            every call. The arguments must be numbers, else TypeError. Needs SciPy (the extra `scipy`), else
            ImportError

    There is one backward sweep for each output. If sparse or compiled, outputs that share no input go together, or
    forward sweeps are used if fewer.

    >>> import pygrad
    >>> pygrad.jacobian(lambda xs: [xs[0] * xs[1], xs[0] + 1.0])([2.0, 3.0])
    [[3.0, 2.0], [1.0, 0.0]]
    >>> f = pygrad.compile(lambda xs: [xs[0] * xs[1], xs[0] + 1.0])
    >>> pygrad.jacobian(f)([[2.0, 3.0], [4.0, 5.0]])  # two samples
    [[[3.0, 2.0], [1.0, 0.0]], [[5.0, 4.0], [1.0, 0.0]]]
    >>> pygrad.jacobian(lambda xs: [x * x for x in xs], sparse=True)([1.0, 2.0, 3.0]).nnz
    3
    """
    argnums = checked_argnums(argnums)

    again = functools.partial(jacobian, sparse=bool(sparse), argnums=argnums)

    def make(base):
        eager = jacobian(base.function, argnums=argnums)
        return CompiledJacobian(base, base.function, eager, sparse, argnums, (again, again))

    if isinstance(function, Compiled):
        return _compiled(function, ("jacobian", bool(sparse), argnums), has_aux, again, make)
    if sparse:
        return _named(_sparse(function, has_aux, again, make), function, "jacobian")

    def derived(*args, **kwargs):
        call = CallOnValues(function, args, kwargs, argnums, has_aux)
        found = call.jacobian([call.like_arguments(call.gradient(y)) for y in call.ys])
        return call.with_aux(found, has_aux)

    return _named(derived, function, "jacobian")


def hessian(function, sparse=False, *, argnums=None, has_aux=False):
    """Return the Hessian of a function that returns one Value: the Jacobian of its `gradient`.

    It is shaped like the gradient, with a gradient in place of each number.

    sparse  True: return a csr_array of SciPy, with a row and a column for each number of the arguments; see `jacobian`

    There is one backward sweep through the graph of the gradient for each number of the arguments; if sparse or
    compiled there may be fewer, as in `jacobian`.

    >>> import pygrad
    >>> pygrad.hessian(lambda xs: xs[0] ** 2 * xs[1])([2.0, 3.0])
    [[6.0, 4.0], [4.0, 0.0]]
    """
    argnums = checked_argnums(argnums)

    again = functools.partial(hessian, sparse=bool(sparse), argnums=argnums)

    def make(base):
        eager = hessian(base.function, argnums=argnums)
        makers = again, functools.partial(jacobian, sparse=bool(sparse), argnums=argnums)
        return CompiledJacobian(base, gradient(base.function, argnums), eager, sparse, argnums, makers)

    if isinstance(function, Compiled):
        return _compiled(function, ("hessian", bool(sparse), argnums), has_aux, again, make)
    if sparse:
        return _named(_sparse(function, has_aux, again, make), function, "hessian")

    def derived(*args, **kwargs):
        call = CallOnValues(function, args, kwargs, argnums, has_aux)
        firsts = call.gradient_values(call.one_output("hessian"))
        rows = [call.like_arguments(call.gradient(as_value(first))) for first in firsts]
        return call.with_aux(call.like_arguments(rows), has_aux)

    return _named(derived, function, "hessian")


# --- products ---------------------------------------------------------------------------------------------------------


def hvp(function, *, argnums=None, has_aux=False):
    """Return a function of (xs, vs): the product of the Hessian at xs with vs, shaped like xs.

    There are two sweeps; it does not compute the Hessian. xs is the function's argument, or a tuple of its several
    arguments; vs are numbers or Values in the structure of xs, else ValueError. With argnums, vs are the directions of
    these arguments alone, a tuple if argnums is one.

    >>> import pygrad
    >>> pygrad.hvp(lambda xs: xs[0] ** 2 * xs[1])([2.0, 3.0], [1.0, 10.0])
    [46.0, 4.0]
    """
    argnums = checked_argnums(argnums)
    if isinstance(function, Compiled):
        return _compiled_product(function, hvp, argnums, has_aux)

    def derived(xs, vs, **kwargs):
        call = CallOnValues(function, several(xs), kwargs, argnums, has_aux, keywords_too=False)
        vs = call.same_shape(several(vs), call.structures, LIKE_XS)
        firsts = call.gradient_values(call.one_output("hvp"))
        found = call.like(xs, call.pull([as_value(first) for first in firsts], vs), argnums)
        return call.with_aux(found, has_aux)

    return _named(derived, function, "hvp", has_signature=False)


def jvp(function, *, argnums=None, has_aux=False):
    """Return a function of (xs, vs): (the result at xs, its derivative there in the direction vs), in one forward pass.

    xs is the function's argument, or a tuple of its several arguments; vs are numbers or Values in the structure of xs,
    else ValueError; with argnums as for `hvp`. Both items are shaped like the result. With has_aux a third one follows.

    >>> import pygrad
    >>> pygrad.jvp(lambda xs: [xs[0] * xs[1], xs[0] + 1.0])([2.0, 3.0], [1.0, 10.0])
    ([6.0, 3.0], [23.0, 1.0])
    """
    argnums = checked_argnums(argnums)
    if isinstance(function, Compiled):
        return _compiled_product(function, jvp, argnums, has_aux)

    def derived(xs, vs, **kwargs):
        call = CallOnValues(function, several(xs), kwargs, argnums, has_aux, keywords_too=False)
        vs = call.same_shape(several(vs), call.structures, LIKE_XS)
        tangents = push(call.ys, call.xs, vs)
        found = call.outputs(), call.like_output([call.result(t) for t in tangents])
        return (*found, call.with_aux(None, True)[1]) if has_aux else found

    return _named(derived, function, "jvp", has_signature=False)


def vjp(function, *, argnums=None, has_aux=False):
    """Return a function of (xs, cotangents): (the result at xs, the sum of each output's gradient times its cotangent).

    xs is the function's argument, or a tuple of its several arguments; cotangents are numbers or Values in the
    structure of the result, else ValueError. The sum is shaped like xs (or like the arguments of argnums), and needs
    one backward sweep. With has_aux a third item follows.

    >>> import pygrad
    >>> pygrad.vjp(lambda xs: [xs[0] * xs[1], xs[0] + 1.0])([2.0, 3.0], [1.0, 10.0])
    ([6.0, 3.0], [13.0, 2.0])
    """
    argnums = checked_argnums(argnums)
    if isinstance(function, Compiled):
        return _compiled_product(function, vjp, argnums, has_aux)

    def derived(xs, cotangents, **kwargs):
        call = CallOnValues(function, several(xs), kwargs, argnums, has_aux, keywords_too=False)
        message = "cotangents must be in the structure of what the function returns"
        seeds = call.same_shape(cotangents, call.structure, message)
        found = call.outputs(), call.like(xs, call.pull(call.ys, seeds), argnums)
        return (*found, call.with_aux(None, True)[1]) if has_aux else found

    return _named(derived, function, "vjp", has_signature=False)


# --- series -----------------------------------------------------------------------------------------------------------


def taylor(function, order, *, argnums=0, has_aux=False):
    """Return a function of x: the list [c0, c1, ...] such that function(x + h) is c0 + c1 h + c2 h**2 + ...

    The list has the terms up to degree `order`, so `order` + 1 of them. One pass through the graph finds them all.
    Raises as `derivative` does.

    >>> import pygrad
    >>> pygrad.taylor(lambda x: 1.0 / x, order=3)(1.0)
    [1.0, -1.0, 1.0, -1.0]
    """
    order, argnums = to_whole(order, "the order", 0), _one_place(argnums)

    if isinstance(function, Compiled):
        again = functools.partial(taylor, order=order, argnums=argnums)
        make = lambda base: base.like(again(base.function))  # noqa: E731
        return _compiled(function, ("taylor", order, argnums), has_aux, again, make)

    def derived(*args, **kwargs):
        call = _of_one_number(function, args, kwargs, argnums, has_aux, "taylor")
        found = [call.result(c) for c in coefficients(call.one_output("taylor"), call.xs[0], order)]
        return call.with_aux(found, has_aux)

    return _named(derived, function, "taylor")


# --- helpers ----------------------------------------------------------------------------------------------------------


def _one_place(argnums):
    place = checked_argnums(argnums)
    if not isinstance(place, int):
        raise TypeError(f"this derivative is by one argument: argnums must be its place, not {describe(argnums)}")
    return place


def _of_one_number(function, args, kwargs, argnums, has_aux, name):
    call = CallOnValues(function, args, kwargs, argnums, has_aux)
    if call.structures != [None]:
        raise TypeError(f"{name} needs one number or Value, not lists of them: see gradient and jacobian")
    return call


def _named(derived, function, name, has_signature=True):
    if not callable(function):
        raise TypeError(f"{name} needs a function of Values, not {describe(function)}")
    derived = recorded(derived)
    derived.__name__ = derived.__qualname__ = f"{name}({getattr(function, '__name__', type(function).__name__)})"
    derived.__doc__ = f"See pygrad.{name}."
    derived.takes_static = True  # see pygrad.tape.call.apply
    derived.takes_numbers = True  # see Compiled.of_numbers
    if has_signature:
        derived.__wrapped__ = derived.is_made_of = function  # the arguments are those of the function
    else:
        del derived.__wrapped__
    return derived


# --- of compiled functions: `again` is the transform with its options, a function of (function, has_aux=False) --------


def _compiled(function, key, has_aux, again, make):
    """Return what `make` returns for a compiled function; with has_aux both parts of the result. It is made once."""
    if not has_aux:
        return function.kept(key, make)
    return function.kept((*key, "aux"), lambda base: _with_aux(base, again))


def _with_aux(base, again):
    eager = again(base.function, has_aux=True)
    return CompiledWithAux(base, eager, again, functools.partial(again, has_aux=True))


def _compiled_gradient(function, argnums, has_aux, per_sample, transform):
    if per_sample not in (None, True, False):
        raise TypeError(f"per_sample must be True or False, not {describe(per_sample)}")

    again = functools.partial(transform, argnums=argnums, per_sample=per_sample)

    def make(base):
        return CompiledGradient(base, again(base.function), transform, argnums, per_sample)

    return _compiled(function, (transform.__name__, argnums, per_sample), has_aux, again, make)


def _compiled_product(function, transform, argnums, has_aux):
    again = functools.partial(transform, argnums=argnums)

    def make(base):
        return CompiledProduct(base, again(base.function), transform, argnums, transform is not vjp)

    return _compiled(function, (transform.__name__, argnums), has_aux, again, make)


def _sparse(function, has_aux, again, make):
    """Return a function that returns the Jacobian that `make` makes of one recording: every call records anew."""

    def derived(*args, **kwargs):
        base = CompiledOnce(function)
        return (_with_aux(base, again) if has_aux else make(base))(*args, **kwargs)

    return derived
