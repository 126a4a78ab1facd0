/* lock.h: the lock of the arena.
 *
 * cffi drops the GIL for every call, so several threads may be inside at once. Each public function holds the lock from
 * its first look at the arena to its last. Whoever holds it does nothing whose time the graph does not bound, calls no
 * function of Python's, and neither takes nor drops the GIL.
 *
 * It is a spin lock. Once the native proxy is there, whose operations hold the GIL anyway, the GIL is the lock: that
 * saves each of those operations two atomic exchanges, and the few calls that come through cffi ask for the GIL.
 */
#ifndef PG_LOCK_H
#define PG_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

typedef struct {
    atomic_uint spinning;          /* 1: somebody holds it */
    _Atomic(void (*)(void)) enter; /* take and drop the GIL, where that is the lock; else NULL */
    void (*leave)(void);
    int (*is_inside)(void); /* does this thread hold the GIL? */
} pg_mutex;

void pg_spin_wait(pg_mutex *mutex);

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
        pg_spin_unlock(mutex); /* while we waited it became the wrong lock */
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

/* Make the GIL the lock, from now on; the caller holds it. */
void pg_mutex_by_gil(pg_mutex *mutex, void (*enter)(void), void (*leave)(void), int (*is_inside)(void));

/* Before a fork: wait until nobody is inside, and after it let others in again, in the parent and in the child.
 * False: somebody is inside all the same. Python forks with the GIL in hand. C code that forks without it must not
 * wait for the GIL, and its child cannot use Python: that child's copy of the arena may be in any state. */
bool pg_mutex_before_fork(pg_mutex *mutex);
void pg_mutex_after_fork(pg_mutex *mutex);

#endif
