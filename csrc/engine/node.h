/* node.h: making and reading nodes, for callers that hold the lock.
 *
 * A function that makes a node returns the node's id, with one reference, the caller's. It returns 0, and has changed
 * nothing, if memory is short. pg_make_unary(), _binary(), _with_number() and _power() also check that the operands
 * are live, and are inline, because every operation runs one of them. */
#ifndef PG_NODE_H
#define PG_NODE_H

#include <string.h>

#include "engine/references.h"

/* The slots of a node with such a payload. */
static inline uint32_t pg_slots_for(size_t payload_bytes)
{
    return 1 + (uint32_t)((payload_bytes + sizeof(pg_node) - 1) / sizeof(pg_node));
}

PG_INLINE pg_id pg_make_unary(pg_arena *arena, int op, pg_id a)
{
    pg_node *na = pg_node_at(arena, a);
    const pg_id id = pg_is_live(arena, a) ? pg_new_node(arena, op, 1) : 0;
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
    const pg_id id = pg_is_live(arena, a) && pg_is_live(arena, b) ? pg_new_node(arena, op, 1) : 0;
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

/* `a op number`, or (number_first) `number op a`. The number becomes a hidden leaf, and only the new node refers to
 * it. */
PG_INLINE pg_id pg_make_with_number(pg_arena *arena, int op, pg_id a, double number, bool number_first)
{
    pg_node *na = pg_node_at(arena, a);
    const pg_id hidden = pg_is_live(arena, a) ? pg_new_leaf_with(arena, number, PG_FLAG_NUMBER) : 0;
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

/* a ** exponent. The exponents 2, 3 and -1 have rows of their own, which are faster; others make a PG_POWER node. */
PG_INLINE pg_id pg_make_power(pg_arena *arena, pg_id a, double exponent)
{
    if (exponent == 2.0)
        return pg_make_unary(arena, PG_OP_square, a);
    if (exponent == 3.0)
        return pg_make_unary(arena, PG_OP_cube, a);
    if (exponent == -1.0)
        return pg_make_unary(arena, PG_OP_reciprocal, a);
    pg_node *na = pg_node_at(arena, a);
    const pg_id id = pg_is_live(arena, a) ? pg_new_node(arena, PG_POWER, pg_slots_for(sizeof exponent)) : 0;
    if (id) {
        pg_node *node = pg_node_at(arena, id);
        node->a = a;
        node->data = pow(na->data, exponent);
        memcpy(node + 1, &exponent, sizeof exponent);
        pg_ref(na);
    }
    return id;
}

/* Are the operands of a layer, as pg_dots() has them, live nodes? Under the GIL they are the ids of proxies, and nobody can
 * free their nodes meanwhile. */
static inline bool pg_is_layer_live(const pg_arena *arena, uint32_t rows, uint32_t count, const pg_id *biases,
                                    const pg_id *ws, const pg_id *xs)
{
#if defined(PG_UNDER_GIL)
    (void)arena, (void)rows, (void)count, (void)biases, (void)ws, (void)xs;
    return true;
#else
    return pg_all_live(arena, biases, rows) && pg_all_live(arena, xs, count) &&
           pg_all_live(arena, ws, (size_t)rows * count);
#endif
}

/* Give the results of a layer to the cells; or give them all back, if only `made` of them were made: all or none. */
pg_status pg_give_layer(pg_arena *arena, uint32_t rows, uint32_t made, const pg_id *out, pg_node_cell *const *cells);

/* xs[0] + xs[1] + ..., from the left; and a take. All operands must be live, and a take must have a value. */
pg_id pg_make_sum(pg_arena *arena, uint32_t count, const pg_id *xs);
pg_id pg_make_choice(pg_arena *arena, pg_id index, uint32_t count, const pg_id *values);

/* The list of one part, or of a node whose list is not split, as pg_operands() writes it, but without `first`: of a
 * dot w0, x0, w1, x1, ...; of a take the index, in its first part only, and the values. Returns how many; `out` may
 * be NULL. */
size_t pg_list_part(const pg_arena *arena, const pg_node *part, pg_id *out);

/* How many ids pg_operands() writes. */
size_t pg_count_operands(const pg_arena *arena, const pg_node *node);

/* The gradient that a program sees. For a frozen leaf it is the keeper's; but while an order of this thread runs, so
 * for a closure, it is the leaf's own: what the sweep has added. */
double *pg_frozen_grad(const pg_arena *arena, pg_node *leaf);
PG_INLINE double *pg_grad_of(const pg_arena *arena, pg_node *node)
{
    return node->flags & PG_FLAG_FROZEN ? pg_frozen_grad(arena, node) : &node->grad;
}

#endif
