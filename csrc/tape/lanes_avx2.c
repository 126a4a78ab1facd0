/* lanes_avx2.c: lanes for processors with AVX2. No contraction, so the bits are those of the others. */
#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx2")
#define SET avx2
#include "tape/lanes_all.h"
#endif
