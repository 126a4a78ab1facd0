/* passes.c: the passes that make a tape shorter. Each can be switched off (pg_pass in pygrad.h):
 *
 *     fold      an operation on constants becomes a constant; a division by a power of two becomes a multiplication
 *     share     products with 1, needless negations and needless stop_gradients disappear; equal operations become one
 *     fuse      a chain of additions becomes one sum or dot
 *
 * A pass is one or two loops over the tape, and keeps the values of all outputs to the bit. Sharing and fusing change
 * the sequence in which gradients are added up. After each loop pg_tape_compact() drops the nodes that no output needs
 * any more. */
#include <math.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "tape/scalar.h"

/* --- equal nodes --- */

static uint64_t bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static uint64_t hash_of(const pg_tape *tape, const pg_tape_node *node)
{
    uint64_t hash = pg_mix(pg_mix(node->op, (uint32_t)node->a), bits_of(node->literal));
    if (!pg_has_list(node->op))
        return pg_mix(hash, (uint32_t)node->b);
    for (uint32_t i = 0; i < node->count; i++)
        hash = pg_mix(hash, (uint32_t)tape->lists[node->list + i]);
    return hash;
}

static bool are_equal(const void *context, int32_t place_x, int32_t place_y)
{
    const pg_tape *tape = context;
    const pg_tape_node *x = &tape->nodes[place_x], *y = &tape->nodes[place_y];
    if (x->op != y->op || x->a != y->a || bits_of(x->literal) != bits_of(y->literal))
        return false;
    if (!pg_has_list(x->op))
        return x->b == y->b;
    return x->count == y->count &&
           memcmp(tape->lists + x->list, tape->lists + y->list, x->count * sizeof *tape->lists) == 0;
}

static void replace_operand(int32_t *operand, void *context)
{
    *operand = ((const int32_t *)context)[*operand];
}

/* --- constants --- */

/* Append a constant to a tape that has room for *capacity nodes. It stands at the end until the tape is compacted.
 * Return its place; -1: out of memory. */
static int32_t append_constant(pg_tape *tape, size_t *capacity, double literal)
{
    if (tape->count == INT32_MAX || !pg_grow(&tape->nodes, capacity, tape->count + 1, sizeof *tape->nodes))
        return -1;
    tape->nodes[tape->count] = (pg_tape_node){.op = PG_TAPE_CONSTANT, .literal = literal};
    return (int32_t)tape->count++;
}

/* `context` is two pointers: to all nodes, and one that becomes NULL if the operand is no constant. */
static void spoil(int32_t *operand, void *context)
{
    const pg_tape_node **nodes = context;
    if (nodes[0][*operand].op != PG_TAPE_CONSTANT)
        nodes[1] = NULL;
}

/* Make constants of operations on constants. `v` has the values of all constants so far. */
static bool fold_constants(pg_tape *tape)
{
    double *v = pg_realloc(NULL, tape->count * sizeof *v + 1);
    if (!v)
        return false;
    for (uint32_t i = 0; i < tape->count; i++) {
        pg_tape_node *node = &tape->nodes[i];
        const pg_tape_node *context[2] = {tape->nodes, node};
        if (node->op < PG_OP_COUNT) {
            pg_tape_each_operand(tape, node, spoil, context);
            if (context[1]) {
                *node = (pg_tape_node){.op = PG_TAPE_CONSTANT, .literal = pg_scalar_value(tape, node, v)};
                tape->folds_anomaly |= !isfinite(node->literal);
            }
        }
        v[i] = node->literal;
    }
    pg_free(v);
    return true;
}

/* The inverse of a power of two; 0: the number is none, or its inverse is not exact. */
static double exact_inverse(double number)
{
    int exponent;
    const double inverse = 1.0 / number;
    const bool exact = fabs(frexp(number, &exponent)) == 0.5 && isnormal(number) && isnormal(inverse);
    return exact ? inverse : 0.0;
}

