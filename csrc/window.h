/* Windows over time, or over time and the axis behind it: what Conv and Pool share. */
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

/* Whether the sizes are sane and fit the features of a step; those of axis 1 are 1 where there is no such axis. */
bool fg_window_fits(const fg_window *w, const fg_value_info *x);
/* Defines y: with the steps of x where it always has as many, else with its own. */
fg_status fg_define_windows(fg_plan *plan, const fg_window *w, fg_value x, fg_value y, int64_t features);
/* The steps of a y that has its own. */
int64_t fg_window_steps(const fg_plan *plan, const fg_step *step, const fg_window *w, const fg_call *call);

#endif
