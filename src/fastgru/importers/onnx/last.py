"""The last step of a GRU's outputs, however a file cuts it out, is the GRU's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...graph import GRU, Graph, Layer, Reshape, Slice, TensorSpec
from ...ports import Port
from ..builder import needed


def last_steps_as_states(graph: Graph) -> Graph:
    """Read a GRU's state instead of cutting the last step out of all its outputs.

    So these need not be kept, and a Stream has an answer after each step. The GRUs themselves stay, and so do layers
    that nobody needs any more: see `GraphBuilder.graph`.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    layers = {layer.name: layer for layer in graph.layers}
    states: dict[str, str] = {}
    for layer in graph.layers:
        found = _step(layer, graph.specs)
        while found is not None and isinstance(layers.get(found[0]), Slice):
            found = _before(layers[found[0]], found[1])
        gru = layers.get(found[0]) if found is not None else None
        if found is not None and isinstance(gru, GRU) and _ends_at(gru, found[1], graph.specs[gru.name]):
            states[layer.name] = f"{gru.name}:state"
    if not states:
        return graph
    kept = [replace(layer, **_changes(layer, states)) for layer in graph.layers]
    outputs = tuple(states.get(name, name) for name in graph.outputs)
    kept = needed(kept, outputs)
    read = {name for layer in kept for name in (*layer.inputs, *layer.masks.values())} | set(outputs)
    ports = [Port.plain(spec) if spec.name in states and port is None else port for spec, port in graph.ported_outputs]
    return replace(
        graph,
        layers=tuple(_alone(layer) if layer.name not in read else layer for layer in kept),
        outputs=outputs,
        output_ports=tuple(ports) if any(ports) else (),
    )


def _step(layer: Layer, specs: Mapping[str, TensorSpec]) -> tuple[str, int] | None:
    """The sequence and the place in it (from the end where negative) of the one step that a layer takes out."""
    source = layer.inputs[0]
    spec = specs[source]
    if not spec.is_sequence:
        return None
    if isinstance(layer, Slice) and layer.axis == 1 and layer.drop:
        return source, layer.start or (-1 if layer.step < 0 and layer.start is None else 0)
    if isinstance(layer, Reshape) and not layer.per_step and spec.shape[1] == 1 and layer.target == spec.inner:
        return source, 0
    return None


def _before(layer: Layer, place: int) -> tuple[str, int] | None:
    """The same step in the sequence that a Slice of time reads."""
    if not isinstance(layer, Slice) or layer.axis != 1 or layer.drop:
        return None
    source, bounds = layer.inputs[0], (layer.start, layer.stop, layer.step)
    if bounds in ((None, None, -1), (-1, None, -1)):
        return source, -1 - place
    if layer.stop is None and layer.step == 1 and layer.start == -1 and place in (0, -1):
        return source, -1
    return None


def _ends_at(gru: GRU, place: int, spec: TensorSpec) -> bool:
    """Whether a place of a GRU's outputs holds what its state is in the end."""
    is_first = gru.go_backwards and gru.time_order
    steps = spec.shape[1] if gru.return_sequences else None
    ends = {0 if is_first else -1} | ({-steps if is_first else steps - 1} if steps else set())
    begins_at_zero = len(gru.inputs) == 1 and gru.initial_state is None
    repeats = gru.mask is None or (begins_at_zero and not gru.zero_output_for_mask)
    return gru.return_sequences and repeats and not gru.zero_state_without_steps and place in ends


def _changes(layer: Layer, states: Mapping[str, str]) -> dict[str, Any]:
    return {"inputs": tuple(states.get(name, name) for name in layer.inputs)}


def _alone(layer: Layer) -> Layer:
    """A GRU of which only the state is read."""
    return replace(layer, return_sequences=False, time_order=False) if isinstance(layer, GRU) else layer
