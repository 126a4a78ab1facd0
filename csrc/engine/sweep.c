/* sweep.c: the backward pass.
 *
 * Start: mark the root. Then, again and again: take the newest marked node, clear its mark, and let it pass its
 * gradient on to its operands, which marks them. Operands are older than their consumers, so every node is met after
 * all of its consumers, with its gradient complete, and exactly once. The cost depends on what the root reaches, not
 * on what else is alive.
 *
 * It goes on only where a gradient may go: not to the operands of a flat row (a comparison, stop_gradient), to the index
 * of a take, or to y and the derivatives of a declared node. What is reached that way alone keeps its gradient. A 0.0
 * would not do: times the infinite slope of what made such an operand, it is nan.
 *
 * Marks are bits, one word a block. "The newest marked node" is the highest mark of the newest marked block, and a
 * heap keeps the marked blocks. The first mark of an interior node sets its gradient to 0, so a second backward() is
 * right; leaves have no marks and only ever add up.
 *
 * With closures. A Python closure may build graphs, free them, sweep another one or raise. So a sweep that may meet
 * one is listed first (an *order*), and run in pieces, from closure to closure; the lock is let go in between. The
 * listed nodes are *busy* until the order ends, and a second order that meets one gives up with its marks undone.
 *
 * Without a trace. pg_adjoints() lists what it will reach too, leaves included: it keeps their gradients aside, sets
 * them to 0, sweeps down the list, reads what was asked for and puts back what was there.
 */
#include <pthread.h>
#include <string.h>

#include "engine/arena.h"
#include "mem.h"

/* --- the heap of marked blocks --- */

static void heap_push(pg_arena *arena, uint32_t block, uint64_t start)
{
    pg_heap_entry *heap = arena->heap;
    size_t at = arena->heap_size++;
    for (; at > 0 && heap[(at - 1) / 2].start < start; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = (pg_heap_entry){start, block};
}

static uint32_t heap_pop(pg_arena *arena)
{
    pg_heap_entry *heap = arena->heap;
    const uint32_t top = heap[0].block;
    const pg_heap_entry last = heap[--arena->heap_size];
    const size_t size = arena->heap_size;
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1].start > heap[child].start)
            child++;
        if (heap[child].start <= last.start)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* --- marks --- */

static inline unsigned highest_bit(uint64_t word)
{
#if defined(__GNUC__)
    return 63u - (unsigned)__builtin_clzll(word);
#else
    unsigned bit = 0;
    while (word >>= 1)
        bit++;
    return bit;
#endif
}

/* The highest set bit of `marks`, all of which are below `slot`. Mostly it is the next one down. Asking for that
 * first lets the processor run ahead on a guess, where the search would wait for the marks of the node before: on a
 * chain 6.3 ns a node instead of 8.4. */
static inline unsigned next_marked(uint64_t marks, unsigned slot)
{
    return (marks >> (slot - 1) & 1) ? slot - 1 : highest_bit(marks);
}

/* Ask for the memory three blocks below `node`, where a large graph mostly goes on: on a chain of 10^6 nodes 7.8 ns
 * a node instead of 8.9. It is a hint: any address will do. */
static inline void fetch_early(const pg_node *node)
{
#if defined(__GNUC__)
    __builtin_prefetch((const void *)((uintptr_t)node - 3 * PG_BLOCK_SLOTS * sizeof *node), 1);
#else
    (void)node;
#endif
}

/* A walk over marked nodes, newest first. The marks of the block it is in are kept at hand, in a register. */
typedef struct {
    pg_arena *arena;
    pg_id first;    /* slot 0 of the block it is in; INT32_MIN, which is near no node: none yet */
    uint64_t marks; /* that block's marks still to be visited */
} walk;

static inline walk walk_of(pg_arena *arena)
{
    return (walk){.arena = arena, .first = INT32_MIN};
}

