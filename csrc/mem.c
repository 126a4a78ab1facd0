/* mem.c: the allocator, with a trip-wire for tests. */
#include "mem.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "pygrad.h"

static _Atomic uint64_t until_failure; /* 0: never */

void pg_fail_allocation(uint64_t n)
{
    atomic_store(&until_failure, n);
}

static int fails_now(void)
{
    return atomic_load(&until_failure) != 0 && atomic_fetch_sub(&until_failure, 1) == 1;
}

void *pg_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : realloc(old, bytes);
}

void pg_free(void *memory)
{
    free(memory);
}
