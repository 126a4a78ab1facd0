"""Module: anything that holds Values as attributes, by themselves or in lists, tuples, dicts and other Modules.

What `parameters()` and `state_dict()` find they find by walking those attributes, in the order they were set.
"""

import math
from collections.abc import Mapping

from pygrad.contract.nested import build_lists, dimensions, flatten, names
from pygrad.contract.numbers import describe, to_float
from pygrad.optim import zero_grads


class Module:
    """Base class of models: derive from it, and set Values and Modules as attributes."""

    def zero_grad(self):
        zero_grads(self.parameters())

    def parameters(self):
        """Return a list of every leaf Value of this Module, in order, each one once."""
        return [p for _, p in self.named_parameters()]

    def named_parameters(self):
        """Yield (name, Value), as ("layers.0.neurons.3.w.1", Value(…)); a shared Value once, by its first name."""
        seen = set()
        for name, (structure, values) in _tensors(self):
            for place, p in zip(names(structure, name, ".", ""), values):
                if p not in seen:
                    seen.add(p)
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
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def num_parameters(self):
        return len(self.parameters())

    def state_dict(self):
        """Return {name: numbers}, one entry an attribute that holds Values: a float, or a nested list of floats.

        A shared Value is in every entry that holds it, as in PyTorch. Lists that are not rectangular, or hold other
        things too, become one entry an item.
        """
        tensors = _tensors(self)
        return {name: build_lists(structure, (p.data for p in values)) for name, (structure, values) in tensors}

    def load_state_dict(self, state, strict=True):
        """Write the numbers of a `state_dict()` into the Values here, and return (missing names, unexpected names).

        Raises a ValueError that lists all that does not fit: wrong lengths and what is not a number, and, unless
        `strict` is False, missing and unexpected names. The Module is then as it was.
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
            raise ValueError(f"this state does not fit the {type(self).__name__}: {'; '.join(problems)}")
        for p, number in writes:
            p.data = number
        return missing, unexpected


# --- walking a Module; a "tensor" is a leaf Value or a rectangular nested list of them: its structure, and they -------


def _tensors(x, name="", path=()):
    """Yield (name, tensor) for all that `x` holds; `path` is what we came through, so that a cycle ends."""
    if str(getattr(x, "dtype", "")) == "object":  # a NumPy array of Values
        x = x.tolist()
    values = []
    structure = flatten(x, values, _as_item, math.inf)
    if dimensions(structure) is not None and all(map(_is_leaf, values)):
        yield name, (structure, values)
    elif not any(x is above for above in path):
        for key, item in _items(x):
            yield from _tensors(item, f"{name}.{key}" if name else str(key), (*path, x))


def _items(x):
    if isinstance(x, Module):
        return vars(x).items()
    if isinstance(x, dict):
        return x.items()
    return enumerate(x) if isinstance(x, (list, tuple)) else ()


def _as_item(x):
    return list(x) if isinstance(x, (list, tuple)) else x


def _is_leaf(x):
    return not getattr(x, "_prev", True)  # of any engine: operands, but none


def _fitting(structure, entry, name):
    """Return the numbers of an entry, in a list, or raise a ValueError if it is not in this structure."""
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
