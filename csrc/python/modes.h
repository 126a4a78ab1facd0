/* modes.h: the modes that change what an operation or a read does: detect_anomaly(), no_grad(), a trace hook. */
#ifndef PG_MODES_H
#define PG_MODES_H

#include "python/proxy.h"

PG_SHARED long anomaly_depth; /* how many detect_anomaly() blocks are open */
PG_SHARED long unusual; /* anomaly_depth, plus how many threads are within no_grad(): an operation checks this alone */
PG_SHARED _Thread_local bool grad_is_off; /* true while this thread is within no_grad() */
PG_SHARED PyObject *trace_hook; /* the function to call when a program reads data, or NULL */

/* 1 while this thread records a function for pygrad.compile (then a trace hook is set), else 0; -1: an error. */
int is_traced(void);

/* 1 within no_grad(), except while a function is recorded: then a Value that a program gives operands or a closure
 * stays a leaf. Else 0; -1: an error. */
int drops_operands(void);

/* Call the trace hook, which must be set, before a program reads the data of `v`; false with an error. A hook may read
 * too: those reads do not call it. */
bool tell_hook(value *v, PyObject *what);

/* Return x.data without a call of the trace hook; `x` is a Value of any engine. */
PyObject *read_quietly(PyObject *x);

PG_SHARED PyMethodDef mode_functions[]; /* of the module */

#endif
