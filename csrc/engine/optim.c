/* optim.c: the step of an optimizer for all its parameters, in one call: no signal of Python's can split it.
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

pg_status pg_set_all_data(uint32_t count, const pg_id *ids, const double *data)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++)
        pg_node_at(arena, ids[i])->data = data[i];
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

static void move_by_sgd(pg_arena *arena, const pg_moved_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        pg_node *node = pg_node_at(arena, group->ids[i]);
        double *buffer = group->first_buffer ? group->first_buffer + i : NULL;
        if (!(node->flags & PG_FLAG_FROZEN))
            node->data = pg_sgd_step(node->data, node->grad, buffer, group->sgd);
    }
}

static void move_by_adam(pg_arena *arena, const pg_moved_group *group)
{
    double *exp_avg = group->first_buffer, *exp_avg_sq = group->second_buffer;
    for (uint32_t i = 0; i < group->count; i++) {
        pg_node *node = pg_node_at(arena, group->ids[i]);
        if (!(node->flags & PG_FLAG_FROZEN))
            node->data = pg_adam_step(node->data, node->grad, exp_avg + i, exp_avg_sq + i, group->adam);
    }
}

pg_status pg_move(uint32_t group_count, const pg_moved_group *groups, int *done)
{
    pg_arena *arena = pg_lock();
    bool live = true;
    for (uint32_t k = 0; live && k < group_count; k++)
        live = pg_all_live(arena, groups[k].ids, groups[k].count);
    for (uint32_t k = 0; live && k < group_count; k++)
        (groups[k].sgd ? move_by_sgd : move_by_adam)(arena, &groups[k]);
    *done = live;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}
