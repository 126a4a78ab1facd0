"""Programs of a size n, one for each thing that a user can do with something large: test_growth.py counts their steps.

`PROGRAMS` is {name: f}. f(n) makes what is needed, and returns the function whose cost counts.
"""

import os
import tempfile

import pygrad
from pygrad import Value, functional, nn, optim, viz

PROGRAMS = {}
HEAVY = {"many_compiled", "many_recordings", "optimizer_groups"}  # those that take long for each item
# Those that take too long for a test: to be run by hand, with a clock and larger sizes.
SLOW = set(
    """anomaly checkpoints explain files fit_by_hand hessian_of_arrow hessian_sparse jacobian_sparse
    jacobian_sparse_eager parameters pictures taylor_of_chain""".split()
)
_folder = tempfile.mkdtemp()


def program(f):
    PROGRAMS[f.__name__] = f
    return f


def chain(n, x=None):
    y = x = Value(0.5) if x is None else x
    for _ in range(n):
        y = y * 1.0001 + x
    return y


def values(n):
    return [Value(0.5 + 1.0 / (i + 1)) for i in range(n)]


def many_constants(xs):
    """Terms with as many constants, divisions and powers of two among them."""
    return pygrad.sum([x / 2.0 ** (i % 900) * (i + 0.5) + x / 3.0 for i, x in enumerate(xs)])


# --- graphs -----------------------------------------------------------------------------------------------------------


@program
def build(n):
    return lambda: chain(n)


@program
def backward(n):
    return chain(n).backward


@program
def drop(n):
    kept = [chain(n)]
    return kept.clear


@program
def drop_with_attributes(n):
    def make():
        x = y = Value(1.0)
        for _ in range(n):
            y = y + x
            y.note = []
        return y

    kept = [make()]
    return kept.clear


@program
def labels_late(n):
    """Give each node an attribute when it has a consumer already."""

    def run():
        y = Value(1.0)
        for _ in range(n):
            later = y * 2.0
            result = later + 1.0
            later.label = "later"
            y = result
        return y

    return run


@program
def labels_apart(n):
    """The same where no node has anything to do with the ones before."""
    x = Value(1.0)

    def run():
        kept = []
        for _ in range(n):
            middle = x * 2.0
            kept.append(middle + 1.0)
            middle.label = "middle"
        return kept

    return run


@program
def labels_of_a_graph(n):
    y, found = chain(n), []

    def run():
        todo = [y]
        while todo:
            v = todo.pop()
            found.append(v)
            v.label = "v"
            todo += [w for w in v._prev if w._prev]

    return run


@program
def drop_oldest_first(n):
    kept = [Value(1.0)]
    for _ in range(n):
        kept.append(kept[-1] + 1.0)

    def run():
        for i in range(len(kept)):
            kept[i] = None

    return run


@program
def drop_newest_first(n):
    kept = [Value(1.0)]
    for _ in range(n):
        kept.append(kept[-1] + 1.0)

    def run():
        while kept:
            kept.pop()

    return run


@program
def prev(n):
    y = chain(n)

    def run():
        seen, todo = set(), [y]
        while todo:
            v = todo.pop()
            if v not in seen:
                seen.add(v)
                todo.extend(v._prev)

    return run


@program
def prev_of_a_sum(n):
    xs = values(n)
    return lambda: pygrad.sum(xs)._prev


@program
def consumers_of_one(n):
    x = Value(1.0)
    return lambda: [x + 1.0 for _ in range(n)]


@program
def closures(n):
    def run():
        y = Value(1.0)
        for _ in range(n):
            out = Value(y.data * 2, (y,), "op")

            def _backward(y=y, out=out):
                y.grad += 2 * out.grad

            out._backward = _backward
            y = out * 0.5
        y.backward()

    return run


@program
def local_gradients(n):
    def run():
        y = Value(1.0)
        for _ in range(n):
            y = Value(y.data * 2, (y,), (2.0,))
        y.backward()

    return run


@program
def rewired(n):
    def run():
        xs = values(n)
        for a, b in zip(xs, xs[1:]):
            b._prev = (a,)
        xs[-1].backward()

    return run


@program
def anomaly(n):
    def run():
        with pygrad.detect_anomaly():
            chain(n).backward()

    return run


@program
def without_grad(n):
    def run():
        with pygrad.no_grad():
            chain(n)

    return run


