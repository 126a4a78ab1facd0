/* module.c: pygrad._native, the native proxy: `Value` as a CPython type over the arena of pygrad._core.
 *
 * It behaves as pygrad/engine/portable.py does: read that file first. csrc/README.md says what each file of this folder
 * has in it. `a + b` calls value_add (operators.c), make_binary (make.h), new_proxy and bind (proxy.h), pg_make_binary
 * (engine/node.h); when a program drops the result, value_dealloc (end.c).
 */
#include "engine/process.h"
#include "python/keep.h"
#include "python/modes.h"
#include "python/parts.h"

/* --- Values by id ------------------------------------------------------------------------------------------------- */

/* True if this number, which a program may have made up, is the id of a live node. */
static bool is_node(long id)
{
    return id == (pg_id)id && pg_is_node(pg_the_arena, (pg_id)id);
}

static PyObject *module_value_of(PyObject *Py_UNUSED(module), PyObject *x)
{
    const long id = PyLong_AsLong(x);
    if (PyErr_Occurred())
        return NULL;
    value *v = is_node(id) ? proxy_of((pg_id)id) : NULL;
    return Py_NewRef(v ? (PyObject *)v : Py_None);
}

/* Return the proxies of these nodes in a list. If `are_new`, each gets the flags of its operands' proxies. */
static PyObject *proxies_of(PyObject *ids, bool are_new)
{
    PyObject *given = PySequence_Tuple(ids), *list = given ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; list && i < PyTuple_GET_SIZE(given); i++) {
        const long id = PyLong_AsLong(PyTuple_GET_ITEM(given, i));
        const bool live = !PyErr_Occurred() && is_node(id);
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
    Py_XDECREF(fresh); /* those that must live on are held by their consumers now */
    return found;
}

static PyObject *module_keeps_proxies(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyBool_FromLong(ever_kept);
}

/* --- the arena ---------------------------------------------------------------------------------------------------- */

static PyGILState_STATE outer; /* of the thread that has locked the arena through cffi; the GIL guards it */

static void enter(void)
{
    const PyGILState_STATE state = PyGILState_Ensure();
    outer = state;
}

static void leave(void)
{
    PyGILState_Release(outer);
}

/* Use the arena of pygrad._core; refuse one that is built of other sources, for its structs may differ. */
static bool attach(void)
{
    PyObject *arena = import("pygrad.engine._lib", "native_arena");
    PyObject *address = arena ? PyObject_CallFunction(arena, "ss", pg_version(), pg_source_digest()) : NULL;
    pg_arena *shared = address ? PyLong_AsVoidPtr(address) : NULL;
    Py_XDECREF(arena);
    Py_XDECREF(address);
    if (!shared || PyErr_Occurred())
        return false;
    pg_share_arena(shared, enter, leave, PyGILState_Check);
    return true;
}

/* --- the module --------------------------------------------------------------------------------------------------- */

static PyMethodDef id_functions[] = {
    {"adopt", module_adopt, METH_VARARGS, "See pygrad.engine.adopt."},
    {"keeps_proxies", module_keeps_proxies, METH_NOARGS, "See pygrad.engine.keeps_proxies."},
    {"value_of", module_value_of, METH_O, "Return the proxy of a node id, or None."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pygrad._native",
    .m_doc = "Value as a CPython type (csrc/python/); use it through pygrad.engine.",
    .m_size = -1,
    .m_methods = id_functions,
};

/* Give the module its contents; false with an error. */
static bool fill(PyObject *module)
{
    PyMethodDef *const more[] = {mode_functions, list_functions, layer_functions, trigger_functions, call_functions};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        if (PyModule_AddFunctions(module, more[i]) < 0)
            return false;
    py.value_of = PyObject_GetAttrString(module, "value_of");
    return py.value_of && PyModule_AddObjectRef(module, "Value", (PyObject *)value_type) == 0;
}

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    if (!import_shared() || !attach() || !make_type())
        return NULL;
    PyObject *module = PyModule_Create(&module_def);
    if (module && !fill(module))
        Py_CLEAR(module);
    return module;
}
