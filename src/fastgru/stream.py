"""Stream: a running batch of sequences with its own state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from . import memories
from ._openmp import core
from .errors import BadInput, StateMismatch

Rows = int | Sequence[int] | None


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
    """A batch of sequences that run step by step or in chunks, each call going on where the last one ended.

    Made by `Model.stream`. A Stream serves one thread at a time; a second one inside it is a StreamBusy error. It is
    a context manager; once closed every call raises Closed.

    Attributes
    ----------
    batch_size : int
        Number of rows, each a sequence of its own.
    threads : int
        Upper bound of the threads of one call.
    states : tuple of Carried
        The inputs that it feeds with outputs of the call before, and how.
    """

    states: tuple[Carried, ...] = ()

    def reset(self, rows: Rows = None) -> None:
        """Set rows (all, if None) back to the network's own initial state."""
        with self._alone():
            for row in self._rows(rows):
                self._reset(row, 1)

    def get_state(self, rows: Rows = None) -> dict[str, np.ndarray]:
        """The state of rows (all, if None), as copies.

        Returns
        -------
        dict
            ``"layer/h"``: (rows, units) float32 for each GRU layer, and ``"layer/last_output"`` where it can be masked;
            with `zero_state_without_steps` ``"layer/has_run"``: (rows,), 1 where a row has had an unmasked step, else
            0. ``"layer/steps"``: (rows,) int32 for each StepMask, the steps so far.
            An input of `states` stands under its own name for what it feeds: (rows, …).
        """
        with self._alone():
            chosen = self._rows(rows)
            self._begin()
            return self._state(chosen)

    def _state(self, chosen: list[int]) -> dict[str, np.ndarray]:
        state: dict[str, np.ndarray] = {}
        for layer in memories.keepers(self.plan.graph):
            state |= memories.from_core(layer, [self._get_state(layer.name, row) for row in chosen])
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
            self._replace(state, self._rows(rows))

    def _replace(self, state: Any, chosen: list[int]) -> None:
        expected, got = self._shapes(len(chosen)), _as_state(state)
        shown = {key: value.shape for key, value in got.items()}
        if shown != expected:
            raise StateMismatch(f"this network's state is {expected}, the one given is {shown}")
        self._put(got, chosen)

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return memories.shapes(self.plan.graph, rows)

    def _put(self, state: Mapping[str, np.ndarray], chosen: list[int]) -> None:
        found = {layer.name: memories.to_core(layer, state) for layer in memories.keepers(self.plan.graph)}
        for name, (h, marks) in found.items():
            for i, row in enumerate(chosen):
                self._set_state(name, row, h[i], marks[i])

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

    def _rows(self, rows: Rows) -> list[int]:
        if rows is None:
            return list(range(self.batch_size))
        given = list(rows) if isinstance(rows, Iterable) else [rows]
        for row in given:
            if isinstance(row, bool) or not isinstance(row, (int, np.integer)) or not 0 <= row < self.batch_size:
                raise BadInput(f"rows should be whole numbers from 0 to {self.batch_size - 1}, got {row!r}")
        return [int(row) for row in given]


def _as_state(state: Any) -> dict[str, np.ndarray]:
    if not isinstance(state, Mapping):
        raise StateMismatch(f"a state is a dict of arrays such as 'gru/h', got {type(state).__name__}")
    arrays = {}
    for key, value in state.items():
        try:
            array = np.asarray(value)
        except ValueError:
            raise StateMismatch(f"{key} is ragged") from None
        if array.dtype.kind not in "fiu":
            raise StateMismatch(f"{key} should be float32, is {array.dtype}")
        arrays[key] = array if key.endswith("/steps") else array.astype(np.float32)
    return arrays
