/* make.h: numbers in, Values out.
 *
 * An operation makes the proxy first, which may fail and runs no code of a program's; then, under the lock, the node,
 * and binds it to the proxy: so every node has somebody who gives it back. All this is inline: where the op is a
 * constant, only its own code is left. What is rare is in make.c.
 */
#ifndef PG_MAKE_H
#define PG_MAKE_H

#include "python/modes.h"
#include "python/proxy.h"

/* float(x) for a real number, or the TypeError that names `what`. */
bool to_double(PyObject *x, PyObject *what, double *number);

/* The other operand of an operator. 1: a number; 0: NotImplemented; -1: an error was raised. */
int to_operand(PyObject *x, double *number);

/* A leaf; `flags` are those of its node. */
PyObject *make_leaf(double data, int flags);

/* `out`, or what check_forward() of Python raises about it within detect_anomaly(). `out` and `operands`, a tuple or
 * NULL with an error, are given away. */
PyObject *checked(value *out, PyObject *operands);

/* What a result, which is given away, is within no_grad(): a leaf; while a function is recorded, which must not keep
 * the number of this one run, a node that passes no gradient on. Else `out` itself. */
PyObject *without_graph(PyObject *out);

/* What is rarely asked of a new Value of one or two operands: flags of its operands', a failure, detect_anomaly(),
 * no_grad(). */
PyObject *finish_rare(value *out, value *a, value *b);

PG_INLINE PyObject *finish(value *out, value *a, value *b)
{
    if (!out->id || a->flags || (b && b->flags) || unusual)
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
