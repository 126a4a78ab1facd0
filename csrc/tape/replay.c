/* replay.c: running a tape, on one sample or on a batch.
 *
 * A batch is cut into chunks, and a chunk into blocks. A thread does whole chunks. A block is the samples that run side
 * by side in lanes: first wide blocks of 32 samples, then narrow blocks of 8, of which the last may be partly filled. A
 * tape with too many slots runs in narrow blocks alone. The cuts do not depend on the number of threads, and the sums
 * of the chunks are added up from the first chunk to the last: so any number of threads gives the same bits. */
#include "tape/replay.h"

#include <string.h>

#include "engine/arena.h"
#include "mem.h"
#include "tape/anomaly.h"
#include "tape/pool.h"

enum { CHUNK = 128, MOST_CHUNKS = 64, AHEAD = 4 /* prefetch columns so many blocks before they are used */ };
#define CACHE_BYTES (1u << 20) /* if the slots of a wide block, with adjoints, need more, all blocks are narrow */

/* --- memory --- */

static void free_workspaces(pg_replay *replay)
{
    for (unsigned i = 0; i < replay->workers; i++) {
        pg_free(replay->workspaces[i].x);
        pg_free(replay->workspaces[i].dx);
        pg_free(replay->workspaces[i].accumulators);
        pg_branches_free(&replay->workspaces[i].branches);
    }
    pg_free(replay->workspaces);
    replay->workspaces = NULL;
    replay->workers = 0;
    replay->stride = 0;
}

static size_t accumulator_count(const pg_replay *replay)
{
    return 8 * (replay->program->packed_count + replay->tape->output_count);
}

/* Make sure that there are workspaces for so many workers. False: out of memory. */
static bool have_workspaces(pg_replay *replay, size_t stride, unsigned workers)
{
    if (replay->stride == stride && replay->workers >= workers)
        return true;
    free_workspaces(replay);
    replay->workspaces = pg_zeroed(workers * sizeof *replay->workspaces);
    if (!replay->workspaces)
        return false;
    replay->workers = workers;
    replay->stride = stride;
    const size_t lanes = (size_t)replay->program->slots * stride * sizeof(double);
    bool done = true;
    for (unsigned i = 0; i < workers; i++) {
        pg_workspace *space = &replay->workspaces[i];
        space->x = pg_zeroed_lines(lanes);
        space->dx = pg_zeroed_lines(lanes);
        space->accumulators = pg_zeroed_lines(accumulator_count(replay) * sizeof(double));
        done = done && space->x && space->dx && space->accumulators;
        if (replay->reached)
            done = pg_branches_memory(replay->program, stride, &space->branches) && done;
    }
    if (!done)
        free_workspaces(replay);
    return done;
}

static bool have_parts(pg_replay *replay, size_t chunks)
{
    const size_t count = chunks * (replay->program->packed_count + replay->tape->output_count);
    if (count <= replay->part_count)
        return true;
    double *parts = pg_realloc(replay->parts, count * sizeof *parts);
    if (!parts)
        return false;
    replay->parts = parts;
    replay->part_count = count;
    return true;
}

static bool have_program(pg_replay *replay)
{
    if (!replay->program)
        replay->program = pg_program_new(replay->tape, replay->hoist);
    if (replay->program && !replay->packed)
        replay->packed = pg_zeroed(replay->program->packed_count * sizeof *replay->packed + 1);
    return replay->program && replay->packed;
}

/* --- forks --- */

/* All replays. The child of a fork has a copy of each, but none of the threads that were running them. */
static struct {
    pthread_mutex_t mutex;
    pthread_once_t prepared;
    pg_replay *first;
} all = {.mutex = PTHREAD_MUTEX_INITIALIZER, .prepared = PTHREAD_ONCE_INIT};

static void before_fork(void)
{
    pthread_mutex_lock(&all.mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&all.mutex);
}

/* The memory that a run was changing may be in any state: the child leaves it alone, and gets other memory. */
static void abandon(pg_replay *replay)
{
    replay->workspaces = NULL;
    replay->workers = 0;
    replay->stride = 0;
    replay->parts = NULL;
    replay->part_count = 0;
    memset(replay->adjoints, 0, replay->tape->count * sizeof *replay->adjoints);
    if (replay->reached)
        memset(replay->reached, 0, replay->tape->count * sizeof *replay->reached);
    atomic_store(&replay->running, false);
}

