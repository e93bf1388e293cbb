/* The kernels of fg_tiles, written once over the names of a vector header and the terms of a dtype. Included by a stub
 * that has included its vec_*.h and a *_terms.h, and has defined FG_TILES, the name of the table to export.
 *
 * How it is fast: a tile of `rows` rows × a few panels stays in registers over the whole depth, and what follows a
 * product (bias before, gates behind) happens in those registers. Each tile is one always-inlined function whose sizes
 * are compile-time constants after inlining; the switches at the bottom pick the instance.
 *
 * The terms of a dtype are
 *   TERMS_ROWS            rows of a full tile, 4 or 8
 *   TERMS_DEPTH, _BYTES   fg_tiles.depth and weight_bytes
 *   SIDE(rows), CANDIDATE_SIDE(rows), BESIDE_…  how many groups a tile takes at once
 *   TERMS_STATE(r, field) the rows that a step's recurrent product reads: floats `field`, or what was prepared of them
 *   accumulate(acc, rows, panels, vectors, x, k, weights, column)
 *                         adds to acc[row][panel][vector] what `panels` panels of `vectors` vectors each, from `column`
 *                         on, give for these prepared rows; accumulate_state does so for states
 *   accumulate_gates(acc, rows, panels, x, k, weights, column)
 *                         the same for the input of a GRU; TERMS_GATES where it is not `accumulate`
 *   TERMS_PREPARED        where rows are prepared: then also k_row_bytes, k_prepare, k_prepare_state, and term_limits,
 *                         which are fg_tiles.limits
 *   TERMS_PREPARE_GROUP   where a vector of a state can be prepared by itself: prepare_group(k, row, group, h)
 *   TERMS_QUICK           where the errors of quick_gates.h do not count beside those of the weights
 *   TERMS_TOGETHER        1 where the input and the state of one row are multiplied in one loop: accumulate_together
 *                         does so, and add_later adds what the state gave */
#include "../kernels.h"
#include "activate_body.h"
#include "activations.h"
#include "quick_gates.h"
#include "tile.h"

#ifndef TERMS_QUICK
#define TERMS_QUICK false
#endif
#ifndef TERMS_GATES
#define TERMS_GATES false
#endif
#ifndef TERMS_TOGETHER
#define TERMS_TOGETHER 0
#define accumulate_together(acc, later, groups, w, r, column) (void)(later)
#define add_later(acc, later, groups, w, r, column) (void)(later)
#endif

/* ---- products ---------------------------------------------------------------------------------------------------- */

TILE void product_tile(const fg_product *p, const bool gates, const int rows, const int panels, const int vectors,
                       const void *const *x, float *const *y, int64_t panel)
{
    vec acc[FG_MAX_ROWS * 4 * PANEL];
    const int64_t column = panel * PANEL * L;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 12
        for (int i = 0; i < panels * vectors; i++)
            acc[r * panels * vectors + i] = v_load(p->bias + column + i * L);
    if (gates)
        accumulate_gates(acc, rows, panels, x, p->k, &p->weights, column);
    else
        accumulate(acc, rows, panels, vectors, x, p->k, &p->weights, column);
    if (p->f.function == FG_RELU) /* cheap enough for registers */
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 12
            for (int i = 0; i < panels * vectors; i++)
                acc[r * panels * vectors + i] = v_relu(acc[r * panels * vectors + i], p->f.p[0], p->f.p[1], p->f.p[2]);
    const int64_t end = column + panels * vectors * L;
    const int64_t room = p->columns - column; /* true columns from here on */
    if (end <= p->columns) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 12
            for (int i = 0; i < panels * vectors; i++)
                v_storeu(y[r] + column + i * L, acc[r * panels * vectors + i]);
    } else {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 12
            for (int i = 0; i < panels * vectors; i++) {
                const int64_t left = room - i * L;
                v_store_n(y[r] + column + i * L, acc[r * panels * vectors + i], (int)(left < L ? left : L));
            }
    }
    if (p->f.function != FG_LINEAR && p->f.function != FG_RELU) {
        const int64_t width = panels * vectors * L;
        for (int r = 0; r < rows; r++)
            k_activate(&p->f, room < width ? room : width, y[r] + column, y[r] + column);
    }
}

