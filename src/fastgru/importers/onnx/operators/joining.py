"""Operators that join values, take them apart, or make them larger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....graph import Concatenate, Scale
from ...sizes import Dim, declared, same
from ..arrange import (
    aligned,
    arranged,
    as_sequence,
    enlarged,
    expanded,
    one_axis_each,
    padded,
    rows,
    shape_of,
    spread,
    unflipped,
)  # fmt: skip
from ..fold import split_sizes, spread_shape
from ..node import Node, Refusal, axis_in
from ..values import Constant, Tensor, Unequal, Value
from ..views import inner_parts, without_units
from .elementwise import as_numbers
from .picking import cut, slice_constant
from .table import reads


@reads("Concat", note="along features, time or further axes; with constants at the ends")
def concat(node: Node) -> Value:
    given = [node.needed(index) for index in range(len(node.inputs))]
    axis = node.whole("axis", 1 if node.opset < 4 else None)
    if axis is None:
        raise Refusal("lacks its axis")
    values = [as_numbers(value) if isinstance(value, Tensor) else value for value in given]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        return _joined_constants(node, values, axis)
    axis = axis_in(axis, tensors[0].rank)
    if any(x.rank != tensors[0].rank for x in tensors):
        raise Refusal("joins values of different numbers of axes")
    first = next(index for index, value in enumerate(values) if isinstance(value, Tensor))
    last = max(index for index, value in enumerate(values) if isinstance(value, Tensor))
    if any(isinstance(value, Constant) for value in values[first:last]):
        raise Refusal("joins a constant between values")
    x = joined(node, tensors, axis)
    for constant in reversed(values[:first]):
        x = _beside_constant(node, x, constant, axis, is_before=True)
    for constant in values[last + 1 :]:
        x = _beside_constant(node, x, constant, axis, is_before=False)
    return x


def _joined_constants(node: Node, values: Sequence[Any], axis: int) -> Constant:
    """Of one number each, the same, over free shapes."""
    first = values[0]
    axis = axis_in(axis, len(first.shape))
    numbers = [value.array.reshape(-1) for value in values]
    if any(found.size != 1 or found[0] != numbers[0][0] for found in numbers):
        raise Refusal("joins constants of free sizes")
    total: Dim = 0
    for value in values:
        if any(not same(a, b) for i, (a, b) in enumerate(zip(value.shape, first.shape, strict=True)) if i != axis):
            raise Refusal("joins constants whose sizes do not fit")
        total = total + value.shape[axis]
    return Constant(first.array, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _beside_constant(node: Node, x: Tensor, constant: Any, axis: int, is_before: bool) -> Tensor:
    """A value beside numbers of the file: padding and, unless these are one number, an offset there."""
    shape, own = constant.shape, shape_of(node.network, x)
    count = declared(shape[axis]) if len(shape) == x.rank else None
    if count is None or any(not same(a, b) for i, (a, b) in enumerate(zip(shape, own, strict=True)) if i != axis):
        raise Refusal(f"joins a value {own} and a constant {shape}")
    if not count:
        return x
    numbers = np.unique(constant.array)
    if numbers.dtype == object or numbers.dtype.kind not in "fiu":
        raise Refusal("joins a value and a constant of another kind")
    before, after = (count, 0) if is_before else (0, count)
    if numbers.size == 1:
        return padded(node.network, node.name, x, axis, before, after, float(numbers[0]))
    if declared(own[axis]) is None:
        raise Refusal("joins steps that differ to a sequence of free length")
    x = padded(node.network, node.name, x, axis, before, after, 0.0)
    array = constant.array.reshape((1,) * (x.rank - constant.array.ndim) + constant.array.shape)
    size = int(shape_of(node.network, x)[axis])  # type: ignore[arg-type]
    pads = [(0, 0)] * x.rank
    pads[axis] = (0, size - count) if is_before else (size - count, 0)
    if array.shape[axis] != count:
        array = np.repeat(array, count, axis)
    offset = spread(node.network, Constant.of(np.pad(array, pads)), x)
    return replace(x, spec=node.network.build.add(Scale, f"{node.name}.beside", x.spec, offset=offset))


def joined(node: Node, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Values one after the other along an ONNX axis."""
    net = node.network
    if len(tensors) == 1:
        return tensors[0]
    shapes = [shape_of(net, x) for x in tensors]
    for shape in shapes[1:]:
        for i, (a, b) in enumerate(zip(shapes[0], shape, strict=True)):
            if i != axis and not same(a, b):
                raise Unequal(f"joins values {', '.join(map(str, shapes))} along axis {axis}", a, b)
    over_time = any(x.spec.is_sequence and x.axes[axis] == (1,) for x in tensors)
    if over_time:
        tensors = [as_sequence(net, node.name, unflipped(net, node.name, x), axis) for x in tensors]
        return _joined_in_time(node, tensors, axis)
    if any(x.spec.is_sequence and 1 in x.axes[axis] for x in tensors):
        tensors = [rows(net, x, node.name) for x in tensors]
    if len({x.flipped for x in tensors if x.spec.is_sequence}) > 1:
        tensors = [unflipped(net, node.name, x) for x in tensors]
    tensors, leads = aligned(net, node.name, tensors)
    if leads[axis]:
        raise Refusal(f"joins rows of the batch, axis {axis}")
    if len({x.spec.is_sequence for x in tensors}) > 1:
        time = next(x.time_axis for x in tensors if x.spec.is_sequence)
        assert time is not None
        tensors = [as_sequence(net, node.name, x, time) for x in tensors]
    reference = max(tensors, key=lambda x: len(x.sizes))
    inner = [i for i in range(reference.rank) if not leads[i] and (i == axis or any(x.axes[i] for x in tensors))]
    inner.sort(key=lambda i: (reference.axes[i] or ((0,) if i == axis else (99,)), i))
    views = [one_axis_each(net, node.name, x, inner) for x in tensors]
    place = inner.index(axis)
    lead = views[0].lead
    sizes = [x.spec.inner for x in views]
    total = sum(size[place] for size in sizes)
    if place == 0 and len(inner) > 1:  # as they lie in memory one behind the other
        specs = [arranged(net, node.name, x, [list(inner_parts(x))]).spec for x in views]
        spec = net.build.add(Concatenate, node.name, *specs)
    else:
        spec = net.build.add(Concatenate, node.name, *(x.spec for x in views), axis=lead + place)
    places = {i: (lead + index,) for index, i in enumerate(inner)}
    axes = tuple(lead_of or places.get(i, ()) for i, lead_of in enumerate(leads))
    sizes_of = (*sizes[0][:place], total, *sizes[0][place + 1 :])
    longest = next((x for x in views if x.steps != 1), views[0])
    return replace(longest, spec=spec, sizes=sizes_of, axes=axes)


