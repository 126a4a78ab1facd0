/* attributes.c: a Value's attributes: data, grad, `_op`, `_prev`, `_backward`, and those that a program adds.
 *
 * The node has the numbers, the op and the operands. The proxy's dict has the attributes that a program adds. It also
 * has a label assigned to `_op` and a function assigned to `_backward`, under keys that no attribute can have. An
 * object in the dict *hangs* on the Value; it makes the proxy KEPT (proxy.h).
 */
#include "python/keep.h"
#include "python/make.h"
#include "python/parts.h"
#include "python/truth.h"

static int cannot_delete(const char *name)
{
    PyErr_Format(PyExc_AttributeError, "a Value's %s cannot be deleted", name);
    return -1;
}

/* --- data, grad, requires_grad ------------------------------------------------------------------------------------ */

PG_NOINLINE PyObject *told_data(value *v)
{
    return tell_hook(v, py.data) && require_node(v) ? PyFloat_FromDouble(node_of(v)->data) : NULL;
}

/* Numbers are read and written without the lock: they are whole words, and no invariant depends on them. */
static PyObject *get_data(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    if (is_watched())
        return told_data(v);
    return require_node(v) ? PyFloat_FromDouble(node_of(v)->data) : NULL;
}

static PyObject *value_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "_read() takes one argument");
        return NULL;
    }
    if (is_watched() && count == 1 && args[0] != Py_None && !tell_hook((value *)self, args[0]))
        return NULL;
    return read_quietly(self, py.data);
}

static PyObject *value_read_grad(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    return read_quietly(self, py.grad);
}

static PyObject *get_grad(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    if (is_recorded() && !tell_recording(v, py.grad))
        return NULL;
    return require_node(v) ? PyFloat_FromDouble(*pg_grad_of(pg_the_arena, node_of(v))) : NULL;
}

static int set_data(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    double number;
    if (!x)
        return cannot_delete("data");
    if (!require_node(v) || !to_double(x, py.data_of_a_value, &number))
        return -1;
    if (is_recorded() && !tell_recording(v, py.sets_data))
        return -1;
    node_of(v)->data = number;
    return 0;
}

static int set_grad(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    double number;
    if (!x)
        return cannot_delete("grad");
    if (!require_node(v) || !to_double(x, py.a_gradient, &number))
        return -1;
    if (is_recorded() && !tell_recording(v, py.sets_grad))
        return -1;
    *pg_grad_of(pg_the_arena, node_of(v)) = number;
    return 0;
}

static PyObject *get_requires_grad(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    return require_node(v) ? PyBool_FromLong(pg_requires_grad(v->id)) : NULL;
}

static int set_requires_grad(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    if (!x)
        return cannot_delete("requires_grad");
    PyObject *none = PyObject_CallFunctionObjArgs(py.set_frozen, self, x, NULL);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* --- what hangs on a Value ---------------------------------------------------------------------------------------- */

/* Return the object that hangs on a Value under this key, a new reference; NULL if there is none, or with an error. */
static PyObject *get_hung(const value *v, PyObject *key)
{
    if (!v->dict)
        return NULL;
    PyObject *dict = Py_NewRef(v->dict); /* the lookup may run a program's code, and that may replace the dict */
    PyObject *found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    Py_DECREF(dict);
    return found;
}

/* True for an object that cannot lead back to a Value. */
static bool is_atom(PyObject *x)
{
    return x == Py_None || PyBool_Check(x) || PyFloat_CheckExact(x) || PyLong_CheckExact(x) ||
           PyUnicode_CheckExact(x) || PyBytes_CheckExact(x);
}

static unsigned flags_for(PyObject *x)
{
    return is_atom(x) ? KEPT : KEPT | TRACKED;
}

int hang(value *v, PyObject *key, PyObject *x)
{
    if (keep(v, flags_for(x)) < 0)
        return -1;
    if (!v->dict && !(v->dict = PyDict_New()))
        return -1;
    PyObject *dict = Py_NewRef(v->dict);
    const int status = PyDict_SetItem(dict, key, x);
    Py_DECREF(dict);
    return status;
}

bool is_original(PyObject *name)
{
    PyObject *original = PyDict_GetItemWithError(py.originals, name);
    return original && PyDict_GetItemWithError(value_type->tp_dict, name) == original;
}

/* True if `Value.data` and `Value.grad` are pygrad's own: checked again after each change of the class. */
static bool numbers_are_plain(void)
{
    static unsigned plain_version;
#if PY_VERSION_HEX < 0x030B0000
    if (!PyType_HasFeature(value_type, Py_TPFLAGS_VALID_VERSION_TAG))
        return false;
#endif
    const unsigned version = value_type->tp_version_tag; /* 0: none yet */
    if (version && version != plain_version && is_original(py.data) && is_original(py.grad))
        plain_version = version;
    return version && version == plain_version;
}

int value_setattro(PyObject *self, PyObject *name, PyObject *x)
{
    const bool number = name == py.data || name == py.grad;
    if (number && x && PyFloat_CheckExact(x) && Py_IS_TYPE(self, value_type) && numbers_are_plain()) /* no lookups */
        return name == py.data ? set_data(self, x, NULL) : set_grad(self, x, NULL);
    const bool special = name == py._op || name == py._prev || name == py._backward || name == py.requires_grad;
    const bool ours = (number || special) && is_original(name);
    const bool harmless = PyUnicode_CheckExact(name) && (!x || is_atom(x));
    if (!ours && keep((value *)self, harmless ? KEPT : KEPT | TRACKED) < 0)
        return -1;
    return PyObject_GenericSetAttr(self, name, x);
}

static PyObject *get_dict(PyObject *self, void *closure)
{
    return keep((value *)self, KEPT | TRACKED) < 0 ? NULL : PyObject_GenericGetDict(self, closure);
}

static int set_dict(PyObject *self, PyObject *dict, void *closure)
{
    return keep((value *)self, KEPT | TRACKED) < 0 ? -1 : PyObject_GenericSetDict(self, dict, closure);
}

/* Value has a `__class__` of its own, for object.__setattr__() sets it too, past value_setattro(): an object of another
 * class is one with flags. */
static PyObject *get_class(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)Py_TYPE(self));
}

