/* The GRU layer when it runs: x-projections of a block, then the loop over its steps. */
#include <string.h>

#include "gru.h"

/* ---- the rows of a step ------------------------------------------------------------------------------------------ */

/* What the loop over steps needs to know, gathered once per block by every thread for itself. From `t` on it changes
 * from phase to phase. */
typedef struct walk {
    const fg_step *step;
    const fg_gru_layer *own;
    fg_context *c;
    fg_memory *memory;
    fg_grid x;          /* the layer's input, in order of processing */
    const int32_t *ids; /* folded: token ids instead of x, (b, t) at b·ids_row + t·ids_time */
    int64_t ids_row, ids_time;
    bool direct;      /* steps multiply the input themselves */
    float *projected; /* x-projections; of one step of one row `width` floats */
    int64_t width;
    int64_t kept; /* overlapped: the steps whose projections are kept at a time */
    float *z, *rh;
    float *y; /* NULL: the sequence is not asked for */
    int64_t y_row, y_time;
    const uint8_t *mask; /* NULL: nothing is masked */
    int64_t mask_row, mask_time;
    bool overlapped;        /* later steps are projected beside the steps */
    int64_t t;              /* the step */
    fg_step_kernel *kernel; /* of the phase */
    bool is_first, is_last; /* of the step's phases */
    int64_t first, last;    /* a member's groups */
    float *prepared;        /* and its scratch, see fg_gru_layer.state_floats */
    fg_beside *beside;      /* its work beside the steps, or NULL */
} walk;

static bool is_masked(const walk *w, int64_t b, int64_t t)
{
    return w->mask && !w->mask[b * w->mask_row + t * w->mask_time];
}

static float *projected_row(const walk *w, int64_t b, int64_t t)
{
    return w->projected + (w->overlapped ? t % w->kept : t * w->c->rows + b) * w->width;
}

static float *state_row(const walk *w, int64_t b, int64_t t, int after)
{
    return w->memory->copies[w->c->row + b][(w->c->t0 + t + after) & 1];
}

static uint8_t *marks_of(const walk *w, int64_t b)
{
    return &w->memory->marks[fg_state_row(w->c->state, w->c->row + b)];
}

/* Whether the step sweeps the groups backwards, going by the first row of the run. */
static bool is_backwards(const walk *w, int64_t t)
{
    const bool turned = w->memory->marks[fg_state_row(w->c->state, 0)] & FG_TURNED;
    return turned ^ ((w->c->t0 + t) & 1);
}

/* A masked row's state stays; its output repeats the last one, or is zero. The member's columns only. */
static void hold_row(const walk *w, int64_t b, int64_t t)
{
    const int lanes = w->c->kernels->lanes;
    const int64_t from = w->first * lanes, units = w->own->weights.units;
    const int64_t padded = (w->last - w->first) * lanes, width = from + padded < units ? padded : units - from;
    const float *h = state_row(w, b, t, 0) + from;
    if (padded <= 0)
        return;
    memcpy(state_row(w, b, t, 1) + from, h, (size_t)padded * sizeof(float));
    if (!w->y)
        return;
    float *y = w->y + b * w->y_row + t * w->y_time + from;
    if ((*marks_of(w, b) & FG_HAS_OUTPUT) && !w->own->zero_output_for_mask)
        memcpy(y, h, (size_t)width * sizeof(float));
    else
        memset(y, 0, (size_t)width * sizeof(float));
}

/* The x-projection of a token, for the groups of a sweep; of a narrow table in place `i` of the member's scratch. That
 * of the next step's is asked for, since no prefetcher can guess it. */
