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

/* How long to poll for a share at work before sleeping: longer than the members' shares differ, and than it takes to
 * wake a sleeper. Whoever takes longer has lost its CPU. */
enum { POLL_NANOSECONDS = 50000, POLLS_PER_LOOK = 32, SLEEP_NANOSECONDS = 200000 };

int64_t fg_now(void)
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

/* At most for a while, so that a wake-up lost to a race costs no more than that. */
static void sleep_while(_Atomic unsigned *word, unsigned value)
{
#ifdef __linux__
    const struct timespec longest = {.tv_nsec = SLEEP_NANOSECONDS};
    syscall(SYS_futex, (unsigned *)word, FUTEX_WAIT_PRIVATE, value, &longest, NULL, 0);
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

static bool begin(fg_member *member, unsigned phase)
{
    unsigned before = phase - 1;
    if (atomic_load_explicit(&member->begun, memory_order_relaxed) != before)
        return false;
    return atomic_compare_exchange_strong_explicit(&member->begun, &before, phase, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static void end(fg_member *member, unsigned phase)
{
    atomic_store_explicit(&member->done, phase, memory_order_release);
    if (atomic_load_explicit(&member->sleepers, memory_order_relaxed) > 0)
        wake_all(&member->done);
}

static bool is_done(const fg_member *member, unsigned phase)
{
    return (int)(atomic_load_explicit(&member->done, memory_order_acquire) - phase) >= 0;
}

static void sleep_until_done(fg_member *member, unsigned phase)
{
    atomic_fetch_add(&member->sleepers, 1);
    for (unsigned done; (int)((done = atomic_load(&member->done)) - phase) < 0;)
        sleep_while(&member->done, done);
    atomic_fetch_sub(&member->sleepers, 1);
}

static bool all_done(const fg_team *team, int count, unsigned phase)
{
    for (int i = 0; i < count; i++)
        if (!is_done(&team->members[i], phase))
            return false;
    return true;
}

static void await(fg_member *member, unsigned phase)
{
    for (int64_t until = 0;;) {
        for (int i = 0; i < POLLS_PER_LOOK; i++) {
            if (is_done(member, phase))
                return;
            relax();
        }
        const int64_t now = fg_now();
        if (until == 0)
            until = now + POLL_NANOSECONDS;
        else if (now > until)
            break;
    }
    sleep_until_done(member, phase);
}

static void do_share(fg_member *member, int rank, unsigned phase, void (*share)(void *argument, int member),
                     void *argument)
{
    if (!begin(member, phase))
        return;
    share(argument, rank);
    end(member, phase);
}

void fg_team_phase(fg_team *team, int rank, int count, unsigned phase, void (*share)(void *argument, int member),
                   void *argument)
{
    do_share(&team->members[rank], rank, phase, share, argument);
    for (int i = 0; i < POLLS_PER_LOOK && !all_done(team, count, phase); i++)
        relax(); /* who is but a little late shall have its own share: its cache holds the weights */
    for (int i = 1; i < count; i++)
        do_share(&team->members[(rank + i) % count], (rank + i) % count, phase, share, argument);
    for (int i = 0; i < count; i++) /* its own, too: another may be at work on it */
        await(&team->members[i], phase);
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

/* libgomp's threads poll a thousand times after a region (_openmp.py), which is some 15 µs and more. */
enum { AWAKE_NANOSECONDS = 10000, MOVE_NANOSECONDS = 20000000 };

static _Thread_local int64_t last_end; /* of this thread, which has helpers of its own */

bool fg_threads_awake(void)
{
    return fg_now() - last_end < AWAKE_NANOSECONDS;
}

void fg_threads_note_end(void)
{
    last_end = fg_now();
}

int fg_current_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

void fg_leave_cpu(int cpu)
{
#ifdef __linux__
    /* Volatile and read before anything else, since a thread's first access may allocate: it falls into the thread's
     * first share then, not into the step where it first meets its caller's CPU. */
    static _Thread_local volatile int64_t last_move;
    const int64_t moved = last_move;
    cpu_set_t all, others;
    if (cpu < 0 || sched_getcpu() != cpu || fg_now() - moved < MOVE_NANOSECONDS)
        return;
    last_move = fg_now();
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    others = all;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof all, &all);
#else
    (void)cpu;
#endif
}

/* ---- the region -------------------------------------------------------------------------------------------------- */

static _Atomic unsigned forks; /* from the process that loaded this to here */

static void in_child(void)
{
    atomic_fetch_add(&forks, 1);
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

unsigned fg_fork_count(void)
{
    return atomic_load_explicit(&forks, memory_order_relaxed);
}

void fg_parallel(int threads, void (*work)(void *argument, int rank, int members), void *argument)
{
    if (threads <= 1 || fg_fork_count() > 0) {
        work(argument, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    work(argument, omp_get_thread_num(), omp_get_num_threads());
}
