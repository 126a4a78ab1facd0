/* truth.h: did a comparison (`less`, `equal`, ...) make this Value? Then it has the truth of its data. Any other is true. */
#ifndef PG_TRUTH_H
#define PG_TRUTH_H

#include "python/proxy.h"

/* True for the result of a comparison, for a leaf that has its number (copy_kind), and for a stop_gradient of these. */
bool is_comparison(const value *v);

/* If `from` is the result of a comparison, let `leaf`, a new leaf with its number, count as one too. Return `leaf`, or
 * NULL with MemoryError; `leaf` is given away, and may be NULL. */
PyObject *copy_kind(const value *from, PyObject *leaf);

#endif
