"""Stream: a running batch of sequences with its own state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ._openmp import core
from .errors import BadInput, StateMismatch
from .graph import (
    GRU,
    Attention,
    Combine,
    Concatenate,
    Conv,
    Graph,
    JoinMasks,
    Layer,
    MatMul,
    Pad,
    Pool,
    PReLU,
    Reduce,
    Repeat,
    Reshape,
    Scale,
    Slice,
    StepMask,
    Transpose,
)

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
        for layer in _keepers(self.plan.graph):
            pairs = [self._get_state(layer.name, row) for row in chosen]
            size = 1 if isinstance(layer, StepMask) else layer.units
            h = np.array([h for h, _ in pairs], np.float32).reshape(len(chosen), size)
            marks = np.array([marks for _, marks in pairs], np.uint8)
            if isinstance(layer, StepMask):
                state[f"{layer.name}/steps"] = h[:, 0].view(np.int32)
                continue
            state[f"{layer.name}/h"] = h
            if _keeps_output(layer):
                state[f"{layer.name}/last_output"] = np.where((marks & core.HAS_OUTPUT)[:, None], h, np.float32(0))
            if layer.zero_state_without_steps:
                state[f"{layer.name}/has_run"] = (marks & core.HAS_RUN).astype(bool).astype(np.float32)
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
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in _keepers(self.plan.graph):
            if isinstance(layer, StepMask):
                shapes[f"{layer.name}/steps"] = (rows,)
                continue
            shapes[f"{layer.name}/h"] = (rows, layer.units)
            if _keeps_output(layer):
                shapes[f"{layer.name}/last_output"] = (rows, layer.units)
            if layer.zero_state_without_steps:
                shapes[f"{layer.name}/has_run"] = (rows,)
        return shapes

    def _put(self, state: Mapping[str, np.ndarray], chosen: list[int]) -> None:
        found = {layer.name: _carried(layer, state) for layer in _keepers(self.plan.graph)}
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


def streaming_obstacles(graph: Graph) -> list[str]:
    """Why a network cannot run step by step: every layer that looks ahead or must see the whole sequence, by name."""
    if not any(spec.is_sequence for spec in graph.inputs):
        return ["the network has no input with a time axis, so there is nothing to stream"]
    reasons = []
    late: set[str] = set()  # values without time that stand only after the last step
    for layer in graph.layers:
        walks = any(graph.specs[value].is_sequence for value in layer.inputs)
        waits_for = next((value for value in layer.inputs if value in late), None)
        if (walks or waits_for) and not graph.specs[layer.name].is_sequence:
            late.add(layer.name)
        if walks:
            late.add(f"{layer.name}:state")
        if walks and waits_for:
            late_by = f"starts from {waits_for!r}, which stands only after another layer's last step"
            reasons.append(f"{layer.kind} layer {layer.name!r} {late_by}, so it cannot stream")
        if isinstance(layer, GRU) and layer.go_backwards:
            reasons.append(
                f"GRU layer {layer.name!r} goes backwards: it starts from the last step, so it cannot stream"
            )
        if isinstance(layer, (Attention, MatMul)):
            reasons.append(f"{layer.kind} layer {layer.name!r} looks at all steps, so it cannot stream")
        if isinstance(layer, (Conv, Pool)):
            windows = "sees windows of several steps"
            reasons.append(
                f"{layer.kind} layer {layer.name!r} {windows}: it needs the whole sequence, so it cannot stream"
            )
        if isinstance(layer, Reduce) and walks and not graph.specs[layer.name].is_sequence:
            reduces = "reduces the time axis"
            reasons.append(f"Reduce layer {layer.name!r} {reduces}: it needs the whole sequence, so it cannot stream")
        over_time = isinstance(layer, Reshape) and not layer.per_step
        if over_time and not walks and graph.specs[layer.name].is_sequence:
            own_steps = "makes a sequence with steps of its own"
            reasons.append(f"Reshape layer {layer.name!r} {own_steps}, so it cannot stream")
        for fault in _counts_steps(graph, layer):
            reasons.append(f"{layer.kind} layer {layer.name!r} {fault}, so it cannot stream")
        if walks and (does := _needs_whole(graph, layer)):
            needs = "it needs the whole sequence, so it cannot stream"
            reasons.append(f"{layer.kind} layer {layer.name!r} {does}: {needs}")
    return reasons


def _counts_steps(graph: Graph, layer: Layer) -> Iterator[str]:
    """Why a layer that works on each step by itself needs more than the step."""
    if isinstance(layer, (Scale, PReLU)) and layer.has_own_steps(graph.specs):
        yield "has numbers of its own for each step of the sequence"
    if isinstance(layer, Combine):
        for value, is_single in zip(layer.inputs, layer.one_step(graph.specs), strict=True):
            if is_single:
                yield f"spreads the one step of {value!r} over those of another sequence"


def _needs_whole(graph: Graph, layer: Layer) -> str | None:
    """What a layer that reads a sequence does with the time axis, where it cannot do so step by step."""
    spec = graph.specs[layer.inputs[0]]
    match layer:
        case Reshape(per_step=False):
            return "merges the time axis"
        case Transpose() if layer.order[0] != 1:
            return "moves the time axis"
        case JoinMasks(over_time=True):
            return "appends along the time axis"
        case Slice() | Pad() | Repeat() | Concatenate() if layer.axis % len(spec.shape) == 1:
            last = isinstance(layer, Slice) and layer.takes_last
            return None if last else _OVER_TIME[type(layer)]
    return None


#: what layers with an axis do where that is time
_OVER_TIME: dict[type[Layer], str] = {
    Slice: "takes some of the steps",
    Pad: "pads the time axis",
    Repeat: "repeats steps",
    Concatenate: "appends along the time axis",
}


def _keepers(graph: Graph) -> list[GRU | StepMask]:
    """The layers that carry something from step to step."""
    return [layer for layer in graph.layers if isinstance(layer, (GRU, StepMask))]


def _keeps_output(layer: GRU) -> bool:
    return layer.mask is not None


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


def _carried(layer: GRU | StepMask, state: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What the core keeps of a layer: (rows, units) float32, and each row's marks."""
    if isinstance(layer, StepMask):
        steps = state[f"{layer.name}/steps"]
        if steps.dtype.kind == "f" or (steps.size and not 0 <= steps.min() <= steps.max() < 2**31):
            raise StateMismatch(f"{layer.name}/steps should be whole numbers from 0 to {2**31 - 1}")
        return steps.astype(np.int32)[:, None].view(np.float32), np.zeros(len(steps), np.uint8)
    has_output = _has_output(layer, state)
    has_run = has_output
    if layer.zero_state_without_steps:
        has_run = state[f"{layer.name}/has_run"]
        if not np.isin(has_run, (0, 1)).all():
            raise StateMismatch(f"{layer.name}/has_run should be 1 where the layer has had an unmasked step, else 0")
    return state[f"{layer.name}/h"], core.HAS_OUTPUT * has_output | core.HAS_RUN * (has_run != 0)


def _has_output(layer: GRU, state: Mapping[str, np.ndarray]) -> np.ndarray:
    """Per row: whether its last output is h; else that is zero."""
    h = state[f"{layer.name}/h"]
    if not _keeps_output(layer):
        return np.ones(len(h), bool)
    last = state[f"{layer.name}/last_output"]
    has_output = ((last == h) | (np.isnan(last) & np.isnan(h))).all(axis=1)
    if not (has_output | (last == 0).all(axis=1)).all():
        raise StateMismatch(f"{layer.name}/last_output is neither zero nor equal to {layer.name}/h")
    return has_output
