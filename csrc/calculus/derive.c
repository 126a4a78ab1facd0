/* derive.c: derivatives as nodes, which have derivatives like any other nodes.
 *
 * pg_pull() computes adjoints: it visits a graph newest node first, as a sweep does. pg_push() computes tangents: it
 * visits a graph oldest node first. A sweep adds up numbers; these two make nodes: products of an adjoint or tangent
 * with a derivative, and sums of such products. A number, such as the seed 1.0, stays a number for as long as possible,
 * and a product with 0 or 1 makes no node.
 *
 * The derivative of a row of ops.def is a *formula*: a few steps, each an op on nodes. When the extension is built,
 * make_formulas.py makes the formulas from the text of the rows, and writes them to formulas.h.
 *
 * A *rerun* (pygrad.h) is the graph of a function that had left no graph but a join and its results. It is visited where
 * the join is, in place of the join; and a result has one operand, the node that stands for it, with the slope 1. The
 * rerun of a declared node is another declared node, with derivatives that depend on the first one; it is visited behind
 * the first one, which has it as its only operand, with the slope 1.
 *
 * What is not taken (engine/sweep.c). Each entry has a *reach*: 1, if a sweep reaches its node whatever the indices of
 * takes are; else a node that is 1 where they let a sweep reach it, and 0 elsewhere. There the adjoint is 0, and what the
 * node contributes is not adjoint * slope, for the slope may be infinite, but choose(reach, [0, adjoint * slope]). This
 * is a take again: so derivatives of derivatives do not reach the slope there. A take contributes
 * choose(index == i, [0, adjoint]) to its value number i. Of tangents, it chooses the one of the value; their reach is 1
 * where what takes choose leads from the node to one of the xs.
 *
 * Only the nodes between the xs and the ys take part: those that the ys are computed from and that are computed from
 * the xs. Each of them has an *entry*. While pg_pull() or pg_push() runs, under the lock, such a node has
 * PG_FLAG_LISTED, and its `grad` is the number of its entry; the entry keeps the gradient.
 */
#include <math.h>
#include <string.h>

#include "engine/derivations.h"
#include "engine/node.h"
#include "engine/reach.h"
#include "formulas.h"

/* --- formulas --- */

static const pg_formula *const formulas[PG_POWER][2] = {
#define PG_UNARY(name, label, forward, da) [PG_OP_##name] = {&name##_by_a, NULL},
#define PG_BINARY(name, label, forward, da, db) [PG_OP_##name] = {&name##_by_a, &name##_by_b},
#define PG_FLAT(name, label, arity, forward) [PG_OP_##name] = {NULL, NULL},
#include "ops.def"
};

const pg_formula *pg_formula_of(int op, int place)
{
    return op > PG_LEAF && op < PG_POWER && (place == 0 || place == 1) ? formulas[op][place] : NULL;
}

/* --- the state of pg_pull() or pg_push() --- */

typedef struct {
    pg_id id;
    double kept;  /* its gradient */
    pg_term found; /* its adjoint or tangent, once that is known */
    pg_term reach; /* it starts from 0; complete once all consumers, in pg_push() all operands, have run */
    bool is_found;
    bool passes_on; /* the node has operands with an entry */
    uint32_t first, last; /* the terms that `found` is the sum of, a list in `terms`; 0: none yet */
} entry;

typedef struct {
    pg_term term;
    uint32_t next;
} link;

typedef struct {
    pg_arena *arena;
    pg_derivation *job;
    pg_status status;
    pg_id_list nodes; /* what the ys reach, newest first; the nodes of a rerun follow its join */
    entry *entries; /* of the xs, then of other nodes, oldest first */
    uint32_t entry_count;
    link *terms; /* of all entries; numbered from 1 on */
    uint32_t term_count;
    size_t term_capacity;
    size_t made_capacity;
} derivation;

static void fail(derivation *d, pg_status status)
{
    if (d->status == PG_OK)
        d->status = status;
}

