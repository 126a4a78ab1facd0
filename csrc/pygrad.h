/* pygrad.h: everything that Python may call, and the single truth of it.
 *
 * The build file hands the text between the two markers to cffi as it stands, so it must be plain C declarations.
 *
 * An id names a node of the process's one arena (arena.h); 0 names none. Ids are signed and near 0 because Python
 * converts such integers fastest. A function that makes a node returns its id with one reference, the caller's, to
 * be given back by pg_release(); it returns 0, and has changed nothing, when memory is short or an operand is no
 * live node. Every function may be called from any thread, without the GIL.
 */
#ifndef PYGRAD_H
#define PYGRAD_H

#include <stddef.h>
#include <stdint.h>

/* cdef-begin */
typedef int32_t pg_id; /* above 0 an interior node, below 0 a leaf */
typedef struct pg_order pg_order;
typedef struct pg_tape pg_tape;
typedef struct pg_replay pg_replay;

typedef enum {
    PG_OK,
    PG_NO_MEMORY, /* nothing was changed */
    PG_CLOSURES,  /* Python closures are about: list the order with pg_order_new() and run it in pieces */
    PG_BUSY,      /* another order that is still running holds a node of this graph; nothing was changed */
    PG_IN_USE,    /* the node has consumers or operands already; nothing was changed */
    PG_NO_NODE,   /* the id is 0 */
    PG_NOT_REPLAYABLE, /* a node's backward step is Python's or has numbers in it; nothing was changed */
    PG_BAD_INDEX, /* a take's index is no whole number, or out of range; nothing was changed */
    PG_BAD_TAPE,  /* an image of a tape is not one that a tape can have; nothing was changed */
} pg_status;

/* --- the process --- */

/* Prepare the arena; call before anything else, from the thread that imports. PG_OK or PG_NO_MEMORY. */
pg_status pg_init(void);
/* The version and the digest of the sources that this binary was built from. */
const char *pg_version(void);
const char *pg_source_digest(void);
/* Where the arena is, for the binary of the native proxy (csrc/python) to work on. */
uintptr_t pg_arena_address(void);

/* --- the op table (ops.def): 0 <= op < pg_op_count() --- */

int pg_op_count(void);
const char *pg_op_name(int op);  /* "add", "relu", ...; what Python calls it */
const char *pg_op_label(int op); /* "+", "ReLU", ...; what a picture shows */
int pg_op_arity(int op);         /* 0 for an operand list of any length, and for leaves */
int pg_op_has_derivative(int op); /* 0 for a flat row: a sweep does not go on to its operands */
/* The operands, as pg_operands() orders them, that an op passes its gradient on to: number *first and every *step-th from
 * there on; *step 0: none. */
void pg_op_receivers(int op, int *first, int *step);
/* Evaluate a unary or binary row at (a, b): out[0] the result, out[1] d/da, out[2] d/db, which are 0 for a row without
 * derivative. For tests and tables. */
void pg_op_eval(int op, double a, double b, double *out);
/* The formula of a row as C: `which` is 0 for the result, 1 for d/da, 2 for d/db, of doubles a, b and, in derivatives,
 * y, the result. NULL: there is none. */
const char *pg_op_source(int op, int which);
/* The i-th of the functions that formulas call, as C (helpers.def); NULL: there are no more. */
const char *pg_helper_source(int i);

/* --- making nodes --- */

pg_id pg_leaf(double data);
pg_id pg_number(double data); /* a leaf that is only a number in an expression: it asks for no gradient */
pg_id pg_unary(int op, pg_id a);
pg_id pg_binary(int op, pg_id a, pg_id b);
pg_id pg_binary_right(int op, pg_id a, double b); /* b becomes a hidden leaf */
pg_id pg_binary_left(int op, double a, pg_id b);  /* a becomes a hidden leaf */
pg_id pg_power(pg_id a, double exponent);         /* a ** exponent, by the row that serves the exponent */
/* start + xs[0] + ... + xs[count-1], added in that order; start may be 0: then from 0.0. */
pg_id pg_sum(pg_id start, uint32_t count, const pg_id *xs);
/* bias + ws[0]*xs[0] + ..., added in that order; bias may be 0: then from 0.0. */
pg_id pg_dot(pg_id bias, uint32_t count, const pg_id *ws, const pg_id *xs);
/* A layer: out[i] = pg_dot(biases[i], count, ws + i*count, xs) for i < rows. All are made, or none. */
pg_status pg_dots(uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws, const pg_id *xs, pg_id *out);
/* The one of `count` values (1 or more) that the data of `index` chooses, 0 the first, now and whenever a gradient is
 * passed on; nan, and nothing passed on, while it is no whole number from 0 to count - 1. */
