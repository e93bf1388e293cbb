"""`fastgru quantize`: narrow weights, and what they cost on the user's own data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from ._common import Config, KeepFloat32, ModelFile, Options, Threads, as_given, console, load, only_input, with_states

if TYPE_CHECKING:
    from ..model import Model

SUFFIX = ".safetensors"


class NarrowDtype(str, Enum):
    """What weights become."""

    int8 = "int8"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Metric(str, Enum):
    """What labels can be held against."""

    accuracy = "accuracy"
    perplexity = "perplexity"
    cross_entropy = "cross-entropy"
    mse = "mse"
    mae = "mae"


def quantize(
    model_file: ModelFile,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="A .npy or .csv file, a .npz by the inputs' names, or texts.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .npy file for the first output, or a .npz with one output's name."),
    ] = None,
    metric: Annotated[Metric | None, typer.Option(help="Of the labels.", show_default="what fits them")] = None,
    dtype: Annotated[NarrowDtype, typer.Option(help="What weights become.")] = NarrowDtype.int8,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0.0, help="Keep layers in float32 until the metric drops by no more: 0.005 is half a point."),
    ] = None,
    min_snr: Annotated[
        float | None,
        typer.Option(help="Keep layers in float32 until each output has this signal-to-noise ratio, in dB."),
    ] = None,
    max_runs: Annotated[int, typer.Option(min=1, help="Networks that are tried at most to find those layers.")] = 32,
    keep_float32: KeepFloat32 = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the error along the sequence (extra 'plot').")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="The data are texts, one a line.")] = False,
    lengths: Annotated[
        str | None, typer.Option(help="Steps of each row of padded data, like 17,60,42, or a .npy file.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that are run at once.")] = 64,
    threads: Threads = None,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers as JSON.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help=f"The network to write, ending in {SUFFIX}."),
    ] = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Make weights narrow, and measure what that costs on your data: errors, the task's metric, size, speed.

    Runs the network in float32 and in the narrow dtype side by side, then once for each layer with only that one
    narrow. With --max-drop or --min-snr it finds layers to keep in float32, and ends with exit code 1 if nothing short
    of float32 everywhere is good enough. Times are those of one thread unless --threads is given.
    """
    from ..model import Model
    from ..narrowing import narrow
    from ..quantization import SideBySide, check_plot, compare_speed, layer_costs, plot_error, search
    from . import _quantize_report as show
    from ._data import read_lengths

    _check_output(model_file, output)
    if plot is not None:
        check_plot(plot)
    model, name = load(model_file, config, option, threads), dtype.value
    inputs, steps = _read(model, data, text)
    sides = SideBySide(
        model,
        inputs,
        labels=None if labels is None else _labels(labels),
        metric=None if metric is None else metric.value,
        lengths=steps if lengths is None else read_lengths(lengths),
        batch_size=batch_size,
    )
    bounds = {"max_drop": max_drop, "min_snr": min_snr}
    is_bounded = any(bound is not None for bound in bounds.values())
    if is_bounded:
        sides.check_bounds(**bounds)
    if plot is not None and not any(one.is_number and one.value.is_sequence for one in sides.reference.outputs):
        raise BadInput("no output has a time axis, and so there is no error along the sequence for --plot")
    graph = narrow(model.graph, name, keep_float32 or ())
    if graph is model.graph:
        raise BadInput(f"{model_file}: no layer is left whose weights could be {name}")

    out, narrow_model = console(), Model(graph, threads=model.threads)
    report = final = sides.measure(narrow_model)
    out.print(f"{model_file} in {name} beside float32: rows of data {sides.data.rows:,}, {model.isa} kernels")
    if sides.task is not None:
        out.print(f"metric: {sides.task.describe()}")
    show.print_report(out, report, name)
    costs = layer_costs(sides, narrow_model)
    show.print_costs(out, costs, sum(array.nbytes for _, array in model.graph.tensors), name)
    suggestion = None
    if is_bounded:
        suggestion = search(sides, narrow_model, **bounds, max_runs=max_runs, costs=costs, report=report)
        narrow_model, final = suggestion.model, suggestion.report
        show.print_suggestion(out, suggestion, name, _bound_text(**bounds))
    is_good = suggestion is None or suggestion.is_met
    if output is not None and is_good:
        narrow_model.save(output)
    show.print_sizes(out, model_file, model, narrow_model, name, output if is_good else None)
    speeds = [
        compare_speed(model, narrow_model, sides.data, rows=rows, threads=threads or 1)
        for rows in sorted({1, min(batch_size, sides.data.rows)})
    ]
    show.print_speeds(out, speeds, name)
    if plot is not None:
        plot_error(final, plot, f"{model_file.name}: error of {name} along the sequence")
        out.print(f"error along the sequence: {plot}")
    if as_json is not None:
        show.write_json(as_json, show.as_plain(model_file, name, sides, report, costs, suggestion, speeds))
    if not is_good:
        raise typer.Exit(1)
    if output is not None:
        kept = (*(keep_float32 or ()), *(suggestion.keep_float32 if suggestion is not None else ()))
        out.print(f"the same again: {_repeating(model_file, output, name, kept, config, option)}")


