/* Threads: one parallel region per run, phases inside it, and one budget of CPUs for all runs of the process. */
#ifndef FASTGRU_PARALLEL_H
#define FASTGRU_PARALLEL_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Most members of a team. */
#define FG_MAX_TEAM 32

/* How many phases a member's share has been begun in, and done. The others poll `done` and leave the line of `begun`
 * alone while nobody is late. */
typedef struct fg_member {
    alignas(64) _Atomic unsigned begun;
    alignas(64) _Atomic unsigned done;
    _Atomic int sleepers;
} fg_member;

/* Threads that go through the same phases one after the other. Starts as all zeros. */
typedef struct fg_team {
    fg_member members[FG_MAX_TEAM];
} fg_team;

/* Phase number `phase` (1, 2, …) as thread `rank` of `count` goes through it: calls share(argument, member) for its own
 * share, and for that of a member that has not begun: its thread is still waking up, or has lost its CPU. Returns when
 * all shares are done, so that nobody waits but for a share at work: polling for a while, then asleep. */
void fg_team_phase(fg_team *team, int rank, int count, unsigned phase, void (*share)(void *argument, int member),
                   void *argument);

/* How many threads a run that wants `wanted` may use now (at least 1); give them back with the same number. */
int fg_threads_take(int wanted);
void fg_threads_give(int taken);

/* A clock that only goes forwards, in nanoseconds. */
int64_t fg_now(void);

/* Whether this thread's helpers are probably still awake: they poll for some time after a run, and the last run of more
 * than one thread, or that might have been one, ended but a few microseconds ago. */
bool fg_threads_awake(void);
/* Notes that such a run ends now. */
void fg_threads_note_end(void);

/* Called by a helper that shall run beside the CPU `cpu`: moves to another one if it is there. Where a caller wakes it
 * up to be of help for less time than a wake-up takes, the scheduler leaves it on the caller's CPU for ever. */
void fg_leave_cpu(int cpu);
/* The CPU that this thread runs on, or -1. */
int fg_current_cpu(void);

/* From here on a forked child of this process runs on one thread. */
void fg_watch_forks(void);
/* How often a fork has led to this process since then: what belongs to another number belongs to another process. */
unsigned fg_fork_count(void);

/* Calls work(argument, rank, members) from `threads` threads at once, the caller being rank 0. The runtime may grant
 * fewer: `members` is what it granted. In a forked child it is 1, since libgomp's threads do not survive a fork. */
void fg_parallel(int threads, void (*work)(void *argument, int rank, int members), void *argument);

#endif
