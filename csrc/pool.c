/* The maximum or mean of each window and channel. A window without an entry, all of it padding, has the maximum
 * -infinity and the mean NaN. */
#include <stdlib.h>

#include "window.h"

typedef struct pool_layer {
    fg_window window;
    bool mean, count_padding;
} pool_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const fg_window *w = &layer->pool.window;
    const bool mean = layer->pool.function == FG_OVER_MEAN;
    if (!x || !fg_window_fits(w, x) || (!mean && layer->pool.function != FG_OVER_MAXIMUM))
        return FG_BAD_LAYER;
    pool_layer *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    *own = (pool_layer){.window = *w, .mean = mean, .count_padding = layer->pool.count_padding};
    step->own = own;
    return fg_define_windows(plan, w, layer->x, layer->y, fg_window_count(w, 1, w->width) * w->channels);
}

static int64_t steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const pool_layer *own = step->own;
    return fg_window_steps(plan, step, &own->window, call);
}

static void pool(const pool_layer *own, const fg_kernels *kernels, const fg_entries *e, float *y)
{
    const fg_window *w = &own->window;
    kernels->pool(own->mean ? FG_OVER_SUM : FG_OVER_MAXIMUM, e, w->channels, y);
    const float of = (float)(own->count_padding ? w->size[0] * w->size[1] : e->rows * e->columns);
    for (int64_t c = 0; own->mean && c < w->channels; c++)
        y[c] /= of;
}

/* Which of a window's taps along an axis stand in no padding: [first, last), the window beginning at `entry`. */
static void find_taps(const fg_window *w, int axis, int64_t entry, int64_t length, int64_t *first, int64_t *last)
{
    const int64_t apart = w->dilation[axis], size = w->size[axis];
    *first = entry >= 0 ? 0 : (-entry + apart - 1) / apart;
    *last = entry >= length ? 0 : (length - entry + apart - 1) / apart;
    *last = *last > size ? size : *last;
    *last = *last < *first ? *first : *last;
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const pool_layer *own = step->own;
    const fg_window *w = &own->window;
    const fg_grid x = fg_whole_of(c, step->x), y = fg_whole_of(c, step->y);
    const int64_t windows = fg_window_count(w, 1, w->width);
    const int64_t before[2] = {fg_window_before(w, 0, x.steps), fg_window_before(w, 1, w->width)};
    int64_t begin, end;
    fg_share(c, member, y.rows * y.steps, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t b = i / y.steps, step_of_y = i % y.steps, t = step_of_y * w->stride[0] - before[0];
        float *out = y.data + b * y.row_stride + step_of_y * y.time_stride;
        fg_entries e = {.row_stride = w->dilation[0] * x.time_stride, .column_stride = w->dilation[1] * w->channels};
        int64_t from, to;
        find_taps(w, 0, t, x.steps, &from, &to);
        const float *data = x.data + b * x.row_stride + (t + from * w->dilation[0]) * x.time_stride;
        e.rows = to - from;
        for (int64_t j = 0; j < windows; j++, out += w->channels) {
            const int64_t entry = j * w->stride[1] - before[1];
            find_taps(w, 1, entry, w->width, &from, &to);
            e.columns = to - from;
            e.data = data + (entry + from * w->dilation[1]) * w->channels;
            pool(own, c->kernels, &e, out);
        }
    }
}

const fg_layer_ops fg_pool_ops = {.add = add, .share = share, .release = fg_free_own, .steps = steps, .once = true};
