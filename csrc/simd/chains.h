/* Sums that are chains of fused multiply-adds: `accumulate` and its kin, for the terms of float32 and of 16 bits.
 *
 * A row is read as *values*, one after the other: of each one vector broadcasts it, and all columns multiply it. A
 * *term* is what one vector of packed weights belongs to: TERM_PARTS values. A chain takes values in ascending order.
 *
 * The including header defines beside what tiles_body.h wants of it
 *   term_row              what a value of a row is held in
 *   TERM_PARTS            values of a term
 *   TERM_VALUES(k)        values of a row of k
 *   term_vec              what a vector multiplies
 *   term_value(x, i)      value i of a row
 *   term_weight(w, part)  the vector of weights at w that belongs to this part of its term, a constant
 *   term_shared_weight(w, part)  the same of a part that is no constant
 *   term_add(value, weight, sum)  one link of the chains */
#ifndef FG_CHAINS_H
#define FG_CHAINS_H

#include "../kernels.h"
#include "tile.h"

#define TERM_BYTES (L * TERMS_DEPTH * TERMS_BYTES) /* of a vector of packed weights */

/* Which rows a step multiplies: `field` of its rows as they lie, or what was prepared of them. */
#ifdef TERMS_PREPARED
#define TERMS_STATE(r, field) ((r)->state)
#else
#define TERMS_STATE(r, field) ((const void *const *)(r)->field)
#endif

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

/* Terms of a row of k: the last one may have fewer values than parts. */
TILE int64_t terms_of(int64_t k)
{
    return (TERM_VALUES(k) + TERM_PARTS - 1) / TERM_PARTS;
}

/* acc[r][p][v] += x[r][i] · w[p][v], value i of each row being this part of a term; panels stand `stride` bytes apart.
 * Of two rows the values wait in registers for one weight after the other, of more the weights for one value. */
TILE void add_value(vec *acc, const int rows, const int panels, const int vectors, const term_row *const *x, int64_t i,
                    const char *w, int64_t stride, int part)
{
    const int sums = panels * vectors;
    if (rows == 2) {
        const term_vec first = term_value(x[0], i), second = term_value(x[1], i);
#pragma GCC unroll 12
        for (int j = 0; j < sums; j++) {
            const term_vec weight = term_shared_weight(w + (j / vectors) * stride + (j % vectors) * TERM_BYTES, part);
            acc[j] = term_add(first, weight, acc[j]);
            acc[sums + j] = term_add(second, weight, acc[sums + j]);
        }
        return;
    }
    term_vec weight[4 * PANEL];
#pragma GCC unroll 12
    for (int j = 0; j < sums; j++)
        weight[j] = term_shared_weight(w + (j / vectors) * stride + (j % vectors) * TERM_BYTES, part);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const term_vec value = term_value(x[r], i);
#pragma GCC unroll 12
        for (int j = 0; j < sums; j++)
            acc[r * sums + j] = term_add(value, weight[j], acc[r * sums + j]);
    }
}

/* The same of one row: every weight is used once, and no register need hold it. */
TILE void add_row_value(vec *acc, const int panels, const int vectors, const term_row *x, const char *w, int64_t stride,
                        const int part)
{
    const term_vec value = term_value(x, part);
#pragma GCC unroll 12
    for (int j = 0; j < panels * vectors; j++)
        acc[j] = term_add(value, term_weight(w + (j / vectors) * stride + (j % vectors) * TERM_BYTES, part), acc[j]);
}

/* All values of a term, of one row. */
TILE void add_row_term(vec *acc, const int panels, const int vectors, const term_row *x, const char *w, int64_t stride)
{
#pragma GCC unroll 2
    for (int part = 0; part < TERM_PARTS; part++)
        add_row_value(acc, panels, vectors, x, w, stride, part);
}

/* acc[p][v] += Σk x[k] · w[p][k][v] */
TILE void accumulate_row(vec *acc, const int panels, const int vectors, const term_row *x, int64_t values,
                         const char *w, int64_t stride)
{
    const int64_t step = vectors * TERM_BYTES;
    const term_row *const end = x + values / TERM_PARTS * TERM_PARTS;
    if (panels * vectors <= 2) { /* few sums: four terms share the work of finding the values */
#pragma GCC unroll 4
        for (; x < end; x += TERM_PARTS, w += step)
            add_row_term(acc, panels, vectors, x, w, stride);
    } else {
        for (; x < end; x += TERM_PARTS, w += step)
            add_row_term(acc, panels, vectors, x, w, stride);
    }
    if (values % TERM_PARTS)
        add_row_value(acc, panels, vectors, x, w, stride, 0);
}

