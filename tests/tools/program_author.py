"""The author of programs in ordinary Python: `write(seed)` returns one as a source text. See ordinary_programs.py.

A program defines `f`, a function or an object with a `__call__`; `argnums`, the places of the arguments that have a
derivative; `static`, the names of its ints; and `calls`, functions that call an f with arguments. It may use the names
of `NAMES`, and `param(number)`, which makes a parameter: a Value, or on floats the number.

Each kind of expression or statement is a *production*: a method of `Author` that returns text, or None where it has
nothing to work on. A production with a risk, which pygrad must refuse in one of the ways, is open to few programs.
"""

import collections
import copy
import dataclasses
import enum
import functools
import math
import random

import numpy as np

import pygrad
from pygrad import Value

# --- what programs may call: on floats and Values alike ---------------------------------------------------------------


def _on_both(of_values, of_floats):
    """Return a function that calls the one for Values if an operand is a Value, else the one for floats."""

    def call(*operands):
        has_value = any(isinstance(x, Value) for x in operands)
        return (of_values if has_value else of_floats)(*operands)

    return call


NAMES = {
    "exp": _on_both(lambda x: x.exp(), math.exp),
    "tanh": _on_both(lambda x: x.tanh(), math.tanh),
    "sin": _on_both(lambda x: x.sin(), math.sin),
    "sqrt": _on_both(lambda x: x.sqrt(), math.sqrt),
    "less": _on_both(pygrad.less, lambda a, b: float(a < b)),
    "greater": _on_both(pygrad.greater, lambda a, b: float(a > b)),
    "equal": _on_both(pygrad.equal, lambda a, b: float(a == b)),
    "where": _on_both(pygrad.where, lambda c, a, b: a if c else b),
    "maximum": _on_both(pygrad.maximum, max),
    "minimum": _on_both(pygrad.minimum, min),
    "math": math,
    "copy": copy,
    "enum": enum,
    "dataclasses": dataclasses,
    "functools": functools,
    "collections": collections,
    "np": np,
}


# --- the author: from a seed to a program -----------------------------------------------------------------------------

DEFINITIONS = {
    "Mode": "class Mode(enum.Enum):\n    SOFT = 1\n    HARD = 2",
    "Point": 'Point = collections.namedtuple("Point", "u v")',
    "Params": '@dataclasses.dataclass\nclass Params:\n    w: float\n    b: float\n    kind: str = "relu"',
    "W": "W = param(0.7)",
    "TABLE": 'TABLE = {0: 0.5, 1: -1.5, "soft": 2.0, "hard": 0.25, True: 0.75}',
    "STATE": 'STATE = {"calls": 0, "log": []}',
    "Counter": "class Counter:\n    def __init__(self):\n        self.total, self.steps = 0.0, 0\n\n"
    "    def add(self, amount):\n        self.total += amount\n        self.steps += 1\n        return self",
    "squash": "def squash(t, scale=1.0):\n    return t / (scale + t * t)",
    "power": "def power(t, n):\n    if n == 0:\n        return 1.0\n    return tanh(t) * power(t, n - 1)",
    "walk": "def walk(t, n):\n    return t if n < 1 else sin(walk(t, n - 1) + t)",
    "pick": "def pick(t, mode=None):\n    if mode is None:\n        return t\n"
    '    if mode == "soft":\n        return tanh(t)\n    return t * TABLE.get(mode, 3.0)',
    "apply": "def apply(function, *items):\n    return sum(function(item) for item in items)",
    "memo": "@functools.lru_cache(maxsize=None)\ndef memo(k):\n"
    "    return 1.0 if k < 2 else memo(k - 1) + memo(k - 2) / 3",
}

# What an argument may be: how it is written in a call, `None` for a default; the second item: has it a derivative?
ARGUMENTS = {"number": True, "list": True, "dict": True, "point": True, "params": True}
ARGUMENTS |= dict.fromkeys(["int", "flag", "mode", "optional", "enum", "function", "mask", "labels"], False)

