"""`fastgru inspect`: what a model file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._common import Config, ModelFile, bytes_text, console, load, shape_text, table, text_encoder

if TYPE_CHECKING:
    from ..graph import Graph, Layer

#: multiply-adds of one step (or row: see `cost_of`) by layer kind; the other kinds multiply nothing
COSTS: Mapping[str, Callable[[Any], int]] = {
    "GRU": lambda layer: layer.kernel.size + layer.recurrent_kernel.size,
    "Dense": lambda layer: layer.kernel.size,
}


def inspect(model_file: ModelFile, config: Config = None) -> None:
    """Show a network's layers, shapes, parameters, cost per step, inputs, outputs and notes."""
    model = load(model_file, config)
    graph, out = model.graph, console()
    out.print(f"{graph.name or model_file.name} ({model_file.name}, {bytes_text(model_file.stat().st_size)})")
    for word, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            out.print(f"{word:<7}{spec.name}: {shape_text(spec)} {spec.dtype}")

    rows = table("layer", "kind", "output", ">parameters", ">multiply-adds")
    for layer in graph.layers:
        parameters = sum(array.size for array in layer.tensors.values())
        cost, unit = cost_of(graph, layer)
        shape = shape_text(graph.specs[layer.name])
        rows.add_row(layer.name, layer.kind, shape, f"{parameters:,}", f"{cost:,} a {unit}" if cost else "-")
    out.print(rows)
    out.print(f"{graph.parameters:,} parameters; {_total_cost(graph)}")
    out.print(f"fingerprint {graph.fingerprint}")
    encoder = text_encoder(graph)
    if encoder is not None:
        labels = f", answers {' / '.join(encoder.labels)}" if encoder.labels else ""
        out.print(f"text    {len(encoder.tokens):,} tokens, split into {encoder.split}{labels}")
    for note in graph.notes:
        out.print(f"note   {note}")


def cost_of(graph: Graph, layer: Layer) -> tuple[int, str]:
    """Multiply-adds of a layer, and of what: a ``"step"`` or, where its input has no time axis, a ``"row"``."""
    per = "step" if graph.specs[layer.inputs[0]].is_sequence else "row"
    return COSTS.get(layer.kind, lambda _: 0)(layer), per


def _total_cost(graph: Graph) -> str:
    costs = {"step": 0, "row": 0}
    for layer in graph.layers:
        cost, per = cost_of(graph, layer)
        costs[per] += cost
    return " + ".join(f"{cost:,} multiply-adds a {per}" for per, cost in costs.items() if cost or per == "step")
