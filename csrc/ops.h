/* ops.h: the op table as C sees it: one enum constant a row, and the small functions that rows call. */
#ifndef PG_OPS_H
#define PG_OPS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* The structural ops stand outside ops.def: they have an operand list, a literal or no operands at all. */
typedef enum {
    PG_LEAF,
#define PG_UNARY(name, label, forward, da) PG_OP_##name,
#define PG_BINARY(name, label, forward, da, db) PG_OP_##name,
#define PG_FLAT(name, label, arity, forward) PG_OP_##name,
#include "ops.def"
    PG_POWER,    /* a ** k, k a literal */
    PG_SUM,      /* a + the list; this and what follows have an operand list */
    PG_DOT,      /* a + the list's pairs, multiplied */
    PG_TAKE,     /* of the list index, v0, v1, ... the value that the index chooses */
    PG_DECLARED, /* the user's: a itself, and d a / d x is d for each of the list's pairs x, d */
    PG_CUSTOM,   /* the user's: passes nothing on by itself */
    PG_LOCAL,    /* the user's: passes on the local gradients it was given */
    PG_OP_COUNT
} pg_op_code;

#define PG_HELPER(type, name, parameters, result) \
    static inline type name parameters             \
    {                                              \
        return result;                             \
    }
#include "helpers.def"

/* Does an index choose one of `count` values? */
static inline bool pg_is_index(double index, uint32_t count)
{
    return pg_place(index) < count;
}

/* The result of a unary (b is ignored) or binary row; nan for a structural op, whose node is computed where it is made.
 * Inline, so that where `op` is a constant only its own row is left. */
static inline double pg_op_forward(int op, double a, double b)
{
    switch (op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        return forward;
#define PG_BINARY(name, label, forward, da, db) PG_UNARY(name, label, forward, da)
#define PG_FLAT(name, label, arity, forward) PG_UNARY(name, label, forward, 0.0)
#include "ops.def"
    default:
        return NAN;
    }
}

/* True for a row without derivative. */
static inline bool pg_op_is_flat(int op)
{
    switch (op) {
#define PG_UNARY(name, label, forward, da)
#define PG_BINARY(name, label, forward, da, db)
#define PG_FLAT(name, label, arity, forward) case PG_OP_##name:
#include "ops.def"
        return true;
    default:
        return false;
    }
}

/* The operands that an op passes its gradient on to: whether the one in front of its list (a start, a bias; of a row of
 * ops.def: a) is among them, and of the list (of a row: b) the operands from number `from` on, every step-th. Step 0:
 * none. */
typedef struct {
    bool front;
    uint8_t from;
    uint8_t step;
} pg_receivers;

static inline pg_receivers pg_receivers_of_op(int op)
{
    if (op == PG_TAKE)
        return (pg_receivers){true, 1, 1}; /* not the index */
    if (op == PG_DECLARED)
        return (pg_receivers){false, 0, 2}; /* x0, x1, ...: neither y nor the derivatives */
    return pg_op_is_flat(op) ? (pg_receivers){false, 0, 0} : (pg_receivers){true, 0, 1};
}

#endif