/* Give a node of another block its mark, in memory. Out of line: in the loop of the sweep it would take the
 * registers that everything else needs (54 instructions a node of a chain instead of 66). */
PG_NOINLINE void mark_far(pg_arena *arena, pg_id id)
{
    pg_block *block = pg_block_at(arena, pg_block_of(id));
    if (block->marks == 0)
        heap_push(arena, pg_block_of(id), block->start);
    block->marks |= UINT64_C(1) << pg_slot_of(id);
}

/* Mark a node if it is an interior one; true if it is, and had no mark. */
PG_INLINE bool mark(walk *w, pg_id id)
{
    const uint32_t slot = (uint32_t)id - (uint32_t)w->first;
    if (slot < PG_BLOCK_SLOTS) {
        const bool first = !(w->marks >> slot & 1);
        w->marks |= UINT64_C(1) << slot;
        return first;
    }
    if (pg_is_leaf(id) || pg_block_at(w->arena, pg_block_of(id))->marks >> pg_slot_of(id) & 1)
        return false;
    mark_far(w->arena, id);
    return true;
}

typedef void visit_fn(walk *w, pg_id id, pg_node *node, void *context);

/* Visit every marked node and those that the visits mark. Inlined, so that `visit` is a direct call. */
PG_INLINE void walk_marked(walk *w, visit_fn *visit, void *context)
{
    while (w->arena->heap_size > 0) {
        const uint32_t index = heap_pop(w->arena);
        pg_block *block = pg_block_at(w->arena, index);
        w->first = pg_id_of(index, 0);
        w->marks = block->marks;
        block->marks = 0; /* nothing marks in memory what is in the block at hand */
        pg_node *nodes = pg_node_at(w->arena, w->first);
        unsigned slot = PG_BLOCK_SLOTS;
        while (w->marks) {
            slot = next_marked(w->marks, slot);
            w->marks &= ~(UINT64_C(1) << slot);
            fetch_early(nodes + slot);
            visit(w, w->first + (pg_id)slot, nodes + slot, context);
        }
    }
}

/* --- one node's backward step --- */

/* An operand, and whether this sweep reaches it for the first time: then its gradient starts from 0. */
typedef struct {
    pg_node *node;
    bool first;
} reached;

/* Find an operand. In a sweep (marking) this is also what hands it to the walk. */
PG_INLINE reached reach(walk *w, pg_id id, bool marking)
{
    return (reached){pg_node_at(w->arena, id), marking && mark(w, id)};
}

/* Add to the gradient of an operand. One store, not a 0 and then the sum: the node visited next is often this one,
 * and a processor that runs ahead would read the 0 and have to start again. */
PG_INLINE void give(reached operand, double contribution)
{
    operand.node->grad = (operand.first ? 0.0 : operand.node->grad) + contribution;
}

/* An operand of a dot, ready to be added to. */
PG_INLINE pg_node *ready(walk *w, pg_node *nodes, pg_id id, bool marking)
{
    if (marking && !pg_is_leaf(id) && mark(w, id))
        nodes[id].grad = 0.0;
    return nodes + id;
}

/* The inputs of a dot. The first dot of a sweep that has this row makes them ready, for all. */
PG_INLINE const pg_id *row_of(walk *w, pg_node *nodes, pg_id row, pg_id count, bool marking)
{
    const pg_id *xs = pg_list_of(nodes + row);
    if (marking && mark(w, row))
        for (pg_id i = 0; i < count; i++)
            ready(w, nodes, xs[i], true);
    return xs;
}

PG_INLINE void propagate_dot(walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_id *ws = pg_list_of(node);
    pg_node *const nodes = w->arena->nodes;
    if (node->a) /* the bias, or the part before */
        ready(w, nodes, node->a, marking)->grad += g;
    const pg_id *xs = row_of(w, nodes, *ws++, node->b, marking);
    for (pg_id i = 0; i < node->b; i++) {
        pg_node *na = ready(w, nodes, ws[i], marking), *nb = nodes + xs[i];
        const double a = na->data, b = nb->data;
        na->grad += g * b;
        nb->grad += g * a; /* na again for x * x */
    }
}

