/* MatMul: the product of two sequences of a row. b is packed into panels like a weight matrix, row by row. */
#include <stdlib.h>

#include "layers.h"

typedef struct matmul_layer {
    int64_t k, columns;
    const float *bias; /* zeros */
    bool transpose_b;
} matmul_layer;

/* Floats that the packed b of a row takes. */
static int64_t packed_floats(const matmul_layer *own, int lanes)
{
    return fg_round_up(own->k * fg_round_up(own->columns, lanes), FG_MAX_LANES);
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_status status = layer->n_inputs == 2 ? fg_keep_inputs(plan, step, layer, FG_FLOATS) : FG_BAD_LAYER;
    if (status)
        return status;
    const fg_value_info *a = &plan->values[step->inputs[0]], *b = &plan->values[step->inputs[1]];
    const int64_t columns = layer->matmul.columns;
    const bool transpose_b = layer->matmul.transpose_b;
    if (!a->sequence || !b->sequence || columns < 1 || layer->y == FG_NONE ||
        b->features != (transpose_b ? a->features : columns))
        return FG_BAD_LAYER;
    matmul_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    own->k = a->features;
    own->columns = columns;
    own->transpose_b = transpose_b;
    own->bias = fg_store_alloc(&plan->store, fg_size(1, fg_round_up(columns, FG_MAX_LANES), sizeof(float)));
    if (!own->bias)
        return FG_NO_MEMORY;
    step->scratch_row = packed_floats(own, plan->kernels->lanes);
    step->cost = (double)own->k * (double)columns;
    return fg_define(plan, layer->y, step->inputs[0], FG_FLOATS, columns);
}

/* b must have as many steps as y has columns, or a features. */
static int64_t scratch(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const matmul_layer *own = step->own;
    const int64_t steps = fg_plan_steps(plan, step->inputs[1], call);
    return steps == (own->transpose_b ? own->columns : own->k) ? step->scratch_row : -1;
}

typedef struct matmul_run {
    const fg_context *c;
    const matmul_layer *own;
    fg_grid a, b, y;
    int64_t packed; /* floats of a row */
} matmul_run;

/* Panels of all rows. */
static void pack_share(void *argument, int member)
{
    const matmul_run *r = argument;
    const matmul_layer *own = r->own;
    const int lanes = r->c->kernels->lanes;
    const int64_t width = 3 * lanes, panels = (own->columns + width - 1) / width;
    const int64_t k_stride = own->transpose_b ? 1 : r->b.time_stride;
    const int64_t column_stride = own->transpose_b ? r->b.time_stride : 1;
    int64_t first, last;
    fg_share(r->c, member, r->c->rows * panels, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i / panels, column = i % panels * width;
        const int64_t columns = own->columns - column < width ? own->columns - column : width;
        fg_pack_strided(r->c->scratch + row * r->packed + column * own->k,
                        r->b.data + row * r->b.row_stride + column * column_stride, k_stride, column_stride, own->k,
                        columns, lanes, 3);
    }
}

/* Tiles of steps of a. */
static void multiply_share(void *argument, int member)
{
    const matmul_run *r = argument;
    const fg_kernels *kernels = r->c->kernels;
    const int64_t width = 3 * kernels->lanes, panels = (r->own->columns + width - 1) / width;
    const int64_t rows = kernels->rows, tiles = (r->a.steps + rows - 1) / rows;
    int64_t first, last;
    fg_share(r->c, member, r->c->rows * tiles, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i / tiles, t = i % tiles * rows;
        const int count = (int)(r->a.steps - t < rows ? r->a.steps - t : rows);
        const fg_product p = {.weights.w = r->c->scratch + row * r->packed,
                              .bias = r->own->bias,
                              .k = r->own->k,
                              .columns = r->own->columns};
        const void *x[FG_MAX_ROWS];
        float *y[FG_MAX_ROWS];
        for (int j = 0; j < count; j++) {
            x[j] = r->a.data + row * r->a.row_stride + (t + j) * r->a.time_stride;
            y[j] = r->y.data + row * r->y.row_stride + (t + j) * r->y.time_stride;
        }
        kernels->tiles[FG_FLOAT32]->product(&p, count, x, y, 0, panels);
    }
}

static void run(const fg_step *step, fg_context *c)
{
    const matmul_layer *own = step->own;
    matmul_run r = {.c = c,
                    .own = own,
                    .a = fg_whole_of(c, step->inputs[0]),
                    .b = fg_whole_of(c, step->inputs[1]),
                    .y = fg_whole_of(c, step->y),
                    .packed = packed_floats(own, c->kernels->lanes)};
    fg_phase(c, pack_share, &r);
    fg_phase(c, multiply_share, &r);
    fg_lap(c, FG_PRODUCTS);
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    const matmul_layer *own = step->own;
    profile->input.multiply_adds += c->rows * fg_slot_of(c, step->inputs[0]).steps * own->k * own->columns;
}

const fg_layer_ops fg_matmul_ops = {
    .add = add, .run = run, .count = count, .release = fg_free_own, .scratch = scratch, .once = true};
