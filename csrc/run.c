/* Running a Plan: the layout of a call, the walk over stages and blocks, the choice of threads. */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* ---- what families ask of a run ---------------------------------------------------------------------------------- */

uint8_t *fg_bytes_of(const fg_context *c, fg_value v, int64_t row, int64_t *time_stride)
{
    const fg_slot *slot = &c->state->slots[v];
    *time_stride = slot->view.time_stride;
    return (uint8_t *)slot->view.data + row * slot->view.batch_stride +
           (slot->whole ? c->t0 * slot->view.time_stride : 0);
}

const int32_t *fg_ids_of(const fg_context *c, fg_value v, int64_t row, int64_t *time_stride)
{
    const fg_slot *slot = &c->state->slots[v];
    *time_stride = slot->view.time_stride;
    const bool from_block = slot->whole && c->plan->values[v].sequence;
    return (const int32_t *)slot->view.data + row * slot->view.batch_stride +
           (from_block ? c->t0 * slot->view.time_stride : 0);
}

/* ---- preparing a run --------------------------------------------------------------------------------------------- */

/* Workspace of a block that stays in a core's L2 beside weights; and a bound that keeps the first block of a long run
 * short. Every block passes over all weights, so where these are large a block's values may take an eighth of what they
 * do: nsnet2 with 600 units, 25 MB of weights, one row of 500 steps: 113 ms in blocks of 11 steps, 80 ms in those of
 * 128. */
enum { BLOCK_BYTES = 256 << 10, BLOCK_STEPS = 128 };

static int64_t block_steps(const fg_plan *plan, int64_t batch, int64_t steps)
{
    const int64_t weights = (int64_t)(plan->cost * sizeof(float)); /* that a row and step is multiplied by */
    const int64_t bytes = weights / 8 > BLOCK_BYTES ? weights / 8 : BLOCK_BYTES;
    const int64_t step_bytes = batch == 1 ? plan->lone_block_bytes : batch * plan->block_row_bytes;
    int64_t block = step_bytes ? bytes / step_bytes : BLOCK_STEPS;
    block = block > BLOCK_STEPS ? BLOCK_STEPS : block < 1 ? 1 : block;
    return block > steps ? (steps > 0 ? steps : 1) : block;
}

/* Which views of a call are given, a bit each; 0 where there are too many of them to say. */
static uint64_t given_views(const fg_plan *plan, const fg_call *call)
{
    uint64_t given = 1;
    if (plan->n_inputs + plan->n_outputs >= 64)
        return 0;
    for (int32_t i = 0; i < plan->n_inputs; i++)
        given = given << 1 | (call->inputs[i].data != NULL);
    for (int32_t i = 0; i < plan->n_outputs; i++)
        given = given << 1 | (call->outputs[i].data != NULL);
    return given;
}

static fg_status bind_inputs(fg_state *state, const fg_call *call)
{
    const fg_plan *plan = state->plan;
    for (int32_t i = 0; i < plan->n_inputs; i++) {
        const fg_value_info *info = &plan->values[plan->inputs[i]];
        const int64_t steps = !info->sequence ? 1 : call->input_steps ? call->input_steps[i] : call->steps;
        if (steps < 0 || (!call->inputs[i].data && info->type != FG_BYTES && call->batch && steps))
            return FG_BAD_CALL;
        state->slots[plan->inputs[i]] = (fg_slot){.view = call->inputs[i], .steps = steps, .whole = true, .output = -1};
    }
    return FG_OK;
}

/* The value of an output is computed in the caller's array, unless it is an input or has one already. */
static void choose_outputs(fg_state *state, const fg_call *call)
{
    const fg_plan *plan = state->plan;
    for (int32_t i = 0; i < plan->n_outputs; i++) {
        fg_slot *slot = &state->slots[plan->outputs[i]];
        if (!plan->values[plan->outputs[i]].is_input && call->outputs[i].data && slot->output < 0)
            slot->output = i;
    }
}

