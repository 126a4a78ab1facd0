/* keep.c: proxies that live as long as their nodes: what makes P1 to P3 (proxy.h) true.
 *
 * A result takes the flags of its operands over when it is made, and holds their proxies then (make.c, lists.c). So
 * keep() has little to do for a proxy without consumers: it gives this one its flags, and the operands' proxies. If
 * there are consumers already, nobody knows which: then keep_everything() gives all live interior nodes a proxy that is
 * KEPT and TRACKED.
 */
#include "python/proxy.h"

bool ever_kept;

void track(value *v, unsigned flags)
{
    ever_kept = true;
    v->flags |= flags;
    if (flags & TRACKED && !PyObject_GC_IsTracked((PyObject *)v))
        PyObject_GC_Track(v);
}

/* The operands' ids in order, for PyMem_Free; NULL is out of memory. */
static pg_id *operand_ids(const value *v, Py_ssize_t *count)
{
    *count = (Py_ssize_t)pg_operand_count(v->id);
    pg_id *ids = allocate(*count, sizeof(pg_id));
    if (ids)
        pg_operands(v->id, ids);
    return ids;
}

/* True for an operand of `v` that P1 asks it to hold. */
static bool is_shown_by_others(pg_id operand)
{
    return !pg_is_leaf(operand) || pg_node_at(pg_the_arena, operand)->refs > 1;
}

typedef bool which_fn(pg_id operand);

/* The same as a test of each operand; NULL is all of them, for the others that show one may have it in a vector they
 * share. */
static which_fn *shown_by_others(const value *v)
{
    const pg_node *vector = pg_vector_of(pg_the_arena, node_of(v));
    return vector && vector->refs > 1 ? NULL : is_shown_by_others;
}

/* The proxies of the operands in order, as a tuple: of all of them, or of those that `which` is true for. */
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

/* Do for `v` what P1 asks of a KEPT proxy. */
static int hold_operands(value *v)
{
    if (v->flags & KEPT || !v->id || pg_is_leaf(v->id))
        return 0;
    PyObject *operands = proxies_among(v, shown_by_others(v));
    if (operands)
        hold(v, operands);
    return operands ? 0 : -1;
}

/* All interior nodes in blocks with a smaller start number have TRACKED proxies; and all there are had when so many
 * proxies had been made. So each node is looked at once, however often somebody asks. */
static uint64_t kept_before, all_kept_at;

/* The live interior nodes from there on, but for the hidden parts of lists; each with a reference that the
 * caller must give back. */
static pg_id *list_interior(size_t *count)
{
    const size_t capacity = pg_live_nodes();
    pg_id *ids = allocate((Py_ssize_t)capacity, sizeof(pg_id));
    if (!ids)
        return NULL;
    pg_arena *arena = pg_lock();
    size_t n = 0;
    for (uint32_t index = 1; index < arena->block_count; index++) {
        const pg_block *block = pg_block_at(arena, index);
        if (block->start < kept_before || !block->live)
            continue;
        for (uint32_t slot = 0; slot < block->used && n < capacity;) {
            const pg_id id = pg_id_of(index, slot);
            pg_node *node = pg_node_at(arena, id);
            slot += node->slots;
            if (node->refs > 0 && !(node->flags & (PG_FLAG_PART | PG_FLAG_VECTOR))) {
                pg_ref(node);
                ids[n++] = id;
            }
        }
    }
    pg_unlock(arena);
    *count = n;
    return ids;
}

/* Make all these proxies KEPT and TRACKED, or on failure (MemoryError) none. */
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

/* Give every live interior node a proxy that is KEPT and TRACKED. No garbage collection meanwhile: it could run a
 * program's code. */
static int keep_everything(void)
{
    if (all_kept_at == proxies_made)
        return 0;
    size_t count = 0, made = 0;
    const int collecting = PyGC_Disable();
    pg_id *ids = list_interior(&count);
    value **proxies = ids ? allocate((Py_ssize_t)count, sizeof(value *)) : NULL;
    while (proxies && made < count && (proxies[made] = adopt(ids[made])))
        made++;
    const int status = proxies && made == count ? keep_all(proxies, count) : -1;
    if (status == 0) {
        all_kept_at = proxies_made;
        kept_before = pg_the_arena->current->start;
    }
    for (size_t i = 0; i < made; i++)
        Py_DECREF(proxies[i]); /* its consumers hold it now */
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
