/* pygrad.h: the contract between the C engine and Python: every function that Python may call.
 *
 * The build file passes the text between the two markers to cffi unchanged, so it must be plain C declarations.
 *
 * Ids. An id names a node of the process's one arena (engine/arena.h). 0 names no node. Ids are signed and near 0
 * because Python converts small integers fastest. An id that is passed in may be any number, for a program can make up
 * the ids of its objects: one that names no live node counts as 0. (In the native proxy's copy of a function it must be
 * the id of a proxy.)
 *
 * References. A function that makes a node returns the node's id together with one reference. If there is a cell for
 * it (see cells), the reference belongs to the cell; else `cell` is NULL, and pg_release() gives the reference back. Operands need no reference of the caller's once their consumer is made.
 * If memory is short, or an operand is not live, such a function returns 0 and has changed nothing.
 *
 * Errors. A function that can fail in other ways returns a pg_status. Its comment lists every status but PG_OK. After
 * any status but PG_OK nothing was changed, unless the comment says otherwise, and results (`out`) are not valid.
 *
 * Memory. Arrays and structs that are passed in belong to the caller and are not kept after the call, unless the
 * comment says otherwise. Strings that are returned are constants.
 *
 * Every function may be called from any thread, without the GIL.
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
    PG_NO_MEMORY,
    PG_CLOSURES,  /* a sweep cannot run in one piece, because of Python closures: use pg_order_new() */
    PG_BUSY,      /* a node of this graph belongs to an order that is still running */
    PG_IN_USE,    /* the node has consumers or operands already */
    PG_NO_NODE,   /* an id names no live node */
    PG_NOT_REPLAYABLE, /* a node has no formula: it is the user's own (pg_custom), or has a closure */
    PG_BAD_INDEX, /* the index of a take is not a whole number, or is out of range */
    PG_BAD_TAPE,  /* an image describes no possible tape */
    PG_ANOMALY,   /* within detect_anomaly(), a number that is not finite (tape/anomaly.h) */
} pg_status;

/* --- cells: memory that owns what C makes in it ---
 *
 * Python may be interrupted between a call of C and its next step: what the call had returned would be lost. So C
 * makes a thing that must be freed in a cell, which Python has made before. cffi allocates the cell by pg_cell_new(),
 * and frees it together with the thing by a function for things of this kind: pg_order_cell_free(), ....
 *
 * Each cell is a struct, for that is what cffi frees with the last reference and not before: Python's garbage collector
 * does not see it. Any other memory with an allocator the collector would free before it calls __del__ methods, which
 * may still use it. */
typedef struct {
    pg_id id;
} pg_node_cell;
typedef struct {
    pg_order *order;
} pg_order_cell;
typedef struct {
    pg_tape *tape;
} pg_tape_cell;
typedef struct {
    pg_replay *replay;
} pg_replay_cell;

/* Memory of zeros: an empty cell. NULL: memory is short. */
void *pg_cell_new(size_t bytes);

/* --- the process --- */

/* Prepare the arena. Call it before anything else, from the thread that imports pygrad. A second call does nothing.
 * PG_NO_MEMORY. */
pg_status pg_init(void);
/* The version and the digest of the sources that this binary was built from. */
const char *pg_version(void);
const char *pg_source_digest(void);
/* The address of the arena: the second binary, the native proxy (csrc/python), works on this arena too. */
uintptr_t pg_arena_address(void);

/* --- the op table (ops.def): 0 <= op < pg_op_count() --- */

int pg_op_count(void);
const char *pg_op_name(int op);  /* "add", "relu", ...; what Python calls it */
const char *pg_op_label(int op); /* "+", "ReLU", ...; what a picture shows */
int pg_op_arity(int op);         /* 1 or 2; 0 for an op with an operand list of any length, and for leaves */
int pg_op_has_derivative(int op); /* 0 for a PG_FLAT row: a sweep does not visit its operands */
/* The operands that an op passes its gradient on to: of those that pg_operands() writes, number *first, and then
 * every *step-th one. *step is 0 if there are none. */
void pg_op_receivers(int op, int *first, int *step);
/* Evaluate a row of ops.def at (a, b). out[0] is the result, out[1] is d/da, and out[2] is d/db (nan for a unary
 * row). For a flat row both derivatives are 0. A structural op gives nan. For tests and tables. */
void pg_op_eval(int op, double a, double b, double *out);
/* A formula of a row as C text: `which` is 0 for the result, 1 for d/da, 2 for d/db. Its variables are the doubles a
 * and b, and in derivatives also y, the result. NULL: the op has no such formula. */
const char *pg_op_source(int op, int which);
/* The functions that formulas call, as C text (helpers.def): number i from 0 on. NULL: there is no number i. */
const char *pg_helper_source(int i);

/* --- making nodes --- */