static const float *table_row(const walk *w, int i, int64_t b, int64_t t, fg_sweep sweep)
{
    const fg_gru_layer *own = w->own;
    const fg_table *table = &own->table;
    const int32_t *id = w->ids + b * w->ids_row + t * w->ids_time;
    const int64_t token = fg_token(*id, own->vocabulary), group = 3 * w->c->kernels->lanes;
    const int64_t first = sweep.first * group, last = sweep.last * group;
    if (t + 1 < w->c->steps) {
        const int bytes = fg_dtype_bytes(own->dtype);
        const char *next = (const char *)table->w + fg_token(id[w->ids_time], own->vocabulary) * w->width * bytes;
        for (int64_t at = first * bytes; at < last * bytes; at += FG_ALIGN)
            __builtin_prefetch(next + at);
    }
    if (own->dtype == FG_FLOAT32)
        return (const float *)table->w + token * w->width;
    float *row = w->prepared + own->state_floats + i * w->width;
    w->c->kernels->common->look_up[own->dtype](table, token, first, last, row);
    return row;
}

static void set_row(const walk *w, fg_gru_rows *rows, int i, int64_t b, int64_t t, fg_sweep sweep)
{
    rows->h[i] = state_row(w, b, t, 0);
    rows->out[i] = state_row(w, b, t, 1);
    if (w->ids)
        rows->x[i] = table_row(w, i, b, t, sweep);
    else if (w->direct) {
        const float *x = w->x.data + b * w->x.row_stride + t * w->x.time_stride;
        rows->x[i] = x;
        if (w->c->rows > 1)
            fg_ask_for(w->own->weights.inputs, x + w->x.time_stride); /* of its next step */
    } else {
        rows->x[i] = projected_row(w, b, t);
    }
    rows->y[i] = w->y ? w->y + b * w->y_row + t * w->y_time : NULL;
    if (!w->own->weights.reset_after) {
        rows->z[i] = w->z + b * w->own->stride;
        rows->rh[i] = w->rh + b * w->own->stride;
    }
}

/* One tile of rows, prepared first if its kernels want that. */
static void run_tile(const walk *w, int count, fg_gru_rows *rows, fg_sweep sweep)
{
    const fg_gru_layer *own = w->own;
    if (own->tiles->prepare) {
        const int64_t bytes = own->tiles->row_bytes(own->weights.units);
        const float *const *from = w->is_first ? rows->h : (const float *const *)rows->rh;
        for (int i = 0; i < count; i++) {
            void *state = (char *)w->prepared + i * bytes;
            own->tiles->prepare_state(own->weights.units, from[i], state);
            rows->state[i] = state;
        }
        if (w->direct)
            fg_prepare(own->tiles, own->weights.inputs, count, (const float *const *)rows->x,
                       w->prepared + own->state_floats, rows->x);
    }
    w->kernel(&own->weights, count, rows, sweep);
}

/* Runs the kernel over all unmasked rows of the step, tile after tile; `hold` also takes care of the masked ones. */
static void each_tile(const walk *w, bool hold, fg_sweep sweep)
{
    fg_gru_rows rows;
    rows.beside = w->beside;
    rows.prepared_out = NULL;
    int count = 0;
    for (int64_t b = 0; b < w->c->rows; b++) {
        if (is_masked(w, b, w->t)) {
            if (hold)
                hold_row(w, b, w->t);
            continue;
        }
        set_row(w, &rows, count++, b, w->t, sweep);
        if (count == w->own->tiles->rows) {
            run_tile(w, count, &rows, sweep);
            count = 0;
        }
    }
    if (count)
        run_tile(w, count, &rows, sweep);
}

/* Groups that are swept together: all of them, or as many as stay in half of L2 while several tiles of rows pass. */
static int64_t groups_at_once(const walk *w, int64_t count, int64_t depth)
{
    const int64_t group_bytes = fg_packed_bytes(w->own->tiles, depth, 3 * w->c->kernels->lanes);
    const int64_t budget = fg_cpu_l2_bytes() / 2;
    if (w->c->rows <= w->own->tiles->rows || count * group_bytes <= budget)
        return count;
    return budget / group_bytes > 1 ? budget / group_bytes : 1;
}

/* Odd steps sweep the groups backwards: where the weights are a small multiple of a cache, what is still in it comes
 * first. */
static void each_panel(const walk *w)
{
    const int64_t at_once =
        groups_at_once(w, w->last - w->first, w->own->weights.units + (w->direct ? w->own->weights.inputs : 0));
    const bool backwards = is_backwards(w, w->t);
    for (int64_t first = w->first; first < w->last; first += at_once)
        each_tile(w, w->is_last && first == w->first,
                  (fg_sweep){first, first + at_once < w->last ? first + at_once : w->last, backwards});
}