TILE void product_rows(const fg_product *p, const bool gates, const int rows, const void *const *x, float *const *y,
                       int64_t first, int64_t last)
{
    const int64_t vectors = (p->columns + L - 1) / L;
    const int64_t full = vectors / PANEL < last ? vectors / PANEL : last;
    int64_t panel = first;
    for (; panel + SIDE(rows) <= full; panel += SIDE(rows))
        product_tile(p, gates, rows, SIDE(rows), PANEL, x, y, panel);
    for (; panel < full; panel++)
        product_tile(p, gates, rows, 1, PANEL, x, y, panel);
    if (!gates && panel < last) { /* the last panel may be narrower */
        if (vectors % PANEL == 1)
            product_tile(p, false, rows, 1, 1, x, y, panel);
        else
            product_tile(p, false, rows, 1, 2, x, y, panel);
    }
}

/* ---- GRU --------------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) vec v_gate_call(const fg_activation *f, float clip, vec x)
{
    return v_activate(f, v_clamp(x, -clip, clip));
}

TILE vec gate(const fg_gru_weights *w, const fg_activation *f, const bool standard, const fg_function standard_function,
              vec x)
{
    if (!standard)
        return v_gate_call(f, w->clip, x);
    return standard_function == FG_SIGMOID ? v_sigmoid(x) : v_tanh(x);
}

/* x = f(x), `count` vectors. */
TILE void gates(const fg_gru_weights *w, const fg_activation *f, const bool standard,
                const fg_function standard_function, const int count, vec *x)
{
    if (TERMS_QUICK && standard)
#pragma GCC unroll 8
        for (int i = 0; i < count; i += QUICK_SIDE)
            (standard_function == FG_SIGMOID ? quick_sigmoids : quick_tanhs)(at_most(QUICK_SIDE, count - i), x + i);
    else
#pragma GCC unroll 32
        for (int i = 0; i < count; i++)
            x[i] = gate(w, f, standard, standard_function, x[i]);
}

TILE void put_state(const fg_gru_weights *w, const fg_gru_rows *r, int row, int64_t group, vec next)
{
    v_store(r->out[row] + group * L, next);
#ifdef TERMS_PREPARE_GROUP
    if (r->prepared_out)
        prepare_group(w->units, r->prepared_out, group, next);
#endif
    if (r->y[row]) {
        const int64_t left = w->units - group * L;
        if (left >= L)
            v_storeu(r->y[row] + group * L, next);
        else
            v_store_n(r->y[row] + group * L, next, (int)left);
    }
}

/* h' = z·h + (1 − z)·n. With z in [0, 1] this form stays within the hull of h and n. */
TILE void new_state(const fg_gru_weights *w, const fg_gru_rows *r, int row, int64_t group, vec z, vec n)
{
    const vec h = v_load(r->h[row] + group * L);
    put_state(w, r, row, group, v_fma(z, h, v_mul(v_sub(v_set(1.0f), z), n)));
}

/* The new states of a tile from its sums, by quick gates. */
TILE void quick_new_states(const fg_gru_weights *w, const int rows, const int groups, const fg_gru_rows *r,
                           int64_t group, const vec *sums, const vec *input_n)
{
    const int count = rows * groups;
#pragma GCC unroll 8
    for (int first = 0; first < count; first += QUICK_SIDE) {
        const int n = at_most(QUICK_SIDE, count - first);
        vec h[QUICK_SIDE];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            h[i] = v_load(r->h[(first + i) / groups] + (group + (first + i) % groups) * L);
        quick_states(n, sums + first * PANEL, input_n + first, h);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            put_state(w, r, (first + i) / groups, group + (first + i) % groups, h[i]);
    }
}

