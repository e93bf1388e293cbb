/* What one core of this machine can do at most, measured with the vector names and the gates of the core itself.
 *
 *     limits THREADS → JSON
 *
 * Compiled by limits.py with one ISA's flags and `-include simd/vec_….h`. All threads do the same at the same time,
 * each on memory of its own; the slowest counts; of several trials the best. Times are of one thread. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "simd/limits_body.h"

#define TRIALS 7
#define SMALLEST 4096
#define LARGEST (64 << 20)

static int threads;
static volatile float sink;

static float *floats(size_t count)
{
    float *p = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    if (p == NULL)
        exit(1);
    for (size_t i = 0; i < count; i++)
        p[i] = 0.001f * (float)(i % 1000);
    return p;
}

/* Nanoseconds of one of `count` iterations of a limit's loop, in every thread at once. */
static double once(fg_limit limit, float **memory, int64_t size, int64_t count)
{
    double start = 0, end = 0;
#pragma omp parallel num_threads(threads)
    {
        sink = limit_kernels[limit].run(memory[omp_get_thread_num()], size, 1);
#pragma omp barrier
#pragma omp master
        start = omp_get_wtime();
#pragma omp barrier
        sink = limit_kernels[limit].run(memory[omp_get_thread_num()], size, count);
#pragma omp barrier
#pragma omp master
        end = omp_get_wtime();
    }
    return (end - start) * 1e9 / (double)count;
}

/* Of one operation, the best of several trials. */
static double best(fg_limit limit, float **memory, int64_t size)
{
    int64_t count = 1;
    while (once(limit, memory, size, count) * (double)count < 2e6)
        count *= 2;
    double least = once(limit, memory, size, count);
    for (int i = 1; i < TRIALS; i++) {
        const double ns = once(limit, memory, size, count);
        least = ns < least ? ns : least;
    }
    return least / (double)limit_kernels[limit].each;
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
    printf("{\"fma_gflops\": %.4f, ", 2.0 / best(FG_LIMIT_FMA, memory, 0));
    printf("\"fma_latency_ns\": %.4f, ", best(FG_LIMIT_FMA_CHAIN, memory, 0));
    printf("\"gates_ns\": %.4f, ", best(FG_LIMIT_GATES, memory, 0));
    printf("\"gates_latency_ns\": %.4f, \"sweeps\": [", best(FG_LIMIT_GATES_CHAIN, memory, 0));
    double size = SMALLEST;
    for (int i = 0; size <= LARGEST; i++, size *= 1.4142135623730951) {
        const int64_t read = (int64_t)(size / sizeof(float)) / FG_LIMIT_BLOCK * FG_LIMIT_BLOCK;
        printf("%s[%zu, %.1f]", i ? ", " : "", (size_t)read * sizeof(float), best(FG_LIMIT_SWEEP, memory, read));
    }
    puts("]}");
    return 0;
}