static int set_class(PyObject *self, PyObject *class, void *Py_UNUSED(closure))
{
    PyObject *dict = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__dict__");
    PyObject *original = dict ? PyMapping_GetItemString(dict, "__class__") : NULL;
    const bool kept = original && keep((value *)self, KEPT | TRACKED) >= 0;
    const int status = kept ? Py_TYPE(original)->tp_descr_set(original, self, class) : -1;
    Py_XDECREF(original);
    Py_XDECREF(dict);
    return status;
}

static PyObject *value_attributes(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    return v->dict ? PyDict_Copy(v->dict) : PyDict_New();
}

/* --- _op, _backward ----------------------------------------------------------------------------------------------- */

static PyObject *get_op(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    PyObject *label = require_node(v) ? get_hung(v, py.op_key) : NULL;
    if (label || PyErr_Occurred())
        return label;
    const int op = pg_op(v->id);
    if (op == PG_POWER)
        return PyObject_CallFunction(py.power_label, "d", pg_exponent(v->id));
    return Py_NewRef(PyTuple_GET_ITEM(py.labels, op));
}

static int set_op(PyObject *self, PyObject *label, void *Py_UNUSED(closure))
{
    return label ? hang((value *)self, py.op_key, label) : cannot_delete("_op");
}

static PyObject *get_backward(PyObject *self, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    PyObject *closure = require_node(v) ? get_hung(v, py.closure_key) : NULL;
    return closure || PyErr_Occurred() ? closure : PyObject_GetAttrString(self, "_propagate");
}

static int set_backward(PyObject *self, PyObject *closure, void *Py_UNUSED(context))
{
    value *v = (value *)self;
    if (!closure)
        return cannot_delete("_backward");
    if (!PyCallable_Check(closure))
        return raise_error(PyObject_CallNoArgs(py.no_closure));
    if (!require_node(v))
        return -1;
    if (pg_is_leaf(v->id) && drops_operands())
        return 0;
    if (keep(v, KEPT | TRACKED) < 0 || hang(v, py.closure_key, closure) < 0)
        return -1;
    pg_set_closure(v->id, 1);
    return 0;
}

/* --- _prev -------------------------------------------------------------------------------------------------------- */

static PyObject *value_operands(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (!require_node(v))
        return NULL;
    const Py_ssize_t count = (Py_ssize_t)pg_operand_count(v->id);
    if (count == 0)
        return PyTuple_New(0);
    if (v->a && PyTuple_CheckExact(v->a) && PyTuple_GET_SIZE(v->a) == count)
        return Py_NewRef(v->a);
    if (keep(v, KEPT) < 0)
        return NULL;
    PyObject *operands = operand_proxies(v);
    if (operands)
        hold(v, Py_NewRef(operands));
    return operands;
}

