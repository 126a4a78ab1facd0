/* pyvalue.c: `Value` as a CPython type: the same proxy as pygrad/portable.py, over the same arena. The one file here
 * that knows Python.
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
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "engine/node.h"
#include "engine/process.h"

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

static PyTypeObject *value_type;
static long anomaly_depth; /* > 0 within detect_anomaly(), which sets it */
static long threads_without_grad; /* how many are within no_grad() */
static long unusual; /* the sum of both: all that an operation looks at */
static _Thread_local bool grad_is_off; /* of this thread, within no_grad() */
static PyObject *trace_hook; /* to be called when a program reads data; or NULL */

/* The parts of the contract that are Python, shared with the portable proxy; each used where time does not matter. */
static struct {
    PyObject *to_float, *is_number, *operand; /* of pygrad.contract.numbers */
    PyObject *surface, *parse_arguments, *parse_prev, *power_label; /* of pygrad.contract.value_base */
    PyObject *closure_key, *op_key; /* keys of a Value's dict */
    PyObject *refuse, *backward_in_pieces, *set_frozen; /* of pygrad.engine */
    PyObject *check_forward; /* of pygrad.contract.anomaly */
    PyObject *value_of; /* of this module */
    PyObject *labels; /* of the ops, a tuple */
    PyObject *originals; /* a copy of Value's own dict */
    PyObject *data, *grad, *_op, *_prev, *_backward, *label, *requires_grad; /* names of attributes */
    PyObject *w, *b, *nonlin, *activation, *add, *mul; /* more of them */
    PyObject *data_of_a_value, *a_gradient; /* for messages */
    PyObject *a_comparison, *by_detach; /* for the trace hook */
} py;

/* A number, the other thing that operands often are, is told apart at once: its type is no class of a user's. */
PG_INLINE bool is_value(PyObject *x)
{
    return Py_IS_TYPE(x, value_type) ||
           (PyType_HasFeature(Py_TYPE(x), Py_TPFLAGS_HEAPTYPE) && PyObject_TypeCheck(x, value_type));
}

/* --- memory of proxies -------------------------------------------------------------------------------------------- */

enum { MOST_SPARE = 4096 };

static value *spare; /* dead proxies of type Value, each with its reference to the type */
static int spare_count;
static uint64_t proxies_made; /* ever, and given a node */

/* Up to Python 3.11 an allocation may collect garbage, and so run a program's code: none of ours may. */
static value *allocate_proxy(void)
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

/* Take back the memory of a proxy that holds nothing any more. */
PG_INLINE void recycle(value *v)
{
    PyTypeObject *type = Py_TYPE(v);
    if (type == value_type && spare_count < MOST_SPARE) {
        v->flags = 0;
        v->next = spare;
        spare = v;
        spare_count++;
        return;
    }
    PyObject_GC_Del(v);
    Py_DECREF(type);
}

/* Room for so many things, for PyMem_Free; or NULL and MemoryError. */
static void *allocate(Py_ssize_t count, size_t size)
{
    void *memory = PyMem_Malloc((size_t)(count + 1) * size);
    return memory ? memory : PyErr_NoMemory();
}

/* --- a node and its proxy ----------------------------------------------------------------------------------------- */

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

/* The proxy of a node, borrowed; NULL if there is none, or one that is being taken down. */
static value *proxy_of(pg_id id)
{
    for (value *v = *proxies_near(id); v; v = v->next)
        if (v->id == id && Py_REFCNT(v) > 0)
            return v;
    return NULL;
}

/* The proxy of a node, a new one if there is none. A new reference, or NULL. */
static value *adopt(pg_id id)
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

/* Raise what it meant that C made no node of these operands. `values`: a tuple, which is given away; or NULL. */
static PyObject *refuse(PyObject *values)
{
    if (values) {
        PyObject *none = PyObject_Call(py.refuse, values, NULL);
        Py_XDECREF(none);
        Py_DECREF(values);
    }
    return NULL;
}

static bool is_alive(value *v)
{
    if (!v->id)
        refuse(PyTuple_Pack(1, v));
    return v->id != 0;
}

/* --- keeping proxies alive (P1, P2) ------------------------------------------------------------------------------- */

static bool ever_kept; /* has any proxy been? */

static void track(value *v, unsigned flags)
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
static PyObject *operand_proxies(const value *v, which_fn *which)
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

/* Make `v` hold these operands, a tuple that is given away, instead of what it held. */
static void hold(value *v, PyObject *operands)
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
    PyObject *operands = operand_proxies(v, shown_by_others(v));
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

/* Give `v` these flags, and its consumers too. */
static int keep(value *v, unsigned flags)
{
    if ((v->flags & flags) == flags)
        return 0;
    if ((v->id && node_of(v)->refs > 1 && keep_everything() < 0) || hold_operands(v) < 0)
        return -1;
    track(v, flags);
    return 0;
}

/* --- the end of a proxy ------------------------------------------------------------------------------------------- */

/* So many proxies are taken down within one another, no more: a chain of a million must not need the stack. */
enum { DEEPEST = 50 };

static _Thread_local int depth;
static _Thread_local value *waiting; /* for their turn */

static int value_clear(PyObject *self)
{
    value *v = (value *)self;
    Py_CLEAR(v->a);
    Py_CLEAR(v->b);
    Py_CLEAR(v->dict);
    return 0;
}

static int value_traverse(PyObject *self, visitproc visit, void *arg)
{
    value *v = (value *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(v->a);
    Py_VISIT(v->b);
    Py_VISIT(v->dict);
    return 0;
}

static void take_down(value *v)
{
    depth++;
    value_clear((PyObject *)v);
    release_node(v);
    recycle(v);
    depth--;
}

/* Take a proxy down that may hold others: nested to a certain depth, beyond that one after the other. */
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

/* True if weak references and consumers ask `v` to live on; then the consumers hold it. */
static bool is_still_wanted(value *v)
{
    if (v->flags & KEPT || !v->id || node_of(v)->refs == 1)
        return false;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    Py_SET_REFCNT((PyObject *)v, 1);
    if (keep(v, KEPT) < 0)
        PyErr_Clear(); /* no memory: then the weak references are cleared too early */
    Py_SET_REFCNT((PyObject *)v, Py_REFCNT(v) - 1);
    PyErr_Restore(type, error, traceback);
    return Py_REFCNT(v) > 0;
}

static void value_dealloc(PyObject *self)
{
    value *v = (value *)self;
    if (!v->flags && !v->weakrefs && Py_IS_TYPE(self, value_type)) {
        release_node(v);
        recycle(v);
        return;
    }
    if (v->weakrefs && is_still_wanted(v))
        return;
    PyObject_GC_UnTrack(self);
    if (v->weakrefs)
        PyObject_ClearWeakRefs(self); /* runs a program's code, which proxy_of() gives no dying proxy */
    take_down_in_turn(v);
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

/* float(x) for a real number, or the TypeError that names `what`. */
static bool to_double(PyObject *x, PyObject *what, double *number)
{
    if (PyFloat_CheckExact(x)) {
        *number = PyFloat_AS_DOUBLE(x);
        return true;
    }
    PyObject *result = PyFloat_Check(x) || PyLong_Check(x) ? PyNumber_Float(x)
                                                           : PyObject_CallFunctionObjArgs(py.to_float, x, what, NULL);
    if (!result)
        return false;
    *number = PyFloat_AsDouble(result);
    Py_DECREF(result);
    return true;
}

/* The other operand of an operator. 1: a number; 0: NotImplemented; -1: an error was raised. */
static int to_operand(PyObject *x, double *number)
{
    if (PyFloat_CheckExact(x)) {
        *number = PyFloat_AS_DOUBLE(x);
        return 1;
    }
    PyObject *result = PyFloat_Check(x) || PyLong_Check(x) ? PyNumber_Float(x) : PyObject_CallOneArg(py.operand, x);
    if (!result)
        return -1;
    const int found = result != Py_NotImplemented;
    if (found)
        *number = PyFloat_AsDouble(result);
    Py_DECREF(result);
    return found;
}

/* --- making Values: the proxy is there first, then the node ------------------------------------------------------- */

static PyObject *checked(value *out, PyObject *operands)
{
    PyObject *none = operands ? PyObject_CallFunctionObjArgs(py.check_forward, out, operands, NULL) : NULL;
    Py_XDECREF(operands);
    if (!none)
        Py_CLEAR(out);
    Py_XDECREF(none);
    return (PyObject *)out;
}

static PyObject *without_graph(PyObject *out);

/* What is rarely asked of a new Value of one or two operands: flags of its operands', a failure, detect_anomaly(),
 * no_grad(). */
static PyObject *finish_rare(value *out, value *a, value *b)
{
    if (!out->id) {
        Py_DECREF(out);
        return refuse(b ? PyTuple_Pack(2, a, b) : PyTuple_Pack(1, a));
    }
    const unsigned flags = a->flags | (b ? b->flags : 0u);
    if (flags) {
        out->a = Py_NewRef((PyObject *)a);
        out->b = Py_XNewRef((PyObject *)b);
        track(out, flags);
    }
    return without_graph(anomaly_depth ? checked(out, operand_proxies(out, NULL)) : (PyObject *)out);
}

PG_INLINE PyObject *finish(value *out, value *a, value *b)
{
    if (!out->id || a->flags || (b && b->flags) || unusual)
        return finish_rare(out, a, b);
    return (PyObject *)out;
}

PG_INLINE PyObject *make_unary(int op, value *a)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_unary(arena, op, a->id));
    pg_unlock(arena);
    return finish(out, a, NULL);
}

