"""Layers that hold other layers: TimeDistributed, and networks inside a network."""

from __future__ import annotations

from typing import Any

from .... import graph
from ....graph import tensor_spec
from ..build import Builder, Value, flat
from ..config import LayerConfig
from ..weights import Weights
from .table import Part, Result, read, reader_of, reads


@reads("TimeDistributed", note="of any of these layers or a network, with one output")
def time_distributed(config: LayerConfig) -> Part | None:
    inner = config.part("layer")
    part = read(inner)
    if part is None:
        return None
    reader = reader_of(inner)
    per_step = reader is not None and reader.per_step

    def call(build: Builder, weights: Weights, x: Value) -> Value:
        if not x.spec.is_sequence:
            config.refuse(f"needs a sequence, but its input is {x.spec.shape}")
            return x
        if not per_step:
            return _on_each_step(config, build, weights.child("layer"), part, x)
        with build.steps():
            result = part.call(build, weights.child("layer"), x)
        return result  # type: ignore[return-value]

    return Part(call, part.trainable, part.fixed, takes_ids=part.takes_ids)


def _on_each_step(config: LayerConfig, build: Builder, weights: Weights, part: Part, x: Value) -> Value:
    """A network of its own for what a step goes through."""
    sizes = x.spec.inner
    has_time = len(sizes) > 1 or x.spec.dtype == "int32"
    spec = tensor_spec("step", sizes[0] if has_time and sizes else False, sizes[has_time:], x.spec.dtype)
    inside = Builder()
    source = inside.source(spec)
    with inside.called(config.name):
        result = part.call(inside, weights, source)
    if isinstance(result, tuple):
        config.refuse("holds a layer with several outputs")
        return x
    if x.is_masked and any(isinstance(layer, graph.GRU) for layer in inside.graph.layers):
        config.refuse("is given a mask of steps, which would reach the GRU inside it as one of its own steps")
    if config.report.generation != 3 and result.is_masked:
        config.refuse("gives on the mask of its inner steps, which Keras 2 would hand to the layers behind it")
    network = graph.Graph((spec,), tuple(inside.graph.layers), (result.name,))
    return build.add(graph.TimeDistributed, x, graph=network)


@reads("Sequential", "Functional", "Model", note="a network inside the network, at any depth")
def network(config: LayerConfig) -> Part | None:
    from ..network import read_network

    inner = read_network(config.document(), config.report)
    if inner is None:
        return None
    if not config.is_trainable:
        inner = inner.frozen()

    def call(build: Builder, weights: Weights, *inputs: Any) -> Result:
        with build.inside(build.name):
            results = inner.run(build, weights, flat(inputs))
        return results[0] if len(results) == 1 else tuple(results)

    return Part(call, inner.trainable, inner.fixed, takes_ids=inner.takes_ids)
