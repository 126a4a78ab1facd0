"""Attributes that a Value does not have: misspelled names, and names of other micrograds. The errors name the cure."""

import copy
import gc
import inspect
import pickle
import subprocess
import sys
import warnings
from unittest import mock

import pytest

from pygrad import Value as NativeOrPortable
from pygrad import engine, nn

pytestmark = [pytest.mark.proxy]

NEAR = {
    "grads": "grad",
    "gard": "grad",
    "Grad": "grad",
    "date": "data",
    "dat": "data",
    "Data": "data",
    "require_grad": "requires_grad",
    "requires_grads": "requires_grad",
    "lable": "label",
    "_backwards": "_backward",
}
OTHERS = {
    "zero_grad": "v.grad = 0.0",
    "copy": "copy.copy(v)",
    "clone": "v.detach()",
    "topo": "pygrad.viz.trace",
    "build_topo": "v.backward()",
    "color": "",
    "visited": "",
    "name": "",
    "children": "v._prev",
    "value": "v.data",
    "gradient": "v.grad",
    "mean": "pygrad.sum",
    "ln": "v.log()",
    "softmax": "pygrad.functional.softmax",
}


def told(run):
    """Return the messages of the warnings that `run` gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("near, meant", NEAR.items())
@pytest.mark.parametrize("of_result", [False, True], ids=["a leaf", "a result"])
def test_a_misspelled_name_warns_where_it_is_set(Value, near, meant, of_result):
    """The attribute is there afterwards, and pygrad's own has not changed."""
    v = Value(2.0) * 3.0 if of_result else Value(6.0)

    (message,) = told(lambda: setattr(v, near, 5.0))

    assert repr(near) in message
    assert f"did you mean {meant!r}?" in message
    assert (5.0, 6.0, 0.0) == (getattr(v, near), v.data, v.grad)
    assert near in vars(v)
    assert near in dir(v)


@pytest.mark.parametrize("near, meant", NEAR.items())
def test_a_misspelled_name_that_is_read_is_an_error(Value, near, meant):
    """It says which name is meant. To delete it is the same error; what was set can be deleted."""
    v = Value(2.0)
    for ask in (getattr, delattr):
        with pytest.raises(AttributeError, match=f"'{near}': did you mean '{meant}'\\?"):
            ask(v, near)

    told(lambda: setattr(v, near, [1]))
    delattr(v, near)

    assert not hasattr(v, near)


def test_one_warning_a_line(Value):
    """A loop over parameters warns once, as Python's warnings do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for p in [Value(1.0) for _ in range(3)]:
            p.grads = 0.0
            p.gard = 0.0

    assert [__file__, __file__] == [w.filename for w in caught]
    assert 2 == len({w.lineno for w in caught})


def test_a_warning_that_is_an_error_sets_nothing(Value):
    """With -W error the attribute is not there."""
    v = Value(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="did you mean 'grad'"):
            v.grads = 1.0

    assert not hasattr(v, "grads")
    assert {} == vars(v)


@pytest.mark.parametrize("other, cure", OTHERS.items())
def test_names_of_other_micrograds_say_how_to_add_ones_own(Value, other, cure):
    """The error names what a Value has instead, and how a program gives it the attribute."""
    for v in (Value(2.0), Value(2.0) * 3.0):
        with pytest.raises(AttributeError) as caught:
            getattr(v, other)
        for part in (repr(other), cure, f"Value.{other} = ", f"v.{other} = "):
            assert part in str(caught.value)

        assert not hasattr(v, other)
        assert other not in dir(v)


@pytest.mark.parametrize("name", [*OTHERS, "mine", "grad_norm", "dates", "data_"])
def test_any_other_name_can_be_set(Value, name):
    """Without a warning: on one Value, on the class, or in a class derived from Value."""
    v = Value(2.0)

    assert [] == told(lambda: setattr(v, name, "mine"))
    assert "mine" == getattr(v, name)
    assert name in dir(v)
    delattr(v, name)
    assert not hasattr(v, name)

    derived = type("Derived", (Value,), {name: 5})
    assert 5 == getattr(derived(1.0), name)
    assert name in dir(derived(1.0))


@pytest.mark.parametrize("name", ["zero_grad", "topo", "grads"])
def test_the_class_gets_a_method(Value, name):
    """The cure that the message names: a function set on the class is a method of all Values, results too."""
    before = vars(Value).get(name)
    setattr(Value, name, lambda self: self.data + 1.0)
    try:
        assert 7.0 == getattr(Value(2.0) * 3.0, name)()
        assert name in dir(Value(2.0))
    finally:
        delattr(Value, name)

    assert before is None
    assert not hasattr(Value(2.0), name)


def test_slots_of_a_derived_class_come_first(Value):
    """A class may have a slot, or a property, of such a name."""

    class Derived(Value):
        __slots__ = ("color",)

        @property
        def date(self):
            return "today"

    v = Derived(1.0)
    v.color = "red"

    assert ("red", "today") == (v.color, v.date)


def test_copies_and_pickles_have_them():
    """Without another warning."""
    v = NativeOrPortable(2.0)
    told(lambda: setattr(v, "gard", 1.0))
    v.color = "red"

    copies = []
    assert [] == told(lambda: copies.extend([copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))]))
    assert [(1.0, "red")] * 3 == [(c.gard, c.color) for c in copies]


def test_a_cycle_through_such_an_attribute_is_collected(Value):
    """What is set under a misspelled name is seen by the collector."""
    v = Value(2.0)
    with pytest.warns(UserWarning, match="grads"):
        v.grads = [v]
    del v
    gc.collect()


def test_the_class_itself_has_none_of_the_names(Value):
    """A program may ask before it adds its own; tools that look at all names of a class pass by those that fail."""
    assert not any(hasattr(Value, name) for name in ("pow", "zero_grad", "gard"))
    assert inspect.getmembers(Value)
    assert "v.grad = 0.0" in inspect.getattr_static(Value, "zero_grad").__doc__
    mock.create_autospec(Value)


def test_a_name_that_a_program_adds_is_an_activation(monkeypatch):
    """A name of other micrograds is free for a program's own function."""
    monkeypatch.setattr(engine.Value, "swish", lambda v: v * v.sigmoid(), raising=False)
    assert "swish" == nn.Neuron(2, activation="swish").activation


def test_import_warns_of_nothing():
    """No module of pygrad uses such a name."""
    program = "import pygrad; from pygrad import demos, viz; v = pygrad.MLP(2, [2, 1])([1.0, 2.0]); v.backward()"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_program_without_a_name_is_warned(Value):
    """A grader may run code in globals that have no __name__."""
    with pytest.warns(UserWarning, match="did you mean 'data'"):
        exec("p = Value(1.0)\np.date = 3\n", {"Value": Value})
