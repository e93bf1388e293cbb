"""Normalizations: with constants of the training, or over the features of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import graph
from ....errors import BadModelFile
from ..build import Builder, Value
from ..config import LayerConfig, sequence
from ..weights import Weights
from .table import Part, reads

Array = np.ndarray


def _axis(config: LayerConfig, default: int = -1) -> int:
    """One axis, which Keras 2 may write as a list."""
    value = config.take("axis", default)
    items = sequence(value)
    if items is not None and len(items) == 1:
        value = items[0]
    if type(value) is not int or value == 0:
        raise config.wrong("axis", "one axis behind the batch", value)
    return value


def _along(x: Value, axis: int) -> tuple[tuple[int, ...], int]:
    """The shape of a tensor that stands along one axis of a value, and its size."""
    sizes = x.spec.shape[1:]
    place = axis - 1 if axis > 0 else axis + len(sizes)
    size = sizes[place] if 0 <= place < len(sizes) else None
    if size is None:
        raise BadModelFile(f"{x.name!r} of shape {x.spec.shape} has no axis {axis} of known size")
    shape = tuple(size if i == place else 1 for i in range(len(sizes)))
    return (shape if place < len(sizes) - 1 else (size,)), size


@reads(
    "BatchNormalization", "SyncBatchNormalization",
    ignored={
        "momentum", "fused", "virtual_batch_size", "synchronized", "adjustment", "renorm_clipping", "renorm_momentum",
    },
    per_step=True,
    note="at inference; folded into a Dense or Conv before it",
)  # fmt: skip
def batch_normalization(config: LayerConfig) -> Part:
    axis, epsilon = _axis(config), config.number("epsilon", 1e-3)
    has_scale, has_offset = config.flag("scale", True), config.flag("center", True)
    config.only("renorm", False, None, why="it computes otherwise")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        # in a TimeDistributed, where all steps are computed at once, x has the axis of time before it
        shape, size = _along(x, axis + (axis > 0 and build.per_step))
        gamma, beta, mean, variance = weights.take(
            gamma=(size,) if has_scale else None, beta=(size,) if has_offset else None,
            moving_mean=(size,), moving_variance=(size,),
        )  # fmt: skip
        scale = 1.0 / np.sqrt(_wide(variance) + epsilon)
        if gamma is not None:
            scale = scale * _wide(gamma)
        offset = -_wide(mean) * scale
        if beta is not None:
            offset = offset + _wide(beta)
        return build.add(graph.Scale, x, scale=_narrow(scale, shape), offset=_narrow(offset, shape))

    return Part(call, trainable=has_scale + has_offset, fixed=2)


def _wide(array: Array | None) -> Array:
    return np.asarray(array, np.float64)


def _narrow(array: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(array, np.float32).reshape(shape)


@reads("LayerNormalization", note="over the last axes, without time")
def layer_normalization(config: LayerConfig) -> Part:
    has_scale, has_offset = config.flag("scale", True), config.flag("center", True)
    config.only("rms_scaling", False, None, why="it divides by the deviation from a mean that it leaves in")
    return _normalization(config, "layer", 1e-3, has_scale, has_offset)


@reads("RMSNormalization", note="over the last axes, without time")
def rms_normalization(config: LayerConfig) -> Part:
    return _normalization(config, "rms", 1e-6, True, False)


def _normalization(config: LayerConfig, function: str, default: float, has_scale: bool, has_offset: bool) -> Part:
    epsilon = config.number("epsilon", default)
    written = config.take("axis", -1)
    axes = list(sequence(written) or [written])

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        count = _last_axes(config, x, axes)
        sizes = x.spec.inner[len(x.spec.inner) - count :]
        scale, offset = weights.take(gamma=sizes if has_scale else None, beta=sizes if has_offset else None)
        options: dict[str, Any] = {"function": function, "epsilon": epsilon, "axes": count}
        return build.add(graph.Normalize, x, scale=scale, offset=offset, **options)

    return Part(call, trainable=has_scale + has_offset)


def _last_axes(config: LayerConfig, x: Value, axes: list[Any]) -> int:
    """How many of a step's last axes these are."""
    places = sorted(axis % x.rank for axis in axes if type(axis) is int)
    count = len(places)
    if len(axes) != count or places != list(range(x.rank - count, x.rank)) or count > len(x.spec.inner):
        config.refuse(f"axis={axes} is not supported for {x.spec.shape}: it should be the last axes, without time")
        return 1
    return count


@reads("UnitNormalization", note="over the last axes, without time")
def unit_normalization(config: LayerConfig) -> Part:
    written = config.take("axis", -1)
    axes = list(sequence(written) or [written])
    epsilon = 1e-12 if config.report.generation == 2 else 1e-24  # Keras 3 bounds the norm, Keras 2 its square

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        count = _last_axes(config, x, axes)
        return build.add(graph.Normalize, x, function="unit", epsilon=epsilon, axes=count)

    return Part(call)


@reads("Normalization", ignored={"input_mean", "input_variance"}, note="along one axis or none; `invert`")
def normalization(config: LayerConfig) -> Part:
    written = config.take("axis", -1)
    axes = [] if written is None else list(sequence(written) or [written])
    mean, variance = config.take("mean", None), config.take("variance", None)
    invert = config.flag("invert")
    in_config = mean is not None and variance is not None
    if len(axes) > 1:
        config.refuse(f"axis={written!r} is not supported: it should be one axis or none")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        shape, size = _along(x, axes[0]) if axes else ((1,), 1)
        if in_config:
            found = [np.broadcast_to(np.asarray(_numbers(v), np.float64).ravel(), size) for v in (mean, variance)]
        else:
            taken = weights.take(mean=(size,) if axes else (), variance=(size,) if axes else ())
            found = [_wide(array).reshape(size) for array in taken]
            weights.skip(1)  # how many rows were counted
        deviation = np.maximum(np.sqrt(found[1]), 1e-7)  # as Keras' backend has epsilon
        scale = deviation if invert else 1.0 / deviation
        offset = found[0] if invert else -found[0] * scale
        options: dict[str, Any] = {"scale": _narrow(scale, shape), "offset": _narrow(offset, shape)}
        return build.add(graph.Scale, x, passes_mask=config.report.generation != 2, **options)

    return Part(call, fixed=0 if in_config else 3)


def _numbers(value: Any) -> Any:
    """Numbers, also as Keras serializes arrays."""
    while isinstance(value, dict):
        value = value.get("value", value.get("config"))
    return value


@reads("Rescaling", per_step=True)
def rescaling(config: LayerConfig) -> Part:
    scale, offset = (np.asarray(_numbers(config.take(key, 0.0)), np.float32) for key in ("scale", "offset"))

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        options: dict[str, Any] = {"scale": np.atleast_1d(scale), "offset": np.atleast_1d(offset)}
        # Keras 2's does not say that it supports masks, so a mask ends there; Keras 3's does
        return build.add(graph.Scale, x, passes_mask=config.report.generation != 2 or build.per_step, **options)

    return Part(call)
