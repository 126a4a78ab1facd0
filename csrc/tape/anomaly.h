/* anomaly.h: what detect_anomaly() checks where a tape runs.
 *
 * Every run of a replay asks here, whoever began it: a call, a bound function, a step of a training. So nothing must be
 * made ready before a detect_anomaly() block begins, and a run outside of one costs a load more. */
#ifndef PG_ANOMALY_H
#define PG_ANOMALY_H

#include "engine/modes.h"
#include "tape/scalar.h"

static inline bool pg_is_checked(const pg_batch *batch)
{
    return pg_is_anomaly_detected() && !batch->unchecked;
}

/* What a replay has in its memory before a run. */
typedef struct {
    pg_tape *tape;
    const double *values; /* one for each node of the tape; those of parameters and constants are there */
    double *gradients; /* the parameters'; the run adds to them */
} pg_ready;

/* Call run(replay, batch), and check the batch: before the call each sample on its own, for an operation whose value is
 * not finite, or that gives a wanted gradient that is not; after it, the sums over the samples. A gradient is wanted if
 * the run writes it, or computes one that it writes from it. PG_ANOMALY, and as `run`: no gradient was changed. */
typedef pg_status pg_run_fn(pg_replay *replay, pg_batch *batch);
pg_status pg_run_checked(pg_ready ready, pg_run_fn *run, pg_replay *replay, pg_batch *batch);

#endif
