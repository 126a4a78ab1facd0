/* parts.h: the functions and tables of operators.c, attributes.c, construct.c, lists.c, layer.c, bound.c and type.c that
 * other files use, mostly type.c, which makes the type of them, and module.c, which makes the module. These files have
 * no headers of their own, and there is no parts.c. */
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
int value_bool(PyObject *self);

/* Give the type a method for each op that has one; false with an error. */
bool add_op_methods(void);

/* True if no program has redefined `+` or `*` of Value. */
bool is_plain_arithmetic(void);

/* Return the op of an activation's name: a row of the table, PG_LEAF for None (no activation), PG_CUSTOM for any other
 * method. */
int activation_op(PyObject *name);

/* --- attributes.c ------------------------------------------------------------------------------------------------- */

int value_setattro(PyObject *self, PyObject *name, PyObject *x);
PG_SHARED PyGetSetDef value_getset[];
PG_SHARED PyMethodDef attribute_methods[];

/* Hang `x` on a Value under this key (attributes.c). 0, or -1 with an error. */
int hang(value *v, PyObject *key, PyObject *x);

/* True if no program has replaced the attribute `name` of the class Value. */
bool is_original(PyObject *name);

/* --- construct.c -------------------------------------------------------------------------------------------------- */

PyObject *value_alloc(PyTypeObject *type, Py_ssize_t items);
PyObject *value_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int value_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *value_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names);
PyObject *value_set_leaf(PyObject *self, PyObject *x);

/* --- lists.c ------------------------------------------------------------------------------------------------------ */

/* Return a Value as it is, or a number as a new leaf; NULL with an error. */
PyObject *value_or_number(PyObject *x);

/* Return the ids of a tuple of Values, for PyMem_Free, and add their flags to `flags`; NULL with MemoryError. */
pg_id *ids_of(PyObject *values, unsigned *flags);

/* The same of a tuple that Python code has made: also NULL with TypeError, if an item is no Value. */
pg_id *ids_of_children(PyObject *children, unsigned *flags);

/* Return a new Value of a list op: PG_DOT or PG_DECLARED of (first, ws, xs); with `ws` NULL, PG_SUM or PG_TAKE of
 * (first, xs). `first` may be NULL for a sum or dot. */
PyObject *make_list(int op, PyObject *first, PyObject *ws, PyObject *xs);

/* Write the arguments of `name(required..., optional=...)`, a FAST function, to out[], borrowed; false: TypeError. */
bool parse(const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names, int required, int all,
           const char *const *parameters, PyObject **out);
#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

PG_SHARED PyMethodDef list_functions[];

/* --- layer.c, bound.c, call.c ------------------------------------------------------------------------------------- */

/* Read the ids of a list or tuple of `expected` plain Values, and add their flags to `flags`; no program's code runs.
 * False, and no flags, if `sequence` is anything else. */
bool read_plain_ids(PyObject *sequence, Py_ssize_t expected, pg_id *ids, unsigned *flags);

PG_SHARED PyMethodDef layer_functions[], trigger_functions[], call_functions[];

/* --- type.c ------------------------------------------------------------------------------------------------------- */

/* Make the type: `value_type`. False with an error. */
bool make_type(void);

/* Give the type a method, or all methods of a table; false with an error. */
bool add_method(PyMethodDef *method);
bool add_methods(PyMethodDef *methods);

#endif
