/* order.c: the backward pass in pieces.
 *
 * A Python closure may build graphs, free them, start another sweep or raise. So a sweep that may meet a closure is
 * first listed: an *order* is the list of the nodes that it visits. Then the order is run in pieces, from one closure
 * to the next, and the lock is free in between. Until the order ends its nodes are *busy*. A second order that meets
 * a busy node fails (PG_BUSY), and leaves no marks.
 *
 * Cuts. The closure of a node may learn that it passes nothing on to some operands (pg_order_cut()). Then the order is
 * listed anew without them, and the nodes that are missing now are *idle*: they are not run, and not busy any more.
 *
 * What is not taken. An order lists what takes do not choose too, so that the gradients there become 0. Where there are
 * takes it is then listed anew, as for a cut, but with the chosen values alone: the other nodes are idle from the start.
 * (A closure that sets the index of a take comes too late to change what is listed.)
 *
 * Gradients that come back. pg_adjoints() and pg_order_from() with `wanted` leave every gradient as it was. Such an
 * order lists the leaves too. It copies all gradients of its nodes to `kept` and sets them to 0. Its end copies them
 * back. Until then these leaves are *lent*: a sweep of another thread that would add to such a leaf fails (PG_BUSY), for
 * what it adds would be lost.
 */
#include "engine/order.h"

#include <pthread.h>
#include <string.h>

#include "engine/reach.h"
#include "engine/references.h"
#include "engine/sweep.h"

struct pg_order {
    pg_id_list roots;
    size_t at;         /* the number of nodes that have been run */
    pg_id_list nodes;  /* the nodes to run, newest first; then the leaves that have a closure */
    pg_id_list others; /* with `kept`: the other leaves, and the nodes that the caller wants to read. In an order since
                        * a moment: the earlier nodes that it adds to */
    double *kept; /* the old gradients of `nodes` and then of `others`; NULL: gradients do not come back */
    pg_id_list cut; /* nodes whose closures have run and passed nothing on to some operands */
    pg_id_list kept_operands; /* the other operands of these */
    pg_moment since; /* of pg_order_within(), if has_since */
    bool has_since;
    bool *idle; /* one for each of `nodes`; NULL: none is idle */
    pthread_t owner; /* the thread that began the order: the child of a fork may lack it */
    bool ended; /* a fork has ended it: only its memory is left */
    pg_order *next; /* in the arena's list */
};

static bool is_idle(const pg_order *order, size_t i)
{
    return order->idle && order->idle[i];
}

/* --- beginning and ending --- */

static double *gradient_at(pg_arena *arena, const pg_order *order, size_t i)
{
    const size_t count = order->nodes.count;
    return &pg_node_at(arena, i < count ? order->nodes.ids[i] : order->others.ids[i - count])->grad;
}

/* Copy the gradients to `kept` and set them to 0. A node may be listed twice, so all are read before any is set. */
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

static void set_lent(pg_arena *arena, const pg_order *order, bool on)
{
    const pg_id_list *const lists[] = {&order->nodes, &order->others};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->count; i++) {
            pg_node *node = pg_node_at(arena, lists[k]->ids[i]);
            if (pg_is_leaf(lists[k]->ids[i]))
                node->flags = (uint8_t)(on ? node->flags | PG_FLAG_LENT : node->flags & ~PG_FLAG_LENT);
        }
}

/* Take the gradients back, from this order; other orders may have some of the leaves too. */
static void end_loan(pg_arena *arena, const pg_order *ended)
{
    set_lent(arena, ended, false);
    for (const pg_order *order = arena->orders; order; order = order->next)
        if (order->kept)
            set_lent(arena, order, true);
}

static bool lists(const pg_order *order, pg_id id)
{
    for (size_t i = 0; i < order->nodes.count; i++)
        if (order->nodes.ids[i] == id)
            return true;
    for (size_t i = 0; i < order->others.count; i++)
        if (order->others.ids[i] == id)
            return true;
    return false;
}

/* The next order of another thread that leaves are lent to, from this one on; NULL: there is none. */
static const pg_order *lent_elsewhere(const pg_order *order)
{
    while (order && (!order->kept || pthread_equal(order->owner, pthread_self())))
        order = order->next;
    return order;
}

