/* scalar.c: a tape run on one sample. */
#include "tape/scalar.h"

void pg_scalar_forward(const pg_tape *tape, const int32_t *places, size_t count, double *v)
{
    if (places) {
        for (size_t i = 0; i < count; i++)
            v[places[i]] = pg_scalar_value(tape, &tape->nodes[places[i]], v);
        return;
    }
    const pg_tape_node *node = tape->nodes + pg_tape_operations(tape), *end = tape->nodes + tape->count;
    for (double *y = v + pg_tape_operations(tape); node < end; node++, y++)
        *y = pg_scalar_value(tape, node, v);
}

/* Add g * (d node / d operand) to the adjoint of each operand. A flat row adds nothing. */
static inline void propagate(const pg_tape *tape, const pg_tape_node *node, double g, double y, const double *v,
                             double *adjoint)
{
    (void)y;
    switch (node->op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name: {                   \
        const double a = v[node->a];       \
        (void)a;                           \
        adjoint[node->a] += g * (da);      \
        break;                             \
    }
#define PG_BINARY(name, label, forward, da, db)      \
    case PG_OP_##name: {                             \
        const double a = v[node->a], b = v[node->b]; \
        (void)a, (void)b;                            \
        if (!(node->fixed & PG_FIXED_A))             \
            adjoint[node->a] += g * (da);            \
        if (!(node->fixed & PG_FIXED_B))             \
            adjoint[node->b] += g * (db);            \
        break;                                       \
    }
#define PG_FLAT(name, label, arity, forward)
#include "ops.def"
    case PG_POWER:
        adjoint[node->a] += g * pg_power_slope(v[node->a], node->literal);
        break;
    case PG_SUM:
        if (node->a >= 0)
            adjoint[node->a] += g;
        for (const int32_t *x = tape->lists + node->list, *end = x + node->count; x < end; x++)
            adjoint[*x] += g;
        break;
    case PG_DOT:
        if (node->a >= 0)
            adjoint[node->a] += g;
        for (const int32_t *pair = tape->lists + node->list, *end = pair + node->count; pair < end; pair += 2) {
            const double a = v[pair[0]], b = v[pair[1]];
            if (pair[0] == pair[1]) { /* a square: the second addition need not wait until the first sum is stored */
                adjoint[pair[0]] = (adjoint[pair[0]] + g * a) + g * a;
                continue;
            }
            adjoint[pair[0]] += g * b;
            adjoint[pair[1]] += g * a;
        }
        break;
    case PG_TAKE: {
        const int32_t *list = tape->lists + node->list;
        const uint32_t place = pg_place(v[list[0]]);
        if (place < node->count - 1)
            adjoint[list[1 + place]] += g;
        break;
    }
    case PG_DECLARED:
        for (const int32_t *pair = tape->lists + node->list, *end = pair + node->count; pair < end; pair += 2)
            adjoint[pair[0]] += g * v[pair[1]];
        break;
    default:
        break;
    }
}

void pg_scalar_backward(const pg_tape *tape, const int32_t *places, size_t count, const double *v, double *adjoint)
{
    const uint32_t first = pg_tape_operations(tape);
    for (size_t left = places ? count : tape->count - first; left > 0; left--) {
        const size_t i = places ? (size_t)places[left - 1] : first + left - 1;
        if (tape->nodes[i].fixed & PG_INERT)
            continue;
        const double g = adjoint[i];
        adjoint[i] = 0.0;
        propagate(tape, &tape->nodes[i], g, v[i], v, adjoint);
    }
}

/* --- with conditional operations --- */

static void reach(int32_t *operand, void *reached)
{
    ((bool *)reached)[*operand] = true;
}

/* Note what an operation passes its adjoint on to: of a take, the value that is chosen. */
static void pass_on(const pg_tape *tape, const pg_tape_node *node, const double *v, bool *reached)
{
    if (node->op != PG_TAKE) {
        pg_tape_each_receiver((pg_tape *)tape, (pg_tape_node *)node, reach, reached); /* nothing is changed */
        return;
    }
    const int32_t *list = tape->lists + node->list;
    const uint32_t place = pg_place(v[list[0]]);
    if (place < node->count - 1)
        reached[list[1 + place]] = true;
}

void pg_scalar_backward_chosen(const pg_tape *tape, const int32_t *places, size_t count, const double *v,
                               double *adjoint, bool *reached)
{
    const uint32_t first = pg_tape_operations(tape);
    for (size_t left = places ? count : tape->count - first; left > 0; left--) {
        const size_t i = places ? (size_t)places[left - 1] : first + left - 1;
        const pg_tape_node *node = &tape->nodes[i];
        const bool is_conditional = node->fixed & PG_CONDITIONAL;
        if (node->fixed & PG_INERT || (is_conditional && !reached[i]))
            continue;
        const double g = adjoint[i];
        adjoint[i] = 0.0;
        reached[i] = false;
        propagate(tape, node, g, v[i], v, adjoint);
        if (is_conditional || node->op == PG_TAKE)
            pass_on(tape, node, v, reached);
    }
}

double pg_unary_slope(uint32_t op, double a, double y)
{
    (void)a, (void)y;
    switch (op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        return da;
#define PG_BINARY(name, label, forward, da, db)
#define PG_FLAT(name, label, arity, forward)
#include "ops.def"
    default:
        return NAN;
    }
}

int32_t pg_scalar_bad_index(const pg_tape *tape, const int32_t *places, size_t count, const double *v)
{
    const uint32_t first = pg_tape_operations(tape);
    const size_t operations = tape->takes == 0 ? 0 : places ? count : tape->count - first;
    for (size_t i = 0; i < operations; i++) {
        const int32_t place = places ? places[i] : (int32_t)(first + i);
        const pg_tape_node *node = &tape->nodes[place];
        if (node->op == PG_TAKE && !pg_is_index(v[tape->lists[node->list]], node->count - 1))
            return place;
    }
    return -1;
}
