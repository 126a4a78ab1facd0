/* lanes.h: running a program on the samples of one block, side by side in lanes: once for each instruction set. */
#ifndef PG_LANES_H
#define PG_LANES_H

#include "tape/program.h"

/* Run a program forward, or backward, on the first n lanes of its slots x; dx are their adjoints, all 0 after a
 * backward run but those of inputs and splats. A wide run is of PG_WIDE lanes, a narrow one of at most PG_NARROW.
 * Nobody wants the adjoints of slots below `unwanted`. */
typedef void pg_lanes_forward_fn(const pg_program *program, double *x, const double *packed, size_t stride, int n);
typedef void pg_lanes_backward_fn(const pg_program *program, const double *x, double *dx, const double *packed,
                                  double *accumulators, size_t stride, int n, int32_t unwanted);
/* Add the eight accumulators of each number up, in a fixed order, and set them to 0. */
typedef void pg_reduce_fn(double *accumulators, double *sums, size_t count);
typedef struct {
    const char *name;
    pg_lanes_forward_fn *forward_wide, *forward_narrow;
    pg_lanes_backward_fn *backward_wide, *backward_narrow;
    pg_reduce_fn *reduce;
} pg_lanes;
extern const pg_lanes pg_lanes_baseline, pg_lanes_avx2, pg_lanes_avx512;
/* The best that this processor runs (PYGRAD_LANES=baseline, avx2 or avx512 asks for one); chosen once. */
const pg_lanes *pg_lanes_chosen(void);

#endif
