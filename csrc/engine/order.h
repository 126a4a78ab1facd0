/* order.h: questions about running orders, for the rest of the engine. */
#ifndef PG_ORDER_H
#define PG_ORDER_H

#include "engine/arena.h"

/* Is an order running that this thread has begun? */
bool pg_has_own_order(const pg_arena *arena);
/* How many references to this node do running orders hold? One for each time that the node is a root. */
size_t pg_order_roots(const pg_arena *arena, pg_id id);
/* In the child of a fork: end the orders of the threads that the child does not have. It has only the thread that
 * forked. */
void pg_orders_after_fork(pg_arena *arena);

#endif