/* --- terms: nodes, each with a reference, and numbers --- */

static pg_term number(double x)
{
    return (pg_term){.number = x};
}

static bool is_number(pg_term t, double x)
{
    return !t.id && t.number == x;
}

static pg_term copy(const derivation *d, pg_term t)
{
    if (t.id)
        pg_ref(pg_node_at(d->arena, t.id));
    return t;
}

static pg_term node_term(const derivation *d, pg_id id)
{
    return copy(d, (pg_term){.id = id});
}

static void drop(const derivation *d, pg_term t)
{
    if (t.id)
        pg_unref(d->arena, t.id);
}

/* The term for a node that was just made, which is listed if the caller wants that. Id 0 is out of memory: then the
 * term is the number 0. */
static pg_term made(derivation *d, pg_id id)
{
    pg_derivation *job = d->job;
    if (!id) {
        fail(d, PG_NO_MEMORY);
        return number(0.0);
    }
    if (job->keep_made && !pg_grow(&job->made, &d->made_capacity, job->made_count + 1u, sizeof *job->made))
        fail(d, PG_NO_MEMORY);
    else if (job->keep_made)
        job->made[job->made_count++] = node_term(d, id).id;
    return (pg_term){.id = id};
}

static pg_term apply_unary(derivation *d, int op, pg_term a)
{
    return a.id ? made(d, pg_make_unary(d->arena, op, a.id)) : number(pg_op_forward(op, a.number, 0.0));
}

static pg_term apply_binary(derivation *d, int op, pg_term a, pg_term b)
{
    if (!a.id && !b.id)
        return number(pg_op_forward(op, a.number, b.number));
    if (!a.id)
        return made(d, pg_make_with_number(d->arena, op, b.id, a.number, true));
    if (!b.id && op == PG_OP_pow)
        return made(d, pg_make_power(d->arena, a.id, b.number));
    if (!b.id)
        return made(d, pg_make_with_number(d->arena, op, a.id, b.number, false));
    return made(d, pg_make_binary(d->arena, op, a.id, b.id));
}

/* A node for a term, with a reference; for a number, a new leaf. 0: out of memory. */
static pg_id as_node(derivation *d, pg_term t)
{
    const pg_id id = t.id ? copy(d, t).id : pg_new_leaf_with(d->arena, t.number, PG_FLAG_NUMBER);
    if (!id)
        fail(d, PG_NO_MEMORY);
    return id;
}

/* The branch that an index, 0 or 1, chooses. */
static pg_term choose(derivation *d, pg_term index, const pg_term *branches)
{
    if (!index.id)
        return copy(d, branches[index.number != 0.0]);
    pg_id values[2] = {as_node(d, branches[0]), as_node(d, branches[1])};
    const bool done = values[0] && values[1];
    const pg_term out = done ? made(d, pg_make_choice(d->arena, index.id, 2, values)) : number(0.0);
    for (int i = 0; i < 2; i++)
        drop(d, (pg_term){.id = values[i]});
    return out;
}

static pg_term times(derivation *d, pg_term a, pg_term b)
{
    if (is_number(a, 0.0) || is_number(b, 0.0))
        return number(0.0);
    if (is_number(a, 1.0))
        return copy(d, b);
    if (is_number(b, 1.0))
        return copy(d, a);
    if (is_number(a, -1.0))
        return apply_unary(d, PG_OP_neg, b);
    if (is_number(b, -1.0))
        return apply_unary(d, PG_OP_neg, a);
    return apply_binary(d, PG_OP_mul, a, b);
}

/* The term where the condition, a 1 or a 0, is 1; elsewhere 0. The term's reference is given back. */
static pg_term only_where(derivation *d, pg_term condition, pg_term t)
{
    if (is_number(condition, 1.0) || is_number(t, 0.0))
        return t;
    const pg_term out = choose(d, condition, (const pg_term[]){number(0.0), t});
    drop(d, t);
    return out;
}

