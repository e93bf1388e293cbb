/* The input and the state of one row in one loop: a step of one row waits for the bytes of both matrices, of which an
 * input has two dot products for each vector and a state but one. */
#ifndef FG_INT8_TOGETHER_H
#define FG_INT8_TOGETHER_H

#include "int8_terms.h"

#define TERMS_TOGETHER 1

/* A matrix and the row that it multiplies, while they are walked. */
typedef struct factors {
    const char *row;
    const int8_t *w;
    const int32_t *offset;
    int64_t fours, panel_stride;
} factors;

TILE factors factors_of(const void *row, int64_t depth, const fg_packed *weights, int64_t column)
{
    const int64_t fours = (depth + 3) / 4;
    return (factors){.row = (const char *)row + FG_ALIGN,
                     .w = (const int8_t *)weights->w + column * fours * 4,
                     .offset = weights->offset + column,
                     .fours = fours,
                     .panel_stride = fours * 4 * PANEL * L};
}

/* What the sums of the slice from this four on begin with: zeros behind the last one. */
TILE void begin_sums(ivec *sums, const row_kind kind, const int count, const factors *f, int64_t first)
{
    const int sums_each = SUMS(kind);
#pragma GCC unroll 24
    for (int i = 0; i < count * sums_each; i++)
        sums[i] = first < f->fours ? first_sum(kind, i / sums_each, 0, f->offset + i / sums_each * L) : iv_zero();
}

TILE void add_next(ivec *sums, const row_kind kind, const int panels, factors *f, int64_t four)
{
    add_four(sums, kind, 1, 0, panels * PANEL, PANEL, &f->row, four, f->w, f->panel_stride);
    f->w += PANEL * L * 4;
}

/* The sums of the slice of both from this four on. */
TILE void sum_together(ivec *input_sums, ivec *state_sums, const int panels, factors *input, factors *state,
                       int64_t first)
{
    const int64_t end = first + FG_SLICE / 4;
    const int64_t input_end = end < input->fours ? end : input->fours;
    const int64_t state_end = end < state->fours ? end : state->fours;
    begin_sums(input_sums, GATES_ROW, panels * PANEL, input, first);
    begin_sums(state_sums, STATE_ROW, panels * PANEL, state, first);
    int64_t four = first;
    for (; four < input_end && four < state_end; four++) {
        add_next(input_sums, GATES_ROW, panels, input, four);
        add_next(state_sums, STATE_ROW, panels, state, four);
    }
    for (int64_t i = four; i < input_end; i++)
        add_next(input_sums, GATES_ROW, panels, input, i);
    for (int64_t i = four; i < state_end; i++)
        add_next(state_sums, STATE_ROW, panels, state, i);
}

/* As `accumulate` for the input of one row; later[i] is what accumulate_state would add for its state, not scaled. */
TILE void accumulate_together(vec *acc, vec *later, const int panels, const fg_gru_weights *w, const fg_gru_rows *r,
                              int64_t column)
{
    const int count = panels * PANEL;
    factors input = factors_of(r->x[0], w->inputs, &w->input.weights, column);
    factors state = factors_of(r->state[0], w->units, &w->recurrent, column);
    ivec input_sums[4 * PANEL * 2], state_sums[4 * PANEL];
    vec total[4 * PANEL];
    if (w->inputs <= FG_SLICE && w->units <= FG_SLICE) { /* see add_block */
        sum_together(input_sums, state_sums, panels, &input, &state, 0);
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            total[i] = iv_float(whole_sum(input_sums + i * SUMS(GATES_ROW), GATES_ROW, i));
            later[i] = iv_float(whole_sum(state_sums + i, STATE_ROW, i));
        }
    } else {
#pragma GCC unroll 12
        for (int i = 0; i < count; i++)
            total[i] = later[i] = v_zero();
        for (int64_t first = 0; first < input.fours || first < state.fours; first += FG_SLICE / 4) {
            sum_together(input_sums, state_sums, panels, &input, &state, first);
#pragma GCC unroll 12
            for (int i = 0; i < count; i++) {
                total[i] = v_add(total[i], iv_float(whole_sum(input_sums + i * SUMS(GATES_ROW), GATES_ROW, i)));
                later[i] = v_add(later[i], iv_float(whole_sum(state_sums + i, STATE_ROW, i)));
            }
            input.offset += w->input.weights.width;
            state.offset += w->recurrent.width;
        }
    }
    add_scaled(acc, total, count, r->x[0], &w->input.weights, column);
}

TILE void add_later(vec *acc, const vec *later, const int panels, const fg_gru_weights *w, const fg_gru_rows *r,
                    int64_t column)
{
    add_scaled(acc, later, panels * PANEL, r->state[0], &w->recurrent, column);
}

#endif
