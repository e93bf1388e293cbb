# What callers hold of a StreamPool's scheduler: Tickets of chunks, and rows that wait for them.

cdef enum:
    SLICE_NS = 50_000_000      # so long a thread waits before it looks for signals

cdef int64_t FOREVER = 2**62


cdef int64_t deadline_of(object timeout) except -1:
    """The time of fg_now at which a wait is over."""
    if timeout is None:
        return FOREVER
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds >= 0:
        raise BadInput(f"timeout should be None or a number of seconds from 0 on, got {timeout!r}")
    return fg_now() + <int64_t>(min(seconds, 1e9) * 1e9)


cdef int64_t slice_of(int64_t deadline) noexcept:
    """How long to wait before looking for signals."""
    return max(0, min(<int64_t>SLICE_NS, deadline - fg_now()))


cdef object forked():
    return Closed("this StreamPool belongs to the process that made it; a forked child makes its own")


@final
@no_gc_clear
@freelist(256)
cdef class Ticket:
    """A chunk of steps that was submitted to a StreamPool: made by `StreamPool.submit`.

    It unpacks as ``row, output = ticket``, and ``await ticket`` gives the output in a coroutine.

    Attributes
    ----------
    row : int
        The handle of the row.
    """

    cdef fg_chunk chunk
    cdef Scheduler scheduler
    cdef void *block           # pointers to inputs, to outputs, then the inputs
    cdef object output         # array or tuple of arrays
    cdef object callback, promise
    cdef bint held             # the scheduler has a reference

    def __init__(self):
        raise TypeError("a Ticket is made by StreamPool.submit")

    def __dealloc__(self):
        free(self.block)

    @property
    def row(self):
        return self.chunk.row

    def done(self):
        """Whether the steps have run, or were dropped: `result` will not wait."""
        return fg_chunk_finished(&self.chunk)

    def result(self, timeout=None):
        """Wait for the output. A ticket whose result was asked for does not come out of `StreamPool.poll` any more.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; None: for ever.

        Returns
        -------
        array or tuple of arrays
            Sequence outputs (time, …), others as after the last step. The ticket keeps them: each call returns the
            same ones.

        Raises
        ------
        TimeoutError
            The time is over; the ticket is as before.
        Closed
            The pool was closed before the steps could run.

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> with fastgru.StreamPool(fastgru.load(fastgru.demo_path())) as pool:
        ...     row, output = pool.submit(pool.open(), np.array([4, 8, 15]))
        >>> row, output.shape
        (0, (1,))
        """
        if not fg_chunk_finished(&self.chunk):
            self.wait(deadline_of(timeout))
        elif self.held and self.chunk.line == FG_POLLED:
            if fg_scheduler_claim(self.scheduler.scheduler, &self.chunk, 1) == FG_ACCEPTED:
                self.let_go_claimed()
        self.check()
        return self.output

    def future(self):
        """A `concurrent.futures.Future` of the output, always the same one. It cannot be cancelled. It is set by the
        pool's delivery thread, where its callbacks run, or at once if the steps have run by now; the ticket does not come out
        of `StreamPool.poll` any more.

        Raises
        ------
        Closed
            In a forked child.
        """
        cdef fg_answer answer
        if self.promise is not None:
            return self.promise
        from concurrent.futures import Future

        promise = Future()
        promise.set_running_or_notify_cancel()
        self.scheduler.start_delivery()
        if self.promise is None:  # else another thread has come meanwhile; from here on none does
            answer = fg_scheduler_deliver(self.scheduler.scheduler, &self.chunk)
            if answer == FG_FORKED:
                raise forked()
            self.promise = promise
            if answer == FG_TIME_OVER:
                self.keep_promise()
                self.let_go_claimed()
        return self.promise

    def __await__(self):
        from asyncio import wrap_future

        return wrap_future(self.future()).__await__()

    def __iter__(self):
        return iter((self.row, self.result()))

    def __repr__(self):
        state = "done" if self.done() else "not done"
        return f"<fastgru.Ticket of row {self.row}: {self.chunk.steps} steps, {state}>"

    cdef int wait(self, int64_t deadline) except -1:
        """Until it is finished; TimeoutError where the time is over."""
        cdef fg_scheduler *scheduler = self.scheduler.scheduler
        cdef fg_answer answer = fg_scheduler_claim(scheduler, &self.chunk, 1)
        cdef int64_t ns
        cdef bint done = False
        if answer == FG_FORKED:
            raise forked()
        try:
            while not fg_chunk_finished(&self.chunk):
                ns = slice_of(deadline)
                if ns == 0:
                    break
                with nogil:
                    fg_scheduler_wait(scheduler, &self.chunk, ns)
                PyErr_CheckSignals()
        finally:
            done = fg_chunk_finished(&self.chunk)  # from here on it may come to lie in a line
            fg_scheduler_claim(scheduler, &self.chunk, -1)
            if done:
                self.let_go_claimed()
        if not done:
            raise TimeoutError(f"row {self.row}: its {self.chunk.steps} steps have not run yet")
        return 0

    cdef int check(self) except -1:
        if self.chunk.dropped:
            raise Closed(f"row {self.row}: the pool was closed before its {self.chunk.steps} steps had run")
        return check(self.chunk.status)

    cdef object let_go(self):
        """Drop the reference that the scheduler has, and what only it needed."""
        if self.held:
            self.held = False
            free(self.block)
            self.block = NULL
            Py_DECREF(self)

    cdef object let_go_claimed(self):
        """After a claim of a finished chunk, unless a thread in `poll` has taken it, whose reference it is then."""
        if self.chunk.line == FG_POLLED and not self.chunk.taken:
            self.let_go()

    cdef object keep_promise(self):
        """Set the future, unless someone else has at this moment."""
        from concurrent.futures import InvalidStateError

        try:
            try:
                self.check()
            except (FastGRUError, MemoryError) as error:
                self.promise.set_exception(error)
            else:
                self.promise.set_result(self.output)
        except InvalidStateError:
            pass

    cdef object deliver(self):
        """What the delivery thread does with it."""
        callback, self.callback = self.callback, None
        try:
            if callback is not None:
                callback(self)
        except BaseException as error:
            PyErr_SetObject(type(error), error)
            PyErr_WriteUnraisable(callback)
        try:
            if self.promise is not None:
                self.keep_promise()
        except BaseException as error:  # of the future's callbacks, which lets all but an Exception through
            PyErr_SetObject(type(error), error)
            PyErr_WriteUnraisable(self.promise)
        self.let_go()


@final
@no_gc_clear
cdef class Hold:
    """A row that stands behind all that was submitted to it, and waits until `Scheduler.release`."""

    cdef fg_chunk chunk
    cdef Scheduler scheduler

    @property
    def place(self):
        """Which row of the State it is."""
        return self.chunk.row & 0xffffffff
