/* The scheduler: the queues of rows and lines of finished chunks. What a quantum computes is quantum.c's. */
#define _GNU_SOURCE
#include "scheduler.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quantum.h"

/* Where a row is. */
typedef enum where { IDLE, READY, RUNNING, HELD } where;

typedef struct row {
    fg_chunk *first, *last; /* its chunks, in order */
    struct row *next;       /* of those in the same list */
    int64_t generation;
    where where;
    bool open, afresh; /* the next chunk submitted starts afresh */
} row;

/* Rows, first in first out. */
typedef struct list {
    row *first, *last;
} list;

/* Finished chunks, first in first out. */
typedef struct line {
    fg_chunk *first, *last;
    pthread_cond_t filled;
    int waiting;
} line;

/* On the stack of a thread in fg_scheduler_wait. */
typedef struct fg_waiter {
    pthread_cond_t finished;
    struct fg_waiter *next;
} fg_waiter;

/* Which rows a quantum takes. A row is *young* while its chunk has had few steps, else *old*, and the two take turns:
 * every second quantum is of either as long as there are such rows, and among its like a row goes to the end of the
 * list whenever it has run. So with n young and m old rows and `most` rows in a quantum, a young row runs within 2·⌈n /
 * most⌉ quanta, an old one within 2·⌈m / most⌉: nobody starves, a short chunk waits for no long one but for the quantum
 * at work, and long chunks have half of all quanta however many short ones come. */
enum { YOUNG, OLD, AGES };

struct fg_scheduler {
    fg_quantum quantum;
    int64_t max_rows, queue;
    unsigned forks; /* of the process that it belongs to */
    row *rows;
    row **taken;               /* the rows of the quantum at work */
    pthread_mutex_t lock;      /* of all that follows; the worker lets go of it while a quantum runs */
    pthread_cond_t work, room; /* the worker waits for the one; submitters, and closers, for the other */
    bool asleep, closing, dropping, ended;
    int waiting_for_room;
    list ready[AGES];
    int turn;
    int64_t *free_places, n_free;
    line lines[FG_LINES];
    fg_scheduler_facts facts;
    pthread_t worker;
};

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static bool make_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
#ifndef __APPLE__ /* which knows no other clock than that of the day */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    const bool made = pthread_cond_init(condition, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return made;
}

