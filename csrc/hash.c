/* hash.c: a set of numbered things, by open addressing. */
#include "hash.h"

#include "mem.h"

bool pg_set_new(pg_set *set, size_t most)
{
    set->entry_count = 64;
    while (set->entry_count < 2 * most)
        set->entry_count *= 2;
    set->entries = pg_zeroed(set->entry_count * sizeof *set->entries);
    return set->entries != NULL;
}

void pg_set_free(pg_set *set)
{
    pg_free(set->entries);
}

int32_t pg_set_find(pg_set *set, int32_t x, uint64_t hash, pg_equal_fn *equal, const void *context)
{
    const size_t mask = set->entry_count - 1;
    size_t at = (size_t)hash & mask;
    while (set->entries[at] && !equal(context, set->entries[at] - 1, x))
        at = (at + 1) & mask;
    if (!set->entries[at])
        set->entries[at] = x + 1;
    return set->entries[at] - 1;
}
