# Beam search: which continuations go on.

cdef extern from "beams.h" nogil:
    ctypedef struct fg_candidate:
        double score
        int64_t row
        int64_t token
    int64_t fg_best_continuations(const double *scores, const float *log_probs, int64_t rows, int64_t classes,
                                  int64_t count, fg_candidate *best)

cdef enum:
    LONG_SEARCH = 100000       # numbers to look at, some 50 µs, above which other threads may run


def best_continuations(scores, log_probs, bounds, int64_t count):
    """The likeliest continuations of the hypotheses of each search.

    Parameters
    ----------
    scores : array of float64 (rows,)
        Of each hypothesis its sum of log-probabilities.
    log_probs : array of float32 (rows, classes)
        Of each token behind it.
    bounds : list of int (searches + 1,)
        Search i has the rows ``bounds[i]`` … ``bounds[i + 1] - 1``.
    count : int
        How many are wanted of each search.

    Returns
    -------
    list of lists of (score, row, token)
        Best first, of equal ones the lower row, then the lower token; fewer where there are no more whose probability
        is not 0. None in the place of a search where a log-probability is NaN.
    """
    cdef cnp.ndarray sums = np.ascontiguousarray(scores, np.float64)
    cdef cnp.ndarray x = np.ascontiguousarray(log_probs, np.float32)
    cdef int64_t classes = cnp.PyArray_DIM(x, 1), first, last, found, i
    cdef const double *from_scores
    cdef const float *from_x
    cdef fg_candidate *best
    if cnp.PyArray_DIM(sums, 0) != cnp.PyArray_DIM(x, 0) or bounds[len(bounds) - 1] > cnp.PyArray_DIM(x, 0):
        raise BadInput(f"{len(scores)} scores and {bounds} do not fit log-probabilities {(<object>x).shape}")
    longest = max([last - first for first, last in zip(bounds, bounds[1:])], default=0)
    count = max(1, min(count, longest * classes))
    best = <fg_candidate *>calloc(count, sizeof(fg_candidate))
    if best == NULL:
        raise MemoryError()
    results = []
    try:
        for first, last in zip(bounds, bounds[1:]):
            from_scores = <const double *>cnp.PyArray_DATA(sums) + first
            from_x = <const float *>cnp.PyArray_DATA(x) + first * classes
            if (last - first) * classes > LONG_SEARCH:
                with nogil:
                    found = fg_best_continuations(from_scores, from_x, last - first, classes, count, best)
            else:
                found = fg_best_continuations(from_scores, from_x, last - first, classes, count, best)
            results.append(None if found < 0 else
                           [(best[i].score, first + best[i].row, best[i].token) for i in range(found)])
    finally:
        free(best)
    return results
