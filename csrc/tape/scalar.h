/* scalar.h: a tape run on one sample: every node has one number, and one adjoint. A batch runs its uniform operations
 * in this way too (program.h). */
#ifndef PG_SCALAR_H
#define PG_SCALAR_H

#include "tape/tape.h"

/* The value of an operation, computed from the values v of the nodes before it; nan for a take whose index chooses no
 * value. */
static inline double pg_scalar_value(const pg_tape *tape, const pg_tape_node *node, const double *v)
{
    switch (node->op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name: {                   \
        const double a = v[node->a];       \
        return forward;                    \
    }
#define PG_BINARY(name, label, forward, da, db)      \
    case PG_OP_##name: {                             \
        const double a = v[node->a], b = v[node->b]; \
        return forward;                              \
    }
#define PG_FLAT(name, label, arity, forward)                            \
    case PG_OP_##name: {                                                \
        const double a = v[node->a], b = v[(arity) == 2 ? node->b : 0]; \
        (void)b;                                                        \
        return forward;                                                 \
    }
#include "ops.def"
    case PG_POWER:
        return pow(v[node->a], node->literal);
    case PG_SUM: {
        double total = node->a < 0 ? 0.0 : v[node->a];
        for (const int32_t *x = tape->lists + node->list, *end = x + node->count; x < end; x++)
            total += v[*x];
        return total;
    }
    case PG_DOT: {
        double total = node->a < 0 ? 0.0 : v[node->a];
        for (const int32_t *pair = tape->lists + node->list, *end = pair + node->count; pair < end; pair += 2)
            total += v[pair[0]] * v[pair[1]];
        return total;
    }
    case PG_TAKE: {
        const int32_t *list = tape->lists + node->list;
        const uint32_t place = pg_place(v[list[0]]);
        return place < node->count - 1 ? v[list[1 + place]] : (double)NAN;
    }
    case PG_DECLARED:
        return v[node->a];
    default:
        return node->literal;
    }
}

/* The next three functions work on the operations at `count` places, ascending; or, if `places` is NULL, on all
 * operations. */

/* Compute the values of the operations. */
void pg_scalar_forward(const pg_tape *tape, const int32_t *places, size_t count, double *v);
/* Pass adjoints on from the newest operation to the oldest, and so add to the adjoints of the leaves. Before the call,
 * an operation's adjoint is its seed, or 0; after the call it is 0. */
void pg_scalar_backward(const pg_tape *tape, const int32_t *places, size_t count, const double *v, double *adjoint);
/* As pg_scalar_backward(), for a tape that has conditional operations. One that is not reached does not run. Before the
 * call reached[i] is true of the conditional operations that something else has reached; after the call it is false of
 * all operations. */
void pg_scalar_backward_chosen(const pg_tape *tape, const int32_t *places, size_t count, const double *v,
                               double *adjoint, bool *reached);
/* The place of the first take whose index chooses no value; -1: there is none. */
int32_t pg_scalar_bad_index(const pg_tape *tape, const int32_t *places, size_t count, const double *v);

/* The derivative of a unary row by its operand, from the operand and the result. */
double pg_unary_slope(uint32_t op, double a, double y);

#endif
