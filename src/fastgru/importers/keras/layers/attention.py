"""Attention, AdditiveAttention and MultiHeadAttention."""

from __future__ import annotations

import math
from typing import Any

from .... import graph
from ..build import Builder, Value
from ..config import LayerConfig, sequence
from ..weights import Weights
from .table import Part, Result, reads

CALL_OPTIONS = ("return_attention_scores", "use_causal_mask")


@reads("Attention", ignored={"dropout", "seed"}, note="masks, causal, both score modes, scores as an output")
def attention(config: LayerConfig) -> Part:
    use_scale = config.flag("use_scale")
    additive = config.text("score_mode", "dot", "dot", "concat") == "concat"
    causal = config.flag("causal")  # an option of the layer's own up to Keras 2.9

    def call(build: Builder, weights: Weights, inputs: list[Value], **options: Any) -> Result:
        scale, outer = weights.take(scale=() if use_scale else None, concat_score_weight=() if additive else None)
        factors = {"scale": 1.0 if scale is None else scale.item()}
        if additive:
            factors = {"inner_scale": factors["scale"], "scale": 1.0 if outer is None else outer.item()}
        function = "additive" if additive else "dot"
        return _attend(build, inputs, causal, options, function=function, **factors)

    return Part(call, trainable=use_scale + additive, options=CALL_OPTIONS)


@reads("AdditiveAttention", ignored={"dropout", "seed", "score_mode"}, note="masks, causal, scores as an output")
def additive_attention(config: LayerConfig) -> Part:
    use_scale = config.flag("use_scale", True)
    causal = config.flag("causal")

    def call(build: Builder, weights: Weights, inputs: list[Value], **options: Any) -> Result:
        key = inputs[2] if len(inputs) > 2 else inputs[1]
        (weight,) = weights.take(scale=(key.features,) if use_scale else None)
        return _attend(build, inputs, causal, options, function="additive", weight=weight)

    return Part(call, trainable=int(use_scale), options=CALL_OPTIONS)


def _attend(build: Builder, inputs: list[Value], causal: bool, options: dict[str, Any], **attributes: Any) -> Result:
    """Keras' layers take [query, value] or [query, value, key]; the mask of the keys is that of the values."""
    query, value = inputs[:2]
    key = inputs[2] if len(inputs) > 2 else value
    with_scores = bool(options.get("return_attention_scores"))
    y = build.add(
        graph.Attention, query, value, key, causal=causal or bool(options.get("use_causal_mask")),
        with_scores=with_scores, mask=value.mask, query_mask=query.mask, **attributes,
    )  # fmt: skip
    return (y, Value(build.graph.spec(f"{y.name}:scores"))) if with_scores else y


@reads(
    "MultiHeadAttention", ignored={"seed", "flash_attention"},
    note="over time, masks, causal, `sliding_window`; no scores",
)
def multi_head_attention(config: LayerConfig) -> Part:
    heads, key_size = config.size("num_heads"), config.size("key_dim")
    value_size = config.whole("value_dim", key_size)
    use_bias, dropout = config.flag("use_bias", True), config.number("dropout", 0.0)
    written = config.take("output_shape", None)
    shape = [written] if isinstance(written, int) else list(sequence(written) or [])
    window = config.take("sliding_window", None)
    config.only("softmax_robust_masking", False, None, why="it weighs steps otherwise where all are masked")
    config.only("use_gate", False, None, why="it multiplies the output by a gate")
    axes = config.take("attention_axes", None)
    if list(sequence(axes) or [axes]) not in ([None], [1]):
        config.refuse(f"attention_axes={axes} is not supported: attention is over time")
    if len(shape) > 1:
        config.refuse(f"output_shape={written} is not supported: one axis is")
    config.take("query_shape", None), config.take("key_shape", None), config.take("value_shape", None)

    def dense(
        build: Builder, weights: Weights, x: Value, name: str, kernel: tuple[int, ...], bias: tuple[int, ...],
        out: int, part: str,
    ) -> Value:  # fmt: skip
        own = weights.child(f"{name}_dense", f"_{name}_dense")
        matrix, offset = own.take(kernel=kernel, bias=bias if use_bias else None)
        matrix = matrix.reshape(-1, out)  # type: ignore[union-attr]
        offset = None if offset is None else offset.reshape(out)
        return build.add(graph.Dense, x, part=part, kernel=matrix, bias=offset)

    def call(
        build: Builder, weights: Weights, query: Value, value: Value, key: Any = None, **options: Any
    ) -> Result:
        key = value if key is None else key
        with_scores = bool(options.get("return_attention_scores"))
        queries, keys, values = (
            dense(build, weights, x, name, (x.features, heads, size), (heads, size), heads * size, name)
            for name, x, size in (("query", query, key_size), ("key", key, key_size), ("value", value, value_size))
        )
        mask = build.join_masks([value, key]).mask if value.mask or key.mask else None
        all_masked = "penalty" if config.report.generation == 2 else "mean"
        if config.report.generation != 2 and (dropout > 0 or with_scores):
            all_masked = "zero"
        y = build.add(
            graph.Attention, queries, values, keys, part="heads", heads=heads, scale=1.0 / math.sqrt(key_size),
            causal=bool(options.get("use_causal_mask")), window=window, all_masked=all_masked,
            zero_masked_queries=False, with_scores=with_scores, mask=mask, query_mask=query.mask,
        )  # fmt: skip
        out = shape[0] if shape else query.features
        result = dense(build, weights, y, "output", (heads, value_size, out), (out,), out, "")
        if not with_scores:
            return result
        scores = Value(build.graph.spec(f"{y.name}:scores"))
        config.refuse("return_attention_scores=True is not supported: the scores have an axis of heads before time")
        return result, scores

    arrays = 4 * (1 + use_bias)
    return Part(call, trainable=arrays, options=(*CALL_OPTIONS, "key", "value"))
