/* operators.c: `a + b`, `a.exp()`, `a < b`, `bool(a)`.
 *
 * An operator asks which of its sides are Values (is_value), reads the other side as a number (to_operand), and makes
 * the node of its row of ops.def (make.h). A row without an operator is a method under its own name.
 */
#include "python/make.h"
#include "python/parts.h"
#include "python/truth.h"

/* --- arithmetic --------------------------------------------------------------------------------------------------- */

PG_INLINE PyObject *operator_with(int op, value *a, PyObject *other, bool other_first)
{
    double number;
    const int found = to_operand(other, &number);
    if (found > 0)
        return make_with_number(op, a, number, other_first);
    return found == 0 ? Py_NewRef(Py_NotImplemented) : NULL;
}

/* `left op right`; at least one side is a Value. */
PG_INLINE PyObject *operator(int op, PyObject *left, PyObject *right)
{
    if (!is_value(left))
        return operator_with(op, (value *)right, left, true);
    if (!is_value(right))
        return operator_with(op, (value *)left, right, false);
    return make_binary(op, (value *)left, (value *)right);
}

PyObject *value_subtract(PyObject *left, PyObject *right)
{
    return operator(PG_OP_sub, left, right);
}

PyObject *value_divide(PyObject *left, PyObject *right)
{
    return operator(PG_OP_div, left, right);
}

/* `number + self` and `number * self` call self.__add__(number) and self.__mul__(number) where those are redefined. */
#define COMMUTATIVE(function, op, slot, method)                       \
    PyObject *function(PyObject *left, PyObject *right)               \
    {                                                                 \
        if (is_value(left))                                           \
            return operator(op, left, right);                         \
        if (Py_TYPE(right)->tp_as_number->slot != function)           \
            return PyObject_CallMethodOneArg(right, py.method, left); \
        return operator_with(op, (value *)right, left, false);        \
    }
COMMUTATIVE(value_add, PG_OP_add, nb_add, add)
COMMUTATIVE(value_multiply, PG_OP_mul, nb_multiply, mul)

PyObject *value_power(PyObject *base, PyObject *exponent, PyObject *modulus)
{
    double number;
    if (modulus != Py_None)
        Py_RETURN_NOTIMPLEMENTED;
    if (!is_value(base) || is_value(exponent))
        return operator(PG_OP_pow, base, exponent);
    const int found = to_operand(exponent, &number);
    if (found > 0)
        return make_power((value *)base, number);
    return found == 0 ? Py_NewRef(Py_NotImplemented) : NULL;
}

PyObject *value_negative(PyObject *self)
{
    return make_unary(PG_OP_neg, (value *)self);
}

PyObject *value_absolute(PyObject *self)
{
    return make_unary(PG_OP_abs, (value *)self);
}

bool is_plain_arithmetic(void)
{
    const PyNumberMethods *as_number = value_type->tp_as_number;
    return as_number->nb_add == value_add && as_number->nb_multiply == value_multiply;
}

/* --- methods ------------------------------------------------------------------------------------------------------ */

/* A method for each row of the op table; add_op_methods() adds those of rows without an operator. */
static PyObject *binary_method(int op, PyObject *self, PyObject *other)
{
    double number;
    if (is_value(other))
        return make_binary(op, (value *)self, (value *)other);
    return to_double(other, py.data_of_a_value, &number) ? make_with_number(op, (value *)self, number, false) : NULL;
}