static void after_fork_in_child(void)
{
    pthread_mutex_init(&all.mutex, NULL);
    for (pg_replay *replay = all.first; replay; replay = replay->next) {
        pthread_mutex_init(&replay->busy, NULL);
        if (atomic_load(&replay->running))
            abandon(replay);
    }
}

static void prepare_for_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void join_list(pg_replay *replay)
{
    pthread_once(&all.prepared, prepare_for_forks);
    pthread_mutex_lock(&all.mutex);
    replay->next = all.first;
    replay->link = &all.first;
    if (replay->next)
        replay->next->link = &replay->next;
    all.first = replay;
    pthread_mutex_unlock(&all.mutex);
}

static void leave_list(pg_replay *replay)
{
    pthread_mutex_lock(&all.mutex);
    *replay->link = replay->next;
    if (replay->next)
        replay->next->link = replay->link;
    pthread_mutex_unlock(&all.mutex);
}

/* --- a replay --- */

pg_status pg_replay_new(pg_tape *tape, int passes, pg_replay_cell *cell)
{
    pg_replay *replay = pg_zeroed(sizeof *replay);
    if (!replay)
        return PG_NO_MEMORY;
    *replay = (pg_replay){.tape = tape, .hoist = (passes & PG_PASS_HOIST) != 0, .lanes = pg_lanes_chosen()};
    replay->values = pg_zeroed(tape->count * sizeof(double) + 1);
    replay->adjoints = pg_zeroed(tape->count * sizeof(double) + 1);
    replay->grads_before = pg_zeroed(tape->parameters * sizeof(double) + 1);
    if (tape->conditional)
        replay->reached = pg_zeroed(tape->count * sizeof *replay->reached);
    if (!replay->values || !replay->adjoints || !replay->grads_before || (tape->conditional && !replay->reached) ||
        pthread_mutex_init(&replay->busy, NULL) != 0) {
        pg_free(replay->reached);
        pg_free(replay->values);
        pg_free(replay->adjoints);
        pg_free(replay->grads_before);
        pg_free(replay);
        return PG_NO_MEMORY;
    }
    for (uint32_t i = 0; i < tape->count; i++)
        if (tape->nodes[i].op == PG_TAPE_CONSTANT)
            replay->values[i] = tape->nodes[i].literal;
    join_list(replay);
    tape->owners++;
    cell->replay = replay;
    return PG_OK;
}

void pg_replay_cell_free(void *cell)
{
    pg_replay *replay = ((pg_replay_cell *)cell)->replay;
    pg_free(cell);
    if (!replay)
        return;
    pg_tape *tape = replay->tape;
    leave_list(replay);
    free_workspaces(replay);
    pthread_mutex_destroy(&replay->busy);
    pg_program_free(replay->program);
    pg_free(replay->reached);
    pg_free(replay->values);
    pg_free(replay->adjoints);
    pg_free(replay->grads_before);
    pg_free(replay->packed);
    pg_free(replay->parts);
    pg_free(replay);
    pg_tape_drop(tape);
}

const char *pg_replay_lanes(void)
{
    return pg_lanes_chosen()->name;
}

/* --- one sample --- */

static size_t sample_at(const pg_batch *batch, size_t i)
{
    return batch->order ? batch->order[i] : i;
}

static double read_column(const pg_column *column, size_t sample)
{
    return column->data[(ptrdiff_t)sample * column->step];
}

static void write_single(const pg_replay *replay, const pg_batch *batch)
{
    const pg_tape *tape = replay->tape;
    for (uint32_t i = 0; i < tape->output_count; i++) {
        const double y = replay->values[tape->outputs[i]];
        if (batch->outputs)
            batch->outputs[i] = y;
        if (batch->sums)
            batch->sums[i] = y / batch->divisor;
    }
}

/* Run operations of the tape backward, all of them or those at these places. */
static void run_scalar_backward(const pg_replay *replay, const int32_t *places, size_t count)
{
    if (replay->reached)
        pg_scalar_backward_chosen(replay->tape, places, count, replay->values, replay->adjoints, replay->reached);
    else
        pg_scalar_backward(replay->tape, places, count, replay->values, replay->adjoints);
}

