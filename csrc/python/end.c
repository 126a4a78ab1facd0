/* end.c: how a proxy ends.
 *
 * Nearly all proxies have no flags. Such a proxy ends by giving back its reference to the node; its memory is kept, as
 * a spare one, for the next proxy. A proxy with flags may hold others, and its end may be theirs too: they are freed by
 * recursion to a certain depth, beyond it one after the other. The cycle collector sees TRACKED proxies, through
 * value_traverse() and value_clear().
 */
#include "python/end.h"

#include "python/keep.h"

enum { MOST_SPARE = 4096 };

static void free_memory(value *v)
{
    PyTypeObject *type = Py_TYPE(v);
    PyObject_GC_Del(v);
    Py_DECREF(type);
}

/* Take back the memory of a proxy that holds no object any more. While Value has a __del__, none is used again: Python
 * notes in the memory that it has called __del__. */
PG_INLINE void recycle(value *v)
{
    if (Py_IS_TYPE((PyObject *)v, value_type) && spare_count < MOST_SPARE && !value_type->tp_finalize) {
        v->flags = 0;
        v->next = spare;
        spare = v;
        spare_count++;
        return;
    }
    free_memory(v);
}

/* How deep the recursion goes that frees proxies: a chain of a million must not overflow the stack. */
enum { DEEPEST = 50 };

static _Thread_local int depth;
static _Thread_local value *waiting; /* the proxies to free after the recursion */

int value_clear(PyObject *self)
{
    value *v = (value *)self;
    Py_CLEAR(v->a);
    Py_CLEAR(v->b);
    Py_CLEAR(v->dict);
    return 0;
}

int value_traverse(PyObject *self, visitproc visit, void *arg)
{
    value *v = (value *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(v->a);
    Py_VISIT(v->b);
    Py_VISIT(v->dict);
    return 0;
}

PG_INLINE void release_node(value *v)
{
    const pg_id id = v->id;
    if (!id)
        return;
    pg_arena *arena = pg_lock();
    unlist(v);
    v->id = 0;
    pg_unref(arena, id);
    pg_unlock(arena);
}

static void take_down(value *v)
{
    depth++;
    value_clear((PyObject *)v);
    release_node(v);
    if (PyObject_GC_IsFinalized((PyObject *)v)) /* a __del__ of Value had revived it, and is gone now */
        free_memory(v);
    else
        recycle(v);
    depth--;
}

/* Take a proxy down that may hold others: at once to a depth of DEEPEST, beyond that after the recursion. */
static void take_down_in_turn(value *v)
{
    if (depth >= DEEPEST) {
        if (v->id)
            unlist(v); /* a proxy is in one list at a time */
        v->next = waiting;
        waiting = v;
        return;
    }
    take_down(v);
    while (depth == 0 && waiting) {
        v = waiting;
        waiting = v->next;
        take_down(v);
    }
}

/* True if a program could tell that `v` ends: it has weak references; or a __del__ that a program has given Value; or
 * attributes, and those do not make it KEPT if a program has replaced Value.__setattr__. */
PG_INLINE bool is_noticed(const value *v)
{
    return v->weakrefs || v->dict || value_type->tp_finalize;
}

/* True if `v`, whose end would be noticed, must live on, for its node has consumers; these hold it now. */
static bool is_still_wanted(value *v)
{
    if (v->flags & KEPT || !v->id || node_of(v)->refs == 1)
        return false;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    Py_SET_REFCNT((PyObject *)v, 1);
    if (keep(v, v->dict ? KEPT | TRACKED : KEPT) < 0)
        PyErr_Clear(); /* no memory: then it ends too early */
    Py_SET_REFCNT((PyObject *)v, Py_REFCNT(v) - 1);
    PyErr_Restore(type, error, traceback);
    return Py_REFCNT(v) > 0;
}

/* Make a revived proxy one with flags, for it is tracked now. */
static void keep_revived(value *v)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    if (keep(v, KEPT | TRACKED) < 0) {
        PyErr_Clear();        /* no memory to keep the others too: */
        v->flags |= TRACKED; /* then it may end too early, but in the right way */
    }
    PyErr_Restore(type, error, traceback);
}

/* Call a __del__ that a program has given Value; true if that has revived `v`. (CPython calls the __del__ of a class
 * that is derived from Value.) */
static bool is_revived(value *v)
{
    if (!value_type->tp_finalize || !Py_IS_TYPE((PyObject *)v, value_type))
        return false;
    if (!PyObject_GC_IsTracked((PyObject *)v))
        PyObject_GC_Track(v); /* as CPython expects of an object that it finalizes */
    const bool revived = PyObject_CallFinalizerFromDealloc((PyObject *)v) < 0;
    if (revived)
        keep_revived(v);
    return revived;
}

void value_dealloc(PyObject *self)
{
    value *v = (value *)self;
    if (!v->flags && !is_noticed(v) && Py_IS_TYPE(self, value_type)) {
        release_node(v);
        recycle(v);
        return;
    }
    if ((is_noticed(v) && is_still_wanted(v)) || is_revived(v))
        return;
    PyObject_GC_UnTrack(self);
    if (v->weakrefs)
        PyObject_ClearWeakRefs(self); /* may run a program's code; proxy_of() does not find a dying proxy */
    take_down_in_turn(v);
}