pg_id pg_choose(pg_id index, uint32_t count, const pg_id *values);
/* y, of which d/d xs[i] is declared to be derivatives[i]: y passes no gradient on, nor do these. */
pg_id pg_declared(pg_id y, uint32_t count, const pg_id *xs, const pg_id *derivatives);
/* A node of the user's: `data` is given, and so are d/d child (local_grads, count of them). Without local_grads (NULL)
 * it passes nothing on by itself. */
pg_id pg_custom(double data, uint32_t count, const pg_id *children, const double *local_grads);
/* Make a custom node that takes the place of a leaf that nothing uses: these operands, and the leaf's data, grad and
 * closure. Its id goes to *out; the leaf stays, for the caller to release. PG_IN_USE, PG_BUSY, PG_NO_MEMORY,
 * PG_NO_NODE: nothing was changed. */
pg_status pg_leaf_to_custom(pg_id leaf, uint32_t count, const pg_id *children, pg_id *out);

/* --- lifetime --- */

void pg_retain(pg_id id);
/* Give one reference back. The node goes when its last consumer has gone too; 0 is allowed. */
void pg_release(pg_id id);

/* --- tracing: to tell the leaves that a function makes from those that were there --- */

/* A moment, by the arena's clock (arena.h): later leaves have a larger birth, and later results are in blocks with a
 * start number of at least this. */
typedef uint64_t pg_moment;
/* Begin a trace, and return the moment: until the trace ends pg_made_since() knows of every leaf whether it was made
 * later. Traces may be nested, and may run in several threads; the thread that began one must end it. */
pg_moment pg_trace_begin(void);
void pg_trace_end(void);
int pg_made_since(pg_moment moment, pg_id leaf);
/* The same, and of results too it is known until the trace ends. PG_NO_MEMORY: nothing was changed. */
pg_status pg_moment_begin(pg_moment *out);

/* --- one node; id 0 reads as nan and takes no writes --- */

double pg_data(pg_id id);
double pg_grad(pg_id id);
void pg_set_data(pg_id id, double data);
void pg_set_grad(pg_id id, double grad);
/* Freeze a leaf, so that no sweep changes its gradient, or unfreeze it. PG_IN_USE: it is a result; PG_NO_NODE,
 * PG_NO_MEMORY: nothing was changed. */
pg_status pg_set_frozen(pg_id id, int on);
int pg_is_frozen(pg_id id);
/* Does a sweep from this node get to a leaf that is neither frozen nor only a number? Of a leaf: is it not frozen? */
int pg_requires_grad(pg_id id);
int pg_op(pg_id id);
double pg_exponent(pg_id id); /* of a "power" node */
/* The operands in order (sum: start, terms; dot: bias, w0, x0, w1, x1, ...; take: index, v0, v1, ...; declared: y, x0,
 * derivative 0, x1, ...), split lists as one. */
size_t pg_operand_count(pg_id id);
void pg_operands(pg_id id, pg_id *out);
/* Say that the node's backward step is a Python closure (1) or the op's own again (0). */
void pg_set_closure(pg_id id, int on);

/* --- backward --- */

/* Sweep from `root`, whose gradient is `seed`, to what may get a gradient of it (sweep.c). PG_OK; or PG_CLOSURES or
 * PG_NO_NODE with nothing done. */
pg_status pg_backward(pg_id root, double seed);
/* What a sweep starts from: nodes, one or more times each, and the gradient that each starts with. */
typedef struct {
    uint32_t count;
    const pg_id *ids;
    const double *seeds;
} pg_roots;
/* The same from several roots at once. */
pg_status pg_backward_from(const pg_roots *roots);
/* Nodes, and where their gradients go. */
typedef struct {
    uint32_t count;
    const pg_id *ids;
    double *grads;
} pg_wanted;
/* The gradients that a sweep would give these nodes, 0 where it does not get to; every node keeps the gradient that it
 * has. PG_OK; or PG_CLOSURES (see pg_order_from), PG_NO_MEMORY, PG_BUSY, PG_NO_NODE, with nothing done. */
pg_status pg_adjoints(const pg_roots *roots, const pg_wanted *wanted);
/* Pass the gradient of one node on to its operands, once; none of theirs is set to 0 first. */
void pg_backprop(pg_id id);
/* List what `root` passes a gradient on to, set its interior gradients to 0 and hold it until pg_order_free(). The order
 * goes to *out; PG_NO_MEMORY, PG_BUSY, PG_NO_NODE: nothing was changed. */
