/* arena.h: where the graph lives: the idea, the node, the block, and the invariants.
 *
 * Nodes. A *node* is one number of a computation, with its gradient and the op that made it. An *interior* node was
 * computed from others: for `c = a * b`, c is an interior node, a and b are its *operands*, and c is a *consumer* of
 * a and of b. A *leaf* has no operands: it is an input, a parameter or a constant. The arena holds all nodes of the
 * process, of all its graphs and threads.
 *
 * The idea. The operands of a node exist before the node. So *creation order is a topological order*: whoever visits
 * the nodes from the newest to the oldest meets each node after all its consumers, and that is all that a backward pass
 * needs. The place of an interior node in memory tells its age. So the backward pass is one loop, from the newest place
 * down: there is nothing to sort, and nothing to recurse into.
 *
 *       id:   ... -3  -2  -1     0 .. 63      64 .. 127    128 .. 191    192 .. 255   ...
 *                 leaves         block 0      block 1      block 2       block 3
 *                                (not used)   start 9      start 4       start 11
 *
 * Blocks. Interior nodes lie in *blocks* of 64 slots. New nodes fill the slots of one block, the *current* one,
 * upward. When it is full, an empty block is started. Each time a block is started it gets a *start number*, larger
 * than any before. So of two nodes the newer one is in the block with the larger start number or, in one block, in
 * the higher slot. (In the picture the blocks from the oldest to the newest are 2, 1, 3.)
 *
 * A freed node leaves a gap. A new node in the gap would look older than it is, so gaps are not filled: a block only
 * counts its live nodes. When the count reaches 0 the block is empty, and can be started again with a new start
 * number. The price: a single live node keeps its whole block (2 KiB) from being used again.
 *
 * Leaves. A leaf has no operands, so it may lie anywhere: leaves have a pool of their own, where a freed slot is used
 * again at once. So the id of a leaf does not tell its age. While a trace runs, the birth of each new leaf is noted
 * (moment.h).
 *
 * References. A node has one reference from each place in an operand list that names it, one from its Python proxy
 * (the object that users call a Value), one for each time it is a root of a running order (order.c), one from each
 * tape that has it as a parameter, and one for each time a derivation has it among its results (derivations.h). When
 * the last reference goes, the node is freed and gives back the references to its operands (references.h).
 *
 * Hidden nodes. The arena makes some nodes of its own. Only their consumers refer to them, and no proxy. They are: the
 * leaf for the number in `a * 2.0`; the *parts* of an operand list that is too long for one block, and is split into a
 * chain of nodes; a *vector*, the list of the inputs of a dot. The dots of a layer share one vector: so each input is
 * listed and counted once, and not once a dot.
 *
 * Frozen leaves. A program must not see a sweep change the gradient of a frozen leaf; but a sweep that asked each
 * leaf whether it is frozen would be slower. So sweeps do add to the `grad` of a frozen leaf, and the gradient that
 * the program sees is kept in a hidden leaf, its *keeper*, which the frozen leaf names in its `a` (pg_grad_of in
 * node.h).
 *
 * Invariants. They hold whenever no thread has the lock; check.c verifies each of them:
 *   I1  An operand of a live node is live. If it is interior, it is older than the node.
 *   I2  The references of a node are those listed above: the places in operand lists that name it, 0 or 1 for its
 *       proxy, its places among the roots of running orders and among the results of derivations, and the tapes it is
 *       a parameter of. (Someone who calls pygrad.h without making a proxy may hold more, as a pg_kept does.)
 *   I3  The live count of a block is the number of its live nodes. Its marks are 0.
 *   I4  A block whose live count is 0 is on the free list, or it is the current block and has used no slot. (Block 0 is
 *       apart: it has no node, counts as full, and is on no list.)
 *   I5  Each leaf slot that was ever used is live or on a free list. While a trace runs that is the list `set_aside`,
 *       else `free_leaf`. No birth is later than now.
 *   I6  The arena's counts of live nodes, of live leaves, of closures and of takes are right.
 *   I7  The sweep's heap is empty, and has room for every block.
 *   I8  A block without live nodes has no proxies.
 *   I9  A take has an index and at least one value. All parts of a split take have the same index, and each
 *       has the place of its first value. A declared node has its y.
 *   I10 The list of a dot begins with a vector, which has one input for each of the dot's weights.
 *   I11 A frozen node is a leaf. Its `a` is its keeper: a hidden leaf that is not frozen. Any other leaf has neither
 *       `a` nor `b`.
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

/* PG_INLINE is for functions that every operation runs, even where the compiler would not inline them: where the op
 * is a constant, only the code of its row is left. */
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
#define PG_REFS_FOREVER (UINT32_MAX / 2 + 1) /* a count of references that gets here stays here: no overflow */

