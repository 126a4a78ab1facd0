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

/* --- a layer of neurons in one call ------------------------------------------------------------------------------- */

enum { ROW, BIAS, ACTIVATION, PARTS }; /* of a neuron: a list of weights, a bias, and a method's name or None */

typedef struct {
    Py_ssize_t rows, nin;
    PyObject *xs; /* the inputs: a tuple of Values */
    PyObject *parts; /* a tuple with PARTS entries a neuron */
    pg_id *ids;      /* of the inputs, the biases, and the weights row by row; then room for the results */
    unsigned flags;  /* of all of them */
} layer;

static PyObject *part(const layer *l, Py_ssize_t row, int which)
{
    return PyTuple_GET_ITEM(l->parts, row * PARTS + which);
}

static bool take_layer(layer *l)
{
    pg_id *biases = l->ids + l->nin, *ws = biases + l->rows;
    bool plain = read_plain_ids(l->xs, l->nin, l->ids, &l->flags);
    for (Py_ssize_t i = 0; plain && i < l->rows; i++) {
        const value *bias = (value *)part(l, i, BIAS);
        plain = Py_IS_TYPE(bias, value_type) && bias->id &&
                read_plain_ids(part(l, i, ROW), l->nin, ws + i * l->nin, &l->flags);
        biases[i] = plain ? bias->id : 0;
        l->flags |= plain ? bias->flags : 0;
    }
    return plain;
}

static bool are_plain(PyObject *tuple)
{
    Py_ssize_t i = 0;
    while (i < PyTuple_GET_SIZE(tuple) && Py_IS_TYPE(PyTuple_GET_ITEM(tuple, i), value_type))
        i++;
    return i == PyTuple_GET_SIZE(tuple);
}

/* Inputs as Values: a tuple; None if one is neither a plain Value nor a number; NULL with an error. */
static PyObject *inputs_of(PyObject *x)
{
    PyObject *given = PySequence_Tuple(x);
    if (given && are_plain(given))
        return given;
    const Py_ssize_t count = given ? PyTuple_GET_SIZE(given) : 0;
    PyObject *xs = given ? PyTuple_New(count) : NULL;
    for (Py_ssize_t i = 0; xs && xs != Py_None && i < count; i++) {
        PyObject *xi = PyTuple_GET_ITEM(given, i), *number = NULL;
        if (!Py_IS_TYPE(xi, value_type) && !PyFloat_CheckExact(xi) && !(number = PyObject_CallOneArg(py.is_number, xi)))
            Py_CLEAR(xs);
        else if (number == Py_False)
            Py_SETREF(xs, Py_NewRef(Py_None));
        else if ((xi = value_or_number(xi)))
            PyTuple_SET_ITEM(xs, i, xi);
        else
            Py_CLEAR(xs);
        Py_XDECREF(number);
    }
    Py_XDECREF(given);
    return xs;
}

/* Find four attributes in a dict, borrowed: by the identity of the names, a quarter of the time of asking for each. */
static void find_attributes(PyObject *dict, PyObject *const *names, PyObject **found)
{
    Py_ssize_t at = 0;
    PyObject *name, *attribute;
    int missing = 4;
    while (missing > 0 && PyDict_Next(dict, &at, &name, &attribute))
        for (int i = 0; i < 4; i++)
            if (name == names[i]) {
                found[i] = attribute;
                missing--;
                break;
            }
}

/* Put the parts of a neuron into `parts`; false with an error. What its __dict__ lacks the neuron is asked for. */
static bool take_parts(PyObject *neuron, PyObject *parts, Py_ssize_t at)
{
    PyObject *const names[4] = {py.w, py.b, py.nonlin, py.activation};
    PyObject *found[4] = {NULL, NULL, NULL, NULL}, *dict = PyObject_GenericGetDict(neuron, NULL);
    if (!dict)
        return false;
    find_attributes(dict, names, found);
    bool all = true;
    for (int i = 0; i < 4; i++)
        Py_XINCREF(found[i]);
    for (int i = 0; i < 4 && all; i++)
        all = found[i] || (found[i] = PyObject_GetAttr(neuron, names[i]));
    Py_DECREF(dict);
    const int active = !all ? -1 : found[2] == Py_True ? 1 : PyObject_IsTrue(found[2]);
    if (active == 0)
        Py_SETREF(found[3], Py_NewRef(Py_None));
    PyTuple_SET_ITEM(parts, at + ROW, found[0]);
    PyTuple_SET_ITEM(parts, at + BIAS, found[1]);
    PyTuple_SET_ITEM(parts, at + ACTIVATION, found[3]);
    Py_XDECREF(found[2]);
    return active >= 0;
}

