"""The networks of the tutorials: files saved by Keras, against what Keras answered and against the oracle.

`tools/make_golden.py` made the files and the answers.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fastgru
import oracle
from tolerances import TOLERANCES, check, error

GOLDEN = Path(__file__).parent / "data" / "golden"
FILES = {entry["name"]: entry["files"] for entry in json.loads((GOLDEN / "networks.json").read_text())}
BATCHES = (1, 3, 67)

each_network = pytest.mark.parametrize("name", FILES)


def load(name: str, **options: object) -> fastgru.Model:
    file, *config = (GOLDEN / part for part in FILES[name])
    return fastgru.load(file, config=config[0], **options) if config else fastgru.load(file, **options)


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """The inputs ``x`` and the answers ``float32``, ``float64`` of Keras and ``oracle``."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        arrays = dict(archive)
    graph = load(name).graph
    (arrays["oracle"],) = oracle.run(graph, {graph.inputs[0].name: arrays["x"]})
    return arrays


@each_network
@pytest.mark.parametrize("batch", BATCHES)
def test_agrees_with_keras_and_with_the_oracle(name: str, batch: int, isa: str) -> None:
    answers = {key: array[:batch] for key, array in golden(name).items()}
    y = load(name, threads=1)(answers["x"])
    assert y.dtype == np.float32
    check(y, answers["oracle"], "oracle")
    check(y, answers["float64"], "keras")
    if error(answers["float32"], answers["float64"]) < TOLERANCES["keras"]:
        check(y, answers["float32"], "keras")


@each_network
def test_the_oracle_agrees_with_keras(name: str) -> None:
    """The oracle sees the imported Graph: an error of the importer, if any, shows here alone."""
    check(golden(name)["oracle"], golden(name)["float64"], "rounding")


@each_network
def test_the_fastgru_file_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    model, x = load(name), golden(name)["x"][:3]
    model.save(tmp_path / "model.safetensors")
    again = fastgru.load(tmp_path / "model.safetensors")
    assert again.fingerprint == model.fingerprint
    assert np.array_equal(again(x), model(x))


@pytest.mark.parametrize("name", ["characters", "review", "regression", "tagging"])
def test_streams_step_by_step(name: str) -> None:
    model, x = load(name), golden(name)["x"][:3]
    whole = model(x)
    with model.stream(batch_size=3) as stream:
        steps = [stream.step(x[:, t]) for t in range(x.shape[1])]
    assert np.array_equal(np.stack(steps, axis=1) if whole.ndim == 3 else steps[-1], whole)