/* Of two conditions: 1 where both are 1. Where the first is 0, nothing depends on the second. */
static pg_term both(derivation *d, pg_term a, pg_term b)
{
    return a.id && a.id == b.id ? copy(d, a) : only_where(d, a, copy(d, b));
}

/* Of two conditions: 1 where one of them is 1. */
static pg_term either(derivation *d, pg_term a, pg_term b)
{
    if (is_number(a, 1.0) || is_number(b, 0.0) || (a.id && a.id == b.id))
        return copy(d, a);
    if (is_number(b, 1.0) || is_number(a, 0.0))
        return copy(d, b);
    return apply_binary(d, PG_OP_maximum, a, b);
}

/* --- sums --- */

/* Add a term to those of an entry. The term's reference becomes the entry's. */
static void contribute(derivation *d, entry *e, pg_term t)
{
    if (is_number(t, 0.0))
        return;
    if (!pg_grow(&d->terms, &d->term_capacity, d->term_count + 2u, sizeof *d->terms)) {
        drop(d, t);
        fail(d, PG_NO_MEMORY);
        return;
    }
    const uint32_t at = ++d->term_count;
    d->terms[at] = (link){.term = t};
    if (e->last)
        d->terms[e->last].next = at;
    else
        e->first = at;
    e->last = at;
}

/* The sum of three or more terms, at least one of them a node. */
static pg_term long_sum(derivation *d, const entry *e, uint32_t count)
{
    pg_id *ids = pg_realloc(NULL, count * sizeof *ids);
    uint32_t n = 0;
    for (uint32_t at = e->first; ids && at; at = d->terms[at].next)
        if ((ids[n] = as_node(d, d->terms[at].term)))
            n++;
    const pg_term out = made(d, ids && n == count ? pg_make_sum(d->arena, count, ids) : 0);
    for (uint32_t i = 0; i < n; i++)
        pg_unref(d->arena, ids[i]);
    pg_free(ids);
    return out;
}

/* The sum of an entry's terms, added from the left. */
static pg_term total(derivation *d, const entry *e)
{
    uint32_t count = 0;
    bool has_node = false;
    double sum = 0.0;
    for (uint32_t at = e->first; at; at = d->terms[at].next, count++) {
        has_node |= d->terms[at].term.id != 0;
        sum += d->terms[at].term.number;
    }
    if (!has_node)
        return number(sum);
    if (count == 1)
        return copy(d, d->terms[e->first].term);
    if (count == 2)
        return apply_binary(d, PG_OP_add, d->terms[e->first].term, d->terms[e->last].term);
    return long_sum(d, e, count);
}

/* --- entries --- */

static bool has_entry(const derivation *d, pg_id id)
{
    return pg_node_at(d->arena, id)->flags & PG_FLAG_LISTED;
}

static entry *entry_of(const derivation *d, pg_id id)
{
    return &d->entries[(uint32_t)pg_node_at(d->arena, id)->grad];
}

static entry *add_entry(derivation *d, pg_id id)
{
    pg_node *node = pg_node_at(d->arena, id);
    entry *e = &d->entries[d->entry_count];
    *e = (entry){.id = id, .kept = node->grad};
    node->flags |= PG_FLAG_LISTED;
    node->grad = d->entry_count++;
    return e;
}

static void set_found(const derivation *d, entry *e, pg_term t)
{
    drop(d, e->found);
    e->found = t;
    e->is_found = true;
}

/* --- reruns --- */

/* The rerun in place of a join, or NULL. */
static const pg_rerun *rerun_of(const derivation *d, pg_id join)
{
    uint32_t low = 0, high = d->job->rerun_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (d->job->reruns[middle].join < join)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->job->rerun_count && d->job->reruns[low].join == join ? &d->job->reruns[low] : NULL;
}

/* May this node be the join of a rerun? */
static bool may_be_join(const pg_node *node)
{
    return node->flags & PG_FLAG_CLOSURE || node->op == PG_DECLARED;
}

