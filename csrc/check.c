/* check.c: verify the invariants that arena.h states. For tests: the engine uses nothing of this. */
#include "engine/arena.h"
#include "engine/modes.h"
#include "engine/order.h"
#include "mem.h"
#include "tape/tape.h"

/* What a look at every node finds: how many operand lists name each slot, and how many nodes there are. */
typedef struct {
    const pg_arena *arena;
    uint32_t *leaf_refs;
    uint32_t *node_refs;
    size_t live_nodes;
    size_t live_leaves;
    size_t closures;
    size_t takes;
} census;

#define REQUIRE(condition, broken) \
    do {                           \
        if (!(condition))          \
            return broken;         \
    } while (0)

static uint32_t *expected_refs(const census *found, pg_id id)
{
    return pg_is_leaf(id) ? &found->leaf_refs[-id] : &found->node_refs[id];
}

static bool is_handed_out(const pg_arena *arena, pg_id id)
{
    if (pg_is_leaf(id))
        return -(int64_t)id < arena->leaf_count;
    return pg_block_of(id) >= 1 && pg_block_of(id) < arena->block_count;
}

static bool is_older(const pg_arena *arena, pg_id a, pg_id b)
{
    const uint64_t start_a = pg_block_at(arena, pg_block_of(a))->start;
    const uint64_t start_b = pg_block_at(arena, pg_block_of(b))->start;
    return start_a < start_b || (start_a == start_b && a < b);
}

static const char *check_operand(census *found, pg_id id, pg_id operand)
{
    const pg_arena *arena = found->arena;
    REQUIRE(is_handed_out(arena, operand), "I1: an operand id was never handed out");
    REQUIRE(pg_node_at(arena, operand)->refs > 0, "I1: an operand of a live node is not live");
    REQUIRE(pg_is_leaf(operand) || !pg_is_leaf(id), "I1: a leaf has a result as operand");
    REQUIRE(pg_is_leaf(operand) || is_older(arena, operand, id), "I1: an operand is younger than its consumer");
    ++*expected_refs(found, operand);
    return NULL;
}

static const char *check_structure(const pg_arena *arena, const pg_node *node)
{
    const pg_node *before = pg_part_before(arena, node);
    REQUIRE(!before || before->op == node->op, "a part of a split list is of another op");
    REQUIRE(node->op != PG_DECLARED || node->a, "I9: a declared node has no y");
    if (node->op != PG_TAKE)
        return NULL;
    REQUIRE(node->b >= 2, "I9: a take has no value");
    REQUIRE(!before || *(const pg_id *)(before + 1) == *(const pg_id *)(node + 1), "I9: a split take has two indices");
    REQUIRE(pg_first_place(node) == (before ? pg_first_place(before) + (uint32_t)before->b - 1 : 0),
            "I9: a part of a take has the wrong place");
    return NULL;
}

/* I11: a frozen leaf has a keeper, and any other leaf has neither `a` nor `b`. */
static bool is_good_leaf(const pg_arena *arena, pg_id id, const pg_node *leaf)
{
    const bool frozen = leaf->flags & PG_FLAG_FROZEN;
    const bool kept = frozen && pg_is_leaf(leaf->a) && leaf->a != id && pg_node_at(arena, leaf->a)->refs == 1 &&
                      !(pg_node_at(arena, leaf->a)->flags & PG_FLAG_FROZEN);
    return leaf->b == 0 && (frozen ? kept : leaf->a == 0);
}

