/* Embedding: rows of a table by token id; and the mask that mask_zero makes. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

typedef struct embedding_layer {
    const float *table; /* the caller's, read in place */
    int64_t vocabulary, features;
    bool mask_zero;
} embedding_layer;

static void release(fg_step *step)
{
    free(step->own);
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    if (!fg_read(plan, layer->x, FG_IDS) || !layer->embedding.table || layer->embedding.vocabulary < 1 ||
        layer->y == FG_NONE || !fg_mask_fits(plan, layer->mask, layer->x))
        return FG_BAD_LAYER;
    embedding_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    *own = (embedding_layer){layer->embedding.table, layer->embedding.vocabulary, layer->embedding.features,
                             layer->embedding.mask_zero};
    const fg_status status = fg_define(plan, layer->y, layer->x, FG_FLOATS, own->features);
    return status ? status : fg_define_mask(plan, layer->y_mask, layer->x, layer->mask, own->mask_zero);
}

static void write_mask(const fg_step *step, const fg_context *c, bool mask_zero)
{
    const bool masked = step->mask != FG_NONE && fg_slot_of(c, step->mask).view.data;
    for (int64_t b = c->row; b < c->row + c->rows; b++) {
        int64_t id_time, out_time, mask_time = 0;
        const int32_t *ids = fg_ids_of(c, step->x, b, &id_time);
        const uint8_t *given = masked ? fg_bytes_of(c, step->mask, b, &mask_time) : NULL;
        uint8_t *to = fg_bytes_of(c, step->y_mask, b, &out_time);
        for (int64_t t = 0; t < c->steps; t++)
            to[t * out_time] = (!mask_zero || ids[t * id_time] != 0) && (!given || given[t * mask_time]);
    }
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const embedding_layer *own = step->own;
    const fg_grid y = fg_grid_of(c, step->y);
    int64_t first, last;
    fg_share(c, member, y.rows, &first, &last);
    for (int64_t b = first; b < last; b++) {
        int64_t id_time;
        const int32_t *ids = fg_ids_of(c, step->x, c->row + b, &id_time);
        for (int64_t t = 0; t < y.steps; t++) {
            /* the caller has checked the ids, but the array is still theirs and may change under us */
            const int64_t id = ids[t * id_time] >= 0 && ids[t * id_time] < own->vocabulary ? ids[t * id_time] : 0;
            memcpy(y.data + b * y.row_stride + t * y.time_stride, own->table + id * own->features,
                   (size_t)own->features * sizeof(float));
        }
    }
    if (member == 0 && step->y_mask != FG_NONE && fg_slot_of(c, step->y_mask).view.data)
        write_mask(step, c, own->mask_zero);
}

const fg_layer_ops fg_embedding_ops = {.add = add, .share = share, .release = release};
