"""Stream: a running batch of sequences with its own state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from . import chunks, memories, saved_rows
from ._openmp import core
from .errors import BadInput, StateMismatch
from .layers.windows import Window

#: in a state, the steps that rows have had
_STEPS = "/steps"

Rows = int | Sequence[int] | np.ndarray | None


class Carried(NamedTuple):
    """An input that a Stream feeds with an output of the call before.

    Attributes
    ----------
    input, output : str
    how : {"native", "feedback"}
        ``"native"``: the input is where GRUs begin and the output where they end, so that the Stream's own state
        stands for both, and chunks give what the whole sequence gives, to the bit. ``"feedback"``: each call is a
        plain call of the network, which is given what the one before it gave.
    """

    input: str
    output: str
    how: str


class Stream(core.Runner):
    """Sequences that run step by step or in chunks, each call going on where the last one of its rows ended.

    Made by `Model.stream`. A row is a sequence of its own, known by a handle: an int that is never given again. Rows
    that a call does not name stay as they are, and what a row gives does not hang on the rows beside it, to the bit.
    A Stream serves one thread at a time; a second one inside it is a StreamBusy error. It is a context manager; once
    closed every call raises Closed.

    Attributes
    ----------
    batch_size : int
        Number of open rows.
    threads : int
        Upper bound of the threads of one call.
    states : tuple of Carried
        The inputs that it feeds with outputs of the call before, and how.
    """

    states: tuple[Carried, ...] = ()
    _static_inputs: Callable[[Mapping[str, Any] | None], dict[str, Any]]

    # ---- rows ----

    @property
    def rows(self) -> np.ndarray:
        """The handles of all open rows, int64, in the order in which calls without `rows=` take them: by place. Those
        that a stream begins with are 0 … batch_size - 1."""
        with self._alone():
            return self._handles()

    def open(self, inputs: Mapping[str, Any] | None = None, state: Mapping[str, Any] | None = None) -> int:
        """A new row, which begins a sequence; no other row moves.

        Parameters
        ----------
        inputs : dict, optional
            What `Model.stream` takes, of this row: with a batch axis, of size 1.
        state : dict, optional
            Where it goes on instead, as `get_state` gives it for one row.

        Returns
        -------
        int
            The row's handle: ``generation << 32 | place``. The place is that of a closed row, if there is one, with the
            next generation.

        Raises
        ------
        BadInput
            Inputs that are missing, not the network's, or not of one row.
        StateMismatch
            As `set_state`.
        Closed, StreamBusy

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> model = fastgru.load(fastgru.demo_path())
        >>> stream = model.stream(batch_size=0)
        >>> one, other = stream.open(), stream.open()
        >>> _ = stream.step([4, 8], rows=[one, other])
        >>> y = stream.run([[15, 16]], rows=other)
        >>> bool(np.array_equal(y, model(np.array([[8, 15, 16]]))))
        True
        >>> stream.close(one)
        >>> stream.rows.tolist() == [other]
        True
        """
        self._enter()
        try:
            static = {}
            if self.static or inputs is not None:
                static = self._checked_static(self._static_inputs(inputs), 1, "a row takes a batch of 1")
            checked = None if state is None else self._checked(state, 1)
            row = self._open(static)
            if checked is not None:
                self._put(checked, self._places(row))
            return row
        finally:
            self._leave()

    def fork(self, row: int) -> int:
        """A new row that stands where another one does, with the same inputs without time.

        Raises
        ------
        BadInput
            No row of this stream.
        Closed, StreamBusy
        """
        with self._alone():
            from_ = np.array([self._place_of(row)])
            new = self._open(self._static_of(from_))
            self._copy_rows(from_, self._places(new))
            return new

    # ---- chunks of unequal length ----

    def completed(self, steps: int | Sequence[int] | np.ndarray, rows: Rows = None) -> Any:
        """How many steps `run` would return for so many, or so many of each row: fewer, and other ones from row to row,
        where a layer changes their number (strides, pooling, windows without padding).

        Parameters
        ----------
        steps : int or array of int (batch,)
        rows
            As `step`.

        Returns
        -------
        array of int64 (batch,), or tuple of arrays
            For each output with a time axis, in the order of `run`, which pads them with zeros to the longest.

        Raises
        ------
        BadInput
            Steps that are not whole numbers below 2**60, one for all rows or one a row; or as `step`.
        Closed, StreamBusy

        Examples
        --------
        >>> import fastgru
        >>> from fastgru.graph import Graph, Pool, tensor_spec
        >>> halve = Pool(name="halve", inputs=("x",), function="maximum", size=(2,), strides=(2,))
        >>> stream = fastgru.Model(Graph((tensor_spec("x", None, (1,)),), (halve,), ("halve",))).stream(batch_size=2)
        >>> _ = stream.run([[[5.0]]], rows=[1])
        >>> stream.completed(3).tolist()
        [1, 2]
        """
        with self._alone():
            places = self._places(rows)
            given = core.plain_array(steps, "steps should be whole numbers, one for all rows or one a row")
            is_whole = given.dtype.kind in "iu" and given.shape in ((), (len(places),))
            if not is_whole or (given.size and not 0 <= given.min() <= given.max() < 2**60):
                expected = f"whole numbers below 2**60, one for all rows or {len(places)}, one a row"
                raise BadInput(f"steps should be {expected}; got {given.dtype} of shape {given.shape}")
            each = np.full(len(places), given, np.int64)
            found = [array for array in self._steps_out(each, self._get_steps(places)) if array is not None]
            return found[0] if len(found) == 1 else tuple(found)

    @cached_property
    def _has_windows(self) -> bool:
        """Whether a layer looks back on steps, or leaves some out, that masks do not reach."""
        return any(isinstance(layer, Window) for layer in self.plan.graph.layers)

    def _cuts(self, lengths: Any) -> bool:
        """Whether each row runs its own steps only, for want of layers that carry the masks of these lengths."""
        named = lengths if isinstance(lengths, Mapping) else self.mask_drops
        return self._has_windows or any(name in self.mask_drops for name in named)

    def _run_own_steps(self, x: Any, places: np.ndarray | None, lengths: Any, out: Any) -> Any:
        """`run` of rows that run their own steps and no more."""
        places = np.arange(self.batch_size) if places is None else places
        core.check_masks(lengths, None, self.plan.inputs, {})
        arrays, before = self._checked_sequences(x, len(places)), self._get_steps(places)
        own = chunks.own_lengths(lengths, [spec for spec in self.plan.inputs if spec.is_sequence], arrays)
        fresh = np.zeros(0 if len(places) else 1, np.int64)  # the shape of the outputs of no rows
        whole = np.full(len(places) + len(fresh), next(iter(arrays.values())).shape[1])
        counts = self._steps_out(whole, np.concatenate([before, fresh]))
        longest = [None if count is None else int(count.max()) for count in counts]
        pieces = list(chunks.pieces(own, before))
        for piece in pieces:
            self._check_fits(piece.last - piece.first, int(before[piece.rows[0]]) + piece.first)
        made = self._made_outputs(out, len(places), longest, arrays.values())
        ends = [np.zeros(len(places), np.int64) for _ in made]  # of what stands in them so far
        for piece in pieces:
            given = {name: array[piece.rows, piece.first : piece.last] for name, array in arrays.items()}
            given |= self._static_of(places[piece.rows])
            ordered = tuple([given[spec.name] for spec in self.plan.inputs])
            count = len(piece.rows)
            results = self._run(ordered, None, None, self.threads, None, False, count, places=places[piece.rows])
            for spec, array, end, result in zip(self._wanted(), made, ends, results, strict=True):
                if spec.is_sequence:
                    first = int(end[piece.rows[0]])  # which all of them have
                    array[piece.rows, first : first + result.shape[1]] = result
                    end[piece.rows] += result.shape[1]
                else:
                    array[piece.rows] = result
        return made[0] if len(made) == 1 else tuple(made)

    # ---- the state ----

    def reset(self, rows: Rows = None) -> None:
        """Set rows (all, if None) back to the network's own initial state."""
        with self._alone():
            self._reset_places(self._places(rows, twice=True))

    def get_state(self, rows: Rows = None) -> dict[str, np.ndarray]:
        """The state of rows (all, if None), as copies.

        Returns
        -------
        dict
            ``"layer/h"``: (rows, units) float32 for each GRU layer, and ``"layer/last_output"`` where it can be masked
            or gives its last output alone and does not begin at zero, so that this is no h before the first step; with
            `zero_state_without_steps` ``"layer/has_run"``: (rows,), 1 where a row has had an unmasked step, else
            0. ``"layer/steps"``: (rows,) int32 for each StepMask, the steps so far. ``"layer/tail"``: for windows over
            time (rows, steps, …), the last steps that they look back on, and ``"layer/steps"``: (rows,) int32, how many
            of these the row has had; before them is padding, zero. ``"/steps"``: (rows,) int64, the steps so far, where
            a layer changes their number; a last step behind it is ``"layer/last_output"``.
            An input of `states` stands under its own name for what it feeds: (rows, …).
        """
        with self._alone():
            places = self._places(rows, twice=True)
            self._begin(places)
            return self._get(places)

    def _get(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The state of rows that have begun."""
        state: dict[str, np.ndarray] = {}
        for memory in memories.keepers(self.plan.graph):
            state |= memory.from_core(*self._get_state(memory.name, places))
        if self.plan.changes_steps:
            state[_STEPS] = self._get_steps(places)
        return state

    def set_state(self, state: Mapping[str, Any], rows: Rows = None) -> None:
        """Continue rows (all, if None) from a state that `get_state` of the same network gave.

        Raises
        ------
        StateMismatch
            Where names or shapes are another network's, or the number of rows is not that of `rows`. Nothing is
            changed.
        """
        with self._alone():
            places = self._places(rows)
            self._put(self._checked(state, len(places)), places)

    def _checked(self, state: Any, rows: int) -> dict[str, Any]:
        """A state of this network and so many rows as `_put` takes it, which fails no more."""
        expected, got = self._shapes(rows), _as_state(state)
        shown = {key: value.shape for key, value in got.items()}
        if shown != expected:
            raise StateMismatch(f"this network's state is {expected}, the one given is {shown}")
        return self._carried(got)

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        shapes = memories.shapes(self.plan.graph, rows)
        return {**shapes, _STEPS: (rows,)} if self.plan.changes_steps else shapes

    def _carried(self, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """By layer what the core keeps, and the steps so far."""
        carried: dict[str, Any] = {memory.name: memory.to_core(state) for memory in memories.keepers(self.plan.graph)}
        if self.plan.changes_steps:
            carried[_STEPS] = memories.whole_numbers(state, _STEPS, 2**60).astype(np.int64)
        return carried

    def _put(self, carried: Mapping[str, Any], places: np.ndarray) -> None:
        for name, kept in carried.items():
            if name == _STEPS:
                self._set_steps(places, kept)
            else:
                self._set_state(name, places, *kept)

    def save_row(self, row: int) -> bytes:
        """A row as bytes, a safetensors file: its state and its inputs without time, with the Graph's fingerprint.

        `load_row` of a stream of the same network goes on with the same bits, in another process or on a machine with
        another vector ISA as well.

        Raises
        ------
        BadInput, Closed, StreamBusy

        Examples
        --------
        >>> import fastgru, numpy as np
        >>> model = fastgru.load(fastgru.demo_path())
        >>> stream, other = model.stream(), model.stream(batch_size=0)
        >>> _ = stream.run([[4, 8]])
        >>> row = other.load_row(stream.save_row(0))
        >>> bool((stream.step([15]) == other.step([15])).all())
        True
        """
        with self._alone():
            places = np.array([self._place_of(row)])
            self._begin(places)
            return saved_rows.pack(self._belonging(), self._get(places), self._static_of(places))

    def load_row(self, data: bytes, row: int | None = None) -> int:
        """Open a row that stands where one did that `save_row` made bytes of, or let an open one stand there.

        Returns
        -------
        int
            The row's handle.

        Raises
        ------
        StateMismatch
            Damaged bytes, or a row of another network, dtype or kind of stream; names what differs. Nothing is
            changed.
        BadInput, Closed, StreamBusy
        """
        with self._alone():
            place = None if row is None else self._place_of(row)
            state, inputs = saved_rows.unpack(self._belonging(), data)
            checked = self._checked(state, 1)
            kinds = {name: (array.dtype, (1, *array.shape[1:])) for name, array in self.static.items()}
            given = {name: (array.dtype, array.shape) for name, array in inputs.items()}
            if given != kinds:
                raise StateMismatch(f"this stream's inputs without time are {kinds}, the row's {given}")
            try:
                static = self._checked_static(inputs, 1, "a row takes a batch of 1")
            except BadInput as error:
                raise StateMismatch(f"the row is damaged: {error}") from None
            if row is None or place is None:
                row = self._open(static)
                place = self._place_of(row)
            else:
                self._set_static(static, place)
            self._put(checked, np.array([place]))
            return row

    def _belonging(self) -> dict[str, str]:
        return saved_rows.belonging(self.plan.graph, self.states)

    def __enter__(self) -> Stream:
        with self._alone():
            return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        carried = "".join(f", {name!r} from {output!r} ({how})" for name, output, how in self.states)
        return f"<fastgru.Stream of {self.plan.graph.name!r}: {self.batch_size} rows{carried}>"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()


def _as_state(state: Any) -> dict[str, np.ndarray]:
    if not isinstance(state, Mapping):
        raise StateMismatch(f"a state is a dict of arrays such as 'gru/h', got {type(state).__name__}")
    arrays = {}
    for key, value in state.items():
        if not isinstance(key, str):
            raise StateMismatch(f"a state's keys are names such as 'gru/h', got {key!r}")
        try:
            array = np.asarray(value)
        except ValueError:
            raise StateMismatch(f"{key} is ragged") from None
        if array.dtype.kind not in "fiu":
            raise StateMismatch(f"{key} should be float32, is {array.dtype}")
        arrays[key] = array if key.endswith("/steps") else array.astype(np.float32)
    return arrays