enum {
    PG_FLAG_CLOSURE = 1, /* its backward step is a Python closure */
    PG_FLAG_BUSY = 2,    /* a running order holds it */
    PG_FLAG_PART = 4,    /* a part of a split operand list: hidden; its consumer, the next part, has it as `a` */
    PG_FLAG_LISTED = 8,  /* only under the lock: reach.c has listed this node already; derive.c has an entry for it */
    PG_FLAG_VECTOR = 16, /* a vector: hidden, a PG_CUSTOM node, the first entry in the lists of its dots */
    PG_FLAG_FROZEN = 32, /* a frozen leaf: its `a` is its keeper */
    PG_FLAG_NUMBER = 64, /* a leaf for a number in an expression, or a keeper: it needs no gradient */
    PG_FLAG_LENT = 128,  /* a leaf whose gradient is lent to a running order (order.c) */
};

/* A node takes one slot of 32 bytes. Its *payload* takes the slots right behind it, in the same block. It depends on
 * the op: none, an operand list (pg_operands_of), local gradients and then the list (pg_local_grads), or the exponent
 * of a power. */
typedef struct {
    double data;
    double grad;
    pg_id a;        /* first operand; of a list op: the part before, or the start, bias or y; 0: there is none. In a
                     * free leaf slot: the next free one. In a frozen leaf: its keeper */
    pg_id b;        /* second operand; of a list op: the number of entries in its list (of a dot: of weights; of a
                     * declared node: of pairs) */
    uint8_t op;     /* pg_op_code */
    uint8_t flags;
    uint16_t slots; /* 1 + payload */
    uint32_t refs;  /* 0: the slot is not a live node */
} pg_node;
_Static_assert(sizeof(pg_node) == 32, "a node is 32 bytes: two a cache line");

typedef struct {
    uint64_t marks; /* bit i: the walk that runs has still to visit slot i (walk.h) */
    uint64_t start; /* start number */
    uint32_t next_free; /* on the free list: the next block; 0 ends the list */
    uint8_t used; /* slots filled so far */
    uint8_t live; /* live count */
    uint8_t has_payloads; /* 1: some nodes in it have payloads, or had */
    void *proxies; /* the list of its nodes' proxies (csrc/python/proxy.c) */
} pg_block;

/* An entry of the heap of a walk: a block that has marks. The block with the largest start number is on top. */
typedef struct {
    uint64_t start;
    uint32_t block;
} pg_heap_entry;

