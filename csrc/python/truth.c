/* truth.c: which Values comparisons have made (truth.h). A leaf that counts as one has a mark in its dict. */
#include "python/truth.h"

#include "python/keep.h"

static bool is_marked(const value *leaf)
{
    return leaf && leaf->dict && PyDict_Contains(leaf->dict, py.comparison_key) > 0;
}

static bool mark(value *leaf)
{
    if (keep(leaf, KEPT) < 0 || (!leaf->dict && !(leaf->dict = PyDict_New())))
        return false;
    return PyDict_SetItem(leaf->dict, py.comparison_key, Py_True) == 0;
}

bool is_comparison(const value *v)
{
    pg_id id = v->id;
    while (pg_node_at(pg_the_arena, id)->op == PG_OP_stop_gradient)
        id = pg_node_at(pg_the_arena, id)->a;
    switch (pg_node_at(pg_the_arena, id)->op) {
    case PG_OP_less:
    case PG_OP_less_equal:
    case PG_OP_equal:
    case PG_OP_not_equal:
        return true;
    case PG_LEAF:
        return is_marked(id == v->id ? v : proxy_of(id));
    default:
        return false;
    }
}

PyObject *copy_kind(const value *from, PyObject *leaf)
{
    if (leaf && is_comparison(from) && !mark((value *)leaf))
        Py_CLEAR(leaf);
    return leaf;
}
