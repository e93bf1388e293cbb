"""The error along the sequence as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import BadInput, MissingExtra
from .side_by_side import Report


def check_plot(path: Path) -> None:
    """Refuse what `plot_error` could not write, before any work is done.

    Raises
    ------
    MissingExtra
        matplotlib is not installed.
    BadInput
        No name of a PNG file in a folder that is there.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtra.of("matplotlib", "plot", "a plot of the error")
    if path.suffix.lower() != ".png":
        raise BadInput(f"{path}: the plot should end in .png")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}")


def plot_error(report: Report, path: Path, title: str = "") -> None:
    """Draw the largest and the rms error of each step, over all rows and units, on a logarithmic axis.

    Parameters
    ----------
    report : Report
    path : Path
        The PNG file to write, with a panel for each output that has steps.
    title : str

    Raises
    ------
    MissingExtra, BadInput
        As `check_plot`; or no output has steps.
    """
    check_plot(path)
    drawn = [(output.name, output.steps) for output in report.outputs if output.steps is not None]
    if not drawn:
        raise BadInput("no output has a time axis, and so there is no error along the sequence to plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 3 * len(drawn)), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (name, steps) in zip(figure.subplots(len(drawn), squeeze=False)[:, 0], drawn, strict=True):
        places = np.arange(len(steps.rms))
        # an error of 0 has no place on a logarithmic axis
        for label, values in (("largest", steps.largest), ("rms", steps.rms)):
            panel.plot(places, np.where(values > 0, values, np.nan), linewidth=0.8, label=label)
        if np.nanmax(steps.largest, initial=0.0) > 0:
            panel.set_yscale("log")
        panel.set(xlabel="step", ylabel="error", title=f"output {name!r}")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120, format="png")
