/* Choosing the next token of a network from its logits.
 *
 * In this order, as Hugging Face's processors: banned tokens go; a repetition penalty; temperature; the top_k likeliest
 * tokens; of these the likeliest whose probabilities reach top_p; a draw. Of equally likely tokens the lower id counts
 * as likelier. Everything is float32 by the kernels of the vector ISAs, which agree to the bit, and sums of it are
 * double in one fixed order: a seed gives the same tokens on all of them.
 */
#ifndef FASTGRU_SAMPLE_H
#define FASTGRU_SAMPLE_H

#include "fastgru.h"

typedef struct fg_sampler fg_sampler;

typedef struct fg_sampling {
    float temperature;        /* logits are divided by it; 0: the likeliest token, nothing is drawn */
    float repetition_penalty; /* a seen token's logit is divided by it if positive, else multiplied; 1: neither */
    int64_t top_k;            /* 0: all */
    double top_p;             /* 1: all */
    bool probabilities;       /* what comes are probabilities: their logarithms are the logits */
    bool log_probability;     /* whether that of the chosen token is wanted */
} fg_sampling;

/* A sampler of `rows` sequences, no token of which is seen yet. Row r draws from NumPy's Philox(key=[seed, row + r]),
 * one `random()` a token. isa: as fg_plan_new takes it. `banned` is not kept. FG_NO_ISA, FG_NO_MEMORY, FG_BAD_CALL. */
fg_status fg_sampler_new(const char *isa, int64_t tokens, int64_t rows, const fg_sampling *options, uint64_t seed,
                         uint64_t row, const int32_t *banned, int64_t n_banned, fg_sampler **sampler);
void fg_sampler_free(fg_sampler *sampler); /* NULL is fine */

/* Notes that a row has had a token; those that it chooses are noted anyway. */
void fg_sampler_see(fg_sampler *sampler, int64_t row, int32_t token);

/* Chooses the next token of a row. `log_probability`, if the options ask for it, is that under the logits as they
 * came: before bans, penalty and temperature. Allocates nothing. FG_BAD_LOGITS: the row is as it was. */
fg_status fg_sample(fg_sampler *sampler, int64_t row, const float *logits, int32_t *token, float *log_probability);

#endif
