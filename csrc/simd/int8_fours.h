/* Sums of int8 products by dot products of four bytes (VNNI): unsigned activations, signed weights. An input's 16 bits
 * are q + 32768 + 128, its upper and its lower byte, summed apart with the same weights; a state is the byte q + 128.
 * What that adds to each byte is 128 for every row: fg_packed.offset takes it away. */
#ifndef FG_INT8_SUMS_H
#define FG_INT8_SUMS_H

#include <stdbool.h>
#include <string.h>

#include "../kernels.h"
#include "int8_rows.h"

/* Sums that stay in registers; vectors of sums for each vector of columns. */
#define MOST_SUMS (V_LANES == 16 ? 24 : 12)
#define SUMS(kind) ((kind) == STATE_ROW ? 1 : 2)
#define VECTORS_AT_ONCE(kind, rows) (MOST_SUMS / SUMS(kind))
#define SUMS_FIRST false
#define R_APART false

#if V_LANES < 16
#define iv_load_once iv_load
#endif

/* Whether weights that several values multiply stay in registers: with the sums they may take 29 of 32. r's panels have
 * no sums of lower bytes. */
TILE bool weights_stay(const row_kind kind, const int rows, const int count)
{
    const int uppers = kind == GATES_ROW ? count / PANEL : 0;
    return V_LANES == 16 && rows * SUMS(kind) > 1 && rows * (count * SUMS(kind) - uppers) + count < 30;
}

/* Groups side by side in one pass: see chains.h. */
#define SIDE(rows) ((rows) <= 2 ? 2 : 1)

/* Rows of a product beside a step: their sums and those of the step fill 32 registers. */
#if V_LANES == 16
#define BESIDE_ROWS 5
#define BESIDE_SIDE 4
#define BESIDE_CANDIDATE_SIDE 3
#else
#define BESIDE_ROWS 0
#endif

TILE void store_input(char *row, int64_t k, int64_t numbers, ivec q)
{
    (void)numbers;
    iv_store_halves(row, k, iv_add(q, iv_set(32768 + 128)));
}

TILE void store_state(char *row, int64_t k, int64_t numbers, ivec q)
{
    (void)numbers;
    iv_store_bytes(row, k, iv_add(q, iv_set(128)));
}

/* The products of the four-th four numbers of each row with `count` vectors, from vector `from` on, of panels of
 * `vectors` vectors. */
TILE void add_four(ivec *sums, const row_kind kind, const int rows, const int from, const int count, const int vectors,
                   const char *const *x, int64_t four, const int8_t *w, int64_t panel_stride)
{
    const int sums_each = SUMS(kind);
    const bool stay = weights_stay(kind, rows, count);
    ivec weight[4 * PANEL];
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
        const int8_t *at = w + ((from + i) / vectors) * panel_stride + ((from + i) % vectors) * L * 4;
        weight[i] = stay ? iv_load_once(at) : iv_load(at);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int half = 0; half < sums_each; half++) {
            int32_t bytes;
            memcpy(&bytes, x[r] + (four * sums_each + half) * 4, sizeof bytes);
            const ivec value = iv_set(bytes);
            ivec *sum = sums + r * count * sums_each + half;
#pragma GCC unroll 12
            for (int i = 0; i < count; i++)
                if (half == 0 || !is_upper(kind, from + i))
                    sum[i * sums_each] = iv_add_fours(sum[i * sums_each], value, weight[i]);
        }
}

#define limit_add iv_add_fours
#define LIMIT_INPUTS(adds) ((adds)*2)
#define LIMIT_GRU_INPUTS(adds) ((adds)*12 / 5) /* without r's lower byte */
#define LIMIT_STATES(adds) ((adds)*4)

TILE ivec first_sum(const row_kind kind, const int i, int32_t begin, const int32_t *offset)
{
    (void)kind, (void)i, (void)begin;
    return iv_load(offset);
}

TILE ivec whole_sum(const ivec *sums, const row_kind kind, const int i)
{
    if (kind == STATE_ROW)
        return sums[0];
    const ivec upper = iv_times_256(sums[0]);
    return is_upper(kind, i) ? upper : iv_add(upper, sums[1]);
}

#endif
