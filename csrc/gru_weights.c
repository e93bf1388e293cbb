/* The GRU layer when a plan is made: its weights packed, and an embedding folded into them. */
#include <math.h>
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

static fg_status pack_input(fg_gru_layer *own, fg_plan *plan, const fg_layer *layer, int64_t inputs)
{
    static const int gates[] = {0, 1, 2};
    const fg_kernels *kernels = plan->kernels;
    const int64_t units = layer->gru.units, width = own->weights.groups * 3 * kernels->lanes;
    float *matrix = fg_alloc(fg_size(inputs, width, sizeof(float)));
    float *bias = fg_alloc(fg_size(3, units, sizeof(float))), *grouped = fg_alloc(fg_size(1, width, sizeof(float)));
    fg_status status = FG_NO_MEMORY;
    if (matrix && bias && grouped) {
        fg_group_columns(matrix, layer->gru.kernel, inputs, units, kernels->lanes, gates, 3);
        merge_biases(bias, layer);
        fg_group_columns(grouped, bias, 1, units, kernels->lanes, gates, 3);
        status = fg_matrix_init(&own->input, &plan->store, kernels, plan->matmul, matrix, grouped, inputs, width,
                                (fg_activation){.function = FG_LINEAR});
        own->weights.input = own->input.product;
    }
    free(matrix);
    free(bias);
    free(grouped);
    return status;
}

/* Panels of the gates named, group after group. */
static float *pack_recurrent(fg_plan *plan, const fg_layer *layer, int64_t groups, const int *gates, int vectors)
{
    const int lanes = plan->kernels->lanes;
    const int64_t units = layer->gru.units, width = groups * vectors * lanes;
    float *matrix = fg_alloc(fg_size(units, width, sizeof(float)));
    float *packed = fg_store_alloc(&plan->store, fg_size(units, width, sizeof(float)));
    if (matrix && packed) {
        fg_group_columns(matrix, layer->gru.recurrent_kernel, units, units, lanes, gates, vectors);
        fg_pack_panels(packed, matrix, units, width, lanes, vectors);
    }
    free(matrix);
    return matrix ? packed : NULL;
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
    const fg_status status = pack_input(own, plan, layer, inputs);
    if (status)
        return status;
    own->recurrent = w->reset_after ? pack_recurrent(plan, layer, w->groups, all, 3)
                                    : pack_recurrent(plan, layer, w->groups, update_reset, 2);
    own->candidate_bias = fg_store_alloc(&plan->store, fg_size(1, own->stride, sizeof(float)));
    if (!w->reset_after)
        own->candidate = pack_recurrent(plan, layer, w->groups, candidate, 1);
    if (layer->gru.initial_state && (own->initial = fg_store_alloc(&plan->store, fg_size(1, units, sizeof(float)))))
        memcpy(own->initial, layer->gru.initial_state, (size_t)units * sizeof(float));
    if (!own->recurrent || !own->candidate_bias || (!w->reset_after && !own->candidate) ||
        (layer->gru.initial_state && !own->initial))
        return FG_NO_MEMORY;
    if (w->reset_after && layer->gru.recurrent_bias)
        memcpy(own->candidate_bias, layer->gru.recurrent_bias + 2 * units, (size_t)units * sizeof(float));
    w->recurrent = own->recurrent;
    w->candidate = own->candidate;
    w->candidate_bias = own->candidate_bias;
    return FG_OK;
}

fg_status fg_gru_add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const int64_t units = layer->gru.units;
    const fg_value_info *x = fg_read(plan, layer->x, FG_FLOATS);
    const fg_value_info *h0 = layer->h0 == FG_NONE ? NULL : fg_read(plan, layer->h0, FG_FLOATS);
    if (units < 1 || units > INT32_MAX || !x || !x->sequence || !layer->gru.kernel || !layer->gru.recurrent_kernel ||
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
    step->scratch_row = own->weights.reset_after ? 0 : 2 * own->stride;
    step->memory = plan->n_memories++;
    step->carried = units;
    step->cost = 3.0 * (double)units * (double)(units + x->features);
    step->bytes = own->input.bytes + own->weights.groups * 3 * plan->kernels->lanes * units * (int64_t)sizeof(float);
    const fg_status defined = fg_define(plan, layer->y, own->return_sequences ? layer->x : FG_NONE, FG_FLOATS, units);
    if (!defined && layer->y != FG_NONE)
        plan->values[layer->y].late = own->time_order;
    return defined ? defined : fg_define(plan, layer->y_state, FG_NONE, FG_FLOATS, units);
}

/* The most bytes of a table of projections: it is filled when the network is loaded, and L3 should hold much of it. */
enum { TABLE_BYTES = 32 << 20 };

/* x-projections of one-hot vectors: the bias and one row of the kernel. The chain's other terms are zeros, which change
 * nothing of finite weights but the sign of a zero: these are the tiles' results, without their vocabulary² · width
 * products. */
static void project_one_hot(const fg_gru_layer *own, int64_t vocabulary)
{
    const fg_product *product = &own->input.product;
    const int64_t group = own->width / own->weights.groups;
    for (int64_t token = 0; token < vocabulary; token++)
        for (int64_t column = 0; column < own->width; column += group) {
            const float *w = product->w + column * product->k + token * group;
            for (int64_t i = 0; i < group; i++)
                own->table[token * own->width + column + i] = product->bias[column + i] + w[i];
        }
}

/* With an infinite weight or NaN the zeros of one-hot vectors do change sums. */
static bool has_finite_kernel(const fg_gru_layer *own)
{
    const fg_product *product = &own->input.product;
    for (int64_t i = 0; i < product->k * own->width; i++)
        if (!isfinite(product->w[i]))
            return false;
    return true;
}

bool fg_gru_fold(fg_plan *plan, fg_step *gru, const fg_step *embedding)
{
    fg_gru_layer *own = gru->own;
    int64_t vocabulary, features;
    const float *vectors = fg_embedding_table(embedding, &vocabulary, &features);
    const int64_t row_bytes = own->width * (int64_t)sizeof(float);
    /* a table for one-hot vectors is as large as the kernel, all of which their product would read */
    if (vectors ? own->input.plain || vocabulary > TABLE_BYTES / row_bytes : !has_finite_kernel(own))
        return false;
    own->table = fg_store_alloc(&plan->store, (size_t)(vocabulary * row_bytes));
    if (!own->table)
        return false;
    const fg_grid x = {.data = (float *)vectors, .rows = vocabulary, .steps = 1, .inner = 1, .row_stride = features};
    const fg_grid y = {.data = own->table, .rows = vocabulary, .steps = 1, .inner = 1, .row_stride = own->width};
    const unsigned float_mode = fg_float_enter();
    if (vectors)
        fg_multiply(plan->kernels, &own->input, &x, &y, 0, vocabulary, 0, own->weights.groups);
    else
        project_one_hot(own, vocabulary);
    fg_float_restore(float_mode);
    own->vocabulary = vocabulary;
    gru->x = embedding->x;
    gru->cost -= 3.0 * (double)own->weights.units * (double)features;
    gru->bytes += vocabulary * row_bytes;
    gru->scratch_step = 0;
    return true;
}
