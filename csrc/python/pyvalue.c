/* pyvalue.c: `Value` as a CPython type. */
#include "python/make.h"
#include "python/parts.h"

#include <structmember.h>

PyTypeObject *value_type;

/* --- backward ----------------------------------------------------------------------------------------------------- */

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
    if (!is_alive(v) || ((count || names) && !parse_seed(args, count, names, &seed)))
        return NULL;
    if (!anomaly_depth && pg_backward(v->id, seed) == PG_OK)
        Py_RETURN_NONE;
    return PyObject_CallFunction(py.backward_in_pieces, "(O)(d)O", self, seed, py.value_of);
}

static PyObject *value_propagate(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (!is_alive(v))
        return NULL;
    pg_backprop(v->id);
    Py_RETURN_NONE;
}

static PyObject *value_is_leaf(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    return is_alive(v) ? PyBool_FromLong(pg_is_leaf(v->id)) : NULL;
}

static PyObject *value_detach(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (trace_hook && !tell_hook(v, py.by_detach))
        return NULL;
    return is_alive(v) ? make_leaf(node_of(v)->data, 0) : NULL;
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static Py_hash_t value_hash(PyObject *self)
{
    return PyBaseObject_Type.tp_hash(self);
}

static PyMethodDef value_methods[] = {
    {"backward", (PyCFunction)(void (*)(void))value_backward, METH_FASTCALL | METH_KEYWORDS,
     "backward($self, seed=1.0)\n--\n\n"
     "Set the gradients of all that this Value was computed from; leaves add theirs to what they have.\n\n"
     "seed: the gradient of this Value itself."},
    {"detach", value_detach, METH_NOARGS,
     "detach($self)\n--\n\nReturn a new leaf with the same data: the graph is left behind."},
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

#define VALUE_DOC                                                                                               \
    "Value(data, _children=(), _op='', label='', **dialect)\n--\n\n"                                           \
    "A number that remembers how it was computed.\n\n"                                                          \
    "Value(data, _children=(), _op='', label='') as in micrograd; a tuple or list of numbers as third argument\n" \
    "(or `local_grads=`) gives d self / d child instead, as in microgpt. Raises TypeError for what is no real\n"  \
    "number."

static PyType_Slot value_slots[] = {
    {Py_tp_doc, VALUE_DOC},
    {Py_tp_new, value_new},
    {Py_tp_init, value_init},
    {Py_tp_dealloc, value_dealloc},
    {Py_tp_traverse, value_traverse},
    {Py_tp_clear, value_clear},
    {Py_tp_free, PyObject_GC_Del},
    {Py_tp_setattro, value_setattro},
    {Py_tp_richcompare, value_richcompare},
    {Py_tp_hash, value_hash},
    {Py_tp_methods, value_methods},
    {Py_tp_members, value_members},
    {Py_tp_getset, value_getset},
    {Py_nb_add, value_add},
    {Py_nb_subtract, value_subtract},
    {Py_nb_multiply, value_multiply},
    {Py_nb_true_divide, value_divide},
    {Py_nb_power, value_power},
    {Py_nb_negative, value_negative},
    {Py_nb_absolute, value_absolute},
    {0, NULL},
};

static PyType_Spec value_spec = {
    .name = "pygrad.engine.Value",
    .basicsize = sizeof(value),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = value_slots,
};

/* --- the module --------------------------------------------------------------------------------------------------- */

/* Has there ever been a node of this id? */
static bool is_known(long id)
{
    const pg_arena *arena = pg_the_arena;
    return id < 0 ? -id < (long)arena->leaf_count : id < (long)arena->block_count * PG_BLOCK_SLOTS;
}

static PyObject *module_value_of(PyObject *Py_UNUSED(module), PyObject *x)
{
    const long id = PyLong_AsLong(x);
    if (PyErr_Occurred())
        return NULL;
    value *v = is_known(id) ? proxy_of((pg_id)id) : NULL;
    return Py_NewRef(v ? (PyObject *)v : Py_None);
}

/* Do for the proxy of a node that C has made what finish_rare() does: flags of its operands' are its own. */
static int inherit_flags(value *v)
{
    Py_ssize_t count;
    unsigned flags = 0;
    pg_id *ids = operand_ids(v, &count);
    if (!ids)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        const value *operand = proxy_of(ids[i]);
        flags |= operand ? operand->flags : 0u;
    }
    PyMem_Free(ids);
    if (flags && hold_operands(v) < 0)
        return -1;
    if (flags)
        track(v, flags);
    return 0;
}

/* The proxies of these nodes, in a list. */
static PyObject *proxies_of(PyObject *ids, bool are_new)
{
    PyObject *given = PySequence_Tuple(ids), *list = given ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; list && i < PyTuple_GET_SIZE(given); i++) {
        const long id = PyLong_AsLong(PyTuple_GET_ITEM(given, i));
        const bool live = !PyErr_Occurred() && is_known(id) && pg_is_live(pg_the_arena, (pg_id)id);
        PyObject *v = live ? (PyObject *)adopt((pg_id)id) : NULL;
        if (!live && !PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "there is no node %ld", id);
        if (!v || (are_new && inherit_flags((value *)v) < 0) || PyList_Append(list, v) < 0)
            Py_CLEAR(list);
        Py_XDECREF(v);
    }
    Py_XDECREF(given);
    return list;
}

