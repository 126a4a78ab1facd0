"""Transforms: from a function of Values to its derivative, Jacobian, Hessian, products with these, or Taylor series.

Each transform has a function as its argument and returns a function, as in JAX: `hessian(f)([1.0, 2.0])`. The function
f has one or more arguments, Values or nested lists of Values, and returns a Value or nested lists of Values. The
returned function has the arguments of f (`hvp`, `jvp` and `vjp` have two):

    numbers in   floats and nested lists of floats out
    Values in    Values out, which depend on the arguments: so transforms nest, and `pygrad.compile` can record them

An array counts as nested lists: f gets lists of Values, and the results are lists. (Tuples stay tuples.) If f is
written for arrays, begin it with `x = np.array(x)`, which makes an array of Values.

Within a function that is being transformed or recorded the results are always Values, since they may depend on Values
outside. Derivatives are by the arguments alone: other Values that f uses are constants.

The derivatives are computed backward, by all arguments in one sweep; those of `jvp` and `taylor` are computed forward.

If f is a compiled function, the result is compiled too: it is recorded once, with the options of f. Over a batch it
returns the derivatives of each sample, whatever the reduction of f. It has `bind` and, except for `jacobian` and
`hessian`, all other methods of `pygrad.tape.compiled.Compiled`. Its results have lists in place of tuples, and a
Jacobian or Hessian at an array is an array.
"""

from pygrad.calculus.compiled_transforms import CompiledJacobian, CompiledOnce, CompiledProduct
from pygrad.calculus.grad import as_value, pull, push
from pygrad.calculus.points import several
from pygrad.calculus.taylor import coefficients
from pygrad.common.nested import flatten, or_lists, plain, rebuild
from pygrad.common.numbers import describe, is_number, to_whole
from pygrad.engine import Value, adjoints, cells, is_value, recordings
from pygrad.engine.modes import recorded
from pygrad.tape.compiled import Compiled

# --- derivatives ------------------------------------------------------------------------------------------------------


def derivative(function, order=1):
    """Return the derivative of a function of one number, as a function of x; `order` 2 is the second derivative.

    The order is a whole number from 0; 0 is the function itself. Raises ValueError for a negative order. The returned
    function raises TypeError if x is not one number or Value, or if `function` returns a list.

    >>> import pygrad
    >>> pygrad.derivative(lambda x: x**3)(2.0)
    12.0
    >>> pygrad.derivative(lambda x: x**3, order=3)(2.0)
    6.0
    """
    order = to_whole(order, "the order", 0)
    if isinstance(function, Compiled):
        return function.like(derivative(function.function, order))

    def derived(x):
        call = _of_one_number(function, x, "derivative")
        y = call.one_output("derivative")
        for _ in range(order - 1):
            y = call.gradient_values(y)[0]
            if is_number(y):  # a constant: its derivatives are 0
                return call.result(0.0)
        return call.gradient(y)[0] if order else call.result(y)

    return _named(derived, function, "derivative")


def gradient(function):
    """Return the gradient of a function that returns one Value, as a function of the same arguments.

    The gradient is shaped like the argument; with several arguments it is a list with a gradient for each. The returned
    function raises TypeError if `function` returns a list.

    >>> import pygrad
    >>> pygrad.gradient(lambda xs: xs[0] * xs[1])([2.0, 3.0])
    [3.0, 2.0]
    >>> pygrad.gradient(lambda x, y: x * y)(2.0, 3.0)
    [3.0, 2.0]
    """

    if isinstance(function, Compiled):
        return function.like(gradient(function.function))

    def derived(*args):
        return value_and_grad(function)(*args)[1]

    return _named(derived, function, "gradient")


def value_and_grad(function):
    """Return a function that returns (the result, its `gradient`); `function` is called once for both.

    >>> import pygrad
    >>> pygrad.value_and_grad(lambda xs: xs[0] * xs[1])([2.0, 3.0])
    (6.0, [3.0, 2.0])
    """

    if isinstance(function, Compiled):
        return function.like(value_and_grad(function.function))

    def derived(*args):
        call = _Call(function, args)
        y = call.one_output("gradient")
        return call.result(y), call.like_arguments(call.gradient(y))

    return _named(derived, function, "value_and_grad")


def jacobian(function, sparse=False):
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

    if isinstance(function, Compiled):
        return CompiledJacobian(function, function.function, jacobian(function.function), sparse)

    def derived(*args):
        call = _Call(function, args)
        return call.like_output([call.like_arguments(call.gradient(y)) for y in call.ys])

    return _named(_sparse(function, function) if sparse else derived, function, "jacobian")


