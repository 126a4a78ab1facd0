/* moment.h: traces: was a node made since a moment?
 *
 * The start number of its block tells when an interior node was made (arena.h). But a leaf slot is used again at
 * once, so the id of a leaf does not tell its age. Code that must know which leaves were made since a moment (tape.c,
 * reach.c) begins a *trace*, a mode (modes.h). While a trace runs, the birth of each new leaf is noted beside its
 * slot. Births, start numbers and the moments of modes come from one clock.
 *
 * Leaves made while no trace runs cost nothing more: their births are not noted. Such a leaf has the birth of an
 * earlier leaf in its slot, or 0. That is right: it is before the beginning of every later trace.
 *
 * How a birth is noted: a trace moves the free slots from the list `free_leaf` to the list `set_aside`. So for each
 * new leaf pg_new_leaf() must call pg_reserve_leaf(), which gets a slot from `set_aside` and notes the birth.
 */
#ifndef PG_MOMENT_H
#define PG_MOMENT_H

#include "engine/arena.h"

/* Was the node made since the moment of a trace that still runs? */
static inline bool pg_was_made_since(const pg_arena *arena, pg_moment moment, pg_id id)
{
    return pg_is_leaf(id) ? arena->births[id] > moment : pg_block_at(arena, pg_block_of(id))->start >= moment;
}

/* For modes.c. Begin a trace, whose moment is the number that the clock will give next: later interior nodes come into
 * a block that starts then, or later. False: memory is short. */
bool pg_begin_trace(pg_arena *arena);
void pg_end_trace(pg_arena *arena);

#endif
