/* lanes_avx2.c: lanes for processors with AVX2. No product and sum are contracted to one operation, so the bits are
 * those of the other instruction sets. */
#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx2")
#define SET avx2
#include "tape/lanes_all.h"
#endif
