/* Reshape over time: the values of a row, all steps, in the same order under another number of steps. */
#include <string.h>

#include "layers.h"

static void release(fg_step *step)
{
    (void)step;
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    (void)step;
    if (!fg_read(plan, layer->x, FG_FLOATS) || layer->y == FG_NONE || layer->reshape.steps < 0)
        return FG_BAD_LAYER;
    const fg_status status = fg_define(plan, layer->y, FG_NONE, FG_FLOATS, layer->reshape.features);
    if (status)
        return status;
    fg_value_info *y = &plan->values[layer->y];
    y->sequence = layer->reshape.sequence;
    y->reshaped = layer->x;
    y->steps_of = y->sequence ? layer->y : FG_NONE;
    y->fixed_steps = layer->reshape.steps;
    return FG_OK;
}

/* Runs once, on the whole value, so it cannot use the block's grids. */
static void share(const fg_step *step, const fg_context *c, int member)
{
    const fg_slot from = fg_slot_of(c, step->x), to = fg_slot_of(c, step->y);
    const fg_value_info *x = &c->plan->values[step->x], *y = &c->plan->values[step->y];
    const int64_t x_steps = x->sequence ? fg_plan_steps(c->plan, step->x, c->call_steps) : 1;
    const int64_t total = x_steps * x->features;
    int64_t first, last;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = c->row + first; b < c->row + last; b++)
        for (int64_t i = 0; i < total;) { /* the longest run that is contiguous in both */
            const int64_t in_x = i % x->features, in_y = i % y->features;
            const int64_t left_x = x->features - in_x, left_y = y->features - in_y;
            const int64_t run = left_x < left_y ? left_x : left_y;
            memcpy((float *)to.view.data + b * to.view.batch_stride +
                       (y->sequence ? i / y->features * to.view.time_stride : 0) + in_y,
                   (const float *)from.view.data + b * from.view.batch_stride +
                       (x->sequence ? i / x->features * from.view.time_stride : 0) + in_x,
                   (size_t)run * sizeof(float));
            i += run;
        }
}

const fg_layer_ops fg_reshape_ops = {.add = add, .share = share, .release = release, .reads_whole = true};
