"""A tape as one C99 file that needs nothing of pygrad: `Compiled.to_c`.

The file has the tape as a table, and a loop over the table: the code does not grow with the tape, so a compiler is
quick with long tapes too. The formulas are those of csrc/ops.def; the extension contains them as text.
"""

import math
import re
from array import array

from pygrad._version import __version__
from pygrad.common.nested import in_words
from pygrad.common.numbers import shown
from pygrad.common.whole_files import write_whole
from pygrad.engine import Value
from pygrad.engine._lib import ffi, lib
from pygrad.engine.optable import ARITIES, CODES, NAMES, RECEIVERS
from pygrad.tape.files import describe
from pygrad.tape.tape import Tape


def write(tape, structures, path, name, title):
    """Write the C file of a tape; see `Compiled.to_c`. `title`, the function's name, stands in its first line."""
    if not (isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name)):
        raise ValueError(f"name must be the beginning of C names, of letters, digits and _, not {shown(name)}")
    text = _File(tape, structures, name, title).text()
    write_whole(path, text.encode())


class _File:
    """The parts of the file. Nodes are numbered anew: a parameter whose Value is gone becomes a constant here."""

    def __init__(self, tape, structures, name, title):
        self.tape, self.structures, self.name, self.title = tape, structures, name, title
        self.state = state = tape.state()
        ids, visible = list(tape.parameter_ids), {p._pg_id for p in tape.parameters}
        self.numbers = {id: lib.pg_data(id) for id in ids}  # read once: a thread may change them
        self.parameters = [id for id in ids if id in visible]
        hidden = [id for id in ids if id not in visible]
        self.inputs, constants = len(state["point"]), state["constants"]
        self.constants = [self.numbers[id] for id in hidden] + list(state["numbers"][:constants])
        self.exponents = state["numbers"][constants:]
        places = {id: place for place, id in enumerate([*self.parameters, *hidden], self.inputs)}
        leaves = self.inputs + len(ids) + constants
        self.places = [*range(self.inputs), *map(places.get, ids), *range(self.inputs + len(ids), leaves)]
        self.first, self.lists = leaves, array("i")
        self.operations = self._operations(state["words"])
        self.outputs = [self._place(i) for i in state["outputs"]]

    def _place(self, node):
        return self.places[node] if 0 <= node < self.first else node

    def _operations(self, words):
        """Return (op's name, a, b) for each operation; with a list, b is the list's place, where its length stands.

        For a power, b is the place of its exponent.
        """
        out, at, exponents = [], 0, 0
        while at < len(words):
            op, a = words[at], self._place(words[at + 1])
            name, arity = NAMES[op], ARITIES[op]
            if name == "power":
                b, size = exponents, 2
                exponents += 1
            elif arity == 0:
                size = 3 + words[at + 2]
                b = len(self.lists)
                self.lists.append(words[at + 2])
                self.lists.extend(map(self._place, words[at + 3 : at + size]))
            else:
                b, size = (self._place(words[at + 2]), 3) if arity == 2 else (0, 2)
            out.append((name, a, b))
            at += size
        return out

    def _inert(self):
        """Return for each operation True if no output passes an adjoint on to it (PG_INERT of csrc/tape/tape.h)."""
        awake = set(self.outputs)
        for place in reversed(range(len(self.operations))):
            if self.first + place in awake:
                awake.update(self._receivers(*self.operations[place]))
        return [self.first + place not in awake for place in range(len(self.operations))]

    def _conditional(self):
        """Return for each operation True if it is reached by values of takes alone (PG_CONDITIONAL there)."""
        always = set(self.outputs)
        for place in reversed(range(len(self.operations))):
            name, a, b = self.operations[place]
            if name != "take" and self.first + place in always:
                always.update(self._receivers(name, a, b))
        return [not inert and self.first + i not in always for i, inert in enumerate(self._inert())]

    def _receivers(self, name, a, b):
        """Return the operands that an operation passes its adjoint on to."""
        op = CODES[name]
        rest = [b] if ARITIES[op] else self.lists[b + 1 : b + 1 + self.lists[b]]  # `b` of arity 1 is cut off
        return [place for place in (a, *rest) if place >= 0][: ARITIES[op] or None][RECEIVERS[op]]

    # --- text ---------------------------------------------------------------------------------------------------------

    def text(self):
        """Return the whole file."""
        used = {name for name, _, _ in self.operations}
        rows = [(name, _formulas(op)) for op, name in enumerate(NAMES) if name in used]
        forward = "".join([_forward(name, formulas) for name, formulas in rows])
        backward = "".join([_backward(name, formulas) for name, formulas in rows])
        is_conditional = any(self._conditional())
        if is_conditional:
            backward = re.sub(rf"\bd\[({_RECEIVER})\] \+=", r"reached[\1] = 1.0, d[\1] +=", backward)
        parts = {
            "version": __version__,
            "arguments": _comment(describe(self.structures)),
            "output": _comment(in_words(self.tape.structure)),
            "inputs": self.inputs,
            "parameters": len(self.parameters),
            "constants": len(self.constants),
            "outputs": len(self.outputs),
            "operations": len(self.operations),
            "helpers": _helpers(forward + backward),
            "ops": _table("enum", [f"NAME_OP_{name}" for name, _ in rows] or ["NAME_OP_none"], " {"),
            "numbers": _doubles("parameters", map(self.numbers.get, self.parameters), "const"),
            "tables": self._tables(used),
            "forward": forward,
            "arrays": 3 if is_conditional else 2,
            "reached": _REACHED if is_conditional else "",
            "skip": (_SKIP if any(self._inert()) else "") + (_SKIP_NOT_CHOSEN if is_conditional else ""),
            "backward": backward,
            "check": self._check(),
        }
        text = re.sub(r"@(\w+)@", lambda match: str(parts.get(match[1], match[0])), _TEMPLATE)
        prefixes = {"NAME_": f"{self.name.upper()}_", "name_": f"{self.name}_", "pg_": f"{self.name}_"}
        text = re.sub(r"\b(NAME_|name_|pg_)", lambda match: prefixes[match[1]], text)
        return text.replace("@title@", _comment(self.title), 1)

    def _tables(self, used):
        operations = [f"{{NAME_OP_{name}, {a}, {b}}}" for name, a, b in self.operations] or ["{NAME_OP_none, 0, 0}"]
        tables = [_table("static const name_operation name_tape[]", operations)]
        if self.lists:
            tables.append(_table("static const int name_lists[]", map(str, self.lists)))
        if any(inert := self._inert()):
            tables.append(_table("static const char name_inert[]", [str(int(x)) for x in inert]))
        if any(conditional := self._conditional()):
            tables.append(_table("static const char name_conditional[]", [str(int(x)) for x in conditional]))
        if "power" in used:
            tables.append(_doubles("exponents", self.exponents, _UNFOLDED))
        tables += [_table("static const int name_outputs[]", map(str, self.outputs))]
        return "\n".join([*tables, _doubles("constants", self.constants, _UNFOLDED)])

    def _check(self):
        """Return the tables of the self-check: a point, and the numbers that the engine computes there."""
        status, outputs, input_grads, parameter_grads = self._evaluate()
        return "\n".join(
            [
                f"enum {{ name_status = {status} }};",
                _doubles("point", self.tape.point, _UNFOLDED),
                _doubles("expected_outputs", outputs),
                _doubles("expected_inputs", input_grads),
                _doubles("expected_parameters", parameter_grads),
            ]
        )

    def _evaluate(self):
        """Run a copy of the tape, over leaves of its own, at the point of the recording.

        Return (status, outputs, gradients of the inputs, gradients of the parameters); status is 1 for a bad index.
        """
        leaves = {id: Value(number) for id, number in self.numbers.items()}
        state = {**self.state, "parameters": range(len(leaves))}
        tape = Tape.from_state(state, list(range(len(NAMES))), list(leaves.values()), 0, self.tape.passes)
        point, outputs = ffi.new("double[]", list(tape.point)), ffi.new("double[]", tape.output_count)
        input_grads, one = ffi.new("double[]", self.inputs), ffi.new("double *", 1.0)
        targets = ffi.new("pg_target[]", [(input_grads + i, 0) for i in range(self.inputs)])
        columns = ffi.new("pg_column[]", [(point + i, 0) for i in range(self.inputs)])
        seeds = ffi.new("pg_column[]", [(one, 0)] * tape.output_count)
        batch = {"samples": 1, "columns": columns, "seeds": seeds, "outputs": outputs, "input_grads": targets}
        status = lib.pg_replay_run(tape.replay, ffi.new("pg_batch *", batch))
        if status not in (lib.PG_OK, lib.PG_BAD_INDEX):
            raise MemoryError("no memory to run the tape; nothing was changed")
        grads = [lib.pg_grad(leaves[id]._pg_id) for id in self.parameters]
        return int(status != lib.PG_OK), list(outputs), list(input_grads), grads


