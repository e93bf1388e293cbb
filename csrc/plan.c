/* Building a Plan: values, layers, stages. See layers.h for how stages and blocks work. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

const char *fg_status_text(fg_status status)
{
    switch (status) {
    case FG_OK: return "no error";
    case FG_NO_MEMORY: return "out of memory";
    case FG_BAD_LAYER: return "the sizes of a layer do not fit each other";
    case FG_BAD_CALL: return "batch, steps or arrays do not fit the network";
    case FG_NO_ISA: return "this kernel set is unknown, or the CPU lacks it";
    case FG_NO_BLAS: return "the BLAS library could not be opened or lacks cblas_sgemm";
    case FG_BAD_LOGITS: return "the logits hold NaN or infinity, or no token that may be chosen";
    }
    return "unknown status";
}

fg_status fg_plan_new(int32_t n_values, const char *isa, fg_matmul matmul, fg_plan **plan)
{
    *plan = NULL;
    const fg_kernels *kernels = fg_kernels_find(isa);
    if (!kernels)
        return FG_NO_ISA;
    if (matmul == FG_MATMUL_BLAS && !fg_blas_config())
        return FG_NO_BLAS;
    fg_watch_forks();
    fg_plan *p = calloc(1, sizeof *p);
    if (!p || n_values <= 0 || !(p->values = calloc((size_t)n_values, sizeof *p->values))) {
        free(p);
        return n_values <= 0 ? FG_BAD_LAYER : FG_NO_MEMORY;
    }
    p->kernels = kernels;
    p->matmul = matmul;
    p->n_values = n_values;
    *plan = p;
    return FG_OK;
}

void fg_plan_free(fg_plan *plan)
{
    if (!plan)
        return;
    for (int i = 0; i < plan->n_steps; i++) {
        plan->steps[i].ops->release(&plan->steps[i]);
        free(plan->steps[i].inputs);
    }
    fg_store_free(plan->store);
    free(plan->steps);
    free(plan->values);
    free(plan->inputs);
    free(plan->outputs);
    free(plan->equal);
    free(plan);
}

void fg_free_own(fg_step *step)
{
    free(step->own);
}

/* ---- defining values --------------------------------------------------------------------------------------------- */

fg_status fg_define(fg_plan *plan, fg_value v, fg_value like, fg_type type, int64_t features)
{
    if (v == FG_NONE)
        return FG_OK;
    if (v < 0 || v >= plan->n_values || plan->values[v].defined || features < 1 || features > INT32_MAX)
        return FG_BAD_LAYER;
    plan->values[v] = (fg_value_info){.defined = true,
                                      .type = type,
                                      .features = features,
                                      .mask_of = FG_NONE,
                                      .part_of = FG_NONE,
                                      .steps_of = FG_NONE,
                                      .maker = plan->n_steps - 1};
    if (like != FG_NONE) {
        plan->values[v].sequence = plan->values[like].sequence;
        plan->values[v].steps_of = plan->values[like].steps_of;
    }
    return FG_OK;
}

fg_status fg_define_mask(fg_plan *plan, fg_value v, fg_value like, fg_value of, bool always)
{
    const fg_status status = fg_define(plan, v, like, FG_BYTES, 1);
    if (status == FG_OK && v != FG_NONE) {
        plan->values[v].mask_of = of;
        plan->values[v].always = always;
    }
    return status;
}

const fg_value_info *fg_read(const fg_plan *plan, fg_value v, fg_type type)
{
    if (v < 0 || v >= plan->n_values || !plan->values[v].defined || plan->values[v].type != type)
        return NULL;
    return &plan->values[v];
}

fg_status fg_define_sequence(fg_plan *plan, fg_value v, fg_type type, int64_t features)
{
    const fg_status status = fg_define(plan, v, FG_NONE, type, features);
    if (status == FG_OK && v != FG_NONE) {
        plan->values[v].sequence = true;
        plan->values[v].steps_of = v;
    }
    return status;
}

/* ---- numbers of steps -------------------------------------------------------------------------------------------- */

fg_value fg_steps_root(const fg_plan *plan, fg_value v)
{
    if (!plan->values[v].sequence)
        return FG_NONE;
    while (plan->values[v].steps_of != v)
        v = plan->values[v].steps_of;
    return v;
}

