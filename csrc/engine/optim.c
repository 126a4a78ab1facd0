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

pg_status pg_set_all_grads(uint32_t count, const pg_id *ids, const double *grads)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++)
        *pg_grad_of(arena, pg_node_at(arena, ids[i])) = grads[i];
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

/* sqrt(sum of (x / unit)**2) * unit */
static double norm_in(double unit, size_t count, const double *numbers)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += numbers[i] / unit * (numbers[i] / unit);
    return sqrt(sum) * unit;
}

/* Squares overflow above 1e154, and lose digits below 1e-154: then the unit is the largest number. */
double pg_norm(size_t count, const double *numbers)
{
    const double norm = norm_in(1.0, count, numbers);
    double largest = 0.0;
    if (norm > 1e-140 && norm < (double)INFINITY)
        return norm;
    for (size_t i = 0; i < count; i++)
        largest = fabs(numbers[i]) > largest ? fabs(numbers[i]) : largest;
    return largest > 0.0 && largest < (double)INFINITY ? norm_in(largest, count, numbers) : norm;
}

/* The new data of parameter i. */
static double moved(const pg_node *node, const pg_optimizer *by, uint32_t i)
{
    double *first = by->buffers[0], *second = by->buffers[1], *third = by->buffers[2];
    switch (by->method) {
    case PG_SGD:
        return pg_sgd_step(node->data, node->grad, first ? first + i : NULL, &by->sgd);
    case PG_ADAM:
        return pg_adam_step(node->data, node->grad, first + i, second + i, third ? third + i : NULL, &by->adam);
    case PG_RMSPROP:
        return pg_rmsprop_step(node->data, node->grad, first + i, second ? second + i : NULL, third ? third + i : NULL,
                               &by->rmsprop);
    }
    return (double)NAN; /* not reached: every method has its case */
}

static void move(pg_arena *arena, const pg_moved_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        pg_node *node = pg_node_at(arena, group->ids[i]);
        if (!(node->flags & PG_FLAG_FROZEN))
            node->data = moved(node, &group->by, i);
    }
}

pg_status pg_move(uint32_t group_count, const pg_moved_group *groups, int *done)
{
    pg_arena *arena = pg_lock();
    bool live = true;
    for (uint32_t k = 0; live && k < group_count; k++)
        live = pg_all_live(arena, groups[k].ids, groups[k].count);
    for (uint32_t k = 0; live && k < group_count; k++)
        move(arena, &groups[k]);
    *done = live;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}