/* A leaf with this data, and gradient 0. */
pg_id pg_leaf(double data, pg_node_cell *cell);
/* A leaf for a number in an expression: pg_requires_grad() does not count it. */
pg_id pg_number(double data, pg_node_cell *cell);
/* A node of a unary or binary row of ops.def. */
pg_id pg_unary(int op, pg_id a, pg_node_cell *cell);
pg_id pg_binary(int op, pg_id a, pg_id b, pg_node_cell *cell);
/* The number becomes a hidden leaf, which lives as long as the new node. */
pg_id pg_binary_right(int op, pg_id a, double b, pg_node_cell *cell);
pg_id pg_binary_left(int op, double a, pg_id b, pg_node_cell *cell);
/* a ** exponent. For some exponents (2, 3, -1) the node is of a row of ops.def, for others of the op "power". */
pg_id pg_power(pg_id a, double exponent, pg_node_cell *cell);
/* start + xs[0] + ... + xs[count-1], added from the left. `start` may be 0: then the sum starts from 0.0. */
pg_id pg_sum(pg_id start, uint32_t count, const pg_id *xs, pg_node_cell *cell);
/* bias + ws[0]*xs[0] + ..., added from the left. `bias` may be 0: then the sum starts from 0.0. */
pg_id pg_dot(pg_id bias, uint32_t count, const pg_id *ws, const pg_id *xs, pg_node_cell *cell);
/* A layer: out[i] = pg_dot(biases[i], count, ws + i*count, xs, cells[i]) for i < rows; no bias may be 0; `cells` may be
 * NULL. All are made, or none.
 * PG_NO_MEMORY: memory is short, or an operand is not live. (The native proxy's copy does not check the operands.) */
pg_status pg_dots(uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws, const pg_id *xs, pg_id *out,
                  pg_node_cell *const *cells);
/* As pg_dots(), but with a node for each multiply and each add, as micrograd makes them: ((bias + w0*x0) + w1*x1) + ...
 * `count` is at least 1. An input with numbers[i] != 0 stands for a number in the program: each neuron gets a leaf of its
 * own with the number. `numbers` may be NULL. */
pg_status pg_neurons(uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws, const pg_id *xs,
                     const char *numbers, pg_id *out, pg_node_cell *const *cells);
/* A take: values[k], where k is the data of `index`, as it is now; `count` is at least 1. A backward step reads the
 * index anew. If k is not a whole number from 0 to count - 1, the data is nan, and no value gets a gradient. */
pg_id pg_choose(pg_id index, uint32_t count, const pg_id *values, pg_node_cell *cell);
/* A node with the data of y, and the derivative derivatives[i] by xs[i], which the caller declares. Only the xs get a
 * gradient from it: y and the derivatives get none. */
pg_id pg_declared(pg_id y, uint32_t count, const pg_id *xs, const pg_id *derivatives, pg_node_cell *cell);
/* A node that the user computed: its data, and its derivatives by its children (local_grads, `count` numbers,
 * copied). With local_grads NULL it gives its children nothing: a closure does that (pg_set_closure). */
pg_id pg_custom(double data, uint32_t count, const pg_id *children, const double *local_grads, pg_node_cell *cell);
/* Make a custom node that replaces a leaf: it has these children, and the leaf's data, gradient and closure. *out is
 * the new node's id. The leaf loses its closure; the caller still has to release it. PG_IN_USE: it is no leaf, or has
 * another reference than the caller's. PG_BUSY, PG_NO_NODE. PG_NO_MEMORY: or a child is not live. */
pg_status pg_leaf_to_custom(pg_id leaf, uint32_t count, const pg_id *children, pg_id *out);

/* The same for the leaf in a cell: the cell gets the new node's id, and the cell `old` the leaf's. */
pg_status pg_cell_to_custom(pg_node_cell *cell, uint32_t count, const pg_id *children, pg_node_cell *old);
/* Let a result, to which the caller has a reference, go from its operands: a leaf with its data and gradient, *out,
 * takes its place in all operand lists (let_go.c). The caller still has to release the old node, which has no operands
 * and no closure any more. PG_BUSY: a backward pass has it. PG_NO_NODE: or it is a leaf. PG_NO_MEMORY. */
pg_status pg_result_to_leaf(pg_id id, pg_id *out);
/* The same for the result in a cell: the cell gets the leaf's id, and the empty cell `old` the id of the old node. */
pg_status pg_cell_to_leaf(pg_node_cell *cell, pg_node_cell *old);

/* --- lifetime --- */

/* Add a reference to a node, and own it by the cell, if there is one; to id 0, do nothing. */
void pg_retain(pg_id id, pg_node_cell *cell);
/* Frees a cell, and gives the reference in it back. */
void pg_node_cell_free(void *cell);
/* Give one reference back. The last one frees the node, and gives back its references to its operands. 0 is allowed. */
void pg_release(pg_id id);

