/* image.c: a tape as plain arrays, its *image* (pg_tape_image in pygrad.h), for a file or a pickle; and a tape made of
 * an image. An image is not trusted: unless it is a tape that a program could have made, it is refused. */
#include <string.h>

#include "mem.h"
#include "tape/tape.h"

/* --- to arrays --- */

void pg_tape_image_size(const pg_tape *tape, pg_tape_image *image)
{
    *image = (pg_tape_image){.inputs = tape->inputs,
                             .parameters = tape->parameters,
                             .constants = tape->constants,
                             .outputs = tape->output_count,
                             .number_count = tape->constants};
    for (uint32_t i = pg_tape_operations(tape); i < tape->count; i++) {
        const pg_tape_node *node = &tape->nodes[i];
        image->number_count += node->op == PG_POWER;
        image->word_count += pg_has_list(node->op) ? 3 + (size_t)node->count : 1 + (size_t)pg_op_arity((int)node->op);
    }
}

static int32_t *write_operation(const pg_tape *tape, const pg_tape_node *node, int32_t *words)
{
    *words++ = (int32_t)node->op;
    *words++ = node->a;
    if (!pg_has_list(node->op)) {
        if (pg_op_arity((int)node->op) == 2)
            *words++ = node->b;
        return words;
    }
    *words++ = (int32_t)node->count;
    memcpy(words, tape->lists + node->list, node->count * sizeof *words);
    return words + node->count;
}

void pg_tape_write(const pg_tape *tape, double *numbers, int32_t *words)
{
    const uint32_t first = pg_tape_operations(tape);
    for (uint32_t i = first - tape->constants; i < tape->count; i++) {
        const pg_tape_node *node = &tape->nodes[i];
        if (i < first || node->op == PG_POWER)
            *numbers++ = node->literal;
        if (i >= first)
            words = write_operation(tape, node, words);
    }
}

/* --- from arrays --- */

/* How far an image has been read. The tape's `count` is the place of the operation that is read now. */
typedef struct {
    const pg_tape_image *image;
    pg_tape *tape;
    const int32_t *words;
    size_t words_left;
    const double *numbers;
    size_t numbers_left;
    const char *broken;
} reader;

static bool fail(reader *r, const char *broken)
{
    r->broken = broken;
    return false;
}

static bool read_word(reader *r, int32_t *word)
{
    if (r->words_left == 0)
        return fail(r, "it ends within an operation");
    *word = *r->words++;
    r->words_left--;
    return true;
}

static bool read_number(reader *r, double *number)
{
    if (r->numbers_left == 0)
        return fail(r, "it lacks a number");
    *number = *r->numbers++;
    r->numbers_left--;
    return true;
}

/* T2: an operand comes before its operation. */
static bool read_operand(reader *r, int32_t lowest, int32_t *operand)
{
    if (!read_word(r, operand))
        return false;
    if (*operand < lowest || *operand >= (int64_t)r->tape->count)
        return fail(r, "an operand does not come before its operation");
    return true;
}

/* Can a tape have this op? */
static bool is_op(int32_t op)
{
    return op > PG_LEAF && op < PG_OP_COUNT && op != PG_CUSTOM && op != PG_LOCAL;
}

static bool is_good_count(const pg_tape_node *node)
{
    if (node->op == PG_TAKE)
        return node->count >= 2;
    return node->op == PG_SUM || node->count % 2 == 0;
}

static bool read_list(reader *r, pg_tape_node *node)
{
    int32_t count;
    if (!read_operand(r, node->op == PG_DECLARED ? 0 : -1, &node->a) || !read_word(r, &count))
        return false;
    node->count = (uint32_t)count;
    if (count < 0 || !is_good_count(node))
        return fail(r, "an operation has a wrong number of operands");
    if (node->op == PG_TAKE && node->a != -1)
        return fail(r, "a take has an operand too many");
    if (node->count > r->words_left)
        return fail(r, "it ends within an operation");
    const size_t list = pg_tape_room(r->tape, node->count); /* never fails: there is room for all words */
    node->list = (uint32_t)list;
    for (uint32_t i = 0; i < node->count; i++)
        if (!read_operand(r, 0, &r->tape->lists[list + i]))
            return false;
    return true;
}

