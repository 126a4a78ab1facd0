"""Functions of functions: from f, a function of Values, to its derivative, Jacobian, Hessian, products, Taylor series.

Each takes a function and returns one of the same arguments, as in JAX: `hessian(f)([1.0, 2.0])`. The function takes
Values or nested lists of them, one argument or several, and returns Values or lists of them. The arguments that it is
called with are numbers or Values:

    numbers in   floats and lists of floats out
    Values in    Values out, that depend on these: so transforms nest, and can be recorded by `pygrad.compile`

An array is read as nested lists, and the function gets such lists of Values: one written for arrays begins with
`x = np.array(x)`, an array of Values. Results are lists too.

Within a function that is being transformed or recorded the results are always Values, which may depend on what is
around. The derivative is by the arguments alone: other Values that the function uses are constants to it.

Derivatives run backward, through all arguments in one sweep; `jvp` runs forward.

Of what `pygrad.compile` returned they are compiled too: recorded once, with the same choices. Over a batch they give
the derivatives of each sample, whatever the function's reduction is. What they return has `bind` and, but for
`jacobian` and `hessian`, all else that a compiled function has. Results have lists for tuples, and a Jacobian or
Hessian at an array is an array.
"""

import threading

from pygrad.calculus.compiled_transforms import CompiledJacobian, CompiledOnce, CompiledProduct
from pygrad.calculus.grad import as_value, pull, push
from pygrad.calculus.points import several
from pygrad.calculus.taylor import coefficients
from pygrad.contract.nested import flatten, or_lists, plain, rebuild
from pygrad.contract.numbers import describe, is_number, to_whole
from pygrad.engine import Value, adjoints, modes
from pygrad.engine.grad_mode import recorded
from pygrad.tape.compiled import Compiled

_thread = threading.local()  # .depth: how many functions are being transformed

# --- derivatives ------------------------------------------------------------------------------------------------------


def derivative(function, order=1):
    """Return x -> the derivative of a function of one number, of any order from 0.

    Raises TypeError if the function is given anything but one number or Value, or returns a list; ValueError for an
    order that is negative.

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
            if is_number(y):  # all further derivatives of it are 0
                return call.result(0.0)
        return call.gradient(y)[0] if order else call.result(y)

    return _named(derived, function, "derivative")


def gradient(function):
    """Return the gradient of a function that returns one Value: shaped as its argument, or a list with one an argument.

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
    """Return what gives (the function's result, its `gradient`), at the price of the gradient.

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
    """Return the derivatives of all that a function returns: in its structure, and in each place a `gradient`.

    sparse  True: as an array of SciPy (csr_array) instead, with a row for each number of the result and a column for
            each of the arguments, in their order; a list of them for a batch. Numbers that are 0 whatever the arguments
            are, as the function was at its first call, are not in it and cost nothing. Needs numbers as arguments, and
            SciPy: it is the extra `scipy`

    One backward sweep for each output; where it is sparse or the function compiled as many as have inputs in common, or
    of forward ones if these are fewer.

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
    """Return the second derivatives of a function of one result: in the structure of the arguments, `gradient`s.

    sparse  True: as an array of SciPy, with a row and a column for each number of the arguments; see `jacobian`

    It is the Jacobian of the gradient: one backward sweep for each argument's number, through the graph of that.

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
    """Return (xs, vs) -> the product of the Hessian at xs and vs, shaped like xs, without the Hessian: two sweeps.

    xs is the function's argument, or a tuple of its several arguments; vs are numbers or Values in the same structure.

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
    """Return (xs, vs) -> (the function's result at xs, its derivative there in the direction vs), in one forward pass.

    xs is the function's argument, or a tuple of its several arguments; vs are numbers or Values in the same structure.

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
    """Return (xs, cotangents) -> (the function's result at xs, the sum of its outputs' gradients times cotangents).

    xs is the function's argument, or a tuple of its several arguments; cotangents are numbers or Values in the
    structure of the result. The gradients are in that of xs, and take one backward sweep.

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
    """Return x -> [c0, c1, ...], as many as `order` + 1: function(x + h) is c0 + c1 h + c2 h**2 + ...

    Of a function of one number that returns one Value, in one pass (calculus/taylor.py). Raises as `derivative` does.

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
    """A function called on fresh Values: `xs` went in, `ys` came out, both flat lists."""

    def __init__(self, function, args):
        given = []
        self.structures = [flatten(arg, given, _as_input) for arg in args]
        self.are_numbers = all(map(is_number, given)) and not _is_nested()
        # a node of its own for each: what a Value given was computed from is none of the function's business
        self.xs = [x * 1.0 if isinstance(x, Value) else Value(x) for x in given]
        items = iter(self.xs)
        arguments = [rebuild(structure, items) for structure in self.structures]
        self.ys = []
        self.structure = flatten(_inside(function, arguments), self.ys, _as_output)

    def one_output(self, name):
        if self.structure is not None:
            raise TypeError(f"{name} needs a function that returns one Value, not a list of them: use jacobian")
        return self.ys[0]

    def gradient(self, y):
        """Return the derivatives of a Value by all of `xs`, as the caller gets them."""
        return self.pull([y], [1.0])

    def gradient_values(self, y):
        """The same as Values, or numbers where they are constant, to be derived again."""
        return pull([y], [1.0], self.xs)

    def pull(self, ys, seeds):
        if self.are_numbers:
            return adjoints(ys, seeds, self.xs)
        return [as_value(g) for g in pull(ys, seeds, self.xs)]

    def result(self, y):
        """Return a Value or number as the caller gets it."""
        if self.are_numbers:
            return y.data if isinstance(y, Value) else y
        return as_value(y)

    def outputs(self):
        return self.like_output([self.result(y) for y in self.ys])

    def like_output(self, items):
        return rebuild(self.structure, iter(items))

    def like_arguments(self, items):
        """Return items, one for each of `xs`, in the structure of the argument; of several in a list."""
        items = iter(items)
        found = [rebuild(structure, items) for structure in self.structures]
        return found[0] if len(found) == 1 else found

    def like(self, xs, items):
        """The same; in a tuple if `xs`, the arguments, were one."""
        found = self.like_arguments(items)
        return found if not isinstance(xs, tuple) else (found,) if len(xs) == 1 else tuple(found)

    def same_shape(self, given, structure, message):
        """Return the numbers and Values of `given`, which has this structure; one Value makes all results Values."""
        items = []
        if plain(flatten(given, items, _as_input)) != plain(structure):
            raise ValueError(message)
        self.are_numbers = self.are_numbers and all(map(is_number, items))
        return items


def _of_one_number(function, x, name):
    if not (isinstance(x, Value) or is_number(x)):
        raise TypeError(f"{name} needs one number or Value, not {describe(x)}: see gradient and jacobian")
    return _Call(function, [x])


@or_lists
def _as_input(x):
    if isinstance(x, Value):
        return x
    if not is_number(x):
        raise TypeError(f"arguments must be numbers or Values, or lists of them, not {describe(x)}")
    return float(x)


@or_lists
def _as_output(y):
    if not (isinstance(y, Value) or is_number(y)):
        raise TypeError(f"the function must return Values or numbers, or lists of them, not {describe(y)}")
    return as_value(y)


def _sparse(function, outputs_of):
    """Return what gives the Jacobian of `outputs_of` as an array of SciPy, for any function: recorded for each call."""

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
    return getattr(_thread, "depth", 0) > 0 or modes.is_recording()


def _inside(function, arguments):
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        return function(*arguments)
    finally:
        _thread.depth -= 1
