/* Step masks: the first steps of a sequence, as many as a row has. What a row has had in earlier calls counts. */
#include <string.h>

#include "layers.h"

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *lengths = fg_read(plan, layer->h0, FG_IDS);
    const bool is_sequence =
        layer->x >= 0 && layer->x < plan->n_values && plan->values[layer->x].defined && plan->values[layer->x].sequence;
    if (!is_sequence || !lengths || lengths->sequence || lengths->features != 1 || layer->y == FG_NONE)
        return FG_BAD_LAYER;
    step->memory = plan->n_memories++;
    step->carried = 1;
    return fg_define_mask(plan, layer->y, layer->x, FG_NONE, true);
}

/* A row's steps before this call; a count that would pass the largest length stays there. */
static int32_t steps_before(const fg_context *c, const fg_memory *memory, int64_t row)
{
    int32_t steps = 0;
    if (!c->state->fresh[fg_state_row(c->state, row)])
        memcpy(&steps, memory->copies[row][0], sizeof steps);
    return steps;
}

static void keep_steps(const fg_context *c, const fg_memory *memory, int64_t row, int64_t total)
{
    const int32_t steps = total < INT32_MAX ? (int32_t)total : INT32_MAX;
    memcpy(memory->copies[row][c->total & 1], &steps, sizeof steps);
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const fg_memory *memory = &c->state->memories[step->memory];
    int64_t first, last;
    fg_share(c, member, c->rows, &first, &last);
    for (int64_t row = c->row + first; row < c->row + last; row++) {
        int64_t y_time, unused;
        uint8_t *y = fg_bytes_of(c, step->y, row, &y_time);
        const int64_t length = *fg_ids_of(c, step->h0, row, &unused);
        const int64_t before = steps_before(c, memory, row);
        for (int64_t t = 0; t < c->steps; t++)
            y[t * y_time] = before + c->t0 + t < length;
        if (fg_is_last_block(c))
            keep_steps(c, memory, row, before + c->total);
    }
}

const fg_layer_ops fg_step_mask_ops = {.add = add, .share = share, .release = fg_free_own};
