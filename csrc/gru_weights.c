/* The GRU layer when a plan is made: its weights packed. */
#include <stdlib.h>
#include <string.h>

#include "gru.h"

/* The bias that the x-projection starts from, in z r n: all of both biases but for reset_after's cn, which stays inside
 * r·(…). */
static void merge_biases(float *out, const fg_layer *layer)
{
    const int64_t units = layer->gru.units;
    for (int64_t i = 0; i < 3 * units; i++) {
        const bool inside = layer->gru.reset_after && i >= 2 * units;
        out[i] = (layer->gru.bias ? layer->gru.bias[i] : 0.0f) +
                 (layer->gru.recurrent_bias && !inside ? layer->gru.recurrent_bias[i] : 0.0f);
    }
}

/* The columns of the gates named, group after group. */
typedef struct grouped_weights {
    fg_weights weights;
    void *data;
    float *scale;
} grouped_weights;

static fg_status group(grouped_weights *to, const fg_weights *from, int64_t rows, int64_t units, int lanes,
                       const int *gates, int vectors)
{
    const int64_t width = fg_round_up(units, lanes) * vectors;
    const int bytes = fg_dtype_bytes(from->dtype);
    to->data = fg_alloc(fg_size(rows, width, bytes));
    to->scale = from->scale ? fg_alloc(fg_size(1, width, sizeof(float))) : NULL;
    to->weights = (fg_weights){to->data, to->scale, from->dtype};
    if (!to->data || (from->scale && !to->scale))
        return FG_NO_MEMORY;
    fg_group_columns(to->data, from->data, bytes, rows, units, lanes, gates, vectors);
    if (from->scale)
        fg_group_columns(to->scale, from->scale, sizeof(float), 1, units, lanes, gates, vectors);
    return FG_OK;
}

static void release(grouped_weights *grouped)
{
    free(grouped->data);
    free(grouped->scale);
}

static fg_status pack_input(fg_gru_layer *own, fg_plan *plan, const fg_layer *layer, int64_t inputs)
{
    static const int gates[] = {0, 1, 2};
    const fg_kernels *kernels = plan->kernels;
    const int64_t units = layer->gru.units, width = own->weights.groups * 3 * kernels->lanes;
    grouped_weights kernel;
    float *bias = fg_alloc(fg_size(3, units, sizeof(float))), *grouped = fg_alloc(fg_size(1, width, sizeof(float)));
    fg_status status = group(&kernel, &layer->gru.kernel, inputs, units, kernels->lanes, gates, 3);
    if (!bias || !grouped)
        status = FG_NO_MEMORY;
    if (status == FG_OK) {
        merge_biases(bias, layer);
        fg_group_columns(grouped, bias, sizeof(float), 1, units, kernels->lanes, gates, 3);
        status = fg_matrix_init(&own->input, &plan->store, kernels, plan->matmul, &kernel.weights, grouped, inputs,
                                width, (fg_activation){.function = FG_LINEAR});
        own->input.product.gates = true;
        own->weights.input = own->input.product;
    }
    release(&kernel);
    free(bias);
    free(grouped);
    return status;
}

/* Panels of the gates named, group after group. */
static fg_status pack_recurrent(fg_packed *packed, fg_plan *plan, const fg_layer *layer, const int *gates, int vectors)
{
    const int lanes = plan->kernels->lanes;
    const int64_t units = layer->gru.units;
    grouped_weights kernel;
    fg_status status = group(&kernel, &layer->gru.recurrent_kernel, units, units, lanes, gates, vectors);
    if (status == FG_OK)
        status = fg_packed_init(packed, &plan->store, plan->kernels, &kernel.weights, units,
                                fg_round_up(units, lanes) * vectors, vectors);
    release(&kernel);
    return status;
}

/* Where steps of one row wait, and the projection is worth the trouble. */
static bool can_overlap(const fg_gru_layer *own)
{
    const fg_gru_weights *w = &own->weights;
    const bool fits = !w->recurrent.scale || (w->inputs <= FG_SLICE && w->units <= FG_SLICE);
    return own->tiles->beside_rows && fits && !own->input.plain && own->recurrent_bytes > OVERLAP_BYTES &&
           2 * w->inputs >= w->units;
}