fg_status fg_same_steps(fg_plan *plan, fg_value a, fg_value b)
{
    a = fg_steps_root(plan, a);
    b = fg_steps_root(plan, b);
    if (a == FG_NONE || b == FG_NONE)
        return FG_BAD_LAYER;
    if (a == b)
        return FG_OK;
    if (plan->values[a].is_input && plan->values[b].is_input) {
        plan->values[b].steps_of = a;
        return FG_OK;
    }
    if (plan->n_equal == plan->room_equal) {
        const int room = plan->room_equal ? 2 * plan->room_equal : 4;
        struct fg_equal *equal = realloc(plan->equal, (size_t)room * sizeof *equal);
        if (!equal)
            return FG_NO_MEMORY;
        plan->equal = equal;
        plan->room_equal = room;
    }
    plan->equal[plan->n_equal++] = (struct fg_equal){a, b, plan->n_steps - 1};
    return FG_OK;
}

static int64_t input_steps(const fg_plan *plan, fg_value v, const fg_call *call)
{
    if (!call->input_steps)
        return call->steps;
    for (int32_t i = 0; i < plan->n_inputs; i++)
        if (plan->inputs[i] == v)
            return call->input_steps[i];
    return -1;
}

int64_t fg_plan_steps(const fg_plan *plan, fg_value v, const fg_call *call)
{
    v = fg_steps_root(plan, v);
    if (v == FG_NONE)
        return 1;
    if (plan->values[v].is_input)
        return input_steps(plan, v, call);
    const fg_step *maker = &plan->steps[plan->values[v].maker];
    return maker->ops->steps(plan, maker, call);
}

int64_t fg_steps_before(const fg_plan *plan, fg_value v, int64_t before)
{
    return before > 0 ? fg_plan_steps(plan, v, &(fg_call){.steps = before}) : 0;
}

void fg_carry_in_place(fg_plan *plan, fg_step *step, int64_t numbers)
{
    step->memory = plan->n_memories++;
    step->carried = numbers;
    step->carries_in_place = true;
}

bool fg_mask_fits(fg_plan *plan, fg_value mask, fg_value x)
{
    if (mask == FG_NONE)
        return true;
    const fg_value_info *info = fg_read(plan, mask, FG_BYTES);
    if (!info || info->sequence != plan->values[x].sequence)
        return false;
    return !info->sequence || fg_same_steps(plan, x, mask) == FG_OK;
}

fg_status fg_keep_inputs(const fg_plan *plan, fg_step *step, const fg_layer *layer, fg_type type)
{
    if (layer->n_inputs < 1 || layer->inputs[0] != layer->x)
        return FG_BAD_LAYER;
    for (int32_t i = 0; i < layer->n_inputs; i++)
        if (!fg_read(plan, layer->inputs[i], type))
            return FG_BAD_LAYER;
    step->inputs = malloc((size_t)layer->n_inputs * sizeof *step->inputs);
    if (!step->inputs)
        return FG_NO_MEMORY;
    memcpy(step->inputs, layer->inputs, (size_t)layer->n_inputs * sizeof *step->inputs);
    step->n_inputs = layer->n_inputs;
    return FG_OK;
}

float *fg_keep_numbers(fg_plan *plan, fg_step *step, const float *numbers, float absent, int64_t count)
{
    const size_t bytes = fg_size(count, 1, sizeof *numbers);
    float *kept = bytes ? fg_store_alloc(&plan->store, bytes) : NULL;
    for (int64_t i = 0; kept && i < count; i++)
        kept[i] = numbers ? numbers[i] : absent;
    step->bytes += (int64_t)bytes;
    return kept;
}

fg_status fg_inputs_go_together(fg_plan *plan, const fg_step *step)
{
    for (int32_t i = 1; i < step->n_inputs; i++) {
        if (plan->values[step->inputs[i]].sequence != plan->values[step->x].sequence)
            return FG_BAD_LAYER;
        const fg_status status = plan->values[step->x].sequence ? fg_same_steps(plan, step->x, step->inputs[i]) : FG_OK;
        if (status)
            return status;
    }
    return FG_OK;
}

int64_t fg_appended_steps(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    int64_t total = 0;
    for (int32_t i = 0; i < step->n_inputs; i++) {
        const int64_t steps = fg_plan_steps(plan, step->inputs[i], call);
        if (steps < 0)
            return -1;
        total += steps;
    }
    return total;
}

