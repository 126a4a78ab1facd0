/* fit.c: the training loop. Each step gives the same bits as zero_grad(), pg_replay_run() and an optimizer's step. But
 * here the parameters' numbers stay in the replay from step to step: they are loaded from the arena before the first
 * step, and stored there after the last. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <string.h>
#include <time.h>

#include "engine/node.h"
#include "engine/optim.h"
#include "mem.h"
#include "tape/replay.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- parameters: numbers of those on the tape are in the replay, of the optimizer's others in their group --- */

/* Where the numbers of a span are, and where their gradients are; NULL: numbers that are not on the tape have none. */
static double *data_of(pg_replay *replay, const pg_fit_group *group, const pg_fit_span *span)
{
    return span->place < 0 ? group->data + span->first : pg_parameters_of(replay) + span->place;
}

static double *grads_of(pg_replay *replay, const pg_fit_span *span)
{
    return span->place < 0 ? NULL : pg_gradients_of(replay) + span->place;
}

static void load_span(pg_replay *replay, pg_arena *arena, const pg_fit_group *group, const pg_fit_span *span)
{
    double *data = data_of(replay, group, span);
    for (uint32_t i = 0; i < span->count; i++)
        data[i] = pg_node_at(arena, group->ids[span->first + i])->data;
}

static void store_span(pg_replay *replay, pg_arena *arena, const pg_fit_group *group, const pg_fit_span *span)
{
    const double *data = data_of(replay, group, span), *grads = grads_of(replay, span);
    for (uint32_t i = 0; i < span->count; i++) {
        pg_node *node = pg_node_at(arena, group->ids[span->first + i]);
        node->data = data[i];
        node->grad = grads ? grads[i] : 0.0;
    }
}

/* False, and nothing is loaded: a parameter of a group is no live node. */
static bool load(pg_replay *replay, const pg_fit_group *groups, uint32_t count)
{
    const pg_tape *tape = replay->tape;
    pg_arena *arena = pg_lock();
    bool live = true;
    for (uint32_t k = 0; k < count; k++)
        live = live && pg_all_live(arena, groups[k].ids, groups[k].count);
    for (uint32_t i = 0; live && i < tape->parameters; i++) {
        pg_parameters_of(replay)[i] = pg_node_at(arena, tape->ids[i])->data;
        pg_gradients_of(replay)[i] = pg_node_at(arena, tape->ids[i])->grad;
    }
    for (uint32_t k = 0; live && k < count; k++)
        for (uint32_t r = 0; r < groups[k].span_count; r++)
            load_span(replay, arena, &groups[k], &groups[k].spans[r]);
    pg_unlock(arena);
    return live;
}

/* A parameter that the optimizer does not move has a gradient too. */
static void store(pg_replay *replay, pg_fit *fit)
{
    const pg_tape *tape = replay->tape;
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < tape->parameters; i++)
        pg_node_at(arena, tape->ids[i])->grad = pg_gradients_of(replay)[i];
    for (uint32_t k = 0; k < fit->group_count; k++) {
        const pg_fit_group *group = &fit->groups[k];
        for (uint32_t r = 0; r < group->span_count; r++)
            store_span(replay, arena, group, &group->spans[r]);
        for (uint32_t i = 0; fit->done > 0 && i < group->frozen_count; i++)
            *pg_grad_of(arena, pg_node_at(arena, group->frozen[i])) = 0.0;
    }
    fit->is_stored = fit->done > 0;
    pg_unlock(arena);
}

/* --- one step --- */

static void zero_gradients(pg_replay *replay, const pg_fit_group *group)
{
    for (uint32_t r = 0; r < group->span_count; r++)
        if (group->spans[r].place >= 0)
            memset(grads_of(replay, &group->spans[r]), 0, group->spans[r].count * sizeof(double));
}

/* Copy the gradients of a group's parameters on the tape to `out`; return its end. The others' gradients are 0. */
static double *copy_gradients(pg_replay *replay, const pg_fit_group *group, double *out)
{
    for (uint32_t r = 0; r < group->span_count; r++) {
        const pg_fit_span *span = &group->spans[r];
        if (span->place < 0)
            continue;
        memcpy(out, grads_of(replay, span), span->count * sizeof(double));
        out += span->count;
    }
    return out;
}