/* Overlapped, steps fall into tiles, of which all but the first are full. */
static int64_t first_tile(const walk *w)
{
    return w->c->steps > 0 ? (w->c->steps - 1) % w->own->tiles->beside_rows + 1 : 0;
}

/* The x-projections of the tile behind that of step t, the first of `tile` ones, as work beside these; none where they
 * are the last. Every other tile walks the panels backwards, for the sake of caches as each_panel does. */
static fg_beside later_projections(const walk *w, int64_t tile)
{
    const fg_gru_layer *own = w->own;
    const float *x[FG_MAX_ROWS];
    const int64_t from = w->t + tile;
    fg_beside beside = {.product = &own->input.product, .steps = tile};
    if (from == w->c->steps)
        return beside;
    const bool backwards = from / own->tiles->beside_rows & 1;
    beside.panel = backwards ? w->last - 1 : w->first;
    beside.way = backwards ? -1 : 1;
    beside.left = w->last - w->first;
    for (int i = 0; i < own->tiles->beside_rows; i++) {
        x[i] = w->x.data + (from + i) * w->x.time_stride;
        beside.y[i] = projected_row(w, 0, from + i);
    }
    fg_prepare(own->tiles, own->weights.inputs, own->tiles->beside_rows, x, w->prepared + own->state_floats, beside.x);
    return beside;
}

/* Without a mask every output of this run is h, which nobody asks for before the next one. */
static void mark_all_outputs(const walk *w)
{
    for (int64_t b = 0; b < w->c->rows; b++)
        *marks_of(w, b) |= FG_HAS_OUTPUT | FG_HAS_RUN;
}

static void step_share(void *argument, int member)
{
    walk *w = argument;
    if (member == 0 && !w->mask && w->t == w->c->steps - 1)
        mark_all_outputs(w);
    fg_share(w->c, member, w->own->weights.groups, &w->first, &w->last);
    w->prepared = fg_member_scratch(w->c, member);
    if (!w->overlapped) {
        each_panel(w);
        return;
    }
    const int64_t first = first_tile(w), full = w->own->tiles->beside_rows;
    const int64_t tile = w->t < first ? first : full, in_tile = w->t < first ? w->t : (w->t - first) % full;
    w->beside = &w->c->beside[member];
    if (in_tile == 0 && w->is_first)
        *w->beside = later_projections(w, tile);
    each_panel(w);
    if (in_tile == tile - 1 && w->is_last)
        w->own->tiles->finish(w->beside);
}

/* Held rows read `marks`, so with a mask every step writes it, in a phase of its own. */
static void mark_share(void *argument, int member)
{
    const walk *w = argument;
    const uint8_t lost = w->own->zero_output_for_mask ? FG_HAS_OUTPUT : 0;
    for (int64_t b = 0; member == 0 && b < w->c->rows; b++) {
        uint8_t *marks = marks_of(w, b);
        if (is_masked(w, b, w->t))
            *marks &= (uint8_t)~lost;
        else
            *marks |= FG_HAS_OUTPUT | FG_HAS_RUN;
    }
}

static void run_phase(walk *w, fg_step_kernel *kernel, bool is_first, bool is_last)
{
    w->kernel = kernel;
    w->is_first = is_first;
    w->is_last = is_last;
    fg_phase(w->c, step_share, w);
}

static void run_step(walk *w, int64_t t)
{
    const fg_tiles *tiles = w->own->tiles;
    w->t = t;
    if (w->own->weights.reset_after) {
        run_phase(w, w->direct ? tiles->gru_step_x : tiles->gru_step, true, true);
    } else {
        run_phase(w, tiles->gru_gates, true, false);
        run_phase(w, tiles->gru_candidate, false, true);
    }
    if (w->mask)
        fg_phase(w->c, mark_share, w);
}

/* ---- a block ----------------------------------------------------------------------------------------------------- */

