"""A character-level GPT, scalar by scalar: every weight, every product and every sum is a Value of its own.

The model is GPT-2's (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019) made small, as in
Karpathy's microgpt: RMSNorm for LayerNorm, relu for GELU, no biases, no dropout. It reads one letter at a time and
remembers the keys and values of the letters before, so it cannot look ahead.

The code is plain Python and needs of a `Value` only + - * /, ** with a number, exp, log and relu. So it runs on any
engine that has these, and is one of the benchmarks. In two places it decides by numbers: it picks from a list by a
token, and it finds the largest score. A compiled function must not do so; therefore both functions are arguments:
`GPT(pygrad.Value, take=pygrad.take, largest=pygrad.functional.largest)` can be compiled, with tokens as inputs.
"""

import functools
import operator
import random

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BOUNDARY = 0  # the token before a name and after it; the letters are 1 to 26
N_TOKENS = len(LETTERS) + 1


def encode(name):
    """Return the tokens of `name` between two boundaries. Raises ValueError for characters other than a to z."""
    if not set(name) <= set(LETTERS):
        raise ValueError(f"{name!r} has characters other than a to z")
    return [BOUNDARY, *(LETTERS.index(letter) + 1 for letter in name), BOUNDARY]


def decode(tokens):
    """Return the letters of `tokens`, a list without a boundary."""
    return "".join(LETTERS[token - 1] for token in tokens)


def largest_number(scores):
    return max(score.data for score in scores)


class GPT:
    """A GPT over the 27 tokens of `encode`. Equal seeds give equal weights, for every engine's `Value`.

    `n_embd` numbers stand for a letter at a place, `n_head` attention heads share them, and `block_size` is the largest
    number of tokens to read. Raises ValueError if the heads cannot share the numbers evenly.
    `take(values, index)` returns an item of a list of Values or of lists; `largest(scores)` returns the number that a
    softmax subtracts from all scores.
    """

    def __init__(
        self,
        Value,
        n_embd=16,
        n_head=4,
        n_layer=1,
        block_size=12,
        seed=1337,
        take=operator.getitem,
        largest=largest_number,
    ):
        if n_embd % n_head:
            raise ValueError(f"n_embd = {n_embd} numbers cannot be shared by n_head = {n_head} heads evenly")
        rng = random.Random(seed)

        def matrix(rows, columns):
            return [[Value(rng.gauss(0, 0.1)) for _ in range(columns)] for _ in range(rows)]

        self.block_size, self.take, self.softmax = block_size, take, functools.partial(softmax, largest=largest)
        self.letters, self.places = matrix(N_TOKENS, n_embd), matrix(block_size, n_embd)
        self.layers = [Layer(matrix, n_embd, n_head, self.softmax) for _ in range(n_layer)]
        self.output = matrix(N_TOKENS, n_embd)

    def parameters(self):
        """Return all weights in one list."""
        matrices = [self.letters, self.places, *(m for layer in self.layers for m in layer.matrices()), self.output]
        return [weight for matrix in matrices for row in matrix for weight in row]

    def new_memory(self):
        """Return an empty memory: for each layer a list, to which each token adds its key and value."""
        return [[] for _ in self.layers]

    def read(self, token, memory):
        """Read one more token and add it to `memory`; return 27 scores, one for each token that may follow.

        Raises ValueError if `memory` has `block_size` tokens already.
        """
        place = len(memory[0])
        if place == self.block_size:
            raise ValueError(f"this GPT reads at most block_size = {self.block_size} tokens in a row")
        x = add(self.take(self.letters, token), self.places[place])
        for layer, remembered in zip(self.layers, memory):
            x = layer(x, remembered)
        return linear(self.output, rmsnorm(x))

    def loss(self, tokens):
        """Return the mean cross-entropy, in nats, of all `tokens` but the first, each given the tokens before it."""
        memory = self.new_memory()
        losses = []
        for token, target in zip(tokens, tokens[1:]):
            chances = self.softmax(self.read(token, memory))
            losses.append(-self.take(chances, target).log())
        return sum(losses) / len(losses)

    def sample(self, rng, temperature=0.5):
        """Return a name of at least one letter, drawn letter by letter with `rng` (a random.Random).

        `temperature` is positive; the lower it is, the more a likely letter is preferred.
        """
        memory, tokens = self.new_memory(), [BOUNDARY]
        while len(tokens) <= self.block_size:
            scores = self.read(tokens[-1], memory)
            allowed = [token for token in range(N_TOKENS) if token != BOUNDARY or len(tokens) > 1]
            chances = self.softmax([scores[token] / temperature for token in allowed])
            (token,) = rng.choices(allowed, [chance.data for chance in chances])
            if token == BOUNDARY:
                break
            tokens.append(token)
        return decode(tokens[1:])