typedef struct {
    pg_mutex mutex;
    /* All slots that there can ever be: one array, by id. `nodes` points into its middle: leaves lie below, interior
     * nodes above. The addresses of the whole array are reserved at the start, and memory is committed one chunk at a
     * time. So a slot never moves, and to find it takes one addition. The blocks are an array of this kind too;
     * leaves lie in blocks as well, which use only their list of proxies. */
    pg_node *nodes;
    pg_block *blocks;
    uint64_t *births; /* of leaves, by id; no memory of it is touched before a trace notes a birth there */
    int32_t most_chunks; /* there is room for this many chunks of leaves, and of interior nodes */
    int32_t interior_chunks; /* committed so far */
    int32_t leaf_chunks;

    uint32_t block_count; /* blocks made so far, block 0 included */
    uint32_t current_block; /* the next interior node goes there; at first it is block 0, which counts as full */
    pg_block *current; /* this block */
    pg_node *current_nodes; /* slot 0 of this block */
    uint32_t free_block; /* head of the free list of blocks; 0 ends it */
    uint64_t next_start; /* the clock of the arena: the next start number. It moves when a block or a trace starts;
                          * births are noted by it too */

    uint32_t leaf_count; /* 1 + the leaf slots made so far: ids -1, -2, ... */
    pg_id free_leaf; /* head of the free list of leaf slots; 0 ends it */
    pg_id set_aside; /* while a trace runs: the head of the list of all free slots; free_leaf is 0 then */
    pg_id *free_list; /* the list that freed leaf slots join: &free_leaf; while a trace runs, &set_aside */
    uint32_t traces; /* how many traces are running (moment.h): as many as there are modes of this kind */

    size_t live_nodes; /* leaves included */
    size_t live_leaves;
    size_t closures; /* live nodes with PG_FLAG_CLOSURE */
    size_t takes; /* live nodes of the op PG_TAKE */
    size_t reserved_bytes;

    pg_heap_entry *heap;
    size_t heap_size;
    size_t heap_capacity;

    pg_order *orders; /* the list of running orders (order.c) */
    pg_derivation *derivations; /* the list of derivations that hold results (derivations.h) */
    pg_mode *modes; /* the list of modes, newest first (modes.h) */
    pg_open_modes open; /* how many modes there are */
    uint64_t (*number_of_thread)(void); /* pg_number_of_thread() of the first binary, for both */
    pg_tape *tapes; /* the list of all tapes whose parameters are set, even if a tape has none (tape.h) */

    _Atomic uint64_t *until_failure; /* the first binary's pg_until_failure (mem.h), for the second binary */
} pg_arena;

/* The process's one arena. It is a pointer so that the second binary can use the arena of the first (process.h). */
extern pg_arena *pg_the_arena;

/* Acquire the lock and return the arena. Every function of pygrad.h that uses the arena does so first, and ends with
 * pg_unlock(). In the native proxy's copy of this code (PG_UNDER_GIL) the caller has the lock, the GIL, already. */
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

/* The number of the block that an interior node lies in. */
static inline uint32_t pg_block_of(pg_id id)
{
    return (uint32_t)id / PG_BLOCK_SLOTS;
}

/* The slot that an interior node has in its block. */
static inline uint32_t pg_slot_of(pg_id id)
{
    return (uint32_t)id % PG_BLOCK_SLOTS;
}

/* The id of the node in this slot of this block. */
static inline pg_id pg_id_of(uint32_t block, uint32_t slot)
{
    return (pg_id)(block * PG_BLOCK_SLOTS + slot);
}

/* The block of any node, leaf or interior. */
PG_INLINE pg_block *pg_block_holding(const pg_arena *arena, pg_id id)
{
    return arena->blocks + (id >> 6); /* rounds down, for leaves too */
}
_Static_assert(PG_BLOCK_SLOTS == 1 << 6 && -1 >> 6 == -1, "pg_block_holding() divides by a shift");

/* The operands of a node, or some of them: `front`, unless it is 0; then list[i] for i = 0, step, 2 * step, ... while
 * i < count. */
typedef struct {
    pg_id front;
    uint32_t count;
    const pg_id *list;
    uint32_t step;
} pg_operand_span;

/* Every id that a node has a reference to. In a part these are the part before, and the part's own list. Of a frozen
 * leaf it is the keeper: so a caller that wants operands must leave leaves out. */
static inline pg_operand_span pg_operands_of(const pg_node *node)
{
    if (node->op < PG_SUM) /* a unary op has a, a binary op has a and b, a leaf neither (a frozen one its keeper) */
        return (pg_operand_span){node->a, node->b != 0, &node->b, 1};
    const uint32_t count = (uint32_t)node->b; /* of a dot: of weights, which stand behind its vector */
    const uint32_t entries = node->op == PG_DOT ? count + 1 : node->op == PG_DECLARED ? 2 * count : count;
    const void *payload = node + 1;
    if (node->op == PG_LOCAL)
        payload = (const double *)payload + node->b;
    return (pg_operand_span){node->a, entries, payload, 1};
}

