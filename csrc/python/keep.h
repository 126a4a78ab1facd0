/* keep.h: proxies that must live as long as their nodes: the functions that keep P1 to P3 (proxy.h) true. */
#ifndef PG_KEEP_H
#define PG_KEEP_H

#include "python/proxy.h"

PG_SHARED bool ever_kept; /* true once a proxy has had flags */

/* Give these flags to `v` and to its consumers (P2). 0, or -1 with an error. */
int keep(value *v, unsigned flags);

/* Give `v` these flags. P1 to P3 must be true with them already. */
void track(value *v, unsigned flags);

/* Return the proxies of the operands, first to last, as a tuple; NULL with an error. */
PyObject *operand_proxies(const value *v);

/* Make `v` hold `operands`, a tuple that is given away, and drop what it held. */
void hold(value *v, PyObject *operands);

/* Give `v`, the proxy of a node that C has made, the flags of its operands' proxies, as finish_rare() (make.c) does for
 * a result. 0, or -1 with an error. */
int inherit_flags(value *v);

#endif
