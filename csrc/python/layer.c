/* layer.c: a layer of neurons in one call. pygrad.engine.portable.layer says for which layers this is right.
 *
 * The steps: parts_of() looks up the neurons' parts; inputs_of() makes the inputs Values; take_layer() writes all ids
 * into one array; pg_dots() makes the nodes, or pg_neurons() if the layer is not fused; bind_layer() makes the nodes of
 * the activations, and binds the results to their proxies. Where proxies must hold their operands, and within
 * detect_anomaly(), make_neurons() makes one fused neuron after the other. The result is None if a step before the nodes
 * meets an object that is not plain; and where operators must make neurons that are not fused.
 */
#include "python/make.h"
#include "python/parts.h"

enum { ROW, BIAS, ACTIVATION, PARTS }; /* of a neuron: a list of weights, a bias, and a method's name or None */

typedef struct {
    Py_ssize_t rows, nin;
    PyObject *xs; /* the inputs: a tuple of Values */
    PyObject *parts; /* a tuple with PARTS entries a neuron */
    pg_id *ids;      /* of the inputs, the biases, and the weights neuron by neuron; then room for the results */
    unsigned flags;  /* of all of them */
    bool fused;
    char *numbers; /* of inputs that are not fused: numbers[i] if input i is a number. NULL: none is */
} layer;

static PyObject *part(const layer *l, Py_ssize_t row, int which)
{
    return PyTuple_GET_ITEM(l->parts, row * PARTS + which);
}

bool read_plain_ids(PyObject *sequence, Py_ssize_t expected, pg_id *ids, unsigned *flags)
{
    if (!PyList_CheckExact(sequence) && !PyTuple_CheckExact(sequence))
        return false;
    if (PySequence_Fast_GET_SIZE(sequence) != expected)
        return false;
    PyObject *const *items = PySequence_Fast_ITEMS(sequence);
    unsigned found = *flags;
    for (Py_ssize_t i = 0; i < expected; i++) {
        const value *v = (value *)items[i];
        if (!Py_IS_TYPE(v, value_type) || !v->id)
            return false;
        ids[i] = v->id;
        found |= v->flags;
    }
    *flags = found;
    return true;
}

/* Read all ids and flags; no program's code runs. False if an object is not a plain Value, or a neuron has not `nin`
 * weights. */
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

/* Note which of the inputs are numbers, if each neuron is to have a leaf of its own for them; false: MemoryError. */
static bool note_numbers(layer *l, PyObject *given)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(given);
    l->numbers = l->fused ? NULL : allocate(count, 1);
    for (Py_ssize_t i = 0; l->numbers && i < count; i++)
        l->numbers[i] = !Py_IS_TYPE(PyTuple_GET_ITEM(given, i), value_type);
    return l->fused || l->numbers;
}

