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

#endif
