"""Pictures of expression graphs, as in the micrograd lecture: every Value a box, every op a circle.

`trace(root)` lists the Values that `root` was computed from; `draw_dot(root)` makes a `graphviz.Digraph` of them, with
labels, data and gradients. A fused node (`dot`, `sum`) can be opened up into the multiplies and adds it stands for.
After `show_in_notebooks()` a Value of a small graph shows itself in a notebook as a picture beside its text.

A picture needs only what a Value of micrograd has: `data`, `grad`, `_op` and `_prev`. So it can show the Values of both
engines, and micrograd's own.
"""

import os
import sysconfig

from pygrad.common import forks
from pygrad.common.named_tuples import named_tuple
from pygrad.common.numbers import describe, shortened, shown
from pygrad.common.value_base import ValueBase

max_nodes = 100  # show_in_notebooks() shows larger graphs as text only; set it to as many as your screen holds


def trace(root):
    """Return (nodes, edges): the set of Values that `root` reaches, with `root`, and the set of (operand, result).

    >>> from pygrad import Value, viz
    >>> nodes, edges = viz.trace(Value(2.0) * Value(3.0))
    >>> len(nodes), len(edges)
    (3, 2)
    """
    nodes = _reached(root)
    return set(nodes), {(child, parent) for parent in nodes for child in _operands(parent)}


def draw_dot(root, format="svg", rankdir="LR", open_fused=False, highlight=None):
    """Return the graph of `root` as a `graphviz.Digraph`; `render_svg` turns it into a picture.

    If Graphviz's own `dot` program is on PATH, the Digraph's `.render(path)` works too, and a notebook shows it.

    format: a Graphviz output format: "svg", "png", …
    rankdir: "LR" (from left to right) or "TB" (from top to bottom); anything else is a ValueError.
    open_fused: draw a fused `dot` or `sum` node as the multiplies and adds that it stands for.
    highlight: the paths to draw in red: the result of `pygrad.explain(root, x)`, a path of it, or a list of Values,
        from a result to its operand and so on.

    Raises ImportError when the `graphviz` package is missing.
    """
    if rankdir not in ("LR", "TB"):
        raise ValueError(f"rankdir must be 'LR' or 'TB', not {shown(rankdir)}")
    return _picture(_reached(root), format, rankdir, open_fused, _marked(highlight))