static void bind_outputs(fg_state *state, const fg_call *call)
{
    const fg_plan *plan = state->plan;
    for (int32_t i = 0; i < plan->n_outputs; i++) {
        fg_slot *slot = &state->slots[plan->outputs[i]];
        if (slot->output == i) {
            slot->view = call->outputs[i];
            slot->whole = true;
        }
    }
}

/* Gives a value that no array of the call holds its place in the arena; returns the new end of the arena, SIZE_MAX
 * where no memory could hold it. */
static size_t place(fg_state *state, fg_value v, const fg_call *call, size_t end)
{
    const fg_value_info *info = &state->plan->values[v];
    fg_slot *slot = &state->slots[v];
    const int64_t steps = !info->sequence ? 1 : info->whole ? slot->steps : state->block;
    slot->whole = info->whole;
    slot->owned = true;
    slot->offset = end;
    slot->view.time_stride = info->features;
    slot->view.batch_stride = steps * info->features;
    int64_t bytes, elements;
    if (__builtin_mul_overflow(call->batch * info->features, steps, &elements) ||
        __builtin_mul_overflow(elements, info->type == FG_BYTES ? 1 : 4, &bytes) || bytes > INT64_MAX / 4 ||
        end > INT64_MAX / 4)
        return SIZE_MAX;
    return end + (size_t)fg_round_up(bytes, FG_ALIGN);
}

static bool is_held(const fg_slot *slot)
{
    return slot->view.data || slot->owned;
}

static bool is_absent(const fg_state *state, const fg_value_info *info)
{
    if (info->type != FG_BYTES || info->always)
        return false;
    const fg_step *maker = &state->plan->steps[info->maker];
    for (int32_t i = 0; i < maker->n_inputs; i++)
        if (state->plan->values[maker->inputs[i]].type == FG_BYTES && is_held(&state->slots[maker->inputs[i]]))
            return false;
    return info->mask_of == FG_NONE || !is_held(&state->slots[info->mask_of]);
}

/* Steps and places of the values that a layer defines. */
static fg_status place_outputs(fg_state *state, const fg_step *step, const fg_call *call, size_t *arena)
{
    const fg_plan *plan = state->plan;
    const fg_value outs[] = {step->y, step->y_mask, step->y_state};
    for (int k = 0; k < 3; k++) {
        if (outs[k] == FG_NONE)
            continue;
        const fg_value_info *info = &plan->values[outs[k]];
        fg_slot *slot = &state->slots[outs[k]];
        slot->steps = fg_plan_steps(plan, outs[k], call);
        if (slot->output < 0 && info->part_of == FG_NONE && !is_absent(state, info))
            *arena = place(state, outs[k], call, *arena);
        if (*arena == SIZE_MAX)
            return FG_NO_MEMORY;
    }
    return FG_OK;
}

/* Points parts into the values that they are parts of; from the last layer on, as a part may have parts. */
static void place_parts(fg_state *state)
{
    const fg_plan *plan = state->plan;
    for (int i = plan->n_steps - 1; plan->has_parts && i >= 0; i--)
        for (int32_t k = 0; k < plan->steps[i].n_inputs; k++) {
            const fg_value v = plan->steps[i].inputs[k];
            const fg_value_info *info = &plan->values[v];
            if (info->part_of == FG_NONE || !state->slots[info->part_of].view.data)
                continue;
            fg_slot *slot = &state->slots[v];
            slot->view = state->slots[info->part_of].view;
            slot->view.data = (float *)slot->view.data + info->part_offset;
            slot->whole = state->slots[info->part_of].whole;
        }
}

