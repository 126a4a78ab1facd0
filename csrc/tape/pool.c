/* pool.c: threads that share the tasks of one job. */
#include "tape/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How often a thread looks for the next job before it sleeps. That takes some tens to some hundreds of microseconds,
 * depending on the processor: enough for the time between two steps of a training loop. */
#define SPINS 20000

/* A job is open from its start until its caller finds no task left. Helpers may join an open job. Nobody waits for a
 * helper that has not joined: on a busy machine it may not run for a long time. One word, `state`, has the job's
 * number, whether the job is open, and how many helpers are in it. */
#define OPEN UINT64_C(0x80000000)
#define HELPERS (OPEN - 1)

static struct {
    pthread_mutex_t one_job; /* held while a job runs */
    pthread_mutex_t mutex;   /* for sleeping */
    pthread_cond_t wake;
    unsigned started;
    atomic_uint asleep;
    _Atomic uint64_t state;
    /* The job. These change only while the job is closed and no helper is in it. */
    unsigned helpers; /* workers 1 .. helpers take part */
    pg_task *task;
    void *context;
    size_t count;
    atomic_size_t next; /* the next task */
} pool = {.one_job = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static uint64_t job_of(uint64_t state)
{
    return state >> 32;
}

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

/* Wait for a job other than `seen`; return its number. */
static uint64_t await_job(uint64_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        const uint64_t job = job_of(atomic_load(&pool.state));
        if (job != seen)
            return job;
        relax();
    }
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.asleep, 1);
    while (job_of(atomic_load(&pool.state)) == seen)
        pthread_cond_wait(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.asleep, 1);
    pthread_mutex_unlock(&pool.mutex);
    return job_of(atomic_load(&pool.state));
}

/* False: the job is closed. */
static bool join_job(uint64_t job)
{
    uint64_t state = atomic_load(&pool.state);
    while (job_of(state) == job && state & OPEN)
        if (atomic_compare_exchange_weak(&pool.state, &state, state + 1))
            return true;
    return false;
}

static void *work(void *argument)
{
    const unsigned worker = (unsigned)(uintptr_t)argument;
    for (uint64_t seen = 0;;) {
        seen = await_job(seen);
        if (!join_job(seen))
            continue;
        if (worker <= pool.helpers)
            take_tasks(worker);
        atomic_fetch_sub(&pool.state, 1);
    }
    return NULL;
}

/* The child of a fork has none of the threads, and its copies of the locks may be locked: it begins anew. */
static void after_fork_in_child(void)
{
    pthread_mutex_init(&pool.one_job, NULL);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.started = 0;
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.state, 0);
}

static void prepare_for_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* Start helpers until there are `wanted`, or until no more can be started; return how many of the wanted there are. The
 * caller holds one_job. */
static unsigned have_helpers(unsigned wanted)
{
    while (pool.started < wanted) {
        pthread_t thread;
        pthread_attr_t attributes;
        if (pthread_attr_init(&attributes) != 0)
            break;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
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
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&pool.state, ((job_of(atomic_load(&pool.state)) + 1) << 32) | OPEN);
    if (atomic_load(&pool.asleep) > 0)
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.mutex);
    take_tasks(0);
    atomic_fetch_and(&pool.state, ~OPEN);
    for (unsigned spins = 0; atomic_load(&pool.state) & HELPERS; spins++)
        if (spins < SPINS)
            relax();
        else
            sched_yield();
}

void pg_pool_run(unsigned threads, size_t count, pg_task *task, void *context)
{
    const size_t most = threads < PG_MOST_THREADS ? threads : PG_MOST_THREADS;
    const size_t useful = count < most ? count : most;
    static pthread_once_t prepared = PTHREAD_ONCE_INIT;
    pthread_once(&prepared, prepare_for_forks);
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
