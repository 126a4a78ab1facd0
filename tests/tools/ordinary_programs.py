"""Programs in ordinary Python: `python tests/tools/ordinary_programs.py --count 10000 --seed 1`. No file of tests.

The rule is "never a silent difference". Each program is one source text. It runs on plain floats, under eager
transforms, and compiled: recorded at the first of its calls, and then run at all of them, one by one and in batches.
Values must be those of the floats, gradients those of differences of the floats. What pygrad cannot do right it must
refuse by an error of its own, or name the line of the program in a warning. All else is a finding:

    value       another number, without a word
    gradient    another derivative, without a word
    at record   another number, although it is the recorded call itself: no warning excuses that
    foreign     an error that is not pygrad's own: a RecursionError, an AttributeError, an error from inside NumPy
    plain       a TypeError of Python's own that names a Value, and no cure
    hang        a call that does not end

A program is made by `write(seed)`; a finding's program is cut down to a small one (`shrunk`), and printed. Each program
may use a few risky features only, so that most programs can be answered. Exit status 1 if there is a finding.
`--proxy python` or `native` chooses the proxy; `--show N` prints the program of seed N and what is said of it.
"""

import argparse
import ast
import collections
import contextlib
import dataclasses
import functools
import math
import os
import random
import signal
import sys
import threading
import traceback
import warnings

if "--proxy" in sys.argv:  # before pygrad is imported
    os.environ["PYGRAD_PROXY"] = sys.argv[sys.argv.index("--proxy") + 1]

from program_author import NAMES, write

import pygrad
from pygrad import Value

PATIENCE = 20  # seconds for one way to run one program
PACKAGE = os.path.dirname(pygrad.__file__) + os.sep


# --- the judge: a program in all ways ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Raised:
    """The exception that a call ended with."""

    error: BaseException

    def is_of_the_program(self):
        return type(self.error) is ValueError and "the program refuses this" == str(self.error)


class Hang(BaseException):
    """A call took longer than `PATIENCE` seconds."""


def _outcome(call, function):
    """Return what the call returns, or Raised."""
    try:
        return call(function)
    except (Exception, RecursionError) as error:
        return Raised(error)


class Program:
    """A source text, and what it returns on floats; `expected` is None if it is no program to compare with."""

    def __init__(self, source, label):
        self.source, self.label, self.tree = source, label, ast.parse(source)
        self.expected = None
        with contextlib.suppress(Hang), _patience(1):
            first, again = self.names("floats", float), self.names("floats", float)
            self.argnums, self.static, self.calls = first["argnums"], first["static"], first["calls"]
            forward = [_outcome(call, first["f"]) for call in self.calls]
            backward = [_outcome(call, again["f"]) for call in again["calls"][::-1]][::-1]
            if all(map(_is_fit, forward)) and all(map(_same_outcome, forward, backward)):
                self.expected = forward

    def names(self, way, param):
        """Return the names that the program defines, run anew; each way has a file name of its own."""
        names = {**NAMES, "param": param, "__name__": "program"}
        exec(compile(self.tree, f"<program {self.label} {way}>", "exec"), names)
        return names

    def difference(self, i):
        """Return (a direction, one item for each smooth number; the slope of call i in it), or None at a kink."""
        names, random_ = self.names("floats", float), random.Random(f"{self.label} {i}")
        call, function = names["calls"][i], names["f"]
        args, keywords = call(_arguments)
        numbers = _flat([args[i] for i in self.argnums])
        direction = [random_.uniform(-1.0, 1.0) for _ in numbers]

        def at(step):
            moved = iter([x + step * d for x, d in zip(numbers, direction)])
            args_there = [_rebuilt(arg, moved) if i in self.argnums else arg for i, arg in enumerate(args)]
            return _total(_outcome(lambda f: f(*args_there, **keywords), function))

        h = 1e-5
        try:
            slope, *others = [(at(a) - at(b)) / (a - b) for a, b in ((h, -h), (10 * h, -10 * h), (-h, 0.0), (0.0, h))]
        except TypeError:  # the program refuses one of these points
            return None
        return (direction, slope) if all(_close(slope, other, 1e-3) for other in others) else None


def _is_fit(outcome):
    if isinstance(outcome, Raised):
        return outcome.is_of_the_program()
    return all(abs(x) < 1e6 for x in _flat(outcome))