/* --- modes, which last as long as their memory (modes.h) --- */

typedef enum {
    PG_MODE_NO_GRAD = 1, /* pygrad.no_grad(): results are leaves */
    PG_MODE_GRAD, /* pygrad.enable_grad(), within no_grad() */
    PG_MODE_ANOMALY, /* pygrad.detect_anomaly(), in all threads */
    PG_MODE_RECORDING, /* a function is recorded for pygrad.compile */
    PG_MODE_NESTED, /* a transform runs within another one */
    PG_MODE_QUIET, /* reads of data do not call the trace hook */
    PG_MODE_TRACE, /* which leaves are made, and which were there before? (moment.h) */
    PG_MODE_CALL, /* a function runs on arguments that stand for other numbers too: see pg_mode_arguments() */
    PG_MODE_KINDS
} pg_mode_kind;
/* A moment, by the arena's clock. No two modes have the same. */
typedef uint64_t pg_moment;
typedef struct pg_mode {
    int kind; /* 0: not begun, or ended */
    pg_moment moment; /* when it began */
    uint64_t thread; /* the number of the thread that began it (modes.h) */
    uint64_t block; /* the start number of the block that was the current one: no later node is in an older block */
    pg_id *xs; /* see pg_mode_arguments(): `count` ids; NULL: none */
    uint32_t count;
    struct pg_mode *older, *newer;
    struct pg_mode *outer; /* of a scope: the scope around it; NULL: there is none */
    uint32_t refs; /* of a scope: how many cells and scopes lead to it */
} pg_mode;
/* A cell of a scope: of no_grad(), enable_grad() or detect_anomaly(). Two kinds of cells lead to a scope: that of its
 * block, which ends the scope when it is freed; and those of the states of contexts, which only keep its memory. */
typedef struct {
    pg_mode *mode; /* NULL: none yet */
    int is_block; /* 1: the scope ends with this cell */
} pg_scope_cell;
/* How many modes there are, of all threads. */
typedef struct {
    uint32_t unusual; /* PG_MODE_NO_GRAD and PG_MODE_ANOMALY: an operation checks this alone */
    uint32_t of[PG_MODE_KINDS]; /* by kind */
    uint32_t calls; /* those with arguments */
} pg_open_modes;
const pg_open_modes *pg_modes_open(void);
/* Allocators for cffi: memory for a mode that begins now; and the end of the mode with its memory, by whatever thread.
 * NULL: memory is short. */
void *pg_mode_recording(size_t bytes);
void *pg_mode_nested(size_t bytes);
void *pg_mode_quiet(size_t bytes);
void *pg_mode_trace(size_t bytes);
void *pg_mode_call(size_t bytes);
void pg_mode_free(void *memory);
/* Return the moment of the newest mode of this kind that this thread is in; 0: of none. */
pg_moment pg_mode_of(int kind);
/* From now on, until the mode ends, these nodes stand for other numbers too: a function runs on them. They were just
 * made, and the caller keeps them alive; the ids are copied. Once for a mode. PG_NO_MEMORY. */
pg_status pg_mode_arguments(pg_mode *mode, uint32_t count, const pg_id *xs);
/* Begin a scope in two empty cells, of its block and of the state of a context, which was `around` before (NULL: in no
 * scope). PG_NO_MEMORY. */
pg_status pg_scope_begin(pg_scope_cell *block, pg_scope_cell *state, int kind, const pg_scope_cell *around);
void pg_scope_free(void *cell);
/* Is the scope of this block the newest open one in the state? Is it open and in there at all? `state` may be NULL. */
int pg_scope_is_newest(const pg_scope_cell *block, const pg_scope_cell *state);
int pg_scope_is_within(const pg_scope_cell *block, const pg_scope_cell *state);
/* Have the empty cell `outer` lead to the open scope around the newest one of the state; 0: there is none. */
int pg_scope_outer(const pg_scope_cell *state, pg_scope_cell *outer);
/* The block is left. If `stays`, contexts that have the scope in their states keep it, but not detect_anomaly(). */
void pg_scope_leave(pg_scope_cell *block, int stays);
/* In the child of a fork: end the scopes of threads that the child does not have, but for those in this state. */
void pg_scopes_after_fork(const pg_scope_cell *state);
/* 0 if the newest open scope of no_grad() and enable_grad() in the state, which may be NULL, is no_grad(). */
int pg_is_grad_enabled(const pg_scope_cell *state);
/* Was the leaf made after the moment of a trace that still runs? */
int pg_made_since(pg_moment moment, pg_id leaf);

/* --- one node; id 0 reads as nan, and as a leaf --- */

