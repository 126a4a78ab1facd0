"""Pictures of graphs: what is in them, what a fused node stands for, and what a notebook gets to see."""

import html
import re
import sys

import pytest

from pygrad import viz

pytestmark = [pytest.mark.large, pytest.mark.python, pytest.mark.wheel]

pytest.importorskip("graphviz")

needs_program = pytest.mark.skipif(viz.dot_program() is None, reason="needs Graphviz's dot, or graphviz-pure")


class Drawn:
    """What a `graphviz.Digraph` of ours shows, read from its dot text.

    boxes: {name: (label or "", data, grad)}; ops: {name of a box: (op label, names of its operands' boxes)}.
    """

    def __init__(self, picture):
        text = picture.source
        nodes = re.findall(r'^\t(\w+) \[label=(?:"(.*?)"|(\w+))( shape=record)?\]$', text, re.M)
        edges = re.findall(r"^\t(\w+) -> (\w+)$", text, re.M)
        fields = {name: quoted.strip("{} ").split(" | ") for name, quoted, _, record in nodes if record}
        labels = {name: quoted or plain for name, quoted, plain, record in nodes if not record}
        self.boxes = {
            name: (" ".join(label), float(data.removeprefix("data ")), float(grad.removeprefix("grad ")))
            for name, (*label, data, grad) in fields.items()
        }
        self.ops = {out: (labels[op], sorted(a for a, b in edges if b == op)) for op, out in edges if op in labels}

    def shape(self):
        """Return what is left without the names: each box with its op, and its operands' boxes."""
        made = {name: (op, sorted(self.boxes[a] for a in operands)) for name, (op, operands) in self.ops.items()}
        return sorted((box, made.get(name, ("", []))) for name, box in self.boxes.items())

    def op_labels(self):
        return sorted(op for op, _ in self.ops.values())


# --- trace ------------------------------------------------------------------------------------------------------------


def test_trace_returns_every_value_and_every_edge(engine):
    """A Value that is used twice is one node with an edge to each of its consumers."""
    a, b = engine.Value(2.0), engine.Value(3.0)
    c = a * b
    d = c + a

    nodes, edges = viz.trace(d)

    assert {a, b, c, d} == nodes
    assert {(a, c), (b, c), (c, d), (a, d)} == edges


def test_trace_of_a_leaf_is_that_leaf(engine):
    """A leaf reaches itself, and has no edges."""
    a = engine.Value(1.0)

    assert ({a}, set()) == viz.trace(a)


def test_trace_of_a_deep_graph_does_not_recurse(engine):
    """A chain of 10^5 ops is listed whole."""
    v = engine.Value(1.0)
    for _ in range(100_000):
        v = -v

    nodes, edges = viz.trace(v)

    assert (100_001, 100_000) == (len(nodes), len(edges))


# --- draw_dot ---------------------------------------------------------------------------------------------------------


def test_picture_shows_labels_data_gradients_and_ops(engine):
    """Every Value is a box with its label, data and gradient, and every op stands between operands and result."""
    a, b = engine.Value(2.0, label="a"), engine.Value(-3.0)
    c = a * b
    c.label = "c"
    (c + a).backward()

    drawn = Drawn(viz.draw_dot(c))

    assert [
        (("", -3.0, 2.0), ("", [])),
        (("a", 2.0, -2.0), ("", [])),
        (("c", -6.0, 1.0), ("*", [("", -3.0, 2.0), ("a", 2.0, -2.0)])),
    ] == drawn.shape()


def test_picture_of_micrograds_own_values():
    """The drawing reads public attributes only, so micrograd's graphs are drawn too."""
    micrograd = pytest.importorskip("micrograd.engine")
    a, b = micrograd.Value(2.0), micrograd.Value(3.0)

    assert [("*", 2)] == [(op, len(operands)) for op, operands in Drawn(viz.draw_dot(a * b)).ops.values()]


def test_picture_is_the_same_every_time(engine):
    """Names come from the order of the graph, not from addresses, so a saved picture does not change by itself."""

    def picture():
        a, b = engine.Value(2.0), engine.Value(3.0)
        return viz.draw_dot((a * b + a).tanh()).source

    assert picture() == picture()