PG_INLINE PyObject *make_binary(int op, value *a, value *b)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_binary(arena, op, a->id, b->id));
    pg_unlock(arena);
    return finish(out, a, b);
}

/* a op number / number op a. */
PG_INLINE PyObject *make_with_number(int op, value *a, double number, bool number_first)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_with_number(arena, op, a->id, number, number_first));
    pg_unlock(arena);
    return finish(out, a, NULL);
}

static PyObject *make_power(value *a, double exponent)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_power(arena, a->id, exponent));
    pg_unlock(arena);
    return finish(out, a, NULL);
}

static PyObject *make_leaf(double data, int flags)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_new_leaf_with(arena, data, flags));
    pg_unlock(arena);
    if (out->id)
        return (PyObject *)out;
    Py_DECREF(out);
    return refuse(PyTuple_New(0));
}

/* True while this thread records a function for pygrad.compile: then there is a trace hook. -1: an error. */
static int is_traced(void)
{
    PyObject *trace = trace_hook ? PyImport_ImportModule("pygrad.engine.modes") : NULL;
    PyObject *answer = trace ? PyObject_CallMethod(trace, "is_recording", NULL) : NULL;
    const int traced = answer ? PyObject_IsTrue(answer) : trace_hook ? -1 : 0;
    Py_XDECREF(answer);
    Py_XDECREF(trace);
    return traced;
}

/* What a result, which is given away, is within no_grad(): a leaf; while a function is recorded, which must not keep
 * the number of this one run, a node that passes no gradient on. */
static PyObject *without_graph(PyObject *out)
{
    if (!grad_is_off || !out)
        return out;
    value *v = (value *)out;
    const int traced = is_traced();
    if (traced > 0 && pg_op_is_flat(node_of(v)->op))
        return out;
    PyObject *plain = traced < 0 ? NULL : traced ? make_unary(PG_OP_stop_gradient, v) : make_leaf(node_of(v)->data, 0);
    Py_DECREF(out);
    return plain;
}

/* True within no_grad(), but not while a function is recorded: what the user's own code makes has no operands. -1: an
 * error. */
static int drops_operands(void)
{
    const int traced = grad_is_off ? is_traced() : 1;
    return traced < 0 ? -1 : !traced;
}

/* --- operators ---------------------------------------------------------------------------------------------------- */

PG_INLINE PyObject *operator_with(int op, value *a, PyObject *other, bool other_first)
{
    double number;
    const int found = to_operand(other, &number);
    if (found > 0)
        return make_with_number(op, a, number, other_first);
    return found == 0 ? Py_NewRef(Py_NotImplemented) : NULL;
}

/* `left op right`, at least one of which is a Value. */
PG_INLINE PyObject *operator(int op, PyObject *left, PyObject *right)
{
    if (!is_value(left))
        return operator_with(op, (value *)right, left, true);
    if (!is_value(right))
        return operator_with(op, (value *)left, right, false);
    return make_binary(op, (value *)left, (value *)right);
}

static PyObject *value_subtract(PyObject *left, PyObject *right)
{
    return operator(PG_OP_sub, left, right);
}

static PyObject *value_divide(PyObject *left, PyObject *right)
{
    return operator(PG_OP_div, left, right);
}

/* `number + self` and `number * self` are self.__add__(number) and self.__mul__(number), whoever has defined those. */
#define COMMUTATIVE(function, op, slot, method)                              \
    static PyObject *function(PyObject *left, PyObject *right)               \
    {                                                                        \
        if (is_value(left))                                                  \
            return operator(op, left, right);                                \
        if (Py_TYPE(right)->tp_as_number->slot != function)                  \
            return PyObject_CallMethodOneArg(right, py.method, left);        \
        return operator_with(op, (value *)right, left, false);               \
    }
COMMUTATIVE(value_add, PG_OP_add, nb_add, add)
COMMUTATIVE(value_multiply, PG_OP_mul, nb_multiply, mul)

static PyObject *value_power(PyObject *base, PyObject *exponent, PyObject *modulus)
{
    double number;
    if (modulus != Py_None)
        Py_RETURN_NOTIMPLEMENTED;
    if (!is_value(base) || is_value(exponent))
        return operator(PG_OP_pow, base, exponent);
    const int found = to_operand(exponent, &number);
    if (found > 0)
        return make_power((value *)base, number);
    return found == 0 ? Py_NewRef(Py_NotImplemented) : NULL;
}

static PyObject *value_negative(PyObject *self)
{
    return make_unary(PG_OP_neg, (value *)self);
}

static PyObject *value_absolute(PyObject *self)
{
    return make_unary(PG_OP_abs, (value *)self);
}

/* One method a row of the op table: add_op_methods() takes those that have a name of their own. */
static PyObject *binary_method(int op, PyObject *self, PyObject *other)
{
    double number;
    if (is_value(other))
        return make_binary(op, (value *)self, (value *)other);
    return to_double(other, py.data_of_a_value, &number) ? make_with_number(op, (value *)self, number, false) : NULL;
}

#define PG_UNARY(name, label, forward, da)                                      \
    static PyObject *method_##name(PyObject *self, PyObject *Py_UNUSED(nothing)) \
    {                                                                           \
        return make_unary(PG_OP_##name, (value *)self);                         \
    }
#define PG_BINARY(name, label, forward, da, db)                                 \
    static PyObject *method_##name(PyObject *self, PyObject *other)             \
    {                                                                           \
        return binary_method(PG_OP_##name, self, other);                        \
    }
#define PG_FLAT(name, label, arity, forward)                                    \
    static PyObject *method_##name(PyObject *self, PyObject *other)             \
    {                                                                           \
        return (arity) == 1 ? make_unary(PG_OP_##name, (value *)self) : binary_method(PG_OP_##name, self, other); \
    }
#include "ops.def"

#define OP_METHOD(name, label, flags, signature)     \
    [PG_OP_##name] = {#name, method_##name, (flags), \
                      #name signature "\n--\n\n"                          \
                      "Return the Value of the op '" label "': see csrc/ops.def for its derivative."},
#define PG_UNARY(name, label, forward, da) OP_METHOD(name, label, METH_NOARGS, "($self)")
#define PG_BINARY(name, label, forward, da, db) OP_METHOD(name, label, METH_O, "($self, other)")
#define PG_FLAT(name, label, arity, forward) PG_FLAT_##arity(name, label)
#define PG_FLAT_1(name, label) PG_UNARY(name, label, , )
#define PG_FLAT_2(name, label) PG_BINARY(name, label, , , )
static PyMethodDef op_methods[PG_OP_COUNT] = {
#include "ops.def"
};

/* self.name(other=number), of a binary row whose second operand has PyTorch's name and default. */
static PyObject *with_default(int op, PyObject *self, PyObject *args, PyObject *kwargs, const char *format, char *name,
                              double number)
{
    char *names[] = {name, NULL};
    PyObject *other = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &other))
        return NULL;
    return other ? binary_method(op, self, other) : make_with_number(op, (value *)self, number, false);
}

static PyObject *value_leaky_relu(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_default(PG_OP_leaky_relu, self, args, kwargs, "|O:leaky_relu", "negative_slope", 0.01);
}

static PyObject *value_elu(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_default(PG_OP_elu, self, args, kwargs, "|O:elu", "alpha", 1.0);
}

/* --- attributes --------------------------------------------------------------------------------------------------- */

static int cannot_delete(const char *name)
{
    PyErr_Format(PyExc_AttributeError, "a Value's %s cannot be deleted", name);
    return -1;
}

static _Thread_local int quiet; /* so many reads go on of which the trace hook is not told */

/* Tell the trace hook, which there is, that a program reads the data of `v`; false with an error. A hook may read
 * too. */
PG_NOINLINE bool tell_hook(value *v, PyObject *what)
{
    if (quiet > 0 || !is_alive(v))
        return quiet > 0;
    PyObject *hook = Py_NewRef(trace_hook);
    quiet++;
    PyObject *answer = PyObject_CallFunctionObjArgs(hook, v, what, NULL);
    quiet--;
    Py_DECREF(hook);
    Py_XDECREF(answer);
    return answer != NULL;
}

/* x.data, of which the trace hook is not told; `x` is a Value of any engine. */
PG_NOINLINE PyObject *read_quietly(PyObject *x)
{
    quiet++;
    PyObject *data = PyObject_GetAttr(x, py.data);
    quiet--;
    return data;
}

PG_NOINLINE PyObject *told_data(value *v)
{
    return tell_hook(v, py.data) && is_alive(v) ? PyFloat_FromDouble(node_of(v)->data) : NULL;
}

/* Numbers are read and written without the lock: they are whole words, and no invariant hangs on them. */
static PyObject *get_data(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    if (trace_hook)
        return told_data(v);
    return is_alive(v) ? PyFloat_FromDouble(node_of(v)->data) : NULL;
}

static PyObject *value_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "_read() takes one argument");
        return NULL;
    }
    if (trace_hook && count == 1 && args[0] != Py_None && !tell_hook((value *)self, args[0]))
        return NULL;
    return read_quietly(self);
}

