/* program.c: a tape becomes a program for lanes (program.h): it is *lowered*.
 *
 * Lowering first finds which nodes vary, which dots form a layer, and which uniform numbers need a splat. Then it makes
 * the lane operations. */
#include "tape/program.h"

#include <string.h>

#include "hash.h"
#include "mem.h"
#include "tape/scalar.h"

/* The state of lowering. The arrays have an entry for each node of the tape. */
typedef struct {
    const pg_tape *tape;
    pg_program *program;
    bool *varies;
    int32_t *slots; /* of a node that varies: its lane slot; of a uniform node: 1 + its splat's number, 0: none */
    int32_t *groups; /* of a neuron: the first neuron of its layer; of any other operation: -1 */
    int32_t *next_row; /* of a neuron: the next neuron of its layer; 0, which is no dot's place: it is the last */
    int32_t *last_row; /* of the first neuron of a layer: the last neuron */
    uint32_t *uses;
    uint32_t splats;
    int32_t *splat_nodes; /* the node of each splat */
    size_t packed_capacity;
    size_t list_capacity;
} lowering;

/* --- what varies --- */

typedef struct {
    const bool *varies;
    bool found;
} search;

static void look(int32_t *operand, void *context)
{
    search *s = context;
    s->found |= s->varies[*operand];
}

static void find_varying(lowering *l, bool hoist)
{
    pg_tape *tape = (pg_tape *)l->tape; /* nothing is changed */
    const uint32_t first = pg_tape_operations(tape);
    for (uint32_t i = 0; i < tape->count; i++) {
        search s = {l->varies, i < tape->inputs || (i >= first && !hoist)};
        pg_tape_each_operand(tape, &tape->nodes[i], look, &s);
        l->varies[i] = s.found;
        if (!s.found && i >= first)
            l->program->uniform[l->program->uniform_count++] = (int32_t)i;
    }
}

/* --- layers --- */

/* Is a node a neuron? It must be a dot in which each pair has one uniform and one varying number, and whose bias, if it
 * has one, is uniform. */
static bool is_row(const lowering *l, const pg_tape_node *node)
{
    if (node->op != PG_DOT || node->count == 0 || (node->a >= 0 && l->varies[node->a]))
        return false;
    const int32_t *list = l->tape->lists + node->list;
    for (uint32_t i = 0; i < node->count; i += 2)
        if (l->varies[list[i]] == l->varies[list[i + 1]])
            return false;
    return true;
}

static int32_t varying_of(const lowering *l, const int32_t *pair)
{
    return l->varies[pair[0]] ? pair[0] : pair[1];
}

static int32_t uniform_of(const lowering *l, const int32_t *pair)
{
    return l->varies[pair[0]] ? pair[1] : pair[0];
}

static bool have_same_inputs(const void *context, int32_t place_x, int32_t place_y)
{
    const lowering *l = context;
    const pg_tape_node *x = &l->tape->nodes[place_x], *y = &l->tape->nodes[place_y];
    const int32_t *xs = l->tape->lists + x->list, *ys = l->tape->lists + y->list;
    bool same = x->count == y->count && x->fixed == y->fixed && (x->a < 0) == (y->a < 0);
    for (uint32_t i = 0; same && i < x->count; i += 2)
        same = varying_of(l, xs + i) == varying_of(l, ys + i);
    return same;
}

static uint64_t hash_of_inputs(const lowering *l, const pg_tape_node *node)
{
    uint64_t hash = node->count;
    for (uint32_t i = 0; i < node->count; i += 2)
        hash = pg_mix(hash, (uint64_t)varying_of(l, l->tape->lists + node->list + i));
    return hash;
}

/* Put neurons with the same inputs into one layer, but inert neurons into another. The layer runs where its first
 * neuron stands: the inputs of all its neurons are computed by then. */
