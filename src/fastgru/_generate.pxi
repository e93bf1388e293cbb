# Generating: a network that reads the tokens chosen from its own logits.

cdef enum:
    # of a TokenLoop's window: each token comes from all so far; or from the state, which goes on
    READ_WHOLE = -1
    READ_ON = 0

WHOLE, STREAMED = READ_WHOLE, READ_ON


cdef struct History:
    # of one row: tokens that the network has yet to read, or will read again
    int32_t *ids
    int64_t count, room


cdef class TokenLoop:
    """Runs a network on its own tokens, without a Python object per step but the token's number.

    Parameters
    ----------
    plan : Plan
        Of a network with one sequence of token ids; inputs without time are zero. Its only output is the logits.
    sampler : Sampler
        Its rows are the loop's.
    window : int
        Each token comes from the last `window` ones, read from a fresh state; `WHOLE`: from all so far. `STREAMED`: the
        state goes on, and only new tokens are read.
    threads : int
        Upper bound of the threads of a run.
    """

    cdef readonly Plan plan
    cdef readonly Sampler sampler
    cdef readonly int64_t window
    cdef int threads
    cdef fg_state *state
    cdef fg_view *views
    cdef fg_view result
    cdef History *rows
    cdef list zeros            # of each input without time, or None
    cdef int place             # of the sequence among the inputs
    cdef int32_t *ids          # of a call: (batch, steps)
    cdef float *logits         # (batch, steps, tokens), or (batch, tokens)
    cdef int64_t *places       # of a call's rows
    cdef int64_t ids_room, logits_room
    cdef bint busy

    def __cinit__(self, Plan plan not None, Sampler sampler not None, int64_t window=READ_ON, int threads=1):
        cdef int i
        self.plan, self.sampler, self.window, self.threads = plan, sampler, window, threads
        self.views = <fg_view *>calloc(plan.n_views, sizeof(fg_view))
        self.rows = <History *>calloc(sampler.rows, sizeof(History))
        self.places = <int64_t *>calloc(sampler.rows, sizeof(int64_t))
        if self.views == NULL or self.rows == NULL or self.places == NULL:
            raise MemoryError()
        self.zeros = []
        for i, spec in enumerate(plan.inputs):
            zero = None
            if spec.is_sequence:
                self.place = i
            else:
                zero = np.zeros(spec.features, spec.dtype)
                self.views[plan.info[i].view].data = cnp.PyArray_DATA(<cnp.ndarray>zero)  # at stride 0, for every row
            self.zeros.append(zero)
        if sampler.tokens > plan.info[self.place].limit:
            limit = plan.info[self.place].limit
            raise UnsupportedModel(f"the network chooses among {sampler.tokens} tokens, but reads ids below {limit} alone")
        check(fg_state_new(plan.plan, sampler.rows, &self.state))

    def __dealloc__(self):
        cdef int64_t i
        if self.rows != NULL:
            for i in range(self.sampler.rows):
                free(self.rows[i].ids)
        fg_state_free(self.state)
        free(self.views)
        free(self.rows)
        free(self.places)
        free(self.ids)
        free(self.logits)

    def read(self, ids, int64_t row=0):
        """Put tokens of a prompt behind what a row has; the sampler does not see them."""
        cdef int64_t token, limit = self.plan.info[self.place].limit
        if not 0 <= row < self.sampler.rows:
            raise BadInput(f"row should be a whole number from 0 to {self.sampler.rows - 1}, got {row}")
        for token in ids:
            if not 0 <= token < limit:
                raise BadInput(f"token ids should be whole numbers from 0 to {limit - 1}, got {token}")
            self._push(row, <int32_t>token)

    @property
    def log_probability(self):
        """Of the token that `next` gave, as the sampler tells it."""
        return self.sampler.log_probability

    def next(self):
        """The next token of row 0."""
        self._enter()
        try:
            self.places[0] = 0
            self._choose(1, None)
            return self.rows[0].ids[self.rows[0].count - 1]
        finally:
            self.busy = False

    def next_of(self, rows):
        """The next token of each of several rows, no two the same: a list of (id, log-probability or None)."""
        cdef dict groups = {}
        cdef dict chosen = {}
        cdef int64_t row, count
        if len(set(rows)) < len(rows):
            raise BadInput(f"rows should differ, got {rows}")
        self._enter()
        try:
            for row in rows:
                self.sampler._check_row(row)
                groups.setdefault(self._steps(row), []).append(row)
            for group in groups.values():  # rows that read as many tokens run together
                count = 0
                for row in group:
                    self.places[count] = row
                    count += 1
                log_probabilities = []
                self._choose(count, log_probabilities)
                for row, log_probability in zip(group, log_probabilities):
                    chosen[row] = self.rows[row].ids[self.rows[row].count - 1], log_probability
            return [chosen[row] for row in rows]
        finally:
            self.busy = False

    # ---- one call of the network for the rows in `places`, which read as many tokens ----

    cdef int _enter(self) except -1:
        if self.busy:
            raise StreamBusy("another thread is generating these tokens; give each a generation of its own")
        self.busy = True
        return 0

    cdef int64_t _steps(self, int64_t row) noexcept:
        cdef int64_t count = self.rows[row].count
        return self.window if 0 < self.window < count else count

    cdef int _choose(self, int64_t batch, list log_probabilities) except -1:
        """Run, choose and remember the tokens; adds their log-probabilities to a list, if there is one."""
        cdef int64_t steps = self._steps(self.places[0]), i, row, stride
        cdef bint sequence = self.plan.output_info[0].sequence
        if steps == 0:
            raise BadInput("a row has no token that the network could read: give it a prompt")
        if self.window != READ_ON:
            for i in range(batch):
                fg_state_reset(self.state, self.places[i], 1)
            stride = self._run(batch, 0, steps, True)
        else:
            if sequence and steps > 1:  # the logits of a prompt but its last are of no use
                self._run(batch, 0, steps - 1, False)
                stride = self._run(batch, steps - 1, 1, True)
            else:
                stride = self._run(batch, 0, steps, True)
            for i in range(batch):
                self.rows[self.places[i]].count = 0
        for i in range(batch):
            row = self.places[i]
            self._push(row, self.sampler.take(row, self.logits + (i + 1) * stride - self.sampler.tokens))
            if log_probabilities is not None:
                log_probabilities.append(self.sampler.log_probability)
        return 0

    cdef int64_t _run(self, int64_t batch, int64_t first, int64_t steps, bint wanted) except -1:
        """Read `steps` tokens, the last ones but for those before `first`; returns how far rows of logits are apart."""
        cdef fg_call call
        cdef fg_status status
        cdef History *history
        cdef int64_t i, stride = self.sampler.tokens, made
        cdef fg_view *view = &self.views[self.plan.info[self.place].view]
        self.ids = <int32_t *>grown_numbers(self.ids, &self.ids_room, batch * steps)
        for i in range(batch):
            history = &self.rows[self.places[i]]
            memcpy(self.ids + i * steps, history.ids + self._offset(history, first, steps), steps * sizeof(int32_t))
        view.data, view.batch_stride, view.time_stride = self.ids, steps, 1
        memset(&call, 0, sizeof(call))
        call.batch, call.steps, call.threads = batch, steps, self.threads
        call.rows = self.places
        call.before = 0 if self.window == READ_ON else FG_WHOLE
        call.inputs, call.outputs = self.views, &self.result
        self.result.data = NULL
        if wanted:
            if self.plan.output_info[0].sequence:
                made = fg_plan_steps(self.plan.plan, self.plan.values[0], &call)
                if made < 1:
                    raise misfit(self.plan, &call) if made < 0 else BadInput(
                        f"the network gives no step for {steps} tokens: give it a longer prompt")
                stride *= made
            self.logits = <float *>grown_numbers(self.logits, &self.logits_room, batch * stride)
            self.result.data, self.result.batch_stride = self.logits, stride
            self.result.time_stride = self.sampler.tokens
        if self.plan.cost * batch * steps > GIL_COST:
            with nogil:
                status = fg_run(self.plan.plan, self.state, &call)
        else:
            status = fg_run(self.plan.plan, self.state, &call)
        if status == FG_BAD_CALL:
            raise misfit(self.plan, &call)
        check(status)
        return stride

    cdef int64_t _offset(self, History *history, int64_t first, int64_t steps) noexcept:
        return first if self.window == READ_ON else history.count - steps

    cdef int _push(self, int64_t row, int32_t token) except -1:
        cdef History *history = &self.rows[row]
        if history.count == history.room and 0 < 2 * self.window <= history.count:
            memmove(history.ids, history.ids + history.count - self.window, self.window * sizeof(int32_t))
            history.count = self.window
        history.ids = <int32_t *>grown_numbers(history.ids, &history.room, history.count + 1)
        history.ids[history.count] = token
        history.count += 1
        return 0


cdef void *grown_numbers(void *memory, int64_t *room, int64_t needed) except NULL:
    """Memory for so many numbers of 32 bits, with what stands in it."""
    cdef int64_t more = max(needed, 2 * room[0], 16)
    if needed <= room[0]:
        return memory
    memory = realloc(memory, more * sizeof(int32_t))
    if memory == NULL:
        raise MemoryError()
    room[0] = more
    return memory