/* Return the inputs as a tuple of Values; None if one is neither a plain Value nor a number; NULL with an error. */
static PyObject *inputs_of(layer *l, PyObject *x)
{
    PyObject *given = PySequence_Tuple(x);
    if (given && are_plain(given))
        return given;
    const Py_ssize_t count = given ? PyTuple_GET_SIZE(given) : 0;
    PyObject *xs = given && note_numbers(l, given) ? PyTuple_New(count) : NULL;
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

/* Find four attributes in a dict, borrowed. Names are compared by identity: a quarter of the time of four lookups. */
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

/* Put the parts of a neuron into `parts`; false with an error. A part that is not in its __dict__ is got by getattr. */
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

/* Return the parts of all neurons, a tuple; None if the type of one is not just neuron_type; NULL with an error. */
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

/* Bind each of `outs`, proxies without nodes, to the node of its id; to that of its activation, where the activation is
 * a row of the op table. False if memory is short. */
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

/* Call the activation of each of `outs`, one that is a row of the op table only if `all`. `outs` is given away. */
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

/* Make all nodes of a plain layer, for `outs`, proxies that are given away. Returns them. */
static PyObject *make_layer(const layer *l, const int *ops, PyObject *outs)
{
    const pg_id *xs = l->ids, *biases = xs + l->nin, *ws = biases + l->rows;
    pg_id *made = l->ids + l->nin + l->rows + l->rows * l->nin;
    const uint32_t rows = (uint32_t)l->rows, nin = (uint32_t)l->nin;
    const pg_status status = l->fused ? pg_dots(rows, nin, biases, ws, xs, made, NULL)
                                      : pg_neurons(rows, nin, biases, ws, xs, l->numbers, made, NULL);
    if (status != PG_OK || !bind_layer(outs, made, ops)) {
        Py_DECREF(outs);
        return refuse(PyTuple_New(0));
    }
    for (Py_ssize_t i = 0; grad_is_off() && i < l->rows; i++) {
        PyObject *plain = without_graph(Py_NewRef(PyList_GET_ITEM(outs, i)));
        if (!plain || PyList_SetItem(outs, i, plain) < 0) {
            Py_DECREF(outs);
            return NULL;
        }
    }
    return outs;
}

/* Copy the weights' lists into tuples: a program's code may run before they are used, and change the lists. */
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

/* Make the layer one neuron after the other: for proxies that must hold their operands, and in detect_anomaly(). */
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

/* Write the ops of the activations to `ops`. True if one of them is PG_CUSTOM: a method to call. */
static bool take_activations(const layer *l, int *ops)
{
    bool calls = false;
    for (Py_ssize_t i = 0; i < l->rows; i++) { /* mostly all neurons have one activation */
        const bool same = i > 0 && part(l, i, ACTIVATION) == part(l, i - 1, ACTIVATION);
        ops[i] = same ? ops[i - 1] : activation_op(part(l, i, ACTIVATION));
        calls = calls || ops[i] == PG_CUSTOM;
    }
    return calls;
}

/* Return the outputs of a layer whose parts are known; None if the parts are not all plain. */
static PyObject *layer_of(layer *l)
{
    int *ops = allocate(l->rows, sizeof(int));
    l->ids = allocate(l->nin + 2 * l->rows + l->rows * l->nin, sizeof(pg_id));
    PyObject *outs = l->ids && ops ? new_proxies(l->rows) : NULL; /* first: it may run a program's code */
    if (outs) {
        const bool calls = take_activations(l, ops);
        if (take_layer(l) && !l->flags && !is_anomaly_detected()) {
            outs = make_layer(l, ops, outs);
            outs = calls ? activate(l, outs, ops, false) : outs;
        } else if (!l->fused) {
            Py_SETREF(outs, Py_NewRef(Py_None));
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
    static const char *const parameters[] = {"neurons", "xs", "neuron_type", "fused"};
    PyObject *given[4] = {NULL, NULL, NULL, NULL}, *outs = NULL;
    if (!parse("layer", args, count, names, 3, 4, parameters, given))
        return NULL;
    if (!is_plain_arithmetic())
        Py_RETURN_NONE;
    PyObject *neurons = PySequence_Tuple(given[0]), *parts = neurons ? parts_of(neurons, given[2]) : NULL;
    layer l = {.parts = parts, .fused = given[3] != Py_False};
    PyObject *xs = parts ? inputs_of(&l, given[1]) : NULL;
    if (xs && (parts == Py_None || xs == Py_None || (!l.fused && PyTuple_GET_SIZE(xs) == 0))) {
        outs = Py_NewRef(Py_None);
    } else if (xs) {
        l.rows = PyTuple_GET_SIZE(neurons);
        l.nin = PyTuple_GET_SIZE(xs);
        l.xs = xs;
        outs = layer_of(&l);
    }
    PyMem_Free(l.numbers);
    Py_XDECREF(xs);
    Py_XDECREF(parts);
    Py_XDECREF(neurons);
    return outs;
}

PyMethodDef layer_functions[] = {
    {"layer", FAST(module_layer), "See pygrad.engine.portable.layer."},
    {NULL, NULL, 0, NULL},
};
