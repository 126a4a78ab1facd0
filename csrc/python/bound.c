/* bound.c: a Python function that runs a compiled function once, quickly, for loops (pygrad.tape.bound). */
#include "python/modes.h"
#include "python/parts.h"

/* A call of trigger(): a function of C and its arguments. Nothing else runs the replay, and a run holds the GIL: so the
 * replay is free. */
typedef struct {
    pg_status (*run)(pg_replay *, pg_batch *); /* pg_replay_run_alone() of the other binary */
    pg_replay *replay;
    pg_batch *batch;
} call;

/* The function's `self` is a tuple, so that the garbage collector sees all that the function holds: the call, as bytes;
 * `failed` and `failed_batch`: failed(status, failed_batch) is called if the status is not PG_OK, and raises an error;
 * and the owner of the memory of replay and batch. */
static PyObject *trigger_run(PyObject *self, PyObject *Py_UNUSED(args))
{
    if (!note_in_recording(py.a_bound_run))
        return NULL;
    const call *c = (const call *)(void *)PyBytes_AS_STRING(PyTuple_GET_ITEM(self, 0));
    const pg_status status = c->run(c->replay, c->batch);
    if (status != PG_OK)
        return PyObject_CallFunction(PyTuple_GET_ITEM(self, 1), "iO", (int)status, PyTuple_GET_ITEM(self, 2));
    Py_RETURN_NONE;
}

static PyObject *module_trigger(PyObject *Py_UNUSED(module), PyObject *args)
{
    static PyMethodDef run = {"run", trigger_run, METH_NOARGS, "Run once."};
    unsigned long long function, replay, batch;
    PyObject *failed, *failed_batch, *keep;
    if (!PyArg_ParseTuple(args, "KKK(OO)O", &function, &replay, &batch, &failed, &failed_batch, &keep))
        return NULL;
    const call c = {.run = (pg_status(*)(pg_replay *, pg_batch *))(uintptr_t)function,
                    .replay = (pg_replay *)(uintptr_t)replay,
                    .batch = (pg_batch *)(uintptr_t)batch};
    PyObject *self = Py_BuildValue("y#OOO", (const char *)&c, (Py_ssize_t)sizeof c, failed, failed_batch, keep);
    PyObject *callable = self ? PyCFunction_New(&run, self) : NULL;
    Py_XDECREF(self);
    return callable;
}

PyMethodDef trigger_functions[] = {
    {"trigger", module_trigger, METH_VARARGS,
     "Return a function that calls run(replay, batch), and failed(status, batch) on failure: see pygrad.tape.bound."},
    {NULL, NULL, 0, NULL},
};
