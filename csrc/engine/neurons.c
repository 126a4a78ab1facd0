/* neurons.c: a layer of neurons as micrograd builds it, with a node for each multiply and each add.
 *
 * Python's sum((w * x for w, x in zip(ws, xs)), bias) makes w0*x0, then bias + w0*x0, then w1*x1, and so on. So does
 * this file. Only the last sum of a neuron is given to the caller: all other nodes are hidden until a program asks for
 * them. */
#include "engine/node.h"
#include "mem.h"

/* Make a multiply and an add for each of these inputs, where the current block has room for them, and return the last
 * sum. It takes over the caller's reference to `total`, the sum so far. The nodes lie side by side, and are counted
 * once for all: this loop makes most nodes of a program that trains a network. */
static pg_id make_run(pg_arena *arena, pg_id total, uint32_t count, const pg_id *ws, const pg_id *xs)
{
    pg_block *block = arena->current;
    pg_id id = pg_id_of(arena->current_block, block->used);
    double sum = pg_node_at(arena, total)->data;
    for (uint32_t i = 0; i < count; i++, id += 2) {
        pg_node *w = pg_node_at(arena, ws[i]), *x = pg_node_at(arena, xs[i]), *node = pg_node_at(arena, id);
        const double product = pg_op_forward(PG_OP_mul, w->data, x->data);
        sum = pg_op_forward(PG_OP_add, sum, product);
        pg_ref(w);
        pg_ref(x);
        node[0] = (pg_node){.data = product, .a = ws[i], .b = xs[i], .op = PG_OP_mul, .slots = 1, .refs = 1};
        node[1] = (pg_node){.data = sum, .a = total, .b = id, .op = PG_OP_add, .slots = 1, .refs = 1};
        total = id + 1;
    }
    block->used = (uint8_t)(block->used + 2 * count);
    block->live = (uint8_t)(block->live + 2 * count);
    arena->live_nodes += 2 * (size_t)count;
    return total;
}

static pg_id make_neuron(pg_arena *arena, pg_id bias, uint32_t count, const pg_id *ws, const pg_id *xs)
{
    pg_id total = bias;
    pg_ref(pg_node_at(arena, bias));
    for (uint32_t done = 0, run; done < count; done += run) {
        if (arena->current->used + 2 > PG_BLOCK_SLOTS && !pg_start_block(arena)) {
            pg_unref(arena, total);
            return 0;
        }
        const uint32_t room = (uint32_t)(PG_BLOCK_SLOTS - arena->current->used) / 2;
        run = count - done < room ? count - done : room;
        total = make_run(arena, total, run, ws + done, xs + done);
    }
    return total;
}

/* Make a neuron with leaves of its own for the numbers among the inputs. `own` is memory for `count` ids. */
static pg_id make_neuron_with_numbers(pg_arena *arena, pg_id bias, uint32_t count, const pg_id *ws, const pg_id *xs,
                                      const char *numbers, pg_id *own)
{
    uint32_t ready = 0;
    for (; ready < count; ready++) {
        own[ready] =
            numbers[ready] ? pg_new_leaf_with(arena, pg_node_at(arena, xs[ready])->data, PG_FLAG_NUMBER) : xs[ready];
        if (!own[ready])
            break;
    }
    const pg_id neuron = ready == count ? make_neuron(arena, bias, count, ws, own) : 0;
    for (uint32_t i = 0; i < ready; i++)
        if (numbers[i])
            pg_unref(arena, own[i]);
    return neuron;
}

static uint32_t make_neurons(pg_arena *arena, uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws,
                             const pg_id *xs, const char *numbers, pg_id *out)
{
    pg_id *own = numbers ? pg_zeroed((count + 1) * sizeof *own) : NULL;
    uint32_t made = 0;
    for (; made < rows && (own || !numbers); made++, ws += count) {
        out[made] = numbers ? make_neuron_with_numbers(arena, biases[made], count, ws, xs, numbers, own)
                            : make_neuron(arena, biases[made], count, ws, xs);
        if (!out[made])
            break;
    }
    pg_free(own);
    return made;
}

pg_status pg_neurons(uint32_t rows, uint32_t count, const pg_id *biases, const pg_id *ws, const pg_id *xs,
                     const char *numbers, pg_id *out, pg_node_cell *const *cells)
{
    pg_arena *arena = pg_lock();
    const bool live = pg_is_layer_live(arena, rows, count, biases, ws, xs);
    const uint32_t made = live ? make_neurons(arena, rows, count, biases, ws, xs, numbers, out) : 0;
    const pg_status status = pg_give_layer(arena, rows, made, out, cells);
    pg_unlock(arena);
    return status;
}
