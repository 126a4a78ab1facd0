/* reach.c: lists of the nodes that roots reach; their gradients set to 0; does a node require a gradient, and does it
 * depend on an argument? */
#include "engine/reach.h"

#include "engine/moment.h"
#include "engine/walk.h"

/* --- the operands of one node --- */

typedef void operand_fn(pg_walk *w, pg_id id, void *context);

/* Which operands of a node to visit: all, the receivers, or those that are chosen (pg_chosen_of). */
typedef enum { ALL, RECEIVERS, CHOSEN } choice;

static inline pg_operand_span operands_to_visit(const pg_arena *arena, const pg_node *node, choice which)
{
    return which == ALL      ? pg_operands_of(node)
           : which == CHOSEN ? pg_chosen_of(arena, node)
                             : pg_receivers_of(arena, node);
}

/* Call `visit` for these operands of a node. A closure may pass something on to any operand: so for a node with a
 * closure, call it for all operands of all its parts. */
PG_INLINE void each_operand(pg_walk *w, const pg_node *node, choice which, operand_fn *visit, void *context)
{
    const bool is_closure = node->flags & PG_FLAG_CLOSURE;
    for (const pg_node *part = node; part; part = is_closure ? pg_part_before(w->arena, part) : NULL) {
        const pg_operand_span to = operands_to_visit(w->arena, part, is_closure ? ALL : which);
        if (to.front)
            visit(w, to.front, context);
        for (uint32_t i = 0; i < to.count; i += to.step)
            visit(w, to.list[i], context);
    }
}

/* --- a list --- */

/* The state of the walk. Once the status is not PG_OK, the walk visits the marked nodes that are left and marks no
 * more: so no mark stays. During the walk the nodes in `leaves` and `others` have PG_FLAG_LISTED. */
typedef struct {
    pg_listing *listing;
    pg_id_list leaves; /* the leaves with a closure */
} search;

static void list_once(pg_arena *arena, pg_id id, pg_listing *listing, pg_id_list *list)
{
    pg_node *node = pg_node_at(arena, id);
    if (node->flags & PG_FLAG_LISTED)
        return;
    if (!pg_append_id(list, id))
        listing->status = PG_NO_MEMORY;
    else
        node->flags |= PG_FLAG_LISTED;
}

static void list_leaf(pg_arena *arena, pg_id id, search *s)
{
    const pg_node *leaf = pg_node_at(arena, id);
    const bool is_closure = leaf->flags & PG_FLAG_CLOSURE;
    if (!is_closure && !s->listing->every_leaf)
        return;
    s->listing->has_closure |= is_closure;
    if (leaf->flags & PG_FLAG_BUSY && !s->listing->busy_too)
        s->listing->status = PG_BUSY;
    else
        list_once(arena, id, s->listing, is_closure ? &s->leaves : &s->listing->others);
}

static void list_operand(pg_walk *w, pg_id id, void *context)
{
    search *s = context;
    const pg_moment *since = s->listing->since;
    if (since && !pg_was_made_since(w->arena, *since, id))
        list_once(w->arena, id, s->listing, &s->listing->others);
    else if (pg_is_leaf(id))
        list_leaf(w->arena, id, s);
    else
        pg_mark(w, id);
}

static bool is_cut(const pg_listing *listing, pg_id id)
{
    for (size_t i = 0; i < listing->cut_count; i++)
        if (listing->cut[i] == id)
            return true;
    return false;
}

PG_INLINE void list_node(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    search *s = context;
    pg_listing *listing = s->listing;
    const bool runs = !(node->flags & PG_FLAG_VECTOR); /* a vector has no step, and orders may share it */
    if (listing->status == PG_OK && node->flags & PG_FLAG_BUSY && !listing->busy_too)
        listing->status = PG_BUSY;
    if (listing->status == PG_OK && runs && !pg_append_id(&listing->nodes, id))
        listing->status = PG_NO_MEMORY;
    if (listing->status != PG_OK)
        return;
    listing->has_closure |= (node->flags & PG_FLAG_CLOSURE) != 0;
    if (!is_cut(listing, id))
        each_operand(w, node, listing->all ? ALL : listing->chosen ? CHOSEN : RECEIVERS, list_operand, s);
}

static void unlist(pg_arena *arena, const pg_id_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        pg_node_at(arena, list->ids[i])->flags &= (uint8_t)~PG_FLAG_LISTED;
}

void pg_list_reached(pg_arena *arena, const pg_id *roots, size_t count, pg_listing *listing)
{
    pg_walk w = pg_walk_of(arena);
    search s = {.listing = listing};
    for (size_t i = 0; i < count; i++)
        list_operand(&w, roots[i], &s);
    pg_walk_marked(&w, list_node, &s);
    unlist(arena, &s.leaves);
    unlist(arena, &listing->others);
    for (size_t i = 0; i < s.leaves.count; i++)
        if (listing->status == PG_OK && !pg_append_id(&listing->nodes, s.leaves.ids[i]))
            listing->status = PG_NO_MEMORY;
    pg_free(s.leaves.ids);
}

/* --- gradients set to 0 --- */

static void mark_operand(pg_walk *w, pg_id id, void *context)
{
    (void)context;
    pg_mark(w, id);
}

PG_INLINE void clear_node(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id;
    node->grad = 0.0;
    each_operand(w, node, RECEIVERS, mark_operand, context);
}

void pg_clear_gradients(pg_arena *arena, const pg_id *roots, size_t count)
{
    pg_walk w = pg_walk_of(arena);
    for (size_t i = 0; i < count; i++)
        pg_mark(&w, roots[i]);
    pg_walk_marked(&w, clear_node, NULL);
}

