/* sweep.c: the backward pass.
 *
 * Start: mark the root. Then, again and again: take the newest marked node, clear its mark, and let it pass its
 * gradient on to its operands, which marks them (walk.h). Operands are older than their consumers, so every node is met
 * after all of its consumers, with its gradient complete, and exactly once.
 *
 * It goes on only where a gradient may go: not to the operands of a flat row (a comparison, stop_gradient), to the
 * index of a take, or to y and the derivatives of a declared node. What is reached that way alone keeps its gradient. A
 * 0.0 would not do: times the infinite slope of what made such an operand, it is nan.
 *
 * The first mark of an interior node sets its gradient to 0, so a second backward() is right; leaves have no marks and
 * only ever add up.
 *
 * A Python closure may build graphs, free them, sweep another one or raise. So a sweep that may meet one is not run
 * here, but in pieces (order.c).
 */
#include "engine/sweep.h"

#include <string.h>

#include "engine/walk.h"

/* --- one node's backward step --- */

/* An operand, and whether this sweep reaches it for the first time: then its gradient starts from 0. */
typedef struct {
    pg_node *node;
    bool first;
} reached;

/* Find an operand. In a sweep (marking) this is also what hands it to the walk. */
PG_INLINE reached reach(pg_walk *w, pg_id id, bool marking)
{
    return (reached){pg_node_at(w->arena, id), marking && pg_mark(w, id)};
}

/* Add to the gradient of an operand. One store, not a 0 and then the sum: the node visited next is often this one,
 * and a processor that runs ahead would read the 0 and have to start again. */
PG_INLINE void give(reached operand, double contribution)
{
    operand.node->grad = (operand.first ? 0.0 : operand.node->grad) + contribution;
}

/* An operand of a dot, ready to be added to. */
PG_INLINE pg_node *ready(pg_walk *w, pg_node *nodes, pg_id id, bool marking)
{
    if (marking && !pg_is_leaf(id) && pg_mark(w, id))
        nodes[id].grad = 0.0;
    return nodes + id;
}

/* The inputs of a dot. The first dot of a sweep that has this vector makes them ready, for all. */
PG_INLINE const pg_id *inputs_of(pg_walk *w, pg_node *nodes, pg_id vector, pg_id count, bool marking)
{
    const pg_id *xs = pg_list_of(nodes + vector);
    if (marking && pg_mark(w, vector))
        for (pg_id i = 0; i < count; i++)
            ready(w, nodes, xs[i], true);
    return xs;
}

PG_INLINE void propagate_dot(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_id *ws = pg_list_of(node);
    pg_node *const nodes = w->arena->nodes;
    if (node->a) /* the bias, or the part before */
        ready(w, nodes, node->a, marking)->grad += g;
    const pg_id *xs = inputs_of(w, nodes, *ws++, node->b, marking);
    for (pg_id i = 0; i < node->b; i++) {
        pg_node *na = ready(w, nodes, ws[i], marking), *nb = nodes + xs[i];
        const double a = na->data, b = nb->data;
        na->grad += g * b;
        nb->grad += g * a; /* na again for x * x */
    }
}

/* The same in a sweep; returns the marks. Out of line, and with a copy of the walk: so this loop and that of the sweep
 * both keep what they need in registers. */
PG_NOINLINE uint64_t sweep_dot(pg_walk w, const pg_node *node)
{
    propagate_dot(&w, node, true);
    return w.marks;
}

static inline void propagate_sum(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    if (operands.first) /* the start, or the part before */
        give(reach(w, operands.first, marking), g);
    for (uint32_t i = 0; i < operands.count; i++)
        give(reach(w, operands.list[i], marking), g);
}

/* All goes to the value that the index chooses as it is now; the others are only reached. */
static inline void propagate_take(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    const uint32_t place = pg_place(pg_node_at(w->arena, operands.list[0])->data);
    const uint32_t begin = pg_first_place(w->arena, node);
    if (operands.first) /* the part before, which keeps it unless the index is its */
        give(reach(w, operands.first, marking), g);
    for (uint32_t i = 1; i < operands.count; i++)
        give(reach(w, operands.list[i], marking), place == begin + (i - 1) ? g : 0.0);
}

/* By the derivatives as they are now. */
static inline void propagate_declared(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    if (pg_part_before(w->arena, node)) /* else it is y */
        give(reach(w, operands.first, marking), g);
    for (uint32_t i = 0; i < operands.count; i += 2)
        give(reach(w, operands.list[i], marking), g * pg_node_at(w->arena, operands.list[i + 1])->data);
}

/* A node of the user's: its local gradients. Without them it only reaches its operands, so that the sweep goes on
 * there. */
static inline void propagate_custom(pg_walk *w, const pg_node *node, bool marking)
{
    if (node->flags & PG_FLAG_VECTOR) /* the dots have reached what is in it */
        return;
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    const double *local_grads = node->op == PG_LOCAL ? pg_local_grads(node) : NULL;
    if (operands.first) /* the part before */
        give(reach(w, operands.first, marking), local_grads ? g : 0.0);
    for (uint32_t i = 0; i < operands.count; i++)
        give(reach(w, operands.list[i], marking), local_grads ? g * local_grads[i] : 0.0);
}

