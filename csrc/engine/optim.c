/* optim.c: the step of an optimizer for all its parameters, in one call.
 *
 * pygrad/optim.py computes the numbers that all parameters share, such as Adam's bias correction, and passes them in
 * the options. */
#include "engine/optim.h"

#include "engine/node.h"

pg_status pg_set_grads(uint32_t count, const pg_id *ids, double grad)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++)
        *pg_grad_of(arena, pg_node_at(arena, ids[i])) = grad;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

pg_status pg_sgd(uint32_t count, const pg_id *ids, const pg_sgd_options *options, double *momentum_buffer)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++) {
        pg_node *node = pg_node_at(arena, ids[i]);
        if (!(node->flags & PG_FLAG_FROZEN))
            node->data = pg_sgd_step(node->data, node->grad, momentum_buffer ? momentum_buffer + i : NULL, options);
    }
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

pg_status pg_adam(uint32_t count, const pg_id *ids, const pg_adam_options *options, double *exp_avg, double *exp_avg_sq)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++) {
        pg_node *node = pg_node_at(arena, ids[i]);
        if (!(node->flags & PG_FLAG_FROZEN))
            node->data = pg_adam_step(node->data, node->grad, exp_avg + i, exp_avg_sq + i, options);
    }
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}
