/* lanes_baseline.c: lanes for any processor of the architecture that the compiler builds for. */
#define SET baseline
#include "tape/lanes_all.h"
