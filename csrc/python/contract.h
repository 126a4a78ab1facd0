/* contract.h: the parts of the native proxy that are Python, shared with the portable one; and how failures are raised.
 *
 * `py` has those parts. Each is used where time does not matter: for numbers that are no floats, for arguments by
 * keyword, for messages. */
#ifndef PG_CONTRACT_H
#define PG_CONTRACT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

/* A variable that the files of this binary share, and nobody else: so reading it takes no detour over a table of
 * addresses. */
#if defined(__GNUC__)
#define PG_SHARED extern __attribute__((visibility("hidden")))
#else
#define PG_SHARED extern
#endif

PG_SHARED struct contract {
    PyObject *to_float, *is_number, *operand; /* of pygrad.contract.numbers */
    PyObject *surface, *parse_arguments, *parse_prev, *pair_up, *power_label; /* of pygrad.contract.value_base */
    PyObject *init_of_result, *children_too_late, *prev_is_fixed, *no_closure, *no_hook,
        *derivatives_missing; /* of pygrad.contract.refusals */
    PyObject *closure_key, *op_key; /* keys of a Value's dict */
    PyObject *refuse, *backward_in_pieces, *set_frozen, *is_recording; /* of pygrad.engine */
    PyObject *labels; /* of the ops, a tuple: of pygrad.engine too */
    PyObject *check_forward; /* of pygrad.contract.anomaly */
    PyObject *docs; /* of pygrad.contract.docs: a name of Value's -> its docstring */
    PyObject *value_of; /* of pygrad._native */
    PyObject *originals; /* a copy of Value's own dict */
    PyObject *data, *grad, *_op, *_prev, *_backward, *label, *requires_grad; /* names of attributes */
    PyObject *w, *b, *nonlin, *activation, *add, *mul; /* more of them */
    PyObject *data_of_a_value, *a_gradient; /* for messages */
    PyObject *a_comparison, *by_detach; /* for the trace hook */
} py;

/* Fill `py`, all but what module.c and type.c put there; false with an error. */
bool import_contract(void);

/* One attribute of one module of ours. */
PyObject *import(const char *module_name, const char *name);

/* The docstring of a method or attribute of Value, or of "Value" itself; NULL if `py.docs` has none. Lives for ever. */
const char *doc_of(const char *name);

/* Raise what it meant that C made no node of these operands. `values`: a tuple, which is given away; or NULL, if there
 * was no memory for one. Returns NULL. */
PyObject *refuse(PyObject *values);

/* Raise an exception, one of pygrad.contract.refusals; it is given away. NULL: making it raised another. Returns -1. */
int raise_error(PyObject *error);

/* Room for so many things, for PyMem_Free; or NULL and MemoryError. */
void *allocate(Py_ssize_t count, size_t size);

#endif
