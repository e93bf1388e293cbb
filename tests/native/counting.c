/* Counts what a loop under a deadline should not do: allocations, locks, waits and changes of the memory map, by any
 * thread of the process while `fastgru_counting` is set. A library for LD_PRELOAD, glibc only:
 *
 *     gcc -O2 -shared -fPIC -o counting.so counting.c
 *
 * fastgru.bench.counters finds it in the process and reads it. What glibc calls inside itself passes no symbol and so
 * is not seen: the malloc that maps memory counts once, as malloc; page faults and context switches are the kernel's to
 * count (getrusage). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

enum { ALLOCATIONS, FREES, MAPPINGS, LOCKS, WAITS, KINDS };

volatile int fastgru_counting;        /* counts while it is not 0 */
uintptr_t fastgru_watched[2];         /* addresses [first, last) of one library's code */
atomic_long fastgru_counts[2][KINDS]; /* of all callers; of the watched library alone */

static void note(int kind, const void *caller)
{
    const uintptr_t from = (uintptr_t)caller;
    if (!fastgru_counting)
        return;
    atomic_fetch_add(&fastgru_counts[0][kind], 1);
    if (from >= fastgru_watched[0] && from < fastgru_watched[1])
        atomic_fetch_add(&fastgru_counts[1][kind], 1);
}

#define NOTE(kind) note(kind, __builtin_return_address(0))

/* ---- memory: by glibc's other names, since dlsym may allocate ---- */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *__libc_valloc(size_t);
void *__libc_pvalloc(size_t);
void __libc_free(void *);

void *malloc(size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_realloc(memory, bytes);
}

void *reallocarray(void *memory, size_t count, size_t bytes)
{
    size_t size;
    NOTE(ALLOCATIONS);
    if (__builtin_mul_overflow(count, bytes, &size)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    NOTE(ALLOCATIONS);
    if (alignment % sizeof(void *) || (alignment & (alignment - 1)) || !alignment)
        return EINVAL;
    void *made = __libc_memalign(alignment, bytes);
    if (!made)
        return ENOMEM;
    *memory = made;
    return 0;
}

void *valloc(size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_valloc(bytes);
}

void *pvalloc(size_t bytes)
{
    NOTE(ALLOCATIONS);
    return __libc_pvalloc(bytes);
}

void free(void *memory)
{
    NOTE(FREES);
    __libc_free(memory);
}

/* ---- everything else: the next library's function of that name ---- */

/* Defines name(parameters) that counts and calls on. */
#define PASS(kind, result, name, parameters, arguments)                                                                \
    result name parameters                                                                                             \
    {                                                                                                                  \
        static result(*_Atomic next) parameters;                                                                       \
        NOTE(kind);                                                                                                    \
        if (!next)                                                                                                     \
            next = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                                      \
        return next arguments;                                                                                         \
    }

PASS(MAPPINGS, void *, mmap, (void *a, size_t n, int p, int f, int d, off_t o), (a, n, p, f, d, o))
PASS(MAPPINGS, void *, mmap64, (void *a, size_t n, int p, int f, int d, off64_t o), (a, n, p, f, d, o))
PASS(MAPPINGS, int, munmap, (void *a, size_t n), (a, n))
PASS(MAPPINGS, int, mprotect, (void *a, size_t n, int p), (a, n, p))
PASS(MAPPINGS, int, madvise, (void *a, size_t n, int how), (a, n, how))
PASS(MAPPINGS, int, brk, (void *a), (a))
PASS(MAPPINGS, void *, sbrk, (intptr_t by), (by))

void *mremap(void *memory, size_t before, size_t after, int flags, ...)
{
    static void *(*_Atomic next)(void *, size_t, size_t, int, ...);
    va_list rest;
    NOTE(MAPPINGS);
    if (!next)
        next = (void *(*)(void *, size_t, size_t, int, ...))dlsym(RTLD_NEXT, "mremap");
    va_start(rest, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    return next(memory, before, after, flags, to);
}

PASS(LOCKS, int, pthread_mutex_lock, (pthread_mutex_t * m), (m))
PASS(LOCKS, int, pthread_mutex_trylock, (pthread_mutex_t * m), (m))
PASS(LOCKS, int, pthread_mutex_timedlock, (pthread_mutex_t * m, const struct timespec *t), (m, t))
PASS(LOCKS, int, pthread_rwlock_rdlock, (pthread_rwlock_t * l), (l))
PASS(LOCKS, int, pthread_rwlock_wrlock, (pthread_rwlock_t * l), (l))
PASS(LOCKS, int, pthread_spin_lock, (pthread_spinlock_t * l), (l))

PASS(WAITS, int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m))
PASS(WAITS, int, pthread_cond_timedwait, (pthread_cond_t * c, pthread_mutex_t *m, const struct timespec *t), (c, m, t))
PASS(WAITS, int, pthread_cond_signal, (pthread_cond_t * c), (c))
PASS(WAITS, int, pthread_cond_broadcast, (pthread_cond_t * c), (c))
PASS(WAITS, int, pthread_barrier_wait, (pthread_barrier_t * b), (b))
PASS(WAITS, int, pthread_join, (pthread_t t, void **result), (t, result))
PASS(WAITS, int, sem_wait, (sem_t * s), (s))
PASS(WAITS, int, sem_trywait, (sem_t * s), (s))
PASS(WAITS, int, sem_timedwait, (sem_t * s, const struct timespec *t), (s, t))
PASS(WAITS, int, sem_post, (sem_t * s), (s))
PASS(WAITS, int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))
PASS(WAITS, int, clock_nanosleep, (clockid_t c, int f, const struct timespec *t, struct timespec *left),
     (c, f, t, left))
PASS(WAITS, int, usleep, (useconds_t micros), (micros))
PASS(WAITS, int, sched_yield, (void), ())
PASS(WAITS, int, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout))
PASS(WAITS, int, select, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *t), (n, r, w, e, t))

#if __GLIBC_PREREQ(2, 30)
PASS(LOCKS, int, pthread_mutex_clocklock, (pthread_mutex_t * m, clockid_t c, const struct timespec *t), (m, c, t))
PASS(WAITS, int, sem_clockwait, (sem_t * s, clockid_t c, const struct timespec *t), (s, c, t))
PASS(WAITS, int, pthread_cond_clockwait,
     (pthread_cond_t * c, pthread_mutex_t *m, clockid_t k, const struct timespec *t), (c, m, k, t))
#endif

/* How the core waits for its threads (futex); whatever else goes this way is a system call, too. */
long syscall(long number, ...)
{
    static long (*_Atomic next)(long, ...);
    long a[6];
    va_list rest;
    NOTE(WAITS);
    if (!next)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
