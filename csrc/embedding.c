/* Embedding: rows of a table by token id, or one-hot vectors; and the mask that mask_zero makes. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

typedef struct embedding_layer {
    fg_table table; /* the caller's, read in place; w NULL: the identity, which is not stored */
    fg_dtype dtype;
    int64_t vocabulary;
    bool mask_zero;
} embedding_layer;

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_value_info *x = fg_read(plan, layer->x, FG_IDS);
    if (!x || x->features != 1 || layer->embedding.vocabulary < 1 || layer->y == FG_NONE ||
        (!layer->embedding.table.data && layer->embedding.features != layer->embedding.vocabulary) ||
        (layer->embedding.table.dtype == FG_INT8 && !layer->embedding.table.scale) ||
        !fg_mask_fits(plan, layer->mask, layer->x))
        return FG_BAD_LAYER;
    embedding_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    const fg_weights *table = &layer->embedding.table;
    *own = (embedding_layer){
        .table = {.w = table->data, .row_scale = table->scale, .columns = layer->embedding.features},
        .dtype = table->dtype,
        .vocabulary = layer->embedding.vocabulary,
        .mask_zero = layer->embedding.mask_zero,
    };
    const fg_status status = fg_define(plan, layer->y, layer->x, FG_FLOATS, own->table.columns);
    return status ? status : fg_define_mask(plan, layer->y_mask, layer->x, layer->mask, own->mask_zero);
}

const fg_table *fg_embedding_table(const fg_step *step, fg_dtype *dtype, int64_t *vocabulary)
{
    const embedding_layer *own = step->own;
    *dtype = own->dtype;
    *vocabulary = own->vocabulary;
    return &own->table;
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

static void write_vector(const fg_kernels *kernels, const embedding_layer *own, int64_t token, float *y)
{
    const int64_t features = own->table.columns;
    if (own->table.w) {
        kernels->common->look_up[own->dtype](&own->table, token, 0, features, y);
    } else {
        memset(y, 0, (size_t)features * sizeof(float));
        y[token] = 1.0f;
    }
}

static void look_up(const fg_step *step, const fg_context *c, int member)
{
    const embedding_layer *own = step->own;
    const fg_grid y = fg_grid_of(c, step->y);
    int64_t first, last;
    fg_share(c, member, y.rows, &first, &last);
    for (int64_t b = first; b < last; b++) {
        int64_t id_time;
        const int32_t *ids = fg_ids_of(c, step->x, c->row + b, &id_time);
        for (int64_t t = 0; t < y.steps; t++)
            write_vector(c->kernels, own, fg_token(ids[t * id_time], own->vocabulary),
                         y.data + b * y.row_stride + t * y.time_stride);
    }
}

static void share(const fg_step *step, const fg_context *c, int member)
{
    const embedding_layer *own = step->own;
    if (step->y != FG_NONE) /* else all who read it look up something of their own */
        look_up(step, c, member);
    if (member == 0 && step->y_mask != FG_NONE && fg_slot_of(c, step->y_mask).view.data)
        write_mask(step, c, own->mask_zero);
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    const embedding_layer *own = step->own;
    const int64_t row_bytes = fg_table_row_bytes(&own->table, own->dtype);
    if (step->y == FG_NONE || !own->table.w)
        return;
    const fg_grid y = fg_grid_of(c, step->y);
    profile->input.bytes += fg_grid_size(&y) * row_bytes;
    profile->input.weights = own->vocabulary * row_bytes;
}

const fg_layer_ops fg_embedding_ops = {.add = add, .share = share, .count = count, .release = fg_free_own};