int pg_exists(pg_id id); /* does the id name a live node? */
double pg_data(pg_id id);
double pg_grad(pg_id id);
/* Set the data or the gradient, or add to the gradient in one step for all threads. PG_NO_NODE. */
pg_status pg_set_data(pg_id id, double data);
pg_status pg_set_grad(pg_id id, double grad);
pg_status pg_add_grad(pg_id id, double grad);
/* Freeze a leaf, so that no sweep changes the gradient that pg_grad() returns (1), or unfreeze it (0). PG_IN_USE: the
 * node is not a leaf. PG_NO_NODE, PG_NO_MEMORY. */
pg_status pg_set_frozen(pg_id id, int on);
int pg_is_frozen(pg_id id);
/* Does a sweep from this node reach a leaf that is neither frozen nor made by pg_number()? If the node is a leaf
 * itself: is it not frozen? 0 for id 0. */
int pg_requires_grad(pg_id id);
/* Does a sweep from node y reach a leaf (but those made by pg_number()), or a node older than `since`, an interior
 * node? 0 if one of the two is no such node. */
int pg_leads_out(pg_id y, pg_id since);
/* Is the node an argument of a mode (pg_mode_arguments), or was it computed from one? Of any thread: a function may
 * start threads, and hand its arguments to them. */
int pg_is_variable(pg_id id);
/* The same without a walk, for each of many results: but in a thread that is in such a mode any interior node may be. */
int pg_may_be_variable(pg_id id);
/* Return the moment of the newest recording for which pg_is_variable() is true; 0: of none. */
pg_moment pg_recording_of(pg_id id);
int pg_op(pg_id id); /* its op, a number of the op table */
double pg_exponent(pg_id id); /* of a "power" node; nan for any other */
/* The number of operands; and the operands, written to `out`: of a sum start, terms; of a dot bias, w0, x0, w1, x1,
 * ...; of a take index, v0, v1, ...; of a declared node y, x0, derivative 0, x1, .... The start or bias is left out
 * if there is none. A list that the arena has split is whole here. The ids come without references. */
size_t pg_operand_count(pg_id id);
void pg_operands(pg_id id, pg_id *out);
/* The slopes by these operands, as the data is now: 0 by one that gets no gradient. (Of a "custom" node they are not known: all 0.) */
void pg_slopes(pg_id id, double *out);
/* Declare that the node's backward step is a Python closure (1), or its op's own again (0). */
void pg_set_closure(pg_id id, int on);

/* --- backward passes, in one piece (sweep.c) --- */

/* Sweep from `root`, whose gradient becomes `seed`. Interior gradients that the sweep reaches start from 0; leaves
 * accumulate. PG_CLOSURES: some live node of the arena has a closure, or an order is running. PG_NO_NODE: id 0. */
pg_status pg_backward(pg_id root, double seed);
/* The roots of a sweep, and the gradient that each starts with. A node may be listed twice: its seeds are added. */
typedef struct {
    uint32_t count;
    const pg_id *ids;
    const double *seeds;
} pg_roots;
/* As pg_backward(), from several roots at once. PG_CLOSURES. PG_NO_NODE: a root is not live. */
pg_status pg_backward_from(const pg_roots *roots);
/* Nodes, and an array for their gradients. */
typedef struct {
    uint32_t count;
    const pg_id *ids;
    double *grads;
} pg_wanted;
/* Compute the gradients that a sweep would give the wanted nodes, 0 for a node that it does not reach. Every node
 * keeps the gradient that it has. PG_CLOSURES: the sweep reaches a closure (use pg_order_from). PG_BUSY, PG_NO_NODE,
 * PG_NO_MEMORY. */
pg_status pg_adjoints(const pg_roots *roots, const pg_wanted *wanted);
/* Run the backward step of one node: add to the gradients of its operands, without setting them to 0 first. */
void pg_backprop(pg_id id);

/* --- gradients that come back (kept.c) --- */

typedef struct {
    uint32_t count;
    pg_id *ids;
    double *grads;
} pg_kept;
/* Note the gradients of these live nodes in an empty cell, and set them to 0. pg_kept_free() puts them back.
 * PG_NO_MEMORY. */
pg_status pg_gradients_keep(pg_kept *cell, uint32_t count, const pg_id *ids);
void pg_kept_free(void *cell);

/* --- backward passes, in pieces (order.c) --- */

/* Frees a cell, and ends the order in it, at its end or before it: its nodes are no longer busy. */
void pg_order_cell_free(void *cell);
/* Begin an order in an empty cell: list the nodes that a sweep from `root` visits, set the gradients of the interior
 * ones to 0, give the root its seed, and mark the nodes as busy. PG_BUSY, PG_NO_NODE, PG_NO_MEMORY. */
