/* Quanta: how many rows and steps they have, and the way of numbers into and out of them. */
#include "quantum.h"

#include <stdlib.h>
#include <string.h>

/* A chunk that comes while a quantum runs waits for its end: so long may it last, if one step of its rows does not take
 * longer. A quantum costs some microseconds, and a step that is the only one of a call more than one of several. */
enum { QUANTUM_NS = 200000 };

/* Most rows: so many that FEW_STEPS of them take a quantum's time, if a core does 50 multiply-adds in a nanosecond; but
 * at least LEAST_ROWS for each thread, so that weights are read for some tiles of rows, and at most MOST_ROWS. What is
 * staged for them stays in L2. 2,000 rows of chunks of 50 steps, as a share of the best batch, by most rows (one
 * thread, avx512, single runs on a busy machine, so that only large differences count): GRU(32) 32: 0.90, 64: 0.94,
 * 128: 0.81, 256: 0.67; GRU(128) 16: 0.86, 24: 0.87, 32: 0.85, 48: 0.82; GRU(256) 16: 0.93, 32: 0.96, 64: 0.95;
 * GRU(600) 16: 0.92, 32: 0.93, 64: 0.95. */
enum { FEW_STEPS = 4, LEAST_ROWS = 16, MOST_ROWS = 64, MOST_CELLS = 16384, STAGED_BYTES = 512 << 10 };
static const double MULTIPLY_ADDS = 50.0 * QUANTUM_NS / FEW_STEPS;

/* A chunk is long when it has had so many steps, or as many as a row by itself runs in a quantum. */
enum { SHORT_STEPS = 16 };

static int64_t rows_of(const fg_plan *plan, int64_t max_rows, int threads)
{
    const int64_t least = LEAST_ROWS * threads, most = MOST_ROWS * threads;
    const double fitting = MULTIPLY_ADDS * threads / (plan->cost > 1 ? plan->cost : 1);
    int64_t rows = fitting < (double)most ? (int64_t)fitting : most;
    rows -= rows % plan->kernels->rows;
    rows = rows < least ? least : rows;
    return rows < max_rows ? rows : max_rows;
}

static size_t bytes_of(const fg_plan *plan, fg_value v)
{
    const fg_value_info *info = &plan->values[v];
    return (size_t)info->features * (info->type == FG_BYTES ? 1 : 4);
}

/* What the plan's inputs and wanted outputs are, without memory for them. */
static fg_status describe(fg_quantum *q, const int *wanted)
{
    const fg_plan *plan = q->plan;
    q->inputs = calloc((size_t)plan->n_inputs + 1, sizeof *q->inputs);
    q->outputs = calloc((size_t)plan->n_outputs + 1, sizeof *q->outputs);
    q->views = calloc((size_t)plan->n_inputs + 1, sizeof *q->views);
    q->results = calloc((size_t)plan->n_outputs + 1, sizeof *q->results);
    if (!q->inputs || !q->outputs || !q->views || !q->results)
        return FG_NO_MEMORY;
    for (int32_t i = 0; i < plan->n_inputs; i++) {
        const fg_value v = plan->inputs[i];
        if (plan->values[v].type != FG_BYTES)
            q->inputs[q->n_inputs++] =
                (fg_staged){.bytes = bytes_of(plan, v), .sequence = plan->values[v].sequence, .place = i};
    }
    for (int32_t i = 0; i < plan->n_outputs; i++) {
        const fg_value v = plan->outputs[i];
        if (wanted[i])
            q->outputs[q->n_outputs++] =
                (fg_staged){.bytes = bytes_of(plan, v), .sequence = plan->values[v].sequence, .place = i};
    }
    return FG_OK;
}

static fg_status reserve_stage(const fg_quantum *q, fg_staged *staged, int64_t max_rows, bool is_input)
{
    const int64_t count = staged->sequence ? q->most_cells : q->most_rows;
    staged->stage = fg_alloc(fg_size(count, (int64_t)staged->bytes, 1));
    if (is_input && !staged->sequence)
        staged->of_rows = fg_alloc(fg_size(max_rows, (int64_t)staged->bytes, 1));
    return staged->stage && (staged->of_rows || !is_input || staged->sequence) ? FG_OK : FG_NO_MEMORY;
}

