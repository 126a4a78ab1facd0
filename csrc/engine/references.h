/* references.h: who holds a node, and how the node ends.
 *
 * Each place that refers to a node has one reference (I2 in arena.h lists these places). The node of the last reference
 * that is given back is freed, and gives back the references to its own operands. For callers that hold the lock.
 */
#ifndef PG_REFERENCES_H
#define PG_REFERENCES_H

#include "engine/arena.h"

PG_INLINE void pg_ref(pg_node *node)
{
    if (node->refs != PG_REFS_FOREVER)
        node->refs++;
}

/* Give back the last reference to a node: for pg_unref(). */
void pg_free_node(pg_arena *arena, pg_id id);

/* Give a reference back. With its last reference the node is freed, and all that only it held: in a loop, not by
 * recursion. */
PG_INLINE void pg_unref(pg_arena *arena, pg_id id)
{
    pg_node *node = pg_node_at(arena, id);
    if (node->refs == 1)
        pg_free_node(arena, id);
    else if (node->refs != PG_REFS_FOREVER)
        node->refs--;
}

#endif
