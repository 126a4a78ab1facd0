/* bound.c: a Python function that runs a compiled function once, quickly, for loops (pygrad.tape.bound). */
#include "python/parts.h"

typedef struct {
    pg_status (*run)(pg_replay *, pg_batch *); /* pg_replay_run_alone() of the other binary */
    pg_replay *replay; /* only triggers use it, and a run holds the GIL: so it is free */
    pg_batch *batch;
    PyObject *failed; /* called as failed(status, failed_batch) if the status is not PG_OK; raises an error */
    PyObject *failed_batch;
    PyObject *keep; /* the owner of the memory of replay and batch */
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

PyMethodDef trigger_functions[] = {
    {"trigger", module_trigger, METH_VARARGS,
     "Return a function that calls run(replay, batch), and failed(status, batch) on failure: see pygrad.tape.bound."},
    {NULL, NULL, 0, NULL},
};