DEFAULTS = {"int": "2", "flag": "True", "mode": '"soft"', "optional": "None", "enum": "Mode.SOFT", "function": "tanh"}

NUMBERS, TRUTHS, STATEMENTS = {}, {}, {}  # production: (weight, risky feature or None)


def _production(table, weight=2, risk=None):
    def enter(method):
        table[method] = weight, risk
        return method

    return enter


class Author:
    """Writes one program, with what `random` draws."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        risks = sorted({risk for table in (NUMBERS, TRUTHS, STATEMENTS) for _, risk in table.values() if risk})
        self.risks = set(self.random.sample(risks, self.random.choice([0, 1, 1, 2, 2, 3])))
        self.kinds = {}  # name of an argument: its kind
        self.numbers, self.lists, self.ints, self.fresh = [], [], [], 0
        self.is_method = self.random.random() < 0.12

    # --- drawing ------------------------------------------------------------------------------------------------------

    def chance(self, probability):
        return self.random.random() < probability

    def draw(self, table, *args):
        """Return what a production of the table makes; one that cannot make anything here returns None."""
        open_to = {make: weight for make, (weight, risk) in table.items() if risk is None or risk in self.risks}
        while True:
            make = self.random.choices(list(open_to), list(open_to.values()))[0]
            made = make(self, *args)
            if made is not None:
                return made

    def of_kind(self, kind):
        """Return the name of an argument of this kind, or None."""
        names = [name for name, its in self.kinds.items() if its == kind]
        return self.random.choice(names) if names else None

    def one_of(self, names):
        return self.random.choice(names) if names else None

    def new(self):
        self.fresh += 1
        return f"v{self.fresh}"

    def constant(self):
        return repr(round(self.random.uniform(-2.0, 2.0), 2))

    def whole(self):
        """An expression that is an int from 0 to 3 or so."""
        names = self.ints + [name for name, kind in self.kinds.items() if kind == "int"] * 2
        return self.random.choice(names) if names and self.chance(0.8) else str(self.random.randrange(4))

    # --- numbers ------------------------------------------------------------------------------------------------------

    def number(self, depth=2):
        return self.draw(NUMBERS, depth - 1) if depth > 0 else self.leaf()

    def leaf(self):
        names = self.numbers + [name for name, kind in self.kinds.items() if kind == "number"]
        return self.random.choice([*names, *names, self.constant(), "W"]) if names else self.constant()

    @_production(NUMBERS, 5)
    def name_or_constant(self, depth):
        return self.leaf()

    @_production(NUMBERS, 9)
    def arithmetic(self, depth):
        return f"({self.number(depth)} {self.random.choice('+-*')} {self.number(depth)})"

    @_production(NUMBERS, 3)
    def division(self, depth):
        return f"({self.number(depth)} / (1.5 + abs({self.number(depth)})))"

    @_production(NUMBERS, 5)
    def function(self, depth):
        return f"{self.random.choice(['tanh', 'sin', 'squash', 'abs', '-'])}({self.number(depth)})"

    @_production(NUMBERS)
    def root(self, depth):
        return f"sqrt(1.0 + ({self.number(depth)}) ** 2)"

    @_production(NUMBERS)
    def with_keyword(self, depth):
        return f"squash({self.number(depth)}, scale={self.random.choice(['2.0', '1.5 + abs(' + self.leaf() + ')'])})"

    @_production(NUMBERS)
    def integer_arithmetic(self, depth):
        n = self.whole()
        return self.random.choice([f"({self.number(depth)} * {n})", f"tanh({self.leaf()}) ** {n}", f"({n} + 0.5)"])

    @_production(NUMBERS, 3)
    def extreme(self, depth):
        call = self.random.choice(["min", "max", "maximum", "minimum"])
        return f"{call}({self.number(depth)}, {self.number(depth)})"

    @_production(NUMBERS)
    def recorded_choice(self, depth):
        compare = self.random.choice(["less", "greater", "equal"])
        return f"where({compare}({self.leaf()}, {self.leaf()}), {self.number(depth)}, {self.number(depth)})"

    @_production(NUMBERS, 4)
    def conditional(self, depth):
        return f"({self.number(depth)} if {self.truth(1)} else {self.number(depth)})"

    @_production(NUMBERS, 4)
    def item(self, depth):
        xs = self.one_of(self.lists)
        return xs and f"{xs}[{self.random.choice(['0', '-1', '1', f'{self.whole()} % len({xs})', self.whole()])}]"

    @_production(NUMBERS, 4)
    def aggregate(self, depth):
        xs = self.one_of(self.lists)
        forms = ["sum({0})", "sum(v * v for v in {0}) / len({0})", "max({0})", "sum({0}[1:])", "sorted({0})[0]"]
        forms += ["functools.reduce(lambda a, b: a * b + 0.5, {0})", "sum(map(tanh, {0}))", "sum([*{0}, 1.0])"]
        forms += ["sum(v for i, v in enumerate({0}) if i != 1)", "sum(a * b for a, b in zip({0}, {0}[1:]))"]
        forms += ["sum(v for v in {0} if v > 0.1)", "sum(reversed({0}))", "max({0}, key=abs)"]
        return xs and self.random.choice(forms).format(xs)

    @_production(NUMBERS, 4)
    def field(self, depth):
        kind = self.random.choice(["dict", "point", "params"])
        name = self.of_kind(kind)
        forms = {"dict": ['{}["a"]', '{}["b"]', '{}.get("a", 1.0)', "sum({}.values())", '{}.get("c", 0.5)']}
        forms["point"] = ["{}.u", "{}.v", "{}[0]", "sum({})", "({0}.u * {0}.v)", "{0}._replace(u=1.0).v"]
        forms["params"] = ["{}.w", "{}.b", "({0}.w * 0.5 + {0}.b)", "dataclasses.replace({0}, w=0.3).b"]
        return name and self.random.choice(forms[kind]).format(name)

    @_production(NUMBERS)
    def call_with_static(self, depth):
        mode = self.of_kind("mode")
        return mode and f"pick({self.number(depth)}, {self.random.choice([mode, 'None', 'mode=' + mode])})"

    @_production(NUMBERS)
    def call_of_argument(self, depth):
        function = self.of_kind("function")
        return function and f"{function}({self.number(depth)})"

    @_production(NUMBERS)
    def higher_order(self, depth):
        return f"apply(lambda t: {self.random.choice(['t * t', 'tanh(t)', 't + W'])}, {self.leaf()}, {self.leaf()})"

    @_production(NUMBERS)
    def optional(self, depth):
        name = self.of_kind("optional")
        return name and f"({name} if {name} is not None else {self.leaf()})"

    @_production(NUMBERS)
    def memoized(self, depth):
        return f"memo({self.random.randrange(5)})"

    @_production(NUMBERS, risk="recursion")
    def recursion(self, depth):
        return f"{self.random.choice(['power', 'walk'])}({self.leaf()}, {self.whole()})"

    @_production(NUMBERS, risk="or")
    def default_by_or(self, depth):
        return f"({self.leaf()} {self.random.choice(['or', 'and'])} {self.number(depth)})"

    @_production(NUMBERS, risk="mask")
    def masked(self, depth):
        mask = self.of_kind("mask")
        if mask and self.lists:
            return f"sum(v for v, m in zip({self.one_of(self.lists)}, {mask}) if {self.random.choice(['m', 'not m'])})"
        return f"({self.truth(1)}) * {self.number(depth)}"

    @_production(NUMBERS, risk="labels")
    def of_labels(self, depth):
        labels = self.of_kind("labels")
        forms = ["{0}.count(1)", "sum(1.0 if t == 1 else -0.5 for t in {0})", "(2.0 if 1 in {0} else 0.5)", "sum({0})"]
        forms += ["len(set({0}))", "sum(collections.Counter({0}).values())", "len({{t: 0 for t in {0}}})"]
        forms += ["TABLE.get({0}[0], 0.3)", "{0}.index(1)" if self.chance(0.2) else "({0}[0] == {0}[1]) * 1.5"]
        return labels and f"({self.random.choice(forms).format(labels)} * {self.leaf()})"

    @_production(NUMBERS, risk="table")
    def table(self, depth):
        return self.random.choice(["TABLE.get({}, 0.3)", "TABLE[min({}, 1)]", "[0.3, 1.0, 2.0, -1.0][{}]"]).format(
            self.whole()
        )

    @_production(NUMBERS, risk="rounding")
    def rounded(self, depth):
        forms = ["round({}, 1)", "int({})", "float({})", "({} // 0.5)", "({} % 0.7)", "math.floor({})", "+{}"]
        return self.random.choice([*forms, "math.sqrt(1.0 + ({}) ** 2)", "math.tanh({})"]).format(self.leaf())

    @_production(NUMBERS, risk="text")
    def by_text(self, depth):
        forms = ['float(f"{{{}:.3f}}")', 'float("%.2f" % {})', 'float(format({}, ".2f"))']
        return self.random.choice(forms).format(self.leaf())

    @_production(NUMBERS, risk="numpy")
    def by_numpy(self, depth):
        xs = self.of_kind("list")  # NumPy asks each item for its exp(): there may be no floats among them
        forms = ["np.sum({})", "np.mean({})", "np.dot({0}, {0})", "np.max({})", "np.exp({}).sum()", "np.sort({})[0]"]
        forms += [
            "np.tanh({}).mean()",
            "np.where({0} > 0.0, {0}, 0.5).sum()",
            "{0}[{0} > 0.0].sum()",
            "np.abs({}).sum()",
        ]
        forms += ["np.maximum({}, 0.0).sum()", "np.clip({}, -0.5, 0.5).sum()", "({} == 1.0).sum()", "np.argmax({})"]
        forms += ["np.count_nonzero({})", "np.any({}) * 1.5", "np.cumsum({})[-1]", "np.prod({})"]
        forms += ["np.square({}).sum()", "({0} * {0} + 1.0)[0]", "np.sum({} != 0.0)", "np.all({} == 0.0) * 1.0"]
        return xs and f"({self.random.choice(forms).format(f'np.array({xs})')} * {self.leaf()})"

    @_production(NUMBERS, risk="copies")
    def copied(self, depth):
        params, numbers = self.of_kind("params"), self.of_kind("dict")
        forms = (
            [f'dataclasses.asdict({params})["w"]', f"copy.deepcopy({params}).b", f"copy.copy({params}).w"]
            if params
            else []
        )
        forms += [f'copy.deepcopy({numbers})["a"]', f'dict({numbers})["b"]'] if numbers else []
        forms += [f"copy.deepcopy({self.leaf()})", f"copy.deepcopy([{self.leaf()}, 1.0])[0]"]
        return self.random.choice(forms)

    # --- truths -------------------------------------------------------------------------------------------------------

    def truth(self, depth=1):
        return self.draw(TRUTHS, depth)

    @_production(TRUTHS, 5)
    def comparison(self, depth):
        return f"{self.number(0)} {self.random.choice(['<', '>', '<=', '>='])} {self.number(0)}"

    @_production(TRUTHS, 8)
    def flag(self, depth):
        name = self.of_kind("flag")
        return name and self.random.choice([name, f"not {name}", f"{name} is True", f"{name} == False"])

    @_production(TRUTHS, 6)
    def of_mode(self, depth):
        name = self.of_kind("mode")
        return name and self.random.choice(
            ['{} == "soft"', '{} != "hard"', '{} in ("soft", "x")', "{} in TABLE"]
        ).format(name)

    @_production(TRUTHS, 3)
    def of_enum(self, depth):
        name = self.of_kind("enum")
        return name and self.random.choice(["{} is Mode.SOFT", "{} == Mode.HARD", "{}.value > 1"]).format(name)

    @_production(TRUTHS, 3)
    def of_field(self, depth):
        name = self.of_kind("params")
        return name and f'{name}.kind == "relu"'

    @_production(TRUTHS, 2)
    def of_list(self, depth):
        xs = self.one_of(self.lists)
        return xs and self.random.choice([f"len({xs}) > 2", xs, f"not {xs}"])

    @_production(TRUTHS, 3)
    def of_int(self, depth):
        forms = ["{} == 0", "{} > 1", "{} in (0, 2)", "{} != 1", "{} < 2", "0 < {} < 3", "{} % 2 == 0", "not {}", "{}"]
        return self.random.choice([*forms, "{} in {{0, 1}}", "{} in TABLE", "{} in range(2)"]).format(self.whole())

    @_production(TRUTHS, 2)
    def made_by_comparing(self, depth):
        return f"{self.random.choice(['less', 'greater'])}({self.number(0)}, {self.number(0)})"

    @_production(TRUTHS, 2)
    def joined(self, depth):
        return f"({self.truth(0)} {self.random.choice(['and', 'or'])} {self.truth(0)})" if depth else None

    @_production(TRUTHS, risk="number as truth")
    def of_number(self, depth):
        return self.random.choice(["{}", "not {}", "bool({})", "{} == 1.0", "{} != 0.0", "{} in (0.0, 1.0)"]).format(
            self.leaf()
        )

    @_production(TRUTHS, risk="any")
    def any_of(self, depth):
        xs = self.one_of(self.lists)
        forms = ["any({})", "all({})", "any(v > 0.5 for v in {})", "0.0 in {}", "{0}[0] == {0}[1]", "{0}[0] in {0}[1:]"]
        return xs and self.random.choice([*forms, "{0} == [0.0, 1.0]", "{0}[:1] == {0}[-1:]"]).format(xs)

    @_production(TRUTHS, risk="equal structures")
    def of_structures(self, depth):
        name = self.of_kind("point") or self.of_kind("params") or self.of_kind("dict")
        other = {"point": "Point(0.0, 1.0)", "params": "Params(0.0, 1.0)", "dict": '{"a": 0.0, "b": 1.0}'}
        return name and f"{name} {self.random.choice(['==', '!='])} {other[self.kinds[name]]}"

    # --- statements ---------------------------------------------------------------------------------------------------

    def block(self, size, depth):
        """Return the lines of a block, and forget the names that are new in it."""
        known = self.numbers[:], self.lists[:], self.ints[:]
        lines = [line for _ in range(size) for line in self.draw(STATEMENTS, depth)]
        self.numbers, self.lists, self.ints = known
        return ["    " + line for line in lines]

    def small_block(self, depth):
        return self.block(self.random.choice([1, 1, 2]), depth - 1)

    @_production(STATEMENTS, 6)
    def assignment(self, depth):
        text, name = self.number(2), self.new()
        self.numbers.append(name)
        return [f"{name} = {text}"]

    @_production(STATEMENTS, 6)
    def augmented(self, depth):
        return [f"total {self.random.choice(['+=', '-=', '*='])} {self.number(2)}"]

    @_production(STATEMENTS, 6)
    def branch(self, depth):
        if depth < 1:
            return None
        lines = [f"if {self.truth()}:", *self.small_block(depth)]
        if self.chance(0.3):
            lines += [f"elif {self.truth()}:", *self.small_block(depth)]
        return lines + (["else:", *self.small_block(depth)] if self.chance(0.5) else [])

    @_production(STATEMENTS, 3)
    def loop_over_list(self, depth):
        xs, v, i = self.one_of(self.lists), self.new(), self.new()
        if not xs or depth < 1:
            return None
        head, ints = self.random.choice([(f"{v} in {xs}", []), (f"{i}, {v} in enumerate({xs})", [i])])
        return self.loop(f"for {head}:", depth, [v], ints)

    @_production(STATEMENTS, 3)
    def loop_over_range(self, depth):
        i = self.new()
        return self.loop(f"for {i} in range({self.whole()}):", depth, [], [i]) if depth > 0 else None

    def loop(self, head, depth, numbers, ints):
        known = self.numbers[:], self.ints[:]
        self.numbers += numbers
        self.ints += ints
        body = self.small_block(depth)
        if self.chance(0.2):
            word = self.random.choice(["break", "continue"])
            body = [f"    if {self.truth()}:", f"        {word}", *body]
        self.numbers, self.ints = known
        return [head, *body]

    @_production(STATEMENTS, 2)
    def while_loop(self, depth):
        if depth < 1:
            return None
        steps, bound = self.new(), self.random.randrange(1, 5)
        test = self.random.choice([f"abs(total) > {abs(float(self.constant())) + 0.1:.2f}", self.truth(0)])
        self.ints.append(steps)
        return [
            f"{steps} = 0",
            f"while {steps} < {bound} and {test}:",
            f"    {steps} += 1",
            "    total = total * 0.5",
            *self.small_block(depth),
        ]

    @_production(STATEMENTS, 1, risk="while")
    def countdown(self, depth):
        n, steps = self.new(), self.new()
        test = self.random.choice([n, f"{n} > 0", f"{n} != 0", f"not {n} == 0"])
        return [
            f"{n}, {steps} = {self.whole()}, 0",
            f"while {test} and {steps} < 9:",
            f"    {n} -= 1; {steps} += 1",
            f"    total += {self.leaf()}",
        ]

    @_production(STATEMENTS, 2)
    def early_return(self, depth):
        return [f"if {self.truth()}:", f"    return {self.result()}"]

    @_production(STATEMENTS, 3)
    def list_of_numbers(self, depth):
        xs, name = self.one_of(self.lists), self.new()
        forms = [f"[{self.number(1)}, {self.number(1)}, {self.number(0)}]"]
        if xs:
            forms += [
                f"[{self.random.choice(['v * v', 'tanh(v)', 'v + ' + self.leaf()])} for v in {xs}]",
                f"list({xs}[::-1])",
            ]
            forms += [f"sorted({xs})", f"{xs} + [{self.leaf()}]", f"[v for i, v in enumerate({xs}) if i < 2]"]
        self.lists.append(name)
        return [f"{name} = {self.random.choice(forms)}"]

    @_production(STATEMENTS, 2)
    def append(self, depth):
        name = self.one_of([name for name in self.lists if name.startswith("v")])
        return name and [
            self.random.choice(
                [f"{name}.append({self.number(1)})", f"{name}[0] = {self.number(1)}", f"{name}[1] += {self.leaf()}"]
            )
        ]

    @_production(STATEMENTS, 2)
    def dictionary(self, depth):
        d, name = self.new(), self.new()
        key = self.of_kind("mode") if self.chance(0.5) else None
        lines = [f'{d} = {{"p": {self.number(1)}, {key or repr("q")}: {self.leaf()}}}']
        lines += [f'{d}["p"] += {self.leaf()}', f"{name} = sum(v for k, v in sorted({d}.items()))"]
        self.numbers.append(name)
        return lines

    @_production(STATEMENTS, 2)
    def unpacking(self, depth):
        a, b, xs = self.new(), self.new(), self.one_of(self.lists)
        if xs and self.chance(0.6):
            lines = [f"{a}, *{b} = {xs}", f"total += len({b})"]
        else:
            lines = [f"{a}, {b} = {self.number(1)}, {self.number(1)}", f"{a}, {b} = {b}, {a} * {b}"]
        self.numbers.append(a)
        return lines

    @_production(STATEMENTS, 2)
    def counting(self, depth):
        return [f"count += {self.random.choice(['1', f'{self.comparison(0)}', f'(1 if {self.truth(0)} else 0)'])}"]

    @_production(STATEMENTS, 2)
    def object_with_state(self, depth):
        c, name = self.new(), self.new()
        lines = [f"{c} = Counter().add({self.number(1)})", f"{c}.add({self.leaf()})", f"{name} = {c}.total / {c}.steps"]
        self.numbers.append(name)
        return lines

    @_production(STATEMENTS, 2)
    def global_state(self, depth):
        return [
            self.random.choice(
                ['STATE["calls"] += 1', f'STATE["log"].append({self.leaf()})', f'STATE["last"] = {self.leaf()}']
            )
        ]

    @_production(STATEMENTS, 2)
    def closure(self, depth):
        name, inner = self.new(), self.random.choice(["t * total", "t + total", "tanh(t - total)"])
        return [
            f"def {name}(t, k=2):",
            "    nonlocal count",
            "    count += 1",
            f"    return ({inner}) / k",
            f"total = {name}({self.number(1)})",
        ]

    @_production(STATEMENTS, 2)
    def matched(self, depth):
        name = self.of_kind("mode")
        if not name or depth < 1:
            return None
        parts = [
            f"    {line}" for line in ['case "soft":', *self.small_block(depth), "case _:", *self.small_block(depth)]
        ]
        return [f"match {name}:", *parts]

    @_production(STATEMENTS, 1, risk="match")
    def matched_int(self, depth):
        return [
            f"match {self.whole()}:",
            "    case 0:",
            "        total += 0.5",
            "    case 1 | 2:",
            f"        total -= {self.leaf()}",
        ]

    @_production(STATEMENTS, 2)
    def guarded(self, depth):
        xs = self.one_of(self.lists)
        return xs and [
            "try:",
            f"    total += {xs}[{self.random.choice(['2', '3', '7', self.whole()])}]",
            "except IndexError:",
            "    total -= 0.5",
        ]

    @_production(STATEMENTS, 1, risk="guarded table")
    def guarded_key(self, depth):
        return ["try:", f"    total += TABLE[{self.whole()}]", "except KeyError:", "    total -= 0.5"]

    @_production(STATEMENTS, 1)
    def refusal(self, depth):
        return [f"if {self.truth()}:", '    raise ValueError("the program refuses this")'] if self.chance(0.3) else None

    @_production(STATEMENTS, 1)
    def text(self, depth):
        return [f'STATE["log"].append(f"{{total}} {{count}} {{{self.leaf()}}}")']

    @_production(STATEMENTS, 1, risk="repeat")
    def repeated(self, depth):
        return [f"total += sum([{self.leaf()}] * {self.whole()})"]

    @_production(STATEMENTS, 1, risk="sorting")
    def sorting(self, depth):
        name, xs = self.new(), self.one_of(self.lists)
        return xs and [
            f"{name} = sorted({xs}, key=lambda v: -v)",
            f"{name}.sort()",
            f"total += {name}[0] * 2.0 - {name}[-1]",
        ]

    # --- the whole program --------------------------------------------------------------------------------------------

    def result(self):
        return {
            "number": lambda: f"{' + '.join(['total', *self.numbers[1:]])} + count * {self.number(1)}",
            "tuple": lambda: f"total + {self.numbers[-1]}, {self.number(1)}",
            "list": lambda: f"[total, {self.number(1)}, count]",
            "dict": lambda: f'{{"loss": total, "rest": {self.number(1)}}}',
            "point": lambda: f"Point(total, {self.number(1)})",
        }[self.returns]()

    def written(self, kind):
        """Return an argument of this kind as a call has it."""
        number = self.random.choice(["0.0", "1.0"]) if self.chance(0.1) else repr(round(self.random.uniform(-2, 2), 3))
        more = [repr(round(self.random.uniform(-2, 2), 3)) for _ in range(self.length - 1)]
        return {
            "number": number,
            "list": f"[{', '.join([number, *more])}]",
            "dict": f'{{"a": {number}, "b": {more[0]}}}',
            "point": f"Point({number}, {more[0]})",
            "params": self.random.choice(
                [f"Params({number}, {more[0]})"] * 2 + [f'Params({number}, {more[0]}, kind="tanh")']
            ),
            "int": str(self.random.randrange(4)),
            "flag": self.random.choice(["True", "False"]),
            "mode": self.random.choice(['"soft"', '"hard"', '"none"']),
            "optional": self.random.choice(["None", number]),
            "enum": self.random.choice(["Mode.SOFT", "Mode.HARD"]),
            "function": self.random.choice(["tanh", "sin", "squash"]),
            "mask": f"[{', '.join(self.random.choice(['True', 'False']) for _ in range(self.length))}]",
            "labels": f"[{', '.join(self.random.choice(['0', '1', '2']) for _ in range(self.length))}]",
        }[kind]

    def calls(self):
        """Return the lines of `calls`: four, the later ones with some other arguments."""
        given, lines = {name: self.written(kind) for name, kind in self.kinds.items()}, []
        for _ in range(4):
            by_place = self.random.randint(len(self.kinds) - len(self.defaults), len(self.kinds))
            parts = [given[name] for name in self.kinds][:by_place]
            parts += [f"{name}={given[name]}" for name in list(self.kinds)[by_place:] if self.chance(0.6)]
            lines.append(f"    lambda f: f({', '.join(parts)}),")
            for name, kind in self.kinds.items():
                if self.chance(0.9 if ARGUMENTS[kind] else 0.3):
                    given[name] = self.written(kind)
        return ["calls = [", *lines, "]"]

    def write(self):
        self.length = self.random.choice([2, 3, 3, 4])
        self.returns = self.random.choice(["number"] * 7 + ["tuple", "list", "dict", "point"])
        kinds = [
            "number",
            *self.random.choices([kind for kind, smooth in ARGUMENTS.items() if smooth], k=self.random.randrange(3)),
        ]
        others = [kind for kind, smooth in ARGUMENTS.items() if not smooth]
        wanted = [kind for kind in ("mask", "labels") if kind in self.risks]
        kinds += wanted + self.random.sample(
            [k for k in others if k not in ("mask", "labels")], self.random.choice([0, 1, 1, 2])
        )
        for kind in kinds:
            self.kinds[f"{kind[0]}{len(self.kinds)}"] = kind
        self.lists = [name for name, kind in self.kinds.items() if kind == "list"]
        names = list(self.kinds)
        first = self.random.randint(sum(kind not in DEFAULTS for kind in kinds), len(names))
        self.defaults = {name: DEFAULTS[self.kinds[name]] for name in names[first:]}
        parameters = ", ".join(f"{name}={self.defaults[name]}" if name in self.defaults else name for name in names)
        self.numbers = ["total"]
        start = [f"    total, count = {self.random.choice([self.constant(), names[0]])}, 0"]
        if self.is_method:
            self.numbers.append("self.scale")
        body = [*start, *self.block(self.random.randrange(2, 7), 2), f"    return {self.result()}"]
        if self.is_method:
            head = ["class Model:", "    def __init__(self):", "        self.scale = param(0.4)", ""]
            name = self.random.choice(["loss", "__call__"])
            lines = [*head, f"    def {name}(self, {parameters}):", *["    " + line for line in body], ""]
            lines += [f"f = Model(){'.loss' if name == 'loss' else ''}"]
        else:
            lines = [f"def f({parameters}):", *body]
        smooth = tuple(i for i, kind in enumerate(kinds) if ARGUMENTS[kind])
        ints = tuple(name for name, kind in self.kinds.items() if kind == "int")
        lines += [f"argnums, static = {smooth}, {ints}", *self.calls()]
        return "\n".join(_with_definitions(lines))


def _with_definitions(lines):
    text, found = "\n".join(lines), []
    for name, definition in reversed(DEFINITIONS.items()):
        if name in text:
            text, found = f"{definition}\n{text}", [definition, *found]
    return [*found, *lines]


def write(seed):
    """Return the program of this seed."""
    return Author(f"program {seed}").write()