/* The place of a constant, which is appended if `constants` has none of this value. -1: out of memory. */
static int32_t place_of_constant(pg_tape *tape, size_t *capacity, pg_set *constants, double literal)
{
    const int32_t fresh = append_constant(tape, capacity, literal);
    if (fresh < 0)
        return -1;
    const int32_t place = pg_set_find(constants, fresh, hash_of(tape, &tape->nodes[fresh]), are_equal, tape);
    tape->count -= place != fresh;
    return place;
}

/* Instead of dividing by a power of two, multiply by its inverse: the same bits, but faster. False: out of memory. */
static bool avoid_divisions(pg_tape *tape)
{
    const uint32_t count = tape->count, first = pg_tape_operations(tape);
    size_t capacity = count;
    pg_set constants;
    bool done = pg_set_new(&constants, count);
    for (uint32_t i = tape->inputs + tape->parameters; done && i < first; i++)
        pg_set_find(&constants, (int32_t)i, hash_of(tape, &tape->nodes[i]), are_equal, tape);
    for (uint32_t i = first; done && i < count; i++) {
        const pg_tape_node *node = &tape->nodes[i];
        if (node->op != PG_OP_div || tape->nodes[node->b].op != PG_TAPE_CONSTANT)
            continue;
        const double inverse = exact_inverse(tape->nodes[node->b].literal);
        if (inverse == 0.0)
            continue;
        const int32_t place = place_of_constant(tape, &capacity, &constants, inverse);
        tape->nodes[i].op = PG_OP_mul;
        tape->nodes[i].b = place;
        done = place >= 0;
    }
    pg_set_free(&constants);
    return done;
}

/* --- signs and ones --- */

/* The state of simplifying. It appends at most one constant for each node. */
typedef struct {
    pg_tape *tape;
    int32_t *same;     /* for each node the node that replaces it, at first itself */
    int32_t *negative; /* for each constant 1 + the place of its negative, or 0: not there yet */
    size_t capacity;
} simplifier;

static bool is_number(const pg_tape *tape, int32_t place, double number)
{
    return tape->nodes[place].op == PG_TAPE_CONSTANT && tape->nodes[place].literal == number;
}

/* The operand of a negation, or -1. */
static int32_t negated(const pg_tape *tape, int32_t place)
{
    return tape->nodes[place].op == PG_OP_neg ? tape->nodes[place].a : -1;
}

/* The place of the negative of a constant. -1: out of memory. */
static int32_t negative_of(simplifier *s, int32_t constant)
{
    if (s->negative[constant])
        return s->negative[constant] - 1;
    const int32_t place = append_constant(s->tape, &s->capacity, -s->tape->nodes[constant].literal);
    if (place < 0)
        return -1;
    s->negative[constant] = place + 1;
    s->negative[place] = constant + 1;
    return place;
}

/* Make node `place` the product (-c) * x, where c is the value of the constant. False: out of memory. */
static bool write_negative_product(simplifier *s, uint32_t place, int32_t constant, int32_t x)
{
    const int32_t negative = negative_of(s, constant);
    s->tape->nodes[place] = (pg_tape_node){.op = PG_OP_mul, .a = negative, .b = x};
    return negative >= 0;
}

static bool simplify_product(simplifier *s, uint32_t place)
{
    pg_tape *tape = s->tape;
    pg_tape_node *node = &tape->nodes[place];
    if (tape->nodes[node->b].op == PG_TAPE_CONSTANT) { /* the constant first */
        const int32_t a = node->a;
        node->a = node->b;
        node->b = a;
    }
    const int32_t a = negated(tape, node->a), b = negated(tape, node->b);
    if (is_number(tape, node->a, 1.0)) {
        s->same[place] = node->b;
    } else if (is_number(tape, node->a, -1.0)) {
        *node = (pg_tape_node){.op = PG_OP_neg, .a = node->b};
    } else if (a >= 0 && b >= 0) {
        node->a = a;
        node->b = b;
    } else if (tape->nodes[node->a].op == PG_TAPE_CONSTANT && b >= 0) {
        return write_negative_product(s, place, node->a, b);
    }
    return true;
}