/* The node that stands for a declared node, or for the result of a function that was run again; 0 for any other node. */
static pg_id stand_in(const derivation *d, pg_id id)
{
    const pg_node *node = pg_node_at(d->arena, id);
    if (d->job->rerun_count > 0 && node->op == PG_DECLARED) {
        const pg_rerun *derived_again = rerun_of(d, id);
        return derived_again && derived_again->count > 0 ? derived_again->again[0] : 0;
    }
    if (d->job->rerun_count == 0 || node->op != PG_CUSTOM || node->flags & (PG_FLAG_CLOSURE | PG_FLAG_VECTOR))
        return 0;
    const pg_operand_span operands = pg_operands_of(node);
    const pg_rerun *rerun = operands.count > 0 ? rerun_of(d, operands.list[0]) : NULL;
    for (uint32_t i = 0; rerun && i < rerun->count; i++)
        if (rerun->results[i] == id)
            return rerun->again[i];
    return 0;
}

/* List the nodes that the roots reach: since a moment, or all if `since` is NULL. */
static void list_nodes(derivation *d, uint32_t count, const pg_id *roots, const pg_moment *since)
{
    pg_listing found = {.busy_too = true, .since = since};
    pg_list_reached(d->arena, roots, count, &found);
    fail(d, found.status);
    if (d->job->rerun_count == 0) {
        d->nodes = found.nodes;
        found.nodes = (pg_id_list){0};
    }
    for (size_t i = 0; i < found.nodes.count && d->status == PG_OK; i++) {
        const pg_id id = found.nodes.ids[i];
        const pg_rerun *rerun = may_be_join(pg_node_at(d->arena, id)) ? rerun_of(d, id) : NULL;
        if (!pg_append_id(&d->nodes, id))
            fail(d, PG_NO_MEMORY);
        else if (rerun)
            list_nodes(d, rerun->count, rerun->again, &rerun->since);
    }
    pg_free(found.nodes.ids);
    pg_free(found.others.ids);
}

/* --- what is between the xs and the ys --- */

/* Does a node pass its gradient on to an operand with an entry? A closure may pass it on to any operand. */
static bool has_receiver(const derivation *d, const pg_node *node)
{
    const bool is_closure = node->flags & PG_FLAG_CLOSURE;
    const pg_operand_span to = is_closure ? pg_operands_of(node) : pg_receivers_of(d->arena, node);
    if (to.front && has_entry(d, to.front))
        return true;
    for (uint32_t i = 0; i < to.count; i += to.step)
        if (has_entry(d, to.list[i]))
            return true;
    const pg_node *vector = pg_vector_of(d->arena, node);
    return vector && has_receiver(d, vector);
}

/* Is each of these terms a number, or a live node? */
static bool are_terms_live(const pg_arena *arena, const pg_term *terms, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (terms[i].id && !pg_is_live(arena, terms[i].id))
            return false;
    return true;
}

/* Is a listed node between the xs and the ys? All that it was computed from has been asked. */
static bool is_between(const derivation *d, pg_id id)
{
    const pg_id other = stand_in(d, id);
    if (other)
        return has_entry(d, other);
    const pg_node *node = pg_node_at(d->arena, id);
    const bool is_dropped = node->op != PG_DECLARED && d->job->rerun_count > 0 && rerun_of(d, id);
    return !is_dropped && has_receiver(d, node);
}

/* List a declared node between the xs and the ys in job->ops, if no rerun has it as its join. */
static void list_op(derivation *d, size_t *capacity, pg_id id)
{
    pg_derivation *job = d->job;
    const pg_node *node = pg_node_at(d->arena, id);
    if (node->op != PG_DECLARED || node->flags & (PG_FLAG_PART | PG_FLAG_CLOSURE) || rerun_of(d, id))
        return;
    if (!pg_grow(&job->ops, capacity, job->op_count + 1u, sizeof *job->ops)) {
        fail(d, PG_NO_MEMORY);
        return;
    }
    job->ops[job->op_count++] = id;
}

