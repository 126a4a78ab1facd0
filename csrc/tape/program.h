/* program.h: a tape made ready for batches: many samples side by side, in lanes.
 *
 * What depends on an input *varies* and is computed in lanes; the rest is *uniform* and is computed once a run, one
 * number each (scalar.h). A lane slot is `stride` doubles, one a sample of the block at hand. Where lanes meet uniform
 * numbers there are two ways:
 *
 *     packed    the numbers of a layer's weights and biases, or of a table to take from, side by side in one array
 *     splats    any other uniform operand: a lane slot with the same number in all lanes
 *
 * Both are filled once a run, and both get their adjoints by the `accumulators`: eight a packed number, for the lanes 0,
 * 8, 16, ...; 1, 9, 17, ...; and so on. So the order of every sum is fixed by the number of samples, whatever the
 * instruction set and the number of threads.
 *
 * A *layer* is all dots of uniform numbers with the same varying ones: out[i] = bias[i] + w[i][0] * x[0] + ...
 */
#ifndef PG_PROGRAM_H
#define PG_PROGRAM_H

#include "tape/tape.h"

#define PG_WIDE 32  /* lanes of a full block */
#define PG_NARROW 8 /* of a small one, and accumulators a packed number */

/* What lanes have beside the ops. */
enum {
    PG_LANES_LAYER = PG_OP_COUNT, /* `rows` slots from `out` on; the list: x; packed: each row's weights, then its bias,
                                   * unless there is none: `a` is -1 */
    PG_LANES_TAKE_PACKED,         /* a take from `count` packed numbers; `a` is the index */
};

typedef struct {
    double literal;
    uint16_t op;
    uint8_t fixed;    /* as a tape's node's */
    uint8_t in_place; /* `out` is `a`: of a row of ops.def with one operand, whose number nothing needs any more */
    uint32_t out; /* lane slot */
    int32_t a;    /* lane slots, or -1 */
    int32_t b;
    uint32_t list; /* of lane slots, in `lists` of the program */
    uint32_t count;
    uint32_t rows; /* of a layer, or how often a row of ops.def is done: for the slots that follow too */
    uint32_t packed;
    uint32_t node; /* the tape's */
} pg_lane_op;

/* Packed numbers that stand side by side on the tape too. */
typedef struct {
    int32_t node;
    uint32_t packed;
    uint32_t count;
} pg_packed_span;

/* From a row of a layer to the next, in packed numbers. */
static inline size_t pg_pitch_of(const pg_lane_op *op)
{
    return op->count + (op->a >= 0);
}

typedef struct {
    const pg_tape *tape;
    int32_t *uniform; /* the tape's operations that do not vary, in order */
    size_t uniform_count;
    pg_lane_op *ops;
    size_t op_count;
    size_t take_count; /* how many of them take */
    int32_t *lists;
    size_t list_size;
    int32_t *packed; /* the tape's node of each packed number */
    size_t packed_count;
    pg_packed_span *spans; /* the same */
    size_t span_count;
    uint32_t first_splat; /* packed numbers [first_splat, packed_count) belong to lane slots [inputs, inputs + ...) */
    uint32_t slots;
    int32_t *outputs; /* lane slots */
} pg_program;

pg_program *pg_program_new(const pg_tape *tape, bool hoist); /* NULL: out of memory */
void pg_program_free(pg_program *program);

#endif