static bool simplify_negation(simplifier *s, uint32_t place)
{
    const pg_tape *tape = s->tape;
    const int32_t a = tape->nodes[place].a, inner = negated(tape, a);
    if (inner >= 0)
        s->same[place] = inner;
    else if (tape->nodes[a].op == PG_OP_mul && tape->nodes[tape->nodes[a].a].op == PG_TAPE_CONSTANT)
        return write_negative_product(s, place, tape->nodes[a].a, tape->nodes[a].b);
    return true;
}

/* Simplify products with 1 and -1, products of negations, and negations of negations and of products with constants:
 * fewer operations, the same bits. False: out of memory. */
static bool simplify(pg_tape *tape)
{
    const uint32_t count = tape->count;
    simplifier s = {.tape = tape, .capacity = count};
    s.same = pg_realloc(NULL, count * sizeof *s.same + 1);
    s.negative = pg_zeroed(2 * (size_t)count * sizeof *s.negative + 1);
    bool done = s.same && s.negative;
    for (uint32_t i = 0; done && i < count; i++) {
        s.same[i] = (int32_t)i;
        pg_tape_each_operand(tape, &tape->nodes[i], replace_operand, s.same);
        if (tape->nodes[i].op == PG_OP_mul)
            done = simplify_product(&s, i);
        if (done && tape->nodes[i].op == PG_OP_neg)
            done = simplify_negation(&s, i);
    }
    for (uint32_t i = 0; done && i < tape->output_count; i++)
        tape->outputs[i] = s.same[tape->outputs[i]];
    pg_free(s.same);
    pg_free(s.negative);
    return done;
}

/* --- needless stop_gradients --- */

static void mark_active(int32_t *operand, void *context)
{
    ((bool *)context)[*operand] = true;
}

static void skip_stops(int32_t *operand, void *context)
{
    const pg_tape_node *nodes = context;
    while (nodes[*operand].op == PG_OP_stop_gradient)
        *operand = nodes[*operand].a;
}

/* Let inert operations, which get no adjoint and so pass none on, use x in place of stop_gradient(x). A custom op makes
 * such operations (pygrad/common/custom_op.py). False: out of memory. */
static bool skip_needless_stops(pg_tape *tape)
{
    bool *active = pg_zeroed(tape->count * sizeof *active + 1);
    if (!active)
        return false;
    for (uint32_t i = 0; i < tape->output_count; i++)
        active[tape->outputs[i]] = true;
    for (uint32_t i = tape->count; i-- > pg_tape_operations(tape);)
        if (active[i])
            pg_tape_each_receiver(tape, &tape->nodes[i], mark_active, active);
        else
            pg_tape_each_operand(tape, &tape->nodes[i], skip_stops, tape->nodes);
    pg_free(active);
    return true;
}

/* --- common subexpressions --- */

/* a + b and b + a have the same bits, and so have a * b and b * a: bring them to one form. */
static void order_operands(pg_tape_node *node)
{
    if ((node->op == PG_OP_add || node->op == PG_OP_mul) && node->a > node->b) {
        const int32_t a = node->a;
        node->a = node->b;
        node->b = a;
    }
}

/* Replace each node that has the op and operands of an older node by the older node. */
static bool share_subexpressions(pg_tape *tape)
{
    pg_set set;
    int32_t *first = pg_realloc(NULL, tape->count * sizeof *first + 1); /* for each node the oldest that equals it */
    const bool done = pg_set_new(&set, tape->count) && first;
    for (uint32_t i = 0; done && i < tape->count; i++) {
        pg_tape_node *node = &tape->nodes[i];
        first[i] = (int32_t)i;
        pg_tape_each_operand(tape, node, replace_operand, first);
        if (node->op == PG_TAPE_INPUT || node->op == PG_TAPE_PARAMETER)
            continue;
        order_operands(node);
        first[i] = pg_set_find(&set, (int32_t)i, hash_of(tape, node), are_equal, tape);
    }
    for (uint32_t i = 0; done && i < tape->output_count; i++)
        tape->outputs[i] = first[tape->outputs[i]];
    pg_set_free(&set);
    pg_free(first);
    return done;
}

