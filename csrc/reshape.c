/* Reshape over time: the values of a row, all steps, in the same order under another number of steps. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

typedef struct reshape_layer {
    int64_t steps; /* of y; 0: as many as hold what x holds */
} reshape_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    if (!fg_read(plan, layer->x, FG_FLOATS) || layer->y == FG_NONE || layer->reshape.steps < 0)
        return FG_BAD_LAYER;
    reshape_layer *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    own->steps = layer->reshape.steps;
    step->own = own;
    return layer->reshape.sequence ? fg_define_sequence(plan, layer->y, FG_FLOATS, layer->reshape.features)
                                   : fg_define(plan, layer->y, FG_NONE, FG_FLOATS, layer->reshape.features);
}

/* -1 where the two do not hold the same. */
static int64_t steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const reshape_layer *own = step->own;
    const int64_t features = plan->values[step->y].features;
    const int64_t total = fg_plan_steps(plan, step->x, call) * plan->values[step->x].features;
    if (own->steps)
        return own->steps * features == total ? own->steps : -1;
    return total % features ? -1 : total / features;
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const fg_grid from = fg_whole_of(c, step->x), to = fg_whole_of(c, step->y);
    const fg_value_info *x = &c->plan->values[step->x], *y = &c->plan->values[step->y];
    const int64_t total = from.steps * x->features;
    int64_t first, last;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = first; b < last; b++)
        for (int64_t i = 0; i < total;) { /* the longest run that is contiguous in both */
            const int64_t in_x = i % x->features, in_y = i % y->features;
            const int64_t left_x = x->features - in_x, left_y = y->features - in_y;
            const int64_t run = left_x < left_y ? left_x : left_y;
            memcpy(to.data + b * to.row_stride + i / y->features * to.time_stride + in_y,
                   from.data + b * from.row_stride + i / x->features * from.time_stride + in_x,
                   (size_t)run * sizeof(float));
            i += run;
        }
}

const fg_layer_ops fg_reshape_ops = {.add = add, .share = share, .release = fg_free_own, .steps = steps, .once = true};