/* The time in `ns` from now, as a condition counts it. */
static struct timespec time_in(int64_t ns)
{
    struct timespec now;
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    ns += now.tv_nsec;
    return (struct timespec){.tv_sec = now.tv_sec + ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* False where the time is over. */
static bool wait_for(fg_scheduler *s, pthread_cond_t *condition, const struct timespec *until)
{
    return pthread_cond_timedwait(condition, &s->lock, until) == 0;
}

/* Takes the lock, unless the answer is another one. */
static fg_answer enter(fg_scheduler *s)
{
    if (s->forks != fg_fork_count())
        return FG_FORKED;
    pthread_mutex_lock(&s->lock);
    return FG_ACCEPTED;
}

static fg_answer leave(fg_scheduler *s, fg_answer answer)
{
    pthread_mutex_unlock(&s->lock);
    return answer;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static int64_t place_of(int64_t handle)
{
    return handle & 0xffffffff;
}

/* Finds the open row that a handle means. */
static fg_answer find_row(fg_scheduler *s, int64_t handle, row **found)
{
    *found = NULL;
    if (handle < 0 || place_of(handle) >= s->max_rows)
        return FG_NO_ROW;
    row *r = &s->rows[place_of(handle)];
    if (handle >> 32 < r->generation)
        return FG_ROW_CLOSED;
    if (handle >> 32 > r->generation || !r->open)
        return FG_NO_ROW;
    *found = r;
    return FG_ACCEPTED;
}

static void append_row(list *l, row *r)
{
    r->next = NULL;
    if (l->first)
        l->last->next = r;
    else
        l->first = r;
    l->last = r;
}

static row *first_row(list *l)
{
    row *r = l->first;
    l->first = r->next;
    return r;
}

/* Puts a row where it belongs now that it neither runs nor is held. */
static void place_row(fg_scheduler *s, row *r)
{
    if (r->first) {
        r->where = READY;
        append_row(&s->ready[fg_quantum_is_long(&s->quantum, r->first->done) ? OLD : YOUNG], r);
        if (s->asleep)
            pthread_cond_signal(&s->work);
        return;
    }
    r->where = IDLE;
    if (r->open)
        return;
    s->facts.rows--;
    if (r->generation < INT32_MAX) /* no handle is given twice */
        s->free_places[s->n_free++] = r - s->rows;
}

static void append_chunk(fg_scheduler *s, row *r, fg_chunk *chunk)
{
    chunk->afresh = r->afresh;
    chunk->done = 0;
    chunk->status = FG_OK;
    chunk->dropped = chunk->taken = chunk->in_line = false;
    chunk->claims = 0;
    chunk->next = NULL;
    chunk->waiters = NULL;
    atomic_store_explicit(&chunk->finished, false, memory_order_relaxed);
    r->afresh = false;
    if (r->first)
        r->last->next = chunk;
    else
        r->first = chunk;
    r->last = chunk;
    s->facts.queued++;
    if (r->where == IDLE)
        place_row(s, r);
}

fg_answer fg_scheduler_open(fg_scheduler *s, const void *const *statics, int64_t *handle)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    if (s->closing)
        return leave(s, FG_ENDED);
    if (s->n_free == 0)
        return leave(s, FG_NO_ROW);
    const int64_t place = s->free_places[--s->n_free];
    row *r = &s->rows[place];
    r->open = r->afresh = true;
    s->facts.rows++;
    fg_quantum_set_statics(&s->quantum, place, statics);
    *handle = r->generation << 32 | place;
    return leave(s, FG_ACCEPTED);
}

fg_answer fg_scheduler_close_row(fg_scheduler *s, int64_t handle)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    row *r;
    const fg_answer answer = find_row(s, handle, &r);
    if (answer != FG_ACCEPTED)
        return leave(s, answer);
    r->open = false;
    r->generation++;
    if (r->where == IDLE)
        place_row(s, r);
    return leave(s, FG_ACCEPTED);
}

fg_answer fg_scheduler_reset(fg_scheduler *s, int64_t handle)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    row *r;
    const fg_answer answer = find_row(s, handle, &r);
    if (answer == FG_ACCEPTED)
        r->afresh = true;
    return leave(s, answer);
}

void fg_scheduler_copy_statics(fg_scheduler *s, int64_t from, int64_t to)
{
    fg_quantum_copy_statics(&s->quantum, place_of(from), place_of(to));
}

/* ---- finished chunks --------------------------------------------------------------------------------------------- */

static void give_room(fg_scheduler *s, int64_t chunks)
{
    s->facts.untaken -= chunks;
    if (s->waiting_for_room)
        pthread_cond_broadcast(&s->room);
}

static void append_to_line(line *l, fg_chunk *chunk)
{
    chunk->in_line = true;
    chunk->next = NULL;
    chunk->before = l->first ? l->last : NULL;
    if (l->first)
        l->last->next = chunk;
    else
        l->first = chunk;
    l->last = chunk;
    if (l->waiting)
        pthread_cond_signal(&l->filled);
}

static void remove_from_line(line *l, fg_chunk *chunk)
{
    chunk->in_line = false;
    if (chunk->before)
        chunk->before->next = chunk->next;
    else
        l->first = chunk->next;
    if (chunk->next)
        chunk->next->before = chunk->before;
    else
        l->last = chunk->before;
}

/* Takes a chunk out of FG_POLLED, if it lies there. */
static void take_from_poll(fg_scheduler *s, fg_chunk *chunk)
{
    if (!chunk->in_line || chunk->line != FG_POLLED)
        return;
    remove_from_line(&s->lines[FG_POLLED], chunk);
    give_room(s, 1);
}

