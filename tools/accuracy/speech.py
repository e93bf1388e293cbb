"""Minutes of noisy speech: sentences read by espeak-ng in many voices, with noises of several kinds.

Signal-to-noise ratios run from -5 to 20 dB and levels from -30 to -3 dBFS, so that quiet and loud, clean and drowned
speech all occur. Samples have 16 bits, as recordings do: below them there is a floor of noise, never digital silence.
"""

from __future__ import annotations

import io
import itertools
import subprocess
import wave
from collections.abc import Callable

import numpy as np

Array = np.ndarray
SECONDS, CLIPS = 10, 36
SENTENCES = (
    "The birch canoe slid on the smooth planks.", "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.", "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.", "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.", "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.", "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.", "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.", "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.", "A pot of tea helps to pass the evening.",
    "Smoky fires lack flame and heat.", "The soft cushion broke the man's fall.",
    "The salt breeze came across from the sea.", "The girl at the booth sold fifty bonds.",
)  # fmt: skip
VOICES = tuple(
    f"{accent}+{timbre}"
    for accent, timbre in itertools.product(
        ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029"), ("m1", "f1", "m3", "f2", "m7", "f4", "m5", "f3")
    )
)


def noisy_speech(rate: int, seed: int = 1) -> Array:
    """(CLIPS, SECONDS · rate) float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    clean = np.stack([speak(rng, rate) for _ in range(CLIPS)])
    noises = list(NOISES.values())
    clips = []
    for number, speech in enumerate(clean):
        noise = noises[number % len(noises)](rng, rate, np.delete(clean, number, axis=0))
        ratio = rng.uniform(-5, 20)
        mixed = speech + noise * (speech.std() / noise.std() * 10 ** (-ratio / 20))
        loud = mixed * (10 ** (rng.uniform(-30, -3) / 20) / np.abs(mixed).max())
        dither = rng.random(len(loud)) - rng.random(len(loud))
        clips.append(np.round(loud * 32768 + dither) / 32768)
    return np.stack(clips).astype(np.float32)


def speak(rng: np.random.Generator, rate: int) -> Array:
    """Sentences by one voice until the clip is full, each behind a pause; the end is cut off."""
    voice, parts, length = str(rng.choice(VOICES)), [], 0
    while length < SECONDS * rate:
        words = str(rng.choice(SENTENCES))
        options = ["-v", voice, "-s", str(rng.integers(120, 220)), "-p", str(rng.integers(20, 80))]
        said = subprocess.run(["espeak-ng", *options, "--stdout", words], check=True, capture_output=True).stdout
        pause = np.zeros(int(rng.uniform(0.1, 0.8) * rate))
        parts += [pause, resample(*samples(said), rate)]
        length += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts)[: SECONDS * rate]


def samples(data: bytes) -> tuple[Array, int]:
    """Of a WAV file of espeak-ng, whose header may tell of more samples than there are."""
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(data[44:], "<i2") / 32768.0, file.getframerate()


def resample(signal: Array, have: int, want: int) -> Array:
    """By the Fourier transform: no aliases and no images."""
    count = round(len(signal) * want / have)
    spectrum = np.fft.rfft(signal)[: count // 2 + 1]
    return np.fft.irfft(spectrum, count) * (count / len(signal))


# ---- noises ----------------------------------------------------------------------------------------------------------


def white(rng: np.random.Generator, rate: int, others: Array) -> Array:
    return swell(rng, rate, rng.standard_normal(others.shape[1]))


def brown(rng: np.random.Generator, rate: int, others: Array) -> Array:
    """Power falls with the square of the frequency, above 30 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(others.shape[1]))
    spectrum /= np.maximum(np.fft.rfftfreq(others.shape[1], 1 / rate), 30)
    return swell(rng, rate, np.fft.irfft(spectrum, others.shape[1]))


def babble(rng: np.random.Generator, rate: int, others: Array) -> Array:
    """Six other voices at once, each from another place."""
    chosen = rng.choice(len(others), 6, replace=False)
    return np.sum([np.roll(others[i], rng.integers(others.shape[1])) for i in chosen], axis=0)


def hum(rng: np.random.Generator, rate: int, others: Array) -> Array:
    """Of the mains, with its harmonics, over a little hiss."""
    t = np.arange(others.shape[1]) / rate
    tones = [np.sin(2 * np.pi * (50 * k * t + rng.random())) / k for k in range(1, 20)]
    return np.sum(tones, axis=0) + 0.05 * rng.standard_normal(len(t))


def swell(rng: np.random.Generator, rate: int, noise: Array) -> Array:
    """Louder and softer, as wind and traffic are."""
    t = np.arange(len(noise)) / rate
    return noise * (1 + 0.5 * np.sin(2 * np.pi * (rng.uniform(0.1, 2) * t + rng.random())))


NOISES: dict[str, Callable[[np.random.Generator, int, Array], Array]] = {
    "white": white, "brown": brown, "babble": babble, "hum": hum,
}  # fmt: skip