static fg_status pack(fg_gru_layer *own, fg_plan *plan, const fg_layer *layer, int64_t inputs)
{
    static const int all[] = {0, 1, 2}, update_reset[] = {0, 1}, candidate[] = {2};
    const int64_t units = layer->gru.units;
    fg_gru_weights *w = &own->weights;
    *w = (fg_gru_weights){.inputs = inputs,
                          .units = units,
                          .groups = (units + plan->kernels->lanes - 1) / plan->kernels->lanes,
                          .f = layer->gru.recurrent_activation,
                          .g = layer->gru.activation,
                          .clip = layer->gru.clip,
                          .reset_after = layer->gru.reset_after};
    own->stride = fg_round_up(units, FG_MAX_LANES);
    own->width = w->groups * 3 * plan->kernels->lanes;
    own->return_sequences = layer->gru.return_sequences;
    own->go_backwards = layer->gru.go_backwards;
    own->time_order = layer->gru.time_order;
    own->zero_output_for_mask = layer->gru.zero_output_for_mask;
    own->zero_state_without_steps = layer->gru.zero_state_without_steps;
    fg_status status = pack_input(own, plan, layer, inputs);
    if (status == FG_OK)
        status = w->reset_after ? pack_recurrent(&w->recurrent, plan, layer, all, 3)
                                : pack_recurrent(&w->recurrent, plan, layer, update_reset, 2);
    if (status == FG_OK && !w->reset_after)
        status = pack_recurrent(&w->candidate, plan, layer, candidate, 1);
    if (status)
        return status;
    own->dtype = layer->gru.kernel.dtype;
    own->tiles = plan->kernels->tiles[own->dtype];
    own->recurrent_bytes = fg_packed_bytes(own->tiles, units, own->width);
    own->state_floats = fg_prepared_floats(own->tiles, units);
    own->overlaps = can_overlap(own);
    own->candidate_bias = fg_store_alloc(&plan->store, fg_size(1, own->stride, sizeof(float)));
    if (layer->gru.initial_state && (own->initial = fg_store_alloc(&plan->store, fg_size(1, units, sizeof(float)))))
        memcpy(own->initial, layer->gru.initial_state, (size_t)units * sizeof(float));
    if (!own->candidate_bias || (layer->gru.initial_state && !own->initial))
        return FG_NO_MEMORY;
    if (w->reset_after && layer->gru.recurrent_bias)
        memcpy(own->candidate_bias, layer->gru.recurrent_bias + 2 * units, (size_t)units * sizeof(float));
    w->candidate_bias = own->candidate_bias;
    return FG_OK;
}

fg_status fg_gru_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const int64_t units = layer->gru.units;
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const fg_value_info *h0 = layer->h0 == FG_NONE ? NULL : fg_read(plan, layer->h0, FG_FLOATS);
    if (units < 1 || units > INT32_MAX || !x || !x->sequence || !layer->gru.kernel.data ||
        !layer->gru.recurrent_kernel.data || layer->gru.kernel.dtype != layer->gru.recurrent_kernel.dtype ||
        !(layer->gru.clip >= 0.0f) || layer->gru.activation.function >= FG_SOFTMAX ||
        layer->gru.recurrent_activation.function >= FG_SOFTMAX ||
        (layer->h0 != FG_NONE && (!h0 || h0->sequence || h0->features != units)) ||
        !fg_mask_fits(plan, layer->mask, layer->x) || (layer->y == FG_NONE && layer->y_state == FG_NONE) ||
        (layer->gru.time_order && !(layer->gru.go_backwards && layer->gru.return_sequences)))
        return FG_BAD_LAYER;
    fg_gru_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    const fg_status status = pack(own, plan, layer, x->features);
    if (status)
        return status;
    step->reads_whole = own->go_backwards;
    step->initial = own->initial;
    step->scratch_step = own->width;
    step->rolls = own->overlaps;
    step->scratch_row = own->weights.reset_after ? 0 : 2 * own->stride;
    step->scratch_member = own->state_floats + fg_prepared_floats(own->tiles, x->features);
    step->memory = plan->n_memories++;
    step->carried = units;
    step->cost = 3.0 * (double)units * (double)(units + x->features);
    step->bytes = own->input.bytes + own->recurrent_bytes;
    const fg_status defined = fg_define(plan, layer->y, own->return_sequences ? layer->x : FG_NONE, FG_FLOATS, units);
    if (!defined && layer->y != FG_NONE)
        plan->values[layer->y].late = own->time_order;
    return defined ? defined : fg_define(plan, layer->y_state, FG_NONE, FG_FLOATS, units);
}
