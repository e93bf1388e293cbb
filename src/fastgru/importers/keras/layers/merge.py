"""Layers that merge several values into one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .... import graph
from ..build import Builder, Value
from ..config import LayerConfig, sequence
from ..weights import Weights
from .table import Part, reads

#: Keras' merging layers by the operation that they are
OPERATIONS = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
}


@reads(*OPERATIONS, note="of values that spread over each other")
def merge(config: LayerConfig) -> Part:
    operation = OPERATIONS[config.class_name]
    any_of = config.report.generation == 3  # where Keras 2 joins masks by "and"

    def call(build: Builder, weights: Weights, *inputs: Any) -> Value:
        values = list(inputs[0]) if len(inputs) == 1 else list(inputs)
        if any_of and operation in FILLS and any(value.is_masked for value in values):
            return FILLS[operation](config, build, operation, values)
        return combined(build, operation, values, any_of=any_of)

    return Part(call)


def combined(build: Builder, operation: str, inputs: list[Value], part: str = "", any_of: bool = False) -> Value:
    """Values of equal rank, or lower ones that spread over the steps of the others, with their masks joined."""
    if len(inputs) == 1:
        return build.add(graph.Identity, inputs[0], part=part)
    mask = _joined(build, inputs, any_of)
    value = build.add(graph.Combine, *inputs, part=part, operation=operation)
    return with_mask(value, mask)


def _joined(build: Builder, inputs: list[Value], any_of: bool) -> Value:
    """A carrier of the mask of a merged value: by "or", one of a network needs masks of all inputs."""
    if any_of and not all(value.is_masked for value in inputs):
        return build.join_masks([replace(value, mask=value.given, is_masked=False) for value in inputs])
    return build.join_masks(inputs, any_of=any_of)


def _multiplied(config: LayerConfig, build: Builder, operation: str, inputs: list[Value]) -> Value:
    """Keras 3.5 and later: a masked step counts as ones, and gives zeros where all values are masked."""
    factors = [
        build.add(graph.Where, x, part=f"factor{i}", mask=x.mask, value=1.0) if x.is_masked else x
        for i, x in enumerate(inputs)
    ]
    mask = _joined(build, inputs, True)
    if not all(value.is_masked for value in inputs):
        return with_mask(build.add(graph.Combine, *factors, operation=operation), mask)
    product = build.add(graph.Combine, *factors, part="product", operation=operation)
    return with_mask(build.add(graph.Where, product, mask=mask.mask, value=0.0), mask)


def _chosen(config: LayerConfig, build: Builder, operation: str, inputs: list[Value]) -> Value:
    """Keras 3.4 and later, maximum and minimum: a masked step takes no part unless all values are masked."""
    limits = np.finfo(np.float32)
    least = float(limits.min if operation == "maximum" else limits.max)
    y = inputs[0]
    for i, x in enumerate(inputs[1:], 1):
        mask = _joined(build, [y, x], True)
        if x.is_masked and y.is_masked:
            y, x = _widened(build, y, x, i), _widened(build, x, y, i)
            x = replace(build.add(graph.Where, x, y, part=f"value{i}", mask=x.mask), is_masked=True)
            y = build.add(graph.Where, y, x, part=f"other{i}", mask=y.mask)
        elif x.is_masked:
            x = build.add(graph.Where, x, part=f"value{i}", mask=x.mask, value=least)
        elif y.is_masked:
            y = build.add(graph.Where, y, part=f"other{i}", mask=y.mask, value=least)
        part = "" if i == len(inputs) - 1 else f"of{i}"
        y = with_mask(build.add(graph.Combine, y, x, part=part, operation=operation), mask)
    return y


def _widened(build: Builder, x: Value, other: Value, number: int) -> Value:
    """A value whose axes of size 1 are as long as another one's."""
    for place in range(2, x.rank):
        times = other.spec.shape[place]
        if x.spec.shape[place] == 1 and times != 1:
            x = build.add(graph.Repeat, x, part=f"wide{number}", axis=place, times=times)
    return x


#: operations whose masked values Keras 3 replaces
FILLS = {"multiply": _multiplied, "maximum": _chosen, "minimum": _chosen}


def with_mask(value: Value, mask: Value) -> Value:
    """A value with the mask of another one, if it is a sequence."""
    if not value.spec.is_sequence:
        return value.unmasked()
    return replace(value, mask=mask.mask, is_masked=mask.is_masked, given=mask.given)


@reads("Concatenate", note="along any axis but the batch")
def concatenate(config: LayerConfig) -> Part:
    axis = config.whole("axis", -1)
    any_of = config.report.generation == 3

    def call(build: Builder, weights: Weights, inputs: list[Value]) -> Value:
        over_time = inputs[0].spec.is_sequence and axis % inputs[0].rank == 1
        if over_time and any(value.is_masked for value in inputs) and any(value.mask is None for value in inputs):
            config.refuse("appends masked and unmasked sequences along time")
        return concatenated(build, list(inputs), axis, any_of=any_of)

    return Part(call)


def concatenated(build: Builder, inputs: list[Value], axis: int, part: str = "", any_of: bool = False) -> Value:
    """Values joined along an axis, with their masks joined."""
    if len(inputs) == 1:
        return build.add(graph.Identity, inputs[0], part=part)
    over_time = inputs[0].spec.is_sequence and axis % inputs[0].rank == 1
    mask = build.join_masks(inputs, True) if over_time else _joined(build, inputs, any_of)
    value = build.add(graph.Concatenate, *inputs, part=part, axis=axis)
    return with_mask(value, mask)


@reads(
    "Dot",
    note="of vectors, or of sequences along features or steps; Dot–Softmax–Dot over any number of steps",
)
def dot(config: LayerConfig) -> Part:
    written = config.take("axes")
    items = sequence(written)
    axes = [written, written] if items is None else list(items)
    normalize = config.flag("normalize")
    if len(axes) != 2 or not all(type(axis) is int for axis in axes):
        raise config.wrong("axes", "one axis or two", written)

    def call(build: Builder, weights: Weights, inputs: list[Value]) -> Value:
        a, b = (value.unmasked() for value in inputs)
        places = axes[0] % a.rank, axes[1] % b.rank
        if normalize:
            a, b = (_unit(build, config, v, place, i) for i, (v, place) in enumerate(zip((a, b), places, strict=True)))
        if a.rank == b.rank == 2:
            product = build.add(graph.Combine, a, b, part="product", operation="multiply")
            total = build.add(graph.Reduce, product, part="sum", function="sum", axis=1)
            return build.add(graph.Reshape, total, target=(1,))
        if a.rank == b.rank == 3 and places == (1, 1) and 1 in (a.features, b.features):
            weighted = build.add(graph.Combine, a, b, part="weighted", operation="multiply")
            total = build.add(graph.Reduce, weighted, part="sum", function="sum", axis=1)
            return build.add(graph.Reshape, total, target=(a.features, b.features))
        if a.rank == b.rank == 3:
            if places[0] == 1:
                a = build.add(graph.Transpose, a, part="turned", order=(2, 1))
            return build.add(graph.MatMul, a, b, transpose_b=places[1] == 2)
        config.refuse(f"axes={axes} of values of shape {a.spec.shape} and {b.spec.shape} are not supported")
        return a

    return Part(call)


def _unit(build: Builder, config: LayerConfig, x: Value, place: int, number: int) -> Value:
    if place != x.rank - 1:
        config.refuse("normalize=True is supported along the last axis")
        return x
    options: dict[str, Any] = {"function": "unit", "epsilon": 1e-12}
    return build.add(graph.Normalize, x, part=f"unit{number}", **options)
