/* A product beside the recurrent one of a step of one row: see fg_beside. The step waits for bytes of its weights,
 * with but one dot product for each vector of them; two of an input fit in between.
 *
 * Sums of a panel are whole numbers until its depth is done, and stand in y as such. */
#ifndef FG_INT8_BESIDE_H
#define FG_INT8_BESIDE_H

#include "int8_terms.h"

#ifdef STATES_BEGIN
#error "sums of states begin with offsets alone here and in int8_together.h"
#endif

/* One sum of high bytes and one of low bytes for each row and vector. */
enum { BESIDE_SUMS = BESIDE_ROWS * PANEL * 2 };

TILE void load_beside(ivec *sums, const fg_beside *beside, int64_t column)
{
    const int32_t *offset = beside->product->weights.offset + column;
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++)
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++) {
            ivec *sum = sums + (r * PANEL + i) * 2;
            const ivec begun = beside->k ? iv_load(beside->y[r] + column + i * L) : iv_load(offset + i * L);
            const bool lower = beside->k && !is_upper(GATES_ROW, i); /* what has begun is the whole sum */
            sum[0] = lower ? iv_zero() : begun;
            sum[1] = begun;
        }
}

TILE void store_beside(const ivec *sums, const fg_beside *beside, int64_t column, bool is_done)
{
    const fg_product *p = beside->product;
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++)
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++) {
            const ivec *parts = sums + (r * PANEL + i) * 2;
            const ivec sum = whole_sum(parts, GATES_ROW, i);
            float *y = beside->y[r] + column + i * L;
            if (is_done) {
                const vec total = iv_float(sum);
                vec result = v_load(p->bias + column + i * L);
                add_scaled(&result, &total, 1, beside->x[r], &p->weights, column + i * L);
                v_store(y, result);
            } else {
                iv_store(y, is_upper(GATES_ROW, i) ? parts[0] : sum);
            }
        }
}

/* Fours of a state before each four of the product beside it where both are equally deep: a constant spares a loop in
 * the loop. */
#define OFTEN_BETWEEN BESIDE_ROWS

/* `between` fours of one state from `four` on, and four j of the product beside it. */
TILE void take_turn(ivec *sums, const int count, const int vectors, const char *row, int64_t four, int64_t between,
                    const int8_t *w, int64_t panel_stride, ivec *beside_sums, const char *const *rows, int64_t j,
                    const int8_t *beside_w)
{
    for (const int64_t stop = four + between; four < stop; four++)
        add_four(sums, STATE_ROW, 1, 0, count, vectors, &row, four, w + four * vectors * L * 4, panel_stride);
    add_four(beside_sums, GATES_ROW, BESIDE_ROWS, 0, PANEL, PANEL, rows, j, beside_w + j * PANEL * L * 4, 0);
}

/* As `accumulate` for one state, and the next `share` fours of the product beside it. Both are one slice deep. The
 * state takes as many panels at once as registers hold, a part of the share each. */
TILE void accumulate_beside(vec *acc, const int panels, const int vectors, const void *state, int64_t depth,
                            const fg_packed *weights, int64_t column, int64_t share, fg_beside *beside)
{
    const int at_once = vectors ? at_most(panels, PANEL / vectors) : 1, count = at_once * vectors;
    const int64_t fours = (depth + 3) / 4, panel_stride = fours * 4 * vectors * L;
    const int64_t beside_fours = (beside->product->k + 3) / 4, beside_column = beside->panel * PANEL * L;
    const int64_t begin = beside->k, end = begin + share < beside_fours ? begin + share : beside_fours;
    const int8_t *beside_w = (const int8_t *)beside->product->weights.w + beside_column * beside_fours * 4;
    const char *row = (const char *)state + FG_ALIGN, *rows[BESIDE_ROWS];
    ivec beside_sums[BESIDE_SUMS];
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++)
        rows[r] = (const char *)beside->x[r] + FG_ALIGN;
    load_beside(beside_sums, beside, beside_column);
    int64_t j = begin;