static bool group_rows(lowering *l)
{
    pg_set firsts; /* the first neurons of layers */
    if (!pg_set_new(&firsts, l->tape->count))
        return false;
    for (uint32_t i = pg_tape_operations(l->tape); i < l->tape->count; i++) {
        const pg_tape_node *node = &l->tape->nodes[i];
        l->groups[i] = -1;
        if (!l->varies[i] || !is_row(l, node))
            continue;
        const int32_t first = pg_set_find(&firsts, (int32_t)i, hash_of_inputs(l, node), have_same_inputs, l);
        if (first != (int32_t)i)
            l->next_row[l->last_row[first]] = (int32_t)i;
        l->groups[i] = first;
        l->last_row[first] = (int32_t)i;
    }
    pg_set_free(&firsts);
    return true;
}

/* --- slots --- */

static void splat(lowering *l, int32_t node)
{
    if (l->varies[node] || l->slots[node])
        return;
    l->splat_nodes[l->splats++] = node;
    l->slots[node] = (int32_t)l->splats;
}

static void splat_operand(int32_t *operand, void *context)
{
    splat(context, *operand);
}

static bool is_packed_take(const lowering *l, const pg_tape_node *node)
{
    if (node->op != PG_TAKE)
        return false;
    for (uint32_t i = 1; i < node->count; i++)
        if (l->varies[l->tape->lists[node->list + i]])
            return false;
    return true;
}

/* Give a splat to each uniform number that lanes need a slot for. */
static void find_splats(lowering *l)
{
    pg_tape *tape = (pg_tape *)l->tape;
    for (uint32_t i = pg_tape_operations(tape); i < tape->count; i++) {
        pg_tape_node *node = &tape->nodes[i];
        if (!l->varies[i] || l->groups[i] >= 0)
            continue;
        if (is_packed_take(l, node))
            splat(l, tape->lists[node->list]);
        else
            pg_tape_each_operand(tape, node, splat_operand, l);
    }
    for (uint32_t i = 0; i < tape->output_count; i++)
        splat(l, tape->outputs[i]);
}

/* The lane slot of a node that lanes read; -1 for no operand. */
static int32_t slot_of(const lowering *l, int32_t node)
{
    if (node < 0)
        return -1;
    return l->varies[node] ? l->slots[node] : (int32_t)l->tape->inputs + l->slots[node] - 1;
}

/* --- operations --- */

static bool pack(lowering *l, int32_t node)
{
    pg_program *program = l->program;
    if (!pg_grow(&program->packed, &l->packed_capacity, program->packed_count + 1, sizeof *program->packed))
        return false;
    program->packed[program->packed_count++] = node;
    return true;
}

static int32_t *list_room(lowering *l, size_t count)
{
    pg_program *program = l->program;
    const size_t needed = program->list_size + count + 1; /* 1 more: NULL means out of memory, even if count is 0 */
    if (!pg_grow(&program->lists, &l->list_capacity, needed, sizeof *program->lists))
        return NULL;
    program->list_size += count;
    return program->lists + program->list_size - count;
}

/* Pack the uniform numbers of a neuron: its weights, then its bias. */
static bool pack_row(lowering *l, const pg_tape_node *node)
{
    bool done = true;
    for (uint32_t i = 0; done && i < node->count; i += 2)
        done = pack(l, uniform_of(l, l->tape->lists + node->list + i));
    return done && (node->a < 0 || pack(l, node->a));
}

static bool lower_layer(lowering *l, int32_t first)
{
    pg_program *program = l->program;
    const pg_tape_node *node = &l->tape->nodes[first];
    int32_t *list = list_room(l, node->count / 2);
    if (!list)
        return false;
    for (uint32_t i = 0; i < node->count; i += 2)
        list[i / 2] = slot_of(l, varying_of(l, l->tape->lists + node->list + i));
    pg_lane_op *op = &program->ops[program->op_count++];
    *op = (pg_lane_op){.op = PG_LANES_LAYER,
                       .fixed = node->fixed,
                       .out = program->slots,
                       .a = node->a < 0 ? -1 : 0,
                       .list = (uint32_t)(list - program->lists),
                       .count = node->count / 2,
                       .packed = (uint32_t)program->packed_count,
                       .node = (uint32_t)first};
    bool done = true;
    for (int32_t row = first; done && row; row = l->next_row[row], op->rows++) {
        l->slots[row] = (int32_t)program->slots++;
        done = pack_row(l, &l->tape->nodes[row]);
    }
    return done;
}

