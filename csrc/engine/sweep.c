/* sweep.c: the backward pass, in one piece.
 *
 * A sweep first marks the root. Then it repeats: choose the newest marked node, clear its mark, add gradient * slope
 * to the gradient of each receiver, and mark the receivers (walk.h). Operands are older than their consumers. So each
 * node is visited exactly once and after all its consumers, when its gradient is complete.
 *
 * The receivers are the operands that get a gradient. They are not the operands of a PG_FLAT row (a comparison,
 * stop_gradient), not the index of a take, and not y and the derivatives of a declared node. A node that is reached
 * by no other way keeps the gradient it had. To pass on 0.0 instead would be wrong: if a slope further down is
 * infinite, 0.0 times this slope is nan.
 *
 * What is not taken. Of a take (a where is one, of two values) only the value that the index chooses is a receiver. A
 * node that is reached by no other way than values that are not chosen has the gradient 0, and its backward step does
 * not run: no 0 times an infinite slope is formed. This holds for each sample, and in every way to differentiate:
 *
 *     here, and in order.c    the walk does not come to the node; its gradient is set to 0 before
 *     tape/tape.h             an operation that may be passed over is PG_CONDITIONAL: it runs where something reaches it
 *     calculus/derive.c       a contribution of such a node is itself a take, and so follows the index in derivatives
 *     calculus/taylor.py      so is a coefficient, in pygrad/
 *     pygrad/reference.py     as here
 *
 * Every other 0 is a number like any other: relu, minimum and maximum reach their operands, and 0 * inf is nan.
 *
 * When an interior node is first reached, its gradient starts from 0 again. So a second backward() is right. To the
 * gradient of a leaf a sweep only adds. A root is the exception, leaf or not: its gradient starts from its seed.
 *
 * A Python closure may build graphs, free them, start another sweep or raise. So a sweep that may meet a closure is
 * not run here, but in pieces (order.c).
 */
#include "engine/sweep.h"

#include <string.h>

#include "engine/reach.h"
#include "engine/walk.h"

/* --- one node's backward step --- */

/* An operand that is reached. `is_new`: this sweep reaches it for the first time, so its gradient starts from 0; never
 * true of a leaf. */
typedef struct {
    pg_node *node;
    bool is_new;
} reached;

/* Reach an operand. In a sweep (marking) this marks the operand, too, so that the walk will visit it. */
PG_INLINE reached visit_operand(pg_walk *w, pg_id id, bool marking)
{
    return (reached){pg_node_at(w->arena, id), marking && pg_mark(w, id)};
}

/* Add to the gradient of an operand. This is one store, and not first 0 and then the sum: the operand is often the
 * next node that is visited, and a processor that runs ahead would read the 0, and have to start again. */
PG_INLINE void give(reached operand, double contribution)
{
    operand.node->grad = (operand.is_new ? 0.0 : operand.node->grad) + contribution;
}

/* Reach an operand of a dot: mark it, and set its gradient to 0 if this is the first time. */
PG_INLINE pg_node *ready(pg_walk *w, pg_node *nodes, pg_id id, bool marking)
{
    if (marking && !pg_is_leaf(id) && pg_mark(w, id))
        nodes[id].grad = 0.0;
    return nodes + id;
}

/* The inputs of a dot. The first dot with this vector that a sweep visits makes the inputs ready for all such dots. */
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

/* propagate_dot() in a sweep; returns the marks. It is not inlined and gets a copy of the walk: so this loop and the
 * loop of the sweep can both keep their variables in registers. */
PG_NOINLINE uint64_t sweep_dot(pg_walk w, const pg_node *node)
{
    propagate_dot(&w, node, true);
    return w.marks;
}

static inline void propagate_sum(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    if (operands.front) /* the start, or the part before */
        give(visit_operand(w, operands.front, marking), g);
    for (uint32_t i = 0; i < operands.count; i++)
        give(visit_operand(w, operands.list[i], marking), g);
}

/* The value that the index chooses now gets the whole gradient. The other values are not reached. */
static inline void propagate_take(pg_walk *w, const pg_node *node, bool marking)
{
    const pg_operand_span to = pg_chosen_of(w->arena, node);
    if (to.front) /* the part before: the chosen value is there */
        give(visit_operand(w, to.front, marking), node->grad);
    if (to.count)
        give(visit_operand(w, to.list[0], marking), node->grad);
}

/* Each x gets the gradient times its derivative, as the derivative is now. */
static inline void propagate_declared(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    if (pg_part_before(w->arena, node)) /* else `front` is y, which gets nothing */
        give(visit_operand(w, operands.front, marking), g);
    for (uint32_t i = 0; i < operands.count; i += 2)
        give(visit_operand(w, operands.list[i], marking), g * pg_node_at(w->arena, operands.list[i + 1])->data);
}

