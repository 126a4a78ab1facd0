"""The rivals of a compiled program: C and numpy by hand, casadi, jax and PyTorch, in float64 and on one thread each.

PEERS has the entries: engine -> row -> function that returns a Run; rows.py says what both are. An engine whose package
is missing is left out. They come with `pip install numpy casadi jax torch==2.13.0`; C by hand takes a C compiler.
"""

import os
from functools import cache, partial
from importlib.util import find_spec

import by_hand
import rows
from engines import ENGINES, Engine, _mlp_on
from rows import EXPRESSIONS, GPT, LARGE, LECTURE, MANY, RATES, SMALL, TINY_MANY, Run
from workloads import GRAPHS

# One thread each. Their packages are imported where they are used, and so after this.
os.environ.update(NPROC="1", XLA_FLAGS="--xla_cpu_multi_thread_eigen=false", JAX_PLATFORMS="cpu")
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

# --- arrays: numpy by hand, jax and PyTorch ---------------------------------------------------------------------------


def arrays(row):
    """Return X, Y, the packed parameters, and a function that cuts such into an array a layer, W and b side by side."""
    import numpy as np

    given = rows.problem(row)
    shapes = [(len(layer.neurons), len(layer.neurons[0].w) + 1) for layer in given.model.layers]

    def layers(p):
        begin, cut = 0, []
        for nout, columns in shapes:
            cut.append(p[begin : begin + nout * columns].reshape(nout, columns))
            begin += nout * columns
        return cut

    numbers = np.array([p.data for p in given.model.parameters()])
    return np.array(given.x), np.array(given.y, float)[:, None], numbers, layers


def net_loss(row, layers, X, Y, relu, tanh):
    """The loss of either network, for arrays of any kind; `layers` are pairs of W and b."""
    h = X
    for k, (W, b) in enumerate(layers):
        h = h @ W.T + b
        h = tanh(h) if row == LECTURE else relu(h) if k + 1 < len(layers) else h
    if row == LECTURE:
        return ((h - Y) ** 2).sum()
    return relu(1 - Y * h).mean() + 1e-4 * sum((p * p).sum() for pair in layers for p in pair)


def pairs(layers):
    return [(A[:, :-1], A[:, -1]) for A in layers]


def numpy_moons(row):
    """Forward and backward with the chain rule written out."""
    import numpy as np

    X, Y, p, layers = arrays(row)
    g = np.empty_like(p)
    (W1, b1), (W2, b2), (W3, b3) = pairs(layers(p))
    (dW1, db1), (dW2, db2), (dW3, db3) = pairs(layers(g))

    def step():
        h1 = np.maximum(X @ W1.T + b1, 0.0)
        h2 = np.maximum(h1 @ W2.T + b2, 0.0)
        margin = np.maximum(1 - Y * (h2 @ W3.T + b3), 0.0)
        loss = margin.mean() + 1e-4 * (p @ p)
        d3 = (margin > 0.0) * Y * (-1.0 / len(Y))
        d2 = d3 @ W3 * (h2 > 0.0)
        d1 = d2 @ W2 * (h1 > 0.0)
        dW3[:], dW2[:], dW1[:] = d3.T @ h2, d2.T @ h1, d1.T @ X
        db3[:], db2[:], db1[:] = d3.sum(0), d2.sum(0), d1.sum(0)
        np.subtract(p, RATES[row] * (g + 2e-4 * p), out=p)
        return loss

    return Run(step, lambda loss: [loss, *p])


def numpy_many():
    import numpy as np

    a, b = map(np.array, rows.points())

    def function():
        e = (a + b) - (a * b + b * b * b)
        return e * e / 2, e - e * b, e - e * (a + 3 * (b * b))

    return Run(function, rows.sampled, MANY)


def jax64():
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def jax_net(row, steps=1):
    """A jitted function of so many steps, which are a loop within it."""
    jax = jax64()
    X, Y, p, layers = arrays(row)

    def loss_of(p):
        return net_loss(row, pairs(layers(p)), X, Y, jax.nn.relu, jax.numpy.tanh)

    def step(_, state):
        loss, slope = jax.value_and_grad(loss_of)(state[1])
        return loss, state[1] - RATES[row] * slope

    descend = jax.jit(lambda state: step(0, state) if steps == 1 else jax.lax.fori_loop(0, steps, step, state))
    state = [jax.numpy.float64(0.0), jax.numpy.array(p)]

    def function():
        state[:] = descend(tuple(state))
        state[1].block_until_ready()

    return Run(function, lambda _: [state[0], *state[1].tolist()], steps)


