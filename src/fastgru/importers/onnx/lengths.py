"""What a caller's `lengths=` and `mask=` mean to a network that has no sequence_lens: the same to each of its GRUs."""

from __future__ import annotations

from dataclasses import replace

from ...graph import (
    GRU,
    Activate,
    Combine,
    Concatenate,
    Dense,
    Embedding,
    Graph,
    Layer,
    Normalize,
    OneHot,
    Pad,
    PReLU,
    Reduce,
    Repeat,
    Reshape,
    Scale,
    Slice,
    TimeDistributed,
    Transpose,
)

#: layers that work on each step by itself
_PER_STEP = (Activate, Combine, Dense, Embedding, Normalize, OneHot, PReLU, Scale, TimeDistributed)


def with_lengths(graph: Graph) -> Graph:
    """Let each GRU without a mask take that of the input whose steps it walks, as sequence_lens would: Y is zero past a
    row's end, Y_h the state there. It is absent, and costs nothing, where a call gives none.

    A GRU behind a layer that mixes or moves steps is left as it is; giving lengths is then refused.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    sources = {spec.name: spec.name for spec in graph.inputs if spec.is_sequence}
    layers: list[Layer] = []
    for layer in graph.layers:
        source = _source(layer, graph, sources)
        if isinstance(layer, GRU) and layer.mask is None and source is not None:
            layer = replace(layer, mask=f"{source}:mask", zero_output_for_mask=True, zero_state_without_steps=True)
        if source is not None and _keeps_steps(layer, graph):
            sources[layer.name] = source
        layers.append(layer)
    return replace(graph, layers=tuple(layers))


def _source(layer: Layer, graph: Graph, sources: dict[str, str]) -> str | None:
    """The one input whose steps are those of all sequences that a layer reads."""
    found = {sources.get(value) for value in layer.inputs if graph.specs[value].is_sequence}
    return found.pop() if len(found) == 1 else None


def _keeps_steps(layer: Layer, graph: Graph) -> bool:
    """Whether step t of a layer's value is made of step t of what it reads (a GRU's also of others before it)."""
    if not graph.specs[layer.name].is_sequence:
        return False
    match layer:
        case GRU():
            return layer.time_order or not layer.go_backwards
        case Reshape():
            return layer.per_step
        case Transpose():
            return layer.order[0] == 1
        case Concatenate() | Slice() | Pad() | Repeat() | Reduce():
            return layer.axis % len(graph.specs[layer.inputs[0]].shape) != 1
    return isinstance(layer, _PER_STEP)
