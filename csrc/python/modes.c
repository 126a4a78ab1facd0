/* modes.c: what the modes change (modes.h). finish_rare() (make.c) applies a mode to a result, attributes.c to a read of
 * data. */
#include "python/modes.h"

bool drops_operands(void)
{
    return grad_is_off() && !pg_thread_records(pg_the_arena);
}

/* --- who is told of reads ----------------------------------------------------------------------------------------- */

PyObject *trace_hook;
static _Thread_local int quiet; /* how many reads are running that nobody is told of */

/* Call `hook`, if it is not NULL, and if the functions before it have raised nothing. */
static bool tell(PyObject *hook, value *v, PyObject *what)
{
    PyObject *answer = hook ? PyObject_CallFunctionObjArgs(hook, v, what, NULL) : Py_NewRef(Py_None);
    Py_XDECREF(answer);
    return answer != NULL;
}

bool tell_hook(value *v, PyObject *what)
{
    const bool nobody = quiet > 0 || pg_thread_is_quiet(pg_the_arena);
    if (nobody || !require_node(v))
        return nobody;
    PyObject *hook = Py_XNewRef(trace_hook);
    quiet++;
    const bool told = (!pg_thread_records(pg_the_arena) || tell(py.tell_recording, v, what)) && tell(hook, v, what);
    quiet--;
    Py_XDECREF(hook);
    return told;
}

bool tell_of_right_side(value *v)
{
    if (quiet > 0 || !pg_thread_records(pg_the_arena))
        return true;
    if (!require_node(v))
        return false;
    quiet++;
    const bool told = tell(py.tell_recording, v, py.a_comparison);
    quiet--;
    return told;
}

PyObject *read_quietly(PyObject *x)
{
    quiet++;
    PyObject *data = PyObject_GetAttr(x, py.data);
    quiet--;
    return data;
}

bool check_hash(PyObject *v)
{
    PyObject *none = quiet > 0 ? Py_NewRef(Py_None) : PyObject_CallOneArg(py.check_hash, v);
    Py_XDECREF(none);
    return none != NULL;
}

PyObject *set_of(PyObject *values)
{
    quiet++;
    PyObject *set = PySet_New(values);
    quiet--;
    return set;
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
    {NULL, NULL, 0, NULL},
};
