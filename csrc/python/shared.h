/* shared.h: the parts of the native proxy that are written in Python, and shared with the portable proxy; how
 * failures are raised.
 *
 * `py` has these parts. They are called where speed does not matter: to convert numbers that are not floats, to parse
 * keyword arguments, to make error messages. */
#ifndef PG_SHARED_H
#define PG_SHARED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

/* Declares a variable that only the files of this binary share: to read it, no table of addresses is needed. */
#if defined(__GNUC__)
#define PG_SHARED extern __attribute__((visibility("hidden")))
#else
#define PG_SHARED extern
#endif

PG_SHARED struct shared {
    PyObject *to_float, *is_number, *operand; /* of pygrad.common.numbers */
    PyObject *operands_of; /* of pygrad.common.arrays */
    PyObject *surface, *parse_arguments, *parse_prev, *forget_op, *pair_up,
        *power_label; /* of pygrad.common.value_base */
    PyObject *init_of_result, *children_too_late, *prev_is_fixed, *busy, *no_closure, *no_hook,
        *derivatives_missing; /* of pygrad.common.refusals */
    PyObject *check_truth, *check_equality; /* of pygrad.common.truth */
    PyObject *closure_key, *op_key, *comparison_key; /* keys of a Value's dict */
    PyObject *refuse, *backward_in_pieces, *set_frozen, *tell_recording, *check_hash, *check_backward,
        *note_in_recording; /* of pygrad.engine */
    PyObject *state_variable, *state_type; /* of pygrad.engine.cells: the states of contexts */
    PyObject *labels; /* of the ops, a tuple: of pygrad.engine too */
    PyObject *check_forward; /* of pygrad.common.anomaly */
    PyObject *docs; /* of pygrad.common.docs: a name of Value's -> its docstring */
    PyObject *value_of; /* of pygrad._native */
    PyObject *originals; /* a copy of Value's own dict */
    PyObject *data, *grad, *_op, *_prev, *_backward, *label, *requires_grad; /* names of attributes */
    PyObject *w, *b, *nonlin, *activation, *add, *mul, *new, *setattr; /* more of them */
    PyObject *data_of_a_value, *a_gradient; /* for messages */
    PyObject *a_comparison, *by_bool, *by_detach; /* for the trace hook */
    PyObject *sets_data, *sets_grad, *a_bound_run; /* for recordings */
} py;

/* Fill `py`, except `value_of` (module.c), `parse_arguments` and `originals` (type.c); false with an error. */
bool import_shared(void);

/* Return an attribute of a module, a new reference; NULL with an error. */
PyObject *import(const char *module_name, const char *name);

/* The docstring of a method or attribute of Value, or of "Value" itself; NULL if `py.docs` has none. Lives for ever. */
const char *doc_of(const char *name);

/* Raise the error of a call into C that has made no node of these operands. `values` is a tuple, and is given away;
 * NULL if making the tuple has raised an error. Returns NULL. */
PyObject *refuse(PyObject *values);

/* Raise `error`, made by a function of pygrad.common.refusals; it is given away. NULL if that function has raised
 * another error. Returns -1. */
int raise_error(PyObject *error);

/* Return memory for `count` items (0 will do) of this size, for PyMem_Free; NULL with MemoryError. */
void *allocate(Py_ssize_t count, size_t size);

#endif