static bool lower_take_packed(lowering *l, const pg_tape_node *node, pg_lane_op *op)
{
    const int32_t *list = l->tape->lists + node->list;
    *op = (pg_lane_op){.op = PG_LANES_TAKE_PACKED,
                       .fixed = node->fixed,
                       .out = op->out,
                       .a = slot_of(l, list[0]),
                       .count = node->count - 1,
                       .packed = (uint32_t)l->program->packed_count,
                       .node = op->node};
    for (uint32_t i = 1; i < node->count; i++)
        if (!pack(l, list[i]))
            return false;
    return true;
}

/* Does the derivative of a unary row depend on the result alone? Try some results: for each of them the derivative must
 * be the same whatever the operand. */
static bool needs_result_only(uint32_t op)
{
    const double as[] = {-1.75, -0.3, 0.0, 0.4, 2.5}, ys[] = {-0.6, 0.0, 0.7, 3.0};
    if (op >= PG_OP_COUNT || pg_op_arity((int)op) != 1 || op == PG_POWER)
        return false;
    for (size_t i = 0; i < sizeof ys / sizeof *ys; i++)
        for (size_t k = 1; k < sizeof as / sizeof *as; k++) {
            const double first = pg_unary_slope(op, as[0], ys[i]), other = pg_unary_slope(op, as[k], ys[i]);
            if (memcmp(&first, &other, sizeof first) != 0)
                return false;
        }
    return true;
}

/* May an operation write its result over its operand? Nothing else may use the operand; the operand must be a sum or
 * dot, whose backward step does not read its result; and the operation's backward step must not read the operand. */
static bool can_be_in_place(const lowering *l, const pg_tape_node *node)
{
    if (node->op >= PG_POWER || pg_op_arity((int)node->op) != 1)
        return false;
    const uint32_t from = l->tape->nodes[node->a].op;
    return (from == PG_DOT || from == PG_SUM) && l->uses[node->a] == 1 && l->varies[node->a] &&
           needs_result_only(node->op);
}

/* If an operation is the same as the one before it, but on the next slots, let the one before run once more instead.
 * Return whether that was done. */
static bool join_rows(const pg_program *program, const pg_lane_op *op)
{
    if (op == program->ops)
        return false;
    pg_lane_op *before = program->ops + (op - program->ops) - 1;
    const bool binary = pg_op_arity((int)op->op) == 2;
    const int32_t rows = (int32_t)before->rows;
    if (before->op != op->op || before->literal != op->literal || before->fixed != op->fixed ||
        before->out + before->rows != op->out)
        return false;
    if (before->a + rows != op->a || (binary && before->b + rows != op->b))
        return false;
    if (before->in_place != op->in_place)
        return false;
    if (!op->in_place && (op->a >= (int32_t)before->out || (binary && op->b >= (int32_t)before->out)))
        return false; /* no run may read the result of another: forward and backward, the runs have the same sequence */
    before->rows++;
    return true;
}

static bool lower_list(lowering *l, const pg_tape_node *node, pg_lane_op *op)
{
    int32_t *list = list_room(l, node->count);
    if (!list)
        return false;
    op->list = (uint32_t)(list - l->program->lists);
    for (uint32_t i = 0; i < node->count; i++)
        list[i] = slot_of(l, l->tape->lists[node->list + i]);
    return true;
}

static bool lower_node(lowering *l, int32_t place)
{
    const pg_tape_node *node = &l->tape->nodes[place];
    pg_program *program = l->program;
    if (l->groups[place] >= 0)
        return l->groups[place] != place || lower_layer(l, place);
    pg_lane_op *op = &program->ops[program->op_count++];
    *op = (pg_lane_op){.op = node->op,
                       .fixed = node->fixed,
                       .literal = node->literal,
                       .out = program->slots,
                       .rows = 1,
                       .a = slot_of(l, node->a),
                       .count = node->count,
                       .node = (uint32_t)place};
    if (can_be_in_place(l, node)) {
        op->in_place = 1;
        op->out = (uint32_t)op->a;
    } else {
        program->slots++;
    }
    l->slots[place] = (int32_t)op->out;
    program->take_count += node->op == PG_TAKE;
    if (is_packed_take(l, node))
        return lower_take_packed(l, node, op);
    if (pg_has_list(node->op))
        return lower_list(l, node, op);
    op->b = pg_op_arity((int)node->op) == 2 ? slot_of(l, node->b) : 0;
    program->op_count -= join_rows(program, op);
    return true;
}