/* --- sums and dots --- */

/* A *chain* consists of additions, sums and dots, its *links*; each link but the last is used by the next link alone. A
 * chain becomes one sum: base + t0 + t1 + ..., added from the left. If at least half of the terms are products that
 * nothing else uses, or if a link is a dot, then the chain becomes a dot of the factors instead, and any other term t
 * becomes 1.0 * t, with the same value. If the chain varies, a uniform product (program.h) stays a node: a batch
 * computes it only once. */
typedef struct {
    int32_t node; /* -1: none, a pair of a dot */
    int32_t w; /* of a product w * x; else -1 */
    int32_t x; /* of any other term: its node */
} term;

typedef struct {
    pg_tape *tape;
    uint32_t *uses;
    bool *varies; /* depends on an input */
    term *terms; /* of one chain, last first; what follows is about this chain too */
    size_t count;
    size_t products; /* how many of the terms are products */
    int32_t base; /* -1: the sum starts from 0.0 */
    bool is_uniform; /* it depends on no input */
    bool is_long; /* it has more than one link */
    bool is_bound; /* some terms are no nodes: it must become a dot */
    int32_t one; /* the place of the constant 1.0 */
} chains;

static void count_use(int32_t *operand, void *context)
{
    ((uint32_t *)context)[*operand]++;
}

static void look_at_operand(int32_t *operand, void *context)
{
    chains *c = context;
    c->is_uniform &= !c->varies[*operand];
}

static void find_varying(chains *c)
{
    pg_tape *tape = c->tape;
    for (uint32_t i = 0; i < tape->count; i++) {
        c->is_uniform = i >= tape->inputs;
        pg_tape_each_operand(tape, &tape->nodes[i], look_at_operand, c);
        c->varies[i] = !c->is_uniform;
    }
}

static bool is_chained(uint32_t op)
{
    return op == PG_OP_add || op == PG_SUM || op == PG_DOT;
}

static bool is_link(const chains *c, int32_t place)
{
    return place >= 0 && c->uses[place] == 1 && is_chained(c->tape->nodes[place].op);
}

static bool is_product(const chains *c, int32_t place)
{
    const uint32_t op = c->tape->nodes[place].op;
    return c->uses[place] == 1 && (op == PG_OP_mul || op == PG_OP_square) && (c->is_uniform || c->varies[place]);
}

static void add_term(chains *c, int32_t place)
{
    const pg_tape_node *node = &c->tape->nodes[place];
    const bool product = is_product(c, place);
    c->products += product;
    c->terms[c->count++] = (term){.node = place,
                                  .w = product ? node->a : -1,
                                  .x = !product                   ? place
                                       : node->op == PG_OP_square ? node->a
                                                                  : node->b};
}

static void add_pairs(chains *c, const pg_tape_node *dot)
{
    const int32_t *list = c->tape->lists + dot->list;
    for (uint32_t i = dot->count; i > 0; i -= 2)
        c->terms[c->count++] = (term){-1, list[i - 2], list[i - 1]};
    c->products += dot->count / 2;
    c->is_bound = true;
}

/* Does a node add a uniform number to a chain that varies, like b in w0 * x0 + w1 * x1 + b? Such a node is no link: the
 * chain ends below it, and becomes a dot that has nothing but pairs w, x. */
static bool adds_uniform(const chains *c, const pg_tape_node *node)
{
    return node->op == PG_OP_add && c->varies[node->a] != c->varies[node->b] &&
           is_link(c, c->varies[node->a] ? node->a : node->b);
}

/* List the terms that one link adds, last first; return the operand that it adds them to. */
static int32_t add_link(chains *c, const pg_tape_node *node)
{
    if (node->op == PG_OP_add) {
        const bool swap = !is_link(c, node->a) && (is_link(c, node->b) || is_product(c, node->a));
        add_term(c, swap ? node->a : node->b);
        return swap ? node->b : node->a;
    }
    if (node->op == PG_DOT)
        add_pairs(c, node);
    else
        for (uint32_t i = node->count; i-- > 0;)
            add_term(c, c->tape->lists[node->list + i]);
    return node->a;
}

