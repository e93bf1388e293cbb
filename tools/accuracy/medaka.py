"""medaka, which reads DNA out of pile-ups: how often narrow networks name another class than float32.

Four networks of the package medaka 1.2.6 (Keras 2, two bidirectional CuDNNGRU layers of 128 and a softmax of 5), on
made-up pile-ups (`pileup.py`) of 240,000 places at depths of 10 to 60 reads. Its models have no licence: nothing of
them is kept.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from network import Array, Network, at_least, package_file
from pileup import DEPTHS, features

PACKAGE = "medaka==1.2.6"
PIP = ("--python-version", "3.8", "--platform", "manylinux2010_x86_64", "--only-binary", ":all:")
MODELS = ("r941_min_high_g360", "r103_min_high_g360", "r941_prom_high_g4011", "r941_prom_variant_g360")
PLACES, CHUNK = 30_000, 10_000  # medaka's own length of a chunk
EQUAL, PROBABILITY = "equal classes, %", "largest error of a probability"
COLUMNS = (EQUAL, PROBABILITY)
BOUNDS = {(EQUAL, dtype): at_least(99.9) for dtype in ("bfloat16", "float16", "int8")}


def networks(work: Path) -> Iterator[Network]:
    folder = work / "medaka"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "pileups.npz").exists():
        stretches = [features(PLACES, depth, seed) for seed, depth in enumerate(DEPTHS)]
        np.savez_compressed(folder / "pileups.npz", *stretches)
    with np.load(folder / "pileups.npz") as file:
        chunks = np.concatenate([cut(file[name]) for name in file.files])
    for name in MODELS:
        path = folder / f"{name}_model.hdf5"
        if not path.exists():
            with zipfile.ZipFile(package_file(work, PACKAGE, *PIP)) as archive:
                path.write_bytes(archive.read(f"medaka/data/{path.name}"))
        yield Network(f"medaka {name}", path, lambda model: model.predict(chunks, batch_size=8), compare, BOUNDS)


def cut(stretch: Array) -> Array:
    """Chunks of equal length, the last one drawn back from the end: (chunks, CHUNK, 10)."""
    starts = [*range(0, len(stretch) - CHUNK, CHUNK), len(stretch) - CHUNK]
    return np.stack([stretch[start : start + CHUNK] for start in starts])


def compare(expected: Array, found: Array) -> dict[str, float]:
    before, after = expected.argmax(axis=-1), found.argmax(axis=-1)
    return {
        EQUAL: 100 * float(np.mean(before == after)),
        PROBABILITY: float(np.abs(found - expected).max()),
    }
