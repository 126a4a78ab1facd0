/* process.h: the arena of a process, where two binaries work on it. */
#ifndef PG_PROCESS_H
#define PG_PROCESS_H

#include "engine/arena.h"

/* Let this binary, the second one, work on the first one's arena, whose lock is the GIL from now on; the caller
 * holds it. `enter` and `leave` take and drop the GIL, `is_inside` says whether this thread has it. */
void pg_share_arena(pg_arena *arena, void (*enter)(void), void (*leave)(void), int (*is_inside)(void));

#endif
