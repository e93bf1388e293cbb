/* The State: what sequences carry from step to step, made, grown, read and written. Its layout for a call is run.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "layers.h"

fg_status fg_state_grow(fg_state *state, int64_t rows)
{
    const fg_plan *plan = state->plan;
    if (rows <= state->rows)
        return FG_OK;
    uint8_t *fresh = realloc(state->fresh, (size_t)rows);
    if (!fresh)
        return FG_NO_MEMORY;
    state->fresh = fresh;
    for (int i = 0; i < plan->n_memories; i++) {
        fg_memory *memory = &state->memories[i];
        float *h[2] = {fg_alloc(fg_size(rows, memory->stride, sizeof(float))),
                       fg_alloc(fg_size(rows, memory->stride, sizeof(float)))};
        uint8_t *marks = h[0] && h[1] ? realloc(memory->marks, (size_t)rows) : NULL;
        if (!marks) {
            free(h[0]);
            free(h[1]);
            return FG_NO_MEMORY; /* memories grown so far merely have more room than state->rows says */
        }
        memset(marks + state->rows, 0, (size_t)(rows - state->rows));
        memory->marks = marks;
        for (int k = 0; k < 2; k++) {
            if (state->rows)
                memcpy(h[k], memory->h[k], (size_t)(state->rows * memory->stride) * sizeof(float));
            free(memory->h[k]);
            memory->h[k] = h[k];
        }
    }
    memset(state->fresh + state->rows, 1, (size_t)(rows - state->rows));
    state->rows = rows;
    return FG_OK;
}

fg_status fg_state_new(const fg_plan *plan, int64_t batch, fg_state **out)
{
    *out = NULL;
    if (!plan->finished || batch < 0)
        return FG_BAD_CALL;
    fg_state *state = calloc(1, sizeof *state);
    if (!state)
        return FG_NO_MEMORY;
    state->plan = plan;
    state->batch = -1;
    state->slots = calloc((size_t)plan->n_values, sizeof *state->slots);
    state->memories = calloc((size_t)plan->n_memories + 1, sizeof *state->memories);
    fg_status status = state->slots && state->memories ? FG_OK : FG_NO_MEMORY;
    for (int i = 0; status == FG_OK && i < plan->n_steps; i++)
        if (plan->steps[i].memory >= 0) {
            fg_memory *memory = &state->memories[plan->steps[i].memory];
            const fg_value named = plan->steps[i].y != FG_NONE ? plan->steps[i].y : plan->steps[i].y_state;
            memory->units = plan->values[named].features;
            memory->initial = plan->steps[i].initial;
            memory->stride = fg_round_up(memory->units, FG_MAX_LANES);
        }
    if (status == FG_OK)
        status = fg_state_grow(state, batch > 0 ? batch : 1);
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
    for (int i = 0; state->memories && i < state->plan->n_memories; i++) {
        free(state->memories[i].h[0]);
        free(state->memories[i].h[1]);
        free(state->memories[i].marks);
    }
    for (int i = 0; i < state->nested_lanes * state->plan->n_nested; i++)
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

int64_t fg_state_bytes(const fg_state *state)
{
    int64_t bytes = (int64_t)sizeof *state + (int64_t)state->arena_bytes + state->rows;
    for (int i = 0; i < state->plan->n_memories; i++)
        bytes += state->rows * (2 * state->memories[i].stride * (int64_t)sizeof(float) + 1);
    for (int i = 0; i < state->nested_lanes * state->plan->n_nested; i++)
        bytes += state->nested[i] ? fg_state_bytes(state->nested[i]) : 0;
    return bytes;
}

static const fg_memory *memory_of(const fg_plan *plan, const fg_state *state, fg_value v, int64_t row)
{
    if (v < 0 || state->plan != plan || row < 0 || row >= state->rows)
        return NULL;
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].memory >= 0 && (plan->steps[i].y == v || plan->steps[i].y_state == v))
            return &state->memories[plan->steps[i].memory];
    return NULL;
}

fg_status fg_state_get(const fg_plan *plan, const fg_state *state, fg_value v, int64_t row, float *h, uint8_t *marks)
{
    const fg_memory *memory = memory_of(plan, state, v, row);
    if (!memory)
        return FG_BAD_CALL;
    const float *from = state->fresh[row] ? memory->initial : memory->h[memory->now] + row * memory->stride;
    if (from)
        memcpy(h, from, (size_t)memory->units * sizeof(float));
    else
        memset(h, 0, (size_t)memory->units * sizeof(float));
    *marks = state->fresh[row] ? 0 : memory->marks[row];
    return FG_OK;
}

fg_status fg_state_set(const fg_plan *plan, fg_state *state, fg_value v, int64_t row, const float *h, uint8_t marks)
{
    const fg_memory *memory = memory_of(plan, state, v, row);
    if (!memory)
        return FG_BAD_CALL;
    memcpy(memory->h[memory->now] + row * memory->stride, h, (size_t)memory->units * sizeof(float));
    memory->marks[row] = marks;
    state->fresh[row] = 0;
    return FG_OK;
}

void fg_state_flip(const fg_state *state, fg_memory *memory, int64_t ran)
{
    const float *from = memory->h[memory->now];
    float *to = memory->h[memory->now ^= 1];
    for (int64_t row = ran; row < state->rows; row++)
        if (!state->fresh[row])
            memcpy(to + row * memory->stride, from + row * memory->stride, (size_t)memory->stride * sizeof(float));
}