/* The parts of all neurons: a tuple; None if one of them is not of that very type; NULL with an error. */
static PyObject *parts_of(PyObject *neurons, PyObject *neuron_type)
{
    const Py_ssize_t rows = PyTuple_GET_SIZE(neurons);
    PyObject *parts = PyTuple_New(rows * PARTS);
    for (Py_ssize_t i = 0; parts && parts != Py_None && i < rows; i++) {
        PyObject *neuron = PyTuple_GET_ITEM(neurons, i);
        if ((PyObject *)Py_TYPE(neuron) != neuron_type)
            Py_SETREF(parts, Py_NewRef(Py_None));
        else if (!take_parts(neuron, parts, i * PARTS))
            Py_CLEAR(parts);
    }
    return parts;
}

/* Give each of `outs`, proxies without nodes, one of the ids, through its activation where that is a row of the
 * table. */
static bool bind_layer(PyObject *outs, const pg_id *ids, const int *ops)
{
    bool all = true;
    pg_arena *arena = pg_lock();
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(outs); i++) {
        const bool through = ops[i] != PG_LEAF && ops[i] != PG_CUSTOM;
        const pg_id id = through ? pg_make_unary(arena, ops[i], ids[i]) : ids[i];
        if (through)
            pg_unref(arena, ids[i]);
        bind((value *)PyList_GET_ITEM(outs, i), id);
        all = all && id;
    }
    pg_unlock(arena);
    return all;
}

/* Put outs[i] through its activation; those that are rows of the table only if `all`. `outs` is given away. */
static PyObject *activate(const layer *l, PyObject *outs, const int *ops, bool all)
{
    for (Py_ssize_t i = 0; outs && i < l->rows; i++) {
        if (ops[i] == PG_LEAF || (ops[i] != PG_CUSTOM && !all))
            continue;
        PyObject *out = PyObject_CallMethodNoArgs(PyList_GET_ITEM(outs, i), part(l, i, ACTIVATION));
        if (!out || PyList_SetItem(outs, i, out) < 0)
            Py_CLEAR(outs);
    }
    return outs;
}

static PyObject *new_proxies(Py_ssize_t count)
{
    PyObject *proxies = PyList_New(count);
    for (Py_ssize_t i = 0; proxies && i < count; i++) {
        PyObject *proxy = (PyObject *)new_proxy();
        if (proxy)
            PyList_SET_ITEM(proxies, i, proxy);
        else
            Py_CLEAR(proxies);
    }
    return proxies;
}

/* All nodes of a plain layer in two calls into the arena, for `outs`, proxies that are given away. */
static PyObject *make_layer(const layer *l, const int *ops, PyObject *outs)
{
    const pg_id *xs = l->ids, *biases = xs + l->nin, *ws = biases + l->rows;
    pg_id *made = l->ids + l->nin + l->rows + l->rows * l->nin;
    if (pg_dots((uint32_t)l->rows, (uint32_t)l->nin, biases, ws, xs, made) != PG_OK || !bind_layer(outs, made, ops)) {
        Py_DECREF(outs);
        return refuse(PyTuple_New(0));
    }
    for (Py_ssize_t i = 0; grad_is_off && i < l->rows; i++) {
        PyObject *plain = without_graph(Py_NewRef(PyList_GET_ITEM(outs, i)));
        if (!plain || PyList_SetItem(outs, i, plain) < 0) {
            Py_DECREF(outs);
            return NULL;
        }
    }
    return outs;
}

/* Take the rows as they are now: a program's code may run before they are used. */
static bool fix_rows(const layer *l)
{
    for (Py_ssize_t i = 0; i < l->rows; i++) {
        PyObject *row = PySequence_Tuple(part(l, i, ROW));
        if (!row)
            return false;
        Py_DECREF(part(l, i, ROW));
        PyTuple_SET_ITEM(l->parts, i * PARTS + ROW, row);
    }
    return true;
}

/* The same, neuron by neuron: for proxies that must hold their operands, and under detect_anomaly(). */
static PyObject *make_neurons(layer *l, const int *ops)
{
    if (!fix_rows(l))
        return NULL;
    if (!take_layer(l))
        return Py_NewRef(Py_None);
    PyObject *outs = PyList_New(0);
    for (Py_ssize_t i = 0; outs && i < l->rows; i++) {
        PyObject *out = make_list(PG_DOT, part(l, i, BIAS), part(l, i, ROW), l->xs);
        if (!out || PyList_Append(outs, out) < 0)
            Py_CLEAR(outs);
        Py_XDECREF(out);
    }
    return activate(l, outs, ops, true);
}

/* True if one of them is a method to be called. */
static bool take_activations(const layer *l, int *ops)
{
    bool calls = false;
    for (Py_ssize_t i = 0; i < l->rows; i++) { /* mostly the same one */
        const bool same = i > 0 && part(l, i, ACTIVATION) == part(l, i - 1, ACTIVATION);
        ops[i] = same ? ops[i - 1] : activation_op(part(l, i, ACTIVATION));
        calls = calls || ops[i] == PG_CUSTOM;
    }
    return calls;
}

