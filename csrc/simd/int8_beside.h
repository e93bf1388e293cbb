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

/* The panel of the product beside that is at work. */
typedef struct beside_panel {
    const char *rows[BESIDE_ROWS];
    const int8_t *w;
    int64_t column, fours;
} beside_panel;

TILE void begin_panel(ivec *sums, beside_panel *panel, const fg_beside *beside)
{
    const fg_product *p = beside->product;
    panel->fours = (p->k + 3) / 4;
    panel->column = beside->panel * PANEL * L;
    panel->w = (const int8_t *)p->weights.w + panel->column * panel->fours * 4;
#pragma GCC unroll 8
    for (int r = 0; r < BESIDE_ROWS; r++)
        panel->rows[r] = (const char *)beside->x[r] + FG_ALIGN;
    load_beside(sums, beside, panel->column);
}

TILE void end_panel(const ivec *sums, const beside_panel *panel, fg_beside *beside)
{
    store_beside(sums, beside, panel->column, true);
    beside->k = 0;
    beside->panel += beside->way;
    beside->left--;
}

/* The products of the fours [from, to) of the panel. */
TILE void add_beside(ivec *sums, const beside_panel *panel, int64_t from, int64_t to)
{
    for (int64_t four = from; four < to; four++)
        add_four(sums, GATES_ROW, BESIDE_ROWS, 0, PANEL, PANEL, panel->rows, four, panel->w + four * PANEL * L * 4, 0);
}

/* Panels of a step's weights, and how far they are multiplied. */
typedef struct state_panels {
    ivec sums[PANEL];
    const char *row;
    const int8_t *w;
    int64_t panel_stride, four;
} state_panels;

TILE void add_state(state_panels *state, const int count, const int vectors, int64_t to)
{
    for (int64_t four = state->four; four < to; four++)
        add_four(state->sums, STATE_ROW, 1, 0, count, vectors, &state->row, four, state->w + four * vectors * L * 4,
                 state->panel_stride);
    state->four = to;
}

/* `between` fours of the state before each of the fours [from, to) of the panel beside it. */
TILE void take_turns(state_panels *state, const int count, const int vectors, int64_t between, ivec *sums,
                     const beside_panel *panel, int64_t from, int64_t to)
{
    for (int64_t four = from; four < to; four++) {
        add_state(state, count, vectors, state->four + between);
        add_beside(sums, panel, four, four + 1);
    }
}

TILE int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Fours of a state before each four of the product beside it where both are equally deep and a tile is full: a constant
 * spares a loop in the loop, and a division. */
#define OFTEN_BETWEEN BESIDE_ROWS

/* As `accumulate` for one state, whose panels pass as many at once as registers hold, and beside each such pass the
 * next `share` fours of the product beside it, if there are. Both are one slice deep. */
TILE void accumulate_beside(vec *acc, const int panels, const int vectors, const void *state_row, int64_t depth,
                            const fg_packed *weights, int64_t column, int64_t share, fg_beside *beside)
{
    const int at_once = at_most(panels, PANEL / vectors), count = at_once * vectors;
    const int64_t fours = (depth + 3) / 4;
    ivec sums[BESIDE_SUMS];
    beside_panel panel;
    begin_panel(sums, &panel, beside);
#pragma GCC unroll 4
    for (int done = 0; done < panels; done += at_once, acc += count, column += count * L) {
        state_panels state = {.row = (const char *)state_row + FG_ALIGN,
                              .w = (const int8_t *)weights->w + column * fours * 4,
                              .panel_stride = fours * 4 * vectors * L};
        vec total[PANEL];
#pragma GCC unroll 3
        for (int i = 0; i < count; i++)
            state.sums[i] = first_sum(STATE_ROW, i, 0, weights->offset + column + i * L);
        for (int64_t left = share; left > 0 && beside->left > 0;) {
            const int64_t from = beside->k, to = lesser(from + left, panel.fours), ahead = fours - state.four;
            int64_t paired;
            if ((left - 1) * OFTEN_BETWEEN < ahead && (left + 1) * OFTEN_BETWEEN > ahead) {
                paired = lesser(to, from + ahead / OFTEN_BETWEEN);
                take_turns(&state, count, vectors, OFTEN_BETWEEN, sums, &panel, from, paired);
            } else {
                const int64_t between = (ahead + left / 2) / left;
                paired = between ? lesser(to, from + ahead / between) : to;
                take_turns(&state, count, vectors, between, sums, &panel, from, paired);
            }
            add_beside(sums, &panel, paired, to);
            left -= to - from;
            beside->k = to;
            if (to == panel.fours) {
                end_panel(sums, &panel, beside);
                if (beside->left > 0)
                    begin_panel(sums, &panel, beside);
            }
        }
        add_state(&state, count, vectors, fours);
#pragma GCC unroll 3
        for (int i = 0; i < count; i++)
            total[i] = iv_float(whole_sum(state.sums + i, STATE_ROW, i));
        add_scaled(acc, total, count, state_row, weights, column);
    }
    if (beside->k > 0)
        store_beside(sums, beside, panel.column, false);
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
    ivec sums[BESIDE_SUMS];
    beside_panel panel;
    while (beside->left > 0) {
        begin_panel(sums, &panel, beside);
        add_beside(sums, &panel, beside->k, panel.fours);
        end_panel(sums, &panel, beside);
    }
}

#endif
