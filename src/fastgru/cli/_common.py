"""What several commands share: their common arguments, loading a model, and how quantities are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..graph import TensorSpec
    from ..model import Model

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of any kind that fastgru reads.")]
Config = Annotated[
    Path | None, typer.Option(metavar="JSON", help="The architecture, or a description, where MODEL is weights only.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="An option of MODEL's kind, such as node=GRU_12; may be repeated."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Use at most this many threads.", show_default="all CPUs allowed")
]


class Dtype(str, Enum):
    """What weights may be held in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


Narrow = Annotated[
    Dtype | None, typer.Option("--dtype", help="What weights are held in.", show_default="as MODEL has them")
]
KeepFloat32 = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-float32",
        metavar="LAYER",
        help="With --dtype: a layer, or a pattern such as 'encoder*', that stays float32; may be repeated.",
    ),
]


def importer_options(config: Path | None, given: Sequence[str] | None) -> dict[str, Any]:
    """What `fastgru.load` takes beside the file, from ``--config`` and each ``--option NAME=VALUE``.

    Axes are said by input; names of inputs and outputs stand with commas between them.

    >>> importer_options(None, ["axes.x=time batch features", "outputs=logits,state", "assume_torch_gru=true"])
    {'axes': {'x': 'time batch features'}, 'outputs': ['logits', 'state'], 'assume_torch_gru': True}
    """
    options: dict[str, Any] = {} if config is None else {"config": config}
    for text in given or ():
        name, equals, value = text.partition("=")
        name, _, key = name.partition(".")
        if not equals or not name or bool(key) != (name == "axes"):
            raise BadInput(f"--option should be NAME=VALUE or axes.INPUT=WORDS, got {text!r}")
        if name == "custom_layers":
            raise BadInput("custom_layers= takes functions, and so is for Python: fastgru.load(…)")
        if key and key not in options.setdefault(name, {}):
            options[name][key] = value
        elif key or name in options:
            raise BadInput(f"--option {text}: {name}{key and '.'}{key} is given twice")
        else:
            options[name] = _READERS.get(name, str)(value)
    return options


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise BadInput(f"--option should say true or false, got {text!r}")
    return text == "true"


def _names(text: str) -> list[str]:
    return text.split(",")


#: options of importers that are no text
_READERS: dict[str, Callable[[str], Any]] = {
    "assume_torch_gru": _flag,
    "inputs": _names,
    "outputs": _names,
}


def load(
    path: Path,
    config: Path | None = None,
    options: Sequence[str] | None = None,
    threads: int | None = None,
    dtype: Dtype | None = None,
    keep_float32: Sequence[str] | None = None,
) -> Model:
    """`fastgru.load` with the options that were given; the others keep their defaults."""
    import fastgru

    given = importer_options(config, options)
    return fastgru.load(path, threads=threads, **narrow_options(dtype, keep_float32), **given)


def narrow_options(dtype: Dtype | None, keep_float32: Sequence[str] | None) -> dict[str, Any]:
    """``dtype`` and ``keep_float32`` as Python takes them."""
    return {"dtype": None if dtype is None else dtype.value, "keep_float32": tuple(keep_float32 or ())}


def weights_text(model: Model) -> str:
    """What a narrow network's weights are held in, and what they take beside float32."""
    held = sum(value.nbytes for _, value in model.graph.tensors)
    return f"{model.dtype}, {bytes_text(held)}; in float32 {bytes_text(4 * model.graph.parameters)}"


def only_input(model: Model) -> TensorSpec:
    """The network's input beside its states, batch first, by the name that callers see; BadInput if it has several."""
    states = {source for source, _ in model.graph.states}
    named = zip(model.graph.input_names, model.graph.inputs, strict=True)
    specs = [replace(spec, name=name) for name, spec in named if name not in states]
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise BadInput(f"the network takes {len(specs)} inputs ({names}); run it from Python: model(…)")
    return specs[0]


def as_given(model: Model, x: Any) -> Any:
    """What a caller gives for `only_input`, made of a batch-first array."""
    return x if model._layout is None else model._layout.given(only_input(model).name, x)


def call_inputs(model: Model, x: Any) -> tuple[Any, ...]:
    """All inputs of a call with x, which is for `only_input`: states begin at zero."""
    return tuple(with_states(model, {only_input(model).name: x}).values())


def with_states(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """All inputs by name, of some that are given: states among the others begin at zero; BadInput names what else is
    missing, or is no input."""
    import numpy as np

    states = {source for source, _ in model.graph.states}
    names = [spec.name for spec in model.inputs]
    missing = [name for name in names if name not in given and name not in states]
    if missing or set(given) - set(names):
        raise BadInput(f"expected arrays for the inputs {', '.join(names)}; got {', '.join(given) or 'none'}")
    rows = 1
    for spec in model.inputs:
        if spec.name in given and "batch" in spec.axes[: np.ndim(given[spec.name])]:
            rows = np.shape(given[spec.name])[spec.axes.index("batch")]
    shapes = {spec.name: [rows if size is None else size for size in spec.shape] for spec in model.inputs}
    return {name: given[name] if name in given else np.zeros(shapes[name], np.float32) for name in names}


def console() -> Console:
    """Where commands print; wide enough for whole tables where the output isn't a terminal."""
    from rich.console import Console

    out = Console(highlight=False, markup=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = 160
    return out


def table(*columns: str, title: str | None = None) -> Table:
    """An open table; columns whose heading starts with ``>`` are right-aligned."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return made


def shape_text(spec: TensorSpec) -> str:
    """A shape with the names of its free axes.

    >>> from fastgru.graph import tensor_spec
    >>> shape_text(tensor_spec("x", None, (8,)))
    '(batch, time, 8)'
    """
    sizes = (axis if size is None else str(size) for axis, size in zip(spec.axes, spec.shape, strict=True))
    return f"({', '.join(sizes)})"


def bytes_text(count: int) -> str:
    """A file's size.

    >>> bytes_text(900), bytes_text(451_234)
    ('900 bytes', '451.2 kB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def time_text(seconds: float) -> str:
    """A duration with three significant digits or all of its microseconds' whole part.

    >>> time_text(2.5e-7), time_text(0.00123), time_text(2)
    ('0.25 µs', '1,230 µs', '2,000,000 µs')
    """
    micros = seconds * 1e6
    return f"{micros:,.0f} µs" if micros >= 100 else f"{micros:.3g} µs"
