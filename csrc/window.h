/* Windows over time, or over time and the axis behind it: what Conv and Pool share.
 *
 * Windows that are causal over time stream. A call of a stream computes those that its steps complete, and what they
 * look back on, the last `steps` of each row, is the layer's *tail*: a ring, in place in its memory. Of a row that has
 * had fewer steps the rest is padding, as it would be in the whole sequence. */
#ifndef FASTGRU_WINDOW_H
#define FASTGRU_WINDOW_H

#include "layers.h"

/* How far a window reaches along an axis. */
static inline int64_t fg_reach(const fg_window *w, int axis)
{
    return (w->size[axis] - 1) * w->dilation[axis] + 1;
}

/* How many windows begin along an axis of `length` entries; -1 where not one fits. */
static inline int64_t fg_window_count(const fg_window *w, int axis, int64_t length)
{
    if (w->padding != FG_PAD_EXPLICIT)
        return (length + w->stride[axis] - 1) / w->stride[axis];
    const int64_t room = length + w->before[axis] + w->after[axis] - fg_reach(w, axis);
    return room < 0 ? -1 : room / w->stride[axis] + 1;
}

/* Entries of padding before the first of an axis. */
static inline int64_t fg_window_before(const fg_window *w, int axis, int64_t length)
{
    if (w->padding == FG_PAD_EXPLICIT)
        return w->before[axis];
    const int64_t last = (fg_window_count(w, axis, length) - 1) * w->stride[axis] + fg_reach(w, axis);
    const int64_t all = last > length ? last - length : 0;
    return w->padding == FG_PAD_SAME ? all / 2 : all - all / 2;
}

/* Entries of padding before the first step of a window that is causal over time, which is so whatever their number is:
 * none stand after the last, and no window is padding alone. -1: it is not causal. */
static inline int64_t fg_causal_before(const fg_window *w)
{
    const int64_t reach = fg_reach(w, 0);
    if (w->padding == FG_PAD_EXPLICIT)
        return w->after[0] == 0 && w->before[0] < reach ? w->before[0] : -1;
    if (reach == 1)
        return 0;
    return w->padding == FG_PAD_SAME_LOWER && w->stride[0] == 1 && reach == 2 ? 1 : -1;
}

/* What windows look back on, in one run. */
typedef struct fg_tail {
    const fg_context *c;
    const fg_memory *memory; /* NULL: they look back on nothing */
    int64_t steps, features;
} fg_tail;

/* Whether the sizes are sane and fit the features of a step; those of axis 1 are 1 where there is no such axis. */
bool fg_window_fits(const fg_window *w, const fg_value_info *x);
/* Defines y: with the steps of x where it always has as many, else with its own; and gives causal windows a tail. */
fg_status fg_define_windows(fg_plan *plan, fg_step *step, const fg_window *w, int64_t features);
/* The steps of a y that has its own. */
int64_t fg_window_steps(const fg_plan *plan, const fg_step *step, const fg_window *w, const fg_call *call);
/* How many steps before the run's first one its first window begins. */
int64_t fg_window_begin(const fg_context *c, const fg_step *step, const fg_window *w);

fg_tail fg_tail_of(const fg_context *c, const fg_step *step);
/* Steps of a row (of the context's) that its tail holds; before them is padding. */
int64_t fg_tail_held(const fg_tail *tail, int64_t row);
/* Step t < 0 of a row, counted from the run's first one; NULL in padding. */
const float *fg_tail_step(const fg_tail *tail, int64_t row, int64_t t);
/* Lets the tail of a row end with the steps of x. Nobody may read it any more. */
void fg_tail_keep(const fg_tail *tail, const fg_grid *x, int64_t row);

#endif
