/* Sums of int8 products by multiplying pairs of 16 bits: weights are widened, activations are prepared so. Sums of
 * products of bytes, which AVX2 has too, would saturate. */
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

#define store_input iv_store_pairs
#define store_state iv_store_pairs

/* The products of the four-th four numbers of each row with `panels` panels of `vectors` vectors. */
TILE void add_four(ivec *sums, const bool is_state, const int rows, const int panels, const int vectors,
                   const char *const *x, int64_t four, const int8_t *w, int64_t panel_stride)
{
    (void)is_state;
    ivec value[FG_MAX_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        int32_t pairs[2];
        memcpy(pairs, x[r] + four * 8, sizeof pairs);
        value[r][0] = iv_set(pairs[0]);
        value[r][1] = iv_set(pairs[1]);
    }
#pragma GCC unroll 12
    for (int i = 0; i < panels * vectors; i++) {
        const ivec weight = iv_load(w + (i / vectors) * panel_stride + (i % vectors) * L * 4);
        const ivec even = iv_even(weight), odd = iv_odd(weight);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            ivec *sum = sums + r * panels * vectors + i;
            *sum = iv_add_pairs(iv_add_pairs(*sum, even, value[r][0]), odd, value[r][1]);
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
#define limit_add iv_add_pairs
#define LIMIT_INPUT_TERMS 2
#define LIMIT_STATE_TERMS 2

#endif
