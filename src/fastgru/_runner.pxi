# Running: a Plan with a State.

cdef extern from *:
    """
    /* No one but the holder that asks has it, nor a weak reference to it. */
    static int is_unheld_array(PyObject *array)
    {
        return Py_REFCNT(array) == 1 && ((PyArrayObject_fields *)array)->weakreflist == NULL;
    }
    """
    bint is_unheld_array(PyObject *array) noexcept

#: in the order of fg_part
cdef tuple PARTS = ("products", "steps", "other")
assert len(PARTS) == FG_PARTS

cdef enum:
    REUSED_ELEMENTS = 1024     # results up to this size are used again once nobody holds them


cdef inline bint is_plain(cnp.ndarray array) noexcept:
    return cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISBEHAVED_RO(array)


cdef inline bint has_sizes(cnp.ndarray array, int lead, const InputInfo *info) noexcept:
    cdef int axis
    for axis in range(info.inner):
        if cnp.PyArray_DIM(array, lead + axis) != info.sizes[axis]:
            return False
    return True


cdef inline bint is_like(cnp.ndarray array, int ndim, const cnp.npy_intp *sizes) noexcept:
    """Plain writable float32 of that shape."""
    cdef int axis
    if (cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32
            or not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISBEHAVED(array)):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(array, axis) != sizes[axis]:
            return False
    return True


