/* Slice, Pad and Repeat: entries of an axis taken, put between others of one value, each several times in a row. Along
 * an axis of a step, or over time; and the last step of a sequence, which is taken as the steps come. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

typedef struct select_layer {
    int64_t outer, size, width; /* a step is (outer, size, width); over time, a step is an entry of `width` */
    int64_t start, stop, step, before, after, times;
    float value;
} select_layer;

/* What it makes of an axis: `before` entries of the value, of the axis `taken` from `first` on, `after` ones. */
typedef struct entries {
    int64_t first, step, taken, before, after, times, count;
} entries;

static int64_t clip(int64_t n, int64_t least, int64_t most)
{
    return n < least ? least : n > most ? most : n;
}

/* Entries beyond all memory: sums of such numbers do not overflow. */
static const int64_t MOST = (int64_t)1 << 40;

/* Python's slice of an axis of that size; count 0 where nothing is taken, -1 where there would be too many. */
static entries entries_of(const select_layer *own, int64_t size)
{
    const int64_t least = own->step < 0 ? -1 : 0, most = own->step < 0 ? size - 1 : size;
    const int64_t start = clip(own->start < 0 ? own->start + size : own->start, least, most);
    const int64_t stop = clip(own->stop < 0 ? own->stop + size : own->stop, least, most);
    const int64_t reach = own->step < 0 ? start - stop : stop - start, stride = llabs(own->step);
    entries e = {.first = start,
                 .step = own->step,
                 .taken = reach > 0 ? (reach - 1) / stride + 1 : 0,
                 .before = own->before,
                 .after = own->after,
                 .times = own->times};
    if (__builtin_mul_overflow(e.taken + e.before + e.after, e.times, &e.count) || e.count > MOST)
        e.count = -1;
    return e;
}

static bool fits(const fg_layer *layer)
{
    const int64_t limit = (int64_t)1 << 61;
    return layer->y != FG_NONE && layer->select.step != 0 && llabs(layer->select.step) <= limit &&
           llabs(layer->select.start) <= limit && llabs(layer->select.stop) <= limit && layer->select.before >= 0 &&
           layer->select.before <= INT32_MAX && layer->select.after >= 0 && layer->select.after <= INT32_MAX &&
           layer->select.times >= 1 && layer->select.times <= INT32_MAX;
}

static fg_status keep(fg_step *step, const fg_layer *layer, int64_t width)
{
    select_layer *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    *own = (select_layer){.outer = layer->select.outer,
                          .size = layer->select.size,
                          .width = width,
                          .start = layer->select.start,
                          .stop = layer->select.stop,
                          .step = layer->select.step,
                          .before = layer->select.before,
                          .after = layer->select.after,
                          .times = layer->select.times,
                          .value = layer->select.value};
    step->own = own;
    return FG_OK;
}

static float *fill(float *to, int64_t to_stride, int64_t width, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++, to += to_stride)
        for (int64_t j = 0; j < width; j++)
            to[j] = value;
    return to;
}

/* Entries of `width` floats that lie so far apart. */
static void take(const entries *e, float value, int64_t width, const float *from, int64_t from_stride, float *to,
                 int64_t to_stride)
{
    to = fill(to, to_stride, width, e->before * e->times, value);
    from += e->first * from_stride;
    if (e->step == 1 && e->times == 1 && from_stride == width && to_stride == width) {
        memcpy(to, from, (size_t)(e->taken * width) * sizeof(float));
        to += e->taken * width;
    } else {
        for (int64_t i = 0; i < e->taken; i++)
            for (int64_t k = 0; k < e->times; k++, to += to_stride)
                memcpy(to, from + i * e->step * from_stride, (size_t)width * sizeof(float));
    }
    fill(to, to_stride, width, e->after * e->times, value);
}

