/* What the two halves of the GRU layer share: its weights are made by gru_weights.c and run by gru.c. */
#ifndef FASTGRU_GRU_H
#define FASTGRU_GRU_H

#include "layers.h"

typedef struct fg_gru_layer {
    fg_gru_weights weights;
    const fg_tiles *tiles; /* of its dtype */
    fg_dtype dtype;
    fg_matrix input; /* what weights.input is a copy of; not used where `table` stands for it */
    fg_table table;  /* x-projections by token id, (vocabulary, width) of its dtype; w NULL: not folded */
    int64_t vocabulary;
    int64_t width;           /* floats of an x-projection */
    int64_t recurrent_bytes; /* packed */
    bool overlaps;           /* one row's steps wait for their weights, long enough to project later steps meanwhile */
    float *candidate_bias, *initial;
    int64_t stride;       /* floats of one row of state */
    int64_t state_floats; /* a member's scratch: a tile of prepared states, 0 where rows are floats; behind them one of
                             inputs, or of rows of a narrow table */
    bool return_sequences, go_backwards, time_order, zero_output_for_mask, zero_state_without_steps;
} fg_gru_layer;

/* Recurrent weights, of a member, from which on a step of one row waits for them: what L1 does not hold. */
enum { OVERLAP_BYTES = 64 << 10 };

/* The `add` of the family. */
fg_status fg_gru_add(fg_plan *plan, fg_step *step, const fg_layer *layer);

#endif
