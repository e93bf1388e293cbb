/* Attention: each step of a query takes a weighted mean of a value's steps. Formulas: layers/attention.py.
 *
 * Two phases. First the keys and values of each (row, head) are packed into panels, like weights, so that both products
 * run on the tiles: scores = q · keysᵀ and y = weights · values. Then members share tiles of a few steps of the query,
 * each with scratch of its own for their scores: what a run needs grows with the steps, not with their square. For a
 * query of one step, as a decoder has it, packing would take longer than the products: it reads keys and values as they
 * lie (`direct`), with the same bits.
 *
 * What a query does not see has the weight 0, which leaves a sum as it is, to the bit, unless it meets what is not
 * finite. So that is taken out of masked steps when values are packed. What `causal` or `window` hides differs from
 * query to query: if such values are not all finite, queries go one by one over the steps that they see. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* What Keras subtracts from a masked score. */
#define PENALTY 1e9f

typedef struct attention_layer {
    int64_t heads, size, value_size; /* sizes of one head */
    int64_t window, steps;
    float scale, inner_scale;
    fg_product *weight; /* additive: of each head, one column */
    bool causal, zero_masked_queries;
    fg_all_masked all_masked;
} attention_layer;

/* Floats of scratch, and where in it: the rows' packed heads (keys, values, a flag), then a member's tile (scores and,
 * additive, sums of queries and keys). */
typedef struct attention_sizes {
    int64_t keys, values, head, row, scores, tile;
    bool direct;
} attention_sizes;

static attention_sizes sizes_of(const attention_layer *own, int64_t queries, int64_t steps, int lanes)
{
    attention_sizes s = {.direct = queries == 1};
    s.keys = own->weight || s.direct ? 0 : fg_round_up(own->size * fg_round_up(steps, lanes), FG_MAX_LANES);
    s.values = fg_round_up(steps * fg_round_up(own->value_size, lanes), FG_MAX_LANES);
    s.head = s.keys + s.values + FG_MAX_LANES;
    s.row = s.head * own->heads;
    s.scores = fg_round_up(steps, FG_MAX_LANES);
    s.tile = FG_MAX_ROWS * s.scores + (own->weight ? FG_MAX_LANES * own->size : 0);
    return s;
}

/* ---- description ------------------------------------------------------------------------------------------------- */

static void release(fg_step *step)
{
    attention_layer *own = step->own;
    if (own)
        free(own->weight);
    free(own);
}

static const _Alignas(FG_ALIGN) float NO_BIAS[3 * FG_MAX_LANES];

/* A column for each head; ones where there are no weights. */
static fg_status pack_weight(fg_plan *plan, attention_layer *own, const float *weight)
{
    const int lanes = plan->kernels->lanes;
    own->weight = calloc((size_t)own->heads, sizeof *own->weight);
    if (!own->weight)
        return FG_NO_MEMORY;
    for (int64_t head = 0; head < own->heads; head++) {
        float *w = fg_store_alloc(&plan->store, fg_size(own->size, lanes, sizeof(float)));
        if (!w)
            return FG_NO_MEMORY;
        for (int64_t i = 0; i < own->size; i++)
            w[i * lanes] = weight ? weight[head * own->size + i] : 1.0f;
        own->weight[head] = (fg_product){.weights.w = w, .bias = NO_BIAS, .k = own->size, .columns = 1};
    }
    return FG_OK;
}

/* What an attention costs per step hangs on the number of steps: as of this many. */
enum { USUAL_STEPS = 64 };