/* List the nodes that the ys reach, and make entries for the xs and for the nodes between. */
static void find_between(derivation *d)
{
    pg_derivation *job = d->job;
    if (!pg_all_live(d->arena, job->ys, job->y_count) || !pg_all_live(d->arena, job->xs, job->x_count)) {
        fail(d, PG_NO_NODE);
        return;
    }
    list_nodes(d, job->y_count, job->ys, job->since ? &job->since : NULL);
    if (d->status == PG_OK &&
        !(d->entries = pg_realloc(NULL, (d->nodes.count + job->x_count) * sizeof *d->entries + 1)))
        fail(d, PG_NO_MEMORY);
    if (d->status != PG_OK)
        return;
    for (uint32_t i = 0; i < job->x_count; i++)
        if (!has_entry(d, job->xs[i]))
            add_entry(d, job->xs[i]);
    size_t op_capacity = 0;
    for (size_t i = d->nodes.count; i-- > 0;) {
        const pg_id id = d->nodes.ids[i];
        if (!is_between(d, id))
            continue;
        (has_entry(d, id) ? entry_of(d, id) : add_entry(d, id))->passes_on = true;
        list_op(d, &op_capacity, id);
    }
    if (job->op_count > 0)
        fail(d, PG_NOT_REPLAYABLE);
}

/* --- the derivatives of one node --- */

/* Use d node / d operand, the slope; node and operand have entries. Of a take the slope is a condition: 1 where its
 * index chooses the operand, else 0. */
typedef void use_fn(derivation *d, entry *node, pg_id operand, pg_term slope, bool is_condition);

static pg_term operand_of_step(const pg_formula *formula, const pg_term *registers, int32_t which)
{
    return which < 0 ? number(formula->numbers[-1 - which]) : registers[which];
}

/* The derivative of a row, by its formula. */
static pg_term slope_by_formula(derivation *d, const pg_formula *formula, pg_term a, pg_term b, pg_term y)
{
    pg_term registers[3 + MOST_STEPS] = {a, b, y};
    for (uint32_t i = 0; i < formula->step_count; i++) {
        const pg_step *step = &formula->steps[i];
        pg_term on[3];
        for (int k = 0; k < 3; k++)
            on[k] = operand_of_step(formula, registers, step->operands[k]);
        registers[3 + i] = step->op == PG_TAKE          ? choose(d, on[0], on + 1)
                           : pg_op_arity(step->op) == 1 ? apply_unary(d, step->op, on[0])
                                                        : apply_binary(d, step->op, on[0], on[1]);
    }
    const pg_term slope = copy(d, operand_of_step(formula, registers, formula->result));
    for (uint32_t i = 0; i < formula->step_count; i++)
        drop(d, registers[3 + i]);
    return slope;
}

static pg_term row_slope(derivation *d, pg_id id, int place)
{
    const pg_node *node = pg_node_at(d->arena, id);
    const pg_term a = {.id = node->a}, b = {.id = node->b};
    return slope_by_formula(d, formulas[node->op][place], a, b, (pg_term){.id = id});
}

/* k * a**(k-1); if k - 1 is rounded, the formula of pow, which is more accurate. */
static pg_term power_slope(derivation *d, const pg_node *node)
{
    double k;
    memcpy(&k, node + 1, sizeof k);
    if (k == 0.0 || k == 1.0)
        return number(k);
    if (k - 1.0 + 1.0 != k)
        return slope_by_formula(d, formulas[PG_OP_pow][0], (pg_term){.id = node->a}, number(k), number(0.0));
    const pg_term power = made(d, pg_make_power(d->arena, node->a, k - 1.0));
    const pg_term slope = times(d, number(k), power);
    drop(d, power);
    return slope;
}

/* Call `use` with the slope by an operand, and give the slope's reference back. */
static void use_slope(derivation *d, entry *e, pg_id operand, pg_term slope, use_fn *use)
{
    const bool is_condition = slope.id && pg_node_at(d->arena, e->id)->op == PG_TAKE;
    if (d->status == PG_OK)
        use(d, e, operand, slope, is_condition);
    drop(d, slope);
}