pg_status pg_order_new(pg_id root, double seed, pg_order_cell *cell);
/* As pg_order_new(), from several roots. If `wanted` is not NULL, the gradients of all nodes that are reached and of
 * the wanted nodes start from 0, leaves included. pg_grad() reads them until the order ends: that puts the old ones
 * back. `grads` of `wanted` is not used. */
pg_status pg_order_from(const pg_roots *roots, const pg_wanted *wanted, pg_order_cell *cell);
/* As pg_order_new(), from several roots, but only through nodes made since a moment: that of a trace that still runs.
 * Earlier nodes only have gradients added: they are not set to 0 first, and may be busy. */
pg_status pg_order_within(const pg_roots *roots, pg_moment since, pg_order_cell *cell);
/* Leave out of an order of pg_order_within() what takes do not choose, before it runs: the other orders do so themselves.
 * PG_NO_MEMORY: nothing was changed. */
pg_status pg_order_choose(pg_order *order);
/* A digest of the ops in the order: equal for equal sequences of ops, almost surely different for others. */
uint64_t pg_order_digest(const pg_order *order);
/* Write the earlier nodes that an order of pg_order_within() adds to; after pg_order_choose() and pg_order_cut() they may be
 * fewer. Returns
 * how many; `out` may be NULL. */
size_t pg_order_outside(const pg_order *order, pg_id *out);
/* Will a running order run the node, or has it run it? */
int pg_is_busy(pg_id id);
/* Run the steps up to the next node with a closure, and return its id: the caller must run the closure. 0: the order
 * is at its end. */
pg_id pg_order_next(pg_order *order);
/* Run one step, and return the node's id; 0: the order is at its end. If *is_closure is 1, the step was not run: the
 * caller must run the closure. */
pg_id pg_order_step(pg_order *order, int *is_closure);
/* Called by the closure of a node, which an order is running: the closure passes something on to the operands `kept`
 * alone. Nodes that the order lists only because of the node's other operands are not run. Does nothing if no order is
 * running this node. PG_NO_MEMORY: nothing was changed. */
pg_status pg_order_cut(pg_id node, uint32_t count, const pg_id *kept);
/* For each node a number that is larger the later the node was made; 0 for leaves. */
void pg_creation_order(uint32_t count, const pg_id *ids, uint64_t *out);

/* --- derivatives as nodes (derive.c) --- */

/* One step of a formula: an op and its operands. Operands 0, 1 and 2 are the node's operands a and b and its result
 * y; 3, 4, ... are the results of earlier steps; -1, -2, ... are the formula's numbers. A take has an index, which is
 * 0 or 1, and two values. */
typedef struct {
    int32_t op;
    int32_t operands[3];
} pg_step;
/* The derivative of a row of ops.def, as steps. `result` is numbered as operands are. */
typedef struct {
    int32_t result;
    uint32_t step_count;
    uint32_t number_count;
    const pg_step *steps;
    const double *numbers;
} pg_formula;
/* The derivative of a row by its operand `place`, 0 or 1. A constant. NULL: there is none. */
const pg_formula *pg_formula_of(int op, int place);

/* A node; or, if the id is 0, a number. */
typedef struct {
    pg_id id;
    double number;
} pg_term;
/* A function that ran once and left no graph but a join and its results (pygrad/engine/checkpoint.py), and that was run
 * again: now it has a graph. The nodes `again` stand for the results, one for each. The first operand of a result is
 * the join.
 * Or a declared node, the join, whose derivatives were computed again, from the node itself: a new declared node, the
 * only one in `again`, stands for it. There are no results then. If `again` is empty, the node stands for itself. */
typedef struct {
    pg_id join;
    uint32_t count; /* of `again` */
    const pg_id *results;
    const pg_id *again;
    pg_moment since; /* the graph was made since this moment */
} pg_rerun;
typedef struct pg_derivation {
    uint32_t y_count;
    uint32_t x_count;
    uint32_t rerun_count;
    const pg_rerun *reruns; /* go through these graphs in place of the joins; sorted by their joins */
    pg_moment since; /* do not follow the operands of nodes made before this moment; 0: follow all */
    const pg_id *ys;
    const pg_id *xs;
    const pg_term *given; /* pg_pull: the seeds, one a y. pg_push: the tangents, one an x */
    int keep_made; /* list all the nodes that are made in `made` too */
    /* Results, which belong to the job: pg_derivation_free() gives the references of their nodes back. */
    uint32_t found_count, made_count;
    pg_term *found; /* pg_pull: the adjoints, one an x. pg_push: the tangents, one a y */
    pg_id *made; /* oldest first */
    pg_id culprit; /* PG_NOT_REPLAYABLE: this node; 0: the declared nodes that are listed in `ops` */
    uint32_t op_count;
    pg_id *ops; /* the declared nodes between the xs and the ys that are the join of no rerun */
    uint64_t thread; /* whose job it is: the child of a fork may lack it */
    struct pg_derivation *next; /* in the arena's list of jobs that have results */
} pg_derivation;
/* Make the adjoints of the xs from the seeds of the ys (pg_pull), or the tangents of the ys from those of the xs
 * (pg_push), as nodes that depend on all that they are computed from. No gradient is read or changed.
 * A job is made with pg_cell_new() and pg_derivation_free(), and runs once. PG_NOT_REPLAYABLE, PG_NO_NODE,
 * PG_NO_MEMORY. */