def test_operand_used_twice_by_one_op_has_one_edge(engine):
    """x*x has one edge from x, as in micrograd."""
    x = engine.Value(3.0)

    assert [("*", 1)] == [(op, len(operands)) for op, operands in Drawn(viz.draw_dot(x * x)).ops.values()]


def test_node_without_an_op_label_is_joined_to_its_operands(engine):
    """A node the user made without a name for its op has no circle, only its edges."""
    a = engine.Value(1.0)

    picture = viz.draw_dot(engine.Value(2.0, (a,)))

    assert {} == Drawn(picture).ops
    assert "\tv1 -> v0\n" in picture.source


def test_format_and_rankdir_reach_graphviz(engine):
    """The two options of the lecture's draw_dot do what they did."""
    picture = viz.draw_dot(engine.Value(1.0), format="png", rankdir="TB")

    assert ("png", {"rankdir": "TB"}) == (picture.format, picture.graph_attr)


def test_unknown_rankdir_is_refused(engine):
    """Only the two directions of the lecture are known; the message names them."""
    with pytest.raises(ValueError, match="'LR' or 'TB', not 'sideways'"):
        viz.draw_dot(engine.Value(1.0), rankdir="sideways")


def test_missing_package_says_what_to_install(engine, monkeypatch):
    """Without the graphviz package the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "graphviz", None)

    with pytest.raises(ImportError, match=r"pip install 'pygrad-engine\[viz\]'"):
        viz.draw_dot(engine.Value(1.0))


# --- fused nodes ------------------------------------------------------------------------------------------------------


def four(engine):
    """Return four Values whose products and sums have at most four decimals, as pictures do."""
    return [engine.Value(x) for x in (0.5, -3.0, 1.25, 2.0)]


FUSED = {
    "dot": lambda e, a, b, c, d: e.dot([a, b], [c, d]),
    "dot with bias": lambda e, a, b, c, d: e.dot([a, b], [c, 1.5], d),
    "dot of a vector with itself": lambda e, a, b, c, d: e.dot([a, b], [a, b], c),
    "dot of one pair": lambda e, a, b, c, d: e.dot([a], [b]),
    "sum": lambda e, a, b, c, d: e.sum([a, b, c, d]),
    "sum with start": lambda e, a, b, c, d: e.sum([a, b, 1.5], start=c),
    "sum with a term twice": lambda e, a, b, c, d: e.sum([a, b, a]),
}
BY_HAND = {
    "dot": lambda e, a, b, c, d: a * c + b * d,
    "dot with bias": lambda e, a, b, c, d: d + a * c + b * 1.5,
    "dot of a vector with itself": lambda e, a, b, c, d: c + a * a + b * b,
    "dot of one pair": lambda e, a, b, c, d: a * b,
    "sum": lambda e, a, b, c, d: a + b + c + d,
    "sum with start": lambda e, a, b, c, d: c + a + b + 1.5,
    "sum with a term twice": lambda e, a, b, c, d: a + b + a,
}


@pytest.mark.parametrize("name", FUSED)
def test_opened_fused_node_is_the_picture_of_its_multiplies_and_adds(engine, name):
    """A fused node opened up is drawn as the same expression written out: ops, order, data and gradients."""
    fused, by_hand = FUSED[name](engine, *four(engine)), BY_HAND[name](engine, *four(engine))
    for root in (fused, by_hand):
        (root * 2).backward()

    opened = Drawn(viz.draw_dot(fused, open_fused=True))

    assert Drawn(viz.draw_dot(by_hand)).shape() == opened.shape()


@pytest.mark.parametrize("name", FUSED)
def test_fused_node_is_closed_unless_opening_is_asked_for(engine, name):
    """By default a fused node is one circle."""
    fused = FUSED[name](engine, *four(engine))

    assert [fused._op] == Drawn(viz.draw_dot(fused)).op_labels()


def test_opened_node_keeps_its_label_and_its_consumers(engine):
    """The last add is the node itself: it has the label, and what follows hangs on it."""
    a, b, c, _ = four(engine)
    total = engine.sum([a, b, c])
    total.label = "total"

    drawn = Drawn(viz.draw_dot(total.tanh(), open_fused=True))

    (consumed,) = [operands for op, operands in drawn.ops.values() if op == "tanh"]
    assert ["total"] == [drawn.boxes[name][0] for name in consumed]


def test_two_opened_nodes_do_not_share_boxes(engine):
    """Each opened node has parts of its own."""
    a, b, c, d = four(engine)
    fused = engine.dot([a, b], [c, d], a) * engine.sum([a, c, d])
    by_hand = (a + a * c + b * d) * (a + c + d)

    assert Drawn(viz.draw_dot(by_hand)).shape() == Drawn(viz.draw_dot(fused, open_fused=True)).shape()


@pytest.mark.parametrize("make", [lambda e: e.sum([e.Value(2.0)]), lambda e: e.dot([], [], e.Value(2.0))])
def test_fused_node_without_parts_stays_closed(engine, make):
    """One term alone needs no multiply and no add."""
    fused = make(engine)

    assert [fused._op] == Drawn(viz.draw_dot(fused, open_fused=True)).op_labels()


def test_fused_node_stays_closed_once_its_operands_have_changed(engine):
    """Parts that no longer add up to the node's data would be a false picture."""
    a, b, _, _ = four(engine)
    total = engine.sum([a, b])
    a.data = 7.0

    assert ["sum"] == Drawn(viz.draw_dot(total, open_fused=True)).op_labels()


