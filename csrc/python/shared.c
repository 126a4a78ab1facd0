/* shared.c: where each part of `py` is imported from; how failures are raised (shared.h). */
#include "python/shared.h"

struct shared py;

PyObject *import(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *attribute = module ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return attribute;
}

static bool import_python_parts(void)
{
    const struct {
        PyObject **part;
        const char *module, *name;
    } parts[] = {
        {&py.to_float, "pygrad.common.numbers", "to_float"},
        {&py.is_number, "pygrad.common.numbers", "is_number"},
        {&py.operand, "pygrad.common.numbers", "operand"},
        {&py.operands_of, "pygrad.common.arrays", "operands_of"},
        {&py.surface, "pygrad.common.value_base", "ValueBase"},
        {&py.parse_prev, "pygrad.common.value_base", "parse_prev"},
        {&py.forget_op, "pygrad.common.value_base", "forget_op"},
        {&py.pair_up, "pygrad.common.value_base", "pair_up"},
        {&py.power_label, "pygrad.common.value_base", "power_label"},
        {&py.closure_key, "pygrad.common.value_base", "CLOSURE"},
        {&py.op_key, "pygrad.common.value_base", "OP_NAME"},
        {&py.comparison_key, "pygrad.common.truth", "COMPARISON"},
        {&py.check_truth, "pygrad.common.truth", "check_truth"},
        {&py.check_equality, "pygrad.common.truth", "check_equality"},
        {&py.init_of_result, "pygrad.common.refusals", "init_of_result"},
        {&py.children_too_late, "pygrad.common.refusals", "children_too_late"},
        {&py.prev_is_fixed, "pygrad.common.refusals", "prev_is_fixed"},
        {&py.busy, "pygrad.common.refusals", "busy"},
        {&py.no_closure, "pygrad.common.refusals", "no_closure"},
        {&py.derivatives_missing, "pygrad.common.refusals", "derivatives_missing"},
        {&py.no_hook, "pygrad.common.refusals", "no_hook"},
        {&py.refuse, "pygrad.engine.errors", "refuse"},
        {&py.state_variable, "pygrad.engine.cells", "STATE"},
        {&py.state_type, "pygrad.engine.cells", "State"},
        {&py.backward_in_pieces, "pygrad.engine.sweeps", "backward_in_pieces"},
        {&py.set_frozen, "pygrad.engine.arena", "set_frozen"},
        {&py.tell_recording, "pygrad.engine.recordings", "tell"},
        {&py.check_hash, "pygrad.engine.recordings", "check_hash"},
        {&py.check_backward, "pygrad.engine.recordings", "check_backward"},
        {&py.note_in_recording, "pygrad.engine.recordings", "note"},
        {&py.labels, "pygrad.engine.optable", "LABELS"},
        {&py.check_forward, "pygrad.common.anomaly", "check_forward"},
        {&py.docs, "pygrad.common.docs", "NATIVE_DOCS"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!(*parts[i].part = import(parts[i].module, parts[i].name)))
            return false;
    return true;
}

static bool make_names(void)
{
    const struct {
        PyObject **name;
        const char *text;
    } names[] = {
        {&py.data, "data"},
        {&py.grad, "grad"},
        {&py._op, "_op"},
        {&py._prev, "_prev"},
        {&py._backward, "_backward"},
        {&py.label, "label"},
        {&py.requires_grad, "requires_grad"},
        {&py.w, "w"},
        {&py.b, "b"},
        {&py.nonlin, "nonlin"},
        {&py.activation, "activation"},
        {&py.add, "__add__"},
        {&py.mul, "__mul__"},
        {&py.new, "__new__"},
        {&py.setattr, "__setattr__"},
        {&py.data_of_a_value, "a Value's data"},
        {&py.a_gradient, "a gradient"},
        {&py.a_comparison, "a comparison"},
        {&py.by_bool, "bool()"},
        {&py.by_detach, "detach()"},
        {&py.sets_data, "data ="},
        {&py.sets_grad, "grad ="},
        {&py.a_bound_run, "a bound run"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!(*names[i].name = PyUnicode_InternFromString(names[i].text)))
            return false;
    return true;
}

bool import_shared(void)
{
    return import_python_parts() && make_names();
}

const char *doc_of(const char *name)
{
    PyObject *doc = PyDict_GetItemString(py.docs, name);
    return doc ? PyUnicode_AsUTF8(doc) : NULL;
}

PyObject *refuse(PyObject *values)
{
    if (values) {
        PyObject *none = PyObject_Call(py.refuse, values, NULL);
        Py_XDECREF(none);
        Py_DECREF(values);
    }
    return NULL;
}

int raise_error(PyObject *error)
{
    if (error)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    return -1;
}

void *allocate(Py_ssize_t count, size_t size)
{
    void *memory = PyMem_Malloc((size_t)(count + 1) * size);
    return memory ? memory : PyErr_NoMemory();
}
