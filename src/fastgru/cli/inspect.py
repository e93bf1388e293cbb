"""`fastgru inspect`: what a model file holds."""

from __future__ import annotations

from ._common import Config, ModelFile, Options, bytes_text, console, load, shape_text


def inspect(model_file: ModelFile, config: Config = None, option: Options = None) -> None:
    """Show a network's inputs and outputs, layers, shapes, parameters, cost per step, and notes."""
    model, out = load(model_file, config, option), console()
    out.print(f"file         {model_file.name}, {bytes_text(model_file.stat().st_size)}")
    for word, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            out.print(f"{word:<12} {spec.name} {shape_text(spec)} {spec.dtype}")
    if model.front_end is not None and model.front_end.labels:
        out.print(f"answers      {' / '.join(model.front_end.labels)}")
    out.print(f"fingerprint  {model.fingerprint}")
    for note in model.notes:
        out.print(f"note         {note}")
    out.print(f"\n{model.summary()}")
