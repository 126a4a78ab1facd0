/* lanes.h: running a program (program.h) on the samples of one block, side by side in lanes. These functions exist once
 * for each instruction set. */
#ifndef PG_LANES_H
#define PG_LANES_H

#include "tape/program.h"

/* Run a program forward, or backward, on the first n lanes of its slots x. A wide run has PG_WIDE lanes, a narrow run
 * at most PG_NARROW. dx are the adjoints of the slots; after a backward run only inputs and splats have other adjoints
 * than 0. The adjoints of slots below `unwanted` need not be computed. */
typedef void pg_lanes_forward_fn(const pg_program *program, double *x, const double *packed, size_t stride, int n);
typedef void pg_lanes_backward_fn(const pg_program *program, const double *x, double *dx, const double *packed,
                                  double *accumulators, size_t stride, int n, int32_t unwanted);
/* Add up the eight accumulators of each of `count` numbers, in a fixed sequence, and set them to 0. */
typedef void pg_reduce_fn(double *accumulators, double *sums, size_t count);
typedef struct {
    const char *name;
    pg_lanes_forward_fn *forward_wide, *forward_narrow;
    pg_lanes_backward_fn *backward_wide, *backward_narrow;
    pg_reduce_fn *reduce;
} pg_lanes;
extern const pg_lanes pg_lanes_baseline, pg_lanes_avx2, pg_lanes_avx512;
/* The functions for the best instruction set of this processor, chosen once. The environment variable PYGRAD_LANES
 * (baseline, avx2 or avx512) names the widest that may be chosen; pygrad/engine/_lib.py refuses another word. */
const pg_lanes *pg_lanes_chosen(void);

#endif
