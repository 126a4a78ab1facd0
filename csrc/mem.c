/* mem.c: the allocator; it can be made to fail, for tests. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#define _DARWIN_C_SOURCE
#include "mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pygrad.h"

static _Atomic uint64_t until_failure;
_Atomic uint64_t *pg_until_failure = &until_failure;

void pg_fail_allocation(uint64_t n)
{
    atomic_store(pg_until_failure, n);
}

static int fails_now(void)
{
    return atomic_load(pg_until_failure) != 0 && atomic_fetch_sub(pg_until_failure, 1) == 1;
}

void *pg_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : realloc(old, bytes);
}

void *pg_zeroed(size_t bytes)
{
    return fails_now() ? NULL : calloc(1, bytes);
}

void *pg_zeroed_lines(size_t bytes)
{
    const size_t line = 64, lines = bytes / line + 1;
    void *memory = fails_now() || lines > SIZE_MAX / line ? NULL : aligned_alloc(line, lines * line);
    return memory ? memset(memory, 0, lines * line) : NULL;
}

void pg_free(void *memory)
{
    free(memory);
}

bool pg_grow_now(void *items, size_t *capacity, size_t needed, size_t item_bytes)
{
    const size_t twice = 2 * *capacity, more = needed > twice ? needed : twice, new_capacity = more > 64 ? more : 64;
    void *old;
    memcpy(&old, items, sizeof old); /* the array may be of any type, so its pointer is copied as bytes */
    void *grown = pg_realloc(old, new_capacity * item_bytes);
    if (!grown)
        return false;
    memcpy(items, &grown, sizeof grown);
    *capacity = new_capacity;
    return true;
}

void *pg_reserve_addresses(size_t bytes)
{
    void *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

bool pg_commit_memory(void *start, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = (uintptr_t)start / page * page, end = ((uintptr_t)start + bytes + page - 1) / page * page;
    return !fails_now() && mprotect((void *)first, end - first, PROT_READ | PROT_WRITE) == 0;
}

void pg_give_up_addresses(void *start, size_t bytes)
{
    if (start)
        munmap(start, bytes);
}
