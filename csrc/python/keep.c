/* keep.c: proxies that live as long as their nodes (keep.h).
 *
 * A result gets the flags of its operands when it is made, and then holds their proxies (make.c, lists.c). So keep()
 * has little to do for a proxy without consumers: it sets the flags of the proxy and makes it hold its operands'
 * proxies. If the node has consumers, the arena does not know them: then keep_everything() gives every live interior
 * node a proxy that is KEPT and TRACKED.
 */
#include "python/keep.h"

bool ever_kept;

void track(value *v, unsigned flags)
{
    ever_kept = true;
    v->flags |= flags;
    if (flags & TRACKED && !PyObject_GC_IsTracked((PyObject *)v))
        PyObject_GC_Track(v);
}

/* Return the operands' ids, first to last, for PyMem_Free; NULL with MemoryError. */
static pg_id *operand_ids(const value *v, Py_ssize_t *count)
{
    *count = (Py_ssize_t)pg_operand_count(v->id);
    pg_id *ids = allocate(*count, sizeof(pg_id));
    if (ids)
        pg_operands(v->id, ids);
    return ids;
}

/* True if P1 requires a consumer to hold this operand. */
static bool is_shown_by_others(pg_id operand)
{
    return !pg_is_leaf(operand) || pg_node_at(pg_the_arena, operand)->refs > 1;
}

typedef bool which_fn(pg_id operand);

/* Return the test for the operands that P1 requires `v` to hold. NULL: it must hold all of them, for other dots share
 * the vector of its inputs. They can show an input too, but all of them together add one reference, the vector's. */
static which_fn *shown_by_others(const value *v)
{
    const pg_node *vector = pg_vector_of(pg_the_arena, node_of(v));
    return vector && vector->refs > 1 ? NULL : is_shown_by_others;
}

/* Return the proxies of the operands, first to last, as a tuple: of those that `which` is true for; NULL: of all. */
static PyObject *proxies_among(const value *v, which_fn *which)
{
    Py_ssize_t count;
    pg_id *ids = operand_ids(v, &count);
    PyObject *found = ids ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; found && i < count; i++) {
        if (which && !which(ids[i]))
            continue;
        PyObject *operand = (PyObject *)adopt(ids[i]);
        if (!operand || PyList_Append(found, operand) < 0)
            Py_CLEAR(found);
        Py_XDECREF(operand);
    }
    PyMem_Free(ids);
    PyObject *operands = found ? PyList_AsTuple(found) : NULL;
    Py_XDECREF(found);
    return operands;
}

PyObject *operand_proxies(const value *v)
{
    return proxies_among(v, NULL);
}

void hold(value *v, PyObject *operands)
{
    PyObject *a = v->a, *b = v->b;
    v->a = operands;
    v->b = NULL;
    Py_XDECREF(a);
    Py_XDECREF(b);
}

/* Make `v` hold the proxies that P1 requires of a KEPT proxy. */
static int hold_operands(value *v)
{
    if (v->flags & KEPT || !v->id || pg_is_leaf(v->id))
        return 0;
    PyObject *operands = proxies_among(v, shown_by_others(v));
    if (operands)
        hold(v, operands);
    return operands ? 0 : -1;
}

/* Where keep_everything() ended last. All interior nodes had TRACKED proxies then; so it visits each node once, however
 * often it runs. */
static struct {
    uint64_t proxies; /* what proxies_made was */
    uint64_t before; /* blocks with a smaller start number have no new nodes: that of the current block */
    uint32_t current; /* the current block */
    uint32_t blocks; /* how many blocks there were */
    uint64_t clock; /* the next start number */
} kept;

/* Append the new interior nodes of a block to `ids`, without the parts and vectors of operand lists. Each node gets a
 * reference, and the caller must give it back. Return how many ids there are now. */
static size_t list_block(const pg_arena *arena, uint32_t index, pg_id *ids, size_t count)
{
    const pg_block *block = pg_block_at(arena, index);
    if (block->start < kept.before || !block->live)
        return count;
    for (uint32_t slot = 0; slot < block->used;) {
        const pg_id id = pg_id_of(index, slot);
        pg_node *node = pg_node_at(arena, id);
        slot += node->slots;
        if (node->refs > 0 && !(node->flags & (PG_FLAG_PART | PG_FLAG_VECTOR))) {
            pg_ref(node);
            ids[count++] = id;
        }
    }
    return count;
}

/* Return the new live interior nodes of all blocks: see list_block(). If as many blocks were started as were made, then
 * no older block was used again: there is no need to look at all blocks. */
static pg_id *list_interior(size_t *count)
{
    pg_id *ids = allocate((Py_ssize_t)pg_live_nodes(), sizeof(pg_id));
    if (!ids)
        return NULL;
    pg_arena *arena = pg_lock();
    const bool none_again = arena->next_start - kept.clock == arena->block_count - kept.blocks;
    size_t n = none_again ? list_block(arena, kept.current, ids, 0) : 0;
    for (uint32_t index = none_again ? kept.blocks : 1; index < arena->block_count; index++)
        n = list_block(arena, index, ids, n);
    pg_unlock(arena);
    *count = n;
    return ids;
}

/* Note that all interior nodes have TRACKED proxies. */
static void note_kept(const pg_arena *arena)
{
    kept.proxies = proxies_made;
    kept.before = arena->current->start;
    kept.current = arena->current_block;
    kept.blocks = arena->block_count;
    kept.clock = arena->next_start;
}

/* Make all these proxies KEPT and TRACKED; on failure (MemoryError), none of them. */
static int keep_all(value **proxies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (hold_operands(proxies[i]) < 0) {
            for (size_t j = 0; j < i; j++)
                if (!(proxies[j]->flags & KEPT))
                    hold(proxies[j], NULL);
            return -1;
        }
    for (size_t i = 0; i < count; i++)
        track(proxies[i], KEPT | TRACKED);
    return 0;
}

/* Give every live interior node a proxy that is KEPT and TRACKED. Garbage collection, which could run a program's code,
 * is off until the end. */
static int keep_everything(void)
{
    if (kept.proxies == proxies_made)
        return 0;
    size_t count = 0, made = 0;
    const int collecting = PyGC_Disable();
    pg_id *ids = list_interior(&count);
    value **proxies = ids ? allocate((Py_ssize_t)count, sizeof(value *)) : NULL;
    while (proxies && made < count && (proxies[made] = adopt(ids[made])))
        made++;
    const int status = proxies && made == count ? keep_all(proxies, count) : -1;
    if (status == 0)
        note_kept(pg_the_arena);
    for (size_t i = 0; i < made; i++)
        Py_DECREF(proxies[i]); /* its consumers hold it now, if it has any */
    for (size_t i = 0; i < count; i++)
        pg_release(ids[i]);
    if (collecting)
        PyGC_Enable();
    PyMem_Free(proxies);
    PyMem_Free(ids);
    return status;
}

int keep(value *v, unsigned flags)
{
    if ((v->flags & flags) == flags)
        return 0;
    if ((v->id && node_of(v)->refs > 1 && keep_everything() < 0) || hold_operands(v) < 0)
        return -1;
    track(v, flags);
    return 0;
}

int inherit_flags(value *v)
{
    Py_ssize_t count;
    unsigned flags = 0;
    pg_id *ids = operand_ids(v, &count);
    if (!ids)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        const value *operand = proxy_of(ids[i]);
        flags |= operand ? operand->flags : 0u;
    }
    PyMem_Free(ids);
    if (flags && hold_operands(v) < 0)
        return -1;
    if (flags)
        track(v, flags);
    return 0;
}