def test_users_own_op_of_a_fused_ops_name_stays_closed(engine):
    """A custom op called `sum` that sums nothing is not taken for ours."""
    a, b, _, _ = four(engine)
    custom = engine.Value(100.0, (a, b), "sum")

    assert ["sum"] == Drawn(viz.draw_dot(custom, open_fused=True)).op_labels()


def test_nan_does_not_keep_a_node_closed(engine):
    """nan + 1 is nan, so these parts do add up."""
    total = engine.sum([engine.Value(float("nan")), engine.Value(1.0)])

    assert ["+"] == Drawn(viz.draw_dot(total, open_fused=True)).op_labels()


# --- labels with special characters -----------------------------------------------------------------------------------


def shown_texts(picture):
    """Return the texts in the drawing of `picture`."""
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", viz.render_svg(picture))]


@needs_program
@pytest.mark.parametrize(
    "label", ["a|b", "{x}", "<port>", "back\\slash", "\\n", 'say "w"', "R&D &lt;", "größe", "<b>w</b>"]
)
def test_special_characters_are_drawn_as_they_are(engine, label):
    """Record syntax, escapes, entities and HTML mean nothing in a label, or in the name of an op."""
    value = engine.Value(1.0, (engine.Value(2.0),), label, label)

    assert 2 == shown_texts(viz.draw_dot(value)).count(label)


@needs_program
def test_label_of_two_lines_is_drawn_as_two_lines(engine):
    """A line break in a label stays one."""
    assert {"first", "second"} <= set(shown_texts(viz.draw_dot(engine.Value(1.0, label="first\nsecond"))))


# --- the program that draws -------------------------------------------------------------------------------------------


