/* The kernels `activate` and `activate_row` of kernels.h over the names of a vector header.
 *
 * Sums and maxima over a row give the same bits on every ISA: element i is added to virtual lane i mod FG_MAX_LANES, in
 * ascending order, and the lanes are folded by halves. A vector holds V_LANES of them, so PARTS vectors hold all. */
#ifndef FG_ACTIVATE_BODY_H
#define FG_ACTIVATE_BODY_H

#include <string.h>

#include "../kernels.h"
#include "activations.h"

#define PARTS (FG_MAX_LANES / V_LANES)

/* n > 0 elements from p on, at most a vector's worth; lanes past them are those of `rest`. */
static inline vec row_load(const float *p, int64_t n, vec rest)
{
    return n >= V_LANES ? v_loadu(p) : v_load_or(p, n, rest);
}

static inline void row_store(float *p, vec a, int64_t n)
{
    if (n >= V_LANES)
        v_storeu(p, a);
    else
        v_store_n(p, a, n);
}

/* Inlined into each case below, so that the switch of v_activate is decided once for all n elements. */
static inline __attribute__((always_inline)) void activate_all(const fg_activation f, int64_t n, const float *x,
                                                               float *y)
{
    for (int64_t i = 0; i < n; i += V_LANES)
        row_store(y + i, v_activate(&f, row_load(x + i, n - i, v_zero())), n - i);
}

static void k_activate(const fg_activation *f, int64_t n, const float *x, float *y)
{
    switch (f->function) {
    case FG_LINEAR: memmove(y, x, (size_t)n * sizeof *y); break;
    case FG_SIGMOID: activate_all((fg_activation){FG_SIGMOID, {0}}, n, x, y); break;
    case FG_TANH: activate_all((fg_activation){FG_TANH, {0}}, n, x, y); break;
    default: activate_all(*f, n, x, y); break;
    }
}

static inline float fold_max(const vec *parts)
{
    _Alignas(FG_ALIGN) float lane[FG_MAX_LANES];
    for (int p = 0; p < PARTS; p++)
        v_store(lane + p * V_LANES, parts[p]);
    for (int half = FG_MAX_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = lane[i + half] > lane[i] ? lane[i + half] : lane[i];
    return lane[0];
}

static inline float fold_sum(const vec *parts)
{
    _Alignas(FG_ALIGN) float lane[FG_MAX_LANES];
    for (int p = 0; p < PARTS; p++)
        v_store(lane + p * V_LANES, parts[p]);
    for (int half = FG_MAX_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

/* Walks a row vector by vector: `i` is the index of the first element, `p` the part that its lanes belong to. */
#define EACH_VECTOR(n)                                                                                                 \
    for (int64_t block = 0; block < (n); block += FG_MAX_LANES)                                                        \
        for (int64_t p = 0, i = block; p < PARTS && i < (n); p++, i += V_LANES)

/* The largest element below `limit`, or of all where that is NaN; -infinity if there is none. NaN is passed over. */
static float row_max(int64_t n, const float *x, float limit)
{
    const vec least = v_set(-INFINITY);
    vec part[PARTS];
    for (int p = 0; p < PARTS; p++)
        part[p] = least;
    EACH_VECTOR(n)
    {
        const vec a = row_load(x + i, n - i, least);
        part[p] = v_max(v_select(v_le(v_set(limit), a), least, a), part[p]);
    }
    return fold_max(part);
}

/* Σ e^(x − shift), each term also stored in y unless that is NULL. */
static float row_sum_exp(int64_t n, const float *x, float shift, float *y)
{
    vec part[PARTS];
    for (int p = 0; p < PARTS; p++)
        part[p] = v_zero();
    EACH_VECTOR(n)
    {
        const vec e = v_exp(v_sub(row_load(x + i, n - i, v_set(-INFINITY)), v_set(shift)));
        part[p] = v_add(part[p], e);
        if (y)
            row_store(y + i, e, n - i);
    }
    return fold_sum(part);
}

/* e^(x − max) / Σ e^(x − max) */
static void row_softmax(int64_t n, const float *x, float *y)
{
    const vec sum = v_set(row_sum_exp(n, x, row_max(n, x, NAN), y));
    for (int64_t i = 0; i < n; i += V_LANES)
        row_store(y + i, v_div(row_load(y + i, n - i, v_zero()), sum), n - i);
}

/* (x − max) − log Σ e^(x − max); the sum is at least 1, or NaN. */
static void row_log_softmax(int64_t n, const float *x, float *y)
{
    const float max = row_max(n, x, NAN);
    const vec sum = v_set(row_sum_exp(n, x, max, NULL));
    const vec log_sum = v_select(v_unordered(sum, sum), sum, v_log_normal(sum));
    for (int64_t i = 0; i < n; i += V_LANES)
        row_store(y + i, v_sub(v_sub(row_load(x + i, n - i, v_zero()), v_set(max)), log_sum), n - i);
}

/* How many elements are v; NaN is not. */
static double row_count(int64_t n, const float *x, float v)
{
    vec part[PARTS];
    for (int p = 0; p < PARTS; p++)
        part[p] = v_zero();
    EACH_VECTOR(n)
    {
        const vmask same = v_eq(row_load(x + i, n - i, v_set(NAN)), v_set(v));
        part[p] = v_add(part[p], v_select(same, v_set(1.0f), v_zero()));
    }
    return fold_sum(part);
}

/* max(x − tau, 0) with Keras' tau. With x_j the j-th largest element, S_j = x_1 + … + x_j and k the last j with
 * 1 + j · x_j > S_j; then tau = (S_1 + … + S_k − 1) / k, where Martins & Astudillo 2016 have S_k alone. The largest are
 * found one value after the other: n · k comparisons, nothing allocated, nothing sorted. */
static void row_sparsemax(int64_t n, const float *x, float *y)
{
    double sum = 0.0, sums = 0.0, k = 0.0;
    for (float v = row_max(n, x, NAN); 1.0 + (k + 1.0) * v > sum + v; v = row_max(n, x, v))
        for (double count = row_count(n, x, v); count > 0.0; count--) {
            sum += v;
            sums += sum;
            k++;
        }
    const vec tau = v_set((float)((sums - 1.0) / k));
    for (int64_t i = 0; i < n; i += V_LANES)
        row_store(y + i, v_max(v_zero(), v_sub(row_load(x + i, n - i, v_zero()), tau)), n - i);
}

/* First half · sigmoid(second half). */
static void row_glu(int64_t n, const float *x, float *y)
{
    const int64_t half = n / 2;
    for (int64_t i = 0; i < half; i += V_LANES) {
        const vec gate = v_sigmoid(row_load(x + half + i, half - i, v_zero()));
        row_store(y + i, v_mul(row_load(x + i, half - i, v_zero()), gate), half - i);
    }
}

static __attribute__((unused)) void k_activate_row(const fg_activation *f, int64_t n, const float *x, float *y)
{
    switch (f->function) {
    case FG_SOFTMAX: row_softmax(n, x, y); break;
    case FG_LOG_SOFTMAX: row_log_softmax(n, x, y); break;
    case FG_SPARSEMAX: row_sparsemax(n, x, y); break;
    case FG_GLU: row_glu(n, x, y); break;
    default: k_activate(f, n, x, y); break;
    }
}

#undef PARTS
#undef EACH_VECTOR

#endif