static bool is_lent(const pg_arena *arena, pg_id id)
{
    if (!pg_is_leaf(id) || !(pg_node_at(arena, id)->flags & PG_FLAG_LENT))
        return false;
    const pg_order *order = lent_elsewhere(arena->orders);
    while (order && !lists(order, id))
        order = lent_elsewhere(order->next);
    return order != NULL;
}

/* PG_BUSY if a sweep from these roots would add to a leaf that is lent to an order of another thread. */
static pg_status check_loans(pg_arena *arena, const pg_roots *roots, const pg_moment *since)
{
    if (!lent_elsewhere(arena->orders))
        return PG_OK;
    pg_listing reached = {.busy_too = true, .every_leaf = true, .since = since};
    pg_list_reached(arena, roots->ids, roots->count, &reached);
    for (size_t i = 0; i < reached.nodes.count && reached.status == PG_OK; i++)
        reached.status = is_lent(arena, reached.nodes.ids[i]) ? PG_BUSY : PG_OK;
    for (size_t i = 0; i < reached.others.count && reached.status == PG_OK; i++)
        reached.status = is_lent(arena, reached.others.ids[i]) ? PG_BUSY : PG_OK;
    pg_free(reached.nodes.ids);
    pg_free(reached.others.ids);
    return reached.status;
}

static void begin_order(pg_arena *arena, pg_order *order, const pg_roots *roots)
{
    if (order->kept)
        keep_gradients(arena, order);
    for (size_t i = 0; i < order->nodes.count; i++) {
        pg_node *node = pg_node_at(arena, order->nodes.ids[i]);
        if (!is_idle(order, i))
            node->flags |= PG_FLAG_BUSY;
        if (!pg_is_leaf(order->nodes.ids[i]))
            node->grad = 0.0;
    }
    pg_seed_roots(arena, roots);
    for (size_t i = 0; i < order->roots.count; i++)
        pg_ref(pg_node_at(arena, order->roots.ids[i]));
    order->next = arena->orders;
    arena->orders = order;
    if (order->kept)
        set_lent(arena, order, true);
}

static void free_order(pg_order *order)
{
    pg_free(order->roots.ids);
    pg_free(order->nodes.ids);
    pg_free(order->others.ids);
    pg_free(order->kept);
    pg_free(order->cut.ids);
    pg_free(order->kept_operands.ids);
    pg_free(order->idle);
    pg_free(order);
}

/* Undo begin_order(). Gradients that were not kept stay as they are. */
static void end_order(pg_arena *arena, pg_order *order)
{
    for (size_t i = 0; i < order->nodes.count; i++)
        if (!is_idle(order, i)) /* else another order may have it */
            pg_node_at(arena, order->nodes.ids[i])->flags &= (uint8_t)~PG_FLAG_BUSY;
    if (order->kept)
        put_gradients_back(arena, order);
    for (size_t i = 0; i < order->roots.count; i++)
        pg_unref(arena, order->roots.ids[i]);
    pg_order **link = &arena->orders;
    while (*link != order)
        link = &(*link)->next;
    *link = order->next;
    order->ended = true;
    if (order->kept)
        end_loan(arena, order);
}

static bool append_all(pg_id_list *list, uint32_t count, const pg_id *ids)
{
    for (uint32_t i = 0; i < count; i++)
        if (!pg_append_id(list, ids[i]))
            return false;
    return true;
}

/* --- idle nodes --- */

/* List what the roots and the kept operands reach, without the other operands of the cut nodes, and without what takes
 * do not choose. */
static pg_status list_anew(pg_arena *arena, const pg_order *order, pg_listing *out)
{
    pg_id_list from = {0};
    *out = (pg_listing){.chosen = true, .busy_too = true, .cut = order->cut.ids, .cut_count = order->cut.count};
    out->since = order->has_since ? &order->since : NULL;
    const bool done = append_all(&from, (uint32_t)order->roots.count, order->roots.ids) &&
                      append_all(&from, (uint32_t)order->kept_operands.count, order->kept_operands.ids);
    if (done)
        pg_list_reached(arena, from.ids, from.count, out);
    pg_free(from.ids);
    return done ? out->status : PG_NO_MEMORY;
}

