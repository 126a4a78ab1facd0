/* by_hand.c: the workloads as one would write them in C for speed; the yardstick of compiled.py.
 *
 * The networks take LANES samples at a time, one a lane. They use the vector types that gcc and clang share; written as
 * plain inner loops over lanes, the same code is left to the vectoriser, which makes it three times slower and more.
 * The arithmetic is that of the programs in workloads.py: float64, a neuron sums from its bias on, weight by weight.
 * Only sums over samples have an order of their own: lane by lane, and then over the lanes.
 *
 * `p` are a model's parameters as pygrad lists them: layer by layer, a neuron's weights and then its bias.
 */
#include <math.h>
#include <stddef.h>

/* `x` is (samples, inputs), `y` is (samples,), `losses` is (steps,): the loss before each step. The parameters are
 * updated in place. An expression's `out` is its value, d/da and d/db. Python reads the lines between the marks. */
/* cdef-begin */
void moons(double *p, int samples, const double *x, const double *y, int steps, double rate, double *losses);
void lecture(double *p, const double *x, const double *y, int steps, double rate, double *losses);
void tiny(double a, double b, double *out);
void readme(double a, double b, double *out);
void call_again(void (*expression)(double, double, double *), long times, double a, double b, double *out);
void tiny_of_arrays(long n, const double *a, const double *b, double *value, double *da, double *db);
/* cdef-end */

/* One register's worth: with twice as many gcc 12 goes through memory, and is five times slower. */
#ifdef __AVX512F__
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));
typedef long long mask __attribute__((vector_size(LANES * sizeof(double))));

/* --- lanes -------------------------------------------------------------------------------------------------------- */

INLINE lanes all(double number)
{
    return number - (lanes){0};
}

/* 1 in the first lanes, as many as there are samples, and 0 in those left over. */
INLINE lanes first(int samples)
{
    lanes live = all(0.0);
    for (int l = 0; l < LANES && l < samples; l++)
        live[l] = 1.0;
    return live;
}

/* The value where the condition holds, else 0. */
INLINE lanes when(mask condition, lanes value)
{
    return (lanes)(condition & (mask)value);
}

INLINE double total(lanes value)
{
    double sum = 0.0;
    for (int l = 0; l < LANES; l++)
        sum += value[l];
    return sum;
}

/* --- layers ------------------------------------------------------------------------------------------------------- */

/* z = W x + b; nin and nout are constants once this is inlined, and z stays in registers. */
INLINE void affine(int nin, int nout, const double *p, const lanes *x, lanes *z)
{
    for (int j = 0; j < nout; j++, p += nin + 1) {
        lanes sum = all(p[nin]);
        for (int i = 0; i < nin; i++)
            sum += p[i] * x[i];
        z[j] = sum;
    }
}

/* Add dL/dp to `dp`, lane by lane, and write dL/dx to `dx`, unless that is NULL. */
INLINE void affine_backward(int nin, int nout, const double *p, const lanes *x, const lanes *dz, lanes *dx, lanes *dp)
{
    for (int i = 0; dx && i < nin; i++)
        dx[i] = all(0.0);
    for (int j = 0; j < nout; j++, p += nin + 1, dp += nin + 1) {
        for (int i = 0; i < nin; i++)
            dp[i] += dz[j] * x[i];
        dp[nin] += dz[j];
        for (int i = 0; dx && i < nin; i++)
            dx[i] += p[i] * dz[j];
    }
}

/* Forward, relu(n, z, z); and backward, relu(n, y, dy). */
INLINE void relu(int n, const lanes *y, lanes *z)
{
    for (int i = 0; i < n; i++)
        z[i] = when(y[i] > 0.0, z[i]);
}

/* libm's tanh, in the lanes that hold samples. */
INLINE void tanhs(int n, int samples, lanes *z)
{
    for (int i = 0; i < n; i++)
        for (int l = 0; l < samples; l++)
            z[i][l] = tanh(z[i][l]);
}

INLINE void tanhs_backward(int n, const lanes *y, lanes *dy)
{
    for (int i = 0; i < n; i++)
        dy[i] *= 1.0 - y[i] * y[i];
}

/* Copy samples into lanes, a lane a sample; lanes left over stay 0. */
INLINE void load(int nin, int samples, const double *rows, lanes *x)
{
    for (int l = 0; l < LANES && l < samples; l++)
        for (int i = 0; i < nin; i++)
            x[i][l] = rows[l * nin + i];
}

/* --- moons: MLP(2, [16, 16, 1]) of relu, hinge loss, L2 penalty --------------------------------------------------- */

enum { W1 = 0, W2 = W1 + 16 * 3, W3 = W2 + 16 * 17, MOONS = W3 + 17 };
static const double PENALTY = 1e-4;

/* Forward and backward for the samples in the lanes: return their hinge losses, and add `share` of the gradients. */
INLINE lanes moons_block(const double *p, const lanes *x, lanes y, double share, lanes *dp)
{
    lanes h1[16], h2[16], score, d_score, d1[16], d2[16];
    affine(2, 16, p + W1, x, h1);
    relu(16, h1, h1);
    affine(16, 16, p + W2, h1, h2);
    relu(16, h2, h2);
    affine(16, 1, p + W3, h2, &score);
    lanes margin = 1.0 + -y * score;
    d_score = when(margin > 0.0, share * -y); /* 0 in an empty lane, whose y is 0 */
    affine_backward(16, 1, p + W3, h2, &d_score, d2, dp + W3);
    relu(16, h2, d2);
    affine_backward(16, 16, p + W2, h1, d2, d1, dp + W2);
    relu(16, h1, d1);
    affine_backward(2, 16, p + W1, x, d1, NULL, dp + W1);
    return when(margin > 0.0, margin);
}

