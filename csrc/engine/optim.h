/* optim.h: the formulas of optimizers, for one parameter; and of clipped gradients. optim.c and the training loop of
 * tape/fit.c use them.
 *
 * They compute what `sgd`, `adam` and `rmsprop` in pygrad/optim.py compute, in one sequence of operations: so the bits
 * are equal. */
#ifndef PG_OPTIM_H
#define PG_OPTIM_H

#include <math.h>

#include "pygrad.h"

/* The new data of a parameter. Sutskever et al., "On the importance of initialization and momentum in deep learning"
 * (2013), in the variant of PyTorch. `buffer` may be NULL without momentum. */
static inline double pg_sgd_step(double data, double grad, double *buffer, const pg_sgd_options *o)
{
    if (o->maximize)
        grad = -grad;
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * data;
    if (o->momentum != 0.0) {
        *buffer = o->first ? grad : o->momentum * *buffer + (1.0 - o->dampening) * grad;
        grad = o->nesterov ? grad + o->momentum * *buffer : *buffer;
    }
    return data - o->lr * grad;
}

/* The new data of a parameter. Kingma and Ba, "Adam" (2015). `shrink` is the weight decay of AdamW: Loshchilov and
 * Hutter (2019). The maximum is of AMSGrad: Reddi, Kale and Kumar (2018); else it may be NULL. */
static inline double pg_adam_step(double data, double grad, double *exp_avg, double *exp_avg_sq, double *max_exp_avg_sq,
                                  const pg_adam_options *o)
{
    const double p = data * o->shrink;
    if (o->maximize)
        grad = -grad;
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * p;
    *exp_avg = o->beta1 * *exp_avg + (1.0 - o->beta1) * grad;
    *exp_avg_sq = o->beta2 * *exp_avg_sq + (1.0 - o->beta2) * grad * grad;
    double square = *exp_avg_sq;
    if (o->amsgrad) {
        const double most = *max_exp_avg_sq;
        square = *max_exp_avg_sq = most > square || most != most ? most : square; /* nan if one is nan */
    }
    return p - o->step_size * (*exp_avg / (sqrt(square) / o->bias_root + o->eps));
}

/* The new data of a parameter. Hinton's lecture 6e of "Neural Networks for Machine Learning" (2012); `grad_avg`, if
 * centered, is Graves' "Generating sequences with recurrent neural networks" (2013). Buffers that are not used may be
 * NULL. */
static inline double pg_rmsprop_step(double data, double grad, double *square_avg, double *momentum_buffer,
                                     double *grad_avg, const pg_rmsprop_options *o)
{
    if (o->maximize)
        grad = -grad;
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * data;
    *square_avg = o->alpha * *square_avg + (1.0 - o->alpha) * grad * grad;
    double square = *square_avg;
    if (o->centered) {
        *grad_avg = o->alpha * *grad_avg + (1.0 - o->alpha) * grad;
        square = square - *grad_avg * *grad_avg;
    }
    double move = grad / (sqrt(square) + o->eps);
    if (o->momentum != 0.0)
        move = *momentum_buffer = o->momentum * *momentum_buffer + move;
    return data - o->lr * move;
}

/* The number by which gradients of this norm are multiplied, so that their norm is at most max_norm. PyTorch's formula:
 * a norm that is nan gives nan. */
static inline double pg_clip_factor(double norm, double max_norm)
{
    const double factor = max_norm / (norm + 1e-6);
    return factor > 1.0 ? 1.0 : factor;
}

static inline double pg_clip_value(double grad, double most)
{
    return grad > most ? most : grad < -most ? -most : grad;
}

#endif