def _text(chars):
    return None if chars == ffi.NULL else ffi.string(chars).decode()


def _formulas(op):
    return [_text(lib.pg_op_source(op, which)) for which in range(3)]


def _helpers(text):
    """Return the functions of csrc/helpers.def that the text calls."""
    helpers, i = [], 0
    while helper := _text(lib.pg_helper_source(i)):
        if re.search(rf"\b{re.search(r'pg_[a-z_]+', helper)[0]}\b", text):
            helpers.append(helper + "\n")
        i += 1
    return "".join(helpers)


def _comment(text):
    """Return the text in ASCII, without anything that could end a C comment."""
    return text.encode("ascii", "backslashreplace").decode().replace("*/", "* /").replace("\n", " ").replace("?", "_")


def _number(x):
    if math.isnan(x):
        return "(double)NAN"
    return x.hex() if math.isfinite(x) else "INFINITY" if x > 0 else "-INFINITY"


def _doubles(name, numbers, kind="static const"):
    return _table(f"{kind} double name_{name}[]", map(_number, numbers))


def _table(declaration, entries, begin=" = {"):
    """Return the definition of an array in lines of at most 120 columns; one without entries gets a 0."""
    lines, line = [], "   "
    for entry in list(entries) or ["0"]:
        if len(line) + len(entry) > 116:
            lines.append(line)
            line = "   "
        line += f" {entry},"
    return "\n".join([declaration + begin, *lines, line, "};"])


