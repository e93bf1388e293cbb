/* The limits of a dtype whose rows are prepared: loops as those of limits_body.h, over what its terms define:
 *
 *   limit_sum, limit_value   what is summed up, and what is multiplied; limit_zero, limit_load
 *   limit_add(sum, a, b)     one instruction's sums, or few ones' that always go together
 *   LIMIT_INPUT_TERMS, LIMIT_STATE_TERMS   multiply-adds of a lane that one limit_add does of inputs and of states
 *   LIMIT_WAITS              whether the sums of one output wait for each other */
#ifndef FG_LIMIT_BODY_H
#define FG_LIMIT_BODY_H

#include <string.h>

#include "../kernels.h"
#include "quick_gates.h"
#include "tile.h"

#define LIMIT_SUMS (V_LANES == 16 ? 24 : 12) /* enough to cover the latency, few enough to stay in registers */

#define LIMIT_GATES 32 /* vectors of the gates: their six rows lie in L1 */

/* As if it were another number, so that no product is kept for the next turn. */
#if V_LANES == 1
#define LIMIT_CHANGE(a) __asm__("" : "+r"(a))
#else
#define LIMIT_CHANGE(a) __asm__("" : "+v"(a))
#endif

TILE float limit_dots(const float *p, const int sums, int64_t count)
{
    limit_sum sum[LIMIT_SUMS];
    limit_value a = limit_load(p);
    const limit_value b = limit_load(p + L);
#pragma GCC unroll 24
    for (int i = 0; i < sums; i++)
        sum[i] = limit_zero();
    for (int64_t n = 0; n < count; n++)
#pragma GCC unroll 24
        for (int i = 0; i < sums; i++) {
            LIMIT_CHANGE(a);
            sum[i] = limit_add(sum[i], a, b);
        }
    float result = 0.0f;
    for (int i = 0; i < sums; i++) {
        float lanes[L] __attribute__((aligned(64)));
        memcpy(lanes, &sum[i], sizeof lanes);
        result += lanes[0];
    }
    return result;
}

static float limit_many(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    return limit_dots(p, LIMIT_SUMS, count);
}

#if LIMIT_WAITS
static float limit_chain(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    return limit_dots(p, 1, count);
}
#else
#define limit_chain NULL
#endif

/* Vectors of units, in steps whose last one all sums come from, or each its own. */
TILE float limit_quick_gates(float *p, const bool waits, int64_t count)
{
    const int vectors = waits ? 1 : LIMIT_GATES;
    for (int64_t n = 0; n < count; n++)
        for (int first = 0; first < vectors; first += QUICK_SIDE) {
            vec sums[QUICK_SIDE * PANEL], input_n[QUICK_SIDE], h[QUICK_SIDE];
            const int side = waits ? 1 : QUICK_SIDE;
#pragma GCC unroll 4
            for (int i = 0; i < side; i++) {
                const float *in = p + (first + i) * 5 * L;
                h[i] = v_load(in);
                input_n[i] = v_load(in + L);
#pragma GCC unroll 3
                for (int k = 0; k < PANEL; k++)
                    sums[i * PANEL + k] = waits ? h[i] : v_load(in + (2 + k) * L);
            }
            quick_states(side, sums, input_n, h);
#pragma GCC unroll 4
            for (int i = 0; i < side; i++)
                v_store(p + (waits ? 0 : LIMIT_GATES * 5 + first + i) * L, h[i]);
        }
    return p[0];
}

static float limit_gates(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    return limit_quick_gates(p, false, count);
}

static float limit_gates_chain(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    return limit_quick_gates(p, true, count);
}

static const fg_limit_kernel term_limits[] = {
    {limit_many, LIMIT_SUMS *L *LIMIT_INPUT_TERMS},
    {limit_many, LIMIT_SUMS *L *LIMIT_STATE_TERMS},
    {limit_chain, LIMIT_STATE_TERMS},
    {limit_gates, LIMIT_GATES *L},
    {limit_gates_chain, 1},
};

#endif
