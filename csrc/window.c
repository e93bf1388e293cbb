/* What Conv and Pool tell the plan of their windows. */
#include "window.h"

static bool is_size(int64_t n, int64_t least)
{
    return n >= least && n <= INT32_MAX;
}

bool fg_window_fits(const fg_window *w, const fg_value_info *x)
{
    for (int axis = 0; axis < 2; axis++)
        if (!is_size(w->size[axis], 1) || !is_size(w->stride[axis], 1) || !is_size(w->dilation[axis], 1) ||
            !is_size(w->before[axis], 0) || !is_size(w->after[axis], 0))
            return false;
    return is_size(w->width, 1) && is_size(w->channels, 1) && x->sequence && w->width * w->channels == x->features &&
           fg_window_count(w, 1, w->width) >= 1;
}

fg_status fg_define_windows(fg_plan *plan, const fg_window *w, fg_value x, fg_value y, int64_t features)
{
    if (y == FG_NONE)
        return FG_BAD_LAYER;
    const bool keeps = w->padding != FG_PAD_EXPLICIT || w->before[0] + w->after[0] == fg_reach(w, 0) - 1;
    return w->stride[0] == 1 && keeps ? fg_define(plan, y, x, FG_FLOATS, features)
                                      : fg_define_sequence(plan, y, FG_FLOATS, features);
}

int64_t fg_window_steps(const fg_plan *plan, const fg_step *step, const fg_window *w, const fg_call *call)
{
    const int64_t steps = fg_plan_steps(plan, step->x, call);
    return steps < 0 ? -1 : fg_window_count(w, 0, steps);
}
