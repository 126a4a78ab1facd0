/* modes.h: the modes that change what an operation or a read does: detect_anomaly(), no_grad(), recordings, a trace
 * hook. engine/modes.h says how a mode begins and ends. */
#ifndef PG_MODES_H
#define PG_MODES_H

#include "engine/modes.h"
#include "python/proxy.h"

PG_SHARED PyObject *trace_hook; /* the function to call when a program reads data, or NULL */

/* Is any thread within no_grad(), or detect_anomaly()? An operation asks this alone. */
static inline bool is_unusual(void)
{
    return pg_the_arena->open.unusual != 0;
}

/* Is any thread within detect_anomaly()? */
static inline bool is_anomaly_detected(void)
{
    return pg_the_arena->open.of[PG_MODE_ANOMALY] != 0;
}

/* Does any thread record a function? */
static inline bool is_recorded(void)
{
    return pg_the_arena->open.of[PG_MODE_RECORDING] != 0;
}

/* Does a read of data call a function of Python: the trace hook, or, while a thread records, that of recordings? */
static inline bool is_watched(void)
{
    return trace_hook || is_recorded();
}

/* Does any thread run a function on arguments that stand for other numbers too? (pygrad/engine/recordings.py) */
static inline bool is_called(void)
{
    return pg_the_arena->open.calls != 0;
}

/* Must a Value that takes the place of `v`, within no_grad() or detached, stay a node? A leaf would not stand for other
 * numbers, though `v` may. */
static inline bool stays_node(const value *v)
{
    return is_called() && pg_may_be_variable(v->id);
}

/* Is this thread, in the task that it runs now, within no_grad()? */
bool grad_is_off(void);

/* True within no_grad(), except while a function is recorded: then a Value that a program gives operands or a closure
 * stays a leaf. */
bool drops_operands(void);

/* Call the functions that watch reads, before a program reads the data of `v`; false with an error. They may read too:
 * those reads do not call them. */
bool tell_hook(value *v, PyObject *what);
/* The same of what only a recording is told of, as a read of a gradient: ask is_recorded() first. */
bool tell_recording(value *v, PyObject *what);
/* Warn of what a recording does once only, or a transform without derivatives: backward(). False with an error. */
bool check_backward(PyObject *v);
/* Tell this thread's recording, if any thread records, of something that only the recording itself does. */
bool note_in_recording(PyObject *what);

/* Warn if a Value is hashed that stands for other numbers too; false with an error. */
bool check_hash(PyObject *v);
/* Return a new set, and warn of no hash in it; NULL with an error. */
PyObject *set_of(PyObject *values);

/* Return x.data or x.grad, and tell nobody; `x` is a Value of any engine. */
PyObject *read_quietly(PyObject *x, PyObject *name);

PG_SHARED PyMethodDef mode_functions[]; /* of the module */

#endif