/* reset_after=true. direct: x rows are the layer's input, multiplied here; else they are the x-projection. */
TILE void step_tile(const fg_gru_weights *w, const bool direct, const bool standard, const int rows, const int groups,
                    const fg_gru_rows *r, int64_t group, fg_beside *beside)
{
    vec acc[FG_MAX_ROWS * 4 * PANEL], input_n[FG_MAX_ROWS * 4];
    vec later[4 * PANEL]; /* what the state of one row gives */
    const bool together = TERMS_TOGETHER && direct && rows == 1;
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 12
        for (int i = 0; i < groups * PANEL; i++)
            acc[row * groups * PANEL + i] = direct ? v_load(w->input.bias + group * PANEL * L + i * L)
                                                   : v_load((const float *)r->x[row] + group * PANEL * L + i * L);
    if (together)
        accumulate_together(acc, later, groups, w, r, group * PANEL * L);
    else if (direct)
        accumulate_gates(acc, rows, groups, r->x, w->inputs, &w->input.weights, group * PANEL * L);
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            input_n[row * groups + g] = acc[(row * groups + g) * PANEL + 2];
            acc[(row * groups + g) * PANEL + 2] = v_load(w->candidate_bias + (group + g) * L);
        }
    if (together)
        add_later(acc, later, groups, w, r, group * PANEL * L);
    else
        accumulate_state(acc, rows, groups, PANEL, TERMS_STATE(r, h), w->units, &w->recurrent, group * PANEL * L,
                         beside);
    if (TERMS_QUICK && standard) {
        quick_new_states(w, rows, groups, r, group, acc, input_n);
        return;
    }
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            const vec *a = acc + (row * groups + g) * PANEL;
            const vec z = gate(w, &w->f, standard, FG_SIGMOID, a[0]);
            const vec reset = gate(w, &w->f, standard, FG_SIGMOID, a[1]);
            const vec n = gate(w, &w->g, standard, FG_TANH, v_fma(reset, a[2], input_n[row * groups + g]));
            new_state(w, r, row, group + g, z, n);
        }
}

/* reset_after=false, first half: z and r·h. */
TILE void gates_tile(const fg_gru_weights *w, const bool standard, const int rows, const int groups,
                     const fg_gru_rows *r, int64_t group, fg_beside *beside)
{
    vec acc[FG_MAX_ROWS * 4 * 2];
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 8
        for (int i = 0; i < groups * 2; i++)
            acc[row * groups * 2 + i] = v_load((const float *)r->x[row] + ((group + i / 2) * PANEL + i % 2) * L);
    accumulate_state(acc, rows, groups, 2, TERMS_STATE(r, h), w->units, &w->recurrent, group * 2 * L, beside);
    gates(w, &w->f, standard, FG_SIGMOID, rows * groups * 2, acc);
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            const vec *a = acc + (row * groups + g) * 2;
            v_store(r->z[row] + (group + g) * L, a[0]);
            v_store(r->rh[row] + (group + g) * L, v_mul(a[1], v_load(r->h[row] + (group + g) * L)));
        }
}

/* reset_after=false, second half: n from every unit's r·h. */
TILE void candidate_tile(const fg_gru_weights *w, const bool standard, const int rows, const int groups,
                         const fg_gru_rows *r, int64_t group, fg_beside *beside)
{
    vec acc[FG_MAX_ROWS * 4];
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++)
            acc[row * groups + g] = v_load((const float *)r->x[row] + ((group + g) * PANEL + 2) * L);
    accumulate_state(acc, rows, groups, 1, TERMS_STATE(r, rh), w->units, &w->candidate, group * L, beside);
    gates(w, &w->g, standard, FG_TANH, rows * groups, acc);
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++)
            new_state(w, r, row, group + g, v_load(r->z[row] + (group + g) * L), acc[row * groups + g]);
}

/* ---- one instance per number of rows ----------------------------------------------------------------------------- */