def _flat(x):
    """Return all numbers in a structure, in a flat list; strings and None are left out."""
    if isinstance(x, (int, float)):
        return [float(x)]
    if dataclasses.is_dataclass(x):
        x = [getattr(x, field.name) for field in dataclasses.fields(x)]
    if isinstance(x, dict):
        x = list(x.values())
    if hasattr(x, "tolist"):
        return _flat(x.tolist())
    return [number for item in x for number in _flat(item)] if isinstance(x, (list, tuple)) else []


def _rebuilt(x, numbers):
    """Return the structure `x` with other floats."""
    if isinstance(x, float):
        return next(numbers)
    if dataclasses.is_dataclass(x):
        return type(x)(*[_rebuilt(getattr(x, field.name), numbers) for field in dataclasses.fields(x)])
    if isinstance(x, dict):
        return {key: _rebuilt(item, numbers) for key, item in x.items()}
    if hasattr(x, "_fields"):
        return type(x)(*[_rebuilt(item, numbers) for item in x])
    return [_rebuilt(item, numbers) for item in x] if isinstance(x, list) else x


def _total(result):
    """Return the sum of all Values and numbers in a result: one number, to be differentiated."""
    if isinstance(result, Raised):
        raise TypeError
    if isinstance(result, dict):
        return sum(map(_total, result.values()))
    return sum(map(_total, result)) if isinstance(result, (list, tuple)) else result


def _close(a, b, error=1e-9):
    return abs(a - b) <= error * max(1.0, abs(a), abs(b))


def _same(a, b):
    """True if two results have the same numbers, and the same keys if they are dicts."""
    if isinstance(a, dict) != isinstance(b, dict) or (isinstance(a, dict) and list(a) != list(b)):
        return False
    a, b = _flat(a), _flat(b)
    return len(a) == len(b) and all(map(_close, a, b))


def _same_outcome(a, b):
    if isinstance(a, Raised) or isinstance(b, Raised):
        return isinstance(a, Raised) and isinstance(b, Raised) and b.is_of_the_program()
    return _same(a, b)


# --- the ways: each yields (number of the call, what it is about, expected, got, excused) -----------------------------


