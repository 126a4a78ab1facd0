/* tape.c: how a tape is made: copied out of the arena (pg_tape_new), and freed of what no output depends on
 * (pg_tape_compact). */
#include "tape/tape.h"

#include <string.h>

#include "engine/moment.h"
#include "engine/node.h"
#include "engine/reach.h"
#include "mem.h"

/* --- tapes --- */

/* Give back the references to parameters, and leave the arena's list of tapes. */
static void leave_arena(pg_tape *tape)
{
    pg_arena *arena = pg_lock();
    for (uint32_t i = 0; i < tape->parameters; i++)
        pg_unref(arena, tape->ids[i]);
    *tape->link = tape->next;
    if (tape->next)
        tape->next->link = tape->link;
    pg_unlock(arena);
}

/* Hold a reference to each parameter, and join the arena's list of tapes. */
static void join_arena(pg_arena *arena, pg_tape *tape)
{
    for (uint32_t i = 0; i < tape->parameters; i++)
        pg_ref(pg_node_at(arena, tape->ids[i]));
    tape->next = arena->tapes;
    tape->link = &arena->tapes;
    if (tape->next)
        tape->next->link = &tape->next;
    arena->tapes = tape;
}

static bool are_leaves(const pg_arena *arena, const pg_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pg_is_leaf(ids[i]))
            return false;
    return pg_all_live(arena, ids, count);
}

pg_status pg_tape_set_parameters(pg_tape *tape, const pg_id *ids)
{
    pg_id *own = pg_realloc(NULL, tape->parameters * sizeof *own + 1);
    if (!own)
        return PG_NO_MEMORY;
    memcpy(own, ids, tape->parameters * sizeof *own);
    pg_arena *arena = pg_lock();
    const bool good = are_leaves(arena, own, tape->parameters);
    if (good) {
        tape->ids = own;
        join_arena(arena, tape);
    }
    pg_unlock(arena);
    if (!good)
        pg_free(own);
    return good ? PG_OK : PG_NO_NODE;
}

size_t pg_tape_references(const pg_tape *tapes, pg_id id)
{
    size_t count = 0;
    for (const pg_tape *tape = tapes; tape; tape = tape->next)
        for (uint32_t i = 0; i < tape->parameters; i++)
            count += tape->ids[i] == id;
    return count;
}

void pg_tape_drop(pg_tape *tape)
{
    if (!tape || --tape->owners > 0)
        return;
    if (tape->ids)
        leave_arena(tape);
    pg_free(tape->nodes);
    pg_free(tape->lists);
    pg_free(tape->outputs);
    pg_free(tape->ids);
    pg_free(tape);
}

void pg_tape_cell_free(void *cell)
{
    pg_tape_drop(((pg_tape_cell *)cell)->tape);
    pg_free(cell);
}

size_t pg_tape_room(pg_tape *tape, size_t count)
{
    const size_t needed = tape->list_size + count + 1; /* 1 more: an array without entries is an array too */
    if (!pg_grow(&tape->lists, &tape->list_capacity, needed, sizeof *tape->lists))
        return SIZE_MAX;
    tape->list_size += count;
    return tape->list_size - count;
}

static inline void visit_each(pg_tape *tape, pg_tape_node *node, pg_receivers which, pg_operand_fn *visit,
                              void *context)
{
    if (node->op == PG_LEAF || node->op >= PG_OP_COUNT || which.step == 0)
        return;
    if (which.front && node->a >= 0)
        visit(&node->a, context);
    if (pg_has_list(node->op))
        for (uint32_t i = which.from; i < node->count; i += which.step)
            visit(&tape->lists[node->list + i], context);
    else if (pg_op_arity((int)node->op) == 2)
        visit(&node->b, context);
}

void pg_tape_each_operand(pg_tape *tape, pg_tape_node *node, pg_operand_fn *visit, void *context)
{
    visit_each(tape, node, (pg_receivers){true, 0, 1}, visit, context);
}

void pg_tape_each_receiver(pg_tape *tape, pg_tape_node *node, pg_operand_fn *visit, void *context)
{
    visit_each(tape, node, pg_receivers_of_op(node->op), visit, context);
}

void pg_tape_size(const pg_tape *tape, pg_tape_sizes *sizes)
{
    *sizes = (pg_tape_sizes){.nodes = tape->count,
                             .inputs = tape->inputs,
                             .parameters = tape->parameters,
                             .constants = tape->constants,
                             .outputs = tape->output_count,
                             .list_size = tape->list_size};
}

