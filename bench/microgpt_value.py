"""A Value in pure Python, of the design of Karpathy's microgpt: four slots, and local gradients known at once.

An operation makes one node, which holds the derivative by each of its operands as a number; there are no closures.
Subtraction and division are no operations of their own: they go through negation, which is `* -1`, and `** -1`.
Backward lists all below the root, operands first, and goes through the list from its end. The function that lists
calls itself, as microgpt's does: a reference cycle, which keeps the graph until the garbage collector comes.
"""

import math


class Value:
    """A number, its gradient, its operands (`children`), and d self / d child for each of them (`local_grads`)."""

    __slots__ = ("data", "grad", "children", "local_grads")

    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0
        self.children = children
        self.local_grads = local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):
        return Value(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))

    def exp(self):
        y = math.exp(self.data)
        return Value(y, (self,), (y,))

    def log(self):
        return Value(math.log(self.data), (self,), (1.0 / self.data,))

    def relu(self):
        return Value(self.data, (self,), (1.0,)) if self.data > 0.0 else Value(0.0, (self,), (0.0,))

    def __neg__(self):
        return self * -1.0

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other

    def __sub__(self, other):
        return self + (-other)

    def __truediv__(self, other):
        return self * other**-1

    def __rtruediv__(self, other):
        return other * self**-1

    def backward(self):
        """Add d self / d node to the gradient of every node below, oneself included."""
        order, visited = [], set()

        def list_operands_first(node):
            visited.add(node)
            for child in node.children:
                if child not in visited:
                    list_operands_first(child)
            order.append(node)

        list_operands_first(self)
        self.grad = 1.0
        for node in reversed(order):
            grad = node.grad
            for child, local_grad in zip(node.children, node.local_grads):
                child.grad += local_grad * grad
