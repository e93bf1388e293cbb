/* Masking: steps all of whose features equal a value are masked and set to zero. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    if (!x || !x->sequence || layer->y == FG_NONE || !fg_mask_fits(plan, layer->mask, layer->x))
        return FG_BAD_LAYER;
    float *own = malloc(sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    *own = layer->masking.mask_value;
    step->own = own;
    const fg_status status = fg_define(plan, layer->y, layer->x, FG_FLOATS, x->features);
    return status ? status : fg_define_mask(plan, layer->y_mask, layer->x, FG_NONE, true);
}

/* Compared by their bits, since denormals are taken for zero while the core computes. A NaN equals nothing, so it keeps
 * its step unmasked, as in Keras; the zeros equal each other. */
static bool all_equal(const float *row, int64_t features, float value)
{
    uint32_t wanted, bits;
    memcpy(&wanted, &value, sizeof wanted);
    for (int64_t i = 0; i < features; i++) {
        memcpy(&bits, &row[i], sizeof bits);
        if (bits != wanted && (bits | wanted) << 1 != 0)
            return false;
    }
    return value == value;
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const float mask_value = *(const float *)step->own;
    const int64_t features = c->plan->values[step->x].features;
    const fg_grid x = fg_grid_of(c, step->x), y = fg_grid_of(c, step->y);
    const bool given_mask = step->mask != FG_NONE && fg_slot_of(c, step->mask).view.data;
    int64_t first, last;
    fg_share(c, member, y.rows, &first, &last);
    for (int64_t b = first; b < last; b++) {
        int64_t out_time = 0, mask_time = 0;
        uint8_t *out = step->y_mask != FG_NONE ? fg_bytes_of(c, step->y_mask, c->row + b, &out_time) : NULL;
        const uint8_t *given = given_mask ? fg_bytes_of(c, step->mask, c->row + b, &mask_time) : NULL;
        for (int64_t t = 0; t < y.steps; t++) {
            const float *from = x.data + b * x.row_stride + t * x.time_stride;
            float *to = y.data + b * y.row_stride + t * y.time_stride;
            const bool masked = all_equal(from, features, mask_value);
            if (masked)
                memset(to, 0, (size_t)features * sizeof(float));
            else
                memcpy(to, from, (size_t)features * sizeof(float));
            if (out)
                out[t * out_time] = !masked && (!given || given[t * mask_time]);
        }
    }
}

const fg_layer_ops fg_masking_ops = {.add = add, .share = share, .release = fg_free_own};
