/* reach.h: which operands a node passes its gradient on to, and lists of the nodes that roots reach. */
#ifndef PG_REACH_H
#define PG_REACH_H

#include "engine/arena.h"
#include "mem.h"

/* The receivers of a node: the operands that the backward step of its op passes its gradient on to. (A closure may
 * pass something on to any operand.) The vector of a dot stands for all inputs in it. */
static inline pg_operand_span pg_receivers_of(const pg_arena *arena, const pg_node *node)
{
    const pg_receivers of_op = pg_receivers_of_op(node->op);
    pg_operand_span to = pg_operands_of(node);
    if (!of_op.front && !pg_part_before(arena, node)) /* but every part passes its gradient on to the part before */
        to.front = 0;
    to.list += of_op.from;
    to.count = of_op.step ? to.count - of_op.from : 0;
    to.step = of_op.step;
    return to;
}

/* The receivers that the backward step of a node adds to, as the numbers are now: of a take, only the value that its
 * index chooses, or the part before if this value is there. */
static inline pg_operand_span pg_chosen_of(const pg_arena *arena, const pg_node *node)
{
    pg_operand_span to = pg_receivers_of(arena, node);
    if (node->op != PG_TAKE)
        return to;
    const uint32_t place = pg_place(pg_node_at(arena, *pg_list_of(node))->data), begin = pg_first_place(node);
    const bool is_here = place >= begin && place - begin < to.count;
    if (place >= begin)
        to.front = 0;
    to.list += is_here ? place - begin : 0;
    to.count = is_here;
    return to;
}

/* A list of ids. It grows as ids are appended. */
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

/* What to list, and then the lists. */
typedef struct {
    bool all;               /* follow all operands of a node, not only its receivers */
    bool chosen;            /* of a take, follow only the value that its index chooses now */
    bool busy_too;          /* list busy nodes too. False: a busy node makes the status PG_BUSY */
    bool every_leaf;        /* list leaves without a closure too, in `others` */
    const pg_moment *since; /* list nodes made before this moment in `others`, and do not follow their operands. NULL:
                             * there is no such moment */
    const pg_id *cut;       /* do not follow the operands of these nodes */
    size_t cut_count;

    pg_status status; /* PG_OK, PG_NO_MEMORY or PG_BUSY */
    bool has_closure; /* a node in `nodes` has a closure */
    pg_id_list nodes; /* interior nodes but vectors, newest first; then the leaves that have a closure */
    pg_id_list others;
} pg_listing;

/* List the nodes that the roots reach, the roots included. No node is changed. The caller must free the ids of both
 * lists, whatever the status. */
void pg_list_reached(pg_arena *arena, const pg_id *roots, size_t count, pg_listing *listing);

/* Set the gradients of the interior nodes that the roots reach to 0, those of values that are not chosen too: a sweep
 * does not come to these. (Without a take in the arena a sweep comes to all, and sets each to 0 itself.) */
void pg_clear_gradients(pg_arena *arena, const pg_id *roots, size_t count);

#endif