TILE void product(const fg_product *p, const bool gates, int rows, const void *const *x, float *const *y, int64_t first,
                  int64_t last)
{
    switch (rows) {
    case 1: product_rows(p, gates, 1, x, y, first, last); break;
    case 2: product_rows(p, gates, 2, x, y, first, last); break;
    case 3: product_rows(p, gates, 3, x, y, first, last); break;
#if TERMS_ROWS == 4
    default: product_rows(p, gates, 4, x, y, first, last); break;
#else
    case 4: product_rows(p, gates, 4, x, y, first, last); break;
    case 5: product_rows(p, gates, 5, x, y, first, last); break;
    case 6: product_rows(p, gates, 6, x, y, first, last); break;
    case 7: product_rows(p, gates, 7, x, y, first, last); break;
    default: product_rows(p, gates, 8, x, y, first, last); break;
#endif
    }
}

static void k_product(const fg_product *p, int rows, const void *const *x, float *const *y, int64_t first, int64_t last)
{
    if (TERMS_GATES && p->gates)
        product(p, true, rows, x, y, first, last);
    else
        product(p, false, rows, x, y, first, last);
}

typedef void tile_fn(const fg_gru_weights *w, const fg_gru_rows *r, int64_t group);
typedef void rows_fn(const fg_gru_weights *w, const fg_gru_rows *r, fg_sweep sweep);

/* Walks the groups of a sweep, `side` at a time, then two of what a side of four leaves, and then one by one. */
TILE void walk(const fg_gru_weights *w, const fg_gru_rows *r, fg_sweep sweep, const int side, tile_fn *many,
               tile_fn *two, tile_fn *one)
{
    const int64_t count = (sweep.last - sweep.first) / side;
    int64_t rest = (sweep.last - sweep.first) % side;
    for (int64_t i = 0; i < count; i++)
        many(w, r, sweep.backwards ? sweep.last - (i + 1) * side : sweep.first + i * side);
    if (side == 4 && rest >= 2) {
        two(w, r, sweep.backwards ? sweep.first + rest - 2 : sweep.last - rest);
        rest -= 2;
    }
    for (int64_t i = 0; i < rest; i++)
        one(w, r, sweep.backwards ? sweep.first + rest - 1 - i : sweep.last - rest + i);
}

/* A function for each tile: side by side in one, GCC 12 gives registers of the sums to the gates' constants. */
#define TILE_FUNCTION(NAME, TILE_OF, n, groups)                                                                        \
    static __attribute__((noinline, unused)) void NAME(const fg_gru_weights *w, const fg_gru_rows *r, int64_t group)   \
    {                                                                                                                  \
        TILE_OF(n, groups);                                                                                            \
    }

