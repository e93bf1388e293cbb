/* How a tile multiplies by int8 weights: what tiles_body.h asks of a dtype, over the names of an ints_*.h and of the
 * header of its sums (int8_fours.h, int8_pairs.h).
 *
 * A prepared row is a header of FG_ALIGN bytes, of which the first four are the row's scale, and its numbers
 *
 *     q[k] = round(x[k] · (most / peak))    peak = max |x|, most = 32512 for inputs and 127 for states
 *     scale = peak / most                   peak below LEAST_PEAK: zeros, and the scale 0
 *
 * and, where the header of its sums says STATES_BEGIN, behind these an input's upper bytes, and what the sums of each
 * slice of those or of a state begin with, 32 bits each. Rounding is to nearest, to even. NaN anywhere in a row makes
 * all its results NaN; infinity counts as the largest float. The products of q and weights are summed exactly, slice by
 * slice; what is float is the same on every vector set:
 *
 *     y = fma(Σ float(sum of a slice) · scale, column's scale, y) */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "../kernels.h"
#include "activate_body.h"
#include "tile.h"

#define TERMS_ROWS 4
#define TERMS_DEPTH 4
#define TERMS_BYTES 1
#define TERMS_PREPARED
#define TERMS_QUICK true
#define TERMS_GATES true
#define TERMS_STATE(r, field) ((r)->state)
#define CANDIDATE_SIDE(rows) ((rows) <= 3 ? 4 : 3)

/* ---- prepared rows ----------------------------------------------------------------------------------------------- */

/* The least peak whose scale, and its inverse, are normal numbers. */
#define LEAST_PEAK 1e-30f

TILE int64_t whole_lines(int64_t bytes)
{
    return (bytes + FG_ALIGN - 1) / FG_ALIGN * FG_ALIGN;
}

/* Bytes that k numbers take. */
TILE int64_t numbers_bytes(int64_t k)
{
    return whole_lines(2 * k);
}

/* The numbers of a row; of an input's upper bytes alone those that stand behind. */
TILE const char *numbers_of(const void *row, const row_kind kind, int64_t k)
{
    return (const char *)row + FG_ALIGN + (kind == R_ROW ? numbers_bytes(k) : 0);
}

#ifdef STATES_BEGIN
TILE int64_t slices(int64_t k)
{
    return (k + FG_SLICE - 1) / FG_SLICE;
}

/* What the sums of a row's bytes begin with, slice by slice. */
TILE int32_t *begins(const void *row, int64_t k)
{
    return (int32_t *)((char *)row + FG_ALIGN + 2 * numbers_bytes(k));
}
TILE void set_begins(void *row, const row_kind kind, int64_t k)
{
    for (int64_t slice = 0; slice < slices(k); slice++) {
        const int64_t from = slice * FG_SLICE, left = k - from;
        begins(row, k)[slice] = iv_negative_total(numbers_of(row, kind, k), from, left < FG_SLICE ? left : FG_SLICE);
    }
}
#endif

static int64_t k_row_bytes(int64_t k)
{
#ifdef STATES_BEGIN
    return FG_ALIGN + 2 * numbers_bytes(k) + whole_lines(slices(k) * (int64_t)sizeof(int32_t));
#else
    return FG_ALIGN + numbers_bytes(k);
#endif
}

TILE void round_row(int64_t k, const float *x, char *row, const vec factor, const bool clamped,
                    void (*const store)(char *, int64_t, int64_t, ivec))
{
    int64_t i = 0;
    for (; i + L <= k; i += L) {
        const vec value = v_loadu(x + i);
        store(row, i, numbers_bytes(k), iv_round(v_mul(clamped ? v_clamp(value, -FLT_MAX, FLT_MAX) : value, factor)));
    }
    if (i < k) {
        const vec value = v_load_or(x + i, k - i, v_zero());
        store(row, i, numbers_bytes(k), iv_round(v_mul(clamped ? v_clamp(value, -FLT_MAX, FLT_MAX) : value, factor)));
    }
}