static void use_dot(derivation *d, entry *e, const pg_node *node, use_fn *use)
{
    const pg_id *ws = pg_list_of(node) + 1, *xs = pg_list_of(pg_vector_of(d->arena, node));
    for (pg_id i = 0; i < node->b; i++) {
        if (has_entry(d, ws[i]))
            use_slope(d, e, ws[i], node_term(d, xs[i]), use);
        if (has_entry(d, xs[i]))
            use_slope(d, e, xs[i], node_term(d, ws[i]), use);
    }
}

/* The slope of a sum, take (a condition) or declared node by a receiver in its list: the receiver is at `place`, i
 * entries behind the first receiver. */
static pg_term slope_in_list(derivation *d, const pg_node *node, const pg_id *place, uint32_t i)
{
    if (node->op == PG_DECLARED)
        return node_term(d, place[1]);
    if (node->op == PG_SUM)
        return number(1.0);
    const double chosen_by = pg_first_place(node) + i; /* the index that chooses this value */
    return made(d, pg_make_with_number(d->arena, PG_OP_equal, *pg_list_of(node), chosen_by, false));
}

static void use_list(derivation *d, entry *e, const pg_node *node, use_fn *use)
{
    const pg_operand_span to = pg_receivers_of(d->arena, node);
    if (to.front && has_entry(d, to.front))
        use_slope(d, e, to.front, number(1.0), use); /* a start, a bias, the part before */
    if (node->op == PG_DOT)
        use_dot(d, e, node, use);
    else
        for (uint32_t i = 0; i < to.count; i += to.step)
            if (has_entry(d, to.list[i]))
                use_slope(d, e, to.list[i], slope_in_list(d, node, to.list + i, i), use);
}

/* Call `use` for every operand that has an entry and that the node passes its gradient on to. */
static void use_slopes(derivation *d, entry *e, use_fn *use)
{
    const pg_node *node = pg_node_at(d->arena, e->id);
    const pg_id other = stand_in(d, e->id);
    if (other) {
        use_slope(d, e, other, number(1.0), use);
    } else if (node->flags & PG_FLAG_CLOSURE || node->op >= PG_CUSTOM) {
        d->job->culprit = e->id;
        fail(d, PG_NOT_REPLAYABLE);
    } else if (node->op > PG_POWER) {
        use_list(d, e, node, use);
    } else if (node->op == PG_POWER) {
        use_slope(d, e, node->a, power_slope(d, node), use);
    } else {
        if (has_entry(d, node->a))
            use_slope(d, e, node->a, row_slope(d, e->id, 0), use);
        if (node->b && has_entry(d, node->b))
            use_slope(d, e, node->b, row_slope(d, e->id, 1), use);
    }
}

/* --- adjoints newest first, tangents oldest first --- */

static void pull_to(derivation *d, entry *node, pg_id operand, pg_term slope, bool is_condition)
{
    entry *to = entry_of(d, operand);
    const bool is_safe = !slope.id && isfinite(slope.number); /* an adjoint of 0 gives 0 */
    const pg_term way = is_condition ? both(d, node->reach, slope) : copy(d, node->reach);
    const pg_term t = is_condition ? copy(d, node->found) : times(d, node->found, slope);
    contribute(d, to, is_safe ? t : only_where(d, way, t));
    if (to->passes_on) {
        const pg_term before = to->reach;
        to->reach = either(d, before, way);
        drop(d, before);
    }
    drop(d, way);
}

static void push_from(derivation *d, entry *node, pg_id operand, pg_term slope, bool is_condition)
{
    const entry *from = entry_of(d, operand);
    const bool is_safe = !slope.id && isfinite(slope.number); /* a tangent of 0 gives 0 */
    const pg_term way = is_condition ? both(d, slope, from->reach) : copy(d, from->reach);
    const pg_term t = is_condition ? copy(d, from->found) : times(d, from->found, slope);
    contribute(d, node, is_safe ? t : only_where(d, is_condition ? slope : way, t));
    const pg_term before = node->reach;
    node->reach = either(d, before, way);
    drop(d, before);
    drop(d, way);
}

