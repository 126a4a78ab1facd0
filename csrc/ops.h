/* ops.h: the op table in C: an enum with one constant a row, forward values, receivers, and the helpers of rows. */
#ifndef PG_OPS_H
#define PG_OPS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* The rows of ops.def, and between them and around them the structural ops: those with an operand list, with a
 * literal, or without operands. */
typedef enum {
    PG_LEAF,
#define PG_UNARY(name, label, forward, da) PG_OP_##name,
#define PG_BINARY(name, label, forward, da, db) PG_OP_##name,
#define PG_FLAT(name, label, arity, forward) PG_OP_##name,
#include "ops.def"
    PG_POWER,    /* a ** k, where k is a literal */
    PG_SUM,      /* a + x0 + x1 + ...; this op and all that follow have an operand list */
    PG_DOT,      /* a + w0*x0 + w1*x1 + ... */
    PG_TAKE,     /* its list is index, v0, v1, ...: the value that the index chooses */
    PG_DECLARED, /* its list is x0, d0, x1, d1, ...: the value of a; its derivative by x0 is declared to be d0 */
    PG_CUSTOM,   /* a node of the user's own, which passes no gradient on by itself */
    PG_LOCAL,    /* a node of the user's own, with its derivatives by its operands as numbers: the local gradients */
    PG_OP_COUNT
} pg_op_code;

#define PG_HELPER(type, name, parameters, result) \
    static inline type name parameters            \
    {                                             \
        return result;                            \
    }
#include "helpers.def"

/* Is the index of a take a whole number from 0 to count - 1? */
static inline bool pg_is_index(double index, uint32_t count)
{
    return pg_place(index) < count;
}

/* The result of a row; a unary one ignores b. A structural op gives nan: its value is computed where its node is
 * made. Inline: where `op` is a constant, only the code of its row is left. */
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

/* Is it a PG_FLAT row, which has no derivative? */
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

/* The receivers of an op: the operands that it passes its gradient on to. */
typedef struct {
    bool front;   /* is `a` one: a start, a bias, or the first operand of a row? */
    uint8_t from; /* of the list (of a row: of b) those with the numbers from, from + step, from + 2 * step, ... */
    uint8_t step; /* 0: none of the list */
} pg_receivers;

static inline pg_receivers pg_receivers_of_op(int op)
{
    if (op == PG_TAKE)
        return (pg_receivers){true, 1, 1}; /* the values, but not the index */
    if (op == PG_DECLARED)
        return (pg_receivers){false, 0, 2}; /* x0, x1, ..., but neither y nor the derivatives */
    return pg_op_is_flat(op) ? (pg_receivers){false, 0, 0} : (pg_receivers){true, 0, 1};
}

#endif
