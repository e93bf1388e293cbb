/* The State: what sequences carry from step to step, made, grown, read and written. Its layout for a call is run.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* Floats of a row: all of its copies. */
static size_t row_floats(const fg_memory *memory)
{
    return (memory->in_place ? 1 : 2) * (size_t)memory->stride;
}

static float *row_of(const fg_memory *memory, int64_t row)
{
    return memory->slabs[row / FG_SLAB_ROWS] + (size_t)(row % FG_SLAB_ROWS) * row_floats(memory);
}

static float *copy_of(const fg_memory *memory, int64_t row)
{
    return row_of(memory, row) + (memory->marks[row] & FG_TURNED ? memory->stride : 0);
}

/* Slabs that so many rows take. */
static int64_t slab_count(int64_t rows)
{
    return (rows + FG_SLAB_ROWS - 1) / FG_SLAB_ROWS;
}

/* Makes the only slab of few rows larger: the one case in which rows move. */
static fg_status widen_slab(fg_memory *memory, int64_t before, int64_t rows)
{
    float *slab = fg_alloc(fg_size(rows, (int64_t)row_floats(memory), sizeof(float)));
    if (!slab)
        return FG_NO_MEMORY;
    memcpy(slab, memory->slabs[0], (size_t)before * row_floats(memory) * sizeof(float));
    free(memory->slabs[0]);
    memory->slabs[0] = slab;
    return FG_OK;
}

/* Room for so many rows, which fill one slab at most or several. After a failure there is as much as before. */
static fg_status grow_memory(fg_memory *memory, int64_t rows)
{
    const int64_t slab_rows = rows < FG_SLAB_ROWS ? rows : FG_SLAB_ROWS, before = memory->rows;
    const int64_t first = slab_count(before), last = slab_count(rows);
    uint8_t *marks = realloc(memory->marks, (size_t)rows);
    if (!marks)
        return FG_NO_MEMORY;
    memory->marks = marks;
    float **slabs = realloc(memory->slabs, (size_t)last * sizeof *slabs);
    if (!slabs)
        return FG_NO_MEMORY;
    memory->slabs = slabs;
    for (int64_t i = first; i < last; i++) {
        slabs[i] = fg_alloc(fg_size(slab_rows, (int64_t)row_floats(memory), sizeof(float)));
        if (slabs[i])
            continue;
        while (i-- > first)
            free(slabs[i]);
        return FG_NO_MEMORY;
    }
    if (before > 0 && before < slab_rows && widen_slab(memory, before, slab_rows) != FG_OK) {
        for (int64_t i = first; i < last; i++)
            free(slabs[i]);
        return FG_NO_MEMORY;
    }
    memset(marks + before, 0, (size_t)(rows - before));
    memory->rows = rows;
    return FG_OK;
}

fg_status fg_state_reserve(fg_state *state, int64_t rows)
{
    if (rows <= state->rows)
        return FG_OK;
    if (rows > INT64_MAX / 4)
        return FG_NO_MEMORY;
    if (rows > FG_SLAB_ROWS)
        rows = slab_count(rows) * FG_SLAB_ROWS;
    else if (rows < 2 * state->rows) /* one more, again and again */
        rows = 2 * state->rows < FG_SLAB_ROWS ? 2 * state->rows : FG_SLAB_ROWS;
    uint8_t *fresh = realloc(state->fresh, (size_t)rows);
    if (!fresh)
        return FG_NO_MEMORY;
    state->fresh = fresh;
    for (int i = 0; i < state->plan->n_memories; i++)
        if (!state->memories[i].in_place && state->memories[i].rows < rows &&
            grow_memory(&state->memories[i], rows) != FG_OK)
            return FG_NO_MEMORY;
    memset(state->fresh + state->rows, 1, (size_t)(rows - state->rows));
    state->rows = rows;
    return FG_OK;
}