/* Ends the first chunk of a row. */
static void finish_chunk(fg_scheduler *s, row *r, fg_status status, bool dropped)
{
    fg_chunk *chunk = r->first;
    r->first = chunk->next;
    s->facts.queued--;
    chunk->status = status;
    chunk->dropped = dropped;
    atomic_store_explicit(&chunk->finished, true, memory_order_release);
    for (fg_waiter *waiter = chunk->waiters; waiter; waiter = waiter->next)
        pthread_cond_signal(&waiter->finished);
    if (chunk->holds)
        return;
    if (chunk->line == FG_POLLED && chunk->claims)
        give_room(s, 1);
    else
        append_to_line(&s->lines[chunk->line], chunk);
}

fg_answer fg_scheduler_wait(fg_scheduler *s, fg_chunk *chunk, int64_t ns)
{
    const struct timespec until = time_in(ns);
    fg_waiter self;
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    if (fg_chunk_finished(chunk))
        return leave(s, FG_ACCEPTED);
    if (!make_condition(&self.finished))
        return leave(s, FG_TIME_OVER);
    self.next = chunk->waiters;
    chunk->waiters = &self;
    for (bool in_time = true; in_time && !fg_chunk_finished(chunk);)
        in_time = wait_for(s, &self.finished, &until);
    fg_waiter **link = &chunk->waiters;
    while (*link != &self)
        link = &(*link)->next;
    *link = self.next;
    const fg_answer answer = fg_chunk_finished(chunk) ? FG_ACCEPTED : FG_TIME_OVER;
    leave(s, answer);
    pthread_cond_destroy(&self.finished); /* whoever signals it holds the lock */
    return answer;
}

fg_answer fg_scheduler_claim(fg_scheduler *s, fg_chunk *chunk, int count)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    chunk->claims += count;
    take_from_poll(s, chunk);
    return leave(s, FG_ACCEPTED);
}

fg_answer fg_scheduler_deliver(fg_scheduler *s, fg_chunk *chunk)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    if (!fg_chunk_finished(chunk)) {
        chunk->line = FG_DELIVERED;
        return leave(s, FG_ACCEPTED);
    }
    take_from_poll(s, chunk);
    return leave(s, FG_TIME_OVER);
}

fg_answer fg_scheduler_take(fg_scheduler *s, fg_line_name name, fg_chunk **chunks, int64_t most, int64_t ns,
                            int64_t *count)
{
    const struct timespec until = time_in(ns);
    line *l = &s->lines[name];
    *count = 0;
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    l->waiting++;
    for (bool in_time = ns > 0; in_time && !l->first && !s->ended;)
        in_time = wait_for(s, &l->filled, &until);
    l->waiting--;
    for (fg_chunk *chunk; *count < most && (chunk = l->first); chunks[(*count)++] = chunk) {
        remove_from_line(l, chunk);
        chunk->taken = true;
    }
    if (*count)
        give_room(s, *count);
    return leave(s, *count ? FG_ACCEPTED : s->ended ? FG_ENDED : FG_TIME_OVER);
}

/* ---- submitting -------------------------------------------------------------------------------------------------- */

/* Whether a chunk may join its row, but for room. */
static fg_answer admit(fg_scheduler *s, const fg_chunk *chunk, row **r)
{
    return s->closing ? FG_ENDED : find_row(s, chunk->row, r);
}

fg_answer fg_scheduler_submit(fg_scheduler *s, fg_chunk *chunk, bool always, int64_t ns)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    row *r;
    if (!always && s->facts.untaken >= s->queue && ns > 0 && admit(s, chunk, &r) == FG_ACCEPTED) {
        const struct timespec until = time_in(ns);
        s->waiting_for_room++;
        for (bool in_time = true; in_time && s->facts.untaken >= s->queue && !s->closing;)
            in_time = wait_for(s, &s->room, &until);
        s->waiting_for_room--;
    }
    const fg_answer answer = admit(s, chunk, &r);
    if (answer != FG_ACCEPTED)
        return leave(s, answer);
    if (!always && s->facts.untaken >= s->queue)
        return leave(s, FG_FULL);
    chunk->holds = false;
    s->facts.untaken++;
    append_chunk(s, r, chunk);
    return leave(s, FG_ACCEPTED);
}

