/* pool.h: threads that share the tasks of one job. */
#ifndef PG_POOL_H
#define PG_POOL_H

#include <stddef.h>

/* Call `task(context, i, worker)` for each i < count, on up to `threads` threads; the caller is one of them, worker 0.
 * Return when all tasks are done. Any worker may do any task. Threads are started when they are first needed, and never
 * end; if none can be started, the caller does all tasks. The pool runs one job at a time: a second caller does its
 * tasks alone. The child of a fork starts threads of its own. */
typedef void pg_task(void *context, size_t i, unsigned worker);
void pg_pool_run(unsigned threads, size_t count, pg_task *task, void *context);

#define PG_MOST_THREADS 64

#endif
