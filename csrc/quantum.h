/* A quantum of the scheduler: some steps of some rows, gathered into one call of fg_run and scattered again. */
#ifndef FASTGRU_QUANTUM_H
#define FASTGRU_QUANTUM_H

#include "layers.h"
#include "scheduler.h"

enum { FG_PACES = 9 };

/* An input or output as a quantum stages it. */
typedef struct fg_staged {
    char *stage;  /* (rows, [steps,] features) */
    size_t bytes; /* of a row, or of a row and step */
    bool sequence;
    char *of_rows; /* of an input that is no sequence: (max_rows, features) */
    int32_t place; /* among the views of a call */
} fg_staged;

typedef struct fg_quantum {
    const fg_plan *plan;
    fg_state *state;
    int threads;
    int64_t most_rows, most_cells; /* a cell: one step of one row */
    fg_staged *inputs, *outputs;   /* masks are none of them: they are absent */
    int32_t n_inputs, n_outputs, n_sequences;
    fg_view *views, *results;
    fg_chunk **chunks;     /* of each row: what it runs some steps of */
    int64_t *places;       /* its row of the State */
    int64_t steps;         /* of the last one */
    int64_t ns;            /* that it took */
    double pace[FG_PACES]; /* nanoseconds of a step of 1, 2, 4, … rows, as measured of late */
} fg_quantum;

/* Reserves all that a quantum takes and measures a first pace on the State's rows, which it leaves fresh. What fails
 * leaves a quantum that can be freed. FG_NO_MEMORY; what fg_run gives. */
fg_status fg_quantum_prepare(fg_quantum *q, const fg_plan *plan, fg_state *state, int64_t max_rows, int threads,
                             const int *wanted);
void fg_quantum_free(fg_quantum *q);

/* What a row is opened with: of each input that is no sequence its numbers. */
void fg_quantum_set_statics(fg_quantum *q, int64_t place, const void *const *statics);
void fg_quantum_copy_statics(fg_quantum *q, int64_t from, int64_t to);

/* Whether a chunk that has had so many steps is one of many. */
bool fg_quantum_is_long(const fg_quantum *q, int64_t steps);

/* Says what row `i` of the next quantum runs. */
void fg_quantum_add(fg_quantum *q, int64_t i, int64_t place, fg_chunk *chunk);
/* Decides how many steps these rows run: as many as all of them have, but no longer than a quantum lasts. */
void fg_quantum_begin(fg_quantum *q, int64_t rows);
/* Runs them; no chunk and no pace is changed. What fg_run gives. */
fg_status fg_quantum_run(fg_quantum *q, int64_t rows);
/* Learns from the time that it took. */
void fg_quantum_end(fg_quantum *q, int64_t rows);

#endif
