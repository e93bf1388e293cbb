"""Convolutions and pooling over time, or time and the axis behind it."""

from __future__ import annotations

from typing import Any

from .... import graph
from .. import activations, kernels
from ..build import Builder, Value
from ..config import LayerConfig
from ..weights import Weights
from .shaping import axes_of, channels_last
from .table import Part, reads

CONV = ("Conv1D", "Conv2D", "Convolution1D", "Convolution2D")


def _window(config: LayerConfig, size: tuple[int, ...], strides_default: int | tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilation and padding as attributes of `graph.Conv` and `graph.Pool`."""
    axes = len(size)
    strides = config.several("strides", axes, strides_default)
    dilation = config.several("dilation_rate", axes, 1)
    padding = config.text("padding", "valid", "valid", "same", "causal")
    pads: tuple[int, ...] = ()
    if padding == "causal":
        pads = ((size[0] - 1) * dilation[0], 0)
    return {
        "strides": strides,
        "dilation": dilation,
        "padding": "same" if padding == "same" else "explicit",
        "pads": pads,
    }


@reads(*CONV, note="channels last; every padding, `strides`, `dilation_rate`, `groups`")
def conv(config: LayerConfig) -> Part:
    channels_last(config)
    axes = axes_of(config)
    units, size = config.size("filters"), config.several("kernel_size", axes)
    groups, use_bias = config.whole("groups", 1), config.flag("use_bias", True)
    window = _window(config, size, 1)
    kernels.check_convolution_of_theano(config, size, window["strides"])
    activation = activations.read(config, "activation")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        kernel, bias = kernels.take(config, weights, size, x.features // max(groups, 1), units, use_bias)
        options: dict[str, Any] = {"kernel": kernel, "bias": bias, "groups": groups, "activation": activation}
        return build.add(graph.Conv, x, passes_mask=False, **window, **options)

    return Part(call, trainable=1 + use_bias)


@reads("DepthwiseConv1D", "DepthwiseConv2D", ignored={"filters", "groups"}, note="channels last")
def depthwise_conv(config: LayerConfig) -> Part:
    channels_last(config)
    axes = axes_of(config)
    size, multiplier = config.several("kernel_size", axes), config.whole("depth_multiplier", 1)
    kernels.refuse_theano(config)
    use_bias = config.flag("use_bias", True)
    window = _window(config, size, 1)
    activation = activations.read(config, "activation")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        kernel, bias = weights.take(
            depthwise_kernel=(*size, x.features, multiplier), bias=(x.features * multiplier,) if use_bias else None
        )
        return _depthwise(build, x, kernel, window, bias=bias, activation=activation)

    return Part(call, trainable=1 + use_bias)


def _depthwise(build: Builder, x: Value, kernel: Any, window: dict[str, Any], **options: Any) -> Value:
    """Keras' depthwise kernel is (…, channels, multiplier): one group a channel."""
    channels, multiplier = kernel.shape[-2:]
    kernel = kernel.reshape(*kernel.shape[:-2], 1, channels * multiplier)
    return build.add(graph.Conv, x, passes_mask=False, kernel=kernel, groups=channels, **window, **options)


@reads("SeparableConv1D", "SeparableConv2D", ignored={"groups"}, note="channels last")
def separable_conv(config: LayerConfig) -> Part:
    channels_last(config)
    axes = axes_of(config)
    units, size = config.size("filters"), config.several("kernel_size", axes)
    multiplier, use_bias = config.whole("depth_multiplier", 1), config.flag("use_bias", True)
    kernels.refuse_theano(config)
    window = _window(config, size, 1)
    activation = activations.read(config, "activation")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        deep, point, bias = weights.take(
            depthwise_kernel=(*size, x.features, multiplier),
            pointwise_kernel=(*(1,) * axes, x.features * multiplier, units),
            bias=(units,) if use_bias else None,
        )
        x = _depthwise(build, x, deep, window, part="depthwise")
        return build.add(graph.Conv, x, passes_mask=False, kernel=point, bias=bias, activation=activation)

    return Part(call, trainable=2 + use_bias)


@reads(
    "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D", "MaxPool1D", "MaxPool2D", "AvgPool1D",
    "AvgPool2D", note="channels last",
)  # fmt: skip
def pooling(config: LayerConfig) -> Part:
    channels_last(config)
    axes = axes_of(config)
    size = config.several("pool_size", axes, 2)
    window = _window(config, size, size)
    kernels.check_pooling_of_theano(config, size, window["strides"])
    function = "maximum" if config.class_name.startswith("Max") else "average"
    return Part(
        lambda build, weights, x: build.add(
            graph.Pool, x, passes_mask=False, function=function, size=size, **window
        )
    )


@reads(
    "GlobalMaxPooling1D", "GlobalAveragePooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling2D",
    "GlobalMaxPool1D", "GlobalAvgPool1D", "GlobalMaxPool2D", "GlobalAvgPool2D",
    note="channels last; the average over time leaves masked steps out",
)  # fmt: skip
def global_pooling(config: LayerConfig) -> Part:
    channels_last(config)
    keepdims = config.flag("keepdims")
    axes = axes_of(config)
    is_average = "Av" in config.class_name
    function = "mean" if is_average else "maximum"

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        # only the average over time supports masks
        uses_mask = is_average and axes == 1
        channels = x.features
        if axes == 2:
            x = build.add(graph.Reshape, x, part="rows", passes_mask=False, target=(-1, channels))
        mask = x.mask if uses_mask else None
        options: dict[str, Any] = {"function": function, "axis": 1, "mask": mask}
        if not keepdims:
            return build.add(graph.Reduce, x, passes_mask=uses_mask, **options)
        y = build.add(graph.Reduce, x, part="values", passes_mask=uses_mask, **options)
        return build.add(graph.Reshape, y, target=(1,) * axes + (channels,))

    return Part(call)