static PyObject *get_grad(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    return is_alive(v) ? PyFloat_FromDouble(*pg_grad_of(pg_the_arena, node_of(v))) : NULL;
}

static int set_data(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    double number;
    if (!x)
        return cannot_delete("data");
    if (!is_alive(v) || !to_double(x, py.data_of_a_value, &number))
        return -1;
    node_of(v)->data = number;
    return 0;
}

static int set_grad(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    double number;
    if (!x)
        return cannot_delete("grad");
    if (!is_alive(v) || !to_double(x, py.a_gradient, &number))
        return -1;
    *pg_grad_of(pg_the_arena, node_of(v)) = number;
    return 0;
}

static PyObject *get_requires_grad(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    return is_alive(v) ? PyBool_FromLong(pg_requires_grad(v->id)) : NULL;
}

static int set_requires_grad(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    if (!x)
        return cannot_delete("requires_grad");
    PyObject *none = PyObject_CallFunctionObjArgs(py.set_frozen, self, x, NULL);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* What hangs on a Value under this key: a new reference, or NULL (without an error if there is nothing). */
static PyObject *get_hung(const value *v, PyObject *key)
{
    if (!v->dict)
        return NULL;
    PyObject *dict = Py_NewRef(v->dict); /* looking up may run a program's code, which may replace it */
    PyObject *found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    Py_DECREF(dict);
    return found;
}

/* True for what cannot lead back to a Value. */
static bool is_atom(PyObject *x)
{
    return x == Py_None || PyBool_Check(x) || PyFloat_CheckExact(x) || PyLong_CheckExact(x) ||
           PyUnicode_CheckExact(x) || PyBytes_CheckExact(x);
}

static unsigned flags_for(PyObject *x)
{
    return is_atom(x) ? KEPT : KEPT | TRACKED;
}

static int hang(value *v, PyObject *key, PyObject *x)
{
    if (keep(v, flags_for(x)) < 0)
        return -1;
    if (!v->dict && !(v->dict = PyDict_New()))
        return -1;
    PyObject *dict = Py_NewRef(v->dict);
    const int status = PyDict_SetItem(dict, key, x);
    Py_DECREF(dict);
    return status;
}

/* True if `Value.name` is what it was when pygrad was loaded. */
static bool is_original(PyObject *name)
{
    PyObject *original = PyDict_GetItemWithError(py.originals, name);
    return original && PyDict_GetItemWithError(value_type->tp_dict, name) == original;
}

/* True if `Value.data` and `Value.grad` are ours: checked anew whenever an attribute of the class has changed. */
static bool numbers_are_plain(void)
{
    static unsigned plain_version;
#if PY_VERSION_HEX < 0x030B0000
    if (!PyType_HasFeature(value_type, Py_TPFLAGS_VALID_VERSION_TAG))
        return false;
#endif
    const unsigned version = value_type->tp_version_tag; /* 0: none yet */
    if (version && version != plain_version && is_original(py.data) && is_original(py.grad))
        plain_version = version;
    return version && version == plain_version;
}

static int value_setattro(PyObject *self, PyObject *name, PyObject *x)
{
    const bool number = name == py.data || name == py.grad;
    if (number && x && PyFloat_CheckExact(x) && Py_IS_TYPE(self, value_type) && numbers_are_plain()) /* no lookups */
        return name == py.data ? set_data(self, x, NULL) : set_grad(self, x, NULL);
    const bool special = name == py._op || name == py._prev || name == py._backward || name == py.requires_grad;
    const bool ours = (number || special) && is_original(name);
    const bool harmless = PyUnicode_CheckExact(name) && (!x || is_atom(x));
    if (!ours && keep((value *)self, harmless ? KEPT : KEPT | TRACKED) < 0)
        return -1;
    return PyObject_GenericSetAttr(self, name, x);
}

static PyObject *get_dict(PyObject *self, void *closure)
{
    return keep((value *)self, KEPT | TRACKED) < 0 ? NULL : PyObject_GenericGetDict(self, closure);
}

static int set_dict(PyObject *self, PyObject *dict, void *closure)
{
    return keep((value *)self, KEPT | TRACKED) < 0 ? -1 : PyObject_GenericSetDict(self, dict, closure);
}

static PyObject *value_attributes(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    return v->dict ? PyDict_Copy(v->dict) : PyDict_New();
}

static PyObject *get_op(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    PyObject *label = is_alive(v) ? get_hung(v, py.op_key) : NULL;
    if (label || PyErr_Occurred())
        return label;
    const int op = pg_op(v->id);
    if (op == PG_POWER)
        return PyObject_CallFunction(py.power_label, "d", pg_exponent(v->id));
    return Py_NewRef(PyTuple_GET_ITEM(py.labels, op));
}

static int set_op(PyObject *self, PyObject *label, void *Py_UNUSED(closure))
{
    return label ? hang((value *)self, py.op_key, label) : cannot_delete("_op");
}

static PyObject *get_backward(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    PyObject *closure = is_alive(v) ? get_hung(v, py.closure_key) : NULL;
    return closure || PyErr_Occurred() ? closure : PyObject_GetAttrString(self, "_propagate");
}

static int set_backward(PyObject *self, PyObject *closure, void *Py_UNUSED(context))
{
    value *v = (value *)self;
    if (!closure)
        return cannot_delete("_backward");
    if (!PyCallable_Check(closure)) {
        PyErr_SetString(PyExc_TypeError, "_backward must be a function of no arguments");
        return -1;
    }
    const int plain = is_alive(v) && pg_is_leaf(v->id) ? drops_operands() : 0;
    if (plain != 0)
        return plain < 0 ? -1 : 0;
    if (!is_alive(v) || keep(v, KEPT | TRACKED) < 0 || hang(v, py.closure_key, closure) < 0)
        return -1;
    pg_set_closure(v->id, 1);
    return 0;
}

/* --- operands ----------------------------------------------------------------------------------------------------- */

static PyObject *value_operands(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (!is_alive(v))
        return NULL;
    const Py_ssize_t count = (Py_ssize_t)pg_operand_count(v->id);
    if (count == 0)
        return PyTuple_New(0);
    if (v->a && PyTuple_CheckExact(v->a) && PyTuple_GET_SIZE(v->a) == count)
        return Py_NewRef(v->a);
    if (keep(v, KEPT) < 0)
        return NULL;
    PyObject *operands = operand_proxies(v, NULL);
    if (operands)
        hold(v, Py_NewRef(operands));
    return operands;
}

static PyObject *get_prev(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *operands = value_operands(self, NULL);
    PyObject *set = operands ? PySet_New(operands) : NULL;
    Py_XDECREF(operands);
    return set;
}

/* The ids of a tuple of Values, for PyMem_Free; and the flags of all of them. */
static pg_id *ids_of(PyObject *values, unsigned *flags)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(values);
    pg_id *ids = allocate(count, sizeof(pg_id));
    if (!ids)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        const value *v = (value *)PyTuple_GET_ITEM(values, i);
        ids[i] = v->id;
        *flags |= v->flags;
    }
    return ids;
}

/* Put a custom node with these operands in the place of the leaf of `v`. */
static int rewire(value *v, PyObject *children)
{
    unsigned flags = 0;
    pg_id *ids = ids_of(children, &flags), leaf = v->id, custom = 0;
    if (!ids || keep(v, KEPT | TRACKED) < 0) {
        PyMem_Free(ids);
        return -1;
    }
    const pg_status status = pg_leaf_to_custom(leaf, (uint32_t)PyTuple_GET_SIZE(children), ids, &custom);
    PyMem_Free(ids);
    if (status == PG_OK) {
        pg_arena *arena = pg_lock();
        unlist(v);
        bind(v, custom);
        pg_unref(arena, leaf);
        pg_unlock(arena);
        hold(v, Py_NewRef(children));
        return 0;
    }
    if (status == PG_IN_USE || status == PG_BUSY)
        PyErr_SetString(PyExc_AttributeError,
                        "_prev is fixed at creation: pass the operands as Value(data, _children)");
    else
        refuse(Py_NewRef(children));
    return -1;
}

static int set_prev(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    if (!x)
        return cannot_delete("_prev");
    if (!is_alive(v))
        return -1;
    PyObject *children = PyObject_CallFunctionObjArgs(py.parse_prev, value_type, self, x, NULL);
    if (!children)
        return -1;
    const int plain = pg_is_leaf(v->id) ? PyTuple_GET_SIZE(children) == 0 ? 1 : drops_operands() : 0;
    const int status = plain < 0 ? -1 : plain ? 0 : rewire(v, children);
    Py_DECREF(children);
    return status;
}

/* --- construction ------------------------------------------------------------------------------------------------- */

static PyObject *value_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (type == value_type)
        return (PyObject *)new_proxy();
    value *v = (value *)type->tp_alloc(type, 0); /* zeroed, and tracked */
    if (v)
        v->flags = KEPT | TRACKED;
    return (PyObject *)v;
}