def program(folder, name, text):
    """Write a shell script called `name` and return its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_dot_on_path_is_preferred(tmp_path, monkeypatch):
    """Graphviz's own program comes before the substitute, and the substitute before nothing."""
    monkeypatch.setattr(viz.sysconfig, "get_path", lambda name: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = [viz.dot_program()]
    (tmp_path / "scripts").mkdir()
    beside_python = program(tmp_path / "scripts", "graphviz-pure", "")
    found.append(viz.dot_program())
    substitute = program(tmp_path, "graphviz-pure", "")
    found.append(viz.dot_program())
    dot = program(tmp_path, "dot", "")
    found.append(viz.dot_program())

    assert [None, beside_python, substitute, dot] == found


def test_no_program_says_what_to_install(engine, monkeypatch):
    """Without a program there is no picture, but an error that says how to get one."""
    monkeypatch.setattr(viz, "dot_program", lambda: None)

    with pytest.raises(RuntimeError, match="pip install graphviz-pure"):
        viz.render_svg(viz.draw_dot(engine.Value(1.0)))


def test_failing_program_is_reported(engine, tmp_path, monkeypatch):
    """What the program complained about is in the error."""
    failing = program(tmp_path, "dot", "echo out of ink >&2; exit 1")
    monkeypatch.setattr(viz, "dot_program", lambda: failing)

    with pytest.raises(RuntimeError, match="dot failed: out of ink"):
        viz.render_svg(viz.draw_dot(engine.Value(1.0)))


# --- notebooks --------------------------------------------------------------------------------------------------------


def chain(engine, n):
    """Return the root of a graph of `n` Values."""
    v = engine.Value(1.0)
    for _ in range(n - 1):
        v = v.tanh()
    return v


@pytest.fixture
def pictures():
    """Pictures in notebooks, for one test."""
    viz.show_in_notebooks(True)
    yield
    viz.show_in_notebooks(False)


def test_notebook_shows_text_until_pictures_are_asked_for(engine):
    """As micrograd's Value does; and again once they are not wanted any more."""
    v = chain(engine, 3)
    assert not hasattr(v, "_repr_mimebundle_")
    viz.show_in_notebooks()
    assert hasattr(v, "_repr_mimebundle_")
    for _ in range(2):
        viz.show_in_notebooks(False)
        assert not hasattr(v, "_repr_mimebundle_")


@needs_program
def test_notebook_shows_text_and_picture(engine, pictures):
    """A small graph is shown as a picture beside its text."""
    v = chain(engine, 3)

    bundle = v._repr_mimebundle_()

    assert repr(v) == bundle["text/plain"]
    assert 2 == bundle["image/svg+xml"].count(">tanh</text>")


def test_text_says_why_a_picture_is_missing(engine, pictures, monkeypatch):
    """Too many nodes, no program, a program that fails, no package: only where pictures were asked for."""
    v = chain(engine, 3)
    with monkeypatch.context() as patch:
        patch.setattr(viz, "max_nodes", 2)
        (found,) = v._repr_mimebundle_().values()
        assert f"{v!r}\n(no picture: the graph has more than 2 Values; pygrad.viz.max_nodes is the limit)" == found
    monkeypatch.setattr(viz, "dot_program", lambda: None)
    (found,) = v._repr_mimebundle_().values()
    assert found.startswith(f"{v!r}\n(no picture: ")
    assert found.endswith("pip install graphviz-pure)")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    assert "pip install 'pygrad-engine[viz]'" in v._repr_mimebundle_(include=None, exclude=None)["text/plain"]
    assert {"text/plain": repr(v)} == viz.mimebundle(v)


@needs_program
def test_notebook_shows_graphs_up_to_the_limit_as_pictures(engine, monkeypatch):
    """The limit counts Values, includes itself, and can be set."""
    monkeypatch.setattr(viz, "max_nodes", 7)

    assert "image/svg+xml" in viz.mimebundle(chain(engine, 7))
    assert {"text/plain"} == viz.mimebundle(chain(engine, 8)).keys()


def test_notebook_looks_at_no_more_of_a_huge_graph_than_it_could_draw(engine, monkeypatch):
    """The walk stops at the limit; a graph of 10^4 Values costs what one of 101 does."""
    asked = []
    operands = viz._operands
    monkeypatch.setattr(viz, "_operands", lambda value: asked.append(value) or operands(value))

    viz.mimebundle(chain(engine, 10_000))

    assert viz.max_nodes >= len(asked)


@pytest.mark.parametrize("missing", ["package", "program", "working program"])
def test_notebook_shows_text_when_no_picture_can_be_drawn(engine, missing, tmp_path, monkeypatch):
    """Nothing that is missing or fails becomes an error in the user's cell."""
    v = chain(engine, 3)
    if missing == "package":
        monkeypatch.setitem(sys.modules, "graphviz", None)
    else:
        found = program(tmp_path, "dot", "exit 1") if missing == "working program" else None
        monkeypatch.setattr(viz, "dot_program", lambda: found)

    assert {"text/plain": repr(v)} == viz.mimebundle(v)


def test_notebook_shows_a_value_that_was_never_initialised(engine):
    """Even then the cell has a result."""
    v = engine.Value.__new__(engine.Value)

    assert [object.__repr__(v)] == list(viz.mimebundle(v).values())


@pytest.mark.parametrize("on", ["no", 0, None, []], ids=repr)
def test_pictures_are_switched_by_a_bool(on):
    """A text such as "no" would count as on."""
    with pytest.raises(TypeError, match="takes True or False"):
        viz.show_in_notebooks(on)
