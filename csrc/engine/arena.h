/* arena.h: where the graph lives.
 *
 * The idea. An operand exists before its consumer. So *creation order is a topological order*, and if memory keeps
 * that order, one downward loop over it is the backward pass: nothing to sort, nothing to recurse into.
 *
 * Interior nodes (those with operands) are laid into blocks of 64 slots, by bumping an index. A block gets a start
 * number, larger than any before, each time it is started; (start number, offset in the block) is creation order.
 * Reusing one slot of a block would break that order, so a freed node only lowers its block's live count, and a
 * block is started again when that count reaches 0. The price: one kept interior node pins at most one block (2
 * KiB).
 *
 * Leaves have no operands, so no order binds them: they live in a pool of their own and their slots are reused at
 * once. So the id of a leaf tells nothing of its age; while a trace runs, the birth of a new one is noted (moment.h).
 *
 * References. A node counts one reference for each place in an operand list that names it, and one for its Python
 * proxy (and one while it is the root of a running order, and one for each tape it is a parameter of). At 0 it goes,
 * and gives its operands' references back. A node that only its consumer holds is *hidden*: the constant of `a * 2.0`,
 * a part of a split list. So is a *vector*, the inputs of a dot: the dots of a layer share one, so that each input is
 * listed and counted once, not once a dot.
 *
 * Frozen leaves. No sweep may change a frozen leaf's gradient, and none is to ask about it: so the gradient is kept
 * in a hidden leaf, the frozen one's `a`, and what sweeps add to its own `grad` nobody reads (pg_grad_of).
 *
 * Invariants, outside the lock; check.c verifies each:
 *   I1  an operand of a live node is live, and older than the node if it is interior;
 *   I2  refs = the operand places that name the node, + 0 or 1 for its proxy, + the orders it is the root of,
 *       + the tapes it is a parameter of;
 *   I3  a block's live count is the number of its live nodes, and its marks are 0;
 *   I4  a block with live count 0 is on the free list, or is the current one and begins at slot 0;
 *   I5  every leaf slot handed out is live or on a free list: the one in use, or, while a trace runs, the one set
 *       aside; and no birth is later than now;
 *   I6  the counts of the arena (live nodes, leaves, closures) are what a walk finds;
 *   I7  the sweep's heap is empty, and has room for every block;
 *   I8  a block without live nodes has no proxies;
 *   I9  a take has an index and a value, and each part of a split one has the same index; a declared node has its y;
 *   I10 the list of a dot begins with a vector, which has an input for each of its weights;
 *   I11 a frozen node is a leaf, and its `a` is a hidden one that is not; any other leaf has neither `a` nor `b`.
 */
#ifndef PG_ARENA_H
#define PG_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/lock.h"
#include "ops.h"
#include "pygrad.h"

/* What every operation goes through is inlined, whatever the compiler thinks: with a constant op only its row is
 * left. */
#if defined(__GNUC__)
#define PG_INLINE static inline __attribute__((always_inline))
#define PG_NOINLINE static __attribute__((noinline))
#else
#define PG_INLINE static inline
#define PG_NOINLINE static
#endif

#define PG_BLOCK_SLOTS 64
#define PG_CHUNK_SLOTS 65536 /* the unit in which memory is committed: 2 MiB of slots */
#define PG_CHUNK_BLOCKS (PG_CHUNK_SLOTS / PG_BLOCK_SLOTS)
#define PG_REFS_FOREVER (UINT32_MAX / 2 + 1) /* a count that gets this far stays: the node lives on */

enum {
    PG_FLAG_CLOSURE = 1, /* its backward step is a Python closure */
    PG_FLAG_BUSY = 2,    /* a running order holds it */
    PG_FLAG_PART = 4,    /* a part of a split operand list: hidden, and its consumer's `a` */
    PG_FLAG_VECTOR = 16, /* the inputs of dots, a PG_CUSTOM node: hidden, and the first in their lists */
    PG_FLAG_FROZEN = 32, /* a leaf whose gradient no sweep changes: its `a` keeps it */
    PG_FLAG_NUMBER = 64, /* a leaf made of a number in an expression: it does not ask for a gradient */
    PG_FLAG_LISTED = 8,  /* never outside the lock: a leaf, or other end of an order, that its listing has met; a node
                          * that derive.c is about */
};

/* A node takes one slot of 32 bytes, plus the slots of its payload right behind it: an operand list, local gradients
 * or a literal, as the op says (pg_operands_of, pg_local_grads, pg_exponent). */
typedef struct {
    double data;
    double grad;
    pg_id a;        /* first operand; 0 if a list has none in front. In a free leaf slot: the next free one. In a
                     * frozen leaf: the hidden one that keeps its gradient */
    pg_id b;        /* second operand; or the number of entries in the list */
    uint8_t op;     /* pg_op_code */
    uint8_t flags;
    uint16_t slots; /* 1 + payload */
    uint32_t refs;  /* 0: the slot is not a live node */
} pg_node;
_Static_assert(sizeof(pg_node) == 32, "a node is 32 bytes: two a cache line");

