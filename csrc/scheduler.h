/* Cellular batching: one thread that runs whatever steps are ready, of whichever rows of a State, as one batch.
 *
 * Producers on any thread submit chunks, which are some steps of one row. The worker walks in *quanta*: it takes rows
 * that have steps ready, runs the next few of each as one call of fg_run, and chooses again, so that rows join and
 * leave between any two quanta. It knows no Python. Chunks belong to whoever submits them; the scheduler only links
 * them, and allocates nothing while it runs. Every function may be called from any thread. In a forked child, which has
 * no worker, all give FG_FORKED.
 */
#ifndef FASTGRU_SCHEDULER_H
#define FASTGRU_SCHEDULER_H

#include <stdatomic.h>

#include "fastgru.h"

typedef struct fg_scheduler fg_scheduler;

typedef enum fg_answer {
    FG_ACCEPTED,
    FG_NO_ROW,     /* the handle was never given; of fg_scheduler_open: no place is free */
    FG_ROW_CLOSED, /* the row that it meant is closed */
    FG_FULL,       /* as many chunks as there may be wait to be taken */
    FG_TIME_OVER,  /* what was waited for has not happened yet */
    FG_ENDED,      /* the scheduler is closed; of fg_scheduler_take: and nothing is left */
    FG_FORKED      /* it belongs to the process that made it */
} fg_answer;

/* Who gets a finished chunk: fg_scheduler_take of the one line or of the other. */
typedef enum fg_line_name { FG_POLLED, FG_DELIVERED, FG_LINES } fg_line_name;

typedef struct fg_chunk fg_chunk;
struct fg_chunk {
    /* set by the owner, who leaves them alone until the chunk is finished */
    int64_t row; /* a handle */
    int64_t steps;
    const char *const *inputs; /* of each sequence input: (steps, features), contiguous */
    char *const *outputs;      /* of each wanted output: (steps, features), or (features) where it is no sequence */
    void *owner;
    fg_line_name line;
    /* read by the owner once it is finished */
    _Atomic bool finished;
    bool dropped;     /* it was not run, or not to its end: the scheduler was closed before */
    bool taken;       /* by fg_scheduler_take, whose caller may not have come to it yet; read after a claim */
    fg_status status; /* of the run that it failed in, or one before of its row */
    /* the scheduler's */
    bool holds, afresh, in_line;
    int claims; /* threads in fg_scheduler_wait */
    int64_t done;
    fg_chunk *next, *before;
    struct fg_waiter *waiters;
};

static inline bool fg_chunk_finished(const fg_chunk *chunk)
{
    return atomic_load_explicit(&chunk->finished, memory_order_acquire);
}

typedef struct fg_scheduler_facts {
    int64_t rows;                          /* open, or closed with chunks yet to run */
    int64_t queued;                        /* chunks that are not finished */
    int64_t untaken;                       /* submitted ones that nobody has taken */
    int64_t quanta, row_quanta, row_steps; /* so far: quanta; the rows in them; the steps of these */
} fg_scheduler_facts;

/* Starts a worker on the first `max_rows` rows of a State, which nobody else may run from here on. `queue`: most chunks
 * that are submitted and not taken. `wanted`: of each output, whether chunks want it. All values of the network have
 * the steps of its sequence inputs, or none. FG_NO_MEMORY, also where no thread can be started; what fg_run gives. */
fg_status fg_scheduler_new(const fg_plan *plan, fg_state *state, int64_t max_rows, int64_t queue, int threads,
                           const int *wanted, fg_scheduler **scheduler);
/* Once it has ended. In a forked child nothing is freed. NULL is fine. */
void fg_scheduler_free(fg_scheduler *s);

/* A row at the network's initial state. `statics`: of each input that is no sequence its numbers, which are copied.
 * FG_NO_ROW: all rows are open or have chunks to run. */
fg_answer fg_scheduler_open(fg_scheduler *s, const void *const *statics, int64_t *row);
/* Makes the handle invalid; chunks that the row has still run, then its place is free. */
fg_answer fg_scheduler_close_row(fg_scheduler *s, int64_t row);
/* The next chunk of the row starts afresh. */
fg_answer fg_scheduler_reset(fg_scheduler *s, int64_t row);

/* Puts a chunk behind those of its row. Where there is no room it waits up to `ns`; with `always` there is room. */
fg_answer fg_scheduler_submit(fg_scheduler *s, fg_chunk *chunk, bool always, int64_t ns);
/* Waits up to `ns` for a chunk to finish. A chunk that meanwhile has claims > 0 goes into no line of FG_POLLED, and one
 * that lies there is taken out. */
fg_answer fg_scheduler_wait(fg_scheduler *s, fg_chunk *chunk, int64_t ns);
/* Adds to a chunk's claims. */
fg_answer fg_scheduler_claim(fg_scheduler *s, fg_chunk *chunk, int count);
/* Lets a chunk that is not finished come out of FG_DELIVERED; FG_TIME_OVER where it is too late for that, and then it
 * lies in FG_POLLED no more. */
fg_answer fg_scheduler_deliver(fg_scheduler *s, fg_chunk *chunk);
/* Takes up to `most` finished chunks out of a line, the oldest first; where there are none it waits up to `ns`. */
fg_answer fg_scheduler_take(fg_scheduler *s, fg_line_name line, fg_chunk **chunks, int64_t most, int64_t ns,
                            int64_t *count);

/* Submits a chunk without steps that counts for no queue and goes into no line. When it is finished, its row stands
 * behind all chunks before it, at its initial state if there was no step, and stays so until fg_scheduler_release: the
 * State's row `place` may be read and written by the caller. */
fg_answer fg_scheduler_hold(fg_scheduler *s, fg_chunk *chunk);
/* Ends a hold, whether or not it has come to its turn. */
fg_answer fg_scheduler_release(fg_scheduler *s, fg_chunk *chunk);
/* Gives row `to`, which is held, what row `from`, which is held, was opened with. */
void fg_scheduler_copy_statics(fg_scheduler *s, int64_t from, int64_t to);

/* Takes no more. With `drain` all chunks run to their end, else they are dropped after the quantum at work. Waits up to
 * `ns` for the worker to end. */
fg_answer fg_scheduler_close(fg_scheduler *s, bool drain, int64_t ns);
fg_answer fg_scheduler_look(fg_scheduler *s, fg_scheduler_facts *facts);

#endif