def hessian(function, sparse=False):
    """Return the Hessian of a function that returns one Value: the Jacobian of its `gradient`.

    It is shaped like the gradient, with a gradient in place of each number.

    sparse  True: return a csr_array of SciPy, with a row and a column for each number of the arguments; see `jacobian`

    There is one backward sweep through the graph of the gradient for each number of the arguments; if sparse or
    compiled there may be fewer, as in `jacobian`.

    >>> import pygrad
    >>> pygrad.hessian(lambda xs: xs[0] ** 2 * xs[1])([2.0, 3.0])
    [[6.0, 4.0], [4.0, 0.0]]
    """

    if isinstance(function, Compiled):
        return CompiledJacobian(function, gradient(function.function), hessian(function.function), sparse)

    def derived(*args):
        call = _Call(function, args)
        firsts = call.gradient_values(call.one_output("hessian"))
        return call.like_arguments([call.like_arguments(call.gradient(as_value(first))) for first in firsts])

    return _named(_sparse(function, gradient(function)) if sparse else derived, function, "hessian")


# --- products ---------------------------------------------------------------------------------------------------------


def hvp(function):
    """Return a function of (xs, vs): the product of the Hessian at xs with vs, shaped like xs.

    There are two sweeps; it does not compute the Hessian. xs is the function's argument, or a tuple of its several
    arguments; vs are numbers or Values in the structure of xs, else ValueError.

    >>> import pygrad
    >>> pygrad.hvp(lambda xs: xs[0] ** 2 * xs[1])([2.0, 3.0], [1.0, 10.0])
    [46.0, 4.0]
    """

    if isinstance(function, Compiled):
        return CompiledProduct(function, hvp(function.function), is_shaped_alike=True)

    def derived(xs, vs):
        call = _Call(function, several(xs))
        vs = call.same_shape(several(vs), call.structures, "vs must be in the structure of xs")
        firsts = call.gradient_values(call.one_output("hvp"))
        return call.like(xs, call.pull([as_value(first) for first in firsts], vs))

    return _named(derived, function, "hvp")


def jvp(function):
    """Return a function of (xs, vs): (the result at xs, its derivative there in the direction vs), in one forward pass.

    xs is the function's argument, or a tuple of its several arguments; vs are numbers or Values in the structure of xs,
    else ValueError. Both items are shaped like the result.

    >>> import pygrad
    >>> pygrad.jvp(lambda xs: [xs[0] * xs[1], xs[0] + 1.0])([2.0, 3.0], [1.0, 10.0])
    ([6.0, 3.0], [23.0, 1.0])
    """

    if isinstance(function, Compiled):
        return CompiledProduct(function, jvp(function.function), is_shaped_alike=True)

    def derived(xs, vs):
        call = _Call(function, several(xs))
        vs = call.same_shape(several(vs), call.structures, "vs must be in the structure of xs")
        tangents = push(call.ys, call.xs, vs)
        return call.outputs(), call.like_output([call.result(t) for t in tangents])

    return _named(derived, function, "jvp")


def vjp(function):
    """Return a function of (xs, cotangents): (the result at xs, the sum of each output's gradient times its cotangent).

    xs is the function's argument, or a tuple of its several arguments; cotangents are numbers or Values in the
    structure of the result, else ValueError. The sum is shaped like xs, and needs one backward sweep.

    >>> import pygrad
    >>> pygrad.vjp(lambda xs: [xs[0] * xs[1], xs[0] + 1.0])([2.0, 3.0], [1.0, 10.0])
    ([6.0, 3.0], [13.0, 2.0])
    """

    if isinstance(function, Compiled):
        return CompiledProduct(function, vjp(function.function), is_shaped_alike=False)

    def derived(xs, cotangents):
        call = _Call(function, several(xs))
        message = "cotangents must be in the structure of what the function returns"
        seeds = call.same_shape(cotangents, call.structure, message)
        return call.outputs(), call.like(xs, call.pull(call.ys, seeds))

    return _named(derived, function, "vjp")


# --- series -----------------------------------------------------------------------------------------------------------


