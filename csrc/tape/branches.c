/* branches.c: the backward pass of a block in which takes leave operations out.
 *
 * Each lane slot has a mask: bit l says that lane l reaches the slot's node. A take sets, in the slot of the value that
 * a lane chooses, the bit of this lane; a conditional operation passes its mask on. Only masks of conditional
 * operations are read.
 *
 * Most operations run in the lanes' own loops, many at once. A conditional operation that some lanes do not reach runs
 * there alone: before it the adjoints that it adds to are saved, and after it those of the other lanes are put back. In
 * these lanes its own adjoint is 0. So nothing comes of them, whatever the slopes are. */
#include "tape/branches.h"

#include <string.h>

#include "mem.h"

typedef pg_branching block;

/* --- memory --- */

bool pg_branches_memory(const pg_program *program, size_t stride, pg_branches *branches)
{
    size_t most = 0;
    for (size_t k = 0; k < program->op_count; k++) {
        const pg_lane_op *op = &program->ops[k];
        const size_t slots = op->rows > op->count ? op->rows : op->count;
        most = slots > most ? slots : most;
    }
    branches->masks = pg_zeroed(program->slots * sizeof *branches->masks + 1);
    branches->packed = pg_zeroed(program->packed_count * sizeof *branches->packed + 1);
    branches->saved = pg_zeroed((2 * most + 1) * stride * sizeof *branches->saved);
    return branches->masks && branches->packed && branches->saved;
}

void pg_branches_free(pg_branches *branches)
{
    pg_free(branches->masks);
    pg_free(branches->packed);
    pg_free(branches->saved);
}

/* --- the receivers of an operation --- */

/* Call `visit` for the slot of each operand that gets an adjoint from an operation, in all its rows. */
typedef void slot_fn(const block *b, int32_t slot, void *context);
static void each_receiver(const block *b, const pg_lane_op *op, slot_fn *visit, void *context)
{
    const int32_t *list = b->program->lists + op->list;
    if (op->op == PG_LANES_LAYER) {
        for (uint32_t i = 0; i < op->count; i++)
            visit(b, list[i], context);
        return;
    }
    const pg_receivers to = pg_receivers_of_op(op->op);
    if (pg_has_list(op->op)) {
        if (to.front && op->a >= 0)
            visit(b, op->a, context);
        for (uint32_t i = to.from; i < op->count; i += to.step)
            visit(b, list[i], context);
        return;
    }
    for (uint32_t row = 0; to.front && row < op->rows; row++) {
        visit(b, op->a + (int32_t)row, context);
        if (pg_op_arity(op->op) == 2)
            visit(b, op->b + (int32_t)row, context);
    }
}

/* --- masks --- */

static void reach(const block *b, int32_t slot, void *mask)
{
    b->memory.masks[slot] |= *(const uint32_t *)mask;
}

/* Pass a mask on: to the slots that an operation adds to, and to the packed numbers of a layer. */
static void pass_on(const block *b, const pg_lane_op *op, uint32_t mask)
{
    each_receiver(b, op, reach, &mask);
    if (op->op == PG_LANES_LAYER && mask)
        memset(b->memory.packed + op->packed, 1, op->rows * pg_pitch_of(op));
}

static void pass_on_to_chosen(const block *b, const pg_lane_op *op, uint32_t mask)
{
    const pg_branches *branches = &b->memory;
    const bool is_packed = op->op == PG_LANES_TAKE_PACKED;
    const int32_t *list = b->program->lists + op->list;
    const double *index = b->x + (size_t)(is_packed ? op->a : list[0]) * b->stride;
    for (size_t l = 0; l < b->n; l++) {
        if (!(mask >> l & 1))
            continue;
        if (is_packed)
            branches->packed[op->packed + pg_place(index[l])] = true; /* every index of the block is good */
        else
            branches->masks[list[1 + pg_place(index[l])]] |= UINT32_C(1) << l;
    }
}

/* --- one operation that some lanes do not reach --- */

/* Numbers of slots, saved one after the other. */
typedef struct {
    double *numbers; /* of all slots: adjoints, or data */
    double *saved;
    uint32_t mask;
} rescue;

static void save(const block *b, int32_t slot, void *context)
{
    rescue *r = context;
    memcpy(r->saved, r->numbers + (size_t)slot * b->stride, b->n * sizeof *r->saved);
    r->saved += b->stride;
}

static void put_back(const block *b, int32_t slot, void *context)
{
    rescue *r = context;
    double *at = r->numbers + (size_t)slot * b->stride;
    for (size_t l = 0; l < b->n; l++)
        at[l] = r->mask >> l & 1 ? at[l] : r->saved[l];
    r->saved += b->stride;
}