pg_status pg_pull(pg_derivation *job);
pg_status pg_push(pg_derivation *job);
void pg_derivation_free(void *job);

/* --- many parameters in one call: all of them, or none --- */

/* Each works on `count` nodes, ids[0], ids[1], .... PG_NO_NODE: one of them is not live, and nothing was changed. */

/* Set all gradients to `grad`. */
pg_status pg_set_grads(uint32_t count, const pg_id *ids, double grad);
/* Set the data of each node to its entry of `data`. */
pg_status pg_set_all_data(uint32_t count, const pg_id *ids, const double *data);

/* Set the gradient of each node to its entry of `grads`. */
pg_status pg_set_all_grads(uint32_t count, const pg_id *ids, const double *grads);
/* The Euclidean norm of these numbers, without overflow: inf and nan come from numbers that are so. */
double pg_norm(size_t count, const double *numbers);

/* In all options: with `maximize` parameters move up their gradients; weight_decay * data is added to the gradient. */
typedef struct {
    double lr;
    double momentum; /* 0: there is no buffer */
    double dampening;
    double weight_decay;
    int nesterov;
    int maximize;
    int first; /* the buffer has no contents yet: the gradient becomes its contents */
} pg_sgd_options;

typedef struct {
    double beta1;
    double beta2;
    double eps;
    double weight_decay;
    double shrink; /* the parameter is multiplied by it: AdamW's decay; else 1 */
    double step_size; /* lr / (1 - beta1**step) */
    double bias_root; /* sqrt(1 - beta2**step) */
    int amsgrad;
    int maximize;
} pg_adam_options;

typedef struct {
    double lr;
    double alpha;
    double eps;
    double weight_decay;
    double momentum;
    int centered;
    int maximize;
} pg_rmsprop_options;

typedef enum { PG_SGD, PG_ADAM, PG_RMSPROP } pg_method;

/* How an optimizer moves parameters. Of the options only those of the method are read. */
typedef struct {
    pg_method method;
    pg_sgd_options sgd;
    pg_adam_options adam;
    pg_rmsprop_options rmsprop;
    double *buffers[3]; /* updated in place: one number a parameter. NULL: not used. Their sequence is that of the
                         * arguments in optim.h */
} pg_optimizer;

/* Parameters that an optimizer moves with the same options. */
typedef struct {
    uint32_t count;
    const pg_id *ids;
    pg_optimizer by;
} pg_moved_group;
/* Move the parameters of all groups, but for frozen leaves, as `sgd`, `adam` and `rmsprop` in pygrad/optim.py do, and
 * set *done to 1. PG_NO_NODE: a node is not live, and nothing was changed. */
pg_status pg_move(uint32_t group_count, const pg_moved_group *groups, int *done);

/* --- tapes (tape.h, passes.c): a graph written down, to be run with other numbers --- */

/* Write down how the outputs are computed from the inputs, which are leaves. Every other leaf becomes a constant if
 * it was made since the moment `since`, when a running trace began; else it becomes a parameter, and the tape holds a
 * reference to it. PG_NOT_REPLAYABLE: *culprit is the node. PG_BUSY, PG_NO_NODE, PG_NO_MEMORY. */
pg_status pg_tape_new(uint32_t input_count, const pg_id *inputs, uint32_t output_count, const pg_id *outputs,
                      pg_moment since, pg_tape_cell *cell, pg_id *culprit);
/* Frees a cell, and the tape in it once the last replay of the tape is freed. */
void pg_tape_cell_free(void *cell);

/* The passes change no output by a bit. Some change gradients by rounding. */
typedef enum {
    PG_PASS_FOLD = 1, /* operations on constants become constants; divisions by a power of two, multiplications */
    PG_PASS_SHARE = 2, /* equal operations become one, and signs move into constants; gradients are added up in another
                        * sequence */
    PG_PASS_FUSE = 4, /* chains of additions become a sum or a dot; gradients as for PG_PASS_SHARE */
    PG_PASS_HOIST = 8, /* what depends on no input is run once a batch (program.h); gradients as for PG_PASS_SHARE */
} pg_pass;
/* Run the passes whose bits are set, before any replay is made. (PG_PASS_HOIST does nothing here: pg_replay_new()
 * uses it.) PG_NO_MEMORY: the tape may be changed, and may only be freed. */
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
/* One node, for printing: its op (pg_op_count() and the next two numbers stand for input, parameter and constant),
 * its literal, and its operands, at most list_size + 2; returns how many. The first operand of an op with a list is
 * the start, bias or y, or -1 for none. */
