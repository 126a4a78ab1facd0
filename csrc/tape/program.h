/* program.h: a tape made ready for batches: many samples run side by side, in *lanes*.
 *
 * A node that depends on an input *varies*: the lanes compute it, one number for each sample. Every other node is
 * *uniform*: it is one number, computed once a run (scalar.h). A node that varies has a *lane slot*: `stride` doubles,
 * one for each sample of the block that runs (replay.c). Lanes read a uniform number in one of two ways:
 *
 *     packed    weights and biases of a layer, and values that a take chooses from: side by side in the array `packed`
 *     splat     any other uniform operand: in a lane slot of its own, the same number in all lanes
 *
 * The array `packed` also has the numbers of the splats, behind the others; it is filled once a run. Each number in it
 * gets its adjoint from eight *accumulators*: one for the lanes 0, 8, 16, ..., one for the lanes 1, 9, 17, ..., and so
 * on. So the sequence in which a sum is added up depends on the program and the number of samples, but not on the
 * instruction set or the number of threads.
 *
 * A *layer* is all dots of uniform numbers with the same varying numbers: out[i] = bias[i] + w[i][0] * x[0] + ... Each
 * of these dots is a *neuron*; the code calls neurons `rows`.
 */
#ifndef PG_PROGRAM_H
#define PG_PROGRAM_H

#include "tape/tape.h"

#define PG_WIDE 32  /* lanes of a wide block */
#define PG_NARROW 8 /* lanes of a narrow block; and accumulators of a packed number */

/* Operations on lanes that a tape does not have. */
enum {
    PG_LANES_LAYER = PG_OP_COUNT, /* `rows` neurons, whose results go to the slots from `out` on. The list: the slots of
                                   * x. From `packed` on: the weights and the bias of each neuron; if `a` is -1, there
                                   * are no biases */
    PG_LANES_TAKE_PACKED, /* a take from `count` packed numbers; `a` is the slot of the index */
};

typedef struct {
    double literal;
    uint16_t op;
    uint8_t fixed; /* as in pg_tape_node */
    uint8_t in_place; /* `out` is `a`: a unary row of ops.def writes over its operand, which nothing needs any more */
    uint32_t out; /* lane slot */
    int32_t a; /* lane slots, or -1 */
    int32_t b;
    uint32_t list; /* of lane slots, in `lists` of the program */
    uint32_t count;
    uint32_t rows; /* neurons of a layer; else how often the op runs, each time one slot further on */
    uint32_t packed;
    uint32_t node; /* place on the tape */
} pg_lane_op;

/* Packed numbers whose nodes are neighbours on the tape: they are copied at once. */
typedef struct {
    int32_t node;
    uint32_t packed;
    uint32_t count;
} pg_packed_span;

/* How many packed numbers a neuron of a layer has. */
static inline size_t pg_pitch_of(const pg_lane_op *op)
{
    return op->count + (op->a >= 0);
}

typedef struct {
    const pg_tape *tape;
    int32_t *uniform; /* the places of the uniform operations, ascending */
    size_t uniform_count;
    pg_lane_op *ops;
    size_t op_count;
    size_t take_count; /* how many of them are takes */
    int32_t *lists;
    size_t list_size;
    int32_t *packed; /* the place on the tape of each packed number */
    size_t packed_count;
    pg_packed_span *spans; /* the packed numbers again, neighbours together */
    size_t span_count;
    uint32_t first_splat; /* packed numbers from here on are splats: in the lane slots `inputs`, `inputs` + 1, ... */
    uint32_t slots; /* how many lane slots there are */
    int32_t *outputs; /* lane slots */
} pg_program;

/* Make the program of a tape. Without `hoist` every operation counts as one that varies. NULL: out of memory. */
pg_program *pg_program_new(const pg_tape *tape, bool hoist);
void pg_program_free(pg_program *program);

#endif