static void run_single_backward(pg_replay *replay, const pg_batch *batch, size_t sample)
{
    const pg_tape *tape = replay->tape;
    double *adjoint = replay->adjoints;
    for (uint32_t i = 0; i < tape->output_count; i++)
        adjoint[tape->outputs[i]] += read_column(&batch->seeds[i], sample);
    run_scalar_backward(replay, NULL, 0);
    for (uint32_t i = 0; i < tape->inputs; i++) {
        if (batch->input_grads && batch->input_grads[i].data)
            *batch->input_grads[i].data = adjoint[i];
        adjoint[i] = 0.0;
    }
    for (uint32_t i = tape->inputs + tape->parameters; i < pg_tape_operations(tape); i++)
        adjoint[i] = 0.0; /* constants */
}

static pg_status run_single(pg_replay *replay, pg_batch *batch)
{
    const pg_tape *tape = replay->tape;
    const size_t sample = sample_at(batch, 0);
    double *v = replay->values;
    for (uint32_t i = 0; i < tape->inputs; i++)
        v[i] = read_column(&batch->columns[i], sample);
    pg_scalar_forward(tape, NULL, 0, v);
    batch->bad_node = tape->takes ? pg_scalar_bad_index(tape, NULL, 0, v) : -1;
    if (batch->bad_node >= 0) {
        batch->bad_sample = sample;
        return PG_BAD_INDEX;
    }
    write_single(replay, batch);
    if (batch->seeds)
        run_single_backward(replay, batch, sample);
    return PG_OK;
}

/* --- a block --- */

/* The bytes of n numbers. The asm hides n from the compiler, which copies with slow string instructions if it knows
 * that n is small. */
static inline size_t bytes_of(size_t n)
{
    __asm__("" : "+r"(n));
    return n * sizeof(double);
}

static void copy_lanes(double *to, const double *from, size_t n)
{
    memcpy(to, from, bytes_of(n));
}

static void clear_lanes(double *lanes, size_t n)
{
    memset(lanes, 0, bytes_of(n));
}

/* Fetch into the cache the memory that a later block will read or write. An invalid address does no harm. */
static void prefetch(const double *next, size_t n)
{
    for (size_t l = 0; l < n; l += 8)
        __builtin_prefetch(next + l);
}

typedef struct {
    pg_replay *replay;
    pg_batch *batch;
    size_t chunk; /* samples of a chunk */
    bool wide;    /* there are wide blocks */
    atomic_int failed;
} job;

static void read_inputs(const job *j, double *x, size_t begin, size_t n)
{
    const size_t stride = j->replay->stride;
    for (uint32_t i = 0; i < j->replay->tape->inputs; i++, x += stride) {
        const ptrdiff_t step = j->batch->columns[i].step;
        const double *from = j->batch->columns[i].data;
        if (j->batch->order) {
            for (size_t l = 0; l < n; l++)
                x[l] = from[(ptrdiff_t)j->batch->order[begin + l] * step];
            continue;
        }
        from += (ptrdiff_t)begin * step;
        if (step == 1) {
            prefetch(from + AHEAD * n, n);
            copy_lanes(x, from, n);
        } else
            for (size_t l = 0; l < n; l++, from += step)
                x[l] = *from;
    }
}

/* Does every index of a block choose a value? The first that does not is noted in the batch, by the first thread that
 * finds one. */
static bool are_indices_good(job *j, const double *x, size_t begin, size_t n)
{
    const pg_program *program = j->replay->program;
    for (size_t k = 0; program->take_count > 0 && k < program->op_count; k++) {
        const pg_lane_op *op = &program->ops[k];
        if (op->op != PG_TAKE && op->op != PG_LANES_TAKE_PACKED)
            continue;
        const bool packed = op->op == PG_LANES_TAKE_PACKED;
        const int32_t slot = packed ? op->a : program->lists[op->list];
        const uint32_t values = op->count - !packed;
        for (size_t l = 0; l < n; l++)
            if (!pg_is_index(x[(size_t)slot * j->replay->stride + l], values)) {
                if (!atomic_exchange(&j->failed, 1)) {
                    j->batch->bad_node = (int32_t)op->node;
                    j->batch->bad_sample = sample_at(j->batch, begin + l);
                }
                return false;
            }
    }
    return true;
}

