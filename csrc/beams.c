/* The likeliest continuations of the hypotheses of a beam search. */
#include <math.h>
#include <string.h>

#include "beams.h"

/* What a log-probability must exceed for its sum with `score` to exceed `least`; rounded down, so that what does not
 * exceed it need not be added. */
static float bound_of(double score, double least)
{
    return nextafterf((float)(least - score), -INFINITY);
}

/* Puts a candidate behind all that are at least as good. */
static int64_t insert(fg_candidate *best, int64_t found, int64_t count, fg_candidate one)
{
    int64_t low = 0, high = found;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (best[middle].score >= one.score)
            low = middle + 1;
        else
            high = middle;
    }
    const int64_t kept = found < count ? found : count - 1;
    memmove(best + low + 1, best + low, (size_t)(kept - low) * sizeof *best);
    best[low] = one;
    return kept + 1;
}

int64_t fg_best_continuations(const double *scores, const float *log_probs, int64_t rows, int64_t classes,
                              int64_t count, fg_candidate *best)
{
    int64_t found = 0;
    for (int64_t row = 0; row < rows; row++) {
        const float *x = log_probs + row * classes;
        float bound = found < count ? -INFINITY : bound_of(scores[row], best[count - 1].score);
        for (int64_t token = 0; token < classes; token++) {
            if (x[token] <= bound) /* nearly always; never for a NaN */
                continue;
            const fg_candidate one = {scores[row] + (double)x[token], row, token};
            if (one.score != one.score)
                return -1;
            if (found == count && !(one.score > best[count - 1].score))
                continue;
            found = insert(best, found, count, one);
            if (found == count)
                bound = bound_of(scores[row], best[count - 1].score);
        }
    }
    return found;
}
