"""`fastgru inspect`: what a model file holds."""

from __future__ import annotations

from ._common import (
    Config,
    KeepFloat32,
    ModelFile,
    Narrow,
    Options,
    bytes_text,
    console,
    load,
    shape_text,
    weights_text,
)


def inspect(
    model_file: ModelFile,
    dtype: Narrow = None,
    keep_float32: KeepFloat32 = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Show a network's inputs and outputs, layers, shapes, parameters, cost per step, and notes.

    With --dtype it shows what the network would be with narrow weights: dtype and bytes of each layer.
    """
    model, out = load(model_file, config, option, None, dtype, keep_float32), console()
    out.print(f"file         {model_file.name}, {bytes_text(model_file.stat().st_size)}")
    for word, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            out.print(f"{word:<12} {spec.name} {shape_text(spec)} {spec.dtype}")
    if model.dtype != "float32":
        out.print(f"weights      {weights_text(model)}")
    if model.front_end is not None and model.front_end.labels:
        out.print(f"answers      {' / '.join(model.front_end.labels)}")
    out.print(f"fingerprint  {model.fingerprint}")
    for note in model.notes:
        out.print(f"note         {note}")
    out.print(f"\n{model.summary()}")
