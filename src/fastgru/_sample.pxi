# Choosing tokens: sample.h says how.

cdef class Sampler:
    """Chooses the next token of each of several rows from logits.

    Parameters
    ----------
    tokens : int
        How many there are: logits have this many numbers.
    rows : int
    isa : str or None
        A name of `isa_names`; None takes the best that the CPU has.
    temperature, top_k, top_p, repetition_penalty
        As `fastgru.generate`; None: all tokens.
    probabilities : bool
        What comes are probabilities, not logits.
    log_probability : bool
        Whether `log_probability` is to be known.
    banned : sequence of int
        Ids that are never chosen.
    seed, row : int
        Row r draws from ``Philox(key=[seed, row + r])`` of NumPy.

    Attributes
    ----------
    log_probability : float or None
        Of the token that was chosen last, under the logits as they came.

    Examples
    --------
    >>> import numpy as np
    >>> sampler = Sampler(4, temperature=0.0)
    >>> sampler.choose(np.array([0.5, 2.0, 2.0, -1.0], np.float32))
    1
    """

    cdef fg_sampler *sampler
    cdef readonly int64_t tokens, rows
    cdef readonly object log_probability
    cdef bint wants_log, probabilities

    def __cinit__(self, int64_t tokens, int64_t rows=1, isa=None, double temperature=1.0, top_k=None, top_p=None,
                  double repetition_penalty=1.0, bint probabilities=False, bint log_probability=False, banned=(),
                  uint64_t seed=0, uint64_t row=0):
        cdef bytes name = isa.encode() if isa is not None else b""
        cdef cnp.ndarray ids = np.array(banned, np.int32).reshape(-1)
        cdef fg_sampling options
        options.temperature, options.repetition_penalty = <float>temperature, <float>repetition_penalty
        options.top_k, options.top_p = 0 if top_k is None else top_k, 1.0 if top_p is None else top_p
        options.probabilities, options.log_probability = probabilities, log_probability
        self.tokens, self.rows = tokens, rows
        self.wants_log, self.probabilities = log_probability, probabilities
        check(fg_sampler_new(<const char *>name if isa is not None else NULL, tokens, rows, &options, seed, row,
                             <const int32_t *>cnp.PyArray_DATA(ids), len(ids), &self.sampler))

    def __dealloc__(self):
        fg_sampler_free(self.sampler)

    def see(self, ids, int64_t row=0):
        """Count tokens of a prompt among those that `repetition_penalty` is for."""
        cdef int64_t token
        self._check_row(row)
        for token in ids:
            if not 0 <= token < self.tokens:
                raise BadInput(f"token ids should be whole numbers from 0 to {self.tokens - 1}, got {token}")
            fg_sampler_see(self.sampler, row, <int32_t>token)

    def choose(self, logits, int64_t row=0):
        """The next token of a row.

        Parameters
        ----------
        logits : array (tokens,) of floats
            Or probabilities, if so the sampler was told. -inf: never chosen.
        row : int

        Returns
        -------
        int

        Raises
        ------
        BadInput
            Wrong shape; NaN or infinity; or all tokens are banned or have -inf. Nothing is drawn.
        """
        cdef cnp.ndarray array = np.ascontiguousarray(logits, np.float32)
        if cnp.PyArray_NDIM(array) != 1 or cnp.PyArray_DIM(array, 0) != self.tokens:
            raise BadInput(f"expected logits of shape ({self.tokens},), got {(<object>array).shape}")
        self._check_row(row)
        return self.take(row, <const float *>cnp.PyArray_DATA(array))

    cdef int _check_row(self, int64_t row) except -1:
        if not 0 <= row < self.rows:
            raise BadInput(f"row should be a whole number from 0 to {self.rows - 1}, got {row}")
        return 0

    cdef int32_t take(self, int64_t row, const float *logits) except -1:
        cdef int32_t token = -1
        cdef float log_probability = 0
        cdef fg_status status = fg_sample(self.sampler, row, logits, &token, &log_probability)
        if status == FG_BAD_LOGITS:
            raise bad_logits(logits, self.tokens, self.probabilities)
        check(status)
        if self.wants_log:
            self.log_probability = log_probability
        return token


cdef object bad_logits(const float *logits, int64_t count, bint probabilities):
    """The error for logits among which no token can be chosen."""
    cdef int64_t i
    for i in range(count):
        if not logits[i] < np.inf:
            return BadInput(f"cannot choose a token: id {i} has {logits[i]}")
        if probabilities and logits[i] < 0:
            return BadInput(f"cannot choose a token: the probability of id {i} is {logits[i]}")
    return BadInput("cannot choose a token: every one is banned, has the logit -inf or, with repetition_penalty, infinity")