/* As clip_grad_norm_ and clip_grad_value_ in pygrad/clipping.py do. A factor of 1 changes nothing. */
static void clip(pg_replay *replay, pg_fit *fit)
{
    double factor = 1.0, *end = fit->clipped;
    for (uint32_t k = 0; fit->max_norm >= 0.0 && k < fit->group_count; k++)
        end = copy_gradients(replay, &fit->groups[k], end);
    if (fit->max_norm >= 0.0)
        factor = pg_clip_factor(pg_norm((size_t)(end - fit->clipped), fit->clipped), fit->max_norm);
    for (uint32_t k = 0; k < fit->group_count; k++) {
        for (uint32_t r = 0; r < fit->groups[k].span_count; r++) {
            double *grads = grads_of(replay, &fit->groups[k].spans[r]);
            for (uint32_t i = 0; grads && factor != 1.0 && i < fit->groups[k].spans[r].count; i++)
                grads[i] = factor * grads[i];
            for (uint32_t i = 0; grads && fit->clip_value >= 0.0 && i < fit->groups[k].spans[r].count; i++)
                grads[i] = pg_clip_value(grads[i], fit->clip_value);
        }
    }
}

/* Set the options that change from step to step, as pygrad/optim.py does. */
static void prepare(pg_fit_group *group, double lr)
{
    const double step = (double)++group->step;
    pg_adam_options *adam = &group->by.adam;
    group->by.sgd.lr = group->by.rmsprop.lr = lr;
    if (group->by.method == PG_ADAM) {
        adam->shrink = group->decoupled ? 1.0 - lr * group->weight_decay : 1.0;
        adam->step_size = lr / (1.0 - pow(adam->beta1, step));
        adam->bias_root = sqrt(1.0 - pow(adam->beta2, step));
    }
}

/* A buffer's numbers for a span; NULL without the buffer. */
static double *buffer_of(const pg_fit_group *group, int buffer, const pg_fit_span *span)
{
    return group->by.buffers[buffer] ? group->by.buffers[buffer] + span->first : NULL;
}

/* The options are copied, so that the compiler knows that nothing changes them. */
static void move_by_adam(pg_replay *replay, const pg_fit_group *group, const pg_fit_span *span)
{
    const pg_adam_options options = group->by.adam;
    double *data = data_of(replay, group, span), none = 0.0;
    const double *grads = grads_of(replay, span);
    double *averages = buffer_of(group, 0, span), *squares = buffer_of(group, 1, span);
    double *maxima = buffer_of(group, 2, span);
    if (!maxima && !options.maximize) { /* usual: without branches in the loop */
        pg_adam_options usual = options;
        usual.amsgrad = usual.maximize = 0;
        for (uint32_t i = 0; i < span->count; i++)
            data[i] = pg_adam_step(data[i], grads ? grads[i] : 0.0, &averages[i], &squares[i], &none, &usual);
        return;
    }
    for (uint32_t i = 0; i < span->count; i++)
        data[i] = pg_adam_step(data[i], grads ? grads[i] : 0.0, &averages[i], &squares[i], maxima ? &maxima[i] : &none,
                               &options);
}

static void move_by_rmsprop(pg_replay *replay, const pg_fit_group *group, const pg_fit_span *span)
{
    const pg_rmsprop_options options = group->by.rmsprop;
    double *data = data_of(replay, group, span), none = 0.0;
    const double *grads = grads_of(replay, span);
    double *squares = buffer_of(group, 0, span), *momenta = buffer_of(group, 1, span);
    double *averages = buffer_of(group, 2, span);
    for (uint32_t i = 0; i < span->count; i++)
        data[i] = pg_rmsprop_step(data[i], grads ? grads[i] : 0.0, &squares[i], momenta ? &momenta[i] : &none,
                                  averages ? &averages[i] : &none, &options);
}