def _joined_in_time(node: Node, tensors: Sequence[Tensor], axis: int) -> Tensor:
    net = node.network
    tensors, _ = aligned(net, node.name, [without_units(x) for x in tensors])
    reference = tensors[0]
    inner = [i for i in range(reference.rank) if i != axis and any(set(x.axes[i]) - {0, 1} for x in tensors)]
    inner.sort(key=lambda i: reference.axes[i])
    views = [one_axis_each(net, node.name, x, inner) for x in tensors]
    spec = net.build.add(Concatenate, node.name, *(x.spec for x in views), axis=1)
    total: Dim = 0
    for x in views:
        total = total + x.steps
    return replace(views[0], spec=spec, steps=total)


@reads("Split", note="any form, of features or of a known number of steps")
def split(node: Node) -> list[Value]:
    x = node.needed(0)
    shape = shape_of(node.network, x) if isinstance(x, Tensor) else x.shape  # type: ignore[union-attr]
    axis = axis_in(node.whole("axis", 0), len(shape))
    given = node.whole_numbers(1, "split") if node.input(1) is not None else None
    sizes = split_sizes(node, declared(shape[axis]) if declared(shape[axis]) is not None else shape[axis], given)
    results: list[Value] = []
    start = 0
    for size, name in zip(sizes, node.outputs, strict=True):
        if name and isinstance(x, Constant):
            results.append(slice_constant(x, [(axis, start, start + size, 1)]))
        elif name and not size:
            raise Refusal("makes a value without numbers")
        else:
            results.append(cut(node, node.runtime(0), axis, start, start + size, 1))
        start += size
    return results


