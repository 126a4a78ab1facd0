/* node.c: making nodes; reading and writing one node. */
#include "engine/node.h"

#include <string.h>

#include "engine/order.h"

/* --- nodes of a fixed number of operands --- */

/* Let the cell, if there is one, own the reference that comes with a new id, instead of one that it may own already. */
static pg_id own(pg_arena *arena, pg_node_cell *cell, pg_id id)
{
    if (!cell)
        return id;
    if (cell->id)
        pg_unref(arena, cell->id);
    return cell->id = id;
}

pg_id pg_leaf(double data, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_new_leaf(arena, data));
    pg_unlock(arena);
    return id;
}

pg_id pg_number(double data, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_new_leaf_with(arena, data, PG_FLAG_NUMBER));
    pg_unlock(arena);
    return id;
}

pg_id pg_unary(int op, pg_id a, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_make_unary(arena, op, a));
    pg_unlock(arena);
    return id;
}

pg_id pg_binary(int op, pg_id a, pg_id b, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_make_binary(arena, op, a, b));
    pg_unlock(arena);
    return id;
}

pg_id pg_binary_right(int op, pg_id a, double b, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_make_with_number(arena, op, a, b, false));
    pg_unlock(arena);
    return id;
}

pg_id pg_binary_left(int op, double a, pg_id b, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_make_with_number(arena, op, b, a, true));
    pg_unlock(arena);
    return id;
}

pg_id pg_power(pg_id a, double exponent, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, pg_make_power(arena, a, exponent));
    pg_unlock(arena);
    return id;
}

/* --- nodes with an operand list --- */

/* The description of a node with an operand list that is to be made. */
typedef struct {
    int op;
    pg_id first; /* start of a sum, bias of a dot, or 0; y of a declared node */
    pg_id index; /* of a take */
    size_t count;
    const pg_id *xs; /* terms, inputs, values, children; of a declared node: the derivatives */
    const pg_id *ws; /* of a dot: the weights; of a declared node: the xs of pg_declared() */
    const double *local_grads; /* of a PG_LOCAL node */
    double data; /* of a PG_CUSTOM or PG_LOCAL node */
} list_spec;

static size_t entry_bytes(int op)
{
    switch (op) {
    case PG_DECLARED:
        return 2 * sizeof(pg_id);
    case PG_LOCAL:
        return sizeof(double) + sizeof(pg_id);
    default:
        return sizeof(pg_id);
    }
}

/* What else is in a part's payload: of a take the index, and behind the list the place of the part's first value; of
 * a dot the vector. */
static size_t extra_bytes(int op)
{
    return op == PG_TAKE ? sizeof(pg_id) + sizeof(uint32_t) : op == PG_DOT ? sizeof(pg_id) : 0;
}

/* How many entries the list of one node can have. */
static size_t most_entries(int op)
{
    return ((PG_BLOCK_SLOTS - 1) * sizeof(pg_node) - extra_bytes(op)) / entry_bytes(op);
}

/* Append an operand to a list, and add the reference that the list holds to it. */
PG_INLINE const pg_node *append_operand(const pg_arena *arena, pg_id **end, pg_id id)
{
    pg_node *operand = pg_node_at(arena, id);
    *(*end)++ = id;
    pg_ref(operand);
    return operand;
}

/* Each of these functions fills the payload of a part with the entries begin, ..., end - 1 of the list, adds the
 * references to them, and returns the part's data. `total` is the data of the part before, or of `first`. */

static double fill_sum(const pg_arena *arena, pg_node *node, const list_spec *spec, size_t begin, size_t end,
                       double total)
{
    pg_id *list = (void *)(node + 1);
    for (size_t i = begin; i < end; i++)
        total += append_operand(arena, &list, spec->xs[i])->data;
    return total;
}

static double fill_take(const pg_arena *arena, pg_node *node, const list_spec *spec, size_t begin, size_t end,
                        double total)
{
    pg_id *list = (void *)(node + 1);
    node->b++; /* the index is an entry too */
    const uint32_t place = pg_place(append_operand(arena, &list, spec->index)->data);
    for (size_t i = begin; i < end; i++)
        append_operand(arena, &list, spec->xs[i]);
    *list = (pg_id)begin;
    return begin <= place && place < end ? pg_node_at(arena, spec->xs[place])->data : total;
}

