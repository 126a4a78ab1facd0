"""Objects that only say that they are Values, and ids that name no node: each once crashed or read foreign memory."""

import contextlib
import gc
import weakref
from unittest import mock

import pytest
from alone import alone

import pygrad
from pygrad import Value, engine
from pygrad.engine import cells
from pygrad.engine._lib import ffi, lib

pytestmark = pytest.mark.proxy

# --- objects that only say that they are Values -----------------------------------------------------------------------


class SaysSo:
    """Its class is another one than isinstance() finds, and it has all that pygrad asks a Value for."""

    __class__ = Value
    _pg_id = _pg_node = 1_000_000
    _pg_a = _pg_b = None
    _prev, _op, label, data, grad, requires_grad = (), "", "", 1.0, 0.0, True

    def _read(self, what=None):
        return 1.0

    def _is_leaf(self):
        return True

    def _operands_in_order(self):
        return ()


def mocked():
    liar = mock.Mock(spec=Value, data=1.0, grad=0.0, _prev=(), _op="", label="")
    liar._pg_id = 1_000_000
    return liar


a, b = Value(2.0), Value(3.0)
LIARS = {"proxy": lambda: weakref.proxy(a), "mock": mocked, "class": SaysSo}


def declare(forward, derivative):
    op = pygrad.custom_op(forward)
    op.derivative(derivative)
    return op


# Each must refuse its argument.
USES = {
    "child": lambda x: Value(1.0, (x,)),
    "child with a local gradient": lambda x: Value(1.0, (b, x), (2.0, 3.0)),
    "_prev": lambda x: setattr(Value(1.0), "_prev", (b, x)),
    "operator": lambda x: b + x,
    "reflected operator": lambda x: b.__rsub__(x),
    "power": lambda x: b**x,
    "method": lambda x: b.minimum(x),
    "no_grad": lambda x: pygrad.no_grad(lambda: b * x)(),
    "sum": lambda x: pygrad.sum([b, x]),
    "start of a sum": lambda x: pygrad.sum([b], x),
    "dot": lambda x: pygrad.dot([b], [x]),
    "bias of a dot": lambda x: pygrad.dot([b], [b], x),
    "take": lambda x: pygrad.take([b, x], Value(0.0)),
    "index of a take": lambda x: pygrad.take([b, b], x),
    "condition": lambda x: pygrad.where(x, a, b),
    "declared": lambda x: engine.declared(x, [b], [b]),
    "derivative of declared": lambda x: engine.declared(b, [b], [x]),
    "custom_op": lambda x: declare(lambda p: x, lambda y, p: 1.0)(b),
    "derivative of a custom_op": lambda x: declare(lambda p: p * 2.0, lambda y, p: x)(b),
    "root": lambda x: pygrad.backward([b * 2.0, x]),
    "seed": lambda x: b.backward(x),
    "y of grad": lambda x: pygrad.grad(x, b),
    "x of grad": lambda x: pygrad.grad(b * b, [b, x]),
    "x of grad, as nodes": lambda x: pygrad.grad(b * b, [b, x], create_graph=True),
    "seed of grad, as nodes": lambda x: pygrad.grad(b * b, b, create_graph=True, seed=x),
    "result to compile": lambda x: pygrad.compile(lambda p: [p, x])(1.0),
    "result of jacobian": lambda x: pygrad.jacobian(lambda p: [x])([1.0]),
    "result of hessian": lambda x: pygrad.hessian(lambda p: x)([1.0]),
    "point of hessian": lambda x: pygrad.hessian(lambda p: p[0] * p[0])([x]),
    "explain": lambda x: pygrad.explain(x, b),
    "explained to": lambda x: pygrad.explain(b * b, x),
    "gradcheck": lambda x: pygrad.gradcheck(lambda p: x, 1.0),
    "data": lambda x: setattr(b, "data", x),
}


@alone
def test_what_only_says_that_it_is_a_value_is_refused():
    """isinstance() is true of a weak proxy, a mock and an object with a `__class__`; C would read them as a Value."""
    before = engine.live_nodes()
    for liar in LIARS.values():
        for name, use in USES.items():
            x = liar()
            try:
                use(x)
            except TypeError:
                pass
            else:
                raise AssertionError(f"{name} takes a {type(x).__name__}")
    del x
    gc.collect()
    assert (2.0, 3.0) == (a.data, b.data)
    assert before == engine.live_nodes()


