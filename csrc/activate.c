/* Activations as layers, row by row of the last axis. */
#include <stdlib.h>

#include "layers.h"

typedef struct activate_layer {
    fg_activation f;
    int64_t row, inner, outputs;
} activate_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t row = layer->activate.row;
    const fg_function function = layer->activate.activation.function;
    if (!x || row < 1 || x->features % row || layer->y == FG_NONE || (function == FG_GLU && row % 2))
        return FG_BAD_LAYER;
    activate_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    *own = (activate_layer){layer->activate.activation, row, x->features / row, function == FG_GLU ? row / 2 : row};
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, own->inner * own->outputs);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const activate_layer *own = step->own;
    fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    x.inner = y.inner = own->inner;
    x.inner_stride = own->row;
    y.inner_stride = own->outputs;
    int64_t first, last;
    fg_share(c, member, fg_grid_size(&x), &first, &last);
    for (int64_t i = first; i < last; i++) {
        float *from, *to;
        fg_grid_rows(&x, i, 1, &from);
        fg_grid_rows(&y, i, 1, &to);
        if (own->f.function >= FG_SOFTMAX)
            c->kernels->common->activate_row(&own->f, own->row, from, to);
        else
            c->kernels->common->activate(&own->f, own->row, from, to);
    }
}

const fg_layer_ops fg_activate_ops = {.add = add, .share = share, .release = fg_free_own};
