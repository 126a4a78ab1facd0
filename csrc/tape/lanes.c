/* lanes.c: the choice of an instruction set for the lanes. */
#include "tape/lanes.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const pg_lanes *choose_lanes(void)
{
    const char *wanted = getenv("PYGRAD_LANES");
    if (wanted && strcmp(wanted, "baseline") == 0)
        return &pg_lanes_baseline;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    const bool avx512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && !(wanted && strcmp(wanted, "avx2") == 0))
        return &pg_lanes_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &pg_lanes_avx2;
#endif
    return &pg_lanes_baseline;
}

const pg_lanes *pg_lanes_chosen(void)
{
    static const pg_lanes *_Atomic chosen; /* all threads choose the same */
    const pg_lanes *lanes = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!lanes) {
        lanes = choose_lanes();
        atomic_store_explicit(&chosen, lanes, memory_order_release);
    }
    return lanes;
}
