/* neurons.c: a layer of neurons as micrograd builds it, with a node for each multiply and each add.
 *
 * Python's sum((w * x for w, x in zip(ws, xs)), bias) makes w0*x0, then bias + w0*x0, then w1*x1, and so on. So does
 * this file. Only the last sum of a neuron is given to the caller: all other nodes are hidden until a program asks for
 * them. */
#include "engine/node.h"

/* Make the node `a op b`. It takes over the caller's references to a and b; so they are given back if memory is short. */
PG_INLINE pg_id make_from(pg_arena *arena, int op, pg_id a, pg_id b)
{
    const pg_id id = pg_new_node(arena, op, 1);
    if (!id) {
        pg_unref(arena, a);
        pg_unref(arena, b);
        return 0;
    }
    pg_node *node = pg_node_at(arena, id);
    node->a = a;
    node->b = b;
    node->data = pg_op_forward(op, pg_node_at(arena, a)->data, pg_node_at(arena, b)->data);
    return id;
}

/* Return an input with a reference for the caller: of a number a leaf of its own. 0: memory is short. */
PG_INLINE pg_id take_input(pg_arena *arena, pg_id x, bool is_number)
{
    pg_node *node = pg_node_at(arena, x);
    if (is_number)
        return pg_new_leaf_with(arena, node->data, PG_FLAG_NUMBER);
    pg_ref(node);
    return x;
}

static pg_id make_neuron(pg_arena *arena, pg_id bias, uint32_t count, const pg_id *ws, const pg_id *xs,
                         const char *numbers)
{
    pg_id total = bias;
    pg_ref(pg_node_at(arena, bias));
    for (uint32_t i = 0; total && i < count; i++) {
        const pg_id x = take_input(arena, xs[i], numbers && numbers[i]);
        if (x)
            pg_ref(pg_node_at(arena, ws[i]));
        const pg_id product = x ? make_from(arena, PG_OP_mul, ws[i], x) : 0;
        if (!product)
            pg_unref(arena, total);
        total = product ? make_from(arena, PG_OP_add, total, product) : 0;
    }
    return total;
}

pg_status pg_neurons(uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws, const pg_id *xs,
                     const char *numbers, pg_id *out, pg_node_cell *const *cells)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_is_layer_live(arena, rows, count, biases, ws, xs);
    uint32_t made = 0;
    while (live && made < rows && (out[made] = make_neuron(arena, biases[made], count, ws, xs, numbers))) {
        made++;
        ws += count;
    }
    const pg_status status = pg_give_layer(arena, rows, made, out, cells);
    pg_unlock(arena);
    return status;
}
