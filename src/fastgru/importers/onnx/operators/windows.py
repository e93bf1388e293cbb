"""Convolutions and pooling. ONNX has channels first: (batch, channels, …); here they are last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....graph import Conv, Graph, Layer, Pool, TensorSpec, TimeDistributed, tensor_spec
from ...sizes import Dim, declared
from ..arrange import arranged, as_sequence, shape_of, unflipped
from ..node import Node, Refusal
from ..values import Tensor, Value
from .elementwise import value_of
from .table import reads

_AUTO = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


@dataclass
class _Windows:
    """What operators with windows say, in ONNX's order of axes."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: str

    @classmethod
    def of(cls, node: Node, size: Sequence[int]) -> _Windows:
        count = len(size)
        strides = node.wholes("strides", (1,) * count)
        dilation = node.wholes("dilations", (1,) * count)
        pads = node.wholes("pads", (0,) * 2 * count)
        auto = node.text("auto_pad", "NOTSET")
        if auto not in ("NOTSET", "VALID", *_AUTO):
            raise Refusal(f"auto_pad={auto!r} is not known")
        if len(strides) != count or len(dilation) != count or len(pads) != 2 * count:
            raise Refusal(f"strides, dilations or pads are not for {count} axes")
        if min((*strides, *dilation, *size)) < 1 or min(pads) < 0:
            raise Refusal("has sizes, strides or dilations below 1, or pads below 0")
        if auto != "NOTSET":
            pads = (0,) * 2 * count
        return cls(tuple(size), strides, dilation, pads[:count], pads[count:], _AUTO.get(auto, "explicit"))

    def reach(self, axis: int) -> int:
        return (self.size[axis] - 1) * self.dilation[axis] + 1

    def attributes(self, order: Sequence[int]) -> dict[str, Any]:
        """As layers take them, the axes in their order."""
        pads = tuple(pad for axis in order for pad in (self.before[axis], self.after[axis]))
        return {
            "strides": tuple(self.strides[axis] for axis in order),
            "dilation": tuple(self.dilation[axis] for axis in order),
            "padding": self.padding,
            "pads": pads if self.padding == "explicit" else (),
        }

    def rounded_up(self, axis: int, length: Dim) -> None:
        """Count a last window that is not full, if it begins before the padding behind does (ceil_mode)."""
        if self.strides[axis] == 1 or self.padding != "explicit":
            return
        known = declared(length)
        if known is None or not isinstance(length, int):
            raise Refusal(f"counts a last window that is not full (ceil_mode), of {length} entries")
        begin = known + self.before[axis]
        count = -(-(begin + self.after[axis] - self.reach(axis)) // self.strides[axis]) + 1
        if (count - 1) * self.strides[axis] >= begin:
            count -= 1
        after = (count - 1) * self.strides[axis] + self.reach(axis) - begin
        self.after = (*self.after[:axis], max(after, self.after[axis]), *self.after[axis + 1 :])

    def steps(self, node: Node, spec: TensorSpec, before: Dim, axis: int) -> Dim:
        """How many steps come out, of an axis that is time."""
        if spec.shape[1] is not None or self.strides[axis] != 1:
            return node.network.fresh_steps(spec)
        if self.padding != "explicit":
            return before
        return node.network.sequence(before + (self.before[axis] + self.after[axis] - self.reach(axis) + 1), spec)


def _laid_out(node: Node) -> tuple[Tensor, list[int]]:
    """Input 0 as layers with windows read it, channels last; and its spatial axes, 0 or 1, in their order."""
    net, x = node.network, value_of(node, 0)
    if x.rank not in (3, 4):
        raise Refusal(f"reads a value of {x.rank} axes; those with 1 or 2 behind the channels are supported")
    if _is_per_step(x):
        groups = [*x.axes[2:], x.axes[1]]
        return arranged(net, node.name, x, groups), list(range(x.rank - 2))
    if set(x.axes[0]) - {0}:
        raise Refusal(f"reads {shape_of(net, x)}, whose first axis is not the batch")
    x = unflipped(net, node.name, x)
    over = 3 if x.rank == 4 and x.spec.is_sequence and x.axes[3] == (1,) else 2
    x = as_sequence(net, node.name, x, over)
    if x.rank == 3:
        return arranged(net, node.name, x, [x.axes[1]]), [0]
    other = 5 - over
    return arranged(net, node.name, x, [x.axes[other], x.axes[1]]), [over - 2, other - 2]


def _is_per_step(x: Tensor) -> bool:
    """Whether the rows of an operator are the steps of all rows: batch · time."""
    return x.spec.is_sequence and 1 in x.axes[0] and set(x.axes[0]) <= {0, 1}


def _windowed(node: Node, x: Tensor, order: Sequence[int], windows: _Windows, kind: type[Layer], **said: Any) -> Tensor:
    """What a layer with windows makes of a value that is laid out for it."""
    attributes = said | windows.attributes(order)
    if not _is_per_step(x):
        spec = node.network.build.add(kind, node.name, x.spec, **attributes)
        return _result(x, spec, order, windows.steps(node, spec, x.steps, order[0]))
    first, *others = x.spec.inner
    graph = Graph((tensor_spec("x", first, tuple(others)),), (kind(name="y", inputs=("x",), **attributes),), ("y",))
    spec = node.network.build.add(TimeDistributed, node.name, x.spec, graph=graph)
    axes = (x.axes[0], (2 + len(order),), *((2 + axis,) for axis in range(len(order))))
    return replace(x, spec=spec, sizes=spec.inner, axes=axes)


def _result(x: Tensor, spec: TensorSpec, order: Sequence[int], steps: Dim) -> Tensor:
    spatial = {order[0]: (1,), **dict.fromkeys(order[1:], (2,))}
    axes = (x.axes[0], (1 + len(order),), *(spatial[axis] for axis in range(len(order))))
    return replace(x, spec=spec, sizes=spec.inner, axes=axes, steps=steps)


@reads("Conv", note="1-D and 2-D, with constant weights")
def conv(node: Node) -> Value:
    x, order = _laid_out(node)
    kernel = node.numbers_of(1, "weights")
    bias = node.numbers_of(2, "bias") if node.input(2) is not None else None
    if kernel.ndim != x.rank:
        raise Refusal(f"weights {kernel.shape} do not go with a value of {x.rank} axes")
    size = node.wholes("kernel_shape", kernel.shape[2:])
    if size != kernel.shape[2:]:
        raise Refusal(f"kernel_shape {size} is not that of the weights {kernel.shape}")
    windows = _Windows.of(node, size)
    kernel = np.ascontiguousarray(kernel.transpose(*(axis + 2 for axis in order), 1, 0), np.float32)
    return _windowed(node, x, order, windows, Conv, kernel=kernel, bias=bias, groups=node.whole("group", 1))


@reads("MaxPool", "AveragePool", note="1-D and 2-D")
def pool(node: Node) -> Value:
    x, order = _laid_out(node)
    size = node.wholes("kernel_shape")
    if size is None or len(size) != len(order):
        raise Refusal(f"kernel_shape {size} is not for {len(order)} axes")
    counts = node.flag("count_include_pad")
    node.ignore("storage_order")
    windows = _Windows.of(node, size)
    if node.flag("ceil_mode"):
        shape, after = shape_of(node.network, x)[2:], windows.after
        for axis in range(len(order)):
            windows.rounded_up(axis, shape[axis])
        if counts and windows.after != after:
            raise Refusal("counts padding (count_include_pad) in a last window that is not full (ceil_mode)")
    function = "maximum" if node.op == "MaxPool" else "average"
    size = tuple(size[axis] for axis in order)
    return _windowed(node, x, order, windows, Pool, function=function, size=size, count_padding=counts)