/* The same in a sweep; returns the marks. Out of line, and with a copy of the walk: so this loop and that of the sweep
 * both keep what they need in registers. */
PG_NOINLINE uint64_t sweep_dot(walk w, const pg_node *node)
{
    propagate_dot(&w, node, true);
    return w.marks;
}

static inline void propagate_sum(walk *w, const pg_node *node, bool marking)
{
    const double g = node->grad;
    const pg_operand_span operands = pg_operands_of(node);
    if (operands.first) /* the start, or the part before */
        give(reach(w, operands.first, marking), g);
    for (uint32_t i = 0; i < operands.count; i++)
        give(reach(w, operands.list[i], marking), g);
}

/* All goes to the value that the index chooses as it is now; the others are only reached. */
static inline void propagate_take(walk *w, const pg_node *node, bool marking)
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
static inline void propagate_declared(walk *w, const pg_node *node, bool marking)
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
static inline void propagate_custom(walk *w, const pg_node *node, bool marking)
{
    if (node->flags & PG_FLAG_ROW) /* the dots have reached what is in it */
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
PG_NOINLINE walk propagate_rare(walk w, const pg_node *node, bool marking)
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
PG_INLINE void propagate(walk *w, const pg_node *node, bool marking)
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

PG_INLINE void sweep_node(walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id, (void)context;
    propagate(w, node, true);
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
        walk w = walk_of(arena);
        reach(&w, root, true).node->grad = seed;
        walk_marked(&w, sweep_node, NULL);
    }
    pg_unlock(arena);
    return status;
}

/* Give the roots their seeds; a node that is named twice gets both. Their gradients were anything. */
static void seed_roots(pg_arena *arena, const pg_roots *roots)
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
        walk w = walk_of(arena);
        for (uint32_t i = 0; i < roots->count; i++)
            mark(&w, roots->ids[i]);
        seed_roots(arena, roots);
        walk_marked(&w, sweep_node, NULL);
    }
    pg_unlock(arena);
    return status;
}

/* The backward step of a node outside of a sweep, for a split list as a whole. */
static void propagate_whole(pg_arena *arena, pg_node *node)
{
    for (pg_node *part; node; node = part) {
        part = pg_part_before(arena, node);
        if (part)
            part->grad = 0.0; /* a sweep would have set it to 0 */
        propagate(&(walk){.arena = arena}, node, false);
    }
}

void pg_backprop(pg_id id)
{
    pg_arena *arena = pg_lock();
    propagate_whole(arena, pg_node_at(arena, id));
    pg_unlock(arena);
}

/* --- orders --- */

typedef struct {
    pg_id *ids;
    size_t count;
    size_t capacity;
} id_list;

struct pg_order {
    id_list roots;
    size_t at;       /* the next node to run */
    id_list nodes;   /* newest first; then the leaves that have a closure */
    id_list others;  /* whose gradients are kept aside too: the other leaves, and what the caller wants to read */
    double *kept;    /* the gradients of the nodes and the others, as they were; NULL: not kept */
    pthread_t owner; /* after a fork, the child lacks the others */
    pg_order *next;
};

static bool append(id_list *list, pg_id id)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        pg_id *ids = pg_realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

/* What the listing walk carries. Once status is not PG_OK the walk goes on without marking: that undoes its marks. */
typedef struct {
    pg_status status;
    id_list nodes;
    id_list leaves; /* those with a closure; they carry PG_FLAG_LISTED meanwhile */
    id_list others; /* the leaves without one, if they are wanted, and what is outside; likewise */
    const pg_moment *since; /* what was made before is outside; NULL: nothing is */
    bool all; /* list operands that get no gradient too */
    bool busy_too;
    bool every_leaf;
    bool only_asks; /* list nothing */
    bool has_closure;
    bool has_free_leaf; /* one that is neither frozen nor only a number */
} listing;