static const char *check_node(census *found, pg_id id)
{
    const pg_node *node = pg_node_at(found->arena, id);
    const pg_operand_span operands = pg_operands_of(node);
    const char *broken = operands.front ? check_operand(found, id, operands.front) : NULL;
    for (uint32_t i = 0; i < operands.count && !broken; i++)
        broken = check_operand(found, id, operands.list[i]);
    const pg_node *vector = pg_vector_of(found->arena, node);
    REQUIRE(!vector || (vector->flags & PG_FLAG_VECTOR && vector->b == node->b), "I10: a dot lacks its vector");
    REQUIRE(node->op < PG_OP_COUNT, "a live node has no op");
    broken = broken ? broken : check_structure(found->arena, node);
    REQUIRE(!(node->flags & PG_FLAG_BUSY) || found->arena->orders, "a node is busy and no order runs");
    REQUIRE(broken || node->op != PG_LEAF || is_good_leaf(found->arena, id, node), "I11: a leaf has an operand");
    REQUIRE(pg_is_leaf(id) || !(node->flags & PG_FLAG_FROZEN), "I11: a result is frozen");
    found->live_nodes++;
    found->live_leaves += pg_is_leaf(id);
    found->closures += (node->flags & PG_FLAG_CLOSURE) != 0;
    found->takes += node->op == PG_TAKE;
    return broken;
}

static const char *check_block(census *found, uint32_t index)
{
    const pg_arena *arena = found->arena;
    const pg_block *block = pg_block_at(arena, index);
    uint32_t live = 0;
    REQUIRE(block->marks == 0, "I3: a block has marks and no sweep runs");
    REQUIRE(block->used <= PG_BLOCK_SLOTS, "I3: a block is overfull");
    REQUIRE(block->live > 0 || !block->proxies, "I8: an empty block has a proxy");
    if (block->live == 0)
        return block->used == 0 || index != arena->current_block ? NULL : "I4: the empty current block has nodes";
    for (uint32_t slot = 0; slot < block->used;) {
        const pg_id id = pg_id_of(index, slot);
        const pg_node *node = pg_node_at(arena, id);
        REQUIRE(node->slots > 0 && slot + node->slots <= block->used, "I3: a payload leaves its block");
        const char *broken = node->refs > 0 ? check_node(found, id) : NULL;
        REQUIRE(!broken, broken);
        live += node->refs > 0;
        slot += node->slots;
    }
    REQUIRE(live == block->live, "I3: a block's live count is wrong");
    return NULL;
}

static const char *check_blocks(census *found)
{
    const pg_arena *arena = found->arena;
    size_t empty = 0, listed = 0;
    for (uint32_t index = 1; index < arena->block_count; index++) {
        const char *broken = check_block(found, index);
        REQUIRE(!broken, broken);
        empty += pg_block_at(arena, index)->live == 0 && index != arena->current_block;
    }
    for (uint32_t index = arena->free_block; index; index = pg_block_at(arena, index)->next_free) {
        REQUIRE(pg_block_at(arena, index)->live == 0, "I4: a block on the free list is in use");
        REQUIRE(++listed <= empty, "I4: the free list of blocks is a circle");
    }
    REQUIRE(listed == empty, "I4: an empty block is lost");
    return NULL;
}

static const char *check_leaves(census *found)
{
    const pg_arena *arena = found->arena;
    size_t dead = 0, listed = 0;
    for (uint32_t i = 1; i < arena->leaf_count; i++) {
        const pg_id id = -(pg_id)i;
        const char *broken = pg_is_live(arena, id) ? check_node(found, id) : NULL;
        REQUIRE(!broken, broken);
        dead += pg_node_at(arena, id)->refs == 0;
        REQUIRE(arena->births[id] <= arena->next_start, "I5: a leaf was born later than now");
    }
    const pg_id lists[] = {arena->free_leaf, arena->set_aside};
    REQUIRE(arena->traces == arena->open.of[PG_MODE_TRACE], "I5: a trace is no mode, or a mode no trace");
    REQUIRE(!(arena->traces ? lists[0] : lists[1]), "I5: a trace has set too little aside, or has left it there");
    for (int which = 0; which < 2; which++)
        for (pg_id id = lists[which]; id; id = pg_node_at(arena, id)->a) {
            REQUIRE(pg_node_at(arena, id)->refs == 0, "I5: a leaf on the free list is in use");
            REQUIRE(++listed <= dead, "I5: the free list of leaves is a circle");
        }
    REQUIRE(listed == dead, "I5: a free leaf is lost");
    return NULL;
}