typedef struct {
    uint64_t marks; /* bit i: slot i is to be visited by the sweep that runs */
    uint64_t start; /* start number */
    uint32_t next_free;
    uint8_t used; /* slots filled so far */
    uint8_t live;
    void *proxies; /* those of its nodes, a list of csrc/python/proxy.c */
} pg_block;

/* The sweep's to-do list: a max-heap of the blocks that have marks, keyed by start number. */
typedef struct {
    uint64_t start;
    uint32_t block;
} pg_heap_entry;

typedef struct {
    pg_mutex mutex;
    /* All slots there can be, as one array with 0 in its middle: leaves below, interior nodes above. Its addresses
     * are reserved from the beginning, its memory is committed a chunk at a time; so a slot never moves, and finding
     * it is one addition. The blocks likewise; a block of leaves has nothing but the list of proxies. */
    pg_node *nodes;
    pg_block *blocks;
    uint64_t *births;        /* of leaves, by their ids; its memory is not touched until a trace notes one there */
    int32_t most_chunks;     /* of either kind */
    int32_t interior_chunks; /* committed so far */
    int32_t leaf_chunks;

    uint32_t block_count;    /* blocks ever made */
    uint32_t current_block;  /* where the next interior node goes; at first block 0, which is full */
    pg_block *current;       /* that block */
    pg_node *current_nodes;  /* and its slots */
    uint32_t free_block;     /* head of the list of empty blocks; 0 ends it */
    uint64_t next_start;     /* the clock: of blocks, traces and births */

    uint32_t leaf_count; /* leaf ids ever handed out, 0 (no node) included: -1, -2, ... */
    pg_id free_leaf;     /* head of the list of free leaf slots; 0 ends it */
    pg_id set_aside;     /* while a trace runs: the list of them all, and free_leaf is 0 */
    pg_id *freed;        /* the list that a slot joins when it becomes free: set_aside while a trace runs */
    uint32_t traces;     /* running: pg_trace_begin() without its pg_trace_end() */

    size_t live_nodes; /* leaves included */
    size_t live_leaves;
    size_t closures; /* live nodes with PG_FLAG_CLOSURE */
    size_t reserved_bytes;

    pg_heap_entry *heap;
    size_t heap_size;
    size_t heap_capacity;

    pg_order *orders; /* the running ones (order.h) */
    pg_tape *tapes;   /* those with parameters here (tape.h) */

    _Atomic uint64_t *until_failure; /* mem.h's pg_until_failure, for the second binary */
} pg_arena;

/* The process's one arena. A pointer, so that a second binary can be given the first one's. */
extern pg_arena *pg_the_arena;

/* Take the lock and return the arena; every public function begins with this and ends with pg_unlock(). The native
 * proxy's copy of this code (PG_UNDER_GIL) holds the lock already. */
PG_INLINE pg_arena *pg_lock(void)
{
    pg_arena *arena = pg_the_arena;
#if !defined(PG_UNDER_GIL)
    pg_mutex_lock(&arena->mutex);
#endif
    return arena;
}

PG_INLINE void pg_unlock(pg_arena *arena)
{
#if defined(PG_UNDER_GIL)
    (void)arena;
#else
    pg_mutex_unlock(&arena->mutex);
#endif
}

PG_INLINE pg_node *pg_node_at(const pg_arena *arena, pg_id id)
{
    return arena->nodes + id;
}

PG_INLINE pg_block *pg_block_at(const pg_arena *arena, uint32_t block)
{
    return arena->blocks + block;
}

static inline bool pg_is_leaf(pg_id id)
{
    return id < 0;
}

/* The block of an interior node, and the node's slot in it; and the way back. */
static inline uint32_t pg_block_of(pg_id id)
{
    return (uint32_t)id / PG_BLOCK_SLOTS;
}

/* The block of a node of either kind. */
PG_INLINE pg_block *pg_block_holding(const pg_arena *arena, pg_id id)
{
    return arena->blocks + (id >> 6); /* rounds down, for leaves too */
}
_Static_assert(PG_BLOCK_SLOTS == 1 << 6 && -1 >> 6 == -1, "pg_block_holding() divides by a shift");

static inline uint32_t pg_slot_of(pg_id id)
{
    return (uint32_t)id % PG_BLOCK_SLOTS;
}

static inline pg_id pg_id_of(uint32_t block, uint32_t slot)
{
    return (pg_id)(block * PG_BLOCK_SLOTS + slot);
}

/* The operands of a node, or some of them: `first` (0 if there is none), then list[0], list[step], ... below
 * `count`. */