class Layer:
    """One layer: attention adds to x what it finds in this token and those before; then an MLP adds its outputs."""

    def __init__(self, matrix, n_embd, n_head, softmax):
        self.softmax, size = softmax, n_embd // n_head
        self.heads = [slice(start, start + size) for start in range(0, n_embd, size)]
        self.query, self.key, self.value, self.merge = (matrix(n_embd, n_embd) for _ in range(4))
        self.widen, self.narrow = matrix(4 * n_embd, n_embd), matrix(n_embd, 4 * n_embd)

    def matrices(self):
        return [self.query, self.key, self.value, self.merge, self.widen, self.narrow]

    def __call__(self, x, remembered):
        x = add(x, self.attend(rmsnorm(x), remembered))
        return add(x, self.mlp(rmsnorm(x)))

    def attend(self, x, remembered):
        remembered.append((linear(self.key, x), linear(self.value, x)))
        keys, values = zip(*remembered)
        query, found = linear(self.query, x), []
        for head in self.heads:
            found += look_up(query[head], [k[head] for k in keys], [v[head] for v in values], self.softmax)
        return linear(self.merge, found)

    def mlp(self, x):
        return linear(self.narrow, [hidden.relu() for hidden in linear(self.widen, x)])


# --- the parts, on lists of Values ------------------------------------------------------------------------------------


def dot(ws, xs):
    return sum(wi * xi for wi, xi in zip(ws, xs))


def linear(matrix, x):
    """Return matrix (rows, columns) times x (columns,): a list (rows,)."""
    return [dot(row, x) for row in matrix]


def add(xs, ys):
    return [x + y for x, y in zip(xs, ys)]


def rmsnorm(x):
    """Return x scaled to a root mean square of 1 (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019)."""
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def softmax(scores, largest=largest_number):
    """Return exp(scores) over their sum; `largest` of them is subtracted first, so that no exp overflows."""
    peak = largest(scores)
    exps = [(score - peak).exp() for score in scores]
    total = sum(exps)
    return [e / total for e in exps]


def look_up(query, keys, values, softmax=softmax):
    """Return the mean of `values`, each weighed by how well its key fits `query`.

    All are lists of numbers of one length. This is scaled dot-product attention (Vaswani et al., "Attention Is All You
    Need", 2017).
    """
    scale = len(query) ** -0.5
    weights = softmax([dot(query, key) * scale for key in keys])
    return [dot(weights, column) for column in zip(*values)]


class Adam:
    """Adam (Kingma and Ba, 2015), with a learning rate that falls linearly from `lr` to 0 in `steps` steps."""

    def __init__(self, parameters, steps, lr=0.01, betas=(0.9, 0.99), eps=1e-8):
        self.parameters, self.steps, self.lr, self.betas, self.eps = parameters, steps, lr, betas, eps
        self.taken = 0
        self.means, self.squares = [0.0] * len(parameters), [0.0] * len(parameters)  # running, of the gradients

    def zero_grad(self):
        for p in self.parameters:
            p.grad = 0.0

    def step(self):
        """Update the parameters from their gradients."""
        rate = self.lr * max(0.0, 1 - self.taken / self.steps)
        self.taken += 1
        beta1, beta2 = self.betas
        unbias1, unbias2 = 1 - beta1**self.taken, 1 - beta2**self.taken
        for i, p in enumerate(self.parameters):
            grad = p.grad
            mean = self.means[i] = beta1 * self.means[i] + (1 - beta1) * grad
            square = self.squares[i] = beta2 * self.squares[i] + (1 - beta2) * grad * grad
            p.data -= rate * (mean / unbias1) / ((square / unbias2) ** 0.5 + self.eps)
