/* branches.h: the backward pass of a block in which takes leave operations out (PG_CONDITIONAL in tape.h). */
#ifndef PG_BRANCHES_H
#define PG_BRANCHES_H

#include "tape/lanes.h"

/* The memory of a thread. */
typedef struct {
    uint32_t *masks; /* of each lane slot: which lanes reach it? */
    bool *packed;    /* of each packed number: has a lane reached it in this run? */
    double *saved;
} pg_branches;

/* A block: what the functions of lanes.h need, and the memory. */
typedef struct {
    const pg_program *program;
    const pg_lanes *lanes;
    const double *packed;
    size_t stride;
    double *x, *dx, *accumulators;
    pg_branches memory;
    size_t n;         /* how many samples there are */
    int32_t unwanted; /* inputs in the slots below need no adjoint */
} pg_branching;

/* Make the memory for a program; false: out of memory. */
bool pg_branches_memory(const pg_program *program, size_t stride, pg_branches *branches);
void pg_branches_free(pg_branches *branches);
/* Run a block backward, as the lanes do; but a conditional operation only in the lanes that reach it. */
void pg_branches_backward(const pg_branching *block);

#endif
