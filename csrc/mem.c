/* mem.c: the allocator, with a trip-wire for tests. */
#include "mem.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "arena.h"

void pg_fail_allocation(uint64_t n)
{
    atomic_store(&pg_the_arena->until_failure, n);
}

static int fails_now(void)
{
    _Atomic uint64_t *until = &pg_the_arena->until_failure;
    return atomic_load(until) != 0 && atomic_fetch_sub(until, 1) == 1;
}

void *pg_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : realloc(old, bytes);
}

void *pg_zeroed(size_t bytes)
{
    return fails_now() ? NULL : calloc(1, bytes);
}

void pg_free(void *memory)
{
    free(memory);
}
