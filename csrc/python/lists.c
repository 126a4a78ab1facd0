/* lists.c: `sum`, `dot`, `choose` and `declared`, each one node of many operands; and the ids of many Values.
 *
 * The node's operand list has the ids. The proxy holds the operands' proxies only if one of them has flags (proxy.h),
 * or within detect_anomaly(): then all of them, in one tuple.
 */
#include "python/keep.h"
#include "python/make.h"
#include "python/parts.h"

/* --- Values and their ids ----------------------------------------------------------------------------------------- */

PyObject *value_or_number(PyObject *x)
{
    double number;
    if (is_value(x))
        return Py_NewRef(x);
    return to_double(x, py.data_of_a_value, &number) ? make_leaf(number, PG_FLAG_NUMBER) : NULL;
}

/* Return Values and numbers as a new tuple of Values. Python code reads what is no list: an array, say. */
static PyObject *values_of(PyObject *iterable)
{
    const bool is_plain = PyList_CheckExact(iterable) || PyTuple_CheckExact(iterable);
    PyObject *operands = is_plain ? Py_NewRef(iterable) : PyObject_CallOneArg(py.operands_of, iterable);
    PyObject *given = operands ? PySequence_Tuple(operands) : NULL;
    Py_XDECREF(operands);
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

pg_id *ids_of(PyObject *values, unsigned *flags)
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

pg_id *ids_of_children(PyObject *children, unsigned *flags)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(children); i++)
        if (!is_value(PyTuple_GET_ITEM(children, i))) {
            PyErr_SetString(PyExc_TypeError, "a Value's children must be Values");
            return NULL;
        }
    return ids_of(children, flags);
}

/* --- nodes of any length ------------------------------------------------------------------------------------------ */

/* Return the operands as a tuple: first, w0, x0, w1, x1, ...; if `ws` is NULL first, x0, x1, ... `first` may be
 * NULL. */
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
        return pg_dot(first, count, ws, xs, NULL);
    case PG_TAKE:
        return pg_choose(first, count, xs, NULL);
    case PG_DECLARED:
        return pg_declared(first, count, ws, xs, NULL);
    default:
        return pg_sum(first, count, xs, NULL);
    }
}

PyObject *make_list(int op, PyObject *first, PyObject *ws, PyObject *xs)
{
    value *out = new_proxy();
    if (!out || (first && !require_node((value *)first))) {
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
    if (!flags && !is_anomaly_detected())
        return without_graph((PyObject *)out);
    PyObject *operands = in_order(first, ws, xs);
    if (!operands) {
        Py_DECREF(out);
        return NULL;
    }
    hold(out, operands);
    track(out, flags | KEPT);
    return without_graph(is_anomaly_detected() ? checked(out, Py_NewRef(operands)) : (PyObject *)out);
}

/* --- functions of the module -------------------------------------------------------------------------------------- */

bool parse(const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names, int required, int all,
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
        out = PyObject_CallFunctionObjArgs(py.pair_up, ws, xs, NULL); /* raises ValueError */
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
        raise_error(PyObject_CallNoArgs(py.derivatives_missing));
    else if (derivatives)
        out = make_list(PG_DECLARED, y, xs, derivatives);
    Py_XDECREF(derivatives);
    Py_XDECREF(xs);
    Py_XDECREF(y);
    return out;
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
    unsigned flags = 0;
    pg_id *ids = allocate(count, sizeof(pg_id));
    if (bytes && ids && read_plain_ids(given, count, ids, &flags))
        memcpy(PyBytes_AS_STRING(bytes), ids, (size_t)count * sizeof *ids);
    else if (bytes && ids)
        Py_SETREF(bytes, Py_NewRef(Py_None));
    else
        Py_CLEAR(bytes);
    PyMem_Free(ids);
    Py_DECREF(given);
    return bytes;
}

PyMethodDef list_functions[] = {
    {"sum", FAST(module_sum),
     "sum(values, start=0)\n--\n\n"
     "Return the sum of Values and numbers as one node, added from the left as Python's `sum` does."},
    {"dot", FAST(module_dot),
     "dot(ws, xs, bias=None)\n--\n\n"
     "Return `bias + ws[0]*xs[0] + ws[1]*xs[1] + ...` as one node, added in that order.\n\n"
     "Raises ValueError if `ws` and `xs` differ in length."},
    {"choose", FAST(module_choose), "See pygrad.engine.portable.choose."},
    {"declared", FAST(module_declared), "See pygrad.engine.portable.declared."},
    {"number", module_number, METH_O, "See pygrad.engine.portable.number."},
    {"plain_ids", module_plain_ids, METH_O, "See pygrad.engine.portable.plain_ids."},
    {NULL, NULL, 0, NULL},
};