static void move_by_sgd(pg_replay *replay, const pg_fit_group *group, const pg_fit_span *span)
{
    const pg_sgd_options options = group->by.sgd;
    double *data = data_of(replay, group, span), none = 0.0;
    const double *grads = grads_of(replay, span);
    double *buffers = buffer_of(group, 0, span);
    if (grads && !buffers && options.weight_decay == 0.0 && !options.maximize) { /* usual: the compiler vectorises it */
        const pg_sgd_options plain = {.lr = options.lr};
        for (uint32_t i = 0; i < span->count; i++)
            data[i] = pg_sgd_step(data[i], grads[i], &none, &plain);
        return;
    }
    for (uint32_t i = 0; i < span->count; i++)
        data[i] = pg_sgd_step(data[i], grads ? grads[i] : 0.0, buffers ? &buffers[i] : &none, &options);
}

static void move(pg_replay *replay, pg_fit_group *group, double lr)
{
    static void (*const move_by[])(pg_replay *, const pg_fit_group *, const pg_fit_span *) = {
        [PG_SGD] = move_by_sgd, [PG_ADAM] = move_by_adam, [PG_RMSPROP] = move_by_rmsprop};
    prepare(group, lr);
    for (uint32_t r = 0; r < group->span_count; r++)
        move_by[group->by.method](replay, group, &group->spans[r]);
    group->by.sgd.first = 0;
}

/* Point the batch at the samples of this step. */
static void choose_samples(const pg_fit *fit, size_t number, pg_batch *batch, pg_column *columns, uint32_t inputs)
{
    const size_t begin = number * fit->batch_size, left = fit->samples - begin;
    batch->samples = left < fit->batch_size ? left : fit->batch_size;
    batch->order = fit->order ? fit->order + begin : NULL;
    batch->columns = columns;
    for (uint32_t i = 0; i < inputs; i++) {
        columns[i] = fit->columns[i];
        if (!fit->order)
            columns[i].data += (ptrdiff_t)begin * columns[i].step;
    }
}

static pg_status run_step(pg_replay *replay, pg_fit *fit, pg_batch *batch, pg_column *columns)
{
    double loss, seed;
    const pg_column seeds = {&seed, 0};
    choose_samples(fit, fit->next_batch, batch, columns, replay->tape->inputs);
    seed = fit->is_mean ? 1.0 / (double)batch->samples : 1.0;
    batch->seeds = &seeds;
    batch->sums = &loss;
    batch->divisor = fit->is_mean ? (double)batch->samples : 1.0;
    for (uint32_t k = 0; k < fit->group_count; k++)
        zero_gradients(replay, &fit->groups[k]);
    const pg_status status = pg_replay_core(replay, batch);
    if (status != PG_OK)
        return status;
    if (fit->max_norm >= 0.0 || fit->clip_value >= 0.0)
        clip(replay, fit);
    for (uint32_t k = 0; k < fit->group_count; k++)
        move(replay, &fit->groups[k], fit->rates ? fit->rates[fit->done] : fit->groups[k].lr);
    fit->losses[fit->done++] = loss;
    fit->next_batch = (fit->next_batch + 1) % fit->batches;
    return PG_OK;
}

typedef struct {
    pg_fit *fit;
    pg_status status;
} training;

static void train(pg_replay *replay, void *context)
{
    training *t = context;
    pg_fit *fit = t->fit;
    pg_column *columns = pg_realloc(NULL, (replay->tape->inputs + 1) * sizeof *columns);
    const bool ready = columns && load(replay, fit->groups, fit->group_count);
    t->status = columns ? PG_NO_NODE : PG_NO_MEMORY;
    if (ready) {
        const double end = now() + fit->seconds;
        pg_batch batch = {.threads = fit->threads};
        do {
            t->status = run_step(replay, fit, &batch, columns);
        } while (t->status == PG_OK && fit->done < fit->steps && now() < end);
        fit->bad_sample = batch.bad_sample + (fit->order ? 0 : fit->next_batch * fit->batch_size);
        fit->bad_node = batch.bad_node;
        fit->bad_kind = batch.bad_kind;
        store(replay, fit);
    }
    pg_free(columns);
}

pg_status pg_fit_run(pg_replay *replay, pg_fit *fit)
{
    training t = {.fit = fit};
    pg_replay_hold(replay, train, &t);
    return t.status;
}
