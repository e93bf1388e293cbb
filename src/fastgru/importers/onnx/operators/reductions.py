"""Operators that look at a whole axis: reductions, softmax, the place of the largest number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ....graph import Activate, Activation, ArgMax, Combine, Reduce, Reshape, TensorSpec
from ..arrange import arranged, features_last, in_place, rows
from ..node import Node, Refusal, axis_in
from ..values import Tensor, Value
from ..views import inner_parts, without_batch, without_units
from .elementwise import activated, combined, layer, value_of
from .table import reads

_FUNCTIONS = {
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "ReduceMax": "maximum",
    "ReduceMin": "minimum",
    "ReduceSumSquare": "sum",
    "ReduceL1": "sum",
    "ReduceL2": "sum",
    "ReduceLogSum": "sum",
    "ReduceLogSumExp": "sum",
}


@reads(*_FUNCTIONS, note="over features, time, or several axes")
def reduction(node: Node) -> Value:
    x = value_of(node, 0)
    axes = node.axes("axes", 1, since=13 if node.op == "ReduceSum" else 18)
    keep = node.flag("keepdims", True)
    no_op = node.flag("noop_with_empty_axes")
    if node.op in ("ReduceSumSquare", "ReduceL2"):
        x = activated(node, x, "square")
    elif node.op == "ReduceL1":
        x = activated(node, x, "abs")
    if node.op == "ReduceLogSumExp" and (axes or not no_op):
        return _log_of_powers(node, x, axes or range(x.rank), keep)
    if axes or not no_op:
        x = reduced(node, x, _FUNCTIONS[node.op], axes or range(x.rank), keep)
    ends = {"ReduceL2": "sqrt", "ReduceLogSum": "log"}
    return activated(node, x, ends[node.op]) if node.op in ends else x


def _log_of_powers(node: Node, x: Tensor, axes: Iterable[int], keep: bool) -> Tensor:
    """log Σ exp(x − most) + most, in which nothing overflows."""
    axes = list(axes)
    most = reduced(node, x, "maximum", axes, True)
    powers = activated(node, combined(node, "subtract", [x, most]), "exponential")
    total = activated(node, reduced(node, powers, "sum", axes, True), "log")
    total = combined(node, "add", [total, most])
    gone = {axis_in(axis, total.rank) for axis in axes}
    return total if keep else replace(total, axes=tuple(p for axis, p in enumerate(total.axes) if axis not in gone))


def reduced(node: Node, x: Tensor, function: str, axes: Iterable[int], keep: bool) -> Tensor:
    """Over some ONNX axes, which go or, with `keep`, become axes of size 1."""
    gone = {axis_in(axis, x.rank) for axis in axes}
    if len(gone) > 1 and x.spec.is_sequence and any({0, 1} & set(x.axes[a]) and len(x.axes[a]) > 1 for a in gone):
        x = rows(node.network, x, node.name)
    for axis in sorted(gone, reverse=True):
        x = _reduced_along(node, x, function, axis)
    return x if keep else replace(x, axes=tuple(parts for axis, parts in enumerate(x.axes) if axis not in gone))


def _reduced_along(node: Node, x: Tensor, function: str, axis: int) -> Tensor:
    net = node.network
    x = without_units(without_batch(net, x, axis))
    if not x.axes[axis]:
        return x
    if x.spec.is_sequence and x.axes[axis] == (1,):
        spec = net.build.add(Reduce, node.name, x.spec, function=function, axis=1)
        axes = tuple(() if i == axis else tuple(p - (p > 1) for p in parts) for i, parts in enumerate(x.axes))
        return replace(x, spec=filled(node, spec), axes=axes, steps=1, flipped=False)
    x, place = in_place(net, node.name, x, axis)
    gone = x.axes[axis]
    spec = net.build.add(Reduce, node.name, x.spec, function=function, axis=place)
    sizes = tuple(size for part, size in zip(inner_parts(x), x.sizes, strict=True) if part not in gone)
    axes = tuple(
        () if i == axis else tuple(part - len(gone) if part > gone[-1] else part for part in parts)
        for i, parts in enumerate(x.axes)
    )
    return replace(x, spec=filled(node, spec), sizes=sizes, axes=axes)


def filled(node: Node, spec: TensorSpec) -> TensorSpec:
    """A value with an axis of features, of size 1 where there was none."""
    if spec.inner:
        return spec
    return node.network.build.add(Reshape, f"{node.name}.view", spec, target=(1,), per_step=True)


@reads("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node) -> Value:
    x = value_of(node, 0)
    return reduced(node, x, "mean" if node.op == "GlobalAveragePool" else "maximum", range(2, x.rank), True)


@reads("Softmax", "LogSoftmax", note="along features or time")
def softmax(node: Node) -> Value:
    x = value_of(node, 0)
    axis = axis_in(node.whole("axis", -1 if node.opset >= 13 else 1), x.rank)
    axes = [axis] if node.opset >= 13 else list(range(axis, x.rank))  # all from the axis on as one
    is_log = node.op == "LogSoftmax"
    for one in axes:
        x = without_batch(node.network, x, one)
    x = without_units(x)
    found = [one for one in axes if x.axes[one]] or axes[-1:]
    if len(found) == 1 and x.spec.is_sequence and x.axes[found[0]] == (1,):
        return _over_time(node, x, found[0], is_log)
    x = features_last(node.network, node.name, x, found[0]) if len(found) == 1 else _all_last(node, x, found)
    return layer(node, Activate, x, activation=Activation.of("log_softmax" if is_log else "softmax"))


def _all_last(node: Node, x: Tensor, axes: list[int]) -> Tensor:
    """Several ONNX axes as the last of the value."""
    if any(0 in x.axes[axis] for axis in axes):
        raise Refusal("works along the batch")
    if x.spec.is_sequence and any(1 in x.axes[axis] for axis in axes):
        x = rows(node.network, x, node.name)
    parts = [part for axis in axes for part in x.axes[axis]]
    others = [part for part in inner_parts(x) if part not in parts]
    return arranged(node.network, node.name, x, [others, parts] if others else [parts])


def _over_time(node: Node, x: Tensor, axis: int, is_log: bool) -> Tensor:
    """exp(x − most) over its sum, both of all steps."""
    add = node.network.build.add
    most = reduced(node, x, "maximum", [axis], True)
    below = combined(node, "subtract", [x, most])
    powers = activated(node, below, "exponential")
    total = reduced(node, powers, "sum", [axis], True)
    if is_log:
        return combined(node, "subtract", [below, activated(node, total, "log")])
    return replace(powers, spec=add(Combine, node.name, powers.spec, total.spec, operation="divide"))


@reads("ArgMax", "ArgMin", note="along features")
def argmax(node: Node) -> Value:
    x = value_of(node, 0)
    axis = axis_in(node.whole("axis", 0), x.rank)
    keep, last = node.flag("keepdims", True), node.flag("select_last_index")
    if node.op == "ArgMin":
        x = activated(node, x, "negative")
    x = features_last(node.network, node.name, x, axis)
    count = len(x.axes[axis])
    spec = node.network.build.add(ArgMax, node.name, x.spec, last=last)
    sizes = x.sizes[: len(x.sizes) - count]
    axes = tuple(() if i == axis else parts for i, parts in enumerate(x.axes) if keep or i != axis)
    return replace(x, spec=spec, sizes=sizes, axes=axes)