cdef class Runner:
    """A Plan with a State: what a Stream is, and what a Model's plain call takes from its free list.

    Parameters
    ----------
    plan : Plan
    batch_size : int
        Rows to make room for; a call with more rows makes more room.
    threads : int
        Upper bound of the threads of `step` and `run`.
    static : dict
        Inputs without a time axis by name, for `step` and `run`.
    mask_drops : dict
        Why lengths would be without effect, by the names of those inputs where that is so.
    """

    cdef readonly Plan plan
    cdef readonly int64_t batch_size
    cdef readonly int threads
    cdef readonly dict static
    cdef readonly dict mask_drops
    cdef fg_state *state
    cdef fg_view *views
    cdef fg_view *results
    cdef int64_t *steps        # of each view
    cdef fg_profile *profile   # of each layer; NULL: nothing is measured
    cdef int32_t *ids          # token ids, converted
    cdef int64_t ids_room
    cdef object older          # the last two small results
    cdef object newer
    cdef bint busy
    cdef bint closed

    def __cinit__(self, Plan plan not None, int64_t batch_size=1, int threads=1, dict static=None, dict mask_drops=None):
        self.plan = plan
        self.batch_size = batch_size
        self.threads = threads
        self.static = {} if static is None else self._static(static)
        self.mask_drops = {} if mask_drops is None else mask_drops
        self.views = <fg_view *>calloc(plan.n_views, sizeof(fg_view))
        self.results = <fg_view *>calloc(len(plan.outputs), sizeof(fg_view))
        self.steps = <int64_t *>calloc(plan.n_views, sizeof(int64_t))
        if self.views == NULL or self.results == NULL or self.steps == NULL:
            raise MemoryError()
        check(fg_state_new(plan.plan, batch_size, &self.state))

    def __dealloc__(self):
        fg_state_free(self.state)
        free(self.views)
        free(self.results)
        free(self.steps)
        free(self.profile)
        free(self.ids)

    def _static(self, given):
        """Own copies of the inputs without a time axis."""
        static = {}
        for i, spec in enumerate(self.plan.inputs):
            if spec.name not in given:
                continue
            array = <object>checked_input(given[spec.name], spec, False, self.plan.info[i].limit)
            if array.shape[0] != self.batch_size:
                raise BadInput(f"input {spec.name!r} has shape {array.shape}, the stream batch_size={self.batch_size}")
            static[spec.name] = array.copy()
        return static

    # ---- one thread at a time: what is between _enter and _leave has the runner to itself ----

    cdef int enter(self) except -1:
        if self.closed:
            raise Closed("this stream is closed")
        if self.busy:
            raise StreamBusy("another thread is inside this stream; a stream serves one thread at a time, so give each its own")
        self.busy = True
        return 0

    def _enter(self):
        self.enter()

    def _leave(self):
        self.busy = False

    # ---- what a Stream does ----

    def step(self, x, out=None):
        """One step of every row.

        Parameters
        ----------
        x : array (batch, features) float, or (batch,) token ids
            Of several sequence inputs: a dict by name or a tuple.
        out : array or tuple of arrays, optional
            Where to put the result; C-contiguous float32.

        Returns
        -------
        array (batch, features) or tuple of arrays
            Of a sequence output its newest step; of another what ``model(all steps so far)`` gives.

        Raises
        ------
        BadInput
            Wrong shape, dtype or token id. The state is unchanged.
        Closed, StreamBusy

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> model = fastgru.load(fastgru.demo_path())
        >>> with model.stream() as stream:
        ...     for token in (4, 8, 15):
        ...         y = stream.step(np.array([token]))
        >>> bool(np.array_equal(y, model(np.array([[4, 8, 15]]))))
        True
        """
        cdef fg_call call
        self.enter()
        try:
            if not isinstance(out, (tuple, list)) and self._take(x, True, &call) and call.batch == self.batch_size:
                call.threads = self.threads
                return self._go_simple(out, True, &call)
            return self._call(x, None, out, True)
        finally:
            self.busy = False

    def run(self, x, lengths=None, out=None):
        """A chunk of steps of every row; chunks one after the other give what the whole sequence gives, to the bit.

        Parameters
        ----------
        x : array (batch, time, features) float, or (batch, time) token ids
        lengths : array of int (batch,), or a dict of them by input, optional
            Steps of each row; what lies past them is masked.
        out : array or tuple of arrays, optional
            Where to put the result; C-contiguous float32.

        Returns
        -------
        array or tuple of arrays
            Sequence outputs (batch, time, …), others as after the last step.

        Raises
        ------
        BadInput
            As `step`; also where a layer drops the mask that `lengths` makes.
        Closed, StreamBusy

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> model = fastgru.load(fastgru.demo_path())
        >>> stream = model.stream()
        >>> _ = stream.run(np.array([[4, 8]]))
        >>> bool(np.array_equal(stream.run(np.array([[15]])), model(np.array([[4, 8, 15]]))))
        True
        """
        cdef fg_call call
        self.enter()
        try:
            if lengths is None and not isinstance(out, (tuple, list)) and self._take(x, False, &call) and call.batch == self.batch_size:
                call.threads = self.threads
                return self._go_simple(out, False, &call)
            check_masks(lengths, None, self.plan.inputs, self.mask_drops)
            return self._call(x, lengths, out, False)
        finally:
            self.busy = False

    cdef object _call(self, object x, object lengths, object out, bint one_step):
        cdef Plan plan = self.plan
        if len(plan.inputs) == 1 and not isinstance(x, Mapping):
            arrays = (x,)
        else:
            sequences = [spec for spec in plan.inputs if spec.is_sequence]
            given = {**named_inputs(x if isinstance(x, tuple) else (x,), sequences), **self.static}
            arrays = tuple(given[spec.name] for spec in plan.inputs)
        results = self._run(arrays, lengths, None, self.threads, out, one_step, self.batch_size)
        return results[0] if len(results) == 1 else results

    # ---- the fast path: one sequence in, one float value out, nothing to convert and nothing to complain about ----

    cdef bint _take(self, object x, bint one_step, fg_call *call):
        """Point the input's view at x and note batch and steps; False where x is for the slow path."""
        cdef InputInfo *info = &self.plan.info[0]
        cdef int lead = 1 if one_step else 2
        cdef int64_t count
        cdef cnp.ndarray array
        if not self.plan.is_simple or not cnp.PyArray_CheckExact(x):
            return False
        array = <cnp.ndarray>x
        if cnp.PyArray_NDIM(array) != lead + info.inner or not is_plain(array) or not has_sizes(array, lead, info):
            return False
        call.batch = cnp.PyArray_DIM(array, 0)
        call.steps = 1 if one_step else cnp.PyArray_DIM(array, 1)
        count = call.batch * call.steps
        if count == 0 or (info.batch >= 0 and info.batch != call.batch):
            return False
        if info.ids:
            if not self._take_ids(array, count * info.elements, info.limit):
                return False
        elif cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
            self.views[0].data = cnp.PyArray_DATA(array)
        else:
            return False
        self.views[0].time_stride = info.elements
        self.views[0].batch_stride = call.steps * info.elements
        self.views[1].data = NULL  # no mask
        call.input_steps = NULL
        call.begins = False
        return True

    cdef bint _take_ids(self, cnp.ndarray array, int64_t count, int64_t limit):
        cdef int64_t i
        cdef int kind = cnp.PyArray_TYPE(array)
        cdef int64_t *wide = <int64_t *>cnp.PyArray_DATA(array)
        cdef int32_t *ids = <int32_t *>cnp.PyArray_DATA(array)
        if kind == cnp.NPY_INT64:
            if count > self.ids_room:
                ids = <int32_t *>realloc(self.ids, count * sizeof(int32_t))
                if ids == NULL:
                    return False
                self.ids, self.ids_room = ids, count
            ids = self.ids
            for i in range(count):
                if wide[i] < 0 or wide[i] >= limit:
                    return False
                ids[i] = <int32_t>wide[i]
        elif kind == cnp.NPY_INT32:
            for i in range(count):
                if ids[i] < 0 or ids[i] >= limit:
                    return False
        else:
            return False
        self.views[0].data = ids
        return True

    cdef object _go_simple(self, object out, bint one_step, fg_call *call):
        cdef Plan plan = self.plan
        cdef InputInfo *info = &plan.output_info
        cdef cnp.npy_intp sizes[MAX_AXES + 2]
        cdef cnp.ndarray array
        cdef int axis, lead = 1
        cdef int64_t elements = info.elements
        sizes[0] = call.batch
        if info.sequence and not one_step:
            lead = 2
            sizes[1] = fg_plan_steps(plan.plan, plan.output, call)
            if sizes[1] < 0:
                raise misfit(plan, call)
            elements *= sizes[1]
        for axis in range(info.inner):
            sizes[lead + axis] = info.sizes[axis]
        if out is None:
            array = self._output(lead + info.inner, sizes, call.batch * elements)
        else:
            if not cnp.PyArray_CheckExact(out) or not is_like(<cnp.ndarray>out, lead + info.inner, sizes):
                check_output(out, plan.outputs[0], tuple([sizes[axis] for axis in range(lead + info.inner)]), np.float32)
            array = <cnp.ndarray>out
            if overlaps(array, &self.views[0], call.batch):
                raise BadInput("out= overlaps the input")
        self.results[0].data = cnp.PyArray_DATA(array)
        self.results[0].time_stride = info.elements
        self.results[0].batch_stride = elements
        self._go(call)
        return array

    cdef cnp.ndarray _output(self, int ndim, cnp.npy_intp *sizes, int64_t elements):
        """A new array; a small one may be an earlier result that nobody holds any more."""
        cdef cnp.ndarray array
        if elements > REUSED_ELEMENTS:
            return cnp.PyArray_EMPTY(ndim, sizes, cnp.NPY_FLOAT32, 0)
        if is_unheld_array(<PyObject *>self.older) and is_like(<cnp.ndarray>self.older, ndim, sizes):
            array = <cnp.ndarray>self.older
        elif is_unheld_array(<PyObject *>self.newer) and is_like(<cnp.ndarray>self.newer, ndim, sizes):
            return <cnp.ndarray>self.newer
        else:
            array = cnp.PyArray_EMPTY(ndim, sizes, cnp.NPY_FLOAT32, 0)
        self.older, self.newer = self.newer, array
        return array

    cdef int _go(self, fg_call *call) except -1:
        cdef fg_status status
        call.inputs, call.outputs, call.profile = self.views, self.results, self.profile
        if self.plan.cost * call.batch * call.steps > GIL_COST:
            with nogil:
                status = fg_run(self.plan.plan, self.state, call)
        else:
            status = fg_run(self.plan.plan, self.state, call)
        if status == FG_BAD_CALL:
            raise misfit(self.plan, call)
        return check(status)

    # ---- any call ----

    def _run_fresh(self, tuple arrays, lengths, mask, int threads, out):
        """As _run, whole sequences, every row from its initial state."""
        cdef fg_call call
        self.enter()
        try:
            fg_state_reset(self.state, 0, 2**62)
            if (lengths is None and mask is None and not isinstance(out, (tuple, list)) and self._take(arrays[0], False, &call)
                    and (self.plan.info[0].steps < 0 or self.plan.info[0].steps == call.steps)):
                call.threads = threads
                return (self._go_simple(out, False, &call),)
            return self._run(arrays, lengths, mask, threads, out, False)
        finally:
            self.busy = False

    def _run(self, tuple arrays, lengths, mask, int threads, out, bint one_step, int64_t expected=-1, bint begins=False,
             bint whole=False):
        """Run the inputs, given in the order of the plan's, from where the state stands; returns a tuple of outputs.

        With one_step sequence inputs and outputs have no time axis. `lengths` and `mask` hold for every sequence input.
        Lengths or masks in a dict hold for the inputs that it names. `expected` is the number of rows that a stream
        has, or -1; the steps that it gets are some of a sequence's unless `whole`; `begins` as in fg_call. `out` may
        hold, for each output, an array, None or a function of shape and dtype that gives one at any batch and time stride. The caller has the runner to itself.
        """
        cdef Plan plan = self.plan
        cdef fg_call call
        cdef int64_t batch = -1, rows
        cdef int i, view = 0, first = -1
        cdef bint differ = False
        cdef cnp.ndarray array
        cdef list alive = [], checked = []
        call.steps = 1
        call.threads = threads
        call.begins = begins
        for i in range(len(plan.inputs)):
            spec = plan.inputs[i]
            array = checked_input(arrays[i], spec, one_step, plan.info[i].limit, expected >= 0 and not whole)
            alive.append(array)
            checked.append(array)
            rows = cnp.PyArray_DIM(array, 0)
            if expected >= 0 and rows != expected:
                raise BadInput(f"this stream has batch_size={expected}; got {rows} rows (shape {(<object>array).shape})")
            if batch >= 0 and rows != batch:
                raise BadInput(f"input {spec.name!r} has {rows} rows, the inputs before it {batch}")
            batch = rows
            self.views[view].data = cnp.PyArray_DATA(array)
            self.views[view].batch_stride = cnp.PyArray_STRIDE(array, 0) // 4
            self.views[view].time_stride = 0
            self.steps[view] = 1
            view += 1
            if not plan.info[i].sequence:
                continue
            rows = 1 if one_step else cnp.PyArray_DIM(array, 1)
            self.steps[view - 1] = self.steps[view] = rows
            if first < 0:
                first, call.steps = i, rows
            elif rows != call.steps:
                differ = True
                call.steps = max(call.steps, rows)
            if not one_step:
                self.views[view - 1].time_stride = cnp.PyArray_STRIDE(array, 1) // 4
            self.views[view].data = NULL
            row_lengths, row_mask = of_input(lengths, spec), of_input(mask, spec)
            if row_lengths is not None or row_mask is not None:
                array = make_mask(row_lengths, row_mask, batch, rows, spec)
                alive.append(array)
                self.views[view].data = cnp.PyArray_DATA(array)
                self.views[view].batch_stride, self.views[view].time_stride = rows, 1
            view += 1
        call.batch = batch
        call.input_steps = self.steps if differ else NULL
        if differ:
            self._check_steps()
        if expected < 0 and not begins:
            self._check_lengths(checked, &call)
        results = self._outputs(out, &call, one_step, alive)
        self._go(&call)
        return results

    cdef int _check_steps(self) except -1:
        """Sequences that the network reads side by side have one number of steps."""
        cdef Plan plan = self.plan
        sequences = [spec for spec in plan.inputs if spec.is_sequence]
        steps, ids = {}, {}
        view = 0
        for spec, value in zip(plan.inputs, plan.graph.inputs):
            steps[spec.name], ids[spec.name] = self.steps[view], plan.ids[value.name]
            view += 1 + spec.is_sequence
        for i, one in enumerate(sequences):
            for other in sequences[:i]:
                if (steps[one.name] != steps[other.name]
                        and fg_plan_same_steps(plan.plan, ids[one.name], ids[other.name])):
                    raise BadInput(f"input {one.name!r} has {steps[one.name]} steps, "
                                   f"but {other.name!r}, which it goes with, {steps[other.name]}")
        return 0

    cdef int _check_lengths(self, list arrays, const fg_call *call) except -1:
        """No row is longer than the sequence that it is the length of; in a stream they are those of the whole."""
        cdef int64_t steps
        for i, value in self.plan.lengths:
            steps = fg_plan_steps(self.plan.plan, self.plan.ids[value], call)
            given = arrays[i]
            if len(given) and steps >= 0 and given.max() > steps:
                row = int(given.argmax())
                raise BadInput(f"input {self.plan.inputs[i].name!r}: row {row} has length {given[row]}, "
                               f"but {value!r} has {steps} steps")
        return 0

    cdef tuple _outputs(self, object out, fg_call *call, bint one_step, list alive):
        cdef Plan plan = self.plan
        cdef int64_t batch = call.batch, steps
        cdef int n = len(plan.outputs), i
        cdef cnp.ndarray array
        given = (None,) * n if out is None else (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != n:
            raise BadInput(f"out= should hold {n} arrays, holds {len(given)}")
        results = []
        for i in range(n):
            spec = plan.outputs[i]
            timed = spec.is_sequence and not one_step
            shape = (batch, *spec.inner)
            if timed:
                steps = fg_plan_steps(plan.plan, plan.ids[plan.graph.outputs[i]], call)
                if steps < 0:
                    raise misfit(plan, call)
                shape = (batch, steps, *spec.inner)
            dtype = np.dtype(spec.dtype)
            if given[i] is None:
                array = np.empty(shape, dtype)
            elif callable(given[i]):  # tells where a value of that shape should be written
                array = given[i](shape, dtype)
            else:
                array = check_output(given[i], spec, shape, dtype)
                if any(np.may_share_memory(array, other) for other in alive):
                    raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
            size = array.itemsize
            self.results[i].data = cnp.PyArray_DATA(array)
            self.results[i].batch_stride = cnp.PyArray_STRIDE(array, 0) // size
            self.results[i].time_stride = cnp.PyArray_STRIDE(array, 1) // size if timed else 0
            results.append(array)
            alive.append(array)
        return tuple(results)

    # ---- where the time goes ----

    def _start_profile(self):
        """Measure the layers in the calls from here on."""
        self.enter()
        try:
            free(self.profile)
            self.profile = <fg_profile *>calloc(len(self.plan.layers), sizeof(fg_profile))
            if self.profile == NULL:
                raise MemoryError()
        finally:
            self.busy = False

    def _stop_profile(self):
        """What the calls since `_start_profile` did, as fg_profile says: a dict for each layer that the core has."""
        self.enter()
        try:
            if self.profile == NULL:
                return []
            found = []
            for i, name in enumerate(self.plan.layers):
                profile = <object>self.profile[i]
                ns = dict(zip(PARTS, profile.pop("ns")))
                found.append({"name": name, "folded": fg_plan_folded(self.plan.plan, i), "ns": ns, **profile})
            free(self.profile)
            self.profile = NULL
            return found
        finally:
            self.busy = False

    # ---- the state ----

    def close(self):
        """Free the state. Further calls raise Closed; closing again does nothing.

        Raises
        ------
        StreamBusy
        """
        if self.closed:
            return
        self.enter()
        self.closed = True
        fg_state_free(self.state)
        self.state = NULL

    @property
    def nbytes(self):
        """Bytes of state and workspace."""
        self.enter()
        try:
            return fg_state_bytes(self.state)
        finally:
            self.busy = False

    # the following are for a caller between _enter and _leave

    def _begin(self):
        """Take fresh rows to their initial state: a run of no steps."""
        arrays = tuple(
            np.zeros((self.batch_size, 0, *spec.inner), spec.dtype) if spec.is_sequence else self.static[spec.name]
            for spec in self.plan.inputs
        )
        self._run(arrays, None, None, 1, None, False, begins=True)

    def _reset(self, int64_t first, int64_t count):
        fg_state_reset(self.state, first, count)

    def _get_state(self, value, int64_t row):
        """(h, marks) of one row of the layer whose value is named: a GRU's state and HAS_OUTPUT, HAS_RUN."""
        cdef uint8_t marks = 0
        cdef cnp.ndarray h = np.empty(self.plan.graph.specs[value].features, np.float32)
        check(fg_state_get(self.plan.plan, self.state, self.plan.ids[value], row, <float *>cnp.PyArray_DATA(h), &marks))
        return h, marks

    def _set_state(self, value, int64_t row, h, uint8_t marks):
        cdef cnp.ndarray dense = np.ascontiguousarray(h, np.float32)
        check(fg_state_set(self.plan.plan, self.state, self.plan.ids[value], row, <const float *>cnp.PyArray_DATA(dense), marks))


cdef object misfit(Plan plan, const fg_call *call):
    """The error for a call that the core cannot run: names the layer that its numbers of steps do not fit."""
    cdef int index = fg_plan_misfit(plan.plan, call)
    if index < 0:
        return BadInput(fg_status_text(FG_BAD_CALL).decode())
    layer = next(layer for layer in plan.graph.layers if layer.name == plan.layers[index])
    specs = [plan.graph.specs[value] for value in (*layer.inputs, getattr(layer, "mask", None)) if value is not None]
    steps = {spec.name: fg_plan_steps(plan.plan, plan.ids[spec.name], call) for spec in specs if spec.is_sequence}
    given = " and ".join(f"{count} steps of {name!r}" for name, count in steps.items())
    return BadInput(f"{layer.kind} layer {layer.name!r} cannot run on {given}")


cdef bint overlaps(cnp.ndarray array, fg_view *view, int64_t batch) noexcept:
    """Whether the bytes of a C-contiguous array meet those of a step's input."""
    cdef char *first = <char *>cnp.PyArray_DATA(array)
    cdef char *last = first + cnp.PyArray_NBYTES(array)
    cdef char *from_ = <char *>view.data
    return from_ < last and first < from_ + batch * view.batch_stride * 4


cdef cnp.ndarray checked_input(object x, object spec, bint one_step, int64_t limit, bint any_steps=False):
    """An input as the core takes it; the user's own array where nothing has to be converted."""
    shape = spec.shape
    if spec.is_sequence and one_step:
        shape = (shape[0], *shape[2:])
    elif spec.is_sequence and any_steps:
        shape = (shape[0], None, *shape[2:])
    if type(x) is np.ndarray and x.dtype.kind in "fiu" and x.ndim == len(shape):
        array = x
        fits = all(want is None or want == size for want, size in zip(shape, x.shape))
    else:
        array, fits = as_array(x, _expected(spec, shape)), False
    if not fits:
        _check_shape(array, shape, spec, _expected(spec, shape))
    return as_ids(array, limit, spec, shape) if spec.dtype == "int32" else as_floats(array, spec)


def check_output(array, spec, shape, dtype):
    """The array that a caller gives for an output; BadInput unless it is a plain one of that shape and dtype."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape or not array.flags.writeable:
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BadInput(f"out= for {spec.name!r} should be a writable {np.dtype(dtype).name} array of shape {shape}; got {got}")
    if not array.flags.carray or type(array).__name__ == "MaskedArray":
        raise BadInput(f"out= for {spec.name!r} should be a plain C-contiguous, aligned array")
    return array
