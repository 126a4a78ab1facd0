"""micrograd's own programs, and the lecture's: the numbers they print, and PyTorch's.

The expected numbers stand here as well, so nothing but pygrad is needed to run most of this.
"""

import math
import random

import pytest
from programs import EPS

pytestmark = pytest.mark.wheel


def readme(Value, relu=lambda v: v.relu()):
    """The expression of micrograd's README; returns (a, b, g)."""
    a, b = Value(-4.0), Value(2.0)
    c, d = a + b, a * b + b**3
    c = c + (c + 1)
    c = c + (1 + c + (-a))
    d = d + (d * 2 + relu(b + a))
    d = d + (3 * d + relu(b - a))
    f = (c - d) ** 2
    return a, b, f / 2.0 + 10.0 / f


def readme_in_place(Value):
    """The same with `+=`, as the README writes it."""
    a, b = Value(-4.0), Value(2.0)
    c, d = a + b, a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    g = e**2 / 2.0
    g += 10.0 / e**2
    return a, b, g


def sanity(Value, relu=lambda v: v.relu()):
    """The small program of micrograd's tests, where one leaf is used six times; returns (x, y)."""
    x = Value(-4.0)
    z = 2 * x + 2 + x
    q = relu(z) + z * x
    return x, relu(z * z) + q + q * x


@pytest.fixture
def tensor(torch):
    """Make a leaf of PyTorch, in doubles."""
    return lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("program", [readme, readme_in_place])
def test_readme_numbers(Value, program):
    """The README example prints 24.7041, 138.8338 and 645.5773."""
    a, b, g = program(Value)
    g.backward()

    assert ("24.7041", "138.8338", "645.5773") == (f"{g.data:.4f}", f"{a.grad:.4f}", f"{b.grad:.4f}")


def test_sanity_numbers(Value):
    """The small program gives -20 and a gradient of 46, exactly."""
    x, y = sanity(Value)
    y.backward()

    assert (-20.0, 46.0) == (y.data, x.grad)


@pytest.mark.parametrize("program, exact", [(readme, False), (sanity, True)])
def test_programs_agree_with_pytorch(Value, tensor, program, exact):
    """micrograd's test programs give PyTorch's data and gradients; the one on whole numbers exactly."""
    *ours, y = program(Value)
    *theirs, t = program(tensor)
    y.backward()
    t.backward()
    rel = 0 if exact else 1e-13

    assert t.item() == pytest.approx(y.data, rel=rel, abs=0)
    assert [p.grad.item() for p in theirs] == pytest.approx([v.grad for v in ours], rel=rel, abs=0)


@pytest.mark.parametrize("name", ["tanh", "exp"])
@pytest.mark.parametrize("x", [-1.0, 0.123, 2.0])
def test_unary_functions(Value, name, x):
    """tanh and exp at micrograd's test points, against the formulas."""
    v = Value(x)
    y = getattr(v, name)()
    y.backward()
    value, slope = {
        "tanh": (math.tanh(x), 1 / math.cosh(x) ** 2),
        "exp": (math.exp(x), math.exp(x)),
    }[name]

    assert (value, slope) == pytest.approx((y.data, v.grad), rel=8 * EPS)


@pytest.mark.parametrize("name", ["tanh", "exp"])
@pytest.mark.parametrize("x", [-1.0, 0.123, 2.0])
def test_unary_functions_agree_with_pytorch(Value, tensor, name, x):
    """The same against PyTorch."""
    v, t = Value(x), tensor(x)
    y, u = getattr(v, name)(), getattr(t, name)()
    y.backward()
    u.backward()

    assert (u.item(), t.grad.item()) == pytest.approx((y.data, v.grad), rel=8 * EPS)


@pytest.mark.parametrize("program", [readme, readme_in_place, sanity])
def test_programs_agree_with_micrograd(Value, program):
    """The same programs on micrograd itself."""
    micrograd = pytest.importorskip("micrograd.engine")
    *ours, y = program(Value)
    *theirs, z = program(micrograd.Value)
    y.backward()
    z.backward()

    assert z.data == pytest.approx(y.data, rel=1e-14)
    assert [w.grad for w in theirs] == pytest.approx([v.grad for v in ours], rel=1e-13)


# --- the lecture ------------------------------------------------------------------------------------------------------


def tanh_by_name(n):
    return n.tanh()


def tanh_by_exp(n):
    e = (2 * n).exp()
    return (e - 1) / (e + 1)


def tanh_by_power(n):
    e = math.e ** (2 * n)
    return (e - 1) / (e + 1)


def tanh_by_value_power(n):
    e = type(n)(math.e) ** (n * 2)
    return (e - 1) * (e + 1) ** -1