/* --- does a node require a gradient? does it lead to older nodes? --- */

static void ask_operand(pg_walk *w, pg_id id, void *context)
{
    bool *is_free = context;
    if (pg_is_leaf(id))
        *is_free |= !(pg_node_at(w->arena, id)->flags & (PG_FLAG_FROZEN | PG_FLAG_NUMBER));
    else
        pg_mark(w, id);
}

/* Once a leaf that is free (neither frozen nor a number) was found, the walk only undoes its marks. */
PG_INLINE void ask_node(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id;
    if (!*(const bool *)context)
        each_operand(w, node, RECEIVERS, ask_operand, context);
}

int pg_requires_grad(pg_id id)
{
    pg_arena *arena = pg_lock();
    bool is_free = false;
    id = pg_known(arena, id);
    if (pg_is_leaf(id)) {
        is_free = !(pg_node_at(arena, id)->flags & PG_FLAG_FROZEN);
    } else if (id) {
        pg_walk w = pg_walk_of(arena);
        pg_mark(&w, id);
        pg_walk_marked(&w, ask_node, &is_free);
    }
    pg_unlock(arena);
    return is_free;
}

/* Was an interior node made before another one? */
static bool is_older(const pg_arena *arena, pg_id id, pg_id than)
{
    const uint32_t block = pg_block_of(id), other = pg_block_of(than);
    return block == other ? id < than : pg_block_at(arena, block)->start < pg_block_at(arena, other)->start;
}

typedef struct {
    pg_id since;
    bool leads_out;
} way_out;

static void leave_by_operand(pg_walk *w, pg_id id, void *context)
{
    way_out *way = context;
    if (pg_is_leaf(id) ? !(pg_node_at(w->arena, id)->flags & PG_FLAG_NUMBER) : is_older(w->arena, id, way->since))
        way->leads_out = true;
    else if (!pg_is_leaf(id))
        pg_mark(w, id);
}

/* Once a way out was found, the walk only undoes its marks. */
PG_INLINE void leave_node(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id;
    if (!((const way_out *)context)->leads_out)
        each_operand(w, node, RECEIVERS, leave_by_operand, context);
}

int pg_leads_out(pg_id y, pg_id since)
{
    pg_arena *arena = pg_lock();
    way_out way = {.since = pg_known(arena, since)};
    y = pg_known(arena, y);
    if (y && way.since > 0) {
        pg_walk w = pg_walk_of(arena);
        leave_by_operand(&w, y, &way);
        pg_walk_marked(&w, leave_node, &way);
    }
    pg_unlock(arena);
    return way.leads_out;
}

/* --- does a node depend on the arguments of a mode? --- */

/* The arguments have PG_FLAG_LISTED during the walk, which ends at blocks older than `block`: no node there depends on
 * them. Once an argument was found, the walk only undoes its marks. */
typedef struct {
    uint64_t block;
    bool is_found;
} quest;

static void seek(pg_walk *w, pg_id id, void *context)
{
    quest *q = context;
    q->is_found |= (pg_node_at(w->arena, id)->flags & PG_FLAG_LISTED) != 0;
    if (id > 0 && pg_block_at(w->arena, pg_block_of(id))->start >= q->block)
        pg_mark(w, id);
}

PG_INLINE void seek_below(pg_walk *w, pg_id id, pg_node *node, void *context)
{
    (void)id;
    if (!((const quest *)context)->is_found)
        each_operand(w, node, ALL, seek, context);
}

static void list_arguments(pg_arena *arena, const pg_mode *mode, bool on)
{
    for (uint32_t i = 0; i < mode->count; i++) {
        pg_node *node = pg_node_at(arena, pg_known(arena, mode->xs[i]));
        if (node->refs > 0)
            node->flags = (uint8_t)(on ? node->flags | PG_FLAG_LISTED : node->flags & ~PG_FLAG_LISTED);
    }
}

static bool depends_on(pg_arena *arena, pg_id id, const pg_mode *mode)
{
    quest q = {.block = mode->block};
    pg_walk w = pg_walk_of(arena);
    list_arguments(arena, mode, true);
    seek(&w, id, &q);
    pg_walk_marked(&w, seek_below, &q);
    list_arguments(arena, mode, false);
    return q.is_found;
}

int pg_is_variable(pg_id id)
{
    pg_arena *arena = pg_lock();
    id = pg_known(arena, id);
    const pg_mode *mode = arena->modes;
    while (mode && !(mode->xs && depends_on(arena, id, mode)))
        mode = mode->older;
    pg_unlock(arena);
    return mode != NULL;
}

int pg_may_be_variable(pg_id id)
{
    pg_arena *arena = pg_lock();
    const uint64_t own = arena->number_of_thread();
    const pg_mode *mode = pg_known(arena, id) > 0 ? arena->modes : NULL;
    while (mode && !(mode->xs && mode->thread == own))
        mode = mode->older;
    pg_unlock(arena);
    return mode || pg_is_variable(id);
}

pg_moment pg_recording_of(pg_id id)
{
    pg_arena *arena = pg_lock();
    id = pg_known(arena, id);
    const pg_mode *mode = arena->modes;
    while (mode && !(mode->kind == PG_MODE_RECORDING && mode->xs && depends_on(arena, id, mode)))
        mode = mode->older;
    const pg_moment moment = mode ? mode->moment : 0;
    pg_unlock(arena);
    return moment;
}