/* ---- adding layers ----------------------------------------------------------------------------------------------- */

static fg_status add_input(fg_plan *plan, const fg_layer *layer)
{
    const fg_type type = layer->kind == FG_INPUT ? FG_FLOATS : layer->kind == FG_TOKENS ? FG_IDS : FG_BYTES;
    const fg_status status = fg_define(plan, layer->y, FG_NONE, type, type == FG_BYTES ? 1 : layer->input.features);
    if (status || layer->y == FG_NONE)
        return status ? status : FG_BAD_LAYER;
    plan->values[layer->y].sequence = layer->input.sequence;
    const bool masks = layer->kind == FG_MASK && layer->x >= 0 && layer->x < plan->n_values;
    const bool goes_with_x = masks && plan->values[layer->x].is_input && plan->values[layer->x].sequence;
    plan->values[layer->y].steps_of = goes_with_x ? layer->x : layer->input.sequence ? layer->y : FG_NONE;
    plan->values[layer->y].is_input = true;
    plan->values[layer->y].stage = -1;
    plan->values[layer->y].whole = true;
    if (plan->n_inputs == plan->room_inputs) {
        const int32_t room = plan->room_inputs ? 2 * plan->room_inputs : 4;
        fg_value *inputs = realloc(plan->inputs, (size_t)room * sizeof *inputs);
        if (!inputs)
            return FG_NO_MEMORY;
        plan->inputs = inputs;
        plan->room_inputs = room;
    }
    plan->inputs[plan->n_inputs++] = layer->y;
    return FG_OK;
}

static const fg_layer_ops *ops_of(fg_kind kind)
{
    switch (kind) {
    case FG_EMBEDDING: return &fg_embedding_ops;
    case FG_MASKING: return &fg_masking_ops;
    case FG_GRU: return &fg_gru_ops;
    case FG_DENSE: return &fg_dense_ops;
    case FG_ACTIVATE: return &fg_activate_ops;
    case FG_SCALE:
    case FG_PRELU: return &fg_scale_ops;
    case FG_NORMALIZE: return &fg_normalize_ops;
    case FG_COMBINE: return &fg_combine_ops;
    case FG_WHERE: return &fg_where_ops;
    case FG_RESHAPE: return &fg_reshape_ops;
    case FG_CONCATENATE: return &fg_concatenate_ops;
    case FG_APPEND: return &fg_append_ops;
    case FG_TRANSPOSE: return &fg_transpose_ops;
    case FG_TRANSPOSE_TIME: return &fg_transpose_time_ops;
    case FG_SELECT: return &fg_select_ops;
    case FG_SELECT_TIME: return &fg_select_time_ops;
    case FG_LAST: return &fg_last_ops;
    case FG_AND_MASKS: return &fg_and_masks_ops;
    case FG_OR_MASKS: return &fg_or_masks_ops;
    case FG_APPEND_MASKS: return &fg_append_masks_ops;
    case FG_STEP_MASK: return &fg_step_mask_ops;
    case FG_CONV: return &fg_conv_ops;
    case FG_POOL: return &fg_pool_ops;
    case FG_REDUCE: return &fg_reduce_ops;
    case FG_REDUCE_TIME: return &fg_reduce_time_ops;
    case FG_ARGMAX: return &fg_argmax_ops;
    case FG_ATTENTION: return &fg_attention_ops;
    case FG_MATMUL: return &fg_matmul_ops;
    case FG_TIME_DISTRIBUTED: return &fg_time_distributed_ops;
    default: return NULL;
    }
}

fg_status fg_plan_add(fg_plan *plan, const fg_layer *layer)
{
    if (plan->finished)
        return FG_BAD_LAYER;
    if (layer->kind == FG_INPUT || layer->kind == FG_TOKENS || layer->kind == FG_MASK)
        return add_input(plan, layer);
    const fg_layer_ops *ops = ops_of(layer->kind);
    if (!ops)
        return FG_BAD_LAYER;
    if (plan->n_steps == plan->room_steps) {
        const int room = plan->room_steps ? 2 * plan->room_steps : 8;
        fg_step *steps = realloc(plan->steps, (size_t)room * sizeof *steps);
        if (!steps)
            return FG_NO_MEMORY;
        plan->steps = steps;
        plan->room_steps = room;
    }
    fg_step *step = &plan->steps[plan->n_steps];
    *step = (fg_step){.ops = ops,
                      .x = layer->x,
                      .mask = layer->mask,
                      .h0 = layer->h0,
                      .y = layer->y,
                      .y_mask = layer->y_mask,
                      .y_state = layer->y_state,
                      .query_mask = FG_NONE,
                      .reads_whole = ops->reads_whole || ops->once,
                      .memory = -1};
    plan->n_steps++; /* from here on fg_plan_free releases it */
    const unsigned float_mode = fg_float_enter();
    const fg_status status = ops->add(plan, step, layer);
    fg_float_restore(float_mode);
    plan->cost += step->cost;
    plan->bytes += step->bytes;
    return status;
}