size_t pg_tape_read(const pg_tape *tape, uint32_t place, int *op, double *literal, int32_t *operands)
{
    const pg_tape_node *node = &tape->nodes[place];
    *op = (int)node->op;
    *literal = node->literal;
    operands[0] = node->a;
    if (!pg_has_list(node->op)) {
        operands[1] = node->b;
        return node->op < PG_OP_COUNT ? (size_t)pg_op_arity((int)node->op) : 1;
    }
    memcpy(operands + 1, tape->lists + node->list, node->count * sizeof *operands);
    return 1 + (size_t)node->count;
}

void pg_tape_outputs(const pg_tape *tape, int32_t *out)
{
    memcpy(out, tape->outputs, tape->output_count * sizeof *out);
}

void pg_tape_parameters(const pg_tape *tape, pg_id *out)
{
    memcpy(out, tape->ids, tape->parameters * sizeof *out);
}

/* --- compaction --- */

static void keep_operand(int32_t *operand, void *context)
{
    ((int32_t *)context)[*operand] = 1;
}

static void move_operand(int32_t *operand, void *context)
{
    *operand = ((const int32_t *)context)[*operand];
}

/* Give the marked nodes of one kind places, from `next` on, and the other nodes of that kind -1. Kind PG_LEAF means
 * operations. Return the place after the last. */
static int32_t place_kind(const pg_tape *tape, int32_t *places, uint32_t kind, int32_t next)
{
    for (uint32_t i = 0; i < tape->count; i++) {
        const uint32_t op = tape->nodes[i].op;
        if ((op < PG_OP_COUNT ? PG_LEAF : op) == kind)
            places[i] = places[i] ? next++ : -1;
    }
    return next;
}

/* Mark what outputs depend on, and all inputs and parameters. */
static void mark_kept(pg_tape *tape, int32_t *kept)
{
    for (uint32_t i = 0; i < tape->output_count; i++)
        kept[tape->outputs[i]] = 1;
    for (uint32_t i = tape->count; i-- > 0;) {
        const uint32_t op = tape->nodes[i].op;
        kept[i] |= op == PG_TAPE_INPUT || op == PG_TAPE_PARAMETER;
        if (kept[i])
            pg_tape_each_operand(tape, &tape->nodes[i], keep_operand, kept);
    }
}

static void wake(int32_t *operand, void *context)
{
    ((pg_tape_node *)context)[*operand].fixed &= (uint8_t)~PG_INERT;
}

static void make_unconditional(int32_t *operand, void *context)
{
    ((pg_tape_node *)context)[*operand].fixed &= (uint8_t)~PG_CONDITIONAL;
}

/* Find the operations that an adjoint may come to or not. All have the bit of those at first. */
static void find_conditional(pg_tape *tape)
{
    pg_tape_node *nodes = tape->nodes;
    for (uint32_t i = 0; i < tape->output_count; i++)
        make_unconditional(&tape->outputs[i], nodes);
    tape->conditional = 0;
    for (uint32_t i = tape->count; i-- > pg_tape_operations(tape);)
        if (nodes[i].fixed & PG_INERT)
            make_unconditional(&(int32_t){(int32_t)i}, nodes);
        else if (nodes[i].fixed & PG_CONDITIONAL)
            tape->conditional++;
        else if (nodes[i].op != PG_TAKE)
            pg_tape_each_receiver(tape, &nodes[i], make_unconditional, nodes);
}

/* Find what the backward pass leaves out: the adjoints of operands that are constants, and the operations that no
 * output passes an adjoint on to; and what it may leave out. */
static void find_fixed(pg_tape *tape)
{
    pg_tape_node *nodes = tape->nodes;
    const uint32_t first = pg_tape_operations(tape);
    for (uint32_t i = first; i < tape->count; i++) {
        nodes[i].fixed = PG_INERT | PG_CONDITIONAL;
        if (nodes[i].op < PG_POWER)
            nodes[i].fixed |= (uint8_t)((nodes[nodes[i].a].op == PG_TAPE_CONSTANT ? PG_FIXED_A : 0) |
                                        (nodes[nodes[i].b].op == PG_TAPE_CONSTANT ? PG_FIXED_B : 0));
    }
    for (uint32_t i = 0; i < tape->output_count; i++)
        wake(&tape->outputs[i], nodes);
    for (uint32_t i = tape->count; i-- > first;)
        if (!(nodes[i].fixed & PG_INERT))
            pg_tape_each_receiver(tape, &nodes[i], wake, nodes);
    find_conditional(tape);
}