/* What could not be known when the plan was made: that each layer can run on the steps of what it reads. */
static bool steps_fit(const fg_plan *plan, const fg_call *call)
{
    for (int32_t i = 0; call->input_steps && i < plan->n_inputs; i++)
        if (plan->values[plan->inputs[i]].sequence &&
            call->input_steps[i] != fg_plan_steps(plan, plan->inputs[i], call))
            return false;
    return fg_plan_misfit(plan, call) < 0;
}

static int64_t most_steps(const fg_plan *plan, const fg_call *call)
{
    int64_t most = call->steps;
    for (int32_t i = 0; call->input_steps && i < plan->n_inputs; i++)
        most = most < call->input_steps[i] ? call->input_steps[i] : most;
    return most;
}

/* Threads that may need scratch of members. */
static int lanes_of(const fg_plan *plan, const fg_call *call)
{
    const int cpus = fg_cpu_count();
    return !plan->scratch_member ? 0 : call->threads < cpus ? call->threads : cpus;
}

/* Floats of scratch for a row: the most that any layer needs. -1 where a layer cannot take the call's steps. */
static int64_t scratch_row(const fg_state *state, const fg_call *call)
{
    const fg_plan *plan = state->plan;
    int64_t most = plan->scratch_row + state->block * plan->scratch_step;
    for (int i = 0; i < plan->n_steps; i++) {
        const fg_step *step = &plan->steps[i];
        const int64_t floats = step->ops->scratch ? step->ops->scratch(plan, step, call) : 0;
        if (floats < 0)
            return -1;
        most = most < floats ? floats : most;
    }
    return fg_round_up(most, FG_MAX_LANES);
}

/* Blocks, and the places of all values, of the arena's and of the call's. */
static fg_status lay_out(fg_state *state, const fg_call *call)
{
    const fg_plan *plan = state->plan;
    for (int32_t v = 0; v < plan->n_values; v++)
        state->slots[v] = (fg_slot){.output = -1};
    fg_status status = bind_inputs(state, call);
    choose_outputs(state, call);
    bind_outputs(state, call);
    if (!steps_fit(plan, call))
        return FG_BAD_CALL;
    state->block = block_steps(plan, call->batch, most_steps(plan, call));
    size_t arena = 0;
    for (int i = 0; status == FG_OK && i < plan->n_steps; i++) {
        const fg_step *step = &plan->steps[i];
        status = place_outputs(state, step, call, &arena);
    }
    if (status != FG_OK)
        return status;
    int64_t scratch;
    state->scratch_row = scratch_row(state, call);
    if (state->scratch_row < 0)
        return FG_BAD_CALL;
    state->lanes = lanes_of(plan, call);
    if (__builtin_mul_overflow(state->scratch_row, call->batch, &scratch) || scratch > INT64_MAX / 16)
        return FG_NO_MEMORY;
    scratch += state->lanes * plan->scratch_member;
    const size_t need = arena + (size_t)scratch * sizeof(float);
    if (need > state->arena_bytes) {
        free(state->arena);
        state->arena = fg_alloc(need);
        state->arena_bytes = state->arena ? need : 0;
        if (!state->arena)
            return FG_NO_MEMORY;
    }
    for (int32_t v = 0; v < plan->n_values; v++)
        if (state->slots[v].owned)
            state->slots[v].view.data = state->arena + state->slots[v].offset;
    place_parts(state);
    state->scratch = (float *)(state->arena + arena);
    return FG_OK;
}

/* What of fg_call.before a layout hangs on. */
static int64_t before_of_layout(const fg_plan *plan, const fg_call *call)
{
    return plan->changes_steps || call->before < 0 ? call->before : 0;
}

static fg_status prepare_layout(fg_state *state, const fg_call *call)
{
    const uint64_t given = call->input_steps || call->begins ? 0 : given_views(state->plan, call);
    if (given && state->given == given && state->batch == call->batch && state->steps == call->steps &&
        state->laid_before == before_of_layout(state->plan, call) && lanes_of(state->plan, call) <= state->lanes) {
        bind_outputs(state, call);
        place_parts(state);
        return bind_inputs(state, call);
    }
    state->batch = -1;
    state->pace = (fg_pace){0};
    const fg_status status = lay_out(state, call);
    if (status == FG_OK) {
        state->batch = call->batch;
        state->steps = call->steps;
        state->given = given;
        state->laid_before = before_of_layout(state->plan, call);
    }
    return status;
}

