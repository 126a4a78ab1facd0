/* lanes_all.h: the lanes of one instruction set, whose name (SET) the including file defines. */
#include <string.h>

#include "program.h"

/* As many numbers as a register holds (VEC). Slots need not be aligned. */
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

#define UNROLL _Pragma("GCC unroll 16")
#if defined(__clang__)
#define NO_OVERLAP _Pragma("clang loop vectorize(assume_safety)")
#else
#define NO_OVERLAP _Pragma("GCC ivdep")
#endif

#define JOIN_(name, set, width) name##_##set##_##width
#define JOIN(name, set, width) JOIN_(name, set, width)

#define WIDTH 8
#define NAME(name) JOIN(name, SET, 8)
#include "lanes.h"

#define WIDTH 32
#define NAME(name) JOIN(name, SET, 32)
#include "lanes.h"

#define TABLE_(set) pg_lanes_##set
#define TABLE(set) TABLE_(set)
#define TEXT_(set) #set
#define TEXT(set) TEXT_(set)
const pg_lanes TABLE(SET) = {TEXT(SET), JOIN(forward, SET, 32), JOIN(forward, SET, 8), JOIN(backward, SET, 32),
                             JOIN(backward, SET, 8)};
