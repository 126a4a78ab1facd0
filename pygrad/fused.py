"""Fused neurons: w·x + b as one `dot` node instead of a node for each multiply and each add, a layer in one call.

The numbers are the same to the bit. The graph is not, so the fused path is taken only where a program cannot tell:
plain neurons, plain Values and numbers, and no operator of Value replaced (`pygrad.portable.layer`). All else runs as
the Python code of `pygrad.nn`.
"""

from pygrad import engine


def outputs(neurons, x):
    """Return [n(x) for n in neurons] for plain neurons, or None where that must run as plain Python code."""
    rows, biases = [n.w for n in neurons], [n.b for n in neurons]
    return engine.layer(rows, x, biases, [n.activation if n.nonlin else None for n in neurons])
