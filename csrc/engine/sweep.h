/* sweep.h: parts of the backward pass, for order.c. */
#ifndef PG_SWEEP_H
#define PG_SWEEP_H

#include "engine/arena.h"

/* Give the roots their seeds; a node that is named twice gets both. Their gradients were anything. */
void pg_seed_roots(pg_arena *arena, const pg_roots *roots);
/* Let each node pass its gradient on to its operands, one after the other. */
void pg_run_steps(pg_arena *arena, const pg_id *ids, size_t count);
/* Let one node do so; where its list is split, all of it. */
void pg_run_whole_step(pg_arena *arena, pg_node *node);

#endif