pg_status pg_order_new(pg_id root, double seed, pg_order **out);
/* The same from several roots. With `wanted` (or NULL) all that is reached, and the nodes that it names, start from 0,
 * may be read at the end, and have their old gradients back after pg_order_free(). */
pg_status pg_order_from(const pg_roots *roots, const pg_wanted *wanted, pg_order **out);
/* The same, of what is later than the moment: what is earlier only has gradients added, is not set to 0 first, and need
 * not be free. */
pg_status pg_order_within(const pg_roots *roots, const pg_moment *since, pg_order **out);
/* A number that is the same for an order of the same operations, and hardly for another. */
uint64_t pg_order_digest(const pg_order *order);
/* The earlier nodes that such an order adds to; returns how many. `out` may be NULL. */
size_t pg_order_outside(const pg_order *order, pg_id *out);
/* Is the node held by a running order? */
int pg_is_busy(pg_id id);
/* Run natively up to the next node with a closure and return its id, which the caller must run; 0 at the end. */
pg_id pg_order_next(pg_order *order);
/* The same, but stop after every node; a node without a closure has been run. *is_closure says which. */
pg_id pg_order_step(pg_order *order, int *is_closure);
void pg_order_free(pg_order *order);
/* For each node a number that is larger, the later it was made; 0 for leaves. */
void pg_creation_order(uint32_t count, const pg_id *ids, uint64_t *out);

/* --- derivatives as nodes (derive.c) --- */

/* One op on operands of a formula: 0, 1 and 2 are the operands a, b and the result y of the node that is derived; 3, 4,
 * ... the results of steps; -1, -2, ... the formula's numbers. A take has an index, which is 0 or 1, and two values. */
typedef struct {
    int32_t op;
    int32_t operands[3];
} pg_step;
/* The derivative of a row as steps on nodes, for pg_pull() and pg_push(); `result` is named as operands are. */
typedef struct {
    int32_t result;
    uint32_t step_count;
    uint32_t number_count;
    const pg_step *steps;
    const double *numbers;
} pg_formula;
/* The derivative of a row by its operand `place`, 0 or 1; NULL: there is none. */
const pg_formula *pg_formula_of(int op, int place);

/* A node, or, where the id is 0, a number. */
typedef struct {
    pg_id id;
    double number;
} pg_term;
typedef struct {
    uint32_t y_count;
    uint32_t x_count;
    const pg_id *ys;
    const pg_id *xs;
    const pg_term *given; /* seeds, one a y; or tangents, one an x */
    pg_term *found;       /* adjoints, one an x; or tangents, one a y: each node with a reference, the caller's */
    int keep_made;        /* list all the nodes that are made, too: */
    uint32_t made_count;
    pg_id *made;          /* oldest first, each with a reference, until pg_derivation_done() */
    pg_id culprit;        /* PG_NOT_REPLAYABLE: this node has a closure or local gradients */
} pg_derivation;
/* The adjoints of the xs, from those that the ys get, or the tangents of the ys, from those of the xs, as nodes that
 * depend on all that they are computed from. No gradient is read or changed. PG_NO_MEMORY, PG_NO_NODE, PG_NOT_REPLAYABLE:
 * nothing was changed. */
pg_status pg_pull(pg_derivation *job);
pg_status pg_push(pg_derivation *job);
void pg_derivation_done(pg_derivation *job);

/* --- optimizer steps --- */

/* Each does all that it says to `count` nodes, in the order of `ids`; or PG_NO_NODE, when one of them is no live node,
 * and nothing was changed. Buffers have `count` entries and are updated in place. */

pg_status pg_set_grads(uint32_t count, const pg_id *ids, double grad);

typedef struct {
    double lr;
    double momentum; /* 0: there is no buffer, and momentum_buffer may be NULL */
    double dampening;
    double weight_decay;
    int nesterov;
    int first; /* the buffer has no contents yet: it becomes the gradient */
} pg_sgd_options;
/* data and momentum_buffer as `sgd` in pygrad/optim.py computes them, from data and grad. */
pg_status pg_sgd(uint32_t count, const pg_id *ids, const pg_sgd_options *options, double *momentum_buffer);