static void clear(const block *b, int32_t slot, void *context)
{
    const rescue *r = context;
    double *at = r->numbers + (size_t)slot * b->stride;
    for (size_t l = 0; l < b->n; l++)
        at[l] = r->mask >> l & 1 ? at[l] : 0.0;
}

/* Run operations in the lanes' own loops: those from `first` on. */
static void run(const block *b, const pg_lane_op *first, size_t count)
{
    pg_program some = *b->program;
    some.ops = (pg_lane_op *)first; /* nothing is changed */
    some.op_count = count;
    if (count > 0)
        (b->n == PG_WIDE ? b->lanes->backward_wide : b->lanes->backward_narrow)(
            &some, b->x, b->dx, b->packed, b->accumulators, b->stride, (int)b->n, b->unwanted);
}

/* Run an operation whose rows all have this mask. The weights of a layer get products of its inputs and adjoints: there
 * the inputs are 0 too in lanes that do not reach it. */
static void run_masked(const block *b, const pg_lane_op *op, uint32_t mask)
{
    double *const saved = b->memory.saved, *const behind = saved + op->count * b->stride;
    const bool is_layer = op->op == PG_LANES_LAYER;
    each_receiver(b, op, save, &(rescue){b->dx, saved, mask});
    if (is_layer) {
        each_receiver(b, op, save, &(rescue){b->x, behind, mask});
        each_receiver(b, op, clear, &(rescue){b->x, NULL, mask});
    }
    run(b, op, 1);
    each_receiver(b, op, put_back, &(rescue){b->dx, saved, mask});
    if (is_layer)
        each_receiver(b, op, put_back, &(rescue){b->x, behind, 0});
}

/* --- a block --- */

/* Do all rows of an operation have the mask of the first? */
static bool have_one_mask(const block *b, const pg_lane_op *op)
{
    const uint32_t *masks = b->memory.masks + op->out;
    bool same = true;
    for (uint32_t row = 1; row < op->rows; row++)
        same &= masks[row] == masks[0];
    return same;
}

/* One row of an operation, as an operation. */
static pg_lane_op row_of(const pg_lane_op *op, uint32_t row)
{
    pg_lane_op one = *op;
    one.rows = 1;
    one.out += row;
    if (op->op == PG_LANES_LAYER) {
        one.packed += row * (uint32_t)pg_pitch_of(op);
    } else {
        one.a += (int32_t)row;
        one.b += (int32_t)row;
    }
    return one;
}

/* Leave an operation out: no lane reaches it. Its adjoints are 0 but for leftovers in lanes that are not in use. */
static void leave_out(const block *b, const pg_lane_op *op)
{
    const size_t width = b->n == PG_WIDE ? PG_WIDE : PG_NARROW;
    for (uint32_t row = 0; row < op->rows; row++)
        memset(b->dx + (op->out + row) * b->stride, 0, width * sizeof(double));
}

/* Run a conditional operation that is not reached in all lanes by all its rows, and pass its masks on. */
static void run_conditional(const block *b, const pg_lane_op *op)
{
    const uint32_t rows = have_one_mask(b, op) ? 1 : op->rows;
    for (uint32_t row = 0; row < rows; row++) {
        const pg_lane_op one = rows == 1 ? *op : row_of(op, row);
        const uint32_t mask = b->memory.masks[one.out];
        if (mask)
            run_masked(b, &one, mask);
        else
            leave_out(b, &one);
        pass_on(b, &one, mask);
    }
}

void pg_branches_backward(const pg_branching *b)
{
    const pg_program *program = b->program;
    const uint32_t all = (uint32_t)((UINT64_C(1) << b->n) - 1); /* lanes in use */
    uint32_t *masks = b->memory.masks;
    size_t end = program->op_count; /* the operations from `end` on have run */
    memset(masks, 0, program->slots * sizeof *masks);
    for (size_t k = program->op_count; k-- > 0;) {
        const pg_lane_op *op = &program->ops[k];
        const bool is_conditional = op->fixed & PG_CONDITIONAL;
        if (op->fixed & PG_INERT)
            continue; /* a take that only a comparison reads chooses nothing that is reached */
        if (op->op == PG_TAKE || op->op == PG_LANES_TAKE_PACKED) {
            pass_on_to_chosen(b, op, is_conditional ? masks[op->out] : all);
        } else if (is_conditional && masks[op->out] == all && have_one_mask(b, op)) {
            pass_on(b, op, all);
        } else if (is_conditional) {
            run(b, op + 1, end - k - 1);
            run_conditional(b, op);
            end = k;
        }
    }
    run(b, program->ops, end);
    for (size_t k = program->first_splat; k < program->packed_count; k++)
        b->memory.packed[k] |= masks[program->tape->inputs + k - program->first_splat] != 0;
}
