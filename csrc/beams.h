/* The likeliest continuations of the hypotheses of a beam search. Allocates nothing and takes no lock. */
#ifndef FASTGRU_BEAMS_H
#define FASTGRU_BEAMS_H

#include <stdint.h>

/* A hypothesis and the token that continues it, with the sum of both their log-probabilities. */
typedef struct fg_candidate {
    double score;
    int64_t row, token;
} fg_candidate;

/* The best `count` of the rows' continuations: best (count), the largest sum first, and of equal ones the lower row,
 * then the lower token. A log-probability of -inf continues nothing. scores (rows),
 * log_probs (rows, classes). Returns how many were found, at most `count`; -1 where a log-probability is NaN. */
int64_t fg_best_continuations(const double *scores, const float *log_probs, int64_t rows, int64_t classes,
                              int64_t count, fg_candidate *best);

#endif
