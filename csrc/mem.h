/* mem.h: the allocator. All allocations of the engine use it, so that tests can make the n-th one fail. */
#ifndef PG_MEM_H
#define PG_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The allocation with this number from now is made to fail; 0: none is. It is a pointer so that both binaries can
 * share one count. */
extern _Atomic uint64_t *pg_until_failure;

/* As realloc(), calloc() and free(). NULL: memory is short, and `old` is still valid. */
void *pg_realloc(void *old, size_t bytes);
void *pg_zeroed(size_t bytes);
/* As pg_zeroed(), but aligned to a cache line of 64 bytes, for SIMD code. */
void *pg_zeroed_lines(size_t bytes);
void pg_free(void *memory);

/* Make room for `needed` items of item_bytes each in an array. `items` is the address of the pointer to the array,
 * which may be NULL at first; the pointer and *capacity are updated. The array at least doubles when it grows, so
 * that appending is cheap. False: memory is short, and nothing was changed. */
bool pg_grow_now(void *items, size_t *capacity, size_t needed, size_t item_bytes);
static inline bool pg_grow(void *items, size_t *capacity, size_t needed, size_t item_bytes)
{
    return needed <= *capacity || pg_grow_now(items, capacity, needed, item_bytes);
}

/* Reserve addresses that have no memory yet, from the beginning of a page on. NULL: there are not so many. */
void *pg_reserve_addresses(size_t bytes);
/* Give some reserved addresses memory, which is zeroed at first. False: memory is short. */
bool pg_commit_memory(void *start, size_t bytes);
/* Undo pg_reserve_addresses(), memory included. NULL is allowed. */
void pg_give_up_addresses(void *start, size_t bytes);

#endif
