"""TensorArrays and TensorLists: a sequence as its steps, read and written by a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sizes import Dim
from .loops import origin
from .values import Counter, Outputs, Range, Refused, Step, Steps, Tensor, Written, as_size

if TYPE_CHECKING:
    from .network import Call


def steps_of(call: Call, value: Tensor, first_axis: int = 0) -> Steps:
    """The steps of a sequence along an axis; where that is the batch, its placeholder has time first."""
    group = value.axes[first_axis] if first_axis < len(value.axes) else None
    if group == (0,):
        call.time_major()
    if group != (1,) or not value.spec.is_sequence:
        raise Refused("takes steps along an axis that is not time")
    return Steps(value)


def scatter(call: Call, handle: Any, indices: Any, value: Any, flow: Any) -> Steps:
    made = steps_of(call, call.assembly.tensor(value))
    assert made.sequence is not None
    _check_range(indices, made.sequence.steps)
    return made


def tensor_array(call: Call, size: Any) -> Outputs:
    return Outputs([None, Steps(None, as_size(size))])


def reserve(call: Call, element_shape: Any, size: Any) -> Steps:
    return Steps(None, as_size(size))


def from_tensor(call: Call, value: Any, element_shape: Any) -> Steps:
    return steps_of(call, call.assembly.tensor(value))


def read(call: Call, steps: Any, index: Any) -> Step:
    loop = call.scope.loop
    if not isinstance(steps, Steps) or steps.sequence is None or loop is None:
        raise Refused("reads a TensorArray that holds no sequence")
    if not (isinstance(index, Counter) and index.ahead == 0):
        raise Refused("reads another step than that which its loop has come to")
    loop.walks(steps.sequence.steps)
    return Step(steps.sequence, None)


def write(call: Call, steps: Any, index: Any, value: Any) -> Written:
    if not isinstance(steps, Steps) or steps.sequence is not None:
        raise Refused("writes to a TensorArray that already holds something")
    if not (isinstance(index, Counter) and index.ahead == 0):
        raise Refused("writes to another step than that which its loop has come to")
    loop = call.scope.loop
    chosen = call.scope.nodes.get(origin(call.scope, call.node.inputs[2]))
    if loop is None or (loop.lengths is not None and (chosen is None or chosen.op != "Select")):
        raise Refused("writes steps past the end of a row as they are")
    return Written(value)


def gather(call: Call, steps: Any, indices: Any = None) -> Tensor:
    if not isinstance(steps, Steps) or steps.sequence is None:
        raise Refused("stacks a TensorArray that holds no sequence")
    sequence = steps.sequence
    if indices is not None:
        _check_range(indices, sequence.steps)
    rest = tuple(group for group in sequence.axes if group != (1,))
    return Tensor(sequence.spec, ((1,), *rest), sequence.steps)


def _check_range(indices: Any, steps: Dim) -> None:
    if isinstance(indices, Range) and indices.size == steps:
        return
    if isinstance(indices, np.ndarray) and isinstance(steps, int) and np.array_equal(indices, np.arange(steps)):
        return
    raise Refused("takes only some of the steps")


OPERATIONS: dict[str, Callable[..., Any]] = {
    "TensorArrayV3": tensor_array,
    "TensorArrayScatterV3": scatter,
    "TensorArrayReadV3": lambda call, handle, index, flow: read(call, flow, index),
    "TensorArrayWriteV3": lambda call, handle, index, value, flow: write(call, flow, index, value),
    "TensorArrayGatherV3": lambda call, handle, indices, flow: gather(call, flow, indices),
    "TensorListReserve": reserve,
    "TensorListFromTensor": from_tensor,
    "TensorListGetItem": lambda call, steps, index, shape: read(call, steps, index),
    "TensorListSetItem": lambda call, steps, index, value: write(call, steps, index, value),
    "TensorListStack": lambda call, steps, shape: gather(call, steps),
}