static double fill_declared(const pg_arena *arena, pg_node *node, const list_spec *spec, size_t begin, size_t end,
                            double total)
{
    pg_id *list = (void *)(node + 1);
    for (size_t i = begin; i < end; i++) {
        append_operand(arena, &list, spec->ws[i]);
        append_operand(arena, &list, spec->xs[i]);
    }
    return total;
}

static double fill_custom(const pg_arena *arena, pg_node *node, const list_spec *spec, size_t begin, size_t end)
{
    const size_t count = end - begin;
    double *local_grads = (void *)(node + 1);
    if (spec->op == PG_LOCAL)
        memcpy(local_grads, spec->local_grads + begin, count * sizeof *local_grads);
    pg_id *list = (void *)(local_grads + (spec->op == PG_LOCAL ? count : 0));
    memcpy(list, spec->xs + begin, count * sizeof *list);
    for (size_t i = 0; i < count; i++)
        pg_ref(pg_node_at(arena, list[i]));
    return spec->data;
}

static double fill(const pg_arena *arena, pg_node *node, const list_spec *spec, size_t begin, size_t end, double total)
{
    switch (spec->op) {
    case PG_SUM:
        return fill_sum(arena, node, spec, begin, end, total);
    case PG_TAKE:
        return fill_take(arena, node, spec, begin, end, total);
    case PG_DECLARED:
        return fill_declared(arena, node, spec, begin, end, total);
    default:
        return fill_custom(arena, node, spec, begin, end);
    }
}

static pg_id make_part(pg_arena *arena, const list_spec *spec, pg_id first, size_t begin, size_t end)
{
    const size_t bytes = extra_bytes(spec->op) + (end - begin) * entry_bytes(spec->op);
    const pg_id id = pg_new_node(arena, spec->op, pg_slots_for(bytes));
    if (!id)
        return 0;
    pg_node *node = pg_node_at(arena, id);
    node->a = first;
    node->b = (pg_id)(end - begin);
    const double empty = spec->op == PG_TAKE ? (double)NAN : 0.0;
    arena->takes += spec->op == PG_TAKE;
    const double total = first ? pg_node_at(arena, first)->data : empty;
    if (first)
        pg_ref(pg_node_at(arena, first));
    node->data = fill(arena, node, spec, begin, end, total);
    return id;
}

/* Make a vector, for dots with these inputs. */
static pg_id make_vector(pg_arena *arena, const pg_id *xs, size_t count)
{
    const pg_id vector = make_part(arena, &(list_spec){.op = PG_CUSTOM, .xs = xs}, 0, 0, count);
    if (vector)
        pg_node_at(arena, vector)->flags = PG_FLAG_VECTOR;
    return vector;
}

/* Make a dot with this vector. */
PG_INLINE pg_id make_dot(pg_arena *arena, pg_id first, pg_id vector, size_t count, const pg_id *ws)
{
    const pg_id id = pg_new_node(arena, PG_DOT, pg_slots_for((1 + count) * sizeof(pg_id)));
    if (!id)
        return 0;
    pg_node *node = pg_node_at(arena, id);
    node->a = first;
    node->b = (pg_id)count;
    if (first)
        pg_ref(pg_node_at(arena, first));
    double total = first ? pg_node_at(arena, first)->data : 0.0;
    pg_id *list = (void *)(node + 1);
    const pg_id *xs = pg_list_of(append_operand(arena, &list, vector));
    for (size_t i = 0; i < count; i++)
        total += append_operand(arena, &list, ws[i])->data * pg_node_at(arena, xs[i])->data;
    node->data = total;
    return id;
}

/* Make a part of a dot, with a vector of its own. */
static pg_id make_dot_part(pg_arena *arena, const list_spec *spec, pg_id first, size_t begin, size_t end)
{
    const pg_id vector = make_vector(arena, spec->xs + begin, end - begin);
    const pg_id id = vector ? make_dot(arena, first, vector, end - begin, spec->ws + begin) : 0;
    if (vector)
        pg_unref(arena, vector); /* the part refers to it now; if there is no part, this frees the vector */
    return id;
}

/* Make a node of live operands. If the list is too long for one block, make a chain of nodes of this op, its parts:
 * each is the `a` of the next, and all but the last are hidden. */
