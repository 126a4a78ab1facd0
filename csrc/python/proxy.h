/* proxy.h: a proxy, which is what Python calls a Value, and its node.
 *
 * A proxy holds its node's id and counts as one reference of the node; a list in the node's block leads back from
 * the node to its proxy. What a node was computed from the arena knows, so a proxy need not keep its operands'
 * proxies: when a program drops an intermediate Value, its proxy goes and its node stays, and a new proxy stands for
 * it if somebody asks. A graph in use is then 32 bytes a node that Python knows nothing of, and is freed in one loop
 * in C.
 *
 * That is only right as long as nobody can tell the new proxy from the old. So a proxy on which something hangs (an
 * attribute, a weak reference, a class of the user's, operands that `_prev` has shown) must live as long as its
 * node, and is KEPT:
 *
 *   P1  A KEPT proxy holds (in `a` and `b`) the proxies of its node's operands; but for a leaf that has no proxy and
 *       no other consumer, for nobody else can show that one.
 *   P2  The consumers of a KEPT proxy have proxies, which are KEPT.
 *   P3  The same with TRACKED, which says besides that the cycle collector knows the proxy: what hangs on it, or on
 *       one that it holds, may lead back to it.
 *
 * A new proxy takes these flags over from its operands. When a proxy that has consumers already is to be KEPT, all
 * proxies there are become KEPT and TRACKED (keep_everything).
 *
 * Lock (arena.h): this binary's is the GIL, which every function here holds. Between pg_lock() and pg_unlock()
 * stands no call of Python's all the same: it could run a program's code.
 */
#ifndef PG_PROXY_H
#define PG_PROXY_H

#include "engine/node.h"
#include "python/contract.h"

typedef struct value {
    PyObject_HEAD
    pg_id id; /* 0: __init__ has not run */
    unsigned flags;
    struct value *next; /* in a list: of the proxies of a block, of spare ones, or of those that wait for their end */
    PyObject *a, *b; /* what it holds: each a Value, a tuple of them (all operands, if it is as long), or NULL */
    PyObject *dict;
    PyObject *weakrefs;
} value;

enum { KEPT = 1, TRACKED = 2 };

PG_SHARED PyTypeObject *value_type;

/* A number, the other thing that operands often are, is told apart at once: its type is no class of a user's. */
PG_INLINE bool is_value(PyObject *x)
{
    return Py_IS_TYPE(x, value_type) ||
           (PyType_HasFeature(Py_TYPE(x), Py_TPFLAGS_HEAPTYPE) && PyObject_TypeCheck(x, value_type));
}

/* --- a proxy without a node (proxy.c) ----------------------------------------------------------------------------- */

PG_SHARED value *spare; /* dead proxies of type Value, each with its reference to the type */
PG_SHARED int spare_count;

value *allocate_proxy(void);

/* A proxy without a node. Runs no code of a program's. */
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

PG_SHARED uint64_t proxies_made; /* ever, and given a node */

PG_INLINE pg_node *node_of(const value *v)
{
    return pg_node_at(pg_the_arena, v->id);
}

/* The list of the proxies in the block of a node. */
PG_INLINE value **proxies_near(pg_id id)
{
    return (value **)&pg_block_holding(pg_the_arena, id)->proxies;
}

/* Give a proxy its node; id 0 if there was no memory for one. */
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

/* Take a proxy out of its block's list, where it mostly is at the front. */
PG_INLINE void unlist(value *v)
{
    value **link = proxies_near(v->id);
    while (*link && *link != v)
        link = &(*link)->next;
    if (*link)
        *link = v->next;
}

/* The proxy of a node, borrowed; NULL if there is none, or one that is being taken down. */
value *proxy_of(pg_id id);

/* The proxy of a node, a new one if there is none. A new reference, or NULL. */
value *adopt(pg_id id);

static inline bool is_alive(value *v)
{
    if (!v->id)
        refuse(PyTuple_Pack(1, v));
    return v->id != 0;
}

int value_traverse(PyObject *self, visitproc visit, void *arg);
int value_clear(PyObject *self);
void value_dealloc(PyObject *self);

/* --- a proxy that lives as long as its node (keep.c) -------------------------------------------------------------- */

PG_SHARED bool ever_kept; /* has any proxy been? */

/* Give `v` these flags, and its consumers too (P2). */
int keep(value *v, unsigned flags);

/* Give `v` these flags, with which P1 to P3 hold already. */
void track(value *v, unsigned flags);

/* The proxies of the operands in order, as a tuple. */
PyObject *operand_proxies(const value *v);

/* Make `v` hold these operands, a tuple that is given away, instead of what it held. */
void hold(value *v, PyObject *operands);

/* Do for the proxy of a node that C has made what finish_rare() (make.c) does for a result: flags of its operands' are
 * its own. */
int inherit_flags(value *v);

#endif
