"""Fused neurons: w·x + b as one `dot` node instead of a node for each multiply and each add.

The numbers are the same to the bit. The graph is not, so the fused path is taken only where a program cannot tell:
plain neurons, plain Values and numbers, and no operator of Value replaced. All else runs as the Python code of
`pygrad.nn`.
"""

from pygrad import engine
from pygrad._numbers import is_number
from pygrad.engine import Value

_OPERATORS = ("__add__", "__radd__", "__mul__", "__rmul__")
_ORIGINALS = [vars(Value)[name] for name in _OPERATORS]


def weigh(neurons, x):
    """Return [n.w·x + n.b for n in neurons], or None where that must run as plain Python code."""
    if [vars(Value).get(name) for name in _OPERATORS] != _ORIGINALS:
        return None
    xs = tuple([xi if type(xi) is Value else Value(xi) if is_number(xi) else None for xi in x])
    return engine.layer([tuple(n.w) for n in neurons], xs, [n.b for n in neurons])
