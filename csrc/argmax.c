/* The index of the largest number along the last axis. */
#include <stdlib.h>

#include "layers.h"

typedef struct argmax_layer {
    int64_t size, outer;
    bool last;
} argmax_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t size = layer->argmax.size;
    if (!x || size < 1 || x->features % size || layer->y == FG_NONE)
        return FG_BAD_LAYER;
    argmax_layer *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    *own = (argmax_layer){size, x->features / size, layer->argmax.last};
    return fg_define(plan, layer->y, layer->x, FG_IDS, own->outer);
}

/* A NaN is larger than any number and equal to another NaN. */
static int32_t largest(const float *x, int64_t size, bool last)
{
    int64_t best = 0;
    for (int64_t i = 1; i < size; i++) {
        const bool is_nan = x[i] != x[i], best_is_nan = x[best] != x[best];
        const bool is_larger = x[i] > x[best] || (is_nan && !best_is_nan);
        if (is_larger || (last && (x[i] == x[best] || (is_nan && best_is_nan))))
            best = i;
    }
    return (int32_t)best;
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const argmax_layer *own = step->own;
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    int64_t first, last;
    fg_share(c, member, fg_grid_size(&x), &first, &last);
    for (int64_t i = first; i < last; i++) {
        float *from, *to;
        fg_grid_rows(&x, i, 1, &from);
        fg_grid_rows(&y, i, 1, &to);
        for (int64_t o = 0; o < own->outer; o++)
            ((int32_t *)to)[o] = largest(from + o * own->size, own->size, own->last);
    }
}

const fg_layer_ops fg_argmax_ops = {.add = add, .share = share, .release = fg_free_own};
