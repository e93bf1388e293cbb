#define _GNU_SOURCE
#include "parallel.h"

#include <limits.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "cpu.h"

/* How long to poll before sleeping: longer than it takes to wake a sleeper, which is some 50 µs where a virtual CPU has
 * to be woken too. With less, one late member is enough for a run of mutual sleeping: whoever comes first sleeps while
 * the other wakes up, at every step (measured: 5 ms instead of 0.35 ms for 100 steps of 256 units). Shorter than a time
 * slice, so that a member that lost its CPU to a neighbour gets it back. */
enum { POLL_NANOSECONDS = 500000, POLLS_PER_LOOK = 64 };

static long long nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void sleep_while(_Atomic unsigned *word, unsigned value)
{
#ifdef __linux__
    syscall(SYS_futex, (unsigned *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
    (void)word, (void)value;
    sched_yield();
#endif
}

static void wake_all(_Atomic unsigned *word)
{
#ifdef __linux__
    syscall(SYS_futex, (unsigned *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}

void fg_barrier_wait(fg_barrier *barrier, int members)
{
    if (members == 1)
        return;
    const unsigned round = atomic_load_explicit(&barrier->round, memory_order_acquire);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) == members - 1) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_store(&barrier->round, round + 1); /* sequentially consistent with the sleepers' count below */
        if (atomic_load(&barrier->sleepers) > 0)
            wake_all(&barrier->round);
        return;
    }
    for (long long until = 0;;) {
        for (int i = 0; i < POLLS_PER_LOOK; i++) {
            if (atomic_load_explicit(&barrier->round, memory_order_acquire) != round)
                return;
            relax();
        }
        const long long now = nanoseconds();
        if (until == 0)
            until = now + POLL_NANOSECONDS;
        else if (now > until)
            break;
    }
    atomic_fetch_add(&barrier->sleepers, 1);
    while (atomic_load(&barrier->round) == round)
        sleep_while(&barrier->round, round);
    atomic_fetch_sub(&barrier->sleepers, 1);
}

/* ---- the budget -------------------------------------------------------------------------------------------------- */

static _Atomic int helpers_out; /* threads beyond the callers' own that runs hold now */

int fg_threads_take(int wanted)
{
    const int room = fg_cpu_count() - 1;
    int out = atomic_load_explicit(&helpers_out, memory_order_relaxed);
    for (;;) {
        int extra = wanted - 1 < room - out ? wanted - 1 : room - out;
        if (extra <= 0)
            return 1;
        if (atomic_compare_exchange_weak(&helpers_out, &out, out + extra))
            return extra + 1;
    }
}

void fg_threads_give(int taken)
{
    if (taken > 1)
        atomic_fetch_sub(&helpers_out, taken - 1);
}

/* ---- the region -------------------------------------------------------------------------------------------------- */

static _Atomic bool forked;

static void in_child(void)
{
    atomic_store(&forked, true);
    atomic_store(&helpers_out, 0);
}

static void register_handler(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

void fg_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_handler);
}

void fg_parallel(int threads, void (*work)(void *argument, int rank, int members), void *argument)
{
    if (threads <= 1 || atomic_load_explicit(&forked, memory_order_relaxed)) {
        work(argument, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    work(argument, omp_get_thread_num(), omp_get_num_threads());
}
