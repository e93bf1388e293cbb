"""Normalizations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ....graph import Normalize, Scale
from ...sizes import declared
from ..arrange import arranged, features_last, shape_of, spread, unsqueezed
from ..node import Node, Refusal, axis_in
from ..values import Constant, Tensor, Value
from .elementwise import activated, as_numbers, combined, layer, pair, scaled, value_of
from .reductions import _all_last, reduced
from .table import reads


@reads("BatchNormalization", note="as at inference")
def batch_normalization(node: Node) -> Value:
    x = value_of(node, 0)
    if node.flag("training_mode"):
        raise Refusal("normalizes by what it is given (training_mode)")
    if not node.flag("spatial", True):
        raise Refusal("normalizes each place by itself (spatial=0)")
    node.ignore("momentum", "is_test", "consumed_inputs")
    epsilon = node.number("epsilon", 1e-5)
    given = [node.needed(index) for index in range(1, 5)]
    if x.rank >= 2 and not all(isinstance(value, Constant) and value.is_plain for value in given):
        return _by_values(node, x, epsilon)
    names = ("scale", "B", "mean", "var")
    gamma, beta, mean, variance = (
        node.numbers_of(index, name).astype(np.float64) for index, name in enumerate(names, start=1)
    )
    if x.rank < 2:
        raise Refusal(f"reads a value of {x.rank} axes")
    size = declared(shape_of(node.network, x)[1])
    if any(array.shape != (size,) for array in (gamma, beta, mean, variance)):
        raise Refusal(f"scale, B, mean and var should be ({size},)")
    if not np.all(variance + epsilon > 0):
        raise Refusal("has a variance that is not positive")
    scale = gamma / np.sqrt(variance + epsilon)
    numbers = [
        spread(node.network, Constant.of(array.astype(np.float32).reshape(-1, *[1] * (x.rank - 2))), x)
        for array in (scale, beta - mean * scale)
    ]
    return layer(node, Scale, x, scale=numbers[0], offset=numbers[1])


def _by_values(node: Node, x: Tensor, epsilon: float) -> Value:
    """BatchNormalization by numbers of the network: so tf2onnx writes tf_keras' LayerNormalization."""
    gamma, beta, mean, variance = (_of_channels(node.needed(index), x.rank) for index in range(1, 5))
    shifted = pair(node, "add", variance, Constant.of(np.full(1, epsilon, np.float32)))
    if not isinstance(shifted, Tensor):
        raise Refusal("its mean is a value, its variance is not")
    y = pair(node, "multiply", pair(node, "subtract", x, mean), activated(node, shifted, "rsqrt"))
    return pair(node, "add", pair(node, "multiply", y, gamma), beta)


def _of_channels(value: Value, rank: int) -> Value:
    """(channels,) spread over a value (batch, channels, …)."""
    if isinstance(value, Tensor) and value.rank == 1:
        return unsqueezed(as_numbers(value), range(1, rank - 1))
    if isinstance(value, Constant) and len(value.shape) == 1:
        more = (1,) * (rank - 2)
        return Constant(value.array.reshape(*value.array.shape, *more), (*value.shape, *more))
    raise Refusal("its scale, B, mean and var should be (channels,)")


@reads("LayerNormalization", "RMSNormalization", note="with constant scale and bias, over features")
def layer_normalization(node: Node) -> Value:
    x = value_of(node, 0)
    axis = axis_in(node.whole("axis", -1), x.rank)
    epsilon = node.number("epsilon", 1e-5)
    node.ignore("stash_type")
    axes = list(range(axis, x.rank))
    shape = tuple(declared(size) for size in shape_of(node.network, x)[axis:])
    view = features_last(node.network, node.name, x, axis) if len(axes) == 1 else _all_last(node, x, axes)
    tensors = {}
    for index, (key, what) in enumerate((("scale", "scale"), ("offset", "bias")), start=1):
        if node.input(index) is not None:
            array = node.numbers_of(index, what)
            if array.ndim > len(shape) or None in shape:
                raise Refusal(f"its {what} {array.shape} does not go with {shape}")
            tensors[key] = np.broadcast_to(array, [size or 1 for size in shape]).reshape(-1).astype(np.float32)
    if math.prod(size or 1 for size in shape) != view.spec.inner[-1]:
        view = arranged(node.network, node.name, view, [range(view.lead, view.lead + len(view.sizes))])
    function = "layer" if node.op == "LayerNormalization" else "rms"
    spec = node.network.build.add(Normalize, node.name, view.spec, function=function, epsilon=epsilon, **tensors)
    return replace(view, spec=spec)


@reads("InstanceNormalization", note="with constant scale and bias")
def instance_normalization(node: Node) -> Value:
    """Each channel of each row by its own mean and variance."""
    x = value_of(node, 0)
    epsilon = node.number("epsilon", 1e-5)
    node.ignore("consumed_inputs")
    if x.rank < 3:
        raise Refusal(f"reads a value of {x.rank} axes")
    axes = range(2, x.rank)
    below = combined(node, "subtract", [x, reduced(node, x, "mean", axes, keep=True)])
    variance = reduced(node, activated(node, below, "square"), "mean", axes, keep=True)
    factor = activated(node, scaled(node, variance, None, np.full(1, epsilon, np.float32)), "rsqrt")
    y: Value = combined(node, "multiply", [below, factor])
    gamma, beta = node.numbers_of(1, "scale"), node.numbers_of(2, "B")
    if any(array.shape != (declared(shape_of(node.network, x)[1]),) for array in (gamma, beta)):
        raise Refusal(f"scale and B should be ({shape_of(node.network, x)[1]},)")
    shape = (-1, *[1] * (x.rank - 2))
    y = pair(node, "multiply", y, Constant.of(gamma.reshape(shape)))
    return pair(node, "add", y, Constant.of(beta.reshape(shape)))
