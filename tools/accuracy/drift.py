"""Ten thousand steps: the error of each step, for a random layer and for trained networks, and whether it grows.

Errors of one stretch of a text or a recording are larger than those of another. So whether they grow with time is asked
of one stretch: its last thousand steps, run behind nine thousand others and run behind four thousand, which is more
than these networks remember.

`int8-error.png` in docs/figures is drawn by this check, where matplotlib is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import characters
import denoiser
import layers
import numpy as np
from network import DTYPES, Array, Network, at_most
from speech import noisy_speech

import fastgru
from fastgru.bench.cases import Row

ROWS, STEPS, BEFORE, LAST = 8, 10_000, 4_000, 1_000
GROWTH, RMS = "error behind 9,000 steps over that behind 4,000", "rms error"
COLUMNS = (GROWTH, RMS)
BOUNDS = {(GROWTH, dtype): at_most(1.05) for dtype in DTYPES}


def networks(work: Path) -> Iterator[Network]:
    case = layers.pytorch_case(Row(ROWS, STEPS, 64, 128))
    graph = layers.layer(case)
    yield Network("random GRU(128), 10,000 steps", graph, answers(case.x), compare, BOUNDS)

    next(iter(characters.networks(work)))
    path = work / "shakespeare" / "shakespeare.keras"
    ids = characters.held_out(work, json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    text = ids.reshape(-1)[: ROWS * STEPS].reshape(ROWS, STEPS)
    yield Network("characters, 10,000 steps", path, answers(text), compare, BOUNDS)

    next(iter(denoiser.networks(work)))
    path = work / "nsnet2" / "nsnet2-20ms-baseline.onnx"
    yield Network("nsnet2, 10,000 frames", path, answers(long_speech(work)), compare, BOUNDS)


def answers(x: Array) -> Callable[[fastgru.Model], tuple[Array, Array]]:
    """Of all steps, and of the last ones behind fewer."""
    return lambda model: (model(x), model(x[:, -BEFORE - LAST :])[:, -LAST:])


def long_speech(work: Path) -> Array:
    """(ROWS, STEPS, 161): clips one behind the other, 100 seconds a row."""
    framing = denoiser.FILES["nsnet2-20ms-baseline"][0]
    clips = np.concatenate([noisy_speech(framing.rate, seed) for seed in (1, 2, 3)])
    samples = framing.window + framing.hop * (STEPS - 1)
    rows = np.concatenate(clips)[: ROWS * samples].reshape(ROWS, samples)
    return denoiser.log_power(framing.spectrum(rows))


def per_step(expected: Array, found: Array) -> tuple[Array, Array]:
    """The rms and the largest error of each step over rows and units: (steps,) each."""
    error = np.abs(found.astype(np.float64) - expected)
    return np.sqrt(np.mean(np.square(error), axis=(0, 2))), error.max(axis=(0, 2))


def compare(expected: tuple[Array, Array], found: tuple[Array, Array]) -> dict[str, float]:
    (rms, largest), (late, _) = (per_step(*pair) for pair in zip(expected, found, strict=True))
    slope = np.polyfit(np.arange(LAST, STEPS) / 1000, np.log2(rms[LAST:]), 1)[0]
    return {
        GROWTH: float(np.sqrt(np.mean(rms[-LAST:] ** 2) / np.mean(late**2))),
        "slope, doublings in 1,000 steps": float(slope),
        RMS: float(np.sqrt(np.mean(rms**2))),
        "largest error": float(largest.max()),
    }


def draw(work: Path, target: Path) -> None:
    """The figure: a panel for each network, a line for each dtype, over windows of 50 steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = list(networks(work))
    figure, axes = pyplot.subplots(1, len(chosen), figsize=(4.2 * len(chosen), 3.6), sharex=True, layout="constrained")
    for panel, network in zip(axes, chosen, strict=True):
        for dtype, colour in zip(DTYPES, ("tab:blue", "tab:green", "tab:red"), strict=True):
            rms, largest = per_step(network.expected[0], network.answer(network.model(dtype))[0])
            windows = np.arange(0, STEPS, 50) + 25
            panel.plot(windows, np.sqrt(np.mean(rms.reshape(-1, 50) ** 2, axis=1)), color=colour, label=f"{dtype}, rms")
            panel.plot(windows, largest.reshape(-1, 50).max(axis=1), color=colour, alpha=0.4, label=f"{dtype}, largest")
        panel.set(title=network.name, xlabel="step", yscale="log")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("error against float32")
    axes[-1].legend(fontsize="x-small")
    figure.suptitle(f"{ROWS} rows; kernels {fastgru.cpu_info()['isa']}", fontsize="small")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)
