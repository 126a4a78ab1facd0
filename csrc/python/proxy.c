/* proxy.c: memory for proxies; the proxy of a node. */
#include "python/proxy.h"

/* --- memory ------------------------------------------------------------------------------------------------------- */

value *spare;
int spare_count;
uint64_t proxies_made;

/* Up to Python 3.11 an allocation may collect garbage, and so run a program's code; the allocation of a proxy must
 * not. */
value *allocate_proxy(void)
{
#if PY_VERSION_HEX < 0x030C0000
    const int collecting = PyGC_Disable();
    value *v = PyObject_GC_New(value, value_type);
    if (collecting)
        PyGC_Enable();
    return v;
#else
    return PyObject_GC_New(value, value_type);
#endif
}

/* --- a node's proxy ----------------------------------------------------------------------------------------------- */

value *proxy_of(pg_id id)
{
    for (value *v = *proxies_near(id); v; v = v->next)
        if (v->id == id && Py_REFCNT(v) > 0)
            return v;
    return NULL;
}

value *adopt(pg_id id)
{
    value *v = proxy_of(id);
    if (v)
        return (value *)Py_NewRef((PyObject *)v);
    v = new_proxy();
    if (v) {
        pg_arena *arena = pg_lock();
        pg_ref(pg_node_at(arena, id));
        bind(v, id);
        pg_unlock(arena);
    }
    return v;
}