/* Rows whose sequence begins take the given, the constant or the zero initial state. */
static void begin_rows(const fg_step *step, const fg_context *c, fg_memory *memory)
{
    const fg_gru_layer *own = step->own;
    const int64_t units = own->weights.units;
    const fg_grid h0 = step->h0 == FG_NONE ? (fg_grid){0} : fg_grid_of(c, step->h0);
    for (int64_t b = 0; b < c->rows; b++) {
        const int64_t row = fg_state_row(c->state, c->row + b);
        if (!c->state->fresh[row])
            continue;
        float *h = memory->copies[c->row + b][0];
        const float *initial = h0.data ? h0.data + b * h0.row_stride : own->initial;
        memset(h, 0, (size_t)own->stride * sizeof(float));
        if (initial)
            memcpy(h, initial, (size_t)units * sizeof(float));
        memory->marks[row] &= FG_TURNED;
    }
}

/* After the last step: the state, and the last output where no sequence is returned. */
static void deliver(const walk *w)
{
    const fg_step *step = w->step;
    const bool last_output = step->y != FG_NONE && !w->own->return_sequences;
    const fg_grid state = step->y_state != FG_NONE ? fg_grid_of(w->c, step->y_state) : (fg_grid){0};
    const fg_grid output = last_output ? fg_grid_of(w->c, step->y) : (fg_grid){0};
    const size_t bytes = (size_t)w->own->weights.units * sizeof(float);
    for (int64_t b = 0; b < w->c->rows; b++) {
        const float *h = state_row(w, b, w->c->steps, 0);
        const uint8_t marks = *marks_of(w, b);
        if (state.data && w->own->zero_state_without_steps && !(marks & FG_HAS_RUN))
            memset(state.data + b * state.row_stride, 0, bytes);
        else if (state.data)
            memcpy(state.data + b * state.row_stride, h, bytes);
        if (output.data && (marks & FG_HAS_OUTPUT))
            memcpy(output.data + b * output.row_stride, h, bytes);
        else if (output.data)
            memset(output.data + b * output.row_stride, 0, bytes);
    }
}

/* Turns the block around for go_backwards: step t of the block is the input's step total-1-(t0+t), and with time_order
 * the output's as well. */
static void reverse(walk *w)
{
    const fg_context *c = w->c;
    const int64_t offset = c->total - 1 - 2 * c->t0;
    if (w->ids) {
        w->ids += offset * w->ids_time;
        w->ids_time = -w->ids_time;
    } else {
        w->x.data += offset * w->x.time_stride;
        w->x.time_stride = -w->x.time_stride;
    }
    if (w->mask) {
        w->mask += offset * w->mask_time;
        w->mask_time = -w->mask_time;
    }
    if (w->y && w->own->time_order) {
        w->y += offset * w->y_time;
        w->y_time = -w->y_time;
    }
}

/* Inputs up to which a layer of one vector of units multiplies them while it waits for its gates. */
enum { TINY_INPUTS = 32 };

/* Whether later steps are projected beside the steps. */
static bool overlaps(const walk *w)
{
    return w->own->overlaps && w->c->rows == 1 && !w->direct && !w->ids &&
           w->own->recurrent_bytes / w->c->members > OVERLAP_BYTES;
}

/* Whether a step of one row waits for its own gates, so that multiplying the input meanwhile costs nothing. */
static bool is_tiny(const walk *w)
{
    return w->c->rows == 1 && w->own->weights.groups == 1 && w->own->weights.inputs <= TINY_INPUTS;
}

/* Fills in what is before `t`, field by field: copies of structs would wait for the stores of their parts. Inlined,
 * though it has two callers: a call costs a step of 4 units 5%. */
