/* lanes_baseline.c: lanes for any processor of the kind that the compiler builds for. */
#define SET baseline
#include "tape/lanes_all.h"
