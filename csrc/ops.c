/* ops.c: what Python asks about the op table: names, labels, arities, values, and formulas as text. */
#include "ops.h"

#include "pygrad.h"

typedef struct {
    const char *name;
    const char *label;
    int arity;
} op_row;

static const op_row rows[] = {
    [PG_LEAF] = {"leaf", "", 0},
#define PG_UNARY(name, label, forward, da) [PG_OP_##name] = {#name, label, 1},
#define PG_BINARY(name, label, forward, da, db) [PG_OP_##name] = {#name, label, 2},
#define PG_FLAT(name, label, arity, forward) [PG_OP_##name] = {#name, label, arity},
#include "ops.def"
    [PG_POWER] = {"power", "**", 1}, [PG_SUM] = {"sum", "sum", 0},        [PG_DOT] = {"dot", "dot", 0},
    [PG_TAKE] = {"take", "take", 0}, [PG_DECLARED] = {"declared", "", 0}, [PG_CUSTOM] = {"custom", "", 0},
    [PG_LOCAL] = {"local", "", 0},
};
_Static_assert(sizeof rows / sizeof rows[0] == PG_OP_COUNT, "a structural op lacks its row");

int pg_op_count(void)
{
    return PG_OP_COUNT;
}

const char *pg_op_name(int op)
{
    static const char *const on_tapes[] = {"input", "parameter", "constant"}; /* in the sequence of tape.h */
    return op < PG_OP_COUNT ? rows[op].name : on_tapes[op - PG_OP_COUNT];
}

const char *pg_op_label(int op)
{
    return rows[op].label;
}

int pg_op_arity(int op)
{
    return rows[op].arity;
}

int pg_op_has_derivative(int op)
{
    return !pg_op_is_flat(op);
}

void pg_op_receivers(int op, int *first, int *step)
{
    const pg_receivers to = pg_receivers_of_op(op);
    *first = to.from + !to.front;
    *step = to.step;
}

void pg_op_eval(int op, double a, double b, double *out)
{
    const double y = pg_op_forward(op, a, b);
    out[0] = y;
    out[1] = out[2] = NAN;
    switch (op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        out[1] = (da);                     \
        break;
#define PG_BINARY(name, label, forward, da, db) \
    case PG_OP_##name:                          \
        out[1] = (da);                          \
        out[2] = (db);                          \
        break;
#define PG_FLAT(name, label, arity, forward) PG_BINARY(name, label, forward, 0.0, 0.0)
#include "ops.def"
    default:
        break;
    }
}

/* --- formulas as text --- */

static const char *const formulas[][3] = {
#define PG_UNARY(name, label, forward, da) [PG_OP_##name] = {#forward, #da, NULL},
#define PG_BINARY(name, label, forward, da, db) [PG_OP_##name] = {#forward, #da, #db},
#define PG_FLAT(name, label, arity, forward) [PG_OP_##name] = {#forward, NULL, NULL},
#include "ops.def"
};

const char *pg_op_source(int op, int which)
{
    return (size_t)op < sizeof formulas / sizeof formulas[0] ? formulas[op][which] : NULL;
}

static const char *const helpers[] = {
#define PG_HELPER(type, name, parameters, result) \
    "static " #type " " #name #parameters "\n{\n    return " #result ";\n}\n",
#include "helpers.def"
};

const char *pg_helper_source(int i)
{
    return (size_t)i < sizeof helpers / sizeof helpers[0] ? helpers[i] : NULL;
}
