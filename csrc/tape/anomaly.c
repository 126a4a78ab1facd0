/* anomaly.c: a batch under detect_anomaly(): which operation made the first nan or inf? */
#include "tape/anomaly.h"

#include <math.h>
#include <string.h>

#include "mem.h"

/* The batch that is checked, and memory of the check's own. */
typedef struct {
    pg_ready ready;
    pg_batch *batch;
    double *values; /* of one sample: one for each node of the tape */
    double *adjoints;
    double *grads_before; /* the parameters' gradients before the run */
    bool *wanted; /* one for each node: is its gradient wanted? */
    bool *reached; /* one for each node, for the backward pass */
    bool *chosen; /* one for each node: does an output depend on it, by values that takes choose? */
} check;

static bool make_memory(check *c)
{
    const pg_tape *tape = c->ready.tape;
    c->values = pg_zeroed(tape->count * sizeof(double) + 1);
    c->adjoints = pg_zeroed(tape->count * sizeof(double) + 1);
    c->grads_before = pg_zeroed(tape->parameters * sizeof(double) + 1);
    c->wanted = pg_zeroed(tape->count * sizeof(bool) + 1);
    c->reached = pg_zeroed(tape->count * sizeof(bool) + 1);
    c->chosen = pg_zeroed(tape->count * sizeof(bool) + 1);
    return c->values && c->adjoints && c->grads_before && c->wanted && c->reached && c->chosen;
}

static void free_memory(check *c)
{
    pg_free(c->values);
    pg_free(c->adjoints);
    pg_free(c->grads_before);
    pg_free(c->wanted);
    pg_free(c->reached);
    pg_free(c->chosen);
}

static pg_status report(check *c, int kind, size_t node, size_t sample)
{
    c->batch->bad_kind = kind;
    c->batch->bad_node = (int32_t)node;
    c->batch->bad_sample = sample;
    return PG_ANOMALY;
}

/* --- which gradients are wanted --- */

typedef struct {
    check *check;
    bool found;
    bool (*is_one)(const check *c, int32_t operand);
} search;

static void visit(int32_t *operand, void *context)
{
    search *s = context;
    s->found = s->found || s->is_one(s->check, *operand);
}

/* Is there a receiver of the operation for which `is_one` holds? */
static bool has_receiver(check *c, size_t node, bool (*is_one)(const check *c, int32_t operand))
{
    pg_tape *tape = c->ready.tape;
    search s = {.check = c, .is_one = is_one};
    pg_tape_each_receiver(tape, &tape->nodes[node], visit, &s);
    return s.found;
}

static bool is_wanted(const check *c, int32_t node)
{
    return c->wanted[node];
}

/* The gradients of inputs and parameters that the caller wants, but of no frozen ones; and of all operations that depend
 * on these. */
static void find_wanted(check *c)
{
    const pg_tape *tape = c->ready.tape;
    for (uint32_t i = 0; i < tape->inputs; i++)
        c->wanted[i] = c->batch->input_grads && c->batch->input_grads[i].data;
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < tape->parameters; i++)
        c->wanted[tape->inputs + i] =
            !c->batch->inputs_only && !(pg_node_at(arena, tape->ids[i])->flags & PG_FLAG_FROZEN);
    pg_unlock(arena);
    for (size_t i = pg_tape_operations(tape); i < tape->count; i++)
        c->wanted[i] = has_receiver(c, i, is_wanted);
}

/* --- one sample --- */

static bool is_bad(const check *c, int32_t node)
{
    return c->wanted[node] && !isfinite(c->adjoints[node]);
}

static void choose(int32_t *operand, void *context)
{
    ((check *)context)->chosen[*operand] = true;
}

/* Find what the outputs of the sample depend on. What a take does not choose may be nan. */
static void find_chosen(check *c)
{
    pg_tape *tape = c->ready.tape;
    memset(c->chosen, 0, tape->count * sizeof *c->chosen);
    for (uint32_t i = 0; i < tape->output_count; i++)
        choose(&tape->outputs[i], c);
    for (size_t i = tape->count; i-- > pg_tape_operations(tape);) {
        pg_tape_node *node = &tape->nodes[i];
        int32_t *list = tape->lists + node->list;
        if (c->chosen[i] && node->op == PG_TAKE) {
            choose(&list[0], c);
            choose(&list[1 + pg_place(c->values[list[0]])], c);
        } else if (c->chosen[i]) {
            pg_tape_each_operand(tape, node, choose, c);
        }
    }
}