static void count_derived(census *found)
{
    for (const pg_derivation *job = found->arena->derivations; job; job = job->next) {
        for (uint32_t i = 0; i < job->found_count; i++)
            if (job->found[i].id)
                ++*expected_refs(found, job->found[i].id);
        for (uint32_t i = 0; i < job->made_count; i++)
            ++*expected_refs(found, job->made[i]);
    }
}

static const char *check_refs(const census *found, pg_id id)
{
    const uint32_t refs = pg_node_at(found->arena, id)->refs;
    if (refs == 0 || refs == PG_REFS_FOREVER)
        return NULL;
    const size_t expected =
        *expected_refs(found, id) + pg_order_roots(found->arena, id) + pg_tape_references(found->arena->tapes, id);
    REQUIRE(refs >= expected, "I2: a node has too few references");
    REQUIRE(refs <= expected + 1, "I2: a node has too many references");
    return NULL;
}

static const char *check_all_refs(const census *found)
{
    const pg_arena *arena = found->arena;
    for (uint32_t i = 1; i < arena->leaf_count; i++) {
        const char *broken = check_refs(found, -(pg_id)i);
        REQUIRE(!broken, broken);
    }
    for (uint32_t index = 1; index < arena->block_count; index++) {
        const pg_block *block = pg_block_at(arena, index);
        for (uint32_t slot = 0; block->live && slot < block->used;) {
            const pg_id id = pg_id_of(index, slot);
            const char *broken = check_refs(found, id);
            REQUIRE(!broken, broken);
            slot += pg_node_at(arena, id)->slots;
        }
    }
    return NULL;
}

static const char *check_counts(const census *found)
{
    const pg_arena *arena = found->arena;
    REQUIRE(found->live_nodes == arena->live_nodes, "I6: the count of live nodes is wrong");
    REQUIRE(found->live_leaves == arena->live_leaves, "I6: the count of live leaves is wrong");
    REQUIRE(found->closures == arena->closures, "I6: the count of closures is wrong");
    REQUIRE(found->takes == arena->takes, "I6: the count of takes is wrong");
    REQUIRE(arena->heap_size == 0, "I7: the heap is not empty");
    REQUIRE(arena->heap_capacity >= arena->block_count || arena->block_count == 1, "I7: the heap lacks room");
    return NULL;
}

static const char *check_arena(census *found)
{
    const char *broken = check_blocks(found);
    broken = broken ? broken : check_leaves(found);
    count_derived(found);
    broken = broken ? broken : check_all_refs(found);
    broken = broken ? broken : pg_check_modes(found->arena);
    return broken ? broken : check_counts(found);
}

const char *pg_running(void)
{
    static const char *const names[PG_MODE_KINDS] = {
        [PG_MODE_NO_GRAD] = "no_grad()",     [PG_MODE_GRAD] = "enable_grad()", [PG_MODE_ANOMALY] = "detect_anomaly()",
        [PG_MODE_RECORDING] = "a recording", [PG_MODE_NESTED] = "a transform", [PG_MODE_QUIET] = "a read",
        [PG_MODE_TRACE] = "a trace",         [PG_MODE_CALL] = "a call",
    };
    pg_arena *arena = pg_lock();
    const char *running = arena->orders ? "a backward pass" : arena->modes ? names[arena->modes->kind] : NULL;
    pg_unlock(arena);
    return running;
}

const char *pg_check(void)
{
    pg_arena *arena = pg_lock();
    census found = {
        .arena = arena,
        .leaf_refs = pg_zeroed(arena->leaf_count * sizeof(uint32_t)),
        .node_refs = pg_zeroed((size_t)arena->block_count * PG_BLOCK_SLOTS * sizeof(uint32_t)),
    };
    const char *broken = found.leaf_refs && found.node_refs ? check_arena(&found) : "no memory to check with";
    pg_unlock(arena);
    pg_free(found.leaf_refs);
    pg_free(found.node_refs);
    return broken;
}