static PyObject *value_slopes(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    value *v = (value *)self;
    if (!require_node(v))
        return NULL;
    if (node_of(v)->op == PG_CUSTOM)
        Py_RETURN_NONE;
    const Py_ssize_t count = (Py_ssize_t)pg_operand_count(v->id);
    double *numbers = allocate(count, sizeof(double));
    PyObject *slopes = numbers ? PyTuple_New(count) : NULL;
    if (slopes)
        pg_slopes(v->id, numbers);
    for (Py_ssize_t i = 0; slopes && i < count; i++) {
        PyObject *slope = PyFloat_FromDouble(numbers[i]);
        if (slope)
            PyTuple_SET_ITEM(slopes, i, slope);
        else
            Py_CLEAR(slopes);
    }
    PyMem_Free(numbers);
    return slopes;
}

static PyObject *get_prev(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *operands = value_operands(self, NULL);
    PyObject *set = operands ? set_of(operands) : NULL;
    Py_XDECREF(operands);
    return set;
}

/* Put a new node of `v` in the place of its old one, which is given back. */
static void bind_anew(value *v, pg_id id)
{
    pg_arena *arena = pg_lock();
    const pg_id old = v->id;
    unlist(v);
    bind(v, id);
    pg_unref(arena, old);
    pg_unlock(arena);
}

/* Replace the leaf of `v` by a custom node with these operands. */
static int rewire(value *v, PyObject *children)
{
    unsigned flags = 0;
    pg_id *ids = ids_of_children(children, &flags), custom = 0;
    if (!ids || keep(v, KEPT | TRACKED) < 0) {
        PyMem_Free(ids);
        return -1;
    }
    const pg_status status = pg_leaf_to_custom(v->id, (uint32_t)PyTuple_GET_SIZE(children), ids, &custom);
    PyMem_Free(ids);
    if (status == PG_OK) {
        bind_anew(v, custom);
        hold(v, Py_NewRef(children));
        return 0;
    }
    if (status == PG_IN_USE || status == PG_BUSY)
        return raise_error(PyObject_CallNoArgs(py.prev_is_fixed));
    refuse(Py_NewRef(children));
    return -1;
}

/* Replace the node of `v`, a result, by a leaf: let its operands go. */
static int let_go(value *v)
{
    pg_id leaf = 0;
    PyObject *marked = copy_kind(v, Py_NewRef((PyObject *)v)); /* the leaf of a comparison has the truth of its data */
    if (!marked)
        return -1;
    Py_DECREF(marked);
    const pg_status status = pg_result_to_leaf(v->id, &leaf);
    if (status == PG_BUSY)
        return raise_error(PyObject_CallNoArgs(py.busy));
    if (status != PG_OK) {
        refuse(PyTuple_Pack(1, v));
        return -1;
    }
    bind_anew(v, leaf);
    hold(v, NULL);
    PyObject *none = v->dict ? PyObject_CallOneArg(py.forget_op, v->dict) : Py_NewRef(Py_None);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static int set_prev(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    value *v = (value *)self;
    if (!x)
        return cannot_delete("_prev");
    if (!require_node(v))
        return -1;
    PyObject *children = PyObject_CallFunctionObjArgs(py.parse_prev, value_type, self, x, NULL);
    if (!children)
        return -1;
    const bool is_leaf = pg_is_leaf(v->id), none = PyTuple_GET_SIZE(children) == 0;
    const int plain = is_leaf ? none || drops_operands() : 0;
    const int status = plain ? 0 : none ? let_go(v) : rewire(v, children);
    Py_DECREF(children);
    return status;
}

/* --- the tables: type.c adds the docstrings ----------------------------------------------------------------------- */

PyGetSetDef value_getset[] = {
    {"data", get_data, set_data, NULL, NULL},
    {"grad", get_grad, set_grad, NULL, NULL},
    {"_op", get_op, set_op, NULL, NULL},
    {"_prev", get_prev, set_prev, NULL, NULL},
    {"_backward", get_backward, set_backward, NULL, NULL},
    {"requires_grad", get_requires_grad, set_requires_grad, NULL, NULL},
    {"__dict__", get_dict, set_dict, NULL, NULL},
    {"__class__", get_class, set_class, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMethodDef attribute_methods[] = {
    {"_operands_in_order", value_operands, METH_NOARGS,
     "The operands as a tuple: see pygrad.engine.portable.Value._operands_in_order."},
    {"_slopes", value_slopes, METH_NOARGS, "The slopes by the operands: see pygrad.engine.portable.Value._slopes."},
    {"_read", (PyCFunction)(void (*)(void))value_read, METH_FASTCALL, "See pygrad.common.value_base.ValueBase._read."},
    {"_read_grad", value_read_grad, METH_NOARGS, "See pygrad.common.value_base.ValueBase._read_grad."},
    {"_attributes", value_attributes, METH_NOARGS, "Return a copy of the Value's dict."},
    {NULL, NULL, 0, NULL},
};