static void list_leaf(pg_arena *arena, pg_id id, listing *found)
{
    pg_node *leaf = pg_node_at(arena, id);
    found->has_free_leaf |= !(leaf->flags & (PG_FLAG_FROZEN | PG_FLAG_NUMBER));
    const bool is_closure = leaf->flags & PG_FLAG_CLOSURE;
    if (found->only_asks || !(is_closure || found->every_leaf) || leaf->flags & PG_FLAG_LISTED)
        return;
    found->has_closure |= is_closure;
    if (leaf->flags & PG_FLAG_BUSY && !found->busy_too)
        found->status = PG_BUSY;
    else if (!append(is_closure ? &found->leaves : &found->others, id))
        found->status = PG_NO_MEMORY;
    else
        leaf->flags |= PG_FLAG_LISTED;
}

/* What was made before the moment is where such an order ends. */
static void list_outside(pg_arena *arena, pg_id id, listing *found)
{
    pg_node *node = pg_node_at(arena, id);
    if (node->flags & PG_FLAG_LISTED)
        return;
    if (!append(&found->others, id))
        found->status = PG_NO_MEMORY;
    else
        node->flags |= PG_FLAG_LISTED;
}

static void list_operand(walk *w, pg_id id, listing *found)
{
    if (found->since && !pg_was_made_since(w->arena, *found->since, id))
        list_outside(w->arena, id, found);
    else if (pg_is_leaf(id))
        list_leaf(w->arena, id, found);
    else
        mark(w, id);
}

/* List a node's operands; unless all are wanted, those that propagate() reaches. */
static void list_operands(walk *w, const pg_node *node, bool all, listing *found)
{
    const pg_operand_span operands = pg_operands_of(node);
    if (!all && pg_op_is_flat(node->op))
        return;
    const bool is_declared = !all && node->op == PG_DECLARED;
    if (operands.first && (!is_declared || pg_part_before(w->arena, node)))
        list_operand(w, operands.first, found);
    for (uint32_t i = !all && node->op == PG_TAKE; i < operands.count; i += is_declared ? 2 : 1)
        list_operand(w, operands.list[i], found);
}

static void list_node(walk *w, pg_id id, pg_node *node, void *context)
{
    listing *found = context;
    const bool runs = !(node->flags & PG_FLAG_ROW); /* of a row only what is in it, so that two orders may share one */
    if (found->status == PG_OK && node->flags & PG_FLAG_BUSY && !found->busy_too)
        found->status = PG_BUSY;
    if (found->status == PG_OK && runs && !append(&found->nodes, id))
        found->status = PG_NO_MEMORY;
    if (found->status != PG_OK)
        return;
    const bool is_closure = node->flags & PG_FLAG_CLOSURE;
    found->has_closure |= is_closure;
    list_operands(w, node, found->all || is_closure, found); /* it may pass something on to any operand, of any part */
    const pg_node *part = node;
    while (is_closure && (part = pg_part_before(w->arena, part)))
        list_operands(w, part, true, found);
}

/* Look for a free leaf; once there is one the walk only undoes its marks. */
static void seek_free_leaf(walk *w, pg_id id, pg_node *node, void *context)
{
    listing *found = context;
    (void)id;
    const pg_node *part = found->has_free_leaf ? NULL : node;
    for (const bool is_closure = node->flags & PG_FLAG_CLOSURE; part; part = pg_part_before(w->arena, part)) {
        list_operands(w, part, is_closure, found);
        if (!is_closure)
            break;
    }
}

