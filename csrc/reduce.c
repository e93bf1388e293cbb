/* The mean, sum, maximum or minimum over time or over an axis of a step. Sums are taken in double, in the order of the
 * axis. Over nothing the mean is NaN, the sum 0, the maximum -infinity, the minimum infinity. */
#include <stdlib.h>

#include "layers.h"

/* Results that stay in registers. */
enum { BLOCK = 16 };

typedef struct reduce_layer {
    fg_reduction function;
    int64_t outer, size, inner; /* of a step, where not over time */
} reduce_layer;

/* Entries to reduce: `count` of them, `stride` apart; those that `mask` marks as 0 are left out. */
typedef struct entries {
    const float *data;
    int64_t count, stride;
    const uint8_t *mask; /* NULL: none is left out */
    int64_t mask_stride;
} entries;

static void add_up(const entries *e, bool mean, int64_t width, float *y)
{
    double sum[BLOCK] = {0};
    int64_t taken = 0;
    for (int64_t k = 0; k < e->count; k++) {
        if (e->mask && !e->mask[k * e->mask_stride])
            continue;
        const float *x = e->data + k * e->stride;
        taken++;
        if (width == BLOCK)
            for (int i = 0; i < BLOCK; i++)
                sum[i] += (double)x[i];
        else
            for (int64_t i = 0; i < width; i++)
                sum[i] += (double)x[i];
    }
    for (int64_t i = 0; i < width; i++)
        y[i] = (float)(mean ? sum[i] / (double)taken : sum[i]);
}

/* Up to BLOCK results side by side. */
static void reduce(const fg_kernels *kernels, fg_reduction function, const entries *e, int64_t width, float *y)
{
    if (function == FG_OVER_MEAN || function == FG_OVER_SUM)
        add_up(e, function == FG_OVER_MEAN, width, y);
    else
        kernels->common->pool(function, &(fg_entries){e->data, e->count, 1, e->stride, 0}, width, y);
}

static fg_status keep(fg_step *step, reduce_layer layer)
{
    reduce_layer *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    *own = layer;
    step->own = own;
    return FG_OK;
}

/* ---- over time --------------------------------------------------------------------------------------------------- */

static fg_status time_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const fg_reduction function = layer->reduce.function;
    const bool may_mask = function == FG_OVER_MEAN || function == FG_OVER_SUM;
    if (!x || !x->sequence || layer->y == FG_NONE || !fg_mask_fits(plan, layer->mask, layer->x) ||
        (layer->mask != FG_NONE && !may_mask))
        return FG_BAD_LAYER;
    const fg_status status = keep(step, (reduce_layer){.function = function});
    return status ? status : fg_define(plan, layer->y, FG_NONE, FG_FLOATS, x->features);
}

static void time_share(const fg_step *step, const fg_context *c, int member)
{
    const reduce_layer *own = step->own;
    const fg_grid x = fg_whole_of(c, step->x), y = fg_whole_of(c, step->y);
    const bool masked = step->mask != FG_NONE && fg_slot_of(c, step->mask).view.data;
    const int64_t features = c->plan->values[step->x].features, blocks = (features + BLOCK - 1) / BLOCK;
    int64_t first, last;
    fg_share(c, member, x.rows * blocks, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t b = i / blocks, feature = i % blocks * BLOCK, left = features - feature;
        entries e = {.data = x.data + b * x.row_stride + feature, .count = x.steps, .stride = x.time_stride};
        if (masked)
            e.mask = fg_bytes_of(c, step->mask, c->row + b, &e.mask_stride);
        reduce(c->kernels, own->function, &e, left < BLOCK ? left : BLOCK, y.data + b * y.row_stride + feature);
    }
}

const fg_layer_ops fg_reduce_time_ops = {.add = time_add, .share = time_share, .release = fg_free_own, .once = true};

/* ---- over an axis of a step -------------------------------------------------------------------------------------- */

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t outer = layer->reduce.outer, size = layer->reduce.size, inner = layer->reduce.inner;
    if (!x || outer < 1 || size < 1 || inner < 1 || x->features % outer || x->features / outer % size ||
        x->features / outer / size != inner || layer->y == FG_NONE)
        return FG_BAD_LAYER;
    const fg_status status = keep(step, (reduce_layer){layer->reduce.function, outer, size, inner});
    return status ? status : fg_define(plan, layer->y, layer->x, FG_FLOATS, outer * inner);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const reduce_layer *own = step->own;
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    int64_t first, last;
    fg_share(c, member, fg_grid_size(&x), &first, &last);
    for (int64_t i = first; i < last; i++) {
        float *from, *to;
        fg_grid_rows(&x, i, 1, &from);
        fg_grid_rows(&y, i, 1, &to);
        for (int64_t o = 0; o < own->outer; o++, from += own->size * own->inner, to += own->inner)
            for (int64_t k = 0; k < own->inner; k += BLOCK) {
                const entries e = {.data = from + k, .count = own->size, .stride = own->inner};
                reduce(c->kernels, own->function, &e, own->inner - k < BLOCK ? own->inner - k : BLOCK, to + k);
            }
    }
}

const fg_layer_ops fg_reduce_ops = {.add = add, .share = share, .release = fg_free_own};