@pytest.mark.parametrize("tanh", [tanh_by_name, tanh_by_exp, tanh_by_power, tanh_by_value_power])
def test_the_lectures_neuron(Value, tanh):
    """The lecture's neuron gives 0.7071 and its gradients, with tanh in one piece and taken apart."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    b = Value(6.8813735870195432, label="b")
    n = x1 * w1 + x2 * w2 + b
    n.label = "n"
    o = tanh(n)
    o.label = "o"
    o.backward()

    assert "0.7071" == f"{o.data:.4f}"
    assert [-1.5, 0.5, 1.0, 0.0] == pytest.approx([x1.grad, x2.grad, w1.grad, w2.grad], rel=1e-12)
    assert (0.5, 0.5) == pytest.approx((n.grad, b.grad), rel=1e-12)


def test_the_lectures_neuron_in_pytorch(Value, tensor):
    """The neuron's gradients are PyTorch's."""
    numbers = (2.0, 0.0, -3.0, 1.0, 6.8813735870195432)
    ours, theirs = [Value(x) for x in numbers], [tensor(x) for x in numbers]
    for x1, x2, w1, w2, b in (ours, theirs):
        (x1 * w1 + x2 * w2 + b).tanh().backward()

    assert [t.grad.item() for t in theirs] == pytest.approx([v.grad for v in ours], rel=1e-14)


def test_the_lectures_bug(Value):
    """`a + a` has gradient 2, and so have other shared operands: gradients add, they do not overwrite."""
    a = Value(3.0)
    (a + a).backward()

    assert 2.0 == a.grad

    a, b = Value(-2.0), Value(3.0)
    d, e = a * b, a + b
    (d * e).backward()
    assert (-3.0, -8.0) == (a.grad, b.grad)


def test_the_lectures_first_graph(Value):
    """`(a*b + c) * f`: gradients by hand in the lecture, and what a step along them does."""
    a, b, c, f = (Value(x) for x in (2.0, -3.0, 10.0, -2.0))
    (((a * b) + c) * f).backward()

    assert [6.0, -4.0, -2.0, 4.0] == [v.grad for v in (a, b, c, f)]
    for v in (a, b, c, f):
        v.data += 0.01 * v.grad
    assert "-7.2865" == f"{((a * b + c) * f).data:.4f}"


# --- a small network by hand, step by step ----------------------------------------------------------------------------


def train(Value, sum_of, steps):
    """Train a 2-4-1 network written out on lists of Values; return the losses and final gradients."""
    rng = random.Random(7)
    w1 = [[Value(rng.uniform(-1, 1)) for _ in range(2)] for _ in range(4)]
    b1 = [Value(0.0) for _ in range(4)]
    w2, b2 = [Value(rng.uniform(-1, 1)) for _ in range(4)], Value(0.0)
    parameters = [*(w for row in w1 for w in row), *b1, *w2, b2]
    points = [(0.5, -1.0, 1.0), (-0.7, 0.3, -1.0), (1.1, 0.9, 1.0), (-0.2, -0.8, -1.0)]
    losses = []
    for _ in range(steps):
        loss = Value(0.0)
        for x, y, target in points:
            hidden = [sum_of([row[0] * x, row[1] * y], b).relu() for row, b in zip(w1, b1)]
            out = sum_of([w * h for w, h in zip(w2, hidden)], b2)
            loss = loss + (out - target) ** 2
        for p in parameters:
            p.grad = 0.0
        loss.backward()
        for p in parameters:
            p.data -= 0.05 * p.grad
        losses.append(loss.data)
    return losses, [p.grad for p in parameters]


def test_training_follows_micrograd(engine):
    """A small network trained for 30 steps follows micrograd's losses and gradients, with sum in both ways."""
    micrograd = pytest.importorskip("micrograd.engine")
    losses, grads = train(micrograd.Value, sum, 30)
    for sum_of in (sum, engine.sum):
        our_losses, our_grads = train(engine.Value, sum_of, 30)

        assert losses == pytest.approx(our_losses, rel=1e-10)
        assert grads == pytest.approx(our_grads, rel=1e-8, abs=1e-12)
    assert losses[-1] < 0.5 * losses[0]


def test_training_gives_the_same_bits_twice(engine):
    """Two runs give the same bits (micrograd's last bits differ from run to run)."""
    assert train(engine.Value, engine.sum, 10) == train(engine.Value, engine.sum, 10)


def test_the_lectures_exercise(Value):
    """The exercise after the lecture, softmax and negative log-likelihood by hand, has its published numbers."""
    logits = [Value(0.0), Value(3.0), Value(-2.0), Value(1.0)]
    counts = [logit.exp() for logit in logits]
    total = sum(counts)
    loss = -(counts[3] / total).log()
    loss.backward()

    assert 2.1755153626167147 == pytest.approx(loss.data, rel=1e-14)
    expected = [0.041772570515350445, 0.8390245074625319, 0.005653302662216329, -0.8864503806400986]
    assert expected == pytest.approx([logit.grad for logit in logits], rel=1e-13)
