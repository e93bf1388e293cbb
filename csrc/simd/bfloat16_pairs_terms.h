/* How a tile multiplies by bfloat16 weights where the CPU multiplies pairs of bfloat16: what tiles_body.h asks of a
 * dtype. Rows, states among them, are rounded to bfloat16. The instruction takes denormals for zeros; how it rounds
 * within a pair is the CPU's. */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include "../kernels.h"
#include "tile.h"

#define TERMS_ROWS V_ROWS
#define TERMS_DEPTH 2
#define TERMS_BYTES 2
#define TERMS_PREPARED
#define TERMS_QUICK true

typedef int32_t term_row; /* a pair of bfloat16, the first in the low half */
typedef vec_pairs term_vec;
#define TERM_PARTS 1
#define TERM_VALUES(k) (((k) + 1) / 2)

TILE vec_pairs term_value(const int32_t *x, int64_t i)
{
    return v_set_pair(x[i]);
}

TILE vec_pairs term_weight(const char *w, const int part)
{
    (void)part;
    return v_load_pairs(w);
}
#define term_shared_weight term_weight

TILE vec term_add(vec_pairs value, vec_pairs weight, vec sum)
{
    return v_dot_pairs(value, weight, sum);
}

static int64_t k_row_bytes(int64_t k)
{
    return (2 * k + FG_ALIGN - 1) / FG_ALIGN * FG_ALIGN;
}

/* Inlined: a step of 4 units is about as short as a call. */
TILE void k_prepare(int64_t k, const float *x, void *row)
{
    uint16_t *to = row;
    for (; k > L; k -= 2 * L, x += 2 * L, to += 2 * L)
        v_store_bfloat16(to, v_loadu(x), k >= 2 * L ? v_loadu(x + L) : v_load_or(x + L, k - L, v_zero()));
    if (k > 0)
        v_store_bfloat16(to, k == L ? v_loadu(x) : v_load_or(x, k, v_zero()), v_zero());
}

#define k_prepare_state k_prepare

/* A vector of a state of k numbers, which needs to know nothing of the others. Behind the last number may stand NaN,
 * from an infinite input: zeros do, with which the weight beside an odd last one is multiplied. */
#define TERMS_PREPARE_GROUP
TILE void prepare_group(int64_t k, void *row, int64_t group, vec h)
{
    const int64_t left = k - group * L;
    v_store_half_bfloat16((uint16_t *)row + group * L, h, left < L ? left : L);
}

#include "chains.h"

#define limit_sum vec
#define limit_value vec_pairs
#define limit_zero v_zero
#define limit_load v_load_pairs
#define limit_add(sum, a, b) v_dot_pairs(a, b, sum)
#define LIMIT_INPUTS(adds) ((adds)*2)
#define LIMIT_GRU_INPUTS LIMIT_INPUTS
#define LIMIT_STATES LIMIT_INPUTS
#define LIMIT_WAITS 1
#include "limit_body.h"

#endif
