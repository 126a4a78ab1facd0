/* modes.h: when a result is no plain one: within detect_anomaly(), within no_grad(), and while a trace hook is set. */
#ifndef PG_MODES_H
#define PG_MODES_H

#include "python/proxy.h"

PG_SHARED long anomaly_depth; /* > 0 within detect_anomaly(), which sets it */
PG_SHARED long unusual; /* that, and how many threads are within no_grad(): all that an operation looks at */
PG_SHARED _Thread_local bool grad_is_off; /* of this thread, within no_grad() */
PG_SHARED PyObject *trace_hook; /* to be called when a program reads data; or NULL */

/* True while this thread records a function for pygrad.compile: then there is a trace hook. -1: an error. */
int is_traced(void);

/* True within no_grad(), but not while a function is recorded: what the user's own code makes has no operands. -1: an
 * error. */
int drops_operands(void);

/* Tell the trace hook, which there is, that a program reads the data of `v`; false with an error. A hook may read
 * too. */
bool tell_hook(value *v, PyObject *what);

/* x.data, of which the trace hook is not told; `x` is a Value of any engine. */
PyObject *read_quietly(PyObject *x);

PG_SHARED PyMethodDef mode_functions[]; /* of the module */

#endif