int pg_requires_grad(pg_id id)
{
    pg_arena *arena = pg_lock();
    listing found = {.status = PG_OK, .only_asks = true};
    if (pg_is_leaf(id)) {
        found.has_free_leaf = !(pg_node_at(arena, id)->flags & PG_FLAG_FROZEN);
    } else if (id) {
        walk w = walk_of(arena);
        mark(&w, id);
        walk_marked(&w, seek_free_leaf, &found);
    }
    pg_unlock(arena);
    return found.has_free_leaf;
}

static void unlist(pg_arena *arena, const id_list *leaves)
{
    for (size_t i = 0; i < leaves->count; i++)
        pg_node_at(arena, leaves->ids[i])->flags &= (uint8_t)~PG_FLAG_LISTED;
}

/* List what the roots reach into found->nodes, leaves with closures last. Sets no gradient and no busy flag. */
static void list_reached(pg_arena *arena, const pg_id *roots, size_t count, listing *found)
{
    walk w = walk_of(arena);
    for (size_t i = 0; i < count; i++)
        list_operand(&w, roots[i], found);
    walk_marked(&w, list_node, found);
    unlist(arena, &found->leaves);
    unlist(arena, &found->others);
    for (size_t i = 0; i < found->leaves.count; i++)
        if (found->status == PG_OK && !append(&found->nodes, found->leaves.ids[i]))
            found->status = PG_NO_MEMORY;
    pg_free(found->leaves.ids);
}

pg_status pg_list_reached(pg_arena *arena, const pg_id *roots, size_t count, pg_reach by, pg_id **ids,
                          size_t *id_count)
{
    listing found = {.status = PG_OK, .all = by == PG_OPERANDS, .busy_too = by == PG_RECEIVERS};
    list_reached(arena, roots, count, &found);
    *ids = found.nodes.ids;
    *id_count = found.nodes.count;
    if (found.status != PG_OK) {
        pg_free(found.nodes.ids);
        *ids = NULL;
    }
    return found.status;
}

static double *gradient_at(pg_arena *arena, const pg_order *order, size_t i)
{
    const size_t count = order->nodes.count;
    return &pg_node_at(arena, i < count ? order->nodes.ids[i] : order->others.ids[i - count])->grad;
}

/* Put the gradients aside and set them to 0. A node may be listed twice: so all are read before one is set. */
static void keep_gradients(pg_arena *arena, pg_order *order)
{
    const size_t count = order->nodes.count + order->others.count;
    for (size_t i = 0; i < count; i++)
        order->kept[i] = *gradient_at(arena, order, i);
    for (size_t i = 0; i < count; i++)
        *gradient_at(arena, order, i) = 0.0;
}

static void put_gradients_back(pg_arena *arena, pg_order *order)
{
    for (size_t i = 0; i < order->nodes.count + order->others.count; i++)
        *gradient_at(arena, order, i) = order->kept[i];
}

static void begin_order(pg_arena *arena, pg_order *order, const pg_roots *roots)
{
    if (order->kept)
        keep_gradients(arena, order);
    for (size_t i = 0; i < order->nodes.count; i++) {
        pg_node *node = pg_node_at(arena, order->nodes.ids[i]);
        node->flags |= PG_FLAG_BUSY;
        if (!pg_is_leaf(order->nodes.ids[i]))
            node->grad = 0.0;
    }
    seed_roots(arena, roots);
    for (size_t i = 0; i < order->roots.count; i++)
        pg_ref(pg_node_at(arena, order->roots.ids[i]));
    order->next = arena->orders;
    arena->orders = order;
}

static void free_order(pg_order *order)
{
    pg_free(order->roots.ids);
    pg_free(order->nodes.ids);
    pg_free(order->others.ids);
    pg_free(order->kept);
    pg_free(order);
}

