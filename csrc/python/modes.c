/* modes.c: the state of each mode (modes.h). finish_rare() (make.c) applies a mode to a result, attributes.c to a read
 * of data. */
#include "python/modes.h"

/* --- detect_anomaly() and no_grad() ------------------------------------------------------------------------------- */

long anomaly_depth, unusual;
_Thread_local bool grad_is_off;
static long threads_without_grad; /* how many are within no_grad() */

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

/* The child of a fork has this thread only. */
static PyObject *module_forget_other_threads(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    threads_without_grad = grad_is_off;
    unusual = anomaly_depth + threads_without_grad;
    Py_RETURN_NONE;
}

int is_traced(void)
{
    PyObject *answer = trace_hook ? PyObject_CallNoArgs(py.is_recording) : NULL;
    const int traced = answer ? PyObject_IsTrue(answer) : trace_hook ? -1 : 0;
    Py_XDECREF(answer);
    return traced;
}

int drops_operands(void)
{
    const int traced = grad_is_off ? is_traced() : 1;
    return traced < 0 ? -1 : !traced;
}

/* --- the trace hook ----------------------------------------------------------------------------------------------- */

PyObject *trace_hook;
static _Thread_local int quiet; /* how many reads are running that must not call the trace hook */

bool tell_hook(value *v, PyObject *what)
{
    if (quiet > 0 || !require_node(v))
        return quiet > 0;
    PyObject *hook = Py_NewRef(trace_hook);
    quiet++;
    PyObject *answer = PyObject_CallFunctionObjArgs(hook, v, what, NULL);
    quiet--;
    Py_DECREF(hook);
    Py_XDECREF(answer);
    return answer != NULL;
}

PyObject *read_quietly(PyObject *x)
{
    quiet++;
    PyObject *data = PyObject_GetAttr(x, py.data);
    quiet--;
    return data;
}

static PyObject *module_set_trace_hook(PyObject *Py_UNUSED(module), PyObject *hook)
{
    if (hook != Py_None && !PyCallable_Check(hook)) {
        raise_error(PyObject_CallNoArgs(py.no_hook));
        return NULL;
    }
    PyObject *before = trace_hook ? trace_hook : Py_NewRef(Py_None);
    trace_hook = hook == Py_None ? NULL : Py_NewRef(hook);
    return before;
}

PyMethodDef mode_functions[] = {
    {"set_trace_hook", module_set_trace_hook, METH_O, "See pygrad.engine.set_trace_hook."},
    {"is_grad_enabled", module_is_grad_enabled, METH_NOARGS, "See pygrad.engine.is_grad_enabled."},
    {"set_grad_enabled", module_set_grad_enabled, METH_O, "See pygrad.engine.portable.set_grad_enabled."},
    {"forget_other_threads", module_forget_other_threads, METH_NOARGS, "To be called in the child of a fork."},
    {"set_anomaly_depth", module_set_anomaly_depth, METH_O, "Called by pygrad.common.anomaly."},
    {NULL, NULL, 0, NULL},
};