def render_svg(picture):
    """Return a `graphviz.Digraph` drawn as SVG text.

    Uses Graphviz's own `dot` program, or else `graphviz-pure`, which pip installs. Raises RuntimeError if neither is
    installed, or if the program fails.
    """
    with forks.importing:
        import subprocess  # here, for its import takes a while

    program = dot_program()
    if program is None:
        raise RuntimeError("drawing a graph needs Graphviz's `dot` program on PATH, or: pip install graphviz-pure")
    done = subprocess.run([program, "-Tsvg"], input=picture.source.encode(), capture_output=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{os.path.basename(program)} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def dot_program():
    """Return the path of a program that draws dot files, or None."""
    with forks.importing:
        import shutil  # here, for its import takes a while

    scripts = sysconfig.get_path("scripts")  # an environment that was not activated is not on PATH
    return shutil.which("dot") or shutil.which("graphviz-pure") or shutil.which("graphviz-pure", path=scripts)


def show_in_notebooks(on=True):
    """Let a notebook show a Value as a picture beside its text, from now on; or, if `on` is False, as text alone.

    Text alone is what it shows at first. If a picture is missing, because the graph has more than `max_nodes` Values or
    something is not installed, the text says why. Raises TypeError if `on` is no bool.
    """
    if not isinstance(on, bool):
        raise TypeError(f"show_in_notebooks() takes True or False, not {describe(on)}")
    if on:
        ValueBase._repr_mimebundle_ = _shown_in_notebook  # a notebook calls it; Value knows nothing of pictures
    elif hasattr(ValueBase, "_repr_mimebundle_"):
        del ValueBase._repr_mimebundle_


def mimebundle(value):
    """Return {MIME type: what a notebook can show for `value`}: text, and a picture if its graph is small.

    Never raises: the result of a cell must not become an error because its picture cannot be drawn.
    """
    return _bundle(value, "")


def _shown_in_notebook(value, include=None, exclude=None):
    return _bundle(value, "\n(no picture: {})")


def _bundle(value, reason):
    """Return the mimebundle of `value`; where a picture is missing, the text ends with `reason`, which is filled in."""
    try:
        bundle = {"text/plain": repr(value)}
    except Exception:  # a Value whose __init__ never ran
        return {"text/plain": object.__repr__(value)}
    try:
        nodes = _reached(value, limit=max_nodes)
        if len(nodes) > max_nodes:
            raise ValueError(f"the graph has more than {max_nodes} Values; pygrad.viz.max_nodes is the limit")
        bundle["image/svg+xml"] = render_svg(_picture(nodes, "svg", "LR", open_fused=False))
    except Exception as error:
        bundle["text/plain"] += reason.format(shortened(error))
    return bundle


# --- the graph --------------------------------------------------------------------------------------------------------


def _reached(root, limit=float("inf")):
    """List the Values that `root` reaches, `root` first, each once; stop soon after `limit` Values."""
    nodes, stack = {id(root): root}, [root]
    while stack and len(nodes) <= limit:
        for child in _operands(stack.pop()):
            if id(child) not in nodes:
                nodes[id(child)] = child
                stack.append(child)
    return list(nodes.values())


def _operands(value):
    """Return the operands of `value`, from left to right if it knows (micrograd's Values have a set of operands)."""
    in_order = getattr(value, "_operands_in_order", None)
    return in_order() if in_order else tuple(value._prev)


# --- the boxes --------------------------------------------------------------------------------------------------------


@named_tuple
class _Box:
    """A Value in the picture, and the op that made it: `operands` are the names of its operands' boxes."""

    name: str
    label: object
    data: float
    grad: float
    op: str
    operands: tuple


def _marked(highlight):
    """Return the pairs (operand, result) to draw in red, from an explanation, a path or a list of Values."""
    lines = [path.values for path in getattr(highlight, "paths", ())]
    if highlight is not None and not hasattr(highlight, "paths"):
        lines = [list(getattr(highlight, "values", highlight))]
    return [pair for line in lines for pair in zip(line[1:], line)]


def _picture(nodes, format, rankdir, open_fused, marked=()):
    picture = _graphviz().Digraph(format=format, graph_attr={"rankdir": rankdir})
    names = {id(value): f"v{i}" for i, value in enumerate(nodes)}
    pairs = [(names.get(id(child)), names.get(id(parent))) for child, parent in marked]
    red = {pair for pair in pairs if None not in pair}
    for value in nodes:
        for box in _boxes(value, names, open_fused):
            _draw(picture, box, red)
    return picture


def _boxes(value, names, open_fused):
    """Return the boxes of `value`: one, or one for each of its parts if it is to be opened.

    A node stays closed if its parts do not add up to its data. Then the data of an operand has changed since the
    forward pass, or the node is an op of the user's that has the name of a fused op.
    """
    whole = _Box(
        names[id(value)],
        getattr(value, "label", ""),
        value.data,
        value._read_grad() if isinstance(value, ValueBase) else value.grad,
        value._op,
        tuple(names[id(child)] for child in _operands(value)),
    )
    parts = _opened(value, whole) if open_fused and value._op in ("dot", "sum") else []
    return parts if parts and _same(parts[-1].data, value.data) else [whole]


def _opened(value, whole):
    """Return boxes for the multiplies and adds that a fused node stands for, in the sequence in which it computes them.

    The last box is the node itself. An add passes its gradient on unchanged, so each part has the gradient of the node.
    """
    datas = [child.data for child in _operands(value)]
    terms = list(zip(whole.operands, datas))  # the numbers to add up: (name of a box, its data)
    parts = []
    if value._op == "dot":
        odd = len(terms) % 2  # (bias, w0, x0, w1, x1, …): an odd count means a bias
        pairs = list(zip(terms[odd::2], terms[odd + 1 :: 2]))
        terms = terms[:odd]
        for (w, w_data), (x, x_data) in pairs:
            product = _Box(f"{whole.name}p{len(parts)}", "", w_data * x_data, whole.grad, "*", (w, x))
            parts.append(product)
            terms.append((product.name, product.data))
    for i in range(1, len(terms)):
        (left, left_data), (right, right_data) = terms[i - 1], terms[i]
        add = _Box(f"{whole.name}s{i}", "", left_data + right_data, whole.grad, "+", (left, right))
        parts.append(add)
        terms[i] = (add.name, add.data)
    if parts:
        parts[-1] = parts[-1]._replace(name=whole.name, label=whole.label)
    return parts


def _same(a, b):
    return a == b or (a != a and b != b)  # nan equals nan here


# --- the drawing ------------------------------------------------------------------------------------------------------


def _draw(picture, box, red):
    label = f"{_escaped(box.label)} | " if box.label else ""
    ends = {name for pair in red for name in pair}
    look = {"color": "red"} if box.name in ends else {}
    picture.node(box.name, f"{{ {label}data {box.data:.4f} | grad {box.grad:.4f} }}", shape="record", **look)
    whole = box.name.partition("p")[0].partition("s")[0]  # a part is named after its opened node
    ways = {operand for operand in box.operands if (operand, whole) in red}
    op = box.name  # without an op label there is no circle: edges lead to the box itself, as in micrograd
    if box.op:
        op = f"{box.name}op"
        look = {"color": "red"} if ways else {}
        picture.node(op, _escaped(box.op), **look)
        picture.edge(op, box.name, **look)
    for operand in dict.fromkeys(box.operands):  # one edge for x*x, as in micrograd
        picture.edge(operand, op, **({"color": "red"} if operand in ways else {}))


# Characters that Graphviz would read as the structure of a record, as an entity or as a line break.
_SPECIAL = str.maketrans({**{c: "\\" + c for c in "\\{}|<>"}, "&": "&amp;", "\n": "\\n", "\0": None})


def _escaped(label):
    return str(label).translate(_SPECIAL)


def _graphviz():
    try:
        with forks.importing:
            import graphviz
    except ImportError:
        raise ImportError("drawing a graph needs the graphviz package: pip install 'pygrad-engine[viz]'") from None
    return graphviz