/* Turn all marks into places, in the sequence of T1; return how many nodes are kept. */
static uint32_t place_all(pg_tape *tape, int32_t *places)
{
    tape->inputs = (uint32_t)place_kind(tape, places, PG_TAPE_INPUT, 0);
    tape->parameters = (uint32_t)place_kind(tape, places, PG_TAPE_PARAMETER, (int32_t)tape->inputs) - tape->inputs;
    const uint32_t leaves = tape->inputs + tape->parameters;
    tape->constants = (uint32_t)place_kind(tape, places, PG_TAPE_CONSTANT, (int32_t)leaves) - leaves;
    return (uint32_t)place_kind(tape, places, PG_LEAF, (int32_t)pg_tape_operations(tape));
}

/* Copy each node that is kept to its place in `nodes`, and its list to `lists`; return how many entries `lists` has. */
static size_t move_all(pg_tape *tape, int32_t *places, pg_tape_node *nodes, int32_t *lists)
{
    size_t list_size = 0;
    tape->takes = 0;
    for (uint32_t i = 0; i < tape->count; i++) {
        if (places[i] < 0)
            continue;
        pg_tape_node *node = &tape->nodes[i];
        pg_tape_each_operand(tape, node, move_operand, places);
        nodes[places[i]] = *node;
        tape->takes += node->op == PG_TAKE;
        if (pg_has_list(node->op)) {
            memcpy(lists + list_size, tape->lists + node->list, node->count * sizeof *lists);
            nodes[places[i]].list = (uint32_t)list_size;
            list_size += node->count;
        }
    }
    for (uint32_t i = 0; i < tape->output_count; i++)
        tape->outputs[i] = places[tape->outputs[i]];
    return list_size;
}

bool pg_tape_compact(pg_tape *tape)
{
    int32_t *places = pg_zeroed(tape->count * sizeof *places + 1);
    pg_tape_node *nodes = pg_realloc(NULL, tape->count * sizeof *nodes + 1);
    int32_t *lists = pg_realloc(NULL, tape->list_size * sizeof *lists + 1);
    if (!places || !nodes || !lists) {
        pg_free(places);
        pg_free(nodes);
        pg_free(lists);
        return false;
    }
    mark_kept(tape, places);
    const uint32_t count = place_all(tape, places);
    tape->list_capacity = tape->list_size = move_all(tape, places, nodes, lists);
    pg_free(places);
    pg_free(tape->nodes);
    pg_free(tape->lists);
    tape->nodes = nodes;
    tape->count = count;
    tape->lists = lists;
    find_fixed(tape);
    return true;
}

/* --- from the arena --- */

/* The places on the tape of the ids from `low` to `high`: an entry is 1 + the place, or 0: not on the tape. */
typedef struct {
    pg_id low;
    pg_id high;
    int32_t *entries;
} place_map;

/* The state of writing a tape. A leaf made since the moment `since`, when the recording began, becomes a constant; an
 * older leaf becomes a parameter. */
typedef struct {
    pg_arena *arena;
    pg_tape *tape;
    size_t capacity;
    place_map map;
    pg_moment since;
    pg_id culprit;
} writer;

static void widen(place_map *map, pg_id id)
{
    map->low = id < map->low ? id : map->low;
    map->high = id > map->high ? id : map->high;
}

static int32_t *entry_of(const place_map *map, pg_id id)
{
    return map->entries + ((int64_t)id - map->low);
}

/* The parts of a split take or declared op become one node of the tape; each part of a split sum or dot becomes one. */
static bool can_be_merged(const pg_node *node)
{
    return node->op == PG_TAKE || node->op == PG_DECLARED;
}

/* Is a node a part that is merged, and so no node of the tape? */
static bool is_merged(const pg_node *node)
{
    return can_be_merged(node) && node->flags & PG_FLAG_PART;
}

/* Append a node; NULL: out of memory, or more nodes than int32_t can number. */
static pg_tape_node *append(writer *w)
{
    pg_tape *tape = w->tape;
    if (tape->count == INT32_MAX || !pg_grow(&tape->nodes, &w->capacity, tape->count + 1, sizeof *tape->nodes))
        return NULL;
    return &tape->nodes[tape->count++];
}

