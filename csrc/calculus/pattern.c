/* pattern.c: which outputs of a tape depend on which inputs: where the tape's Jacobian may differ from 0.
 *
 * Each node has a set of outputs: those that depend on it. From the newest operation to the oldest, each adds its set
 * to the sets of the operands that it passes its adjoint on to. The set of an input is then its column of the Jacobian.
 * A set is BITS bits, so one pass down the tape serves BITS outputs.
 */
#include <string.h>

#include "mem.h"
#include "tape/tape.h"

enum { WORDS = 8, BITS = 64 * WORDS };

typedef struct {
    uint64_t words[WORDS];
} bit_set;

static void add_bit(bit_set *set, uint32_t bit)
{
    set->words[bit / 64] |= UINT64_C(1) << bit % 64;
}

static uint32_t count_bits(const bit_set *set)
{
    uint32_t count = 0;
    for (int k = 0; k < WORDS; k++)
        for (uint64_t word = set->words[k]; word; word &= word - 1) /* most sets have few bits */
            count++;
    return count;
}

static void unite(bit_set *to, const bit_set *from)
{
    for (int k = 0; k < WORDS; k++)
        to->words[k] |= from->words[k];
}

/* Where a pass is: the sets of all nodes, the set of one operation, and the lowest operation whose set is not empty. */
typedef struct {
    bit_set *sets;
    bit_set *mine;
    int32_t first_operation;
    int32_t lowest;
} at;

static void give(int32_t *operand, void *context)
{
    at *here = context;
    unite(&here->sets[*operand], here->mine);
    if (*operand >= here->first_operation && *operand < here->lowest)
        here->lowest = *operand;
}

static void gather(int32_t *operand, void *context)
{
    const at *here = context;
    unite(here->mine, &here->sets[*operand]);
}

/* Go down the tape from outputs [first, first + BITS), to the lowest operation that they depend on. All sets are empty
 * before; after, the sets of operations are. Return how many operations each of these outputs depends on, added up. */
static double go_down(pg_tape *tape, bit_set *sets, uint32_t first)
{
    double steps = 0.0;
    const int32_t begin = (int32_t)pg_tape_operations(tape);
    at here = {.sets = sets, .first_operation = begin, .lowest = (int32_t)tape->count};
    int32_t i = 0;
    for (uint32_t k = 0; k < BITS && first + k < tape->output_count; k++) {
        bit_set mine = {{0}};
        int32_t place = tape->outputs[first + k];
        add_bit(&mine, k);
        here.mine = &mine;
        give(&place, &here);
        i = place > i ? place : i;
    }
    for (; i >= here.lowest; i--) {
        const uint32_t count = count_bits(&sets[i]);
        steps += count;
        here.mine = &sets[i];
        if (count)
            pg_tape_each_receiver(tape, &tape->nodes[i], give, &here);
        sets[i] = (bit_set){{0}};
    }
    return steps;
}

/* Go up the tape from inputs [first, first + BITS), with sets of inputs. Return how many operations depend on each of
 * these inputs, added up. */
static double go_up(pg_tape *tape, bit_set *sets, uint32_t first)
{
    double steps = 0.0;
    memset(sets, 0, tape->count * sizeof *sets);
    for (uint32_t k = 0; k < BITS && first + k < tape->inputs; k++)
        add_bit(&sets[first + k], k);
    for (uint32_t i = pg_tape_operations(tape); i < tape->count; i++) {
        pg_tape_each_receiver(tape, &tape->nodes[i], gather, &(at){.sets = sets, .mine = &sets[i]});
        steps += count_bits(&sets[i]);
    }
    return steps;
}

/* Call `visit` for every bit of a set. */
typedef void bit_fn(uint32_t bit, int32_t column, void *context);
static inline void each_bit(const bit_set *set, int32_t column, bit_fn *visit, void *context)
{
    for (uint32_t k = 0; k < WORDS; k++)
        for (uint64_t word = set->words[k], bit = 0; word; word >>= 1, bit++)
            if (word & 1)
                visit(64 * k + (uint32_t)bit, column, context);
}

static void count_row(uint32_t bit, int32_t column, void *context)
{
    (void)column;
    ((int32_t *)context)[bit + 1]++;
}

/* Where the next column of each row of the Jacobian goes. */
typedef struct {
    int32_t *columns;
    int32_t places[BITS];
} filler;

static void append_to_row(uint32_t bit, int32_t column, void *context)
{
    filler *f = context;
    f->columns[f->places[bit]++] = column;
}

/* Append the Jacobian's rows of outputs [first, first + BITS), from the sets of the inputs. */
static bool append_rows(const pg_tape *tape, const bit_set *sets, uint32_t first, pg_pattern *out)
{
    const uint32_t left = tape->output_count - first, rows = left < BITS ? left : BITS;
    int32_t *starts = out->starts + first;
    size_t count = out->count;
    for (uint32_t j = 0; j < tape->inputs; j++)
        count += count_bits(&sets[j]);
    int32_t *columns = count > INT32_MAX ? NULL : pg_realloc(out->columns, (count + 1) * sizeof *columns);
    if (!columns)
        return false;
    out->columns = columns;
    out->count = count;
    for (uint32_t j = 0; j < tape->inputs; j++)
        each_bit(&sets[j], (int32_t)j, count_row, starts);
    for (uint32_t k = 0; k < rows; k++)
        starts[k + 1] += starts[k];
    filler f = {.columns = columns};
    memcpy(f.places, starts, rows * sizeof *starts);
    for (uint32_t j = 0; j < tape->inputs; j++)
        each_bit(&sets[j], (int32_t)j, append_to_row, &f);
    return true;
}

static bool fill(pg_tape *tape, bit_set *sets, pg_pattern *out)
{
    for (uint32_t first = 0; first < tape->output_count; first += BITS) {
        memset(sets, 0, pg_tape_operations(tape) * sizeof *sets);
        out->row_steps += go_down(tape, sets, first);
        if (!append_rows(tape, sets, first, out))
            return false;
    }
    const uint32_t operations = tape->count - pg_tape_operations(tape);
    if (out->row_steps <= 2.0 * operations)
        out->column_steps = INFINITY;
    else
        for (uint32_t first = 0; first < tape->inputs; first += BITS)
            out->column_steps += go_up(tape, sets, first);
    return true;
}

static void free_arrays(pg_pattern *pattern)
{
    pg_free(pattern->columns);
    pg_free(pattern->starts);
    *pattern = (pg_pattern){.count = 0};
}

pg_status pg_pattern_find(pg_tape *tape, pg_pattern *out)
{
    bit_set *sets = pg_zeroed(tape->count * sizeof *sets + 1);
    *out = (pg_pattern){.starts = pg_zeroed((tape->output_count + 1) * sizeof *out->starts)};
    const bool done = sets && out->starts && fill(tape, sets, out);
    pg_free(sets);
    if (!done)
        free_arrays(out);
    return done ? PG_OK : PG_NO_MEMORY;
}

void pg_pattern_free(void *cell)
{
    free_arrays(cell);
    pg_free(cell);
}