/* ---- within a step ----------------------------------------------------------------------------------------------- */

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const int64_t outer = layer->select.outer, size = layer->select.size;
    int64_t rows, features;
    if (!x || !fits(layer) || outer < 1 || size < 1 || __builtin_mul_overflow(outer, size, &rows) || x->features % rows)
        return FG_BAD_LAYER;
    const fg_status status = keep(step, layer, x->features / rows);
    if (status)
        return status;
    const entries e = entries_of(step->own, size);
    if (e.count < 1 || __builtin_mul_overflow(x->features / size, e.count, &features))
        return FG_BAD_LAYER;
    return fg_define(plan, layer->y, layer->x, FG_FLOATS, features);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const select_layer *own = step->own;
    const entries e = entries_of(own, own->size);
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    const int64_t width = own->width;
    int64_t first, last;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = first; b < last; b++)
        for (int64_t t = 0; t < x.steps; t++)
            for (int64_t i = 0; i < own->outer; i++)
                take(&e, own->value, width, x.data + b * x.row_stride + t * x.time_stride + i * own->size * width,
                     width, y.data + b * y.row_stride + t * y.time_stride + i * e.count * width, width);
}

const fg_layer_ops fg_select_ops = {.add = add, .share = share, .release = fg_free_own};

/* ---- over time --------------------------------------------------------------------------------------------------- */

static fg_status time_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    if (!x || !x->sequence || !fits(layer))
        return FG_BAD_LAYER;
    const fg_status status = keep(step, layer, x->features);
    if (status)
        return status;
    return layer->select.drop ? fg_define(plan, layer->y, FG_NONE, FG_FLOATS, x->features)
                              : fg_define_sequence(plan, layer->y, FG_FLOATS, x->features);
}

/* -1 where a slice takes nothing, or a value without time is not made of one step. */
static int64_t time_steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const int64_t steps = fg_plan_steps(plan, step->x, call);
    const entries e = steps < 0 ? (entries){.count = -1} : entries_of(step->own, steps);
    const bool is_slice = e.before + e.after == 0 && e.times == 1;
    if (!plan->values[step->y].sequence)
        return e.count == 1 ? 1 : -1;
    return e.count == 0 && is_slice ? -1 : e.count;
}

static void time_share(const fg_step *step, const fg_context *c, int member)
{
    const select_layer *own = step->own;
    const fg_grid x = fg_whole_of(c, step->x), y = fg_whole_of(c, step->y);
    const entries e = entries_of(own, x.steps);
    int64_t first, last;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = first; b < last; b++)
        take(&e, own->value, own->width, x.data + b * x.row_stride, x.time_stride, y.data + b * y.row_stride,
             y.time_stride);
}

const fg_layer_ops fg_select_time_ops = {
    .add = time_add, .share = time_share, .release = fg_free_own, .steps = time_steps, .once = true};

/* ---- the last step ----------------------------------------------------------------------------------------------- */

static fg_status last_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    if (!x || !x->sequence || layer->y == FG_NONE)
        return FG_BAD_LAYER;
    if (!plan->values[fg_steps_root(plan, layer->x)].is_input) /* a call of steps may give it none */
        fg_carry_in_place(plan, step, x->features);
    return fg_define(plan, layer->y, FG_NONE, FG_FLOATS, x->features);
}

static int64_t last_steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const bool stands = call->begins || (step->memory >= 0 && call->before >= 0);
    return stands || fg_plan_steps(plan, step->x, call) > 0 ? 1 : -1;
}

/* Of no steps, what stood before them; zeros where nothing did. */
static const float *last_of(const fg_context *c, const fg_memory *memory, const fg_grid *x, int64_t b)
{
    if (x->steps > 0)
        return x->data + b * x->row_stride + (x->steps - 1) * x->time_stride;
    return memory && !c->state->fresh[fg_state_row(c->state, c->row + b)] ? memory->copies[c->row + b][0] : NULL;
}

static void last_share(const fg_step *step, const fg_context *c, int member)
{
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    const bool carries = step->memory >= 0 && c->state->before >= 0;
    const fg_memory *memory = carries ? &c->state->memories[step->memory] : NULL;
    const size_t bytes = (size_t)c->plan->values[step->y].features * sizeof(float);
    int64_t first, last;
    if (!fg_is_last_block(c))
        return;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = first; b < last; b++) {
        const float *from = last_of(c, memory, &x, b);
        float *to = y.data + b * y.row_stride;
        if (from)
            memcpy(to, from, bytes);
        else
            memset(to, 0, bytes);
        if (memory)
            memcpy(memory->copies[c->row + b][0], to, bytes);
    }
}

const fg_layer_ops fg_last_ops = {.add = last_add, .share = last_share, .release = fg_free_own, .steps = last_steps};
