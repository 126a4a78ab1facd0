/* lanes.h: a program's loops over lanes. Included once for each width (WIDTH) in each file of an instruction set.
 *
 * The rows of ops.def become plain loops, which the compiler turns into vector code; a layer is written with vectors of
 * eight, so that sums stay in registers. Lanes beyond the n of a small block hold leftovers: they may be computed, but
 * no sum over lanes reads them. */

#define V (WIDTH / VEC)     /* vectors of a block */
#define PARTS (8 / VEC)     /* of a packed number's accumulators */

/* Every lane in use: all of a wide block, n of a narrow one. Two slots are the same or have no lane in common, so no turn
 * of the loop reads what another has written. */
#if WIDTH == 32
#define EACH_LANE(...)                  \
    NO_OVERLAP                          \
    for (int l = 0; l < WIDTH; l++) {   \
        __VA_ARGS__;                    \
    }
#else
#define EACH_LANE(...)                      \
    if (n == WIDTH) {                       \
        NO_OVERLAP                          \
        for (int l = 0; l < WIDTH; l++) {   \
            __VA_ARGS__;                    \
        }                                   \
    } else {                                \
        for (int l = 0; l < n; l++) {       \
            __VA_ARGS__;                    \
        }                                   \
    }
#endif

/* Eight sums over lanes, of which those of lanes that are not in use become 0, whatever they are. */
#if WIDTH == 32
#define IN_USE(sums, part) (sums)
#else
#define IN_USE(sums, part) ((vec)((bits)(sums) & ((bits)(lane_numbers + (part) * VEC < (long long)n))))
#endif

#define SLOT(base, place) ((base) + (size_t)(place) * stride)

/* out[i] = bias + w0 * x0 + ..., for every row of a layer. Packed are its biases, then the weights of input after
 * input. */
static void NAME(layer_forward)(const pg_lane_op *op, const int32_t *xs, double *x, const double *packed,
                                size_t stride)
{
    const size_t rows = op->rows;
    for (size_t i = 0; i < rows; i++) {
        const double *w = packed + op->packed + i;
        vec total[V];
        UNROLL
        for (int v = 0; v < V; v++)
            total[v] = *w - (vec){0};
        for (uint32_t j = 0; j < op->count; j++) {
            const vec *xj = (const vec *)SLOT(x, xs[j]);
            w += rows;
            UNROLL
            for (int v = 0; v < V; v++)
                total[v] += *w * xj[v];
        }
        vec *y = (vec *)SLOT(x, op->out + i);
        UNROLL
        for (int v = 0; v < V; v++)
            y[v] = total[v];
    }
}

/* One input of a layer: its adjoint, and those of its weights. */
static inline void NAME(layer_input_backward)(size_t rows, const double *xj, double *dxj, const double *g,
                                              const double *w, double *accumulators, size_t stride, int n)
{
    (void)n;
    vec x[V], dx[V];
    UNROLL
    for (int v = 0; v < V; v++) {
        x[v] = ((const vec *)xj)[v];
        dx[v] = ((vec *)dxj)[v];
    }
    for (size_t i = 0; i < rows; i++, g += stride, accumulators += 8) {
        vec sums[PARTS];
        UNROLL
        for (int v = 0; v < V; v++) {
            const vec gv = ((const vec *)g)[v];
            dx[v] += w[i] * gv;
            if (v < PARTS)
                sums[v] = gv * x[v];
            else
                sums[v % PARTS] += gv * x[v];
        }
        for (int part = 0; part < PARTS; part++)
            ((vec *)accumulators)[part] += IN_USE(sums[part], part);
    }
    UNROLL
    for (int v = 0; v < V; v++)
        ((vec *)dxj)[v] = dx[v];
}