typedef struct {
    pg_id first;
    uint32_t count;
    const pg_id *list;
    uint32_t step;
} pg_operand_span;

static inline pg_operand_span pg_operands_of(const pg_node *node)
{
    if (node->op < PG_SUM) /* a leaf has neither, a unary op has a, a binary op has a and b */
        return (pg_operand_span){node->a, node->b != 0, &node->b, 1};
    const uint32_t count = (uint32_t)node->b; /* of a dot: its vector, then so many weights */
    const uint32_t entries = node->op == PG_DOT ? count + 1 : node->op == PG_DECLARED ? 2 * count : count;
    const void *payload = node + 1;
    if (node->op == PG_LOCAL)
        payload = (const double *)payload + node->b;
    return (pg_operand_span){node->a, entries, payload, 1};
}

/* The list of a node that has one, but for PG_LOCAL. */
static inline const pg_id *pg_list_of(const pg_node *node)
{
    return (const void *)(node + 1);
}

/* The inputs of a dot, node->b of them: a node that the dots of a layer share; NULL if `node` is no dot. */
static inline pg_node *pg_vector_of(const pg_arena *arena, const pg_node *node)
{
    return node->op == PG_DOT ? pg_node_at(arena, *pg_list_of(node)) : NULL;
}

/* The part of a split list that comes before this one; NULL: it is the first, or the list is not split. */
static inline pg_node *pg_part_before(const pg_arena *arena, const pg_node *node)
{
    pg_node *first = pg_node_at(arena, node->a);
    return first->flags & PG_FLAG_PART ? first : NULL; /* node 0 has no flags */
}

/* How many values of a take stand in the parts before this one. */
static inline uint32_t pg_first_place(const pg_arena *arena, const pg_node *node)
{
    uint32_t place = 0;
    while ((node = pg_part_before(arena, node)))
        place += (uint32_t)node->b - 1;
    return place;
}

/* Of a PG_LOCAL node, b of them; its list follows them. */
static inline const double *pg_local_grads(const pg_node *node)
{
    return (const void *)(node + 1);
}

/* False for id 0, and for an id whose node went while the caller was on its way here. */
static inline bool pg_is_live(const pg_arena *arena, pg_id id)
{
    return pg_node_at(arena, id)->refs > 0;
}

static inline bool pg_all_live(const pg_arena *arena, const pg_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pg_is_live(arena, ids[i]))
            return false;
    return true;
}

bool pg_start_arena(pg_arena *arena);  /* make an empty one; false: out of memory */
bool pg_reserve_leaf(pg_arena *arena); /* have a free leaf slot; false: out of memory */
bool pg_start_block(pg_arena *arena);  /* make an empty block the current one; false: out of memory */
void pg_free_node(pg_arena *arena, pg_id id);

/* Room for a leaf. One reference, the caller's. 0: out of memory. */
PG_INLINE pg_id pg_new_leaf_with(pg_arena *arena, double data, int flags)
{
    if (!arena->free_leaf && !pg_reserve_leaf(arena))
        return 0;
    const pg_id id = arena->free_leaf;
    pg_node *leaf = pg_node_at(arena, id);
    arena->free_leaf = leaf->a;
    *leaf = (pg_node){.data = data, .op = PG_LEAF, .flags = (uint8_t)flags, .slots = 1, .refs = 1};
    arena->live_nodes++;
    arena->live_leaves++;
    return id;
}

PG_INLINE pg_id pg_new_leaf(pg_arena *arena, double data)
{
    return pg_new_leaf_with(arena, data, 0);
}

/* Room for an interior node of so many slots; data, grad and operands 0. One reference, the caller's. 0: out of
 * memory. */
PG_INLINE pg_id pg_new_node(pg_arena *arena, int op, uint32_t slots)
{
    if (arena->current->used + slots > PG_BLOCK_SLOTS && !pg_start_block(arena))
        return 0;
    pg_block *block = arena->current;
    pg_node *node = arena->current_nodes + block->used;
    const pg_id id = pg_id_of(arena->current_block, block->used);
    *node = (pg_node){.op = (uint8_t)op, .slots = (uint16_t)slots, .refs = 1};
    block->used = (uint8_t)(block->used + slots);
    block->live++;
    arena->live_nodes++;
    return id;
}

PG_INLINE void pg_ref(pg_node *node)
{
    if (node->refs != PG_REFS_FOREVER)
        node->refs++;
}

/* Give a reference back, which may free the node and, iteratively, what only it held. */
PG_INLINE void pg_unref(pg_arena *arena, pg_id id)
{
    pg_node *node = pg_node_at(arena, id);
    if (node->refs == 1)
        pg_free_node(arena, id);
    else if (node->refs != PG_REFS_FOREVER)
        node->refs--;
}

#endif
