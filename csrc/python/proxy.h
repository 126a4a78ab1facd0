/* proxy.h: a proxy, the Python object that programs call a Value, and its node.
 *
 * A proxy has its node's id and counts as one reference to the node. A list in the node's block leads from the node to
 * its proxy. The arena knows a node's operands, so a proxy need not hold their proxies: when a program drops an
 * intermediate Value, its proxy ends and its node stays; if the program asks for the Value again, it gets a new proxy.
 * So a graph in use is 32 bytes a node, unknown to Python, and is freed in one loop in C.
 *
 * This is right only as long as no program can tell the new proxy from the old one. So a proxy with an attribute of the
 * program's, a weak reference, a class of the user's, or operands that `_prev` has shown must live as long as its node.
 * Such a proxy is KEPT:
 *
 *   P1  A KEPT proxy holds (in `a` and `b`) the proxies of its node's operands. Exception: a leaf operand without a proxy
 *       and with no other consumer need not be held: only this proxy leads to it.
 *   P2  The consumers of a KEPT proxy have proxies, and these are KEPT.
 *   P3  P1 and P2 are true of TRACKED too. The cycle collector knows a TRACKED proxy: an object that hangs on it, or on
 *       a proxy that it holds, may lead back to it.
 *
 * A result gets the flags of its operands. If a proxy whose node has consumers becomes KEPT, all interior nodes get
 * KEPT and TRACKED proxies (keep.c, keep_everything).
 *
 * The lock (arena.h) of this binary is the GIL, and every function here holds it. Even so, no function of Python is
 * called between pg_lock() and pg_unlock(): it could run a program's code.
 */
#ifndef PG_PROXY_H
#define PG_PROXY_H

#include "engine/node.h"
#include "python/shared.h"

typedef struct value {
    PyObject_HEAD pg_id id; /* 0: no node: __init__ has not run, or making the node failed, or the proxy has ended */
    unsigned flags;
    struct value *next; /* in one list: of a block's proxies, of the spare ones, or of those to be freed next */
    PyObject *a, *b; /* what it holds: each a Value, a tuple of Values (all operands, if it is as long), or NULL */
    PyObject *dict;
    PyObject *weakrefs;
} value;

enum { KEPT = 1, TRACKED = 2 };

PG_SHARED PyTypeObject *value_type;

/* True for a Value. For a number, the other frequent operand, the answer is quick: its type is not a heap type. */
PG_INLINE bool is_value(PyObject *x)
{
    return Py_IS_TYPE(x, value_type) ||
           (PyType_HasFeature(Py_TYPE(x), Py_TPFLAGS_HEAPTYPE) && PyObject_TypeCheck(x, value_type));
}

/* --- a proxy without a node (proxy.c) ----------------------------------------------------------------------------- */

PG_SHARED value *spare; /* freed proxies of type Value; each still has its reference to the type */
PG_SHARED int spare_count;

value *allocate_proxy(void);

/* Return a proxy without a node; NULL with MemoryError. No program's code runs. */
PG_INLINE value *new_proxy(void)
{
    value *v = spare;
    if (v) {
        spare = v->next;
        spare_count--;
#if defined(Py_REF_DEBUG) || defined(Py_TRACE_REFS)
        _Py_NewReference((PyObject *)v);
#else
        Py_SET_REFCNT((PyObject *)v, 1);
#endif
    } else {
        v = allocate_proxy();
        if (!v)
            return NULL;
        v->id = 0;
        v->flags = 0;
        v->a = v->b = v->dict = v->weakrefs = NULL;
    }
    return v;
}

/* --- a proxy and its node (proxy.c) ------------------------------------------------------------------------------- */

PG_SHARED uint64_t proxies_made; /* how often bind() has run: if this is unchanged, there is no new proxy (keep.c) */

PG_INLINE pg_node *node_of(const value *v)
{
    return pg_node_at(pg_the_arena, v->id);
}

/* The list of the proxies in the block of a node. */
PG_INLINE value **proxies_near(pg_id id)
{
    return (value **)&pg_block_holding(pg_the_arena, id)->proxies;
}

/* Bind a proxy to the node `id`; 0 if there was no memory for the node. */
PG_INLINE void bind(value *v, pg_id id)
{
    v->id = id;
    proxies_made++;
    if (id) {
        value **list = proxies_near(id);
        v->next = *list;
        *list = v;
    }
}

/* Take a proxy out of its block's list; it is mostly at the front. */
PG_INLINE void unlist(value *v)
{
    value **link = proxies_near(v->id);
    while (*link && *link != v)
        link = &(*link)->next;
    if (*link)
        *link = v->next;
}

/* Return the proxy of a node, borrowed; NULL if there is none, or if it is being freed. */
value *proxy_of(pg_id id);

/* Return the proxy of a node, a new one if there is none: a new reference; NULL with MemoryError. */
value *adopt(pg_id id);

/* False, with an error, if `v` has no node. */
static inline bool require_node(value *v)
{
    if (!v->id)
        refuse(PyTuple_Pack(1, v));
    return v->id != 0;
}

#endif