static int set_leaf(value *v, double data)
{
    if (!v->id) {
        pg_arena *arena = pg_lock();
        bind(v, pg_new_leaf(arena, data));
        pg_unlock(arena);
        if (!v->id)
            refuse(PyTuple_New(0));
        return v->id ? 0 : -1;
    }
    if (!pg_is_leaf(v->id)) {
        PyObject *op = get_op((PyObject *)v, NULL);
        if (op)
            PyErr_Format(PyExc_RuntimeError, "this Value is the result of %R: only a leaf can be set by __init__", op);
        Py_XDECREF(op);
        return -1;
    }
    node_of(v)->data = data;
    *pg_grad_of(pg_the_arena, node_of(v)) = 0.0;
    return 0;
}

static PyObject *value_set_leaf(PyObject *self, PyObject *x)
{
    double data;
    if (!to_double(x, py.data_of_a_value, &data) || set_leaf((value *)self, data) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Local gradients as C takes them, for PyMem_Free. */
static double *doubles_of(PyObject *floats)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(floats);
    double *numbers = allocate(count, sizeof(double));
    if (!numbers)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        numbers[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(floats, i));
    return numbers;
}

/* Give `v` a custom node: children is a tuple of Values, local_grads one of as many floats, or None. */
static int set_custom(value *v, double data, PyObject *children, PyObject *local_grads)
{
    if (v->id) {
        PyErr_SetString(PyExc_RuntimeError, "this Value exists already: make a new one to give it children");
        return -1;
    }
    unsigned flags = 0;
    const bool local = local_grads != Py_None;
    pg_id *ids = ids_of(children, &flags);
    double *numbers = ids && local ? doubles_of(local_grads) : NULL;
    if (ids && (numbers || !local)) {
        const pg_id id = pg_custom(data, (uint32_t)PyTuple_GET_SIZE(children), ids, numbers);
        bind(v, id);
        if (!id)
            refuse(Py_NewRef(children));
    }
    PyMem_Free(numbers);
    PyMem_Free(ids);
    if (!v->id)
        return -1;
    if (flags | v->flags) {
        hold(v, Py_NewRef(children));
        track(v, flags);
    }
    if (!anomaly_depth)
        return 0;
    return checked((value *)Py_NewRef((PyObject *)v), Py_NewRef(children)) ? (Py_DECREF(v), 0) : -1;
}

static int value_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    double data;
    value *v = (value *)self;
    if (!kwargs && PyTuple_GET_SIZE(args) == 1)
        return to_double(PyTuple_GET_ITEM(args, 0), py.data_of_a_value, &data) ? set_leaf(v, data) : -1;
    PyObject *parsed = PyObject_Call(py.parse_arguments, args, kwargs), *children, *op, *label, *local_grads;
    if (!parsed || !PyArg_ParseTuple(parsed, "dOOOO", &data, &children, &op, &label, &local_grads)) {
        Py_XDECREF(parsed);
        return -1;
    }
    const int plain = PyTuple_GET_SIZE(children) > 0 ? drops_operands() : 0;
    const bool leaf = PyTuple_GET_SIZE(children) == 0 || plain;
    int status = plain < 0 ? -1 : leaf ? set_leaf(v, data) : set_custom(v, data, children, local_grads);
    const int has_op = status != 0 ? -1 : plain ? 0 : PyObject_IsTrue(op);
    if (has_op > 0)
        status = hang(v, py.op_key, op);
    const int has_label = has_op >= 0 && status == 0 ? PyObject_IsTrue(label) : -1;
    if (has_label > 0)
        status = PyObject_SetAttr(self, py.label, label);
    Py_DECREF(parsed);
    return has_label < 0 ? -1 : status;
}

/* `Value(number)` without the detour over __new__ and __init__, unless a program has put its own there. */
static PyObject *value_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    const Py_ssize_t count = PyVectorcall_NARGS(nargsf), named = names ? PyTuple_GET_SIZE(names) : 0;
    double data;
    if (count == 1 && !named && value_type->tp_init == value_init && value_type->tp_new == value_new)
        return to_double(args[0], py.data_of_a_value, &data) ? make_leaf(data, 0) : NULL;
    PyObject *positional = PyTuple_New(count), *keywords = named ? PyDict_New() : NULL, *made = NULL;
    for (Py_ssize_t i = 0; positional && i < count; i++)
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; keywords && i < named; i++)
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), args[count + i]) < 0)
            Py_CLEAR(keywords);
    if (positional && !named == !keywords)
        made = PyType_Type.tp_call(type, positional, keywords);
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return made;
}

/* --- comparison: by data; `==`, `!=` and hash stay Python's own, by identity -------------------------------------- */

/* As to_operand(), but a Value of any engine stands for its data. */
static int to_comparable(PyObject *x, double *number)
{
    const int has_data = is_value(x) ? 1 : PyFloat_CheckExact(x) ? 0 : PyObject_IsInstance(x, py.surface);
    if (has_data <= 0)
        return has_data < 0 ? -1 : to_operand(x, number);
    PyObject *data = trace_hook ? read_quietly(x) : PyObject_GetAttr(x, py.data);
    if (!data)
        return -1;
    *number = PyFloat_AsDouble(data);
    Py_DECREF(data);
    return PyErr_Occurred() ? -1 : 1;
}

static PyObject *value_richcompare(PyObject *self, PyObject *other, int op)
{
    double a, b;
    if (op == Py_EQ || op == Py_NE)
        return PyBaseObject_Type.tp_richcompare(self, other, op);
    const int found = to_comparable(other, &b);
    if (found == 0)
        Py_RETURN_NOTIMPLEMENTED;
    if (found < 0 || (trace_hook && !tell_hook((value *)self, py.a_comparison)) || to_comparable(self, &a) < 0)
        return NULL;
    return PyBool_FromLong(op == Py_LT ? a < b : op == Py_LE ? a <= b : op == Py_GT ? a > b : a >= b);
}

static Py_hash_t value_hash(PyObject *self)
{
    return PyBaseObject_Type.tp_hash(self);
}

/* --- backward ----------------------------------------------------------------------------------------------------- */

/* Read the arguments (seed=1.0), as Python would. */
static bool parse_seed(PyObject *const *args, Py_ssize_t count, PyObject *names, double *seed)
{
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count + named > 1) {
        PyErr_SetString(PyExc_TypeError, "backward() takes at most one argument, seed");
        return false;
    }
    if (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "seed") != 0) {
        PyErr_Format(PyExc_TypeError, "backward() got an unexpected keyword argument %R", PyTuple_GET_ITEM(names, 0));
        return false;
    }
    PyObject *what = PyUnicode_FromString("a seed");
    const bool ok = what && to_double(args[0], what, seed);
    Py_XDECREF(what);
    return ok;
}

static PyObject *value_backward(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    value *v = (value *)self;
    double seed = 1.0;
    if (!is_alive(v) || ((count || names) && !parse_seed(args, count, names, &seed)))
        return NULL;
    if (!anomaly_depth && pg_backward(v->id, seed) == PG_OK)
        Py_RETURN_NONE;
    return PyObject_CallFunction(py.backward_in_pieces, "(O)(d)O", self, seed, py.value_of);
}

static PyObject *value_propagate(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (!is_alive(v))
        return NULL;
    pg_backprop(v->id);
    Py_RETURN_NONE;
}

static PyObject *value_is_leaf(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    return is_alive(v) ? PyBool_FromLong(pg_is_leaf(v->id)) : NULL;
}