TILE void prepare(int64_t k, const float *x, char *row, const float most,
                  void (*const store)(char *, int64_t, int64_t, ivec))
{
    ivec magnitudes = iv_zero();
    int64_t i = 0;
    for (; i + L <= k; i += L)
        magnitudes = iv_magnitude(magnitudes, v_loadu(x + i));
    if (i < k)
        magnitudes = iv_magnitude(magnitudes, v_load_or(x + i, k - i, v_zero()));
    float peak = iv_largest(magnitudes);
    const bool is_infinite = peak == INFINITY;
    if (__builtin_expect(is_infinite, false))
        peak = FLT_MAX;
    const bool is_zero = peak < LEAST_PEAK;
    const float scale = is_zero ? 0.0f : peak / most;
    const vec factor = v_set(is_zero ? 0.0f : most / peak);
    memcpy(row, &scale, sizeof scale);
    if (__builtin_expect(is_infinite, false))
        round_row(k, x, row + FG_ALIGN, factor, true, store);
    else
        round_row(k, x, row + FG_ALIGN, factor, false, store);
}

static void k_prepare(int64_t k, const float *x, void *row)
{
    prepare(k, x, row, 32512.0f, store_input);
#ifdef STATES_BEGIN
    set_begins(row, R_ROW, k);
#endif
}

