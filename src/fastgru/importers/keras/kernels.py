"""Kernels of convolutions, by the Keras and the backend that wrote them.

With Theano a convolution is the mathematician's: its kernel is turned around along every axis that it walks. Theano
also pads for ``same`` on both sides alike, where everyone else, if the numbers do not divide evenly, pads the end more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...graph import Array
from .config import LayerConfig
from .weights import Weights

THEANO = "theano"


def take(
    config: LayerConfig, weights: Weights, size: tuple[int, ...], channels: int, units: int, use_bias: bool
) -> tuple[Array, Array | None]:
    """The kernel (*size, channels, units) of a convolution, and its bias (units,) if it has one."""
    shapes = [(*size, channels, units)]
    if config.report.generation == 1 and len(size) == 1:
        # as for two axes, the second of one step; Keras 1.0 and 1.1 in the order that Theano wants
        shapes = [(*size, 1, channels, units), (units, channels, *size, 1)]
    is_old = len(shapes) > 1 and weights.peek() == shapes[1] != shapes[0]
    kernel, bias = weights.take(kernel=shapes[is_old], bias=(units,) if use_bias else None)
    assert kernel is not None
    if is_old:
        kernel = kernel.transpose(2, 3, 1, 0)
    kernel = kernel.reshape(*size, channels, units)
    if config.report.backend == THEANO:
        kernel = np.flip(kernel, tuple(range(len(size))))
    return np.ascontiguousarray(kernel), bias


def check_convolution_of_theano(config: LayerConfig, size: Sequence[int], strides: Sequence[int]) -> None:
    """Refuse a padding that Theano means differently: it puts half a kernel on either side."""
    if any(length % 2 == 0 or stride > 1 for length, stride in zip(size, strides, strict=True)):
        _check(config)


def check_pooling_of_theano(config: LayerConfig, size: Sequence[int], strides: Sequence[int]) -> None:
    """Refuse a padding that Theano means differently: only windows of 3 that walk by single steps agree."""
    if math.prod(size) > 1 and any(
        (length, stride) not in ((1, 1), (3, 1)) for length, stride in zip(size, strides, strict=True)
    ):
        _check(config)


def refuse_theano(config: LayerConfig) -> None:
    """Refuse a convolution of which Keras itself does not know how Theano's kernel becomes another's."""
    if config.report.backend == THEANO:
        config.refuse("is not supported in a network of Keras with Theano")


def _check(config: LayerConfig) -> None:
    if config.report.backend == THEANO and config.take("padding", "valid") == "same":
        config.refuse(
            "padding='same' with these sizes and strides is not supported: Theano pads otherwise than all others"
        )
