/* order.h: running orders, as others see them (order.c). */
#ifndef PG_ORDER_H
#define PG_ORDER_H

#include "engine/arena.h"

/* Does an order run that this thread has begun? */
bool pg_has_own_order(const pg_arena *arena);
/* How many running orders have this root, each with a reference to it? */
size_t pg_order_roots(const pg_arena *arena, pg_id id);
/* In the child of a fork only the forking thread is left: end the orders of the others, which nobody else will. */
void pg_orders_after_fork(pg_arena *arena);

#endif
