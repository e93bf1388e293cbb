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

static void release(fg_step *step)
{
    dense_layer *own = step->own;
    if (own)
        fg_matrix_release(&own->matrix);
    free(own);
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t inputs = layer->dense.inputs, units = layer->dense.units;
    const fg_activation f = layer->dense.activation, linear = {.function = FG_LINEAR};
    const bool rowwise = f.function >= FG_SOFTMAX;
    if (!x || inputs < 1 || units < 1 || x->features % inputs || !layer->dense.kernel || layer->y == FG_NONE ||
        (f.function == FG_GLU && units % 2))
        return FG_BAD_LAYER;
    dense_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    own->inner = x->features / inputs;
    own->outputs = f.function == FG_GLU ? units / 2 : units;
    own->rowwise = rowwise ? f : linear;
    const fg_status status = fg_matrix_init(&own->matrix, plan->kernels, plan->matmul, layer->dense.kernel,
                                            layer->dense.bias, inputs, units, rowwise ? linear : f);
    if (status)
        return status;
    step->cost = (double)inputs * (double)units * (double)own->inner;
    step->bytes = own->matrix.bytes;
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
        c->kernels->activate_row(&own->rowwise, own->matrix.product.columns, x, y);
    }
}

static void run(const fg_step *step, fg_context *c)
{
    const dense_layer *own = step->own;
    fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    x.inner = y.inner = own->inner;
    x.inner_stride = own->matrix.product.k;
    y.inner_stride = own->outputs;
    const int64_t rows = fg_grid_size(&x), panels = fg_matrix_panels(&own->matrix, c->kernels);
    fg_grid product = y;
    if (own->rowwise.function == FG_GLU) {
        const int64_t width = 2 * own->outputs;
        product.data = c->scratch;
        product.inner_stride = width;
        product.row_stride = width * own->inner;
        product.time_stride = product.row_stride * x.rows;
    }
    int64_t first, last, from = 0, to = panels;
    fg_share(c, rows, &first, &last);
    /* a team splits rows where each member gets a tile of them, else panels */
    const bool by_panels = rows < c->team * c->kernels->rows;
    if (by_panels) {
        fg_share(c, panels, &from, &to);
        fg_multiply(c->kernels, &own->matrix, &x, &product, 0, rows, from, to);
    } else {
        fg_multiply(c->kernels, &own->matrix, &x, &product, first, last, 0, panels);
    }
    if (own->rowwise.function == FG_LINEAR)
        return;
    if (by_panels)
        fg_barrier_wait(c->barrier, c->team);
    activate_rows(c, own, &product, &y, first, last);
}

const fg_layer_ops fg_dense_ops = {.add = add, .run = run, .release = release};
