"""What layers carry from step to step: arrays by name as a Stream's users see them, and what the core keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ._openmp import core
from .errors import StateMismatch
from .graph import GRU, Graph, Slice, StepMask
from .layers.windows import Window
from .rates import rate_changes

#: of a layer: (rows, size) float32, and each row's marks
Kept = tuple[np.ndarray, np.ndarray]


class Memory(Protocol):
    """What one layer carries."""

    @property
    def name(self) -> str:
        """The layer's."""

    @property
    def size(self) -> int:
        """How many numbers the core keeps of a row."""

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        """The shape of each array that so many rows carry."""

    def from_core(self, numbers: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays, of what the core keeps."""

    def to_core(self, state: Mapping[str, np.ndarray]) -> Kept:
        """What the core keeps, of the arrays; StateMismatch where no layer could carry them."""


def keepers(graph: Graph) -> list[Memory]:
    """What the layers of a network that streams carry."""
    return list(_memories(graph))


def shapes(graph: Graph, rows: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array that so many rows carry."""
    return {name: shape for memory in keepers(graph) for name, shape in memory.shapes(rows).items()}


def _memories(graph: Graph) -> Iterator[Memory]:
    changed = rate_changes(graph)
    for layer in graph.layers:
        match layer:
            case GRU():
                yield _Hidden(layer)
            case StepMask():
                yield _Steps(layer.name)
            case Window() if layer.reach > 1:
                yield _Tail(layer.name, layer.reach - 1, graph.specs[layer.inputs[0]].inner)
            case Slice(takes_last=True) if layer.inputs[0] in changed:
                yield _Last(layer.name, graph.specs[layer.name].inner)


@dataclass(frozen=True)
class _Hidden:
    """The hidden state of a GRU, and what masks have left of it."""

    layer: GRU

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def size(self) -> int:
        return self.layer.units

    @property
    def _keeps_output(self) -> bool:
        """Whether the last output may be zero and h not: masked, or asked for before the first step."""
        begins = self.layer.initial_state is not None or len(self.layer.inputs) > 1
        return self.layer.mask is not None or (begins and not self.layer.return_sequences)

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {f"{self.name}/h": (rows, self.size)}
        if self._keeps_output:
            found[f"{self.name}/last_output"] = (rows, self.size)
        if self.layer.zero_state_without_steps:
            found[f"{self.name}/has_run"] = (rows,)
        return found

    def from_core(self, numbers: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
        state = {f"{self.name}/h": numbers}
        if self._keeps_output:
            has_output = (marks & core.HAS_OUTPUT)[:, None]
            state[f"{self.name}/last_output"] = np.where(has_output, numbers, np.float32(0))
        if self.layer.zero_state_without_steps:
            state[f"{self.name}/has_run"] = (marks & core.HAS_RUN).astype(bool).astype(np.float32)
        return state

    def to_core(self, state: Mapping[str, np.ndarray]) -> Kept:
        has_output = self._has_output(state)
        has_run = has_output
        if self.layer.zero_state_without_steps:
            has_run = state[f"{self.name}/has_run"]
            if not np.isin(has_run, (0, 1)).all():
                raise StateMismatch(f"{self.name}/has_run should be 1 where the layer has had an unmasked step, else 0")
        return state[f"{self.name}/h"], core.HAS_OUTPUT * has_output | core.HAS_RUN * (has_run != 0)

    def _has_output(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Per row: whether its last output is h; else that is zero."""
        h = state[f"{self.name}/h"]
        if not self._keeps_output:
            return np.ones(len(h), bool)
        last = state[f"{self.name}/last_output"]
        has_output = ((last == h) | (np.isnan(last) & np.isnan(h))).all(axis=1)
        if not (has_output | (last == 0).all(axis=1)).all():
            raise StateMismatch(f"{self.name}/last_output is neither zero nor equal to {self.name}/h")
        return has_output


@dataclass(frozen=True)
class _Steps:
    """The steps so far."""

    name: str
    size = 1

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {f"{self.name}/steps": (rows,)}

    def from_core(self, numbers: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
        return {f"{self.name}/steps": numbers.view(np.int32)[:, 0]}

    def to_core(self, state: Mapping[str, np.ndarray]) -> Kept:
        steps = whole_numbers(state, f"{self.name}/steps", 2**31 - 1).astype(np.int32)
        return steps.reshape(-1, 1).view(np.float32), np.zeros(len(steps), np.uint8)


@dataclass(frozen=True)
class _Tail:
    """The last steps that windows look back on, and how many of them are the sequence's: the others are padding.

    The core has them in a ring: step n of those so far at n % steps, and n itself beside them; as fastgru.h says.
    """

    name: str
    steps: int
    inner: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.steps * math.prod(self.inner) + 1

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {f"{self.name}/tail": (rows, self.steps, *self.inner), f"{self.name}/steps": (rows,)}

    def from_core(self, numbers: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
        counts = np.ascontiguousarray(numbers[:, -1]).view(np.int32)
        ring = numbers[:, :-1].reshape(-1, self.steps, *self.inner)
        steps = np.minimum(counts, self.steps)
        tail = np.zeros_like(ring)
        for row, (count, held) in enumerate(zip(counts, steps, strict=True)):
            tail[row, self.steps - held :] = ring[row, (count + np.arange(-held, 0)) % self.steps]
        return {f"{self.name}/tail": tail, f"{self.name}/steps": steps}

    def to_core(self, state: Mapping[str, np.ndarray]) -> Kept:
        tail = state[f"{self.name}/tail"]
        steps = whole_numbers(state, f"{self.name}/steps", self.steps).astype(np.int32)
        numbers = np.zeros((len(tail), self.size), np.float32)
        for row, held in enumerate(steps):
            if tail[row, : self.steps - held].any():
                raise StateMismatch(f"{self.name}/tail should be zero before its last {self.name}/steps steps")
            numbers[row, :-1].reshape(tail.shape[1:])[:held] = tail[row, self.steps - held :]
        numbers[:, -1] = steps.view(np.float32)
        return numbers, np.zeros(len(tail), np.uint8)


@dataclass(frozen=True)
class _Last:
    """The last step of a sequence that a call may give no step."""

    name: str
    inner: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.inner)

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {f"{self.name}/last_output": (rows, *self.inner)}

    def from_core(self, numbers: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
        return {f"{self.name}/last_output": numbers.reshape(-1, *self.inner)}

    def to_core(self, state: Mapping[str, np.ndarray]) -> Kept:
        last = state[f"{self.name}/last_output"]
        return last.reshape(-1, self.size), np.zeros(len(last), np.uint8)


def whole_numbers(state: Mapping[str, np.ndarray], key: str, most: int) -> np.ndarray:
    """An array of whole numbers from 0 to `most`; StateMismatch where it holds others."""
    numbers = state[key]
    if numbers.dtype.kind == "f" or (numbers.size and not 0 <= numbers.min() <= numbers.max() <= most):
        raise StateMismatch(f"{key} should be whole numbers from 0 to {most}")
    return numbers
