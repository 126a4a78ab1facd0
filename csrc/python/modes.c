/* modes.c: what the modes change (modes.h). finish_rare() (make.c) applies a mode to a result, attributes.c to a read of
 * data. */
#include "python/modes.h"

/* The newest scope of the context that runs now: cells.STATE has a cells.State of it, an int; NULL: there is none. */
static const pg_mode *scope_of_context(void)
{
    PyObject *state = NULL;
    if (PyContextVar_Get(py.state_variable, NULL, &state) < 0)
        PyErr_Clear();
    const bool found = state && (PyObject *)Py_TYPE(state) == py.state_type;
    const pg_mode *scope = found ? PyLong_AsVoidPtr(state) : NULL;
    Py_XDECREF(state); /* the context holds it, and so the scope */
    return scope;
}

bool grad_is_off(void)
{
    return pg_the_arena->open.of[PG_MODE_NO_GRAD] != 0 && pg_scope_has_no_grad(scope_of_context());
}

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
    const bool told = (!is_recorded() || tell(py.tell_recording, v, what)) && tell(hook, v, what);
    quiet--;
    Py_XDECREF(hook);
    return told;
}

bool tell_recording(value *v, PyObject *what)
{
    if (!is_recorded() || quiet > 0 || pg_thread_is_quiet(pg_the_arena))
        return true;
    if (!require_node(v))
        return false;
    quiet++;
    const bool told = tell(py.tell_recording, v, what);
    quiet--;
    return told;
}

/* Call a function of one argument that returns None; false with an error. */
static bool call_on(PyObject *function, PyObject *x)
{
    PyObject *none = PyObject_CallOneArg(function, x);
    Py_XDECREF(none);
    return none != NULL;
}

bool check_backward(PyObject *v)
{
    return call_on(py.check_backward, v);
}

bool note_in_recording(PyObject *what)
{
    return !is_recorded() || call_on(py.note_in_recording, what);
}

PyObject *read_quietly(PyObject *x, PyObject *name)
{
    quiet++;
    PyObject *number = PyObject_GetAttr(x, name);
    quiet--;
    return number;
}

bool check_hash(PyObject *v)
{
    return quiet > 0 || call_on(py.check_hash, v);
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
