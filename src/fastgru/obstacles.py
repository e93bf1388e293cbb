"""Why a network cannot run step by step."""

from __future__ import annotations

from collections.abc import Iterator

from .graph import (
    GRU,
    Attention,
    Combine,
    Concatenate,
    Graph,
    JoinMasks,
    Layer,
    MatMul,
    Pad,
    PReLU,
    Reduce,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Transpose,
)
from .layers.windows import Window


def streaming_obstacles(graph: Graph) -> list[str]:
    """Why a network cannot run step by step: every layer that looks ahead or must see the whole sequence, by name."""
    if not any(spec.is_sequence for spec in graph.inputs):
        return ["the network has no input with a time axis, so there is nothing to stream"]
    reasons = []
    late: set[str] = set()  # values without time that stand only after the last step
    for layer in graph.layers:
        walks = any(graph.specs[value].is_sequence for value in layer.inputs)
        waits_for = next((value for value in layer.inputs if value in late), None)
        if (walks or waits_for) and not graph.specs[layer.name].is_sequence:
            late.add(layer.name)
        if walks:
            late.add(f"{layer.name}:state")
        if walks and waits_for:
            late_by = f"starts from {waits_for!r}, which stands only after another layer's last step"
            reasons.append(f"{layer.kind} layer {layer.name!r} {late_by}, so it cannot stream")
        if isinstance(layer, GRU) and layer.go_backwards:
            reasons.append(
                f"GRU layer {layer.name!r} goes backwards: it starts from the last step, so it cannot stream"
            )
        if isinstance(layer, (Attention, MatMul)):
            reasons.append(f"{layer.kind} layer {layer.name!r} looks at all steps, so it cannot stream")
        if isinstance(layer, Window) and (ahead := _window_fault(graph, layer)):
            reasons.append(f"{layer.kind} layer {layer.name!r} {ahead}, so it cannot stream")
        if isinstance(layer, Reduce) and walks and not graph.specs[layer.name].is_sequence:
            reduces = "reduces the time axis"
            reasons.append(f"Reduce layer {layer.name!r} {reduces}: it needs the whole sequence, so it cannot stream")
        over_time = isinstance(layer, Reshape) and not layer.per_step
        if over_time and not walks and graph.specs[layer.name].is_sequence:
            own_steps = "makes a sequence with steps of its own"
            reasons.append(f"Reshape layer {layer.name!r} {own_steps}, so it cannot stream")
        for fault in _counts_steps(graph, layer):
            reasons.append(f"{layer.kind} layer {layer.name!r} {fault}, so it cannot stream")
        if walks and (does := use_of_time(graph, layer)):
            needs = "it needs the whole sequence, so it cannot stream"
            reasons.append(f"{layer.kind} layer {layer.name!r} {does}: {needs}")
    return reasons


#: the most numbers that a row may carry of what windows look back on
_MOST_CARRIED = 2**30


def _window_fault(graph: Graph, layer: Window) -> str | None:
    """Why windows cannot stream."""
    if (layer.reach - 1) * graph.specs[layer.inputs[0]].features >= _MOST_CARRIED:
        return f"looks back on more steps than can be carried, {layer.reach - 1}"
    return layer.looks_ahead


def _counts_steps(graph: Graph, layer: Layer) -> Iterator[str]:
    """Why a layer that works on each step by itself needs more than the step."""
    if isinstance(layer, (Scale, PReLU)) and layer.has_own_steps(graph.specs):
        yield "has numbers of its own for each step of the sequence"
    if isinstance(layer, Combine):
        for value, is_single in zip(layer.inputs, layer.one_step(graph.specs), strict=True):
            if is_single:
                yield f"spreads the one step of {value!r} over those of another sequence"


def use_of_time(graph: Graph, layer: Layer) -> str | None:
    """What a layer that reads a sequence does with the time axis, where it cannot do so step by step."""
    spec = graph.specs[layer.inputs[0]]
    match layer:
        case Reshape(per_step=False):
            return "merges the time axis"
        case Transpose() if layer.order[0] != 1:
            return "moves the time axis"
        case JoinMasks(over_time=True):
            return "appends along the time axis"
        case Slice() | Pad() | Repeat() | Concatenate() if layer.axis % len(spec.shape) == 1:
            last = isinstance(layer, Slice) and layer.takes_last
            return None if last else _OVER_TIME[type(layer)]
    return None


#: what layers with an axis do where that is time
_OVER_TIME: dict[type[Layer], str] = {
    Slice: "takes some of the steps",
    Pad: "pads the time axis",
    Repeat: "repeats steps",
    Concatenate: "appends along the time axis",
}
