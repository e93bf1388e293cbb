/* What one core of this machine can do at most, measured with the vector names and the gates of the core itself.
 *
 *     limits THREADS → JSON
 *
 * Compiled by limits.py with one ISA's flags and `-include simd/vec_….h`. All threads do the same at the same time,
 * each on memory of its own; the slowest counts; of several trials the best. Times are of one thread. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "simd/activations.h"

#define CHAINS (V_LANES == 16 ? 24 : 12) /* enough to cover the latency, few enough to stay in registers */
#define TRIALS 7
#define UNITS 512 /* of the gates: six rows of them lie in L1 */
#define SMALLEST 4096
#define LARGEST (64 << 20)
#define BLOCK 256 /* floats */

static int threads;
static volatile float sink;

static float total(vec v)
{
    float lanes[V_LANES] __attribute__((aligned(64))), sum = 0;
    v_store(lanes, v);
    for (int i = 0; i < V_LANES; i++)
        sum += lanes[i];
    return sum;
}

static float *floats(size_t count)
{
    float *p = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    if (p == NULL)
        exit(1);
    for (size_t i = 0; i < count; i++)
        p[i] = 0.001f * (float)(i % 1000);
    return p;
}

static void fma_many(float *unused, int64_t count)
{
    (void)unused;
    vec acc[CHAINS];
    const vec a = v_set(sink * 0.0f + 0.5f), b = v_set(sink * 0.0f + 0.25f);
    for (int i = 0; i < CHAINS; i++)
        acc[i] = v_set((float)i);
    for (int64_t n = 0; n < count; n++)
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++)
            acc[i] = v_fma(acc[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        acc[0] = v_add(acc[0], acc[i]);
    sink = total(acc[0]);
}

static void fma_chain(float *unused, int64_t count)
{
    (void)unused;
    vec acc = v_set(1.0f);
    const vec a = v_set(sink * 0.0f + 0.5f), b = v_set(sink * 0.0f + 0.25f);
    for (int64_t n = 0; n < count; n++)
        acc = v_fma(acc, a, b);
    sink = total(acc);
}

/* h' = z h + (1 − z) n with two sigmoids and a tanh: what a GRU does behind its products. */
static inline vec gates(vec z, vec r, vec n, vec x, vec h)
{
    n = v_tanh(v_fma(v_sigmoid(r), n, x));
    z = v_sigmoid(z);
    return v_fma(z, h, v_mul(v_sub(v_set(1.0f), z), n));
}

static void gates_many(float *p, int64_t count)
{
    for (int64_t n = 0; n < count; n++)
        for (int i = 0; i < UNITS; i += V_LANES) {
            const float *in = p + i;
            v_store(p + i + 5 * UNITS, gates(v_load(in), v_load(in + UNITS), v_load(in + 2 * UNITS),
                                             v_load(in + 3 * UNITS), v_load(in + 4 * UNITS)));
        }
    sink = p[5 * UNITS];
}

static void gates_chain(float *p, int64_t count)
{
    vec h = v_load(p);
    const vec n = v_load(p + UNITS), x = v_load(p + 2 * UNITS);
    for (int64_t i = 0; i < count; i++)
        h = gates(h, h, n, x, h);
    sink = total(h);
}

static size_t sweep_floats;

/* Reads the memory again and again, forwards and backwards in turn: what is still in a cache is used first. */
static void sweep(float *p, int64_t count)
{
    vec acc[8];
    const int64_t blocks = (int64_t)(sweep_floats / BLOCK);
    for (int i = 0; i < 8; i++)
        acc[i] = v_zero();
    for (int64_t n = 0; n < count; n++)
        for (int64_t b = 0; b < blocks; b++) {
            const float *block = p + (n % 2 ? blocks - 1 - b : b) * BLOCK;
            for (int k = 0; k < BLOCK; k += 8 * V_LANES)
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++)
                    acc[i] = v_add(acc[i], v_load(block + k + i * V_LANES));
        }
    for (int i = 1; i < 8; i++)
        acc[0] = v_add(acc[0], acc[i]);
    sink = total(acc[0]);
}

/* Nanoseconds of one of `count` iterations of f, in every thread at once. */
static double once(void (*f)(float *, int64_t), float **memory, int64_t count)
{
    double start = 0, end = 0;
#pragma omp parallel num_threads(threads)
    {
        f(memory[omp_get_thread_num()], 1);
#pragma omp barrier
#pragma omp master
        start = omp_get_wtime();
#pragma omp barrier
        f(memory[omp_get_thread_num()], count);
#pragma omp barrier
#pragma omp master
        end = omp_get_wtime();
    }
    return (end - start) * 1e9 / (double)count;
}

static double best(void (*f)(float *, int64_t), float **memory)
{
    int64_t count = 1;
    while (once(f, memory, count) * (double)count < 2e6)
        count *= 2;
    double least = once(f, memory, count);
    for (int i = 1; i < TRIALS; i++) {
        const double ns = once(f, memory, count);
        least = ns < least ? ns : least;
    }
    return least;
}

int main(int argc, char **argv)
{
    threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1)
        return 1;
    float **memory = calloc((size_t)threads, sizeof(float *));
    if (memory == NULL)
        return 1;
#pragma omp parallel num_threads(threads)
    memory[omp_get_thread_num()] = floats(LARGEST / sizeof(float));
    printf("{\"fma_gflops\": %.4f, ", 2.0 * V_LANES * CHAINS / best(fma_many, memory));
    printf("\"fma_latency_ns\": %.4f, ", best(fma_chain, memory));
    printf("\"gates_ns\": %.4f, ", best(gates_many, memory) / UNITS);
    printf("\"gates_latency_ns\": %.4f, \"sweeps\": [", best(gates_chain, memory));
    double size = SMALLEST;
    for (int i = 0; size <= LARGEST; i++, size *= 1.4142135623730951) {
        sweep_floats = (size_t)(size / sizeof(float)) / BLOCK * BLOCK;
        printf("%s[%zu, %.1f]", i ? ", " : "", sweep_floats * sizeof(float), best(sweep, memory));
    }
    puts("]}");
    return 0;
}
