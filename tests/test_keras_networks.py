"""Random networks of both generations of Keras, in every kind of file, against what Keras answered.

`tools/keras_networks` made them, `tools/keras_networks/pack.py` chose those in tests/data/keras_networks.zip.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from building import ISAS
from tolerances import check

PACK = Path(__file__).parent / "data" / "keras_networks.zip"
NETWORKS = json.loads(zipfile.ZipFile(PACK).read("manifest.json"))

each_network = pytest.mark.parametrize(
    "network", NETWORKS, ids=[f"{n['folder']}-{n['number']}-{n['theme']}" for n in NETWORKS]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras_networks")
    with zipfile.ZipFile(PACK) as pack:
        pack.extractall(path)
    return path


def load(
    folder: Path, network: dict[str, Any], **options: Any
) -> tuple[fastgru.Model, dict[str, np.ndarray], dict[int, np.ndarray]]:
    """A network, its inputs and its outputs by their place or, where Keras has a dict of them, by name."""
    place = folder / network["folder"]
    with np.load(place / network["arrays"]) as archive:
        arrays = dict(archive)
    config = place / network["config"] if "config" in network else None
    model = fastgru.load(place / network["file"], config=config, **options)
    inputs = {key[2:]: array for key, array in arrays.items() if key.startswith("x:")}
    places = {str(i): i for i in range(len(model.outputs))}
    if network["outputs"]:
        names = [spec.name for spec in model.outputs]
        places = {str(i): names.index(name) for i, name in enumerate(network["outputs"])}
    answers = {places[key[2:]]: array for key, array in arrays.items() if key.startswith("y:")}
    return model, inputs, answers


@each_network
@pytest.mark.parametrize("kernels", [ISAS[-1], "scalar"])
def test_answers_as_keras_did(
    network: dict[str, Any], folder: Path, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTGRU_ISA", kernels)
    model, inputs, answers = load(folder, network)
    bits = []
    for threads in (1, 2):
        results = model(inputs, threads=threads)
        results = results if isinstance(results, tuple) else (results,)
        assert len(results) == len(answers)
        for place, answer in answers.items():
            check(results[place], answer, "keras")
        bits.append([array.tobytes() for array in results])
    assert bits[0] == bits[1]


@each_network
def test_saved_network_gives_the_same_bits(network: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    model, inputs, _ = load(folder, network)
    model.save(tmp_path / "saved.safetensors")
    before, after = model(inputs), fastgru.load(tmp_path / "saved.safetensors")(inputs)
    for one, other in zip(*(y if isinstance(y, tuple) else (y,) for y in (before, after)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_kind_of_file_of_both_generations() -> None:
    kinds = {(network["folder"], network["kind"]) for network in NETWORKS}
    assert {kind for place, kind in kinds if place == "keras3"} == {"keras", "h5", "weights.h5", "weights.json"}
    assert {kind for place, kind in kinds if place == "keras2"} == {"keras", "h5", "weights.h5", "legacy weights"}