#define ROWS_FUNCTION(NAME, TILE_OF, n, side)                                                                          \
    TILE_FUNCTION(NAME##_##n##_many, TILE_OF, n, side)                                                                 \
    TILE_FUNCTION(NAME##_##n##_two, TILE_OF, n, 2)                                                                     \
    TILE_FUNCTION(NAME##_##n##_one, TILE_OF, n, 1)                                                                     \
    static void NAME##_##n(const fg_gru_weights *w, const fg_gru_rows *r, fg_sweep sweep)                              \
    {                                                                                                                  \
        walk(w, r, sweep, side, NAME##_##n##_many, NAME##_##n##_two, NAME##_##n##_one);                                \
    }

#define FOUR_ROWS(NAME, TILE_OF, SIDE_OF)                                                                              \
    ROWS_FUNCTION(NAME, TILE_OF, 1, SIDE_OF(1))                                                                        \
    ROWS_FUNCTION(NAME, TILE_OF, 2, SIDE_OF(2))                                                                        \
    ROWS_FUNCTION(NAME, TILE_OF, 3, SIDE_OF(3))                                                                        \
    ROWS_FUNCTION(NAME, TILE_OF, 4, SIDE_OF(4))

/* NAME[rows - 1] sweeps a tile of that many rows. */
#if TERMS_ROWS == 8
#define FAMILY(NAME, TILE_OF, SIDE_OF)                                                                                 \
    FOUR_ROWS(NAME, TILE_OF, SIDE_OF)                                                                                  \
    ROWS_FUNCTION(NAME, TILE_OF, 5, SIDE_OF(5))                                                                        \
    ROWS_FUNCTION(NAME, TILE_OF, 6, SIDE_OF(6))                                                                        \
    ROWS_FUNCTION(NAME, TILE_OF, 7, SIDE_OF(7))                                                                        \
    ROWS_FUNCTION(NAME, TILE_OF, 8, SIDE_OF(8))                                                                        \
    static rows_fn *const NAME[] = {NAME##_1, NAME##_2, NAME##_3, NAME##_4, NAME##_5, NAME##_6, NAME##_7, NAME##_8};
#else
#define FAMILY(NAME, TILE_OF, SIDE_OF)                                                                                 \
    FOUR_ROWS(NAME, TILE_OF, SIDE_OF)                                                                                  \
    static rows_fn *const NAME[] = {NAME##_1, NAME##_2, NAME##_3, NAME##_4};
#endif

/* Sigmoid gates and a tanh candidate are inlined; any other pair, and what is clipped, goes through a call per vector.
 */
static bool is_standard(const fg_gru_weights *w)
{
    return w->f.function == FG_SIGMOID && w->g.function == FG_TANH && w->clip == INFINITY;
}

/* One phase of a step, with both kinds of gates. */
#define PHASE(NAME, TILE_OF, SIDE_OF)                                                                                  \
    FAMILY(NAME##_standard, TILE_OF##_STANDARD, SIDE_OF)                                                               \
    FAMILY(NAME##_any, TILE_OF##_ANY, SIDE_OF)                                                                         \
    static void k_##NAME(const fg_gru_weights *w, int rows, const fg_gru_rows *r, fg_sweep sweep)                      \
    {                                                                                                                  \
        (is_standard(w) ? NAME##_standard : NAME##_any)[rows - 1](w, r, sweep);                                        \
    }
/* The same with a product beside one row. */
#if BESIDE_ROWS
#define PHASE_BESIDE(NAME, TILE_OF, side)                                                                              \
    ROWS_FUNCTION(NAME##_standard, TILE_OF##_STANDARD_BESIDE, beside, side)                                            \
    ROWS_FUNCTION(NAME##_any, TILE_OF##_ANY_BESIDE, beside, side)                                                      \
    static void k_##NAME##_beside(const fg_gru_weights *w, int rows, const fg_gru_rows *r, fg_sweep sweep)             \
    {                                                                                                                  \
        if (rows == 1 && r->beside)                                                                                    \
            (is_standard(w) ? NAME##_standard_beside : NAME##_any_beside)(w, r, sweep);                                \
        else                                                                                                           \
            k_##NAME(w, rows, r, sweep);                                                                               \
    }
#else
#define PHASE_BESIDE(NAME, TILE_OF, side)
#define k_gru_step_beside k_gru_step
#define k_gru_gates_beside k_gru_gates
#define k_gru_candidate_beside k_gru_candidate
#define k_finish NULL
#endif

#define STEP_STANDARD(n, groups) step_tile(w, false, true, n, groups, r, group, NULL)
#define STEP_ANY(n, groups) step_tile(w, false, false, n, groups, r, group, NULL)
#define STEP_STANDARD_BESIDE(n, groups) step_tile(w, false, true, 1, groups, r, group, r->beside)
#define STEP_ANY_BESIDE(n, groups) step_tile(w, false, false, 1, groups, r, group, r->beside)
PHASE(gru_step, STEP, SIDE)
PHASE_BESIDE(gru_step, STEP, BESIDE_SIDE)

#define STEP_X_STANDARD(n, groups) step_tile(w, true, true, n, groups, r, group, NULL)
#define STEP_X_ANY(n, groups) step_tile(w, true, false, n, groups, r, group, NULL)
PHASE(gru_step_x, STEP_X, SIDE)

TILE void each_step(const fg_gru_weights *w, const bool direct, tile_fn *many, tile_fn *two, tile_fn *one,
                    const fg_gru_run *run)
{
    fg_gru_rows r;
    const float *x = run->x;
    r.y[0] = run->y;
    r.prepared_out = NULL;
    for (int64_t t = 0; t < run->steps; t++, x += run->x_stride) {
        r.h[0] = run->h[t & 1];
        r.out[0] = run->h[!(t & 1)];
        r.x[0] = x;
#ifdef TERMS_PREPARED
        if (!r.prepared_out)
            k_prepare_state(w->units, r.h[0], run->state[t & 1]);
        r.state[0] = run->state[t & 1];
#ifdef TERMS_PREPARE_GROUP
        r.prepared_out = t + 1 < run->steps ? run->state[!(t & 1)] : NULL;
#endif
        if (direct) {
            k_prepare(w->inputs, x, run->input);
            r.x[0] = run->input;
        }
#endif
        if (w->groups == 1 && is_standard(w))
            step_tile(w, direct, true, 1, 1, &r, 0, NULL);
        else
            walk(w, &r, (fg_sweep){0, w->groups, run->backwards ^ (t & 1)}, SIDE(1), many, two, one);
        if (r.y[0])
            r.y[0] += run->y_stride;
    }
}

static void k_gru_run(const fg_gru_weights *w, const fg_gru_run *run)
{
    if (run->direct && is_standard(w))
        each_step(w, true, gru_step_x_standard_1_many, gru_step_x_standard_1_two, gru_step_x_standard_1_one, run);
    else if (run->direct)
        each_step(w, true, gru_step_x_any_1_many, gru_step_x_any_1_two, gru_step_x_any_1_one, run);
    else if (is_standard(w))
        each_step(w, false, gru_step_standard_1_many, gru_step_standard_1_two, gru_step_standard_1_one, run);
    else
        each_step(w, false, gru_step_any_1_many, gru_step_any_1_two, gru_step_any_1_one, run);
}

#define GATES_STANDARD(n, groups) gates_tile(w, true, n, groups, r, group, NULL)
#define GATES_ANY(n, groups) gates_tile(w, false, n, groups, r, group, NULL)
#define GATES_STANDARD_BESIDE(n, groups) gates_tile(w, true, 1, groups, r, group, r->beside)
#define GATES_ANY_BESIDE(n, groups) gates_tile(w, false, 1, groups, r, group, r->beside)
PHASE(gru_gates, GATES, SIDE)
PHASE_BESIDE(gru_gates, GATES, BESIDE_SIDE)

#define CANDIDATE_STANDARD(n, groups) candidate_tile(w, true, n, groups, r, group, NULL)
#define CANDIDATE_ANY(n, groups) candidate_tile(w, false, n, groups, r, group, NULL)
#define CANDIDATE_STANDARD_BESIDE(n, groups) candidate_tile(w, true, 1, groups, r, group, r->beside)
#define CANDIDATE_ANY_BESIDE(n, groups) candidate_tile(w, false, 1, groups, r, group, r->beside)
PHASE(gru_candidate, CANDIDATE, CANDIDATE_SIDE)
PHASE_BESIDE(gru_candidate, CANDIDATE, BESIDE_CANDIDATE_SIDE)

const fg_tiles FG_TILES = {
    .rows = TERMS_ROWS,
    .beside_rows = BESIDE_ROWS,
    .depth = TERMS_DEPTH,
    .weight_bytes = TERMS_BYTES,
#ifdef TERMS_PREPARED
    .row_bytes = k_row_bytes,
    .prepare = k_prepare,
    .prepare_state = k_prepare_state,
    .limits = term_limits,
#endif
    .product = k_product,
    .finish = k_finish,
    .gru_step = k_gru_step_beside,
    .gru_step_x = k_gru_step_x,
    .gru_run = k_gru_run,
    .gru_gates = k_gru_gates_beside,
    .gru_candidate = k_gru_candidate_beside,
};
