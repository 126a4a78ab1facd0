/* moment.c: traces, moments, and creation order as numbers. */
#include "engine/moment.h"

bool pg_begin_trace(pg_arena *arena)
{
    if (arena->current->used > 0 && !pg_start_block(arena))
        return false;
    arena->current->start = arena->next_start; /* it is empty, and so may be started again */
    if (arena->traces++ == 0) {
        arena->set_aside = arena->free_leaf;
        arena->free_leaf = 0;
        arena->free_list = &arena->set_aside;
    }
    return true;
}

void pg_end_trace(pg_arena *arena)
{
    if (--arena->traces > 0)
        return;
    arena->free_leaf = arena->set_aside;
    arena->set_aside = 0;
    arena->free_list = &arena->free_leaf;
}

int pg_made_since(pg_moment moment, pg_id leaf)
{
    pg_arena *arena = pg_lock();
    const bool later = pg_was_made_since(arena, moment, pg_known(arena, leaf));
    pg_unlock(arena);
    return later;
}

void pg_creation_order(uint32_t count, const pg_id *ids, uint64_t *out)
{
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < count; i++)
        out[i] = pg_is_leaf(ids[i]) || !pg_known(arena, ids[i])
                     ? 0
                     : pg_block_at(arena, pg_block_of(ids[i]))->start * PG_BLOCK_SLOTS + pg_slot_of(ids[i]);
    pg_unlock(arena);
}
