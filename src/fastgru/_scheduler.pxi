# The scheduler's door: what a StreamPool submits, and what comes back.

cdef enum:
    TAKEN_AT_ONCE = 64
    MAX_CHUNK_AXES = 9         # time, and those of a step
    ALIGNED = 16               # bytes


cdef struct Part:
    # of a chunk: a sequence input, or an output
    int place                  # among the network's
    int type                   # NumPy's
    bint sequence
    int ndim                   # without time
    int64_t count, limit       # numbers of a step; ids lie below the limit
    cnp.npy_intp sizes[MAX_CHUNK_AXES]  # the first one is for time


cdef Part part_of(object spec, int place, int64_t limit) except *:
    cdef Part part
    part.place, part.limit = place, limit
    part.type, part.sequence = np.dtype(spec.dtype).num, spec.is_sequence
    part.ndim, part.count = len(spec.inner), spec.features
    for i, size in enumerate(spec.inner):
        part.sizes[1 + i] = size
    return part


@final
@no_gc_clear
cdef class Scheduler:
    """The C scheduler on the State of a Stream that nobody else runs. What StreamPool is made of.

    Parameters
    ----------
    stream : Stream
        Of no rows.
    max_rows, queue, threads : int
        As `StreamPool`.
    """

    cdef fg_scheduler *scheduler
    cdef readonly Runner stream
    cdef Plan plan
    cdef Part *inputs          # that are sequences
    cdef Part *outputs         # that are wanted
    cdef int n_inputs, n_outputs
    cdef list specs            # of the sequence inputs, for one row
    cdef list statics          # of the others: (name, zeros of one row)
    cdef object thread         # that delivers, or None
    cdef bint delivering
    cdef unsigned long delivers # its identity

    def __cinit__(self, Runner stream not None, int64_t max_rows, int64_t queue, int threads):
        cdef Plan plan = stream.plan
        cdef fg_status status
        cdef int i
        self.stream, self.plan = stream, plan
        self.specs, self.statics = [], []
        self.inputs = <Part *>calloc(plan.n_inputs + 1, sizeof(Part))
        self.outputs = <Part *>calloc(plan.n_outputs + 1, sizeof(Part))
        cdef int *wanted = <int *>calloc(plan.n_outputs + 1, sizeof(int))
        try:
            if self.inputs == NULL or self.outputs == NULL or wanted == NULL:
                raise MemoryError()
            for i, spec in enumerate(plan.inputs):
                if spec.is_sequence:
                    self.inputs[self.n_inputs] = part_of(spec, i, plan.info[i].limit)
                    self.n_inputs += 1
                    self.specs.append(replace(spec, shape=(None, *spec.inner), axes=spec.axes[1:]))
                else:
                    self.statics.append((spec.name, np.zeros((1, *spec.inner), spec.dtype)))
            for i, spec in enumerate(plan.outputs):
                wanted[i] = not stream.drops[i]
                if wanted[i]:
                    self.outputs[self.n_outputs] = part_of(spec, i, 0)
                    self.n_outputs += 1
            with nogil:
                status = fg_scheduler_new(plan.plan, stream.state, max_rows, queue, threads, wanted, &self.scheduler)
            check(status)
        finally:
            free(wanted)

    def __dealloc__(self):
        if self.scheduler != NULL:
            with nogil:
                while fg_scheduler_close(self.scheduler, False, FOREVER) == FG_TIME_OVER:
                    pass
                fg_scheduler_free(self.scheduler)
        free(self.inputs)
        free(self.outputs)

    # ---- rows ----

    def open(self, static):
        """A row at the initial state, with its inputs without time as `Runner._checked_static` gives them; those that
        are absent are zeros, until `copy` gives it those of another row."""
        cdef int64_t handle
        cdef fg_answer answer
        cdef list arrays = [static.get(name, zeros) for name, zeros in self.statics]
        cdef const void **pointers = <const void **>calloc(len(arrays) + 1, sizeof(void *))
        if pointers == NULL:
            raise MemoryError()
        for i, array in enumerate(arrays):
            pointers[i] = cnp.PyArray_DATA(<cnp.ndarray>array)
        answer = fg_scheduler_open(self.scheduler, pointers, &handle)
        free(pointers)
        if answer == FG_NO_ROW:
            raise QueueFull("every row of this pool is open or has steps to run: close one, or make it with more max_rows")
        self.refuse(answer, None)
        return handle

    def close_row(self, row):
        self.refuse(fg_scheduler_close_row(self.scheduler, self.handle(row)), row)

    def reset(self, row):
        self.refuse(fg_scheduler_reset(self.scheduler, self.handle(row)), row)

    def hold(self, row):
        """A Hold of a row, once it has come to its turn."""
        cdef Hold hold = Hold.__new__(Hold)
        hold.scheduler = self
        hold.chunk.row = self.handle(row)
        self.refuse(fg_scheduler_hold(self.scheduler, &hold.chunk), row)
        try:
            while not fg_chunk_finished(&hold.chunk):
                with nogil:
                    fg_scheduler_wait(self.scheduler, &hold.chunk, SLICE_NS)
                PyErr_CheckSignals()
            if hold.chunk.dropped:
                self.refuse(FG_ENDED, row)
            check(hold.chunk.status)
        except BaseException:
            self.release(hold)
            raise
        return hold

    def release(self, Hold hold not None):
        with nogil:
            fg_scheduler_release(self.scheduler, &hold.chunk)

    def copy(self, Hold source not None, Hold target not None):
        """Let the held row `target` stand where `source` does."""
        check(fg_state_copy(self.stream.state, source.place, target.place))
        fg_scheduler_copy_statics(self.scheduler, source.chunk.row, target.chunk.row)

    # ---- chunks ----

    def submit(self, row, steps, callback, timeout):
        """As `StreamPool.submit`."""
        cdef Ticket ticket = Ticket.__new__(Ticket)
        cdef fg_answer answer
        cdef int64_t deadline = deadline_of(timeout)
        ticket.scheduler = self
        ticket.chunk.row = self.handle(row)
        self.take(ticket, steps)
        self.make_outputs(ticket)
        ticket.chunk.owner = <void *>ticket
        ticket.chunk.line = FG_POLLED
        if callback is not None:
            if not callable(callback):
                raise BadInput(f"callback should be a function of a Ticket, got {type(callback).__name__}")
            ticket.callback = callback
            ticket.chunk.line = FG_DELIVERED
            self.start_delivery()
        ticket.held = True
        Py_INCREF(ticket)
        answer = fg_scheduler_submit(self.scheduler, &ticket.chunk, False, 0)
        if answer != FG_ACCEPTED:
            self.submit_late(ticket, answer, deadline, row)
        return ticket

    cdef int submit_late(self, Ticket ticket, fg_answer answer, int64_t deadline, object row) except -1:
        """What `submit` does where the scheduler did not take the chunk at once."""
        cdef bint always = PyThread_get_thread_ident() == self.delivers  # who makes room shall not wait for it
        cdef int64_t ns = SLICE_NS
        try:
            while answer == FG_FULL and ns > 0:
                ns = slice_of(deadline)
                with nogil:
                    answer = fg_scheduler_submit(self.scheduler, &ticket.chunk, always, ns)
                if answer == FG_FULL:
                    PyErr_CheckSignals()
            self.refuse(answer, row)
        except BaseException:
            ticket.let_go()
            raise
        return 0

    cdef int take(self, Ticket ticket, object x) except -1:
        """Copy the steps of a chunk."""
        cdef list arrays
        cdef cnp.ndarray array
        cdef int i
        cdef int64_t steps
        cdef size_t size = (self.n_inputs + self.n_outputs) * sizeof(void *)
        cdef char *end
        if self.n_inputs == 1 and not isinstance(x, Mapping):
            arrays = [x]
        else:
            named = named_inputs(x if isinstance(x, tuple) else (x,), self.specs)
            arrays = [named[spec.name] for spec in self.specs]
        for i in range(self.n_inputs):
            array = self.checked(arrays[i], i)
            arrays[i] = array
            steps = cnp.PyArray_DIM(array, 0)
            if i == 0:
                ticket.chunk.steps = steps
            elif steps != ticket.chunk.steps:
                counts = {spec.name: len(one) for spec, one in zip(self.specs[:i + 1], arrays)}
                raise BadInput(f"the inputs of a chunk should have one number of steps, got {counts}")
            size += ALIGNED * (1 + steps * self.inputs[i].count * 4 / ALIGNED)
        ticket.block = malloc(size + ALIGNED)
        if ticket.block == NULL:
            raise MemoryError()
        ticket.chunk.inputs = <const char *const *>ticket.block
        end = <char *>ticket.block + (self.n_inputs + self.n_outputs) * sizeof(void *)
        for i in range(self.n_inputs):
            if not self.copy_in(<cnp.ndarray>arrays[i], i, end):
                array = self._converted(arrays[i], self.specs[i], self.inputs[i].limit)  # tells which id is wrong
                self.copy_in(array, i, end)
            (<char **>ticket.block)[i] = end
            end += ALIGNED * (1 + ticket.chunk.steps * self.inputs[i].count * 4 / ALIGNED)
        return 0

    cdef cnp.ndarray checked(self, object x, int i):
        """The steps of an input as a plain array of its shape: float32, or ids as int32 or int64."""
        cdef Part *part = &self.inputs[i]
        cdef cnp.ndarray array
        cdef int axis, kind
        if cnp.PyArray_CheckExact(x):
            array = <cnp.ndarray>x
            kind = cnp.PyArray_TYPE(array)
            if cnp.PyArray_NDIM(array) == part.ndim + 1 and is_plain(array) and (
                    kind == part.type or (part.type == cnp.NPY_INT32 and kind == cnp.NPY_INT64)):
                for axis in range(1, part.ndim + 1):
                    if cnp.PyArray_DIM(array, axis) != part.sizes[axis]:
                        break
                else:
                    return array
        return self._converted(x, self.specs[i], part.limit)

    cdef bint copy_in(self, cnp.ndarray array, int i, char *to) noexcept:
        """Copy the steps of an input; False where an id lies outside its table."""
        cdef Part *part = &self.inputs[i]
        cdef int64_t k, count = cnp.PyArray_DIM(array, 0) * part.count
        cdef int64_t *wide = <int64_t *>cnp.PyArray_DATA(array)
        cdef int32_t *ids = <int32_t *>to
        if cnp.PyArray_TYPE(array) == cnp.NPY_INT64:
            for k in range(count):
                if wide[k] < 0 or wide[k] >= part.limit:
                    return False
                ids[k] = <int32_t>wide[k]
            return True
        memcpy(to, cnp.PyArray_DATA(array), count * 4)
        if part.type == cnp.NPY_INT32:
            for k in range(count):
                if ids[k] < 0 or ids[k] >= part.limit:
                    return False
        return True

    def _converted(self, x, spec, int64_t limit):
        """What a caller gives for an input of one row, as a plain array of float32 or int32; BadInput tells what is
        wrong with it."""
        array = checked_array(x, spec)
        return as_ids(array, limit, spec, spec.shape) if spec.dtype == "int32" else as_plain(array, np.float32)

    cdef int make_outputs(self, Ticket ticket) except -1:
        cdef char **pointers = <char **>ticket.block + self.n_inputs
        cdef cnp.npy_intp sizes[MAX_CHUNK_AXES]
        cdef Part *part
        cdef cnp.ndarray array
        cdef list arrays = []
        cdef int i
        ticket.chunk.outputs = <char *const *>pointers
        for i in range(self.n_outputs):
            part = &self.outputs[i]
            sizes = part.sizes
            sizes[0] = ticket.chunk.steps
            if part.sequence:
                array = cnp.PyArray_EMPTY(part.ndim + 1, sizes, part.type, 0)
            else:
                array = cnp.PyArray_EMPTY(part.ndim, sizes + 1, part.type, 0)
            pointers[i] = <char *>cnp.PyArray_DATA(array)
            if self.n_outputs == 1:
                ticket.output = array
                return 0
            arrays.append(array)
        ticket.output = tuple(arrays)
        return 0

    def poll(self, timeout, most):
        """As `StreamPool.poll`."""
        cdef fg_chunk *chunks[TAKEN_AT_ONCE]
        cdef int64_t deadline = deadline_of(timeout), ns = 0, count = 0, left = 2**62 if most is None else most
        cdef int64_t at_once, i
        cdef fg_answer answer
        cdef Ticket ticket
        cdef list tickets = []
        while left > 0:
            at_once = min(left, <int64_t>TAKEN_AT_ONCE)
            if ns > 0:
                with nogil:
                    answer = fg_scheduler_take(self.scheduler, FG_POLLED, chunks, at_once, ns, &count)
            else:
                answer = fg_scheduler_take(self.scheduler, FG_POLLED, chunks, at_once, 0, &count)
            for i in range(count):
                ticket = <Ticket><object>chunks[i].owner
                tickets.append(ticket)
                ticket.let_go()
            left -= count
            ns = 0
            if tickets and count < at_once or answer == FG_ENDED:
                break
            if answer == FG_FORKED:
                raise forked()
            if count == 0:
                PyErr_CheckSignals()
                ns = slice_of(deadline)
                if ns == 0:
                    break
        return tickets

    # ---- delivery ----

    cdef object start_delivery(self):
        """The thread that runs callbacks and sets futures, made when it is first needed."""
        if self.delivering:
            return
        self.delivering = True  # at once: another thread may come while this one is made
        try:
            from threading import Thread

            thread = Thread(target=self._deliver_all, name="fastgru-pool", daemon=True)
            thread.start()
            self.thread = thread
        except BaseException:
            self.delivering = False
            raise

    def _deliver_all(self):
        cdef fg_chunk *chunks[TAKEN_AT_ONCE]
        cdef fg_answer answer = FG_ACCEPTED
        cdef int64_t count, i
        cdef Ticket ticket
        self.delivers = PyThread_get_thread_ident()
        while answer == FG_ACCEPTED or answer == FG_TIME_OVER:
            with nogil:
                answer = fg_scheduler_take(self.scheduler, FG_DELIVERED, chunks, TAKEN_AT_ONCE, FOREVER, &count)
            for i in range(count):
                ticket = <Ticket><object>chunks[i].owner
                ticket.deliver()

    # ---- the whole ----

    def close(self, bint drain):
        """Wait for the worker's end, but not for the delivery thread's."""
        cdef fg_answer answer = FG_TIME_OVER
        while answer == FG_TIME_OVER:
            with nogil:
                answer = fg_scheduler_close(self.scheduler, drain, SLICE_NS)
            PyErr_CheckSignals()

    def join(self, timeout):
        """Wait for the delivery thread, which ends with the worker when all is delivered."""
        if self.thread is not None and PyThread_get_thread_ident() != self.delivers:
            self.thread.join(timeout)

    def abandon(self):
        """Forget the tickets of a closed scheduler that nobody has taken: it and they refer to each other."""
        try:
            self.poll(0, None)
        except Closed:
            pass  # a forked child: all that is the parent's

    def facts(self):
        cdef fg_scheduler_facts facts
        self.refuse(fg_scheduler_look(self.scheduler, &facts), None)
        return facts

    cdef int64_t handle(self, object row) except? -1:
        if type(row) is int or isinstance(row, np.integer):
            try:
                return row
            except OverflowError:
                pass
        raise BadInput(f"a row should be a handle that open() gave, got {row!r}")

    cdef int refuse(self, fg_answer answer, object row) except -1:
        if answer == FG_ACCEPTED:
            return 0
        if answer == FG_NO_ROW:
            raise BadInput(f"row {shown_row(row)} is none of this pool's")
        if answer == FG_ROW_CLOSED:
            raise Closed(f"row {shown_row(row)} is closed")
        if answer == FG_FULL:
            raise QueueFull("as many chunks as queue= allows wait to be taken: poll them, or wait longer with timeout=")
        raise forked() if answer == FG_FORKED else Closed("this pool is closed")
