"""Layers that merge several values into one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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


@reads(*OPERATIONS)
def merge(config: LayerConfig) -> Part:
    operation = OPERATIONS[config.class_name]
    any_of = config.report.generation == 3  # where Keras 2 joins masks by "and"

    def call(build: Builder, weights: Weights, *inputs: Any) -> Value:
        values = list(inputs[0]) if len(inputs) == 1 else list(inputs)
        return combined(build, operation, values, any_of=any_of)

    return Part(call)


def combined(
    build: Builder, operation: str, inputs: list[Value], part: str = "", any_of: bool = False
) -> Value:
    """Values of equal rank, or lower ones that spread over the steps of the others, with their masks joined."""
    if len(inputs) == 1:
        return build.add(graph.Identity, inputs[0], part=part)
    bare = any_of and not all(value.is_masked for value in inputs)
    masked = [replace(v, mask=v.given, is_masked=False) for v in inputs] if bare else inputs
    mask = build.join_masks(masked, any_of=any_of and not bare)
    value = build.add(graph.Combine, *inputs, part=part, operation=operation)
    return with_mask(value, mask)


def with_mask(value: Value, mask: Value) -> Value:
    """A value with the mask of another one, if it is a sequence."""
    if not value.spec.is_sequence:
        return value.unmasked()
    return replace(value, mask=mask.mask, is_masked=mask.is_masked, given=mask.given)


@reads("Concatenate")
def concatenate(config: LayerConfig) -> Part:
    axis = config.whole("axis", -1)
    return Part(lambda build, weights, inputs: concatenated(build, list(inputs), axis))


def concatenated(build: Builder, inputs: list[Value], axis: int, part: str = "") -> Value:
    """Values joined along an axis, with their masks joined."""
    if len(inputs) == 1:
        return build.add(graph.Identity, inputs[0], part=part)
    over_time = inputs[0].spec.is_sequence and axis % inputs[0].rank == 1
    mask = build.join_masks(inputs, over_time)
    value = build.add(graph.Concatenate, *inputs, part=part, axis=axis)
    return with_mask(value, mask)


@reads("Dot")
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
