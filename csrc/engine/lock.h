/* lock.h: the lock of the arena.
 *
 * cffi releases the GIL for every call, so several threads may call the engine at once. So each function of pygrad.h
 * holds this lock from its first access to the arena to its last. While a thread has the lock, it only does work
 * whose time the size of the graph bounds, calls no function of Python, and neither acquires nor releases the GIL.
 *
 * At first the lock is a spin lock. Once the native proxy is loaded, the GIL is the lock: the proxy's operations hold
 * the GIL in any case, and so each of them saves two atomic operations. The calls that come through cffi, which are
 * fewer, acquire the GIL then.
 */
#ifndef PG_LOCK_H
#define PG_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

typedef struct {
    atomic_uint spinning;          /* 1: a thread has the spin lock */
    _Atomic(void (*)(void)) enter; /* acquires the GIL. NULL: the spin lock is the lock */
    void (*leave)(void);           /* releases the GIL */
    int (*is_inside)(void);        /* does this thread hold the GIL? */
} pg_mutex;

void pg_spin_wait(pg_mutex *mutex); /* wait for the spin lock, and acquire it */

static inline void pg_spin_lock(pg_mutex *mutex)
{
    if (atomic_exchange_explicit(&mutex->spinning, 1, memory_order_acquire) != 0)
        pg_spin_wait(mutex);
}

static inline void pg_spin_unlock(pg_mutex *mutex)
{
    atomic_store_explicit(&mutex->spinning, 0, memory_order_release);
}

static inline void pg_mutex_lock(pg_mutex *mutex)
{
    void (*enter)(void) = mutex->enter;
    if (!enter) {
        pg_spin_lock(mutex);
        if (!(enter = mutex->enter))
            return;
        pg_spin_unlock(mutex); /* while this thread waited, the GIL became the lock */
    }
    enter();
}

static inline void pg_mutex_unlock(pg_mutex *mutex)
{
    if (mutex->enter)
        mutex->leave();
    else
        pg_spin_unlock(mutex);
}

/* Make the GIL the lock from now on. The caller holds the GIL. */
void pg_mutex_by_gil(pg_mutex *mutex, void (*enter)(void), void (*leave)(void), int (*is_inside)(void));

/* Acquire the lock before a fork, and release it after the fork, in the parent and in the child. If the GIL is the
 * lock, nothing is acquired: Python holds the GIL when it forks. False: this thread does not hold it. That is C code
 * which forks without the GIL. It must not wait for the GIL, and its child cannot use Python; the child's copy of the
 * arena may be in any state. */
bool pg_mutex_before_fork(pg_mutex *mutex);
void pg_mutex_after_fork(pg_mutex *mutex);

#endif
