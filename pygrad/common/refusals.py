"""Exceptions that both proxies and `pygrad.reference` raise, so that their messages are equal.

Each function returns the exception; the caller raises it.
"""

from pygrad.common.numbers import shown


def uninitialised():
    return RuntimeError(
        "this Value was never initialised: call Value.__init__(self, data) first (or it had ended, and its __del__ has "
        "revived it)"
    )


def made_up_id():
    return RuntimeError("the _pg_id of this Value names no node of the engine: only the engine may make ids")


def busy():
    return RuntimeError("a backward pass is still running over part of this graph: let it end first")


def init_of_result(value):
    return RuntimeError(f"this Value is the result of {shown(value._op)}: only a leaf can be set by __init__")


def children_too_late():
    return RuntimeError("this Value exists already: make a new one to give it children")


def prev_is_fixed():
    return AttributeError(
        "_prev is fixed at creation: pass the operands as Value(data, _children); a result can only let them go: "
        "v._prev = ()"
    )


def prev_of_a_variable():
    return AttributeError(
        "_prev of a Value that depends on an argument of the running function cannot be emptied: the Value would keep "
        "the number of this one run; use pygrad.stop_gradient(v), and v.detach() where the number is meant to stay"
    )


def no_local_grads(value):
    return AttributeError(
        f"the local gradients of this Value, {shown(value._op)}, are not known: its backward step is a function. Call "
        "value._backward(), or make the Value with them: Value(data, children, local_grads)"
    )


def no_closure():
    return TypeError("_backward must be a function of no arguments")


def no_hook():
    return TypeError("a trace hook must be a function of a Value and what reads its data, or None")


def derivatives_missing():
    return ValueError("declared needs as many derivatives as xs")
