/* lanes.h: a program's loops over lanes. Included once for each width (WIDTH) in each file of an instruction set.
 *
 * The rows of ops.def become plain loops, which the compiler turns into vector code; a layer is written with vectors of
 * eight, so that sums stay in registers. Lanes beyond the n of a small block hold leftovers: they may be computed, but
 * no sum over lanes reads them. */

#define V (WIDTH / VEC)     /* vectors of a block */
#define PARTS (8 / VEC)     /* of a packed number's accumulators */

/* Every lane in use: all of a wide block, n of a narrow one. */
#if WIDTH == 32
#define EACH_LANE(...)                  \
    for (int l = 0; l < WIDTH; l++) {   \
        __VA_ARGS__;                    \
    }
#else
#define EACH_LANE(...)                      \
    if (n == WIDTH) {                       \
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

/* out[i] = bias + w0 * x0 + ..., for every row of a layer. */
static void NAME(layer_forward)(const pg_lane_op *op, const int32_t *xs, double *x, const double *packed,
                                size_t stride)
{
    const double *w = packed + op->packed;
    for (uint32_t i = 0; i < op->rows; i++) {
        vec total[V];
        for (int v = 0; v < V; v++)
            total[v] = *w - (vec){0};
        w++;
        for (uint32_t j = 0; j < op->count; j++, w++) {
            const vec *xj = (const vec *)SLOT(x, xs[j]);
            for (int v = 0; v < V; v++)
                total[v] += *w * xj[v];
        }
        vec *y = (vec *)SLOT(x, op->out + i);
        for (int v = 0; v < V; v++)
            y[v] = total[v];
    }
}

/* One input of a layer: its adjoint, and those of its weights. */
static inline void NAME(layer_input_backward)(const pg_lane_op *op, const double *xj, double *dxj, const double *g,
                                              const double *w, double *accumulators, size_t stride, int n)
{
    (void)n;
    vec x[V], dx[V];
    for (int v = 0; v < V; v++) {
        x[v] = ((const vec *)xj)[v];
        dx[v] = ((vec *)dxj)[v];
    }
    const size_t row = op->count + 1;
    for (uint32_t i = 0; i < op->rows; i++, w += row, accumulators += 8 * row, g += stride) {
        vec sums[PARTS] = {{0}};
        for (int v = 0; v < V; v++) {
            const vec gv = ((const vec *)g)[v];
            dx[v] += *w * gv;
            sums[v % PARTS] += gv * x[v];
        }
        for (int part = 0; part < PARTS; part++)
            ((vec *)accumulators)[part] += IN_USE(sums[part], part);
    }
    for (int v = 0; v < V; v++)
        ((vec *)dxj)[v] = dx[v];
}

static void NAME(layer_backward)(const pg_lane_op *op, const int32_t *xs, const double *x, double *dx,
                                 const double *packed, double *accumulators, size_t stride, int n)
{
    const double *w = packed + op->packed;
    double *into = accumulators + 8 * (size_t)op->packed, *g = SLOT(dx, op->out);
    for (uint32_t j = 0; j < op->count; j++)
        NAME(layer_input_backward)(op, SLOT(x, xs[j]), SLOT(dx, xs[j]), g, w + 1 + j, into + 8 * (1 + (size_t)j), stride, n);
    for (uint32_t i = 0; i < op->rows; i++, g += stride, into += 8 * ((size_t)op->count + 1)) {
        for (int l = 0; l < n; l++)
            into[l % 8] += g[l];
        memset(g, 0, WIDTH * sizeof *g);
    }
}

static void NAME(forward)(const pg_program *program, double *x, const double *packed, size_t stride, int n)
{
    for (const pg_lane_op *op = program->ops, *end = op + program->op_count; op < end; op++) {
        const int32_t *list = program->lists + op->list;
        double *restrict y = SLOT(x, op->out);
        const double *xa = SLOT(x, op->a < 0 ? 0 : op->a), *xb = SLOT(x, op->b);
        switch (op->op) {
#define PG_UNARY(name, label, forward, da)             \
    case PG_OP_##name:                                 \
        EACH_LANE({                                    \
            const double a = xa[l];                    \
            y[l] = forward;                            \
        });                                            \
        break;
#define PG_BINARY(name, label, forward, da, db)        \
    case PG_OP_##name:                                 \
        EACH_LANE({                                    \
            const double a = xa[l], b = xb[l];         \
            y[l] = forward;                            \
        });                                            \
        break;
#define PG_FLAT(name, label, arity, forward)           \
    case PG_OP_##name:                                 \
        EACH_LANE({                                    \
            const double a = xa[l], b = xb[l];         \
            (void)b;                                   \
            y[l] = forward;                            \
        });                                            \
        break;
#include "ops.def"
        case PG_LANES_LAYER:
            NAME(layer_forward)(op, list, x, packed, stride);
            break;
        case PG_POWER:
            EACH_LANE(y[l] = pow(xa[l], op->literal));
            break;
        case PG_SUM:
            EACH_LANE(y[l] = op->a < 0 ? 0.0 : xa[l]);
            for (uint32_t i = 0; i < op->count; i++) {
                const double *xi = SLOT(x, list[i]);
                EACH_LANE(y[l] += xi[l]);
            }
            break;
        case PG_DOT:
            EACH_LANE(y[l] = op->a < 0 ? 0.0 : xa[l]);
            for (uint32_t i = 0; i < op->count; i += 2) {
                const double *w = SLOT(x, list[i]), *xi = SLOT(x, list[i + 1]);
                EACH_LANE(y[l] += w[l] * xi[l]);
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
        case PG_DECLARED:
            EACH_LANE(y[l] = xa[l]);
            break;
        }
    }
}

static void NAME(backward)(const pg_program *program, const double *x, double *dx, const double *packed,
                           double *accumulators, size_t stride, int n)
{
    for (const pg_lane_op *op = program->ops + program->op_count; op-- > program->ops;) {
        const int32_t *list = program->lists + op->list;
        if (op->op == PG_LANES_LAYER) {
            NAME(layer_backward)(op, list, x, dx, packed, accumulators, stride, n);
            continue;
        }
        const double *xa = SLOT(x, op->a < 0 ? 0 : op->a), *xb = SLOT(x, op->b), *xy = SLOT(x, op->out);
        double *g = SLOT(dx, op->out), *ga = SLOT(dx, op->a < 0 ? 0 : op->a), *gb = SLOT(dx, op->b);
        switch (op->op) {
/* One operand after the other: they may be the same slot. */
#define GIVE(to, derivative)                                     \
    do {                                                         \
        double *restrict into = (to);                            \
        const double *restrict from = g;                         \
        EACH_LANE({                                              \
            const double a = xa[l], b = xb[l], y = xy[l];        \
            (void)a, (void)b, (void)y;                           \
            into[l] += from[l] * (derivative);                   \
        });                                                      \
    } while (0)
#define PG_UNARY(name, label, forward, da) \
    case PG_OP_##name:                     \
        GIVE(ga, da);                      \
        break;
#define PG_BINARY(name, label, forward, da, db) \
    case PG_OP_##name:                          \
        GIVE(ga, da);                           \
        GIVE(gb, db);                           \
        break;
#define PG_FLAT(name, label, arity, forward)
#include "ops.def"
        case PG_POWER:
            GIVE(ga, pg_power_slope(a, op->literal));
            break;
        case PG_SUM:
            if (op->a >= 0)
                GIVE(ga, 1.0);
            for (uint32_t i = 0; i < op->count; i++)
                GIVE(SLOT(dx, list[i]), 1.0);
            break;
        case PG_DOT:
            if (op->a >= 0)
                GIVE(ga, 1.0);
            for (uint32_t i = 0; i < op->count; i += 2) {
                GIVE(SLOT(dx, list[i]), SLOT(x, list[i + 1])[l]);
                GIVE(SLOT(dx, list[i + 1]), SLOT(x, list[i])[l]);
            }
            break;
        case PG_TAKE:
            for (int l = 0; l < n; l++) {
                const uint32_t place = pg_place(SLOT(x, list[0])[l]);
                if (place < op->count - 1)
                    SLOT(dx, list[1 + place])[l] += g[l];
            }
            break;
        case PG_LANES_TAKE_PACKED:
            for (int l = 0; l < n; l++) {
                const uint32_t place = pg_place(xa[l]);
                if (place < op->count)
                    accumulators[8 * ((size_t)op->packed + place) + (size_t)l % 8] += g[l];
            }
            break;
        case PG_DECLARED:
            for (uint32_t i = 0; i < op->count; i += 2)
                GIVE(SLOT(dx, list[i]), SLOT(x, list[i + 1])[l]);
            break;
        }
        memset(g, 0, WIDTH * sizeof *g);
    }
}

#undef GIVE
#undef SLOT
#undef EACH_LANE
#undef V
#undef PARTS
#undef IN_USE
#undef WIDTH
#undef NAME