static pg_id make_list(pg_arena *arena, const list_spec *spec)
{
    const size_t room = most_entries(spec->op);
    pg_id part = 0;
    size_t begin = 0;
    do {
        const size_t end = spec->count - begin > room ? begin + room : spec->count;
        const pg_id first = part ? part : spec->first;
        const pg_id next = (spec->op == PG_DOT ? make_dot_part : make_part)(arena, spec, first, begin, end);
        if (part) {
            pg_node_at(arena, part)->flags |= PG_FLAG_PART;
            pg_unref(arena, part); /* `next` refers to it now; if there is no `next`, this frees the chain */
        }
        part = next;
        begin = end;
    } while (part && begin < spec->count);
    return part;
}

static bool is_spec_live(const pg_arena *arena, const list_spec *spec)
{
    return pg_all_live(arena, spec->xs, spec->count) && (!spec->ws || pg_all_live(arena, spec->ws, spec->count)) &&
           (spec->op == PG_DECLARED || spec->first ? pg_is_live(arena, spec->first) : true) &&
           (spec->op != PG_TAKE || (spec->count > 0 && pg_is_live(arena, spec->index)));
}

pg_id pg_make_sum(pg_arena *arena, uint32_t count, const pg_id *xs)
{
    return make_list(arena, &(list_spec){.op = PG_SUM, .count = count, .xs = xs});
}

pg_id pg_make_choice(pg_arena *arena, pg_id index, uint32_t count, const pg_id *values)
{
    return make_list(arena, &(list_spec){.op = PG_TAKE, .index = index, .count = count, .xs = values});
}

static pg_id make_list_locked(const list_spec *spec, pg_node_cell *cell)
{
    pg_arena *arena = pg_lock();
    const pg_id id = own(arena, cell, is_spec_live(arena, spec) ? make_list(arena, spec) : 0);
    pg_unlock(arena);
    return id;
}

pg_id pg_sum(pg_id start, uint32_t count, const pg_id *xs, pg_node_cell *cell)
{
    return make_list_locked(&(list_spec){.op = PG_SUM, .first = start, .count = count, .xs = xs}, cell);
}

pg_id pg_dot(pg_id bias, uint32_t count, const pg_id *ws, const pg_id *xs, pg_node_cell *cell)
{
    return make_list_locked(&(list_spec){.op = PG_DOT, .first = bias, .count = count, .xs = xs, .ws = ws}, cell);
}

pg_id pg_choose(pg_id index, uint32_t count, const pg_id *values, pg_node_cell *cell)
{
    return make_list_locked(&(list_spec){.op = PG_TAKE, .index = index, .count = count, .xs = values}, cell);
}

pg_id pg_declared(pg_id y, uint32_t count, const pg_id *xs, const pg_id *derivatives, pg_node_cell *cell)
{
    return make_list_locked(&(list_spec){.op = PG_DECLARED, .first = y, .count = count, .ws = xs, .xs = derivatives},
                            cell);
}

static pg_id make_long_dot(pg_arena *arena, pg_id first, size_t count, const pg_id *ws, const pg_id *xs)
{
    return make_list(arena, &(list_spec){.op = PG_DOT, .first = first, .count = count, .xs = xs, .ws = ws});
}

/* Make the dots of a layer. They share one vector; but if the list is too long for one node, each dot has vectors of
 * its own. Returns how many dots there was memory for. */
static uint32_t make_dots(pg_arena *arena, uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws,
                          const pg_id *xs, pg_id *out)
{
    uint32_t made = 0;
    if (count > most_entries(PG_DOT)) {
        for (; made < rows && (out[made] = make_long_dot(arena, biases[made], count, ws, xs)); made++)
            ws += count;
        return made;
    }
    const pg_id vector = make_vector(arena, xs, count);
    for (; vector && made < rows && (out[made] = make_dot(arena, biases[made], vector, count, ws)); made++)
        ws += count;
    if (vector)
        pg_unref(arena, vector);
    return made;
}

pg_status pg_give_layer(pg_arena *arena, uint32_t rows, uint32_t made, const pg_id *out, pg_node_cell *const *cells)
{
    for (uint32_t i = 0; made < rows && i < made; i++)
        pg_unref(arena, out[i]);
    for (uint32_t i = 0; cells && made == rows && i < rows; i++)
        own(arena, cells[i], out[i]);
    return made == rows ? PG_OK : PG_NO_MEMORY; /* or an operand is no live node */
}

