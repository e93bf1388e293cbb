"""What layers carry from step to step: arrays by name as a Stream's users see them, and what the core keeps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._openmp import core
from .errors import StateMismatch
from .graph import GRU, Graph, StepMask


def keepers(graph: Graph) -> list[GRU | StepMask]:
    """The layers that carry something from step to step."""
    return [layer for layer in graph.layers if isinstance(layer, (GRU, StepMask))]


def _keeps_output(layer: GRU) -> bool:
    return layer.mask is not None


def shapes(graph: Graph, rows: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array that so many rows carry."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in keepers(graph):
        if isinstance(layer, StepMask):
            found[f"{layer.name}/steps"] = (rows,)
            continue
        found[f"{layer.name}/h"] = (rows, layer.units)
        if _keeps_output(layer):
            found[f"{layer.name}/last_output"] = (rows, layer.units)
        if layer.zero_state_without_steps:
            found[f"{layer.name}/has_run"] = (rows,)
    return found


def size(layer: GRU | StepMask) -> int:
    """How many numbers the core keeps of a row."""
    return 1 if isinstance(layer, StepMask) else layer.units


def from_core(layer: GRU | StepMask, h: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a layer, of what the core keeps: (rows, size) float32, and each row's marks."""
    if isinstance(layer, StepMask):
        return {f"{layer.name}/steps": h.view(np.int32)[:, 0]}
    state = {f"{layer.name}/h": h}
    if _keeps_output(layer):
        state[f"{layer.name}/last_output"] = np.where((marks & core.HAS_OUTPUT)[:, None], h, np.float32(0))
    if layer.zero_state_without_steps:
        state[f"{layer.name}/has_run"] = (marks & core.HAS_RUN).astype(bool).astype(np.float32)
    return state


def to_core(layer: GRU | StepMask, state: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What the core keeps of a layer: (rows, …) float32, and each row's marks."""
    if isinstance(layer, StepMask):
        steps = state[f"{layer.name}/steps"]
        if steps.dtype.kind == "f" or (steps.size and not 0 <= steps.min() <= steps.max() < 2**31):
            raise StateMismatch(f"{layer.name}/steps should be whole numbers from 0 to {2**31 - 1}")
        return steps.astype(np.int32).reshape(-1, 1).view(np.float32), np.zeros(len(steps), np.uint8)
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
