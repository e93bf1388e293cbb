/* Combine: values joined element by element, from the first to the last. Axes of one entry, values without time and
 * sequences of one step spread over the others'. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

typedef struct combine_layer {
    fg_operation operation;
    int64_t features; /* of y */
    int dims;
    int64_t counts[FG_MAX_DIMS];
    int64_t *strides;  /* (n_inputs, dims) */
    uint8_t *one_step; /* (n_inputs): whose only step goes with all of y's */
} combine_layer;

static void release(fg_step *step)
{
    combine_layer *own = step->own;
    if (own) {
        free(own->strides);
        free(own->one_step);
    }
    free(own);
}

/* Whether a walk by these strides stays inside a value of `features`, with the last axis contiguous or standing still.
 */
static bool walks_inside(const combine_layer *own, const int64_t *strides, int64_t features)
{
    int64_t reach = 1;
    for (int d = 0; d < own->dims; d++) {
        if (strides[d] < 0 || strides[d] > features)
            return false;
        reach += (own->counts[d] - 1) * strides[d];
    }
    return reach == features && strides[own->dims - 1] <= 1;
}

/* Y has the steps of the first sequence that does not spread, which the others share. */
static fg_status define(fg_plan *plan, const fg_step *step, const fg_layer *layer, const combine_layer *own)
{
    fg_value like = FG_NONE;
    for (int32_t i = 0; i < step->n_inputs; i++) {
        if (!plan->values[step->inputs[i]].sequence || own->one_step[i])
            continue;
        const fg_status status = like == FG_NONE ? FG_OK : fg_same_steps(plan, like, step->inputs[i]);
        if (status)
            return status;
        like = like == FG_NONE ? step->inputs[i] : like;
    }
    return layer->y == FG_NONE ? FG_BAD_LAYER : fg_define(plan, layer->y, like, FG_FLOATS, own->features);
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_status status = fg_keep_inputs(plan, step, layer, FG_FLOATS);
    if (status)
        return status;
    const int32_t n = step->n_inputs, dims = layer->combine.dims;
    if (n < 2 || dims < 1 || dims > FG_MAX_DIMS)
        return FG_BAD_LAYER;
    combine_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    own->operation = layer->combine.operation;
    own->dims = dims;
    own->features = 1;
    for (int d = 0; d < dims; d++) {
        own->counts[d] = layer->combine.counts[d];
        if (own->counts[d] < 1 || own->counts[d] > INT32_MAX / own->features)
            return FG_BAD_LAYER;
        own->features *= own->counts[d];
    }
    own->strides = malloc(fg_size(n, dims, sizeof *own->strides));
    own->one_step = malloc((size_t)n);
    if (!own->strides || !own->one_step)
        return FG_NO_MEMORY;
    memcpy(own->strides, layer->combine.strides, fg_size(n, dims, sizeof *own->strides));
    memcpy(own->one_step, layer->combine.one_step, (size_t)n);
    for (int32_t i = 0; i < n; i++)
        if (!walks_inside(own, own->strides + i * dims, plan->values[step->inputs[i]].features))
            return FG_BAD_LAYER;
    return define(plan, step, layer, own);
}

/* y = a · x for n elements, · being EXPRESSION of p and q; x moves on with a, or stands still. */
#define EACH(EXPRESSION)                                                                                               \
    if (stride)                                                                                                        \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            const float p = a[i], q = x[i];                                                                            \
            y[i] = EXPRESSION;                                                                                         \
        }                                                                                                              \
    else                                                                                                               \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            const float p = a[i], q = *x;                                                                              \
            y[i] = EXPRESSION;                                                                                         \
        }                                                                                                              \
    break

static void join(fg_operation operation, int64_t n, const float *a, const float *x, int64_t stride, float *y)
{
    switch (operation) {
    case FG_ADD:
    case FG_AVERAGE: EACH(p + q);
    case FG_SUBTRACT: EACH(p - q);
    case FG_MULTIPLY: EACH(p * q);
    case FG_DIVIDE: EACH(p / q);
    case FG_MAXIMUM: EACH((p > q) | (p != p) ? p : q); /* NaN where one is NaN */
    case FG_MINIMUM: EACH((p < q) | (p != p) ? p : q);
    }
}

#undef EACH

static void spread(int64_t n, const float *x, int64_t stride, float *y)
{
    if (stride)
        memcpy(y, x, (size_t)n * sizeof *y);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = *x;
}

/* One step: y = a · x, or x spread over y where a is NULL. a and y have all features, x what its strides say. */
static void join_step(const combine_layer *own, const int64_t *strides, const float *a, const float *x, float *y)
{
    const int last = own->dims - 1;
    const int64_t n = own->counts[last];
    int64_t at[FG_MAX_DIMS] = {0};
    for (int64_t i = 0; i < own->features; i += n) {
        if (a)
            join(own->operation, n, a + i, x, strides[last], y + i);
        else
            spread(n, x, strides[last], y + i);
        for (int d = last - 1; d >= 0; d--) { /* on to the next run of the last axis */
            x += strides[d];
            if (++at[d] < own->counts[d])
                break;
            x -= own->counts[d] * strides[d];
            at[d] = 0;
        }
    }
}

static fg_grid operand(const fg_step *step, const fg_context *c, int32_t i)
{
    const combine_layer *own = step->own;
    fg_grid x = own->one_step[i] ? fg_whole_of(c, step->inputs[i]) : fg_grid_of(c, step->inputs[i]);
    if (own->one_step[i] || !c->plan->values[step->inputs[i]].sequence)
        x.time_stride = 0;
    return x;
}

static void divide_by(float divisor, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] /= divisor;
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const combine_layer *own = step->own;
    const fg_grid y = fg_grid_of(c, step->y), first_operand = operand(step, c, 0);
    const bool is_full = c->plan->values[step->x].features == own->features;
    int64_t first, last;
    fg_share(c, member, fg_grid_size(&y), &first, &last);
    for (int32_t k = 1; k < step->n_inputs; k++) {
        const fg_grid x = operand(step, c, k);
        const bool ends = own->operation == FG_AVERAGE && k == step->n_inputs - 1;
        for (int64_t i = first; i < last; i++) {
            float *to, *from, *before;
            fg_grid_rows(&y, i, 1, &to);
            fg_grid_rows(&x, i, 1, &from);
            fg_grid_rows(&first_operand, i, 1, &before);
            if (k == 1 && !is_full)
                join_step(own, own->strides, NULL, before, to);
            join_step(own, own->strides + k * own->dims, k == 1 && is_full ? before : to, from, to);
            if (ends)
                divide_by((float)step->n_inputs, own->features, to);
        }
    }
}

const fg_layer_ops fg_combine_ops = {.add = add, .share = share, .release = release};