#define PG_UNARY(name, label, forward, da)                                       \
    static PyObject *method_##name(PyObject *self, PyObject *Py_UNUSED(nothing)) \
    {                                                                            \
        return make_unary(PG_OP_##name, (value *)self);                          \
    }
#define PG_BINARY(name, label, forward, da, db)                     \
    static PyObject *method_##name(PyObject *self, PyObject *other) \
    {                                                               \
        return binary_method(PG_OP_##name, self, other);            \
    }
#define PG_FLAT(name, label, arity, forward)                                                                      \
    static PyObject *method_##name(PyObject *self, PyObject *other)                                               \
    {                                                                                                             \
        return (arity) == 1 ? make_unary(PG_OP_##name, (value *)self) : binary_method(PG_OP_##name, self, other); \
    }
#include "ops.def"

#define PG_UNARY(name, label, forward, da) [PG_OP_##name] = {#name, method_##name, METH_NOARGS, NULL},
#define PG_BINARY(name, label, forward, da, db) [PG_OP_##name] = {#name, method_##name, METH_O, NULL},
#define PG_FLAT(name, label, arity, forward) \
    [PG_OP_##name] = {#name, method_##name, (arity) == 1 ? METH_NOARGS : METH_O, NULL},
static PyMethodDef op_methods[PG_OP_COUNT] = {
#include "ops.def"
};

/* The method self.name(other=number) of a binary row. Its parameter has PyTorch's name and default. */
static PyObject *with_default(int op, PyObject *self, PyObject *args, PyObject *kwargs, const char *format, char *name,
                              double number)
{
    char *names[] = {name, NULL};
    PyObject *other = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &other))
        return NULL;
    return other ? binary_method(op, self, other) : make_with_number(op, (value *)self, number, false);
}

static PyObject *value_leaky_relu(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_default(PG_OP_leaky_relu, self, args, kwargs, "|O:leaky_relu", "negative_slope", 0.01);
}

static PyObject *value_elu(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_default(PG_OP_elu, self, args, kwargs, "|O:elu", "alpha", 1.0);
}

static PyMethodDef methods_with_default[] = {
    {"leaky_relu", (PyCFunction)(void (*)(void))value_leaky_relu, METH_VARARGS | METH_KEYWORDS, NULL},
    {"elu", (PyCFunction)(void (*)(void))value_elu, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

/* True if a row is a method under its own name, since no operator makes its node: `<` and the like compare data. */
static bool is_method(int op)
{
    const char first = pg_op_label(op)[0];
    const bool is_letter = (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
    const bool is_special = op == PG_OP_neg || op == PG_OP_leaky_relu || op == PG_OP_elu;
    return op_methods[op].ml_name && (is_letter || pg_op_is_flat(op)) && !is_special;
}

bool add_op_methods(void)
{
    for (int op = 0; op < PG_OP_COUNT; op++)
        if (is_method(op) && !add_method(&op_methods[op]))
            return false;
    return add_methods(methods_with_default);
}

int activation_op(PyObject *name)
{
    if (name == Py_None)
        return PG_LEAF;
    for (int op = 0; PyUnicode_Check(name) && op < PG_OP_COUNT; op++)
        if (op_methods[op].ml_flags == METH_NOARGS &&
            PyUnicode_CompareWithASCIIString(name, op_methods[op].ml_name) == 0)
            return is_original(name) ? op : PG_CUSTOM;
    return PG_CUSTOM;
}

/* --- truth and comparison: what is answered, and what is refused, pygrad/common/truth.py says -------------------------- */

/* False if a function of Python, which returns `none`, has raised an error. */
static bool ask(PyObject *none)
{
    Py_XDECREF(none);
    return none != NULL;
}

/* The truth of a number; -1 with an error. It is given away, and may be NULL. */
static int truth_of(PyObject *data)
{
    const int found = data ? PyObject_IsTrue(data) : -1;
    Py_XDECREF(data);
    return found;
}

int value_bool(PyObject *self)
{
    value *v = (value *)self;
    if (!is_comparison(v))
        return !is_called() || ask(PyObject_CallOneArg(py.check_truth, self)) ? 1 : -1;
    return is_watched() && !tell_hook(v, py.by_bool) ? -1 : truth_of(read_quietly(self, py.data));
}

/* `==` and `!=` ask for the same object, as those of any Python object do. (object's own `!=` would call this `==`.) */
static PyObject *compare_identity(PyObject *self, PyObject *other, int op)
{
    PyObject *warns = op == Py_EQ ? Py_True : Py_False;
    const bool harmless = other == Py_None || (is_value(other) && !is_called());
    if (!harmless && !ask(PyObject_CallFunctionObjArgs(py.check_equality, self, other, py.surface, warns, NULL)))
        return NULL;
    return self == other ? PyBool_FromLong(op == Py_EQ) : Py_NewRef(Py_NotImplemented);
}

/* As to_operand(), but of a Value, of any engine, read the data. */
static int to_comparable(PyObject *x, double *number)
{
    const int has_data = is_value(x) ? 1 : PyFloat_CheckExact(x) ? 0 : PyObject_IsInstance(x, py.surface);
    if (has_data <= 0)
        return has_data < 0 ? -1 : to_operand(x, number);
    PyObject *data = is_watched() ? read_quietly(x, py.data) : PyObject_GetAttr(x, py.data);
    if (!data)
        return -1;
    *number = PyFloat_AsDouble(data);
    Py_DECREF(data);
    return PyErr_Occurred() ? -1 : 1;
}

/* Call the functions that watch reads, before both sides of a comparison are read; false with an error. */
static bool tell_of_comparison(PyObject *self, PyObject *other)
{
    return tell_hook((value *)self, py.a_comparison) &&
           (!is_value(other) || tell_recording((value *)other, py.a_comparison));
}

PyObject *value_richcompare(PyObject *self, PyObject *other, int op)
{
    double a, b;
    if (op == Py_EQ || op == Py_NE)
        return compare_identity(self, other, op);
    const int found = to_comparable(other, &b);
    if (found == 0)
        Py_RETURN_NOTIMPLEMENTED;
    if (found < 0 || (is_watched() && !tell_of_comparison(self, other)) || to_comparable(self, &a) < 0)
        return NULL;
    return PyBool_FromLong(op == Py_LT ? a < b : op == Py_LE ? a <= b : op == Py_GT ? a > b : a >= b);
}