static PyObject *value_detach(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (trace_hook && !tell_hook(v, py.by_detach))
        return NULL;
    return is_alive(v) ? make_leaf(node_of(v)->data, 0) : NULL;
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static PyMethodDef value_methods[] = {
    {"backward", (PyCFunction)(void (*)(void))value_backward, METH_FASTCALL | METH_KEYWORDS,
     "backward($self, seed=1.0)\n--\n\n"
     "Set the gradients of all that this Value was computed from; leaves add theirs to what they have.\n\n"
     "seed: the gradient of this Value itself."},
    {"detach", value_detach, METH_NOARGS,
     "detach($self)\n--\n\nReturn a new leaf with the same data: the graph is left behind."},
    {"leaky_relu", (PyCFunction)(void (*)(void))value_leaky_relu, METH_VARARGS | METH_KEYWORDS,
     "leaky_relu($self, negative_slope=0.01)\n--\n\n"
     "Return self where it is above 0, else negative_slope * self; the slope may be a Value."},
    {"elu", (PyCFunction)(void (*)(void))value_elu, METH_VARARGS | METH_KEYWORDS,
     "elu($self, alpha=1.0)\n--\n\n"
     "Return self where it is above 0, else alpha * (exp(self) - 1); alpha may be a Value."},
    {"_operands_in_order", value_operands, METH_NOARGS,
     "The operands as a tuple: see pygrad.engine.portable.Value._operands_in_order."},
    {"_propagate", value_propagate, METH_NOARGS, "Pass `grad` on to the operands, once."},
    {"_is_leaf", value_is_leaf, METH_NOARGS, NULL},
    {"_read", (PyCFunction)(void (*)(void))value_read, METH_FASTCALL, "See pygrad.contract.value_base.ValueBase._read."},
    {"_set_leaf", value_set_leaf, METH_O, NULL},
    {"_attributes", value_attributes, METH_NOARGS, "A copy of what hangs on this Value."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef value_members[] = {
    {"_pg_id", T_INT, offsetof(value, id), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(value, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(value, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef value_getset[] = {
    {"data", get_data, set_data, "The number, a float. It may be set, and backward() then uses what it is.", NULL},
    {"grad", get_grad, set_grad, "d root / d self, a float, after `root.backward()`. It may be set.", NULL},
    {"_op", get_op, set_op, "The label of the op that made this Value; '' for a leaf.", NULL},
    {"_prev", get_prev, set_prev, "The operands, as a new set; always the same objects.", NULL},
    {"_backward", get_backward, set_backward,
     "Pass `grad` on to the operands, once. Assign a function of no arguments to define an op of your own.", NULL},
    {"requires_grad", get_requires_grad, set_requires_grad,
     "False of a frozen leaf: see pygrad.engine.portable.Value.requires_grad.", NULL},
    {"__dict__", get_dict, set_dict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define VALUE_DOC                                                                                               \
    "Value(data, _children=(), _op='', label='', **dialect)\n--\n\n"                                           \
    "A number that remembers how it was computed.\n\n"                                                          \
    "Value(data, _children=(), _op='', label='') as in micrograd; a tuple or list of numbers as third argument\n" \
    "(or `local_grads=`) gives d self / d child instead, as in microgpt. Raises TypeError for what is no real\n"  \
    "number."

static PyType_Slot value_slots[] = {
    {Py_tp_doc, VALUE_DOC},
    {Py_tp_new, value_new},
    {Py_tp_init, value_init},
    {Py_tp_dealloc, value_dealloc},
    {Py_tp_traverse, value_traverse},
    {Py_tp_clear, value_clear},
    {Py_tp_free, PyObject_GC_Del},
    {Py_tp_setattro, value_setattro},
    {Py_tp_richcompare, value_richcompare},
    {Py_tp_hash, value_hash},
    {Py_tp_methods, value_methods},
    {Py_tp_members, value_members},
    {Py_tp_getset, value_getset},
    {Py_nb_add, value_add},
    {Py_nb_subtract, value_subtract},
    {Py_nb_multiply, value_multiply},
    {Py_nb_true_divide, value_divide},
    {Py_nb_power, value_power},
    {Py_nb_negative, value_negative},
    {Py_nb_absolute, value_absolute},
    {0, NULL},
};

static PyType_Spec value_spec = {
    .name = "pygrad.engine.Value",
    .basicsize = sizeof(value),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = value_slots,
};

static bool is_plain_arithmetic(void)
{
    const PyNumberMethods *as_number = value_type->tp_as_number;
    return as_number->nb_add == value_add && as_number->nb_multiply == value_multiply;
}

/* --- sums and dots of any length ---------------------------------------------------------------------------------- */

static PyObject *value_or_number(PyObject *x)
{
    double number;
    if (is_value(x))
        return Py_NewRef(x);
    return to_double(x, py.data_of_a_value, &number) ? make_leaf(number, PG_FLAG_NUMBER) : NULL;
}

/* Values and numbers as a new tuple of Values. */
static PyObject *values_of(PyObject *iterable)
{
    PyObject *given = PySequence_Tuple(iterable);
    const Py_ssize_t count = given ? PyTuple_GET_SIZE(given) : 0;
    PyObject *values = given ? PyTuple_New(count) : NULL;
    for (Py_ssize_t i = 0; values && i < count; i++) {
        PyObject *v = value_or_number(PyTuple_GET_ITEM(given, i));
        if (v)
            PyTuple_SET_ITEM(values, i, v);
        else
            Py_CLEAR(values);
    }
    Py_XDECREF(given);
    return values;
}

/* bias, w0, x0, w1, x1, ...; or start or index, x0, x1, ... where there is no `ws`. */
static PyObject *in_order(PyObject *first, PyObject *ws, PyObject *xs)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(xs), head = first != NULL;
    PyObject *operands = PyTuple_New(head + (ws ? 2 : 1) * count);
    if (!operands)
        return NULL;
    Py_ssize_t at = 0;
    if (first)
        PyTuple_SET_ITEM(operands, at++, Py_NewRef(first));
    for (Py_ssize_t i = 0; i < count; i++) {
        if (ws)
            PyTuple_SET_ITEM(operands, at++, Py_NewRef(PyTuple_GET_ITEM(ws, i)));
        PyTuple_SET_ITEM(operands, at++, Py_NewRef(PyTuple_GET_ITEM(xs, i)));
    }
    return operands;
}

static pg_id make_list_node(int op, pg_id first, uint32_t count, const pg_id *ws, const pg_id *xs)
{
    switch (op) {
    case PG_DOT:
        return pg_dot(first, count, ws, xs);
    case PG_TAKE:
        return pg_choose(first, count, xs);
    case PG_DECLARED:
        return pg_declared(first, count, ws, xs);
    default:
        return pg_sum(first, count, xs);
    }
}

/* The Value of pg_dot(first, ws, xs) or pg_declared; or, where there is no `ws`, of pg_sum(first, xs) or pg_choose.
 * `first` may be NULL. */
static PyObject *make_list(int op, PyObject *first, PyObject *ws, PyObject *xs)
{
    value *out = new_proxy();
    if (!out || (first && !is_alive((value *)first))) {
        Py_XDECREF(out);
        return NULL;
    }
    unsigned flags = first ? ((value *)first)->flags : 0;
    const pg_id first_id = first ? ((value *)first)->id : 0;
    const uint32_t count = (uint32_t)PyTuple_GET_SIZE(xs);
    pg_id *x_ids = ids_of(xs, &flags), *w_ids = ws && x_ids ? ids_of(ws, &flags) : NULL;
    const bool ready = x_ids && (w_ids || !ws);
    if (ready)
        bind(out, make_list_node(op, first_id, count, w_ids, x_ids));
    PyMem_Free(x_ids);
    PyMem_Free(w_ids);
    if (!out->id) {
        Py_DECREF(out);
        return ready ? refuse(in_order(first, ws, xs)) : NULL;
    }
    if (!flags && !anomaly_depth)
        return without_graph((PyObject *)out);
    PyObject *operands = in_order(first, ws, xs);
    if (!operands) {
        Py_DECREF(out);
        return NULL;
    }
    hold(out, operands);
    track(out, flags | KEPT);
    return without_graph(anomaly_depth ? checked(out, Py_NewRef(operands)) : (PyObject *)out);
}

/* The arguments of `name(required..., optional=...)`: out[] gets them, borrowed. */
static bool parse(const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names, int required, int all,
                  const char *const *parameters, PyObject **out)
{
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count > all) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", name, all, count + named);
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        out[i] = args[i];
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(names, i);
        int at = 0;
        while (at < all && PyUnicode_CompareWithASCIIString(keyword, parameters[at]) != 0)
            at++;
        if (at == all || out[at]) {
            PyErr_Format(PyExc_TypeError, "%s() got %s %R", name,
                         at == all ? "an unexpected keyword argument" : "multiple values for argument", keyword);
            return false;
        }
        out[at] = args[count + i];
    }
    for (int i = 0; i < required; i++)
        if (!out[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", name, parameters[i]);
            return false;
        }
    return true;
}

static PyObject *module_sum(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"values", "start"};
    PyObject *given[2] = {NULL, NULL}, *out = NULL, *first = NULL;
    if (!parse("sum", args, count, names, 1, 2, parameters, given))
        return NULL;
    const bool from_zero = !given[1] || (PyLong_CheckExact(given[1]) && PyObject_IsTrue(given[1]) == 0);
    PyObject *values = values_of(given[0]);
    if (values && (from_zero || (first = value_or_number(given[1]))))
        out = make_list(PG_SUM, first, NULL, values);
    Py_XDECREF(first);
    Py_XDECREF(values);
    return out;
}

static PyObject *module_dot(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"ws", "xs", "bias"};
    PyObject *given[3] = {NULL, NULL, NULL}, *out = NULL, *bias = NULL;
    if (!parse("dot", args, count, names, 2, 3, parameters, given))
        return NULL;
    PyObject *ws = values_of(given[0]), *xs = ws ? values_of(given[1]) : NULL;
    if (xs && PyTuple_GET_SIZE(ws) != PyTuple_GET_SIZE(xs))
        PyErr_Format(PyExc_ValueError, "dot needs two sequences of one length, not %zd and %zd", PyTuple_GET_SIZE(ws),
                     PyTuple_GET_SIZE(xs));
    else if (xs && (!given[2] || given[2] == Py_None || (bias = value_or_number(given[2]))))
        out = make_list(PG_DOT, bias, ws, xs);
    Py_XDECREF(bias);
    Py_XDECREF(xs);
    Py_XDECREF(ws);
    return out;
}

static PyObject *module_choose(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"index", "values"};
    PyObject *given[2] = {NULL, NULL};
    if (!parse("choose", args, count, names, 2, 2, parameters, given))
        return NULL;
    PyObject *index = value_or_number(given[0]), *values = index ? values_of(given[1]) : NULL;
    PyObject *out = values ? make_list(PG_TAKE, index, NULL, values) : NULL;
    Py_XDECREF(values);
    Py_XDECREF(index);
    return out;
}

static PyObject *module_declared(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"y", "xs", "derivatives"};
    PyObject *given[3] = {NULL, NULL, NULL}, *out = NULL;
    if (!parse("declared", args, count, names, 3, 3, parameters, given))
        return NULL;
    PyObject *y = value_or_number(given[0]), *xs = y ? values_of(given[1]) : NULL;
    PyObject *derivatives = xs ? values_of(given[2]) : NULL;
    if (derivatives && PyTuple_GET_SIZE(xs) != PyTuple_GET_SIZE(derivatives))
        PyErr_SetString(PyExc_ValueError, "declared needs as many derivatives as xs");
    else if (derivatives)
        out = make_list(PG_DECLARED, y, xs, derivatives);
    Py_XDECREF(derivatives);
    Py_XDECREF(xs);
    Py_XDECREF(y);
    return out;
}

/* --- a layer of neurons in one call ------------------------------------------------------------------------------- */

enum { ROW, BIAS, ACTIVATION, PARTS }; /* of a neuron: a list of weights, a bias, and a method's name or None */

typedef struct {
    Py_ssize_t rows, nin;
    PyObject *xs; /* the inputs: a tuple of Values */
    PyObject *parts; /* a tuple with PARTS entries a neuron */
    pg_id *ids;      /* of the inputs, the biases, and the weights row by row; then room for the results */
    unsigned flags;  /* of all of them */
} layer;

static PyObject *part(const layer *l, Py_ssize_t row, int which)
{
    return PyTuple_GET_ITEM(l->parts, row * PARTS + which);
}

/* Note the ids of a list or tuple of so many plain Values, which runs no program's code; false if it is not that. */
static bool take_all(layer *l, pg_id *ids, PyObject *sequence, Py_ssize_t expected)
{
    if (!PyList_CheckExact(sequence) && !PyTuple_CheckExact(sequence))
        return false;
    if (PySequence_Fast_GET_SIZE(sequence) != expected)
        return false;
    PyObject *const *items = PySequence_Fast_ITEMS(sequence);
    unsigned flags = l->flags;
    for (Py_ssize_t i = 0; i < expected; i++) {
        const value *v = (value *)items[i];
        if (!Py_IS_TYPE(v, value_type) || !v->id)
            return false;
        ids[i] = v->id;
        flags |= v->flags;
    }
    l->flags = flags;
    return true;
}

static bool take_layer(layer *l)
{
    pg_id *biases = l->ids + l->nin, *ws = biases + l->rows;
    bool plain = take_all(l, l->ids, l->xs, l->nin);
    for (Py_ssize_t i = 0; plain && i < l->rows; i++) {
        const value *bias = (value *)part(l, i, BIAS);
        plain = Py_IS_TYPE(bias, value_type) && bias->id && take_all(l, ws + i * l->nin, part(l, i, ROW), l->nin);
        biases[i] = plain ? bias->id : 0;
        l->flags |= plain ? bias->flags : 0;
    }
    return plain;
}

static bool are_plain(PyObject *tuple)
{
    Py_ssize_t i = 0;
    while (i < PyTuple_GET_SIZE(tuple) && Py_IS_TYPE(PyTuple_GET_ITEM(tuple, i), value_type))
        i++;
    return i == PyTuple_GET_SIZE(tuple);
}

/* Inputs as Values: a tuple; None if one is neither a plain Value nor a number; NULL with an error. */
static PyObject *inputs_of(PyObject *x)
{
    PyObject *given = PySequence_Tuple(x);
    if (given && are_plain(given))
        return given;
    const Py_ssize_t count = given ? PyTuple_GET_SIZE(given) : 0;
    PyObject *xs = given ? PyTuple_New(count) : NULL;
    for (Py_ssize_t i = 0; xs && xs != Py_None && i < count; i++) {
        PyObject *xi = PyTuple_GET_ITEM(given, i), *number = NULL;
        if (!Py_IS_TYPE(xi, value_type) && !PyFloat_CheckExact(xi) && !(number = PyObject_CallOneArg(py.is_number, xi)))
            Py_CLEAR(xs);
        else if (number == Py_False)
            Py_SETREF(xs, Py_NewRef(Py_None));
        else if ((xi = value_or_number(xi)))
            PyTuple_SET_ITEM(xs, i, xi);
        else
            Py_CLEAR(xs);
        Py_XDECREF(number);
    }
    Py_XDECREF(given);
    return xs;
}

/* Find four attributes in a dict, borrowed: by the identity of the names, a quarter of the time of asking for each. */
static void find_attributes(PyObject *dict, PyObject *const *names, PyObject **found)
{
    Py_ssize_t at = 0;
    PyObject *name, *attribute;
    int missing = 4;
    while (missing > 0 && PyDict_Next(dict, &at, &name, &attribute))
        for (int i = 0; i < 4; i++)
            if (name == names[i]) {
                found[i] = attribute;
                missing--;
                break;
            }
}

/* Put the parts of a neuron into `parts`; false with an error. What its __dict__ lacks the neuron is asked for. */
static bool take_parts(PyObject *neuron, PyObject *parts, Py_ssize_t at)
{
    PyObject *const names[4] = {py.w, py.b, py.nonlin, py.activation};
    PyObject *found[4] = {NULL, NULL, NULL, NULL}, *dict = PyObject_GenericGetDict(neuron, NULL);
    if (!dict)
        return false;
    find_attributes(dict, names, found);
    bool all = true;
    for (int i = 0; i < 4; i++)
        Py_XINCREF(found[i]);
    for (int i = 0; i < 4 && all; i++)
        all = found[i] || (found[i] = PyObject_GetAttr(neuron, names[i]));
    Py_DECREF(dict);
    const int active = !all ? -1 : found[2] == Py_True ? 1 : PyObject_IsTrue(found[2]);
    if (active == 0)
        Py_SETREF(found[3], Py_NewRef(Py_None));
    PyTuple_SET_ITEM(parts, at + ROW, found[0]);
    PyTuple_SET_ITEM(parts, at + BIAS, found[1]);
    PyTuple_SET_ITEM(parts, at + ACTIVATION, found[3]);
    Py_XDECREF(found[2]);
    return active >= 0;
}

/* The parts of all neurons: a tuple; None if one of them is not of that very type; NULL with an error. */
static PyObject *parts_of(PyObject *neurons, PyObject *neuron_type)
{
    const Py_ssize_t rows = PyTuple_GET_SIZE(neurons);
    PyObject *parts = PyTuple_New(rows * PARTS);
    for (Py_ssize_t i = 0; parts && parts != Py_None && i < rows; i++) {
        PyObject *neuron = PyTuple_GET_ITEM(neurons, i);
        if ((PyObject *)Py_TYPE(neuron) != neuron_type)
            Py_SETREF(parts, Py_NewRef(Py_None));
        else if (!take_parts(neuron, parts, i * PARTS))
            Py_CLEAR(parts);
    }
    return parts;
}

/* The op of an activation's name: a row of the table, PG_LEAF for None (no activation), PG_CUSTOM for any other
 * method. */
static int activation_op(PyObject *name)
{
    if (name == Py_None)
        return PG_LEAF;
    for (int op = 0; PyUnicode_Check(name) && op < PG_OP_COUNT; op++)
        if (op_methods[op].ml_flags == METH_NOARGS &&
            PyUnicode_CompareWithASCIIString(name, op_methods[op].ml_name) == 0)
            return is_original(name) ? op : PG_CUSTOM;
    return PG_CUSTOM;
}

/* Give each of `outs`, proxies without nodes, one of the ids, through its activation where that is a row of the
 * table. */
static bool bind_layer(PyObject *outs, const pg_id *ids, const int *ops)
{
    bool all = true;
    pg_arena *arena = pg_lock();
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(outs); i++) {
        const bool through = ops[i] != PG_LEAF && ops[i] != PG_CUSTOM;
        const pg_id id = through ? pg_make_unary(arena, ops[i], ids[i]) : ids[i];
        if (through)
            pg_unref(arena, ids[i]);
        bind((value *)PyList_GET_ITEM(outs, i), id);
        all = all && id;
    }
    pg_unlock(arena);
    return all;
}

/* Put outs[i] through its activation; those that are rows of the table only if `all`. `outs` is given away. */
static PyObject *activate(const layer *l, PyObject *outs, const int *ops, bool all)
{
    for (Py_ssize_t i = 0; outs && i < l->rows; i++) {
        if (ops[i] == PG_LEAF || (ops[i] != PG_CUSTOM && !all))
            continue;
        PyObject *out = PyObject_CallMethodNoArgs(PyList_GET_ITEM(outs, i), part(l, i, ACTIVATION));
        if (!out || PyList_SetItem(outs, i, out) < 0)
            Py_CLEAR(outs);
    }
    return outs;
}

static PyObject *new_proxies(Py_ssize_t count)
{
    PyObject *proxies = PyList_New(count);
    for (Py_ssize_t i = 0; proxies && i < count; i++) {
        PyObject *proxy = (PyObject *)new_proxy();
        if (proxy)
            PyList_SET_ITEM(proxies, i, proxy);
        else
            Py_CLEAR(proxies);
    }
    return proxies;
}

/* All nodes of a plain layer in two calls into the arena, for `outs`, proxies that are given away. */
static PyObject *make_layer(const layer *l, const int *ops, PyObject *outs)
{
    const pg_id *xs = l->ids, *biases = xs + l->nin, *ws = biases + l->rows;
    pg_id *made = l->ids + l->nin + l->rows + l->rows * l->nin;
    if (pg_dots((uint32_t)l->rows, (uint32_t)l->nin, biases, ws, xs, made) != PG_OK || !bind_layer(outs, made, ops)) {
        Py_DECREF(outs);
        return refuse(PyTuple_New(0));
    }
    for (Py_ssize_t i = 0; grad_is_off && i < l->rows; i++) {
        PyObject *plain = without_graph(Py_NewRef(PyList_GET_ITEM(outs, i)));
        if (!plain || PyList_SetItem(outs, i, plain) < 0) {
            Py_DECREF(outs);
            return NULL;
        }
    }
    return outs;
}

/* Take the rows as they are now: a program's code may run before they are used. */
static bool fix_rows(const layer *l)
{
    for (Py_ssize_t i = 0; i < l->rows; i++) {
        PyObject *row = PySequence_Tuple(part(l, i, ROW));
        if (!row)
            return false;
        Py_DECREF(part(l, i, ROW));
        PyTuple_SET_ITEM(l->parts, i * PARTS + ROW, row);
    }
    return true;
}

/* The same, neuron by neuron: for proxies that must hold their operands, and under detect_anomaly(). */
static PyObject *make_neurons(layer *l, const int *ops)
{
    if (!fix_rows(l))
        return NULL;
    if (!take_layer(l))
        return Py_NewRef(Py_None);
    PyObject *outs = PyList_New(0);
    for (Py_ssize_t i = 0; outs && i < l->rows; i++) {
        PyObject *out = make_list(PG_DOT, part(l, i, BIAS), part(l, i, ROW), l->xs);
        if (!out || PyList_Append(outs, out) < 0)
            Py_CLEAR(outs);
        Py_XDECREF(out);
    }
    return activate(l, outs, ops, true);
}

/* True if one of them is a method to be called. */
static bool take_activations(const layer *l, int *ops)
{
    bool calls = false;
    for (Py_ssize_t i = 0; i < l->rows; i++) { /* mostly the same one */
        const bool same = i > 0 && part(l, i, ACTIVATION) == part(l, i - 1, ACTIVATION);
        ops[i] = same ? ops[i - 1] : activation_op(part(l, i, ACTIVATION));
        calls = calls || ops[i] == PG_CUSTOM;
    }
    return calls;
}

/* The outputs of a layer whose parts are known; None if they are not all plain. */
static PyObject *layer_of(layer *l)
{
    int *ops = allocate(l->rows, sizeof(int));
    l->ids = allocate(l->nin + 2 * l->rows + l->rows * l->nin, sizeof(pg_id));
    PyObject *outs = l->ids && ops ? new_proxies(l->rows) : NULL; /* first: it may run a program's code */
    if (outs) {
        const bool calls = take_activations(l, ops);
        if (take_layer(l) && !l->flags && !anomaly_depth) {
            outs = make_layer(l, ops, outs);
            outs = calls ? activate(l, outs, ops, false) : outs;
        } else {
            Py_DECREF(outs);
            outs = make_neurons(l, ops);
        }
    }
    PyMem_Free(l->ids);
    PyMem_Free(ops);
    return outs;
}

static PyObject *module_layer(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"neurons", "xs", "neuron_type"};
    PyObject *given[3] = {NULL, NULL, NULL}, *outs = NULL;
    if (!parse("layer", args, count, names, 3, 3, parameters, given))
        return NULL;
    if (!is_plain_arithmetic())
        Py_RETURN_NONE;
    PyObject *neurons = PySequence_Tuple(given[0]), *parts = neurons ? parts_of(neurons, given[2]) : NULL;
    PyObject *xs = parts ? inputs_of(given[1]) : NULL;
    if (xs && (parts == Py_None || xs == Py_None)) {
        outs = Py_NewRef(Py_None);
    } else if (xs) {
        layer l = {.rows = PyTuple_GET_SIZE(neurons), .nin = PyTuple_GET_SIZE(xs), .xs = xs, .parts = parts};
        outs = layer_of(&l);
    }
    Py_XDECREF(xs);
    Py_XDECREF(parts);
    Py_XDECREF(neurons);
    return outs;
}

/* --- a trigger: one run of a compiled function, for who calls it in a loop ----------------------------------------- */

typedef struct {
    pg_status (*run)(pg_replay *, pg_batch *); /* pg_replay_run_alone() of the other binary */
    pg_replay *replay; /* this trigger's and its siblings' alone: whoever has the GIL finds it free */
    pg_batch *batch;
    PyObject *failed; /* called with a status that is not PG_OK, and `failed_batch`; it raises */
    PyObject *failed_batch;
    PyObject *keep; /* what owns the memory of all this */
} trigger;

static PyObject *trigger_run(PyObject *self, PyObject *Py_UNUSED(args))
{
    const trigger *t = PyCapsule_GetPointer(self, NULL);
    if (!t)
        return NULL;
    const pg_status status = t->run(t->replay, t->batch);
    if (status != PG_OK)
        return PyObject_CallFunction(t->failed, "iO", (int)status, t->failed_batch);
    Py_RETURN_NONE;
}

static void trigger_free(PyObject *capsule)
{
    trigger *t = PyCapsule_GetPointer(capsule, NULL);
    Py_DECREF(t->failed);
    Py_DECREF(t->failed_batch);
    Py_DECREF(t->keep);
    PyMem_Free(t);
}

static PyObject *module_trigger(PyObject *Py_UNUSED(module), PyObject *args)
{
    static PyMethodDef run = {"run", trigger_run, METH_NOARGS, "Run once."};
    unsigned long long function, replay, batch;
    PyObject *failed, *failed_batch, *keep;
    if (!PyArg_ParseTuple(args, "KKK(OO)O", &function, &replay, &batch, &failed, &failed_batch, &keep))
        return NULL;
    trigger *t = PyMem_Malloc(sizeof *t);
    if (!t)
        return PyErr_NoMemory();
    *t = (trigger){.run = (pg_status(*)(pg_replay *, pg_batch *))(uintptr_t)function,
                   .replay = (pg_replay *)(uintptr_t)replay,
                   .batch = (pg_batch *)(uintptr_t)batch,
                   .failed = failed,
                   .failed_batch = failed_batch,
                   .keep = keep};
    PyObject *capsule = PyCapsule_New(t, NULL, trigger_free);
    if (!capsule) {
        PyMem_Free(t);
        return NULL;
    }
    Py_INCREF(failed);
    Py_INCREF(failed_batch);
    Py_INCREF(keep);
    PyObject *callable = PyCFunction_New(&run, capsule);
    Py_DECREF(capsule);
    return callable;
}

/* --- the module --------------------------------------------------------------------------------------------------- */

/* Has there ever been a node of this id? */
static bool is_known(long id)
{
    const pg_arena *arena = pg_the_arena;
    return id < 0 ? -id < (long)arena->leaf_count : id < (long)arena->block_count * PG_BLOCK_SLOTS;
}

static PyObject *module_value_of(PyObject *Py_UNUSED(module), PyObject *x)
{
    const long id = PyLong_AsLong(x);
    if (PyErr_Occurred())
        return NULL;
    value *v = is_known(id) ? proxy_of((pg_id)id) : NULL;
    return Py_NewRef(v ? (PyObject *)v : Py_None);
}

/* Do for the proxy of a node that C has made what finish_rare() does: flags of its operands' are its own. */
static int inherit_flags(value *v)
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

/* The proxies of these nodes, in a list. */
static PyObject *proxies_of(PyObject *ids, bool are_new)
{
    PyObject *given = PySequence_Tuple(ids), *list = given ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; list && i < PyTuple_GET_SIZE(given); i++) {
        const long id = PyLong_AsLong(PyTuple_GET_ITEM(given, i));
        const bool live = !PyErr_Occurred() && is_known(id) && pg_is_live(pg_the_arena, (pg_id)id);
        PyObject *v = live ? (PyObject *)adopt((pg_id)id) : NULL;
        if (!live && !PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "there is no node %ld", id);
        if (!v || (are_new && inherit_flags((value *)v) < 0) || PyList_Append(list, v) < 0)
            Py_CLEAR(list);
        Py_XDECREF(v);
    }
    Py_XDECREF(given);
    return list;
}

