/* The kernel `pool` of kernels.h over the names of a vector header. */
#ifndef FG_POOL_BODY_H
#define FG_POOL_BODY_H

#include "activate_body.h"

/* NaN stays, wherever it comes in. */
static inline __attribute__((always_inline)) vec pool_one(const fg_reduction f, vec so_far, vec x)
{
    if (f == FG_OVER_SUM)
        return v_add(so_far, x);
    return v_select(v_unordered(x, x), x, f == FG_OVER_MAXIMUM ? v_max(x, so_far) : v_min(x, so_far));
}

/* `vectors` vectors from element i on, the last of `n` elements. */
static inline __attribute__((always_inline)) void pool_block(const fg_reduction f, const fg_entries *e,
                                                             const int vectors, int64_t i, int64_t n, float *y)
{
    vec sums[4];
    for (int v = 0; v < vectors; v++)
        sums[v] = v_set(f == FG_OVER_SUM ? 0.0f : f == FG_OVER_MAXIMUM ? -INFINITY : INFINITY);
    for (int64_t t = 0; t < e->rows; t++) {
        const float *x = e->data + t * e->row_stride + i;
        for (int64_t j = 0; j < e->columns; j++, x += e->column_stride)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sums[v] = pool_one(f, sums[v], row_load(x + v * V_LANES, n - v * V_LANES, v_zero()));
    }
    for (int v = 0; v < vectors; v++)
        row_store(y + i + v * V_LANES, sums[v], n - v * V_LANES);
}

static inline __attribute__((always_inline)) void pool_all(const fg_reduction f, const fg_entries *e, int64_t n,
                                                           float *y)
{
    int64_t i = 0;
    for (; i + 4 * V_LANES <= n; i += 4 * V_LANES)
        pool_block(f, e, 4, i, 4 * V_LANES, y);
    for (; i + 2 * V_LANES <= n; i += 2 * V_LANES)
        pool_block(f, e, 2, i, 2 * V_LANES, y);
    for (; i < n; i += V_LANES)
        pool_block(f, e, 1, i, n - i, y);
}

static void k_pool(fg_reduction f, const fg_entries *e, int64_t n, float *y)
{
    switch (f) {
    case FG_OVER_MAXIMUM: pool_all(FG_OVER_MAXIMUM, e, n, y); break;
    case FG_OVER_MINIMUM: pool_all(FG_OVER_MINIMUM, e, n, y); break;
    default: pool_all(FG_OVER_SUM, e, n, y); break;
    }
}

#endif
