/* The maximum or mean of each window and channel. A window without an entry, all of it padding, has the maximum
 * -infinity and the mean NaN. */
#include <stdlib.h>
#include <string.h>

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
    return fg_define_windows(plan, step, w, fg_window_count(w, 1, w->width) * w->channels);
}

static int64_t steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const pool_layer *own = step->own;
    return fg_window_steps(plan, step, &own->window, call);
}

/* Room for the steps of a window that begins in a tail. */
static int64_t scratch(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const pool_layer *own = step->own;
    return step->memory < 0 || call->before < 0 ? 0 : own->window.size[0] * plan->values[step->x].features;
}

static void pool(const pool_layer *own, const fg_kernels *kernels, const fg_entries *e, float *y)
{
    const fg_window *w = &own->window;
    kernels->common->pool(own->mean ? FG_OVER_SUM : FG_OVER_MAXIMUM, e, w->channels, y);
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

/* The steps that a window sees, of which the first is step t, from tap `from` on to before tap `to`: where they stand
 * in x, or brought together. */
static const float *see(const pool_layer *own, const fg_tail *tail, const fg_grid *x, int64_t row, int64_t t,
                        int64_t from, int64_t to, int64_t *row_stride)
{
    const int64_t apart = own->window.dilation[0];
    const float *data = x->data + row * x->row_stride;
    *row_stride = apart * x->time_stride;
    if (t + from * apart >= 0)
        return data + (t + from * apart) * x->time_stride;
    float *seen = tail->c->scratch + row * tail->c->state->scratch_row, *to_step = seen;
    for (int64_t tap = from; tap < to; tap++, to_step += tail->features) {
        const int64_t at = t + tap * apart;
        memcpy(to_step, at < 0 ? fg_tail_step(tail, row, at) : data + at * x->time_stride,
               (size_t)tail->features * sizeof(float));
    }
    *row_stride = tail->features;
    return seen;
}

/* Windows [begin, end), counted over all rows. */
static void pool_windows(const fg_step *step, const fg_context *c, const fg_tail *tail, int64_t begin, int64_t end)
{
    const pool_layer *own = step->own;
    const fg_window *w = &own->window;
    const fg_grid x = fg_whole_of(c, step->x), y = fg_whole_of(c, step->y);
    const int64_t windows = fg_window_count(w, 1, w->width);
    const int64_t before[2] = {fg_window_begin(c, step, w), fg_window_before(w, 1, w->width)};
    for (int64_t i = begin; i < end; i++) {
        const int64_t b = i / y.steps, step_of_y = i % y.steps, t = step_of_y * w->stride[0] - before[0];
        const int64_t held = fg_tail_held(tail, b);
        float *out = y.data + b * y.row_stride + step_of_y * y.time_stride;
        fg_entries e = {.column_stride = w->dilation[1] * w->channels};
        int64_t from, to;
        find_taps(w, 0, t + held, x.steps + held, &from, &to);
        const float *data = see(own, tail, &x, b, t, from, to, &e.row_stride);
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

/* Of rows that have a tail each is one member's, which brings it up to date. */
static void share(const fg_step *step, const fg_context *c, int member)
{
    const fg_tail tail = fg_tail_of(c, step);
    const fg_grid x = fg_whole_of(c, step->x);
    const int64_t steps = c->state->slots[step->y].steps;
    int64_t first, last;
    fg_share(c, member, tail.memory ? c->rows : c->rows * steps, &first, &last);
    pool_windows(step, c, &tail, tail.memory ? first * steps : first, tail.memory ? last * steps : last);
    for (int64_t row = first; tail.memory && row < last; row++)
        fg_tail_keep(&tail, &x, row);
}

const fg_layer_ops fg_pool_ops = {
    .add = add, .share = share, .release = fg_free_own, .steps = steps, .scratch = scratch, .once = true};