/* Gives what is carried in place room for all rows of the State. */
static fg_status catch_up(const fg_state *state, fg_memory *memory)
{
    return memory->rows < state->rows ? grow_memory(memory, state->rows) : FG_OK;
}

fg_status fg_state_new(const fg_plan *plan, int64_t rows, fg_state **out)
{
    *out = NULL;
    if (!plan->finished || rows < 0)
        return FG_BAD_CALL;
    fg_state *state = calloc(1, sizeof *state);
    if (!state)
        return FG_NO_MEMORY;
    state->plan = plan;
    state->n_memories = plan->n_memories;
    state->n_nested = plan->n_nested;
    state->batch = -1;
    state->slots = calloc((size_t)plan->n_values, sizeof *state->slots);
    state->memories = calloc((size_t)plan->n_memories + 1, sizeof *state->memories);
    fg_status status = state->slots && state->memories ? FG_OK : FG_NO_MEMORY;
    for (int i = 0; status == FG_OK && i < plan->n_steps; i++)
        if (plan->steps[i].memory >= 0) {
            fg_memory *memory = &state->memories[plan->steps[i].memory];
            memory->units = plan->steps[i].carried;
            memory->in_place = plan->steps[i].carries_in_place;
            memory->initial = plan->steps[i].initial;
            memory->stride = fg_round_up(memory->units, FG_MAX_LANES);
        }
    if (status == FG_OK)
        status = fg_state_reserve(state, rows > 0 ? rows : 1);
    if (status != FG_OK) {
        fg_state_free(state);
        return status;
    }
    *out = state;
    return FG_OK;
}

void fg_state_free(fg_state *state)
{
    if (!state)
        return;
    for (int i = 0; state->memories && i < state->n_memories; i++) {
        for (int64_t k = 0; k < slab_count(state->memories[i].rows); k++)
            free(state->memories[i].slabs[k]);
        free(state->memories[i].slabs);
        free(state->memories[i].marks);
        free(state->memories[i].copies);
    }
    for (int i = 0; i < state->nested_lanes * state->n_nested; i++)
        fg_state_free(state->nested[i]);
    free(state->nested);
    free(state->profile);
    free(state->memories);
    free(state->fresh);
    free(state->slots);
    free(state->arena);
    free(state);
}

void fg_state_reset(fg_state *state, int64_t first, int64_t count)
{
    if (first >= 0 && count > 0 && first < state->rows)
        memset(state->fresh + first, 1, (size_t)(count < state->rows - first ? count : state->rows - first));
}

fg_status fg_state_copy(fg_state *state, int64_t from, int64_t to)
{
    if (from < 0 || from >= state->rows || to < 0 || to >= state->rows)
        return FG_BAD_CALL;
    for (int i = 0; !state->fresh[from] && i < state->plan->n_memories; i++)
        if (catch_up(state, &state->memories[i]) != FG_OK)
            return FG_NO_MEMORY;
    for (int i = 0; from != to && !state->fresh[from] && i < state->plan->n_memories; i++) {
        fg_memory *memory = &state->memories[i];
        memory->marks[to] = memory->marks[from];
        memcpy(copy_of(memory, to), copy_of(memory, from), (size_t)memory->stride * sizeof(float));
    }
    state->fresh[to] = state->fresh[from];
    return FG_OK;
}

int64_t fg_state_bytes(const fg_state *state)
{
    int64_t bytes = (int64_t)sizeof *state + (int64_t)state->arena_bytes + state->rows;
    for (int i = 0; i < state->plan->n_memories; i++) {
        const fg_memory *memory = &state->memories[i];
        bytes += memory->rows * (int64_t)(row_floats(memory) * sizeof(float) + 1);
        bytes += state->run_rows * (int64_t)sizeof *memory->copies;
    }
    for (int i = 0; i < state->nested_lanes * state->plan->n_nested; i++)
        bytes += state->nested[i] ? fg_state_bytes(state->nested[i]) : 0;
    return bytes;
}

