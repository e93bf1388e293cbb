"""Graph → Graph rewrites that hold on every machine and change no result. A saved Graph has been through them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .errors import BadModelFile
from .graph import LINEAR, Activate, Graph, Identity, Layer, TensorSpec


def apply(graph: Graph) -> Graph:
    """Run every pass.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        The same object where there is nothing to do.
    """
    return free_time(drop_identities(graph))


def drop_identities(graph: Graph) -> Graph:
    """Remove Identity layers; whoever read one reads its input instead.

    An output that was an Identity's value becomes the value behind it and takes that name. An Identity at which a mask
    ends becomes a linear Activate, so that it can still be named as the one who dropped the mask.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    if not any(isinstance(layer, Identity) for layer in graph.layers):
        return graph
    behind: dict[str, str] = {}
    kept: list[Layer] = []
    for layer in graph.layers:
        if isinstance(layer, Identity) and not layer.drops_mask:
            source = layer.inputs[0]
            behind[layer.name] = behind.get(source, source)
        else:
            kept.append(_reading(layer, behind))
    outputs = tuple(behind.get(name, name) for name in graph.outputs)
    return dataclasses.replace(graph, layers=tuple(kept), outputs=outputs)


def _reading(layer: Layer, behind: Mapping[str, str]) -> Layer:
    """The layer, reading the values behind the removed ones."""
    inputs = tuple(behind.get(name, name) for name in layer.inputs)
    if isinstance(layer, Identity):
        return Activate(name=layer.name, inputs=inputs, drops_mask=True, activation=LINEAR)
    changes: dict[str, Any] = {"inputs": inputs} if inputs != layer.inputs else {}
    changes |= {key: behind[mask] for key, mask in layer.masks.items() if mask in behind}
    return dataclasses.replace(layer, **changes) if changes else layer


def free_time(graph: Graph) -> Graph:
    """Free the number of steps of each input on whose number no layer depends (a Flatten over time does).

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    for index, spec in enumerate(graph.inputs):
        if not spec.is_sequence or spec.shape[1] is None:
            continue
        inputs = (*graph.inputs[:index], _free(spec), *graph.inputs[index + 1 :])
        try:
            graph = dataclasses.replace(graph, inputs=inputs)
        except BadModelFile:
            continue
    return graph


def _free(spec: TensorSpec) -> TensorSpec:
    return dataclasses.replace(spec, shape=(spec.shape[0], None, *spec.shape[2:]))
