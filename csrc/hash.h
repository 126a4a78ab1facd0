/* hash.h: a set of things that have numbers, in which one that equals another is found. */
#ifndef PG_HASH_H
#define PG_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Open addressing: an entry is 1 + a thing's number, or 0; there are at least twice as many as things. */
typedef struct {
    int32_t *entries;
    size_t entry_count; /* a power of two */
} pg_set;

/* Do the things x and y equal each other? */
typedef bool pg_equal_fn(const void *context, int32_t x, int32_t y);

bool pg_set_new(pg_set *set, size_t most); /* room for so many things; false: out of memory */
void pg_set_free(pg_set *set);
/* The number of the thing in the set that equals x: x itself, which is put in, if there is none yet. Equal things
 * have the same hash. */
int32_t pg_set_find(pg_set *set, int32_t x, uint64_t hash, pg_equal_fn *equal, const void *context);

/* A hash of what `hash` is of and another word. */
static inline uint64_t pg_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

#endif