pg_status pg_dots(uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws, const pg_id *xs, pg_id *out,
                  pg_node_cell *const *cells)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_is_layer_live(arena, rows, count, biases, ws, xs);
    const uint32_t made = live ? make_dots(arena, rows, count, biases, ws, xs, out) : 0;
    const pg_status status = pg_give_layer(arena, rows, made, out, cells);
    pg_unlock(arena);
    return status;
}

static list_spec custom_spec(double data, uint32_t count, const pg_id *children, const double *local_grads)
{
    const int op = local_grads ? PG_LOCAL : PG_CUSTOM;
    return (list_spec){.op = op, .count = count, .xs = children, .local_grads = local_grads, .data = data};
}

pg_id pg_custom(double data, uint32_t count, const pg_id *children, const double *local_grads, pg_node_cell *cell)
{
    const list_spec spec = custom_spec(data, count, children, local_grads);
    return make_list_locked(&spec, cell);
}

static void set_closure(pg_arena *arena, pg_node *node, bool on)
{
    if (on == ((node->flags & PG_FLAG_CLOSURE) != 0))
        return;
    node->flags ^= PG_FLAG_CLOSURE;
    arena->closures = on ? arena->closures + 1 : arena->closures - 1;
}

static pg_status leaf_to_custom(pg_arena *arena, pg_id leaf, const list_spec *spec, pg_id *out)
{
    pg_node *old = pg_node_at(arena, pg_known(arena, leaf));
    if (old->flags & PG_FLAG_BUSY)
        return PG_BUSY;
    if (!pg_is_live(arena, leaf))
        return PG_NO_NODE;
    if (!pg_is_leaf(leaf) || old->refs != 1)
        return PG_IN_USE;
    const pg_id id = is_spec_live(arena, spec) ? make_list(arena, spec) : 0;
    if (!id)
        return PG_NO_MEMORY;
    pg_node *node = pg_node_at(arena, id);
    node->data = old->data;
    node->grad = *pg_grad_of(arena, old);
    set_closure(arena, node, (old->flags & PG_FLAG_CLOSURE) != 0);
    set_closure(arena, old, false);
    *out = id;
    return PG_OK;
}

pg_status pg_leaf_to_custom(pg_id leaf, uint32_t count, const pg_id *children, pg_id *out)
{
    const list_spec spec = custom_spec(0.0, count, children, NULL);
    pg_arena *arena = pg_lock();
    const pg_status status = leaf_to_custom(arena, leaf, &spec, out);
    pg_unlock(arena);
    return status;
}

pg_status pg_cell_to_custom(pg_node_cell *cell, uint32_t count, const pg_id *children, pg_node_cell *old)
{
    const list_spec spec = custom_spec(0.0, count, children, NULL);
    pg_arena *arena = pg_lock();
    pg_id custom = 0;
    const pg_status status = leaf_to_custom(arena, cell->id, &spec, &custom);
    if (status == PG_OK) {
        own(arena, old, cell->id);
        cell->id = custom;
    }
    pg_unlock(arena);
    return status;
}

/* --- one node --- */

double pg_data(pg_id id)
{
    pg_arena *arena = pg_lock();
    const double data = pg_node_at(arena, pg_known(arena, id))->data;
    pg_unlock(arena);
    return data;
}

double pg_grad(pg_id id)
{
    pg_arena *arena = pg_lock();
    const double grad = *pg_grad_of(arena, pg_node_at(arena, pg_known(arena, id)));
    pg_unlock(arena);
    return grad;
}

pg_status pg_set_data(pg_id id, double data)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_is_live(arena, id);
    if (live)
        pg_node_at(arena, id)->data = data;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

pg_status pg_set_grad(pg_id id, double grad)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_is_live(arena, id);
    if (live)
        *pg_grad_of(arena, pg_node_at(arena, id)) = grad;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

pg_status pg_add_grad(pg_id id, double grad)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_is_live(arena, id);
    if (live)
        *pg_grad_of(arena, pg_node_at(arena, id)) += grad;
    pg_unlock(arena);
    return live ? PG_OK : PG_NO_NODE;
}

double *pg_frozen_grad(const pg_arena *arena, pg_node *leaf)
{
    return pg_has_own_order(arena) ? &leaf->grad : &pg_node_at(arena, leaf->a)->grad;
}

