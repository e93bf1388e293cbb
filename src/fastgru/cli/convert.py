"""`fastgru convert`: any model that fastgru reads, as a fastgru file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput, BadModelFile
from ._common import Config, Options, bytes_text, console, load

SUFFIX = ".safetensors"


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A model file; its kind is recognised by its content.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help=f"The fastgru file to write, ending in {SUFFIX}.")],
    config: Config = None,
    option: Options = None,
) -> None:
    """Write a network as a fastgru file, which loads without the framework that it came from.

    The written file is loaded again and compared with the source.
    """
    if target.suffix != SUFFIX:
        raise BadInput(f"DST should end in {SUFFIX}, got {target.name!r}")
    if target.exists() and source.exists() and target.samefile(source):
        raise BadInput(f"SRC and DST are the same file, {target}")
    model = load(source, config, option)
    model.save(target)
    if load(target).fingerprint != model.fingerprint:
        raise BadModelFile(f"{target}: what was read back differs from what was written; is the disk full or failing?")
    out = console()
    for path in (source, target):
        out.print(f"{path}: {bytes_text(path.stat().st_size)}")
    out.print(f"read back and compared: fingerprint {model.fingerprint}")
    for note in model.notes:
        out.print(f"note: {note}")