@program
def checkpoints(n):
    def run():
        x, y = Value(0.5), Value(0.25)
        for _ in range(n // 4):
            y = pygrad.checkpoint(lambda v: v * 0.5 + x)(y)
        y.backward()

    return run


@program
def checkpoint_of_many(n):
    xs = values(n)
    return lambda: pygrad.checkpoint(lambda v: pygrad.sum(v))(xs).backward()


@program
def freezing(n):
    xs = values(n)

    def run():
        for x in xs:
            x.requires_grad = False
        y = pygrad.sum(xs)
        y.backward()
        for x in xs:
            x.requires_grad = True

    return run


@program
def custom_op(n):
    double = pygrad.custom_op(lambda x: 2.0 * x)
    double.derivative(lambda x, y: 2.0)

    def run():
        y = Value(0.5)
        for _ in range(n):
            y = double(y) * 0.5
        y.backward()

    return run


# --- lists ------------------------------------------------------------------------------------------------------------


@program
def sum_of_many(n):
    xs = values(n)
    return lambda: pygrad.sum(xs).backward()


@program
def dot_of_many(n):
    xs, ws = values(n), values(n)
    return lambda: pygrad.dot(xs, ws).backward()


@program
def sums_of_sums(n):
    xs = values(n)
    return lambda: pygrad.sum([pygrad.sum([x, x * x], 1.0) for x in xs]).backward()


@program
def python_sum(n):
    xs = values(n)
    return lambda: sum(xs).backward()


@program
def take_of_many(n):
    xs, index = values(n), Value(n // 2)
    return lambda: pygrad.take(xs, index).backward()


@program
def first_of_many(n):
    xs, index = values(n), Value(0.0)
    return lambda: pygrad.take(xs, index).backward()


@program
def slopes_of_a_take(n):
    xs, index = values(n), Value(n // 2)
    y = pygrad.take(xs, index)
    return lambda: pygrad.grad(y, xs, create_graph=True)


@program
def declared_of_many(n):
    f = pygrad.custom_op(lambda *xs: pygrad.sum(xs))
    f.derivative(lambda y, *xs: [1.0] * n)
    xs = values(n)
    return lambda: f(*xs).backward()


@program
def closure_of_many(n):
    xs = values(n)

    def run():
        y = Value(1.0, tuple(xs), "op")
        y._backward = lambda: None
        y.backward()

    return run


@program
def take_of_rows(n):
    rows, index = [[x, x] for x in values(n)], Value(n // 2)
    return lambda: pygrad.take(rows, index)[0].backward()


@program
def losses(n):
    xs = values(n)
    ys = [1.0] * n

    def run():
        loss = functional.mse_loss(xs, ys) + functional.cross_entropy(xs, n // 2) + pygrad.logsumexp(xs)
        loss = loss + pygrad.sum(functional.softmax(xs)) + pygrad.sum(functional.log_softmax(xs))
        loss.backward()

    return run


@program
def backward_from_many(n):
    x = Value(0.5)
    ys = [x * i for i in range(n)]
    return lambda: pygrad.backward(ys)


@program
def grad_of_many(n):
    xs = values(n)
    y = pygrad.sum([x * x for x in xs])
    return lambda: pygrad.grad(y, xs)


@program
def second_derivatives(n):
    x = Value(0.5)
    y = chain(n, x)

    def run():
        (g,) = pygrad.grad(y * y, [x], create_graph=True)
        pygrad.grad(g, [x])

    return run


# --- models -----------------------------------------------------------------------------------------------------------


@program
def wide_layer(n):
    layer = nn.Layer(n, 2)
    xs = values(n)
    return lambda: pygrad.sum(layer(xs)).backward()


@program
def many_neurons(n):
    layer = nn.Layer(2, n)
    return lambda: pygrad.sum(layer([1.0, 2.0])).backward()


def module(n):
    class Model(pygrad.Module):
        def __init__(self):
            self.layers = [nn.Layer(2, 1) for _ in range(n // 4)]
            self.named = {f"p{i}": Value(i) for i in range(n)}
            self.ragged = [[Value(i)] * (1 + i % 2) for i in range(n)]

    return Model()


@program
def parameters(n):
    model = module(n)

    def run():
        model.parameters()
        model.num_parameters()
        model.zero_grad()
        model.requires_grad_(False).requires_grad_(True)
        state = model.state_dict()
        model.load_state_dict(state)

    return run


@program
def optimizer_of_many(n):
    xs = values(n)

    def run():
        for make in (lambda p: optim.SGD(p, momentum=0.5), optim.Adam, optim.AdamW):
            optimizer = make(xs)
            optimizer.step()
            optimizer.zero_grad()
            optimizer.load_state_dict(optimizer.state_dict())

    return run


@program
def optimizer_groups(n):
    xs = values(n)

    def run():
        optimizer = optim.Adam([{"params": [x], "lr": 0.1} for x in xs])
        optimizer.step()
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())
        optim.lr_scheduler.StepLR(optimizer, 3).step()

    return run


@program
def scheduler(n):
    optimizer = optim.SGD([Value(1.0)], lr=0.1)
    s = [optim.lr_scheduler.StepLR(optimizer, 3), optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)]

    def run():
        for _ in range(n):
            for each in s:
                each.step()

    return run


# --- compiled functions -----------------------------------------------------------------------------------------------


@program
def compiled_constants(n):
    xs = [1.0 + 1.0 / (i + 1) for i in range(n)]
    return lambda: pygrad.compile(many_constants, batched=False).backward(xs)


@program
def compiled_negatives(n):
    xs = [1.0 + 1.0 / (i + 1) for i in range(n)]

    def f(xs):
        return pygrad.sum([-(x * (i + 0.1)) for i, x in enumerate(xs)] + [(-x) * (-xs[0]) for x in xs])

    return lambda: pygrad.compile(f, batched=False).backward(xs)


@program
def compiled_chain(n):
    def f(x):
        y = x
        for i in range(n):
            y = y * x + float(i)
        return y

    return lambda: pygrad.compile(f)([0.1] * 100)


@program
def compiled_python_sum(n):
    xs = [1.0] * n
    return lambda: pygrad.compile(lambda xs: sum(x * 2.0 for x in xs), batched=False).backward(xs)


@program
def compiled_layers(n):
    model = nn.MLP(2, [n, 1])
    return lambda: pygrad.compile(model)([[0.1, 0.2]] * 20)


@program
def compiled_many_outputs(n):
    def f(xs):
        return [x.sin() * x for x in xs]

    return lambda: pygrad.compile(f, batched=False)([0.5] * n)


@program
def compiled_take(n):
    xs = [0.5] * n
    return lambda: pygrad.compile(lambda xs, i: pygrad.take(xs, i), batched=False).backward(xs, 1)


@program
def batch(n):
    f = pygrad.compile(lambda x, y: (x * y - 1.0) ** 2)
    xs = [0.5] * n
    return lambda: f.backward(xs, xs, inputs=True)


@program
def fit(n):
    w = Value(0.5)
    xs = [0.5] * n
    f = pygrad.compile(lambda x, y: (x * w - y) ** 2)
    return lambda: f.fit(optim.SGD([w], lr=0.1), xs, xs, batch_size=2, epochs=2)


@program
def fit_by_hand(n):
    class Own(Value):
        pass

    w = Own(0.5)
    xs = [0.5] * n
    f = pygrad.compile(lambda x, y: (x * w - y) ** 2)
    return lambda: f.fit(optim.SGD([w], lr=0.1), xs, xs, batch_size=2, epochs=2)


@program
def many_compiled(n):
    w = Value(0.5)

    def run():
        fs = [pygrad.compile(lambda x: x * w) for _ in range(n // 4)]
        for f in fs:
            f(1.0)
        for i in range(len(fs)):
            fs[i] = None

    return run


@program
def many_recordings(n):
    """A recording for each combination of structures: a number or a list in each of some places."""
    f = pygrad.compile(lambda *xs: xs[0], batched=False)

    def run():
        for i in range(n):
            f(1.0, *[[1.0] if i >> bit & 1 else 1.0 for bit in range(16)])
            assert f.tape is not None
        assert f.parameters() == []

    return run


@program
def files(n):
    f = pygrad.compile(many_constants, batched=False)
    f([1.5] * n)
    path = os.path.join(_folder, f"saved{n}")

    def run():
        f.save(path)
        pygrad.load(path)([1.5] * n)
        str(f.tape)
        f.to_c(path + ".c")

    return run


# --- calculus ---------------------------------------------------------------------------------------------------------


def banded(xs):
    return [a * b for a, b in zip(xs, xs[1:])]


@program
def eager_gradient(n):
    return lambda: pygrad.gradient(lambda xs: pygrad.sum([x * x for x in xs]))([0.5] * n)


@program
def jacobian_sparse(n):
    f = pygrad.jacobian(pygrad.compile(banded, batched=False), sparse=True)
    return lambda: f([0.5] * n)


@program
def jacobian_sparse_eager(n):
    f = pygrad.jacobian(banded, sparse=True)
    return lambda: f([0.5] * n)


@program
def hessian_sparse(n):
    f = pygrad.hessian(pygrad.compile(lambda xs: pygrad.sum(banded(xs)), batched=False), sparse=True)
    return lambda: f([0.5] * n)


@program
def hessian_of_arrow(n):
    """The first number is in each term."""

    def f(xs):
        return pygrad.sum([xs[0] * x * x for x in xs])

    g = pygrad.hessian(pygrad.compile(f, batched=False), sparse=True)
    return lambda: g([0.5] * n)


@program
def products(n):
    def f(xs):
        return pygrad.sum([x * x * x for x in xs])

    xs = [0.5] * n

    def run():
        pygrad.jvp(f)(xs, xs)
        pygrad.vjp(f)(xs, 1.0)
        pygrad.hvp(f)(xs, xs)

    return run


@program
def taylor_of_chain(n):
    return lambda: pygrad.taylor(lambda x: chain(n, x), 2)(0.5)


@program
def explain(n):
    x = Value(0.5)
    y = chain(n, x)
    return lambda: str(pygrad.explain(y, x, limit=3))


@program
def unreached(n):
    xs = values(n)
    y = pygrad.sum(xs)
    return lambda: pygrad.unreached(y, xs, warn=False)


@program
def gradcheck(n):
    return lambda: pygrad.gradcheck(lambda x: chain(n, x), 0.5)


@program
def pictures(n):
    y = chain(n)

    def run():
        str(viz.draw_dot(y).source)
        str(viz.draw_dot(pygrad.sum(values(n)), open_fused=True).source)

    return run