static void k_prepare_state(int64_t k, const float *h, void *row)
{
    prepare(k, h, row, 127.0f, store_state);
#ifdef STATES_BEGIN
    set_begins(row, STATE_ROW, k);
#endif
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* acc[i] += total[i], of one prepared row, in its scale and those of the columns. */
TILE void add_scaled(vec *acc, const vec *total, const int count, const void *row, const fg_packed *weights,
                     int64_t column)
{
    float scale;
    memcpy(&scale, row, sizeof scale);
#pragma GCC unroll 12
    for (int i = 0; i < count; i++)
        acc[i] = v_fma(v_mul(total[i], v_set(scale)), v_load(weights->scale + column + i * L), acc[i]);
}

/* Lets vectors wait in memory: GCC 12 would rather take registers from sums of the loop over depth. */
TILE void spill(vec *vectors, const int count)
{
#pragma GCC unroll 64
    for (int i = 0; i < count; i++)
        __asm__("" : "+m"(vectors[i]));
}

/* What sums of a slice of bytes begin with beside offsets. */
TILE int32_t byte_sums_begin(const row_kind kind, const void *row, int64_t depth, int64_t slice)
{
#ifdef STATES_BEGIN
    if (kind != INPUT_ROW)
        return begins(row, depth)[slice];
#endif
    (void)kind, (void)row, (void)depth, (void)slice;
    return 0;
}

/* The sums of one slice. */
TILE void sum_slice(ivec *sums, const row_kind kind, const int rows, const int from, const int count, const int vectors,
                    const void *const *x, int64_t depth, const fg_packed *weights, int64_t column, int64_t slice)
{
    const int sums_each = SUMS(kind);
    const int64_t fours = (depth + 3) / 4, panel_stride = fours * 4 * vectors * L, first = slice * (FG_SLICE / 4);
    const int64_t end = fours - first < FG_SLICE / 4 ? fours : first + FG_SLICE / 4;
    const int8_t *w = (const int8_t *)weights->w + (column * fours + first * vectors * L) * 4;
    const int32_t *offset = weights->offset + slice * weights->width + column;
    const char *row[FG_MAX_ROWS + 1];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        row[r] = numbers_of(x[r], kind, depth);
    row[rows] = numbers_of(x[0], R_ROW, depth); /* of a lone input its bytes, where r is apart */
#pragma GCC unroll 64
    for (int i = 0; i < rows * count * sums_each; i++)
        sums[i] =
            first_sum(kind, from + i / sums_each % count, byte_sums_begin(kind, x[i / sums_each / count], depth, slice),
                      offset + place(kind, from + i / sums_each % count) * L);
    for (int64_t four = first; four < end; four++, w += vectors * L * 4)
        add_four(sums, kind, rows, from, count, vectors, row, four, w, panel_stride);
}

/* As `accumulate`, for so many rows, and so many vectors of the panels from vector `from` on, that the sums stay in
 * registers; acc[r] begins `stride` vectors on. One slice is most often all: the loop over several costs a lone step a
 * tenth. */
TILE void add_block(vec *acc, const int stride, const row_kind kind, const int rows, const int from, const int count,
                    const int vectors, const void *const *x, int64_t depth, const fg_packed *weights, int64_t column)
{
    const int sums_each = SUMS(kind);
    ivec sums[FG_MAX_ROWS * 4 * PANEL * 2];
    vec total[FG_MAX_ROWS * 4 * PANEL];
    if (depth <= FG_SLICE) {
        sum_slice(sums, kind, rows, from, count, vectors, x, depth, weights, column, 0);
#pragma GCC unroll 64
        for (int i = 0; i < rows * count; i++)
            total[i] = iv_float(whole_sum(sums + i * sums_each, kind, from + i % count));
    } else {
#pragma GCC unroll 64
        for (int i = 0; i < rows * count; i++)
            total[i] = v_zero();
        for (int64_t slice = 0; slice * FG_SLICE < depth; slice++) {
            spill(total, rows * count);
            sum_slice(sums, kind, rows, from, count, vectors, x, depth, weights, column, slice);
#pragma GCC unroll 64
            for (int i = 0; i < rows * count; i++)
                total[i] = v_add(total[i], iv_float(whole_sum(sums + i * sums_each, kind, from + i % count)));
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            const int at = place(kind, from + i);
            add_scaled(acc + r * stride + at, total + r * count + i, 1, x[r], weights, column + at * L);
        }
}

TILE void add_blocks(vec *acc, const row_kind kind, const int rows, const int panels, const int vectors,
                     const void *const *x, int64_t depth, const fg_packed *weights, int64_t column)
{
    const int stride = panels * vectors, many = MOST_SUMS / SUMS(kind);
    const int all = kind == R_ROW ? panels : kind == Z_N_ROW ? panels * 2 : stride;
    const int at_once = at_most(all, VECTORS_AT_ONCE(kind, rows)), rows_at_once = at_most(rows, many / at_once);
    if (SUMS_FIRST)
        spill(acc, rows * stride);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r += rows_at_once)
#pragma GCC unroll 12
        for (int from = 0; from < all; from += at_once)
            add_block(acc + r * stride, stride, kind, at_most(rows_at_once, rows - r), from,
                      at_most(at_once, all - from), vectors, x + r, depth, weights, column);
}

TILE void accumulate(vec *acc, const int rows, const int panels, const int vectors, const void *const *x, int64_t depth,
                     const fg_packed *weights, int64_t column)
{
    add_blocks(acc, INPUT_ROW, rows, panels, vectors, x, depth, weights, column);
}

/* The same for the input of a GRU. */
TILE void accumulate_gates(vec *acc, const int rows, const int panels, const void *const *x, int64_t depth,
                           const fg_packed *weights, int64_t column)
{
    if (R_APART && rows > 1) {
        add_blocks(acc, Z_N_ROW, rows, panels, PANEL, x, depth, weights, column);
        add_blocks(acc, R_ROW, rows, panels, PANEL, x, depth, weights, column);
    } else {
        add_blocks(acc, GATES_ROW, rows, panels, PANEL, x, depth, weights, column);
    }
}

#if BESIDE_ROWS
#include "int8_beside.h"
#include "int8_together.h"
#endif

TILE void accumulate_state(vec *acc, const int rows, const int groups, const int vectors, const void *const *x,
                           int64_t depth, const fg_packed *weights, int64_t column, fg_beside *beside)
{
#if BESIDE_ROWS
    if (rows == 1 && beside && beside->left) {
        /* a share for every pass of the state's vectors; what they leave of a tile is done behind its last step */
        const int64_t parts = beside->steps * PANEL, fours = (beside->product->k + 3) / 4;
        const int64_t share = at_most(groups, PANEL / vectors) * vectors * fours;
        beside_function(groups, vectors)(acc, x[0], depth, weights, column, (share + parts - 1) / parts, beside);
        return;
    }
#endif
    (void)beside;
    add_blocks(acc, STATE_ROW, rows, groups, vectors, x, depth, weights, column);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

#define limit_sum ivec
#define limit_value ivec
#define limit_zero iv_zero
#define limit_load iv_load
#define LIMIT_WAITS 0 /* whole numbers may be summed in any order */
#include "limit_body.h"

#endif
