/* call.c: `call_on`: call a function on Values that stand for other numbers too (pygrad/engine/recordings.py). */
#include "python/make.h"
#include "python/modes.h"
#include "python/parts.h"

/* Begin a mode for a call on these Values; NULL with an error. */
static pg_mode *begin_call(PyObject *values)
{
    unsigned flags = 0;
    pg_id *ids = ids_of_children(values, &flags);
    pg_mode *mode = ids ? pg_mode_call(sizeof *mode) : NULL;
    if (mode && pg_mode_arguments(mode, (uint32_t)PyTuple_GET_SIZE(values), ids) != PG_OK) {
        pg_mode_free(mode);
        mode = NULL;
    }
    if (ids && !mode)
        PyErr_NoMemory();
    PyMem_Free(ids);
    return mode;
}

static PyObject *module_call_on(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"function", "arguments", "values"};
    PyObject *given[3] = {NULL, NULL, NULL};
    if (!parse("call_on", args, count, names, 3, 3, parameters, given))
        return NULL;
    PyObject *arguments = PySequence_Tuple(given[1]), *values = arguments ? PySequence_Tuple(given[2]) : NULL;
    pg_mode *mode = values ? begin_call(values) : NULL;
    PyObject *result = mode ? PyObject_Call(given[0], arguments, NULL) : NULL;
    if (mode)
        pg_mode_free(mode);
    Py_XDECREF(values);
    Py_XDECREF(arguments);
    return result;
}

PyMethodDef call_functions[] = {
    {"call_on", FAST(module_call_on), "See pygrad.engine.recordings.call."},
    {NULL, NULL, 0, NULL},
};
