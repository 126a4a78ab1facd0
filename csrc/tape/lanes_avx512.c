/* lanes_avx512.c: lanes for processors with AVX512. No product and sum are contracted to one operation, so the bits are
 * those of the other instruction sets. */
#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512dq,prefer-vector-width=512")
#define SET avx512
#include "tape/lanes_all.h"
#endif
