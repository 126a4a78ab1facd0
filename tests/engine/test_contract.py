"""The contract of `Value`: micrograd's, and what differs from it on purpose.

One section a row of the design's table. Every test runs on both engines.
"""

import copy
import gc
import math
import pickle
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest

from pygrad import engine as c_engine
from pygrad import reference

pytestmark = [pytest.mark.proxy, pytest.mark.wheel]


@pytest.fixture
def ab(Value):
    """Two leaves, 2 and -3."""
    return Value(2.0), Value(-3.0)


# --- constructor ------------------------------------------------------------------------------------------------------


def test_a_new_value_is_a_leaf(Value):
    """`Value(data)` has a float, no gradient, no operands, no op and no label."""
    v = Value(3)

    assert (3.0, 0.0, set(), "", "") == (v.data, v.grad, v._prev, v._op, v.label)
    assert float is type(v.data)
    assert float is type(v.grad)


def test_micrograds_constructor(Value, ab):
    """`Value(data, _children, _op, label)` works by position and by keyword, children in any iterable."""
    for children in (ab, list(ab), set(ab), iter(ab)):
        v = Value(5.0, children, "+", "five")

        assert (5.0, set(ab), "+", "five") == (v.data, v._prev, v._op, v.label)

    v = Value(data=5.0, _children=ab, _op="+", label="five")

    assert (5.0, set(ab), "+", "five") == (v.data, v._prev, v._op, v.label)


@pytest.mark.parametrize("third", [(3.0, 0.5), [3.0, 0.5], (3, Fraction(1, 2))])
def test_local_gradients_as_third_argument(Value, ab, third):
    """A tuple or list as third argument is one local gradient per child."""
    a, b = ab
    Value(7.0, (a, b), third).backward()

    assert (3.0, 0.5) == (a.grad, b.grad)


@pytest.mark.parametrize("children", ["children", "_children"])
@pytest.mark.parametrize("local_grads", ["local_grads", "_local_grads"])
def test_microgpts_keywords(Value, ab, children, local_grads):
    """microgpt's keywords are taken, with and without the underscore."""
    a, b = ab
    v = Value(7.0, **{children: (a, b), local_grads: (3.0, 0.5)})
    v.backward()

    assert {a, b} == v._prev
    assert (3.0, 0.5) == (a.grad, b.grad)


def test_microgpts_default_arguments_make_a_leaf(Value):
    """`Value(data, (), ())` is a leaf."""
    v = Value(7.0, (), ())
    v.backward()

    assert (set(), 1.0) == (v._prev, v.grad)


def test_local_gradients_stay_as_given(Value, ab):
    """Local gradients are numbers of the forward pass: a later change of data does not alter them."""
    a, b = ab
    v = Value(a.data * b.data, (a, b), (b.data, a.data))
    a.data = b.data = 100.0
    v.backward()

    assert (-3.0, 2.0) == (a.grad, b.grad)


def test_local_gradients_of_a_repeated_child_add_up(Value):
    """A child that stands twice gets both its local gradients, times the node's own gradient."""
    a = Value(2.0)
    (Value(5.0, (a, a), (3.0, 4.0)) * 10.0).backward()

    assert 70.0 == a.grad


