/* Sums of int8 products by multiplying pairs of 16 bits: weights are widened, activations are prepared so. AVX2
 * also multiplies bytes and adds pairs of the products in 16 bits, which saturate where one factor has 8 bits without a
 * sign; magnitudes of states, at most 127, times weights that take their signs do not. */
#ifndef FG_INT8_SUMS_H
#define FG_INT8_SUMS_H

#include <stdbool.h>
#include <string.h>

#include "../kernels.h"
#include "tile.h"

/* Sums that stay in registers beside widened weights and the activations of their rows; vectors of sums for each vector
 * of columns. */
#define MOST_SUMS (V_LANES == 16 ? 12 : 6)
#define SUMS(is_state) 1

#define SIDE(rows) ((rows) == 1 ? 2 : 1)
#define BESIDE_ROWS 0
#define store_input iv_store_pairs
#ifdef IV_SIGNED_FOURS
#define store_state iv_store_bytes
#else
#define store_state iv_store_pairs
#endif

#ifdef IV_SIGNED_FOURS
/* As `add_four`, of states. */
TILE void add_state_four(ivec *sums, const int rows, const int panels, const int vectors, const char *const *x,
                         int64_t four, const int8_t *w, int64_t panel_stride)
{
    ivec value[FG_MAX_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        int32_t bytes;
        memcpy(&bytes, x[r] + four * 4, sizeof bytes);
        value[r] = iv_set(bytes);
    }
#pragma GCC unroll 12
    for (int i = 0; i < panels * vectors; i++) {
        const ivec weight = iv_load(w + (i / vectors) * panel_stride + (i % vectors) * L * 4);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            ivec *sum = sums + r * panels * vectors + i;
            *sum = iv_add_signed_fours(*sum, value[r], weight);
        }
    }
}
#endif

/* The products of the four-th four numbers of each row with `panels` panels of `vectors` vectors. */
TILE void add_four(ivec *sums, const bool is_state, const int rows, const int panels, const int vectors,
                   const char *const *x, int64_t four, const int8_t *w, int64_t panel_stride)
{
#ifdef IV_SIGNED_FOURS
    if (is_state) {
        add_state_four(sums, rows, panels, vectors, x, four, w, panel_stride);
        return;
    }
#else
    (void)is_state;
#endif
    ivec value[FG_MAX_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        int32_t first, second;
        memcpy(&first, x[r] + four * 8, sizeof first);
        memcpy(&second, x[r] + four * 8 + 4, sizeof second);
        value[r][0] = iv_set(first);
        value[r][1] = iv_set(second);
    }
#pragma GCC unroll 12
    for (int i = 0; i < panels * vectors; i++) {
        const ivec weight = iv_load(w + (i / vectors) * panel_stride + (i % vectors) * L * 4);
        const ivec pairs[2] = {iv_even(weight), iv_odd(weight)};
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            ivec *sum = sums + r * panels * vectors + i;
            *sum = iv_add_pairs(*sum, pairs, value[r]);
        }
    }
}

TILE ivec whole_sum(const ivec *sums, const bool is_state, const int32_t *offset)
{
    (void)is_state;
    (void)offset;
    return sums[0];
}

/* of limits: widening weights aside, which the rows of a tile share */
TILE ivec limit_add(ivec sum, ivec a, ivec b)
{
    return iv_add(sum, iv_pairs(a, b));
}
#define LIMIT_INPUT_TERMS 2
#define LIMIT_STATE_TERMS 2

#endif
