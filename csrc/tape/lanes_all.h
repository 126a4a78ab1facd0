/* lanes_all.h: the functions of lanes.h for one instruction set. The including file defines its name, SET. */
#include <stdbool.h>

#include "tape/lanes.h"

/* A register holds VEC numbers, a `vec`. Slots need not be aligned. */
#if defined(__AVX512F__)
#define VEC 8
#define LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#elif defined(__AVX__)
#define VEC 4
#define LANE_NUMBERS {0, 1, 2, 3}
#else
#define VEC 2
#define LANE_NUMBERS {0, 1}
#endif
typedef double vec __attribute__((vector_size(8 * VEC), aligned(8), may_alias));
typedef long long bits __attribute__((vector_size(8 * VEC)));
static const bits lane_numbers = LANE_NUMBERS;

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#if defined(__clang__)
#define NO_OVERLAP _Pragma("clang loop vectorize(assume_safety)")
#else
#define NO_OVERLAP _Pragma("GCC ivdep")
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE __builtin_shufflevector
#endif
#endif

#define JOIN_(name, set, width) name##_##set##_##width
#define JOIN(name, set, width) JOIN_(name, set, width)

#if VEC == 8 && defined(SHUFFLE)
#define HALVES(a, b) (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define QUARTERS(a, b) (SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15))
#define EIGHTHS(a, b) (SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15))

/* Add up the accumulators of eight numbers at once, each in the sequence of reduce() below. */
static inline vec reduce_eight(const vec *a)
{
    return EIGHTHS(QUARTERS(HALVES(a[0], a[1]), HALVES(a[2], a[3])), QUARTERS(HALVES(a[4], a[5]), HALVES(a[6], a[7])));
}
#endif

static void JOIN(reduce, SET, 8)(double *accumulators, double *sums, size_t count)
{
#ifdef EIGHTHS
    for (; count >= 8; count -= 8, accumulators += 64, sums += 8) {
        *(vec *)sums = reduce_eight((const vec *)accumulators);
        UNROLL
        for (int k = 0; k < 8; k++)
            ((vec *)accumulators)[k] = (vec){0};
    }
#endif
    for (; count > 0; count--, accumulators += 8, sums++) {
        const double *a = accumulators;
        *sums = ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
        UNROLL
        for (int v = 0; v < 8 / VEC; v++)
            ((vec *)accumulators)[v] = (vec){0};
    }
}

/* Are the next inputs of a layer all different, and are all their adjoints wanted? */
ALWAYS_INLINE bool are_different(const int32_t *xs, int count, int32_t unwanted)
{
    bool good = true;
    for (int i = 0; i < count; i++) {
        good &= xs[i] >= unwanted;
        for (int j = 0; j < i; j++)
            good &= xs[i] != xs[j];
    }
    return good;
}

#define WIDTH 8
#define NAME(name) JOIN(name, SET, 8)
#include "tape/lanes_loops.h"

#define WIDTH 32
#define NAME(name) JOIN(name, SET, 32)
#include "tape/lanes_loops.h"

#define TABLE_(set) pg_lanes_##set
#define TABLE(set) TABLE_(set)
#define TEXT_(set) #set
#define TEXT(set) TEXT_(set)
const pg_lanes TABLE(SET) = {
    TEXT(SET),           JOIN(forward, SET, 32), JOIN(forward, SET, 8), JOIN(backward, SET, 32), JOIN(backward, SET, 8),
    JOIN(reduce, SET, 8)};