/* Append a leaf, unless it is on the tape already. */
static bool write_leaf(writer *w, pg_id id)
{
    int32_t *entry = entry_of(&w->map, id);
    if (*entry)
        return true;
    pg_tape_node *leaf = append(w);
    if (!leaf)
        return false;
    const bool is_parameter = !pg_was_made_since(w->arena, w->since, id);
    *leaf = (pg_tape_node){.literal = pg_node_at(w->arena, id)->data,
                           .op = is_parameter ? PG_TAPE_PARAMETER : PG_TAPE_CONSTANT,
                           .a = is_parameter ? (int32_t)id : 0}; /* number_parameters() replaces the id by a number */
    *entry = (int32_t)w->tape->count;
    w->tape->parameters += is_parameter;
    return true;
}

static bool write_leaf_operand(writer *w, pg_id id)
{
    return !pg_is_leaf(id) || write_leaf(w, id);
}

static bool write_leaves_of_list(writer *w, pg_operand_span operands)
{
    bool written = true;
    for (uint32_t i = 0; written && i < operands.count; i++)
        written = write_leaf_operand(w, operands.list[i]);
    return written;
}

/* Append the leaves among a node's operands. A dot's inputs are in its vector, and no list of nodes has the vector. A
 * dot's bias comes last, as a neuron's bias comes last among a model's parameters: numbers that are neighbours in both
 * are copied at once. */
static bool write_leaves(writer *w, const pg_node *node)
{
    const pg_node *vector = pg_vector_of(w->arena, node);
    const pg_operand_span operands = pg_operands_of(node);
    if (!vector)
        return write_leaf_operand(w, operands.front) && write_leaves_of_list(w, operands);
    return write_leaves_of_list(w, pg_operands_of(vector)) && write_leaves_of_list(w, operands) &&
           write_leaf_operand(w, operands.front);
}

static int32_t place_of(const writer *w, pg_id id)
{
    return id ? *entry_of(&w->map, id) - 1 : -1;
}

/* Write a node's list; of a split take or declared op, the lists of all parts. The loops go from the last part to the
 * first. */
static bool write_list(writer *w, const pg_node *node, pg_tape_node *out)
{
    const pg_node *part = node;
    pg_id first = node->a;
    size_t count = pg_list_part(w->arena, node, NULL);
    if (can_be_merged(node))
        while ((part = pg_part_before(w->arena, part))) {
            count += pg_list_part(w->arena, part, NULL);
            first = part->a;
        }
    const size_t list = pg_tape_room(w->tape, count);
    if (list > UINT32_MAX)
        return false;
    *out = (pg_tape_node){.op = node->op, .a = place_of(w, first), .list = (uint32_t)list, .count = (uint32_t)count};
    int32_t *places = w->tape->lists + list;
    size_t end = count;
    for (part = node; part && end > 0; part = pg_part_before(w->arena, part)) {
        end -= pg_list_part(w->arena, part, NULL);
        pg_list_part(w->arena, part, places + end); /* ids for now; an id has the size of a place */
    }
    for (size_t i = 0; i < count; i++)
        places[i] = place_of(w, places[i]);
    return true;
}

static bool write_node(writer *w, pg_id id)
{
    const pg_node *node = pg_node_at(w->arena, id);
    if (!write_leaves(w, node))
        return false;
    if (is_merged(node))
        return true;
    pg_tape_node *out = append(w);
    if (!out)
        return false;
    *entry_of(&w->map, id) = (int32_t)w->tape->count;
    if (node->op >= PG_SUM)
        return write_list(w, node, out);
    *out = (pg_tape_node){.op = node->op, .a = place_of(w, node->a), .b = node->b ? place_of(w, node->b) : 0};
    if (node->op == PG_POWER)
        memcpy(&out->literal, node + 1, sizeof out->literal);
    return true;
}

/* Return a node that cannot be replayed: it has a closure, or it is the user's (PG_CUSTOM, PG_LOCAL; the list has no
 * vectors). 0: none. */
static pg_id find_culprit(const pg_arena *arena, const pg_id *ids, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        const pg_node *node = pg_node_at(arena, ids[i]);
        if (node->op == PG_LOCAL || node->op == PG_CUSTOM || node->flags & PG_FLAG_CLOSURE)
            return ids[i];
    }
    return 0;
}

static void widen_by(place_map *map, pg_operand_span operands)
{
    widen(map, operands.front);
    for (uint32_t i = 0; i < operands.count; i++)
        widen(map, operands.list[i]);
}

