/* What Conv and Pool tell the plan of their windows, and what these look back on. */
#include "window.h"

#include <string.h>

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

/* Whether there are as many windows as steps, whatever their number is. */
static bool keeps_steps(const fg_window *w)
{
    return w->stride[0] == 1 && (w->padding != FG_PAD_EXPLICIT || w->before[0] + w->after[0] == fg_reach(w, 0) - 1);
}

/* The most numbers of a row's tail, its count among them. */
enum { MOST_CARRIED = 1 << 30 };

fg_status fg_define_windows(fg_plan *plan, fg_step *step, const fg_window *w, int64_t features)
{
    int64_t carried;
    if (step->y == FG_NONE)
        return FG_BAD_LAYER;
    const bool fits = !__builtin_mul_overflow(fg_reach(w, 0) - 1, w->width * w->channels, &carried);
    step->streams = fg_causal_before(w) >= 0 && fits && carried < MOST_CARRIED;
    if (step->streams && carried)
        fg_carry_in_place(plan, step, carried + 1);
    return keeps_steps(w) ? fg_define(plan, step->y, step->x, FG_FLOATS, features)
                          : fg_define_sequence(plan, step->y, FG_FLOATS, features);
}

/* Windows that the first steps of a stream complete. */
static int64_t completed(const fg_window *w, int64_t steps)
{
    const int64_t count = fg_window_count(w, 0, steps);
    return count < 0 ? 0 : count;
}

int64_t fg_window_steps(const fg_plan *plan, const fg_step *step, const fg_window *w, const fg_call *call)
{
    const int64_t steps = fg_plan_steps(plan, step->x, call);
    if (steps < 0)
        return -1;
    if (!step->streams || call->before < 0)
        return fg_window_count(w, 0, steps);
    const int64_t before = fg_steps_before(plan, step->x, call->before);
    return completed(w, before + steps) - completed(w, before);
}

int64_t fg_window_begin(const fg_context *c, const fg_step *step, const fg_window *w)
{
    if (!step->streams || c->state->before < 0)
        return fg_window_before(w, 0, c->state->slots[step->x].steps);
    const int64_t padding = fg_causal_before(w);
    if (keeps_steps(w))
        return padding;
    const int64_t before = fg_steps_before(c->plan, step->x, c->state->before);
    return padding + before - completed(w, before) * w->stride[0];
}

/* ---- tails ------------------------------------------------------------------------------------------------------- */

fg_tail fg_tail_of(const fg_context *c, const fg_step *step)
{
    const int64_t features = c->plan->values[step->x].features;
    const bool looks_back = step->memory >= 0 && c->state->before >= 0;
    return (fg_tail){.c = c,
                     .memory = looks_back ? &c->state->memories[step->memory] : NULL,
                     .steps = looks_back ? (step->carried - 1) / features : 0,
                     .features = features};
}

static float *ring_of(const fg_tail *tail, int64_t row)
{
    return tail->memory->copies[tail->c->row + row][0];
}

/* Steps of a row so far, less a multiple of the tail's and less than two of them: which place is whose is all the same.
 */
static int64_t count_of(const fg_tail *tail, int64_t row)
{
    int32_t count = 0;
    if (!tail->c->state->fresh[fg_state_row(tail->c->state, tail->c->row + row)])
        memcpy(&count, ring_of(tail, row) + tail->steps * tail->features, sizeof count);
    return count;
}

int64_t fg_tail_held(const fg_tail *tail, int64_t row)
{
    const int64_t count = tail->memory ? count_of(tail, row) : 0;
    return count < tail->steps ? count : tail->steps;
}

const float *fg_tail_step(const fg_tail *tail, int64_t row, int64_t t)
{
    const int64_t count = tail->memory ? count_of(tail, row) : 0;
    if (count + t < 0 || -t > tail->steps)
        return NULL;
    return ring_of(tail, row) + (count + t) % tail->steps * tail->features;
}

void fg_tail_keep(const fg_tail *tail, const fg_grid *x, int64_t row)
{
    float *ring = ring_of(tail, row);
    const int64_t count = count_of(tail, row), total = count + x->steps;
    for (int64_t t = x->steps < tail->steps ? 0 : x->steps - tail->steps; t < x->steps; t++)
        memcpy(ring + (count + t) % tail->steps * tail->features, x->data + row * x->row_stride + t * x->time_stride,
               (size_t)tail->features * sizeof(float));
    const int32_t left = (int32_t)(total < 2 * tail->steps ? total : tail->steps + total % tail->steps);
    memcpy(ring + tail->steps * tail->features, &left, sizeof left);
}
