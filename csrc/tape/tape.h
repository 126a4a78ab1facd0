/* tape.h: a graph written down once, to be run again and again with other numbers.
 *
 * A tape is a list of nodes, each with its operands' places in that list, and it knows nothing of the arena but the
 * ids of its parameters. A node is
 *
 *     an input      one number of a sample; the caller gives it
 *     a parameter   a leaf of the arena, read anew for every run; its gradient is added up there
 *     a constant
 *     an operation  a row of ops.def, or one of the structural ops
 *
 * Invariants:
 *   T1  inputs come first, then parameters, then constants, then operations; all inputs are there, used or not;
 *   T2  an operand's place is lower than its operation's, so one loop up is the forward pass, one down the backward
 *       pass;
 *   T3  operations and constants that no output depends on are not there (once pg_tape_optimize() or pg_tape_new()
 *       has returned);
 *   T4  what is on a tape never changes after pg_tape_optimize(): any number of replays may share it.
 *
 * The order of operations is the order in which the program made them. So a run of one sample adds up gradients in the
 * order of the arena's sweep, and gets its bits.
 */
#ifndef PG_TAPE_H
#define PG_TAPE_H

#include <stdbool.h>

#include "ops.h"
#include "pygrad.h"

/* What stands on a tape beside the ops. */
enum { PG_TAPE_INPUT = PG_OP_COUNT, PG_TAPE_PARAMETER, PG_TAPE_CONSTANT };

/* Of a node's `fixed`: no output passes an adjoint on to this operation, which therefore stays 0, and its backward step
 * is not run: 0 times an infinite slope is nan. */
enum { PG_INERT = 4 };

/* An operation has its operands in `a` and `b`, or `a` (-1: none) and then `count` entries of the tape's `lists` from
 * `list` on: terms of a sum; w0, x0, w1, x1, ... of a dot; index, values of a take; x0, d0, x1, d1, ... of a declared
 * op, whose value `a` is. `literal` is a constant's value or a power's exponent; `a` of an input or parameter is its
 * number among them. */
typedef struct {
    double literal;
    int32_t a;
    union {
        int32_t b;
        uint32_t list;
    };
    uint32_t count;
    uint16_t op;
    uint8_t fixed; /* bit 0: `a` is a constant, bit 1: `b` is, of a row of ops.def: it needs no adjoint; PG_INERT */
} pg_tape_node;

struct pg_tape {
    pg_tape_node *nodes;
    uint32_t count;
    uint32_t inputs;     /* nodes[0 .. inputs) */
    uint32_t parameters; /* the next so many */
    uint32_t constants;  /* and the next */
    int32_t *lists;
    size_t list_size;
    size_t list_capacity;
    uint32_t takes; /* how many operations have an index, which may be out of range */
    int32_t *outputs; /* their nodes */
    uint32_t output_count;
    pg_id *ids; /* the parameters' nodes in the arena; each holds a reference */
    pg_tape *next; /* of the arena's list, for check.c to count those references */
};

/* The first operation. */
static inline uint32_t pg_tape_operations(const pg_tape *tape)
{
    return tape->inputs + tape->parameters + tape->constants;
}

static inline bool pg_has_list(uint32_t op)
{
    return op >= PG_SUM && op < PG_OP_COUNT;
}

/* Append room for `count` entries to the lists; their place, or SIZE_MAX when memory is short. */
size_t pg_tape_room(pg_tape *tape, size_t count);
/* Drop what no output depends on, and put leaves in front (T1, T3). Keeps the order. False: no memory, no change. */
bool pg_tape_compact(pg_tape *tape);
/* Make the leaves `ids` its parameters, and take a reference to each. PG_NO_NODE, PG_NO_MEMORY: nothing was changed. */
pg_status pg_tape_set_parameters(pg_tape *tape, const pg_id *ids);
/* How many of the arena's tapes, a list, have this leaf as a parameter, each with a reference to it? */
size_t pg_tape_references(const pg_tape *tapes, pg_id id);
/* Call `visit` for every operand of a node. */
typedef void pg_operand_fn(int32_t *operand, void *context);
void pg_tape_each_operand(pg_tape *tape, pg_tape_node *node, pg_operand_fn *visit, void *context);
/* The same, of those that it passes its adjoint on to. */
void pg_tape_each_receiver(pg_tape *tape, pg_tape_node *node, pg_operand_fn *visit, void *context);

#endif
