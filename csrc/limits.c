/* Measuring what one core can do, for the bound that a profile is held against. */
#include <stdlib.h>
#include <time.h>

#include "cpu.h"
#include "pack.h"
#include "parallel.h"

enum { TRIALS = 5, TRIAL_NS = 1000000, LEAST_FLOATS = 4096 };

static int64_t time_once(const fg_limit_kernel *kernel, float *memory, int64_t floats, int64_t count)
{
    const int64_t start = fg_now();
    kernel->run(memory, floats, count);
    return fg_now() - start;
}

/* NULL: it takes no time. */
static const fg_limit_kernel *kernel_of(const fg_kernels *kernels, fg_limit limit, fg_dtype dtype)
{
    const fg_limit_kernel *own = kernels->tiles[dtype]->limits;
    const fg_limit_kernel *kernel =
        own && limit >= FG_LIMIT_INPUTS ? &own[limit - FG_LIMIT_INPUTS] : &kernels->common->limits[limit];
    return kernel->run ? kernel : NULL;
}

fg_status fg_limit_ns(const char *isa, fg_limit limit, fg_dtype dtype, int64_t bytes, double *ns)
{
    const fg_kernels *kernels = fg_kernels_find(isa);
    if (!kernels)
        return FG_NO_ISA;
    const int64_t block = FG_LIMIT_BLOCK * (int64_t)sizeof(float);
    if (limit < 0 || limit >= FG_LIMITS || dtype < 0 || dtype >= FG_DTYPES || bytes < 0 || bytes > INT64_MAX - block)
        return FG_BAD_CALL;
    const fg_limit_kernel *kernel = kernel_of(kernels, limit, dtype);
    if (!kernel) {
        *ns = 0.0;
        return FG_OK;
    }
    const int64_t used = (bytes + block - 1) / block * FG_LIMIT_BLOCK;
    const int64_t floats = used > LEAST_FLOATS ? used : LEAST_FLOATS;
    fg_store *store = NULL; /* where weights lie: huge pages */
    float *memory = fg_store_alloc(&store, fg_size(floats, 1, sizeof(float)));
    if (!memory)
        return FG_NO_MEMORY;
    for (int64_t i = 0; i < floats; i++)
        memory[i] = 0.25f;
    int64_t count = 1;
    while (time_once(kernel, memory, used, count) < TRIAL_NS && count < INT64_MAX / 2 / kernel->each)
        count *= 2;
    int64_t least = INT64_MAX;
    for (int i = 0; i < TRIALS; i++) {
        const int64_t spent = time_once(kernel, memory, used, count);
        least = spent < least ? spent : least;
    }
    fg_store_free(store);
    *ns = (double)least / (double)count / (double)kernel->each;
    return FG_OK;
}

static int64_t thread_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

double fg_core_rate(void)
{
    enum { ADDITIONS = 1000000 };
    int64_t sum = 0;
    const int64_t start = thread_now();
    for (int i = 0; i < ADDITIONS; i++) {
        sum++;
        __asm__ volatile("" : "+r"(sum)); /* each by itself */
    }
    return (double)ADDITIONS / (double)(thread_now() - start);
}
