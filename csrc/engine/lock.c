/* lock.c: the lock of the arena: a spin lock, or the GIL. */
#include "engine/lock.h"

#include <sched.h>

void pg_spin_wait(pg_mutex *mutex)
{
    for (int spins = 0; atomic_exchange_explicit(&mutex->spinning, 1, memory_order_acquire) != 0; spins++)
        if (spins >= 64)
            sched_yield(); /* the other thread may run a long sweep, or not be on a core at all */
}

void pg_mutex_by_gil(pg_mutex *mutex, void (*enter)(void), void (*leave)(void), int (*is_inside)(void))
{
    pg_spin_lock(mutex);
    mutex->leave = leave;
    mutex->is_inside = is_inside;
    mutex->enter = enter;
    pg_spin_unlock(mutex);
}

static bool spun; /* between the next two functions: the first has acquired the spin lock */

bool pg_mutex_before_fork(pg_mutex *mutex)
{
    spun = !mutex->enter;
    if (spun)
        pg_spin_lock(mutex);
    return spun || mutex->is_inside();
}

void pg_mutex_after_fork(pg_mutex *mutex)
{
    if (spun)
        pg_spin_unlock(mutex);
}
