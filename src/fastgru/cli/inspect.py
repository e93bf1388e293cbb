"""`fastgru inspect`: what a model file holds."""

from __future__ import annotations

from ._common import Config, ModelFile, bytes_text, console, load, shape_text, text_encoder


def inspect(model_file: ModelFile, config: Config = None) -> None:
    """Show a network's inputs and outputs, layers, shapes, parameters, cost per step, and notes."""
    model, out = load(model_file, config), console()
    out.print(f"file         {model_file.name}, {bytes_text(model_file.stat().st_size)}")
    for word, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            out.print(f"{word:<12} {spec.name} {shape_text(spec)} {spec.dtype}")
    encoder = text_encoder(model.graph)
    if encoder is not None:
        labels = f", answers {' / '.join(encoder.labels)}" if encoder.labels else ""
        out.print(f"text         {len(encoder.tokens):,} tokens, split into {encoder.split}{labels}")
    out.print(f"fingerprint  {model.fingerprint}")
    for note in model.notes:
        out.print(f"note         {note}")
    out.print(f"\n{model.summary()}")
