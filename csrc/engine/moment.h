/* moment.h: what was made later than what.
 *
 * An interior node's place tells it (arena.h). A leaf's slot is used again, so it does not; but while a *trace* runs, every
 * new leaf gets an id that no leaf had before. Then a leaf was made after a moment if its id is at most that moment's. */
#ifndef PG_MOMENT_H
#define PG_MOMENT_H

#include "engine/arena.h"

/* Was the node made later than the moment? Its trace still runs. */
static inline bool pg_is_later(const pg_arena *arena, const pg_moment *since, pg_id id)
{
    return pg_is_leaf(id) ? id <= since->leaf : pg_block_at(arena, pg_block_of(id))->start >= since->start;
}

/* In the child of a fork only the forking thread is left: end the traces of the others, which nobody else will. */
void pg_traces_after_fork(pg_arena *arena);

#endif
