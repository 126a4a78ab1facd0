"""Garbage in cycles: what C has made lives until the last `__del__` in the cycle has run, and on if one revives it."""

import gc

import pytest
from alone import alone

import pygrad
from pygrad import Value

kept = []


class Uses:
    """An object in a cycle of its own; its __del__ makes Values and functions, and then calls `use`."""

    def __init__(self, use, **held):
        self.use, self.me = use, self
        self.__dict__.update(held)

    def __del__(self):
        self.others = [Value(99.0) for _ in range(10)]
        kept.append([pygrad.compile(lambda x: x * 3.0)(1.0), self.use(self)])


def in_garbage(use, **held):
    """Let a Uses be collected; return what its `use` returned in __del__, and the object if that is a Uses."""
    kept.clear()
    Uses(use, **held)
    held.clear()
    gc.collect()
    (_, found), *_ = kept
    return found


@alone
def test_a_compiled_function_in_garbage():
    """A __del__ may call it, and its derivatives, and what is bound to it."""
    f = pygrad.compile(lambda x: (2.0 * x).tanh())
    right = f(0.5)
    bound = f.bind(0.5)

    def use(self):
        self.bound.backward()
        return self.f(0.5), self.bound.output[0], self.f.backward(0.5)

    held = {"f": f, "bound": bound}
    del f, bound
    assert in_garbage(use, **held) == (right, right, right)


@alone
def test_a_value_in_garbage():
    """A __del__ reads and sets its own Value, and no other one."""
    v = Value(1.0)
    w = v * 2.0
    held = {"v": v, "w": w}
    del v, w

    def use(self):
        seen = self.v.data, self.w.data
        self.v.data = 7.0
        self.w.backward()
        return seen, self.v.data, self.v.grad, {other.data for other in self.others}

    assert in_garbage(use, **held) == ((1.0, 2.0), 7.0, 2.0, {99.0})


@alone
def test_what_garbage_revives():
    """What a __del__ hands on stays whole."""
    f, v = pygrad.compile(lambda x: (2.0 * x).tanh()), Value(1.0)
    right = f(0.5)
    held = {"f": f, "v": v}
    del f, v
    revived = in_garbage(lambda self: self, **held)

    assert (revived.f(0.5), revived.v.data, (revived.v * 3.0).data) == (right, 1.0, 3.0)


@alone
def test_a_value_that_its_own_handle_revives():
    """The handle is in a cycle with its Value, and hands it on."""
    found = []

    class Handle:
        def __init__(self, v):
            self.v = v

        def __del__(self):
            found.append(self.v)

    v = Value(5.0)
    v.handle = Handle(v)
    del v
    gc.collect()
    others = [Value(float(i)) for i in range(3)]
    found[0].data += 1.0

    assert [6.0, 0.0, 1.0, 2.0] == [v.data for v in (*found, *others)]
    found.clear()


@alone
def test_values_that_a_del_of_the_class_has_revived():
    """When the class has no __del__ any more they end as others do, and their memory is used once."""
    found = []
    Value.__del__ = lambda self: found.append(self)
    for _ in range(3):
        Value(1.0)
    del Value.__del__
    found.clear()
    gc.collect()
    more = [Value(float(i)) for i in range(10)]

    assert [v.data for v in more] == [float(i) for i in range(10)]
    assert 10 == len({id(v) for v in more})


@alone
def test_a_class_that_is_set_past_value():
    """object.__setattr__ sets `__class__` too; what a __del__ has made a Value again ends as one, once."""

    class Sub(Value):
        def __del__(self):
            self.__class__ = Value

    own = Value.__setattr__
    Value.__setattr__ = lambda self, name, x: object.__setattr__(self, name, x)
    for _ in range(3):
        v = Value(1.0)
        v.__class__ = Sub
        assert v.__class__ is Sub is type(v)
        del v
    Value.__setattr__ = own
    gc.collect()
    more = [Value(float(i)) for i in range(10)]

    assert [v.data for v in more] == [float(i) for i in range(10)]
    assert 10 == len({id(v) for v in more})


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.threads
def test_a_leaf_whose_gradient_is_lent():
    """While grad() runs in pieces it puts gradients back at its end: another thread's backward pass is refused."""
    import threading

    w, said = Value(2.0), []
    u, free = w * 3, Value(1.0)

    def other():
        try:
            (w * 2).backward()
        except RuntimeError as error:
            said.append(str(error))
        (free * 2).backward()
        said.append(pygrad.grad(w * 5, [w]))

    def closure():
        w.grad += 3 * u.grad
        (w * 2).backward()  # of this thread: it is put back too
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    u._backward = closure

    assert [5.0] == pygrad.grad(u, [w])
    assert ["a backward pass is still running over part of this graph: let it end first", [5.0]] == said
    assert (0.0, 2.0) == (w.grad, free.grad)
    (w * 2).backward()
    assert 2.0 == w.grad
