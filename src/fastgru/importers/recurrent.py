"""Cells → GRU layers of the Graph, stacked and in one or two directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import GRU, Array, Concatenate, Slice, TensorSpec
from ..ports import Port
from .builder import GraphBuilder
from .cell import Cell


@dataclass(frozen=True)
class Stacked:
    """What a stack of GRUs defines.

    Attributes
    ----------
    output : TensorSpec
        The sequence of the last layer, its directions side by side; without sequences the final states of that layer.
    states : tuple of TensorSpec
        The final state (batch, units) of each layer and direction: layer by layer, forward before backward.
    """

    output: TensorSpec
    states: tuple[TensorSpec, ...]


def add_stack(
    build: GraphBuilder,
    name: str,
    x: TensorSpec,
    layers: Sequence[Sequence[Cell]],
    *,
    initial: Sequence[TensorSpec | Array | None] = (),
    mask: str | None = None,
    sequences: bool = True,
    zero_output_for_mask: bool = True,
    backwards: bool = False,
) -> Stacked:
    """Append GRUs on top of each other.

    Parameters
    ----------
    build : GraphBuilder
    name : str
    x : TensorSpec
        (batch, time, input_size).
    layers : sequence of (sequence of Cell)
        The cells of each layer: forward, or forward and backward.
    initial : sequence of (TensorSpec, array or None)
        What each layer and direction starts from, in the order of `Stacked.states`; absent means zero.
    mask : str, optional
    sequences : bool
        Whether anybody reads the output's steps.
    zero_output_for_mask : bool
    backwards : bool
        The only direction is the backward one.

    Returns
    -------
    Stacked
    """
    states: list[TensorSpec] = []
    starts = list(initial) or [None] * sum(map(len, layers))
    for number, cells in enumerate(layers):
        stem = name if number == len(layers) - 1 else f"{name}_l{number}"
        keeps_steps = sequences or number < len(layers) - 1
        outputs = []
        for direction, cell in enumerate(cells):
            start = starts[len(states)]
            reverse = backwards or direction == 1
            inputs = (x, start) if isinstance(start, TensorSpec) else (x,)
            value = build.add(
                GRU,
                f"{stem}_reverse" if direction else stem if len(cells) == 1 else f"{stem}_forward",
                *inputs,
                **cell.attributes,
                initial_state=start if isinstance(start, np.ndarray) else None,
                return_sequences=keeps_steps,
                go_backwards=reverse,
                time_order=reverse and keeps_steps,
                zero_output_for_mask=zero_output_for_mask,
                mask=mask,
            )
            state = build.spec(f"{value.name}:state")
            states.append(state)
            outputs.append(value if keeps_steps else state)
        x = outputs[0] if len(outputs) == 1 else build.add(Concatenate, stem, *outputs)
    return Stacked(x, tuple(states))


def split_states(build: GraphBuilder, value: TensorSpec, count: int) -> list[TensorSpec]:
    """The initial states of `count` layers and directions from one value, where they stand side by side."""
    units = value.features // count
    if count == 1:
        return [value]
    parts = (slice(number * units, (number + 1) * units) for number in range(count))
    return [build.add(Slice, f"{value.name}_{part.start}", value, axis=1, start=part.start, stop=part.stop)
            for part in parts]  # fmt: skip


def join_states(build: GraphBuilder, name: str, states: Sequence[TensorSpec]) -> TensorSpec:
    """Final states side by side: (batch, count · units)."""
    return states[0] if len(states) == 1 else build.add(Concatenate, name, *states)


def states_port(name: str, count: int, units: int) -> Port:
    """States of several layers and directions as PyTorch and ONNX lay them out: (count, batch, units)."""
    return Port(name, (count, units), ((1,), (0,), (2,)))