static void count_use(int32_t *operand, void *context)
{
    ((uint32_t *)context)[*operand]++;
}

/* An output counts as one more use. */
static void count_uses(lowering *l)
{
    pg_tape *tape = (pg_tape *)l->tape;
    for (uint32_t i = 0; i < tape->count; i++)
        pg_tape_each_operand(tape, &tape->nodes[i], count_use, l->uses);
    for (uint32_t i = 0; i < tape->output_count; i++)
        l->uses[tape->outputs[i]]++;
}

static bool find_spans(pg_program *program)
{
    program->spans = pg_realloc(NULL, program->packed_count * sizeof *program->spans + 1);
    for (uint32_t k = 0; program->spans && k < program->packed_count; k++) {
        pg_packed_span *last = program->spans + program->span_count - 1;
        if (k > 0 && program->packed[k] == last->node + (int32_t)last->count)
            last->count++;
        else
            program->spans[program->span_count++] = (pg_packed_span){program->packed[k], k, 1};
    }
    return program->spans != NULL;
}

static bool lower_all(lowering *l, bool hoist)
{
    const pg_tape *tape = l->tape;
    pg_program *program = l->program;
    count_uses(l);
    find_varying(l, hoist);
    if (!group_rows(l))
        return false;
    find_splats(l);
    for (uint32_t i = 0; i < tape->inputs; i++)
        l->slots[i] = (int32_t)i;
    program->slots = tape->inputs + l->splats;
    for (uint32_t i = pg_tape_operations(tape); i < tape->count; i++)
        if (l->varies[i] && !lower_node(l, (int32_t)i))
            return false;
    program->first_splat = (uint32_t)program->packed_count;
    for (uint32_t i = 0; i < l->splats; i++)
        if (!pack(l, l->splat_nodes[i]))
            return false;
    for (uint32_t i = 0; i < tape->output_count; i++)
        program->outputs[i] = slot_of(l, tape->outputs[i]);
    return find_spans(program);
}

static bool have_arrays(lowering *l, size_t count)
{
    l->varies = pg_zeroed(count * sizeof *l->varies);
    l->slots = pg_zeroed(count * sizeof *l->slots);
    l->groups = pg_zeroed(count * sizeof *l->groups);
    l->next_row = pg_zeroed(count * sizeof *l->next_row);
    l->last_row = pg_zeroed(count * sizeof *l->last_row);
    l->splat_nodes = pg_zeroed(count * sizeof *l->splat_nodes);
    l->uses = pg_zeroed(count * sizeof *l->uses);
    return l->varies && l->slots && l->groups && l->next_row && l->last_row && l->splat_nodes && l->uses;
}

static void free_arrays(lowering *l)
{
    pg_free(l->varies);
    pg_free(l->slots);
    pg_free(l->groups);
    pg_free(l->next_row);
    pg_free(l->last_row);
    pg_free(l->splat_nodes);
    pg_free(l->uses);
}

pg_program *pg_program_new(const pg_tape *tape, bool hoist)
{
    pg_program *program = pg_zeroed(sizeof *program);
    if (!program)
        return NULL;
    const size_t count = (size_t)tape->count + 1;
    lowering l = {.tape = tape, .program = program};
    program->tape = tape;
    program->uniform = pg_realloc(NULL, count * sizeof *program->uniform);
    program->ops = pg_realloc(NULL, count * sizeof *program->ops);
    program->outputs = pg_realloc(NULL, (tape->output_count + 1) * sizeof *program->outputs);
    const bool done =
        have_arrays(&l, count) && program->uniform && program->ops && program->outputs && lower_all(&l, hoist);
    free_arrays(&l);
    if (done)
        return program;
    pg_program_free(program);
    return NULL;
}

void pg_program_free(pg_program *program)
{
    if (!program)
        return;
    pg_free(program->uniform);
    pg_free(program->ops);
    pg_free(program->lists);
    pg_free(program->packed);
    pg_free(program->spans);
    pg_free(program->outputs);
    pg_free(program);
}
