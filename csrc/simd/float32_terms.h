/* How a tile multiplies by float32 weights: what tiles_body.h asks of a dtype. */
#ifndef FG_TERMS_H
#define FG_TERMS_H

#include "../kernels.h"
#include "tile.h"

#define TERMS_ROWS V_ROWS
#define TERMS_DEPTH 1
#define TERMS_BYTES 4

/* Which rows a step multiplies: `field` of its rows, as they lie. */
#define TERMS_STATE(r, field) ((const void *const *)(r)->field)

/* Groups (or panels) side by side in one pass: enough independent chains to cover the latency of an FMA, few enough to
 * stay in registers (16 or 32), to keep few streams of weights and to turn around in L1 when a sweep does. */
#define SIDE(rows) (V_ROWS == 8 ? ((rows) <= 4 ? 2 : 1) : ((rows) == 1 ? 4 : (rows) == 2 ? 2 : 1))

/* The candidate of reset_after=false has but one vector a group. */
#define CANDIDATE_SIDE(rows) (V_ROWS == 8 ? ((rows) == 1 ? 4 : (rows) <= 4 ? 2 : 1) : ((rows) <= 3 ? 4 : 3))

/* Rows of a product beside a step, and groups that the step then walks at once: sums of both stay in registers. With
 * 16 registers there are too few for both (measured: up to 1.3 times slower than one after the other). */
#if V_ROWS == 8
#define BESIDE_ROWS 6
#define BESIDE_SIDE 2
#define BESIDE_CANDIDATE_SIDE 4
#else
#define BESIDE_ROWS 0
#endif

/* acc[r][p][v] += x[r][k] · w[p][v] */
TILE void accumulate_term(vec *acc, const int rows, const int panels, const int vectors, const float *const *x,
                          int64_t k, const float *w, int64_t panel_stride)
{
    vec weight[4 * PANEL];
#pragma GCC unroll 12
    for (int i = 0; i < panels * vectors; i++)
        weight[i] = v_load(w + (i / vectors) * panel_stride + (i % vectors) * L);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        vec value = v_set(x[r][k]);
#pragma GCC unroll 12
        for (int i = 0; i < panels * vectors; i++)
            acc[r * panels * vectors + i] = v_fma(value, weight[i], acc[r * panels * vectors + i]);
    }
}

/* acc[r][p][v] += Σk x[r][k] · w[p][k][v], one chain per element, k ascending. */
TILE void accumulate(vec *acc, const int rows, const int panels, const int vectors, const void *const *x, int64_t depth,
                     const fg_packed *weights, int64_t column)
{
    const float *w = (const float *)weights->w + column * depth;
    const int64_t panel_stride = depth * vectors * L;
    const float *row[FG_MAX_ROWS];
    for (int r = 0; r < rows; r++)
        row[r] = x[r];
    if (panels * vectors <= 2) { /* few sums: four terms share the work of finding the rows */
#pragma GCC unroll 4
        for (int64_t k = 0; k < depth; k++, w += vectors * L)
            accumulate_term(acc, rows, panels, vectors, row, k, w, panel_stride);
        return;
    }
    for (int64_t k = 0; k < depth; k++, w += vectors * L)
        accumulate_term(acc, rows, panels, vectors, row, k, w, panel_stride);
}

#if BESIDE_ROWS
/* One more term of a tile's sums: sums[r][i] += x[r][j] · w[i]. */
TILE void add_term(vec *sums, const float *const *x, int64_t j, const float *w)
{
    vec weight[PANEL];
#pragma GCC unroll 3
    for (int i = 0; i < PANEL; i++)
        weight[i] = v_load(w + i * L);
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++) {
        const vec value = v_set(x[r][j]);
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++)
            sums[r * PANEL + i] = v_fma(value, weight[i], sums[r * PANEL + i]);
    }
}

TILE void add_state_term(vec *acc, const int panels, const int vectors, float x, const float *w, int64_t panel_stride)
{
    const vec value = v_set(x);
#pragma GCC unroll 12
    for (int i = 0; i < panels * vectors; i++)
        acc[i] = v_fma(value, v_load(w + (i / vectors) * panel_stride + (i % vectors) * L), acc[i]);
}

/* As `accumulate` for one row, and `share` terms of the product beside it: loads of the one and FMAs of the other
 * overlap. */
TILE void accumulate_beside(vec *acc, const int panels, const int vectors, const float *x, int64_t depth,
                            const float *w, int64_t panel_stride, int64_t share, fg_beside *beside)
{
    const fg_product *p = beside->product;
    const int64_t column = beside->panel * PANEL * L;
    const float *terms = (const float *)p->weights.w + column * p->k + beside->k * PANEL * L;
    const int64_t end = beside->k + share < p->k ? beside->k + share : p->k;
    const int64_t between = depth / (end - beside->k);
    const float *xs[BESIDE_ROWS];
    vec sums[BESIDE_ROWS * PANEL];
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++) {
        xs[r] = (const float *)beside->x[r];
        const float *from = beside->k ? beside->y[r] + column : p->bias + column;
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++)
            sums[r * PANEL + i] = v_load(from + i * L);
    }
    const float *const x_end = x + depth;
    for (int64_t j = beside->k; j < end; j++) {
        for (const float *const stop = x + between; x < stop; x++) {
            add_state_term(acc, panels, vectors, *x, w, panel_stride);
            w += vectors * L;
        }
        add_term(sums, xs, j, terms);
        terms += PANEL * L;
    }
    for (; x < x_end; x++) {
        add_state_term(acc, panels, vectors, *x, w, panel_stride);
        w += vectors * L;
    }
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++)
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++)
            v_store(beside->y[r] + column + i * L, sums[r * PANEL + i]);
    beside->k = end;
    if (end == p->k) {
        beside->k = 0;
        beside->panel++;
    }
}

static void k_finish(fg_beside *beside)
{
    while (beside->panel < beside->last)
        accumulate_beside(NULL, 0, 0, NULL, 0, NULL, 0, beside->product->k, beside);
}
#endif

/* The recurrent sums of a tile. */
TILE void accumulate_state(vec *acc, const int rows, const int groups, const int vectors, const void *const *x,
                           int64_t depth, const fg_packed *weights, int64_t column, fg_beside *beside)
{
#if BESIDE_ROWS
    if (rows == 1 && beside && beside->panel < beside->last) {
        /* a share for every vector: done after as many steps as the product has rows */
        const int64_t parts = BESIDE_ROWS * PANEL, share = (groups * vectors * beside->product->k + parts - 1) / parts;
        accumulate_beside(acc, groups, vectors, (const float *)x[0], depth, (const float *)weights->w + column * depth,
                          depth * vectors * L, share, beside);
        return;
    }
#endif
    (void)beside;
    accumulate(acc, rows, groups, vectors, x, depth, weights, column);
}

#endif