/* Rows of a layer's network that run at a time: enough to share its weights, few enough to stay in a cache. */
enum { NESTED_BYTES = 1 << 20, NESTED_ROWS = 64 };

static int64_t nested_rows(const fg_step *step, int64_t most)
{
    const int64_t least = step->inner->kernels->rows;
    const int64_t row_bytes = step->inner->row_elements * step->inner_steps * (int64_t)sizeof(float);
    int64_t rows = NESTED_BYTES / row_bytes;
    rows = rows < least ? least : rows > NESTED_ROWS ? NESTED_ROWS : rows;
    return rows < most ? rows : most > 0 ? most : 1;
}

static bool is_too_large(const fg_plan *plan, const fg_call *call)
{
    int64_t elements;
    return __builtin_mul_overflow(call->batch, call->steps > 0 ? call->steps : 1, &elements) ||
           __builtin_mul_overflow(elements, plan->row_elements, &elements) ||
           elements > INT64_MAX / 2 / (int64_t)sizeof(float);
}

static fg_status prepare(fg_state *state, const fg_call *call, int lanes);

/* Makes a layer's network ready for runs inside this call, of which only the layout is known yet. */
static fg_status prepare_nested(fg_state **nested, const fg_step *step, const fg_state *state, const fg_call *call)
{
    fg_status status = *nested ? FG_OK : fg_state_new(step->inner, 1, nested);
    if (status != FG_OK)
        return status;
    const fg_view some = {.data = state->fresh}, inputs[2] = {some};
    const fg_view outputs[2] = {some, step->y_mask != FG_NONE ? some : (fg_view){0}};
    if (call->profile && !(*nested)->profile) {
        (*nested)->profile = calloc((size_t)step->inner->n_steps + 1, sizeof *(*nested)->profile);
        if (!(*nested)->profile)
            return FG_NO_MEMORY;
    }
    fg_call inside = {.batch = 1,
                      .steps = step->inner_steps,
                      .before = FG_WHOLE,
                      .threads = 1,
                      .inputs = inputs,
                      .outputs = outputs,
                      .profile = call->profile ? (*nested)->profile : NULL};
    if (is_too_large(step->inner, &inside))
        return FG_NO_MEMORY;
    inside.batch = nested_rows(step, call->batch * state->block);
    if (is_too_large(step->inner, &inside))
        return FG_NO_MEMORY;
    status = fg_state_reserve(*nested, inside.batch);
    return status == FG_OK ? prepare(*nested, &inside, 1) : status;
}