/* The biases of a layer; its rows' adjoints have been used then, and become 0. */
static inline void NAME(layer_bias_backward)(size_t rows, double *g, double *accumulators, size_t stride, int n)
{
    (void)n;
    for (size_t i = 0; i < rows; i++, g += stride, accumulators += 8) {
        vec sums[PARTS] = {{0}};
        UNROLL
        for (int v = 0; v < V; v++) {
            sums[v % PARTS] += ((vec *)g)[v];
            ((vec *)g)[v] = (vec){0};
        }
        for (int part = 0; part < PARTS; part++)
            ((vec *)accumulators)[part] += IN_USE(sums[part], part);
    }
}

/* The same of an input that needs no adjoint. */
static inline void NAME(layer_weights_backward)(size_t rows, const double *xj, const double *g, double *accumulators,
                                                size_t stride, int n)
{
    (void)n;
    vec x[V];
    UNROLL
    for (int v = 0; v < V; v++)
        x[v] = ((const vec *)xj)[v];
    for (size_t i = 0; i < rows; i++, g += stride, accumulators += 8) {
        vec sums[PARTS];
        UNROLL
        for (int v = 0; v < V; v++) {
            if (v < PARTS)
                sums[v] = ((const vec *)g)[v] * x[v];
            else
                sums[v % PARTS] += ((const vec *)g)[v] * x[v];
        }
        for (int part = 0; part < PARTS; part++)
            ((vec *)accumulators)[part] += IN_USE(sums[part], part);
    }
}

static void NAME(layer_backward)(const pg_lane_op *op, const int32_t *xs, const double *x, double *dx,
                                 const double *packed, double *accumulators, size_t stride, int n, int32_t unwanted)
{
    const size_t rows = op->rows;
    const double *w = packed + op->packed;
    double *into = accumulators + 8 * (size_t)op->packed, *g = SLOT(dx, op->out);
    for (uint32_t j = 0; j < op->count; j++) {
        double *sums = into + 8 * (j + 1) * rows;
        if (xs[j] < unwanted)
            NAME(layer_weights_backward)(rows, SLOT(x, xs[j]), g, sums, stride, n);
        else
            NAME(layer_input_backward)(rows, SLOT(x, xs[j]), SLOT(dx, xs[j]), g, w + (j + 1) * rows, sums, stride, n);
    }
    NAME(layer_bias_backward)(rows, g, into, stride, n);
}

/* Compute an operation of a row in its lanes; the rows that follow, of other slots, likewise. */
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

/* Add to the adjoints of one operand, in a row's lanes. */
#define GIVE(to, derivative)                                    \
    {                                                           \
        double *into = (to);                                    \
        EACH_LANE(const double a = xa[l], b = xb[l], y = xy[l]; \
                  (void)a, (void)b, (void)y;                    \
                  into[l] += g[l] * (derivative))               \
    }
/* A row's adjoints have been used. */
#define SPENT(g) memset(g, 0, WIDTH * sizeof *(g))
/* Run the rows of an operation backward; one operand after the other, for they may be the same slot. */
#define ROWS_BACKWARD(...)                                                                 \
    for (uint32_t row = 0; row < op->rows; row++) {                                        \
        __VA_ARGS__                                                                        \
        xa += stride, xb += stride, xy += stride, g += stride, ga += stride, gb += stride; \
    }                                                                                      \
    break
/* In place, the adjoints of the result become those of the operand, which nothing else has. */
#define UNARY_BACKWARD(derivative)                          \
    ROWS_BACKWARD(if (op->in_place) {                       \
        EACH_LANE(const double a = xa[l], y = xy[l];        \
                  (void)a, (void)y;                         \
                  g[l] *= (derivative))                     \
    } else {                                                \
        GIVE(ga, derivative)                                \
        SPENT(g);                                           \
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
#define PG_BINARY(name, label, forward, da, db) \
    case PG_OP_##name:                          \
        ROWS_BACKWARD(if (!(op->fixed & 1)) GIVE(ga, da) if (!(op->fixed & 2)) GIVE(gb, db) SPENT(g););
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
#undef V
#undef PARTS
#undef IN_USE
#undef WIDTH
#undef NAME
