/* tape.h: the tape: a graph copied out of the arena, to be run again and again with other numbers.
 *
 * A tape is a list of nodes. The position of a node in the list is its *place*; a node names its operands by their
 * places. Of the arena, a tape knows only the ids of its parameters. A node is
 *
 *     an input      one number of a sample; the caller gives it
 *     a parameter   a leaf of the arena; every run reads its number there and adds to its gradient there
 *     a constant
 *     an operation  a row of ops.def, or one of the structural ops (ops.h)
 *
 * Inputs, parameters and constants are the tape's *leaves*.
 *
 * Invariants:
 *   T1  inputs come first, then parameters, then constants, then operations; inputs and parameters stay, even if no
 *       output depends on them;
 *   T2  an operand's place is lower than its operation's. So one loop up the list is the forward pass, and one loop
 *       down the list is the backward pass;
 *   T3  an output depends on every operation and every constant (once the function that made or optimized the tape
 *       has returned);
 *   T4  the nodes, lists and outputs do not change after pg_tape_optimize(): any number of replays may share a tape.
 *
 * Operations stand in creation order. So a run of one sample adds up gradients in the same sequence as the arena's
 * sweep and gets the same bits, unless the passes have changed that sequence (passes.c).
 */
#ifndef PG_TAPE_H
#define PG_TAPE_H

#include <stdbool.h>

#include "ops.h"
#include "pygrad.h"

/* The kinds of node that are no operation. */
enum { PG_TAPE_INPUT = PG_OP_COUNT, PG_TAPE_PARAMETER, PG_TAPE_CONSTANT };

/* The bits of an operation's `fixed`: what the backward pass leaves out. */
enum {
    PG_FIXED_A = 1, /* of a row of ops.def: `a` is a constant and needs no adjoint */
    PG_FIXED_B = 2, /* of a row of ops.def: so is `b` */
    PG_INERT = 4,   /* no output passes an adjoint on to the operation. So its adjoint stays 0, and its backward step
                     * must not run: 0 times an infinite slope is nan */
    PG_CONDITIONAL = 8, /* adjoints come to the operation by values of takes alone, or by conditional operations: so
                         * it depends on the sample whether one is chosen. If none is, its adjoint is 0, and its
                         * backward step must not run, as engine/sweep.c says */
};

/* The operands of a row of ops.def are `a` and `b`; the operand of a power is `a`. The other structural ops have `a`
 * (-1: none) and then the `count` entries of the tape's `lists` from `list` on:
 *
 *     sum       a: the start                    list: the terms
 *     dot       a: the bias                     list: w0, x0, w1, x1, ...
 *     take      a: -1                           list: the index, then the values
 *     declared  a: the value, y                 list: x0, d y / d x0, x1, d y / d x1, ...
 *
 * `a` of an input or a parameter is its number among the inputs or the parameters. `literal` is the value of a constant
 * or the exponent of a power. */
typedef struct {
    double literal;
    int32_t a;
    union {
        int32_t b;
        uint32_t list;
    };
    uint32_t count;
    uint16_t op;
    uint8_t fixed; /* PG_FIXED_A, PG_FIXED_B, PG_INERT, PG_CONDITIONAL */
} pg_tape_node;

struct pg_tape {
    _Atomic uint32_t owners; /* its cell, and its replays */
    pg_tape_node *nodes;
    uint32_t count;
    uint32_t inputs; /* how many inputs: nodes[0 .. inputs) */
    uint32_t parameters; /* how many: the nodes after the inputs */
    uint32_t constants; /* how many: the nodes after the parameters */
    int32_t *lists;
    size_t list_size;
    size_t list_capacity;
    bool folds_anomaly; /* the value of a folded operation is not finite: detect_anomaly() would have found it */
    uint32_t takes; /* how many operations are takes; the index of a take may be out of range */
    uint32_t conditional; /* how many operations are PG_CONDITIONAL */
    int32_t *outputs; /* the places of the outputs */
    uint32_t output_count;
    pg_id *ids; /* the parameters' nodes in the arena; the tape holds a reference to each */
    pg_tape *next; /* in the arena's list of tapes; check.c counts the references that they hold */
    pg_tape **link; /* what points to this tape there: the `next` of the one before, or the arena's `tapes` */
};

/* The place of the first operation. */
static inline uint32_t pg_tape_operations(const pg_tape *tape)
{
    return tape->inputs + tape->parameters + tape->constants;
}

static inline bool pg_has_list(uint32_t op)
{
    return op >= PG_SUM && op < PG_OP_COUNT;
}

/* Give up one owner's share of a tape; the last one frees it. NULL is allowed. */
void pg_tape_drop(pg_tape *tape);

/* Append room for `count` entries to the lists; return where it begins, or SIZE_MAX: out of memory. */
size_t pg_tape_room(pg_tape *tape, size_t count);
/* Drop operations and constants that no output depends on (T3), and move leaves to the front (T1). Operations stay in
 * sequence. False: out of memory, nothing was changed. */
bool pg_tape_compact(pg_tape *tape);
/* Make the arena's leaves `ids` the tape's parameters, and hold a reference to each. PG_NO_NODE, PG_NO_MEMORY: nothing
 * was changed. */
pg_status pg_tape_set_parameters(pg_tape *tape, const pg_id *ids);
/* How many references to this leaf do the tapes hold of which it is a parameter? `tapes` is the arena's list. */
size_t pg_tape_references(const pg_tape *tapes, pg_id id);
/* Call `visit` for every operand of a node; `visit` may change the operand. */
typedef void pg_operand_fn(int32_t *operand, void *context);
void pg_tape_each_operand(pg_tape *tape, pg_tape_node *node, pg_operand_fn *visit, void *context);
/* Call `visit` for every operand that the node passes its adjoint on to. */
void pg_tape_each_receiver(pg_tape *tape, pg_tape_node *node, pg_operand_fn *visit, void *context);

#endif