/* Undo begin_order, but for gradients that were not kept. */
static void end_order(pg_arena *arena, pg_order *order)
{
    for (size_t i = 0; i < order->nodes.count; i++)
        pg_node_at(arena, order->nodes.ids[i])->flags &= (uint8_t)~PG_FLAG_BUSY;
    if (order->kept)
        put_gradients_back(arena, order);
    for (size_t i = 0; i < order->roots.count; i++)
        pg_unref(arena, order->roots.ids[i]);
    pg_order **link = &arena->orders;
    while (*link != order)
        link = &(*link)->next;
    *link = order->next;
    free_order(order);
}

static bool append_all(id_list *list, uint32_t count, const pg_id *ids)
{
    for (uint32_t i = 0; i < count; i++)
        if (!append(list, ids[i]))
            return false;
    return true;
}

/* List what the roots reach, since a moment or ever; with `wanted` also what keeping its gradients aside takes. */
static pg_status fill_order(pg_arena *arena, pg_order *order, const pg_roots *roots, const pg_wanted *wanted,
                            const pg_moment *since, bool *has_closure)
{
    if (!pg_all_live(arena, roots->ids, roots->count) || (wanted && !pg_all_live(arena, wanted->ids, wanted->count)))
        return PG_NO_NODE;
    if (!append_all(&order->roots, roots->count, roots->ids))
        return PG_NO_MEMORY;
    listing found = {.status = PG_OK, .every_leaf = wanted != NULL, .since = since};
    list_reached(arena, roots->ids, roots->count, &found);
    order->nodes = found.nodes;
    order->others = found.others;
    *has_closure = found.has_closure;
    if (found.status != PG_OK || !wanted)
        return found.status;
    if (!append_all(&order->others, wanted->count, wanted->ids))
        return PG_NO_MEMORY;
    order->kept = pg_realloc(NULL, (order->nodes.count + order->others.count + 1) * sizeof *order->kept);
    return order->kept ? PG_OK : PG_NO_MEMORY;
}

/* A new order, which does not run yet. *has_closure: a node of it has one. */
static pg_status make_order(pg_arena *arena, const pg_roots *roots, const pg_wanted *wanted, const pg_moment *since,
                            pg_order **out, bool *has_closure)
{
    pg_order *order = pg_realloc(NULL, sizeof *order);
    if (!order)
        return PG_NO_MEMORY;
    *order = (pg_order){.owner = pthread_self()};
    const pg_status status = fill_order(arena, order, roots, wanted, since, has_closure);
    if (status == PG_OK)
        *out = order;
    else
        free_order(order);
    return status;
}

static pg_status new_order(const pg_roots *roots, const pg_wanted *wanted, const pg_moment *since, pg_order **out)
{
    pg_arena *arena = pg_lock();
    bool has_closure = false;
    const pg_status status = make_order(arena, roots, wanted, since, out, &has_closure);
    if (status == PG_OK)
        begin_order(arena, *out, roots);
    pg_unlock(arena);
    return status;
}

pg_status pg_order_from(const pg_roots *roots, const pg_wanted *wanted, pg_order **out)
{
    return new_order(roots, wanted, NULL, out);
}

pg_status pg_order_within(const pg_roots *roots, const pg_moment *since, pg_order **out)
{
    return new_order(roots, NULL, since, out);
}

/* FNV-1a (Fowler, Noll and Vo), an op for a byte. */
uint64_t pg_order_digest(const pg_order *order)
{
    pg_arena *arena = pg_lock();
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < order->nodes.count; i++)
        digest = (digest ^ pg_node_at(arena, order->nodes.ids[i])->op) * UINT64_C(0x100000001b3);
    pg_unlock(arena);
    return digest;
}

size_t pg_order_outside(const pg_order *order, pg_id *out)
{
    if (out && order->others.count > 0)
        memcpy(out, order->others.ids, order->others.count * sizeof *out);
    return order->others.count;
}

int pg_is_busy(pg_id id)
{
    pg_arena *arena = pg_lock();
    const bool busy = (pg_node_at(arena, id)->flags & PG_FLAG_BUSY) != 0;
    pg_unlock(arena);
    return busy;
}