def taylor(function, order):
    """Return a function of x: the list [c0, c1, ...] such that function(x + h) is c0 + c1 h + c2 h**2 + ...

    The list has the terms up to degree `order`, so `order` + 1 of them. One pass through the graph finds them all.
    Raises as `derivative` does.

    >>> import pygrad
    >>> pygrad.taylor(lambda x: 1.0 / x, order=3)(1.0)
    [1.0, -1.0, 1.0, -1.0]
    """
    order = to_whole(order, "the order", 0)
    if isinstance(function, Compiled):
        return function.like(taylor(function.function, order))

    def derived(x):
        call = _of_one_number(function, x, "taylor")
        return [call.result(c) for c in coefficients(call.one_output("taylor"), call.xs[0], order)]

    return _named(derived, function, "taylor")


# --- one call ---------------------------------------------------------------------------------------------------------


class _Call:
    """One call of a function: on new Values `xs`, with results `ys`; both are flat lists."""

    def __init__(self, function, args):
        given = []
        self.structures = [flatten(arg, given, _as_input) for arg in args]
        self.are_numbers = all(map(is_number, given)) and not _is_nested()
        # A given Value gets a node of its own: the derivative must not go on to the Values that it was computed from.
        self.xs = [x * 1.0 if is_value(x) else Value(x) for x in given]
        items = iter(self.xs)
        arguments = [rebuild(structure, items) for structure in self.structures]
        self.ys = []
        self.structure = flatten(_inside(function, arguments, self.xs), self.ys, _as_output)

    def one_output(self, name):
        if self.structure is not None:
            raise TypeError(f"{name} needs a function that returns one Value, not a list of them: use jacobian")
        return self.ys[0]

    def gradient(self, y):
        """Return the derivatives of `y` by all `xs`, as the caller gets them: floats, or Values."""
        return self.pull([y], [1.0])

    def gradient_values(self, y):
        """Return the derivatives of `y` by all `xs`, to be differentiated again: Values, or floats where constant."""
        return pull([y], [1.0], self.xs)

    def pull(self, ys, seeds):
        if self.are_numbers:
            return adjoints(ys, seeds, self.xs)
        return [as_value(g) for g in pull(ys, seeds, self.xs)]

    def result(self, y):
        """Return a Value or number as the caller gets it: a float, or a Value."""
        if self.are_numbers:
            return y.data if is_value(y) else y
        return as_value(y)

    def outputs(self):
        return self.like_output([self.result(y) for y in self.ys])

    def like_output(self, items):
        return rebuild(self.structure, iter(items))

    def like_arguments(self, items):
        """Return items, one for each of `xs`, shaped like the argument; or, if there are several, a list of these."""
        items = iter(items)
        found = [rebuild(structure, items) for structure in self.structures]
        return found[0] if len(found) == 1 else found

    def like(self, xs, items):
        """Return items, one for each of `self.xs`, in the structure of `xs`, the arguments as the caller gave them."""
        found = self.like_arguments(items)
        return found if not isinstance(xs, tuple) else (found,) if len(xs) == 1 else tuple(found)

    def same_shape(self, given, structure, message):
        """Return the items of `given`, which must have this structure. One Value in it makes all results Values."""
        items = []
        if plain(flatten(given, items, _as_input)) != plain(structure):
            raise ValueError(message)
        self.are_numbers = self.are_numbers and all(map(is_number, items))
        return items


def _of_one_number(function, x, name):
    if not (is_value(x) or is_number(x)):
        raise TypeError(f"{name} needs one number or Value, not {describe(x)}: see gradient and jacobian")
    return _Call(function, [x])


@or_lists
def _as_input(x):
    if is_value(x):
        return x
    if not is_number(x):
        raise TypeError(f"arguments must be numbers or Values, or lists of them, not {describe(x)}")
    return float(x)


@or_lists
def _as_output(y):
    if not (is_value(y) or is_number(y)):
        raise TypeError(f"the function must return Values or numbers, or lists of them, not {describe(y)}")
    return as_value(y)


def _sparse(function, outputs_of):
    """Return a function that returns the Jacobian of `outputs_of` as an array of SciPy; every call records it anew."""

    def derived(*args):
        return CompiledJacobian(CompiledOnce(function), outputs_of, derived, is_sparse=True, unrolls=False)(*args)

    return derived


def _named(derived, function, name):
    if not callable(function):
        raise TypeError(f"{name} needs a function of Values, not {describe(function)}")
    derived = recorded(derived)
    derived.__name__ = derived.__qualname__ = f"{name}({getattr(function, '__name__', type(function).__name__)})"
    derived.__doc__ = f"See pygrad.{name}."
    return derived


def _is_nested():
    return cells.is_nested() or recordings.is_recording()


def _inside(function, arguments, xs):
    return recordings.call(function, arguments, xs, cells.nested)
