"""Module: an object with Values in its attributes, directly or in lists, tuples, dicts and other Modules.

`parameters()` and `state_dict()` find the Values by walking the attributes, in the sequence in which they were set.
"""

from collections.abc import Mapping

from pygrad.common.nested import MOST_LEVELS, build_lists, dimensions, flatten, names
from pygrad.common.numbers import describe, shortened, to_float
from pygrad.common.whole import set_all
from pygrad.optim import set_data, zero_grads


class Module:
    """Base class of models: derive from it, and set Values and Modules as attributes.

    `copy.deepcopy` and pickle carry the gradients of the Values with their data, as those of a Value do; `state_dict()`
    and files have the data alone.

    >>> import pygrad
    >>> class Line(pygrad.Module):
    ...     def __init__(self):
    ...         self.slope, self.offset = pygrad.Value(2.0), pygrad.Value(1.0)
    ...
    ...     def __call__(self, x):
    ...         return self.slope * x + self.offset
    >>> line = Line()
    >>> line(3.0).data, line.state_dict()
    (7.0, {'slope': 2.0, 'offset': 1.0})
    """

    _is_module = True  # an argument of this type is static: see pygrad.common.parts

    def zero_grad(self):
        """Set the gradient of every parameter to 0, of frozen ones too."""
        zero_grads(self.parameters())

    def parameters(self):
        """Return the leaf Values of this Module in a list, in the sequence of the attributes, each one once."""
        return [p for _, p in self.named_parameters()]

    def named_parameters(self):
        """Yield (name, Value), such as ("layers.0.neurons.3.w.1", Value(…)); a shared Value once, by its first name."""
        seen = {}  # by id: a class of Values may have an `==` of its own
        for name, (structure, values) in _tensors(self):
            for place, p in zip(names(structure, name, ".", ""), values):
                if id(p) not in seen:
                    seen[id(p)] = p
                    yield place, p

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or unfreeze every parameter: see `Value.requires_grad`. Returns the Module.

        >>> import pygrad
        >>> model = pygrad.MLP(2, [4, 1])
        >>> _ = model.layers[0].requires_grad_(False)  # train the last layer only
        >>> model([1.0, 2.0]).backward()
        >>> {p.grad for p in model.layers[0].parameters()}
        {0.0}
        """
        params = list(self.parameters())
        old = [getattr(p, "requires_grad", True) for p in params]
        set_all(params, "requires_grad", [requires_grad] * len(params), old)
        return self

    def num_parameters(self):
        """Return how many Values `parameters()` has."""
        return len(self.parameters())

    def state_dict(self):
        """Return {name: numbers}: for each attribute with Values a float, or a nested list of floats.

        A shared Value is in every entry that holds it, as in PyTorch. A list that is not rectangular, or holds other
        things too, becomes an entry for each of its items.
        """
        tensors = _tensors(self)
        return {name: build_lists(structure, (p.data for p in values)) for name, (structure, values) in tensors}

    def load_state_dict(self, state, strict=True):
        """Write the numbers of a `state_dict()` into the Values here, and return (missing names, unexpected names).

        Raises a ValueError that lists all misfits: wrong lengths, entries that are not numbers, and, unless `strict` is
        False, missing and unexpected names. Then the Module is unchanged. TypeError if `state` is no dict.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"a state must be a dict of names and numbers, not {describe(state)}")
        own = dict(_tensors(self))
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        problems = [f"{name} is missing" for name in missing] + [f"{name} is unexpected" for name in unexpected]
        problems, writes = problems if strict else [], []
        for name in [name for name in own if name in state]:
            try:
                structure, values = own[name]
                writes += zip(values, _fitting(structure, state[name], name))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError(
                f"this state does not fit the {type(self).__name__}: {shortened('; '.join(problems), 2000)}"
            )
        set_data([p for p, _ in writes], [number for _, number in writes])
        return missing, unexpected


# --- walking a Module; a "tensor" is (structure, Values) of a leaf Value, or of a rectangular nested list of them -----


def _tensors(module):
    """Yield (name, tensor) for all that a Module holds, however deep."""
    todo, around = [(module, None)], set()  # around: ids of the objects that the next one is in, so that a cycle ends
    while todo:
        x, place = todo.pop()
        if place is _END:
            around.remove(id(x))
            continue
        if str(getattr(x, "dtype", "")) == "object":  # a NumPy array of Values
            x = x.tolist()
        values = []
        structure = flatten(x, values, _as_item, MOST_LEVELS)
        if dimensions(structure) is not None and all(map(_is_leaf, values)):
            yield _name(place), (structure, values)
        elif id(x) not in around:
            around.add(id(x))
            todo.append((x, _END))
            todo += [(item, (place, key)) for key, item in reversed([*_items(x)])]


_END = object()  # in `todo`: all that is in x has been seen


def _name(place):
    """Return the name of a place, (place of what is around, key): "layers.0.w"."""
    keys = []
    while place is not None:
        place, key = place
        keys.append(str(key))
    return ".".join(reversed(keys))


def _items(x):
    if isinstance(x, Module):
        return vars(x).items()
    if isinstance(x, dict):
        return x.items()
    return enumerate(x) if isinstance(x, (list, tuple)) else ()


def _as_item(x):
    return list(x) if isinstance(x, (list, tuple)) else x


def _is_leaf(x):
    return not getattr(x, "_prev", True)  # a Value, of any engine, without operands


def _fitting(structure, entry, name):
    """Return the numbers of an entry of a state, in a list. Raise ValueError if it does not have this structure."""
    entry = entry.tolist() if hasattr(entry, "tolist") else entry  # a NumPy array
    if structure is None:
        try:
            return [to_float(entry, name)]
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
    if not isinstance(entry, (list, tuple)):
        raise ValueError(f"{name} must be a list of {len(structure)}, not {describe(entry)}")
    if len(entry) != len(structure):
        raise ValueError(f"{name} must have length {len(structure)}, not {len(entry)}")
    return [x for i, part in enumerate(structure) for x in _fitting(part, entry[i], f"{name}.{i}")]
