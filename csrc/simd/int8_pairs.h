/* Sums of int8 products by multiplying pairs of 16 bits: weights are widened, activations are prepared so. AVX2 also
 * multiplies bytes and adds pairs of the products in 16 bits, which saturate where one factor has 8 bits without a
 * sign. Magnitudes of states and of the upper bytes of inputs, at most 127, do not: they multiply w, or ~w = -w - 1
 * where the number is negative, and the magnitudes of the negative ones are what their sums begin with. */
#ifndef FG_INT8_SUMS_H
#define FG_INT8_SUMS_H

#include <stdbool.h>
#include <string.h>

#include "../kernels.h"
#include "int8_rows.h"

#define SUMS(kind) 1
#define BESIDE_ROWS 0

/* Sums that stay in registers beside weights and the activations of their rows; of a tile's vectors of columns those
 * that are summed at once. */
#ifdef IV_SIGNED_FOURS
#define SIDE(rows) ((rows) == 1 ? 4 : 1)
#define MOST_SUMS 12
#define VECTORS_AT_ONCE(kind, rows)                                                                                    \
    ((kind) == STATE_ROW || (kind) == R_ROW ? 12 : (rows) > 2 || (kind) == Z_N_ROW ? 2 : (rows) == 1 ? 6 : 3)
#define SUMS_FIRST true
#define STATES_BEGIN
#define R_APART true
#else
#define SIDE(rows) ((rows) == 1 ? 2 : 1)
#define MOST_SUMS (V_LANES == 16 ? 12 : 6)
#define VECTORS_AT_ONCE(kind, rows) MOST_SUMS
#define SUMS_FIRST false
#define R_APART false
#endif

/* An input is q + 128, so that without its lower byte it is rounded: fg_packed.offset takes that away. Where bytes are
 * multiplied, its upper byte stands behind all `numbers` once more, as a state does. */
TILE void store_input(char *row, int64_t k, int64_t numbers, ivec q)
{
    const ivec input = iv_add(q, iv_set(128));
    iv_store_pairs(row, k, input);
#ifdef IV_SIGNED_FOURS
    iv_store_signed(row + numbers, k, iv_over_256(input));
#else
    (void)numbers;
#endif
}

TILE void store_state(char *row, int64_t k, int64_t numbers, ivec q)
{
    (void)numbers;
#ifdef IV_SIGNED_FOURS
    iv_store_signed(row, k, q);
#else
    iv_store_pairs(row, k, q);
#endif
}

TILE const void *weights_of(const int8_t *w, const int i, const int vectors, int64_t panel_stride)
{
    return w + (i / vectors) * panel_stride + (i % vectors) * L * 4;
}

/* Two lanes that stand at x, everywhere. */
TILE void load_values(ivec *value, const char *x)
{
    int32_t first, second;
    memcpy(&first, x, sizeof first);
    memcpy(&second, x + 4, sizeof second);
    value[0] = iv_set(first);
    value[1] = iv_set(second);
}

/* The same without lower bytes. */
TILE void take_upper(ivec *upper, const ivec *value)
{
    upper[0] = iv_upper(value[0]);
    upper[1] = iv_upper(value[1]);
}

#ifdef IV_SIGNED_FOURS
/* As `add_four`, of bytes. */
TILE void add_signed_four(ivec *sums, const row_kind kind, const int rows, const int from, const int count,
                          const int vectors, const char *const *x, int64_t four, const int8_t *w, int64_t panel_stride)
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        ivec value[2]; /* magnitudes and signs */
        load_values(value, x[r] + four * 8);
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            const void *weight = weights_of(w, place(kind, from + i), vectors, panel_stride);
            iv_add_signed_fours(sums + r * count + i, value, weight);
        }
    }
}

/* As `add_four`, of one row for the gates; x[1] are its bytes. */
TILE void add_gates_four(ivec *sums, const int from, const int count, const char *const *x, int64_t four,
                         const int8_t *w, int64_t panel_stride)
{
    ivec value[2], bytes[2];
    load_values(value, x[0] + four * 8);
    load_values(bytes, x[1] + four * 8);
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
        const void *at = weights_of(w, from + i, PANEL, panel_stride);
        if (is_upper(GATES_ROW, from + i)) {
            iv_add_signed_fours(sums + i, bytes, at);
        } else {
            const ivec weight = iv_load(at), pairs[2] = {iv_even(weight), iv_odd(weight)};
            sums[i] = iv_add_pairs(sums[i], pairs, value);
        }
    }
}
#endif

/* The products of the four-th four numbers of each row with `count` vectors, from vector `from` on, of panels of
 * `vectors` vectors. */
TILE void add_four(ivec *sums, const row_kind kind, const int rows, const int from, const int count, const int vectors,
                   const char *const *x, int64_t four, const int8_t *w, int64_t panel_stride)
{
#ifdef IV_SIGNED_FOURS
    if (kind == STATE_ROW || kind == R_ROW) {
        add_signed_four(sums, kind, rows, from, count, vectors, x, four, w, panel_stride);
        return;
    }
    if (kind == GATES_ROW) {
        add_gates_four(sums, from, count, x, four, w, panel_stride);
        return;
    }
    if (rows > 2) { /* weights wait in registers for one row after the other */
        ivec pairs[4 * PANEL][2];
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            const ivec weight = iv_load(weights_of(w, place(kind, from + i), vectors, panel_stride));
            pairs[i][0] = iv_even(weight);
            pairs[i][1] = iv_odd(weight);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            ivec value[2];
            load_values(value, x[r] + four * 8);
#pragma GCC unroll 12
            for (int i = 0; i < count; i++)
                sums[r * count + i] = iv_add_pairs(sums[r * count + i], pairs[i], value);
        }
        return;
    }
#endif
    ivec value[FG_MAX_ROWS][2], upper[FG_MAX_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        load_values(value[r], x[r] + four * 8);
        take_upper(upper[r], value[r]);
    }
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
        const ivec weight = iv_load(weights_of(w, place(kind, from + i), vectors, panel_stride));
        const ivec pairs[2] = {iv_even(weight), iv_odd(weight)};
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sums[r * count + i] =
                iv_add_pairs(sums[r * count + i], pairs, is_upper(kind, from + i) ? upper[r] : value[r]);
    }
}

TILE ivec first_sum(const row_kind kind, const int i, int32_t begin, const int32_t *offset)
{
    return kind == STATE_ROW || kind == R_ROW || is_upper(kind, i) ? iv_set(begin) : iv_load(offset);
}

TILE ivec whole_sum(const ivec *sums, const row_kind kind, const int i)
{
    return kind == R_ROW || (R_APART && is_upper(kind, i)) ? iv_times_256(sums[0]) : sums[0];
}

/* of limits: widening weights aside, which the rows of a tile share */
TILE ivec limit_add(ivec sum, ivec a, ivec b)
{
    return iv_add(sum, iv_pairs(a, b));
}
#define LIMIT_INPUTS(adds) ((adds)*2)
#define LIMIT_GRU_INPUTS LIMIT_INPUTS
#define LIMIT_STATES LIMIT_INPUTS

#endif