@alone
def test_a_model_with_what_only_says_that_it_is_a_value():
    """As a parameter, a weight, a bias or an input it is refused, or used by what it can do in Python."""
    for liar in LIARS.values():
        for kind in (pygrad.optim.SGD, pygrad.optim.AdamW):
            with contextlib.suppress(TypeError):  # a weak proxy cannot be hashed, and the class has no backward()
                optimizer = kind([b, liar()], lr=0.0)
                optimizer.zero_grad()
                optimizer.step()
        for place in ("w", "b", "x", "attribute"):
            model, x = pygrad.MLP(2, [2]), [1.0, 2.0]
            neuron = model.layers[0].neurons[0]
            if place == "w":
                neuron.w[0] = liar()
            elif place == "x":
                x[0] = liar()
            else:
                setattr(neuron, place, liar())
            with contextlib.suppress(TypeError):
                model(x)
                model.zero_grad()
    assert (2.0, 3.0) == (a.data, b.data)


def test_a_class_derived_from_value_is_a_value():
    """Its own `__class__` and `__instancecheck__` change nothing."""

    class Meta(type):
        def __instancecheck__(cls, x):
            return False

    class Mine(Value, metaclass=Meta):
        __class__ = int

    mine = Mine(2.0)
    for out in (b * mine, mine * b, pygrad.sum([mine, b], 1.0), pygrad.dot([mine], [b]), Value(6.0, (mine, b))):
        assert 6.0 == out.data
        assert mine in out._prev or mine in {p for v in out._prev for p in v._prev}
    assert [3.0] == pygrad.grad(mine * b, [mine])


# --- ids that name no node --------------------------------------------------------------------------------------------


def impossible_ids():
    """Return Values, and ids beside theirs that name no node of Python's: free, never made, of a part, of a payload."""
    values = [Value(1.5) * 2.0, Value(1.5) ** 0.3]
    values += [pygrad.dot([Value(1.0)] * 40, [Value(2.0)] * 40), pygrad.sum([Value(1.0)] * 1200)]
    gone = [Value(2.5), Value(2.5) * 2.0]
    ids = [v._pg_id for v in gone] + [10**6, -(10**6), 2**31 - 1, -(2**31)]
    del gone
    known = {v._pg_id for v in values}
    ids += [v._pg_id + k for v in values for k in range(-70, 70) if v._pg_id + k not in known]
    return values, [id for id in ids if id > 64 or id < -64]  # near 0 there are nodes of other modules


