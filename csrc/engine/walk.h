/* walk.h: going through a graph from its roots down, for sweep.c and reach.c: inlined into each.
 *
 * A walk visits the marked nodes, newest first; each visit may mark operands of the node at hand, which are older. So
 * every node is visited after all of its consumers that the walk reaches, and exactly once. The cost depends on what
 * the roots reach, not on what else is alive.
 *
 * Marks are bits, one word a block, and only interior nodes have them. "The newest marked node" is the highest mark of
 * the newest marked block, and a heap keeps the marked blocks (invariant I7: it is empty between walks, and has room).
 */
#ifndef PG_WALK_H
#define PG_WALK_H

#include "engine/arena.h"

/* --- the heap of marked blocks --- */

static void pg_heap_push(pg_arena *arena, uint32_t block, uint64_t start)
{
    pg_heap_entry *heap = arena->heap;
    size_t at = arena->heap_size++;
    for (; at > 0 && heap[(at - 1) / 2].start < start; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = (pg_heap_entry){start, block};
}

static uint32_t pg_heap_pop(pg_arena *arena)
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

static inline unsigned pg_highest_bit(uint64_t word)
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
static inline unsigned pg_next_marked(uint64_t marks, unsigned slot)
{
    return (marks >> (slot - 1) & 1) ? slot - 1 : pg_highest_bit(marks);
}

/* Ask for the memory three blocks below `node`, where a large graph mostly goes on: on a chain of 10^6 nodes 7.8 ns
 * a node instead of 8.9. It is a hint: any address will do. */
static inline void pg_fetch_early(const pg_node *node)
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
} pg_walk;

static inline pg_walk pg_walk_of(pg_arena *arena)
{
    return (pg_walk){.arena = arena, .first = INT32_MIN};
}

/* Give a node of another block its mark, in memory. Out of line: in the loop of the sweep it would take the
 * registers that everything else needs (54 instructions a node of a chain instead of 66). */
PG_NOINLINE void pg_mark_far(pg_arena *arena, pg_id id)
{
    pg_block *block = pg_block_at(arena, pg_block_of(id));
    if (block->marks == 0)
        pg_heap_push(arena, pg_block_of(id), block->start);
    block->marks |= UINT64_C(1) << pg_slot_of(id);
}

/* Mark a node if it is an interior one; true if it is, and had no mark. */
PG_INLINE bool pg_mark(pg_walk *w, pg_id id)
{
    const uint32_t slot = (uint32_t)id - (uint32_t)w->first;
    if (slot < PG_BLOCK_SLOTS) {
        const bool first = !(w->marks >> slot & 1);
        w->marks |= UINT64_C(1) << slot;
        return first;
    }
    if (pg_is_leaf(id) || pg_block_at(w->arena, pg_block_of(id))->marks >> pg_slot_of(id) & 1)
        return false;
    pg_mark_far(w->arena, id);
    return true;
}

typedef void pg_visit_fn(pg_walk *w, pg_id id, pg_node *node, void *context);

/* Visit every marked node and those that the visits mark. Inlined, so that `visit` is a direct call. */
PG_INLINE void pg_walk_marked(pg_walk *w, pg_visit_fn *visit, void *context)
{
    while (w->arena->heap_size > 0) {
        const uint32_t index = pg_heap_pop(w->arena);
        pg_block *block = pg_block_at(w->arena, index);
        w->first = pg_id_of(index, 0);
        w->marks = block->marks;
        block->marks = 0; /* nothing marks in memory what is in the block at hand */
        pg_node *nodes = pg_node_at(w->arena, w->first);
        unsigned slot = PG_BLOCK_SLOTS;
        while (w->marks) {
            slot = pg_next_marked(w->marks, slot);
            w->marks &= ~(UINT64_C(1) << slot);
            pg_fetch_early(nodes + slot);
            visit(w, w->first + (pg_id)slot, nodes + slot, context);
        }
    }
}

#endif
