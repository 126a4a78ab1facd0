"""What `help()` shows of Value: the docstrings of both proxies and of `pygrad.reference`, written once.

DOCS maps the name of each method and attribute to its docstring. The methods that stand for a row of the op table are
in OPS: tests/engine/test_docs.py compares each derivative there with that of the op, and runs the examples.
"""

from pygrad.common.named_tuples import named_tuple


@named_tuple
class OpDoc:
    """One method. Its derivatives are Python expressions of its parameters; none: it passes no gradient on."""

    returns: str
    derivatives: tuple  # by self, by the other parameter
    result: str  # of the example: (y.data, x.grad), rounded to 4 digits
    x: float = 0.5  # the example's self
    other: str = ""  # its argument
    parameter: str = ""  # with its default


OPS = {
    "minimum": OpDoc(
        "the smaller of self and other, a Value or number; equal ones share the gradient",
        (
            "1 if self < other else 0.5 if self == other else 0",
            "1 if other < self else 0.5 if self == other else 0",
        ),
        "(0.5, 1.0)",
        other="2.0",
        parameter="other",
    ),
    "maximum": OpDoc(
        "the larger of self and other, a Value or number; equal ones share the gradient",
        (
            "1 if self > other else 0.5 if self == other else 0",
            "1 if other > self else 0.5 if self == other else 0",
        ),
        "(2.0, 0.0)",
        other="2.0",
        parameter="other",
    ),
    "leaky_relu": OpDoc(
        "self where it is above 0, else negative_slope * self; negative_slope is a Value or number",
        ("1 if self > 0 else negative_slope", "0 if self > 0 else self"),
        "(-0.02, 0.01)",
        x=-2.0,
        parameter="negative_slope=0.01",
    ),
    "elu": OpDoc(
        "self where it is above 0, else alpha * (exp(self) - 1); alpha is a Value or number",
        ("1 if self > 0 else alpha * exp(self)", "0 if self > 0 else exp(self) - 1"),
        "(-0.8647, 0.1353)",
        x=-2.0,
        parameter="alpha=1.0",
    ),
    "abs": OpDoc(
        "the absolute value of self, as abs(self) does",
        ("1 if self > 0 else -1 if self < 0 else 0",),
        "(2.0, -1.0)",
        x=-2.0,
    ),
    "relu": OpDoc("self where it is above 0, else 0", ("1 if self > 0 else 0",), "(0.5, 1.0)"),
    "tanh": OpDoc("the hyperbolic tangent of self", ("1 - tanh(self)**2",), "(0.4621, 0.7864)"),
    "exp": OpDoc("e ** self", ("exp(self)",), "(1.6487, 1.6487)"),
    "log": OpDoc("the natural logarithm of self; nan below 0", ("1 / self",), "(-0.6931, 2.0)"),
    "sigmoid": OpDoc("1 / (1 + exp(-self))", ("sigmoid(self) * (1 - sigmoid(self))",), "(0.6225, 0.235)"),
    "sqrt": OpDoc("the square root of self; nan below 0", ("1 / (2 * sqrt(self))",), "(0.7071, 0.7071)"),
    "sin": OpDoc("the sine of self, in radians", ("cos(self)",), "(0.4794, 0.8776)"),
    "cos": OpDoc("the cosine of self, in radians", ("-sin(self)",), "(0.8776, -0.4794)"),
    "tan": OpDoc("the tangent of self, in radians", ("1 + tan(self)**2",), "(0.5463, 1.2984)"),
    "asin": OpDoc(
        "the arc sine of self, in radians; nan outside [-1, 1]", ("1 / sqrt(1 - self**2)",), "(0.5236, 1.1547)"
    ),
    "acos": OpDoc(
        "the arc cosine of self, in radians; nan outside [-1, 1]", ("-1 / sqrt(1 - self**2)",), "(1.0472, -1.1547)"
    ),
    "atan": OpDoc("the arc tangent of self, in radians", ("1 / (1 + self**2)",), "(0.4636, 0.8)"),
    "sinh": OpDoc("the hyperbolic sine of self", ("cosh(self)",), "(0.5211, 1.1276)"),
    "cosh": OpDoc("the hyperbolic cosine of self", ("sinh(self)",), "(1.1276, 0.5211)"),
    "log1p": OpDoc("log(1 + self), accurate near 0 too; nan below -1", ("1 / (1 + self)",), "(0.4055, 0.6667)"),
    "expm1": OpDoc("exp(self) - 1, accurate near 0 too", ("exp(self)",), "(0.6487, 1.6487)"),
    "erf": OpDoc(
        "the error function: 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to self",
        ("2 / sqrt(pi) * exp(-self**2)",),
        "(0.5205, 0.8788)",
    ),
    "erfc": OpDoc(
        "1 - erf(self), accurate where that is small", ("-2 / sqrt(pi) * exp(-self**2)",), "(0.4795, -0.8788)"
    ),
    "softplus": OpDoc("log(1 + exp(self)), without overflow", ("sigmoid(self)",), "(0.9741, 0.6225)"),
    "silu": OpDoc("self * sigmoid(self)", ("sigmoid(self) * (1 + self * (1 - sigmoid(self)))",), "(0.3112, 0.74)"),
    "gelu": OpDoc(
        "self times the probability that a standard normal number is below self",
        ("erfc(-self / sqrt(2)) / 2 + self * exp(-self**2 / 2) / sqrt(2 * pi)",),
        "(0.3457, 0.8675)",
    ),
    "less": OpDoc("1.0 if self < other, else 0.0", (), "(1.0, 0.0)", other="2.0", parameter="other"),
    "less_equal": OpDoc("1.0 if self <= other, else 0.0", (), "(1.0, 0.0)", other="2.0", parameter="other"),
    "equal": OpDoc(
        "1.0 if self and other are the same number, else 0.0", (), "(0.0, 0.0)", other="2.0", parameter="other"
    ),
    "not_equal": OpDoc(
        "0.0 if self and other are the same number, else 1.0", (), "(1.0, 0.0)", other="2.0", parameter="other"
    ),
    "stop_gradient": OpDoc("a Value with the data of self: a node with self as operand", (), "(0.5, 0.0)"),
}


