/* end.h: how a proxy ends: what CPython calls when no one refers to a Value any more, and the cycle collector's view. */
#ifndef PG_END_H
#define PG_END_H

#include "python/proxy.h"

int value_traverse(PyObject *self, visitproc visit, void *arg);
int value_clear(PyObject *self);
void value_dealloc(PyObject *self);

#endif