pg_status pg_order_new(pg_id root, double seed, pg_order **out)
{
    return pg_order_from(&(pg_roots){.count = 1, .ids = &root, .seeds = &seed}, NULL, out);
}

/* Run a whole order. Every part of a split list is a node of it, so each passes on what is its own. */
static void run_order(pg_arena *arena, const pg_order *order)
{
    for (size_t i = 0; i < order->nodes.count; i++)
        propagate(&(walk){.arena = arena}, pg_node_at(arena, order->nodes.ids[i]), false);
}

pg_status pg_adjoints(const pg_roots *roots, const pg_wanted *wanted)
{
    pg_arena *arena = pg_lock();
    pg_order *order = NULL;
    bool has_closure = false;
    pg_status status = make_order(arena, roots, wanted, NULL, &order, &has_closure);
    if (status == PG_OK && has_closure) {
        free_order(order);
        status = PG_CLOSURES;
    } else if (status == PG_OK) {
        begin_order(arena, order, roots);
        run_order(arena, order);
        for (uint32_t i = 0; i < wanted->count; i++)
            wanted->grads[i] = pg_node_at(arena, wanted->ids[i])->grad;
        end_order(arena, order);
    }
    pg_unlock(arena);
    return status;
}

void pg_creation_order(uint32_t count, const pg_id *ids, uint64_t *out)
{
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < count; i++)
        out[i] = pg_is_leaf(ids[i])
                     ? 0
                     : pg_block_at(arena, pg_block_of(ids[i]))->start * PG_BLOCK_SLOTS + pg_slot_of(ids[i]);
    pg_unlock(arena);
}

/* Run the next node, or only name it if its step is a closure; 0 at the end. */
static pg_id step(pg_arena *arena, pg_order *order, bool *is_closure)
{
    pg_node *node;
    do { /* the parts of a split list have run with it */
        if (order->at == order->nodes.count)
            return 0;
        node = pg_node_at(arena, order->nodes.ids[order->at++]);
    } while (node->flags & PG_FLAG_PART);
    *is_closure = (node->flags & PG_FLAG_CLOSURE) != 0;
    if (!*is_closure)
        propagate_whole(arena, node);
    return order->nodes.ids[order->at - 1];
}

pg_id pg_order_next(pg_order *order)
{
    pg_arena *arena = pg_lock();
    bool is_closure = false;
    pg_id id;
    do
        id = step(arena, order, &is_closure);
    while (id && !is_closure);
    pg_unlock(arena);
    return id;
}

pg_id pg_order_step(pg_order *order, int *is_closure)
{
    pg_arena *arena = pg_lock();
    bool stopped = false;
    const pg_id id = step(arena, order, &stopped);
    *is_closure = stopped;
    pg_unlock(arena);
    return id;
}

void pg_order_free(pg_order *order)
{
    pg_arena *arena = pg_lock();
    end_order(arena, order);
    pg_unlock(arena);
}

double *pg_frozen_grad(const pg_arena *arena, pg_node *leaf)
{
    for (const pg_order *order = arena->orders; order; order = order->next)
        if (pthread_equal(order->owner, pthread_self()))
            return &leaf->grad;
    return &pg_node_at(arena, leaf->a)->grad;
}

/* In the child of a fork only the forking thread is left: nobody will end the orders of the others. */
void pg_orders_after_fork(pg_arena *arena)
{
    for (pg_order *order = arena->orders, *next; order; order = next) {
        next = order->next;
        if (!pthread_equal(order->owner, pthread_self()))
            end_order(arena, order);
    }
}

size_t pg_order_roots(const pg_arena *arena, pg_id id)
{
    size_t count = 0;
    for (const pg_order *order = arena->orders; order; order = order->next)
        for (size_t i = 0; i < order->roots.count; i++)
            count += order->roots.ids[i] == id;
    return count;
}