size_t pg_tape_read(const pg_tape *tape, uint32_t node, int *op, double *literal, int32_t *operands);
/* Write the numbers of the nodes that are outputs; the ids of the parameters' leaves, without references. */
void pg_tape_outputs(const pg_tape *tape, int32_t *out);
void pg_tape_parameters(const pg_tape *tape, pg_id *out);

/* A tape as plain arrays, for files (image.c). Nodes are numbered from 0 on: inputs, parameters, constants,
 * operations. `words` has the operations, one after the other. A unary one is: op, operand. A binary one is: op,
 * operand, operand. One with a list is: op, first operand or -1, count, `count` operands. An operand is the number of
 * a node. `numbers` has the constants, and then the exponent of each power. */
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
    const int32_t *ops; /* the op k of `words` is here the op ops[k]; -1: this build lacks it */
    uint32_t op_count;
    const pg_id *ids; /* the parameters' leaves */
} pg_tape_image;
/* Write the sizes of a tape's image, so that the caller can make the arrays; then write the arrays. */
void pg_tape_image_size(const pg_tape *tape, pg_tape_image *image);
void pg_tape_write(const pg_tape *tape, double *numbers, int32_t *words);
/* Make a tape of an image. All of the image but its sizes and pointers may be wrong. PG_BAD_TAPE: *broken says what
 * is wrong. PG_NO_NODE: an id is not a live leaf. PG_NO_MEMORY. */
pg_status pg_tape_from(const pg_tape_image *image, pg_tape_cell *cell, const char **broken);

/* --- which outputs of a tape depend on which inputs (pattern.c) --- */

typedef struct {
    size_t count; /* pairs of an output and an input that it depends on */
    int32_t *columns; /* the inputs of the pairs: of the first output, ascending, then of the next, ... */
    int32_t *starts; /* where in `columns` each output begins; the last entry is `count` */
    double row_steps; /* for each output the number of operations that it depends on, added up */
    double column_steps; /* for each input the number of operations that depend on it, added up; infinity, and not
                          * counted, if row_steps is at most twice the number of operations */
} pg_pattern;
/* Find the pattern. Only dependence with a derivative counts: a comparison depends on nothing. `out` is an empty cell,
 * which pg_pattern_free() frees with its arrays. PG_NO_MEMORY: or there are too many pairs for an int32_t. */
pg_status pg_pattern_find(pg_tape *tape, pg_pattern *out);
void pg_pattern_free(void *cell);

/* --- replay (replay.c): running a tape --- */

/* A replay is the memory to run its tape in, again and again. The tape must be optimized already; it lives as long as
 * its last replay. `passes` are those of the tape. Several threads may use one replay: they wait for one another.
 * PG_NO_MEMORY. */
pg_status pg_replay_new(pg_tape *tape, int passes, pg_replay_cell *cell);
void pg_replay_cell_free(void *cell); /* frees a cell, and the replay in it */

/* One number of every sample: that of sample i is data[i * step]. With step 0 all samples have the same number. */
typedef struct {
    const double *data;
    ptrdiff_t step;
} pg_column;

/* Where to write one number of every sample: for the i-th sample that is run, data[i * step]. */
typedef struct {
    double *data;
    ptrdiff_t step;
} pg_target;

typedef struct {
    size_t samples; /* at least 1 */
    const pg_column *columns; /* one an input */
    const uint32_t *order; /* the numbers of the samples, in the sequence to run them; NULL: 0, 1, 2, ... */
    const pg_column *seeds; /* one an output: the adjoint that it starts with; NULL: no backward pass */
    double *outputs; /* samples x outputs, in the sequence in which samples are run; or NULL */
    double *sums; /* one an output: over all samples, divided by `divisor`; or NULL */
    const pg_target *input_grads; /* one an input, or NULL; its data may be NULL: nobody asks for this one */
    int inputs_only; /* not 0: leave the gradients of parameters as they are */
    double divisor; /* the number of samples for a mean, or 1 */
    unsigned threads; /* at most this many take part; the bits are the same for any number */
    int unchecked; /* 1: detect_anomaly() does not look at this batch */
    size_t bad_sample; /* PG_BAD_INDEX, PG_ANOMALY: the number of the sample */
    int32_t bad_node; /* PG_BAD_INDEX, PG_ANOMALY: the node of the tape */
    int bad_kind; /* PG_ANOMALY: a pg_anomaly */
} pg_batch;
/* What is not finite. */
typedef enum {
    PG_ANOMALY_VALUE = 1, /* the value of the node */
    PG_ANOMALY_GRADIENT, /* the gradient that the node gives an operand */
    PG_ANOMALY_BEFORE, /* the gradient of the node, a parameter, before the run */
    PG_ANOMALY_SUM, /* the sum of the values of the node, an output, over the samples */
    PG_ANOMALY_CONSTANT, /* the value of an operation on constants, which is not on the tape any more */
    PG_ANOMALY_GRADIENT_SUM, /* the sum of the gradients of the node, a parameter */
} pg_anomaly;
/* Run the samples with the parameters as they are now; with seeds, add to the parameters' gradients. PG_BAD_INDEX,
 * PG_ANOMALY, PG_NO_MEMORY: no gradient of a parameter was changed, but the batch's arrays may be. */
