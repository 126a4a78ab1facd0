/* node.h: making nodes, and reading one, for who holds the lock. What makes a node returns 0, and has changed
 * nothing, when memory is short or an operand is no live node. What every operation goes through is inline. */
#ifndef PG_NODE_H
#define PG_NODE_H

#include <string.h>

#include "engine/arena.h"

static inline uint32_t pg_slots_for(size_t payload_bytes)
{
    return 1 + (uint32_t)((payload_bytes + sizeof(pg_node) - 1) / sizeof(pg_node));
}

PG_INLINE pg_id pg_make_unary(pg_arena *arena, int op, pg_id a)
{
    pg_node *na = pg_node_at(arena, a);
    const pg_id id = na->refs > 0 ? pg_new_node(arena, op, 1) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->data = pg_op_forward(op, na->data, 0.0);
        pg_ref(na);
    }
    return id;
}

PG_INLINE pg_id pg_make_binary(pg_arena *arena, int op, pg_id a, pg_id b)
{
    pg_node *na = pg_node_at(arena, a), *nb = pg_node_at(arena, b);
    const pg_id id = na->refs > 0 && nb->refs > 0 ? pg_new_node(arena, op, 1) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->b = b;
        node->data = pg_op_forward(op, na->data, nb->data);
        pg_ref(na);
        pg_ref(nb);
    }
    return id;
}

/* `a op number`, or (number_first) `number op a`: the number becomes a hidden leaf, whose one reference is the
 * node's. */
PG_INLINE pg_id pg_make_with_number(pg_arena *arena, int op, pg_id a, double number, bool number_first)
{
    pg_node *na = pg_node_at(arena, a);
    const pg_id hidden = na->refs > 0 ? pg_new_leaf_with(arena, number, PG_FLAG_NUMBER) : 0;
    const pg_id id = hidden ? pg_new_node(arena, op, 1) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = number_first ? hidden : a;
        node->b = number_first ? a : hidden;
        node->data = number_first ? pg_op_forward(op, number, na->data) : pg_op_forward(op, na->data, number);
        pg_ref(na);
    } else if (hidden) {
        pg_unref(arena, hidden);
    }
    return id;
}

/* a ** exponent, by the row that serves the exponent. */
PG_INLINE pg_id pg_make_power(pg_arena *arena, pg_id a, double exponent)
{
    if (exponent == 2.0)
        return pg_make_unary(arena, PG_OP_square, a);
    if (exponent == 3.0)
        return pg_make_unary(arena, PG_OP_cube, a);
    if (exponent == -1.0)
        return pg_make_unary(arena, PG_OP_reciprocal, a);
    pg_node *na = pg_node_at(arena, a);
    const pg_id id = na->refs > 0 ? pg_new_node(arena, PG_POWER, pg_slots_for(sizeof exponent)) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->data = pow(na->data, exponent);
        memcpy(node + 1, &exponent, sizeof exponent);
        pg_ref(na);
    }
    return id;
}

/* xs[0] + xs[1] + ..., from the left; and the one of the values that an index chooses. */
pg_id pg_make_sum(pg_arena *arena, uint32_t count, const pg_id *xs);
pg_id pg_make_choice(pg_arena *arena, pg_id index, uint32_t count, const pg_id *values);

/* The operands of a part of a split list behind its first, as pg_operands() gives them: of a dot w0, x0, w1, x1,
 * ..., of a take the index once, before the values of the first part. Returns how many; `out` may be NULL. */
size_t pg_list_part(const pg_arena *arena, const pg_node *part, pg_id *out);

/* The gradient that a program sees. Of a frozen leaf: the one that is kept for it; but while an order of this thread
 * runs, so to a closure, what that sweep has added. */
double *pg_frozen_grad(const pg_arena *arena, pg_node *leaf);
PG_INLINE double *pg_grad_of(const pg_arena *arena, pg_node *node)
{
    return node->flags & PG_FLAG_FROZEN ? pg_frozen_grad(arena, node) : &node->grad;
}

#endif