fg_answer fg_scheduler_hold(fg_scheduler *s, fg_chunk *chunk)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    row *r;
    const fg_answer answer = admit(s, chunk, &r);
    if (answer != FG_ACCEPTED)
        return leave(s, answer);
    chunk->holds = true;
    chunk->steps = 0;
    append_chunk(s, r, chunk);
    return leave(s, FG_ACCEPTED);
}

fg_answer fg_scheduler_release(fg_scheduler *s, fg_chunk *chunk)
{
    row *r = &s->rows[place_of(chunk->row)];
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    while (!fg_chunk_finished(chunk) && r->first == chunk && r->where == RUNNING) { /* one quantum at most */
        leave(s, FG_ACCEPTED);
        fg_scheduler_wait(s, chunk, INT64_C(1000000000));
        enter(s);
    }
    if (!fg_chunk_finished(chunk)) { /* its place in a list may be left without a chunk: choose_rows knows */
        fg_chunk **link = &r->first, *before = NULL;
        for (; *link != chunk; link = &(*link)->next)
            before = *link;
        *link = chunk->next;
        r->last = chunk->next ? r->last : before;
        *(chunk->next ? &chunk->next->afresh : &r->afresh) |= chunk->afresh;
        s->facts.queued--;
        if (s->closing) /* it may have been the last one that the worker waited for */
            pthread_cond_signal(&s->work);
    } else if (!chunk->dropped && chunk->status == FG_OK && r->where == HELD) {
        place_row(s, r);
    }
    return leave(s, FG_ACCEPTED);
}

/* ---- the worker -------------------------------------------------------------------------------------------------- */

/* Takes the rows of the next quantum, of one age, off their list; the number of them. */
static int64_t choose_rows(fg_scheduler *s)
{
    int64_t count = 0;
    s->turn = !s->turn;
    for (int i = 0; i < AGES && count == 0; i++) {
        list *l = &s->ready[i ? !s->turn : s->turn];
        while (count < s->quantum.most_rows && l->first) {
            fg_chunk *chunk = l->first->first;
            if (chunk && chunk->holds && count > 0)
                break; /* that is a quantum by itself */
            row *r = first_row(l);
            if (!chunk) {
                place_row(s, r);
                continue;
            }
            r->where = RUNNING;
            s->taken[count++] = r;
            if (chunk->holds)
                break;
        }
    }
    return count;
}

/* Runs a quantum, for which it lets go of the lock. */
static void run_quantum(fg_scheduler *s, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        fg_quantum_add(&s->quantum, i, s->taken[i] - s->rows, s->taken[i]->first);
    fg_quantum_begin(&s->quantum, count);
    pthread_mutex_unlock(&s->lock);
    const fg_status status = fg_quantum_run(&s->quantum, count);
    pthread_mutex_lock(&s->lock);
    fg_quantum_end(&s->quantum, count);
    const int64_t steps = status == FG_OK ? s->quantum.steps : 0;
    s->facts.quanta++;
    s->facts.row_quanta += count;
    s->facts.row_steps += count * steps;
    for (int64_t i = 0; i < count; i++) {
        row *r = s->taken[i];
        const bool holds = r->first->holds;
        r->first->done += steps;
        if (status == FG_OK && r->first->done == r->first->steps)
            finish_chunk(s, r, FG_OK, false);
        while (status != FG_OK && r->first) /* what follows was to go on from there */
            finish_chunk(s, r, status, false);
        if (holds && status == FG_OK)
            r->where = HELD;
        else
            place_row(s, r);
    }
}

static void drop_all(fg_scheduler *s)
{
    for (int age = 0; age < AGES; age++)
        while (s->ready[age].first)
            first_row(&s->ready[age]);
    for (int64_t i = 0; i < s->max_rows; i++) {
        row *r = &s->rows[i];
        while (r->first)
            finish_chunk(s, r, FG_OK, true);
        if (r->where == READY)
            place_row(s, r);
    }
}