def jax_call(row):
    jax = jax64()
    function, *point = EXPRESSIONS[row]
    both = jax.jit(jax.value_and_grad(lambda a, b: function(a, b, jax.nn.relu), (0, 1)))
    a, b = map(jax.numpy.float64, point)  # converted beforehand: from floats a call takes three times as long
    return rows.again("both(a, b)[0].block_until_ready()", lambda: flat(both(a, b)), 1_000, both=both, a=a, b=b)


def jax_many():
    jax = jax64()
    both = jax.jit(jax.vmap(jax.value_and_grad(rows.tiny, (0, 1))))
    a, b = map(jax.numpy.array, rows.points())
    return Run(lambda: jax.block_until_ready(both(a, b)), lambda out: rows.sampled(flat(out)), MANY)


def flat(value_and_slopes):
    return [value_and_slopes[0], *value_and_slopes[1]]


def torch64(numbers):
    """Return a leaf."""
    import torch

    torch.set_num_threads(1)
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def torch_net(row):
    import torch

    X, Y, p, layers = arrays(row)
    X, Y = map(torch.tensor, (X, Y))
    leaves = [tuple(map(torch64, pair)) for pair in pairs(layers(p))]
    parameters = [p for pair in leaves for p in pair]

    def step():
        loss = net_loss(row, leaves, X, Y, torch.relu, torch.tanh)
        with torch.no_grad():
            for p, slope in zip(parameters, torch.autograd.grad(loss, parameters)):
                p.sub_(slope, alpha=RATES[row])
        return loss

    def numbers(loss):
        return [loss.item(), *(p for W, b in leaves for p in torch.hstack([W, b[:, None]]).flatten().tolist())]

    return Run(step, numbers)


def torch_many():
    import torch

    a, b = map(torch64, rows.points())

    def function():
        value = rows.tiny(a, b)
        return [value.detach(), *torch.autograd.grad(value.sum(), (a, b))]

    return Run(function, rows.sampled, MANY)


# --- casadi -----------------------------------------------------------------------------------------------------------


def raw(function, arguments, results):
    """Bind a casadi function to the arrays it reads and writes, and return the call that runs it."""
    buffer, call = function.buffer()
    for k, array in enumerate(arguments):
        buffer.set_arg(k, memoryview(array))
    for k, array in enumerate(results):
        buffer.set_res(k, memoryview(array))
    call.kept = buffer, arguments, results
    return call


def casadi_net(row):
    """A function from parameters to the loss and the next ones; two bindings of it, there and back, make two steps."""
    import casadi
    import numpy as np

    X, Y, p, layers = arrays(row)
    symbols = casadi.SX.sym("p", len(p))
    relu, tanh = (np.frompyfunc(f, 1, 1) for f in (lambda z: casadi.fmax(z, 0), casadi.tanh))
    parts = pairs(layers(np.fromiter(casadi.vertsplit(symbols), object)))
    loss = net_loss(row, parts, X.astype(object), Y.astype(object), relu, tanh)
    descend = casadi.Function("f", [symbols], [loss, symbols - RATES[row] * casadi.gradient(loss, symbols)])
    q, value = p.copy(), np.zeros(1)
    there, back = raw(descend, [p], [value, q]), raw(descend, [q], [value, p])
    return rows.again("there(); back()", lambda: [*value, *p], 10, each=2, there=there, back=back)


def casadi_expression(function):
    import casadi

    leaves = casadi.SX.sym("leaves", 2)
    a, b = casadi.vertsplit(leaves)
    value = function(a, b, lambda z: casadi.fmax(z, 0))
    return casadi.Function("f", [a, b], [value, *casadi.vertsplit(casadi.gradient(value, leaves))])


