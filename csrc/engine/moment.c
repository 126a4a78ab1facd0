/* moment.c: what was made later than what: traces, moments and the order of creation. */
#include "engine/moment.h"

static _Thread_local uint32_t own_traces; /* this thread's: all that is left of them in the child of a fork */

static void end_traces(pg_arena *arena, uint32_t ended)
{
    arena->traces -= ended;
    if (ended > 0 && arena->traces == 0) { /* nothing is free but what was set aside */
        arena->free_leaf = arena->set_aside;
        arena->set_aside = 0;
        arena->freed = &arena->free_leaf;
    }
}

pg_id pg_trace_begin(void)
{
    pg_arena *arena = pg_lock();
    if (arena->traces++ == 0) {
        arena->set_aside = arena->free_leaf;
        arena->free_leaf = 0;
        arena->freed = &arena->set_aside;
    }
    own_traces++;
    const pg_id boundary = -(pg_id)arena->leaf_count;
    pg_unlock(arena);
    return boundary;
}

void pg_trace_end(void)
{
    pg_arena *arena = pg_lock();
    if (own_traces > 0) {
        own_traces--;
        end_traces(arena, 1);
    }
    pg_unlock(arena);
}

void pg_traces_after_fork(pg_arena *arena)
{
    end_traces(arena, arena->traces - own_traces);
}

pg_status pg_moment_begin(pg_moment *out)
{
    pg_arena *arena = pg_lock();
    const bool begun = arena->current->used == 0 || pg_start_block(arena);
    out->start = arena->current->start;
    pg_unlock(arena);
    if (begun)
        out->leaf = pg_trace_begin();
    return begun ? PG_OK : PG_NO_MEMORY;
}

void pg_creation_order(uint32_t count, const pg_id *ids, uint64_t *out)
{
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < count; i++)
        out[i] = pg_is_leaf(ids[i])
                     ? 0
                     : pg_block_at(arena, pg_block_of(ids[i]))->start * PG_BLOCK_SLOTS + pg_slot_of(ids[i]);
    pg_unlock(arena);
}
