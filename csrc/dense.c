/* Dense on the last axis, any number of rows of it in a step. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

typedef struct dense_layer {
    fg_matrix matrix;
    int64_t inner;         /* rows of the last axis per (row, step) */
    int64_t outputs;       /* of one row, after a halving glu */
    fg_activation rowwise; /* FG_LINEAR: none */
} dense_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t inputs = layer->dense.inputs, units = layer->dense.units;
    const fg_activation f = layer->dense.activation, linear = {.function = FG_LINEAR};
    const bool rowwise = f.function >= FG_SOFTMAX;
    if (!x || inputs < 1 || units < 1 || x->features % inputs || !layer->dense.kernel.data || layer->y == FG_NONE ||
        (f.function == FG_GLU && units % 2))
        return FG_BAD_LAYER;
    dense_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    own->inner = x->features / inputs;
    own->outputs = f.function == FG_GLU ? units / 2 : units;
    own->rowwise = rowwise ? f : linear;
    const fg_status status =
        fg_matrix_init(&own->matrix, &plan->store, plan->kernels, plan->matmul, &layer->dense.kernel, layer->dense.bias,
                       inputs, units, rowwise ? linear : f);
    if (status)
        return status;
    step->cost = (double)inputs * (double)units * (double)own->inner;
    step->bytes = own->matrix.bytes;
    step->scratch_member = fg_prepared_floats(own->matrix.tiles, inputs);
    if (f.function == FG_GLU) /* its product is twice as wide as its output, so it goes through scratch */
        step->scratch_step = own->inner * units;
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, own->outputs * own->inner);
}

static void activate_rows(const fg_context *c, const dense_layer *own, const fg_grid *from, const fg_grid *to,
                          int64_t first, int64_t last)
{
    for (int64_t i = first; i < last; i++) {
        float *x, *y;
        fg_grid_rows(from, i, 1, &x);
        fg_grid_rows(to, i, 1, &y);
        c->kernels->common->activate_row(&own->rowwise, own->matrix.product.columns, x, y);
    }
}

/* What both phases of a run need. */
typedef struct dense_run {
    fg_context *c;
    const dense_layer *own;
    fg_grid x, y, product; /* product: y, or scratch where a row-wise function narrows it */
    bool by_panels;        /* a team splits panels, else rows */
} dense_run;

static void multiply_share(void *argument, int member)
{
    const dense_run *r = argument;
    const int64_t rows = fg_grid_size(&r->x), panels = fg_matrix_panels(&r->own->matrix, r->c->kernels);
    int64_t first = 0, last = rows, from = 0, to = panels;
    if (r->by_panels)
        fg_share(r->c, member, panels, &from, &to);
    else
        fg_share(r->c, member, rows, &first, &last);
    fg_multiply(r->c->kernels, &r->own->matrix, &r->x, &r->product, first, last, from, to,
                fg_member_scratch(r->c, member));
}

static void activate_share(void *argument, int member)
{
    const dense_run *r = argument;
    int64_t first, last;
    fg_share(r->c, member, fg_grid_size(&r->x), &first, &last);
    activate_rows(r->c, r->own, &r->product, &r->y, first, last);
}

static void run(const fg_step *step, fg_context *c)
{
    const dense_layer *own = step->own;
    dense_run r = {.c = c, .own = own, .x = fg_grid_of(c, step->x), .y = fg_grid_of(c, step->y)};
    r.x.inner = r.y.inner = own->inner;
    r.x.inner_stride = own->matrix.product.k;
    r.y.inner_stride = own->outputs;
    r.product = r.y;
    if (own->rowwise.function == FG_GLU) {
        const int64_t width = 2 * own->outputs;
        r.product.data = c->scratch;
        r.product.inner_stride = width;
        r.product.row_stride = width * own->inner;
        r.product.time_stride = r.product.row_stride * r.x.rows;
    }
    r.by_panels = fg_grid_size(&r.x) < c->members * own->matrix.tiles->rows; /* not each has a tile of rows */
    fg_phase(c, multiply_share, &r);
    fg_lap(c, FG_PRODUCTS);
    if (own->rowwise.function != FG_LINEAR)
        fg_phase(c, activate_share, &r);
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    const dense_layer *own = step->own;
    const fg_grid x = fg_grid_of(c, step->x);
    fg_count_product(&profile->input, &own->matrix, fg_grid_size(&x) * own->inner);
}

const fg_layer_ops fg_dense_ops = {.add = add, .run = run, .count = count, .release = fg_free_own};
