"""Embedding, Masking, Dense, activations, and layers that only act in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import graph
from ....graph import Activation
from .. import activations
from ..build import Builder, Value
from ..config import LayerConfig
from ..weights import Weights
from .table import Part, reads


@reads(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization",
    ignored={"rate", "seed", "noise_shape", "data_format", "stddev", "l1", "l2", "rng_type", "p", "sigma"},
    per_step=True, note="nothing to compute at inference",
)  # fmt: skip
def only_in_training(config: LayerConfig) -> Part:
    return Part(lambda build, weights, x: build.add(graph.Identity, x))


@reads("Identity", per_step=True)
def identity(config: LayerConfig) -> Part:
    # Keras 2's does not say that it supports masks, so a mask ends there; Keras 3's does
    supports_masking = config.report.generation != 2

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        return build.add(graph.Identity, x, passes_mask=supports_masking or build.per_step)

    return Part(call)


@reads("InputLayer", ignored={"sparse", "ragged", "optional"}, note="dense arrays; a fixed batch size is freed")
def input_layer(config: LayerConfig) -> Part | None:
    """An input layer is no layer of a network's; one in another place is refused."""
    config.refuse("an input layer cannot stand here")
    return None


@reads("Embedding", ignored={"input_length"}, note="`mask_zero`")
def embedding(config: LayerConfig) -> Part:
    rows, features, mask_zero = config.size("input_dim"), config.size("output_dim"), config.flag("mask_zero")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        (table,) = weights.take(embeddings=(rows, features))
        if x.spec.dtype != "int32":
            config.refuse("looks up values that are computed; only token ids of an input can be looked up")
            return x
        options = {"table": table, "mask_zero": mask_zero, "mask": x.mask}
        return build.add_masking(graph.Embedding, x, mask_zero, **options)

    return Part(call, trainable=1, takes_ids=True)


@reads("ReversibleEmbedding", note="tied or not; without a soft cap")
def reversible_embedding(config: LayerConfig) -> Part:
    """An Embedding that, called with ``reverse=True``, scores the tokens: by its own table where it is tied."""
    rows, features, mask_zero = config.size("input_dim"), config.size("output_dim"), config.flag("mask_zero")
    is_tied = config.flag("tie_weights", True)
    config.only("reverse_dtype", None, "float32", why="scores are computed in float32")
    config.only("logit_soft_cap", None, why="logits are not capped")

    def call(build: Builder, weights: Weights, x: Value, reverse: bool = False) -> Value:
        shapes = {"embeddings": (rows, features), "reverse_embeddings": None if is_tied else (features, rows)}
        table, kernel = weights.take(**shapes)
        if reverse:
            kernel = np.ascontiguousarray(np.asarray(table).T) if is_tied else kernel
            return build.add(graph.Dense, x, kernel=kernel, passes_mask=False)
        if x.spec.dtype != "int32":
            config.refuse("looks up values that are computed; only token ids of an input can be looked up")
            return x
        return build.add_masking(graph.Embedding, x, mask_zero, table=table, mask_zero=mask_zero, mask=x.mask)

    return Part(call, trainable=1 if is_tied else 2, options=("reverse",), takes_ids=True)


@reads("Masking", note="any `mask_value`")
def masking(config: LayerConfig) -> Part:
    mask_value = config.number("mask_value", 0.0)

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        # Keras' own mask is this layer's alone, whatever mask the network made before it
        given = x.given if x.mask is not None else None
        return build.add_masking(graph.Masking, x, True, mask_value=mask_value, mask=given)

    return Part(call)


@reads("Dense", per_step=True, note="on the last axis")
def dense(config: LayerConfig) -> Part:
    units, use_bias = config.size("units"), config.flag("use_bias", True)
    activation = activations.read(config, "activation")

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        kernel, bias = weights.take(kernel=(x.features, units), bias=(units,) if use_bias else None)
        return build.add(graph.Dense, x, kernel=kernel, bias=bias, activation=activation)

    return Part(call, trainable=1 + use_bias)


@reads("Activation", per_step=True)
def activation_by_name(config: LayerConfig) -> Part:
    activation = activations.read(config, "activation")
    # Keras 2's Activation passes masks on as Keras 3's does
    return Part(lambda build, weights, x: build.add(graph.Activate, x, activation=activation))


@reads(*(name for name in activations.LAYERS if name != "Softmax"), ignored=activations.IGNORED, per_step=True)
def activation_layer(config: LayerConfig) -> Part:
    activation = activations.LAYERS[config.class_name](config)
    return Part(lambda build, weights, x: build.add(graph.Activate, x, activation=activation))


@reads("Softmax", ignored=activations.IGNORED, per_step=True, note="along the last axis or the steps")
def softmax(config: LayerConfig) -> Part:
    axis = config.whole("axis", -1)

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        if x.is_masked:
            config.refuse("uses the mask that reaches it, as if it masked features; write it as Activation('softmax')")
        return softmax_along(config, build, x, axis)

    return Part(call)


def softmax_along(config: LayerConfig, build: Builder, x: Value, axis: int, passes_mask: bool = True) -> Value:
    """A softmax along the last axis, or over the steps: exp(x − most) over its sum, both of all steps."""
    place = axis % x.rank
    if place == x.rank - 1:
        return build.add(graph.Activate, x, passes_mask=passes_mask, activation=Activation.of("softmax"))
    if place != 1 or not x.spec.is_sequence or build.per_step:
        config.refuse(f"axis={axis} is not supported for {x.spec.shape}: softmax runs along the last axis or the steps")
        return x
    most = build.add(graph.Reduce, x.unmasked(), part="most", function="maximum", axis=1)
    below = build.add(graph.Combine, x, most, part="below", operation="subtract")
    powers = build.add(graph.Activate, below, part="powers", activation=Activation.of("exponential"))
    total = build.add(graph.Reduce, powers.unmasked(), part="sum", function="sum", axis=1)
    return build.add(graph.Combine, powers, total, passes_mask=passes_mask, operation="divide")


@reads("PReLU", note="`shared_axes`")
def prelu(config: LayerConfig) -> Part:
    shared = config.take("shared_axes", None) or []

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        sizes: list[Any] = list(x.spec.shape[1:])
        for axis in [shared] if isinstance(shared, int) else shared:
            sizes[axis - 1] = 1
        if None in sizes:
            sizes[0] = weights.peek()[0] if weights.peek() else 1
        (alpha,) = weights.take(alpha=tuple(sizes))
        return build.add(graph.PReLU, x, alpha=alpha)

    return Part(call, trainable=1)
