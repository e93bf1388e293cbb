"""StreamPool: many running sequences, whose steps come from any thread and run together."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from . import engine
from ._openmp import core
from .errors import BadInput, UnsupportedModel
from .feedback import FeedbackStream
from .model import Model
from .stream import Stream
from .streaming import open_stream

Ticket = core.Ticket

#: at the interpreter's exit, seconds that a callback has to come to its end
_LAST_CALLBACK = 1.0


class PoolStats(NamedTuple):
    """What a StreamPool is at, and what it has done so far.

    Attributes
    ----------
    rows : int
        Open rows, and closed ones whose steps have not all run.
    queued : int
        Chunks that have not run to their end.
    untaken : int
        Chunks that were submitted and whose results nobody has taken: what `queue` bounds.
    quanta : int
        Batches that were run.
    row_steps : int
        Steps that were run, of all rows together.
    mean_batch : float
        Rows in a batch, on average; 0 before the first.
    """

    rows: int
    queued: int
    untaken: int
    quanta: int
    row_steps: int
    mean_batch: float


class StreamPool:
    """Many running sequences whose steps run together, as they come.

    Any thread submits chunks, some steps of one row. A thread of the core, which needs no interpreter lock, takes
    whatever steps are ready, of whichever rows, and runs them as one batch; rows join and leave it after every few
    steps, so that a short chunk does not wait for long ones. How large a batch is hangs on what is ready: a lone chunk
    runs at once. Every row gives what a `Stream` of its own would, to the last bit, and its chunks run in the order in
    which they were submitted.

    A pool is a context manager, which closes it; with an exception, what has not run is dropped. So it is of a pool
    that nobody refers to any more, and at the interpreter's exit. A forked child cannot use a pool of its parent: every
    call but `close` raises Closed.

    Parameters
    ----------
    model : Model
    max_rows : int
        Rows that may be open at a time. Their states take their memory when the pool is made.
    queue : int, optional
        Chunks that may be submitted without that anyone has taken their results. Default: four a row, at least 1,024.
    threads : int
        Upper bound of the threads of a batch.

    Raises
    ------
    UnsupportedModel
        The network cannot stream, or not row by row: its number of steps changes on the way, or outputs are fed back in
        calls of their own. Names every reason.
    BadInput

    Examples
    --------
    >>> import fastgru, numpy as np
    >>> model = fastgru.load(fastgru.demo_path())
    >>> with fastgru.StreamPool(model, max_rows=2) as pool:
    ...     first, second = pool.open(), pool.open()
    ...     tickets = [pool.submit(first, np.array([4, 8])), pool.submit(second, np.array([16]))]
    ...     tickets.append(pool.submit(first, np.array([15])))
    ...     outputs = [ticket.result() for ticket in tickets]
    >>> bool(np.array_equal(outputs[2], model(np.array([[4, 8, 15]]))[0]))
    True
    """

    def __init__(self, model: Model, max_rows: int = 1024, queue: int | None = None, threads: int = 1) -> None:
        if not isinstance(model, Model):
            raise BadInput(f"a StreamPool takes a Model, got {type(model).__name__}")
        self.max_rows = engine.whole_number(max_rows, "max_rows")
        self.queue = max(1024, 4 * self.max_rows) if queue is None else engine.whole_number(queue, "queue")
        self.threads = engine.thread_limit(threads)
        self._stream = _stream_of(model)
        self._scheduler = core.Scheduler(self._stream, self.max_rows, self.queue, self.threads)
        _living.add(self)

    # ---- rows
    # ------------------------------------------------------------------------------------------------------------------

    def open(self, inputs: Mapping[str, Any] | None = None, state: Mapping[str, Any] | None = None) -> int:
        """A new row, which begins a sequence.

        Parameters
        ----------
        inputs : dict, optional
            The network's inputs without a time axis, by name, as `Model.inputs` says, of this row: with a batch axis,
            of size 1. States that a Stream would carry begin at zero unless they are given.
        state : dict, optional
            Where it goes on instead, as `get_state` of a pool or a Stream gives it for one row.

        Returns
        -------
        int
            The row's handle, which is never given again.

        Raises
        ------
        QueueFull
            All rows are open, or closed with steps yet to run.
        BadInput
            Inputs that are missing, not the network's, or not of one row.
        StateMismatch
            The state is another network's.
        Closed
        """
        stream = self._stream
        static = stream._checked_static(stream._static_inputs(inputs), 1, "a row takes a batch of 1")
        carried = None if state is None else stream._checked(state, 1)
        row: int = self._scheduler.open(static)
        if carried is not None:
            try:
                with self._held(row) as hold:
                    stream._put(carried, np.array([hold.place]))
            except BaseException:
                self._scheduler.close_row(row)
                raise
        return row

    def fork(self, row: int) -> int:
        """Begin a row that stands where `row` does when all that was submitted to it has run. Waits for that.

        Raises
        ------
        QueueFull
            As `open`.
        Closed
        """
        with self._held(row) as source:
            twin: int = self._scheduler.open({})
            try:
                with self._held(twin) as target:
                    self._scheduler.copy(source, target)
            except BaseException:
                self._scheduler.close_row(twin)
                raise
        return twin

    def reset(self, row: int) -> None:
        """Let a row start afresh, from the network's own initial state, with what is submitted from here on."""
        self._scheduler.reset(row)

    def get_state(self, row: int) -> dict[str, np.ndarray]:
        """The state of a row behind all that was submitted to it, which this waits for.

        Returns
        -------
        dict
            As `Stream.get_state` of one row: arrays (1, …).

        Raises
        ------
        Closed
        """
        with self._held(row) as hold:
            return self._stream._get(np.array([hold.place]))

    def set_state(self, state: Mapping[str, Any], row: int) -> None:
        """Continue a row from a state, with what is submitted from here on. Waits for what was submitted before.

        Raises
        ------
        StateMismatch
            The state is another network's, or not that of one row. Nothing is changed.
        Closed
        """
        carried = self._stream._checked(state, 1)
        with self._held(row) as hold:
            self._stream._put(carried, np.array([hold.place]))

    @contextmanager
    def _held(self, row: int) -> Iterator[Any]:
        """Have a row to oneself, behind all that was submitted to it."""
        hold = self._scheduler.hold(row)
        try:
            yield hold
        finally:
            self._scheduler.release(hold)

    # ---- steps
    # -----------------------------------------------------------------------------------------------------------------

    def submit(
        self,
        row: int,
        steps: Any,
        callback: Callable[[Any], object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Ticket:
        """Let a row run some steps behind those that it has to run already.

        The result comes by one of three ways: to the thread that asks the ticket for it (`Ticket.result`, or its
        future), to the callback, or else out of `poll`.

        Parameters
        ----------
        row : int
            A handle that `open` gave.
        steps : array (time, features) float, or (time,) token ids
            Copied. Of several sequence inputs: a dict by name or a tuple, all with the same number of steps.
        callback : function of a Ticket, optional
            Called by the pool's delivery thread, which has one such call after the other. What it raises goes to
            ``sys.unraisablehook`` and hurts nobody else.
        timeout : float, optional
            Seconds to wait for room, where as many chunks as `queue` wait to be taken; None: for ever, 0: not at all.
            A chunk is taken when its ticket comes out of `poll`, when `Ticket.result` returns or `Ticket.future` is
            set, and when its callback is called. What a callback submits finds room always.

        Returns
        -------
        Ticket

        Raises
        ------
        BadInput
            Wrong shape, dtype or token id. Nothing was submitted.
        QueueFull
            There was no room in time.
        Closed
            The row or the pool is closed.
        """
        return self._scheduler.submit(row, steps, callback, timeout)

    def poll(self, timeout: float | None = 0, most: int | None = None) -> list[Ticket]:
        """Take the tickets that are done and have no other way to go: each comes out once, the oldest first.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for the first one, where there is none; None: until there is one or the pool has closed.
        most : int, optional
            Most tickets to take.

        Returns
        -------
        list of Ticket
            Empty where there was none in time. A closed pool still gives those that are left.

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> pool = fastgru.StreamPool(fastgru.load(fastgru.demo_path()))
        >>> row = pool.open()
        >>> for token in 4, 8, 15:
        ...     _ = pool.submit(row, np.array([token]))
        >>> pool.close()
        >>> [output.shape for row, output in pool.poll()]
        [(1,), (1,), (1,)]
        """
        count = None if most is None else engine.whole_number(most, "most")
        tickets: list[Ticket] = self._scheduler.poll(timeout, count)
        return tickets

    # ---- the whole
    # -------------------------------------------------------------------------------------------------------------

    def close(self, row: int | None = None, *, drain: bool = True) -> None:
        """End a row, or the pool.

        A row that is closed takes no more steps and its handle is void; what was submitted still runs, and then the
        place is free for another row. A pool that is closed takes no more, runs all that was submitted, and returns
        when that is done and the last callback has returned; what nobody has taken can still be polled. Closing it
        again does nothing.

        Parameters
        ----------
        row : int, optional
            Default: the whole pool.
        drain : bool
            False: drop what has not run; its tickets raise Closed. For the whole pool only.

        Raises
        ------
        Closed
            The row is not open.
        """
        if row is not None:
            self._scheduler.close_row(row)
            return
        self._scheduler.close(drain)
        self._scheduler.join(None)

    def stats(self) -> PoolStats:
        """What the pool is at, and what it has done so far."""
        facts = self._scheduler.facts()
        return PoolStats(
            rows=facts["rows"],
            queued=facts["queued"],
            untaken=facts["untaken"],
            quanta=facts["quanta"],
            row_steps=facts["row_steps"],
            mean_batch=facts["row_quanta"] / max(facts["quanta"], 1),
        )

    def __enter__(self) -> StreamPool:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(drain=error is None)

    def __del__(self) -> None:
        scheduler = getattr(self, "_scheduler", None)
        if scheduler is not None:
            scheduler.close(False)
            scheduler.abandon()

    def __repr__(self) -> str:
        return f"<fastgru.StreamPool of {self._stream.plan.graph.name!r}: up to {self.max_rows} rows>"


#: pools to close at the interpreter's exit
_living: weakref.WeakSet[StreamPool] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """While the interpreter still stands: threads that wait in a pool come back, and no worker outlives it."""
    for pool in list(_living):
        pool._scheduler.close(False)
        pool._scheduler.join(_LAST_CALLBACK)


def _stream_of(model: Model) -> Stream:
    """A Stream of no rows: the State that a pool runs, and what reads and writes rows of it."""
    plan = model._plan
    reasons = []
    if not any(spec.is_sequence for spec in plan.inputs):
        raise UnsupportedModel("the network has no input with a time axis, so there is nothing to stream")
    for spec in (*plan.inputs, *plan.outputs):
        if spec.shape[0] not in (None, 1):
            reasons.append(f"{spec.name!r} has a fixed batch of {spec.shape[0]}, so rows cannot come and go")
    try:
        stream = open_stream(plan, 0, 1, None, model._mask_drops, model._layout, None)
    except UnsupportedModel as error:
        raise UnsupportedModel([*error.reasons, *reasons]) from None
    if isinstance(stream, FeedbackStream):
        for source, target, _ in stream.states:
            reasons.append(f"input {source!r} is fed with output {target!r} between calls, so rows cannot share one")
    if plan.changes_steps:
        reasons.append(f"{core.changer(plan)} changes the number of steps, so chunks of rows cannot run together")
    if reasons:
        raise UnsupportedModel(reasons)
    return stream
