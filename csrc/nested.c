/* TimeDistributed: a network that runs on every step of a sequence, as rows of its own. */
#include <stdlib.h>

#include "layers.h"

typedef struct nested_layer {
    int64_t x_features, y_features; /* of one inner step */
    int64_t mask_steps;             /* of the inner mask that makes y_mask; 0: there is none */
} nested_layer;

/* An input and perhaps its mask; an output and perhaps a mask. */
static bool is_inner(const fg_plan *plan, const fg_plan *inner)
{
    if (!inner || !inner->finished || inner->kernels != plan->kernels || inner->n_inputs < 1 || inner->n_outputs > 2)
        return false;
    const fg_value_info *x = &inner->values[inner->inputs[0]];
    return inner->n_inputs == 1 + x->sequence && fg_read(inner, inner->outputs[0], FG_FLOATS) &&
           (inner->n_outputs == 1 || fg_read(inner, inner->outputs[1], FG_BYTES));
}

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const fg_plan *inner = layer->nested.plan;
    if (!is_inner(plan, inner) || layer->y == FG_NONE)
        return FG_BAD_LAYER;
    const fg_value_info *inner_x = &inner->values[inner->inputs[0]];
    const fg_value_info *x = fg_read(plan, layer->x, inner_x->type);
    if (!x || !x->sequence || x->features % inner_x->features || (layer->y_mask != FG_NONE && inner->n_outputs != 2))
        return FG_BAD_LAYER;
    nested_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    step->inner = inner;
    step->inner_steps = x->features / inner_x->features;
    const fg_call call = {.batch = 1, .steps = step->inner_steps, .before = FG_WHOLE};
    const int64_t y_steps = fg_plan_steps(inner, inner->outputs[0], &call);
    if ((!inner_x->sequence && step->inner_steps != 1) || y_steps < 1)
        return FG_BAD_LAYER;
    own->x_features = inner_x->features;
    own->y_features = inner->values[inner->outputs[0]].features;
    own->mask_steps = layer->y_mask != FG_NONE ? fg_plan_steps(inner, inner->outputs[1], &call) : 0;
    if (own->mask_steps > INT32_MAX || y_steps > INT32_MAX || (layer->y_mask != FG_NONE && own->mask_steps < 1))
        return FG_BAD_LAYER;
    step->nested = plan->n_nested++;
    step->cost = fg_plan_cost(inner) * (double)step->inner_steps;
    step->bytes = fg_plan_bytes(inner);
    step->scratch_step = (own->mask_steps + 3) / 4;
    const fg_status status = fg_define(plan, layer->y, layer->x, FG_FLOATS, y_steps * own->y_features);
    return status ? status : fg_define_mask(plan, layer->y_mask, layer->x, FG_NONE, true);
}

/* Rows and steps of the block as the inner network's rows: `lines` runs of `length` of them. In a run each lies one
 * stride behind the one before it, so a run is one row's steps, one step's rows, or everything where that is even. */
typedef struct nested_run {
    const fg_step *step;
    const nested_layer *own;
    fg_context *c;
    fg_view x, y;
    bool by_step; /* a line is a step */
    int64_t lines, length;
} nested_run;

static void start(nested_run *r, const fg_step *step, fg_context *c)
{
    *r = (nested_run){.step = step, .own = step->own, .c = c};
    r->x = c->state->slots[step->x].view;
    if (c->plan->values[step->x].type == FG_IDS) {
        r->x.data = (void *)fg_ids_of(c, step->x, c->row, &r->x.time_stride);
    } else {
        r->x.data = fg_grid_of(c, step->x).data;
    }
    r->y = c->state->slots[step->y].view;
    r->y.data = fg_grid_of(c, step->y).data;
    const bool even =
        r->x.batch_stride == c->steps * r->x.time_stride && r->y.batch_stride == c->steps * r->y.time_stride;
    r->by_step = !even && c->rows > c->steps;
    r->lines = even ? 1 : r->by_step ? c->steps : c->rows;
    r->length = c->rows * c->steps / (r->lines ? r->lines : 1);
}