def _watched(call, function):
    """Return (the outcome, the warnings that name a line of a program)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = _outcome(call, function)
    return outcome, [w for w in caught if w.filename.startswith("<program")]


def _gradient_of_all(program, names):
    """`value_and_grad` by all arguments: an int is a Value too."""
    yield from _transformed(program, names, pygrad.value_and_grad(_totalled(names["f"])), None)


def _gradient(program, names):
    """`value_and_grad` by the smooth arguments: all others are as they were."""
    transformed = pygrad.value_and_grad(_totalled(names["f"]), argnums=program.argnums)
    yield from _transformed(program, names, transformed, program.argnums)


def _transformed(program, names, transformed, argnums):
    for i, call in enumerate(names["calls"]):
        got, warned = _watched(call, transformed)
        expected = program.expected[i]
        if isinstance(got, Raised) or isinstance(expected, Raised):
            yield i, "value", expected, got, warned
            continue
        yield i, "value", _total(expected), got[0], warned
        if argnums and (found := program.difference(i)):
            direction, slope = found
            gradient = _flat(got[1])
            mine = sum(map(float.__mul__, direction, gradient)) if len(direction) == len(gradient) else math.nan
            yield i, "gradient", slope, mine, warned


def _totalled(function):
    """Return the function with one number as its result: the sum of all."""

    @functools.wraps(function)
    def total(*args, **keywords):
        return _total(function(*args, **keywords))

    return total


def _hessian(program, names):
    """The Hessian of the compiled function: that of eager code."""
    total = _totalled(names["f"])
    compiled = pygrad.compile(total, batched=False, static=program.static)
    eager, transformed = [pygrad.hessian(function, argnums=program.argnums) for function in (total, compiled)]
    yield from _against(names, eager, transformed)


def _aux(program, names):
    """What a function returns besides its number comes back as plain numbers."""
    function = names["f"]

    @functools.wraps(function)
    def with_aux(*args, **keywords):
        result = function(*args, **keywords)
        return _total(result), result

    transformed = pygrad.value_and_grad(with_aux, argnums=program.argnums, has_aux=True)
    for i, call in enumerate(names["calls"]):
        got, warned = _watched(call, transformed)
        yield i, "value", program.expected[i], got if isinstance(got, Raised) else got[0][1], warned


def _compiled(program, names):
    """Compiled for one sample, the ints static."""
    yield from _one_by_one(program, names, pygrad.compile(names["f"], batched=False, static=program.static))


def _compiled_without_static(program, names):
    """Compiled for one sample: an int is a Value."""
    yield from _one_by_one(program, names, pygrad.compile(names["f"], batched=False))


def _one_by_one(program, names, compiled):
    excuses = []
    for i, call in [*enumerate(names["calls"]), (0, names["calls"][0])]:
        got, warned = _watched(call, compiled)
        excuses += warned
        yield i, "value", program.expected[i], got, excuses


def _compiled_gradient(program, names):
    """The gradient of the compiled function: that of eager code."""
    total = _totalled(names["f"])
    compiled = pygrad.compile(total, batched=False, static=program.static)
    eager, transformed = [pygrad.gradient(function, argnums=program.argnums) for function in (total, compiled)]
    yield from _against(names, eager, transformed)


def _against(names, eager, transformed):
    """Compare two transforms, an eager one and a compiled one."""
    excuses = []
    for i, call in enumerate(names["calls"]):
        expected, (got, warned) = _watched(call, eager)[0], _watched(call, transformed)
        excuses += warned
        if not isinstance(expected, Raised) or expected.is_of_the_program():  # else `_gradient` judges it
            yield i, "gradient", expected, got, excuses


def _parameters(program, names):
    """The gradients of the parameters: those of eager code; and after a change of a parameter, the value."""
    made = names["made"]
    if not made:
        return
    compiled = pygrad.compile(_totalled(names["f"]), batched=False, static=program.static)
    excuses = []
    for i, call in enumerate(names["calls"]):
        y = _watched(call, _totalled(names["f"]))[0]
        if not isinstance(y, Raised) and isinstance(y, Value):
            y.backward()
        expected = y if isinstance(y, Raised) else [y.data if isinstance(y, Value) else y, [v.grad for v in made]]
        for value in made:
            value.grad = 0.0
        got, warned = _watched(call, compiled.backward)
        excuses += warned
        got = got if isinstance(got, Raised) else [got, [v.grad for v in made]]
        for value in made:
            value.grad = 0.0
            value.data += 0.125
        if isinstance(expected, Raised) and not expected.is_of_the_program():
            continue
        yield i, "gradient", expected, got, excuses


def _batched(program, names):
    """Compiled over batches: the calls that differ in numbers alone are the samples of one batch. Ints are static."""
    yield from _batches(program, pygrad.compile(names["f"], reduction="none", static=program.static), names, ())


def _batched_ints(program, names):
    """Compiled over batches: an int has an item for each sample, and is a Value."""
    yield from _batches(program, pygrad.compile(names["f"], reduction="none"), names, (int,))


def _batches(program, compiled, names, ints):
    given, groups, excuses = [call(_arguments) for call in names["calls"]], collections.defaultdict(list), []
    for i, (args, keywords) in enumerate(given):
        alike = [_alike(x, ints) for x in args], {name: _alike(x, ints) for name, x in keywords.items()}
        groups[repr(alike)].append(i)
    for places in groups.values():
        rows, by_name = [given[i][0] for i in places], [given[i][1] for i in places]
        args = [_stacked(column, ints) for column in zip(*rows)]
        keywords = {name: _stacked([x[name] for x in by_name], ints) for name in by_name[0]}
        got, warned = _watched(lambda f, args=args, keywords=keywords: f(*args, **keywords), compiled)
        excuses += warned
        for sample, i in enumerate(places):
            mine = got if isinstance(got, Raised) else _sample(got, sample)
            if isinstance(got, Raised) and any(isinstance(program.expected[j], Raised) for j in places):
                continue  # the program refuses one of the samples
            yield i, "value", program.expected[i], mine, excuses


def _arguments(*args, **keywords):
    return args, keywords


def _alike(x, ints):
    """Return an argument with 0 for each number: calls that agree in it make one batch."""
    if type(x) in (float, *ints):
        return 0
    if dataclasses.is_dataclass(x):
        return [_alike(getattr(x, field.name), ints) for field in dataclasses.fields(x)]
    if isinstance(x, dict):
        return {key: _alike(item, ints) for key, item in x.items()}
    return [_alike(item, (int, bool)) for item in x] if isinstance(x, (list, tuple)) else x


def _stacked(items, ints):
    """Return an argument for a batch: each number has an item for each sample, and all else is that of the first."""
    first = items[0]
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        return type(first)(*[_stacked([getattr(item, name) for item in items], ints) for name in names])
    if isinstance(first, dict):
        return {key: _stacked([item[key] for item in items], ints) for key in first}
    if hasattr(first, "_fields"):
        return type(first)(*[_stacked(list(column), ints) for column in zip(*items)])
    return list(items) if type(first) in (float, list, *ints) else first


def _sample(result, i):
    """Return the result of sample i out of that of a batch."""
    if isinstance(result, dict):
        return {key: _sample(item, i) for key, item in result.items()}
    if hasattr(result, "_fields"):
        return type(result)(*[_sample(item, i) for item in result])
    return result[i]


WAYS = {
    "gradient": _gradient,
    "gradient of all": _gradient_of_all,
    "compiled": _compiled,
    "compiled without static": _compiled_without_static,
    "batched": _batched,
    "batched ints": _batched_ints,
    "compiled gradient": _compiled_gradient,
    "parameters": _parameters,
    "hessian": _hessian,
    "aux": _aux,
}

# Python's own words: pygrad says nothing like it, so it has not raised such an error on purpose.
_PYTHONS = (
    *("unsupported operand", "bad operand type", "must be real number", "cannot be interpreted as an integer"),
    *("indices must be", "is not iterable", "not subscriptable", "doesn't define", "has no len", "unhashable"),
    *("not supported between", "argument must be a string", "argument must be a real", "is not callable"),
    *("unexpected keyword", "required positional", "positional argument", "values to unpack", "index out of range"),
    *("could not convert string", "not supported for the input types", "no loop matching", "no callable"),
)


def kind_of(expected, got, what, excused, is_recorded_call):
    """Return "same", "warned" or "refused", or the kind of a finding."""
    if _same_outcome(expected, got) if what == "value" or isinstance(got, Raised) else _same_gradient(expected, got):
        return "same"
    if isinstance(got, Raised):
        if got.is_of_the_program() or any(map(_is_of_identity, excused)):
            return "warned" if excused else what
        return _kind_of_error(got.error)
    if excused:
        return "at record" if is_recorded_call and not any(map(_is_of_identity, excused)) else "warned"
    return what


def _is_of_identity(warning):
    """True for a warning that says: the answer is another one than for numbers, at any call."""
    return "by identity" in str(warning.message) or "are one object" in str(warning.message)


def _same_gradient(expected, got):
    if isinstance(expected, Raised):
        return False
    a, b = _flat(expected), _flat(got)
    return len(a) == len(b) and all(_close(x, y, 1e-4 if isinstance(expected, float) else 1e-9) for x, y in zip(a, b))


def _kind_of_error(error):
    text, frames = str(error), traceback.extract_tb(error.__traceback__)
    is_pythons = any(words in text for words in _PYTHONS)
    if type(error) is TypeError and is_pythons and "Value" in text and not frames[-1].filename.startswith(PACKAGE):
        return "plain"
    is_own_type = type(error) in (TypeError, ValueError, IndexError, RuntimeError)
    return "refused" if is_own_type and not is_pythons else "foreign"


@dataclasses.dataclass
class Finding:
    """A verdict that is a finding, and the program."""

    kind: str
    way: str
    call: int
    detail: str
    source: str

    def __str__(self):
        return f"--- {self.kind}, {self.way}, call {self.call}: {self.detail}\n{self.source}\n"

    def key(self):
        if self.kind in ("foreign", "plain"):
            return self.kind, self.detail.split(" at ")[0].split("'")[0][:60]
        return self.kind, self.way


FINE = ("same", "warned", "refused")


def check(source, label, ways=WAYS, patience=PATIENCE):
    """Return (Counter of verdicts, findings) of a program; (None, []) if floats give nothing to compare with."""
    program, verdicts, findings = Program(source, label), collections.Counter(), []
    if program.expected is None:
        return None, []
    for way in ways:
        verdict, found = _judged(program, way, patience)
        verdicts[verdict] += 1
        findings += found
    return verdicts, findings


def _judged(program, way, patience):
    """Return (the gravest verdict, the first finding of each kind in a list) of one way to run a program."""
    made, found, verdicts = [], {}, set()

    def param(number):
        made.append(Value(number))
        return made[-1]

    names = program.names(way, param)
    names["made"] = made
    try:
        with _patience(patience):
            for number, (i, what, expected, got, excused) in enumerate(WAYS[way](program, names)):
                kind = kind_of(expected, got, what, excused, number == 0 == i)
                verdicts.add(kind)
                if kind not in FINE and kind not in found:
                    found[kind] = Finding(kind, way, i, _said(expected, got), program.source)
    except Hang:
        found["hang"] = Finding("hang", way, 0, "", program.source)
    gravest = [kind for kind in (*found, "refused", "warned", "same") if kind in verdicts | set(found)]
    return (gravest or ["same"])[0], list(found.values())


def _said(expected, got):
    if isinstance(got, Raised):
        frame = traceback.extract_tb(got.error.__traceback__)[-1]
        return (
            f"{type(got.error).__name__}: {str(got.error)[:200]} at {os.path.basename(frame.filename)}:{frame.lineno}"
        )
    return (
        f"{expected.error!r} expected, {got!r}" if isinstance(expected, Raised) else f"{expected!r} expected, {got!r}"
    )


@contextlib.contextmanager
def _patience(seconds):
    """Raise Hang in the block after so many seconds; in a thread, where no signal comes, be patient for ever."""

    def give_up(number, frame):
        raise Hang

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- a smaller program with the same finding --------------------------------------------------------------------------


def shrunk(finding, tries=300):
    """Return the finding of the smallest program that was found to have it too."""
    best, number, goes_on = finding, 0, True
    while goes_on:
        goes_on = False
        for source in _smaller(best.source):
            number += 1
            if number > tries:
                return best
            with contextlib.suppress(Exception):  # the piece that is left is no program
                _, found = check(source, f"shrunk {number}", [best.way], patience=1)
                same = [other for other in found if other.key() == finding.key()]
                if same:
                    best, goes_on = same[0], True
                    break
    return best


def _smaller(source):
    """Yield programs with a statement or a part of an expression less, large cuts first."""
    count = len(list(ast.walk(ast.parse(source))))
    for cut in (_without_statement, _with_part):
        for place in range(count):
            tree = ast.parse(source)
            for other in cut(tree, list(ast.walk(tree))[place]):
                text = ast.unparse(ast.fix_missing_locations(other))
                if len(text) < len(source):
                    yield text


def _without_statement(tree, node):
    for name in ("body", "orelse", "handlers"):
        block = getattr(node, name, None)
        if not isinstance(block, list) or isinstance(node, ast.While):  # its body has what ends the loop
            continue
        for i, statement in enumerate(list(block)):
            inner = [getattr(statement, part, []) for part in ("body", "orelse")]
            is_compound = isinstance(statement, (ast.If, ast.For, ast.While, ast.Try))
            for others in [[]] + (inner if is_compound else []):
                block[i : i + 1] = others
                if block or name != "body":
                    yield tree
                block[i : i + len(others)] = [statement]


def _with_part(tree, node):
    for name, child in ast.iter_fields(node):
        if isinstance(child, (ast.BinOp, ast.Call, ast.IfExp, ast.UnaryOp, ast.BoolOp, ast.Subscript, ast.Compare)):
            for part in [*ast.iter_child_nodes(child), ast.Constant(1.0)]:
                if isinstance(part, ast.expr):
                    setattr(node, name, part)
                    yield tree
            setattr(node, name, child)
        elif isinstance(child, list) and child and all(isinstance(item, ast.expr) for item in child) and len(child) > 1:
            for i in range(len(child)):
                setattr(node, name, child[:i] + child[i + 1 :])
                yield tree
            setattr(node, name, child)


# --- the campaign -----------------------------------------------------------------------------------------------------


def campaign(seeds, most=3, ways=WAYS):
    """Check the programs of these seeds; return (Counter of verdicts by way, findings: the first few of each kind)."""
    verdicts, findings = collections.Counter(), collections.defaultdict(list)
    for seed in seeds:
        verdict, found = check(write(seed), seed, ways)
        verdicts.update(verdict or ["not fit"])
        verdicts["programs"] += verdict is not None
        for finding in found:
            verdicts[finding.key()] += 1
            if len(findings[finding.key()]) < most:
                findings[finding.key()].append(finding)
    return verdicts, [finding for group in findings.values() for finding in group]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--proxy", choices=["native", "python"])
    parser.add_argument("--most", type=int, default=3, help="how many findings of a kind are shrunk and shown")
    parser.add_argument("--show", type=int, help="print the program of this seed, and what is said of it")
    arguments = parser.parse_args()
    if arguments.show is not None:
        print(write(arguments.show), *check(write(arguments.show), arguments.show), sep="\n")
        return 0
    seeds = range(arguments.seed * 1_000_000, arguments.seed * 1_000_000 + arguments.count)
    verdicts, findings = campaign(seeds, arguments.most)
    for finding in findings:
        print(shrunk(finding))
    for verdict, count in verdicts.most_common():
        print(f"{count:7}  {verdict if isinstance(verdict, str) else ', '.join(verdict)}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
