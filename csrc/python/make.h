/* make.h: numbers in, Values out.
 *
 * An operation first makes the proxy; this may fail, and runs no program's code. Then, under the lock, it makes the
 * node and binds the proxy to it. So every node has a proxy that gives it back. The functions are inline: where the op
 * is a constant, the compiler leaves the code of that op alone. Rare cases are in make.c.
 */
#ifndef PG_MAKE_H
#define PG_MAKE_H

#include "python/modes.h"
#include "python/proxy.h"

/* Write float(x) to `number` if x is a real number; else return false with a TypeError that names `what`. */
bool to_double(PyObject *x, PyObject *what, double *number);

/* Read the other operand of an operator. 1: a number; 0: the operator must return NotImplemented; -1: an error. */
int to_operand(PyObject *x, double *number);

/* Return a new leaf; `flags` are its node's. */
PyObject *make_leaf(double data, int flags);

/* Call Python's check_forward(out, operands), for detect_anomaly(); return `out`, or NULL with an error. `out` and
 * `operands`, a tuple or NULL with an error, are given away. */
PyObject *checked(value *out, PyObject *operands);

/* Return `out`; but within no_grad() its replacement: a leaf or, while a function is recorded, a node that passes no
 * gradient on (a leaf would keep the number of this one run). `out` is given away. */
PyObject *without_graph(PyObject *out);

/* Finish a new Value of one or two operands in the rare cases: operands with flags, a failure, detect_anomaly(),
 * no_grad(). */
PyObject *finish_rare(value *out, value *a, value *b);

PG_INLINE PyObject *finish(value *out, value *a, value *b)
{
    if (!out->id || a->flags || (b && b->flags) || is_unusual())
        return finish_rare(out, a, b);
    return (PyObject *)out;
}

PG_INLINE PyObject *make_unary(int op, value *a)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_unary(arena, op, a->id));
    pg_unlock(arena);
    return finish(out, a, NULL);
}

PG_INLINE PyObject *make_binary(int op, value *a, value *b)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_binary(arena, op, a->id, b->id));
    pg_unlock(arena);
    return finish(out, a, b);
}

/* a op number / number op a. */
PG_INLINE PyObject *make_with_number(int op, value *a, double number, bool number_first)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_with_number(arena, op, a->id, number, number_first));
    pg_unlock(arena);
    return finish(out, a, NULL);
}

/* a ** exponent. */
PG_INLINE PyObject *make_power(value *a, double exponent)
{
    value *out = new_proxy();
    if (!out)
        return NULL;
    pg_arena *arena = pg_lock();
    bind(out, pg_make_power(arena, a->id, exponent));
    pg_unlock(arena);
    return finish(out, a, NULL);
}

#endif