/* Rows of the inner network, the first of them that of row b and step t. */
static fg_view part(const nested_run *r, const fg_view *all, int64_t features, int64_t b, int64_t t)
{
    /* floats and ids are of one size */
    return (fg_view){.data = (float *)all->data + b * all->batch_stride + t * all->time_stride,
                     .batch_stride = r->by_step ? all->batch_stride : all->time_stride,
                     .time_stride = features};
}

static void write_masks(const nested_run *r, const fg_view *inner, int64_t b, int64_t t, int64_t count)
{
    const uint8_t *from = inner->data;
    for (int64_t i = 0; i < count; i++, from += inner->batch_stride) {
        int64_t time;
        const int64_t row = r->by_step ? b + i : b + (t + i) / r->c->steps;
        uint8_t *to = fg_bytes_of(r->c, r->step->y_mask, r->c->row + row, &time);
        bool any = false;
        for (int64_t k = 0; k < r->own->mask_steps; k++)
            any = any || from[k];
        to[(r->by_step ? t : (t + i) % r->c->steps) * time] = any;
    }
}

/* `count` rows of the inner network, from row b and step t on. */
static void run_part(const nested_run *r, fg_state *inner, int64_t b, int64_t t, int64_t count)
{
    const int64_t scratch = r->step->scratch_step;
    const fg_view inputs[2] = {part(r, &r->x, r->own->x_features, b, t)};
    fg_view outputs[2] = {part(r, &r->y, r->own->y_features, b, t)};
    if (r->own->mask_steps)
        outputs[1] = (fg_view){.data = r->c->scratch + (b * r->c->steps + t) * scratch,
                               .batch_stride = (r->by_step ? r->c->steps : 1) * scratch * (int64_t)sizeof(float),
                               .time_stride = 1};
    const fg_call call = {.batch = inner->batch,
                          .steps = r->step->inner_steps,
                          .before = FG_WHOLE,
                          .threads = 1,
                          .inputs = inputs,
                          .outputs = outputs,
                          .profile = r->c->profile ? inner->profile : NULL};
    fg_run_inside(inner, &call, count);
    if (r->own->mask_steps)
        write_masks(r, &outputs[1], b, t, count);
}

/* What the inner layers took and did counts as this layer's. */
static void move_profile(fg_state *inner, fg_context *c)
{
    for (int i = 0; i < inner->plan->n_steps; i++) {
        fg_profile *from = &inner->profile[i];
        for (int k = 0; k < FG_PARTS; k++)
            c->profile->ns[k] += from->ns[k];
        c->profile->input.multiply_adds += from->input.multiply_adds + from->recurrent.multiply_adds;
        c->profile->input.bytes += from->input.bytes + from->recurrent.bytes;
        *from = (fg_profile){0};
    }
    c->lap = fg_now();
}

static void share(void *argument, int member)
{
    const nested_run *r = argument;
    fg_state *inner = fg_inner_state(r->c, r->step, member);
    int64_t first, last, count;
    fg_share(r->c, member, r->lines * r->length, &first, &last);
    for (int64_t i = first; i < last; i += count) {
        const int64_t line = i / r->length, at = i % r->length, rest = r->length - at;
        count = last - i < rest ? last - i : rest;
        count = count < inner->batch ? count : inner->batch;
        run_part(r, inner, r->by_step ? at : line, r->by_step ? line : at, count);
    }
    if (r->c->profile)
        move_profile(inner, r->c);
}

static void run(const fg_step *step, fg_context *c)
{
    nested_run r;
    start(&r, step, c);
    fg_phase(c, share, &r);
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    (void)c; /* the rest is known when it has run */
    profile->input.weights = step->bytes;
}

const fg_layer_ops fg_time_distributed_ops = {.add = add, .run = run, .count = count, .release = fg_free_own};