static inline __attribute__((always_inline)) void start_walk(walk *w, const fg_step *step, fg_context *c)
{
    const fg_gru_layer *own = step->own;
    w->step = step;
    w->own = own;
    w->c = c;
    w->memory = &c->state->memories[step->memory];
    w->ids = NULL;
    if (own->table.w) {
        w->ids = fg_ids_of(c, step->x, c->row, &w->ids_time);
        w->ids_row = c->state->slots[step->x].view.batch_stride;
    } else {
        fg_set_grid(&w->x, c, step->x);
    }
    w->width = own->width;
    w->projected = c->scratch;
    w->z = c->scratch + c->rows * c->state->block * (own->table.w ? 0 : w->width);
    w->rh = w->z + c->rows * own->stride;
    w->direct = own->weights.reset_after && !own->input.plain && !own->table.w && (c->state->block == 1 || is_tiny(w));
    w->y = NULL;
    if (own->return_sequences && step->y != FG_NONE) {
        fg_grid y;
        fg_set_grid(&y, c, step->y);
        w->y = y.data;
        w->y_row = y.row_stride;
        w->y_time = y.time_stride;
    }
    w->mask = NULL;
    if (step->mask != FG_NONE && c->state->slots[step->mask].view.data) {
        w->mask = fg_bytes_of(c, step->mask, c->row, &w->mask_time);
        w->mask_row = c->state->slots[step->mask].view.batch_stride;
    }
    w->overlapped = overlaps(w);
    w->kept = 2 * own->tiles->beside_rows; /* the tile of this step and the next one, in which that is projected */
    w->beside = NULL;
    if (own->go_backwards)
        reverse(w);
}

/* The x-projections of the rows and steps that are not masked, for the groups [first, last). */
static void project_unmasked(const walk *w, int64_t first, int64_t last)
{
    const fg_tiles *tiles = w->own->tiles;
    const fg_matrix *input = &w->own->input;
    const float *x[FG_MAX_ROWS];
    float *projected[FG_MAX_ROWS];
    int count = 0;
    for (int64_t t = 0; t < w->c->steps; t++)
        for (int64_t b = 0; b < w->c->rows; b++) {
            if (is_masked(w, b, t))
                continue;
            x[count] = w->x.data + b * w->x.row_stride + t * w->x.time_stride;
            if (tiles->prepare)
                fg_ask_for(w->own->weights.inputs, x[count] + w->x.time_stride);
            projected[count++] = projected_row(w, b, t);
            if (count == tiles->rows) {
                fg_multiply_tile(input, count, x, projected, first, last, w->prepared);
                count = 0;
            }
        }
    if (count)
        fg_multiply_tile(input, count, x, projected, first, last, w->prepared);
}

/* A member projects the columns of its own groups: a group is a panel. Overlapped, only the first tile of steps. */
static void project_share(walk *w, int member)
{
    w->prepared = fg_member_scratch(w->c, member);
    int64_t first, last;
    fg_share(w->c, member, w->own->weights.groups, &first, &last);
    if (w->mask && w->c->rows > 1 && !w->own->input.plain) {
        const int64_t at_once = groups_at_once(w, last - first, w->own->weights.inputs);
        for (int64_t from = first; from < last; from += at_once)
            project_unmasked(w, from, from + at_once < last ? from + at_once : last);
        return;
    }
    fg_grid x = w->x, out = {.data = w->projected,
                             .rows = w->c->rows,
                             .inner = 1,
                             .row_stride = w->width,
                             .time_stride = w->c->rows * w->width};
    x.steps = out.steps = w->overlapped ? first_tile(w) : w->c->steps;
    fg_multiply(w->c->kernels, &w->own->input, &x, &out, 0, fg_grid_size(&out), first, last, w->prepared);
}

/* Whether x-projections, or the first of them, stand before the steps. */
static bool projects(const walk *w)
{
    return !w->direct && !w->ids;
}

/* What stands before the steps; the same answer for every member, since a run changes no `fresh`. */
static bool needs_begin(const walk *w)
{
    if (projects(w))
        return true;
    return w->c->t0 == 0 && w->c->state->begins_rows;
}

static void begin_share(void *argument, int member)
{
    walk *w = argument;
    if (member == 0 && w->c->t0 == 0)
        begin_rows(w->step, w->c, w->memory);
    if (projects(w))
        project_share(w, member);
}

static bool needs_end(const walk *w)
{
    return fg_is_last_block(w->c) &&
           (w->step->y_state != FG_NONE || (w->step->y != FG_NONE && !w->own->return_sequences));
}

