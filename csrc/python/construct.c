/* construct.c: `Value(2.0)`, and `Value(data, children, ...)` as in micrograd or as in microgpt.
 *
 * A proxy has no node until __init__ has run. If the only argument is a number, value_vectorcall() makes proxy and leaf
 * at once. Python parses all other arguments (py.parse_arguments): a Value with children gets a custom node, one
 * without children a leaf.
 */
#include "python/keep.h"
#include "python/make.h"
#include "python/parts.h"

/* A proxy of any class: tracked. While Value.__new__ is replaced, object.__new__(Value) comes here, too. */
PyObject *value_alloc(PyTypeObject *type, Py_ssize_t items)
{
    PyObject *self = PyType_GenericAlloc(type, items); /* zeroed, and tracked */
    if (self)
        ((value *)self)->flags = KEPT | TRACKED;
    return self;
}

PyObject *value_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (type == value_type)
        return (PyObject *)new_proxy();
    return value_alloc(type, 0);
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
    if (!pg_is_leaf(v->id))
        return raise_error(PyObject_CallOneArg(py.init_of_result, (PyObject *)v));
    node_of(v)->data = data;
    *pg_grad_of(pg_the_arena, node_of(v)) = 0.0;
    return 0;
}

PyObject *value_set_leaf(PyObject *self, PyObject *x)
{
    double data;
    if (!to_double(x, py.data_of_a_value, &data) || set_leaf((value *)self, data) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Return a tuple of floats as an array of doubles, for PyMem_Free; NULL with MemoryError. */
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

/* Give `v` a custom node: `children` is a tuple of Values, `local_grads` a tuple of as many floats, or None. */
static int set_custom(value *v, double data, PyObject *children, PyObject *local_grads)
{
    if (v->id)
        return raise_error(PyObject_CallNoArgs(py.children_too_late));
    unsigned flags = 0;
    const bool local = local_grads != Py_None;
    pg_id *ids = ids_of_children(children, &flags);
    double *numbers = ids && local ? doubles_of(local_grads) : NULL;
    if (ids && (numbers || !local)) {
        const pg_id id = pg_custom(data, (uint32_t)PyTuple_GET_SIZE(children), ids, numbers, NULL);
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
    if (!is_anomaly_detected())
        return 0;
    return checked((value *)Py_NewRef((PyObject *)v), Py_NewRef(children)) ? (Py_DECREF(v), 0) : -1;
}

int value_init(PyObject *self, PyObject *args, PyObject *kwargs)
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
    const bool plain = PyTuple_GET_SIZE(children) > 0 && drops_operands();
    const bool leaf = PyTuple_GET_SIZE(children) == 0 || plain;
    int status = leaf ? set_leaf(v, data) : set_custom(v, data, children, local_grads);
    const int has_op = status != 0 ? -1 : plain ? 0 : PyObject_IsTrue(op);
    if (has_op > 0)
        status = hang(v, py.op_key, op);
    const int has_label = has_op >= 0 && status == 0 ? PyObject_IsTrue(label) : -1;
    if (has_label > 0)
        status = PyObject_SetAttr(self, py.label, label);
    Py_DECREF(parsed);
    return has_label < 0 ? -1 : status;
}

/* `Value(number)` without a call of __new__ and __init__, unless a program has replaced one of them. */
PyObject *value_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
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