/* The backward step of what is not in the switch below; returns the walk as it goes on. Out of line, and not through a
 * pointer to the walk: the loop of the sweep keeps that in registers (60 instructions a node of a chain if it were
 * inlined, 58 this way). */
PG_NOINLINE pg_walk propagate_rare(pg_walk w, const pg_node *node, bool marking)
{
    if (node->op == PG_TAKE)
        propagate_take(&w, node, marking);
    else if (node->op == PG_DECLARED)
        propagate_declared(&w, node, marking);
    else if (!pg_op_is_flat(node->op))
        propagate_custom(&w, node, marking);
    return w;
}

/* Add grad * (d node / d operand) to the gradient of each operand. */
PG_INLINE void propagate(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad, y = node->data;
    (void)y;
    switch (node->op) {
    case PG_LEAF:
        break;
#define PG_UNARY(name, label, forward, da)               \
    case PG_OP_##name: {                                 \
        const reached na = reach(w, node->a, marking);   \
        const double a = na.node->data;                  \
        (void)a;                                         \
        give(na, g * (da));                              \
        break;                                           \
    }
#define PG_BINARY(name, label, forward, da, db)          \
    case PG_OP_##name: {                                 \
        const reached na = reach(w, node->a, marking);   \
        const reached nb = reach(w, node->b, marking);   \
        const double a = na.node->data, b = nb.node->data; \
        (void)a, (void)b;                                \
        const double by_a = (da), by_b = (db);           \
        give(na, g * by_a);                              \
        give(nb, g * by_b); /* na again for x * x */     \
        break;                                           \
    }
#define PG_FLAT(name, label, arity, forward) \
    case PG_OP_##name:                       \
        break;
#include "ops.def"
    case PG_POWER: {
        const reached na = reach(w, node->a, marking);
        double exponent;
        memcpy(&exponent, node + 1, sizeof exponent);
        give(na, g * pg_power_slope(na.node->data, exponent));
        break;
    }
    case PG_DOT:
        if (marking)
            w->marks = sweep_dot(*w, node);
        else
            propagate_dot(w, node, false);
        break;
    case PG_SUM:
        propagate_sum(w, node, marking);
        break;
    default:
        *w = propagate_rare(*w, node, marking);
        break;
    }
}

/* --- the sweep --- */

PG_INLINE void sweep_node(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id, (void)context;
    propagate(w, node, true);
}

/* From the marked nodes down. Out of line, and with a copy of the walk: so this loop has the registers to itself (61
 * instructions a node of a chain; 63 where it is inlined). */
PG_NOINLINE void sweep(pg_walk w)
{
    pg_walk_marked(&w, sweep_node, NULL);
}

pg_status pg_backward(pg_id root, double seed)
{
    if (!root)
        return PG_NO_NODE;
    pg_arena *arena = pg_lock();
    pg_status status = PG_OK;
    if (arena->closures || arena->orders) {
        status = PG_CLOSURES;
    } else {
        pg_walk w = pg_walk_of(arena);
        reach(&w, root, true).node->grad = seed;
        sweep(w);
    }
    pg_unlock(arena);
    return status;
}

void pg_seed_roots(pg_arena *arena, const pg_roots *roots)
{
    for (uint32_t i = 0; i < roots->count; i++)
        pg_node_at(arena, roots->ids[i])->grad = 0.0;
    for (uint32_t i = 0; i < roots->count; i++)
        pg_node_at(arena, roots->ids[i])->grad += roots->seeds[i];
}

pg_status pg_backward_from(const pg_roots *roots)
{
    pg_arena *arena = pg_lock();
    pg_status status = PG_OK;
    if (!pg_all_live(arena, roots->ids, roots->count)) {
        status = PG_NO_NODE;
    } else if (arena->closures || arena->orders) {
        status = PG_CLOSURES;
    } else {
        pg_walk w = pg_walk_of(arena);
        for (uint32_t i = 0; i < roots->count; i++)
            pg_mark(&w, roots->ids[i]);
        pg_seed_roots(arena, roots);
        sweep(w);
    }
    pg_unlock(arena);
    return status;
}

/* --- steps outside of a sweep --- */

void pg_run_steps(pg_arena *arena, const pg_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        propagate(&(pg_walk){.arena = arena}, pg_node_at(arena, ids[i]), false);
}

void pg_run_whole_step(pg_arena *arena, pg_node *node)
{
    for (pg_node *part; node; node = part) {
        part = pg_part_before(arena, node);
        if (part)
            part->grad = 0.0; /* a sweep would have set it to 0 */
        propagate(&(pg_walk){.arena = arena}, node, false);
    }
}

void pg_backprop(pg_id id)
{
    pg_arena *arena = pg_lock();
    pg_run_whole_step(arena, pg_node_at(arena, id));
    pg_unlock(arena);
}
