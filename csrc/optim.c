/* optim.c: what an optimizer does to all its parameters, in one call under one lock.
 *
 * The formulas are those of `sgd` and `adam` in pygrad/optim.py, operation by operation in the same order: the same
 * bits. What all parameters share, such as a bias correction, is computed there and comes in the options. */
#include <math.h>

#include "arena.h"

pg_status pg_set_grads(uint32_t count, const pg_id *ids, double grad)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++)
        pg_node_at(arena, ids[i])->grad = grad;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

/* Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), as PyTorch has it. */
static void sgd(pg_node *node, double *buffer, const pg_sgd_options *o)
{
    double grad = node->grad;
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * node->data;
    if (o->momentum != 0.0) {
        *buffer = o->first ? grad : o->momentum * *buffer + (1.0 - o->dampening) * grad;
        grad = o->nesterov ? grad + o->momentum * *buffer : *buffer;
    }
    node->data = node->data - o->lr * grad;
}

pg_status pg_sgd(uint32_t count, const pg_id *ids, const pg_sgd_options *options, double *momentum_buffer)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++)
        sgd(pg_node_at(arena, ids[i]), momentum_buffer ? momentum_buffer + i : NULL, options);
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

/* Kingma and Ba, "Adam" (2015); the shrinking of AdamW: Loshchilov and Hutter (2019). */
static void adam(pg_node *node, double *exp_avg, double *exp_avg_sq, const pg_adam_options *o)
{
    const double p = node->data * o->shrink;
    double grad = node->grad;
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * p;
    *exp_avg = o->beta1 * *exp_avg + (1.0 - o->beta1) * grad;
    *exp_avg_sq = o->beta2 * *exp_avg_sq + (1.0 - o->beta2) * grad * grad;
    const double denom = sqrt(*exp_avg_sq) / o->bias_root + o->eps;
    const double ratio = denom != 0.0 ? *exp_avg / denom : (double)NAN; /* 0/0, as in Python */
    node->data = p - o->step_size * ratio;
}

pg_status pg_adam(uint32_t count, const pg_id *ids, const pg_adam_options *options, double *exp_avg, double *exp_avg_sq)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_all_live(arena, ids, count);
    for (uint32_t i = 0; live && i < count; i++)
        adam(pg_node_at(arena, ids[i]), exp_avg + i, exp_avg_sq + i, options);
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}
