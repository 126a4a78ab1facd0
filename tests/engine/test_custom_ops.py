"""Ops of the user's own: a node with operands, and a closure assigned to its `_backward`.

The sweep hands such a node to Python at the right moment: after all its consumers, before its operands. What the
closure does there is its own affair: it may build graphs, sweep other graphs, raise.
"""

import contextlib
import gc
import math
import weakref

import pytest

pytestmark = pytest.mark.proxy


def lecture_tanh(Value, x):
    """The lecture's tanh: data by `math`, gradient by a closure."""
    t = (math.exp(2 * x.data) - 1) / (math.exp(2 * x.data) + 1)
    out = Value(t, (x,), "tanh")

    def _backward():
        x.grad += (1 - t**2) * out.grad

    out._backward = _backward
    return out


def custom(Value, data, children, then=lambda: None):
    """A node that passes 1 * its gradient to each child and then does what it is told."""
    out = Value(data, children, "custom")

    def _backward():
        for child in children:
            child.grad += out.grad
        then()

    out._backward = _backward
    return out


def assert_usable(Value, *graph):
    """The engine still builds and sweeps, and the old graph's Values serve in a new one."""
    a = Value(3.0)
    (a * a).backward()
    assert 6.0 == a.grad
    for v in graph:
        a.grad = 0.0
        (v * a).backward()
        assert v.data == a.grad


# --- the right moment -------------------------------------------------------------------------------------------------


def test_the_lectures_closure(Value):
    """A tanh written as in the lecture gives the built-in's gradient, in the middle of a graph."""
    for x in (-1.3, 0.0, 0.8):
        a, b = Value(x), Value(x)
        (lecture_tanh(Value, a * 2.0) * 3.0).backward()
        ((b * 2.0).tanh() * 3.0).backward()

        assert b.grad == pytest.approx(a.grad, rel=1e-14)


def test_a_closure_sees_its_whole_gradient(Value):
    """A closure runs once, after all consumers; what it passes on is passed on further."""
    a = Value(2.0)
    b = a * 5.0
    seen = []
    c = custom(Value, 1.0, (b,), lambda: seen.append(c.grad))
    (c * 2.0 + c * 3.0 + c).backward()

    assert [6.0] == seen
    assert 30.0 == a.grad


def test_closures_run_from_the_root_down(Value):
    """Closures run consumers first, built-in nodes between them."""
    a, order = Value(1.0), []
    v = a
    for i in range(5):
        v = custom(Value, 1.0, (v * 2.0,), lambda i=i: order.append(i)) * 1.0
    v.backward()

    assert [4, 3, 2, 1, 0] == order
    assert 2.0**5 == a.grad


def test_a_closure_replaces_the_built_in_derivative(Value):
    """`_backward` assigned on an ordinary result is what the sweep calls."""
    a, b = Value(2.0), Value(3.0)
    c = a * b

    def straight_through():
        a.grad += 100.0 * c.grad

    c._backward = straight_through
    (c + 1).backward()

    assert (100.0, 0.0) == (a.grad, b.grad)


def test_a_closure_may_wrap_the_built_in(Value):
    """The old `_backward` can be kept and called from the new one, as hooks do."""
    a, seen = Value(2.0), []
    c = a * 3.0
    inner = c._backward

    def hooked():
        seen.append(c.grad)
        inner()

    c._backward = hooked
    (c * 10.0).backward()

    assert [10.0] == seen
    assert 30.0 == a.grad


def test_a_closure_on_the_root(Value):
    """A custom root gets grad 1 and runs first."""
    a = Value(2.0)
    root = custom(Value, 4.0, (a * a,))
    root.backward()
    root.backward()

    assert (1.0, 8.0) == (root.grad, a.grad)


def test_a_closure_on_a_leaf_runs_last(Value):
    """A leaf's closure runs when its gradient is whole, after every interior node, however old the leaf."""
    order = []
    a = Value(2.0)
    a._backward = lambda: order.append(("leaf", a.grad))
    b = custom(Value, 1.0, (a,), lambda: order.append(("node", a.grad)))
    (b * a + a).backward()

    assert [("node", 4.0), ("leaf", 4.0)] == order
    order.clear()
    young = Value(1.0)
    young._backward = lambda: order.append(("young", young.grad))
    (b * young).backward()
    assert {"young", "leaf"} == {name for name, _ in order[1:]}
    assert "node" == order[0][0]


