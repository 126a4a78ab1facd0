/* mem.h: every allocation goes through here, so that tests can make the n-th one fail. */
#ifndef PG_MEM_H
#define PG_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many allocations there are until one is made to fail; 0: none fails. A pointer, so that the second binary can
 * count with the first. */
extern _Atomic uint64_t *pg_until_failure;

/* As realloc, calloc and free; NULL when memory is short, and then `old` is still there. */
void *pg_realloc(void *old, size_t bytes);
void *pg_zeroed(size_t bytes);
/* As pg_zeroed, beginning at a cache line, as vectors should. */
void *pg_zeroed_lines(size_t bytes);
void pg_free(void *memory);

/* Have room for `needed` items, of so many bytes each, in the array that the pointer at `items` leads to, and write
 * the new capacity down. It grows to twice what it was, so that appending is cheap. False: memory is short, nothing
 * was changed. */
bool pg_grow_now(void *items, size_t *capacity, size_t needed, size_t item_bytes);
static inline bool pg_grow(void *items, size_t *capacity, size_t needed, size_t item_bytes)
{
    return needed <= *capacity || pg_grow_now(items, capacity, needed, item_bytes);
}

/* Addresses without memory, aligned as pages are, or NULL; later to commit memory at some of them (zeroed; false:
 * there is none), or to give all of them up. */
void *pg_reserve_addresses(size_t bytes);
bool pg_commit_memory(void *start, size_t bytes);
void pg_give_up_addresses(void *start, size_t bytes);

#endif
