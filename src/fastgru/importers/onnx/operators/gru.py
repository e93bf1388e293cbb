"""The GRU operator, opsets 1 to 22: a GRU layer for each direction.

X is (time, batch, input), Y (time, directions, batch, units), Y_h and initial_h (directions, batch, units); with
layout=1 (batch, time, input), (batch, time, directions, units), (batch, directions, units).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ....graph import GRU, Concatenate, Slice, StepMask, TensorSpec
from ...sizes import same
from ..arrange import arranged, as_sequence, unflipped
from ..node import Node, Refusal
from ..values import UNKNOWN, Constant, Tensor, Value
from .gru_attributes import Attributes, Weights, read_attributes, read_weights
from .table import reads

T = TypeVar("T")
#: where a direction begins: the same for all rows, or a value (batch, units); neither: at zero
Initial = tuple[np.ndarray | None, TensorSpec | None]


@reads("GRU", note="opsets 1 to 22, every attribute; W, R and B are constants")
def gru(node: Node) -> tuple[Value, Value]:
    """Y and Y_h."""
    faults: list[str] = []
    if len(node.inputs) > 6:
        faults.append(f"has {len(node.inputs)} inputs, the operator has 6")
    said = read_attributes(node, faults)
    weights = read_weights(node, said, faults)
    if weights is None:
        raise Refusal("; ".join(faults))
    x = _tried(faults, lambda: _sequence(node, said, weights))
    mask = None if x is None else _tried(faults, lambda: _mask(node, x))
    initial = _tried(faults, lambda: _initial(node, said, weights))
    if faults or x is None or initial is None:
        raise Refusal("; ".join(faults))

    wants_y = _is_read(node, 0)
    outputs, states = [], []
    for direction, backwards in enumerate(said.backwards):
        state, h0 = initial[direction]
        f, g = said.activations[direction]
        cell = weights.cell(direction, said.reset_after)
        turned = backwards != x.flipped
        y = node.network.build.add(
            GRU,
            node.name if len(said.backwards) == 1 else f"{node.name}.{'backward' if backwards else 'forward'}",
            *([x.spec] if h0 is None else [x.spec, h0]),
            **replace(cell, recurrent_activation=f, activation=g).attributes,
            initial_state=state,
            return_sequences=wants_y,
            go_backwards=turned,
            time_order=turned and wants_y,
            clip=said.clip,
            mask=mask,
            # the standard says nothing of what lies past a row's length: as ONNX Runtime has it
            zero_output_for_mask=mask is not None,
            zero_state_without_steps=mask is not None,
        )
        outputs.append(y)
        states.append(node.network.build.spec(f"{y.name}:state"))
    Y = _y(node, said, weights, x, outputs) if wants_y else UNKNOWN
    return Y, _y_h(node, said, weights, x, states)


def _tried(faults: list[str], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Refusal as refusal:
        faults.append(str(refusal))
        return None


def _is_read(node: Node, index: int) -> bool:
    """Whether anything needs an output; exporters name both."""
    from ..network import captured

    name = node.outputs[index] if index < len(node.outputs) else ""
    proto = node.scope.proto
    if not name or any(entry.name == name for entry in proto.output):
        return bool(name)
    return any(name in other.input or name in captured(other) for other in proto.node)


# ---- inputs ----------------------------------------------------------------------------------------------------------


def _sequence(node: Node, said: Attributes, weights: Weights) -> Tensor:
    """X as (batch, time, input)."""
    x = node.needed(0)
    if not isinstance(x, Tensor) or x.rank != 3:
        raise Refusal("X should be a value of three axes that is not the same in every call")
    time, batch = (1, 0) if said.batch_first else (0, 1)
    if x.axes[batch] not in ((0,), ()):
        raise Refusal(f"the batch of X, axis {batch} of it, is not that of the network, or not that alone")
    x = as_sequence(node.network, node.name, x, time)
    if node.input(4) is not None:
        x = unflipped(node.network, node.name, x)  # lengths count from the first step in ONNX
    x = arranged(node.network, node.name, x, [x.axes[2]])
    if x.spec.features != weights.input_size:
        raise Refusal(f"X has {x.spec.features} features, W takes {weights.input_size}")
    return x


def _mask(node: Node, x: Tensor) -> str | None:
    """The mask that sequence_lens make; None where every row has all steps."""
    lengths = node.input(4)
    if lengths is None:
        return None
    if isinstance(lengths, Constant):
        values = [int(item) if isinstance(item, np.integer) else item for item in lengths.array.reshape(-1)]
        if len(lengths.shape) != 1 or not all(same(value, x.steps) for value in values):
            raise Refusal(f"sequence_lens are the constants {_few(values)}, not the number of steps, {x.steps}")
        return None
    if not isinstance(lengths, Tensor) or not lengths.is_ids or lengths.axes != ((0,),) or lengths.sizes:
        raise Refusal("sequence_lens should be an input (batch,) of whole numbers")
    return node.network.build.add(StepMask, f"{node.name}.mask", x.spec, lengths.spec).name


def _initial(node: Node, said: Attributes, weights: Weights) -> Sequence[Initial]:
    """Where each direction begins."""
    count, units = weights.directions, weights.units
    h = node.input(5)
    direction, batch = (1, 0) if said.batch_first else (0, 1)
    if h is None:
        return [(None, None)] * count
    if isinstance(h, Constant):
        if len(h.shape) != 3 or not (same(h.shape[direction], count) and same(h.shape[2], units)):
            raise Refusal(f"initial_h has shape ({', '.join(map(str, h.shape))})")
        if h.is_zero:
            return [(None, None)] * count
        row = h.array.reshape((1,) * (3 - h.array.ndim) + h.array.shape).take([0], batch)
        if h.array.dtype != np.float32 or not np.array_equal(np.broadcast_to(row, h.array.shape), h.array):
            raise Refusal("initial_h is a constant that differs from row to row of the batch")
        states = np.broadcast_to(row.squeeze(batch), (count, units))
        return [(np.ascontiguousarray(state), None) for state in states]
    if not isinstance(h, Tensor) or h.rank != 3 or h.spec.is_sequence or h.axes[batch] not in ((0,), ()):
        raise Refusal("initial_h should be (directions, batch, units), made of values without time")
    h = arranged(node.network, f"{node.name}.initial", h, [(*h.axes[direction], *h.axes[2])])
    if h.spec.features != count * units:
        raise Refusal(f"initial_h has {h.spec.features} numbers a row, it takes {count} · {units}")
    if count == 1:
        return [(None, h.spec)]
    ends = [(number * units, (number + 1) * units) for number in range(count)]
    add = node.network.build.add
    return [(None, add(Slice, f"{node.name}.initial", h.spec, axis=1, start=a, stop=b)) for a, b in ends]


def _few(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:4])) + (", …" if len(values) > 4 else "")


# ---- outputs ---------------------------------------------------------------------------------------------------------


def _y(node: Node, said: Attributes, weights: Weights, x: Tensor, parts: Sequence[TensorSpec]) -> Tensor:
    spec, sizes = _joined(node, node.name, parts, weights.units)
    direction, unit = ((), (2,)) if len(parts) == 1 else ((2,), (3,))
    batch = _batch(said, x)
    axes = (batch, (1,), direction, unit) if said.batch_first else ((1,), direction, batch, unit)
    return Tensor(spec, sizes, axes, x.steps, x.flipped)


def _y_h(node: Node, said: Attributes, weights: Weights, x: Tensor, parts: Sequence[TensorSpec]) -> Tensor:
    spec, sizes = _joined(node, f"{node.name}.state", parts, weights.units)
    direction, unit = ((), (1,)) if len(parts) == 1 else ((1,), (2,))
    batch = _batch(said, x)
    return Tensor(spec, sizes, (batch, direction, unit) if said.batch_first else (direction, batch, unit))


def _batch(said: Attributes, x: Tensor) -> tuple[int, ...]:
    """What X's axis of rows is made of: the batch or, where that is 1, nothing."""
    return x.axes[0 if said.batch_first else 1]


def _joined(node: Node, name: str, parts: Sequence[TensorSpec], units: int) -> tuple[TensorSpec, tuple[int, ...]]:
    """The directions side by side, and how the features of that are split."""
    if len(parts) == 1:
        return parts[0], (units,)
    return node.network.build.add(Concatenate, name, *parts), (len(parts), units)
