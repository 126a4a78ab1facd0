"""Attributes that a Value does not have, though a program may think so: their errors name the cure.

Near names are misspelled names of a Value's own attributes: to set one is a warning, for pygrad will not read it. Other
names are of other micrograds, and of tensors. A program may give a Value an attribute of any name, these included.

Each name is a descriptor in the class of Values. It costs nothing elsewhere: no attribute of Value's own is found in
another way than without it. (A `__getattr__` would make every method call slower, a base class every end of a Value.)
"""

from pygrad.common import truth

_NEAR = {
    "data": ("date", "dat", "dta", "datas", "Data"),
    "grad": ("grads", "gard", "grd", "gra", "gradd", "Grad"),
    "requires_grad": ("require_grad", "requires_grads"),
    "label": ("lable",),
    "_backward": ("_backwards", "_backword", "_bakward"),
}
_ZERO = "v.grad = 0.0 does it for one Value, and zero_grad() of a model or an optimizer for all its parameters"
_COPY = "copy.copy(v) is a copy of a leaf, and v.detach() a new leaf with the data of any Value"
_OPERANDS = "v._prev is the set of the operands"
_ORDER = "v.backward() needs none, and pygrad.viz.trace(v) returns all nodes and edges of the graph"
_CLIP = "use v.maximum(low).minimum(high)"
_OTHERS = {
    **dict.fromkeys(("zero_grad", "zero_grads", "reset_grad"), _ZERO),
    **dict.fromkeys(("copy", "clone"), _COPY),
    **dict.fromkeys(("children", "parents", "prev", "_parents"), _OPERANDS),
    **dict.fromkeys(("topo", "build_topo", "topological_sort", "topo_sort"), _ORDER),
    "mean": "pygrad.sum(values) / len(values) is that of a list",
    **dict.fromkeys(("clip", "clamp"), _CLIP),
    **dict.fromkeys(("value", "val"), "its number is v.data"),
    **dict.fromkeys(("backwards", "backprop"), "use v.backward()"),
    "gradient": "its gradient is v.grad",
    "op": "its op is v._op",
    "retain_grad": "every Value keeps its gradient",
    "is_leaf": "a leaf has no operands: not v._prev",
    "step": "an optimizer of pygrad.optim has it; by hand p.data -= 0.1 * p.grad",
    "parameters": "a model has them: see pygrad.Module",
    "softmax": "pygrad.functional.softmax(values) takes a list",
    "ln": "use v.log()",
    "pow": "use v**2, for any power",
    "swish": "use v.silu()",
    **dict.fromkeys(("color", "name", "id", "visited"), ""),
}


class _Other:
    """A name that other micrograds have: reading it raises AttributeError until a program has set it."""

    own = "; to add your own write Value.{0} = ..., a function or a default for all Values, or v.{0} = ... for one"

    def __init__(self, name, cure):
        self.name = name
        self.cure = f": {cure}" if cure else ""
        self.__doc__ = f"No attribute of a Value{self.cure}"

    def __get__(self, value, kind=None):  # `value` is None for a class: hasattr(Value, name) is False, too
        raise AttributeError(f"a Value has no attribute {self.name!r}{self.cure}{self.own.format(self.name)}")


class _Near(_Other):
    """A misspelled name: to set it warns, once a line, and sets it."""

    own = ""

    def __init__(self, name, meant):
        super().__init__(name, f"did you mean {meant!r}?")

    def __get__(self, value, kind=None):
        if value is not None and self.name in (attributes := value._attributes()):
            return attributes[self.name]
        return super().__get__(value, kind)

    def __set__(self, value, x):
        truth.warn(f"pygrad reads no attribute {self.name!r} of a Value{self.cure}")
        value.__dict__[self.name] = x

    def __delete__(self, value):
        self.__get__(value)
        del value.__dict__[self.name]


_DESCRIPTORS = {name: _Near(name, meant) for meant, names in _NEAR.items() for name in names}
_DESCRIPTORS |= {name: _Other(name, cure) for name, cure in _OTHERS.items()}


def with_absent_names(cls):
    """Give a class the descriptors of all these names but those that it defines; a decorator."""
    for name, descriptor in _DESCRIPTORS.items():
        if not hasattr(cls, name):
            setattr(cls, name, descriptor)
    return cls


def absent_names(value_type):
    """Return the names that a class of Values still does not have, in a set."""
    return {name for name in _DESCRIPTORS if not hasattr(value_type, name)}
