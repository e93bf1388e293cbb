"""Layers that move values: Flatten, Reshape, Permute, RepeatVector, padding, cropping, upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import graph
from ..build import Builder, Value
from ..config import LayerConfig, sequence
from ..weights import Weights
from .table import Part, reads


@reads("Flatten", per_step=True, note="of a known number of steps")
def flatten(config: LayerConfig) -> Part:
    config.only("data_format", "channels_last", None, why="it moves an axis")
    return _reshape(config, (-1,))


@reads("Reshape", per_step=True, note="of a known number of steps, or to one that is free")
def reshape(config: LayerConfig) -> Part:
    return _reshape(config, config.sizes("target_shape"))


def _reshape(config: LayerConfig, target: tuple[int, ...]) -> Part:
    def call(build: Builder, weights: Weights, x: Value) -> Value:
        return reshaped(build, config, x, target)

    return Part(call)


def reshaped(build: Builder, config: LayerConfig, x: Value, target: tuple[int, ...], part: str = "") -> Value:
    """A value with other axes after batch; a mask ends there, but in a TimeDistributed."""
    if not build.per_step and x.has_free_time and not (len(target) > 1 and target[0] == -1):
        config.refuse("needs a known number of steps, but that of the input is free")
        return x
    return build.add(
        graph.Reshape, x, part=part, passes_mask=build.per_step, target=target, per_step=build.per_step
    )


@reads("Permute")
def permute(config: LayerConfig) -> Part:
    dims = config.sizes("dims")
    return Part(lambda build, weights, x: build.add(graph.Transpose, x, passes_mask=False, order=dims))


@reads("RepeatVector")
def repeat_vector(config: LayerConfig) -> Part:
    times = config.size("n")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        one = build.add(graph.Reshape, x, part="step", target=(1, x.features))
        return build.add(graph.Repeat, one, passes_mask=False, axis=1, times=times)

    return Part(call)


def pairs(config: LayerConfig, key: str, axes: int) -> list[tuple[int, int]]:
    """Before and after for each axis: ``1``, ``(1, 2)`` of one axis or each of several, ``((1, 2), (3, 4))``."""
    value = config.take(key)
    items = sequence(value)
    if items is None:
        items = [value] * axes if axes > 1 else [(value, value)]
    elif axes == 1:
        items = [items]
    found = []
    for item in items:
        both = sequence(item) or (item, item)
        if len(both) != 2 or not all(type(number) is int and number >= 0 for number in both):
            raise config.wrong(key, f"whole numbers for {axes} axes", value)
        found.append((both[0], both[1]))
    if len(found) != axes:
        raise config.wrong(key, f"whole numbers for {axes} axes", value)
    return found


def _per_axis(kind: type[graph.Layer], x: Value, build: Builder, changes: Sequence[dict[str, Any] | None]) -> Value:
    """One layer for each axis after batch that changes; a mask ends there."""
    wanted = [(axis, change) for axis, change in enumerate(changes, 1) if change]
    if not wanted:
        return build.add(graph.Identity, x, passes_mask=False)
    for number, (axis, change) in enumerate(wanted, 1):
        part = f"axis{axis}" if number < len(wanted) else ""
        x = build.add(kind, x, part=part, passes_mask=False, axis=axis, **change)
    return x


@reads("ZeroPadding1D", "ZeroPadding2D", note="channels last")
def zero_padding(config: LayerConfig) -> Part:
    channels_last(config)
    both = pairs(config, "padding", axes_of(config))
    changes = [{"before": a, "after": b} if a or b else None for a, b in both]
    return Part(lambda build, weights, x: _per_axis(graph.Pad, x, build, changes))


@reads("Cropping1D", "Cropping2D", note="channels last")
def cropping(config: LayerConfig) -> Part:
    channels_last(config)
    both = pairs(config, "cropping", axes_of(config))
    changes = [{"start": a, "stop": -b if b else None} if a or b else None for a, b in both]
    return Part(lambda build, weights, x: _per_axis(graph.Slice, x, build, changes))


@reads("UpSampling1D", "UpSampling2D", note="channels last; nearest neighbours")
def upsampling(config: LayerConfig) -> Part:
    channels_last(config)
    config.only("interpolation", "nearest", why="only nearest neighbours are")
    times = config.several("size", axes_of(config), 2)
    changes = [{"times": n} if n > 1 else None for n in times]
    return Part(lambda build, weights, x: _per_axis(graph.Repeat, x, build, changes))


def axes_of(config: LayerConfig) -> int:
    """1 or 2, from a class name such as MaxPooling1D."""
    return int(config.class_name[-2])


def channels_last(config: LayerConfig) -> None:
    config.only("data_format", "channels_last", None, why="channels should be the last axis")
