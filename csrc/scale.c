/* Scale: x · scale + offset. PReLU: max(x, 0) + alpha · min(x, 0). Their numbers are spread over the elements of a step
 * and, where each step has its own, over the steps counted from the first of the call. */
#include <stdlib.h>

#include "layers.h"

typedef struct scale_layer {
    int64_t steps;         /* that the numbers cover: 1, or all */
    float *scale, *offset; /* (steps, features) in the plan's store; PReLU: scale is alpha */
} scale_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t steps = layer->scale.steps;
    const bool is_prelu = layer->kind == FG_PRELU;
    if (!x || layer->y == FG_NONE || steps < 1 || (steps > 1 && !x->sequence) || (is_prelu && !layer->scale.scale))
        return FG_BAD_LAYER;
    scale_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    step->counts_steps = steps > 1;
    int64_t count;
    if (__builtin_mul_overflow(steps, x->features, &count))
        return FG_NO_MEMORY;
    own->steps = steps;
    own->scale = fg_keep_numbers(plan, step, layer->scale.scale, 1.0f, count);
    if (!is_prelu) /* x + -0 is x for every x, 0 and -0 too */
        own->offset = fg_keep_numbers(plan, step, layer->scale.offset, -0.0f, count);
    if (!own->scale || (!is_prelu && !own->offset))
        return FG_NO_MEMORY;
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, x->features);
}

static void scale_row(int64_t n, const float *scale, const float *offset, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * scale[i] + offset[i];
}

/* A NaN is neither below nor above 0, so both halves are NaN. */
static void prelu_row(int64_t n, const float *alpha, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] < 0.0f ? 0.0f : x[i]) + alpha[i] * (x[i] > 0.0f ? 0.0f : x[i]);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const scale_layer *own = step->own;
    const int64_t features = c->plan->values[step->y].features;
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    int64_t first, last;
    fg_share(c, member, fg_grid_size(&x), &first, &last);
    for (int64_t i = first; i < last; i++) {
        float *from, *to;
        fg_grid_rows(&x, i, 1, &from);
        fg_grid_rows(&y, i, 1, &to);
        const int64_t at = own->steps > 1 ? (c->t0 + i / x.rows) * features : 0;
        if (own->offset)
            scale_row(features, own->scale + at, own->offset + at, from, to);
        else
            prelu_row(features, own->scale + at, from, to);
    }
}

const fg_layer_ops fg_scale_ops = {.add = add, .share = share, .release = fg_free_own};
