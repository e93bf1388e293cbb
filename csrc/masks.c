/* Masks out of masks: true where all are, or any is, or one after the other. A mask that is absent in a call is all
 * true, and one made of absent ones is absent. */
#include <string.h>

#include "layers.h"

static fg_status join_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    fg_status status = fg_keep_inputs(plan, step, layer, FG_BYTES);
    if (status == FG_OK)
        status = fg_inputs_go_together(plan, step);
    if (status || layer->y == FG_NONE)
        return status ? status : FG_BAD_LAYER;
    return fg_define_mask(plan, layer->y, layer->x, FG_NONE, false);
}

/* True where all inputs are, or any of them is. */
static void join(const fg_step *step, const fg_context *c, int member, bool any)
{
    int64_t first, last;
    if (!fg_slot_of(c, step->y).view.data)
        return;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = c->row + first; b < c->row + last; b++) {
        int64_t y_time;
        uint8_t *y = fg_bytes_of(c, step->y, b, &y_time);
        for (int64_t t = 0; t < c->steps; t++)
            y[t * y_time] = !any;
        for (int32_t i = 0; i < step->n_inputs; i++) {
            int64_t time = 0;
            const uint8_t absent = 1;
            const bool is_absent = !fg_slot_of(c, step->inputs[i]).view.data;
            const uint8_t *x = is_absent ? &absent : fg_bytes_of(c, step->inputs[i], b, &time);
            for (int64_t t = 0; t < c->steps; t++)
                y[t * y_time] = any ? y[t * y_time] || x[t * time] : y[t * y_time] && x[t * time];
        }
    }
}

static void and_share(const fg_step *step, const fg_context *c, int member)
{
    join(step, c, member, false);
}

static void or_share(const fg_step *step, const fg_context *c, int member)
{
    join(step, c, member, true);
}

const fg_layer_ops fg_and_masks_ops = {.add = join_add, .share = and_share, .release = fg_free_own};
const fg_layer_ops fg_or_masks_ops = {.add = join_add, .share = or_share, .release = fg_free_own};

static fg_status append_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    fg_status status = fg_keep_inputs(plan, step, layer, FG_BYTES);
    for (int32_t i = 0; status == FG_OK && i < step->n_inputs; i++)
        if (!plan->values[step->inputs[i]].sequence)
            status = FG_BAD_LAYER;
    if (status || layer->y == FG_NONE)
        return status ? status : FG_BAD_LAYER;
    return fg_define_sequence(plan, layer->y, FG_BYTES, 1);
}

static void append_share(const fg_step *step, const fg_context *c, int member)
{
    int64_t first, last;
    if (!fg_slot_of(c, step->y).view.data)
        return;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t b = c->row + first; b < c->row + last; b++) {
        int64_t y_time, time;
        uint8_t *y = fg_bytes_of(c, step->y, b, &y_time);
        for (int32_t i = 0; i < step->n_inputs; i++) {
            const fg_slot slot = fg_slot_of(c, step->inputs[i]);
            const uint8_t *x = slot.view.data ? fg_bytes_of(c, step->inputs[i], b, &time) : NULL;
            for (int64_t t = 0; t < slot.steps; t++, y += y_time)
                *y = !x || x[t * time];
        }
    }
}

const fg_layer_ops fg_append_masks_ops = {
    .add = append_add, .share = append_share, .release = fg_free_own, .steps = fg_appended_steps, .once = true};
