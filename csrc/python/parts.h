/* parts.h: what the files of this folder give to one another, beyond what has a header of its own: mostly functions for
 * the tables that type.c and module.c put together. */
#ifndef PG_PARTS_H
#define PG_PARTS_H

#include "python/proxy.h"

/* --- operators.c -------------------------------------------------------------------------------------------------- */

PyObject *value_add(PyObject *left, PyObject *right);
PyObject *value_subtract(PyObject *left, PyObject *right);
PyObject *value_multiply(PyObject *left, PyObject *right);
PyObject *value_divide(PyObject *left, PyObject *right);
PyObject *value_power(PyObject *base, PyObject *exponent, PyObject *modulus);
PyObject *value_negative(PyObject *self);
PyObject *value_absolute(PyObject *self);
PyObject *value_richcompare(PyObject *self, PyObject *other, int op);

/* Give the type a method for each op that has one; false with an error. */
bool add_op_methods(void);

/* True if `+` and `*` of Value are what they were when pygrad was loaded. */
bool is_plain_arithmetic(void);

/* The op of an activation's name: a row of the table, PG_LEAF for None (no activation), PG_CUSTOM for any other
 * method. */
int activation_op(PyObject *name);

/* --- attributes.c ------------------------------------------------------------------------------------------------- */

int value_setattro(PyObject *self, PyObject *name, PyObject *x);
PG_SHARED PyGetSetDef value_getset[];
PG_SHARED PyMethodDef attribute_methods[];

/* Hang `x` on a Value under this key. */
int hang(value *v, PyObject *key, PyObject *x);

/* True if `Value.name` is what it was when pygrad was loaded. */
bool is_original(PyObject *name);

/* --- construct.c -------------------------------------------------------------------------------------------------- */

PyObject *value_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int value_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *value_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names);
PyObject *value_set_leaf(PyObject *self, PyObject *x);

/* --- lists.c ------------------------------------------------------------------------------------------------------ */

/* A Value as it is, or a number as a leaf. */
PyObject *value_or_number(PyObject *x);

/* The ids of a tuple of Values, for PyMem_Free; their flags are added to `flags`. */
pg_id *ids_of(PyObject *values, unsigned *flags);

/* The Value of pg_dot(first, ws, xs) or pg_declared; or, where there is no `ws`, of pg_sum(first, xs) or pg_choose.
 * `first` may be NULL. */
PyObject *make_list(int op, PyObject *first, PyObject *ws, PyObject *xs);

/* The arguments of `name(required..., optional=...)`, a FAST function: out[] gets them, borrowed. */
bool parse(const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names, int required, int all,
           const char *const *parameters, PyObject **out);
#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

PG_SHARED PyMethodDef list_functions[];

/* --- layer.c, trigger.c ------------------------------------------------------------------------------------------- */

/* Read the ids of a list or tuple of so many plain Values, which runs no program's code, and add their flags. False,
 * and no flags, if it is not that. */
bool read_plain_ids(PyObject *sequence, Py_ssize_t expected, pg_id *ids, unsigned *flags);

PG_SHARED PyMethodDef layer_functions[], trigger_functions[];

/* --- type.c ------------------------------------------------------------------------------------------------------- */

/* Make the type: `value_type`. False with an error. */
bool make_type(void);

/* Give the type a method, or all methods of a table; false with an error. */
bool add_method(PyMethodDef *method);
bool add_methods(PyMethodDef *methods);

#endif