pg_status pg_replay_run(pg_replay *replay, pg_batch *batch);
/* As pg_replay_run(), without a lock: the caller knows that no other thread is using the replay. */
pg_status pg_replay_run_alone(pg_replay *replay, pg_batch *batch);
/* Compute the value of every node of a tape for one sample, with the parameters as they are now. */
void pg_tape_values(const pg_tape *tape, const pg_column *columns, size_t sample, double *values);

/* --- training (fit.c) --- */

/* The parameters first, ..., first + count - 1 of a group are the parameters place, ..., place + count - 1 of the
 * tape; or, if `place` is -1, they are not on the tape. */
typedef struct {
    uint32_t first;
    uint32_t count;
    int32_t place;
} pg_fit_span;

/* Parameters that are updated with the same options. Arrays of doubles have `count` entries. */
typedef struct {
    uint32_t count;
    const pg_id *ids; /* in the arena */
    uint32_t span_count;
    const pg_fit_span *spans; /* together, all parameters of the group but frozen ones, ascending */
    uint32_t frozen_count;
    const pg_id *frozen; /* the frozen ones: a step sets their gradients to 0 too */
    double *data; /* scratch memory for the data of parameters that are not on the tape */
    double lr;
    pg_optimizer by; /* each step sets SGD's and RMSprop's lr, and Adam's shrink, step_size and bias_root */
    int decoupled; /* 1: AdamW, which shrinks the parameters by weight_decay below */
    double weight_decay;
    uint64_t step; /* Adam: steps so far */
} pg_fit_group;

typedef struct {
    uint32_t group_count;
    pg_fit_group *groups;
    size_t samples;
    const pg_column *columns; /* as in pg_batch */
    const uint32_t *order; /* the shuffled samples of an epoch, by number; NULL: 0, 1, 2, ... */
    size_t batch_size;
    size_t batches; /* in an epoch */
    size_t next_batch; /* the batch to begin with; after the call, the batch that comes next */
    size_t steps; /* at most this many, at least 1 */
    double seconds; /* after this time begin no other step; the first step runs in any case */
    const double *rates; /* learning rates, one a step; NULL: each group's lr */
    int is_mean; /* the loss is the mean over a batch, not the sum */
    unsigned threads;
    double max_norm; /* gradients are clipped as clip_grad_norm_ does; negative: they are not */
    double clip_value; /* and as clip_grad_value_ does; negative: they are not */
    double *clipped; /* scratch memory for the gradients of all groups; with max_norm */
    double *losses; /* written: one a step */
    size_t done; /* steps done; 0 before the call */
    int is_stored; /* written: 1 once the arena holds the parameters after these steps; 0 before the call */
    size_t bad_sample; /* PG_BAD_INDEX, PG_ANOMALY, as in pg_batch */
    int32_t bad_node;
    int bad_kind;
} pg_fit;
/* Run training steps. Each sets the groups' gradients to 0, runs a batch forward and backward, clips the groups'
 * gradients, and updates the groups. PG_NO_NODE: a parameter of a group is not live. PG_BAD_INDEX, PG_ANOMALY, PG_NO_MEMORY: `done` steps were
 * complete. The next one has changed nothing but the groups' gradients, which may be 0. */
pg_status pg_fit_run(pg_replay *replay, pg_fit *fit);
/* The instruction set that replays use: "avx512", "avx2" or "baseline". */
const char *pg_replay_lanes(void);

/* --- looking at the arena --- */

/* How many nodes are live: leaves, interior nodes and hidden ones. */
size_t pg_live_nodes(void);
/* Bytes of memory that the arena has; it never gives them back. */
size_t pg_reserved_bytes(void);
/* NULL if no mode and no order is running, in any thread; else what is. */
const char *pg_running(void);
/* Verify the invariants that arena.h states (check.c). NULL: all hold. Else the first that does not, or that there is
 * no memory to check with. */
const char *pg_check(void);
/* Make the n-th allocation from now fail, once. 0: none fails. For tests. */
void pg_fail_allocation(uint64_t n);
/* cdef-end */

#endif
