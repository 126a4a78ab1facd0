/* lanes_loops.h: a program's loops over lanes. lanes_all.h includes this file once for each width of a block, WIDTH:
 * wide or narrow.
 *
 * The rows of ops.def become plain loops, which the compiler turns into vector code. Layers are written with vectors
 * (vec), so that sums stay in registers. A narrow block uses its first n lanes; the others hold leftovers. They may be
 * computed, but add nothing to any sum over lanes. */

#define V (WIDTH / VEC)     /* vectors of a slot */
#define PARTS (8 / VEC)     /* vectors of a packed number's accumulators */

/* Do this for every lane in use: all lanes of a wide block, n of a narrow one. Two slots are one slot or have no lane
 * in common. So no turn of the loop reads what another turn has written. */
#if WIDTH == 32
#define LANES WIDTH
#else
#define LANES n
#endif
#define EACH_LANE(...)                \
    NO_OVERLAP                        \
    for (int l = 0; l < LANES; l++) { \
        __VA_ARGS__;                  \
    }

/* The vector number v of a slot, with 0 in the lanes that are not in use, even if they hold nan. */
#if WIDTH == 32
#define IN_USE(vector, v) (vector)
#else
#define IN_USE(vector, v) ((vec)((bits)(vector) & ((bits)(lane_numbers + (v) * VEC < (long long)n))))
#endif

#define SLOT(base, place) ((base) + (size_t)(place) * stride)

/* How many neurons of a layer run at once forward, and how many inputs backward: as many as fit into the registers.
 * Each number is loaded once for all of them, and so many sums are under way that none waits for the one before it. */
#define ROWS_AT_ONCE (V < 8 ? 8 / V : 1)
#define INPUTS_AT_ONCE (VEC == 8 ? (V == 1 ? 4 : 2) : V == 2 ? 2 : 1)

/* out[i] = bias + w0 * x0 + ..., for `rows` neurons: results go to the slots from y on, weights begin at w. */
ALWAYS_INLINE void NAME(rows_forward)(const size_t rows, const pg_lane_op *op, const int32_t *xs, const double *x,
                                      const double *w, size_t pitch, double *y, size_t stride)
{
    const uint32_t count = op->count;
    vec total[ROWS_AT_ONCE][V];
    UNROLL
    for (size_t row = 0; row < rows; row++) {
        UNROLL
        for (int v = 0; v < V; v++)
            total[row][v] = (op->a < 0 ? 0.0 : w[row * pitch + count]) - (vec){0};
    }
    for (uint32_t j = 0; j < count; j++) {
        const vec *xj = (const vec *)SLOT(x, xs[j]);
        UNROLL
        for (size_t row = 0; row < rows; row++) {
            UNROLL
            for (int v = 0; v < V; v++)
                total[row][v] += w[row * pitch + j] * xj[v];
        }
    }
    UNROLL
    for (size_t row = 0; row < rows; row++) {
        UNROLL
        for (int v = 0; v < V; v++)
            ((vec *)SLOT(y, row))[v] = total[row][v];
    }
}

static void NAME(layer_forward)(const pg_lane_op *op, const int32_t *xs, double *x, const double *packed, size_t stride)
{
    const size_t pitch = pg_pitch_of(op);
    const double *w = packed + op->packed;
    double *y = SLOT(x, op->out);
    uint32_t left = op->rows;
    for (; left >= ROWS_AT_ONCE; left -= ROWS_AT_ONCE, w += ROWS_AT_ONCE * pitch, y += ROWS_AT_ONCE * stride)
        NAME(rows_forward)(ROWS_AT_ONCE, op, xs, x, w, pitch, y, stride);
    for (; left > 0; left--, w += pitch, y += stride)
        NAME(rows_forward)(1, op, xs, x, w, pitch, y, stride);
}

/* The sums over lanes are sums of products. In the lanes that are not in use both factors must be 0: set the neurons'
 * adjoints to 0 there. */