/* Widen the map to all nodes listed and to their operands, and allocate it. It is wide enough for inputs and outputs
 * already. */
static bool make_map(writer *w, const pg_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const pg_node *node = pg_node_at(w->arena, ids[i]), *vector = pg_vector_of(w->arena, node);
        widen(&w->map, ids[i]);
        widen_by(&w->map, pg_operands_of(node));
        if (vector)
            widen_by(&w->map, pg_operands_of(vector));
    }
    w->map.entries = pg_zeroed(((size_t)((int64_t)w->map.high - w->map.low) + 1) * sizeof *w->map.entries);
    return w->map.entries != NULL;
}

/* Number the parameters, keep their ids, and hold a reference to each. */
static bool number_parameters(writer *w)
{
    pg_tape *tape = w->tape;
    tape->ids = pg_realloc(NULL, tape->parameters * sizeof *tape->ids + 1);
    if (!tape->ids)
        return false;
    int32_t number = 0;
    for (uint32_t i = 0; i < tape->count; i++) {
        if (tape->nodes[i].op != PG_TAPE_PARAMETER)
            continue;
        tape->ids[number] = tape->nodes[i].a;
        tape->nodes[i].a = number++;
    }
    join_arena(w->arena, tape);
    return true;
}

static bool write_all(writer *w, const pg_id *ids, size_t count, const pg_id *inputs, const pg_id *outputs)
{
    pg_tape *tape = w->tape;
    for (uint32_t i = 0; i < tape->inputs; i++) {
        pg_tape_node *input = append(w);
        if (!input)
            return false;
        *input = (pg_tape_node){.op = PG_TAPE_INPUT, .a = (int32_t)i};
        *entry_of(&w->map, inputs[i]) = (int32_t)i + 1;
    }
    for (size_t i = count; i-- > 0;)
        if (!write_node(w, ids[i]))
            return false;
    for (uint32_t i = 0; i < tape->output_count; i++) {
        if (pg_is_leaf(outputs[i]) && !write_leaf(w, outputs[i]))
            return false;
        tape->outputs[i] = place_of(w, outputs[i]);
    }
    return number_parameters(w);
}

static pg_status write_tape(writer *w, const pg_id *inputs, const pg_id *outputs)
{
    pg_tape *tape = w->tape;
    tape->outputs = pg_realloc(NULL, tape->output_count * sizeof *tape->outputs + 1);
    if (!tape->outputs)
        return PG_NO_MEMORY;
    pg_listing found = {.all = true};
    pg_list_reached(w->arena, outputs, tape->output_count, &found);
    const pg_id *ids = found.nodes.ids;
    const size_t count = found.nodes.count;
    pg_status status = found.status;
    if (status == PG_OK && (w->culprit = find_culprit(w->arena, ids, count)))
        status = PG_NOT_REPLAYABLE;
    if (status == PG_OK) {
        w->map = (place_map){0, 0, NULL};
        for (uint32_t i = 0; i < tape->inputs; i++)
            widen(&w->map, inputs[i]);
        for (uint32_t i = 0; i < tape->output_count; i++)
            widen(&w->map, outputs[i]);
        if (!make_map(w, ids, count) || !write_all(w, ids, count, inputs, outputs))
            status = PG_NO_MEMORY;
    }
    pg_free(w->map.entries);
    pg_free(found.nodes.ids);
    return status;
}

pg_status pg_tape_new(uint32_t input_count, const pg_id *inputs, uint32_t output_count, const pg_id *outputs,
                      pg_moment since, pg_tape_cell *cell, pg_id *culprit)
{
    pg_tape *tape = pg_zeroed(sizeof *tape);
    if (!tape)
        return PG_NO_MEMORY;
    tape->owners = 1;
    tape->inputs = input_count;
    tape->output_count = output_count;
    pg_arena *arena = pg_lock();
    writer w = {.arena = arena, .tape = tape, .since = since};
    pg_status status = pg_all_live(arena, inputs, input_count) && pg_all_live(arena, outputs, output_count)
                           ? write_tape(&w, inputs, outputs)
                           : PG_NO_NODE;
    pg_unlock(arena);
    if (status == PG_OK && !pg_tape_compact(tape))
        status = PG_NO_MEMORY;
    *culprit = w.culprit;
    cell->tape = status == PG_OK ? tape : NULL;
    if (status != PG_OK)
        pg_tape_drop(tape);
    return status;
}
