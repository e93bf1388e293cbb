# What the rows of a stream carry, by their places: opened, closed, copied, read and written.

cdef class RowKeeper(FastPath):
    """The rows of a Runner and what they carry; all of it is for a caller between _enter and _leave."""

    cdef readonly dict static  # inputs without time by name: at each place what its row has

    def __cinit__(self, Plan plan not None, int64_t batch_size=1, int threads=1, dict static=None, *args, **options):
        self.static = {} if static is None else self._checked_static(static, batch_size, f"the stream batch_size={batch_size}")
        self.fixed = [self.static.get(name) for name in plan.names]
        self.gathered = [None] * plan.n_inputs
        check(fg_state_new(plan.plan, batch_size, &self.state))

    def _checked_static(self, given, int64_t rows, expected):
        """Own copies of inputs without a time axis, as the core takes them."""
        static = {}
        for i, spec in enumerate(self.plan.inputs):
            if spec.name not in given:
                continue
            array = <object>checked_input(given[spec.name], spec, False, self.plan.info[i].limit)
            if array.shape[0] != rows:
                raise BadInput(f"input {spec.name!r} has shape {array.shape}, {expected}")
            static[spec.name] = array.copy("C")
        return static

    @property
    def batch_size(self):
        """The number of open rows."""
        return self.table.count

    # ---- rows ----

    cdef object _places_of(self, const fg_call *call):
        """Those of the chosen rows; None where they are 0 .. batch_size-1."""
        return None if call.rows == NULL else copied_places(call.rows, call.batch)

    def _choose_places(self, rows):
        """The places of rows by their handles, or of all open ones where None; None where they are 0 .. batch_size-1.
        """
        cdef fg_call call
        self._choose(rows, &call)
        return self._places_of(&call)

    def _places(self, rows, bint twice=False):
        """As `_choose_places`, always an array (int64); `twice`: rows may be named more than once."""
        if twice and rows is not None:
            return self.table.find(rows)
        places = self._choose_places(rows)
        return np.arange(self.batch_size) if places is None else places

    def _handles(self):
        """Of all open rows, in the order of their places."""
        return self.table.handles()

    def _open(self, static):
        """Open a row with its inputs without time, each (1, …) as `_checked_static` gave it; returns its handle."""
        cdef int64_t place = self.table.next_place()
        self._reserve(place + 1)
        self._set_static(static, place)
        self._reset_places(copied_places(&place, 1))
        return self.table.add()

    def _close(self, row):
        self.table.remove(self._place_of(row))

    def _place_of(self, row):
        """That of one open row, by its handle."""
        if self.table.choose((row,)) == 1:
            return self.table.chosen[0]

    def _reserve(self, int64_t count):
        """Make room for what so many places carry."""
        check(fg_state_reserve(self.state, count))

    def _set_static(self, static, int64_t place):
        """Give a place its inputs without time, each (1, …), making room for it."""
        for name, array in static.items():
            if place >= len(self.static[name]):
                self.static[name] = roomy(self.static[name], place + 1)
                self.fixed = [self.static.get(name) for name in self.plan.names]
            self.static[name][place] = array[0]

    def _static_of(self, places):
        """The inputs without time of places (None: of all open rows, which are the first ones)."""
        return {name: array[:self.batch_size] if places is None else array[places] for name, array in self.static.items()}

    def _copy_rows(self, cnp.ndarray from_, cnp.ndarray to):
        """Let the rows at places `to` stand where those at `from_` do, all at once: int64 arrays of one length.

        A place may be in both; in `to` each is named once. Inputs without time stay what they are.
        """
        cdef RowTable table = self.table
        cdef const int64_t *source = <const int64_t *>cnp.PyArray_DATA(from_)
        cdef const int64_t *target = <const int64_t *>cnp.PyArray_DATA(to)
        cdef int64_t i, count = cnp.PyArray_DIM(to, 0), place
        cdef list steps = [table.places[source[i]].steps for i in range(count)]
        check(fg_state_reserve(self.state, table.used + count))
        table.stamp += 1
        for i in range(count):
            if source[i] != target[i]:
                table.places[target[i]].stamp = table.stamp
        for i in range(count):  # what will be overwritten is read from beyond the places
            if source[i] != target[i] and table.places[source[i]].stamp == table.stamp:
                check(fg_state_copy(self.state, source[i], table.used + i))
        for i in range(count):
            if source[i] != target[i]:
                place = table.used + i if table.places[source[i]].stamp == table.stamp else source[i]
                check(fg_state_copy(self.state, place, target[i]))
                table.places[target[i]].steps = steps[i]

    # ---- the state ----

    def _reset(self, int64_t first, int64_t count):
        fg_state_reset(self.state, first, count)

    def _reset_places(self, cnp.ndarray places):
        cdef int64_t i
        for i in range(cnp.PyArray_DIM(places, 0)):
            fg_state_reset(self.state, (<int64_t *>cnp.PyArray_DATA(places))[i], 1)
            self.table.places[(<int64_t *>cnp.PyArray_DATA(places))[i]].steps = 0

    def _get_steps(self, cnp.ndarray places):
        """The steps that rows have had, int64, where the plan changes their number."""
        cdef int64_t i, count = cnp.PyArray_DIM(places, 0)
        cdef cnp.ndarray steps = np.empty(count, np.int64)
        for i in range(count):
            (<int64_t *>cnp.PyArray_DATA(steps))[i] = self.table.places[(<int64_t *>cnp.PyArray_DATA(places))[i]].steps
        return steps

    def _set_steps(self, cnp.ndarray places, cnp.ndarray steps):
        """The other way, from int64."""
        cdef int64_t i
        for i in range(cnp.PyArray_DIM(places, 0)):
            self.table.places[(<int64_t *>cnp.PyArray_DATA(places))[i]].steps = (<int64_t *>cnp.PyArray_DATA(steps))[i]

    def _get_state(self, value, cnp.ndarray places):
        """What rows carry of the layer whose value is named: (rows, size) float32, and marks (rows,) uint8 such as a
        GRU's HAS_OUTPUT and HAS_RUN."""
        cdef int64_t i, count = cnp.PyArray_DIM(places, 0), size = fg_plan_carried(self.plan.plan, self.plan.ids[value])
        cdef const int64_t *place = <const int64_t *>cnp.PyArray_DATA(places)
        cdef cnp.ndarray numbers = np.empty((count, size), np.float32), marks = np.empty(count, np.uint8)
        cdef float *to = <float *>cnp.PyArray_DATA(numbers)
        cdef uint8_t *mark = <uint8_t *>cnp.PyArray_DATA(marks)
        cdef fg_value v = self.plan.ids[value]
        for i in range(count):
            check(fg_state_get(self.plan.plan, self.state, v, place[i], to + i * size, mark + i))
        return numbers, marks

    def _set_state(self, value, cnp.ndarray places, numbers, marks):
        """The other way; both as `_get_state` gives them."""
        cdef int64_t i, count = cnp.PyArray_DIM(places, 0), size
        cdef const int64_t *place = <const int64_t *>cnp.PyArray_DATA(places)
        cdef cnp.ndarray dense = np.ascontiguousarray(numbers, np.float32), kinds = np.ascontiguousarray(marks, np.uint8)
        cdef const float *from_ = <const float *>cnp.PyArray_DATA(dense)
        cdef const uint8_t *mark = <const uint8_t *>cnp.PyArray_DATA(kinds)
        cdef fg_value v = self.plan.ids[value]
        size = cnp.PyArray_DIM(dense, 1)
        assert size == fg_plan_carried(self.plan.plan, v)
        for i in range(count):
            check(fg_state_set(self.plan.plan, self.state, v, place[i], from_ + i * size, mark[i]))


def roomy(array, count):
    """The array, or a larger one that begins with it, with room for `count` rows; it doubles, so that many rows are
    cheap to add one by one."""
    if count <= len(array):
        return array
    larger = np.zeros((max(count, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[:len(array)] = array
    return larger
