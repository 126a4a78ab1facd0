/* derivations.h: the nodes that pg_pull() and pg_push() have made, and that no proxy holds yet.
 *
 * They belong to a pg_derivation, which Python owns. The arena has a list of those that have results: so check.c knows
 * of their references, and the child of a fork can give back what belongs to the threads that it does not have.
 */
#ifndef PG_DERIVATIONS_H
#define PG_DERIVATIONS_H

#include "engine/arena.h"

/* Let the job own its results, `found` and `made`. */
void pg_hold_results(pg_arena *arena, pg_derivation *job);
/* Give the references of the results back, and free the arrays; the job need not hold them. */
void pg_drop_results(pg_arena *arena, pg_derivation *job);
/* In the child of a fork: drop the results of the threads that the child does not have. */
void pg_derivations_after_fork(pg_arena *arena);

#endif
