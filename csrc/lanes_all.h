/* lanes_all.h: the lanes of one instruction set, whose name (SET) the including file defines. */
#include <string.h>

#include "program.h"

/* Eight numbers at a time; where a register holds fewer, the compiler takes several. Slots need not be aligned. */
typedef double vec __attribute__((vector_size(64), aligned(8), may_alias));
typedef long long bits __attribute__((vector_size(64)));

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
