"""What a program may ask of a Value: truth, `==`, float(), int(), range() and the like. One rule for all makes of it.

As in micrograd a Value is true, and `==` asks for the same object. The truth of a Value that a comparison made (`less`,
`equal`, ...) is that of its data. A *variable* depends on an argument of a function that is recorded or transformed
now: its number stands for others, so these answers would be wrong for most of them, and asking is a TypeError.
"""

import warnings

from pygrad.common.caller import user_frame
from pygrad.common.numbers import is_like_number

COMPARISON = "<comparison>"  # a key in the __dict__ of a leaf that has the number of a comparison

_CURES = (
    "choose with pygrad.where, and compare with pygrad.equal, less, ...; or pass this argument as it is, by static= of "
    "pygrad.compile or by argnums= of a transform"
)
_METHODS = "a function of math is a method here: v.exp() for math.exp(v), v.sin() for math.sin(v)"
_TAKE = "pygrad.take(xs, v) in place of xs[v]"
_CONVERSIONS = {
    "float()": f"{_METHODS}; where its number will do use v.data, as in float(v.data), '%.2f' % v.data, or "
    "[v.data for v in values] for random.choices, numpy.interp and others that take plain numbers",
    "int()": "use int(v.data)",
    "an index": f"use {_TAKE}, or int(v.data)",
}
_ROUNDING = "use v.data for its number, and pygrad.stop_gradient where gradients are to pass by"
_OF_VARIABLES = {"float()": f"; {_METHODS}", "int()": f"; use {_TAKE}", "an index": f"; use {_TAKE}"}

NOT_PICKLED = "a Value that depends on an argument of a running function cannot be pickled"  # see __reduce_ex__


def is_variable(value):
    """Return True if the Value depends on an argument of a function that is recorded or transformed now.

    pygrad.engine puts a function of its own here.
    """
    return False


def note_format(value):
    """Note that a program has written the number of the Value. pygrad.engine puts a function of its own here."""


def note_let_go(value):
    """Note that a result is about to let its operands go. pygrad.engine puts a function of its own here."""


def check_truth(value):
    """Raise TypeError if the truth of the Value, which no comparison made, cannot be told."""
    if is_variable(value):
        raise _of_variable("the truth")


def check_equality(value, other, values, warns):
    """Do what must be done before `value == other`, or `!=`, asks for identity; `values` is the type of all Values.

    Raises TypeError if one of them is a variable, and the other a number or Value. If `warns`, warns of a number, once
    a line.
    """
    if isinstance(other, values):
        if is_variable(value) or is_variable(other):
            raise _of_variable("`==`", "; `is` tells whether two Values are one object")
    elif is_like_number(other):
        if is_variable(value):
            raise _of_variable("`==`")
        if warns:
            warn(
                "`==` of a Value and a number asks whether they are one object, so it is always False: use "
                "pygrad.equal, or v.data"
            )


def no_number(value, what):
    """Return the TypeError of a conversion: `what` is "float()", "int()", "an index", or a rounding."""
    if is_variable(value):
        return _of_variable(what, "; v.data has the number of this one run", _OF_VARIABLES.get(what, ""))
    cure = _CONVERSIONS.get(what, _ROUNDING)
    return TypeError(f"{what} of a Value: it is no number, for the number has no gradient; {cure}")


def _of_variable(what, more="", first=""):
    return TypeError(
        f"{what} of a Value that depends on an argument: the function runs now for other numbers too{first}; "
        f"{_CURES}{more}"
    )


def warn_of_lookup():
    """Warn that a set or dict looks a variable up."""
    warn(f"a set or dict finds a Value by identity, and not by its number; {_CURES}")


def warn_of_gradients(what):
    """Warn that backward() or grad() of a variable gives numbers."""
    warn(
        f"{what} of a Value that depends on an argument gives numbers, which have no derivatives themselves; use "
        "pygrad.grad(y, xs, create_graph=True) or pygrad.gradient"
    )


def warn(message):
    """Warn, once for each line of the user's program: Python notes there what it has shown."""
    frame = user_frame()
    warnings.warn_explicit(
        message,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__") or "<unknown>",
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
