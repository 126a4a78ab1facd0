/* references.c: the last reference to a node goes, and the node is freed. */
#include "engine/references.h"

#include <assert.h>

#include "mem.h"

/* --- what becomes of the slot --- */

PG_INLINE void free_leaf(pg_arena *arena, pg_id id, pg_node *leaf)
{
    leaf->a = *arena->free_list;
    *arena->free_list = id;
    arena->live_leaves--;
}

PG_INLINE void free_interior(pg_arena *arena, pg_id id)
{
    const uint32_t index = pg_block_of(id);
    pg_block *block = pg_block_at(arena, index);
    if (--block->live > 0)
        return;
    if (index == arena->current_block) {
        block->used = 0; /* it keeps its start number: no block has a larger one */
    } else {
        block->next_free = arena->free_block;
        arena->free_block = index;
    }
}

PG_INLINE void free_slot(pg_arena *arena, pg_id id, pg_node *node)
{
    node->refs = 0;
    if (node->flags & PG_FLAG_CLOSURE)
        arena->closures--;
    arena->live_nodes--;
    if (pg_is_leaf(id))
        free_leaf(arena, id, node);
    else
        free_interior(arena, id);
}

/* --- the last reference --- */

/* Give back one reference. If it is the last, put the node in front of the list *dead, which is linked by `refs`. */
PG_INLINE void drop(pg_arena *arena, pg_node *node, pg_id *dead)
{
    assert(node->refs > 0);
    if ((int32_t)node->refs > 1) { /* the usual case: more than one, and not PG_REFS_FOREVER */
        node->refs--;
    } else if (node->refs == 1) {
        node->refs = (uint32_t)*dead;
        *dead = (pg_id)(node - arena->nodes);
    }
}

PG_INLINE void drop_list(pg_arena *arena, const pg_node *node, pg_id *dead)
{
    const pg_operand_span operands = pg_operands_of(node);
    for (const pg_id *id = operands.list, *end = id + operands.count; id < end; id++)
        drop(arena, pg_node_at(arena, *id), dead);
}

void pg_free_node(pg_arena *arena, pg_id id)
{
    pg_id dead = 0;
    drop(arena, pg_node_at(arena, id), &dead);
    while (dead) { /* a worklist: no recursion, however long the chain */
        const pg_id gone = dead;
        pg_node *node = pg_node_at(arena, gone);
        dead = (pg_id)node->refs;
        if (node->a)
            drop(arena, pg_node_at(arena, node->a), &dead);
        if (node->op >= PG_SUM) {
            drop_list(arena, node, &dead);
            arena->takes -= node->op == PG_TAKE;
        } else if (node->b)
            drop(arena, pg_node_at(arena, node->b), &dead);
        free_slot(arena, gone, node);
    }
}

/* --- for callers without the lock --- */

void pg_retain(pg_id id, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    if (pg_known(arena, id)) {
        pg_ref(pg_node_at(arena, id));
        if (cell)
            cell->id = id;
    }
    pg_unlock(arena);
}

void pg_release(pg_id id)
{
    if (!id)
        return;
    pg_arena *arena = pg_lock();
    if (pg_known(arena, id))
        pg_unref(arena, id);
    pg_unlock(arena);
}

void pg_node_cell_free(void *cell)
{
    pg_release(((pg_node_cell *)cell)->id);
    pg_free(cell);
}