/* Add the numbers of a slot to eight accumulators: lane l to accumulator l % 8. */
static void accumulate(double *accumulators, const double *lanes, size_t n)
{
    for (; n >= 8; n -= 8, lanes += 8)
        for (size_t k = 0; k < 8; k++)
            accumulators[k] += lanes[k];
    for (size_t k = 0; k < n; k++)
        accumulators[k] += lanes[k];
}

static void add_number(double *lanes, double number, size_t n)
{
    for (size_t l = 0; l < n; l++)
        lanes[l] += number;
}

/* Write the numbers of a slot, for the samples from `begin` on, to their target. */
static void write_lanes(pg_target to, size_t begin, const double *lanes, size_t n)
{
    double *at = to.data + (ptrdiff_t)begin * to.step;
    if (to.step == 1) {
        prefetch(at + AHEAD * n, n);
        copy_lanes(at, lanes, n);
    } else
        for (size_t l = 0; l < n; l++, at += to.step)
            *at = lanes[l];
}

/* Write the outputs of a block, and add them to their accumulators, `sums`. */
static void write_outputs(const job *j, const double *x, double *sums, size_t begin, size_t n)
{
    const uint32_t count = j->replay->tape->output_count;
    for (uint32_t i = 0; i < count; i++) {
        const double *y = x + (size_t)j->replay->program->outputs[i] * j->replay->stride;
        if (j->batch->outputs)
            write_lanes((pg_target){j->batch->outputs + i, count}, begin, y, n);
        if (j->batch->sums)
            accumulate(sums + 8 * i, y, n);
    }
}

static void write_seeds(const job *j, double *dx, size_t begin, size_t n)
{
    for (uint32_t i = 0; i < j->replay->tape->output_count; i++) {
        double *g = dx + (size_t)j->replay->program->outputs[i] * j->replay->stride;
        const pg_column column = j->batch->seeds[i];
        if (column.step == 0)
            add_number(g, *column.data, n);
        else
            for (size_t l = 0; l < n; l++)
                g[l] += read_column(&column, sample_at(j->batch, begin + l));
    }
}

/* Add the adjoints of splats to their accumulators, and set the adjoints to 0. A constant needs no adjoint. */
static void collect_splats(const pg_replay *replay, double *dx, double *accumulators, size_t n, size_t width)
{
    const pg_program *program = replay->program;
    double *g = dx + replay->tape->inputs * replay->stride;
    for (size_t k = program->first_splat; k < program->packed_count; k++, g += replay->stride) {
        if (program->tape->nodes[program->packed[k]].op == PG_TAPE_CONSTANT)
            continue;
        accumulate(accumulators + 8 * k, g, n);
        clear_lanes(g, width);
    }
}

/* Not inlined: so the way of a program without conditional operations has all registers. */
PG_NOINLINE void run_branches(const pg_replay *replay, pg_workspace *space, size_t n, int32_t unwanted)
{
    pg_branches_backward(&(pg_branching){replay->program, replay->lanes, replay->packed, replay->stride, space->x,
                                         space->dx, space->accumulators, space->branches, n, unwanted});
}

/* If the caller does not want the gradients of inputs, the inputs' adjoints hold leftovers. */
static void run_backward(const job *j, pg_workspace *space, size_t begin, size_t n)
{
    const pg_replay *replay = j->replay;
    const pg_lanes *lanes = replay->lanes;
    const uint32_t inputs = replay->tape->inputs;
    const bool wide = n == PG_WIDE;
    const pg_target *input_grads = j->batch->input_grads;
    if (input_grads)
        clear_lanes(space->dx, inputs * replay->stride);
    write_seeds(j, space->dx, begin, n);
    const int32_t unwanted = input_grads ? 0 : (int32_t)inputs;
    if (replay->reached)
        run_branches(replay, space, n, unwanted);
    else
        (wide ? lanes->backward_wide : lanes->backward_narrow)(replay->program, space->x, space->dx, replay->packed,
                                                               space->accumulators, replay->stride, (int)n, unwanted);
    for (uint32_t i = 0; input_grads && i < inputs; i++)
        if (input_grads[i].data)
            write_lanes(input_grads[i], begin, space->dx + i * replay->stride, n);
    collect_splats(replay, space->dx, space->accumulators, n, wide ? PG_WIDE : PG_NARROW);
}