static PyObject *module_adopt(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *ids, *made, *roots;
    if (!PyArg_ParseTuple(args, "OOO", &ids, &made, &roots))
        return NULL;
    PyObject *fresh = proxies_of(made, true), *found = fresh ? proxies_of(ids, false) : NULL;
    Py_XDECREF(fresh); /* what is needed of these is held by its consumers now */
    return found;
}

static PyObject *module_keeps_proxies(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyBool_FromLong(ever_kept);
}

static PyObject *module_number(PyObject *Py_UNUSED(module), PyObject *x)
{
    double number;
    return to_double(x, py.data_of_a_value, &number) ? make_leaf(number, PG_FLAG_NUMBER) : NULL;
}

static PyObject *module_plain_ids(PyObject *Py_UNUSED(module), PyObject *values)
{
    if (!is_original(py.data) || !is_original(py.grad))
        Py_RETURN_NONE;
    PyObject *given = PySequence_Tuple(values);
    if (!given)
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(given);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(pg_id));
    layer l = {.rows = 0};
    pg_id *ids = allocate(count, sizeof(pg_id));
    if (bytes && ids && take_all(&l, ids, given, count))
        memcpy(PyBytes_AS_STRING(bytes), ids, (size_t)count * sizeof *ids);
    else if (bytes && ids)
        Py_SETREF(bytes, Py_NewRef(Py_None));
    else
        Py_CLEAR(bytes);
    PyMem_Free(ids);
    Py_DECREF(given);
    return bytes;
}