static bool read_operation(reader *r)
{
    int32_t code;
    if (!read_word(r, &code))
        return false;
    if (code < 0 || (uint32_t)code >= r->image->op_count || !is_op(r->image->ops[code]))
        return fail(r, "it has an operation that is unknown here");
    pg_tape_node node = {.op = (uint16_t)r->image->ops[code]};
    if (pg_has_list(node.op) ? !read_list(r, &node) : !read_operand(r, 0, &node.a))
        return false;
    if (!pg_has_list(node.op) && pg_op_arity((int)node.op) == 2 && !read_operand(r, 0, &node.b))
        return false;
    if (node.op == PG_POWER && !read_number(r, &node.literal))
        return false;
    r->tape->nodes[r->tape->count++] = node;
    return true;
}

static bool read_leaves(reader *r)
{
    pg_tape *tape = r->tape;
    for (uint32_t i = 0; i < tape->inputs; i++)
        tape->nodes[tape->count++] = (pg_tape_node){.op = PG_TAPE_INPUT, .a = (int32_t)i};
    for (uint32_t i = 0; i < tape->parameters; i++)
        tape->nodes[tape->count++] = (pg_tape_node){.op = PG_TAPE_PARAMETER, .a = (int32_t)i};
    for (uint32_t i = 0; i < tape->constants; i++) {
        pg_tape_node constant = {.op = PG_TAPE_CONSTANT};
        if (!read_number(r, &constant.literal))
            return false;
        tape->nodes[tape->count++] = constant;
    }
    return true;
}

static bool read_outputs(reader *r)
{
    pg_tape *tape = r->tape;
    for (uint32_t i = 0; i < tape->output_count; i++) {
        tape->outputs[i] = r->image->output_places[i];
        if (tape->outputs[i] < 0 || tape->outputs[i] >= (int64_t)tape->count)
            return fail(r, "an output is no node of it");
    }
    return true;
}

static bool read_all(reader *r)
{
    if (!read_leaves(r))
        return false;
    while (r->words_left > 0)
        if (!read_operation(r))
            return false;
    if (r->numbers_left > 0)
        return fail(r, "it has a number too many");
    return read_outputs(r);
}

/* Allocate room for as many nodes and list entries as the words can make. False: out of memory. */
static bool have_room(pg_tape *tape, size_t most_nodes, size_t words)
{
    tape->nodes = pg_realloc(NULL, most_nodes * sizeof *tape->nodes + 1);
    tape->lists = pg_realloc(NULL, words * sizeof *tape->lists + 1);
    tape->outputs = pg_realloc(NULL, tape->output_count * sizeof *tape->outputs + 1);
    tape->list_capacity = words;
    return tape->nodes && tape->lists && tape->outputs;
}

static pg_status read_image(reader *r)
{
    const pg_tape_image *image = r->image;
    pg_tape *tape = r->tape;
    const uint64_t leaves = (uint64_t)image->inputs + image->parameters + image->constants;
    if (leaves > INT32_MAX || image->word_count > INT32_MAX - leaves) {
        fail(r, "it is too large");
        return PG_BAD_TAPE;
    }
    tape->inputs = image->inputs;
    tape->parameters = image->parameters;
    tape->constants = image->constants;
    tape->output_count = image->outputs;
    if (!have_room(tape, (size_t)leaves + image->word_count / 2, image->word_count))
        return PG_NO_MEMORY;
    if (!read_all(r))
        return PG_BAD_TAPE;
    return pg_tape_compact(tape) ? pg_tape_set_parameters(tape, image->ids) : PG_NO_MEMORY; /* T3 */
}

pg_status pg_tape_from(const pg_tape_image *image, pg_tape_cell *cell, const char **broken)
{
    pg_tape *tape = pg_zeroed(sizeof *tape);
    if (!tape)
        return PG_NO_MEMORY;
    tape->owners = 1;
    reader r = {.image = image,
                .tape = tape,
                .words = image->words,
                .words_left = image->word_count,
                .numbers = image->numbers,
                .numbers_left = image->number_count};
    const pg_status status = read_image(&r);
    *broken = r.broken;
    cell->tape = status == PG_OK ? tape : NULL;
    if (status != PG_OK)
        pg_tape_drop(tape);
    return status;
}
