/* hash.h: a set of numbered things. It finds the thing that equals a given one. */
#ifndef PG_HASH_H
#define PG_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Open addressing: an entry is 1 + the number of a thing, or 0. At most half of the entries are in use. */
typedef struct {
    int32_t *entries;
    size_t entry_count; /* a power of two */
} pg_set;

/* Are the things x and y equal? */
typedef bool pg_equal_fn(const void *context, int32_t x, int32_t y);

bool pg_set_new(pg_set *set, size_t most); /* an empty set for at most so many things; false: out of memory */
void pg_set_free(pg_set *set);
/* The number of the thing in the set that equals x. If there is none, put x in, and return x. `hash` is the hash of
 * x; equal things must have equal hashes. */
int32_t pg_set_find(pg_set *set, int32_t x, uint64_t hash, pg_equal_fn *equal, const void *context);

/* Extend a hash by one more word. */
static inline uint64_t pg_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

#endif