/* A node of the user's own passes on its gradient times its local gradients. Without local gradients it only reaches
 * its operands, so that the sweep visits them too. */
static inline void propagate_custom(pg_walk *w, const pg_node *node, bool marking)
{
    if (node->flags & PG_FLAG_VECTOR) /* its dots have passed their gradients on to the inputs in it */
        return;
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    const double *local_grads = node->op == PG_LOCAL ? pg_local_grads(node) : NULL;
    if (operands.front) /* the part before */
        give(visit_operand(w, operands.front, marking), local_grads ? g : 0.0);
    for (uint32_t i = 0; i < operands.count; i++)
        give(visit_operand(w, operands.list[i], marking), local_grads ? g * local_grads[i] : 0.0);
}

/* The backward step of the ops that have no case in propagate(). It is not inlined, and it gets and returns the walk
 * by value: so the loop of the sweep can keep the walk in registers. */
PG_NOINLINE pg_walk propagate_other(pg_walk w, const pg_node *node, bool marking)
{
    if (node->op == PG_TAKE)
        propagate_take(&w, node, marking);
    else if (node->op == PG_DECLARED)
        propagate_declared(&w, node, marking);
    else if (!pg_op_is_flat(node->op))
        propagate_custom(&w, node, marking);
    return w;
}

/* The backward step of a node: add grad * (d node / d operand) to the gradient of each receiver. */
PG_INLINE void propagate(pg_walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad, y = node->data;
    (void)y;
    switch (node->op) {
    case PG_LEAF:
        break;
#define PG_UNARY(name, label, forward, da)                     \
    case PG_OP_##name: {                                       \
        const reached na = visit_operand(w, node->a, marking); \
        const double a = na.node->data;                        \
        (void)a;                                               \
        give(na, g *(da));                                     \
        break;                                                 \
    }
#define PG_BINARY(name, label, forward, da, db)                \
    case PG_OP_##name: {                                       \
        const reached na = visit_operand(w, node->a, marking); \
        const reached nb = visit_operand(w, node->b, marking); \
        const double a = na.node->data, b = nb.node->data;     \
        (void)a, (void)b;                                      \
        const double by_a = (da), by_b = (db);                 \
        give(na, g *by_a);                                     \
        give(nb, g *by_b); /* na again for x * x */            \
        break;                                                 \
    }
#define PG_FLAT(name, label, arity, forward) \
    case PG_OP_##name:                       \
        break;
#include "ops.def"
    case PG_POWER: {
        const reached na = visit_operand(w, node->a, marking);
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
        *w = propagate_other(*w, node, marking);
        break;
    }
}

/* --- the sweep --- */

PG_INLINE void sweep_node(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id, (void)context;
    propagate(w, node, true);
}

/* Visit the marked nodes and all that they reach. It is not inlined and gets a copy of the walk: so this loop has all
 * registers. */
PG_NOINLINE void sweep(pg_walk w)
{
    pg_walk_marked(&w, sweep_node, NULL);
}

pg_status pg_backward(pg_id root, double seed)
{
    pg_arena *arena = pg_lock();
    pg_status status = PG_OK;
    if (!pg_known(arena, root)) {
        status = PG_NO_NODE;
    } else if (arena->closures || arena->orders) {
        status = PG_CLOSURES;
    } else {
        pg_walk w = pg_walk_of(arena);
        if (arena->takes)
            pg_clear_gradients(arena, &root, 1);
        visit_operand(&w, root, true).node->grad = seed;
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
        if (arena->takes)
            pg_clear_gradients(arena, roots->ids, roots->count);
        for (uint32_t i = 0; i < roots->count; i++)
            pg_mark(&w, roots->ids[i]);
        pg_seed_roots(arena, roots);
        sweep(w);
    }
    pg_unlock(arena);
    return status;
}

/* --- single steps, without marks --- */

void pg_run_step(pg_arena *arena, pg_id id)
{
    propagate(&(pg_walk){.arena = arena}, pg_node_at(arena, id), false);
}

void pg_run_whole_step(pg_arena *arena, pg_node *node)
{
    for (pg_node *part; node; node = part) {
        part = pg_part_before(arena, node);
        if (part)
            part->grad = 0.0; /* as a sweep does when it first reaches the part */
        propagate(&(pg_walk){.arena = arena}, node, false);
    }
}

void pg_backprop(pg_id id)
{
    pg_arena *arena = pg_lock();
    pg_run_whole_step(arena, pg_node_at(arena, pg_known(arena, id)));
    pg_unlock(arena);
}