/* ---- stages ------------------------------------------------------------------------------------------------------ */

static int at_least(int stage, int bound)
{
    return stage < bound ? bound : stage;
}

static int64_t at_least64(int64_t size, int64_t bound)
{
    return size < bound ? bound : size;
}

/* Sequences in one stage are walked together, so they must have one number of steps. */
static bool same_steps(const fg_plan *plan, fg_value a, fg_value b)
{
    return fg_steps_root(plan, a) == fg_steps_root(plan, b);
}

/* The first stage in which `step`, which walks `sequence`, may read v. A sequence read step by step may be read in its
 * own stage, unless it is late or has other steps. */
static int readable(const fg_plan *plan, const fg_step *step, fg_value v, fg_value sequence)
{
    if (v == FG_NONE)
        return 0;
    const fg_value_info *info = &plan->values[v];
    if (info->is_input)
        return 0;
    const bool walked = info->sequence && !info->late && sequence != FG_NONE && same_steps(plan, v, sequence);
    const bool ready = walked ? !step->reads_whole : info->stage % 2 == 0;
    return ready ? info->stage : info->stage + 1;
}

/* The sequence whose steps a layer walks; FG_NONE: it runs once. */
static fg_value walked(const fg_plan *plan, const fg_step *step)
{
    if (step->ops->once)
        return FG_NONE;
    if (step->y != FG_NONE && plan->values[step->y].sequence)
        return step->y;
    return plan->values[step->x].sequence ? step->x : FG_NONE;
}

static bool stage_fits(const fg_plan *plan, int n, int stage, fg_value sequence)
{
    for (int i = 0; i < n; i++)
        if (plan->steps[i].stage == stage && !same_steps(plan, plan->steps[i].walked, sequence))
            return false;
    return true;
}

static void choose_stage(fg_plan *plan, int index)
{
    fg_step *step = &plan->steps[index];
    const fg_value sequence = walked(plan, step);
    const fg_value read[] = {step->x, step->mask, step->h0, step->query_mask};
    int stage = 0;
    for (int i = 0; i < 4; i++)
        stage = at_least(stage, readable(plan, step, read[i], sequence));
    for (int32_t i = 0; i < step->n_inputs; i++)
        stage = at_least(stage, readable(plan, step, step->inputs[i], sequence));
    const int parity = sequence != FG_NONE;
    stage += (stage & 1) != parity;
    while (parity && !stage_fits(plan, index, stage, sequence))
        stage += 2;
    step->stage = stage;
    step->walked = sequence;
    const fg_value outs[] = {step->y, step->y_mask, step->y_state};
    for (int i = 0; i < 3; i++)
        if (outs[i] != FG_NONE) {
            plan->values[outs[i]].stage = stage;
            /* what runs once or from the end writes all steps, read or not */
            plan->values[outs[i]].whole = !parity || plan->values[outs[i]].late;
        }
    plan->n_stages = at_least(plan->n_stages, stage + 1);
}

static bool has_ended(const fg_plan *plan, fg_value v, int stage)
{
    if (v == FG_NONE)
        return false;
    const fg_value_info *info = &plan->values[v];
    const bool goes_on = info->sequence && !info->late; /* its steps so far do stand */
    return info->ended || (!info->is_input && !goes_on && info->stage % 2 && info->stage != stage);
}

