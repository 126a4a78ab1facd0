/* ops.h: the op table as C sees it: one enum constant a row, and the small functions that rows call. */
#ifndef PG_OPS_H
#define PG_OPS_H

#include <math.h>
#include <stdint.h>

/* The structural ops stand outside ops.def: they have an operand list, a literal or no operands at all. */
typedef enum {
    PG_LEAF,
#define PG_UNARY(name, label, forward, da) PG_OP_##name,
#define PG_BINARY(name, label, forward, da, db) PG_OP_##name,
#include "ops.def"
    PG_POWER,  /* a ** k, k a literal */
    PG_SUM,    /* a + the list; this and what follows have an operand list */
    PG_DOT,    /* a + the list's pairs, multiplied */
    PG_TAKE, PG_DECLARED,
    PG_CUSTOM, /* the user's: passes nothing on by itself */
    PG_LOCAL,  /* the user's: passes on the local gradients it was given */
    PG_OP_COUNT
} pg_op_code;

/* d/da of a**b. 0 for b == 0, where b * a**(b-1) would be 0 * inf at a == 0. */
static inline double pg_power_slope(double a, double b)
{
    return b == 0.0 ? 0.0 : b * pow(a, b - 1.0);
}

/* 1 / (1 + exp(-a)) without overflow on either side. */
static inline double pg_sigmoid(double a)
{
    return a >= 0.0 ? 1.0 / (1.0 + exp(-a)) : exp(a) / (1.0 + exp(a));
}

/* The place that an index names among `count` values; `count` if it names none: no whole number, or out of range. */
static inline uint32_t pg_place_of(double index, uint32_t count)
{
    const uint32_t place = index >= 0.0 && index < count ? (uint32_t)index : count;
    return (double)place == index ? place : count;
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
#include "ops.def"
    default:
        return NAN;
    }
}

#endif
