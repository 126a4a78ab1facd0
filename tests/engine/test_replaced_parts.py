"""A program may replace parts of the class Value, put them back, revive Values and use some without a node.

It then meets what Python promises, or a refusal: no crash, no leak, no broken arena. Each case runs in a process of its
own, for it changes the class.
"""

import os
import subprocess
import sys

import pytest

import pygrad

pytestmark = [pytest.mark.proxy]

BEGIN = """
import gc, weakref
import pygrad
from pygrad import Value
from pygrad.engine import check_arena, live_nodes

def work():
    a = Value(2.0)
    b = a * 3.0 + 1.0
    c = (b * b).tanh() + pygrad.sum([a, b])
    c.backward()
    return a.grad

assert 4.0 == work()
before = live_nodes()
"""
END = """
assert 4.0 == work()
gc.collect()
check_arena()
assert before == live_nodes(), live_nodes() - before
"""
IS_NATIVE = "native" == pygrad.config()["proxy"]


def run(text):
    """Run a program; it must end well and leave no node behind."""
    done = subprocess.run([sys.executable, "-c", BEGIN + text + END], capture_output=True, text=True, env=os.environ)
    assert (0, "") == (done.returncode, done.stderr)


REPLACED = {
    "new": """
old = Value.__new__
Value.__new__ = lambda cls, *args, **kwargs: old(cls)
v = Value(2.0)
assert 6.0 == (v * 3).data and "x" == Value(1.0, label="x").label
Value.__new__ = old
v = Value(4.0)
assert 8.0 == (v + v).data and {v} == Value(1.0, (v,), "op")._prev
class Sub(Value): pass
assert 3.0 == Sub(3.0).data and Sub is type(Value.__new__(Sub))
del v
""",
    "new by object": """
old = Value.__new__
Value.__new__ = lambda cls, *args, **kwargs: object.__new__(cls)
for i in range(100):
    try:
        v = Value(2.0)
        w = v * 3.0
        w.note = [w]
    except AttributeError:  # of the proxy in Python, for it has its slots from __new__
        pass
    gc.collect()
v = w = None
Value.__new__ = old
kept = [Value(1.0) for _ in range(200)]
gc.collect()
del kept
""",
    "init": """
old, made = Value.__init__, []
def init(self, *args, **kwargs):
    made.append(1)
    old(self, *args, **kwargs)
Value.__init__ = init
assert 2.0 == Value(2.0).data and [1] == made
Value.__init__ = old
assert 2.0 == Value(2.0).data and [1] == made
""",
    "setattr": """
old, names = Value.__setattr__, []
def setattr_(self, name, x):
    names.append(name)
    old(self, name, x)
Value.__setattr__ = setattr_
v = Value(2.0)
v.data, v.grad, v.note = 3.0, 1.0, [1]
middle = v * 2.0
middle.label = "middle"
root = middle + 1.0
del middle
assert ["middle"] == [u.label for u in root._prev if u._prev]
assert {"data", "grad", "note", "label"} <= set(names)
Value.__setattr__ = old
names.clear()
v.data, v.note = 4.0, 2
del v.note
assert 4.0 == v.data and not hasattr(v, "note") and not names
middle = v * 2.0
root = middle + 1.0
middle.note = [middle]
del middle
gc.collect()
assert [[2.0 * v.data]] == [[x.data for x in u.note] for u in root._prev if u._prev]
del v, root
""",
    "setattr by object": """
old = Value.__setattr__
Value.__setattr__ = lambda self, name, x: object.__setattr__(self, name, x)
v = Value(2.0)
for use in ("before", "after"):
    middle = v * 2.0
    root = middle + 1.0 if use == "before" else None
    middle.note = [1]
    root = root or middle + 1.0
    del middle
    others = [Value(i) for i in range(100)]
    assert not any(hasattr(x, "note") for x in others)
    assert use == "after" or [[1]] == [u.note for u in root._prev if u._prev]
Value.__setattr__ = old
del v, root, others
""",
    "getattribute": """
old, names = Value.__getattribute__, []
def getattribute(self, name):
    names.append(name)
    return old(self, name)
Value.__getattribute__ = getattribute
v = Value(2.0)
(v * v).backward()
assert 4.0 == v.grad and "grad" in names
del Value.__getattribute__
assert 2.0 == v.data
del v
""",
    "class": """
class Sub(Value): pass
class Other: pass
v = Value(2.0)
middle = v * 3.0
root = middle + 1.0
middle.__class__ = Sub
del middle
assert [Sub] == [type(u) for u in root._prev if u._prev]
v.__class__ = Sub
v.__class__ = Value
sub = Sub(1.0)
sub.__class__ = Value
for x in (v, sub, root):
    try:
        x.__class__ = Other
    except TypeError:
        pass
    else:
        raise AssertionError(x)
root.backward()
assert 3.0 == v.grad
for _ in range(5000):
    x, y = Value(1.0), Sub(1.0)
    x.__class__, y.__class__ = Sub, Value
del v, x, y, root, sub
""",
    "operators": """
v = Value(2.0)
for name in "__add__ __radd__ __mul__ __neg__ __pow__ __truediv__ tanh data grad _prev _op _backward _read".split():
    old = vars(Value)[name] if name in vars(Value) else None
    if old is None:
        continue
    delattr(Value, name)
    for use in (lambda: v + v, lambda: 1 + v, lambda: v * v, lambda: -v, lambda: v**2, lambda: v / 2, lambda: v.tanh(),
                lambda: (v * v).backward(), lambda: v < v, lambda: repr(v), lambda: v._prev, lambda: v._backward(),
                lambda: pygrad.sum([v, 1.0]), lambda: pygrad.nn.MLP(2, [2])([v, 1.0]), lambda: setattr(v, "data", 2.0),
                lambda: pygrad.optim.SGD([v]).step(), lambda: pygrad.grad(v * v, [v])):
        try:
            use()
        except (TypeError, AttributeError, KeyError):
            pass
    setattr(Value, name, old)
v.data = 2.0
assert 4.0 == (v * v).data and 4.0 == (v + v).data and 3.0 == (1 + v).data and 2.0 == v.data
del v, use
""",
}


