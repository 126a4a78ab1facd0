/* node.h: making nodes, for who holds the lock. Each returns 0, and has changed nothing, when memory is short or an operand
 * is no live node. What every operation goes through is inline. */
#ifndef PG_NODE_H
#define PG_NODE_H

#include <string.h>

#include "arena.h"

static inline uint32_t pg_slots_for(size_t payload_bytes)
{
    return 1 + (uint32_t)((payload_bytes + sizeof(pg_node) - 1) / sizeof(pg_node));
}

static inline pg_id pg_make_unary(pg_arena *arena, int op, pg_id a)
{
    const pg_id id = pg_is_live(arena, a) ? pg_new_node(arena, op, 1) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->data = pg_op_forward(op, pg_node_at(arena, a)->data, 0.0);
        pg_ref(arena, a);
    }
    return id;
}

static inline pg_id pg_make_binary(pg_arena *arena, int op, pg_id a, pg_id b)
{
    const pg_id id = pg_is_live(arena, a) && pg_is_live(arena, b) ? pg_new_node(arena, op, 1) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->b = b;
        node->data = pg_op_forward(op, pg_node_at(arena, a)->data, pg_node_at(arena, b)->data);
        pg_ref(arena, a);
        pg_ref(arena, b);
    }
    return id;
}

/* A binary node one of whose operands is a new leaf, `hidden`, which becomes the node's alone. */
static inline pg_id pg_make_hiding(pg_arena *arena, int op, pg_id a, pg_id b, pg_id hidden)
{
    const pg_id id = pg_make_binary(arena, op, a, b);
    if (hidden)
        pg_unref(arena, hidden); /* the node holds it now; if there is no node it goes */
    return id;
}

/* a ** exponent, by the row that serves the exponent. */
static inline pg_id pg_make_power(pg_arena *arena, pg_id a, double exponent)
{
    if (exponent == 2.0)
        return pg_make_unary(arena, PG_OP_square, a);
    if (exponent == 3.0)
        return pg_make_unary(arena, PG_OP_cube, a);
    if (exponent == -1.0)
        return pg_make_unary(arena, PG_OP_reciprocal, a);
    const pg_id id = pg_is_live(arena, a) ? pg_new_node(arena, PG_POWER, pg_slots_for(sizeof exponent)) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->data = pow(pg_node_at(arena, a)->data, exponent);
        memcpy(node + 1, &exponent, sizeof exponent);
        pg_ref(arena, a);
    }
    return id;
}

#endif