/* The layer that carries something under the name of a value, or NULL. */
static const fg_step *carrier_of(const fg_plan *plan, fg_value v)
{
    for (int i = 0; v >= 0 && i < plan->n_steps; i++)
        if (plan->steps[i].memory >= 0 && (plan->steps[i].y == v || plan->steps[i].y_state == v))
            return &plan->steps[i];
    return NULL;
}

int64_t fg_plan_carried(const fg_plan *plan, fg_value v)
{
    const fg_step *step = carrier_of(plan, v);
    return step ? step->carried : 0;
}

static fg_memory *memory_of(const fg_plan *plan, const fg_state *state, fg_value v, int64_t row)
{
    const fg_step *step = carrier_of(plan, v);
    return step && state->plan == plan && row >= 0 && row < state->rows ? &state->memories[step->memory] : NULL;
}

fg_status fg_state_get(const fg_plan *plan, const fg_state *state, fg_value v, int64_t row, float *h, uint8_t *marks)
{
    const fg_memory *memory = memory_of(plan, state, v, row);
    if (!memory)
        return FG_BAD_CALL;
    const bool stands = !state->fresh[row] && row < memory->rows;
    const float *from = stands ? copy_of(memory, row) : memory->initial;
    if (from)
        memcpy(h, from, (size_t)memory->units * sizeof(float));
    else
        memset(h, 0, (size_t)memory->units * sizeof(float));
    *marks = stands ? memory->marks[row] & (uint8_t)~FG_TURNED : 0;
    return FG_OK;
}

fg_status fg_state_set(const fg_plan *plan, fg_state *state, fg_value v, int64_t row, const float *h, uint8_t marks)
{
    fg_memory *memory = memory_of(plan, state, v, row);
    if (!memory)
        return FG_BAD_CALL;
    if (catch_up(state, memory) != FG_OK)
        return FG_NO_MEMORY;
    memcpy(copy_of(memory, row), h, (size_t)memory->units * sizeof(float));
    memory->marks[row] = (memory->marks[row] & FG_TURNED) | (marks & (uint8_t)~FG_TURNED);
    state->fresh[row] = 0;
    return FG_OK;
}

fg_status fg_state_point(fg_state *state, const fg_call *call)
{
    if (call->batch > state->run_rows) {
        for (int i = 0; i < state->plan->n_memories; i++) {
            fg_memory *memory = &state->memories[i];
            void *copies = realloc(memory->copies, (size_t)call->batch * sizeof *memory->copies);
            if (!copies)
                return FG_NO_MEMORY;
            memory->copies = copies;
        }
        state->run_rows = call->batch;
    }
    for (int i = 0; call->before >= 0 && i < state->plan->n_memories; i++)
        if (catch_up(state, &state->memories[i]) != FG_OK)
            return FG_NO_MEMORY;
    state->rows_of_run = call->rows;
    state->before = call->before;
    state->begins_rows = false;
    for (int64_t b = 0; b < call->batch; b++) {
        const int64_t row = fg_state_row(state, b);
        if (row < 0 || row >= state->rows)
            return FG_BAD_CALL;
        state->begins_rows |= state->fresh[row];
    }
    for (int i = 0; i < state->plan->n_memories; i++) {
        fg_memory *memory = &state->memories[i];
        if (memory->in_place && call->before < 0)
            continue;
        for (int64_t b = 0; b < call->batch; b++) {
            const int64_t row = fg_state_row(state, b);
            const int turned = (memory->marks[row] & FG_TURNED) != 0;
            memory->copies[b][turned] = row_of(memory, row);
            memory->copies[b][!turned] = memory->in_place ? NULL : row_of(memory, row) + memory->stride;
        }
    }
    return FG_OK;
}

void fg_state_turn(const fg_state *state, fg_memory *memory, int64_t ran)
{
    for (int64_t b = 0; b < ran; b++)
        memory->marks[fg_state_row(state, b)] ^= FG_TURNED;
}
