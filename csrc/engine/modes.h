/* modes.h: modes: stretches of time in which a thread works in another way, or C notes more.
 *
 * A mode belongs to the thread that began it, and lasts until its memory is freed. Python never ends a mode by a call
 * that an interrupt could prevent: it owns the memory (pg_mode_free() in pygrad.h), and a with block, or the end of a
 * frame, frees it. So there is no state "before" to put back: the newest mode of a thread decides.
 *
 * The arena has a list of all modes, newest first. The fields behind `thread` and the list are under the lock.
 */
#ifndef PG_MODES_OF_THREADS_H
#define PG_MODES_OF_THREADS_H

#include "engine/arena.h"

/* Is this thread within no_grad()? While there are no modes, nobody needs to ask: see pg_open_modes. */
bool pg_thread_has_no_grad(const pg_arena *arena);
/* Does this thread read data that nobody is to be told of? */
bool pg_thread_is_quiet(const pg_arena *arena);
/* Does this thread record a function for pygrad.compile? */
bool pg_thread_records(const pg_arena *arena);
/* Is any thread within detect_anomaly()? Without the lock: of a block that another thread begins now a run may see
 * nothing yet. */
static inline bool pg_is_anomaly_detected(void)
{
    return __atomic_load_n(&pg_the_arena->open.of[PG_MODE_ANOMALY], __ATOMIC_RELAXED) != 0;
}
/* A number of this thread that no other thread of this process ever has; the first binary's function. */
uint64_t pg_number_of_thread(void);
/* In the child of a fork: end the modes of the threads that the child does not have. It has only the thread that
 * forked. */
void pg_modes_after_fork(pg_arena *arena);
/* NULL, or the invariant that does not hold: the list and the counts agree. */
const char *pg_check_modes(const pg_arena *arena);

#endif
