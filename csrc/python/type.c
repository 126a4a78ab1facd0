/* type.c: the type `Value`: backward(), detach() and small methods; and make_type(), which makes the type of the tables
 * here and in the other files. */
#include "python/end.h"
#include "python/make.h"
#include "python/parts.h"
#include "python/truth.h"

#include <structmember.h>

PyTypeObject *value_type;

/* --- methods ------------------------------------------------------------------------------------------------------ */

/* Read the arguments (seed=1.0), as Python would. */
static bool parse_seed(PyObject *const *args, Py_ssize_t count, PyObject *names, double *seed)
{
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count + named > 1) {
        PyErr_SetString(PyExc_TypeError, "backward() takes at most one argument, seed");
        return false;
    }
    if (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "seed") != 0) {
        PyErr_Format(PyExc_TypeError, "backward() got an unexpected keyword argument %R", PyTuple_GET_ITEM(names, 0));
        return false;
    }
    PyObject *what = PyUnicode_FromString("a seed");
    const bool ok = what && to_double(args[0], what, seed);
    Py_XDECREF(what);
    return ok;
}

static PyObject *value_backward(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    value *v = (value *)self;
    double seed = 1.0;
    if (!require_node(v) || ((count || names) && !parse_seed(args, count, names, &seed)))
        return NULL;
    if (is_called() && !check_backward(self))
        return NULL;
    if (!is_anomaly_detected() && pg_backward(v->id, seed) == PG_OK)
        Py_RETURN_NONE;
    return PyObject_CallFunction(py.backward_in_pieces, "(O)(d)O", self, seed, py.value_of);
}

static PyObject *value_propagate(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (!require_node(v))
        return NULL;
    pg_backprop(v->id);
    Py_RETURN_NONE;
}

static PyObject *value_is_leaf(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    return require_node(v) ? PyBool_FromLong(pg_is_leaf(v->id)) : NULL;
}

static PyObject *value_detach(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (is_watched() && !tell_hook(v, py.by_detach))
        return NULL;
    if (!require_node(v))
        return NULL;
    return copy_kind(v, make_leaf(node_of(v)->data, 0));
}

static Py_hash_t value_hash(PyObject *self)
{
    return is_called() && !check_hash(self) ? -1 : PyBaseObject_Type.tp_hash(self);
}

/* --- what a program may replace, and call from its replacement: methods, for CPython refuses to call a slot then ------ */

/* CPython fills a slot whose method was replaced with a function that looks the method up, and leaves it there when the
 * program puts the old method back. Put our function, which is faster, back too. */
static void restore_slots(void)
{
    if (!py.originals || is_original(py.new)) /* the first time there are none yet */
        value_type->tp_new = value_new;
    if (!py.originals || is_original(py.setattr))
        value_type->tp_setattro = value_setattro;
}

static PyObject *value_new_method(PyObject *Py_UNUSED(nothing), PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    if (value_type->tp_new != value_new)
        restore_slots();
    PyObject *type = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (type && PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, value_type))
        return value_new((PyTypeObject *)type, NULL, NULL);
    PyErr_SetString(PyExc_TypeError, "Value.__new__() needs Value, or a class derived from it");
    return NULL;
}

