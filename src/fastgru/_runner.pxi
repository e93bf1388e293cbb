# Running: a Plan with a State.

#: in the order of fg_part
cdef tuple PARTS = ("products", "steps", "other")
assert len(PARTS) == FG_PARTS

cdef class Runner(RowKeeper):
    """A Plan with a State: what a Stream is, and what a Model's plain call takes from its free list.

    Parameters
    ----------
    plan : Plan
    batch_size : int
        Rows that are open from the start. Without rows, a call makes the room that it needs.
    threads : int
        Upper bound of the threads of `step` and `run`.
    static : dict
        Inputs without a time axis by name, for `step` and `run`: (batch_size, …).
    mask_drops : dict
        Why lengths would be without effect, by the names of those inputs where that is so.
    """

    cdef readonly int threads
    cdef readonly dict mask_drops
    cdef int64_t *steps        # of each view
    cdef bint busy
    cdef bint closed

    def __cinit__(self, Plan plan not None, int64_t batch_size=1, int threads=1, dict static=None, dict mask_drops=None):
        self.threads = threads
        self.mask_drops = {} if mask_drops is None else mask_drops
        self.steps = <int64_t *>calloc(plan.n_views, sizeof(int64_t))
        if self.steps == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.steps)

    # ---- one thread at a time: what is between _enter and _leave has the runner to itself ----

    @final
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

    def step(self, x, rows=None, out=None):
        """One step of rows.

        Parameters
        ----------
        x : array (batch, features) float, or (batch,) token ids
            Of several sequence inputs: a dict by name or a tuple.
        rows : array or sequence of int (batch,), or int, optional
            Handles of the rows that take the step, in the order of x, each named once; an int64 array is the fastest.
            Default: all open rows, in the order of `rows`. The others stay as they are.
        out : array or tuple of arrays, optional
            Where to put the result; C-contiguous float32.

        Returns
        -------
        array (batch, features) or tuple of arrays
            Of a sequence output its newest step; of another what ``model(all steps so far)`` gives.

        Raises
        ------
        BadInput
            Wrong shape, dtype or token id, rows that are not the stream's, or a network that changes the number of
            steps: use `run`. The state is unchanged.
        Closed
            The stream or one of the rows is closed. The state is unchanged.
        StreamBusy

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
            if self.plan.changes_steps:
                raise no_step(self.plan)
            self._choose(rows, &call)
            if self._may_write(out) and self._take_sequences(x, STEP, &call):
                results = self._go_fast(STEP, out, self.threads, &call)
                if results is not None:
                    return results
            return self._call(x, None, out, True, &call)
        finally:
            self.busy = False

    def run(self, x, rows=None, lengths=None, out=None):
        """A chunk of steps of rows; chunks one after the other give what the whole sequence gives, to the bit.

        Parameters
        ----------
        x : array (batch, time, features) float, or (batch, time) token ids
        rows : array or sequence of int (batch,), or int, optional
            As `step`.
        lengths : array of int (batch,), or a dict of them by input, optional
            Steps of each row; what lies past them is masked, as a plain call masks it. Where the network has a layer
            that masks do not reach, a row runs its own steps only: outputs past them are zero, and what has no time
            axis is as after the row's own last step.
        out : array or tuple of arrays, optional
            Where to put the result; C-contiguous float32.

        Returns
        -------
        array or tuple of arrays
            Sequence outputs (batch, time, …), others as after the last step. Where a layer changes the number of steps
            (strides, pooling, windows without padding), those that the steps so far complete and earlier calls have not
            returned: maybe none.

        Raises
        ------
        BadInput, Closed, StreamBusy
            As `step`.

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
            self._choose(rows, &call)
            differ = self.plan.changes_steps and self.table.steps_before(call.rows, call.batch) < 0
            if differ or (lengths is not None and self._cuts(lengths)):
                return self._run_own_steps(x, self._places_of(&call), lengths, out)
            if lengths is None and self._may_write(out) and self._take_sequences(x, CHUNK, &call):
                results = self._go_fast(CHUNK, out, self.threads, &call)
                if results is not None:
                    if self.plan.changes_steps:
                        self.table.note_steps(call.rows, call.batch, call.steps)
                    return results
            check_masks(lengths, None, self.plan.inputs, self.mask_drops)
            return self._call(x, lengths, out, False, &call)
        finally:
            self.busy = False

    cdef object _call(self, object x, object lengths, object out, bint one_step, const fg_call *call):
        """The rows that `call` chose, from wherever x is."""
        cdef Plan plan = self.plan
        places = self._places_of(call)
        if len(plan.inputs) == 1 and not isinstance(x, Mapping):
            arrays = (x,)
        else:
            sequences = [spec for spec in plan.inputs if spec.is_sequence]
            given = {**named_inputs(x if isinstance(x, tuple) else (x,), sequences), **self._static_of(places)}
            arrays = tuple(given[spec.name] for spec in plan.inputs)
        results = self._run(arrays, lengths, None, self.threads, out, one_step, call.batch, places=places)
        return results[0] if len(results) == 1 else results

    def _checked_sequences(self, x, int64_t rows):
        """Inputs with time by name, each (batch, time, …) as the core takes it and of as many steps."""
        specs = [(i, spec) for i, spec in enumerate(self.plan.inputs) if spec.is_sequence]
        given = named_inputs(x if isinstance(x, tuple) else (x,), [spec for _, spec in specs])
        checked = {}
        for i, spec in specs:
            array = <object>checked_input(given[spec.name], spec, False, self.plan.info[i].limit, True)
            if len(array) != rows:
                raise BadInput(f"expected {rows} rows; got {len(array)} of {spec.name!r} (shape {array.shape})")
            checked[spec.name] = array
        counts = {name: array.shape[1] for name, array in checked.items()}
        if len(set(counts.values())) > 1:
            raise BadInput(f"rows that run their own steps take as many of every input, got {counts}")
        return checked

    def _wanted(self):
        """The outputs that `step` and `run` return."""
        return [spec for i, spec in enumerate(self.plan.outputs) if not self.drops[i]]

    def _steps_out(self, cnp.ndarray steps, cnp.ndarray before):
        """For each output that is wanted, how many steps rows get for so many of the inputs, after so many `before`:
        int64 (rows,); None of one that is no sequence."""
        cdef fg_call call
        cdef int64_t row, count = cnp.PyArray_DIM(steps, 0)
        cdef cnp.ndarray made
        cdef list found = []
        cdef int i
        memset(&call, 0, sizeof(call))
        call.batch = 1
        for i in range(self.plan.n_outputs):
            if self.drops[i]:
                continue
            if not self.plan.output_info[i].sequence:
                found.append(None)
                continue
            made = np.empty(count, np.int64)
            for row in range(count):
                call.steps = (<int64_t *>cnp.PyArray_DATA(steps))[row]
                call.before = (<int64_t *>cnp.PyArray_DATA(before))[row]
                (<int64_t *>cnp.PyArray_DATA(made))[row] = fg_plan_steps(self.plan.plan, self.plan.values[i], &call)
            found.append(made)
        return found

    def _check_fits(self, int64_t steps, int64_t before):
        """That all layers can run on so many steps, after so many before."""
        cdef fg_call call
        memset(&call, 0, sizeof(call))
        call.batch, call.steps, call.before = 1, steps, before
        if fg_plan_misfit(self.plan.plan, &call) >= 0:
            raise misfit(self.plan, &call)

    def _made_outputs(self, out, int64_t rows, steps, arrays):
        """For each output that is wanted an array of zeros, or that of `out`, with so many steps (None: no sequence);
        it meets none of `arrays`."""
        given = (None,) * self.n_given if out is None else (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != self.n_given:
            raise BadInput(f"out= should hold {self.n_given} arrays, holds {len(given)}")
        made, others = [], list(arrays)
        for spec, count, array in zip(self._wanted(), steps, given):
            shape = (rows, *spec.inner) if count is None else (rows, count, *spec.inner)
            if array is None:
                array = np.empty(shape, spec.dtype)
            elif any(np.may_share_memory(check_output(array, spec, shape, np.dtype(spec.dtype)), other) for other in others):
                raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
            made.append(array)
            others.append(array)
        for array in made:
            array[...] = 0
        return made

    # ---- any call ----

    def _run_fresh(self, tuple arrays, lengths, mask, int threads, out, layout=None):
        """As _run, whole sequences, every row from its initial state; arrays stand as `layout` says, if given."""
        cdef fg_call call
        cdef int form = CHUNK if layout is None else CALLED
        self.enter()
        try:
            fg_state_reset(self.state, 0, 2**62)
            if (lengths is None and mask is None and (out is None if form == CALLED else self._may_write(out))
                    and self._take_all(arrays, form, &call)):
                results = self._go_fast(form, out, threads, &call)
                if results is not None:
                    return results if self.n_given > 1 else (results,)
            if layout is not None:
                return layout.run(self, arrays, lengths, mask, threads, out)
            return self._run(arrays, lengths, mask, threads, out, False)
        finally:
            self.busy = False

    def _run_step(self, tuple arrays, bint timed, int64_t expected):
        """So many rows from their initial state, in (batch, …); timed: as the only step of sequences, in and out.

        Returns a tuple of outputs, or None where the call is for _run. The caller has the runner to itself.
        """
        cdef Plan plan = self.plan
        cdef fg_call call
        cdef int i
        fg_state_reset(self.state, 0, 2**62)
        if not self._take_all(arrays, STEP if timed else CHUNK, &call) or call.batch != expected:
            return None
        for i in range(plan.n_outputs):
            if timed and plan.output_info[i].sequence and fg_plan_steps(plan.plan, plan.values[i], &call) != 1:
                return None
        results = self._go_fast(STEP if timed else CHUNK, None, self.threads, &call)
        return results if results is None or self.n_given > 1 else (results,)

    def _run(self, tuple arrays, lengths, mask, int threads, out, bint one_step, int64_t expected=-1, bint begins=False,
             bint whole=False, places=None):
        """Run the inputs, given in the order of the plan's, from where the state stands; returns a tuple of outputs.

        With one_step sequence inputs and outputs have no time axis. `lengths` and `mask` hold for every sequence input.
        Lengths or masks in a dict hold for the inputs that it names. `expected` is the number of rows that a stream
        chose, or -1; the steps that it gets are some of a sequence's unless `whole`. `places` are those of the rows (int64;
        None: from 0 on); `begins` as in fg_call. `out` may hold, for each output, an array, None or a function of shape
        and dtype that gives one at any batch and time stride. The caller has the runner to itself.
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
        call.rows = NULL if places is None else <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>places)
        call.begins = begins
        for i in range(len(plan.inputs)):
            spec = plan.inputs[i]
            array = checked_input(arrays[i], spec, one_step, plan.info[i].limit, begins or (expected >= 0 and not whole))
            alive.append(array)
            checked.append(array)
            rows = cnp.PyArray_DIM(array, 0)
            if expected >= 0 and rows != expected:
                stands = f"this stream has batch_size={expected}" if places is None else f"rows= names {expected}"
                raise BadInput(f"{stands}; got {rows} rows (shape {(<object>array).shape})")
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
                array = make_mask(row_lengths, row_mask, array, spec)
                alive.append(array)
                self.views[view].data = cnp.PyArray_DATA(array)
                self.views[view].batch_stride, self.views[view].time_stride = rows, 1
            view += 1
        call.batch = batch
        call.before = FG_WHOLE if whole or (expected < 0 and not begins) else 0
        if plan.changes_steps and call.before == 0 and not begins:
            call.before = self.table.steps_before(call.rows, batch)
            if differ:
                raise BadInput("the network changes the number of steps, so in a stream all inputs should have as many")
        call.input_steps = self.steps if differ else NULL
        if differ:
            self._check_steps()
        if expected < 0 and not begins:
            self._check_lengths(checked, &call)
        results = self._outputs(out, &call, one_step, alive)
        self._go(&call)
        if plan.changes_steps and call.before >= 0:
            self.table.note_steps(call.rows, batch, call.steps)
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
        cdef int i, place = 0
        cdef cnp.ndarray array
        given = (None,) * self.n_given if out is None else (out,) if isinstance(out, np.ndarray) else tuple(out)
        if len(given) != self.n_given:
            raise BadInput(f"out= should hold {self.n_given} arrays, holds {len(given)}")
        results = []
        for i in range(plan.n_outputs):
            if self.drops[i]:
                self.results[i].data = NULL
                continue
            spec = plan.outputs[i]
            timed = spec.is_sequence and not one_step
            shape = (batch, *spec.inner)
            if timed:
                steps = fg_plan_steps(plan.plan, plan.ids[plan.graph.outputs[i]], call)
                if steps < 0:
                    raise misfit(plan, call)
                shape = (batch, steps, *spec.inner)
            dtype = np.dtype(spec.dtype)
            if given[place] is None:
                array = np.empty(shape, dtype)
            elif callable(given[place]):  # tells where a value of that shape should be written
                array = given[place](shape, dtype)
            else:
                array = check_output(given[place], spec, shape, dtype)
                if any(np.may_share_memory(array, other) for other in alive):
                    raise BadInput(f"out= for {spec.name!r} overlaps another array of this call")
            size = array.itemsize
            self.results[i].data = cnp.PyArray_DATA(array)
            self.results[i].batch_stride = cnp.PyArray_STRIDE(array, 0) // size
            self.results[i].time_stride = cnp.PyArray_STRIDE(array, 1) // size if timed else 0
            results.append(array)
            alive.append(array)
            place += 1
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

    def close(self, row=None):
        """Close a row, whose place is free for another one then, or without an argument the whole stream.

        Further calls with the row, or with the stream, raise Closed. Closing a stream again does nothing.

        Raises
        ------
        Closed
            The row is closed, or the stream where a row is given.
        BadInput
            No row of this stream.
        StreamBusy
        """
        if row is None and self.closed:
            return
        self.enter()
        if row is None:
            self.closed = True
            fg_state_free(self.state)
            self.state = NULL
            return
        try:
            self._close(row)
        finally:
            self.busy = False

    @property
    def nbytes(self):
        """Bytes of state and workspace."""
        self.enter()
        try:
            return fg_state_bytes(self.state)
        finally:
            self.busy = False

    # the following are for a caller between _enter and _leave, and so is what a RowKeeper does

    def _return_only(self, places):
        """Say which outputs `step` and `run` return."""
        cdef int i
        for i in range(self.plan.n_outputs):
            self.drops[i] = i not in places
        self.n_given = len(places)

    def _begin(self, places):
        """Take fresh rows to their initial state: a run of no steps."""
        places = np.unique(places)
        fixed = self._static_of(places)
        arrays = tuple(
            np.zeros((len(places), 0, *spec.inner), spec.dtype) if spec.is_sequence else fixed[spec.name]
            for spec in self.plan.inputs
        )
        self._run(arrays, None, None, 1, None, False, begins=True, places=places)

cdef object no_step(Plan plan):
    """The error for a step of a network that gives other numbers of steps than it takes."""
    return BadInput(f"{changer(plan)} changes the number of steps, so there is no step(): use run(), which returns those "
                    "completed so far, maybe none")


def changer(Plan plan not None):
    """The first layer of a plan that changes the number of steps, as errors name it."""
    name = next(iter(rate_changes(plan.graph).values()))
    kind = next(layer.kind for layer in plan.graph.layers if layer.name == name)
    return f"{kind} layer {name!r}"


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