/* The operand list of a node that has one. Not for PG_LOCAL, whose list stands behind its local gradients. */
static inline const pg_id *pg_list_of(const pg_node *node)
{
    return (const void *)(node + 1);
}

/* The vector of a dot, whose list is the dot's node->b inputs. NULL: `node` is not a dot. */
static inline pg_node *pg_vector_of(const pg_arena *arena, const pg_node *node)
{
    return node->op == PG_DOT ? pg_node_at(arena, *pg_list_of(node)) : NULL;
}

/* The part that comes before this one in a split list. NULL: this is the first part, or the list is not split. */
static inline pg_node *pg_part_before(const pg_arena *arena, const pg_node *node)
{
    pg_node *first = pg_node_at(arena, node->a);
    return first->flags & PG_FLAG_PART ? first : NULL; /* node 0 has no flags */
}

/* How many values of a take are in the parts before this one: the place of this part's first value. It stands behind
 * the list, so that a backward pass need not count through all parts. */
static inline uint32_t pg_first_place(const pg_node *node)
{
    return (uint32_t)pg_list_of(node)[node->b];
}

/* The local gradients of a PG_LOCAL node: node->b of them, and the list stands behind them. */
static inline const double *pg_local_grads(const pg_node *node)
{
    return (const void *)(node + 1);
}

/* Does a node begin in the slot of this interior id, which was used? Else the slot is part of a payload. */
static inline bool pg_begins_node(const pg_arena *arena, pg_id id)
{
    const uint32_t block = pg_block_of(id), end = pg_slot_of(id);
    uint32_t slot = 0;
    if (!pg_block_at(arena, block)->has_payloads)
        return true;
    while (slot < end)
        slot += pg_node_at(arena, pg_id_of(block, slot))->slots;
    return slot == end;
}

/* Does this id, which may be any number, name a live node? False for id 0, for an id whose node was freed, and for the
 * parts and vectors of operand lists, which Python never sees. But if the slot of a freed node has been used again, the
 * old id names the new node: so only an id that the caller holds a reference to is sure. */
static inline bool pg_is_node(const pg_arena *arena, pg_id id)
{
    if (pg_is_leaf(id))
        return id > -(int64_t)arena->leaf_count && pg_node_at(arena, id)->refs > 0;
    if (pg_block_of(id) >= arena->block_count || pg_slot_of(id) >= pg_block_at(arena, pg_block_of(id))->used)
        return false;
    const pg_node *node = pg_node_at(arena, id);
    return node->refs > 0 && !(node->flags & (PG_FLAG_PART | PG_FLAG_VECTOR)) && pg_begins_node(arena, id);
}

/* As pg_is_node(), for an id that a function of pygrad.h was given. Python may pass any number through cffi. The native
 * proxy passes the ids of its proxies: it may only have one whose node was freed. */
static inline bool pg_is_live(const pg_arena *arena, pg_id id)
{
#if defined(PG_UNDER_GIL)
    return pg_node_at(arena, id)->refs > 0;
#else
    return pg_is_node(arena, id);
#endif
}

/* An id that a function of pygrad.h was given; 0 if it names no live node. */
static inline pg_id pg_known(const pg_arena *arena, pg_id id)
{
#if defined(PG_UNDER_GIL)
    (void)arena;
    return id;
#else
    return pg_is_live(arena, id) ? id : 0;
#endif
}

static inline bool pg_all_live(const pg_arena *arena, const pg_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pg_is_live(arena, ids[i]))
            return false;
    return true;
}

bool pg_start_arena(pg_arena *arena); /* make the arena, empty; false: out of memory */
bool pg_reserve_leaf(pg_arena *arena); /* put at least one slot on the list free_leaf; false: out of memory */
bool pg_start_block(pg_arena *arena); /* make an empty block the current one; false: out of memory */

/* Make a leaf. It has one reference, the caller's. 0: out of memory. */
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

/* Make an interior node of `slots` slots, payload included; data, grad and operands are 0. It has one reference, the
 * caller's. 0: out of memory. */
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
    if (slots > 1)
        block->has_payloads = 1;
    arena->live_nodes++;
    return id;
}

#endif
