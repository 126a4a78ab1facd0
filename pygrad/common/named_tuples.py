"""Named tuples, written as classes."""

from collections import namedtuple


def named_tuple(kind):
    """A decorator: return a named tuple with the annotated fields of a class, their defaults, and its methods.

    This is what typing.NamedTuple does. But the import of typing is a tenth of that of pygrad.
    """
    own = {name: x for name, x in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    fields = kind.__annotations__
    fields_of = namedtuple(kind.__name__, fields, defaults=[own.pop(name) for name in fields if name in own])
    return type(kind.__name__, (fields_of,), {**own, "__slots__": ()})
