"""explain() and unreached(): the paths of the chain rule, found by brute force too, and the parameters without one."""

import math
import random
import warnings

import pytest

import pygrad
import pygrad.calculus.explain
from pygrad import Value, explain, unreached, viz
from pygrad.calculus import traversal as graph

pytestmark = pytest.mark.python


def all_paths(y, x):
    """List (product, values) of every path from y to x, by recursion."""
    if y is x:
        return [(1.0, (x,))]
    found = []
    for v, slope in zip(graph.receivers(y), graph.slopes(y)):
        found += [(slope * product, (y, *values)) for product, values in all_paths(v, x)]
    return found


def tangle(rng, size):
    """Return (y, x): a random graph in which most nodes have several paths to x."""
    x = Value(rng.uniform(0.5, 1.5))
    nodes = [x, Value(0.7), x * 1.5]
    for _ in range(size):
        a, b = rng.sample(nodes[-5:], 2) if len(nodes) > 5 else rng.sample(nodes, 2)
        make = [
            lambda a=a, b=b: a * b * 0.7,
            lambda a=a, b=b: a - b,
            lambda a=a, b=b: (a + b).tanh(),
            lambda a=a, b=b: pygrad.sum([a, b, a]),
            lambda a=a, b=b: pygrad.dot([a, b], [b, 2.0]).sin(),
            lambda a=a, b=b: abs(a) ** 1.5 + b.stop_gradient(),
        ]
        nodes.append(rng.choice(make)())
    return nodes[-1], x


@pytest.mark.parametrize("seed", range(12))
def test_paths_are_those_of_brute_force(seed):
    """The same paths, largest first, each with its product; the sum of all is the gradient; the count is theirs."""
    y, x = tangle(random.Random(seed), 12)
    expected = sorted(all_paths(y, x), key=lambda path: -abs(path[0]))

    found = explain(y, x, limit=20)

    assert len(expected) == found.count
    assert len(expected[:20]) == len(found.paths)
    assert pytest.approx([abs(p) for p, _ in expected[:20]], rel=1e-9) == [abs(path.product) for path in found.paths]
    assert len(found.paths) == len({tuple(map(id, path.values)) for path in found.paths})
    by_values = {tuple(map(id, values)): product for product, values in expected}
    for path in found.paths:
        assert pytest.approx(by_values[tuple(map(id, path.values))], rel=1e-12) == path.product
        assert pytest.approx(math.prod(path.slopes), rel=1e-12) == path.product
    assert pytest.approx(math.fsum(p for p, _ in expected), rel=1e-9, abs=1e-12) == found.derivative
    if y is not x:
        y.backward()
        assert pytest.approx(found.derivative, rel=1e-9, abs=1e-12) == x.grad


@pytest.mark.parametrize("tie", [1.0, 0.7])
def test_more_paths_than_could_be_listed(tie):
    """A chain of 5,000 diamonds has 2^5000 paths; the largest are there, also where all are equal."""
    x = Value(1.0, label="x")
    y = x
    for _ in range(5_000):
        y = pygrad.sum([y * 1.0, y * tie]) / (1.0 + tie)

    found = explain(y, x, limit=5)

    assert math.inf == found.count
    assert pytest.approx(1.0, rel=1e-9) == found.derivative
    assert 5 == len({tuple(map(id, path.values)) for path in found.paths})
    assert [15_000] * 5 == [len(path.slopes) for path in found.paths]
    taken = [sum(slope == tie for slope in path.slopes) for path in found.paths]
    assert tie == 1.0 or [0, 1, 1, 1, 1] == taken
    assert 1000 > max(map(len, str(found).splitlines()))
    assert "more than 1e308 paths" in str(found)


def test_text_names_ops_labels_slopes_and_products():
    """Each path on a line, its product in front; numbers without a label by their data."""
    w, x = Value(2.0, label="w"), Value(3.0)
    h = (w * x).tanh()
    h.label = "h"

    lines = str(explain(h + w * 0.25, w)).splitlines()

    assert "d + / d w = 0.250074, over 2 paths:" == lines[0]
    assert "         0.25  + --1--> * --0.25--> w" == lines[1]
    assert "  7.37296e-05  + --1--> h (tanh) --2.458e-05--> * --3--> w" == lines[2]
    assert "leaf 3" in str(explain(h, x))


