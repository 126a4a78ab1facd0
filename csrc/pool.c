/* pool.c: threads that share the tasks of one job. */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* How often a thread looks for the next job before it sleeps: some tens of microseconds, the time between two steps of
 * a training loop. */
#define SPINS 20000

static struct {
    pthread_mutex_t one_job; /* held while a job runs */
    pthread_mutex_t mutex;   /* of what follows */
    pthread_cond_t wake;
    pid_t process; /* that the threads are of */
    unsigned started;
    unsigned seen_first[PG_MOST_THREADS]; /* by worker: the newest job when it was started */
    atomic_uint asleep;
    atomic_uint job; /* number of the newest */
    unsigned helpers; /* workers 1 .. helpers take part in it */
    pg_task *task;
    void *context;
    size_t count;
    atomic_size_t next;   /* task */
    atomic_uint finished; /* started threads that are done with the job; all must be before the next begins */
} pool = {.one_job = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void relax(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
}

static void take_tasks(unsigned worker)
{
    for (size_t i; (i = atomic_fetch_add(&pool.next, 1)) < pool.count;)
        pool.task(pool.context, i, worker);
}

/* Wait for a job newer than `seen`. */
static unsigned await_job(unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool.job, memory_order_acquire) != seen)
            return atomic_load(&pool.job);
        relax();
    }
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.asleep, 1);
    while (atomic_load(&pool.job) == seen)
        pthread_cond_wait(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.asleep, 1);
    pthread_mutex_unlock(&pool.mutex);
    return atomic_load(&pool.job);
}

static void *work(void *argument)
{
    const unsigned worker = (unsigned)(uintptr_t)argument;
    for (unsigned seen = pool.seen_first[worker];;) {
        seen = await_job(seen);
        if (worker <= pool.helpers)
            take_tasks(worker);
        atomic_fetch_add_explicit(&pool.finished, 1, memory_order_release);
    }
    return NULL;
}

/* Have so many helpers; returns how many there are. The caller holds one_job. */
static unsigned have_helpers(unsigned wanted)
{
    if (pool.process != getpid()) { /* a fork leaves none of them */
        pool.process = getpid();
        pool.started = 0;
        atomic_store(&pool.asleep, 0);
        atomic_store(&pool.job, 0);
        pthread_mutex_init(&pool.mutex, NULL);
        pthread_cond_init(&pool.wake, NULL);
    }
    while (pool.started < wanted) {
        pthread_t thread;
        pthread_attr_t attributes;
        if (pthread_attr_init(&attributes) != 0)
            break;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pool.seen_first[pool.started + 1] = atomic_load(&pool.job);
        const int failed = pthread_create(&thread, &attributes, work, (void *)(uintptr_t)(pool.started + 1));
        pthread_attr_destroy(&attributes);
        if (failed)
            break;
        pool.started++;
    }
    return pool.started < wanted ? pool.started : wanted;
}

static void run_with_helpers(unsigned helpers, size_t count, pg_task *task, void *context)
{
    pool.task = task;
    pool.context = context;
    pool.count = count;
    pool.helpers = helpers;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.finished, 0);
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add_explicit(&pool.job, 1, memory_order_release);
    if (atomic_load(&pool.asleep) > 0)
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.mutex);
    take_tasks(0);
    for (unsigned spins = 0; atomic_load_explicit(&pool.finished, memory_order_acquire) < pool.started; spins++)
        if (spins < SPINS)
            relax();
        else
            sched_yield();
}

void pg_pool_run(unsigned threads, size_t count, pg_task *task, void *context)
{
    const size_t most = threads < PG_MOST_THREADS ? threads : PG_MOST_THREADS;
    const size_t useful = count < most ? count : most;
    if (useful > 1 && pthread_mutex_trylock(&pool.one_job) == 0) {
        const unsigned helpers = have_helpers((unsigned)useful - 1);
        if (helpers > 0) {
            run_with_helpers(helpers, count, task, context);
            pthread_mutex_unlock(&pool.one_job);
            return;
        }
        pthread_mutex_unlock(&pool.one_job);
    }
    for (size_t i = 0; i < count; i++)
        task(context, i, 0);
}