def _bound_text(max_drop: float | None, min_snr: float | None) -> str:
    """
    >>> _bound_text(0.005, 35.0)
    'a drop of at most 0.005 and a signal-to-noise ratio of at least 35 dB'
    """
    drop = [] if max_drop is None else [f"a drop of at most {max_drop:g}"]
    snr = [] if min_snr is None else [f"a signal-to-noise ratio of at least {min_snr:g} dB"]
    return " and ".join((*drop, *snr))


def _check_output(model_file: Path, output: Path | None) -> None:
    if output is None:
        return
    if output.suffix != SUFFIX:
        raise BadInput(f"OUT should end in {SUFFIX}, got {output.name!r}")
    if not output.parent.is_dir():
        raise BadInput(f"{output}: there is no folder {output.parent}")
    if output.exists() and model_file.exists() and output.samefile(model_file):
        raise BadInput(f"MODEL and OUT are the same file, {output}")


def _read(model: Model, path: Path, text: bool) -> tuple[dict[str, Any], Any]:
    """All inputs by name, and the lengths of rows that a file itself makes unequal."""
    from ._data import load_npy, load_npz, read_input, read_texts

    suffix = path.suffix.lower()
    if suffix == ".npz" and not text:
        return with_states(model, load_npz(path)), None
    spec = only_input(model)
    if text:
        encoder = model.front_end.inputs.get(spec.name) if model.front_end is not None else None
        if encoder is None or not encoder.takes_strings:
            raise BadInput("the network has no vocabulary for --text; give it token ids")
        x, steps = read_texts(path), None
    elif suffix == ".npy":
        x, steps = load_npy(path, mapped=True), None
    else:
        x, steps = read_input(path, spec)
        x = as_given(model, x)
    return with_states(model, {spec.name: x}), steps


def _labels(path: Path) -> Any:
    from ._data import load_npy, load_npz

    if path.suffix.lower() not in (".npy", ".npz"):
        raise BadInput(f"{path}: labels should be a .npy or .npz file")
    return load_npz(path) if path.suffix.lower() == ".npz" else load_npy(path)


def _repeating(
    model_file: Path, output: Path, dtype: str, kept: Sequence[str], config: Path | None, options: Sequence[str] | None
) -> str:
    """The command line that writes the same file again."""
    words = ["fastgru", "convert", str(model_file), str(output), "--dtype", dtype]
    for name in dict.fromkeys(kept):
        words += ["--keep-float32", name]
    words += [] if config is None else ["--config", str(config)]
    for option in options or ():
        words += ["--option", option]
    return shlex.join(words)