@pytest.mark.parametrize("text", REPLACED.values(), ids=REPLACED)
def test_a_part_is_replaced_and_put_back(text):
    """The replacement is called, and may call the old part; once that is back, all is as before."""
    run(text)


DELS = {
    "called once for each Value": """
ended = []
Value.__del__ = lambda self: ended.append(self.data)
v = Value(5.0)
w = v + 1.0
del v
assert [] == ended  # w has it as an operand
del w
assert [6.0, 5.0] == ended
for _ in range(3):
    Value(7.0)
assert [7.0] * 3 == ended[2:]
a = Value(1.0)
a.me = a
del a
gc.collect()
assert 1.0 == ended[-1]
del Value.__del__
Value(8.0)
assert 1.0 == ended[-1]
""",
    "revives": """
kept = []
Value.__del__ = lambda self: kept.append(self)
v = Value(5.0)
w = v + 1.0
del v, w
assert 2 >= len(kept) >= 1 and 12.0 == (kept[0] * 2.0).data
(kept[0] * 2.0).backward()
del Value.__del__
kept.clear()
""",
    "raises": """
import sys
told = []
sys.unraisablehook = lambda error: told.append(error.exc_type)
def fail(self):
    raise ValueError
Value.__del__ = fail
Value(5.0) + 1.0
assert 2 == len(told)
del Value.__del__
""",
}


@pytest.mark.parametrize("text", DELS.values(), ids=DELS)
def test_value_is_given_a_del(text):
    """A __del__ of the class is called when a Value ends, and not before its graph does; it may revive the Value."""
    run(text)


def test_a_subclass_revives():
    """A Value that a subclass's __del__ has revived works, or each use of it is a RuntimeError."""
    run("""
kept = []
class Sub(Value):
    def __del__(self):
        kept.append(self)
Sub(5.0)
v = kept.pop()
for use in (lambda: v.data, lambda: v * 2.0, lambda: v.backward(), lambda: repr(v), lambda: v.grad, lambda: v._prev,
            lambda: Value(1.0) + v, lambda: pygrad.sum([v]), lambda: setattr(v, "grad", 1.0), lambda: v._backward()):
    try:
        use()
    except RuntimeError as error:
        assert "revived" in str(error), error
del v, use
gc.collect()
del Sub.__del__
kept.clear()
""")


WITHOUT_NODE = """
data = v.data | grad = v.grad | op = v._op | prev = v._prev | closure = v._backward | step = v._backward()
requires_grad = v.requires_grad | item = v.item() | detach = v.detach() | backward = v.backward() | repr = repr(v)
format = f"{v:.2f}" | less = v < 1 | greater = 1 > v | add = v + 1 | radd = 1 + v | square = v * v
other = Value(1.0) * v | neg = -v | power = v**2 | rpower = 2**v | abs = abs(v) | tanh = v.tanh() | min = v.minimum(1)
elu = v.elu() | sum = pygrad.sum([v]) | start = pygrad.sum([1.0], v) | dot = pygrad.dot([v], [1.0])
take = pygrad.take([v, 1.0], Value(0.0)) | index = pygrad.take([1.0, 2.0], v) | child = Value(1.0, (v,))
local = Value(1.0, (v,), (1.0,)) | prev_of = setattr(Value(1.0), "_prev", (v,)) | roots = pygrad.backward([v])
grad_of = pygrad.grad(v, [Value(1.0)]) | grad_by = pygrad.grad(Value(1.0) * 2, [v])
set_data = setattr(v, "data", 1.0) | set_grad = setattr(v, "grad", 1.0) | set_prev = setattr(v, "_prev", (Value(1.0),))
set_prev_empty = setattr(v, "_prev", ()) | set_closure = setattr(v, "_backward", lambda: None)
freeze = setattr(v, "requires_grad", False) | sgd = pygrad.optim.SGD([v]).step() | copy = copy.copy(v)
pickle = pickle.dumps(v) | explain = pygrad.explain(v, v) | compiled = pygrad.compile(lambda x: x * v)(2.0)
layer = pygrad.nn.Layer(2, 2)([v, v]) | loss = pygrad.functional.mse_loss([v], [1.0]) | picture = pygrad.viz.trace(v)
""".replace("\n", " | ").strip(" |")


def test_a_value_without_a_node_is_refused_everywhere():
    """Each use of a Value whose __init__ never ran is pygrad's RuntimeError; nothing else happens."""
    uses = [use.partition(" = ")[2] for use in WITHOUT_NODE.split(" | ")]
    run(f"""
import copy, pickle
class Own(Value):
    def __init__(self):
        pass
for make in (lambda: Value.__new__(Value), Own, lambda: Own.__new__(Own)):
    for use in {uses!r}:
        v = make()
        try:
            eval(use)
        except RuntimeError as error:
            assert "never initialised" in str(error), (use, error)
        else:
            raise AssertionError(use)
del v
""")