def test_no_path_and_the_shortest_one():
    """An unrelated Value, one behind stop_gradient, and y itself."""
    x = Value(2.0, label="x")
    y = x.stop_gradient() * 3.0

    assert ((), 0.0, 0.0) == (explain(y, x).paths, explain(y, x).derivative, explain(y, x).count)
    assert "* does not depend on x: there is no path, and the derivative is 0" == str(explain(y, x))
    assert (1.0, 1.0) == (explain(x, x).derivative, explain(x, x).paths[0].product)


def test_zero_infinite_and_nan_slopes():
    """A nan or inf comes first, a zero last; both are shown."""
    x = Value(0.0, label="x")
    y = pygrad.sum([x.sqrt(), x * 5.0, x * x])

    found = explain(y, x)

    assert [math.inf, 5.0, 0.0] == [path.product for path in found.paths]
    assert math.inf == found.derivative


def test_custom_nodes_and_interior_ends():
    """Closures, local gradients, declared derivatives; x may be an interior node; set data is what counts."""
    a = Value(2.0)
    x = a * 1.0
    closed = Value(0.0, (x,), "closed")
    closed._backward = lambda: setattr(x, "grad", x.grad + 7.0 * closed.grad)
    op = pygrad.custom_op(lambda v: v * v).derivative(lambda y, v: 11.0)
    squared = x * x
    x.data, squared.data = 5.0, 1.0

    found = explain(pygrad.sum([closed, Value(0.0, (x,), (13.0,)), op(x), squared]), x)

    assert [13.0, 11.0, 10.0, 7.0] == [path.product for path in found.paths]


def test_gradients_are_left_alone():
    """Of all nodes, also when a closure raises."""
    x = Value(2.0)
    h = x * 3.0
    y = h.tanh()
    x.grad, h.grad, y.grad = 5.0, math.nan, 6.0

    explain(y, x)
    bad = Value(1.0, (h,), "bad")
    bad._backward = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        explain(bad, x)

    assert (5.0, 6.0) == (x.grad, y.grad)
    assert math.isnan(h.grad)


def test_bad_arguments_of_explain():
    """What is no Value, and no room for a path."""
    with pytest.raises(TypeError, match="two Values, not float"):
        explain(Value(1.0), 1.0)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        explain(Value(1.0), Value(1.0), limit=0)


# --- in pictures ------------------------------------------------------------------------------------------------------


def red_lines(picture):
    return sorted(line.strip().split(" [")[0] for line in picture.source.splitlines() if "color=red" in line)


def test_draw_dot_highlights_paths():
    """The paths of an explanation, one path, or a list of Values are red, boxes, ops and edges; nothing else is."""
    pytest.importorskip("graphviz")
    a, b = Value(2.0), Value(3.0)
    h = a * b
    y = h + b
    names = {v: f"v{i}" for i, v in enumerate(viz._reached(y))}
    along = [(y, h), (h, a)]
    expected = sorted(
        [names[y], names[h], names[a], f"{names[y]}op", f"{names[h]}op"]
        + [f"{names[parent]}op -> {names[parent]}" for parent, _ in along]
        + [f"{names[child]} -> {names[parent]}op" for parent, child in along]
    )

    for highlight in (explain(y, a), explain(y, a).paths[0], [y, h, a]):
        assert expected == red_lines(viz.draw_dot(y, highlight=highlight))
    assert [] == red_lines(viz.draw_dot(y))
    assert viz.draw_dot(y).source == viz.draw_dot(y, highlight=explain(y, Value(1.0))).source


# --- unreached --------------------------------------------------------------------------------------------------------


def test_unreached_parameters_are_returned_and_named():
    """By label or number; a gradient of 0 is reached all the same."""
    model = pygrad.MLP(2, [2, 1])
    used = model([1.0, 2.0]) * 0.0
    spare, labelled = Value(1.0), Value(2.0, label="scale")
    parameters = [*model.parameters(), spare, labelled]

    with pytest.warns(UserWarning, match=r"2 of 11 parameters have no path from the loss: number 9, 'scale'") as caught:
        assert [spare, labelled] == unreached(used + labelled.detach() + spare.stop_gradient(), parameters)
    assert __file__ == caught[0].filename


def test_unreached_takes_a_module_and_is_silent_when_all_is_well():
    """Nothing is warned of when nothing is missing, or when not wanted."""
    model = pygrad.MLP(2, [2, 1], activation="tanh")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [] == unreached(model([1.0, 2.0]), model)
        assert model.parameters() == unreached(Value(1.0), model, warn=False)
    with pytest.raises(TypeError, match="all Values, not float"):
        unreached(Value(1.0), [1.0])