static pg_status check_forward(check *c, size_t sample)
{
    const pg_tape *tape = c->ready.tape;
    for (uint32_t i = 0; i < tape->inputs; i++)
        c->values[i] = c->batch->columns[i].data[(ptrdiff_t)sample * c->batch->columns[i].step];
    pg_scalar_forward(tape, NULL, 0, c->values);
    c->batch->bad_node = pg_scalar_bad_index(tape, NULL, 0, c->values);
    c->batch->bad_sample = sample;
    if (c->batch->bad_node >= 0)
        return PG_BAD_INDEX;
    find_chosen(c);
    for (size_t i = pg_tape_operations(tape); i < tape->count; i++)
        if (c->chosen[i] && !isfinite(c->values[i]))
            return report(c, PG_ANOMALY_VALUE, i, sample);
    return PG_OK;
}

static pg_status check_backward(check *c, size_t sample)
{
    const pg_tape *tape = c->ready.tape;
    memset(c->adjoints, 0, tape->count * sizeof *c->adjoints);
    for (uint32_t i = 0; i < tape->output_count; i++)
        c->adjoints[tape->outputs[i]] += c->batch->seeds[i].data[(ptrdiff_t)sample * c->batch->seeds[i].step];
    for (size_t i = tape->count; i-- > pg_tape_operations(tape);) {
        const int32_t place = (int32_t)i;
        pg_scalar_backward_chosen(tape, &place, 1, c->values, c->adjoints, c->reached);
        if (c->wanted[i] && has_receiver(c, i, is_bad))
            return report(c, PG_ANOMALY_GRADIENT, i, sample);
    }
    return PG_OK;
}

static pg_status check_samples(check *c)
{
    const pg_batch *batch = c->batch;
    const pg_tape *tape = c->ready.tape;
    memcpy(c->values, c->ready.values, tape->count * sizeof *c->values); /* parameters and constants */
    pg_status status = PG_OK;
    if (tape->folds_anomaly && batch->samples)
        return report(c, PG_ANOMALY_CONSTANT, 0, batch->order ? batch->order[0] : 0);
    for (size_t i = 0; i < batch->samples && status == PG_OK; i++) {
        const size_t sample = batch->order ? batch->order[i] : i;
        status = check_forward(c, sample);
        if (status == PG_OK && batch->seeds)
            status = check_backward(c, sample);
    }
    return status;
}

/* --- sums over the samples --- */

/* Report the first parameter whose gradient is not finite. */
static pg_status check_gradients(check *c, int kind)
{
    const pg_tape *tape = c->ready.tape;
    for (uint32_t i = 0; c->batch->seeds && i < tape->parameters; i++)
        if (c->wanted[tape->inputs + i] && !isfinite(c->ready.gradients[i]))
            return report(c, kind, tape->inputs + i, 0);
    return PG_OK;
}

static pg_status check_sums(check *c)
{
    for (uint32_t i = 0; c->batch->sums && i < c->ready.tape->output_count; i++)
        if (!isfinite(c->batch->sums[i]) && c->batch->samples > 1)
            return report(c, PG_ANOMALY_SUM, (size_t)c->ready.tape->outputs[i], 0);
    return check_gradients(c, PG_ANOMALY_GRADIENT_SUM);
}

static pg_status check_before(check *c)
{
    find_wanted(c);
    memcpy(c->grads_before, c->ready.gradients, c->ready.tape->parameters * sizeof(double));
    const pg_status status = check_gradients(c, PG_ANOMALY_BEFORE);
    return status == PG_OK ? check_samples(c) : status;
}

static pg_status check_after(check *c)
{
    const pg_status status = check_sums(c);
    if (status != PG_OK)
        memcpy(c->ready.gradients, c->grads_before, c->ready.tape->parameters * sizeof(double));
    return status;
}

pg_status pg_run_checked(pg_ready ready, pg_run_fn *run, pg_replay *replay, pg_batch *batch)
{
    check c = {.ready = ready, .batch = batch};
    pg_status status = make_memory(&c) ? check_before(&c) : PG_NO_MEMORY;
    if (status == PG_OK)
        status = run(replay, batch);
    if (status == PG_OK)
        status = check_after(&c);
    free_memory(&c);
    return status;
}

/* --- for Python: the numbers that its message shows --- */

void pg_tape_values(const pg_tape *tape, const pg_column *columns, size_t sample, double *values)
{
    for (uint32_t i = 0; i < tape->inputs; i++)
        values[i] = columns[i].data[(ptrdiff_t)sample * columns[i].step];
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < tape->parameters; i++)
        values[tape->inputs + i] = pg_node_at(arena, tape->ids[i])->data;
    pg_unlock(arena);
    for (uint32_t i = tape->inputs + tape->parameters; i < pg_tape_operations(tape); i++)
        values[i] = tape->nodes[i].literal;
    pg_scalar_forward(tape, NULL, 0, values);
}