static PyObject *module_adopt(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *ids, *made, *roots;
    if (!PyArg_ParseTuple(args, "OOO", &ids, &made, &roots))
        return NULL;
    PyObject *fresh = proxies_of(made, true), *found = fresh ? proxies_of(ids, false) : NULL;
    Py_XDECREF(fresh); /* what is needed of these is held by its consumers now */
    return found;
}

static PyObject *module_keeps_proxies(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyBool_FromLong(ever_kept);
}

static PyMethodDef module_methods[] = {
    {"adopt", module_adopt, METH_VARARGS, "See pygrad.engine.adopt."},
    {"keeps_proxies", module_keeps_proxies, METH_NOARGS, "See pygrad.engine.keeps_proxies."},
    {"value_of", module_value_of, METH_O, "Return the proxy of a node id, or None."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pygrad._native",
    .m_doc = "Value as a CPython type (csrc/pyvalue.c); use it through pygrad.engine.",
    .m_size = -1,
    .m_methods = module_methods,
};

static PyGILState_STATE outer; /* of the thread that is inside through cffi; the GIL guards it */

static void enter(void)
{
    const PyGILState_STATE state = PyGILState_Ensure();
    outer = state;
}

static void leave(void)
{
    PyGILState_Release(outer);
}

/* Work on the arena of pygrad._core, if it was built of the same sources: only then the structs are the same. */
static bool attach(void)
{
    PyObject *arena = import("pygrad.engine._lib", "native_arena");
    PyObject *address = arena ? PyObject_CallFunction(arena, "ss", pg_version(), pg_source_digest()) : NULL;
    if (address)
        pg_the_arena = PyLong_AsVoidPtr(address);
    Py_XDECREF(arena);
    Py_XDECREF(address);
    if (!address || PyErr_Occurred())
        return false;
    pg_lock_by_gil(enter, leave, PyGILState_Check);
    return true;
}

bool add_method(PyMethodDef *method)
{
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

static bool make_type(void)
{
    PyObject *bases = PyTuple_Pack(1, py.surface);
    value_type = bases ? (PyTypeObject *)PyType_FromSpecWithBases(&value_spec, bases) : NULL;
    Py_XDECREF(bases);
    if (!value_type || !add_methods(attribute_methods) || !add_op_methods())
        return false;
    value_type->tp_vectorcall = value_vectorcall;
    PyObject *argument_parser = import("pygrad.contract.value_base", "argument_parser");
    py.parse_arguments = argument_parser ? PyObject_CallOneArg(argument_parser, (PyObject *)value_type) : NULL;
    Py_XDECREF(argument_parser);
    if (!py.parse_arguments)
        return false;
    py.originals = PyDict_Copy(value_type->tp_dict);
    return py.originals != NULL;
}

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    if (!import_contract() || !attach() || !make_type())
        return NULL;
    PyObject *module = PyModule_Create(&module_def);
    if (!module || PyModule_AddObjectRef(module, "Value", (PyObject *)value_type) < 0 ||
        PyModule_AddFunctions(module, mode_functions) < 0 || PyModule_AddFunctions(module, list_functions) < 0 ||
        PyModule_AddFunctions(module, layer_functions) < 0 || PyModule_AddFunctions(module, trigger_functions) < 0 ||
        !(py.value_of = PyObject_GetAttrString(module, "value_of"))) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
