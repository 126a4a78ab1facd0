/* process.h: how the second binary, the native proxy, gets the arena of the first. */
#ifndef PG_PROCESS_H
#define PG_PROCESS_H

#include "engine/arena.h"

/* Make this binary, the second one, use the arena of the first one, and make the GIL the arena's lock. The caller
 * holds the GIL. `enter` acquires the GIL, `leave` releases it, and `is_inside` tells whether this thread has it. */
void pg_share_arena(pg_arena *arena, void (*enter)(void), void (*leave)(void), int (*is_inside)(void));

#endif