def test_local_gradients_must_match_the_children(Value, ab):
    """Too few or too many local gradients are a ValueError."""
    for wrong in ((1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(ValueError, match="2 children"):
            Value(1.0, ab, wrong)


@pytest.mark.parametrize("bad", ["1", None, 1j])
def test_local_gradients_must_be_numbers(Value, bad):
    """A local gradient that is no number is a TypeError."""
    a = Value(1.0)

    with pytest.raises(TypeError, match="local gradient"):
        Value(1.0, (a,), (bad,))


@pytest.mark.parametrize("bad", [1.0, "a", None])
def test_children_must_be_values(Value, bad):
    """A child that is no Value is a TypeError that says so."""
    with pytest.raises(TypeError, match="children must be Values"):
        Value(1.0, (Value(2.0), bad))


def test_an_unknown_keyword_is_named(Value):
    """An unknown keyword is a TypeError with its name, as for any function."""
    with pytest.raises(TypeError, match="requires_grad"):
        Value(1.0, requires_grad=True)


# --- numbers ----------------------------------------------------------------------------------------------------------

_NUMBERS = [3, 2.5, True, False, 10**15, Fraction(1, 3), Decimal("0.1"), -0.0, math.inf]


@pytest.mark.parametrize("number", _NUMBERS, ids=repr)
def test_numbers_become_floats(Value, number):
    """int, float, bool, Fraction and Decimal are taken everywhere; data is always a float."""
    v = Value(number)
    w = Value(1.0)
    w.data = number
    w.grad = number

    for kept in (v.data, w.data, w.grad):
        assert float(number) == kept
        assert float is type(kept)
    assert 2.0 + float(number) == (Value(2.0) + number).data
    assert float(number) * 2.0 == (number * Value(2.0)).data


@pytest.mark.parametrize("bad", ["1.5", b"1", bytearray(b"1"), None, 1j, [1.0], (1.0,), {1: 2}, {1}, object(), int])
def test_constructor_refuses_what_is_no_number(Value, bad):
    """Anything but a real number is a TypeError that names what it got."""
    with pytest.raises(TypeError, match=rf"real number, not {type(bad).__name__}"):
        Value(bad)


@pytest.mark.parametrize("bad, advice", [("1.5", "float"), (1j, "real"), ([1.0], r"Value\(x\) for x")])
def test_refusal_says_what_to_do(Value, bad, advice):
    """The TypeError says what to write instead."""
    with pytest.raises(TypeError, match=advice):
        Value(bad)


def test_constructor_refuses_a_value(Value):
    """`Value(Value(1))` is a TypeError that points to `.data`."""
    with pytest.raises(TypeError, match=r"\.data"):
        Value(Value(1.0))


@pytest.mark.parametrize("bad", ["1.5", None, 1j, [1.0]])
@pytest.mark.parametrize("attribute", ["data", "grad"])
def test_data_and_grad_refuse_what_is_no_number(Value, attribute, bad):
    """Setting data or grad to no number is a TypeError and changes nothing."""
    v = Value(1.5)
    v.grad = 2.5

    with pytest.raises(TypeError):
        setattr(v, attribute, bad)
    assert (1.5, 2.5) == (v.data, v.grad)


_OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


@pytest.mark.parametrize("operator", _OPERATORS)
@pytest.mark.parametrize("bad", [None, "1", b"1", 1j, [1.0], (1.0,), {}], ids=repr)
def test_operators_refuse_mistakes(Value, operator, bad):
    """None, text, complex numbers and containers are a TypeError on either side of every operator."""
    v = Value(1.0)
    for left, right in ((v, bad), (bad, v)):
        with pytest.raises(TypeError, match="operand must be a Value or a real number"):
            _OPERATORS[operator](left, right)

    assert (1.0, 0.0) == (v.data, v.grad)


@pytest.mark.parametrize("operator", _OPERATORS)
def test_operators_leave_foreign_types_their_turn(Value, operator):
    """For any other type an operator returns NotImplemented, so its reflected method answers."""

    class Foreign:
        def answer(self, other):
            return "mine"

        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rpow__ = answer

    v = Value(1.0)

    assert "mine" == _OPERATORS[operator](v, Foreign())
    with pytest.raises(TypeError, match="unsupported operand"):
        _OPERATORS[operator](v, object())


@pytest.mark.parametrize("name", ["__len__", "__iter__", "__array__", "__array_ufunc__"])
def test_what_a_value_must_not_have(Value, name):
    """A Value is no sequence or array: nothing detaches it in silence. (No number: test_truth.py.)"""
    assert not hasattr(Value, name)
    assert not hasattr(Value(1.0), name)


def test_no_silent_detach(Value):
    """float(v) and math functions are a TypeError; `.data` and `.item()` give the float."""
    v = Value(1.5)
    for convert in (float, int, math.exp, list, len):
        with pytest.raises(TypeError):
            convert(v)

    assert 1.5 == v.item()
    assert float is type(v.item())


@pytest.mark.parametrize("children", [5, None, 2.5, object(), "v"], ids=["int", "None", "float", "object", "a Value"])
def test_children_that_are_no_tuple(Value, children):
    """The error says what is needed, by whichever name they are given; nothing has changed."""
    v = Value(1.0)
    children = v if children == "v" else children
    words = f"children must be a tuple of Values, not {type(children).__name__}"
    if children is not None:  # None: no children, as in micrograd
        for keywords in ({"_children": children}, {"children": children}):
            with pytest.raises(TypeError, match=words):
                Value(1.0, **keywords)
    with pytest.raises(TypeError, match=words):
        v._prev = children
    assert (set(), 1.0) == (v._prev, v.data)


@pytest.mark.parametrize("local_grads", [5, 2.5, object()])
def test_local_grads_that_are_no_tuple(Value, local_grads):
    with pytest.raises(TypeError, match="local_grads must be a tuple of numbers, not"):
        Value(1.0, (Value(2.0),), local_grads=local_grads)


def test_children_may_be_anything_with_items(Value):
    """A list, a set, the keys of a dict, a generator; an error within a generator is its own."""
    v = Value(1.0)
    for children in ([v], {v}, {v: 1}, (x for x in [v])):
        assert {v} == Value(2.0, children)._prev

    def broken():
        yield v
        raise TypeError("mine")

    with pytest.raises(TypeError, match="^mine$"):
        Value(2.0, broken())


# --- labels and operands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compute, label, operands",
    [
        (lambda a, b: a + b, "+", 2),
        (lambda a, b: a + 1, "+", 2),
        (lambda a, b: a * b, "*", 2),
        (lambda a, b: 2 * a, "*", 2),
        (lambda a, b: a - b, "-", 2),
        (lambda a, b: 1 - b, "-", 2),
        (lambda a, b: a / b, "/", 2),
        (lambda a, b: 1 / b, "/", 2),
        (lambda a, b: -a, "neg", 1),
        (lambda a, b: a**3, "**3", 1),
        (lambda a, b: a**2, "**2", 1),
        (lambda a, b: a**-1, "**-1", 1),
        (lambda a, b: a**7, "**7", 1),
        (lambda a, b: a**0.5, "**0.5", 1),
        (lambda a, b: a**b, "**", 2),
        (lambda a, b: 2**b, "**", 2),
        (lambda a, b: a.relu(), "ReLU", 1),
        (lambda a, b: a.tanh(), "tanh", 1),
        (lambda a, b: a.exp(), "exp", 1),
        (lambda a, b: a.log(), "log", 1),
        (lambda a, b: a.sigmoid(), "sigmoid", 1),
        (lambda a, b: a.sqrt(), "sqrt", 1),
        (lambda a, b: a.sin(), "sin", 1),
        (lambda a, b: a.cos(), "cos", 1),
        (lambda a, b: abs(a), "abs", 1),
        (lambda a, b: a + a, "+", 1),
    ],
)
def test_op_labels(ab, compute, label, operands):
    """Each op is one node with micrograd's label and its operands; a number is an operand of its own."""
    out = compute(*ab)

    assert label == out._op
    assert operands == len(out._prev)
    assert out._prev & set(ab)


def test_prev_is_a_new_set_of_the_same_objects(ab):
    """`_prev` gives a new set each time, always of the same objects."""
    a, b = ab
    c = a * b
    c._prev.clear()

    assert {a, b} == c._prev
    assert c._prev is not c._prev


def test_the_constant_of_an_op_keeps_its_identity(Value):
    """The constant of `a * 2.5` is one Value, the same object each time one asks, and keeps what is hung on it."""
    a = Value(2.0)
    c = a * 2.5
    (constant,) = c._prev - {a}
    constant.label = "slope"
    del constant
    gc.collect()
    (constant,) = c._prev - {a}

    assert (2.5, "slope", "", set()) == (constant.data, constant.label, constant._op, constant._prev)
    c.backward()
    assert 2.0 == constant.grad
    constant.data = 10.0
    a.grad = 0.0
    c.backward()
    assert 10.0 == a.grad


def test_operands_live_as_long_as_their_consumer(ab):
    """An intermediate that the program dropped keeps its label and attributes, and is found through `_prev`."""
    a, b = ab
    c = a * b
    c.label, c.note = "product", [1]
    d = c.tanh()
    del c
    gc.collect()
    (c,) = d._prev

    assert ("product", [1], -6.0) == (c.label, c.note, c.data)


# --- attributes -------------------------------------------------------------------------------------------------------


def test_data_and_grad_are_settable(ab):
    """data and grad may be assigned and updated in place, on leaves and on results."""
    a, b = ab
    c = a * b
    for v in (a, c):
        v.data = 7
        v.data += 0.5
        v.grad = 1
        v.grad -= 0.25

        assert (7.5, 0.75) == (v.data, v.grad)


def test_label_and_free_attributes(ab):
    """label is '' at first; it and any other attribute may be set, read and deleted."""
    a, b = ab
    for v in (a, a + b):
        v.label = "x"
        v.momentum = {"m": 1}

        assert ("x", {"m": 1}) == (v.label, v.momentum)
        del v.momentum
        with pytest.raises(AttributeError, match="momentum"):
            v.momentum  # noqa: B018


def test_op_label_is_settable(ab):
    """`_op` may be renamed; that alters no gradient."""
    a, b = ab
    c = a * b
    c._op = "times"
    c.backward()

    assert "times" == c._op
    assert (-3.0, 2.0) == (a.grad, b.grad)


def test_weak_references(ab):
    """Weak references work and die with the Value."""
    a, b = ab
    c = a * b
    seen = weakref.ref(c)
    keyed = weakref.WeakKeyDictionary({c: 1})

    assert c is seen()
    del c
    gc.collect()
    assert seen() is None
    assert not keyed


def test_graphs_are_freed_at_once(ab):
    """Without the cycle collector a dropped graph is gone at once."""
    a, b = ab
    gc.disable()
    try:
        c = (a * b).tanh()
        c.backward()
        (inner,) = map(weakref.ref, c._prev)
        del c

        assert inner() is None
    finally:
        gc.enable()


# --- mutation ---------------------------------------------------------------------------------------------------------


def test_prev_may_be_assigned_on_an_unused_leaf(Value, ab):
    """`_prev` assigned on a childless Value makes it a node whose `_backward` is the user's."""
    a, b = ab
    out = Value(6.0)
    out.grad = 0.5
    out._prev = {a, b}
    out._op = "mine"

    assert ({a, b}, "mine", 6.0, 0.5) == (out._prev, out._op, out.data, out.grad)

    def backward():
        a.grad += 10.0 * out.grad
        b.grad += 20.0 * out.grad

    out._backward = backward
    (out * 2.0).backward()

    assert (20.0, 40.0) == (a.grad, b.grad)


def test_prev_without_a_closure_propagates_nothing(Value, ab):
    """Assigned operands alone pass no gradient on."""
    a, b = ab
    out = Value(6.0)
    out._prev = (a, b)
    out.backward()

    assert (0.0, 0.0, 1.0) == (a.grad, b.grad, out.grad)


def test_prev_is_fixed_once_it_matters(Value, ab):
    """`_prev` of a result, of a custom node or of a used leaf raises AttributeError and changes nothing."""
    a, b = ab
    c = a * 2.0
    custom = Value(1.0, (a,), "mine")
    before = [v._prev for v in (c, custom, a)]
    for v in (c, custom, a):
        with pytest.raises(AttributeError, match="_children"):
            v._prev = {b}

    assert before == [v._prev for v in (c, custom, a)]
    c.backward()
    assert 2.0 == a.grad


@pytest.mark.parametrize("bad", [(1.0,), "ab", None, 5])
def test_prev_must_be_values(Value, bad):
    """Anything but Values is a TypeError, and the Value stays a leaf."""
    v = Value(1.0)

    with pytest.raises(TypeError):
        v._prev = bad
    assert set() == v._prev
    copy.copy(v)


def test_backward_must_be_callable(Value):
    """`_backward` refuses what cannot be called, and keeps what it had."""
    v = Value(1.0)
    w = v * 2.0

    with pytest.raises(TypeError):
        w._backward = 3.0
    w.backward()
    assert 2.0 == v.grad


def test_init_again_writes_a_leafs_data(Value):
    """`__init__` called again on a leaf sets its data; who uses the leaf sees it."""
    a = Value(2.0)
    b = a * a
    a.__init__(5.0)
    b.backward()

    assert (5.0, 10.0) == (a.data, a.grad)


def test_init_again_on_a_result_raises(Value, ab):
    """`__init__` called on an interior node, or with children on what exists, raises and changes nothing."""
    a, b = ab
    c = a * b
    for again in (lambda: c.__init__(1.0), lambda: c.__init__(1.0, (a,)), lambda: a.__init__(1.0, (b,))):
        with pytest.raises(RuntimeError):
            again()
    c.backward()

    assert (-6.0, 2.0, -3.0, 2.0) == (c.data, a.data, a.grad, b.grad)


def test_a_value_never_initialised_raises_at_first_use(Value):
    """A Value whose `__init__` never ran raises RuntimeError that says so, whatever is done with it."""

    class Forgetful(Value):
        def __init__(self):
            pass

    v = Forgetful()
    ok = Value(1.0)
    uses = [
        lambda: v.data,
        lambda: v.grad,
        lambda: setattr(v, "data", 1.0),
        lambda: setattr(v, "grad", 1.0),
        lambda: v + 1,
        lambda: ok * v,
        lambda: v.tanh(),
        lambda: v.backward(),
        lambda: v._prev,
        lambda: v._backward,
        lambda: v < 1.0,
        lambda: repr(v),
        lambda: copy.copy(v),
        lambda: v.detach(),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="never initialised"):
            use()

    Value.__init__(v, 2.0)
    assert 3.0 == (v + 1).data


def test_a_failed_init_leaves_nothing(Value):
    """A Value whose `__init__` failed is as one whose `__init__` never ran."""
    v = Value.__new__(Value)

    with pytest.raises(TypeError):
        v.__init__("no")
    with pytest.raises(RuntimeError, match="never initialised"):
        v.data  # noqa: B018


def test_children_without_backward_propagate_nothing(Value, ab):
    """`Value(x, (a, b), '+')` without `_backward` passes nothing on, whatever its `_op` says."""
    a, b = ab
    for op in ("+", "*", "tanh", "mine", ""):
        out = Value(5.0, (a, b), op)
        out.backward()

        assert op == out._op
        assert (0.0, 0.0, 1.0) == (a.grad, b.grad, out.grad)


# --- custom ops by patching and subclassing (closures: test_custom_ops.py) --------------------------------------------


def test_methods_may_be_added_from_outside(Value, monkeypatch):
    """A method hung on the class works as the lecture's own."""

    def cubed_relu(self):
        out = Value(max(self.data, 0.0) ** 3, (self,), "cubed_relu")

        def _backward():
            self.grad += 3.0 * max(self.data, 0.0) ** 2 * out.grad

        out._backward = _backward
        return out

    monkeypatch.setattr(Value, "cubed_relu", cubed_relu, raising=False)
    v = Value(2.0)
    (v.cubed_relu() * 10.0).backward()

    assert 120.0 == v.grad


def test_methods_may_be_replaced(Value, monkeypatch):
    """A replaced method or operator is used, through the operators that micrograd builds on it as well."""
    original = Value.__mul__
    calls = []

    def counting(self, other):
        calls.append(other)
        return original(self, other)

    monkeypatch.setattr(Value, "__mul__", counting)
    monkeypatch.setattr(Value, "relu", lambda self: self * 100.0)
    v = Value(2.0)
    w = 3.0 * v

    assert (6.0, [3.0]) == (w.data, calls)
    assert 200.0 == v.relu().data


def test_subclass_results_are_plain_values(Value):
    """A subclass is a leaf as any other, with methods and state of its own; results are Values, as micrograd's."""

    class Parameter(Value):
        def __init__(self, data, name):
            super().__init__(data)
            self.name = name

        def double(self):
            return self * 2.0

    p, q = Parameter(3.0, "p"), Value(4.0)
    results = [p + q, q + p, p * p, p.double(), -p, p**2, 2.0 - p, p.tanh(), p.detach()]

    assert [Value] * len(results) == [type(r) for r in results]
    results[2].backward()
    assert ("p", 6.0) == (p.name, p.grad)
    assert {p} == results[2]._prev


def test_a_subclass_may_override_an_operator(Value):
    """A subclass's own operators and reflected operators are used."""

    class Loud(Value):
        def __add__(self, other):
            return "add"

        def __radd__(self, other):
            return "radd"

    assert "add" == Loud(1.0) + Value(1.0)
    assert "radd" == Value(1.0) + Loud(1.0)
    assert "radd" == 1.0 + Loud(1.0)


def test_a_subclass_may_build_custom_nodes(Value):
    """A subclass built with children is a node in the graph, its closure runs."""

    class Node(Value):
        pass

    a = Value(2.0)
    node = Node(8.0, (a,), "node")

    def _backward():
        a.grad += 7.0 * node.grad

    node._backward = _backward
    (node * 3.0).backward()

    assert 21.0 == a.grad


# --- backward ---------------------------------------------------------------------------------------------------------


def test_leaves_accumulate(Value):
    """Leaves add up over sweeps and over roots until their grad is set to 0."""
    a = Value(3.0)
    (a * 2.0).backward()
    (a * a).backward()

    assert 8.0 == a.grad
    a.grad = 0
    (a * 2.0).backward()
    assert 2.0 == a.grad


def test_interior_gradients_start_at_zero(ab):
    """backward() twice is right: leaves get twice their gradient, interior nodes once (micrograd: more)."""
    a, b = ab
    c = a * b
    d = c * c
    d.backward()
    d.backward()

    assert (1.0, 2 * -6.0) == (d.grad, c.grad)
    assert (2 * -12.0 * -3.0, 2 * -12.0 * 2.0) == (a.grad, b.grad)


def test_a_sweep_touches_only_what_the_root_reaches(ab):
    """Nodes beside and above the root keep their gradients."""
    a, b = ab
    c = a * b
    beside, above = a + b, c.tanh()
    beside.grad = above.grad = 0.125
    c.backward()

    assert (0.125, 0.125) == (beside.grad, above.grad)


def test_a_leaf_as_root(Value):
    """backward() on a leaf sets its grad to 1, each time."""
    a = Value(3.0)
    a.grad = 5.0
    a.backward()
    a.backward()

    assert 1.0 == a.grad


def test_backward_returns_none_and_takes_nothing(Value):
    """backward() returns None, as micrograd's."""
    assert (Value(1.0) * 2.0).backward() is None


def test_data_changed_after_forward_is_read_as_it_is(Value):
    """The sweep reads operands' data at the time of the sweep; results are not recomputed."""
    a, b = Value(2.0), Value(5.0)
    c = a * b
    b.data = 7.0
    c.backward()

    assert (10.0, 7.0, 2.0) == (c.data, a.grad, b.grad)
    d = a**2
    a.data, a.grad = 10.0, 0.0
    d.backward()
    assert 20.0 == a.grad


def test_results_read_by_their_own_slope_are_read_as_they_are(Value):
    """exp and tanh pass on a slope made of their result's data, as it is at the sweep."""
    a = Value(0.3)
    e, t = a.exp(), a.tanh()
    e.data, t.data = 10.0, 0.5
    e.backward()

    assert 10.0 == a.grad
    a.grad = 0.0
    t.backward()
    assert 0.75 == a.grad


# --- comparison and text ----------------------------------------------------------------------------------------------


def test_equality_and_hash_are_identity(Value):
    """Equal data does not make equal Values: they are members of sets and keys of dicts."""
    a, b = Value(1.0), Value(1.0)

    assert a == a  # noqa: PLR0124
    assert a != b
    assert a != 1.0
    assert 2 == len({a, b, a})
    assert "a" == {a: "a", b: "b"}[a]
    assert hash(a) == hash(a)


def test_order_is_by_data(Value):
    """< <= > >= compare data, with Values and with numbers on either side; max and sorted follow."""
    a, b = Value(1.0), Value(2.0)

    assert [True, True, False, False] == [a < b, a <= b, a > b, a >= b]
    assert [True, True, False, False] == [a < 2, a <= 1.0, a > Fraction(1), a >= 1.5]
    assert [True, True, False, False] == [0 < a, 1.0 <= a, 2 > b, 1 >= b]
    assert [False, True, False, True] == [a < a, a <= a, a > a, a >= a]  # noqa: PLR0124
    assert b is max([a, b])
    assert [a, b] == sorted([b, a])


def test_order_with_nan_is_false(Value):
    """Every comparison with a nan is False, as for floats."""
    nan, one = Value(math.nan), Value(1.0)

    assert not any([nan < one, nan <= one, nan > one, nan >= one, one < nan, one < math.nan])


@pytest.mark.parametrize("bad", ["1", None, 1j, [1.0], object()])
def test_order_refuses_what_is_no_number(Value, bad):
    """Ordering against what is no number is a TypeError."""
    with pytest.raises(TypeError):
        Value(1.0) < bad  # noqa: B015


def test_a_value_is_true(Value):
    """bool(v) is True, whatever its data."""
    assert all([Value(0.0), Value(-1.0), Value(math.nan)])


def test_repr(Value):
    """repr is micrograd's."""
    v = Value(2)
    (v * 0.5).backward()

    assert "Value(data=2.0, grad=0.5)" == repr(v) == str(v) == f"{v}"
    assert "Value(data=nan, grad=0.0)" == repr(Value(math.nan))


def test_format(Value):
    """A format spec applies to the data; a wrong one is a ValueError."""
    v = Value(3.14159)

    assert "3.142" == f"{v:.3f}"
    assert "  +3.1e+00" == format(v, "+10.1e")
    with pytest.raises(ValueError, match="format"):
        f"{v:s}"


# --- copies -----------------------------------------------------------------------------------------------------------

_COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle{n}": lambda v, n=n: pickle.loads(pickle.dumps(v, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("clone", _COPIES.values(), ids=_COPIES)
def test_copies_of_leaves_are_new_leaves(Value, clone):
    """copy, deepcopy and pickle of a leaf give a new leaf with its data, grad, label and attributes."""
    v = Value(0.1, label="w")
    v.grad, v.note = 2.5, [1, 2]
    w = clone(v)

    assert w is not v
    assert type(v) is type(w)
    assert (0.1, 2.5, "w", [1, 2], set()) == (w.data, w.grad, w.label, w.note, w._prev)
    (w * 3.0).backward()
    assert (5.5, 2.5) == (w.grad, v.grad)


@pytest.mark.parametrize("clone", _COPIES.values(), ids=_COPIES)
def test_copies_of_results_are_refused(Value, ab, clone):
    """An interior node or a custom one is a TypeError that names `.detach()`."""
    a, b = ab
    for v in (a * b, Value(1.0, (a,), "mine")):
        with pytest.raises(TypeError, match=r"\.detach\(\)"):
            clone(v)


def test_deepcopy_keeps_shared_leaves_shared(Value):
    """A model cloned by deepcopy or pickle keeps one leaf one leaf."""
    a = Value(1.0)
    model = {"w": a, "tied": [a, Value(2.0)]}
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert clone["w"] is clone["tied"][0]
        assert clone["w"] is not a


class Parameter(reference.Value):
    """A subclass at module level, as pickle needs it."""


class CParameter(c_engine.Value):
    """The same on the C engine."""


@pytest.mark.parametrize("cls", [Parameter, CParameter])
@pytest.mark.parametrize("clone", _COPIES.values(), ids=_COPIES)
def test_copies_keep_the_subclass(cls, clone):
    """A copied leaf of a subclass is of the subclass."""
    v = cls(3.0)
    v.name = "w"
    w = clone(v)

    assert (cls, 3.0, "w") == (type(w), w.data, w.name)


def test_detach(ab):
    """detach() gives a new leaf with the same data, out of the graph."""
    a, b = ab
    c = a * b
    d = c.detach()
    (d * 2.0).backward()

    assert (-6.0, set(), "") == (d.data, d._prev, d._op)
    assert (2.0, 0.0) == (d.grad, a.grad)


# --- in one house -----------------------------------------------------------------------------------------------------


def test_engines_do_not_mix(Value):
    """A Value of another engine is no operand: TypeError, not a wrong graph."""
    other = next(e.Value for e in (reference, c_engine) if e.Value is not Value) if _two_engines() else None
    if other is None:
        pytest.skip("the stand-in engine is the reference")
    with pytest.raises(TypeError):
        Value(1.0) + other(1.0)
    with pytest.raises(TypeError):
        Value(1.0, (other(1.0),))


@pytest.mark.skipif(c_engine.Value is reference.Value, reason="the stand-in engine is the reference")
def test_values_say_where_they_live():
    """`Value` names its module, so that pickles of both proxies cross."""
    assert "pygrad.engine" == c_engine.Value.__module__
    assert "pygrad.reference" == reference.Value.__module__
    assert "Value" == c_engine.Value.__qualname__ == c_engine.Value.__name__


def _two_engines():
    return c_engine.Value is not reference.Value


# --- what earlier versions got wrong ----------------------------------------------------------------------------------


def test_a_subclass_with_a_finaliser_gives_its_node_back():
    """A subclass whose __del__ does not call Value's own leaks nothing, and its __del__ still runs."""
    finalised = []

    class Tracked(c_engine.Value):
        def __del__(self):
            finalised.append(self.data)

    before = c_engine.live_nodes()
    Tracked(3.0)
    gc.collect()

    assert [3.0] == finalised
    assert before == c_engine.live_nodes()


def test_assigning_no_operands_leaves_a_leaf(Value):
    """`self._prev = set(_children)` of a Value without children leaves it a leaf, which accumulates."""
    v = Value(2.0)
    v._prev = set()
    out = v * 2.0
    out.backward()
    out.backward()

    assert 4.0 == v.grad


def test_a_value_cannot_be_its_own_operand(Value):
    """`v._prev = {v}` is refused, and v is what it was."""
    v = Value(2.0)
    with pytest.raises(ValueError, match="own operand"):
        v._prev = {v}

    assert set() == v._prev


@pytest.mark.parametrize("start", [None, "", [], ()])
def test_a_start_that_is_no_number_is_refused(engine, start):
    """A falsy start of a sum is refused like any other that is no number."""
    with pytest.raises(TypeError):
        engine.sum([engine.Value(1.0)], start)


def test_negative_zero_survives_start_and_bias(engine):
    """A sum begins with its start and a dot with its bias, as the unfused sums do, the sign of zero included."""
    assert -1.0 == math.copysign(1.0, engine.sum([engine.Value(-0.0)], -0.0).data)
    assert -1.0 == math.copysign(1.0, engine.dot([engine.Value(-0.0)], [1.0], -0.0).data)
    assert 1.0 == math.copysign(1.0, engine.sum([engine.Value(-0.0)]).data)


@pytest.mark.parametrize(
    "op, before, after",
    [
        (lambda a: 1.0 / a, 2.0, 4.0),
        (lambda a: a**-1, 2.0, 4.0),
        (lambda a: a**2, 2.0, 4.0),
        (lambda a: a.relu(), 2.0, -2.0),
        (lambda a: a * a, 2.0, 4.0),
    ],
)
def test_data_set_after_the_forward_pass_is_read_as_in_micrograd(Value, op, before, after):
    """What backward() makes of data that was set after the forward pass is what micrograd makes of it."""
    grads = []
    for kind in (Value, pytest.importorskip("micrograd.engine").Value):
        a = kind(before)
        out = op(a)
        a.data = after
        out.backward()
        grads.append(a.grad)

    assert grads[1] == grads[0]


def test_private_state_has_no_attribute_names(Value):
    """An attribute of the user's, whatever its name, is not mistaken for the engine's own."""
    a = Value(2.0)
    out = a * 3.0
    for name in ("_closure", "_op_name", "_made_at", "closure", "op"):
        setattr(out, name, lambda: 1 / 0)
    out.backward()

    assert ("*", 3.0) == (out._op, a.grad)