# --- one case of the loops --------------------------------------------------------------------------------------------


def _case(name, lines):
    return "".join([f"        case NAME_OP_{name}: {{\n", *[f"            {line}\n" for line in lines], "        }\n"])


def _forward(name, formulas):
    """Return the case of an op in the forward loop: from _LIST_FORWARD, or else by its formula in ops.def."""
    if name in _LIST_FORWARD:
        return _case(name, [*_LIST_FORWARD[name], "break;"])
    return _case(name, [*_operands(formulas[0]), f"v[i] = {formulas[0]};", "break;"])


def _backward(name, formulas):
    """Return the case of an op in the backward loop: it adds g times the derivative to each operand's adjoint."""
    if name in _LIST_BACKWARD:
        return _case(name, [*_LIST_BACKWARD[name], "break;"])
    slopes = [(x, formula) for x, formula in zip("ab", formulas[1:]) if formula]
    lines = _operands(" ".join([formula for _, formula in slopes]))
    lines += [f"const double by_{x} = {formula};" for x, formula in slopes]
    return _case(name, [*lines, *[f"d[o->{x}] += g * by_{x};" for x, _ in slopes], "break;"])


def _operands(formula):
    """Return the lines that read those of a, b and y that a formula needs."""
    read = {"a": "v[o->a]", "b": "v[o->b]", "y": "v[i]"}
    return [f"const double {x} = {place};" for x, place in read.items() if re.search(rf"\b{x}\b", formula)]


# A compiler that knows the operand of an exp computes the result by itself, perhaps with another last bit than the
# library's exp. So it may not know the numbers of a table: each is read when the program runs.
_UNFOLDED = "static const volatile"

_LIST = ["const int *list = name_lists + o->b + 1, *end = list + list[-1];"]
_PLACE = [
    *_LIST,
    "const unsigned place = pg_place(v[list[0]]);",
    "const int found = place < (unsigned)(end - list - 1);",
]
_BASE = "double total = o->a < 0 ? 0.0 : v[o->a];"
_BASE_BACK = "if (o->a >= 0)\n                d[o->a] += g;"

_LIST_FORWARD = {
    "power": ["v[i] = pow(v[o->a], name_exponents[o->b]);"],
    "sum": [*_LIST, _BASE, "for (; list < end; list++)\n                total += v[*list];", "v[i] = total;"],
    "dot": [
        *_LIST,
        _BASE,
        "for (; list < end; list += 2)\n                total += v[list[0]] * v[list[1]];",
        "v[i] = total;",
    ],
    "take": [*_PLACE, "v[i] = found ? v[list[1 + place]] : (double)NAN;", "bad |= !found;"],
    "declared": ["v[i] = v[o->a];"],
}
_LIST_BACKWARD = {
    "power": ["d[o->a] += g * pg_power_slope(v[o->a], name_exponents[o->b]);"],
    "sum": [*_LIST, _BASE_BACK, "for (; list < end; list++)\n                d[*list] += g;"],
    "dot": [
        *_LIST,
        _BASE_BACK,
        "for (; list < end; list += 2) {",
        "    const double a = v[list[0]], b = v[list[1]];",
        "    d[list[0]] += g * b;",
        "    d[list[1]] += g * a;",
        "}",
    ],
    "take": [*_PLACE, "if (found)\n                d[list[1 + place]] += g;"],
    "declared": [*_LIST, "for (; list < end; list += 2)\n                d[list[0]] += g * v[list[1]];"],
}