ALWAYS_INLINE void NAME(clear_unused)(const pg_lane_op *op, double *g, size_t stride, int n)
{
    (void)n;
    for (uint32_t i = 0; WIDTH == PG_NARROW && i < op->rows; i++, g += stride) {
        UNROLL
        for (int v = 0; v < V; v++)
            ((vec *)g)[v] = IN_USE(((vec *)g)[v], v);
    }
}

/* A layer's backward step for some of its inputs, all different: add to the adjoints of the inputs, if they are wanted,
 * and to the accumulators of their weights, which begin at w. */
ALWAYS_INLINE void NAME(inputs_backward)(const uint32_t inputs, const bool wanted, const pg_lane_op *op,
                                         const int32_t *xs, const double *x, double *dx, const double *w,
                                         double *accumulators, size_t stride, int n)
{
    (void)n;
    const size_t pitch = pg_pitch_of(op);
    const double *g = SLOT(dx, op->out);
    vec in[INPUTS_AT_ONCE][V], out[INPUTS_AT_ONCE][V];
    UNROLL
    for (uint32_t j = 0; j < inputs; j++) {
        UNROLL
        for (int v = 0; v < V; v++) {
            in[j][v] = IN_USE(((const vec *)SLOT(x, xs[j]))[v], v);
            out[j][v] = ((const vec *)SLOT(dx, xs[j]))[v];
        }
    }
    for (uint32_t i = 0; i < op->rows; i++, g += stride, w += pitch, accumulators += 8 * pitch) {
        vec sums[INPUTS_AT_ONCE][PARTS];
        UNROLL
        for (int v = 0; v < V; v++) {
            const vec gv = ((const vec *)g)[v];
            UNROLL
            for (uint32_t j = 0; j < inputs; j++) {
                if (wanted)
                    out[j][v] += w[j] * gv;
                if (v < PARTS)
                    sums[j][v] = gv * in[j][v];
                else
                    sums[j][v % PARTS] += gv * in[j][v];
            }
        }
        UNROLL
        for (uint32_t j = 0; j < inputs; j++) {
            UNROLL
            for (int part = 0; part < PARTS; part++)
                ((vec *)(accumulators + 8 * j))[part] += sums[j][part];
        }
    }
    UNROLL
    for (uint32_t j = 0; wanted && j < inputs; j++) {
        UNROLL
        for (int v = 0; v < V; v++)
            ((vec *)SLOT(dx, xs[j]))[v] = out[j][v];
    }
}

/* A layer's backward step for its biases, if it has any. Then the adjoints of the neurons have been passed on: they
 * become 0. */
static inline void NAME(biases_backward)(const pg_lane_op *op, double *g, double *accumulators, size_t stride)
{
    const size_t pitch = pg_pitch_of(op);
    for (uint32_t i = 0; i < op->rows; i++, g += stride, accumulators += 8 * pitch) {
        vec sums[PARTS] = {{0}};
        UNROLL
        for (int v = 0; v < V; v++) {
            sums[v % PARTS] += ((vec *)g)[v];
            ((vec *)g)[v] = (vec){0};
        }
        for (int part = 0; op->a >= 0 && part < PARTS; part++)
            ((vec *)accumulators)[part] += sums[part];
    }
}

static void NAME(layer_backward)(const pg_lane_op *op, const int32_t *xs, const double *x, double *dx,
                                 const double *packed, double *accumulators, size_t stride, int n, int32_t unwanted)
{
    const double *w = packed + op->packed;
    double *sums = accumulators + 8 * (size_t)op->packed;
    uint32_t step = 1;
    NAME(clear_unused)(op, SLOT(dx, op->out), stride, n);
    for (uint32_t left = op->count; left > 0; left -= step, xs += step, w += step, sums += 8 * step) {
        step = left >= INPUTS_AT_ONCE && are_different(xs, INPUTS_AT_ONCE, unwanted) ? INPUTS_AT_ONCE : 1;
        if (*xs < unwanted)
            NAME(inputs_backward)(1, false, op, xs, x, dx, w, sums, stride, n);
        else if (step == 1)
            NAME(inputs_backward)(1, true, op, xs, x, dx, w, sums, stride, n);
        else
            NAME(inputs_backward)(INPUTS_AT_ONCE, true, op, xs, x, dx, w, sums, stride, n);
    }
    NAME(biases_backward)(op, SLOT(dx, op->out), sums, stride);
}