@reads("Expand", note="by known sizes, over the batch, or over the steps of an input")
def expand(node: Node) -> Value:
    x, target = node.needed(0), tuple(node.whole_numbers(1, "shape"))
    if isinstance(x, Constant):
        return x.over(spread_shape([x.shape, target]))
    return enlarged(node.network, node.name, node.runtime(0), target)


@reads("Tile", note="features, by known numbers")
def tile(node: Node) -> Value:
    x, counts = node.needed(0), node.whole_numbers(1, "repeats")
    if isinstance(x, Constant):
        repeated = [axis for axis, count in enumerate(counts) if not same(count, 1)]
        if len(counts) != len(x.shape) or any(x.array.shape[axis] != 1 for axis in repeated):
            raise Refusal(f"repeats a constant {x.shape} {counts} times")
        return Constant(x.array, tuple(size * count for size, count in zip(x.shape, counts, strict=True)))
    x = node.runtime(0)
    if len(counts) != x.rank:
        raise Refusal(f"repeats {x.rank} axes {counts} times")
    shape = shape_of(node.network, x)
    if all(same(size, 1) or same(count, 1) for size, count in zip(shape, counts, strict=True)):
        target = [size * count for size, count in zip(shape, counts, strict=True)]
        return enlarged(node.network, node.name, x, target)
    for axis, count in enumerate(counts):
        number = declared(count)
        if number is None or not 1 <= number <= 64:
            raise Refusal(f"repeats axis {axis} {count} times")
        if number > 1 and same(shape[axis], 1):
            x = expanded(node.network, node.name, x, axis, number)
        elif number > 1:
            x = joined(node, [x] * number, axis)
    return x


@reads("Pad", note="with a constant")
def pad(node: Node) -> Value:
    x = as_numbers(node.runtime(0))
    mode = node.text("mode", "constant")
    if node.opset < 11:
        pads, value = list(node.wholes("pads" if node.opset > 1 else "paddings", ())), node.number("value", 0.0)
    else:
        pads = node.whole_numbers(1, "pads")
        given = node.numbers_of(2, "value") if node.input(2) is not None else np.zeros(1, np.float32)
        value = float(given.reshape(-1)[0]) if given.size else 0.0
    axes = node.whole_numbers(3, "axes") if node.input(3) is not None else list(range(x.rank))
    if len(pads) != 2 * len(axes):
        raise Refusal(f"has {len(pads)} pads for {len(axes)} axes")
    for index, axis in enumerate(axes):
        before, after = (declared(count) for count in (pads[index], pads[len(axes) + index]))
        if before is None or after is None:
            raise Refusal("adds a number of entries that is free")
        if (before or after) and mode != "constant":
            raise Refusal(f"pads by mode={mode!r}")
        place = axis_in(axis, x.rank)
        size = shape_of(node.network, x)[place]
        if before < 0 or after < 0:
            x = cut(node, x, place, max(-before, 0), size + min(after, 0), 1)
        x = padded(node.network, node.name, x, place, max(before, 0), max(after, 0), value)
    if not math.isfinite(value):
        raise Refusal(f"pads with {value}")
    return x


@reads("ReverseSequence", note="of all steps")
def reverse_sequence(node: Node) -> Value:
    x = node.runtime(0)
    time, batch = axis_in(node.whole("time_axis", 0), x.rank), axis_in(node.whole("batch_axis", 1), x.rank)
    lengths = node.needed(1)
    if not isinstance(lengths, Constant):
        raise Refusal("turns each row round by a length of its own")
    numbers = list(lengths.array.reshape(-1))
    if not all(same(number, shape_of(node.network, x)[time]) for number in numbers) or not numbers:
        raise Refusal("turns some steps round and leaves others")
    if time == batch:
        raise Refusal(f"has axis {time} as batch and as time")
    return cut(node, x, time, -1, None, -1)
