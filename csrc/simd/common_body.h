/* What kernel sets of one vector share (fg_common), written once over the names of a vector header. Included by one
 * isa_*.c per vector, which has included its vec_*.h and defined FG_COMMON, the name of the table to export. */
#include "../kernels.h"
#include "activate_body.h"
#include "activations.h"
#include "limits_body.h"
#include "pool_body.h"
#include "table_body.h"
#include "tile.h"

/* `vectors` vectors of columns; the last one has `left` of them, if that is less than a vector. */
TILE void combine_columns(const int vectors, int64_t k, const float *x, const float *m, int64_t stride, int64_t left,
                          float *y)
{
    vec sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++)
        sum[i] = v_zero();
    for (int64_t j = 0; j < k; j++, m += stride) {
        const vec value = v_set(x[j]);
#pragma GCC unroll 8
        for (int i = 0; i < vectors; i++)
            sum[i] = v_fma(value, row_load(m + i * L, left, v_zero()), sum[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++)
        row_store(y + i * L, sum[i], left);
}

static void k_combine(int64_t k, const float *x, const float *m, int64_t stride, int64_t columns, float *y)
{
    int64_t j = 0;
    for (; columns - j >= 8 * L; j += 8 * L)
        combine_columns(8, k, x, m + j, stride, L, y + j);
    for (; columns - j >= L; j += L)
        combine_columns(1, k, x, m + j, stride, L, y + j);
    if (j < columns)
        combine_columns(1, k, x, m + j, stride, columns - j, y + j);
}

/* Vectors of rows whose chains run side by side. */
#define DOT_SIDE (L == 1 ? 8 : 2)

/* The next `depth` terms, at most a vector of them, of a vector of rows: of `rows` of them, the others are not read. */
TILE vec dot_terms(vec sum, int depth, const float *x, const float *m, int64_t stride, int rows)
{
    vec columns[L];
    if (rows == L && depth == L) {
        v_load_columns(columns, m, stride);
    } else {
        float block[L * L] = {0};
        for (int i = 0; i < rows; i++)
            memcpy(block + i * L, m + i * stride, (size_t)depth * sizeof(float));
        v_load_columns(columns, block, L);
    }
#pragma GCC unroll 16
    for (int j = 0; j < L; j++)
        if (depth == L || j < depth)
            sum = v_fma(v_set(x[j]), columns[j], sum);
    return sum;
}

/* `side` vectors of rows; the last one has `left` of them. */
TILE void dot_rows(const int side, int64_t k, const float *x, const float *m, int64_t stride, int left, float *y)
{
    vec sums[8];
#pragma GCC unroll 8
    for (int i = 0; i < side; i++)
        sums[i] = v_zero();
    int64_t j = 0;
    for (; j + L <= k; j += L)
#pragma GCC unroll 8
        for (int i = 0; i < side; i++)
            sums[i] = dot_terms(sums[i], L, x + j, m + i * L * stride + j, stride, left);
    if (j < k)
#pragma GCC unroll 8
        for (int i = 0; i < side; i++)
            sums[i] = dot_terms(sums[i], (int)(k - j), x + j, m + i * L * stride + j, stride, left);
#pragma GCC unroll 8
    for (int i = 0; i < side; i++)
        row_store(y + i * L, sums[i], left);
}

static void k_dot(int64_t k, const float *x, const float *m, int64_t stride, int64_t rows, float *y)
{
    int64_t i = 0;
    for (; rows - i >= DOT_SIDE * L; i += DOT_SIDE * L)
        dot_rows(DOT_SIDE, k, x, m + i * stride, stride, L, y + i);
    for (; rows - i >= L; i += L)
        dot_rows(1, k, x, m + i * stride, stride, L, y + i);
    if (i < rows && rows >= L) /* some once more */
        dot_rows(1, k, x, m + (rows - L) * stride, stride, L, y + rows - L);
    else if (i < rows)
        dot_rows(1, k, x, m, stride, (int)rows, y);
}

const fg_common FG_COMMON = {
    .lanes = L,
    .combine = k_combine,
    .dot = k_dot,
    .activate = k_activate,
    .activate_row = k_activate_row,
    .pool = k_pool,
    .look_up = {look_up_float32, look_up_float16, look_up_bfloat16, look_up_int8},
    .limits = limit_kernels,
};
