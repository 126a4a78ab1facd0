/* let_go.c: a result lets its operands go: a leaf takes its place.
 *
 * The leaf has the data and the gradient of the result. It stands in the operand lists of the result's consumers from
 * then on; so backward passes from them end there, as they do at any leaf. An interior node cannot become a leaf where
 * it is, for leaves have a pool of their own (arena.h). */
#include "engine/node.h"

/* Look for `old` in the operands of a node; return how often it is there. Unless `leaf` is 0, put the leaf there. */
static uint32_t look_in(pg_node *node, pg_id old, pg_id leaf)
{
    const pg_operand_span operands = pg_operands_of(node);
    pg_id *list = (pg_id *)operands.list;
    uint32_t found = operands.front == old;
    if (leaf && found)
        node->a = leaf;
    for (uint32_t i = 0; i < operands.count; i++)
        if (list[i] == old) {
            found++;
            if (leaf)
                list[i] = leaf;
        }
    return found;
}

static uint32_t look_in_block(const pg_arena *arena, uint32_t index, pg_id old, pg_id leaf)
{
    const pg_block *block = pg_block_at(arena, index);
    uint32_t found = 0;
    for (uint32_t slot = 0; slot < block->used; slot += pg_node_at(arena, pg_id_of(index, slot))->slots) {
        pg_node *node = pg_node_at(arena, pg_id_of(index, slot));
        found += node->refs > 0 ? look_in(node, old, leaf) : 0;
    }
    return found;
}

/* Look for `old` in all operand lists, as look_in() does, until it was found `most` times. A consumer is in the same
 * block, or in one that was started later: mostly in one of the next. */
static uint32_t look(const pg_arena *arena, uint32_t most, pg_id old, pg_id leaf)
{
    const uint32_t first = pg_block_of(old), blocks = arena->block_count;
    const uint64_t start = pg_block_at(arena, first)->start;
    uint32_t found = 0;
    for (uint32_t i = 0; i < blocks && found < most; i++) {
        const uint32_t index = (first + i) % blocks;
        const pg_block *block = pg_block_at(arena, index);
        if (block->live > 0 && block->start >= start)
            found += look_in_block(arena, index, old, leaf);
    }
    return found;
}

/* Take the operands out of a node; it stays a live node. */
static void empty(pg_arena *arena, pg_node *node)
{
    const pg_operand_span operands = pg_operands_of(node);
    if (operands.front)
        pg_unref(arena, operands.front);
    for (uint32_t i = 0; i < operands.count; i++)
        pg_unref(arena, operands.list[i]);
    arena->takes -= node->op == PG_TAKE;
    node->op = PG_CUSTOM;
    node->a = node->b = 0;
}

/* Make a leaf with the data and the gradient of a result; a trace takes it to be as old. 0: memory is short. */
static pg_id leaf_like(pg_arena *arena, pg_id id)
{
    const pg_node *node = pg_node_at(arena, id);
    const pg_id leaf = pg_new_leaf(arena, node->data);
    if (leaf)
        pg_node_at(arena, leaf)->grad = node->grad;
    if (leaf && arena->traces)
        arena->births[leaf] = pg_block_at(arena, pg_block_of(id))->start + 1; /* see pg_was_made_since() */
    return leaf;
}

static pg_status let_go(pg_arena *arena, pg_id id, pg_id *out)
{
    if (!pg_is_live(arena, id) || pg_is_leaf(id))
        return PG_NO_NODE;
    pg_node *node = pg_node_at(arena, id);
    const uint32_t consumers = node->refs - 1; /* the caller has the other one */
    if (node->flags & PG_FLAG_BUSY || node->refs == PG_REFS_FOREVER || look(arena, consumers, id, 0) < consumers)
        return PG_BUSY; /* a running order has it, or a derivation */
    const pg_id leaf = leaf_like(arena, id);
    if (!leaf)
        return PG_NO_MEMORY;
    look(arena, consumers, id, leaf);
    pg_node_at(arena, leaf)->refs += consumers;
    node->refs = 1;
    if (node->flags & PG_FLAG_CLOSURE)
        arena->closures--;
    node->flags = 0;
    empty(arena, node);
    *out = leaf;
    return PG_OK;
}

pg_status pg_result_to_leaf(pg_id id, pg_id *out)
{
    pg_arena *arena = pg_lock();
    const pg_status status = let_go(arena, id, out);
    pg_unlock(arena);
    return status;
}

pg_status pg_cell_to_leaf(pg_node_cell *cell, pg_node_cell *old)
{
    pg_arena *arena = pg_lock();
    pg_id leaf = 0;
    const pg_status status = let_go(arena, cell->id, &leaf);
    if (status == PG_OK) {
        old->id = cell->id;
        cell->id = leaf;
    }
    pg_unlock(arena);
    return status;
}