static fg_status add(fg_plan *plan, fg_step *step, const fg_layer *layer)
{
    const int64_t heads = layer->attention.heads, steps = layer->attention.steps;
    fg_status status = layer->n_inputs == 3 ? fg_keep_inputs(plan, step, layer, FG_FLOATS) : FG_BAD_LAYER;
    if (status)
        return status;
    const fg_value query = step->inputs[0], value = step->inputs[1], key = step->inputs[2];
    const int64_t features = plan->values[key].features, value_features = plan->values[value].features;
    step->query_mask = layer->attention.query_mask;
    if (heads < 1 || features % heads || value_features % heads || plan->values[query].features != features ||
        !plan->values[query].sequence || layer->y == FG_NONE || (layer->y_state != FG_NONE && steps < 1) ||
        (step->mask != FG_NONE && !fg_read(plan, step->mask, FG_BYTES)) ||
        (step->query_mask != FG_NONE && !fg_read(plan, step->query_mask, FG_BYTES)))
        return FG_BAD_LAYER;
    status = fg_same_steps(plan, value, key);
    if (status == FG_OK && step->mask != FG_NONE)
        status = fg_same_steps(plan, value, step->mask);
    if (status == FG_OK && step->query_mask != FG_NONE)
        status = fg_same_steps(plan, query, step->query_mask);
    if (status)
        return status;
    attention_layer *own = calloc(1, sizeof *own);
    if (!own)
        return FG_NO_MEMORY;
    step->own = own;
    *own = (attention_layer){.heads = heads,
                             .size = features / heads,
                             .value_size = value_features / heads,
                             .window = layer->attention.window,
                             .steps = steps,
                             .scale = layer->attention.scale,
                             .inner_scale = layer->attention.inner_scale,
                             .causal = layer->attention.causal,
                             .zero_masked_queries = layer->attention.zero_masked_queries,
                             .all_masked = layer->attention.all_masked};
    if (layer->attention.additive)
        status = pack_weight(plan, own, layer->attention.weight);
    step->cost = USUAL_STEPS * (double)(features + value_features);
    if (status == FG_OK)
        status = fg_define(plan, layer->y, query, FG_FLOATS, value_features);
    return status ? status : fg_define(plan, layer->y_state, query, FG_FLOATS, heads * steps);
}