/* acc[r][p][v] += Σk x[r][k] · w[p][k][v], one chain per element, k ascending. */
TILE void accumulate(vec *acc, const int rows, const int panels, const int vectors, const void *const *x, int64_t depth,
                     const fg_packed *weights, int64_t column)
{
    const int64_t values = TERM_VALUES(depth), terms = terms_of(depth);
    const char *w = (const char *)weights->w + column / L * terms * TERM_BYTES;
    const int64_t step = vectors * TERM_BYTES, stride = terms * step;
    const term_row *row[FG_MAX_ROWS];
    for (int r = 0; r < rows; r++)
        row[r] = x[r];
    if (rows == 1) {
        accumulate_row(acc, panels, vectors, row[0], values, w, stride);
        return;
    }
    /* part by part in one form of code: of a term's parts one after the other GCC 12 makes copies of the sums */
    if (panels * vectors <= 2) { /* few sums: four values share the work of finding the rows */
#pragma GCC unroll 4
        for (int64_t i = 0; i < values; i++)
            add_value(acc, rows, panels, vectors, row, i, w + i / TERM_PARTS * step, stride, i % TERM_PARTS);
        return;
    }
    for (int64_t i = 0; i < values; i++)
        add_value(acc, rows, panels, vectors, row, i, w + i / TERM_PARTS * step, stride, i % TERM_PARTS);
}

#if BESIDE_ROWS
/* As `accumulate` for one row, and `share` terms of the product beside it: loads of the one and FMAs of the other
 * overlap. */
TILE void accumulate_beside(vec *acc, const int panels, const int vectors, const term_row *x, int64_t depth,
                            const char *w, int64_t share, fg_beside *beside)
{
    const fg_product *p = beside->product;
    const int64_t column = beside->panel * PANEL * L, terms = terms_of(p->k), p_values = TERM_VALUES(p->k);
    const char *p_w = (const char *)p->weights.w + (column / L * terms + beside->k * PANEL) * TERM_BYTES;
    const int64_t end = beside->k + share < terms ? beside->k + share : terms;
    const int64_t values = TERM_VALUES(depth);
    const int64_t between = values / TERM_PARTS / (end - beside->k) * TERM_PARTS;
    const int64_t step = vectors * TERM_BYTES, stride = terms_of(depth) * step;
    const term_row *xs[BESIDE_ROWS];
    vec sums[BESIDE_ROWS * PANEL];
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++) {
        xs[r] = beside->x[r];
        const float *from = beside->k ? beside->y[r] + column : p->bias + column;
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++)
            sums[r * PANEL + i] = v_load(from + i * L);
    }
    const term_row *const x_end = x + values;
    for (int64_t i = beside->k * TERM_PARTS; i < end * TERM_PARTS; i += TERM_PARTS) {
        for (const term_row *const stop = x + between; x < stop; x += TERM_PARTS) {
            add_row_term(acc, panels, vectors, x, w, stride);
            w += step;
        }
        for (int part = 0; part < TERM_PARTS && i + part < p_values; part++)
            add_value(sums, BESIDE_ROWS, 1, PANEL, xs, i + part, p_w, 0, part);
        p_w += PANEL * TERM_BYTES;
    }
    accumulate_row(acc, panels, vectors, x, x_end - x, w, stride);
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++)
#pragma GCC unroll 3
        for (int i = 0; i < PANEL; i++)
            v_store(beside->y[r] + column + i * L, sums[r * PANEL + i]);
    beside->k = end;
    if (end == terms) {
        beside->k = 0;
        beside->panel += beside->way;
        beside->left--;
    }
}

static void k_finish(fg_beside *beside)
{
    while (beside->left)
        accumulate_beside(NULL, 0, 0, NULL, 0, NULL, terms_of(beside->product->k), beside);
}
#endif

#define accumulate_gates(acc, rows, panels, x, depth, weights, column)                                                 \
    accumulate(acc, rows, panels, PANEL, x, depth, weights, column)

/* The recurrent sums of a tile. */
TILE void accumulate_state(vec *acc, const int rows, const int groups, const int vectors, const void *const *x,
                           int64_t depth, const fg_packed *weights, int64_t column, fg_beside *beside)
{
#if BESIDE_ROWS
    if (rows == 1 && beside && beside->left) {
        /* a share for every vector; what a short tile leaves is done behind its last step */
        const int64_t parts = beside->steps * PANEL, terms = terms_of(beside->product->k);
        accumulate_beside(acc, groups, vectors, x[0], depth,
                          (const char *)weights->w + column / L * terms_of(depth) * TERM_BYTES,
                          (groups * vectors * terms + parts - 1) / parts, beside);
        return;
    }
#endif
    (void)beside;
    accumulate(acc, rows, groups, vectors, x, depth, weights, column);
}

#endif