/* Compute an operation in all lanes, as often as its `rows` says, each time one slot further on. */
#define ROWS(...)                                                                            \
    for (uint32_t row = 0; row < op->rows; row++, y += stride, xa += stride, xb += stride) { \
        EACH_LANE(const double a = xa[l], b = xb[l]; (void)a; (void)b; y[l] = (__VA_ARGS__)) \
    }                                                                                        \
    break

static void NAME(forward)(const pg_program *program, double *x, const double *packed, size_t stride, int n)
{
    (void)n;
    for (const pg_lane_op *op = program->ops, *end = op + program->op_count; op < end; op++) {
        const int32_t *list = program->lists + op->list;
        double *y = SLOT(x, op->out);
        const double *xa = SLOT(x, op->a < 0 ? 0 : op->a), *xb = SLOT(x, op->b);
        switch (op->op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        ROWS(forward);
#define PG_BINARY(name, label, forward, da, db) PG_UNARY(name, label, forward, da)
#define PG_FLAT(name, label, arity, forward) PG_UNARY(name, label, forward, 0)
#include "ops.def"
        case PG_POWER:
            ROWS(pow(a, op->literal));
        case PG_DECLARED:
            ROWS(a);
        case PG_LANES_LAYER:
            NAME(layer_forward)(op, list, x, packed, stride);
            break;
        case PG_SUM:
            EACH_LANE(y[l] = op->a < 0 ? 0.0 : xa[l])
            for (uint32_t i = 0; i < op->count; i++) {
                const double *xi = SLOT(x, list[i]);
                EACH_LANE(y[l] += xi[l])
            }
            break;
        case PG_DOT:
            EACH_LANE(y[l] = op->a < 0 ? 0.0 : xa[l])
            for (uint32_t i = 0; i < op->count; i += 2) {
                const double *w = SLOT(x, list[i]), *xi = SLOT(x, list[i + 1]);
                EACH_LANE(y[l] += w[l] * xi[l])
            }
            break;
        case PG_TAKE:
            for (int l = 0; l < n; l++) {
                const uint32_t place = pg_place(SLOT(x, list[0])[l]);
                y[l] = place < op->count - 1 ? SLOT(x, list[1 + place])[l] : (double)NAN;
            }
            break;
        case PG_LANES_TAKE_PACKED:
            for (int l = 0; l < n; l++) {
                const uint32_t place = pg_place(xa[l]);
                y[l] = place < op->count ? packed[op->packed + place] : (double)NAN;
            }
            break;
        }
    }
}

/* Add to the adjoints of one operand, in all lanes. */
#define GIVE(to, derivative)                                                               \
    {                                                                                      \
        double *into = (to);                                                               \
        EACH_LANE(const double a = xa[l], b = xb[l], y = xy[l]; (void)a, (void)b, (void)y; \
                  into[l] += g[l] * (derivative))                                          \
    }
/* The adjoints of a result have been passed on: they become 0. */
#define SPENT(g)                \
    UNROLL                      \
    for (int v = 0; v < V; v++) \
    ((vec *)(g))[v] = (vec){0}
/* Run an operation backward, as often as its `rows` says; one operand after the other, as both may be one slot. */
#define ROWS_BACKWARD(...)                                                                 \
    for (uint32_t row = 0; row < op->rows; row++) {                                        \
        __VA_ARGS__                                                                        \
        xa += stride, xb += stride, xy += stride, g += stride, ga += stride, gb += stride; \
    }                                                                                      \
    break