def test_a_closure_on_a_leaf_as_root(Value):
    """backward() on a leaf with a closure runs it, with grad 1."""
    a, seen = Value(2.0), []
    a._backward = lambda: seen.append(a.grad)
    a.backward()

    assert [1.0] == seen


def test_closures_in_the_middle_of_a_sum(engine):
    """Custom nodes among the operands of one fused sum or dot get their share and pass it on."""
    Value = engine.Value
    leaves = [Value(float(i)) for i in range(200)]
    terms = [custom(Value, v.data, (v,)) if i % 3 == 1 else v * 2.0 for i, v in enumerate(leaves)]
    (engine.sum(terms) * 5.0).backward()

    assert [5.0 if i % 3 == 1 else 10.0 for i in range(200)] == [v.grad for v in leaves]

    a = Value(2.0)
    node = custom(Value, 4.0, (a,))
    engine.dot([node, 3.0], [7.0, node], node).backward()
    assert 11.0 == a.grad


def test_one_child_twice(Value):
    """A custom node over (a, a) has one operand, as micrograd's set, and its closure both shares."""
    a = Value(2.0)
    c = custom(Value, 4.0, (a, a))
    c.backward()

    assert {a} == c._prev
    assert 2.0 == a.grad


def test_closures_and_local_gradients_mix(Value):
    """A microgpt node under a lecture node under a built-in one: one graph."""
    a = Value(2.0)
    given = Value(6.0, (a,), (3.0,))
    (custom(Value, 6.0, (given,)) * 4.0).backward()

    assert 12.0 == a.grad


def test_a_closure_that_does_nothing_stops_the_gradient(Value):
    """Below a closure that passes nothing on, interior gradients are 0 and leaves keep theirs."""
    a = Value(2.0)
    b = a * 3.0
    b.grad = 99.0
    c = Value(1.0, (b,), "stop")
    c._backward = lambda: None
    c.backward()

    assert (0.0, 0.0) == (b.grad, a.grad)


def test_a_deep_chain_of_closures(Value):
    """10^4 closures in a row need no recursion."""
    a = v = Value(1.0)
    for _ in range(10_000):
        v = custom(Value, 1.0, (v,))
    v.backward()

    assert 1.0 == a.grad


# --- what a closure may do --------------------------------------------------------------------------------------------


def test_a_closure_may_build_graphs(engine):
    """A closure that computes on Values, thousands of them, disturbs nothing."""
    Value = engine.Value
    a, kept = Value(2.0), []

    def build():
        v = Value(0.0)
        for i in range(3_000):
            v = v + a * i
        kept.append(engine.sum([v, v]))

    b = custom(Value, 4.0, (a * a,), build)
    (b * 3.0 + b).backward()

    assert 16.0 == a.grad
    kept[0].backward()
    assert 16.0 + 2 * sum(range(3_000)) == a.grad


def test_a_closure_may_sweep_another_graph(Value):
    """A closure that sweeps a graph of its own, over shared leaves, adds to them as any sweep."""
    a = Value(2.0)

    def sweep():
        (a * 10.0).backward()

    b = custom(Value, 4.0, (a * a,), sweep)
    (b * 3.0).backward()

    assert 3.0 * 4.0 + 10.0 == a.grad


def test_a_closure_may_sweep_older_and_newer_closures(Value):
    """Sweeps nest: a closure sweeps a graph whose closure sweeps a third."""
    a = Value(2.0)
    inner = custom(Value, 1.0, (a * 1.0,), lambda: (a * 100.0).backward())
    outer = custom(Value, 1.0, (a * 1.0,), lambda: (inner * 10.0).backward())
    outer.backward()

    assert 1.0 + 10.0 + 100.0 == a.grad


def test_an_exception_in_a_closure_propagates(Value):
    """An exception leaves backward() as it is; everything is usable afterwards, the same root included."""
    a = Value(2.0)
    broken = [True]

    def fail():
        if broken:
            raise LookupError("on purpose")

    b = a * a
    c = custom(Value, 4.0, (b,), fail)
    root = c * 3.0 + b

    with pytest.raises(LookupError, match="on purpose"):
        root.backward()
    assert_usable(Value, a, b)
    broken.clear()
    assert_usable(Value, c, root)
    a.grad = 0.0
    root.backward()
    assert 16.0 == a.grad