@alone
def test_c_refuses_ids_that_name_no_node():
    """Each function that is given an id by Python checks it: nothing is read, and nothing changed."""
    values, ids = impossible_ids()
    leaf = Value(0.5)
    two, good, out = ffi.new("double[]", 2), ffi.new("pg_id[]", [leaf._pg_id] * 2), ffi.new("pg_id[]", 2)
    before, refused = engine.live_nodes(), 0
    for id in ids:
        if lib.pg_exists(id):
            continue
        refused += 1
        bad = ffi.new("pg_id[]", [id, id])
        made = [
            lib.pg_unary(20, id, ffi.NULL),
            lib.pg_binary(0, id, good[0], ffi.NULL),
            lib.pg_binary(0, good[0], id, ffi.NULL),
        ]
        made += [
            lib.pg_binary_left(0, 1.0, id, ffi.NULL),
            lib.pg_binary_right(0, id, 1.0, ffi.NULL),
            lib.pg_power(id, 0.3, ffi.NULL),
        ]
        made += [
            lib.pg_power(id, 2.0, ffi.NULL),
            lib.pg_sum(id, 2, good, ffi.NULL),
            lib.pg_sum(0, 2, bad, ffi.NULL),
            lib.pg_dot(0, 2, good, bad, ffi.NULL),
        ]
        made += [
            lib.pg_dot(0, 2, bad, good, ffi.NULL),
            lib.pg_dot(id, 2, good, good, ffi.NULL),
            lib.pg_choose(id, 2, good, ffi.NULL),
        ]
        made += [
            lib.pg_choose(good[0], 2, bad, ffi.NULL),
            lib.pg_declared(id, 2, good, good, ffi.NULL),
            lib.pg_custom(1.0, 2, bad, two, ffi.NULL),
        ]
        made += [lib.pg_declared(good[0], 2, good, bad, ffi.NULL), lib.pg_custom(1.0, 2, bad, ffi.NULL, ffi.NULL)]
        assert not any(made)
        for biases, ws, xs in ((bad, good, good), (good, bad, good), (good, good, bad)):
            assert lib.PG_OK != lib.pg_dots(1, 2, biases, ws, xs, out, ffi.NULL)
            assert lib.PG_OK != lib.pg_neurons(1, 2, biases, ws, xs, ffi.NULL, out, ffi.NULL)

        roots = ffi.new("pg_roots *", {"count": 2, "ids": bad, "seeds": two})
        good_roots = ffi.new("pg_roots *", {"count": 2, "ids": good, "seeds": two})
        wanted = ffi.new("pg_wanted *", {"count": 2, "ids": bad, "grads": two})
        order, tape, trace = cells.new_order(), cells.new_tape(), cells.trace()
        statuses = [lib.pg_order_within(roots, trace.moment, order)]
        del trace
        statuses += [lib.pg_order_new(id, 1.0, order), lib.pg_order_from(good_roots, wanted, order)]
        statuses += [lib.pg_backward(id, 1.0), lib.pg_backward_from(roots), lib.pg_adjoints(roots, wanted)]
        statuses += [lib.pg_set_data(id, 9.0), lib.pg_set_grad(id, 9.0), lib.pg_set_frozen(id, 1)]
        statuses += [lib.pg_set_grads(2, bad, 9.0), lib.pg_leaf_to_custom(id, 2, good, out)]
        statuses += [lib.pg_tape_new(2, good, 2, bad, 0, tape, out), lib.pg_tape_new(2, bad, 2, good, 0, tape, out)]
        for ys, xs, term in ((bad, good, 0), (good, bad, 0), (good, good, id)):
            given = ffi.new("pg_term[]", [(term, 1.0)] * 2)
            job = {"y_count": 2, "x_count": 2, "ys": ys, "xs": xs, "given": given}
            statuses += [run(ffi.new("pg_derivation *", job)) for run in (lib.pg_pull, lib.pg_push)]
        assert {lib.PG_NO_NODE} == set(statuses)

        lib.pg_retain(id, ffi.NULL), lib.pg_release(id), lib.pg_set_closure(id, 1), lib.pg_backprop(id)
        lib.pg_made_since(0, id), lib.pg_creation_order(2, bad, ffi.new("uint64_t[]", 2))
        assert not any([lib.pg_is_frozen(id), lib.pg_requires_grad(id), lib.pg_is_busy(id), lib.pg_operand_count(id)])
        for read in (lib.pg_data, lib.pg_grad, lib.pg_exponent):
            assert read(id) != read(id)  # nan
    engine.check_arena()
    assert refused > 150
    assert before == engine.live_nodes()
    assert [3.0, 80.0, 1200.0] == [values[i].data for i in (0, 2, 3)]


class Forged(Value):
    """A Value whose `_pg_id` is what the program says."""

    said = 0

    @property
    def _pg_id(self):
        return self.said


@alone
def test_a_class_that_makes_up_its_ids():
    """pygrad raises a RuntimeError, or uses the true node, in all that it does with the Value."""
    _, ids = impossible_ids()
    x = Forged(2.0)
    uses = [
        *(lambda x, use=use: use(x) for use in USES.values() if use is not USES["_prev"]),
        lambda x: (x * b).backward(),
        lambda x: setattr(x, "requires_grad", True),
        lambda x: pygrad.compile(lambda p: x * p)(1.0),
        lambda x: pygrad.checkpoint(lambda p: p * p)(x).backward(),
        lambda x: pygrad.hessian(lambda p: p[0] * p[0])([x]),
        lambda x: pygrad.compile(lambda p: x * p * b).fit(pygrad.optim.SGD([x, b], lr=0.0), [1.0]),
    ]
    for id in [0, 1.5, "5", None, 10**30, -(10**30), *ids[:6], *ids[6::40]]:
        Forged.said = id
        for use in uses:
            with contextlib.suppress(RuntimeError, TypeError, OverflowError, KeyError, IndexError):
                use(x)
    engine.check_arena()


def test_a_program_cannot_write_an_id():
    """It would make the Value give back a node that it does not have."""
    v = Value(1.0)
    with pytest.raises(AttributeError):
        v._pg_id = b._pg_id
    v.__dict__["_pg_id"] = b._pg_id
    assert v._pg_id != b._pg_id


def test_the_error_of_a_made_up_id():
    """It is a RuntimeError that says what is wrong; of a Value that was never initialised it says this."""
    Forged.said = 10**6
    with pytest.raises(RuntimeError, match="_pg_id of this Value names no node"):
        pygrad.backward([Forged(1.0)])
    with pytest.raises(RuntimeError, match="never initialised"):
        pygrad.backward([Value.__new__(Value)])