/* Collect the terms of a chain, from its last link down. The other links count as unused from now on. */
static void collect_terms(chains *c, int32_t place)
{
    c->count = c->products = 0;
    c->is_bound = c->is_long = false;
    c->is_uniform = !c->varies[place];
    c->base = add_link(c, &c->tape->nodes[place]);
    while (is_link(c, c->base)) {
        c->uses[c->base] = 0;
        c->is_long = true;
        c->base = add_link(c, &c->tape->nodes[c->base]);
    }
}

/* Make the last link of a chain the sum or dot. False: out of memory. */
static bool write_chain(chains *c, int32_t place)
{
    const bool is_dot = c->is_bound || (c->products > 0 && 2 * c->products >= c->count);
    if (!is_dot && !c->is_long)
        return true; /* one addition or sum stays as it is */
    const size_t entries = is_dot ? 2 * c->count : c->count;
    const size_t list = pg_tape_room(c->tape, entries);
    if (list > UINT32_MAX)
        return false;
    int32_t *out = c->tape->lists + list;
    for (size_t i = c->count; i-- > 0;) {
        const term t = c->terms[i];
        if (is_dot)
            *out++ = t.w < 0 ? c->one : t.w;
        *out++ = is_dot ? t.x : t.node;
    }
    c->tape->nodes[place] = (pg_tape_node){
        .op = is_dot ? PG_DOT : PG_SUM, .a = c->base, .list = (uint32_t)list, .count = (uint32_t)entries};
    return true;
}

/* The place of the constant 1.0, which is appended if there is none. -1: out of memory. */
static int32_t place_of_one(pg_tape *tape)
{
    for (uint32_t i = tape->inputs + tape->parameters; i < pg_tape_operations(tape); i++)
        if (is_number(tape, (int32_t)i, 1.0))
            return (int32_t)i;
    size_t capacity = tape->count;
    return append_constant(tape, &capacity, 1.0);
}

static bool fuse_chains(pg_tape *tape)
{
    chains c = {.tape = tape, .one = place_of_one(tape)};
    c.uses = pg_zeroed(tape->count * sizeof *c.uses + 1);
    c.varies = pg_zeroed(tape->count * sizeof *c.varies + 1);
    c.terms = pg_realloc(NULL, (tape->count + tape->list_size) * sizeof *c.terms + 1);
    bool done = c.one >= 0 && c.uses && c.varies && c.terms;
    if (done)
        find_varying(&c);
    for (uint32_t i = 0; done && i < tape->count; i++)
        pg_tape_each_operand(tape, &tape->nodes[i], count_use, c.uses);
    for (uint32_t i = 0; done && i < tape->output_count; i++)
        c.uses[tape->outputs[i]] += 2; /* an output stays a node: never used just once */
    for (uint32_t i = tape->count; done && i-- > pg_tape_operations(tape);)
        if (c.uses[i] > 0 && is_chained(tape->nodes[i].op) && !adds_uniform(&c, &tape->nodes[i])) {
            collect_terms(&c, (int32_t)i);
            done = write_chain(&c, (int32_t)i);
        }
    pg_free(c.uses);
    pg_free(c.varies);
    pg_free(c.terms);
    return done;
}

/* --- all of them --- */

pg_status pg_tape_optimize(pg_tape *tape, int passes)
{
    bool done = true;
    if (passes & PG_PASS_FOLD)
        done = fold_constants(tape) && pg_tape_compact(tape) && avoid_divisions(tape) && pg_tape_compact(tape);
    if (done && passes & PG_PASS_SHARE)
        done = skip_needless_stops(tape) && simplify(tape) && pg_tape_compact(tape) && share_subexpressions(tape) &&
               pg_tape_compact(tape);
    if (done && passes & PG_PASS_FUSE)
        done = fuse_chains(tape) && pg_tape_compact(tape);
    return done ? PG_OK : PG_NO_MEMORY;
}