static bool run_block(job *j, pg_workspace *space, size_t begin, size_t n)
{
    pg_replay *replay = j->replay;
    const pg_lanes *lanes = replay->lanes;
    const bool wide = n == PG_WIDE;
    double *sums = space->accumulators + 8 * replay->program->packed_count;
    read_inputs(j, space->x, begin, n);
    (wide ? lanes->forward_wide : lanes->forward_narrow)(replay->program, space->x, replay->packed, replay->stride,
                                                         (int)n);
    if (!are_indices_good(j, space->x, begin, n))
        return false;
    write_outputs(j, space->x, sums, begin, n);
    if (j->batch->seeds)
        run_backward(j, space, begin, n);
    return true;
}

/* --- a chunk --- */

static void fill_splats(const pg_replay *replay, double *x)
{
    const pg_program *program = replay->program;
    double *slot = x + (size_t)replay->tape->inputs * replay->stride;
    for (size_t k = program->first_splat; k < program->packed_count; k++)
        for (size_t l = 0; l < replay->stride; l++)
            *slot++ = replay->packed[k];
}

static void run_chunk(void *context, size_t index, unsigned worker)
{
    job *j = context;
    pg_replay *replay = j->replay;
    pg_workspace *space = &replay->workspaces[worker];
    const size_t numbers = replay->program->packed_count + replay->tape->output_count;
    size_t at = index * j->chunk;
    const size_t end = at + j->chunk < j->batch->samples ? at + j->chunk : j->batch->samples;
    fill_splats(replay, space->x);
    while (at < end && !atomic_load_explicit(&j->failed, memory_order_relaxed)) {
        const size_t left = end - at;
        const size_t n = j->wide && left >= PG_WIDE ? PG_WIDE : left < PG_NARROW ? left : PG_NARROW;
        if (!run_block(j, space, at, n))
            break;
        at += n;
    }
    replay->lanes->reduce(space->accumulators, replay->parts + index * numbers, numbers);
}

/* --- a batch --- */

static void pack_numbers(pg_replay *replay)
{
    const pg_program *program = replay->program;
    for (const pg_packed_span *span = program->spans, *end = span + program->span_count; span < end; span++)
        memcpy(replay->packed + span->packed, replay->values + span->node, span->count * sizeof(double));
}

/* Add the parts of all chunks to the part of the first, from the first chunk to the last. */
static void add_chunks(const pg_replay *replay, size_t chunks)
{
    const size_t numbers = replay->program->packed_count + replay->tape->output_count;
    double *total = replay->parts;
    for (const double *part = total + numbers, *end = total + chunks * numbers; part < end; part += numbers)
        for (size_t k = 0; k < numbers; k++)
            total[k] += part[k];
}

/* Note the nodes whose packed numbers some lane has reached. */
static void collect_reached(pg_replay *replay)
{
    const pg_program *program = replay->program;
    for (unsigned i = 0; i < replay->workers; i++) {
        const bool *packed = replay->workspaces[i].branches.packed;
        for (size_t k = 0; k < program->packed_count; k++)
            replay->reached[program->packed[k]] |= packed[k];
    }
}

/* No packed number has been reached yet. (The run before may have failed half-way.) */
static void forget_reached(pg_replay *replay)
{
    for (unsigned i = 0; i < replay->workers; i++)
        memset(replay->workspaces[i].branches.packed, 0, replay->program->packed_count * sizeof(bool));
}

/* Add the gradients of packed numbers to the adjoints of their nodes, and pass these on to the parameters. */
static void add_gradients(pg_replay *replay)
{
    const pg_tape *tape = replay->tape;
    const pg_program *program = replay->program;
    double *adjoints = replay->adjoints;
    for (const pg_packed_span *span = program->spans, *end = span + program->span_count; span < end; span++) {
        const double *part = replay->parts + span->packed;
        double *adjoint = adjoints + span->node;
        for (uint32_t k = 0; k < span->count; k++)
            adjoint[k] += part[k];
    }
    if (replay->reached)
        collect_reached(replay);
    run_scalar_backward(replay, program->uniform, program->uniform_count);
    memset(adjoints + tape->inputs + tape->parameters, 0, tape->constants * sizeof *adjoints);
}