static void end_share(void *argument, int member)
{
    if (member == 0)
        deliver(argument);
}

/* Whether the steps of a block are one call of a kernel: one row whose weights L1 about holds, nothing in between. */
static bool is_one_run(const walk *w)
{
    return w->c->rows == 1 && w->c->members == 1 && !w->overlapped && !w->mask && !w->ids &&
           w->own->weights.reset_after && w->own->recurrent_bytes <= OVERLAP_BYTES;
}

static void run_steps(const walk *w)
{
    float *const scratch = w->c->own_scratch;
    const fg_gru_run run = {.h = {state_row(w, 0, 0, 0), state_row(w, 0, 0, 1)},
                            .x = w->direct ? w->x.data : w->projected,
                            .x_stride = w->direct ? w->x.time_stride : w->width,
                            .y = w->y,
                            .y_stride = w->y_time,
                            .steps = w->c->steps,
                            .direct = w->direct,
                            .backwards = is_backwards(w, 0),
                            .state = {scratch, scratch + w->own->state_floats / FG_MAX_ROWS},
                            .input = scratch + w->own->state_floats};
    w->own->tiles->gru_run(&w->own->weights, &run);
    if (w->c->steps > 0)
        mark_all_outputs(w);
}

static void run(const fg_step *step, fg_context *c)
{
    walk w;
    start_walk(&w, step, c);
    if (needs_begin(&w))
        fg_phase(c, begin_share, &w);
    fg_lap(c, projects(&w) ? FG_PRODUCTS : FG_OTHER);
    if (is_one_run(&w))
        run_steps(&w);
    else
        for (int64_t t = 0; t < c->steps; t++)
            run_step(&w, t);
    fg_lap(c, FG_STEPS);
    if (needs_end(&w))
        fg_phase(c, end_share, &w);
}

/* Rows and steps of the block that are not masked, and in *steps the steps that have such rows. */
static int64_t unmasked(const walk *w, int64_t *steps)
{
    int64_t all = 0;
    *steps = 0;
    for (int64_t t = 0; t < w->c->steps; t++) {
        int64_t rows = 0;
        for (int64_t b = 0; b < w->c->rows; b++)
            rows += !is_masked(w, b, t);
        all += rows;
        *steps += rows > 0;
    }
    return all;
}

/* Of the x-projections that of the input, wherever it is computed; of a row that stands alone also where masked. */
static void count_input(const walk *w, int64_t rows, int64_t steps, fg_work *work)
{
    if (w->ids) {
        const int64_t row_bytes = fg_table_row_bytes(&w->own->table, w->own->dtype);
        work->bytes += rows * row_bytes;
        work->weights = w->own->vocabulary * row_bytes;
        return;
    }
    const fg_matrix *m = &w->own->input;
    const bool thinned = w->direct || (w->c->rows > 1 && !m->plain);
    const int64_t products = thinned ? rows : w->c->rows * w->c->steps;
    work->multiply_adds += 3 * products * w->own->weights.inputs * w->own->weights.units;
    work->bytes += w->direct ? steps * m->bytes : products ? m->bytes : 0;
    work->weights = m->bytes;
}

static void count(const fg_step *step, fg_context *c, fg_profile *profile)
{
    walk w;
    start_walk(&w, step, c);
    const fg_gru_weights *weights = &w.own->weights;
    const int64_t units = weights->units;
    int64_t steps;
    const int64_t rows = unmasked(&w, &steps);
    count_input(&w, rows, steps, &profile->input);
    profile->recurrent.weights = w.own->recurrent_bytes;
    profile->recurrent.multiply_adds += 3 * rows * units * units;
    profile->recurrent.bytes += steps * profile->recurrent.weights;
    profile->units += rows * units;
    profile->steps += steps;
    /* the input's products wait for nothing but in a step that stands alone */
    profile->chain +=
        steps * units * (weights->reset_after ? 1 : 2) + (c->total == 1 && !w.ids ? steps * weights->inputs : 0);
}

const fg_layer_ops fg_gru_ops = {.add = fg_gru_add, .run = run, .count = count, .release = fg_free_own};
