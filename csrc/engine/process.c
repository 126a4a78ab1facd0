/* process.c: the process that owns the arena: version, the two binaries, forks, start, and counts. */
#include "engine/process.h"

#include <pthread.h>

#include "engine/derivations.h"
#include "engine/modes.h"
#include "engine/order.h"
#include "mem.h"

/* --- the binary --- */

const char *pg_version(void)
{
    return PG_VERSION;
}

const char *pg_source_digest(void)
{
    return PG_SOURCE_DIGEST;
}

uintptr_t pg_arena_address(void)
{
    return (uintptr_t)pg_the_arena;
}

void pg_share_arena(pg_arena *arena, void (*enter)(void), void (*leave)(void), int (*is_inside)(void))
{
    pg_the_arena = arena;
    pg_until_failure = arena->until_failure;
    pg_mutex_by_gil(&arena->mutex, enter, leave, is_inside);
}

/* --- cells --- */

void *pg_cell_new(size_t bytes)
{
    return pg_zeroed(bytes);
}

/* --- forks: the child gets a copy of the arena, so a fork acquires the lock first --- */

static bool is_sound; /* of the fork in progress: no other thread was changing the arena */

static void before_fork(void)
{
    is_sound = pg_mutex_before_fork(&pg_the_arena->mutex);
}

static void after_fork_in_parent(void)
{
    pg_mutex_after_fork(&pg_the_arena->mutex);
}

static void after_fork_in_child(void)
{
    if (is_sound) {
        pg_orders_after_fork(pg_the_arena);
        pg_modes_after_fork(pg_the_arena);
        pg_derivations_after_fork(pg_the_arena);
    }
    pg_mutex_after_fork(&pg_the_arena->mutex);
}

/* --- the start --- */

pg_status pg_init(void)
{
    pg_arena *arena = pg_lock();
    const bool first = arena->next_start == 0;
    const bool made = !first || pg_start_arena(arena);
    arena->until_failure = pg_until_failure;
    arena->number_of_thread = pg_number_of_thread;
    pg_unlock(arena);
    if (!made || (first && pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0))
        return PG_NO_MEMORY;
    return PG_OK;
}

/* --- counts --- */

size_t pg_live_nodes(void)
{
    pg_arena *arena = pg_lock();
    const size_t live = arena->live_nodes;
    pg_unlock(arena);
    return live;
}

size_t pg_reserved_bytes(void)
{
    pg_arena *arena = pg_lock();
    const size_t bytes = arena->reserved_bytes + arena->heap_capacity * sizeof *arena->heap;
    pg_unlock(arena);
    return bytes;
}
