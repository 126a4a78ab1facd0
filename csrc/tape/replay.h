/* replay.h: a replay, which is a tape with the memory to run it; and running it from C (fit.c). */
#ifndef PG_REPLAY_H
#define PG_REPLAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "tape/branches.h"
#include "tape/scalar.h"

/* The lanes of one thread. */
typedef struct {
    double *x;  /* slots x stride */
    double *dx; /* their adjoints; between blocks all 0, but for inputs and for splats of constants */
    double *accumulators; /* 8 for each packed number, then 8 for each output */
    pg_branches branches; /* without memory if no operation is conditional */
} pg_workspace;

/* One run at a time: a run holds `busy`, unless its caller knows that it is alone (pg_replay_run_alone). */
struct pg_replay {
    pg_tape *tape;
    bool hoist;
    pg_program *program; /* made for the first batch */
    const pg_lanes *lanes;
    pthread_mutex_t busy;
    atomic_bool running; /* a run holds `busy` */
    pg_replay *next, **link; /* in the list of all replays, for the child of a fork */
    double *grads_before; /* the parameters' gradients when the run began */
    double *values;   /* one for each node of the tape; a batch computes uniform nodes only */
    double *adjoints; /* one for each node of the tape; between runs all 0, but for the parameters: their gradients */
    bool *reached; /* one for each node of the tape; between runs all false (scalar.h). NULL: none is conditional */
    double *packed;
    size_t stride; /* of the workspaces: lanes of a slot */
    unsigned workers;
    pg_workspace *workspaces;
    double *parts; /* chunks x (packed numbers, then outputs): the sums of each chunk's accumulators */
    size_t part_count;
};

/* Call work(replay, context) once no other thread runs the replay. Python may end the thread in the call, where it waits
 * for the GIL, when the interpreter has ended: then the replay can be run again. */
void pg_replay_hold(pg_replay *replay, void (*work)(pg_replay *replay, void *context), void *context);

/* Where a replay keeps the numbers of its parameters, and their gradients. */
static inline double *pg_parameters_of(pg_replay *replay)
{
    return replay->values + replay->tape->inputs;
}

static inline double *pg_gradients_of(pg_replay *replay)
{
    return replay->adjoints + replay->tape->inputs;
}

/* Run a batch with the parameters' numbers in the replay, and add to the gradients in the replay; the arena is not
 * used. PG_NO_MEMORY, PG_BAD_INDEX, PG_ANOMALY: no gradient was changed. */
pg_status pg_replay_core(pg_replay *replay, pg_batch *batch);

#endif
