/* Threads: one parallel region per run, a barrier inside it, and one budget of CPUs for all runs of the process. */
#ifndef FASTGRU_PARALLEL_H
#define FASTGRU_PARALLEL_H

#include <stdatomic.h>

/* Where the members of a team wait for the last of them. Starts as all zeros. */
typedef struct fg_barrier {
    _Atomic int arrived;
    _Atomic unsigned round;
    _Atomic int sleepers;
} fg_barrier;

/* Polls for half a millisecond, then sleeps. */
void fg_barrier_wait(fg_barrier *barrier, int members);

/* How many threads a run that wants `wanted` may use now (at least 1); give them back with the same number. */
int fg_threads_take(int wanted);
void fg_threads_give(int taken);

/* From here on a forked child of this process runs on one thread. */
void fg_watch_forks(void);

/* Calls work(argument, rank, members) from `threads` threads at once, the caller being rank 0. The runtime may grant
 * fewer: `members` is what it granted. In a forked child it is 1, since libgomp's threads do not survive a fork. */
void fg_parallel(int threads, void (*work)(void *argument, int rank, int members), void *argument);

#endif