static fg_status reserve(fg_quantum *q, int64_t max_rows)
{
    size_t bytes = 1;
    for (int32_t i = 0; i < q->n_inputs; i++)
        bytes += q->inputs[i].sequence ? q->inputs[i].bytes : 0;
    for (int32_t i = 0; i < q->n_outputs; i++)
        bytes += q->outputs[i].sequence ? q->outputs[i].bytes : 0;
    q->most_cells = STAGED_BYTES / (int64_t)bytes;
    q->most_cells = q->most_cells > MOST_CELLS ? MOST_CELLS : q->most_cells;
    q->most_cells = q->most_cells < q->most_rows ? q->most_rows : q->most_cells;
    q->chunks = calloc((size_t)q->most_rows, sizeof *q->chunks);
    q->places = calloc((size_t)q->most_rows, sizeof *q->places);
    fg_status status = q->chunks && q->places ? FG_OK : FG_NO_MEMORY;
    for (int32_t i = 0; status == FG_OK && i < q->n_inputs; i++)
        status = reserve_stage(q, &q->inputs[i], max_rows, true);
    for (int32_t i = 0; status == FG_OK && i < q->n_outputs; i++)
        status = reserve_stage(q, &q->outputs[i], max_rows, false);
    return status;
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

static void point(fg_view *view, const fg_staged *staged, int64_t steps, fg_type type)
{
    const int64_t features = (int64_t)staged->bytes / (type == FG_BYTES ? 1 : 4);
    view->data = staged->stage;
    view->time_stride = staged->sequence ? features : 0;
    view->batch_stride = staged->sequence ? steps * features : features;
}

static fg_status call(fg_quantum *q, int64_t rows, bool begins)
{
    const fg_plan *plan = q->plan;
    for (int32_t i = 0; i < q->n_inputs; i++)
        point(&q->views[q->inputs[i].place], &q->inputs[i], q->steps, FG_FLOATS);
    for (int32_t i = 0; i < q->n_outputs; i++)
        point(&q->results[q->outputs[i].place], &q->outputs[i], q->steps,
              plan->values[plan->outputs[q->outputs[i].place]].type);
    const int64_t start = fg_now();
    const fg_status status = fg_run(plan, q->state,
                                    &(fg_call){.batch = rows,
                                               .steps = q->steps,
                                               .rows = q->places,
                                               .begins = begins,
                                               .threads = q->threads,
                                               .inputs = q->views,
                                               .outputs = q->results});
    q->ns = fg_now() - start;
    return status;
}

/* The power of two that is next below a number of rows. */
static int pace_of(int64_t rows)
{
    int i = 0;
    while (i < FG_PACES - 1 && rows >> (i + 1))
        i++;
    return i;
}

fg_status fg_quantum_prepare(fg_quantum *q, const fg_plan *plan, fg_state *state, int64_t max_rows, int threads,
                             const int *wanted)
{
    *q = (fg_quantum){.plan = plan, .state = state, .threads = threads};
    q->most_rows = rows_of(plan, max_rows, threads);
    fg_status status = describe(q, wanted);
    if (status == FG_OK)
        status = reserve(q, max_rows);
    for (int64_t i = 0; status == FG_OK && i < q->most_rows; i++)
        q->places[i] = i;
    q->steps = 1;
    for (int i = 0; status == FG_OK && i < 2; i++) /* the first one reads weights and makes room */
        status = call(q, q->most_rows, false);
    const double all = (double)q->ns;
    if (status == FG_OK)
        status = call(q, 1, false);
    fg_state_reset(state, 0, max_rows);
    const double one = (double)q->ns, each = (all - one) / (double)(q->most_rows > 1 ? q->most_rows - 1 : 1);
    for (int i = 0; i < FG_PACES; i++)
        q->pace[i] = one + (each > 0 ? each : 0) * (double)((INT64_C(1) << i) - 1);
    return status;
}

void fg_quantum_free(fg_quantum *q)
{
    for (int32_t i = 0; i < q->n_inputs; i++) {
        free(q->inputs[i].stage);
        free(q->inputs[i].of_rows);
    }
    for (int32_t i = 0; i < q->n_outputs; i++)
        free(q->outputs[i].stage);
    free(q->inputs);
    free(q->outputs);
    free(q->views);
    free(q->results);
    free(q->chunks);
    free(q->places);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

void fg_quantum_set_statics(fg_quantum *q, int64_t place, const void *const *statics)
{
    for (int32_t i = 0; i < q->n_inputs; i++)
        if (!q->inputs[i].sequence)
            memcpy(q->inputs[i].of_rows + (size_t)place * q->inputs[i].bytes, *statics++, q->inputs[i].bytes);
}

void fg_quantum_copy_statics(fg_quantum *q, int64_t from, int64_t to)
{
    for (int32_t i = 0; i < q->n_inputs; i++)
        if (!q->inputs[i].sequence)
            memcpy(q->inputs[i].of_rows + (size_t)to * q->inputs[i].bytes,
                   q->inputs[i].of_rows + (size_t)from * q->inputs[i].bytes, q->inputs[i].bytes);
}

bool fg_quantum_is_long(const fg_quantum *q, int64_t steps)
{
    return steps >= SHORT_STEPS && (double)steps * q->pace[0] >= QUANTUM_NS;
}

/* ---- a quantum --------------------------------------------------------------------------------------------------- */

void fg_quantum_add(fg_quantum *q, int64_t i, int64_t place, fg_chunk *chunk)
{
    q->places[i] = place;
    q->chunks[i] = chunk;
    if (chunk->afresh && chunk->done == 0)
        fg_state_reset(q->state, place, 1);
}

void fg_quantum_begin(fg_quantum *q, int64_t rows)
{
    const double fitting = QUANTUM_NS / (q->pace[pace_of(rows)] + 1);
    int64_t steps = fitting < (double)(q->most_cells / rows) ? (int64_t)fitting : q->most_cells / rows;
    steps = steps < 1 ? 1 : steps;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t left = q->chunks[i]->steps - q->chunks[i]->done;
        steps = left < steps ? left : steps;
    }
    q->steps = steps;
}

static void gather(const fg_quantum *q, int64_t rows)
{
    int32_t sequence = 0;
    for (int32_t k = 0; k < q->n_inputs; k++) {
        const fg_staged *input = &q->inputs[k];
        const size_t bytes = input->sequence ? (size_t)q->steps * input->bytes : input->bytes;
        for (int64_t i = 0; i < rows && bytes; i++) {
            const fg_chunk *chunk = q->chunks[i];
            const char *from = input->sequence ? chunk->inputs[sequence] + (size_t)chunk->done * input->bytes
                                               : input->of_rows + (size_t)q->places[i] * input->bytes;
            memcpy(input->stage + (size_t)i * bytes, from, bytes);
        }
        sequence += input->sequence;
    }
}

static void scatter(const fg_quantum *q, int64_t rows)
{
    for (int32_t k = 0; k < q->n_outputs; k++) {
        const fg_staged *output = &q->outputs[k];
        const size_t bytes = output->sequence ? (size_t)q->steps * output->bytes : output->bytes;
        for (int64_t i = 0; i < rows && bytes; i++) {
            const fg_chunk *chunk = q->chunks[i];
            if (output->sequence)
                memcpy(chunk->outputs[k] + (size_t)chunk->done * output->bytes, output->stage + (size_t)i * bytes,
                       bytes);
            else if (chunk->done + q->steps == chunk->steps) /* what stands after its last step */
                memcpy(chunk->outputs[k], output->stage + (size_t)i * bytes, bytes);
        }
    }
}

fg_status fg_quantum_run(fg_quantum *q, int64_t rows)
{
    const bool begins = q->chunks[0]->holds;
    gather(q, rows);
    const fg_status status = call(q, rows, begins);
    if (status == FG_OK && !begins)
        scatter(q, rows);
    return status;
}

/* A step that took more than twice its pace was disturbed, and counts for twice. */
void fg_quantum_end(fg_quantum *q, int64_t rows)
{
    if (q->steps == 0)
        return;
    double *pace = &q->pace[pace_of(rows)];
    const double now = (double)q->ns / (double)q->steps;
    *pace += ((now < 2 * *pace ? now : 2 * *pace) - *pace) / 8;
}
