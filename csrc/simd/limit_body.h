/* The limits of a dtype whose rows are prepared: loops as those of limits_body.h, over what its terms define:
 *
 *   limit_sum, limit_value   what is summed up, and what is multiplied; limit_zero, limit_load
 *   limit_add(sum, a, b)     one instruction's sums, or few ones' that always go together
 *   LIMIT_INPUTS(adds), LIMIT_GRU_INPUTS(adds), LIMIT_STATES(adds)
 *                            multiply-adds that so many lanes of limit_add do of inputs, of a GRU's, and of states
 *   LIMIT_WAITS              whether the sums of one output wait for each other */
#ifndef FG_LIMIT_BODY_H
#define FG_LIMIT_BODY_H

#include <string.h>

#include "../kernels.h"
#include "quick_gates.h"
#include "tile.h"

#define LIMIT_SUMS (V_LANES == 16 ? 24 : 12) /* enough to cover the latency, few enough to stay in registers */

#define LIMIT_VECTORS 32 /* of the gates: their six rows lie in L1 */

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

/* As their namesakes of limits_body.h. */
static float limit_gates(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    for (int64_t n = 0; n < count; n++)
        for (int first = 0; first < LIMIT_VECTORS; first += QUICK_SIDE) {
            vec sums[QUICK_SIDE * PANEL], input_n[QUICK_SIDE], h[QUICK_SIDE];
#pragma GCC unroll 4
            for (int i = 0; i < QUICK_SIDE; i++) {
                const float *in = p + (first + i) * 5 * L;
                h[i] = v_load(in);
                input_n[i] = v_load(in + L);
#pragma GCC unroll 3
                for (int k = 0; k < PANEL; k++)
                    sums[i * PANEL + k] = v_load(in + (2 + k) * L);
            }
            quick_states(QUICK_SIDE, sums, input_n, h);
#pragma GCC unroll 4
            for (int i = 0; i < QUICK_SIDE; i++)
                v_store(p + (LIMIT_VECTORS * 5 + first + i) * L, h[i]);
        }
    return p[LIMIT_VECTORS * 5 * L];
}

static float limit_gates_chain(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    vec h = v_load(p);
    const vec n = v_load(p + L), x = v_load(p + 2 * L);
    for (int64_t i = 0; i < count; i++) {
        const vec sums[PANEL] = {h, h, n};
        quick_states(1, sums, &x, &h);
    }
    v_store(p, h);
    return p[0];
}

static const fg_limit_kernel term_limits[] = {
    {limit_many, LIMIT_INPUTS(LIMIT_SUMS *L)}, {limit_many, LIMIT_GRU_INPUTS(LIMIT_SUMS *L)},
    {limit_many, LIMIT_STATES(LIMIT_SUMS *L)}, {limit_chain, LIMIT_STATES(1)},
    {limit_gates, LIMIT_VECTORS *L},           {limit_gates_chain, 1},
};

#endif
