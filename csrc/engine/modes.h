/* modes.h: modes: stretches of time in which a thread or a task works in another way, or C notes more.
 *
 * A mode lasts until its memory is freed. Python never ends a mode by a call that an interrupt could prevent: it owns
 * the memory (pg_mode_free() in pygrad.h), and a with block, or the end of a frame, frees it. So there is no state
 * "before" to put back: the newest mode decides.
 *
 * Whose mode is it? A recording, a call or a trace runs from its begin to its end in one thread, and no task of another
 * runs in between: it belongs to the thread that began it.
 *
 * The modes that programs begin are *scopes*: no_grad(), enable_grad(), detect_anomaly(). A task may wait within such a
 * block, while other tasks of the thread run. So a scope belongs to a *context*, as Python's module contextvars has
 * them: a thread has one, and each task has its own, at first a copy of the one that made the task. A context variable
 * (pygrad/engine/cells.py) has the *state* of a context: a cell that leads to the context's newest scope, and the scope
 * leads to the one around it. Two cells lead to a scope, and they differ: the block's ends it when freed; states only
 * keep its memory. But when a block is left as it should be, its context first gets the state from before, and then the
 * block lets the scope go: the tasks that were made within the block keep it in their copies of the state. If an
 * interrupt comes between, or if the block is left in another context, the scope ends for all.
 *
 * The arena has a list of all modes, newest first. The fields behind `thread` and the list are under the lock.
 */
#ifndef PG_MODES_OF_THREADS_H
#define PG_MODES_OF_THREADS_H

#include "engine/arena.h"

/* Is a context within no_grad() whose newest scope is `scope` (NULL: it has none)? While there are no modes, nobody needs
 * to ask: see pg_open_modes. */
bool pg_scope_has_no_grad(const pg_mode *scope);
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
 * forked. Scopes end in pg_scopes_after_fork(), which Python calls. */
void pg_modes_after_fork(pg_arena *arena);
/* NULL, or the invariant that does not hold: the list and the counts agree. */
const char *pg_check_modes(const pg_arena *arena);

#endif