typedef struct {
    double beta1;
    double beta2;
    double eps;
    double weight_decay; /* goes into the gradient */
    double shrink;       /* the parameter is multiplied by it: AdamW's decay; else 1 */
    double step_size;    /* lr / (1 - beta1**step) */
    double bias_root;    /* sqrt(1 - beta2**step) */
} pg_adam_options;
/* data and the two running averages as `adam` in pygrad/optim.py computes them, from data and grad. */
pg_status pg_adam(uint32_t count, const pg_id *ids, const pg_adam_options *options, double *exp_avg,
                  double *exp_avg_sq);

/* --- tapes (tape.h, passes.c): a graph written down, to be run with other numbers --- */

/* Write down how the outputs come from the inputs, which are leaves. Other leaves become constants if they were made
 * since the moment at which a running trace began, else parameters. PG_NOT_REPLAYABLE: *culprit says which node.
 * PG_NO_MEMORY, PG_BUSY, PG_NO_NODE. */
pg_status pg_tape_new(uint32_t input_count, const pg_id *inputs, uint32_t output_count, const pg_id *outputs,
                      pg_moment since, pg_tape **out, pg_id *culprit);
void pg_tape_free(pg_tape *tape); /* after its replays; NULL is allowed */

typedef enum {
    PG_PASS_FOLD = 1,  /* operations on constants become constants, and divisions by a power of two multiplications */
    PG_PASS_SHARE = 2, /* equal operations become one, and signs go into constants; gradients are added up in another
                        * order */
    PG_PASS_FUSE = 4,  /* chains of additions become a sum or a dot; gradients likewise */
    PG_PASS_HOIST = 8, /* what depends on no input is run once a batch; gradients likewise (program.h) */
} pg_pass;
/* Run the passes whose bits are set. PG_NO_MEMORY: the tape is good for pg_tape_free() only. */
pg_status pg_tape_optimize(pg_tape *tape, int passes);

typedef struct {
    uint32_t nodes;
    uint32_t inputs;
    uint32_t parameters;
    uint32_t constants;
    uint32_t outputs;
    size_t list_size;
} pg_tape_sizes;
void pg_tape_size(const pg_tape *tape, pg_tape_sizes *sizes);
/* One node, for printing: its op (from pg_op_count() on: input, parameter, constant), literal, and operands, of which
 * there are at most list_size + 2; returns how many. A sum, dot or declared op has first what it starts from, or -1. */
size_t pg_tape_read(const pg_tape *tape, uint32_t node, int *op, double *literal, int32_t *operands);
void pg_tape_outputs(const pg_tape *tape, int32_t *out);
void pg_tape_parameters(const pg_tape *tape, pg_id *out);

/* A tape as plain arrays, for files (image.c). `words` are the operations in order: op, operand of unary ones; op,
 * operand, operand of binary ones; and op, first operand or -1, count, so many entries, of those that have a list.
 * An operand is the place of a node: inputs, parameters, constants, operations, each after the other. `numbers` are
 * those of the constants, and then the exponent of each power. */
typedef struct {
    uint32_t inputs;
    uint32_t parameters;
    uint32_t constants;
    uint32_t outputs;
    size_t number_count;
    size_t word_count;
    const double *numbers;
    const int32_t *words;
    const int32_t *output_places;
    const int32_t *ops;  /* what op each number of one in `words` stands for; -1: none of those here */
    uint32_t op_count;
    const pg_id *ids; /* the parameters' leaves */
} pg_tape_image;
/* The sizes of a tape's image; then its contents. */
void pg_tape_image_size(const pg_tape *tape, pg_tape_image *image);
void pg_tape_write(const pg_tape *tape, double *numbers, int32_t *words);
/* Make the tape of an image, which may be anything: PG_BAD_TAPE: *broken says what is wrong. PG_NO_MEMORY, PG_NO_NODE. */
pg_status pg_tape_from(const pg_tape_image *image, pg_tape **out, const char **broken);

/* --- which outputs of a tape depend on which inputs (pattern.c) --- */

typedef struct {
    size_t count;        /* of all pairs */
    int32_t *columns;    /* their inputs: those of the first output, ascending, then those of the next, ... */
    int32_t *starts;     /* where each output's begin; and at last `count` */
    double row_steps;    /* how many operations the outputs go back to: the sum over the outputs; */
    double column_steps; /* and how many go back to the inputs: the sum over the inputs; infinite, as nobody need
                          * know, where the former is at most twice the tape */
} pg_pattern;
/* By derivatives: a comparison depends on nothing. PG_NO_MEMORY, also for more than 2^31 pairs. */
pg_status pg_pattern_new(pg_tape *tape, pg_pattern *out);
void pg_pattern_free(pg_pattern *pattern);

