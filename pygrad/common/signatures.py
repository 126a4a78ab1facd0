"""How the arguments of a call are bound to the parameters of a function: which place each one has."""

import types
from numbers import Real

from pygrad.common import forks


def signature_of(function):
    """Return the inspect.Signature that the function itself has, None if it has none, as some functions written in C.

    A decorator may say that it wraps another function: Python calls the decorator's own function, so that one counts.
    Functions that pygrad makes of others (they have `is_made_of`) have the signature of these.
    """
    with forks.importing:
        import inspect  # here, for its import takes a while

    while hasattr(function, "is_made_of"):
        function = function.is_made_of
    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


def arranged(function, args, kwargs):
    """Return (args, kwargs) for the same call, with all that can be given by position in args.

    A keyword that comes after an argument left to its default, or has no position, stays a keyword; these are in the
    sequence of the signature. Raises TypeError if the function cannot be called like that.
    """
    signature = signature_of(function) if kwargs else None
    if signature is None:
        return args, kwargs
    bound = signature.bind(*args, **kwargs)
    return bound.args, bound.kwargs


def place_of(function, name):
    """Return the position of the parameter `name`, None if it has none, or has no name for callers."""
    names = _positional(function)
    return names.index(name) if name in names else None


def _positional(function):
    """Return the names of the parameters that may be given by position, in a list; None for one without a name.

    A function of (*args, **kwargs) alone that wraps another one is taken to hand all on to that one.
    """
    while True:
        signature = signature_of(function)
        if signature is None:
            return []
        parameters = signature.parameters.values()
        if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) or len(parameters) < 2:
            by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
            return [p.name if p.kind is p.POSITIONAL_OR_KEYWORD else None for p in by_place]
        if not hasattr(function, "__wrapped__"):
            return []
        function = function.__wrapped__


def has_parameter(function, name):
    """True if the function has a parameter of this name, or takes any; or nobody can tell."""
    signature = signature_of(function)
    if signature is None or name in signature.parameters:
        return True
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def first_is_self(function):
    """True if the first parameter is called self: then the function is one of a class, and not bound to an object.

    But what `is_data` is no such object, whatever the parameter is called.
    """
    while hasattr(function, "is_made_of"):
        function = function.is_made_of
    code = getattr(function, "__code__", None) if isinstance(function, types.FunctionType) else None
    return code is not None and code.co_argcount > 0 and code.co_varnames[0] == "self"


def is_data(x):
    """True for a number, a Value, a list or an array."""
    return isinstance(x, (Real, list, tuple)) or any(hasattr(x, name) for name in ("_prev", "__array__", "__dlpack__"))


class SignatureOfInit:
    """A class attribute `__signature__`: `inspect.signature(Class)` shows that of `__init__`, and not of `__new__`."""

    def __get__(self, instance, owner):
        first = next(cls for cls in owner.__mro__ if {"__new__", "__init__"} & vars(cls).keys())
        if instance is not None or "__init__" not in vars(first):  # a derived class has a __new__ of its own
            raise AttributeError("__signature__")
        with forks.importing:
            import inspect  # here, for its import takes a while

        parameters = inspect.signature(owner.__init__).parameters.values()
        return inspect.Signature(list(parameters)[1:])