def casadi_call(row):
    import numpy as np

    function, *point = EXPRESSIONS[row]
    outs = [np.zeros(1) for _ in range(3)]
    call = raw(casadi_expression(function), [np.array([number]) for number in point], outs)
    return rows.again("call()", lambda: [out[0] for out in outs], 10_000, call=call)


def casadi_many():
    import numpy as np

    outs = [np.zeros(MANY) for _ in range(3)]
    call = raw(casadi_expression(rows.tiny).map(MANY), list(map(np.array, rows.points())), outs)
    return Run(call, lambda _: rows.sampled(outs), MANY)


@cache
def casadi_trace(graph):
    """Build one of the graphs on casadi's symbols: return its root, its leaves and their numbers."""
    import casadi

    casadi.SX.relu = lambda z: casadi.fmax(z, 0)
    numbers = []

    def leaf(number):
        numbers.append(float(number))
        return casadi.SX.sym("leaf")

    built = GRAPHS[graph].build(leaf, MANY)
    return built.root, casadi.vertcat(*built.leaves), numbers


def casadi_graph(graph):
    """Return a function for a graph's value and gradients as a call, and the arrays that they go to."""
    import casadi
    import numpy as np

    root, leaves, numbers = casadi_trace(graph)
    function = casadi.Function("f", [leaves], [root, casadi.gradient(root, leaves)])
    results = [np.zeros(1), np.zeros(len(numbers))]
    return raw(function, [np.array(numbers)], results), results


def casadi_compile(graph):
    """What it takes once the graph is there; to build it takes some 25 s more, nearly all of that in the wrappers."""

    def numbers(out):
        call, (value, slopes) = out
        call()
        return [*value, *slopes]

    casadi_trace(graph)
    return Run(partial(casadi_graph, graph), numbers, MANY)


def casadi_replay(graph):
    call, (value, slopes) = casadi_graph(graph)
    return Run(call, lambda _: [*value, *slopes], MANY)


# --- the entries ------------------------------------------------------------------------------------------------------


def torch_eager():
    """Return an engine that takes a 0-dim tensor for every Value."""

    def mlp(*args, **options):
        model = _mlp_on(torch64)(*args, **options)
        model.zero_grad = lambda: [setattr(p, "grad", None) for p in model.parameters()]
        return model

    return Engine("torch, 0-dim", torch64, mlp, sum, None, without=frozenset({GPT}))


def on(titles, function, *args):
    return {row: partial(function, row, *args) for row in titles}


def eager(engine):
    nets = [row for row in (SMALL, LECTURE, GPT) if row not in engine.without]
    return on(nets, rows.eager_step, engine) | on(EXPRESSIONS, rows.eager_call, engine)


def entries():
    """Return engine -> row -> function, for the packages that are there."""
    nets, peers = [SMALL, LARGE, LECTURE], {"C by hand": by_hand.ENTRIES}
    if find_spec("casadi"):
        graphs = {f"{graph}: compile": partial(casadi_compile, graph) for graph in ("chain", "net")}
        graphs |= {f"{graph}: replay": partial(casadi_replay, graph) for graph in ("chain", "net")}
        peers["casadi"] = on([SMALL, LECTURE], casadi_net) | on(EXPRESSIONS, casadi_call)
        peers["casadi"] |= {TINY_MANY: casadi_many, **graphs}
    if find_spec("jax"):
        peers["jax"] = on(nets, jax_net) | on(EXPRESSIONS, jax_call) | {TINY_MANY: jax_many}
        peers["jax, loop"] = on(nets, jax_net, 100)
    if find_spec("torch"):
        peers["torch"] = on(nets, torch_net) | {TINY_MANY: torch_many}
        peers["torch 0-dim"] = eager(torch_eager())
    if find_spec("numpy"):
        peers["numpy"] = on([SMALL, LARGE], numpy_moons) | {TINY_MANY: numpy_many}
    for name in [name for name in ("pygrad", "micrograd", "microgpt") if name in ENGINES]:
        peers[f"{name} eager"] = eager(ENGINES[name])
    for graph in ("chain", "net"):
        peers["pygrad eager"][f"{graph}: replay"] = partial(rows.eager_replay, graph, ENGINES["pygrad"])
    return peers


PEERS = entries()