#pragma GCC unroll 4
    for (int panel = 0; panel < panels; panel += at_once, acc += count, column += count * L) {
        const int64_t stop_j = panel + at_once < panels ? begin + (end - begin) * (panel + at_once) / panels : end;
        const int64_t turns = stop_j - j;
        const int8_t *w = (const int8_t *)weights->w + column * fours * 4;
        ivec sums[PANEL];
        vec total[PANEL];
        int64_t four = 0;
#pragma GCC unroll 3
        for (int i = 0; i < count; i++)
            sums[i] = first_sum(STATE_ROW, i, 0, weights->offset + column + i * L);
        if (turns * OFTEN_BETWEEN <= fours && turns * (OFTEN_BETWEEN + 1) > fours) {
            for (; j < stop_j; j++, four += OFTEN_BETWEEN)
                take_turn(sums, count, vectors, row, four, OFTEN_BETWEEN, w, panel_stride, beside_sums, rows, j,
                          beside_w);
        } else if (turns > 0) {
            const int64_t between = fours / turns;
            for (; j < stop_j; j++, four += between)
                take_turn(sums, count, vectors, row, four, between, w, panel_stride, beside_sums, rows, j, beside_w);
        }
        for (; four < fours; four++)
            add_four(sums, STATE_ROW, 1, 0, count, vectors, &row, four, w + four * vectors * L * 4, panel_stride);
#pragma GCC unroll 3
        for (int i = 0; i < count; i++)
            total[i] = iv_float(whole_sum(sums + i, STATE_ROW, i));
        add_scaled(acc, total, count, state, weights, column);
    }
    for (; j < end; j++)
        add_four(beside_sums, GATES_ROW, BESIDE_ROWS, 0, PANEL, PANEL, rows, j, beside_w + j * PANEL * L * 4, 0);
    store_beside(beside_sums, beside, beside_column, end == beside_fours);
    beside->k = end;
    if (end == beside_fours) {
        beside->k = 0;
        beside->panel += beside->way;
        beside->left--;
    }
}

/* A function for each number of panels and vectors: inlined, GCC 12 gives registers of the sums to what the gates need.
 */
typedef void beside_fn(vec *acc, const void *state, int64_t depth, const fg_packed *weights, int64_t column,
                       int64_t share, fg_beside *beside);

#define BESIDE_FUNCTION(panels, vectors)                                                                               \
    static __attribute__((noinline)) void beside_##panels##_##vectors(vec *acc, const void *state, int64_t depth,      \
                                                                      const fg_packed *weights, int64_t column,        \
                                                                      int64_t share, fg_beside *beside)                \
    {                                                                                                                  \
        accumulate_beside(acc, panels, vectors, state, depth, weights, column, share, beside);                         \
    }
BESIDE_FUNCTION(1, 1)
BESIDE_FUNCTION(3, 1)
BESIDE_FUNCTION(1, 2)
BESIDE_FUNCTION(2, 2)
BESIDE_FUNCTION(4, 2)
BESIDE_FUNCTION(1, 3)
BESIDE_FUNCTION(2, 3)
BESIDE_FUNCTION(4, 3)

TILE beside_fn *beside_function(const int panels, const int vectors)
{
    static beside_fn *const functions[3][4] = {{beside_1_1, NULL, beside_3_1, NULL},
                                               {beside_1_2, beside_2_2, NULL, beside_4_2},
                                               {beside_1_3, beside_2_3, NULL, beside_4_3}};
    return functions[vectors - 1][panels - 1];
}

static void k_finish(fg_beside *beside)
{
    const fg_product *p = beside->product;
    while (beside->left)
        accumulate_beside(NULL, 0, 0, beside->x[0], 0, &p->weights, 0, (p->k + 3) / 4, beside);
}

#endif
