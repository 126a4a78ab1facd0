/* slopes.c: the slopes of a node by its operands, as numbers: what a backward step would multiply its gradient by. */
#include <string.h>

#include "engine/node.h"

/* Write the slopes of a row, or of a power, to out[0] and out[1]: 0 where there is none. */
static void slopes_of_row(const pg_arena *arena, const pg_node *node, double *out)
{
    const double a = pg_node_at(arena, node->a)->data, b = pg_node_at(arena, node->b)->data, y = node->data;
    double exponent;
    (void)b, (void)y;
    switch (node->op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        out[0] = (da);                     \
        break;
#define PG_BINARY(name, label, forward, da, db) \
    case PG_OP_##name:                          \
        out[0] = (da);                          \
        out[1] = (db);                          \
        break;
#define PG_FLAT(name, label, arity, forward)
#include "ops.def"
    case PG_POWER:
        memcpy(&exponent, node + 1, sizeof exponent);
        out[0] = pg_power_slope(a, exponent);
        break;
    default:
        break;
    }
}

/* Write the slopes by the entries of a list, or of one part of a split list, in the sequence of pg_list_part(). The
 * `count` numbers at `out` are 0 before. */
static void slopes_of_list(const pg_arena *arena, const pg_node *node, size_t count, double *out)
{
    const pg_operand_span operands = pg_operands_of(node);
    const pg_id *xs = node->op == PG_DOT ? pg_list_of(pg_vector_of(arena, node)) : NULL;
    const uint32_t place = node->op == PG_TAKE ? pg_place(pg_node_at(arena, *operands.list)->data) : 0;
    const size_t index = node->op == PG_TAKE && !pg_part_before(arena, node); /* the first entry is the index */
    for (size_t i = 0; i < count; i++) {
        if (node->op == PG_SUM)
            out[i] = 1.0;
        else if (node->op == PG_DOT)
            out[i] = pg_node_at(arena, i % 2 ? operands.list[i / 2 + 1] : xs[i / 2])->data;
        else if (node->op == PG_TAKE)
            out[i] = i >= index && place == pg_first_place(node) + (i - index) ? 1.0 : 0.0;
        else if (node->op == PG_DECLARED)
            out[i] = i % 2 ? 0.0 : pg_node_at(arena, operands.list[i + 1])->data;
        else if (node->op == PG_LOCAL)
            out[i] = pg_local_grads(node)[i];
    }
}

void pg_slopes(pg_id id, double *out)
{
    pg_arena *arena = pg_lock();
    const pg_node *node = pg_node_at(arena, pg_known(arena, id));
    size_t count = pg_count_operands(arena, node);
    memset(out, 0, count * sizeof *out);
    if (node->op < PG_SUM) {
        slopes_of_row(arena, node, out);
    } else {
        for (const pg_node *part = node; part; part = pg_part_before(arena, part)) {
            const size_t entries = pg_list_part(arena, part, NULL);
            count -= entries;
            slopes_of_list(arena, part, entries, out + count);
        }
        if (count > 0 && node->op != PG_DECLARED) /* a start or a bias */
            out[0] = 1.0;
    }
    pg_unlock(arena);
}
