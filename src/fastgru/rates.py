"""Where a network has other numbers of steps than its inputs."""

from __future__ import annotations

from .graph import Graph
from .layers.windows import Window


def rate_changes(graph: Graph) -> dict[str, str]:
    """The sequences that have other numbers of steps than those before a window, each with the layer that changed it.

    Only windows are asked: other layers that change numbers of steps do not stream.
    """
    changed: dict[str, str] = {}
    for layer in graph.layers:
        by = next((changed[value] for value in layer.inputs if value in changed), None)
        if isinstance(layer, Window) and not layer.keeps_steps:
            by = by or layer.name
        if by is not None and graph.specs[layer.name].is_sequence:
            changed[layer.name] = by
    return changed