/* --- replay (replay.c): running a tape --- */

/* A replay has the memory for running its tape, whose passes are done, again and again; `passes` as above. Several
 * threads may use one, which then wait for one another. */
pg_status pg_replay_new(pg_tape *tape, int passes, pg_replay **out);
void pg_replay_free(pg_replay *replay); /* NULL is allowed */

/* One number of every sample: sample i's is data[i * step]; step 0 gives all samples the same. */
typedef struct {
    const double *data;
    ptrdiff_t step;
} pg_column;

/* Where one number of every sample goes: to data[i * step] from the i-th that is run. */
typedef struct {
    double *data;
    ptrdiff_t step;
} pg_target;

typedef struct {
    size_t samples; /* at least 1 */
    const pg_column *columns; /* one an input */
    const uint32_t *order; /* the samples, by number; NULL: 0, 1, 2, ... */
    const pg_column *seeds; /* one an output: the adjoint it starts with; NULL: no backward pass */
    double *outputs;     /* (samples, outputs), or NULL; in the order in which they are run */
    double *sums;        /* (outputs): over all samples; or NULL */
    const pg_target *input_grads; /* one an input, or NULL */
    double divisor;      /* of the sums: the number of samples for a mean, or 1 */
    unsigned threads;    /* at most so many take part; the bits are the same for any number */
    size_t bad_sample;   /* PG_BAD_INDEX: of this sample, */
    int32_t bad_node;    /* at this node of the tape */
} pg_batch;
/* Run the samples with the parameters as they are now; with seeds, add to the parameters' gradients. PG_NO_MEMORY,
 * PG_BAD_INDEX: no gradient was changed. */
pg_status pg_replay_run(pg_replay *replay, pg_batch *batch);
/* The same, where the caller knows that nobody else is using the replay. */
pg_status pg_replay_run_alone(pg_replay *replay, pg_batch *batch);
/* --- training (fit.c) --- */

/* A group's parameters [first, first + count): the tape's [place, place + count); or, place -1, not on the tape. */
typedef struct {
    uint32_t first;
    uint32_t count;
    int32_t place;
} pg_fit_span;

/* Parameters that are moved alike. Arrays of numbers have `count` entries. */
typedef struct {
    uint32_t count;
    const pg_id *ids; /* in the arena */
    uint32_t span_count;
    const pg_fit_span *spans; /* all of them, in order */
    double *data;          /* room for the numbers of those that are not on the tape */
    double *first_buffer;  /* momentum, or Adam's exp_avg; NULL: none is needed */
    double *second_buffer; /* Adam's exp_avg_sq */
    int is_adam;           /* else SGD */
    double lr;
    pg_sgd_options sgd;   /* but lr, */
    pg_adam_options adam; /* and what changes from step to step */
    int decoupled;        /* AdamW's weight decay: */
    double weight_decay;
    uint64_t step; /* of Adam: taken so far */
} pg_fit_group;

typedef struct {
    uint32_t group_count;
    pg_fit_group *groups;
    size_t samples;
    const pg_column *columns; /* as in pg_batch */
    const uint32_t *order;    /* the samples of an epoch, by number; or NULL */
    size_t batch_size;
    size_t batches;      /* of an epoch */
    size_t next_batch;   /* the first to take; then the one after the last taken */
    size_t steps;        /* at most so many, at least 1 */
    double seconds;      /* begin no step that much later */
    const double *rates; /* learning rates, one a step; or NULL: each group's lr */
    int is_mean;         /* the loss is the mean of a batch, not the sum */
    unsigned threads;
    double *losses; /* one a step */
    size_t done;    /* steps taken */
    size_t bad_sample;
    int32_t bad_node;
} pg_fit;
/* Take steps: zero the gradients of the groups, run a batch forward and backward, move the groups. PG_OK; or
 * PG_NO_MEMORY, PG_BAD_INDEX at step `done`: everything is as the step before left it, but gradients. */
pg_status pg_fit_run(pg_replay *replay, pg_fit *fit);
/* The instruction set in use: "avx512", "avx2" or "baseline". */
const char *pg_replay_lanes(void);

/* --- looking at the arena --- */

size_t pg_live_nodes(void);
size_t pg_reserved_bytes(void);
/* Verify every stated invariant (check.c): NULL, or what is broken. */
const char *pg_check(void);
/* Let the n-th allocation from now fail, once; 0 lets none fail. For tests. */
void pg_fail_allocation(uint64_t n);
/* cdef-end */

#endif
