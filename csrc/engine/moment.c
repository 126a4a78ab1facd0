/* moment.c: traces, moments, and creation order as numbers. */
#include "engine/moment.h"

/* --- traces --- */

static _Thread_local uint32_t own_traces; /* those of this thread: the child of a fork has only these */

/* Advance the clock: births until now are at most the number returned, and later ones are larger. */
static pg_moment begin_trace(pg_arena *arena)
{
    if (arena->traces++ == 0) {
        arena->set_aside = arena->free_leaf;
        arena->free_leaf = 0;
        arena->free_list = &arena->set_aside;
    }
    own_traces++;
    return arena->next_start++;
}

static void end_traces(pg_arena *arena, uint32_t ended)
{
    arena->traces -= ended;
    if (ended > 0 && arena->traces == 0) {
        arena->free_leaf = arena->set_aside;
        arena->set_aside = 0;
        arena->free_list = &arena->free_leaf;
    }
}

pg_moment pg_trace_begin(void)
{
    pg_arena *arena = pg_lock();
    const pg_moment moment = begin_trace(arena);
    pg_unlock(arena);
    return moment;
}

pg_status pg_moment_begin(pg_moment *out)
{
    pg_arena *arena = pg_lock();
    const bool begun = arena->current->used == 0 || pg_start_block(arena);
    if (begun)
        *out = arena->current->start = begin_trace(arena); /* it is empty, and so may be started again */
    pg_unlock(arena);
    return begun ? PG_OK : PG_NO_MEMORY;
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

/* --- what was made later --- */

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
