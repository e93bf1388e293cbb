/* Concatenate: values side by side along an axis of a step; what nobody else reads is computed in place, the rest
 * copied. Append: sequences one after the other. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* own: how many rows of the last axis a step has. */
static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const int64_t inner = layer->concatenate.inner;
    fg_status status = fg_keep_inputs(plan, step, layer, FG_FLOATS);
    if (status == FG_OK)
        status = fg_inputs_go_together(plan, step);
    if (status)
        return status;
    int64_t features = 0;
    for (int32_t i = 0; i < step->n_inputs; i++) {
        const fg_value_info *info = &plan->values[step->inputs[i]];
        if (inner < 1 || info->features % inner)
            return FG_BAD_LAYER;
        features += info->features;
    }
    if (layer->y == FG_NONE)
        return FG_BAD_LAYER;
    int64_t *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    *own = inner;
    step->own = own;
    step->joins = inner == 1;
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, features);
}

/* Writes one input into its columns of y, for the rows [first, last). */
static void copy(const fg_grid *x, const fg_grid *y, int64_t width, int64_t first, int64_t last)
{
    for (int64_t b = first; b < last; b++)
        for (int64_t t = 0; t < x->steps; t++) {
            const float *from = x->data + b * x->row_stride + t * x->time_stride;
            float *to = y->data + b * y->row_stride + t * y->time_stride;
            for (int64_t j = 0; j < x->inner; j++)
                memcpy(to + j * y->inner_stride, from + j * x->inner_stride, (size_t)width * sizeof(float));
        }
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    fg_grid y = fg_grid_of(c, step->y);
    y.inner = *(const int64_t *)step->own;
    y.inner_stride = c->plan->values[step->y].features / y.inner;
    int64_t first, last;
    fg_share(c, member, y.rows, &first, &last);
    for (int32_t i = 0; i < step->n_inputs; i++) {
        const fg_value_info *info = &c->plan->values[step->inputs[i]];
        fg_grid x = fg_grid_of(c, step->inputs[i]);
        x.inner = y.inner;
        x.inner_stride = info->features / x.inner;
        if (info->part_of == FG_NONE)
            copy(&x, &y, x.inner_stride, first, last);
        y.data += x.inner_stride;
    }
}

const fg_layer_ops fg_concatenate_ops = {.add = add, .share = share, .release = fg_free_own};

/* ---- append ------------------------------------------------------------------------------------------------------ */

static fg_status append_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_status status = fg_keep_inputs(plan, step, layer, FG_FLOATS);
    for (int32_t i = 0; status == FG_OK && i < step->n_inputs; i++) {
        const fg_value_info *info = &plan->values[step->inputs[i]];
        if (!info->sequence || info->features != plan->values[step->x].features)
            return FG_BAD_LAYER;
    }
    if (status || layer->y == FG_NONE)
        return status ? status : FG_BAD_LAYER;
    return fg_define_sequence(plan, layer->y, FG_FLOATS, plan->values[layer->x].features);
}

static void append_share(const fg_step *step, const fg_context *c, int member)
{
    const int64_t features = c->plan->values[step->y].features;
    fg_grid y = fg_whole_of(c, step->y);
    int64_t first, last;
    fg_share(c, member, y.rows, &first, &last);
    for (int32_t i = 0; i < step->n_inputs; i++) {
        const fg_grid x = fg_whole_of(c, step->inputs[i]);
        copy(&x, &y, features, first, last);
        y.data += x.steps * y.time_stride;
    }
}

const fg_layer_ops fg_append_ops = {
    .add = append_add, .share = append_share, .release = fg_free_own, .steps = fg_appended_steps, .once = true};