static PyObject *value_set_attribute(PyObject *self, PyObject *args)
{
    PyObject *name, *x;
    if (value_type->tp_setattro != value_setattro)
        restore_slots();
    if (!PyArg_ParseTuple(args, "UO:__setattr__", &name, &x) || value_setattro(self, name, x) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *value_delete_attribute(PyObject *self, PyObject *name)
{
    if (!PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "attribute name must be string, not '%s'", Py_TYPE(name)->tp_name);
    if (value_setattro(self, name, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef new_method = {"__new__", (PyCFunction)(void (*)(void))value_new_method, METH_VARARGS | METH_KEYWORDS,
                                 "Return a Value without a node, for __init__."};

static PyMethodDef replaceable[] = {
    {"__setattr__", value_set_attribute, METH_VARARGS, "Implement setattr(self, name, value)."},
    {"__delattr__", value_delete_attribute, METH_O, "Implement delattr(self, name)."},
    {NULL, NULL, 0, NULL},
};

/* Put these methods into the class. */
static bool add_replaceable(void)
{
    PyObject *make = PyCFunction_New(&new_method, NULL), *method = make ? PyStaticMethod_New(make) : NULL;
    const bool added =
        method && PyObject_SetAttrString((PyObject *)value_type, "__new__", method) == 0 && add_methods(replaceable);
    Py_XDECREF(make);
    Py_XDECREF(method);
    restore_slots();
    return added;
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static PyMethodDef value_methods[] = {
    {"backward", (PyCFunction)(void (*)(void))value_backward, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"detach", value_detach, METH_NOARGS, NULL},
    {"_propagate", value_propagate, METH_NOARGS, "Pass `grad` on to the operands, once."},
    {"_is_leaf", value_is_leaf, METH_NOARGS, NULL},
    {"_set_leaf", value_set_leaf, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef value_members[] = {
    {"_pg_id", T_INT, offsetof(value, id), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(value, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(value, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot value_slots[] = {
    {Py_tp_doc, NULL}, /* the first: document() fills it */
    {Py_tp_alloc, value_alloc},
    {Py_tp_new, value_new},
    {Py_tp_init, value_init},
    {Py_tp_dealloc, value_dealloc},
    {Py_tp_traverse, value_traverse},
    {Py_tp_clear, value_clear},
    {Py_tp_free, PyObject_GC_Del},
    {Py_tp_setattro, value_setattro},
    {Py_tp_richcompare, value_richcompare},
    {Py_tp_hash, value_hash},
    {Py_tp_members, value_members},
    {Py_tp_getset, value_getset},
    {Py_nb_add, value_add},
    {Py_nb_subtract, value_subtract},
    {Py_nb_multiply, value_multiply},
    {Py_nb_true_divide, value_divide},
    {Py_nb_power, value_power},
    {Py_nb_negative, value_negative},
    {Py_nb_absolute, value_absolute},
    {Py_nb_bool, value_bool},
    {0, NULL},
};

static PyType_Spec value_spec = {
    .name = "pygrad.engine.Value",
    .basicsize = sizeof(value),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = value_slots,
};

/* Write the docstrings of the type and its attributes where the making of the type reads them. */
static void document(void)
{
    value_slots[0].pfunc = (void *)doc_of("Value");
    for (PyGetSetDef *attribute = value_getset; attribute->name; attribute++)
        attribute->doc = doc_of(attribute->name);
}

bool add_method(PyMethodDef *method)
{
    if (!method->ml_doc)
        method->ml_doc = doc_of(method->ml_name);
    PyObject *descriptor = PyDescr_NewMethod(value_type, method);
    const bool added = descriptor && PyObject_SetAttrString((PyObject *)value_type, method->ml_name, descriptor) == 0;
    Py_XDECREF(descriptor);
    return added;
}

bool add_methods(PyMethodDef *methods)
{
    while (methods->ml_name && add_method(methods))
        methods++;
    return !methods->ml_name;
}

bool make_type(void)
{
    document();
    PyObject *bases = PyTuple_Pack(1, py.surface);
    value_type = bases ? (PyTypeObject *)PyType_FromSpecWithBases(&value_spec, bases) : NULL;
    Py_XDECREF(bases);
    if (!value_type || !add_methods(value_methods) || !add_methods(attribute_methods) || !add_op_methods())
        return false;
    if (!add_replaceable())
        return false;
    value_type->tp_vectorcall = value_vectorcall;
    PyObject *argument_parser = import("pygrad.common.value_base", "argument_parser");
    py.parse_arguments = argument_parser ? PyObject_CallOneArg(argument_parser, (PyObject *)value_type) : NULL;
    Py_XDECREF(argument_parser);
    if (!py.parse_arguments)
        return false;
    py.originals = PyDict_Copy(value_type->tp_dict);
    return py.originals != NULL;
}
