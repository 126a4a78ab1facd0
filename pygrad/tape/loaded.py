"""A loaded function: it has tapes, and no Python code. Where Values are needed, a tape is made a graph of Values again.

So it can be transformed, and called within another function that is recorded or transformed.
"""

import math

from pygrad import engine
from pygrad.common.named_tuples import named_tuple
from pygrad.common.nested import build_lists
from pygrad.common.signatures import arranged
from pygrad.common.value_base import CALL
from pygrad.engine import recordings
from pygrad.engine.optable import ARITIES, NAMES
from pygrad.tape.call import Call, Reading
from pygrad.tape.files import describe
from pygrad.tape.in_values import ValuesLeaf


class Loaded:
    """Stands in for the Python function of a Compiled that was loaded.

    tapes  {structures of the arguments: Tape}

    Calling it makes the graph of a tape anew. It raises a TypeError with the structures there are, for others.
    """

    def __init__(self, name, signature, structures, static=()):
        self.__name__ = self.__qualname__ = name
        self.__signature__ = signature
        self.__doc__ = f"{name}({' or '.join(map(describe, structures))}), loaded."
        self.tapes, self._reading = {}, Reading(self, batched=False, static=static)

    def __call__(self, *args, **kwargs):
        if kwargs:
            args, kwargs = arranged(self, args, kwargs)
        call = Call(args, kwargs, ValuesLeaf, self._reading, self)
        tape = self.tapes.get(call.key)
        if tape is None:
            raise self.refusal()
        inputs = [x for leaf in call.arguments for x in leaf.row(0)]
        return build_lists(tape.structure, iter(outputs_of(tape, inputs)))

    def refusal(self):
        """Return the error for arguments that no recording is for."""
        return TypeError(
            f"{self.__name__} was loaded, without its Python source: it cannot be traced anew, and takes only numbers "
            f"in these structures: {self.__doc__.removesuffix(', loaded.')}"
        )


def outputs_of(tape, inputs):
    """Return the outputs of a tape, in a list: Values that are computed from these inputs, and from the parameters."""
    places = [*inputs, *tape.parameter_values()]
    for name, number, operands in tape.operations():
        places.append(_make(name, number, [places[i] if i >= 0 else None for i in operands]))
    return [places[i] for i in tape.output_places()]


def _make(name, number, operands):
    """Return the Value of one operation of a tape; `number` is its number, if it has one."""
    if name == "constant":
        return engine.number(number)
    if name in _LISTS:
        return _LISTS[name](*operands)
    if name in _POWERS or name == "power":
        return _VALUE.__pow__(operands[0], _POWERS.get(name, number))
    return _ROWS[name](*operands)


def _sum(start, *terms):
    return engine.sum(terms) if start is None else engine.sum(terms, start)


def _dot(bias, *pairs):
    return engine.dot(pairs[::2], pairs[1::2], bias)


def _take(_, index, *values):
    return engine.take(values, index)


def _declared(y, *pairs):
    out = engine.declared(y, pairs[::2], pairs[1::2])
    if not out._is_leaf():  # within no_grad() it is a leaf
        out.__dict__[CALL] = _OfCustomOp(pairs[1::2])
    return out


_VALUE = engine.Value
_LISTS = {"sum": _sum, "dot": _dot, "take": _take, "declared": _declared}
_POWERS = {"square": 2.0, "cube": 3.0, "reciprocal": -1.0}  # rows of the op table that ** makes
_OPERATORS = {"add": "__add__", "sub": "__sub__", "mul": "__mul__", "div": "__truediv__"}
_OPERATORS |= {"pow": "__pow__", "neg": "__neg__"}
_ROWS = {
    name: getattr(_VALUE, _OPERATORS.get(name, name))  # now: a program may replace methods
    for name, arity in zip(NAMES, ARITIES)
    if arity and name not in _POWERS and name != "power"
}


@named_tuple
class _OfCustomOp:
    """Stands in for the pygrad.common.custom_op.Call of a declared node: what pygrad.calculus.reruns asks of one.

    A tape has the derivatives of a custom op, but not what they depend on: in them y stands for the node itself, and
    PG_PASS_SHARE has taken copies away. So they can be used once. The derivative of a derivative is nan, and refused
    where Python can do so.
    """

    derivatives: tuple
    closes: bool = False
    xs: None = None

    def noting(self, found):
        return self

    def results(self, y):
        return [y, *self.derivatives]  # all of these may be other ones in what again() returns

    def again(self, out, xs):
        """Return the derivatives of `out`, a declared node, such that they cannot be differentiated."""
        if all(d._is_leaf() and math.isnan(d._read()) for d in self.derivatives):
            _refuse()
        return [_used_up(d, xs) for d in self.derivatives]


def _used_up(derivative, xs):
    out = engine.declared(derivative, xs, [math.nan] * len(xs))
    out.__dict__[CALL] = _OfCustomOp(out._operands_in_order()[2::2])
    if not recordings.is_recording():  # a tape has no closures
        out._backward = _refuse
    return out


def _refuse():
    raise TypeError(
        "a loaded function has only the first derivative of a custom op: take the derivative that you need before you "
        "save, and save that one, as in pygrad.hessian(f).save(path)"
    )
