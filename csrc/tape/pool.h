/* pool.h: threads that share the tasks of one job. */
#ifndef PG_POOL_H
#define PG_POOL_H

#include <stddef.h>

/* Do `task(context, i, worker)` for each i < count, by up to `threads` threads, the caller (worker 0) among them; returns
 * when all are done. Which worker does which task is left open. Threads are started when first needed and stay; where
 * none can be had, the caller does all. One job at a time: a second caller, or a child after a fork, does its tasks
 * alone or with threads of its own. */
typedef void pg_task(void *context, size_t i, unsigned worker);
void pg_pool_run(unsigned threads, size_t count, pg_task *task, void *context);

#define PG_MOST_THREADS 64

#endif
