/* mem.h: every allocation goes through here, so that tests can make the n-th one fail. */
#ifndef PG_MEM_H
#define PG_MEM_H

#include <stddef.h>

/* As realloc, calloc and free; NULL when memory is short, and then `old` is still there. */
void *pg_realloc(void *old, size_t bytes);
void *pg_zeroed(size_t bytes);
void pg_free(void *memory);

#endif
