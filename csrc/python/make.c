/* make.c: numbers in, Values out (make.h): the rare cases. */
#include "python/make.h"

#include "python/keep.h"
#include "python/truth.h"

/* Return a float of a float or int; NULL with an error, or without one if it is neither or an int that is too large:
 * Python code reads these, or says what is wrong. */
static PyObject *float_of(PyObject *x)
{
    PyObject *result = PyFloat_Check(x) || PyLong_Check(x) ? PyNumber_Float(x) : NULL;
    if (!result && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_Clear();
    return result;
}

bool to_double(PyObject *x, PyObject *what, double *number)
{
    if (PyFloat_CheckExact(x)) {
        *number = PyFloat_AS_DOUBLE(x);
        return true;
    }
    PyObject *result = float_of(x);
    if (!result && !PyErr_Occurred())
        result = PyObject_CallFunctionObjArgs(py.to_float, x, what, NULL);
    if (!result)
        return false;
    *number = PyFloat_AsDouble(result);
    Py_DECREF(result);
    return true;
}

int to_operand(PyObject *x, double *number)
{
    if (PyFloat_CheckExact(x)) {
        *number = PyFloat_AS_DOUBLE(x);
        return 1;
    }
    PyObject *result = float_of(x);
    if (!result && !PyErr_Occurred())
        result = PyObject_CallOneArg(py.operand, x);
    if (!result)
        return -1;
    const int found = result != Py_NotImplemented;
    if (found)
        *number = PyFloat_AsDouble(result);
    Py_DECREF(result);
    return found;
}

PyObject *make_leaf(double data, int flags)
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

PyObject *checked(value *out, PyObject *operands)
{
    PyObject *none = operands ? PyObject_CallFunctionObjArgs(py.check_forward, out, operands, NULL) : NULL;
    Py_XDECREF(operands);
    if (!none)
        Py_CLEAR(out);
    Py_XDECREF(none);
    return (PyObject *)out;
}

PyObject *without_graph(PyObject *out)
{
    if (!out || !grad_is_off())
        return out;
    value *v = (value *)out;
    const bool stays = stays_node(v);
    if (stays && pg_op_is_flat(node_of(v)->op))
        return out;
    PyObject *plain = stays ? make_unary(PG_OP_stop_gradient, v) : copy_kind(v, make_leaf(node_of(v)->data, 0));
    Py_DECREF(out);
    return plain;
}

PyObject *finish_rare(value *out, value *a, value *b)
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
    return without_graph(is_anomaly_detected() ? checked(out, operand_proxies(out)) : (PyObject *)out);
}
