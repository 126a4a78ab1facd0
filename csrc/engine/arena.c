/* arena.c: memory, leaf slots and blocks. arena.h states the idea and the invariants; references.c frees nodes. */
#include "engine/arena.h"

#include "mem.h"

static pg_arena the_arena; /* never freed: Values are still released while the interpreter exits */
pg_arena *pg_the_arena = &the_arena;

/* --- memory --- */

/* Make room in the heap for so many blocks. It is made with the blocks, so that a sweep never allocates. */
static bool reserve_heap(pg_arena *arena, size_t blocks)
{
    if (blocks <= arena->heap_capacity)
        return true;
    pg_heap_entry *heap = pg_realloc(arena->heap, blocks * sizeof *heap);
    if (!heap)
        return false;
    arena->heap = heap;
    arena->heap_capacity = blocks;
    return true;
}

/* Commit the memory of a chunk. Chunks 0, 1, ... are for interior nodes, chunks -1, -2, ... for leaves. */
static bool commit_chunk(pg_arena *arena, int32_t chunk)
{
    const size_t node_bytes = PG_CHUNK_SLOTS * sizeof *arena->nodes;
    const size_t block_bytes = PG_CHUNK_BLOCKS * sizeof *arena->blocks;
    if (!pg_commit_memory(arena->nodes + (ptrdiff_t)chunk * PG_CHUNK_SLOTS, node_bytes) ||
        !pg_commit_memory(arena->blocks + (ptrdiff_t)chunk * PG_CHUNK_BLOCKS, block_bytes))
        return false;
    const size_t birth_bytes = chunk < 0 ? PG_CHUNK_SLOTS * sizeof *arena->births : 0;
    if (chunk < 0 && !pg_commit_memory(arena->births + (ptrdiff_t)chunk * PG_CHUNK_SLOTS, birth_bytes))
        return false;
    arena->reserved_bytes += node_bytes + block_bytes + birth_bytes;
    return true;
}

/* Reserve the addresses for `chunks` chunks of leaves and as many of interior nodes. */
static bool reserve_addresses(pg_arena *arena, int32_t chunks)
{
    const size_t node_bytes = (size_t)chunks * PG_CHUNK_SLOTS * sizeof *arena->nodes;
    const size_t block_bytes = (size_t)chunks * PG_CHUNK_BLOCKS * sizeof *arena->blocks;
    const size_t birth_bytes = (size_t)chunks * PG_CHUNK_SLOTS * sizeof *arena->births;
    char *nodes = pg_reserve_addresses(2 * node_bytes);
    char *blocks = nodes ? pg_reserve_addresses(2 * block_bytes) : NULL;
    char *births = blocks ? pg_reserve_addresses(birth_bytes) : NULL;
    if (!births) {
        pg_give_up_addresses(blocks, 2 * block_bytes);
        pg_give_up_addresses(nodes, 2 * node_bytes);
        return false;
    }
    arena->nodes = (void *)(nodes + node_bytes);
    arena->blocks = (void *)(blocks + block_bytes);
    arena->births = (void *)(births + birth_bytes);
    arena->most_chunks = chunks;
    return true;
}

enum { MOST_CHUNKS = INT32_MAX / PG_CHUNK_SLOTS, LEAST_CHUNKS = 8 };

/* Reserve addresses for all ids that an int32_t can hold: 146 GiB. If the process may not have so many (ulimit -v),
 * try for an eighth, a sixteenth, and so on. */
static bool reserve_all(pg_arena *arena)
{
    if (reserve_addresses(arena, MOST_CHUNKS))
        return true;
    for (int32_t chunks = MOST_CHUNKS / 8; chunks >= LEAST_CHUNKS; chunks /= 2)
        if (reserve_addresses(arena, chunks))
            return true;
    return false;
}

/* Id 0 names no node. But there is a node in its slot, so that reading it is harmless: it reads as nan and is never
 * live. Block 0 counts as full, and is never used. So 0 can end the free lists of leaves and of blocks. */
bool pg_start_arena(pg_arena *arena)
{
    if (!reserve_all(arena) || !reserve_heap(arena, PG_CHUNK_BLOCKS) || !commit_chunk(arena, 0))
        return false;
    *pg_node_at(arena, 0) = (pg_node){.data = NAN, .grad = NAN, .op = PG_LEAF, .slots = 1};
    arena->current = pg_block_at(arena, 0);
    arena->current->used = PG_BLOCK_SLOTS;
    arena->free_list = &arena->free_leaf;
    arena->interior_chunks = 1;
    arena->next_start = arena->leaf_count = arena->block_count = 1;
    return true;
}

/* --- leaves --- */

/* Make a new leaf slot, and put it on the empty list of free ones. False: out of memory. */
static bool make_leaf_slot(pg_arena *arena)
{
    if (arena->leaf_count > (uint32_t)arena->leaf_chunks * PG_CHUNK_SLOTS) {
        if (arena->leaf_chunks == arena->most_chunks || !commit_chunk(arena, -arena->leaf_chunks - 1))
            return false;
        arena->leaf_chunks++;
    }
    const pg_id id = -(pg_id)arena->leaf_count++;
    *pg_node_at(arena, id) = (pg_node){.op = PG_LEAF, .slots = 1};
    *arena->free_list = id;
    return true;
}

bool pg_reserve_leaf(pg_arena *arena)
{
    if (!*arena->free_list && !make_leaf_slot(arena))
        return false;
    if (arena->traces) { /* move one slot from set_aside to free_leaf */
        const pg_id id = arena->set_aside;
        pg_node *leaf = pg_node_at(arena, id);
        arena->births[id] = arena->next_start;
        arena->set_aside = leaf->a;
        leaf->a = 0;
        arena->free_leaf = id;
    }
    return true;
}

/* --- interior nodes --- */

/* Make one more block. False: out of memory. */
static bool make_block(pg_arena *arena)
{
    if (arena->block_count == (uint32_t)arena->interior_chunks * PG_CHUNK_BLOCKS) {
        const size_t blocks = ((size_t)arena->interior_chunks + 1) * PG_CHUNK_BLOCKS;
        if (arena->interior_chunks == arena->most_chunks || !reserve_heap(arena, blocks) ||
            !commit_chunk(arena, arena->interior_chunks))
            return false;
        arena->interior_chunks++;
    }
    arena->block_count++;
    return true;
}

/* The clock gives the block its start number: larger than any before. */
bool pg_start_block(pg_arena *arena)
{
    uint32_t index = arena->free_block;
    if (index)
        arena->free_block = pg_block_at(arena, index)->next_free;
    else if (make_block(arena))
        index = arena->block_count - 1;
    else
        return false;
    *pg_block_at(arena, index) = (pg_block){.start = arena->next_start++};
    arena->current_block = index;
    arena->current = pg_block_at(arena, index);
    arena->current_nodes = pg_node_at(arena, pg_id_of(index, 0));
    return true;
}
