/* sweep.h: parts of the backward pass, for order.c. */
#ifndef PG_SWEEP_H
#define PG_SWEEP_H

#include "engine/arena.h"

/* Set the gradients of the roots to their seeds. A node that is a root twice gets the sum of both. */
void pg_seed_roots(pg_arena *arena, const pg_roots *roots);
/* Run the backward step of a node: it passes the gradient on to the receivers. */
void pg_run_step(pg_arena *arena, pg_id id);
/* Run the backward step of one node, and of the parts of its list if it is split. */
void pg_run_whole_step(pg_arena *arena, pg_node *node);

#endif