/* All that a run on so many threads needs, so that nothing is allocated in it. */
static fg_status prepare(fg_state *state, const fg_call *call, int lanes)
{
    const fg_plan *plan = state->plan;
    fg_status status = prepare_layout(state, call);
    if (status != FG_OK || !plan->n_nested)
        return status;
    if (lanes > state->nested_lanes) {
        const size_t n = (size_t)plan->n_nested, before = n * (size_t)state->nested_lanes, after = n * (size_t)lanes;
        fg_state **nested = realloc(state->nested, after * sizeof *nested);
        if (!nested)
            return FG_NO_MEMORY;
        memset(nested + before, 0, (after - before) * sizeof *nested);
        state->nested = nested;
        state->nested_lanes = lanes;
    }
    for (int lane = 0; lane < lanes; lane++)
        for (int i = 0; status == FG_OK && i < plan->n_steps; i++) {
            const fg_step *step = &plan->steps[i];
            if (step->inner)
                status = prepare_nested(&state->nested[lane * plan->n_nested + step->nested], step, state, call);
        }
    return status;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct fg_job {
    const fg_plan *plan;
    fg_state *state;
    const fg_call *call;
    int64_t chunk;            /* rows that a thread takes at a time; 0: all threads are a team on all rows */
    _Atomic int64_t next_row; /* the first that nobody has taken */
    int cpu;                  /* the caller's */
    fg_team team;
    fg_beside beside[FG_MAX_TEAM];
} fg_job;

typedef struct layer_run {
    const fg_step *step;
    const fg_context *c;
} layer_run;

static void share_layer(void *argument, int member)
{
    const layer_run *r = argument;
    r->step->ops->share(r->step, r->c, member);
}

static void run_layer(const fg_step *step, fg_context *c)
{
    if (step->ops->run)
        step->ops->run(step, c);
    else
        fg_phase(c, share_layer, &(layer_run){step, c});
}

/* Apart, so that they are no weight on runs without a profile. */
__attribute__((cold)) void fg_note_lap(fg_context *c, fg_part part)
{
    const int64_t now = fg_now();
    c->profile->ns[part] += now - c->lap;
    c->lap = now;
}

__attribute__((noinline, cold)) static void begin_profile(const fg_step *step, fg_context *c, fg_profile *profile)
{
    if (step->ops->count)
        step->ops->count(step, c, profile);
    c->profile = profile;
    c->lap = fg_now();
}

static void run_stage(fg_context *c, int stage, int64_t steps, fg_profile *profile)
{
    const fg_plan *plan = c->plan;
    const bool walks = stage & 1;
    c->t0 = 0;
    c->total = walks ? steps : 1;
    do { /* at least once, so that a run of no steps still delivers what stands */
        const int64_t left = c->total - c->t0;
        c->steps = !walks ? 1 : left < c->state->block ? left : c->state->block;
        for (int i = 0; i < plan->n_steps; i++)
            if (plan->steps[i].stage == stage) {
                if (profile)
                    begin_profile(&plan->steps[i], c, &profile[i]);
                run_layer(&plan->steps[i], c);
                fg_lap(c, FG_OTHER);
            }
        c->t0 += c->steps;
    } while (c->t0 < c->total);
}

static int64_t stage_steps(const fg_job *job, int stage)
{
    for (int i = 0; i < job->plan->n_steps; i++)
        if (job->plan->steps[i].stage == stage && job->plan->steps[i].walked != FG_NONE)
            return job->state->slots[job->plan->steps[i].walked].steps;
    return 0;
}

/* Everything for the rows [row, row + rows), as one of `members` threads; `lane` tells those of which each has rows of
 * its own from each other. */
static void run_rows(fg_job *job, int64_t row, int64_t rows, int lane, int rank, int members, fg_profile *profile)
{
    const fg_state *state = job->state;
    fg_beside beside;
    fg_context c = {.plan = job->plan,
                    .state = job->state,
                    .kernels = job->plan->kernels,
                    .row = row,
                    .rows = rows,
                    .scratch = state->scratch + row * state->scratch_row,
                    .own_scratch =
                        state->scratch + job->call->batch * state->scratch_row + lane * job->plan->scratch_member,
                    .lane = lane,
                    .rank = rank,
                    .members = members,
                    .team = &job->team,
                    .beside = members > 1 ? job->beside : &beside};
    for (int stage = 0; stage < job->plan->n_stages; stage++)
        run_stage(&c, stage, stage_steps(job, stage), profile);
}

static void work(void *argument, int rank, int members)
{
    fg_job *job = argument;
    const int64_t batch = job->call->batch;
    fg_profile *profile = rank == 0 ? job->call->profile : NULL;
    if (rank > 0)
        fg_leave_cpu(job->cpu);
    const unsigned float_mode = fg_float_enter();
    if (!job->chunk || members == 1)
        run_rows(job, 0, batch, 0, rank, members, profile);
    else
        for (int64_t row; (row = atomic_fetch_add(&job->next_row, job->chunk)) < batch;)
            run_rows(job, row, row + job->chunk < batch ? job->chunk : batch - row, rank, 0, 1, profile);
    fg_float_restore(float_mode);
}

/* Multiply-adds of a run under which a second thread costs more than it brings, and under which it does so unless it
 * is awake: to wake one takes some 50 µs. And those of one step, shared by a team, that pay for its phases. */
static const double LEAST_COST = 60e3, WAKE_COST = 4e6, TEAM_STEP_COST = 30e3;

/* Rows of a chunk: a share each, or, where weights stay in cache, parts of it, so that a late thread finds fewer left.
 */
static int64_t chunk_rows(const fg_job *job, int threads)
{
    const int64_t batch = job->call->batch, tile = job->plan->kernels->rows;
    const bool cached = job->plan->bytes <= fg_cpu_l2_bytes() / 2;
    const int64_t least = cached ? 2 * tile : tile, parts = cached ? 4 * threads : threads;
    const int64_t part = fg_round_up((batch + parts - 1) / parts, tile), share = (batch + threads - 1) / threads;
    const int64_t rows = part > least ? part : least, most = fg_round_up(share, tile);
    if (share <= tile)
        return share;
    return rows < most ? rows : most;
}

/* Threads that can share the run's work, and how they would. */
static int useful_threads(fg_job *job)
{
    const fg_call *call = job->call;
    int threads = call->threads < fg_cpu_count() ? call->threads : fg_cpu_count();
    if (call->batch >= 2 * threads || job->plan->matmul == FG_MATMUL_BLAS) {
        job->chunk = chunk_rows(job, threads);
        const int64_t chunks = (call->batch + job->chunk - 1) / job->chunk;
        return chunks < threads ? (int)chunks : threads;
    }
    if (threads > FG_MAX_TEAM)
        threads = FG_MAX_TEAM;
    return job->plan->cost * (double)call->batch < TEAM_STEP_COST ? 1 : threads;
}

/* How much threads gain hangs on how far their CPUs are from each other, which a virtual machine may change at any
 * time. So runs of up to some milliseconds are timed: of each cycle a few on all threads and a few on one, then all the
 * others on the faster side. The first of a trial do not count: they wake threads and warm caches. */
enum { CYCLE = 512, LONG_CYCLE = 128, TRIALS_TOGETHER = 8, WARM_TOGETHER = 3, TRIALS_ALONE = 4, WARM_ALONE = 1 };
static const double TIMED_COST = 100e6;

static bool choose_together(fg_pace *pace, unsigned cycle)
{
    const unsigned run = pace->runs++ % cycle;
    if (run == 0)
        pace->together = pace->alone = INT64_MAX;
    if (run < TRIALS_TOGETHER + TRIALS_ALONE)
        return run < TRIALS_TOGETHER;
    return pace->together < pace->alone;
}

static void note_time(fg_pace *pace, unsigned cycle, int64_t time)
{
    const unsigned run = (pace->runs - 1) % cycle;
    if (run >= WARM_TOGETHER && run < TRIALS_TOGETHER && time < pace->together)
        pace->together = time;
    if (run >= TRIALS_TOGETHER + WARM_ALONE && run < TRIALS_TOGETHER + TRIALS_ALONE && time < pace->alone)
        pace->alone = time;
}

static void run_together(fg_job *job, int wanted)
{
    const int threads = fg_threads_take(wanted);
    atomic_init(&job->next_row, 0);
    job->cpu = fg_current_cpu();
    memset(&job->team, 0, sizeof job->team);
    fg_parallel(threads, work, job);
    fg_threads_give(threads);
}

static double cost_of(const fg_job *job)
{
    return job->plan->cost * (double)job->call->batch * (double)job->call->steps;
}

static int wanted_threads(fg_job *job)
{
    return job->call->threads > 1 && cost_of(job) >= LEAST_COST ? useful_threads(job) : 1;
}

static void run_on_threads(fg_job *job, int wanted)
{
    const double cost = cost_of(job);
    if (wanted == 1) {
        work(job, 0, 1);
        return;
    }
    fg_pace *pace = &job->state->pace;
    if (cost >= TIMED_COST) {
        run_together(job, wanted);
    } else if (cost < WAKE_COST && !fg_threads_awake()) {
        work(job, 0, 1);
    } else {
        const unsigned cycle = cost < WAKE_COST ? CYCLE : LONG_CYCLE;
        const int64_t start = fg_now();
        if (choose_together(pace, cycle))
            run_together(job, wanted);
        else
            work(job, 0, 1);
        note_time(pace, cycle, fg_now() - start);
    }
    fg_threads_note_end();
}

/* Outputs that could not be computed in place: an input passed through, or a value asked for twice. */
static void copy_outputs(const fg_plan *plan, const fg_state *state, const fg_call *call, int64_t rows)
{
    for (int32_t i = 0; i < plan->n_outputs; i++) {
        const fg_value_info *info = &plan->values[plan->outputs[i]];
        const fg_slot *slot = &state->slots[plan->outputs[i]];
        const fg_view *to = &call->outputs[i];
        if (!to->data || to->data == slot->view.data)
            continue;
        const size_t size = info->type == FG_BYTES ? 1 : 4, bytes = (size_t)info->features * size;
        const int64_t steps = slot->steps;
        for (int64_t b = 0; b < rows; b++)
            for (int64_t t = 0; t < steps; t++) {
                char *out = (char *)to->data + (size_t)(b * to->batch_stride + t * to->time_stride) * size;
                if (slot->view.data)
                    memcpy(out,
                           (char *)slot->view.data +
                               (b * slot->view.batch_stride + t * slot->view.time_stride) * (int64_t)size,
                           bytes);
                else
                    memset(out, 1, bytes); /* an absent mask is all true */
            }
    }
}

fg_status fg_run(const fg_plan *plan, fg_state *state, const fg_call *call)
{
    if (state->plan != plan || call->batch < 0 || call->steps < 0 || call->before < FG_WHOLE ||
        call->before > INT64_MAX / 4)
        return FG_BAD_CALL;
    if (is_too_large(plan, call))
        return FG_NO_MEMORY;
    fg_job job;
    job.plan = plan;
    job.state = state;
    job.call = call;
    job.chunk = 0;
    const int wanted = wanted_threads(&job);
    fg_status status = call->rows ? FG_OK : fg_state_reserve(state, call->batch);
    if (status == FG_OK)
        status = fg_state_point(state, call);
    if (status == FG_OK)
        status = prepare(state, call, wanted);
    if (status != FG_OK || call->batch == 0)
        return status;
    run_on_threads(&job, wanted);
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].memory >= 0 && !plan->steps[i].carries_in_place &&
            (stage_steps(&job, plan->steps[i].stage) & 1))
            fg_state_turn(state, &state->memories[plan->steps[i].memory], call->batch);
    for (int64_t b = 0; b < call->batch; b++)
        state->fresh[fg_state_row(state, b)] = 0;
    copy_outputs(plan, state, call, call->batch);
    return FG_OK;
}

void fg_run_inside(fg_state *nested, const fg_call *call, int64_t rows)
{
    fg_job job;
    job.plan = nested->plan;
    job.state = nested;
    job.call = call;
    fg_state_point(nested, call); /* there is room for all rows that it was laid out for */
    prepare_layout(nested, call); /* points to the call's arrays; the layout stands */
    run_rows(&job, 0, rows, 0, 0, 1, call->profile);
    copy_outputs(nested->plan, nested, call, rows); /* its rows are as fresh as before: no state is of use later */
}
