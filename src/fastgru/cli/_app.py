"""The typer application: its commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import FastGRUError
from .bench import bench
from .convert import convert
from .demo import demo
from .generate import generate
from .inspect import inspect
from .quantize import quantize
from .run import run
from .verify import verify

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


class Group(TyperGroup):
    """A command group that reports what its user can mend in one sentence, without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except (typer.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            print(f"fastgru: {sentence}", file=sys.stderr)
            sys.exit(EXIT_ERROR)
        sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: Exception) -> str | None:
    """What to tell the user, or None for an error that is our own fault and deserves its traceback."""
    if isinstance(error, FastGRUError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    # typer's usage errors; their class lives in click or in typer itself, depending on typer's version
    message: Callable[[], str] | None = getattr(error, "format_message", None)
    return f"{message().rstrip('.')} (see --help)" if message else None


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"fastgru {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode="rich",
    epilog='Example: [bold]fastgru demo[/bold] [green]"Funny and warm from start to finish."[/green]',
)


@app.callback(invoke_without_command=True)
def fastgru(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run trained GRU networks fast on CPUs."""
    if context.invoked_subcommand is None:
        print(context.get_help())


for command, example in (
    (demo, 'fastgru demo "Funny and warm from start to finish."'),
    (inspect, "fastgru inspect model.h5"),
    (convert, "fastgru convert model.h5 model.safetensors"),
    (run, "fastgru run model.h5 input.npy -o output.npy"),
    (verify, "fastgru verify model.onnx --against onnxruntime"),
    (quantize, "fastgru quantize model.h5 --data x.npy --labels y.npy --max-drop 0.005 -o small.safetensors"),
    (generate, 'fastgru generate model.keras "Once upon a time" --vocab characters.json'),
    (bench, "fastgru bench model.h5 --batch 1 --batch 64 --seconds 2"),
):
    app.command(epilog=f"Example: [bold]{example}[/bold]")(command)