/* Whether a layer reads what stands only after a walk; then so does what it makes. */
static bool note_ended(fg_plan *plan, const fg_step *step)
{
    const fg_value read[] = {step->x, step->mask, step->h0, step->query_mask};
    const fg_value outs[] = {step->y, step->y_mask, step->y_state};
    bool ended = false;
    for (int i = 0; i < 4; i++)
        ended = ended || has_ended(plan, read[i], step->stage);
    for (int32_t i = 0; i < step->n_inputs; i++)
        ended = ended || has_ended(plan, step->inputs[i], step->stage);
    for (int i = 0; i < 3; i++)
        if (outs[i] != FG_NONE)
            plan->values[outs[i]].ended = ended;
    return ended;
}

/* Whether a layer, plan->steps[reader], may read two sequences side by side, step by step. */
static bool go_together(const fg_plan *plan, int reader, fg_value a, fg_value b)
{
    a = fg_steps_root(plan, a);
    b = fg_steps_root(plan, b);
    for (int k = 0; k < plan->n_equal; k++)
        if (plan->equal[k].reader == reader &&
            ((plan->equal[k].a == a && plan->equal[k].b == b) || (plan->equal[k].a == b && plan->equal[k].b == a)))
            return true;
    return a == b;
}

/* A sequence that a later stage reads is kept whole. */
static void keep_whole(fg_plan *plan, fg_value v, int stage)
{
    if (v == FG_NONE)
        return;
    fg_value_info *info = &plan->values[v];
    if (!info->is_input && info->sequence && info->stage != stage)
        info->whole = true;
}

/* ---- what the readers of a value allow --------------------------------------------------------------------------- */

static void count_readers(fg_plan *plan)
{
    for (int i = 0; i < plan->n_steps; i++) {
        const fg_step *step = &plan->steps[i];
        if (!step->inputs)
            plan->values[step->x].readers++;
        for (int32_t k = 0; k < step->n_inputs; k++)
            plan->values[step->inputs[k]].readers++;
        if (step->h0 != FG_NONE)
            plan->values[step->h0].readers++;
    }
    for (int32_t i = 0; i < plan->n_outputs; i++)
        plan->values[plan->outputs[i]].readers++;
}

/* GRUs behind an embedding look up what the projection makes of its vectors. */
static void fold_embedding(fg_plan *plan, fg_step *embedding)
{
    for (int i = 0; i < plan->n_steps; i++) {
        fg_step *step = &plan->steps[i];
        if (step->ops != &fg_gru_ops || step->x != embedding->y)
            continue;
        plan->cost -= step->cost;
        plan->bytes -= step->bytes;
        if (fg_gru_fold(plan, step, embedding)) {
            plan->values[step->x].readers++;
            plan->values[embedding->y].readers--;
        }
        plan->cost += step->cost;
        plan->bytes += step->bytes;
    }
    if (plan->values[embedding->y].readers == 0) {
        plan->values[embedding->y].defined = false;
        embedding->y = FG_NONE;
    }
}

/* A value that only a joining layer reads is computed in its place there. All of them are kept whole, or none. */
static void choose_parts(fg_plan *plan)
{
    for (int i = 0; i < plan->n_steps; i++) {
        const fg_step *step = &plan->steps[i];
        int64_t offset = 0;
        for (int32_t k = 0; step->joins && k < step->n_inputs; k++) {
            fg_value_info *part = &plan->values[step->inputs[k]], *y = &plan->values[step->y];
            if (!part->is_input && part->readers == 1) {
                part->part_of = step->y;
                part->part_offset = offset;
                plan->has_parts = true;
                y->whole = y->whole || part->whole;
            }
            offset += part->features;
        }
    }
    for (int i = plan->n_steps - 1; i >= 0; i--) /* a part may have parts */
        for (int32_t k = 0; k < plan->steps[i].n_inputs; k++) {
            fg_value_info *part = &plan->values[plan->steps[i].inputs[k]];
            if (part->part_of != FG_NONE)
                part->whole = plan->values[part->part_of].whole;
        }
}

