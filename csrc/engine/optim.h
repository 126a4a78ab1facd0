/* optim.h: the formulas of optimizers, for one parameter. optim.c and the training loop of tape/fit.c use them.
 *
 * They compute what `sgd` and `adam` in pygrad/optim.py compute, in one sequence of operations: so the bits are
 * equal. */
#ifndef PG_OPTIM_H
#define PG_OPTIM_H

#include <math.h>

#include "pygrad.h"

/* The new data of a parameter. Sutskever et al., "On the importance of initialization and momentum in deep learning"
 * (2013), in the variant of PyTorch. `buffer` may be NULL without momentum. */
static inline double pg_sgd_step(double data, double grad, double *buffer, const pg_sgd_options *o)
{
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * data;
    if (o->momentum != 0.0) {
        *buffer = o->first ? grad : o->momentum * *buffer + (1.0 - o->dampening) * grad;
        grad = o->nesterov ? grad + o->momentum * *buffer : *buffer;
    }
    return data - o->lr * grad;
}

/* The new data of a parameter. Kingma and Ba, "Adam" (2015). `shrink` is the weight decay of AdamW: Loshchilov and
 * Hutter (2019). */
static inline double pg_adam_step(double data, double grad, double *exp_avg, double *exp_avg_sq,
                                  const pg_adam_options *o)
{
    const double p = data * o->shrink;
    if (o->weight_decay != 0.0)
        grad = grad + o->weight_decay * p;
    *exp_avg = o->beta1 * *exp_avg + (1.0 - o->beta1) * grad;
    *exp_avg_sq = o->beta2 * *exp_avg_sq + (1.0 - o->beta2) * grad * grad;
    const double denom = sqrt(*exp_avg_sq) / o->bias_root + o->eps;
    const double ratio = denom != 0.0 ? *exp_avg / denom : (double)NAN; /* 0/0, as in Python */
    return p - o->step_size * ratio;
}

#endif
