"""`fastgru verify`: a network's numbers beside those of the framework that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import BadInput
from ._common import Config, KeepFloat32, ModelFile, Narrow, Options, console, importer_options, narrow_options, table


class Framework(str, Enum):
    """What can be compared with."""

    keras = "keras"
    onnxruntime = "onnxruntime"
    torch = "torch"
    tensorflow = "tensorflow"


def verify(
    model_file: ModelFile,
    against: Annotated[
        Framework | None, typer.Option(help="The framework to run beside.", show_default="what runs such a file")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--input", help="A .npy file, or a .npz by the inputs' names.", show_default="random inputs"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of random inputs.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Their steps, where the network leaves them free.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Of an output, times its largest magnitude or 1.",
            show_default="1e-5; float16 3e-3, bfloat16 3e-2, int8 1e-1",
        ),
    ] = None,
    dtype: Narrow = None,
    keep_float32: KeepFloat32 = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Compare a network's outputs with those of its framework, and name the first layer where they part.

    Ends with exit code 1 where an output differs by more than the tolerance.
    """
    from ..verify import TOLERANCES, compare

    if tolerance is None:
        tolerance = TOLERANCES["float32" if dtype is None else dtype.value]
    options = importer_options(config, option)
    result = compare(
        model_file,
        against=None if against is None else against.value,
        inputs=None if inputs is None else _read(model_file, inputs, options),
        rows=rows,
        steps=steps,
        seed=seed,
        **narrow_options(dtype, keep_float32),
        **options,
    )
    out = console()
    shown = table("output", "shape", ">largest difference", ">largest magnitude", "")
    for output in result.outputs:
        verdict = "differs" if output.exceeds(tolerance) else "agrees"
        shown.add_row(output.name, str(output.shape), f"{output.largest:.1e}", f"{output.magnitude:.3g}", verdict)
    out.print(f"{model_file}{'' if dtype is None else f' in {dtype.value}'} beside {result.framework}")
    out.print(shown)
    if result.agrees(tolerance):
        return
    first = result.first_to_part(tolerance)
    if first is not None:
        out.print(f"they part at layer {first.name!r}: largest difference {first.largest:.1e} of {first.magnitude:.3g}")
    raise typer.Exit(1)


def _read(model_file: Path, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by input name, from a .npz file, or from a .npy for a network of one input."""
    from .. import importers
    from ._data import load_npy, load_npz

    if path.suffix == ".npz":
        return load_npz(path)
    names = importers.read(model_file, **options).input_names
    if len(names) != 1:
        raise BadInput(f"the network takes {len(names)} inputs: --input should be a .npz with {', '.join(names)}")
    return {names[0]: load_npy(path)}