def test_keyboard_interrupt_in_a_closure(Value):
    """An interrupt in a closure propagates too and blocks nothing."""
    a = Value(2.0)

    def interrupt():
        raise KeyboardInterrupt

    c = custom(Value, 4.0, (a * a,), interrupt)

    with pytest.raises(KeyboardInterrupt):
        c.backward()
    with pytest.raises(KeyboardInterrupt):
        (c * 2.0).backward()
    assert_usable(Value, a)


def test_a_sweep_over_a_running_one_is_refused(Value):
    """A closure that sweeps a graph sharing interior nodes with its own gets RuntimeError; both stay usable."""
    a = Value(2.0)
    b = a * a
    other = b * 5.0
    errors = []

    def clash():
        other.grad = 0.125
        with pytest.raises(RuntimeError) as caught:
            other.backward()
        errors.append(str(caught.value))
        assert 0.125 == other.grad  # refused before anything was set

    c = custom(Value, 1.0, (b,), clash)
    root = c * 3.0
    root.backward()

    assert 1 == len(errors)
    assert 12.0 == a.grad
    a.grad = 0.0
    other.backward()
    assert 20.0 == a.grad
    root.backward()
    assert 32.0 == a.grad


def test_a_closure_may_not_sweep_its_own_root(Value):
    """Sweeping the running root again is that RuntimeError, and it propagates when the closure lets it."""
    a = Value(2.0)
    b = a * 1.0
    c = custom(Value, 1.0, (b,), lambda: root.backward())
    root = c * 3.0

    with pytest.raises(RuntimeError):
        root.backward()
    assert_usable(Value, a, b)


def test_nodes_are_released_after_a_refused_sweep(Value):
    """After the refusal was raised through, a sweep from any part of the graph works."""
    a = Value(2.0)
    b = a * a
    c = custom(Value, 1.0, (b,), lambda: b.backward())

    with pytest.raises(RuntimeError):
        c.backward()
    a.grad = 0.0
    b.backward()
    assert 4.0 == a.grad


def test_a_closure_may_delete_references(Value):
    """A closure that drops the last names of graphs, its own consumers among them, breaks nothing."""
    a = Value(2.0)
    names = {"unrelated": (a * 3.0).tanh() * 2.0}
    names["node"] = custom(Value, 4.0, (a * a,), names.clear)
    names["consumer"] = names["node"] * 3.0
    names["root"] = names["consumer"] + names["node"]
    names["root"].backward()

    assert {} == names
    assert 16.0 == a.grad


def test_a_closure_may_collect_garbage(Value):
    """gc.collect() in a closure, with cyclic garbage of Values about, breaks nothing."""
    a = Value(2.0)
    for _ in range(100):
        junk = a * 3.0
        junk.me = junk
    del junk
    c = custom(Value, 4.0, (a * a,), gc.collect)
    (c * 3.0).backward()

    assert 12.0 == a.grad


def test_a_closure_may_make_custom_nodes(Value):
    """In a closure, `_prev` and `_backward` of a fresh Value may be assigned, and it may be swept."""
    a = Value(2.0)

    def define():
        fresh = Value(1.0)
        fresh._prev = {a}
        fresh._backward = lambda: setattr(a, "grad", a.grad + 50.0 * fresh.grad)
        fresh.backward()

    c = custom(Value, 4.0, (a * a,), define)
    c.backward()

    assert 54.0 == a.grad


def test_a_closure_may_not_alter_the_running_graph(Value):
    """In a closure, `_prev` of the graph's nodes stays fixed; a new `_backward` holds at the latest next time."""
    a = Value(2.0)
    b = a * a

    def alter():
        with pytest.raises(AttributeError):
            c._prev = {a}
        c._backward = lambda: setattr(a, "grad", a.grad + 1000.0)

    c = custom(Value, 4.0, (b,), alter)
    root = c * 3.0
    root.backward()

    assert 12.0 == a.grad
    root.backward()
    assert 1012.0 == a.grad


