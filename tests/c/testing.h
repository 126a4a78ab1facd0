/* testing.h: what the C tests share: REQUIRE, and ops by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pygrad.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* The op with this name. */
static int op_named(const char *name)
{
    for (int op = 0; op < pg_op_count(); op++)
        if (strcmp(pg_op_name(op), name) == 0)
            return op;
    abort();
}