static double moons_step(double *p, int samples, const double *x, const double *y, double rate)
{
    lanes losses = all(0.0), dp[MOONS] = {{0.0}};
    double squares = 0.0, share = 1.0 / samples;
    for (int k = 0; k < samples; k += LANES) {
        lanes block_x[2] = {{0.0}}, block_y = all(0.0);
        load(2, samples - k, x + 2 * k, block_x);
        load(1, samples - k, y + k, &block_y);
        losses += first(samples - k) * moons_block(p, block_x, block_y, share, dp);
    }
    for (int i = 0; i < MOONS; i++) {
        squares += p[i] * p[i];
        p[i] -= rate * (total(dp[i]) + 2.0 * PENALTY * p[i]);
    }
    return total(losses) * share + PENALTY * squares;
}

void moons(double *p, int samples, const double *x, const double *y, int steps, double rate, double *losses)
{
    for (int k = 0; k < steps; k++)
        losses[k] = moons_step(p, samples, x, y, rate);
}

/* --- lecture: MLP(3, [4, 4, 1]) of tanh, four samples, squared errors --------------------------------------------- */

enum { V1 = 0, V2 = V1 + 4 * 4, V3 = V2 + 4 * 5, LECTURE = V3 + 5, SAMPLES = 4 }; /* which fit in the lanes */

static double lecture_step(double *p, const lanes *x, lanes y, double rate)
{
    lanes h1[4], h2[4], score, d_score, d1[4], d2[4], dp[LECTURE] = {{0.0}};
    affine(3, 4, p + V1, x, h1);
    tanhs(4, SAMPLES, h1);
    affine(4, 4, p + V2, h1, h2);
    tanhs(4, SAMPLES, h2);
    affine(4, 1, p + V3, h2, &score);
    tanhs(1, SAMPLES, &score);
    lanes error = first(SAMPLES) * (score - y);
    d_score = 2.0 * error;
    tanhs_backward(1, &score, &d_score);
    affine_backward(4, 1, p + V3, h2, &d_score, d2, dp + V3);
    tanhs_backward(4, h2, d2);
    affine_backward(4, 4, p + V2, h1, d2, d1, dp + V2);
    tanhs_backward(4, h1, d1);
    affine_backward(3, 4, p + V1, x, d1, NULL, dp + V1);
    for (int i = 0; i < LECTURE; i++)
        p[i] -= rate * total(dp[i]);
    return total(error * error);
}

void lecture(double *p, const double *x, const double *y, int steps, double rate, double *losses)
{
    lanes all_x[3] = {{0.0}}, all_y = all(0.0);
    load(3, SAMPLES, x, all_x);
    load(1, SAMPLES, y, &all_y);
    for (int k = 0; k < steps; k++)
        losses[k] = lecture_step(p, all_x, all_y, rate);
}

/* --- expressions -------------------------------------------------------------------------------------------------- */

INLINE void tiny_at(double a, double b, double *value, double *da, double *db)
{
    double e = (a + b) - (a * b + b * b * b);
    *value = e * e / 2.0;
    *da = e - e * b;
    *db = e - e * (a + 3.0 * (b * b));
}

void tiny(double a, double b, double *out)
{
    tiny_at(a, b, out, out + 1, out + 2);
}

void tiny_of_arrays(long n, const double *a, const double *b, double *value, double *da, double *db)
{
    for (long k = 0; k < n; k++)
        tiny_at(a[k], b[k], value + k, da + k, db + k);
}

/* Names as in the README; c1, c2 and c3 are what its c is line after line. */
void readme(double a, double b, double *out)
{
    double plus = b + a, minus = b - a;
    double c1 = a + b, c2 = c1 + (c1 + 1.0), c3 = c2 + (1.0 + c2 + -a);
    double d1 = a * b + b * b * b, d2 = d1 + (d1 * 2.0 + (plus > 0.0 ? plus : 0.0));
    double d3 = d2 + (3.0 * d2 + (minus > 0.0 ? minus : 0.0));
    double e = c3 - d3, f = e * e;
    double de = (0.5 - 10.0 / f / f) * (2.0 * e);
    double d_minus = minus > 0.0 ? -de : 0.0, d_plus = plus > 0.0 ? -4.0 * de : 0.0, dd1 = -12.0 * de, dc1 = 4.0 * de;
    out[0] = f / 2.0 + 10.0 / f;
    out[1] = dc1 - de + dd1 * b + d_plus - d_minus;
    out[2] = dc1 + dd1 * (a + 3.0 * (b * b)) + d_plus + d_minus;
}

/* An expression called again and again: what a call takes inside C, without Python's part. */
void call_again(void (*expression)(double, double, double *), long times, double a, double b, double *out)
{
    for (long k = 0; k < times; k++)
        expression(a, b, out);
}
