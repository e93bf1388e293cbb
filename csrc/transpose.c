/* Transpose: the axes of a step permuted; or, over time, all axes behind the batch, of which another becomes time. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* An axis of y: its entries, and how far apart they lie in x and in y. */
typedef struct axis {
    int64_t size, from, to;
} axis;

typedef struct transpose_layer {
    int n;
    int order[FG_MAX_AXES];     /* axis i of y is this one of x; axis 0 is time in transposes over time */
    int64_t sizes[FG_MAX_AXES]; /* of x */
} transpose_layer;

/* Checks and keeps a description of axes that hold `total` values. */
static fg_status keep(fg_step *step, const fg_layer *layer, int64_t total)
{
    const int n = layer->transpose.axes;
    unsigned seen = 0;
    int64_t values = 1;
    if (n < 0 || n > FG_MAX_AXES || layer->y == FG_NONE)
        return FG_BAD_LAYER;
    for (int i = 0; i < n; i++) {
        const int64_t size = layer->transpose.sizes[i];
        const int32_t from = layer->transpose.order[i];
        if (size < 1 || from < 0 || from >= n || __builtin_mul_overflow(values, size, &values))
            return FG_BAD_LAYER;
        seen |= 1u << from;
    }
    if (seen != (1u << n) - 1 || values != total)
        return FG_BAD_LAYER;
    transpose_layer *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    own->n = n;
    for (int i = 0; i < n; i++) {
        own->order[i] = layer->transpose.order[i];
        own->sizes[i] = layer->transpose.sizes[i];
    }
    step->own = own;
    return FG_OK;
}

/* Axes that lie in one piece in both are one. Appends an axis behind `n` others; returns how many there are then. */
static int append(axis *axes, int n, axis a)
{
    if (a.size == 1)
        return n;
    if (n && axes[n - 1].from == a.size * a.from && axes[n - 1].to == a.size * a.to) {
        axes[n - 1] = (axis){axes[n - 1].size * a.size, a.from, a.to};
        return n;
    }
    axes[n] = a;
    return n + 1;
}

static void move(const axis *axes, int n, const float *from, float *to)
{
    if (n == 0) {
        *to = *from;
    } else if (n == 1 && axes->from == 1 && axes->to == 1) {
        memcpy(to, from, (size_t)axes->size * sizeof(float));
    } else if (n == 1) {
        for (int64_t i = 0; i < axes->size; i++)
            to[i * axes->to] = from[i * axes->from];
    } else {
        for (int64_t i = 0; i < axes->size; i++)
            move(axes + 1, n - 1, from + i * axes->from, to + i * axes->to);
    }
}

/* A member's rows, each an array of such axes. */
static void move_rows(const fg_context *c, int member, const axis *axes, int n, const fg_grid *x, const fg_grid *y)
{
    int64_t first, last;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = first; b < last; b++)
        move(axes, n, x->data + b * x->row_stride, y->data + b * y->row_stride);
}

/* How far apart the entries of each axis lie in x, those of the last one side by side. */
static void strides_of(const transpose_layer *own, int64_t *strides)
{
    int64_t stride = 1;
    for (int i = own->n - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= own->sizes[i];
    }
}

/* ---- within a step ----------------------------------------------------------------------------------------------- */

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    if (!x)
        return FG_BAD_LAYER;
    const fg_status status = keep(step, layer, x->features);
    return status ? status : fg_define(plan, layer->y, layer->x, FG_FLOATS, x->features);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const transpose_layer *own = step->own;
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    int64_t from[FG_MAX_AXES], to = c->plan->values[step->y].features;
    axis axes[FG_MAX_AXES + 1];
    if (x.steps == 0)
        return;
    strides_of(own, from);
    int n = append(axes, 0, (axis){x.steps, x.time_stride, y.time_stride});
    for (int i = 0; i < own->n; i++) {
        const int64_t size = own->sizes[own->order[i]];
        to /= size;
        n = append(axes, n, (axis){size, from[own->order[i]], to});
    }
    move_rows(c, member, axes, n, &x, &y);
}

const fg_layer_ops fg_transpose_ops = {.add = add, .share = share, .release = fg_free_own};

/* ---- over time --------------------------------------------------------------------------------------------------- */

static fg_status time_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    int64_t total;
    if (!x || !x->sequence || layer->transpose.order[0] == 0 ||
        __builtin_mul_overflow(layer->transpose.sizes[0], x->features, &total))
        return FG_BAD_LAYER;
    const fg_status status = keep(step, layer, total);
    if (status)
        return status;
    return fg_define_sequence(plan, layer->y, FG_FLOATS, total / layer->transpose.sizes[layer->transpose.order[0]]);
}

static int64_t time_steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const transpose_layer *own = step->own;
    return fg_plan_steps(plan, step->x, call) == own->sizes[0] ? own->sizes[own->order[0]] : -1;
}

static void time_share(const fg_step *step, const fg_context *c, int member)
{
    const transpose_layer *own = step->own;
    const fg_grid x = fg_whole_of(c, step->x), y = fg_whole_of(c, step->y);
    int64_t from[FG_MAX_AXES], to = c->plan->values[step->y].features;
    axis axes[FG_MAX_AXES];
    strides_of(own, from);
    from[0] = x.time_stride;
    int n = append(axes, 0, (axis){y.steps, from[own->order[0]], y.time_stride});
    for (int i = 1; i < own->n; i++) {
        const int64_t size = own->sizes[own->order[i]];
        to /= size;
        n = append(axes, n, (axis){size, from[own->order[i]], to});
    }
    move_rows(c, member, axes, n, &x, &y);
}

const fg_layer_ops fg_transpose_time_ops = {
    .add = time_add, .share = time_share, .release = fg_free_own, .steps = time_steps, .once = true};
