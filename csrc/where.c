/* Where: a sequence's steps where a mask is true, elsewhere those of another sequence or one number. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    fg_status status = fg_keep_inputs(plan, step, layer, FG_FLOATS);
    if (status)
        return status;
    const fg_value_info *x = fg_read(plan, layer->inputs[0], FG_FLOATS);
    const bool fits = x && x->sequence && step->n_inputs <= 2 && layer->mask != FG_NONE &&
                      plan->values[step->inputs[step->n_inputs - 1]].features == x->features;
    if (!fits || layer->y == FG_NONE || !fg_mask_fits(plan, layer->mask, layer->x))
        return FG_BAD_LAYER;
    status = fg_inputs_go_together(plan, step);
    if (status)
        return status;
    float *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    *own = layer->where.value;
    step->own = own;
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, x->features);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const float value = *(const float *)step->own;
    const int64_t features = c->plan->values[step->x].features;
    const fg_grid x = fg_grid_of(c, step->inputs[0]), y = fg_grid_of(c, step->y);
    const fg_grid other = fg_grid_of(c, step->inputs[step->n_inputs - 1]);
    const bool is_given = fg_slot_of(c, step->mask).view.data;
    int64_t first, last;
    fg_share(c, member, y.rows, &first, &last);
    for (int64_t b = first; b < last; b++) {
        int64_t mask_time = 0;
        const uint8_t *mask = is_given ? fg_bytes_of(c, step->mask, c->row + b, &mask_time) : NULL;
        for (int64_t t = 0; t < y.steps; t++) {
            float *to = y.data + b * y.row_stride + t * y.time_stride;
            const bool taken = !mask || mask[t * mask_time];
            const fg_grid *from = taken ? &x : &other;
            if (taken || step->n_inputs == 2)
                memcpy(to, from->data + b * from->row_stride + t * from->time_stride, (size_t)features * sizeof *to);
            else
                for (int64_t i = 0; i < features; i++)
                    to[i] = value;
        }
    }
}

const fg_layer_ops fg_where_ops = {.add = add, .share = share, .release = fg_free_own};