/* Nodes that are not in the list `left` become idle. */
static void set_idle(pg_arena *arena, pg_order *order, const pg_id_list *left)
{
    for (size_t i = 0; i < left->count; i++)
        pg_node_at(arena, left->ids[i])->flags |= PG_FLAG_LISTED;
    for (size_t i = 0; i < order->nodes.count; i++) {
        pg_node *node = pg_node_at(arena, order->nodes.ids[i]);
        if (order->idle[i] || node->flags & PG_FLAG_LISTED)
            continue;
        order->idle[i] = true;
        node->flags &= (uint8_t)~PG_FLAG_BUSY;
    }
    for (size_t i = 0; i < left->count; i++)
        pg_node_at(arena, left->ids[i])->flags &= (uint8_t)~PG_FLAG_LISTED;
}

static bool make_idle(pg_order *order) /* false: out of memory */
{
    if (order->idle)
        return true;
    order->idle = pg_realloc(NULL, order->nodes.count * sizeof *order->idle);
    if (order->idle)
        memset(order->idle, 0, order->nodes.count * sizeof *order->idle);
    return order->idle != NULL;
}

/* Let what is not listed anew be idle. `others` become those that are left, unless they have gradients to put back. */
static pg_status narrow(pg_arena *arena, pg_order *order)
{
    pg_listing left = {0};
    const pg_status status = make_idle(order) ? list_anew(arena, order, &left) : PG_NO_MEMORY;
    if (status == PG_OK) {
        set_idle(arena, order, &left.nodes);
        if (order->has_since) {
            pg_free(order->others.ids);
            order->others = left.others;
            left.others.ids = NULL;
        }
    }
    pg_free(left.nodes.ids);
    pg_free(left.others.ids);
    return status;
}

/* --- making an order --- */

/* List what the roots reach, in all or since a moment. With `wanted`, prepare `others` and `kept` too. */
static pg_status fill_order(pg_arena *arena, pg_order *order, const pg_roots *roots, const pg_wanted *wanted,
                            const pg_moment *since, bool *has_closure)
{
    if (!pg_all_live(arena, roots->ids, roots->count) || (wanted && !pg_all_live(arena, wanted->ids, wanted->count)))
        return PG_NO_NODE;
    if (!append_all(&order->roots, roots->count, roots->ids))
        return PG_NO_MEMORY;
    pg_listing found = {.every_leaf = wanted != NULL, .since = since};
    pg_list_reached(arena, roots->ids, roots->count, &found);
    order->nodes = found.nodes;
    order->others = found.others;
    *has_closure = found.has_closure;
    if (found.status != PG_OK)
        return found.status;
    if (arena->takes && !since && narrow(arena, order) != PG_OK)
        return PG_NO_MEMORY;
    if (!wanted)
        return PG_OK;
    if (!append_all(&order->others, wanted->count, wanted->ids))
        return PG_NO_MEMORY;
    order->kept = pg_realloc(NULL, (order->nodes.count + order->others.count + 1) * sizeof *order->kept);
    return order->kept ? PG_OK : PG_NO_MEMORY;
}

/* Make an order that does not run yet. *has_closure: one of its nodes has a closure. */
static pg_status make_order(pg_arena *arena, const pg_roots *roots, const pg_wanted *wanted, const pg_moment *since,
                            pg_order **out, bool *has_closure)
{
    pg_order *order = pg_realloc(NULL, sizeof *order);
    if (!order)
        return PG_NO_MEMORY;
    *order = (pg_order){.owner = pthread_self(), .since = since ? *since : 0, .has_since = since != NULL};
    const pg_status status = fill_order(arena, order, roots, wanted, since, has_closure);
    if (status == PG_OK)
        *out = order;
    else
        free_order(order);
    return status;
}

static pg_status new_order(const pg_roots *roots, const pg_wanted *wanted, const pg_moment *since, pg_order_cell *cell)
{
    pg_arena *arena = pg_lock();
    bool has_closure = false;
    pg_order *order = NULL;
    pg_status status = make_order(arena, roots, wanted, since, &order, &has_closure);
    if (status == PG_OK && (status = check_loans(arena, roots, since)) != PG_OK)
        free_order(order);
    if (status == PG_OK) {
        begin_order(arena, order, roots);
        cell->order = order;
    }
    pg_unlock(arena);
    return status;
}