fg_status fg_plan_finish(fg_plan *plan, const fg_value *outputs, int32_t n_outputs)
{
    if (plan->finished || n_outputs < 1)
        return FG_BAD_LAYER;
    plan->outputs = malloc((size_t)n_outputs * sizeof *outputs);
    if (!plan->outputs)
        return FG_NO_MEMORY;
    for (int32_t i = 0; i < n_outputs; i++) {
        if (outputs[i] < 0 || outputs[i] >= plan->n_values || !plan->values[outputs[i]].defined)
            return FG_BAD_LAYER;
        plan->outputs[i] = outputs[i];
    }
    plan->n_outputs = n_outputs;
    count_readers(plan);
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].ops == &fg_embedding_ops)
            fold_embedding(plan, &plan->steps[i]);
    plan->causal = true;
    for (int i = 0; i < plan->n_steps; i++) {
        choose_stage(plan, i);
        if (note_ended(plan, &plan->steps[i]) && plan->steps[i].walked != FG_NONE)
            plan->causal = false;
    }
    for (int i = 0; i < plan->n_steps; i++) {
        const fg_step *step = &plan->steps[i];
        keep_whole(plan, step->x, step->stage);
        keep_whole(plan, step->mask, step->stage);
        keep_whole(plan, step->query_mask, step->stage);
        for (int32_t k = 0; k < step->n_inputs; k++) {
            keep_whole(plan, step->inputs[k], step->stage);
            if (step->walked != FG_NONE && plan->values[step->inputs[k]].sequence)
                plan->causal = plan->causal && go_together(plan, i, step->inputs[k], step->walked);
        }
        for (int32_t k = 0; step->reads_whole && k < step->n_inputs; k++)
            plan->causal = plan->causal && !plan->values[step->inputs[k]].sequence;
        if (step->counts_steps || (step->reads_whole && !step->streams && plan->values[step->x].sequence))
            plan->causal = false;
        if (step->streams && fg_steps_root(plan, step->y) != fg_steps_root(plan, step->x))
            plan->changes_steps = true;
    }
    choose_parts(plan);
    int64_t lone_scratch = 0;
    for (int i = 0; i < plan->n_steps; i++) {
        if (!plan->steps[i].rolls)
            lone_scratch = at_least64(lone_scratch, plan->steps[i].scratch_step);
        plan->scratch_row = at_least64(plan->scratch_row, plan->steps[i].scratch_row);
        plan->scratch_step = at_least64(plan->scratch_step, plan->steps[i].scratch_step);
        plan->scratch_member = at_least64(plan->scratch_member, plan->steps[i].scratch_member);
    }
    plan->scratch_member = fg_round_up(plan->scratch_member, FG_MAX_LANES);
    int64_t value_bytes = 0;
    plan->row_elements = plan->scratch_row + plan->scratch_step + FG_MAX_LANES;
    for (int32_t v = 0; v < plan->n_values; v++) {
        const fg_value_info *info = &plan->values[v];
        plan->row_elements += info->features + FG_ALIGN;
        if (info->defined && info->sequence && !info->whole && info->part_of == FG_NONE)
            value_bytes += info->features * (info->type == FG_BYTES ? 1 : 4);
    }
    plan->block_row_bytes = value_bytes + plan->scratch_step * (int64_t)sizeof(float);
    plan->lone_block_bytes = value_bytes + lone_scratch * (int64_t)sizeof(float);
    plan->finished = true;
    return FG_OK;
}

/* ---- facts ------------------------------------------------------------------------------------------------------- */

const char *fg_plan_isa(const fg_plan *plan)
{
    return plan->kernels->name;
}

bool fg_plan_causal(const fg_plan *plan)
{
    return plan->causal;
}

bool fg_plan_changes_steps(const fg_plan *plan)
{
    return plan->changes_steps;
}

int64_t fg_plan_bytes(const fg_plan *plan)
{
    return plan->bytes;
}

double fg_plan_cost(const fg_plan *plan)
{
    return plan->cost;
}

bool fg_plan_folded(const fg_plan *plan, int layer)
{
    return plan->steps[layer].ops == &fg_embedding_ops && plan->steps[layer].y == FG_NONE;
}

int fg_plan_misfit(const fg_plan *plan, const fg_call *call)
{
    for (int i = 0; i < plan->n_steps; i++) {
        const fg_step *step = &plan->steps[i];
        if (step->ops->steps && step->ops->steps(plan, step, call) < 0)
            return i;
        for (int k = 0; k < plan->n_equal; k++)
            if (plan->equal[k].reader == i &&
                fg_plan_steps(plan, plan->equal[k].a, call) != fg_plan_steps(plan, plan->equal[k].b, call))
                return i;
    }
    return -1;
}

bool fg_plan_same_steps(const fg_plan *plan, fg_value a, fg_value b)
{
    return same_steps(plan, a, b);
}
