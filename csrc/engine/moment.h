/* moment.h: what was made since a moment.
 *
 * The start number of its block tells when an interior node was made (arena.h). The slot of a leaf is used again, so
 * the id of a leaf tells nothing of its age. Whoever must tell which leaves are made since a moment (tape.c, reach.c)
 * begins a *trace*: while one runs, the birth of every new leaf is noted beside its slot, by the clock that start
 * numbers come from. A leaf made while none runs finds in its slot the birth of an earlier leaf, or 0; that is before
 * every later trace, as it should be. While none runs this costs nothing: a trace sets the free slots aside, so that
 * each new leaf must ask pg_reserve_leaf() for one of them, which notes the birth.
 */
#ifndef PG_MOMENT_H
#define PG_MOMENT_H

#include "engine/arena.h"

/* Was a node made since the moment at which a trace began that still runs? Of a result that is known only of one by
 * pg_moment_begin(). */
static inline bool pg_was_made_since(const pg_arena *arena, pg_moment moment, pg_id id)
{
    return pg_is_leaf(id) ? arena->births[id] > moment : pg_block_at(arena, pg_block_of(id))->start >= moment;
}

/* In the child of a fork only the forking thread is left: end the traces of the others, which nobody else will. */
void pg_traces_after_fork(pg_arena *arena);

#endif