static void *work(void *argument)
{
    fg_scheduler *s = argument;
    pthread_mutex_lock(&s->lock);
    while (!s->closing || s->facts.queued > 0) {
        if (s->dropping) {
            drop_all(s);
            continue;
        }
        const int64_t count = choose_rows(s);
        if (count) {
            run_quantum(s, count);
            continue;
        }
        s->asleep = true;
        pthread_cond_wait(&s->work, &s->lock);
        s->asleep = false;
    }
    s->ended = true;
    pthread_cond_broadcast(&s->room);
    for (int i = 0; i < FG_LINES; i++)
        pthread_cond_broadcast(&s->lines[i].filled);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

fg_answer fg_scheduler_close(fg_scheduler *s, bool drain, int64_t ns)
{
    const struct timespec until = time_in(ns);
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    s->closing = true;
    s->dropping |= !drain;
    pthread_cond_signal(&s->work);
    pthread_cond_broadcast(&s->room);
    for (bool in_time = ns > 0; in_time && !s->ended;)
        in_time = wait_for(s, &s->room, &until);
    return leave(s, s->ended ? FG_ACCEPTED : FG_TIME_OVER);
}

fg_answer fg_scheduler_look(fg_scheduler *s, fg_scheduler_facts *facts)
{
    if (enter(s) != FG_ACCEPTED)
        return FG_FORKED;
    *facts = s->facts;
    return leave(s, FG_ACCEPTED);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* A thread that takes no signals: those are for the threads of whoever started this. */
static bool start_worker(fg_scheduler *s)
{
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return false;
    const bool started = pthread_create(&s->worker, NULL, work, s) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void free_memory(fg_scheduler *s)
{
    fg_quantum_free(&s->quantum);
    free(s->rows);
    free(s->taken);
    free(s->free_places);
    free(s);
}

fg_status fg_scheduler_new(const fg_plan *plan, fg_state *state, int64_t max_rows, int64_t queue, int threads,
                           const int *wanted, fg_scheduler **out)
{
    *out = NULL;
    fg_scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return FG_NO_MEMORY;
    s->max_rows = max_rows;
    s->queue = queue;
    s->forks = fg_fork_count();
    fg_status status = fg_state_reserve(state, max_rows);
    if (status == FG_OK)
        status = fg_quantum_prepare(&s->quantum, plan, state, max_rows, threads, wanted);
    s->rows = calloc((size_t)max_rows, sizeof *s->rows);
    s->taken = calloc((size_t)max_rows, sizeof *s->taken);
    s->free_places = calloc((size_t)max_rows, sizeof *s->free_places);
    if (status == FG_OK && (!s->rows || !s->taken || !s->free_places))
        status = FG_NO_MEMORY;
    if (status != FG_OK) {
        free_memory(s);
        return status;
    }
    for (int64_t i = 0; i < max_rows; i++) /* the first one is opened first */
        s->free_places[s->n_free++] = max_rows - 1 - i;
    pthread_cond_t *conditions[] = {&s->work, &s->room, &s->lines[0].filled, &s->lines[1].filled};
    bool made = pthread_mutex_init(&s->lock, NULL) == 0;
    for (int i = 0; made && i < 4; i++)
        made = make_condition(conditions[i]);
    if (!made || !start_worker(s)) {
        free_memory(s);
        return FG_NO_MEMORY;
    }
    *out = s;
    return FG_OK;
}

void fg_scheduler_free(fg_scheduler *s)
{
    if (!s || s->forks != fg_fork_count())
        return;
    pthread_join(s->worker, NULL);
    pthread_cond_t *conditions[] = {&s->work, &s->room, &s->lines[0].filled, &s->lines[1].filled};
    for (int i = 0; i < 4; i++)
        pthread_cond_destroy(conditions[i]);
    pthread_mutex_destroy(&s->lock);
    free_memory(s);
}
