"""How the arguments of a call are bound to the parameters of a function: which place each one has."""

import types

from pygrad.common import forks


def positional(function):
    """Return the names of the parameters that may be given by position, in a list; None: there is no signature."""
    signature = signature_of(function)
    if signature is None:
        return None
    return [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def signature_of(function):
    """Return the inspect.Signature of a function, None if it has none, as some functions written in C."""
    with forks.importing:
        import inspect  # here, for its import takes a while

    try:
        return inspect.signature(function)
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
    """Return the position of the parameter `name`, None if it has none."""
    names = positional(function) or []
    return names.index(name) if name in names else None


def first_is_self(function):
    """True if the first parameter is called self: then the function is one of a class, and not bound to an object."""
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None) if isinstance(function, types.FunctionType) else None
    return code is not None and code.co_argcount > 0 and code.co_varnames[0] == "self"