int pg_is_frozen(pg_id id)
{
    pg_arena *arena = pg_lock();
    const bool frozen = (pg_node_at(arena, pg_known(arena, id))->flags & PG_FLAG_FROZEN) != 0;
    pg_unlock(arena);
    return frozen;
}

/* Freeze a leaf: move its gradient to a new keeper. Or unfreeze it: move the gradient back. False: out of memory. */
static bool set_frozen(pg_arena *arena, pg_node *leaf, bool on)
{
    if (on == ((leaf->flags & PG_FLAG_FROZEN) != 0))
        return true;
    const pg_id keeper = on ? pg_new_leaf_with(arena, 0.0, PG_FLAG_NUMBER) : leaf->a;
    if (!keeper)
        return false;
    double *kept = &pg_node_at(arena, keeper)->grad;
    *(on ? kept : &leaf->grad) = *(on ? &leaf->grad : kept);
    leaf->a = on ? keeper : 0;
    leaf->flags ^= PG_FLAG_FROZEN;
    if (!on)
        pg_unref(arena, keeper);
    return true;
}

pg_status pg_set_frozen(pg_id id, int on)
{
    pg_arena *arena = pg_lock();
    pg_status status = !pg_is_live(arena, id) ? PG_NO_NODE : pg_is_leaf(id) ? PG_OK : PG_IN_USE;
    if (status == PG_OK && !set_frozen(arena, pg_node_at(arena, id), on != 0))
        status = PG_NO_MEMORY;
    pg_unlock(arena);
    return status;
}

int pg_exists(pg_id id)
{
    pg_arena *arena = pg_lock();
    const bool exists = pg_is_live(arena, id);
    pg_unlock(arena);
    return exists;
}

int pg_op(pg_id id)
{
    pg_arena *arena = pg_lock();
    const int op = pg_node_at(arena, pg_known(arena, id))->op;
    pg_unlock(arena);
    return op;
}

double pg_exponent(pg_id id)
{
    pg_arena *arena = pg_lock();
    const pg_node *node = pg_node_at(arena, pg_known(arena, id));
    double exponent = NAN;
    if (node->op == PG_POWER)
        memcpy(&exponent, node + 1, sizeof exponent);
    pg_unlock(arena);
    return exponent;
}

size_t pg_list_part(const pg_arena *arena, const pg_node *part, pg_id *out)
{
    const pg_operand_span operands = pg_operands_of(part);
    const pg_node *vector = pg_vector_of(arena, part);
    if (!vector) {
        const bool skips = part->op == PG_TAKE && pg_part_before(arena, part);
        if (out)
            memcpy(out, operands.list + skips, (operands.count - skips) * sizeof *out);
        return operands.count - skips;
    }
    const pg_id *xs = pg_operands_of(vector).list;
    for (pg_id i = 0; out && i < part->b; i++) {
        *out++ = operands.list[i + 1];
        *out++ = xs[i];
    }
    return 2 * (size_t)part->b;
}

size_t pg_count_operands(const pg_arena *arena, const pg_node *node)
{
    size_t count = 0;
    if (node->op == PG_LEAF) /* the keeper of a frozen leaf is not an operand */
        return 0;
    for (const pg_node *part = node; part; part = pg_part_before(arena, part))
        count += pg_list_part(arena, part, NULL) + (part->a && !pg_part_before(arena, part));
    return count;
}

size_t pg_operand_count(pg_id id)
{
    pg_arena *arena = pg_lock();
    const size_t count = pg_count_operands(arena, pg_node_at(arena, pg_known(arena, id)));
    pg_unlock(arena);
    return count;
}

void pg_operands(pg_id id, pg_id *out)
{
    pg_arena *arena = pg_lock();
    const pg_node *node = pg_node_at(arena, pg_known(arena, id));
    const size_t count = pg_count_operands(arena, node);
    pg_id *end = out + count;
    for (const pg_node *part = count ? node : NULL; part; part = pg_part_before(arena, part)) {
        end -= pg_list_part(arena, part, NULL);
        pg_list_part(arena, part, end);
        if (part->a && !pg_part_before(arena, part))
            *--end = part->a;
    }
    pg_unlock(arena);
}

void pg_set_closure(pg_id id, int on)
{
    pg_arena *arena = pg_lock();
    if (pg_known(arena, id))
        set_closure(arena, pg_node_at(arena, id), on != 0);
    pg_unlock(arena);
}
