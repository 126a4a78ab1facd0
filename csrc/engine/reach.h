/* reach.h: what the roots of a graph lead to: where gradients go, and lists of what is there. */
#ifndef PG_REACH_H
#define PG_REACH_H

#include "engine/arena.h"
#include "mem.h"

/* The operands that the backward step of a node passes its gradient on to. A closure may pass something on to any
 * operand; a dot's vector stands for the inputs in it. */
static inline pg_operand_span pg_receivers_of(const pg_arena *arena, const pg_node *node)
{
    const pg_receivers of_op = pg_receivers_of_op(node->op);
    pg_operand_span to = pg_operands_of(node);
    if (!of_op.front && !pg_part_before(arena, node)) /* a part passes it on to the part before */
        to.first = 0;
    to.list += of_op.from;
    to.count = of_op.step ? to.count - of_op.from : 0;
    to.step = of_op.step;
    return to;
}

/* A list of ids that grows. */
typedef struct {
    pg_id *ids;
    size_t count;
    size_t capacity;
} pg_id_list;

static inline bool pg_append_id(pg_id_list *list, pg_id id) /* false: out of memory */
{
    if (!pg_grow(&list->ids, &list->capacity, list->count + 1, sizeof *list->ids))
        return false;
    list->ids[list->count++] = id;
    return true;
}

/* What to look for, and what was found. */
typedef struct {
    bool all;               /* go by all operands, not only by those that get a gradient */
    bool busy_too;          /* what a running order holds may be there */
    bool every_leaf;        /* list leaves without a closure too, in `others` */
    const pg_moment *since; /* go no further than what was made earlier, and list that in `others`; NULL: nothing was */

    pg_status status; /* PG_OK, PG_NO_MEMORY, PG_BUSY */
    bool has_closure; /* one of the nodes has one */
    pg_id_list nodes; /* interior ones, newest first; then the leaves that have a closure */
    pg_id_list others;
} pg_listing;

/* List what the roots reach; nothing is changed. The ids in both lists are the caller's to free, whatever the
 * status. */
void pg_list_reached(pg_arena *arena, const pg_id *roots, size_t count, pg_listing *listing);

#endif
