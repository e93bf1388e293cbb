"""`fastgru run`: a network on the arrays or texts of a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput
from ._common import (
    Config,
    KeepFloat32,
    ModelFile,
    Narrow,
    Options,
    Threads,
    as_given,
    call_inputs,
    console,
    load,
    only_input,
    time_text,
)  # fmt: skip


def run(
    model_file: ModelFile,
    input_file: Annotated[Path, typer.Argument(metavar="INPUT", help="A .npy or .csv file, or texts.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The .npy, .csv or .npz file to write.", show_default="csv on stdout"),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="INPUT holds texts, one a line.")] = False,
    lengths: Annotated[
        str | None, typer.Option(help="Steps of each row of a padded batch, like 17,60,42, or a .npy file.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that are run at once.")] = 256,
    threads: Threads = None,
    dtype: Narrow = None,
    keep_float32: KeepFloat32 = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Run a network on a file and write its outputs.

    A .npy file holds the whole input, laid out as `inspect` shows it. A .csv file holds one sequence, one step a line;
    for a network that takes no sequences, one row of a batch a line; for one that reads token ids, one sequence a line,
    of any length. States that the network takes begin at zero.
    """
    from ._data import check_output, read_input, read_lengths, read_texts, write_output

    model = load(model_file, config, option, threads, dtype, keep_float32)
    names = [spec.name for spec in model.outputs]
    check_output(output, names)
    spec = only_input(model)
    encoder = model.front_end.inputs.get(spec.name) if model.front_end is not None else None
    if text:
        if encoder is None or not encoder.takes_strings:
            raise BadInput(f"{model_file}: the network has no vocabulary for --text; give it token ids")
        x, steps = read_texts(input_file), None
    else:
        x, steps = read_input(input_file, spec)
        if input_file.suffix.lower() == ".csv":
            x = as_given(model, x)
    if lengths is not None:
        steps = read_lengths(lengths)

    start = time.perf_counter()
    answer = model.predict(call_inputs(model, x), batch_size=batch_size, lengths=steps)
    seconds = time.perf_counter() - start
    outputs = answer if isinstance(answer, tuple) else (answer,)
    write_output(outputs, names, output)
    if output is not None:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, outputs, strict=True))
        console().print(f"{x.shape} → {shapes} in {time_text(seconds)}: {output}")