def _docstring(name, op):
    """Return the docstring of a method in OPS."""
    if not op.derivatives:
        derivative = "No gradient is passed on: each derivative counts as 0."
    elif len(op.derivatives) == 1:
        derivative = f"Derivative: {op.derivatives[0]}"
    else:
        other = op.parameter.partition("=")[0]
        derivative = f"Derivative by self: {op.derivatives[0]}\nDerivative by {other}: {op.derivatives[1]}"
    return f"""Return {op.returns}.

{derivative}

>>> from pygrad import Value
>>> x = Value({op.x})
>>> y = x.{name}({op.other})
>>> y.backward()
>>> round(y.data, 4), round(x.grad, 4)
{op.result}
"""


DOCS = {name: _docstring(name, op) for name, op in OPS.items()}
DOCS |= {
    "Value": """A number that remembers how it was computed.

Value(data, _children=(), _op='', label='') as in micrograd. A tuple or list of numbers as third argument, or
`local_grads=`, gives d self / d child for each child, as in microgpt. `label` is a name of the user's, which error
messages and `pygrad.viz` show. Raises TypeError if `data` is not a real number.

>>> from pygrad import Value
>>> x = Value(3.0, label="x")
>>> y = x * x + 1.0
>>> y.backward()
>>> y, x.grad
(Value(data=10.0, grad=1.0), 6.0)
""",
    "data": """The number, a float. A program may set it; backward() then uses the new number.

>>> from pygrad import Value
>>> x = Value(3.0)
>>> x.data -= 0.5
>>> x.data
2.5
""",
    "grad": """The gradient d root / d self, a float: `root.backward()` sets it. A program may set it too.
Copies and pickles of a leaf have its gradient; files of models and functions have none.

>>> from pygrad import Value
>>> x = Value(3.0)
>>> (x * x).backward()
>>> x.grad
6.0
""",
    "requires_grad": """False for a frozen leaf, True for others; for a result, True if a leaf below it gets gradients.

Set it to False to freeze a leaf. The leaf is used in computations as before, and its data may be set; but no backward
pass changes its `grad`, and no optimizer changes its data. Numbers in an expression do not count as leaves. Reading it
for a result visits the graph. Setting it for a result raises RuntimeError: `detach()` makes a leaf of a result.

>>> from pygrad import Value
>>> x = Value(3.0)
>>> x.requires_grad = False
>>> (x * x).requires_grad
False
""",
    "_op": """The label of the op that made this Value, a str; '' for a leaf. A program may set it.

>>> from pygrad import Value
>>> (Value(2.0) * 3.0)._op
'*'
""",
    "_prev": """The operands, as a new set; its members are always the same objects.

A program may set it on a leaf that no other Value uses yet: this defines an op, together with `_backward`. On a result
it may set nothing, `()`: then the operands are let go. Data and gradient stay, and the Value is a leaf from then on,
also for the graphs that have it already. Raises AttributeError for other operands of a result, and within a function
that is recorded or transformed; RuntimeError while a backward pass has the Value.

>>> from pygrad import Value
>>> x = Value(2.0)
>>> (x * x)._prev == {x}
True
""",
    "_backward": """A function that passes `grad` on to the operands, once.

A program defines an op if it assigns a function of no arguments.

>>> from pygrad import Value
>>> x = Value(2.0)
>>> y = x * 3.0
>>> y.grad = 1.0
>>> y._backward()
>>> x.grad
3.0
""",
    "backward": """Set the gradients of all Values that this one was computed from.

A leaf adds the new gradient to the one that it has; a result forgets its old gradient.

seed: the gradient of this Value itself.

>>> from pygrad import Value
>>> x = Value(3.0)
>>> (x * x).backward()
>>> x.grad
6.0
""",
    "detach": """Return a new leaf with the same data and no operands.

In a function that a transform runs, what is detached from a result is a `stop_gradient` node.

>>> from pygrad import Value
>>> y = (Value(3.0) * 2.0).detach()
>>> y.data, y._prev
(6.0, set())
""",
}

__test__ = DOCS  # doctest runs these examples

_SIGNATURES = {
    "Value": "(data, _children=(), _op='', label='', **dialect)",
    "backward": "($self, seed=1.0)",
    "detach": "($self)",
    **{name: f"($self, {op.parameter})" if op.parameter else "($self)" for name, op in OPS.items()},
}
# The docstrings as CPython reads those of a type in C: `inspect.signature` needs the first line.
NATIVE_DOCS = {
    name: f"{name}{_SIGNATURES[name]}\n--\n\n{doc}" if name in _SIGNATURES else doc for name, doc in DOCS.items()
}


def documented(cls):
    """Give the methods and properties that a class of Values defines their docstrings; a decorator."""
    for name, doc in DOCS.items():
        if name in vars(cls):
            vars(cls)[name].__doc__ = doc
    return cls
