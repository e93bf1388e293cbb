#define _GNU_SOURCE
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- kernel sets ------------------------------------------------------------------------------------------------- */

static bool has_scalar(void)
{
    return true;
}

#if defined(__x86_64__)
/* __builtin_cpu_supports also asks the system (XGETBV) whether it saves the registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}

/* Dot products of bytes in 256 bits are encoded in two ways: of AVX-VNNI, which GCC 12 has no name for, and of AVX-512.
 */
static bool has_avx_vnni(void)
{
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}

static bool has_avx512_vnni(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

static bool has_avx512_bf16(void)
{
    return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16");
}
#endif

// clang-format off
static const struct {
    fg_kernels kernels;
    bool (*available)(void);
} sets[] = {
    /* worst first; of two with one name the CPU has at most one, or either does. Tiles in the order of fg_dtype */
    {{"scalar", 1, 4, &fg_common_scalar,
      {&fg_float32_scalar, &fg_float16_scalar, &fg_bfloat16_scalar, &fg_int8_scalar}}, has_scalar},
#if defined(__x86_64__)
    {{"avx2", 8, 4, &fg_common_avx2,
      {&fg_float32_avx2, &fg_float16_avx2, &fg_bfloat16_avx2, &fg_int8_avx2}}, has_avx2},
    {{"avx2_vnni", 8, 4, &fg_common_avx2,
      {&fg_float32_avx2, &fg_float16_avx2, &fg_bfloat16_avx2, &fg_int8_avx2_vnni_evex}}, has_avx512_vnni},
    {{"avx2_vnni", 8, 4, &fg_common_avx2,
      {&fg_float32_avx2, &fg_float16_avx2, &fg_bfloat16_avx2, &fg_int8_avx2_vnni}}, has_avx_vnni},
    {{"avx512", 16, 8, &fg_common_avx512,
      {&fg_float32_avx512, &fg_float16_avx512, &fg_bfloat16_avx512, &fg_int8_avx512}}, has_avx512},
    {{"avx512_vnni", 16, 8, &fg_common_avx512,
      {&fg_float32_avx512, &fg_float16_avx512, &fg_bfloat16_avx512, &fg_int8_avx512_vnni}}, has_avx512_vnni},
    {{"avx512_bf16", 16, 8, &fg_common_avx512,
      {&fg_float32_avx512, &fg_float16_avx512, &fg_bfloat16_avx512_bf16, &fg_int8_avx512_vnni}}, has_avx512_bf16},
#endif
};
// clang-format on
enum { N_SETS = sizeof sets / sizeof *sets };

const char *fg_isa_name(int i)
{
    return i >= 0 && i < N_SETS ? sets[i].kernels.name : NULL;
}

bool fg_isa_available(const char *name)
{
    return fg_kernels_find(name) != NULL;
}

const fg_kernels *fg_kernels_find(const char *name)
{
    for (int i = N_SETS - 1; i >= 0; i--)
        if ((!name || strcmp(name, sets[i].kernels.name) == 0) && sets[i].available())
            return &sets[i].kernels;
    return NULL;
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

/* CPUs' worth of time that the cgroup allows, rounded up; `most` where there is no limit. Version 2, then version 1. */
static int cgroup_cpus(int most)
{
    long long quota = -1, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file) {
        if (fscanf(file, "%lld %lld", &quota, &period) != 2)
            quota = -1; /* "max" */
        fclose(file);
    } else {
        if ((file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
            if (fscanf(file, "%lld", &quota) != 1)
                quota = -1;
            fclose(file);
        }
        if ((file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r"))) {
            if (fscanf(file, "%lld", &period) != 1)
                period = 0;
            fclose(file);
        }
    }
    if (quota <= 0 || period <= 0)
        return most;
    const long long cpus = (quota + period - 1) / period;
    return cpus < most ? (int)cpus : most;
}

static int count_cpus(void)
{
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cpus = CPU_COUNT(&set);
#endif
    cpus = cgroup_cpus(cpus);
    return cpus < 1 ? 1 : cpus;
}

int fg_cpu_count(void)
{
    static _Atomic int known;
    int cpus = atomic_load_explicit(&known, memory_order_relaxed);
    if (cpus == 0) {
        cpus = count_cpus();
        atomic_store_explicit(&known, cpus, memory_order_relaxed);
    }
    return cpus;
}

int64_t fg_cpu_l2_bytes(void)
{
    static _Atomic long known;
    long bytes = atomic_load_explicit(&known, memory_order_relaxed);
    if (bytes == 0) {
#ifdef _SC_LEVEL2_CACHE_SIZE
        bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        if (bytes <= 0)
            bytes = 1 << 20;
        atomic_store_explicit(&known, bytes, memory_order_relaxed);
    }
    return bytes;
}

/* ---- floating point ---------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
unsigned fg_float_enter(void)
{
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040, ROUNDING = 0x6000, MASKS = 0x1F80 };
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr((before & ~ROUNDING) | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO | MASKS);
    return before;
}

void fg_float_restore(unsigned before)
{
    __builtin_ia32_ldmxcsr(before);
}
#else
unsigned fg_float_enter(void)
{
    return 0;
}

void fg_float_restore(unsigned before)
{
    (void)before;
}
#endif
