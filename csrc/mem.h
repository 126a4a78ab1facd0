/* mem.h: every allocation goes through here, so that tests can make the n-th one fail. */
#ifndef PG_MEM_H
#define PG_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* As realloc, calloc and free; NULL when memory is short, and then `old` is still there. */
void *pg_realloc(void *old, size_t bytes);
void *pg_zeroed(size_t bytes);
/* As pg_zeroed, beginning at a cache line, as vectors should. */
void *pg_zeroed_lines(size_t bytes);
void pg_free(void *memory);

/* Addresses without memory, aligned as pages are, or NULL; later to take memory at some of them (zeroed; false:
 * there is none), or to give all of them up. */
void *pg_reserve(size_t bytes);
bool pg_take(void *start, size_t bytes);
void pg_give_up(void *start, size_t bytes);

#endif