_SKIP = "        if (name_inert[i - NAME_LEAVES]) /* no adjoint comes here: 0 times an infinite slope would be nan */\n"
_SKIP += "            continue;\n"

# Where takes may leave operations out: `reached` says which ones an adjoint has come to, in the place of 1 or 0.
_RECEIVER = r"o->[ab]|\*list|list\[[^]]*\]"  # as the cases of the backward loop write it
_REACHED = (
    "    double *reached = d + NAME_NODES;\n    for (int i = 0; i < NAME_NODES; i++)\n        reached[i] = 0.0;\n"
)
_SKIP_NOT_CHOSEN = "        if (name_conditional[i - NAME_LEAVES] && reached[i] == 0.0) /* no take chooses it */\n"
_SKIP_NOT_CHOSEN += "            continue;\n"

_TEMPLATE = """\
/* @title@, written as C by pygrad @version@.
 *
 *     arguments    @arguments@
 *     result       @output@
 *
 * It needs C99 and its standard library alone. To compile it, and to check it against pygrad's numbers:
 *
 *     cc -std=c99 -O2 -ffp-contract=off -c FILE.c
 *     cc -std=c99 -O2 -ffp-contract=off -DPYGRAD_SELF_CHECK FILE.c -o check -lm && ./check
 *
 * Results have the same bits as pygrad's if you compile with -ffp-contract=off and without -ffast-math, and use the
 * same C library: exp, tanh, ... of another library may differ in the last bits. To call the functions, declare
 *
 *     enum { NAME_INPUTS = @inputs@, NAME_PARAMETERS = @parameters@, NAME_OUTPUTS = @outputs@,
 *            NAME_WORK = @arrays@ * (NAME_INPUTS + NAME_PARAMETERS + @constants@ + @operations@) + 1 };
 *     extern const double name_parameters[];
 *     int name_forward(const double *inputs, const double *parameters, double *outputs, double *work);
 *     int name_gradient(const double *inputs, const double *parameters, const double *seeds, double *outputs,
 *                       double *input_gradients, double *parameter_gradients, double *work);
 *
 * Both functions run one sample. `inputs` are the numbers of its arguments, the first argument's first;
 * name_parameters has the parameters' numbers as they were when this file was written. Both functions write
 * NAME_OUTPUTS numbers to `outputs`, and use `work` as scratch memory for NAME_WORK numbers. Threads may call them at
 * once, each with its own `work`.
 *
 * `seeds` are the gradients of the outputs (NULL: 1 each). name_gradient writes the gradients of the inputs to
 * `input_gradients`, and adds the gradients of the parameters to `parameter_gradients`: for the sum over a batch, set
 * these to 0, then run each sample. Either may be NULL.
 *
 * Both return 0; or 1 if the index of a take is out of range or not whole: then only `work` has changed.
 */
#include <math.h>
#include <stddef.h>

enum {
    NAME_INPUTS = @inputs@,
    NAME_PARAMETERS = @parameters@,
    NAME_OUTPUTS = @outputs@,
    NAME_CONSTANTS = @constants@,
    NAME_OPERATIONS = @operations@,
    NAME_LEAVES = NAME_INPUTS + NAME_PARAMETERS + NAME_CONSTANTS,
    NAME_NODES = NAME_LEAVES + NAME_OPERATIONS,
    NAME_WORK = @arrays@ * NAME_NODES + 1
};

extern const double name_parameters[];
int name_forward(const double *inputs, const double *parameters, double *outputs, double *work);
int name_gradient(const double *inputs, const double *parameters, const double *seeds, double *outputs,
                  double *input_gradients, double *parameter_gradients, double *work);

@numbers@

/* The tape. Nodes are numbered: first the inputs, then the parameters, the constants and the operations. `a` and
 * `b` are the numbers of an operation's operands, lower than its own (`a` is -1 if there is none). For some ops `b` is
 * the place of a list in name_lists, where its length stands first, or of an exponent. */
@ops@
typedef struct {
    int op, a, b;
} name_operation;

/* (volatile: the compiler must not compute an exp or tanh of a constant by itself, with other last bits) */
@tables@

@helpers@/* Compute all operations; return 1 if an index was bad. */
static int name_up(double *v)
{
    int bad = 0;
    (void)v;
    for (int i = NAME_LEAVES; i < NAME_NODES; i++) {
        const name_operation *o = &name_tape[i - NAME_LEAVES];
        switch (o->op) {
@forward@        default:
            break;
        }
    }
    return bad;
}

/* Pass all adjoints on, from the last operation to the first. */
static void name_down(const double *v, double *d)
{
@reached@    for (int i = NAME_NODES - 1; i >= NAME_LEAVES; i--) {
@skip@        const name_operation *o = &name_tape[i - NAME_LEAVES];
        const double g = d[i];
        (void)v, (void)g;
        switch (o->op) {
@backward@        default:
            break;
        }
    }
}

int name_forward(const double *inputs, const double *parameters, double *outputs, double *work)
{
    double *v = work;
    for (int i = 0; i < NAME_INPUTS; i++)
        v[i] = inputs[i];
    for (int i = 0; i < NAME_PARAMETERS; i++)
        v[NAME_INPUTS + i] = parameters[i];
    for (int i = 0; i < NAME_CONSTANTS; i++)
        v[NAME_INPUTS + NAME_PARAMETERS + i] = name_constants[i];
    if (name_up(v))
        return 1;
    for (int i = 0; i < NAME_OUTPUTS; i++)
        outputs[i] = v[name_outputs[i]];
    return 0;
}

int name_gradient(const double *inputs, const double *parameters, const double *seeds, double *outputs,
                  double *input_gradients, double *parameter_gradients, double *work)
{
    double *v = work, *d = work + NAME_NODES;
    if (name_forward(inputs, parameters, outputs, work))
        return 1;
    for (int i = 0; i < NAME_NODES; i++)
        d[i] = 0.0;
    for (int i = 0; parameter_gradients && i < NAME_PARAMETERS; i++)
        d[NAME_INPUTS + i] = parameter_gradients[i];
    for (int i = 0; i < NAME_OUTPUTS; i++)
        d[name_outputs[i]] += seeds ? seeds[i] : 1.0;
    name_down(v, d);
    for (int i = 0; input_gradients && i < NAME_INPUTS; i++)
        input_gradients[i] = d[i];
    for (int i = 0; parameter_gradients && i < NAME_PARAMETERS; i++)
        parameter_gradients[i] = d[NAME_INPUTS + i];
    return 0;
}

#ifdef PYGRAD_SELF_CHECK
#include <stdio.h>
#include <string.h>

/* Where the function was recorded, and what pygrad computes there. */
@check@
static double name_work[NAME_WORK];
static double name_inputs[NAME_INPUTS + 1];
static double name_numbers[NAME_PARAMETERS + 1];
static double name_found_outputs[NAME_OUTPUTS + 1];
static double name_found_inputs[NAME_INPUTS + 1];
static double name_found_parameters[NAME_PARAMETERS + 1];

/* Return how many numbers differ in any bit; any nan equals any other. */
static int name_compare(const char *what, const double *found, const double *expected, int count)
{
    int differences = 0;
    for (int i = 0; i < count; i++)
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0 && !(isnan(found[i]) && isnan(expected[i]))) {
            if (differences++ == 0)
                printf("failure: %s %d is %a, not %a (%.17g, not %.17g)\\n", what, i, found[i], expected[i], found[i],
                       expected[i]);
        }
    return differences;
}

int main(void)
{
    for (int i = 0; i < NAME_INPUTS; i++)
        name_inputs[i] = name_point[i];
    for (int i = 0; i < NAME_PARAMETERS; i++)
        name_numbers[i] = ((const volatile double *)name_parameters)[i];
    const int status = name_gradient(name_inputs, name_numbers, NULL, name_found_outputs, name_found_inputs,
                                     name_found_parameters, name_work);
    int differences = status != name_status;
    if (differences)
        printf("failure: the result is %d, not %d\\n", status, name_status);
    if (status == 0) {
        differences += name_compare("output", name_found_outputs, name_expected_outputs, NAME_OUTPUTS);
        differences += name_compare("gradient of input", name_found_inputs, name_expected_inputs, NAME_INPUTS);
        differences += name_compare("gradient of parameter", name_found_parameters, name_expected_parameters,
                                    NAME_PARAMETERS);
    }
    if (differences == 0)
        printf("ok: %d outputs and %d gradients, to the bit\\n", NAME_OUTPUTS, NAME_INPUTS + NAME_PARAMETERS);
    return differences != 0;
}
#endif
"""