pg_status pg_order_from(const pg_roots *roots, const pg_wanted *wanted, pg_order_cell *cell)
{
    return new_order(roots, wanted, NULL, cell);
}

pg_status pg_order_within(const pg_roots *roots, pg_moment since, pg_order_cell *cell)
{
    return new_order(roots, NULL, &since, cell);
}

pg_status pg_order_choose(pg_order *order)
{
    pg_arena *arena = pg_lock();
    const pg_status status = arena->takes ? narrow(arena, order) : PG_OK;
    pg_unlock(arena);
    return status;
}

/* The hash FNV-1a (Fowler, Noll and Vo), with ops in place of bytes. */
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
    const bool busy = (pg_node_at(arena, pg_known(arena, id))->flags & PG_FLAG_BUSY) != 0;
    pg_unlock(arena);
    return busy;
}

pg_status pg_order_new(pg_id root, double seed, pg_order_cell *cell)
{
    return pg_order_from(&(pg_roots){.count = 1, .ids = &root, .seeds = &seed}, NULL, cell);
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
        for (size_t i = 0; i < order->nodes.count; i++) /* every part of a split list is in the list */
            if (!is_idle(order, i))
                pg_run_step(arena, order->nodes.ids[i]);
        for (uint32_t i = 0; i < wanted->count; i++)
            wanted->grads[i] = pg_node_at(arena, wanted->ids[i])->grad;
        end_order(arena, order);
        free_order(order);
    }
    pg_unlock(arena);
    return status;
}

/* --- running, in pieces --- */

/* Return the id of the next node, and run its step, unless the step is a closure. 0: the order is at its end. */
static pg_id step(pg_arena *arena, pg_order *order, bool *is_closure)
{
    pg_node *node;
    do { /* skip parts: they have run with the node that they are parts of */
        if (order->at == order->nodes.count)
            return 0;
        node = pg_node_at(arena, order->nodes.ids[order->at++]);
    } while (node->flags & PG_FLAG_PART || is_idle(order, order->at - 1));
    *is_closure = (node->flags & PG_FLAG_CLOSURE) != 0;
    if (!*is_closure)
        pg_run_whole_step(arena, node);
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

/* --- cuts --- */

/* The order that is running a node's closure, or NULL. */
static pg_order *order_at(const pg_arena *arena, pg_id node)
{
    pg_order *order = arena->orders;
    while (order && !(order->at > 0 && order->nodes.ids[order->at - 1] == node))
        order = order->next;
    return order;
}

static pg_status cut(pg_arena *arena, pg_order *order, pg_id node, uint32_t count, const pg_id *kept)
{
    const size_t cuts = order->cut.count, operands = order->kept_operands.count;
    pg_status status = PG_NO_MEMORY;
    if (pg_append_id(&order->cut, node) && append_all(&order->kept_operands, count, kept))
        status = narrow(arena, order);
    if (status != PG_OK) {
        order->cut.count = cuts;
        order->kept_operands.count = operands;
    }
    return status;
}

pg_status pg_order_cut(pg_id node, uint32_t count, const pg_id *kept)
{
    pg_arena *arena = pg_lock();
    pg_order *order = order_at(arena, node);
    const pg_status status = order ? cut(arena, order, node, count, kept) : PG_OK;
    pg_unlock(arena);
    return status;
}

/* --- the end --- */

void pg_order_cell_free(void *cell)
{
    pg_order *order = ((pg_order_cell *)cell)->order;
    pg_free(cell);
    if (!order)
        return;
    pg_arena *arena = pg_lock();
    if (!order->ended)
        end_order(arena, order);
    pg_unlock(arena);
    free_order(order);
}

/* --- questions about running orders --- */

bool pg_has_own_order(const pg_arena *arena)
{
    for (const pg_order *order = arena->orders; order; order = order->next)
        if (pthread_equal(order->owner, pthread_self()))
            return true;
    return false;
}

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
