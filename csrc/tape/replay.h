/* replay.h: running a tape, for who calls it from C. */
#ifndef PG_REPLAY_H
#define PG_REPLAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "tape/lanes.h"
#include "tape/scalar.h"

/* Memory of one thread's lanes. */
typedef struct {
    double *x;  /* slots x stride */
    double *dx; /* the same; all 0 between blocks, but for the inputs' */
    double *accumulators; /* 8 a packed number, then 8 an output */
} pg_workspace;

/* A tape with the memory to run it. One run at a time: `busy`. */
struct pg_replay {
    pg_tape *tape;
    bool hoist;
    pg_program *program; /* made for the first batch */
    const pg_lanes *lanes;
    pthread_mutex_t busy;
    atomic_bool running; /* by who holds `busy` */
    pg_replay *next, **link; /* of the list of all, for the child of a fork */
    double *grads_before; /* the parameters' gradients that a run began with */
    double *values;   /* one a node of the tape: of all for a single sample, of what is uniform for a batch */
    double *adjoints; /* the same; all 0 between runs but those of parameters, which are their gradients */
    double *packed;
    size_t stride; /* of the workspaces that are there */
    unsigned workers;
    pg_workspace *workspaces;
    double *parts; /* chunks x (packed numbers, outputs): what each chunk's accumulators came to */
    size_t part_count;
};

/* Begin and end a run, which nobody else can be in then. */
static inline void pg_replay_enter(pg_replay *replay)
{
    pthread_mutex_lock(&replay->busy);
    atomic_store(&replay->running, true);
}

static inline void pg_replay_leave(pg_replay *replay)
{
    atomic_store(&replay->running, false);
    pthread_mutex_unlock(&replay->busy);
}

/* Where a replay keeps the parameters' numbers and gradients. */
static inline double *pg_parameters_of(pg_replay *replay)
{
    return replay->values + replay->tape->inputs;
}

static inline double *pg_gradients_of(pg_replay *replay)
{
    return replay->adjoints + replay->tape->inputs;
}

/* Run a batch on the parameters that the replay has, and add to the gradients that it has. PG_NO_MEMORY, PG_BAD_INDEX:
 * no gradient was changed. */
pg_status pg_replay_core(pg_replay *replay, pg_batch *batch);

#endif