def test_a_closure_may_set_numbers(Value):
    """What a closure writes to data and grad of nodes still to come is what they then work with."""
    a = Value(2.0)
    b = a * 10.0

    def clip():
        b.grad = max(-1.0, min(1.0, b.grad))
        a.data = 7.0

    c = custom(Value, 1.0, (b,), clip)
    (c * 500.0).backward()

    assert (10.0, 7.0) == (a.grad, a.data)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_closures_form_cycles_that_are_collected(Value):
    """A node whose closure names the node itself is a cycle; the collector frees it with its graph."""
    a = Value(2.0)
    c = lecture_tanh(Value, a * 3.0)
    root = c * 2.0
    root.backward()
    seen = [weakref.ref(v) for v in (c, root, *c._prev)]
    del c, root
    gc.collect()

    assert [None] * 3 == [ref() for ref in seen]


def test_attributes_form_cycles_that_are_collected(Value):
    """Values that hold one another by attributes are freed by the collector."""
    a, b = Value(1.0), Value(2.0)
    c = a * b
    a.friend, c.friends = c, [a, b, c]
    seen = [weakref.ref(v) for v in (a, b, c)]
    del a, b, c
    gc.collect()

    assert [None] * 3 == [ref() for ref in seen]


def test_graphs_may_change_hands_while_a_sweep_runs(Value):
    """Weak callbacks that build Values while graphs are freed in a closure do no harm."""
    a, made, refs = Value(2.0), [], []
    names = [(a * float(i)).tanh() for i in range(50)]
    refs.extend(weakref.ref(v, lambda _: made.append(a * 2.0)) for v in names)
    c = custom(Value, 1.0, (a * a,), names.clear)
    c.backward()

    assert 50 == len(made)
    assert 4.0 == a.grad
    with contextlib.suppress(IndexError):
        made[-1].backward()
    assert 6.0 == a.grad


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_back_propagation_by_hand(Value):
    """The lecture's neuron, swept by hand: set o.grad, then call `_backward()` node by node."""
    x1, x2, w1, w2, b = (Value(x) for x in (2.0, 0.0, -3.0, 1.0, 6.8813735870195432))
    x1w1, x2w2 = x1 * w1, x2 * w2
    both = x1w1 + x2w2
    n = both + b
    o = n.tanh()
    o.grad = 1.0
    for v in (o, n, b, both, x2w2, x1w1):
        assert v._backward() is None

    assert 0.7071 == pytest.approx(o.data, abs=5e-5)
    assert (0.5, 0.5) == (pytest.approx(n.grad, rel=1e-12), pytest.approx(x1w1.grad, rel=1e-12))
    assert [-1.5, 0.5, 1.0, 0.0] == pytest.approx([x1.grad, x2.grad, w1.grad, w2.grad], rel=1e-12)


def test_by_hand_calls_add_up(Value):
    """`_backward()` adds grad times slope to the operands each time, and to both places of `a * a`."""
    a = Value(3.0)
    b = a * a
    b.grad = 2.0
    b._backward()
    b._backward()

    assert (24.0, 2.0) == (a.grad, b.grad)


def test_by_hand_on_every_kind_of_node(engine):
    """`_backward()` works by hand on sums, dots, custom nodes and leaves."""
    Value = engine.Value
    a, b = Value(2.0), Value(3.0)
    cases = [
        (engine.sum([a, b, a]), (2.0, 1.0)),
        (engine.dot([a, b], [b, 4.0], a), (4.0, 6.0)),
        (Value(1.0, (a, b), (7.0, 8.0)), (7.0, 8.0)),
        (Value(1.0, (a, b), "nothing"), (0.0, 0.0)),
        (custom(Value, 1.0, (a, b)), (1.0, 1.0)),
        (Value(1.0), (0.0, 0.0)),
    ]
    for node, expected in cases:
        a.grad = b.grad = 0.0
        node.grad = 1.0
        node._backward()

        assert expected == (a.grad, b.grad)


def test_a_long_sum_with_its_own_step_as_a_closure(engine, Value):
    """A sum too long for one block passes its gradient on once, also where its own step was assigned as a closure."""
    x = Value(1.0)
    out = engine.sum([x] * 1000)
    out._backward = out._backward
    (out * 2.0).backward()

    assert 2000.0 == x.grad