/* Members of a team are at most FG_MAX_TEAM on all rows of a call, or one on some of them. */
static int64_t scratch(const fg_plan *plan, const fg_step *step, const fg_call *call)
{
    const attention_layer *own = step->own;
    const int64_t steps = fg_plan_steps(plan, step->inputs[1], call), batch = call->batch > 0 ? call->batch : 1;
    if (steps < 0 || (own->steps && steps != own->steps))
        return -1;
    if ((double)steps * FG_MAX_LANES * (double)(own->heads * (own->size + own->value_size) + FG_MAX_LANES) > 1e16)
        return INT64_MAX / FG_MAX_LANES; /* more than any memory holds */
    const int64_t queries = fg_plan_steps(plan, step->inputs[0], call);
    const attention_sizes s = sizes_of(own, queries, steps, plan->kernels->lanes);
    return s.row + s.tile * ((FG_MAX_TEAM + batch - 1) / batch);
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

typedef struct attention_run {
    const fg_step *step;
    const fg_context *c;
    const attention_layer *own;
    fg_grid query, value, key, y, weights; /* weights.data NULL: nobody reads them */
    attention_sizes size;
    int64_t steps; /* of the value */
} attention_run;

static const uint8_t *mask_of(const attention_run *r, fg_value mask, int64_t row, int64_t *stride)
{
    if (mask == FG_NONE || !fg_slot_of(r->c, mask).view.data)
        return NULL;
    return fg_bytes_of(r->c, mask, r->c->row + row, stride);
}

static float *keys_of(const attention_run *r, int64_t row, int64_t head)
{
    return r->c->scratch + row * r->size.row + head * r->size.head;
}

static float *values_of(const attention_run *r, int64_t row, int64_t head)
{
    return keys_of(r, row, head) + r->size.keys;
}

/* Whether queries that do not see all steps must go one by one. */
static float *flag_of(const attention_run *r, int64_t row, int64_t head)
{
    return values_of(r, row, head) + r->size.values;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Zeros where masked steps of packed values are not finite. */
static void clean(const attention_run *r, int64_t row, float *values)
{
    const int lanes = r->c->kernels->lanes;
    int64_t stride = 0;
    const uint8_t *mask = mask_of(r, r->step->mask, row, &stride);
    for (int64_t column = 0; mask && column < r->own->value_size; column += 3 * lanes) {
        const int64_t left = fg_round_up(r->own->value_size - column, lanes);
        const int64_t width = left < 3 * lanes ? left : 3 * lanes;
        for (int64_t t = 0; t < r->steps; t++, values += width)
            for (int64_t i = 0; !mask[t * stride] && i < width; i++)
                values[i] = isfinite(values[i]) ? values[i] : 0.0f;
    }
}

static bool all_finite(const float *x, int64_t n)
{
    bool finite = true;
    for (int64_t i = 0; i < n; i++)
        finite &= isfinite(x[i]) != 0;
    return finite;
}

static void pack_values(const attention_run *r, int64_t row, int64_t head)
{
    const int lanes = r->c->kernels->lanes;
    const int64_t size = r->own->value_size, floats = r->steps * fg_round_up(size, lanes);
    float *values = values_of(r, row, head);
    const float *from = r->value.data + row * r->value.row_stride + head * size;
    fg_pack_strided(values, from, r->value.time_stride, 1, r->steps, size, lanes, 3);
    clean(r, row, values);
    *flag_of(r, row, head) = (r->own->causal || r->own->window) && !all_finite(values, floats) ? 1.0f : 0.0f;
}

static void pack_keys(const attention_run *r, int64_t row, int64_t head)
{
    const int64_t size = r->own->size;
    const float *from = r->key.data + row * r->key.row_stride + head * size;
    fg_pack_strided(keys_of(r, row, head), from, 1, r->key.time_stride, size, r->steps, r->c->kernels->lanes, 3);
}

static void pack_share(void *argument, int member)
{
    const attention_run *r = argument;
    const int64_t heads = r->own->heads;
    int64_t first, last;
    fg_share(r->c, member, 2 * r->c->rows * heads, &first, &last);
    for (int64_t i = first; i < last; i++)
        if (i % 2)
            pack_values(r, i / 2 / heads, i / 2 % heads);
        else if (!r->own->weight)
            pack_keys(r, i / 2 / heads, i / 2 % heads);
}

/* ---- what a query sees ------------------------------------------------------------------------------------------- */

typedef struct sight {
    int64_t first, last; /* no step outside has a weight */
    bool blind;          /* all steps are masked */
    bool zero;           /* its output is zero */
} sight;

static sight look(const attention_run *r, int64_t row, int64_t t)
{
    const attention_layer *own = r->own;
    int64_t stride = 0, query_stride = 0;
    const uint8_t *mask = mask_of(r, r->step->mask, row, &stride);
    const uint8_t *query_mask = mask_of(r, r->step->query_mask, row, &query_stride);
    const bool masked = query_mask && !query_mask[t * query_stride];
    sight s = {.first = 0, .last = r->steps, .blind = masked && !own->zero_masked_queries};
    if (own->window && t - own->window + 1 > 0)
        s.first = t - own->window + 1;
    if (own->window && t + own->window < s.last)
        s.last = t + own->window;
    if (own->causal && t + 1 < s.last)
        s.last = t + 1;
    int64_t seen = s.first;
    while (mask && seen < s.last && !mask[seen * stride])
        seen++;
    s.blind = s.blind || seen >= s.last;
    s.zero = (masked && own->zero_masked_queries) || (s.blind && own->all_masked == FG_ZERO);
    if (s.blind) {
        s.first = 0;
        s.last = own->all_masked == FG_ZERO ? 0 : r->steps;
    }
    return s;
}

/* ---- a tile ------------------------------------------------------------------------------------------------------ */

/* `count` steps of the query from t on, of a row and head, and their scores. */
typedef struct attention_tile {
    int64_t row, head, t;
    int count;
    int64_t seen, last; /* the steps that any of them sees: [seen, last) */
    int64_t first;      /* the same from a multiple of FG_MAX_LANES on: a step has one lane of a sum, in every tile */
    float *scores[FG_MAX_ROWS];
    float *sums; /* additive: FG_MAX_ROWS rows of a head's features */
    sight sights[FG_MAX_ROWS];
} attention_tile;

static const float *query_of(const attention_run *r, const attention_tile *tile, int i)
{
    return r->query.data + tile->row * r->query.row_stride + (tile->t + i) * r->query.time_stride +
           tile->head * r->own->size;
}

/* y = x · matrix[first, last) for the panels [from, to) of a packed matrix (k, columns), one by one. x[i] is row i's
 * factor of the matrix's first row. */
static void multiply(const attention_run *r, const attention_tile *tile, const float *matrix, int64_t k, int64_t first,
                     int64_t last, int64_t columns, int64_t from, int64_t to, const float *const *x, float *const *y)
{
    const fg_kernels *kernels = r->c->kernels;
    const int64_t width = 3 * kernels->lanes;
    const void *xs[FG_MAX_ROWS];
    float *ys[FG_MAX_ROWS];
    for (int64_t panel = from; panel < to; panel++) {
        const int64_t column = panel * width, left = columns - column < width ? columns - column : width;
        const fg_product p = {.weights.w = matrix + column * k + first * fg_round_up(left, kernels->lanes),
                              .bias = NO_BIAS,
                              .k = last - first,
                              .columns = left};
        for (int i = 0; i < tile->count; i++) {
            xs[i] = x[i] + first;
            ys[i] = y[i] + column;
        }
        kernels->tiles[FG_FLOAT32]->product(&p, tile->count, xs, ys, 0, 1);
    }
}

/* Products q · k of the panels that hold the tile's steps. */
static void dot(const attention_run *r, const attention_tile *tile)
{
    const int64_t width = 3 * r->c->kernels->lanes, size = r->own->size;
    const float *x[FG_MAX_ROWS];
    for (int i = 0; i < tile->count; i++)
        x[i] = query_of(r, tile, i);
    multiply(r, tile, keys_of(r, tile->row, tile->head), size, 0, size, r->steps, tile->first / width,
             (tile->last + width - 1) / width, x, tile->scores);
}

/* The same of keys as they lie. */
static void dot_direct(const attention_run *r, const attention_tile *tile)
{
    const float *keys =
        r->key.data + tile->row * r->key.row_stride + tile->first * r->key.time_stride + tile->head * r->own->size;
    r->c->kernels->common->dot(r->own->size, query_of(r, tile, 0), keys, r->key.time_stride, tile->last - tile->first,
                               tile->scores[0] + tile->first);
}

/* Σ weight · tanh(inner_scale · (q + k)), a few steps at a time. */
static void additive(const attention_run *r, const attention_tile *tile)
{
    static const fg_activation tanh_function = {.function = FG_TANH};
    const fg_kernels *kernels = r->c->kernels;
    const int64_t size = r->own->size;
    const float *keys = r->key.data + tile->row * r->key.row_stride + tile->head * size;
    for (int i = 0; i < tile->count; i++) {
        const float *q = query_of(r, tile, i);
        for (int64_t t = tile->first; t < tile->last; t += kernels->rows) {
            const int rows = (int)(tile->last - t < kernels->rows ? tile->last - t : kernels->rows);
            const void *x[FG_MAX_ROWS];
            float *y[FG_MAX_ROWS];
            for (int j = 0; j < rows; j++) {
                const float *k = keys + (t + j) * r->key.time_stride;
                float *sum = tile->sums + j * size;
                for (int64_t e = 0; e < size; e++)
                    sum[e] = r->own->inner_scale * (q[e] + k[e]);
                x[j] = sum;
                y[j] = tile->scores[i] + t + j;
            }
            kernels->common->activate(&tanh_function, rows * size, tile->sums, tile->sums);
            kernels->tiles[FG_FLOAT32]->product(&r->own->weight[tile->head], rows, x, y, 0, 1);
        }
    }
}

/* Scores → weights, of the tile's steps. */
static void weigh(const attention_run *r, const attention_tile *tile, int i)
{
    static const fg_activation softmax = {.function = FG_SOFTMAX};
    const sight s = tile->sights[i];
    float *w = tile->scores[i];
    int64_t stride = 0;
    const uint8_t *mask = mask_of(r, r->step->mask, tile->row, &stride);
    if (s.blind && r->own->all_masked != FG_PENALTY) {
        const float each = r->own->all_masked == FG_MEAN ? 1.0f / (float)r->steps : 0.0f;
        for (int64_t t = tile->first; t < tile->last; t++)
            w[t] = each;
        return;
    }
    for (int64_t t = tile->first; t < tile->last; t++) {
        const float score = r->own->scale * w[t];
        if (s.blind)
            w[t] = (isfinite(score) ? score : 0.0f) - PENALTY;
        else
            w[t] = t < s.first || t >= s.last || (mask && !mask[t * stride]) ? -INFINITY : score;
    }
    r->c->kernels->common->activate_row(&softmax, tile->last - tile->first, w + tile->first, w + tile->first);
}

/* y = weights · values */
static void mix(const attention_run *r, const attention_tile *tile, float *const *y)
{
    const int64_t width = 3 * r->c->kernels->lanes, size = r->own->value_size;
    multiply(r, tile, values_of(r, tile->row, tile->head), r->steps, tile->seen, tile->last, size, 0,
             (size + width - 1) / width, (const float *const *)tile->scores, y);
}

/* The same of values as they lie. A sum that is not finite may come of a step that is not seen, so it is done again. */
static void mix_direct(const attention_run *r, const attention_tile *tile, float *const *y)
{
    const float *values = r->value.data + tile->row * r->value.row_stride + tile->seen * r->value.time_stride +
                          tile->head * r->own->value_size;
    r->c->kernels->common->combine(tile->last - tile->seen, tile->scores[0] + tile->seen, values, r->value.time_stride,
                                   r->own->value_size, y[0]);
    if (!all_finite(y[0], r->own->value_size)) {
        pack_values(r, tile->row, tile->head);
        mix(r, tile, y);
    }
}

static void store_weights(const attention_run *r, const attention_tile *tile, int i)
{
    float *to = r->weights.data + tile->row * r->weights.row_stride + (tile->t + i) * r->weights.time_stride +
                tile->head * r->steps;
    memset(to, 0, (size_t)r->steps * sizeof(float));
    memcpy(to + tile->first, tile->scores[i] + tile->first, (size_t)(tile->last - tile->first) * sizeof(float));
}

static void attend(const attention_run *r, attention_tile *tile)
{
    float *y[FG_MAX_ROWS];
    tile->seen = r->steps;
    tile->last = 0;
    for (int i = 0; i < tile->count; i++) {
        const sight s = tile->sights[i] = look(r, tile->row, tile->t + i);
        if (s.first < s.last) {
            tile->seen = s.first < tile->seen ? s.first : tile->seen;
            tile->last = s.last > tile->last ? s.last : tile->last;
        }
        y[i] = r->y.data + tile->row * r->y.row_stride + (tile->t + i) * r->y.time_stride +
               tile->head * r->own->value_size;
    }
    if (tile->last == 0)
        tile->seen = 0;
    tile->first = tile->seen / FG_MAX_LANES * FG_MAX_LANES;
    if (r->own->weight)
        additive(r, tile);
    else
        (r->size.direct ? dot_direct : dot)(r, tile);
    for (int i = 0; i < tile->count; i++)
        weigh(r, tile, i);
    (r->size.direct ? mix_direct : mix)(r, tile, y);
    for (int i = 0; i < tile->count; i++) {
        if (tile->sights[i].zero)
            memset(y[i], 0, (size_t)r->own->value_size * sizeof(float));
        if (r->weights.data)
            store_weights(r, tile, i);
    }
}

static void attend_share(void *argument, int member)
{
    const attention_run *r = argument;
    const int64_t rows = r->c->kernels->rows, tiles = (r->query.steps + rows - 1) / rows, heads = r->own->heads;
    float *scratch = r->c->scratch + r->c->rows * r->size.row + member * r->size.tile;
    attention_tile tile = {.sums = scratch + FG_MAX_ROWS * r->size.scores};
    for (int i = 0; i < FG_MAX_ROWS; i++)
        tile.scores[i] = scratch + i * r->size.scores;
    int64_t first, last;
    fg_share(r->c, member, r->c->rows * heads * tiles, &first, &last);
    for (int64_t i = first; i < last; i++) {
        tile.row = i / tiles / heads;
        tile.head = i / tiles % heads;
        const int64_t t = i % tiles * rows, end = t + rows < r->query.steps ? t + rows : r->query.steps;
        const int64_t at_once = !r->size.direct && *flag_of(r, tile.row, tile.head) != 0.0f ? 1 : rows;
        for (tile.t = t; tile.t < end; tile.t += at_once) {
            tile.count = (int)(end - tile.t < at_once ? end - tile.t : at_once);
            attend(r, &tile);
        }
    }
}

static void run(const fg_step *step, fg_context *c)
{
    attention_run r = {.step = step,
                       .c = c,
                       .own = step->own,
                       .query = fg_whole_of(c, step->inputs[0]),
                       .value = fg_whole_of(c, step->inputs[1]),
                       .key = fg_whole_of(c, step->inputs[2]),
                       .y = fg_whole_of(c, step->y)};
    r.steps = r.value.steps;
    r.size = sizes_of(r.own, r.query.steps, r.steps, c->kernels->lanes);
    if (step->y_state != FG_NONE)
        r.weights = fg_whole_of(c, step->y_state);
    if (!r.size.direct)
        fg_phase(c, pack_share, &r);
    fg_phase(c, attend_share, &r);
    fg_lap(c, FG_PRODUCTS);
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    const fg_value_info *values = c->plan->values;
    const int64_t pairs = fg_slot_of(c, step->inputs[0]).steps * fg_slot_of(c, step->inputs[1]).steps;
    profile->input.multiply_adds +=
        c->rows * pairs * (values[step->inputs[1]].features + values[step->inputs[2]].features);
}

const fg_layer_ops fg_attention_ops = {
    .add = add, .run = run, .count = count, .release = release, .scratch = scratch, .once = true};
