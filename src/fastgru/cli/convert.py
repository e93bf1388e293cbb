"""`fastgru convert`: any model that fastgru reads, as a fastgru file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput, BadModelFile
from ._common import Config, KeepFloat32, Narrow, Options, bytes_text, console, load, weights_text

SUFFIX = ".safetensors"


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A model file; its kind is recognised by its content.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help=f"The fastgru file to write, ending in {SUFFIX}.")],
    dtype: Narrow = None,
    keep_float32: KeepFloat32 = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Write a network as a fastgru file, which loads without the framework that it came from.

    The written file is loaded again and compared with what was to be written. With --dtype weights are rounded, which
    makes it smaller: int8 takes about a quarter, bfloat16 and float16 half.
    """
    if target.suffix != SUFFIX:
        raise BadInput(f"DST should end in {SUFFIX}, got {target.name!r}")
    if target.exists() and source.exists() and target.samefile(source):
        raise BadInput(f"SRC and DST are the same file, {target}")
    model = load(source, config, option, None, dtype, keep_float32)
    model.save(target)
    if load(target).fingerprint != model.fingerprint:
        raise BadModelFile(f"{target}: what was read back differs from what was written; is the disk full or failing?")
    out = console()
    for path in (source, target):
        out.print(f"{path}: {bytes_text(path.stat().st_size)}")
    if model.dtype != "float32":
        out.print(f"weights: {weights_text(model)}")
    elif dtype not in (None, "float32"):
        out.print(f"weights: float32, for none is left to round to {dtype.value}")
    out.print(f"read back and compared: fingerprint {model.fingerprint}")
    for note in model.notes:
        out.print(f"note: {note}")
