"""How a Python function that is not recorded yet gets into a pickle: by its name, or by value, as the pickler can."""

import sys

from pygrad.common import forks


def name_of(compiled):
    """Return the name by which the module of a decorated function has this object; None if it has not.

    A function of the script itself has no name that other processes know, where the pickler takes functions by value.
    """
    module = getattr(compiled, "__module__", None)
    if module == "__main__" and takes_values():
        return None
    found, name = sys.modules.get(module), getattr(compiled, "__qualname__", "")
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is compiled else None


def error_of(function):
    """Return the exception that pickling a Python function raises; None for none, and if the pickler may know how."""
    with forks.importing:
        import pickle  # here, for its import takes a while

    if takes_values():
        return None
    try:
        pickle.dumps(function)
    except Exception as error:
        return error
    return None


def takes_values():
    """True if a pickler is at work that is none of Python's own: that of cloudpickle, say, takes functions by value.

    Its method `dump` is a function of Python, so it has a frame here.
    """
    with forks.importing:
        import pickle

    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "dump":
            pickler = frame.f_locals.get("self")
            if isinstance(pickler, (pickle.Pickler, pickle._Pickler)):
                return type(pickler) is not pickle._Pickler
        frame = frame.f_back
    return False


def not_picklable(compiled, error):
    with forks.importing:
        from pickle import PicklingError

    return PicklingError(
        f"{compiled.__name__} has not been traced yet, and its Python function cannot be pickled ({error}): call it "
        "once first, or trace it with .trace(...); or use cloudpickle, which takes functions by value"
    )