static pg_status run_batch(pg_replay *replay, pg_batch *batch)
{
    if (!have_program(replay))
        return PG_NO_MEMORY;
    const size_t bytes = (size_t)replay->program->slots * PG_WIDE * 2 * sizeof(double);
    job j = {.replay = replay, .batch = batch, .wide = batch->samples >= PG_WIDE && bytes <= CACHE_BYTES};
    j.chunk = (batch->samples + MOST_CHUNKS - 1) / MOST_CHUNKS;
    j.chunk = j.chunk < CHUNK ? CHUNK : (j.chunk + PG_WIDE - 1) / PG_WIDE * PG_WIDE;
    const size_t chunks = (batch->samples + j.chunk - 1) / j.chunk;
    const unsigned workers = chunks < batch->threads ? (unsigned)chunks : batch->threads ? batch->threads : 1;
    if (!have_workspaces(replay, j.wide ? PG_WIDE : PG_NARROW, workers) || !have_parts(replay, chunks))
        return PG_NO_MEMORY;
    const pg_program *program = replay->program;
    pg_scalar_forward(replay->tape, program->uniform, program->uniform_count, replay->values);
    batch->bad_node = pg_scalar_bad_index(replay->tape, program->uniform, program->uniform_count, replay->values);
    if (batch->bad_node >= 0)
        return PG_BAD_INDEX;
    pack_numbers(replay);
    if (replay->reached)
        forget_reached(replay);
    pg_pool_run(workers, chunks, run_chunk, &j);
    if (j.failed)
        return PG_BAD_INDEX;
    add_chunks(replay, chunks);
    for (uint32_t i = 0; batch->sums && i < replay->tape->output_count; i++)
        batch->sums[i] = replay->parts[replay->program->packed_count + i] / batch->divisor;
    if (batch->seeds)
        add_gradients(replay);
    return PG_OK;
}

static pg_status run_samples(pg_replay *replay, pg_batch *batch)
{
    return batch->samples == 1 ? run_single(replay, batch) : run_batch(replay, batch);
}

pg_status pg_replay_core(pg_replay *replay, pg_batch *batch)
{
    if (!pg_is_checked(batch))
        return run_samples(replay, batch);
    const pg_ready ready = {replay->tape, replay->values, pg_gradients_of(replay)};
    return pg_run_checked(ready, run_samples, replay, batch);
}

/* --- with the arena's parameters --- */

static void load(pg_replay *replay)
{
    const pg_tape *tape = replay->tape;
    pg_arena *arena = pg_lock();
    double *data = pg_parameters_of(replay), *grads = pg_gradients_of(replay);
    for (uint32_t i = 0; i < tape->parameters; i++) {
        const pg_node *node = pg_node_at(arena, tape->ids[i]);
        data[i] = node->data;
        grads[i] = replay->grads_before[i] = node->grad;
    }
    pg_unlock(arena);
}

/* If another thread has changed a gradient during the run, this run's part is added to the changed gradient. */
static void store_gradients(pg_replay *replay)
{
    const pg_tape *tape = replay->tape;
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < tape->parameters; i++) {
        pg_node *node = pg_node_at(arena, tape->ids[i]);
        const double before = replay->grads_before[i], after = pg_gradients_of(replay)[i];
        node->grad = node->grad == before ? after : node->grad + (after - before);
    }
    pg_unlock(arena);
}

pg_status pg_replay_run_alone(pg_replay *replay, pg_batch *batch)
{
    if (replay->tape->parameters)
        load(replay);
    const pg_status status = pg_replay_core(replay, batch);
    if (status == PG_OK && batch->seeds && replay->tape->parameters && !batch->inputs_only)
        store_gradients(replay);
    return status;
}

static void leave(pg_replay *replay)
{
    atomic_store(&replay->running, false);
    pthread_mutex_unlock(&replay->busy);
}

static void give_up(void *replay)
{
    abandon(replay);
    leave(replay);
}

void pg_replay_hold(pg_replay *replay, void (*work)(pg_replay *replay, void *context), void *context)
{
    pthread_mutex_lock(&replay->busy);
    atomic_store(&replay->running, true);
    pthread_cleanup_push(give_up, replay);
    work(replay, context);
    pthread_cleanup_pop(0);
    leave(replay);
}

typedef struct {
    pg_batch *batch;
    pg_status status;
} one_run;

static void run(pg_replay *replay, void *context)
{
    one_run *of = context;
    of->status = pg_replay_run_alone(replay, of->batch);
}

pg_status pg_replay_run(pg_replay *replay, pg_batch *batch)
{
    one_run of = {.batch = batch};
    pg_replay_hold(replay, run, &of);
    return of.status;
}