static void pull(derivation *d)
{
    pg_derivation *job = d->job;
    for (uint32_t i = 0; i < job->y_count; i++)
        if (has_entry(d, job->ys[i])) {
            contribute(d, entry_of(d, job->ys[i]), copy(d, job->given[i]));
            entry_of(d, job->ys[i])->reach = number(1.0);
        }
    for (size_t i = 0; i < d->nodes.count && d->status == PG_OK; i++) {
        if (!has_entry(d, d->nodes.ids[i]))
            continue;
        entry *e = entry_of(d, d->nodes.ids[i]);
        set_found(d, e, total(d, e));
        if (e->passes_on && !is_number(e->found, 0.0))
            use_slopes(d, e, pull_to);
    }
    for (uint32_t i = 0; i < job->x_count && d->status == PG_OK; i++) {
        entry *e = entry_of(d, job->xs[i]);
        if (!e->is_found)
            set_found(d, e, total(d, e));
        job->found[i] = copy(d, e->found);
    }
}

static void push(derivation *d)
{
    pg_derivation *job = d->job;
    for (uint32_t i = 0; i < job->x_count; i++) {
        set_found(d, entry_of(d, job->xs[i]), copy(d, job->given[i]));
        entry_of(d, job->xs[i])->reach = number(1.0);
    }
    for (uint32_t i = 0; i < d->entry_count && d->status == PG_OK; i++) {
        entry *e = &d->entries[i];
        if (e->is_found)
            continue;
        use_slopes(d, e, push_from);
        set_found(d, e, total(d, e));
    }
    for (uint32_t i = 0; i < job->y_count && d->status == PG_OK; i++)
        if (has_entry(d, job->ys[i]))
            job->found[i] = copy(d, entry_of(d, job->ys[i])->found);
}

/* Give the nodes their gradients back, and free everything but what was found and made. */
static void forget(derivation *d)
{
    for (uint32_t i = 0; i < d->entry_count; i++) {
        pg_node *node = pg_node_at(d->arena, d->entries[i].id);
        node->flags &= (uint8_t)~PG_FLAG_LISTED;
        node->grad = d->entries[i].kept;
    }
    for (uint32_t i = 0; i < d->entry_count; i++) {
        drop(d, d->entries[i].found);
        drop(d, d->entries[i].reach);
    }
    for (uint32_t i = 1; i <= d->term_count; i++)
        drop(d, d->terms[i].term);
    pg_free(d->nodes.ids);
    pg_free(d->entries);
    pg_free(d->terms);
}

static pg_status derive(pg_derivation *job, uint32_t count, void (*run)(derivation *d))
{
    job->found = pg_zeroed(count * sizeof *job->found + 1);
    if (!job->found)
        return PG_NO_MEMORY;
    job->found_count = count;
    derivation d = {.arena = pg_lock(), .job = job, .status = PG_OK};
    const uint32_t given = job->x_count + job->y_count - count;
    if (are_terms_live(d.arena, job->given, given))
        find_between(&d);
    else
        fail(&d, PG_NO_NODE);
    if (d.status == PG_OK)
        run(&d);
    forget(&d);
    if (d.status == PG_OK)
        pg_hold_results(d.arena, job);
    else
        pg_drop_results(d.arena, job);
    pg_unlock(d.arena);
    return d.status;
}

pg_status pg_pull(pg_derivation *job)
{
    return derive(job, job->x_count, pull);
}

pg_status pg_push(pg_derivation *job)
{
    return derive(job, job->y_count, push);
}

void pg_derivation_free(void *cell)
{
    pg_arena *arena = pg_lock();
    pg_drop_results(arena, cell);
    pg_unlock(arena);
    pg_free(((pg_derivation *)cell)->ops);
    pg_free(cell);
}
