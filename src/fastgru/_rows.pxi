# Rows of a stream: which places of a State hold open ones, and under which handles.

cdef enum:
    PLACE_BITS = 32            # a handle is generation << PLACE_BITS | place
    MOST_PLACES = 0x7FFFFFFF
    LAST_GENERATION = 0x7FFFFFFF


cdef struct Place:
    int64_t generation         # of the row that is open here; ~generation of the last one where none is
    int64_t stamp              # the last call that chose it
    int64_t steps              # that its row has had, where the network changes their number


@final
cdef class RowTable:
    """The open rows of a State, which keep their places, and those of one call.

    A place that is free again is taken with the next generation, so that the handle of a closed row never means
    another one.
    """

    cdef Place *places
    cdef int64_t *free_places  # a stack
    cdef int64_t *open_places  # in order, where `in_order`
    cdef int64_t *chosen       # of the rows of a call
    cdef int64_t room          # places that the arrays have room for
    cdef int64_t used          # places that have ever held a row
    cdef int64_t count, n_free
    cdef int64_t stamp
    cdef bint in_order
    cdef bint packed           # open_places are 0 .. count-1

    def __cinit__(self, int64_t count):
        cdef int64_t place
        self._grow(count)
        for place in range(count):
            self.places[place] = Place(0, 0, 0)
            self.open_places[place] = place
        self.used = self.count = count
        self.in_order = self.packed = True

    def __dealloc__(self):
        free(self.places)
        free(self.free_places)
        free(self.open_places)
        free(self.chosen)

    cdef int _grow(self, int64_t room) except -1:
        room = max(room, 1)
        if room > MOST_PLACES:
            raise MemoryError(f"a stream has at most {MOST_PLACES} rows")
        self.places = <Place *>grown(self.places, room * sizeof(Place))
        self.free_places = <int64_t *>grown(self.free_places, room * sizeof(int64_t))
        self.open_places = <int64_t *>grown(self.open_places, room * sizeof(int64_t))
        self.chosen = <int64_t *>grown(self.chosen, room * sizeof(int64_t))
        self.room = room
        return 0

    cdef int64_t next_place(self) except -1:
        """Where the next row will be; there is room for it."""
        if self.n_free:
            return self.free_places[self.n_free - 1]
        if self.used == self.room:
            self._grow(2 * self.room)
        return self.used

    cdef int64_t add(self) except -1:
        """Open a row at `next_place`; returns its handle."""
        cdef int64_t place = self.next_place()
        if self.n_free:
            self.n_free -= 1
            self.places[place].generation = ~self.places[place].generation + 1
        else:
            self.places[place] = Place(0, 0, 0)
            self.used += 1
        self.count += 1
        # a row behind all others keeps the order; else it is found anew when a call asks for all rows
        if self.in_order and place == self.used - 1:
            self.open_places[self.count - 1] = place
            self.packed = self.packed and place == self.count - 1
        else:
            self.in_order = False
        return self.places[place].generation << PLACE_BITS | place

    cdef int remove(self, int64_t place) except -1:
        cdef int64_t generation = self.places[place].generation
        self.places[place].generation = ~generation
        if generation < LAST_GENERATION:
            self.free_places[self.n_free] = place
            self.n_free += 1
        self.count -= 1
        if not (self.in_order and self.open_places[self.count] == place):
            self.in_order = False
        return 0

    cdef int64_t steps_before(self, const int64_t *places, int64_t count) noexcept:
        """The steps that the rows at some places (NULL: the first ones) have had; -1 where not all had as many."""
        cdef int64_t i, steps = 0
        for i in range(count):
            if i == 0:
                steps = self.places[places[i] if places != NULL else i].steps
            elif self.places[places[i] if places != NULL else i].steps != steps:
                return -1
        return steps

    cdef void note_steps(self, const int64_t *places, int64_t count, int64_t steps) noexcept:
        """They have had so many more."""
        cdef int64_t i
        for i in range(count):
            self.places[places[i] if places != NULL else i].steps += steps

    cdef int arrange(self) noexcept:
        """Find the open places in order."""
        cdef int64_t place, count = 0
        for place in range(self.used):
            if self.places[place].generation >= 0:
                self.open_places[count] = place
                count += 1
        self.packed = count == 0 or self.open_places[count - 1] == count - 1
        self.in_order = True
        return 0

    cdef inline bint is_open(self, int64_t handle) noexcept:
        cdef int64_t place = handle & 0xFFFFFFFF
        return handle >= 0 and place < self.used and self.places[place].generation == handle >> PLACE_BITS

    cdef int64_t choose(self, object rows) except -1:
        """Put the places of rows, given by their handles, into `chosen`; returns how many there are."""
        cdef cnp.ndarray handles = self.as_handles(rows)
        cdef const int64_t *handle = <const int64_t *>cnp.PyArray_DATA(handles)
        cdef int64_t i, row, place, count = cnp.PyArray_DIM(handles, 0)
        self.stamp += 1
        for i in range(count):
            row = handle[i]
            if not self.is_open(row):
                raise self.fault(row)
            place = row & 0xFFFFFFFF
            if self.places[place].stamp == self.stamp:
                raise BadInput(f"rows[{i}]: row {shown_row(row)} is named twice")
            self.places[place].stamp = self.stamp
            self.chosen[i] = place
        return count

    cdef cnp.ndarray find(self, object rows):
        """The places of rows, which may be named more than once: int64."""
        cdef cnp.ndarray handles = self.as_handles(rows), found
        cdef const int64_t *handle = <const int64_t *>cnp.PyArray_DATA(handles)
        cdef int64_t i, row, count = cnp.PyArray_DIM(handles, 0)
        found = np.empty(count, np.int64)
        for i in range(count):
            row = handle[i]
            if not self.is_open(row):
                raise self.fault(row)
            (<int64_t *>cnp.PyArray_DATA(found))[i] = row & 0xFFFFFFFF
        return found

    cdef cnp.ndarray as_handles(self, object rows):
        """One handle, or several in any sequence, as int64."""
        if (cnp.PyArray_CheckExact(rows) and cnp.PyArray_TYPE(<cnp.ndarray>rows) == cnp.NPY_INT64
                and cnp.PyArray_NDIM(<cnp.ndarray>rows) == 1 and is_plain(<cnp.ndarray>rows)):
            return <cnp.ndarray>rows
        expected = "rows should be handles of open rows, whole numbers"
        if isinstance(rows, (int, np.integer)):
            rows = (rows,)
        if isinstance(rows, np.ndarray):
            array = np.atleast_1d(rows)
            if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
                raise BadInput(f"{expected}; {self.shown()}; got {array.dtype} of shape {rows.shape}")
            return as_plain(array, np.int64)
        try:
            given = list(rows)
        except TypeError:
            raise BadInput(f"{expected}; {self.shown()}; got {type(rows).__name__}") from None
        for row in given:
            if isinstance(row, (bool, np.bool_)) or not isinstance(row, (int, np.integer)) or not -(2**63) <= row < 2**63:
                raise BadInput(f"{expected}; {self.shown()}; got {row!r}")
        return np.array(given, np.int64)

    cdef object fault(self, int64_t handle):
        """The error for a handle of no open row."""
        cdef int64_t place = handle & 0xFFFFFFFF, last
        if handle >= 0 and place < self.used:
            last = self.places[place].generation
            if handle >> PLACE_BITS <= (last if last >= 0 else ~last):
                return Closed(f"row {shown_row(handle)} is closed")
        return BadInput(f"row {shown_row(handle)} is none of this stream's; {self.shown()}")

    cdef object shown(self):
        """The open rows, for people."""
        rows = [str(row) for row in self.handles()[:4]]
        if self.count > 4:
            rows[3] = f"… {self.handles()[self.count - 1]}"
        return f"open are {', '.join(rows)} (stream.rows)" if rows else "none is open"

    cdef object handles(self):
        """Those of all open rows, ordered by place: int64."""
        cdef int64_t i, place
        cdef cnp.ndarray found
        if not self.in_order:
            self.arrange()
        found = np.empty(self.count, np.int64)
        for i in range(self.count):
            place = self.open_places[i]
            (<int64_t *>cnp.PyArray_DATA(found))[i] = self.places[place].generation << PLACE_BITS | place
        return found


cdef void *grown(void *array, size_t size) except NULL:
    """realloc, which leaves the array as it is where it fails."""
    cdef void *moved = realloc(array, size)
    if moved == NULL:
        raise MemoryError()
    return moved


cdef object shown_row(int64_t handle):
    if handle < 0:
        return f"{handle}"
    return f"{handle} (place {handle & 0xFFFFFFFF}, generation {handle >> PLACE_BITS})"


cdef cnp.ndarray copied_places(const int64_t *places, int64_t count):
    cdef cnp.ndarray copy = np.empty(count, np.int64)
    memcpy(cnp.PyArray_DATA(copy), places, count * sizeof(int64_t))
    return copy
