/* What one core can do at most, over the vector names and the gates that the kernels use: the loops that limits.c and
 * tools/bench/limits.c time. Each repeats the same `count` times, returning a number that depends on all of it. */
#ifndef FG_LIMITS_BODY_H
#define FG_LIMITS_BODY_H

#include "../kernels.h"
#include "activations.h"

#define LIMIT_CHAINS (V_LANES == 16 ? 24 : 12) /* enough to cover the latency, few enough to stay in registers */
#define LIMIT_UNITS 512                        /* of the gates: six rows of them lie in L1 */

static float limit_total(vec v)
{
    float lanes[V_LANES] __attribute__((aligned(64))), sum = 0;
    v_store(lanes, v);
    for (int i = 0; i < V_LANES; i++)
        sum += lanes[i];
    return sum;
}

static float limit_fma(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    vec acc[LIMIT_CHAINS];
    const vec a = v_set(p[0]), b = v_set(p[1]);
    for (int i = 0; i < LIMIT_CHAINS; i++)
        acc[i] = v_set((float)i);
    for (int64_t n = 0; n < count; n++)
#pragma GCC unroll 24
        for (int i = 0; i < LIMIT_CHAINS; i++)
            acc[i] = v_fma(acc[i], a, b);
    for (int i = 1; i < LIMIT_CHAINS; i++)
        acc[0] = v_add(acc[0], acc[i]);
    return limit_total(acc[0]);
}

static float limit_fma_chain(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    vec acc = v_set(1.0f);
    const vec a = v_set(p[0]), b = v_set(p[1]);
    for (int64_t n = 0; n < count; n++)
        acc = v_fma(acc, a, b);
    return limit_total(acc);
}

/* h' = z h + (1 − z) n with two sigmoids and a tanh: what a GRU does behind its products. */
static inline vec limit_gate(vec z, vec r, vec n, vec x, vec h)
{
    n = v_tanh(v_fma(v_sigmoid(r), n, x));
    z = v_sigmoid(z);
    return v_fma(z, h, v_mul(v_sub(v_set(1.0f), z), n));
}

static float limit_gates(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    for (int64_t n = 0; n < count; n++)
        for (int i = 0; i < LIMIT_UNITS; i += V_LANES) {
            const float *in = p + i;
            v_store(p + i + 5 * LIMIT_UNITS,
                    limit_gate(v_load(in), v_load(in + LIMIT_UNITS), v_load(in + 2 * LIMIT_UNITS),
                               v_load(in + 3 * LIMIT_UNITS), v_load(in + 4 * LIMIT_UNITS)));
        }
    return p[5 * LIMIT_UNITS];
}

static float limit_gates_chain(float *p, int64_t floats, int64_t count)
{
    (void)floats;
    vec h = v_load(p);
    const vec n = v_load(p + LIMIT_UNITS), x = v_load(p + 2 * LIMIT_UNITS);
    for (int64_t i = 0; i < count; i++)
        h = limit_gate(h, h, n, x, h);
    return limit_total(h);
}

/* Reads the memory again and again, forwards and backwards in turn: what is still in a cache is used first. */
static float limit_sweep(float *p, int64_t floats, int64_t count)
{
    vec acc[8];
    const int64_t blocks = floats / FG_LIMIT_BLOCK;
    for (int i = 0; i < 8; i++)
        acc[i] = v_zero();
    for (int64_t n = 0; n < count; n++)
        for (int64_t b = 0; b < blocks; b++) {
            const float *block = p + (n % 2 ? blocks - 1 - b : b) * FG_LIMIT_BLOCK;
            for (int k = 0; k < FG_LIMIT_BLOCK; k += 8 * V_LANES)
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++)
                    acc[i] = v_add(acc[i], v_load(block + k + i * V_LANES));
        }
    for (int i = 1; i < 8; i++)
        acc[0] = v_add(acc[0], acc[i]);
    return limit_total(acc[0]);
}

static const fg_limit_kernel limit_kernels[] = {
    [FG_LIMIT_FMA] = {limit_fma, V_LANES *LIMIT_CHAINS},
    [FG_LIMIT_FMA_CHAIN] = {limit_fma_chain, 1},
    [FG_LIMIT_SWEEP] = {limit_sweep, 1},
    [FG_LIMIT_INPUTS] = {limit_fma, V_LANES *LIMIT_CHAINS},
    [FG_LIMIT_GRU_INPUTS] = {limit_fma, V_LANES *LIMIT_CHAINS},
    [FG_LIMIT_STATES] = {limit_fma, V_LANES *LIMIT_CHAINS},
    [FG_LIMIT_STATES_CHAIN] = {limit_fma_chain, 1},
    [FG_LIMIT_GATES] = {limit_gates, LIMIT_UNITS},
    [FG_LIMIT_GATES_CHAIN] = {limit_gates_chain, 1},
};

#endif