static PyObject *module_set_anomaly_depth(PyObject *Py_UNUSED(module), PyObject *x)
{
    anomaly_depth = PyLong_AsLong(x);
    if (PyErr_Occurred())
        return NULL;
    unusual = anomaly_depth + threads_without_grad;
    Py_RETURN_NONE;
}

static PyObject *module_is_grad_enabled(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyBool_FromLong(!grad_is_off);
}

static PyObject *module_set_grad_enabled(PyObject *Py_UNUSED(module), PyObject *x)
{
    const int on = PyObject_IsTrue(x);
    if (on < 0)
        return NULL;
    const bool was_off = grad_is_off;
    grad_is_off = !on;
    threads_without_grad += (long)grad_is_off - (long)was_off;
    unusual = anomaly_depth + threads_without_grad;
    return PyBool_FromLong(!was_off);
}

/* In the child of a fork only this thread is left. */
static PyObject *module_forget_other_threads(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    threads_without_grad = grad_is_off;
    unusual = anomaly_depth + threads_without_grad;
    Py_RETURN_NONE;
}

static PyObject *module_set_trace_hook(PyObject *Py_UNUSED(module), PyObject *hook)
{
    if (hook != Py_None && !PyCallable_Check(hook)) {
        PyErr_SetString(PyExc_TypeError, "a trace hook must be a function of a Value and what reads its data, or None");
        return NULL;
    }
    PyObject *before = trace_hook ? trace_hook : Py_NewRef(Py_None);
    trace_hook = hook == Py_None ? NULL : Py_NewRef(hook);
    return before;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS
static PyMethodDef module_methods[] = {
    {"sum", FAST(module_sum),
     "sum(values, start=0)\n--\n\n"
     "Return the sum of Values and numbers as one node, added from the left as Python's `sum` does."},
    {"dot", FAST(module_dot),
     "dot(ws, xs, bias=None)\n--\n\n"
     "Return `bias + ws[0]*xs[0] + ws[1]*xs[1] + ...` as one node, added in that order.\n\n"
     "Raises ValueError if `ws` and `xs` differ in length."},
    {"choose", FAST(module_choose), "See pygrad.engine.portable.choose."},
    {"declared", FAST(module_declared), "See pygrad.engine.portable.declared."},
    {"layer", FAST(module_layer), "See pygrad.engine.portable.layer."},
    {"adopt", module_adopt, METH_VARARGS, "See pygrad.engine.adopt."},
    {"keeps_proxies", module_keeps_proxies, METH_NOARGS, "See pygrad.engine.keeps_proxies."},
    {"number", module_number, METH_O, "See pygrad.engine.portable.number."},
    {"plain_ids", module_plain_ids, METH_O, "See pygrad.engine.portable.plain_ids."},
    {"trigger", module_trigger, METH_VARARGS,
     "Return a function that calls run(replay, batch), or failed(status, batch) then: see pygrad.tape.bound."},
    {"value_of", module_value_of, METH_O, "Return the proxy of a node id, or None."},
    {"set_trace_hook", module_set_trace_hook, METH_O, "See pygrad.engine.set_trace_hook."},
    {"is_grad_enabled", module_is_grad_enabled, METH_NOARGS, "See pygrad.engine.is_grad_enabled."},
    {"set_grad_enabled", module_set_grad_enabled, METH_O, "See pygrad.engine.portable.set_grad_enabled."},
    {"forget_other_threads", module_forget_other_threads, METH_NOARGS, "To be called in the child of a fork."},
    {"set_anomaly_depth", module_set_anomaly_depth, METH_O, "Called by pygrad.contract.anomaly."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pygrad._native",
    .m_doc = "Value as a CPython type (csrc/pyvalue.c); use it through pygrad.engine.",
    .m_size = -1,
    .m_methods = module_methods,
};

/* One attribute of one module of ours. */
static PyObject *import(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *attribute = module ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return attribute;
}

static bool import_python_parts(void)
{
    const struct {
        PyObject **part;
        const char *module, *name;
    } parts[] = {
        {&py.to_float, "pygrad.contract.numbers", "to_float"},
        {&py.is_number, "pygrad.contract.numbers", "is_number"},
        {&py.operand, "pygrad.contract.numbers", "operand"},
        {&py.surface, "pygrad.contract.value_base", "ValueBase"},
        {&py.parse_prev, "pygrad.contract.value_base", "parse_prev"},
        {&py.power_label, "pygrad.contract.value_base", "power_label"},
        {&py.closure_key, "pygrad.contract.value_base", "CLOSURE"},
        {&py.op_key, "pygrad.contract.value_base", "OP_NAME"},
        {&py.refuse, "pygrad.engine.errors", "refuse"},
        {&py.backward_in_pieces, "pygrad.engine.sweeps", "backward_in_pieces"},
        {&py.set_frozen, "pygrad.engine.arena", "set_frozen"},
        {&py.check_forward, "pygrad.contract.anomaly", "check_forward"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!(*parts[i].part = import(parts[i].module, parts[i].name)))
            return false;
    return true;
}

static bool make_names(void)
{
    const struct {
        PyObject **name;
        const char *text;
    } names[] = {
        {&py.data, "data"},
        {&py.grad, "grad"},
        {&py._op, "_op"},
        {&py._prev, "_prev"},
        {&py._backward, "_backward"},
        {&py.label, "label"},
        {&py.requires_grad, "requires_grad"},
        {&py.w, "w"},
        {&py.b, "b"},
        {&py.nonlin, "nonlin"},
        {&py.activation, "activation"},
        {&py.add, "__add__"},
        {&py.mul, "__mul__"},
        {&py.data_of_a_value, "a Value's data"},
        {&py.a_gradient, "a gradient"},
        {&py.a_comparison, "a comparison"},
        {&py.by_detach, "detach()"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!(*names[i].name = PyUnicode_InternFromString(names[i].text)))
            return false;
    return true;
}

static bool make_labels(void)
{
    py.labels = PyTuple_New(PG_OP_COUNT);
    for (int op = 0; py.labels && op < PG_OP_COUNT; op++) {
        PyObject *label = PyUnicode_FromString(pg_op_label(op));
        if (!label)
            return false;
        PyTuple_SET_ITEM(py.labels, op, label);
    }
    return py.labels != NULL;
}

static PyGILState_STATE outer; /* of the thread that is inside through cffi; the GIL guards it */

static void enter(void)
{
    const PyGILState_STATE state = PyGILState_Ensure();
    outer = state;
}

static void leave(void)
{
    PyGILState_Release(outer);
}

/* Work on the arena of pygrad._core, if it was built of the same sources: only then the structs are the same. */
static bool attach(void)
{
    PyObject *arena = import("pygrad.engine._lib", "native_arena");
    PyObject *address = arena ? PyObject_CallFunction(arena, "ss", pg_version(), pg_source_digest()) : NULL;
    pg_arena *shared = address ? PyLong_AsVoidPtr(address) : NULL;
    Py_XDECREF(arena);
    Py_XDECREF(address);
    if (!shared || PyErr_Occurred())
        return false;
    pg_share_arena(shared, enter, leave, PyGILState_Check);
    return true;
}

/* A row is a method under its own name if no operator stands for it; `<` and the like compare data. Those with a default
 * are in value_methods. */
static bool is_method(int op)
{
    const char first = pg_op_label(op)[0];
    const bool is_letter = (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
    const bool is_special = op == PG_OP_neg || op == PG_OP_leaky_relu || op == PG_OP_elu;
    return op_methods[op].ml_name && (is_letter || pg_op_is_flat(op)) && !is_special;
}

static bool add_op_methods(void)
{
    for (int op = 0; op < PG_OP_COUNT; op++) {
        if (!is_method(op))
            continue;
        PyObject *method = PyDescr_NewMethod(value_type, &op_methods[op]);
        if (!method || PyObject_SetAttrString((PyObject *)value_type, op_methods[op].ml_name, method) < 0)
            return false;
        Py_DECREF(method);
    }
    return true;
}

static bool make_type(void)
{
    PyObject *bases = PyTuple_Pack(1, py.surface);
    value_type = bases ? (PyTypeObject *)PyType_FromSpecWithBases(&value_spec, bases) : NULL;
    Py_XDECREF(bases);
    if (!value_type || !add_op_methods())
        return false;
    value_type->tp_vectorcall = value_vectorcall;
    PyObject *argument_parser = import("pygrad.contract.value_base", "argument_parser");
    py.parse_arguments = argument_parser ? PyObject_CallOneArg(argument_parser, (PyObject *)value_type) : NULL;
    Py_XDECREF(argument_parser);
    if (!py.parse_arguments)
        return false;
    py.originals = PyDict_Copy(value_type->tp_dict);
    return py.originals != NULL;
}

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    if (!import_python_parts() || !make_names() || !make_labels() || !attach() || !make_type())
        return NULL;
    PyObject *module = PyModule_Create(&module_def);
    if (!module || PyModule_AddObjectRef(module, "Value", (PyObject *)value_type) < 0 ||
        !(py.value_of = PyObject_GetAttrString(module, "value_of"))) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