/* In place, the adjoints of the result become the adjoints of the operand, to which nothing else adds. */
#define UNARY_BACKWARD(derivative)                                                               \
    ROWS_BACKWARD(                                                                               \
        if (op->in_place) {                                                                      \
            EACH_LANE(const double a = xa[l], y = xy[l]; (void)a, (void)y; g[l] *= (derivative)) \
        } else {                                                                                 \
            GIVE(ga, derivative)                                                                 \
            SPENT(g);                                                                            \
        })

static void NAME(backward)(const pg_program *program, const double *x, double *dx, const double *packed,
                           double *accumulators, size_t stride, int n, int32_t unwanted)
{
    for (const pg_lane_op *op = program->ops + program->op_count; op-- > program->ops;) {
        if (op->fixed & PG_INERT)
            continue;
        const int32_t *list = program->lists + op->list;
        const double *xa = SLOT(x, op->a < 0 ? 0 : op->a), *xb = SLOT(x, op->b), *xy = SLOT(x, op->out);
        double *g = SLOT(dx, op->out), *ga = SLOT(dx, op->a < 0 ? 0 : op->a), *gb = SLOT(dx, op->b);
        switch (op->op) {
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        UNARY_BACKWARD(da);
#define PG_BINARY(name, label, forward, da, db)                                                               \
    case PG_OP_##name:                                                                                        \
        ROWS_BACKWARD(if (!(op->fixed & PG_FIXED_A)) GIVE(ga, da) if (!(op->fixed & PG_FIXED_B)) GIVE(gb, db) \
                          SPENT(g););
#define PG_FLAT(name, label, arity, forward) \
    case PG_OP_##name:                       \
        ROWS_BACKWARD(SPENT(g););
#include "ops.def"
        case PG_POWER:
            ROWS_BACKWARD(GIVE(ga, pg_power_slope(a, op->literal)) SPENT(g););
        case PG_LANES_LAYER:
            NAME(layer_backward)(op, list, x, dx, packed, accumulators, stride, n, unwanted);
            break;
        case PG_SUM:
            if (op->a >= 0)
                GIVE(ga, 1.0)
            for (uint32_t i = 0; i < op->count; i++)
                GIVE(SLOT(dx, list[i]), 1.0)
            SPENT(g);
            break;
        case PG_DOT:
            if (op->a >= 0)
                GIVE(ga, 1.0)
            for (uint32_t i = 0; i < op->count; i += 2) {
                GIVE(SLOT(dx, list[i]), SLOT(x, list[i + 1])[l])
                GIVE(SLOT(dx, list[i + 1]), SLOT(x, list[i])[l])
            }
            SPENT(g);
            break;
        case PG_DECLARED:
            for (uint32_t i = 0; i < op->count; i += 2)
                GIVE(SLOT(dx, list[i]), SLOT(x, list[i + 1])[l])
            SPENT(g);
            break;
        case PG_TAKE:
            for (int l = 0; l < n; l++) {
                const uint32_t place = pg_place(SLOT(x, list[0])[l]);
                if (place < op->count - 1)
                    SLOT(dx, list[1 + place])[l] += g[l];
            }
            SPENT(g);
            break;
        case PG_LANES_TAKE_PACKED:
            for (int l = 0; l < n; l++) {
                const uint32_t place = pg_place(xa[l]);
                if (place < op->count)
                    accumulators[8 * ((size_t)op->packed + place) + (size_t)l % 8] += g[l];
            }
            SPENT(g);
            break;
        }
    }
}

#undef ROWS
#undef ROWS_BACKWARD
#undef UNARY_BACKWARD
#undef SPENT
#undef GIVE
#undef SLOT
#undef EACH_LANE
#undef LANES
#undef V
#undef PARTS
#undef ROWS_AT_ONCE
#undef INPUTS_AT_ONCE
#undef IN_USE
#undef WIDTH
#undef NAME