/* The outputs of a layer whose parts are known; None if they are not all plain. */
static PyObject *layer_of(layer *l)
{
    int *ops = allocate(l->rows, sizeof(int));
    l->ids = allocate(l->nin + 2 * l->rows + l->rows * l->nin, sizeof(pg_id));
    PyObject *outs = l->ids && ops ? new_proxies(l->rows) : NULL; /* first: it may run a program's code */
    if (outs) {
        const bool calls = take_activations(l, ops);
        if (take_layer(l) && !l->flags && !anomaly_depth) {
            outs = make_layer(l, ops, outs);
            outs = calls ? activate(l, outs, ops, false) : outs;
        } else {
            Py_DECREF(outs);
            outs = make_neurons(l, ops);
        }
    }
    PyMem_Free(l->ids);
    PyMem_Free(ops);
    return outs;
}

static PyObject *module_layer(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"neurons", "xs", "neuron_type"};
    PyObject *given[3] = {NULL, NULL, NULL}, *outs = NULL;
    if (!parse("layer", args, count, names, 3, 3, parameters, given))
        return NULL;
    if (!is_plain_arithmetic())
        Py_RETURN_NONE;
    PyObject *neurons = PySequence_Tuple(given[0]), *parts = neurons ? parts_of(neurons, given[2]) : NULL;
    PyObject *xs = parts ? inputs_of(given[1]) : NULL;
    if (xs && (parts == Py_None || xs == Py_None)) {
        outs = Py_NewRef(Py_None);
    } else if (xs) {
        layer l = {.rows = PyTuple_GET_SIZE(neurons), .nin = PyTuple_GET_SIZE(xs), .xs = xs, .parts = parts};
        outs = layer_of(&l);
    }
    Py_XDECREF(xs);
    Py_XDECREF(parts);
    Py_XDECREF(neurons);
    return outs;
}

/* --- a trigger: one run of a compiled function, for who calls it in a loop ----------------------------------------- */

typedef struct {
    pg_status (*run)(pg_replay *, pg_batch *); /* pg_replay_run_alone() of the other binary */
    pg_replay *replay; /* this trigger's and its siblings' alone: whoever has the GIL finds it free */
    pg_batch *batch;
    PyObject *failed; /* called with a status that is not PG_OK, and `failed_batch`; it raises */
    PyObject *failed_batch;
    PyObject *keep; /* what owns the memory of all this */
} trigger;

static PyObject *trigger_run(PyObject *self, PyObject *Py_UNUSED(args))
{
    const trigger *t = PyCapsule_GetPointer(self, NULL);
    if (!t)
        return NULL;
    const pg_status status = t->run(t->replay, t->batch);
    if (status != PG_OK)
        return PyObject_CallFunction(t->failed, "iO", (int)status, t->failed_batch);
    Py_RETURN_NONE;
}

static void trigger_free(PyObject *capsule)
{
    trigger *t = PyCapsule_GetPointer(capsule, NULL);
    Py_DECREF(t->failed);
    Py_DECREF(t->failed_batch);
    Py_DECREF(t->keep);
    PyMem_Free(t);
}

static PyObject *module_trigger(PyObject *Py_UNUSED(module), PyObject *args)
{
    static PyMethodDef run = {"run", trigger_run, METH_NOARGS, "Run once."};
    unsigned long long function, replay, batch;
    PyObject *failed, *failed_batch, *keep;
    if (!PyArg_ParseTuple(args, "KKK(OO)O", &function, &replay, &batch, &failed, &failed_batch, &keep))
        return NULL;
    trigger *t = PyMem_Malloc(sizeof *t);
    if (!t)
        return PyErr_NoMemory();
    *t = (trigger){.run = (pg_status(*)(pg_replay *, pg_batch *))(uintptr_t)function,
                   .replay = (pg_replay *)(uintptr_t)replay,
                   .batch = (pg_batch *)(uintptr_t)batch,
                   .failed = failed,
                   .failed_batch = failed_batch,
                   .keep = keep};
    PyObject *capsule = PyCapsule_New(t, NULL, trigger_free);
    if (!capsule) {
        PyMem_Free(t);
        return NULL;
    }
    Py_INCREF(failed);
    Py_INCREF(failed_batch);
    Py_INCREF(keep);
    PyObject *callable = PyCFunction_New(&run, capsule);
    Py_DECREF(capsule);
    return callable;
}

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
    {"layer", FAST(module_layer), "See pygrad.engine.portable.layer."},
    {"adopt", module_adopt, METH_VARARGS, "See pygrad.engine.adopt."},
    {"keeps_proxies", module_keeps_proxies, METH_NOARGS, "See pygrad.engine.keeps_proxies."},
    {"trigger", module_trigger, METH_VARARGS,
     "Return a function that calls run(replay, batch), or failed(status, batch) then: see pygrad.tape.bound."},
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
        !(py.value_of = PyObject_GetAttrString(module, "value_of"))) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
