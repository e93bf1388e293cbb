# The fast path of a call: arrays in C order and of the core's types, nothing to convert and nothing to complain about.

cdef extern from *:
    """
    /* No one but the holder that asks has it, nor a weak reference to it. */
    static int is_unheld_array(PyObject *array)
    {
        return array != NULL && Py_REFCNT(array) == 1 && ((PyArrayObject_fields *)array)->weakreflist == NULL;
    }
    """
    bint is_unheld_array(PyObject *array) noexcept

cdef enum:
    REUSED_ELEMENTS = 1024     # results up to this size are used again once nobody holds them


cdef inline bint is_plain(cnp.ndarray array) noexcept:
    return cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISBEHAVED_RO(array)


cdef inline bint is_like(cnp.ndarray array, int kind, int ndim, const cnp.npy_intp *sizes) noexcept:
    """Plain and writable, of that type and shape."""
    cdef int axis
    if (cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != kind
            or not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISBEHAVED(array)):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(array, axis) != sizes[axis]:
            return False
    return True


cdef struct Ids:
    int32_t *data
    int64_t room


cdef struct Spares:
    PyObject *older            # the last two small results; NULL before there are any
    PyObject *newer


cdef class FastPath:
    """What a Runner points the core at, and the calls that it makes without asking Python.

    `_take_all` or `_take_sequences`, then `_go_fast`. What they do not know, errors among that, they leave to
    `Runner._run`, before anything has run.
    """

    cdef readonly Plan plan
    cdef RowTable table
    cdef fg_state *state
    cdef fg_view *views
    cdef fg_view *results
    cdef fg_profile *profile   # of each layer; NULL: nothing is measured
    cdef int n_inputs, n_outputs
    cdef Ids *ids              # of each input, converted token ids
    cdef Spares *spares        # of each output
    cdef bint *drops           # of each output: nobody wants it
    cdef int n_given           # outputs that are wanted
    cdef list fixed            # of each input without time what it is at each place, or None
    cdef list gathered         # what of that the rows of a call read, where they are not the first places

    def __cinit__(self, Plan plan not None, int64_t batch_size=1, *args, **options):
        self.plan = plan
        self.table = RowTable(batch_size)
        self.views = <fg_view *>calloc(plan.n_views, sizeof(fg_view))
        self.results = <fg_view *>calloc(plan.n_outputs, sizeof(fg_view))
        self.ids = <Ids *>calloc(plan.n_inputs, sizeof(Ids))
        self.spares = <Spares *>calloc(plan.n_outputs, sizeof(Spares))
        self.drops = <bint *>calloc(plan.n_outputs, sizeof(bint))
        if self.views == NULL or self.results == NULL or self.ids == NULL or self.spares == NULL or self.drops == NULL:
            raise MemoryError()
        self.n_inputs, self.n_outputs, self.n_given = plan.n_inputs, plan.n_outputs, plan.n_outputs

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_inputs):  # the plan may be gone by now
            free(self.ids[i].data)
        for i in range(self.n_outputs):
            Py_XDECREF(self.spares[i].older)
            Py_XDECREF(self.spares[i].newer)
        fg_state_free(self.state)
        free(self.views)
        free(self.results)
        free(self.ids)
        free(self.spares)
        free(self.drops)
        free(self.profile)

    @final
    cdef bint _take_all(self, tuple arrays, int form, fg_call *call) except -1:
        """Whole sequences; False where an input is for the slow path."""
        cdef int i
        if not self.plan.fits[form] or len(arrays) != self.plan.n_inputs:
            return False
        call.batch = call.steps = -1
        call.rows = NULL
        for i in range(self.plan.n_inputs):
            if not self._take(arrays[i], i, form, True, call):
                return False
        return self._taken(call, FG_WHOLE)

    @final
    cdef int _choose(self, object rows, fg_call *call) except -1:
        """Say which rows a call is of: those with these handles, or None for all that are open."""
        cdef RowTable table = self.table
        if rows is None:
            if not table.in_order:
                table.arrange()
            call.batch = table.count
            call.rows = NULL if table.packed else table.open_places
        else:
            call.batch = table.choose(rows)
            call.rows = table.chosen
        return 0

    @final
    cdef bint _take_sequences(self, object x, int form, fg_call *call) except -1:
        """What the chosen rows of a stream are given, beside what is fixed; False where an input is for the slow path.
        """
        cdef Plan plan = self.plan
        cdef int i, count = 0
        cdef bint fits = True
        cdef int64_t before = self.table.steps_before(call.rows, call.batch) if plan.changes_steps else 0
        if not plan.fits[form]:
            return False
        call.steps = -1
        if plan.n_inputs == 1:
            return plan.info[0].sequence and self._take(x, 0, form, False, call) and self._taken(call, before)
        for i in range(plan.n_inputs):
            if not plan.info[i].sequence:
                fits = fits and self._take_fixed(i, call)
                continue
            array = x
            if type(x) is tuple:
                array = x[count] if count < len(<tuple>x) else None
            elif type(x) is dict:
                array = (<dict>x).get(plan.names[i])
            count += 1
            fits = fits and self._take(array, i, form, False, call)
        return fits and count == (len(x) if type(x) in (tuple, dict) else 1) and self._taken(call, before)

    @final
    cdef bint _take_fixed(self, int i, fg_call *call) except -1:
        """Point an input's view at what it is for the chosen rows."""
        cdef fg_view *view = &self.views[self.plan.info[i].view]
        cdef cnp.ndarray fixed
        cdef int64_t row, size
        cdef char *from_
        cdef char *to
        if self.fixed[i] is None or not call.batch:
            return False
        fixed = <cnp.ndarray>self.fixed[i]
        size = cnp.PyArray_STRIDE(fixed, 0)
        view.data, view.batch_stride, view.time_stride = cnp.PyArray_DATA(fixed), size // 4, 0
        if call.rows == NULL:
            return True
        if self.gathered[i] is None or cnp.PyArray_DIM(<cnp.ndarray>self.gathered[i], 0) < call.batch:
            self.gathered[i] = np.empty((call.batch, *(<object>fixed).shape[1:]), fixed.dtype)
        from_, to = <char *>view.data, <char *>cnp.PyArray_DATA(<cnp.ndarray>self.gathered[i])
        for row in range(call.batch):
            memcpy(to + row * size, from_ + call.rows[row] * size, size)
        view.data = to
        return True

    @final
    cdef bint _taken(self, fg_call *call, int64_t before) noexcept:
        call.steps = 1 if call.steps < 0 else call.steps
        call.input_steps = NULL
        call.before = before
        call.begins = False
        return True

    @final
    cdef bint _take(self, object x, int i, int form, bint whole, fg_call *call) noexcept:
        """Point an input's views at x; False where that is for the slow path, or has not the others' rows or steps."""
        cdef ValueInfo *info = &self.plan.info[i]
        cdef Geometry *geometry = &info.forms[form]
        cdef fg_view *view = &self.views[info.view]
        cdef int64_t batch = 1, steps = 1, count = 1, size
        cdef int axis
        cdef cnp.ndarray array
        if not cnp.PyArray_CheckExact(x):
            return False
        array = <cnp.ndarray>x
        if cnp.PyArray_NDIM(array) != geometry.ndim or not is_plain(array):
            return False
        view.batch_stride = view.time_stride = 0
        for axis in range(geometry.ndim - 1, -1, -1):
            size = cnp.PyArray_DIM(array, axis)
            if axis == geometry.batch:
                batch, view.batch_stride = size, count
            elif axis == geometry.time:
                steps, view.time_stride = size, count
            elif size != geometry.sizes[axis]:
                return False
            count *= size
        if call.batch < 0:
            call.batch = batch
        if info.sequence:
            self.views[info.view + 1].data = NULL  # no mask
            if call.steps < 0:
                call.steps = steps
            if steps != call.steps or (whole and info.steps >= 0 and info.steps != steps):
                return False
        if (count == 0 or batch != call.batch or (info.batch >= 0 and info.batch != batch)
                or (geometry.batch_splits and batch != 1) or (geometry.time_splits and steps != 1)):
            return False
        if info.type == cnp.NPY_INT32:
            return self._take_ids(array, i, count)
        view.data = cnp.PyArray_DATA(array)
        return info.type == cnp.NPY_FLOAT32 and cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32

    @final
    cdef bint _take_ids(self, cnp.ndarray array, int place, int64_t count) noexcept:
        cdef Ids *room = &self.ids[place]
        cdef int64_t i, limit = self.plan.info[place].limit
        cdef int kind = cnp.PyArray_TYPE(array)
        cdef int64_t *wide = <int64_t *>cnp.PyArray_DATA(array)
        cdef int32_t *ids = <int32_t *>cnp.PyArray_DATA(array)
        if kind == cnp.NPY_INT64:
            if count > room.room:
                ids = <int32_t *>realloc(room.data, count * sizeof(int32_t))
                if ids == NULL:
                    return False
                room.data, room.room = ids, count
            ids = room.data
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
        self.views[self.plan.info[place].view].data = ids
        return True

    @final
    cdef bint _may_write(self, object out) noexcept:
        """Whether the fast path knows how to write there."""
        return out is None or (self.plan.n_inputs == self.plan.n_outputs == 1 and not isinstance(out, (tuple, list)))

    @final
    cdef object _go_fast(self, int form, object out, int threads, fg_call *call):
        """Run what was taken. Returns the output that is wanted, or a tuple of them; None where one is for the slow
        path, before anything has run."""
        cdef int i
        cdef list arrays
        call.threads = threads
        if self.plan.n_outputs == 1:
            array = self._place(0, form, out, call)
            if array is not None:
                self._go(call)
            return array
        arrays = []
        for i in range(self.plan.n_outputs):
            self.results[i].data = NULL
            if not self.drops[i]:
                array = self._place(i, form, out, call)
                if array is None:
                    return None
                arrays.append(array)
        self._go(call)
        return arrays[0] if self.n_given == 1 else tuple(arrays)

    @final
    cdef object _place(self, int i, int form, object out, fg_call *call):
        """The array for an output, with its view pointed at it; None where it is for the slow path."""
        cdef ValueInfo *info = &self.plan.output_info[i]
        cdef Geometry *geometry = &info.forms[form]
        cdef fg_view *view = &self.results[i]
        cdef cnp.npy_intp sizes[MAX_SEEN_AXES]
        cdef int64_t steps = 1, count = 1
        cdef int axis
        cdef cnp.ndarray array
        if geometry.time >= 0:
            steps = fg_plan_steps(self.plan.plan, self.plan.values[i], call)
        if (steps < 0 or (call.batch != 1 and (geometry.batch < 0 or geometry.batch_splits))
                or (geometry.time_splits and steps != 1)):
            return None
        view.batch_stride = view.time_stride = 0
        for axis in range(geometry.ndim - 1, -1, -1):
            if axis == geometry.batch:
                sizes[axis], view.batch_stride = call.batch, count
            elif axis == geometry.time:
                sizes[axis], view.time_stride = steps, count
            else:
                sizes[axis] = geometry.sizes[axis]
            count *= sizes[axis]
        if out is None:
            array = self._output(i, geometry.ndim, sizes, count)
        else:
            if not cnp.PyArray_CheckExact(out) or not is_like(<cnp.ndarray>out, info.type, geometry.ndim, sizes):
                spec = self.plan.outputs[i]
                check_output(out, spec, tuple([sizes[axis] for axis in range(geometry.ndim)]), np.dtype(spec.dtype))
            array = <cnp.ndarray>out
            if overlaps(array, &self.views[0], call.batch):
                raise BadInput("out= overlaps the input")
        view.data = cnp.PyArray_DATA(array)
        return array

    @final
    cdef cnp.ndarray _output(self, int i, int ndim, cnp.npy_intp *sizes, int64_t elements):
        """A new array; a small one may be an earlier result that nobody holds any more."""
        cdef int kind = self.plan.output_info[i].type
        cdef Spares *spares = &self.spares[i]
        cdef PyObject *oldest
        cdef cnp.ndarray array
        if elements > REUSED_ELEMENTS:
            return cnp.PyArray_EMPTY(ndim, sizes, kind, 0)
        if is_unheld_array(spares.older) and is_like(<cnp.ndarray>spares.older, kind, ndim, sizes):
            spares.older, spares.newer = spares.newer, spares.older
        elif not is_unheld_array(spares.newer) or not is_like(<cnp.ndarray>spares.newer, kind, ndim, sizes):
            array = cnp.PyArray_EMPTY(ndim, sizes, kind, 0)
            oldest = spares.older
            Py_INCREF(array)
            spares.older, spares.newer = spares.newer, <PyObject *>array
            Py_XDECREF(oldest)
        return <cnp.ndarray>spares.newer

    @final
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


cdef bint overlaps(cnp.ndarray array, fg_view *view, int64_t batch) noexcept:
    """Whether the bytes of a C-contiguous array meet those of a step's input."""
    cdef char *first = <char *>cnp.PyArray_DATA(array)
    cdef char *last = first + cnp.PyArray_NBYTES(array)
    cdef char *from_ = <char *>view.data
    return from_ < last and first < from_ + batch * view.batch_stride * 4
